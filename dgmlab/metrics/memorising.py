"""Does a model make something new, or copies of what it was trained on? Nearest training examples tell.

A distance by itself says nothing: it depends on the data, their unit, and on how many training examples there are. So
it is held against the same distance of *held-out* examples, which no model has made and which are new for certain
(the comparison of Meehan et al. 2020, arXiv:2004.05675, with medians in place of their rank test).

Letters: N training examples, S new ones, D numbers in an example. Distances are Euclidean, in the unit of the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import LabError

COPY = 1 / 3            # of the distance to the second nearest: below it, a new example counts as a copy of the nearest


@dataclass(frozen=True)
class Neighbours:
    """How near new examples lie to the training examples, and how near held-out ones do.

    Attributes:
        new, held_out: (S,) and (H,) distances to the nearest training example.
        nearest: (S,) the index of that training example.
        copies: the share of new examples that lie less than a third as far from their nearest training example as
            from their second nearest (the criterion of Yoon et al. 2023); nan if there is one training example only.
    """

    new: Tensor = field(repr=False)
    held_out: Tensor = field(repr=False)
    nearest: Tensor = field(repr=False)
    copies: float

    @property
    def ratio(self) -> float:
        """The median distance of new examples over that of held-out ones: 0 for copies, about 1 for new examples.

        It may exceed 1, for examples that are like nothing in the data, and be a little below 1 for new ones that are
        smooth, because a smooth image lies nearer to all others.
        """
        return float(self.new.median() / self.held_out.median())


def nearest(examples: Tensor, train: Tensor, chunk: int = 1000) -> tuple[Tensor, Tensor]:
    """Distance to, and index of, the nearest training example: (S, ...) and (N, ...) -> (S,), (S,).

    Args:
        chunk: how many examples are compared at a time; memory is about ``chunk`` * N * 4 bytes.
    """
    distances, places = _nearest(examples, train, 1, chunk)
    return distances[:, 0], places[:, 0]


def neighbours(new: Tensor, train: Tensor, held_out: Tensor) -> Neighbours:
    """Compare new examples (S, ...), training examples (N, ...) and held-out ones (H, ...); see :class:`Neighbours`.

    Raises:
        LabError: if one of them is empty, or their examples differ in size.
    """
    two, places = _nearest(new, train, min(2, len(train)))
    copies = float((two[:, 0] < COPY * two[:, 1]).float().mean()) if len(train) > 1 else float("nan")
    return Neighbours(two[:, 0], nearest(held_out, train)[0], places[:, 0], copies)


@torch.no_grad()
def _nearest(examples, train, k, chunk=1000):
    for what, x in (("examples", examples), ("training examples", train)):
        if x.ndim < 2 or not len(x):
            raise LabError(f"The {what} have the shape {tuple(x.shape)}, but at least one is needed, as (examples, "
                           "...); a single one is x[None].")
    if examples[0].numel() != train[0].numel():
        raise LabError(f"The examples have {examples[0].numel()} numbers each and the training examples "
                       f"{train[0].numel()}, but they must agree; compare examples of the same data set.")
    found = [torch.cdist(part.flatten(1), train.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
             .topk(k, largest=False) for part in examples.split(chunk)]      # exact: a copy is at distance 0
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])
