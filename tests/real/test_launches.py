"""Launches, with the real torch, Ultralytics and ONNX Runtime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from material import (
    Done,
    Material,
    accuracy_request,
    latency_request,
    run_job,
    run_python,
)

from pytest_trtgate.jobs.contract import INPUTS, LatencyResponse
from pytest_trtgate.records.latency import Launch

pytestmark = pytest.mark.real


def test_a_launch_times_every_arm_in_every_context(launch: tuple[Done, Launch, Path]) -> None:
    arms = launch[1].arms
    assert list(arms) == ["pt", "fp32", "placebo"]
    for arm in arms.values():
        assert set(arm.timings) == {"engine", "end-to-end", "preprocess", "inference", "postprocess"}
        assert arm.warmup_iterations >= 20
        for timing in arm.timings.values():
            assert 0 < timing.min_ms <= timing.quantiles_ms[0] <= timing.quantiles_ms[-1] <= timing.max_ms


def test_a_launch_keeps_every_duration(launch: tuple[Done, Launch, Path]) -> None:
    _, record, samples = launch
    assert record.samples == samples.name
    with np.load(samples) as arrays:
        assert len(arrays.files) == 2 * 3 * 5
        for name, arm in record.arms.items():
            for context, timing in arm.timings.items():
                durations = arrays[f"{name}/{context}"]
                assert durations.dtype == np.int64
                assert len(durations) == timing.n
                # Kept to the nanosecond.
                assert timing.quantile_ms(50) == pytest.approx(np.median(durations) / 1e6, abs=1e-6)
                assert (np.diff(arrays[f"{name}/{context}/at"]) > 0).all()


def test_stages_add_up_to_the_whole(launch: tuple[Done, Launch, Path]) -> None:
    with np.load(launch[2]) as arrays:
        stages = sum(arrays[f"fp32/{stage}"] for stage in ("preprocess", "inference", "postprocess"))
        assert (stages == arrays["fp32/end-to-end"]).all()


def test_images_per_second_count_the_whole_way(launch: tuple[Done, Launch, Path]) -> None:
    arm = launch[1].arms["fp32"]
    assert arm.images_per_second == pytest.approx(1000 / arm.timings["end-to-end"].mean_ms)


def test_arms_take_turns_in_blocks(launch: tuple[Done, Launch, Path]) -> None:
    with np.load(launch[2]) as arrays:
        starts = [(at, arm) for arm in launch[1].arms for at in arrays[f"{arm}/engine/at"].tolist()]
    assert min(starts)[0] >= 0
    order = [arm for _, arm in sorted(starts)]
    blocks = [order[i : i + 10] for i in range(0, len(order), 10)]
    assert len(blocks) == 12
    assert all(len(set(block)) == 1 for block in blocks)
    turns = [block[0] for block in blocks]
    assert all(set(turns[i : i + 3]) == {"pt", "fp32", "placebo"} for i in range(0, 12, 3))


def test_a_launch_tells_how_far_it_is(launch: tuple[Done, Launch, Path]) -> None:
    assert launch[0].progress[0] == "launch 1: loading pt, fp32, placebo"


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("nan", ["int8: it returned NaN or infinite values in warm-up"]),
        ("imgsz", ["int8: the engine takes images of 64x64 pixels, not the 128x128"]),
        ("image", ["no images to time inference on; none of 1 can be read, first", "broken.png"]),
        ("no-images", ["no images to time inference on"]),
        ("engine", ["broken.onnx: not a readable engine"]),
    ],
)
def test_a_launch_that_cannot_be_is_one_sentence(
    launches: dict[str, Done], request_name: str, words: list[str]
) -> None:
    sentence = launches[request_name].sentence
    assert all(word in sentence for word in words), sentence
    assert sentence.isprintable()


def test_a_slow_arm_gets_fewer_samples_but_never_under_30(launches: dict[str, Done]) -> None:
    arm = LatencyResponse.model_validate(launches["slow"].response).launch.arms["fp32"]
    assert {context: timing.n for context, timing in arm.timings.items()} == {"engine": 30}


def test_images_per_second_count_all_images_of_a_batch(launches: dict[str, Done]) -> None:
    arm = LatencyResponse.model_validate(launches["batch"].response).launch.arms["pt"]
    assert arm.images_per_second == pytest.approx(5 * 1000 / arm.timings["end-to-end"].mean_ms)


def test_end_to_end_gives_the_boxes_that_ultralytics_predicts(material: Material, fp32: Path, tmp_path: Path) -> None:
    arms = {"pt": material.weights, "fp32": fp32}
    request = latency_request(arms, material.images(), tmp_path / "samples.npz", conf=0.02)
    code = f"""
import json
from pathlib import Path
from pytest_trtgate.jobs.contract import LatencyRequest
from pytest_trtgate.workers.worker import prepare
request = LatencyRequest.model_validate({request!r})
folder = Path.cwd()
prepare(folder, 1)
from pytest_trtgate.workers import yolo
from pytest_trtgate.workers.timing import arms
import torch
from ultralytics import YOLO
yolo.isolate(request)
batch = arms.decode(request)[1]
loaded = arms.load_arms(request, request.arms, folder, lambda arm, load: load())
for arm, asked in zip(loaded, request.arms):
    arm.aim(batch)
    with torch.inference_mode():
        tensor = arm.preprocess(batch)
        ours = arm.postprocess(arm.infer(tensor), tensor, batch)[0].boxes.data
    theirs = YOLO(asked.artifact, task="detect").predict(
        request.images[1], **request.how.model_dump(include={{"imgsz", "conf", "iou", "max_det"}}),
        rect=False, device="cpu", verbose=False)[0].boxes.data
    print("equal", arm.name, len(ours), torch.equal(ours, theirs))
"""
    done = run_python(code, folder=tmp_path)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("equal")]
    assert [(arm, same) for arm, _, same in found] == [("pt", "True"), ("fp32", "True")], done.stdout + done.stderr
    assert all(int(boxes) > 0 for _, boxes, _ in found)


def test_engines_alone_are_timed_without_torch(material: Material, fp32: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs"
    first = latency_request({"pt": material.weights, "fp32": fp32}, material.images(), tmp_path / "first.npz")
    further = latency_request({"fp32": fp32}, material.images(), tmp_path / "further.npz", contexts=["engine"])
    code = """
import json, sys
from pathlib import Path
from pytest_trtgate.jobs.contract import LatencyRequest
from pytest_trtgate.workers.worker import prepare
from pytest_trtgate.workers.timing.latency import work
prepare(Path.cwd(), 1)
launch = work(LatencyRequest.model_validate(json.loads(sys.argv[1])), Path.cwd()).launch
heavy = [name for name in ("torch", "ultralytics", "cv2", "numpy", "onnxruntime") if name in sys.modules]
print("FOUND", json.dumps([heavy, {arm: list(inside.timings) for arm, inside in launch.arms.items()}]))
"""
    found = []
    for request in (first, further):
        asked = json.dumps({**request, "inputs": str(inputs)})
        done = run_python(code, asked, folder=tmp_path / Path(request["samples_file"]).stem)
        said = [line for line in done.stdout.splitlines() if line.startswith("FOUND ")]
        assert said, done.stdout + done.stderr
        found.append(json.loads(said[0].removeprefix("FOUND ")))
    assert "torch" in found[0][0]
    assert found[1] == [["numpy", "onnxruntime"], {"fp32": ["engine"]}]
    images = np.load(inputs / INPUTS)
    assert (images.dtype, images.shape[1:3]) == (np.uint8, (1, 3))


@pytest.mark.parametrize("batch", [1, 2])
def test_engines_alone_take_what_ultralytics_would_make_of_the_images(
    material: Material, tmp_path: Path, batch: int
) -> None:
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    images = []
    for number, (width, height) in enumerate(((640, 480), (333, 517), (97, 51), (320, 320), (1281, 319))):
        images.append(str(tmp_path / f"{number}.png"))
        image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8)).save(images[-1])
    arms = {"pt": material.weights}
    code = """
import json, sys
from pathlib import Path
import numpy as np
from pytest_trtgate.jobs.contract import LatencyRequest
from pytest_trtgate.workers.worker import prepare
prepare(Path.cwd(), 1)
from pytest_trtgate.workers.timing.runtime_arms import make_inputs
request = LatencyRequest.model_validate(json.loads(sys.argv[1]))
ours = make_inputs(request)
from pytest_trtgate.workers import yolo
from pytest_trtgate.workers.timing import arms
yolo.isolate(request)
(arm,) = arms.load_arms(request, request.arms, Path.cwd(), lambda name, load: load())
theirs = []
for batch in arms.decode(request):
    arm.aim(batch)
    theirs.append(arm.preprocess(batch).numpy())
same = [np.array_equal(a.astype(np.float32) / np.float32(255), b) for a, b in zip(ours, theirs, strict=True)]
print("FOUND", json.dumps(same))
"""
    asked = json.dumps({**latency_request(arms, images, tmp_path / "samples.npz"), "inputs": str(tmp_path / "inputs")})
    asked = json.dumps({**json.loads(asked), "how": {**json.loads(asked)["how"], "batch": batch}})
    done = run_python(code, asked, folder=tmp_path / "work")
    assert f"FOUND {json.dumps([True] * (5 if batch == 1 else 3))}" in done.stdout, done.stdout + done.stderr


def test_a_checkpoint_in_a_folder_with_a_quote_is_evaluated_and_timed(material: Material, tmp_path: Path) -> None:
    weights = tmp_path / "Anna's" / "it's.pt"
    weights.parent.mkdir()
    shutil.copy(material.weights, weights)
    evaluated = run_job("accuracy", accuracy_request({"pt": weights}, material.data, tmp_path / "a"), tmp_path / "job")
    assert evaluated.response["arms"]["pt"]["images"] == len(material.images())
    request = latency_request({"pt": weights}, material.images(), tmp_path / "samples.npz")
    assert "pt" in run_job("latency", request, tmp_path / "launch").response["launch"]["arms"]
