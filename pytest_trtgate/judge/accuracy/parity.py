"""Accuracy: an engine against the checkpoint of the same run, and against what was accepted before."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ...machine import differences, instructions_text
from ...records import PRIMARY, Accepted, AccuracyRecord, AccuracySettings, Cell, Check, Environment, Outcome

if TYPE_CHECKING:
    from .bootstrap import Bootstrap, Drop

ROUNDING = 1e-9
"""Room for the rounding of a subtraction: a drop of exactly the tolerance passes."""
BASELINE = "the baseline"
AGAIN = "evaluate as then, or accept this accuracy in its place"
FINDS_NOTHING = (
    "the .pt itself finds nothing: all its metrics are 0, so there is nothing to compare; look at its weights, at the "
    "classes of the data, and at imgsz"
)


def judge_parity(
    reference: AccuracyRecord,
    engine: AccuracyRecord,
    tolerances: Mapping[str, float],
    comparison: Bootstrap | None = None,
    *,
    population: bool = False,
    confirm_below: int = 0,
) -> list[Check]:
    """Judge the drop of each gated metric from the ``.pt`` to an engine, on the same images.

    Args:
        reference: The checkpoint's accuracy.
        engine: The engine's accuracy.
        tolerances: Largest allowed drop per metric, from 0 to 1.
        comparison: The bootstrap over these images, for the intervals of the metrics that it covers.
        population: Whether those metrics are judged by its limits, in the population that the images come from, and
            not on the images themselves. All others always are judged on the images.
        confirm_below: On fewer images, a drop over its tolerance fails only where its lower limit is over 0.

    Returns:
        One check per metric of ``tolerances``.
    """
    if mismatch := _mismatch(reference, engine):
        return [Check(name="settings", against="pt", outcome=Outcome.ERROR, sentence=f"{engine.arm}{mismatch}")]
    images = f"{engine.images} images"
    if engine.unreadable:
        images += f" ({len(engine.unreadable)} more left out)"
    checks = []
    for metric, limit in tolerances.items():
        drop = comparison.metrics.get(metric) if comparison else None
        limits = _limits(drop, population) if drop else None
        context = ", ".join([images, limits.sentence] if limits else [images])
        beside = _Beside(engine.arm, "pt", context + _worst_class(metric, reference, engine, comparison))
        check = beside.judge(metric, reference.metrics.get(metric), engine.metrics.get(metric), limit)
        if check.outcome is Outcome.FAIL and finds_nothing(reference):
            check = check.model_copy(update={"sentence": f"{engine.arm}: {FINDS_NOTHING}"})
        elif drop and limits:
            check = check.model_copy(update={"low": limits.low, "high": limits.high})
            if population and check.change is not None and not _is_vain(check.reference, limit):
                check = beside.in_population(check, check.change, drop.outcome(limit))
            # A drop that the records of the images do not show at all is none of theirs to doubt.
            elif check.outcome is Outcome.FAIL and engine.images < confirm_below and drop.drop > limit:
                check = confirmed(check, drop.lower, drop.upper)
        checks.append(check)
    return checks


def confirmed(check: Check, lower: float, upper: float) -> Check:
    """Return a failed check, or one that is INCONCLUSIVE where its drop may be none.

    Args:
        check: The check, on few images.
        lower: One-sided 95 % lower limit of its drop.
        upper: The upper one.
    """
    if lower > 0:
        return check
    sentence = (
        f"{check.sentence}; so few images cannot tell that from no drop, since its one-sided 95 % lower limit is "
        f"{_four_digits(lower)}: evaluate on more images, or set accuracy.confirm_below = 0 to have it fail"
    )
    decided = {"outcome": Outcome.INCONCLUSIVE, "low": lower, "high": upper, "sentence": sentence}
    return check.model_copy(update=decided)


def of_builds(checks: Iterable[Check], builds: Sequence[AccuracyRecord]) -> list[Check]:
    """Return checks of an engine that say how far its builds differ, and that fail only where all builds do.

    Args:
        checks: Drops of the engine's metrics.
        builds: Further builds of the same engine, evaluated on the same images.
    """
    return [_of_builds(check, builds) if builds and check.unit == "points" else check for check in checks]


def _of_builds(check: Check, builds: Sequence[AccuracyRecord]) -> Check:
    if check.value is None or not check.reference or check.limit is None:
        return check
    values = [check.value, *(build.metrics.get(check.name, math.nan) for build in builds)]
    fell = sum(not check.reference - value <= check.limit + ROUNDING for value in values)
    low, high = min(values), max(values)
    said = f"{len(values)} builds differ by {high - low:.4f} ({low:.4f} to {high:.4f})"
    said += f", {fell or 'none'} of them lost more than is allowed"
    unsure = check.outcome is Outcome.FAIL and fell < len(values)
    if unsure:
        said += ": allow for what builds differ by, or use the build that is good everywhere"
    outcome = Outcome.INCONCLUSIVE if unsure else check.outcome
    return check.model_copy(update={"outcome": outcome, "sentence": f"{check.sentence}; {said}"})


def _mismatch(reference: AccuracyRecord, engine: AccuracyRecord) -> str:
    """Return why two arms cannot be compared, as the end of a sentence; empty where they can be."""
    if reference.settings != engine.settings or reference.images != engine.images:
        return f" and the .pt were evaluated differently: {engine.settings} and {reference.settings}"
    if engine.head != "nms-in-engine" and None not in (reference.head, engine.head) and reference.head != engine.head:
        return f": the engine is built for {engine.head}, the .pt was evaluated with {reference.head}"
    return ""


def finds_nothing(reference: AccuracyRecord) -> bool:
    """Return whether all metrics of a checkpoint are 0."""
    return not any(reference.metrics.values())


def _is_vain(reference: float | None, limit: float) -> bool:
    """Return whether an engine could lose all of a metric and still pass, where that was not asked for by a 1."""
    return not reference or reference <= limit < 1


class _Limits(NamedTuple):
    low: float
    high: float
    sentence: str


def _limits(drop: Drop, population: bool) -> _Limits:
    low, high = drop.interval
    # Of an engine that gained, the sentence speaks of a rise, while limits are of the drop.
    of_what = "95 % interval" if drop.drop >= 0 else "95 % interval of the drop"
    said = f"{of_what} {_four_digits(low)} to {_four_digits(high)}"
    if population:
        said += f", one-sided 95 % limits {_four_digits(drop.lower)} and {_four_digits(drop.upper)}"
        return _Limits(drop.lower, drop.upper, said)
    return _Limits(low, high, said)


def _four_digits(value: float) -> str:
    """Return a value with four digits, without a sign where that rounds to 0."""
    return f"{round(value, 4) + 0.0:.4f}"


def judge_accepted(
    baseline: Accepted, reference: AccuracyRecord, engine: AccuracyRecord, tolerances: Mapping[str, float]
) -> list[Check]:
    """Judge the drop of each gated metric since the baseline, where both saw the same images in the same way.

    A failure says what the ``.pt`` did meanwhile: an engine may follow its checkpoint.
    """
    checks = judge_since(baseline.accuracy, baseline.accuracy_settings, baseline.data_digest, engine, tolerances)
    return [_beside(check, baseline.reference_accuracy, reference.metrics) for check in checks]


def of_other_runtime(checks: list[Check], cell: Cell, then: Environment, now: Environment) -> list[Check]:
    """Return checks since a baseline that name what of the machine or the runtime is another now; as below."""
    named = "; ".join(differences(now, then, timed=False))
    told = [c if c.value is None or not named else _and(c, f"measured elsewhere: {named}") for c in checks]
    return of_other_instructions(told, cell, then, now)


def _and(check: Check, said: str) -> Check:
    return check.model_copy(update={"sentence": f"{check.sentence}; {said}"})


def of_other_instructions(checks: list[Check], cell: Cell, then: Environment, now: Environment) -> list[Check]:
    """Return checks since an earlier run that say where its INT8 was computed with other instructions of the CPU.

    Args:
        checks: What an accuracy was judged by.
        cell: Its cell.
        then: The machine of the earlier run.
        now: This machine.
    """
    known = None not in (then.instructions, now.instructions)
    if cell.precision != "int8" or cell.backend != "onnxruntime" or not known or then.instructions == now.instructions:
        return checks
    both = f"{instructions_text(then.instructions)}, here {instructions_text(now.instructions)}"
    said = f"it was measured with other CPU instructions ({both}), on which INT8 of ONNX Runtime depends"
    return [c if c.value is None else _and(c, said) for c in checks]


def _beside(check: Check, before: Mapping[str, float], now: Mapping[str, float]) -> Check:
    if check.outcome is not Outcome.FAIL or check.name not in before or check.name not in now:
        return check
    moved = _moved(before[check.name] - now[check.name])
    return check.model_copy(update={"sentence": f"{check.sentence}; the .pt itself {moved}"})


def judge_since(
    before: Mapping[str, float],
    settings: AccuracySettings | None,
    data_digest: str,
    engine: AccuracyRecord,
    tolerances: Mapping[str, float],
    name: str = BASELINE,
) -> list[Check]:
    """Judge the drop of each gated metric since an earlier run, where both saw the same images in the same way.

    Args:
        before: The metrics of the earlier run.
        settings: What that was evaluated with.
        data_digest: Of the images and labels that it was evaluated on.
        engine: The engine's accuracy now.
        tolerances: Largest allowed drop per metric, from 0 to 1.
        name: What the sentences call the earlier run.

    Returns:
        One check per metric; one that is INCOMPATIBLE for what cannot be compared.
    """
    if (settings, data_digest) != (engine.settings, engine.data_digest):
        changed = "images or labels differ"
        if data_digest == engine.data_digest:
            changed = "evaluation settings differ"
            changed += f" ({'; '.join(engine.settings.differing(settings))})" if settings else ""
        return [_incompatible(engine, name, f"whose {changed}")]
    beside = _Beside(engine.arm, "baseline", f"{engine.images} images", f" since {name}")
    checks = [
        beside.judge(metric, before.get(metric), engine.metrics.get(metric), limit)
        for metric, limit in tolerances.items()
        if metric in before
    ]
    if missing := ", ".join(metric for metric in tolerances if metric not in before):
        checks.append(_incompatible(engine, name, f"which has no {missing}"))
    return checks


def _incompatible(engine: AccuracyRecord, name: str, why: str) -> Check:
    sentence = f"{engine.arm}: accuracy is incompatible with {name}, {why}"
    sentence += f": {AGAIN}" if name == BASELINE else ""
    return Check(name="baseline", against="baseline", outcome=Outcome.INCOMPATIBLE, sentence=sentence)


class _Beside(NamedTuple):
    """What an engine is compared with, and what the sentences say of it."""

    arm: str
    against: str
    context: str
    since: str = ""

    def judge(self, metric: str, reference: float | None, value: float | None, limit: float) -> Check:
        """Judge the drop of one metric on the images themselves."""
        if reference is None or value is None or not (math.isfinite(reference) and math.isfinite(value)):
            sentence = f"{self.arm}: {metric} was not measured ({reference} -> {value})"
            return Check(name=metric, against=self.against, limit=limit, outcome=Outcome.ERROR, sentence=sentence)
        drop = reference - value
        # Four digits, and as many more as it takes to tell the drop from its limit.
        digits = next((n for n in range(4, 9) if f"{drop:.{n}f}" != f"{limit:.{n}f}"), 4)
        numbers = f"{self.since} ({reference:.4f} -> {value:.4f})"
        outcome = Outcome.FAIL
        if self.against == "pt" and reference == 0:
            said = f"the .pt itself has {metric} 0, so there is nothing to compare"
        elif self.against == "pt" and _is_vain(reference, limit):
            outcome = Outcome.INCONCLUSIVE
            said = (
                f"{metric} {_moved(drop)}{numbers}, and even an engine that finds nothing would lose no more than the "
                f"{limit:.{digits}f} allowed: look at weights, data and imgsz, or allow less"
            )
        elif drop > limit + ROUNDING:
            said = f"{metric} fell {drop:.{digits}f}{numbers}, more than {limit:.{digits}f} allowed"
        else:
            outcome = Outcome.PASS
            said = f"{metric} {_moved(drop)}{numbers}, {limit:.4f} allowed"
        return Check(
            name=metric,
            against=self.against,
            value=value,
            reference=reference,
            change=drop,
            limit=limit,
            unit="points",
            outcome=outcome,
            sentence=f"{self.arm}: {said}; {self.context}",
        )

    def in_population(self, check: Check, drop: float, outcome: Outcome) -> Check:
        """Return a check with another outcome: that of the limits of its drop."""
        said = {
            Outcome.PASS: f"surely less than the {check.limit:.4f} allowed",
            Outcome.FAIL: f"surely more than the {check.limit:.4f} allowed",
        }.get(outcome, f"but these images cannot tell whether {check.limit:.4f}, which is allowed, is exceeded")
        numbers = f"({check.reference:.4f} -> {check.value:.4f})"
        sentence = f"{self.arm}: {check.name} {_moved(drop)} {numbers}, {said}; {self.context}"
        return check.model_copy(update={"outcome": outcome, "sentence": sentence})


def _moved(drop: float) -> str:
    if round(drop, 4) == 0:
        return "is unchanged"
    return f"fell {drop:.4f}" if drop > 0 else f"rose {-drop:.4f}"


def _worst_class(metric: str, reference: AccuracyRecord, engine: AccuracyRecord, comparison: Bootstrap | None) -> str:
    """Return which class fell most in a metric that fell, and whether by more than chance, as the end of a sentence.

    Empty where the metric did not fall, or no class of it is known to have.
    """
    if not round(reference.metrics.get(metric, math.nan) - engine.metrics.get(metric, math.nan), 4) > 0:
        return ""
    before = {c.name: c.metrics.get(metric) for c in reference.classes}
    drops = [
        (was - now, index)
        for index, c in enumerate(engine.classes)
        if (was := before.get(c.name)) is not None and (now := c.metrics.get(metric)) is not None
    ]
    drop, index = max(drops, default=(0.0, 0))
    if round(drop, 3) <= 0:
        return ""
    said = f"; worst class {engine.classes[index].name} -{drop:.3f}"
    # The bootstrap of classes is of the metric that stands for the task.
    classes = comparison.classes if comparison and metric == PRIMARY[engine.task] else ()
    found = next((c for c in classes if c.cls == index), None)
    return said if found is None else f"{said} ({'significant' if found.significant else 'within chance'})"
