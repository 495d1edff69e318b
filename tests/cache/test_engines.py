"""The engine cache: what is served, what is built again, and what the key of an engine depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import SETTINGS, VERSIONS, Project, png

from pytest_trtgate.cache.engines import verify_entry

ENGINE = "def test_engine(trt_engine): pass"


@pytest.fixture
def project(project: Project) -> Project:
    """A project with one test, which needs an engine and nothing else."""
    project.tests(ENGINE)
    return project


def build(project: Project, precision: str = "int8") -> pytest.RunResult:
    """Run the one test, which must pass."""
    result = project.run(f"--trt-precision={precision}", "test_gate.py")
    result.assert_outcomes(passed=1)
    return result


@pytest.fixture(scope="module")
def default_key() -> list[str]:
    """The INT8 key of every project that is as it was made, once one test has built that."""
    return []


@pytest.fixture
def key(project: Project, default_key: list[str]) -> str:
    """The key of the project's INT8 engine before a test changes something."""
    if not default_key:
        default_key.append(key_of(project))
    return default_key[0]


def key_of(project: Project) -> str:
    """Return the key of the INT8 engine after a run."""
    build(project)
    return project.engine("int8").cache_key


# Hits and misses


def test_builds_that_differ_by_precision_begin_with_one_graph(project: Project) -> None:
    project.run("--trt-precision=fp16,int8").assert_outcomes(passed=2)
    (run,) = project.run_folders()
    requests = [json.loads(path.read_text()) for path in sorted(run.glob("jobs/build-*/request.json"))]
    assert [request["cell"]["precision"] for request in requests] == ["fp16", "int8"]
    (traced,) = {Path(request["traced"]) for request in requests}
    assert traced.parent == run / "traced"
    hook = "\ndef pytest_trtgate_export_args(cell):\n    return {'dynamic': cell.precision == 'fp16', 'opset': 17}\n"
    with (project.path / "conftest.py").open("a") as file:
        file.write(hook)
    project.run("--trt-precision=fp16,int8")
    (newest,) = set(project.run_folders()) - {run}
    requests = [json.loads(path.read_text()) for path in sorted(newest.glob("jobs/build-*/request.json"))]
    assert requests[0]["traced"] is None  # since FP16 with dynamic shapes is traced in another way
    assert Path(requests[1]["traced"]).name != traced.name


def test_an_engine_is_built_once_and_then_served(project: Project) -> None:
    build(project).stdout.fnmatch_lines(["*shapes int8: engine built in * s (*)"])
    assert project.job_names("build") == ["build-shapes-int8-320-b1-onnxruntime-cpu"]
    build(project).stdout.fnmatch_lines(["*shapes int8: engine from the cache (*)"])
    assert project.job_names("build") == []
    assert project.engine("int8").from_cache


def test_an_entry_tells_what_it_is(project: Project) -> None:
    build(project)
    entry = project.entry("int8")
    names = ["build.log", "calibration.txt", "engine.onnx", "manifest.json"]
    assert sorted(p.name for p in entry.iterdir()) == names
    manifest = json.loads((entry / "manifest.json").read_text())
    assert manifest["cache_key"] == entry.name
    assert manifest["key_parts"]["versions"]["onnxruntime"] == VERSIONS["onnxruntime"]
    assert manifest["sha256"] == project.engine("int8").sha256
    assert "log of" in (entry / "build.log").read_text()
    assert (entry / "calibration.txt").read_text().split() == [
        str(project.path / "data" / "images" / "train" / f"{i}.png") for i in range(4)
    ]


def other_weights(project: Project) -> None:
    project.weights(Behaviour(map50_95=0.74))


def other_calibration_image(project: Project) -> None:
    png(project.path / "data" / "images" / "train" / "0.png", 200)


def one_more_calibration_image(project: Project) -> None:
    png(project.path / "data" / "images" / "train" / "9.png", 200)


def settings(more: str = "", **top: Any) -> Callable[[Project], None]:
    """Return what changes the project's settings."""
    return lambda project: project.settings(more, top="\n".join(f"{k} = {v!r}" for k, v in top.items()))


def unusable_label(project: Project) -> None:
    (project.path / "data" / "labels" / "train" / "0.txt").write_text("2 0.5 0.5 0.2 0.2\n")  # a class too many


def channels(project: Project) -> None:
    data = project.path / "data" / "data.yaml"
    data.write_text(data.read_text() + "channels: 1\n")


def imgsz(project: Project) -> None:
    project.settings(base=SETTINGS.replace("imgsz = 320", "imgsz = 352"))


@pytest.mark.parametrize(
    "change",
    [
        other_weights,
        other_calibration_image,
        one_more_calibration_image,
        unusable_label,
        channels,
        imgsz,
        settings(batch=2),
        settings("[calibration]\nfraction = 0.5\n"),
        settings('[calibration]\nsplit = "val"\n'),
        settings("[export]\nsimplify = false\n"),
        settings("[export]\nopset = 17\n"),
    ],
    ids=[
        "weights",
        "image",
        "more-images",
        "label",
        "channels",
        "imgsz",
        "batch",
        "fraction",
        "split",
        "simplify",
        "opset",
    ],
)
def test_whatever_can_change_an_engine_changes_its_key(
    project: Project, key: str, change: Callable[[Project], None]
) -> None:
    change(project)
    assert key_of(project) != key


def test_precisions_have_keys_of_their_own(project: Project) -> None:
    project.run("test_gate.py")
    assert len({e.cache_key for e in project.record.engines.values()}) == 3


@pytest.mark.parametrize(
    "package", ["ultralytics", "torch", "onnx", "onnxruntime", "onnxslim", "numpy", "pillow", "pi-heif"]
)
def test_each_version_is_part_of_the_key(project: Project, key: str, package: str) -> None:
    project.pretend(installed={**VERSIONS, package: "99.1"})
    assert key_of(project) != key


@pytest.mark.parametrize("what", ["arch", "driver", "gpu", "compute_capability"])
def test_the_machine_is_part_of_the_key(project: Project, key: str, what: str) -> None:
    project.pretend(fingerprint={what: "another"})
    assert key_of(project) != key


def test_environment_variables_that_change_numbers_are_part_of_the_key(project: Project, key: str) -> None:
    keys = []
    for variables in ({"ATEN_CPU_CAPABILITY": "default"}, {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}, {"MKL_VERBOSE": "1"}):
        project.pretend(environ=variables)
        keys.append(key_of(project))
    assert keys[2] == key
    assert len({key, *keys}) == 3


def renamed_folder(project: Project) -> None:
    (project.path / "models").mkdir()
    (project.path / "shapes.pt").rename(project.path / "models" / "shapes.pt")
    project.settings(base=SETTINGS.replace("shapes.pt", "models/shapes.pt"))


def touched(project: Project) -> None:
    for path in (project.path / "shapes.pt", project.path / "data" / "images" / "train" / "0.png"):
        os.utime(path, (1, 1))


def other_labels(project: Project) -> None:
    labels = project.path / "data" / "labels" / "train"
    (labels / "0.txt").write_text("")
    (labels / "1.txt").unlink()
    (labels / "2.txt").write_text("1 0.1 0.1 0.9 0.1 0.9 0.9\n")


def other_test_image(project: Project) -> None:
    png(project.path / "data" / "images" / "test" / "0.png", 200)


@pytest.mark.parametrize(
    "change",
    [
        renamed_folder,
        touched,
        other_labels,
        other_test_image,
        settings(
            "launches = 1\n[accuracy]\nmAP50 = 0.5\n[timeouts]\nbuild_s = 9\n", baseline_dir="elsewhere", threads=1
        ),
    ],
    ids=["folder", "mtime", "labels", "test-image", "settings"],
)
def test_what_cannot_change_an_engine_does_not_change_its_key(
    project: Project, key: str, change: Callable[[Project], None]
) -> None:
    change(project)
    assert key_of(project) == key


def test_calibration_does_not_concern_the_other_precisions(project: Project) -> None:
    project.run("test_gate.py")
    other_calibration_image(project)
    project.run("test_gate.py")
    assert {e.cell.precision: e.from_cache for e in project.record.engines.values()} == {
        "fp32": True,
        "fp16": True,
        "int8": False,
    }


# Damage


def truncate(entry: Path) -> None:
    artifact = entry / "engine.onnx"
    artifact.write_bytes(artifact.read_bytes()[:-1])


def flip_a_bit(entry: Path) -> None:
    artifact = entry / "engine.onnx"
    content = bytearray(artifact.read_bytes())
    content[len(content) // 2] ^= 1
    artifact.write_bytes(content)


def remove_artifact(entry: Path) -> None:
    (entry / "engine.onnx").unlink()


def remove_calibration_list(entry: Path) -> None:
    (entry / "calibration.txt").unlink()


def remove_manifest(entry: Path) -> None:
    (entry / "manifest.json").unlink()


def truncate_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text((entry / "manifest.json").read_text()[:100])


def edit_manifest(entry: Path, **changes: Any) -> None:
    manifest = json.loads((entry / "manifest.json").read_text())
    (entry / "manifest.json").write_text(json.dumps({**manifest, **changes}))


def manifest_of_a_newer_schema(entry: Path) -> None:
    edit_manifest(entry, schema_version=99)


def manifest_without_digests(entry: Path) -> None:
    edit_manifest(entry, files=[])


def manifest_of_another_key(entry: Path) -> None:
    edit_manifest(entry, cache_key="0" * 64)


DAMAGE = {
    truncate: "engine.onnx has * bytes, not *",
    flip_a_bit: "the bytes of engine.onnx have changed",
    remove_artifact: "engine.onnx is missing",
    remove_calibration_list: "calibration.txt is missing",
    remove_manifest: "manifest.json: cannot be read",
    truncate_manifest: "manifest.json: not valid JSON",
    manifest_of_a_newer_schema: "written by a newer pytest-trtgate",
    manifest_without_digests: "manifest.json has no digest of engine.onnx",
    manifest_of_another_key: "manifest.json is of engine 000000000000",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_entry_is_set_aside_and_built_again(project: Project, damage: Callable[[Path], None]) -> None:
    build(project)
    entry = project.entry("int8")
    damage(entry)
    result = build(project)
    result.stdout.fnmatch_lines([f"*cached engine {entry.name[:12]} is damaged (*{DAMAGE[damage]}*set aside in*"])
    assert not project.engine("int8").from_cache
    assert verify_entry(entry).problem == ""
    assert [p.name.rpartition("-")[0] for p in (project.path / "cache" / "damaged").iterdir()] == [entry.name]
