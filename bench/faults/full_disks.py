"""Fills the disk of cache, reports, baselines and locks: a run is then red, unless all its files are whole.

    python bench/faults/full_disks.py [--long] [--seed N]        as root

Each place gets a file system of so many kilobytes or files; there must be no traceback and no half file, and once there
is space the next run is green. Short: 6 disks. Long: 60, of sizes by chance.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

from gated import arguments, done, half_files, in_own_mounts, project

DISKS = [
    ("cache", "size=4k"),
    ("cache", "size=1m,nr_inodes=6"),
    ("reports", "size=16k"),
    ("reports", "size=160k"),
    ("baselines", "size=1m,nr_inodes=2"),
    ("device-locks", "size=4k,nr_inodes=1"),
]
ROOM = "size=64m,nr_inodes=10000"
WRITTEN = ("reports/run.json", "reports/trtgate.html", "reports/trtgate.csv")


def mount(folder: Path, options: str) -> None:
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)


def tried(place: str, options: str) -> list[str]:
    """Return what is wrong of a run on a small disk, and of the next one, which has room."""
    wrong = []
    with project(inline=True) as one:
        disk = one.path / place
        mount(disk, options)
        try:
            run = one.run_apart("--trt-baselines=update")
            whole = all((one.path / name).exists() for name in WRITTEN) and any(one.path.glob("baselines/*/*/*.json"))
            if "INTERNALERROR" in run.output or "Traceback (most recent" in run.output:
                wrong.append(f"a traceback\n{run.output}")
            if run.ret == 0 and not whole:
                wrong.append("green without its files")
            if run.ret and "No space left" not in run.output and "no space left" not in run.output:
                wrong.append(f"red without a word of space\n{run.output}")
            wrong += [f"a half file: {name}" for name in half_files(one.path)]
            subprocess.run(["mount", "-o", f"remount,{ROOM}", disk], check=True)
            again = one.run_apart("--trt-baselines=update")
            if again.ret:
                wrong.append(f"with room: exit status {again.ret}\n{again.output}")
        finally:
            subprocess.run(["umount", "-l", disk], check=True)
    print(f"{place} of {options}: exit status {run.ret}, then {again.ret}", flush=True)
    return [f"{place} of {options}: {what}" for what in wrong]


def main() -> None:
    in_own_mounts()
    given = arguments(__doc__ or "")
    chance, disks = random.Random(given.seed), list(DISKS)
    for _ in range(54 if given.long else 0):
        inodes = chance.choice(["", f",nr_inodes={chance.randint(1, 60)}"])
        disks.append((chance.choice(DISKS)[0], f"size={4 * chance.randint(1, 80)}k{inodes}"))
    done([what for disk in disks for what in tried(*disk)], f"{len(disks)} full disks")


if __name__ == "__main__":
    main()
