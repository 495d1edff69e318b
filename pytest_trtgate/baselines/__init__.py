"""Baselines in git: found, compared with, accepted, moved and waived."""

from __future__ import annotations

from .acceptance import accept, with_tolerances_of
from .compare import compare
from .offers import way_to_accept, with_cell_commands
from .overview import changes, delete, overview, stored
from .store import BaselineStore
from .waivers import Waiver, load_waivers, save_waivers, waived

__all__ = [
    "BaselineStore",
    "Waiver",
    "accept",
    "changes",
    "compare",
    "delete",
    "load_waivers",
    "overview",
    "save_waivers",
    "stored",
    "waived",
    "way_to_accept",
    "with_cell_commands",
    "with_tolerances_of",
]
