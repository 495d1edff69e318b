"""How far a job is, as the lines say it that are shown of it now and then: the last of a count is always shown."""

from __future__ import annotations

import re

_COUNT = re.compile(r"\b(\d+)(/| of )(\d+)\b")


def counted(text: str) -> tuple[str, bool]:
    """Return what a line counts, and whether the count is complete; a line without a count stands for itself.

    Args:
        text: Such as ``evaluating pt, fp16: 169/200 images``.
    """
    counts = list(_COUNT.finditer(text))
    if not counts:
        return text, False
    last = counts[-1]
    return text[: last.start(1)] + text[last.start(2) :], last[1] == last[3]
