"""Lab 07: how good is a generator?

The judge is a :class:`~dgmlab.models.classifier.Classifier` that is trained here, in a few seconds and always to the
same weights on one machine: one convolution of stride 2 for 8x8 digits (two for larger images), a dense layer of 64
ReLU units, and a logit for each class. *Features* are those 64 units, as they are (not standardised).

Their unit is set by the training, so that a Fréchet distance has to be held against that of real images against real
ones. With the default judge (seed 0): digits, 300 test against 1,197 training images, 1.1.
"""

from __future__ import annotations

import functools
from functools import partial

import torch
from torch import Tensor

from ..data import Dataset, load
from ..errors import LabError, check_number
from ..metrics.frechet import frechet_distance
from ..models.classifier import Classifier
from ..schedules import cosine_restarts
from ..training import Run, TensorBatches
from . import recorded

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
