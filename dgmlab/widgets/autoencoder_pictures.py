"""The still pictures of lab 02, and the one that is dragged (:class:`CurvePicture`).

Each function returns a figure for :func:`dgmlab.plots.show`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from torch import Tensor

from ..errors import LabError, check_number
from ..metrics.memorising import nearest
from ..plots import (
    CLASSES,
    FAINT,
    INK,
    LABEL,
    LINES,
    QUIET,
    SMALL,
    SOFT,
    as_images,
    figure,
    labelled_lines,
    mosaic,
    scatter_classes,
    tidy,
)
from ..rng import Rng
from .sketches import arrow, block, sketch

DEEP, LINEAR, DATA, PICKED = LINES[0], LINES[1], CLASSES[2], CLASSES[7]       # one colour a thing, in all pictures


def bottleneck_picture(numbers: int, latent: int) -> Figure:
    """What an autoencoder does with one example: encoder, a code of ``latent`` numbers, decoder, and its one cost."""
    fig, axes = sketch(860, 210, below=15)
    block(axes, 115, 20, 130, 70, 70, f"example x\n{numbers} numbers", FAINT)
    block(axes, 115, 180, 320, 70, 22, "encoder", DEEP)
    block(axes, 115, 370, 490, 22, 22, f"code z\n{latent} numbers", PICKED)
    block(axes, 115, 540, 680, 22, 70, "decoder", LINEAR)
    block(axes, 115, 730, 840, 70, 70, f"answer x̃\n{numbers} numbers", FAINT)
    for start, end in ((134, 176), (324, 366), (494, 536), (684, 726)):
        arrow(axes, (start, 115), (end, 115))
    axes.plot([75, 75, 785, 785], [40, 14, 14, 40], color=INK, linewidth=1.2)
    axes.text(430, -2, "squared error ‖x − x̃‖²: the only cost", fontsize=LABEL, color=INK, ha="center", va="center")
    return fig


def sizes_picture(table: Mapping[str, Mapping[int, float]], numbers: int) -> Figure:
    """The share of the data that is lost (0 to 1), by model (the one in question first) and size of the code,
    of ``numbers``."""
    fig = figure(760, 330)
    axes = fig.subplots()
    sizes = sorted(next(iter(table.values())))
    lines = {name: [100 * of[size] for size in sizes] for name, of in table.items()}
    axes.set(xscale="log", yscale="log", xlim=(0.9 * sizes[0], 1.1 * sizes[-1]))
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    low, high = min(map(min, lines.values())), max(map(max, lines.values()))
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if low / 1.5 < tick < 1.5 * high]
    axes.set_yticks(ticks, [f"{tick:g}%" for tick in ticks])
    labelled_lines(axes, sizes, lines, marker="o")
    names = list(table)
    less = all(table[names[0]][size] < table[name][size] for name in names[1:] for size in sizes)
    tidy(axes, "What is lost on unseen images" + (f": less by the {names[0]} model, at every size" if less else ""),
         f"numbers in the code, of {numbers} (log scale)", "lost, of the variance (log scale)")
    return fig


def planes_picture(codes: Mapping[str, Tensor], labels: Tensor, classes: Sequence[str]) -> Figure:
    """Codes (n, 2) of the same images from several models, side by side, each drawn as its class."""
    fig = figure(500 * len(codes), 400)
    for axes, (name, places) in zip(np.atleast_1d(fig.subplots(1, len(codes))), codes.items(), strict=True):
        places = places.detach().cpu()
        scatter_classes(axes, places, labels, classes, size=9)
        low, high = (torch.quantile(places, q, dim=0) for q in (0.015, 0.985))      # a few far ones would squeeze all
        low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
        axes.set_aspect("auto")
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), box_aspect=0.75)
        outside = int(((places < low) | (places > high)).any(1).sum())
        axes.text(1, 1.01, f"not shown: {outside} farther out" if outside else "", transform=axes.transAxes,
                  fontsize=SMALL, color=SOFT, ha="right", va="bottom")
        tidy(axes, name, "code 1", "code 2" if axes.get_subplotspec().is_first_col() else "")
    return fig


def code_grid(codes: Tensor, side: int, room: float = 0.03) -> Tensor:
    """Codes (side * side, 2) on an even grid over the rectangle that holds codes (n, 2), but for the share ``room``
    beyond each of its edges; rows from the top, as :func:`~dgmlab.plots.mosaic` draws them."""
    if codes.ndim != 2 or codes.shape[1] != 2:
        raise LabError(f"The codes have the shape {tuple(codes.shape)}, but a plane needs (examples, 2); train a model "
                       "with latent=2.")
    check_number("The number of codes along a side", side, 2, 100, whole=True)
    low, high = (torch.quantile(codes, q, dim=0) for q in (room, 1 - room))
    steps = torch.linspace(0, 1, side, device=codes.device)
    across, up = low[0] + (high[0] - low[0]) * steps, low[1] + (high[1] - low[1]) * steps.flip(0)
    return torch.stack([across.repeat(side), up.repeat_interleave(side)], 1)


@torch.no_grad()
def grids_picture(models: Mapping[str, object], x: Tensor, side: int = 15) -> Figure:
    """The plane of each model (a code of two numbers) decoded at even places over the codes of ``x``."""
    fig = figure(500 * len(models), 460)
    for axes, (name, model) in zip(np.atleast_1d(fig.subplots(1, len(models))), models.items(), strict=True):
        codes = model.encode(x)
        grid = code_grid(codes, side)
        images = as_images(model.decode(grid).cpu())
        (left, top), (right, bottom) = grid[0].tolist(), grid[-1].tolist()
        axes.imshow(mosaic(images, side, side, gap=1), interpolation="nearest", aspect="auto",
                    extent=(left, right, bottom, top))
        tidy(axes, name, "code 1", "code 2" if axes.get_subplotspec().is_first_col() else "")
        axes.set_box_aspect(1)
    return fig


@torch.no_grad()
def holes_picture(decoders: Mapping[str, tuple[object, Tensor]], train_x: Tensor, real: float, rng: Rng,
                  side: int = 50, far: float = 1.5) -> Figure:
    """Over the plane of codes: how far the decoded image lies from the nearest training image; with the codes of
    images as dots, and draws from N(0, I). Left the first model with all of its codes, then each around 0.

    Args:
        decoders: name -> (a model with ``decode``, the codes (n, 2) of images).
        train_x: (N, C, H, W).
        real: the same distance for held-out images, on average.
        side: places along each side where the decoder is tried.
        far: draws whose images are farther than this, in units of ``real``, are counted in the titles.
    """
    draws = rng.normal((100, 2)).cpu()
    near = torch.tensor([[-4.0, -4.0], [4.0, 4.0]])                                             # (2 corners, 2)
    whole, (_, first) = next(iter(decoders.items()))
    low, high = torch.cat([first.cpu(), near]).aminmax(dim=0)
    middle, half = (low + high) / 2, 0.53 * float((high - low).max())
    parts = [(whole, torch.stack([middle - half, middle + half])), *((name, near) for name in decoders)]

    def distance(model, z):
        return nearest(model.decode(z.to(train_x.device)), train_x)[0].cpu() / real

    fig = figure(370 * len(parts) + 100, 420)
    places = fig.subplots(1, len(parts))
    for k, (axes, (name, box)) in enumerate(zip(places, parts, strict=True)):
        model, codes = decoders[name]
        (left, bottom), (right, upper) = box.tolist()
        shown = axes.imshow(distance(model, code_grid(box, side, room=0.0)).reshape(side, side), vmin=0.5, vmax=3,
                            extent=(left, right, bottom, upper), cmap="cividis")
        axes.set(xlim=(left, right), ylim=(bottom, upper))
        dots = axes.scatter(*codes.cpu().T, s=5, color="white", linewidths=0)
        crosses = axes.scatter(*draws.T, s=26 if k else 12, marker="x", color="#FF7A93", linewidths=1.3 if k else 0.8)
        circle = axes.add_patch(Circle((0, 0), 2, fill=False, color="#FF7A93", linewidth=1.4, linestyle=(0, (4, 3))))
        for each in (crosses, circle):                      # seen on the dark and on the bright parts
            each.set_path_effects([withStroke(linewidth=3, foreground=INK)])
        beyond = int((distance(model, draws) > far).sum())
        tidy(axes, f"{name}, around 0: {beyond} of 100 × beyond {far:g}" if k else f"{name}, all its codes", "code 1",
             "" if k else "code 2")
    fig.legend([dots, crosses, circle], ["codes of unseen images", "draws from N(0, I)",
                                         "86% of N(0, I) lies inside"],
               loc="outside lower center", ncols=3, fontsize=LABEL, facecolor="#5A6378", labelcolor="white",
               edgecolor="none", framealpha=1)
    bar = fig.colorbar(shown, ax=places, fraction=0.05, pad=0.02, extend="max")
    bar.set_label("decoded image to nearest training image\n(1: as far as a held-out image)", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    return fig


def labels_picture(found: Mapping[str, Mapping[int, Sequence[float]]]) -> Figure:
    """Accuracy of a linear classifier by feature and number of labels, mean over the draws and their standard
    deviation; see :func:`dgmlab.experiments.autoencoders.few_labels`."""
    fig = figure(860, 400)
    axes = fig.subplots()
    numbers = sorted(next(iter(found.values())))
    axes.set(xscale="log", xlim=(0.92 * numbers[0], 1.05 * numbers[-1]))
    axes.set_xticks(numbers, [f"{n:,}" for n in numbers])
    axes.minorticks_off()
    means = {name: [100 * np.mean(of[n]) for n in numbers] for name, of in found.items()}
    spreads = {name: [100 * np.std(of[n], ddof=min(1, len(of[n]) - 1)) for n in numbers] for name, of in found.items()}
    for k, name in enumerate(found):
        low, high = (np.array(means[name]) + sign * np.array(spreads[name]) for sign in (-1, 1))
        axes.fill_between(numbers, low, high, color=LINES[k % len(LINES)], alpha=0.1, linewidth=0)
    labelled_lines(axes, numbers, means, marker="o", markersize=4)
    tidy(axes, "The same classifier on different features of the same images (band: ± 1 sd of the draws)",
         "labelled images (log scale)", "test accuracy, %")
    return fig


class CurvePicture:
    """Two bottlenecks of one number on points of the plane: what each can decode to at all, and at one code.

    Built once; :meth:`update` moves what has changed.
    """

    def __init__(self, model, pca, x: Tensor):
        self.x = x.detach().cpu()
        self.fig = figure(940, 420)
        self.parts = []
        titles = ("PCA, one number: a straight line", "Deep autoencoder, one number: a curve")
        for axes, title, way, colour in zip(self.fig.subplots(1, 2), titles, (pca, model), (LINEAR, DEEP), strict=True):
            with torch.no_grad():
                codes = way.encode(x)[:, 0].cpu()
                # a code's sign is arbitrary: with this one, both go from left to right
                turn = 1 if (codes - codes.mean()) @ (self.x[:, 0] - self.x[:, 0].mean()) >= 0 else -1
                line = torch.linspace(float(codes.min()), float(codes.max()), 400)
                image = way.decode(line[:, None].to(x)).cpu()
                error = float((way.reconstruct(x) - x).square().sum(1).mean())
            axes.scatter(*self.x.T, s=7, color=QUIET, linewidths=0)
            axes.plot(*image.T, color=colour, linewidth=3)
            near = axes.scatter([], [], s=14, color=DATA, linewidths=0)
            mark, = axes.plot([], [], "P", color=PICKED, markersize=13, markeredgecolor="white")
            note = axes.text(0.02, 0.02, "", transform=axes.transAxes, fontsize=LABEL, color=PICKED)
            axes.text(0.98, 0.02, f"mean ‖x − x̃‖² = {error:.3f}", transform=axes.transAxes, fontsize=LABEL,
                      color=colour, ha="right")
            axes.set(xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), box_aspect=0.85)
            tidy(axes, title, "$x_1$", "$x_2$" if axes.get_subplotspec().is_first_col() else "")
            self.parts.append((way, codes, near, mark, note, turn))
        self.update(30)
        self.fig.draw_without_rendering()
        self.fig.set_layout_engine("none")           # the places are settled; solving for them takes most of a draw

    def update(self, place: float) -> None:
        """Show the code on whose left ``place`` percent of the codes lie, and the points of the tenth of the data whose
        codes are nearest to it."""
        for way, codes, near, mark, note, turn in self.parts:
            z = turn * torch.quantile(turn * codes, place / 100)
            close = (codes - z).abs().argsort()[:len(codes) // 10]
            with torch.no_grad():
                decoded = way.decode(z.reshape(1, 1).to(self.x))[0]
            near.set_offsets(self.x[close])
            mark.set_data(*decoded[:, None])
            note.set_text(f"code z = {float(z):.2f}".replace("-", "−"))
