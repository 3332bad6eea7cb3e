"""Schedules: what drives a knob over the steps of a run.

The KL weight of a VAE may be constant, rise once (*monotonic* annealing, Bowman et al. 2016) or rise again and again
(*cyclical* annealing, Fu et al. 2019); a learning rate may fall along a cosine and restart. All of them are one
shape repeated, with

    T  steps, after which the last value is kept         M  cycles
    R  proportion of a cycle spent on the ramp           Z  proportion of a cycle that waits at ``start`` before it

The place within a cycle is computed from whole numbers, u = (step * M mod T) / T, so that no rounding error builds up
and a cycle may have a length that is not whole.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from .errors import LabError, check_choice, check_number

SHAPES = ("linear", "sigmoid", "cosine")
KINDS = {"steps": int, "start": float, "stop": float, "cycles": int, "ramp": float, "wait": float, "begin": int}


@dataclass(frozen=True)
class Schedule:
    """A ramp from ``start`` to ``stop``, repeated ``cycles`` times within ``steps``.

    Call it with the number of completed steps to get the knob's value for the next one.

    Args:
        steps: T, the length of the whole schedule in steps; the last value is kept afterwards.
        start, stop: the values at the beginning and after the ramp. ``stop`` may lie below ``start``.
        cycles: M, how often the ramp is run.
        ramp: R, the proportion of a cycle in which the value moves, 0 to 1; 0 jumps at once.
        wait: Z, the proportion of a cycle spent at ``start`` before the ramp, 0 to 1 - ``ramp`` (Optimus uses
            0.5, with a ramp of 0.25).
        shape: ``linear``, ``sigmoid`` or ``cosine``. The sigmoid is the published one, 1 / (1 + exp(6 - 12 u)): it
            begins at 0.0025 of the way, not at 0, and jumps from 0.9975 to 1 at the end of the ramp.
        begin: the step at which the schedule begins; before it, ``start``.
    """

    steps: int
    start: float = 0.0
    stop: float = 1.0
    cycles: int = 1
    ramp: float = 0.5
    wait: float = 0.0
    shape: str = "linear"
    begin: int = 0

    def __post_init__(self):
        check_number("The schedule's number of steps", self.steps, 1, whole=True)
        check_number("The schedule's start value", self.start)
        check_number("The schedule's stop value", self.stop)
        check_number("The number of cycles (M)", self.cycles, 1, whole=True)
        check_number("The proportion of a cycle spent on the ramp (R)", self.ramp, 0, 1)
        check_number("The proportion of a cycle spent waiting", self.wait, 0, 1)
        if self.ramp + self.wait > 1 + 1e-12:
            raise LabError(f"The waiting ({self.wait:g}) and the ramp ({self.ramp:g}) fill more than one cycle; "
                           "together they may be at most 1.")
        check_choice("The ramp's shape", self.shape, SHAPES)
        check_number("The step at which the schedule begins", self.begin, 0, whole=True)
        for name, kind in KINDS.items():        # numpy's numbers become Python's, so that JSON can hold them
            object.__setattr__(self, name, kind(getattr(self, name)))

    def __call__(self, step: int) -> float:
        step = max(0, step - self.begin)
        if step >= self.steps:
            return self.stop
        place = (step * self.cycles) % self.steps / self.steps          # in [0, 1) within the cycle, exact
        if place < self.wait:
            return self.start
        if self.ramp == 0 or place - self.wait > self.ramp:
            return self.stop
        u = (place - self.wait) / self.ramp                             # in [0, 1] along the ramp
        if self.shape == "sigmoid":
            u = 1 / (1 + math.exp(6 - 12 * u))
        elif self.shape == "cosine":
            u = 0.5 - 0.5 * math.cos(math.pi * u)
        value = self.start + (self.stop - self.start) * u
        low, high = sorted((self.start, self.stop))
        return min(max(value, low), high)                               # not even a rounding error beyond them

    def to_dict(self) -> dict:
        return asdict(self)

    def __str__(self):
        if self.start == self.stop:
            return f"constant {self.stop:g}"
        times = f"{self.cycles} x " if self.cycles > 1 else ""
        return f"{times}{self.shape} {self.start:g} to {self.stop:g} over {self.steps:,} steps"


def constant(value: float) -> Schedule:
    """The same value at every step."""
    return Schedule(1, value, value)


def monotonic(steps: int, start: float = 0.0, stop: float = 1.0, *, ramp: float = 0.25,
              shape: str = "linear") -> Schedule:
    """One ramp over the first ``ramp`` of ``steps``, then constant (Bowman et al. 2016; R = 0.25 as in Fu et al.)."""
    return Schedule(steps, start, stop, 1, ramp, 0.0, shape)


def cyclical(steps: int, start: float = 0.0, stop: float = 1.0, *, cycles: int = 4, ramp: float = 0.5,
             wait: float = 0.0, shape: str = "linear") -> Schedule:
    """``cycles`` ramps, each followed by a constant stretch (Fu et al. 2019, eq. 6-7: M = 4, R = 0.5)."""
    return Schedule(steps, start, stop, cycles, ramp, wait, shape)


def cosine_restarts(steps: int, start: float, stop: float = 0.0, *, cycles: int = 4) -> Schedule:
    """A learning rate that falls from ``start`` to ``stop`` along half a cosine and starts again (SGDR)."""
    return Schedule(steps, start, stop, cycles, 1.0, 0.0, "cosine")


def from_dict(d: dict) -> Schedule:
    """The schedule that :meth:`Schedule.to_dict` described."""
    try:
        return Schedule(**d)
    except TypeError as error:
        raise LabError(f"{d!r} does not describe a schedule ({error}); it needs steps and may have start, stop, "
                       "cycles, ramp, wait, shape and begin.") from None
