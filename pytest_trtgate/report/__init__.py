"""Renderings of the run record: HTML, terminal, Markdown and CSV. Importing this package loads nothing heavy.

``format`` and ``measure`` own how a number looks and how it is taken from the record; ``view``, ``matrix`` and
``detail`` turn a record into strings for the HTML template; ``html``, ``terminal``, ``markdown`` and ``table`` are the
four ways out.
"""

from __future__ import annotations

from .numbers import accuracy_of, distribution, latency_of
from .publish import publish, render
from .replaced import replaced, richer_run
from .terminal import summary_lines

__all__ = ["accuracy_of", "distribution", "latency_of", "publish", "render", "replaced", "richer_run", "summary_lines"]
