"""``trtgate baseline`` and ``trtgate compare``: looking after what was accepted, without a device."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from datetime import date, datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import text as fmt
from ..errors import RecordError, SettingsError
from .saying import say

if TYPE_CHECKING:
    from ..baselines import Acceptance
    from ..records import Cell, RunRecord
    from ..settings import Settings

DELETE = "Delete them, instead of only listing them"
RECORD = "Record of a run, such as reports/run.json"
_SUBJECTS = ("accuracy", "latency")
_PRUNE = (
    "Delete baselines that no cell of the settings uses. Without --yes they are only listed, and the exit status is 1 "
    "where there are any, 0 where there are none."
)
_ACCEPT = (
    "Write baselines from a run record, such as one of a CI run, for the machine of that run. A cell may be slower or "
    "less accurate than its baseline. A cell is refused if it is in error; if it fails its tolerance to the .pt (of "
    "the settings here, where they name the model); if it does not prove a budget or speed-up; if it was timed on an "
    "unfit device; if its run notes machine-busy and --allow-busy is not given; or if its accuracy fell in its run by "
    "more than 0.05 or 3 times its tolerance, and --even-so is not given. Exit status 1 if a cell was refused."
)
_MIGRATE = (
    "Write baselines of older versions as this one does: accuracies in files of their own, launches as columns. What "
    "is compared stays the same. After an upgrade of the runtime, say which latencies need one session of it."
)
_WAIVE = (
    "Let a cell fail until a date, with a reason. What fails stays FAIL in every report and does not fail the run. A "
    "waiver excuses nothing but FAIL, and nothing where a finding kept the gate from measuring."
)
_COMPARE = (
    "Judge two run records of one kind of machine: is B no worse than A? Limits are those of B. An engine of the same "
    "bytes is identical, and passes: a difference is the machine's. Exit status 0: no worse; 1: worse, or a cell of A "
    "is missing in B, or undecided where the settings of B count that as a failure; 2: not to be compared."
)


def given_path(text: str) -> Path:
    """Return a path of the command line; an empty one, as of a variable that is not set, is not this folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a path")
    try:
        return Path(text).expanduser()  # which the shell leaves to us in quotes, and behind an equals sign
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"'{text}' names the home folder of a user that does not exist") from error


def add_command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], about: str, more: str = "", **how: Any
) -> argparse.ArgumentParser:
    """Add a subcommand and return its parser; ``more`` says more than ``about`` in the command's own help."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=about, description=more or about, **how)
    parser.set_defaults(run=run)
    return parser


def add_baseline(commands: Any) -> None:
    """Add ``trtgate baseline`` to the subcommands of a parser."""
    group = commands.add_parser("baseline", help="Show, accept, waive, rename, merge and prune baselines")
    what = group.add_subparsers(required=True, metavar="WHAT")

    def add(
        name: str, run: Callable[[argparse.Namespace], int], about: str, more: str = "", *, makes: bool = False
    ) -> argparse.ArgumentParser:
        parser = add_command(what, name, or_usage(run), about, more)
        parser.set_defaults(makes=makes)
        folder = "Folder of the baselines (default: as in a run)"
        parser.add_argument("--baseline-dir", type=given_path, metavar="DIR", help=folder)
        return parser

    add("show", _show, "List all baselines, those that are unused, and the waivers")
    for parser in (
        add("diff", _diff, "Say what accepting a run would change", makes=True),
        add("accept", _accept, "Write baselines from a run record", _ACCEPT, makes=True),
    ):
        parser.add_argument("record", type=given_path, metavar="RUN.json", help=RECORD)
        one = "Cell to take, by its key as in a report; repeatable (default: all)"
        parser.add_argument("--only", action="append", metavar="KEY", help=one)
        busy = "Take a run too that was measured on a busy machine"
        parser.add_argument("--allow-busy", action="store_true", help=busy)
        even_so = "Take a cell too whose accuracy fell so far in that run that its engine is broken"
        parser.add_argument("--even-so", action="store_true", help=even_so)
        parser.add_argument("--subject", choices=_SUBJECTS, help="What of a cell to take (default: both)")
    prune = add("prune", _prune, "Delete baselines that no cell of the settings uses", _PRUNE)
    prune.add_argument("--yes", action="store_true", help=DELETE)
    resolve = "Make one file of both sides of each baseline in which Git left conflict markers"
    add("resolve", _resolve, "Take both sides of a merge", resolve)
    rename = add("mv", _mv, "Give the baselines and waivers of a model another name")
    rename.add_argument("old", metavar="OLD", help="Name that it had")
    rename.add_argument("new", metavar="NEW", help="Name that it has in the settings: 'name', else that of its file")
    add("migrate", _migrate, "Write baselines of older versions as this one does", _MIGRATE)
    waive = add("waive", _waive, "Let a cell fail until a date, with a reason", _WAIVE, makes=True)
    waive.add_argument("cell", metavar="CELL", help="Key of the cell, such as best-int8-640-b1-onnxruntime-cpu")
    waive.add_argument("--until", metavar="YYYY-MM-DD", help="Last day, in UTC, on which it may fail")
    waive.add_argument("--reason", metavar="TEXT", help="Why; shown wherever the failure is")
    waive.add_argument("--subject", choices=_SUBJECTS, help="What of it may fail (default: both)")
    kind = "Kind of machine on which it may fail, such as nvidia-l4 (default: each)"
    waive.add_argument("--machine", dest="on", type=_name, metavar="NAME", help=kind)
    waive.add_argument(
        "--remove", action="store_true", help="Remove the waivers of the cell, or of its --subject or --machine"
    )


def add_compare(commands: Any) -> None:
    """Add ``trtgate compare`` to the subcommands of a parser."""
    about = "Judge a run record against an earlier one"
    parser = add_command(commands, "compare", or_usage(_compare), about, _COMPARE)
    parser.add_argument("before", type=given_path, metavar="A.json", help="Record of the earlier run")
    parser.add_argument("after", type=given_path, metavar="B.json", help="Record of the later run")


def or_usage(run: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """Return a command that answers unusable input with one sentence and exit status 2."""

    def guarded(arguments: argparse.Namespace) -> int:
        try:
            return run(arguments)
        except (RecordError, SettingsError) as error:
            say(f"trtgate: {error}", error=True)
            return 2

    return guarded


def _name(text: str) -> str:
    """Return a name of the command line; an empty one, as of a variable that is not set, is not the default."""
    from ..records import why_no_name

    if why := why_no_name(text.strip()):
        raise argparse.ArgumentTypeError(f"'{text}' {why}; name what is meant, or leave the option out")
    return text


def _today() -> date:
    return datetime.now(timezone.utc).date()


def _project(arguments: argparse.Namespace) -> tuple[Settings, Path, Path | None]:
    """Return the project's settings, the folder of its baselines, and the file that the settings are in."""
    from ..settings import project_settings

    given: Path | None = arguments.baseline_dir
    if given and not given.is_dir() and (os.path.lexists(given) or not arguments.makes):
        why = "cannot be written (not a folder)" if arguments.makes else "no such folder"
        raise SettingsError(f"--baseline-dir {given}: {why}")
    settings, source = project_settings(Path.cwd())
    return settings, given or settings.baseline_dir, source


def _show(arguments: argparse.Namespace) -> int:
    from ..baselines import overview

    settings, root, _ = _project(arguments)
    for line in overview(root, settings, _today()):
        say(line)
    return 0


def _acceptance(arguments: argparse.Namespace) -> tuple[Acceptance, list[Cell]]:
    """Return what accepts a run record, and those of its cells that are asked for.

    Its accuracies are judged by the project's tolerances, which may be others by now; what that changes is printed.
    """
    from ..baselines import Acceptance, BaselineStore, why_broken, with_tolerances_of
    from ..records import load_run
    from ..settings import recorded_settings

    project, root, source = _project(arguments)
    run = load_run(arguments.record)
    keys = {cell.key: cell for cell in run.cells}
    run = _of_subject(run, arguments.subject) if arguments.subject else run
    unknown = next((key for key in arguments.only or () if key not in keys), None)
    if unknown is not None:
        raise SettingsError(f"{arguments.record}: no cell '{unknown}'; it has: {', '.join(keys) or 'none'}")
    cells = [keys[key] for key in dict.fromkeys(arguments.only or keys)]
    if not cells:
        raise SettingsError(f"{arguments.record}: has no cells")
    settings = recorded_settings(run.settings, arguments.record)
    # By the tolerances of the run itself: higher ones make no engine whole.
    broken = {} if arguments.even_so else {v.cell.key: why for v in run.verdicts if (why := why_broken(v))}
    run, rejudged = with_tolerances_of(project, run, cells)
    for sentence in rejudged:
        say(sentence)
    store = BaselineStore(root, run.environment)
    return Acceptance(run, store, settings, source, arguments.allow_busy, broken), cells


def _of_subject(run: RunRecord, subject: str) -> RunRecord:
    """Return a run as if it had judged only one of accuracy and latency."""
    other: dict[str, object] = {"latencies": {}} if subject == "accuracy" else {"accuracies": ()}
    return run.model_copy(update={"verdicts": tuple(v for v in run.verdicts if v.subject == subject), **other})


def _diff(arguments: argparse.Namespace) -> int:
    from ..baselines import changes

    acceptance, cells = _acceptance(arguments)
    for line in fmt.told_once(changes(acceptance, cells), acceptance.run.preflight.busy):
        say(line)
    return 0


def _accept(arguments: argparse.Namespace) -> int:
    from ..records import updating

    acceptance, cells = _acceptance(arguments)
    with updating(acceptance.store.root):
        written = [acceptance.write(cell) for cell in cells]
    for sentence in fmt.told_once((said for said, _ in written), acceptance.run.preflight.busy):
        say(sentence)
    return 0 if all(done for _, done in written) else 1


def _prune(arguments: argparse.Namespace) -> int:
    from ..baselines import delete, stored
    from ..records import updating

    settings, root, _ = _project(arguments)
    if not settings.models:
        raise SettingsError(
            "the settings name no model, so every baseline would seem unused; name them in the settings"
        )
    with updating(root) if arguments.yes else nullcontext():
        unused = []
        for one in stored(root, settings):
            if one.why_unused and one.path.resolve().is_relative_to(root.resolve()):
                unused.append(one)
                say(f"{one.path}: {one.why_unused}")
            elif one.why_unused:
                say(f"{one.path}: {one.why_unused}; left, since it is a link to {one.path.resolve()}")
        if arguments.yes:
            delete(unused)
    say(f"{len(unused)} unused in {root}{', deleted' if arguments.yes else '; --yes deletes them' if unused else ''}")
    return 1 if unused and not arguments.yes else 0


def _resolve(arguments: argparse.Namespace) -> int:
    from ..baselines import resolve
    from ..records import updating

    _, root, _ = _project(arguments)
    resolved = 0
    with updating(root):
        for sentence in resolve(root):  # said at once, as a later file may be refused
            say(sentence)
            resolved += 1
    say(f"{resolved} resolved in {root}" + (f"; next: git add {shlex.quote(str(root))}" if resolved else ""))
    return 0


def _mv(arguments: argparse.Namespace) -> int:
    from ..baselines import change_waivers, load_waivers, move
    from ..records import updating

    settings, root, _ = _project(arguments)
    models = [model.name for model in settings.models]
    if models and arguments.new not in models:
        raise SettingsError(f"no model '{arguments.new}' in the settings; they have: {', '.join(models)}")
    waivers = load_waivers(root)  # before anything is moved, as they may be damaged
    with updating(root):
        for path in move(root, arguments.old, arguments.new):
            say(str(path))
    if waivers.renamed(arguments.old, arguments.new) != waivers:
        say(str(change_waivers(root, lambda waivers: waivers.renamed(arguments.old, arguments.new))))
    return 0


def _migrate(arguments: argparse.Namespace) -> int:
    from ..baselines import migrate
    from ..machine import Machine
    from ..records import updating

    _, root, _ = _project(arguments)
    with updating(root):
        done = list(migrate(root, Machine().versions()))
    for sentence in done or [f"{root}: all is as this version writes it"]:
        say(sentence)
    return 0


def _waive(arguments: argparse.Namespace) -> int:
    from ..baselines import Waiver, Waivers, change_waivers

    settings, root, _ = _project(arguments)
    if arguments.remove:
        gone = 0

        def removed(waivers: Waivers) -> Waivers:
            nonlocal gone
            left = waivers.removed(arguments.cell, arguments.subject, arguments.on)
            gone = len(waivers.waivers) - len(left.waivers)
            if not gone:
                raise SettingsError(f"no waiver of {arguments.cell}; there are: {_listed(waivers.waivers)}")
            return left

        path = change_waivers(root, removed)
        say(f"{path}: {gone} waiver{'s' if gone > 1 else ''} of {arguments.cell} removed")
        return 0
    _check_key(arguments.cell, settings)
    waiver = Waiver(
        cell=arguments.cell,
        subject=arguments.subject,
        machine=arguments.on or "",
        until=_until(arguments.until),
        reason=_reason(arguments.reason),
    )
    path = change_waivers(root, lambda waivers: waivers.granted(waiver))
    say(f"{path}: {waiver.what} waived until {waiver.until}: {waiver.reason}")
    return 0


def _listed(waivers: tuple[Any, ...]) -> str:
    return ", ".join(waiver.what for waiver in waivers) or "none"


def _check_key(key: str, settings: Settings) -> None:
    """Refuse what cannot be the key of a cell of the project: a waiver with a slip in it would waive nothing."""
    from ..records import cell_of_key

    cell = cell_of_key(key)
    example = "best-int8-640-b1-onnxruntime-cpu"
    if cell is None:
        raise SettingsError(f"'{key}' is not the key of a cell; one reads like {example}, and is shown by a report")
    models = [model.name for model in settings.models]
    if models and cell.model not in models:
        raise SettingsError(f"'{key}': no model '{cell.model}' in the settings; they have: {', '.join(models)}")


def _until(text: str | None) -> date:
    if text is None:
        raise SettingsError("--until is missing: the last day on which the cell may fail, such as 2027-01-31")
    try:
        until = datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise SettingsError(f"--until = {text} is not a date such as 2027-01-31") from None
    if until < _today():
        raise SettingsError(f"--until = {until} has passed; choose today or a later day")
    return until


def _reason(text: str | None) -> str:
    reason = " ".join((text or "").split())
    if not reason:
        raise SettingsError("a waiver needs a reason: --reason 'TEXT'")
    return reason


def _compare(arguments: argparse.Namespace) -> int:
    from ..baselines import compare
    from ..records import load_run
    from ..settings import recorded_settings

    before, after = load_run(arguments.before), load_run(arguments.after)
    settings = recorded_settings(after.settings, arguments.after)
    compared = compare(before, after, settings)
    for one in compared:
        say(one.line)
    for warning in dict.fromkeys(one.warning for one in compared if one.warning):
        say(f"WARNING       {warning}")
    both = {one.cell.on_any_gpu for one in compared}
    lost, new = ([cell.key for cell in run.cells if cell.on_any_gpu not in both] for run in (before, after))
    for alone, name in ((lost, arguments.before), (new, arguments.after)):
        if alone:
            say(f"only in {name}: {', '.join(alone)}")
    worse = any(settings.fails(check.outcome) for one in compared for check in one.checks)
    return 1 if worse or lost else 0
