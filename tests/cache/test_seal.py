"""With a secret in the environment, only what was written with it is taken from the cache."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.cache.seal import UnsealedError, load_sealed, save_sealed
from pytest_trtgate.errors import RecordError
from pytest_trtgate.jobs.contract import SplitFacts
from pytest_trtgate.jobs.processes import child_environment
from pytest_trtgate.settings import CACHE_KEY

ONE = ("--trt-precision=fp16", "-k", "accuracy")
FACTS = SplitFacts(images=3)


@pytest.fixture
def project(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose engine and accuracy were cached by a run with the secret."""
    monkeypatch.setenv(CACHE_KEY, "secret" * 6)
    seen = {"pt": {"score": 0.9}, "fp16": {"score": 0.9}}
    project.weights(Behaviour(seen=seen))
    project.run(*ONE).assert_outcomes(passed=1, deselected=1)
    return project


def lines(project: Project) -> str:
    """Return what a run of the same cell says; it must pass."""
    result = project.run(*ONE)
    result.assert_outcomes(passed=1, deselected=1)
    return result.stdout.str()


def test_what_was_written_with_the_secret_is_used_by_who_has_it_and_who_has_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not believed" not in lines(project)
    assert all(accuracy.reused for accuracy in project.record.accuracies)
    monkeypatch.delenv(CACHE_KEY)
    lines(project)
    assert all(accuracy.reused for accuracy in project.record.accuracies)
    assert project.engine("fp16").from_cache


def test_an_edited_accuracy_is_measured_anew_and_named(project: Project) -> None:
    for path in project.path.glob("cache/results/*/accuracy.json"):
        path.write_text(path.read_text().replace('"images": 4', '"images": 5'))
    said = lines(project)
    assert said.count("not believed, and measured anew: results/") == 2
    assert "accuracy.json has no seal of TRTGATE_CACHE_KEY" in said
    assert not any(accuracy.reused for accuracy in project.record.accuracies)


def test_what_was_written_without_the_secret_is_built_measured_and_looked_at_anew(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(project.path / "cache")
    monkeypatch.delenv(CACHE_KEY)
    lines(project)
    monkeypatch.setenv(CACHE_KEY, "secret" * 6)
    said = lines(project)
    assert "(manifest.json has no seal of TRTGATE_CACHE_KEY); set aside in" in said
    assert "not believed, and measured anew: results/" in said
    assert "not believed, and looked at anew: preflight/" in said
    assert not project.engine("fp16").from_cache
    # What was built anew is sealed.
    assert "TRTGATE_CACHE_KEY" not in lines(project)
    assert project.engine("fp16").from_cache


@pytest.mark.parametrize("changed", ["text", "place", "secret", "seal", "none"])
def test_a_seal_is_of_one_text_place_and_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    path = tmp_path / "a.json"
    monkeypatch.setenv(CACHE_KEY, "secret" * 6)
    save_sealed(path, "preflight/a", FACTS)
    assert load_sealed(path, "preflight/a", SplitFacts) == FACTS
    text = path.read_text()
    if changed == "secret":
        monkeypatch.setenv(CACHE_KEY, "another" * 6)
    elif changed == "none":
        path.write_text(json.dumps({k: v for k, v in json.loads(text).items() if k != "hmac"}))
    else:
        path.write_text(
            {"text": text.replace("3", "4", 1), "seal": text.replace('"hmac": "', '"hmac": "0')}.get(changed, text)
        )
    with pytest.raises(UnsealedError):
        load_sealed(path, "preflight/b" if changed == "place" else "preflight/a", SplitFacts)


def test_without_a_secret_nothing_is_written_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CACHE_KEY, raising=False)
    save_sealed(tmp_path / "a.json", "a", FACTS)
    assert "hmac" not in (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(RecordError, match="no schema_version"):
        load_sealed(tmp_path / "a.json", "a", SplitFacts)


def test_jobs_do_not_get_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_KEY, "secret" * 6)
    assert CACHE_KEY not in child_environment()
    assert os.environ[CACHE_KEY] == "secret" * 6
