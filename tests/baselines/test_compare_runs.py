"""``trtgate compare``: two run records judged against each other without a device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from records_example import accuracy
from runs_example import BUSY_WITH, busy, gpu_run, passing_run

from pytest_trtgate.cli import main
from pytest_trtgate.records.files import save
from pytest_trtgate.records.latency import LatencyRecord, MachineState
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.settings.settings import Settings

KEYS = [f"shapes-{precision}-320-b1-onnxruntime-cpu" for precision in ("fp32", "fp16", "int8")]


def run(**settings: Any) -> RunRecord:
    """Return an example run with settings that this version knows."""
    known = Settings.model_validate(settings).model_dump(mode="json", by_alias=True)
    return passing_run().model_copy(update={"settings": known})


def other_checkpoint(base: RunRecord) -> RunRecord:
    """Return the run with a ``.pt`` that no other run has."""

    def renamed(latency: LatencyRecord) -> LatencyRecord:
        launches = []
        for launch in latency.launches:
            named = launch.arms["pt"].model_copy(update={"sha256": "another"})
            launches.append(launch.model_copy(update={"arms": {**launch.arms, "pt": named}}))
        return latency.model_copy(update={"launches": tuple(launches)})

    return base.model_copy(update={"latencies": {m: renamed(found) for m, found in base.latencies.items()}})


def rebuilt(base: RunRecord) -> RunRecord:
    """Return the run with engines of other bytes, as of another build."""
    engines = {key: engine.model_copy(update={"sha256": "rebuilt"}) for key, engine in base.engines.items()}
    return base.model_copy(update={"engines": engines})


def slower(factor: float, arm: str = "int8", base: RunRecord | None = None, **settings: Any) -> RunRecord:
    """Return the run with one arm slower in every launch, and engines of other bytes."""
    base = rebuilt(base or run(**settings))

    def scaled(latency: LatencyRecord) -> LatencyRecord:
        launches = []
        for launch in latency.launches:
            timed = launch.arms[arm]
            timings = {
                context: t.model_copy(update={"quantiles_ms": tuple(q * factor for q in t.quantiles_ms)})
                for context, t in timed.timings.items()
            }
            arms = {**launch.arms, arm: timed.model_copy(update={"timings": timings})}
            launches.append(launch.model_copy(update={"arms": arms}))
        return latency.model_copy(update={"launches": tuple(launches)})

    return base.model_copy(update={"latencies": {m: scaled(latency) for m, latency in base.latencies.items()}})


def without(base: RunRecord, *, accuracies: bool = False, latencies: bool = False) -> RunRecord:
    """Return a run that did not measure one thing or both."""
    update: dict[str, Any] = {"accuracies": ()} if accuracies else {}
    update |= {"latencies": {}} if latencies else {}
    return base.model_copy(update=update)


@pytest.fixture
def compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[RunRecord, RunRecord], tuple[int, str]]:
    """Compare two records; give the exit status and what was printed."""

    def compared(before: RunRecord, after: RunRecord) -> tuple[int, str]:
        save(tmp_path / "a.json", before)
        save(tmp_path / "b.json", after)
        status = main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")])
        said = capsys.readouterr()
        return status, (said.out + said.err).replace(f"{tmp_path}/", "")

    return compared


Compare = Callable[[RunRecord, RunRecord], tuple[int, str]]


def test_a_run_is_no_worse_than_itself(compare: Compare) -> None:
    status, said = compare(run(), run())
    assert status == 0
    lines = said.splitlines()
    assert [line.split()[:2] for line in lines] == [["PASS", key] for key in KEYS]
    assert "mAP50-95 is unchanged since the earlier run" in lines[2]
    levels = "p50 0.0 % (median of launches 8.67 -> 8.67 ms)"
    assert f"; identical engine, byte by byte that of the earlier run; {levels}, p95 0.0 % " in lines[2]
    _, said = compare(run(), rebuilt(run()))
    assert "INCONCLUSIVE" in said
    assert "p50 is unchanged (median of launches 8.67 -> 8.67 ms), 5 % allowed, one-sided 95 % limits -" in said
    assert "identical" not in said


def test_what_the_same_bytes_take_longer_is_put_down_to_the_machine(compare: Compare) -> None:
    before, after = run(), slower(1.2)
    status, said = compare(before, after.model_copy(update={"engines": before.engines}))
    assert status == 0
    line = said.splitlines()[2]
    assert line.startswith(f"PASS          {KEYS[2]}  ")
    levels = "p50 +20.0 % (median of launches 8.67 -> 10.4 ms)"
    assert f"identical engine, byte by byte that of the earlier run; {levels}, p95 +20.0 % " in line
    assert line.endswith(": a difference is the machine's, not the engine's")


def test_what_is_around_the_same_bytes_is_judged_where_that_is_gated(compare: Compare) -> None:
    before = run(latency={"context": "end-to-end"})
    after = slower(1.2, base=before).model_copy(update={"engines": before.engines})
    status, said = compare(before, after)
    assert status == 1
    assert said.splitlines()[2].startswith(f"FAIL          {KEYS[2]}  p50 is 20 % slower ")
    assert "more than 5 % allowed" in said.splitlines()[2]
    assert "; the engine is the same, byte by byte: what is around it is judged" in said.splitlines()[2]


def test_a_slower_run_is_worse(compare: Compare) -> None:
    status, said = compare(run(), slower(1.2))
    assert status == 1
    [line] = [line for line in said.splitlines() if line.startswith("FAIL")]
    assert line.startswith(f"FAIL          {KEYS[2]}  p50 is 20 % slower (median of launches 8.67 -> 10.4 ms)")
    assert "more than 5 % allowed" in line


def test_a_faster_run_is_no_worse(compare: Compare) -> None:
    assert compare(run(), slower(0.8))[0] == 0


@pytest.mark.parametrize(("policy", "status"), [("warn", 0), ("fail", 1)])
def test_the_policy_of_the_later_run_decides_about_what_two_sessions_cannot_tell(
    compare: Compare, policy: str, status: int
) -> None:
    found, said = compare(run(), slower(1.07, inconclusive=policy))
    assert found == status
    assert f"INCONCLUSIVE  {KEYS[2]}  p50 is 7 % slower " in said
    assert compare(run(inconclusive=policy), slower(1.07))[0] == 0


def test_the_limits_are_those_of_the_later_run(compare: Compare) -> None:
    loose = {"p50": {"regression": 0.3}, "p95": {"regression": 0.3}}
    assert compare(run(), slower(1.2, latency=loose))[0] == 0
    assert compare(run(latency=loose), slower(1.2))[0] == 1


@pytest.mark.parametrize("which", ["earlier", "later"])
def test_launches_on_an_unfit_device_decide_nothing(compare: Compare, which: str) -> None:
    runs = {"earlier": run(), "later": slower(1.2)}
    latency = runs[which].latencies["shapes"]
    hot = latency.launches[0].model_copy(update={"after": MachineState(throttle_reasons=("power cap",))})
    throttled = latency.model_copy(update={"launches": (hot, *latency.launches[1:])})
    runs[which] = runs[which].model_copy(update={"latencies": {"shapes": throttled}})
    status, said = compare(*runs.values())
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == ["INCONCLUSIVE"] * 3
    assert f"; not judged, since the device held its clocks back (power cap) in the {which} run" in said


@pytest.mark.parametrize(("which", "word"), [("earlier", "INCONCLUSIVE"), ("later", "INCONCLUSIVE")])
def test_a_run_on_a_busy_machine_does_not_prove_a_slow_down(compare: Compare, which: str, word: str) -> None:
    runs = {"earlier": run(), "later": other_checkpoint(slower(1.2))}
    runs[which] = busy(runs[which])
    status, said = compare(*runs.values())
    assert status == (word == "FAIL")
    assert said.splitlines()[2].startswith(word)
    assert (f", but {BUSY_WITH}: it may be the machine" in said) is (which == "later")


def test_the_same_checkpoint_tells_what_of_a_slow_down_is_the_machine(compare: Compare) -> None:
    assert compare(run(), busy(slower(1.2)))[0] == 1
    status, said = compare(run(), slower(1.2, base=slower(1.2, "pt")))
    assert status == 0
    assert ", but the same .pt is 20 % slower, and beside it the engine is unchanged (" in said


def test_a_less_accurate_run_is_worse(compare: Compare) -> None:
    base = run()
    worse = tuple(accuracy("int8", 0.70) if a.arm == "int8" else a for a in base.accuracies)
    status, said = compare(base, base.model_copy(update={"accuracies": worse}))
    assert status == 1
    assert f"FAIL          {KEYS[2]}  mAP50 fell 0.0968 since the earlier run" in said


@pytest.mark.parametrize(("policy", "status"), [("record", 0), ("fail", 1)])
def test_accuracies_on_other_images_are_not_compared(compare: Compare, policy: str, status: int) -> None:
    base = run(missing_baseline=policy)
    other = tuple(a.model_copy(update={"data_digest": "else"}) for a in base.accuracies)
    found, said = compare(base.model_copy(update={"accuracies": other}), base)
    assert found == status
    assert f"INCOMPATIBLE  {KEYS[0]}  accuracy is incompatible with the earlier run, whose images" in said


def test_what_the_later_run_no_longer_measures_is_an_error(compare: Compare) -> None:
    status, said = compare(run(), without(run(), latencies=True))
    assert status == 1
    assert f"ERROR         {KEYS[0]}  the later run did not measure its latency" in said


def test_what_only_the_later_run_measures_is_said(compare: Compare) -> None:
    status, said = compare(without(run(), accuracies=True), run(missing_baseline="record"))
    assert status == 0
    assert f"NO_BASELINE   {KEYS[0]}  the earlier run did not measure its accuracy" in said


def test_what_neither_measured_is_left_out_unless_it_is_all(compare: Compare) -> None:
    half = without(run(), latencies=True)
    assert compare(half, half)[0] == 0
    nothing = without(run(), accuracies=True, latencies=True)
    status, said = compare(nothing, nothing)
    assert status == 1
    assert f"ERROR         {KEYS[0]}  neither run measured what the settings judge" in said


def test_cells_of_one_run_only_are_named(compare: Compare) -> None:
    few = run().model_copy(update={"cells": run().cells[:1]})
    status, said = compare(run(), few)
    assert status == 1
    assert said.splitlines()[-1] == f"only in a.json: {KEYS[1]}, {KEYS[2]}"
    status, said = compare(few, run())
    assert status == 0
    assert said.splitlines()[-1] == f"only in b.json: {KEYS[1]}, {KEYS[2]}"


def test_the_number_of_the_gpu_does_not_tell_cells_apart(compare: Compare) -> None:
    first = gpu_run().model_copy(update={"settings": run().settings})
    second = first.model_copy(
        update={"cells": tuple(c.model_copy(update={"device": "1"}) for c in first.cells), "verdicts": ()}
    )
    status, said = compare(first, second)
    assert status == 0
    assert [line.split()[:2] for line in said.splitlines()] == [["PASS", c.key] for c in second.cells]


# Wrong usage


def test_runs_of_different_machines_are_not_compared(compare: Compare) -> None:
    base = run()
    other = base.model_copy(update={"environment": base.environment.model_copy(update={"cpu": "Pentium"})})
    status, said = compare(base, other)
    assert status == 2
    assert said == (
        "trtgate: the runs are of different machines and cannot be compared: "
        f"CPU Pentium, baseline {base.environment.cpu}\n"
    )
    gpu = gpu_run().model_copy(update={"settings": base.settings})
    assert "backend tensorrt, baseline onnxruntime" in compare(base, gpu)[1]


def test_runs_with_other_numbers_of_threads_are_not_compared(compare: Compare) -> None:
    base = run()
    latency = base.latencies["shapes"]
    launches = tuple(launch.model_copy(update={"threads": 1}) for launch in latency.launches)
    other = base.model_copy(update={"latencies": {"shapes": latency.model_copy(update={"launches": launches})}})
    status, said = compare(base, other)
    assert status == 2
    assert "threads 1, baseline 4" in said


def test_runs_without_a_common_cell_are_not_compared(compare: Compare) -> None:
    status, said = compare(
        run().model_copy(update={"cells": run().cells[:1]}), run().model_copy(update={"cells": run().cells[1:]})
    )
    assert status == 2
    assert said == f"trtgate: the runs have no cell in common: {KEYS[0]} before, {KEYS[1]}, {KEYS[2]} now\n"


def test_a_record_that_cannot_be_read_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "b.json", run())
    (tmp_path / "a.json").write_text("{")
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 2
    assert main(["compare", str(tmp_path / "b.json"), str(tmp_path / "c.json")]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"trtgate: {tmp_path / 'a.json'}: not valid JSON")
    assert second == f"trtgate: {tmp_path / 'c.json'}: cannot be read (No such file or directory)"


def test_engines_for_different_heads_are_not_compared(compare: Compare) -> None:
    before, key = run(), KEYS[0]
    free = before.engines[key].model_copy(update={"metadata": {"task": "detect", "end2end": True}})
    _, said = compare(before, before.model_copy(update={"engines": {**before.engines, key: free}}))
    assert "the engine is built for nms-free, that of the earlier run for nms" in said
    assert [line.split()[0] for line in said.splitlines()] == ["INCOMPATIBLE", "PASS", "PASS"]
