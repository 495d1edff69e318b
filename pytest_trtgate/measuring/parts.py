"""One evaluation in parts, on several equal devices at once, with the result of one pass."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from ..errors import JobError, JobTimeoutError
from ..jobs import AccuracyRequest, AccuracyResponse, ArmAccuracy, Launcher, MergeArm, MergeRequest, ParallelLauncher
from ..text import plural
from .context import RunContext


def evaluated(
    context: RunContext, name: str, request: AccuracyRequest, images: Sequence[Path]
) -> tuple[AccuracyResponse, dict[str, str]]:
    """Run an accuracy job, in parts where further devices are free and the settings divide so many images.

    A split that names an image twice is not divided: parts are told apart by their images.

    Returns:
        What it answered, and the job in which each arm failed that did.

    Raises:
        JobError: It failed; ``job`` names the part.
    """
    launcher, most = context.caller.launcher, context.settings.fleet.parts(len(images))
    divides = most > 1 and not request.sparing and len(set(images)) == len(images)
    with ExitStack() as stack:
        others: Sequence[Launcher] = ()
        if divides and isinstance(launcher, ParallelLauncher):
            pool = stack.enter_context(ThreadPoolExecutor(most - 1))
            others = stack.enter_context(launcher.beside(most - 1))
        if not others:
            return context.job(name, request, len(request.arms)), {}
        count = 1 + len(others)
        context.milestone(f"{name}: {plural(len(images), 'image')} in {count} parts, on as many machines")
        parts = [_part(context, name, request, number, count) for number in range(1, count + 1)]
        later = [
            pool.submit(context.job, each, part, len(request.arms), lent)
            for (each, part), lent in zip(parts[1:], others, strict=True)
        ]
        answers = {name: context.job(*parts[0], len(request.arms))}
        for (each, part), future in zip(parts[1:], later, strict=True):
            try:
                answers[each] = future.result()
            except JobTimeoutError:  # it would take as long again
                raise
            except JobError as error:
                context.milestone(f"{error}; this part is evaluated again on the run's own machine")
                again = f"{each}-again"
                answers[again] = context.job(again, part, len(request.arms))
    _check_complete(name, list(answers.values()), len(images))
    failed = {arm: job for job, answer in reversed(answers.items()) for arm in answer.failures}
    return _merged(context, name, request, [part for _, part in parts], list(answers.values())), failed


def _check_complete(name: str, answers: Sequence[AccuracyResponse], images: int) -> None:
    """Raise JobError where parts do not make up all images: each has read all labels, so what it read does not tell."""
    for arm in {arm for answer in answers for arm in answer.arms}:
        its = [answer.arms[arm] for answer in answers if arm in answer.arms]
        if len({part.unreadable for part in its}) > 1:
            raise JobError(name, "its parts left out different images; set fleet.shards = 1")
        seen = sum(part.images for part in its) + its[0].left_out.count
        if len(its) == len(answers) and seen < images:
            raise JobError(name, f"its parts evaluated {arm} on {seen} of {images} images; set fleet.shards = 1")


def _part(
    context: RunContext, name: str, request: AccuracyRequest, number: int, count: int
) -> tuple[str, AccuracyRequest]:
    """Return a part of a request, and the name of its job: the first has that of the whole, as forecasts know it."""
    job = name if number == 1 else f"{name}-{number}-of-{count}"
    folder = context.workspace.job_folder(job)
    arms = tuple(
        arm.model_copy(update={"per_image": str(folder / f"{arm.arm}-{number}-of-{count}.npz")}) for arm in request.arms
    )
    return job, request.model_copy(update={"arms": arms, "part": (number, count)})


def _merged(
    context: RunContext,
    name: str,
    request: AccuracyRequest,
    parts: Sequence[AccuracyRequest],
    answers: Sequence[AccuracyResponse],
) -> AccuracyResponse:
    """Return the answer of the whole, and write its per-image records."""
    failures = {arm: why for answer in reversed(answers) for arm, why in answer.failures.items()}
    found = {
        arm.arm: [answer.arms[arm.arm] for answer in answers]
        for arm in request.arms
        if all(arm.arm in answer.arms for answer in answers)
    }
    arms = tuple(
        MergeArm(
            arm=arm.arm,
            task=found[arm.arm][0].task,
            parts=tuple(
                part.arms[number].per_image for part, its in zip(parts, found[arm.arm], strict=True) if its.images
            ),
            per_image=arm.per_image,
        )
        for number, arm in enumerate(request.arms)
        if arm.arm in found
    )
    whole: dict[str, ArmAccuracy] = {}
    if arms:
        asked = MergeRequest(arms=arms, threads=request.threads)
        merged = context.job(f"{name}-merged", asked, len(arms)).arms
        whole = {arm: _with_rest(merged[arm], its) for arm, its in found.items()}
    for path in (path for arm in arms for path in arm.parts):
        Path(path).unlink()
    return AccuracyResponse(
        arms=whole, failures=failures, read={k: v for answer in answers for k, v in answer.read.items()}
    )


def _with_rest(merged: ArmAccuracy, parts: Sequence[ArmAccuracy]) -> ArmAccuracy:
    """Return the accuracy of an arm with what its parts alone tell."""
    first = parts[0]
    return merged.model_copy(
        update={
            "head": first.head,
            "unreadable": first.unreadable,
            "left_out": first.left_out,
            "seconds": sum(part.seconds for part in parts),
        }
    )
