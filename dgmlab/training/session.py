"""A live session as an experiment: what was turned at which step, saved as JSON, replayed to the same numbers.

A session is handed in: its file may be a stranger's. Reading one runs nothing, and what is read has been checked.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import LabError, check_choice, check_number
from .checkpoint import write_atomically
from .devices import Threads
from .run import Run, Tick
from .state import versions

FORMAT = "dgmlab session 1"
ROWS = 200          # rows of the history kept in the file for comparison, besides a digest of all of them
LARGEST = 20e6      # bytes of a file that is read
MOST_THREADS = 256
NOTICED = 1e-3      # a relative difference of which it is said when it came up


class Replay(NamedTuple):
    """What came of a replay."""

    run: Run
    exact: bool                 # every number of every step is equal to the last bit
    largest_difference: float   # the largest relative difference among the rows kept in the file
    verdict: str                # one sentence
    edited: bool = False        # the rows kept in the file are not those that the file's own digest is of

    def holds(self, tolerance: float = 0.0) -> bool:
        """Whether the numbers are those of the file, up to a relative difference that rounding may explain."""
        return self.exact or not self.edited and self.largest_difference <= tolerance


def describe(run: Run) -> dict:
    """The session of a run so far, as JSON-able data."""
    with run.lock:
        run.history.fetch()
        steps = np.unique(np.linspace(1, max(run.step, 1), ROWS).astype(int)) if run.step else np.array([], int)
        columns = {name: run.history.column(name)[steps - 1].tolist() for name in run.history.names}
        return {"format": FORMAT, "spec": run.spec, "seed": run.seed, "steps": run.step,
                **_circumstances(run), "versions": versions(),
                "knobs": {"initial": run.knobs.initial, "log": run.knobs.log},
                "history": {"steps": steps.tolist(), **columns}, "digest": _digest(run)}


def save_session(run: Run, path: str | Path) -> Path:
    """Write the session of a run to a file that can be handed in."""
    path = Path(path)
    try:
        saved = {"saved": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}
        write_atomically(path, json.dumps(describe(run) | saved, indent=1).encode())
    except OSError as error:
        raise LabError(f"The session could not be written to {path} ({error.strerror}); choose another "
                       "folder.") from None
    return path


def load_session(path: str | Path) -> dict:
    """Read a session file.

    Raises:
        LabError: it is missing, cut off or not a session, or something in it cannot be.
    """
    path = Path(path)
    if not path.exists():
        raise LabError(f"There is no session at {path}.")
    if not path.is_file():                  # reading a pipe would wait for ever
        raise LabError(f"{path} is not a file; name the file that the panel's Save button wrote.")
    if path.stat().st_size > LARGEST:
        raise LabError(f"{path} has {path.stat().st_size / 1e6:.0f} MB, but a session has at most {LARGEST / 1e6:.0f}.")
    try:
        session = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:      # of which an int of 5,000 digits is one, too
        raise LabError(f"{path} cannot be read as a session ({error}); save it again.") from None
    if not isinstance(session, dict) or session.get("format") != FORMAT:
        raise LabError(f"{path} is not a session of this lab; choose a file that the panel's Save button wrote.")
    try:
        check_session(session)
    except LabError as error:
        raise LabError(f"{path} is damaged or was changed by hand: {error}") from None
    return session


def check_session(session: dict) -> None:
    """Raise :class:`LabError` unless all parts of a session are there and of their kinds. Whether its experiment, its
    knobs and their values exist is for those to say who make the run."""

    def kind(what, value, *kinds):
        names = {dict: "a table", list: "a list", str: "text", type(None): "nothing"}
        if not isinstance(value, kinds):
            raise LabError(f"{what} is {_short(value)}, but it must be {' or '.join(names[each] for each in kinds)}.")
        return value

    spec = kind("Its description of the experiment", session.get("spec"), dict, type(None))
    if spec is not None:
        kind("The experiment's name", spec.get("experiment"), str)
        kind("The experiment's arguments", spec.get("arguments"), dict)
    check_number("Its seed", session.get("seed"), 0, 2**63 - 1, whole=True)
    check_number("Its number of steps", session.get("steps"), 0, 2**53, whole=True)
    check_number("Its number of threads", session.get("threads"), 1, MOST_THREADS, whole=True)
    check_choice("Its device", session.get("device"), ("cpu", "cuda", "mps"))
    check_choice("Its precision", session.get("precision"), ("float32", "bfloat16"))
    for name, version in kind("Its versions", session.get("versions"), dict).items():
        kind(f"The version of {_short(name)}", version, str)
    kind("Its digest", session.get("digest"), str)
    for name in ("saved", "instructions"):                      # which older files do not have
        kind(f"Its entry {name}", session.get(name, ""), str)
    knobs = kind("Its knobs", session.get("knobs"), dict)
    kind("The knobs' initial values", knobs.get("initial"), dict)
    for event in kind("The log of the knobs", knobs.get("log"), list):
        kind("A change in the log", event, dict)
        check_number("The step of a change", event.get("step"), 0, 2**53, whole=True)
        kind("The knob of a change", event.get("knob"), str)
        if ("schedule" in event) == ("value" in event):
            raise LabError("A change must have a value or a schedule, and not both.")
        kind("The schedule of a change", event.get("schedule", {}), dict)
    history = kind("Its history", session.get("history"), dict)
    rows = kind("The history's steps", history.get("steps"), list)
    for step in rows:
        check_number("A step of the history", step, 1, session["steps"], whole=True)
    for name, column in history.items():
        numbers = kind(f"The history of {_short(name)}", column, list)
        if len(numbers) != len(rows) or not all(isinstance(number, Real) for number in numbers):
            raise LabError(f"The history of {_short(name)} must have a number for each of its {len(rows)} steps.")


def prepare(run: Run, session: dict) -> None:
    """Let a run at step 0 begin as the session did, and move its knobs as they were moved there."""
    # Sums are split differently among other numbers of threads.
    run.threads = Threads(int(session["threads"]), "as in the session")
    run.knobs.reenact(session["knobs"]["initial"], session["knobs"]["log"])


def replay(session: dict, build: Callable[[], Run],
           through: Callable[[Iterator[Tick]], Iterable[Tick]] = iter) -> Replay:
    """Train again what a session trained, moving the knobs at the same steps, and compare the numbers.

    Args:
        session: from :func:`load_session` or :func:`describe`.
        build: makes the run anew, at step 0.
        through: what the steps are pulled through, such as a progress bar.
    """
    run = build()
    prepare(run, session)
    for _ in through(run.steps(session["steps"])):
        pass
    return compare(run, session)


def compare(run: Run, session: dict) -> Replay:
    """A run that has made the session's steps, against the session's numbers."""
    if not session["steps"]:
        return Replay(run, True, 0.0, "No step was made, so there are no numbers to compare.")
    same = _digest(run) == session["digest"]
    apart = _apart(run, session["history"])
    difference = float(apart.max(initial=0))
    if same and difference == 0:
        return Replay(run, True, 0.0, f"All {run.step:,} steps gave the same numbers, to the last bit.")
    by = f"by up to {difference:.2g} (relative)"
    if difference > NOTICED:
        first = session["history"]["steps"][int((apart > NOTICED).argmax())]
        by += f", first by more than {NOTICED:g} at step {first:,}"
    if same:
        return Replay(run, False, difference, f"The numbers kept in the file differ {by}, from those that its own "
                      "digest is of: the file was edited after it was saved.", edited=True)
    now = versions() | _circumstances(run)
    made = session["versions"] | {name: session[name] for name in _circumstances(run) if name in session}
    changed = ", ".join(f"{k} {made[k]} then, {now[k]} now" for k in now if made.get(k, now[k]) != now[k])
    why = (f"what is different here: {changed}" if changed else
           "versions and threads are the same, so the session was changed after it was saved, or the model's code was")
    return Replay(run, False, difference, f"The numbers differ {by}; {why}.")


def _circumstances(run: Run) -> dict:
    return {"threads": run.threads.number, "device": run.device.type,
            "precision": str(run.precision).removeprefix("torch."),
            "instructions": torch.backends.cpu.get_cpu_capability()}       # of the processor: AVX2, AVX512 ...


def _digest(run: Run) -> str:
    digest = hashlib.sha256()
    for name in sorted(run.history.names):
        digest.update(name.encode())
        digest.update(run.history.column(name).tobytes())
    return digest.hexdigest()


def _apart(run: Run, saved: dict) -> np.ndarray:
    """For each step that is kept in the file, the largest difference of any number, relative to the largest number of
    its column."""
    rows = np.array(saved["steps"], int) - 1
    apart = np.zeros(len(rows))
    if set(saved) - {"steps"} != set(run.history.names):
        return apart + np.inf
    for name in run.history.names:
        then, now = np.array(saved[name], float), run.history.column(name)[rows]
        there = np.isfinite(then)
        scale = max(float(np.abs(then[there]).max(initial=0)), 1e-12)
        away = np.where(there == np.isfinite(now), 0.0, np.inf)
        both = there & np.isfinite(now)
        away[both] = np.abs(then[both] - now[both]) / scale
        apart = np.maximum(apart, away)
    return apart


def _short(value) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
