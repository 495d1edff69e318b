"""Every name of TensorRT's that the source uses exists in each version that is supported, or is asked for first."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fake_tensorrt import VERSIONS, FakeTensorRT, api

import pytest_trtgate

PACKAGE = Path(pytest_trtgate.__file__).parent
MODULE_NAMES = {"trt", "tensorrt"}
OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "context": "IExecutionContext",
    "_context": "IExecutionContext",
    "engine": "ICudaEngine",
    "inspector": "EngineInspector",
    "node": "ILayer",
    "network": "INetworkDefinition",
    "runtime": "Runtime",
    "tensor": "ITensor",
    "kinds": "LayerType",
    "cache": "ITimingCache",
    "_cache": "ITimingCache",
    "other": "ITimingCache",
}
"""What our source calls an object of each class, in the files that use TensorRT."""
MARKS = MODULE_NAMES | {"_context"}
"""Names by which a file is known to use TensorRT."""
ALWAYS = {"__version__", "__init__"}


def sources() -> list[Path]:
    """Return the files of the package that use TensorRT."""
    # Every process that collects tests asks: few files are worth parsing.
    marked = re.compile(rf"\b({'|'.join(MARKS)})\b")
    files = (p for p in sorted(PACKAGE.rglob("*.py")) if marked.search(p.read_text(encoding="utf-8")))
    return [p for p in files if any(last(n) in MARKS for n in nodes(p, ast.expr))]


def nodes(path: Path, kind: type[ast.AST]) -> Iterator[ast.AST]:
    """Yield all nodes of one kind of a file."""
    return (node for node in tree(path) if isinstance(node, kind))


@cache
def tree(path: Path) -> tuple[ast.AST, ...]:
    """Return all nodes of a file."""
    return tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def last(node: ast.AST) -> str:
    """Return the last part of a dotted name; empty for anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def used(path: Path) -> set[tuple[str, str]]:
    """Return the class and member of each use of TensorRT in a file; the class is empty for names of the module."""
    found = set()
    for node in nodes(path, ast.Attribute):
        assert isinstance(node, ast.Attribute)
        owner = node.value
        if last(owner) in MODULE_NAMES:
            found.add(("", node.attr))
        elif isinstance(owner, ast.Attribute) and last(owner.value) in MODULE_NAMES:
            found.add((owner.attr, node.attr))
        elif last(owner) in OBJECTS:
            found.add((OBJECTS[last(owner)], node.attr))
    return found


def guarded(path: Path) -> set[str]:
    """Return the names that a file asks for with ``hasattr`` or ``getattr`` before it uses them."""
    calls = (n for n in nodes(path, ast.Call) if last(n.func) in ("hasattr", "getattr"))  # type: ignore[attr-defined]
    return {a.value for call in calls for a in call.args if isinstance(a, ast.Constant)}  # type: ignore[attr-defined]


def missing(path: Path, version: str) -> list[str]:
    """Return what a file uses that a version has not."""
    names = api(version)
    wrong = []
    for owner, member in sorted(used(path)):
        if owner in ALWAYS:
            continue
        there = names if not owner else names.get(owner, frozenset())
        # Of a class without members in our copy only the name is known.
        known = owner == "" or bool(there) or owner not in names
        if known and member not in there and member not in guarded(path) | ALWAYS:
            wrong.append(f"{owner}.{member}".lstrip("."))
    return wrong


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", sources(), ids=lambda path: path.stem)
def test_every_name_that_is_used_exists_or_is_asked_for(path: Path, version: str) -> None:
    assert missing(path, version) == []


def test_the_build_is_among_what_is_checked() -> None:
    path = PACKAGE / "workers" / "building" / "tensorrt_build.py"
    assert path in sources()
    assert {("Builder", "create_builder_config"), ("IBuilderConfig", "set_timing_cache"), ("", "Logger")} <= used(path)


def test_a_name_that_a_version_lacks_is_found(tmp_path: Path) -> None:
    source = tmp_path / "job.py"
    source.write_text(
        "import tensorrt as trt\n"
        "config.int8_calibrator = None\n"
        "config.set_flag(trt.BuilderFlag.FP16)\n"
        "trt.IInt8Calibrator\n"
        "engine.create_engine_inspector()\n"
        "size = engine.device_memory_size if hasattr(engine, 'device_memory_size') else 0\n"
    )
    assert missing(source, "8.6.0") == []
    assert missing(source, "11.4.0.106") == ["IInt8Calibrator", "BuilderFlag.FP16", "IBuilderConfig.int8_calibrator"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fake_refuses_what_its_version_lacks(version: str) -> None:
    trt = FakeTensorRT(version).module
    config = trt.Builder(None).create_builder_config()  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        config.no_such_thing = 1
    assert hasattr(trt, "IInt8Calibrator") is not version.startswith("11.")
    assert hasattr(trt.BuilderFlag, "FP16") is not version.startswith("11.")  # type: ignore[attr-defined]
