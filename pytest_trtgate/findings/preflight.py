"""The preflight: everything that experience says goes wrong, looked for before anything is built."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ..baselines import BaselineStore
from ..cache import FileDigests
from ..data import Dataset, shared_contents
from ..errors import BaselineError, DataError, JobError
from ..jobs import SurveyResponse
from ..machine import foreign_processes, too_many_threads, why_busy
from ..measuring import RunContext
from ..records import BUSY, EarlyFinding, Finding, Preflight
from ..settings import REMEDIES, Settings, severity_of
from . import before as early
from .after import calibration_leak, few_images
from .before import Early
from .cache_place import why_thrown_away
from .survey import survey

SUBJECTS: Mapping[str, tuple[str, ...]] = {
    "few-images": ("accuracy",),
    "unfair-timing": ("latency",),
    "dynamic-shapes": ("latency",),
    BUSY: ("latency",),
}
"""Kinds of findings that concern verdicts on one subject only."""


def run_preflight(
    measure: RunContext,
    gpu: str,
    environ: Mapping[str, str],
    concerns: Callable[[EarlyFinding], bool] = lambda _: True,
) -> Preflight:
    """Look for everything, build nothing, and say what was found.

    Args:
        measure: The run's settings, plan, dataset, cache and launcher.
        gpu: UUID of the GPU that the run uses; empty for the CPU.
        environ: The environment variables of the process.
        concerns: Whether a finding concerns what the run's tests ask for: only then is it said at once.
    """
    started = time.monotonic()
    severities = measure.settings.findings
    found = [
        EarlyFinding(
            finding=Finding(id=one.id, severity=severity, sentence=one.sentence, remedy=one.remedy or REMEDIES[one.id]),
            models=one.models,
            precisions=one.precisions,
            subjects=SUBJECTS.get(one.id, ()),
        )
        for one in dict.fromkeys(_found(measure, gpu, environ))
        if (severity := severity_of(severities, one.id)) != "off"
    ]
    for one in filter(concerns, found):
        measure.milestone(f"preflight: {one.finding.sentence} [{one.finding.id}]")
    return Preflight(findings=tuple(found), seconds=time.monotonic() - started)


def _found(measure: RunContext, gpu: str, environ: Mapping[str, str]) -> Iterator[Early]:
    settings, cells = measure.settings, measure.plan.cells
    # First, before this run itself keeps the machine busy.
    busy, processes = why_busy(gpu=gpu), foreign_processes(gpu) if gpu else 0
    yield from (Early(BUSY, why) for why in busy)
    measure.expected.begin()
    yield from early.timing(settings, too_many_threads(measure.threads), processes)
    if why := why_thrown_away(measure.cache.root, environ):
        yield Early("throwaway-cache", f"the engine cache is in {measure.cache.root}, and {why}")
    yield from early.exports(cells, {cell: measure.export_arguments(cell) for cell in cells})
    yield from _of_baselines(measure)
    sets = list(dict.fromkeys(measure.data.values()))
    for data in sets:
        models = tuple(model for model, its in measure.data.items() if its is data)
        for found in _of_data(measure, data.dataset, data.digests, models):
            if len(sets) > 1:
                said = f"{data.dataset.source.name}: {found.sentence}"
                found = replace(found, models=found.models or models, sentence=said)
            yield found


def _of_data(measure: RunContext, dataset: Dataset, digests: FileDigests, models: tuple[str, ...]) -> Iterator[Early]:
    settings = measure.settings
    evaluated = dataset.images(settings.split)
    yield from (Early(*found) for found in few_images(len(evaluated), settings.split))
    calibration = _calibration_images(measure, dataset)
    yield from _of_contents(settings, dataset, digests, evaluated, calibration)
    splits = {settings.split: evaluated}
    if calibration:
        splits.setdefault(settings.calibration.split, calibration)
    try:
        seen = survey(measure, dataset, splits, models)
    except (JobError, DataError) as error:
        why = error.reason if isinstance(error, JobError) else str(error)
        yield Early("preflight-incomplete", f"images and checkpoints were not looked at: {why}")
        seen = SurveyResponse()
    yield from _of_survey(measure, dataset, seen, len(calibration), models)


def _calibration_images(measure: RunContext, dataset: Dataset) -> tuple[Path, ...]:
    """Return the images that INT8 will be calibrated on; none where no INT8 is planned."""
    wanted = measure.settings.calibration
    if all(cell.precision != "int8" for cell in measure.plan.cells):
        return ()
    images = dataset.images(wanted.split)
    # Ultralytics takes a fraction from the beginning.
    return images[: max(1, round(len(images) * wanted.fraction))]


def _of_survey(
    measure: RunContext, dataset: Dataset, seen: SurveyResponse, calibrated_on: int, models: tuple[str, ...]
) -> Iterator[Early]:
    settings, names = measure.settings, dataset.names
    cells = [cell for cell in measure.plan.cells if cell.model in models]
    yield from early.shapes(settings, cells, seen.checkpoints)
    metadata = seen.deployed.metadata if seen.deployed else {}
    yield from early.deployed_engine(settings, cells, metadata, measure.environment.versions.get("ultralytics"))
    yield from early.unknown_checkpoints(seen.checkpoints)
    yield from early.other_classes(seen.checkpoints, names, by_index=not dataset.folders)
    labelled = not dataset.folders and any(facts.task != "classify" for facts in seen.checkpoints.values())
    for split, facts in seen.splits.items():
        yield from early.dataset_trouble(split, facts, labelled=labelled, evaluated=split == settings.split)
    if calibrated_on:
        pair = (seen.splits.get(settings.calibration.split), seen.splits.get(settings.split))
        yield from early.weak_calibration(settings, calibrated_on, names, *pair)


def _of_contents(
    settings: Settings,
    dataset: Dataset,
    digests: FileDigests,
    evaluated: tuple[Path, ...],
    calibration: tuple[Path, ...],
) -> Iterator[Early]:
    """Yield images of the evaluated split that are calibrated on, or in another split, by content."""
    sha256 = digests.sha256
    try:
        leaked = shared_contents(evaluated, calibration, sha256)
        first = leaked[0].name if leaked else ""
        for found in calibration_leak(len(leaked), len(evaluated), first, settings.split):
            yield Early(*found, precisions=early.INT8)
        for other in dataset.splits:
            # Of the calibration images, the other finding has told already.
            if other == settings.split or (leaked and other == settings.calibration.split):
                continue
            try:
                images = dataset.images(other)
            except DataError:  # a split that this run does not use may be anywhere
                continue
            same = shared_contents(evaluated, images, sha256)
            yield from early.duplicates(settings.split, other, len(same), same[0].name if same else "")
    except DataError as error:
        yield Early("dataset-trouble", str(error))
    digests.save()


def _of_baselines(measure: RunContext) -> Iterator[Early]:
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
