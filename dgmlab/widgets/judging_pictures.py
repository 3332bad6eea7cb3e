"""The pictures of lab 07: a generator under nine meters, k-nearest-neighbour balls, annealing with one latent number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from torch import Tensor

from ..errors import LabError
from ..experiments.chains import Anneal, between
from ..experiments.inference import CurveModel
from ..plots import (
    CLASSES,
    FAINT,
    INK,
    LABEL,
    LINES,
    SMALL,
    SOFT,
    TITLE,
    as_images,
    figure,
    labelled_lines,
    mosaic,
    short,
    tidy,
)

REAL, MADE, BAD = CLASSES[2], LINES[0], LINES[1]        # one colour a thing, through all pictures


# -- meters ----------------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Meter:
    """One row of a board of meters.

    Attributes:
        key: of the number it shows.
        title: its name on the screen.
        ends: the values at the left and at the right end; what lies beyond is shown at the end.
        scale: ``linear``, ``log``, or ``asinh`` (linear near 0, within a hundredth of the larger end).
        words: what it means to lie left of, within, and right of the range of real examples.
        group: a heading above the row, for it and those that follow.
    """

    key: str
    title: str
    ends: tuple[float, float]
    scale: str = "linear"
    words: tuple[str, str, str] = ("worse than real", "as real", "better than real")
    group: str = ""

    def place(self, value: float) -> float:
        """Where a value stands, 0 (left end) to 1 (right end)."""
        def f(v):
            if self.scale == "log":
                return math.log(max(v, 1e-12))
            return math.asinh(100 * v / max(map(abs, self.ends))) if self.scale == "asinh" else v
        left, right = map(f, self.ends)
        return min(1.0, max(0.0, (f(value) - left) / (right - left)))

    def side(self, value: float, real: tuple[float, float]) -> int:
        """-1 left of the range of real examples, 0 within it, 1 right of it."""
        low, high = sorted(real)
        if low <= value <= high:
            return 0
        return (1 if value > high else -1) * (1 if self.ends[1] > self.ends[0] else -1)

    def word(self, value: float, real: tuple[float, float]) -> str:
        return self.words[1 + self.side(value, real)]


class Board:
    """Samples on the left, a row for each meter on the right; the band in a row is the range of real examples.

    Args:
        meters: from the top.
        columns, rows: of the images shown.
    """

    def __init__(self, meters: Sequence[Meter], columns: int = 7, rows: int = 9, size: tuple[int, int] = (1030, 450)):
        self.meters, self.columns, self.rows = tuple(meters), columns, rows
        self.fig = figure(*size)
        self.fig.set_layout_engine("none")
        width, height = size
        left, right, top, bottom = 462, width - 248, 62, 14        # of the lines on which the marks stand
        self._images = self.fig.add_axes((10 / width, bottom / height, 280 / width, (height - top - bottom) / height))
        self._rows = self.fig.add_axes((left / width, bottom / height, (right - left) / width,
                                        (height - top - bottom) / height))
        self._rows.set(xlim=(0, 1), ylim=(len(meters) - 0.5, -0.5))
        self._rows.set_axis_off()
        self._title = self.fig.text(10 / width, 1 - 24 / height, "", fontsize=TITLE, color=INK)
        for x, text, align in ((left, "◂ worse", "left"), (right, "better ▸", "right"), (right + 36, "now", "center"),
                               (right + 100, "unseen real", "center"), (width - 10, "so it is", "right")):
            self.fig.text(x / width, 1 - 52 / height, text, fontsize=SMALL, color=SOFT, ha=align)
        self._bands, self._marks, self._values, self._ranges, self._words = [], [], [], [], []

        def text(pixels, k, colour, align, says="", size=LABEL):
            x = (pixels - left) / (right - left)
            return self._rows.text(x, k, says, color=colour, ha=align, va="center", fontsize=size)

        for k, meter in enumerate(meters):
            if meter.group:
                text(left - 12, k - 0.44, SOFT, "right", meter.group, SMALL)
                self._rows.plot([(300 - left) / (right - left), (width - 10 - left) / (right - left)], [k - 0.62] * 2,
                                color=FAINT, linewidth=0.6, clip_on=False)
            self._rows.plot([0, 1], [k, k], color=FAINT, linewidth=2, solid_capstyle="round", zorder=0, clip_on=False)
            self._bands.append(self._rows.add_patch(Rectangle((0, k - 0.24), 0, 0.48, facecolor=REAL, alpha=0.45,
                                                              linewidth=0, clip_on=False)))
            self._marks.append(self._rows.plot([], [], "D", color=MADE, markersize=9, clip_on=False)[0])
            text(left - 12, k, INK, "right", meter.title)
            self._values.append(text(right + 36, k, INK, "center"))
            self._ranges.append(text(right + 100, k, "#0B6B5C", "center", size=SMALL))
            self._words.append(text(width - 10, k, INK, "right"))

    def update(self, images: Tensor, copies: Tensor, values: Mapping[str, float],
               real: Mapping[str, tuple[float, float]], title: str) -> None:
        """Show other samples and numbers.

        Args:
            images: (n, 1, H, W), of which the first are shown.
            copies: (n,) whether each is a copy of a training image; those get a frame.
            real: by meter, the range of real examples.
        """
        shown = self.columns * self.rows
        small = as_images(images[:shown])
        gap, side = 2, small.shape[1]
        self._images.clear()
        self._images.set_axis_off()
        self._images.imshow(mosaic(small, self.rows, self.columns, gap), interpolation="nearest", aspect="equal")
        self._images.set(xlim=(-2, self.columns * (side + gap) - 1), ylim=(self.rows * (side + gap) - 1, -2),
                         anchor="NW")
        for n in np.flatnonzero(np.asarray(copies[:shown])):
            row, column = divmod(int(n), self.columns)
            self._images.add_patch(Rectangle((column * (side + gap) - 1, row * (side + gap) - 1), side + 1, side + 1,
                                             fill=False, edgecolor=BAD, linewidth=1.3))
        self._title.set_text(title)
        for k, meter in enumerate(self.meters):
            value, (low, high) = values[meter.key], real[meter.key]
            left, right = sorted((meter.place(low), meter.place(high)))
            self._bands[k].set_x(left - 0.004)
            self._bands[k].set_width(right - left + 0.008)
            self._marks[k].set_data([meter.place(value)], [k])
            side, colours = meter.side(value, (low, high)), {-1: BAD, 0: "#0B6B5C", 1: LINES[5]}
            sign = {-1: "◂ ", 0: "", 1: "▸ "}[side]
            self._values[k].set_text(short(value, steady=True))
            self._ranges[k].set_text(f"{short(low)} – {short(high)}" if low != high else short(low))
            self._words[k].set_text(sign + meter.words[1 + side])
            for text in (self._words[k], self._marks[k]):
                text.set_color(colours[side])


# -- neighbourhoods --------------------------------------------------------------------------------------------------

def balls_picture(real: Tensor, made: Tensor, k: int = 3, title: Sequence[str] = ("", "")) -> Figure:
    """Which samples lie within a ball of a real point (left), and which real points within a ball of a sample (right).
    Points (N, 2) and (M, 2); a ball reaches to the k-th nearest of its own kind."""
    if real.shape[1:] != (2,) or made.shape[1:] != (2,) or min(len(real), len(made)) <= k:
        raise LabError(f"The points have the shapes {tuple(real.shape)} and {tuple(made.shape)}, but more than k = {k} "
                       "points of the plane are needed of each kind: (number, 2).")
    fig = figure(880, 400)
    for axes, (centres, others, ball, dot, what) in zip(fig.subplots(1, 2), (
            (real, made, REAL, MADE, "samples in a ball of a real point"),
            (made, real, MADE, REAL, "real points in a ball of a sample"))):
        radius = torch.cdist(centres, centres).kthvalue(k + 1, 1).values
        inside = (torch.cdist(others, centres) <= radius).any(1)
        for centre, r in zip(centres, radius):
            axes.add_patch(Circle(tuple(centre.tolist()), float(r), facecolor=ball, alpha=0.12, linewidth=0))
        axes.plot(*centres.T, ".", color=ball, markersize=4)
        axes.plot(*others[inside].T, "o", color=dot, markersize=5)
        axes.plot(*others[~inside].T, "x", color=BAD, markersize=6, markeredgewidth=1.6)
        name = "Precision" if centres is real else "Recall"
        tidy(axes, f"{name} {inside.double().mean():.2f}: {what}", "$x_1$", "$x_2$")
        axes.set_aspect("equal")
    return fig


# -- annealing with one latent number ----------------------------------------------------------------------------------

class AnnealPicture:
    """Left: the density at one temperature, with the chains; right: log weights on the way from prior to posterior."""

    def __init__(self, model: CurveModel):
        self.model = model
        self.fig = figure(1000, 380)
        self._left, self._right = self.fig.subplots(1, 2, width_ratios=(1, 1))

    def update(self, way: Anneal, x, at: float) -> int:
        """Show a way at the temperature nearest to ``at`` (0 to 1 of the steps); returns the number of that step."""
        t = round(at * (len(way.betas) - 1))
        z = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)
        left, right = self._left, self._right
        left.clear(), right.clear()
        ends = {"prior": (0.0, SOFT, (0, (4, 3))), "posterior": (1.0, REAL, "-")}
        tallest = max(between(self.model, x, beta, z).max().item() for beta in (0.0, way.betas[t], 1.0))
        for name, (beta, colour, dashes) in ends.items():
            density = between(self.model, x, beta, z)
            left.plot(z, density, color=colour, linewidth=1.6, linestyle=dashes, label=name)
        now = between(self.model, x, float(way.betas[t]), z)
        left.fill_between(z, now, color=MADE, alpha=0.22, linewidth=0)
        left.plot(z, now, color=MADE, linewidth=1.8, label=f"at β = {way.betas[t]:.3g}")
        w = np.exp(way.log_w[t] - way.log_w[t].max())
        size = 6 + 220 * w / w.sum() if len(w) < 200 else 6 + 900 * w / w.sum()
        # The golden ratio spreads the chains evenly below the axis, each at the same height at every temperature.
        height = -tallest * (0.06 + 0.2 * (np.arange(len(w)) * 0.618034 % 1))
        inside = np.abs(way.z[t]) < 3.5
        left.scatter(way.z[t][inside], height[inside], s=size[inside], color=LINES[3], alpha=0.6, linewidths=0)
        left.axhline(0, color=SOFT, linewidth=0.8)
        left.set(xlim=(-3.5, 3.5), ylim=(-0.3 * tallest, 1.08 * tallest))
        tidy(left, f"Step {t} of {len(way.betas) - 1}: {way.effective[t]:.1f} of {len(w)} chains count",
             "code z", "density of z")
        left.set_yticks([tick for tick in left.get_yticks() if 0 <= tick <= tallest])
        left.legend(frameon=False, fontsize=SMALL, loc="upper right", labelcolor=INK)

        steps = np.arange(len(way.betas))
        truth = way.exact[-1]
        low = min(truth, way.forward) - 4
        right.plot(steps, np.clip(way.log_w, 3 * low - 50, None), color=LINES[3], linewidth=0.7, alpha=0.35)
        top = max(0.5, truth, way.exact.max(), way.log_w.max()) + 0.4
        right.set(xlim=(0, steps[-1]), ylim=(min(low, way.exact.min() - 1), top))
        labelled_lines(right, steps, {"exact": way.exact}, color=REAL, linewidth=2.4)
        labelled_lines(right, steps, {"estimate": way.estimates}, color=MADE, linewidth=2, linestyle=(0, (3, 1.5)))
        right.axvline(t, color=SOFT, linewidth=1)
        tidy(right, "log weight of each chain (thin), log of their mean (dashed)", "step on the way", "nats")
        return t
