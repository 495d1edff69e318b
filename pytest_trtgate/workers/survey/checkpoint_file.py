"""Read what a checkpoint of Ultralytics says of its training, without torch and without running anything in it.

A checkpoint is a ZIP archive with a pickle, or in torch's legacy format a row of pickles. An empty class, which only
keeps what it is given, stands for whatever class the pickle names, so that a hostile file can do nothing.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

from ...data import keypoints_of
from ...jobs import CheckpointFacts
from ...machine import KNOWN
from ...records import open_regular
from .. import engine_file

PICKLE_BYTES = 4_000_000
"""The object that holds a model, without its tensors, is far smaller."""
_LEGACY = 0x1950A86A20F9469CFC6C
"""What torch's legacy format begins with, as a pickle of its own."""
_LEGACY_HEAD = 3
"""Pickles before the one that holds the model: that number, the format's version, and the machine."""
_REAL: dict[tuple[str, str], Any] = {("collections", "OrderedDict"): OrderedDict, ("builtins", "set"): set}


class _Blank:
    """Stands for an object of any class, with the attributes that its pickle gives it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> _Blank:
        return _Blank()

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update({str(key): value for key, value in state.items()})

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class NoCheckpointError(ValueError):
    """What was read is whole, and Ultralytics cannot load it."""


# The one in C keeps what it has read in an array, whose length a few bytes can make 16 GB.
class _Reader(pickle._Unpickler):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.modules: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        self.modules.add(module)
        return _REAL.get((module, name)) or type(name, (_Blank,), {})

    def persistent_load(self, pid: Any) -> Any:  # the tensors' bytes, which are files of their own in the archive
        return _Blank()


def facts_of(path: Path) -> CheckpointFacts:
    """Return what a checkpoint, or an ONNX file in its place, says of its training.

    Raises:
        ValueError: It cannot be read.
        OSError: The file cannot be read.
    """
    if path.suffix != ".onnx":
        return read_checkpoint(path)
    try:
        told = engine_file.read_metadata(path)
    except SyntaxError as error:
        raise ValueError(str(error)) from error
    return CheckpointFacts(
        names=by_index(told.get("names")), kpt_shape=keypoints_of(told.get("kpt_shape")), task=told.get("task")
    )


def read_checkpoint(path: Path) -> CheckpointFacts:
    """Return what a checkpoint says of its training.

    Raises:
        NoCheckpointError: It holds no network that Ultralytics can load.
        ValueError: It cannot be looked into.
        OSError: The file cannot be read.
    """
    try:
        content, modules = _content(path)
    except (OSError, NoCheckpointError):
        raise
    except Exception as error:
        why = str(error) if isinstance(error, OverflowError) else type(error).__name__
        raise ValueError(f"{path}: no checkpoint that can be looked into ({why})") from error
    if held := _held_instead(content):
        raise NoCheckpointError(f"{path}: no checkpoint of Ultralytics: it holds {held}")
    if not isinstance(content, dict):  # a YOLO that was pickled, which Ultralytics takes too
        content = {"model": _part(content, "model")}
    model = content.get("ema") or content.get("model")
    trained = content.get("train_args") or getattr(model, "args", None)
    trained = trained if isinstance(trained, dict) else {}
    names = getattr(model, "names", None)
    return CheckpointFacts(
        # What was never trained, such as a model made of a YAML, has Ultralytics' defaults for arguments.
        imgsz=_side(trained.get("imgsz")) if content.get("train_args") else None,
        names=by_index(names),
        kpt_shape=keypoints_of(_key_points(model)),
        # Ultralytics takes it from here alone.
        single_cls=bool(content.get("train_args") and trained.get("single_cls")),
        task=_text(trained.get("task")),
        version=_text(content.get("version")),
        modules=tuple(sorted(module for module in modules if module.partition(".")[0] not in KNOWN)),
    )


def _content(path: Path) -> tuple[Any, set[str]]:
    """Return what a checkpoint holds, and the modules that it names."""
    with open_regular(path) as file:
        if file.read(1) == b"\x80":
            file.seek(0)
            reader = _Reader(io.BytesIO(file.read(PICKLE_BYTES)))
            content = reader.load()
            for _ in range(_LEGACY_HEAD if content == _LEGACY else 0):
                content = reader.load()
            return content, reader.modules
        with zipfile.ZipFile(file) as archive:
            name = next((n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl"), "")
            if not name:
                raise NoCheckpointError(f"{path}: no checkpoint of Ultralytics: a ZIP archive without data.pkl")
            if archive.getinfo(name).file_size > PICKLE_BYTES:
                raise OverflowError(f"{name} unpacks to more than {PICKLE_BYTES:,} bytes")
            reader = _Reader(io.BytesIO(archive.read(name)))
            return reader.load(), reader.modules


def _held_instead(content: Any) -> str:
    """Return what a file holds in the place of a network that Ultralytics can load; empty where it may be one."""
    weights = "weights alone (a state_dict), without the network that they are of"
    if isinstance(content, dict):
        network = content.get("ema") or content.get("model")
        if isinstance(network, dict) or isinstance(content.get("state_dict"), dict):
            return weights if not _is_network(network) else ""
        if network is None:
            tensors = content and all(map(_is_tensor, content.values()))
            return weights if tensors else "no 'model', nor 'ema'"
        return "" if _is_network(network) else "a 'model' that is no network"
    if isinstance(content, _Blank) and not _is_tensor(content):
        network = _part(content, "model")
        alone = "a network alone, as torch.save(model) writes it"
        return alone if network is None or type(network).__name__ == "Sequential" else ""
    return f"a {'tensor' if isinstance(content, _Blank) else type(content).__name__}, and no network"


def _part(module: Any, name: str) -> Any:
    """Return an attribute of what stands for a module, which keeps modules apart from its other attributes."""
    parts = getattr(module, "_modules", None)
    return getattr(module, name, parts.get(name) if isinstance(parts, dict) else None)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _Blank) and type(value).__name__.startswith(("_rebuild_", "_Blank"))


def _is_network(value: Any) -> bool:
    return isinstance(value, _Blank) and not _is_tensor(value)


def by_index(names: Any) -> dict[int, str] | None:
    """Return the names of classes by their numbers, whatever holds them; None where there is none."""
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, (list, tuple)) else ()
    return {int(index): str(name) for index, name in pairs if _is_plain(index, name) and str(index).isdecimal()} or None


def _is_plain(*values: Any) -> bool:
    """Return whether values are texts and numbers: lists that hold one another can be gigabytes of text."""
    return all(isinstance(value, (str, int, float)) for value in values)


def _text(value: Any) -> str | None:
    return str(value) if value and _is_plain(value) else None


def _key_points(model: Any) -> Any:
    architecture, shape = getattr(model, "yaml", None), getattr(model, "kpt_shape", None)
    if shape is None and isinstance(architecture, dict):
        shape = architecture.get("kpt_shape")
    return list(shape) if isinstance(shape, (list, tuple)) else None


def _side(imgsz: Any) -> int | None:
    sides = [imgsz] if isinstance(imgsz, int) else list(imgsz) if isinstance(imgsz, (list, tuple)) else []
    return max((side for side in sides if isinstance(side, int) and 0 < side < 100_000), default=None)
