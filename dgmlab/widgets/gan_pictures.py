"""The still pictures of lab 06, and the zero-sum game that is dragged (:class:`ZeroSumPicture`).

Each function returns a figure for :func:`dgmlab.plots.show`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..errors import LabError
from ..experiments.zero_sum import distances, play, running_mean
from ..models.gan import LOSSES as ALL
from ..plots import INK, LABEL, LINES, QUIET, SMALL, SOFT, figure, labelled_lines, short, tidy
from ..rng import Rng
from .pictures.gans import DATA, JUDGE, LOSSES, MADE

WAY, MEAN = LINES[0], LINES[1]


def game_picture(frames: Mapping[str, Mapping], top: float = 1.2) -> Figure:
    """The game on the line at several moments, side by side: densities above, D(x) and the pushes below.

    Args:
        frames: by title, data as :class:`~dgmlab.widgets.pictures.gans.Game` takes them.
    """
    if not frames:
        raise LabError("There is no moment of the game to be drawn; give at least one, as {title: data}.")
    fig = figure(300 * len(frames), 350)
    above, below = fig.subplots(2, len(frames), height_ratios=[1, 1.1], squeeze=False)
    for k, (density, judge, (title, data)) in enumerate(zip(above, below, frames.items(), strict=True)):
        grid, x, push = (np.asarray(data[key], float) for key in ("grid", "samples", "push"))
        density.fill_between(grid, np.minimum(data["made"], 2 * top), color=MADE, alpha=0.2, linewidth=0)
        density.plot(grid, np.minimum(data["made"], 2 * top), color=MADE, linewidth=1.6)
        density.plot(grid, data["data"], color=DATA, linewidth=1.6, linestyle=(0, (4, 3)))
        density.set(xlim=(grid[0], grid[-1]), ylim=(0, top))
        judge.plot(grid, data["best"], color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
        judge.plot(grid, data["says"], color=JUDGE, linewidth=2)
        height = np.interp(x, grid, data["says"])
        judge.plot(x, height, "o", color=MADE, markersize=4)
        reach = np.clip(0.06 * push, -0.12, 0.12) * (grid[-1] - grid[0])
        keep = np.abs(reach) > 0.01 * (grid[-1] - grid[0])
        judge.quiver(x[keep], height[keep], reach[keep], 0 * reach[keep], color=MADE, angles="xy", scale_units="xy",
                     scale=1, width=0.008)
        judge.set(xlim=(grid[0], grid[-1]), ylim=(-0.05, 1.05), yticks=[0, 0.5, 1])
        tidy(density, title, "", "" if k else "density")
        tidy(judge, "", "x", "" if k else "D(x)")
        if not k:
            for j, (text, colour) in enumerate((("generator", MADE), ("dashed: data", DATA))):
                density.text(0.02, 0.98 - 0.14 * j, text, transform=density.transAxes, fontsize=LABEL, color=colour,
                             va="top")
    return fig


def samples_picture(runs: Mapping[str, object], seed: int = 0, samples: int = 300) -> Figure:
    """The samples of several GANs in the plane, each over the data, side by side.

    Args:
        runs: by title, from :func:`dgmlab.experiments.gans.make_run`.
    """
    fig = figure(235 * len(runs), 265)
    for k, (axes, (title, run)) in enumerate(zip(np.atleast_1d(fig.subplots(1, len(runs))), runs.items(), strict=True)):
        axes.plot(*run.target.sample(samples, 1).T, "+", color=DATA, alpha=0.6, markersize=4, markeredgewidth=0.8)
        made = run.model.sample(samples, Rng(seed, run.device)).cpu()
        low, high = run.target.extent
        room = 0.15 * (high - low)
        axes.plot(*made.T, "o", color=MADE, alpha=0.7, markersize=3, markeredgewidth=0)
        axes.set(xlim=(low - room, high + room), ylim=(low - room, high + room), box_aspect=1)
        if not k:
            for j, (text, colour) in enumerate((("● samples", MADE), ("+ data", DATA))):
                axes.text(0.02, 0.98 - 0.09 * j, text, transform=axes.transAxes, fontsize=LABEL, color=colour, va="top")
        tidy(axes, title, "x₁", "" if k else "x₂")
    return fig


def table_of_losses(names: Sequence[str]):
    """The losses in words and where they come from, as a table."""
    import pandas as pd

    return pd.DataFrame({"in words": [ALL[name].says for name in names],
                         "source": [ALL[name].source for name in names]}, index=pd.Index(names, name="loss"))


def curves_picture(curves: Mapping[str, Sequence[float]], logits: Sequence[float],
                   marks: Sequence[float] = ()) -> Figure:
    """Losses of the generator over the logit, and below the size of their slopes on a logarithmic axis.

    Args:
        curves: {name: values at the logits}; marks: logits at which a vertical line is drawn.
    """
    fig = figure(780, 330)
    left, right = fig.subplots(1, 2)
    logits = np.asarray(logits, float)
    colours = [LOSSES.get(name, LINES[4]) for name in curves]
    left.set(xlim=(logits[0], logits[-1]), ylim=(-10, 10))
    right.set(xlim=(logits[0], logits[-1]), yscale="log", ylim=(1e-10, 30))
    for axes in (left, right):
        axes.set_prop_cycle(color=colours)
        for mark in marks:
            axes.axvline(mark, color=SOFT, linewidth=0.9, linestyle=(0, (3, 3)))
    labelled_lines(left, logits, curves, color=None)
    labelled_lines(right, logits, {name: np.abs(np.gradient(np.asarray(values, float), logits))
                                   for name, values in curves.items()}, color=None)
    tidy(left, "The generator's loss", "logit of D(G(z))", "loss (nats)")
    tidy(right, "The size of its slope", "logit of D(G(z))", "|slope|")
    return fig


def step_picture(rates: Mapping[str, Sequence[float]], gradients: Sequence[float], rate: float,
                 marks: Mapping[str, float] | None = None) -> Figure:
    """How far Adam moves a weight, as a share of the learning rate, over the size of a steady gradient."""
    fig = figure(640, 320)
    axes = fig.subplots()
    axes.set(xscale="log", yscale="log", xlim=(gradients[0], gradients[-1]), ylim=(1e-7, 3))
    labelled_lines(axes, gradients, {name: np.asarray(values) / rate for name, values in rates.items()})
    for name, mark in (marks or {}).items():
        axes.axvline(mark, color=SOFT, linewidth=0.9, linestyle=(0, (3, 3)))
        axes.text(mark, 1.6e-7, " " + name, fontsize=SMALL, color=SOFT, va="bottom")
    tidy(axes, "Adam's step for a steady gradient", "size of the gradient of one weight", "step / learning rate")
    return fig


class ZeroSumPicture:
    """The way of (g, d) in the plane, and its distance from the equilibrium over steps.

    Built once; :meth:`update` moves what has changed.
    """

    def __init__(self):
        self.fig = figure(860, 360)
        self.fig.set_layout_engine("none")
        self.plane = self.fig.add_axes((0.07, 0.14, 0.33, 0.76))
        self.axes = self.fig.add_axes((0.50, 0.14, 0.37, 0.76))
        spots = np.linspace(-2, 2, 11)
        g, d = np.meshgrid(spots, spots)
        self.plane.quiver(g, d, -d, g, color=QUIET, angles="xy", scale_units="xy", scale=9, width=0.005, zorder=0)
        self.plane.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), box_aspect=1)
        self.plane.plot(0, 0, "+", color=INK, markersize=10)
        self.lines = [self.plane.plot([], [], "-", color=colour, linewidth=width)[0]
                      for colour, width in ((WAY, 1.2), (MEAN, 2))]
        self.dots = [self.plane.plot([], [], "o", color=colour, markersize=size)[0]
                     for colour, size in ((WAY, 7), (MEAN, 7), (WAY, 4))]
        self.curves = [self.axes.plot([], [], color=colour, linewidth=1.8)[0] for colour in (WAY, MEAN)]
        self.names = [self.axes.text(0, 0, "", fontsize=LABEL, color=colour, va="center", clip_on=False)
                      for colour in (WAY, MEAN)]
        self.axes.set_yscale("log")
        tidy(self.plane, "", "generator's g", "discriminator's d")
        tidy(self.axes, "", "step", "distance from the equilibrium")

    def update(self, rule: str, rate: float, penalty: float, steps: int, average: bool) -> None:
        """Play with other settings; see :func:`dgmlab.experiments.zero_sum.play`."""
        self.way = play(rule, rate, penalty, steps)
        self.mean = running_mean(self.way)
        away = distances(self.way), distances(self.mean)
        low = 1e-4 if away[0].min() > 3e-4 else 1e-10           # deep only where a penalty brings them home
        shown = (True, average)
        for line, dot, curve, name, way, distance, on, what in zip(
                self.lines, self.dots, self.curves, self.names, (self.way, self.mean), away, shown,
                ("last", "mean"), strict=False):
            line.set_data(*(way.T if on else ([], [])))
            dot.set_data(*((way[-1:, 0], way[-1:, 1]) if on else ([], [])))
            curve.set_data(*((np.arange(len(way)), np.maximum(distance, 1e-12)) if on else ([], [])))
            name.set_text(f" {what}: {short(distance[-1])}" if on else "")
            name.set_position((len(way) - 1, float(np.clip(distance[-1], 3 * low, 15))))
        self.dots[2].set_data(self.way[:1, 0], self.way[:1, 1])
        self.axes.set(xlim=(0, steps), ylim=(low, 30))
        end = away[0][-1]
        verb = "away from" if end > 1.05 else "towards" if end < 0.95 else "round"
        self.plane.set_title(f"The players turn {verb} the equilibrium", fontsize=13, color=INK, loc="left")
        self.axes.set_title(f"{rule}, η = {rate:g}, c = {penalty:g}", fontsize=13, color=INK, loc="left")
        self.said = (f"The way of (g, d) from (1, 0) in {len(self.way) - 1} {rule} steps of size {rate:g} with penalty "
                     f"{penalty:g}: it ends {short(end)} from the equilibrium"
                     + (f", the mean of all states {short(away[1][-1])}." if average else "."))

    def alt(self) -> str:
        """What the picture shows."""
        return f"{self.said} Beside it that distance over steps, on a logarithmic axis."
