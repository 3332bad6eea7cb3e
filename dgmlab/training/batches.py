"""Where a run's batches come from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import LabError, check_number
from ..rng import Rng


class TensorBatches:
    """Random batches from tensors that live on the device: each example once an epoch, in a new order each time.

    The examples left over when an epoch does not divide into whole batches wait for the next epoch's order.

    Args:
        tensors: one tensor, or several of equal leading dimension (N, ...).
        batch_size: examples a step, over all processes.
        transform: changes each batch (a tuple of tensors) with fresh random numbers, ``transform(batch, rng)``;
            used to binarise pixels anew at each presentation, for example.

    Anything with the same five methods can feed a run: an environment that an agent steps through, or sentences
    grouped by length.
    """

    def __init__(self, tensors: Tensor | tuple[Tensor, ...], batch_size: int = 128,
                 transform: Callable[[tuple[Tensor, ...], Rng], tuple[Tensor, ...]] | None = None):
        self.tensors = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
        if not all(isinstance(t, Tensor) for t in self.tensors):
            raise LabError("A run draws its batches from tensors; turn arrays into them with torch.as_tensor(array).")
        lengths = {len(t) for t in self.tensors}
        if len(lengths) != 1:
            raise LabError(f"The tensors of a data set must hold equally many examples; these hold {sorted(lengths)}.")
        self.examples = lengths.pop()
        check_number("The batch size", batch_size, 1, whole=True)
        if batch_size > self.examples:
            raise LabError(f"The batch size is {batch_size}, but there are only {self.examples} examples; "
                           "choose a smaller one.")
        self.batch_size, self.transform = int(batch_size), transform
        self._order: Tensor | None = None
        self._place = 0
        self._shard, self._shards = 0, 1

    def to(self, device: torch.device) -> None:
        """Move the data to the device, once."""
        self.tensors = tuple(t.to(device) for t in self.tensors)

    def share(self, shard: int, shards: int) -> None:
        """Of every batch, hand out only the slice of one among several processes."""
        if self.batch_size % shards:
            raise LabError(f"A batch of {self.batch_size} does not divide among {shards} processes; "
                           f"choose a multiple of {shards}.")
        self._shard, self._shards = shard, shards

    def next(self, order: Rng, rng: Rng) -> tuple[Tensor, ...]:
        """The next batch; ``order`` shuffles the epochs, ``rng`` feeds the transform."""
        if self._order is None or self._place + self.batch_size > self.examples:
            self._order, self._place = _without_waiting(order.permutation(self.examples), self.tensors[0].device), 0
        own = self.batch_size // self._shards
        start = self._place + self._shard * own
        indices = self._order[start:start + own]
        self._place += self.batch_size
        batch = tuple(t.index_select(0, indices) for t in self.tensors)
        return self.transform(batch, rng) if self.transform else batch

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and JSON-able data from which :meth:`restore` goes on with the same batches."""
        return ({} if self._order is None else {"order": self._order.clone()}), {
            "place": self._place, "examples": self.examples, "batch_size": self.batch_size}

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        if (meta["examples"], meta["batch_size"]) != (self.examples, self.batch_size):
            raise LabError(f"The saved run drew batches of {meta['batch_size']} from {meta['examples']:,} examples, "
                           f"this one draws {self.batch_size} from {self.examples:,}; use the same data and batch size "
                           "to go on with it.")
        order = tensors.get("order")
        self._order = None if order is None else order.to(self.tensors[0].device)
        self._place = meta["place"]


def _without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; from pinned memory a CUDA device fetches it while the host goes on."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
