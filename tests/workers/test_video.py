"""A damaged clip, of which each decoding gives another number of frames, is said to be damaged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_trtgate.errors import DataError
from pytest_trtgate.workers.media import video

REQUEST: Any = SimpleNamespace(clip="a.mp4", frames=100, launch=SimpleNamespace(seed=0))
DAMAGED = "^a.mp4: decoding it twice gave different numbers of frames; it is damaged$"


class Frames:
    """Stands for a viewer and for a decoder of a clip with so many frames."""

    def __init__(self, count: int) -> None:
        self.left = count

    def step(self) -> int:
        taken = min(self.left, 2)
        self.left -= taken
        return taken

    def read(self) -> tuple[bool, object]:
        self.left -= 1
        return self.left >= 0, object()

    def release(self) -> None:
        self.left = 0


def measure(*counts: int) -> int:
    viewers: Any = [Frames(count) for count in counts]
    return video._measure(viewers, REQUEST, "a.mp4")


@pytest.mark.parametrize("counts", [(4, 8, 8), (8, 4, 8), (8, 8, 4)])
def test_a_clip_that_ends_early_for_one_arm_whichever_is_damaged(counts: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match=DAMAGED):
        measure(*counts)


@pytest.mark.parametrize(("count", "taken"), [(5, 5), (200, 100)])
def test_a_sound_clip_is_taken_to_its_end_or_to_the_most_frames_allowed(count: int, taken: int) -> None:
    assert measure(count, count) == taken


def test_a_clip_that_ends_early_when_it_is_drawn_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "open_clip", lambda path: Frames(3))
    assert len(list(video._frames("a.mp4", 3))) == 3
    with pytest.raises(DataError, match=DAMAGED):
        list(video._frames("a.mp4", 4))
