"""Datasets as people have them are evaluated as Ultralytics evaluates them, or refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from material import Done, Material, accuracy_request, run_jobs
from task_material import make_tasks

from pytest_trtgate.data.dataset import load_dataset

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def evaluated(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Done]:
    """Return evaluations of the checkpoint ``pt`` by name, all in one process."""
    folder = tmp_path_factory.mktemp("datasets")
    made = make_tasks(folder / "made", ("pose", "classify"))
    detector, pose, classifier = material.weights, made["pose"], made["classify"]

    def ask(weights: Path, data: Path) -> dict[str, Any]:
        return accuracy_request({"pt": weights}, data, folder)

    plain, odd = folder / "plain", folder / "d\N{AUTOMOBILE}" / os.fsdecode(b"stra\xdfe")
    for place in (plain, odd):
        for kind in ("images", "labels"):
            shutil.copytree(material.data.parent / kind / "test", place / kind / "test")
        second = "bright \N{ROUND PUSHPIN}" if place == odd else "bright"
        (place / "data.yaml").write_text(f"test: images/test\nnames: [dark, {second}]\n", encoding="utf-8")
    last = material.images()[-1].stem
    for kind, suffix in (("images", ".png"), ("labels", ".txt")):
        strange = os.fsdecode(last.encode() + b"\xff" + suffix.encode())
        (odd / kind / "test" / f"{last}{suffix}").rename(odd / kind / "test" / strange)

    lacking = shutil.copytree(classifier.data, folder / "lacking")
    gone = max((lacking / "test").iterdir(), key=lambda place: len(list(place.iterdir())))
    shutil.rmtree(gone)
    littered = shutil.copytree(lacking, folder / "littered")
    kept = next(place for place in (littered / "test").iterdir() if any(place.iterdir()))
    for split in ("train", "test"):
        (littered / split / ".ipynb_checkpoints").mkdir()
        (littered / split / "empty").mkdir()
    shutil.copy(next(kept.iterdir()), littered / "test" / ".ipynb_checkpoints")
    (kept / "._0.png").write_bytes(b"\0\5\x16\7" + bytes(100))

    points = json.loads(pose.data.read_text())
    for name, shape in (("pairs", [5, 2]), ("none", None)):
        content = {key: value for key, value in points.items() if key != "kpt_shape"}
        content |= {"kpt_shape": shape} if shape else {}
        (folder / f"{name}.yaml").write_text(json.dumps(content))
    requests = {
        "plain": ask(detector, load_dataset(plain / "data.yaml").write_resolved(folder / "1" / "data.yaml")),
        "odd": ask(detector, load_dataset(odd / "data.yaml").write_resolved(folder / "2" / "data.yaml")),
        "lacking": ask(classifier.weights, lacking),
        "littered": ask(classifier.weights, littered),
        "folder": ask(detector, lacking),
        "yaml": ask(classifier.weights, material.data),
        "pairs": ask(pose.weights, folder / "pairs.yaml"),
        "none": ask(pose.weights, folder / "none.yaml"),
    }
    return run_jobs("accuracy", requests, folder)


@pytest.mark.parametrize(("one", "other"), [("plain", "odd"), ("lacking", "littered")])
def test_neither_odd_names_nor_leftovers_change_an_accuracy(evaluated: dict[str, Done], one: str, other: str) -> None:
    expected, found = evaluated[one].accuracy("pt"), evaluated[other].accuracy("pt")
    assert (found.images, found.metrics, found.unreadable) == (expected.images, expected.metrics, ())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("folder", "its task is detect, which needs a data YAML and labels, but"),
        ("yaml", "a classifier needs a folder with one per split and class, but"),
        ("pairs", "pt: the model finds key points of shape [5, 3], but"),
        ("pairs", "pairs.yaml says kpt_shape = [5, 2]; gate the model on data with its key points"),
        ("none", "'kpt_shape' in data.yaml m"),  # Ultralytics' own words
    ],
)
def test_data_of_another_kind_than_the_model_needs_are_one_sentence(
    evaluated: dict[str, Done], name: str, words: str
) -> None:
    assert words in evaluated[name].failure("pt")
