"""Datasets as people have them are read as Ultralytics reads them; what it refuses is refused in one sentence."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from project import Project, png, write_dataset

from pytest_trtgate.cache.digests import DigestTable
from pytest_trtgate.data import ultralytics_files
from pytest_trtgate.data.dataset import Dataset, load_dataset
from pytest_trtgate.errors import DataError
from pytest_trtgate.jobs.contract import SplitRequest, SurveyRequest
from pytest_trtgate.records.files import load, save

STRANGE = os.fsdecode(b"stra\xdfe.png")
"""A file name in ISO 8859-1, which is no UTF-8."""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder without any dataset, with no settings of Ultralytics."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "config"))


def classes(root: Path, **images: str) -> Path:
    """Write a classification set with an image per named class, such as ``train="cat dog"``."""
    for split, names in images.items():
        for number, name in enumerate(names.split()):
            (root / split / name).mkdir(parents=True)
            png(root / split / name / "0.png", 40 * number + len(split))
    return root


def refused(source: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(source).images("test")
    return str(caught.value)


def resolved(dataset: Dataset, folder: Path) -> dict[str, object]:
    """Return what a job reads, by the loader that Ultralytics prefers."""
    text = dataset.write_resolved(folder / "data.yaml").read_text(encoding="utf-8")
    found = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert isinstance(found, dict)
    return found


# Where splits are


def test_a_list_keeps_its_meaning_when_the_working_folder_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    png(tmp_path / "work" / "0.png", 1)
    (tmp_path / "list.txt").write_text("0.png\n")
    (tmp_path / "data.yaml").write_text("test: list.txt\nnames: [a]\n")
    dataset = load_dataset(tmp_path / "data.yaml")
    monkeypatch.chdir("/")
    (place,) = list(resolved(dataset, tmp_path / "job")["test"])  # type: ignore[call-overload]
    assert Path(place).read_text() == str(tmp_path / "work" / "0.png")
    assert dataset.images("test") == (tmp_path / "work" / "0.png",)


def test_a_path_is_relative_to_the_working_folder_first(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("path: set\ntest: images/test\nnames: [a]\n")
    write_dataset(tmp_path / "set")
    assert load_dataset(tmp_path / "data.yaml").root == tmp_path / "set"  # where the YAML is: the last resort
    settings = tmp_path / "config" / "Ultralytics" / "settings.json"
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"datasets_dir": str(tmp_path / "kept")}))
    write_dataset(tmp_path / "kept" / "set")
    assert load_dataset(tmp_path / "data.yaml").root == tmp_path / "kept" / "set"
    write_dataset(tmp_path / "work" / "set")
    assert load_dataset(tmp_path / "data.yaml").root == tmp_path / "work" / "set"


@pytest.mark.parametrize("text", ["{", "[]", '{"datasets_dir": 3}', "{}"])
def test_settings_of_ultralytics_that_cannot_be_used_do_not_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "config" / "Ultralytics").mkdir(parents=True)
    (tmp_path / "config" / "Ultralytics" / "settings.json").write_text(text)
    (tmp_path / "data.yaml").write_text("path: set\ntest: images/test\nnames: [a]\n")
    write_dataset(tmp_path / "set")
    assert load_dataset(tmp_path / "data.yaml").root == tmp_path / "set"


def test_without_settings_datasets_are_beside_the_checkout_that_ultralytics_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "checkout" / ".venv" / "ultralytics"
    monkeypatch.setattr(ultralytics_files, "_package", lambda: package)
    assert ultralytics_files.datasets_dir() == tmp_path / "work" / "datasets"
    (tmp_path / "checkout" / ".git").mkdir(parents=True)
    assert ultralytics_files.datasets_dir() == tmp_path / "datasets"


def test_a_split_that_is_nowhere_names_all_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Ultralytics").mkdir()
    (tmp_path / "Ultralytics" / "settings.json").write_text(json.dumps({"datasets_dir": str(tmp_path / "sets")}))
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path))
    (tmp_path / "data.yaml").write_text("path: set\ntest: images/test\nnames: [a]\n")
    said = refused(tmp_path / "data.yaml")
    first, then = tmp_path / "set" / "images" / "test", tmp_path / "sets"
    assert f"points at {first}, which does not exist; neither is it in {then}" in said


def test_lines_of_a_list_are_relative_to_the_working_folder_or_with_a_dot_to_the_list(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    write_dataset(tmp_path / "work")
    (tmp_path / "data" / "test.txt").write_text("images/test/0.png\n./images/test/1.png\n")
    data.write_text("test: test.txt\nnames: [a]\n")
    assert load_dataset(data).images("test") == (
        tmp_path / "data" / "images" / "test" / "1.png",
        tmp_path / "work" / "images" / "test" / "0.png",
    )


def test_a_line_of_a_list_may_be_missing_but_not_all(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    listing = tmp_path / "data" / "test.txt"
    listing.write_text("./images/test/0.png\n./images/test/gone.png\n")
    data.write_text("test: test.txt\nnames: [a]\n")
    names = [image.name for image in load_dataset(data).images("test")]
    assert names == ["0.png", "gone.png"]  # Ultralytics leaves it out, which images-left-out says
    listing.write_text("./images/test/gone.png\n")
    assert "gone.png, which does not exist, nor does any other file that it lists" in refused(data)


# What is in a YAML

TEXT = "test: images/test\nnames: [a, b]\n"


@pytest.mark.parametrize(
    "raw",
    [
        b'nc: "2"\n' + TEXT.encode(),
        b"nc: 2.0\n" + TEXT.encode(),
        b"path: None\nval: None\n" + TEXT.encode(),
        "# données\n".encode("cp1252") + TEXT.encode(),
        TEXT.encode("utf-16"),
        b"test: images/test\nnames: {1.0: b, ' 0': a}\n",
        TEXT.encode("utf-8-sig"),
        b"# \x0c\x01 page\n" + TEXT.encode(),
    ],
)
def test_what_ultralytics_takes_is_taken(tmp_path: Path, raw: bytes) -> None:
    write_dataset(tmp_path).write_bytes(raw)
    dataset = load_dataset(tmp_path / "data.yaml")
    assert (dataset.names, list(dataset.splits)) == ({0: "a", 1: "b"}, ["test"])


BOMB = "".join(f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 10)}]\n" for n in range(9))
MERGES = "".join(f"x{n + 1}: &x{n + 1} {{<<: [{', '.join([f'*x{n}'] * 10)}]}}\n" for n in range(9))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x0: &x0 [lol]\n" + BOMB + TEXT, "its aliases stand for more than 1000000 values"),
        ("x0: &x0 {a: 1}\n" + MERGES + TEXT, "its aliases stand for more than 1000000 values"),
        ("x0: &x0 [lol]\n" + BOMB + "test: images/test\nnames: *x9\n", "its aliases stand for more"),
        ("x: " + "[" * 5000 + "]" * 5000 + "\n" + TEXT, "its values are nested too deeply"),
        ("kpt_shape: '[17, 3]'\n" + TEXT, "kpt_shape = '[17, 3]' is not a list"),
        ("nc: two\n" + TEXT, "nc = 'two' is not a whole number; remove nc"),
        ("nc: 2.5\n" + TEXT, "nc = 2.5 is not a whole number; remove nc"),
        ("nc: .inf\ntest: images/test\n", "nc = inf is not a whole number; remove nc"),
        ("nc: 1000000000000\ntest: images/test\n", "more classes than can be"),
        ('test: images/test\nnames: ["\\ud83d\\ude97"]\n', "the name of class 0 is no text"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_that_names_the_file(tmp_path: Path, text: str, sentence: str) -> None:
    data = write_dataset(tmp_path)
    data.write_text(text)
    said = refused(data)
    assert said.startswith(f"{data}: ")
    assert sentence in said


def test_codes_of_imagenet_are_read_as_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tmp_path / "package" / "cfg" / "datasets" / "ImageNet.yaml"
    words.parent.mkdir(parents=True)
    words.write_text("map:\n  n01440764: tench\n  n01443537: goldfish\n")
    monkeypatch.setattr(ultralytics_files, "_package", lambda: tmp_path / "package")
    ultralytics_files._imagenet_words.cache_clear()
    try:
        data = write_dataset(tmp_path / "data")
        data.write_text("test: images/test\nnames: [n01440764, n99999999]\n")
        assert load_dataset(data).names == {0: "tench", 1: "n99999999"}
        folder = classes(tmp_path / "set", train="n01440764 n01443537", test="n01443537")
        assert load_dataset(folder).names == {0: "tench", 1: "goldfish"}
        assert load_dataset(folder).classes("test") == {0: "goldfish"}
    finally:
        ultralytics_files._imagenet_words.cache_clear()


# Characters


def test_any_character_of_folders_and_classes_reaches_a_job_as_it_is(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data \N{AUTOMOBILE}\N{LATIN SMALL LETTER E WITH ACUTE}")
    names = ["\N{ROUND PUSHPIN}", "caf\N{LATIN SMALL LETTER E WITH ACUTE}", '"\\" \x7f\x85\u2028']
    data.write_text(f"test: images/test\nnames: {json.dumps(names, ensure_ascii=False)}\n", encoding="utf-8")
    dataset = load_dataset(data)
    found = resolved(dataset, tmp_path / "out")
    assert found["test"] == [str(data.parent / "images" / "test")]
    assert found["names"] == {str(i): name for i, name in dataset.names.items()}


def test_a_folder_whose_name_is_no_unicode_is_reached_by_links(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / STRANGE)
    found = resolved(load_dataset(data), tmp_path / "out")
    (link,) = found["test"]  # type: ignore[misc]
    assert (Path(str(found["path"])) / link).resolve() == data.parent / "images" / "test"


def test_records_carry_names_that_are_no_unicode(tmp_path: Path) -> None:
    split = SplitRequest(name="test", images=(STRANGE, "\N{AUTOMOBILE}", "ok"))
    request = SurveyRequest(threads=1, splits=(split,), classes=1, sample=1)
    save(tmp_path / "request.json", request)
    assert load(tmp_path / "request.json", SurveyRequest) == request
    table = DigestTable(files={STRANGE: ((1, 2, 3, 4), "a"), "\N{REPLACEMENT CHARACTER}": ((1, 2, 3, 4), "b")})
    save(tmp_path / "table.json", table)
    assert load(tmp_path / "table.json", DigestTable) == table


def test_images_whose_names_are_no_unicode_count(project: Project) -> None:
    images = project.path / "data" / "images" / "test"
    (images / "0.png").rename(images / STRANGE)
    shutil.copyfile(images / STRANGE, project.path / "data" / "images" / "train" / STRANGE)  # to be named by a finding
    (project.path / "data" / "labels" / "test" / "0.txt").rename(
        project.path / "data" / "labels" / "test" / Path(STRANGE).with_suffix(".txt")
    )
    result = project.use_processes().run("--trt-precision=int8")
    result.assert_outcomes(passed=2)
    assert {a.images for a in project.record.accuracies} == {4}
    said = [early.finding.sentence for early in project.record.preflight.findings]
    assert f"1 of 4 images of split 'test' are calibrated on, first {STRANGE}" in said
    assert project.page
    (listing,) = (project.path / "cache").rglob("calibration.txt")
    assert os.fsencode(STRANGE) in listing.read_bytes()


# Folders


def test_what_tools_leave_behind_is_neither_class_nor_image(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", train="cat dog .ipynb_checkpoints", test="cat .ipynb_checkpoints", val="dog")
    (root / "train" / "empty").mkdir()
    (root / "train" / "readme.jpg").touch()
    (root / "train" / "__MACOSX").mkdir()
    for place in ("test/cat", "train/__MACOSX"):
        (root / place / "._0.png").write_bytes(b"\0\5\x16\7" + bytes(100))
    (root / "test" / "cat" / "deeper").mkdir()
    png(root / "test" / "cat" / "deeper" / ".hidden.png", 7)  # Ultralytics counts it
    dataset = load_dataset(root)
    assert dataset.names == {0: "cat", 1: "dog"}
    assert [str(image.relative_to(root)) for image in dataset.images("test")] == [
        "test/cat/0.png",
        "test/cat/deeper/.hidden.png",
    ]
    assert dataset.classes("test") == {0: "cat"}
    before = dataset.digest("test")
    png(root / "test" / "cat" / "deeper" / ".hidden.png", 8)
    assert load_dataset(root).digest("test") != before


def export(folder: Path) -> Path:
    """Write a detection set as labelling tools export it: a folder per split, each with images and labels."""
    write_dataset(folder)
    for split in ("train", "val", "test"):
        for kind in ("images", "labels"):
            (folder / split).mkdir(exist_ok=True)
            (folder / kind / split).rename(folder / split / kind)
    (folder / "images").rmdir()
    (folder / "labels").rmdir()
    text = "train: ../train/images\nval: ../val/images\ntest: ../test/images\nnames: [a, b]\n"
    (folder / "data.yaml").write_text(text)
    return folder


def move_below(folder: Path) -> None:
    (folder / "deep").mkdir()
    for name in ("train", "val", "test", "data.yaml"):
        (folder / name).rename(folder / "deep" / name)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda folder: None, "data.yaml"),
        (lambda folder: (folder / "data.yaml").rename(folder / "x.yml"), "x.yml"),
        (lambda folder: shutil.copyfile(folder / "data.yaml", folder / "export.yaml"), "export.yaml"),
        (lambda folder: (folder / "args.yaml").write_text("epochs: 3\n"), "data.yaml"),
        (lambda folder: (folder / "broken.yaml").write_text("[\n"), "data.yaml"),
        (move_below, "deep/data.yaml"),
    ],
)
def test_the_yaml_of_an_exported_folder_is_found_and_labels_count(
    tmp_path: Path, change: Callable[[Path], object], name: str
) -> None:
    folder = export(tmp_path / "export")
    change(folder)
    dataset = load_dataset(folder)
    assert (dataset.source, dataset.folders, dataset.names) == (folder / name, False, {0: "a", 1: "b"})
    before = dataset.digest("test")
    (dataset.source.parent / "test" / "labels" / "0.txt").write_text("1 0.5 0.5 0.1 0.1\n")
    assert load_dataset(folder).digest("test") != before


def test_a_folder_of_images_and_labels_without_its_yaml_is_refused(tmp_path: Path) -> None:
    folder = export(tmp_path / "export")
    (folder / "data.yaml").unlink()
    assert refused(folder) == (
        f"{folder}: its folder 'train' holds 'images', and there is no data YAML; name one, with names and splits"
    )


def test_a_split_of_pictures_in_another_format_says_so(tmp_path: Path) -> None:
    data = write_dataset(tmp_path)
    for image in (tmp_path / "images" / "test").iterdir():
        image.rename(image.with_suffix(".jfif"))
    with pytest.raises(DataError, match=r"has no images in .*; 0\.jfif is in a format that Ultralytics does not take"):
        load_dataset(data).images("test")


def test_of_several_yamls_one_must_be_named(tmp_path: Path) -> None:
    folder = export(tmp_path / "export")
    shutil.copyfile(folder / "data.yaml", folder / "other.yaml")
    assert refused(folder) == f"{folder}: holds several data YAMLs (data.yaml, other.yaml); name one of them"


def test_a_folder_per_class_stays_one_beside_a_yaml_that_finds_no_label(tmp_path: Path) -> None:
    root = classes(tmp_path / "set", train="cat dog", test="cat dog")
    (root / "data.yaml").write_text("train: train\ntest: test\nnames: [cat, dog]\n")
    assert load_dataset(root).folders
    (root / "test" / "cat" / "0.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    assert not load_dataset(root).folders


def test_links_into_a_store_are_followed_and_keep_their_names(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    (tmp_path / "store").mkdir()
    for number, file in enumerate(sorted(p for p in (tmp_path / "data").rglob("*") if p.is_file())):
        blob = file.rename(tmp_path / "store" / str(number))
        file.symlink_to(blob)
    dataset = load_dataset(data)
    assert dataset.images("test")[0] == tmp_path / "data" / "images" / "test" / "0.png"
    before = dataset.digest("test")
    (tmp_path / "data" / "labels" / "test" / "0.txt").resolve().write_text("")
    assert load_dataset(data).digest("test") != before
