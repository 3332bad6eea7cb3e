"""How fast models grew: a straight line through log parameters over years (lab 00)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import LabError


@dataclass(frozen=True)
class Growth:
    """A factor per year, with its 95 % confidence interval (Student's t on the slope), from ``points`` models.

    The interval is what chance alone would leave open if the points were scattered about a straight line; it knows
    nothing of how they were chosen. ``height`` is log10 of the fitted parameters at ``year``.
    """

    factor: float
    low: float
    high: float
    points: int
    year: float
    height: float

    def at(self, years) -> np.ndarray:
        """The fitted number of parameters at these years."""
        return 10 ** (self.height + math.log10(self.factor) * (np.asarray(years, float) - self.year))


def growth(years: Sequence[float], parameters: Sequence[float]) -> Growth:
    """Fit log10 P = a + b * year by least squares; the factor per year is 10 ** b.

    Raises:
        LabError: for fewer than three models, or parameters that are not above 0.
    """
    from scipy import stats

    years, parameters = np.asarray(years, float), np.asarray(parameters, float)
    if years.shape != parameters.shape or years.ndim != 1 or len(years) < 3:
        raise LabError(f"A line with an uncertainty needs at least three models, but there are {years.size} years and "
                       f"{parameters.size} numbers of parameters; give as many of each.")
    if not (parameters > 0).all() or np.ptp(years) == 0:
        raise LabError("The numbers of parameters must be above 0, and the years must not all be the same.")
    fit = stats.linregress(years, np.log10(parameters))
    half = stats.t.ppf(0.975, len(years) - 2) * fit.stderr
    middle = float(years.mean())
    return Growth(*(float(10 ** b) for b in (fit.slope, fit.slope - half, fit.slope + half)), len(years), middle,
                  float(fit.intercept + fit.slope * middle))
