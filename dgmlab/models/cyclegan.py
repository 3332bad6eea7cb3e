"""CycleGAN: two translators that undo each other, trained on two collections of images that are not paired.

Two generators translate, G from side X to side Y and F back; two discriminators tell real images of a side from
translated ones (Zhu, Park, Isola & Efros 2017, arXiv:1703.10593). The generators descend on

    adversarial    E (D_Y(G(x)) - 1)^2  +  E (D_X(F(y)) - 1)^2                    look like the other side       (1)
    cycle          E |F(G(x)) - x|      +  E |G(F(y)) - y|                        keep what is needed to return  (2)
    identity       E |G(y) - y|         +  E |F(x) - x|                           leave alone what is there      (3)
    total          (1) + cycle weight * (2) + identity weight * (3)                                              (4)

and the discriminators on E (D_Y(y) - 1)^2 + E D_Y(G(x))^2 and the same for D_X: least squares in place of logarithms
(Mao et al. 2017, arXiv:1611.04076). |.| is the mean absolute difference of two images, both scaled to [-1, 1].
Equations 1 to 3 of the paper are (1), (2) and (4); its identity loss, (3), stands in section 5.2.

Where the pairs are known, |G(x) - truth| + |F(y) - truth| can be added as a third term: paired supervision.

Letters: B batch, C channels, H height, W width, K width of a network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from ..errors import LabError, check_number
from ..knobs import Real
from ..rng import Rng
from .nets import check_batch, check_shape
from .recipe import LearningRate, Recipe


class CycleGANKnobs(LearningRate):
    """The weights of (4), which can be moved while it trains."""

    lr = Real(1e-3, 0.0, 1.0, "learning rate", log=True, slider=(1e-5, 1e-2))
    cycle = Real(10.0, 0.0, 1000.0, "cycle weight", symbol="λ", slider=(0, 20),
                 help="how much it costs if an image does not come back from the other side as it was")
    identity = Real(0.0, 0.0, 1000.0, "identity weight", slider=(0, 20),
                    help="how much it costs if an image that is on the right side already is changed")
    adversarial = Real(1.0, 0.0, 1000.0, "adversarial weight", slider=(0, 5),
                       help="how much it costs if the discriminators can tell a translated image from a real one")
    paired = Real(0.0, 0.0, 1000.0, "paired weight", slider=(0, 20),
                  help="how much it costs if a translation is not the true one; only where the truth is given")


class Residual(nn.Module):
    """x + f(x), with two convolutions in f: (B, K, H, W) -> the same."""

    def __init__(self, width: int):
        super().__init__()
        self.f = nn.Sequential(*_conv(width, width, 3), nn.ReLU(), *_conv(width, width, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.f(x)


class Translator(nn.Module):
    """An image to an image of the other side, (B, C, H, W) -> (B, C, H, W), both in [-1, 1].

    A convolution, halvings of the image, residual blocks, doublings, a convolution: the paper's network has width 64,
    two halvings, nine blocks and a first kernel of 7. The last step is tanh(f(x) + skip * x): a skip of 2 lets the
    network begin near the identity, the paper's has none.

    Args:
        skip: share of the input that is added before the last tanh.
    """

    def __init__(self, channels: int = 1, width: int = 8, halvings: int = 1, blocks: int = 1, kernel: int = 5,
                 skip: float = 0.0):
        super().__init__()
        layers: list[nn.Module] = [*_conv(channels, width, kernel), nn.ReLU()]
        for _ in range(halvings):
            layers += [*_conv(width, 2 * width, 3, stride=2), nn.ReLU()]
            width *= 2
        layers += [Residual(width) for _ in range(blocks)]
        for _ in range(halvings):
            layers += [nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1), nn.InstanceNorm2d(width // 2),
                       nn.ReLU()]
            width //= 2
        layers += [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(width, channels, kernel)]
        self.f, self.skip = nn.Sequential(*layers), skip

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.f(x) + self.skip * x)


class Critic(nn.Module):
    """Scores for an image, (B, C, H, W) -> (B, 1, h, w): 1 for real, 0 for translated.

    Convolutions of stride 2, then one of stride 1 that gives the scores. A score judges the patch of the image that it
    sees; with the last kernel as large as what the halvings leave, it is one score for the whole image. The paper's has
    width 64, four layers (the last of stride 1), instance normalisation, and sees patches of 70 pixels.

    Args:
        last: side of the last kernel, or (height, width).
    """

    def __init__(self, channels: int = 1, width: int = 24, layers: int = 2, last=4, normalised: bool = False):
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        for _ in range(layers - 1):
            parts += [nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
                      *([nn.InstanceNorm2d(2 * width)] if normalised else []), nn.LeakyReLU(0.2)]
            width *= 2
        self.f = nn.Sequential(*parts, nn.Conv2d(width, 1, last))

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def _conv(inside: int, outside: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """A convolution that keeps (or halves) the image's sides, and instance normalisation: every channel of every image
    to mean 0 and variance 1 (Ulyanov et al. 2016)."""
    return [nn.ReflectionPad2d(kernel // 2), nn.Conv2d(inside, outside, kernel, stride), nn.InstanceNorm2d(outside)]


class CycleGAN(Recipe):
    """Two translators and two discriminators.

    A batch is (x, y): images of either side, (B, C, H, W) in [0, 1] (or bytes), in no relation to each other; or
    (x, y, truth of x, truth of y), where the pairs are known.

    Args:
        shape: (C, H, W) of an image; the sides divisible by 4.
        width, halvings, blocks, kernel, skip: of both generators, see :class:`Translator`.
        critic_width, critic_layers, patches: of both discriminators, see :class:`Critic`; with ``patches`` they score
            patches, with instance normalisation, as in the paper; otherwise the whole image.
        one_way: train G and D_Y only, for a comparison without a cycle; the weights of the cycle and of the identity
            must then be 0.
        watch: (x, truth), held-out pairs; beside the loss of every step then stand, as shares of full scale,
            ``to_truth``, the mean of |G(x) - truth|, and ``round_trip``, that of |F(G(x)) - x|.
    """

    Knobs = CycleGANKnobs
    baked_knobs = ("cycle", "identity", "adversarial", "paired")        # a weight of 0 leaves its term out

    def __init__(self, shape=(1, 16, 16), width: int = 8, halvings: int = 1, blocks: int = 1, kernel: int = 5,
                 skip: float = 0.0, critic_width: int = 24, critic_layers: int = 2, patches: bool = False,
                 one_way: bool = False, watch: tuple[Tensor, Tensor] | None = None):
        super().__init__()
        self.shape = check_shape(shape)
        if len(self.shape) != 3 or any(side % 4 or side < 8 for side in self.shape[1:]):
            raise LabError(f"The shape of an image is {self.shape}, but it must be (channels, height, width) with "
                           "sides divisible by 4 and at least 8; crop or resize the images.")
        for what, value in (("width", width), ("number of layers", critic_layers), ("critic's width", critic_width)):
            check_number(f"The {what} of a network", value, 1, whole=True)
        channels = self.shape[0]
        self.G, self.F = (Translator(channels, width, halvings, blocks, kernel, skip) for _ in range(2))
        last = 4 if patches else tuple(side // 2**critic_layers for side in self.shape[1:])
        self.D_Y, self.D_X = (Critic(channels, critic_width, critic_layers, last, patches) for _ in range(2))
        self.one_way = one_way
        for name, images in zip(("watch_x", "watch_truth"), watch or (None, None), strict=True):
            if images is not None:
                check_batch(images, self.shape, self)
            self.register_buffer(name, images, persistent=False)

    def players(self):
        def both(one, other):
            return [*one.parameters(), *([] if self.one_way else other.parameters())]

        return {"generators": both(self.G, self.F), "discriminators": both(self.D_Y, self.D_X)}

    def optimizer(self, player, parameters, **fast):
        return torch.optim.Adam(parameters, lr=1e-3, betas=(0.5, 0.999), **fast)

    # -- training --------------------------------------------------------------------------------------------------

    def step(self, batch, knobs, rng: Rng, update) -> dict[str, Tensor]:
        """The generators take a step, then the discriminators, on the same translations. All terms are means over
        pixels or patches, of images in [-1, 1]."""
        x, y, *truths = (scaled(images) for images in batch)                                       # (B, C, H, W)
        if self.one_way and (knobs.cycle or knobs.identity):
            raise LabError(f"A CycleGAN that is trained one way only has no cycle and no identity loss, but their "
                           f"weights are {knobs.cycle:g} and {knobs.identity:g}; set both to 0, or make it with "
                           "one_way=False.")
        if knobs.paired and not truths:
            raise LabError(f"The paired weight is {knobs.paired:g}, but the batch holds no true translations; set it "
                           "to 0, or train on fonts with paired=True.")
        ways = [(self.G, self.F, self.D_Y, x, y)] + ([] if self.one_way else [(self.F, self.G, self.D_X, y, x)])
        parts = {name: [] for name in ("adversarial", "cycle", "identity", "paired") if getattr(knobs, name)}
        fakes = []
        for k, (there, back, critic, source, other) in enumerate(ways):
            fakes.append(there(source))
            if "adversarial" in parts:
                parts["adversarial"].append((critic(fakes[k]) - 1).square().mean())                         # (1)
            if "cycle" in parts:
                parts["cycle"].append(l1_loss(back(fakes[k]), source))                                      # (2)
            if "identity" in parts:
                parts["identity"].append(l1_loss(there(other), other))                                      # (3)
            if "paired" in parts:
                parts["paired"].append(l1_loss(fakes[k], truths[k]))
        terms = {name: sum(values) for name, values in parts.items()}
        if terms:
            total = sum(getattr(knobs, name) * term for name, term in terms.items())                        # (4)
            update("generators", total, lr=knobs.lr)
        if "adversarial" in parts:
            critics = sum((critic(other) - 1).square().mean() + critic(fake.detach()).square().mean()
                          for fake, (_, _, critic, _, other) in zip(fakes, ways, strict=True))
            update("discriminators", critics, lr=knobs.lr)      # the paper halves it; Adam would not notice
            terms["discriminators"] = critics
        if self.watch_x is not None:
            with torch.no_grad():
                there = self.translate(self.watch_x)
                terms["to_truth"] = l1_loss(there, self.watch_truth)
                if not self.one_way:
                    terms["round_trip"] = l1_loss(self.translate_back(there), self.watch_x)
        return terms

    # -- what it does ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def translate(self, x: Tensor) -> Tensor:
        """Images of side X, (B, C, H, W) in [0, 1], on side Y. Any size will do, if its sides are divisible by 4."""
        return unscaled(self.G(scaled(x)))

    @torch.no_grad()
    def translate_back(self, y: Tensor) -> Tensor:
        """Images of side Y, (B, C, H, W) in [0, 1], on side X."""
        return unscaled(self.F(scaled(y)))


def scaled(images: Tensor) -> Tensor:
    """From [0, 1], or from bytes, to [-1, 1], which is what the networks see."""
    return images.float() * (2 / 255) - 1 if images.dtype == torch.uint8 else 2 * images - 1


def unscaled(images: Tensor) -> Tensor:
    """From [-1, 1] back to [0, 1]."""
    return (images + 1) / 2
