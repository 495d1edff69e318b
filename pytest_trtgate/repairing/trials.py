"""Candidates tried for real: each is an engine in the cache, evaluated by the job of a run, and timed in one launch."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data import Dataset
from ..errors import DataError, JobError, JobTimeoutError, RecordError, SettingsError, reason_of
from ..findings import survey
from ..jobs import BuildRequest, CheckpointFacts, EarlyLauncher, LayersRequest
from ..judge.accuracy.parity import judge_parity
from ..locks import Lock
from ..measuring import (
    Caller,
    Engines,
    Evaluations,
    Plan,
    RunContext,
    checkpoint_name,
    engine_arm,
    launch_request,
)
from ..quantizing import Candidate, Trial
from ..records import Cell, EngineRecord, Environment, Layer, Outcome, Workspace
from ..settings import Quantization, Settings
from ..text import duration, plain, plural

LEAST_IMAGES = 16
"""Fewer tell nothing."""
CHECKPOINT, EVALUATED = "the checkpoint", "the evaluated images or their labels"
"""What a record's digests are of."""
LAUNCH_S = 2.0
"""Seconds that each arm is timed for at the end."""
_OWN = re.compile(r"trial-\d+|ranges|[\d,]+-images?\.txt|\.gitignore")
"""Names that a search gives in its folder; whatever else is there is the user's."""


class TimeIsUpError(Exception):
    """The time that the search was given is spent."""


@dataclass(frozen=True)
class Given:
    """What a repair works with: the cell, the settings of its run, and this machine.

    ``judged``: the digests of what that run judged, by :data:`CHECKPOINT` and :data:`EVALUATED`; empty for any.
    """

    cell: Cell
    settings: Settings
    weights: Path
    dataset: Dataset
    environment: Environment
    caller: Caller
    judged: Mapping[str, str] = field(default_factory=dict)

    def check(self, context: RunContext) -> None:
        """Check that checkpoint and data are still those that the run judged; ``judged`` has their digests.

        Raises:
            DataError: They are not.
        """
        model = self.cell.model
        now = {CHECKPOINT: context.weights_sha256[model], EVALUATED: context.data[model].digest}
        changed = [what for what, sha256 in self.judged.items() if sha256 and sha256 != now[what]]
        if changed:
            raise DataError(
                f"{self.cell.label}: {' and '.join(changed)} changed since the run of this record, so what is found "
                f"now would not be of it; gate again, and name the record of that run"
            )

    @property
    def start(self) -> Candidate:
        """The settings of now."""
        settings = self.settings.of(self.cell.model)
        return Candidate(settings.quantization.int8, settings.calibration.fraction)

    def described(self, candidate: Candidate) -> str:
        """Return what is special about a candidate, in a few words."""
        said = candidate.asked.model_dump(exclude_defaults=True)
        keep = said.pop("keep", ())
        words = [
            f"calibrator {value}" if name == "calibrator" else name.replace("_", " ") for name, value in said.items()
        ]
        words += [f"fraction {candidate.fraction:g}"] if candidate.fraction != self.start.fraction else []
        more = f" and {len(keep) - 4} more" if len(keep) > 4 else ""
        words += [f"keeping {', '.join(keep[:4])}{more}"] if keep else []
        return ", ".join(words) or "as the exporter makes it"


@dataclass
class Trials:
    """Tries candidates for one cell, each in a run's folder of its own below ``folder``, until a moment.

    ``ends_at`` is on the monotonic clock. ``number`` counts the trials. ``failed``: the folders of those that failed.
    """

    given: Given
    folder: Path
    ends_at: float
    say: Callable[[str], None]
    number: int = 0
    engines: dict[Candidate, EngineRecord] = field(default_factory=dict)
    facts: CheckpointFacts | None = None
    failed: list[Path] = field(default_factory=list)
    lock: Lock = field(init=False)

    def __enter__(self) -> Trials:
        """Have the folder for this search alone, without the trials of an earlier one, which have the same names."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.lock = Lock(self.folder)
            if not self.lock.take():
                raise SettingsError(
                    f"{self.folder}: another search or explanation of this cell works here; wait for it"
                )
            self._clear()
            (self.folder / ".gitignore").write_text("*\n")
        except OSError as error:
            raise RecordError(f"{self.folder}: cannot be written ({error.strerror})") from error
        return self

    def _clear(self, *kept: Path) -> None:
        """Delete what searches put into the folder, but for some of it."""
        for path in self.folder.iterdir():
            if _OWN.fullmatch(path.name) and path not in kept and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()

    def __exit__(self, *_: object) -> None:
        """End what waits for jobs, and leave nothing behind but the logs of what failed."""
        if isinstance(self.given.caller.launcher, EarlyLauncher):
            self.given.caller.launcher.close()
        self._clear(*self.failed, *([self.folder / ".gitignore"] if self.failed else []))
        with suppress(OSError):  # something is left in it
            self.folder.rmdir()
        self.lock.release()

    def look(self) -> None:
        """See what the checkpoint says of itself, as a run does first.

        Raises:
            JobError: It cannot be looked into.
            DataError: It, or the data, changed since the run.
        """
        cell, context = self.given.cell, self.set_up(Candidate(), 1.0)
        self.given.check(context)
        context.expected.expect((), builds=True)
        context.expected.begin()
        self.facts = survey(context, context.data[cell.model], {}, (cell.model,)).checkpoints.get(cell.model)

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers of the network, and look at the checkpoint first.

        Raises:
            JobError: It cannot be exported, or not be looked into.
        """
        self.look()
        cell, context = self.given.cell, self.set_up(Candidate(), 1.0)
        build = BuildRequest(
            weights=str(self.given.weights),
            cell=cell.model_copy(update={"precision": "fp32"}),
            threads=context.threads,
            export_args=context.export_arguments(cell),
            output="",
        )
        return context.job("layers", LayersRequest(threads=context.threads, build=build)).layers

    def evaluate(self, candidate: Candidate, share: float, what: str = "", metric: str = "") -> Trial:
        """Try a candidate on a share of the images.

        ``what`` describes it, and ``metric`` is told of it; else its settings, and the metric that is worst.

        Raises:
            TimeIsUpError: There is no time left, or was none before it ended.
        """
        if time.monotonic() >= self.ends_at:
            raise TimeIsUpError
        self.number += 1
        context = self.set_up(candidate, share)
        try:
            return self._tried(context, candidate, share, what or self.given.described(candidate), metric)
        except JobTimeoutError:
            raise TimeIsUpError from None
        except JobError as error:
            if time.monotonic() >= self.ends_at:  # a build that was ended comes as any failure
                raise TimeIsUpError from None
            self.failed.append(context.workspace.path)
            self._say(what or self.given.described(candidate), share, f"not possible ({reason_of(error)})")
            return Trial(candidate, share, float("inf"), problem=reason_of(error))
        finally:
            context.workspace.close()
            if context.workspace.path not in self.failed:
                shutil.rmtree(context.workspace.path, ignore_errors=True)  # what lasts is in the cache

    def _tried(self, context: RunContext, candidate: Candidate, share: float, what: str, metric: str) -> Trial:
        cell, engines = self.given.cell, Engines(context)
        reference, engine = Evaluations(engines, [cell]).pair(cell)
        tolerances = context.settings.accuracy.tolerances(cell.precision, engine.task)
        checks = judge_parity(reference, engine, tolerances)
        if wrong := next((check for check in checks if check.outcome is Outcome.ERROR), None):
            raise JobError("accuracy", wrong.sentence)
        drops = {check.name: check.change or 0.0 for check in checks}
        excess = max((drops[name] - limit for name, limit in tolerances.items() if name in drops), default=0.0)
        passes = all(check.outcome is Outcome.PASS for check in checks)
        record = self.engines[candidate] = engines.of(cell)
        told = metric or max(drops, key=lambda name: drops[name] - tolerances[name], default="")
        self._say(what, share, f"{told} {engine.metrics.get(told, 0.0):.4f} ({-drops.get(told, 0.0):+.4f} to the .pt)")
        # What the judge lets pass passes, whatever the rounding.
        return Trial(candidate, share, min(excess, 0.0) if passes else max(excess, 1e-9), drops, record.size_bytes)

    def _say(self, described: str, share: float, what: str) -> None:
        left_s = max(0.0, self.ends_at - time.monotonic())
        part = "" if share == 1 else f", {100 * share:.0f} % of the images"
        self.say(f"trial {self.number} [{plain(duration(left_s))} left]: {described}{part}: {what}")

    def set_up(self, candidate: Candidate, share: float) -> RunContext:
        """Return what measures a candidate on a share of the images, in the folder of the present trial."""
        given, cell = self.given, self.given.cell
        settings = given.settings.of(cell.model)
        left_s = max(1.0, self.ends_at - time.monotonic())
        limits, ready = settings.timeouts, settings.given(cell.model).get(cell.precision)
        changes = {
            "models": tuple(
                model.model_copy(update={"quantization": None}) for model in settings.models if model.name == cell.model
            ),
            "precisions": (cell.precision,),
            "quantization": Quantization(int8=candidate.asked),
            "calibration": settings.calibration.model_copy(update={"fraction": candidate.fraction}),
            "timeouts": limits.model_copy(
                update={"build_s": min(limits.build_s, left_s), "accuracy_s": min(limits.accuracy_s, left_s)}
            ),
            "fresh": False,
        }
        context = RunContext(
            settings=settings.model_copy(update=changes),
            plan=Plan((cell,), {cell.model: given.weights}, {cell: ready} if ready else {}),
            datasets={cell.model: self._part(share)},
            environment=given.environment,
            workspace=Workspace(self.folder, f"trial-{self.number:03}"),
            caller=given.caller,
        )
        if self.facts is not None:
            context.workspace.put(checkpoint_name(cell.model), self.facts)
        context.ranges = self.folder / "ranges" / f"{candidate.fraction:g}"
        return context

    def images_of(self, share: float) -> int:
        """Return how many images a share of those evaluated is; all of them where they are few."""
        dataset = self.given.dataset
        images = len(dataset.images(self.given.settings.split))
        wanted = max(LEAST_IMAGES, round(share * images))
        return images if share >= 1 or wanted >= images or dataset.folders else wanted

    def _part(self, share: float) -> Dataset:
        """Return the dataset with a share of the evaluated images, evenly spread."""
        dataset, split = self.given.dataset, self.given.settings.split
        images, wanted = dataset.images(split), self.images_of(share)
        if wanted == len(images):
            return dataset
        listed = self.folder / f"{plural(wanted, 'image').replace(' ', '-')}.txt"
        if not listed.is_file():
            listed.parent.mkdir(parents=True, exist_ok=True)
            chosen = (images[index * len(images) // wanted] for index in range(wanted))
            listed.write_text("\n".join(map(str, chosen)) + "\n", encoding="utf-8", errors="surrogateescape")
        return replace(dataset, splits={**dataset.splits, split: (listed,)})

    def time(self, candidates: Iterable[Candidate]) -> Mapping[Candidate, float]:
        """Return the p50 in milliseconds of candidates that were built, timed side by side in one launch.

        Raises:
            JobError: They cannot be timed.
        """
        cell, chosen = self.given.cell, [one for one in candidates if one in self.engines]
        context = self.set_up(Candidate(), 1.0)
        rules = context.settings.latency
        arms = [engine_arm(f"candidate-{number}", self.engines[one]) for number, one in enumerate(chosen)]
        request = launch_request(context, cell.model, "launch", 0, arms)
        short = rules.model_copy(update={"max_seconds": min(rules.max_seconds, LAUNCH_S)})
        request = request.model_copy(update={"rules": short, "contexts": (rules.context,)})
        launch = context.job("launch", request).launch
        context.workspace.close()
        timed = zip(chosen, arms, strict=True)
        return {one: launch.arms[arm.arm].timings[rules.context].quantile_ms(50) for one, arm in timed}
