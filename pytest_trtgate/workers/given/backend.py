"""Ultralytics' backends for given files: it runs them as its own, told what they do not tell of themselves.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: this module imports torch and Ultralytics.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from ultralytics.nn.autobackend import AutoBackend
from ultralytics.nn.backends.base import BaseBackend
from ultralytics.nn.backends.onnx import ONNXBackend
from ultralytics.nn.backends.tensorrt import TensorRTBackend

from ...records import Feed
from ..engine_file import described
from ..verifying import replace
from .layouts import translate

Pads = tuple[int, int, int, int]
"""How many pixels of a letterbox are left of its picture, above, right of it and below."""
PLAIN = Feed()


def install() -> None:
    """Make Ultralytics run given files by these backends, in this process; what has no description stays as it is."""
    backends = AutoBackend._BACKEND_MAP
    if not isinstance(backends["onnx"], partial):
        backends.update(
            onnx=partial(_made, ONNXBackend, GivenONNX),
            engine=partial(_made, TensorRTBackend, GivenTensorRT),
            predictions=Predicted,
        )
        replace(AutoBackend, "_model_type", lambda known: staticmethod(partial(_kind, known)))


def _kind(known: Any, path: Any, *args: Any, **kwargs: Any) -> str:
    return "predictions" if str(path).endswith(".json") else str(known(path, *args, **kwargs))


def _made(plain: Any, given: Any, weight: Any, *args: Any, **kwargs: Any) -> Any:
    return (plain if described(Path(weight)) is None else given)(weight, *args, **kwargs)


class _Described(BaseBackend):  # type: ignore[misc]
    """What backends of given files have in common.

    Attributes:
        fed: Inputs come as the file takes them, from :meth:`feed`; else they come as Ultralytics makes them.
        pads: Of each picture of a batch, where they are needed.
        pictures: The pictures themselves, where those are: height x width x channels, BGR.
    """

    def load_model(self, weight: Any) -> None:
        """Load the file, of which the description lies beside it."""
        found = described(Path(weight))
        assert found is not None
        self.about, self.fed, self.pads = found, False, list[Pads]()
        self.pictures: list[Any] = []
        super().load_model(weight)

    def read_metadata(self, file: Any) -> dict[str, Any]:
        """Return the metadata of the description in place of the file's."""
        return deepcopy(self.about.metadata)

    def engine_header(self, file: Any) -> tuple[int, dict[str, Any]]:
        """Return where the plan begins, and the metadata of the description."""
        return BaseBackend.engine_header(file)[0], deepcopy(self.about.metadata)

    @property
    def needs_pads(self) -> bool:
        """Whether the letterbox is another than Ultralytics'."""
        return self.about.feed.corner or self.needs_pictures or self.about.feed.padding != PLAIN.padding

    @property
    def needs_pictures(self) -> bool:
        """Whether there is no letterbox: what that has made smaller cannot be stretched as sharply."""
        return self.about.feed.stretched

    def feed(self, images: torch.Tensor) -> torch.Tensor:
        """Return images as the file takes them: N x 3 x H x W, RGB, 0 to 1, grey around them, as Ultralytics does."""
        how = self.about.feed
        if how.stretched:
            images = _stretched(self.pictures, images)
        elif self.needs_pads:
            images = _placed(images, self.pads, how)
        if how.bgr:
            images = images.flip(1)
        if how.scale != 1:
            images = images * how.scale
        for numbers, apply in ((how.mean, torch.sub), (how.std, torch.div)):
            if numbers:
                images = apply(images, torch.tensor(numbers, dtype=images.dtype, device=images.device)[:, None, None])
        return images.round().to(torch.uint8) if how.dtype == "uint8" else images

    def forward(self, images: torch.Tensor) -> Any:
        """Return what Ultralytics' own engine would for images."""
        images = images if self.fed else self.feed(images)
        if self.about.feed.nhwc:
            images = images.permute(0, 2, 3, 1).contiguous()
        found = dict(zip(self._returned, super().forward(images), strict=True))
        tensors = [torch.as_tensor(found[name]) for name in self.about.outputs]
        outputs = translate(self.about.layout, tensors, len(self.names))
        if self.about.feed.corner or self.about.feed.stretched:
            final = self.about.layout in ("end2end", "efficientnms")
            outputs[0] = moved(outputs[0], self.pads, tuple(images.shape[2:]), self.about.feed, final=final)
        return outputs

    @property
    def _returned(self) -> list[str]:
        """The names of outputs in the order in which they are returned."""
        return list(self.output_names)


class GivenONNX(_Described, ONNXBackend):  # type: ignore[misc]
    """A given ONNX file. It is run at one shape, even where it would take others."""

    def load_model(self, weight: Any) -> None:
        """Load the file."""
        super().load_model(weight)
        self.dynamic = False


class GivenTensorRT(_Described, TensorRTBackend):  # type: ignore[misc]
    """A given plan, with or without Ultralytics' header, and of any name of its input."""

    def load_model(self, weight: Any) -> None:
        """Load the file, with the plugins that TensorRT brings."""
        import tensorrt as trt

        trt.init_libnvinfer_plugins(trt.Logger(trt.Logger.WARNING), "")
        super().load_model(weight)
        found: Any = vars(self)["bindings"]
        self.bindings = _Bindings(found, next(name for name in found if name not in self.output_names))

    @property
    def _returned(self) -> list[str]:
        return sorted(self.output_names)


class _Bindings(OrderedDict[str, Any]):
    """Bindings in which the input goes by the name that Ultralytics gives it too."""

    def __init__(self, bindings: Any, real: str) -> None:
        self._real = real
        super().__init__(bindings)

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(self._real if name == "images" else name)

    def __setitem__(self, name: str, binding: Any) -> None:
        super().__setitem__(self._real if name == "images" else name, binding)


class Predicted(BaseBackend):  # type: ignore[misc]
    """What was predicted elsewhere: it computes nothing, and :mod:`..evaluating.predictions` brings the detections."""

    def load_model(self, weight: Any) -> None:
        """Take the metadata of the description."""
        found = described(Path(weight))
        self.apply_metadata(deepcopy(found.metadata) if found else {})

    def forward(self, images: torch.Tensor) -> Any:
        """Return no boxes."""
        return images.new_zeros((len(images), 0, 6))


def pads_of(shapes: Sequence[tuple[int, int]], imgsz: int) -> list[Pads]:
    """Return the pads of pictures, of which ``shapes`` are height and width in pixels, in squares of ``imgsz``."""
    found = []
    for height, width in shapes:
        ratio = min(imgsz / height, imgsz / width)
        beside, above = imgsz - round(width * ratio), imgsz - round(height * ratio)
        left, top = round(beside / 2 - 0.1), round(above / 2 - 0.1)  # of an odd number, right and lower get more
        found.append((left, top, beside - left, above - top))
    return found


def _placed(images: torch.Tensor, padded: Sequence[Pads], how: Feed) -> torch.Tensor:
    height, width = images.shape[2:]
    placed = torch.full_like(images, how.padding / 255)
    for image, to, (left, top, right, bottom) in zip(images, placed, padded, strict=False):
        picture = image[:, top : height - bottom, left : width - right]
        x, y = (0, 0) if how.corner else (left, top)
        to[:, y : y + picture.shape[1], x : x + picture.shape[2]] = picture
    return placed


def _stretched(pictures: Sequence[Any], like: torch.Tensor) -> torch.Tensor:
    """Return pictures as large as a batch's inputs, RGB, 0 to 1; where there are none, as in a warm-up, the batch."""
    height, width = like.shape[2:]
    filled = like.clone()
    for picture, to in zip(pictures, filled, strict=False):
        whole = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
        whole = whole[..., ::-1] if whole.shape[2] == 3 else whole
        to[:] = torch.from_numpy(np.ascontiguousarray(whole.transpose(2, 0, 1))).to(like.device, like.dtype) / 255
    return filled


def moved(
    boxes: torch.Tensor, padded: Sequence[Pads], size: tuple[int, ...], how: Feed, *, final: bool
) -> torch.Tensor:
    """Return boxes where Ultralytics' letterbox has them, in its middle.

    Args:
        boxes: N x K x 6, corners first, where ``final``; else N x (4 + C) x A, centre and size first.
        padded: The pads of each letterbox.
        size: Height and width of the input in pixels.
        how: Where the boxes were found: in the corner of a letterbox, or in a stretched picture.
        final: Which it is.
    """
    result = boxes.clone()
    for one, (left, top, right, bottom) in zip(result, padded, strict=False):
        rows = one.T if final else one
        if how.stretched:
            scale = ((size[1] - left - right) / size[1], (size[0] - top - bottom) / size[0]) * 2
            rows[:4] *= torch.tensor(scale, dtype=one.dtype, device=one.device)[:, None]
        beside = (left, top, left, top) if final else (left, top, 0, 0)
        rows[:4] += torch.tensor(beside, dtype=one.dtype, device=one.device)[:, None]
    return result
