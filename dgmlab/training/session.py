"""A live session as an experiment: what was turned at which step, saved as JSON, replayed to the same numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import LabError
from .checkpoint import write_atomically
from .run import Run
from .state import versions

FORMAT = "dgmlab session 1"
ROWS = 200          # rows of the history kept in the file for comparison, besides a digest of all of them


class Replay(NamedTuple):
    """What came of a replay."""

    run: Run
    exact: bool                 # every number of every step is equal to the last bit
    largest_difference: float   # the largest relative difference among the rows kept in the file
    verdict: str                # one sentence


def describe(run: Run) -> dict:
    """The session of a run so far, as JSON-able data."""
    with run.lock:
        run.history.fetch()
        steps = np.unique(np.linspace(1, max(run.step, 1), ROWS).astype(int)) if run.step else np.array([], int)
        columns = {name: run.history.column(name)[steps - 1].tolist() for name in run.history.names}
        return {"format": FORMAT, "spec": run.spec, "seed": run.seed, "steps": run.step,
                "threads": run.threads.number, "device": run.device.type,
                "precision": str(run.precision).removeprefix("torch."), "versions": versions(),
                "knobs": {"initial": run.knobs.initial, "log": run.knobs.log},
                "history": {"steps": steps.tolist(), **columns}, "digest": _digest(run)}


def save_session(run: Run, path: str | Path) -> Path:
    """Write the session of a run to a file that can be handed in."""
    path = Path(path)
    try:
        write_atomically(path, json.dumps(describe(run), indent=1).encode())
    except OSError as error:
        raise LabError(f"The session could not be written to {path} ({error.strerror}); choose another "
                       "folder.") from None
    return path


def load_session(path: str | Path) -> dict:
    """Read a session file.

    Raises:
        LabError: it is missing, cut off or not a session.
    """
    try:
        session = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LabError(f"There is no session at {path}.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise LabError(f"{path} cannot be read as a session ({error}); save it again.") from None
    if not isinstance(session, dict) or session.get("format") != FORMAT:
        raise LabError(f"{path} is not a session of this lab; choose a file that the panel's Save button wrote.")
    return session


def replay(session: dict, build: Callable[[], Run]) -> Replay:
    """Train again what a session trained, moving the knobs at the same steps, and compare the numbers.

    Args:
        session: from :func:`load_session` or :func:`describe`.
        build: makes the run anew, at step 0.
    """
    run = build()
    for name, value in session["knobs"]["initial"].items():
        setattr(run.knobs, name, value)
    run.knobs.at(0)
    run.knobs.initial = dict(session["knobs"]["initial"])
    run.knobs.log.clear()
    run.knobs.replay(session["knobs"]["log"])
    for _ in run.steps(session["steps"]):
        pass
    exact = _digest(run) == session["digest"]
    difference = _largest_difference(run, session["history"])
    if exact:
        verdict = f"All {run.step:,} steps gave the same numbers, to the last bit."
    else:
        made, now = session["versions"] | {"threads": session["threads"]}, versions() | {"threads": run.threads.number}
        changed = ", ".join(f"{k} {made[k]} then, {now[k]} now" for k in made if made[k] != now.get(k))
        verdict = (f"The numbers differ by up to {difference:.2g} (relative)"
                   + (f"; what is different here: {changed}." if changed else ", though versions and threads are the "
                      "same: the session was changed after it was saved, or the model's code was."))
    return Replay(run, exact, difference, verdict)


def _digest(run: Run) -> str:
    digest = hashlib.sha256()
    for name in sorted(run.history.names):
        digest.update(name.encode())
        digest.update(run.history.column(name).tobytes())
    return digest.hexdigest()


def _largest_difference(run: Run, saved: dict) -> float:
    rows = np.array(saved["steps"], int) - 1
    largest = 0.0
    for name in set(saved) - {"steps"}:
        if name not in run.history.names:
            return float("inf")
        then, now = np.array(saved[name], float), run.history.column(name)[rows]
        scale = max(float(np.nanmax(np.abs(then), initial=0)), 1e-12)
        largest = max(largest, float(np.nanmax(np.abs(then - now), initial=0)) / scale)
    return largest
