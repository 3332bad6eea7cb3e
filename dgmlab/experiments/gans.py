"""Lab 06: generative adversarial networks on the line, in the plane, and on small images."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..data import load
from ..data.base import Dataset, Split
from ..data.densities import Density
from ..data.densities import density as named_density
from ..errors import LabError, check_choice, check_number
from ..models.discriminator import Discriminator
from ..models.gan import GAN
from ..models.generator import Generator
from ..models.sample_matching import TanhUnits
from ..schedules import cosine_restarts
from ..training import Run, TensorBatches
from . import recorded

SCALES = ("smoke", "lab", "paper")
DRAWN = 50_000          # examples drawn from a density to train on
FALL = 0.02             # where the learning rates end that fall, as a share of where they begin


@dataclass(frozen=True)
class Settings:
    """What a game on one kind of data is played with, unless it is told otherwise."""

    latent: int
    hidden: tuple[int, ...]             # of the generator; the discriminator has them in reverse
    body: str = "mlp"
    lr_g: float = 1e-3
    lr_d: float = 1e-3
    batch: int = 128
    r1: float = 0.0
    ema: float = 0.995


SETTINGS = {
    "line": Settings(1, (32, 32)),
    "ring": Settings(8, (128, 128)),
    "grid": Settings(8, (128, 128)),
    "moons": Settings(8, (128, 128)),
    "digits": Settings(32, (128,), "conv", batch=64, r1=0.5),
    "glyphs": Settings(32, (128,), "conv", batch=64, r1=0.5),
    "mnist": Settings(64, (128,), "conv", batch=64, r1=0.5),
}
LINE = {"means": (-1.5, 1.5), "sds": (0.4, 0.4), "weights": (0.3, 0.7)}         # two peaks, as in lab 01


@recorded
def make_run(data: str = "ring", loss: str = "non-saturating", head_start: int = 0, lr_g: float | None = None,
             lr_d: float | None = None, eps: float = 1e-8, d_steps: int = 1, clip: float = 0.0, penalty: float = 0.0,
             r1: float | None = None, spectral: bool = False, ema: float | None = None, watch: bool = True,
             body: str | None = None, latent: int | None = None, hidden: tuple | None = None, batch: int | None = None,
             classes: tuple | None = None, start: dict | None = None, steps: int | None = None, seed: int = 0,
             scale: str = "lab", device: str = "auto", folder: str | None = None) -> Run:
    """A game ready to be played. Where an argument is None, :data:`SETTINGS` holds its value.

    Args:
        data: one of :data:`SETTINGS`.
        loss, lr_g, lr_d, eps, d_steps, clip, penalty, r1, spectral, ema, watch: start values of the knobs, see
            :class:`~dgmlab.models.gan.GANKnobs`.
        head_start: steps at the beginning in which the discriminator learns alone.
        body: ``mlp``, or ``conv`` for images.
        latent, hidden: of the generator; the discriminator has the same hidden layers in reverse.
        batch: real examples for each step of the discriminator.
        steps: if given, both learning rates fall to a fiftieth along half a cosine in so many steps.
        classes: for images, names of the classes to keep; None for all.
        start: on the line, weights of a :class:`~dgmlab.models.sample_matching.TanhUnits` that is then the generator;
            {} for the straight G(z) = z. None for a network with random weights.
        scale: ``paper`` makes hidden layers and convolutions twice as wide.

    Returns:
        The run; ``run.target`` is the density, or None, and ``run.data`` the data set, or None.

    Raises:
        LabError: an argument out of range; a class that the data do not have.
    """
    check_choice("The data", data, SETTINGS)
    check_choice("scale", scale, SCALES)
    check_number("The head start of the discriminator in steps", head_start, 0, whole=True)
    usual, wide = SETTINGS[data], 2 if scale == "paper" else 1
    latent = usual.latent if latent is None else latent
    hidden = tuple(wide * size for size in (usual.hidden if hidden is None else hidden))
    body = usual.body if body is None else body
    target, images = source(data, classes)
    x = images.train.x if images else target.sample(DRAWN, seed)

    if start is not None and data != "line":
        raise LabError(f"Weights to start from were given for {data!r}, but they are those of one number in, one "
                       "number out; choose data='line' or leave start=None.")

    def build():
        if start is not None:
            return GAN(TanhUnits(**start), Discriminator((1,), hidden[::-1]))
        if target:
            return GAN(Generator(latent, x.shape[1:], hidden, body, "relu"),
                       Discriminator(x.shape[1:], hidden[::-1], body))
        return GAN(Generator(latent, images.shape, hidden, body, "relu", "sigmoid", wide),
                   Discriminator(images.shape, hidden[::-1], body, width=wide))

    knobs = {"loss": loss, "lr_g": usual.lr_g if lr_g is None else lr_g, "lr_d": usual.lr_d if lr_d is None else lr_d,
             "eps": eps, "d_steps": d_steps, "clip": clip, "penalty": penalty, "r1": usual.r1 if r1 is None else r1,
             "spectral": spectral, "ema": usual.ema if ema is None else ema, "watch": watch}
    if head_start:
        knobs["turn"] = "discriminator"
    run = Run(build, TensorBatches(x, min(usual.batch if batch is None else batch, len(x))), knobs=knobs, seed=seed,
              device=device, folder=folder)
    plan = [{"step": head_start, "knob": "turn", "value": "alternate"}] if head_start else []
    for name in ("lr_g", "lr_d") if steps is not None else ():
        fall = cosine_restarts(steps, knobs[name], FALL * knobs[name], cycles=1)
        plan.append({"step": 0, "knob": name, "schedule": fall.to_dict()})
    run.knobs.replay(plan, planned=True)
    run.target, run.data = target, images
    return run


def source(data: str, classes=None) -> tuple[Density | None, Dataset | None]:
    """The density or the data set behind a name of :data:`SETTINGS`, the other being None; of a data set, only the
    named classes."""
    if data in ("line", "ring", "grid", "moons"):
        if classes is not None:
            raise LabError(f"Classes were named, but {data!r} has none; leave classes=None or choose images.")
        return (named_density("mixture", **LINE) if data == "line" else named_density(data)), None
    images = load(data)
    if classes is None:
        return None, images
    for name in classes:
        check_choice("A class", name, images.classes)
    if not classes:
        raise LabError(f"No class was named; name some of {', '.join(images.classes)}, or leave classes=None for all.")
    wanted = torch.tensor([images.classes.index(name) for name in classes])

    def keep(split: Split) -> Split:
        rows = torch.isin(split.y, wanted)
        return Split(*(None if part is None else part[rows] for part in (split.x, split.y, split.font, split.jitter)))

    return None, Dataset(images.name, keep(images.train), keep(images.valid), keep(images.test), images.classes,
                         images.about, images.licence, images.fonts)


def discriminator_alone(run: Run, steps: int = 150) -> None:
    """From the next step on let only the discriminator learn, for ``steps`` steps, and then both again. It is two
    changes of the knob ``turn``, so it is in the log and is replayed. The run is not advanced."""
    check_number("The number of steps", steps, 1, whole=True)
    with run.lock:
        run.knobs.turn = "discriminator"
        run.knobs.replay([{"step": run.step + int(steps), "knob": "turn", "value": "alternate"}])
