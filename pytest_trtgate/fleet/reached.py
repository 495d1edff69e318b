"""From settings to the machines that they name."""

from __future__ import annotations

from collections.abc import Callable

from ..settings import Settings
from .launcher import FleetLauncher
from .over_ray import RayCluster
from .spread import FleetLanes


def cluster_of(settings: Settings, say: Callable[[str], None] = lambda _: None) -> RayCluster:
    """Return the cluster of a project, of which a machine of the first kind is taken that the settings name.

    ``say`` is told in one sentence of a wait for a free machine.
    """
    fleet = settings.fleet
    return RayCluster(
        fleet.address or "auto",
        next(iter(settings.machines), ""),
        uses_gpu=settings.backend == "tensorrt",
        wait_s=fleet.wait_s,
        say=say,
    )


def launcher_of(settings: Settings, say: Callable[[str], None] = lambda _: None) -> FleetLauncher:
    """Return a launcher to such a machine, which is joined when it is used."""
    cluster = cluster_of(settings, say)
    return FleetLauncher(cluster.connect, cluster.another, cluster.stopping)


def lanes_of(settings: Settings, say: Callable[[str], None] = lambda _: None) -> FleetLanes:
    """Return a launcher to all such machines that are free, as far as the settings allow."""
    cluster = cluster_of(settings, say)
    first = FleetLauncher(cluster.connect, cluster.another, cluster.stopping)
    return FleetLanes(first, cluster.free, settings.fleet.nodes)
