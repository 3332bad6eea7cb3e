"""The main numbers of a lab, recorded by the lab itself: shown at a click, and kept for whoever runs it in a batch.

A batch names a file in the environment variable DGMLAB_RESULTS; what a notebook records is added there as one JSON
object, name -> number. Without it nothing is written anywhere.
"""

from __future__ import annotations

import html
import json
import math
import os
import sys
from numbers import Integral, Real
from pathlib import Path

from .errors import LabError

FILE = "DGMLAB_RESULTS"


def record(**numbers: float | str) -> None:
    """Record numbers under their names, and show them in a table that opens at a click.

    A name recorded before gets the new number.

    Args:
        numbers: finite numbers (or one-element tensors and arrays), or words.

    Raises:
        LabError: a number is not finite, or is neither a number nor a word.
    """
    if not numbers:
        raise LabError("record() was given nothing; call it as record(name=number).")
    plain = {name: _plain(name, value) for name, value in numbers.items()}
    place = os.environ.get(FILE)
    if place:
        _add(Path(place), plain)
    _show(plain)


def read(path: Path) -> dict[str, float | str]:
    """What was recorded in the file ``path``; nothing if there is no such file."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}


def _plain(name: str, value) -> float | str:
    if isinstance(value, str):
        return value
    if hasattr(value, "item") and getattr(value, "size", 1) != 0:       # of numpy or torch
        try:
            value = value.item()
        except (ValueError, RuntimeError, TypeError):
            pass
    if not isinstance(value, Real) or not math.isfinite(value):
        shown = " ".join(repr(value).split())
        raise LabError(f"The recorded {name} is {shown if len(shown) < 40 else shown[:36] + ' ...'}, but it must be a "
                       "finite number or a word.")
    return value if isinstance(value, bool) else int(value) if isinstance(value, Integral) else float(value)


def _add(path: Path, numbers: dict) -> None:
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(json.dumps(read(path) | numbers, ensure_ascii=False, indent=1) + "\n", "utf-8")
        os.replace(part, path)
    except (OSError, json.JSONDecodeError) as error:
        raise LabError(f"The numbers could not be added to {path}, which {FILE} names ({error}); name a file that can "
                       "be written, or unset it.") from error


def _show(numbers: dict) -> None:
    ipython = sys.modules.get("IPython")
    if not ipython or not ipython.get_ipython():
        return
    from IPython.display import display

    words = {name.replace("_", " "): value if isinstance(value, str) else f"{value:,.4g}"
             for name, value in numbers.items()}
    left = "style='text-align: left'"
    rows = "".join(f"<tr><th scope='row' {left}>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
                   for name, text in words.items())
    display({"text/plain": ", ".join(f"{name} {text}" for name, text in words.items()),
             "text/html": f"<details><summary>{len(words)} numbers of this lab, as a sweep records them (click)"
                          f"</summary><table>{rows}</table></details>"}, raw=True)
