"""The engine cache where things go wrong: failed and killed builds, bad disks, several processes at once."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import Project, wait_for

from pytest_trtgate.cache.engines import EngineCache, verify_entry

ONE = ("--trt-precision=int8", "-k", "accuracy")
"""The shortest run with a verdict."""


# Failing builds and disks


def test_a_failed_build_leaves_no_entry(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    project.run(*ONE).assert_outcomes(failed=1, deselected=1)
    assert list((project.path / "cache" / "engines").iterdir()) == []
    assert list((project.path / "cache" / "tmp").iterdir()) == []


def fail_for(precision: str, code: int, cell: list[str]) -> Callable[..., Any]:
    """Return a replacement of the cache's ``obtain`` that fails for one precision as a file system does."""
    real = EngineCache._store

    def store(self: EngineCache, key: str, build: Callable[[Path], Any]) -> Any:
        def failing(folder: Path) -> Any:
            record = build(folder)
            if record.cell.precision == precision:
                cell.append(key)
                raise OSError(code, os.strerror(code), str(folder / "engine.onnx"))
            return record

        return real(self, key, failing)

    return store


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "no space left for engines; free some, or name another --trt-cache-dir"),
        (errno.EDQUOT, "no space left for engines; free some, or name another --trt-cache-dir"),
        (errno.EACCES, "the engine cache is not writable; name another --trt-cache-dir"),
        (errno.EROFS, "the engine cache is not writable; name another --trt-cache-dir"),
        (errno.EIO, "the engine cache failed ("),
    ],
    ids=["full", "quota", "forbidden", "read-only", "broken"],
)
def test_a_bad_disk_costs_the_cell_and_the_rest_goes_on(
    project: Project, monkeypatch: pytest.MonkeyPatch, code: int, sentence: str
) -> None:
    hit: list[str] = []
    monkeypatch.setattr(EngineCache, "_store", fail_for("fp16", code, hit))
    result = project.run("--trt-baselines=add")
    result.assert_outcomes(passed=4, failed=2)
    assert project.outcomes("accuracy") == {"fp32": "PASS", "fp16": "ERROR", "int8": "PASS"}
    assert sentence in project.verdict("fp16", "accuracy").summary
    assert len(hit) == 1
    assert hit[0] not in [p.name for p in (project.path / "cache" / "engines").iterdir()]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_cache_is_named(project: Project) -> None:
    (project.path / "cache").mkdir(mode=0o500)
    project.run(*ONE).assert_outcomes(failed=1, deselected=1)
    assert "the engine cache is not writable" in project.verdict("int8", "accuracy").summary


# Several processes, and killed ones


def test_a_build_that_is_killed_leaves_no_half_entry(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "hang"}))
    project.use_processes()
    process = project.start(*ONE)
    half = wait_for(lambda: list((project.path / "cache").glob("tmp/*/half-written.onnx")))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert half[0].exists()
    assert list((project.path / "cache" / "engines").iterdir()) == []

    healthy = Behaviour()
    healthy.save(project.path / "shapes.pt")
    project.run(*ONE).assert_outcomes(passed=1, deselected=1)
    assert verify_entry(project.entry("int8")).problem == ""
