"""Draw how often each rule calls an engine slower, by how much slower it is, from ``results/gate_quality.json``.

python bench/gate_plot.py                      # writes docs/images/gate_quality.svg

Left: simulated launches. Right: launches recorded on a GPU. Where the slow-down is 0, what is called slower is a false
alarm. Text and axes take the colour of the reader's theme.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import matplotlib
from machine import RESULTS

matplotlib.use("svg")
from matplotlib import pyplot

TARGET = Path(__file__).parent.parent / "docs" / "images" / "gate_quality.svg"
INK = "#010203"
"""Stands for the colour of the theme until the file is written."""
THEME = "<style>svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>"
LINES = {
    "trtgate": ("trtgate", "#2da44e", 2.6, "-"),
    "pytest-benchmark median:5%": ("pytest-benchmark median:5%", "#d1570a", 1.6, "-"),
    "pytest-benchmark min:5%": ("pytest-benchmark min:5%", "#d1570a", 1.6, ":"),
    "Criterion": ("Criterion", "#8250df", 1.6, "-"),
    "pooled Mann-Whitney p < .05, stored": ("pooled Mann-Whitney", "#0969da", 1.6, "-"),
    "asv continuous": ("asv", "#9a6700", 1.6, "--"),
}


def draw(axes: Any, title: str, curves: dict[str, Any], threshold: float) -> None:
    """Draw one panel."""
    x = [100 * slowdown for slowdown in curves["slowdowns"]]
    axes.axvline(100 * threshold, color=INK, linewidth=0.8, linestyle=(0, (2, 3)), alpha=0.6)
    for rule, (label, color, width, style) in LINES.items():
        axes.plot(x, curves[rule], color=color, linewidth=width, linestyle=style, label=label, clip_on=False)
    axes.set_title(title, fontsize=10, color=INK)
    axes.set_xlabel("true slow-down in %", color=INK)
    axes.set_xlim(0, x[-1])
    axes.set_ylim(0, 100)
    axes.tick_params(colors=INK)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)


def main() -> None:
    """Write the plot."""
    figures = json.loads((RESULTS / "gate_quality.json").read_text(encoding="utf-8"))
    (gpu,) = (x for x in figures["recorded"] if x["recording"] == "h200")
    # The same figures give the same file.
    pyplot.rcParams.update(
        {"svg.fonttype": "none", "svg.hashsalt": "trtgate", "font.family": "sans-serif", "font.size": 9}
    )
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8.6, 3.5), sharey=True, layout="constrained")
    draw(left, "simulated, 1 % spread between launches", figures["curves_percent"], figures["threshold"])
    launches = f"{gpu['sessions']} x {gpu['launches_per_session']} launches"
    draw(right, f"recorded on an H200, {launches}, times scaled", gpu["curves_percent"], figures["threshold"])
    left.set_ylabel("called slower in %", color=INK)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    head, body = text.getvalue().split("<defs>", 1)
    svg = f"{head}{THEME}<defs>{body}".replace(INK, "currentColor")
    TARGET.write_text(svg, encoding="utf-8")
    print(f"{TARGET.name}: {len(svg)} bytes")


if __name__ == "__main__":
    main()
