"""What is otherwise with an engine than with the one that was accepted."""

from __future__ import annotations

from collections.abc import Iterator

from ... import text as fmt
from ...records import Accepted, Built, EngineRecord, Subject
from ..numbers import CellNumbers, ratio

SHOWN = 6
"""So many changes are told."""


def changed_since(n: CellNumbers, subject: Subject) -> str:
    """Return what changed since the baseline of a subject, in a sentence; empty without one, or for the same engine."""
    stored, engine = n.accepted if subject == "accuracy" else n.baseline, n.engine
    if stored is None or engine is None or stored.engine_sha256 == engine.sha256:
        return ""
    found = list(_changes(stored, engine)) + list(_versions(stored, n))
    if not found:
        same = ", of the same weights" if _weights(engine) == stored.checkpoint_sha256 else ""
        return f"Changed since the baseline: the engine{same}; what made it differ is not known."
    more = f", {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return f"Changed since the baseline: {', '.join(found[:SHOWN])}{more}."


def quantization_cost(n: CellNumbers) -> str:
    """Return what ``quantization.int8`` costs in speed; empty where no engine with other settings was accepted."""
    stored, engine = n.baseline, n.engine
    asked = engine.quantization.settings if engine and engine.quantization else {}
    if stored is None or engine is None or stored.built is None or stored.built.quantization in (None, asked):
        return ""
    others = stored.cell.backend != engine.cell.backend or stored.checkpoint_sha256 != _weights(engine)
    then, now = n.before_ms(n.context, 50), n.level_ms(50)
    times = ratio(now, then)
    if not asked or others or times is None or any(_versions(stored, n)):
        return ""
    how = "with other settings" if stored.built.quantization else "as the exporter does"
    where = "in this run" if n.replayed(n.context) else "in its stored sessions"
    cost = f"{fmt.percent(times - 1)} of p50 ({fmt.ms(then)} to {fmt.ms(now)})"
    return f"{cost}, against the accepted engine, {where}, quantized {how}"


def _weights(engine: EngineRecord) -> str:
    return str(engine.key_parts.get("weights", ""))


def _changes(stored: Accepted, engine: EngineRecord) -> Iterator[str]:
    """Yield how weights, calibration, layers and size changed, as far as the baseline has them."""
    then, now = stored.checkpoint_sha256, _weights(engine)
    if then and now and then != now:
        yield f"weights ({fmt.digest(then, 8)} to {fmt.digest(now, 8)})"
    if stored.built is None or stored.cell.backend != engine.cell.backend:
        return
    was, is_ = stored.built, Built.of(engine)
    if was.calibration != is_.calibration:
        yield f"calibration ({_calibrated(was)} to {_calibrated(is_)})"
    if was.quantization is not None and was.quantization != is_.quantization:
        yield "quantization.int8"
    if None not in (was.layers, is_.layers) and was.layers != is_.layers:
        yield f"layers ({was.layers} to {is_.layers})"
    if was.size_bytes != is_.size_bytes and engine.runs:
        sizes = fmt.size(was.size_bytes), fmt.size(is_.size_bytes)
        if sizes[0] == sizes[1]:
            sizes = fmt.count(was.size_bytes), f"{fmt.count(is_.size_bytes)} bytes"
        yield f"size ({sizes[0]} to {sizes[1]})"


def _calibrated(built: Built) -> str:
    images = fmt.plural(built.calibration_images, "image")
    return f"{images}, {fmt.digest(built.calibration, 8)}" if built.calibration else "none"


def _versions(stored: Accepted, n: CellNumbers) -> Iterator[str]:
    """Yield the versions that changed."""
    then, now = ({**e.versions, e.backend: e.backend_version} for e in (stored.environment, n.run.environment))
    for name in sorted(then.keys() & now.keys()):
        if then[name] != now[name]:
            yield f"{fmt.clip(name, 40)} ({fmt.clip(then[name], 40)} to {fmt.clip(now[name], 40)})"
