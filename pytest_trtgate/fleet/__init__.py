"""Jobs on other machines: what is sent, the worker that does them, and the launcher that asks it."""

from __future__ import annotations

from .launcher import Connection, FleetLauncher, WorkerLostError
from .machine import WorkersMachine
from .node import join
from .over_ray import RayCluster
from .worker import Worker
