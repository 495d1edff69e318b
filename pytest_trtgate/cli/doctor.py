"""``trtgate doctor --config``: the preflight of a project outside of a test run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from .. import text as fmt
from ..findings import run_preflight
from ..jobs import Launcher, LocalLauncher
from ..machine import Machine, gpu_of_worker
from ..measuring import Caller, RunContext, check_inputs, make_plan
from ..records import Workspace, new_run_id
from ..settings import Settings


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
                progress=say,
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
