"""What makes a pytest run inside a test begin sooner: it does not find out anew what holds for every such run."""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import Any

import pluggy._manager
import pytest
from _pytest import config
from _pytest.assertion.rewrite import AssertionRewritingHook
from _pytest.fixtures import FixtureManager

UNUSED = (
    *("cacheprovider", "debugging", "doctest", "faulthandler", "legacypath", "logging", "pastebin", "recwarn"),
    *("setuponly", "setupplan", "stepwise", "subtests", "threadexception", "unraisableexception", "unittest"),
)
"""Plugins of pytest's own that no test is about."""
_LASTING = ("_pytest.", "pytest_trtgate.", "pytest_benchmark.", "xdist.")
"""How the names of modules begin that are the same ones in each run."""
_FOUND_FIXTURES = FixtureManager.pytest_plugin_registered
_FOUND_HOOK = getattr(pluggy._manager, "_static_hook_attr", None)


class _NoRecorder:
    """In the place of what pytester notes every call of a hook with: nothing that any test asks for."""

    def getcalls(self, name: str) -> list[Any]:
        return []

    def finish_recording(self) -> None:
        """Nothing was begun."""


@cache
def _has_fixtures(module: ModuleType) -> bool:
    # The latter is what releases before 8.4 mark them with.
    marks = ("_fixture_function_marker", "_pytestfixturefunction")
    return any(hasattr(value, mark) for value in vars(module).values() for mark in marks)


def _find_fixtures(self: FixtureManager, plugin: object, plugin_name: str) -> None:
    if isinstance(plugin, ModuleType) and (not plugin.__name__.startswith(_LASTING) or _has_fixtures(plugin)):
        _FOUND_FIXTURES(self, plugin, plugin_name)


@cache
def _hook_of_lasting(module: ModuleType, name: str) -> Any:
    return _FOUND_HOOK(module, name)  # type: ignore[misc]


def _find_hook(holder: object, name: str) -> Any:
    if isinstance(holder, ModuleType) and holder.__name__.startswith(_LASTING):
        return _hook_of_lasting(holder, name)
    return _FOUND_HOOK(holder, name)  # type: ignore[misc]


def begin_sooner(patch: pytest.MonkeyPatch, pytester: pytest.Pytester) -> None:
    """Change pytest, for runs in this process, so that they begin sooner and do the same."""
    patch.setattr(config, "default_plugins", tuple(name for name in config.default_plugins if name not in UNUSED))
    patch.setattr(FixtureManager, "pytest_plugin_registered", _find_fixtures)
    # Newer releases look at every name of every plugin for fixtures that are wrapped wrongly.
    patch.setattr(FixtureManager, "_check_for_wrapped_fixture", lambda *_: None, raising=False)
    if _FOUND_HOOK:
        patch.setattr(pluggy._manager, "_static_hook_attr", _find_hook)
    # Of the run that these tests are in: it would rewrite the assertions of the runs' own modules.
    others = [finder for finder in sys.meta_path if not isinstance(finder, AssertionRewritingHook)]
    patch.setattr(sys, "meta_path", others)
    patch.setattr(pytester, "make_hook_recorder", lambda _: _NoRecorder())
