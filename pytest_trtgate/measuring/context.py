"""Measuring: engines and latencies of the planned cells, each obtained once per run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from ..cache import EngineCache, ResultCache, check_built_here, default_root, key_parts, timing_cache_path
from ..data import Dataset, reading
from ..errors import JobError
from ..jobs import (
    LOG_NAME,
    ArmRequest,
    BuildResponse,
    EarlyJobs,
    Job,
    JobKind,
    LatencyRequest,
    LatencyResponse,
    Launcher,
    Response,
)
from ..machine import Machine, threads_of
from ..records import (
    REFERENCE,
    Cell,
    EngineRecord,
    Environment,
    Failure,
    FileRecord,
    JobRecord,
    LatencyRecord,
    Launch,
    Phase,
    Workspace,
    file_sha256,
    key_sha256,
)
from ..settings import DEPLOYMENT_CONF, Settings
from .data import EvaluatedData
from .engines import build_request, engine_record
from .launches import Comparison, LaunchSeries, with_counts
from .plan import Plan

R = TypeVar("R", bound=Response)
WITHOUT_DEVICE: tuple[JobKind, ...] = ("pictures", "clip", "survey")


def now() -> str:
    """Return this moment as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


class Measurements:
    """What a run measures, by cell. All device work goes through the launcher; results are shared by a workspace.

    Args:
        settings: The run's settings.
        plan: Its cells.
        datasets: The dataset of each model.
        environment: The machine, part of every engine's key.
        workspace: The run's folder.
        launcher: Runs the jobs.
        machine: What it is measured on.
        milestone: Told in one sentence what was begun or done.
        progress: Told how far the current job is.
        export_args: Returns further arguments for the exporter of a cell's engine.
    """

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        datasets: Mapping[str, Dataset],
        environment: Environment,
        workspace: Workspace,
        launcher: Launcher,
        machine: Machine,
        milestone: Callable[[str], None],
        progress: Callable[[str], None],
        export_args: Callable[[Cell], dict[str, Any]] = lambda _: {},
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.environment = environment
        self.workspace = workspace
        self.launcher = launcher
        self.machine = machine
        self.milestone = milestone
        self.progress = progress
        self._export_args = export_args
        root = settings.cache_dir or default_root()
        self.cache = EngineCache(root, milestone)
        self.results = ResultCache(root)
        # Models on the same data share what is known of it.
        known = {d.source: EvaluatedData(d, settings, root, workspace.path) for d in datasets.values()}
        self.data = {model: known[dataset.source] for model, dataset in datasets.items()}
        self.threads = threads_of(settings, machine)
        ahead, launches = workspace.path / "ahead", settings.latency.launches
        self.early = EarlyJobs(launcher, environment.device, self.threads, ahead, launches)

    def engine(self, cell: Cell) -> EngineRecord:
        """Return the engine of a cell, from the cache or built now.

        Raises:
            JobError: The build failed.
        """
        return self.workspace.once(f"engine-{cell.key}", EngineRecord, lambda: self._engine(cell))

    def _engine(self, cell: Cell) -> EngineRecord:
        export, environment = self.settings.export_key(cell.backend), self.environment
        export |= self.export_arguments(cell)
        parts = key_parts(cell, environment, self.weights_sha256[cell.model], export, self._calibration(cell))
        key = key_sha256(parts)
        record = self.cache.obtain(key, lambda folder: self._build(cell, key, parts, folder))
        check_built_here(record, environment)
        # Equal bytes under another name, or in another project, share an entry.
        record = record.model_copy(update={"cell": cell})
        source = "from the cache" if record.from_cache else f"built in {record.build_seconds:.1f} s"
        self.milestone(f"{cell.label}: engine {source} ({record.size_bytes / 1e6:.1f} MB, key {key[:12]})")
        return record

    def export_arguments(self, cell: Cell) -> dict[str, Any]:
        """Return what the exporter is asked for a cell's engine, beyond what the cell itself says.

        Raises:
            SettingsError: A hook asks for what the exporter must not be asked for.
        """
        return self.settings.export_arguments(cell.backend) | self._export_args(cell)

    @cached_property
    def weights_sha256(self) -> dict[str, str]:
        """The SHA-256 of each model's checkpoint."""
        with reading():
            return {model: file_sha256(path) for model, path in self.plan.weights.items()}

    def _calibration(self, cell: Cell) -> dict[str, Any] | None:
        if cell.precision != "int8":
            return None
        wanted = self.settings.calibration
        return {"split": wanted.split, "fraction": wanted.fraction, **self.data[cell.model].calibration_facts}

    def _build(self, cell: Cell, key: str, parts: dict[str, Any], folder: Path) -> EngineRecord:
        started, name = time.monotonic(), f"build-{cell.key}"
        data = self.data[cell.model] if cell.precision == "int8" else None
        arguments = self.export_arguments(cell)
        request = build_request(
            cell,
            self.settings,
            weights=self.plan.weights[cell.model],
            data=None if data is None else data.resolved,
            export_args=arguments,
            threads=self.threads,
            timing_cache=timing_cache_path(self.cache.root, self.environment),
            traced=self._traced(cell, arguments),
            output=folder,
        )
        self.milestone(f"{cell.label}: building the engine")
        try:
            answer = self.job(name, "build", request, self.settings.timeouts.build_s, BuildResponse)
        except JobError as error:
            reason = error.reason if data is None else data.in_own_words(error.reason)
            raise JobError(error.job, reason, error.log_tail) from error
        log = self.workspace.job_folder(name) / LOG_NAME
        return engine_record(cell, key, parts, request, answer, log, time.monotonic() - started, now())

    def _traced(self, cell: Cell, arguments: dict[str, Any]) -> Path | None:
        """Return where the graph is kept that this run's builds begin with which differ from a cell's by precision."""
        if cell.backend != "onnxruntime" or arguments.get("dynamic"):  # where FP16 is traced in another way
            return None
        parts = {"weights": self.weights_sha256[cell.model], "imgsz": cell.imgsz, "batch": cell.batch, **arguments}
        return self.workspace.traced / key_sha256(parts)

    def latency(self, model: str, comparison: Comparison) -> LatencyRecord:
        """Return the launches of a model: its ``.pt`` and all its planned engines side by side.

        Arms that cannot be timed are named in ``failures``; the others are timed without them.

        Args:
            model: The model.
            comparison: Which baseline engines are timed too, and how many launches are enough.

        Raises:
            JobError: No launch succeeded.
        """
        return self.workspace.once(f"latency-{model}", LatencyRecord, lambda: self._launches(model, comparison))

    def _launches(self, model: str, comparison: Comparison) -> LatencyRecord:
        weights = self.plan.weights[model]
        arms = [ArmRequest(arm=REFERENCE, artifact=str(weights), sha256=self.weights_sha256[model])]
        failures: dict[str, Failure] = {}
        engines: dict[str, EngineRecord] = {}
        for cell in self.plan.of_model(model):
            try:
                engine = engines[cell.precision] = self.engine(cell)
            except JobError as error:
                failures[cell.precision] = Failure.of(error)
            else:
                arms.append(ArmRequest(arm=cell.precision, artifact=str(engine.path), sha256=engine.sha256))
        settings = self.settings.of(model)
        start = LatencyRecord(model=model, imgsz=settings.imgsz, batch=settings.batch, launches=(), failures=failures)
        if not engines:
            return start  # there is nothing to compare the .pt with
        self.early.before_launches(model)
        arms += comparison.replays(engines)
        return LaunchSeries(start, arms, partial(self._launch, model), self.milestone).run(
            settings.latency.launches, comparison.more
        )

    def launch_request(
        self, model: str, name: str, index: int, arms: list[ArmRequest], samples: int | None = None
    ) -> LatencyRequest:
        """Return the request for a launch of some arms of a model, as a job of that name."""
        latency = self.settings.latency
        images = self.data[model].images
        step = max(1, len(images) // latency.images)
        return LatencyRequest(
            index=index,
            seed=latency.seed + index,
            arms=tuple(arms),
            imgsz=self.settings.of(model).imgsz,
            batch=self.settings.batch,
            device=self._device,
            threads=self.threads,
            gated=latency.context,
            images=tuple(str(p) for p in images[::step][: latency.images]),
            samples=samples or latency.samples,
            max_seconds=latency.max_seconds,
            block=latency.block,
            warmup_min=latency.warmup_min,
            warmup_max_seconds=latency.warmup_max_seconds,
            conf=DEPLOYMENT_CONF,
            iou=self.settings.validation.iou,
            max_det=self.settings.validation.max_det,
            nms=self.settings.export.nms,
            samples_file=str(self.workspace.job_folder(name) / "samples.npz"),
        )

    def _launch(self, model: str, name: str, index: int, arms: list[ArmRequest], samples: int | None = None) -> Launch:
        request = self.launch_request(model, name, index, arms, samples)
        answer = self.job(name, "latency", request, self.settings.timeouts.launch_s, LatencyResponse)
        samples_file = Path(request.samples_file)
        launch = with_counts(answer.launch, samples_file, self.settings.latency.context, self._budgets_ms)
        return launch.model_copy(update={"samples": str(samples_file.relative_to(self.workspace.path))})

    @cached_property
    def _budgets_ms(self) -> dict[str, dict[str, float]]:
        found: dict[str, dict[str, float]] = {}
        for precision in self.settings.precisions:
            limits = self.settings.latency.limits(precision, self.environment.backend)
            found[precision] = {name: x.budget_ms for name, x in limits.items() if x.budget_ms is not None}
        return found

    # Jobs

    @property
    def _device(self) -> str:
        return self.environment.device

    def job(self, name: str, kind: JobKind, request: FileRecord, timeout_s: float, expect: type[R]) -> R:
        """Run a job, on the run's device unless its kind needs none, and return its answer; raises JobError."""
        folder = self.workspace.job_folder(name)
        began_s, started = time.time(), time.monotonic()
        ok, phases, ahead_s = False, dict[Phase, float](), 0.0
        self.early.before(kind)
        try:
            job = Job(name, kind, request, "" if kind in WITHOUT_DEVICE else self._device, timeout_s)
            answer = self.launcher.run(job, folder, self.progress)
            if not isinstance(answer, expect):
                raise JobError(name, f"the launcher answered with a {type(answer).__name__}")
            ok, phases, ahead_s = True, answer.phases, answer.ahead_s
            return answer
        finally:
            seconds = time.monotonic() - started
            log = str((folder / LOG_NAME).relative_to(self.workspace.path))
            record = JobRecord(
                name=name,
                kind=kind,
                seconds=seconds,
                ok=ok,
                began_s=round(began_s, 3),
                log=log,
                phases=phases,
                ahead_s=ahead_s,
            )
            self.workspace.put(f"job-{name}", record)
