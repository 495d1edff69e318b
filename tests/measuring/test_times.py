"""Times that were recorded elsewhere, in the forms of the tools that record them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_trtgate.errors import DataError
from pytest_trtgate.measuring.times import read_times

MS = [3.0 + 0.01 * n for n in range(40)]


def test_milliseconds_of_a_csv_are_of_the_gated_context(tmp_path: Path) -> None:
    for text in ("\n".join(map(str, MS)), "n,latency_ms\n" + "\n".join(f"{n},{ms}" for n, ms in enumerate(MS))):
        (tmp_path / "times.csv").write_text(text)
        assert read_times(tmp_path / "times.csv", "end-to-end") == {"end-to-end": pytest.approx(MS)}


def test_a_byte_order_mark_is_no_part_of_a_column_or_of_json(tmp_path: Path) -> None:
    (tmp_path / "times.csv").write_text("ms\n" + "\n".join(map(str, MS)), encoding="utf-8-sig")
    assert read_times(tmp_path / "times.csv", "engine") == {"engine": pytest.approx(MS)}
    (tmp_path / "times.json").write_text(json.dumps([{"computeMs": 1, "latencyMs": 2}] * 30), encoding="utf-8-sig")
    assert read_times(tmp_path / "times.json", "engine")["engine"] == [1.0] * 30


def test_trtexec_tells_of_the_engine_and_of_the_whole(tmp_path: Path) -> None:
    rows = [{"startComputeMs": 1.0, "inMs": 0.5, "computeMs": ms, "outMs": 0.5, "latencyMs": ms + 1} for ms in MS]
    (tmp_path / "times.json").write_text(json.dumps(rows))
    found = read_times(tmp_path / "times.json", "engine")
    assert found == {"engine": pytest.approx(MS), "end-to-end": pytest.approx([ms + 1 for ms in MS])}


def test_perf_analyzer_tells_of_requests_in_nanoseconds(tmp_path: Path) -> None:
    requests = [{"timestamp": 10**18, "response_timestamps": [10**18 + round(ms * 1e6)]} for ms in MS]
    (tmp_path / "times.json").write_text(json.dumps({"experiments": [{"experiment": {}, "requests": requests}]}))
    assert read_times(tmp_path / "times.json", "engine") == {"engine": pytest.approx(MS, abs=1e-3)}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", "1.0\n2.0\n", "2 inferences, fewer than 30, tell too little"),
        ("t.csv", "a_us\n" + "1\n" * 40, "its columns are a_us, and none is called ms or ends in _ms"),
        ("t.csv", "1,2\n" * 40, "it has several columns of times"),
        ("t.csv", "Concurrency,Inferences/Second,p50 latency\n1,2,3\n", "a summary of perf_analyzer"),
        ("t.csv", "ms\nsoon\n", "no times that are known"),
        ("t.csv", "4000000\n" * 40, "4e+06 is no time of an inference in milliseconds"),
        ("t.csv", "3\n" * 40 + "1e300\n", "1e+300 is no time of an inference in milliseconds"),
        ("t.csv", "-1\n" * 40, "-1 is no time of an inference in milliseconds"),
        ("t.csv", "3\n" * 40 + "nan\n", "nan is no time of an inference in milliseconds"),
        ("t.csv", "3\n" * 40 + "inf\n", "inf is no time of an inference in milliseconds"),
        ("t.csv", "3" * 200_000, "no times that are known (field larger than field limit"),
        ("t.json", json.dumps([{"computeMs": 10**400, "latencyMs": 1}]), "no times that are known (int too large"),
        ("t.json", "{}", "no 'experiments'"),
        ("t.json", "[{}]", "no 'computeMs'"),
        ("t.json", "[", "no times that are known"),
    ],
)
def test_what_is_wrong_is_a_sentence(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError) as error:
        read_times(tmp_path / name, "engine")
    assert said in str(error.value)
