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
from typing import Any

from ...data import keypoints_of
from ...jobs import CheckpointFacts

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
    def find_class(self, module: str, name: str) -> Any:
        return _REAL.get((module, name)) or type(name, (_Blank,), {})

    def persistent_load(self, pid: Any) -> Any:  # the tensors' bytes, which are files of their own in the archive
        return _Blank()


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
            content = _Reader(io.BytesIO(archive.read(name))).load()
    except OSError:
        raise
    except Exception as error:
        why = str(error) if isinstance(error, OverflowError) else type(error).__name__
        raise ValueError(f"{path}: no checkpoint that can be looked into ({why})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: no checkpoint of Ultralytics")
    model = content.get("ema") or content.get("model")
    trained = content.get("train_args") or getattr(model, "args", None)
    names, built = getattr(model, "names", None), getattr(model, "yaml", None)
    return CheckpointFacts(
        imgsz=_side(trained.get("imgsz") if isinstance(trained, dict) else None),
        names=_by_index(names),
        task=str(trained["task"]) if isinstance(trained, dict) and trained.get("task") else None,
        keypoints=keypoints_of(list(built["kpt_shape"]))
        if isinstance(built, dict) and built.get("kpt_shape")
        else None,
        version=str(content["version"]) if content.get("version") else None,
    )


def _by_index(names: Any) -> dict[int, str] | None:
    pairs = names.items() if isinstance(names, dict) else enumerate(names) if isinstance(names, (list, tuple)) else ()
    return {int(index): str(name) for index, name in pairs if str(index).isdecimal()} or None


def _side(imgsz: Any) -> int | None:
    sides = [imgsz] if isinstance(imgsz, int) else list(imgsz) if isinstance(imgsz, (list, tuple)) else []
    return max((side for side in sides if isinstance(side, int) and 0 < side < 100_000), default=None)
