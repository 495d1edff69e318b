"""Jobs on nodes of a Ray cluster, with fake jobs in processes; skipped where Ray is not installed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_jobs import VIDEO, Behaviour
from project import Project, is_running, python_path, wait_for

from pytest_trtgate.errors import JobError, SettingsError
from pytest_trtgate.fleet import FleetLauncher, RayCluster, WorkerLostError
from pytest_trtgate.jobs import ClipRequest, Job, ProfileRequest
from pytest_trtgate.records import RunRecord, load_run

pytest.importorskip("ray")
from ray_nodes import FakeNodeWorker, Nodes

# Ray opens files and sockets that it leaves to the collector, and names what it will do otherwise one day.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ORPHANS_S = 30.0


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """A cluster with two machines of kind a, one of kind b, and one that says it is c and is not."""
    found = Nodes(tmp_path_factory.mktemp("nodes"))
    for label in ("a", "a", "b"):
        found.add(label)
    found.add("c", kind="d")
    for _ in range(2):
        found.add("b2")
    yield found
    found.close()


@pytest.fixture
def launchers(nodes: Nodes) -> Iterator[Any]:
    """Return launchers to kinds of machines; their workers end with the test."""
    made = []

    def make(kind: str, **more: Any) -> FleetLauncher:
        made.append(FleetLauncher(RayCluster(nodes.address, kind, worker=FakeNodeWorker, **more).connect))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


def clip_job(folder: Path) -> Job:
    path = folder / "clip.mp4"
    path.write_bytes(VIDEO)
    return Job("clip", ClipRequest(clip=str(path)), "", 60.0)


def slow_job(folder: Path, seconds: float = 0.0, **faults: str) -> Job:
    """A job on the device, which is a profile since that is the simplest."""
    behaviour = Behaviour(seconds=seconds, faults={f"profile-{arm}": fault for arm, fault in faults.items()})
    engine = behaviour.save(folder / "engine.onnx")
    return Job("slow", ProfileRequest(arm="int8", artifact=str(engine), device="cpu", runs=1), "cpu", 60.0)


def run(launcher: FleetLauncher, job: Job, folder: Path) -> list[str]:
    told: list[str] = []
    launcher.run(job, folder / "jobs" / job.name, told.append)
    return told


def test_a_job_is_done_on_a_machine_of_the_kind_that_was_asked_for(
    launchers: Any, nodes: Nodes, tmp_path: Path
) -> None:
    launcher = launchers("b")
    told = run(launcher, slow_job(tmp_path, 0.6), tmp_path)
    assert [line.rpartition(":")[0] for line in told] == [f"{launcher.connection.name}: 1"]
    assert launcher.connection.call("loaded").result() == []
    kept = list(nodes.folder.glob("home-*/cache/pytest-trtgate/content/*"))
    assert {path.parts[len(nodes.folder.parts)] for path in kept} == {"home-3"}


@pytest.fixture
def over_ray(nodes: Nodes, project: Project) -> Project:
    """A project whose fleet is the cluster: all is as a user has it, but for what the nodes run."""
    project.settings("launches = 3\n", top=f'backend = "onnxruntime"\nfleet = {{ address = "{nodes.address}" }}\n')
    (project.path / "conftest.py").write_text(
        "from pytest_trtgate.fleet import RayCluster\n"
        "from ray_nodes import FakeNodeWorker\n"
        "RayCluster.__init__.__kwdefaults__['worker'] = FakeNodeWorker\n"
    )
    return project


def test_the_settings_name_a_cluster_and_the_command_line_a_machine(nodes: Nodes, over_ray: Project) -> None:
    project = over_ray
    seen = []
    for kind in ("a", "b"):
        done = project.run_apart("--trt-precision=fp16", f"--trt-machine={kind}", "-s", every_plugin=True)
        assert done.ret == 0, done.output
        assert project.outcomes("latency") == {"fp16": "NO_BASELINE"}
        assert f"asked for; {kind} of the Ray cluster {nodes.address}" in done.output
        assert project.record.environment.power == "governor performance"  # of the node, and not of this machine
        seen.append(project.record.environment.extra["node"])
    assert len(set(seen)) == 2


def test_one_split_is_evaluated_on_two_machines_of_a_kind_as_in_one_pass(nodes: Nodes, over_ray: Project) -> None:
    project, seen = over_ray, []
    arguments = ("--trt-machine=a", "--trt-precision=fp16", "-k", "accuracy", "-s")
    for shards in (1, 3):  # there are two
        fleet = f'{{ address = "{nodes.address}", shards = {shards} }}'
        project.settings(top=f'backend = "onnxruntime"\nfresh = true\nfleet = {fleet}\n')
        done = project.run_apart(*arguments, every_plugin=True)
        assert done.ret == 0, done.output
        assert ("4 images in 2 parts, on as many machines" in done.output) == (shards > 1)
        found = [one.model_dump(exclude={"per_image", "measured_at"}) for one in project.record.accuracies]
        seen.append(found)
    assert seen[0] == seen[1]
    assert [one["images"] for one in seen[0]] == [4, 4]
    names = {job.name for job in project.record.jobs if job.kind in ("accuracy", "merge")}
    assert names == {f"accuracy-shapes-pt+fp16{part}" for part in ("", "-2-of-2", "-merged")}


BOTH = ("--trt-machine=a", "--trt-machine=b", "-s")
MANY_PRECISIONS = ("fp32", "fp16", "int8")


def record_of(project: Project, machine: str) -> RunRecord:
    return load_run(project.path / "reports" / machine / "run.json")


def test_one_session_gates_on_two_kinds_each_cell_on_its_own(nodes: Nodes, over_ray: Project) -> None:
    done = over_ray.run_apart(*BOTH, every_plugin=True)
    assert done.ret == 0, done.output
    of_kind = {label: {node.node_id[:8] for node in nodes.of(label)} for label in "ab"}
    for machine in "ab":
        run = record_of(over_ray, machine)
        assert {(v.cell.machine, v.cell.precision, v.subject) for v in run.verdicts} == {
            (machine, precision, subject) for precision in MANY_PRECISIONS for subject in ("accuracy", "latency")
        }
        node = re.fullmatch(r".* \((\w{8})\)", run.environment.extra["node"])
        assert node is not None
        assert node[1] in of_kind[machine]
        assert run.environment.machine == f"{machine}_onnxruntime-1.31"
        assert run.environment.cpu == f"CPU of {machine}"
        assert {job.kind for job in run.jobs} >= {"accuracy", "latency"}
        assert f"trtgate: {machine}: shapes: launch 1 of 3" in done.output


def several_models(project: Project, behaviour: Behaviour, *, machine: str) -> tuple[str, ...]:
    """Give a project four models, and return the arguments for an engine of each on a kind of machine."""
    for number in range(4):
        behaviour.map50_95 = 0.7 + number / 100
        behaviour.save(project.path / f"m{number}.pt")
    models = (f"--trt-model=m{number}.pt" for number in range(4))
    return ("--trt-precision=fp16", f"--trt-machine={machine}", "-s", *models)


def test_models_of_a_session_are_measured_on_all_machines_of_a_kind(nodes: Nodes, over_ray: Project) -> None:
    process = over_ray.start(*several_models(over_ray, Behaviour(seconds=0.3), machine="b2"), every_plugin=True)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    used = {model: {job.node for job in over_ray.record.jobs if f"-{model}-" in f"{job.name}-"} for model in MODELS}
    timed = {job.node for job in over_ray.record.jobs if job.kind == "latency"}
    assert {node[-9:-1] for node in timed} == {node.node_id[:8] for node in nodes.of("b2")}
    assert all(len(its - {""}) == 1 for its in used.values()), used


MODELS = ("m0", "m1", "m2", "m3")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_on_any_node_of_a_session_that_ends(nodes: Nodes, over_ray: Project, number: int) -> None:
    hanging = Behaviour(faults={"latency-fp16": "hang"})
    before = set(nodes.folder.glob("home-*/cache/pytest-trtgate/tmp/*/jobs/*/pid.txt"))
    process = over_ray.start(*several_models(over_ray, hanging, machine="b2"), every_plugin=True)

    def started() -> list[int]:
        pids = []
        for path in set(nodes.folder.glob("home-*/cache/pytest-trtgate/tmp/*/jobs/*/pid.txt")) - before:
            with suppress(OSError):  # the folder of a build goes when the next job comes
                if "samples_file" in path.with_name("request.json").read_text():  # a launch, which hangs
                    pids.append(int(path.read_text() or 0))
        return pids if len(pids) == 2 and all(pids) else []

    pids = wait_for(started, 120.0)
    assert all(map(is_running, pids))
    process.send_signal(number)
    process.communicate(timeout=ORPHANS_S)
    wait_for(lambda: not any(map(is_running, pids)), ORPHANS_S)


def test_a_machine_that_dies_in_a_session_costs_only_its_own_cells(nodes: Nodes, over_ray: Project) -> None:
    lone = nodes.add("lone")
    over_ray.weights(Behaviour(seconds=2.0))
    process = over_ray.start("--trt-machine=lone", "--trt-machine=b", "-s", "--trt-precision=fp16", every_plugin=True)
    second = "reports/lone/trtgate-runs/*/jobs/launch-shapes-2/request.json"
    wait_for(lambda: list(over_ray.path.glob(second)), 120.0)
    nodes.cluster.remove_node(lone, False)
    output = process.communicate(timeout=180)[0]
    assert process.returncode == 1, output
    outcomes = {m: {v.subject: str(v.outcome) for v in record_of(over_ray, m).verdicts} for m in ("lone", "b")}
    assert outcomes["lone"] == {"accuracy": "NO_BASELINE", "latency": "ERROR"}
    assert outcomes["b"] == {"accuracy": "NO_BASELINE", "latency": "NO_BASELINE"}
    (error,) = (v for v in record_of(over_ray, "lone").verdicts if v.subject == "latency")
    assert re.search(r"the worker on .* (ended|cannot be reached)", error.summary), error.summary


def test_a_kind_that_is_not_there_costs_only_its_own_cells(over_ray: Project) -> None:
    done = over_ray.run_apart("--trt-machine=x", "--trt-machine=b", "--trt-precision=fp16", every_plugin=True)
    assert done.ret == 1, done.output
    assert {str(v.outcome) for v in record_of(over_ray, "x").verdicts} == {"ERROR"}
    assert {str(v.outcome) for v in record_of(over_ray, "b").verdicts} == {"NO_BASELINE"}
    assert "has no machine 'x'; it has: a, b, b2, c" in done.output


def test_a_machine_that_dies_is_replaced_while_nothing_was_timed(launchers: Any, nodes: Nodes, tmp_path: Path) -> None:
    launcher = launchers("a")
    first = launcher.connection.name
    third = nodes.add("a")
    victims = [node for node in nodes.cluster.list_all_nodes() if node.node_id[:8] in first]
    job = slow_job(tmp_path, 4.0)
    killer = threading.Timer(1.5, nodes.cluster.remove_node, (*victims, False))
    killer.start()
    told = run(launcher, job, tmp_path)
    killer.join()
    assert re.search(rf"the worker on {re.escape(first)} [^:]+: .*(node|network).*; trying another", " ".join(told))
    assert launcher.connection.name != first
    launcher._timed["m"] = launcher.connection
    second = launcher.connection.name
    victims = [node for node in nodes.cluster.list_all_nodes() if node.node_id[:8] in second]
    killer = threading.Timer(1.5, nodes.cluster.remove_node, (*victims, False))
    killer.start()
    with pytest.raises(JobError) as caught:
        run(launcher, replace(slow_job(tmp_path, int8="hang"), beside="m"), tmp_path)
    killer.join()
    jobs = list(nodes.folder.glob("home-*/cache/pytest-trtgate/tmp/*/jobs/*/pid.txt"))
    wait_for(lambda: not any(is_running(int(path.read_text() or 0)) for path in jobs), ORPHANS_S)
    assert caught.value.reason.startswith(f"the worker on {second} ")
    nodes.add("a")
    assert third is not None


def test_a_machine_that_is_none_of_its_label_is_refused(launchers: Any, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"is labelled c, but is a d; start its worker anew"):
        run(launchers("c"), clip_job(tmp_path), tmp_path)


def test_a_kind_that_the_cluster_lacks_is_said_with_those_it_has(launchers: Any, tmp_path: Path) -> None:
    for kind, said in (("x", "no machine 'x'"), ("", "not one kind of machine")):
        with pytest.raises(JobError) as caught:
            run(launchers(kind), clip_job(tmp_path), tmp_path)
        assert (
            f"has {said}; it has: a, b, b2, c; name one of them as machines, or by --trt-machine" in caught.value.reason
        )


def test_one_machine_does_the_jobs_of_one_run_at_a_time(launchers: Any, tmp_path: Path) -> None:
    told: list[str] = []
    _ = launchers("b").connection
    second = launchers("b", wait_s=6.0, say=told.append)
    with pytest.raises(WorkerLostError, match=r"no b of the Ray cluster .* became free in 6 s"):
        _ = second.connection
    assert told[0].startswith("waiting for a b of the Ray cluster")
    with pytest.raises(WorkerLostError, match="became free"):  # at once
        _ = second.connection


HANG = """
import sys
from pathlib import Path
from pytest_trtgate.fleet import FleetLauncher, RayCluster
from ray_nodes import FakeNodeWorker
from test_over_ray import slow_job
launcher = FleetLauncher(RayCluster(sys.argv[1], "b", worker=FakeNodeWorker).connect)
print(launcher.connection.name, flush=True)
folder = Path(sys.argv[2])
launcher.run(slow_job(folder, int8="hang"), folder / "job", lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_of_a_coordinator_that_ends(nodes: Nodes, number: int, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{python_path()}{os.pathsep}{Path(__file__).parent}"}
    before = set(nodes.folder.glob("home-3/cache/pytest-trtgate/tmp/*/jobs/1/pid.txt"))
    process = subprocess.Popen(
        [sys.executable, "-c", HANG, nodes.address, str(tmp_path)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def started() -> set[Path]:
        found = set(nodes.folder.glob("home-3/cache/pytest-trtgate/tmp/*/jobs/1/pid.txt")) - before
        return {path for path in found if path.read_text()}

    job = int(wait_for(started, 60.0).pop().read_text())
    assert is_running(job)
    process.send_signal(number)
    process.communicate(timeout=ORPHANS_S)
    wait_for(lambda: not is_running(job), ORPHANS_S)


def test_an_address_where_no_cluster_is_costs_a_sentence(tmp_path: Path) -> None:
    code = """
from pytest_trtgate.fleet import RayCluster
from pytest_trtgate.errors import SettingsError
try:
    RayCluster("127.0.0.1:9").connect()
except SettingsError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("fleet.address = '127.0.0.1:9': no Ray cluster can be joined there ("), done.stderr


def test_the_command_has_this_machine_join_and_leave(nodes: Nodes, tmp_path: Path) -> None:
    import ray

    code = """
import sys
from pathlib import Path
from pretended import PretendedMachine
from pytest_trtgate.cli import main
sys.exit(main(sys.argv[1:], PretendedMachine(locks=Path(sys.argv[-1]) / "locks")))
"""
    arguments = ("worker", "--address", nodes.address, "--machine", "joined", "--cache-dir", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    RayCluster(nodes.address)._join(ray)

    def alive() -> list[Any]:
        return [n for n in ray.nodes() if n["Alive"] and n["Labels"].get("trtgate-machine") == "joined"]

    wait_for(alive, 60.0)
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output
    assert output.startswith("joined: onnxruntime on cpu (")
    wait_for(lambda: not alive(), 60.0)
    assert time.monotonic() - began < 60


def test_a_worker_without_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_trtgate.fleet import node

    monkeypatch.setattr(node, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"pip install 'pytest-trtgate\[ray\]'"):
        node.join("127.0.0.1:1", lambda _: None)
