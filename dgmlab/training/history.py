"""What a run remembers of every step: one column a loss term, one row a step."""

from __future__ import annotations

import math
from array import array

import numpy as np
import torch
from torch import Tensor

from ..errors import check_choice

ROWS_ON_DEVICE = 256        # rows kept on an accelerator before they are fetched in one go


class History:
    """The columns of a run's metrics.

    On a CPU the numbers are read at once. On an accelerator reading a number would make the host wait for the device
    at every step; there the rows gather in a buffer on the device and are fetched when it is full or when someone
    looks.
    """

    def __init__(self, device: torch.device | str = "cpu"):
        self._device = torch.device(device)
        self._columns: dict[str, array] = {}
        self._settings: dict[str, array] = {}
        self._keys: tuple[str, ...] = ()
        self._buffer: Tensor | None = None
        self._waiting = 0
        self._recorded: dict[str, dict[int, float]] = {}
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
        for name, value in settings.items():
            column = self._settings.get(name)
            if column is None:
                column = self._settings[name] = array("d")
            column.append(value)

    def append(self, terms: dict[str, Tensor | float]) -> None:
        """Add the row of one step."""
        if self._device.type == "cpu":
            if tuple(terms) != self._keys:
                self._rekey(terms)
            for name, value in terms.items():
                self._columns[name].append(value.item() if isinstance(value, Tensor) else float(value))
            self.rows += 1
            self._fill_gaps(terms)
            return
        if tuple(terms) != self._keys:
            self.fetch()
            self._rekey(terms)
            self._buffer = torch.empty(ROWS_ON_DEVICE, len(terms), device=self._device)
        values = [v.detach().float() if isinstance(v, Tensor) else torch.full((), v, device=self._device)
                  for v in terms.values()]
        self.append_packed(torch.stack(values))

    def append_packed(self, row: Tensor) -> None:
        """Add a row that is already one tensor on the device, in the order of the last keys."""
        self._buffer[self._waiting].copy_(row)
        self._waiting += 1
        if self._waiting == ROWS_ON_DEVICE:
            self.fetch()

    def fetch(self) -> None:
        """Bring the waiting rows to the host (the one place where the host waits for the device)."""
        if not self._waiting:
            return
        rows, self._waiting = self._buffer[:self._waiting].cpu().numpy(), 0
        for name, column in zip(self._keys, rows.T):
            self._columns[name].extend(column.astype(float))
        self.rows += len(rows)
        self._fill_gaps(self._keys)

    def record(self, step: int, **metrics: float) -> None:
        """Note metrics that are not computed at every step."""
        for name, value in metrics.items():
            self._recorded.setdefault(name, {})[step] = float(value)

    def truncate(self, rows: int) -> None:
        """Forget everything after step ``rows``."""
        self.fetch()
        for column in (*self._columns.values(), *self._settings.values()):
            del column[rows:]
        for name in self._recorded:
            self._recorded[name] = {k: v for k, v in self._recorded[name].items() if k <= rows}
        self.rows = min(self.rows, rows)

    def _rekey(self, terms):
        self._keys = tuple(terms)
        for name in terms:
            if name not in self._columns:
                self._columns[name] = array("d", [math.nan] * self.rows)

    def _fill_gaps(self, present):
        if len(present) < len(self._columns):
            for column in self._columns.values():
                column.extend([math.nan] * (self.rows - len(column)))

    # -- reading -------------------------------------------------------------------------------------------------

    def column(self, name: str) -> np.ndarray:
        """One term of the loss or one knob, (steps,) float64; NaN where a step did not compute the term."""
        self.fetch()
        columns = self._settings | self._columns
        check_choice("The column", name, columns)
        return np.array(columns[name])[:self.rows]

    def recorded(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The steps and values of a metric noted with :meth:`record`."""
        check_choice("The recorded metric", name, self._recorded)
        points = sorted(self._recorded[name].items())
        return np.array([p[0] for p in points]), np.array([p[1] for p in points])

    def last(self) -> dict[str, float]:
        """The newest row."""
        self.fetch()
        return {name: column[-1] for name, column in self._columns.items()} if self.rows else {}

    def row(self, index: int) -> dict[str, float]:
        if index >= self.rows:
            self.fetch()
        return {name: column[index] for name, column in self._columns.items()}

    def first_bad(self, start: int = 0) -> tuple[int, list[str]] | None:
        """The first row from ``start`` on with an infinite or undefined term, and the names of such terms."""
        self.fetch()
        bad: dict[int, list[str]] = {}
        for name in self._keys:
            values = np.array(self._columns[name][start:])
            wrong = np.flatnonzero(~np.isfinite(values))
            if len(wrong):
                bad.setdefault(start + int(wrong[0]), []).append(name)
        return min(bad.items()) if bad else None

    def frame(self):
        """A pandas DataFrame indexed by step (1 = after the first step); recorded metrics join at their steps."""
        import pandas as pd

        self.fetch()
        frame = pd.DataFrame({name: self.column(name) for name in (*self._columns, *self._settings)},
                             index=pd.RangeIndex(1, self.rows + 1, name="step"))
        for name, points in self._recorded.items():
            frame[name] = pd.Series(points, dtype=float)
        return frame

    # -- saving --------------------------------------------------------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict]:
        self.fetch()
        return ({f"history.{name}": torch.tensor(self.column(name)) for name in self._columns}
                | {f"settings.{name}": torch.tensor(self.column(name)) for name in self._settings},
                {"keys": list(self._keys), "recorded": {n: list(p.items()) for n, p in self._recorded.items()}})

    def restore(self, tensors: dict[str, Tensor], meta: dict) -> None:
        for columns, prefix in ((self._columns, "history."), (self._settings, "settings.")):
            columns.clear()
            columns.update({name.removeprefix(prefix): array("d", values.tolist())
                            for name, values in tensors.items() if name.startswith(prefix)})
        self._keys, self._buffer, self._waiting = (), None, 0
        self._recorded = {name: {int(k): v for k, v in points} for name, points in meta["recorded"].items()}
        self.rows = max((len(c) for c in self._columns.values()), default=0)
