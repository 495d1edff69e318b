"""The seam for other launchers, used: fake jobs done in the calling process, where a test is not about processes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from fake_jobs import RefusedError, answer_to
from pydantic_core import to_json

from pytest_trtgate.errors import JobError
from pytest_trtgate.jobs.launcher import LOG_NAME, Job
from pytest_trtgate.records.base import FileRecord


class InlineLauncher:
    """Does fake jobs at once; their faults that need a process are out of place here."""

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Do one job; as the protocol says."""
        folder.mkdir(parents=True, exist_ok=True)
        log = f"log of {job.name}"
        (folder / LOG_NAME).write_text(log + "\n")
        progress(f"{job.name}: working")
        request = job.request.model_dump_json(indent=1)
        (folder / "request.json").write_text(request)
        try:
            answer = answer_to(json.loads(request), folder)
        except RefusedError as refusal:
            raise JobError(job.name, str(refusal), log) from refusal
        response: FileRecord = job.request.response().model_validate_json(to_json(answer))
        return response
