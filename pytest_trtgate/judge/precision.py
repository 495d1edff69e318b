"""Whether the precision that was asked for is in the engine that was built."""

from __future__ import annotations

from ..inspection import EngineInspection
from ..records import Precision

NEARLY_NONE = 0.05
"""Below this share of FP16 layers, an "fp16" engine is an FP32 engine by another name."""


def precision_finding(
    requested: Precision, inspection: EngineInspection | None, size_bytes: int, fp32_size_bytes: int | None
) -> str | None:
    """Return a sentence where an engine is not in the precision that was asked for, else None.

    Where TensorRT tells the precision of the layers, they decide: fewer than 5 % in FP16, or none in INT8. Where it
    does not but is bound to the types in the network, those do: the size says nothing, since such a plan may hold more
    than the weights. Else the size does: an engine in a narrower precision must be smaller than the FP32 engine.

    Args:
        requested: What was asked for; there is nothing to find in ``fp32``.
        inspection: What was built; None for a backend without such a thing.
        size_bytes: Size of the artifact.
        fp32_size_bytes: Size of the model's FP32 artifact; None where there is none.
    """
    if requested == "fp32" or inspection is None:
        return None
    if inspection.known:
        wanted = requested.upper()
        share = inspection.share(wanted)
        missed = share == 0 if requested == "int8" else share < NEARLY_NONE
        few = "no layer is" if share == 0 else f"fewer than {100 * NEARLY_NONE:.0f} % are"
        return f"{inspection.sentence(requested)}; {few} {wanted}" if missed else None
    if fp32_size_bytes is None or size_bytes < fp32_size_bytes:
        return None
    return f"{inspection.sentence(requested)}, and it has {_mb(size_bytes)}, no less than fp32 ({_mb(fp32_size_bytes)})"


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
