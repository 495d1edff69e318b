"""What is made of what Ray says, without Ray."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_trtgate.errors import SettingsError
from pytest_trtgate.fleet import FleetMachine, RayCluster
from pytest_trtgate.fleet.node import CPU, kind_of
from pytest_trtgate.fleet.over_ray import RayConnection
from pytest_trtgate.machine import Gpu, Machine


def node(alive: bool = True, **labels: str) -> dict[str, Any]:
    named = {name.replace("ray_", "ray.io/").replace("_", "-"): value for name, value in labels.items()}
    return {"Alive": alive, "Labels": named}


def test_a_node_is_known_by_our_label_or_by_rays_own() -> None:
    nodes = [node(trtgate_machine="jetson-orin"), node(ray_accelerator_type="L4"), node(), {"Alive": True}]
    assert RayCluster("auto", "jetson-orin")._selector(nodes) == ("jetson-orin", {"trtgate-machine": "jetson-orin"})
    assert RayCluster("auto", "nvidia-l4")._selector(nodes) == ("nvidia-l4", {"ray.io/accelerator-type": "L4"})


def test_the_only_kind_need_not_be_named() -> None:
    nodes = [node(trtgate_machine="a"), node(trtgate_machine="a"), node(alive=False, trtgate_machine="b")]
    assert RayCluster("auto")._selector(nodes)[0] == "a"


def test_a_cluster_without_machines_says_how_to_add_one() -> None:
    with pytest.raises(SettingsError, match="it has: none; start `trtgate worker` on one"):
        RayCluster("auto", "a")._selector([node()])


def test_what_ray_refuses_is_said_in_its_words() -> None:
    def init(**_: Any) -> None:
        raise RuntimeError("Version mismatch: the cluster has Python 3.11.9,\nthis process has Python 3.12.1")

    ray: Any = SimpleNamespace(is_initialized=lambda: False, init=init)
    with pytest.raises(SettingsError) as caught:
        RayCluster("auto")._join(ray)
    assert str(caught.value) == (
        "fleet.address = 'auto': no Ray cluster can be joined there (Version mismatch: the cluster has Python 3.11.9,)"
    )


def test_the_machines_of_a_cluster_are_told_with_what_is_free_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    named = [
        {"NodeID": "1" * 56, "NodeManagerHostname": "one", "Resources": {CPU: 1.0, "GPU": 2.0}},
        {"NodeID": "2" * 56, "NodeManagerHostname": "two", "Resources": {"GPU": 1.0}},
        {"NodeID": "3" * 56, "NodeManagerHostname": "head", "Resources": {}},
    ]
    labels = (
        {"trtgate_machine": "b", "trtgate_release": "1.2", "ray_accelerator_type": "L4"},
        {"ray_accelerator_type": "A10"},
        {},
    )
    ray = SimpleNamespace(
        is_initialized=lambda: True,
        nodes=lambda: [node(**its) | one for its, one in zip(labels, named, strict=True)],
        _private=SimpleNamespace(
            state=SimpleNamespace(available_resources_per_node=lambda: {"1" * 56: {"GPU": 1.0, CPU: 1.0}, "2" * 56: {}})
        ),
    )
    monkeypatch.setattr("pytest_trtgate.fleet.over_ray._ray", lambda: ray)
    assert RayCluster("auto", uses_gpu=True).machines() == [
        FleetMachine("b", "one (11111111)", 2, 1, "1.2"),
        FleetMachine("nvidia-a10", "two (22222222)", 1, 0, ""),
    ]
    ray._private = None  # Ray promises nothing of it
    assert [one.free for one in RayCluster("auto").machines()] == [None, None]


class Died(Exception):  # noqa: N818 - as Ray names its own
    pass


class Unavailable(Died):
    pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Unavailable("x"), "cannot be reached: the network or its node is gone"),
        (Died("The actor died because its node has died. Node Id: 1"), "ended: its node died"),
        (Died("The actor is dead because its worker process has died.\nmore"), "ended (The actor is dead because"),
        (OSError(28, "No space left on device"), "failed ([Errno 28] No space left on device)"),
    ],
)
def test_why_a_worker_is_lost_is_said_without_rays_pages(error: Exception, said: str) -> None:
    exceptions = SimpleNamespace(RayActorError=Died, ActorUnavailableError=Unavailable)
    told = RayConnection(SimpleNamespace(exceptions=exceptions), None).why(error)
    assert told.startswith(said)
    assert "\n" not in told


def test_who_waits_for_a_machine_is_interrupted_once_nobody_needs_it() -> None:
    cluster = RayCluster("auto", "a")
    never: Any = SimpleNamespace(call=lambda method: Future())
    threading.Timer(0.1, cluster.stopping.set).start()
    with pytest.raises(KeyboardInterrupt):
        cluster._first_answer(never, "a")


def test_a_machine_is_called_by_its_gpu() -> None:
    class Lent(Machine):
        def gpus(self) -> tuple[Gpu, ...]:
            return (Gpu("NVIDIA L4", "GPU-1", "8.9", "580"),)

    assert kind_of(Lent()) == "nvidia-l4"
