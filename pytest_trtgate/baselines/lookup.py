"""Which baseline a cell of a run is compared with, and why its latency is incompatible where it is."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..errors import BaselineError, JobError
from ..machine import differences
from ..records import (
    NONE_YET,
    AccuracyUse,
    Baseline,
    BaselineUse,
    Cell,
    EngineRecord,
    Environment,
    Head,
    Outcome,
    Subject,
    Workspace,
)
from .renames import renamed
from .store import BaselineStore

DAMAGED = "damaged"


def machine_differences(
    now: Environment, threads_now: Collection[int], then: Environment, threads_then: Collection[int]
) -> list[str]:
    """Return what of two machines makes latencies incomparable, such as ``threads 1, baseline 4``."""
    found = differences(now, then)
    if threads_now and threads_then and set(threads_now) != set(threads_then):
        numbers = [", ".join(map(str, sorted(set(threads)))) for threads in (threads_now, threads_then)]
        found.append(f"threads {numbers[0]}, baseline {numbers[1]}")
    return found


def session_threads(baseline: Baseline) -> set[int]:
    """Return the numbers of threads that the sessions of a baseline were timed with."""
    return {session.threads for session in baseline.sessions}


def other_heads(now: Head | None, then: Head | None) -> bool:
    """Return whether two engines are known to be built for different heads: no time of one tells of the other."""
    return now is not None and then is not None and now != then


def _of_heads(engine: EngineRecord, baseline: Baseline) -> str:
    """Return that an engine does other work than the accepted one, and what to do."""
    said = f"the engine is built for {engine.head}, the baseline's for {baseline.head}"
    if engine.given is None:
        return f"{said} (export.nms): set that as it was, or accept this engine in its place"
    return f"{said}: accept this one under a model name of its own (name = ... in models), or in its place"


@dataclass(frozen=True)
class BaselineLookup:
    """The baselines of a run's cells, each looked for once.

    Attributes:
        store: Where they are.
        mode: Whether the run checks baselines, adds them or updates them.
        threads: With how many threads the run times its engines.
        workspace: Where each baseline is put for the run's record.
        engine_of: Returns a cell's engine.
        former_name: Returns the name that a cell's checkpoint had when baselines of it were stored; mostly empty.
    """

    store: BaselineStore
    mode: str
    threads: int
    workspace: Workspace
    engine_of: Callable[[Cell], EngineRecord]
    former_name: Callable[[Cell], str]
    _uses: dict[Cell, BaselineUse] = field(default_factory=dict)
    _accuracies: dict[Cell, AccuracyUse] = field(default_factory=dict)

    def accepts(self, cell: Cell, subject: Subject) -> bool:
        """Return whether this run is to write a baseline of the cell instead of being judged against it."""
        if self.mode != "add":
            return self.mode == "update"
        if subject == "latency":
            return self.store.there(cell) is None
        try:
            stored = self.accuracy_use(cell).baseline
        except BaselineError:  # the verdict says so
            return False
        return stored is None or stored.cell.backend != cell.backend

    def comparable(self, cell: Cell) -> Baseline | None:
        """Return the baseline that a cell's latency is to be compared with, if any.

        Raises:
            BaselineError: It is damaged.
        """
        use = self.use(cell)
        return use.baseline if use.outcome is Outcome.PASS else None

    def use(self, cell: Cell) -> BaselineUse:
        """Return the baseline of a cell, INCOMPATIBLE where its latency cannot be compared with; raises as above."""
        if cell not in self._uses:
            use = self._uses[cell] = self._find(cell)
            self.workspace.put(f"baseline-{cell.key}", use)
        return self._uses[cell]

    def accuracy_use(self, cell: Cell) -> AccuracyUse:
        """Return the accepted accuracy of a cell; raises as above."""
        if cell not in self._accuracies:
            use = self._accuracies[cell] = self._find_accuracy(cell)
            self.workspace.put(f"accepted-{cell.key}", use)
        return self._accuracies[cell]

    def _find_accuracy(self, cell: Cell) -> AccuracyUse:
        try:
            use = self.store.find_accuracy(cell)
        except BaselineError:
            if self.mode != "update":
                raise
            return AccuracyUse(path=str(self.store.accuracy_path(cell)), outcome=Outcome.NO_BASELINE, note=DAMAGED)
        return use if use.baseline else use.model_copy(update={"note": self._note(cell, use.note)})

    def _find(self, cell: Cell) -> BaselineUse:
        try:
            use = self.store.find(cell)
        except BaselineError:
            if self.mode != "update":
                raise
            return BaselineUse(path=str(self.store.path(cell)), outcome=Outcome.NO_BASELINE, note=DAMAGED)
        if use.baseline is None:
            return use.model_copy(update={"note": self._note(cell, use.note)})
        why = self._why_not_comparable(cell, use.baseline)
        if not why:
            return use
        note = f"its latency is incompatible: {why}"
        return use.model_copy(update={"outcome": Outcome.INCOMPATIBLE, "note": note})

    def _note(self, cell: Cell, note: str) -> str:
        """Return why there is no baseline: what a renamed checkpoint left behind says more than that there is none."""
        former = self.former_name(cell) if note == NONE_YET else ""
        return f"{note}; {renamed(former, cell.model)}" if former else note

    def _why_not_comparable(self, cell: Cell, baseline: Baseline) -> str:
        found = machine_differences(
            self.store.environment, {self.threads}, baseline.environment, session_threads(baseline)
        )
        try:
            engine = self.engine_of(cell) if baseline.head else None
        except JobError:
            engine = None
        if engine is not None and other_heads(engine.head, baseline.head):
            found.append(_of_heads(engine, baseline))
        return "; ".join(found)
