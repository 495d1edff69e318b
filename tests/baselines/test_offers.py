"""What a user who accepts a change is told and offered: the machine's part of it, and commands that work as printed."""

from __future__ import annotations

import re
import shlex
import shutil
from itertools import pairwise
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import Project
from runs_example import BUSY_WITH, busy, passing_run

from pytest_trtgate.cli import main
from pytest_trtgate.records.baseline import Baseline
from pytest_trtgate.records.files import load, save
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import FINDING, Check, Outcome, Verdict
from pytest_trtgate.report import summary_lines

FP16 = "--trt-precision=fp16"
RUN = "reports/run.json"
SLOWER = Behaviour(map50_95=0.7501, p50_ms={"pt": 8.0, "fp16": 4.28})
"""Another engine, 1.9 % slower than the accepted one."""
MUCH_SLOWER = Behaviour(p50_ms={"pt": 8.0, "fp16": 7.0, "int8": 3.0})


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """Run a command of ours and return what it prints."""
    capsys.readouterr()
    assert main(list(arguments)) == status
    return capsys.readouterr().out


def recorded_on_a_faster_machine(project: Project, factor: float = 0.63) -> None:
    """Scale the stored times of the FP16 baseline."""
    path = project.baseline("fp16")
    baseline = load(path, Baseline)
    [session] = baseline.sessions
    launches = tuple(
        launch.model_copy(
            update={
                "timings": {
                    context: t.model_copy(update={"quantiles_ms": tuple(q * factor for q in t.quantiles_ms)})
                    for context, t in launch.timings.items()
                }
            }
        )
        for launch in session.launches
    )
    save(path, baseline.model_copy(update={"sessions": (session.model_copy(update={"launches": launches}),)}))


@pytest.mark.parametrize("same", [True, False])
def test_what_the_machine_adds_to_a_latency_is_told_before_it_is_stored(
    accepted: Project, capsys: pytest.CaptureFixture[str], same: bool
) -> None:
    recorded_on_a_faster_machine(accepted)
    if not same:
        accepted.weights(SLOWER)
    accepted.run(FP16).assert_outcomes(passed=2)
    # The fake times have some noise.
    beside = "though the engine is the same" if same else r"beside the replayed baseline \+[12]\.\d %"
    told = re.compile(
        rf"stored p50 2\.6\d -> 4\.\d\d ms \(\+[56]\d\.\d %\), {beside}: "
        r"the machine was slower when this was recorded; accepting stores the slower session\n"
    )
    for command in ("diff", "accept"):
        assert told.search(said(capsys, "baseline", command, RUN))
    # What is stored already is no longer news.
    assert "the machine was" not in said(capsys, "baseline", "diff", RUN)


def test_a_machine_that_is_as_fast_as_before_is_not_talked_about(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.weights(SLOWER)
    accepted.run(FP16)
    assert "the machine was" not in said(capsys, "baseline", "diff", RUN)
    recorded_on_a_faster_machine(accepted, factor=2)
    assert "the machine was faster when this was recorded" in said(capsys, "baseline", "diff", RUN)


def test_a_run_on_a_busy_machine_is_accepted_only_where_that_is_allowed(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(accepted.path / "cache" / "engines")  # so that no two copies tell what the load did
    accepted.weights(SLOWER)
    accepted.run(FP16)
    save(accepted.path / RUN, busy(accepted.record))
    refused = (
        f"shapes fp16: baseline not written, since {BUSY_WITH} [machine-busy]; measure again on a quiet machine, or "
        "take it as it is with --allow-busy\n"
    )
    before = accepted.baseline("fp16").read_bytes()
    assert said(capsys, "baseline", "accept", RUN, status=1) == refused
    assert accepted.baseline("fp16").read_bytes() == before
    shown, allowed = (said(capsys, "baseline", "diff", RUN, *more) for more in ((), ("--allow-busy",)))
    assert allowed.endswith(f"  the machine was busy: {BUSY_WITH}\n")
    # The differences are those of any run; what stands against accepting it comes after them.
    assert " would replace 1 stored session\n  mAP50 " in shown
    needs = f"  accepting needs --allow-busy: {BUSY_WITH} [machine-busy]\n"
    assert shown == allowed.replace(f"  the machine was busy: {BUSY_WITH}\n", needs)
    assert "baseline written" in said(capsys, "baseline", "accept", RUN, "--allow-busy")
    assert accepted.baseline("fp16").read_bytes() != before
    assert said(capsys, "baseline", "show").count(BUSY_WITH) == 1  # with its session


@pytest.mark.parametrize(("command", "status"), [("accept", 1), ("accept --allow-busy", 0), ("diff", 0)])
def test_what_kept_the_machine_busy_is_told_once_for_all_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, status: int
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "run.json", busy(passing_run()))
    out = said(capsys, "baseline", *command.split(), "run.json", status=status)
    assert out.count(BUSY_WITH) == 1
    assert out.count("the same as above") == 2


def test_a_terminal_tells_what_kept_the_machine_busy_once() -> None:
    run = busy(passing_run())

    def doubted(verdict: Verdict) -> Verdict:
        told = {"outcome": Outcome.INCONCLUSIVE, "summary": f"slower, but {BUSY_WITH}: it may be the machine"}
        return verdict.model_copy(update=told) if verdict.subject == "latency" else verdict

    shown = run.model_copy(update={"verdicts": tuple(map(doubted, run.verdicts))})
    text = "\n".join(line for line, _ in summary_lines([shown], 1000))
    assert text.count(f"slower, but {BUSY_WITH}: ") == 1
    assert text.count("slower, but the same as above: ") == 2


def test_each_command_that_a_failure_offers_works_from_the_folder_of_the_run(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project.weights(Behaviour(), "it's a model.pt")
    base = 'models = ["it\'s a model.pt"]\ndata = "data/data.yaml"\nimgsz = 320\ncache_dir = "cache"\n'
    project.settings(base=base, top='keep_runs = 1\nmissing_baseline = "fail"')
    monkeypatch.chdir(project.path.parent)
    where = (project.path.name, "--trt-precision=fp16,int8")
    first = project.run(*where)
    pair = [v for v in project.record.verdicts if v.subject == "latency"]
    assert [str(v.outcome) for v in pair] == ["NO_BASELINE", "NO_BASELINE"]
    # Another run takes the place of the report meanwhile, but not that of the folder with the record.
    second = project.run(*where, "-k", "accuracy")
    for verdict in pair:
        assert f"    to accept: {verdict.accept_cell}" in first.outlines
        program, *arguments = shlex.split(verdict.accept_cell)
        assert program == "trtgate"
        assert "baseline written to " in said(capsys, *arguments)
    found = sorted(path.name for path in (project.path / "baselines").rglob("*.json"))
    assert found == [f"{one}-320-b1{of}.json" for one in ("fp16", "int8") for of in ("-onnxruntime", "")]
    assert "    or all, anew: pytest" in "\n".join(first.outlines)
    [joint] = [line for line in first.outlines if line.startswith("to accept these 2 cells at once: trtgate ")]
    assert "--only" not in joint
    shutil.rmtree(project.path / "baselines")
    told = said(capsys, *shlex.split(joint.partition(": trtgate ")[2]))
    assert told.count("baseline written to ") == 2
    [line] = [line for line in second.outlines if "of the earlier run" in line]
    assert line.startswith("this report has 2 of the 4 verdicts of the earlier run; to see that again: trtgate report ")
    assert main(shlex.split(line.partition("again: ")[2])[1:]) == 0
    page = next((project.path / "reports").glob("trtgate-2*.html"))
    assert "int8" in page.read_text()
    # Beside a cell that has a baseline, the command names those that have none.
    for path in list((project.path / "baselines").rglob("fp16-*.json")):
        path.unlink()
    third = project.run(project.path.name, "--trt-precision=fp32,fp16,int8")
    [joint] = [line for line in third.outlines if line.startswith("to accept these 2 cells at once: trtgate ")]
    words = shlex.split(joint)
    named = [key for flag, key in pairwise(words) if flag == "--only"]
    assert named == [v.cell.key for v in project.record.verdicts if str(v.outcome) == "NO_BASELINE"][::2]


def test_a_latency_that_was_judged_alone_is_accepted_alone(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    before = accepted.accepted_accuracy("fp16").read_bytes()
    accepted.weights(MUCH_SLOWER)
    accepted.run(FP16, "-k", "latency").assert_outcomes(failed=1, deselected=1)
    told = said(capsys, *shlex.split(accepted.verdict("fp16", "latency").accept_cell)[1:])
    assert told == f"shapes fp16: baseline written to {accepted.baseline('fp16')}\n"
    assert accepted.accepted_accuracy("fp16").read_bytes() == before
    accepted.run(FP16, "-k", "latency").assert_outcomes(passed=1, deselected=1)


def test_a_latency_that_no_run_can_store_offers_no_way_to_accept_it(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.0, p50_ms=MUCH_SLOWER.p50_ms))
    accepted.run(FP16).assert_outcomes(failed=2)
    assert [(str(v.outcome), v.accept) for v in accepted.record.verdicts] == [("FAIL", ""), ("FAIL", "")]


def test_on_a_busy_machine_the_command_that_takes_the_run_nevertheless_is_offered(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(accepted.path / "cache" / "engines")  # so that one stored session is all there is to compare with
    accepted.weights(MUCH_SLOWER)
    accepted.pretend(busy=(BUSY_WITH,))
    result = accepted.run(FP16)
    result.assert_outcomes(passed=2)
    verdict = accepted.verdict("fp16", "latency")
    assert str(verdict.outcome) == "INCONCLUSIVE"
    assert f", but {BUSY_WITH}: it may be the machine; measure again on a quieter machine; " in verdict.summary
    assert verdict.accept == f"pytest {FP16} --trt-baselines=update"
    assert verdict.accept_cell.endswith(" --only shapes-fp16-320-b1-onnxruntime-cpu --allow-busy")
    assert f"    to accept, though the machine was busy: {verdict.accept_cell}" in result.outlines
    assert "To accept this cell, though the machine was busy" in accepted.page
    assert "baseline written to " in said(capsys, *shlex.split(verdict.accept_cell)[1:])


# Limits that have to change, and a baseline beside them


SET = 'set "mAP50" = 0.0080 and "mAP50-95" = 0.0080 under [accuracy.fp16] in trtgate.toml'
LOOSER = '[accuracy.fp16]\n"mAP50" = 0.0080\n"mAP50-95" = 0.0080\n'
UPDATE = f"pytest {FP16} --trt-baselines=update"


def test_once_the_tolerances_are_changed_as_told_the_run_that_failed_them_is_accepted(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.weights(Behaviour(map50_95=0.74, drop={"fp16": 0.008}, p50_ms=MUCH_SLOWER.p50_ms))
    accepted.run(FP16).assert_outcomes(failed=2)
    offered = {v.subject: (v.accept, v.accept_cell) for v in accepted.record.verdicts}
    pasted = LOOSER.replace("0.05", "0.0500")
    assert {v.accept_toml for v in accepted.record.verdicts} == {f"# trtgate.toml\n{pasted}".strip()}
    # Also where the other subject alone fails a limit.
    assert offered == dict.fromkeys(("accuracy", "latency"), (f"{SET}, then {UPDATE}", ""))
    refusal = f"shapes fp16: baseline not written, since its accuracy is FAIL; {SET}\n"
    assert said(capsys, "baseline", "accept", RUN, status=1) == refusal
    # What the settings have for other models says nothing of this one, and a population needs what no record holds.
    for base in ('models = ["other.pt"]\n', "imgsz = 320\n"):
        accepted.settings(LOOSER, base=base)
        assert said(capsys, "baseline", "accept", RUN, status=1) == refusal
    accepted.settings(f'{LOOSER}[accuracy]\nmode = "population"\n')
    assert said(capsys, "baseline", "accept", RUN, status=1) == refusal
    accepted.settings(LOOSER.replace('"mAP50" = 0.0080', '"mAP50" = 0.0079'))
    assert said(capsys, "baseline", "accept", RUN, status=1) == refusal.replace(' and "mAP50-95" = 0.0080', "")
    accepted.settings(LOOSER)
    was = "shapes fp16: its accuracy to the .pt was FAIL in that run, and is PASS by the tolerances of now\n"
    assert said(capsys, "baseline", "diff", RUN).startswith(f"{was}shapes fp16: would replace 1 stored session\n")
    assert said(capsys, "baseline", "accept", RUN).startswith(f"{was}shapes fp16: baseline written to ")
    accepted.run(FP16).assert_outcomes(passed=2)
    accepted.settings()
    assert "was PASS in that run, and is FAIL by" in said(capsys, "baseline", "accept", RUN, status=1)


def test_after_another_budget_one_run_is_needed_and_is_enough(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.settings("p50 = { budget_ms = 3.0 }\n")
    accepted.weights(MUCH_SLOWER)
    accepted.run(FP16).assert_outcomes(passed=1, failed=1)
    change = "set p50.budget_ms = 7.7"
    verdict = accepted.verdict("fp16", "latency")
    assert verdict.accept.startswith(change)
    assert verdict.accept.endswith(f" under [latency.fp16] in trtgate.toml, then {UPDATE}")
    accepted.settings("p50 = { budget_ms = 7.8 }\n")
    refusal = said(capsys, "baseline", "accept", RUN, status=1)
    assert f"its latency is FAIL; {change}" in refusal
    assert refusal.endswith(", then measure again, since a run is judged by the limits that it had\n")
    result = accepted.run(FP16, "--trt-baselines=update")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["shapes fp16: baseline written to *"])


def test_an_earlier_run_that_is_not_kept_is_said_not_to_be(project: Project) -> None:
    project.run(FP16)
    shutil.rmtree(project.run_folders()[0])
    out = project.run(FP16, "-k", "latency").outlines
    assert "this report has 1 of the 2 verdicts of the earlier run, whose record is not kept" in out
    record = load(project.path / RUN, RunRecord)
    assert len(record.verdicts) == 1
    assert not any("earlier run" in line for line in project.run(FP16).outlines)


def test_a_finding_that_failed_a_run_is_not_accepted_by_other_settings(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    record = accepted.record
    failed = Check(name="few-images", against=FINDING, outcome=Outcome.FAIL, sentence="4 images")
    verdicts = tuple(
        v.model_copy(update={"checks": (*v.checks, failed), "outcome": Outcome.FAIL}) if v.subject == "accuracy" else v
        for v in record.verdicts
    )
    save(accepted.path / RUN, record.model_copy(update={"verdicts": verdicts}))
    why = (
        'since its accuracy is FAIL; set few-images = "warn" under [findings] in '
        "trtgate.toml, then measure again, since a run is judged by the limits that it had\n"
    )
    assert said(capsys, "baseline", "accept", RUN, status=1) == f"shapes fp16: baseline not written, {why}"
    shown = said(capsys, "baseline", "diff", RUN)
    assert "\n  p50 " in shown
    assert shown.endswith(f"\n  accepting is refused, {why}")


@pytest.mark.parametrize(("copy_ms", "disturbed"), [(4.2, False), (4.2 * 1.03, True)])
def test_a_load_that_two_copies_of_one_engine_did_not_feel_needs_no_leave_and_is_said(
    project: Project, capsys: pytest.CaptureFixture[str], copy_ms: float, disturbed: bool
) -> None:
    speeds = {"pt": 8.0, "fp16": 4.2, "baseline-fp16-placebo": copy_ms}
    project.weights(Behaviour(p50_ms=speeds))
    project.run(FP16, "--trt-baselines=add").assert_outcomes(passed=2)
    project.weights(Behaviour(p50_ms={"pt": 8.0, "fp16": 4.2 * 1.3}))
    project.pretend(busy=(BUSY_WITH,))
    project.run(FP16).assert_outcomes(passed=1, failed=1)
    command = project.verdict("fp16", "latency").accept_cell
    assert command.endswith(" --only shapes-fp16-320-b1-onnxruntime-cpu" + (" --allow-busy" if disturbed else ""))
    accept = ["baseline", "accept", *shlex.split(command)[3:6]]
    said_it = said(capsys, *accept, status=int(disturbed))
    assert ("which two copies of the baseline engine did not feel" in said_it) is not disturbed
