"""What Ultralytics keeps in files of its own, read without importing it: where datasets are, and readable names."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..records import read_text

CODE = "n0"
"""What the first class of a dataset begins with where its names are ImageNet's codes, such as n01440764."""


def datasets_dir() -> Path | None:
    """Return the folder in which Ultralytics looks for datasets that are not in the working folder.

    It is in the user's settings of Ultralytics. Without any it is the one that Ultralytics would choose. None where
    neither is known.
    """
    try:
        home = os.environ.get("YOLO_CONFIG_DIR") or os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
        settings = json.loads(read_text(Path(home).expanduser() / "Ultralytics" / "settings.json"))
        return Path(settings["datasets_dir"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError):  # no home, no settings, or none that can be used
        package = _package()
    if package is None:
        return None
    checkout = next((folder for folder in package.parents if (folder / ".git").exists()), None)
    if checkout is None:
        return Path.cwd() / "datasets"
    return (checkout.parent if os.access(checkout.parent, os.W_OK) else checkout) / "datasets"


def readable_names(names: Mapping[int, str]) -> dict[int, str]:
    """Return names of classes with ImageNet's codes replaced by words, where Ultralytics would replace them."""
    if not names.get(0, "").startswith(CODE):
        return dict(names)
    words = _imagenet_words()
    return {index: words.get(name, name) for index, name in names.items()}


def _package() -> Path | None:
    found = find_spec("ultralytics")
    return Path(found.origin).parent if found and found.origin else None


@cache
def _imagenet_words() -> dict[str, str]:
    import yaml

    package = _package()
    if package is None:
        return {}
    text = (package / "cfg" / "datasets" / "ImageNet.yaml").read_text(encoding="utf-8")
    return {
        str(code): str(word)
        for code, word in yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))["map"].items()
    }
