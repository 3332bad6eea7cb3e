"""The posteriors q(z|x) of a few inputs as ellipses in a plane, and what each place of a sequence costs."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import EllipseCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from ...errors import LabError
from ...plots import CLASSES, LABEL, LINES, SMALL, SOFT, class_colour, short
from .base import DASHED, Picture, steady_range

REACH = 2.0             # standard deviations: 86 % of a Gaussian in the plane lie within


class Ellipses(Picture):
    """Each posterior N(mu, diag sigma^2) as the ellipse that holds 86 % of it, named at its mean; the prior is dashed.

    Data: `mu` and `sigma` (n, d); the first two dimensions are drawn. A collapsed posterior is the prior's circle.

    Args:
        names: of the n inputs; by default 0, 1, 2 ...
        limit: how far the axes reach at least, from 0.
        labels: whether the axes are named.
    """

    needs = ("mu", "sigma")

    def __init__(self, source=None, *, title="q(z|x) of each sequence", size=(300, 300), names=None, limit=2.6,
                 labels: bool = True, **options):
        super().__init__(source, title=title, size=size, **options)
        self.names, self.limit, self.labels = names, limit, labels

    def check(self, data):
        super().check(data)
        shapes = {np.shape(data["mu"]), np.shape(data["sigma"])}
        if len(shapes) != 1 or len(next(iter(shapes))) != 2:
            raise LabError(f"The ellipses were given arrays of the shapes {sorted(shapes)}; mu and sigma must both be "
                           "(inputs, latent).")

    def build(self):
        stage = self.stage
        stage.view = None
        self.frame(*((44, 40, 8) if self.labels else (26, 22, 6)), *(("latent 1", "latent 2") if self.labels else ()))
        stage.axes.add_patch(Circle((0, 0), REACH, fill=False, **DASHED))
        stage.ellipses, stage.marks = None, []

    def draw(self, data):
        stage = self.stage
        mu, sigma = plane_of(data["mu"]), plane_of(data["sigma"], fill=1.0)
        finite = np.isfinite(mu).all(1) & np.isfinite(sigma).all(1)
        extent = float(np.abs(np.concatenate([mu + REACH * sigma, mu - REACH * sigma])[np.tile(finite, 2)]).max(
            initial=self.limit))
        old = stage.view
        stage.view = old if old and extent <= old <= 1.6 * max(extent, self.limit) else max(self.limit, 1.15 * extent)
        wide, high = stage.axes.bbox.size
        unit = stage.view / min(wide, high)
        self.set_limits((-unit * wide, unit * wide), (-unit * high, unit * high))
        if stage.ellipses:
            stage.moving.remove(stage.ellipses)
            stage.ellipses.remove()
            stage.ellipses = None
        stage.ellipses = self.moves(ellipses(mu[finite], sigma[finite], np.flatnonzero(finite), stage.axes))
        names = self.names or [str(k) for k in range(len(mu))]
        while len(stage.marks) < len(mu):
            k = len(stage.marks)
            stage.marks.append(self.moves(stage.axes.text(0, 0, names[k], fontsize=LABEL, color=class_colour(k),
                                                          weight="bold", ha="center", va="center", clip_on=True)))
        for mark in stage.marks:                        # above the ellipses, which were made anew
            stage.moving.remove(mark)
            stage.moving.append(mark)
        for mark, place, good in zip(stage.marks, mu, finite, strict=True):
            mark.set(position=place if good else (0, 0), visible=bool(good))

    def alt(self, data):
        mu, sigma = plane_of(data["mu"]), plane_of(data["sigma"], fill=1.0)
        spread, width = float(mu.std(0).mean()), float(sigma.mean())
        return (f"{self.headline(data)}: {len(mu)} ellipses in the latent plane; their means have a standard deviation "
                f"of {short(spread)} and they are {short(width)} wide (one standard deviation); the dashed circle is "
                "the prior.")


def plane_of(values, fill: float = 0.0) -> np.ndarray:
    """The first two columns of (n, d); a missing second one is ``fill``."""
    values = np.asarray(values, float)
    return values[:, :2] if values.shape[1] > 1 else np.column_stack([values, np.full(len(values), fill)])


def ellipses(mu: np.ndarray, sigma: np.ndarray, classes, axes, filled: bool = True) -> EllipseCollection:
    """The 86 % ellipses of N(mu, diag sigma^2), (n, 2) each, in the colours of their classes."""
    colours = [class_colour(k) for k in classes]
    return EllipseCollection(2 * REACH * sigma[:, 0], 2 * REACH * sigma[:, 1], np.zeros(len(mu)), units="xy",
                             offsets=mu, offset_transform=axes.transData, edgecolors=colours, linewidths=1.3,
                             facecolors=[colour + "1C" for colour in colours] if filled else "none")


class Places(Picture):
    """What the decoder pays at each place of a sequence, as bars, between two marks: with nothing known, and with the
    best use of the words before alone.

    Data: `costs`, `alone` and `history`, (T,) nats each.
    """

    needs = ("costs", "alone", "history")

    def __init__(self, source=None, *, title="What each place costs", size=(400, 180), **options):
        super().__init__(source, title=title, size=size, **options)

    def build(self):
        stage = self.stage
        self.frame(52, 42, 12, "place in the sequence", "nats")
        stage.axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        stage.axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
        stage.bars = self.moves(PolyCollection([], linewidths=0, facecolors=CLASSES[2], alpha=0.75))
        stage.alone = self.moves(Line2D([], [], color=SOFT, linewidth=1.4, linestyle=(0, (3, 2))))
        stage.history = self.moves(Line2D([], [], color=LINES[1], linewidth=2))
        across = stage.axes.transAxes
        for y, colour, text in ((0.98, SOFT, "dashed: nothing known"), (0.87, LINES[1], "red: best without z"),
                                (0.76, CLASSES[3], "bars: this model, with z")):
            self.moves(stage.axes.text(0.995, y, text, ha="right", va="top", fontsize=SMALL, color=colour,
                                       transform=across), on_axes=False)

    def draw(self, data):
        costs = np.nan_to_num(np.asarray(data["costs"], float))
        x = np.arange(1, len(costs) + 1)
        top = max(costs.max(initial=0), np.max(data["alone"]), 0.1)
        self.set_limits((0.4, len(costs) + 0.6),
                        steady_range((0, 1.45 * top), self.stage.limits and self.stage.limits[1], room=0))
        self.stage.bars.set_verts(boxes(x, costs))
        for line, values in ((self.stage.alone, data["alone"]), (self.stage.history, data["history"])):
            line.set_data(*rungs(x, np.asarray(values, float)))

    def alt(self, data):
        sums = [short(float(np.sum(data[key]))) for key in ("costs", "history", "alone")]
        return (f"{self.headline(data)}: over the {len(data['costs'])} places this model pays {sums[0]} nats, the best "
                f"use of the words before alone {sums[1]}, and with nothing known it would be {sums[2]}.")


def boxes(x: np.ndarray, heights: np.ndarray, width: float = 0.8) -> np.ndarray:
    """The corners (n, 4, 2) of bars at ``x``."""
    zero, left, right = np.zeros_like(heights), x - width / 2, x + width / 2
    corners = (left, zero), (left, heights), (right, heights), (right, zero)
    return np.stack([np.stack(corner, 1) for corner in corners], 1)


def rungs(x: np.ndarray, heights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A short level line over each place, as one line with gaps."""
    across = np.stack([x - 0.45, x + 0.45, np.full(len(x), np.nan)], 1).ravel()
    return across, np.repeat(heights, 3)


