"""How long the gate takes on the demo model: with an empty engine cache, and again with its engines cached.

python bench/demo_gate.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

SPY = """
import json, resource, sys

def pytest_unconfigure(config):
    heavy = [n for n in ("torch", "ultralytics", "onnx", "tensorrt") if n in sys.modules]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    open("spy.json", "w").write(json.dumps({"loaded": heavy, "peak_mb": round(peak_mb)}))
"""


def gate_s(folder: Path) -> tuple[float, dict[str, object]]:
    """Return the seconds of one gate run, and what its pytest process loaded and used."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "conftest"], cwd=folder, check=True)
    return time.perf_counter() - started, json.loads((folder / "spy.json").read_text())


def main() -> None:
    """Measure, print and keep the figures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "demo"
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "pytest_trtgate.cli", "demo", str(folder)], check=True)
        demo_s = time.perf_counter() - started
        settings = folder / "trtgate.toml"
        settings.write_text('cache_dir = "cache"\n' + settings.read_text())
        (folder / "conftest.py").write_text(SPY)
        cold, spied = gate_s(folder)
        cached, _ = gate_s(folder)
        run = json.loads((folder / "reports" / "run.json").read_text())
    jobs_peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    keep(
        "demo_gate",
        {
            "write_demo_s": round(demo_s, 1),
            "cold_s": round(cold, 1),
            "engines_cached_s": round(cached, 1),
            "pytest_process": spied,
            "largest_process_mb": round(jobs_peak_mb),
            "cached_jobs_s": {job["name"]: round(job["seconds"], 1) for job in run["jobs"]},
        },
    )


if __name__ == "__main__":
    main()
