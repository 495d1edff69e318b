"""A launcher whose jobs are done by a worker of another machine."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Event, RLock
from typing import Any, NoReturn, Protocol
from uuid import uuid4

from pydantic import ValidationError

from .. import __version__
from ..errors import JobError, JobTimeoutError, MachineLostError, RecordError, SettingsError, TrtGateError
from ..jobs import Job, JobKind
from ..locks import monotonic_s
from ..records import FileRecord, as_json, load, write_whole
from .packing import Packed, pack, renamed
from .portable import Outcome, split_place
from .store import entry_of
from .worker import CHUNK_BYTES

POLL_S = 0.25
ANSWER_S = 60.0
"""A worker that says nothing for so long is taken for lost, and so is one that works for so long beyond a limit."""


class WorkerLostError(TrtGateError):
    """A worker is gone, or does not answer."""


class Connection(Protocol):
    """The way to one :class:`~pytest_trtgate.fleet.worker.Worker`; ``name`` is that of its machine, for messages."""

    name: str

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Have the worker run one of its methods, beside what it does; returns at once."""

    def why(self, error: BaseException) -> str:
        """Return in a sentence without subject why a call failed, such as ``ended (its node died)``."""

    def end(self) -> None:
        """End the worker and all that it runs."""


class FleetLauncher:
    """Runs each job on the worker at the other end of a connection; of several threads, one after the other.

    Args:
        connect: Returns a connection to a worker of the kind that is wanted. It is asked again where one is lost.
        further: Returns a connection to another worker of that kind, which is free now; None where there is none.
        stopping: Set where both are to give up and raise KeyboardInterrupt, since nobody waits for them any more.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        further: Callable[[], Connection | None] = lambda: None,
        stopping: Event | None = None,
    ) -> None:
        self.connect = connect
        self._further = further
        self._stopping = stopping or Event()
        self._open: Connection | None = None
        self._has: set[str] = set()
        self._fingerprint: Any = None
        self._timed: dict[str, Connection] = {}
        self._turn, self._joining = RLock(), RLock()
        self._stopped = self._stays = False
        self._refused: TrtGateError | None = None

    @property
    def connection(self) -> Connection:
        """The connection, made now where there is none.

        Raises:
            SettingsError: The worker is of another release.
            WorkerLostError: It does not answer, or another was promised to be like one before, and is not.
        """
        with self._joining:  # threads that ask for it at once are to share one
            return self._connected()

    def _connected(self) -> Connection:
        if self._refused is not None:
            raise self._refused
        self._give_back_if_stopped()
        if self._open is None:
            try:
                opened = self._open = self.connect()
            except TrtGateError as error:
                self.refuse(error)
            self._give_back_if_stopped()
            self._has.clear()
            hello = self._call("hello")
            if hello["release"] != __version__:
                said = f"the worker on {opened.name} has pytest-trtgate {hello['release']}, this is {__version__}"
                self.refuse(SettingsError(f"{said}; install the same on both"))
            found = self._call("ask", "versions"), self._call("ask", "gpus"), self._call("ask", "cpu_model")
            like = ([(gpu.name, gpu.driver) for gpu in found[1]], found[0], found[2])
            if self._fingerprint not in (None, like):
                said = f"{opened.name} is unlike the machine that it was to take the place of, or to work beside"
                self.refuse(WorkerLostError(f"{said}: GPU, driver, CPU or versions differ"))
            self._fingerprint = like
        return self._still_open

    def _give_back_if_stopped(self) -> None:
        if self._stopped:
            self.close()
            raise KeyboardInterrupt

    def refuse(self, error: TrtGateError) -> NoReturn:
        """Raise an error, now and whenever a worker is needed: to wait for one once is enough."""
        self.close()
        self._refused = error
        raise error

    def ask(self, what: str, *arguments: Any) -> Any:
        """Return what the worker's machine says of itself."""
        name = self.connection.name
        return name if what == "node" else self._call("ask", what, *arguments)

    @property
    def is_lost(self) -> bool:
        """Whether there is no worker, and none to be had."""
        return self._refused is not None

    def has_timed(self, job: Job) -> bool:
        """Return whether what a job is compared with was timed already, so that no other machine will do."""
        return job.beside in self._timed

    @property
    def node(self) -> str:
        """The name of the machine that works; empty where none does."""
        return self._open.name if self._open is not None else ""

    @property
    def _still_open(self) -> Connection:
        """The connection, which another thread may have ended."""
        opened = self._open
        if opened is None:
            if self._stopped:
                raise KeyboardInterrupt
            raise WorkerLostError("the worker was ended")
        return opened

    def _call(self, method: str, *arguments: Any) -> Any:
        future = self._still_open.call(method, *arguments)
        wait([future], timeout=ANSWER_S)
        if not future.done():
            raise self._lost(f"has not answered for {ANSWER_S:g} s")
        return self._result(future)

    def _patiently(
        self, method: str, *arguments: Any, say: Callable[[str], None] = lambda _: None, limit_s: float = math.inf
    ) -> Any:
        """Call what may take long: for as long as the worker answers what it said meanwhile, it is not lost."""
        future, ends_at = self._still_open.call(method, *arguments), monotonic_s() + limit_s + ANSWER_S
        while not future.done():
            wait([future], timeout=POLL_S)
            if monotonic_s() > ends_at:
                where = self.node
                self.close()
                raise JobTimeoutError("", f"the worker on {where} has not ended it in {limit_s + ANSWER_S:g} s")
            for line in self._call("said"):
                say(line)
        return self._result(future)

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result()
        except Exception as error:
            cause = getattr(error, "cause", error)
            if isinstance(cause, TrtGateError):
                raise cause from None
            raise self._lost(self._still_open.why(error)) from error

    def _lost(self, why: str) -> WorkerLostError:
        error = WorkerLostError(f"the worker on {self._still_open.name} {why}")
        self.close()
        return error

    def run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job; see :meth:`pytest_trtgate.Launcher.run`."""
        with self._turn:
            return self._patient_run(job, folder, progress)

    def _patient_run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        """Run one job, again where the worker is lost and nothing was timed."""
        try:
            try:
                return self._run(job, folder, progress)
            except WorkerLostError as error:
                if self._stays or self.is_lost or self._stopped or self.has_timed(job):
                    raise
                progress(f"{error}; trying another")
                try:
                    return self._run(job, folder, progress)
                except WorkerLostError as second:
                    raise WorkerLostError(f"{error}; {second}") from second
        except JobTimeoutError as error:  # another would hang as long
            raise JobTimeoutError(job.name, error.reason, error.log_tail) from None
        except JobError:
            raise
        except WorkerLostError as error:
            raise MachineLostError(job.name, str(error)) from error
        except TrtGateError as error:
            raise JobError(job.name, str(error)) from error
        except OSError as error:
            where = error.filename or folder
            raise JobError(job.name, f"it could not be sent ({where}: {error.strerror or error})") from error
        except KeyboardInterrupt:
            self.close()
            raise

    def _run(self, job: Job, folder: Path, progress: Callable[[str], None]) -> FileRecord:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            packed = pack(job)
        except ValidationError as error:
            raise JobError(job.name, f"an input cannot be sent ({error.errors()[0]['msg']})") from error
        timed_by = self._timed.get(job.beside)
        if timed_by is not None and timed_by is not self._open:
            raise WorkerLostError(f"the worker on {timed_by.name}, which timed {job.beside} before, is gone")
        opened = timed_by or self.connection
        machine = opened.name
        write_whole(folder / "request.json", as_json(packed.job))
        self._send(packed, lambda text: progress(f"{machine}: {text}"))
        outcome_text = self._patiently(
            "work",
            as_json(packed.job),
            say=lambda text: progress(f"{machine}: {text}"),
            limit_s=job.timeout_s + job.wait_s,
        )
        write_whole(folder / "outcome.json", outcome_text)
        outcome = load(folder / "outcome.json", Outcome, own=True)
        for place in outcome.files:
            self._fetch(place, outcome, packed, folder)
        if outcome.response is None:
            kind = JobTimeoutError if outcome.timed_out else JobError
            failure = renamed(outcome.failure, outcome.places, packed)
            raise kind(job.name, failure + _lacks(job, failure + outcome.log_tail, machine), outcome.log_tail)
        if job.beside:
            self._timed[job.beside] = opened
        answer = renamed(outcome.response, outcome.places, packed)
        if job.kind == "accuracy":
            answer["failures"] = {arm: why + _lacks(job, why, machine) for arm, why in answer["failures"].items()}
        if packed.elsewhere:
            _rename_images(packed, outcome)
        try:
            return job.request.response().model_validate(answer)  # type: ignore[no-any-return]
        except ValidationError as error:
            raise JobError(job.name, f"it gave no usable answer ({error.errors()[0]['msg']})") from error

    def _send(self, packed: Packed, progress: Callable[[str], None]) -> None:
        """Send what the worker lacks of a job's contents."""
        new = {sha256: size for sha256, size in packed.sizes.items() if sha256 not in self._has}
        lacking = self._patiently("lacks", new) if new else []  # it may have to read all that it has
        total_mb, done_bytes = sum(new[sha256] for sha256 in lacking) / 1e6, 0
        small, small_bytes = dict[str, bytes](), 0
        for number, sha256 in enumerate(lacking, 1):
            for part, last in _parts(packed.contents[sha256]):
                if last and len(part) == new[sha256]:  # the whole of it: many such travel together
                    small[sha256] = part
                    small_bytes += len(part)
                else:
                    self._call("receive", {sha256: part}, last)
                done_bytes += len(part)
            if small_bytes > CHUNK_BYTES or number == len(lacking):
                self._call("receive", small, True)
                small, small_bytes = {}, 0
            if 1e6 * total_mb > CHUNK_BYTES:
                progress(f"sent {done_bytes / 1e6:.0f} of {total_mb:.0f} MB: {number}/{len(lacking)} files")
        self._has |= new.keys()

    def _fetch(self, place: str, outcome: Outcome, packed: Packed, folder: Path) -> None:
        """Fetch one file that the job wrote, to where it was to be."""
        if place.startswith("job/"):
            path = folder / Path(place).name
        else:
            root, inside = split_place(place, "output-file")
            if root not in packed.places or not (packed.outputs & {root, place}) or not inside:
                raise RecordError(f"the worker sent {place!r:.80}, which was not asked for")
            path = Path(packed.places[root]) / inside
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = self.node
        unfinished = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with unfinished.open("wb") as file:
                while content := self._call("fetch", place, file.tell()):
                    file.write(content)
            if entry_of(unfinished) != outcome.files[place]:
                raise RecordError(f"{path.name} arrived with other bytes than the worker on {machine} wrote; run again")
            unfinished.replace(path)
        finally:
            with suppress(OSError):
                unfinished.unlink()

    @contextmanager
    def beside(self, most: int) -> Iterator[Sequence[FleetLauncher]]:
        """Lend launchers of further workers; see :class:`pytest_trtgate.jobs.ParallelLauncher`."""
        lent: list[FleetLauncher] = []
        try:
            with suppress(TrtGateError):  # none, or one that is unlike this: fewer do as well
                _ = self.connection
                while len(lent) < most and (opened := self._further()):
                    lent.append(self.like_this(partial(_same, opened)))
                    lent[-1]._stays = True
                    _ = lent[-1].connection
            yield [one for one in lent if one._open is not None]
        finally:
            for one in lent:
                one.close()

    def like_this(self, connect: Callable[[], Connection]) -> FleetLauncher:
        """Return a launcher of a worker that has to be like this one's."""
        found = FleetLauncher(connect, self._further, self._stopping)
        found._fingerprint, found._timed = self._fingerprint, self._timed
        return found

    def take_further(self) -> Connection:
        """Return a connection to another worker, which is free now; raise WorkerLostError where there is none."""
        found = self._further()
        if found is None:
            raise WorkerLostError("no other machine of its kind is free")
        return found

    def stop(self) -> None:
        """End the worker under a thread that waits for it: it is interrupted."""
        self._stopped = True
        self._stopping.set()
        self.close()

    def resume(self) -> None:
        """Take jobs again after :meth:`stop`."""
        self._stopped = False
        self._stopping.clear()

    def prepare(self, kind: JobKind, count: int, device: str, threads: int, folder: Path) -> None:
        """Let processes of the worker begin to import; see :class:`pytest_trtgate.EarlyLauncher`."""
        with suppress(TrtGateError):  # the job that needs the worker says so
            _ = self.connection
            self._call("prepare", kind, count, device, threads)

    def close(self) -> None:
        """End the worker."""
        opened, self._open = self._open, None
        if opened is not None:
            opened.end()


def _lacks(job: Job, failure: str, machine: str) -> str:
    """Return what to do where a job failed for a module of the checkpoint's own that was not sent; empty otherwise."""
    for package, why in job.unsent.items():
        if re.search(rf"\bmodule (?:named )?'?{re.escape(package)}\b", failure, re.IGNORECASE):
            return f"; the checkpoint's module '{package}' {why}, and so is not sent: install it on {machine}"
    return ""


def _same(opened: Connection) -> Connection:
    return opened


def _parts(content: Path | bytes) -> Iterator[tuple[bytes, bool]]:
    """Yield a content in parts, each with whether it is the last."""
    with BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        part = file.read(CHUNK_BYTES)
        while following := file.read(CHUNK_BYTES):
            yield part, False
            part = following
        yield part, True


def _rename_images(packed: Packed, outcome: Outcome) -> None:
    """Give images in per-image records that lie outside of the root of their dataset the paths that they have here."""
    import numpy as np

    for place in outcome.files:
        root, _, inside = place.partition("/")
        path = Path(packed.places.get(root, "")) / inside
        if path.suffix != ".npz" or place not in packed.outputs:
            continue
        with np.load(path) as file:
            arrays = dict(file)
        if "images" in arrays:
            arrays["images"] = np.array(renamed(arrays["images"].tolist(), outcome.places, packed))
            np.savez_compressed(path, **arrays)
