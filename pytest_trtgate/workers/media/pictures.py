"""Job: small copies of images, for the report."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ...jobs import PicturesRequest, PicturesResponse, SmallPicture
from ...records import ENGINE_BYTES, read_bytes
from ..worker import PHASES, leave, main, progress

JPEG_QUALITY = 70


def work(request: PicturesRequest, folder: Path) -> PicturesResponse:
    """Write the small copies as JPEG, named by the content of their originals: equal images share one.

    Raises:
        OSError: The folder cannot be written.
    """
    import cv2
    import numpy as np

    PHASES.begin("work")
    output = Path(request.output)
    output.mkdir(parents=True, exist_ok=True)
    progress(f"making {len(request.images)} small pictures")
    found: dict[str, SmallPicture] = {}
    for path in request.images:
        try:
            content = read_bytes(Path(path), ENGINE_BYTES)
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        except (OSError, cv2.error) as error:
            print(f"{path}: {error}")
            continue
        if image is None:
            print(f"{path}: cannot be decoded")
            continue
        height, width = image.shape[:2]
        factor = min(1.0, request.side_px / max(width, height))
        size = max(1, round(width * factor)), max(1, round(height * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if factor < 1 else image
        data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
        name = f"{hashlib.sha256(content).hexdigest()[:16]}.jpg"
        (output / name).write_bytes(data)
        found[path] = SmallPicture(file=name, width=width, height=height)
    return PicturesResponse(pictures=found)


if __name__ == "__main__":
    leave(main(PicturesRequest, work))
