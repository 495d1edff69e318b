"""What TensorRT really built: layers by precision, read from the engine inspector's JSON.

If that tells nothing, the types in the network may: TensorRT 11 is bound to them.

The JSON is no stable interface. We read ``Layers``: a list of objects with ``Name``, ``Inputs``, ``Outputs`` (each with
``Format/Datatype``, such as ``Row major linear FP32``, ``Half`` or ``Int8``) and ``TacticName``, or a list of names in
an engine that was built without details.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ...records import OTHER, UNKNOWN, EngineInspection

_FORMATS = (
    ("FP8", r"fp8|e4m3|e5m2"),
    ("FP4", r"fp4|e2m1"),
    ("BF16", r"bf16|bfloat"),
    ("FP16", r"fp16|half|float16"),
    ("INT8", r"u?int8"),
    ("INT4", r"int4"),
    ("FP32", r"fp32|tf32|float"),
    (OTHER, r"u?int\d+|bool"),
)
"""Patterns of the data types in a tensor's format, in the order in which they are tried."""
_TACTICS = (
    ("INT8", r"i8i8|i8816|int8|imma|_s8|s8_"),
    ("FP8", r"e4m3|fp8"),
    ("BF16", r"bf16"),
    ("FP16", r"f16f16|h884|h1688|h16816|hgemm|half|fp16"),
    ("FP32", r"f32f32|tf32|sgemm|fp32|scudnn"),
)
_FUSED = re.compile(r" \+ |\|\||\.\.\.|^PWN\(.*,")


def inspect(
    text: str, plan_bytes: int, device_memory_bytes: int | None = None, network: Iterable[str] = ()
) -> EngineInspection:
    """Count an engine's layers by precision; any text that is not the inspector's JSON counts as no detail.

    ``network``: the input type of each convolution and matrix product, where TensorRT is bound to them.
    """
    layers = _layers(text)
    objects = [layer for layer in layers if isinstance(layer, dict)]
    names = [str(layer.get("Name", "")) if isinstance(layer, dict) else str(layer) for layer in layers]
    counts = Counter(layer_precision(layer) for layer in objects)
    detailed = bool(objects) and set(counts) != {UNKNOWN}
    return EngineInspection(
        detailed=detailed,
        layers=len(layers) or None,
        precisions=dict(counts) if detailed else {},
        fused_layers=sum(bool(_FUSED.search(name)) for name in names) if layers else None,
        network=dict(Counter(_first(_FORMATS, text) or UNKNOWN for text in network)),
        plan_bytes=plan_bytes,
        device_memory_bytes=device_memory_bytes,
    )


def _layers(text: str) -> list[Any]:
    try:
        # Not strict: TensorRT joins the names of fused nodes with control characters.
        found = json.loads(text, strict=False)
    except ValueError:
        return []
    layers = found.get("Layers") if isinstance(found, dict) else found
    return layers if isinstance(layers, list) else []


def layer_precision(layer: Mapping[str, Any]) -> str:
    """Return the precision of a layer: that of its first input, else of its output, else of its tactic.

    Inputs tell best: an INT8 convolution may write FP16.
    """
    for side in ("Inputs", "Outputs"):
        tensors = layer.get(side)
        for tensor in tensors if isinstance(tensors, list) else ():
            if found := _first(_FORMATS, _format_of(tensor)):
                return found
    return _first(_TACTICS, str(layer.get("TacticName") or "")) or UNKNOWN


def _format_of(tensor: Any) -> str:
    if not isinstance(tensor, Mapping):
        return ""
    return " ".join(str(tensor[key]) for key in ("Format/Datatype", "Format", "Datatype", "DataType") if key in tensor)


def _first(patterns: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((name for name, pattern in patterns if re.search(pattern, text, re.IGNORECASE)), None)
