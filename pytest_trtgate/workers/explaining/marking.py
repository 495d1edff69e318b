"""Make TensorRT tell tensors inside of an engine: they are marked in a build for this purpose, and read where it runs.

From release 10 on they are debug tensors, of which each run tells those that are asked for. Before, they are outputs.
TensorRT fuses neither with the layers behind them.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TrtGateError
from ...records import Layer
from ..graph import read_layers
from ..timing.profile import OpenPlan
from ..worker import plain
from .beside import Graph, Range, compared_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

TYPES = {"FLOAT": "<f4", "HALF": "<f2", "BF16": "<i2", "INT8": "|i1", "INT32": "<i4", "BOOL": "|b1"}
"""TensorRT's types as those of memory; of BF16 the bits."""
INT8_STEPS = 127
"""The largest value of a tensor in INT8, in steps of its scale."""


class Marks:
    """Marks the compared tensors of a network, and notes the ranges that its calibration finds.

    ``copy`` is where the FP32 graph of the build is kept.

    Attributes:
        layers: The layers of the graph.
        tensors: The names of those tensors that are marked, or are outputs anyway.
        debug: Whether they are debug tensors.
        ranges: The calibrated ranges by tensor; empty where TensorRT does not calibrate.
    """

    def __init__(self, copy: Path) -> None:
        self.layers: tuple[Layer, ...] = ()
        self.tensors: list[str] = []
        self.debug = False
        self.ranges: dict[str, Range] = {}
        self._copy = copy

    def mark(self, network: Any, config: Any, graph: Path) -> None:
        """Mark the tensors of a network that is parsed from an FP32 graph.

        Raises:
            TrtGateError: TensorRT has none of them.
        """
        import onnx

        self._copy.write_bytes(graph.read_bytes())
        self.layers = read_layers(graph)
        wanted = set(compared_at(Graph(onnx.load(graph)), self.layers).values())
        self.debug = hasattr(network, "mark_debug")
        for node in map(network.get_layer, range(network.num_layers)):
            for tensor in map(node.get_output, range(node.num_outputs)):
                if tensor.name in wanted and tensor.name not in self.tensors and self._marked(network, tensor):
                    self.tensors.append(tensor.name)
        if not self.tensors:
            raise TrtGateError("TensorRT calls none of its tensors as the ONNX graph does, so none could be marked")
        print(f"marked {len(self.tensors)} of {len(wanted)} tensors")
        calibrator = getattr(config, "int8_calibrator", None)
        if calibrator is not None:
            type(calibrator).write_calibration_cache = lambda _, contents: self.ranges.update(
                ranges_in(bytes(contents))
            )

    def _marked(self, network: Any, tensor: Any) -> bool:
        if tensor.is_network_output:
            return True
        if self.debug:
            return bool(network.mark_debug(tensor))
        network.mark_output(tensor)
        return True


def ranges_in(contents: bytes) -> dict[str, Range]:
    """Return the ranges by tensor that the contents of a calibration cache of TensorRT have.

    After a line with its kind it has ``name: scale`` a line, the scale a 32-bit number in hexadecimal digits.
    """
    found = {}
    for line in contents.decode(errors="replace").splitlines()[1:]:
        name, _, digits = line.rpartition(": ")
        try:
            (scale,) = struct.unpack("!f", bytes.fromhex(digits))
        except (ValueError, struct.error):
            continue
        found[name] = Range(-INT8_STEPS * scale, INT8_STEPS * scale)
    return found


class TellingEngine:
    """An engine that tells marked tensors.

    Args:
        plan: The engine.
        tensors: The names of its marked tensors.
        debug: Whether they are debug tensors.
        torch: The module, which allocates.
        device: The GPU.

    Raises:
        TrtGateError: TensorRT refuses the plan.
    """

    def __init__(self, plan: bytes, tensors: Sequence[str], debug: bool, torch: Any, device: Any) -> None:
        self._torch, self._device = torch, device
        self._open = OpenPlan(plan, "its layers", torch, device)
        outside = self._open.buffers.keys()
        self._debug = [name for name in tensors if name not in outside] if debug else []
        self._listener = listener(torch, device) if self._debug else None
        # Releases without debug tensors have neither.
        listen = getattr(self._open.context, "set_debug_listener", None)
        self._tell = getattr(self._open.context, "set_tensor_debug_state", None)
        if self._listener is not None and not (listen and self._tell and listen(self._listener)):
            raise TrtGateError("TensorRT takes no listener to its debug tensors")

    def values(self, images: Array, wanted: Collection[str]) -> dict[str, Array]:
        """Run a batch (images x channels x height x width) and return the wanted tensors in FP32.

        Raises:
            TrtGateError: TensorRT refuses to run, or does not tell one of them.
        """
        torch = self._torch
        (given,) = self._open.inputs
        self._open.buffers[given].copy_(torch.from_numpy(images))
        heard: dict[str, Array] = {}
        if self._listener is not None and self._tell is not None:
            self._listener.heard = heard
            for name in self._debug:
                self._tell(name, name in wanted)
        torch.cuda.synchronize(self._device)
        stream = torch.cuda.Stream(self._device)
        if not self._open.context.execute_async_v3(stream.cuda_stream):
            said = self._listener.failed if self._listener is not None else ""
            raise TrtGateError(f"TensorRT refused to run the engine ({said or 'the log says why'})")
        torch.cuda.synchronize(self._device)
        outside = {name: _on_host(self._open.buffers[name]) for name in wanted if name in self._open.buffers}
        untold = [name for name in wanted if name not in heard and name not in outside]
        if untold:
            raise TrtGateError(f"TensorRT did not tell {len(untold)} of {len(wanted)} tensors, such as {untold[0]}")
        return {**heard, **outside}


def listener(torch: Any, device: Any) -> Any:
    """Return an object that TensorRT tells debug tensors: they are in ``heard``, and what went wrong in ``failed``."""
    import tensorrt as trt

    base: Any = getattr(trt, "IDebugListener", object)

    class Listener(base):  # type: ignore[misc]
        """Copies each tensor to the host."""

        def __init__(self) -> None:
            base.__init__(self)
            self.heard: dict[str, Array] = {}
            self.failed = ""

        def process_debug_tensor(self, addr: Any, location: Any, type: Any, shape: Any, name: str, stream: int) -> bool:
            try:
                torch.cuda.synchronize(device)  # what writes the tensor may only be queued
                there = _Memory(_address(addr), tuple(shape), TYPES[type.name])
                found = torch.as_tensor(there, device=device)
                self.heard[name] = _on_host(found.view(torch.bfloat16) if type.name == "BF16" else found)
            except Exception as error:  # it would end the process: TensorRT calls from C++
                self.failed = f"{name}: {plain(error)}"
                return False
            return True

    return Listener()


class _Memory:
    """Memory of a GPU as torch takes it."""

    def __init__(self, address: int, shape: tuple[int, ...], kind: str) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": kind, "data": (address, False), "version": 3}


def _address(capsule: Any) -> int:
    """Return the address that Python's object for a pointer of C holds."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return int(api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule)))


def _on_host(there: Any) -> Array:
    found: Array = there.float().cpu().numpy()
    return found
