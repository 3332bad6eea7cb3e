"""What do the codes of an encoder hold? Active units, mutual information, and how well a classifier reads them.

Letters: N examples, L latent dimensions. Logarithms are natural (nats).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..errors import LabError, check_number
from ..rng import Rng


@dataclass(frozen=True)
class ActiveUnits:
    """How many latent dimensions respond to the data at all.

    Attributes:
        number: of dimensions whose ``variance`` exceeds ``threshold``.
        threshold: in squared units of the code.
        examples: N.
        variance: (L,) variance over the examples of the posterior's mean.
    """

    number: int
    threshold: float
    examples: int
    variance: Tensor = field(repr=False)


@dataclass(frozen=True)
class MutualInformation:
    """Mutual information of x and z under q(z | x) and the data, in nats.

    Attributes:
        nats: the estimate; it cannot exceed ``ceiling`` however much the codes hold.
        ceiling: ln N, the information needed to tell the N examples apart.
        kl: mean KL(q(z | x) || p(z)) of the same codes = ``nats`` + KL(q(z) || p(z)) up to the estimate's noise.
        examples, samples: N, and draws of z per example.
    """

    nats: float
    ceiling: float
    kl: float
    examples: int
    samples: int


@dataclass(frozen=True)
class Accuracy:
    """How well a classifier reads the class off the code.

    Attributes:
        accuracy: share of the test codes that it names correctly, 0 to 1.
        labels: how many labelled codes it learnt from.
        examples: how many test codes.
        classifier: which classifier, with its settings.
    """

    accuracy: float
    labels: int
    examples: int
    classifier: str


def active_units(mu: Tensor, threshold: float = 0.01) -> ActiveUnits:
    """Dimensions with Var_x(E_q(z|x) z) > ``threshold`` (Burda et al. 2016, sec. 5; sample variance over N - 1).

    Args:
        mu: (N, L) means of the posteriors.
    """
    _check_codes(mu, at_least=2)
    check_number("The threshold", threshold, 0)
    variance = mu.var(0)
    return ActiveUnits(int((variance > threshold).sum()), threshold, len(mu), variance)


@torch.no_grad()
def mutual_information(mu: Tensor, logvar: Tensor, rng: Rng, samples: int = 1, chunk: int = 500) -> MutualInformation:
    """E_x E_q(z|x) log q(z | x) / q(z), where q(z) = 1/N sum_n q(z | x_n) is the aggregate posterior of these N codes
    (Hoffman & Johnson 2016; Dieng et al. 2019). Every term is at most ln N, since q(z) holds q(z | x) / N.

    Args:
        mu, logvar: (N, L) of the posteriors.
        samples: draws of z per example.
        chunk: draws compared with all N posteriors at a time; memory is about ``chunk`` * N * 8 bytes.
    """
    _check_codes(mu)
    if mu.shape != logvar.shape:
        raise LabError(f"The means have the shape {tuple(mu.shape)} and the log-variances {tuple(logvar.shape)}, but "
                       "they must agree; give both as the encoder returns them.")
    check_number("The number of samples", samples, 1, whole=True)
    n = len(mu)
    noise = rng.normal((n, samples, mu.shape[1])).to(mu).double()
    mu, logvar = mu.double(), logvar.double()
    # log q(z | x_n) up to the constant that both logarithms share, as one matrix product per chunk:
    # -1/2 sum_j (z_j - mu_nj)^2 / var_nj + logvar_nj  =  -1/2 (z^2 . 1/var_n  -  2 z . mu_n/var_n  +  const_n)
    precision = (-logvar).exp()                                                                 # (N, L)
    constant = (mu.square() * precision + logvar).sum(-1)                                       # (N,)
    total = 0.0
    for s in range(samples):
        own = -0.5 * (noise[:, s].square() + logvar).sum(-1)                                    # log q(z_n | x_n)
        z = mu + (0.5 * logvar).exp() * noise[:, s]                                             # (N, L)
        for part, mine in zip(z.split(chunk), own.split(chunk), strict=True):
            every = -0.5 * (part.square() @ precision.T - 2 * part @ (mu * precision).T + constant)      # (chunk, N)
            total += float((mine - every.logsumexp(1) + math.log(n)).sum())
    kl = 0.5 * float((mu.square() + logvar.exp() - 1 - logvar).sum(-1).mean())
    return MutualInformation(min(total / (n * samples), math.log(n)), math.log(n), kl, n, samples)


def knn_accuracy(codes, labels, test_codes, test_labels, neighbours: int = 5) -> Accuracy:
    """Accuracy of a vote among the ``neighbours`` nearest labelled codes, in Euclidean distance.

    Args:
        codes, labels: (N, L) and (N,), what the vote is among.
        test_codes, test_labels: other examples.
    """
    from sklearn.neighbors import KNeighborsClassifier

    codes, labels, test_codes, test_labels = _arrays(codes, labels, test_codes, test_labels)
    check_number("The number of neighbours", neighbours, 1, len(codes), whole=True)
    classifier = KNeighborsClassifier(neighbours).fit(codes, labels)
    return Accuracy(float(classifier.score(test_codes, test_labels)), len(codes), len(test_codes),
                    f"{neighbours} nearest neighbours")


def linear_probe_accuracy(codes, labels, test_codes, test_labels, *, number: int | None = None, seed: int = 0,
                          strength: float = 1.0) -> Accuracy:
    """Accuracy of a logistic regression on standardised codes.

    Args:
        codes, labels: (N, L) and (N,), what it may learn from.
        test_codes, test_labels: other examples.
        number: how many of the N labels it may see, drawn by ``seed`` with the classes in proportion; all if None.
        strength: scikit-learn's C, the inverse of the penalty on the weights.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    codes, labels, test_codes, test_labels = _arrays(codes, labels, test_codes, test_labels)
    classes = len(np.unique(labels))
    if classes < 2:
        raise LabError("All labels are of one class, but a probe needs at least two; give labels of several classes.")
    check_number("The strength C", strength, 1e-8)
    if number is not None and number != len(codes):
        check_number("The number of labels", number, classes, len(codes) - classes, whole=True)
        codes, _, labels, _ = train_test_split(codes, labels, train_size=number, random_state=seed, stratify=labels)
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000)).fit(codes, labels)
    return Accuracy(float(probe.score(test_codes, test_labels)), len(codes), len(test_codes),
                    f"logistic regression, C = {strength:g}")


def _arrays(codes, labels, test_codes, test_labels):
    arrays = [np.asarray(a.detach().cpu() if isinstance(a, Tensor) else a)
              for a in (codes, labels, test_codes, test_labels)]
    for what, c, y in (("labelled", *arrays[:2]), ("test", *arrays[2:])):
        if c.ndim != 2 or len(c) != len(y) or not len(c):
            raise LabError(f"The {what} codes have the shape {c.shape} and their labels {y.shape}, but (examples, "
                           "latent) and (examples,) are needed; reshape them so that they agree.")
    return arrays


def _check_codes(mu: Tensor, at_least: int = 1) -> None:
    if mu.ndim != 2 or len(mu) < at_least:
        raise LabError(f"The codes have the shape {tuple(mu.shape)}, but (examples, latent) with at least {at_least} "
                       f"example{'s' * (at_least > 1)} is needed; give the encoder's means of several examples.")
