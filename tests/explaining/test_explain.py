"""``pytest --trt-explain`` and ``trtgate explain``: why the accuracy of a cell fell."""

from __future__ import annotations

from typing import Any

import pytest
from fake_jobs import Behaviour
from inline_launcher import InlineLauncher
from pretended import PretendedMachine
from project import Project

import pytest_trtgate.jobs
from pytest_trtgate.cli import main
from pytest_trtgate.errors import JobError
from pytest_trtgate.explaining import of_run
from pytest_trtgate.records import Explanation, save

KEY = "shapes-int8-320-b1-onnxruntime-cpu"
RECORD = "reports/run.json"
HARM = {f"stem.{n}": 0.001 for n in range(3)} | {f"neck.{n}": 0.0 for n in range(3)} | {"head.boxes.8.last": 0.2}
"""What each layer of the network costs in INT8."""
HALVED = {"pt": {"score": 0.9}, "int8": {"score": 0.45}}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose INT8 has one guilty layer, and half the scores; what the command line launches is fake."""
    found = Project(pytester.path, pytester)
    found.weights(Behaviour(harm=HARM, seen=HALVED))
    found.settings(top='precisions = ["int8"]')
    monkeypatch.setattr(pytest_trtgate.jobs, "LocalLauncher", lambda **_: InlineLauncher())
    return found


def explained(*arguments: str) -> int:
    """Explain cells of the last run; return the exit status."""
    return main(["explain", RECORD, *arguments], PretendedMachine())


def page_of(project: Project) -> str:
    return (project.path / "reports" / "trtgate.html").read_text(encoding="utf-8")


def found_in(project: Project) -> Explanation:
    return project.record.explanations[KEY]


def test_a_failed_cell_is_explained_by_symptoms_layers_and_blocks(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("-k", "accuracy").assert_outcomes(failed=1)
    assert project.record.explanations == {}
    assert explained() == 0
    out = capsys.readouterr().out
    assert "shapes int8: scores lower: the engine's scores are 0.50 times those of the .pt" in out
    assert "INT8 harms head.boxes most: with its 1 layer kept out, mAP50-95 falls by 0.0030 in place of 0.2030" in out
    found = found_in(project)
    assert found.layers[0].name == "head.boxes.8.last"
    blocks = {block.name: (block.alone, block.without) for block in found.blocks}
    assert blocks["head.boxes"] == (pytest.approx(0.2), pytest.approx(0.003))
    assert blocks["stem"] == (pytest.approx(0.003), pytest.approx(0.2))
    assert "  25.00 % clipped, 0 % unused: head.boxes.8.last, -2 to 1 seen in -1 to 1" in out
    assert "outlier /data/train/9.png: alone sets 3 ranges, 7.5 times the median image's in stem" in out


def test_the_report_has_the_sentence_on_its_card_a_bar_per_block_and_the_outliers(project: Project) -> None:
    project.run("-k", "accuracy")
    assert "<h4>Why</h4>" not in project.page
    assert "To find out why" in project.page
    explained()
    page = page_of(project)
    assert "To find out why" not in page
    assert '<p class="why"><b>Why</b> scores lower: the engine' in page
    assert "drop of mAP50-95 that each block causes in INT8" in page
    assert page.count("<rect") >= 3
    assert '<image href="data:image/jpeg;base64,/9j/"' in page
    assert "/data/train/9.png" in page


def test_an_explanation_goes_into_the_record_as_it_is_by_then(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project.run("-k", "accuracy")
    path, explain_now = project.path / RECORD, of_run.explain
    other = Explanation(cell=project.record.cells[0].model_copy(update={"batch": 7}), sentence="of another process")

    def meanwhile(change: dict[str, object]) -> None:
        def explaining(*arguments: Any) -> Explanation:
            found = explain_now(*arguments)
            save(path, project.record.model_copy(update=change))
            return found

        monkeypatch.setattr("pytest_trtgate.explaining.explain", explaining)

    meanwhile({"explanations": {"other": other}})
    assert explained() == 0
    assert set(project.record.explanations) == {KEY, "other"}
    meanwhile({"run_id": "another", "explanations": {}})
    assert explained("--only", KEY) == 2
    assert "is the record of another run by now, so the explanation is not put into it" in capsys.readouterr().err
    assert (project.record.run_id, project.record.explanations) == ("another", {})


def test_a_run_explains_its_failures_where_it_is_asked_to(project: Project) -> None:
    result = project.run("-k", "accuracy", "--trt-explain")
    result.assert_outcomes(failed=1)
    assert found_in(project).symptoms[0].found
    assert "<h4>Why</h4>" in project.page
    assert "shapes int8, why: scores lower: the engine's scores are 0.50 times" in result.stdout.str()


def test_a_cell_that_cannot_be_explained_is_told_and_fails_nothing_more(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object) -> Explanation:
        raise JobError("survey", "nothing can be read")

    monkeypatch.setattr(of_run, "explain", refusing)
    result = project.run("-k", "accuracy", "--trt-explain")
    result.assert_outcomes(failed=1)
    assert "shapes int8: not explained: nothing can be read" in result.stdout.str()
    assert "shapes int8: not explained: nothing can be read" in project.record.notes


def test_a_passing_cell_is_explained_on_request_only(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.weights(Behaviour(seen={"pt": {"score": 0.9}, "int8": {"score": 0.9}}))
    project.run("-k", "accuracy", "--trt-explain").assert_outcomes(passed=1)
    assert project.record.explanations == {}
    assert explained() == 2
    assert "no accuracy failed; name a cell with --only" in capsys.readouterr().err
    assert explained("--only", KEY) == 0
    assert "mAP50-95 is unharmed" in found_in(project).sentence
    assert explained("--only", "no-such-key") == 2


def test_what_cannot_be_compared_is_said_and_the_rest_is_explained(project: Project) -> None:
    project.weights(Behaviour(harm=HARM, seen=HALVED, faults={"explain-int8": "refuse"}))
    project.run("-k", "accuracy", "--trt-explain").assert_outcomes(failed=1)
    found = found_in(project)
    assert found.layers_note.startswith("not compared: ")
    assert found.symptoms[0].found
    project.weights(Behaviour(harm=HARM))
    project.run("-k", "accuracy", "--trt-explain").assert_outcomes(failed=1)
    found = found_in(project)
    assert "mAP50-95 was not taken apart" in found.sentence
    assert found.layers[0].name == "head.boxes.8.last"


def test_blocks_are_tried_for_as_long_as_the_settings_say(project: Project) -> None:
    project.settings(top='precisions = ["int8"]', more="[explain]\nminutes = 0.000001\n")
    project.run("-k", "accuracy", "--trt-explain").assert_outcomes(failed=1)
    found = found_in(project)
    assert all(block.without is None for block in found.blocks)
    assert "explain.minutes" in found.blocks_note
    assert found.layers


@pytest.mark.parametrize(
    ("faults", "note"),
    [
        ({}, "a TensorRT build with 7 of 7 layers marked as debug tensors, behind which it fuses nothing, beside that"),
        ({"explain-tensorrt-int8": "refuse"}, "an ONNX graph that ONNX Runtime quantized alike beside that"),
    ],
)
def test_layers_of_tensorrt_are_its_own_or_the_note_says_why_not(
    project: Project, faults: dict[str, str], note: str
) -> None:
    project.use_gpu()
    project.weights(Behaviour(harm=HARM, seen=HALVED, faults=faults))
    project.run("-k", "accuracy", "--trt-explain").assert_outcomes(failed=1)
    (found,) = project.record.explanations.values()
    assert found.layers_note.startswith(note)
    assert ("; TensorRT's own layers were not told: " in found.layers_note) is bool(faults)
    assert found.layers[0].name == "head.boxes.8.last"
