"""Baselines of older versions, written as this version writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from ..machine import minor
from ..records import AccuracyBaseline, Baseline, as_json, read_bytes
from .store import BaselineStore, any_baseline, fitting, save_baseline


def migrate(root: Path, versions: Mapping[str, str]) -> Iterator[str]:
    """Take accuracies out of the files of machines, and write those as columns.

    Args:
        root: The folder of the baselines.
        versions: What is installed here, by package: a latency of another release has to be measured anew.

    Yields:
        A sentence per file that was written, and per kind of machine whose latencies are of another release.

    Raises:
        BaselineError: A file cannot be written.
    """
    files = {path: any_baseline(path) for path in sorted(root.glob("*/*/*.json"))}
    latencies = {path: one for path, one in files.items() if isinstance(one, Baseline)}
    yield from _take_accuracies(root, latencies)
    gone = ("accuracy", "reference_accuracy", "accuracy_settings", "images", "data_digest", "latest_ms")
    blank = {name: Baseline.model_fields[name].get_default(call_default_factory=True) for name in gone}
    for path, baseline in latencies.items():
        environment = baseline.environment.model_copy(update={"commit": None})
        changed = blank | {"weights_sha256": baseline.checkpoint_sha256, "environment": environment}
        after = fitting(baseline.model_copy(update=changed))
        before = read_bytes(path)
        if as_json(after) != before:
            save_baseline(path, after)
            yield f"{path}: {len(before):,} -> {len(as_json(after)):,} bytes"
    yield from (f"{path}: cannot be read, left as it is" for path, found in files.items() if found is None)
    machines = {path.parts[-3] for path in latencies}
    for machine in sorted(machines):
        kind, _, runtime = machine.rpartition("_")
        backend = runtime.partition("-")[0]
        here = versions.get(backend, "")
        if here and f"{kind}_{backend}-{minor(here)}" not in machines:
            yield (
                f"{machine}: {backend} {here} is installed here; accuracies stay comparable, and latencies need one "
                "session of it: pytest --trt-baselines=add"
            )


def _take_accuracies(root: Path, latencies: Mapping[Path, Baseline]) -> Iterator[str]:
    """Write the newest accuracy of each cell and backend to a file of its own, where it has none."""
    found: dict[Path, dict[str, AccuracyBaseline]] = {}
    for path, baseline in latencies.items():
        if accuracy := AccuracyBaseline.of(baseline):
            place = BaselineStore(root, baseline.environment).accuracy_path(baseline.cell)
            found.setdefault(place, {})[path.parts[-3]] = accuracy
    for place, of_machines in found.items():
        if place.exists():
            continue
        machine, newest = max(of_machines.items(), key=lambda one: one[1].recorded_at)
        save_baseline(place, newest)
        others = [name for name in of_machines if name != machine]
        left = f"; {', '.join(others)} had one of its own, measured earlier" if others else ""
        yield f"{place}: the accuracy of {machine}{left}"
