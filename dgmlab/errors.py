"""One kind of error for everything a user can put right.

Its text is one clear sentence: what was wrong, what is allowed, what to do. The command line prints that
sentence alone; a notebook shows it as the last line of the traceback.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real


class LabError(ValueError):
    """Bad input, or a state of the machine that the user can mend."""


def check_choice(name: str, value, allowed: Iterable) -> None:
    """Raise :class:`LabError` unless ``value`` is one of ``allowed``."""
    allowed = list(allowed)
    if value not in allowed:
        raise LabError(f"{name} is {value!r}, but it must be one of: {', '.join(map(str, allowed))}.")


def check_number(name: str, value, low: float = -math.inf, high: float = math.inf, *, whole: bool = False) -> None:
    """Raise :class:`LabError` unless ``low <= value <= high`` (and ``value`` is an integer, if ``whole``)."""
    kind = "a whole number" if whole else "a number"
    is_number = isinstance(value, Real) and not isinstance(value, bool) and -math.inf < value < math.inf
    if not is_number or (whole and value != int(value)) or not low <= value <= high:
        if math.isfinite(low) and math.isfinite(high):
            bounds = f" from {low:g} to {high:g}"
        elif math.isfinite(low):
            bounds = f" of at least {low:g}"
        else:
            bounds = f" of at most {high:g}" if math.isfinite(high) else ""
        raise LabError(f"{name} is {value!r}, but it must be {kind}{bounds}.")
