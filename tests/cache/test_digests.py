"""Digests of files that have not changed are looked up."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pytest_trtgate.cache import digests as filedigests
from pytest_trtgate.cache.digests import FileDigests
from pytest_trtgate.cache.prune import prune


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the files whose bytes are read, as they are; files of this very moment count as settled."""
    names: list[str] = []
    compute = filedigests.file_sha256
    monkeypatch.setattr(filedigests, "SETTLED_NS", -1_000_000_000)
    monkeypatch.setattr(filedigests, "file_sha256", lambda path: (names.append(path.name), compute(path))[1])
    return names


def digests(folder: Path, fresh: bool = False) -> FileDigests:
    return FileDigests(folder / "cache", folder / "data.yaml", fresh)


def stored(folder: Path) -> Path:
    """Return the only table that is stored."""
    [path] = (folder / "cache" / "digests").iterdir()
    return path


def known(folder: Path, name: str = "a.png") -> Path:
    """Write a file and have its digest stored."""
    path = folder / name
    path.write_bytes(b"before")
    table = digests(folder)
    table.sha256(path)
    table.save()
    return path


def test_an_unchanged_file_is_read_once_for_all_runs(tmp_path: Path, read: list[str]) -> None:
    path = known(tmp_path)
    again = digests(tmp_path)
    assert again.sha256(path) == hashlib.sha256(b"before").hexdigest()
    assert read == ["a.png"]
    again.save()
    assert digests(tmp_path, fresh=True).sha256(path) == again.sha256(path)
    assert read == ["a.png"] * 2


def test_a_file_of_the_same_size_and_time_is_read_again_where_it_was_written(tmp_path: Path, read: list[str]) -> None:
    path = known(tmp_path)
    old = path.stat()
    path.write_bytes(b"behind")
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert digests(tmp_path).sha256(path) == hashlib.sha256(b"behind").hexdigest()


def test_a_file_that_was_put_in_the_place_of_another_is_read(tmp_path: Path, read: list[str]) -> None:
    path = known(tmp_path)
    (tmp_path / "b.png").write_bytes(b"behind")
    (tmp_path / "b.png").replace(path)
    assert digests(tmp_path).sha256(path) == hashlib.sha256(b"behind").hexdigest()


def test_a_file_that_was_written_just_now_is_not_believed_later(
    tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filedigests, "SETTLED_NS", 2_000_000_000)
    digests(tmp_path).sha256(known(tmp_path))
    assert read == ["a.png"] * 2


def test_a_table_keeps_what_others_know_and_forgets_files_that_are_gone(tmp_path: Path, read: list[str]) -> None:
    first, second = known(tmp_path, "a.png"), known(tmp_path, "b.png")
    known(tmp_path, "c.png").unlink()
    known(tmp_path, "d.png")
    table = digests(tmp_path)
    assert (table.sha256(first), table.sha256(second)) == (hashlib.sha256(b"before").hexdigest(),) * 2
    assert read == ["a.png", "b.png", "c.png", "d.png"]
    assert "c.png" not in stored(tmp_path).read_text()


def test_a_damaged_table_is_as_good_as_none(tmp_path: Path, read: list[str]) -> None:
    path = known(tmp_path)
    store = stored(tmp_path)
    store.write_bytes(store.read_bytes()[:-9])
    assert digests(tmp_path).sha256(path) == hashlib.sha256(b"before").hexdigest()
    assert digests(tmp_path / "elsewhere").sha256(path)


def test_digests_that_no_run_has_used_for_long_are_deleted(tmp_path: Path, read: list[str]) -> None:
    known(tmp_path)
    store = stored(tmp_path)
    for used in (True, False):
        os.utime(store, (0, 0))
        if used:
            digests(tmp_path)
        prune(tmp_path / "cache", 3600)
        assert store.exists() == used
