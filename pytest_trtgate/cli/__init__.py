"""``trtgate``: what does not need a test run."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from .. import text as fmt
from ..errors import SettingsError, TrtGateError
from .baseline import DELETE, RECORD, add_baseline, add_command, add_compare, given_path
from .explanation import add_explain
from .quantization import add_layers, add_repair
from .release import add_release
from .saying import say

if TYPE_CHECKING:
    from ..cache import Entry
    from ..machine import Machine
    from ..records import RunRecord

_DAY_S = 86400.0
_ADDRESS = re.compile(r"\[?[^\s/\[\]]+\]?:[0-9]{1,5}")
_LABEL = re.compile("[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
"""What Ray takes as the value of a label."""
_ABOUT = (
    "Look after what a regression gate for inference engines needs and leaves: engines, records, baselines. The gate "
    "itself is a test run: see 'pytest --help', under trtgate."
)
_PRUNE = (
    "Delete engines and measured accuracies that were not used for a while, and what is damaged. Engines that "
    "baselines name stay. Without --yes they are only listed, and the exit status is 1 where there are any, 0 where "
    "there are none."
)
_WORKER = (
    "Check this machine as the doctor does, and have it join the cluster as a node that is found by its kind. It stays "
    "until SIGTERM or an interrupt, and leaves once its present job has ended. Whoever may use the cluster may run any "
    "code on this machine: see the page on security."
)
_INIT = (
    "Write trtgate.toml and test_gate.py into this folder: task, image size and classes are read from the checkpoint, "
    "the splits from the data. The preflight looks for what would fail the first run; nothing is written then, and the "
    "exit status is 1. Nothing is overwritten."
)


def main(argv: Sequence[str] | None = None, machine: Machine | None = None) -> int:
    """Run one command and return its exit status: 0 for success, 1 for a failure, 2 for wrong usage.

    Args:
        argv: Arguments without the program's name; by default those of the process.
        machine: What the doctor looks at; by default this machine.
    """
    parser = _parser()
    _complete(parser)
    arguments = parser.parse_args(argv, argparse.Namespace(machine=machine))
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        done = run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return done
    except TrtGateError as error:
        say(f"trtgate: {error}", error=True)
        return 1
    except KeyboardInterrupt:
        say("trtgate: interrupted", error=True)
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:  # a full disk behind standard output, or a working folder that is gone
        where = f"{error.filename}: " if error.filename else ""
        say(f"trtgate: {where}{error.strerror or error}", error=True)
        if error.filename is None:
            sys.stdout = None  # what is buffered cannot be written at the end either
        return 1


def _complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell and leave, where it asks how a command line may go on; needs the extra ``completion``."""
    if "_ARGCOMPLETE" in os.environ:
        with suppress(ImportError):
            import argcomplete

            argcomplete.autocomplete(parser)


class _Once(argparse.Action):
    """Takes an option that has one value, once: of two, the one that does not count may be the one that was meant."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = vars(namespace).setdefault("given", set())
        if option_string is not None and self.dest in given:
            raise argparse.ArgumentError(self, "is given twice; give it once")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


class _Parser(argparse.ArgumentParser):
    """Parses the command line, and repeats of it only what a terminal may show."""

    def __init__(self, *arguments: Any, **how: Any) -> None:
        super().__init__(*arguments, **how)
        for store in (None, "store"):
            self.register("action", store, _Once)

    def error(self, message: str) -> NoReturn:
        super().error(fmt.safe_line(message))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="trtgate", description=_ABOUT)
    parser.add_argument("--version", action="version", version=f"pytest-trtgate {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_doctor(commands)
    _add_cache(commands)
    _add_report(commands)
    add_baseline(commands)
    add_compare(commands)
    add_layers(commands)
    add_explain(commands)
    add_repair(commands)
    add_release(commands)
    _add_worker(commands)
    about = "Write settings and tests that gate a checkpoint, from what it and its data say"
    init = add_command(commands, "init", _init, about, _INIT)
    init.add_argument("model", type=given_path, metavar="MODEL", help="Checkpoint (.pt), such as best.pt")
    data = "Its data YAML, or folder of a classification dataset"
    init.add_argument("data", type=given_path, metavar="DATA", help=data)
    demo = add_command(commands, "demo", _demo, "Write a small project that uses the gate, with a model and a dataset")
    demo.add_argument("folder", type=given_path, metavar="DIR", help="A folder that is empty or does not exist")
    return parser


def _add_doctor(commands: Any) -> None:
    about = "Say what is installed, what is missing, and which backend would run"
    add_command(commands, "doctor", _doctor, about).add_argument(
        "--config",
        type=_project,
        nargs="?",
        const=".",
        metavar="DIR",
        help="Also run the preflight of the project in DIR (default: here), building nothing; exit 1 where it fails",
    )


def _add_cache(commands: Any) -> None:
    group = commands.add_parser("cache", help="Look after the engine cache")
    what = group.add_subparsers(required=True, metavar="WHAT")
    folder, place = _Parser(add_help=False), "Folder of the cache (default: as in a run)"
    folder.add_argument("--cache-dir", type=given_path, metavar="DIR", help=place)
    add_command(what, "list", _cache_list, "List the engines", parents=[folder])
    about = "Compare every file with its manifest; exit 1 where one differs"
    add_command(what, "verify", _cache_verify, about, parents=[folder])
    about = "Delete engines that were not used for a while, and damaged ones"
    prune = add_command(what, "prune", _cache_prune, about, _PRUNE, parents=[folder])
    unused = "Unused for so long (default: 30)"
    prune.add_argument("--older-than", type=_days, default=30.0, metavar="DAYS", help=unused)
    prune.add_argument("--yes", action="store_true", help=DELETE)


def _add_report(commands: Any) -> None:
    report = add_command(commands, "report", _report, "Render run records again, or several as one report")
    report.add_argument("records", nargs="+", type=given_path, metavar="RUN.json", help=RECORD)
    where = "File to write; --format markdown is printed without it"
    report.add_argument("-o", "--output", type=given_path, metavar="FILE", help=where)
    formats = ("html", "markdown", "csv", "parquet", "gitlab")
    form = "Default: from the file's suffix; gitlab is a code quality report, and a metrics report beside it"
    report.add_argument("--format", choices=formats, help=form)
    report.set_defaults(misused=report.error)


def _add_worker(commands: Any) -> None:
    about = "Have this machine do jobs of runs that name a Ray cluster as their fleet"
    worker = add_command(commands, "worker", _worker, about, _WORKER)
    worker.add_argument("--address", required=True, type=_address, metavar="HOST:PORT", help="Head of the Ray cluster")
    kind = "Kind of this machine, by which runs ask for it (default: its GPU's name, such as nvidia-l4)"
    worker.add_argument("--machine", dest="kind", type=_kind, metavar="NAME", help=kind)
    roots = "Folder with datasets or weights, which need not be sent then; repeatable"
    worker.add_argument("--data-root", type=given_path, action="append", default=[], metavar="DIR", help=roots)
    worker.add_argument(
        "--cache-dir", type=given_path, metavar="DIR", help="Folder for what is sent (default: as in a run)"
    )


def _worker(arguments: argparse.Namespace) -> int:
    from ..fleet import join

    roots = [root.absolute() for root in arguments.data_root]
    if missing := next((root for root in roots if not root.is_dir()), None):
        raise SettingsError(f"--data-root {missing}: no such folder")
    cache = _no_foreign(arguments.cache_dir and arguments.cache_dir.absolute())
    told = partial(say, flush=True)  # before what Ray prints
    return join(
        arguments.address, told, kind=arguments.kind, data_roots=roots, cache_dir=cache, machine=arguments.machine
    )


def _address(text: str) -> str:
    if text != "auto" and not (_ADDRESS.fullmatch(text) and 0 < int(text.rpartition(":")[2]) < 65536):
        raise argparse.ArgumentTypeError(f"'{text}' is not HOST:PORT, such as 10.0.0.5:6379")
    return text


def _kind(text: str) -> str:
    if not _LABEL.fullmatch(text):
        allowed = "letters, digits, dots, dashes and underscores, 63 at most, a letter or digit first and last"
        raise argparse.ArgumentTypeError(f"'{text}' is not the name of a kind of machine; allowed: {allowed}")
    return text


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of days, 0 or more")
    return days


def _project(text: str) -> Path:
    """Return a project's folder, absolute as all paths are that jobs are given; its settings file stands for it."""
    path, there = given_path(text), False
    with suppress(OSError):  # such as of a name that is too long
        there = path.exists()
    if not there:  # a loop of links too
        raise argparse.ArgumentTypeError(f"'{text}' does not exist")
    path = path.resolve()
    return path.parent if path.is_file() else path


def _doctor(arguments: argparse.Namespace) -> int:
    from ..machine import Machine, instructions_text, package_lines, resolve_backend, with_edits
    from ..settings import project_settings
    from .doctor import check_up, look_at_fleet

    machine: Machine = arguments.machine or Machine()
    versions = machine.versions()
    say(f"pytest-trtgate {__version__}, Python {sys.version.split()[0]}")
    instructions = instructions_text(machine.cpu_instructions())
    say(f"CPU: {machine.cpu_model()}, {machine.usable_cores()} cores, instructions {instructions}")
    for line in package_lines(with_edits(versions, machine.edits)):
        say(f"  {line}")
    say(f"engine cache: {_cache_root(None, arguments.config)}")
    try:
        settings = project_settings(arguments.config or Path.cwd())[0]
        if settings.fleet.address is not None:
            return look_at_fleet(settings, say, preflight=arguments.config is not None)
        backend, device, why = resolve_backend(settings, machine)
    except SettingsError as error:
        say(f"backend: none ({error})")
        return 1
    say(f"backend: {backend} {versions[backend]} on {device} ({why})")
    return 0 if arguments.config is None else check_up(settings, backend, device, say, machine)


def _cache_root(given: Path | None, project: Path | None = None) -> Path:
    from ..cache import default_root
    from ..settings import project_settings

    if given and not given.is_dir():  # of none, all would be well
        raise SettingsError(f"--cache-dir {given}: no such folder")
    return _no_foreign(given) or project_settings(project or Path.cwd())[0].cache_dir or default_root()


def _no_foreign(cache: Path | None) -> Path | None:
    """Return a folder that can be a cache; raise SettingsError for another."""
    from ..cache import why_foreign

    if cache and os.path.lexists(cache) and not cache.is_dir():
        raise SettingsError(f"--cache-dir {cache}: not a folder")
    if cache and (why := why_foreign(cache)):
        raise SettingsError(f"--cache-dir {why}")
    return cache


def _cache_list(arguments: argparse.Namespace) -> int:
    from ..cache import EngineCache

    root = _cache_root(arguments.cache_dir)
    entries = list(EngineCache(root).entries())
    _say_engines(entries)
    say(f"{len(entries)} engines, {sum(e.size_bytes for e in entries) / 1e6:.1f} MB in {root}")
    return 0


def _say_engines(entries: Sequence[Entry]) -> None:
    import time

    for entry in entries:
        days = (time.time() - entry.last_used) / _DAY_S
        what = entry.manifest.cell.key if entry.manifest else f"unusable: {entry.problem}"
        say(f"{entry.path.name[:12]}  {entry.size_bytes / 1e6:8.1f} MB  used {days:5.1f} days ago  {what}")


def _cache_verify(arguments: argparse.Namespace) -> int:
    from ..cache import EngineCache, verify_entry

    root = _cache_root(arguments.cache_dir)
    checked = [verify_entry(entry.path) for entry in EngineCache(root).entries()]
    bad = [entry for entry in checked if entry.manifest is None]
    for entry in bad:
        say(f"{entry.path}: {entry.problem}")
    say(f"{len(checked)} engines checked in {root}, {len(bad)} damaged")
    return 1 if bad else 0


def _cache_prune(arguments: argparse.Namespace) -> int:
    from ..cache import EngineCache, pin, pinned, prunable, prune
    from ..settings import project_settings

    root, age_s = _cache_root(arguments.cache_dir), arguments.older_than * _DAY_S
    if (baselines := project_settings(Path.cwd())[0].baseline_dir).is_dir():
        pin(root, baselines)
    if not arguments.yes:
        unused, accuracies = prunable(root, age_s)
        _say_engines(unused)
        say(f"{len(unused)} engines and {accuracies} measured accuracies unused in {root}; --yes deletes them")
        return 1 if unused or accuracies else 0
    gone, accuracies = prune(root, age_s, say)
    keys = pinned(root, age_s)
    kept = sum(entry.path.name in keys for entry in EngineCache(root).entries())
    why = f"; {kept} kept, since baselines name them" if kept else ""
    say(f"{len(gone)} engines and {accuracies} measured accuracies deleted from {root}{why}")
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from ..report import markdown, render

    if arguments.output is None and arguments.format != "markdown":
        arguments.misused("-o FILE is missing; only --format markdown can be printed")
    runs = list(map(_run_from, arguments.records))
    if arguments.output is None:
        for line in markdown.render(runs).rstrip("\n").split("\n"):
            say(line)
        return 0
    from ..report import gitlab

    written = [arguments.output, *([gitlab.metrics_beside(arguments.output)] if arguments.format == "gitlab" else [])]
    for file in written:
        if file.exists() and any(map(file.samefile, arguments.records)):
            arguments.misused(f"-o {file} is one of the records, and would take its place; name another file")
    if arguments.format == "gitlab":
        return _report_to_gitlab(arguments, runs)
    page = render(runs, arguments.output, arguments.format, [path.parent for path in arguments.records])
    say(f"{page}: {len(runs)} run{'s' if len(runs) > 1 else ''}")
    return 0


def _report_to_gitlab(arguments: argparse.Namespace, runs: list[RunRecord]) -> int:
    from ..report import gitlab

    about = os.path.relpath(_settings_file() or arguments.records[0])
    metrics = gitlab.write(arguments.output, runs, about)
    say(f"{arguments.output} (code quality) and {metrics} (metrics): {fmt.plural(len(runs), 'run')}")
    return 0


def _settings_file() -> Path | None:
    """Return the file of the settings here; None where there are none, or none that can be read."""
    from ..settings import project_settings

    try:
        return project_settings(Path.cwd())[1]
    except SettingsError:  # a report needs no project
        return None


def _run_from(record: Path) -> RunRecord:
    """Return a run record for a report; what that says to paste is made here."""
    from ..baselines import offered_anew
    from ..records import load_run

    return offered_anew(load_run(record), record, _settings_file())


def _init(arguments: argparse.Namespace) -> int:
    from ..machine import Machine
    from .init import write_project

    return write_project(arguments.model, arguments.data, say, arguments.machine or Machine())


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import write_demo

    write_demo(arguments.folder)
    folder = shlex.quote(str(arguments.folder))
    say(f"{arguments.folder}: a project with a model, a dataset and a gate; next:")
    say(f"  cd {folder}")
    say("  pytest")
    say("Or with a video that each engine is timed on, end to end:")
    say("  pytest --trt-video=clip.mp4")
    return 0
