"""What a run remembers of every step: one column a loss term, one row a step."""

from __future__ import annotations

import math
import threading
from array import array

import numpy as np
import torch
from torch import Tensor

from ..errors import LabError, check_choice

ROWS_ON_DEVICE = 256        # rows kept on an accelerator before they are fetched in one go


class History:
    """The columns of a run's metrics.

    On a CPU the numbers are read at once. On an accelerator reading a number would make the host wait for the device
    at every step; there the rows gather in a buffer on the device and are fetched when it is full or when someone
    looks. Looking is allowed from any thread.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self._device = torch.device(device)
        self._columns: dict[str, array] = {}
        self._settings: dict[str, array] = {}
        self._keys: tuple[str, ...] = ()
        self._buffer: Tensor | None = None
        self._waiting = 0
        self._recorded: dict[str, dict[int, float]] = {}
        self._bad: list[tuple[int, str]] = []       # rows and names of terms that were infinite or undefined
        self._lock = threading.RLock()
        self.rows = 0           # rows fetched; row i belongs to step i + 1

    def __len__(self) -> int:
        return self.rows + self._waiting

    @property
    def names(self) -> list[str]:
        """The terms of the loss; knobs are columns too, see :attr:`knobs`."""
        return list(self._columns)

    @property
    def knobs(self) -> list[str]:
        """The numeric knobs, each with the value that was in force at every step."""
        return list(self._settings)

    @property
    def steps(self) -> np.ndarray:
        """1, 2, ... up to the newest step: the steps that the columns' rows belong to."""
        return np.arange(1, len(self) + 1)

    # -- writing (the run) ---------------------------------------------------------------------------------------

    def note(self, settings: dict[str, float]) -> None:
        """The knobs in force at the step whose row comes next."""
        with self._lock:
            for name, value in settings.items():
                column = self._settings.get(name)
                if column is None:
                    column = self._settings[name] = array("d")
                column.append(value)

    def append(self, terms: dict[str, Tensor | float]) -> None:
        """Add the row of one step."""
        if self._device.type != "cpu":
            self.append_packed(pack(terms, self._device), tuple(terms))
            return
        try:
            values = [value.item() if isinstance(value, Tensor) else float(value) for value in terms.values()]
        except (RuntimeError, TypeError, ValueError):
            shapes = ", ".join(f"{name} {list(getattr(value, 'shape', []))}" for name, value in terms.items())
            raise LabError(f"Every term of a loss must be one number; these have the shapes {shapes}.") from None
        with self._lock:
            self._rekey(tuple(terms))
            for name, value in zip(self._keys, values):
                self._columns[name].append(value)
                if not math.isfinite(value):
                    self._bad.append((self.rows, name))
            self._count(1)

    def append_packed(self, row: Tensor, names: tuple[str, ...]) -> None:
        """Add a row that is already one tensor on the device, see :func:`pack`."""
        with self._lock:
            if names != self._keys or self._buffer is None:
                self.fetch()
                self._rekey(names)
                self._buffer = torch.empty(ROWS_ON_DEVICE, len(names), device=self._device)
            self._buffer[self._waiting].copy_(row)
            self._waiting += 1
            if self._waiting == ROWS_ON_DEVICE:
                self.fetch()

    def fetch(self) -> None:
        """Bring the waiting rows to the host (the one place where the host waits for the device)."""
        with self._lock:
            if not self._waiting:
                return
            rows, self._waiting = self._buffer[:self._waiting].cpu().double().numpy(), 0
            for name, column in zip(self._keys, rows.T):
                self._columns[name].extend(column.tolist())
            self._bad += [(self.rows + int(i), self._keys[j]) for i, j in np.argwhere(~np.isfinite(rows))]
            self._count(len(rows))

    def record(self, step: int, **metrics: float) -> None:
        """Note metrics that are not computed at every step."""
        with self._lock:
            for name, value in metrics.items():
                self._recorded.setdefault(name, {})[int(step)] = float(value)

    def truncate(self, rows: int) -> None:
        """Forget everything after step ``rows``."""
        with self._lock:
            self.fetch()
            for column in (*self._columns.values(), *self._settings.values()):
                del column[rows:]
            for name in self._recorded:
                self._recorded[name] = {k: v for k, v in self._recorded[name].items() if k <= rows}
            self._bad = [(row, name) for row, name in self._bad if row < rows]
            self.rows = min(self.rows, rows)

    def _rekey(self, names):
        if names != self._keys:
            self._keys = names
            for name in names:
                if name not in self._columns:
                    self._columns[name] = array("d", [math.nan] * self.rows)

    def _count(self, rows):
        self.rows += rows
        if len(self._keys) < len(self._columns):        # terms that these steps did not compute
            for column in self._columns.values():
                column.extend([math.nan] * (self.rows - len(column)))

    # -- reading -------------------------------------------------------------------------------------------------

    def column(self, name: str) -> np.ndarray:
        """One term of the loss or one knob, (steps,) float64; NaN where a step did not compute the term."""
        with self._lock:
            self.fetch()
            columns = self._settings | self._columns
            check_choice("The column", name, columns)
            return np.array(columns[name])[:self.rows]

    def recorded(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps and values of a metric noted with :meth:`record`."""
        with self._lock:
            check_choice("The recorded metric", name, self._recorded)
            points = sorted(self._recorded[name].items())
        return np.array([p[0] for p in points]), np.array([p[1] for p in points])

    def last(self) -> dict[str, float]:
        """The newest row."""
        with self._lock:
            self.fetch()
            return {name: column[-1] for name, column in self._columns.items()} if self.rows else {}

    def row(self, index: int) -> dict[str, float]:
        """The terms of one step; row i belongs to step i + 1."""
        with self._lock:
            if index >= self.rows:
                self.fetch()
            if index >= self.rows:
                raise LabError(f"The history has no step {index + 1:,} any more; the run went back to step "
                               f"{self.rows:,}.")
            return {name: column[index] for name, column in self._columns.items()}

    def first_bad(self) -> tuple[int, list[str]] | None:
        """The first row with an infinite or undefined term, and the names of such terms, among the rows fetched."""
        if not self._bad:
            return None
        first = self._bad[0][0]
        return first, [name for row, name in self._bad if row == first]

    def frame(self):
        """A pandas DataFrame indexed by step (1 = after the first step); recorded metrics join at their steps."""
        import pandas as pd

        with self._lock:
            self.fetch()
            frame = pd.DataFrame({name: self.column(name) for name in (*self._columns, *self._settings)},
                                 index=pd.RangeIndex(1, self.rows + 1, name="step"))
            for name, points in self._recorded.items():
                frame[name] = pd.Series(points, dtype=float)
            return frame

    # -- saving --------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict]:
        with self._lock:
            return ({f"history.{name}": torch.tensor(self.column(name)) for name in self._columns}
                    | {f"settings.{name}": torch.tensor(self.column(name)) for name in self._settings},
                    {"recorded": {n: list(p.items()) for n, p in self._recorded.items()},
                     "names": list(self._columns), "knobs": list(self._settings)})

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        with self._lock:
            self._columns = {name: array("d", tensors[f"history.{name}"].tolist()) for name in meta["names"]}
            self._settings = {name: array("d", tensors[f"settings.{name}"].tolist()) for name in meta["knobs"]}
            self._keys, self._buffer, self._waiting, self._bad = (), None, 0, []
            self._recorded = {name: {int(k): v for k, v in points} for name, points in meta["recorded"].items()}
            self.rows = max((len(c) for c in self._columns.values()), default=0)


def pack(terms: dict[str, Tensor | float], device: torch.device) -> Tensor:
    """The terms of a step as one float32 tensor on the device, without waiting for it."""
    return torch.stack([value.detach().float() if isinstance(value, Tensor)
                        else torch.full((), float(value), device=device) for value in terms.values()])
