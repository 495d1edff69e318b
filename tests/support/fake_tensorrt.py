"""Stand-ins for the module ``tensorrt``: each has the names that the real one of its version has, and refuses others.

The names were read from the real bindings and lie in ``tensorrt_api``.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parents[1] / "tensorrt_api"
VERSIONS = sorted((p.stem for p in FOLDER.glob("*.json")), key=lambda text: [int(n) for n in text.split(".")])


@cache
def api(version: str) -> dict[str, frozenset[str]]:
    """Return the public classes of a version with their members; other names have an empty set."""
    read = json.loads((FOLDER / f"{version}.json").read_text(encoding="utf-8"))
    classes = {name: frozenset(members.split()) for name, members in read["classes"].items()}
    return {**dict.fromkeys(read["others"].split(), frozenset()), **classes}


class Strict:
    """An object with the members of one class of TensorRT's, and no others; classes that inherit may have more."""

    MEMBERS: frozenset[str] = frozenset()

    def __setattr__(self, name: str, value: Any) -> None:
        if "MEMBERS" in vars(type(self)) and not name.startswith("_") and name not in self.MEMBERS:
            raise AttributeError(f"{type(self).__name__} has no {name}")
        object.__setattr__(self, name, value)


class Memory(bytes):
    """What TensorRT returns as ``IHostMemory``: bytes, by the buffer protocol."""


class FakeTensorRT:
    """What the fake builder does, and a note of all that it was asked.

    Args:
        version: Which API it has.
        plan: What the builder returns; None where it gives up.
        says: What it logs while it builds: names of severities with messages.
        knows: The timing caches that it accepts, besides an empty one.
        inspection: What the engine inspector answers.
        complains: Whether it logs an error about any timing cache that is not empty, and accepts it all the same.
        layers: Of the network: the kind of each with the tensor it reads and the one it writes, as ``name:HALF``.
    """

    def __init__(
        self,
        version: str,
        plan: bytes | None = b"plan",
        says: tuple[tuple[str, str], ...] = (),
        knows: tuple[bytes, ...] = (),
        inspection: str = '{"Layers": []}',
        complains: bool = False,
        layers: tuple[tuple[str, str, str], ...] = (),
    ) -> None:
        self.version = version
        self.plan = plan
        self.says = says
        self.knows = (b"", *knows)
        self.inspection = inspection
        self.complains = complains
        self.layers = layers
        self.configs: list[Any] = []
        self.combined: list[bytes] = []
        self.deserialized: list[bytes] = []
        self.marked: list[tuple[str, str]] = []
        self.module = ModuleType("tensorrt")
        self.module.__dict__["__version__"] = version
        for name, members in api(version).items():
            setattr(self.module, name, self._class(name, members))

    def _class(self, name: str, members: frozenset[str]) -> type:
        values: dict[str, Any] = {m: f"{name}.{m}" for m in members if m.isupper()}
        mine: dict[str, Any] = getattr(self, f"_{name}", dict)()
        return type(
            name,
            (Strict,),
            {**values, **{k: v for k, v in mine.items() if k in members or k[0] == "_"}, "MEMBERS": members},
        )

    def _new(self, name: str, *args: Any) -> Any:
        return getattr(self.module, name)(*args)

    def _Builder(self) -> dict[str, Any]:
        def init(builder: Any, logger: Any) -> None:
            builder._logger = logger

        def create(builder: Any) -> Any:
            self.configs.append(self._new("IBuilderConfig"))
            self.configs[-1]._logger = builder._logger
            return self.configs[-1]

        def build(builder: Any, network: Any, config: Any) -> Memory | None:
            for severity, message in self.says:
                builder._logger.log(getattr(self.module.ILogger, severity), message)
            if getattr(config, "_timing", None) is not None:
                config._timing._payload += b"+timed"
            return None if self.plan is None else Memory(self.plan)

        def network(builder: Any, flags: int = 0) -> Any:
            return self._new("INetworkDefinition")

        return {
            "__init__": init,
            "create_builder_config": create,
            "create_network": network,
            "build_serialized_network": build,
        }

    def _INetworkDefinition(self) -> dict[str, Any]:
        made: dict[int, Any] = {}

        def get(network: Any, index: int) -> Any:
            if index not in made:
                made[index] = self._layer(*self.layers[index])
            return made[index]

        def mark(how: str) -> Any:
            return lambda network, tensor: self.marked.append((how, tensor.name)) or True

        marks = {how: mark(how) for how in ("mark_output", "mark_debug")}
        return {"num_layers": len(self.layers), "get_layer": get, **marks}

    def _layer(self, kind: str, reads: str, writes: str) -> Any:
        layer = self._new("ILayer")
        layer.type = getattr(self.module.LayerType, kind)
        layer._name = writes.partition(":")[0]
        layer._tensors = [self._tensor(text) for text in (reads, writes)]
        return layer

    def _ILayer(self) -> dict[str, Any]:
        def set_output_type(layer: Any, index: int, kind: Any) -> None:
            layer._output_type = kind

        return {
            "name": property(lambda layer: layer._name),
            "num_outputs": 1,
            "precision": None,
            "set_output_type": set_output_type,
            "get_input": lambda layer, index: layer._tensors[0],
            "get_output": lambda layer, index: layer._tensors[1],
        }

    def _tensor(self, text: str) -> Any:
        tensor = self._new("ITensor")
        tensor.name, kind = text.split(":")
        tensor.dtype = getattr(self.module.DataType, kind)
        tensor.is_network_output = tensor.name.startswith("output")
        return tensor

    def _IBuilderConfig(self) -> dict[str, Any]:
        def create(config: Any, contents: bytes) -> Any:
            made = self._new("ITimingCache")
            made._payload = contents
            if contents and self.complains:
                config._logger.log(self.module.ILogger.ERROR, "the timing cache will not be used")
            return made

        def set_flag(config: Any, flag: Any) -> None:
            config._flags = [*getattr(config, "_flags", []), flag]

        def attach(config: Any, timing: Any, ignore_mismatch: bool) -> bool:
            assert ignore_mismatch is False
            if timing._payload not in self.knows:
                return False
            config._timing = timing
            return True

        return {
            "create_timing_cache": create,
            "set_timing_cache": attach,
            "set_flag": set_flag,
            "int8_calibrator": None,
        }

    def _ITimingCache(self) -> dict[str, Any]:
        def combine(timing: Any, other: Any, ignore_mismatch: bool) -> bool:
            self.combined.append(other._payload)
            timing._payload += other._payload
            return True

        return {"combine": combine, "serialize": lambda timing: Memory(timing._payload)}

    def _ILogger(self) -> dict[str, Any]:
        return {"__init__": lambda logger: None}

    def _Runtime(self) -> dict[str, Any]:
        def deserialize(runtime: Any, plan: bytes) -> Any:
            self.deserialized.append(plan)
            return self._new("ICudaEngine")

        return {"__init__": lambda runtime, logger: None, "deserialize_cuda_engine": deserialize}

    def _ICudaEngine(self) -> dict[str, Any]:
        return {
            "device_memory_size": 8_000_000,
            "device_memory_size_v2": 9_000_000,
            "create_engine_inspector": lambda engine: self._new("EngineInspector"),
        }

    def _EngineInspector(self) -> dict[str, Any]:
        def answer(inspector: Any, how: str) -> str:
            assert how == "LayerInformationFormat.JSON"
            return self.inspection

        return {"get_engine_information": answer}
