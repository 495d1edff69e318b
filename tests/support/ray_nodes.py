"""Nodes of a Ray cluster on one machine, that have nothing in common: homes, caches and locks of their own."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, get_args

from pretended import PretendedMachine
from project import python_path

from pytest_trtgate.fleet.node import CPU, LABEL, NodeWorker
from pytest_trtgate.jobs import JobKind


class FakeNodeWorker(NodeWorker):
    """A worker that pretends its machine, and whose jobs are fake."""

    def __init__(self) -> None:
        locks = Path(os.environ["HOME"]) / "locks"
        cpu = {"cpu": f"CPU of {os.environ['TRTGATE_WORKER_KIND']}"}
        machine = PretendedMachine(locks=locks, fingerprint=cpu)
        super().__init__(machine, dict.fromkeys(get_args(JobKind), "fake_jobs"))

    def loaded(self) -> list[str]:
        """Return which heavy modules this process has imported."""
        return [name for name in ("torch", "ultralytics", "onnxruntime") if name in sys.modules]


class Nodes:
    """A cluster with a head that does no jobs, to which nodes are added."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._count = 0
        self._added: list[tuple[Any, str]] = []

    @property
    def address(self) -> str:
        """Where the cluster is."""
        address: str = self.cluster.address
        return address

    def add(self, label: str, kind: str | None = None) -> Any:
        """Add a node with a label, which is of another kind if one is given."""
        self._count += 1
        home = self.folder / f"home-{self._count}"
        home.mkdir()
        told = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PYTHONPATH": python_path()}
        node = self.cluster.add_node(
            num_cpus=1,
            resources={CPU: 1},
            labels={LABEL: label},
            env_vars=told | {"TRTGATE_WORKER_KIND": kind or label},
        )
        self._added.append((node, label))
        return node

    def of(self, label: str) -> list[Any]:
        """Return the nodes that were added with a label."""
        return [node for node, its in self._added if its == label]

    def close(self) -> None:
        """End the cluster, and our part in it."""
        import ray

        ray.shutdown()
        self.cluster.shutdown()
