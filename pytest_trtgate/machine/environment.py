"""What machine this is and which versions it runs: found without importing torch or any backend."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from ..errors import SettingsError
from ..records import Environment
from ..settings import Settings
from .gpus import VISIBLE, visible_gpus

OPENCV = ("opencv-python", "opencv-python-headless")
"""Distributions that bring the same library, of which any will do."""
DECODERS = (*OPENCV, "pillow")
"""Distributions that decode and resize images; two that bring the same library may both be installed."""
PACKAGES = (
    *("ultralytics", "torch", "torchvision", "onnx", "onnxruntime", "onnxslim", "tensorrt", "nvidia-modelopt"),
    *("numpy", *DECODERS),
)
"""Distributions whose version can change an engine or a measurement."""
ALIASES = {"tensorrt": ("tensorrt-cu13", "tensorrt-cu12", "tensorrt-cu11", "tensorrt-bindings")}
"""Other distributions that bring the same library, of which one may be installed alone."""
VNNI = ("avx512_vnni", "avx_vnni", "amx_int8")
"""x86 instructions that add up products of 8-bit numbers in 32 bits, any of which is enough."""
INSTRUCTIONS = ("avx2", "avx512f", *VNNI, "asimddp", "i8mm")
"""Instructions by which ONNX Runtime chooses how to multiply 8-bit numbers, as Linux names them."""
OLDEST_TENSORRT = (8, 6)
WRONG_TENSORRT = (10, 2, 0)


def installed_versions() -> dict[str, str]:
    """Return the versions of those of :data:`PACKAGES` that are installed."""
    found = {}
    for package in PACKAGES:
        for name in (package, *ALIASES.get(package, ())):
            try:
                found[package] = metadata.version(name)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def package_lines(versions: Mapping[str, str]) -> list[str]:
    """Return a line per package: its version, or that it is not installed; of those that serve alike, what is there.

    Args:
        versions: Those of the installed packages.
    """
    there = [name for name in OPENCV if name in versions] or [OPENCV[0]]
    shown = [name for name in PACKAGES if name not in OPENCV or name in there]
    width = max(map(len, PACKAGES))
    lacking = {OPENCV[0]: f"not installed, nor is {' or '.join(OPENCV[1:])}"}
    return [f"{name:<{width}} {versions.get(name) or lacking.get(name, 'not installed')}" for name in shown]


def resolve_backend(settings: Settings) -> tuple[str, str, str]:
    """Return the backend, the device that it runs on, and why it was chosen.

    Raises:
        SettingsError: The backend asked for is not available here, or cannot run on the device asked for.
    """
    versions = installed_versions()
    lacks = _why_not_tensorrt(settings, versions)
    if settings.backend == "tensorrt" and lacks:
        raise SettingsError(f"backend = 'tensorrt' cannot be used here: {lacks}")
    if settings.backend == "tensorrt" or (settings.backend == "auto" and not lacks):
        device = "0" if settings.device == "auto" else settings.device
        why = visible_gpus()[int(device)].name
        return "tensorrt", device, f"asked for; {why}" if settings.backend != "auto" else why
    missing = [p for p in ("ultralytics", "torch", "onnx", "onnxruntime") if p not in versions]
    if missing:
        raise SettingsError(
            f"backend 'onnxruntime' needs {', '.join(missing)}, missing here: python -m pip install {' '.join(missing)}"
        )
    if settings.device not in ("auto", "cpu"):
        refused = f"device = '{settings.device}' is not usable by backend 'onnxruntime'; allowed: auto, cpu"
        raise SettingsError(refused + (f" (no 'tensorrt' either: {lacks})" if settings.backend == "auto" else ""))
    why = "asked for" if settings.backend != "auto" else f"since {lacks}"
    return "onnxruntime", "cpu", why


def _why_not_tensorrt(settings: Settings, versions: Mapping[str, str]) -> str:
    """Return why TensorRT cannot build and run engines here; empty where it can, or where nobody asks."""
    if settings.backend == "onnxruntime":
        return ""
    if settings.device == "cpu":
        return "device = 'cpu'"
    version = versions.get("tensorrt")
    if version is None:
        gpu = "" if settings.backend == "auto" or visible_gpus() else ", and no NVIDIA GPU is visible"
        return f"TensorRT is not installed{gpu}"
    release = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if release[:2] < OLDEST_TENSORRT:
        return f"TensorRT {version} is too old, 8.6 is the oldest that is supported"
    if release == WRONG_TENSORRT:
        return f"TensorRT {version} gives wrong results, install another release"
    missing = [p for p in ("ultralytics", "torch", "onnx") if p not in versions]
    if missing:
        return f"{', '.join(missing)} is missing, python -m pip install {' '.join(missing)}"
    gpus = visible_gpus()
    if not gpus:
        limit = os.environ.get(VISIBLE)
        return "no NVIDIA GPU is visible" + ("" if limit is None else f" ({VISIBLE} = '{limit}')")
    if settings.device != "auto" and int(settings.device) >= len(gpus):
        there = ", ".join(f"{number} ({gpu.name})" for number, gpu in enumerate(gpus))
        return f"device = '{settings.device}' is not there, visible are {there}"
    return ""


def gpu_of_worker(settings: Settings, backend: str, device: str, worker: str) -> tuple[str, bool]:
    """Return the UUID of the GPU that a process of the run uses, and whether it is to be the only one for its jobs.

    Where ``device`` is ``auto`` and all GPUs are of one kind, xdist's workers take one each.

    Args:
        settings: The run's settings.
        backend: The backend chosen.
        device: The device chosen.
        worker: Name of the xdist worker, such as ``gw1``; empty in a run without xdist.
    """
    if backend != "tensorrt":
        return "", False
    gpus = visible_gpus()
    alike = len({(gpu.name, gpu.compute_capability) for gpu in gpus}) == 1
    if worker and settings.device == "auto" and alike and len(gpus) > 1:
        number = int(re.sub(r"\D", "", worker) or 0) % len(gpus)
        return gpus[number].uuid, True
    return gpus[int(device)].uuid, False


def threads_of(settings: Settings) -> int:
    """Return how many threads every arm gets: the setting, else the cores this process may use, at most 8."""
    return settings.threads or min(8, usable_cores())


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every platform
        return os.cpu_count() or 1


def collect(backend: str, device: str, folder: Path) -> Environment:
    """Return the fingerprint of this machine for one backend and device.

    Args:
        backend: ``onnxruntime`` or ``tensorrt``.
        device: ``cpu`` or a GPU number.
        folder: Where to look for the git commit that is being gated.
    """
    versions = installed_versions()
    version = versions.get(backend, "unknown")
    arch = platform.machine()
    gpu = None if device == "cpu" else visible_gpus()[int(device)]
    kind = gpu.name if gpu else f"{device}-{arch}-{cpu_name(cpu_model())}-{usable_cores()}c"
    return Environment(
        machine=machine_slug(kind, backend, version),
        os=_os_name(),
        arch=arch,
        python=platform.python_version(),
        cpu=cpu_model(),
        cpu_count=usable_cores(),
        instructions=cpu_instructions(),
        memory_bytes=_memory_bytes(),
        gpu=gpu.name if gpu else None,
        compute_capability=gpu.compute_capability if gpu else None,
        driver=gpu.driver if gpu else None,
        backend=backend,
        backend_version=version,
        device=device,
        versions=versions,
        commit=_commit(folder),
    )


def machine_slug(device: str, backend: str, version: str) -> str:
    """Return the name of a kind of machine, such as ``nvidia-h200_tensorrt-8.6``: the folder of its baselines."""
    return f"{slug(device)}_{backend}-{minor(version)}"


def slug(name: str) -> str:
    """Return a name as it may stand in the name of a file: lower-case, with hyphens."""
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower()).strip("-")


def cpu_name(model: str) -> str:
    """Return a CPU's name without what says nothing of its speed that the number of cores does not."""
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


@lru_cache
def cpu_model() -> str:
    """Return the CPU's name as the operating system gives it."""
    return _cpuinfo("model name|Model") or platform.processor() or platform.machine()


@lru_cache
def cpu_instructions() -> tuple[str, ...] | None:
    """Return which of :data:`INSTRUCTIONS` the CPU has; None where the operating system does not tell."""
    flags = _cpuinfo("flags|Features")
    return None if flags is None else tuple(name for name in INSTRUCTIONS if name in flags.split())


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


def _cpuinfo(names: str) -> str | None:
    """Return the first value that Linux tells of the CPU under any of some names, which ``|`` parts."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(rf"^(?:{names})\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else None


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return f"{platform.system()} {platform.release()}"


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0


def _commit(folder: Path) -> str | None:
    # Not every project is in Git, and to start a process takes longer than to look.
    if "GIT_DIR" not in os.environ and not any((above / ".git").exists() for above in (folder, *folder.parents)):
        return None
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
