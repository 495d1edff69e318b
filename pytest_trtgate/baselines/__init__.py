"""Baselines in git: found, compared with, accepted, moved and waived."""

from __future__ import annotations

from .acceptance import Acceptance, with_tolerances_of
from .advice import BROKEN, advice, repair_command, ways_out, why_broken
from .compare_runs import compare
from .lookup import BaselineLookup
from .merging import resolve
from .migration import migrate
from .offers import cell_commands, offered_anew, with_way_to_accept
from .overview import changes, delete, overview, stored
from .platform import Now, platform_changed
from .renames import move
from .store import BaselineStore
from .waivers import Waiver, Waivers, change_waivers, load_waivers, waiver_of
