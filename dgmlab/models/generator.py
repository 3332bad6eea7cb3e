"""A generator network: noise in, example out, x = G(z) with z ~ N(0, I).

The density of x is implied but, in general, out of reach: an *implicit* model. In one dimension it is not. Every
pre-image of x contributes the prior's density there, stretched by the slope (change of variables):

    p(x)  =  sum over z with G(z) = x  of   N(z; 0, 1) / |G'(z)|

Letters: B batch, L latent dimensions, M points.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number
from ..rng import Rng
from .nets import Decoder, check_shape

OUTPUTS = {"linear": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
LIMIT = 8.0             # the prior holds less than 1.3e-15 beyond
NODES = 16_001          # of the grid on which pre-images are looked for: two within 0.001 of each other may be missed


class Generator(nn.Module):
    """A network from codes to examples.

    Args:
        latent: L, the dimensions of the noise.
        shape: of one example: ``(1,)`` for numbers, ``(2,)`` for points of the plane, (C, H, W) for images.
        hidden: sizes of the dense hidden layers; ``()`` gives a linear map.
        body: ``mlp``, or ``conv`` for images with sides from 8 to 64.
        activation: one of ``nets.ACTIVATIONS``.
        output: what the last layer's numbers go through: ``linear``, ``sigmoid`` (into 0 to 1) or ``tanh``.
        width: of a conv body: its channels are this many times 32 and 64.
    """

    def __init__(self, latent: int = 1, shape=(1,), hidden=(64, 64), body: str = "mlp", activation: str = "tanh",
                 output: str = "linear", width: float = 1.0):
        super().__init__()
        check_number("The number of latent dimensions", latent, 1, whole=True)
        check_choice("The output", output, OUTPUTS)
        self.latent, self.shape = latent, check_shape(shape)
        self.decoder = Decoder(latent, hidden, self.shape, body, activation, width)
        self.output = OUTPUTS[output]()

    def forward(self, z: Tensor) -> Tensor:
        """(B, latent) -> (B, ...)"""
        return self.output(self.decoder(z)).unflatten(-1, self.shape)

    @torch.no_grad()
    def sample(self, n: int, rng: Rng) -> Tensor:
        """``n`` examples, (n, ...)."""
        check_number("The number of samples", n, 1, whole=True)
        return self(rng.normal((n, self.latent)))

    def density(self, x: Tensor | float) -> Tensor:
        """p(x) of the generator's output at points (M,), exactly; for one number in, one number out."""
        if self.latent != 1 or self.shape != (1,):
            raise LabError(f"This generator makes examples of shape {self.shape} from {self.latent} latent dimensions, "
                           "but its density is known only for one number in, one number out; use latent=1, shape=(1,).")
        dtype = next(self.parameters()).dtype
        return density(lambda z: self(z[:, None].to(dtype))[:, 0], x)


def preimages(function: Callable[[Tensor], Tensor], x: Tensor | float, limit: float = LIMIT,
              nodes: int = NODES) -> tuple[Tensor, Tensor]:
    """All z in [-limit, limit] with function(z) = x, for each of the points ``x`` (M,); a number is one point.

    Wherever the function crosses x between two nodes of a grid, the crossing is closed in on by bisection.

    Returns:
        ``which`` (P,) and ``z`` (P,): ``z[i]`` is a pre-image of ``x[which[i]]``. A point may have none or many.
    """
    x = _as_points(x)
    check_number("The limit", limit, 1e-6)
    check_number("The number of nodes", nodes, 2, whole=True)
    with torch.no_grad():
        grid = torch.linspace(-limit, limit, nodes, dtype=torch.float64, device=x.device)
        values = function(grid).double()                                            # (nodes,)
        ordered, order = x.double().sort()
        ends = torch.searchsorted(ordered, values)                                  # points below each node
        first, last = torch.minimum(ends[:-1], ends[1:]), torch.maximum(ends[:-1], ends[1:])
        count = last - first                                                        # points crossed in each cell
        cell = torch.arange(nodes - 1, device=x.device).repeat_interleave(count)    # (P,)
        place = torch.arange(len(cell), device=x.device) - (count.cumsum(0) - count)[cell] + first[cell]
        which, target = order[place], ordered[place]
        low, high, rising = grid[cell], grid[cell + 1], values[cell] <= target
        for _ in range(40):
            middle = 0.5 * (low + high)
            left_of_it = (function(middle).double() <= target) == rising            # the crossing lies to the right
            low, high = torch.where(left_of_it, middle, low), torch.where(left_of_it, high, middle)
        return which, 0.5 * (low + high)


def density(function: Callable[[Tensor], Tensor], x: Tensor | float, limit: float = LIMIT,
            nodes: int = NODES) -> Tensor:
    """The density of function(z), z ~ N(0, 1), at the points ``x`` (M,) -> (M,) float64, by change of variables; a
    number is one point.

    Args:
        function: smooth, maps (P,) to (P,) element by element, and autograd knows its slope.

    Where the function has a turning point the density is truly infinite. A stretch on which the function is constant
    (dead ReLUs) is a point mass, which has no density: it is left out, and the rest integrates to less than 1.
    """
    x = _as_points(x)
    which, z = preimages(function, x, limit, nodes)
    with torch.enable_grad():
        z = z.requires_grad_()
        slope, = torch.autograd.grad(function(z).sum(), z)                          # G'(z), (P,)
    z = z.detach()
    parts = (-0.5 * z.square()).exp() / math.sqrt(2 * math.pi) / slope.abs()
    return torch.zeros(len(x), dtype=torch.float64, device=x.device).index_add(0, which, parts)


def _as_points(x) -> Tensor:
    try:
        x = torch.as_tensor(x if isinstance(x, Tensor) else np.asarray(x, float))
    except (TypeError, ValueError):
        raise LabError(f"The points are {x!r}, but a row of finite numbers (points,), or one number, is "
                       "needed.") from None
    x = x[None] if x.ndim == 0 else x
    if x.ndim != 1 or not bool(x.isfinite().all()):
        raise LabError(f"The points have the shape {tuple(x.shape)}, but a row of finite numbers (points,) is needed, "
                       "or one number.")
    return x
