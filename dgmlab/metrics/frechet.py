"""The Fréchet distance between two sets of features (Heusel et al. 2017, arXiv:1706.08500, eq. 6).

Both sets are summarised by a Gaussian, and the distance between two Gaussians is known in closed form:

    d^2  =  |m_a - m_b|^2  +  tr(C_a + C_b - 2 (C_a C_b)^(1/2))

It is 0 if, and only if, means and covariances agree: whatever else differs, it does not see. With the features of the
Inception network it is called FID. Its estimate is biased: small sets look farther apart than they are.

Letters: N, M examples of the two sets, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LabError


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The squared Fréchet distance d^2 between two sets of features, as is the field's custom.

    Args:
        a, b: (N, F) and (M, F), at least two examples each. Where N <= F the covariance lacks rank; the distance is
            still defined, but its bias is then large.

    Returns:
        d^2, in squared units of the features; computed in float64.

    Raises:
        LabError: fewer than two examples, different numbers of features, or a feature that is not finite.
    """
    a, b = check_features(a, b)
    return frechet_between(a.mean(0), torch.cov(a.T).reshape(a.shape[1], -1),
                           b.mean(0), torch.cov(b.T).reshape(b.shape[1], -1))


def frechet_between(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The same between two Gaussians of known mean (F,) and covariance (F, F)."""
    mean_a, cov_a, mean_b, cov_b = (t.double() for t in (mean_a, cov_a, mean_b, cov_b))
    # tr (C_a C_b)^(1/2) = tr (R C_b R)^(1/2) with R the root of C_a: symmetric, so that no complex number comes up
    root = _root(cov_a)
    middle = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0).sqrt().sum()
    return max(0.0, float((mean_a - mean_b).square().sum() + cov_a.trace() + cov_b.trace() - 2 * middle))


def check_features(a: Tensor, b: Tensor, at_least: int = 2) -> tuple[Tensor, Tensor]:
    """Both sets of features in float64, or a :class:`LabError`: they must be finite, (N, F) and (M, F)."""
    sets = []
    for x in (a, b):
        x = torch.as_tensor(x).detach()
        if x.ndim != 2 or len(x) < at_least:
            raise LabError(f"A set of features has the shape {tuple(x.shape)}, but (examples, features) with at least "
                           f"{at_least} examples is needed, for a spread to be estimated; draw more samples.")
        if not bool(x.isfinite().all()):
            rows = int((~x.isfinite()).any(1).sum())
            raise LabError(f"{rows} of {len(x)} examples have a feature that is not finite; look at the generator's "
                           "samples: it may have diverged.")
        sets.append(x.double())
    if sets[0].shape[1] != sets[1].shape[1]:
        raise LabError(f"One set has {sets[0].shape[1]} features and the other {sets[1].shape[1]}, but they must "
                       "agree; compute both with the same classifier.")
    return sets[0], sets[1]


def _root(covariance: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return vectors * values.clamp(min=0).sqrt() @ vectors.T
