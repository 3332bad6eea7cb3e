"""Nothing is lost when a kernel dies: live runs keep themselves in the data folder, and the next panel finds them.

Every live panel saves its run into a folder of its own, ``runs/<lab>/<key>-<time>``, and holds that folder's lock for
as long as its process lives. A folder of the same experiment whose lock is free belongs to a session that has ended,
by a crash, a restart or in peace; it is offered to be gone on with. Two notebooks at once never share a folder.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import os
import shutil
import time
import weakref
from pathlib import Path

from filelock import FileLock, Timeout

from ..data import folder as data_folder
from ..training import Run, checkpoint

EVERY = 15          # seconds between two saves of a live run
KEPT = 3            # ended sessions that are kept of each lab


_open: weakref.WeakValueDictionary[Path, Shelf] = weakref.WeakValueDictionary()      # by lab


class Shelf:
    """Where the live sessions of one lab are kept.

    Attributes:
        last: folder and step of the newest ended session of the same experiment, or None.
    """

    def __init__(self, run: Run, name: str):
        self.run = run
        self.root = data_folder() / "runs" / name
        self.key = hashlib.sha256(json.dumps([run.spec, run.seed], sort_keys=True).encode()).hexdigest()[:8]
        self.last: tuple[Path, int] | None = None
        self._lock: FileLock | None = None
        self._next = 0.0
        if run.spec and not run.folder and self._claim():
            # The same cell has been run again: what it showed before is the last session now.
            if (before := _open.get(self.root)) is not None:
                before.give_up()
            _open[self.root] = self
            self._look_around()

    def keep(self, now: float) -> None:
        """Save the run if it is time to; called between steps."""
        if self._lock is not None and now > self._next and self.run.step:
            self.run.save()
            self._next = min(now, time.monotonic()) + EVERY

    def recover(self) -> int:
        """Go on with the last session; returns its step."""
        folder, _ = self.last
        self.last = None
        self.run.resume(folder)
        return self.run.step

    def give_up(self) -> None:
        """The session has ended: another panel of this process may go on with it."""
        if self._lock is not None:
            self.keep(math.inf)
            self._lock.release()
            self._lock = None

    def _claim(self) -> bool:
        """A new folder, locked, for this run. Where none can be made (a read-only place), the run is not kept."""
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        own = self.root / f"{self.key}-{stamp}-{os.getpid()}-{id(self):x}"
        try:
            own.mkdir(parents=True)
            self._lock = FileLock(own / "lock")
            self._lock.acquire(timeout=0)
        except OSError:
            return False
        self.run.folder, self.run.every = own, 2**62        # by the clock, not by the step
        return True

    def _look_around(self) -> None:
        """Find the last session, and clear away the folders of sessions that ended long ago or never began."""
        ended = []
        for path in sorted(self.root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True):
            if path == self.run.folder:
                continue
            try:
                with FileLock(path / "lock").acquire(timeout=0):
                    steps = [checkpoint.step_of(p) for p in checkpoint.found(path)]
                    if max(steps, default=0) > 0 and len(ended) < KEPT:
                        ended.append((path, max(steps)))
                    else:
                        shutil.rmtree(path, ignore_errors=True)
            except (Timeout, OSError):          # still running, or somebody else's
                continue
        self.last = next(((path, step) for path, step in ended if path.name.startswith(self.key)), None)
