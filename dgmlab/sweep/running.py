"""One run of a sweep, as a function of its arguments alone: what a worker does, here or on another machine.

It touches nothing outside a temporary folder of its own and hands everything back, so it does not matter where it runs
or, after a worker died, how often.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import logging
import os
import platform
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from .. import notebooks, results
from ..errors import LabError
from . import kernels

DONE, FAILED, STOPPED = "done", "failed", "stopped"


@dataclass(frozen=True)
class Job:
    """What a worker needs for one run.

    Attributes:
        name: of the run, in the sweep.
        lab: the notebook's name without its ending.
        source: the notebook, as JSON, without outputs.
        given: the parameters that it is run with.
        timeout: the longest that the run may take, in seconds; None for no limit.
        warm: whether its kernel is forked off a process with the imports done, where that works.
        owner: the process of the sweep, with which a local worker ends; None on a cluster.
        gpus: the GPUs of this machine, one for each worker, as CUDA_VISIBLE_DEVICES names them.
    """

    name: str
    lab: str
    source: str
    given: dict
    timeout: float | None = None
    warm: bool = True
    owner: int | None = None
    gpus: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        status: ``done``, ``failed`` or ``stopped`` (at its time limit).
        error: what went wrong, in a sentence; empty if nothing did.
        notebook: the executed notebook, as JSON, up to where it came; empty if it did not begin.
        metrics: the numbers that the lab recorded (:func:`dgmlab.results.record`).
        seconds: wall time of the run, with the start of its kernel; what a worker prepares once is not counted.
        versions: of Python and the packages that numbers depend on.
    """

    name: str
    status: str
    error: str
    notebook: str
    metrics: dict
    seconds: float
    versions: dict = field(default_factory=dict)


def run(job: Job) -> Outcome:
    """Run the notebook in a kernel of its own.

    Raises:
        OSError: the disk for temporary files is full. Any other failure is an outcome.
    """
    logging.getLogger("papermill").setLevel(logging.CRITICAL)           # what it would say is in the outcome
    with tempfile.TemporaryDirectory(prefix="dgmlab-sweep-", ignore_cleanup_errors=True) as place, \
            _gpu(job) as environment:
        source, out, numbers = Path(place, f"{job.lab}.ipynb"), Path(place, "run", "notebook.ipynb"), Path(place, "n")
        source.write_text(job.source, "utf-8")
        out.parent.mkdir()
        environment |= {name: os.environ.get(name, "1") for name in kernels.THREADS}
        environment |= {results.FILE: str(numbers), "DGMLAB_LIVE": "0"}
        nursery = _nursery(job.source) if job.warm and kernels.CAN_FORK else None
        began = time.monotonic()
        guard = Guard(job)
        status, error = DONE, ""
        try:
            kernel = kernels.manager(out.parent, environment, guard.watch, nursery)
            notebooks.execute(source, out, job.given, kernel=kernel, progress_bar=False, shutdown_kernel="immediate")
        except LabError as caught:
            status, error = FAILED, str(caught)
        except Exception as caught:
            if isinstance(caught, OSError) and caught.errno == errno.ENOSPC:
                raise
            status, error = FAILED, f"{type(caught).__name__}: {' '.join(str(caught).split()) or 'no message'}"
        finally:
            guard.close()
        if guard.expired:
            status, error = STOPPED, f"It took longer than {job.timeout:g} s."
        return Outcome(job.name, status, error, out.read_text("utf-8") if out.is_file() else "", results.read(numbers),
                       round(time.monotonic() - began, 3), versions())


class Guard(threading.Thread):
    """Ends a kernel at the time limit of its run, and a local worker with the sweep that it works for."""

    def __init__(self, job: Job):
        super().__init__(daemon=True)
        self.job, self.expired = job, False
        self._kernel: int | None = None
        self._over = threading.Event()
        self._deadline = time.monotonic() + (job.timeout or float("inf"))
        self.start()

    def watch(self, kernel: int) -> None:
        self._kernel = kernel

    def run(self) -> None:
        while not self._over.wait(0.2):
            orphan = self.job.owner not in (None, os.getpid(), os.getppid()) and os.name != "nt"
            if orphan or time.monotonic() > self._deadline:
                self.expired = not orphan
                if self._kernel:
                    kernels.kill(self._kernel)
                if orphan:
                    os._exit(1)

    def close(self) -> None:
        self._over.set()
        self.join()


@functools.lru_cache(maxsize=1)
def _nursery(source: str) -> kernels.Nursery | None:
    """The nursery of this worker, kept from run to run; None if the imports do not end well, which a run will show."""
    import nbformat

    single = {name: os.environ.get(name, "1") for name in kernels.THREADS}
    with contextlib.suppress(LabError, OSError):
        return kernels.Nursery(kernels.imports(nbformat.reads(source, as_version=4)), single)
    return None


@contextlib.contextmanager
def _gpu(job: Job):
    """An environment that shows a GPU which no other worker of this sweep has, if there is one."""
    if not job.gpus:
        yield {}
        return
    from filelock import FileLock, Timeout

    with contextlib.ExitStack() as stack:
        for gpu in job.gpus:
            lock = FileLock(Path(tempfile.gettempdir(), f"dgmlab-sweep-{job.owner}-gpu-{gpu}.lock"), timeout=0)
            with contextlib.suppress(Timeout):
                stack.enter_context(lock)
                break
        else:                                           # more workers than GPUs: shared evenly
            gpu = job.gpus[hash(job.name) % len(job.gpus)]
        yield {"CUDA_VISIBLE_DEVICES": gpu}


@functools.cache
def versions() -> dict[str, str]:
    from importlib import metadata

    from .. import __version__

    found = {"python": platform.python_version(), "dgmlab": __version__, "machine": platform.machine()}
    for name in ("torch", "numpy", "scikit-learn", "transformers"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def without_outputs(path: Path) -> str:
    """The notebook as JSON, without its outputs: a few kilobytes to send to each worker."""
    notebook = notebooks.read(path)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return json.dumps(notebook, ensure_ascii=False)
