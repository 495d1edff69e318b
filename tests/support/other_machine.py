"""Another machine, for tests: a worker with a cache of its own, which sees no file of ours while it works."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_trtgate.fleet import FleetLauncher, Worker
from pytest_trtgate.jobs import (
    AccuracyArm,
    AccuracyRequest,
    ArmRequest,
    BuildRequest,
    ClipRequest,
    ExplainRequest,
    GivenRequest,
    JobKind,
    LatencyRequest,
    LayersRequest,
    MergeArm,
    MergeRequest,
    PicturesRequest,
    ProfileRequest,
    Request,
    SplitRequest,
    SurveyRequest,
    VideoRequest,
)
from pytest_trtgate.machine import Machine
from pytest_trtgate.records import AccuracySettings, Cell
from pytest_trtgate.settings import Latency, Sidecar


class OtherMachine:
    """A connection to a worker in this process. What it is told is copied, as on a network.

    Args:
        folder: Where the machine has its cache and its locks.
        hidden: A folder of ours that is not there while the worker works.
        more: Further arguments of the worker.
    """

    name = "other"

    def __init__(self, folder: Path, hidden: Path | None = None, **more: Any) -> None:
        self.worker = Worker(folder / "cache", machine=more.pop("machine", None) or Machine(locks=folder), **more)
        self.hidden = hidden
        self.asked: list[tuple[str, Any]] = []
        self.sent: list[bytes] = []
        self.dies_at: Callable[[str], bool] = lambda method: False
        self.ended = False
        self._threads = ThreadPoolExecutor(2)

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Have the worker run a method in a thread."""
        self.asked.append((method, arguments))
        return self._threads.submit(self._call, method, pickle.dumps(arguments))

    def _call(self, method: str, arguments: bytes) -> Any:
        if self.dies_at(method):
            raise ConnectionError("nobody there")
        if method != "work":
            return pickle.loads(pickle.dumps(getattr(self.worker, method)(*pickle.loads(arguments))))
        self.sent.append(pickle.loads(arguments)[0])
        with away(self.hidden):
            return self.worker.work(self.sent[-1])

    def why(self, error: BaseException) -> str:
        """Return why a call failed."""
        return f"ended ({error})"

    def end(self) -> None:
        """End the worker."""
        self.ended = True
        self._threads.shutdown()
        self.worker.close()


@contextmanager
def away(folder: Path | None) -> Iterator[None]:
    """Have a folder under another name for a while."""
    if folder is None:
        yield
        return
    elsewhere = folder.rename(folder.with_name(f"{folder.name}-away"))
    try:
        yield
    finally:
        elsewhere.rename(folder)


def launcher_to(machine: OtherMachine) -> FleetLauncher:
    """Return a launcher whose jobs a machine does."""
    return FleetLauncher(lambda: machine)


def requests_of_all_kinds(
    weights: Path, engine: Path, data: Path, clip: Path, output: Path, shared: Mapping[str, Any]
) -> dict[JobKind, Request[Any]]:
    """Return a request of each kind of job.

    Args:
        weights: A checkpoint, and beside it ``part.npz``, the per-image records of a part of an evaluation.
        engine: An engine of it.
        data: A resolved data YAML with the splits train and test, whose images lie below images/SPLIT beside it.
        clip: A video.
        output: A folder for all that is written.
        shared: ``imgsz`` and more of a cell, and the rules of a launch.
    """
    imgsz, rules = shared["imgsz"], Latency(**shared["rules"])
    images = tuple(str(image) for image in sorted((data.parent / "images" / "test").iterdir()))
    cell = Cell(model="tiny", precision="int8", imgsz=imgsz, batch=1, backend="onnxruntime", device="cpu")
    how = AccuracySettings(split="test", imgsz=imgsz, batch=1, conf=0.25, iou=0.7, max_det=300)
    build = BuildRequest(
        weights=str(weights),
        cell=cell,
        data=str(data),
        traced=str(output / "traced"),
        ranges=str(output / "ranges"),
        output=str(output / "engine"),
    )
    arms = {"pt": weights, "int8": engine}
    timed = tuple(ArmRequest(arm=arm, artifact=str(path), sha256="0" * 64) for arm, path in arms.items())
    evaluated = (
        AccuracyArm(arm=arm, artifact=str(path), per_image=str(output / arm / "per_image.npz"))
        for arm, path in arms.items()
    )
    merged = MergeArm(
        arm="pt",
        task="detect",
        parts=(str(weights.parent / "part.npz"),),
        per_image=str(output / "pt" / "merged.npz"),
    )
    launch = LatencyRequest(
        index=0,
        arms=timed,
        device="cpu",
        images=images,
        how=how,
        gated="end-to-end",
        rules=rules,
        samples_file=str(output / "samples.npz"),
    )
    splits = tuple(
        SplitRequest(name=name, images=tuple(map(str, sorted((data.parent / "images" / name).iterdir()))))
        for name in ("train", "test")
    )
    found = (
        build,
        LayersRequest(build=build.model_copy(update={"output": ""})),
        ExplainRequest(build=build.model_copy(update={"output": ""}), engine=str(engine), images=images, worst=1),
        AccuracyRequest(arms=tuple(evaluated), data=str(data), device="cpu", settings=how),
        MergeRequest(arms=(merged,)),
        launch,
        ProfileRequest(arm="int8", artifact=str(engine), device="cpu", runs=3),
        PicturesRequest(images=images, output=str(output / "pictures"), side_px=32),
        ClipRequest(clip=str(clip)),
        VideoRequest(launch=launch, clip=str(clip), frames=20, output=str(output / "video")),
        GivenRequest(
            file=str(engine),
            weights=str(weights),
            cell=cell,
            sidecar=Sidecar(),
            data=str(data),
            data_split="test",
            device="cpu",
            output=str(output / "given"),
        ),
        SurveyRequest(
            splits=splits, classes=2, sample=9, checkpoints={"tiny": str(weights)}, deployed=str(engine), threads=1
        ),
    )
    return {request.kind: request for request in found}
