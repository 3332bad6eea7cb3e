"""Several processes, one run: each computes its share of every batch, the gradients are averaged.

Start it with ``accelerate launch`` (one process a GPU; on a machine without one, ``--cpu --num_processes 2`` uses
gloo). The models stay plain modules: after each backward pass their gradients are averaged in one message, which works
for any number of optimizers and players. Since :class:`~dgmlab.rng.Rng` deals every process its slice of the same
random numbers, the result is that of a single process on the same global batch, up to the order of summation.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor


class Processes:
    """This process among those that share a run."""

    def __init__(self):
        from accelerate import PartialState

        state = PartialState()
        self.rank, self.number, self.device = state.process_index, state.num_processes, state.device

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace each gradient by its mean over the processes."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch._utils._flatten_dense_tensors(gradients)
        self._mean_(flat)
        for gradient, mean in zip(gradients, torch._utils._unflatten_dense_tensors(flat, gradients)):
            gradient.copy_(mean)

    def mean_of(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms of the loss over the whole batch."""
        values = torch.stack([torch.as_tensor(v, device=self.device).detach().float() for v in terms.values()])
        self._mean_(values)
        return dict(zip(terms, values.unbind()))

    def _mean_(self, tensor: Tensor) -> None:
        torch.distributed.all_reduce(tensor)
        tensor /= self.number


def processes() -> Processes | None:
    """The group this process was launched into, or None."""
    return Processes() if int(os.environ.get("WORLD_SIZE", 1)) > 1 else None
