"""Lab 01: generator networks, hand-made and trained on their samples.

In one dimension everything about a generator can be computed: its output's density (:mod:`dgmlab.models.generator`),
its distribution function (:func:`cdf`), and how far it is from the data's (:func:`total_variation`). None of this is
used in training, which sees samples only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ..data import load
from ..data.densities import GaussianMixture
from ..data.densities import density as named_density
from ..errors import LabError, check_choice, check_number
from ..metrics.samples import modes_covered  # noqa: F401  (the labs look for it here)
from ..models.generator import LIMIT, Generator, density, preimages
from ..models.sample_matching import SampleMatching, TanhUnits, discrepancy
from ..rng import Rng
from ..training import Run, TensorBatches
from . import recorded
from .claims import INFINITE, Claim

SCALES = ("smoke", "lab", "paper")
LINE = {"two peaks": {"means": (-1.5, 1.5), "sds": (0.4, 0.4), "weights": (0.3, 0.7)},
        "three peaks": {},                                          # the default of densities.mixture
        "spike on a hill": {"means": (0.0, 1.0), "sds": (1.0, 0.1), "weights": (0.7, 0.3)}}
PLANE = ("moons", "ring", "grid", "spiral", "checkerboard")
DRAWN = 50_000          # examples drawn from a density to train on
BINS = 400              # of the exact comparison with the data, over the data's extent


@recorded
def make_run(target: str = "two peaks", latent: int = 1, hidden: tuple = (32, 32), start: dict | None = None,
             criterion: str = "energy distance", width: float = 1.0, lr: float = 5e-3, batch: int = 256, seed: int = 0,
             scale: str = "lab", device: str = "auto", folder: str | None = None) -> Run:
    """A generator ready to be trained on its samples.

    Args:
        target: what to imitate: a density on the line (:data:`LINE`) or in the plane (:data:`PLANE`), or a data set
            that :func:`dgmlab.data.load` knows.
        latent, hidden: see :class:`~dgmlab.models.generator.Generator`.
        start: weights of a :class:`~dgmlab.models.sample_matching.TanhUnits` to start from; on the line only. None for
            a network with random weights.
        criterion, width, lr, batch: start values of the knobs.
        scale: ``paper`` trains with twice the hidden units.

    Returns:
        The run; ``run.target`` is the density, or None, and ``run.data`` the data set, or None.
    """
    check_choice("scale", scale, SCALES)
    check_number("The number of samples a step", batch, 2, whole=True)
    hidden = tuple(2 * size for size in hidden) if scale == "paper" else tuple(hidden)
    line, plane = target in LINE, target in PLANE
    goal = line_target(target) if line else named_density(target) if plane else None
    data = None if goal else load(target)
    x = goal.sample(DRAWN, seed) if goal else data.train.x
    if start is not None:
        if not line or latent != 1:
            raise LabError(f"Weights to start from were given for {target!r} and {latent} latent dimensions, but they "
                           f"are those of one number in, one number out; choose a target among {', '.join(LINE)}.")
        build = partial(TanhUnits, **start)
    else:
        build = partial(Generator, latent, (1,) if line else (2,) if plane else data.shape, hidden,
                        activation="tanh" if goal else "relu", output="linear" if goal else "sigmoid")
    batches = TensorBatches(x, min(max(batch, 256), len(x)))
    knobs = {"criterion": criterion, "width": width, "lr": lr, "batch": batch}
    run = Run(lambda: SampleMatching(build()), batches, knobs=knobs, seed=seed, device=device, folder=folder)
    run.target, run.data = goal, data
    return run


def line_target(name: str) -> GaussianMixture:
    """The density of that name on the line."""
    check_choice("The target", name, LINE)
    return named_density("mixture", **LINE[name])


# -- exact, on the line --------------------------------------------------------------------------------------------


def as_function(generator) -> Callable[[Tensor], Tensor]:
    """What the generator does to codes, (P,) -> (P,) in double precision, for :func:`density` and :func:`cdf`.

    Args:
        generator: a module with one number in and one number out, or a function of a tensor (P,).
    """
    if not isinstance(generator, torch.nn.Module):
        return generator
    if getattr(generator, "latent", None) != 1 or tuple(getattr(generator, "shape", ())) != (1,):
        raise LabError("An exact density needs one number in, one number out; this generator has "
                       f"{getattr(generator, 'latent', 'an unknown number of')} latent dimensions and examples of "
                       f"shape {getattr(generator, 'shape', 'unknown')}.")
    twin = _double(generator)
    return lambda z: twin(z[:, None])[:, 0]


def cdf(generator, x: Tensor) -> Tensor:
    """P(G(z) <= x) for z ~ N(0, 1) at the points x (M,) -> (M,) float64, exactly: where G crosses x upwards the codes
    below the crossing count, where it crosses downwards those above."""
    function = as_function(generator)
    which, z = preimages(function, x)
    with torch.no_grad():
        upwards = (function(z + 3e-4) - function(z - 3e-4)).sign().double()             # +1 or -1, (P,)
        crossed = torch.zeros(len(x), dtype=torch.float64).index_add(0, which, upwards * _phi(z))
        last = function(torch.tensor([LIMIT], dtype=torch.float64))
        return (crossed + (last <= x.double()).double()).clamp(0, 1)


def total_variation(generator, target: GaussianMixture, bins: int = BINS) -> float:
    """The total variation distance between the generator's output and the data's density: the share of the mass that
    lies in the wrong place, 0 (equal) to 1 (nothing in common).

    Both are exact (no samples), but compared over bins of the data's extent and the two ends beyond it. Finer bins can
    only raise it.
    """
    edges = torch.linspace(*target.extent, bins + 1, dtype=torch.float64)
    ours, theirs = (torch.diff(c, prepend=c.new_zeros(1), append=c.new_ones(1))
                    for c in (cdf(generator, edges), target_cdf(target, edges)))
    return 0.5 * (ours - theirs).abs().sum().item()


def target_cdf(target: GaussianMixture, x: Tensor) -> Tensor:
    """P(data <= x) of a mixture on the line at the points x (M,) -> (M,)."""
    return (_phi((x.double()[:, None] - target.means[:, 0]) / target.sds) * target.weights).sum(1)


def best_generator(target: GaussianMixture, z: Tensor) -> Tensor:
    """The rising G that turns N(0, 1) into the target exactly: G(z) = F^-1(Phi(z)), with F the target's distribution
    function, at codes z (M,) -> (M,), by bisection."""
    level = _phi(z.double())
    low, high = (torch.full_like(level, end) for end in (2 * target.extent[0] - target.extent[1],
                                                         2 * target.extent[1] - target.extent[0]))
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = target_cdf(target, middle) < level
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return 0.5 * (low + high)


def turning_points(generator, limit: float = 4.0, nodes: int = 4001) -> Tensor:
    """The values x = G(z) at which G turns back, (T,): where its output's density is infinite."""
    function = as_function(generator)
    with torch.no_grad():
        x = function(torch.linspace(-limit, limit, nodes, dtype=torch.float64))
    rising = torch.diff(x) > 0
    return x[1:-1][rising[1:] != rising[:-1]]


# -- how many dimensions -------------------------------------------------------------------------------------------


def local_rank(generator, z: Tensor, tolerance: float = 1e-4) -> Tensor:
    """The rank of the Jacobian dG/dz at codes z (B, L): (B,), how many directions of the data the code can move in.

    Args:
        tolerance: singular values below this share of the largest count as 0.
    """
    if z.ndim != 2:
        raise LabError(f"The codes have the shape {tuple(z.shape)}, but it must be (codes, latent dimensions).")
    twin = _double(generator) if isinstance(generator, torch.nn.Module) else generator
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: twin(one[None])[0].flatten()))(z.double())   # (B, D, L)
    singular = torch.linalg.svdvals(jacobian)                                                           # falling
    return (singular > tolerance * singular[:, :1]).sum(1)


def intrinsic_dimension(x: Tensor) -> float:
    """How many dimensions a sample (n, ...) fills, from the sample alone: the *TwoNN* estimate (Facco et al. 2017,
    Scientific Reports 7:12140) from the ratio of each point's distances to its second and its first neighbour."""
    flat = x.detach().flatten(1).double()
    if len(flat) < 10:
        raise LabError(f"The sample has {len(flat)} points, but at least 10 are needed.")
    near = torch.cdist(flat, flat, compute_mode="donot_use_mm_for_euclid_dist").fill_diagonal_(math.inf)
    first, second = near.topk(2, largest=False).values.T
    keep = first > 0                                                    # the same point twice says nothing
    ratio = (second[keep] / first[keep]).log().sort().values[: int(0.9 * keep.sum())]       # without the far tail
    empirical = torch.arange(1, len(ratio) + 1, dtype=torch.float64) / int(keep.sum())
    return float((ratio * -torch.log1p(-empirical)).sum() / ratio.square().sum())


def _phi(z: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-z / math.sqrt(2))


def _double(generator):
    import copy

    return copy.deepcopy(generator).double().cpu()


# -- claims --------------------------------------------------------------------------------------------------------


def trained_without_likelihood(seed: int) -> dict[str, float]:
    """Total variation to the data before and after training on samples by the energy distance."""
    run = make_run("two peaks", seed=seed)
    before = total_variation(run.model.generator, run.target)
    for _ in run.steps(1000):
        pass
    after = total_variation(run.model.generator, run.target)
    return {"before": before, "after": after, "ratio": after / before}


def narrow_kernel_on_digits(seed: int) -> dict[str, float]:
    """The energy distance between samples and held-out digits after training by it, and by MMDs of a narrow kernel and
    of one as wide as the distance between digits."""
    found = {}
    for name, options in {"energy": {}, "narrow": {"criterion": "MMD", "width": 0.3},
                          "wide": {"criterion": "MMD", "width": 2.0}}.items():
        run = make_run("digits", 8, (256, 256), lr=2e-3, seed=seed, **options)
        for _ in run.steps(200):
            pass
        found[name] = discrepancy(run.model.generator.sample(1000, Rng(seed)), run.data.valid.x).item()
    return found | {"narrow_to_energy": found["narrow"] / found["energy"]}


NODES_PER_BIN = 256     # near-turning points are spikes: with 16 nodes they were missed, with 512 nothing changes


def density_against_samples(seed: int, networks: int = 20, samples: int = 200_000) -> dict[str, float]:
    """Chi-square per degree of freedom of histograms of samples against the exact density, integrated over each bin
    (Gauss-Legendre), for folded random networks; bins that hold a turning value are left out."""
    import numpy as np

    rng = Rng(seed)
    nodes, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(NODES_PER_BIN))
    chi, freedom, folded = 0.0, 0, 0
    for _ in range(networks):
        a = rng.normal((2,)).tolist()
        units = [(1.5 * rng.normal((2,))).tolist(), (0.5 + 2 * rng.uniform((2,))).tolist(), rng.normal((2,)).tolist()]
        network = TanhUnits(a[0], a[1], *units)
        function = as_function(network)
        x = function(rng.normal((samples,)).double()).detach()
        edges = torch.linspace(*torch.quantile(x[:100_000], torch.tensor([0.01, 0.99]).double()), 101).double()
        turns = turning_points(network, limit=LIMIT)
        folded += len(turns) > 0
        half = (edges[1] - edges[0]) / 2
        middle = (edges[1:] + edges[:-1]) / 2
        inside = (middle[:, None] + half * nodes).flatten()                                         # (100 * nodes,)
        p = density(function, inside).reshape(100, -1) @ (weights * half)                           # (100,)
        clear = (turns[:, None] - middle).abs().amin(0) > 3 * half if len(turns) else torch.ones(100, dtype=torch.bool)
        counts = torch.histc(x, 100, edges[0].item(), edges[-1].item())
        use = clear & (p * samples > 20)
        expected = (p * samples)[use]
        chi += ((counts[use] - expected).square() / (expected * (1 - p[use]))).sum().item()
        freedom += int(use.sum())
    return {"chi_square": chi / freedom, "folded": folded / networks}


def dimension_of_samples(seed: int) -> dict[str, float]:
    """How many dimensions the samples of trained generators fill, for codes of one and of two numbers."""
    found = {}
    for latent in (1, 2):
        run = make_run("moons", latent=latent, seed=seed)
        for _ in run.steps(500):
            pass
        generator = run.model.generator
        found[f"dimension_{latent}"] = intrinsic_dimension(generator.sample(2000, Rng(seed)))
        found[f"rank_{latent}"] = local_rank(generator, Rng(seed).normal((200, latent))).double().mean().item()
    return found


_TRAINED = ("Data: 50,000 draws of the density 'two peaks' on the line. Generator 1-32-32-1 (tanh), Adam at 5e-3, "
            "1,000 steps of 256 data points and 256 samples. Total variation is computed exactly, between 400 bins, "
            "and never trained on.")
CLAIMS = [
    Claim("01.criterion", "Lecture, 'Generator Networks'; Li et al. 2015; Dziugaite et al. 2015",
          "A generator learns from the gradient of a criterion on its samples, with no likelihood computed anywhere.",
          trained_without_likelihood, "ratio",
          "total variation to the data after training by energy distance, as a share of that before",
          (0.0, 1 / 3), _TRAINED, no_effect=1.0, ratio=True),
    Claim("01.width", "Gretton et al. 2012, section 8; Li et al. 2015, section 3",
          "With a kernel that does not reach from one point to the next, hardly any sample feels a gradient.",
          narrow_kernel_on_digits, "narrow_to_energy",
          "energy distance to held-out digits after training by an MMD of kernel width 0.3, over that after training "
          "by the energy distance itself", (10.0, INFINITE),
          "8x8 digits, whose nearest neighbours lie about 1 apart. Generator 8-256-256-64 (ReLU, sigmoid), Adam at "
          "2e-3, 200 steps of 256 images and 256 samples; all share data, network, initial weights, steps.",
          no_effect=1.0, ratio=True,
          note="On the line, with 256 samples a step, a kernel of width 0.02 did about as well as the energy distance, "
               "also from samples far from all data: they repel each other until they meet data. With 16 samples a "
               "step it failed (total variation 0.70 to 0.99 in three seeds). What counts is whether the kernel "
               "reaches a point's nearest neighbours."),
    Claim("01.exact_density", "Lecture, 'Generator Networks: a 1-dimensional example'",
          "The density of a generator's output is the sum over all pre-images of N(z) / |G'(z)|.",
          density_against_samples, "chi_square",
          "chi-square per degree of freedom of histograms of samples against that density",
          (0.9, 1.1), "20 random networks of two tanh units and a slope, most of them folded, 200,000 samples each, "
          "100 bins, the density integrated over each with 256 nodes; bins next to a turning value are left out.",
          no_effect=None,
          note="A first measurement with 16 nodes a bin gave 1.76 in one of five seeds: the quadrature missed a narrow "
               "spike. 128 nodes gave 1.011 there, 256 and 512 nodes 1.004."),
    Claim("01.no_density", "Lecture, 'Observation Model': p(x) = 0 almost everywhere",
          "The samples of a one-number code fill one dimension of the plane, whatever the network has learnt.",
          dimension_of_samples, "dimension_1", "dimensions filled, estimated from 2,000 samples alone (TwoNN)",
          (0.9, 1.1), "Generators 1-32-32-2 and 2-32-32-2 (tanh), trained for 500 steps on the two moons by energy "
          "distance, Adam at 5e-3, batch 256.", no_effect=2.0),
    Claim("01.full_dimension", "Lecture, 'Observation Model'",
          "A code of two numbers fills both dimensions of the plane.",
          dimension_of_samples, "dimension_2", "dimensions filled, estimated from 2,000 samples alone (TwoNN)",
          (1.6, 2.2), "As for 01.no_density.", no_effect=1.0),
]
