"""The generator of the demo dataset keeps its promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.real  # it needs NumPy and OpenCV

GENERATOR = Path(__file__).parents[2] / "examples" / "shapes" / "generate.py"
COUNTS = {"train": 12, "val": 3, "test": 5}


def _generate(folder: Path, **options: int) -> subprocess.CompletedProcess[str]:
    flags = [f"--{name}={value}" for name, value in (COUNTS | options).items()]
    command = [sys.executable, str(GENERATOR), str(folder), *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_two_runs_give_the_same_bytes(tmp_path: Path) -> None:
    """Every file is equal, the marker with its digest included."""
    for name in ("a", "b"):
        assert _generate(tmp_path / name).returncode == 0
    assert _content(tmp_path / "a") == _content(tmp_path / "b")


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    """No image of one seed is an image of the other."""
    for name, seed in (("a", 0), ("b", 1)):
        _generate(tmp_path / name, seed=seed)
    images = [{path.read_bytes() for path in (tmp_path / name).rglob("*.jpg")} for name in ("a", "b")]
    assert len(images[0]) == sum(COUNTS.values())
    assert not images[0] & images[1]


def test_a_longer_split_starts_with_the_shorter_one(tmp_path: Path) -> None:
    """Training on more images leaves val and test as they are."""
    _generate(tmp_path / "a")
    _generate(tmp_path / "b", train=14)
    short, long = (_content(tmp_path / name) for name in ("a", "b"))
    del short["shapes.json"]
    assert short.items() <= long.items()


def test_a_finished_set_is_left_alone(tmp_path: Path) -> None:
    """No file is written again, and a label cache of Ultralytics stays."""
    _generate(tmp_path)
    (tmp_path / "labels" / "train.cache").touch()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert "already there" in _generate(tmp_path).stdout
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_an_interrupted_or_damaged_set_is_drawn_again(tmp_path: Path) -> None:
    """Neither a marker without a digest nor a changed label passes for a finished set."""
    _generate(tmp_path)
    finished = _content(tmp_path)
    marker = tmp_path / "shapes.json"
    marker.write_text(json.dumps(json.loads(marker.read_text()) | {"sha256": None}))
    (tmp_path / "data.yaml").unlink()
    assert "drawn" in _generate(tmp_path).stdout
    assert _content(tmp_path) == finished
    (tmp_path / "labels" / "test" / "00000.txt").write_text("0 0.5 0.5 1 1\n")
    assert "drawn" in _generate(tmp_path).stdout
    assert _content(tmp_path) == finished


def test_a_smaller_set_leaves_no_strays(tmp_path: Path) -> None:
    """Files and label caches of the larger set are gone."""
    _generate(tmp_path / "a", test=9)
    (tmp_path / "a" / "labels" / "test.cache").touch()
    _generate(tmp_path / "a")
    _generate(tmp_path / "b")
    assert _content(tmp_path / "a") == _content(tmp_path / "b")


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    """One sentence, exit status 2, nothing touched."""
    (tmp_path / "thesis.txt").write_text("mine")
    result = _generate(tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "holds something else" in result.stderr
    assert _content(tmp_path) == {"thesis.txt": b"mine"}


def test_labels_are_boxes_inside_the_picture(tmp_path: Path) -> None:
    """Every line is a class and a box of positive size between 0 and 1."""
    _generate(tmp_path)
    rows = [line.split() for path in tmp_path.rglob("*.txt") for line in path.read_text().splitlines()]
    assert rows
    for kind, *values in rows:
        x, y, w, h = map(float, values)
        assert int(kind) in range(6)
        assert min(w, h) > 0
        assert min(x - w / 2, y - h / 2) > -1e-5
        assert max(x + w / 2, y + h / 2) < 1 + 1e-5
