"""A project with fake jobs, gated in processes of its own, and what must be true of its files whatever happened."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from fake_jobs import Behaviour  # noqa: E402
from project import Project  # noqa: E402

from pytest_trtgate.cache import EngineCache, verify_entry  # noqa: E402

SETTINGS = """
models = ["shapes.pt"]
data = "data/data.yaml"
imgsz = 320
cache_dir = "cache"
precisions = ["fp32", "int8"]
keep_runs = 3

[latency]
samples = 60
launches = 2
"""


def arguments(about: str) -> argparse.Namespace:
    """Return the options of a script: a short form for CI, a long one for people, and what chance begins with."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true", help="as a person runs it: for an hour or so")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6, help="of chance (default: by the time)")
    given = parser.parse_args()
    print(f"{Path(sys.argv[0]).name}: {'long' if given.long else 'short'}, --seed={given.seed}", flush=True)
    return given


def in_own_mounts() -> None:
    """Go on as root in a namespace of mounts of its own; end well, and say why, where there can be none."""
    if os.environ.get("TRTGATE_OWN_MOUNTS"):
        return
    if os.geteuid() or subprocess.run(["unshare", "-m", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        print("left out: needs root that may unshare mounts")
        raise SystemExit(0)
    os.environ["TRTGATE_OWN_MOUNTS"] = "1"
    sys.stdout.flush()
    os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])


@contextmanager
def project(inline: bool = False, slow_s: float = 0.0) -> Iterator[Project]:
    """Give a project in a temporary folder, whose jobs take so long."""
    with tempfile.TemporaryDirectory(prefix="trtgate-faults-") as folder:
        found = Project(Path(folder).resolve())
        found.weights(Behaviour(seconds=slow_s))
        found.settings(base=SETTINGS)
        if not inline:
            found.use_processes(ahead=True)
        yield found


def half_files(folder: Path) -> list[str]:
    """Return what is not whole of a project's reports, baselines and engines."""
    bad = []
    for path in (*folder.glob("reports/run.json"), *folder.glob("baselines/*/*/*.json")):
        try:
            json.loads(path.read_text())
        except (OSError, ValueError):
            bad.append(path.name)
    ends = {"reports/trtgate.html": "</html>", "reports/trtgate.csv": ""}
    for name, end in ends.items():
        if (path := folder / name).exists() and not path.read_text().rstrip("\n").endswith(end):
            bad.append(name)
    problems = (verify_entry(entry.path).problem for entry in EngineCache(folder / "cache").entries())
    return bad + list(filter(None, problems))


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of processes that work in a folder or name it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            works_in, state = str((process / "cwd").readlink()), (process / "stat").read_text().rpartition(") ")[2][0]
        except OSError:
            continue
        if (str(folder) in command or works_in.startswith(str(folder))) and state != "Z":
            found.append(command)
    return found


def end_of_processes(folder: Path, seconds: float = 20.0) -> list[str]:
    """Return which processes of a folder are still there after a while."""
    deadline = time.monotonic() + seconds
    while (left := processes_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def done(wrong: list[str], what: str) -> None:
    """Say how it went and end, with exit status 1 where something is wrong."""
    for line in wrong:
        print(f"WRONG: {line}")
    print(f"{what}: {f'{len(wrong)} wrong' if wrong else 'all well'}")
    raise SystemExit(bool(wrong))
