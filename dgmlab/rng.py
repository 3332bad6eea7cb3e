"""Random numbers that belong to one run.

Every random draw of a training run (data order, latent noise, dropout) comes from the run's own generator, never
from torch's global one: a cell that draws numbers while a run trains in the background cannot change its result,
and saving the generator's state is enough to resume a run exactly.
"""

from __future__ import annotations

import torch


class Rng:
    """A seeded source of random tensors.

    With ``shards`` processes training on one global batch, each process draws the noise of the whole batch and
    keeps its own slice of the leading dimension, so that the result does not depend on the number of processes.

    Args:
        seed: any whole number; equal seeds give equal draws on one kind of device.
        device: where the tensors are drawn.
        shard, shards: this process's place among those that share a global batch.
    """

    def __init__(self, seed: int = 0, device: str | torch.device = "cpu", *, shard: int = 0, shards: int = 1):
        self.generator = torch.Generator(device).manual_seed(seed)
        self.shard, self.shards = shard, shards

    @property
    def device(self) -> torch.device:
        return self.generator.device

    def normal(self, shape) -> torch.Tensor:
        """Standard normal draws of ``shape`` (the leading dimension counts examples)."""
        return self._own(torch.randn(self._whole(shape), generator=self.generator, device=self.device))

    def uniform(self, shape) -> torch.Tensor:
        """Draws from [0, 1) of ``shape`` (the leading dimension counts examples)."""
        return self._own(torch.rand(self._whole(shape), generator=self.generator, device=self.device))

    def integers(self, high: int, shape) -> torch.Tensor:
        """Whole numbers from 0 to ``high - 1`` of ``shape`` (the leading dimension counts examples)."""
        return self._own(torch.randint(high, self._whole(shape), generator=self.generator, device=self.device))

    def permutation(self, n: int) -> torch.Tensor:
        """A random order of 0 .. n-1, the same in every process."""
        return torch.randperm(n, generator=self.generator, device=self.device)

    def state(self) -> torch.Tensor:
        """The generator's state as a byte tensor; :meth:`restore` puts it back."""
        return self.generator.get_state().clone()

    def restore(self, state: torch.Tensor) -> None:
        self.generator.set_state(state.cpu())

    def _whole(self, shape):
        return tuple(shape) if self.shards == 1 else (shape[0] * self.shards, *shape[1:])

    def _own(self, draws: torch.Tensor) -> torch.Tensor:
        return draws if self.shards == 1 else draws.chunk(self.shards)[self.shard]
