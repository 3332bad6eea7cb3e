"""A generator network drawn whole: where its codes go, on the line and in the plane."""

from __future__ import annotations

import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.lines import Line2D

from ...errors import LabError, check_number
from ...plots import CLASSES, INK, LABEL, LINES, SMALL, SOFT, short, tidy
from .base import Picture

CURVE, DATA, SAMPLES, MASS = LINES[0], LINES[1], CLASSES[2], CLASSES[1]     # one colour a thing, through all pictures
CODES = 3.5                     # |z| up to which codes are drawn: 99.95 % of the prior
MARKS = np.array([-2, -1, 0, 1, 2], float)                                  # codes whose way is drawn
RAMP = np.array([[0.19, 0.11, 0.52], [0.15, 0.49, 0.73], [0.08, 0.60, 0.52], [0.60, 0.52, 0.08], [0.80, 0.38, 0.37]])


class GeneratorLine(Picture):
    """One number in, one number out: the prior below, the curve x = G(z) above it, the output's density at its side.

    The axis of x is shared by the curve and the density, that of z by the curve and the prior; thin lines lead some
    codes up to the curve and over to the density.

    Data: `z`, `x` (n,) the curve; `grid`, `density` (m,) the exact density; `samples` (s,) for the histogram; and,
    where there are any, `target` (m,) the data's density, `turns` (t,) values of x at which the density is infinite,
    `best` (n,) a curve to compare with.

    Args:
        extent: (low, high) of x.
        top: the density at which the picture ends; what lies above is cut off, which the picture says.
        bins: of the histogram.
    """

    needs = ("z", "x", "grid", "density", "samples")

    def __init__(self, source=None, *, title="", size=(680, 430), extent=(-4.5, 4.5), top: float = 1.2, bins: int = 90,
                 **options):
        super().__init__(source, title=title, size=size, **options)
        check_number("The highest density shown", top, 1e-6)
        self.extent, self.top, self.bins = (float(extent[0]), float(extent[1])), float(top), int(bins)

    def check(self, data):
        super().check(data)
        for first, second in (("z", "x"), ("grid", "density")):
            if len(data[first]) != len(data[second]):
                raise LabError(f"There are {len(data[second])} values of {second!r} for {len(data[first])} of "
                               f"{first!r}; there must be as many.")

    def build(self):
        stage = self.stage
        stage.prior, stage.side = (tidy(stage.figure.add_axes((0.1, 0.1, 0.1, 0.1))) for _ in range(2))
        self.frame(52, 112, 0.4 * self.size[0], "", "data x = G(z)")
        stage.axes.set(xlim=(-CODES, CODES), ylim=self.extent)
        stage.axes.tick_params(labelbottom=False)
        z = np.linspace(-CODES, CODES, 141)
        prior = np.exp(-0.5 * z**2)
        stage.prior.fill_between(z, prior, color=SOFT, alpha=0.3, linewidth=0)
        stage.prior.plot(MARKS, np.zeros_like(MARKS), "o", color=MASS, markersize=4, clip_on=False)
        stage.prior.set(xlim=(-CODES, CODES), ylim=(0, 1.1), yticks=[])
        stage.prior.set_xlabel("code z, drawn from the prior N(0, 1)", fontsize=LABEL, color=INK)
        stage.side.set(xlim=(0, self.top), ylim=self.extent)
        stage.side.tick_params(labelleft=False)
        stage.side.set_xlabel("density p(x)", fontsize=LABEL, color=INK)
        stage.note = self._beside(stage.side.text(0.98, 0.015, "", transform=stage.side.transAxes, fontsize=SMALL,
                                                  color=CURVE, ha="right", va="bottom"))
        stage.names = [self._beside(stage.side.text(0.98, 0.985 - 0.055 * k, "", transform=stage.side.transAxes,
                                                    fontsize=LABEL, color=colour, ha="right", va="top"))
                       for k, colour in enumerate((CURVE, "#0B6B5C", DATA))]
        stage.ways = self.moves(LineCollection([], colors=MASS, linewidths=0.9, alpha=0.75))
        stage.best = self.moves(Line2D([], [], color=DATA, linewidth=1.4, linestyle=(0, (4, 3))))
        stage.curve = self.moves(Line2D([], [], color=CURVE, linewidth=2.4, solid_joinstyle="round"))
        stage.ends = self.moves(Line2D([], [], color=MASS, marker="o", markersize=5, linestyle=""))
        stage.best_name = self.moves(stage.axes.text(0.015, 0.985, "", transform=stage.axes.transAxes, fontsize=LABEL,
                                                     color=DATA, va="top"), on_axes=False)
        stage.hist = self._beside(PolyCollection([], facecolors=SAMPLES, alpha=0.45, linewidths=0))
        stage.target = self._beside(Line2D([], [], color=DATA, linewidth=1.6, linestyle=(0, (4, 3))))
        stage.exact = self._beside(Line2D([], [], color=CURVE, linewidth=1.8))
        stage.arrive = self._beside(Line2D([], [], color=MASS, marker=">", markersize=5, linestyle="", clip_on=False))
        stage.turns = self._beside(Line2D([], [], color=CURVE, marker=">", markersize=9, linestyle="", clip_on=False))

    def _beside(self, artist):
        """Add an artist that is drawn at every refresh to the axes of the density."""
        if artist.axes is None:
            self.stage.side.add_artist(artist)
        return self.moves(artist, on_axes=False)

    def _place(self):
        super()._place()
        (width, height), (_, bottom, right) = self.size, self.stage.margins
        box = self.stage.axes.get_position()
        self.stage.prior.set_position((box.x0, 44 / height, box.width, (bottom - 54) / height))
        self.stage.side.set_position((box.x1 + 12 / width, box.y0, (right - 26) / width, box.height))

    def draw(self, data):
        stage, (low, high) = self.stage, self.extent
        z, x = np.asarray(data["z"], float), np.asarray(data["x"], float)
        stage.curve.set_data(z, x)
        landed = np.interp(MARKS, z, x)
        stage.ways.set_segments([[(m, low), (m, y), (CODES, y)] for m, y in zip(MARKS, landed, strict=True)])
        stage.ends.set_data(MARKS, landed)
        inside = landed[(landed > low) & (landed < high)]
        stage.arrive.set_data(np.zeros_like(inside) + 0.012 * self.top, inside)
        best = data.get("best")
        stage.best.set_data(*((z, best) if best is not None else ([], [])))
        stage.best_name.set_text("" if best is None else "dashed: the best rising G")

        samples, grid = np.asarray(data["samples"], float), np.asarray(data["grid"], float)
        density = np.asarray(data["density"], float)
        counts, edges = np.histogram(samples, np.linspace(low, high, self.bins + 1))
        heights = counts / max(1, len(samples)) / (edges[1] - edges[0])
        a, b, zero = edges[:-1], edges[1:], np.zeros_like(heights)
        stage.hist.set_verts(np.stack([np.stack([zero, a], 1), np.stack([heights, a], 1), np.stack([heights, b], 1),
                                       np.stack([zero, b], 1)], 1))
        stage.exact.set_data(np.minimum(density, 10 * self.top), grid)
        target = data.get("target")
        stage.target.set_data(*((target, grid) if target is not None else ([], [])))
        turns = np.asarray(data.get("turns", ()), float)
        turns = turns[(turns > low) & (turns < high)]
        stage.turns.set_data(np.full_like(turns, self.top), turns)
        cut = density.max(initial=0) > self.top
        stage.note.set_text("▶ infinite: a turning point of G" if len(turns) else
                            f"goes on to {short(density.max())}, cut off" if cut else "")
        for name, text in zip(stage.names, ("exact density", f"{len(samples):,} samples",
                                            "" if target is None else "dashed: the data"), strict=True):
            name.set_text(text)

    def alt(self, data):
        x, density = np.asarray(data["x"], float), np.asarray(data["density"], float)
        peaks = int(((density[1:-1] > density[:-2]) & (density[1:-1] >= density[2:]) &
                     (density[1:-1] > 0.05 * min(density.max(), self.top))).sum())
        turns = len(np.atleast_1d(data.get("turns", ())))
        shape = f"G turns back {turns} times, where the density is infinite" if turns else \
            "G never turns back"
        return (f"{self.headline(data) or 'A generator on the line'}: the curve x = G(z) from {short(x[0])} at "
                f"z = {short(float(data['z'][0]))} to {short(x[-1])} at z = {short(float(data['z'][-1]))}, over the "
                f"prior; beside it the exact density of x with {peaks} peak{'s' if peaks != 1 else ''} over the "
                f"histogram of {len(data['samples']):,} samples. {shape}.")


class GeneratorPlane(Picture):
    """Codes of one or two numbers on the left, what becomes of them in the plane of the data on the right.

    The lines of a grid on the code are coloured by the first code number (cold to warm, low to high) and drawn again
    where the generator puts them.

    Data: `lines` (k, n, 2) the images of :func:`code_lines`; `samples` (s, 2); `real` (r, 2) data points.

    Args:
        latent: 1 or 2.
        extent: (low, high) of both axes of the data.
    """

    needs = ("lines", "samples", "real")

    def __init__(self, source=None, *, title="", size=(760, 400), latent: int = 2, extent=(-3.0, 3.0), **options):
        super().__init__(source, title=title, size=size, **options)
        check_number("The number of latent dimensions that can be drawn", latent, 1, 2, whole=True)
        self.latent, self.extent = int(latent), (float(extent[0]), float(extent[1]))

    def build(self):
        stage = self.stage
        codes, colours = code_lines(self.latent), line_colours(self.latent)
        stage.code = tidy(stage.figure.add_axes((0.1, 0.1, 0.1, 0.1)), "", "code z₁",
                          "code z₂" if self.latent == 2 else "prior N(0, 1)")
        self.frame(0.5 * self.size[0], 42, 12, "data x₁", "data x₂")
        if self.latent == 2:
            stage.code.add_collection(LineCollection(pieces(codes), colors=colours, linewidths=1.4))
            stage.code.set(xlim=(-3, 3), ylim=(-3, 3))
        else:
            z = codes[0, :, 0]
            height = np.exp(-0.5 * z**2)
            stage.code.add_collection(LineCollection(pieces(np.stack([z, height], 1)[None]), colors=colours,
                                                     linewidths=3))
            stage.code.set(xlim=(-3.2, 3.2), ylim=(0, 1.15), yticks=[])
        stage.axes.set(xlim=self.extent, ylim=self.extent)
        stage.real = self.moves(Line2D([], [], color=DATA, marker="+", markersize=5, markeredgewidth=0.9, linestyle="",
                                       alpha=0.6))
        stage.lines = self.moves(LineCollection([], colors=colours, linewidths=1.2 if self.latent == 2 else 2.2))
        stage.samples = self.moves(Line2D([], [], color=INK, marker="o", markersize=3, markeredgewidth=0, linestyle="",
                                          alpha=0.65))
        for k, (text, colour) in enumerate((("● samples", INK), ("+ data", DATA))):
            self.moves(stage.axes.text(0.99, 0.995 - 0.06 * k, text, transform=stage.axes.transAxes, fontsize=LABEL,
                                       color=colour, ha="right", va="top",
                                       bbox={"facecolor": "white", "alpha": 0.8, "pad": 1, "linewidth": 0}),
                       on_axes=False)

    def _place(self):
        super()._place()
        width, height = self.size
        box = self.stage.axes.get_position()
        side = min(box.width * width, box.height * height)                  # both squares, in pixels
        top = box.y1 - side / height
        self.stage.axes.set_position((box.x0, top, side / width, side / height))
        code = min(side, 0.5 * width - 112)
        self.stage.code.set_position((46 / width, top, code / width, side / height))

    def draw(self, data):
        stage = self.stage
        stage.lines.set_segments(pieces(np.asarray(data["lines"], float)))
        stage.samples.set_data(*np.asarray(data["samples"], float).T)
        stage.real.set_data(*np.asarray(data["real"], float).T)

    def alt(self, data):
        samples, real = np.asarray(data["samples"], float), np.asarray(data["real"], float)
        what = "a grid of codes, and the folded grid" if self.latent == 2 else "a line of codes, and the curve"
        gap = np.sqrt(((samples[:, None] - real[None]) ** 2).sum(-1)).min(1).mean() if len(samples) else np.nan
        return (f"{self.headline(data) or 'A generator in the plane'}: {what} that the generator makes of it, with "
                f"{len(samples)} samples among {len(real)} data points; a sample lies {short(gap)} from the nearest "
                "data point on average.")


def code_lines(latent: int, n: int = 61) -> np.ndarray:
    """The grid that is drawn through a generator, codes (k, n, latent): for two numbers 11 lines along each, for one
    number the line itself."""
    along = np.linspace(-2.5, 2.5, n)
    if latent == 1:
        return np.linspace(-3, 3, 4 * n)[None, :, None]
    across = np.linspace(-2.5, 2.5, 11)
    upright = np.stack([np.broadcast_to(across[:, None], (11, n)), np.broadcast_to(along, (11, n))], -1)
    return np.concatenate([upright, upright[..., ::-1]])


def line_colours(latent: int) -> np.ndarray:
    """A colour for every piece of :func:`code_lines`, by the first code number at its middle."""
    middle = pieces(code_lines(latent)[..., :1]).mean((1, 2))
    place = np.clip((middle + 2.5) / 5, 0, 1) * (len(RAMP) - 1)
    return np.stack([np.interp(place, np.arange(len(RAMP)), RAMP[:, k]) for k in range(3)], 1)


def pieces(lines: np.ndarray) -> np.ndarray:
    """Lines (k, n, d) as their straight pieces, (k (n - 1), 2, d)."""
    return np.stack([lines[:, :-1], lines[:, 1:]], 2).reshape(-1, 2, lines.shape[-1])
