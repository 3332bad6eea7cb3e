"""Lab 06: generative adversarial networks on the line, in the plane, and on small images."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data import load
from ..data.base import Dataset, Split, beside
from ..data.densities import Density
from ..data.densities import density as named_density
from ..errors import LabError, check_choice, check_number
from ..metrics.features import precision_recall
from ..metrics.frechet import frechet_distance
from ..models.discriminator import Discriminator
from ..models.gan import GAN
from ..models.generator import Generator
from ..models.sample_matching import TanhUnits
from ..rng import Rng
from ..schedules import cosine_restarts
from ..training import Run, TensorBatches
from ..training.checkpoint import write_atomically
from ..training.state import versions
from . import recorded
from .generators import modes_covered
from .judging import features, judge, real_features

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
    "glyphs": Settings(32, (128,), "conv", lr_g=2e-3, lr_d=2e-3, batch=64, r1=3.0),
    "mnist": Settings(64, (128,), "conv", lr_g=2e-3, lr_d=2e-3, batch=64, r1=5.0),
}
DENSITIES = ("line", "ring", "grid", "moons")
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
    if data in DENSITIES:
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


# -- experiments -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Where a game on a density with modes has ended.

    Attributes:
        loss, eps: the generator's loss, and its Adam's epsilon.
        head_start: steps in which the discriminator learnt alone at the beginning.
        minimax, non_saturating: the norms of the two gradients of the generator at its first own step, on one state.
        modes: how many modes are covered (:func:`~dgmlab.experiments.generators.modes_covered`).
        good: the share of samples within three standard deviations of a mode.
    """

    loss: str
    eps: float
    head_start: int
    minimax: float
    non_saturating: float
    modes: int
    good: float


def play(loss: str = "non-saturating", head_start: int = 150, eps: float = 1e-3, steps: int = 3000, seed: int = 0,
         data: str = "ring", samples: int = 2000, **more) -> Outcome:
    """One game on the ring or the grid: a head start of the discriminator, then ``steps`` in which both learn.

    Args:
        samples: what the outcome is measured on, from the plain generator (not its average).
        more: further arguments of :func:`make_run`.
    """
    check_choice("The data", data, ("ring", "grid"))
    check_number("The number of steps", steps, 1, whole=True)
    run = make_run(data, loss, head_start, eps=eps, seed=seed, watch=True, **more)
    for _ in run.steps(head_start + 1):
        pass
    first = run.history.last()
    run.knobs.watch = False                     # looked at once; without it a step is a quarter faster
    for _ in run.steps(steps - 1):
        pass
    modes, good = modes_covered(run.model.sample(samples, Rng(seed)), run.target)
    return Outcome(loss, eps, head_start, first["grad_minimax"], first["grad_nonsaturating"], modes, good)


def sharp_ring(seed: int = 0, steps: int = 3500, lr: float = 3e-3, samples: int = 2000) -> dict[str, float]:
    """The ring, played well: both learning rates fall to a fiftieth. Modes and share of good samples, of the generator
    and of its average, and the processor time."""
    run = make_run("ring", lr_g=lr, lr_d=lr, steps=steps, watch=False, seed=seed)
    began = time.process_time()
    for _ in run.steps(steps):
        pass
    seconds = time.process_time() - began
    (modes, good), (modes_averaged, good_averaged) = (
        modes_covered(run.model.sample(samples, Rng(seed), averaged=which), run.target) for which in (False, True))
    return {"modes": modes, "good": good, "modes_averaged": modes_averaged, "good_averaged": good_averaged,
            "seconds": seconds}


def good_digits(seed: int = 0, steps: int = 1500, split: str = "test", **more) -> dict[str, float]:
    """The DCGAN on the 8x8 digits: the Fréchet distance of 1,000 samples to the images of a split, in the features of
    the lab's classifier, of the generator and of its average; and the processor time.

    Args:
        split: settings were chosen on ``valid``.
        more: further arguments of :func:`make_run`.
    """
    check_choice("The split", split, ("valid", "test"))
    judge("digits")                             # trained here: its time does not count
    run = make_run("digits", steps=steps, watch=False, seed=seed, **more)
    began = time.process_time()
    for _ in run.steps(steps):
        pass
    seconds = time.process_time() - began
    real = real_features("digits", split)
    plain, averaged = (frechet_distance(features(run.model.sample(1000, Rng(seed), averaged=which)), real)
                       for which in (False, True))
    return {"frechet": plain, "frechet_averaged": averaged, "seconds": seconds}


# -- a run to be recorded ----------------------------------------------------------------------------------------------


def measure(run: Run, data: str, seed: int = 0, samples: int = 10_000) -> dict[str, float]:
    """How good the averaged generator of images is: its samples against the test images, in the features of the lab's
    own classifier (:func:`dgmlab.experiments.judging.judge`).

    Args:
        data: the name that the run was made with.
        seed: of the samples.
        samples: how many.

    Returns:
        ``frechet`` of the samples, and ``frechet_real`` of training images, for comparison; ``precision`` and
        ``recall``; and how many examples they come from.
    """
    judge(data)                                     # trained here, before anything is measured
    made = features(run.model.sample(samples, Rng(seed), averaged=True), data)
    real, train = real_features(data, "test"), real_features(data, "train")
    few = min(len(made), len(real), 2000)           # of each: precision and recall compare all with all
    spread = precision_recall(made[:few], real[:few])
    return {"frechet": frechet_distance(made, real), "frechet_real": frechet_distance(train, real),
            "precision": spread.precision, "recall": spread.recall, "samples": len(made), "test_images": len(real),
            "of_each_for_precision_and_recall": few}


def main(arguments: list[str] | None = None) -> None:
    """Train one GAN on images, and leave its figures and a grid of its samples."""
    from matplotlib.image import imsave

    parser = argparse.ArgumentParser(prog="python -m dgmlab.experiments.gans", description=main.__doc__)
    parser.add_argument("data", choices=[name for name in SETTINGS if name not in DENSITIES])
    parser.add_argument("--steps", type=int, required=True, help="the learning rates fall over them")
    parser.add_argument("--out", type=Path, required=True, help="a .json file; the grid is put beside it as .png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", choices=SCALES, default="lab")
    options = parser.parse_args(arguments)
    try:
        check_number("The number of steps", options.steps, 1, whole=True)
        if options.out.suffix != ".json" or not options.out.absolute().parent.is_dir():
            raise LabError(f"The figures cannot go to {options.out}; name a .json file in a folder that exists.")
        run = make_run(options.data, steps=options.steps, watch=False, seed=options.seed, scale=options.scale)
        began = time.process_time()
        for tick in run.steps(options.steps):
            if tick.step % 500 == 0:
                print(tick, flush=True)
        seconds = time.process_time() - began
        figures = measure(run, options.data)
    except LabError as error:
        raise SystemExit(str(error)) from None
    found = {"command": f"python -m dgmlab.experiments.gans {options.data} --steps {options.steps} "
                        f"--seed {options.seed} --scale {options.scale} --out FILE",
             **figures, "steps": run.step, "processor_seconds": round(seconds), "device": run.device.type,
             "threads": run.threads.number, "parameters": run.parameters,
             "settings": {name: value for name, value in run.spec["arguments"].items() if value is not None}
             | vars(SETTINGS[options.data]), "versions": versions()}
    write_atomically(options.out, (json.dumps(found, indent=1) + "\n").encode())
    picture = grid(run.model.sample(60, Rng(0), averaged=True), columns=10)
    with beside(options.out.with_suffix(".png")) as path:
        imsave(path, 1 - picture, cmap="gray", vmin=0, vmax=1, format="png")
    print(json.dumps(found, indent=1))


def grid(images: Tensor, columns: int) -> np.ndarray:
    """Images (N, 1, H, W) of one channel in one picture, row by row, N a multiple of ``columns``."""
    n, _, height, width = images.shape
    rows = images.reshape(n // columns, columns, height, width).transpose(1, 2)         # (rows, H, columns, W)
    return rows.reshape(n // columns * height, columns * width).clamp(0, 1).numpy(force=True)


if __name__ == "__main__":
    main()
