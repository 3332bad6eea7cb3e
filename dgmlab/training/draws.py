"""Every random draw of a run is its own: dropout is made to be, and whatever else draws is found out.

``torch.nn.Dropout`` draws from torch's global generator, which other cells of a notebook use too; a run with dropout
could then neither be replayed nor be resumed to the same numbers. A run exchanges its model's dropout layers for ones
that draw from its own generator, and watches its first step for draws that do not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

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


class SeesDraws(TorchDispatchMode):
    """Notes the first operation of this thread that draws random numbers from a global generator."""

    seen = ""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if torch.Tag.nondeterministic_seeded in func.tags and not (kwargs or {}).get("generator"):
            self.seen = self.seen or str(func).removesuffix(".default")
        return func(*args, **(kwargs or {}))


def global_generator(device: torch.device) -> Tensor:
    """The state of torch's global generator of a device."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
