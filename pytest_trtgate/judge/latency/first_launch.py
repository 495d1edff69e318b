"""What a single launch leaves open of an engine, beside its budgets and its baseline engine.

An engine that is the baseline's byte for byte cannot have become slower: one launch shows it, and whether the machine
did. Whatever else is compared or stored has to do with the level of a session, for which a launch is too few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...records import REFERENCE
from ...settings import Speedup
from .candidate import Against, Candidate
from .design import SHARP, SHARP_SHOWN
from .platform import CONFIDENCE, LIKE_STORED, PlatformChange, platform_change, shared
from .regression import one_launch_leaves


@dataclass(frozen=True)
class Question:
    """What is to be known of an engine.

    Attributes:
        candidate: The engine.
        stored: Whether its launches may become a session that is stored: they are to be a baseline, or have none.
        against: The baseline, if any.
        speedup: The rule against another arm, if any.
    """

    candidate: Candidate
    stored: bool = False
    against: Against | None = None
    speedup: Speedup | None = None

    @property
    def is_shown(self) -> bool:
        """Whether nothing but the machine is judged by its time: the engine is the baseline's."""
        judged = self.stored or self.speedup or self.candidate.budgets_ms or self.candidate.context != "engine"
        return self.against is not None and self.against.same_engine and not judged

    @property
    def sharp(self) -> dict[str, float]:
        """To which ratio of it each percentile is to be known in a launch; empty where all samples count.

        A budget counts how many inferences took longer.
        """
        if self.is_shown:
            return {"p50": SHARP_SHOWN}
        if self.candidate.budgets_ms:
            return {}
        return {name: SHARP[name] * threshold for name, threshold in self.candidate.thresholds.items()}

    @property
    def needs_checkpoint(self) -> bool:
        """Whether the ``.pt`` is more than shown: stored, compared with, or a control for stored sessions."""
        over_checkpoint = self.speedup is not None and self.speedup.over == REFERENCE
        return self.stored or over_checkpoint or self._since_sessions

    @property
    def _since_sessions(self) -> bool:
        """Whether the engine is judged by stored sessions, be it that only what is around it can be slower."""
        if self.against is None or self.candidate.is_replayed:
            return False
        return not (self.against.same_engine and self.candidate.context == "engine")

    def has_rest(self, weights_sha256: str) -> bool:
        """Whether a stored session tells what engines alone do not: the ``.pt``, and both contexts."""
        sessions = self.against.baseline.sessions if self.against else ()
        return any(session.is_whole(weights_sha256) for session in sessions)

    def unlike(self, confidence: float) -> PlatformChange | None:
        """Return how the machine may have changed since the stored sessions, by the engine and the ``.pt``."""
        if self.against is None:
            return None
        candidate = self.candidate
        return platform_change(candidate.latency, self.against.baseline, candidate.context, confidence=confidence)

    def beyond_one(self) -> tuple[frozenset[str], str]:
        """Return which arms further launches have to time, up to as many as a session has, and why; or none."""
        needs = list(self._needs())
        return frozenset().union(*(arms for arms, _ in needs)), ", ".join(why for _, why in needs)

    def _needs(self) -> Iterator[tuple[set[str], str]]:
        candidate, against = self.candidate, self.against
        arm = candidate.arm
        if self.stored:
            yield {arm, REFERENCE}, "is to be stored" if against else "has no baseline"
        if self.speedup is not None:
            yield {arm, self.speedup.over}, f"is compared with {self.speedup.over}"
        if against is None or self.stored:
            return
        if self._since_sessions and (undecided := one_launch_leaves(candidate, against)):
            yield {arm, REFERENCE}, f"{' and '.join(undecided)} cannot be told from stored sessions by one launch"
        change = self.unlike(LIKE_STORED)
        if change is not None and change.is_sure:
            controls = {control.arm for control in change.controls}
            yield controls | {REFERENCE}, "is unlike its stored sessions, and so may the machine be"


def may_have_moved(questions: Sequence[Question]) -> bool:
    """Return whether a launch of engines without the ``.pt`` is unlike the stored sessions.

    Each engine is a control of the others then: all have moved in one direction, or one of them by so much that a
    verdict would say so.
    """
    found = [change for question in questions if (change := question.unlike(LIKE_STORED)) is not None]
    controls = tuple(control for change in found for control in change.controls)
    surely = (change for question in questions if (change := question.unlike(CONFIDENCE)) is not None)
    return any(change.is_sure for change in surely) or (bool(controls) and shared(controls, LIKE_STORED).is_sure)
