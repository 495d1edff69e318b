"""Workers on nodes of a Ray cluster. Ray is imported when a connection is made, and not before."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from typing import Any

from ..errors import SettingsError
from ..machine import slug
from ..text import clip
from .launcher import Connection, WorkerLostError
from .node import CPU, LABEL, RELEASE, NodeWorker

BUILT_IN_LABEL = "ray.io/accelerator-type"
_END_S = 10.0
_POLL_S = 0.25
_QUIET_S = 5.0
"""A shorter wait for a machine is not told of."""
_JOINING = threading.Lock()
_REACH_S = 10.0
_START_S = 20.0
"""How long a worker may take to start on a machine that is free."""


@dataclass(frozen=True)
class FleetMachine:
    """What a cluster tells of one machine.

    Attributes:
        kind: What kind of machine it is, by its labels.
        node: Its name.
        devices: How many jobs can have a device of it.
        free: How many of those are not reserved; None where Ray does not tell.
        release: Its release of pytest-trtgate, as a label may be; empty where `trtgate worker` did not start it.
    """

    kind: str
    node: str
    devices: int
    free: int | None
    release: str


class RayCluster:
    """The nodes of a cluster that are one kind of machine.

    Args:
        address: Where the cluster is, as Ray takes it: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        kind: What kind of machine, such as ``nvidia-l4``; empty where the cluster has one kind only.
        uses_gpu: Whether a whole GPU is reserved, or all of a node's CPU.
        wait_s: For how long to wait until a machine is free.
        say: Told in one sentence of a wait.
        worker: What does the jobs.

    Attributes:
        stopping: Set where nobody waits for a machine any more: whoever still does raises KeyboardInterrupt.
    """

    def __init__(
        self,
        address: str,
        kind: str = "",
        *,
        uses_gpu: bool = False,
        wait_s: float = 600.0,
        say: Callable[[str], None] = lambda _: None,
        worker: type[NodeWorker] = NodeWorker,
    ) -> None:
        self._address = address
        self._kind = kind
        self._uses_gpu = uses_gpu
        self._wait_s = wait_s
        self._say = say
        self._worker = worker
        self.stopping = threading.Event()

    def connect(self) -> Connection:
        """Start a worker on a machine that is free, and return the connection to it.

        Raises:
            SettingsError: Ray is missing, no cluster answers, or it has no machine of the kind.
            WorkerLostError: None became free in time, or it is of another kind than its label says.
        """
        ray = _ray()
        self._join(ray)
        kind, selector = self._selector(ray.nodes())
        wanted = {"num_gpus": 1} if self._uses_gpu else {"resources": {CPU: 1}}
        make = ray.remote(self._worker).options(
            num_cpus=0,
            label_selector=selector,
            max_restarts=0,
            max_task_retries=0,  # trying again is the gate's decision
            max_concurrency=4,  # a worker is asked what it said while it works
            **wanted,
        )
        connection = RayConnection(ray, make.remote())
        try:
            hello = self._first_answer(connection, kind)
        except BaseException:
            connection.kill()
            raise
        connection.name = hello["node"]
        if hello["kind"] != kind:
            connection.kill()
            raise WorkerLostError(
                f"the node {hello['node']} is labelled {kind}, but is a {hello['kind']}; start its worker anew with "
                f"`trtgate worker`, which finds out"
            )
        return connection

    def machines(self) -> list[FleetMachine]:
        """Return the machines of the cluster that do jobs, of whatever kind, without asking their workers.

        Raises:
            SettingsError: Ray is missing, or no cluster answers.
        """
        ray = _ray()
        self._join(ray)
        free: dict[str, dict[str, float]] = {}
        with suppress(Exception):  # not among what Ray promises
            free = ray._private.state.available_resources_per_node()
        found = []
        for node in ray.nodes():
            what = "GPU" if self._uses_gpu else CPU
            count, left = (node.get("Resources") or {}).get(what, 0), free.get(node.get("NodeID", ""))
            for kind in list(_kinds([node]))[-1:]:  # its own, where it has one
                name = f"{node.get('NodeManagerHostname', '')} ({node.get('NodeID', '')[:8]})"
                unused = None if left is None else int(left.get(what, 0))
                found.append(FleetMachine(kind, name, int(count), unused, node["Labels"].get(RELEASE, "")))
        return sorted(found, key=lambda one: (one.kind, one.node))

    def another(self) -> Connection | None:
        """Start a worker on a further machine of the kind; return None where none is free now."""
        ray = _ray()
        self._join(ray)
        if ray.available_resources().get("GPU" if self._uses_gpu else CPU, 0) < 1 or not self.free():
            return None
        again = copy(self)
        again._wait_s, again._say = _START_S, lambda _: None
        with suppress(SettingsError, WorkerLostError):
            return again.connect()
        return None

    def free(self) -> int:
        """Return how many further machines, or GPUs of machines, of the kind are free now, as far as is known."""
        kind, _ = self._selector(_ray().nodes())
        machines = [one for one in self.machines() if one.kind == kind]
        return sum(one.devices if one.free is None else one.free for one in machines)

    def _join(self, ray: Any) -> None:
        with _JOINING:  # threads may connect to several kinds at once
            self._join_once(ray)

    def _join_once(self, ray: Any) -> None:
        if ray.is_initialized():
            return
        if place := re.fullmatch(r"(?:ray://)?\[?([^/]+?)\]?:(\d+)", self._address):
            try:
                socket.create_connection((place[1], int(place[2])), _REACH_S).close()
            except (OSError, OverflowError) as error:
                raise self._unreachable(error) from error
        try:
            with _left_alone():
                ray.init(
                    address=self._address,
                    log_to_driver=False,
                    configure_logging=False,
                    logging_level=logging.ERROR,
                )
        except Exception as error:  # Ray raises whatever it met, such as of a node of another Python
            raise self._unreachable(error) from error

    def _unreachable(self, error: Exception) -> SettingsError:
        return SettingsError(
            f"fleet.address = '{self._address}': no Ray cluster can be joined there ({clip(_first_line(error), 300)})"
        )

    def _selector(self, nodes: list[dict[str, Any]]) -> tuple[str, dict[str, str]]:
        """Return the kind of machine that is taken, and the labels that select its nodes."""
        kinds = _kinds(nodes)
        if self._kind in kinds or (not self._kind and len(kinds) == 1):
            kind = self._kind or next(iter(kinds))
            return kind, kinds[kind]
        there = ", ".join(sorted(kinds)) or "none"
        asked = f"no machine '{self._kind}'" if self._kind else "not one kind of machine"
        what = "name one of them as machines, or by --trt-machine" if kinds else "start `trtgate worker` on one"
        raise SettingsError(f"the Ray cluster at '{self._address}' has {asked}; it has: {there}; {what}")

    def _first_answer(self, connection: RayConnection, kind: str) -> dict[str, str]:
        future, began_s, told = connection.call("hello"), time.monotonic(), False
        while not future.done():
            waited_s = time.monotonic() - began_s
            if self.stopping.is_set():
                raise KeyboardInterrupt
            if waited_s > self._wait_s:
                raise WorkerLostError(
                    f"no {kind} of the Ray cluster at '{self._address}' became free in {self._wait_s:g} s; end what "
                    f"holds it, or raise fleet.wait_s"
                )
            wait([future], timeout=_POLL_S)
            if waited_s > _QUIET_S and not told:
                told = True
                self._say(f"waiting for a {kind} of the Ray cluster at {self._address}")
        try:
            hello: dict[str, str] = future.result()
        except Exception as error:
            raise WorkerLostError(f"a worker on a {kind} {connection.why(error)}") from error
        return hello


class RayConnection:
    """The way to a worker that is an actor of Ray."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self.name = ""
        self._ray = ray
        self._actor = actor

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Have the worker run a method."""
        future: Future[Any] = getattr(self._actor, method).remote(*arguments).future()
        return future

    def why(self, error: BaseException) -> str:
        """Return why a call failed; Ray tells of a dead node, of a dead process, and of an error in it."""
        errors = self._ray.exceptions
        if isinstance(error, errors.ActorUnavailableError):
            return "cannot be reached: the network or its node is gone"
        text = re.sub(r"\s+", " ", str(error))
        if isinstance(error, errors.RayActorError):
            if "node" in text.lower() and ("died" in text or "dead" in text):
                return "ended: its node died"
            found = re.search(r"(?:The actor is dead because|Error Type:|creation task)[^.]*", text)
            return f"ended ({clip(found[0] if found else text, 200)})"
        return f"failed ({clip(_first_line(getattr(error, 'cause', None) or error), 200)})"

    def end(self) -> None:
        """Have the worker delete what is its own, then end it; its jobs end when it is gone."""
        with suppress(Exception):
            self.call("close").result(timeout=_END_S)
        self.kill()

    def kill(self) -> None:
        """End the worker's process."""
        with suppress(Exception):
            self._ray.kill(self._actor, no_restart=True)


def _kinds(nodes: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the kinds of machines among nodes, and the labels that select those of each."""
    kinds: dict[str, dict[str, str]] = {}
    for node in nodes:
        labels = (node.get("Labels") or {}) if node.get("Alive") else {}
        if built_in := labels.get(BUILT_IN_LABEL):
            kinds.setdefault(f"nvidia-{slug(built_in)}", {BUILT_IN_LABEL: built_in})
        if own := labels.get(LABEL):
            kinds[own] = {LABEL: own}
    return kinds


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _ray() -> Any:
    try:
        with _left_alone():
            import ray
            import ray.exceptions
    except ImportError as error:
        raise SettingsError(
            f"fleet.address is set, which needs Ray ({error}): python -m pip install 'pytest-trtgate[ray]'"
        ) from error
    return ray


@contextmanager
def _left_alone() -> Iterator[None]:
    """Keep this process as it is while Ray starts: its warnings, how it takes SIGTERM, and what it tells strangers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    mine = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if mine else None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if mine:
            signal.signal(signal.SIGTERM, before)
