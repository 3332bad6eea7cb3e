"""The still pictures of lab 01, and the one that is slid (:class:`CodePicture`).

Each function returns a figure for :func:`dgmlab.plots.show`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from torch import Tensor

from ..data.densities import GaussianMixture
from ..experiments.generators import as_function, best_generator, cdf, target_cdf, turning_points
from ..models.generator import density, preimages
from ..plots import CLASSES, INK, LABEL, LINES, SMALL, SOFT, TITLE, as_images, enlarge, figure, labelled_lines, tidy
from ..rng import Rng
from .pictures.generators import code_lines, line_colours, pieces

CURVE, DATA, SAMPLES, MASS = LINES[0], LINES[1], CLASSES[2], CLASSES[1]     # as in the moving pictures


def stretch_picture(generator, z: float, dz: float = 0.5) -> Figure:
    """One small interval of codes and the interval of data that it becomes: the same mass, another width."""
    function = as_function(generator)
    codes = torch.linspace(-3.2, 3.2, 400, dtype=torch.float64)
    ends = torch.tensor([z - dz / 2, z + dz / 2], dtype=torch.float64)
    with torch.no_grad():
        x, (a, b) = function(codes), function(ends).tolist()
    mass = torch.special.ndtr(ends).diff().item()
    fig = figure(760, 330)
    left, right = fig.subplots(1, 2, width_ratios=[1, 1], sharey=False)
    prior = np.exp(-0.5 * codes.numpy() ** 2) / math.sqrt(2 * math.pi)
    left.fill_between(codes, prior, color=SOFT, alpha=0.25, linewidth=0)
    inside = (codes >= ends[0]) & (codes <= ends[1])
    left.fill_between(codes[inside], prior[inside], color=MASS, alpha=0.7, linewidth=0)
    left.set_ylim(0, 0.44)
    tidy(left, f"{mass:.3f} of the codes, in a width of {dz:g}", "code z", "density of z")
    grid = torch.linspace(x.min().item() - 0.3, x.max().item() + 0.3, 500, dtype=torch.float64)
    p = density(function, grid)
    right.fill_between(grid, p, color=SOFT, alpha=0.25, linewidth=0)
    inside = (grid >= min(a, b)) & (grid <= max(a, b))
    right.fill_between(grid[inside], p[inside], color=MASS, alpha=0.7, linewidth=0)
    right.set_ylim(0, min(1.5, 1.15 * p.max().item()))
    tidy(right, f"the same {mass:.3f} of the data, in a width of {abs(b - a):.2f}", "data x = G(z)", "density of x")
    return fig


def density_picture(functions: Mapping[str, Callable[[Tensor], Tensor]], samples: int = 50_000, seed: int = 0,
                    span: float = 4.0, top: float = 1.6) -> Figure:
    """Several functions of z ~ N(0, 1) side by side: below each curve its output's exact density and histogram."""
    fig = figure(330 * len(functions), 480)
    codes = torch.linspace(-3.2, 3.2, 400, dtype=torch.float64)
    curves, below = fig.subplots(2, len(functions), height_ratios=[1, 1.3], squeeze=False)
    for curve, axes, (name, generator) in zip(curves, below, functions.items(), strict=True):
        function = as_function(generator)
        with torch.no_grad():
            x = function(Rng(seed).normal((samples,)).double())
            curve.plot(codes, function(codes), color=CURVE, linewidth=2.2)
        first = axes.get_subplotspec().is_first_col()
        curve.set(xlim=(-3.2, 3.2), ylim=(-span, span))
        tidy(curve, name, "code z", "x = G(z)" if first else "")
        axes.hist(x.numpy(), bins=np.linspace(-span, span, 121), weights=np.full(samples, 120 / (2 * span * samples)),
                  color=SAMPLES, alpha=0.45)
        grid = torch.linspace(-span, span, 1601, dtype=torch.float64)
        axes.plot(grid, density(function, grid).clamp(max=20 * top), color=CURVE, linewidth=1.5)
        turns = turning_points(generator)
        turns = turns[turns.abs() < span]
        axes.set(xlim=(-span, span), ylim=(0, top))
        tidy(axes, "", "x", "density" if first else "")
        if len(turns):
            axes.plot(turns, np.full(len(turns), top), "^", color=CURVE, markersize=8, clip_on=False)
            axes.text(0.02, 0.98, "▲ infinite", transform=axes.transAxes, fontsize=SMALL, color=CURVE, va="top")
    return fig


def preimage_picture(generator, x: float) -> Figure:
    """All codes that a generator turns into x, the slope at each, and what each adds to the density."""
    function = as_function(generator)
    codes = torch.linspace(-3.2, 3.2, 400, dtype=torch.float64)
    _, z = preimages(function, torch.tensor([x], dtype=torch.float64))
    z = z.sort().values
    z = z[z.abs() < 3.2]
    slope, = torch.autograd.grad(function(z.requires_grad_()).sum(), z)
    parts = torch.exp(-0.5 * z.detach() ** 2) / math.sqrt(2 * math.pi) / slope.abs()
    fig = figure(760, 340)
    axes = fig.subplots()
    with torch.no_grad():
        axes.plot(codes, function(codes), color=CURVE, linewidth=2.4)
    axes.axhline(x, color=MASS, linewidth=1.2, linestyle=(0, (4, 3)))
    for place, steep, part in zip(z.tolist(), slope.tolist(), parts.tolist(), strict=True):
        axes.plot(place, x, "o", color=MASS, markersize=8)
        # On the right of the point, where the curve is not: below it where it rises, above it where it falls.
        axes.annotate(f"z = {place:.2f}\nslope {steep:.2f}\nadds {part:.3f}".replace("-", "−"), (place, x),
                      (12, -6 if steep > 0 else 6), textcoords="offset points", fontsize=LABEL, color=INK,
                      va="top" if steep > 0 else "bottom")
    axes.set_xlim(-3.2, 3.2)
    title = f"{len(z)} code{'s' if len(z) != 1 else ''} become x = {x:g}: together p(x) = {parts.sum():.3f}"
    return _with_axes(fig, axes, title, "code z", "G(z)")


def fit_picture(generators: Mapping[str, object], target: GaussianMixture) -> Figure:
    """Several generators on the line against the data: curves on the left, densities on the right. The last of them has
    the colour that a generator has in all pictures."""
    fig = figure(940, 330)
    left, right = fig.subplots(1, 2)
    z = torch.linspace(-3, 3, 301, dtype=torch.float64)
    grid = torch.linspace(*target.extent, 601, dtype=torch.float64)
    curves, masses = {"best": best_generator(target, z)}, {"data": target.log_prob(grid[:, None]).exp()}
    for name, generator in generators.items():
        function = as_function(generator)
        with torch.no_grad():
            curves[name] = function(z)
        masses[name] = torch.diff(cdf(generator, torch.cat([grid, 2 * grid[-1:] - grid[-2:-1]]))) / (grid[1] - grid[0])
    top = 1.6 * masses["data"].max().item()
    colours = [DATA, *[line for line in LINES if line not in (DATA, CURVE)][:len(generators) - 1], CURVE]
    left.set_xlim(-3, 3)
    left.set_prop_cycle(color=colours)
    labelled_lines(left, z, curves, color=None)
    left.lines[0].set_linestyle((0, (4, 3)))
    right.set(xlim=target.extent, ylim=(0, top))
    for k, (name, values) in enumerate(masses.items()):
        right.plot(grid, values, color=colours[k], linewidth=1.6, linestyle=(0, (4, 3)) if not k else "-")
        right.text(0.02, 0.97 - 0.075 * k, name + (" (dashed)" if not k else ""), transform=right.transAxes,
                   fontsize=LABEL, color=colours[k], va="top")
    tidy(left, "The learnt curves and the best one", "code z", "data x = G(z)")
    tidy(right, "Their densities and the data's", "x", "density")
    return fig


def plane_pictures(runs: Mapping[str, object], seed: int = 0) -> Figure:
    """Trained generators in the plane, side by side: a grid of codes drawn through each, over data points."""
    fig = figure(330 * len(runs), 350)
    for axes, (name, run) in zip(np.atleast_1d(fig.subplots(1, len(runs))), runs.items(), strict=True):
        generator, real = run.model.generator, run.target.sample(500, 1)
        axes.plot(*real.T, "+", color=DATA, alpha=0.6, markersize=4, markeredgewidth=0.8)
        if generator.latent <= 2:
            codes = torch.from_numpy(code_lines(generator.latent)).float().to(run.device)
            with torch.no_grad():
                lines = generator(codes.flatten(0, 1)).unflatten(0, codes.shape[:2]).cpu().numpy()
            axes.add_collection(LineCollection(pieces(lines), colors=line_colours(generator.latent), linewidths=1.4))
        axes.text(0.99, 0.99, "+ data", transform=axes.transAxes, fontsize=LABEL, color=DATA, ha="right", va="top")
        low, high = run.target.extent
        axes.set(xlim=(low, high), ylim=(low, high), box_aspect=1)
        tidy(axes, name, "x₁", "x₂" if axes.get_subplotspec().is_first_col() else "")
    return fig


class CodePicture:
    """One code and its image, and what becomes of the image if one number of the code is changed.

    Built once; :meth:`update` moves what has changed.
    """

    STEPS = np.linspace(-3, 3, 9)

    def __init__(self):
        self.fig = figure(620, 330)
        self.fig.set_layout_engine("none")
        self.big = self.fig.add_axes((0.015, 0.30, 0.36, 0.62))
        self.code = self.fig.add_axes((0.46, 0.40, 0.51, 0.46))
        self.row = [self.fig.add_axes((0.015 + 0.109 * k, 0.045, 0.1, 0.17)) for k in range(len(self.STEPS))]
        for axes in (self.big, *self.row):
            axes.set_axis_off()
        self.title = self.big.set_title("x = G(z)", fontsize=TITLE, color=INK, loc="left")
        self.sweep = self.fig.text(0.015, 0.235, "", fontsize=LABEL, color=INK)
        self.bars, self.shown = None, None
        self.marks = [axes.text(0.5, -0.22, "", transform=axes.transAxes, fontsize=SMALL, color=SOFT,
                                                  ha="center", clip_on=False) for axes in self.row]

    def update(self, generator, z: Tensor, moved: int) -> None:
        """Show the code ``z`` (L,) and the row along its number ``moved`` (from 0)."""
        codes = z.repeat(1 + len(self.STEPS), 1)
        codes[1:, moved] = torch.from_numpy(self.STEPS).float()
        device = next(generator.parameters()).device
        with torch.no_grad():
            images = as_images(generator(codes.to(device)).cpu().numpy())                 # (1 + 9, H, W, 3)
        for axes, image in zip((self.big, *self.row), images, strict=True):
            image = enlarge(image[None], 16 * image.shape[0], 16 * image.shape[1])[0]
            if axes.images:
                axes.images[0].set_data(image)
            else:
                axes.imshow(image)
        if self.bars is None:
            places = np.arange(1, len(z) + 1)
            self.bars = self.code.bar(places, np.zeros(len(z)), width=0.7)
            self.code.axhline(0, color=SOFT, linewidth=0.8)
            self.code.set(ylim=(-3, 3), xticks=places)
            tidy(self.code, f"the code: {len(z)} numbers", "number", "value")
        for k, (bar, value) in enumerate(zip(self.bars, z.tolist(), strict=True)):
            bar.set(height=value, color=MASS if k == moved else SAMPLES)
        self.sweep.set_text(f"only z{moved + 1} changes, from −3 to 3:")
        for text, value in zip(self.marks, self.STEPS, strict=True):
            text.set_text(f"{value:g}".replace("-", "−"))
        self.shown = (z.clone(), moved)

    def alt(self) -> str:
        """What the picture shows."""
        z, moved = self.shown
        return (f"One code of {len(z)} numbers as bars, the image that the generator makes of it, and a row of "
                f"{len(self.STEPS)} images in which only number {moved + 1} of the code changes from -3 to 3.")


def _with_axes(fig, axes, title, x, y):
    tidy(axes, title, x, y)
    return fig


def force_picture(generator, target: GaussianMixture) -> Figure:
    """Which way the energy distance pushes a sample at each x, exactly: upwards where more of the generator's mass than
    of the data's lies below x. (The slope of the criterion at x is 4 (F(x) - Q(x)) per sample, with F and Q the
    distribution functions of data and generator.)"""
    fig = figure(820, 330)
    above, below = fig.subplots(2, 1, sharex=True, height_ratios=[1.2, 1])
    grid = torch.linspace(*target.extent, 401, dtype=torch.float64)
    p, q = target.log_prob(grid[:, None]).exp(), density(as_function(generator), grid)
    top = 1.5 * p.max().item()
    above.fill_between(grid, q.clamp(max=3 * top), color=CURVE, alpha=0.25, linewidth=0)
    above.plot(grid, p, color=DATA, linewidth=1.6, linestyle=(0, (4, 3)))
    above.set_ylim(0, top)
    for k, (text, colour) in enumerate((("the generator", CURVE), ("dashed: the data", DATA))):
        above.text(0.01, 0.95 - 0.15 * k, text, transform=above.transAxes, fontsize=LABEL, color=colour, va="top")
    push = 4 * (cdf(generator, grid) - target_cdf(target, grid))
    for sign, colour, text, side in ((1, DATA, "→ pushed to larger x", "top"), (-1, MASS, "← to smaller x", "bottom")):
        below.fill_between(grid, (sign * push).clamp(min=0) * sign, color=colour, alpha=0.6, linewidth=0)
        below.text(0.01, 0.95 if sign > 0 else 0.05, text, transform=below.transAxes, fontsize=LABEL, color=colour,
                   va=side)
    below.axhline(0, color=SOFT, linewidth=0.8)
    high = max(0.2, 1.6 * push.abs().max().item())
    below.set_ylim(-high, high)
    tidy(above, "Which way does each sample want to go?", "", "density")
    tidy(below, "", "x", "push at x")
    return fig
