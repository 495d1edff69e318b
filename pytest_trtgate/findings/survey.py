"""What is known of splits, checkpoints and the deployed engine: from earlier runs where they are unchanged, else asked.

``<cache root>/preflight/<key>.json`` holds what was seen. A split is unchanged while the paths of its
images and labels and their sizes, inodes and times are; a checkpoint or an engine while its bytes are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from .. import text as fmt
from ..cache import SurveyStore
from ..data import keypoints_of, label_of
from ..jobs import (
    CheckpointFacts,
    EngineFacts,
    SplitFacts,
    SplitRequest,
    SurveyRequest,
    SurveyResponse,
)
from ..machine import DECODERS, versions_in_key
from ..measuring import EvaluatedData, RunContext
from ..records import stamp

SURVEY_VERSION = 8
"""Part of every key: to be raised when the survey job changes what it makes of the same files."""
SAMPLE = 256
"""Images of a split that are decoded: enough to tell a distance of 0.3, and a second's work."""


NO_ENGINE = EngineFacts(metadata={"problem": "no such file"})


def survey(
    measure: RunContext, data: EvaluatedData, splits: Mapping[str, tuple[Path, ...]], models: tuple[str, ...]
) -> SurveyResponse:
    """Return what is known of some splits, of the checkpoints of some models, and of the engine that is deployed.

    Raises:
        ChangedError: Something changed while it was looked at.
        DataError: A checkpoint cannot be read.
        JobError: The job that looks failed.
    """
    dataset, calibrated = data.dataset, measure.plan.calibrates
    for model in models:  # what is now is what is measured
        measure.check_inputs(model, evaluated=True, calibrated=calibrated)
    store = SurveyStore(measure.cache.root, measure.settings.fresh, measure.milestone)
    kpt_shape = keypoints_of(dataset.extra.get("kpt_shape"))
    versions = versions_in_key(("ultralytics", *DECODERS), measure.environment.versions)
    how = f"{len(dataset.names)} {kpt_shape} {measure.settings.inputs.max_pixels} {versions}"
    split_keys = {name: _split_key(x, how) for name, x in splits.items()}
    model_keys = {model: _key("checkpoint", measure.weights_sha256[model]) for model in models}
    engine = measure.settings.deployment.engine
    engine_key = _key("engine", f"{engine} {stamp(engine)}") if engine and engine.exists() else ""
    known = SurveyResponse(
        splits={name: found for name, key in split_keys.items() if (found := store.get(key, SplitFacts))},
        checkpoints={model: told for model, key in model_keys.items() if (told := store.get(key, CheckpointFacts))},
        deployed=store.get(engine_key, EngineFacts) if engine_key else NO_ENGINE,
    )
    asked = {name: images for name, images in splits.items() if name not in known.splits}
    request = SurveyRequest(
        threads=measure.threads,
        splits=tuple(SplitRequest(name=name, images=tuple(map(str, images))) for name, images in asked.items()),
        classes=len(dataset.names),
        kpt_shape=kpt_shape,
        sample=SAMPLE,
        checkpoints={model: str(measure.plan.weights[model]) for model in models if model not in known.checkpoints},
        deployed=None if engine is None or known.deployed else str(engine),
    )
    if not (request.splits or request.checkpoints or request.deployed):
        return known
    new = _ask(measure, request, models)
    for model in models:
        measure.check_inputs(model, evaluated=True, calibrated=calibrated)
    for name, facts in new.splits.items():
        store.put(split_keys[name], facts)
    for model, said in new.checkpoints.items():
        if not said.problem:
            store.put(model_keys[model], said)
    if new.deployed is not None and "problem" not in new.deployed.metadata:
        store.put(engine_key, new.deployed)
    return SurveyResponse(
        splits={**known.splits, **new.splits},
        checkpoints={**known.checkpoints, **new.checkpoints},
        deployed=known.deployed or new.deployed,
    )


def _ask(measure: RunContext, request: SurveyRequest, models: tuple[str, ...]) -> SurveyResponse:
    name = "preflight" if len(models) == len(measure.plan.weights) else f"preflight-{models[0]}"
    images = sum(len(split.images) for split in request.splits)
    looked = [fmt.plural(n, what) for n, what in ((images, "image"), (len(request.checkpoints), "checkpoint")) if n]
    measure.milestone(f"preflight: looking at {' and '.join(looked) or 'the deployed engine'}")
    return measure.job(name, request)


def _split_key(images: tuple[Path, ...], how: str) -> str:
    labels = [label_of(image) for image in images]
    files = [*images, *labels, *sorted({file.parent for file in (*images, *labels)})]
    return _key("split", how, *(f"{file} {stamp(file)}" for file in files))


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join((str(SURVEY_VERSION), *parts)).encode(errors="surrogateescape")).hexdigest()
