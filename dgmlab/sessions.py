"""Live sessions that are handed in: made again to see whether their numbers hold, and shown.

A session is a stranger's file. What is read from it is checked (:mod:`dgmlab.training.session`), only experiments of
this package are made, and what it says reaches a notebook as text, never as code.
"""

from __future__ import annotations

import datetime
import json
import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import notebooks
from .errors import LabError


class Finding(NamedTuple):
    """What came of one file.

    Attributes:
        outcome: ``equal`` (to the last bit), ``rounding`` (within the tolerance), ``differ``, or ``refused``.
        says: one sentence.
        difference: the largest relative one; None where nothing was compared.
    """

    file: str
    outcome: str
    says: str
    experiment: str = ""
    steps: int | None = None
    difference: float | None = None

    @property
    def holds(self) -> bool:
        return self.outcome in ("equal", "rounding")


def collect(places: Sequence[Path]) -> list[Path]:
    """The files, and of a folder all ``.json`` files in it, however deep."""
    files: list[Path] = []
    for place in places:
        inside = sorted(place.rglob("*.json")) if place.is_dir() else [place]
        if not inside:
            raise LabError(f"There is no session in the folder {place}; name one with .json files that Save wrote.")
        files += inside
    return list(dict.fromkeys(files))


def examine(file: Path, tolerance: float, seconds: float) -> Finding:
    """Make the steps of a session again.

    Args:
        tolerance: the largest relative difference that still passes for rounding.
        seconds: the longest that it may take.
    """
    from tqdm import tqdm

    from .experiments import build_handed_in
    from .training import session as sessions

    experiment, steps = "", None

    def through(ticks):
        began = time.monotonic()
        with tqdm(ticks, desc=file.name, total=steps, unit="step", mininterval=0.5, disable=None, leave=False) as bar:
            for tick in bar:
                yield tick
                if time.monotonic() - began > seconds and tick.step < steps:
                    raise LabError(f"It was given up after {tick.step:,} of {steps:,} steps, at the limit of "
                                   f"{seconds:g} s; give it more with --timeout.")

    try:
        session = sessions.load_session(file)
        experiment, steps = (session["spec"] or {}).get("experiment", ""), session["steps"]
        found = sessions.replay(session, lambda: build_handed_in(session), through)
    except LabError as error:
        return Finding(str(file), "refused", str(error), experiment, steps)
    except (RuntimeError, MemoryError) as error:            # torch's words for too little memory
        return Finding(str(file), "refused", f"It failed with {type(error).__name__}: {str(error).splitlines()[0]}",
                       experiment, steps)
    outcome = "equal" if found.exact else "rounding" if found.holds(tolerance) else "differ"
    return Finding(str(file), outcome, found.verdict, experiment, steps, found.largest_difference)


def table(findings: Sequence[Finding]) -> str:
    """The findings, one a line."""
    words = {"equal": "equal", "rounding": "equal within rounding", "differ": "DIFFER", "refused": "not replayed"}
    rows = [("session", "experiment", "steps", "numbers", "largest difference")]
    for found in findings:
        rows.append((found.file, found.experiment[:20] or "-", "-" if found.steps is None else f"{found.steps:,}",
                     words[found.outcome], "-" if found.difference is None else f"{found.difference:.2g}"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.rjust(width) if k in (2, 4) else cell.ljust(width)
                               for k, (cell, width) in enumerate(zip(row, widths))).rstrip() for row in rows)


def write_json(path: Path, findings: Sequence[Finding]) -> None:
    """The findings as a list of objects; a difference that is not finite becomes null."""
    rows = [found._asdict() | {"holds": found.holds} for found in findings]
    for row in rows:
        if row["difference"] is not None and not math.isfinite(row["difference"]):
            row["difference"] = None
    try:
        path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise LabError(f"{path} could not be written ({error.strerror}); name another file with --json.") from None


# -- playing ---------------------------------------------------------------------------------------------------------

DRAG = 25               # steps: moves of a knob that follow each other so closely are shown as one


def recording(file: Path) -> Path:
    """Write a notebook that plays a session, beside a copy of it, into the labs' folder of sessions; returns its path.

    Raises:
        LabError: it cannot be played; see :func:`dgmlab.widgets.player.playback`.
    """
    from .widgets import playback

    run = playback(file).run                # so that whatever is wrong is said now, and not on the screen
    folder = notebooks.labs_folder() / "sessions" / "played"
    path, copy = folder / f"{file.stem}.ipynb", folder / file.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not copy.exists() or not copy.samefile(file):
            shutil.copyfile(file, copy)
        notebooks.write(path, _notebook(file, run))
    except OSError as error:
        raise LabError(f"The recording could not be written to {folder} ({error.strerror or error}); make room there, "
                       "or give yourself the right to write.") from None
    return path


def _notebook(file: Path, run):
    import nbformat

    from .training.session import load_session

    session = load_session(file)
    saved = session.get("saved") or datetime.datetime.fromtimestamp(file.stat().st_mtime).isoformat(timespec="seconds")
    made = ", ".join(f"{name} {value}" for name, value in session["spec"]["arguments"].items() if value is not None)
    facts = {"file": file.name, "saved": saved.replace("T", " "), "experiment": session["spec"]["experiment"],
             "made with": made, "steps": f"{session['steps']:,}",
             "versions": ", ".join(f"{name} {value}" for name, value in session["versions"].items())}
    moves = _moves(session["knobs"]["log"], run.knobs.traits())
    cells = [
        nbformat.v4.new_markdown_cell("# A live session, played\n\n" + _table(("", ""), facts.items()), id="facts"),
        nbformat.v4.new_markdown_cell(
            "Run the next cell (**Shift+Enter**) and press the green **Start**: the knobs move as they were moved "
            "then, and the panel pauses by itself at the end, where it says whether the numbers are those of the file. "
            "Move a knob to take over; *Reset* goes back to the beginning, and *speed* sets the pace.", id="how"),
        nbformat.v4.new_code_cell(f"from dgmlab.widgets import playback\n\nplayback({file.name!r})", id="panel"),
        nbformat.v4.new_markdown_cell("## What was moved\n\n" + (_table(("step", "knob", "set to"), moves) if moves
                                                                 else "Nothing."), id="moves")]
    for cell in cells:
        cell.metadata["slideshow"] = {"slide_type": "slide"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {
        "display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}})


def _moves(log: Sequence[dict], knobs: dict) -> list[tuple[str, str, str]]:
    """The changes of a log as rows of text; a drag is one row."""
    from .schedules import from_dict

    rows: list[list] = []
    for event in sorted(log, key=lambda event: event["step"]):
        name, step = event["knob"], event["step"]
        if "schedule" in event:
            value = str(from_dict(event["schedule"]))
        else:
            value = f"{event['value']:g}" if isinstance(event["value"], float) else str(event["value"])
        if rows and rows[-1][2] == name and step - rows[-1][1] <= DRAG:
            rows[-1][1], rows[-1][3] = step, value
        else:
            rows.append([step, step, name, value])
    return [(f"{first:,}" + (f" to {last:,}" if last > first else ""), knobs[name].title, value)
            for first, last, name, value in rows]


def _table(head: Sequence[str], rows) -> str:
    lines = [head, ["---"] * len(head), *([_literal(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _literal(text: str) -> str:
    """Text as Markdown that means nothing but itself: it may be a stranger's."""
    text = text if len(text) <= 200 else f"{text[:197]}..."
    return "".join(each if each.isalnum() or each in " .,-" else f"&#{ord(each)};" for each in text)
