"""The dataset: a data YAML, or for classification a folder with one folder per split and class.

It is resolved once, so that every job sees the same files and none is downloaded.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..records import file_sha256, files_sha256, key_sha256

IMAGE_SUFFIXES = frozenset(
    f".{suffix}"
    for suffix in ("avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp")
)
"""Files that count as images; the formats that Ultralytics lists as supported."""
SPLITS = ("train", "val", "test")
_SPLIT_FOLDERS = {"train": ("train",), "val": ("val", "validation", "valid"), "test": ("test",)}
"""Names of the folders of each split in a classification dataset, as Ultralytics looks for them."""


@dataclass(frozen=True)
class Dataset:
    """A resolved dataset: class names by index, and for each split the files, folders or lists that hold its images.

    ``folders``: an image's folder names its class, as in a classification dataset; else it has a label file.
    """

    source: Path
    root: Path
    names: dict[int, str]
    splits: dict[str, tuple[Path, ...]]
    extra: dict[str, Any]
    folders: bool = False

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
            if place.is_dir():
                # glob, unlike Path.rglob, follows linked folders on every Python, as Ultralytics does.
                names = glob.glob("**/*.*", root_dir=place, recursive=True)  # noqa: PTH207
                found += (place / name for name in names)
            elif place.is_file():
                found += _listed(place)
            else:
                raise DataError(f"{self.source}: split '{split}' points at {place}, which does not exist")
        found = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES]
        if not found:
            places = ", ".join(map(str, self.splits[split]))
            raise DataError(f"{self.source}: split '{split}' has no images in {places}")
        return tuple(sorted(found))

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

    def shown(self, image: Path) -> str:
        """Return the name of an image: its path, relative to the root of the dataset if it is below that."""
        return image.relative_to(self.root).as_posix() if image.is_relative_to(self.root) else image.as_posix()

    def write_resolved(self, path: Path) -> Path:
        """Return what jobs get: the folder, or a data YAML written with absolute paths and no download key."""
        if self.folders:
            return self.root
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {
            **self.extra,
            "path": str(self.root),
            "names": self.names,
            **{split: [str(self._place(p, path.parent)) for p in places] for split, places in self.splits.items()},
        }
        # Ultralytics wants both keys, whichever split it reads.
        for split in ("train", "val"):
            data.setdefault(split, next(iter(data[s] for s in SPLITS if s in data)))
        # JSON is YAML, and needs no thought about quoting.
        path.write_text(json.dumps(data, ensure_ascii=True, indent=1), encoding="utf-8")
        return path

    @staticmethod
    def _place(place: Path, folder: Path) -> Path:
        """Return ``place``; of a list of images, a copy in ``folder`` with absolute paths."""
        if not place.is_file():
            return place
        copy = folder / f"{place.stem}-{len(list(folder.iterdir()))}.txt"
        copy.write_text("\n".join(map(str, _listed(place))), encoding="utf-8")
        return copy


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


def label_of(image: Path) -> Path:
    """Return the label file of an image in YOLO layout: the last ``images`` folder becomes ``labels``."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _listed(listing: Path) -> list[Path]:
    try:
        lines = listing.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listing}: cannot be read as a list of images ({error})") from error
    found = [listing.parent / line.strip() for line in lines if line.strip()]
    missing = next((p for p in found if not p.is_file()), None)
    if missing is not None:
        raise DataError(f"{listing}: lists {missing}, which does not exist")
    return found


def _yaml_problem(error: Exception) -> str:
    """Return what is wrong with a YAML file, and at which line and column if the parser says so."""
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is None:
        return str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"


def load_dataset(source: Path) -> Dataset:
    """Read a data YAML and resolve its paths against its folder; or read the folder of a classification dataset.

    Raises:
        DataError: The file is missing, not YAML, or lacks class names or splits; or the folder does.
    """
    import yaml

    if source.is_dir():
        return _of_folders(source.resolve(), source)
    if not source.is_file():
        hint = "; nothing is ever downloaded" if {"http:", "https:"} & set(source.parts) else ""
        raise DataError(f"{source}: no such data YAML{hint}")
    try:
        data = yaml.safe_load(source.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: bytes that are no text, or impossible dates
        raise DataError(f"{source}: not valid YAML ({_yaml_problem(error)})") from error
    except OSError as error:
        raise DataError(f"{source}: cannot be read ({error.strerror})") from error
    if not isinstance(data, dict):
        raise DataError(f"{source}: not a data YAML; it needs 'names' and at least one of {', '.join(SPLITS)}")
    root = source.parent / _root(data.get("path") or ".", source)
    if "validation" in data:
        data.setdefault("val", data.pop("validation"))
    splits = {s: _places(root, data[s], source, s) for s in SPLITS if data.get(s)}
    if not splits:
        raise DataError(f"{source}: no split; it needs at least one of {', '.join(SPLITS)}")
    known = {"path", "names", "nc", "download", "yaml_file", *SPLITS}
    extra = {k: v for k, v in data.items() if isinstance(k, str) and k not in known and _is_plain(v)}
    return Dataset(source, _resolved(root, source), _names(data, source), splits, extra)


def _root(path: Any, source: Path) -> Path:
    if not isinstance(path, str):
        raise DataError(f"{source}: path = {path!r} is not a path")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise DataError(f"{source}: path = {path} names the home folder of a user that does not exist") from error


def _is_plain(value: Any) -> bool:
    """Return whether a value of a data YAML can be written for jobs; a date, for one, cannot, and they need none."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _of_folders(root: Path, source: Path) -> Dataset:
    splits: dict[str, tuple[Path, ...]] = {}
    for split, names in _SPLIT_FOLDERS.items():
        places = [root / name for name in names if (root / name).is_dir()]
        if places:
            splits[split] = (places[0],)
    if "train" not in splits:
        # Ultralytics would divide such a folder into splits on disk.
        raise DataError(f"{source}: not a classification dataset; it needs a folder 'train' with a folder per class")
    classes = sorted(place.name for place in splits["train"][0].iterdir() if place.is_dir())
    if not classes:
        raise DataError(f"{source}: its folder 'train' has no folder per class; a data YAML names other datasets")
    return Dataset(source, root, dict(enumerate(classes)), splits, {}, folders=True)


def _places(root: Path, value: Any, source: Path, split: str) -> tuple[Path, ...]:
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(v, str) for v in values):
        raise DataError(f"{source}: split '{split}' = {value!r} is not a path or a list of paths")
    return tuple(_place(root, v, source) for v in values)


def _place(root: Path, value: str, source: Path) -> Path:
    place = _resolved(root / value, source)
    # Common exports write ../train/images but mean train/images, and Ultralytics reads it so.
    if value.startswith("../") and not place.exists():
        return _resolved(root / value[3:], source)
    return place


def _resolved(path: Path, source: Path) -> Path:
    """Return a path of a data YAML with all links resolved; refuse one that the system refuses."""
    try:
        path.exists()
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, or no path at all
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{source}: {str(path)!r} cannot be looked at ({why})") from error


def _names(data: dict[str, Any], source: Path) -> dict[int, str]:
    names, count = data.get("names"), data.get("nc")
    if names is None and type(count) is int:
        names = [f"class_{i}" for i in range(count)]
    if isinstance(names, dict) and all(str(i).isdecimal() for i in names):
        found = {int(i): str(name) for i, name in sorted(names.items(), key=lambda pair: int(pair[0]))}
    elif isinstance(names, list):
        found = {i: str(name) for i, name in enumerate(names)}
    else:
        raise DataError(f"{source}: 'names' must be a list of class names or a map from index to name")
    if not found or list(found) != list(range(len(found))):
        which = ", ".join(map(str, found)) or "none"
        raise DataError(f"{source}: 'names' must name classes from 0 upwards without a gap; it names {which}")
    if count is not None and count != len(found):
        raise DataError(f"{source}: nc = {count!r}, but 'names' has {len(found)}; remove nc")
    return found
