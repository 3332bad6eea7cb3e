"""The still pictures of lab 08. Each function returns a figure for :func:`dgmlab.plots.show`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..errors import LabError
from ..experiments.translation import confusions, reader
from ..plots import INK, LABEL, as_images, enlarge, figure, image_grid, mosaic, tidy


def heaps_picture(styles, n: int = 30) -> Figure:
    """Some images of either side, in the order in which they lie there."""
    fig = figure(900, 215)
    for axes, images, side in zip(fig.subplots(1, 2), (styles.train_x, styles.train_y), styles.sides, strict=True):
        image_grid(axes, images[:n], columns=n // 3)
        axes.set_title(f"side {'XY'[axes.get_subplotspec().colspan.start]}: {side}", fontsize=LABEL, color=INK,
                       loc="left")
    return fig


def confusion_picture(runs: Mapping[str, object], which: str = "test") -> Figure:
    """Of every character, the percentage of its translations that is read as each character: one table a run.

    Args:
        runs: trained runs by name, of one and the same data.
        which: of ``run.data.pairs``.
    """
    fig = figure(430 * len(runs) + 60, 430)
    places = np.atleast_1d(fig.subplots(1, len(runs)))
    for axes, (name, run) in zip(places, runs.items(), strict=True):
        data = run.data
        table = confusions(run.model, data.pairs[which], reader(data)).double()
        there = table.sum(1) > 0
        rows = [c for c, present in zip(data.classes, there.tolist()) if present]
        share = 100 * (table[there] / table[there].sum(1, keepdim=True)).numpy()
        shown = axes.imshow(share, vmin=0, vmax=100, cmap="Blues", aspect="auto")
        for (i, j), value in np.ndenumerate(share):
            if value > 0:
                axes.text(j, i, f"{value:.0f}", fontsize=9, ha="center", va="center",
                          color="white" if value > 60 else INK)
        axes.set_xticks(range(len(data.classes)), data.classes)
        axes.set_yticks(range(len(rows)), rows)
        right = float(table.diagonal().sum() / table.sum())
        tidy(axes, f"{name}: {right:.0%} read right", "read as", "what it was" if axes is places[0] else "")
    bar = fig.colorbar(shown, ax=list(places), fraction=0.05, pad=0.02)
    bar.set_label("% of the character's translations", fontsize=LABEL, color=INK)
    return fig


def permutation_picture(source: Tensor, wrong: Tensor, truth: Tensor) -> Figure:
    """Letters, a translation that takes each for another one, and the right one."""
    fig = figure(760, 240)
    axes = fig.subplots()
    rows = [enlarge(as_images(images), 48, 48) for images in (source, wrong, source, truth)]
    axes.imshow(mosaic(np.concatenate(rows), 4, len(source), gap=5))
    axes.set_yticks([24 + 53 * k for k in range(4)], ["x", "G(x), a wrong letter", "F(G(x))", "truth"],
                    fontsize=LABEL)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return fig


@torch.no_grad()
def photographs_picture(runs: Mapping[str, object]) -> Figure:
    """Both whole photographs, and what each of several runs makes of them."""
    models = {name: run.model for name, run in runs.items()}
    first = next(iter(runs.values()))
    if not first.data.whole:
        raise LabError("These runs were not trained on photographs; take make_run('photographs').")
    x, y = (photo.to(first.device) for photo in first.data.whole)
    columns = [("the photographs", x, y)] + [(name, m.translate(x), m.translate_back(y)) for name, m in models.items()]
    images = [as_images(torch.cat(part).cpu(), ink=False) for part in zip(*(each[1:] for each in columns), strict=True)]
    whole = mosaic(np.concatenate(images), 2, len(columns), gap=8)
    (high, wide), head = whole.shape[:2], 24
    fig = figure(wide, high + head)                      # a pixel of theirs to a screen pixel: sharp, and a small file
    fig.set_layout_engine("none")                        # the place of the images is exact
    axes = fig.add_axes((0, 0, 1, high / (high + head)))
    axes.imshow(whole, interpolation="nearest")
    axes.set_axis_off()
    for k, (name, *_) in enumerate(columns):
        fig.text(k * (x.shape[3] + 8) / wide, 1 - 5 / (high + head), name, fontsize=LABEL + 1, color=INK, va="top")
    return fig
