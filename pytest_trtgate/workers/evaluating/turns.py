"""Several arms in one pass over the images: each in a thread of its own, of which one runs at a time.

So the loop that takes an arm over the batches stays Ultralytics' own, and an arm that fails leaves the others alone.
The arms take turns at every batch, which is decoded once, while they still work on those before.
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
"""Turns' worth of batches that are decoded before they are wanted, or enough for each thread to have an image."""


class Turns:
    """Lets one of several threads run at a time, in a fixed order that begins again.

    Args:
        names: The threads' names, in their order.
        told: Called with a name as its turn begins.

    Attributes:
        seconds: How long the turns of each have taken together.
    """

    def __init__(self, names: list[str], told: Callable[[str], None]) -> None:
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
        """Let the next run, and wait until it is one's own turn again."""
        self._end(name, self._after(name))
        self.wait(name)

    def leave(self, name: str) -> None:
        """Let the next run, and all later turns be those of the others."""
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
    """The batches of one dataloader for several arms; no more than a few are held at a time.

    Args:
        turns: The turns that the arms take.
        group: How many batches an arm gets in a turn.
        threads: How many images are decoded at a time.
        phase: Told ``images`` where the arms begin to wait for images, and ``work`` once they have them.

    Attributes:
        loader: The dataloader, once the first arm has made it.
        unreadable: Images that are left out, since they or their labels are damaged.
    """

    def __init__(self, turns: Turns, phase: Callable[[Phase], None], group: int = 1, threads: int = 1) -> None:
        self.loader: Any = None
        self.unreadable: tuple[str, ...] = ()
        self.group = group
        self._turns = turns
        self._phase = phase
        self._threads = threads
        self._decoded: queue.Queue[list[Future[Any]]] | None = None
        self._number = -1
        self._held: list[dict[str, Any]] = []
        self._broken: BaseException | None = None

    def of(self, arm: str, whole: bool = False) -> ArmBatches:
        """Return the dataloader as an arm sees it; ``whole``: it takes the batches of a turn as one."""
        return ArmBatches(self, arm, whole and self.group > 1)

    def take(self, arm: str, number: int) -> list[dict[str, Any]]:
        """Return copies of the batches of a turn for an arm, once it has it; raises what the decoding of one raised."""
        self._turns.pass_on(arm)
        if number > self._number:
            # Every arm is done with the batches before, since each has had its turn.
            self._number, self._held = number, []
            for _ in range(min(self.group, len(self.loader) - number * self.group)):
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
            # Not before all arms are loaded: a CUDA graph is captured then, which other threads may not disturb.
            busy = -(-self._threads // self.loader.batch_size)
            self._decoded = queue.Queue(max(AHEAD * self.group, busy))
            how = (self.loader, self._decoded, self._threads)
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

    @property
    def _turns(self) -> int:
        return -(-len(self._batches.loader) // self._batches.group)

    def __len__(self) -> int:
        return self._turns if self._whole else len(self._batches.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in range(self._turns):
            batches = self._batches.take(self._arm, number)
            yield from [_merged(batches)] if self._whole else batches


def _decode(loader: Any, into: queue.Queue[list[Future[Any]]], threads: int) -> None:
    """Decode in threads, in place of the loader's processes: those would be forks of one that uses a GPU."""
    with ThreadPoolExecutor(threads) as pool:
        try:
            for indices in islice(loader.batch_sampler, len(loader)):
                into.put([pool.submit(loader.dataset.__getitem__, index) for index in indices])
        except BaseException as error:
            failed: Future[Any] = Future()
            failed.set_exception(error)
            into.put([failed])


def _copy(value: Any) -> Any:
    """Return a value that an arm may change: a tensor or a list of its own, anything else as it is."""
    return value.clone() if hasattr(value, "clone") else list(value) if isinstance(value, (list, tuple)) else value


def _merged(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several batches as one: what the dataset would have made of all their images."""
    import torch

    whole: dict[str, Any] = {}
    for key in batches[0]:
        values = [batch[key] for batch in batches]
        if key == "batch_idx":  # the number of each object's image in its batch
            images = accumulate((len(batch["img"]) for batch in batches), initial=0)
            values = [value + first for value, first in zip(values, images, strict=False)]
        whole[key] = torch.cat(values) if hasattr(values[0], "clone") else [one for value in values for one in value]
    return whole
