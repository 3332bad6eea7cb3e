"""How likely are the data? Bounds on log p(x), for models with an encoder and a decoder such as the VAE.

Three numbers, each nearer to the truth than the one before:

    ELBO  <=  importance-weighted bound with S draws  <=  log p(x)

Every result carries the settings it depends on: a bound says little without its S and N.

Units: nats per example. For a density (Gaussian observations) the nats depend on the unit of the data, may be above 0,
and compare only models of the same data in the same unit; for pixels that are 0 or 1 they are log-probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import LabError, check_number
from ..models.vae import kl_to_prior
from ..rng import Rng


@dataclass(frozen=True)
class Bound:
    """A lower bound on log p(x).

    Attributes:
        nats: the mean over the examples.
        standard_error: of that mean, over the examples (not over models or seeds).
        samples: S, draws from q(z | x) per example.
        examples, dimensions: N and D.
        per_example: (N,) nats.
    """

    nats: float
    standard_error: float
    samples: int
    examples: int
    dimensions: int
    per_example: Tensor = field(repr=False)

    @property
    def bits_per_dimension(self) -> float:
        """-nats in bits per dimension; see :func:`bits_per_dimension` for what that means for greys."""
        return bits_per_dimension(self.nats, self.dimensions)

    def __str__(self):
        return f"{self.nats:.2f} ± {self.standard_error:.2f} nats (S = {self.samples:,}, N = {self.examples:,})"


@dataclass(frozen=True)
class ELBO(Bound):
    """``nats`` = -``reconstruction`` - ``kl``, costs in nats per example (that of a density may be negative)."""

    reconstruction: float
    kl: float


def kl_per_dimension(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(q(z_j | x) || p(z_j)) of each latent dimension, averaged over examples: (N, latent) -> (latent,) nats."""
    return kl_to_prior(mu, logvar).mean(0)


@torch.no_grad()
def reconstruction(model, x: Tensor) -> float:
    """Mean squared error per dimension of decoding the posterior's mean (for a VAE), or the code: x (N, ...)."""
    _check_examples(x)
    return float((model.reconstruct(x) - x).square().mean())


@torch.no_grad()
def elbo(model, x: Tensor, rng: Rng, samples: int = 1, chunk: int = 2000) -> ELBO:
    """The evidence lower bound (Kingma & Welling 2014, eq. 3), its KL in closed form, E_q by ``samples`` draws.

    Args:
        model: a :class:`~dgmlab.models.vae.VAE`.
        x: (N, ...) examples.
        chunk: how many codes to decode at a time; it bounds the memory, not the result's quality.
    """
    _check_examples(x)
    check_number("The number of samples S", samples, 1, whole=True)
    check_number("The chunk", chunk, 1, whole=True)
    reconstructions, kls = [], []
    for part in x.split(max(1, chunk // samples)):
        total = torch.zeros(len(part), dtype=torch.float64, device=x.device)
        for some in _shares(samples, max(1, chunk // len(part))):
            mu, logvar = model.encode(part)                                                     # (B, L)
            z = mu + (0.5 * logvar).exp() * rng.normal((len(part), some, mu.shape[1])).transpose(0, 1)
            total -= model.log_likelihood(part, z).double().sum(0)
        reconstructions.append(total / samples)
        kls.append(kl_to_prior(mu, logvar).sum(-1).double())
    cost, kl = torch.cat(reconstructions), torch.cat(kls)
    bound = -cost - kl
    return ELBO(*_summary(bound), samples, len(x), x[0].numel(), bound, float(cost.mean()), float(kl.mean()))


@torch.no_grad()
def importance_weighted_bound(model, x: Tensor, rng: Rng, samples: int = 5000, chunk: int = 2000) -> Bound:
    """E log 1/S sum_s p(x, z_s) / q(z_s | x), the bound of Burda et al. 2016 (eq. 8), which rises with S to log p(x).

    Args:
        model: a :class:`~dgmlab.models.vae.VAE`.
        x: (N, ...) examples.
        samples: S; 5,000 is the field's custom.
        chunk: how many codes to decode at a time; memory is about ``chunk`` * D * 12 bytes whatever S and N are.
    """
    _check_examples(x)
    check_number("The number of samples S", samples, 1, whole=True)
    check_number("The chunk", chunk, 1, whole=True)
    bounds = []
    for part in x.split(max(1, chunk // min(samples, 100))):     # few examples at a time, each with many draws
        log_sum = torch.full((len(part),), -math.inf, dtype=torch.float64, device=x.device)
        for some in _shares(samples, max(1, chunk // len(part))):
            log_weights = model.log_weights(part, rng, some)                                    # (some, B)
            log_sum = torch.logaddexp(log_sum, log_weights.double().logsumexp(0))
        bounds.append(log_sum - math.log(samples))
    bound = torch.cat(bounds)
    return Bound(*_summary(bound), samples, len(x), x[0].numel(), bound)


def bits_per_dimension(nats: float, dimensions: int, levels: int = 1) -> float:
    """Log-likelihood in nats per example -> bits to code one dimension: -nats / (D ln 2) + log2(levels).

    Args:
        nats: log-likelihood (or a lower bound) per example.
        dimensions: D.
        levels: 1 where the number is meant as it stands: for a probability (pixels 0 or 1) it is a code length; for a
            density it is a differential code length, which depends on the data's unit and may be negative. For greys
            that were *dequantised* - a whole number of 0 .. levels - 1 plus uniform noise from [0, 1), divided by
            ``levels`` - give their number (256): the result then bounds the code length of the whole numbers from
            above (Theis et al. 2016, arXiv:1511.01844, sec. 3.1).
    """
    check_number("The number of dimensions", dimensions, 1, whole=True)
    check_number("The number of grey levels", levels, 1, whole=True)
    return -nats / (dimensions * math.log(2)) + math.log2(levels)


def _shares(total: int, most: int):
    """``total`` as a sequence of whole numbers of at most ``most``."""
    for start in range(0, total, most):
        yield min(most, total - start)


def _summary(values: Tensor) -> tuple[float, float]:
    spread = float(values.std()) if len(values) > 1 else math.nan
    return float(values.mean()), spread / math.sqrt(len(values))


def _check_examples(x: Tensor) -> None:
    if x.ndim < 2 or not len(x):
        raise LabError(f"The examples have the shape {tuple(x.shape)}, but at least one example is needed, as "
                       "(examples, ...); a single one is x[None].")
