"""One dataset of a run: its images, its YAML as jobs read it, and its digests, each computed once per process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from .. import text as fmt
from ..cache import FileDigests, FileFacts
from ..data import RULES_VERSION, SOUND, Dataset, keypoints_of, label_of, label_state, load_dataset, reading
from ..errors import ChangedError, DataError
from ..records import Stamp, Workspace, key_sha256
from ..settings import Settings
from .inputs import Inputs, agree, settled

READ_AS = ("channels", "kpt_shape")
"""Keys of a data YAML that say how Ultralytics reads images and labels."""

PIXEL_BYTES = 16
"""That no pixel of a file takes more of: it has some channels of 16 bits, or four of 32."""


T = TypeVar("T")


class _computed_once(cached_property[T]):  # noqa: N801 - a decorator
    """A cached property that one thread computes while the others wait."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        with instance.mutex:
            return super().__get__(instance, owner)


class EvaluatedData:
    """What a run needs of one dataset, such as the ``digests`` of its files.

    ``notify`` is told in one sentence of cached digests that are not believed. Threads share it.
    """

    def __init__(
        self,
        dataset: Dataset,
        settings: Settings,
        cache_root: Path,
        workspace: Workspace,
        inputs: Inputs,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.dataset = dataset
        self.mutex = RLock()
        self._workspace, self._inputs = workspace, inputs
        self._split, self._calibration_split = settings.split, settings.calibration.split
        self._fraction = settings.calibration.fraction
        self._most_bytes = PIXEL_BYTES * settings.inputs.max_pixels
        self._cache_root, self._fresh, self._notify = cache_root, settings.fresh, notify
        self._files_of: dict[str, list[Path]] = {}
        self._folders: dict[str, dict[Path, Stamp | None]] = {}
        self.digests = FileDigests(cache_root, dataset.source, self._fresh, notify)
        _ = self._texts

    @property
    def images(self) -> tuple[Path, ...]:
        """The images that are evaluated."""
        return self.dataset.images(self._split)

    @property
    def calibration_images(self) -> tuple[Path, ...]:
        """The images that INT8 may be calibrated on."""
        return self.dataset.images(self._calibration_split)

    @property
    def calibration_count(self) -> int:
        """How many of those a build reads: Ultralytics takes a fraction from the beginning."""
        return max(1, round(len(self.calibration_images) * self._fraction))

    @_computed_once
    def resolved(self) -> Path:
        """The data YAML, or the folder, that jobs are given."""
        # One per process, so that none reads what another is writing.
        name = f"data-{os.getpid()}-{self._name}"
        return self.dataset.write_resolved(self._workspace.path / name / "data.yaml")

    def in_own_words(self, sentence: str) -> str:
        """Return a job's sentence with the YAML that the user wrote in place of the resolved one."""
        return sentence.replace(str(self.resolved), str(self.dataset.source))

    @_computed_once
    def digest(self) -> str:
        """Digest of the evaluated images and their labels."""
        self._read(self._split)
        digest = self.dataset.digest(self._split, self.sha256)
        said = [digest, self.dataset.names, self.dataset.extra, list(map(str, self.images))]
        agree(self._workspace, f"data-{self._name}", key_sha256({"said": repr(said)}), self.dataset.source)
        return digest

    def sha256(self, path: Path) -> str:
        """Return the SHA-256 of a file of the dataset, as it was when this run first read it."""
        return self._inputs.sha256(path, self._digest)

    def _digest(self, path: Path) -> str:
        if (length := path.stat().st_size) > self._most_bytes:
            raise DataError(
                f"{path}: {fmt.plain(fmt.size(length))}, more than the {fmt.plain(fmt.size(self._most_bytes))} that an "
                f"image of inputs.max_megapixels can take; remove it, or raise that setting"
            )
        return self.digests.sha256(path)

    @property
    def _name(self) -> str:
        return key_sha256({"source": str(self.dataset.source)})[:8]

    def _read(self, split: str) -> None:
        """Have the digest of each image and label of a split, and of labels that are missing."""
        with reading():
            for path in self._files(split):
                self.sha256(path)
        self.digests.save()

    def check(self, *, evaluated: bool, calibrated: bool) -> None:
        """Check that the dataset, and the images and labels of these splits, are what they were when first read.

        Raises:
            ChangedError: They are not.
            DataError: They can no longer be read.
        """
        with self.mutex:
            self._check(evaluated=evaluated, calibrated=calibrated)

    def _check(self, *, evaluated: bool, calibrated: bool) -> None:
        # The texts, and not what they mean, which may depend on the working folder, and a test may have changed that.
        with reading():
            self._inputs.check(self._texts)
        if self.dataset.folders and load_dataset(self.dataset.source).names != self.dataset.names:
            raise ChangedError(self.dataset.source)
        if evaluated:
            _ = self.digest
            self._check_files(self._split)
        if calibrated:
            _ = self.calibration_facts
            self._check_files(self._calibration_split)

    @cached_property
    def _texts(self) -> tuple[Path, ...]:
        """The data YAML, and the lists of the splits that are used; read now for the first time."""
        used = {
            place for split in (self._split, self._calibration_split) for place in self.dataset.splits.get(split, ())
        }
        texts = tuple(path for path in (self.dataset.source, *sorted(used)) if path.is_file())
        with reading():
            for path in texts:
                self._inputs.sha256(path)
        return texts

    def check_whole(self, read: Mapping[str, str], *, calibrated: bool = False) -> None:
        """Check that a job, by what it has read, saw every image that it was to evaluate or to calibrate on.

        Raises:
            ChangedError: One was away, even if it is there again.
        """
        if calibrated and self.dataset.folders:
            return  # there is no label that tells, and the last batch is left out if it is not full
        images = self.calibration_images if calibrated else self.images
        away = [image for image in images if not {str(image), str(label_of(image))} & read.keys()]
        if len(images) - len(away) < (self.calibration_count if calibrated else len(images)):
            raise ChangedError(away[0], "was away")

    def _check_files(self, split: str) -> None:
        before = self._files(split)
        with reading():
            self._inputs.check(before)
        stamps = {folder: settled(folder) for folder in self._folders.get(split, ())}
        if stamps and None not in stamps.values() and stamps == self._folders[split]:
            return  # nothing was added to any of them
        if places := tuple(place for place in self.dataset.splits[split] if place.is_dir()):
            below = (Path(folder) for place in places for folder, _, _ in os.walk(place, followlinks=True))
            self._folders[split] = {folder: settled(folder) for folder in below}
            now = replace(self.dataset, splits={split: places})
            if added := set(now.images(split)).difference(before):
                raise ChangedError(min(added), "was added")

    def _files(self, split: str) -> list[Path]:
        """Return the images of a split with their labels, which may be missing; without, where folders are classes."""
        if split not in self._files_of:
            images = self.dataset.images(split)
            labelled = (file for image in images for file in (image, label_of(image)))
            self._files_of[split] = list(images if self.dataset.folders else labelled)
        return self._files_of[split]

    @_computed_once
    def calibration_facts(self) -> dict[str, Any]:
        """All that can change what INT8 is calibrated on: the images, which are left out, and how they are read."""
        self._read(self._calibration_split)
        images = self.dataset.images_digest(self._calibration_split, self.sha256)
        read_as = {name: str(self.dataset.extra[name]) for name in READ_AS if name in self.dataset.extra}
        labels = {} if self.dataset.folders else {"labels": self._labels()}
        return {"images": images, "classes": len(self.dataset.names), **labels, **read_as}

    def _labels(self) -> str:
        """Return ``sound``, or the digest of those calibration labels for which their images may be left out."""
        classes, keypoints = len(self.dataset.names), keypoints_of(self.dataset.extra.get("kpt_shape"))
        what = {"source": str(self.dataset.source), "labels": RULES_VERSION, "of": [classes, keypoints]}
        state_of = partial(label_state, classes=classes, keypoints=keypoints)
        states = FileFacts(self._cache_root, what, state_of, self._fresh, self._notify)
        labels = enumerate(map(label_of, self.calibration_images))
        doubtful = {n: state for n, label in labels if label.is_file() and (state := states.of(label)) != SOUND}
        states.save()
        return key_sha256({"doubtful": doubtful}) if doubtful else SOUND
