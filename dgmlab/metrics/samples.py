"""How like the data are samples, in the space of the examples themselves? A distance between two sets of examples, and
counts for densities whose modes are known.

Letters: N, M examples of the two sets, D numbers in an example. Distances are Euclidean, in units of the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.densities import Density
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



def modes_covered(samples: Tensor, target: Density, within: float = 3.0) -> tuple[int, float]:
    """How many of the target's modes own a sample within ``within`` standard deviations, at least a tenth of their
    fair share of all, and the share of samples that lie that near to any mode."""
    if target.modes is None or not target.sd:
        raise LabError(f"{target.name} has no separate modes to be counted; use ring or grid.")
    distance, nearest = torch.cdist(samples.double(), target.modes.double()).min(1)
    near = distance <= within * target.sd
    counts = torch.bincount(nearest[near], minlength=len(target.modes))
    return int((counts >= 0.1 * len(samples) / len(target.modes)).sum()), near.double().mean().item()


def classes_covered(classes: Tensor, number: int) -> tuple[int, Tensor]:
    """How many of ``number`` classes get at least a tenth of their fair share of the samples, and the shares.

    Args:
        classes: (N,) whole numbers, what a classifier takes each sample for.

    Returns:
        the count, and (number,) shares that add up to 1.
    """
    if classes.ndim != 1 or not len(classes) or bool(((classes < 0) | (classes >= number)).any()):
        raise LabError(f"The classes have the shape {tuple(classes.shape)}, but each of at least one sample needs a "
                       f"whole number from 0 to {number - 1}.")
    shares = torch.bincount(classes, minlength=number) / len(classes)
    return int((shares >= 0.1 / number).sum()), shares
