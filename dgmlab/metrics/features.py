"""How like the data are samples, judged by the features of a classifier? Beyond the Fréchet distance.

* :func:`kernel_distance` (KID): like the Fréchet distance, but without bias, and not of means and covariances only;
* :func:`inception_score`: is each sample of one class, and are there all classes? It never looks at the data;
* :func:`precision_recall` and :func:`density_coverage`: two numbers each, one for how good the samples are, one for how
  much of the data they cover.

Letters: N samples, M real examples, F features, K classes. Distances between features are Euclidean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import LabError, check_number
from ..rng import Rng
from .frechet import check_features


class PrecisionRecall(NamedTuple):
    """Shares between 0 and 1: of samples that lie where data are, and of data that lie where samples are."""

    precision: float
    recall: float


class DensityCoverage(NamedTuple):
    """How densely data surround the samples (1 on average for real ones), and the share of data with a sample near."""

    density: float
    coverage: float


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """The squared maximum mean discrepancy with the kernel (x.y / F + 1)^3 (Bińkowski et al. 2018, arXiv:1801.01401).

    With the features of the Inception network it is called KID. No example is compared with itself, which makes the
    estimate unbiased: for two samples of one distribution it scatters about 0 and may come out negative.

    Args:
        a, b: (N, F) and (M, F), at least two examples each.
    """
    a, b = check_features(a, b)

    def kernel(x, y):
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x):
        k = kernel(x, x)
        return (k.sum() - k.diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(within(a) + within(b) - 2 * kernel(a, b).mean())


def inception_score(logits: Tensor) -> float:
    """exp(E_x KL(p(class | x) || p(class))) (Salimans et al. 2016, arXiv:1606.03498, sec. 4): 1 to K.

    p(class) is the average of p(class | x) over the samples. K means: every sample surely of one class, all classes
    equally often.

    Args:
        logits: (N, K), what the classifier makes of the samples.
    """
    logits = torch.as_tensor(logits).detach().double()
    if logits.ndim != 2 or not len(logits) or logits.shape[1] < 2:
        raise LabError(f"The logits have the shape {tuple(logits.shape)}, but (samples, classes) with at least two "
                       "classes is needed; give what the classifier returns.")
    if not bool(logits.isfinite().all()):
        raise LabError("Some logits are not finite; look at the generator's samples: it may have diverged.")
    log_p = logits.log_softmax(1)
    log_marginal = log_p.logsumexp(0) - torch.tensor(float(len(logits)), dtype=torch.float64).log()
    return float((log_p.exp() * (log_p - log_marginal)).sum(1).mean().exp())


def precision_recall(samples: Tensor, real: Tensor, k: int = 3) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991, eqs. 1 and 2).

    Around each real example lies a ball that reaches to its k-th nearest real neighbour; precision is the share of
    samples that lie in at least one ball. Recall is the same with the two sets exchanged.

    Args:
        samples, real: features (N, F) and (M, F), more than k each.
    """
    samples, real = check_features(samples, real)
    return precision_recall_of(_between(samples, samples), _between(samples, real), _between(real, real), k)


def density_coverage(samples: Tensor, real: Tensor, k: int = 5) -> DensityCoverage:
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797, eqs. 4 and 5).

    With the balls around the real examples as above: density counts how many balls a sample lies in, over k, averaged
    (so that an outlier's huge ball counts little, and the result may exceed 1); coverage is the share of balls that
    hold a sample.

    Args:
        samples, real: features (N, F) and (M, F); M more than k.
    """
    samples, real = check_features(samples, real)
    return density_coverage_of(_between(samples, real), _between(real, real), k)


def precision_recall_of(within_samples: Tensor, between: Tensor, within_real: Tensor, k: int = 3) -> PrecisionRecall:
    """:func:`precision_recall` from distances: among samples (N, N), samples to real (N, M), among real (M, M)."""
    precision = (between <= _reach(within_real, k)).any(1)
    recall = (between <= _reach(within_samples, k)[:, None]).any(0)
    return PrecisionRecall(float(precision.double().mean()), float(recall.double().mean()))


def density_coverage_of(between: Tensor, within_real: Tensor, k: int = 5) -> DensityCoverage:
    """:func:`density_coverage` from distances: samples to real (N, M), among real (M, M)."""
    inside = between < _reach(within_real, k)                       # as in the authors' code, without the rim
    return DensityCoverage(float(inside.sum(1).double().mean()) / k, float(inside.any(0).double().mean()))


class SizePoint(NamedTuple):
    """What a metric gives at one number of samples: mean and standard deviation over the repetitions."""

    size: int
    mean: float
    sd: float


def size_curve(metric: Callable[[Tensor, Tensor], float], samples: Callable[[int, Rng], Tensor] | Tensor, real: Tensor,
               sizes: Sequence[int] = (50, 100, 200, 500, 1000), repeats: int = 20, seed: int = 0) -> list[SizePoint]:
    """What a metric says of one and the same generator when it is given more and more of its samples: its bias.

    Args:
        metric: takes the features of samples and of real examples.
        samples: a function of a number and an Rng that gives the features of so many new samples; or a pool (N, F), of
            which each repetition takes a random part.
        real: (M, F), the same at every size.
        sizes: numbers of samples.
        repeats: how often to draw anew at each size.

    Returns:
        one :class:`SizePoint` for each of ``sizes``.
    """
    check_number("The number of repetitions", repeats, 2, whole=True)
    for size in sizes:
        most = len(samples) if isinstance(samples, Tensor) else 10_000_000
        check_number("A number of samples", size, 2, most, whole=True)
    rng, points = Rng(seed), []
    for size in sizes:
        values = []
        for _ in range(repeats):
            some = samples[rng.permutation(len(samples))[:size]] if isinstance(samples, Tensor) else samples(size, rng)
            values.append(metric(some, real))
        found = torch.tensor(values, dtype=torch.float64)
        points.append(SizePoint(int(size), float(found.mean()), float(found.std())))
    return points


def _between(a: Tensor, b: Tensor) -> Tensor:
    """Euclidean distances (N, M), exact, so that a copy is at distance 0."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _reach(within: Tensor, k: int) -> Tensor:
    """The distance of each example to its k-th nearest of the same set, from distances (N, N): (N,)."""
    check_number("The number of neighbours k", k, 1, whole=True)
    if len(within) <= k:
        raise LabError(f"There are {len(within)} examples in a set, but a {k}-th nearest neighbour needs at least "
                       f"{k + 1}; draw more samples or choose a smaller k.")
    return within.kthvalue(k + 1, dim=1).values                     # the nearest is the example itself
