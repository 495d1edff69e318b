"""Per-image records are read in parts, and compared in parts, with the outcome that they have whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judge_example import IMAGES, records
from records_example import accuracy

from pytest_trtgate.errors import RecordError
from pytest_trtgate.records.per_image import PerImage
from pytest_trtgate.verdicts import evidence
from pytest_trtgate.verdicts.evidence import gather


def arrays(seed: int) -> dict[str, Any]:
    """Return the records of an arm that is sure of some boxes and less of others, several of one confidence."""
    some, rng = records(seed, false=400), np.random.default_rng(seed)
    order = np.argsort(some.pred_image, kind="stable")
    corner = rng.integers(0, 20, (len(order), 2)).astype(np.float32)
    box = np.concatenate([corner, corner + rng.integers(5, 20, (len(order), 2))], axis=1).astype(np.float32)
    rows = {name: getattr(some, name)[order] for name in ("tp", "conf", "pred_cls", "pred_image")}
    truth = {name: getattr(some, name) for name in ("target_cls", "target_image")}
    return {**rows, **truth, "pred_box": box, "images": np.arange(IMAGES).astype(str)}


@pytest.mark.parametrize("shuffled", [(), ("int8",)])
def test_detections_are_compared_in_parts_as_they_would_be_whole(
    tmp_path: Path, shuffled: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed, arm in ((501, "pt"), (502, "int8")):
        found = arrays(seed)
        if arm in shuffled:
            mixed = np.random.default_rng(7).permutation(len(found["conf"]))
            found |= {name: found[name][mixed] for name in ("tp", "conf", "pred_cls", "pred_image", "pred_box")}
        np.savez_compressed(tmp_path / f"{arm}.npz", **found)
    arms = [accuracy(arm, 0.5).model_copy(update={"per_image": f"{arm}.npz"}) for arm in ("pt", "int8")]
    monkeypatch.setattr(evidence, "SHOWN_WORK", 1)
    whole = gather(tmp_path, arms[0], arms[1], 0.25, decides=False)
    assert 0 < whole.agreement.shared < whole.agreement.detections
    monkeypatch.setattr(evidence, "PART", 3)
    parts = gather(tmp_path, arms[0], arms[1], 0.25, decides=False)
    assert (parts.agreement, parts.comparison) == (whole.agreement, whole.comparison)


def test_wanted_rows_are_those_of_the_whole_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = arrays(501)
    np.savez(tmp_path / "pt.npz", **found)
    wanted = found["conf"] > 0.5
    monkeypatch.setattr("pytest_trtgate.records.per_image._ROWS", 7)
    rows = PerImage(tmp_path / "pt.npz").rows(["pred_box", "pred_cls"], wanted)
    assert (rows["pred_box"] == found["pred_box"][wanted]).all()
    assert (rows["pred_cls"] == found["pred_cls"][wanted]).all()


@pytest.mark.parametrize("spoil", ["fewer", "by column", "objects"])
def test_arrays_that_cannot_be_read_in_parts_are_one_sentence(tmp_path: Path, spoil: str) -> None:
    wanted = np.ones(9, dtype=bool)
    made = {"fewer": np.zeros((8, 4)), "by column": np.asfortranarray(np.zeros((9, 4))), "objects": np.array([{}] * 9)}
    np.savez(tmp_path / "pt.npz", pred_box=made[spoil])
    with pytest.raises(RecordError, match=r"pt\.npz: no per-image records to be used \("):
        PerImage(tmp_path / "pt.npz").rows(["pred_box"], wanted)


def test_a_file_that_is_one_array_is_one_sentence(tmp_path: Path) -> None:
    with (tmp_path / "pt.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RecordError, match=r"pt\.npz: no per-image records to be used \("):
        PerImage(tmp_path / "pt.npz").names()


def test_an_arm_that_detects_nothing_has_arrays_without_rows(tmp_path: Path) -> None:
    np.savez(tmp_path / "none.npz", conf=np.empty(0), box=np.empty((0, 4), dtype=np.float32))
    found = PerImage(tmp_path / "none.npz").rows(["conf", "box"], np.empty(0, dtype=bool))
    assert {name: array.shape for name, array in found.items()} == {"conf": (0,), "box": (0, 4)}
