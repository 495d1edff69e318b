"""Judge recorded sessions (``record_sessions.py``) by the gate's own entry points, and state how often it is wrong.

python bench/judge_sessions.py [bench/traces/h200_sessions.json]

All engines are compared with their own bytes, so that each FAIL at no slow-down is a false alarm, and each platform
that changed is one too, unless the machine really changed. Slow-downs are the candidate's times multiplied. Sessions
are compared where machine and engines are the same:

- replay: an engine and its copies, timed side by side in one session;
- replay across sessions: an engine of one session, and the copies in another, which is harder than any replay is;
- stored: an engine of one session, and some others as its stored sessions, without a replay;
- platform: what the engine and the ``.pt`` share since these.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations, islice, permutations
from pathlib import Path
from typing import Any

from gate_recorded import TRACES
from machine import keep

from pytest_trtgate.judge import worst
from pytest_trtgate.judge.latency.candidate import Against, Candidate
from pytest_trtgate.judge.latency.checks import judge_latency, still_needed
from pytest_trtgate.judge.latency.platform import platform_change
from pytest_trtgate.records.baseline import Baseline, BaselineLaunch, BaselineSession
from pytest_trtgate.records.cell import CONTEXTS, PRECISIONS, REFERENCE, Cell, Environment, placebo_of, replay_of
from pytest_trtgate.records.latency import ArmLaunch, LatencyRecord, Launch, Timing
from pytest_trtgate.settings.latency import DEFAULT_REGRESSIONS, Limit

SLOWDOWNS = (0.0, 0.03, 0.05, 0.10, 0.15)
STORED = (1, 3, 5)
MOST = 300
"""Choices of stored sessions that are tried, of each number of them."""
SCREEN = 3
FAMILY = 6
"""Percentiles that a run of three precisions gates."""
Session = dict[str, Any]


def launches_of(session: Session, slower: float = 0.0, arms: Sequence[str] = ()) -> LatencyRecord:
    """Return the launches of a session, some arms slower than they were."""
    found = []
    for index, launch in enumerate(session["launches"]):
        inside = {n: arm_of(n, one, session, 1 + slower * (n in arms)) for n, one in launch["arms"].items()}
        found.append(
            Launch(
                index=index,
                seed=0,
                threads=launch["threads"],
                block=10,
                started_at=launch["started_at"],
                seconds=launch["seconds"],
                arms=inside,
            )
        )
    return LatencyRecord(model="shapes", imgsz=320, batch=1, launches=tuple(found))


def arm_of(name: str, one: dict[str, Any], session: Session, factor: float) -> ArmLaunch:
    """Return an arm with its p50 and p95; quantiles in between are those, since nothing judges them."""
    timings = {}
    for context in CONTEXTS:
        p50, p95 = (factor * us / 1000 for us in one[context][:2])
        timings[context] = Timing(
            n=one[context][2], mean_ms=p50, min_ms=p50, max_ms=p95, quantiles_ms=(p50,) * 94 + (p95,) * 5
        )
    engine = next((p for p in PRECISIONS if p in name.split("-")), "")
    return ArmLaunch(
        arm=name,
        sha256=session["engines"].get(engine, REFERENCE),
        warmup_iterations=1,
        warmup_stable=True,
        images_per_second=1,
        timings=timings,
        course_ms={"engine": tuple(factor * us / 1000 for us in one["parts"])} if "parts" in one else {},
    )


def across(now: LatencyRecord, then: LatencyRecord, precision: str) -> LatencyRecord:
    """Return launches with an engine of one session beside its copies of another."""
    replay = replay_of(precision)
    found = []
    for mine, theirs in zip(now.launches, then.launches, strict=False):
        copies = {name: arm for name, arm in theirs.arms.items() if name in (replay, placebo_of(replay))}
        found.append(mine.model_copy(update={"arms": {precision: mine.arms[precision], **copies}}))
    return now.model_copy(update={"launches": tuple(found)})


def limits_of(session: Session) -> dict[str, Limit]:
    regressions = DEFAULT_REGRESSIONS[session["backend"].split()[0]]
    return {name: Limit(regression=threshold) for name, threshold in regressions.items()}


def by_replay(record: LatencyRecord, precision: str, limits: dict[str, Limit]) -> str:
    """Return the outcome of the comparison with the replayed baseline, by as many launches as the gate would make."""
    count, launches = SCREEN, record.launches
    while True:
        candidate = Candidate(
            record.model_copy(update={"launches": launches[:count]}), precision, "engine", limits, FAMILY
        )
        need = still_needed(candidate)
        if need is None or count >= len(launches):
            return str(worst(judge_latency(candidate, None, Against(baseline_of([], precision)))))
        count = min(len(launches), count + need.more)


def by_sessions(record: LatencyRecord, precision: str, limits: dict[str, Limit], stored: Sequence[Session]) -> str:
    """Return the outcome of the comparison with stored sessions."""
    kept = (precision, REFERENCE)
    launches = tuple(
        launch.model_copy(update={"arms": {n: launch.arms[n] for n in kept}}) for launch in record.launches[:SCREEN]
    )
    candidate = Candidate(record.model_copy(update={"launches": launches}), precision, "engine", limits, FAMILY)
    return str(worst(judge_latency(candidate, None, Against(baseline_of(stored, precision)))))


def by_platform(record: LatencyRecord, precision: str, stored: Sequence[Session]) -> str:
    """Return whether the platform is found changed."""
    found = platform_change(
        record.model_copy(update={"launches": record.launches[:SCREEN]}), baseline_of(stored, precision)
    )
    return "nothing to tell by" if found is None else "changed" if found.is_sure else "not changed"


def baseline_of(sessions: Sequence[Session], precision: str) -> Baseline:
    """Return a baseline of an engine with the first launches of some sessions."""
    kept = [(session, launches_of(session).launches[:SCREEN]) for session in sessions]
    first = sessions[0] if sessions else {"engines": {}, "machine": "none", "backend": "none 0"}
    backend, version = first["backend"].split()
    return Baseline(
        cell=Cell(model="shapes", precision=precision, imgsz=320, batch=1, backend=backend, device="cpu"),
        environment=Environment(
            machine=first["machine"],
            os="",
            arch="",
            python="",
            cpu="",
            cpu_count=1,
            memory_bytes=1,
            backend=backend,
            backend_version=version,
            device="cpu",
            versions={},
        ),
        engine_sha256=first["engines"].get(precision, ""),
        cache_key="none",
        accuracy={},
        reference_accuracy={},
        images=0,
        sessions=tuple(
            BaselineSession(
                recorded_at=session["recorded_at"],
                threads=launches[0].threads,
                launches=tuple(BaselineLaunch(timings=x.arms[precision].timings) for x in launches),
                reference_sha256=REFERENCE,
                reference=tuple(BaselineLaunch(timings=x.arms[REFERENCE].timings) for x in launches),
            )
            for session, launches in kept
        ),
    )


def judged(sessions: Sequence[Session], slower: float) -> Iterator[tuple[str, str, str]]:
    """Yield how, of which engine, and with which outcome all is judged that sessions of one kind allow."""
    limits = limits_of(sessions[0])
    alike = {p: [launches_of(session, slower, [p]) for session in sessions] for p in PRECISIONS}
    together = [launches_of(s, slower, tuple(s["launches"][-1]["arms"])) for s in sessions]
    for precision, records in alike.items():
        for record in records:
            yield "replay", precision, by_replay(record, precision, limits)
        for now, then in permutations(range(len(sessions)), 2):
            mixed = across(records[now], launches_of(sessions[then]), precision)
            yield "replay across sessions", precision, by_replay(mixed, precision, limits)
        for count in STORED:
            for now, chosen in choices(len(sessions), count):
                stored = [sessions[index] for index in chosen]
                said = f"{count} stored session{'s' if count > 1 else ''}"
                yield said, precision, by_sessions(records[now], precision, limits, stored)
                yield f"platform, {said}", precision, by_platform(together[now], precision, stored)


def choices(sessions: int, count: int) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield a session and some others, evenly over the sessions."""
    others = {now: [i for i in range(sessions) if i != now] for now in range(sessions)}
    for now in range(sessions):
        for chosen in islice(combinations(others[now], count), -(-MOST // sessions)):
            yield now, chosen


def main() -> None:
    """Judge, print and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recorded", type=Path, nargs="?", default=TRACES / "h200_sessions.json")
    parser.add_argument("--dry", action="store_true", help="Keep no figures")
    asked = parser.parse_args()
    kinds: dict[tuple[str, str], list[Session]] = {}
    for session in json.loads(asked.recorded.read_text())["sessions"]:
        kinds.setdefault((session["machine"], json.dumps(session["engines"])), []).append(session)
    found = [figures(sessions) for sessions in kinds.values()]
    if not asked.dry:
        keep("sessions", {"recorded": found})


def figures(sessions: Sequence[Session]) -> dict[str, Any]:
    """Judge the sessions of one machine and its engines, and print the table of all engines together."""
    rows: dict[tuple[str, str], dict[str, dict[str, int]]] = {}
    for slower in SLOWDOWNS:
        counts: dict[tuple[str, str], Counter[str]] = {}
        for how, precision, outcome in judged(sessions, slower):
            for name in (precision, "all"):
                counts.setdefault((how, name), Counter())[outcome] += 1
        for key, count in counts.items():
            rows.setdefault(key, {})[f"+{100 * slower:g} %"] = dict(count)
    described, drivers = sessions[0]["described"], sorted({str(session["driver"]) for session in sessions})
    dates = sorted(session["recorded_at"][:16] for session in sessions)
    print(f"\n{described}: {len(sessions)} sessions, {dates[0]} to {dates[-1]}, drivers {', '.join(drivers)}\n")
    print(f"| judged | {' | '.join(f'+{100 * s:g} %' for s in SLOWDOWNS)} |\n|{'---|' * (1 + len(SLOWDOWNS))}")
    for (how, precision), by_slower in rows.items():
        cells = [", ".join(f"{n} {outcome}" for outcome, n in sorted(c.items())) for c in by_slower.values()]
        if precision == "all":
            print(f"| {how} | {' | '.join(cells)} |")
    return {
        "described": described,
        "sessions": len(sessions),
        "first": dates[0],
        "last": dates[-1],
        "drivers": drivers,
        "judged": [{"how": how, "engine": precision, **row} for (how, precision), row in rows.items()],
    }


if __name__ == "__main__":
    main()
