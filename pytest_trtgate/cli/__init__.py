"""``trtgate``: what does not need a test run."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .. import __version__
from .. import text as fmt
from ..errors import SettingsError, TrtGateError
from .baseline import RECORD, add_baseline, add_command, add_compare, given_path
from .saying import say

if TYPE_CHECKING:
    from ..machine import Machine
    from ..records import RunRecord

_DAY_S = 86400.0
_ABOUT = (
    "Look after what a regression gate for inference engines needs and leaves: engines, records, baselines. The gate "
    "itself is a test run: see 'pytest --help', under trtgate."
)
_PRUNE = (
    "Delete engines and measured accuracies that were not used for a while, and what is damaged. Engines that "
    "baselines name stay."
)


def main(argv: Sequence[str] | None = None, machine: Machine | None = None) -> int:
    """Run one command and return its exit status: 0 for success, 1 for a failure, 2 for wrong usage.

    Args:
        argv: Arguments without the program's name; by default those of the process.
        machine: What the doctor looks at; by default this machine.
    """
    arguments = _parser().parse_args(argv, argparse.Namespace(machine=machine))
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        done = run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
        return done
    except TrtGateError as error:
        say(f"trtgate: {error}", error=True)
        return 1
    except BrokenPipeError:  # the reader, such as head, has seen enough
        sys.stderr.close()
        return 1
    except OSError as error:  # a full disk behind standard output, or a working folder that is gone
        where = f"{error.filename}: " if error.filename else ""
        say(f"trtgate: {where}{error.strerror or error}", error=True)
        if error.filename is None:
            sys.stdout = None  # what is buffered cannot be written at the end either
        return 1


class _Parser(argparse.ArgumentParser):
    """Parses the command line, and repeats of it only what a terminal may show."""

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
    folder, place = argparse.ArgumentParser(add_help=False), "Folder of the cache (default: as in a run)"
    folder.add_argument("--cache-dir", type=given_path, metavar="DIR", help=place)
    add_command(what, "list", _cache_list, "List the engines", parents=[folder])
    about = "Compare every file with its manifest; exit 1 where one differs"
    add_command(what, "verify", _cache_verify, about, parents=[folder])
    about = "Delete engines that were not used for a while, and damaged ones"
    prune = add_command(what, "prune", _cache_prune, about, _PRUNE, parents=[folder])
    unused = "Unused for so long (default: 30)"
    prune.add_argument("--older-than", type=_days, default=30.0, metavar="DAYS", help=unused)


def _add_report(commands: Any) -> None:
    report = add_command(commands, "report", _report, "Render run records again, or several as one report")
    report.add_argument("records", nargs="+", type=given_path, metavar="RUN.json", help=RECORD)
    where = "File to write; --format markdown is printed without it"
    report.add_argument("-o", "--output", type=given_path, metavar="FILE", help=where)
    formats = ("html", "markdown", "csv", "parquet")
    report.add_argument("--format", choices=formats, help="Default: from the file's suffix")
    report.set_defaults(misused=report.error)


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
    path = given_path(text)
    if not path.exists():  # a loop of links too
        raise argparse.ArgumentTypeError(f"'{text}' does not exist")
    path = path.resolve()
    return path.parent if path.is_file() else path


def _doctor(arguments: argparse.Namespace) -> int:
    from ..machine import Machine, instructions_text, package_lines, resolve_backend, with_edits
    from ..settings import project_settings
    from .doctor import check_up

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
        backend, device, why = resolve_backend(settings, machine)
    except SettingsError as error:
        say(f"backend: none ({error})")
        return 1
    say(f"backend: {backend} {versions[backend]} on {device} ({why})")
    return 0 if arguments.config is None else check_up(settings, backend, device, say, machine)


def _cache_root(given: Path | None, project: Path | None = None) -> Path:
    from ..cache import default_root
    from ..settings import project_settings

    return given or project_settings(project or Path.cwd())[0].cache_dir or default_root()


def _cache_list(arguments: argparse.Namespace) -> int:
    import time

    from ..cache import EngineCache

    root = _cache_root(arguments.cache_dir)
    entries = list(EngineCache(root).entries())
    for entry in entries:
        days = (time.time() - entry.last_used) / _DAY_S
        what = entry.manifest.cell.key if entry.manifest else f"unusable: {entry.problem}"
        say(f"{entry.path.name[:12]}  {entry.size_bytes / 1e6:8.1f} MB  used {days:5.1f} days ago  {what}")
    say(f"{len(entries)} engines, {sum(e.size_bytes for e in entries) / 1e6:.1f} MB in {root}")
    return 0


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
    from ..cache import EngineCache, pin, pinned, prune
    from ..settings import project_settings

    root, age_s = _cache_root(arguments.cache_dir), arguments.older_than * _DAY_S
    if (baselines := project_settings(Path.cwd())[0].baseline_dir).is_dir():
        pin(root, baselines)
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
    if arguments.output.exists() and any(map(arguments.output.samefile, arguments.records)):
        arguments.misused(f"-o {arguments.output} is one of the records, and would take its place; name another file")
    written = render(runs, arguments.output, arguments.format, [path.parent for path in arguments.records])
    say(f"{written}: {len(runs)} run{'s' if len(runs) > 1 else ''}")
    return 0


def _run_from(record: Path) -> RunRecord:
    """Return a run record for a report; what that says to paste is made here."""
    from ..baselines import offered_anew
    from ..records import load_run
    from ..settings import project_settings

    try:
        source = project_settings(Path.cwd())[1]
    except SettingsError:  # a report needs no project
        source = None
    return offered_anew(load_run(record), record, source)


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
