"""Dropout that draws from the run's own generator.

``torch.nn.Dropout`` draws from torch's global generator, which other cells of a notebook use too; a run with dropout
could then neither be replayed nor be resumed to the same numbers. A run exchanges its model's dropout layers for these.
"""

from __future__ import annotations

from torch import nn

from ..rng import Rng


class OwnDropout(nn.Dropout):
    """Inverted dropout (Srivastava et al. 2014) with an explicit source of random numbers."""

    def __init__(self, p: float, rng: Rng):
        super().__init__(p)
        self.rng = rng

    def forward(self, x):
        if not self.training or self.p == 0:
            return x
        if self.p == 1:
            return x * 0
        keep = self.rng.uniform(x.shape) >= self.p
        return x * keep / (1 - self.p)


def adopt_dropout(module: nn.Module, rng: Rng) -> None:
    """Exchange every ``nn.Dropout`` inside ``module``."""
    for name, child in list(module._modules.items()):       # named_children() would list a shared layer only once
        if type(child) is nn.Dropout:
            setattr(module, name, OwnDropout(child.p, rng).train(child.training))
        elif child is not None:
            adopt_dropout(child, rng)
