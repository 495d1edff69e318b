"""Takes the picture of a report that README shows: its top, down to the details, as wide as a desk's screen.

    python docs/screenshot.py reports/trtgate.html docs/images/report.png

Needs Chromium on the PATH, and Pillow.
"""

from __future__ import annotations

import argparse
import base64
import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from chromium import Chromium
from PIL import Image

BOTTOM = """
(() => {
  const next = document.querySelector("#video, #cells").closest("section");
  const above = next.previousElementSibling.getBoundingClientRect();
  return above.bottom + scrollY + 24;
})()
"""
COLOURS = 256
"""The page has few colours: with a palette the file is a quarter as large."""


def picture(report: Path, width: int, scheme: str) -> Image.Image:
    """Return the top of a report as it looks in a window of so many pixels."""
    with tempfile.TemporaryDirectory() as profile, Chromium(Path(profile)) as browser:
        browser.send("Emulation.setScrollbarsHidden", hidden=True)
        browser.open(report.resolve().as_uri(), scheme=scheme)
        browser.resize(width)
        browser.run("document.querySelector('.bar').style.position = 'static'")
        clip = {"x": 0, "y": 0, "width": width, "height": browser.run(BOTTOM), "scale": 1}
        shot = browser.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    image = Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")
    return image.quantize(COLOURS, dither=Image.Dither.NONE)


def main() -> None:
    """Take one picture."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("report", type=Path, help="The page, trtgate.html of a run")
    parser.add_argument("picture", type=Path, help="The PNG to write")
    parser.add_argument("--width", type=int, default=1280, help="Of the window, in pixels (default: 1280)")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    asked = parser.parse_args()
    picture(asked.report, asked.width, asked.scheme).save(asked.picture, optimize=True)
    print(f"{asked.picture}: {asked.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
