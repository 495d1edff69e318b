"""INT8 as the settings ask, beyond what the exporter makes: layers that stay out, and how ranges are found.

What is added happens between the exporter's FP32 graph and the engine. The libraries that quantize are told more.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from ...errors import SettingsError, TrtGateError
from ...quantizing import matching, unknown_names
from ...records import Layer, QuantizationRecord, file_sha256, write_whole
from ...settings import EXPORTER, Int8
from ..graph import read_layers
from ..reading import note
from ..worker import plain
from .parallel_calibration import calibrating

KEEP = "quantization.int8.keep"


class Choice:
    """What the settings ask of the INT8 of one engine, and which layers of its graph that concerns.

    ``subject`` is what messages name. ``images`` grow as they are calibrated on. The record ``made`` is there once the
    graph was looked at.
    """

    def __init__(self, asked: Int8, backend: str, subject: str, images: list[str] | None = None) -> None:
        self.asked = asked
        self.images = [] if images is None else images
        self.changes = asked.changes(backend)
        self.made: QuantizationRecord | None = None
        self._subject = subject

    def kept(self, graph: Path) -> tuple[Layer, ...]:
        """Return the layers of an FP32 graph that are to stay out of INT8.

        Raises:
            SettingsError: A name matches none, or there is nothing left to quantize.
        """
        layers = read_layers(graph)
        for name, near in unknown_names(layers, self.asked.keep).items():
            hint = f"the nearest names are {', '.join(near)}" if near else "no name is near"
            raise SettingsError(
                f"{self._subject}: {KEEP} names '{name}', and no layer is called so; {hint}; "
                f"`trtgate layers` prints all of them"
            )
        kept = matching(layers, self.asked.keep)
        if layers and len(kept) == len(layers):
            raise SettingsError(f"{self._subject}: {KEEP} names all {len(layers)} layers, so nothing would be INT8")
        self.made = QuantizationRecord(
            settings=self.changes, layers=len(layers), kept=tuple(layer.name for layer in kept)
        )
        print(f"quantization: {self.made.sentence}")
        return kept


@contextmanager
def quantized_by_onnxruntime(choice: Choice, ranges: Path | None, threads: int) -> Iterator[None]:
    """Have ONNX Runtime quantize as chosen where the exporter asks it to quantize.

    ``ranges``: a folder in which builds on the same images share what calibrations find. ``threads``: how
    many a calibration uses.
    """
    import onnxruntime.quantization as library

    quantize = library.quantize_static

    def quantize_as_chosen(
        model_input: Any,
        model_output: Any,
        calibration_data_reader: Any,
        *,
        nodes_to_exclude: Collection[str] = (),
        **more: Any,
    ) -> None:
        kept: list[str] = []
        if choice.changes:
            kept = [layer.node for layer in choice.kept(Path(model_input))]
            more |= {"per_channel": choice.asked.per_channel, "reduce_range": choice.asked.reduce_range}
            more |= _ranges(choice.asked)
        more["nodes_to_exclude"] = [*nodes_to_exclude, *kept]
        quantized = partial(quantize, model_input, model_output, calibration_data_reader, **more)
        # The ranges of what is kept are found, too: a build that shares them may keep something else.
        with calibrating(nodes_to_exclude, threads):
            _share(quantized, ranges, choice) if ranges else quantized()

    library.quantize_static = quantize_as_chosen
    try:
        yield
    finally:
        library.quantize_static = quantize


def _share(quantize: Callable[..., None], ranges: Path, choice: Choice) -> None:
    """Quantize by ranges that another build has left in a folder, or leave there what is found."""
    if "calibration_cache_path" not in signature(quantize).parameters:  # before ONNX Runtime 1.32
        quantize()
        return
    found, listed = ranges / f"{choice.asked.calibrator}.json", ranges / f"{choice.asked.calibrator}.txt"
    if found.is_file() and listed.is_file():
        choice.images[:] = map(os.fsdecode, listed.read_bytes().splitlines())
        for image in choice.images:  # they are what the engine rests on, as if they had been read here
            note(image, file_sha256(Path(image)))
    quantize(calibration_cache_path=found)
    write_whole(listed, b"".join(os.fsencode(image) + b"\n" for image in choice.images))


def _ranges(asked: Int8) -> dict[str, Any]:
    """Return how ONNX Runtime is to find the range of a tensor."""
    from onnxruntime.quantization import CalibrationMethod

    if asked.percentile is not None:
        # Not symmetric about zero: an activation has few values below it, and half of the range would be lost.
        options = {"CalibPercentile": asked.percentile, "CalibTensorRangeSymmetric": False}
        return {"calibrate_method": CalibrationMethod.Percentile, "extra_options": options}
    if asked.calibrator == "entropy":
        return {"calibrate_method": CalibrationMethod.Entropy}
    return {}


def quantize_by_modelopt(choice: Choice) -> None:
    """Have ModelOpt, which writes the INT8 of TensorRT 11, quantize as chosen, for the rest of this process.

    Raises:
        SettingsError: It has no such calibrator.
        TrtGateError: It cannot be imported.
    """
    if not choice.changes:
        return
    methods = {EXPORTER: "max", "minmax": "max", "entropy": "entropy"}
    _check_calibrator(choice.asked, methods, "ModelOpt, which quantizes for TensorRT 11,")
    try:
        import modelopt.onnx.quantization as library
    except Exception as error:  # whatever its environment lacks
        raise TrtGateError(f"NVIDIA ModelOpt cannot be imported ({plain(error)})") from error
    quantize: Callable[..., Any] = library.quantize

    def quantize_as_chosen(path: Any, *args: Any, nodes_to_exclude: Collection[str] = (), **more: Any) -> Any:
        # ModelOpt takes patterns.
        kept = [f"^{re.escape(layer.node)}$" for layer in choice.kept(Path(path))]
        more["calibration_method"] = methods[choice.asked.calibrator]
        return quantize(path, *args, nodes_to_exclude=[*nodes_to_exclude, *kept], **more)

    library.quantize = quantize_as_chosen


class TensorRTChoice:
    """The same choice for a network whose precisions TensorRT itself chooses, until release 10.

    Args:
        trt: The module ``tensorrt``.
        choice: What is chosen.
        graph: The FP32 graph that the network is parsed from.

    Raises:
        SettingsError: The settings name an unknown layer or calibrator.
    """

    def __init__(self, trt: Any, choice: Choice, graph: Path) -> None:
        self.trt = trt
        self.asked = choice.asked
        self._nodes = {layer.node for layer in choice.kept(graph)}
        _check_calibrator(self.asked, (EXPORTER, "minmax", "entropy"), "TensorRT")

    def apply(self, network: Any, config: Any) -> None:
        """Keep layers of a network in FP16, and have ranges found as chosen.

        Raises:
            TrtGateError: No layer of the network has the name of a node that is to be kept.
        """
        self._keep(network, config)
        base = {"entropy": "IInt8EntropyCalibrator2", "minmax": "IInt8MinMaxCalibrator"}.get(self.asked.calibrator)
        if base is not None and hasattr(config, "int8_calibrator") and config.int8_calibrator is not None:
            self._calibrator = _as_calibrator(getattr(self.trt, base), config.int8_calibrator)
            config.int8_calibrator = self._calibrator  # the configuration only refers to it: hold it

    def _keep(self, network: Any, config: Any) -> None:
        found = [node for node in map(network.get_layer, range(network.num_layers)) if node.name in self._nodes]
        if self._nodes and not found:
            raise TrtGateError(
                f"TensorRT {self.trt.__version__} calls none of its layers as the ONNX graph does: {KEEP} has no effect"
            )
        for node in found:
            if hasattr(node, "precision") and hasattr(node, "set_output_type"):
                node.precision = self.trt.float16
                for output in range(node.num_outputs):
                    node.set_output_type(output, self.trt.float16)
        flag = getattr(self.trt.BuilderFlag, "OBEY_PRECISION_CONSTRAINTS", None)
        if found and flag is not None:
            config.set_flag(flag)
        print(f"quantization: {len(found)} of {len(self._nodes)} kept layers found in TensorRT's network")


def _as_calibrator(base: Any, images: Any) -> Any:
    """Return a calibrator of one of TensorRT's kinds that reads the images of another."""

    class Calibrator(base):  # type: ignore[misc]
        """Reads the exporter's images."""

        def __init__(self) -> None:
            base.__init__(self)

        def get_batch_size(self) -> int:
            return int(images.get_batch_size())

        def get_batch(self, names: list[str]) -> Any:
            return images.get_batch(names)

        def read_calibration_cache(self) -> None:
            """Return nothing: each build calibrates anew."""

        def write_calibration_cache(self, cache: Any) -> None:
            """Leave it."""

    return Calibrator()


def _check_calibrator(asked: Int8, known: Collection[str], library: str) -> None:
    if asked.calibrator not in known:
        raise SettingsError(
            f"quantization.int8.calibrator = '{asked.calibrator}': {library} has none of that kind; "
            f"choose one of: {', '.join(known)}"
        )
