"""Accuracies that need not be measured again: the same bytes on the same data, with the same versions and machine.

``<cache root>/results/<key>/`` holds a record and its per-image arrays. Latency is never kept: it is always measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .dataset import Dataset
from .digest import key_sha256
from .errors import RecordError
from .record_base import SCHEMA_VERSION
from .recordfile import load, save
from .records import AccuracyRecord, AccuracySettings, Environment

EVALUATOR_VERSION = 1
"""Part of every key: to be raised when the accuracy job changes what it makes of the same request."""
VERSIONS = ("ultralytics", "torch", "torchvision", "numpy")
_RECORD, _ARRAYS = "accuracy.json", "per_image.npz"


def result_key(
    artifact_sha256: str,
    data_digest: str,
    dataset: Dataset,
    how: AccuracySettings,
    environment: Environment,
    threads: int,
) -> str:
    """Return the digest of everything that can change an accuracy.

    Args:
        artifact_sha256: Digest of the checkpoint or engine.
        data_digest: Digest of the split's images and labels.
        dataset: For the names of its classes and what else its YAML says.
        how: What the evaluation is run with.
        environment: Machine and versions.
        threads: Threads of the evaluation.
    """
    versions: Mapping[str, str] = environment.versions
    parts: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "evaluator": EVALUATOR_VERSION,
        "artifact": artifact_sha256,
        "data": data_digest,
        "names": {str(i): name for i, name in dataset.names.items()},
        "extra": repr(sorted(dataset.extra.items())),
        "settings": how.model_dump(mode="json"),
        "machine": [environment.arch, environment.cpu, environment.gpu, environment.driver, environment.device],
        "threads": threads,
        "versions": {name: versions.get(name) for name in (*VERSIONS, environment.backend)},
    }
    return key_sha256(parts)


class ResultCache:
    """Accuracies by key under one folder.

    Args:
        root: The folder of the engine cache; results are in a folder of their own inside it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root / "results"

    def get(self, key: str, arrays: Path) -> AccuracyRecord | None:
        """Return a stored accuracy and copy its per-image arrays to ``arrays``; None where there is none to be used."""
        entry = self.root / key
        try:
            record = load(entry / _RECORD, AccuracyRecord)
            arrays.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(entry / _ARRAYS, arrays)
            os.utime(entry)
        except (RecordError, OSError):
            return None
        return record.model_copy(update={"reused": True})

    def put(self, key: str, record: AccuracyRecord, arrays: Path) -> None:
        """Store an accuracy, whole or not at all; where it cannot be stored, a later run measures it again."""
        with contextlib.suppress(OSError):
            self.root.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix=".new-", dir=self.root))
            try:
                shutil.copyfile(arrays, folder / _ARRAYS)
                save(folder / _RECORD, record)
                folder.rename(self.root / key)
            except OSError:  # another process was first, or there is no space
                shutil.rmtree(folder, ignore_errors=True)

    def prune(self, older_than_s: float) -> int:
        """Delete results that were not used for ``older_than_s`` seconds; return how many."""
        old = [e for e in self.root.glob("*") if time.time() - e.stat().st_mtime >= older_than_s]
        for entry in old:
            shutil.rmtree(entry, ignore_errors=True)
        return len(old)
