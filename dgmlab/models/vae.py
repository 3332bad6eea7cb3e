"""The variational autoencoder (Kingma & Welling 2014, arXiv:1312.6114; Rezende et al. 2014, arXiv:1401.4082).

A generative model draws a code from the prior, z ~ N(0, I), and an example from p(x | z), whose parameters a network
(the *decoder*) computes from z. Its likelihood p(x) = E_p(z) p(x | z) is out of reach, so a second network (the
*encoder*) computes an approximate posterior q(z | x) = N(mu, diag(exp(logvar))), and both are trained on the bound

    log p(x)  >=  ELBO  =  E_q(z|x) log p(x | z)  -  KL(q(z | x) || p(z))                       (paper, eq. 3)
                           (- reconstruction)        (kl)

Everything is in nats per example. Letters: B batch, D = C * H * W numbers in an example, L latent dimensions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_choice, check_number
from ..knobs import Real
from ..rng import Rng
from .nets import Decoder, check_batch, check_shape, make_encoder
from .recipe import LearningRate, Recipe

LOG_2PI = math.log(2 * math.pi)
OBSERVATIONS = ("gaussian", "learned", "bernoulli")


class VAEKnobs(LearningRate):
    """The learning rate and the weight of the KL term (beta = 1 is the bound; Higgins et al. 2017 for others)."""

    beta = Real(1.0, 0, 100, "KL weight", symbol="β", slider=(0, 8))


def kl_to_prior(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, diag exp(logvar)) || N(0, I)) of each dimension, in nats (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


class GaussianLatent(Recipe):
    """What VAEs with a Gaussian posterior share; a subclass says ``encode``, ``log_likelihood`` and ``latent``."""

    Knobs = VAEKnobs
    latent: int

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior q(z | x): its mean and log-variance, (B, latent) each."""
        raise NotImplementedError

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, normalised: x (B, ...) and z (..., B, latent) -> (..., B)."""
        raise NotImplementedError

    def posterior_sample(self, mu: Tensor, logvar: Tensor, rng: Rng) -> Tensor:
        """z = mu + sigma * noise, through which the gradient reaches mu and sigma (reparameterised, sec. 2.4)."""
        return mu + (0.5 * logvar).exp() * rng.normal(mu.shape)

    def elbo_terms(self, x: Tensor, rng: Rng) -> tuple[Tensor, Tensor]:
        """Reconstruction -log p(x | z) at one draw of z, and KL(q || p), (B,) each; ELBO = -reconstruction - kl."""
        mu, logvar = self.encode(x)                                                            # (B, L)
        z = self.posterior_sample(mu, logvar, rng)
        return -self.log_likelihood(x, z), kl_to_prior(mu, logvar).sum(-1)

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` = reconstruction + beta * kl, averaged over the batch; x is ``batch[0]`` (B, ...)."""
        reconstruction, kl = self.elbo_terms(batch[0], rng)
        reconstruction, kl = reconstruction.mean(), kl.mean()
        return {"loss": reconstruction + knobs.beta * kl, "reconstruction": reconstruction, "kl": kl}

    def log_weights(self, x: Tensor, rng: Rng, samples: int, beta=1.0) -> Tensor:
        """log p(x | z) + beta * (log p(z) - log q(z | x)) at ``samples`` draws z ~ q(z | x): (samples, B).

        With beta = 1 these are the log importance weights whose mean over z is the ELBO, and whose logarithmic mean
        is the tighter bound of Burda et al. 2016 (eq. 8).
        """
        mu, logvar = self.encode(x)                                                            # (B, L)
        noise = rng.normal((len(x), samples, self.latent)).transpose(0, 1)                     # (samples, B, L)
        z = mu + (0.5 * logvar).exp() * noise
        log_ratio = 0.5 * (noise.square() - z.square() + logvar).sum(-1)                       # log p(z) - log q(z | x)
        return self.log_likelihood(x, z) + beta * log_ratio


class VAE(GaussianLatent):
    """A VAE with a Gaussian posterior and a standard normal prior.

    Args:
        shape: of one example, (C, H, W) or any other tuple if ``body="mlp"``.
        latent: L, the number of latent dimensions.
        hidden: sizes of the dense hidden layers; the decoder has them in reverse. ``()`` gives linear maps.
        body: ``mlp``, or ``conv`` (convolutions of stride 2 around the dense layers; sides from 8 to 64).
        observation: p(x | z), a density or probability that sums to one, so that the ELBO is a true bound:
            ``gaussian``: N(decode(z), eta I) with the fixed noise variance ``eta``;
            ``learned``: the same, with one noise variance that is learned, starting from ``eta``;
            ``bernoulli``: each of the D numbers is 0 or 1. (With greys in between the formula still yields a
            cross-entropy to descend, but it is no longer the log-probability of the data.)
        eta: noise variance, in squared units of the data.
        activation: one of ``nets.ACTIVATIONS``.

    Raises:
        LabError: for an argument out of range, or a batch of another shape than ``shape``.
    """

    def __init__(self, shape=(1, 8, 8), latent: int = 8, hidden=(256,), body: str = "mlp",
                 observation: str = "gaussian", eta: float = 0.1, activation: str = "relu"):
        super().__init__()
        self.shape = check_shape(shape)
        check_number("The number of latent dimensions", latent, 1, whole=True)
        check_choice("The observation model", observation, OBSERVATIONS)
        check_number("The noise variance eta", eta, 1e-8)
        self.latent, self.observation = latent, observation
        self.encoder = make_encoder(self.shape, hidden, 2 * latent, body, activation)          # (B, 2L)
        self.decoder = Decoder(latent, hidden[::-1], self.shape, body, activation)             # (..., D)
        self.log_eta = math.log(eta)
        if observation == "learned":
            self.log_eta = nn.Parameter(torch.tensor(self.log_eta))

    # -- the three distributions ---------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior q(z | x): its mean and log-variance, (B, latent) each."""
        check_batch(x, self.shape, self)
        return self.encoder(x).chunk(2, dim=-1)

    def decode(self, z: Tensor) -> Tensor:
        """The mean of p(x | z) in data space: (..., latent) -> (..., C, H, W)."""
        out = self.decoder(z)
        return (out.sigmoid() if self.observation == "bernoulli" else out).unflatten(-1, self.shape)

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats, normalised: x (B, C, H, W) and z (..., B, latent) -> (..., B)."""
        x, out = x.flatten(1), self.decoder(z)                                                 # (B, D), (..., B, D)
        if self.observation == "bernoulli":                 # x log p + (1-x) log(1-p) with p = sigmoid(out)
            return (x * out - F.softplus(out)).sum(-1)
        precision = (-self.log_eta).exp() if self.observation == "learned" else math.exp(-self.log_eta)     # 1 / eta
        return (x - out).square().sum(-1) * (-0.5 * precision) - 0.5 * x.shape[1] * (self.log_eta + LOG_2PI)

    @property
    def eta(self) -> float:
        """The noise variance of the Gaussian observation models, in squared units of the data."""
        return math.exp(self.log_eta.item() if self.observation == "learned" else self.log_eta)

    # -- what it makes -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, rng: Rng) -> Tensor:
        """The means of p(x | z) for ``n`` codes from the prior, (n, C, H, W)."""
        check_number("The number of samples", n, 1, whole=True)
        return self.decode(rng.normal((n, self.latent)))

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """What the decoder makes of the posterior's mean, (B, C, H, W)."""
        return self.decode(self.encode(x)[0])
