"""Generative adversarial networks (Goodfellow et al. 2014, arXiv:1406.2661).

Two networks play against each other. The *generator* G turns noise z ~ N(0, I) into an example; the *discriminator* D
gets real examples x and made ones G(z), and says how likely each is to be real. Its cost is the cross-entropy of that
classification (paper, eq. 1, with the sign turned):

    J_D  =  E_x[-log D(x)]  +  E_z[-log(1 - D(G(z)))]

The generator wants D to fail. If its cost is the exact opposite, J_G = -J_D, the game is *zero-sum* or *minimax*, and
for G it comes to E_z[log(1 - D(G(z)))], whose slope vanishes where D is sure (it *saturates*). The *non-saturating*
cost E_z[-log D(G(z))] pulls the same way (paper, end of section 3), and hardest there.

D is computed as a logit l, D = sigmoid(l), and never as a probability, so that nothing is rounded to 0 or 1:

    -log D = softplus(-l)          -log(1 - D) = softplus(l)          d/dl log(1 - D) = -D,    d/dl -log D = D - 1

Letters: B batch, L latent dimensions, D discriminator, G generator. Losses are in nats per example where they are
cross-entropies, otherwise in the units of the discriminator's output.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number
from ..knobs import Choice, Knobs, Real, Switch, Whole
from ..rng import Rng
from .recipe import Recipe

# -- the losses, on what the discriminator puts out ------------------------------------------------------------------


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)), to the last digit for every x; ``F.softplus`` is a straight line from 20 on."""
    return -F.logsigmoid(-x)


@dataclass(frozen=True)
class Loss:
    """What the two players descend.

    Attributes:
        discriminator: logits of real and of made examples, (B,) each, -> a scalar.
        generator: logits of made examples, (B,) -> a scalar.
        says: what it is, in one sentence.
        source: where it comes from.
        probability: whether sigmoid(logit) is the probability of being real; otherwise it is only a score.
    """

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]
    says: str
    source: str
    probability: bool = False


def cross_entropy(real: Tensor, fake: Tensor) -> Tensor:
    """J_D: E[-log D(x)] + E[-log(1 - D(G(z)))] in nats; 2 ln 2 = 1.386 where D = 1/2 everywhere."""
    return softplus(-real).mean() + softplus(fake).mean()


LOSSES = {
    "non-saturating": Loss(cross_entropy, lambda fake: softplus(-fake).mean(),
                           "D classifies; G makes -log D(G(z)) small, and feels most where D is sure.",
                           "Goodfellow et al. 2014, section 3", probability=True),
    "minimax": Loss(cross_entropy, lambda fake: -softplus(fake).mean(),
                    "D classifies; G makes log(1 - D(G(z))) small: a zero-sum game, flat where D is sure.",
                    "Goodfellow et al. 2014, eq. 1", probability=True),
    "least squares": Loss(lambda real, fake: 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean(),
                          lambda fake: 0.5 * (fake - 1).square().mean(),
                          "D gives 1 to real and 0 to made examples, by least squares; G wants its own to get 1.",
                          "Mao et al. 2017, arXiv:1611.04076, eq. 9"),
    "hinge": Loss(lambda real, fake: F.relu(1 - real).mean() + F.relu(1 + fake).mean(), lambda fake: -fake.mean(),
                  "D wants scores above 1 for real and below -1 for made examples, and no further; G raises its own.",
                  "Lim & Ye 2017, arXiv:1705.02894; Miyato et al. 2018, eqs. 16 and 17"),
    "Wasserstein": Loss(lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean(),
                        "D drives the mean scores apart, which measures a distance only if D's slope is bounded "
                        "(clip, gradient penalty or spectral norm); G raises its own score.",
                        "Arjovsky et al. 2017, arXiv:1701.07875, eqs. 2 and 3"),
}
BOTH = {"grad_minimax": "minimax", "grad_nonsaturating": "non-saturating"}     # the two gradients that are watched
TURNS = ("alternate", "discriminator", "generator")


def optimal_discriminator(p: Tensor, q: Tensor) -> Tensor:
    """D*(x) = p / (p + q), the best discriminator between the data's density p and the generator's q at the same
    points (paper, proposition 1). Where both are 0 any answer is as good: NaN."""
    p, q = torch.as_tensor(p), torch.as_tensor(q)
    return torch.where(q.isinf(), torch.zeros_like(p), p / (p + q))


# -- keeping the discriminator gentle --------------------------------------------------------------------------------


def slopes(discriminator: nn.Module, x: Tensor) -> Tensor:
    """|dD(x)/dx| of the logit, the length of its gradient at each example: (B, ...) -> (B,)."""
    x = x.detach().requires_grad_()
    gradient, = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    # sqrt has no slope at 0, where a dead discriminator is: the 1e-24 keeps the penalty's gradient finite there.
    return (gradient.flatten(1).square().sum(1) + 1e-24).sqrt()


def gradient_penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, rng: Rng) -> Tensor:
    """E (|dD(x)/dx| - 1)^2 at points drawn between real and made examples (Gulrajani et al. 2017, arXiv:1704.00028,
    eq. 3, without its weight)."""
    t = rng.uniform((len(real), *[1] * (real.ndim - 1)))
    return (slopes(discriminator, torch.lerp(fake, real, t)) - 1).square().mean()


def r1_penalty(discriminator: nn.Module, real: Tensor) -> Tensor:
    """1/2 E |dD(x)/dx|^2 on real examples (Mescheder et al. 2018, arXiv:1801.04406, eq. 9, without its weight)."""
    return 0.5 * slopes(discriminator, real).square().mean()


# -- the game --------------------------------------------------------------------------------------------------------


class GANKnobs(Knobs):
    """What can be changed while the two play."""

    loss = Choice("non-saturating", LOSSES, "loss")
    turn = Choice("alternate", TURNS, "who learns")
    lr_g = Real(1e-3, 0.0, 1.0, "learning rate of G", log=True, slider=(1e-5, 1e-1))
    lr_d = Real(1e-3, 0.0, 1.0, "learning rate of D", log=True, slider=(1e-5, 1e-1))
    eps = Real(1e-8, 1e-12, 1.0, "Adam's epsilon of G", symbol="ε", log=True, slider=(1e-8, 1.0),
               help="Adam divides a gradient by its usual size plus epsilon: far smaller ones hardly move anything")
    d_steps = Whole(1, 0, 20, "steps of D for one of G", slider=(0, 5), help="each on fresh data; 0: D stands still")
    clip = Real(0.0, 0.0, 10.0, "clip D's weights", slider=(0, 0.1), help="to [-c, c] after each step; 0: not at all")
    penalty = Real(0.0, 0.0, 1000.0, "gradient penalty", symbol="λ", slider=(0, 10),
                   help="pulls the slope of D to 1 between real and made examples (WGAN-GP)")
    r1 = Real(0.0, 0.0, 1000.0, "R1 penalty", symbol="γ", slider=(0, 10), help="pulls the slope of D on data to 0")
    spectral = Switch(False, "spectral norm", help="divides each weight matrix of D by its largest singular value")
    ema = Real(0.0, 0.0, 0.9999, "averaging of G", slider=(0, 0.999),
               help="the share of its old value that the averaged G keeps in a step; 0: no averaging")
    watch = Switch(True, "watch both gradients", help="compute the minimax and the non-saturating gradient of G")


class GAN(Recipe):
    """A generator and a discriminator, trained by turns.

    Terms of a step: ``discriminator`` and ``generator``, the losses; ``real`` and ``fake``, the mean of
    sigmoid(logit) on data and on samples, and ``real_logit``, ``fake_logit``, that of the logit itself;
    ``grad_minimax`` and ``grad_nonsaturating``, the norms of the gradients that G's parameters would get from either
    loss, both on the state and the samples that this step's update of G uses.

    Args:
        generator: has ``latent`` (L) and ``shape``, maps (B, L) -> (B, ...).
        discriminator: maps (B, ...) -> logits (B,): a :class:`~dgmlab.models.discriminator.Discriminator`.
        betas: of both Adams. The first is below the usual 0.9, as in Radford et al. 2016 (arXiv:1511.06434).
    """

    Knobs = GANKnobs
    baked_knobs = ("eps", "clip", "penalty", "r1", "ema")

    def __init__(self, generator: nn.Module, discriminator: nn.Module, betas: tuple[float, float] = (0.5, 0.9)):
        super().__init__()
        for name in ("latent", "shape"):
            if not hasattr(generator, name):
                raise LabError(f"{type(generator).__name__} has no attribute {name!r}; a GAN's generator says how many "
                               "numbers its code has (latent) and what shape an example has (shape).")
        if tuple(getattr(discriminator, "shape", generator.shape)) != tuple(generator.shape):
            raise LabError(f"The generator makes examples of shape {tuple(generator.shape)} and the discriminator "
                           f"takes {tuple(discriminator.shape)}; build both with the same shape.")
        self.generator, self.discriminator, self.betas = generator, discriminator, betas
        self.averaged = copy.deepcopy(generator).requires_grad_(False)      # see the knob ema
        # Kept, since gathering a module's parameters takes as long as a few small products.
        self._weights, self._average = list(generator.parameters()), list(self.averaged.parameters())

    def players(self):
        return {"discriminator": self.discriminator.parameters(), "generator": self.generator.parameters()}

    def optimizer(self, player, parameters, **fast):
        return torch.optim.Adam(parameters, lr=1e-3, betas=self.betas, **fast)

    def batches(self, knobs) -> int:
        """One for each step of the discriminator."""
        return max(1, knobs.d_steps) if knobs.turn != "generator" else 1

    def step(self, batch, knobs, rng: Rng, update) -> dict[str, Tensor]:
        """The discriminator's turn, then the generator's; x is ``batch[0]`` (d_steps * B, ...)."""
        loss, latent = LOSSES[knobs.loss], self.generator.latent
        turn_d, turn_g = knobs.turn != "generator" and knobs.d_steps > 0, knobs.turn != "discriminator"
        if hasattr(self.discriminator, "normalise"):
            self.discriminator.normalise(knobs.spectral)

        for x in batch[0].chunk(self.batches(knobs)):                                               # (B, ...)
            with torch.no_grad():
                made = self.generator(rng.normal((len(x), latent)))                                 # (B, ...)
            with torch.set_grad_enabled(turn_d):
                real, fake = self.discriminator(torch.cat([x, made])).chunk(2)                      # (B,) each
                d = loss.discriminator(real, fake)
            if turn_d:
                cost = d
                if knobs.penalty > 0:
                    cost = cost + knobs.penalty * gradient_penalty(self.discriminator, x, made, rng)
                if knobs.r1 > 0:
                    cost = cost + knobs.r1 * r1_penalty(self.discriminator, x)
                update("discriminator", cost, lr=knobs.lr_d)
                if knobs.clip > 0:
                    self.clip(knobs.clip)

        if turn_g or knobs.watch:
            fake = self.discriminator(self.generator(rng.normal((len(x), latent))))                 # (B,)
        g = loss.generator(fake)
        with torch.no_grad():
            logits = torch.stack([real, fake])                                                      # (2, B)
            terms = {"discriminator": d, "generator": g} | _named(("real", "fake"), logits.sigmoid().mean(1))
        if knobs.watch:
            terms |= _named(("real_logit", "fake_logit"), logits.mean(1)) | dict.fromkeys(BOTH)
            for name, which in BOTH.items():
                if which != knobs.loss or not turn_g:           # that of the loss in force is computed below anyway
                    terms[name] = length(torch.autograd.grad(LOSSES[which].generator(fake), self._weights,
                                                             retain_graph=True))
        if turn_g:
            update("generator", g, lr=knobs.lr_g, eps=knobs.eps)
            for name, which in BOTH.items() if knobs.watch else ():
                if which == knobs.loss:
                    terms[name] = length([weight.grad for weight in self._weights])
            self.average(knobs.ema)
        return terms

    @torch.no_grad()
    def clip(self, bound: float) -> None:
        """Every weight and bias of the discriminator into [-bound, bound] (Arjovsky et al. 2017, algorithm 1)."""
        for weight in self.discriminator.parameters():
            weight.clamp_(-bound, bound)

    @torch.no_grad()
    def average(self, keep: float) -> None:
        """averaged <- keep * averaged + (1 - keep) * generator, weight by weight (Yazici et al. 2019,
        arXiv:1806.04498): the plain generator goes round the goal, its average over the last 1 / (1 - keep) steps
        less so."""
        torch._foreach_lerp_(self._average, self._weights, 1 - keep)

    # -- what it makes -----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, n: int, rng: Rng, averaged: bool = False) -> Tensor:
        """``n`` examples, (n, ...), of the generator or of its average."""
        check_number("The number of samples", n, 1, whole=True)
        return (self.averaged if averaged else self.generator)(rng.normal((n, self.generator.latent)))

    @torch.no_grad()
    def probability(self, x: Tensor) -> Tensor:
        """sigmoid(logit) at examples (B, ...) -> (B,): D(x), if the loss is one of cross-entropies."""
        return self.discriminator(x).sigmoid()

    def pull(self, x: Tensor, loss: str = "non-saturating") -> Tensor:
        """Which way, and how strongly, each sample would go to lower the generator's loss by itself: minus the
        gradient of its own share of the loss, (B, ...) -> (B, ...)."""
        check_choice("The loss", loss, LOSSES)
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            gradient, = torch.autograd.grad(LOSSES[loss].generator(self.discriminator(x)) * len(x), x)
        return -gradient


def _named(names, values: Tensor) -> dict[str, Tensor]:
    return dict(zip(names, values.unbind(), strict=True))


def length(tensors) -> Tensor:
    """The Euclidean length of all numbers together. Scaled first, or a saturated gradient's squares would be 0."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    largest = flat.abs().max().clamp(min=torch.finfo(flat.dtype).tiny)
    return largest * torch.linalg.vector_norm(flat / largest)
