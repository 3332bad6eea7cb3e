"""A discriminator: an example in, one number out. What the number means, the loss says: the *logit* of the probability
that the example is real, D(x) = 1 / (1 + exp(-logit)), or a score without bounds (a *critic*).

Its layers can be made gentle while it trains. Spectral normalisation (Miyato et al. 2018, arXiv:1802.05957, eq. 8)
divides every weight matrix by its largest singular value,

    W_used  =  W / sigma(W),        sigma(W)  =  max |W v| / |v|

so that no layer changes distances by more than a factor of 1. sigma is followed by one round of power iteration a
training step (their algorithm 1): u <- W W'u / |W W'u|, and then sigma(W) = |W'u|, up to the error of u.

Letters: B batch, K rows of a layer's weight (its outputs), M its columns (inputs; of a convolution, times its window).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .nets import check_batch, check_shape, make_encoder

FIRST_ROUNDS = 15       # of power iteration when the normalisation is switched on; one a step afterwards


class Discriminator(nn.Module):
    """A network from examples to logits.

    Args:
        shape: of one example: ``(1,)`` for numbers, ``(2,)`` for points, (C, H, W) for images.
        hidden: sizes of the dense hidden layers.
        body: ``mlp``, or ``conv`` for images with sides from 8 to 64: convolutions of stride 2 before the dense layers.
        activation: one of ``nets.ACTIVATIONS``.
        width: for ``conv``, channels are this many times 32 and 64.

    Attributes:
        spectral: whether the weights are used normalised; set it with :meth:`normalise`.
    """

    def __init__(self, shape=(2,), hidden=(128, 128), body: str = "mlp", activation: str = "leaky_relu",
                 width: float = 1.0):
        super().__init__()
        self.shape, self.spectral = check_shape(shape), False
        self.network = make_encoder(self.shape, hidden, 1, body, activation, width)
        for i, layer in enumerate(self.network):
            if hasattr(layer, "weight"):
                self.register_buffer(f"u{i}", F.normalize(torch.randn(len(layer.weight)), dim=0))           # (K,)

    def forward(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B,)"""
        check_batch(x, self.shape, self)
        if not self.spectral:
            return self.network(x)[:, 0]
        for i, layer in enumerate(self.network):
            if hasattr(layer, "weight"):
                weight = layer.weight / self.sigma(i)
                x = (F.linear(x, weight, layer.bias) if isinstance(layer, nn.Linear) else
                     F.conv2d(x, weight, layer.bias, layer.stride, layer.padding))
            else:
                x = layer(x)
        return x[:, 0]

    def sigma(self, i: int) -> Tensor:
        """The largest singular value of layer ``i``'s weight as a matrix (K, M), by its present u; a scalar.

        Its gradient is u v' with v = W'u / |W'u|, as in the paper's eq. 10.
        """
        return torch.linalg.vector_norm(getattr(self, f"u{i}") @ self.network[i].weight.flatten(1))

    @torch.no_grad()
    def normalise(self, on: bool) -> None:
        """Switch spectral normalisation on or off; where it is on, bring every u one round nearer."""
        rounds = (1 if self.spectral else FIRST_ROUNDS) if on else 0
        self.spectral = on
        for i, layer in enumerate(self.network if on else ()):
            if hasattr(layer, "weight"):
                weight, u = layer.weight.flatten(1), getattr(self, f"u{i}")                                 # (K, M)
                for _ in range(rounds):
                    u.copy_(F.normalize(weight @ (u @ weight), dim=0))

    # The switch belongs to the state: a copy that is loaded must give the same logits.

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.spectral)

    def set_extra_state(self, state: Tensor) -> None:
        self.spectral = bool(state)
