"""All that a page shows of pictures and videos, by the anchors of its runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...records import RunRecord
from ..media import Media
from .pictures_view import CellPicturesView, Sprite, picture_views
from .video_view import VideoView, video_views


@dataclass(frozen=True)
class MediaView:
    """Images that drawings refer to; pictures by the anchor of a run and the key of a cell; videos by the former."""

    sprites: tuple[Sprite, ...]
    pictures: dict[tuple[str, str], CellPicturesView]
    videos: dict[str, tuple[VideoView, ...]]


def media_view(runs: Sequence[RunRecord], media: Sequence[Media], anchors: Sequence[str], room_bytes: int) -> MediaView:
    """Return what a page shows of pictures and videos; the pictures may add ``room_bytes`` to it.

    ``media`` is what lies beside each run, and empty where that is not known.
    """
    sprites, pictures = picture_views(runs, media, room_bytes)
    return MediaView(
        sprites=sprites,
        pictures={(anchors[number], key): view for (number, key), view in pictures.items()},
        videos={
            anchor: video_views(run, media[number] if media else None)
            for number, (anchor, run) in enumerate(zip(anchors, runs, strict=True))
        },
    )
