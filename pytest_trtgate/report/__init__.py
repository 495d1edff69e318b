"""Renderings of the run record: HTML, terminal, Markdown and CSV. Importing this package loads nothing heavy.

``format`` and ``measure`` own how a number looks and how it is taken from the record; ``view``, ``matrix`` and
``detail`` turn a record into strings for the HTML template; ``html``, ``terminal``, ``markdown`` and ``table`` are the
four ways out.
"""
