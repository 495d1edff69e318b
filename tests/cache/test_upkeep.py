"""Looking after the engine cache: listing, verifying and pruning, by the API and by ``trtgate cache``."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from records_example import built

from pytest_trtgate.cache.engines import EngineCache, verify_entry
from pytest_trtgate.cache.pins import pin
from pytest_trtgate.cache.place import default_root
from pytest_trtgate.cli import main
from pytest_trtgate.locks import Lock
from pytest_trtgate.records.engine import EngineRecord

DAY = 86400.0


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    """A cache with engines ``a``, ``b`` and ``c``, last used 40, 20 and 0 days ago."""
    cache = EngineCache(tmp_path / "cache")
    for key, days in (("a" * 64, 40), ("b" * 64, 20), ("c" * 64, 0)):
        used = time.time() - days * DAY
        os.utime(store(cache, key).entry, (used, used))
    return cache


def store(cache: EngineCache, key: str) -> EngineRecord:
    """Put an engine into a cache."""

    record = cache.obtain(key, lambda folder: built(folder, key, key[0]))
    cache.close()
    return record


def names(cache: EngineCache) -> str:
    """Return the first letters of the keys in a cache."""
    return "".join(entry.path.name[0] for entry in cache.entries())


def test_entries_come_in_order_with_their_manifests(cache: EngineCache) -> None:
    entries = list(cache.entries())
    assert [e.manifest.cell.model for e in entries if e.manifest] == ["a", "b", "c"]
    assert all(e.size_bytes > 64_000 and not e.problem for e in entries)


def test_a_cache_that_was_never_used_is_empty(tmp_path: Path) -> None:
    assert list(EngineCache(tmp_path / "none").entries()) == []
    assert EngineCache(tmp_path / "none").prune(0) == []
    assert not (tmp_path / "none").exists()


def test_serving_an_engine_counts_as_use(cache: EngineCache) -> None:
    assert store(cache, "a" * 64).from_cache
    assert cache.prune(30 * DAY) == []


def test_pruning_deletes_what_was_not_used_for_so_long(cache: EngineCache) -> None:
    gone = cache.prune(30 * DAY)
    assert [entry.path.name[0] for entry in gone] == ["a"]
    assert names(cache) == "bc"


def test_pruning_deletes_what_is_damaged(cache: EngineCache) -> None:
    (cache.root / "engines" / ("c" * 64) / "manifest.json").write_text("{")
    assert [entry.path.name[0] for entry in cache.prune(1000 * DAY)] == ["c"]
    assert names(cache) == "ab"


def test_pruning_deletes_what_was_set_aside(cache: EngineCache) -> None:
    (cache.root / "engines" / ("c" * 64) / "engine.onnx").write_bytes(b"")
    store(cache, "c" * 64)
    assert len(list((cache.root / "damaged").iterdir())) == 1
    cache.prune(1000 * DAY)
    assert not (cache.root / "damaged").exists()
    assert names(cache) == "abc"


def test_pruning_removes_the_locks_of_engines_that_are_gone(cache: EngineCache) -> None:
    locks = cache.root / "locks"
    with Lock(locks / f"{'d' * 64}.lock").held():  # being built
        cache.prune(30 * DAY)
        assert sorted(path.name[0] for path in locks.iterdir()) == ["b", "b", "c", "c", "d"]
    cache.prune(0)
    assert list(locks.iterdir()) == []


def test_leftovers_of_killed_builds_go_after_a_day(cache: EngineCache) -> None:
    fresh, stale = (f"{letter * 64}-{'0' * 32}" for letter in "ef")
    for name, days in ((fresh, 0.5), (stale, 1.5)):
        folder = cache.root / "tmp" / name
        folder.mkdir()
        used = time.time() - days * DAY
        os.utime(folder, (used, used))
    store(cache, "d" * 64)
    assert [p.name for p in (cache.root / "tmp").iterdir()] == [fresh]


def test_a_build_published_while_leftovers_are_swept_is_no_error(
    cache: EngineCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, published = (f"{letter * 64}-{'0' * 32}" for letter in "ef")
    (cache.root / "tmp" / other).mkdir()
    real = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([*real(self, pattern), self / published]))
    store(cache, "d" * 64)
    assert (cache.root / "tmp" / other).exists()


def test_verifying_reads_every_byte(cache: EngineCache) -> None:
    entry = cache.root / "engines" / ("b" * 64)
    assert verify_entry(entry).problem == ""
    content = bytearray((entry / "engine.onnx").read_bytes())
    content[-1] ^= 1
    (entry / "engine.onnx").write_bytes(content)
    assert verify_entry(entry).problem == "the bytes of engine.onnx have changed"


def test_engines_are_kept_in_the_users_cache_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_root().name == "pytest-trtgate"


# The command


def test_list_shows_each_engine_and_the_sum(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "list", "--cache-dir", str(cache.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["a" * 12, "0.1", "MB", "used", "40.0", "days", "ago", "a-fp16-320-b1-onnxruntime-cpu"]
    assert lines[-1] == f"3 engines, 0.2 MB in {cache.root}"


def test_list_shows_what_is_wrong_with_an_engine(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    (cache.root / "engines" / ("a" * 64) / "manifest.json").unlink()
    assert main(["cache", "list", "--cache-dir", str(cache.root)]) == 0
    assert "unusable: " in capsys.readouterr().out.splitlines()[0]


def test_verify_fails_where_a_byte_differs(cache: EngineCache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cache", "verify", "--cache-dir", str(cache.root)]) == 0
    assert capsys.readouterr().out == f"3 engines checked in {cache.root}, 0 damaged\n"
    (cache.root / "engines" / ("b" * 64) / "engine.onnx").write_bytes(b"")
    assert main(["cache", "verify", "--cache-dir", str(cache.root)]) == 1
    out = capsys.readouterr().out
    assert "engine.onnx has 0 bytes, not 64000" in out
    assert out.endswith(f"3 engines checked in {cache.root}, 1 damaged\n")


@pytest.mark.parametrize(("days", "left"), [("30", "bc"), ("10", "c"), ("0", ""), ("100.5", "abc")])
def test_prune_takes_days(cache: EngineCache, capsys: pytest.CaptureFixture[str], days: str, left: str) -> None:
    command = ["cache", "prune", "--cache-dir", str(cache.root), "--older-than", days]
    assert main(command) == (1 if left != "abc" else 0)
    *listed, last = capsys.readouterr().out.splitlines()
    assert last == f"{3 - len(left)} engines and 0 measured accuracies unused in {cache.root}; --yes deletes them"
    assert "".join(sorted(line[0] for line in listed)) == "abc".removesuffix(left)
    assert names(cache) == "abc"
    assert main([*command, "--yes"]) == 0
    assert capsys.readouterr().out == f"{3 - len(left)} engines and 0 measured accuracies deleted from {cache.root}\n"
    assert names(cache) == left


def test_the_folder_comes_from_the_settings(
    cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trtgate.toml").write_text('cache_dir = "cache"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["cache", "list"]) == 0
    assert capsys.readouterr().out.endswith(f"3 engines, 0.2 MB in {cache.root}\n")


# Engines that baselines name


def name_engine(folder: Path, key: str) -> Path:
    """Write what matters of a baseline that names an engine; return the baseline folder."""
    path = folder / "cpu-x" / "model" / "fp16-320-b1.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"cache_key": key}))
    return folder


def test_pruning_keeps_what_a_baseline_names(cache: EngineCache, tmp_path: Path) -> None:
    pin(cache.root, name_engine(tmp_path / "baselines", "a" * 64))
    assert [entry.path.name[0] for entry in cache.prune(10 * DAY)] == ["b"]
    assert names(cache) == "ac"


def test_projects_that_share_a_cache_pin_apart(cache: EngineCache, tmp_path: Path) -> None:
    for key in "ab":
        pin(cache.root, name_engine(tmp_path / f"project-{key}" / "baselines", key * 64))
    cache.prune(0)
    assert names(cache) == "ab"


def test_a_baseline_of_another_engine_lets_the_old_one_go(cache: EngineCache, tmp_path: Path) -> None:
    baselines = name_engine(tmp_path / "baselines", "a" * 64)
    pin(cache.root, baselines)
    shutil.rmtree(baselines)
    pin(cache.root, name_engine(tmp_path / "baselines", "b" * 64))
    cache.prune(0)
    assert names(cache) == "b"
    shutil.rmtree(baselines)
    pin(cache.root, baselines)
    cache.prune(0)
    assert names(cache) == ""


def test_pins_of_a_project_that_is_gone_end_with_time(cache: EngineCache, tmp_path: Path) -> None:
    baselines = name_engine(tmp_path / "baselines", "a" * 64)
    pin(cache.root, baselines)
    shutil.rmtree(baselines)
    cache.prune(30 * DAY)
    assert names(cache) == "abc"
    [path] = (cache.root / "pins").iterdir()
    os.utime(path, (time.time() - 31 * DAY,) * 2)
    cache.prune(30 * DAY)
    assert names(cache) == "bc"


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_a_damaged_baseline_or_pin_is_no_obstacle(cache: EngineCache, tmp_path: Path, text: str) -> None:
    baselines = name_engine(tmp_path / "baselines", "a" * 64)
    other = baselines / "cpu-x" / "model" / "int8-320-b1.json"
    other.write_text(text)
    pin(cache.root, baselines)
    (cache.root / "pins" / "other.json").write_text(text)
    cache.prune(0)
    assert names(cache) == "a"


def test_the_command_pins_what_the_projects_baselines_name(
    cache: EngineCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name_engine(tmp_path / "accepted", "a" * 64)
    (tmp_path / "trtgate.toml").write_text('cache_dir = "cache"\nbaseline_dir = "accepted"\n')
    monkeypatch.chdir(tmp_path)
    assert main(["cache", "prune", "--yes", "--older-than", "0"]) == 0
    sentence = f"2 engines and 0 measured accuracies deleted from {cache.root}; 1 kept, since baselines name them\n"
    assert capsys.readouterr().out == sentence
    assert names(cache) == "a"
