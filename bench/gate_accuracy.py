"""How often the limits of a drop in accuracy hold, and how often verdicts on it are wrong.

nice -n 10 python bench/gate_accuracy.py [--trials 150] [--seed 0]

Each world is a population of images with objects, of which a checkpoint finds most; its engine finds them differently.
A trial draws images from it and judges them as the gate does. What is true is the mean drop on a thousand images.
Classes are as frequent as each other, or the second half, third, ... as frequent as the first (to the power 1.2).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from machine import keep
from proportions import clopper_pearson

from pytest_trtgate.judge.accuracy.average_precision import IOUS, Array, ImageRecords, RankedArm, class_ap
from pytest_trtgate.judge.accuracy.bootstrap import Bootstrap, paired_bootstrap
from pytest_trtgate.judge.accuracy.parity import judge_parity
from pytest_trtgate.records import AccuracyRecord, AccuracySettings, Outcome

IMAGES, BLOCK = 12_000, 1000
SIZES = (100, 150, 300, 1000)
MOST_OF_FAULTS = 150
"""On more images, faults are not asked for."""
REPLICATES = 200
"""As few as the gate ever draws."""
METRICS = ("mAP50", "mAP50-95")
FEW_IMAGES = 5
"""Images of a class that has few."""
SETTINGS = AccuracySettings(split="test", imgsz=640, batch=1, conf=0.001, iou=0.7, max_det=300)


@dataclass(frozen=True)
class World:
    """A kind of engine.

    Attributes:
        shift: By how much its boxes overlap less, all of them.
        noise: Standard deviation of the change of overlaps and confidences.
        lost: Share of images of which it finds nothing.
        classes: How many there are.
        power: By which the frequency of classes falls with their rank.
        tolerance: Allowed drop, for the rates of the contract; 0 where they are not asked for.
    """

    name: str
    shift: float = 0.0
    noise: float = 0.0
    lost: float = 0.0
    classes: int = 5
    power: float = 0.0
    tolerance: float = 0.0


WORLDS = (
    World("small shifts of all images", shift=0.006, noise=0.01),
    World("1 % of images lose all boxes", lost=0.01, tolerance=0.003),
    World("both", shift=0.006, noise=0.01, lost=0.01),
    World("20 classes of unlike frequency, small shifts", shift=0.006, noise=0.01, classes=20, power=1.2),
    World("20 classes of unlike frequency, 1 % lose all", lost=0.01, classes=20, power=1.2),
    World("another build of the same engine", noise=0.0015, tolerance=0.001),
)
FAULTS = (
    World("FP32 that loses four times the tolerance", shift=0.002, noise=0.0015, tolerance=0.001),
    World("FP16 that loses three times the tolerance", shift=0.0045, noise=0.005, tolerance=0.003),
    World("INT8 that loses three times the tolerance", shift=0.0145, noise=0.02, tolerance=0.01),
    World("FP16 that loses half the tolerance", shift=0.0008, noise=0.005, tolerance=0.003),
)


@dataclass
class Rate:
    """How often something happened."""

    k: int = 0
    n: int = 0

    def add(self, happened: Any) -> None:
        """Count one case."""
        self.k, self.n = self.k + bool(happened), self.n + 1

    def percent(self) -> str:
        """Return the rate in percent, with 95 % limits: of independent cases, which classes of one trial are not."""
        low, high = clopper_pearson(self.k, self.n)
        return f"{100 * self.k / self.n:.1f} ({100 * low:.1f} to {100 * high:.1f})"


@dataclass
class Population:
    """The images of a world, and what both arms find of them; ``starts`` are the first rows of each image."""

    world: World
    arms: list[dict[str, Array]] = field(default_factory=list)
    starts: list[Array] = field(default_factory=list)

    @classmethod
    def of(cls, world: World, rng: np.random.Generator) -> Population:
        """Draw a population."""
        population = cls(world)
        image = np.repeat(np.arange(IMAGES), 1 + rng.poisson(2, IMAGES))
        frequency = 1 / np.arange(1, world.classes + 1) ** world.power
        number = rng.choice(world.classes, len(image), p=frequency / frequency.sum())
        ease = 0.6 * rng.normal(size=IMAGES)[image] + 0.8 * rng.normal(size=len(image))
        false = np.repeat(np.arange(IMAGES), rng.poisson(4, IMAGES))
        found = rng.random(len(image)) < 0.93
        # Overlap and confidence of each detection: true ones first, then false ones, whose overlap is none.
        overlap = np.concatenate([_from_0_to_1(1.6 + ease[found]), np.full(len(false), -1.0)])
        sure = _from_0_to_1(1.2 + ease[found] + rng.normal(0, 0.7, found.sum()))
        sure = np.concatenate([sure, rng.beta(1, 5, len(false))])
        where = np.concatenate([image[found], false])
        what = np.concatenate([number[found], rng.choice(world.classes, len(false), p=frequency / frequency.sum())])
        lost = (rng.random(IMAGES) < world.lost)[where]
        changes = rng.normal(0, world.noise, (2, len(where)))
        for kept, boxes, scores in (
            (np.ones(len(where), dtype=bool), overlap, sure),
            (~lost, overlap - world.shift + changes[0], np.clip(sure + changes[1], 0, 1)),
        ):
            rows = np.flatnonzero(kept)[np.argsort(where[kept], kind="stable")]
            tp = boxes[rows, None] >= np.linspace(0.5, 0.95, IOUS)
            population.arms.append({"tp": tp, "conf": scores[rows], "pred_cls": what[rows], "pred_image": where[rows]})
            population.starts.append(np.searchsorted(where[rows], np.arange(IMAGES + 1)))
        population.arms.append({"target_cls": number, "target_image": image})
        population.starts.append(np.searchsorted(image, np.arange(IMAGES + 1)))
        return population

    def of_images(self, chosen: Array) -> list[RankedArm]:
        """Return both arms on some images, any of them more than once."""
        parts = []
        for arm, starts in zip(self.arms, self.starts, strict=True):
            first, last = starts[chosen], starts[chosen + 1]
            ends = np.cumsum(last - first)
            rows = np.arange(ends[-1]) + np.repeat(last - ends, last - first)
            image = np.repeat(np.arange(len(chosen)), last - first)
            parts.append({name: image if name.endswith("image") else x[rows] for name, x in arm.items()})
        return [RankedArm.of(ImageRecords(**part, **parts[2])) for part in parts[:2]]

    def true_drops(self) -> tuple[dict[str, float], dict[int, float]]:
        """Return the mean drop on a thousand images: of the metrics, and of each class in mAP50-95."""
        blocks: list[Array] = []
        classes: dict[int, list[float]] = {}
        for chosen in np.arange(IMAGES).reshape(-1, BLOCK):
            arms = self.of_images(chosen)
            ap = np.array([[class_ap(c, np.ones((BLOCK, 1)))[:, 0] for c in arm.classes] for arm in arms])
            fell = ap[0] - ap[1]
            blocks.append([fell[:, 0].mean(), fell.mean()])
            for number, drop in zip(arms[0].numbers.tolist(), fell.mean(axis=1).tolist(), strict=True):
                classes.setdefault(number, []).append(drop)
        means = np.mean(blocks, axis=0).tolist()
        return dict(zip(METRICS, means, strict=True)), {c: float(np.mean(x)) for c, x in classes.items()}


def _from_0_to_1(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def trials(population: Population, images: int, count: int, rng: np.random.Generator) -> Iterator[Bootstrap]:
    """Yield what the gate's bootstrap says of some images, again and again."""
    for _ in range(count):
        arms = population.of_images(rng.integers(IMAGES, size=images))
        seed = int(rng.integers(2**31))
        yield paired_bootstrap(arms[0], arms[1], images, replicates=REPLICATES, seed=seed, threads=1)


def verdict(comparison: Bootstrap, tolerances: dict[str, float], **how: Any) -> Outcome:
    """Return what the gate says of a cell: the worst of its checks."""
    arms = [
        AccuracyRecord(
            model="m",
            arm=arm,
            settings=SETTINGS,
            images=comparison.images,
            instances=1,
            metrics={name: getattr(drop, which) for name, drop in comparison.metrics.items()},
            classes=(),
            per_image="",
            seconds=0,
        )
        for arm, which in (("pt", "reference"), ("engine", "engine"))
    ]
    found = {check.outcome for check in judge_parity(arms[0], arms[1], tolerances, comparison, **how)}
    return next((x for x in (Outcome.FAIL, Outcome.INCONCLUSIVE) if x in found), Outcome.PASS)


def row(population: Population, images: int, count: int, rng: np.random.Generator) -> dict[str, Any]:
    """Return the rates of one world at one number of images."""
    truth, of_classes = population.true_drops()
    rates: dict[str, Rate] = {}

    def add(name: str, happened: Any) -> None:
        rates.setdefault(name, Rate()).add(happened)

    drops, widths = [], []
    for found in trials(population, images, count, rng):
        for name, drop in found.metrics.items():
            add(f"{name}: upper limit holds", drop.upper >= truth[name])
            # Of an engine that gained, it is right that the limit is not over 0: no tolerance is under 0.
            add(f"{name}: lower limit holds", drop.lower <= max(0.0, truth[name]))
        for c in found.classes:
            size = f"at most {FEW_IMAGES}" if c.images <= FEW_IMAGES else f"over {FEW_IMAGES}"
            add(f"classes in {size} images: upper limit holds", c.change.upper >= of_classes[c.cls])
            add(f"classes in {size} images: interval holds", _within(of_classes[c.cls], c.change.interval))
        in_population = verdict(found, {name: max(0.0, x) for name, x in truth.items()}, population=True)
        add("population: PASS where the true drop is what is allowed", in_population is Outcome.PASS)
        add("population: FAIL where the true drop is what is allowed", in_population is Outcome.FAIL)
        if tolerance := population.world.tolerance:
            asked = dict.fromkeys(METRICS, tolerance)
            add("contract: FAIL by the drop alone", verdict(found, asked) is Outcome.FAIL)
            add("contract: FAIL that is confirmed", verdict(found, asked, confirm_below=images + 1) is Outcome.FAIL)
        drops.append(found.metrics["mAP50-95"].drop)
        widths.append(found.metrics["mAP50-95"].upper - drops[-1])
    return {
        "world": population.world.name,
        "images": images,
        "trials": count,
        "true_drop": {name: round(x, 5) for name, x in truth.items()},
        "spread_of_drops": round(float(np.std(drops)), 5),
        "upper_limit_over_drop": round(float(np.mean(widths)), 5),
        "percent": {name: rate.percent() for name, rate in rates.items()},
    }


def _within(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]


def main() -> None:
    """Judge, print the rates and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=150, help="Of each world and number of images, two thirds of 1000 (default: 150)"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="Numbers of images")
    parser.add_argument("--only", help="Worlds with this in their names; keeps no figures")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    started, rows = time.process_time(), []
    for world in (*WORLDS, *FAULTS):
        if given.only and given.only not in world.name:
            continue
        population = Population.of(world, np.random.default_rng(given.seed))
        for images in given.sizes:
            if world in FAULTS and images > MOST_OF_FAULTS:
                continue
            count = given.trials * 2 // 3 if images >= BLOCK else given.trials
            rows.append(row(population, images, count, np.random.default_rng([given.seed, images])))
            print(rows[-1], flush=True)
    figures = {"replicates": REPLICATES, "seed": given.seed}
    figures |= {"processor_seconds": round(time.process_time() - started), "rows": rows}
    if not given.only:
        keep("gate_accuracy", figures)


if __name__ == "__main__":
    main()
