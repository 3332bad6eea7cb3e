"""Densities on the line and in the plane, where a model's samples can be held against the truth.

    ring = density("ring")
    x = ring.sample(1_000, seed=0)      # (1000, 2)
    ring.log_prob(x)                    # (1000,) in nats

Most log-densities are in closed form. Moons and spiral are a curve blurred by Gaussian noise: their density is an
integral along the curve, computed by quadrature; ``exact`` is then False and ``error`` bounds the error in nats.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import LabError, check_choice, check_number
from ..rng import Rng
from .base import check_seed

_ROWS = 2 ** 21     # numbers held at once while a log-density is computed: 16 MiB


class Density:
    """A probability density on the line or in the plane.

    Attributes:
        name: what it is called.
        dim: 1 or 2.
        exact: whether :meth:`log_prob` is a closed form; if not, it is off by at most ``error`` nats anywhere
            within ``extent``.
        error: a bound on the error of :meth:`log_prob`, in nats; 0 for a closed form.
        modes: the centres of the density's parts, float32 (modes, dim), or None where it has no separate parts.
        sd: standard deviation of the Gaussian parts or of the noise about a curve; 0 if there is neither.
        extent: (low, high), the same in every dimension: holds all but a millionth of the probability.
    """

    name: str
    dim: int
    exact: bool = True
    error: float = 0.0
    modes: Tensor | None = None
    sd: float = 0.0
    extent: tuple[float, float]

    def sample(self, n: int, seed: int = 0) -> Tensor:
        """Independent draws, float32 (n, dim); equal seeds give equal draws."""
        check_number("The number of samples", n, 0, whole=True)
        check_seed(seed)
        return self._sample(int(n), Rng(seed)).float()

    def log_prob(self, x: Tensor) -> Tensor:
        """The log-density in nats at each row of ``x`` (n, dim): (n,), computed in float64, given in x's type."""
        x = torch.as_tensor(x)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise LabError(f"The points have the shape {tuple(x.shape)}, but {self.name} needs (number, {self.dim}).")
        x = x if x.is_floating_point() else x.float()
        rows = max(1, _ROWS // self._width())
        return torch.cat([self._log_prob(part.double()) for part in x.split(rows)] or [x.double()[:, 0]]).to(x.dtype)

    def _width(self) -> int:
        """How many numbers :meth:`_log_prob` needs for one point."""
        return 1

    def _sample(self, n: int, rng: Rng) -> Tensor:
        raise NotImplementedError

    def _log_prob(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.name}: {self.dim}-D density, log-density {'exact' if self.exact else 'by quadrature'}>"


class GaussianMixture(Density):
    """sum_k w_k N(x; m_k, s_k^2 I).

    Args:
        means: (K, dim), or K numbers for the line.
        sds: one standard deviation, or K.
        weights: K numbers above 0, scaled to sum to 1; None for equal weights.
    """

    def __init__(self, means, sds, weights=None, name: str = "mixture"):
        means = torch.as_tensor(np.asarray(means, dtype=np.float64))
        means = means[:, None] if means.ndim == 1 else means
        k = len(means)
        sds = torch.as_tensor(np.broadcast_to(np.asarray(sds, dtype=np.float64), (k,)).copy())
        weights = torch.ones(k).double() if weights is None else torch.as_tensor(np.asarray(weights, dtype=np.float64))
        if means.ndim != 2 or means.shape[1] not in (1, 2) or weights.shape != (k,):
            raise LabError(f"The mixture has means of shape {tuple(means.shape)} and {len(weights)} weights, but it "
                           "needs K means with 1 or 2 numbers each, and K weights.")
        if not (means.isfinite().all() and sds.isfinite().all() and (sds > 0).all()):
            raise LabError("The mixture has a mean that is not finite or a standard deviation that is not above 0.")
        if not (weights.isfinite().all() and (weights > 0).all()):
            raise LabError("The weights of the mixture must be numbers above 0.")
        self.name, self.dim = name, means.shape[1]
        self.means, self.sds, self.weights = means, sds, weights / weights.sum()
        self.modes, self.sd = means.float(), float(sds.max())
        self.extent = (float((means - 5 * sds[:, None]).min()), float((means + 5 * sds[:, None]).max()))

    def _width(self):
        return len(self.means) * self.dim

    def _sample(self, n, rng):
        k = torch.searchsorted(self.weights.cumsum(0), rng.uniform((n,)).double()).clamp(max=len(self.means) - 1)
        return self.means[k] + self.sds[k, None] * rng.normal((n, self.dim))

    def _log_prob(self, x):
        square = (x[:, None] - self.means).square().sum(-1)                                 # (n, K)
        log_norm = self.weights.log() - self.dim * (self.sds.log() + 0.5 * math.log(2 * math.pi))
        return torch.logsumexp(log_norm - square / (2 * self.sds ** 2), 1)


def fejer(n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights, (n,) each, of Fejér's first rule on [0, 1]: what integrates the polynomial through the
    Chebyshev points exactly (Fejér 1933; the weights by a cosine transform of the moments of T_0, T_1, ...)."""
    from scipy.fft import dct

    j = np.arange(n)
    moments = np.where(j % 2 == 0, 1 / (1.0 - j ** 2 + (j == 1)), 0.0)      # of T_j on [-1, 1], halved: T_odd have none
    nodes = (1 + np.cos((2 * j + 1) * np.pi / (2 * n))) / 2
    return torch.from_numpy(nodes), torch.from_numpy(dct(moments, type=3) / n)


@dataclass(frozen=True)
class Arc:
    """A piece of a curve, c(t) for t in [0, 1], with the density of t and a way to draw t from a uniform number."""

    curve: Callable[[Tensor], Tensor]       # t (n,) -> (n, 2)
    density: Callable[[Tensor], Tensor]     # of t, integrates to 1 over [0, 1]
    inverse: Callable[[Tensor], Tensor]     # u uniform on [0, 1) -> t
    speed: float                            # the largest |c'(t)|


class BlurredCurve(Density):
    """x = c(t) + noise, with noise ~ N(0, sd^2 I): p(x) = integral of p(t) N(x; c(t), sd^2 I) dt, summed over arcs.

    The integral is a Fejér sum: its nodes lie at most sd / 2 apart along the curve and crowd at its ends, where
    seen from afar the integrand is a steep slope. Its error falls exponentially with the number of nodes, and is
    below ``error`` = 1e-6 nats within ``extent``: the tests hold the sum against one with four times the nodes and
    against adaptive quadrature.
    """

    dim, exact, error = 2, False, 1e-6

    def __init__(self, name: str, arcs: Sequence[Arc], sd: float, extent: tuple[float, float], *,
                 nodes_per_sd: float = 2.0):
        self.name, self.arcs, self.sd, self.extent = name, tuple(arcs), float(sd), extent
        points, weights = [], []
        for arc in self.arcs:
            # the widest gap, in the middle of the arc, is pi / 2 times the mean
            t, weight = fejer(math.ceil(math.pi / 2 * nodes_per_sd * arc.speed / sd) + 16)
            points.append(arc.curve(t))
            weights.append(weight * arc.density(t) / len(self.arcs))
        self._points, self._log_weights = torch.cat(points), torch.cat(weights).log()       # (Q, 2), (Q,)

    def _width(self):
        return len(self._points)

    def _sample(self, n, rng):
        which, u = rng.integers(len(self.arcs), (n,)), rng.uniform((n,)).double()
        x = torch.zeros(n, 2, dtype=torch.float64)
        for i, arc in enumerate(self.arcs):
            x[which == i] = arc.curve(arc.inverse(u[which == i]))
        return x + self.sd * rng.normal((n, 2))

    def _log_prob(self, x):
        # |x - c|^2 = |x|^2 - 2 x.c + |c|^2 as a matrix product; in float64 the cancellation costs nothing that shows
        square = x.square().sum(1, keepdim=True) - 2 * x @ self._points.T + self._points.square().sum(1)    # (n, Q)
        variance = self.sd ** 2
        return torch.logsumexp(self._log_weights - square / (2 * variance), 1) - math.log(2 * math.pi * variance)


class Checkerboard(Density):
    """Uniform on every second square of a board of ``cells`` x ``cells`` with sides from -2 to 2."""

    name, dim = "checkerboard", 2

    def __init__(self, cells: int = 4):
        check_number("The number of cells along the board", cells, 2, 32, whole=True)
        self.cells, self.extent = int(cells), (-2.0, 2.0)
        self.side = 4 / self.cells
        rows, columns = np.indices((self.cells, self.cells))
        even = torch.from_numpy(np.argwhere((rows + columns) % 2 == 0))
        self._corners = -2 + self.side * even.double()                                      # (squares, 2)
        self.modes = (self._corners + self.side / 2).float()

    def _sample(self, n, rng):
        # a millionth short of the edges, so that rounding to float32 puts no draw into the next square
        place = rng.uniform((n, 2)).double().clamp(1e-6, 1 - 1e-6)
        return self._corners[rng.integers(len(self._corners), (n,))] + self.side * place

    def _log_prob(self, x):
        cell = ((x + 2) / self.side).floor()
        inside = ((cell >= 0) & (cell < self.cells)).all(1) & (cell.sum(1) % 2 == 0)
        height = x.new_tensor(-math.log(len(self._corners) * self.side ** 2))
        return torch.where(inside, height, -math.inf)


def gaussian(mean: float = 0.0, sd: float = 1.0) -> Density:
    """One Gaussian on the line."""
    check_number("The mean", mean)
    check_number("The standard deviation", sd, 1e-6)
    return GaussianMixture([mean], sd, name="gaussian")


def mixture(means=(-2.0, 0.5, 2.0), sds=(0.5, 0.3, 0.2), weights=(0.5, 0.3, 0.2)) -> Density:
    """Gaussians on the line (or in the plane, if each mean has two numbers); by default three that overlap a little."""
    return GaussianMixture(means, sds, weights, name="mixture")


def ring(modes: int = 8, radius: float = 2.0, sd: float = 0.05) -> Density:
    """Gaussians evenly on a circle: the test of lost modes (Metz et al. 2017, "Unrolled GANs", and many since)."""
    check_number("The number of modes", modes, 1, 1000, whole=True)
    check_number("The radius", radius, 0)
    check_number("The standard deviation", sd, 1e-6)
    angle = 2 * math.pi * np.arange(modes) / modes
    return GaussianMixture(radius * np.stack([np.cos(angle), np.sin(angle)], 1), sd, name="ring")


def grid(side: int = 5, spacing: float = 1.0, sd: float = 0.05) -> Density:
    """``side`` x ``side`` Gaussians on a square grid about the origin; 25 by default."""
    check_number("The number of modes along a side", side, 1, 32, whole=True)
    check_number("The spacing", spacing, 1e-6)
    check_number("The standard deviation", sd, 1e-6)
    place = spacing * (np.arange(side) - (side - 1) / 2)
    return GaussianMixture(np.stack(np.meshgrid(place, place, indexing="ij"), -1).reshape(-1, 2), sd, name="grid")


def moons(sd: float = 0.1) -> Density:
    """Two half circles of radius 1 that reach into each other (scikit-learn's ``make_moons``), about the origin."""
    check_number("The standard deviation of the noise", sd, 0.01, 1)

    def half(sign):
        # make_moons has the middle of its figure at (0.5, 0.25)
        return lambda t: sign * torch.stack([torch.cos(math.pi * t) - 0.5, torch.sin(math.pi * t) - 0.25], -1)

    arcs = [Arc(half(sign), torch.ones_like, lambda u: u, math.pi) for sign in (1, -1)]
    return BlurredCurve("moons", arcs, sd, (-1.5 - 5 * sd, 1.5 + 5 * sd))


def spiral(turns: float = 2.0, radius: float = 2.0, sd: float = 0.05) -> Density:
    """An Archimedean spiral from the origin, about evenly filled along its length."""
    check_number("The number of turns", turns, 0.25, 5)
    check_number("The radius", radius, 0.1, 100)
    check_number("The standard deviation of the noise", sd, radius / 100, radius)
    angle = 2 * math.pi * turns

    def curve(t):
        return radius * t[:, None] * torch.stack([torch.cos(angle * t), torch.sin(angle * t)], -1)

    # the length grows like t^2, so t is the root of a uniform number and has the density 2 t
    arc = Arc(curve, lambda t: 2 * t, torch.sqrt, radius * math.hypot(1, angle))
    return BlurredCurve("spiral", [arc], sd, (-radius - 5 * sd, radius + 5 * sd))


def checkerboard(cells: int = 4) -> Density:
    """Uniform on the squares of one colour of a checkerboard from -2 to 2: sharp edges, equal everywhere inside."""
    return Checkerboard(cells)


_MAKERS = {maker.__name__: maker for maker in (gaussian, mixture, ring, grid, moons, spiral, checkerboard)}
NAMES = tuple(_MAKERS)


def density(name: str, **options) -> Density:
    """The density of that name, one of :data:`NAMES`; the options are those of the function of the same name."""
    check_choice("The density", name, NAMES)
    known = list(inspect.signature(_MAKERS[name]).parameters)
    for option in options:
        if option not in known:
            raise LabError(f"The density {name} has no option {option!r}; it has: {', '.join(known)}.")
    return _MAKERS[name](**options)
