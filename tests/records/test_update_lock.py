"""Of several processes that change files of one folder, each sees what the others wrote."""

from __future__ import annotations

import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pytest_trtgate.errors import RecordError
from pytest_trtgate.records.files import write_whole
from pytest_trtgate.records.update_lock import updating


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture(params=["locks", "no locks", "no fcntl"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system with locks, one without, and an operating system without."""
    if request.param == "no locks":
        monkeypatch.setattr("fcntl.flock", no_locks)
    if request.param == "no fcntl":
        monkeypatch.setattr("pytest_trtgate.records.update_lock.fcntl", None)
    return str(request.param)


@pytest.mark.usefixtures("system")
def test_no_change_is_lost(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"

    def add(number: int) -> None:
        with updating(folder):
            path = folder / "numbers"
            write_whole(path, (path.read_bytes() if path.exists() else b"") + b"%d\n" % number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))
    assert sorted(map(int, (folder / "numbers").read_text().split())) == list(range(40))
    assert [path.name for path in folder.iterdir()] == ["numbers"]


def test_who_waits_too_long_says_for_what(tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_trtgate.records.update_lock.WAIT_S", 0.1)
    with (
        updating(tmp_path),
        pytest.raises(RecordError, match="another process has been changing files here") as e,
        updating(tmp_path),
    ):
        pass
    assert ("delete" in str(e.value)) is (system != "locks")
    with updating(tmp_path):
        pass


def test_a_folder_into_which_nothing_was_written_is_not_left(tmp_path: Path) -> None:
    with updating(tmp_path / "new"):
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"file: cannot be written \(File exists\)"), updating(tmp_path / "file"):
        pass
