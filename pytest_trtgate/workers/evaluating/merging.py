"""Job: put the parts of an evaluation together, as if one pass had made them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TrtGateError
from ...jobs import ArmAccuracy, MergeArm, MergeRequest, MergeResponse
from ...records import KINDS, Task, true_positives
from ..worker import PHASES, leave, main
from .answers import STATS, accuracy_of
from .memory import counting_in_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]


def work(request: MergeRequest, folder: Path) -> MergeResponse:
    """Merge the per-image records of each arm, and compute its metrics from the whole, as Ultralytics does.

    Raises:
        TrtGateError: An image is in two parts.
    """
    from .. import yolo

    yolo.isolate(request)
    PHASES.begin("work")
    return MergeResponse(arms={arm.arm: _merged_arm(arm) for arm in request.arms})


def _merged_arm(arm: MergeArm) -> ArmAccuracy:
    import numpy as np

    parts = []
    for path in arm.parts:
        with np.load(path) as file:
            parts.append(dict(file))
    records: dict[str, Any] = dict(merged(parts))
    Path(arm.per_image).parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arm.per_image, **records)
    return accuracy_of(arm.task, _metrics(arm.task, records), records)


def merged(parts: Sequence[Arrays]) -> Arrays:
    """Return the per-image records of all parts as one pass would have written them.

    Raises:
        TrtGateError: An image is in two parts.
    """
    import numpy as np

    firsts = np.cumsum([0, *(len(part["images"]) for part in parts)]).tolist()
    whole = {"names": parts[0]["names"]}
    for name in parts[0].keys() - whole.keys():
        arrays = [part[name] for part in parts]
        if name.endswith("_image"):
            arrays = [array + array.dtype.type(first) for array, first in zip(arrays, firsts, strict=False)]
        whole[name] = np.concatenate(arrays)
    if len(np.unique(whole["images"])) < len(whole["images"]):
        raise TrtGateError("an image was evaluated in two parts of the split; set fleet.shards = 1")
    if "top" in whole:  # parts of what a loader has shuffled
        order = np.argsort(whole["images"])
        whole |= {name: array[order] for name, array in whole.items() if name != "names"}
    return whole


def _metrics(task: Task, records: Arrays) -> Any:
    """Return Ultralytics' metrics of per-image records."""
    import numpy as np
    import torch
    from ultralytics.utils import metrics

    if task == "classify":
        ranks = metrics.ClassifyMetrics()
        ranks.process([torch.from_numpy(records["target"])], [torch.from_numpy(records["top"])])
        return ranks
    make = {"segment": metrics.SegmentMetrics, "pose": metrics.PoseMetrics, "obb": metrics.OBBMetrics}
    found = make.get(task, metrics.DetMetrics)(dict(enumerate(records["names"].tolist())))
    stats = {STATS[kind]: records[true_positives(kind)] for kind in KINDS[task]}
    stats |= {name: records[name] for name in ("conf", "pred_cls", "target_cls")}
    # How many images have each class is counted from the records.
    found.stats = {key: [value] for key, value in stats.items()} | {"target_img": [np.zeros(0)]}
    with counting_in_parts():
        found.process()
    return found


if __name__ == "__main__":
    leave(main(MergeRequest, work))
