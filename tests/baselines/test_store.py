"""Baselines: written when asked for, judged against otherwise, and replaced on purpose only."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import VERSIONS, Project, snapshot

from pytest_trtgate.baselines import Acceptance
from pytest_trtgate.baselines.store import KEEP_BYTES, KEEP_SESSIONS, BaselineStore, Measured
from pytest_trtgate.judge.accuracy.parity import FINDS_NOTHING
from pytest_trtgate.judge.latency import fitness
from pytest_trtgate.measuring import launches
from pytest_trtgate.records.baseline import AccuracyBaseline, Baseline
from pytest_trtgate.records.files import load
from pytest_trtgate.records.latency import ArmLaunch
from pytest_trtgate.settings import recorded_settings

ONE = "--trt-precision=fp16"
INT8 = "--trt-precision=int8"
BOTH = "--trt-precision=fp16,int8"
SLOW = {"pt": 8.0, "fp32": 4.0, "fp16": 8.4, "int8": 3.0}


def edit(path: Path, **changes: Any) -> None:
    """Change top-level fields of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# None yet


def test_without_a_baseline_a_run_passes_and_says_so(project: Project) -> None:
    project.run(ONE).assert_outcomes(passed=2)
    assert project.outcomes("latency") == {"fp16": "NO_BASELINE"}
    assert not (project.path / "baselines").exists()


def test_without_a_baseline_a_run_fails_where_ci_is_set(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    result = project.run(ONE)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "fp16: accuracy was not compared with a baseline: no baseline yet",
            "fp16: latency was not compared with a baseline: no baseline yet",
            "Accept: pytest --trt-precision=fp16 --trt-baselines=add",
        ]
    )


@pytest.mark.parametrize(("policy", "ci", "failed"), [("fail", "", 2), ("record", "1", 0)])
def test_the_policy_decides_about_a_missing_baseline(
    project: Project, monkeypatch: pytest.MonkeyPatch, policy: str, ci: str, failed: int
) -> None:
    monkeypatch.setenv("CI", ci)
    project.settings(top=f'missing_baseline = "{policy}"')
    project.run(ONE).assert_outcomes(passed=2 - failed, failed=failed)


# Writing


def test_add_writes_a_file_of_accuracy_per_cell_and_one_of_latency_under_the_kind_of_machine(project: Project) -> None:
    result = project.run("--trt-baselines=add")
    result.assert_outcomes(passed=6)
    precisions = ("fp16", "fp32", "int8")
    expected = [place(name) for place in (project.accepted_accuracy, project.baseline) for name in precisions]
    assert sorted(p for p in (project.path / "baselines").rglob("*") if p.is_file()) == expected
    both = f"{project.accepted_accuracy('fp32')} and {project.baseline('fp32')}"
    result.stdout.fnmatch_lines([f"shapes fp32: baseline written to {both}"])
    said = {v.cell.precision: v.summary for v in project.record.verdicts if v.subject == "latency"}
    assert said["fp32"] == "fp32: nothing to compare with: this run is to become the baseline"


def test_a_baseline_tells_what_was_accepted(accepted: Project) -> None:
    baseline = load(accepted.baseline("fp16"), Baseline)
    assert baseline.engine_sha256 == accepted.engine("fp16").sha256
    assert baseline.cache_key == accepted.engine("fp16").cache_key
    accuracy = load(accepted.accepted_accuracy("fp16"), AccuracyBaseline)
    assert (accuracy.accuracy["mAP50-95"], accuracy.engine_sha256) == (0.75, baseline.engine_sha256)
    assert accuracy.accepted == baseline.accepted == ()
    assert baseline.environment.cpu_count == accepted.record.environment.cpu_count
    assert [len(session.launches) for session in baseline.sessions] == [3]
    assert len(baseline.sessions[0].launches[0].timings["engine"].quantiles_ms) == 99
    assert baseline.per_session_ms("engine", 50) == [[pytest.approx(4.2, rel=0.02)] * 3]
    assert baseline.reference_ms(baseline.weights_sha256, "engine", 50) == [[pytest.approx(8.0, rel=0.02)] * 3]
    # Nothing is judged by it: one launch shows it.
    assert baseline.reference_ms(baseline.weights_sha256, "end-to-end", 95) == [[pytest.approx(12.05, rel=0.02)]]


def test_add_leaves_a_baseline_that_is_there_as_it_is(accepted: Project) -> None:
    before = accepted.baseline("fp16").read_bytes()
    result = accepted.run("--trt-baselines=add")
    result.stdout.fnmatch_lines(["shapes fp16: has a baseline already, left as it is (*); replace it with *"])
    assert accepted.baseline("fp16").read_bytes() == before
    assert accepted.baseline("int8").exists()


def test_add_still_judges_against_a_baseline_that_is_there(accepted: Project) -> None:
    accepted.weights(Behaviour(p50_ms=SLOW))
    accepted.run(ONE, "--trt-baselines=add").assert_outcomes(passed=1, failed=1)


def test_update_joins_sessions_of_one_engine(accepted: Project) -> None:
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert len(load(accepted.baseline("fp16"), Baseline).sessions) == 2


@pytest.mark.parametrize(("times", "sessions"), [(0.5, 1), (0.97, 2), (2.0, 1)])
def test_sessions_of_a_machine_that_became_another_start_anew(accepted: Project, times: float, sessions: int) -> None:
    store, run = BaselineStore(accepted.path / "baselines", accepted.record.environment), accepted.record
    latency = run.latencies["shapes"]
    timed = tuple(
        launch.model_copy(update={"arms": {name: _times(arm, times) for name, arm in launch.arms.items()}})
        for launch in latency.launches
    )
    latencies = {"shapes": latency.model_copy(update={"launches": timed})}
    later = run.model_copy(update={"started_at": "2999-01-31T00:00:00+00:00", "latencies": latencies})
    settings = recorded_settings(run.settings, accepted.path)
    [cell] = [cell for cell in run.cells if cell.precision == "fp16"]
    assert Acceptance(later, store, settings, None, allow_busy=True).write(cell, ["latency"])[1]
    assert len(load(accepted.baseline("fp16"), Baseline).sessions) == sessions


def _times(arm: ArmLaunch, factor: float) -> ArmLaunch:
    """Return a launch of an arm that took so many times as long."""
    timings = {
        context: timing.model_copy(update={"quantiles_ms": tuple(ms * factor for ms in timing.quantiles_ms)})
        for context, timing in arm.timings.items()
    }
    return arm.model_copy(update={"timings": timings})


def test_sessions_of_another_engine_start_anew(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.76))
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert len(load(accepted.baseline("fp16"), Baseline).sessions) == 1


@pytest.mark.parametrize(("launched", "least"), [(1, 12), (3, 8), (12, 3)])
def test_as_many_sessions_are_kept_as_people_read_at_most_twenty(accepted: Project, launched: int, least: int) -> None:
    record, path = accepted.record, accepted.baseline("fp16")
    latency = record.latencies["shapes"]
    launches = (latency.launches * 4)[:launched]
    latencies = {"shapes": latency.model_copy(update={"launches": launches})}
    store = BaselineStore(accepted.path / "baselines", record.environment)
    for number in range(10, 10 + KEEP_SESSIONS + 5):
        run = record.model_copy(update={"started_at": str(number), "latencies": latencies})
        measured = Measured.of(run, run.cells[0])
        assert measured is not None
        store.write(measured, store.find(run.cells[0]).baseline if number > 10 else None, join=True)
    moments = [session.recorded_at for session in load(path, Baseline).sessions]
    assert moments == [str(number) for number in range(10 + KEEP_SESSIONS + 5 - len(moments), 10 + KEEP_SESSIONS + 5)]
    assert least <= len(moments) <= KEEP_SESSIONS
    assert path.stat().st_size <= KEEP_BYTES or len(moments) == 3


def test_a_session_tells_what_was_otherwise_on_its_machine(project: Project) -> None:
    for version, driver in (("1.13.0", "550.54"), ("1.13.0", "580.159"), ("1.14.0", "580.159")):
        project.pretend(installed={**VERSIONS, "onnx": version}, fingerprint={"driver": driver})
        project.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    baseline = load(project.baseline("fp16"), Baseline)
    assert baseline.environment.driver == "580.159"
    stored = [session.platform for session in baseline.sessions]
    assert stored == [{"driver": "550.54", "onnx": "1.13.0"}, {"onnx": "1.13.0"}, {}]
    found = [baseline.platform_of(session) for session in baseline.sessions]
    assert [(one["driver"], one["onnx"]) for one in found] == [
        ("550.54", "1.13.0"),
        ("580.159", "1.13.0"),
        ("580.159", "1.14.0"),
    ]


def test_a_cell_that_fails_keeps_its_old_baseline(accepted: Project) -> None:
    before = snapshot(accepted.path / "baselines")
    accepted.weights(Behaviour(drop={"fp16": 0.008}))
    result = accepted.run(ONE, "--trt-baselines=update")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ['shapes fp16: baseline not written, since its accuracy is FAIL; set "mAP50" = 0.0080 *']
    )
    assert snapshot(accepted.path / "baselines") == before


def test_a_cell_in_error_has_no_baseline_while_the_others_get_theirs(project: Project) -> None:
    project.weights(Behaviour(faults={"build-int8": "refuse"}))
    project.run("--trt-precision=fp16,int8", "--trt-baselines=update").assert_outcomes(passed=2, failed=2)
    assert project.baseline("fp16").exists()
    assert not project.baseline("int8").exists()


def test_what_was_measured_but_not_judged_is_no_baseline(project: Project) -> None:
    project.tests("def test_mine(trtgate, trt_latency): trtgate.check_accuracy()")
    project.run(ONE, "--trt-baselines=update").assert_outcomes(passed=1)
    assert project.accepted_accuracy("fp16").exists()
    assert not project.baseline("fp16").exists()


def test_an_interrupted_run_writes_no_baselines_and_no_report_over_another(project: Project) -> None:
    project.tests("import pytest\ndef test_stop(): pytest.exit('enough')", "test_stop.py")
    result = project.run(ONE, "--trt-baselines=update", "test_gate.py", "test_stop.py")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert len(project.record.verdicts) == 2
    assert not (project.path / "baselines").exists()
    page = project.path / "reports" / "trtgate.html"
    before = page.read_bytes()
    result = project.run(ONE, "test_gate.py", "test_stop.py")
    [own] = [run / page.name for run in project.run_folders() if (run / page.name).is_file()]
    result.stdout.fnmatch_lines([f"report: {own}"])
    assert page.read_bytes() == before


def test_launches_on_an_unfit_device_are_no_baseline(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (launches, fitness):
        monkeypatch.setattr(module, "unfit", lambda launch: "it throttled")
    before = snapshot(accepted.path / "baselines")
    result = accepted.run(ONE, "--trt-baselines=update")
    result.stdout.fnmatch_lines(["shapes fp16: baseline not written, since it throttled"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert snapshot(accepted.path / "baselines") == before


def test_a_speed_up_that_was_not_judged_is_not_passed_by_accepting(project: Project) -> None:
    project.settings('[latency.int8]\nspeedup = { over = "fp16" }\n')
    result = project.run(INT8, "--trt-baselines=update")
    why = "its latency is INCONCLUSIVE: the speed-up over fp16 was not judged, since fp16 is not in this run"
    result.stdout.fnmatch_lines([f"shapes int8: baseline not written, since {why}"])
    assert not (project.path / "baselines").exists()


def test_an_int8_engine_has_no_baseline_while_the_fp16_engine_it_must_beat_fails(project: Project) -> None:
    project.weights(Behaviour(faults={"build-fp16": "refuse"}))
    project.use_gpu().run(BOTH, "--trt-baselines=add").assert_outcomes(passed=2, failed=2)
    assert not (project.path / "baselines").exists()


def test_a_budget_that_was_not_decided_is_not_passed_by_accepting(project: Project) -> None:
    project.settings("[latency.fp16]\nenergy_mj = 5\n")
    result = project.run(ONE, "--trt-baselines=add")
    result.stdout.fnmatch_lines(["shapes fp16: baseline not written, since its latency is INCONCLUSIVE: energy was *"])
    assert not (project.path / "baselines").exists()


def test_a_check_never_writes(accepted: Project) -> None:
    before = snapshot(accepted.path / "baselines")
    accepted.run()
    assert snapshot(accepted.path / "baselines") == before


# Judging


def test_an_engine_as_fast_as_its_baseline_passes(accepted: Project) -> None:
    accepted.run(ONE).assert_outcomes(passed=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}


def test_a_slower_engine_fails_until_it_is_accepted(accepted: Project) -> None:
    accepted.weights(Behaviour(p50_ms=SLOW))
    result = accepted.run(ONE)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.re_match_lines(
        [r"fp16: p50 is (99\.\d|10\d|110) % slower, more than 5 % allowed; .* 4\.\d+ -> 8\.\d+ ms, the base"]
    )
    result.stdout.fnmatch_lines(["Accept: pytest --trt-precision=fp16 --trt-baselines=update"])
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    accepted.run(ONE).assert_outcomes(passed=2)


def test_what_is_offered_keeps_the_precisions_that_were_judged_together(project: Project) -> None:
    project.run(BOTH, "--trt-baselines=add").assert_outcomes(passed=4)
    project.weights(Behaviour(p50_ms={**SLOW, "fp16": 4.2, "int8": 3.6}))
    project.run(BOTH).assert_outcomes(passed=3, failed=1)
    assert project.verdict("int8", "latency").accept == f"pytest {BOTH} --trt-baselines=update"


def test_where_an_absolute_limit_fails_too_that_is_to_be_changed_before_a_baseline_is_written(project: Project) -> None:
    project.settings('[latency.int8]\nspeedup = { over = "fp16" }\n')
    project.run(BOTH, "--trt-baselines=add").assert_outcomes(passed=4)
    project.weights(Behaviour(p50_ms={**SLOW, "fp16": 4.2, "int8": 6.0}))
    project.run(BOTH).assert_outcomes(passed=3, failed=1)
    verdict = project.verdict("int8", "latency")
    assert [c.against for c in verdict.checks if str(c.outcome) == "FAIL"] == ["baseline", "baseline", "fp16"]
    update = f"pytest {BOTH} --trt-baselines=update"
    change = (
        re.escape('set speedup = { over = "fp16", at_least = ') + r"0\.6\d \} under \[latency.int8\] in trtgate.toml"
    )
    assert re.fullmatch(f"{change}, then {re.escape(update)}", verdict.accept)


def test_no_baseline_is_offered_while_an_absolute_limit_is_undecided(project: Project) -> None:
    project.settings('[latency.int8]\nspeedup = { over = "fp16" }\n')
    project.run(INT8)
    verdict = project.verdict("int8", "latency")
    assert (str(verdict.outcome), verdict.accept) == ("NO_BASELINE", "")


def test_a_model_that_got_worse_fails_until_it_is_accepted(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.60))
    result = accepted.run(ONE)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["fp16: mAP50 fell *; mAP50-95 fell 0.1500 since the baseline (0.7500 -> 0.6000), more than 0.0030*"]
    )
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    accepted.run(ONE).assert_outcomes(passed=2)


def test_a_model_that_finds_nothing_is_said_to_once(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.0))
    accepted.run(ONE, "-k", "accuracy").assert_outcomes(failed=1)
    verdict = accepted.verdict("fp16", "accuracy")
    assert verdict.summary == f"fp16: {FINDS_NOTHING}"
    assert verdict.accept == ""
    assert [check.low for check in verdict.checks] == [None] * 2


def test_a_model_that_got_better_passes(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.80))
    accepted.run(ONE).assert_outcomes(passed=2)


# Files that cannot be used


def truncated(path: Path) -> None:
    path.write_text(path.read_text()[:200])


def of_another_cell(path: Path) -> None:
    edit(path, cell={**json.loads(path.read_text())["cell"], "precision": "int8"})


def of_a_newer_schema(path: Path) -> None:
    edit(path, schema_version=99)


def without_a_field(path: Path) -> None:
    edit(path, cache_key=None)


def not_a_record(path: Path) -> None:
    path.write_text("[1, 2]")


UNUSABLE = {
    truncated: "not valid JSON, the file may be truncated",
    of_another_cell: "is the baseline of shapes-int8-320-b1-onnxruntime-cpu, not of shapes-fp16-320-b1-onnxruntime-cpu",
    of_a_newer_schema: "written by a newer pytest-trtgate (schema 99; this one reads up to 1)",
    without_a_field: "not a valid Baseline (field 'cache_key': ",
    not_a_record: "not a Baseline of pytest-trtgate (no schema_version)",
}


@pytest.mark.parametrize("spoil", UNUSABLE, ids=lambda spoil: spoil.__name__)
def test_an_unusable_baseline_is_an_error_that_names_the_file(accepted: Project, spoil: Any) -> None:
    path = accepted.baseline("fp16")
    spoil(path)
    before = path.read_bytes()
    accepted.run("--trt-precision=fp16,fp32").assert_outcomes(passed=3, failed=1)
    assert accepted.outcomes("accuracy") == {"fp32": "NO_BASELINE", "fp16": "PASS"}
    assert accepted.outcomes("latency") == {"fp32": "NO_BASELINE", "fp16": "ERROR"}
    summary = accepted.verdict("fp16", "latency").summary
    assert summary.startswith(f"fp16: {path}: ")
    assert UNUSABLE[spoil] in summary
    assert path.read_bytes() == before


def test_an_unusable_baseline_can_be_replaced(accepted: Project) -> None:
    truncated(accepted.baseline("fp16"))
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert len(load(accepted.baseline("fp16"), Baseline).sessions) == 1


def test_a_baseline_that_cannot_be_written_fails_the_run_and_leaves_its_report(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "file").write_text("not a folder")
    monkeypatch.setattr(BaselineStore, "path", lambda self, cell: project.path / "file" / "fp16-320-b1.json")
    result = project.run(ONE, "--trt-baselines=update")
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*fp16-320-b1.json: cannot be written (*)"])
    assert (project.path / "reports" / "trtgate.html").exists()
