"""Keep an evaluation within memory, however many images and detections there are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

HELD_BYTES = 2**21
"""A spool with more than this writes to its file."""
OBJECT_BYTES = 128
"""Memory of an array beside its numbers."""
COUNTS = 10_000_000
"""Detections x IoU thresholds that Ultralytics counts at once; it holds some five arrays of 8 bytes each."""
_AP = 5
"""Position of the average precisions (classes x IoU thresholds) in what Ultralytics returns."""


class Spool:
    """Collects arrays image by image, and returns them as one; large ones wait in a file.

    The file is in ``folder``, has no name and goes with this process. ``rows`` has the length of each array.
    """

    def __init__(self, folder: Path) -> None:
        self.rows: list[int] = []
        self._folder = folder
        self._file: IO[bytes] | None = None
        self._written = 0
        self._held: list[NDArray[Any]] = []
        self._bytes = 0

    def append(self, array: NDArray[Any]) -> None:
        """Take one more."""
        # A copy: the array may be a view that would keep something larger in memory.
        self._held.append(array.copy())
        self.rows.append(len(array))
        self._bytes += array.nbytes + OBJECT_BYTES
        if self._bytes > HELD_BYTES:
            self._write()

    def _write(self) -> None:
        import numpy as np

        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - for as long as the spool is used
        self._file.seek(0, 2)
        np.save(self._file, np.concatenate(self._held), allow_pickle=False)
        self._written += 1
        self._held, self._bytes = [], 0

    def whole(self) -> NDArray[Any]:
        """Return all arrays, concatenated."""
        import numpy as np

        parts = list(self._held)
        if self._file is not None:
            self._file.seek(0)
            parts = [np.load(self._file, allow_pickle=False) for _ in range(self._written)] + parts
        return np.concatenate(parts)

    def close(self) -> None:
        """Delete the file."""
        if self._file is not None:
            self._file.close()


@contextmanager
def counting_in_parts() -> Iterator[None]:
    """Make Ultralytics compute average precisions for fewer IoU thresholds at a time if there are many detections.

    Thresholds do not depend on one another, so the numbers stay the same; precision, recall and curves are those of
    the first.
    """
    from ultralytics.utils import metrics

    whole: Callable[..., Any] = metrics.ap_per_class

    def in_parts(tp: NDArray[Any], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        import numpy as np

        step = max(1, COUNTS // max(1, len(tp)))
        found = [whole(tp[:, at : at + step], *args, **kwargs) for at in range(0, tp.shape[1], step)]
        return (*found[0][:_AP], np.concatenate([part[_AP] for part in found], axis=1), *found[0][_AP + 1 :])

    metrics.ap_per_class = in_parts
    try:
        yield
    finally:
        metrics.ap_per_class = whole
