"""Small networks that the models share: a plain MLP, and a convolutional encoder and decoder for images.

Letters in the comments: B batch, C channels, H height, W width, D = C * H * W, L latent dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "softplus": nn.Softplus, "silu": nn.SiLU, "gelu": nn.GELU,
               "elu": nn.ELU, "leaky_relu": lambda: nn.LeakyReLU(0.2)}
BODIES = ("mlp", "conv")


def mlp(sizes: Sequence[int], activation: str = "relu") -> nn.Sequential:
    """Linear layers of the given sizes, an activation between any two: ``(..., sizes[0]) -> (..., sizes[-1])``."""
    check_choice("The activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for i in range(len(sizes) - 1):
        layers += [nn.Linear(sizes[i], sizes[i + 1]), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


def conv_stages(shape: Sequence[int], width: float = 1.0) -> list[tuple[int, int, int]]:
    """The shapes (C, H, W) after each halving of an image, down to a side below 8; 32 channels, then 64, each times
    ``width``."""
    sides, stages = tuple(shape[1:]), [tuple(shape)]
    while min(sides) >= 8:
        sides = tuple(side // 2 for side in sides)
        stages.append((round(width * (32 if len(stages) == 1 else 64)), *sides))
    return stages


def make_encoder(shape: Sequence[int], hidden: Sequence[int], out: int, body: str = "mlp",
                 activation: str = "relu", width: float = 1.0) -> nn.Sequential:
    """An image to ``out`` numbers, (B, C, H, W) -> (B, out): with ``body="conv"`` convolutions of stride 2, an MLP."""
    check_body(shape, hidden, body, activation)
    check_number("The width of the convolutions", width, 1 / 32)
    stages = conv_stages(shape, width) if body == "conv" else [tuple(shape)]
    layers: list[nn.Module] = []
    for i in range(len(stages) - 1):
        layers += [nn.Conv2d(stages[i][0], stages[i + 1][0], 4, stride=2, padding=1), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Flatten(), *mlp([math.prod(stages[-1]), *hidden, out], activation))


class Decoder(nn.Module):
    """A code to the numbers of an image, (..., L) -> (..., D): an MLP, then the encoder's convolutions turned round."""

    def __init__(self, latent: int, hidden: Sequence[int], shape: Sequence[int], body: str = "mlp",
                 activation: str = "relu", width: float = 1.0):
        super().__init__()
        check_body(shape, hidden, body, activation)
        check_number("The width of the convolutions", width, 1 / 32)
        stages = conv_stages(shape, width) if body == "conv" else [tuple(shape)]
        self.dense = mlp([latent, *hidden, math.prod(stages[-1])], activation)
        self.grid = stages[-1]
        layers: list[nn.Module] = []
        for small, large in zip(stages[:0:-1], stages[-2::-1], strict=True):
            odd = tuple(b - 2 * a for a, b in zip(small[1:], large[1:], strict=True))     # a side lost by halving
            layers += [ACTIVATIONS[activation](),
                       nn.ConvTranspose2d(small[0], large[0], 4, stride=2, padding=1, output_padding=odd)]
        self.convolutions = nn.Sequential(*layers) if layers else None

    def forward(self, z: Tensor) -> Tensor:
        out = self.dense(z)                                                                 # (..., D)
        if self.convolutions is None:
            return out
        image = self.convolutions(out.reshape(-1, *self.grid))                              # (..., C, H, W)
        return image.reshape(*z.shape[:-1], -1)


def check_shape(shape: Sequence[int], what: str = "The shape of one example") -> tuple[int, ...]:
    """``shape`` as a tuple of whole numbers, or a :class:`LabError`."""
    if not (isinstance(shape, Sequence) and shape and all(isinstance(side, int) and side >= 1 for side in shape)):
        raise LabError(f"{what} is {shape!r}, but it must be a tuple of whole numbers of at least 1, "
                       "such as (1, 8, 8).")
    return tuple(shape)


def check_body(shape: Sequence[int], hidden: Sequence[int], body: str, activation: str) -> None:
    """Raise :class:`LabError` unless a network of this kind can be built."""
    check_choice("The body", body, BODIES)
    check_choice("The activation", activation, ACTIVATIONS)
    if isinstance(hidden, (int, str)):
        raise LabError(f"The hidden sizes are {hidden!r}, but they must be a tuple of whole numbers, such as (256,).")
    for size in hidden:
        check_number("A hidden size", size, 1, whole=True)
    if body == "conv" and (len(shape) != 3 or not all(8 <= side <= 64 for side in shape[1:])):
        raise LabError(f"The shape of one example is {tuple(shape)}, but a conv body needs images (channels, height, "
                       "width) with sides from 8 to 64; use body='mlp'.")


def check_batch(x: Tensor, shape: tuple[int, ...], model: nn.Module) -> None:
    """Raise :class:`LabError` unless ``x`` is a batch of examples of ``shape``."""
    if x.shape[1:] != shape:
        raise LabError(f"The batch has the shape {tuple(x.shape)}, but this {type(model).__name__} was built for "
                       f"(batch, {', '.join(map(str, shape))}); reshape the batch or build the model with "
                       f"shape={tuple(x.shape[1:])}.")
