"""The gate's part of one pytest run: registered only where it is used."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .. import text as fmt
from ..errors import SettingsError, TrtGateError
from ..findings import run_preflight
from ..machine import Machine, gpu_of_worker, planned_backend, resolve_backend
from ..measuring import (
    Caller,
    Plan,
    RunContext,
    announce,
    check_inputs,
    countdown,
    make_plan,
    open_clips,
    remember,
    spent,
    with_media,
)
from ..records import RECORD_NAME, RunRecord, Workspace, failures, new_run_id, run_folder_of
from ..settings import in_ci
from ..verdicts import GateRun, compared_with, measured, record_run
from . import options
from .collection import IgnoredFolders
from .hooks import amendments, export_args, with_extra, with_models
from .narrator import Narrator
from .relay import Relay
from .writing import write_line

if TYPE_CHECKING:
    from ..data import Dataset
    from ..fleet import FleetLauncher
    from ..jobs import Launcher
    from ..records import Cell, EarlyFinding, Preflight

_NAME = "trtgate-run"
_RUN_ID = "trtgate_run_id"
_SELECTED = "trtgate_selected"
_CELL = "trtgate_cell"
_ENDED_WELL = (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
_PROBLEM = "trtgate_problem"
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
        dead: Workers that ended without saying what they did.
        launches_expected: Whether any of them looks as if it asked for launches.
        run: The record of the run, once it has ended.
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
        self.dead: list[str] = []
        self.launches_expected = False
        self.cells: set[Cell] = set()
        self.run: RunRecord | None = None
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
    def machine(self) -> Machine:
        """The machine that runs the gate, or what a hook gives in its place."""
        found: Machine | None = self.config.hook.pytest_trtgate_machine(config=self.config)
        if found is None and self._fleet is not None:
            from ..fleet import WorkersMachine

            return WorkersMachine(ask=self._fleet.ask)
        return found or Machine()

    @cached_property
    def _fleet(self) -> FleetLauncher | None:
        """The launcher of jobs on other machines, where the settings name some; it joins them when it is used."""
        fleet = self.settings.fleet
        if fleet.address is None:
            return None
        from ..fleet import FleetLauncher, RayCluster

        cluster = RayCluster(
            fleet.address,
            next(iter(self.settings.machines), ""),
            uses_gpu=self.settings.backend == "tensorrt",
            wait_s=fleet.wait_s,
            say=Narrator(self.config).milestone,
        )
        return FleetLauncher(cluster.connect)

    @cached_property
    def _where(self) -> tuple[str, str, str]:
        # A fleet is asked once a test needs it, and not while they are collected.
        return planned_backend(self.settings) or resolve_backend(self.settings, self.machine)

    @cached_property
    def plan(self) -> Plan:
        """The cells of this run."""
        backend, device, _ = self._where
        return make_plan(self.settings, backend, device)

    @cached_property
    def datasets(self) -> dict[str, Dataset]:
        """The dataset of each model, once everything that the plan needs is known to be there."""
        return check_inputs(self.settings, self.plan)

    @cached_property
    def workspace(self) -> Workspace:
        """This run's folder; not made before something is put into it."""
        return Workspace(run_folder_of(self.settings.report), self.run_id)

    @cached_property
    def narrator(self) -> Narrator:
        """Says what the gate does; a worker's words are shown by the controller."""
        relay = Relay.file(self.workspace.path, self.worker) if self.is_worker else None
        return Narrator(self.config, partial(countdown, self.workspace), relay)

    @cached_property
    def session(self) -> GateRun:
        """The gate's session."""
        from ..jobs import LocalLauncher

        backend, device, _ = self._where
        gpu, only_gpu = gpu_of_worker(self.settings, backend, device, self.worker, self.machine)
        launcher: Launcher | None = self.config.hook.pytest_trtgate_launcher(config=self.config)
        if self._fleet is not None:  # which was not asked before
            resolve_backend(self.settings, self.machine)
        environment = self.machine.environment(backend, device, options.project_folder(self.config))
        measure = RunContext(
            settings=self.settings,
            plan=self.plan,
            datasets=self.datasets,
            environment=with_extra(self.config, environment),
            workspace=self.workspace,
            caller=Caller(
                launcher=launcher
                or self._fleet
                or LocalLauncher(
                    locks=self.machine.device_locks(),
                    gpu=gpu,
                    only_gpu=only_gpu,
                    python_path=options.python_path(self.config),
                ),
                machine=self.machine,
                milestone=self.narrator.milestone,
                progress=self.narrator.progress,
                working=self.narrator.working,
                export_args=partial(export_args, self.config, self.settings),
            ),
        )
        open_clips(measure)
        if not self.is_worker:  # of several, one makes the launches, and none knows which
            models = {cell.model for cell in self.cells} if self.launches_expected else set()
            measure.expected.expect(models, builds=measure.cache.is_empty)
        return GateRun(
            measure,
            options.accept_command(self.config),
            self.source,
            self.cells,
            preflight=partial(self._begin, measure, gpu),
            amend=partial(amendments, self.config),
        )

    def _begin(self, measure: RunContext, gpu: str) -> Preflight:
        """Return what the preflight finds, and say what is then to do."""
        found = run_preflight(measure, gpu, self._concerned)
        if cells := [cell for cell in self.cells if not failures(found.concerning(cell, ""))]:
            session = self.session
            announce(session.evaluations, cells, session.latencies if self.launches_expected else None)
        return found

    def _concerned(self, early: EarlyFinding) -> bool:
        """Return whether what was found concerns a test of this run, as far as that is known."""
        subjects = ("accuracy", "latency") if self.launches_expected else ("accuracy",)
        asked = [(cell, subject) for cell in self.cells for subject in subjects]
        return not asked or any(early.concerns(*one) for one in asked)

    # Collection

    @cached_property
    def _ignored_folders(self) -> IgnoredFolders:
        own = (self.settings.cache_dir, run_folder_of(self.settings.report))
        return IgnoredFolders(self.settings, filter(None, own))

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Keep pytest out of folders that may hold a hundred thousand images, and no tests."""
        return True if collection_path in self._ignored_folders else None

    def parametrize(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once per cell; where the gate cannot run, under the same names, to fail."""
        settings = self.settings
        # Also where there is no plan: what selects tests by their names then selects those that say why.
        ids = list(dict.fromkeys(f"{m.name}-{precision}" for m in settings.models for precision in settings.precisions))
        try:
            if not self.problem:
                _ = self.datasets
            cells: list[Any] = list(self.plan.cells)
            ids = [f"{cell.model}-{cell.precision}" for cell in cells]
        except SettingsError as error:
            self.problem = str(error)
        if self.problem:
            ids = ids or ["unusable"]
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
        self._refuse_other_projects(gate)
        self.launches_expected = any(map(_looks_timed, gate))
        self.cells = {item.callspec.params["trt_cell"] for item in gate if hasattr(item, "callspec")} - {None}
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
            backend, device, why = self._where
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
            self.relay = Relay(self.narrator, self.workspace.path)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Learn from a worker whether any of its tests used the gate, and why they could not."""
        output = getattr(node, "workeroutput", {})
        if _SELECTED not in output:
            self.dead.append(node.gateway.id)
        self.selected.update(output.get(_SELECTED, ()))
        self.problem = self.problem or output.get(_PROBLEM, "")

    # The end

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note which tests of the gate were run, also by a worker that dies before it says so."""
        if self.relay is not None:  # pytest writes here now
            self.narrator.clear()
        if any(name == _CELL for name, _ in report.user_properties):
            self.selected.add(report.nodeid)
            self.reported.add(report.nodeid)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
        """Write baselines and report; fail a run that was to measure something and did not."""
        if self.relay is not None:
            self.relay.close()
        if items := getattr(session, "items", None):  # others may have taken some out, or named them anew
            self.selected = {item.nodeid for item in _of_gate(items)}
        if self.is_worker:
            output: dict[str, Any] = self.config.workeroutput  # type: ignore[attr-defined]
            output.update({_SELECTED: sorted(self.selected), _PROBLEM: self.problem})
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
        if exitstatus in _ENDED_WELL:
            self.problem = self.problem or self._why_not_green() or self._why_not_promoted()
            session.exitstatus = pytest.ExitCode.TESTS_FAILED if self.problem else exitstatus
        if self.settings.promote is not None and (self.problem or exitstatus not in _ENDED_WELL):
            self.closing_lines.append(f"no release pack was written into {self.settings.promote}: the run is not green")
        if self.stopped:
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        self.concluded = session

    def _why_not_green(self) -> str:
        """Return why a run that pytest takes for passed has not; empty where it has."""
        failed = _failed(self.run) if self.run else ""
        if failed and self.settings.strict:
            return (
                f"failed, and pytest did not: {failed}; a test expects, catches or skips the failure, or "
                f"ends pytest: let it fail, or set strict = false"
            )
        if left := sorted(self.selected - self.reported):
            return f"pytest ended before {fmt.plural(len(left), 'test')} of the gate, first {left[0]}"
        if self.dead:
            return f"{' and '.join(self.dead)} died after the tests; run again to see whether all was measured"
        return ""

    def _why_not_promoted(self) -> str:
        """Write the release packs that a green run was asked for; return why there are none, empty where there are."""
        if self.settings.promote is None or self.run is None:
            return ""
        from ..promoting import promote_all

        try:
            self.closing_lines += promote_all(self.run, self.settings.promote, self.workspace.path)
        except TrtGateError as error:
            return str(error)
        except OSError as error:
            return f"{error.filename}: {error.strerror}"
        return ""

    def _not_judged(self, run: RunRecord, exitstatus: int | pytest.ExitCode) -> Iterator[str]:
        """Yield what a reader of the table has to know of pytest's own options and marks."""
        if exitstatus in _ENDED_WELL and not self.settings.strict and (failed := _failed(run)):
            yield f"passed all the same: {failed}; a test expects, catches or skips the failure, and strict = false"
        left = sorted(self.selected - self.reported)
        if left and exitstatus == pytest.ExitCode.TESTS_FAILED and self.config.getoption("maxfail"):
            many = fmt.plural(len(left), "test")
            yield f"not judged: pytest ended early (-x or --maxfail), before {many} of the gate, first {left[0]}"
        if self.selected and self.selected <= self.last_failed:
            yield "not judged: what did not fail last time (--last-failed); a run without that option judges all"

    def _conclude(self, exitstatus: int | pytest.ExitCode) -> None:
        """Record the run, write the baselines that it was asked for, and its reports."""
        if not self.workspace.path.exists():
            why = "" if self.selected else ": no test of this run used the gate"
            self.problem = self.problem or f"nothing was measured{why}; a gate that measures nothing fails"
            return
        interrupted, red = exitstatus == pytest.ExitCode.INTERRUPTED, exitstatus == pytest.ExitCode.TESTS_FAILED
        arguments = list(map(str, self.config.invocation_params.args))
        run = record_run(self.session.measure, self.started, arguments, interrupted=interrupted, red=red)
        if not (measured(run) or run.verdicts):
            self.problem = "nothing was measured; a gate that measures nothing fails"
        if not interrupted:
            written = self.session.write_baselines(run)
            self.closing_lines = [sentence for sentence, _ in written]
            if not all(as_asked for _, as_asked in written):
                self.problem = self.problem or "not every baseline was written; the lines above say why"
            self.closing_lines += self._not_judged(run, exitstatus)
            self.closing_lines += compared_with(self.session.measure)
        run = run.model_copy(update={"notes": (*run.notes, *self.closing_lines), **self._accepting(run)})
        self.run = run
        self._publish(run, interrupted)

    def _publish(self, run: RunRecord, interrupted: bool) -> None:
        """Write the run's record and reports, with its media unless it was interrupted."""
        from ..explaining import with_explanations
        from ..report import publish, replaced, richer_run

        report = self.settings.report
        # What was interrupted does not take the place of a report that tells more.
        if interrupted and report.exists():
            report = self.workspace.path / report.name
        before = richer_run(run, report)

        def save(run: RunRecord, reports: bool = True) -> None:
            publish(run, report, self.workspace, reports)

        if not interrupted:
            if self.settings.explain_failed:
                save(run)  # it takes minutes, and whatever ends this process meanwhile, the run is on disk
                explained = with_explanations(self.session.measure, run)
                found = explained.explanations.values()
                self.closing_lines += [f"{one.cell.label}, why: {one.sentence}" for one in found if one.sentence]
                self.closing_lines += explained.notes[len(run.notes) :]
                run = explained
            self.run, missing, self.stopped = with_media(self.session.engines, run, save)
            self.closing_lines += [missing] if missing else []
        save(self.run or run)
        self.report = report
        if not interrupted:
            remember(self.session.measure, self.run or run, time.time() - self.started)
        if not interrupted:
            self.workspace.discard_older(self.settings.keep_runs)
        if before is not None:
            here = self.config.invocation_params.dir
            self.closing_lines.append(replaced(before, run, report, self.workspace.root, here))

    def _accepting(self, run: RunRecord) -> dict[str, Any]:
        """Return the fields of a run that say how to accept its cells: from its own folder, as another may follow."""
        from ..baselines import cell_commands

        # Of a runner nothing is left but what was uploaded, and whoever has that puts the record where they are.
        folder = self.config.invocation_params.dir if in_ci() else self.workspace.path

        def command(cells: Sequence[Cell]) -> str:
            keys = [cell.key for cell in cells]
            return options.accept_cells_command(self.config, self.settings.baseline_dir, folder / RECORD_NAME, keys)

        return cell_commands(self.session.acceptance(run), command)

    def _keep_red(self) -> None:
        """Fail a run that failed when it was concluded, and that another plugin has called green since."""
        session = self.concluded
        if session is None or session.exitstatus not in _ENDED_WELL or not self.settings.strict:
            return
        if failed := self.problem or (_failed(self.run) if self.run else ""):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            sys.stderr.write(
                f"trtgate: failed, and a plugin or conftest.py gave pytest another exit code: {fmt.clip(failed, 500)}\n"
            )

    def pytest_unconfigure(self) -> None:
        """End processes that still wait for a job, and let the engines and the folder of this run be pruned."""
        self._keep_red()
        if "session" in vars(self):
            self.session.measure.expected.close()
            self.session.measure.cache.close()
        if "workspace" in vars(self):
            self.workspace.close()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int) -> None:
        """Show one table, what each verdict that is no PASS says, and where the report is."""
        if self._planning:
            if self.selected and self._planning != "--collect-only":  # whose output others read
                what = f"{fmt.plural(len(self.selected), 'test')} of {fmt.plural(len(self.cells), 'cell')}"
                write_line(
                    terminalreporter, f"trtgate: planned {what}, measured nothing: {self._planning} runs no test"
                )
            return
        said = exitstatus == pytest.ExitCode.USAGE_ERROR  # pytest itself repeats the sentence
        if self.run is None and (said or not self.problem):
            return
        terminalreporter.section("trtgate")
        if self.run is not None:
            from ..report import summary_lines

            width = terminalreporter._tw.fullwidth
            for text, markup in summary_lines(self.run, width):
                write_line(terminalreporter, text, **markup)
            for note in self.closing_lines:
                write_line(terminalreporter, note)
            if self.run.jobs:
                write_line(terminalreporter, spent(self.run.jobs, time.time() - self.started))
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
        if self.run is not None:
            reports = (report for found in terminalreporter.stats.values() for report in found)
            data = {self.settings.of(model.name).data for model in self.settings.models}
            about = [path for path in (self.source, *data) if path is not None]
            lines += github.annotate(self.run, github.places_of(reports, self.config.rootpath, about))
            problem = github.write_summary(self.run)
            if problem:
                write_line(terminalreporter, problem)
        for line in lines:
            terminalreporter.write_line(line)  # a command to GitHub, as safe as any line


def _failed(run: RunRecord) -> str:
    return ", ".join(f"{v.cell.label} {v.subject}" for v in run.verdicts if v.failed)


def _of_gate(items: list[pytest.Item]) -> list[pytest.Item]:
    return [item for item in items if "trt_cell" in getattr(item, "fixturenames", ())]


def _looks_timed(item: pytest.Item) -> bool:
    """Return whether a test's fixtures or its own code name a latency; a helper of its may ask for one unseen."""
    code = getattr(getattr(item, "function", None), "__code__", None)
    names = {*getattr(item, "fixturenames", ()), *getattr(code, "co_names", ())}
    return not names.isdisjoint({"trt_latency", "check_latency"})
