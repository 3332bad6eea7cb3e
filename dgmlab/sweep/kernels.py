"""Kernels for a sweep: of one thread, on a GPU of their own, and warm.

A lab spends seconds importing torch and its friends before its first cell has done anything, and in a sweep it does so
a hundred times. On Linux each worker therefore keeps one *nursery*: a process that has made the lab's imports and does
nothing else. A kernel is forked off it in some hundredths of a second. The nursery runs no thread and touches no GPU,
which is what makes forking it safe. Elsewhere, and with ``--cold``, every kernel starts from nothing.
"""

from __future__ import annotations

import ast
import contextlib
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from .. import notebooks
from ..errors import LabError

CAN_FORK = sys.platform == "linux"      # macOS has it, but its system libraries do not survive it
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
PATIENCE = 300              # seconds that the imports may take
NO_HISTORY = "--HistoryManager.enabled=False"        # one file for all kernels, of cells nobody typed


def manager(place: Path, environment: dict[str, str], started: Callable[[int], None], nursery: Nursery | None = None):
    """A class of kernel managers whose kernel works in the folder ``place`` with ``environment``; it is forked off
    the ``nursery`` if there is one.

    Args:
        started: is told the kernel's process group as soon as there is one.
    """
    class SweepKernel(notebooks.this_python()):
        async def _async_launch_kernel(self, kernel_cmd, **kw):
            kw |= {"cwd": str(place), "env": {**kw.get("env", os.environ), **environment}}
            if nursery is None:
                kw |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                await super()._async_launch_kernel([*kernel_cmd, NO_HISTORY], **kw)
            else:
                process = nursery.fork(self.connection_file, place, kw["env"])
                self.provisioner.process = process
                self.provisioner.pid = self.provisioner.pgid = process.pid
                self._reconcile_connection_info(self.provisioner.connection_info)
            started(self.provisioner.pid)

    return SweepKernel


def kill(pid: int) -> None:
    """End a kernel with everything that it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


def imports(notebook) -> list[str]:
    """The import statements at the top level of a notebook's cells, in their order."""
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            with contextlib.suppress(SyntaxError):      # magics
                found |= {ast.unparse(node): None for node in ast.parse(cell.source).body
                          if isinstance(node, (ast.Import, ast.ImportFrom))}
    return list(found)


# -- the worker's side -----------------------------------------------------------------------------------------------

class Nursery:
    """A process that has made some imports, and forks kernels. It ends with its owner, and its kernels with it."""

    def __init__(self, statements: list[str], environment: dict[str, str]):
        self.statements = statements
        self.socket, theirs = socket.socketpair()
        self._one = threading.Lock()                    # at a time; a worker on a cluster may have several threads
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "import sys; from dgmlab.sweep.kernels import nurse; nurse(int(sys.argv[1]))",
                 str(theirs.fileno())], pass_fds=[theirs.fileno()], env={**os.environ, **environment},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.socket.settimeout(PATIENCE)
        try:
            self._ask({"imports": statements}, [])
        except (LabError, OSError):
            self.process.kill()
            raise

    def fork(self, connection_file: str, place: Path, environment: dict[str, str]) -> Forked:
        ours, theirs = os.pipe()                        # the kernel holds the other end for as long as it lives
        try:
            pid = self._ask({"file": connection_file, "cwd": str(place), "env": environment}, [theirs])
        finally:
            os.close(theirs)
        return Forked(pid, ours)

    def _ask(self, request: dict, descriptors: list[int]) -> int:
        """Send a request, by way of a file since a message with descriptors must be short; the answer is a number."""
        with self._one, tempfile.TemporaryDirectory(prefix="dgmlab-") as place:
            path = Path(place, "request.json")
            path.write_text(json.dumps(request), "utf-8")
            socket.send_fds(self.socket, [str(path).encode()], descriptors)
            answer = self.socket.recv(64)
        if not answer:
            raise LabError("The process that kernels are forked off has died (out of memory?); --cold does without it.")
        return int(answer)

    def close(self) -> None:
        self.socket.close()
        self.process.wait()


class Forked:
    """A forked kernel, for Jupyter's eyes a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, alive: int):
        self.pid, self._alive, self.returncode = pid, alive, None

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        if self._look(timeout) is None:
            raise subprocess.TimeoutExpired("kernel", timeout)
        return self.returncode

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._alive], [], [], timeout)[0]:
            os.close(self._alive)
            self.returncode = -1                        # nobody asks how it ended
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# -- the nursery's side ----------------------------------------------------------------------------------------------

def nurse(descriptor: int) -> None:
    """What a nursery does: make the imports it is told, then fork a kernel a request, until nobody holds the line."""
    line, kernels = socket.socket(fileno=descriptor), []
    sys.path[:] = [each for each in sys.path if each]   # as in a kernel that started by itself: no "here"
    while True:
        message, held, _, _ = socket.recv_fds(line, 4096, 1)
        if not message:
            break
        request = json.loads(Path(message.decode()).read_text("utf-8"))
        if "imports" in request:
            import ipykernel.kernelapp  # noqa: F401

            for statement in request["imports"]:
                with contextlib.suppress(Exception):    # it fails in its cell again, where it is seen
                    exec(statement, {})
            gc.collect()
            gc.freeze()                                 # what is there stays shared between the kernels
            line.send(b"0")
            continue
        pid = os.fork()
        if not pid:
            line.close()
            _become_kernel(request)
        os.close(held[0])
        kernels = [each for each in kernels if not os.waitpid(each, os.WNOHANG)[0]] + [pid]
        line.send(str(pid).encode())
    for pid in kernels:
        if not os.waitpid(pid, os.WNOHANG)[0]:
            kill(pid)


def _become_kernel(request: dict) -> None:
    try:
        os.setsid()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"], JPY_PARENT_PID=str(os.getppid()))
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed()          # else all kernels would draw the same
        from ipykernel.kernelapp import IPKernelApp

        app = IPKernelApp.instance()
        app.initialize(["-f", request["file"], "--log-level=ERROR", NO_HISTORY])
        app.start()
    finally:
        os._exit(0)
