"""What of the jobs works without torch: the main loop of a job process, and the plan of a launch."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from forks import fork
from material import ROOT, build_request, job_environment
from records_example import SETTINGS

from pytest_trtgate.jobs.contract import ArmRequest, LatencyRequest
from pytest_trtgate.settings.latency import Latency
from pytest_trtgate.workers import worker
from pytest_trtgate.workers.timing.cpu import machine_state
from pytest_trtgate.workers.timing.gpu import ClockWatch
from pytest_trtgate.workers.timing.latency import PARTS, STAGES, Series, _summary, balanced_orders, course_ms, timing
from pytest_trtgate.workers.worker import plain

_JOB = """
import errno, sys, time
from pytest_trtgate.errors import DataError
from pytest_trtgate.jobs.contract import BuildRequest, BuildResponse
from pytest_trtgate.workers.worker import main, progress
def work(request, folder):
    {}
    return BuildResponse(artifact="engine.onnx", metadata=dict(seconds=0))
raise SystemExit(main(BuildRequest, work))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    request = {"schema_version": 1, **build_request(tmp_path / "weights.pt", tmp_path / "output")}
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "request.json").write_text(json.dumps(request))
    return tmp_path / "job"


@dataclass(frozen=True)
class Done:
    stdout: str
    stderr: str
    returncode: int | None


def job(folder: Path, body: str) -> Done:
    process = fork(["-c", str(folder)], folder, job_environment(folder / "home"), _JOB.format(body), apart=True)
    return Done(*process.communicate(), process.returncode)


def sentence(folder: Path) -> str:
    return str(json.loads((folder / "error.json").read_text())["sentence"])


def test_a_job_answers_and_ends_with_status_0(folder: Path) -> None:
    done = job(folder, "pass")
    assert done.returncode == 0, done.stderr
    assert json.loads((folder / "response.json").read_text())["artifact"] == "engine.onnx"
    assert not (folder / "error.json").exists()


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT"])
def test_a_full_disk_is_a_sentence_that_names_the_file(folder: Path, number: str) -> None:
    done = job(folder, f"raise OSError(errno.{number}, 'full', '/cache/engine.onnx')")
    assert done.returncode == 1
    assert sentence(folder) == "no space left on the disk of /cache/engine.onnx; free some and run again"


def test_an_error_of_ours_is_its_sentence_without_a_traceback(folder: Path) -> None:
    done = job(folder, "raise DataError('weights.pt: no such file')")
    assert sentence(folder) == "weights.pt: no such file"
    assert "Traceback" not in done.stderr


def test_any_other_error_is_named_and_its_traceback_is_in_the_log(folder: Path) -> None:
    done = job(folder, "raise KeyError('stride')")
    assert sentence(folder) == "KeyError: 'stride'"
    assert "Traceback" in done.stderr
    assert not (folder / "response.json").exists()


def test_running_out_of_memory_says_what_to_do(folder: Path) -> None:
    job(folder, "raise MemoryError")
    assert "lower batch or imgsz" in sentence(folder)


@pytest.mark.parametrize(
    "text", ["Error Code 2: OutOfMemory (Requested size was 9 bytes)", "CUBLAS_STATUS_ALLOC_FAILED when calling it"]
)
def test_running_out_of_gpu_memory_says_what_to_do_whoever_tells_it(folder: Path, text: str) -> None:
    assert job(folder, f"raise RuntimeError({text!r})").returncode == 1
    assert "lower batch or imgsz" in sentence(folder)


ABORT = "import atexit, os; atexit.register(os.abort); "
"""As CUDA does in a process that it has given up."""


@pytest.mark.parametrize(
    "raised",
    [
        "raise RuntimeError('CUDA error: an illegal memory access was encountered')",
        "raise DataError('fp16: failed (CUDA error: an illegal memory access was encountered)')",
    ],
)
def test_a_fault_of_the_gpu_is_a_sentence_and_frees_nothing_on_its_way_out(folder: Path, raised: str) -> None:
    done = job(folder, ABORT + raised)
    assert done.returncode == 1
    assert "CUDA error: an illegal memory access was encountered" in sentence(folder)
    # What is no fault of the GPU ends as any process does.
    assert job(folder, ABORT + "raise KeyError(1)").returncode < 0


def test_a_request_that_lacks_a_field_is_a_sentence(folder: Path) -> None:
    (folder / "request.json").write_text('{"schema_version": 1}')
    assert job(folder, "pass").returncode == 1
    assert "field 'weights'" in sentence(folder)


def test_libraries_find_one_thread_count_and_their_folders_inside_the_job(folder: Path) -> None:
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "YOLO_CONFIG_DIR", "TMPDIR"]
    body = f"import os; print([os.environ[n] for n in {names}], os.getcwd())"
    assert job(folder, body).stdout.strip() == (
        f"{['1', '1', '1', str(folder / 'yolo'), str(folder / 'tmp')]} {folder}"
    )


def test_progress_is_told_at_most_every_two_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 100.5, 101.9, 102.1, 103.0, 103.1])
    monkeypatch.setattr(worker, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(worker, "_last_progress", [98.0])
    for number in range(6):
        worker.progress(f"{number} of 5")
    told = [f"@trtgate-progress {number} of 5" for number in (0, 3, 5)]
    assert capsys.readouterr().out.splitlines() == told  # the last whenever it comes


def test_a_job_ends_when_its_launcher_has_gone(folder: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", _JOB.format("time.sleep(60)"), str(folder)],
        env=job_environment(folder / "home"),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (folder / "tmp").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(timeout=30) != 0


def test_reasons_lose_colours_emoji_and_all_but_their_first_line() -> None:
    error = ValueError("\nERROR ❌️ \x1b[31margument 'opset'\x1b[0m is not supported.\nSee the docs")
    assert plain(error) == "argument 'opset' is not supported"


def test_importing_the_job_modules_loads_nothing_heavy() -> None:
    modules = ("building.build", "evaluating.accuracy", "timing.latency")
    code = f"import sys, {', '.join(f'pytest_trtgate.workers.{name}' for name in modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "ultralytics", "numpy", "onnx", "onnxruntime", "cv2"} & set(done.stdout.split())


def test_each_arm_takes_each_place_equally_often() -> None:
    orders = balanced_orders(random.Random(3), "abcd")
    places = Counter((arm, place) for _ in range(40) for place, arm in enumerate(next(orders)))
    assert set(places.values()) == {10}
    assert len(places) == 16


def test_the_order_of_arms_follows_from_the_seed() -> None:
    def first(seed: int) -> list[list[str]]:
        orders = balanced_orders(random.Random(seed), "abcd")
        return [next(orders) for _ in range(8)]

    assert first(1) == first(1) != first(2)


def test_a_timing_has_99_linear_quantiles_in_milliseconds() -> None:
    summary = timing([n * 1_000_000 for n in range(101)])
    assert summary.quantiles_ms == pytest.approx(range(1, 100))
    assert (summary.n, summary.min_ms, summary.mean_ms, summary.max_ms) == (101, 0.0, 50.0, 100.0)


def test_inferences_over_budget_are_counted_in_the_context_that_is_gated() -> None:
    arm = SimpleNamespace(name="int8", cuda_graph=None)
    asked = ArmRequest(arm="int8", artifact="b.onnx", sha256="", budgets_ms={"p50": 2, "p95": 3.5})
    every = [Series(arm, asked, context, [], []) for context in ("engine", "end-to-end")]
    ms = {"int8/engine": [1, 2, 3, 4], **{f"int8/{name}": [9] for name in ("end-to-end", *STAGES)}}
    arrays = {name: np.array(values) * 1_000_000 for name, values in ms.items()}
    request = LatencyRequest.model_construct(gated="engine", how=SETTINGS, device="cpu")
    assert _summary(asked, request, every, arrays).over_budget == {"p50": 2, "p95": 1}
    assert _summary(asked, request.model_copy(update={"gated": "end-to-end"}), every, arrays).over_budget["p95"] == 1


def test_a_course_has_the_medians_of_equal_parts_in_the_order_of_time() -> None:
    course = course_ms([n * 1_000_000 for n in range(10 * PARTS)])
    assert course == pytest.approx([10 * n + 4.5 for n in range(PARTS)])
    assert course_ms([3_000_000, 5_000_000]) == (3.0, 5.0)


def test_engines_are_loaded_after_a_spare_and_take_turns_in_coming_first() -> None:
    names = {
        "pt": "a.pt",
        "int8": "b.onnx",
        "fp16": "d.onnx",
        "baseline-int8": "c.onnx",
        "baseline-int8-placebo": "c.onnx",
    }
    arms = tuple(ArmRequest(arm=arm, artifact=artifact, sha256="") for arm, artifact in names.items())
    requests = [LatencyRequest.model_construct(index=index, arms=arms) for index in range(3)]
    orders = [["spare" if arm.spare else arm.arm for arm in request.load_order] for request in requests]
    assert orders[0] == ["pt", "spare", "baseline-int8", "int8", "baseline-int8-placebo", "fp16"]
    assert orders[1] == ["pt", "spare", "fp16", "baseline-int8-placebo", "int8", "baseline-int8"]
    assert orders[2] == orders[0]
    assert [request.load_order[1].artifact for request in requests] == ["c.onnx", "d.onnx", "c.onnx"]
    only = LatencyRequest.model_construct(index=0, arms=arms[:1])
    assert only.load_order == arms[:1]


class SteadySeries(Series):
    """An arm whose every inference takes 20 ms by its own clock."""

    def once(self, number: int) -> tuple[int, ...]:
        return 0, 20_000_000


@pytest.mark.parametrize(
    ("gated", "samples", "max_seconds", "shown", "planned"),
    [
        (None, 500, 5.0, False, (250, 250)),
        ("engine", 500, 5.0, False, (250, 62)),
        ("end-to-end", 500, 5.0, False, (62, 250)),
        ("engine", 500, 0.1, False, (30, 10)),
        ("engine", 100, 20.0, False, (100, 25)),
        ("engine", 5, 5.0, False, (5, 5)),
        ("engine", 500, 5.0, True, (62, 15)),
    ],
)
def test_what_is_only_shown_takes_a_quarter_of_what_is_judged(
    gated: str | None, samples: int, max_seconds: float, shown: bool, planned: tuple[int, int]
) -> None:
    request = LatencyRequest.model_construct(gated=gated, rules=Latency(samples=samples, max_seconds=max_seconds))
    asked = ArmRequest(arm="int8", artifact="b.onnx", sha256="", shown=shown)
    found = [SteadySeries(None, asked, context, [], []) for context in ("engine", "end-to-end")]
    no_clock = ClockWatch(lambda: None)
    found[1].warm_up(request, no_clock, None)
    found[0].warm_up(request, no_clock, found[1])
    assert tuple(series.planned for series in found) == planned
    assert [series.warmup_iterations for series in found] == [3, 20]


def test_the_state_of_the_machine_is_read_where_the_platform_tells(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("cpu MHz\t\t: 1000.0\nflags\t: fpu\ncpu MHz\t\t: 3000.0\n")
    for zone, value in enumerate(("47000", "-274000", "51500", "broken")):
        (tmp_path / f"sys/class/thermal/thermal_zone{zone}").mkdir(parents=True)
        (tmp_path / f"sys/class/thermal/thermal_zone{zone}/temp").write_text(f"{value}\n")
    state = machine_state(tmp_path)
    assert (state.cpu_mhz, state.temperature_c) == (2000.0, 51.5)
    assert machine_state(tmp_path / "nothing").cpu_mhz is None
