"""The side that works: a portable job gets paths of this machine, and is run as a job of this machine is."""

from __future__ import annotations

import platform
import shutil
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from .. import __version__
from ..cache import STALE_S, default_root, prune_folder
from ..errors import CacheError, JobError, JobTimeoutError, TrtGateError, reason_of
from ..jobs import ARM_NAME, LOG_NAME, REQUESTS, Job, JobKind, LocalLauncher, Role, with_paths
from ..machine import Machine
from ..records import as_json, load, write_whole
from .portable import Entry, Outcome, PortableJob, split_place
from .store import TREES, ContentStore, SharedStore, data_place, entry_of, lay_out

CHUNK_BYTES = 8_000_000
"""How much of a file is sent at a time."""
ASKED = frozenset(
    {"versions", "edits", "gpus", "gpu_now", "usable_cores", "cpu_model", "cpu_numbers", "cpu_instructions", "why_busy"}
    | {"power_mode", "foreign_processes", "environment"}
)
"""What a worker tells of its machine: methods of it."""


class Worker:
    """Does portable jobs, one after the other, in processes of this machine; its own process imports nothing heavy.

    Everything but the contents that it was sent is in a folder of its own, which :meth:`close` deletes.

    Args:
        cache_root: The worker's cache; by default the user's.
        data_roots: Folders in which inputs may lie already.
        machine: This machine.
        modules: Modules to run in place of the usual ones, by kind of job.
        shared: Contents that machines share.
    """

    def __init__(
        self,
        cache_root: Path | None = None,
        data_roots: Sequence[Path] = (),
        machine: Machine | None = None,
        modules: Mapping[JobKind, str] | None = None,
        shared: SharedStore | None = None,
    ) -> None:
        self._store = ContentStore(cache_root or default_root(), data_roots, shared)
        prune_folder(self._store.cache_root / "tmp", STALE_S)
        self._folder = self._store.cache_root / "tmp" / f"{uuid4().hex[:12]}-worker"
        self._folder.mkdir()
        self._machine = machine or Machine()
        self._modules = modules or {}
        self._launchers: dict[str, tuple[str, LocalLauncher]] = {}
        self._said: deque[str] = deque()
        self._written: dict[str, Path] = {}
        self._jobs = 0

    def hello(self) -> dict[str, str]:
        """Return which release this is and where it runs."""
        return {"release": __version__, "python": platform.python_version(), "host": platform.node()}

    def ask(self, what: str, *arguments: Any) -> Any:
        """Return what this machine says of itself; see :data:`ASKED`."""
        if what not in ASKED:
            raise TrtGateError(f"a worker does not tell {what!r:.40} of its machine")
        return getattr(self._machine, what)(*arguments)

    def lacks(self, sizes: Mapping[str, int]) -> list[str]:
        """Return the digests, of some with the size of their contents, that this machine has nowhere."""
        return self._store.lacking(Entry(sha256=one, size_bytes=size) for one, size in sizes.items())

    def receive(self, parts: Mapping[str, bytes], last: bool) -> None:
        """Take the next part of each of some contents; see :meth:`ContentStore.receive`.

        Raises:
            CacheError: One arrived with another digest, or cannot be written.
        """
        try:
            for sha256, part in parts.items():
                self._store.receive(sha256, part, last)
        except OSError as error:
            raise CacheError(
                f"{platform.node()}: {self._store.cache_root}: what was sent cannot be kept ({error.strerror})"
            ) from error

    def said(self) -> list[str]:
        """Return what the present job has told of its progress since this was asked."""
        return [self._said.popleft() for _ in range(len(self._said))]

    def prepare(self, kind: JobKind, count: int, device: str, threads: int) -> None:
        """Let processes begin to import for jobs that come; see :class:`pytest_trtgate.EarlyLauncher`."""
        self._launcher(device).prepare(kind, count, device, threads, self._folder / "ahead")

    def work(self, text: bytes) -> bytes:
        """Do one job, and return its outcome as JSON; what it wrote can be fetched until the next one begins."""
        self._jobs += 1
        folder = self._folder / "jobs" / str(self._jobs)
        shutil.rmtree(self._folder / "jobs", ignore_errors=True)
        folder.mkdir(parents=True)
        self._said.clear()
        places: dict[str, str] = {}
        told: dict[str, Any]
        try:
            write_whole(folder / "portable.json", text)
            job = load(folder / "portable.json", PortableJob, own=True)
            local = self._local(job, folder, places)
            launcher = self._launcher(job.device, self._laid_out(job.code) if job.code else "")
            told = {"response": launcher.run(local, folder, self._said.append).model_dump()}
        except JobError as error:
            told = {"failure": error.reason, "timed_out": isinstance(error, JobTimeoutError)}
            told["log_tail"] = error.log_tail
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            told = {"failure": f"its request is none of this release (field '{where}': {first['msg']})"}
        except TrtGateError as error:
            told = {"failure": reason_of(error)}
        except OSError as error:
            told = {"failure": f"{error.filename or self._folder}: {error.strerror or error}"}
        files = self._files(folder, places, "response" in told)
        return as_json(Outcome(places=places, files=files, **told))

    def _launcher(self, device: str, code: str | None = None) -> LocalLauncher:
        """Return the launcher of a device whose jobs have the folder ``code`` on their path; None for any."""
        known = self._launchers.get(device)
        if known is not None and code in (None, known[0]):
            return known[1]
        if known is not None:  # what has imported for it has another path
            known[1].close()
        gpus = self._machine.gpus() if device.isdecimal() else ()
        uuid = gpus[int(device)].uuid if device.isdecimal() and int(device) < len(gpus) else ""
        path = [code] if code else []
        found = LocalLauncher(self._modules, self._machine.device_locks(), uuid, python_path=path)
        self._launchers[device] = code or "", found
        return found

    def _laid_out(self, sha256: str) -> str:
        """Return the folder of a tree, which is laid out now where it is not."""
        place = self._folder / TREES / sha256
        if not place.exists():
            lay_out(self._store, self._store.tree(sha256), place)
        return str(place)

    def _local(self, job: PortableJob, folder: Path, places: dict[str, str]) -> Job:
        """Return a job with paths of this machine, whose inputs are laid out; note in ``places`` what is where."""
        for number, sha256 in enumerate(job.trees):
            places[f"in:{number}"], tree = self._laid_out(sha256), self._store.tree(sha256)
            if tree.data is not None:
                places[f"data:{number}"] = str(data_place(tree, Path(places[f"in:{number}"])))
        for number, made in enumerate(job.made):
            place = folder / "out" / str(number)
            (place if made else place.parent).mkdir(parents=True, exist_ok=True)
            places[f"out:{number}"] = str(place)

        def put(role: Role, text: str, _: Any) -> str:
            root, inside = split_place(text, role)
            if role == "own":
                return str(self._folder / "own" / root.removeprefix("own:"))
            if role == "timing":
                timing = self._store.cache_root / "timing"
                return str(timing / (inside if inside.endswith(".cache") and "/" not in inside else "other.cache"))
            if root not in places:
                raise TrtGateError(f"its request names the place {root}, which it does not have")
            return str(Path(places[root]) / inside)

        request = with_paths(REQUESTS[job.kind].model_validate(job.request), put)
        return Job(job.name, request, job.device, job.timeout_s, job.wait_s)

    def _files(self, folder: Path, places: Mapping[str, str], ended_well: bool) -> dict[str, Entry]:
        """Return what a job wrote, by the places from which it can be fetched; of one that failed, its log."""
        self._written = {f"job/{name}": folder / name for name in (LOG_NAME, ARM_NAME) if (folder / name).is_file()}
        for root, place in places.items() if ended_well else ():
            if root.startswith("out:"):
                written = (path for path in sorted(Path(place).rglob("*")) if path.is_file() and not path.is_symlink())
                self._written |= {f"{root}/{path.relative_to(place).as_posix()}": path for path in written}
        found = {name: entry_of(path) for name, path in self._written.items()}
        for name, path in self._written.items():  # an engine is an input of what comes next
            if path.suffix in (".onnx", ".engine"):
                self._store.keep(path, found[name].sha256)
        return found

    def fetch(self, place: str, offset: int) -> bytes:
        """Return the next part of what the last job wrote; empty at its end."""
        with self._written[place].open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)

    def close(self) -> None:
        """End processes that wait for jobs, and delete what belongs to this worker alone."""
        for _, launcher in self._launchers.values():
            launcher.close()
        shutil.rmtree(self._folder, ignore_errors=True)
