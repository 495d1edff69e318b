"""Writes what an engine detects as COCO's results, as a runtime of one's own would: run before an accuracy job.

Every detection that the job compares is written, in pixels of the original image, unrounded.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def install(output: str) -> None:
    """Have the accuracy job of this process write its detections to a file too."""
    from pytest_trtgate.workers.evaluating import collecting

    rows: list[dict[str, Any]] = []
    found = collecting.Collector._postprocess

    def kept(self: Any, postprocess: Any, outputs: Any) -> Any:
        predictions = found(self, postprocess, outputs)
        for index, one in enumerate(predictions):
            rows.extend(results(one, self._batch, index))
        Path(output).write_text(json.dumps(rows))
        return predictions

    collecting.Collector._postprocess = kept  # type: ignore[method-assign]


def results(one: dict[str, Any], batch: dict[str, Any], index: int) -> list[dict[str, Any]]:
    """Return the detections of one image."""
    (gain_y, gain_x), pad = batch["ratio_pad"][index]
    gain = np.array([gain_x, gain_y], dtype=np.float64)
    height, width = batch["ori_shape"][index]
    boxes = (one["bboxes"].cpu().numpy().astype(np.float64) - np.tile(pad, 2)) / np.tile(gain, 2)
    boxes[:, 2:] -= boxes[:, :2]
    rows = []
    for n, box in enumerate(boxes.tolist()):
        row = {"image_id": Path(batch["im_file"][index]).name, "bbox": box}
        row |= {"category_id": int(one["cls"][n]), "score": float(one["conf"][n])}
        if "keypoints" in one:
            points = one["keypoints"][n].cpu().numpy().astype(np.float64)
            points[:, :2] = (points[:, :2] - np.array(pad)) / gain
            row["keypoints"] = points.reshape(-1).tolist()
        if "masks" in one:
            row["segmentation"] = run_lengths(one["masks"][n].cpu().numpy(), height, width, gain, pad)
        rows.append(row)
    return rows


def run_lengths(mask: Any, height: int, width: int, gain: Any, pad: Any) -> dict[str, Any]:
    """Return a mask of a quarter of the letterboxed size as run lengths in the original image."""
    ys, xs = (
        np.clip(((np.arange(side) + 0.5) * times + beside) // 4, 0, most - 1).astype(int)
        for side, times, beside, most in zip((height, width), gain[::-1], pad[::-1], mask.shape, strict=True)
    )
    flat = (mask[np.ix_(ys, xs)] > 0).T.reshape(-1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat]))).tolist()
    ends = [*edges, len(flat)]
    return {"size": [height, width], "counts": [b - a for a, b in zip([0, *ends[:-1]], ends, strict=True)]}
