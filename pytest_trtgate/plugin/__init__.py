"""The pytest plugin: hook implementations, nothing else. Costs next to nothing where the gate is not used."""

from __future__ import annotations

import pytest

from .. import text as fmt
from ..errors import SettingsError
from . import options
from .fixtures import trt_accuracy, trt_cell, trt_engine, trt_latency, trt_precision, trtgate

__all__ = ["trt_accuracy", "trt_cell", "trt_engine", "trt_latency", "trt_precision", "trtgate"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ``--trt-*`` options."""
    options.add_options(parser)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the hooks of :mod:`pytest_trtgate.plugin.hookspecs`."""
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Check the settings of a project that has some, before anything else happens."""
    if options.given(config) or options.home(config) is not None:
        from .run import GatePlugin

        try:
            GatePlugin.register(config)
        except SettingsError as error:
            raise pytest.UsageError(fmt.safe_line(error)) from error


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test that takes one of our fixtures once per cell."""
    if "trt_cell" in metafunc.fixturenames:
        from .run import GatePlugin

        GatePlugin.of(metafunc.config).parametrize(metafunc)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let pytest-benchmark's fixture see the gate's durations."""
    if "benchmark" in getattr(item, "fixturenames", ()):
        from .benchmark import equip

        equip(item)
