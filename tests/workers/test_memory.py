"""An evaluation keeps what it finds in a file, and has Ultralytics count it in parts, with the same outcome."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from judge_example import records

from pytest_trtgate.workers.evaluating import memory
from pytest_trtgate.workers.evaluating.memory import Spool, counting_in_parts


@pytest.mark.parametrize("held", [0, 700, 10**6])
def test_arrays_come_out_of_a_spool_as_one_in_their_order(
    tmp_path: Path, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "HELD_BYTES", held)
    rng = np.random.default_rng(0)
    # An image without detections comes as 64-bit zeros, as Ultralytics has it, and decides the type of the whole.
    arrays = [rng.random((n, 6), dtype=np.float32)[:, 2:4] if n else np.zeros((0, 2)) for n in (3, 0, 5, 1, 9)]
    expected = np.concatenate(arrays)
    with closing(Spool(tmp_path)) as spool:
        for array in arrays:
            spool.append(array)
        for _ in range(2):
            assert spool.whole().dtype == expected.dtype
            assert (spool.whole() == expected).all()
        assert spool.rows == [3, 0, 5, 1, 9]
        assert (spool._file is not None) == (held < 10**6)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.real
def test_average_precisions_counted_in_parts_are_those_counted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ultralytics.utils import metrics

    some = records(300, false=600)
    whole = metrics.ap_per_class(some.tp, some.conf, some.pred_cls, some.target_cls)
    for counts in (0, 4 * len(some.conf)):
        monkeypatch.setattr(memory, "COUNTS", counts)
        with counting_in_parts():
            parts = metrics.ap_per_class(some.tp, some.conf, some.pred_cls, some.target_cls, plot=False)
        assert all(np.array_equal(one, other) for one, other in zip(whole, parts, strict=True))
    assert metrics.ap_per_class.__module__ == metrics.__name__
