"""The preflight: everything that experience says goes wrong, looked for before anything is built."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from ..baselines import BaselineStore
from ..cache import why_weak
from ..data import keypoints_of, shared_contents
from ..errors import BaselineError, DataError, JobError
from ..jobs import SurveyResponse
from ..machine import too_many_threads
from ..measuring import EvaluatedData, RunContext, checkpoint_name
from ..records import BUSY, EarlyFinding, Preflight
from ..settings import Settings
from . import before as early
from .after import calibration_leak, few_images
from .cache_place import why_thrown_away
from .found import Found
from .survey import survey

INT8 = ("int8",)


def run_preflight(
    measure: RunContext,
    gpu: str,
    concerns: Callable[[EarlyFinding], bool] = lambda _: True,
) -> Preflight:
    """Look for everything, build nothing, and say what was found.

    Args:
        measure: The run's settings, plan, dataset, cache, launcher and machine.
        gpu: UUID of the GPU that the run uses; empty for the CPU.
        concerns: Whether a finding concerns what the run's tests ask for: only then is it said at once.
    """
    started = time.monotonic()
    severities = measure.settings.findings
    looked_for = dict.fromkeys(_found(measure, gpu))
    found = [graded for one in looked_for for graded in one.graded_early(severities)]
    for one in filter(concerns, found):
        measure.milestone(f"preflight: {one.finding.sentence} [{one.finding.id}]")
    return Preflight(findings=tuple(found), seconds=time.monotonic() - started)


def _found(measure: RunContext, gpu: str) -> Iterator[Found]:
    settings, cells, machine = measure.settings, measure.plan.cells, measure.machine
    # First, before this run itself keeps the machine busy.
    busy, processes = machine.why_busy(gpu), machine.foreign_processes(gpu) if gpu else 0
    yield from (Found(BUSY, why) for why in busy)
    measure.expected.begin()
    yield from early.timing(settings, too_many_threads(measure.threads, machine.usable_cores()), processes)
    if why := why_thrown_away(measure.cache.root, machine.environ, machine.temporary):
        yield Found("throwaway-cache", f"the engine cache is in {measure.cache.root}, and {why}")
    if why := why_weak(machine.environ):
        yield Found("weak-cache-key", why)
    yield from early.exports(cells, {cell: measure.export_arguments(cell) for cell in cells})
    run_here = [cell for cell in cells if not measure.plan.is_predicted(cell)]
    yield from early.saturating(run_here, measure.environment, measure.settings)
    yield from _of_baselines(measure)
    sets = list(dict.fromkeys(measure.data.values()))
    for data in sets:
        models = tuple(model for model, its in measure.data.items() if its is data)
        for found in _of_data(measure, data, models):
            if len(sets) > 1:
                said = f"{data.dataset.source.name}: {found.sentence}"
                found = replace(found, models=found.models or models, sentence=said)
            yield found


def _of_data(measure: RunContext, data: EvaluatedData, models: tuple[str, ...]) -> Iterator[Found]:
    settings = measure.settings
    calibration = _calibration_images(measure, data)
    yield from _of_contents(settings, data, calibration)
    splits = {settings.split: data.images}
    if calibration:
        splits.setdefault(settings.calibration.split, calibration)
    for split in splits:
        yield from early.passed_over(split, data.dataset.passed_over(split))
    try:
        seen = survey(measure, data, splits, models)
    except (JobError, DataError) as error:
        why = error.reason if isinstance(error, JobError) else str(error)
        yield Found("preflight-incomplete", f"images and checkpoints were not looked at: {why}")
        seen = SurveyResponse()
    for model, facts in seen.checkpoints.items():
        measure.workspace.put(checkpoint_name(model), facts)
    yield from _of_survey(measure, data, seen, len(calibration), models)


def _calibration_images(measure: RunContext, data: EvaluatedData) -> tuple[Path, ...]:
    """Return the images that INT8 will be calibrated on; none where no INT8 is planned."""
    if not measure.plan.calibrates:
        return ()
    return data.calibration_images[: data.calibration_count]


def _of_survey(
    measure: RunContext, data: EvaluatedData, seen: SurveyResponse, calibrated_on: int, models: tuple[str, ...]
) -> Iterator[Found]:
    settings, dataset = measure.settings, data.dataset
    names, tasks = dataset.names, {facts.task for facts in seen.checkpoints.values()}
    cells = [cell for cell in measure.plan.cells if cell.model in models]
    yield from early.shapes(settings, cells, seen.checkpoints, _accepted(measure))
    metadata = seen.deployed.metadata if seen.deployed else {}
    yield from early.deployed_engine(settings, cells, metadata, measure.environment.versions.get("ultralytics"))
    yield from early.unknown_checkpoints(seen.checkpoints)
    kind = list(early.other_kind(seen.checkpoints, dataset.source, folders=dataset.folders))
    yield from kind or early.other_keypoints(seen.checkpoints, keypoints_of(dataset.extra.get("kpt_shape")))
    told = [model for found in kind for model in found.models]
    others = {model: facts for model, facts in seen.checkpoints.items() if model not in told}
    yield from early.other_classes(others, dataset.classes(settings.split), by_index=not dataset.folders)
    yield from early.other_labels(others, seen.splits)
    labelled = not dataset.folders and any(task != "classify" for task in tasks)
    unused = dict.fromkeys((settings.split, settings.calibration.split), 0)
    for split, facts in seen.splits.items():
        unused[split] = facts.corrupt.count + (early.unusable_labels(facts, tasks).count if labelled else 0)
        yield from early.dataset_trouble(split, facts, tasks, labelled=labelled, evaluated=split == settings.split)
    yield from few_images(len(data.images) - unused[settings.split], settings.split)
    calibrated_on -= unused[settings.calibration.split]
    if calibrated_on > settings.batch:  # the last batch is left out if it is not full
        calibrated_on -= calibrated_on % settings.batch
    if calibrated_on > 0:
        pair = (seen.splits.get(settings.calibration.split), seen.splits.get(settings.split))
        for sentence in early.weak_calibration(settings, calibrated_on, names, *pair):
            yield Found("weak-calibration", sentence, precisions=INT8)


def _of_contents(settings: Settings, data: EvaluatedData, calibration: tuple[Path, ...]) -> Iterator[Found]:
    """Yield images of the evaluated split that are calibrated on, or in another split, by content."""
    evaluated, dataset, sha256 = data.images, data.dataset, data.digests.sha256
    try:
        leaked = shared_contents(evaluated, calibration, sha256)
        for found in calibration_leak(leaked, len(evaluated), settings.split):
            yield replace(found, precisions=INT8)
        for other in dataset.splits:
            # Of the calibration images, the other finding has told already.
            if other == settings.split or (leaked and other == settings.calibration.split):
                continue
            try:
                images = dataset.images(other)
            except DataError:  # a split that this run does not use may be anywhere
                continue
            yield from early.duplicates(settings.split, other, shared_contents(evaluated, images, sha256))
    except DataError as error:
        yield Found("dataset-trouble", str(error))
    data.digests.save()


def _of_baselines(measure: RunContext) -> Iterator[Found]:
    if measure.settings.baselines == "update":  # accepts another engine in any case
        return
    store = BaselineStore(measure.settings.baseline_dir, measure.environment)
    for cell in measure.plan.cells:
        try:
            baseline = store.find(cell).baseline
        except BaselineError:  # the cell's own verdict says so
            continue
        if baseline is not None:
            yield from early.accepted_skew(cell, baseline.environment.versions, measure.environment.versions)


def _accepted(measure: RunContext) -> set[str]:
    """Return the models of which some machine has a baseline of one of their cells."""
    store = BaselineStore(measure.settings.baseline_dir, measure.environment)
    return {cell.model for cell in measure.plan.cells if store.has_any(cell)}
