"""Files that are gated as they are: each looked into once, and copied into the cache, where nothing changes it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ..cache import key_parts
from ..data import reading
from ..errors import DataError, JobError
from ..jobs import GivenRequest
from ..records import DESCRIPTION, Cell, EngineRecord, Given, file_sha256, key_sha256
from ..settings import read_sidecar, sidecar_path
from .context import RunContext
from .entry import keep_log, new_record

GIVEN_VERSION = 3
"""Part of every key. Raise it when the job makes another description of the same file."""


def obtain_given(context: RunContext, cell: Cell, file: Path, called: str = "given") -> EngineRecord:
    """Return what stands for the engine of a cell: a file that is gated as it is, from its copy in the cache.

    ``called``: what jobs and sentences call it.

    Raises:
        JobError: It cannot be run here, or does not fit the checkpoint, the dataset or the cell.
        DataError: It, or what lies beside it, cannot be read.
    """
    reference, data = context.plan.weights[cell.model] == file, context.data[cell.model]
    label = cell.label if called == "given" else f"{cell.model} {called}"
    parts = given_parts(context, cell, file)
    beside = str(sidecar_path(file)) if parts["sidecar"] else ""
    source = Given(source=str(file), sidecar=beside, layout="raw")

    def look(folder: Path) -> EngineRecord:
        name, started = f"{called}-{cell.key}", time.monotonic()
        try:
            sidecar = read_sidecar(file)
        except DataError as error:
            raise JobError(name, str(error)) from error
        request = GivenRequest(
            file=str(file),
            weights="" if reference else str(context.plan.weights[cell.model]),
            cell=cell,
            sidecar=sidecar,
            data=str(data.resolved),
            data_split=context.settings.split,
            images=tuple(map(str, data.images)) if "images" in parts else (),
            device=context.environment.device,
            threads=context.threads,
            output=str(folder),
        )
        context.milestone(f"{label}: looking into {file.name}")
        try:
            answer = context.job(name, request)
        except JobError as error:
            raise JobError(error.job, data.in_own_words(error.reason), error.log_tail) from error
        with reading():  # they are in the key of what is stored now
            context.inputs.check([file, sidecar_path(file)])
        keep_log(context, name, folder)
        record = new_record(cell, parts, answer, time.monotonic() - started)
        return record.model_copy(update={"given": source.model_copy(update={"layout": answer.layout})})

    record = context.cache.obtain(key_sha256(parts), look)
    # Equal bytes may have been given from elsewhere before.
    layout = record.given.layout if record.given else source.layout
    source = source.model_copy(update={"layout": layout})
    context.milestone(f"{label}: {source.sentence}, {record.size_bytes / 1e6:.1f} MB")
    return record.model_copy(update={"cell": cell, "given": source})


def given_parts(context: RunContext, cell: Cell, file: Path) -> dict[str, Any]:
    """Return the parts of the key of a given file; raises ``DataError`` where it cannot be read."""
    with reading():
        read = {"given": context.inputs.sha256(file), "sidecar": context.inputs.sha256(sidecar_path(file))}
    data = context.data[cell.model]
    parts = key_parts(cell, context.environment, context.weights_sha256[cell.model], {}, None)
    parts |= read | {"looked": GIVEN_VERSION, "data": sorted(data.dataset.names.items())}
    # Where neither the file nor the checkpoint tells of key points, the dataset does.
    parts |= {"kpt_shape": repr(shape)} if (shape := data.dataset.extra.get("kpt_shape")) else {}
    return parts | ({"images": data.digest} if file.suffix.lower() == ".json" else {})


def described(artifact: Path) -> dict[str, Any]:
    """Return what keys say of how a given file is run; nothing of what was built here."""
    path = artifact.with_name(DESCRIPTION)
    return {"described": file_sha256(path)} if path.is_file() else {}
