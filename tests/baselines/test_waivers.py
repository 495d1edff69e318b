"""Waivers: a failure that may pass until a date, with its reason wherever the failure is shown."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Literal

import pytest
from fake_jobs import Behaviour
from project import Project, snapshot
from pydantic import ValidationError

from pytest_trtgate.baselines.waivers import Waiver, Waivers, change_waivers, load_waivers
from pytest_trtgate.cli import main

FP16 = "--trt-precision=fp16"
CELL = "shapes-fp16-320-b1-onnxruntime-cpu"
WORSE = Behaviour(drop={"fp16": 0.1})
DAY = timedelta(days=1)


def today() -> date:
    return datetime.now(timezone.utc).date()


def waiver(
    until: date, subject: Literal["accuracy", "latency"] | None = None, cell: str = CELL, reason: str = "known, see #7"
) -> Waiver:
    return Waiver(cell=cell, subject=subject, until=until, reason=reason)


def waive(project: Project, *waivers: Waiver) -> Path:
    return change_waivers(project.path / "baselines", lambda _: Waivers(waivers=waivers))


def test_a_reason_of_blanks_is_none() -> None:
    with pytest.raises(ValidationError):
        waiver(date(2030, 1, 1), reason="  ")


# In a run


def test_a_waived_failure_passes_and_is_still_a_failure(project: Project) -> None:
    project.weights(WORSE)
    waive(project, waiver(today()))
    result = project.run(FP16, "--junitxml=junit.xml")
    result.assert_outcomes(passed=2)
    verdict = project.verdict("fp16", "accuracy")
    said = f"waived until {today()}: known, see #7"
    assert (str(verdict.outcome), verdict.failed, verdict.waived) == ("FAIL", False, said)
    assert said in " ".join(result.stdout.str().split())
    page = project.page
    assert 'id="failures"' not in page
    notes = page[page.index('id="remarks"') :]
    assert said in notes
    assert "1 of 2 pass; 1 could not be decided and did not fail the run, 1 failed" not in page
    assert "1 failed and is waived for now" in page
    assert f'<property name="trtgate_accuracy_waived" value="{said}"' in (project.path / "junit.xml").read_text()


def test_an_expired_waiver_waives_nothing_and_is_named(project: Project) -> None:
    project.weights(WORSE)
    waive(project, waiver(today() - DAY))
    result = project.run(FP16)
    result.assert_outcomes(passed=1, failed=1)
    assert f"its waiver until {today() - DAY} has expired: known, see #7" in result.stdout.str()


def test_a_waiver_of_one_subject_leaves_the_other(project: Project) -> None:
    project.weights(WORSE)
    waive(project, waiver(today() + DAY, "latency"))
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    waive(project, waiver(today() + DAY, "accuracy"))
    project.run(FP16).assert_outcomes(passed=2)


def test_a_waiver_of_another_cell_waives_nothing(project: Project) -> None:
    project.weights(WORSE)
    waive(project, waiver(today() + DAY, cell=CELL.replace("fp16", "int8")))
    project.run(FP16).assert_outcomes(passed=1, failed=1)


@pytest.mark.parametrize(("policy", "failed"), [("fail", 1), ("record", 0)])
def test_a_waiver_excuses_failures_only(project: Project, policy: str, failed: int) -> None:
    project.settings("p95 = { budget_ms = 3.5 }\n", top=f'missing_baseline = "{policy}"')
    waive(project, waiver(today()))
    project.run(FP16, "-k", "latency").assert_outcomes(passed=1 - failed, failed=failed)
    verdict = project.verdict("fp16", "latency")
    said = f"waived until {today()}: known, see #7"
    assert (str(verdict.outcome), verdict.failed, verdict.waived) == ("FAIL", bool(failed), "" if failed else said)
    left = f"; {said}; fp16: latency was not compared with a baseline: no baseline yet"
    assert verdict.summary.endswith(left) is bool(failed)


def test_a_waiver_holds_on_any_gpu_and_not_on_the_cpu() -> None:
    first, second = (CELL.replace("onnxruntime-cpu", f"tensorrt-{number}") for number in (0, 1))
    waivers = Waivers(waivers=(waiver(today(), cell=first),))
    assert waivers.find(second, "latency") is not None
    assert waivers.find(CELL, "latency") is None
    assert waivers.removed(second, None).waivers == ()


def test_an_error_is_never_waived(project: Project) -> None:
    project.weights(Behaviour(faults={"accuracy-fp16": "refuse"}))
    waive(project, waiver(today() + DAY))
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    verdict = project.verdict("fp16", "accuracy")
    assert verdict.waived == ""
    assert verdict.summary.endswith("; the waiver does not apply: it covers FAIL, not ERROR")


def test_a_cell_that_passes_says_nothing_of_its_waiver(project: Project) -> None:
    waive(project, waiver(today() + DAY))
    project.run(FP16).assert_outcomes(passed=2)
    assert project.verdict("fp16", "accuracy").waived == ""


def test_a_damaged_file_of_waivers_waives_nothing_and_is_named(project: Project) -> None:
    project.weights(WORSE)
    path = waive(project, waiver(today() + DAY))
    path.write_text(path.read_text()[:40])
    result = project.run(FP16)
    result.assert_outcomes(passed=1, failed=1)
    assert f"no waiver applies: {path}: not valid JSON" in result.stdout.str()


def test_a_waived_cell_gets_no_baseline_from_its_failure(project: Project) -> None:
    project.weights(WORSE)
    waive(project, waiver(today() + DAY))
    project.run(FP16, "--trt-baselines=update").assert_outcomes(passed=2)
    assert not project.baseline("fp16").exists()


# Which one counts


def test_the_waiver_that_holds_longest_counts() -> None:
    short, long = waiver(date(2027, 1, 1), "latency"), waiver(date(2027, 2, 1))
    assert Waivers(waivers=(short, long)).find(CELL, "latency") == long
    assert Waivers(waivers=(short,)).find(CELL, "accuracy") is None


def test_a_new_waiver_replaces_that_of_the_same_subject_and_one_for_both_replaces_all() -> None:
    one = Waivers(waivers=(waiver(date(2027, 1, 1), "latency"), waiver(date(2027, 1, 1), "accuracy")))
    later = waiver(date(2027, 3, 1), "latency")
    assert one.granted(later).waivers == (one.waivers[1], later)
    both = waiver(date(2027, 3, 1))
    assert one.granted(both).waivers == (both,)


# The command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one model, the working folder of the test."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trtgate.toml").write_text('models = ["shapes.pt"]\n')
    return tmp_path


UNTIL = f"--until={today() + DAY}"


def test_the_command_writes_what_a_run_reads(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["baseline", "waive", CELL, UNTIL, "--reason", "driver\n update", "--subject=latency"]) == 0
    path = folder / "baselines" / "waivers.json"
    assert capsys.readouterr().out == f"{path}: {CELL} latency waived until {today() + DAY}: driver update\n"
    assert load_waivers(folder / "baselines").waivers == (waiver(today() + DAY, "latency", reason="driver update"),)
    assert main(["baseline", "waive", "--remove", CELL]) == 0
    assert snapshot(folder).keys() == {"trtgate.toml"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([CELL, "--reason=x"], "--until is missing: the last day on which the cell may fail, such as 2027-01-31"),
        ([CELL, "--until=31.1.2027", "--reason=x"], "--until = 31.1.2027 is not a date such as 2027-01-31"),
        ([CELL, "--until=2020-01-01", "--reason=x"], "--until = 2020-01-01 has passed; choose today"),
        ([CELL, UNTIL], "a waiver needs a reason: --reason 'TEXT'"),
        ([CELL, UNTIL, "--reason= "], "a waiver needs a reason: --reason 'TEXT'"),
        (["shapes-fp16", UNTIL, "--reason=x"], "'shapes-fp16' is not the key of a cell; "),
        ([CELL.replace("shapes", "shape"), UNTIL, "--reason=x"], "no model 'shape' in the settings; they have: shapes"),
        (["--remove", CELL], f"no waiver of {CELL}; there are: none"),
    ],
)
def test_a_waiver_that_makes_no_sense_is_wrong_usage(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    before = snapshot(folder)
    assert main(["baseline", "waive", *arguments]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
    assert snapshot(folder) == before


def test_waivers_that_cannot_be_read_are_left_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "baselines" / "waivers.json"
    path.parent.mkdir()
    path.write_text('{"schema_version": 99}')
    assert main(["baseline", "waive", CELL, UNTIL, "--reason=x"]) == 2
    assert "written by a newer pytest-trtgate" in capsys.readouterr().err
    assert path.read_text() == '{"schema_version": 99}'


def test_waivers_that_cannot_be_written_are_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "baselines").write_text("not a folder")
    assert main(["baseline", "waive", CELL, UNTIL, "--reason=x"]) == 2
    assert "baselines: cannot be written (" in capsys.readouterr().err
