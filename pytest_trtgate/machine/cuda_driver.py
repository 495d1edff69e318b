"""Prints which GPUs the CUDA driver has, as JSON: to be run by its path, for CUDA stays in the process that asks."""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

_MAJOR, _MINOR, _INTEGRATED = 75, 76, 18
"""``CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR``, ``..._MINOR`` and ``CU_DEVICE_ATTRIBUTE_INTEGRATED``."""
_NAME_BYTES = 256


def devices(cuda: Any) -> Iterator[dict[str, Any]]:
    """Yield name, UUID, compute capability and whether it is part of the processor, of each GPU of ``libcuda``."""
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)):
        return
    for number in range(count.value):
        device, value = ctypes.c_int(), ctypes.c_int()
        name, uuid = ctypes.create_string_buffer(_NAME_BYTES), ctypes.create_string_buffer(16)
        cuda.cuDeviceGet(ctypes.byref(device), number)
        cuda.cuDeviceGetName(name, _NAME_BYTES, device)
        cuda.cuDeviceGetUuid(uuid, device)
        told = []
        for attribute in (_MAJOR, _MINOR, _INTEGRATED):
            cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
            told.append(value.value)
        yield {
            "name": name.value.decode(errors="replace"),
            "uuid": f"GPU-{UUID(bytes=uuid.raw)}",
            "compute_capability": f"{told[0]}.{told[1]}",
            "integrated": bool(told[2]),
        }


def main() -> None:
    """Print the GPUs; none where there is no driver."""
    found: list[dict[str, Any]] = []
    with suppress(OSError):
        found = list(devices(ctypes.CDLL("libcuda.so.1")))
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
