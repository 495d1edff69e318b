"""The gate's part of one pytest run: registered only where it is used."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import text as fmt
from ..errors import SettingsError, TrtGateError
from ..machine import planned_backend
from ..measuring import Plan, check_inputs, make_plan, spent
from ..records import SUBJECTS, RunRecord, new_run_id, run_folder_of
from ..verdicts import measured
from . import options
from .collection import IgnoredFolders
from .hooks import with_models
from .narrator import Narrator
from .part import Part
from .relay import Relay
from .writing import write_line

if TYPE_CHECKING:
    from ..data import Dataset
    from ..records import Cell, Subject
    from ..verdicts import GateRun

_NAME = "trtgate-run"
_RUN_ID = "trtgate_run_id"
_SELECTED = "trtgate_selected"
_CELL = "trtgate_cell"
_MACHINE = "trtgate_machine"
_ENDED_WELL = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
_PROBLEM = "trtgate_problem"
_IDLE = "trtgate_idle"
_POLL_S = 0.1
_PLANNING = {
    "collectonly": "--collect-only",
    "setupplan": "--setup-plan",
    "showfixtures": "--fixtures",
    "show_fixtures_per_test": "--fixtures-per-test",
    "cacheshow": "--cache-show",
}
"""Options of pytest with which it runs no test."""


class GatePlugin:
    """Holds the settings of a pytest run, and the gate itself once a test needs it.

    Attributes:
        problem: Why the gate cannot run, in one sentence; empty while it can.
        selected: Names of the tests that use the gate, as far as this process knows.
        last_failed: Names of all tests to which ``--last-failed`` keeps the run.
        reported: Names of those that were run, or began to be.
        passed: Names of those of them that passed.
        skipped: Names of those that were skipped, or were not run since they are expected to fail.
        judged: Machine, key and subject of what their reports tell a verdict on.
        idle: Names of those that took the gate and asked it nothing.
        dead: Workers that ended without saying what they did.
        launches_expected: Whether any of them looks as if it asked for launches.
        times_wanted: Whether any looks as if it asked for the times themselves.
        closing_lines: What is said beneath the table: baselines that were written, and pictures that were not.
        relay: Shows what xdist's workers say, in their controller.
        stopped: Whether the user interrupted the run when all its verdicts were reached.
        concluded: The session of pytest, once the run has been concluded.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        settings, self.source = options.read_settings(config)
        self.settings = with_models(config, settings)
        self.started = time.time()
        self.problem = ""
        self.selected: set[str] = set()
        cache = getattr(config, "cache", None) if config.getoption("lf", False) else None
        self.last_failed: set[str] = set(cache.get("cache/lastfailed", {})) if cache else set()
        self.reported: set[str] = set()
        self.passed: set[str] = set()
        self.skipped: set[str] = set()
        self.judged: set[tuple[str, str, str]] = set()
        self.idle: set[str] = set()
        self.dead: list[str] = []
        self.launches_expected = False
        self.times_wanted = False
        self.closing_lines: list[str] = []
        self.stopped = False
        self.concluded: pytest.Session | None = None
        self.report: Path | None = None
        self.relay: Relay | None = None
        worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self.is_worker = worker is not None
        self.worker: str = (worker or {}).get("workerid", "")
        # The controller knows of no run where nothing but a test's fixtures asks for the gate.
        self.run_id: str = (worker or {}).get(_RUN_ID) or new_run_id()

    def __dir__(self) -> list[str]:
        """Hide lazy properties: older pytest reads every attribute while it collects fixtures."""
        lazy = {name for name, value in vars(type(self)).items() if isinstance(value, cached_property)}
        return [name for name in super().__dir__() if name not in lazy]

    @classmethod
    def register(cls, config: pytest.Config) -> GatePlugin:
        """Make this run's plugin and register it."""
        plugin = cls(config)
        config.pluginmanager.register(plugin, _NAME)
        return plugin

    @classmethod
    def of(cls, config: pytest.Config) -> GatePlugin:
        """Return this run's plugin; made now where nothing but a test's fixtures asked for the gate."""
        plugin = config.pluginmanager.get_plugin(_NAME)
        return plugin if isinstance(plugin, cls) else cls.register(config)

    # The plan and the session

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """What is done on each kind of machine that the settings name, or all that is done."""
        kinds = self.settings.machines
        if len(kinds) < 2:
            return (Part(self, self.settings.on(kinds[0]) if kinds else self.settings),)
        return tuple(Part(self, self.settings.on(kind), kind) for kind in kinds)

    @property
    def runs(self) -> list[RunRecord]:
        """The records of the run, one for each machine, once it has ended."""
        return [part.run for part in self.parts if part.run is not None]

    @property
    def begun(self) -> list[Part]:
        """The parts in which anything was measured or judged."""
        return [part for part in self.parts if part.is_begun]

    def part_of(self, cell: Cell) -> Part:
        """Return the part of a cell."""
        return next((part for part in self.parts if part.name == cell.machine), self.parts[0])

    def session_of(self, cell: Cell) -> GateRun:
        """Return what judges a cell, once that is measured which is measured ahead of its tests."""
        part = self.part_of(cell)
        if len(self.parts) > 1 and not self.is_worker:
            for one in self.parts:
                one.join()
            while part.is_joining:
                self._meanwhile()
                time.sleep(_POLL_S)
        part.go_ahead()
        part.await_model(cell.model, self._meanwhile)
        self.narrator.show_deferred()
        return part.session

    def _meanwhile(self) -> None:
        """Show what is said beside the tests, and begin on further machines as they are joined."""
        self.narrator.show_deferred()
        for part in self.parts if len(self.parts) > 1 else ():
            if not part.is_joining:
                with suppress(TrtGateError):  # its own tests say so
                    part.go_ahead()

    @cached_property
    def plan(self) -> Plan:
        """The cells of this run, or of each of its machines."""
        backend, device, _ = self.parts[0].where
        return make_plan(self.settings, backend, device)

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The dataset of each model, once everything that the plan needs is known to be there."""
        return check_inputs(self.settings, self.plan)

    @cached_property
    def narrator(self) -> Narrator:
        """Says what the gate does, with the time that is left."""
        return Narrator(self.config, lambda: "; ".join(filter(None, (part.left for part in self.parts))))

    def _at_once(self, what: Callable[[Part], None]) -> None:
        """Do something to all parts at once, since each may have to wait for its machines."""
        if len(self.parts) == 1:
            what(self.parts[0])
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(len(self.parts)) as pool:
            list(pool.map(what, self.parts))

    # Collection

    @cached_property
    def _ignored_folders(self) -> IgnoredFolders:
        own = (self.settings.cache_dir, *(run_folder_of(part.settings.report) for part in self.parts))
        return IgnoredFolders(self.settings, filter(None, own))

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Keep pytest out of folders that may hold a hundred thousand images, and no tests."""
        return True if collection_path in self._ignored_folders else None

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once per cell; where the gate cannot run, under the same names, to fail."""
        settings = self.settings
        # Also where there is no plan: what selects tests by their names then selects those that say why.
        ids = [
            "-".join(filter(None, (model.name, precision, part.name)))
            for part in self.parts
            for model in settings.models
            for precision in settings.precisions
        ]
        try:
            if not self.problem:
                _ = self.datasets
            cells: list[Any] = [cell for part in self.parts for cell in part.plan.cells]
            ids = ["-".join(filter(None, (cell.model, cell.precision, cell.machine))) for cell in cells]
        except SettingsError as error:
            self.problem = str(error)
        if self.problem:
            ids = list(dict.fromkeys(ids)) or ["unusable"]
            cells = [None] * len(ids)
        metafunc.parametrize("trt_cell", cells, ids=ids, indirect=True, scope="session")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Count the gate's tests, and end the run where they cannot work."""
        gate = _of_gate(items)
        self.selected = {item.nodeid for item in gate}
        for item in gate:  # so that a report tells of the gate, wherever the test was run
            cell = item.callspec.params["trt_cell"] if hasattr(item, "callspec") else None
            item.user_properties.append((_CELL, cell.key if cell else ""))
            if cell and cell.machine:
                item.user_properties.append((_MACHINE, cell.machine))
        self._refuse_other_projects(gate)
        if self.config.getoption("forked", False):
            self.problem = "--forked runs each test in a copy of pytest, which ends with its verdict: leave it out"
        self.launches_expected = any(_names(item, "trt_latency", "check_latency") for item in gate)
        self.times_wanted = any(_names(item, "trt_latency", "latency", "benchmark") for item in gate)
        cells = {item.callspec.params["trt_cell"] for item in gate if hasattr(item, "callspec")} - {None}
        for part in self.parts:
            part.cells = {cell for cell in cells if cell.machine == part.name}
            part.asked = _asked(gate, part.cells)
        listing = self._planning not in ("", "--collect-only", "--setup-plan")
        if self.problem and self.selected and not self.is_worker and not listing:
            raise pytest.UsageError(fmt.safe_line(self.problem))

    def _refuse_other_projects(self, gate: list[pytest.Item]) -> None:
        """Let no test be judged by the settings of another project than its own."""
        paths = dict.fromkeys(item.path for item in gate)
        refused = {path: why for path in paths if (why := options.of_another_project(self.config, self.source, path))}
        for item in gate:
            if item.path in refused and hasattr(item, "callspec"):
                item.callspec.params["trt_cell"] = None  # to fail, where pytest-xdist runs it all the same
        self.problem = next(iter(refused.values()), self.problem)  # that there is no model may come of it

    @property
    def _planning(self) -> str:
        """The option with which pytest runs no test; empty where it runs them."""
        return next((flag for dest, flag in _PLANNING.items() if getattr(self.config.option, dest, False)), "")

    def pytest_report_header(self) -> list[str] | None:
        """Say which backend and device the gate will use."""
        if not self.settings.models:
            return None
        try:
            backend, device, why = planned_backend(self.settings) or self.parts[0].where
        except SettingsError as error:
            return [fmt.safe_line(f"trtgate: {error}")]
        sizes = dict.fromkeys(str(self.settings.of(model.name).imgsz) for model in self.settings.models)
        what = f"{', '.join(self.settings.precisions)} at {', '.join(sizes)}, batch {self.settings.batch}"
        return [f"trtgate: backend {backend} on {device} ({why}); {what}"]

    # xdist

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Let a worker join this run's workspace, and begin to show what it says."""
        node.workerinput[_RUN_ID] = self.run_id
        if self.relay is None and not self._planning:
            self.relay = Relay(self.narrator, [part.workspace.path for part in self.parts])

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Learn from a worker whether any of its tests used the gate, and why they could not."""
        output = getattr(node, "workeroutput", {})
        if _SELECTED not in output:
            self.dead.append(node.gateway.id)
        self.selected.update(output.get(_SELECTED, ()))
        self.problem = self.problem or output.get(_PROBLEM, "")
        self.idle.update(output.get(_IDLE, ()))

    # The end

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which tests of the gate were run, also by a worker that dies before it says so."""
        if self.relay is not None:  # pytest writes here now
            self.narrator.clear()
        told = dict(report.user_properties)
        if _CELL in told:
            self.selected.add(report.nodeid)
            self.reported.add(report.nodeid)
            about = str(told.get(_MACHINE, "")), str(told[_CELL])
            self.judged.update((*about, subject) for subject in SUBJECTS if f"trtgate_{subject}" in told)
            if report.skipped and "NOTRUN" in getattr(report, "wasxfail", "NOTRUN"):
                self.skipped.add(report.nodeid)
            elif report.when == "call" and report.passed:
                self.passed.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        """Write baselines and report; fail a run that was to measure something and did not."""
        if self.relay is not None:
            self.relay.close()
        if items := getattr(session, "items", None):  # others may have taken some out, or named them anew
            self.selected = {item.nodeid for item in _of_gate(items)}
        self._at_once(Part.stop_ahead)
        self.narrator.show_deferred()
        self.narrator.defers = False
        if self.is_worker:
            output: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]
            output.update({_SELECTED: sorted(self.selected), _PROBLEM: self.problem, _IDLE: sorted(self.idle)})
            return
        if self._planning or exitstatus in (
            pytest.ExitCode.USAGE_ERROR,
            pytest.ExitCode.INTERNAL_ERROR,
        ):
            return
        if not (self.selected or options.asked_for(self.config)):
            return
        try:
            self._conclude(exitstatus)
        except TrtGateError as error:
            self.problem = str(error)
        ended_well = exitstatus in _ENDED_WELL
        if ended_well:
            self.problem = self.problem or self._why_not_green()
        if self.settings.promote is not None:
            none = f"no release pack was written into {self.settings.promote}"
            if self.problem or not ended_well:
                self.closing_lines.append(f"{none}: the run is not green")
            elif refused := self._why_not_promoted():
                self.problem = f"{none}: {refused}"
        if ended_well:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if self.problem else exitstatus
        if self.stopped:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        self.concluded = session

    def _why_not_green(self) -> str:
        """Return why a run that pytest takes for passed has not; empty where it has."""
        failed = _failed(self.runs)
        if failed and self.settings.strict:
            return (
                f"failed, and pytest did not: {failed}; a test expects, catches or skips the failure, or "
                f"ends pytest: let it fail, or set strict = false"
            )
        there = {(v.cell.machine, v.cell.key, v.subject) for run in self.runs for v in run.verdicts}
        if lost := sorted(self.judged - there):
            return f"the verdict on {lost[0][2]} of {lost[0][1]} is gone from the folder of the run: leave that alone"
        if left := sorted(self.selected - self.reported):
            return f"pytest ended before {fmt.plural(len(left), 'test')} of the gate, first {left[0]}"
        if (vain := sorted(self.idle & self.passed)) and self.settings.strict:
            many = f"{fmt.plural(len(vain), 'test')} took trtgate and asked it nothing, first {vain[0]}"
            return f"{many}: call trtgate.check_accuracy() or trtgate.check_latency(), or set strict = false"
        if self.dead:
            return f"{' and '.join(self.dead)} died after the tests; run again to see whether all was measured"
        return ""

    def _why_not_promoted(self) -> str:
        """Write the release packs that a green run was asked for; return why there are none, empty where there are."""
        if self.settings.promote is None or not self.runs:
            return ""
        from ..promoting import promote_all

        try:
            begun = zip(self.begun, self.runs, strict=True)
            self.closing_lines += promote_all(
                (run, self.settings.promote / part.name, part.workspace.path) for part, run in begun
            )
        except TrtGateError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

    def _not_judged(self, exitstatus: int | pytest.ExitCode) -> Iterator[str]:
        """Yield what a reader of the table has to know of pytest's own options and marks."""
        if exitstatus in _ENDED_WELL and not self.settings.strict and (failed := _failed(self.runs)):
            yield f"passed all the same: {failed}; a test expects, catches or skips the failure, and strict = false"
        left = sorted(self.selected - self.reported)
        if left and exitstatus == pytest.ExitCode.TESTS_FAILED and self.config.getoption("maxfail"):
            many = fmt.plural(len(left), "test")
            yield f"not judged: pytest ended early (-x or --maxfail), before {many} of the gate, first {left[0]}"
        if skipped := sorted(self.skipped):
            yield f"not judged: skipped tests of the gate ({len(skipped)}, first {skipped[0]})"
        if self.selected and self.selected <= self.last_failed:
            yield "not judged: what did not fail last time (--last-failed); a run without that option judges all"
        tables = self.settings.latency.machine
        if tables and self.runs and not any(part.settings.latency.machine for part in self.parts):
            here = " and ".join(dict.fromkeys(run.environment.machine for run in self.runs))
            yield f"not judged: the limits under latency.machine, which are of {', '.join(tables)}; this is {here}"
        if unasked := [part.name for part in self.parts if not part.is_asked]:
            yield f"not judged: what is on {' and '.join(unasked)}, for which no test asked"

    def _conclude(self, exitstatus: int | pytest.ExitCode) -> None:
        """Record the run, write the baselines that it was asked for, and its reports."""
        begun = self.begun
        if not begun:
            why = "" if self.selected else ": no test of this run used the gate"
            self.problem = self.problem or f"nothing was measured{why}; a gate that measures nothing fails"
            return
        interrupted, red = exitstatus == pytest.ExitCode.INTERRUPTED, exitstatus == pytest.ExitCode.TESTS_FAILED
        for part in begun:
            run = part.record(interrupted=interrupted, red=red)
            if not (measured(run) or run.verdicts):
                self.problem = f"{part.prefix}nothing was measured; a gate that measures nothing fails"
            if not (interrupted or part.write_baselines()):
                self.problem = self.problem or "not every baseline was written; the lines above say why"
        common = [] if interrupted else list(self._not_judged(exitstatus))
        self.closing_lines = [line for part in begun for line in part.closing_lines] + common
        for part in begun:
            part.note(common)
        self._publish(begun, interrupted)

    def _publish(self, begun: list[Part], interrupted: bool) -> None:
        """Write the records of the run and one report, with its media unless it was interrupted."""
        from ..report import write_reports

        report = self.settings.report
        # What was interrupted does not take the place of a report that tells more.
        aside = interrupted and report.exists()
        if aside:
            report = begun[0].workspace.path / report.name

        def write() -> None:
            write_reports(self.runs, report, [part.workspace.path for part in begun])

        for part in begun:
            told = len(part.closing_lines)
            part.publish(write, interrupted=interrupted, aside=aside)
            self.closing_lines += part.closing_lines[told:]
        write()
        self.report = report

    def _keep_red(self) -> None:
        """Fail a run that failed when it was concluded, and that another plugin has called green since."""
        session = self.concluded
        if session is None or session.exitstatus not in _ENDED_WELL or not self.settings.strict:
            return
        if failed := self.problem or _failed(self.runs):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            said = f"trtgate: failed, and a plugin or conftest.py set another exit code: {fmt.clip(failed, 500)}"
            sys.stderr.write(f"{fmt.safe_line(said)}\n")

    def pytest_unconfigure(self) -> None:
        """End processes that still wait for a job, and let the engines and the folder of this run be pruned."""
        self._keep_red()
        self._at_once(Part.close)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """Show one table, what each verdict that is no PASS says, and where the report is."""
        if self._planning:
            if self.selected and self._planning != "--collect-only":  # whose output others read
                cells = sum(len(part.cells) for part in self.parts)
                what = f"{fmt.plural(len(self.selected), 'test')} of {fmt.plural(cells, 'cell')}"
                write_line(
                    terminalreporter, f"trtgate: planned {what}, measured nothing: {self._planning} runs no test"
                )
            return
        said = exitstatus == pytest.ExitCode.USAGE_ERROR  # pytest itself repeats the sentence
        runs = self.runs
        if not runs and (said or not self.problem):
            return
        terminalreporter.section("trtgate")
        if runs:
            from ..report import summary_lines

            width = terminalreporter._tw.fullwidth
            for text, markup in summary_lines(runs, width):
                write_line(terminalreporter, text, **markup)
            for note in self.closing_lines:
                write_line(terminalreporter, note)
            if jobs := [job for run in runs for job in run.jobs]:
                write_line(terminalreporter, spent(jobs, time.time() - self.started))
            if self.report:
                write_line(terminalreporter, f"report: {self.report}")
        if self.problem:
            write_line(terminalreporter, f"trtgate: {self.problem}", red=True, bold=True)
        self._tell_github(terminalreporter)

    def _tell_github(self, terminalreporter: Any) -> None:
        from ..report import github

        if not github.active():
            return
        lines = [github.command(self.problem, "trtgate")] if self.problem else []
        if runs := self.runs:
            reports = (report for found in terminalreporter.stats.values() for report in found)
            data = {self.settings.of(model.name).data for model in self.settings.models}
            about = [path for path in (self.source, *data) if path is not None]
            lines += github.annotate(runs, github.places_of(reports, self.config.rootpath, about))
            problem = github.write_summary(runs)
            if problem:
                write_line(terminalreporter, problem)
        for line in lines:
            terminalreporter.write_line(line)  # a command to GitHub, as safe as any line


def _failed(runs: Sequence[RunRecord]) -> str:
    return ", ".join(f"{v.cell.label} {v.subject}" for run in runs for v in run.verdicts if v.failed)


def _of_gate(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if "trt_cell" in getattr(item, "fixturenames", ())]


def _names(item: pytest.Item, *wanted: str) -> bool:
    """Return whether a test's fixtures or its own code name one of these; a helper of its may ask for one unseen."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    names = {*getattr(item, "fixturenames", ()), *getattr(code, "co_names", ())}
    return not names.isdisjoint(wanted)


def _asked(gate: list[pytest.Item], cells: Container[Cell]) -> dict[str, list[tuple[Cell, Subject]]]:
    """Return what tests of some cells look as if they asked for, by model, what is evaluated before what is timed."""
    found: dict[str, dict[tuple[Cell, Subject], None]] = {}
    subjects: tuple[Subject, ...] = ("accuracy", "latency")
    for subject in subjects:
        for item in gate:
            cell = item.callspec.params["trt_cell"] if hasattr(item, "callspec") else None
            if cell is not None and cell in cells:
                asked = found.setdefault(cell.model, {})
                if _names(item, f"trt_{subject}", f"check_{subject}"):
                    asked[cell, subject] = None
    return {model: list(asked) for model, asked in found.items()}
