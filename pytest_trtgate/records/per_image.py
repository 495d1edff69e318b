"""The per-image records of an arm, read array by array or in parts, since all together may be large."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecordError
from .files import open_regular

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_ROWS = 2**18
"""Rows of an array that are read at once."""
UNUSABLE = (
    *(OSError, EOFError, KeyError, IndexError, TypeError, ValueError),
    AttributeError,  # what Python 3.10 says of a file that is no archive
    *(NotImplementedError, MemoryError, zipfile.BadZipFile, zlib.error),
)
"""What NumPy raises for a file that is no ``.npz``, or is damaged."""


class PerImage:
    """The ``.npz`` that an accuracy job wrote for one arm. Reading an unusable one raises :class:`RecordError`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        import numpy as np

        try:
            with open_regular(self.path) as file, np.load(file) as archive:
                yield archive
        except UNUSABLE as error:
            raise RecordError(
                f"{self.path}: no per-image records to be used ({type(error).__name__}: {error})"
            ) from error

    def names(self) -> frozenset[str]:
        """Return which arrays there are."""
        with self._opened() as archive:
            return frozenset(archive.files)

    def read(self, names: Iterable[str]) -> dict[str, Any]:
        """Return arrays by their names."""
        with self._opened() as archive:
            return {name: archive[name] for name in names}

    def parts(self, names: Sequence[str], ends: Iterable[int]) -> Iterator[tuple[Array, ...]]:
        """Yield the rows of some arrays in parts; ``ends``, ascending, says where each part ends."""
        with self._opened() as archive:
            readers = [_Rows(archive, name) for name in names]
            for end in ends:
                yield tuple(reader.until(end) for reader in readers)

    def rows(self, names: Sequence[str], wanted: Array) -> dict[str, Any]:
        """Return the rows of some arrays that the mask ``wanted`` selects."""
        import numpy as np

        starts = range(0, max(1, len(wanted)), _ROWS)  # an array without rows has one part, which is empty
        ends = [min(start + _ROWS, len(wanted)) for start in starts]
        parts = zip(starts, ends, self.parts(names, ends), strict=True)
        found = [[array[wanted[start:end]] for array in arrays] for start, end, arrays in parts]
        return {name: np.concatenate(column) for name, column in zip(names, zip(*found, strict=True), strict=True)}


class _Rows:
    """An array in an opened ``.npz``, read from its first row to its last."""

    def __init__(self, archive: Any, name: str) -> None:
        from numpy.lib import format as npy

        self._stream = archive.zip.open(f"{name}.npy")
        header = npy.read_array_header_1_0 if npy.read_magic(self._stream) == (1, 0) else npy.read_array_header_2_0
        (_, *self._columns), by_column, self._dtype = header(self._stream)
        if (by_column and self._columns) or self._dtype.hasobject:
            raise ValueError(f"{name} is not stored row by row")
        self._at = 0

    def until(self, end: int) -> Array:
        """Return the rows up to ``end`` that were not yet read."""
        import numpy as np

        shape = (end - self._at, *self._columns)
        size = math.prod(shape) * self._dtype.itemsize
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError(f"{end} rows are too many")
        self._at = end
        return np.frombuffer(data, self._dtype).reshape(shape)
