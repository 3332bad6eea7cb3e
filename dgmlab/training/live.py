"""Training in the background of a notebook, and how to tell whether anybody is watching.

One daemon thread pulls ticks from the run's generator. It exists only while the run trains: pausing ends it after the
step it is in, starting makes a new one, so there is nothing to leak when a cell is run twice. At most one run trains
live in a process; starting another pauses the first.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import time
from collections.abc import Callable

from ..errors import LabError, check_number

ENDLESS = 2**62
IDLE_LIMIT = 15 * 60        # seconds without a touch after which a live run pauses itself: its tab may be closed
_turn = threading.Lock()    # guards the hand-over between runs
_training: Live | None = None
_watched = False


def is_live() -> bool:
    """Whether a person watches: in JupyterLab yes; under papermill, nbval, nbconvert and plain Python no.

    ``DGMLAB_LIVE=1`` or ``0`` decides. Otherwise the execute request does: a front end with a person behind it allows
    input from the keyboard, a batch runner does not.
    """
    setting = os.environ.get("DGMLAB_LIVE")
    if setting is not None:
        if setting not in ("0", "1"):
            raise LabError(f"DGMLAB_LIVE is {setting!r}, but it must be 0 (batch) or 1 (live).")
        return setting == "1"
    global _watched
    try:
        from IPython import get_ipython

        request = get_ipython().kernel.get_parent()
    except (ImportError, AttributeError):
        return False
    # A button's callback is not the request of a cell; what the last cell said still holds then.
    if request.get("header", {}).get("msg_type") == "execute_request":
        _watched = bool(request["content"].get("allow_stdin", False))
    return _watched


class Live:
    """The background side of one run.

    Attributes:
        goal: the number of completed steps that :meth:`wait` waits for.
        error: what ended the last training, if something did.
        watchers: functions called with the run after every step, in the training thread; they must be quick.
        pace: the most steps a second, for who wants to watch; None for no limit.
        stint: where a training in the background pauses by itself: at every multiple of so many steps, though not short
            of the goal; None for never.
    """

    def __init__(self, run):
        self.run = run
        self.goal = 0
        self.error: BaseException | None = None
        self.watchers: list[Callable] = []
        self.on_state: list[Callable] = []
        self.idle_limit = IDLE_LIMIT
        self.pace: float | None = None
        self.stint: int | None = None
        self.why_paused = ""
        self._rested: int | None = None     # the step at which it last paused by itself
        self._thread: threading.Thread | None = None
        self._limit = ENDLESS
        self._pause = threading.Event()
        self._touched = time.monotonic()

    @property
    def training(self) -> bool:
        thread = self._thread
        return thread is not None and thread.is_alive()

    @property
    def rests(self) -> bool:
        """Whether the run stands where it paused by itself, its stint done."""
        return not self.training and self._rested == self.run.step

    def touch(self) -> None:
        """Somebody is here: put off the pause of an abandoned run."""
        self._touched = time.monotonic()

    def start(self, steps: int | None = None) -> None:
        """Train in the background until paused; with ``steps``, that many further steps are the goal of :meth:`wait`.

        Without a person watching (see :func:`is_live`) the same steps are trained at once, in the foreground.
        """
        if steps is not None:
            check_number("The number of steps", steps, 0, whole=True)
            self.goal = self.run.step + int(steps)
        if not is_live():
            self._to_goal_in_foreground()
            return
        self._go("training")

    def step_once(self) -> None:
        """Train for a single step in the background."""
        self.pause()
        self._go("one step", limit=1)

    def pause(self, why: str = "") -> None:
        """End the background thread after the step it is in, and wait for that."""
        with _turn:                         # not while a thread is being made
            if self.training:
                self.why_paused = why
            self._pause.set()
        self._join()

    def wait(self) -> None:
        """Block until the goal is reached. Starts the run if it is not training; an interrupt pauses it.

        Raises:
            BaseException: whatever ended the training, raised here, where the user looks.
        """
        self._begin()
        try:
            while not self._arrived():
                time.sleep(0.1)
        except KeyboardInterrupt:
            self.pause("interrupted")
            raise

    async def finish(self) -> None:
        """:meth:`wait` for a notebook cell: ``await run.finish()`` leaves the kernel free to serve the sliders."""
        self._begin()
        try:
            while not self._arrived():
                await asyncio.sleep(0.1)
        except (asyncio.CancelledError, KeyboardInterrupt):
            self.pause("interrupted")
            raise

    def _begin(self):
        """See to it that the run is on its way to the goal; without a person watching, that it is there."""
        if not is_live():
            self._to_goal_in_foreground()
        elif not self.training and self.error is None and self.run.step < self.goal:
            self._go("training")

    def _arrived(self) -> bool:
        self.touch()
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return self.run.step >= self.goal

    def _to_goal_in_foreground(self):
        for _ in self.run.steps(max(0, self.goal - self.run.step)):
            for watch in self.watchers:
                watch(self.run)

    def _go(self, name: str, limit: int = ENDLESS) -> None:
        """Start a thread, as soon as no other one trains."""
        global _training
        while True:
            with _turn:
                if self.training and self._limit == limit and not self._pause.is_set():
                    return                                          # it was started twice
                other = _training
                if other is None or not other.training or other._thread is threading.current_thread():
                    if other is not None:                           # one of its watchers has called: it ends after that
                        other._pause.set()
                    _training, self._limit, self._pause = self, limit, threading.Event()
                    self.error, self.why_paused, self._rested = None, "", None
                    self.touch()
                    self._thread = threading.Thread(target=self._guarded, args=(limit, self._pause, _cell()),
                                                    daemon=True, name=f"dgmlab {name}")
                    self._thread.start()
                    return
            # Outside of the lock: the thread that is to end may itself be about to start a run.
            other.pause("" if other is self else "another run was started")

    def _join(self):
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _guarded(self, limit: int, pause: threading.Event, cell) -> None:
        _speak_for(cell)
        try:
            self._tell()
            self._train(limit, pause)
        except BaseException as error:          # shown in the panel, raised by wait()
            self.error = error
        finally:
            if self._thread is threading.current_thread():
                self._thread = None
            try:
                self._tell()
            except Exception as error:
                self.error = self.error or error

    def _tell(self):
        for tell in self.on_state:
            tell()

    def _train(self, limit, pause):
        due = time.monotonic()
        rest = (self.run.step // self.stint + 1) * self.stint if self.stint else ENDLESS
        for _ in self.run.steps(limit):
            for watch in self.watchers:
                watch(self.run)
            if self.run.step >= max(rest, self.goal):
                self._rested, self.why_paused = self.run.step, f"{self.run.step:,} steps done, Start goes on"
                return
            if self.pace:
                due = max(due + 1 / self.pace, time.monotonic() - 0.1)      # what was lost is not made up for
                pause.wait(max(0.0, due - time.monotonic()))
            if pause.is_set():
                return
            if time.monotonic() - self._touched > self.idle_limit:
                self.why_paused = f"nobody touched it for {self.idle_limit / 60:.0f} minutes"
                return


def pause_all(why: str = "") -> None:
    """Pause whichever run trains live in this process."""
    if _training is not None:
        _training.pause(why)


@atexit.register
def _end() -> None:
    """Torch must not compute while the interpreter shuts down."""
    if _training is not None:
        _training.on_state, _training.watchers = [], []
        _training.pause()


def _cell():
    """The request of the cell that starts a thread, so that the kernel files what the thread sends under that cell."""
    try:
        from IPython import get_ipython

        return get_ipython().kernel.get_parent()
    except (ImportError, AttributeError):
        return None


def _speak_for(cell) -> None:
    if cell is None:
        return
    from IPython import get_ipython

    shell = get_ipython()
    # ipykernel >= 7.4 has a call that touches this thread only; earlier ones have the general one.
    speak = getattr(shell, "set_thread_parent", None) or getattr(shell, "set_parent", None)
    if speak is not None:
        speak(cell)
