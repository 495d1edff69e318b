"""What is known of splits, checkpoints and the deployed engine: from earlier runs where they are unchanged, else asked.

``<cache root>/preflight/<key>.json`` holds what was seen. A split is unchanged while the paths, sizes and times of
modification of its images and labels are; a checkpoint or an engine while its bytes are.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from .. import text as fmt
from ..cache import SurveyStore
from ..data import Dataset, label_of, reading
from ..jobs import (
    CheckpointFacts,
    EngineFacts,
    SplitFacts,
    SplitRequest,
    SurveyRequest,
    SurveyResponse,
)
from ..measuring import RunContext
from ..records import file_sha256

SURVEY_VERSION = 4
"""Part of every key: to be raised when the survey job changes what it makes of the same files."""
SAMPLE = 256
"""Images of a split that are decoded: enough to tell a distance of 0.3, and a second's work."""


def survey(
    measure: RunContext, dataset: Dataset, splits: Mapping[str, tuple[Path, ...]], models: tuple[str, ...]
) -> SurveyResponse:
    """Return what is known of some splits, of the checkpoints, and of the engine that is deployed.

    Args:
        measure: The run's settings, plan and launcher.
        dataset: The dataset that the splits are of.
        splits: Images by the name of their split.
        models: The models that are evaluated on them.

    Raises:
        DataError: A checkpoint or the deployed engine cannot be read.
        JobError: The job that looks failed.
    """
    settings, names = measure.settings, dataset.names
    store = SurveyStore(measure.cache.root, settings.fresh)
    keypoints = "kpt_shape" in dataset.extra
    split_keys = {name: _split_key(images, f"{len(names)} {keypoints}") for name, images in splits.items()}
    seen = {name: facts for name, key in split_keys.items() if (facts := store.get(key, SplitFacts))}
    weights = {model: measure.plan.weights[model] for model in models}
    model_keys = {model: _key("checkpoint", measure.weights_sha256[model]) for model in models}
    checkpoints = {model: told for model, key in model_keys.items() if (told := store.get(key, CheckpointFacts))}
    engine = settings.deployment.engine
    with reading():
        engine_key = _key("engine", file_sha256(engine)) if engine and engine.is_file() else ""
    deployed = store.get(engine_key, EngineFacts) if engine_key else EngineFacts(metadata={"problem": "no such file"})
    request = SurveyRequest(
        threads=measure.threads,
        splits=tuple(SplitRequest(name=n, images=tuple(map(str, x))) for n, x in splits.items() if n not in seen),
        classes=len(names),
        keypoints=keypoints,
        sample=SAMPLE,
        checkpoints={model: str(path) for model, path in weights.items() if model not in checkpoints},
        deployed=None if engine is None or deployed else str(engine),
    )
    if request.splits or request.checkpoints or request.deployed:
        name = "preflight" if len(models) == len(measure.plan.weights) else f"preflight-{models[0]}"
        images = sum(len(split.images) for split in request.splits)
        looked = [fmt.plural(n, what) for n, what in ((images, "image"), (len(request.checkpoints), "checkpoint")) if n]
        measure.milestone(f"preflight: looking at {' and '.join(looked) or 'the deployed engine'}")
        new = measure.job(name, request)
        for name, found in new.splits.items():
            store.put(split_keys[name], found)
        for model, said in new.checkpoints.items():
            if not said.problem:
                store.put(model_keys[model], said)
        if new.deployed is not None and "problem" not in new.deployed.metadata:
            store.put(engine_key, new.deployed)
        seen, checkpoints, deployed = (
            {**seen, **new.splits},
            {**checkpoints, **new.checkpoints},
            deployed or new.deployed,
        )
    return SurveyResponse(splits=seen, checkpoints=checkpoints, deployed=deployed)


def _split_key(images: tuple[Path, ...], how: str) -> str:
    labels = [label_of(image) for image in images]
    files = [*images, *labels, *sorted({file.parent for file in (*images, *labels)})]
    return _key("split", how, *(f"{file} {_stamp(file)}" for file in map(str, files)))


def _stamp(file: str) -> str:
    try:
        found = os.stat(file)  # noqa: PTH116 (thousands of them, and Path takes twice as long)
    except OSError:
        return "missing"
    return f"{found.st_size} {found.st_mtime_ns}"


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join((str(SURVEY_VERSION), *parts)).encode(errors="surrogateescape")).hexdigest()
