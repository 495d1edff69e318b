"""The cache's folder: marked, refused where it holds other things, shared by a group, and read where read-only."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import Project, wait_for
from records_example import built

from pytest_trtgate.cache import EngineCache, default_root, engines, pin, prune
from pytest_trtgate.cache.place import TAG, claim, why_foreign
from pytest_trtgate.cli import main
from pytest_trtgate.errors import CacheError, JobError
from pytest_trtgate.locks import Lock
from pytest_trtgate.records.engine import EngineRecord

KEY = "a" * 64
DAY = 86400.0


def build(folder: Path) -> EngineRecord:
    """Build an engine, of which one file is for its owner alone, as some libraries leave them."""
    record = built(folder, KEY)
    (folder / record.artifact).chmod(0o600)
    return record


@pytest.fixture
def umask() -> Iterator[None]:
    """The umask of a group that works together."""
    before = os.umask(0o002)
    yield
    os.umask(before)


@pytest.fixture
def warm(tmp_path: Path) -> Path:
    """A cache that holds an engine."""
    cache = EngineCache(tmp_path / "cache")
    cache.obtain(KEY, build)
    return cache.root


def test_a_new_cache_is_marked(warm: Path) -> None:
    assert (warm / TAG).read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55\n# The cache of pytest-trt")


def test_a_marked_cache_may_hold_other_things_and_keeps_them(warm: Path) -> None:
    mine = [warm / "thesis.tex", *(warm / folder / "thesis.tex" for folder in ("engines", "tmp", "results", "damaged"))]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
        os.utime(path, (0, 0))
    (warm / "tmp" / f"{KEY}-link").symlink_to(warm / "engines")
    assert why_foreign(warm) == ""
    gone, _ = prune(warm, 0)
    assert [entry.path.name for entry in gone] == [KEY]
    assert all(path.exists() for path in mine)


@pytest.mark.parametrize("folder", ["engines", "results", "tmp"])
def test_what_a_link_leads_to_is_used_and_never_deleted(warm: Path, tmp_path: Path, folder: str) -> None:
    theirs, mine = warm / folder / KEY, tmp_path / "mine"
    theirs.mkdir(parents=True, exist_ok=True)
    os.utime(theirs, (0, 0))
    claim(mine)
    (mine / folder).symlink_to(warm / folder)
    told: list[str] = []
    assert prune(mine, 0, told.append) == ([], 0)
    assert theirs.exists()
    if folder == "engines":
        assert told == [f"the engines in {mine / folder} are left, since this is a link"]
        assert EngineCache(mine).obtain(KEY, lambda _: pytest.fail("built again")).from_cache
        assert [entry.path.name for entry in EngineCache(mine).entries()] == [KEY]


def test_who_waits_long_for_a_build_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_STUCK_S", 0.7)
    told: list[str] = []
    cache, held = EngineCache(tmp_path / "cache"), Lock(tmp_path / "cache" / "locks" / f"{KEY}.lock")
    held.path.parent.mkdir(parents=True)
    assert held.take()
    holder = f"waiting for another process that builds engine {KEY[:12]}{held.holder()}"

    def tell(sentence: str) -> None:
        told.append(sentence)
        if "end it" in sentence:
            held.release()

    cache.notify = tell
    cache.obtain(KEY, build)
    assert told == [holder, f"{holder}, for 0 min: if it does nothing, end it, and this run builds the engine"]


def test_who_builds_for_longer_than_any_job_may_take_is_waited_for_no_more(tmp_path: Path) -> None:
    cache, held = EngineCache(tmp_path / "cache", wait_s=0.7), Lock(tmp_path / "cache" / "locks" / f"{KEY}.lock")
    held.path.parent.mkdir(parents=True)
    assert held.take()
    with pytest.raises(JobError) as refused:
        cache.obtain(KEY, build)
    assert str(refused.value) == (
        f"engine {KEY[:12]}: another process has been building it for 0.7 s, longer than any job of this run may take"
        f"{held.holder()}; end that process, or raise the limits under timeouts"
    )
    held.release()
    assert not cache.obtain(KEY, build).from_cache


def test_a_cache_without_a_mark_in_which_all_is_its_own_is_adopted(warm: Path) -> None:
    (warm / TAG).unlink()
    (warm / "tmp" / "aaaaaaaaaaaa-b_9x1z2q").mkdir()  # as earlier versions named them
    assert EngineCache(warm).obtain(KEY, lambda _: pytest.fail("built again")).from_cache
    claim(warm)
    assert (warm / TAG).exists()


@pytest.mark.parametrize("name", ["thesis.tex", "engines/production/model.engine", "tmp/x", "results/run-7/a.json"])
def test_a_folder_of_other_things_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("years of work")
    for attempt in (lambda: EngineCache(tmp_path).obtain(KEY, build), lambda: prune(tmp_path, 0)):
        with pytest.raises(CacheError, match=r"which the cache did not make; name a folder that is new or empty"):
            attempt()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]


def test_what_is_no_file_is_no_mark(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / TAG)
    assert f"holds {TAG}, which the cache did not make" in why_foreign(tmp_path)


def test_a_cache_that_another_process_begins_meanwhile_is_no_strangers(tmp_path: Path) -> None:
    (tmp_path / f".{TAG}.{'a' * 32}").write_text("Sign")
    (tmp_path / "locks").mkdir()
    assert why_foreign(tmp_path) == ""


def test_a_project_marks_no_foreign_folder_with_its_baselines(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "baselines" / "machine" / "m").mkdir(parents=True)
    (tmp_path / "baselines" / "machine" / "m" / "fp16.json").write_text(json.dumps({"cache_key": KEY}))
    with pytest.raises(CacheError, match="holds baselines and 1 more, which the cache did not make"):
        pin(tmp_path, tmp_path / "baselines")
    assert not (tmp_path / "pins").exists()


def test_the_tag_of_another_program_is_no_mark(tmp_path: Path) -> None:
    (tmp_path / TAG).write_text("Signature: 8a477f597d28d172789f06886806bc55\n# Made by another program.\n")
    assert f"holds {TAG}, which the cache did not make" in why_foreign(tmp_path)


def test_the_projects_folder_is_no_cache(project: Project) -> None:
    result = project.run("--trt-cache-dir=.", "-k", "accuracy")
    result.stderr.fnmatch_lines(["*cache_dir: * holds *, which the cache did not make; name a folder that is new or *"])
    assert result.ret != 0
    assert not (project.path / "engines").exists()
    assert main(["cache", "prune", "--yes", "--cache-dir", str(project.path)]) == 1


@pytest.mark.usefixtures("umask")
def test_a_group_shares_what_one_of_them_built(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.mkdir(0o775)
    EngineCache(root).obtain(KEY, build)
    assert all(path.stat().st_mode & 0o060 == 0o060 for path in root.rglob("*"))


def test_a_cache_that_cannot_be_written_is_read(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("mkdir", "utime", "rename"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert EngineCache(warm).obtain(KEY, lambda _: pytest.fail("built again")).from_cache


def test_a_clock_that_is_ahead_takes_away_nothing(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    building = warm / "tmp" / ("b" * 64 + "-0")
    building.mkdir()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 2 * DAY)
    assert prune(warm, DAY) == ([], 0)
    assert building.exists()


def test_pruning_leaves_what_a_run_builds_or_uses(warm: Path) -> None:
    run, said = EngineCache(warm), list[str]()
    assert run.find(KEY)
    (warm / "tmp" / f"{'b' * 64}-0").mkdir()
    os.utime(warm / "tmp" / f"{'b' * 64}-0", (0, 0))
    with run._lock("b" * 64).held():
        assert prune(warm, 0, said.append) == ([], 0)
        assert (warm / "tmp" / f"{'b' * 64}-0").exists()
    assert said == [f"engine {KEY[:12]} is left, since a run uses it"]
    run.close()
    assert len(prune(warm, 0)[0]) == 1


def test_pruning_between_build_and_launches_costs_a_run_nothing(project: Project) -> None:
    project.use_processes()
    process = project.start("--trt-precision=fp16")
    wait_for(lambda: list(project.path.glob("reports/*-runs/*/records/engine-*.json")))
    assert main(["cache", "prune", "--yes", "--older-than", "0", "--cache-dir", str(project.path / "cache")]) == 0
    output, _ = process.communicate()
    assert process.returncode == 0, output


def test_an_engine_that_another_machine_published_first_is_taken(tmp_path: Path) -> None:
    """Of two machines that share a folder but not its locks."""
    other = EngineCache(tmp_path / "other")
    other.obtain(KEY, build)

    def build_late(folder: Path) -> EngineRecord:
        shutil.copytree(other.root / "engines", tmp_path / "cache" / "engines", dirs_exist_ok=True)
        return build(folder)

    assert EngineCache(tmp_path / "cache").obtain(KEY, build_late).from_cache
    assert list((tmp_path / "cache" / "tmp").iterdir()) == []


def test_without_a_home_the_cache_is_the_users_own_among_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: "~/.cache/pytest-trtgate")
    root = default_root()
    assert root.parent == tmp_path
    assert root.stat().st_mode & 0o777 == 0o700
    root.chmod(0o777)
    with pytest.raises(CacheError, match="another user may write here"):
        default_root()
