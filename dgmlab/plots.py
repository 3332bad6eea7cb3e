"""How every picture of the lab looks, moving or still.

One palette that colour-blind readers can tell apart, dark enough to be read on white, and never the only thing that
tells two things apart: lines carry their name at their end, points are drawn as the character of their class. The
figures here are plain matplotlib `Figure`s (no pyplot, no global settings), and a point is a pixel: `fontsize=12` is 12
screen pixels, `figure(600, 340)` is that many wide and high. `show` puts one into the page with its alt text.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.ticker import FixedLocator, MaxNLocator
from PIL import Image

from .errors import LabError

INK, SOFT, FAINT = "#2b2b2b", "#6a6a6a", "#d9d9d9"          # text; axes and notes; frames and grounds
QUIET = "#919191"                                           # what lies behind or is not in use, and is seen
LINES = ("#440C85", "#C84B63", "#004100", "#751457", "#907300", "#377BB2")
CLASSES = ("#2F1F90", "#6970AE", "#008388", "#003B00", "#485200",      # after Paul Tol's "muted", searched for distance
           "#857700", "#BB5948", "#5F0138", "#5B2372", "#7E484C")      # among those that a character on white can have
TITLE, LABEL, SMALL = 13, 11.5, 10.5                        # font sizes in pixels
DPI = 72                                                    # one point = one pixel of the screen
TRIES = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789αβγδεζηθκλμπρστφχψω+*#@&%$!?=~<>"


def class_colour(k: int) -> str:
    """The colour of class ``k``; from ten classes on they repeat, and the character alone tells."""
    return CLASSES[k % len(CLASSES)]


def short(value: float, *, steady: bool = False) -> str:
    """A number in a few characters: 21.6, 0.034, 1,240; ``steady`` keeps three digits, for numbers that change."""
    if not np.isfinite(value):
        return "not finite"
    digits = "#.3g" if steady else ".3g"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:{digits}}" if abs(value) >= 1e-3 else f"{value:.1g}"
    return text.replace("-", "−") if "e" not in text else text


# -- figures -----------------------------------------------------------------------------------------------------------


def figure(width: int = 600, height: int = 340) -> Figure:
    """An empty figure of ``width`` x ``height`` screen pixels: ``axes = figure().subplots()``, then :func:`show`."""
    fig = Figure((width / DPI, height / DPI), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(fig)
    return fig


def tidy(axes: Axes, title: str = "", x: str = "", y: str = "") -> Axes:
    """A light frame: left and bottom line only, few ticks (those set by hand stay), a title over the left edge."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(SOFT)
    axes.tick_params(labelsize=SMALL, labelcolor=INK, color=SOFT, length=3, width=0.8)
    for axis in (axes.xaxis, axes.yaxis):
        if axis.get_scale() == "linear" and not isinstance(axis.get_major_locator(), FixedLocator):
            axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    axes.set_title(title, fontsize=TITLE, color=INK, loc="left")
    axes.set_xlabel(x, fontsize=LABEL, color=INK)
    axes.set_ylabel(y, fontsize=LABEL, color=INK)
    return axes


def show(fig: Figure, alt: str) -> None:
    """Put the figure into the notebook's page, sharp and at its own size, with its alt text.

    Outside a notebook nothing is shown.

    Args:
        alt: one sentence that says what the figure shows, for those who cannot see it.
    """
    from PIL import Image

    file = io.BytesIO()                         # kept in notebooks: with a palette of 256 it is a third the size
    Image.open(io.BytesIO(png(fig))).convert("RGB").quantize(256).save(file, "PNG", optimize=True)
    show_png(file.getvalue(), round(fig.get_figwidth() * DPI), alt)


def show_png(content: bytes, width: int, alt: str) -> None:
    """Put a PNG file into the notebook's page, ``width`` screen pixels wide. Outside a notebook nothing is shown."""
    if not alt or not alt.strip():
        raise LabError("The alt text of a picture is empty; give one sentence that says what the picture shows.")
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if getattr(shell, "kernel", None) is not None:
        from IPython import display

        display.display(display.Image(data=content, format="png", width=width, alt=alt.strip()))


def png(fig: Figure, scale: float = 2) -> bytes:
    """The figure as a PNG file, ``scale`` image pixels per screen pixel."""
    file = io.BytesIO()
    fig.savefig(file, format="png", dpi=DPI * scale)
    return file.getvalue()


# -- what labs draw ----------------------------------------------------------------------------------------------------


def labelled_lines(axes: Axes, x, lines: Mapping[str, Sequence[float]], **style) -> None:
    """Lines with their names at their right ends (instead of a legend), pushed apart where they would overlap.

    Set the axes' limits and scale first. Any further ``style`` goes to ``axes.plot``.

    Args:
        x: (n,) places, or a mapping from name to its own places.
        lines: name -> (n,) values. Values that are not finite leave gaps.
    """
    ends = []
    for k, (name, values) in enumerate(lines.items()):
        own, values = np.asarray(x[name] if isinstance(x, Mapping) else x, float), np.asarray(values, float)
        if own.shape != values.shape:
            raise LabError(f"The line {name!r} has {values.size} values for {own.size} places on the x axis; "
                           "there must be as many.")
        axes.plot(own, values, **{"color": LINES[k % len(LINES)], "linewidth": 1.8} | style)
        finite = np.flatnonzero(np.isfinite(values))
        if len(finite):
            ends.append((name, own[finite[-1]], values[finite[-1]], axes.lines[-1].get_color()))
    axes.autoscale_view()
    heights = [axes.transData.transform((x_end, y_end))[1] for _, x_end, y_end, _ in ends]
    places = spread(heights, LABEL + 2, *axes.bbox.intervaly)
    for (name, x_end, y_end, colour), height, place in zip(ends, heights, places, strict=True):
        axes.annotate(name, (x_end, y_end), (5, place - height), textcoords="offset points", va="center",
                      fontsize=LABEL, color=colour, annotation_clip=False)


def scatter_classes(axes: Axes, points, labels, classes: Sequence[str], size: float = 9) -> None:
    """Points (n, 2) as the character of their class, e.g. the digit itself, in the colour of the class.

    Args:
        labels: (n,) class of each point, as an index into ``classes``.
        size: height of a character in pixels.
    """
    points, labels = np.asarray(points, float), np.asarray(labels)
    if points.ndim != 2 or points.shape[1] != 2 or len(labels) != len(points):
        raise LabError(f"The points have the shape {points.shape} and there are {len(labels)} labels, but a scatter "
                       "needs points (n, 2) and n labels.")
    for k, mark in enumerate(class_marks(classes)):
        path, area = glyph(mark, size)
        axes.scatter(*points[labels == k].T, s=area, marker=path, color=class_colour(k), linewidths=0)
    axes.set_aspect("equal", "datalim")


def bars(axes: Axes, values, names: Sequence[str] | None = None, colour: str = CLASSES[2]) -> None:
    """A bar a value, with its name below it."""
    values = np.asarray(values, float)
    axes.bar(np.arange(len(values)), values, color=colour, width=0.8)
    if names is not None:
        axes.set_xticks(np.arange(len(values)), [str(name) for name in names])


def image_grid(axes: Axes, images, columns: int = 10, *, ink: bool = True) -> None:
    """Images (n, H, W) or (n, C, H, W) in [0, 1] side by side, ``columns`` in a row. One channel is shown as ink on
    paper (1 is black) unless ``ink=False``."""
    images = as_images(images, ink=ink)
    rows = -(-len(images) // columns)
    axes.imshow(mosaic(images, rows, columns, gap=max(1, images.shape[1] // 12)), interpolation="nearest")
    axes.set_axis_off()


# -- the parts they are made of ----------------------------------------------------------------------------------------


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move places on a line apart to at least ``gap``, as little as possible and within [low, high] where it can be.

    Least squares with an order kept: neighbours that are too near merge into blocks around their mean place.
    """
    places = np.asarray(places, float)
    order = np.argsort(places, kind="stable")
    blocks: list[list[float]] = []                          # [sum of (place - rank * gap), number of labels]
    for rank, k in enumerate(order):
        blocks.append([places[k] - rank * gap, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] > blocks[-1][0] / blocks[-1][1]:
            total, n = blocks.pop()
            blocks[-1][0] += total
            blocks[-1][1] += n
    shifts = np.concatenate([np.full(int(n), total / n) for total, n in blocks]) if blocks else np.empty(0)
    shifts = np.clip(shifts, low, max(low, high - gap * (len(places) - 1)))
    moved = np.empty(len(places))
    moved[order] = shifts + gap * np.arange(len(places))
    return moved


def class_marks(names: Sequence[str]) -> list[str]:
    """A different character for every class: the name itself where it is one or two characters long, else a letter of
    the name that is still free (T-shirt: T), else any free one."""
    names = [str(name) for name in names]
    if all(len(name) <= 2 for name in names) and len(set(names)) == len(names):
        return names
    marks: list[str] = []
    for name in names:
        letters = [c for c in name if c.isalnum()]
        candidates = letters[:1] + [c.upper() for c in letters] + letters + list(TRIES)
        marks.append(next((c for c in candidates if c not in marks), str(len(marks))))
    return marks


def glyph(text: str, height: float) -> tuple[Path, float]:
    """A scatter marker in the shape of ``text``, and the area ``s`` that makes a capital ``height`` pixels high."""
    path = TextPath((0, 0), text, size=100, prop=FontProperties(family="DejaVu Sans"))
    box = path.get_extents()
    vertices = path.vertices - [(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2]
    # A scatter blows every marker up to the same extent; the area takes that back, so that an 'i' stays slim.
    extent, capital = 2 * np.abs(vertices).max(), 72.9
    return Path(vertices, path.codes), (height * extent / capital) ** 2


def as_images(images, *, ink: bool = True) -> np.ndarray:
    """Images (n, H, W), (n, 1, H, W) or (n, 3, H, W) in [0, 1] as RGB bytes (n, H, W, 3). Values outside are clipped,
    values that are not finite are shown as mid-grey."""
    images = np.asarray(images, np.float32)
    if images.ndim == 4 and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    elif images.ndim == 3:
        images = images[..., None]
    else:
        raise LabError(f"The images have the shape {images.shape}, but it must be (n, H, W), (n, 1, H, W) or "
                       "(n, 3, H, W).")
    images = np.clip(np.nan_to_num(images, nan=0.5, posinf=1, neginf=0), 0, 1)
    if images.shape[-1] == 1:
        images = np.repeat(1 - images if ink else images, 3, axis=-1)
    return (images * 255 + 0.5).astype(np.uint8)


def mosaic(images: np.ndarray, rows: int, columns: int, gap: int) -> np.ndarray:
    """RGB images (n, H, W, 3) in one image, row by row, with white gaps; missing ones are white."""
    n, high, wide, _ = images.shape
    cells = np.full((rows * columns, high + gap, wide + gap, 3), 255, np.uint8)
    cells[:n, :high, :wide] = images[: rows * columns]
    cells = cells.reshape(rows, columns, high + gap, wide + gap, 3).swapaxes(1, 2)
    return cells.reshape(rows * (high + gap), columns * (wide + gap), 3)[:-gap, :-gap]


def enlarge(images: np.ndarray, high: int, wide: int) -> np.ndarray:
    """RGB images (n, H, W, 3) in another size. A pixel that becomes a good square stays one, else it is smoothed."""
    if high >= 4 * images.shape[1] or (high % images.shape[1] == 0 and wide % images.shape[2] == 0):
        rows, columns = np.arange(high) * images.shape[1] // high, np.arange(wide) * images.shape[2] // wide
        return images[:, rows[:, None], columns]
    method = Image.Resampling.BICUBIC if high > images.shape[1] else Image.Resampling.BOX
    return np.stack([np.asarray(Image.fromarray(image).resize((wide, high), method)) for image in images])
