"""Kinds of machines: their names, and the differences that make latencies incomparable."""

from __future__ import annotations

import re

from ..records import Environment


def machine_slug(device: str, backend: str, version: str) -> str:
    """Return the name of a kind of machine, such as ``nvidia-h200_tensorrt-8.6``: the folder of its baselines."""
    return f"{slug(device)}_{backend}-{minor(version)}"


def slug(name: str) -> str:
    """Return a name fit for a file name: lower-case, with hyphens."""
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-")


def cpu_name(model: str) -> str:
    """Return a CPU's name without trademarks, its number of cores and its clock."""
    return re.sub(r"\((r|tm)\)|\b(cpu|processor|\d+-core)\b|@.*", " ", model, flags=re.IGNORECASE)


def minor(version: str) -> str:
    """Return the first two parts of a version."""
    return ".".join(version.split(".")[:2])


def differences(now: Environment, then: Environment) -> list[str]:
    """Return what makes latencies of two environments incomparable, each as ``what: now, baseline: then``."""
    pairs = [
        ("backend", now.backend, then.backend),
        (f"{now.backend} version", minor(now.backend_version), minor(then.backend_version)),
    ]
    if now.device == "cpu":
        pairs += [("CPU", now.cpu, then.cpu), ("CPU cores", str(now.cpu_count), str(then.cpu_count))]
    else:
        pairs += [("GPU", str(now.gpu), str(then.gpu))]
    return [f"{what} {a}, baseline {b}" for what, a, b in pairs if a != b]
