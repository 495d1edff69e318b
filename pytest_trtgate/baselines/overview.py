"""The baselines of a project: what is stored, what is unused, and what accepting a run would change."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from statistics import median

from .. import text as fmt
from ..errors import BaselineError
from ..judge.latency.wording import MEDIAN
from ..records import (
    ALLOW_BUSY,
    BUSY,
    Accepted,
    AccuracyBaseline,
    Baseline,
    Cell,
    Stamp,
    cell_of_key,
    file_sha256,
    stamp,
)
from ..settings import PERCENTILES, Settings
from .acceptance import Acceptable, Acceptance
from .renames import renamed
from .store import load_either
from .waivers import load_waivers


@dataclass(frozen=True)
class Stored:
    """One baseline file.

    Attributes:
        baseline: What it holds, None where it cannot be read.
        problem: Why it cannot be read.
        why_unused: Why no run of the project would look at it; empty where one would.
        renamed: What takes it along, where the checkpoint has only another name by now; it is not unused then.
    """

    path: Path
    baseline: AccuracyBaseline | Baseline | None
    problem: str = ""
    why_unused: str = ""
    renamed: str = ""

    @property
    def machine(self) -> str:
        """The kind of machine that it is of, as its folder says."""
        return self.path.parts[-3]


def stored(root: Path, settings: Settings) -> list[Stored]:
    """Return all baselines under a folder, by machine and path."""
    found = []
    for path in sorted(root.glob("*/*/*.json")):
        try:
            baseline = load_either(path)
        except BaselineError as error:
            found.append(Stored(path, None, problem=str(error)))
            continue
        now = _renamed_to(baseline, settings)
        why = "" if now else unused_because(baseline.cell, settings)
        found.append(Stored(path, baseline, "", why, renamed(baseline.cell.model, now) if now else ""))
    return found


def _renamed_to(baseline: Accepted, settings: Settings) -> str:
    """Return the name that the checkpoint of a baseline has in the settings by now; empty where it is not renamed."""
    models = {model.name: model.path for model in settings.models}
    if not baseline.checkpoint_sha256 or baseline.cell.model in models:
        return ""
    with suppress(OSError):
        return next((name for name, path in models.items() if baseline.is_of(_sha256(path, stamp(path)))), "")
    return ""


@lru_cache
def _sha256(path: Path, _: Stamp | None) -> str:
    return file_sha256(path)


def unused_because(cell: Cell, settings: Settings) -> str:
    """Return why a run with these settings has no such cell; empty where it has, or where they name no model."""
    weights = {model.name: model.path for model in settings.models}
    if not weights:
        return ""
    if cell.model not in weights:
        return f"no model '{cell.model}' in the settings"
    if not weights[cell.model].exists():
        return f"{weights[cell.model]} does not exist"
    if cell.precision not in settings.precisions:
        return f"no precision {cell.precision} in the settings"
    pairs: list[tuple[str, object, object]] = [
        ("imgsz", cell.imgsz, settings.of(cell.model).imgsz),
        ("batch", cell.batch, settings.batch),
    ]
    pairs += [("backend", cell.backend, settings.backend)] if settings.backend != "auto" else []
    return next((f"{name} is {wanted} in the settings" for name, has, wanted in pairs if has != wanted), "")


def delete(baselines: Iterable[Stored]) -> None:
    """Delete baseline files, and the folders that are then empty.

    Raises:
        BaselineError: One cannot be deleted.
    """
    for one in baselines:
        try:
            one.path.unlink()
            for folder in (one.path.parent, one.path.parent.parent):
                if not any(folder.iterdir()):
                    folder.rmdir()
        except OSError as error:
            raise BaselineError(f"{one.path}: cannot be deleted ({error.strerror})") from error


def overview(root: Path, settings: Settings, today: date) -> Iterator[str]:
    """Yield the lines of ``trtgate baseline show`` on a day in UTC."""
    baselines = stored(root, settings)
    machine = ""
    for one in baselines:
        if one.machine != machine:
            machine = one.machine
            yield machine
        if one.baseline is None:
            yield f"  unusable: {one.problem}"
            continue
        yield f"  {one.baseline.cell.key}"
        yield from (f"    {line}" for line in _facts(one.baseline, settings))
        yield from (f"    accepted: {fmt.clip(said, 400)}" for said in filter(None, _accepted(one.baseline)))
        if one.renamed:
            yield f"    renamed: {one.renamed}"
        if one.why_unused:
            yield f"    unused: {one.why_unused}"
    count = sum(bool(one.why_unused) for one in baselines)
    yield f"{fmt.plural(len(baselines), 'baseline')} in {root}, {count} unused"
    for waiver in load_waivers(root).waivers:
        expired = "" if waiver.holds(today) else " (expired)"
        cell = cell_of_key(waiver.cell)
        unused = f"; unused: {why}" if cell and (why := unused_because(cell, settings)) else ""
        yield f"{waiver.what}: waived until {waiver.until}{expired}: {waiver.reason}{unused}"


def _facts(baseline: AccuracyBaseline | Baseline, settings: Settings) -> Iterator[str]:
    if baseline.accuracy:
        metrics = ", ".join(f"{name} {value:.4f}" for name, value in baseline.accuracy.items())
        yield f"{metrics}; {fmt.plural(baseline.images, 'image')}"
    if isinstance(baseline, AccuracyBaseline):
        where = f"{baseline.environment.machine}, {baseline.environment.backend} {baseline.environment.backend_version}"
        yield fmt.plain(f"measured on {where}{_when(fmt.date(baseline.recorded_at), baseline.commit)}")
        return
    context = settings.latency.context
    levels = [(name, _levels(baseline, settings, percent)) for name, percent in PERCENTILES.items()]
    times = ", ".join(f"{name} {fmt.ms(median(values))}" for name, values in levels if values)
    sessions = fmt.plural(len(baseline.sessions), "session")
    newest = baseline.sessions[-1] if baseline.sessions else None
    when = _when(f"last {fmt.date(newest.recorded_at)}", newest.commit) if newest else ""
    yield fmt.plain(f"{times or 'no latency'} ({context}, {MEDIAN}); {sessions}{when}")
    history = _levels(baseline, settings, 50)
    if len(history) > 1:
        yield fmt.plain(f"p50 per session: {', '.join(map(fmt.number, history))} ms")
    for session in baseline.sessions:
        if session.busy:
            busy = fmt.clip(session.busy, 300)
            yield f"session of {fmt.date(session.recorded_at)} was accepted though the machine was busy: {busy}"


def _accepted(baseline: AccuracyBaseline | Baseline) -> Iterator[str]:
    """Yield what was judged when it was accepted, without the busy machine that its session's line has told."""
    for said in baseline.accepted:
        for session in baseline.sessions if isinstance(baseline, Baseline) else ():
            said = said.removesuffix(f"the machine was busy: {session.busy}").removesuffix("; ")
        yield said


def _when(moment: str, commit: str | None) -> str:
    return f", {moment}" + (f", commit {fmt.digest(commit)}" if commit else "")


def _levels(baseline: Baseline, settings: Settings, percent: int) -> list[float]:
    """Return one percentile per stored session: the median of its launches, in milliseconds."""
    return [median(session) for session in baseline.per_session_ms(settings.latency.context, percent)]


def changes(acceptance: Acceptance, cells: Iterable[Cell]) -> Iterator[str]:
    """Yield the lines of ``trtgate baseline diff``: what accepting some cells of a run would change."""
    for cell in cells:
        found = acceptance.of(cell)
        if isinstance(found, str):
            yield f"{cell.label}: cannot be accepted, since {found}"
            continue
        yield f"{cell.label}: {_effect(found)}"
        yield from (f"  {line}" for line in _rows(found, acceptance))
        if found.remark:
            yield f"  {found.remark}"
        if found.refusal and not acceptance.why_never(cell):
            yield f"  accepting needs {ALLOW_BUSY}: {acceptance.run.preflight.busy} [{BUSY}]"
        elif found.refusal:
            yield f"  accepting is refused, since {found.refusal}"


def _effect(found: Acceptable) -> str:
    measured = found.measured
    if len(found.known) == (measured.session is not None) + (measured.accuracy is not None):
        return "the baseline has this run already"
    if measured.session is None:
        return "would replace its accuracy" if found.accuracy else "would get its first accuracy"
    if found.before is None:
        return "would get its first latency on this machine" if found.accuracy else "would get its first baseline"
    count = fmt.plural(len(found.before.sessions), "stored session")
    return f"would join {count}" if found.join else f"would replace {count}"


def _rows(found: Acceptable, acceptance: Acceptance) -> Iterator[str]:
    settings, cell = acceptance.settings, found.measured.cell
    for name, now in found.measured.accuracy.metrics.items() if found.measured.accuracy else ():
        then = found.accuracy.accuracy.get(name) if found.accuracy else None
        yield f"{name:<10} {now:.4f}" if then is None else f"{name:<10} {then:.4f} -> {now:.4f} ({now - then:+.4f})"
    for name, percent in PERCENTILES.items() if found.measured.session else ():
        latency = acceptance.run.latencies[cell.model]
        now_ms = latency.per_launch_ms(cell.precision, settings.latency.context, percent)
        new = median(now_ms) if now_ms else None
        old = _levels(found.before, settings, percent) if found.before else []
        if not old or new is None:
            yield fmt.plain(f"{name:<10} {fmt.ms(new)}")
            continue
        moved = fmt.percent(new / median(old) - 1)
        yield fmt.plain(f"{name:<10} {fmt.number(median(old))} -> {fmt.ms(new)} ({moved})")
