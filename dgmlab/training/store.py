"""Where a run is kept on the disk: checkpoints, and between them a journal of its knobs.

A kill between two checkpoints loses no number: the steps since are trained again, and the journal says which knob was
moved at which of them.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path

from ..errors import LabError
from . import checkpoint
from .state import collect, part

JOURNAL = "knobs.jsonl"


class Store:
    """The folders of one run.

    Attributes:
        own: folders that hold this run and no other.
        journalled: how many entries of the knobs' log are in the journal.
        writes: of several processes, only one writes files.
    """

    def __init__(self, run):
        self.run = run
        self.own: set[Path] = set()
        self.journalled = 0
        self.writes = not run.group or run.group.rank == 0

    def save(self, folder: str | Path | None = None) -> Path:
        """Write a checkpoint now; see :meth:`~dgmlab.training.run.Run.save`."""
        folder = Path(folder) if folder is not None else self.run.folder
        if folder is None:
            raise LabError("This run has no folder to save to; give one, as in run.save('my_run').")
        with self.run.lock:
            path = checkpoint.path_for(folder, self.run.step)
            if self.writes:
                if folder not in self.own:
                    if checkpoint.found(folder):
                        raise LabError(f"{folder} already holds a run; call run.resume() to go on with it, or choose "
                                       "another folder.")
                    checkpoint.sweep(folder)
                    self._rewrite_journal(folder, self.run.knobs.log)
                checkpoint.write(path, *collect(self.run))
                checkpoint.prune(folder, self.run.keep, self.run.step)
            self.own.add(folder)
        return path

    def resume(self, folder: str | Path | None = None) -> bool:
        """Go on from the newest readable checkpoint; see :meth:`~dgmlab.training.run.Run.resume`."""
        folder = Path(folder) if folder is not None else self.run.folder
        if folder is None:
            raise LabError("This run has no folder to resume from; give one, as in run.resume('my_run').")
        best = checkpoint.newest(folder)
        if best is None:
            return False
        path, tensors, meta, refused = best
        self._check_same_run(path, tensors, meta)
        with self.run.lock:
            self.run.notes += refused
            self.run.restore(tensors, meta)
            later = [event for event in self._read_journal(folder) if event["step"] >= self.run.step]
            self.run.knobs.replay(later)
            self.own.add(folder)
            if folder == self.run.folder and self.writes:
                checkpoint.sweep(folder)
                self._rewrite_journal(folder, self.run.knobs.log, later)
        return True

    def clear(self) -> None:
        """Delete the run's checkpoints."""
        if self.writes:
            for path in checkpoint.found(self.run.folder):
                path.unlink(missing_ok=True)
            (self.run.folder / JOURNAL).unlink(missing_ok=True)
        self.own.discard(self.run.folder)
        self.journalled = 0

    def _check_same_run(self, path, tensors, meta):
        mine = {name: tuple(t.shape) for name, t in self.run.model.state_dict().items()}
        theirs = {name: tuple(t.shape) for name, t in part(tensors, "model.").items()}
        same_handles = (set(meta["optimizers"]), set(meta["knobs"]["values"])) == (
            set(self.run.optimizers), set(self.run.knobs.values()))
        if mine != theirs or not same_handles:
            raise LabError(f"{path} holds another model than this run's; build the run with the same sizes, or choose "
                           "another folder.")
        if meta["seed"] != self.run.seed:
            raise LabError(f"{path} was made with seed {meta['seed']}, this run has seed {self.run.seed}; use the same "
                           "seed to resume it.")
        if meta["device"] != self.run.device.type:
            raise LabError(f"{path} was made on {meta['device']!r}, whose random numbers {self.run.device.type!r} "
                           f"cannot continue; build the run with device={meta['device']!r} to resume it.")

    def write_journal(self) -> None:
        """Append the newest changes of knobs."""
        new = self.run.knobs.log[self.journalled:]
        if self.writes:
            with _writing(self.run.folder), open(self.run.folder / JOURNAL, "a", encoding="utf-8") as file:
                file.writelines(json.dumps(event) + "\n" for event in new)
        self.journalled += len(new)

    def _rewrite_journal(self, folder: Path, *logs: list[dict]):
        text = "".join(json.dumps(event) + "\n" for log in logs for event in log)
        with _writing(folder):
            checkpoint.write_atomically(folder / JOURNAL, text.encode())
        if folder == self.run.folder:
            self.journalled = len(self.run.knobs.log)

    def _read_journal(self, folder) -> list[dict]:
        path = Path(folder) / JOURNAL
        events: dict[tuple, dict] = {}
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1] if path.exists() else []
        for number, line in enumerate(lines, 1):            # a last line without its end was cut off by a kill
            try:
                event = json.loads(line)
                events[event["step"], event["knob"]] = event        # of a resumed run, the later entry counts
            except (json.JSONDecodeError, KeyError, TypeError):
                self.run.notes.append(f"{path} is damaged at line {number}; the change of a knob noted there is lost.")
        return sorted(events.values(), key=lambda event: event["step"])

    def forget_later(self) -> None:
        """The run has gone back: what the folder holds of later steps never happened."""
        if self.run.folder in self.own and self.writes:
            for path in checkpoint.found(self.run.folder):
                if checkpoint.step_of(path) > self.run.step:
                    path.unlink(missing_ok=True)
            self._rewrite_journal(self.run.folder, self.run.knobs.log)


@contextmanager
def _writing(folder: Path):
    try:
        yield
    except OSError as error:
        raise LabError(f"The folder {folder} could not be written to ({error.strerror}); "
                       "free some space or choose another folder.") from error
