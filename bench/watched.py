"""A process and all that it starts, watched: seconds, processor seconds and the peak memory of the largest of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_WATCH = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
status = subprocess.run(sys.argv[2:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
took = time.perf_counter() - started
used = resource.getrusage(resource.RUSAGE_CHILDREN)
figures = {"wall_s": took, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}
with open(sys.argv[1], "w") as file:
    json.dump({**figures, "status": status.returncode, "output": status.stdout.decode(errors="replace")}, file)
"""


@dataclass(frozen=True)
class Watched:
    """What a process took; ``peak_mb`` is the memory of the largest of it and those that it started."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    output: str

    def figures(self) -> dict[str, float]:
        """Return what is kept of it."""
        return {"wall_s": round(self.wall_s, 2), "cpu_s": round(self.cpu_s, 2), "peak_mb": round(self.peak_mb)}


def watch(command: list[str], folder: Path, accept: tuple[int, ...] = (0,), **more: str) -> Watched:
    """Run a command in a folder to its end.

    Args:
        command: What to run.
        folder: Where.
        accept: Exit codes that mean that it worked.
        more: Variables for its environment.
    """
    # A process of its own for each: the system tells only the largest of all that a process has ever waited for.
    result = folder / "watched.json"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run(
        [sys.executable, "-c", _WATCH, str(result), *command], cwd=folder, env=environment | more, check=True
    )
    found = json.loads(result.read_text())
    result.unlink()
    if found.pop("status") not in accept:
        raise SystemExit(f"{' '.join(command)} failed:\n{found['output'][-4000:]}")
    return Watched(**found)
