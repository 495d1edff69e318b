"""The layouts of outputs that are known, told apart by their shapes.

N is the batch, C the number of classes, A the number of places at which a head looks (8400 at 640 pixels), K that of
detections which are kept. Pixels are those of the letterboxed input.

================ ================================================================================================
``raw``          N x (4 + C + E) x A: centre, width and height in pixels, scores 0 to 1, then what the task adds: E is
                 32 coefficients of masks (with a second output, N x 32 x H/4 x W/4), the numbers of key points (x and
                 y in pixels), or 1, the angle of a rotated box in radians
``transposed``   the same, N x A x (4 + C + E)
``end2end``      N x K x (6 + E): x1, y1, x2, y2 in pixels, score, class, and the same E; of a rotated box centre, width
                 and height
``efficientnms`` N x 1 (how many there are), N x K x 4 (x1, y1, x2, y2 in pixels), N x K (scores), N x K (classes)
``deepstream``   N x A x 6: x1, y1, x2, y2 in pixels, score, class, before any suppression; or as three outputs,
                 N x A x 4, N x A x 1 and N x A x 1
``classes``      N x C: scores of a classifier
================ ================================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from ...records import Layout, Task

if TYPE_CHECKING:
    import torch

Shape = tuple[int, ...]
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True)
class Expected:
    """What the outputs are to be of: a task, its classes, and an input of ``batch`` squares of ``imgsz`` pixels.

    ``decodes``: the head is a decoder, as RT-DETR's, whose boxes and scores come by place. ``said``: the layout that
    was named, for shapes that two have.
    """

    task: Task
    classes: int
    kpt_shape: tuple[int, ...]
    imgsz: int
    batch: int
    decodes: bool = False
    said: Layout | None = None

    @property
    def places(self) -> set[int]:
        """How many places a head may look at."""
        return {sum((self.imgsz // stride) ** 2 for stride in strides) for strides in _STRIDES}

    def extra(self, masks: int) -> int:
        """How many numbers the task adds to a box, given the number of masks' prototypes."""
        return {"segment": masks, "pose": prod(self.kpt_shape), "obb": 1}.get(self.task, 0)


def recognise(outputs: Mapping[str, Shape], of: Expected) -> tuple[Layout, tuple[str, ...]]:
    """Return the layout of outputs, and those that count, in its order.

    Raises:
        ValueError: They are of no known layout, or not of what is expected; the text says which.
    """
    shapes = {name: shape for name, shape in outputs.items() if shape[:1] == (of.batch,)}
    by_axes = {n: [name for name, shape in shapes.items() if len(shape) == n] for n in (2, 3, 4)}
    if of.task == "classify":
        scores = [name for name in by_axes[2] if shapes[name][1] == of.classes]
        if len(scores) == 1:
            return "classes", (scores[0],)
        raise ValueError(_unknown(outputs, f"a classifier of {of.classes} classes has {of.batch}x{of.classes}"))
    if of.task == "detect" and (found := _efficientnms(shapes, by_axes) or _in_three(shapes, by_axes, of)):
        return found
    masks = by_axes[4][0] if of.task == "segment" and by_axes[4] else ""
    extra = of.extra(shapes[masks][1] if masks else 32)
    for name in by_axes[3]:
        rows, columns = shapes[name][1:]
        names = (name, masks) if masks else (name,)
        if of.task == "segment" and not masks:
            raise ValueError(_unknown(outputs, "masks need a second output, of prototypes"))
        if of.decodes and columns == 4 + of.classes:
            return "raw", names
        if columns in of.places:
            if rows == 4 + of.classes + extra:
                return "raw", names
            has = rows - 4 - extra
            raise ValueError(f"its output {name} has {has} classes ({_sides(shapes[name])}), not {of.classes}")
        if rows in of.places and (may := _by_place(columns, extra, of)):
            if len(may) > 1 and of.said not in may:
                raise ValueError(
                    f"its output {name} ({_sides(shapes[name])}) may be a raw head of two classes that is transposed, "
                    f"or DeepStream-Yolo's boxes: say which by layout = {' or '.join(map(repr, may))}"
                )
            return next(layout for layout in may if of.said == layout or len(may) == 1), names
        if columns == 6 + extra:
            return "end2end", names
    known = f"{of.batch}x{4 + of.classes + extra}x{min(of.places)} or {of.batch}xKx{6 + extra}"
    raise ValueError(
        _unknown(outputs, f"of a {of.task} model it may be {known}, or others that the documentation names")
    )


def _by_place(columns: int, extra: int, of: Expected) -> list[Layout]:
    """Return the layouts that have so many numbers for each place that a head looks at."""
    numbers: dict[Layout, int] = {"transposed": 4 + of.classes + extra}
    if of.task == "detect":
        numbers["deepstream"] = 6
    return [layout for layout, count in numbers.items() if count == columns]


def _efficientnms(
    shapes: Mapping[str, Shape], by_axes: Mapping[int, list[str]]
) -> tuple[Layout, tuple[str, ...]] | None:
    boxes = [name for name in by_axes[3] if shapes[name][2] == 4]
    if len(shapes) != 4 or len(boxes) != 1:
        return None
    kept = shapes[boxes[0]][1]
    counts = [name for name in by_axes[2] if shapes[name][1] == 1]
    others = [name for name in by_axes[2] if shapes[name][1] == kept and name not in counts]
    scores = [name for name in others if "score" in name.lower()]
    classes = [name for name in others if name not in scores]
    if len(counts) != 1 or len(scores) != 1 or len(classes) != 1:
        return None
    return "efficientnms", (counts[0], boxes[0], scores[0], classes[0])


def _in_three(
    shapes: Mapping[str, Shape], by_axes: Mapping[int, list[str]], of: Expected
) -> tuple[Layout, tuple[str, ...]] | None:
    boxes = [name for name in by_axes[3] if shapes[name][2] == 4 and shapes[name][1] in of.places]
    ones = [name for name in by_axes[3] if shapes[name][2] == 1]
    scores = [name for name in ones if "score" in name.lower()]
    if len(shapes) != 3 or len(boxes) != 1 or len(ones) != 2 or len(scores) != 1:
        return None
    return "deepstream", (boxes[0], scores[0], *(name for name in ones if name not in scores))


def _unknown(outputs: Mapping[str, Shape], known: str) -> str:
    has = ", ".join(f"{name} {_sides(shape)}" for name, shape in outputs.items())
    return f"its outputs ({has}) are of no known layout: {known}"


def _sides(shape: Shape) -> str:
    return "x".join(map(str, shape))


def translate(layout: Layout, outputs: list[torch.Tensor], classes: int) -> Any:
    """Return outputs of a layout, in its order, as Ultralytics' own engines return theirs."""
    import torch

    if layout == "efficientnms":
        count, boxes, scores, labels = (output.float() for output in outputs)
        there = torch.arange(scores.shape[1], device=scores.device)[None] < count
        return [torch.cat([boxes, (scores * there)[..., None], labels[..., None]], -1)]
    if layout == "deepstream":
        boxes, scores, labels = outputs if len(outputs) == 3 else outputs[0].split((4, 1, 1), -1)
        sizes = boxes[..., 2:] - boxes[..., :2]
        each = torch.arange(classes, device=boxes.device, dtype=labels.dtype)
        by_class = scores * (labels == each).to(scores.dtype)
        return [torch.cat([boxes[..., :2] + sizes / 2, sizes, by_class], -1).transpose(1, 2)]
    if layout == "transposed":
        outputs[0] = outputs[0].transpose(1, 2)
    return outputs
