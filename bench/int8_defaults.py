"""Whether another way to quantize is never worse than the exporter's: ten small networks of five tasks, on the CPU.

    python bench/int8_networks.py FOLDER             # once: the networks
    python bench/int8_defaults.py FOLDER [NAME ...]  # an hour of two cores; writes results/int8_defaults.json
    python bench/int8_defaults.py --table            # prints the table of docs/how-to/int8.md from that

All candidates are evaluated on the same images, and each is compared with the exporter's INT8 by the paired bootstrap.
"Worse" is a gated metric that is lower by more than the margin, or lower with a 95 % interval that excludes 0.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from int8_networks import NETWORKS
from machine import RESULTS, keep

from pytest_trtgate import Machine
from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs import LocalLauncher
from pytest_trtgate.measuring import Caller, Engines, Evaluations, check_inputs, make_plan
from pytest_trtgate.quantizing import Candidate
from pytest_trtgate.records import GATED, AccuracyRecord
from pytest_trtgate.repairing import Given, Trials
from pytest_trtgate.settings import DEPLOYMENT_CONF, Int8, project_settings
from pytest_trtgate.verdicts.evidence import gather

CANDIDATES: dict[str, dict[str, Any]] = {
    "exporter": {},
    "minmax": {"calibrator": "minmax"},
    "per channel": {"per_channel": True},
    "reduced range": {"reduce_range": True},
    "percentile-99.99": {"calibrator": "percentile-99.99"},
    "entropy": {"calibrator": "entropy"},
}
"""The exporter's first. Min-max is the same engine, so that it shows the noise of p50. ONNX Runtime has no MSE."""
MARGIN = 0.002
"""A metric may be so much lower without being called worse, where its interval includes 0."""
SLOWER = 1.05
"""A candidate is slower where its p50 is more than so many times the exporter's, in the same launch."""
SETTINGS = """
models = ["{name}.pt"]
data = "{data}"
imgsz = {imgsz}
precisions = ["int8"]
device = "cpu"
cache_dir = "cache"
[latency]
samples = 200
"""


def given(name: str, folder: Path) -> Given:
    """Return what trials work with, of one network's folder."""
    data = "data" if NETWORKS[name].task == "classify" else "data/data.yaml"
    (folder / "trtgate.toml").write_text(SETTINGS.format(name=name, data=data, imgsz=320 if name == "shapes" else 160))
    settings, _ = project_settings(folder)
    machine = Machine(locks=folder / "locks")
    plan = make_plan(settings, "onnxruntime", "cpu")
    cell = plan.cells[0]
    launcher = LocalLauncher(locks=machine.device_locks())
    return Given(
        cell=cell,
        settings=settings,
        weights=plan.weights[cell.model],
        dataset=check_inputs(settings, plan)[cell.model],
        environment=machine.environment("onnxruntime", "cpu", folder),
        caller=Caller(launcher, machine, lambda _: None, lambda _: None),
    )


def study(name: str, folder: Path) -> dict[str, Any]:
    """Return the metrics of a network's FP32, and of each candidate its metrics, how they compare, and its p50."""
    found: dict[str, Any] = {"task": NETWORKS[name].task, "candidates": {}}
    work = given(name, folder)
    with Trials(work, folder / "study", math.inf, print) as trials:
        trials.look()
        asked = {label: Candidate(Int8(**settings)) for label, settings in CANDIDATES.items()}
        first: tuple[Path, AccuracyRecord] | None = None
        for label, candidate in asked.items():
            trials.number += 1
            context = trials.set_up(candidate, 1.0)
            engines = Engines(context)
            try:
                reference, engine = Evaluations(engines, [work.cell]).pair(work.cell)
            except JobError as error:
                found["candidates"][label] = {"problem": str(error)}
                continue
            finally:
                context.workspace.close()
            trials.engines[candidate] = engines.of(work.cell)
            here = context.workspace.path, engine
            first = first or here
            found["images"] = engine.images
            found["fp32"] = {metric: round(reference.metrics[metric], 4) for metric in GATED[engine.task]}
            found["candidates"][label] = _compared(first, here)
            print(name, label, json.dumps(found["candidates"][label]), flush=True)
        for candidate, p50_ms in trials.time(asked.values()).items():
            label = next(one for one, other in asked.items() if other == candidate)
            found["candidates"][label]["p50_ms"] = round(p50_ms, 2)
    return found


def _compared(first: tuple[Path, AccuracyRecord], here: tuple[Path, AccuracyRecord]) -> dict[str, Any]:
    """Return a candidate's metrics, and by how much each is over the exporter's, with its paired 95 % interval."""
    engine = here[1]
    metrics = {metric: round(engine.metrics[metric], 4) for metric in GATED[engine.task]}
    # Paths of records are relative to the folder of their own trial.
    placed = (one.model_copy(update={"per_image": str(folder / one.per_image)}) for folder, one in (first, here))
    drops = gather(Path("/"), *placed, DEPLOYMENT_CONF, decides=True).comparison.metrics
    gains = {
        metric: [round(-value, 4) for value in (drop.drop, *reversed(drop.interval))] for metric, drop in drops.items()
    }
    return {"metrics": metrics, "gain": {metric: gains[metric] for metric in metrics if metric in gains}}


def is_worse(candidate: dict[str, Any]) -> bool:
    """Return whether any gated metric of a candidate is worse than the exporter's."""
    return "problem" in candidate or any(gain < -MARGIN or high < 0 for gain, _, high in candidate["gain"].values())


def table(networks: dict[str, Any]) -> Iterable[str]:
    """Yield the rows: by network, FP32's worst-off metric, then each candidate's difference from the exporter's."""
    labels = list(CANDIDATES)[1:]
    yield "| network | metric | FP32 | exporter | " + " | ".join(labels) + " |"
    yield "|---|---" * 2 + "|---" * len(labels) + "|"
    for name, found in networks.items():
        metric = list(found["fp32"])[-1] if found["task"] != "classify" else next(iter(found["fp32"]))
        base = found["candidates"]["exporter"]["metrics"][metric]
        cells = [_cell(found["candidates"][label], metric) for label in labels]
        yield f"| {name} | {metric} | {found['fp32'][metric]:.4f} | {base:.4f} | " + " | ".join(cells) + " |"
    worse = [sum(is_worse(found["candidates"][label]) for found in networks.values()) for label in labels]
    yield "| worse on | | | | " + " | ".join(f"{count} of {len(networks)}" for count in worse) + " |"
    yield "| p50 | | | | " + " | ".join(_times(networks, label) for label in labels) + " |"


def _cell(candidate: dict[str, Any], metric: str) -> str:
    if "problem" in candidate:
        return "not possible"
    said = f"{candidate['gain'][metric][0]:+.4f}"
    return f"**{said}**" if is_worse(candidate) else said


def _times(networks: dict[str, Any], label: str) -> str:
    """Return the least and the largest ratio of a candidate's p50 to the exporter's."""
    ratios = [
        one["candidates"][label]["p50_ms"] / one["candidates"]["exporter"]["p50_ms"]
        for one in networks.values()
        if "p50_ms" in one["candidates"][label]
    ]
    return f"{min(ratios):.2f} to {max(ratios):.2f}"


def main(arguments: list[str]) -> None:
    """Study the networks, keep the figures, and print the table."""
    kept = RESULTS / "int8_defaults.json"
    figures = json.loads(kept.read_text())["networks"] if kept.is_file() else {}
    if arguments != ["--table"]:
        folder, *names = arguments
        for name in names or NETWORKS:
            figures[name] = study(name, Path(folder).resolve() / name)
            ordered = {known: figures[known] for known in NETWORKS if known in figures}
            keep("int8_defaults", {"margin": MARGIN, "networks": ordered})
    print("\n".join(table(figures)))


if __name__ == "__main__":
    main(sys.argv[1:])
