"""The engines of a run's cells, each from the cache or built once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from ..cache import check_built_here, key_parts, timing_cache_path
from ..data import reading
from ..errors import JobError
from ..jobs import BuildRequest, BuildResponse
from ..records import DEPLOYED, Calibration, Cell, EngineRecord, files_sha256, key_sha256
from ..settings import BACKENDS, Int8
from .context import RunContext
from .entry import keep_log, new_record
from .given import given_parts, obtain_given


class Engines:
    """The engines of a run, obtained once each."""

    def __init__(self, context: RunContext) -> None:
        self.context = context
        self._parts: dict[tuple[Cell, int], dict[str, Any]] = {}

    def of(self, cell: Cell, build: int = 1) -> EngineRecord:
        """Return the engine of a cell, from the cache or built now; raises ``JobError`` where its build failed.

        ``build``: over 1 for another build of the same, for which TensorRT measures anew which kernels to take.
        """
        name = f"engine-{cell.key}" if build == 1 else f"again-{build}-{cell.key}"
        given = self.context.plan.given.get(cell)
        record = self.context.workspace.once(
            name,
            EngineRecord,
            lambda: self._obtain(cell, build) if given is None else obtain_given(self.context, cell, given),
        )
        self.context.cache.hold(record.cache_key)  # as the process has that obtained it, which may end before us
        self.context.inputs.expect(record.path, record.sha256)
        return record

    def check(self, cell: Cell, *, evaluated: bool) -> None:
        """Check that a cell's engine and what it was made of are what they were; so the split if it was ``evaluated``.

        Raises:
            TrtGateError: Something is not or can no longer be read, or there is no engine.
        """
        plan = self.context.plan
        self.context.check_inputs(cell.model, evaluated=evaluated, calibrated=evaluated and plan.is_calibrated(cell))
        with reading():
            self.context.inputs.check([self.of(cell).path, *filter(None, [plan.given.get(cell)])])

    def reference(self, model: str) -> Path:
        """Return what a model's engines are compared with: its checkpoint, or the copy of an ONNX file, described.

        Raises ``JobError`` where that cannot be run.
        """
        weights = self.context.plan.weights[model]
        return self._beside(model, "reference", weights).path if weights.suffix == ".onnx" else weights

    def deployed(self, model: str, file: Path) -> EngineRecord:
        """Return the engine that is deployed now; raises ``JobError`` where that cannot be run."""
        return self._beside(model, DEPLOYED, file)

    def _beside(self, model: str, name: str, file: Path) -> EngineRecord:
        """Return a file that is no cell's, but measured beside the cells of a model."""
        context, cell = self.context, self._cell_beside(model, file)
        record = context.workspace.once(
            f"{name}-{model}", EngineRecord, lambda: obtain_given(context, cell, file, name)
        )
        context.cache.hold(record.cache_key)
        context.inputs.expect(record.path, record.sha256)
        return record

    def _cell_beside(self, model: str, file: Path) -> Cell:
        """Return the cell as which a file is looked into that is no cell's."""
        first = self.context.plan.of_model(model)[0]
        return first.model_copy(update={"backend": BACKENDS[file.suffix.lower()]})

    def cached_beside(self, model: str, file: Path) -> EngineRecord | None:
        """Return what the cache says of a file that is measured beside the cells of a model; None where nothing."""
        parts = given_parts(self.context, self._cell_beside(model, file), file)
        return self.context.cache.peek(key_sha256(parts))

    def cached(self, cell: Cell) -> EngineRecord | None:
        """Return what the cache says of a cell's engine; None where it has to be built, or a given file looked into."""
        given = self.context.plan.given.get(cell)
        parts = self._key_parts(cell, 1) if given is None else given_parts(self.context, cell, given)
        return self.context.cache.peek(key_sha256(parts))

    def _key_parts(self, cell: Cell, build: int) -> dict[str, Any]:
        if (cell, build) not in self._parts:
            context = self.context
            export = context.settings.export_key(cell.backend) | context.export_arguments(cell)
            sha256 = context.weights_sha256[cell.model]
            parts = key_parts(cell, context.environment, sha256, export, self._calibration(cell))
            parts |= context.own_code(cell.model) | ({"build": build} if build > 1 else {})
            changes = self._quantization(cell).changes(cell.backend)
            parts |= {"quantization": changes} if changes else {}  # keys of the exporter's own INT8 stay as they are
            self._parts[cell, build] = parts
        return self._parts[cell, build]

    def _obtain(self, cell: Cell, build: int) -> EngineRecord:
        context, parts = self.context, self._key_parts(cell, build)
        key = key_sha256(parts)
        record = context.cache.obtain(key, lambda folder: self._build(cell, parts, folder))
        check_built_here(record, context.environment)
        # Equal bytes under another name, or in another project, share an entry.
        record = record.model_copy(update={"cell": cell})
        source = "from the cache" if record.from_cache else f"built in {record.build_seconds:.1f} s"
        context.milestone(f"{cell.label}: engine {source} ({record.size_bytes / 1e6:.1f} MB, key {key[:12]})")
        return record

    def _quantization(self, cell: Cell) -> Int8:
        settings = self.context.settings.of(cell.model)
        return settings.quantization.int8 if cell.precision == "int8" else Int8()

    def _calibration(self, cell: Cell) -> dict[str, Any] | None:
        if cell.precision != "int8":
            return None
        wanted = self.context.settings.calibration
        return {"split": wanted.split, "fraction": wanted.fraction, **self.context.data[cell.model].calibration_facts}

    def _build(self, cell: Cell, parts: dict[str, Any], folder: Path) -> EngineRecord:
        """Build the engine of a cell into a folder, with the log and the list of calibration images beside it."""
        again = "build" in parts
        name = f"build-{cell.key}" + (f"-{parts['build']}" if again else "")
        context, started = self.context, time.monotonic()
        data = context.data[cell.model] if cell.precision == "int8" else None
        request = self.request(cell, str(folder))
        if again:  # out of what the first build measured, others would be made of the same kernels
            request = request.model_copy(update={"timing_cache": None})
        context.milestone(f"{cell.label}: building the engine")
        try:
            answer = context.job(name, request)
        except JobError as error:
            reason = error.reason if data is None else data.in_own_words(error.reason)
            raise JobError(error.job, reason, error.log_tail) from error
        if data is not None:
            data.check_whole(answer.read, calibrated=True)
        context.check_inputs(cell.model, calibrated=data is not None)
        seconds = time.monotonic() - started
        keep_log(context, name, folder)
        found = {"calibration": _calibrated(request, answer), "quantization": answer.quantization}
        return new_record(cell, parts, answer, seconds).model_copy(update=found)

    def request(self, cell: Cell, output: str) -> BuildRequest:
        """Return what asks for the engine of a cell, to be put into the folder ``output``."""
        context = self.context
        return BuildRequest(
            weights=str(context.plan.weights[cell.model]),
            cell=cell,
            threads=context.threads,
            data=str(context.data[cell.model].resolved) if cell.precision == "int8" else None,
            calibration=context.settings.calibration,
            quantization=self._quantization(cell),
            export_args=context.export_arguments(cell),
            optimization_level=context.settings.export.builder_level(cell.backend),
            timing_cache=timing_cache_path(context.cache.root, context.environment),
            traced=self._traced(cell),
            ranges=None if context.ranges is None else str(context.ranges),
            output=output,
        )

    def _traced(self, cell: Cell) -> str | None:
        """Return where this run keeps the traced graph that all precisions of a model and shape share, if any."""
        context, arguments = self.context, self.context.export_arguments(cell)
        if cell.backend != "onnxruntime" or arguments.get("dynamic"):  # where FP16 is traced in another way
            return None
        parts = {"weights": context.weights_sha256[cell.model], "imgsz": cell.imgsz, "batch": cell.batch, **arguments}
        return str(context.workspace.traced / key_sha256(parts))


def _calibrated(request: BuildRequest, answer: BuildResponse) -> Calibration | None:
    """Return what an engine was calibrated on, which is listed beside it; None where it was not."""
    images = answer.calibration_images
    if images is None:
        return None
    (Path(request.output) / "calibration.txt").write_bytes(b"".join(os.fsencode(image) + b"\n" for image in images))
    return Calibration(
        split=request.calibration.split,
        fraction=request.calibration.fraction,
        images=len(images),
        digest=files_sha256(map(Path, images)),
        left_out=answer.left_out,
    )
