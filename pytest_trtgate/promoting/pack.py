"""Write a release pack of a cell that passed: the engine, the manifest, the report and the list of their digests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordError, TrtGateError
from ..records import (
    INTERRUPTED,
    REFERENCE,
    SUBJECTS,
    Cell,
    EngineRecord,
    EvaluationData,
    FileDigest,
    Outcome,
    PackManifest,
    RunRecord,
    Subject,
    Verdict,
    file_sha256,
    load,
    open_regular,
    save,
)
from ..report import render
from ..text import clip, digest
from .contents import MANIFEST, OWN_NAMES, REPORT, SUMS, sums

_BY_KEY = ("engines", "baselines", "accuracy_baselines", "profiles", "pictures", "figures", "courses", "explanations")
"""Fields of a run that have an entry per cell."""
_COMMANDS = ("accept", "accept_toml", "accept_cell", "explain", "repair", "rerun")
"""Fields of a verdict that are of use only where the run was."""


def promote_all(runs: Iterable[tuple[RunRecord, Path, Path]]) -> list[str]:
    """Write a release pack of each cell of all runs, in a folder of its key, if all may be promoted.

    Args:
        runs: Each with the folder that its packs go into, and that of its record.

    Returns:
        One sentence per pack.

    Raises:
        TrtGateError: As of :meth:`Promotion.write`; a refused cell keeps the others from being promoted.
        OSError: A folder cannot be written.
    """
    promotions = [(Promotion(run, cell, place), folder / cell.key) for run, folder, place in runs for cell in run.cells]
    for promotion, _ in promotions:
        promotion.check()
    return [promotion.write(target) for promotion, target in promotions]


@dataclass(frozen=True)
class Promotion:
    """A cell that is to be promoted.

    Attributes:
        run: The run that judged it.
        cell: The cell.
        place: The folder of the run's record, for the pictures that lie there.
        engine: The engine's file, where it is no longer where the record says.
        allow_waived: Whether a failure that is waived is taken too.
        sign: Signs a folder.
    """

    run: RunRecord
    cell: Cell
    place: Path
    engine: Path | None = None
    allow_waived: bool = False
    sign: Callable[[Path], None] = lambda _: None

    def write(self, target: Path) -> str:
        """Write the release pack, whole or not at all, in the place of an older one.

        Returns:
            A sentence with the SHA-256 of the manifest.

        Raises:
            TrtGateError: As of :meth:`check`; the engine's bytes are not those that were judged; or the folder
                ``target`` holds something else.
            OSError: The folder cannot be written.
        """
        waived = self.check()
        built = self.run.engines[self.cell.key]
        with _in_place_of(Path(os.path.realpath(target))) as folder:  # which no loop of links ends
            _copy(self.engine or built.path, folder / built.artifact, built)
            render([_alone(self.run, self.cell)], folder / REPORT, places=[self.place])
            save(folder / MANIFEST, _manifest(self.run, self.cell, waived, folder))
            self.sign(folder)
            digests = {path.name: file_sha256(path) for path in folder.iterdir()}
            (folder / SUMS).write_bytes(sums(digests))
        return f"{target}: {self.cell.label} promoted; SHA-256 of its {MANIFEST}: {digests[MANIFEST]}"

    def check(self) -> tuple[Subject, ...]:
        """Return which failures are waived.

        Raises:
            TrtGateError: The cell did not pass; names each verdict that says so.
        """
        run, cell = self.run, self.cell
        verdicts = {s: [v for v in run.verdicts if (v.cell, v.subject) == (cell, s)] for s in SUBJECTS}
        # Of several on one subject, as in a record that was put together by hand, each counts.
        why_not = [_why_not(s, verdict, self.allow_waived) for s in SUBJECTS for verdict in verdicts[s]]
        why_not += [f"its {s} was not judged" for s in SUBJECTS if not verdicts[s]]
        reasons = list(filter(None, why_not))
        if run.unfinished == INTERRUPTED:
            reasons.append(INTERRUPTED)
        if run.settings.get("baselines") == "update":
            reasons.append(
                "its run accepted what it measured (--trt-baselines=update); promote what a later run passes"
            )
        engine = run.engines.get(cell.key)
        if engine is None or run.accuracy(cell.model, cell.precision) is None:
            reasons.append("its engine was not measured")
        elif not engine.runs:
            reasons.append("it was judged by predictions, so there is no engine to promote; give the engine itself")
        if reasons:
            raise TrtGateError(f"{cell.key} is not promoted: {'; '.join(reasons)}")
        return tuple(s for s in SUBJECTS if any(one.outcome is not Outcome.PASS for one in verdicts[s]))


def _why_not(subject: Subject, verdict: Verdict, allow_waived: bool) -> str:
    """Return why a verdict keeps its cell from being promoted; empty where it does not."""
    if verdict.outcome is Outcome.PASS:
        return "" if verdict.checks else f"its {subject} was compared with nothing; give it a baseline or a budget"
    if verdict.outcome is Outcome.FAIL and verdict.waived and not verdict.failed:
        return "" if allow_waived else f"its {subject} is FAIL and {verdict.waived}; take it with --allow-waived"
    return f"its {subject} is {verdict.outcome}: {verdict.summary}"


def _copy(source: Path, target: Path, built: EngineRecord) -> None:
    """Copy an engine, and check the copy.

    Raises:
        TrtGateError: It cannot be copied, its bytes are not those that were judged, or its name is that of another file
            of the pack.
    """
    if target.name in OWN_NAMES:
        raise TrtGateError(f"{source}: the name is that of another file in a release pack; rename it and gate it again")
    remedy = "name its file with --engine, or gate again"
    try:
        with open_regular(source) as file, target.open("xb") as copy:
            if (length := os.fstat(file.fileno()).st_size) != built.size_bytes:  # which may be too large to be read
                both = f"{length:,} bytes, judged {built.size_bytes:,}"
                raise TrtGateError(f"{source}: not the engine that was judged ({both}); {remedy}")
            shutil.copyfileobj(file, copy)
    except OSError as error:
        raise TrtGateError(f"{source}: the engine cannot be copied ({error.strerror}); {remedy}") from error
    if (found := file_sha256(target)) != built.sha256:
        both = f"SHA-256 {digest(found)}, judged {digest(built.sha256)}"
        raise TrtGateError(f"{source}: not the engine that was judged ({both}); {remedy}")


def _alone(run: RunRecord, cell: Cell) -> RunRecord:
    """Return a run as if it had gated one cell; the arms that were timed beside it stay, but for those on videos."""
    own = {name: {k: one for k, one in getattr(run, name).items() if k == cell.key} for name in _BY_KEY}
    arms = (REFERENCE, cell.precision)
    return run.model_copy(
        update={
            **own,
            "cells": (cell,),
            "accuracies": tuple(a for a in run.accuracies if a.model == cell.model and a.arm.split("-")[0] in arms),
            "latencies": {model: latency for model, latency in run.latencies.items() if model == cell.model},
            "verdicts": tuple(v for v in run.verdicts if v.cell == cell),
            "videos": (),
            "accept_cells": "",
        }
    )


def _manifest(run: RunRecord, cell: Cell, waived: tuple[Subject, ...], folder: Path) -> PackManifest:
    """Return the manifest of a cell whose engine and report are in a folder."""
    built, accuracy = run.engines[cell.key], run.accuracy(cell.model, cell.precision)
    assert accuracy is not None  # as was checked
    reference = run.accuracy(cell.model, REFERENCE)
    latency = run.latencies.get(cell.model)
    timed = latency.of_arm(REFERENCE) if latency else ()
    return PackManifest(
        run_id=run.run_id,
        started_at=run.started_at,
        plugin_version=run.plugin_version,
        commit=run.environment.commit,
        cell=cell,
        artifact=_digest(folder / built.artifact),
        report=_digest(folder / REPORT),
        weights_sha256=str(built.key_parts.get("weights", timed[0].arms[REFERENCE].sha256 if timed else "")),
        calibration=built.calibration,
        data=EvaluationData(
            split=accuracy.settings.split,
            images=accuracy.images,
            instances=accuracy.instances,
            digest=accuracy.data_digest,
        ),
        environment=run.environment,
        settings=run.settings,
        task=accuracy.task,
        metrics=accuracy.metrics,
        reference_metrics=reference.metrics if reference else {},
        verdicts=tuple(v.model_copy(update=dict.fromkeys(_COMMANDS, "")) for v in run.verdicts if v.cell == cell),
        waived=waived,
        given=built.given.layout if built.given else None,
        sidecar_sha256=str(built.key_parts.get("sidecar", "")),
    )


def _digest(path: Path) -> FileDigest:
    return FileDigest(name=path.name, sha256=file_sha256(path), size_bytes=path.stat().st_size)


@contextmanager
def _in_place_of(target: Path) -> Iterator[Path]:
    """Give an empty folder, which takes the place of ``target`` at the end, if all went well.

    Raises:
        TrtGateError: There is something in that place that is no release pack.
    """
    if target.exists() and (strangers := _strangers(target)):
        raise TrtGateError(
            f"{target} holds {clip(strangers[0], 60)}, and is no release pack; name a folder that is new or empty"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as above:
        folder = Path(above, "new", target.name)  # a signature has its name
        folder.mkdir(parents=True)
        yield folder
        if target.exists():
            target.rename(Path(above, "old"))
        folder.rename(target)


def _strangers(target: Path) -> list[str]:
    """Return the names of what no release pack has in it; that of ``target`` itself if it is no folder."""
    if not target.is_dir():
        return [target.name]
    names = sorted(path.name for path in target.iterdir())
    try:
        known = {*OWN_NAMES, load(target / MANIFEST, PackManifest).artifact.name}
    except RecordError:
        return names
    return [name for name in names if name not in known or (target / name).is_dir()]
