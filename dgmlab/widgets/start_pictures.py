"""The still pictures of lab 00; each function returns a figure for :func:`dgmlab.plots.show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from torch import Tensor

from ..data.milestones import Milestone
from ..errors import LabError
from ..experiments.growth import Growth
from ..plots import (
    FAINT,
    INK,
    LABEL,
    LINES,
    SMALL,
    SOFT,
    as_images,
    enlarge,
    figure,
    image_grid,
    mosaic,
    short,
    tidy,
)
from .sketches import arrow, block, sketch

DATA, MODEL = LINES[0], LINES[1]
MARKS = {"autoregressive": ("o", LINES[0]), "VAE": ("s", LINES[1]), "GAN": ("^", LINES[2]), "reference": ("x", SOFT)}
BELOW = {"LSTM-8192-1024 + CNN"}
LEFT = {"GPT", "GPT-3", "PaLM", "BERT-large", "Optimus", "ProGAN", "DCGAN", "T-NLG"}    # where the name stands better
HEAT = "YlGnBu"


@torch.no_grad()
def model_picture(run, most: int = 5) -> Figure:
    """The VAE of section 1: what goes in, what comes out, and where a new image begins.

    Args:
        run: of :func:`dgmlab.experiments.memorising.make_run`; its first ``most`` training images go in, and what the
            model makes of them at present comes out.
    """
    images = run.images[:most]
    with run.lock:
        answers = run.model.decode(run.model.encode(images)[0])
    numbers, latent = images[0].numel(), run.model.latent
    fig, axes = sketch(900, 250, below=20)
    for middle, of_it, name in ((60, images, "training images"), (840, answers, "answers")):
        sheet = mosaic(enlarge(as_images(of_it), 32, 32), len(of_it), 1, gap=4)
        high = len(of_it) * 18.0
        axes.imshow(sheet, extent=(middle - 18, middle + 18, 110 - high, 110 + high), interpolation="nearest")
        axes.text(middle, 110 + high + 8, f"{name}, {numbers} numbers", fontsize=LABEL, color=INK, ha="center")
    axes.set(xlim=(0, 900), ylim=(-20, 230))
    block(axes, 110, 140, 280, 70, 26, "encoder", DATA)
    block(axes, 110, 325, 455, 36, 36, f"mean and spread\nof each code:\n{2 * latent} numbers", FAINT)
    block(axes, 110, 505, 585, 26, 26, f"code z\n{latent} numbers", LINES[4])
    block(axes, 110, 630, 770, 26, 70, "decoder", MODEL)
    for start, end in ((90, 136), (284, 321), (459, 501), (589, 626), (774, 812)):
        arrow(axes, (start, 110), (end, 110))
    arrow(axes, (545, 80), (545, 30), "#A02E45", width=1.6)
    axes.text(545, 14, f"a new image begins here: {latent} random numbers, and the decoder alone", fontsize=LABEL,
              color="#A02E45", ha="center", va="center")
    axes.text(480, 120, "draw", fontsize=LABEL, color=INK, ha="center")
    return fig


def densities_picture(densities: Mapping[str, object], points: Tensor, held_out: Tensor, extent: float = 2.2) -> Figure:
    """Densities of the plane side by side, each with 300 samples of its own, and how it scores points it never saw.

    Args:
        densities: by name, each with ``log_prob`` (n, 2) -> (n,) in nats, and ``sample(n)`` -> (n, 2).
        points: (N, 2), what the models were fitted to; drawn into the first picture.
        held_out: (M, 2), points that none has seen.
    """
    axis = torch.linspace(-extent, extent, 121, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    fig = figure(250 * len(densities), 290)
    for k, (axes, (name, model)) in enumerate(zip(fig.subplots(1, len(densities), sharey=True), densities.items())):
        height = model.log_prob(plane).exp().reshape(121, 121).numpy()
        axes.contourf(axis, axis, height, levels=np.linspace(0, 1, 9)[1:] * min(height.max(), 1.2), cmap="Greens",
                      extend="max")
        shown = points if k == 0 else model.sample(300)
        axes.scatter(*shown.T, s=6, color=DATA if k == 0 else MODEL, linewidths=0, alpha=0.8)
        score = model.log_prob(held_out).mean().item()
        tidy(axes, f"{name}\n{short(score)} nats on new points", "$x_1$", "$x_2$" if k == 0 else "")
        axes.title.set_fontsize(LABEL)
        axes.set(xlim=(-extent, extent), ylim=(-1.5, 1.5), aspect="equal", xticks=[-2, 0, 2], yticks=[-1, 0, 1])
    marks = [Line2D([], [], color=colour, marker="o", markersize=5, linestyle="") for colour in (DATA, MODEL)]
    fig.legend(marks, ["training points", "samples of the model"], loc="outside lower center", ncols=2, frameon=False,
               fontsize=LABEL, labelcolor=INK)
    return fig


def siblings_picture(points: Tensor, labels: Tensor, strange: tuple[float, float] = (3.0, 2.2)) -> Figure:
    """One sibling learns only the border between two classes, the other how each class looks.

    Left, a logistic regression on polynomial features, p(class | x). Right, a mixture of Gaussians for each class,
    p(x | class), which by Bayes' rule has a border too; and what both say of a ``strange`` point.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.mixture import GaussianMixture
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures

    x, y = points.numpy(), labels.numpy()
    border = make_pipeline(PolynomialFeatures(3), LogisticRegression(C=10, max_iter=1000)).fit(x, y)
    looks = [GaussianMixture(6, random_state=0, reg_covar=1e-3, n_init=2).fit(x[y == k]) for k in (0, 1)]
    across, up = np.linspace(-2.4, 3.8, 156), np.linspace(-2, 3, 126)
    plane = np.stack(np.meshgrid(across, up), -1).reshape(-1, 2)
    fig = figure(980, 350)
    left, right = fig.subplots(1, 2, sharey=True)
    one = border.predict_proba(plane)[:, 1].reshape(126, 156)
    left.contourf(across, up, one, levels=np.linspace(0, 1, 11), cmap="PuOr", alpha=0.55)
    left.contour(across, up, one, levels=[0.5], colors=INK, linewidths=1.5)
    heights = [np.exp(model.score_samples(plane)).reshape(126, 156) for model in looks]
    for height, cmap in zip(heights, ("Oranges", "Purples"), strict=True):
        right.contourf(across, up, np.where(height > 0.02, height, np.nan), levels=8, cmap=cmap, alpha=0.7)
    right.contour(across, up, heights[1] - heights[0] > 0, levels=[0.5], colors=INK, linewidths=1)
    for axes in (left, right):
        for k, (mark, colour) in enumerate((("o", "#8A4B08"), ("x", "#4B2A7B"))):
            axes.scatter(*x[y == k][:80].T, s=16, marker=mark, color=colour, linewidths=1)
        axes.plot(*strange, "*", color=MODEL, markersize=16)
        axes.set(xlim=(-2.4, 3.8), ylim=(-2, 3))
    at = np.array([strange])
    sure = border.predict_proba(at)[0]
    log_p = np.logaddexp(*(model.score_samples(at)[0] for model in looks)) - np.log(2)
    usual = np.median(np.logaddexp(*(model.score_samples(x) for model in looks)) - np.log(2))
    note = {"fontsize": LABEL, "color": "#A02E45", "ha": "right", "textcoords": "offset points",
            "bbox": {"facecolor": "white", "linewidth": 0, "pad": 2}, "zorder": 5}
    left.annotate(f"★ is class {'○×'[sure.argmax()]}: {sure.max():.1%} sure", strange, (-14, 8), **note)
    right.plot([], [], color=INK, linewidth=1, label="both classes equally dense")
    right.legend(fontsize=LABEL, frameon=False, loc="lower right", labelcolor=INK)
    right.annotate(f"★ is like nothing seen: log p(x) = {log_p:,.0f} nats\n(half of the data lie above "
                   f"{usual:.1f} nats)".replace("-", "−"), strange, (-14, -6), **note)
    tidy(left, "Discriminative, p(class | x): where is the border?", "$x_1$", "$x_2$")
    tidy(right, "Generative, p(x | class): how does each class look?", "$x_1$")
    return fig


def grid_picture(records: Sequence[Mapping[str, float]]) -> Figure:
    """Two heat maps over training images and parameters: how near the new images lie, and the held-out bound.

    Args:
        records: as :func:`dgmlab.experiments.memorising.grid` returns them. Cells within the condition, P < N * D, are
            framed.
    """
    counts, widths = (sorted({r[name] for r in records}) for name in ("N", "width"))
    cells = {(r["width"], r["N"]): r for r in records}
    if len(cells) != len(counts) * len(widths):
        raise LabError("The records do not fill a grid of images by widths; give one for each pair.")
    fig = figure(980, 90 + 44 * len(widths))
    panels = (("ratio", "Distance of new images / of held-out ones: 0 is a copy", (0, 1.5), "{:.2f}"),
              ("held out", "Score of held-out images, nats per image: higher is better", None, "{:.1f}"))
    for axes, (name, title, limits, form) in zip(fig.subplots(1, 2), panels, strict=True):
        values = np.array([[cells[w, n][name] for n in counts] for w in widths])
        low, high = limits or (values.min(), values.max())
        axes.imshow(values, cmap=HEAT, vmin=low, vmax=high + 0.25 * (high - low), aspect="auto", origin="lower")
        for i, w in enumerate(widths):
            for j, n in enumerate(counts):
                dark = (values[i, j] - low) / (high - low) > 0.72
                axes.text(j, i, form.format(values[i, j]).replace("-", "−"), ha="center", va="center", fontsize=LABEL,
                          color="white" if dark else INK)
                if cells[w, n]["P"] < cells[w, n]["N*D"]:
                    axes.add_patch(Rectangle((j - 0.47, i - 0.46), 0.94, 0.92, fill=False, edgecolor=MODEL,
                                             linewidth=2.2))
        axes.set_xticks(range(len(counts)), [f"{n:,}" for n in counts])
        axes.set_yticks(range(len(widths)), [f"{cells[w, counts[0]]['P']:,}" for w in widths])
        tidy(axes, title, "training images N  (framed: P < N·D)", "parameters P")
        axes.spines[["left", "bottom"]].set_visible(False)
    return fig


def stages_picture(images: Tensor, stages: Sequence[int]) -> Figure:
    """Binary images as they come into being pixel by pixel; what is not there yet is grey.

    Args:
        images: (n, 64), made in reading order.
        stages: numbers of pixels that are there, one row each.
    """
    fig = figure(620, 52 + 56 * len(stages))
    for axes, stage in zip(fig.subplots(len(stages), 1), stages, strict=True):
        partial = images.clone().float()
        partial[:, stage:] = 0.25
        image_grid(axes, partial.reshape(-1, 8, 8), columns=len(images))
        axes.set_title(f"{stage} of 64 pixels", fontsize=LABEL, color=INK, loc="left", pad=2)
    return fig


def rows_picture(rows: Mapping[str, Tensor], title: str, columns: int = 10) -> Figure:
    """Rows of images (n, 1, H, W), each below its name."""
    fig = figure(900, 40 + 104 * len(rows))
    for axes, (name, images) in zip(np.atleast_1d(fig.subplots(len(rows), 1)), rows.items(), strict=True):
        pictures = enlarge(as_images(images.reshape(-1, *images.shape[-2:])[:columns]), 32, 32)
        axes.imshow(mosaic(pictures, 1, columns, gap=4), interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(name, fontsize=LABEL, color=INK, loc="left", pad=2)
    fig.suptitle(title, fontsize=13, color=INK, x=0.01, ha="left")
    return fig


def growth_picture(found: Sequence[Milestone], lines: Mapping[str, Growth]) -> Figure:
    """Parameters against year on a logarithmic axis; a family has a colour and a mark, and each model its name."""
    fig = figure(980, 520)
    axes = fig.subplots()
    axes.set(yscale="log", xlim=(2002.5, 2025.5), ylim=(3e5, 3e12))
    for family, (mark, colour) in MARKS.items():
        of_it = [m for m in found if m.family == family]
        if not of_it:
            continue
        axes.plot([m.year for m in of_it], [m.parameters for m in of_it], mark, color=colour, markersize=8,
                  linestyle="", label="BERT, for comparison" if family == "reference" else family)
        if family in lines:
            years = np.array([min(m.year for m in of_it), max(m.year for m in of_it)])
            axes.plot(years, lines[family].at(years), color=colour, linewidth=1, linestyle=(0, (4, 3)), alpha=0.7)
    _names(axes, found)
    axes.legend(fontsize=LABEL, frameon=False, loc="upper left", labelcolor=INK)
    axes.grid(axis="y", color=FAINT, linewidth=0.7)
    axes.set_axisbelow(True)
    ticks = [10**k for k in range(6, 13)]
    axes.set_yticks(ticks, ["1 million", "10 million", "100 million", "1 billion", "10 billion", "100 billion",
                            "1,000 billion"])
    axes.minorticks_off()
    axes.set_xticks(range(2004, 2025, 2))
    tidy(axes, "Parameters of famous models; dashed, a straight line through each family", "year", "parameters P")
    return fig


def _names(axes, found):
    for m in found:
        side = -1 if m.name in LEFT else 1
        place = (-6, -14) if m.name in BELOW else (8 * side, 0)
        axes.annotate(m.name, (m.year, m.parameters), place, fontsize=SMALL, textcoords="offset points",
                      ha="left" if side == 1 else "right", va="center", color=MARKS[m.family][1],
                      path_effects=[withStroke(linewidth=3, foreground="white")])
