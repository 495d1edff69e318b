"""What a cell's launches say of the GPU, and how long each layer of its engine takes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from ... import text as fmt
from ...records import REFERENCE, ArmLaunch, Launch, slower_layers
from ..numbers import CellNumbers, middle, ratio
from .parts import Fact, Row, Table

SHOWN = 10
"""So many layers are shown of each kind: the slowest, and those that lost most time."""


def device_facts(n: CellNumbers) -> tuple[Fact, ...]:
    """Return how a cell was timed on a GPU, and the GPU's readings meanwhile; nothing for a CPU."""
    launches = n.latency.of_arm(n.cell.precision) if n.latency else ()
    arms = [x.arms[n.cell.precision] for x in launches]
    if not arms:
        return ()
    both = arms, [x.arms[REFERENCE] for x in launches if REFERENCE in x.arms]
    host = n.times("host")
    facts = [
        _timed_by(arms[0]),
        Fact("By the host's clock, p50", fmt.ms(host.level_ms(50)) if host else ""),
        Fact("Copies, p50", _copies(n)),
        Fact("Energy per inference", _both(both, lambda arm: arm.energy_mj, lambda mj: fmt.amount(mj, "mJ"))),
        Fact("GPU memory", _both(both, lambda arm: arm.memory_peak_bytes, fmt.size)),
        *_states(launches),
    ]
    return tuple(fact for fact in facts if fact.value)


def _timed_by(arm: ArmLaunch) -> Fact:
    graph = "" if arm.cuda_graph is None else ", replayed from a CUDA graph" if arm.cuda_graph else ", no CUDA graph"
    return Fact("Engine timed by", "" if arm.clock == "host" else f"CUDA events{graph}")


def _copies(n: CellNumbers) -> str:
    there, back = n.times("copy-in"), n.times("copy-out")
    if there is None or back is None:
        return ""
    return f"in {fmt.ms(there.level_ms(50))}, out {fmt.ms(back.level_ms(50))}"


def _both(
    arms: Iterable[Sequence[ArmLaunch]], of: Callable[[ArmLaunch], float | None], shown: Callable[[float], str]
) -> str:
    """Return a median over launches of the engine, with that of the ``.pt``; empty where no launch has it."""
    values = (middle([value for one in launches if (value := of(one)) is not None]) for launches in arms)
    own, reference = ("" if value is None else shown(value) for value in values)
    return f"{own} (.pt {reference})" if own and reference else own


def _states(launches: Sequence[Launch]) -> list[Fact]:
    """Return the range of each reading of the GPU over all launches."""
    states = [state for launch in launches for state in launch.states]
    reasons = dict.fromkeys(reason for launch in launches for reason in launch.throttled)
    others = max(launch.foreign_processes for launch in launches)
    clocks = [s.sm_mhz for s in states]
    throttled = ", ".join(reasons) or ("no" if any(clock is not None for clock in clocks) else "")
    # Of several GPUs under one name, one may be the slower.
    uuids = dict.fromkeys(state.gpu_uuid for state in states if state.gpu_uuid)
    return [
        Fact("GPU", fmt.clip(", ".join(uuids), 200)),
        Fact("SM clock", _range(clocks, "MHz")),
        Fact("Memory clock", _range([s.memory_mhz for s in states], "MHz")),
        Fact("GPU temperature", _range([s.gpu_temperature_c for s in states], "\N{DEGREE SIGN}C")),
        Fact("Power", _range([s.power_w for s in states], "W")),
        Fact("Throttled", fmt.clip(throttled, 200)),
        Fact("Other processes on the GPU", str(others) if others else ""),
    ]


def _range(values: Sequence[float | None], unit: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = fmt.count(min(known)), fmt.count(max(known))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def layer_tables(n: CellNumbers) -> tuple[tuple[str, Table], ...]:
    """Return, with titles, the slowest layers of a cell's engine and those that lost most; none without profile."""
    profile = n.run.profiles.get(n.cell.key)
    if profile is None or not profile.layers:
        return ()
    stored = n.baseline.layers if n.baseline else ()
    then = {layer.name: layer.ms for layer in stored}
    now = {layer.name: layer.ms for layer in profile.layers}
    total = sum(layer.ms for layer in profile.layers)

    def table(title: str, names: Sequence[str]) -> tuple[str, Table]:
        rows = []
        for name in names:
            before = then.get(name)
            lost = None if before is None else ratio(now[name] - before, before)
            part = fmt.share(ratio(now[name], total))
            rows.append(Row((fmt.clip(name, 120), fmt.ms(now[name]), part, fmt.ms(before), fmt.percent(lost))))
        columns = ("Layer", "Mean", "Share", "Baseline", "Change")
        label, classes = f"{title}: {n.label}", {"Mean": "d"}
        return title, Table(label, columns, tuple(rows), kind="sortable layers", classes=classes, tall=True)

    slowest = sorted(now, key=lambda name: -now[name])[:SHOWN]
    worse = [change.name for change in slower_layers(profile.layers, stored)[:SHOWN]]
    count = f"{len(slowest)} slowest of {fmt.plural(len(now), 'layer')}, mean of {profile.runs} runs"
    tables = [table(f"The {count}", slowest)]
    if worse:
        tables.append(table("Layers that lost most time since the baseline", worse))
    return tuple(tables)
