"""What is right in the exercises of lab 01, generator networks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy import stats

from ..errors import LabError
from ..experiments.generators import cdf, local_rank
from ..models.generator import density
from ..models.sample_matching import TanhUnits, discrepancy
from ..rng import Rng
from . import NotYet, array, calls, close, exercise, number

CODES = 10_001              # equally likely codes at which a function's output is compared with what it should be
BELOW = 0.3                 # the mass that 01.3 asks for below the gap
GAP = 0.5                   # and the gap's half width
PHI = stats.norm.cdf


@exercise("01.1")
def turn_into(to_uniform, to_exponential) -> str:
    """Functions that turn N(0, 1) into a uniform and an exponential distribution; rising, falling or folded."""
    levels = (np.arange(CODES) + 0.5) / CODES
    z = stats.norm.ppf(levels)
    tasks = (("to_uniform", to_uniform, stats.uniform, "uniform on (0, 1)"),
             ("to_exponential", to_exponential, stats.expon, "exponential with rate 1"))
    for name, function, wanted, words in tasks:
        x = _outputs(function, z, name)
        if not np.allclose(x, _outputs(function, z, name), rtol=1e-9, equal_nan=True):
            raise NotYet(f"{name} answers the same codes differently when it is called again. G draws nothing: all "
                         "randomness is in z.")
        if not np.isfinite(x[1:-1]).all():
            raise NotYet(f"{name} is not finite for some codes between {z[1]:.1f} and {z[-2]:.1f}.")
        x = np.sort(x[np.isfinite(x)])
        off = np.abs(wanted.cdf(x) - (np.arange(len(x)) + 0.5) / len(x)).max()
        if off > 2e-3:
            raise NotYet(f"{name} is not {words}: somewhere the share of outputs below x is off by {off:.3f}. "
                         + _distribution_hint(name, x, z, off))
    return ("x = F⁻¹(Φ(z)), or the falling F⁻¹(Φ(−z)): Φ makes all levels equally likely, F⁻¹ looks up the x that "
            "belongs to a level. Folded functions can do it, too.")


def _outputs(function, z: np.ndarray, name: str) -> np.ndarray:
    """What a student's function makes of codes (n,): given as an array, as a tensor, or one by one."""
    hint = None
    for argument in (z.copy(), torch.from_numpy(z.copy())):
        try:
            return array(calls(function, argument, what=name), f"What {name} returns", (len(z),))
        except NotYet as first:
            hint = hint or first
    try:
        return np.array([number(calls(function, float(one), what=name), f"What {name} returns") for one in z])
    except NotYet:
        raise hint from None


def _distribution_hint(name: str, x: np.ndarray, z: np.ndarray, off: float) -> str:
    z = np.sort(z)
    if name == "to_uniform":
        if x.min() < -1e-9 or x.max() > 1 + 1e-9:
            return f"It reaches from {x.min():.2f} to {x.max():.2f}: which function squeezes z into (0, 1)?"
        if np.allclose(x, 1 / (1 + np.exp(-z)), atol=1e-4):
            return "The logistic sigmoid resembles Φ, but it is not the distribution function of N(0, 1)."
        return "Which function of z says what share of all codes lies below z?"
    if x.min() < -1e-6:
        if np.abs(stats.expon.cdf(np.sort(-x)) - (np.arange(len(x)) + 0.5) / len(x)).max() < 5e-3:
            return "All that is wrong is the sign: it is minus an exponential. Turn the sign."
        return f"It reaches down to {x.min():.2f}, but an exponential is never negative."
    if np.allclose(x, np.exp(z), rtol=1e-3):
        return "exp(z) is log-normal. Begin with the uniform and ask which x has that level: 1 − exp(−x) = u."
    if x.mean() > 0 and np.abs(stats.expon.cdf(x / x.mean()) - (np.arange(len(x)) + 0.5) / len(x)).max() < 5e-3:
        return f"It is exponential, but its mean is {x.mean():.2f}; at rate 1 the mean is 1."
    return "Begin with the uniform of the first part, u, and solve F(x) = 1 − exp(−x) = u for x."


@exercise("01.2")
def folded_density(p, x0=1.0) -> str:
    """The density of x = z^3 - 3z at a point, from all of its pre-images."""
    x0 = number(x0, "The point")
    roots = np.roots([1.0, 0.0, -3.0, -x0])
    z = np.sort(roots[np.abs(roots.imag) < 1e-9].real)
    slope, prior = 3 * z**2 - 3, stats.norm.pdf(z)
    truth = density(lambda z: z**3 - 3 * z, torch.tensor([x0], dtype=torch.float64)).item()
    answer = number(p, "The density")
    if close(answer, truth, rel=5e-3):
        return f"{len(z)} codes become {x0:g}, and each adds N(z) / |G'(z)|: " + " + ".join(
            f"{a:.4f}" for a in prior / np.abs(slope)) + f" = {truth:.4f}."
    wrong = {"the prior's density alone, without the slopes": prior.sum(),
             "a product with the slope. Where G is steep its output is spread thin: divide": (prior * abs(slope)).sum(),
             "a sum with signed slopes. A falling branch adds density as a rising one does: take |G'|":
                 (prior / slope).sum()}
    for what, value in wrong.items():
        if close(answer, value, rel=5e-3):
            raise NotYet(f"{answer:.4f} is {what}.")
    parts = prior / np.abs(slope)
    for k in range(1, len(z)):
        if any(close(answer, parts[list(some)].sum(), rel=5e-3) for some in _subsets(len(z), k)):
            raise NotYet(f"{answer:.4f} is what {k} of the pre-images add{'s' if k == 1 else ''}. How often does the "
                         "curve cross that height?")
    if close(answer, np.log(truth), rel=5e-3):
        raise NotYet("That is the logarithm of the density; the density itself is asked for.")
    raise NotYet(f"The density at x = {x0:g} is not {answer:.4f}. Find all z with z³ − 3z = {x0:g} and the slope "
                 "3z² − 3 at each, and add up N(z) / |slope|.")


def _subsets(n: int, k: int):
    from itertools import combinations

    return combinations(range(n), k)


@exercise("01.3")
def two_masses(weights) -> str:
    """Weights of two tanh units and a line with a given mass on either side of a nearly empty gap."""
    weights = weights.weights() if hasattr(weights, "weights") else weights
    if not isinstance(weights, Mapping):
        raise NotYet("The weights should be a dictionary as `hand.weights()` returns it, with offset, slope, height, "
                     "steepness and place.")
    names = {"offset", "slope", "height", "steepness", "place"}
    if set(weights) - names or not weights:
        raise NotYet("The dictionary should have the keys offset, slope, height, steepness and place; it has "
                     f"{', '.join(map(str, weights)) or 'none'}.")
    plain = {}
    for name, value in weights.items():
        values = array(value, f"The {name}").reshape(-1)
        plain[name] = float(values[0]) if name in ("offset", "slope") else values.tolist()
    try:
        network = TanhUnits(**plain)
    except LabError as error:
        raise NotYet(str(error)) from None
    below, above = cdf(network, torch.tensor([-GAP, GAP])).tolist()
    gap, above = above - below, 1 - above
    says = f"Below −{GAP:g} lies {below:.3f} of the mass, between −{GAP:g} and {GAP:g} {gap:.3f}, above it {above:.3f}"
    if gap > 0.02:
        raise NotYet(f"{says}. The gap should hold less than 0.02: pass it more steeply, or with a higher step.")
    if abs(below - BELOW) > 0.03:
        if abs(above - BELOW) <= 0.03:
            raise NotYet(f"{says}: the right masses, on the wrong sides. Turn the step over, or move its place.")
        raise NotYet(f"{says}. What lies below the gap are the codes below the step's place. A share of 0.16 of all "
                     f"codes lies below z = −1 and 0.5 below z = 0; move the place to where it is {BELOW:g}.")
    return (f"{says}. The height of a step says where the peaks are, its place what mass each gets: Φ(−0.52) = 0.3. No "
            "steepness empties the gap: a continuous G passes through it.")


@exercise("01.4")
def only_a_curve(G) -> str:
    """A function of two code numbers whose outputs fill only a curve of the plane."""
    codes = Rng(0).normal((200, 2))
    try:
        x = _points(G, codes.clone(), "G")
    except NotYet as hint:
        if "dtype" not in str(hint).lower():
            raise
        x = _points(G, codes.double(), "G")
    if np.ptp(x, 0).max() < 1e-6:
        raise NotYet("Your G makes the same point of every code: that fills no curve, its Jacobian has rank 0.")

    def double(z):
        try:
            out = G(z)
        except RuntimeError:                # its own tensors are in single precision
            out = G(z.float())
        return out if isinstance(out, torch.Tensor) else torch.stack(list(out), -1)

    try:
        rank = local_rank(double, codes.double())
    except Exception as error:
        raise NotYet("The Jacobian of your G cannot be computed: write it with torch functions of the whole batch, "
                     f"such as z[:, 0] and torch.stack ({type(error).__name__}).") from None
    if (rank == 2).any():
        raise NotYet(f"At {int((rank == 2).sum())} of 200 codes the Jacobian of your G has rank 2: there it moves in "
                     "both directions of the plane. Let both outputs depend on the code through one and the same "
                     "number.")
    jacobian = torch.func.vmap(torch.func.jacrev(lambda one: double(one[None])[0]))(codes.double())
    if (jacobian.abs().amax((0, 1)) < 1e-9).any():
        raise NotYet("The samples do lie on a curve, but one of the two code numbers is not used at all. Use both.")
    return ("Two numbers go in, but only one way leads out of every point: the rank of the Jacobian, not the size of "
            "the code, counts the dimensions of what comes out.")


def _points(function, codes, name: str) -> np.ndarray:
    out = calls(function, codes, what=name)
    if isinstance(out, (tuple, list)) and len(out) == 2 and len(codes) != 2:
        raise NotYet(f"{name} returns two columns; put them together, torch.stack([first, second], 1).")
    return array(out, f"What {name} returns", (len(codes), 2))


@exercise("01.5")
def own_energy_distance(energy) -> str:
    """The student's estimate of the energy distance of two samples on the line, against the package's."""
    rng, d = Rng(5), lambda a, b: (a[:, None] - b).abs().double()
    cases = [(rng.normal((40,)), 1.5 + 2 * rng.normal((40,))), (rng.uniform((25,)), rng.uniform((60,)) - 3),
             (rng.normal((30,)), rng.normal((30,)))]
    for x, y in cases:
        found = None
        for a, b in ((x.clone(), y.clone()), (x.numpy().copy(), y.numpy().copy()),
                     (x[:, None].clone(), y[:, None].clone())):
            try:
                found = number(calls(energy, a, b, what="energy"), "What energy returns")
                break
            except NotYet as hint:
                first = hint
        if found is None:
            raise first
        truth = discrepancy(x[:, None].double(), y[:, None].double()).item()
        if close(found, truth, rel=1e-3, abs=1e-4):
            continue
        between, wx, wy = d(x, y).mean().item(), d(x, x), d(y, y)
        n, m = len(x), len(y)
        biased = 2 * between - wx.mean().item() - wy.mean().item()
        ux, uy = wx.sum().item() / n / (n - 1), wy.sum().item() / m / (m - 1)
        says = f"For samples of {n} and {m} points your function returns {found:.4f}"
        wrong = {"the pairs of a point with itself are counted. There are n(n − 1) pairs of different points": biased,
                 "E|x − y| must be counted twice, or the samples seem closer than they are": between - ux - uy,
                 "the sign is turned round: far samples should get a large value": -truth,
                 "that is the square root; leave it out": math.sqrt(abs(truth)),
                 "what is asked for is twice that": truth / 2,
                 "only the pairs between the two samples are counted. Those within each sample must be taken off, or "
                 "all samples would do best on one point": 2 * between,
                 "only the pairs between the two samples are counted, and once; those within each sample must be taken "
                 "off": between,
                 "differences of opposite sign cancel. Take their absolute values before the mean":
                     2 * (x.mean() - y.mean()).item(),
                 "that is what squared differences give, and it sees the two means alone. Take absolute values":
                     (2 * d(x, y).square().mean() - wx.square().sum() / n / (n - 1)
                      - wy.square().sum() / m / (m - 1)).item(),
                 "what is taken off for the pairs within a sample is twice too much. x_i with x_j and x_j with x_i are "
                 "both in the sum over all pairs, so divide it by n(n − 1), not by half of that":
                     2 * between - 2 * (ux + uy),
                 "what is taken off for the pairs within a sample is half of what it should be. If each pair is summed "
                 "once, there are n(n − 1)/2 of them": 2 * between - 0.5 * (ux + uy)}
        if n == m:
            wrong["x_i is compared with y_i alone; compare each x_i with every y_j, by x[:, None] - y"] = \
                2 * (x - y).abs().double().mean().item() - ux - uy
        for hint, value in wrong.items():
            if close(found, value, rel=1e-3, abs=1e-5):
                raise NotYet(f"{says}: {hint}.")
        raise NotYet(f"{says}, but the estimate is {truth:.4f}. Take the mean of |x_i − y_j| over all pairs, and those "
                     "of |x_i − x_j| and |y_i − y_j| over all pairs of different points.")
    return ("All of it comes from samples. Its slope with respect to each sample says which way that sample should "
            "move, and G's weights learn from that.")
