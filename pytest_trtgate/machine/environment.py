"""Kinds of machines: their names, and the differences that make latencies incomparable."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..records import Environment

VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
"""x86 instructions that add up products of 8-bit numbers in 32 bits, any of which is enough."""
INSTRUCTIONS = ("avx2", "avx512f", *VNNI, "asimddp", "i8mm")
"""Instructions by which ONNX Runtime chooses how to multiply 8-bit numbers, as Linux names them."""

_NUMERIC = re.compile(
    "ATEN_CPU_CAPABILITY|CUBLAS_WORKSPACE_CONFIG|MKL_(CBWR|DEBUG_CPU_TYPE|ENABLE_INSTRUCTIONS)|"
    "(ONEDNN|DNNL)_(MAX_CPU_ISA|DEFAULT_FPMATH_MODE)|NPY_(DIS|EN)ABLE_CPU_FEATURES|NVIDIA_TF32_OVERRIDE|"
    "OPENBLAS_CORETYPE|OPENCV_(CPU_DISABLE|IO_MAX_IMAGE_\\w+|IPP)|TORCH_ALLOW_TF32_CUBLAS_OVERRIDE|TORCH_CUDNN_\\w+"
)
"""Environment variables by which libraries choose kernels, instructions or number formats, or images that they read."""
NVPMODEL = "nvpmodel "
"""What the power mode of a Jetson follows in :attr:`Environment.power`."""


def numeric_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables that change how libraries compute."""
    return {name: value for name, value in sorted(environ.items()) if _NUMERIC.fullmatch(name)}


def machine_slug(device: str, backend: str, version: str) -> str:
    """Return the name of a kind of machine, such as ``nvidia-h200_tensorrt-8.6``: the folder of its baselines."""
    return f"{slug(device)[:100].lstrip('.')}_{backend}-{minor(version)}"


def former_machine(environment: Environment) -> str:
    """Return the name that the kind of an environment's machine had in older versions."""
    e = environment
    if not e.machine.startswith(slug(f"{e.device}-{e.arch}-")):  # a GPU's, or one that its owner gave it
        return e.machine
    return machine_slug(f"{e.device}-{e.arch}-{cpu_name(e.cpu)}-{e.cpu_count}c", e.backend, e.backend_version)


def slug(name: str) -> str:
    """Return a name fit for a file name: lower-case, with hyphens."""
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-")


def cpu_name(model: str) -> str:
    """Return a CPU's name, with trademarks, the number of cores and the clock left out."""
    return re.sub(r"\((r|tm)\)|\b(cpu|processor|\d+-core)\b|@.*", " ", model, flags=re.IGNORECASE)


def minor(version: str) -> str:
    """Return the first two parts of a version."""
    return ".".join(version.split(".")[:2])


def differences(now: Environment, then: Environment, *, timed: bool = True) -> list[str]:
    """Return what makes latencies of two environments incomparable, such as ``CPU cores 2, baseline 4``.

    Where nothing is timed, return what may make accuracies differ.
    """
    pairs = [
        ("backend", now.backend, then.backend),
        (f"{now.backend} version", minor(now.backend_version), minor(then.backend_version)),
    ]
    if now.device == "cpu":
        pairs += [("CPU", now.cpu, then.cpu)]
        if now.cpu_model and then.cpu_model:  # older versions told neither this nor the quota
            pairs += [("CPU model", now.cpu_model, then.cpu_model)]
            pairs += [("CPU quota", _quota(now), _quota(then))] if timed else []
        pairs += [("CPU cores", str(now.cpu_count), str(then.cpu_count))] if timed else []
    else:
        pairs += [("GPU", str(now.gpu), str(then.gpu))]
    modes = _nvpmodel(now), _nvpmodel(then)
    pairs += [("power mode", *modes)] if timed and all(modes) else []
    return [f"{what} {a}, baseline {b}" for what, a, b in pairs if a != b]


def _nvpmodel(environment: Environment) -> str:
    said = (environment.power or "").split(", ")
    return next((one.removeprefix(NVPMODEL) for one in said if one.startswith(NVPMODEL)), "")


def _quota(environment: Environment) -> str:
    return "none" if environment.cpu_quota is None else f"{environment.cpu_quota:g} cores"


def instructions_text(instructions: tuple[str, ...] | None) -> str:
    """Return instructions as a sentence names them."""
    if instructions is None:
        return "unknown"
    return " ".join(instructions) or f"none of {' '.join(INSTRUCTIONS)}"


def saturates(environment: Environment) -> bool:
    """Return whether ONNX Runtime adds up products of 8-bit numbers in 16 bits here, which may be too few.

    It does on x86 without any of :data:`VNNI`. Where the instructions are not known, nothing is said.
    """
    x86 = environment.arch.lower() in ("x86_64", "amd64")
    known = environment.instructions
    return x86 and environment.device == "cpu" and known is not None and not set(VNNI) & set(known)
