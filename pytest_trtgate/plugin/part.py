"""One kind of machine's part of a run: the launcher, the folder and the verdicts of its cells."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import TrtGateError
from ..findings import run_preflight
from ..machine import Machine, gpu_of_worker, planned_backend, resolve_backend
from ..measuring import Caller, Plan, RunContext, announce, countdown, open_clips, remember, with_media
from ..records import RECORD_NAME, Cell, Environment, RunRecord, Workspace, failures, run_folder_of
from ..settings import Settings, in_ci
from ..text import told_once
from ..verdicts import GateRun, compared_with, record_run
from . import options
from .hooks import amendments, export_args, with_extra
from .narrator import Narrator
from .relay import Relay

if TYPE_CHECKING:
    from ..fleet import FleetLanes
    from ..jobs import Launcher
    from ..records import EarlyFinding, Preflight, Subject
    from ..verdicts import Lanes
    from .run import GatePlugin


class Part:
    """What a run does on one kind of machine; most runs have one part.

    Attributes:
        name: The kind of machine; empty in a run that has no other part.
        settings: The run's, with the machine's own limits, and of several parts each with a folder of its own.
        cells: The cells of the tests that were collected.
        asked: What those tests look as if they asked for, by model in their order.
        run: The record, once the run has ended.
        closing_lines: What is said beneath the table: baselines that were written, and pictures that were not.
    """

    def __init__(self, owner: GatePlugin, settings: Settings, name: str = "") -> None:
        self._owner = owner
        self._config = owner.config
        self.name = name
        if name:
            report = settings.report
            settings = settings.model_copy(update={"report": report.parent / name / report.name})
        self.settings = settings
        self.cells: set[Cell] = set()
        self.asked: dict[str, list[tuple[Cell, Subject]]] = {}
        self._joining: threading.Thread | None = None
        self._lanes: Lanes | None = None
        self._was_awaited = False
        self.run: RunRecord | None = None
        self.closing_lines: list[str] = []

    @property
    def prefix(self) -> str:
        """What begins a sentence about the machine; empty where there is no other."""
        return f"{self.name}: " if self.name else ""

    @property
    def is_begun(self) -> bool:
        """Whether anything was measured or judged."""
        return self.workspace.path.exists()

    @property
    def is_asked(self) -> bool:
        """Whether any test asked for it, rather than that it was measured ahead of tests which then did not."""
        return self.is_begun and (self._was_awaited or self._lanes is None)

    @cached_property
    def machine(self) -> Machine:
        """The machine that runs the gate, or what a hook gives in its place."""
        hook = self._config.hook.pytest_trtgate_machine
        found: Machine | None = hook(config=self._config, machine=self._kind)
        if found is None and self._fleet is not None:
            from ..fleet import WorkersMachine

            return WorkersMachine(ask=self._fleet.ask)
        return found or Machine()

    @property
    def _kind(self) -> str:
        return next(iter(self.settings.machines), "")

    @cached_property
    def _fleet(self) -> FleetLanes | None:
        """The launcher of jobs on other machines, where the settings name some; it joins them when it is used."""
        if self.settings.fleet.address is None:
            return None
        from ..fleet import lanes_of

        return lanes_of(self.settings, self._milestone)

    @cached_property
    def _given(self) -> Launcher | None:
        """The launcher that a hook gives, if any."""
        hook = self._config.hook.pytest_trtgate_launcher
        found: Launcher | None = hook(config=self._config, machine=self._kind)
        return found

    @cached_property
    def where(self) -> tuple[str, str, str]:
        """Backend, device, and why those."""
        # A fleet is asked once a test needs it, and not while they are collected.
        return planned_backend(self.settings) or resolve_backend(self.settings, self.machine)

    @property
    def plan(self) -> Plan:
        """The cells of this part."""
        plan = self._owner.plan
        return plan.on(self.name) if self.name else plan

    @cached_property
    def workspace(self) -> Workspace:
        """This part's folder; not made before something is put into it."""
        return Workspace(run_folder_of(self.settings.report), self._owner.run_id)

    @property
    def left(self) -> str:
        """How much time is left, in words; empty where nothing tells."""
        left = countdown(self.workspace, self._lanes.running if self._lanes is not None else 1)
        return left and f"{self.prefix}{left}"

    @cached_property
    def _narrator(self) -> Narrator:
        """Says what the gate does; a worker's words are shown by the controller."""
        if not self._owner.is_worker:
            return self._owner.narrator
        return Narrator(self._config, relay=Relay.file(self.workspace.path, self._owner.worker))

    def _milestone(self, text: str) -> None:
        known = self.name and f" on {self.name}:" in text
        self._narrator.milestone(text if known else f"{self.prefix}{text}")

    def _progress(self, text: str) -> None:
        self._narrator.progress(f"{self.prefix}{text}")

    @cached_property
    def session(self) -> GateRun:
        """What measures and judges the cells.

        Of several machines, one that cannot be had costs its own cells ERROR. A single one raises TrtGateError.
        """
        try:
            return self._session()
        except TrtGateError as error:
            if not self.name:
                raise
            return self._without_machine(error)

    def _session(self) -> GateRun:
        backend, device, _ = self.where
        gpu, only_gpu = gpu_of_worker(self.settings, backend, device, self._owner.worker, self.machine)
        launcher = self._given
        if self._fleet is not None:  # which was not asked before
            resolve_backend(self.settings, self.machine)
        environment = self.machine.environment(backend, device, options.project_folder(self._config))
        if not self._kind:  # nobody has named it
            latency = self.settings.latency.on(*environment.names)
            self.settings = self.settings.model_copy(update={"latency": latency})
        if launcher is None and self._fleet is None:
            from ..jobs import LocalLauncher

            launcher = LocalLauncher(
                locks=self.machine.device_locks(),
                gpu=gpu,
                only_gpu=only_gpu,
                python_path=options.python_path(self._config),
            )
        measure = self._run_context(environment, launcher or self._fleet, self.machine)
        open_clips(measure)
        if not self._owner.is_worker:  # of several, one makes the launches, and none knows which
            models = {cell.model for cell in self.cells} if self._owner.launches_expected else set()
            measure.expected.expect(models, builds=measure.cache.is_empty)
        return self._gate(measure, partial(self._begin, measure, gpu))

    def _without_machine(self, error: TrtGateError) -> GateRun:
        """Return what judges the cells of a machine that cannot be had: each verdict says why."""

        def refuse() -> NoReturn:
            raise error

        backend, device, _ = self.where
        nobody = Environment(
            machine=self.name,
            os="unknown",
            arch="unknown",
            cpu="unknown",
            backend_version="unknown",
            python=platform.python_version(),
            cpu_count=0,
            memory_bytes=0,
            backend=backend,
            device=device,
            versions={},
        )
        return self._gate(self._run_context(nobody, self._fleet, Machine()), refuse)

    def _run_context(self, environment: Environment, launcher: Launcher | None, machine: Machine) -> RunContext:
        assert launcher is not None
        return RunContext(
            settings=self.settings,
            plan=self.plan,
            datasets=self._owner.datasets,
            environment=with_extra(self._config, environment),
            workspace=self.workspace,
            caller=Caller(
                launcher=launcher,
                machine=machine,
                milestone=self._milestone,
                progress=self._progress,
                working=self._narrator.working,
                export_args=partial(export_args, self._config, self.settings),
            ),
        )

    def _gate(self, measure: RunContext, preflight: Callable[[], Preflight]) -> GateRun:
        found = GateRun(
            measure,
            options.accept_command(self._config),
            self._owner.source,
            self.cells,
            preflight=preflight,
            amend=partial(amendments, self._config),
        )
        found.latencies.shows_all = self._owner.times_wanted
        return found

    def _begin(self, measure: RunContext, gpu: str) -> Preflight:
        """Return what the preflight finds, and say what is then to do."""
        found = run_preflight(measure, gpu, self._concerned)
        if cells := [cell for cell in self.cells if not failures(found.concerning(cell, ""))]:
            session = self.session
            announce(session.evaluations, cells, session.latencies if self._owner.launches_expected else None)
        if self._owner.launches_expected and not self._owner.is_worker:
            self.session.latencies.expect({cell.model for cell in self.cells})
        return found

    def _concerned(self, early: EarlyFinding) -> bool:
        """Return whether what was found concerns a test of this run, as far as that is known."""
        subjects = ("accuracy", "latency") if self._owner.launches_expected else ("accuracy",)
        asked = [(cell, subject) for cell in self.cells for subject in subjects]
        return not asked or any(early.concerns(*one) for one in asked)

    # Ahead of the tests

    def join(self) -> None:
        """Begin to join a machine of the fleet, beside all else."""
        if self.asked and self._given is None and self._fleet is not None and self._joining is None:

            def joined(fleet: FleetLanes) -> None:
                with suppress(TrtGateError, KeyboardInterrupt):  # who needs the machine is told, if anybody does
                    _ = fleet.connection

            self._narrator.defers = True
            self._joining = threading.Thread(target=joined, args=(self._fleet,), daemon=True)
            self._joining.start()

    @property
    def is_joining(self) -> bool:
        """Whether a machine of the fleet is still waited for."""
        return self._joining is not None and self._joining.is_alive()

    def go_ahead(self) -> None:
        """Have all that the tests ask for measured from now on, where the launcher can do that beside them."""
        from ..jobs import LanedLauncher
        from ..verdicts import Lanes

        if self._lanes is None and self.asked and not self._owner.is_worker:
            launcher = self.session.measure.caller.launcher
            if isinstance(launcher, LanedLauncher):
                self._narrator.defers = True
                lanes = Lanes(launcher, self.session, self.asked)
                lanes.start()
                self._lanes = lanes

    def await_model(self, model: str, meanwhile: Callable[[], None]) -> None:
        """Wait for what is measured of a model ahead of its tests, of which one asks now."""
        self._was_awaited = True
        if self._lanes is not None:
            with self._narrator.working():
                self._lanes.await_model(model, meanwhile)

    def stop_ahead(self) -> None:
        """End what is still measured ahead of tests that will not ask for it, and give back a machine without use."""
        if self._lanes is not None:
            self._lanes.stop()
        elif self._joining is not None and self._fleet is not None:
            self._fleet.stop()

    # The end

    def record(self, *, interrupted: bool, red: bool) -> RunRecord:
        """Record what was measured and decided; ``red``: some test failed."""
        arguments = list(map(str, self._config.invocation_params.args))
        measure, started = self.session.measure, self._owner.started
        self.run = record_run(measure, started, arguments, interrupted=interrupted, red=red)
        return self.run

    def write_baselines(self) -> bool:
        """Write the baselines that the run was asked for, and return whether all are as asked for."""
        assert self.run is not None
        written = self.session.write_baselines(self.run)
        self.closing_lines += told_once((sentence for sentence, _ in written), self.run.preflight.busy)
        self.closing_lines += compared_with(self.session.measure)
        return all(as_asked for _, as_asked in written)

    def note(self, common: Sequence[str]) -> None:
        """Put what is said beneath the table into the record, and how to accept its cells."""
        assert self.run is not None
        notes = (*self.run.notes, *self.closing_lines, *common)
        self.run = self.run.model_copy(update={"notes": notes, **self._accepting(self.run)})

    def publish(self, write: Callable[[], None], *, interrupted: bool, aside: bool) -> None:
        """Write the record, with its media unless it was interrupted.

        Args:
            write: Writes the reports of all parts.
            interrupted: Whether the run was.
            aside: Whether the record is not to take the place of an earlier run's.
        """
        from ..explaining import with_explanations
        from ..report import publish, replaced, richer_run

        run, session = self.run, self.session
        assert run is not None
        report = self.workspace.path / self.settings.report.name if aside else self.settings.report
        before = richer_run(run, report)

        def save(run: RunRecord, reports: bool = True) -> None:
            self.run = run
            publish(run, report, self.workspace)
            if reports:
                write()

        if not interrupted:
            if self.settings.explain_failed:
                save(run)  # it takes minutes, and whatever ends this process meanwhile, the run is on disk
                explained = with_explanations(session.measure, run)
                found = explained.explanations.values()
                self.closing_lines += [f"{one.cell.label}, why: {one.sentence}" for one in found if one.sentence]
                self.closing_lines += explained.notes[len(run.notes) :]
                run = explained
            run, missing, stopped = with_media(session.engines, run, save)
            self._owner.stopped |= stopped
            self.closing_lines += [f"{self.prefix}{missing}"] if missing else []
        save(run, False)
        if not interrupted:
            others = [part.run.jobs for part in self._owner.begun if part.run is not None and part is not self]
            elsewhere_s = sum(job.seconds for jobs in others for job in jobs)
            remember(session.measure, run, time.time() - self._owner.started - elsewhere_s)
            self.workspace.discard_older(self.settings.keep_runs)
        if before is not None:
            here = self._config.invocation_params.dir
            said = replaced(before, run, report, self.workspace.root, here)
            self.closing_lines.append(f"{self.prefix}{said}")

    def _accepting(self, run: RunRecord) -> dict[str, Any]:
        """Return the fields of a run that say how to accept its cells: from its own folder, as another may follow."""
        from ..baselines import cell_commands

        # Of a runner nothing is left but what was uploaded, and whoever has that puts the record where they are.
        folder = self._config.invocation_params.dir / self.name if in_ci() else self.workspace.path

        def command(cells: Sequence[Cell]) -> str:
            keys = [cell.key for cell in cells]
            return options.accept_cells_command(self._config, self.settings.baseline_dir, folder / RECORD_NAME, keys)

        return cell_commands(self.session.acceptance(run), command)

    def close(self) -> None:
        """End processes that still wait for a job, and let the engines and the folder of this part be pruned."""
        if "session" in vars(self):
            self.session.measure.expected.close()
            self.session.measure.cache.close()
        if "workspace" in vars(self):
            self.workspace.close()
