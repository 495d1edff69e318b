"""What the plugin costs a project that does not use it: ``pytest --collect-only`` with it and without, by turns.

python bench/startup.py [--rounds 25]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import keep

HEAVY = ("numpy", "torch", "pandas", "jinja2", "pydantic")
SPY = f"""
import sys

def pytest_unconfigure(config):
    print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""


def collect_s(folder: Path, *arguments: str) -> float:
    """Return the seconds that one ``pytest --collect-only`` takes."""
    # An installed package has its bytecode; where none may be written, every start would compile it anew.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def main() -> None:
    """Measure, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_one.py").write_text("def test_one():\n    pass\n")
        collect_s(folder), collect_s(folder, "-p", "no:trtgate")
        pairs = []
        for number in range(rounds):
            # By turns, so that what the machine does between two runs falls on both alike.
            order = (True, False) if number % 2 else (False, True)
            took = {on: collect_s(folder, *(() if on else ("-p", "no:trtgate"))) for on in order}
            pairs.append((took[True], took[False]))
        # Other plugins of this environment may load anything; only ours is asked here.
        (folder / "conftest.py").write_text(SPY)
        command = [sys.executable, "-m", "pytest", "--collect-only", "-s", "-p", "pytest_trtgate.plugin"]
        environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
        loaded = next(line for line in done.stdout.splitlines() if line.startswith("loaded:")).split()[1:]
    with_ms, without_ms = (statistics.median(s) * 1000 for s in zip(*pairs, strict=True))
    keep(
        "startup",
        {
            "rounds": rounds,
            "with_plugin_ms": round(with_ms, 1),
            "without_plugin_ms": round(without_ms, 1),
            "median_difference_ms": round(statistics.median((a - b) * 1000 for a, b in pairs), 1),
            "heavy_modules_loaded": loaded,
        },
    )


if __name__ == "__main__":
    main()
