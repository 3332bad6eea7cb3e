"""Lab 07: how good is a generator?

The judge is a :class:`~dgmlab.models.classifier.Classifier` that is trained here, in a few seconds and always to the
same weights on one machine: one convolution of stride 2 for 8x8 digits (two for larger images), a dense layer of 64
ReLU units, and a logit for each class. *Features* are those 64 units, as they are (not standardised).

Their unit is set by the training, so that a Fréchet distance has to be held against that of real images against real
ones. With the default judge (seed 0): digits, 300 test against 1,197 training images, 1.1.

Then the likelihood of decoders that were trained in different ways: a VAE, a GAN, and an autoencoder whose codes get a
Gaussian prior fitted to them. All have one decoder, 8 - 256 - 64, equal steps and equal batches, and are given Gaussian
observation noise whose variance is chosen for each on the validation images (as Wu et al. 2017 do).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..data import Dataset, load
from ..errors import LabError, check_choice, check_number
from ..metrics.ais import Annealed, Bidirectional, NoisyDecoder, ais, bidirectional
from ..metrics.frechet import frechet_distance
from ..metrics.parzen import choose_width, parzen
from ..models.autoencoder import Autoencoder
from ..models.classifier import Classifier
from ..models.vae import VAE
from ..rng import Rng
from ..schedules import cosine_restarts
from ..training import Run, TensorBatches
from . import gans, recorded

FEATURES, LR, STEPS = 64, 2e-3, 400
MOST = 10_000           # real images that a metric looks at


# -- the judge -------------------------------------------------------------------------------------------------------


@recorded
def make_run(dataset: str = "digits", features: int = FEATURES, lr: float = LR, steps: int = STEPS, batch: int = 128,
             seed: int = 0, options: dict | None = None, device: str = "auto", folder: str | None = None) -> Run:
    """A classifier ready to be trained, for ``steps`` steps, in which its learning rate falls to 0 on half a cosine.

    Args:
        dataset, options: what :func:`dgmlab.data.load` takes, such as ``"glyphs"`` and ``{"characters": "AB"}``.
        features: F, the units of the last hidden layer.

    Returns:
        The run; ``run.data`` is the :class:`~dgmlab.data.Dataset`.
    """
    return _run(load(dataset, **options or {}), features, lr, steps, batch, seed, device=device, folder=folder)


def train_judge(data: Dataset, features: int = FEATURES, steps: int = STEPS, seed: int = 0) -> Classifier:
    """A classifier of the images of ``data``, trained on its training split with the settings of :func:`make_run`.

    For data of one's own; for those with a name there is :func:`judge`.
    """
    check_number("The number of steps", steps, 1, whole=True)
    run = _run(data, features, LR, steps, min(128, len(data.train)), seed, device="cpu")
    for _ in run.steps(steps):
        pass
    return run.model.eval().requires_grad_(False)


def judge(dataset: str = "digits", *, features: int = FEATURES, seed: int = 0, **options) -> Classifier:
    """The ready-made classifier of a data set; it is trained at the first call (a few seconds) and kept.

        >>> judge("digits").accuracy(test.x, test.y)            # 0.983
        >>> judge("glyphs", characters="ABC", fonts=("cmr10",)).features(images)

    Args:
        dataset, options: what :func:`dgmlab.data.load` takes; other options are another judge.
        features: F, the units of the last hidden layer.
        seed: of its initial weights and its batches.
    """
    return _judge(dataset, features, seed, _frozen(options))


@torch.no_grad()
def features(x: Tensor, dataset: str = "digits", **which) -> Tensor:
    """The judge's features of images: (N, ...) -> (N, F). ``which``: see :func:`judge`."""
    model = judge(dataset, **which)
    return torch.cat([model.features(part) for part in x.detach().cpu().split(1000)])


def frechet(samples: Tensor, real: Tensor | None = None, dataset: str = "digits", **which) -> float:
    """The Fréchet distance between samples and real images, in the judge's features.

    Args:
        samples: (N, ...). The distance falls with N; compare equal N only.
        real: (M, ...); the training images (at most the first 10,000) if None.
        dataset, which: see :func:`judge`.
    """
    return frechet_distance(features(samples, dataset, **which),
                            real_features(dataset, **which) if real is None else features(real, dataset, **which))


def real_features(dataset: str = "digits", split: str = "train", **which) -> Tensor:
    """The judge's features of at most 10,000 images of a split: (N, F). Kept, so that asking again costs nothing."""
    options = dict(which)
    return _real(dataset, split, options.pop("features", FEATURES), options.pop("seed", 0), _frozen(options))


def real_against_real(dataset: str = "digits", **which) -> float:
    """The Fréchet distance of the test images against the training images: what a perfect generator gets for as many
    samples."""
    return frechet_distance(real_features(dataset, "test", **which), real_features(dataset, **which))


def _run(data, features, lr, steps, batch, seed, **more):
    if len(data.classes) < 2 or len(data.train.y.unique()) < 2:
        raise LabError(f"The data set {data.name} has one class only, but a classifier has to tell at least two apart; "
                       "load data of several classes.")
    run = Run(partial(Classifier, data.shape, len(data.classes), features),
              TensorBatches((data.train.x, data.train.y), batch), knobs={"lr": lr}, seed=seed, **more)
    run.knobs.drive("lr", cosine_restarts(steps, lr, cycles=1))
    run.data = data
    return run


@functools.lru_cache(maxsize=16)
def _judge(dataset, features, seed, options):
    with torch.enable_grad():           # the first call may come from where gradients are switched off
        return train_judge(load(dataset, **dict(options)), features, seed=seed)


@functools.lru_cache(maxsize=32)
def _real(dataset, split, size, seed, options):
    data = load(dataset, **dict(options))
    return features(getattr(data, split).x[:MOST], dataset, features=size, seed=seed, **dict(options))


def _frozen(options: dict) -> tuple:
    return tuple(sorted((name, tuple(value) if isinstance(value, list) else value)
                        for name, value in options.items()))


# -- one decoder, trained in three ways ------------------------------------------------------------------------------

KINDS = ("VAE", "GAN", "autoencoder")
LATENT, HIDDEN = 8, (256,)
DECODER_STEPS, DECODER_BATCH = 4000, 64
ETAS = (0.007, 0.01, 0.015, 0.02, 0.03, 0.045)               # noise variances to choose from


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
        run = gans.make_run(dataset, body="mlp", latent=LATENT, hidden=HIDDEN, batch=DECODER_BATCH, ema=0.999, r1=0.1,
                            watch=False, seed=seed, device="cpu")
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


def likelihood(model: Trained, examples: int = 50, chains: int = 8, steps: int = 400, seed: int = 0) -> Likelihood:
    """Choose the noise, then anneal on ``examples`` test images and on half as many simulated ones; see
    :class:`Likelihood`."""
    found = choose_eta(model, seed=seed)
    eta = max(found, key=found.get)
    noisy, samples = model.noisy(eta), model.sample(1000, Rng(seed))
    return Likelihood(model.kind, eta, ais(noisy, model.data.test.x[:examples], Rng(seed), chains, steps),
                      bidirectional(noisy, max(2, examples // 2), Rng(seed + 1), chains, steps),
                      parzen(samples, model.data.test.x, choose_width(samples, model.data.valid.x)).nats,
                      frechet(samples, dataset=model.data.name))
