"""The dataset: a data YAML, or for classification a folder with one folder per split and class.

It is resolved once, so that every job sees the same files and none is downloaded.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import LIST_BYTES, NOT_NAMED, file_sha256, files_sha256, key_sha256, open_regular, read_text
from .data_yaml import SPLITS, is_plain, names_of, places_of, read_yaml
from .ultralytics_files import readable_names

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
"""Files that count as images; the formats that Ultralytics lists as supported."""
_PICTURES = frozenset(
    f".{suffix}"
    for suffix in ("exr", "gif", "hdr", "ico", "jfif", "jpe", "jxl", "pbm", "pfm", "pgm", "pnm", "ppm", "psd", "tga")
)
"""Files that people take for images, and that do not count."""
MOST_FOLDERS = 100_000
"""Folders of a split; the largest classification sets have some ten thousand."""
_APPLE_DOUBLE = b"\0\5\x16\7"
"""What a file begins with that macOS leaves beside another, such as ._cat.jpg, on disks that are not its own."""
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
"""Names of the folders of each split in a classification dataset, as Ultralytics looks for them."""


@dataclass(frozen=True)
class Dataset:
    """A resolved dataset: class names by index, and for each split the files, folders or lists that hold its images.

    ``folders``: an image's folder names its class, as in a classification dataset; else it has a label file.
    ``tried``: the other roots in which splits were looked for in vain, where none was found anywhere.
    ``here``: the working folder, as lists of images may be relative to it.
    """

    source: Path
    root: Path
    names: dict[int, str]
    splits: dict[str, tuple[Path, ...]]
    extra: dict[str, Any]
    folders: bool = False
    tried: tuple[Path, ...] = ()
    here: Path = Path()

    def images(self, split: str) -> tuple[Path, ...]:
        """Return the images of one split, sorted by path.

        Raises:
            DataError: The split is not in the YAML, its path does not exist, or it holds no images.
        """
        cached = self._images.get(split)
        if cached is None:
            self._images[split] = cached = self._find(split)
        return cached

    @cached_property
    def _images(self) -> dict[str, tuple[Path, ...]]:
        return {}

    def _find(self, split: str) -> tuple[Path, ...]:
        if split not in self.splits:
            raise DataError(f"{self.source}: no split '{split}'; it has: {', '.join(self.splits) or 'none'}")
        found: list[Path] = []
        for place in self.splits[split]:
            if place.is_dir() and self.folders:
                found += (image for folder in class_folders(place) for image in _images_below(folder))
            elif place.is_dir():
                found += _below(place, hidden=False)
            elif place.exists():
                found += _listed(place, self.here)
            else:
                also = f"; neither is it in {' or '.join(map(str, self.tried))}" if self.tried else ""
                raise DataError(f"{self.source}: split '{split}' points at {place}, which does not exist{also}")
        images = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES]
        if not images:
            places = ", ".join(map(str, self.splits[split]))
            other = next((p for p in found if p.suffix.lower() in _PICTURES), None)
            like = f"; {other.name} is in a format that Ultralytics does not take" if other else ""
            raise DataError(f"{self.source}: split '{split}' has no images in {places}{like}")
        return tuple(sorted(images))

    def passed_over(self, split: str) -> list[Path]:
        """Return the pictures in the folders of a split that do not count: by their suffix, or outside of all classes.

        Raises:
            DataError: As of :meth:`images`.
        """
        images, kinds = set(self.images(split)), _PICTURES | (IMAGE_SUFFIXES if self.folders else set())
        files = (file for place in self.splits[split] if place.is_dir() for file in _below(place, hidden=False))
        return sorted(file for file in files if file.suffix.lower() in kinds and file not in images)

    def images_digest(self, split: str, sha256: Callable[[Path], str] = file_sha256) -> str:
        """Return the SHA-256 over the images of a split, by content; ``sha256`` returns that of one file."""
        with reading():
            return files_sha256(self.images(split), sha256)

    def digest(self, split: str, sha256: Callable[[Path], str] = file_sha256) -> str:
        """Return the SHA-256 over images and labels of a split, by content; ``sha256`` returns that of one file."""
        images = self.images(split)
        if self.folders:
            classes = [image.relative_to(self.splits[split][0]).parts[0] for image in images]
            return key_sha256({"images": self.images_digest(split, sha256), "classes": classes})
        with reading():
            return files_sha256((file for image in images for file in (image, label_of(image))), sha256)

    def classes(self, split: str) -> dict[int, str]:
        """Return the classes of the dataset; where folders are classes, those of which a split has images."""
        if not self.folders:
            return self.names
        there = sorted({image.relative_to(self.splits[split][0]).parts[0] for image in self.images(split)})
        return readable_names(dict(enumerate(there)))

    def shown(self, image: Path) -> str:
        """Return the name of an image: its path, relative to the root of the dataset if it is below that."""
        return image.relative_to(self.root).as_posix() if image.is_relative_to(self.root) else image.as_posix()

    def shown_images(self, split: str) -> list[str]:
        """Return the names of the images of a split, in their order."""
        if split not in self._shown:
            self._shown[split] = list(map(self.shown, self.images(split)))
        return self._shown[split]

    @cached_property
    def _shown(self) -> dict[str, list[str]]:
        return {}

    def write_resolved(self, path: Path) -> Path:
        """Return what jobs get: the folder, or a data YAML written with absolute paths and no download key."""
        if self.folders:
            return self.root
        path.parent.mkdir(parents=True, exist_ok=True)
        all_places = [place for places in self.splits.values() for place in places]
        linked = not is_plain([str(place) for place in (self.root, *all_places)])
        data = {
            **self.extra,
            "path": str(path.parent if linked else self.root),
            "names": self.names,
            **{split: [self._place(p, path.parent, linked) for p in places] for split, places in self.splits.items()},
        }
        if not is_plain(data["path"]):
            del data["path"]  # places are then relative to the YAML itself
        # Ultralytics wants both keys, whichever split it reads.
        for split in ("train", "val"):
            data.setdefault(split, next(iter(data[s] for s in SPLITS if s in data)))
        # JSON is YAML, unless it escapes one character as two.
        text = json.dumps(data, ensure_ascii=False, indent=1)
        text = re.sub("[\x7f-\uffff]", lambda found: f"\\u{ord(found[0]):04x}", text)
        path.write_text(text, encoding="utf-8")
        return path

    def listed(self, listing: Path) -> list[Path]:
        """Return the images of a list, which is a place of a split."""
        return _listed(listing, self.here)

    def _place(self, place: Path, folder: Path, linked: bool) -> str:
        """Return how a YAML in ``folder`` names a place: of a list of images, a copy with absolute paths.

        ``linked``: some path is no Unicode and cannot be written, so that a link is named; Ultralytics resolves it.
        """
        number = len(list(folder.iterdir()))
        if place.is_file():
            listed = "\n".join(map(str, self.listed(place)))
            place = folder / f"{place.stem}-{number}.txt"
            place.write_text(listed, encoding="utf-8", errors="surrogateescape")
        if not linked:
            return str(place)
        link = folder / f"place-{number}"
        link.symlink_to(place)
        return link.name


def class_folders(split: Path) -> list[Path]:
    """Return the folders of a split of a classification dataset that name classes, by name.

    Hidden ones, such as .ipynb_checkpoints, are what tools leave behind, and so are those without images.
    """
    visible = (place for place in split.iterdir() if place.is_dir() and not place.name.startswith("."))
    return sorted(place for place in visible if any(True for _ in _images_below(place)))


def _images_below(folder: Path) -> Iterator[Path]:
    """Yield the images of a class, hidden ones too, as Ultralytics counts them."""
    yield from filter(is_image, _below(folder, hidden=True))


def _below(place: Path, *, hidden: bool) -> Iterator[Path]:
    """Yield what is below a folder and its linked folders, as Ultralytics finds it; hidden ones only if asked.

    Raises:
        DataError: A link leads to a folder above it, so that its images would count many times, there are very many
            folders, or one cannot be read, whose images would be left out.
    """
    for number, (folder, folders, files) in enumerate(os.walk(place, followlinks=True, onerror=_refuse_folder)):
        here = Path(folder)
        if number and here.is_symlink() and here.parent.resolve().is_relative_to(here.resolve()):
            raise DataError(f"{here}: a link to a folder above it; remove it")
        if number == MOST_FOLDERS:
            raise DataError(f"{place}: more than {MOST_FOLDERS:,} folders below it, too many for a dataset")
        if not hidden:
            folders[:] = [name for name in folders if not name.startswith(".")]
            files = [name for name in (*folders, *files) if not name.startswith(".")]
        yield from (here / name for name in files)


def _refuse_folder(error: OSError) -> None:
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):  # gone meanwhile
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error


def is_image(path: Path) -> bool:
    """Return whether a file of a class counts as an image, by its name: not one that macOS left beside an image."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return False
    if not path.name.startswith("._"):
        return True
    with reading(), open_regular(path) as file:
        return file.read(len(_APPLE_DOUBLE)) != _APPLE_DOUBLE


def shared_contents(
    images: Iterable[Path], others: Iterable[Path], sha256: Callable[[Path], str] = file_sha256
) -> tuple[Path, ...]:
    """Return those of ``images`` whose bytes are also among ``others``; only files of equal size are read.

    Raises:
        DataError: A file cannot be read.
    """
    with reading():
        by_size: dict[int, list[Path]] = {}
        for other in others:
            by_size.setdefault(other.stat().st_size, []).append(other)
        digests: dict[int, set[str]] = {}
        found = []
        for image in images:
            size = image.stat().st_size
            if size in by_size and size not in digests:
                digests[size] = {sha256(other) for other in by_size[size]}
            if size in digests and sha256(image) in digests[size]:
                found.append(image)
        return tuple(found)


@contextmanager
def reading() -> Iterator[None]:
    """Turn the refusal to read a file, such as another user's, into a :class:`DataError`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{error.object}: {NOT_NAMED}") from error


def label_of(image: Path) -> Path:
    """Return the label file of an image in YOLO layout: the last ``images`` folder becomes ``labels``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _listed(listing: Path, here: Path) -> list[Path]:
    """Return the images of a list.

    As for Ultralytics, lines that begin with ``./`` are relative to the list, and others to the working folder, which
    is ``here``. Where there is no such file, these too are relative to the list.
    """
    try:
        lines = read_text(listing, LIST_BYTES).splitlines()
    except OSError as error:
        raise DataError(f"{listing}: cannot be read as a list of images ({error.strerror})") from error
    found = []
    for line in filter(None, map(str.strip, lines)):
        beside = listing.parent / line
        found.append(beside if line.startswith("./") or not (here / line).is_file() else here / line)
    if found and not any(path.is_file() for path in found):
        raise DataError(f"{listing}: lists {found[0]}, which does not exist, nor does any other file that it lists")
    return found  # of which Ultralytics leaves out what is missing


def load_dataset(source: Path) -> Dataset:
    """Read a data YAML, or a folder: that of a classification dataset, or one that holds a data YAML.

    Raises:
        DataError: The file is missing, not YAML, or lacks class names or splits; or the folder does.
    """
    if source.is_dir():
        return _of_folder(source)
    if not source.exists():
        hint = "; nothing is ever downloaded" if {"http:", "https:"} & set(source.parts) else ""
        raise DataError(f"{source}: no such data YAML{hint}")
    data = read_yaml(source)
    (root, *tried), splits = places_of(data, source)
    known = {"path", "names", "nc", "download", "yaml_file", *SPLITS}
    extra = {k: v for k, v in data.items() if isinstance(k, str) and k not in known and is_plain(v)}
    return Dataset(source, root, names_of(data, source), splits, extra, tried=tuple(tried), here=Path.cwd())


def _of_folder(source: Path) -> Dataset:
    """Return the dataset of a folder: of its data YAML, unless that finds no label and there is a folder per class."""
    yaml = _yaml_in(source)
    if yaml is None:
        return _of_classes(source.resolve(), source)
    dataset = load_dataset(yaml)
    if not _is_labelled(dataset):
        with suppress(DataError):
            return _of_classes(source.resolve(), source)
    return dataset


def _yaml_in(folder: Path) -> Path | None:
    """Return the data YAML in a folder or, unless it has a folder 'train', below it; None if there is none.

    Raises:
        DataError: There are several, and none has the name of the folder.
    """
    found: list[Path] = []
    for below in ("",) if (folder / "train").is_dir() else ("", "**/"):
        found = found or [
            path
            for suffix in ("yaml", "yml")
            for path in sorted(folder.glob(f"{below}*.{suffix}"))
            if _has_splits(path)
        ]
    named = [path for path in found if path.stem == folder.name] if len(found) > 1 else found
    if found and len(named) != 1:
        listed = ", ".join(str(path.relative_to(folder)) for path in found)
        raise DataError(f"{folder}: holds several data YAMLs ({listed}); name one of them")
    return next(iter(named), None)


def _has_splits(path: Path) -> bool:
    try:
        return path.is_file() and bool(set(SPLITS) & {key for key, value in read_yaml(path).items() if value})
    except DataError:
        return False


def _is_labelled(dataset: Dataset) -> bool:
    for split in dataset.splits:
        with suppress(DataError):
            if any(label_of(image).is_file() for image in dataset.images(split)):
                return True
    return False


def _of_classes(root: Path, source: Path) -> Dataset:
    splits: dict[str, tuple[Path, ...]] = {}
    for split, names in _SPLIT_FOLDERS.items():
        places = [root / name for name in names if (root / name).is_dir()]
        if places:
            splits[split] = (places[0],)
    if "train" not in splits:
        # Ultralytics would divide such a folder into splits on disk.
        raise DataError(
            f"{source}: holds no data YAML, and no folder 'train' with a folder per class; name a data YAML"
        )
    classes = [place.name for place in class_folders(splits["train"][0])]
    if not classes or set(classes) <= {"images", "labels"}:
        held = f"holds '{classes[0]}'" if classes else "has no folder of images per class"
        raise DataError(
            f"{source}: its folder 'train' {held}, and there is no data YAML; name one, with names and splits"
        )
    return Dataset(source, root, readable_names(dict(enumerate(classes))), splits, {}, folders=True)
