"""Fixtures: a ladder from the cell to its verdicts; each rung may be overridden or taken alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pytest

from .. import text as fmt
from ..errors import JobError, TrtGateError
from .options import rerun_command

if TYPE_CHECKING:
    from ..records import AccuracyRecord, Cell, Subject, Verdict
    from ..verdicts import GateRun
    from .handles import CellLatency, Engine
    from .run import GatePlugin


@pytest.fixture(scope="session")
def trt_cell(request: pytest.FixtureRequest) -> Cell:
    """The cell that a test is about: model, precision, image size, batch, backend, device and, of several, machine.

    Session scope; parametrized by the plugin over the machines, models and precisions of the settings. Costs nothing.
    Fails where the settings name no usable model or dataset.
    """
    cell: Cell | None = getattr(request, "param", None)
    if cell is None:
        _fail(plugin_of(request.config).problem or "the gate has no cells")
    return cell


@pytest.fixture(scope="session")
def trt_precision(trt_cell: Cell) -> str:
    """The precision that a test is about: ``fp32``, ``fp16`` or ``int8``. Session scope; costs nothing."""
    return trt_cell.precision


@pytest.fixture(scope="session")
def trt_engine(request: pytest.FixtureRequest, trt_cell: Cell) -> Engine:
    """The cell's engine on disk: path, size in bytes, digest, how it was built.

    Session scope. Costs a build in a process of its own, or a look into the engine cache. Fails where the build fails.
    """
    from .handles import Engine

    try:
        return Engine(_ready(request.config, trt_cell).engines.of(trt_cell))
    except TrtGateError as error:
        _fail(error)


@pytest.fixture(scope="session")
def trt_accuracy(request: pytest.FixtureRequest, trt_cell: Cell) -> AccuracyRecord:
    """The accuracy of the cell's engine: the metrics of its task (mAP50, top1, ...) from 0 to 1, overall and per class.

    Session scope. Costs the engine and an evaluation of the split: one pass over its images for all precisions that the
    run's tests are about. Fails where either fails.
    """
    try:
        return _ready(request.config, trt_cell, "accuracy").evaluations.engine(trt_cell)
    except TrtGateError as error:
        _fail(error)


@pytest.fixture(scope="session")
def trt_latency(request: pytest.FixtureRequest, trt_cell: Cell) -> CellLatency:
    """The latency of the cell's engine: p50, p95 and p99 in milliseconds, images per second, every sample.

    Session scope. Costs the engines of all precisions of the model and the launches, once per model. Fails where this
    engine cannot be built or timed.
    """
    from .handles import CellLatency

    try:
        session = _ready(request.config, trt_cell, "latency")
        since = partial(session.since_baseline, trt_cell)
        return CellLatency(session.latency(trt_cell, whole=True), trt_cell, session.workspace.path, since)
    except TrtGateError as error:
        _fail(error)


@pytest.fixture
def trtgate(request: pytest.FixtureRequest, trt_cell: Cell) -> Iterator[Gate]:
    """The gate on one cell: ``check_accuracy()`` and ``check_latency()`` measure, judge, and fail the test on FAIL.

    Function scope. Costs nothing until a check is called. Fails the run where a test passes that asked it nothing.
    """
    gate = Gate(request, trt_cell)
    yield gate
    others = {"trt_engine", "trt_accuracy", "trt_latency"}.intersection(request.fixturenames)
    if not (gate.is_asked or others):
        plugin_of(request.config).idle.add(request.node.nodeid)


class Gate:
    """The checks of one cell, for one test.

    Attributes:
        is_asked: Whether the test has asked anything of it.
    """

    def __init__(self, request: pytest.FixtureRequest, cell: Cell) -> None:
        self._cell = cell
        self._request = request
        self.is_asked = False

    def __repr__(self) -> str:
        return f"<Gate {self._cell.key}>"

    @property
    def cell(self) -> Cell:
        """The cell."""
        self.is_asked = True
        return self._cell

    @property
    def engine(self) -> Engine:
        """The cell's engine, as from ``trt_engine``."""
        self.is_asked = True
        engine: Engine = self._request.getfixturevalue("trt_engine")
        return engine

    @property
    def accuracy(self) -> AccuracyRecord:
        """The engine's accuracy, as from ``trt_accuracy``."""
        self.is_asked = True
        accuracy: AccuracyRecord = self._request.getfixturevalue("trt_accuracy")
        return accuracy

    @property
    def latency(self) -> CellLatency:
        """The engine's latency, as from ``trt_latency``."""
        self.is_asked = True
        latency: CellLatency = self._request.getfixturevalue("trt_latency")
        return latency

    def check_accuracy(self) -> Verdict:
        """Judge the engine's accuracy against the ``.pt`` and the baseline; fail the test where the verdict does."""
        return self._close(self._judged("accuracy"))

    def check_latency(self) -> Verdict:
        """Judge the engine's latency by budgets, other arms and the baseline; fail the test where the verdict does.

        In a test that takes pytest-benchmark's ``benchmark``, the measured durations become its rounds.
        """
        from ..records import Outcome
        from .benchmark import MARK, replay

        verdict = self._judged("latency")
        if MARK in self._request.fixturenames and verdict.outcome is not Outcome.ERROR:
            replay(self._request, self.latency, self.cell.key)
        return self._close(verdict)

    def _judged(self, subject: Subject) -> Verdict:
        self.is_asked = True
        try:
            return _session(self._request.config, self.cell).judge(
                self.cell, subject, rerun_command(self._request.node)
            )
        except TrtGateError as error:
            _fail(error)

    def _close(self, verdict: Verdict) -> Verdict:
        from ..records import Outcome
        from ..report import junit

        session = _session(self._request.config, self.cell)
        measured = None if verdict.outcome is Outcome.ERROR else session.measured(self.cell, verdict.subject)
        context = session.settings.latency.context
        self._request.node.user_properties += junit.properties(verdict, measured, context)
        if verdict.failed:
            lines = [verdict.summary]
            lines += [f"Accept: {verdict.accept}"] if verdict.accept else []
            lines += [f"Advice: {verdict.advice}"] if verdict.advice else []
            lines += [f"Repair: {verdict.repair}"] if verdict.repair else []
            lines += [f"Run again: {verdict.rerun}"]
            _fail_with(lines, verdict.log_tail)
        return verdict


def plugin_of(config: pytest.Config) -> GatePlugin:
    """Return the gate's part of this pytest run."""
    from .run import GatePlugin

    return GatePlugin.of(config)


def _session(config: pytest.Config, cell: Cell) -> GateRun:
    return plugin_of(config).session_of(cell)


def _ready(config: pytest.Config, cell: Cell, subject: str = "") -> GateRun:
    """Return the session once its preflight has nothing against measuring a cell; fail the test where it has."""
    session = _session(config, cell)
    if found := session.preflight_failures(cell, subject):
        _fail("; ".join(check.sentence for check in found))
    return session


def _fail(error: TrtGateError | str) -> NoReturn:
    _fail_with([str(error)], error.log_tail if isinstance(error, JobError) else "")


def _fail_with(lines: list[str], log_tail: str) -> NoReturn:
    said = list(map(fmt.safe_line, lines))
    said += ["", "The job's log ends with:", fmt.safe_lines(log_tail)] if log_tail else []
    raise pytest.fail.Exception("\n".join(said), pytrace=False) from None
