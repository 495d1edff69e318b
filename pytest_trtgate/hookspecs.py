"""Hooks that a ``conftest.py`` or another plugin may implement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .jobs.launcher import Launcher


@pytest.hookspec(firstresult=True)
def pytest_trtgate_launcher(config: pytest.Config) -> Launcher | None:
    """Return the launcher that runs this session's jobs, or None for the local one.

    A launcher runs a job in a process of its own, here or on another machine, and owns the device meanwhile.
    Stops at the first implementation that returns one.
    """
