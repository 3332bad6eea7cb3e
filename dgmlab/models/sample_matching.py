"""Train a generator by a criterion on its samples, with no likelihood in it.

Two samples are compared through a kernel k, a number for how alike two points are:

    MMD^2(P, Q)  =  E k(x, x')  +  E k(y, y')  -  2 E k(x, y),        x, x' ~ P,   y, y' ~ Q            (1)

the squared *maximum mean discrepancy* (Gretton et al. 2012, JMLR 13:723-773, lemma 6). With k(x, y) = -|x - y| it is
the *energy distance* (Szekely & Rizzo 2013, J. Stat. Plan. Inference 143:1249-1272), which is 0 only if P = Q and has
no width to choose (that it is an MMD: Sejdinovic et al. 2013, Ann. Stat. 41:2263-2291). If x = G(z), the slope of (1)
with respect to the weights of G goes through the samples, which is all that a generator needs to learn (Li, Swersky &
Zemel 2015, arXiv:1502.02761; Dziugaite, Roy & Ghahramani 2015, arXiv:1505.03906).

Letters: B batch, M and N sizes of the samples, L latent dimensions, D numbers in an example.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import LabError, check_number
from ..knobs import Choice, Real, Whole
from ..rng import Rng
from .recipe import LearningRate, Recipe

CRITERIA = ("energy distance", "MMD")


def distances(x: Tensor, y: Tensor) -> Tensor:
    """|x_i - y_j|, (M, D) and (N, D) -> (M, N); its slope is taken as 0 where two points coincide."""
    if x.shape[1] <= 4:
        return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")
    # |x|^2 + |y|^2 - 2 xy is ten times faster; it is inexact only for points much closer than images ever are.
    square = x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.T
    return square.clamp(min=1e-8).sqrt()


def discrepancy(x: Tensor, y: Tensor, width: float | Tensor | None = None) -> Tensor:
    """An unbiased estimate of (1) from two samples (M, ...) and (N, ...); a scalar, below 0 by chance where P = Q.

    Args:
        width: of the Gaussian kernel k = exp(-|x - y|^2 / (2 width^2)), in units of the data; the estimate is then
            that of Gretton et al. (2012), eq. 3. None for k = -|x - y|: the energy distance, in units of the data.
    """
    if min(len(x), len(y)) < 2 or x.shape[1:] != y.shape[1:]:
        raise LabError(f"The samples have the shapes {tuple(x.shape)} and {tuple(y.shape)}, but two samples of the "
                       "same kind are needed, with two or more examples in each.")

    def kernel(a, b):
        d = distances(a.flatten(1), b.flatten(1))
        return -d if width is None else (d.square() / (-2 * width**2)).exp()

    def within(a):                                          # a point is not compared with itself
        k = kernel(a, a)
        return (k.sum() - k.diagonal().sum()) / (len(a) * (len(a) - 1))

    return within(x) + within(y) - 2 * kernel(x, y).mean()


class MatchingKnobs(LearningRate):
    """What can be changed while a generator learns from its samples."""

    lr = Real(5e-3, 0.0, 1.0, "learning rate", log=True, slider=(1e-4, 5e-2))
    criterion = Choice("energy distance", CRITERIA, "criterion")
    width = Real(1.0, 1e-3, 1e3, "kernel width", symbol="σ", log=True, slider=(0.02, 20),
                 help="of the MMD's Gaussian kernel, in units of the data; the energy distance has none")
    batch = Whole(256, 2, 100_000, "samples a step", slider=(4, 256),
                  help="as many data points, and as many samples of the generator")


class SampleMatching(Recipe):
    """A generator that learns to make samples like the data's.

    Args:
        generator: a module with ``latent`` (L) that maps codes (B, L) to examples (B, ...): a
            :class:`~dgmlab.models.generator.Generator` or :class:`TanhUnits`.
    """

    Knobs = MatchingKnobs
    baked_knobs = ("width",)

    def __init__(self, generator: nn.Module):
        super().__init__()
        if not hasattr(generator, "latent"):
            raise LabError(f"{type(generator).__name__} does not say how many numbers its code has; give the module an "
                           "attribute `latent`.")
        self.generator = generator

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """The criterion between ``batch[0]`` (B, ...) and as many samples; only the first ``knobs.batch`` are used."""
        data = batch[0][:knobs.batch]
        samples = self.generator(rng.normal((len(data), self.generator.latent)))
        return {"loss": discrepancy(samples, data, knobs.width if knobs.criterion == "MMD" else None)}


class TanhUnits(nn.Module):
    """One number in, one number out, and every weight visible in the curve:

        G(z)  =  offset  +  slope z  +  sum_k  height_k tanh(steepness_k (z - place_k))

    a network with one hidden layer (input weights steepness_k, biases -steepness_k place_k, output weights height_k)
    and a direct connection from input to output.

    Args:
        offset, slope: numbers.
        height, steepness, place: K numbers each.
    """

    latent, shape = 1, (1,)

    def __init__(self, offset: float = 0.0, slope: float = 1.0, height=(0.0, 0.0), steepness=(2.0, 2.0),
                 place=(-1.0, 1.0)):
        super().__init__()
        for name, value in (("offset", offset), ("slope", slope)):
            check_number(f"The {name}", value)
            setattr(self, name, nn.Parameter(torch.tensor(float(value))))
        units = {"height": height, "steepness": steepness, "place": place}
        if len({len(values) for values in units.values()}) != 1:
            raise LabError("The units have " + ", ".join(f"{len(v)} numbers for the {k}" for k, v in units.items()) +
                           "; give one number a unit for each of them.")
        for name, values in units.items():
            for value in values:
                check_number(f"A unit's {name}", value)
            setattr(self, name, nn.Parameter(torch.tensor([float(value) for value in values])))

    def forward(self, z: Tensor) -> Tensor:
        """(..., 1) -> (..., 1)"""
        units = torch.tanh(self.steepness * (z - self.place))                       # (..., K)
        return self.offset + self.slope * z + (units * self.height).sum(-1, keepdim=True)

    def weights(self) -> dict:
        """The weights by name, as plain numbers: ``TanhUnits(**units.weights())`` is a copy."""
        return {name: value.tolist() for name, value in self.named_parameters()}
