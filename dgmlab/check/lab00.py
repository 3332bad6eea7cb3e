"""What is right in the exercises of lab 00, start here."""

from __future__ import annotations

import functools

import numpy as np

from ..data import load
from ..data.milestones import milestones
from ..experiments.growth import growth
from ..experiments.memorising import SAMPLES, trained
from ..metrics.memorising import neighbours
from ..models.nets import mlp
from ..rng import Rng
from . import NotYet, calls, choice, close, exercise, number

NUMBERS = (5, 10, 20, 40, 80, 160, 320)     # of training images, among which 00.3 asks for the first
HALF = 0.5                                  # the ratio that it asks for
VERDICTS = {"copies": ("copy", "copied", "memorised", "memorized", "memorising"),
            "new": ("not copies", "no copies", "generates", "generated", "generating")}


@exercise("00.1")
def count_parameters(count) -> str:
    """The number of parameters of linear layers of the given sizes, held against torch's own modules."""
    for sizes in ([64, 256, 4], [2, 256, 64], [3, 1], [10, 10, 10, 10, 10], [784, 500, 300, 20]):
        truth = sum(p.numel() for p in mlp(sizes).parameters())
        found = number(calls(count, sizes, what="count"), f"count({sizes})")
        if close(found, truth):
            continue
        weights = sum(a * b for a, b in zip(sizes, sizes[1:]))
        says = f"For {sizes} the modules hold {truth:,} parameters, but your function returns {found:,.0f}"
        if close(found, weights):
            raise NotYet(f"{says}: the weights alone. Each layer also has a bias for each of its outputs.")
        if close(found, weights + sum(sizes)):
            raise NotYet(f"{says}: a bias for each input as well. The first size is no layer's output.")
        if close(found, weights + sum(sizes[:-1])):
            raise NotYet(f"{says}: the biases are counted at the layers' inputs. They belong to the outputs.")
        if close(found, weights + len(sizes) - 1):
            raise NotYet(f"{says}: one bias a layer. There is one for each *output* of a layer.")
        if close(found, float(np.prod(sizes))):
            raise NotYet(f"{says}, the product of all sizes. A layer connects only two neighbouring sizes: add up over "
                         "the layers.")
        if close(found, sizes[0] * sizes[1] + sizes[1]):
            raise NotYet(f"{says}: the first layer alone. Add up over all pairs of neighbouring sizes.")
        raise NotYet(f"{says}. A layer from a to b numbers has a · b weights and b biases.")
    return ("A layer from a to b numbers has (a + 1) · b parameters. With neighbouring layers twice as wide, the one "
            "between them has about four times as many.")


@exercise("00.2")
def judge_copies(judge) -> str:
    """Whether a judge tells copies from new images, on cases that were made to be one or the other."""
    data = load("digits")
    train, held_out, fresh = data.train.x, data.valid.x, data.test.x
    noise = 0.03 * Rng(0).normal(tuple(fresh[:100].shape))
    cases = [("exact copies of training images", "copies", (train[:100], train, held_out)),
             ("real images that were in neither set", "new", (fresh, train, held_out)),
             ("copies of training images with a little noise (0.03 in each pixel)", "copies",
              (train[100:200] + noise, train, held_out)),
             ("copies of 10 training images", "copies", (train[:10].repeat(10, 1, 1, 1) + noise, train[:10], held_out)),
             ("real images, where the training set holds only 10", "new", (fresh, train[:10], held_out)),
             ("copies, all pixels of all three sets multiplied by 10", "copies",
              (10 * (train[100:200] + noise), 10 * train, 10 * held_out)),
             ("real images, all pixels of all three sets divided by 10", "new",
              (fresh / 10, train / 10, held_out / 10)),
             ("copies, where only 20 images were held out", "copies", (train[300:400] + noise, train, held_out[:20]))]
    wrong = []
    for name, truth, (new, training, held) in cases:
        said = choice(calls(judge, new.clone(), training.clone(), held.clone(), what="judge"), VERDICTS,
                      "What your judge returns")
        if said != truth:
            wrong.append((name, truth, said))
    if wrong:
        name, truth, said = wrong[0]
        hint = "Is the distance to the *nearest* training image held against the same of the held-out images?"
        if {said for _, _, said in wrong} == {"new"} and len(wrong) == sum(truth == "copies" for _, truth, _ in cases):
            hint = ("It never finds copies. For each new image take the distance to its *nearest* training image; the "
                    "mean over all training images is much the same for a copy and for a new image.")
        elif {truth for _, truth, _ in wrong} == {"new"} and choice(
                calls(judge, fresh + 1, train, held_out, what="judge"), VERDICTS, "What your judge returns") == "new":
            hint = ("New images lie now a little farther from the training images than held-out ones, now a little "
                    "nearer; copies lie *much* nearer. Leave a margin.")
        elif any("multiplied" in name or "divided" in name or "only 10" in name for name, _, _ in wrong) and \
                not any("neither" in name or "exact" in name for name, _, _ in wrong):
            hint = ("What counts as near depends on the unit of the pixels and on how many training images there are; "
                    "the held-out images tell what is usual here.")
        elif {truth for _, truth, _ in wrong} == {"new"} and len(wrong) == sum(truth == "new" for _, truth, _ in cases):
            hint = "It finds copies everywhere. Which way round is the comparison?"
        raise NotYet(f"It judges {len(cases) - len(wrong)} of {len(cases)} cases rightly. For instance, it calls "
                     f"{name} {said!r}. {hint}")
    return (f"All {len(cases)} cases. It would not notice a model that makes one new image over and over, or new "
            "images that are no digits: copies are one failure among several.")


@exercise("00.3")
def enough_images(smallest, *, width: int, steps: int, seed: int) -> str:
    """The first of :data:`NUMBERS` at which new images lie at more than half the distance of held-out ones."""
    smallest = number(smallest, "The number of images")
    if smallest not in NUMBERS:
        raise NotYet(f"The number of images should be one of {', '.join(map(str, NUMBERS))}, but it is {smallest:g}.")
    for n in (n for n in NUMBERS if n < smallest):
        if ratio(n, width, steps, seed) > HALF:
            raise NotYet(f"With {smallest:.0f} images they are no copies, but that holds for fewer too; the *smallest* "
                         "number is asked for.")
    here = ratio(int(smallest), width, steps, seed)
    if here <= HALF:
        raise NotYet(f"With {smallest:.0f} images the ratio is {here:.2f}, not above {HALF}; take more.")
    n, parameters = int(smallest), sum(p.numel() for p in trained(1, width, 0, seed).model.parameters())
    return (f"With {n} images the ratio is {here:.2f}. There N·D = {n * 64:,}, while P = {parameters:,}: samples "
            f"are no longer copies {'long before' if parameters > 4 * n * 64 else 'about where'} the images hold as "
            "many numbers as the model has parameters.")


@functools.lru_cache(maxsize=64)
def ratio(images: int, width: int, steps: int, seed: int) -> float:
    run = trained(images, width, steps, seed)
    return neighbours(run.model.sample(SAMPLES, Rng(1)), run.images, run.data.valid.x).ratio


@exercise("00.4")
def fragile_growth(name, factor) -> str:
    """The autoregressive model whose absence changes the factor per year most, and the factor without it."""
    found = [m for m in milestones() if m.family == "autoregressive"]
    everything = growth([m.year for m in found], [m.parameters for m in found]).factor
    without = {m.name: _factor([other for other in found if other is not m]) for m in found}
    most = max(without, key=lambda key: abs(np.log(without[key] / everything)))
    said = choice(name, {key: (key.split("-")[0],) if key.startswith(("LSTM", "Megatron")) else () for key in without},
                  "The model")
    value = number(factor, "The factor per year")
    if said != most:
        raise NotYet(f"Without {said} the factor per year is {without[said]:.3f}, against {everything:.3f} with all; "
                     "the absence of another model changes it more.")
    truth = without[most]
    if close(value, truth, rel=0.01):
        months = [12 * np.log(2) / np.log(rate) for rate in (truth, everything)]
        return (f"Without {most} it is {truth:.2f} a year (a doubling in {months[0]:.0f} months), with it "
                f"{everything:.2f} (in {months[1]:.0f} months): one of {len(found)} models decides what the others "
                "seem to say.")
    if close(value, everything, rel=0.01):
        raise NotYet(f"That is the factor of all {len(found)} models. Leave {most} out and fit again.")
    if close(value, np.log10(truth), rel=0.02) or close(value, np.log(truth), rel=0.02):
        raise NotYet("That is the slope of a logarithm. The factor per year is the base to the power of the slope, or "
                     "growth(...).factor.")
    if close(value, truth / everything, rel=0.01) or close(value, truth - everything, rel=0.01):
        raise NotYet("That compares the factors with and without it; give the factor without it.")
    raise NotYet(f"The model is {most}, but the factor without it is not {value:.3g}. Give growth() the years and the "
                 "parameters of the other autoregressive models only.")


def _factor(models) -> float:
    return growth([m.year for m in models], [m.parameters for m in models]).factor
