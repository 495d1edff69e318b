"""Jobs on other machines: what is sent, the worker that does them, and the launcher that asks it."""

from __future__ import annotations

from .launcher import Connection, FleetLauncher, WorkerLostError
from .machine import WorkersMachine
from .node import join, label_of
from .over_ray import FleetMachine, RayCluster
from .reached import cluster_of, launcher_of
from .worker import Worker
