"""Annealed importance sampling with one latent number, every state of every chain kept (lab 07).

With one latent number all that annealed importance sampling (Neal 2001) passes through can also be integrated: the
densities on the way from prior to posterior, their normalisers, and log p(x) itself. :class:`Anneal` is one such way,
:func:`anneal` goes it with Metropolis moves. For networks with many latents see :mod:`dgmlab.metrics.ais`.

Letters: T temperatures after the first, C chains. Logarithms are natural: every quantity is in nats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import check_choice, check_number
from ..metrics.ais import sigmoid_temperatures
from ..rng import Rng
from .inference import CurveModel, latent_grid

SPACINGS = ("even", "sigmoid")
WIDTHS = (0.03, 3.0)            # of the Metropolis proposals, drawn anew at every move, evenly in the logarithm


def temperatures(number: int, spacing: str = "sigmoid") -> np.ndarray:
    """beta_0 = 0 < ... < beta_T = 1, (T + 1,): ``even``, or crowded at both ends as in Wu et al. 2017 (sec. 4.1)."""
    check_number("The number of temperatures", number, 1, whole=True)
    check_choice("The spacing", spacing, SPACINGS)
    return np.linspace(0, 1, number + 1) if spacing == "even" else sigmoid_temperatures(number).numpy()


@dataclass(frozen=True)
class Anneal:
    """What chains did on their way from the prior to the posterior.

    Attributes:
        betas: (T + 1,) temperatures.
        z: (T + 1, C) states: ``z[t]`` has been moved t times, last at ``betas[t]``.
        log_w: (T + 1, C) log weights when ``betas[t]`` is reached, before the move there.
        exact: (T + 1,) log of the normaliser of prior times likelihood to the power beta, integrated; the last is
            log p(x).
        reverse: the estimate of log p(x) by as many chains that go back from draws of the posterior.
    """

    betas: np.ndarray
    z: np.ndarray = field(repr=False)
    log_w: np.ndarray = field(repr=False)
    exact: np.ndarray = field(repr=False)
    reverse: float

    @property
    def estimates(self) -> np.ndarray:
        """(T + 1,) the logarithm of the mean weight at every temperature; on average too low."""
        return log_mean_exp(self.log_w)

    @property
    def forward(self) -> float:
        """The estimate of log p(x), on average too low."""
        return float(self.estimates[-1])

    @property
    def effective(self) -> np.ndarray:
        """(T + 1,) the effective number of chains, (sum w)^2 / sum w^2, from 1 to C."""
        w = np.exp(self.log_w - self.log_w.max(1, keepdims=True))
        return w.sum(1)**2 / (w**2).sum(1)


def log_mean_exp(values: np.ndarray) -> np.ndarray:
    """log of the mean of exp, over the last axis."""
    top = values.max(-1)
    return top + np.log(np.exp(values - top[..., None]).mean(-1))


def anneal(model: CurveModel, x, number: int, chains: int = 100, *, spacing: str = "sigmoid", seed: int = 0) -> Anneal:
    """Annealed importance sampling of log p(x), forward and in reverse.

    Forward, z_0 ~ p(z); then for t = 1 .. T the weight gains (beta_t - beta_(t-1)) log p(x | z_(t-1)), and a Metropolis
    move that keeps p(z) p(x | z)^beta_t makes z_t (Neal 2001, eq. 8-11). In reverse the same way is gone back, from
    draws of the posterior (Grosse et al. 2015), which are exact here.

    Args:
        x: (2,) the observation.
        number: T, of temperatures after the first; 1 is plain importance sampling from the prior.
        chains: C.
    """
    check_number("The number of chains", chains, 1, whole=True)
    betas, x = temperatures(number, spacing), torch.as_tensor(x, dtype=torch.float64)
    rng, z = Rng(seed), Rng(seed + 1).normal((chains,)).double()
    states, weights = [z], [torch.zeros(chains, dtype=torch.float64)]
    for before, beta in zip(betas, betas[1:]):
        weights.append(weights[-1] + (beta - before) * model.log_likelihood(x, z))
        z = _move(model, x, z, beta, rng)
        states.append(z)

    grid, spacing_of_grid = latent_grid()
    posterior = model.log_posterior(x, grid).exp().cumsum(0) * spacing_of_grid
    z = grid[torch.searchsorted(posterior, rng.uniform((chains,)).double()).clamp(max=len(grid) - 1)]
    back = torch.zeros(chains, dtype=torch.float64)
    for beta, after in zip(betas[::-1], betas[-2::-1]):
        z = _move(model, x, z, beta, rng)
        back += (after - beta) * model.log_likelihood(x, z)
    return Anneal(betas, torch.stack(states).numpy(), torch.stack(weights).numpy(), normalisers(model, x, betas),
                  -float(log_mean_exp(back.numpy())))


def normalisers(model: CurveModel, x, betas) -> np.ndarray:
    """log of the integral of p(z) p(x | z)^beta over z at each beta, (n,), by the trapezoid rule."""
    z, spacing = latent_grid()
    log_likelihood = model.log_likelihood(torch.as_tensor(x, dtype=torch.float64), z)           # (nodes,)
    betas = torch.as_tensor(np.asarray(betas))[:, None]
    return (torch.logsumexp(_log_prior(z) + betas * log_likelihood, -1) + math.log(spacing)).numpy()


def between(model: CurveModel, x, beta: float, z: Tensor) -> Tensor:
    """The density at temperature ``beta``, proportional to p(z) p(x | z)^beta, at each z (n,)."""
    x = torch.as_tensor(x, dtype=torch.float64)
    log_z = float(normalisers(model, x, [beta])[0])
    return (_log_prior(z) + beta * model.log_likelihood(x, z) - log_z).exp()


def _move(model, x, z, beta, rng, moves: int = 2):
    """Metropolis moves that leave p(z) p(x | z)^beta as it is."""
    def log_p(z):
        return _log_prior(z) + beta * model.log_likelihood(x, z)

    now = log_p(z)
    for _ in range(moves):
        width = WIDTHS[0] * (WIDTHS[1] / WIDTHS[0])**rng.uniform(z.shape)                       # (C,)
        new = z + width * rng.normal(z.shape).double()
        then = log_p(new)
        taken = rng.uniform(z.shape).double().log() < then - now
        z, now = torch.where(taken, new, z), torch.where(taken, then, now)
    return z


def _log_prior(z: Tensor) -> Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi))
