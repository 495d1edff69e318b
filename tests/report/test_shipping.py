"""Which precision a run would ship, and which engines are no gain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from records_example import accuracy, latency
from runs_example import failing_run, passing_run

from pytest_trtgate import text as fmt
from pytest_trtgate.records.latency import LatencyRecord
from pytest_trtgate.records.run import RunRecord
from pytest_trtgate.records.verdict import Outcome
from pytest_trtgate.report import markdown, terminal
from pytest_trtgate.report.page import html
from pytest_trtgate.report.shipping import no_gain, shipping


@cache
def timed(**factors: float) -> LatencyRecord:
    """Return launches in which each arm takes so many times as long as in the example."""
    found = []
    for launch in latency().launches:
        arms = {}
        for name, arm in launch.arms.items():
            timings = {
                context: t.model_copy(
                    update={"quantiles_ms": tuple(q * factors.get(name, 1.0) for q in t.quantiles_ms)}
                )
                for context, t in arm.timings.items()
            }
            arms[name] = arm.model_copy(update={"timings": timings})
        found.append(launch.model_copy(update={"arms": arms}))
    return latency().model_copy(update={"launches": tuple(found)})


def run_of(outcomes: Mapping[str, Outcome] | None = None, waived: str = "", **factors: float) -> RunRecord:
    """Return the passing run with other outcomes, by such as ``int8 accuracy``, and with other times."""
    run = passing_run()
    verdicts = [
        v.model_copy(update={"outcome": outcome, "failed": not waived, "waived": waived})
        if (outcome := (outcomes or {}).get(f"{v.cell.precision} {v.subject}"))
        else v
        for v in run.verdicts
    ]
    return run.model_copy(update={"verdicts": tuple(verdicts), "latencies": {"shapes": timed(**factors)}})


def said(run: RunRecord) -> list[str]:
    """Return what a run would ship, in ASCII."""
    return [fmt.plain(sentence) for sentence in shipping(run)]


def test_the_fastest_engine_that_passes_is_shipped() -> None:
    assert said(passing_run()) == [
        "Ship INT8, the fastest that passes: p50 8.67 ms (2.48x vs .pt), drop 0.0052 in mAP50-95"
    ]


@pytest.mark.parametrize(("waived", "more"), [("", ""), ("until Friday", " (waived)")])
def test_a_faster_engine_that_fails_is_named_with_what_it_fails(waived: str, more: str) -> None:
    [sentence] = said(run_of({"int8 accuracy": Outcome.FAIL}, waived))
    assert sentence.startswith("Ship FP32, the fastest that passes: p50 12.5 ms (1.72x vs .pt), ")
    assert sentence.endswith(f"; INT8 is faster (8.67 ms) but its accuracy failed{more}")


def test_of_engines_that_are_as_fast_the_more_accurate_one_is_shipped() -> None:
    run = run_of(int8=1.43)
    assert said(run) == [
        "Ship FP32, as fast as INT8, the fastest that passes, within 5 %, and more accurate: p50 12.5 ms "
        "(1.72x vs .pt), no drop in mAP50-95"
    ]
    same = [accuracy(a.arm, 0.802) for a in run.accuracies]
    assert said(run.model_copy(update={"accuracies": tuple(same)}))[0].startswith("Ship INT8, the fastest that")


def test_no_engine_is_shipped_that_is_slower_than_the_checkpoint() -> None:
    assert said(run_of(pt=0.3)) == [
        "Ship none: no engine that passes is faster than the .pt (INT8 8.67 ms, .pt 6.45 ms at p50)"
    ]


def test_where_all_fail_or_were_not_judged_it_is_said_of_each_why() -> None:
    outcomes = {"fp32 latency": Outcome.ERROR, "int8 accuracy": Outcome.FAIL, "int8 latency": Outcome.FAIL}
    run = run_of(outcomes | {"fp16 accuracy": Outcome.INCONCLUSIVE})
    assert said(run) == [
        "Which to ship is open: latency could not be measured (FP32); accuracy could not be decided (FP16); accuracy "
        "failed and latency failed (INT8)"
    ]
    lost = {f"{precision} latency": Outcome.FAIL for precision in ("fp32", "fp16", "int8")}
    assert said(run_of(lost)) == ["Ship none: latency failed (FP32, FP16, INT8)"]
    # What failed is not shipped, whatever could not be measured besides.
    [sentence] = said(run_of(lost | {"fp32 accuracy": Outcome.ERROR}))
    assert sentence.startswith("Ship none: ")
    part = [v for v in passing_run().verdicts if v.subject == "accuracy"]
    unjudged = passing_run().model_copy(update={"verdicts": tuple(part)})
    assert said(unjudged) == ["Which to ship is open: latency not judged (FP32, FP16, INT8)"]
    assert shipping(passing_run().model_copy(update={"verdicts": ()})) == ()


def test_several_models_are_told_apart_and_an_open_verdict_is_told() -> None:
    wide, shapes = said(failing_run())
    assert wide.startswith("shapes-wide: ship FP32, the one that passes: ")
    assert wide.endswith("; latency is inconclusive")
    assert shapes.startswith("shapes: ship FP32, ")
    assert "; latency is incompatible; INT8 is faster" in shapes


def test_what_fails_the_run_for_want_of_a_baseline_is_not_shipped() -> None:
    missing = {f"{precision} latency": Outcome.NO_BASELINE for precision in ("fp32", "fp16", "int8")}
    assert said(run_of(missing)) == ["Ship none: latency has no baseline (FP32, FP16, INT8)"]
    verdicts = [v.model_copy(update={"failed": False}) for v in run_of(missing).verdicts]
    [sentence] = said(run_of().model_copy(update={"verdicts": tuple(verdicts)}))
    assert sentence.endswith("; latency has no baseline")


def test_an_engine_that_is_slower_and_less_accurate_is_said_to_be() -> None:
    assert [fmt.plain(s) for s in no_gain(run_of(int8=2.0))] == [
        "shapes int8 is slower and less accurate here than FP32: 17.3 ms against 12.5 ms at p50, mAP50-95 0.7968 "
        "against 0.8020"
    ]
    assert no_gain(passing_run()) == ()
    # Nor is a difference that the launches may have by chance.
    assert no_gain(run_of(int8=1.49)) == ()


def test_an_engine_that_is_slower_than_its_checkpoint_is_said_to_be() -> None:
    assert "shapes int8 is slower here than the .pt: 26.0 ms against 21.5 ms at p50" in [
        fmt.plain(s) for s in no_gain(run_of(int8=3.0))
    ]


def test_every_rendering_says_what_to_ship_and_what_is_no_gain() -> None:
    run = run_of(int8=2.0)
    lines = " ".join(" ".join(line for line, _ in terminal.summary_lines([run], 100)).split())
    for sentence in (*shipping(run), *no_gain(run)):
        assert fmt.plain(sentence) in lines
        assert markdown.escape(sentence) in markdown.render([run])
        assert fmt.plain(sentence) in fmt.plain(html.render([run]))


def test_an_engine_without_times_is_not_shipped() -> None:
    run = passing_run().model_copy(update={"latencies": {}})
    assert said(run) == ["Ship none: not timed (FP32, FP16, INT8)"]
