"""The still pictures of lab 04."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import MaxNLocator

from ..data.sequences import FLOOR
from ..plots import (
    CLASSES,
    FAINT,
    INK,
    LABEL,
    LINES,
    QUIET,
    SMALL,
    SOFT,
    TITLE,
    class_colour,
    figure,
    labelled_lines,
    tidy,
)
from ..schedules import Schedule
from .pictures.base import DASHED
from .pictures.ellipses import REACH, ellipses, plane_of

PATH_A, PATH_B = LINES[0], LINES[1]
ORDER = {name: LINES[k] for k, name in enumerate(("constant", "monotonic", "cyclical"))}


def two_paths() -> Figure:
    """From x to its reconstruction: path A through z, path B through the words before."""
    fig = figure(900, 250)
    axes = fig.subplots()
    axes.set(xlim=(0, 90), ylim=(0, 25))
    axes.set_axis_off()

    def box(x, y, width, text, colour=INK, fill="white"):
        axes.add_patch(FancyBboxPatch((x, y - 2.2), width, 4.4, boxstyle="round,pad=0.2,rounding_size=0.8",
                                      edgecolor=colour, facecolor=fill, linewidth=1.3))
        axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=LABEL, color=INK)

    def arrow(start, end, colour, bend=0.0):
        axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=13, color=colour, linewidth=2,
                                       connectionstyle=f"arc3,rad={bend}"))

    box(1, 14, 14, "x = $x_1 … x_{T_x}$")
    box(22, 19, 12, "encoder", PATH_A)
    box(40, 19, 10, "z ~ q(z|x)", PATH_A, "#F0EDF9")
    box(40, 7, 17, "words before, $x_{<t}$", PATH_B, "#FBEEF0")
    box(66, 14, 12, "decoder")
    box(83, 14, 6.5, "$x_t$")
    arrow((15.4, 15), (21.6, 18.6), PATH_A)
    arrow((34.4, 19), (39.6, 19), PATH_A)
    arrow((50.4, 18.6), (65.6, 15), PATH_A)
    arrow((15.4, 13), (39.6, 7.5), PATH_B)
    arrow((57.5, 7.5), (65.6, 13), PATH_B)
    arrow((78.4, 14), (82.6, 14), INK)
    axes.text(45, 23.6, "path A: one code for the whole sequence; every nat of it costs a nat of KL", fontsize=LABEL,
              color=PATH_A, ha="center", va="center")
    axes.text(48.5, 2.2, "path B: each word is told the true words before it, for free;\nword dropout hides some of "
              "them", fontsize=LABEL, color=PATH_B, ha="center", va="center")
    axes.set_title("Two ways from a sequence to its reconstruction", fontsize=TITLE, color=INK, loc="left")
    return fig


def places_picture(alone, history, models: Mapping[str, Sequence[float]]) -> Figure:
    """What each place costs: with nothing known, with the words before, and in trained models; (T,) nats each."""
    fig = figure(900, 300)
    axes = fig.subplots()
    x = np.arange(1, len(alone) + 1)
    axes.bar(x, alone, 0.86, color=FAINT, edgecolor=QUIET, linewidth=1)
    axes.bar(x, history, 0.86, color=PATH_B, alpha=0.55)
    for k, costs in enumerate(models.values()):
        place = x + 0.26 * (k - (len(models) - 1) / 2)
        axes.plot(place, costs, "o" if k % 2 == 0 else "D", color=(PATH_A, CLASSES[3], CLASSES[1])[k % 3], markersize=7,
                  markeredgecolor="white")
    axes.set(ylim=(0, 1.75 * max(map(np.max, (alone, *models.values())))), xlim=(0.4, len(x) + 0.6))
    lines = [(f"grey: nothing known, {np.sum(alone):.2f} nats in all", SOFT),
             (f"red: the words before known, {np.sum(history):.2f} nats in all", PATH_B)]
    lines += [(f"{'●◆'[k % 2]} {name}: {np.sum(costs):.2f} nats in all", (PATH_A, CLASSES[3], CLASSES[1])[k % 3])
              for k, (name, costs) in enumerate(models.items())]
    for k, (text, colour) in enumerate(lines):
        axes.text(0.99, 0.98 - 0.095 * k, text, transform=axes.transAxes, ha="right", va="top", fontsize=LABEL,
                  color=colour)
    tidy(axes, "What the words before tell, and what is left for z", "place in the sequence", "nats")
    axes.set_xticks(x)
    return fig


def cut_picture(fine, best, dropout, measured: Mapping[str, Sequence[float]]) -> Figure:
    """What a decoder without z would pay at best as words are hidden, and what models with z pay and send.

    Args:
        fine, best: places and heights of the curve of :func:`~dgmlab.experiments.annealing.given_history`.
        dropout: (n,) word dropout of the models; measured: name -> (n,) nats.
    """
    fig = figure(900, 320)
    left, right = fig.subplots(1, 2)
    left.set(xlim=(0, 1), ylim=(0, 1.08 * max(best)))
    labelled_lines(left, {"best\nwithout z": fine, "−ELBO,\nwith z": dropout},
                   {"best\nwithout z": best, "−ELBO,\nwith z": measured["−ELBO"]})
    left.lines[0].set_color(PATH_B)
    left.lines[1].set_color(CLASSES[3])
    for text, colour in zip(left.texts, (PATH_B, CLASSES[3]), strict=True):
        text.set_color(colour)
    left.plot(dropout, measured["−ELBO"], "o", color=CLASSES[3])
    left.axhline(FLOOR, **DASHED)
    left.text(0.5, FLOOR, "ln 10", fontsize=SMALL, color=SOFT, va="top", ha="center")
    tidy(left, "Path B cut: what ignoring z would cost", "word dropout", "nats per sequence")
    right.set(xlim=(0, 1), ylim=(0, 1.15 * max(2.4, *measured["KL"])))
    labelled_lines(right, dropout, {"KL": measured["KL"], "I(x; z)": measured["I(x; z)"]}, marker="o")
    right.axhline(FLOOR, **DASHED)
    right.text(0.02, FLOOR, "ln 10: z tells which of the ten", fontsize=SMALL, color=SOFT, va="bottom")
    tidy(right, "… and what then goes through z (path A)", "word dropout", "nats per sequence")
    return fig


def schedule_picture(schedules: Mapping[str, Schedule], steps: int, width: int = 900, height: int = 190) -> Figure:
    """The KL weight over the steps, for each schedule side by side."""
    fig = figure(width, height)
    x = np.unique(np.linspace(0, steps - 1, 1500).astype(int))
    for k, (axes, (name, schedule)) in enumerate(zip(np.atleast_1d(fig.subplots(1, len(schedules), sharey=True)),
                                                     schedules.items(), strict=True)):
        axes.plot(x, [schedule(int(step)) for step in x], color=ORDER.get(name, LINES[3]), linewidth=2)
        top = max(1.0, *(s.stop for s in schedules.values()), *(s.start for s in schedules.values()))
        axes.set(xlim=(0, steps), ylim=(-0.03, 1.08 * top))
        tidy(axes, name if len(schedules) > 1 else f"The schedule: {schedule}", "step", "β" if not k else "")
    return fig


def figure3(seen: Mapping[str, Mapping[int, tuple]], betas: Mapping[str, Mapping[int, float]]) -> Figure:
    """Posterior ellipses by schedule (rows) and step (columns), and the KL weight at each.

    Args:
        seen: schedule -> step -> (mu, sigma), (10, L) each.
        betas: schedule -> step -> the KL weight in force.
    """
    steps = list(next(iter(seen.values())))
    fig = figure(40 + 140 * len(steps), 30 + 150 * len(seen))
    panels = np.atleast_2d(fig.subplots(len(seen), len(steps), sharex=True, sharey=True))
    farthest = max(float((np.abs(plane_of(mu)) + REACH * plane_of(sigma, fill=1.0)).max())
                   for by_step in seen.values() for mu, sigma in by_step.values())
    reach = min(max(2.6, farthest + 0.1), 4.0)                          # one scale for all; what lies beyond is cut off
    for row, (name, by_step) in zip(panels, seen.items(), strict=True):
        for axes, (step, (mu, sigma)) in zip(row, by_step.items(), strict=True):
            mu, sigma = plane_of(mu), plane_of(sigma, fill=1.0)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            axes.add_patch(Circle((0, 0), REACH, fill=False, **DASHED))
            axes.add_collection(ellipses(mu, sigma, range(len(mu)), axes, filled=False))
            for k, place in enumerate(mu):
                axes.text(*place, str(k), fontsize=SMALL, color=class_colour(k), weight="bold", ha="center",
                          va="center", clip_on=True)
            tidy(axes, "", "", "")
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
            axes.set_title(f"{step:,}: β = {betas[name][step]:.2f}".replace("= 1.00", "= 1"), fontsize=LABEL, color=INK,
                           loc="left")
        row[0].set_ylabel(name, fontsize=TITLE, color=ORDER.get(name, INK))
    return fig


def figure4(columns: Mapping[str, Mapping[str, np.ndarray]], smooth: int = 25) -> Figure:
    """-ELBO, reconstruction, KL and beta over the steps, for each schedule: schedule -> term -> (steps,)."""
    fig = figure(860, 410)
    panels = fig.subplots(2, 2).ravel()
    steps = max(len(values) for each in columns.values() for values in each.values())
    for axes, (term, title, limits) in zip(panels, (
            ("nelbo", "−ELBO: the same, down to ln 10", (2.0, 4.5)), ("reconstruction", "Reconstruction", (0, 3.5)),
            ("kl", "KL", (0, 4.0)), ("beta", "KL weight β", (0, 1.1))), strict=True):
        highest = max(float(np.max(each[term][steps // 10:])) for each in columns.values())
        axes.set(xlim=(0, steps), ylim=(limits[0], min(limits[1], 1.15 * highest) if term == "kl" else limits[1]))
        lines = {name: means(each[term], 1 if term == "beta" else smooth) for name, each in columns.items()}
        lines = {name: np.where((v >= limits[0]) & (v <= limits[1]), v, np.nan) for name, v in lines.items()}
        labelled_lines(axes, np.arange(1, steps + 1), lines, linewidth=1.5)
        if term == "nelbo":
            axes.axhline(FLOOR, **DASHED)
            axes.text(0.5 * steps, FLOOR - 0.04, "ln 10", fontsize=SMALL, color=SOFT, va="top")
        tidy(axes, title, "step", "" if term == "beta" else "nats per sequence")
    return fig


def means(values, window: int) -> np.ndarray:
    """The running mean over the last ``window`` values."""
    sums = np.cumsum(np.r_[0.0, np.asarray(values, float)])
    last = np.arange(1, len(sums))
    first = np.maximum(0, last - window)
    return (sums[last] - sums[first]) / (last - first)


def confound_picture(kl: Mapping[tuple[str, str], Sequence[float]]) -> Figure:
    """KL at the end of every combination: (schedule of beta, schedule of the learning rate) -> KL of each seed."""
    betas, rates = (list(dict.fromkeys(key[k] for key in kl)) for k in (0, 1))
    fig = figure(820, 330)
    axes = fig.subplots()
    axes.set(xlim=(-0.4, len(betas) - 0.25), xticks=range(len(betas)),
             ylim=(-0.08, 1.12 * max(np.max(values) for values in kl.values())))
    place = {name: np.arange(len(betas)) + 0.06 * (k - 1) for k, name in enumerate(rates)}
    for k, rate in enumerate(rates):
        for x, beta in zip(place[rate], betas, strict=True):
            axes.plot(np.full(len(kl[beta, rate]), x), kl[beta, rate], "o^s"[k % 3], color=LINES[k], markersize=4.5,
                      alpha=0.5, markeredgewidth=0)
    labelled_lines(axes, place, {rate: [np.mean(kl[beta, rate]) for beta in betas] for rate in rates})
    tidy(axes, "KL by the schedule of β and, as lines, of the learning rate", "schedule of β", "KL, nats")
    axes.set_xticks(range(len(betas)), [f"{beta} β" for beta in betas])
    return fig


def cures_picture(kl: Mapping[str, Sequence[float]], price: Mapping[str, Sequence[float]],
                  told: Mapping[str, Sequence[float]]) -> Figure:
    """What each cure leaves in z (KL and mutual information) and what it costs; name -> nats of each seed."""
    names = list(kl)
    fig = figure(900, 60 + 30 * len(names))
    left, right = fig.subplots(1, 2, sharey=True, width_ratios=[1.4, 1])
    y = np.arange(len(names))[::-1]
    left.barh(y, [np.mean(kl[name]) for name in names], 0.7, color=CLASSES[2], alpha=0.55)
    left.barh(y, [np.mean(told[name]) for name in names], 0.3, color=PATH_A)
    left.axvline(FLOOR, **DASHED)
    left.set_yticks(y, names)
    tidy(left, "KL (wide) and what it tells, I(x; z) (narrow)", "nats (dashed: ln 10)")
    for place, name in zip(y, names, strict=True):
        right.plot(price[name], np.full(len(price[name]), place), "o", color=PATH_B, markersize=5, alpha=0.6,
                   markeredgewidth=0)
    right.axvline(FLOOR, **DASHED)
    right.margins(x=0.1)
    tidy(right, "What it costs: −ELBO as trained, each seed", "nats (dashed: ln 10)")
    left.set_yticks(y, names)
    return fig
