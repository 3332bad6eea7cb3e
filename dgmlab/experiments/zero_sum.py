"""The smallest zero-sum game: V(g, d) = g d, which the generator's g lowers and the discriminator's d raises.

It is what a GAN near its equilibrium looks like when the data are a single point: one at 0, with samples at g and a
discriminator whose logit at x is -d x (the Dirac-GAN of Mescheder, Geiger & Nowozin 2018, ICML, arXiv:1801.04406, to
first order). The equilibrium is (0, 0). Small steps of gradient descent and ascent

    g' = g - rate * d,        d' = d + rate * g                                                                 (1)

turn (g, d) about it: at right angles to the way there. A penalty of weight c on the discriminator, c d^2 / 2 (theirs is
on the slope of D at the data, which here is d), changes the second one to d' = d + rate * (g - c d).
"""

from __future__ import annotations

import numpy as np

from ..errors import LabError, check_choice, check_number

RULES = ("simultaneous", "alternating")


def play(rule: str = "simultaneous", rate: float = 0.1, penalty: float = 0.0, steps: int = 200,
         start: tuple[float, float] = (1.0, 0.0)) -> np.ndarray:
    """The way of (g, d), (steps + 1, 2) float64; values beyond 1e100 end it, so it may be shorter.

    Args:
        rule: ``simultaneous``: both move from the same state, as in (1); ``alternating``: the discriminator first, then
            the generator against the new d.
        rate: of both, 0 to 2.
        penalty: c, from 0 on.
    """
    check_choice("The rule", rule, RULES)
    check_number("The rate", rate, 0, 2)
    check_number("The penalty", penalty, 0)
    check_number("The number of steps", steps, 1, whole=True)
    try:
        g, d = (float(value) for value in start)
    except (TypeError, ValueError):
        raise LabError(f"The start is {start!r}, but it must be two numbers (g, d).") from None
    way = [(g, d)]
    for _ in range(int(steps)):
        new = d + rate * (g - penalty * d)
        g, d = g - rate * (new if rule == "alternating" else d), new
        way.append((g, d))
        if not max(abs(g), abs(d)) < 1e100:
            break
    return np.array(way)


def distances(way: np.ndarray) -> np.ndarray:
    """How far each state (n, 2) is from the equilibrium, (n,)."""
    return np.hypot(*np.asarray(way, float).T)


def running_mean(way: np.ndarray) -> np.ndarray:
    """The mean of all states so far, (n, 2)."""
    way = np.asarray(way, float)
    return np.cumsum(way, 0) / np.arange(1, len(way) + 1)[:, None]
