"""Ultralytics' own verification of images and labels, kept off the user's files, and noted down.

Ultralytics writes JPEGs anew that do not end as they should, and leaves out images that it cannot read or whose labels
it refuses. Here, what it mends is mended in a copy, which is then read in place of the image.

Import it only after :func:`pytest_trtgate.workers.worker.prepare`: this module imports torch and Ultralytics.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import ultralytics
import ultralytics.data.base
import ultralytics.data.dataset
import ultralytics.data.utils
from ultralytics.utils.patches import imread

from ..errors import TrtGateError
from ..records import TEXT_BYTES, Trouble
from .image_header import refusal
from .reading import noting
from .worker import plain

QUICK = frozenset((".jpeg", ".jpg", ".mpo", ".png", ".webp"))
"""Formats whose damage shows without decoding: they end with a mark, hold checksums, or are read whole."""
MENDED: dict[str, str] = {}
"""Copies that this process has made of images, by the path of the image."""
LEFT_OUT: dict[str, str] = {}
"""Images that Ultralytics left out in this process, and why."""
_INSTEAD = (
    ("Invalid image format", "its suffix says another format, which is not supported"),
    ("cannot identify image file", "not an image"),
    ("inhomogeneous", "rows of different lengths"),
)
"""What to say in place of an error's own words, by a part of it."""


def watch(max_pixels: int) -> None:
    """Make Ultralytics' verification leave the user's files alone and tell what it leaves out, in this process.

    It leaves out images of more than ``max_pixels`` too.

    Raises:
        TrtGateError: This release of Ultralytics lacks what has to be replaced for that.
    """
    replace(ultralytics.data.utils, "_replace_image", lambda _: _mend)
    replace(ultralytics.data.utils, "check_image", lambda check: partial(_checked, check, max_pixels))
    for name in ("verify_image", "verify_image_label"):
        replace(ultralytics.data.dataset, name, lambda verify: partial(_noted, verify))
    for module, name in (
        (ultralytics.data.base, "imread"),
        (ultralytics.data.dataset, "imread"),
        (ultralytics.data.dataset, "imread_unicode"),
    ):
        replace(module, name, lambda read: partial(_read, read))


def replace(module: Any, name: str, by: Callable[[Any], Any]) -> None:
    """Replace a function of Ultralytics by what ``by`` makes of it; raise TrtGateError where there is none."""
    if not hasattr(module, name):
        raise TrtGateError(
            f"Ultralytics {ultralytics.__version__} has no {module.__name__}.{name}, which pytest-trtgate needs in "
            f"order to leave your dataset alone; install another release (8.4.190 is known to work)"
        )
    setattr(module, name, by(getattr(module, name)))


def left_out() -> Trouble:
    """Return how many images were left out so far, and the first by path with the reason."""
    first = min(LEFT_OUT.items(), default=None)
    return Trouble(count=len(LEFT_OUT), first=f"{Path(first[0]).name} ({first[1]})" if first else "")


def read_image(path: str, channels: int = 3) -> Any:
    """Return an image as Ultralytics evaluates it: height x width x channels, BGR; None where it would leave it out."""
    import cv2

    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR}.get(channels, cv2.IMREAD_UNCHANGED)
    try:
        ultralytics.data.utils.check_image(path)
        return _read(imread, path, flags)
    except Exception as error:
        print(f"{path}: {why(path, error)}")
        return None


def verified(verify: Callable[[Any], Any], args: Any) -> Any:
    """Have Ultralytics verify an image, alone or with its label, unless that is far longer than any is."""
    too_long = isinstance(args[0], str) and Path(args[1]).is_file() and Path(args[1]).stat().st_size > TEXT_BYTES
    if not too_long:
        return verify(args)
    return [*[None] * 5, 0, 0, 0, 1, f"ignoring corrupt image/label: more than {TEXT_BYTES:,} bytes"]


def reason_in(message: str) -> str:
    """Return the reason in what Ultralytics says of an image that it leaves out."""
    return message.partition("ignoring corrupt image/label: ")[2] or message


def why(path: str, reason: object) -> str:
    """Return in a few words why Ultralytics leaves out an image, from the reason that it gives."""
    said = plain(ValueError(reason))
    if "pi_heif" in said:  # what Pillow cannot open is tried as HEIC
        suffix = Path(path).suffix.lower()
        return "needs the package pi-heif" if suffix in (".heic", ".heif") else "not an image"
    return next((words for part, words in _INSTEAD if part in said), said)


def _checked(check: Callable[[str], Any], max_pixels: int, image: str) -> Any:
    """Have Ultralytics check an image that may be decoded; it leaves out those for which this raises.

    It is also decoded where Ultralytics might find only in an evaluation that it cannot.
    """
    if why := refusal(Path(image), max_pixels):
        raise ValueError(why)
    found = check(image)
    if Path(image).suffix.lower() not in QUICK and imread(image) is None:
        raise ValueError("cannot be decoded")
    return found


def _mend(image: str | Path, write: Callable[[str], object]) -> None:
    copy = Path(tempfile.mkdtemp(prefix="mended-")) / Path(image).name
    write(str(copy))
    MENDED[str(image)] = str(copy)


def _read(read: Callable[..., Any], path: str, *args: Any, **kwargs: Any) -> Any:
    with noting(path):
        return read(MENDED.get(str(path), path), *args, **kwargs)


def _noted(verify: Callable[[Any], Any], args: Any) -> Any:
    """Verify an image, alone or with its label, and note what the label holds, and the image where it is left out."""
    with noting(args[1]) if isinstance(args[0], str) else nullcontext():
        found = verified(verify, args)
    *_, corrupt, message = found
    if corrupt:
        image = str(args[0] if isinstance(args[0], str) else args[0][0])
        LEFT_OUT[image] = why(image, reason_in(message))
        with noting(image):
            pass
    return found
