"""``trtgate baseline``: what was accepted is shown, changed on purpose from run records, and cleaned up."""

from __future__ import annotations

import json
import math
import re
import shutil
from datetime import date
from pathlib import Path

import pytest
from fake_jobs import Behaviour
from project import Project, snapshot

from pytest_trtgate.baselines.waivers import Waiver, Waivers, change_waivers
from pytest_trtgate.cli import main
from pytest_trtgate.records.baseline import AccuracyBaseline, Baseline
from pytest_trtgate.records.files import load, save
from pytest_trtgate.records.run import INTERRUPTED

FP16 = "--trt-precision=fp16"
KEY = "shapes-fp16-320-b1-onnxruntime-cpu"
SLOW = {"pt": 8.0, "fp32": 4.0, "fp16": 8.4, "int8": 3.0}
RUN = "reports/run.json"


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must end with exit status 2, and return its one sentence."""
    assert main(["baseline", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def done(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """Run a command and return what it prints."""
    capsys.readouterr()
    assert main(["baseline", *arguments]) == status
    return capsys.readouterr().out


# show


def test_show_tells_what_was_accepted(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    out = done(capsys, "show")
    machine = accepted.record.environment.machine
    assert out.startswith(f"accuracy\n  {KEY}\n    mAP50 0.8500, mAP50-95 0.7500, ")
    assert f"; 4 images\n    measured on {machine}, onnxruntime 1.31.0, " in out
    assert f"\n{machine}\n  {KEY}\n    p50 4.2" in out
    assert " (engine, median of launches); 1 session, last " in out
    assert f"2 baselines in {accepted.path / 'baselines'}, 0 unused\n" in out


def test_show_has_the_history_of_several_sessions(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert "per session" not in done(capsys, "show")
    accepted.run(FP16, "--trt-baselines=update")
    assert "p50 per session: 4." in done(capsys, "show")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ('models = ["other.pt"]', "no model 'shapes' in the settings"),
        ('models = ["gone/shapes.pt"]', "gone/shapes.pt does not exist"),
        ('models = ["shapes.pt"]\nimgsz = 640', "imgsz is 640 in the settings"),
        ('models = ["shapes.pt"]\nimgsz = 320\nbatch = 2', "batch is 2 in the settings"),
        ('models = ["shapes.pt"]\nimgsz = 320\nbackend = "tensorrt"', "backend is tensorrt in the settings"),
        ('models = ["shapes.pt"]\nimgsz = 320\nprecisions = ["int8"]', "no precision fp16 in the settings"),
    ],
)
def test_a_baseline_that_no_cell_uses_is_marked(
    accepted: Project, capsys: pytest.CaptureFixture[str], change: str, why: str
) -> None:
    accepted.settings(base=change)
    out = done(capsys, "show")
    assert "    unused: " in out
    assert why in out
    assert "2 unused\n" in out


def test_show_says_which_file_is_unusable(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    path = accepted.baseline("fp16")
    path.write_text(path.read_text()[:100])
    assert f"  unusable: {path}: not valid JSON" in done(capsys, "show")


def test_show_lists_waivers_and_whether_they_hold(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    other = KEY.replace("320", "640")
    waivers = (
        Waiver(cell=KEY, subject="latency", until=date(2020, 1, 31), reason="old"),
        Waiver(cell=KEY, until=date(2999, 1, 31), reason="new"),
        Waiver(cell=other, subject="accuracy", until=date(2999, 1, 31), reason="slip"),
    )
    change_waivers(accepted.path / "baselines", lambda _: Waivers(waivers=waivers))
    out = done(capsys, "show")
    assert f"{KEY} latency: waived until 2020-01-31 (expired): old\n" in out
    assert f"{KEY} accuracy and latency: waived until 2999-01-31: new\n" in out
    assert f"{other} accuracy: waived until 2999-01-31: slip; unused: imgsz is 320 in the settings\n" in out
    assert "2 baselines in " in out


def test_without_any_baselines_there_is_little_to_show(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    assert done(capsys, "show") == f"0 baselines in {project.path / 'baselines'}, 0 unused\n"


# diff and accept


@pytest.fixture
def slower(accepted: Project) -> Project:
    """A project whose last run found its FP16 engine slower than its baseline, and less accurate."""
    accepted.weights(Behaviour(map50_95=0.60, p50_ms=SLOW))
    accepted.run(FP16).assert_outcomes(failed=2)
    return accepted


def test_diff_says_what_would_change_and_changes_nothing(slower: Project, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(slower.path)
    out = done(capsys, "diff", RUN)
    assert out.startswith("shapes fp16: would replace 1 stored session\n")
    assert "  mAP50-95   0.7500 -> 0.6000 (-0.1500)\n" in out
    assert re.search(r"  p50        4\.\d+ -> 8\.[34]\d* ms \(\+", out)
    assert snapshot(slower.path) == before


def test_diff_of_a_run_like_the_baseline_joins_it(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.run(FP16)
    assert "shapes fp16: would join 1 stored session\n" in done(capsys, "diff", RUN)


@pytest.mark.parametrize("change", ["bytes", "threads"])
def test_diff_foretells_what_accept_does_with_another_engine_or_number_of_threads(
    accepted: Project, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    if change == "bytes":
        accepted.weights(Behaviour(map50_95=0.7501))
    else:
        threads = load(accepted.baseline("fp16"), Baseline).sessions[0].threads
        accepted.settings(top=f"threads = {threads + 1}")
    accepted.run(FP16)
    assert "shapes fp16: would replace 1 stored session\n" in done(capsys, "diff", RUN)
    done(capsys, "accept", RUN)
    assert [s.recorded_at for s in load(accepted.baseline("fp16"), Baseline).sessions] == [accepted.record.started_at]


def test_a_slower_and_less_accurate_run_is_accepted_from_its_record(
    slower: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    accuracy = slower.accepted_accuracy("fp16")
    both = f"{accuracy} and {slower.baseline('fp16')}"
    assert done(capsys, "accept", RUN) == f"shapes fp16: baseline written to {both}\n"
    assert load(accuracy, AccuracyBaseline).accuracy["mAP50-95"] == 0.6
    slower.run(FP16).assert_outcomes(passed=2)


def test_a_run_of_another_machine_is_accepted_for_that_machine(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    record = accepted.record
    gpu = {"machine": "nvidia-h200_tensorrt-10.3", "gpu": "NVIDIA H200", "device": "0", "commit": "c0ffee"}
    save(
        accepted.path / "ci" / "run.json",
        record.model_copy(update={"environment": record.environment.model_copy(update=gpu)}),
    )
    mine = snapshot(accepted.path / "baselines")
    path = accepted.path / "baselines" / "nvidia-h200_tensorrt-10.3" / "shapes" / "fp16-320-b1.json"
    assert (
        done(capsys, "accept", "ci/run.json") == f"shapes fp16: baseline written to {path}\n"
    )  # its accuracy is known
    baseline = load(path, Baseline)
    assert (baseline.environment.gpu, baseline.sessions[0].commit) == ("NVIDIA H200", "c0ffee")
    assert set(snapshot(accepted.path / "baselines").items()) >= set(mine.items())


@pytest.mark.parametrize("machine", ["accuracy", "waivers.json"])
def test_a_machine_with_the_name_of_what_else_is_there_is_not_accepted(
    accepted: Project, capsys: pytest.CaptureFixture[str], machine: str
) -> None:
    record = accepted.record
    environment = record.environment.model_copy(update={"machine": machine})
    save(accepted.path / "ci" / "run.json", record.model_copy(update={"environment": environment}))
    before = snapshot(accepted.path / "baselines")
    assert main(["baseline", "accept", "ci/run.json"]) == 1
    assert f"its kind of machine has the name '{machine}'" in capsys.readouterr().out
    assert snapshot(accepted.path / "baselines") == before


def test_one_run_is_one_session_however_often_it_is_accepted(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.run(FP16)
    assert "baseline written" in done(capsys, "accept", RUN)
    before = snapshot(accepted.path / "baselines")
    assert done(capsys, "accept", RUN).startswith("shapes fp16: the baseline has this run already (")
    assert done(capsys, "diff", RUN).startswith("shapes fp16: the baseline has this run already\n")
    assert snapshot(accepted.path / "baselines") == before
    assert len(load(accepted.baseline("fp16"), Baseline).sessions) == 2


def test_only_the_cells_that_are_named_are_accepted(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.run()
    done(capsys, "accept", "--only", KEY, "--only", KEY.replace("fp16", "fp32"), RUN)
    assert project.baseline("fp16").exists()
    assert project.baseline("fp32").exists()
    assert not project.baseline("int8").exists()


def test_a_drop_from_the_checkpoint_is_for_the_settings_to_accept(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    project.weights(Behaviour(drop={"fp16": 0.008}))
    project.run(FP16)
    out = done(capsys, "accept", RUN, status=1)
    assert out == (
        "shapes fp16: baseline not written, since its accuracy is FAIL; "
        'set "mAP50" = 0.0080 and "mAP50-95" = 0.0080 under [accuracy.fp16] in trtgate.toml\n'
    )
    assert not (project.path / "baselines").exists()


def test_an_error_is_not_accepted_while_other_cells_are(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    project.run("--trt-precision=fp16,int8")
    out = done(capsys, "accept", RUN, status=1)
    assert "shapes int8: baseline not written, since its accuracy is ERROR\n" in out
    assert project.baseline("fp16").exists()
    assert not project.baseline("int8").exists()


def test_a_budget_is_for_the_settings_to_accept(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    project.settings("p95 = { budget_ms = 3.5 }\n")
    project.run(FP16)
    out = done(capsys, "accept", RUN, status=1)
    assert "its latency is FAIL; set p95.budget_ms = 4." in out


def test_launches_without_the_cell_are_no_baseline(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    record = accepted.record
    latency = record.latencies["shapes"]
    launch = latency.launches[0]
    without = launch.model_copy(update={"arms": {"pt": launch.arms["pt"]}})
    for launches in ((), (without, without)):
        bare = {"shapes": latency.model_copy(update={"launches": launches})}
        save(accepted.path / RUN, record.model_copy(update={"latencies": bare}))
        assert "since this run did not judge it, or its record lacks what was judged" in done(
            capsys, "accept", RUN, status=1
        )


def test_an_interrupted_run_is_not_accepted(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    save(accepted.path / RUN, accepted.record.model_copy(update={"unfinished": INTERRUPTED}))
    before = snapshot(accepted.path / "baselines")
    out = done(capsys, "accept", RUN, status=1)
    assert out == "shapes fp16: baseline not written, since the run was interrupted\n"
    assert snapshot(accepted.path / "baselines") == before


def test_a_damaged_baseline_is_replaced(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.baseline("fp16").write_text("{")
    assert "would get its first latency on this machine" in done(capsys, "diff", RUN)
    done(capsys, "accept", RUN)
    assert len(load(accepted.baseline("fp16"), Baseline).sessions) == 1


def test_a_baseline_that_cannot_be_written_is_one_sentence(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    (accepted.path / "file").write_text("")
    assert main(["baseline", "accept", RUN, "--baseline-dir=file"]) == 2
    assert "file: cannot be written (" in capsys.readouterr().err


@pytest.mark.parametrize("value", [math.nan, 1e18, -0.1])
@pytest.mark.parametrize("what", ["accuracy", "latency"])
def test_what_could_not_be_read_again_is_not_accepted(
    accepted: Project, capsys: pytest.CaptureFixture[str], value: float, what: str
) -> None:
    raw = json.loads((accepted.path / RUN).read_text())
    if what == "accuracy":
        raw["accuracies"][-1]["metrics"]["mAP50"] = value
    else:
        raw["latencies"]["shapes"]["launches"][0]["arms"]["fp16"]["timings"]["engine"]["quantiles_ms"][49] = value
    (accepted.path / "edited.json").write_text(json.dumps(raw))
    before = snapshot(accepted.path / "baselines")
    assert "fp16: baseline not written, since " in done(capsys, "accept", "edited.json", status=1)
    assert "fp16: cannot be accepted, since " in done(capsys, "diff", "edited.json")
    assert snapshot(accepted.path / "baselines") == before


@pytest.mark.parametrize("command", ["diff", "accept"])
def test_a_record_that_cannot_be_used_is_wrong_usage(
    accepted: Project, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    before = snapshot(accepted.path / "baselines")
    text = (accepted.path / RUN).read_text()
    (accepted.path / "half.json").write_text(text[:500])
    (accepted.path / "other.json").write_text(text.replace('"run_id"', '"colour": "red", "run_id"', 1))
    record = accepted.record
    save(accepted.path / "older.json", record.model_copy(update={"settings": {"colour": "red"}}))
    save(accepted.path / "none.json", record.model_copy(update={"cells": ()}))
    assert "nothing.json: cannot be read" in refused(capsys, command, "nothing.json")
    assert "half.json: not valid JSON" in refused(capsys, command, "half.json")
    assert "other.json: not a valid RunRecord (field 'colour'" in refused(capsys, command, "other.json")
    assert "older.json: this pytest-trtgate does not know its settings ('colour')" in refused(
        capsys, command, "older.json"
    )
    assert "none.json: has no cells" in refused(capsys, command, "none.json")
    assert f"no cell 'shapes-fp8'; it has: {KEY}" in refused(capsys, command, RUN, "--only", "shapes-fp8")
    assert snapshot(accepted.path / "baselines") == before


def test_of_a_run_that_was_removed_for_newer_ones_that_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    gone = str(tmp_path / "reports" / "trtgate-runs" / "20200101T000000Z-abcd" / "run.json")
    assert main(["report", gone, "--format=markdown"]) == 1
    told = capsys.readouterr().err
    assert f"{gone}: the run is not kept any more; once keep_runs newer ones (5 by default) have as many " in told
    assert told == refused(capsys, "accept", gone) == refused(capsys, "diff", gone)


# prune


def test_prune_lists_and_deletes_only_when_told_to(accepted: Project, capsys: pytest.CaptureFixture[str]) -> None:
    accepted.run("--trt-precision=int8", "--trt-baselines=add")
    path = accepted.baseline("fp16")
    assert done(capsys, "prune") == f"0 unused in {accepted.path / 'baselines'}\n"
    accepted.settings(top='precisions = ["int8"]')
    assert f"{path}: no precision fp16 in the settings\n2 unused in " in done(capsys, "prune", status=1)
    assert path.exists()
    assert "2 unused in " in done(capsys, "prune", "--yes")
    assert not path.exists()
    assert accepted.baseline("int8").exists()


def test_prune_leaves_no_empty_folders_and_nothing_else_goes(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    root = accepted.path / "baselines"
    (root / "waivers.json").write_text("{}")
    machine = accepted.baseline("fp16").parents[1]
    shutil.copytree(machine, root / "mine" / "deep" / "er")
    accepted.settings(base='models = ["other.pt"]')
    done(capsys, "prune", "--yes")
    assert sorted(p.name for p in root.iterdir()) == ["mine", "waivers.json"]
    assert [p.name for p in (root / "mine").rglob("*.json")] == ["fp16-320-b1.json"]


def test_prune_leaves_what_is_behind_a_link(
    accepted: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    machine = accepted.baseline("fp16").parents[1]
    shutil.move(machine, accepted.path / "of the team")
    machine.symlink_to(accepted.path / "of the team")
    accepted.settings(base='models = ["other.pt"]')
    said = done(capsys, "prune", "--yes")
    assert f"left, since it is a link to {accepted.path / 'of the team'}" in said
    assert "1 unused in" in said  # the accepted accuracy, which hangs on no machine
    assert accepted.baseline("fp16").exists()


def test_prune_does_not_guess_where_the_settings_name_no_model(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    accepted.settings(base="imgsz = 640")
    assert "the settings name no model" in refused(capsys, "prune", "--yes")
    assert "0 unused" in done(capsys, "show")
    assert accepted.baseline("fp16").exists()


def test_another_folder_may_be_named(accepted: Project, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.move(accepted.path / "baselines", accepted.path / "elsewhere")
    assert "2 baselines in elsewhere, 0 unused" in done(capsys, "show", "--baseline-dir=elsewhere")
    assert "0 baselines" in done(capsys, "show")
