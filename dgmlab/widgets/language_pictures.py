"""Lab 05's pictures: sentences as they change while a model trains, answers beside the truth, tables as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from ..errors import LabError
from ..plots import CLASSES, FAINT, INK, LABEL, LINES, SMALL, SOFT, figure, labelled_lines, spread, tidy
from .pictures import Picture

VALID, INVALID = "#006424", "#B3304A"


class SentenceLines(Picture):
    """Sentences one below the other, in groups with a heading each.

    Data: `groups` [(heading, [sentence, ...]), ...]; a sentence that is too wide is cut.
    """

    needs = ("groups",)

    def build(self):
        self.stage.lines = []
        width, height = self.size
        y, step = self.title_height() + 26, 18
        while y < height:
            line = self.stage.figure.text(10 / width, 1 - y / height, "", fontsize=LABEL, color=INK, va="baseline")
            self.stage.lines.append(self.moves(line, on_axes=False))
            y += step

    def draw(self, data):
        wanted = []
        for heading, sentences in data["groups"]:
            if wanted:
                wanted.append(("", INK))
            wanted.append((heading, LINES[0]))
            wanted += [(f"   {sentence or '(nothing)'}", INK) for sentence in sentences]
        room = (self.size[0] - 16) * self.stage.pixel
        for line, (text, colour) in zip(self.stage.lines, [*wanted, *[("", INK)] * len(self.stage.lines)]):
            line.set(text=text, color=colour)
            while text and self.text_width(line) > room:
                text = text[:-4].rstrip() + "…"
                line.set_text(text)

    def alt(self, data):
        parts = [f"{heading}: {'; '.join(sentence or 'nothing' for sentence in sentences)}"
                 for heading, sentences in data["groups"]]
        return f"{self.headline(data) or 'Sentences'}. {'. '.join(parts)}."


def answers_picture(columns: Mapping[str, Sequence[str]], truth: Mapping[str, str] | None, context: str) -> Figure:
    """Answers to one context side by side: a column a model, with the act behind each answer that is valid.

    Args:
        truth: every valid answer -> its act; None where it is not known.
    """
    if not columns:
        raise LabError("There are no answers to show; give at least one column of them.")
    rows = max(map(len, columns.values()))
    wide = 470
    fig = figure(wide * len(columns), 62 + 21 * rows)
    fig.suptitle(f"“{context}”", fontsize=13, color=INK, x=0.01, ha="left")
    for axes, (name, given) in zip(np.atleast_1d(fig.subplots(1, len(columns))), columns.items(), strict=True):
        axes.set(xlim=(0, 1), ylim=(rows - 0.4, -0.9))
        axes.set_axis_off()
        acts = [truth.get(each) if truth is not None else None for each in given]
        found = f": {len({act for act in acts if act})} of {len(set(truth.values()))} acts" if truth is not None else ""
        axes.text(0, -0.75, f"{name}{found}", fontsize=LABEL, color=INK, weight="bold", va="center")
        for k, (answer, act) in enumerate(zip(given, acts)):
            mark = "" if truth is None else "✓ " if act else "✗ "
            axes.text(0, k + 0.2, mark + (answer or "(nothing)"), fontsize=LABEL, va="center", family="DejaVu Sans",
                      color=INK if truth is None else VALID if act else INVALID)
            if act:
                axes.text(0.99, k + 0.2, act.replace("_", " "), fontsize=SMALL, color=SOFT, va="center", ha="right")
    return fig


def probe_picture(shares: Sequence[float], accuracies: Mapping[str, Sequence[float]], floor: float, labels: int,
                  title: str = "How much a few labels buy, by what they are put on") -> Figure:
    """Test accuracy against the share of labels, one line for each kind of features.

    Args:
        floor: accuracy of always naming the commonest class; dashed, above the others.
        labels: how many labels 100 % are.
    """
    fig = figure(700, 340)
    axes = fig.subplots()
    axes.set(xscale="log", xlim=(min(shares), max(shares)))
    lowest = min(floor, *(min(v) for v in accuracies.values()))
    axes.set_ylim(lowest - 0.03, max(max(v) for v in accuracies.values()) + 0.03)
    named = {**accuracies, "commonest class": [floor] * len(shares)}
    labelled_lines(axes, np.asarray(shares), named, marker="o", markersize=4)
    axes.lines[-1].set(color=INK, linewidth=1.2, linestyle=(0, (4, 3)), marker="", zorder=5)
    axes.texts[-1].set_color(INK)
    tidy(axes, title, "labels used", "accuracy on test sentences")
    axes.set_xticks(list(shares), [f"{share:g}".replace("0.01", "1 %").replace("0.05", "5 %").replace("0.1", "10 %")
                                   .replace("0.5", "50 %") if share < 1 else f"100 % = {labels:,}" for share in shares])
    axes.minorticks_off()
    return fig


def trade_picture(rows: Mapping[str, tuple[float, float]], reference: float, title: str) -> Figure:
    """KL against perplexity, a named dot a way of training; the plain language model's perplexity is dashed.

    Args:
        rows: name -> (KL in nats per sentence, perplexity per word).
        reference: the language model's perplexity.
    """
    fig = figure(700, 380)
    axes = fig.subplots()
    kl = np.array([each[0] for each in rows.values()])
    ppl = np.array([each[1] for each in rows.values()])
    x = np.log1p(20 * kl)
    axes.scatter(x, ppl, s=42, color=[CLASSES[k % len(CLASSES)] for k in range(len(rows))], zorder=3)
    low, high = min(reference, ppl.min()), max(reference, ppl.max())
    axes.set(xlim=(-0.15, max(x.max() * 1.35, 1)), ylim=(low - 0.08 * (high - low), high + 0.12 * (high - low)))
    axes.axhline(reference, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
    axes.text(1, reference, "plain LSTM ", fontsize=SMALL, color=SOFT, va="bottom", ha="right",
              transform=axes.get_yaxis_transform())
    fig.draw_without_rendering()
    pixels = axes.transData.transform(np.stack([x, ppl], 1))
    places = spread(pixels[:, 1], LABEL + 2.5, *axes.bbox.intervaly)
    for k, (name, place) in enumerate(zip(rows, places)):
        axes.annotate(name, (x[k], ppl[k]), (9, place - pixels[k, 1]), textcoords="offset points", va="center",
                      fontsize=LABEL, color=INK, bbox={"facecolor": "white", "alpha": 0.8, "pad": 0.5, "linewidth": 0},
                      arrowprops={"arrowstyle": "-", "color": FAINT, "linewidth": 0.7})
    tidy(axes, title, "KL, nats per sentence (stretched near 0)", "perplexity per word")
    ticks = [t for t in (0, 0.1, 0.3, 1, 3, 10, 30) if np.log1p(20 * t) <= axes.get_xlim()[1]]
    axes.set_xticks([np.log1p(20 * t) for t in ticks], [f"{t:g}" for t in ticks])
    return fig


def cost_picture(words: Sequence[str], costs: Mapping[str, Sequence[float]],
                 perplexities: Mapping[str, float]) -> Figure:
    """What each word of one sentence costs under each of several models, in nats, and the perplexity it comes to."""
    fig = figure(max(560, 74 * len(words) + 120), 270)
    axes = fig.subplots()
    width = 0.8 / len(costs)
    for k, (name, each) in enumerate(costs.items()):
        axes.bar(np.arange(len(words)) + (k - (len(costs) - 1) / 2) * width, each, width * 0.92,
                 color=LINES[k % len(LINES)], label=f"{name}: perplexity {perplexities[name]:.1f}")
    axes.set_xticks(range(len(words)), words)
    axes.legend(fontsize=LABEL, frameon=False, loc="upper right")
    tidy(axes, "The bill of one sentence: every word and the end are paid", "", "−log p, nats")
    axes.set_ylim(0, 1.25 * max(max(each) for each in costs.values()))
    return fig
