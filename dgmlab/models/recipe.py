"""What a model must offer to be trained: the protocol between the models and the run.

Most models only write :meth:`Recipe.loss`. A model with several optimizers (a GAN has a discriminator and a
generator) names its players and writes :meth:`Recipe.step`, which calls ``update`` once for every descent:

    def players(self):
        return {"discriminator": self.discriminator.parameters(), "generator": self.generator.parameters()}

    def step(self, batch, knobs, rng, update):
        d = self.discriminator_loss(batch, rng)
        update("discriminator", d, lr=knobs.lr_d)
        g = self.generator_loss(batch, rng)
        update("generator", g, lr=knobs.lr_g)
        return {"discriminator": d, "generator": g}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from ..knobs import Knobs, Real
from ..rng import Rng


class LearningRate(Knobs):
    """The one knob that every model has."""

    lr = Real(1e-3, 0.0, 1.0, "learning rate", log=True, slider=(1e-5, 1e-1))


class Recipe(nn.Module):
    """A module that knows its loss, its knobs and its optimizers."""

    Knobs: type[Knobs] = LearningRate
    # Real-valued knobs that a captured CUDA graph must hold as plain numbers: those that step() decides with in Python,
    # and optimizer settings other than lr. Moving one captures the step anew.
    baked_knobs: tuple[str, ...] = ()

    def loss(self, batch: tuple[Tensor, ...], knobs, rng: Rng) -> dict[str, Tensor]:
        """The terms of the loss, each a scalar, in nats per example unless the model says otherwise.

        ``"loss"`` is the one to descend; the others are shown beside it. ``batch`` is a tuple of tensors whose
        leading dimension counts examples; ``knobs`` carries the values of this step.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how to compute its loss.")

    def players(self) -> dict[str, Iterable[nn.Parameter]]:
        """The groups of parameters, one optimizer each."""
        return {"model": self.parameters()}

    def optimizer(self, player: str, parameters: list[nn.Parameter], **fast) -> torch.optim.Optimizer:
        """The optimizer of one player; ``fast`` holds what the device allows (``fused``, ``capturable``)."""
        return torch.optim.Adam(parameters, lr=1e-3, **fast)

    def batches(self, knobs) -> int:
        """How many batches the step takes in; they come as one, each after the other along the leading dimension."""
        return 1

    def step(self, batch: tuple[Tensor, ...], knobs, rng: Rng, update: Callable) -> dict[str, Tensor]:
        """One training step: compute losses and call ``update(player, loss, **settings)`` for each descent.

        ``settings`` are written into the player's optimizer (``lr``, ``eps``, ``betas`` ...); ``clip`` bounds the
        norm of the gradient. Returns the terms to be logged.
        """
        terms = self.loss(batch, knobs, rng)
        update("model", terms["loss"], lr=knobs.lr)
        return terms
