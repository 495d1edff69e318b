"""The stored baseline engine, timed beside the new one: when it is, what follows, and what happens where not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.cli import main
from pytest_trtgate.errors import JobError
from pytest_trtgate.judge.latency import fitness
from pytest_trtgate.measuring import Engines, launches
from pytest_trtgate.records import Cell, EngineRecord
from pytest_trtgate.records.latency import LatencyRecord

ONE = "--trt-precision=fp16"
BESIDE = [["pt", "fp16", "baseline-fp16"], *[["fp16", "baseline-fp16"]] * 2]
"""The arms of the first launches of an engine beside its baseline's: the checkpoint is shown, and judges nothing."""


def speeds(fp16: float, **others: float) -> dict[str, float]:
    """Return the p50 of each arm, in milliseconds."""
    return {"pt": 8.0, "fp32": 4.0, "fp16": fp16, "int8": 3.0, **others}


def timed(project: Project) -> LatencyRecord:
    """Return the launches of the last run."""
    return project.record.latencies["shapes"]


def arms(project: Project) -> list[list[str]]:
    """Return which arms each launch of the last run timed."""
    return [list(launch.arms) for launch in timed(project).launches]


def halve(columns: dict[str, list[float]]) -> None:
    """Make launches of a stored session twice as fast."""
    for name, column in columns.items():
        if name.startswith("p"):
            column[:] = [ms / 2 for ms in column]


def check(project: Project, name: str) -> Any:
    """Return one check of the last run's FP16 engine against its baseline."""
    verdict = project.verdict("fp16", "latency")
    return next(c for c in verdict.checks if (c.name, c.against) == (name, "baseline"))


# Whether it runs


def test_an_engine_of_the_same_bytes_needs_no_replay(accepted: Project) -> None:
    result = accepted.run(ONE)
    result.assert_outcomes(passed=2)
    assert arms(accepted) == [["fp16"]]
    assert list(timed(accepted).launches[0].arms["fp16"].timings) == ["engine"]
    result.stdout.fnmatch_lines(
        ["shapes .pt *8.*", "p50, p95: *", "*of the stored session of *", "*x vs .pt, stored)*"]
    )
    page = accepted.page
    assert page.count("; .pt of the stored session of ") == 2  # beneath its levels, and beneath the chart
    assert page.count("; .pt latency of the stored session of ") == 1
    assert "; all of the stored session of " in page
    assert "\N{MULTIPLICATION SIGN} vs .pt, stored" in page
    verdict = accepted.verdict("fp16", "latency")
    assert str(verdict.outcome) == "PASS"
    assert verdict.summary.startswith("fp16: identical engine, byte by byte the baseline's; p50 4.")
    assert verdict.summary.endswith("; 1 launch")


def test_an_engine_that_cannot_be_built_leaves_the_others_alone(
    accepted: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted.run("--trt-precision=int8", "--trt-baselines=add").assert_outcomes(passed=2)
    engine_of = Engines.of

    def broken(self: Engines, cell: Cell) -> EngineRecord:
        if cell.precision == "int8":
            raise JobError("build", "it broke")
        return engine_of(self, cell)

    monkeypatch.setattr(Engines, "of", broken)
    accepted.run("--trt-precision=fp16,int8")
    assert accepted.outcomes("latency") == {"fp16": "PASS", "int8": "ERROR"}
    assert arms(accepted) == [["fp16"]]


@pytest.mark.parametrize("lacks", [".pt engine", "end-to-end"])
def test_what_no_stored_session_has_is_timed_too(accepted: Project, lacks: str) -> None:
    path = accepted.baseline("fp16")
    stored = json.loads(path.read_text())
    del stored["sessions"][0][lacks]
    path.write_text(json.dumps(stored))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert arms(accepted) == [["pt", "fp16"]]


@pytest.mark.parametrize("seen", [True, False])
def test_a_test_that_asks_for_the_times_gets_those_of_the_checkpoint_and_of_the_whole_way(
    accepted: Project, seen: bool
) -> None:
    accepted.tests(
        f"""
        def times(request):
            return request.getfixturevalue("trt_" + "latency")

        def test_speed(trtgate, request{", trt_latency" if seen else ""}):
            trtgate.check_latency()
            found = times(request)
            assert found.images_per_second > 0 and found.percentile_ms(50, "end-to-end") > found.p50_ms
            assert found.record.of_arm("pt")
        """
    )
    accepted.run(ONE).assert_outcomes(passed=1)
    assert arms(accepted) == [["pt", "fp16"] if seen else ["fp16"]]


@pytest.mark.parametrize("rule", ['speedup = { over = "pt", at_least = 1.1 }', "p95 = { budget_ms = 40.0 }"])
def test_a_rule_on_an_engine_of_the_same_bytes_takes_more_launches(accepted: Project, rule: str) -> None:
    accepted.settings(rule + "\n")
    accepted.run(ONE).assert_outcomes(passed=2)
    rests_on_pt = "pt" in rule
    assert ["pt" in launch for launch in arms(accepted)] == [True, rests_on_pt, rests_on_pt]


@pytest.mark.parametrize("slower", [False, True])
def test_a_launch_unlike_the_stored_sessions_takes_more_to_tell_of_the_machine(accepted: Project, slower: bool) -> None:
    path = accepted.baseline("fp16")
    stored = json.loads(path.read_text())
    for row in ("engine", ".pt engine"):
        if slower:
            halve(stored["sessions"][0][row])
    path.write_text(json.dumps(stored))
    result = accepted.run(ONE)
    result.assert_outcomes(passed=2)
    assert arms(accepted) == [["fp16"], *[["pt", "fp16"]] * 3][: 4 if slower else 1]
    why = "shapes: 1 launch does not decide, 3 more: fp16 is unlike its stored sessions, and so may the machine be"
    assert (f"  trtgate: {why}" in result.outlines) is slower
    found = [finding.id for finding in accepted.verdict("fp16", "latency").findings]
    assert ("platform-changed" in found) is slower


def test_only_the_first_launch_shows_what_is_not_judged(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run(ONE).assert_outcomes(passed=2)
    shown = ["end-to-end" in launch.arms["fp16"].timings for launch in timed(accepted).launches]
    asked = [
        json.loads((accepted.run_folders()[-1] / f"jobs/launch-shapes-{number}/request.json").read_text())
        for number in (1, 2, 3)
    ]
    assert shown == [request["energy"] for request in asked] == [True, False, False]


@pytest.mark.parametrize(("context", "outcome"), [("engine", "PASS"), ("end-to-end", "FAIL")])
def test_an_engine_of_the_same_bytes_may_have_become_slower_around_it(
    accepted: Project, context: str, outcome: str
) -> None:
    path = accepted.baseline("fp16")
    stored = json.loads(path.read_text())
    halve(stored["sessions"][0]["end-to-end"])
    path.write_text(json.dumps(stored))
    accepted.settings(f'context = "{context}"\n')
    accepted.run(ONE)
    assert accepted.outcomes("latency") == {"fp16": outcome}
    assert arms(accepted) == ([["fp16"]] if outcome == "PASS" else [["pt", "fp16"]] * 3)
    said = "; the engine is the baseline's, byte by byte"
    assert (said in accepted.verdict("fp16", "latency").summary) is (outcome == "FAIL")


def test_another_engine_runs_beside_that_of_its_baseline(accepted: Project) -> None:
    stored = accepted.engine("fp16").sha256
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert arms(accepted) == BESIDE
    assert timed(accepted).launches[0].arms["baseline-fp16"].sha256 == stored
    assert "the baseline replayed beside it" in accepted.verdict("fp16", "latency").summary


def test_a_cell_without_a_baseline_has_nothing_to_replay(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run("--trt-precision=fp16,int8").assert_outcomes(passed=4)
    assert arms(accepted) == [["pt", "fp16", "int8", "baseline-fp16"]] * 3
    assert accepted.outcomes("latency") == {"fp16": "PASS", "int8": "NO_BASELINE"}


def test_a_run_that_adds_the_baseline_has_nothing_to_replay(accepted: Project) -> None:
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.baseline("fp16").unlink()
    accepted.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    assert arms(accepted) == [["pt", "fp16"]] * 3


def test_an_update_replays_as_a_check_does_and_stores_what_was_judged(
    accepted: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    path = accepted.baseline("fp16")
    stored = json.loads(path.read_text())
    for row in (row for name, row in stored["sessions"][0].items() if name in ("engine", "end-to-end")):
        for name in ("p50", "p95", "p99"):
            row[name] = [1.4 * ms for ms in row[name]]  # the machine was slow that day
    path.write_text(json.dumps(stored))
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.5)))
    accepted.pretend(busy=("the load average is 9 on 2 cores",))
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert arms(accepted)[0] == ["pt", "fp16", "baseline-fp16"]
    assert check(accepted, "p50").change == pytest.approx(0.5, abs=0.02)
    accepted_then = json.loads(path.read_text())
    p50, p95, remark = accepted_then["accepted"]
    assert re.match(r"p50 is (4\d|5\d)(\.\d)? % slower, more than 5 % allowed; \d launches, one-sided 99 % ", p50)
    assert p95.startswith("p95 is ")
    assert "beside the replayed baseline +" in remark
    assert "the machine was busy: the load average is 9 on 2 cores" in remark
    assert accepted_then["sessions"][0]["busy"] == "the load average is 9 on 2 cores"
    assert main(["baseline", "show"]) == 0
    out = capsys.readouterr().out
    assert f"    accepted: {p50[:60]}" in out
    assert " was accepted though the machine was busy: the load average is 9 on 2 cores\n" in out


def test_a_baseline_of_another_machine_is_not_replayed(accepted: Project) -> None:
    path = accepted.baseline("fp16")
    stored = json.loads(path.read_text())
    stored["environment"]["cpu"] = "Zilog Z80"
    path.write_text(json.dumps(stored))
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run(ONE)
    assert arms(accepted) == [["pt", "fp16"]] * 3


def test_a_damaged_baseline_costs_its_own_cell_only(accepted: Project) -> None:
    accepted.run("--trt-baselines=add")
    accepted.baseline("int8").write_text("{")
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run("--trt-precision=fp16,int8", "-k", "latency").assert_outcomes(passed=1, failed=1, deselected=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS", "int8": "ERROR"}


# What it decides


def test_a_slower_engine_fails_after_five_launches_with_a_placebo(accepted: Project) -> None:
    accepted.settings("p95 = { regression = 0.5 }\n")
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.3)))
    result = accepted.run(ONE)
    result.assert_outcomes(passed=1, failed=1)
    why, *_ = [line for line in result.outlines if " more to confirm it: " in line]
    assert why.startswith("  trtgate: shapes: 3 launches point to a failure, 1 more to confirm it: fp16 p50 is ")
    # Of the quantities, only what points to it is named.
    assert why.count(" % slower by 3 launches, ") == 1
    assert why.endswith(", 5 % allowed)")
    confirmed = ["fp16", "baseline-fp16", "baseline-fp16-placebo"]
    assert arms(accepted) == [*BESIDE, *[confirmed] * 2]
    found = check(accepted, "p50")
    assert str(found.outcome) == "FAIL"
    assert found.change == pytest.approx(0.3, abs=0.005)
    assert found.value / found.reference == pytest.approx(1.3, abs=0.01)
    assert "; 5 launches, one-sided 99 % limits " in found.sentence
    assert accepted.verdict("fp16", "latency").accept == "pytest --trt-precision=fp16 --trt-baselines=update"


def test_a_machine_that_is_slow_today_is_no_slow_down(accepted: Project) -> None:
    path = accepted.baseline("fp16")
    stored = json.loads(path.read_text())
    for context in ("engine", "end-to-end"):
        halve(stored["sessions"][0][context])
    path.write_text(json.dumps(stored))
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}


def test_a_pass_says_what_it_would_have_caught(accepted: Project) -> None:
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.001)))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert len(arms(accepted)) == 3
    for name in ("p50", "p95"):
        assert "would have been caught 9 times in 10" in check(accepted, name).sentence


def test_a_faster_engine_is_offered_and_moves_nothing(accepted: Project) -> None:
    before = accepted.baseline("fp16").read_bytes()
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 0.875)))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert "; faster by 12" in check(accepted, "p50").sentence
    assert "%: accept with pytest --trt-baselines=update" in check(accepted, "p50").sentence
    assert accepted.baseline("fp16").read_bytes() == before


def test_two_loads_of_one_engine_that_differ_make_the_machine_unfit(project: Project) -> None:
    odd = {"baseline-fp16-placebo": 4.2 * 0.8}
    project.weights(Behaviour(p50_ms=speeds(4.2, **odd)))
    project.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    project.weights(Behaviour(p50_ms=speeds(4.2 * 1.04)))
    project.run(ONE).assert_outcomes(passed=2)
    assert project.outcomes("latency") == {"fp16": "INCONCLUSIVE"}
    assert len(arms(project)) == 8
    assert "two copies of the baseline engine differ by 20 % at p50" in project.verdict("fp16", "latency").summary


def test_launches_end_at_the_setting(accepted: Project) -> None:
    accepted.settings("max_launches = 4\n")
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.08)))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert len(arms(accepted)) == 4
    summary = accepted.verdict("fp16", "latency").summary
    assert "allow more launches (latency.max_launches, up to 12)" in summary
    assert summary.count("fp16") == 1


def test_settled_cells_sit_out_the_further_launches(project: Project) -> None:
    project.run("--trt-baselines=add").assert_outcomes(passed=6)
    project.weights(Behaviour(p50_ms=speeds(4.2 * 1.3)))
    project.run().assert_outcomes(passed=5, failed=1)
    assert project.outcomes("latency") == {"fp32": "PASS", "fp16": "FAIL", "int8": "PASS"}
    assert [len(inside) for inside in arms(project)] == [7, 6, 6, 3, 3]
    assert len(timed(project).per_launch_ms("int8", "engine", 50)) == 3
    assert len(timed(project).per_launch_ms("fp16", "engine", 50)) == 5


def test_the_fixture_gives_the_launches_that_are_judged(accepted: Project) -> None:
    accepted.tests(
        """
        def test_latency(trt_latency, trtgate):
            assert len(trt_latency.record.launches) == 5
            assert len(trt_latency.samples_s()) == 60 * {"fp16": 5, "int8": 3}[trt_latency.arm]
            assert 2.5 < trt_latency.p50_ms < 6 and trt_latency.images_per_second > 0
            trtgate.check_latency()
        """
    )
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.3)))
    accepted.run("--trt-precision=fp16,int8").assert_outcomes(passed=1, failed=1)
    assert accepted.outcomes("latency") == {"fp16": "FAIL", "int8": "NO_BASELINE"}


def test_a_run_with_further_launches_can_be_accepted(accepted: Project) -> None:
    accepted.settings("p95 = { budget_ms = 4.3 }\n")
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    stored = json.loads(accepted.baseline("fp16").read_text())
    assert len(stored["sessions"][0]["engine"]["p50"]) == len(arms(accepted)) == 12


# What stands in its way


def test_without_the_engine_its_stored_sessions_are_what_is_left(accepted: Project) -> None:
    shutil.rmtree(accepted.path / "cache" / "engines")
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.08)))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert arms(accepted) == [["pt", "fp16"]] * 3
    assert accepted.outcomes("latency") == {"fp16": "INCONCLUSIVE"}
    assert accepted.verdict("fp16", "latency").summary.endswith("; the baseline engine is not in the cache")


@pytest.mark.parametrize("spoil", ["bytes", "digest"])
def test_an_engine_of_other_bytes_is_not_the_baselines(accepted: Project, spoil: str) -> None:
    if spoil == "bytes":
        [entry] = (accepted.path / "cache" / "engines").iterdir()
        (entry / "engine.onnx").write_bytes(b"other")
    else:
        path = accepted.baseline("fp16")
        path.write_text(path.read_text().replace(accepted.engine("fp16").sha256, "0" * 64))
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.08)))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert arms(accepted) == [["pt", "fp16"]] * 3
    assert accepted.outcomes("latency") == {"fp16": "INCONCLUSIVE"}


def test_a_baseline_engine_that_fails_costs_the_replay_only(project: Project) -> None:
    project.weights(Behaviour(faults={"latency-baseline-fp16": "refuse"}))
    project.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    project.weights(Behaviour(p50_ms=speeds(4.2 * 1.08)))
    project.run(ONE).assert_outcomes(passed=2)
    assert arms(project) == [["pt", "fp16"]] * 3
    assert list(timed(project).failures) == ["baseline-fp16"]
    verdict = project.verdict("fp16", "latency")
    assert str(verdict.outcome) == "INCONCLUSIVE"
    assert "; the baseline engine could not be timed (the exporter refuses this model)" in verdict.summary


def test_arms_that_fail_only_together_go_on_without_the_baseline_engine(project: Project) -> None:
    project.weights(Behaviour(faults={"latency-baseline-fp16-placebo": "refuse"}))
    project.run(ONE, "--trt-baselines=add").assert_outcomes(passed=2)
    project.weights(Behaviour(p50_ms=speeds(4.2 * 1.08)))
    project.run(ONE).assert_outcomes(passed=2)
    assert arms(project) == BESIDE
    assert project.outcomes("latency") == {"fp16": "INCONCLUSIVE"}
    assert "the baseline engine could not be timed" in project.verdict("fp16", "latency").summary


def test_a_launch_on_an_unfit_device_is_repeated(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    unfit = iter(["", "it throttled", "", ""])
    monkeypatch.setattr(launches, "unfit", lambda launch: next(unfit))
    project.run(ONE).assert_outcomes(passed=2)
    assert timed(project).discarded == ("it throttled",)
    assert "shapes: a launch was repeated, since it throttled" in project.record.notes
    assert [launch.index for launch in timed(project).launches] == [0, 2, 3]
    assert len({launch.seed for launch in timed(project).launches}) == 3


def test_a_device_that_stays_unfit_is_not_judged(accepted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (launches, fitness):
        monkeypatch.setattr(module, "unfit", lambda launch: "it throttled")
    accepted.weights(Behaviour(p50_ms=speeds(4.2 * 1.5)))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert len(timed(accepted).discarded) == 3
    assert len(timed(accepted).launches) == 1
    assert accepted.outcomes("latency") == {"fp16": "INCONCLUSIVE"}
    assert "; not judged, since it throttled" in accepted.verdict("fp16", "latency").summary


def test_a_launch_tells_what_is_over_budget_of_the_engines_alone(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fake_jobs

    # The samples are there to be drawn: nothing is judged by them.
    monkeypatch.setattr(fake_jobs, "save_npz", lambda path, arrays: Path(path).write_bytes(b""))
    project.settings("p95 = { budget_ms = 4.2 }\n")
    project.run(ONE, "-k", "latency")
    for launch in timed(project).launches:
        assert 0 < launch.arms["fp16"].over_budget["p95"] < launch.arms["fp16"].timings["engine"].n
        assert "pt" not in launch.arms or launch.arms["pt"].over_budget == {}


# Its place in the cache


def test_the_engine_of_a_baseline_survives_pruning_from_anywhere(
    accepted: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted.weights(Behaviour(map50_95=0.7501))
    accepted.run(ONE).assert_outcomes(passed=2)
    monkeypatch.chdir(tmp_path)
    assert main(["cache", "prune", "--yes", "--older-than", "0", "--cache-dir", str(accepted.path / "cache")]) == 0
    monkeypatch.chdir(accepted.path)
    accepted.run(ONE).assert_outcomes(passed=2)
    assert arms(accepted) == BESIDE
    assert accepted.job_names("build") == ["build-shapes-fp16-320-b1-onnxruntime-cpu"]
