"""Sketches of models: boxes for what goes in and out, funnels for networks, arrows between them."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from ..plots import INK, SOFT, TITLE, figure


def sketch(width: int, height: int, below: int) -> tuple[Figure, Axes]:
    """An empty sheet in screen pixels; y = 0 lies ``below`` pixels above its lower edge."""
    fig = figure(width, height)
    axes = fig.subplots()
    axes.set(xlim=(0, width), ylim=(-below, height - below), aspect="equal")
    axes.axis("off")
    return fig, axes


def block(axes: Axes, y: float, left: float, right: float, high_left: float, high_right: float, text: str,
          colour: str) -> None:
    """A box about the height ``y``, half as high as it says at each side, so that a network can narrow or widen."""
    corners = [(left, -high_left), (left, high_left), (right, high_right), (right, -high_right)]
    axes.add_patch(Polygon(np.array(corners) + [0, y], facecolor=colour, edgecolor=SOFT, alpha=0.25))
    axes.text((left + right) / 2, y, text, fontsize=TITLE, color=INK, ha="center", va="center")


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = INK, style: str = "->",
          width: float = 1.2) -> None:
    """An arrow from one point to another."""
    axes.annotate("", end, start, arrowprops={"arrowstyle": style, "color": colour, "linewidth": width})
