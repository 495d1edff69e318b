"""What all jobs know about Ultralytics: how to isolate it, load models and read artifacts.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: this module imports torch and Ultralytics.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import ultralytics
import ultralytics.data.dataset
import ultralytics.data.utils
import ultralytics.engine.exporter
import ultralytics.engine.validator
import ultralytics.nn.tasks
import ultralytics.utils
import ultralytics.utils.callbacks
import ultralytics.utils.checks
import ultralytics.utils.nms
import ultralytics.utils.plotting
import ultralytics.utils.torch_utils
from ultralytics import YOLO

from ..errors import DataError, TrtGateError
from ..jobs import Request
from ..records import TASKS
from ..text import clip
from . import engine_file, verifying
from .artifact import check_shape as check_shape
from .artifact import pin_onnxruntime as pin_onnxruntime
from .artifact import read_metadata as read_metadata
from .artifact import refusals as refusals
from .artifact import require as require
from .verifying import replace
from .worker import plain

NMS_SECONDS_PER_IMAGE = 3600.0


def isolate(request: Request[Any]) -> None:
    """Make Ultralytics leave the network and the dataset alone, and keep to what a request allows, in this process.

    It neither reads nor writes label caches, which it trusts by sizes and times of files. It mends images in copies
    only, and never downloads datasets. It does not end non-maximum suppression early, which drops boxes silently on a
    slow machine.

    Raises:
        TrtGateError: This release of Ultralytics lacks what has to be replaced for that.
    """
    threads = request.threads
    load_torchvision()
    verifying.watch(request.max_pixels)
    torch.set_num_threads(threads)
    if torch.get_num_interop_threads() != 1:  # it can be set only once
        torch.set_num_interop_threads(1)
    # select_device() sets torch's threads to this.
    replace(ultralytics.utils.torch_utils, "NUM_THREADS", lambda _: threads)
    replace(ultralytics.data.dataset, "load_dataset_cache_file", lambda _: _no_cache)
    replace(ultralytics.data.dataset, "save_dataset_cache_file", lambda _: _keep_version)
    for place in (ultralytics.data.utils, ultralytics.utils.plotting):
        replace(place, "check_font", lambda _: _nothing)
    replace(ultralytics.utils.callbacks, "add_integration_callbacks", lambda _: _nothing)
    for module in (ultralytics.engine.exporter, ultralytics.engine.validator):
        replace(module, "check_det_dataset", lambda check: partial(check, autodownload=False))
        if hasattr(module, "TQDM"):
            replace(module, "TQDM", lambda bar: partial(bar, disable=True))
    replace(ultralytics.data.dataset.ClassificationDataset, "__getitem__", _with_file)
    replace(ultralytics.data.dataset, "TQDM", lambda bar: partial(bar, disable=True))
    if request.safe_weights:
        _load_safely()
    replace(ultralytics.utils.nms, "non_max_suppression", lambda f: partial(f, max_time_img=NMS_SECONDS_PER_IMAGE))


def load_torchvision() -> None:
    """Import torchvision: Ultralytics then uses its non-maximum suppression, as in deployment.

    torchvision imports torch's compiler, which takes longer than anything else but torch itself, for one function that
    says whether an operator that no job calls could be compiled. A stand-in takes its place during the import.
    """
    stand_ins: dict[str, ModuleType] = {}
    if not {"torchvision", "torch._dynamo"} & sys.modules.keys():
        stand_ins = {name: ModuleType(name) for name in ("torch._dynamo", "torch._dynamo.utils")}
        stand_ins["torch._dynamo.utils"].__dict__["is_compile_supported"] = lambda device_type: False
    sys.modules.update(stand_ins)
    try:
        import torchvision
    except (ImportError, AttributeError):
        if not stand_ins:
            raise
    finally:
        for name in stand_ins:
            del sys.modules[name]
    import torchvision  # noqa: F401  (again, if a release needs more of the compiler)


def _with_file(get: Callable[[Any, int], dict[str, Any]]) -> Callable[[Any, int], dict[str, Any]]:
    """Add to each image of a classification set its file, as other sets have it."""

    def named(self: Any, i: int) -> dict[str, Any]:
        return get(self, i) | {"im_file": self.samples[i][0]}

    return named


def _load_safely() -> None:
    """Make Ultralytics load checkpoints with torch's ``weights_only`` and classes of torch and its own, and no code.

    Raises:
        TrtGateError: This torch is too old for that.
    """
    if not hasattr(torch.serialization, "get_unsafe_globals_in_checkpoint"):
        raise TrtGateError(f'weights = "safe" needs torch 2.6 or newer, and this is torch {torch.__version__}')
    replace(ultralytics.nn.tasks, "SAFE_LOAD", lambda _: True)


def _refused(weights: Path, error: Exception) -> str:
    """Return what safe loading refused in a checkpoint; empty where that is not why it could not be loaded."""
    if not ultralytics.nn.tasks.SAFE_LOAD or not isinstance(error.__cause__, pickle.UnpicklingError):
        return ""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(weights)
    except Exception:  # an old or damaged file
        named = []
    return ", ".join(sorted(named)) or plain(error.__cause__)


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _no_cache(path: Path) -> dict[str, Any]:
    raise FileNotFoundError(path)


def _keep_version(prefix: str, path: Path, x: dict[str, Any], version: str) -> None:
    x["version"] = version


def ignore_cached_images(dataset: Any) -> None:
    """Make a dataset read its images, not ``.npy`` copies that an earlier training left beside them."""
    if hasattr(dataset, "samples"):  # a classifier's, which reads copies only if it is told to
        dataset.cache_disk = False
    if hasattr(dataset, "npy_files"):
        dataset.npy_files = [Path("no-such-file.npy")] * len(dataset.npy_files)


def load_model(weights: Path, shown: Path | None = None) -> Any:
    """Load a checkpoint or an engine through Ultralytics; messages name ``shown`` if ``weights`` is a copy of it.

    Raises:
        DataError: The file is missing, is not a checkpoint that this Ultralytics can load, or is for another task.
    """
    shown = shown or weights
    require(weights)
    if engine_file.described(weights) is not None:
        from .given import backend

        backend.install()
    try:
        model = YOLO(as_it_is(weights), task=read_metadata(weights).get("task"))
    except Exception as error:
        if refused := _refused(weights, error):
            raise DataError(
                f'{shown}: not loaded, since weights = "safe" and it names what safe loading does not allow: '
                f"{clip(refused, 300)}; nothing in it was run"
            ) from error
        reason = plain(error).replace(str(weights), shown.name)
        if isinstance(error, ModuleNotFoundError) and error.name:
            raise DataError(
                f"{shown}: needs the module {error.name}, which is not found where engines are built and run; name its "
                f"folder in the environment variable PYTHONPATH, or as pythonpath in pytest's settings"
            ) from error
        raise DataError(
            f"{shown}: not a YOLO checkpoint that Ultralytics {ultralytics.__version__} can load ({reason})"
        ) from error
    if model.task not in TASKS:
        raise DataError(f"{shown}: its task is {model.task}; pytest-trtgate judges {', '.join(TASKS)} models only")
    return model


def as_it_is(weights: Path) -> Path:
    """Return a path by which Ultralytics opens a checkpoint, and no other file.

    From a path of a checkpoint it takes quotes and outer blanks away, and it reads yolov5n.pt as yolov5nu.pt. Where the
    path would change, it is given a link in the working folder.
    """
    taken = ultralytics.utils.checks.check_yolov5u_filename(str(weights).strip().replace("'", ""), verbose=False)
    if weights.suffix != ".pt" or taken == str(weights):
        return weights
    here = Path.cwd()
    if weights.is_relative_to(here) and "'" not in str(weights.relative_to(here)):  # a build's own copy
        return weights.relative_to(here)
    name = weights.stem.strip().replace("'", "")
    link = Path(f"{name}_.pt")
    if not link.is_symlink():
        link.symlink_to(weights)
    return link


def check_data(subject: str, model: Any, metadata: dict[str, Any], data: str) -> None:
    """Check that a loaded model is given data of the kind that its task needs, and with its key points.

    ``metadata`` are those of an engine; ``data`` is a folder of classes, or a data YAML with label files.

    Raises:
        DataError: It is not.
    """
    folder = Path(data).is_dir()
    if model.task != "classify" and folder:
        raise DataError(
            f"{subject}: its task is {model.task}, which needs a data YAML and labels, but {data} is a folder"
        )
    if model.task == "classify" and not folder:
        raise DataError(f"{subject}: a classifier needs a folder with one per split and class, but {data} is a file")
    finds = metadata.get("kpt_shape") or getattr(model.model, "kpt_shape", None)
    labelled = ultralytics.utils.YAML.load(data).get("kpt_shape") if model.task == "pose" else None
    if finds and labelled and list(finds) != labelled:
        raise DataError(
            f"{subject}: the model finds key points of shape {list(finds)}, but {data} says kpt_shape = {labelled}; "
            "gate the model on data with its key points"
        )


def load_backend(artifact: Path, device: str) -> Any:
    """Return Ultralytics' ``AutoBackend`` for an artifact, on ``cpu`` or the GPU of an index, in any process."""
    from ultralytics.nn.autobackend import AutoBackend

    if engine_file.described(artifact) is not None:
        from .given import backend

        backend.install()
    # A torch.device, since Ultralytics resets torch's threads when it resolves a name.
    place = torch.device(f"cuda:{device}" if device.isdecimal() else device)
    return AutoBackend(str(artifact), device=place)


def tensors(output: Any) -> Iterator[Any]:
    """Yield every tensor of floats in the raw output of a model, however it is nested."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, dict):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, (list, tuple)):
        for value in output:
            yield from tensors(value)


def broken_rows(output: Any, images: int) -> list[int]:
    """Return which images of a batch have NaN or infinite values in a model's raw output."""
    bad: set[int] = set()
    for tensor in tensors(output):
        # Only tensors by image: others, such as the layers of a decoder, show in these.
        if tensor.shape[:1] == (images,) and not torch.isfinite(tensor).all():
            bad.update((~torch.isfinite(tensor.flatten(1)).all(1)).nonzero().flatten().tolist())
    return sorted(bad)
