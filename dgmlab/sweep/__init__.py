"""One lab, run many times: the product of a grid of parameters and seeds, on this machine or on a cluster.

    from dgmlab import notebooks
    from dgmlab.sweep import grid, sweep

    sweep(grid(notebooks.find("04"), ["schedule=constant,cyclical", "beta=0.5,1"], seeds="5"), Path("kl"))

The engine is joblib: its own processes here, its Dask backend on many machines; the same function runs on both.
README.md beside this file shows how to start workers from a list of hosts and from a batch script.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import warnings
from concurrent.futures import BrokenExecutor
from pathlib import Path

from ..errors import LabError, check_number
from . import table
from .folder import Folder
from .grids import MOST, Grid, Point, grid
from .running import DONE, Job, run, without_outputs

__all__ = ["MOST", "Grid", "Point", "grid", "sweep"]
PATIENCE = 10               # seconds that a scheduler has to answer


def sweep(grid: Grid, out: Path, *, jobs: int | None = None, resume: bool = False, retry: bool = False,
          scheduler: str | None = None, timeout: float | None = None, warm: bool = True) -> list[dict]:
    """Run what is missing in the folder ``out``, record each run as it ends, then write the table and the page.

    Args:
        jobs: local processes; as many as there are cores if None, or as there are GPUs if those are fewer.
        resume: go on with the sweep in the folder, if there is one.
        retry: with ``resume``, do again what failed or was stopped.
        scheduler: the address of a Dask scheduler, ``tcp://host:port``; its workers do the runs.
        timeout: the longest that one run may take, in seconds; None for no limit.
        warm: fork kernels off a process with the lab's imports done, where the system allows it.

    Returns:
        What is recorded of each run: its ``run.json``, in the order of the grid.

    Raises:
        LabError: see :class:`.folder.Folder`; the scheduler does not answer, has no workers, or they have no dgmlab.
    """
    from joblib import cpu_count

    check_number("The number of jobs", jobs or 1, 1, whole=True)
    with contextlib.ExitStack() as stack:
        if scheduler:
            engine = stack.enter_context(_cluster(scheduler))
        folder = stack.enter_context(Folder(out, grid, resume=resume, retry=retry))
        missing = folder.missing()
        gpus = () if scheduler else visible_gpus()
        if not scheduler:
            jobs = min(jobs or min(cpu_count(), len(gpus) or cpu_count()), len(missing) or 1)
            engine = {"backend": "loky", "n_jobs": jobs, "inner_max_num_threads": 1}
        source, owner = without_outputs(grid.lab), None if scheduler else os.getpid()
        _run([Job(point.name, grid.lab.stem, source, point.given, timeout, warm, owner, gpus) for point in missing],
             {point.name: point for point in missing}, folder, engine)
        return table.write(folder)


def _run(jobs: list[Job], points: dict[str, Point], folder: Folder, engine: dict) -> None:
    from joblib import Parallel, delayed, parallel_config
    from tqdm import tqdm

    total = len(folder.grid.points)
    failed = sum(row["status"] != DONE for row in folder.rows())
    with parallel_config(**engine), tqdm(total=total, initial=total - len(jobs), desc=folder.grid.lab.stem, unit="run",
                                         mininterval=0.5, smoothing=0.1) as bar:
        # One at a time: a batch of them would be recorded, and lost, together.
        outcomes = Parallel(batch_size=1, return_as="generator_unordered")(delayed(run)(job) for job in jobs)
        try:
            for outcome in outcomes:
                folder.add(points[outcome.name], outcome)
                failed += outcome.status != DONE
                bar.set_postfix_str(f"{failed} failed" if failed else "", refresh=False)
                bar.update()
        except LabError:
            raise
        except ModuleNotFoundError as error:
            raise LabError(f"The workers do not have the package {error.name}; install there what is installed here."
                           ) from error
        except BrokenExecutor as error:
            raise LabError("A worker was killed (out of memory?); what is recorded stays, and --resume goes on, with "
                           "fewer --jobs if need be.") from error
        except OSError as error:
            raise LabError(f"A worker could not go on ({error.strerror or error}); what is recorded stays, and "
                           "--resume goes on.") from error


@contextlib.contextmanager
def _cluster(address: str):
    """The engine of a Dask cluster."""
    try:
        from distributed import Client
    except ImportError as error:
        raise LabError("--scheduler needs the package distributed: `pip install 'dgmlab[cluster]'`.") from error
    logging.getLogger("distributed").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")             # of other versions: a run notes its own
            client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:              # a timeout is an OSError
        raise LabError(f"No Dask scheduler answers at {address!r} within {PATIENCE} s; start one with `dask "
                       "scheduler`, and give the address it prints, like tcp://host:8786.") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError as error:
            raise LabError(f"The Dask scheduler at {address} has no workers; start some with `dask worker {address} "
                           "--nthreads 1`.") from error
        yield {"backend": "dask", "client": client}


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; none is touched."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(filter(None, (each.strip() for each in named.split(","))))
    if not shutil.which("nvidia-smi"):
        return ()
    found = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True)
    return tuple(found.stdout.split()) if found.returncode == 0 else ()
