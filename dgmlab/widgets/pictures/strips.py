"""Groups of values as strips of dots on one axis, to see which group lies where."""

from __future__ import annotations

import numpy as np
from matplotlib.lines import Line2D

from ...errors import LabError
from ...plots import LABEL, LINES, short
from .base import Picture, nice_above


class Strips(Picture):
    """One strip of dots a group, one above the other, with its median as a bar and a number.

    Data: `groups` {name: (n,)}, values from 0 up; where in its strip a dot lies vertically means nothing.

    Args:
        x: what the values are, with their unit.
    """

    needs = ("groups",)

    def __init__(self, source=None, *, title="", size=(400, 200), x: str = "", **options):
        super().__init__(source, title=title, size=size, **options)
        self.x = x

    def check(self, data):
        super().check(data)
        if not data["groups"]:
            raise LabError("A picture of strips has no groups; give it at least one, as {name: values}.")

    def build(self):
        self.stage.names, self.stage.strips = None, []
        self.frame(20, 42, 16, self.x)
        self.stage.axes.spines["left"].set_visible(False)
        self.stage.axes.set_yticks([])

    def draw(self, data):
        stage = self.stage
        groups = {name: finite(values) for name, values in data["groups"].items()}
        if tuple(groups) != stage.names:
            self._new_strips(tuple(groups))
        largest = max((values.max(initial=0) for values in groups.values()), default=0)
        old = stage.limits and stage.limits[0][1]
        right = old if old and 0.5 * old < 1.02 * largest <= old else nice_above(1.05 * float(largest))
        self.set_limits((0, right), (0, len(groups)))
        for k, (name, values) in enumerate(groups.items()):
            dots, bar, label = stage.strips[k]
            base = len(groups) - 1 - k
            # The golden ratio spreads the dots evenly over the strip, the same way at every refresh.
            dots.set_data(values, base + 0.1 + 0.5 * (np.arange(len(values)) * 0.618034 % 1))
            middle = float(np.median(values)) if len(values) else 0.0
            bar.set_data([middle, middle], [base + 0.02, base + 0.68])
            label.set_text(f"{name}: median {short(middle, steady=True)}" if len(values) else f"{name}: none")
            label.set_position((0.01, (base + 0.72) / len(groups)))

    def _new_strips(self, names):
        stage = self.stage
        for artist in (artist for strip in stage.strips for artist in strip):
            stage.moving.remove(artist)
            artist.remove()
        stage.names, stage.strips = names, []
        for k in range(len(names)):
            colour = LINES[k % len(LINES)]
            dots = self.moves(Line2D([], [], color=colour, marker="o", markersize=3.5, linestyle="", alpha=0.35,
                                     markeredgewidth=0, clip_on=False))
            bar = self.moves(Line2D([], [], color=colour, linewidth=3.5, solid_capstyle="butt"))
            label = self.moves(stage.axes.text(0, 0, "", fontsize=LABEL, color=colour, va="bottom",
                                               transform=stage.axes.transAxes), on_axes=False)
            stage.strips.append((dots, bar, label))

    def alt(self, data):
        parts = [f"{name}: {len(finite(values))} values with median {short(float(np.median(finite(values))))}"
                 for name, values in data["groups"].items() if len(finite(values))]
        return f"{self.headline(data) or 'Dots'}. {self.x or 'Values'}; {'; '.join(parts) or 'none yet'}."


def finite(values) -> np.ndarray:
    values = np.asarray(values, float)
    return values[np.isfinite(values)]
