"""Memorising and generating: small VAEs on few and on many digits, with few and with many parameters (lab 00).

The trifecta blog calls it the trick of deep generative models: a network with fewer parameters P than there are numbers
in its data, N examples of D numbers each, cannot store them and has to learn what they have in common. It promises that
models "work fine" under this "mild condition", P < N * D. Here the condition is put to the test: the same model, the
same number of steps, and N and P varied.

The model is a VAE with two latent numbers and fixed observation noise. Both were chosen on the validation images, by
one look at 2, 4 and 8 latents and at noise variances of 0.03 and 0.1; the claims below measure on the test images.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from ..data import load
from ..errors import LabError, check_number
from ..metrics.likelihood import elbo
from ..metrics.memorising import neighbours
from ..models.vae import VAE
from ..rng import Rng
from ..training import Run, TensorBatches
from . import recorded
from .claims import INFINITE, Claim

LATENT, ETA = 2, 0.1
COUNTS = (5, 20, 100, 500, 1197)            # training images to choose from; 1,197 are all there are
WIDTHS = (4, 16, 64, 256, 1024)             # of the one hidden layer of encoder and decoder
STEPS = 2000                                # of a run, unless something else is asked for
BATCH = 64                                  # images a step, fewer if there are fewer
SAMPLES = 300                               # new images that are compared with the training images


class WatchedVAE(VAE):
    """A VAE that also reports, at every step, its bound on some held-out images; it never learns from them.

    Args:
        held_out: (M, C, H, W); each step looks at a random batch of them.
    """

    def __init__(self, held_out: Tensor, width: int):
        super().__init__(tuple(held_out.shape[1:]), LATENT, (width,), eta=ETA)
        self.register_buffer("held_out", held_out, persistent=False)

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` is minus the bound on the batch, ``held_out`` the bound on as many held-out images, in nats."""
        terms = super().loss(batch, knobs, rng)
        with torch.no_grad():
            some = self.held_out[rng.integers(len(self.held_out), (BATCH,))]
            reconstruction, kl = self.elbo_terms(some, rng)
        return terms | {"held_out": -(reconstruction + kl).mean()}


@recorded
def make_run(images: int = 20, width: int = 256, seed: int = 0, lr: float = 1e-3, folder: str | None = None) -> Run:
    """A VAE with two latent numbers, to be trained on a few of the digits.

    Args:
        images: N, how many training images it gets; the seed chooses which, so that fewer are always among more.
        width: of the hidden layer of encoder and decoder; it sets the number of parameters.
        seed: of the choice of images, the initial weights and all noise.

    Returns:
        The run; ``run.data`` is the data set, ``run.images`` (N, 1, 8, 8) are the training images.
    """
    data = load("digits")
    check_number("The number of training images", images, 1, len(data.train), whole=True)
    check_number("The width", width, 1, 4096, whole=True)
    chosen = data.train.x[Rng(seed).permutation(len(data.train))[:images]]
    run = Run(partial(WatchedVAE, data.valid.x, width), TensorBatches(chosen, min(BATCH, images)), knobs={"lr": lr},
              seed=seed, device="cpu", folder=folder)
    run.data, run.images = data, chosen
    return run


def numbers_in(images: Tensor) -> int:
    """N * D, how many numbers the images hold."""
    return images.numel()


def trained(images: int, width: int, steps: int = STEPS, seed: int = 0) -> Run:
    """:func:`make_run`, trained."""
    run = make_run(images, width, seed)
    for _ in run.steps(steps):
        pass
    return run


def report(run: Run, held_out: Tensor | None = None) -> dict[str, float]:
    """What a trained run does, in numbers.

    Args:
        held_out: images that it was not trained on; the validation images by default.

    Returns:
        ``N``, ``P`` and ``N*D``; the bounds ``training`` and ``held out`` in nats per image, and the ``gap`` between
        them; ``ratio`` and ``copies`` of :class:`~dgmlab.metrics.memorising.Neighbours`, of 300 new images.
    """
    held_out = run.data.valid.x if held_out is None else held_out
    bounds = [elbo(run.model, x, Rng(0), samples=20).nats for x in (run.images, held_out)]
    found = neighbours(run.model.sample(SAMPLES, Rng(1)), run.images, held_out)
    return {"N": len(run.images), "P": run.parameters, "N*D": numbers_in(run.images), "training": bounds[0],
            "held out": bounds[1], "gap": bounds[0] - bounds[1], "ratio": found.ratio, "copies": found.copies}


def grid(counts=COUNTS, widths=WIDTHS, steps: int = 1000, seed: int = 0) -> list[dict[str, float]]:
    """One trained run for each number of images and each width, as :func:`report` describes it."""
    return [report(trained(n, width, steps, seed)) | {"width": width} for width in widths for n in counts]


# -- densities in the plane, for the page on what a generative model is ------------------------------------------


class PlaneModel:
    """A density in the plane that was fitted to points: ``log_prob`` (n, 2) -> (n,) nats, and ``sample``.

    Three kinds, each with an exact density: ``too simple``, one Gaussian; ``good``, a mixture of 8; ``memory``, a tiny
    Gaussian of width 0.02 on every training point.
    """

    def __init__(self, kind: str, points: Tensor, seed: int = 0):
        from sklearn.mixture import GaussianMixture

        self.points, self.seed = points.double(), seed
        sizes = {"too simple": 1, "good": 8, "memory": None}
        if kind not in sizes:
            raise LabError(f"The kind of model is {kind!r}, but it must be one of: {', '.join(sizes)}.")
        if sizes[kind]:
            self._mixture = GaussianMixture(sizes[kind], random_state=seed, reg_covar=1e-3, n_init=3)
            self._mixture.fit(self.points.numpy())
        else:
            self._mixture, self._width = None, 0.02

    def log_prob(self, x: Tensor) -> Tensor:
        if self._mixture:
            return torch.from_numpy(self._mixture.score_samples(x.double().numpy()))
        square = torch.cdist(x.double(), self.points).square() / (2 * self._width**2)
        return torch.logsumexp(-square, 1) - math.log(len(self.points) * 2 * math.pi * self._width**2)

    def sample(self, n: int) -> Tensor:
        rng = Rng(self.seed)
        if self._mixture is None:
            return self.points[rng.integers(len(self.points), (n,))] + self._width * rng.normal((n, 2))
        weights, means = (torch.from_numpy(a) for a in (self._mixture.weights_, self._mixture.means_))
        k = torch.searchsorted(weights.cumsum(0), rng.uniform((n,)).double()).clamp(max=len(weights) - 1)
        roots = torch.linalg.cholesky(torch.from_numpy(self._mixture.covariances_))                 # (K, 2, 2)
        return means[k] + (roots[k] @ rng.normal((n, 2)).double()[..., None])[..., 0]


# -- an autoregressive model in one layer --------------------------------------------------------------------------


def pixel_by_pixel(weights: Tensor, bias: Tensor, n: int, seed: int = 0) -> Tensor:
    """Ancestral sampling: ``n`` binary images (n, D), one pixel after the other in reading order.

    p(x_d = 1 | x_<d) = sigmoid(sum over e < d of weights[d, e] x_e + bias_d), a logistic regression for each pixel.

    Args:
        weights: (D, D); only the part below the diagonal counts.
        bias: (D,).
    """
    check_number("The number of images", n, 1, whole=True)
    rng, x = Rng(seed), torch.zeros(n, len(bias))
    with torch.no_grad():
        for d in range(len(bias)):
            p = torch.sigmoid(x[:, :d] @ weights[d, :d] + bias[d])
            x[:, d] = (rng.uniform((n,)) < p).float()
    return x


# -- the claims ----------------------------------------------------------------------------------------------------

SOURCE = "A deep generative model trifecta, Microsoft Research blog, 2020 (the DGM trick, P < N*D)"
SETTINGS = ("VAE with 2 latents and one hidden layer of {width}, noise variance 0.1, 8x8 digits, 2,000 steps of up to "
            "64 images, Adam 1e-3; measured on the 300 test images; the seed chooses images, weights and noise")


def from_few_to_many(seed: int) -> dict[str, float]:
    """The numbers that the claims of lab 00 look at; about twenty seconds on one core.

    Networks 256 wide on 5 to all images, and for each side of the condition P < N * D another width on the same images:
    their test bounds at the ``end``, and at the ``best`` step by the validation images.
    """
    wide = {n: make_run(n, 256, seed) for n in COUNTS}
    few, many = 100, COUNTS[-1]
    runs = {"wide, few": wide[few], "narrow, few": make_run(few, 16, seed),
            "wide, many": wide[many], "wider, many": make_run(many, 1024, seed)}
    test = {name: end_and_best(run) for name, run in runs.items()}
    for n in set(COUNTS) - {few, many}:
        for _ in wide[n].steps(STEPS):
            pass
    found = {n: report(run, run.data.test.x) for n, run in wide.items()}
    gaps = [found[n]["gap"] for n in COUNTS]
    return {"ratio of 5 images": found[5]["ratio"], "ratio of all images": found[many]["ratio"],
            "gap of all images": found[many]["gap"],
            "smallest fall of the gap": min(a - b for a, b in zip(gaps, gaps[1:])),
            **{f"few images, {which}": test["narrow, few"][which] - test["wide, few"][which]
               for which in ("end", "best")},
            **{f"many images, {which}": test["wide, many"][which] - test["wider, many"][which]
               for which in ("end", "best")},
            **{f"gap of {n:,}": found[n]["gap"] for n in COUNTS},
            **{f"{name}, {which}": value for name, ends in test.items() for which, value in ends.items()}}


def end_and_best(run: Run, steps: int = STEPS, every: int = 250) -> dict[str, float]:
    """Train, and give the test bound at the ``end``, and the ``best``: that of the step with the best validation
    bound, which is step ``at``."""
    valid, test = run.data.valid.x, run.data.test.x
    chosen = -math.inf
    for tick in run.steps(steps):
        if tick.step % every == 0 or tick.step == steps:
            bound = elbo(run.model, valid, Rng(0), samples=10).nats
            end = elbo(run.model, test, Rng(0), samples=10).nats
            if bound > chosen:
                chosen, best, at = bound, end, tick.step
    return {"end": end, "best": best, "at": float(at)}


CLAIMS = [
    Claim("00.memorises", SOURCE, "Far beyond the condition, a model stores its training images: what it samples lies "
          "much nearer to them than new images do.", from_few_to_many, "ratio of 5 images",
          "median distance of samples to the nearest training image, over that of test images", (0, 0.5),
          SETTINGS.format(width="256") + "; 5 images: P = 34,884, N*D = 320", no_effect=1.0, ratio=True,
          note="Not every sample is a copy: a code between those of two images decodes to a blend of them."),
    Claim("00.generates", SOURCE, "Within the condition, samples lie as far from the training images as new images "
          "do.", from_few_to_many, "ratio of all images",
          "median distance of samples to the nearest training image, over that of test images", (0.8, 1.25),
          SETTINGS.format(width="256") + "; all 1,197 images: P = 34,884, N*D = 76,608", no_effect=None, ratio=True,
          note="A ratio of 1 says that the samples are new, not that they are good."),
    Claim("00.gap", SOURCE, "The more images, the less a model's bound on its training images exceeds that on "
          "others.", from_few_to_many, "smallest fall of the gap",
          "the gap between training and test bound falls from 5 to 20, 100, 500 and 1,197 images; the smallest of "
          "these four falls, nats", (0, INFINITE), SETTINGS.format(width="256")),
    Claim("00.works_fine", SOURCE, "Models work fine under the condition P < N*D: their bound holds on new images as "
          "on the training images.", from_few_to_many, "gap of all images",
          "training bound minus test bound, nats per image",
          (-1, 2), SETTINGS.format(width="256") + "; all 1,197 images: P = 34,884, N*D = 76,608", no_effect=None),
    Claim("00.mild_condition", SOURCE, "The condition is a border on few images: a model within it does better on new "
          "images than one beyond it, after equally many steps.", from_few_to_many, "few images, end",
          "test bound of P = 2,244 minus that of P = 34,884, nats per image", (0, INFINITE),
          SETTINGS.format(width="16 or 256") + "; 100 images: N*D = 6,400",
          note="The wide model has over-trained by then; see 00.stopped_in_time."),
    Claim("00.stopped_in_time", SOURCE, "The condition is a border on few images even if each model is stopped when "
                                        "its validation bound is best.",
          from_few_to_many, "few images, best", "test bound of P = 2,244 minus that of P = 34,884, nats per image",
          (0, INFINITE), SETTINGS.format(width="16 or 256") + "; 100 images: N*D = 6,400; stopped at the best of "
          "every 250 steps by the bound on the 300 validation images",
          note="If anything, the wide model is ahead: what the condition guards against is training too long."),
    Claim("00.many_images", SOURCE, "The condition is a border on many images too: a model within it does better on "
          "new images than one beyond it.", from_few_to_many, "many images, best",
          "test bound of P = 34,884 minus that of P = 139,332, nats per image", (0, INFINITE),
          SETTINGS.format(width="256 or 1,024") + "; all 1,197 images: N*D = 76,608; stopped as in "
          "00.stopped_in_time",
          note="The two are equal as far as five seeds can tell; neither copies (see the grid of lab 00)."),
]
