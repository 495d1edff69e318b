"""Kills runs at any moment: no half file is left, no process, and the next run is green.

    python bench/faults/kill_loop.py [--long] [--seed N]

Short: 8 runs. Long: 300. Some are killed with all that they started, some alone.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress

from gated import arguments, done, end_of_processes, half_files, project


def main() -> None:
    given = arguments(__doc__ or "")
    chance, wrong = random.Random(given.seed), list[str]()
    rounds = 300 if given.long else 8
    with project(slow_s=0.05) as one:
        started = time.monotonic()
        run = one.run_apart("--trt-baselines=update")
        whole_s = time.monotonic() - started
        if run.ret:
            done([f"the first run: exit status {run.ret}\n{run.output}"], "kill loop")
        for number in range(rounds):
            if chance.random() < 0.5:  # else it finds all engines built
                subprocess.run(["rm", "-rf", one.path / "cache"], check=True)
            process = one.start("--trt-baselines=update")
            after_s = chance.uniform(0.1, 1.0) * whole_s
            time.sleep(after_s)
            with suppress(ProcessLookupError):  # it was faster
                chance.choice([os.killpg, os.kill])(process.pid, signal.SIGKILL)
            process.communicate()
            found = [f"a half file: {name}" for name in half_files(one.path)]
            found += [f"a process is left: {command[:150]}" for command in end_of_processes(one.path)]
            wrong += [f"round {number}, killed after {after_s:.2f} s: {what}" for what in found]
        last = one.run_apart("--trt-baselines=update")
        if last.ret:
            wrong.append(f"the run after them: exit status {last.ret}\n{last.output}")
        wrong += [f"after a whole run: {name}" for name in half_files(one.path)]
    done(wrong, f"{rounds} killed runs of {whole_s:.1f} s")


if __name__ == "__main__":
    main()
