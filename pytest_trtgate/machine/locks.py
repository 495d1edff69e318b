"""The folder of the device locks, which all users of the machine share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

LOCKS = Path("/tmp/trtgate-locks")


def device_locks(folder: Path = LOCKS) -> Path:
    """Return ``folder``, made if missing; a folder of our own if it cannot be made or written."""
    try:
        make_locks(folder)
        usable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        usable = False
    return folder if usable else Path(tempfile.gettempdir()) / folder.name


def make_locks(folder: Path) -> None:
    """Make a folder of locks for every user of the machine, if it is missing."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        folder.chmod(0o1777)  # other users of the machine take the same locks
