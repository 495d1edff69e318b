"""Plans that were built by hand, gated as they are, on a GPU: sound ones pass, a spoilt one fails, an accepted replays.

python bench/given_gpu.py FOLDER

It takes a GPU and TensorRT 8.6 or newer. Ultralytics exports the ONNX file, in a process of its own; TensorRT alone
builds the plans, with ONNX Runtime's quantization. The spoilt INT8 has all scales of activations multiplied by 4.
Prints what each run came to, and keeps it in ``results/given_gpu.json``; ends with 1 where it is not as expected.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from machine import keep

ROOT = Path(__file__).parents[1]
SHAPES = ROOT / "examples" / "shapes"
IMGSZ = 320
SPOILT = 4.0
SETTINGS = """
models = [{{ path = "shapes.pt", engines = {{ fp16 = "fp16.plan", int8 = "{int8}" }} }}]
data = "data/data.yaml"
imgsz = 320
precisions = ["fp16", "int8"]
backend = "tensorrt"
cache_dir = "cache"
missing_baseline = "record"
[accuracy.int8]
"mAP50" = 0.03
"mAP50-95" = 0.03
"""
TESTS = """
def test_accuracy(trtgate): trtgate.check_accuracy()
def test_latency(trtgate): trtgate.check_latency()
"""


def pictures(folder: Path, count: int) -> Iterator[dict[str, Any]]:
    """Yield images as the network takes them: they have its size."""
    import cv2

    for path in sorted((folder / "data" / "images" / "train").iterdir())[:count]:
        image = cv2.resize(cv2.imread(str(path)), (IMGSZ, IMGSZ))[..., ::-1].transpose(2, 0, 1)
        yield {"images": np.ascontiguousarray(image[None], dtype=np.float32) / 255}


def in_halves(source: Path, to: Path) -> None:
    """Write a graph in FP16, with inputs and outputs in FP32."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    onnx.save(convert_float_to_float16(onnx.load(source), keep_io_types=True), to)


def in_int8(source: Path, to: Path, folder: Path) -> None:
    """Write a graph with scales for INT8, symmetric as TensorRT needs them; the head stays as it is."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._left = pictures(folder, 128)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._left, None)

    # TensorRT takes no biases of 32-bit integers.
    symmetric = {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}
    kinds = {"activation_type": QuantType.QInt8, "weight_type": QuantType.QInt8, "quant_format": QuantFormat.QDQ}
    quantize_static(str(source), str(to), Reader(), op_types_to_quantize=["Conv"], extra_options=symmetric, **kinds)


def spoil(source: Path, to: Path) -> None:
    """Write a graph of which all scales of activations are four times as large."""
    import onnx

    model = onnx.load(source)
    read = {node.input[1] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for index, tensor in enumerate(model.graph.initializer):
        if tensor.name in read:
            scales = onnx.numpy_helper.to_array(tensor) * np.float32(SPOILT)
            model.graph.initializer[index].CopyFrom(onnx.numpy_helper.from_array(scales, tensor.name))
    onnx.save(model, to)


def calibrator(graph: Path) -> Any:
    """Return TensorRT's own calibration before release 9: on the images, or by the spoilt scales of that."""
    import tensorrt as trt
    import torch

    cache = graph.with_name("int8.cache")

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._left = pictures(graph.parent, 128)

        def get_batch_size(self) -> int:
            return 1

        def get_batch(self, names: list[str]) -> list[int] | None:
            image = next(self._left, None)
            self._image = None if image is None else torch.from_numpy(image["images"]).cuda()
            return None if self._image is None else [self._image.data_ptr()]

        def read_calibration_cache(self) -> bytes | None:
            if graph.stem != "spoilt":
                return None
            while not cache.exists():
                time.sleep(0.5)
            return spoilt_scales(cache.read_bytes())

        def write_calibration_cache(self, scales: Any) -> None:
            if graph.stem != "spoilt":
                cache.with_suffix(".part").write_bytes(bytes(scales))
                cache.with_suffix(".part").rename(cache)

    return Calibrator()


def spoilt_scales(cache: bytes) -> bytes:
    """Return a calibration cache whose scales, 32-bit numbers in hexadecimal, are four times as large."""
    head, *rows = cache.decode().splitlines()
    pairs = (row.rsplit(": ", 1) for row in rows if row)
    larger = (
        f"{name}: {struct.pack('>f', SPOILT * struct.unpack('>f', bytes.fromhex(scale))[0]).hex()}"
        for name, scale in pairs
    )
    return "\n".join([head, *larger, ""]).encode()


def build(graph: Path, to: Path) -> None:
    """Build a plan with TensorRT's API, in the types that the graph has."""
    import tensorrt as trt

    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    kinds = trt.NetworkDefinitionCreationFlag
    typed = hasattr(kinds, "STRONGLY_TYPED")  # from release 9 on
    network = builder.create_network(1 << int(kinds.STRONGLY_TYPED if typed else kinds.EXPLICIT_BATCH))
    parser = trt.OnnxParser(network, logger)
    # Release 8.6 does not build such a graph with scales in it; its own calibration finds them.
    parsed = graph if typed else graph.with_name("shapes.onnx")
    if not parser.parse(parsed.read_bytes()):
        raise SystemExit(f"{parsed}: {[str(parser.get_error(i)) for i in range(parser.num_errors)]}")
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if not typed:
        config.set_flag(trt.BuilderFlag.FP16)
        if graph.stem != "fp16":
            config.set_flag(trt.BuilderFlag.INT8)
            config.int8_calibrator = calibrator(graph)
        config.builder_optimization_level = 0  # release 8.6 takes minutes otherwise
    to.write_bytes(builder.build_serialized_network(network, config))


def gate(folder: Path, int8: str, *options: str) -> dict[str, str]:
    """Return the outcome and the sentence of each verdict of a run."""
    (folder / "trtgate.toml").write_text(SETTINGS.format(int8=int8))
    subprocess.run([sys.executable, "-m", "pytest", "-q", *options], cwd=folder, check=False)
    run = json.loads((folder / "reports" / "run.json").read_text())
    return {f"{v['cell']['precision']} {v['subject']}": f"{v['outcome']}: {v['summary']}" for v in run["verdicts"]}


def promote(folder: Path) -> str:
    """Make a release pack of the INT8 plan that passed, for ``trtgate verify`` on another machine; say so."""
    record = folder / "reports" / "run.json"
    key = next(key for key in json.loads(record.read_text())["engines"] if "int8" in key)
    command = [sys.executable, "-m", "pytest_trtgate.cli", "promote", str(record), "--only", key, "-o", "pack"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True).stdout


def main() -> int:
    """Build, gate three times, and compare with what is expected."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)
    subprocess.run([sys.executable, SHAPES / "generate.py", folder / "data"], check=True)
    shutil.copy(SHAPES / "shapes.pt", folder)
    (folder / "test_gate.py").write_text(TESTS)
    # Opset 17 is the newest that release 8.6 reads.
    export = (
        f"from ultralytics import YOLO; YOLO('shapes.pt').export(format='onnx', imgsz={IMGSZ}, opset=17, device='cpu')"
    )
    subprocess.run([sys.executable, "-c", export], cwd=folder, check=True)
    graph = folder / "shapes.onnx"
    in_halves(graph, folder / "fp16.onnx")
    in_int8(graph, folder / "int8.onnx", folder)
    spoil(folder / "int8.onnx", folder / "spoilt.onnx")
    plans = {
        "fp16": "fp16",
        "int8": "int8",
        "spoilt": "spoilt",
        "again": "fp16",
    }  # other kernels may win the second time
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        graphs = [folder / f"{graph}.onnx" for graph in plans.values()]
        list(pool.map(build, graphs, [folder / f"{plan}.plan" for plan in plans]))
    found = {"sound": gate(folder, "int8.plan", "--trt-baselines=update"), "spoilt": gate(folder, "spoilt.plan")}
    (folder / "again.plan").replace(folder / "fp16.plan")
    found["rebuilt"] = gate(folder, "int8.plan")
    pack = promote(folder)
    keep("given_gpu", {**found, "pack": pack})
    sound = all(said.startswith("PASS") for said in found["sound"].values())
    replayed = any(words in found["rebuilt"]["fp16 latency"] for words in ("replayed beside it", "identical engine"))
    return 0 if sound and found["spoilt"]["int8 accuracy"].startswith("FAIL") and replayed else 1


if __name__ == "__main__":
    sys.exit(main())
