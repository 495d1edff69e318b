"""One dataset of a run: its splits, resolved for jobs, and its digests, each computed once per process."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from .dataset import Dataset
from .digest import key_sha256
from .filedigests import FileDigests
from .settings import Settings


class EvaluatedData:
    """What a run needs of one dataset.

    Args:
        dataset: The dataset.
        settings: The run's settings.
        cache_root: The folder of the engine cache, which keeps digests of files that have not changed.
        folder: The run's folder.

    Attributes:
        digests: The SHA-256 of its files.
    """

    def __init__(self, dataset: Dataset, settings: Settings, cache_root: Path, folder: Path) -> None:
        self.dataset = dataset
        self._split, self._calibration_split = settings.split, settings.calibration.split
        self._folder = folder
        self.digests = FileDigests(cache_root, dataset.source, settings.fresh)

    @property
    def images(self) -> tuple[Path, ...]:
        """The images that are evaluated."""
        return self.dataset.images(self._split)

    @property
    def calibration_images(self) -> tuple[Path, ...]:
        """The images that INT8 may be calibrated on."""
        return self.dataset.images(self._calibration_split)

    @cached_property
    def resolved(self) -> Path:
        """What jobs are given as data."""
        # One per process, so that none reads what another is writing.
        name = f"data-{os.getpid()}-{key_sha256({'source': str(self.dataset.source)})[:8]}"
        return self.dataset.write_resolved(self._folder / name / "data.yaml")

    def in_own_words(self, sentence: str) -> str:
        """Return what a job said with the YAML that the user wrote in place of the resolved one."""
        return sentence.replace(str(self.resolved), str(self.dataset.source))

    @cached_property
    def digest(self) -> str:
        """Digest of the evaluated images and their labels."""
        digest = self.dataset.digest(self._split, self.digests.sha256)
        self.digests.save()
        return digest

    @cached_property
    def calibration_digest(self) -> str:
        """Digest of the images that INT8 may be calibrated on."""
        digest = self.dataset.images_digest(self._calibration_split, self.digests.sha256)
        self.digests.save()
        return digest
