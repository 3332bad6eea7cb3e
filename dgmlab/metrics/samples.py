"""How like the data are samples? A distance between two sets of examples, in the space of the examples themselves.

Letters: N, M examples of the two sets, D numbers in an example. Distances are Euclidean, in units of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import LabError


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|A - B| - E|A - A'| - E|B - B'| (Székely & Rizzo 2013): 0 if, and only if, both sets come from one
    distribution, and above 0 otherwise.

    It is estimated without bias (no example is compared with itself), so that for two samples of one distribution it
    scatters about 0 and may come out negative.

    Args:
        a, b: (N, ...) and (M, ...), at least two examples each.
    """
    if a.shape[1:] != b.shape[1:] or min(a.ndim, b.ndim) < 2 or min(len(a), len(b)) < 2:
        raise LabError(f"The two sets have the shapes {tuple(a.shape)} and {tuple(b.shape)}, but (examples, ...) is "
                       "needed, with at least two examples each, of one shape.")
    a, b = a.flatten(1), b.flatten(1)
    within = [torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b)]
    return float(2 * torch.cdist(a, b).mean() - sum(within))

