"""What the lower bound is made of, measured where the truth is known (lab 03).

Three experiments, none of which needs a training run of its own:

* a model with **one latent number** and a curved decoder, small enough that log p(x), the posterior and every gap can
  be integrated: :class:`CurveModel`, :func:`bound`, :func:`best_gaussian`;
* two ways to **differentiate through an expectation** on equal budgets: :func:`gradient_estimates`;
* **amortised against per-example inference** on a trained VAE: :func:`fit_posteriors`.

Sources: Jordan et al. 1999 (variational inference); Kingma & Welling 2014 and Rezende et al. 2014 (the VAE and the
reparameterised gradient); Williams 1992 (the score-function gradient, REINFORCE); Cremer et al. 2018 (the amortisation
gap). Logarithms are natural: every quantity is in nats.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import LabError, check_choice, check_number
from ..rng import Rng

LOG_2PI = math.log(2 * math.pi)
LIMIT = 10.0                  # |z| beyond which the prior holds less than 2e-23: where the integrals over z end
NODES = 8001                  # of the trapezoid rule: the spacing 0.0025 resolves posteriors down to a width of 0.005


# -- a model with one latent number ------------------------------------------------------------------------------


def horseshoe(z: Tensor) -> Tensor:
    """A curved decoder, (...,) -> (..., 2): G(z) = 1.5 (sin 1.1z, -cos 1.1z), a horseshoe that opens upwards."""
    return 1.5 * torch.stack([torch.sin(1.1 * z), -torch.cos(1.1 * z)], dim=-1)


def straight(z: Tensor) -> Tensor:
    """A linear decoder, (...,) -> (..., 2): G(z) = (1.2 z, 0.5 z). Its posterior is Gaussian: the gap can be closed."""
    return torch.stack([1.2 * z, 0.5 * z], dim=-1)


@dataclass(frozen=True)
class CurveModel:
    """p(z) = N(0, 1), p(x | z) = N(x; G(z), eta I), with x in the plane: the lecture's observation model.

    Args:
        eta: the variance of the observation noise in the data's own squared units, above 0.
        decoder: G, takes z of shape (...,) to (..., 2).
    """

    eta: float = 0.1
    decoder: Callable[[Tensor], Tensor] = horseshoe

    def __post_init__(self):
        check_number("The observation noise eta", self.eta, 0)
        if self.eta == 0:
            raise LabError("The observation noise eta is 0, and a noiseless decoder has no density to compute; "
                           "choose an eta above 0, such as 0.01.")

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats: x (..., 2), z (...,) -> (...,)."""
        square = (x - self.decoder(z)).square().sum(-1)
        return -square / (2 * self.eta) - math.log(2 * math.pi * self.eta)

    def log_joint(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x, z) = log p(z) + log p(x | z) in nats."""
        return -0.5 * (z.square() + LOG_2PI) + self.log_likelihood(x, z)

    def log_evidence(self, x: Tensor, nodes: int = NODES) -> Tensor:
        """log p(x) in nats by the trapezoid rule over z: (..., 2) -> (...,). For a map of it 801 nodes are enough."""
        z, spacing = latent_grid(nodes=nodes)
        return torch.logsumexp(self.log_joint(x[..., None, :], z), -1) + math.log(spacing)

    def log_posterior(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(z | x) in nats at each z of an even grid, normalised on that grid: x (2,), z (n,) -> (n,)."""
        joint = self.log_joint(x, z)
        return joint - torch.logsumexp(joint, -1) - torch.log(z[1] - z[0])

    def sample(self, n: int, seed: int = 0, noise: bool = True) -> Tensor:
        """``n`` points of the plane (n, 2); without ``noise`` they all lie on the curve."""
        rng = Rng(seed)
        x = self.decoder(rng.normal((n,)).double())
        return x + math.sqrt(self.eta) * rng.normal((n, 2)) if noise else x


@dataclass(frozen=True)
class Bound:
    """The numbers of one q = N(mean, sigma^2) at one x, in nats. ``elbo = log_likelihood - kl_prior``.

    ``gap = log_evidence - elbo`` and ``kl_posterior`` are integrated separately; theory says that they are equal.
    """

    log_evidence: float
    log_likelihood: float       # E_q[log p(x | z)]
    kl_prior: float
    kl_posterior: float

    @property
    def elbo(self) -> float:
        return self.log_likelihood - self.kl_prior

    @property
    def gap(self) -> float:
        return self.log_evidence - self.elbo


def bound(model: CurveModel, x, mean: float, sigma: float) -> Bound:
    """The evidence lower bound of q = N(mean, sigma^2) at x, and what it misses.

    log p(x) = E_q[log p(x | z)] - KL(q || p(z)) + KL(q || p(z | x))      (Kingma & Welling 2014, eq. 1-3)

    The first term is integrated by Gauss-Hermite quadrature, the second is closed, the third and log p(x) are
    integrated by the trapezoid rule; for sigma of at least 0.01 each is exact to 1e-4.
    """
    check_number("The mean of q", mean)
    check_number("The width sigma of q", sigma, 0.01)
    x = torch.as_tensor(x, dtype=torch.float64)
    z, spacing = latent_grid(mean, sigma)
    log_q = -0.5 * (((z - mean) / sigma).square() + LOG_2PI) - math.log(sigma)
    kl_posterior = (log_q.exp() * (log_q - model.log_posterior(x, z))).sum() * spacing
    return Bound(model.log_evidence(x).item(),
                 expected_log_likelihood(model, x, *torch.tensor([mean, sigma], dtype=torch.float64)).item(),
                 gaussian_kl(mean, sigma), kl_posterior.item())


def expected_log_likelihood(model: CurveModel, x: Tensor, mean: Tensor, sigma: Tensor) -> Tensor:
    """E_q[log p(x | z)] for q = N(mean, sigma^2) in nats by Gauss-Hermite quadrature; can be differentiated."""
    u, weight = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(100))
    values = model.log_likelihood(x[..., None, :], mean[..., None] + sigma[..., None] * u)
    return (values * weight).sum(-1) / weight.sum()


def gaussian_kl(mean: float, sigma: float) -> float:
    """KL(N(mean, sigma^2) || N(0, 1)) in nats: it grows like -log sigma as q shrinks to a point."""
    return 0.5 * (mean**2 + sigma**2 - 1) - math.log(sigma)


def best_gaussian(model: CurveModel, x) -> tuple[float, float]:
    """The mean and width of the Gaussian q with the highest bound at x: the best of nine climbs by L-BFGS."""
    x = torch.as_tensor(x, dtype=torch.float64)
    mean = torch.linspace(-2.4, 2.4, 9, dtype=torch.float64).requires_grad_()
    log_sigma = torch.full_like(mean, -1.0).requires_grad_()
    climb = torch.optim.LBFGS([mean, log_sigma], max_iter=200, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def negative_elbo():
        kl = 0.5 * (mean.square() + (2 * log_sigma).exp() - 1) - log_sigma
        return kl - expected_log_likelihood(model, x, mean, log_sigma.exp())

    def closure():
        climb.zero_grad()
        loss = negative_elbo().sum()
        loss.backward()
        return loss

    climb.step(closure)
    best = negative_elbo().argmin()
    return mean[best].item(), log_sigma[best].exp().item()


def latent_grid(mean: float = 0.0, sigma: float = 1.0, nodes: int = NODES) -> tuple[Tensor, float]:
    """An even grid over z wide enough for the prior and for N(mean, sigma^2): (nodes,), and its spacing."""
    low, high = min(-LIMIT, mean - LIMIT * sigma), max(LIMIT, mean + LIMIT * sigma)
    return torch.linspace(low, high, nodes, dtype=torch.float64), (high - low) / (nodes - 1)


# -- the gradient of an expectation ------------------------------------------------------------------------------


def gradient_estimates(f: Callable[[Tensor], Tensor], mean: Tensor, sigma: Tensor, *, samples: int = 10,
                       repeats: int = 1000, seed: int = 0) -> dict[str, Tensor]:
    """The gradient of E_q[f(z)], q = N(mean, diag sigma^2), estimated in three unbiased ways from the same noise.

    With z = mean + sigma * eps, and the gradient taken with respect to (mean, log sigma):

    * ``reparameterised``: df/dz * (1, sigma eps)                      (Kingma & Welling 2014, sec. 2.4)
    * ``score function``: f(z) * d log q(z) = f(z) * (eps / sigma, eps^2 - 1)            (Williams 1992)
    * ``score function, baseline``: the same with f(z) less the mean f of the other samples, which takes away as much
      of the noise as can be had without looking into f.

    Args:
        f: (n, K) -> (n,), differentiable; for the bound's first term, log p(x | z).
        mean, sigma: (K,).
        samples: how many z an estimate may use, at least 2.
        repeats: how many estimates are made, to measure their spread.

    Returns:
        for each way (repeats, 2, K): the estimates of the derivatives by mean and by log sigma.
    """
    check_number("The number of samples in an estimate", samples, 2, whole=True)
    check_number("The number of estimates", repeats, 2, whole=True)
    eps = Rng(seed).normal((repeats * samples, len(mean))).to(mean.dtype)
    z = (mean + sigma * eps).requires_grad_()
    values = f(z)
    slope, = torch.autograd.grad(values.sum(), z)
    values = values.detach().reshape(repeats, samples)
    others = (values.sum(1, keepdim=True) - values) / (samples - 1)
    score = torch.stack([eps / sigma, eps.square() - 1], 1)                     # (R S, 2, K)

    def average(terms):
        return terms.reshape(repeats, samples, *terms.shape[1:]).mean(1)        # (R, 2, K)

    return {"reparameterised": average(torch.stack([slope, slope * sigma * eps], 1)),
            "score function, baseline": average((values - others).reshape(-1, 1, 1) * score),
            "score function": average(values.reshape(-1, 1, 1) * score)}


# -- amortised against per-example inference ---------------------------------------------------------------------


@dataclass(frozen=True)
class Inference:
    """What a posterior for each example costs and what it reaches.

    Attributes:
        amortised: the mean ELBO of the encoder's q(z | x), nats.
        steps, elbo: after how many gradient steps the examples' own q was measured, and its mean ELBO then, nats.
        seconds_amortised, seconds: wall time of one encoder pass, and of all the gradient steps (measuring left out).
        mu, logvar: the fitted posteriors, (B, latent) each.
    """

    amortised: float
    steps: list[int]
    elbo: list[float]
    seconds_amortised: float
    seconds: float
    mu: Tensor
    logvar: Tensor

    @property
    def gap(self) -> float:
        """The amortisation gap: what the examples' own q gain over the encoder's, nats (Cremer et al. 2018, eq. 6)."""
        return self.elbo[-1] - self.amortised


def fit_posteriors(model, x: Tensor, *, steps: int = 300, start: str = "prior", lr: float = 0.1, samples: int = 4,
                   every: int = 10, seed: int = 0) -> Inference:
    """Give every example its own q = N(mu, diag exp(logvar)) by gradient ascent on its ELBO; the model stays as it is.

    Adam climbs all examples side by side (their bounds do not depend on each other) on reparameterised gradients, its
    rate falling to zero along half a cosine. Both kinds of q are measured on the same 64 draws of noise.

    Args:
        model: a VAE: ``encode``, ``log_likelihood``, ``latent``.
        x: (B, C, H, W).
        steps: of gradient ascent.
        start: ``prior`` begins at N(0, I), with no help from the encoder; ``encoder`` begins at the encoder's q.
        lr: the first step size of Adam, in units of the latent.
        samples: draws of z for a gradient.
        every: steps between two measurements.
    """
    check_number("The number of steps", steps, 1, whole=True)
    check_choice("The start", start, ("prior", "encoder"))
    parameters = list(model.parameters())
    frozen = [p.requires_grad for p in parameters]
    rng = Rng(seed, x.device)
    noise = rng.normal((64, len(x), model.latent))

    def elbo(mu, logvar, eps):
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1)                         # (B,)
        return model.log_likelihood(x, mu + (0.5 * logvar).exp() * eps).mean(0) - kl

    began = time.perf_counter()
    with torch.no_grad():
        encoded = model.encode(x)
    seconds_amortised = time.perf_counter() - began
    mu, logvar = ((t if start == "encoder" else torch.zeros_like(t)).clone().requires_grad_() for t in encoded)
    climb = torch.optim.Adam([mu, logvar], lr=lr)
    marks, heights, seconds = [], [], 0.0
    try:
        for p in parameters:
            p.requires_grad_(False)
        for step in range(steps + 1):
            if step % every == 0 or step == steps:
                with torch.no_grad():
                    marks.append(step)
                    heights.append(elbo(mu, logvar, noise).mean().item())
            if step == steps:
                break
            began = time.perf_counter()
            climb.param_groups[0]["lr"] = lr * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            climb.zero_grad()
            (-elbo(mu, logvar, rng.normal((samples, *mu.shape)))).sum().backward()
            climb.step()
            seconds += time.perf_counter() - began
        with torch.no_grad():
            amortised = elbo(*encoded, noise).mean().item()
    finally:
        for p, needed in zip(parameters, frozen, strict=True):
            p.requires_grad_(needed)
    return Inference(amortised, marks, heights, seconds_amortised, seconds, mu.detach(), logvar.detach())
