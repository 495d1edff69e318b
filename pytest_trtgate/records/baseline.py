"""Baselines: what accepted runs measured of one cell. Its accuracy is a file of its own, beside those of latencies."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, get_args

from pydantic import Field, SerializerFunctionWrapHandler, TypeAdapter, model_serializer, model_validator

from .accuracy import AccuracySettings
from .base import FileRecord, Record
from .cell import CONTEXTS, Cell, Context, Environment
from .engine import EngineRecord
from .latency import LayerTime, MachineState, Timing, usable
from .names import Name
from .tasks import Head
from .verdict import Outcome

NONE_YET = "no baseline yet"
"""Note of a use where there is none; what follows a semicolon behind it says why that may be."""
JUDGED = (50, 95, 99)
"""Percentiles that a later run may be judged against: each stored session has them."""
DRAWN = (1, 5, 10, 25, 75, 90, 95, 99)
"""Further ones of the newest session, for its chart, as far as its samples carry them."""
_ARMS = {"launches": "", "reference": ".pt "}
"""What stands before the name of a context where it is of an engine, and of the ``.pt``."""
_CONTEXTS: tuple[Context, ...] = get_args(Context)
_STAGES = "p50 of stages"
"""The row of the contexts that are neither judged nor drawn, of the engine of the newest session."""
_ROWS = frozenset(arm + context for arm in _ARMS.values() for context in CONTEXTS) | {_STAGES, "state"}
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
"""A metric: with another number in a file that was edited, nothing would be worse than the baseline."""
_COLUMNS = TypeAdapter(dict[str, dict[str, tuple[Any, ...]]])


class BaselineLaunch(Record):
    """One launch of a stored session, for one arm. Between the stored percentiles, those of ``timings`` are a line."""

    timings: dict[Context, Timing]
    state: MachineState = MachineState()


class BaselineSession(Record):
    """The launches of one accepted run, and in ``reference`` those of its ``.pt``.

    A file has them as columns: a row per arm and context, with one number per launch in each column. ``busy``: what
    kept the machine busy then, where it was accepted in spite of that. ``platform``: what was otherwise than in the
    ``environment`` of the baseline, such as the driver.
    """

    recorded_at: str
    commit: str | None = None
    threads: int
    busy: str = ""
    platform: dict[str, str] = Field(default_factory=dict)
    launches: tuple[BaselineLaunch, ...]
    reference_sha256: str = ""
    reference: tuple[BaselineLaunch, ...] = ()

    def is_whole(self, weights_sha256: str) -> bool:
        """Return whether it timed the engine and the ``.pt`` of these weights, alone and end to end."""
        both = ((*self.launches[:1], *self.reference[:1]), self.reference_sha256 == weights_sha256)
        return both[1] and len(both[0]) == 2 and all(set(CONTEXTS) <= launch.timings.keys() for launch in both[0])

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, raw: Any) -> Any:
        """Take the columns of a file; older files have the launches themselves."""
        if not isinstance(raw, Mapping) or "launches" in raw:
            return raw
        rows = _COLUMNS.validate_python({name: raw[name] for name in _ROWS & raw.keys()})
        fields = {name: value for name, value in raw.items() if name not in rows}
        states, stages = rows.pop("state", {}), rows.pop(_STAGES, {})
        rows |= {stage: {"p50": column} for stage, column in stages.items()}
        for name, arm in _ARMS.items():
            timings = {context: rows[arm + context] for context in _CONTEXTS if arm + context in rows}
            fields[name] = _launches(timings, {} if arm else states)
        return fields

    def as_columns(self, weights_sha256: str, *, newest: bool) -> dict[str, Any]:
        """Return the session as a file has it, which names the checkpoint: of an older one, what verdicts depend on."""
        known = {"reference_sha256"} if self.reference_sha256 == weights_sha256 else set()
        fields: dict[str, Any] = self.model_dump(exclude={*_ARMS, *known}, exclude_defaults=True)
        for name, arm in _ARMS.items():
            launches: tuple[BaselineLaunch, ...] = getattr(self, name)
            for context in CONTEXTS:
                timings = [x.timings[context] for x in launches if context in x.timings]
                if timings:
                    columns = _columns(timings, DRAWN if newest and not arm else ())
                    fields[arm + context] = (_counts(timings) if newest else {}) | columns
        stages = {name for x in self.launches if newest for name in x.timings if name not in CONTEXTS}
        if stages:
            fields[_STAGES] = {
                name: [_rounded(x.timings[name].quantile_ms(50)) for x in self.launches if name in x.timings]
                for name in _CONTEXTS
                if name in stages
            }
        states = [x.state.model_dump(exclude_defaults=True) for x in self.launches if newest]
        if names := sorted({name for state in states for name in state}):
            fields["state"] = {name: [_rounded(state.get(name)) for state in states] for name in names}
        return fields

    def is_same_run(self, other: BaselineSession) -> bool:
        """Return whether both are of one run: another may have begun in the same second."""
        blank = {"platform": {}, "busy": "", "reference_sha256": ""}
        mine, theirs = (one.model_copy(update=blank).as_columns("", newest=False) for one in (self, other))
        return mine == theirs


def _columns(timings: Sequence[Timing], drawn: Sequence[int]) -> dict[str, list[Any]]:
    """Return the percentiles of launches of one arm in one context as columns."""
    samples = min(timing.n for timing in timings)
    carried = {percent for percent in drawn if min(percent, 100 - percent) * samples >= 100}
    percents = sorted(carried.union(JUDGED))
    return {f"p{percent}": [_rounded(timing.quantile_ms(percent)) for timing in timings] for percent in percents}


def _counts(timings: Sequence[Timing]) -> dict[str, list[Any]]:
    """Return the samples and the means of launches as columns."""
    return {"n": [timing.n for timing in timings], "mean": [_rounded(timing.mean_ms) for timing in timings]}


def _rounded(value: Any) -> Any:
    """Return a number with five digits: more than launches repeat."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


def _launches(
    rows: Mapping[Context, Mapping[str, Sequence[Any]]], states: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    count = max((len(column) for row in rows.values() for column in row.values()), default=0)
    found = []
    for index in range(count):
        timings = {context: _timing(row, index) for context, row in rows.items() if index < len(row.get("p50", ()))}
        known = {name: column[index] for name, column in states.items() if index < len(column)}
        state = {name: value for name, value in known.items() if value is not None}
        found.append({"timings": timings, "state": state})
    return found


def _timing(row: Mapping[str, Sequence[Any]], index: int) -> dict[str, Any]:
    """Return one launch of a row as a :class:`Timing` has it; of no samples where their number is not stored.

    Raises:
        ValueError: A column is shorter than the others, or holds something that is no number.
    """
    try:
        known = {int(name[1:]): float(column[index]) for name, column in row.items() if name.startswith("p")}
        samples, mean_ms = (row[name][index] if name in row else 0 for name in ("n", "mean"))
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"columns of launches that do not fit each other: {sorted(row)}") from error
    if not usable(tuple(known.values())):
        raise ValueError("percentiles that are no durations in milliseconds")
    quantiles = tuple(_between(sorted(known.items())))
    return {
        "n": samples,
        "mean_ms": mean_ms,
        "min_ms": quantiles[0],
        "max_ms": quantiles[-1],
        "quantiles_ms": quantiles,
    }


def _between(known: Sequence[tuple[int, float]]) -> Iterator[float]:
    """Yield p1 to p99 on lines between the percentiles that are known, in ascending order."""
    percents = [percent for percent, _ in known]
    for percent in range(1, 100):
        low = known[max(bisect_right(percents, percent) - 1, 0)]
        high = known[min(bisect_left(percents, percent), len(known) - 1)]
        part = (percent - low[0]) / (high[0] - low[0]) if high[0] > low[0] else 0.0
        yield low[1] + part * (high[1] - low[1]) if part else low[1]


class Built(Record):
    """What an accepted engine was, to tell what changed since; ``calibration`` is the digest of its images.

    ``quantization``: what ``quantization.int8`` asked for; None in older files, and of other precisions.
    """

    size_bytes: int
    layers: int | None = None
    calibration: str = ""
    calibration_images: int = 0
    quantization: dict[str, Any] | None = None

    @classmethod
    def of(cls, engine: EngineRecord) -> Built:
        """Return what an engine is."""
        used = engine.calibration
        special = engine.quantization.settings if engine.quantization else {}
        return cls(
            size_bytes=engine.size_bytes,
            layers=engine.inspection.layers if engine.inspection else None,
            calibration=used.digest if used else "",
            calibration_images=used.images if used else 0,
            quantization=special if engine.cell.precision == "int8" else None,
        )


class Accepted(FileRecord):
    """What baselines of accuracy and of latency have in common.

    ``accepted``: what was judged of the run when it was accepted, a sentence each, for whoever reviews the file.
    ``weights_sha256``: of the checkpoint; empty in older files. Those have the accuracy beside the latency. ``built``:
    what the engine was; None in older files.
    """

    depths: ClassVar[Mapping[str, int] | None] = {"accepted": 1, "sessions": 2, "layers": 1}

    cell: Cell
    environment: Environment
    engine_sha256: str
    weights_sha256: str = ""
    built: Built | None = None
    accepted: tuple[str, ...] = ()
    accuracy: dict[str, Share] = Field(default_factory=dict)
    reference_accuracy: dict[str, Share] = Field(default_factory=dict)
    accuracy_settings: AccuracySettings | None = None
    images: int = 0
    data_digest: str = ""

    @property
    def checkpoint_sha256(self) -> str:
        """The SHA-256 of the checkpoint; empty if unknown."""
        return self.weights_sha256

    def is_of(self, weights_sha256: str) -> bool:
        """Return whether this is known to be of a checkpoint, whatever its name was."""
        return bool(weights_sha256) and self.checkpoint_sha256 == weights_sha256

    @model_serializer(mode="wrap")
    def _without_blanks(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what a reader fills in: fields that are empty, and None of the environment."""
        fields: dict[str, Any] = dump(self)
        optional = {name for name, field in type(self).model_fields.items() if not field.is_required()}
        fields = {name: value for name, value in fields.items() if value or name not in optional}
        for name in ("environment", "accuracy_settings"):
            if isinstance(part := fields.get(name), dict):
                fields[name] = {key: value for key, value in part.items() if value not in (None, {})}
        if isinstance(self, Baseline) and self.sessions:
            newest = self.sessions[-1]
            fields["sessions"] = [
                session.as_columns(self.weights_sha256, newest=session is newest) for session in self.sessions
            ]
        return fields


class AccuracyBaseline(Accepted):
    """The accepted accuracy of one cell: of one backend, and of whichever machine measured it last."""

    recorded_at: str = ""
    commit: str | None = None

    @classmethod
    def of(cls, baseline: Baseline) -> AccuracyBaseline | None:
        """Return the accuracy in a baseline of an older version; None where it has none."""
        if not baseline.accuracy:
            return None
        shared = {name: getattr(baseline, name) for name in Accepted.model_fields}
        shared["weights_sha256"] = baseline.checkpoint_sha256
        shared["environment"] = baseline.environment.model_copy(update={"commit": None})
        newest = baseline.sessions[-1] if baseline.sessions else None
        when = {"recorded_at": newest.recorded_at, "commit": newest.commit} if newest else {}
        return cls(**shared | when)


class Baseline(Accepted):
    """What an accepted run measured of one cell's latency on one kind of machine.

    ``head``: where the engine's boxes are suppressed; None if unknown, and for a classifier. ``latest_ms``: in
    files of older versions, medians over the launches of the last session; nothing uses them. ``sessions``: oldest
    first. ``layers``: the slowest layers of a profiled engine.
    """

    cache_key: Name
    head: Head | None = None
    latest_ms: dict[str, float] = Field(default_factory=dict)
    sessions: tuple[BaselineSession, ...] = ()
    layers: tuple[LayerTime, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _checkpoint_once(cls, raw: Any) -> Any:
        """Give sessions that do not name their ``.pt`` that of the file."""
        if not isinstance(raw, Mapping) or not isinstance(raw.get("sessions"), (list, tuple)):
            return raw
        known = {"reference_sha256": raw.get("weights_sha256", "")}
        sessions = [
            {**known, **session} if isinstance(session, Mapping) and "launches" not in session else session
            for session in raw["sessions"]
        ]
        return {**raw, "sessions": sessions}

    @property
    def checkpoint_sha256(self) -> str:
        """The SHA-256 of the checkpoint; empty if unknown."""
        return self.weights_sha256 or (self.sessions[-1].reference_sha256 if self.sessions else "")

    def platform_of(self, session: BaselineSession) -> dict[str, str]:
        """Return driver, operating system and versions of a stored session, by name; empty of what was not there."""
        return self.environment.platform | session.platform

    def per_session_ms(self, context: Context, percent: int) -> list[list[float]]:
        """Return one percentile in milliseconds, per launch of each stored session that has it, oldest first."""
        return _per_session_ms((session.launches for session in self.sessions), context, percent)

    def reference_ms(self, sha256: str, context: Context, percent: int) -> list[list[float]]:
        """Return the same for the ``.pt`` with this SHA-256, from the sessions that timed it."""
        found = (session.reference for session in self.sessions if session.reference_sha256 == sha256)
        return _per_session_ms(found, context, percent)


def _per_session_ms(
    sessions: Iterable[tuple[BaselineLaunch, ...]], context: Context, percent: int
) -> list[list[float]]:
    timings = [[x.timings[context] for x in launches if context in x.timings] for launches in sessions]
    return [[timing.quantile_ms(percent) for timing in session] for session in timings if session]


class BaselineUse(FileRecord):
    """The baseline that a cell's latency was judged against, as the report shows it."""

    path: str
    outcome: Outcome
    note: str = ""
    baseline: Baseline | None = None


class AccuracyUse(FileRecord):
    """The baseline that a cell's accuracy was judged against, as the report shows it."""

    path: str
    outcome: Outcome
    note: str = ""
    baseline: AccuracyBaseline | None = None
