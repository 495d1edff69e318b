"""The layers of a network by names that people use, and the search for those that INT8 harms."""

from __future__ import annotations

from .naming import Node, block_names, layers_of, matching, unknown_names
from .search import LAST, Candidate, Evaluate, Recipe, Search, Trial, compressed, halving
