"""Locks: they exclude whoever made what is in their place, touch nothing else, and say who holds them."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_trtgate.locks import Lock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "locks" / "device-cpu.lock"


def everybodys(path: Path) -> Lock:
    """Return a lock that users of the machine share who do not trust each other."""
    return Lock(path, for_all_users=True)


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    one, other = (Lock(tmp_path / "lock") for _ in range(2))
    assert one.take()
    assert not other.take()
    one.release()
    assert other.take()


def test_those_who_share_a_lock_keep_off_who_wants_it_alone(tmp_path: Path) -> None:
    one, other = (Lock(tmp_path / "lock", shared=True) for _ in range(2))
    assert one.take()
    assert other.take()
    assert not Lock(tmp_path / "lock").take()


def test_a_killed_process_leaves_its_lock_to_others(path: Path) -> None:
    hold = "import sys, pathlib\nfrom pytest_trtgate.locks import Lock\n"
    hold += "lock = Lock(pathlib.Path(sys.argv[1]), for_all_users=True)\nprint(lock.take(), flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", hold, path], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "True\n"
        assert not everybodys(path).take()
        assert f" (process {holder.pid} in {Path.cwd()}, since " in everybodys(path).holder()
        holder.kill()
    assert everybodys(path).take()


def test_a_lock_file_that_is_deleted_while_it_is_taken_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock

    def late(opened: int, how: int) -> None:
        (tmp_path / "lock").unlink()
        real(opened, how)

    lock = Lock(tmp_path / "lock")
    monkeypatch.setattr(fcntl, "flock", late)
    assert not lock.take()
    monkeypatch.undo()
    assert lock.take()
    assert not Lock(tmp_path / "lock").take()


def test_the_lock_of_all_users_lets_each_put_files_beside_it(path: Path) -> None:
    before = os.umask(0o077)
    try:
        assert everybodys(path).take()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o666
    assert path.parent.stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize("how", ["link", "folder", "FIFO", "folder behind a link", "second name", "unreadable"])
def test_what_another_user_puts_in_the_place_of_a_lock_is_left_alone_and_spoils_nothing(path: Path, how: str) -> None:
    victim = path.parents[1] / "victim"
    victim.mkdir()
    thesis = victim / "thesis.tex"
    thesis.write_text("years of work")
    if how == "folder behind a link":
        path.parent.symlink_to(victim)
    else:
        path.parent.mkdir()
    if how == "link":
        path.symlink_to(thesis)
    elif how == "folder":
        path.mkdir()
    elif how == "FIFO":
        os.mkfifo(path)
    elif how == "second name":
        path.hardlink_to(thesis)
    elif how == "unreadable":
        path.touch(0o000)
    held = everybodys(path)
    assert held.take()
    assert not everybodys(path).take()
    assert thesis.read_text() == "years of work"
    assert list(victim.iterdir()) == [thesis]


def no_locks(opened: int, how: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_a_file_system_without_locks_excludes_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    held = Lock(tmp_path / "lock")
    assert held.take()
    assert not Lock(tmp_path / "lock").take()
    assert Lock(tmp_path / "other").take()


def test_a_lock_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Lock(tmp_path / "missing" / "lock").take()


def test_a_wait_is_told_of_and_ends_at_its_limit(tmp_path: Path) -> None:
    told: list[str] = []
    assert Lock(tmp_path / "lock").acquire(limit_s=0)
    held = Lock(tmp_path / "lock")
    assert held.take()
    assert not Lock(tmp_path / "lock").acquire(limit_s=0.8, waiting=told.append)
    assert len(told) == 1
    assert f"(process {os.getpid()} in " in told[0]


@pytest.mark.parametrize(
    "lie", [b"", b"\x1b[2J", b"7", b"7 yesterday /home", b"x 2026-01-01T00:00:00+00:00 /", b"\xff" * 5000]
)
def test_what_is_no_note_of_a_holder_is_not_shown(tmp_path: Path, lie: bytes) -> None:
    (tmp_path / "lock").write_bytes(lie)
    assert Lock(tmp_path / "lock").holder() == ""


def test_the_note_of_a_holder_is_one_clean_line(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"7 2026-01-01T00:00:00+00:00 /home\x1b[2J\n::error::" + b"x" * 900)
    said = Lock(tmp_path / "lock").holder()
    assert said.startswith(" (process 7 in /home ::error::x")
    assert said.endswith(", since 2026-01-01 00:00:00 UTC)")
    assert len(said) < 200


def test_a_lock_that_is_ours_is_not_opened_again(tmp_path: Path) -> None:
    def opened() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    lock = Lock(tmp_path / "lock", shared=True)
    assert lock.take()
    before = opened()
    assert all(lock.take() for _ in range(10))
    assert opened() == before
    lock.release()
    assert opened() == before - 1
