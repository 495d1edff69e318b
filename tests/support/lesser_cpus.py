"""Run the tests with real engines as on lesser processors: fewer instructions, one thread, one core.

Each emulation is a run of pytest in tox's environment ``engines``. What PyTorch and oneDNN compute with is limited by
their own variables. ONNX Runtime has none: what it computes without VNNI is seen under QEMU alone (see
``int8-saturates`` in docs/reference/findings.md).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping

EMULATIONS: Mapping[str, Mapping[str, str]] = {
    "PyTorch without AVX": {"ATEN_CPU_CAPABILITY": "default"},
    "PyTorch with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "oneDNN with AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "one thread": {"OMP_NUM_THREADS": "1"},
    "one core": {},
}
ALL_AT_ONCE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}
FAST = ("tests/real/test_evaluations.py", "tests/real/test_builds.py", "tests/real/test_launches.py")
REAL = "real and not tensorrt11 and not gpu"


def run(name: str, variables: Mapping[str, str], arguments: list[str], *, one_core: bool) -> bool:
    """Run the tests under one emulation, say how long it took, and return whether they passed.

    Args:
        name: What it is called.
        variables: What is set for it.
        arguments: Those of pytest.
        one_core: Whether the run may use but one core.
    """
    one_core = one_core and hasattr(os, "sched_setaffinity")  # not on every platform
    print(f"=== {name}: {' '.join(f'{k}={v}' for k, v in variables.items())}{' on one core' * one_core}", flush=True)
    before = os.sched_getaffinity(0) if one_core else set()
    started = time.monotonic()
    if one_core:
        os.sched_setaffinity(0, {min(before)})
    try:
        command = [sys.executable, "-m", "tox", "run", "--quiet", "-e", "engines", "--", *arguments]
        passed = subprocess.run(command, env={**os.environ, **variables}, check=False).returncode == 0
    finally:
        if one_core:
            os.sched_setaffinity(0, before)
    print(f"=== {name}: {'passed' if passed else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True)
    return passed


def main(arguments: list[str]) -> int:
    """Run every emulation, or with ``--fast`` all at once on the fast part; other arguments are pytest's."""
    if "--fast" in arguments:
        more = [argument for argument in arguments if argument != "--fast"]
        return not run("a lesser processor", ALL_AT_ONCE, [*FAST, "-m", REAL, *more], one_core=True)
    chosen = ["tests", "--ignore=tests/gate", "-m", REAL, *arguments]
    passed = [run(name, set_, chosen, one_core=name == "one core") for name, set_ in EMULATIONS.items()]
    return not all(passed)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
