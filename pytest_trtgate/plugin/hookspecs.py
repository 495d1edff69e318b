"""Hooks that a ``conftest.py`` or another plugin may implement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ..jobs import Launcher
    from ..machine import Machine
    from ..records import Cell, Check, Environment
    from ..verdicts import Judged, Softening


@pytest.hookspec(firstresult=True)
def pytest_trtgate_launcher(config: pytest.Config, machine: str) -> Launcher | None:
    """Return the launcher that runs this session's jobs, or None for the local one.

    It is asked once for each kind of machine that the settings name; ``machine`` is empty where they name none.

    A launcher runs a job in a process of its own, here or on another machine, and owns the device meanwhile.
    Stops at the first implementation that returns one.
    """


@pytest.hookspec(firstresult=True)
def pytest_trtgate_machine(config: pytest.Config, machine: str) -> Machine | None:
    """Return the machine that this session's jobs run on, or None for this one.

    It is asked once for each kind of machine that the settings name; ``machine`` is empty where they name none.

    For a launcher that runs jobs elsewhere, and for tests: a subclass of :class:`pytest_trtgate.Machine` that answers
    differently of versions, GPUs, cores or load. Stops at the first implementation that returns one.
    """


@pytest.hookspec(firstresult=True)
def pytest_trtgate_models(config: pytest.Config, models: tuple[Path, ...]) -> Sequence[str | Path] | None:
    """Return the checkpoints to gate in place of those that the settings name, or None to leave them.

    Called once per process, before tests are collected; every process of a run must get the same answer. Relative paths
    start at pytest's root folder. Stops at the first implementation that returns some.

    Args:
        config: The run's configuration.
        models: What the settings and the command line name.
    """


@pytest.hookspec
def pytest_trtgate_export_args(
    config: pytest.Config, cell: Cell, arguments: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return further arguments for Ultralytics' exporter of one cell's engine, or None for none.

    They are part of the engine's key in the cache: another argument, another engine. Texts, numbers, true and false are
    allowed; not what the cell itself says (imgsz, batch, precision, device, calibration).

    Args:
        config: The run's configuration.
        cell: What the engine is for.
        arguments: What the settings say.
    """


@pytest.hookspec
def pytest_trtgate_environment(config: pytest.Config, environment: Environment) -> Mapping[str, str] | None:
    """Return fields to add to the environment, by label, or None.

    They are recorded in the run record and in baselines, and shown in the report; nothing is compared by them.

    Args:
        config: The run's configuration.
        environment: What the gate has found out itself.
    """


@pytest.hookspec
def pytest_trtgate_verdict(
    config: pytest.Config, judged: Judged
) -> Check | Softening | Sequence[Check | Softening] | None:
    """Return checks of your own, or a reason to tolerate a failure, or both; None for nothing.

    A check counts like one of the gate's: where it is FAIL, the verdict is. A softened verdict stays FAIL in every
    report, with the reason, but does not fail the run; what is ERROR or INCONCLUSIVE cannot be softened. Not called
    where measuring failed, or a finding before the build kept it from beginning.

    Args:
        config: The run's configuration.
        judged: The verdict before it is final, and what was measured for it.
    """
