"""The side that asks: a job becomes portable, and what comes back gets the paths that it had here."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..data import Dataset, class_folders, label_of, load_dataset
from ..jobs import Job, Role, with_paths
from ..records import DESCRIPTION, as_json
from .portable import DataTree, Entry, PortableJob, Tree


@dataclass(frozen=True)
class Packed:
    """A portable job, and what only its own side knows.

    Attributes:
        job: What is sent.
        contents: Where the bytes of each content are, by digest; those of trees are here.
        sizes: Bytes of each content.
        places: The own path of each root, such as ``in:0``.
        spelled: Paths as the request has them, such as with ``..``, by what they come back as.
        outputs: Roots into which the job may write anything, and places of the other files that it may write.
        elsewhere: Whether images lie outside of the root of their dataset, so that results name them by whole paths.
    """

    job: PortableJob
    contents: Mapping[str, Path | bytes]
    sizes: Mapping[str, int]
    places: Mapping[str, str]
    spelled: Mapping[str, str]
    outputs: frozenset[str]
    elsewhere: bool


def pack(job: Job) -> Packed:
    """Return a job without any path of this machine.

    Raises:
        OSError: An input cannot be read.
    """
    return _Packing(job).packed()


def renamed(value: Any, theirs: Mapping[str, str], packed: Packed) -> Any:
    """Return a value of JSON in which all paths that begin with one of ``theirs`` are ours of the same place."""
    ours, spelled = packed.places, packed.spelled
    pairs = {path: ours[name] for name, path in theirs.items() if name in ours}
    if not pairs:
        return value
    ordered = sorted(pairs, key=len, reverse=True)
    pattern = re.compile(rf"(?:{'|'.join(map(re.escape, ordered))})(?![\w.-])")

    def changed(one: Any) -> Any:
        if isinstance(one, str):
            path = pattern.sub(lambda found: pairs[found[0]], one)
            return spelled.get(path, path)
        if isinstance(one, list):
            return [changed(each) for each in one]
        if isinstance(one, dict):
            return {changed(key): changed(each) for key, each in one.items()}
        return one

    return changed(value)


@dataclass
class _Folder:
    """A folder of inputs that is being packed."""

    root: str
    files: dict[str, Path] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    spelled: dict[str, str] = field(default_factory=dict)
    inside: dict[str, str] = field(default_factory=dict)
    data: DataTree | None = None

    def add(self, path: str | Path) -> str:
        """Add a file, if there is one, and return its path from the root."""
        whole = str(path)
        inside = os.path.relpath(whole, self.root)
        self.files[inside] = Path(path)
        self.inside[whole] = inside
        if not whole.endswith(f"/{inside}") or "/../" in whole:
            self.spelled[str(Path(self.root) / inside)] = whole
        return inside


class _Packing:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._folders: dict[str, _Folder] = {}
        self._outputs: dict[str, bool] = {}
        self._places: dict[str, str] = {}
        self._written: set[str] = set()
        self._elsewhere = False

    def packed(self) -> Packed:
        job = self._job
        request = with_paths(job.request, self._place)
        contents: dict[str, Path | bytes] = {}
        sizes: dict[str, int] = {}
        trees: dict[str, None] = {}

        def packed(folder: _Folder) -> str:
            files = {}
            for inside, path in folder.files.items():
                if sha256 := job.sha256(path):
                    contents[sha256], sizes[sha256] = path, path.stat().st_size
                    files[inside] = Entry(sha256=sha256, size_bytes=sizes[sha256])
            tree = Tree(files=files, folders=tuple(sorted(folder.folders)), data=folder.data)
            text = as_json(tree)
            while (sha256 := hashlib.sha256(text).hexdigest()) in trees:
                tree = tree.model_copy(update={"copy_number": tree.copy_number + 1})
                text = as_json(tree)
            contents[sha256], sizes[sha256] = text, len(text)
            return sha256

        for folder in self._folders.values():
            trees[packed(folder)] = None
        portable = PortableJob(
            name=job.name,
            kind=job.kind,
            request=request.model_dump(mode="json"),
            trees=tuple(trees),
            made=tuple(self._outputs.values()),
            code=packed(_Folder("", dict(job.code))) if job.code else None,
            device=job.device,
            timeout_s=job.timeout_s,
            wait_s=job.wait_s,
        )
        spelled = {back: path for folder in self._folders.values() for back, path in folder.spelled.items()}
        return Packed(portable, contents, sizes, self._places, spelled, frozenset(self._written), self._elsewhere)

    def _place(self, role: Role, path: str, holder: Any) -> str:
        place, _, name = path.rpartition("/")
        if role == "file":
            for number, folder in enumerate(self._folders.values()):
                if folder.data is not None and path in folder.inside:  # an image goes by its path in the dataset
                    return f"in:{number}/{folder.inside[path]}"
            return self._input(place, lambda: _inputs(place), path)
        if role == "labelled":
            return self._input("labelled", self._labelled, path)
        if role == "data":
            number = self._folder(f"{path}\0{holder.data_split}", lambda: self._dataset(path, holder.data_split))
            self._places[f"data:{number}"] = path
            return f"data:{number}"
        if role in ("output-file", "output-folder"):
            one = role == "output-file"
            written = f"{self._output(place, there=True)}/{name}" if one else self._output(path, Path(path).exists())
            self._written.add(written)
            return written
        # Jobs of one run are to find what they share; the name tells nothing of where it is here.
        token = hashlib.sha256(path.encode(errors="surrogateescape")).hexdigest()[:16]
        return f"{role}:{token}/{name}" if role == "timing" else f"{role}:{token}"

    def _input(self, key: str, make: Callable[[], _Folder], path: str) -> str:
        number = self._folder(key, make)
        return f"in:{number}/{self._folders[key].add(path)}"

    def _folder(self, key: str, make: Callable[[], _Folder]) -> int:
        if key not in self._folders:
            self._folders[key] = folder = make()
            self._places[f"in:{len(self._folders) - 1}"] = folder.root.rstrip("/")
        return list(self._folders).index(key)

    def _output(self, folder: str, there: bool) -> str:
        self._outputs.setdefault(folder, there)
        place = f"out:{list(self._outputs).index(folder)}"
        self._places[place] = folder
        return place

    def _labelled(self) -> _Folder:
        images = self._labelled_images
        labels = [label_of(image) for image in images]
        folder = _Folder(_common(file.parent for file in (*images, *labels)))
        # Whether a label has no image is asked as well.
        beside = (file for place in dict.fromkeys(label.parent for label in labels) for file in place.glob("*.txt"))
        for file in (*labels, *beside):
            folder.add(file)
        return folder

    @cached_property
    def _labelled_images(self) -> list[Path]:
        found: list[Path] = []

        def note(role: Role, path: str, _: Any) -> str:
            if role == "labelled":
                found.append(Path(path))
            return path

        with_paths(self._job.request, note)
        return found

    def _dataset(self, path: str, split: str) -> _Folder:
        dataset = load_dataset(Path(path))
        images = dataset.images(split)
        files = list(images) if dataset.folders else [file for image in images for file in (image, label_of(image))]
        places = [place for place in dataset.splits[split] if place.is_dir()]
        root = _common([dataset.root, *places, *(file.parent for file in files)])
        self._elsewhere = self._elsewhere or root != str(dataset.root)
        folder = _Folder(root)
        for file in files:
            folder.add(file)
        splits = {split: tuple(self._split_place(folder, dataset, place) for place in dataset.splits[split])}
        if dataset.folders:  # a classifier knows its classes by the folders of its training
            classes = [one for places in dataset.splits.values() for place in places for one in class_folders(place)]
            folder.folders |= {os.path.relpath(one, root) for one in classes}
        folder.folders |= {os.path.relpath(place, root) for place in places} - {"."}
        inner = os.path.relpath(dataset.root, root)
        folder.data = DataTree(
            root="" if inner == "." else inner,
            names=dataset.names,
            extra=dataset.extra,
            splits=splits,
            by_folder=dataset.folders,
        )
        return folder

    def _split_place(self, folder: _Folder, dataset: Dataset, place: Path) -> str | tuple[str, ...]:
        if place.is_dir():
            inner = os.path.relpath(place, folder.root)
            return "" if inner == "." else inner
        sent = folder.files.keys()
        return tuple(one for image in dataset.listed(place) if (one := os.path.relpath(image, folder.root)) in sent)


def _inputs(place: str) -> _Folder:
    """Return a folder of inputs, with what is said of a given file beside it."""
    folder = _Folder(place)
    if Path(place, DESCRIPTION).is_file():
        folder.add(Path(place, DESCRIPTION))
    return folder


def _common(folders: Iterable[Path]) -> str:
    return os.path.commonpath({str(folder) for folder in folders})
