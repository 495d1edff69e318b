"""The Git commit of a project, asked for such that nothing runs which a repository from elsewhere names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..text import DIRTY

LENGTH = 12
_NO_COMMANDS = ("core.fsmonitor=false", f"core.hooksPath={os.devnull}")
_LARGE_FILES = ("git-lfs clean -- %f", "git-lfs smudge -- %f", "git-lfs filter-process")
"""What ``git lfs install --local`` writes into a repository, as CI does: without it, its files would look changed."""


def commit_of(folder: Path, environ: Mapping[str, str]) -> str | None:
    """Return the commit of a folder, marked where a file that Git knows is changed; None outside of a repository.

    A repository's own configuration can name commands: for watching files, for hooks, and for filters of files that
    are compared. Git gets none of these but the filters of Git LFS.
    """
    # Not every project is in Git, and to start a process takes longer than to look.
    if "GIT_DIR" not in environ and not any((above / ".git").exists() for above in (folder, *folder.parents)):
        return None
    told = _git(folder, "config", "-z", "--show-scope", "--get-regexp", r"^filter\.", ok=(0, 1))
    if told is None:
        return None
    off = _filters(told)
    if any("=" in key for key in off):  # such a name cannot be given on the command line
        return None
    state = ("--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=dirty")
    status = _git(folder, "status", *state, without=[f"{key}={value}" for key, value in off.items()])
    lines = status.splitlines() if status else []
    commit = next((line.split()[2] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    if commit == "(initial)":
        return None
    return commit[:LENGTH] + (DIRTY if any(not line.startswith("#") for line in lines) else "")


def _filters(told: str) -> dict[str, str]:
    """Return the settings that switch off the filters of a repository's own configuration."""
    fields = told.split("\0")
    entries = [(scope, *entry.partition("\n")) for scope, entry in zip(fields[::2], fields[1::2], strict=False)]
    own = {key: value for scope, key, _, value in entries if scope in ("local", "worktree")}
    return {
        key: "false" if key.endswith(".required") else "" for key, value in own.items() if value not in _LARGE_FILES
    }


def _git(folder: Path, *arguments: str, without: Sequence[str] = (), ok: tuple[int, ...] = (0,)) -> str | None:
    settings = [word for setting in (*_NO_COMMANDS, *without) for word in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *settings, *arguments],
            cwd=folder,
            env={**os.environ, "GIT_NO_LAZY_FETCH": "1"},
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode in ok else None
