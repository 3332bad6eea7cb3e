"""Lab 07: the likelihood of one decoder that was trained in three ways.

A VAE, a GAN, and an autoencoder whose codes get a Gaussian prior fitted to them: all have one decoder, 8 - 256 - 64,
equal steps and equal batches, and are given Gaussian observation noise whose variance is chosen for each on the
validation images (as Wu et al. 2017 do).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..data import Dataset, load
from ..errors import check_choice, check_number
from ..metrics.ais import Annealed, Bidirectional, NoisyDecoder, ais, bidirectional
from ..metrics.parzen import choose_width, parzen
from ..models.autoencoder import Autoencoder
from ..models.vae import VAE
from ..rng import Rng
from ..training import Run, TensorBatches
from . import gans
from .judging import frechet

KINDS = ("VAE", "GAN", "autoencoder")
LATENT, HIDDEN = 8, (256,)
DECODER_STEPS, DECODER_BATCH = 4000, 64
ETAS = (0.01, 0.015, 0.02, 0.03, 0.045)         # noise variances to choose from


@dataclass(frozen=True)
class Trained:
    """A decoder with a standard normal prior, whatever it was trained by.

    Attributes:
        kind: one of :data:`KINDS`.
        decode: codes (..., L) to images (..., C, H, W), without observation noise.
        latent: L.
        run: how it was trained.
        data: on what.
    """

    kind: str
    decode: Callable[[Tensor], Tensor]
    latent: int
    run: Run
    data: Dataset

    @torch.no_grad()
    def sample(self, n: int, rng: Rng) -> Tensor:
        """``n`` images without observation noise, cut off at 0 and 1: (n, C, H, W)."""
        check_number("The number of samples", n, 1, whole=True)
        return self.decode(rng.normal((n, self.latent))).clamp(0, 1)

    def noisy(self, eta: float) -> NoisyDecoder:
        """The same with observation noise, so that it has a likelihood."""
        return NoisyDecoder(self.decode, self.latent, eta)


def train_decoder(kind: str = "VAE", dataset: str = "digits", steps: int = DECODER_STEPS, seed: int = 0) -> Trained:
    """A decoder 8 - 256 - D trained as part of a VAE, a GAN or an autoencoder; kept, so that asking again is free.

    All see ``steps`` batches of 64 images and descend by Adam at 1e-3. The VAE learns its noise variance. The GAN plays
    the non-saturating game with a discriminator D - 256 - 1 and an R1 penalty of 0.1; its decoder is the average of the
    generator over the last steps, and ends in a sigmoid. The autoencoder's codes are not N(0, I); a Gaussian is fitted
    to those of the training images, and draws from N(0, I) are moved and stretched accordingly before they are decoded.
    """
    check_choice("The kind of model", kind, KINDS)
    check_number("The number of steps", steps, 1, whole=True)
    return _decoder(kind, dataset, int(steps), seed)


@functools.lru_cache(maxsize=24)
def _decoder(kind, dataset, steps, seed):
    data = load(dataset)
    if kind == "GAN":
        run = gans.make_run(dataset, body="mlp", latent=LATENT, hidden=HIDDEN, batch=DECODER_BATCH, lr_g=1e-3,
                            lr_d=1e-3, ema=0.999, r1=0.1, watch=False, seed=seed, device="cpu")
    else:
        model = partial(VAE, observation="learned") if kind == "VAE" else Autoencoder
        run = Run(partial(model, data.shape, LATENT, HIDDEN), TensorBatches(data.train.x, DECODER_BATCH), seed=seed,
                  device="cpu")
    for _ in run.steps(steps):
        pass
    model = run.model.eval().requires_grad_(False)
    if kind == "VAE":
        return Trained(kind, model.decode, LATENT, run, data)
    if kind == "GAN":
        return Trained(kind, model.averaged, LATENT, run, data)
    codes = model.encode(data.train.x)                                                          # (N, L)
    mean, root = codes.mean(0), torch.linalg.cholesky(torch.cov(codes.T) + 1e-6 * torch.eye(LATENT))
    return Trained(kind, lambda z: model.decode(z @ root.T + mean), LATENT, run, data)


def choose_eta(model: Trained, etas: Sequence[float] = ETAS, examples: int = 30, seed: int = 0) -> dict[float, float]:
    """The log-likelihood of validation images, in nats, under each noise variance, by a short annealing; the best one
    is ``max(found, key=found.get)``."""
    x = model.data.valid.x[:examples]
    return {eta: ais(model.noisy(eta), x, Rng(seed), chains=4, steps=100).nats for eta in etas}


@dataclass(frozen=True)
class Likelihood:
    """What there is to say about the likelihood of a trained decoder.

    Attributes:
        kind: one of :data:`KINDS`.
        eta: its noise variance, chosen on the validation images.
        test: log p of test images, a lower bound.
        both: both bounds on images that it simulated.
        parzen: what Parzen windows on 1,000 samples say of all test images, in nats, width chosen on validation images.
        frechet: the Fréchet distance of these samples to the training images.
    """

    kind: str
    eta: float
    test: Annealed
    both: Bidirectional
    parzen: float
    frechet: float


def likelihood(model: Trained, examples: int = 50, chains: int = 8, steps: int = 300, seed: int = 0) -> Likelihood:
    """Choose the noise, then anneal on ``examples`` test images and on half as many simulated ones; see
    :class:`Likelihood`."""
    found = choose_eta(model, seed=seed)
    eta = max(found, key=found.get)
    noisy, samples = model.noisy(eta), model.sample(1000, Rng(seed))
    return Likelihood(model.kind, eta, ais(noisy, model.data.test.x[:examples], Rng(seed), chains, steps),
                      bidirectional(noisy, max(2, examples // 2), Rng(seed + 1), chains, steps),
                      parzen(samples, model.data.test.x, choose_width(samples, model.data.valid.x)).nats,
                      frechet(samples, dataset=model.data.name))
