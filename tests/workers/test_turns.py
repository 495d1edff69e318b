"""Several arms in one pass: who runs when, what is held meanwhile, and what becomes of the others where one fails."""

from __future__ import annotations

import gc
import sys
import threading
import types
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from pytest_trtgate import workers
from pytest_trtgate.jobs.contract import AccuracyArm, AccuracyRequest, ArmAccuracy
from pytest_trtgate.records.accuracy import AccuracySettings
from pytest_trtgate.workers.evaluating import accuracy
from pytest_trtgate.workers.evaluating.turns import AHEAD, Batches, Turns

HOW = AccuracySettings(split="test", imgsz=64, batch=1, conf=0.001, iou=0.7, max_det=300)


class Images:
    """Stands for the tensor of a batch: counts how many of its kind there are."""

    alive = 0
    most = 0

    def __init__(self) -> None:
        Images.alive += 1
        Images.most = max(Images.most, Images.alive)

    def __del__(self) -> None:
        Images.alive -= 1


class Loader:
    """A dataloader of some batches that counts how often each is decoded."""

    def __init__(self, count: int, broken: int = -1, together: int = 1) -> None:
        self.count = count
        self.broken = broken
        self.together = threading.Barrier(together)
        self.decoded: list[int] = []
        self.dataset = self
        self.batch_size = 1
        # As Ultralytics' own, it has no end.
        self.batch_sampler = cycle([index] for index in range(count))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Any]:
        self.together.wait(timeout=10)
        if number == self.broken:
            raise OSError("truncated file")
        self.decoded.append(number)
        return {"number": number, "files": [f"{number}.png"], "img": Images()}

    @staticmethod
    def collate_fn(images: list[dict[str, Any]]) -> dict[str, Any]:
        (batch,) = images
        return batch


def evaluate(
    loader: Loader,
    arms: dict[str, int],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    device: str = "0",
    threads: int = 1,
) -> dict[str, Any]:
    """Evaluate arms, of which each gives up at the batch of its number; return the response and who saw which batch."""
    seen: list[tuple[str, int]] = []

    def one(request: AccuracyRequest, arm: AccuracyArm, folder: Path, batches: Batches) -> ArmAccuracy:
        batches.loader = batches.loader or loader
        for batch in batches.of(arm.arm):
            seen.append((arm.arm, batch["number"]))
            batch["files"].append(arm.arm)
            assert batch["files"] == [f"{batch['number']}.png", arm.arm]
            if batch["number"] == arms[arm.arm]:
                raise ERRORS.get(arm.arm, ValueError)("it broke")
            del batch
        return ArmAccuracy(images=len(loader), instances=0, metrics={}, classes=())

    yolo = types.SimpleNamespace(isolate=lambda threads: None)
    monkeypatch.setitem(sys.modules, "pytest_trtgate.workers.yolo", yolo)
    monkeypatch.setattr(workers, "yolo", yolo, raising=False)
    monkeypatch.setattr(accuracy, "_evaluate", one)
    asked = tuple(AccuracyArm(arm=arm, artifact=f"{arm}.pt", per_image="") for arm in arms)
    request = AccuracyRequest(arms=asked, data="", device=device, threads=threads, settings=HOW)
    return {"response": accuracy.work(request, folder), "seen": seen}


ERRORS: dict[str, Callable[[str], BaseException]] = {"hungry": MemoryError}


def test_arms_take_turns_at_every_batch_which_is_decoded_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loader = Loader(3)
    found = evaluate(loader, {"pt": -1, "fp16": -1}, monkeypatch, tmp_path)
    assert found["seen"] == [("pt", 0), ("fp16", 0), ("pt", 1), ("fp16", 1), ("pt", 2), ("fp16", 2)]
    assert loader.decoded == [0, 1, 2]
    assert list(found["response"].arms) == ["pt", "fp16"]


def test_as_many_batches_as_there_are_threads_are_decoded_at_a_time_and_come_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = evaluate(Loader(9, together=3), {"pt": -1, "fp16": -1}, monkeypatch, tmp_path, threads=3)
    assert [number for arm, number in found["seen"] if arm == "fp16"] == list(range(9))
    assert not found["response"].failures


def test_on_a_cpu_arms_get_eight_images_in_a_turn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = evaluate(Loader(10), {"pt": -1, "fp16": -1}, monkeypatch, tmp_path, "cpu")["seen"]
    turns = [*[("pt", n) for n in range(8)], *[("fp16", n) for n in range(8)], ("pt", 8), ("pt", 9)]
    assert seen == [*turns, ("fp16", 8), ("fp16", 9)]


def test_a_checkpoint_gets_as_many_images_alone_as_in_company_unless_memory_is_to_be_spared() -> None:
    arms = tuple(AccuracyArm(arm=arm, artifact="", per_image="") for arm in ("pt", "int8"))
    asked = AccuracyRequest(arms=arms, data="", device="cpu", threads=1, settings=HOW)
    alone = asked.model_copy(update={"arms": arms[:1]})
    assert accuracy._group(asked) == accuracy._group(alone) == 8
    assert accuracy._group(alone.model_copy(update={"sparing": True})) == 1
    assert accuracy._group(asked.model_copy(update={"device": "0"})) == 1


def test_an_arm_that_fails_leaves_the_others_every_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = evaluate(Loader(4), {"pt": -1, "fp16": 1, "int8": -1}, monkeypatch, tmp_path)
    assert found["response"].failures == {"fp16": "ValueError: it broke"}
    assert [number for arm, number in found["seen"] if arm == "int8"] == [0, 1, 2, 3]
    assert list(found["response"].arms) == ["pt", "int8"]


def test_images_that_cannot_be_decoded_fail_every_arm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = evaluate(Loader(4, broken=2), {"pt": -1, "fp16": 1, "int8": -1}, monkeypatch, tmp_path)
    assert set(found["response"].failures) == {"pt", "fp16", "int8"}
    assert found["response"].failures["int8"] == "OSError: truncated file"


def test_no_more_than_a_few_batches_are_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gc.collect()
    before = Images.alive
    Images.most = before
    evaluate(Loader(50), {"pt": -1, "fp16": -1}, monkeypatch, tmp_path)
    assert Images.most - before <= AHEAD + 3


def test_memory_that_runs_out_ends_the_job_at_the_arm_that_asked_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(MemoryError):
        evaluate(Loader(4), {"pt": -1, "hungry": 1, "int8": -1}, monkeypatch, tmp_path)
    assert (tmp_path / "arm.txt").read_text().strip() == "hungry"


def test_the_time_of_each_arm_is_that_of_its_turns() -> None:
    told: list[str] = []
    turns = Turns(["a", "b"], told.append)

    def take(name: str) -> None:
        turns.wait(name)
        turns.pass_on(name)
        turns.leave(name)

    threads = [threading.Thread(target=take, args=(name,)) for name in ("b", "a")]
    for thread in threads:
        thread.start()
    turns.begin()
    for thread in threads:
        thread.join(timeout=10)
    assert told == ["a", "b", "a", "b"]
    assert all(0 < seconds < 5 for seconds in turns.seconds.values())
