"""Users of one machine share its devices and, in a group, a cache: whoever comes first shuts nobody out.

    python bench/faults/two_users.py [--long] [--seed N]        as root

Short: 10 rounds. Long: 1,000. In each, users in an order by chance, with umasks by chance, take a device and an engine;
and another has spoilt the folder of the locks in some way.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from gated import arguments, done
from records_example import built

from pytest_trtgate.cache import EngineCache
from pytest_trtgate.jobs import LocalLauncher
from pytest_trtgate.records import EngineRecord

GROUP = 3000
USERS = (2001, 2002, 2003)


def as_user(user: int, umask: int, work: Callable[[], None]) -> Callable[[], int]:
    """Begin work as a user, in a copy of this process; return what waits for its exit status."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgroups([GROUP])
            os.setgid(GROUP)
            os.setuid(user)
            os.umask(umask)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        os._exit(status)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def hold(locks: Path, spans: Path) -> None:
    """Hold the device for a moment, and note from when to when."""
    with LocalLauncher(locks=locks, ahead=False).hold_device("cpu", lambda _: None):
        began_ns = time.monotonic_ns()
        time.sleep(0.05)
        (spans / str(os.getpid())).write_text(f"{began_ns} {time.monotonic_ns()}")


def use(cache: Path, key: str, made: Path) -> None:
    """Get an engine from the shared cache."""

    def build(folder: Path) -> EngineRecord:
        (made / f"{key}-{os.getpid()}").touch()
        return built(folder, key)

    engine = EngineCache(cache).obtain(key, build)
    assert (Path(engine.entry or "") / engine.artifact).read_bytes()


def spoil(locks: Path, how: str) -> None:
    """Do to the folder of the locks what another user can."""
    if how == "link":
        locks.symlink_to(locks.parent)
    elif how != "nothing":
        locks.mkdir()
        os.chown(locks, USERS[0], GROUP)
        locks.chmod(0o700 if how == "his own" else 0o1777)
        if how == "FIFO":
            os.mkfifo(locks / "device-cpu.lock")
        if how == "locked away":
            (locks / "device-cpu.lock").touch(0o600)
            os.chown(locks / "device-cpu.lock", USERS[0], GROUP)


def one_round(folder: Path, chance: random.Random) -> list[str]:
    """Return what is wrong of one round."""
    how = chance.choice(["nothing", "link", "his own", "FIFO", "locked away"])
    locks, cache, spans, made = (folder / name for name in ("locks", "cache", "spans", "made"))
    spoil(locks, how)
    for place in (cache, spans, made):
        place.mkdir()
        os.chown(place, 0, GROUP)
        place.chmod(0o2775)
    key = f"{chance.getrandbits(256):064x}"
    users = chance.sample(USERS, len(USERS))
    waits = [as_user(user, chance.choice([0o002, 0o022, 0o077]), lambda: hold(locks, spans)) for user in users]
    wrong = [f"locks, {how}: user {user} failed" for user, wait in zip(users, waits, strict=True) if wait()]
    times = sorted(tuple(map(int, path.read_text().split())) for path in spans.iterdir())
    if any(one[1] > other[0] for one, other in pairwise(times)):
        wrong.append(f"locks, {how}: two users held the device at once")
    waits = [as_user(user, chance.choice([0o002, 0o007]), lambda: use(cache, key, made)) for user in users]
    wrong += [f"cache: user {user} failed" for user, wait in zip(users, waits, strict=True) if wait()]
    if len(list(made.iterdir())) != 1:
        wrong.append(f"cache: built {len(list(made.iterdir()))} times")
    return wrong


def main() -> None:
    given = arguments(__doc__ or "")
    if os.geteuid():
        print("left out: needs root, to become other users")
        return
    chance, wrong = random.Random(given.seed), list[str]()
    rounds = 1000 if given.long else 10
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="trtgate-faults-") as folder:
            place = Path(folder)
            place.chmod(0o1777)
            wrong += [f"round {number}: {what}" for what in one_round(place, chance)]
    done(wrong, f"{rounds} rounds of {len(USERS)} users")


if __name__ == "__main__":
    main()
