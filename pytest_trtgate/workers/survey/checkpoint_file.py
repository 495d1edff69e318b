"""Read what a checkpoint of Ultralytics says of its training, without torch and without running anything in it.

A checkpoint is a ZIP archive with a pickle. An empty class, which only keeps what it is given, stands for whatever
class the pickle names, so that a hostile file can do nothing.
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
from .. import engine_file

PICKLE_BYTES = 4_000_000
"""The object that holds a model, without its tensors, is far smaller."""
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
        ValueError: It cannot be read in this way, such as a legacy checkpoint.
        OSError: The file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl")
            if archive.getinfo(name).file_size > PICKLE_BYTES:
                raise OverflowError(f"{name} unpacks to more than {PICKLE_BYTES:,} bytes")
            reader = _Reader(io.BytesIO(archive.read(name)))
            content = reader.load()
    except OSError:
        raise
    except Exception as error:
        why = str(error) if isinstance(error, OverflowError) else type(error).__name__
        raise ValueError(f"{path}: no checkpoint that can be looked into ({why})") from error
    if not isinstance(content, (dict, _Blank)):
        raise ValueError(f"{path}: no checkpoint of Ultralytics")
    content = content if isinstance(content, dict) else {"model": content}  # a model alone, which Ultralytics takes too
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
        task=str(trained["task"]) if trained.get("task") else None,
        version=str(content["version"]) if content.get("version") else None,
        modules=tuple(sorted(module for module in reader.modules if module.partition(".")[0] not in KNOWN)),
    )


def by_index(names: Any) -> dict[int, str] | None:
    """Return the names of classes by their numbers, whatever holds them; None where there is none."""
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, (list, tuple)) else ()
    return {int(index): str(name) for index, name in pairs if str(index).isdecimal()} or None


def _key_points(model: Any) -> Any:
    architecture, shape = getattr(model, "yaml", None), getattr(model, "kpt_shape", None)
    if shape is None and isinstance(architecture, dict):
        shape = architecture.get("kpt_shape")
    return list(shape) if isinstance(shape, (list, tuple)) else None


def _side(imgsz: Any) -> int | None:
    sides = [imgsz] if isinstance(imgsz, int) else list(imgsz) if isinstance(imgsz, (list, tuple)) else []
    return max((side for side in sides if isinstance(side, int) and 0 < side < 100_000), default=None)
