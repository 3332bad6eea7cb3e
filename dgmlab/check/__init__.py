"""Exercises that check themselves: ``check("03.1", answer)``.

A right answer prints a tick and says why it is right. A wrong one raises :class:`NotYet`, which a notebook shows as one
line, the hint, without a traceback. An answer that is still ``...`` only prints a reminder, so that a notebook runs to
its end before anything is solved.

The exercises of lab NN are the functions of ``dgmlab/check/labNN.py`` that carry :func:`exercise`: each takes the
answer, raises `NotYet` with a hint that fits what is wrong, and returns the sentence that goes with the tick. They
compute what is right from what they are given, so that they hold for any parameters of the lab, and they take every
correct answer, however it is spelt: :func:`number`, :func:`choice`, :func:`array` and :func:`calls` read it.
"""

from __future__ import annotations

import importlib
import inspect
import math
import os
import pkgutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import LabError


class NotYet(Exception):
    """An answer that is not right yet; its text is a hint."""

    def _render_traceback_(self):
        """What IPython shows in place of a traceback."""
        # JupyterLab makes links of what looks like a path: of λ / η the slash and the η.
        return [wrapped(f"✗ {self}".replace(" / ", " ∕ "))]


class _NotAnswered(Exception):
    """The answer's place still holds ``...``."""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        exercise: its id, such as ``"03.1"``.
        answered: whether there was an answer at all.
        passed: whether it is right.
        says: why it is right, or the hint.
    """

    exercise: str
    answered: bool
    passed: bool
    says: str


_exercises: dict[str, Callable[..., str]] = {}


def exercise(name: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Register the function that judges the exercise ``name`` (lab number, dot, number of the exercise)."""

    def register(judge_it: Callable[..., str]) -> Callable[..., str]:
        before = _exercises.get(name, judge_it)
        if (before.__module__, before.__qualname__) != (judge_it.__module__, judge_it.__qualname__):
            raise LabError(f"Two functions judge the exercise {name}; number one of them anew.")
        _exercises[name] = judge_it
        return judge_it

    return register


def exercises(lab: str | None = None) -> list[str]:
    """The ids of all exercises, or of those of one lab (``"03"``)."""
    modules = [module.name for module in pkgutil.iter_modules(__path__) if module.name.startswith("lab")]
    for name in modules:
        if lab is None or name == f"lab{lab}":
            importlib.import_module(f"{__name__}.{name}")
    return sorted(name for name in _exercises if lab is None or name.startswith(f"{lab}."))


def judge(name: str, *answers, **context) -> Outcome:
    """Whether the answers to the exercise ``name`` are right; prints and raises nothing about them.

    Args:
        answers: what the student gives; ``...``, alone or in a list, stands for what is not answered yet.
        context: what the check needs besides, such as the student's model.

    Raises:
        LabError: for an unknown exercise, or if its check takes other answers or another context than these.
    """
    known = exercises(name.partition(".")[0] if isinstance(name, str) else None)
    if name not in known:
        raise LabError(f"There is no exercise {name!r}; the exercises are: {', '.join(known or exercises())}.")
    judge_it = _exercises[name]
    try:
        inspect.signature(judge_it).bind(*answers, **context)
    except TypeError as error:
        takes = ", ".join(["the exercise's name", *inspect.signature(judge_it).parameters])
        raise LabError(f"The check of {name} cannot be called like this ({error}); it takes: {takes}.") from None
    try:
        if _open(answers):
            raise _NotAnswered
        return Outcome(name, True, True, judge_it(*answers, **context))
    except NotYet as hint:
        return Outcome(name, True, False, str(hint))
    except _NotAnswered:
        return Outcome(name, False, False,
                       "not answered yet: put your answer in place of the `...` above, and run both cells")


def check(name: str, *answers, **context) -> None:
    """Print a tick if the answers are right, raise :class:`NotYet` with a hint if not; see :func:`judge`."""
    outcome = judge(name, *answers, **context)
    if not outcome.answered and "NBGRADER_EXECUTION" in os.environ:
        raise NotYet(f"{name} is {outcome.says}.")      # nbgrader gives the points to a cell that raises nothing
    if not outcome.answered:
        print(wrapped(f"○ {name} is {outcome.says}."))
    elif outcome.passed:
        print(wrapped(f"✓ {name} is right. {outcome.says}"))
    else:
        raise NotYet(f"{name} is not right yet. {outcome.says}") from None


def wrapped(text: str) -> str:
    """The text in lines of a page's width, which would else be broken in the middle of words."""
    return textwrap.fill(text, 100, break_long_words=False, break_on_hyphens=False)


# -- reading answers -------------------------------------------------------------------------------------------------

def number(answer, what: str = "The answer") -> float:
    """A number, whatever kind of number it is: int, float, Fraction, NumPy or torch, or an array that holds one."""
    try:
        value = _floats(answer)
    except (TypeError, ValueError):
        raise NotYet(f"{what} should be a number, but it is {_kind(answer)}.") from None
    if value.size != 1:
        raise NotYet(f"{what} should be one number, but it holds {value.size}.")
    if not np.isfinite(value).all():
        raise NotYet(f"{what} is {float(value.reshape(()))}, but it should be a finite number.")
    return float(value.reshape(()))


def array(answer, what: str = "The answer", shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Finite numbers as a float64 array, from lists, NumPy, pandas or torch (on any device, with or without gradient).

    Args:
        shape: that it must have; None in it stands for any length.
    """
    try:
        value = _floats(answer)
    except (TypeError, ValueError):
        nested = isinstance(answer, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in answer)
        raise NotYet(f"{what} should be made of numbers, but it is {_kind(answer)}"
                     f"{' (are its rows of one length?)' if nested else ''}.") from None
    if shape is not None and (value.ndim != len(shape) or
                              any(want not in (None, have) for want, have in zip(shape, value.shape))):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise NotYet(f"{what} has the shape {value.shape}, but it should be ({wanted}{',' * (len(shape) == 1)}).")
    if not np.isfinite(value).all():
        raise NotYet(f"{what} has entries that are not finite numbers.")
    return value


def close(value: float, truth: float, *, rel: float = 0.0, abs: float = 0.0) -> bool:
    """Whether ``value`` is within ``abs`` of the truth, or within the share ``rel`` of it."""
    return math.isclose(value, truth, rel_tol=rel, abs_tol=abs)


def choice(answer, spellings: Mapping[str, Iterable[str]], what: str = "The answer") -> str:
    """Which of several words an answer means.

    Args:
        spellings: for each meaning, further words for it. Case, spaces, hyphens and final points do not count.
    """
    if not isinstance(answer, str):
        raise NotYet(f"{what} should be one of {_these(spellings)}, in quotes, but it is {_kind(answer)}.")
    plain = _plain(answer)
    for meaning, words in spellings.items():
        if plain in {_plain(meaning), *map(_plain, words)}:
            return meaning
    raise NotYet(f"{what} is {answer!r}, but it should be one of {_these(spellings)}.")


def calls(function, *arguments, what: str = "Your function"):
    """What a student's function returns for these arguments; whatever goes wrong in it becomes a hint.

    A function that still returns ``...`` counts as not answered. One that takes no plain numbers, as `torch.log`
    takes none, is given tensors instead.
    """
    if not callable(function):
        raise NotYet(f"{what} should be a function, but it is {_kind(function)}.")
    try:
        try:
            result = function(*arguments)
        except TypeError as error:
            torch = sys.modules.get("torch")
            if torch is None or "must be Tensor" not in str(error):
                raise
            result = function(*(torch.tensor(a, dtype=torch.float64) if isinstance(a, float) else a for a in arguments))
    except (NotYet, _NotAnswered):
        raise
    except Exception as error:
        says = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        if isinstance(error, TypeError) and "ellipsis" in says.lower():
            raise _NotAnswered from None                # a part of it still is `...`
        raise NotYet(f"{what} stops with {type(error).__name__}{says and ': '}{says}.") from None
    if result is None:
        raise NotYet(f"{what} returns nothing; does it end with `return`?")
    if _open([result]):
        raise _NotAnswered
    return result


def _open(answers) -> bool:
    """Whether there is no answer, or still a ``...`` among them or in a list, tuple or dictionary among them."""
    return not len(answers) or any(
        answer is ... or isinstance(answer, (list, tuple)) and len(answer) and _open(answer)
        or isinstance(answer, dict) and len(answer) and _open(list(answer.values())) for answer in answers)


def _floats(answer) -> np.ndarray:
    """The answer as float64; TypeError or ValueError if it is not made of numbers."""
    torch = sys.modules.get("torch")
    if torch is not None:                               # also where tensors stand in a list
        answer = _without_tensors(answer, torch)
    value = np.asarray(answer)
    if value.dtype.kind not in "iufO" and value.size:   # not text, not True and False, not dates
        raise TypeError
    if value.dtype.kind == "O" and any(item is None or isinstance(item, (str, bytes, bool)) for item in value.flat):
        raise TypeError
    return value.astype(np.float64)


def _without_tensors(value, torch):
    if isinstance(value, torch.Tensor):
        if value.dtype == torch.bool or value.is_complex():
            raise TypeError
        return value.detach().cpu().double().numpy()
    if isinstance(value, (list, tuple)):
        return [_without_tensors(item, torch) for item in value]
    return value


def _kind(value) -> str:
    if value is None:
        return "None"
    if callable(value):
        return "a function"
    name = type(value).__name__
    return f"text ({value!r:.40})" if isinstance(value, str) else f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").replace("_", " ").strip(" .!").split())


def _these(words: Iterable[str]) -> str:
    words = [repr(word) for word in words]
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 2 else words)
