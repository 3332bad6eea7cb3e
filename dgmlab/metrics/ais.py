"""The likelihood of a decoder by annealed importance sampling (Wu et al. 2017, arXiv:1611.04273; Neal 2001).

A GAN or an autoencoder has no likelihood until its decoder G is given observation noise: z ~ N(0, I), x ~ N(G(z),
eta I) (:class:`NoisyDecoder`). Then log p(x) = log E_z p(x | z), but draws from the prior hardly ever come near a given
x. Annealed importance sampling leads them there, through the densities

    f_t(z)  =  p(z) p(x | z)^beta_t          0 = beta_0 < beta_1 < ... < beta_T = 1

At every temperature the weight takes up p(x | z)^(beta_t - beta_{t-1}) and Hamiltonian Monte Carlo moves z on. The mean
weight is an unbiased estimate of p(x), so its logarithm is, on average, too low: a stochastic **lower bound**. The same
way back, from an exact draw of the posterior down to the prior, gives an unbiased estimate of 1 / p(x) and so an
**upper bound**. An exact draw of the posterior is at hand for an x that the model made itself; both bounds on such x
enclose the truth (*bidirectional* Monte Carlo; Grosse et al. 2015, arXiv:1511.02543).

Letters: B examples, D numbers in an example, C chains for each, L latent dimensions, T temperatures. All in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import LabError, check_choice, check_number
from ..rng import Rng
from .likelihood import Bound

LOG_2PI = math.log(2 * math.pi)
ACCEPTANCE = 0.65           # of moves, that the step size is adapted to (Wu et al., sec. 4.1)
SPACINGS = ("measured", "sigmoid")
COARSE = 40                 # temperatures of the run ahead
AHEAD = 8                   # chains in it, for each example
JITTER = 0.5                # up to which share of a step size is taken off it, anew for each move
TRIES = 3                   # moves at each temperature


class NoisyDecoder:
    """A decoder with a standard normal prior and Gaussian observation noise, whatever it was trained for.

    Args:
        decode: (..., L) -> (..., *shape); a network in eval mode.
        latent: L.
        eta: noise variance, in squared units of the data.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], latent: int, eta: float = 0.05):
        check_number("The number of latent dimensions", latent, 1, whole=True)
        check_number("The noise variance eta", eta, 1e-8)
        self.decode, self.latent, self.eta = decode, int(latent), float(eta)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log N(x; decode(z), eta I): x (B, ...) and z (..., B, L) -> (..., B)."""
        error = (x - self.decode(z)).flatten(z.ndim - 1).square().sum(-1)
        return -0.5 * (error / self.eta + x[0].numel() * (math.log(self.eta) + LOG_2PI))

    @torch.no_grad()
    def simulate(self, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """``n`` examples x and the codes z that made them: each z is an exact draw of the posterior of its x."""
        check_number("The number of examples", n, 1, whole=True)
        z = rng.normal((n, self.latent))
        mean = self.decode(z)
        return mean + math.sqrt(self.eta) * rng.normal(mean.shape), z


class LinearGaussian(NoisyDecoder):
    """x = W z + b + noise: the one decoder whose log p(x) is known exactly, log N(x; b, W W^T + eta I).

    Args:
        weight: W, (D, L).
        bias: b, (D,).
        eta: noise variance.
    """

    def __init__(self, weight: Tensor, bias: Tensor, eta: float):
        if weight.ndim != 2 or bias.shape != weight.shape[:1]:
            raise LabError(f"The weight has the shape {tuple(weight.shape)} and the bias {tuple(bias.shape)}, but (D, "
                           "L) and (D,) are needed.")
        self.weight, self.bias = weight, bias
        super().__init__(lambda z: z @ weight.T + bias, weight.shape[1], eta)

    @classmethod
    def fitted(cls, x: Tensor, latent: int) -> LinearGaussian:
        """The most likely such model of examples (N, ...), in closed form: probabilistic PCA (Tipping & Bishop 1999,
        eqs. 7 and 8). It is a model of the flattened examples, (N, D)."""
        x = x.flatten(1).double()
        check_number("The number of latent dimensions", latent, 1, x.shape[1] - 1, whole=True)
        if len(x) <= x.shape[1]:
            raise LabError(f"There are {len(x)} examples of {x.shape[1]} numbers, but more examples than numbers are "
                           "needed for their covariance; give more.")
        values, vectors = torch.linalg.eigh(torch.cov(x.T, correction=0))           # rising
        eta = values[:-latent].mean().clamp(min=1e-8)
        weight = vectors[:, -latent:] * (values[-latent:] - eta).clamp(min=0).sqrt()
        return cls(weight.float(), x.mean(0).float(), float(eta))

    def log_evidence(self, x: Tensor) -> Tensor:
        """log p(x), exactly: (B, D) -> (B,)."""
        weight = self.weight.double()
        covariance = weight @ weight.T + self.eta * torch.eye(len(weight), dtype=torch.float64)
        return torch.distributions.MultivariateNormal(self.bias.double(), covariance).log_prob(x.double())


@dataclass(frozen=True)
class Annealed(Bound):
    """A stochastic bound on log p(x); ``samples`` is C, the chains for each example.

    Attributes:
        temperatures: T.
        acceptance: the share of moves that were accepted.
        effective: (B,) the effective number of chains, 1 to C: 1 where a single one carries the whole weight.
    """

    temperatures: int
    acceptance: float
    effective: Tensor = field(repr=False)

    def __str__(self):
        return (f"{self.nats:.2f} ± {self.standard_error:.2f} nats (C = {self.samples}, T = {self.temperatures:,}, "
                f"N = {self.examples:,})")


@dataclass(frozen=True)
class Bidirectional:
    """Both bounds on examples that the model made itself.

    Attributes:
        lower, upper: of log p(x), forward from the prior and back from the posterior.
        gap: upper less lower, in nats per example. On average it bounds the error of either on such examples; about
            real ones, which the model did not make, it only suggests something.
    """

    lower: Annealed
    upper: Annealed

    @property
    def gap(self) -> float:
        return self.upper.nats - self.lower.nats

    def __str__(self):
        return f"{self.lower.nats:.2f} to {self.upper.nats:.2f} nats, gap {self.gap:.2f}"


def sigmoid_temperatures(number: int, steepness: float = 4.0) -> Tensor:
    """beta_0 = 0 to beta_T = 1, (T + 1,): a sigmoid, dense at both ends (Wu et al., sec. 4.1)."""
    check_number("The number of temperatures T", number, 1, whole=True)
    check_number("The steepness", steepness, 1e-3, 50)
    s = torch.sigmoid(steepness * torch.linspace(-1, 1, number + 1, dtype=torch.float64))
    return (s - s[0]) / (s[-1] - s[0])


def ais(model, x: Tensor, rng: Rng, chains: int = 16, steps: int = 1000, leapfrogs: int = 2,
        spacing: str = "measured") -> Annealed:
    """A stochastic lower bound on log p(x) of each example, which rises to it with ``steps`` and ``chains``.

    A coarse run ahead finds the step sizes of the moves, for each example and temperature, and the temperatures. Then
    they are fixed: chains that adapt to themselves would not leave f_t as it is.

    Args:
        model: says ``latent`` and ``log_likelihood(x, z)``: a :class:`NoisyDecoder` or a
            :class:`~dgmlab.models.vae.VAE`. Its prior is N(0, I).
        x: (B, ...) examples.
        chains: C, for each example.
        steps: T, temperatures.
        leapfrogs: steps of a Hamiltonian move, each of which takes one gradient of the decoder.
        spacing: of the temperatures: ``measured``, evenly in the spread of the log-likelihood (their *thermodynamic
            length*; Grosse et al. 2013), or ``sigmoid``, as in Wu et al.

    Raises:
        LabError: a bad argument, or a likelihood that is not finite.
    """
    betas, sizes = _prepared(model, x, rng, chains, steps, leapfrogs, spacing)
    state = _State(model, x, rng.normal((len(x), chains, model.latent)).transpose(0, 1))
    log_w, accepted = torch.zeros(chains, len(x), dtype=torch.float64, device=x.device), []
    for t in range(1, steps + 1):
        log_w += (betas[t] - betas[t - 1]) * state.log_likelihood.double()
        if t < steps:                                                   # the last move would change no weight
            accepted.append(state.move(betas[t].item(), sizes[t], leapfrogs, rng))
    return _annealed(log_w, x, steps, accepted, sign=1)


def ais_back(model, x: Tensor, z: Tensor, rng: Rng, chains: int = 16, steps: int = 1000,
             leapfrogs: int = 2, spacing: str = "measured") -> Annealed:
    """A stochastic upper bound on log p(x): chains that go back from the posterior to the prior.

    Args:
        z: (B, L), an exact draw of the posterior of each x, such as :meth:`NoisyDecoder.simulate` gives; all chains of
            an example start there. The rest is as in :func:`ais`.
    """
    if z.shape != (len(x), model.latent):
        raise LabError(f"The codes have the shape {tuple(z.shape)}, but one exact draw of the posterior is needed for "
                       f"each example, ({len(x)}, {model.latent}).")
    betas, sizes = _prepared(model, x, rng, chains, steps, leapfrogs, spacing)
    state = _State(model, x, z.expand(chains, *z.shape).clone())
    log_w, accepted = torch.zeros(chains, len(x), dtype=torch.float64, device=x.device), []
    for t in range(steps, 0, -1):
        if t < steps:
            accepted.append(state.move(betas[t].item(), sizes[t], leapfrogs, rng))
        log_w -= (betas[t] - betas[t - 1]) * state.log_likelihood.double()
    return _annealed(log_w, x, steps, accepted, sign=-1)


def bidirectional(model, n: int, rng: Rng, chains: int = 16, steps: int = 1000, leapfrogs: int = 2,
                  spacing: str = "measured") -> Bidirectional:
    """Both bounds on ``n`` examples simulated from the model: how far annealing is from the truth, at these settings.

    Args:
        model: one that can also ``simulate(n, rng)``: a :class:`NoisyDecoder`.
    """
    if not hasattr(model, "simulate"):
        raise LabError(f"{type(model).__name__} cannot simulate examples together with their codes; wrap its decoder: "
                       "NoisyDecoder(model.decode, model.latent, model.eta).")
    x, z = model.simulate(n, rng)
    return Bidirectional(ais(model, x, rng, chains, steps, leapfrogs, spacing),
                         ais_back(model, x, z, rng, chains, steps, leapfrogs, spacing))


class _State:
    """Where all chains are, (C, B, L), and the log-likelihood there, (C, B), with its gradient."""

    def __init__(self, model, x: Tensor, z: Tensor):
        self.model, self.x, self.z = model, x, z
        self.log_likelihood, self.gradient = self._look(z)
        if not bool(self.log_likelihood.isfinite().all()):
            raise LabError("The model's log-likelihood is not finite at codes of its prior; look at its decoder and at "
                           "the examples.")

    def _look(self, z):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_likelihood = self.model.log_likelihood(self.x, z)                   # (C, B)
            gradient, = torch.autograd.grad(log_likelihood.sum(), z)
        return log_likelihood.detach(), gradient

    def move(self, beta: float, size: Tensor, leapfrogs: int, rng: Rng) -> Tensor:
        """One Hamiltonian move (Neal 2011, fig. 2) of every chain that leaves f = p(z) p(x | z)^beta as it is.

        Args:
            size: (B,) step sizes.

        Returns:
            (C, B) probabilities with which the moves were accepted.
        """
        # Shortened at random, for a path of fixed length may go round in circles in a Gaussian (Neal 2011, sec. 3.2).
        step = (size * (1 - JITTER * rng.uniform(size.shape)))[:, None]             # (B, 1)
        z, log_likelihood, gradient = self.z, self.log_likelihood, self.gradient
        momentum = rng.normal(z.transpose(0, 1).shape).transpose(0, 1)
        energy = self._energy(z, log_likelihood, momentum, beta)
        for _ in range(leapfrogs):
            momentum = momentum + 0.5 * step * (beta * gradient - z)                # d log f / dz = beta * ... - z
            z = z + step * momentum
            log_likelihood, gradient = self._look(z)
            momentum = momentum + 0.5 * step * (beta * gradient - z)
        gain = energy - self._energy(z, log_likelihood, momentum, beta)
        chance = gain.exp().clamp(max=1).nan_to_num(0.0)                            # a path that blew up is refused
        take = rng.uniform(gain.shape[::-1]).T < chance                             # (C, B)
        self.z = torch.where(take[..., None], z, self.z)
        self.gradient = torch.where(take[..., None], gradient, self.gradient)
        self.log_likelihood = torch.where(take, log_likelihood, self.log_likelihood)
        return chance

    @staticmethod
    def _energy(z, log_likelihood, momentum, beta):
        return 0.5 * (z.square() + momentum.square()).sum(-1) - beta * log_likelihood


def _prepared(model, x, rng, chains, steps, leapfrogs, spacing):
    """The temperatures (T + 1,) and, for each of them, the step sizes (T + 1, B), found in a coarse run ahead."""
    if x.ndim < 2 or not len(x):
        raise LabError(f"The examples have the shape {tuple(x.shape)}, but at least one is needed, as (examples, ...); "
                       "a single one is x[None].")
    if not bool(x.isfinite().all()):
        raise LabError("Some examples hold a number that is not finite; leave them out.")
    check_number("The number of chains", chains, 1, whole=True)
    check_number("The number of temperatures T", steps, 1, whole=True)
    check_number("The number of leapfrog steps", leapfrogs, 1, whole=True)
    check_choice("The spacing of the temperatures", spacing, SPACINGS)
    state = _State(model, x, rng.normal((len(x), AHEAD, model.latent)).transpose(0, 1))
    # From where the likelihood begins to be felt, evenly in log beta: the posterior of a Gaussian narrows so.
    start = min(0.1 / max(float(state.log_likelihood.std(0).mean()), 1e-3), 0.1)
    coarse = torch.cat([torch.zeros(1), torch.logspace(math.log10(start), 0, COARSE)]).double()
    log_size, sizes, spreads = torch.full((len(x),), math.log(0.3), device=x.device), [], []
    for beta in coarse.tolist():
        for _ in range(TRIES if sizes else 4 * TRIES):
            chance = state.move(beta, log_size.exp(), leapfrogs, rng)
            log_size = (log_size + 0.5 * (chance.mean(0) - ACCEPTANCE)).clamp(math.log(1e-4), math.log(1.0))
        sizes.append(log_size)
        spreads.append(float(state.log_likelihood.double().var(0).mean().sqrt()))
    if spacing == "sigmoid":
        betas = sigmoid_temperatures(steps).numpy()
    else:                                                       # as far apart as the log-likelihood varies little
        speed = np.maximum(spreads, 1e-9)
        length = np.concatenate([[0], np.cumsum(0.5 * (speed[1:] + speed[:-1]) * np.diff(coarse.numpy()))])
        betas = np.interp(np.linspace(0, length[-1], steps + 1), length, coarse.numpy())
    place = torch.from_numpy(np.interp(betas, coarse.numpy(), np.arange(COARSE + 1)))
    low = place.floor().long().clamp(max=COARSE - 1)
    sizes = torch.stack(sizes)                                                      # (COARSE + 1, B)
    log_size = torch.lerp(sizes[low], sizes[low + 1], (place - low)[:, None].to(sizes))
    return torch.from_numpy(betas), log_size.exp()


def _annealed(log_w, x, steps, accepted, sign):
    chains = len(log_w)
    per_example = sign * (log_w.logsumexp(0) - math.log(chains))
    effective = (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()
    spread = float(per_example.std()) if len(x) > 1 else math.nan
    return Annealed(float(per_example.mean()), spread / math.sqrt(len(x)), chains, len(x), x[0].numel(), per_example,
                    steps, float(torch.stack(accepted).mean()) if accepted else math.nan, effective)
