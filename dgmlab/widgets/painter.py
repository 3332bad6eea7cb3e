"""The painter: a helper process that turns arrays into pictures while the kernel trains.

Drawing in a thread of the kernel would hold the interpreter's lock for tens of milliseconds a frame, and every one of
the training's thousands of torch calls a second has to take that lock. A second process draws on another core: the
training pays only for collecting a few arrays and writing them into a pipe.

The process is started with the `subprocess` module and told what to do through its standard input; when that ends,
because the kernel closed it, restarted or was killed, the painter ends too. It is in a session of its own, so that an
interrupt meant for a notebook's cell passes it by, and it imports no torch.

    painter = shared_painter()
    painter.add("loss", Curves(...))
    painter.request({"loss": data}, lambda images: ...)       # returns at once; False while the last one is drawn
"""

from __future__ import annotations

import atexit
import os
import pickle
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import LabError

LENGTH = struct.Struct(">Q")        # before each message: its number of bytes
PATIENCE = 60                       # seconds after which a frame is given up and the process replaced
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Painter:
    """The kernel's end: pictures by name, and frames to be drawn.

    Several panels may share one. The process starts with the first picture and is replaced once, should it die; the
    pictures then start anew (a t-SNE layout, for instance, is fitted again).

    Attributes:
        errors: text of the last error in the drawing of each picture, by name; gone when it can be drawn again.
        cost: CPU milliseconds of the last drawing of each picture, by name.
    """

    def __init__(self):
        self.errors: dict[str, str] = {}
        self.cost: dict[str, float] = {}
        self._pictures: dict[str, object] = {}
        self._jobs: queue.SimpleQueue = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._process: subprocess.Popen | None = None
        self._worker: threading.Thread | None = None
        self._busy_since: float | None = None
        self._deaths = 0
        self._farewell = ""
        self._closed = False

    @property
    def busy(self) -> bool:
        """True while a frame is being drawn."""
        return self._busy_since is not None

    @property
    def pid(self) -> int | None:
        """Process number of the painter, None before its start."""
        return self._process.pid if self._process else None

    def add(self, name: str, picture) -> None:
        """Make a picture known under a name; another one of that name is replaced."""
        self._check_open()
        self._pictures[name] = pack(f"picture {name!r}", picture)
        self._tell(("add", name, self._pictures[name]))

    def remove(self, name: str) -> None:
        """Forget a picture."""
        self._pictures.pop(name, None)
        if not self._closed and self._deaths < 2:
            self._tell(("remove", name, None))

    def request(self, frames: Mapping[str, Mapping], callback: Callable[[dict[str, bytes]], None],
                failed: Callable[[dict[str, str]], None] | None = None) -> bool:
        """Have pictures drawn from new data; returns at once.

        Args:
            frames: data by name of picture, as their `collect` returned it.
            callback: is given the images (JPEG bytes by name) in the painter's own thread.
            failed: is given the errors, by name of picture, if there were any.

        Returns:
            False, and nothing is done, while the last request is still being drawn.

        Raises:
            LabError: where a picture is not known, or the process has ended twice.
        """
        self._check_open()
        unknown = [name for name in frames if name not in self._pictures]
        if unknown:
            raise LabError(f"The painter knows no picture named {unknown[0]!r}; add it first.")
        with self._lock:
            if self.busy:
                if time.monotonic() - self._busy_since > PATIENCE and self._process:
                    self._process.kill()                # stuck: the worker notices, and starts another one
                return False
            self._busy_since = time.monotonic()
        try:
            # Packed here and now: the run may go on to change the arrays as soon as this returns.
            self._tell(("draw", list(frames), {name: pack(f"data of {name!r}", data) for name, data in frames.items()},
                        callback, failed))
        except BaseException:
            self._busy_since = None
            raise
        return True

    def close(self) -> None:
        """End the process. A frame that is being drawn is lost."""
        with self._lock:
            self._closed = True
        self._jobs.put(None)
        if self._process:
            self._process.kill()
        if self._worker and self._worker is not threading.current_thread():
            self._worker.join(5)
        self._end()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _check_open(self):
        if self._closed:
            raise LabError("The painter has been closed; open a new panel.")
        if self._deaths > 1:
            raise LabError(f"The process that draws the pictures ended twice, so they stop here while the training can "
                           f"go on; restart the kernel to see them again ({self._farewell}).")

    def _tell(self, job):
        with self._lock:
            if self._worker is None:
                self._worker = threading.Thread(target=self._work, daemon=True, name="dgmlab painter")
                self._worker.start()
        self._jobs.put(job)

    def _work(self):
        """The thread that talks to the process: one job after the other."""
        self._start()
        while (job := self._jobs.get()) is not None and not self._closed:
            kind, what, packed, *listeners = job
            answer = None
            while self._deaths < 2 and not self._closed:
                try:
                    send(self._process.stdin, (kind, what, packed))
                    if kind == "draw":
                        answer = receive(self._process.stdout)
                    break
                except (OSError, EOFError):
                    self._replace()
            if kind == "draw":
                self._deliver(what, answer, *listeners)

    def _start(self):
        home = str(Path(__file__).resolve().parents[2])         # also where dgmlab is not installed
        path = os.pathsep.join([home, *filter(None, [os.environ.get("PYTHONPATH")])])
        apart = ({"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS}
                 if os.name == "nt" else {"start_new_session": True})
        self._said = tempfile.TemporaryFile()                   # its standard error, for the last words
        try:
            self._process = subprocess.Popen([sys.executable, "-m", "dgmlab.widgets.painter"], stdin=subprocess.PIPE,
                                             stdout=subprocess.PIPE, stderr=self._said, **apart,
                                             env={**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONPATH": path,
                                                  "MPLBACKEND": "agg"})
        except OSError as error:
            self._deaths, self._farewell = 2, str(error)
            return
        if self._closed:                                        # meanwhile
            self._process.kill()

    def _replace(self):
        """After a death: once, start another process and give it the pictures."""
        self._end()
        if self._closed:
            return
        self._deaths += 1
        if self._deaths < 2:
            self._start()
            try:
                for name, packed in list(self._pictures.items()):
                    send(self._process.stdin, ("add", name, packed))
            except OSError:
                self._replace()

    def _end(self):
        if self._process is None or self._said.closed:
            return
        self._process.kill()
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read()[-4000:].decode(errors="replace").strip().splitlines()
        self._farewell = lines[-1].strip() if lines else f"exit status {self._process.returncode}"
        for pipe in (self._process.stdin, self._process.stdout, self._said):
            try:
                pipe.close()
            except OSError:                                     # what could not be written any more
                pass

    def _deliver(self, names, answer, callback, failed):
        if answer is None:
            images, errors = {}, dict.fromkeys(names, "The process that draws the pictures has ended.")
        else:
            images, errors, cost = answer
            self.cost.update(cost)
        for name in names:
            self.errors.pop(name, None)
        self.errors.update(errors)
        with self._lock:
            self._busy_since = None
        if self._closed:
            return
        try:
            callback(images)
            if errors and failed:
                failed(errors)
        except Exception:                                       # the panel's mistake must not end the painter's thread
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


_shared: Painter | None = None
_shared_lock = threading.Lock()


def shared_painter() -> Painter:
    """The kernel's one painter; a new one where the last was closed or has died twice."""
    global _shared
    with _shared_lock:
        if _shared is None or _shared._closed or _shared._deaths > 1:
            _shared = Painter()
            atexit.register(_shared.close)
        return _shared


# -- the process -------------------------------------------------------------------------------------------------------


def pack(what: str, content) -> bytes:
    """A pickle, or a sentence why there is none."""
    try:
        return pickle.dumps(content, protocol=5)
    except Exception as error:
        raise LabError(f"The {what} cannot be sent to the painter ({error}); it may hold arrays, numbers and texts, "
                       "and classes only from modules.") from None


def send(stream, message) -> None:
    """Write one message. Both ends are our own processes: nothing from elsewhere is ever unpickled."""
    content = pickle.dumps(message, protocol=5)
    stream.write(LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def receive(stream):
    """Read one message; EOFError at the end."""
    header = stream.read(LENGTH.size)
    if len(header) < LENGTH.size:
        raise EOFError
    (length,) = LENGTH.unpack(header)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)


def main() -> None:
    """Draw what standard input asks for, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)                                              # the training comes first
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)                                               # a stray print goes there, not into the pipe
    pictures: dict = {}
    while True:
        try:
            kind, what, packed = receive(sys.stdin.buffer)
        except EOFError:
            return
        if kind == "add":
            try:
                pictures[what] = pickle.loads(packed)
            except Exception as error:
                pictures[what] = error
        elif kind == "remove":
            pictures.pop(what, None)
        else:
            try:
                send(answers, paint(pictures, packed))
            except BrokenPipeError:
                return


def paint(pictures: Mapping, frames: Mapping[str, bytes]) -> tuple[dict, dict, dict]:
    """Draw frames (packed data by name): images (bytes), errors (text) and cost (CPU ms), each by name."""
    images, errors, cost = {}, {}, {}
    for name, packed in frames.items():
        start = time.process_time()
        try:
            if isinstance(pictures[name], Exception):
                raise LabError(f"The painter cannot load this picture ({pictures[name]}); define its class in a module "
                               "that can be imported.")
            images[name] = pictures[name].render(pickle.loads(packed))
        except LabError as error:
            errors[name] = str(error)
        except Exception as error:
            errors[name] = f"{type(error).__name__}: {error}"
        cost[name] = 1000 * (time.process_time() - start)
    return images, errors, cost


if __name__ == "__main__":
    main()
