"""Where a run's batches come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


class SentenceBatches:
    """Random batches of sequences of different lengths, all of one length within a batch: nothing is padded.

    In an epoch each sequence comes once: those of a length are shuffled and cut into batches (the last of a length may
    be smaller), and the batches are shuffled.

    Args:
        tokens: one row of whole numbers a sequence, (T,) each.
        batch_size: sequences a step, at most.
        labels: (N,) whole numbers, the second tensor of a batch; None for batches of the sequences alone.
    """

    def __init__(self, tokens: Sequence, batch_size: int = 32, labels: Tensor | None = None):
        check_number("The batch size", batch_size, 1, whole=True)
        rows = [torch.as_tensor(row, dtype=torch.int64) for row in tokens]
        if not rows or any(row.ndim != 1 or not len(row) for row in rows):
            raise LabError("The sequences must be one or more rows of at least one whole number each.")
        if labels is not None and len(labels) != len(rows):
            raise LabError(f"There are {len(rows)} sequences and {len(labels)} labels, but each sequence needs one.")
        self.batch_size, self.examples = int(batch_size), len(rows)
        by_length: dict[int, list[int]] = {}
        for k, row in enumerate(rows):
            by_length.setdefault(len(row), []).append(k)
        self.groups = []                                        # for each length: (n, T) tokens, and their labels
        for length in sorted(by_length):
            places = by_length[length]
            group = (torch.stack([rows[k] for k in places]),)
            self.groups.append(group if labels is None else (*group, torch.as_tensor(labels)[places]))
        self.batches = sum(-(-len(group[0]) // self.batch_size) for group in self.groups)       # in an epoch
        self._plan: list[tuple[int, Tensor]] = []               # of this epoch: which group, and which of its rows
        self._orders: list[Tensor] = []                         # what the plan was made from
        self._place = 0

    def to(self, device: torch.device) -> None:
        """Move the data to the device, once."""
        self.groups = [tuple(t.to(device) for t in group) for group in self.groups]

    def share(self, shard: int, shards: int) -> None:
        """Batches of unequal size are not divided among processes."""
        raise LabError("Batches of sentences cannot be shared among processes; start a single one.")

    def next(self, order: Rng, rng: Rng) -> tuple[Tensor, ...]:
        """The next batch, (B, T) and, if there are labels, (B,); ``order`` shuffles the epochs."""
        if self._place == len(self._plan):
            self._set_plan([order.permutation(len(group[0])) for group in self.groups]
                           + [order.permutation(self.batches)])
            self._place = 0
        group, rows = self._plan[self._place]
        self._place += 1
        return tuple(t.index_select(0, rows) for t in self.groups[group])

    def _set_plan(self, orders: list[Tensor]) -> None:
        self._orders, device = orders, self.groups[0][0].device
        cut = [(k, _without_waiting(rows, device)) for k, order in enumerate(orders[:-1])
               for rows in order.split(self.batch_size)]
        self._plan = [cut[k] for k in orders[-1].tolist()]

    def state(self) -> tuple[dict[str, Tensor], dict]:
        """Tensors and JSON-able data from which :meth:`restore` goes on with the same batches."""
        orders = {"order": torch.cat(self._orders)} if self._orders else {}
        return orders, {"place": self._place, "lengths": [len(group[0]) for group in self.groups],
                        "batch_size": self.batch_size}

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        lengths = [len(group[0]) for group in self.groups]
        if (meta["lengths"], meta["batch_size"]) != (lengths, self.batch_size):
            raise LabError(f"The saved run drew batches of {meta['batch_size']} from other sentences than this one, "
                           f"which draws {self.batch_size} from {self.examples:,}; use the same corpus and batch size "
                           "to go on with it.")
        if "order" in tensors:
            self._set_plan(list(tensors["order"].cpu().split([*lengths, self.batches])))
        else:
            self._plan, self._orders = [], []
        self._place = meta["place"]


def _without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device; from pinned memory a CUDA device fetches it while the host goes on."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)
