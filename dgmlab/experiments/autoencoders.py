"""Lab 02: deep autoencoders on small images, held against PCA and against a VAE.

All deep models share one setting: two hidden layers of 256, SiLU, Adam from a learning rate of 8e-3 that falls along
half a cosine to 0 within 2,000 steps of 128 images, input noise 0.02. It was chosen on the validation split of the
digits, with a seed of its own, by the lowest error relative to PCA's averaged over codes of 2, 5, 10 and 30 numbers, so
that no size has its own tuning; the test split took no part. Tried: hidden layers 256, 256-128, 256-256; rates 2e-3,
4e-3, 8e-3; noise 0 to 0.06; ReLU, SiLU, GELU, ELU; 2,000 and 3,000 steps; weight decay 0 and 0.1 (no help).

Letters: N examples, D numbers in an example, L numbers in a code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from ..data import load
from ..errors import LabError, check_choice, check_number
from ..metrics.latent import linear_probe_accuracy
from ..metrics.memorising import nearest
from ..metrics.samples import energy_distance
from ..models.autoencoder import Autoencoder
from ..models.pca import PCA
from ..models.vae import VAE
from ..rng import Rng
from ..schedules import cosine_restarts
from ..training import Run, TensorBatches
from . import recorded
from .claims import INFINITE, Claim
from .inference import CurveModel
from .vae import SCALES

HIDDEN, PUBLISHED_HIDDEN = (256, 256), (1000, 500, 250)     # the latter are those of Hinton & Salakhutdinov 2006
LR, NOISE, STEPS = 8e-3, 0.02, 2000
KINDS = ("autoencoder", "linear", "vae")
SIZES = (2, 5, 10, 30)
DENOISING = 0.3                                             # input noise of codes that are meant as features
SOURCES = ("N(0, I)", "uniform box", "fitted Gaussian")


@recorded
def make_run(dataset: str = "digits", latent: int = 2, kind: str = "autoencoder", lr: float = LR, noise: float = NOISE,
             fall: int | None = None, watched: bool = False, batch_size: int = 128, seed: int = 0, scale: str = "lab",
             device: str = "auto", folder: str | None = None) -> Run:
    """A model with a bottleneck, ready to be trained.

    Args:
        dataset: any name :func:`dgmlab.data.load` knows.
        latent: L, the size of the code.
        kind: ``autoencoder``; ``linear`` (the same without hidden layers); ``vae``: a VAE of the same layers, whose
            decoder learns its noise variance (it has no knob ``noise``).
        lr, noise: start values of the knobs.
        fall: steps within which the learning rate falls to 0, along half a cosine; None leaves it to the hand.
        watched: whether the error of the validation split stands beside the loss at every step; not for a VAE.
        scale: ``smoke`` and ``lab`` train on what lies at hand; ``paper`` takes the hidden layers of Hinton &
            Salakhutdinov (2006).

    Returns:
        The run; ``run.data`` is the :class:`~dgmlab.data.Dataset`.
    """
    check_choice("scale", scale, SCALES)
    check_choice("The kind of model", kind, KINDS)
    data = load(dataset)
    hidden = () if kind == "linear" else PUBLISHED_HIDDEN if scale == "paper" else HIDDEN
    if kind == "vae":
        model, knobs = partial(VAE, data.shape, latent, hidden, observation="learned", activation="silu"), {}
    else:
        model, knobs = partial(Autoencoder, data.shape, latent, hidden, activation="silu",
                               watch=data.valid.x if watched else None), {"noise": noise}
    run = Run(model, TensorBatches(data.train.x, batch_size), knobs={"lr": lr, **knobs}, seed=seed, device=device,
              folder=folder)
    if fall is not None:
        run.knobs.drive("lr", cosine_restarts(fall, lr, cycles=1))
    run.data = data
    return run


def train(kind: str = "autoencoder", *, steps: int = STEPS, **arguments) -> Run:
    """A run of :func:`make_run`, trained for ``steps`` steps while its learning rate falls to 0."""
    run = make_run(kind=kind, fall=steps, **arguments)
    for _ in run.steps(steps):
        pass
    return run


# -- the bottleneck --------------------------------------------------------------------------------------------------

@torch.no_grad()
def squared_error(model, x: Tensor) -> float:
    """Mean over examples and numbers of (x - its reconstruction)^2, in squared units of the data."""
    return float((model.reconstruct(x) - x).square().mean())


def lost(model, x: Tensor, mean: Tensor) -> float:
    """The share of the data that the bottleneck loses: the squared error over that of answering always ``mean``.

    Args:
        x: (N, ...) examples.
        mean: (...) what one would answer without any code: the mean of the *training* examples.
    """
    return squared_error(model, x) / float((x - mean).square().mean())


def principal_angles(a: Tensor, b: Tensor) -> Tensor:
    """The angles (L,) in degrees, smallest first, between the spaces that the rows of ``a`` and ``b`` (L, D) span
    (Björck & Golub 1973). All are 0 if, and only if, the spaces are the same."""
    if a.ndim != 2 or a.shape != b.shape or len(a) > a.shape[1]:
        raise LabError(f"The rows have the shapes {tuple(a.shape)} and {tuple(b.shape)}, but two sets of L rows of D "
                       "numbers, L at most D, are needed; transpose a decoder's weights.")
    p, q = (torch.linalg.qr(m.detach().double().cpu().T).Q for m in (a, b))
    # by the sine: the cosine cannot tell small angles apart
    sines = torch.linalg.svdvals(q - p @ (p.T @ q)).clamp(max=1)
    return sines.asin().rad2deg().flip(0)


def curve_run(seed: int = 0, steps: int = 1500, examples: int = 500) -> tuple[Run, PCA, Tensor]:
    """An autoencoder with one number for a code, trained on a horseshoe in the plane; PCA of the same size; the data
    (examples, 2)."""
    x = CurveModel(eta=0.01).sample(examples, seed=seed).float()
    run = Run(partial(Autoencoder, (2,), 1, (64, 64), activation="silu"), TensorBatches(x, min(128, examples)),
              knobs={"lr": LR}, seed=seed)
    run.knobs.drive("lr", cosine_restarts(steps, LR, cycles=1))
    for _ in run.steps(steps):
        pass
    return run, PCA(1).fit(x), x


# -- codes for new images --------------------------------------------------------------------------------------------

def draw_codes(codes: Tensor, source: str, n: int, rng: Rng) -> Tensor:
    """``n`` random codes (n, L) in place of codes (N, L) of examples.

    Args:
        source: one of :data:`SOURCES`: the standard normal, whatever the codes are; evenly within the smallest box
            that holds all codes; a Gaussian with their mean and covariance.
    """
    check_choice("The source of the codes", source, SOURCES)
    check_number("The number of codes", n, 1, whole=True)
    shape = (n, codes.shape[1])
    if source == "N(0, I)":
        return rng.normal(shape)
    if source == "uniform box":
        low, high = codes.min(0).values, codes.max(0).values
        return low + (high - low) * rng.uniform(shape)
    # a matrix root that also takes codes whose covariance is singular
    values, vectors = torch.linalg.eigh(torch.cov(codes.T).reshape(shape[1], shape[1]).double())
    root = (vectors * values.clamp(min=0).sqrt()).to(codes)                                     # (L, L)
    return codes.mean(0) + rng.normal(shape) @ root.T


def judge(samples: Tensor, train_x: Tensor, held_out: Tensor) -> dict[str, float]:
    """Three distances between samples and data, all the smaller the better, in units of the data.

    Returns:
        ``quality``: mean distance of a sample to its nearest training example;
        ``diversity``: mean distance of a held-out example to its nearest sample (as many samples as training examples
        make it comparable with that of the training examples themselves);
        ``energy``: energy distance between samples and held-out examples, which sees both.
    """
    return {"quality": float(nearest(samples, train_x)[0].mean()),
            "diversity": float(nearest(held_out, samples)[0].mean()),
            "energy": energy_distance(samples, held_out)}


@torch.no_grad()
def generation(autoencoder: Autoencoder, vae: VAE, train_x: Tensor, held_out: Tensor, rng: Rng,
               n: int = 1000) -> dict[str, dict[str, float]]:
    """What :func:`judge` says of images decoded from ``n`` random codes: an autoencoder's from three sources, a VAE's
    from its prior; and, to compare, of ``n`` training images and of held-out images."""
    codes = autoencoder.encode(train_x)
    made = {f"autoencoder, {source}": autoencoder.decode(draw_codes(codes, source, n, rng)) for source in SOURCES}
    made["VAE, prior N(0, I)"] = vae.sample(n, rng)
    return {name: judge(samples, train_x, held_out) for name, samples in made.items()}


# -- few labels ------------------------------------------------------------------------------------------------------

def few_labels(features: Mapping[str, tuple[Tensor, Tensor]], train_y: Tensor, test_y: Tensor, numbers: Sequence[int],
               draws: int = 5) -> dict[str, dict[int, list[float]]]:
    """Accuracy of a logistic regression on several features of the same images, by feature and number of labels.

    Args:
        features: name -> (features of the training images (N, K), of the test images (M, K)).
        train_y, test_y: their classes. Only ``number`` of the former are used at a time.
        draws: how often the labelled images are drawn anew; a draw is the same for every feature.

    Returns:
        name -> {number: [accuracy of each draw, 0 to 1]}.
    """
    return {name: {number: [linear_probe_accuracy(own.flatten(1), train_y, test.flatten(1), test_y, number=number,
                                                  seed=draw).accuracy for draw in range(draws)]
                   for number in numbers} for name, (own, test) in features.items()}


@torch.no_grad()
def code_features(models: Mapping[str, object], train_x: Tensor, test_x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """For :func:`few_labels`: the codes that each model gives, and the raw numbers of the examples."""
    return {"raw pixels": (train_x.flatten(1), test_x.flatten(1))} | {
        name: (model.encode(train_x).cpu(), model.encode(test_x).cpu()) for name, model in models.items()}


# -- the lecture's claims --------------------------------------------------------------------------------------------

def experiment(seed: int, latent: int = 10, number: int = 20) -> dict[str, float]:
    """All that the claims of this lab are about, on the digits; ``latent`` is one of :data:`SIZES`.

    Returns:
        ``pca_L``: squared error on test digits of a deep autoencoder with L numbers over that of PCA;
        ``random_...``, ``fitted_...``: quality, diversity and energy (see :func:`judge`) of images from an
        autoencoder's random codes, from N(0, I) and from a fitted Gaussian, over those of a VAE's;
        ``deep``, ``denoising``: what their codes gain over raw pixels with ``number`` labels, in accuracy (a share);
        ``over_pca``: what deep codes gain over PCA's.
    """
    runs = {size: train(latent=size, seed=seed) for size in SIZES}
    data, ours = runs[latent].data, runs[latent].model
    train_x, test_x = data.train.x, data.test.x
    pca = {size: PCA(size).fit(train_x) for size in SIZES}
    found = {f"pca_{size}": squared_error(runs[size].model, test_x) / squared_error(pca[size], test_x)
             for size in SIZES}

    made = generation(ours, train("vae", latent=latent, seed=seed).model, train_x, test_x, Rng(seed))
    for name, source in (("random", "N(0, I)"), ("fitted", "fitted Gaussian")):
        for what, of_vae in made["VAE, prior N(0, I)"].items():
            found[f"{name}_{what}"] = made[f"autoencoder, {source}"][what] / of_vae

    models = {"PCA": pca[latent], "deep": ours,
              "denoising": train(latent=latent, noise=DENOISING, seed=seed).model}
    read = few_labels(code_features(models, train_x, test_x), data.train.y, data.test.y, [number], draws=10)
    mean = {name: sum(of[number]) / len(of[number]) for name, of in read.items()}
    return found | {"deep": mean["deep"] - mean["raw pixels"], "denoising": mean["denoising"] - mean["raw pixels"],
                    "over_pca": mean["deep"] - mean["PCA"]}


_TRAINED = ("1,197 training digits of 8x8; autoencoder 64-256-256-L and its mirror image, SiLU, 2,000 Adam steps of "
            "128, learning rate 8e-3 falling to 0, input noise 0.02: one setting for all, chosen on validation digits")
_PAIR = _TRAINED + ("; VAE of the same layers, rate and steps, learned noise variance; L = 10; 1,000 random codes; "
                    "300 test digits")
_PROBE = _TRAINED + ("; L = 10; logistic regression (C = 1) on standardised features, 20 labels, drawn ten times with "
                     "the classes in proportion; 300 test digits; codes learnt from all training images, unlabelled")
_LECTURE = "Wang, CSC413 lecture 9"

CLAIMS = [
    *(Claim(id=f"02.pca_{size}", source=f"{_LECTURE}, Deep Autoencoders; Hinton & Salakhutdinov 2006",
            says=f"With {size} numbers for a code, a deep autoencoder rebuilds unseen digits better than PCA.",
            experiment=experiment, quantity=f"pca_{size}", measured="squared error on test digits, deep / PCA",
            expected=(0.0, 0.9), no_effect=1.0, ratio=True, settings=_TRAINED) for size in SIZES),
    Claim(id="02.random_codes", source=f"{_LECTURE}, Deep Autoencoders: some limitations",
          says="Images decoded from N(0, I) codes are farther from real ones for an autoencoder than for a VAE.",
          experiment=experiment, quantity="random_energy",
          measured="energy distance between decoded codes and test digits, autoencoder / VAE", expected=(2.0, INFINITE),
          no_effect=1.0, ratio=True, settings=_PAIR),
    Claim(id="02.fitted_codes", source="ours: the fair baseline of the claim before",
          says="Images decoded from a Gaussian fitted to an autoencoder's codes still look less like digits than a "
               "VAE's.",
          experiment=experiment, quantity="fitted_quality",
          measured="mean distance to the nearest training digit, autoencoder / VAE", expected=(1.1, INFINITE),
          no_effect=1.0, ratio=True, settings=_PAIR),
    Claim(id="02.fitted_energy", source="ours: the same, as a whole",
          says="As a whole, images from a Gaussian fitted to an autoencoder's codes are farther from real digits than "
               "a VAE's.",
          experiment=experiment, quantity="fitted_energy",
          measured="energy distance between decoded codes and test digits, autoencoder / VAE", expected=(1.5, INFINITE),
          no_effect=1.0, ratio=True, settings=_PAIR,
          note="The energy distance sees mean and spread above all, which the fitted Gaussian gets right; it differs "
               "widely from seed to seed. With codes of 5 numbers (one seed, validation digits) the ratio was 3 to 5."),
    Claim(id="02.few_labels", source=f"{_LECTURE}, Why autoencoders?",
          says="With 20 labels, a linear classifier reads deep codes better than raw pixels.",
          experiment=experiment, quantity="deep", measured="accuracy from codes minus from pixels (share)",
          expected=(0.02, INFINITE), settings=_PROBE),
    Claim(id="02.few_labels_pca", source="ours: is it the depth?",
          says="With 20 labels, a linear classifier reads deep codes better than PCA's of the same size.",
          experiment=experiment, quantity="over_pca",
          measured="accuracy from deep codes minus from PCA's (share)", expected=(0.02, INFINITE), settings=_PROBE),
    Claim(id="02.few_labels_denoising", source=f"{_LECTURE}, Why autoencoders?; Vincent et al. 2008",
          says="With 20 labels, a linear classifier reads the codes of a denoising autoencoder much better than raw "
               "pixels.",
          experiment=experiment, quantity="denoising",
          measured="accuracy from codes minus from pixels (share)", expected=(0.05, INFINITE),
          settings=_PROBE.replace("input noise 0.02", "input noise 0.3")),
]
