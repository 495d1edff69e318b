"""Draws which package imports which, from the code: one box a package, one level for each step down.

    python docs/architecture_picture.py            # writes docs/images/architecture.svg
    python docs/architecture_picture.py --check    # exit 1 where the picture, or the page beside it, is out of date

The page is ``docs/explanation/architecture.md``. It says in a sentence why each arrow is there.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping
from functools import cache
from html import escape
from pathlib import Path

import grimp

PICTURE = Path(__file__).parent / "images" / "architecture.svg"
PAGE = Path(__file__).parent / "explanation" / "architecture.md"
COMMON = ("errors", "locks", "text")
"""Modules that every package may import: drawn beneath all levels, without arrows."""
MAX_LEVELS = 10
WIDTH, LEVEL, BOX, HIGH, MARGIN = 900, 78, 112, 34, 24
"""Sizes in pixels: the picture's width, the height of a level, a box's width and height, and the space around."""

Imports = Mapping[str, frozenset[str]]
"""What each package imports."""


def package_imports() -> Imports:
    """Return the packages, each with the others that it imports, as they are when the program runs."""
    graph = grimp.build_graph("pytest_trtgate", exclude_type_checking_imports=True, cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        own = _package(module)
        if own:
            below = {_package(other) for other in graph.find_modules_directly_imported_by(module)}
            found.setdefault(own, set()).update(below - {own, "", *COMMON})
    packages = sorted(name for name in found if graph.find_children(f"pytest_trtgate.{name}"))
    return {name: frozenset(found[name] - set(found).difference(packages)) for name in packages}


def _package(module: str) -> str:
    return ([*module.split("."), ""])[1]


def arrows(found: Imports) -> set[tuple[str, str]]:
    """Return every pair of packages of which the first imports the second."""
    return {(name, other) for name, below in found.items() for other in below}


def levels(found: Imports) -> list[list[str]]:
    """Return the packages by level, the lowest first: each is one above the highest that it imports.

    Raises:
        ValueError: Packages import each other in a circle.
    """
    level: dict[str, int] = {}

    def level_of(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise ValueError(f"packages import each other in a circle: {' -> '.join([*above, name])}")
        if name not in level:
            level[name] = 1 + max((level_of(other, (*above, name)) for other in found[name]), default=-1)
        return level[name]

    top = max(level_of(name, ()) for name in found)
    return [sorted(name for name in found if level[name] == number) for number in range(top + 1)]


def needed(found: Imports) -> set[tuple[str, str]]:
    """Return the arrows that no chain of others stands in for."""

    @cache
    def reached(name: str) -> frozenset[str]:
        return frozenset({name}).union(*(reached(other) for other in found[name]))

    return {(a, b) for a, b in arrows(found) if not any(b in reached(c) for c in found[a] - {b})}


def places(found: Imports) -> dict[str, tuple[float, float]]:
    """Return the middle of each box, in pixels: packages are near those that they have arrows with."""
    by_level = levels(found)
    x = {name: WIDTH * (i + 1) / (len(names) + 1) for names in by_level for i, name in enumerate(names)}
    near = {name: [b for b in found if b in found[name] or name in found[b]] for name in found}
    for _ in range(8):
        for names in by_level:
            wish = {name: sum(x[other] for other in near[name]) / max(len(near[name]), 1) for name in names}
            for i, name in enumerate(sorted(names, key=lambda name: (wish[name], name))):
                x[name] = WIDTH * (i + 1) / (len(names) + 1)
    return {
        name: (x[name], MARGIN + HIGH / 2 + LEVEL * (len(by_level) - 1 - number))
        for number, names in enumerate(by_level)
        for name in names
    }


def picture(found: Imports) -> str:
    """Return the picture as SVG."""
    at = places(found)
    strong = needed(found)
    bottom = max(y for _, y in at.values()) + LEVEL
    high = bottom + HIGH / 2 + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high:.0f}" role="img" aria-label="Packages of '
        'pytest_trtgate by level; an arrow leads from a package to one that it imports">',
        "<style>text{font:15px system-ui,sans-serif;text-anchor:middle;fill:#1d2733}"
        ".box{fill:#fff;stroke:#3b5b7a;stroke-width:1.5}.common{fill:#e9edf1;stroke:#9aa7b4}"
        "path{fill:none}.need{stroke:#3b5b7a;stroke-width:1.6}.more{stroke:#cdd6df;stroke-width:1.1}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0L8 4L0 8z" style="fill:#3b5b7a"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{high:.0f}" fill="#f8fafb"/>',
    ]
    for pair in sorted(arrows(found), key=lambda pair: (pair in strong, pair)):
        (x1, y1), (x2, y2) = at[pair[0]], at[pair[1]]
        start, end = y1 + HIGH / 2, y2 - HIGH / 2
        bend = (end - start) / 2
        kind = 'class="need" marker-end="url(#tip)"' if pair in strong else 'class="more"'
        curve = f"M{x1:.0f} {start:.0f}C{x1:.0f} {start + bend:.0f} {x2:.0f} {end - bend:.0f} {x2:.0f} {end:.0f}"
        lines.append(f'<path {kind} d="{curve}"><title>{pair[0]} imports {pair[1]}</title></path>')
    for name, (x, y) in sorted(at.items()):
        lines.append(
            f'<rect class="box" x="{x - BOX / 2:.0f}" y="{y - HIGH / 2:.0f}" width="{BOX}" height="{HIGH}" rx="6"/>'
        )
        lines.append(f'<text x="{x:.0f}" y="{y + 5:.0f}">{escape(name)}</text>')
    wide = WIDTH - 2 * MARGIN
    lines.append(
        f'<rect class="common" x="{MARGIN}" y="{bottom - HIGH / 2:.0f}" width="{wide}" height="{HIGH}" rx="6"/>'
    )
    lines.append(
        f'<text x="{WIDTH / 2:.0f}" y="{bottom + 5:.0f}">{" and ".join(COMMON)}: every package may import them</text>'
    )
    return "\n".join([*lines, "</svg>", ""])


def explained(page: str) -> set[tuple[str, str]]:
    """Return the arrows that the page has a sentence for."""
    return set(re.findall(r"^- `(\w+) → (\w+)`: \S.*\.$", page, re.MULTILINE))


def complaints(found: Imports) -> list[str]:
    """Return what is out of date, a sentence each."""
    said = []
    if not PICTURE.exists() or PICTURE.read_text(encoding="utf-8") != picture(found):
        said.append(f"{PICTURE} is not what the code says; run: python docs/architecture_picture.py")
    if len(levels(found)) > MAX_LEVELS:
        said.append(f"the packages have {len(levels(found))} levels, more than {MAX_LEVELS}")
    there, real = explained(PAGE.read_text(encoding="utf-8")), arrows(found)
    said += [f"{PAGE} has no sentence for `{a} → {b}`: say why {a} imports {b}" for a, b in sorted(real - there)]
    said += [f"{PAGE} explains `{a} → {b}`, but {a} does not import {b}" for a, b in sorted(there - real)]
    return said


def main() -> int:
    """Draw the picture, or say what is out of date."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--check", action="store_true", help="Write nothing; exit 1 where something is out of date")
    found = package_imports()
    if not asked.parse_args().check:
        PICTURE.write_text(picture(found), encoding="utf-8")
    said = complaints(found)
    print(
        "\n".join(said) or f"{PICTURE}: {len(found)} packages, {len(arrows(found))} arrows, {len(levels(found))} levels"
    )
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
