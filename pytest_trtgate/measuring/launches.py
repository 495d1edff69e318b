"""The launches of one model: repeated where unfit, extended where they did not decide, without broken arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from zipfile import BadZipFile

from ..errors import JobError
from ..jobs import ArmRequest
from ..judge.latency.fitness import unfit
from ..records import (
    PLACEBOS,
    PRECISIONS,
    REFERENCE,
    REPLAYS,
    Context,
    EngineRecord,
    Failure,
    LatencyRecord,
    Launch,
    placebo_of,
)

REPEATS = 3
"""So many unfit launches of a model are repeated; a further one stays, and nothing is judged by it."""
PROBE_SAMPLES = 5


@dataclass(frozen=True)
class Extension:
    """Launches that are still needed: until there are ``launches`` in all, of the arms that are named; and why.

    ``confirms``: those so far point to a failure, which the others are to confirm.
    """

    launches: int
    arms: frozenset[str]
    why: str = ""
    confirms: bool = False


class Comparison(Protocol):
    """What a model's engines are to be compared with, and when there are enough launches for it."""

    def replays(self, engines: Mapping[str, EngineRecord]) -> list[ArmRequest]:
        """Return the stored baseline engines to be timed beside a model's engines, which come by precision."""

    def more(self, record: LatencyRecord) -> Extension | None:
        """Return what is still needed after some launches, or None."""


class LaunchSeries:
    """Makes the launches of one model.

    Args:
        start: The record to fill: the model, its shape, and which of its arms failed before they could be timed.
        arms: The ``.pt``, the engines, and stored baseline engines.
        launch: Makes one launch of some arms: its name, number, arms, and samples where fewer are enough.
        milestone: Told in one sentence what was begun.
    """

    def __init__(
        self,
        start: LatencyRecord,
        arms: Iterable[ArmRequest],
        launch: Callable[[str, int, list[ArmRequest], int | None], Launch],
        milestone: Callable[[str], None],
    ) -> None:
        self.record = start
        self.arms = list(arms)
        self.launch = launch
        self.milestone = milestone

    def run(self, count: int, more: Callable[[LatencyRecord], Extension | None]) -> LatencyRecord:
        """Return the record of ``count`` launches of all arms, and of those that ``more`` asks for after them.

        Raises:
            JobError: The ``.pt`` or every engine cannot be timed.
        """
        wanted: Extension | None = Extension(count, frozenset(arm.arm for arm in self.arms))
        while wanted is not None:
            done = self._add(wanted)
            enough = len(self.record.launches) >= wanted.launches
            # Without an arm that turned out to be broken, the launches so far may do.
            if enough or (not done and len(self.record.launches) >= count):
                wanted = more(self.record)
                if wanted is not None:
                    self._say_why(wanted)
        return self.record

    def _say_why(self, wanted: Extension) -> None:
        have = len(self.record.launches)
        more = wanted.launches - have
        said = f"point to a failure, {more} more to confirm it" if wanted.confirms else f"do not decide, {more} more"
        self.milestone(f"{self.record.model}: {have} launches {said}: {wanted.why}")

    def _add(self, wanted: Extension) -> bool:
        """Make one launch; return whether there was one, rather than an arm that is broken."""
        arms = self._requests(wanted.arms)
        have, discarded = len(self.record.launches), self.record.discarded
        number = have + len(discarded)
        names = ", ".join(arm.arm for arm in arms)
        self.milestone(f"{self.record.model}: launch {have + 1} of {wanted.launches}, timing {names}")
        try:
            launch = self.launch(f"launch-{self.record.model}-{number + 1}", number, arms, None)
        except JobError as error:
            self._drop_broken(arms, error)
            return False
        why = unfit(launch)
        if why and len(discarded) < REPEATS:
            self.milestone(f"{self.record.model}: the launch is repeated, since {why}")
            self._update(discarded=(*discarded, why))
        else:
            self._update(launches=(*self.record.launches, launch))
        return True

    def _requests(self, names: frozenset[str]) -> list[ArmRequest]:
        found = [arm for arm in self.arms if arm.arm in names]
        copies = [arm.model_copy(update={"arm": copy}) for arm in found if (copy := placebo_of(arm.arm)) in names]
        return found + copies

    def _drop_broken(self, arms: list[ArmRequest], error: JobError) -> None:
        """Go on without the arms that fail alone; where none does, without the baseline engines of the launch."""
        bad: dict[str, Failure] = {}
        for arm in arms:
            if arm.arm in PLACEBOS:
                continue
            self.milestone(f"{self.record.model}: the launch failed; trying {arm.arm} alone")
            try:
                self.launch(f"probe-{self.record.model}-{arm.arm}", 0, [arm], PROBE_SAMPLES)
            except JobError as failed:
                bad[arm.arm] = Failure.of(failed)
        bad = bad or {arm.arm: Failure.of(error) for arm in arms if arm.arm in REPLAYS}
        self._update(failures={**self.record.failures, **bad})
        self.arms = [arm for arm in self.arms if arm.arm not in bad]
        if not bad or REFERENCE in bad or not any(arm.arm in PRECISIONS for arm in self.arms):
            raise error from None

    def _update(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)


def with_counts(
    launch: Launch, samples: Path, context: Context, budgets_ms: Mapping[str, Mapping[str, float]]
) -> Launch:
    """Return a launch with how many of its inferences were over budget.

    Args:
        launch: The launch.
        samples: Its ``.npz`` of durations in nanoseconds, one array per ``ARM/CONTEXT``.
        context: The context that budgets apply to.
        budgets_ms: Per arm and percentile.

    Raises:
        JobError: The samples cannot be read.
    """
    arms = dict(launch.arms)
    wanted = {name: budgets for name, budgets in budgets_ms.items() if budgets and name in arms}
    if not wanted:
        return launch
    import numpy as np

    try:
        with np.load(samples) as arrays:
            for name, budgets in wanted.items():
                durations = arrays[f"{name}/{context}"]
                over = {percentile: int((durations > ms * 1e6).sum()) for percentile, ms in budgets.items()}
                arms[name] = arms[name].model_copy(update={"over_budget": over})
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise JobError(samples.parent.name, f"{samples.name}: the samples cannot be read ({error})") from error
    return launch.model_copy(update={"arms": arms})
