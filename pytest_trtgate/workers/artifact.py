"""Artifacts, as all jobs read and check them: without torch and Ultralytics, which not every job needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import DataError, TrtGateError
from . import engine_file
from .worker import is_cuda_fault, is_disk_full, is_out_of_memory, plain


def require(artifact: Path) -> None:
    """Raise DataError if a file is missing: Ultralytics would try to download it."""
    if not artifact.is_file():
        raise DataError(f"{artifact}: no such file; it was there when the run was planned")


def read_metadata(artifact: Path) -> dict[str, Any]:
    """Return what Ultralytics wrote into an artifact (task, batch, imgsz, names, args, ...); empty for ``.pt``.

    Raises:
        TrtGateError: The file cannot be read, or holds no such metadata.
    """
    require(artifact)
    if artifact.suffix == ".pt":
        return {}
    try:
        metadata = engine_file.read_metadata(artifact)
    except Exception as error:
        raise TrtGateError(f"{artifact}: not a readable engine ({plain(error)}); rebuild it") from error
    if not {"batch", "imgsz"} <= metadata.keys():
        raise TrtGateError(f"{artifact}: holds no metadata of Ultralytics (batch, imgsz); rebuild it")
    return metadata


def check_shape(subject: str, metadata: dict[str, Any], imgsz: int, batch: int) -> None:
    """Check that an artifact was built for an image size and batch; Ultralytics would silently use the artifact's own.

    A checkpoint, whose metadata are empty, and a dynamic engine fit any.

    Raises:
        TrtGateError: It was built for others.
    """
    if not metadata or (metadata.get("args") or {}).get("dynamic"):
        return
    size = metadata["imgsz"]
    height, width = (size, size) if isinstance(size, int) else (size[0], size[-1])
    if (height, width) != (imgsz, imgsz):
        stride = metadata.get("stride", 32)
        remedy = f"imgsz must be a multiple of {stride}" if imgsz % stride else "build another"
        raise TrtGateError(
            f"{subject}: the engine takes images of {width}x{height} pixels, not the {imgsz}x{imgsz} asked for; "
            f"{remedy}"
        )
    if metadata["batch"] != batch:
        raise TrtGateError(
            f"{subject}: the engine takes a batch of {metadata['batch']}, not of the {batch} asked for; build another"
        )


def pin_onnxruntime(threads: int) -> None:
    """Make every ONNX Runtime session of this process use ``threads`` threads that rest between runs.

    Threads that spin after a run would slow down the arm that is measured next.
    """
    import onnxruntime

    create = onnxruntime.InferenceSession.__init__

    def pinned(self: Any, path_or_bytes: Any, sess_options: Any = None, *args: Any, **kwargs: Any) -> None:
        options = sess_options or onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.force_spinning_stop", "1")
        create(self, path_or_bytes, options, *args, **kwargs)

    onnxruntime.InferenceSession.__init__ = pinned


@contextmanager
def refusals(subject: str, artifact: Path | None = None) -> Iterator[None]:
    """Turn what Ultralytics or a runtime raises into one sentence that begins with ``subject``.

    A full disk, memory running out, and a fault of the GPU pass: they have sentences of their own. ``artifact`` is
    what is loaded: TensorRT returns None if it cannot, and Ultralytics takes that for an engine.
    """
    try:
        yield
    except TrtGateError:
        raise
    except Exception as error:
        if is_disk_full(error) or is_out_of_memory(error) or is_cuda_fault(error):
            raise
        if artifact and artifact.suffix == ".engine" and isinstance(error, AttributeError) and "NoneType" in str(error):
            raise TrtGateError(
                f"{subject} (TensorRT cannot load {artifact.name}: it is truncated, was built by another version "
                f"or for another GPU, or the device has no memory left; the log says which); rebuild it"
            ) from error
        raise TrtGateError(f"{subject} ({plain(error)})") from error
