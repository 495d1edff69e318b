"""A checkpoint that has another name by now keeps its baselines, where it is told to."""

from __future__ import annotations

from datetime import date

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.baselines.waivers import Waiver, change_waivers, load_waivers
from pytest_trtgate.cli import main
from pytest_trtgate.records.cell import cell_of_key

ONE = "--trt-precision=fp16"
KEY = "shapes-fp16-320-b1-onnxruntime-cpu"
NAMED = (
    'models = [{ path = "best.pt", name = "triangles" }]\ndata = "data/data.yaml"\nimgsz = 320\ncache_dir = "cache"\n'
)


@pytest.fixture
def renamed(accepted: Project) -> Project:
    """A project whose checkpoint is called best.pt by now, and named in the settings."""
    (accepted.path / "shapes.pt").rename(accepted.path / "best.pt")
    accepted.settings(base=NAMED)
    return accepted


def test_a_model_has_the_name_that_the_settings_give_it(renamed: Project) -> None:
    renamed.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    assert renamed.accepted_accuracy("fp16", model="triangles").exists()
    assert {cell.model for cell in renamed.record.cells} == {"triangles"}
    renamed.run(ONE, "--trt-model=best.pt").assert_outcomes(passed=2)
    assert renamed.outcomes("latency") == {"fp16": "PASS"}


def test_baselines_that_a_rename_left_behind_are_offered_and_moved(
    renamed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    change_waivers(
        renamed.path / "baselines",
        lambda waivers: waivers.granted(Waiver(cell=KEY, until=date(2999, 1, 31), reason="why")),
    )
    offer = "the same checkpoint has baselines as 'shapes': trtgate baseline mv shapes triangles"
    result = renamed.run(ONE)
    for subject in ("accuracy", "latency"):
        assert renamed.verdict("fp16", subject).summary.endswith(f"a baseline: no baseline yet; {offer}")
    result.stdout.fnmatch_lines(["NO BASELINE  triangles fp16*"])
    assert main(["baseline", "show"]) == 0
    out = capsys.readouterr().out
    assert out.count(f"    renamed: {offer}\n") == 2
    assert ", 0 unused\n" in out
    assert main(["baseline", "prune"]) == 0
    assert main(["baseline", "mv", "shapes", "triangles"]) == 0
    renamed.run(ONE).assert_outcomes(passed=2)
    assert renamed.outcomes("accuracy") == renamed.outcomes("latency") == {"fp16": "PASS"}
    assert not (renamed.path / "baselines" / "accuracy" / "shapes").exists()
    [waiver] = load_waivers(renamed.path / "baselines").waivers
    cell = cell_of_key(waiver.cell)
    assert cell is not None
    assert cell.model == "triangles"


def test_other_weights_of_another_name_are_no_rename(renamed: Project, capsys: pytest.CaptureFixture[str]) -> None:
    renamed.weights(Behaviour(map50_95=0.7501), "best.pt")
    renamed.run(ONE)
    assert renamed.verdict("fp16", "accuracy").summary.endswith("a baseline: no baseline yet")
    assert main(["baseline", "show"]) == 0
    assert "unused: no model 'shapes' in the settings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("gone", "triangles", "no baselines of 'gone'; there are some of: shapes"),
        ("shapes", "others", "no model 'others' in the settings; they have: triangles"),
    ],
)
def test_a_name_with_a_slip_moves_nothing(
    renamed: Project, capsys: pytest.CaptureFixture[str], old: str, new: str, why: str
) -> None:
    assert main(["baseline", "mv", old, new]) == 2
    assert why in capsys.readouterr().err
    assert renamed.accepted_accuracy("fp16").exists()


def test_baselines_of_the_new_name_are_never_replaced(renamed: Project, capsys: pytest.CaptureFixture[str]) -> None:
    renamed.run(ONE, "-k", "accuracy", "--trt-baselines=add")
    before = renamed.accepted_accuracy("fp16", model="triangles").read_bytes()
    assert main(["baseline", "mv", "shapes", "triangles"]) == 2
    assert "is there already; nothing was moved" in capsys.readouterr().err
    assert renamed.accepted_accuracy("fp16", model="triangles").read_bytes() == before
    assert renamed.baseline("fp16").exists()


def test_damaged_waivers_are_said_before_anything_is_moved(
    renamed: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (renamed.path / "baselines" / "waivers.json").write_text("{")
    assert main(["baseline", "mv", "shapes", "triangles"]) == 2
    assert "waivers.json: not valid JSON" in capsys.readouterr().err
    assert renamed.accepted_accuracy("fp16").exists()
    assert renamed.baseline("fp16").exists()


def test_two_checkpoints_of_one_file_name_are_told_apart_by_their_names(project: Project) -> None:
    (project.path / "b").mkdir()
    project.weights(Behaviour(map50_95=0.8), "b/shapes.pt")
    both = 'models = ["shapes.pt", { path = "b/shapes.pt", name = "other" }]\ndata = "data/data.yaml"\nimgsz = 320\n'
    project.settings(base=both + 'cache_dir = "cache"\n')
    project.run(ONE, "-k", "accuracy").assert_outcomes(passed=2)
    assert [cell.model for cell in project.record.cells] == ["shapes", "other"]


def test_baselines_of_another_batch_are_no_reason_to_rename(renamed: Project) -> None:
    for path in (renamed.path / "baselines").glob("*/shapes/fp16-*.json"):
        path.rename(path.with_name(path.name.replace("-b1", "-b16")))
        text = path.with_name(path.name.replace("-b1", "-b16"))
        text.write_text(text.read_text().replace('"batch": 1', '"batch": 16'))
    renamed.run(ONE)
    assert "has baselines as" not in renamed.verdict("fp16", "latency").summary
