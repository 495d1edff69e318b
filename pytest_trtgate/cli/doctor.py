"""``trtgate doctor --config``: the preflight of a project outside of a test run."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from .. import __version__
from .. import text as fmt
from ..errors import SettingsError
from ..findings import run_preflight
from ..jobs import Launcher, LocalLauncher
from ..machine import Machine, gpu_of_worker, planned_backend, resolve_backend
from ..measuring import Caller, RunContext, check_inputs, make_plan
from ..records import Workspace, new_run_id
from ..settings import Settings

_QUIET_S = 15.0
"""The least time between two lines of one count, such as of the files that are sent."""


def check_up(
    settings: Settings,
    backend: str,
    device: str,
    say: Callable[[str], None],
    machine: Machine,
    launcher: Launcher | None = None,
) -> int:
    """Run the preflight, build nothing, say every finding, and return the exit status.

    That is 1 where a finding would fail the run, else 0. ``launcher`` runs the job that looks at images and
    checkpoints, by default here.

    Raises:
        DataError: The weights or the dataset are missing, or not what they should be.
    """
    plan = make_plan(settings, backend, device)
    datasets = check_inputs(settings, plan)
    gpu, only_gpu = gpu_of_worker(settings, backend, device, "", machine)
    with tempfile.TemporaryDirectory(prefix="trtgate-") as folder:
        measure = RunContext(
            settings=settings,
            plan=plan,
            datasets=datasets,
            environment=machine.environment(backend, device, Path.cwd()),
            workspace=Workspace(Path(folder), new_run_id()),
            caller=Caller(
                launcher=launcher or LocalLauncher(locks=machine.device_locks(), gpu=gpu, only_gpu=only_gpu),
                machine=machine,
                milestone=lambda text: None,
                progress=_sparingly(say),
            ),
        )
        preflight = run_preflight(measure, gpu)
    for early in preflight.findings:
        found = early.finding
        say(f"{'FAIL' if found.severity == 'fail' else 'warning'}: {found.sentence} [{found.id}]; {found.remedy}")
    failing = sum(early.finding.severity == "fail" for early in preflight.findings)
    count = fmt.plural(len(preflight.findings), "finding")
    say(f"preflight: {count}, {failing} of severity fail; {preflight.seconds:.1f} s")
    return 1 if failing else 0


def _sparingly(say: Callable[[str], None]) -> Callable[[str], None]:
    """Return what says how far a job is: a count only once in a while, and once it is complete."""
    said_s = [time.monotonic()]

    def progress(text: str) -> None:
        what, complete = fmt.counted(text)
        if what == text or complete or time.monotonic() - said_s[0] >= _QUIET_S:
            say(text)
            said_s[0] = time.monotonic()

    return progress


def look_at_fleet(settings: Settings, say: Callable[[str], None], *, preflight: bool) -> int:
    """Say which machines the fleet has, and whether they can do the jobs of a run; return the exit status.

    With ``preflight``, the project is looked at as well, by a job on one of them.

    Raises:
        SettingsError: The settings do not name the backend, no cluster answers, or it has no such machine.
    """
    from ..fleet import WorkersMachine, cluster_of, label_of, launcher_of

    planned = planned_backend(settings)
    assert planned is not None
    found = cluster_of(settings).machines()
    say(f"fleet: Ray cluster {settings.fleet.address}, with {fmt.plural(len(found), 'machine')} for jobs")
    unlike = [one for one in found if one.release not in ("", label_of(__version__))]
    for one in found:
        free = "" if one.free is None else f"{one.free} of "
        release = one.release or "unknown, since `trtgate worker` did not start it"
        differs = f"; this is {__version__}, install the same on both" if one in unlike else ""
        devices = fmt.plural(one.devices, "device") + (" free" if free else "")
        say(f"  {one.kind}: {one.node}, {free}{devices}; pytest-trtgate {release}{differs}")
    kinds, wanted = {one.kind for one in found}, set(settings.machines)
    if missing := sorted(wanted - kinds) or (not kinds and ["machine"]):
        raise SettingsError(f"the fleet has no {' and no '.join(missing)}; start `trtgate worker` on one")
    backend, device, why = planned
    say(f"backend: {backend} on {device} ({why})")
    failed = any(one.kind in (wanted or kinds) for one in unlike)
    if failed or not preflight:
        return int(failed)
    launcher = launcher_of(settings, say)
    try:
        machine = WorkersMachine(ask=launcher.ask)
        resolve_backend(settings, machine)
        return check_up(settings, backend, device, say, machine, launcher)
    finally:
        launcher.close()
