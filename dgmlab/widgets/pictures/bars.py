"""One value a dimension, as bars."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...plots import (
    CLASSES,
    QUIET,
    SMALL,
    SOFT,
    short,
)
from .base import DASHED, Picture, steady_range


class Bars(Picture):
    """One value a dimension, largest first, e.g. the KL of every latent, and how many reach a threshold.

    Data: `values` (d,).

    Args:
        title: `{used}` and `{all}` stand for the counts.
        unit: of the values, for the axis ("KL (nats)").
        threshold: from here on a dimension counts as in use.
    """

    needs = ("values",)

    def __init__(self, source=None, *, title="{used} of {all} dimensions in use", size=(400, 160),
                 unit: str = "KL (nats)", x: str = "latent dimension, sorted", threshold: float = 0.1, **options):
        super().__init__(source, title=title, size=size, **options)
        self.unit, self.x, self.threshold = unit, x, threshold

    def headline(self, data):
        values = np.asarray(data["values"])
        return super().headline(data).replace("{used}", str(self._used(values))).replace("{all}", str(len(values)))

    def _used(self, values):
        return int((np.asarray(values) >= self.threshold).sum())

    def build(self):
        stage = self.stage
        self.frame(52, 42, 12, self.x, self.unit)
        stage.axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        stage.axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        stage.bars = self.moves(PolyCollection([], linewidths=0))
        across = stage.axes.get_yaxis_transform()
        self.moves(Line2D([0, 1], [self.threshold] * 2, transform=across, **DASHED))
        self.moves(stage.axes.text(0.995, 0.97, f"dashed: in use from {short(self.threshold)}", ha="right", va="top",
                                   fontsize=SMALL, color=SOFT, transform=stage.axes.transAxes), on_axes=False)

    def draw(self, data):
        stage = self.stage
        values = np.nan_to_num(np.asarray(data["values"], float), posinf=0, neginf=0)
        values = np.sort(values)[::-1]
        x = np.arange(1, len(values) + 1)
        extent = min(0, values.min(initial=0)), max(values.max(initial=0), 2 * self.threshold)
        self.set_limits((0.4, len(values) + 0.6), steady_range(extent, stage.limits and stage.limits[1], room=0.05))
        zero = np.zeros_like(values)
        stage.bars.set_verts(np.stack([np.stack([x - 0.4, zero], 1), np.stack([x - 0.4, values], 1),
                                       np.stack([x + 0.4, values], 1), np.stack([x + 0.4, zero], 1)], 1))
        stage.bars.set_facecolors([CLASSES[2] if value >= self.threshold else QUIET for value in values])

    def alt(self, data):
        values = np.sort(np.nan_to_num(np.asarray(data["values"], float)))[::-1]
        if not len(values):
            return f"Bars of {self.unit}: no values yet."
        return (f"{self.headline(data)}: {self.unit} per dimension from {short(values[0])} down to "
                f"{short(values[-1])}, {self._used(values)} at or above {short(self.threshold)}.")
