"""The launches of one model: repeated where unfit, extended where they decide nothing, without broken arms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import JobError, MachineLostError
from ..jobs import ArmRequest
from ..judge.latency.fitness import unfit
from ..records import PLACEBOS, PRECISIONS, REFERENCE, REPLAYS, Failure, LatencyRecord, Launch, placebo_of
from ..text import plural

REPEATS = 3
"""Unfit launches of a model that are repeated; a further one stays, and nothing is judged by it."""
LaunchKind = Literal["first", "further", "probe"]
"""The first of a model shows what none is judged by; a probe tells whether an arm can be timed at all."""


@dataclass(frozen=True)
class Extension:
    """Launches of some arms that are still needed, until there are ``launches`` in all, and why.

    ``confirms``: those so far point to a failure, which further ones are to confirm.
    """

    launches: int
    arms: frozenset[str]
    why: str = ""
    confirms: bool = False


class LaunchSeries:
    """Makes the launches of one model, and fills the record ``start``, in which some arms may have failed already.

    ``launch`` makes one: its name, number, arms and kind.
    """

    def __init__(
        self,
        start: LatencyRecord,
        arms: Iterable[ArmRequest],
        launch: Callable[[str, int, list[ArmRequest], LaunchKind], Launch],
        milestone: Callable[[str], None],
    ) -> None:
        self.record = start
        self.arms = list(arms)
        self.launch = launch
        self.milestone = milestone

    def run(self, first: Extension, more: Callable[[LatencyRecord], Extension | None]) -> LatencyRecord:
        """Return the record of a first launch, and of those that ``more`` asks for after it and later.

        ``first``: its arms, and how many launches there will be as far as is known.

        Raises:
            JobError: The ``.pt`` or every engine cannot be timed.
        """
        wanted: Extension | None = first
        while wanted is not None:
            done = self._add(wanted)
            have, known = len(self.record.launches), wanted.launches
            # Without an arm that turned out to be broken, the launches so far may do.
            if have >= known or (have and not done) or (have == 1 and done):
                wanted = more(self.record)
                if wanted is not None and wanted.launches > known:
                    self._say_why(wanted)
        return self.record

    def _say_why(self, wanted: Extension) -> None:
        have = len(self.record.launches)
        more, points, do = wanted.launches - have, *(("points", "does") if have == 1 else ("point", "do"))
        said = (
            f"{points} to a failure, {more} more to confirm it" if wanted.confirms else f"{do} not decide, {more} more"
        )
        self.milestone(f"{self.record.model}: {plural(have, 'launch')} {said}: {wanted.why}")

    def _add(self, wanted: Extension) -> bool:
        """Make one launch; return whether there was one, rather than an arm that is broken."""
        arms = self._requests(wanted.arms)
        have, discarded = len(self.record.launches), self.record.discarded
        number = have + len(discarded)
        names = ", ".join(arm.arm for arm in arms)
        self.milestone(f"{self.record.model}: launch {have + 1} of {wanted.launches}, timing {names}")
        try:
            launch = self.launch(
                f"launch-{self.record.model}-{number + 1}", number, arms, "further" if have else "first"
            )
        except MachineLostError:
            raise
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
        copies = [
            arm.model_copy(update={"arm": copy, "budgets_ms": {}})
            for arm in found
            if (copy := placebo_of(arm.arm)) in names
        ]
        return found + copies

    def _drop_broken(self, arms: list[ArmRequest], error: JobError) -> None:
        """Drop the arms that fail alone too; where none does, the baseline engines of the launch."""
        bad: dict[str, Failure] = {}
        for arm in arms:
            if arm.arm in PLACEBOS:
                continue
            self.milestone(f"{self.record.model}: the launch failed; trying {arm.arm} alone")
            try:
                self.launch(f"probe-{self.record.model}-{arm.arm}", 0, [arm], "probe")
            except JobError as failed:
                bad[arm.arm] = Failure.of(failed)
        bad = bad or {arm.arm: Failure.of(error) for arm in arms if arm.arm in REPLAYS}
        self._update(failures={**self.record.failures, **bad})
        self.arms = [arm for arm in self.arms if arm.arm not in bad]
        if not bad or REFERENCE in bad or not any(arm.arm in PRECISIONS for arm in self.arms):
            raise error from None

    def _update(self, **changes: object) -> None:
        self.record = self.record.model_copy(update=changes)
