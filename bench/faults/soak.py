"""Runs one project again and again, two at a time, beside pruning: all end well, and nothing piles up.

    python bench/faults/soak.py [--long] [--seed N]

Short: 8 runs. Long: 400.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from gated import SETTINGS, arguments, done, end_of_processes, half_files, project

AT_ONCE = 2
KEPT = 3
"""As the project's settings say."""


def prune(folder: Path, chance: random.Random) -> str:
    """Prune the project's cache, sometimes of all that is in it; return what is wrong."""
    days = chance.choice(["0", "0", "30"])
    command = [sys.executable, "-m", "pytest_trtgate.cli", "cache", "prune", "--yes", "--older-than", days]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return f"cache prune: exit status {ended.returncode}\n{ended.stdout}{ended.stderr}" if ended.returncode else ""


def left_over(folder: Path, temporary: Path) -> list[str]:
    """Return what has piled up."""
    runs = [path for path in folder.glob("reports/*-runs/*") if path.is_dir()]
    wrong = [f"{len(runs)} folders of runs"] if len(runs) > KEPT + AT_ONCE else []
    wrong += [f"left in the cache: {path}" for path in folder.glob("cache/tmp/*")]
    wrong += [f"left half written: {path}" for path in folder.rglob(".*.*") if len(path.suffix) == 33]
    wrong += [f"left among temporary files: {path}" for path in temporary.iterdir()]
    return wrong + [f"a process is left: {command[:150]}" for command in end_of_processes(folder)]


def main() -> None:
    given = arguments(__doc__ or "")
    chance, wrong = random.Random(given.seed), list[str]()
    rounds = 200 if given.long else 4
    with project(slow_s=0.02) as one:
        temporary = one.path.with_name(f"{one.path.name}-tmp")
        temporary.mkdir()
        os.environ["TMPDIR"] = str(temporary)
        try:
            # With a baseline that needs no second opinion: what is soaked is the machinery, not the judgement.
            one.settings("p50 = { regression = 2.0 }\np95 = { regression = 2.0 }\n", base=SETTINGS)
            one.run_apart("--trt-baselines=add")
            for number in range(rounds):
                runs = [one.start() for _ in range(AT_ONCE)]
                found = [prune(one.path, chance)]
                for run in runs:
                    output, _ = run.communicate(timeout=300)
                    found.append(f"exit status {run.returncode}\n{output}" if run.returncode else "")
                found += [f"a half file: {name}" for name in half_files(one.path)]
                wrong += [f"round {number}: {what}" for what in found if what]
            wrong += left_over(one.path, temporary)
        finally:
            subprocess.run(["rm", "-rf", temporary], check=True)
    done(wrong, f"{rounds * AT_ONCE} runs, {AT_ONCE} at a time")


if __name__ == "__main__":
    main()
