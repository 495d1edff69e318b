"""Weights and dataset: whatever is wrong with them is said in one sentence, before anything is measured."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from project import SETTINGS, Project, png, snapshot, write_dataset

from pytest_trtgate.data.dataset import load_dataset
from pytest_trtgate.errors import DataError
from pytest_trtgate.measuring.plan import check_inputs, check_weights, make_plan
from pytest_trtgate.settings.load import build


def yaml(text: str) -> Callable[[Project], None]:
    """Return what replaces the project's data YAML."""
    return lambda project: (project.path / "data" / "data.yaml").write_text(text) and None


def no_weights(project: Project) -> None:
    (project.path / "shapes.pt").unlink()


def text_for_weights(project: Project) -> None:
    (project.path / "shapes.pt").write_text("not a checkpoint")


def truncated_weights(project: Project) -> None:
    with zipfile.ZipFile(project.path / "shapes.pt", "w") as archive:
        archive.writestr("data.pkl", "x" * 200)
    weights = project.path / "shapes.pt"
    weights.write_bytes(weights.read_bytes()[:100])


def weights_that_unpack_to_far_more(project: Project) -> None:
    with zipfile.ZipFile(project.path / "shapes.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("shapes/data.pkl", bytes(101_000_000))


def weights_of_another_kind(project: Project) -> None:
    (project.path / "shapes.onnx").write_bytes(b"x")
    project.settings(base=SETTINGS.replace("shapes.pt", "shapes.onnx"))


def web_data(project: Project) -> None:
    settings = project.path / "trtgate.toml"
    settings.write_text(settings.read_text().replace("data/data.yaml", "https://ultralytics.com/coco8.yaml"))


def no_data_yaml(project: Project) -> None:
    (project.path / "data" / "data.yaml").unlink()


def no_model_named(project: Project) -> None:
    project.settings(base=SETTINGS.replace('models = ["shapes.pt"]', ""))


def no_dataset_named(project: Project) -> None:
    project.settings(base=SETTINGS.replace('data = "data/data.yaml"', ""))


def two_models_of_one_name(project: Project) -> None:
    (project.path / "other").mkdir()
    (project.path / "other" / "shapes.pt").write_bytes((project.path / "shapes.pt").read_bytes())
    project.settings(base=SETTINGS.replace('"shapes.pt"', '"shapes.pt", "other/shapes.pt"'))


def model_named(name: str) -> Callable[[Project], None]:
    def spoil(project: Project) -> None:
        (project.path / "shapes.pt").rename(project.path / f"{name}.pt")
        project.settings(base=SETTINGS.replace('"shapes.pt"', json.dumps(f"{name}.pt")))

    return spoil


def empty_split(project: Project) -> None:
    for image in (project.path / "data" / "images" / "test").iterdir():
        image.unlink()


def list_of_missing_images(project: Project) -> None:
    (project.path / "data" / "test.txt").write_text("images/test/gone.png\nimages/test/lost.png\n")
    yaml("train: images/train\ntest: test.txt\nnames: [a]\n")(project)


def torchscript_for_weights(project: Project) -> None:
    with zipfile.ZipFile(project.path / "shapes.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "version"):
            archive.writestr(f"shapes/{name}", b"bytes")


WRONG: dict[str, tuple[Callable[[Project], None], str]] = {
    "no weights": (no_weights, "shapes.pt: no such weights file"),
    "text for weights": (text_for_weights, "shapes.pt: not a PyTorch checkpoint, or a truncated one"),
    "TorchScript for weights": (torchscript_for_weights, "shapes.pt: a TorchScript archive, not a checkpoint; name"),
    "truncated weights": (truncated_weights, "shapes.pt: not a PyTorch checkpoint, or a truncated one"),
    "weights that unpack to far more": (
        weights_that_unpack_to_far_more,
        "kB that unpack to 101 MB, more than 100 MB; a checkpoint that is meant to is allowed by inputs.max_weights_gb",
    ),
    "weights of another kind": (weights_of_another_kind, "shapes.onnx: nothing can be built of an ONNX file"),
    "no data YAML": (no_data_yaml, "data.yaml: no such data YAML"),
    "data of the web": (web_data, "coco8.yaml: no such data YAML; nothing is ever downloaded"),
    "not YAML": (
        yaml("train: images/train\nnames: [a, b\ntest: x\n"),
        "data.yaml: not valid YAML (line 3, column 5: expected ',' or ']', but got ':')",
    ),
    "not a mapping": (yaml("just text"), "data.yaml: not a data YAML; it needs 'names'"),
    "no names": (yaml("train: images/train\ntest: images/test\n"), "data.yaml: 'names' must be a list of class names"),
    "no splits": (yaml("names: [a]\n"), "data.yaml: no split; it needs at least one of train, val, test"),
    "not the split": (yaml("train: images/train\nval: images/val\nnames: [a]\n"), "it has: train, val"),
    "a number for a split": (yaml("train: images/train\ntest: 7\nnames: [a]\n"), "split 'test' = 7 is not a path"),
    "a split that is not there": (
        yaml("train: images/train\ntest: images/tset\nnames: [a]\n"),
        "split 'test' points at",
    ),
    "no calibration split": (yaml("test: images/test\nnames: [a]\n"), "no split 'train'; it has: test"),
    "an empty split": (empty_split, "split 'test' has no images in"),
    "a list of images that are not there": (list_of_missing_images, "gone.png, which does not exist, nor does any"),
    "no model named": (no_model_named, "no model to gate: name one with --trt-model=best.pt"),
    "no dataset named": (no_dataset_named, "no dataset: name one with --trt-data=data.yaml"),
    "two models of one name": (two_models_of_one_name, "have the same name 'shapes'; give one another: "),
    "a model of a name of dots": (model_named("."), "the name of the model, '.', begins with a dot; give it another: "),
    "a model of two lines": (model_named("a\n::error::b"), "has characters that are no text; give it another: "),
    "a model of a long name": (model_named("x" * 151), "has more than 150 bytes; give it another: "),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_used_ends_the_run_with_one_sentence_and_writes_nothing(project: Project, case: str) -> None:
    spoil, sentence = WRONG[case]
    (project.path / "cache" / "engines").mkdir(parents=True)
    (project.path / "baselines").mkdir()
    spoil(project)
    before = snapshot(project.path)
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    lines = [line for line in result.errlines if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("ERROR: ")
    assert sentence in lines[0]
    assert sentence not in result.stdout.str()  # once is enough
    assert snapshot(project.path) == before


@pytest.mark.parametrize("selected", [("-k", "fp16"), ("test_gate.py::test_latency[shapes-fp16]",)])
def test_a_selected_precision_that_cannot_be_gated_is_not_deselected(project: Project, selected: tuple[str]) -> None:
    no_weights(project)
    project.tests("def test_unit_fp16(): pass", "test_unit.py")
    result = project.run(*selected)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *shapes.pt: no such weights file"])


def test_tests_of_other_things_do_not_need_the_inputs(project: Project) -> None:
    no_weights(project)
    project.tests("def test_unit(): pass", "test_unit.py")
    project.run("test_unit.py").assert_outcomes(passed=1)


SPLITS = "test: images/test\n"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("path: 3\nnames: [a]\n", "path = 3 is not a path"),
        ("path: ~nobody-of-that-name/x\nnames: [a]\n", "names the home folder of a user that does not exist"),
        ('path: "a\\0b"\nnames: [a]\n', "cannot be looked at ("),
        (f"train: {'x' * 300}\nnames: [a]\n", "cannot be looked at (File name too long)"),
        ("path: /moved/away\nnames: [a]\n", "split 'test' points at /moved/away/images/test, which does not exist"),
        ("names: []\n", "'names' must name classes from 0 upwards without a gap; it names none"),
        ("nc: 0\n", "'names' must name classes from 0 upwards without a gap; it names none"),
        ("names: {0: a, 5: b}\n", "'names' must name classes from 0 upwards without a gap; it names 0, 5"),
        ("names: [a, b]\nnc: 3\n", "nc = 3, but 'names' has 2; remove nc"),
        ("names: {a: b}\n", "'names' must be a list of class names"),
        ("nc: true\n", "nc = True is not a whole number; remove nc"),
    ],
)
def test_what_is_wrong_with_a_yaml_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    source = dataset(tmp_path, SPLITS + text)
    with pytest.raises(DataError) as caught:
        load_dataset(source).images("test")
    assert str(caught.value).startswith(f"{source}: ")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "changes", "sentence"),
    [
        (Path.mkdir, {"models": ["folder.pt"]}, "folder.pt: a folder, not a weights file"),
        (None, {"models": ["n" * 300 + ".pt"]}, "has more than 150 bytes; give it another: "),
        (Path.mkdir, {"report": "folder.html"}, "folder.html is a folder; name an .html file"),
        (Path.touch, {"report": "file/r.html"}, "file is not a folder"),
        (Path.touch, {"cache_dir": "file"}, "file is not a folder"),
        (Path.touch, {"baseline_dir": "file/deeper"}, "file is not a folder"),
        (Path.touch, {"promote": "file"}, "file is not a folder"),
        (lambda place: place.symlink_to("away"), {"cache_dir": "link"}, "link links to nothing"),
        (lambda place: place.symlink_to(place), {"cache_dir": "link"}, "link links to nothing"),
        (lambda place: place.symlink_to("away"), {"report": "link/r.html"}, "link links to nothing"),
    ],
)
def test_what_is_in_the_way_is_told_before_anything_is_measured(
    tmp_path: Path, spoil: Callable[[Path], None] | None, changes: dict[str, Any], sentence: str
) -> None:
    Project(tmp_path)
    if spoil is not None:
        place = next(iter(changes.values()))
        spoil(tmp_path / (place if isinstance(place, str) else place[0]).partition("/")[0])
    table = {"models": ["shapes.pt"], "data": "data/data.yaml", **changes}
    settings = build(table, None, {}, tmp_path)
    with pytest.raises(DataError) as caught:
        check_inputs(settings, make_plan(settings, "onnxruntime", "cpu"))
    assert sentence in str(caught.value)


@pytest.mark.parametrize("name", ["mine.html", "mine.csv", "run.json"])
def test_a_report_takes_the_place_of_no_file_that_no_run_wrote(project: Project, name: str) -> None:
    folder = project.path / "public"
    folder.mkdir()
    (folder / name).write_text("<!doctype html><title>Thesis</title>")
    result = project.run_apart("--trt-precision=int8", "--trt-report=public/mine.html")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "it is no file of a run" in result.output or f"/{name} beside it is no file of a run" in result.output
    assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "<!doctype html><title>Thesis</title>"}
    (folder / name).unlink()
    for _ in range(2):  # its own it may replace
        assert project.run_apart("--trt-precision=int8", "--trt-report=public/mine.html").ret == 0


# What a dataset may look like


def dataset(folder: Path, text: str) -> Path:
    """Write a data YAML over three splits of tiny images; return its path."""
    data = write_dataset(folder)
    data.write_text(text, encoding="utf-8")
    return data


def test_a_split_may_be_a_list_of_files(project: Project) -> None:
    (project.path / "data" / "test.txt").write_text("./images/test/0.png\n\nimages/test/2.png\n")
    yaml("train: images/train\ntest: test.txt\nnames: [a]\n")(project)
    project.run("--trt-precision=int8").assert_outcomes(passed=2)
    assert {a.images for a in project.record.accuracies} == {2}


def test_a_split_may_be_several_folders(project: Project) -> None:
    yaml("train: [images/train, images/val]\ntest: [images/test, images/val]\nnames: [a]\n")(project)
    project.run("--trt-precision=int8").assert_outcomes(passed=2)
    assert {a.images for a in project.record.accuracies} == {8}
    assert project.engine("int8").calibration is not None
    assert project.engine("int8").calibration.images == 8


def test_a_split_may_be_a_linked_folder(project: Project) -> None:
    images = project.path / "data" / "images" / "test"
    images.rename(project.path / "elsewhere")
    images.symlink_to(project.path / "elsewhere")
    project.run("--trt-precision=fp16").assert_outcomes(passed=2)
    assert {a.images for a in project.record.accuracies} == {4}


def test_folders_linked_inside_a_split_count(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    (tmp_path / "more").mkdir()
    png(tmp_path / "more" / "9.png", 9)
    (tmp_path / "data" / "images" / "test" / "linked").symlink_to(tmp_path / "more")
    assert [p.name for p in load_dataset(data).images("test")] == ["0.png", "1.png", "2.png", "3.png", "9.png"]


def test_files_that_are_no_images_do_not_count(tmp_path: Path) -> None:
    data = write_dataset(tmp_path)
    (tmp_path / "images" / "test" / "notes.txt").write_text("x")
    assert len(load_dataset(data).images("test")) == 4


def test_a_path_in_the_yaml_is_where_splits_start(tmp_path: Path) -> None:
    write_dataset(tmp_path / "there")
    (tmp_path / "data.yaml").write_text("path: there\ntest: images/test\nnames: {0: a}\n")
    assert load_dataset(tmp_path / "data.yaml").images("test")[0] == tmp_path / "there" / "images" / "test" / "0.png"


def test_classes_may_be_a_map_or_a_count(tmp_path: Path) -> None:
    assert load_dataset(dataset(tmp_path / "a", "test: images/test\nnames: {1: b, 0: a}")).names == {0: "a", 1: "b"}
    assert load_dataset(dataset(tmp_path / "c", "test: images/test\nnames: {'1': b, '0': 3}")).names == {0: "3", 1: "b"}
    assert load_dataset(dataset(tmp_path / "b", "test: images/test\nnc: 2")).names == {0: "class_0", 1: "class_1"}


def test_a_download_key_never_reaches_a_job(tmp_path: Path) -> None:
    data = dataset(tmp_path, "test: images/test\nnames: [a]\ndownload: https://example.com/x.zip\nkpt_shape: [3, 2]\n")
    resolved = json.loads(load_dataset(data).write_resolved(tmp_path / "out" / "data.yaml").read_text())
    assert "download" not in resolved
    assert resolved["kpt_shape"] == [3, 2]


def test_what_jobs_cannot_be_handed_is_left_out(tmp_path: Path) -> None:
    odd = "created: 2026-01-31\n2026-01-31: created\n7: seven\nkinds: !!set {a, b}\nloop: &loop [*loop]\nchannels: 1\n"
    loaded = load_dataset(dataset(tmp_path, f"test: images/test\nnames: [a]\n{odd}"))
    assert loaded.extra == {"channels": 1}
    loaded.write_resolved(tmp_path / "out" / "data.yaml")


def test_a_job_gets_paths_that_hold_anywhere(tmp_path: Path) -> None:
    data = dataset(tmp_path, "train: images/train\ntest: test.txt\nnames: [a]\n")
    (tmp_path / "test.txt").write_text("images/test/1.png\n")
    resolved = json.loads(load_dataset(data).write_resolved(tmp_path / "out" / "data.yaml").read_text())
    assert resolved["train"] == [str(tmp_path / "images" / "train")]
    assert Path(resolved["test"][0]).read_text() == str(tmp_path / "images" / "test" / "1.png")


def test_labels_count_for_the_digest_of_a_split(tmp_path: Path) -> None:
    data = write_dataset(tmp_path)
    before = load_dataset(data).digest("test")
    (tmp_path / "labels" / "test" / "0.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    assert load_dataset(data).digest("test") != before


# Names


def test_spaces_and_other_alphabets_work_from_end_to_end(project: Project) -> None:
    folder = project.path / "наборы данных"
    folder.mkdir()
    (project.path / "data").rename(folder / "form en")
    (project.path / "shapes.pt").rename(folder / "modèle n° 1.pt")
    project.settings(
        'seed = 1\n[calibration]\nsplit = "val"\n',
        base=SETTINGS.replace("shapes.pt", "наборы данных/modèle n° 1.pt")
        .replace("data/data.yaml", "наборы данных/form en/data.yaml")
        .replace('"cache"', '"наборы данных/cache dir"'),
    )
    result = project.use_processes().run("--trt-precision=int8", "--trt-baselines=add")
    result.assert_outcomes(passed=2)
    assert (project.baseline("int8").parents[1] / "modèle n° 1" / "int8-320-b1.json").is_file()
    project.run("--trt-precision=int8").assert_outcomes(passed=2)
    assert [e.from_cache for e in project.record.engines.values()] == [True]
    assert len(project.record.baselines) == 1


def test_a_model_named_like_a_pattern_keeps_its_baseline(project: Project) -> None:
    (project.path / "shapes.pt").rename(project.path / "best[1].pt")
    project.settings(base=SETTINGS.replace("shapes.pt", "best[1].pt"))
    project.run("--trt-precision=fp16", "--trt-baselines=add").assert_outcomes(passed=2)
    project.run("--trt-precision=fp16").assert_outcomes(passed=2)
    assert [str(use.outcome) for use in project.record.baselines.values()] == ["PASS"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"names: [a]\ntest: here: there\n", "line 2, column 11: mapping values are not allowed here"),
        (b"test: *nothing\n", "line 1, column 7: found undefined alias 'nothing'"),
        (b"test: 2026-13-45\n", "month must be in 1..12"),
    ],
)
def test_what_is_no_yaml_is_told_with_its_place(tmp_path: Path, text: bytes, problem: str) -> None:
    (tmp_path / "data.yaml").write_bytes(text)
    with pytest.raises(DataError) as caught:
        load_dataset(tmp_path / "data.yaml")
    assert str(caught.value).startswith(f"{tmp_path / 'data.yaml'}: not valid YAML ({problem}")


def test_a_checkpoint_may_unpack_to_as_much_as_the_settings_say(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(101_000_000))
    check_weights(tmp_path / "a.pt", max_gb=0.2)
    with pytest.raises(DataError, match=r"unpack to 101 MB, more than 80\.0 MB"):
        check_weights(tmp_path / "a.pt", max_gb=0.08)
