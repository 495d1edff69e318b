"""How many cores' time a container leaves to us, as both versions of control groups say, and who uses it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_trtgate.machine import Machine
from pytest_trtgate.machine.load import why_busy
from pytest_trtgate.machine.quota import quota_cores, quota_share


def write(root: Path, **files: str) -> None:
    """Write files, by their paths with two underscores for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"sys__fs__cgroup__cpu_dot_max": "max 100000"}, None),
        ({"sys__fs__cgroup__cpu_dot_max": "150000 100000"}, 1.5),
        ({"sys__fs__cgroup__cpu_dot_max": "nonsense"}, None),
        (  # the narrowest of our own group and those above it
            {
                "proc__self__cgroup": "0::/a/b",
                "sys__fs__cgroup__a__cpu_dot_max": "200000 100000",
                "sys__fs__cgroup__a__b__cpu_dot_max": "max 100000",
                "sys__fs__cgroup__c__cpu_dot_max": "100000 100000",
            },
            2.0,
        ),
        (  # version 1, in a container that mounts its own group, while its path is that of the host
            {
                "proc__self__cgroup": "5:cpuset:/x\n4:cpu,cpuacct:/docker/x",
                "sys__fs__cgroup__cpu,cpuacct__cpu_dot_cfs_quota_us": "50000",
                "sys__fs__cgroup__cpu,cpuacct__cpu_dot_cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            {
                "proc__self__cgroup": "4:cpu:/",
                "sys__fs__cgroup__cpu__cpu_dot_cfs_quota_us": "-1",
                "sys__fs__cgroup__cpu__cpu_dot_cfs_period_us": "100000",
            },
            None,
        ),
    ],
)
def test_a_quota_is_of_our_own_group_or_one_above(tmp_path: Path, files: dict[str, str], cores: float | None) -> None:
    write(tmp_path, **files)
    assert quota_cores(tmp_path) == cores


def test_a_quota_limits_the_usable_cores_and_so_the_kind_of_machine(tmp_path: Path) -> None:
    free = Machine(system=tmp_path).usable_cores()
    write(tmp_path, sys__fs__cgroup__cpu_dot_max="150000 100000")
    limited = Machine(system=tmp_path)
    assert (free >= 1, limited.usable_cores()) == (True, 1)
    assert "-1c-quota1.5_" in limited.environment("onnxruntime", "cpu", tmp_path).machine
    write(tmp_path, sys__fs__cgroup__cpu_dot_max="50000 100000")
    assert limited.usable_cores() == 1
    write(tmp_path, sys__fs__cgroup__cpu_dot_max="100000000 100000")
    assert limited.usable_cores() == free


@pytest.mark.parametrize(("used_us", "busy"), [(20_000, False), (180_000, True)])
def test_others_that_use_the_quota_are_a_load(tmp_path: Path, used_us: int, busy: bool) -> None:
    write(tmp_path, sys__fs__cgroup__cpu_dot_max="100000 100000", sys__fs__cgroup__cpu_dot_stat="usage_usec 1000000")

    used = [1_000_000]

    def wait(seconds: float) -> None:
        used[0] += int(used_us * seconds / 0.2)
        write(tmp_path, sys__fs__cgroup__cpu_dot_stat=f"nr_periods 7\nusage_usec {used[0]}")

    share = quota_share(tmp_path, 0.2, wait)
    assert share == pytest.approx(used_us / 200_000, rel=0.1)
    assert bool(why_busy(tmp_path, 64, wait)) is busy
