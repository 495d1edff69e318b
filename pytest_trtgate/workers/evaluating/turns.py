"""Several arms in one pass over the images: each has a thread, and one thread runs at a time.

So Ultralytics' own loop takes each arm over the batches, and an arm that fails leaves the others alone. The arms take
turns at every batch; it is decoded once, while they still work on the batches before.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, islice
from typing import Any

from ...records import Phase

AHEAD = 2
"""Turns of batches that are decoded ahead, or more, so that each thread has an image."""


class Turns:
    """Lets the threads of some names run one at a time, round and round, and calls ``told`` as a turn begins.

    ``seconds``: how long the turns of each have taken together.
    """

    def __init__(self, names: list[str], told: Callable[[str], object]) -> None:
        self.seconds = dict.fromkeys(names, 0.0)
        self._told = told
        self._order = list(names)
        self._gates = {name: threading.Semaphore(0) for name in names}
        self._began = 0.0

    def begin(self) -> None:
        """Let the first run."""
        self._gates[self._order[0]].release()

    def wait(self, name: str) -> None:
        """Wait for the first turn."""
        self._gates[name].acquire()
        self._told(name)
        self._began = time.monotonic()

    def pass_on(self, name: str) -> None:
        """Let the next run, and wait for this one's next turn."""
        self._end(name, self._after(name))
        self.wait(name)

    def leave(self, name: str) -> None:
        """Let the next run, and take no more turns."""
        following = self._after(name)
        self._order.remove(name)
        self._end(name, following if self._order else None)

    def _after(self, name: str) -> str:
        return self._order[(self._order.index(name) + 1) % len(self._order)]

    def _end(self, name: str, following: str | None) -> None:
        self.seconds[name] += time.monotonic() - self._began
        if following is not None:
            self._gates[following].release()


class Batches:
    """Shares the batches of one dataloader among several arms, and holds a few at a time.

    An arm gets ``group`` batches in a turn, which ``threads`` threads decode. ``phase`` is told ``images`` as the arms
    begin to wait for images, and ``work`` once they have them. ``part``: which part of the turns these are, from 1,
    and of how many; each turn has the same images as without parts.

    Attributes:
        loader: The dataloader, once the first arm has made it.
    """

    def __init__(
        self,
        turns: Turns,
        phase: Callable[[Phase], None],
        group: int = 1,
        threads: int = 1,
        part: tuple[int, int] = (1, 1),
    ) -> None:
        self.loader: Any = None
        self.group = group
        self.part = part
        self._turns = turns
        self._phase = phase
        self._threads = threads
        self._decoded: queue.Queue[list[Future[Any]]] | None = None
        self._number = -1
        self._held: list[dict[str, Any]] = []
        self._broken: BaseException | None = None

    @property
    def numbers(self) -> range:
        """The numbers of the part's turns."""
        (part, parts), turns = self.part, -(-len(self.loader) // self.group)
        return range(turns * (part - 1) // parts, turns * part // parts)

    @property
    def batches(self) -> range:
        """The numbers of the part's batches."""
        numbers, count = self.numbers, len(self.loader)
        return range(min(numbers.start * self.group, count), min(numbers.stop * self.group, count))

    @property
    def images(self) -> slice:
        """The part's images, of those of a loader that does not shuffle."""
        size = self.loader.batch_size
        return slice(self.batches.start * size, self.batches.stop * size)

    def of(self, arm: str, whole: bool = False) -> ArmBatches:
        """Return the dataloader as an arm sees it; ``whole``: with the batches of a turn as one."""
        return ArmBatches(self, arm, whole and self.group > 1)

    def take(self, arm: str, number: int) -> list[dict[str, Any]]:
        """Wait for an arm's turn and return copies of its batches; raise what the decoding raised."""
        self._turns.pass_on(arm)
        if number > self._number:
            # Every arm has had its turn, and is done with the batches before.
            self._number, self._held = number, []
            for _ in range(min(self.group, self.batches.stop - number * self.group)):
                try:
                    self._held.append(self._next())
                except BaseException as error:  # for every arm to raise
                    self._broken = error
                    break
        if self._broken is not None:
            raise self._broken
        return [{key: _copy(value) for key, value in batch.items()} for batch in self._held]

    def _next(self) -> Any:
        self._phase("images")
        if self._decoded is None:
            # Only once all arms are loaded: other threads may not disturb the capture of a CUDA graph.
            busy = -(-self._threads // self.loader.batch_size)
            self._decoded = queue.Queue(max(AHEAD * self.group, busy))
            how = (self.loader, self.batches, self._decoded, self._threads)
            threading.Thread(target=_decode, args=how, daemon=True).start()
        batch = self.loader.collate_fn([image.result() for image in self._decoded.get()])
        self._phase("work")
        return batch


class ArmBatches:
    """A dataloader that shares its batches with the other arms."""

    def __init__(self, batches: Batches, arm: str, whole: bool) -> None:
        self._batches = batches
        self._arm = arm
        self._whole = whole

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches.loader, name)

    def __len__(self) -> int:
        return len(self._batches.numbers if self._whole else self._batches.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in self._batches.numbers:
            batches = self._batches.take(self._arm, number)
            yield from [_merged(batches)] if self._whole else batches


def _decode(loader: Any, batches: range, into: queue.Queue[list[Future[Any]]], threads: int) -> None:
    """Decode in threads instead of the loader's processes, which would be forks of a process that uses a GPU."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            for indices in islice(loader.batch_sampler, batches.start, batches.stop):
                into.put([pool.submit(loader.dataset.__getitem__, index) for index in indices])
        except BaseException as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            into.put([failed])


def _copy(value: Any) -> Any:
    """Return a copy of a tensor or a list, which an arm may change; anything else as it is."""
    return value.clone() if hasattr(value, "clone") else list(value) if isinstance(value, (list, tuple)) else value


def _merged(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several batches as one, as the dataset would have made it of all their images."""
    import torch

    whole: dict[str, Any] = {}
    for key in batches[0]:
        values = [batch[key] for batch in batches]
        if key == "batch_idx":  # the number of each object's image in its batch
            images = accumulate((len(batch["img"]) for batch in batches), initial=0)
            values = [value + first for value, first in zip(values, images, strict=False)]
        whole[key] = torch.cat(values) if hasattr(values[0], "clone") else [one for value in values for one in value]
    return whole
