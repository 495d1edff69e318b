"""How TensorRT and ModelOpt are told what stays out of INT8, against fakes with exactly the names of the versions."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fake_tensorrt import VERSIONS, FakeTensorRT
from network_example import BACKBONE, NECK, head, named

from pytest_trtgate.errors import SettingsError, TrtGateError
from pytest_trtgate.settings import Int8
from pytest_trtgate.workers.building import quantization
from pytest_trtgate.workers.building.quantization import Choice, TensorRTChoice, quantize_by_modelopt

GRAPH = Path("best.onnx")
NODES = BACKBONE | NECK | head(2, 3, 4)
OLD, NEW = [v for v in VERSIONS if int(v.partition(".")[0]) < 11], VERSIONS[-1]
LAST = {f"/model.9/cv4.{scale}/cv4.{scale}.2/Conv" for scale in (0, 1)}


@pytest.fixture(autouse=True)
def _graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every graph has the layers of the example."""
    monkeypatch.setattr(quantization, "read_layers", lambda path: tuple(named(NODES, "pose").values()))


def choice(backend: str = "tensorrt", **asked: Any) -> Choice:
    """Return what is asked of the INT8 of a model."""
    return Choice(Int8(**asked), backend, "best.pt")


class Images:
    """The calibrator that the exporter gives TensorRT."""

    def get_batch_size(self) -> int:
        return 4

    def get_batch(self, names: list[str]) -> list[int]:
        return [7]


def applied(version: str, names: list[str], **asked: Any) -> tuple[FakeTensorRT, Any, list[Any]]:
    """Return a fake TensorRT whose network has nodes of some names, its configuration, and its layers, as built."""
    fake = FakeTensorRT(version, layers=tuple(("CONVOLUTION", "in:FLOAT", f"{name}:FLOAT") for name in names))
    trt: Any = fake.module
    builder = trt.Builder(None)
    config, network = builder.create_builder_config(), builder.create_network(0)
    config.int8_calibrator = Images()
    TensorRTChoice(trt, choice(**asked), GRAPH).apply(network, config)
    return fake, config, [network.get_layer(index) for index in range(network.num_layers)]


@pytest.mark.parametrize("version", OLD)
def test_kept_layers_are_bound_to_fp16(version: str) -> None:
    fake, config, layers = applied(version, list(NODES), keep=["head.keypoints.*.last"])
    half = fake.module.float16  # type: ignore[attr-defined]
    bound = {layer.name for layer in layers if getattr(layer, "precision", None) is half}
    assert bound == LAST == {layer.name for layer in layers if getattr(layer, "_output_type", None) is half}
    assert config._flags == ["BuilderFlag.OBEY_PRECISION_CONSTRAINTS"]


@pytest.mark.parametrize("version", OLD)
@pytest.mark.parametrize(
    ("calibrator", "base"), [("entropy", "IInt8EntropyCalibrator2"), ("minmax", "IInt8MinMaxCalibrator")]
)
def test_a_calibrator_of_the_kind_that_is_asked_for_reads_the_same_images(
    version: str, calibrator: str, base: str
) -> None:
    fake, config, _ = applied(version, list(NODES), calibrator=calibrator)
    made = config.int8_calibrator
    assert isinstance(made, getattr(fake.module, base))
    assert (made.get_batch_size(), made.get_batch(["images"]), made.read_calibration_cache()) == (4, [7], None)
    assert not hasattr(config, "_flags")


def test_the_exporters_own_calibrator_is_left_alone() -> None:
    _, config, _ = applied(OLD[0], list(NODES), keep=["stem"])
    assert isinstance(config.int8_calibrator, Images)


def test_a_percentile_is_refused_with_what_there_is() -> None:
    with pytest.raises(SettingsError) as caught:
        applied(OLD[0], list(NODES), calibrator="percentile-99.99")
    assert str(caught.value) == (
        "quantization.int8.calibrator = 'percentile-99.99': TensorRT has none of that kind; "
        "choose one of: exporter, minmax, entropy"
    )


def test_a_network_whose_layers_have_other_names_is_refused() -> None:
    with pytest.raises(
        TrtGateError, match=r"calls none of its layers as the ONNX graph does: quantization\.int8\.keep"
    ):
        applied(OLD[0], ["a", "b"], keep=["stem"])


def test_settings_of_another_backend_ask_nothing_of_tensorrt() -> None:
    assert choice(per_channel=True, reduce_range=True).changes == {}
    assert choice("onnxruntime", per_channel=True).changes == {"per_channel": True}


def test_what_is_kept_is_recorded_in_the_networks_own_terms() -> None:
    made = choice(keep=["stem", "head.*.last"])
    made.kept(GRAPH)
    assert made.made is not None
    assert made.made.sentence == f"10 of {len(NODES) - 1} layers (34 %) kept out of INT8"
    assert made.made.kept[0] == "stem.0"


@pytest.fixture
def modelopt(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A ModelOpt that notes what it is asked."""
    asked: list[dict[str, Any]] = []
    library: Any = ModuleType("modelopt.onnx.quantization")
    library.quantize = lambda path, **arguments: asked.append(arguments)
    for name in ("modelopt", "modelopt.onnx"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(onnx=SimpleNamespace(quantization=library)))
    monkeypatch.setitem(sys.modules, "modelopt.onnx.quantization", library)
    return asked


def quantized(asked: list[dict[str, Any]], made: Choice) -> dict[str, Any]:
    """Return what ModelOpt is asked where Ultralytics asks it to quantize."""
    quantize_by_modelopt(made)
    from modelopt.onnx.quantization import quantize

    quantize(str(GRAPH), calibration_method="max", nodes_to_exclude=[r".*/dfl/"])
    return asked[-1]


def test_modelopt_is_told_nodes_as_patterns_and_its_own_method(modelopt: list[dict[str, Any]]) -> None:
    asked = quantized(modelopt, choice(keep=["head.keypoints.*.last"], calibrator="entropy"))
    patterns = {rf"^{node.replace('.', chr(92) + '.')}$" for node in LAST}
    assert set(asked["nodes_to_exclude"]) == {r".*/dfl/", *patterns}
    assert asked["calibration_method"] == "entropy"


def test_modelopt_is_left_alone_where_nothing_is_asked(modelopt: list[dict[str, Any]]) -> None:
    assert quantized(modelopt, choice()) == {"calibration_method": "max", "nodes_to_exclude": [r".*/dfl/"]}


def test_modelopt_has_no_percentile(modelopt: list[dict[str, Any]]) -> None:
    with pytest.raises(SettingsError, match=r"ModelOpt, which quantizes for TensorRT 11, has none of that kind"):
        quantize_by_modelopt(choice(calibrator="percentile-99.9"))
