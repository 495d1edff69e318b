"""The locks of devices, which all users of the machine share: what holds one runs alone on its device."""

from __future__ import annotations

from pathlib import Path

from ..locks import Lock

LOCKS = Path("/tmp/trtgate-locks")


def device_lock(device: str, folder: Path = LOCKS) -> Lock:
    """Return the lock of a device: ``cpu``, or the UUID or the number of a GPU."""
    return Lock(folder / f"device-{device}.lock", for_all_users=True)
