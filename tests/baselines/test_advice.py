"""An engine that lost far more than it may is broken: no tolerance is offered, and it is not accepted by the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.baselines import advice, repair_command, why_broken
from pytest_trtgate.cli import main
from pytest_trtgate.records import Cell, Check, Finding, Outcome, Precision, Verdict

RUN = "reports/run.json"


def verdict(change: float, precision: Precision = "int8", limit: float = 0.01, **more: Any) -> Verdict:
    """Return a verdict on an accuracy that fell."""
    cell = Cell(model="best", precision=precision, imgsz=640, batch=1, backend="onnxruntime", device="cpu")
    outcome = Outcome.FAIL if change > limit else Outcome.PASS
    numbers = {"value": 0.8 - change, "reference": 0.8, "change": change, "limit": limit}
    check = Check(name="mAP50-95", against="pt", outcome=outcome, sentence="it fell", **numbers)
    return Verdict(
        **{"subject": "accuracy", "outcome": outcome, "checks": (check,), **more}, cell=cell, failed=True, summary=""
    )


@pytest.mark.parametrize(
    ("change", "limit", "why"),
    [
        (0.005, 0.01, ""),
        (0.8 - 0.77, 0.01, ""),
        (0.031, 0.01, "mAP50-95 fell by more than 3 times its tolerance"),
        (0.05, 0.03, ""),
        (0.051, 0.03, "mAP50-95 fell by more than 0.05"),
        (0.06, 0.07, ""),
    ],
)
def test_a_drop_is_harm_by_its_tolerance_or_by_itself(change: float, limit: float, why: str) -> None:
    assert why_broken(verdict(change, limit=limit)) == why


@pytest.mark.parametrize("kind", ["confidence-collapse", "low-agreement"])
def test_a_finding_says_that_a_failed_engine_is_broken(kind: str) -> None:
    found = (Finding(id=kind, severity="warn", sentence="scores halved"),)
    assert why_broken(verdict(0.02, findings=found)) == f"{kind} says that the engine is broken"
    assert why_broken(verdict(0.005, findings=found)) == ""


def test_a_latency_and_a_checkpoint_that_finds_nothing_are_another_matter() -> None:
    assert why_broken(verdict(0.5, subject="latency")) == ""
    nothing = Check(name="mAP50", against="pt", value=0.0, reference=0.0, change=0.2, outcome=Outcome.FAIL, sentence="")
    assert why_broken(verdict(0.2, checks=(nothing,))) == ""


def test_each_precision_has_its_own_cause_and_int8_a_command() -> None:
    record = Path("reports") / "my run.json"
    said = {p: advice(verdict(0.2, p)).partition(": ")[2] for p in ("fp32", "fp16", "int8")}  # type: ignore[arg-type]
    assert len(set(said.values())) == 3
    assert said["int8"].startswith("INT8 harms some layers of this network, or its calibration images")
    command = "trtgate repair 'reports/my run.json' --only best-int8-640-b1-onnxruntime-cpu"
    # A small loss may be mended too; a tolerance is not all that there is to offer.
    assert repair_command(verdict(0.2), record) == repair_command(verdict(0.02), record) == command
    assert (
        repair_command(verdict(0.2, "fp16"), record) == repair_command(verdict(0.02, subject="latency"), record) == ""
    )


def test_the_card_of_a_small_loss_names_what_explains_and_what_repairs_it_beside_its_tolerance(
    project: Project,
) -> None:
    project.weights(Behaviour(drop={"int8": 0.015}))
    result = project.run("--trt-precision=int8", "-k", "accuracy")
    (found,) = project.record.verdicts
    assert found.accept.startswith("set ")
    text = result.stdout.str()
    for command in (found.explain, found.repair):
        assert command.split()[:2] in (["trtgate", "explain"], ["trtgate", "repair"])
        assert f": {command}\n" in text


def test_a_broken_cell_is_told_of_and_offered_no_tolerance(project: Project) -> None:
    project.weights(Behaviour(drop={"int8": 0.2}))
    result = project.run("--trt-precision=int8", "-k", "accuracy")
    result.assert_outcomes(failed=1)
    (found,) = project.record.verdicts
    assert found.accept == found.accept_cell == ""
    assert found.repair.startswith("trtgate repair ")
    assert found.repair.endswith(f"/run.json --only {found.cell.key}")
    text = result.stdout.str()
    assert f"Advice: {found.advice}\nRepair: {found.repair}\n" in text
    assert f"    to repair: {found.repair}\n" in text
    assert "to accept" not in text
    assert 'set "mAP50' not in text


def test_a_broken_cell_is_accepted_only_even_so(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.weights(Behaviour(drop={"fp16": 0.2}))
    project.run("--trt-precision=fp16").assert_outcomes(failed=1, passed=1)
    # A tolerance that was raised since makes no engine whole.
    project.settings('[accuracy.fp16]\n"mAP50" = 0.3\n"mAP50-95" = 0.3\n')
    capsys.readouterr()
    assert main(["baseline", "accept", RUN]) == 1
    refused = "baseline not written, since mAP50 fell by more than 0.05; mend it, or take it as it is with --even-so\n"
    assert capsys.readouterr().out.endswith(refused)
    assert main(["baseline", "accept", RUN, "--even-so"]) == 0
    assert "baseline written to" in capsys.readouterr().out
    # Whoever tolerates as much before the run has said so.
    project.run("--trt-precision=fp16").assert_outcomes(passed=2)
    assert main(["baseline", "accept", RUN]) == 0


def test_a_report_of_a_record_makes_the_command_anew(project: Project, tmp_path: Path) -> None:
    project.weights(Behaviour(drop={"int8": 0.2}))
    project.run("--trt-precision=int8", "-k", "accuracy")
    text = (project.path / RUN).read_text().replace("trtgate repair", "rm -rf")
    (project.path / "other.json").write_text(text)
    assert main(["report", "other.json", "-o", "other.html"]) == 0
    page = (project.path / "other.html").read_text()
    assert "rm -rf" not in page
    assert "trtgate repair other.json --only shapes-int8-320-b1-onnxruntime-cpu" in page
