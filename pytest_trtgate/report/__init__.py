"""Renderings of a run record: HTML, terminal, Markdown and tables. Importing this package loads nothing heavy.

``numbers`` takes numbers from the record, ``page`` makes the HTML; ``terminal``, ``markdown``, ``github``, ``gitlab``,
``junit`` and ``measurements_table`` are the other renderings, and ``publish`` writes the files.
"""

from __future__ import annotations

from .numbers import accuracy_of, distribution, latency_of
from .publish import publish, render, write_reports
from .replaced import replaced, richer_run
from .terminal import summary_lines
