"""What builds of all backends share: the exporter's arguments, and what precedes INT8 calibration."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...jobs import BuildRequest
from ..worker import plain, progress


def arguments(request: BuildRequest) -> dict[str, Any]:
    """Return the arguments of Ultralytics' exporter, except format and device."""
    from ultralytics.utils import DEFAULT_CFG_DICT

    arguments: dict[str, Any] = {"dynamic": False, "simplify": True, **request.export_args}
    arguments.update(imgsz=request.cell.imgsz, batch=request.cell.batch)
    if "quantize" in DEFAULT_CFG_DICT:
        arguments["quantize"] = {"fp32": 32, "fp16": 16, "int8": 8}[request.cell.precision]
    else:
        arguments.update(half=request.cell.precision == "fp16", int8=request.cell.precision == "int8")
    if request.cell.precision == "int8":
        arguments.update(data=request.data, split=request.calibration.split, fraction=request.calibration.fraction)
    return arguments


@contextmanager
def without_time_and_place() -> Iterator[None]:
    """Leave build time and data folder out of an ONNX engine, so that equal builds give equal bytes.

    The gate recognizes an engine by its bytes: as the accepted one, and as one whose accuracy it has measured.
    """
    from ultralytics.engine.exporter import Exporter

    export = Exporter.export_onnx

    def exporting(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.metadata.pop("date", None)
        said = self.metadata["args"]
        if said.get("data"):
            said["data"] = Path(said["data"]).name
        return export(self, *args, **kwargs)

    Exporter.export_onnx = exporting
    try:
        yield
    finally:
        Exporter.export_onnx = export


def prepare_calibration(request: BuildRequest) -> list[str]:
    """Seed and check the exporter's calibration loader, and have it report progress.

    Returns:
        The images that it reads: a list that grows as it does.
    """
    import torch
    from ultralytics.engine.exporter import Exporter

    from .. import yolo

    images: list[str] = []
    make = Exporter.get_int8_calibration_dataloader

    def watched(self: Any, prefix: str = "") -> Any:
        # The loader shuffles and may drop the last batch if it is not full: the seed decides which images it reads.
        torch.manual_seed(0)
        try:
            loader = make(self, prefix)
        except Exception as error:
            subject = f"{request.data}: no images to calibrate on in split '{request.calibration.split}'"
            raise DataError(f"{subject} ({plain(error)})") from error
        if request.cell.backend == "tensorrt" and loader.batch_size != request.cell.batch:
            # TensorRT would read past the end of a smaller batch.
            raise DataError(
                f"{request.data}: split '{request.calibration.split}' has {loader.batch_size} images to calibrate on, "
                f"fewer than the batch of {request.cell.batch}; lower batch, or calibrate on more"
            )
        yolo.ignore_cached_images(loader.dataset)
        return _WatchedLoader(loader, images)

    Exporter.get_int8_calibration_dataloader = watched
    return images


class _WatchedLoader:
    """A calibration loader that notes the files it hands out."""

    def __init__(self, loader: Any, images: list[str]) -> None:
        self._loader = loader
        self._images = images

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Any]:
        # The last batch may be left out, or be smaller than the others.
        total, done = min(len(self._loader.dataset), len(self._loader) * self._loader.batch_size), 0
        for batch in self._loader:
            files = [str(Path(f).absolute()) for f in batch["im_file"]]
            self._images += files
            done += len(files)
            progress(f"calibrating INT8 on {total} images: {done}/{total}")
            yield batch
