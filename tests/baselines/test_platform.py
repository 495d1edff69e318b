"""The finding that all arms share a change since the stored sessions: of the machine, and of no engine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import Behaviour
from project import Project
from runs_example import gpu_run

from pytest_trtgate.baselines.platform import Now, platform_changed
from pytest_trtgate.baselines.store import session_of
from pytest_trtgate.cli import main
from pytest_trtgate.records.baseline import Baseline
from pytest_trtgate.records.cell import Cell
from pytest_trtgate.records.files import save
from pytest_trtgate.records.latency import LatencyRecord
from pytest_trtgate.records.run import RunRecord

ONE = "--trt-precision=fp16"
SLOWER = r"shapes: {} is (29|30)(\.\d)? % slower "


def move(path: Path, factor: float, *rows: str, **environment: Any) -> None:
    """Make some arms of the newest stored session so many times as slow, on a machine that differed."""
    stored = json.loads(path.read_text())
    for row in rows or ("engine", ".pt engine"):
        columns = stored["sessions"][-1][row]
        for name in columns.keys() & {"p50", "p95", "p99"}:
            columns[name] = [factor * ms for ms in columns[name]]
    stored["environment"].update(environment)
    path.write_text(json.dumps(stored))


def found(project: Project) -> str:
    """Return what the last run's finding says; empty where there is none."""
    said = [f.sentence for f in project.verdict("fp16", "latency").findings if f.id == "platform-changed"]
    return " and ".join(said)


def test_a_slower_machine_is_told_of_an_engine_with_the_same_bytes(accepted: Project) -> None:
    move(accepted.baseline("fp16"), 1 / 1.3, power="governor powersave")
    result = accepted.run(ONE)
    result.assert_outcomes(passed=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}
    said = found(accepted)
    assert re.match(SLOWER.format("everything"), said)
    assert " % slower than in the stored session (99 % limits " in said
    assert "): accepted fp16 engine 3.2" in said
    assert re.search(
        r" -> (8|7\.99|8\.01) ms; since then: power governor powersave -> governor performance; as before ", said
    )
    assert said.endswith("as before onnxruntime 1.31.0, torch 2.11.0")
    assert "WARNING  shapes: everything is " in result.stdout.str()
    assert "[platform-changed]" in result.stdout.str()
    assert "platform-changed" in accepted.page


@pytest.mark.parametrize(("factor", "word"), [(1 / 1.3, "slower"), (1.3, "faster")])
def test_it_is_told_of_another_engine_beside_the_replayed_one(accepted: Project, factor: float, word: str) -> None:
    move(accepted.baseline("fp16"), factor)
    accepted.weights(Behaviour(map50_95=0.7501))
    # The checkpoint is another one too, so the replayed engine alone can tell.
    accepted.run(ONE).assert_outcomes(passed=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}
    assert found(accepted).startswith("shapes: the accepted fp16 engine is ")
    assert f" % {word} than in the stored session" in found(accepted)
    assert "; since then: nothing that is known changed; as before " in found(accepted)


def test_without_a_replay_the_checkpoint_tells(accepted: Project) -> None:
    path = accepted.baseline("fp16")
    move(path, 1 / 1.3)
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "engine_sha256": "f" * 64}))
    accepted.run(ONE)
    assert re.match(SLOWER.format("the .pt"), found(accepted))


@pytest.mark.parametrize("rows", [("engine",), (".pt engine",)])
def test_what_one_of_both_lost_is_not_the_machine(accepted: Project, rows: tuple[str, ...]) -> None:
    move(accepted.baseline("fp16"), 1 / 1.3, *rows)
    accepted.run(ONE).assert_outcomes(passed=2)
    assert found(accepted) == ""


@pytest.mark.parametrize(("factor", "word"), [(1 / 4.6, "slower"), (4.6, "faster")])
def test_an_engine_of_the_same_bytes_that_moved_far_is_told_of_though_the_checkpoint_did_not(
    accepted: Project, factor: float, word: str
) -> None:
    move(accepted.baseline("fp16"), factor, "engine")
    result = accepted.run(ONE)
    result.assert_outcomes(passed=2)
    assert accepted.outcomes("latency") == {"fp16": "PASS"}
    told = found(accepted)
    assert told.startswith("shapes fp16: the accepted engine, byte by byte, is ")
    assert f" % {word} than in the stored session (99 % limits " in told
    assert ", and the .pt is not: accepted fp16 engine " in told
    assert "WARNING  shapes fp16: the accepted engine, byte by byte, is " in result.stdout.str()
    assert "the accepted engine, byte by byte, is " in accepted.page


def test_a_team_may_gate_it_and_accepts_it_with_an_update(accepted: Project) -> None:
    move(accepted.baseline("fp16"), 1 / 1.3)
    accepted.settings('\n[findings]\nplatform-changed = "fail"\n')
    accepted.run(ONE).assert_outcomes(passed=1, failed=1)
    verdict = accepted.verdict("fp16", "latency")
    assert str(verdict.outcome) == "FAIL"
    assert verdict.accept == f"pytest {ONE} --trt-baselines=update"
    assert re.match(SLOWER.format("everything"), verdict.summary)
    accepted.run(ONE, "--trt-baselines=update").assert_outcomes(passed=2)
    assert re.match(SLOWER.format("everything"), found(accepted))
    accepted.run(ONE).assert_outcomes(passed=2)
    assert found(accepted) == ""


def test_it_can_be_switched_off(accepted: Project) -> None:
    move(accepted.baseline("fp16"), 1 / 1.3)
    accepted.settings('\n[findings]\nplatform-changed = "off"\n')
    accepted.run(ONE).assert_outcomes(passed=2)
    assert found(accepted) == ""


def test_cells_of_one_model_share_one_sentence(project: Project) -> None:
    both = "--trt-precision=fp16,int8"
    project.run(both, "--trt-baselines=add").assert_outcomes(passed=4)
    for precision in ("fp16", "int8"):
        move(project.baseline(precision), 1 / 1.3)
    result = project.run(both, "-k", "latency")
    assert result.stdout.str().count("[platform-changed]") == 1
    assert "accepted fp16 engine" in found(project)
    assert ", accepted int8 engine" in found(project)


# What changed since


def scaled(latency: LatencyRecord, factor: float, **state: Any) -> LatencyRecord:
    """Return launches in which everything takes so many times as long, and the GPU is in another state."""
    launches = []
    for launch in latency.launches:
        arms = {
            name: arm.model_copy(
                update={
                    "timings": {
                        c: t.model_copy(update={"quantiles_ms": tuple(factor * q for q in t.quantiles_ms)})
                        for c, t in arm.timings.items()
                    }
                }
            )
            for name, arm in launch.arms.items()
        }
        after = launch.after.model_copy(update=state)
        launches.append(launch.model_copy(update={"arms": arms, "after": after}))
    return latency.model_copy(update={"launches": tuple(launches)})


@pytest.fixture
def gpu() -> tuple[RunRecord, Cell, Baseline]:
    """A run on a GPU, one of its cells, and that run as its baseline of four sessions, with an older driver."""
    run = gpu_run()
    cell = run.cells[0]
    latency = scaled(run.latencies[cell.model], 1, sm_mhz=1980.0)
    session = session_of(latency, cell, run)
    assert session is not None
    baseline = Baseline(
        cell=cell,
        environment=run.environment.model_copy(update={"driver": "550.54"}),
        engine_sha256=latency.launches[0].arms[cell.precision].sha256,
        cache_key="none",
        sessions=(session,) * 4,
    )
    run = run.model_copy(update={"environment": run.environment.model_copy(update={"driver": "580.159"})})
    return run, cell, baseline


def said(gpu: tuple[RunRecord, Cell, Baseline], factor: float, busy: str = "", **state: Any) -> str:
    run, cell, baseline = gpu
    now = Now(scaled(run.latencies[cell.model], factor, **state), run.environment, "engine", busy)
    return platform_changed(cell, {cell: baseline}, now)


def test_the_driver_and_the_clocks_are_named(gpu: tuple[RunRecord, Cell, Baseline]) -> None:
    told = said(gpu, 1.15, sm_mhz=1410.0)
    assert f"{gpu[1].model}: everything is 15 % slower than in the 4 stored sessions" in told
    assert "; since then: driver 550.54 -> 580.159, GPU clock 1980 -> 1410 MHz; as before torch " in told


def test_a_busy_machine_is_named(gpu: tuple[RunRecord, Cell, Baseline]) -> None:
    told = said(gpu, 1.15, "the load average is 9", sm_mhz=1985.0)
    assert "driver 550.54 -> 580.159, the machine was busy now: the load average is 9; as before" in told


def test_nothing_is_said_of_what_sessions_differ_by(gpu: tuple[RunRecord, Cell, Baseline]) -> None:
    assert said(gpu, 1.02) == ""


# Two runs


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Compare a run with itself, slower by a factor; give the exit status and what was printed."""

    def compared(factor: float, **findings: str) -> tuple[int, str]:
        run = gpu_run()
        slower = {model: scaled(latency, factor) for model, latency in run.latencies.items()}
        save(tmp_path / "a.json", run)
        settings = {**run.settings, "findings": findings}
        save(tmp_path / "b.json", run.model_copy(update={"latencies": slower, "settings": settings}))
        status = main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
        return status, capsys.readouterr().out

    return compared


def test_compare_warns_of_it(compare: Callable[..., tuple[int, str]]) -> None:
    _, out = compare(1.3)
    assert "WARNING       " in out
    assert " is 30 % slower than in the earlier run (99 % limits " in out
    assert "[platform-changed]" in out
    assert "WARNING" not in compare(1.02)[1]


def test_compare_fails_for_it_where_it_is_gated(compare: Callable[..., tuple[int, str]]) -> None:
    status, out = compare(1.3, **{"platform-changed": "fail"})
    assert status == 1
    assert " is 30 % slower than in the earlier run" in out
    assert "WARNING" not in out
