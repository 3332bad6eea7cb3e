"""Several processes, one run: each computes its share of every batch, the gradients are averaged.

Start it with ``accelerate launch`` (one process a GPU), or on a machine without GPUs with ``torchrun --nproc_per_node
2``, which uses gloo (``accelerate launch --cpu`` starts several processes through MPI only). The models stay plain
modules: after each backward pass their gradients are averaged in one message, which works for any number of optimizers
and players. Since :class:`~dgmlab.rng.Rng` deals every process its slice of the same random numbers, the result is that
of a single process on the same global batch, up to the order of summation.
"""

from __future__ import annotations

import atexit
import os

import torch
from torch import Tensor

from ..errors import LabError


class Processes:
    """This process among those that share a run."""

    def __init__(self, device: str = "auto"):
        # Every optimizer imports this; imported after the group is made, it would hold on to the group, whose threads
        # then abort the process at its end.
        import torch._dynamo  # noqa: F401
        from accelerate import PartialState

        without_gpu = str(device) == "cpu" or os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
        state = PartialState(cpu=without_gpu or not torch.cuda.is_available())
        if state.num_processes != int(os.environ["WORLD_SIZE"]):
            raise LabError(f"WORLD_SIZE asks for {os.environ['WORLD_SIZE']} processes, but only {state.num_processes} "
                           "joined; start them with `accelerate launch` or `torchrun`.")
        self.rank, self.number, self.device = state.process_index, state.num_processes, state.device
        atexit.register(_leave)

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


def _leave() -> None:
    """Gloo's threads must have ended before the interpreter does."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def processes(device: str = "auto") -> Processes | None:
    """The group this process was launched into, or None."""
    return Processes(device) if int(os.environ.get("WORLD_SIZE", 1)) > 1 else None
