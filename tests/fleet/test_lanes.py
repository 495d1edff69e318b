"""Models of a run measured on several machines at once, ahead of their tests, in runs with fake jobs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import NoReturn

import pytest
from fake_jobs import Behaviour
from project import Project

from pytest_trtgate.fleet import FleetLanes, FleetLauncher, WorkerLostError
from pytest_trtgate.records import JobRecord, Outcome

HOOKS = """
import json, os, pickle, signal, threading
from pathlib import Path
from typing import get_args
from fake_fleet import FakeFleet
from other_machine import OtherMachine
from pytest_trtgate.fleet import WorkersMachine
from pytest_trtgate.jobs import JobKind

FOLDER = Path({folder!r})
FATAL = ""
INTERRUPTS = ""

class Machine(OtherMachine):
    dead = False

    def _call(self, method, arguments):
        name = json.loads(pickle.loads(arguments)[0])["name"] if method == "work" else ""
        if name and name == INTERRUPTS:
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        if FATAL and name == FATAL and not any(one.dead for one in FLEET.made):
            self.dead = True
        if self.dead:
            raise ConnectionError("its node died")
        return super()._call(method, arguments)

def made(folder):
    own = PretendedMachine(locks=folder, **MACHINE)
    return Machine(folder, machine=own, modules=dict.fromkeys(get_args(JobKind), "fake_jobs"))

FLEET = FakeFleet(FOLDER, {machines}, made, {most})

def pytest_trtgate_launcher(config):
    return FLEET.lanes

def pytest_trtgate_machine(config):
    return WorkersMachine(temporary=(), ask=lambda *what: FLEET.lanes.ask(*what))

def pytest_unconfigure():
    (FOLDER / "ended.json").write_text(json.dumps([one.ended for one in FLEET.made]))
    status = Path("/proc/self/status").read_text()
    (FOLDER / "peak_kb.txt").write_text(status.partition("VmHWM:")[2].split()[0])
"""
MODELS = tuple(f"m{number}" for number in range(6))


def gate(
    project: Project, folder: Path, *more: str, machines: int = 3, most: int | None = None, hooks: str = ""
) -> pytest.RunResult:
    """Gate an engine of each of six models, whose jobs take a fifth of a second."""
    prepare(project, folder, machines, most, hooks)
    return project.run("--trt-precision=fp16", "-s", *more)


def prepare(project: Project, folder: Path, machines: int = 3, most: int | None = None, hooks: str = "") -> None:
    """Give a project six models and some machines."""
    names = []
    for number, model in enumerate(MODELS):
        Behaviour(map50_95=0.7 + number / 100, seconds=0.2).save(project.path / f"{model}.pt")
        names.append(f"{model}.pt")
    project.settings(top="fresh = true\n", base=SETTINGS.format(models=json.dumps(names)))
    project.hooks(HOOKS.format(folder=str(folder), machines=machines, most=most) + hooks)


SETTINGS = """
models = {models}
data = "data/data.yaml"
imgsz = 320
cache_dir = "cache"

[latency]
samples = 60
"""


def jobs_of(project: Project, model: str) -> list[JobRecord]:
    """Return the jobs of a model that use the device, in their order."""
    found = [job for job in project.record.jobs if re.search(rf"-{model}(-|$)", job.name)]
    return sorted((job for job in found if job.node), key=lambda job: job.began_s or 0)


def outcomes(project: Project) -> dict[str, dict[str, Outcome]]:
    found: dict[str, dict[str, Outcome]] = {model: {} for model in MODELS}
    for verdict in project.record.verdicts:
        found[verdict.cell.model][verdict.subject] = verdict.outcome
    return found


FINE = {"accuracy": Outcome.NO_BASELINE, "latency": Outcome.NO_BASELINE}


def told(project: Project) -> list[tuple[str, str, Outcome, list[str]]]:
    """Return the verdicts without what differs from run to run."""
    return [(v.cell.key, v.subject, v.outcome, [check.name for check in v.checks]) for v in project.record.verdicts]


def test_models_are_spread_over_machines_and_each_stays_on_one(project: Project, tmp_path: Path) -> None:
    done = gate(project, tmp_path)
    assert done.ret == 0, done.outlines
    assert outcomes(project) == dict.fromkeys(MODELS, FINE)
    nodes = {model: {job.node for job in jobs_of(project, model)} for model in MODELS}
    assert all(len(used) == 1 for used in nodes.values()), nodes
    assert set().union(*nodes.values()) == {"machine-0", "machine-1", "machine-2"}
    for model in MODELS:
        kinds = [job.name.split("-")[0] for job in jobs_of(project, model)]
        assert kinds[:3] == ["build", "accuracy", "launch"]
        launches = [job.name for job in jobs_of(project, model) if job.kind == "latency"]
        assert launches == [f"launch-{model}-{number + 1}" for number in range(3)]
    assert json.loads((tmp_path / "ended.json").read_text()) == [True] * 3


def test_verdicts_are_those_of_one_machine(project: Project, tmp_path: Path) -> None:
    gate(project, tmp_path / "many", hooks="(FOLDER).mkdir(exist_ok=True)\n")
    many = told(project)
    gate(project, tmp_path / "one", machines=1, hooks="(FOLDER).mkdir(exist_ok=True)\n")
    assert told(project) == many
    assert {job.node for job in project.record.jobs} == {"machine-0"}


def test_all_machines_are_kept_busy_by_a_small_coordinator(project: Project, tmp_path: Path) -> None:
    prepare(project, tmp_path)
    done = project.run_apart("--trt-precision=fp16")
    assert done.ret == 0, done.output
    assert int((tmp_path / "peak_kb.txt").read_text()) < 300_000
    jobs = [job for model in MODELS for job in jobs_of(project, model)]
    first_s = min(job.began_s or 0 for job in jobs)
    wall_s = max((job.began_s or 0) + job.seconds for job in jobs) - first_s
    busy_s = sum(job.seconds for job in jobs)
    assert busy_s / (3 * wall_s) > 0.5  # one after the other it is 0.33; on idle cores over 0.7


def test_the_settings_limit_how_many_machines_are_used(project: Project, tmp_path: Path) -> None:
    assert gate(project, tmp_path, most=2).ret == 0
    assert {job.node for job in project.record.jobs if job.node} == {"machine-0", "machine-1"}


def test_a_machine_that_dies_while_it_times_costs_its_model_alone(project: Project, tmp_path: Path) -> None:
    done = gate(project, tmp_path, hooks="FATAL = 'launch-m1-2'\n")
    assert done.ret == 1
    found = outcomes(project)
    assert found.pop("m1") == {"accuracy": Outcome.NO_BASELINE, "latency": Outcome.ERROR}
    assert found == {model: FINE for model in MODELS if model != "m1"}
    (error,) = (v for v in project.record.verdicts if v.failed)
    assert re.search(r"the worker on machine-\d ended \(its node died\)", error.summary), error.summary
    assert not [job.name for job in project.record.jobs if job.name.startswith("probe-")]  # what would that tell


def test_a_machine_that_dies_before_it_timed_anything_costs_nothing(project: Project, tmp_path: Path) -> None:
    done = gate(project, tmp_path, hooks="FATAL = 'accuracy-m1-pt+fp16'\n")
    assert done.ret == 0, done.outlines
    assert outcomes(project) == dict.fromkeys(MODELS, FINE)
    assert len({job.node for job in jobs_of(project, "m1")}) == 2


def test_an_interrupt_ends_all_lanes(project: Project, tmp_path: Path) -> None:
    done = gate(project, tmp_path, hooks="INTERRUPTS = 'accuracy-m2-pt+fp16'\n")
    assert done.ret == pytest.ExitCode.INTERRUPTED
    assert all(json.loads((tmp_path / "ended.json").read_text()))
    assert len(project.record.jobs) < 20
    assert project.record.unfinished == "the run was interrupted"


def test_a_run_that_ends_early_waits_for_no_lane(project: Project, tmp_path: Path) -> None:
    project.tests("def test_latency(trtgate):\n    trtgate.check_latency()\n    assert False\n")
    done = gate(project, tmp_path, "-x")
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    assert len([job for job in project.record.jobs if job.kind == "latency"]) < 3 * len(MODELS)
    assert all(json.loads((tmp_path / "ended.json").read_text()))


def test_a_machine_that_becomes_free_later_is_taken(project: Project, tmp_path: Path) -> None:
    later = """
free = FLEET.lanes._free
FLEET.lanes._free = lambda: free() if any(len(one.sent) > 6 for one in FLEET.made) else 0
"""
    done = gate(project, tmp_path, machines=2, hooks=later)
    assert done.ret == 0, done.outlines
    assert outcomes(project) == dict.fromkeys(MODELS, FINE)
    assert len({job.node for model in MODELS for job in jobs_of(project, model)}) == 2


def test_machines_that_are_unlike_the_first_cost_nothing(project: Project, tmp_path: Path) -> None:
    unlike = """
def made(folder):
    own = PretendedMachine(locks=folder, **{**MACHINE, **({"installed": {}} if FLEET.made else {})})
    return Machine(folder, machine=own, modules=dict.fromkeys(get_args(JobKind), "fake_jobs"))

FLEET._make = made
"""
    done = gate(project, tmp_path, hooks=unlike)
    assert done.ret == 0, done.outlines
    assert outcomes(project) == dict.fromkeys(MODELS, FINE)
    assert {job.node for job in project.record.jobs if job.node} == {"machine-0"}
    assert all(json.loads((tmp_path / "ended.json").read_text()))


KINDS = """
import time
from pytest_trtgate import fleet

KINDS = {{"a": FLEET.lanes, "b": None}}

def lanes_of(settings, say):
    return KINDS[settings.machines[0]]

def pytest_trtgate_launcher(config):
    return None

def pytest_trtgate_machine(config):
    return None

def joined():
    began = time.monotonic()
    {waits}
    (FOLDER / "waited_s.txt").write_text(str(time.monotonic() - began))
    FLEET.made.append(made(FOLDER / "b"))
    return FLEET.made[-1]

stopping = threading.Event()
KINDS["b"] = fleet.FleetLanes(fleet.FleetLauncher(joined, stopping=stopping), int)
fleet.lanes_of = lanes_of
"""


@pytest.mark.parametrize(
    "waits",
    ["stopping.wait(60)", "while not (FOLDER / 'go').exists(): time.sleep(0.05)"],
    ids=["is waited for", "was joined and not used"],
)
def test_a_run_that_ends_gives_back_a_machine_that_it_only_joins(project: Project, tmp_path: Path, waits: str) -> None:
    project.tests(
        f"""
        import time
        from pathlib import Path

        def test_accuracy(trtgate):
            trtgate.check_accuracy()
            Path({str(tmp_path)!r}, "go").touch()
            time.sleep(1.5)
            assert False
        """
    )
    prepare(project, tmp_path, machines=1, hooks=KINDS.format(waits=waits))
    settings = project.path / "trtgate.toml"
    kinds = 'backend = "onnxruntime"\nmachines = ["a", "b"]\nfleet = { address = "x" }\n'
    settings.write_text(kinds + settings.read_text())
    done = project.run_apart("-x", "--trt-precision=fp16")
    assert done.ret == pytest.ExitCode.TESTS_FAILED, done.output
    assert "Traceback" not in done.output
    assert all(json.loads((tmp_path / "ended.json").read_text()))
    assert float((tmp_path / "waited_s.txt").read_text()) < 30


def test_what_comes_after_all_machines_were_given_back_waits_for_one() -> None:
    asked = []

    def machine() -> NoReturn:
        asked.append(1)
        raise WorkerLostError("nobody there")

    first = FleetLauncher(machine)
    fleet = FleetLanes(first, free=lambda: 2)
    assert fleet.lanes(2) == 2
    fleet.close()
    with pytest.raises(WorkerLostError, match="nobody there"):
        _ = fleet.connection
    assert asked == [1]
