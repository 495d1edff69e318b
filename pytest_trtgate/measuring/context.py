"""What all measuring of a run shares: settings, plan, data, cache and launcher, and how a job is run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..cache import EngineCache, default_root
from ..data import Dataset, reading
from ..errors import JobError
from ..jobs import (
    JOBS,
    LOG_NAME,
    CheckpointFacts,
    ExpectedJobs,
    Job,
    Launcher,
    Request,
    Response,
    Role,
    with_paths,
)
from ..machine import Machine, threads_of
from ..records import AccuracySettings, Cell, Environment, JobRecord, Phase, Workspace
from ..settings import Settings
from .data import EvaluatedData
from .inputs import Inputs, agree
from .own_code import own_code, sent_code
from .plan import Plan

A = TypeVar("A", bound=Response)


def checkpoint_name(model: str) -> str:
    """Return the name under which the preflight leaves in the workspace what it saw of a model's checkpoint."""
    return f"checkpoint-{model}"


def now() -> str:
    """Return this moment as ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@dataclass(frozen=True)
class Caller:
    """What pytest or the command line, whichever starts a run, has it work with.

    Attributes:
        launcher: Runs the jobs.
        machine: What it is measured on.
        milestone: Told in one sentence what was begun or done.
        progress: Told how far the current job is.
        export_args: Returns further arguments for the exporter of a cell's engine.
        working: Entered while a job runs.
    """

    launcher: Launcher
    machine: Machine
    milestone: Callable[[str], None]
    progress: Callable[[str], None]
    export_args: Callable[[Cell], dict[str, Any]] = lambda _: {}
    working: Callable[[], AbstractContextManager[object]] = nullcontext


class RunContext:
    """What all measuring of a run shares; all device work goes through :meth:`job`.

    The processes of a run share what they have done by its folder, ``workspace``. ``datasets`` come by model.
    ``ranges`` is a folder for what calibrations find, where engines that differ in other ways are built on the same
    images; None shares nothing.
    """

    ranges: Path | None = None
    _hooks = threading.Lock()
    """For all kinds of machines of a run: a project's hook is asked by one thread at a time."""

    def __init__(
        self,
        settings: Settings,
        plan: Plan,
        datasets: Mapping[str, Dataset],
        environment: Environment,
        workspace: Workspace,
        caller: Caller,
    ) -> None:
        self.settings = settings
        self.plan = plan
        self.environment = environment
        self.workspace = workspace
        self.machine = caller.machine
        self.milestone = caller.milestone
        self.caller = caller
        root = settings.cache_dir or default_root()
        self.cache = EngineCache(root, caller.milestone, self._longest_s)
        # Models on the same data share what is known of it.
        self.inputs = Inputs()
        share = (settings, root, workspace, self.inputs, caller.milestone)
        known = {d.source: EvaluatedData(d, *share) for d in datasets.values()}
        self.data = {model: known[dataset.source] for model, dataset in datasets.items()}
        self.threads = threads_of(settings, caller.machine)
        ahead, launches = workspace.path / "ahead", settings.latency.launches
        self.expected = ExpectedJobs(caller.launcher, environment.device, self.threads, ahead, launches)
        self._export_arguments: dict[Cell, dict[str, Any]] = {}
        self._sent_code = cache(sent_code)  # which walks folders

    @cached_property
    def weights_sha256(self) -> dict[str, str]:
        """The SHA-256 of each model's checkpoint, the same in all processes of the run."""
        with reading():
            found = {model: self.inputs.sha256(path) for model, path in self.plan.weights.items()}
        for model, sha256 in found.items():
            agree(self.workspace, f"weights-{model}", sha256, self.plan.weights[model])
        return found

    def own_code(self, model: str) -> dict[str, str]:
        """Return what keys say of the code of a checkpoint's own modules; nothing where it has none."""
        facts = self.workspace.get(checkpoint_name(model), CheckpointFacts)
        return {"code": own_code(facts.modules)} if facts is not None and facts.modules else {}

    def _code_for(self, request: Request[Any]) -> tuple[Mapping[str, Path], Mapping[str, str]]:
        """Return the code of the own modules of checkpoints that a job reads, and which of it cannot be sent."""
        modules = {
            model: facts.modules
            for model in self.plan.weights
            if (facts := self.workspace.get(checkpoint_name(model), CheckpointFacts)) is not None and facts.modules
        }
        if not modules or self.settings.weights == "safe":
            return {}, {}
        read = set[str]()

        def note(_: Role, path: str, __: Any) -> str:
            read.add(path)
            return path

        with_paths(request, note)
        asked = (its for model, its in modules.items() if str(self.plan.weights[model]) in read)
        found = self._sent_code(tuple(module for its in asked for module in its))
        return found.files, found.missing

    def check_inputs(self, model: str, *, evaluated: bool = False, calibrated: bool = False) -> None:
        """Check that what a model is measured with is what it was: the checkpoint, its own code, and its data.

        Args:
            model: The model.
            evaluated: Whether the images and labels of the evaluated split count.
            calibrated: Whether those that INT8 is calibrated on do.

        Raises:
            ChangedError: Something is not.
            DataError: Something can no longer be read.
        """
        with reading():
            _ = self.weights_sha256
            self.inputs.check([self.plan.weights[model]])
            if code := self.own_code(model):
                agree(
                    self.workspace,
                    f"code-{model}",
                    code["code"],
                    self.plan.weights[model],
                    "(code of its own modules) changed",
                )
            self.data[model].check(evaluated=evaluated, calibrated=calibrated)

    def export_arguments(self, cell: Cell) -> dict[str, Any]:
        """Return what the exporter is asked for a cell's engine, beyond what the cell itself says.

        Raises ``SettingsError`` where a hook sets what it may not set.
        """
        with self._hooks:
            if cell not in self._export_arguments:
                given = self.settings.export_arguments(cell.backend)
                self._export_arguments[cell] = given | self.caller.export_args(cell)
        return self._export_arguments[cell]

    @property
    def _longest_s(self) -> float:
        """Seconds that one job of a run with these settings may keep a device, or an engine that others want."""
        limits = self.settings.timeouts
        return max(limits.build_s, limits.accuracy_s, limits.launch_s, limits.video_s if self.settings.videos else 0.0)

    def evaluation(self, model: str) -> AccuracySettings:
        """Return what every arm of a model is evaluated with."""
        settings = self.settings.of(model)
        trained = self.workspace.get(checkpoint_name(model), CheckpointFacts)
        return AccuracySettings(
            split=settings.split,
            imgsz=settings.imgsz,
            batch=settings.batch,
            conf=settings.conf,
            iou=settings.validation.iou,
            max_det=settings.validation.max_det,
            nms=settings.export.nms,
            single_cls=trained is not None and trained.single_cls,
        )

    def job(self, name: str, request: Request[A], times: int = 1, lent: Launcher | None = None, beside: str = "") -> A:
        """Run a job, on the run's device unless its kind needs none, and return its answer.

        It may take ``times`` as long as the settings say for its kind. Its folder has its name. ``lent``: the launcher
        of a further device, on which the job runs beside one on the run's own. ``beside``: see :class:`Job`.

        Raises:
            JobError: It failed.
            ChangedError: It read a file that is not what it was.
        """
        spec, folder = JOBS[request.kind], self.workspace.job_folder(name)
        limit_s: float = times * getattr(self.settings.timeouts, spec.limit)
        kept = {"safe_weights": self.settings.weights == "safe", "max_pixels": self.settings.inputs.max_pixels}
        request = request.model_copy(update=kept)
        began_s, started = time.time(), time.monotonic()
        ok, phases, ahead_s = False, dict[Phase, float](), 0.0
        if lent is None:
            self.expected.before(request.kind)
        try:
            device = self.environment.device if spec.uses_device else ""
            code = self._code_for(request)
            wait_s = max(limit_s, self._longest_s)
            job = Job(name, request, device, limit_s, wait_s, self.inputs.sha256, *code, beside)
            with self.caller.working() if lent is None else nullcontext():
                answer = (lent or self.caller.launcher).run(job, folder, self.caller.progress)
            if not isinstance(answer, request.response()):
                raise JobError(name, f"the launcher answered with a {type(answer).__name__}")
            untold = next((path for path in request.artifacts if path not in answer.read), None)
            if untold is not None:
                raise JobError(name, f"the answer does not tell the SHA-256 of {untold}")
            self.inputs.check_read(answer.read, all_known=request.kind in ("build", "accuracy"))
            ok, phases, ahead_s = True, answer.phases, answer.ahead_s
            return answer
        finally:
            record = JobRecord(
                name=name,
                kind=request.kind,
                seconds=time.monotonic() - started,
                ok=ok,
                began_s=round(began_s, 3),
                log=str((folder / LOG_NAME).relative_to(self.workspace.path)),
                phases=phases,
                ahead_s=ahead_s,
                node=getattr(lent or self.caller.launcher, "node", ""),
            )
            self.workspace.put(f"job-{name}", record)
