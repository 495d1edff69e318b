"""Accuracies: those of a model's arms that are not known yet come from one pass over the images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..data import Dataset, reading
from ..errors import JobError, JobTimeoutError
from ..jobs import (
    ARM_NAME,
    LOG_NAME,
    AccuracyArm,
    AccuracyRequest,
    AccuracyResponse,
    ArmAccuracy,
    CheckpointFacts,
    log_tail,
)
from ..machine import DECODERS
from ..records import (
    REFERENCE,
    SCHEMA_VERSION,
    AccuracyRecord,
    AccuracySettings,
    Cell,
    Environment,
    file_sha256,
    key_sha256,
)
from ..text import age
from .context import Measurements, now

Found = tuple[str, "AccuracyRecord | JobError"]
"""The name of an accuracy in the workspace, and what came of it."""


@dataclass(frozen=True)
class _Arm:
    """One arm that has to be evaluated: the name of its record, what the job is asked, and its keys in the cache.

    The second key is that of a checkpoint that was evaluated in smaller batches to spare memory.
    """

    name: str
    request: AccuracyArm
    keys: tuple[str, str]


class Evaluations:
    """The accuracies of a run, each obtained once.

    Args:
        measure: The run's measurements.
        selected: The cells that the run's tests are about. The first of a model to be evaluated takes the others along.
    """

    def __init__(self, measure: Measurements, selected: Collection[Cell]) -> None:
        self.measure = measure
        self.selected = selected

    def _how(self, model: str) -> AccuracySettings:
        settings = self.measure.settings.of(model)
        trained = self.measure.workspace.get(checkpoint_name(model), CheckpointFacts)
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

    def engine(self, cell: Cell) -> AccuracyRecord:
        """Return the accuracy of a cell's engine.

        Raises:
            JobError: The build or the evaluation failed.
        """
        return self._obtain(cell.model, cell.precision, self._together(cell))

    def reference(self, model: str) -> AccuracyRecord:
        """Return the accuracy of a model's ``.pt``.

        Raises:
            JobError: The evaluation failed.
        """
        return self._obtain(model, REFERENCE, [REFERENCE])

    def pair(self, cell: Cell) -> tuple[AccuracyRecord, AccuracyRecord]:
        """Return the accuracies of the ``.pt`` and of a cell's engine.

        Raises:
            JobError: The build or an evaluation failed.
        """
        arms = [REFERENCE, *self._together(cell)]
        engine = self._obtain(cell.model, cell.precision, arms)
        return self._obtain(cell.model, REFERENCE, arms), engine

    def _together(self, cell: Cell) -> list[str]:
        planned = self.measure.plan.of_model(cell.model)
        return [c.precision for c in planned if c == cell or c in self.selected]

    def _obtain(self, model: str, arm: str, together: list[str]) -> AccuracyRecord:
        names = {_name(model, one): one for one in together}
        return self.measure.workspace.once_together(
            f"accuracies-{model}",
            list(names),
            _name(model, arm),
            AccuracyRecord,
            lambda missing: self._evaluate(model, [names[name] for name in missing]),
        )

    def _evaluate(self, model: str, arms: list[str]) -> Iterator[Found]:
        """Yield accuracies measured earlier on the same bytes, then those that are measured now."""
        measure, data, how, missing = self.measure, self.measure.data[model], self._how(model), []
        cells: dict[str, Cell] = {cell.precision: cell for cell in measure.plan.of_model(model)}
        for arm in arms:
            name = _name(model, arm)
            try:
                path = measure.plan.weights[model] if arm == REFERENCE else measure.engine(cells[arm]).path
            except JobError as error:
                yield name, error
                continue
            arrays = measure.workspace.job_folder(name) / "per_image.npz"
            with reading():
                sha256 = file_sha256(path)
            key = partial(result_key, sha256, data.digest, data.dataset, how, measure.environment, measure.threads)
            # The second, since a checkpoint for which memory was short once would die in every run.
            keys = (key(), key(sparing=self._in_groups(arm)))
            known = None if measure.settings.fresh else self._known(keys, arrays)
            if known is None:
                missing.append(_Arm(name, AccuracyArm(arm=arm, artifact=str(path), per_image=str(arrays)), keys))
                continue
            measure.milestone(
                f"{model} {arm}: accuracy from the cache, measured {age(known.measured_at)} on the same bytes"
            )
            place = str(arrays.relative_to(measure.workspace.path))
            yield name, known.model_copy(update={"model": model, "arm": arm, "per_image": place})
        if missing:
            yield from self._pass(model, missing)

    def _known(self, keys: tuple[str, ...], arrays: Path) -> AccuracyRecord | None:
        found = (self.measure.results.get(key, arrays) for key in dict.fromkeys(keys))
        return next((record for record in found if record is not None), None)

    def _in_groups(self, arm: str) -> bool:
        """Return whether an arm is given several batches at a time, where memory is not to be spared."""
        return arm == REFERENCE and self.measure.environment.device == "cpu"

    def _pass(self, model: str, arms: list[_Arm], sparing: bool = False) -> Iterator[Found]:
        """Evaluate arms in one job; where it dies, the others without the arm that it died at, and that one alone.

        That one is tried once more, with as few images in memory as can be, in company or not and on any device. Its
        batch stays: one of another size may be computed by other kernels, and is not what is judged.
        """
        measure, names = self.measure, [arm.request.arm for arm in arms]
        data, how = measure.data[model], self._how(model)
        measure.milestone(f"{model}: evaluating {', '.join(names)} on {len(data.images)} images")
        job = f"accuracy-{model}-{'+'.join(names)}"
        request = AccuracyRequest(
            arms=tuple(arm.request for arm in arms),
            data=str(data.resolved),
            device=measure.environment.device,
            threads=measure.threads,
            settings=how,
            sparing=sparing,
        )
        folder = measure.workspace.job_folder(job)
        if (folder / "request.json").exists():  # it had no other arm, and what it left is kept
            job += "-again"
            folder = measure.workspace.job_folder(job)
        try:
            limit_s = measure.settings.timeouts.accuracy_s * len(arms)
            answer = measure.job(job, "accuracy", request, limit_s, AccuracyResponse)
        except JobError as error:
            if sparing:
                yield arms[0].name, error
            else:
                yield from self._again(model, arms, _arm_at(folder), error)
            return
        tail = log_tail(folder / LOG_NAME)
        for arm in arms:
            found = answer.arms.get(arm.request.arm)
            if found is None:
                reason = answer.failures.get(arm.request.arm, "the job did not say what became of it")
                yield arm.name, JobError(job, data.in_own_words(reason), tail)
            else:
                yield arm.name, self._record(model, arm, found, sparing)

    def _again(self, model: str, arms: list[_Arm], at: str, error: JobError) -> Iterator[Found]:
        measure = self.measure
        bad = [arm for arm in arms if arm.request.arm == at or len(arms) == 1]
        others, hung = [arm for arm in arms if arm not in bad], isinstance(error, JobTimeoutError)
        if others or not hung:
            where = bad[0].request.arm if bad else "an unknown arm"
            measure.milestone(f"{model}: the evaluation ended at {where} ({error.reason}); trying again")
        if not bad:
            for arm in arms:
                yield from self._pass(model, [arm], sparing=True)
            return
        if others:
            yield from self._pass(model, others)
        if hung:
            yield bad[0].name, error  # it would take as long again
        else:
            yield from self._pass(model, bad, sparing=True)

    def _record(self, model: str, arm: _Arm, found: ArmAccuracy, sparing: bool) -> AccuracyRecord:
        arrays, measure = Path(arm.request.per_image), self.measure
        record = AccuracyRecord(
            model=model,
            arm=arm.request.arm,
            settings=self._how(model),
            data_digest=measure.data[model].digest,
            per_image=str(arrays.relative_to(measure.workspace.path)),
            measured_at=now(),
            **dict(found),
        )
        measure.results.put(arm.keys[sparing], record, arrays)
        return record


def checkpoint_name(model: str) -> str:
    """Return the name under which the preflight leaves in the workspace what it saw of a model's checkpoint."""
    return f"checkpoint-{model}"


def _name(model: str, arm: str) -> str:
    return f"accuracy-{model}-{arm}"


def _arm_at(folder: Path) -> str:
    """Return the arm that an accuracy job was at when it ended; empty where it did not say."""
    try:
        return (folder / ARM_NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


EVALUATOR_VERSION = 4
"""Part of every key: to be raised when the accuracy job changes what it makes of the same request."""
VERSIONS = ("ultralytics", "torch", "torchvision", "numpy", *DECODERS)


def result_key(
    artifact_sha256: str,
    data_digest: str,
    dataset: Dataset,
    how: AccuracySettings,
    environment: Environment,
    threads: int,
    sparing: bool = False,
) -> str:
    """Return the digest of everything that can change an accuracy.

    Args:
        artifact_sha256: Digest of the checkpoint or engine.
        data_digest: Digest of the split's images and labels, by content.
        dataset: For the names of its images and classes, and what else its YAML says.
        how: What the evaluation is run with.
        environment: Machine and versions.
        threads: Threads of the evaluation.
        sparing: Whether a checkpoint was given single batches where it usually gets several at once.
    """
    versions: Mapping[str, str] = environment.versions
    parts: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "evaluator": EVALUATOR_VERSION,
        "artifact": artifact_sha256,
        "data": data_digest,
        "images": [dataset.shown(image) for image in dataset.images(how.split)],
        "names": {str(i): name for i, name in dataset.names.items()},
        "extra": sorted((repr(name), repr(value)) for name, value in dataset.extra.items()),
        # Only where it is so: the keys of other results stay as they were.
        "settings": how.model_dump(mode="json", exclude=set() if how.single_cls else {"single_cls"}),
        "machine": [environment.arch, environment.cpu, environment.gpu, environment.driver, environment.device],
        "instructions": environment.instructions,
        "threads": threads,
        "sparing": sparing,
        "versions": {name: versions.get(name) for name in (*VERSIONS, environment.backend)},
    }
    return key_sha256(parts)
