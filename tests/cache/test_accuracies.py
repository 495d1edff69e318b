"""Accuracies that are not measured again, and what makes them be."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import VERSIONS, Project, write_dataset
from records_example import SETTINGS, environment

from pytest_trtgate.cache.prune import prune
from pytest_trtgate.data.dataset import load_dataset
from pytest_trtgate.machine.packages import installed_versions
from pytest_trtgate.measuring.accuracies import VERSIONS as VERSIONS_OF_RESULTS
from pytest_trtgate.measuring.accuracies import result_parts
from pytest_trtgate.records.files import key_sha256

ONE = "--trt-precision=fp16"
ACCURACY = ("-k", "accuracy")
SEEN = {"pt": {"score": 0.9}, "fp16": {"score": 0.9}}


@pytest.fixture(scope="module")
def measured_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a project after one run that measured the accuracy of its FP16 engine."""
    project = Project(tmp_path_factory.mktemp("measured"))
    assert project.run_apart(ONE, *ACCURACY).ret == 0
    return project.path


@pytest.fixture
def measured(project: Project, measured_files: Path) -> Project:
    """A project whose FP16 engine is in the cache with its accuracy."""
    return project.take_over(measured_files)


def evaluated(project: Project) -> list[str]:
    """Return the arms that the last run evaluated in a job."""
    jobs = [job.name.rpartition("-")[2] for job in project.record.jobs if job.kind == "accuracy"]
    return sorted(arm for arms in jobs for arm in arms.split("+"))


def test_an_accuracy_of_the_same_bytes_is_reused_and_said_to_be(measured: Project) -> None:
    assert evaluated(measured) == ["fp16", "pt"]
    first = measured.record.accuracy("shapes", "fp16")
    result = measured.run(ONE, *ACCURACY)
    result.stdout.fnmatch_lines(
        ["*shapes fp16: accuracy from the cache, measured less than a minute ago on the same bytes"]
    )
    assert evaluated(measured) == []
    second = measured.record.accuracy("shapes", "fp16")
    assert first is not None
    assert second is not None
    assert (second.metrics, second.classes, second.reused) == (first.metrics, first.classes, True)
    assert any("--trt-fresh" in note for note in measured.record.notes)


def test_fresh_measures_again(measured: Project) -> None:
    measured.run(ONE, *ACCURACY, "--trt-fresh")
    assert evaluated(measured) == ["fp16", "pt"]


def test_latency_is_always_measured(project: Project) -> None:
    for _ in range(2):
        project.run(ONE)
        assert sum(job.kind == "latency" for job in project.record.jobs) == 3


def test_the_arrays_of_a_reused_accuracy_are_in_the_run(project: Project) -> None:
    for _ in range(2):
        project.run(ONE, *ACCURACY)
        record = project.record.accuracy("shapes", "fp16")
        assert record is not None
        assert (project.run_folders()[-1] / record.per_image).is_file()


@pytest.mark.parametrize("name", ["accuracy.json", "per_image.npz"])
def test_a_damaged_accuracy_is_measured_once_more_and_replaced(project: Project, name: str) -> None:
    project.weights(Behaviour(seen=SEEN))
    project.settings('[accuracy]\nmode = "population"\n')
    project.run(ONE, *ACCURACY).assert_outcomes(passed=1, deselected=1)
    for damaged in (project.path / "cache" / "results").glob(f"*/{name}"):
        damaged.write_bytes(damaged.read_bytes()[:-20])
    for again in (["fp16", "pt"], []):
        project.run(ONE, *ACCURACY).assert_outcomes(passed=1, deselected=1)
        assert evaluated(project) == again
    assert not list((project.path / "cache" / "results").glob(".*"))


def test_what_is_measured_afresh_takes_the_place_of_what_is_stored(measured: Project) -> None:
    measured.run(ONE, *ACCURACY, "--trt-fresh")
    fresh = measured.record.accuracy("shapes", "fp16")
    measured.run(ONE, *ACCURACY)
    reused = measured.record.accuracy("shapes", "fp16")
    assert fresh is not None
    assert reused is not None
    assert (reused.reused, reused.seconds) == (True, fresh.seconds)


@pytest.mark.parametrize("change", ["weights", "image", "label", "names", "conf", "threads", "torch", "pillow"])
def test_everything_that_can_change_an_accuracy_measures_it_again(
    measured: Project, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    project = measured
    if change == "weights":
        project.weights(Behaviour(map50_95=0.7))
    elif change == "image":
        image = next((project.path / "data" / "images" / "test").iterdir())
        image.write_bytes(image.read_bytes() + b"\0")
    elif change == "label":
        next((project.path / "data" / "labels" / "test").iterdir()).write_text("1 0.5 0.5 0.2 0.2\n")
    elif change == "names":
        data = project.path / "data" / "data.yaml"
        data.write_text(data.read_text().replace("circle", "disc"))
    elif change == "conf":
        project.settings("[validation]\nconf = 0.01\n")
    elif change == "threads":
        settings = project.path / "trtgate.toml"
        settings.write_text("threads = 3\n" + settings.read_text())
    else:
        project.pretend(installed={**VERSIONS, change: "99.1"})
    project.run(ONE, *ACCURACY)
    assert evaluated(project) == ["fp16", "pt"]


@pytest.mark.parametrize("part", ["how", "environment", "versions", "dataset", "others"])
def test_each_part_of_a_key_makes_another(tmp_path: Path, part: str) -> None:
    dataset = load_dataset(write_dataset(tmp_path))
    here = environment().model_copy(update={"versions": dict.fromkeys((*VERSIONS_OF_RESULTS, "onnxruntime"), "1")})
    given: dict[str, Any] = {
        "artifact_sha256": "a",
        "data_digest": "d",
        "dataset": dataset,
        "how": SETTINGS,
        "environment": here,
        "threads": 2,
    }
    changes: list[dict[str, Any]] = []
    if part == "how":
        doubled = {n: True if v is None else v * 2 for n, v in SETTINGS.model_dump().items()}
        other = doubled | {"split": "val", "rect": True, "single_cls": True}
        changes += [{"how": SETTINGS.model_copy(update={name: value})} for name, value in other.items()]
    elif part == "environment":
        fields = ("arch", "cpu", "gpu", "driver", "device")
        changes += [{"environment": here.model_copy(update={name: "another"})} for name in fields]
        changes += [{"environment": here.model_copy(update={"variables": {"NVIDIA_TF32_OVERRIDE": "0"}})}]
        known = ((), ("avx2",), ("avx2", "avx512_vnni"))
        changes += [{"environment": here.model_copy(update={"instructions": names})} for names in known]
    elif part == "versions":
        changes += [
            {"environment": here.model_copy(update={"versions": here.versions | {name: "2"}})} for name in here.versions
        ]
    elif part == "dataset":
        changes += [{"dataset": replace(dataset, names={0: "disc", 1: "square"})}]
        changes += [{"dataset": replace(dataset, extra={"channels": 1})}]
        changes += [{"dataset": replace(dataset, extra={"channels": 1, 7: "a number as a key"})}]
        moved = write_dataset(tmp_path / "moved")
        assert result_parts(**(given | {"dataset": load_dataset(moved)})) == result_parts(**given)
        (tmp_path / "moved" / "images" / "test" / "0.png").rename(tmp_path / "moved" / "images" / "test" / "00.png")
        changes += [{"dataset": load_dataset(moved)}]
    else:
        changes += [{"artifact_sha256": "b"}, {"data_digest": "e"}, {"threads": 3}]
    keys = [key_sha256(result_parts(**one)) for one in (given, *(given | change for change in changes))]
    assert len(set(keys)) == len(keys) > 1


@pytest.mark.parametrize("faults", [{"accuracy-int8": "refuse-all"}, {}])
def test_a_checkpoint_to_which_memory_was_spared_is_known_as_such(project: Project, faults: dict[str, str]) -> None:
    project.weights(Behaviour(faults=faults))
    project.run("--trt-precision=fp16,int8", *ACCURACY)
    asked = {
        path.parent.name: json.loads(path.read_text()) for path in project.run_folders()[-1].glob("jobs/*/request.json")
    }
    alone = {name.rpartition("-")[2]: request["sparing"] for name, request in asked.items() if "sparing" in request}
    assert alone == ({"pt+fp16+int8": False} | ({"pt": True, "fp16": True, "int8": True} if faults else {}))
    stored = len(list((project.path / "cache" / "results").iterdir()))
    # It is not evaluated with others again, which ended that job.
    project.run(ONE, *ACCURACY)
    assert evaluated(project) == []
    assert len(list((project.path / "cache" / "results").iterdir())) == stored


@pytest.mark.real
def test_what_decodes_the_images_is_among_the_versions() -> None:
    found = installed_versions()
    assert {"pillow"} | {name for name in found if name.startswith("opencv-python")} <= found.keys()
    assert any(name.startswith("opencv-python") for name in found)


def test_pruning_results_spares_what_is_being_written_and_minds_nothing_that_vanishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "results"
    for name, days in (("a" * 64, 0), (".new-fresh", 0.5), (".new-stale", 1.5)):
        (results / name).mkdir(parents=True)
        used = time.time() - days * 86400
        os.utime(results / name, (used, used))
    real = Path.glob
    monkeypatch.setattr(Path, "glob", lambda self, pattern: [self / "gone-meanwhile", *real(self, pattern)])
    assert prune(tmp_path, 0) == ([], 2)
    assert [path.name for path in results.iterdir()] == [".new-fresh"]


def test_two_names_of_the_same_weights_share_engine_and_accuracy_and_keep_their_names(project: Project) -> None:
    project.weights(Behaviour(), "last.pt")
    project.run(ONE, "--trt-model=shapes.pt", "--trt-model=last.pt", "--trt-baselines=add").assert_outcomes(passed=4)
    assert {cell.model for cell in (engine.cell for engine in project.record.engines.values())} == {"shapes", "last"}
    assert (
        sorted(path.parent.name for path in (project.path / "baselines").rglob("*.json"))
        == ["last"] * 2 + ["shapes"] * 2
    )


def test_a_slow_down_that_was_accepted_passes(project: Project) -> None:
    project.run(ONE, "--trt-baselines=add")
    manifest = next((project.path / "cache" / "engines").glob("*/manifest.json"))
    _slow_down(manifest.parent / "engine.onnx", manifest)
    project.run(ONE, "-k", "latency").assert_outcomes(failed=1, deselected=1)
    project.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    project.run(ONE, "-k", "latency").assert_outcomes(passed=1, deselected=1)


def _slow_down(engine: Path, manifest: Path) -> None:
    """Make a cached engine slower, as another tactic would: other bytes under the same key."""
    from pytest_trtgate.cache.engines import digest_of
    from pytest_trtgate.records.engine import EngineRecord
    from pytest_trtgate.records.files import load, save

    Behaviour(p50_ms={"pt": 8.0, "fp32": 4.0, "fp16": 9.0, "int8": 3.0}).save(engine)
    record = load(manifest, EngineRecord)
    files = tuple(digest_of(engine.parent / file.name) for file in record.files)
    digest = digest_of(engine)
    save(manifest, record.model_copy(update={"files": files, "sha256": digest.sha256}))
