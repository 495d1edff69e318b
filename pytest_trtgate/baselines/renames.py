"""Baselines of a checkpoint that has another name by now."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..errors import SettingsError
from ..records import why_no_name
from .store import any_baseline, save_baseline


def renamed(old: str, new: str) -> str:
    """Return in a clause that a checkpoint had another name, and what takes its baselines along."""
    return f"the same checkpoint has baselines as '{old}': {shlex.join(['trtgate', 'baseline', 'mv', old, new])}"


def move(root: Path, old: str, new: str) -> list[Path]:
    """Give the baselines of a model another name, on all machines, and return the new files.

    Raises:
        SettingsError: There is nothing of that name, the new one is no name, or it has baselines already.
        BaselineError: A file cannot be written, or is damaged.
    """
    if why := why_no_name(new):
        raise SettingsError(f"the name '{new}' {why}")
    files = [path for path in sorted(root.glob("*/*/*.json")) if path.parts[-2] == old]
    if not files:
        models = sorted({path.parts[-2] for path in root.glob("*/*/*.json")})
        raise SettingsError(f"{root}: no baselines of '{old}'; there are some of: {', '.join(models) or 'none'}")
    targets = [path.parents[1] / new / path.name for path in files]
    if taken := next((path for path in targets if path.exists()), None):
        raise SettingsError(f"{taken}: is there already; nothing was moved")
    baselines = [any_baseline(path) for path in files]
    if None in baselines:
        raise SettingsError(f"{files[baselines.index(None)]}: cannot be read; nothing was moved")
    for path, target, baseline in zip(files, targets, baselines, strict=True):
        assert baseline is not None
        cell = baseline.cell.model_copy(update={"model": new})
        save_baseline(target, baseline.model_copy(update={"cell": cell}))
        path.unlink()
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    return targets
