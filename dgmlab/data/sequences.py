"""Ten sequences: the smallest data on which the KL term of a text VAE can vanish, or not.

Each of ten sequences is equally likely, so no model can do better than their entropy, ln 10 = 2.303 nats: the ELBO of
every model is at most -ln 10, and a number above it is a mistake. How those nats are split between the latent and the
decoder's own memory is what schedules change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import check_choice
from ..rng import Rng
from .base import check_seed

KINDS = ("random", "one-hot")
FLOOR = math.log(10)        # nats per sequence


def ten_sequences(kind: str = "random", seed: int = 0) -> tuple[Tensor, int]:
    """The sequences, int64 (10, 10), and how many symbols they are made of.

    Args:
        kind: ``random``: ten symbols drawn independently at each place; ``one-hot``: sequence n is 0 everywhere but 1
            at place n.
        seed: of the random ones.
    """
    check_choice("The kind of sequences", kind, KINDS)
    check_seed(seed)
    if kind == "one-hot":
        return torch.eye(10, dtype=torch.int64), 2
    return Rng(seed).integers(10, (10, 10)), 10
