"""The pictures of lab 07: a generator under nine meters, balls around neighbours, annealing with one latent number."""

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

    @property
    def praise(self) -> str:
        """The colour of what lies right of the range: grey if that is not better (farther from the training images)."""
        return LINES[5] if "better" in self.words[2] else SOFT

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
                               (right + 100, "unseen real", "center"), (width - 10, "beside the band", "right")):
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
            side, colours = meter.side(value, (low, high)), {-1: BAD, 0: "#0B6B5C", 1: meter.praise}
            sign = {-1: "◂ ", 0: "", 1: "▸ "}[side]
            self._values[k].set_text(short(value, steady=True) if abs(value) >= 0.1 else f"{value:.2f}")
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
    fig = figure(900, 400)
    both = torch.cat([real, made])
    (left, low), (right, high) = both.min(0).values.tolist(), both.max(0).values.tolist()
    for axes, (centres, others, ball, dot, what) in zip(fig.subplots(1, 2), (
            (real, made, REAL, MADE, "samples in a ball of a real point"),
            (made, real, MADE, REAL, "real points in a ball of a sample"))):
        radius = torch.cdist(centres, centres).kthvalue(k + 1, 1).values
        inside = (torch.cdist(others, centres) <= radius).any(1)
        for centre, r in zip(centres, radius):
            axes.add_patch(Circle(tuple(centre.tolist()), float(r), facecolor=ball, alpha=0.12, linewidth=0))
        kinds = ("real", "sample") if centres is real else ("sample", "real")
        axes.plot(*centres.T, ".", color=ball, markersize=4, label=f"{kinds[0]}, with its ball")
        axes.plot(*others[inside].T, "o", color=dot, markersize=5, label=f"{kinds[1]}, in a ball")
        axes.plot(*others[~inside].T, "x", color=BAD, markersize=6, markeredgewidth=1.6, label=f"{kinds[1]}, in none")
        axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK, loc="upper left")
        name = "Precision" if centres is real else "Recall"
        tidy(axes, f"{name} {inside.double().mean():.2f}: {what}", "$x_1$", "$x_2$")
        axes.set(xlim=(left - 0.8, right + 0.8), ylim=(low - 0.8, high + 0.8), aspect="equal")
    return fig


# -- annealing with one latent number ----------------------------------------------------------------------------------

class AnnealPicture:
    """Left: the decoder's curve and x; middle: the density at one temperature, with the chains; right: log weights on
    the way from prior to posterior."""

    def __init__(self, model: CurveModel):
        self.model = model
        self.fig = figure(1060, 380)
        self._plane, self._left, self._right = self.fig.subplots(1, 3, width_ratios=(0.5, 1, 1))

    def update(self, way: Anneal, x, at: float) -> int:
        """Show a way at the temperature nearest to ``at`` (0 to 1 of the steps); returns the number of that step."""
        t = int(at * (len(way.betas) - 1) + 0.5)
        z = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)
        plane = self._plane
        plane.clear()
        plane.plot(*self.model.decoder(z[(z.abs() <= 2.5)]).T, color=SOFT, linewidth=1.6)
        plane.plot(*x, "X", color=REAL, markersize=9)
        plane.annotate("x", x, xytext=(6, 5), textcoords="offset points", fontsize=LABEL, color="#0B6B5C")
        tidy(plane, "decoder's curve G(z)", "$x_1$", "$x_2$")
        plane.set_aspect("equal", adjustable="datalim")
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
        left.set(xlim=(-3.5, 3.5), ylim=(-0.3 * tallest, 1.22 * tallest))
        tidy(left, f"Step {t} of {len(way.betas) - 1}: {way.effective[t]:.1f} of {len(w)} chains count",
             "code z", "density of z")
        left.set_yticks([tick for tick in left.get_yticks() if 0 <= tick <= tallest])
        left.legend(frameon=False, fontsize=SMALL, loc="upper center", ncols=3, labelcolor=INK)

        steps = np.arange(len(way.betas))
        truth = way.exact[-1]
        low = min(truth, way.forward) - 4
        right.plot(steps, np.clip(way.log_w, 3 * low - 50, None), color=LINES[3], linewidth=0.7, alpha=0.35)
        top = max(0.5, truth, way.exact.max(), way.log_w.max()) + 0.4
        right.set(xlim=(0, steps[-1]), ylim=(min(low, way.exact.min() - 1), top))
        labelled_lines(right, steps, {"exact": way.exact, "estimate": way.estimates}, linewidth=2.2)
        for line, name, colour, dashes in zip(right.lines[-2:], right.texts[-2:], (REAL, MADE), ("-", (0, (3, 1.5)))):
            line.set(color=colour, linestyle=dashes)
            name.set_color("#0B6B5C" if colour == REAL else colour)
        right.axvline(t, color=SOFT, linewidth=1)
        tidy(right, "log weight of each chain (thin), log of their mean (dashed)", "step on the way", "nats")
        return t


# -- where the truth is known ------------------------------------------------------------------------------------------

def ring_picture(samples: Mapping[str, Tensor], target, says: Mapping[str, str]) -> Figure:
    """Samples (n, 2) of several generators over the modes of ``target``, with a line of text under each name."""
    fig = figure(250 * len(samples), 300)
    for axes, (name, points) in zip(np.atleast_1d(fig.subplots(1, len(samples))), samples.items(), strict=True):
        for mode in target.modes.tolist():
            axes.add_patch(Circle(mode, 3 * target.sd, facecolor=REAL, alpha=0.45, linewidth=0))
        axes.plot(*points[:500].T, ".", color=MADE, markersize=2.5, alpha=0.7)
        tidy(axes, f"{name}\n{says[name]}", "$x_1$", "$x_2$" if not axes.get_subplotspec().colspan.start else "")
        axes.set(xlim=(-2.9, 2.9), ylim=(-2.9, 2.9), xticks=[-2, 0, 2], yticks=[-2, 0, 2], box_aspect=1)
        axes.set_title(f"{name}\n{says[name]}", fontsize=LABEL, color=INK, loc="left")
    return fig


# -- how a number depends on how many samples it is given --------------------------------------------------------------

def size_picture(curves: Mapping[str, Mapping[str, Sequence]], title: str = "") -> Figure:
    """A panel for each metric: mean and standard deviation over the number of samples, a line for each generator.

    Args:
        curves: metric -> generator -> the :class:`~dgmlab.metrics.features.SizePoint` of each size.
    """
    fig = figure(255 * len(curves), 290)
    for axes, (metric, lines) in zip(np.atleast_1d(fig.subplots(1, len(curves))), curves.items(), strict=True):
        points = {name: np.array([(p.size, p.mean, p.sd) for p in line]) for name, line in lines.items()}
        axes.set_xscale("log")
        for k, (name, (size, mean, sd)) in enumerate((name, p.T) for name, p in points.items()):
            axes.fill_between(size, mean - sd, mean + sd, color=(REAL, BAD, MADE)[k % 3], alpha=0.25, linewidth=0)
            axes.plot(size, mean, color=("#0B6B5C", BAD, MADE)[k % 3], linewidth=1.9, marker="os^"[k % 3],
                      markersize=4.5, label=name)
        sizes = next(iter(points.values()))[:, 0]
        axes.minorticks_off()
        axes.set_xticks(sizes, [f"{size:.0f}" for size in sizes])
        tidy(axes, metric, "samples n")
    axes.legend(frameon=False, fontsize=SMALL, labelcolor=INK)
    if title:
        fig.suptitle(title, fontsize=TITLE, color=INK, x=0.01, ha="left")
    return fig


# -- copies ------------------------------------------------------------------------------------------------------------

def distance_picture(distances: Mapping[str, Tensor], held_out: str) -> Figure:
    """Distances (n,) to the nearest training image, a strip of dots for each generator, over that of held-out images.

    Args:
        held_out: the name of the strip whose median is the yardstick.
    """
    fig = figure(900, 40 + 58 * len(distances))
    axes = fig.subplots()
    yard = float(distances[held_out].median())
    axes.axvline(yard, color="#0B6B5C", linewidth=1.2, linestyle=(0, (4, 3)))
    for k, (name, values) in enumerate(reversed(distances.items())):
        colour = "#0B6B5C" if name == held_out else LINES[k % len(LINES)]
        axes.plot(values, k + 0.1 + 0.45 * (np.arange(len(values)) * 0.618034 % 1), "o", color=colour, markersize=3.2,
                  alpha=0.35, markeredgewidth=0)
        middle = float(values.median())
        axes.plot([middle, middle], [k + 0.02, k + 0.62], color=colour, linewidth=3.5, solid_capstyle="butt")
        axes.text(1.01, k + 0.3, f"{name}: {middle / yard:.2f}", transform=axes.get_yaxis_transform(), color=colour,
                  fontsize=LABEL, va="center")
    tidy(axes, "How far to the nearest training image? (bar: median; number: over that of held-out ones)",
         "Euclidean distance, all pixels from 0 to 1")
    axes.set(yticks=[], xlim=(0, None), ylim=(0, len(distances)))
    axes.spines["left"].set_visible(False)
    return fig


# -- annealing on many latents -----------------------------------------------------------------------------------------

def sandwich_picture(temperatures: Sequence[int], lower: Mapping[int, Sequence[float]],
                     upper: Mapping[int, Sequence[float]], exact: float) -> Figure:
    """Both bounds of annealing over the number of temperatures, less the exact log p(x), a triangle a repetition."""
    fig = figure(720, 310)
    axes = fig.subplots()
    axes.set_xscale("log")
    axes.axhline(0, color="#0B6B5C", linewidth=1.6)
    lines = {}
    for name, found, mark, colour in (("lower bound", lower, "^", MADE), ("upper bound", upper, "v", BAD)):
        for t in temperatures:
            axes.plot([t] * len(found[t]), np.asarray(found[t]) - exact, mark, color=colour, markersize=5, alpha=0.55)
        lines[name] = [float(np.mean(found[t])) - exact for t in temperatures]
    axes.set_xlim(temperatures[0] * 0.8, temperatures[-1] * 1.25)
    axes.set_yscale("symlog", linthresh=1)
    labelled_lines(axes, list(temperatures), {"lower bound": lines["lower bound"]}, color=MADE)
    labelled_lines(axes, list(temperatures), {"upper bound": lines["upper bound"]}, color=BAD)
    axes.minorticks_off()
    axes.set_xticks(list(temperatures), [f"{t:,}" for t in temperatures])
    tidy(axes, "Two bounds close in on the exact log p(x), the line at 0", "temperatures T",
         "estimate − exact, nats per example\n(beyond ±1 logarithmic)")
    return fig


# -- what notices what -------------------------------------------------------------------------------------------------

def response_picture(meters: Sequence[Meter], found: Mapping[str, Mapping[str, float]],
                     real: Mapping[str, tuple[float, float]]) -> Figure:
    """A table: for each metric and each fault the value, and whether it lies in the range of unseen real images."""
    fig = figure(200 + 104 * len(found), 64 + 34 * len(meters))
    axes = fig.subplots()
    axes.set(xlim=(0, len(found)), ylim=(len(meters), 0))
    signs = {-1: "▼ ", 0: "", 1: "▲ "}
    for row, meter in enumerate(meters):
        for column, values in enumerate(found.values()):
            value = values[meter.key]
            side = meter.side(value, real[meter.key])
            axes.add_patch(Rectangle((column + 0.03, row + 0.06), 0.94, 0.88, linewidth=0, alpha=0.35 if side else 0.3,
                                     facecolor={-1: BAD, 0: FAINT, 1: meter.praise}[side]))
            axes.text(column + 0.5, row + 0.5, signs[side] + short(value), ha="center", va="center", fontsize=LABEL,
                      color=INK if side else SOFT)
        axes.text(-0.05, row + 0.5, meter.title, ha="right", va="center", fontsize=LABEL, color=INK)
    for column, name in enumerate(found):
        axes.text(column + 0.5, -0.12, name, ha="center", va="bottom", fontsize=LABEL, color=INK)
    axes.text(0, len(meters) + 0.2, "▼ worse (nearer, copies) than any of the sets of unseen real digits    ▲ better "
              "than any (nearest-neighbour ratio: farther)    pale: as real", fontsize=SMALL, color=SOFT, va="top")
    axes.set_axis_off()
    return fig
