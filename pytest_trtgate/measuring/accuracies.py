"""Accuracies: those of a model's arms that are not in the cache are measured in one pass over the images."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import AccuracyCache
from ..data import Dataset, reading
from ..errors import JobError, JobTimeoutError, MachineLostError
from ..jobs import ARM_NAME, LOG_NAME, AccuracyArm, AccuracyRequest, ArmAccuracy, log_tail
from ..machine import DECODERS, versions_in_key
from ..records import (
    DEPLOYED,
    REFERENCE,
    SCHEMA_VERSION,
    AccuracyRecord,
    AccuracySettings,
    Cell,
    Environment,
    key_sha256,
)
from ..text import age
from .context import now
from .engines import Engines
from .given import described
from .parts import evaluated

Found = tuple[str, "AccuracyRecord | JobError"]
"""The name of an accuracy in the workspace, and what came of it."""


@dataclass(frozen=True)
class _Arm:
    """One arm that has to be evaluated: the name of its record, what the job is asked, and its keys in the cache.

    The second key is for an evaluation that spared memory.
    """

    name: str
    request: AccuracyArm
    keys: tuple[str, str]


class Evaluations:
    """The accuracies of a run, each obtained once.

    The run's tests are about the ``selected`` cells: the first of a model to be evaluated takes the others along.
    """

    def __init__(self, engines: Engines, selected: Collection[Cell]) -> None:
        self.engines = engines
        self.context = engines.context
        self.selected = selected
        self._cache = AccuracyCache(self.context.cache.root, self.context.milestone)

    def engine(self, cell: Cell) -> AccuracyRecord:
        """Return the accuracy of a cell's engine; raises ``JobError`` where it could not be built or evaluated."""
        return self._obtain(cell.model, cell.precision, self._together(cell))

    def reference(self, model: str) -> AccuracyRecord:
        """Return the accuracy of a model's ``.pt``; raises ``JobError`` where it could not be evaluated."""
        return self._obtain(model, REFERENCE, [REFERENCE])

    def is_known(self, model: str, arm: str, path: Path, sha256: str) -> bool:
        """Return whether an arm with these bytes is likely to be in the cache, and to be taken from there."""
        return not self.context.settings.fresh and any(map(self._cache.has, self._keys(model, arm, path, sha256)))

    def pair(self, cell: Cell) -> tuple[AccuracyRecord, AccuracyRecord]:
        """Return the accuracies of the ``.pt`` and of a cell's engine; raises ``JobError`` where one could not be."""
        arms = [REFERENCE, *self._together(cell)]
        if cell in self.context.plan.given:  # what does not fit is told before the .pt is evaluated for nothing
            self.engines.of(cell)
        engine = self._obtain(cell.model, cell.precision, arms)
        return self._obtain(cell.model, REFERENCE, arms), engine

    def other_builds(self, cell: Cell) -> list[AccuracyRecord]:
        """Return the accuracies of further builds of a cell's engine; raises ``JobError`` where one has none."""
        asks = cell not in self.context.plan.given
        if asks and cell.backend != "tensorrt" and self.context.settings.of(cell.model).accuracy.builds > 1:
            self.context.milestone(f"{cell.label}: built once, since all builds of ONNX Runtime are the same")
        return [self._obtain(cell.model, arm, self._together(cell)) for arm in self._builds(cell)[1:]]

    def _builds(self, cell: Cell) -> list[str]:
        """Return the arms that are builds of a cell's engine: one of ONNX Runtime, whose builds are all the same."""
        several = cell.backend == "tensorrt" and cell not in self.context.plan.given
        count = self.context.settings.of(cell.model).accuracy.builds if several else 1
        return [cell.precision, *(f"{cell.precision}-{number}" for number in range(2, count + 1))]

    def _together(self, cell: Cell) -> list[str]:
        planned = self.context.plan.of_model(cell.model)
        deployed = [DEPLOYED] if self.context.settings.deployment.compared else []
        return [arm for c in planned if c == cell or c in self.selected for arm in self._builds(c)] + deployed

    def _obtain(self, model: str, arm: str, together: list[str]) -> AccuracyRecord:
        names = {accuracy_name(model, one): one for one in together}
        return self.context.workspace.once_together(
            f"accuracies-{model}",
            list(names),
            accuracy_name(model, arm),
            AccuracyRecord,
            lambda missing: self._evaluate(model, [names[name] for name in missing]),
        )

    def _evaluate(self, model: str, arms: list[str]) -> Iterator[Found]:
        """Yield accuracies measured earlier on the same bytes, then those that are measured now."""
        context, missing = self.context, []
        builds = {
            arm: (cell, number)
            for cell in context.plan.of_model(model)
            for number, arm in enumerate(self._builds(cell), start=1)
        }
        for arm in arms:
            name = accuracy_name(model, arm)
            try:
                path = self._artifact(model, arm, builds)
            except JobError as error:
                yield name, error
                continue
            arrays = context.workspace.job_folder(name) / "per_image.npz"
            with reading():
                keys = self._keys(model, arm, path, context.inputs.sha256(path))
            known = None if context.settings.fresh else self._known(keys, arrays)
            if known is None:
                missing.append(_Arm(name, AccuracyArm(arm=arm, artifact=str(path), per_image=str(arrays)), keys))
                continue
            context.milestone(
                f"{model} {arm}: accuracy from the cache, measured {age(known.measured_at)} on the same bytes"
            )
            place = str(arrays.relative_to(context.workspace.path))
            yield name, known.model_copy(update={"model": model, "arm": arm, "per_image": place})
        if missing:
            yield from self._pass(model, missing)

    def _artifact(self, model: str, arm: str, builds: Mapping[str, tuple[Cell, int]]) -> Path:
        """Return what an arm evaluates; raises ``JobError`` where there is none."""
        if arm == REFERENCE:
            return self.engines.reference(model)
        deployed = self.context.settings.deployment.compared
        return (
            self.engines.deployed(model, deployed).path
            if arm == DEPLOYED and deployed
            else self.engines.of(*builds[arm]).path
        )

    def _keys(self, model: str, arm: str, path: Path, sha256: str) -> tuple[str, str]:
        context, data = self.context, self.context.data[model]
        how = context.evaluation(model)
        parts = result_parts(sha256, data.digest, data.dataset, how, context.environment, context.threads)
        # A checkpoint is given several batches at a time on a CPU. The second key is of one for which memory was short
        # then: it would die in every run.
        in_groups = arm == REFERENCE and context.environment.device == "cpu"
        parts |= described(path) | (context.own_code(model) if arm == REFERENCE else {})
        return key_sha256({**parts, "sparing": False}), key_sha256({**parts, "sparing": in_groups})

    def _known(self, keys: tuple[str, ...], arrays: Path) -> AccuracyRecord | None:
        found = (self._cache.get(key, arrays) for key in dict.fromkeys(keys))
        return next((record for record in found if record is not None), None)

    def _pass(self, model: str, arms: list[_Arm], sparing: bool = False) -> Iterator[Found]:
        """Evaluate arms in one job; where it dies, the others without the arm that it died at, and that one alone.

        That one is tried once more, with as few images in memory as can be. Its batch stays: one of another size may
        be computed by other kernels, and is not what is judged.
        """
        context, names = self.context, [arm.request.arm for arm in arms]
        data = context.data[model]
        context.milestone(f"{model}: evaluating {', '.join(names)} on split '{context.settings.split}'")
        job = pass_name(model, names)
        request = AccuracyRequest(
            arms=tuple(arm.request for arm in arms),
            data=str(data.resolved),
            device=context.environment.device,
            threads=context.threads,
            settings=context.evaluation(model),
            sparing=sparing,
        )
        before = context.workspace.job_folder(job)
        if (before / "request.json").exists():  # it had no other arm, and what it left is kept
            job += "-again"
        try:
            answer, failed = evaluated(context, job, request, data.images)
        except JobError as error:
            if sparing or isinstance(error, MachineLostError):
                yield from ((arm.name, error) for arm in arms)
            else:
                yield from self._again(model, arms, _arm_at(context.workspace.job_folder(error.job)), error)
            return
        if answer.arms:
            data.check_whole(answer.read)
        context.check_inputs(model, evaluated=True)
        with reading():
            context.inputs.check(Path(arm.request.artifact) for arm in arms)
        for arm in arms:
            found = answer.arms.get(arm.request.arm)
            if found is None:
                reason = answer.failures.get(arm.request.arm, "the job did not say what became of it")
                its = failed.get(arm.request.arm, job)
                tail = log_tail(context.workspace.job_folder(its) / LOG_NAME)
                yield arm.name, JobError(its, data.in_own_words(reason), tail)
            else:
                yield arm.name, self._record(model, arm, found, sparing)

    def _again(self, model: str, arms: list[_Arm], at: str, error: JobError) -> Iterator[Found]:
        bad = [arm for arm in arms if arm.request.arm == at or len(arms) == 1]
        others, hung = [arm for arm in arms if arm not in bad], isinstance(error, JobTimeoutError)
        if others or not hung:
            where = bad[0].request.arm if bad else "an unknown arm"
            self.context.milestone(f"{model}: the evaluation ended at {where} ({error.reason}); trying again")
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
        arrays, context = Path(arm.request.per_image), self.context
        record = AccuracyRecord(
            model=model,
            arm=arm.request.arm,
            settings=context.evaluation(model),
            data_digest=context.data[model].digest,
            per_image=str(arrays.relative_to(context.workspace.path)),
            measured_at=now(),
            **dict(found),
        )
        self._cache.put(arm.keys[sparing], record, arrays)
        return record


def accuracy_name(model: str, arm: str) -> str:
    """Return the name under which the workspace has the accuracy of an arm."""
    return f"accuracy-{model}-{arm}"


def pass_name(model: str, arms: Collection[str]) -> str:
    """Return the name of the job that evaluates arms of a model."""
    return f"accuracy-{model}-{'+'.join(arms)}"


def _arm_at(folder: Path) -> str:
    """Return the arm that an accuracy job was at when it ended; empty where it did not say."""
    try:
        return (folder / ARM_NAME).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


EVALUATOR_VERSION = 4
"""Part of every key. Raise it when the accuracy job makes something else of the same request."""
VERSIONS = ("ultralytics", "torch", "torchvision", "numpy", *DECODERS)


def result_parts(
    artifact_sha256: str,
    data_digest: str,
    dataset: Dataset,
    how: AccuracySettings,
    environment: Environment,
    threads: int,
) -> dict[str, Any]:
    """Return everything that can change an accuracy, but for whether memory was spared.

    ``data_digest`` is of the contents of the split's images and labels. The dataset adds the names of its images and
    classes, and what else its YAML says.
    """
    return {
        "schema": SCHEMA_VERSION,
        "evaluator": EVALUATOR_VERSION,
        "artifact": artifact_sha256,
        "data": data_digest,
        "images": dataset.shown_images(how.split),
        "names": {str(i): name for i, name in dataset.names.items()},
        "extra": sorted((repr(name), repr(value)) for name, value in dataset.extra.items()),
        "settings": how.model_dump(mode="json"),
        "machine": [environment.arch, environment.cpu, environment.gpu, environment.driver, environment.device],
        "instructions": environment.instructions,
        "threads": threads,
        "versions": versions_in_key((*VERSIONS, environment.backend), environment.versions),
        **({"variables": environment.variables} if environment.variables else {}),
    }
