"""TensorRT for RTX under the name of TensorRT, whose API of version 11 it has."""

import ctypes
from importlib.util import find_spec
from pathlib import Path

_LIBRARIES = Path(find_spec("onnxruntime_ep_nv_tensorrt_rtx").origin).parent
# The bindings ask for these by their short names, which the linker knows of libraries that are loaded already.
for _pattern in ("libtensorrt_rtx.so.*.*", "libtensorrt_onnxparser_rtx.so.*.*"):
    ctypes.CDLL(str(next(_LIBRARIES.glob(_pattern))), ctypes.RTLD_GLOBAL)

from tensorrt_rtx_bindings import *  # noqa: E402, F403

__version__ = "11.4.0"
