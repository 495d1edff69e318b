"""What all arms of a model share since their stored sessions: the machine changed, whichever engine is judged.

Engines that are timed side by side, or have the same bytes, cannot tell it. The accepted engine and the ``.pt`` can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ..judge.latency.platform import PlatformChange, platform_change
from ..judge.latency.wording import ms, percent
from ..records import REFERENCE, Baseline, Cell, Context, Environment, LatencyRecord, MachineState
from ..text import plural

CLOCK_MOVED = 0.03
"""From this change on, a GPU's clock is said to be another."""


@dataclass(frozen=True)
class Now:
    """The launches of a model, and what is known of the machine that made them.

    Attributes:
        latency: The launches.
        environment: The machine.
        context: Which timing is gated.
        busy: What kept the machine busy before them; empty where nothing did.
    """

    latency: LatencyRecord
    environment: Environment
    context: Context
    busy: str = ""


def platform_changed(cell: Cell, baselines: Mapping[Cell, Baseline], now: Now, *, earlier_run: bool = False) -> str:
    """Return in a sentence by how much the machine moved a cell's latency since the stored sessions; else nothing.

    The sentence tells of all cells of the model that moved the same way, so that each of them has the same.

    Args:
        cell: The cell.
        baselines: Those of the model's cells that can be compared with.
        now: What was measured.
        earlier_run: The baselines are one earlier run, which nobody has accepted.
    """
    every = {
        other: change
        for other, baseline in baselines.items()
        if (change := platform_change(now.latency, baseline, now.context)) is not None
    }
    found = {other: change for other, change in every.items() if change.is_sure}
    if cell not in found:
        return _alone(cell, every[cell], baselines[cell], now, earlier_run) if cell in every else ""
    alike = {other: change for other, change in found.items() if (change.change > 0) == (found[cell].change > 0)}
    shared = min((change.change for change in alike.values()), key=abs)
    limits = min(change.lower for change in alike.values()), max(change.upper for change in alike.values())
    arms = _arms(alike)
    what = "everything" if len(arms) > 1 else "the " + next(iter(arms))
    since = _then(alike.values(), earlier_run)
    first = baselines[next(iter(alike))]
    return (
        f"{cell.model}: {what} is {_moved(shared)} than in {since} "
        f"(99 % limits {percent(limits[0])} and {percent(limits[1])}): "
        f"{', '.join(f'{name} {times}' for name, times in arms.items())}; since then: {_since(first, now)}"
    )


def _alone(cell: Cell, change: PlatformChange, baseline: Baseline, now: Now, earlier_run: bool) -> str:
    """Return in a sentence that the accepted engine is far from its stored sessions, and the ``.pt`` is not."""
    if (engine := change.alone) is None:
        return ""
    arms = _arms({cell: change})
    return (
        f"{cell.label}: the accepted engine, byte by byte, is {_moved(engine.change)} than in "
        f"{_then([change], earlier_run)} (99 % limits {percent(engine.lower)} and {percent(engine.upper)}), and the "
        f".pt is not: {', '.join(f'{name} {times}' for name, times in arms.items())}; since then: "
        f"{_since(baseline, now)}"
    )


def _moved(change: float) -> str:
    return f"{percent(abs(change))} {'slower' if change > 0 else 'faster'}"


def _then(changes: Iterable[PlatformChange], earlier_run: bool) -> str:
    return "the earlier run" if earlier_run else _sessions([change.sessions for change in changes])


def _arms(changes: Mapping[Cell, PlatformChange]) -> dict[str, str]:
    """Return the times of each arm then and now, the ``.pt`` last."""
    told = {
        ".pt" if control.arm == REFERENCE else f"accepted {cell.precision} engine": control
        for cell, change in changes.items()
        for control in change.controls
    }
    ordered = sorted(told.items(), key=lambda pair: pair[0] == ".pt")
    return {name: f"{ms(control.then_ms)} -> {ms(control.now_ms)} ms" for name, control in ordered}


def _sessions(counts: Sequence[int]) -> str:
    fewest, most = min(counts), max(counts)
    if most == 1:
        return "the stored session"
    return f"the {f'{fewest} to ' if fewest < most else ''}{plural(most, 'stored session')}"


def _since(baseline: Baseline, now: Now) -> str:
    """Return what changed since the newest stored session, and what did not though it often explains a change."""
    newest, here = baseline.sessions[-1], now.environment
    then, platform = baseline.platform_of(newest), here.platform
    known = {name: (then[name], value) for name, value in platform.items() if value and then.get(name)}
    changed = [f"{name} {before} -> {after}" for name, (before, after) in known.items() if before != after]
    changed += _clocks([launch.after for launch in now.latency.launches], [x.state for x in newest.launches])
    busy = {"then": newest.busy, "now": now.busy}
    changed += [f"the machine was busy {when}: {why}" for when, why in busy.items() if why]
    usual = ("driver", "power", here.backend, "torch")
    same = [f"{name} {known[name][1]}" for name in usual if name in known and len(set(known[name])) == 1]
    as_before = f"as before {', '.join(same)}" if same else ""
    return "; ".join(filter(None, (", ".join(changed) or "nothing that is known changed", as_before)))


def _clocks(now: Iterable[MachineState], then: Iterable[MachineState]) -> Iterator[str]:
    """Yield the GPU's clocks that are others now, in MHz, medians over launches."""
    states = list(now), list(then)
    for name, field in (("GPU clock", "sm_mhz"), ("GPU memory clock", "memory_mhz")):
        after, before = ([mhz for state in found if (mhz := getattr(state, field))] for found in states)
        if after and before and abs(median(after) / median(before) - 1) > CLOCK_MOVED:
            yield f"{name} {median(before):.0f} -> {median(after):.0f} MHz"
