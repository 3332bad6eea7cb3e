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
import math
import pkgutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from ..errors import LabError


class NotYet(Exception):
    """An answer that is not right yet; its text is a hint."""

    def _render_traceback_(self):
        """What IPython shows in place of a traceback."""
        return [f"✗ {self}"]


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
        if name in _exercises and _exercises[name].__qualname__ != judge_it.__qualname__:
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
        answers: what the student gives; ``...`` stands for what is not answered yet.
        context: what the check needs besides, such as the student's model.
    """
    known = exercises(name.partition(".")[0] if isinstance(name, str) else None)
    if name not in known:
        raise LabError(f"There is no exercise {name!r}; the exercises are: {', '.join(known or exercises())}.")
    try:
        if not answers or any(answer is ... for answer in answers):
            raise _NotAnswered
        return Outcome(name, True, True, _exercises[name](*answers, **context))
    except NotYet as hint:
        return Outcome(name, True, False, str(hint))
    except _NotAnswered:
        return Outcome(name, False, False, "not answered yet: put your answer in place of the `...` above, run its "
                                           "cell, then run this one again")


def check(name: str, *answers, **context) -> None:
    """Print a tick if the answers are right, raise :class:`NotYet` with a hint if not; see :func:`judge`."""
    outcome = judge(name, *answers, **context)
    if not outcome.answered:
        print(f"○ {name} is {outcome.says}.")
    elif outcome.passed:
        print(f"✓ {name} is right. {outcome.says}")
    else:
        raise NotYet(f"{name} is not right yet. {outcome.says}") from None


# -- reading answers -------------------------------------------------------------------------------------------------

def number(answer, what: str = "The answer") -> float:
    """A number, whatever kind of number it is: int, float, Fraction, NumPy or torch, or an array that holds one."""
    try:
        value = array(answer, what)
    except NotYet:
        raise NotYet(f"{what} should be a number, but it is {_kind(answer)}.") from None
    if value.size != 1:
        raise NotYet(f"{what} should be one number, but it holds {value.size}.")
    return float(value.reshape(()))


def array(answer, what: str = "The answer", shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Finite numbers as a float64 array, from lists, NumPy, pandas or torch (on any device, with or without gradient).

    Args:
        shape: that it must have; None in it stands for any length.
    """
    torch = sys.modules.get("torch")
    if torch is not None:                               # also where tensors stand in a list
        answer = _without_tensors(answer, torch)
    try:
        if isinstance(answer, (str, bytes, bool)):
            raise TypeError
        value = np.asarray(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise NotYet(f"{what} should be made of numbers, but it is {_kind(answer)}.") from None
    if shape is not None and (value.ndim != len(shape) or
                              any(want not in (None, have) for want, have in zip(shape, value.shape))):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise NotYet(f"{what} has the shape {value.shape}, but it should be ({wanted}).")
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

    A function that still returns ``...`` counts as not answered.
    """
    if not callable(function):
        raise NotYet(f"{what} should be a function, but it is {_kind(function)}.")
    try:
        result = function(*arguments)
    except (NotYet, _NotAnswered):
        raise
    except Exception as error:
        says = (str(error).strip().splitlines() or [""])[0].rstrip(".")
        raise NotYet(f"{what} stops with {type(error).__name__}: {says}.") from None
    if result is None:
        raise NotYet(f"{what} returns nothing; does it end with `return`?")
    if result is ...:
        raise _NotAnswered
    return result


def _without_tensors(value, torch):
    if isinstance(value, torch.Tensor):
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
