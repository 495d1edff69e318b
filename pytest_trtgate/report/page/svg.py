"""Small pieces of SVG as strings: scales, ticks and elements. Colours come from the classes in ``style.css``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Scale:
    """A linear map from ``low .. high`` in the data to ``start .. end`` in the drawing."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the place of ``value``, kept inside the drawing."""
        span = self.high - self.low
        part = (value - self.low) / span if span > 0 else 0.5
        return self.start + (self.end - self.start) * min(max(part, 0.0), 1.0)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Return round numbers inside the scale: about ``wanted`` of them, in steps of 1, 2 or 5."""
        span = self.high - self.low
        raw = span / wanted
        if not 1e-300 < raw < 1e300:
            return []
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if raw <= power * factor * 1.0001)
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]


def tag(name: str, content: str = "", **attributes: object) -> str:
    """Return one element; attributes lose a trailing ``_``, have ``_`` for ``-``, and numbers get one decimal.

    ``content`` is markup and must be escaped already.
    """
    parts = [name]
    for key, value in attributes.items():
        text = at(value) if isinstance(value, float) else escape(str(value))
        parts.append(f'{key.rstrip("_").replace("_", "-")}="{text}"')
    head = " ".join(parts)
    return f"<{head}>{content}</{name}>" if content else f"<{head}/>"


def at(value: float) -> str:
    """Return a coordinate with at most one decimal."""
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def text(x: float, y: float, content: object, kind: str = "t", anchor: str = "start") -> str:
    """Return a line of text, escaped; ``kind`` is its class."""
    return tag("text", escape(str(content)), x=x, y=y, class_=kind, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return tag("path", class_=kind, d=f"M{at(x1)} {at(y1)}L{at(x2)} {at(y2)}")


def polyline(points: Sequence[tuple[float, float]]) -> str:
    """Return the path data through some points."""
    return "M" + "L".join(f"{at(x)} {at(y)}" for x, y in points)


def marker(x: float, y: float, shape: str, kind: str, radius: float = 5.0) -> str:
    """Return a mark: ``circle``, ``square``, ``diamond``, ``triangle`` or ``tick``."""
    r = radius
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=r, class_=kind)
    outlines = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "triangle": [(0, -1.2), (1.15, 0.85), (-1.15, 0.85)],
        "tick": [(-0.2, -1.6), (0.2, -1.6), (0.2, 1.6), (-0.2, 1.6)],
    }
    points = [(x + dx * r, y + dy * r) for dx, dy in outlines[shape]]
    return tag("path", class_=kind, d=polyline(points) + "Z")


def axis(scale: Scale, y: float, top: float, unit: str) -> str:
    """Return a horizontal axis at height ``y``: grid lines up to ``top``, numbers, and the unit after the last."""
    parts = []
    ticks = scale.ticks()
    for index, (value, label) in enumerate(zip(ticks, labels(ticks), strict=True)):
        x = scale(value)
        unit_here = f" {unit}" if unit and index == len(ticks) - 1 else ""
        # At its end the drawing has no room for half a text.
        anchor = "end" if x > scale.end - 16 else "middle"
        parts += [line(x, top, x, y, "grid"), text(x, y + 14, label + unit_here, "t m", anchor)]
    return "".join(parts)


def side_axis(scale: Scale, left: float, right: float, wanted: int = 4) -> str:
    """Return a vertical axis: numbers at the left, and grid lines from there to ``right``."""
    ticks = scale.ticks(wanted)
    parts = []
    for value, label in zip(ticks, labels(ticks), strict=True):
        y = scale(value)
        parts += [line(left, y, right, y, "grid"), text(left - 6, y + 4, label, "t m", "end")]
    return "".join(parts)


def labels(ticks: Sequence[float]) -> list[str]:
    """Return the ticks as text, with the fewest decimals that tell them apart."""
    step = ticks[1] - ticks[0] if len(ticks) > 1 else ticks[0] if ticks else 1.0
    decimals = min(max(0, -math.floor(math.log10(abs(step)) + 1e-9)), 9) if step else 0
    return [f"{value:.{decimals}f}".replace("-", "\N{MINUS SIGN}") for value in ticks]


Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


def overlap(one: Box, other: Box) -> bool:
    """Return whether two boxes share some area."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def picture(width: int, height: int, title: str, content: str, kind: str = "chart", *, stretch: bool = False) -> str:
    """Return a whole drawing with its title for screen readers; it scales with its column.

    With ``stretch`` it is scaled in width alone, where the style sheet gives its height.
    """
    return tag(
        "svg",
        tag("title", escape(title)) + content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        class_=kind,
        role="img",
        preserveAspectRatio="none" if stretch else "xMidYMid",
    )
