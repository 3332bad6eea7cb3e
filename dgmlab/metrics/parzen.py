"""Parzen windows: a density made of a Gaussian on every sample. It used to be reported as a model's log-likelihood.

    log p(x)  ~  log 1/N sum_i N(x; x_i, h^2 I)                  (Breuleux et al. 2011; Goodfellow et al. 2014, table 1)

In more than a few dimensions it is far from the model's log p(x) for any N that can be drawn, and it ranks models
wrongly (Theis et al. 2016, arXiv:1511.01844, sec. 3.2): shown in lab 07. It is here to be shown, not to be used.

Letters: N samples, B examples, D numbers in an example.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import LabError, check_number
from .likelihood import Bound

WIDTHS = tuple(0.05 * 1.25**k for k in range(16))           # 0.05 to 1.4, for pixels from 0 to 1


def parzen(samples: Tensor, x: Tensor, width: float) -> Bound:
    """The log-density of examples under Gaussians of standard deviation ``width`` on all samples, in nats.

    Args:
        samples: (N, ...).
        x: (B, ...) examples.
        width: h, in units of the data.
    """
    _check(samples, x)
    check_number("The width", width, 1e-6)
    return _bound(_squares(samples, x), width, x)


def choose_width(samples: Tensor, x: Tensor, widths: Sequence[float] = WIDTHS) -> float:
    """The width under which ``x``, the *validation* examples, get the highest mean log-density, as is the custom."""
    _check(samples, x)
    squares = _squares(samples, x)
    return max(widths, key=lambda width: _bound(squares, width, x).nats)


def _bound(squares, width, x):
    number, d = squares.shape[1], x[0].numel()
    values = (-0.5 * squares / width**2).logsumexp(1) - math.log(number) - 0.5 * d * math.log(2 * math.pi * width**2)
    spread = float(values.std()) if len(values) > 1 else math.nan
    return Bound(float(values.mean()), spread / math.sqrt(len(values)), number, len(values), d, values)


def _squares(samples, x):
    return torch.cdist(x.flatten(1).double(), samples.flatten(1).double()).square()         # (B, N)


def _check(samples, x):
    for what, t in (("samples", samples), ("examples", x)):
        if t.ndim < 2 or not len(t) or not bool(t.isfinite().all()):
            raise LabError(f"The {what} have the shape {tuple(t.shape)}, but at least one is needed, as (examples, "
                           "...), of finite numbers.")
    if samples[0].numel() != x[0].numel():
        raise LabError(f"The samples have {samples[0].numel()} numbers each and the examples {x[0].numel()}, but they "
                       "must agree.")
