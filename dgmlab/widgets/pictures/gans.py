"""A generator against a discriminator, drawn whole: on the line, in the plane, and on the two loss curves."""

from __future__ import annotations

import numpy as np
from contourpy import contour_generator
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...plots import INK, LABEL, LINES, SMALL, SOFT, short, tidy
from .base import DASHED, Picture, nice_above, steady_range

# One colour a thing, through all pictures of the lab: the generator, the data and the discriminator; and the losses.
MADE, DATA, JUDGE = LINES[0], LINES[1], LINES[2]
LOSSES = {"minimax": LINES[3], "non-saturating": LINES[5]}
OTHER = LINES[4]                                            # any further loss
TINTS = np.array([[0.80, 0.77, 0.93], [1, 1, 1], [0.97, 0.82, 0.85]])       # of the field: "made", undecided, "data"
UNIT = 0.06             # how far an arrow reaches for a push of 1, as a share of the width of the data
LEVELS = 20             # of the tint
FULL = 0.25             # the share of all logits in one bar of a histogram that fills its height
FURTHEST = 0.12         # and at most


class Game(Picture):
    """The game on the line: three floors over one axis of x.

    On top the densities of data and generator; in the middle what the discriminator says, the best it could say, and
    the samples on its curve, with arrows where the generator's gradient pushes them; below, which code becomes which x.

    Data: `grid` (m,) places; `data`, `made` (m,) densities; `says`, `best` (m,) probabilities of being data; `z`,
    `samples`, `push` (s,): codes, what becomes of them, and minus the slope of the generator's loss at each sample.

    Args:
        extent: (low, high) of x.
        top: the density at which the picture ends.
    """

    needs = ("grid", "data", "made", "says", "best", "z", "samples", "push")

    def __init__(self, source=None, *, title="", size=(760, 440), extent=(-4.5, 4.5), top: float = 1.2, **options):
        super().__init__(source, title=title, size=size, **options)
        self.extent, self.top = (float(extent[0]), float(extent[1])), float(top)

    def build(self):
        stage = self.stage
        stage.judge, stage.codes = (tidy(stage.figure.add_axes((0.1, 0.1, 0.1, 0.1))) for _ in range(2))
        self.frame(56, 250, 16, "", "density")
        stage.axes.set(xlim=self.extent, ylim=(0, self.top))
        stage.axes.tick_params(labelbottom=False)
        stage.judge.set(xlim=self.extent, ylim=(-0.04, 1.5), yticks=[0, 0.5, 1])
        stage.judge.set_ylabel("D(x)", fontsize=LABEL, color=INK)
        stage.judge.axhline(0.5, **DASHED)
        low, high = self.extent
        stage.middle, stage.unit = (low + high) / 2, 0.13 * (high - low)         # where z = 0 stands, and how far 1 is
        stage.codes.set(xlim=self.extent, ylim=(0, 1), yticks=[])
        stage.codes.set_xticks([stage.middle + stage.unit * c for c in range(-3, 4)],
                               [str(c).replace("-", "−") for c in range(-3, 4)])
        stage.codes.spines["left"].set_visible(False)
        stage.codes.set_xlabel("code z, drawn from N(0, 1); a thin line leads up to the sample x = G(z)",
                               fontsize=LABEL, color=INK)
        stage.ways = self._on(stage.codes, LineCollection([], colors=MADE, linewidths=0.8, alpha=0.55))
        stage.area = self.moves(PolyCollection([], facecolors=MADE, alpha=0.2, linewidths=0))
        stage.made = self.moves(Line2D([], [], color=MADE, linewidth=1.8))
        stage.data = self.moves(Line2D([], [], color=DATA, linewidth=1.8, linestyle=(0, (4, 3))))
        stage.best = self._on(stage.judge, Line2D([], [], color=SOFT, linewidth=1.4, linestyle=(0, (4, 3))))
        stage.says = self._on(stage.judge, Line2D([], [], color=JUDGE, linewidth=2.2))
        stage.push = Arrows(lambda artist: self._on(stage.judge, artist), MADE, self.extent)
        stage.dots = self._on(stage.judge, Line2D([], [], color=MADE, marker="o", markersize=5, linestyle=""))
        for axes, k, text, colour in ((stage.axes, 0, "the generator", MADE), (stage.axes, 1, "dashed: the data", DATA),
                                      (stage.judge, 0, "the discriminator", JUDGE),
                                      (stage.judge, 1, "dashed: the best answer, p / (p + q)", SOFT)):
            axes.text(0.995, 1 - 0.13 * k, text, transform=axes.transAxes,
                      fontsize=LABEL, color=colour, ha="right", va="top",
                      bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.5, "linewidth": 0})
        stage.note = self._on(stage.judge, stage.judge.text(0.005, 1, "", transform=stage.judge.transAxes,
                                                            fontsize=SMALL, color=MADE, va="top"))

    def _on(self, axes, artist):
        if artist.axes is None:
            axes.add_artist(artist)
        return self.moves(artist, on_axes=False)

    def _place(self):
        (width, height), (left, _, right) = self.size, self.stage.margins
        top, floors = self.title_height() + 3, height - self.title_height() - 3 - 46
        for axes, upper, share in ((self.stage.axes, 0, 0.36), (self.stage.judge, 0.40, 0.36),
                                   (self.stage.codes, 0.84, 0.16)):
            y = height - top - floors * (upper + share)
            axes.set_position((left / width, y / height, (width - left - right) / width, floors * share / height))
        self.stale()

    def draw(self, data):
        stage = self.stage
        grid = np.asarray(data["grid"], float)
        made = np.minimum(np.asarray(data["made"], float), 10 * self.top)
        stage.made.set_data(grid, made)
        stage.area.set_verts([np.concatenate([[(grid[0], 0)], np.stack([grid, made], 1), [(grid[-1], 0)]])])
        stage.data.set_data(grid, data["data"])
        stage.says.set_data(grid, data["says"])
        stage.best.set_data(grid, data["best"])
        x, z, push = (np.asarray(data[key], float) for key in ("samples", "z", "push"))
        height = np.interp(x, grid, data["says"])
        stage.dots.set_data(x, height)
        stage.push.draw(np.stack([x, height], 1), np.stack([push, np.zeros_like(push)], 1))
        stage.ways.set_segments([[(stage.middle + stage.unit * c, 0), (a, 1)]
                                 for c, a in zip(z, x, strict=True)])
        stage.note.set_text(f"strongest push: {short(np.abs(push).max(initial=0))}")

    def alt(self, data):
        says, best, push = (np.asarray(data[key], float) for key in ("says", "best", "push"))
        weight = np.asarray(data["data"], float) + np.minimum(np.asarray(data["made"], float), 10 * self.top)
        off = float(np.nansum(np.abs(says - best) * weight) / max(weight.sum(), 1e-12))
        moved = int((push > 0).sum())
        return (f"{self.headline(data) or 'The game on the line'}: the densities of data and generator; the "
                f"discriminator's D(x), on average {off:.2f} from the best answer p / (p + q); {len(push)} samples on "
                f"it, {moved} of them pushed to larger x, the strongest push {short(np.abs(push).max(initial=0))}.")


class Field(Picture):
    """The game in the plane: what the discriminator says everywhere, as a tint, with data, samples and their push.

    Data: `says` (k, k), D at the nodes of a square grid over the extent, rows from low to high x2; `samples` (s, 2),
    `real` (r, 2), `push` (a, 2), minus the slope of the generator's loss at the first a samples.

    Args:
        extent: (low, high) of both axes.
    """

    needs = ("says", "samples", "real", "push")

    def __init__(self, source=None, *, title="", size=(400, 420), extent=(-3.0, 3.0), **options):
        super().__init__(source, title=title, size=size, **options)
        self.extent = float(extent[0]), float(extent[1])

    def build(self):
        stage = self.stage
        self.frame(50, 60, 12, "", "x₂")
        low, high = self.extent
        stage.axes.set(xlim=self.extent, ylim=self.extent)
        stage.image = self.moves(stage.axes.imshow(np.ones((2, 2, 3)), extent=(low, high, low, high), origin="lower",
                                                   interpolation="nearest", aspect="auto", zorder=0), on_axes=False)
        stage.edge = self.moves(LineCollection([], colors=JUDGE, linewidths=1.3))
        stage.real = self.moves(Line2D([], [], color=DATA, marker="+", markersize=5, markeredgewidth=1, linestyle="",
                                       alpha=0.75))
        stage.push = Arrows(self.moves, MADE, self.extent)
        stage.samples = self.moves(Line2D([], [], color=MADE, marker="o", markersize=3.2, markeredgewidth=0,
                                          linestyle="", alpha=0.75))
        stage.axes.set_xlabel("x₁", fontsize=LABEL, color=INK, labelpad=0)
        style = {"fontsize": SMALL, "va": "bottom", "transform": None}
        x, y = 8 * stage.pixel, 4 * stage.pixel
        for text, colour in (("+ data (pink: D > ½)", DATA), ("● samples (violet: D < ½)", MADE),
                             ("— D = ½", JUDGE)):
            made = stage.figure.text(x, y, text, color=colour, **style)
            x += self.text_width(made) + 10 * stage.pixel

    def _place(self):
        super()._place()
        width, height = self.size
        box = self.stage.axes.get_position()
        side = min(box.width * width, box.height * height)
        self.stage.axes.set_position((box.x0, box.y1 - side / height, side / width, side / height))

    def draw(self, data):
        stage, (low, high) = self.stage, self.extent
        says = np.nan_to_num(np.asarray(data["says"], float), nan=0.5)
        places = np.linspace(low, high, len(says))
        finer = np.linspace(low, high, 4 * len(says))
        rows = np.stack([np.interp(finer, places, row) for row in says])
        steps = np.stack([np.interp(finer, places, column) for column in rows.T], 1)
        steps = np.round(LEVELS * steps) / LEVELS               # as on a map; smooth tints would fill a notebook
        stage.image.set_data(np.stack([np.interp(steps, [0, 0.5, 1], TINTS[:, c]) for c in range(3)], -1))
        # A floor far below what can be told apart, so that a field that is all 0 or all 1 draws no noise.
        stage.edge.set_segments(contour_generator(places, places, says).lines(0.5)
                                if says.min() < 0.499 and says.max() > 0.501 else [])
        samples, push = np.asarray(data["samples"], float), np.asarray(data["push"], float)
        stage.samples.set_data(*samples.T)
        stage.real.set_data(*np.asarray(data["real"], float).T)
        stage.push.draw(samples[: len(push)], push)

    def alt(self, data):
        says, push = np.asarray(data["says"], float), np.asarray(data["push"], float)
        strongest = np.sqrt((push**2).sum(-1)).max(initial=0)
        return (f"{self.headline(data) or 'The game in the plane'}: {len(data['samples'])} samples among "
                f"{len(data['real'])} data points, over a field that says where the discriminator believes in data "
                f"({(says > 0.5).mean():.0%} of the area); the strongest push on a sample is {short(strongest)}.")


class LossPoint(Picture):
    """The generator's loss as a function of the logit, and where the samples are on it.

    Above, one curve a loss, with a point at the samples' mean logit and the slope there; below, the logits of samples
    and data as histograms. Downhill is to the right: a sample wants a larger logit.

    Data: `logits`, `real` (n,), the discriminator's logits of samples and of data; `curves`: {name: function values at
    the `grid` (k,) of logits}; `slopes`: {name: the mean slope over the samples}; `now`: the name of the loss in use.
    """

    needs = ("logits", "real", "grid", "curves", "slopes", "now")

    def build(self):
        stage = self.stage
        stage.below = tidy(stage.figure.add_axes((0.1, 0.1, 0.1, 0.1)))
        self.frame(56, 56, 24, "", "generator's loss")
        stage.axes.tick_params(labelbottom=False)
        stage.below.set(ylim=(0, 1), yticks=[])
        stage.below.set_xlabel("logit of D: log D / (1 − D)", fontsize=LABEL, color=INK)
        stage.below.set_ylabel("share", fontsize=LABEL, color=INK)
        stage.lines, stage.dots, stage.words, stage.slots = {}, {}, [], (*LOSSES.values(), OTHER)
        for k, colour in enumerate(stage.slots):
            stage.lines[k] = self.moves(Line2D([], [], color=colour, linewidth=2))
            stage.dots[k] = self.moves(Line2D([], [], color=colour, marker="o", markersize=8, linestyle=""))
            stage.words.append(self.moves(stage.axes.text(
                0.985, 0.975 - 0.105 * k, "", transform=stage.axes.transAxes, fontsize=LABEL, color=colour, ha="right",
                va="top", bbox={"facecolor": "white", "alpha": 0.75, "pad": 0.5, "linewidth": 0}), on_axes=False))
        stage.made, stage.real = (self._under(PolyCollection([], facecolors=colour, alpha=0.5, linewidths=0))
                                  for colour in (MADE, DATA))
        for k, (text, colour) in enumerate((("samples", MADE), ("data", DATA))):
            stage.below.text(0.01 if k == 0 else 0.99, 0.97, text, transform=stage.below.transAxes, fontsize=LABEL,
                             color=colour, ha="left" if k == 0 else "right", va="top")

    def _under(self, artist):
        self.stage.below.add_artist(artist)
        return self.moves(artist, on_axes=False)

    def _place(self):
        (width, height), (left, bottom, right) = self.size, self.stage.margins
        room = height - bottom - self.title_height() - 3
        wide = (width - left - right) / width
        self.stage.below.set_position((left / width, bottom / height, wide, 0.3 * room / height))
        self.stage.axes.set_position((left / width, (bottom + 0.36 * room) / height, wide, 0.64 * room / height))
        self.stale()

    def draw(self, data):
        stage = self.stage
        grid, made, real = (np.asarray(data[key], float) for key in ("grid", "logits", "real"))
        made, real = made[np.isfinite(made)], real[np.isfinite(real)]
        reach = max(6.0, 1.1 * np.abs(np.r_[made, real, 0]).max())
        old = stage.limits[0][1] if stage.limits else 0
        reach = old if reach <= old <= 2.2 * reach else nice_above(reach)
        named = self._named(data)
        inside = np.abs(grid) <= reach
        shown = np.concatenate([np.asarray(values, float)[inside] for _, values in named.values()])
        limits = steady_range((max(shown.min(), -reach), min(shown.max(), reach)), stage.limits and stage.limits[1],
                              0.05)
        if stage.limits != ((-reach, reach), limits):
            self.set_limits((-reach, reach), limits)
            stage.below.set_xlim(-reach, reach)
            ticks = [t for t in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(-reach, reach) if abs(t) <= reach]
            stage.below.set_xticks(ticks, [f"{t:g}".replace("-", "−") + f"\nD = {_probability(t)}" for t in ticks])
            stage.below.tick_params(labelsize=SMALL)
        place = made.mean() if len(made) else 0.0
        for k in stage.lines:
            name, values = named.get(k, ("", None))
            now = name == data["now"]
            stage.lines[k].set_data(*((grid, values) if name else ([], [])))
            stage.lines[k].set_linewidth(3 if now else 1.4)
            stage.dots[k].set_data(*(([place], [np.interp(place, grid, values)]) if name else ([], [])))
            stage.words[k].set_text(f"{name}{' (in use)' if now else ''}: slope {_slope(data['slopes'][name])}"
                                    if name else "")
        edges = np.linspace(-reach, reach, 61)
        for artist, values in ((stage.made, made), (stage.real, real)):
            counts = np.histogram(np.clip(values, -reach, reach), edges)[0] / max(1, len(values))
            high = np.minimum(counts / (0.85 * FULL), 1)
            artist.set_verts([[(a, 0), (a, h), (b, h), (b, 0)] for a, b, h in zip(edges[:-1], edges[1:], high)])

    def _named(self, data) -> dict:
        """The curve for each of the three slots: the two that are compared, and one more where it is in use."""
        curves = data["curves"]
        named = {k: (name, curves[name]) for k, name in enumerate(LOSSES) if name in curves}
        more = [name for name in curves if name not in LOSSES]
        if more:
            named[len(LOSSES)] = (more[-1], curves[more[-1]])
        return named

    def alt(self, data):
        made = np.asarray(data["logits"], float)
        slopes = ", ".join(f"{name} {_slope(value)}" for name, value in data["slopes"].items())
        return (f"{self.headline(data) or 'The losses as functions of the logit'}: the samples' mean logit is "
                f"{short(made.mean())} (D = {_probability(made.mean())}); mean slope there: {slopes}; in use: "
                f"{data['now']}.")


class Arrows:
    """Arrows from places (n, 2) along pushes (n, 2), their length in proportion but bounded; heads are triangles."""

    def __init__(self, moves, colour: str, extent: tuple[float, float]):
        self.width = extent[1] - extent[0]
        self.shafts = moves(LineCollection([], colors=colour, linewidths=1.6))
        self.heads = moves(PolyCollection([], facecolors=colour, linewidths=0))

    def draw(self, places: np.ndarray, push: np.ndarray) -> None:
        length = np.sqrt((push**2).sum(1, keepdims=True))
        reach = np.minimum(UNIT * self.width * length, FURTHEST * self.width)
        way = np.divide(push, length, out=np.zeros_like(push), where=length > 0) * reach
        keep = reach[:, 0] > 0.004 * self.width                 # shorter ones hide behind their sample
        places, way = places[keep], way[keep]
        tips = places + way
        self.shafts.set_segments(np.stack([places, tips], 1))
        self.heads.set_verts([])
        if len(way):
            axes = self.heads.axes
            pixels, ends = axes.transData.transform(places), axes.transData.transform(tips)
            along = ends - pixels
            along /= np.maximum(np.sqrt((along**2).sum(1, keepdims=True)), 1e-9)
            size = 5.5 * axes.figure.dpi / 72
            across = np.stack([-along[:, 1], along[:, 0]], 1) * 0.55
            back = axes.transData.inverted().transform
            self.heads.set_verts(np.stack([tips, back(ends - size * (along - across)),
                                           back(ends - size * (along + across))], 1))


def _probability(logit: float) -> str:
    p = 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
    return f"{p:.2g}" if p < 0.9 else f"{p:.3g}" if p < 0.995 else "1" if p > 1 - 1e-6 else f"1−{1 - p:.0g}"


def _slope(value: float) -> str:
    return short(value)
