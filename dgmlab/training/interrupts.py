"""An interrupt (the stop button, Ctrl-C) takes effect between two steps, so that no state is ever half-updated."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import contextmanager


class Interrupts:
    """In the main thread, an interrupt that falls into a step of a run waits for its end."""

    def __init__(self):
        self.stepping = None        # the run that is in a step
        self._open = 0              # generators of steps that have begun and not ended, in whatever order they will
        self._before: Callable | None = None

    @contextmanager
    def between_steps(self):
        """Watch for interrupts; yields whether it does."""
        handler = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(handler):
            yield False
            return
        if handler != self._handle:
            self._before = handler
            signal.signal(signal.SIGINT, self._handle)
        self._open += 1
        try:
            yield True
        finally:
            self._open -= 1
            # A forgotten generator may end in any thread.
            if not self._open and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, self._before)

    def _handle(self, number, frame):
        if self.stepping is not None:
            self.stepping._interrupted = True
        else:
            self._before(number, frame)


interrupts = Interrupts()
