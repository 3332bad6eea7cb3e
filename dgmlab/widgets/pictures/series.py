"""Pictures over steps: loss terms, and a knob as it was moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ...errors import LabError
from ...plots import (
    LABEL,
    LINES,
    SMALL,
    SOFT,
    short,
    spread,
)
from .base import DASHED, DOT, Picture, nice_above, steady_range


class Curves(Picture):
    """Loss terms over steps, with their names at the line ends and a dashed line where a knob was moved.

    Data: `steps` (n,), `values` {name: (n,)}, and, if there are any, `events` [(step, text), ...]; with `window` true
    the axis begins at the first of the steps and not at 0. `ended` {name: text} says of lines that end before the last
    step why they do, in the place of their last value.

    Args:
        unit: of all values, for the axis ("nats per image").
        what: what the lines are, for the alt text.
        smooth: number of steps over which the lines are averaged; what is averaged away stays as a pale band. The
            average looks backwards only, so that nothing seems to happen before its cause.
        log: the axis goes by powers of ten, and averages are geometric; values that are not above 0 leave gaps.
        colours: of the lines, in their order.
        extent: (lowest, highest) of the vertical axis; None to follow the values.
    """

    needs = ("steps", "values")

    def __init__(self, source=None, *, title="", size=(400, 300), unit: str = "", smooth: float = 0,
                 what: str = "Loss terms", log: bool = False, colours: Sequence[str] = LINES,
                 extent: tuple[float, float] | None = None, **options):
        super().__init__(source, title=title, size=size, **options)
        self.unit, self.smooth, self.what, self.log, self.colours = unit, smooth, what, log, tuple(colours)
        self.extent = extent

    def check(self, data):
        super().check(data)
        n = len(data["steps"])
        for name, values in data["values"].items():
            if len(values) != n:
                raise LabError(f"The curve {name!r} has {len(values)} values for {n} steps; there must be as many.")

    def collect(self, run):
        return self._thin(super().collect(run))

    def _thin(self, data):
        if self.log and "low" not in data:
            values = {name: np.asarray(values, float) for name, values in data["values"].items()}
            data = {**data, "values": {name: np.log10(v, where=v > 0, out=np.full(v.shape, np.nan))
                                       for name, v in values.items()}}
        return thin(data)

    def _in_words(self, value, steady=False):
        return short(10.0**value if self.log else value, steady=steady)

    def build(self):
        self.stage.names = None
        self.stage.seen_events = []
        self.stage.event_artists = []
        self.frame(52, 42, 20, "step", self.unit)
        self.stage.axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=True))
        self.stage.axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        if self.log:
            self.stage.axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
            self.stage.axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"$10^{{{v:.0f}}}$"))
        self.stage.hint = self.moves(self.stage.axes.text(0.5, 0.5, "", transform=self.stage.axes.transAxes, color=SOFT,
                                                          fontsize=LABEL, ha="center", va="center"), on_axes=False)

    def draw(self, data):
        stage, data = self.stage, self._thin(data)
        steps, names = data["steps"], tuple(data["values"])
        if names != stage.names:
            self._new_lines(names)
        means = {name: backward_mean(steps, data["values"][name], self.smooth) for name in names}
        extent = robust_range([np.stack([data["low"][n], data["high"][n], means[n]]) for n in names], len(steps))
        left, right = horizontal(steps, data)
        self.set_limits((left, right), self.extent or steady_range(extent, stage.limits and stage.limits[1], room=0.12))
        stage.hint.set_text("" if any(np.isfinite(mean).any() for mean in means.values()) else "no steps yet")
        self._draw_events(data.get("events", ()), left, right)

        ends, ended = [], data.get("ended", {})
        for name, artists in stage.lines.items():
            mean, low, high = means[name], data["low"][name], data["high"][name]
            finite = np.isfinite(mean)
            x, y = steps[finite], mean[finite]
            artists.line.set_data(x, y)
            ring = np.concatenate([np.stack([x, high[finite]], 1), np.stack([x, low[finite]], 1)[::-1]])
            artists.band.set_verts([ring] if len(ring) > 2 and (high[finite] > low[finite]).any() else [])
            artists.dot.set_data(x[-1:], y[-1:])
            says = ended.get(name) or (self._in_words(y[-1], steady=True) if len(y) else "")
            artists.label.set_text(f"{name}\n{says}" if len(y) else "")
            if len(y):
                ends.append((artists.label, steps[-1] if name in ended else x[-1], y[-1]))
        box, pixel = stage.axes.bbox, stage.pixel
        line = (LABEL + 2) * 1.2 * pixel
        places = [np.clip(stage.axes.transData.transform((x, y))[1], *box.intervaly) for _, x, y in ends]
        places = spread(places, 2 * line, box.y0 + line / 2, box.y1 - line / 2)
        for (label, x, _), place in zip(ends, places, strict=True):
            label.set_position((stage.axes.transData.transform((x, 0))[0] + 7 * pixel, place))

    def _new_lines(self, names):
        stage = self.stage
        for artists in (stage.lines.values() if stage.names else ()):
            for artist in vars(artists).values():
                stage.moving.remove(artist)
                artist.remove()
        stage.names, stage.lines = names, {}
        width = 0
        for k, name in enumerate(names):
            colour = self.colours[k % len(self.colours)]
            band = self.moves(PolyCollection([], facecolors=colour, alpha=0.22, linewidths=0))
            stage.lines[name] = SimpleNamespace(band=band)
            probe = stage.figure.text(0, 0, name, fontsize=LABEL)
            width = max(width, self.text_width(probe) / stage.pixel)
            probe.remove()
        for k, artists in enumerate(stage.lines.values()):                  # lines above all bands, labels above lines
            colour = self.colours[k % len(self.colours)]
            artists.line = self.moves(Line2D([], [], color=colour, linewidth=1.8, solid_joinstyle="round"))
            artists.dot = self.moves(Line2D([], [], color=colour, **DOT))
            artists.label = self.moves(stage.figure.text(0, 0, "", fontsize=LABEL, color=colour, va="center",
                                                         transform=None, linespacing=1.15), on_axes=False)
        self.frame(52, 42, min(width + 14, 0.35 * self.size[0]))

    def _draw_events(self, events, left, right):
        stage, span = self.stage, right - left
        events = merge_events([event for event in events if event[0] >= left], span * 0.04)
        if [events, left, right] == stage.seen_events:
            return
        stage.seen_events = [events, left, right]
        for artist in stage.event_artists:
            artist.remove()
        stage.event_artists, taken = [], [-1.0, -1.0]                        # where the text of each row ends
        for step, text in events:
            stage.event_artists.append(stage.axes.axvline(step, zorder=0.5, **DASHED))
            row = int(step < taken[0])
            if step < taken[row]:
                continue                                                     # no room: the line alone
            below = max(0.052, 13 * stage.pixel / stage.axes.bbox.height) * row
            label = stage.axes.text(step, 0.995 - below, " " + text, fontsize=SMALL, color=SOFT, va="top",
                                    transform=stage.axes.get_xaxis_transform())
            taken[row] = step + span * (self.text_width(label) / stage.axes.bbox.width + 0.01)
            stage.event_artists.append(label)
        self.stale()

    def alt(self, data):
        data = self._thin(data)
        steps = data["steps"]
        if not len(steps):
            return f"{self.what} over steps: no step has been made yet."
        parts = []
        for name, values in data["values"].items():
            values = values[np.isfinite(values)]
            if len(values):
                first, last = values[: max(1, len(values) // 50)].mean(), values[-max(1, len(values) // 50):].mean()
                same = 0.01 if self.log else 0.02 * max(abs(first), abs(last))
                verb = "stays at" if abs(last - first) <= same else "falls" if last < first else "rises"
                parts.append(f"{name} {verb} {self._in_words(last)}" if verb == "stays at" else
                             f"{name} {verb} from {self._in_words(first)} to {self._in_words(last)}")
                parts[-1] += f" ({data['ended'][name]})" if name in data.get("ended", {}) else ""
        text = f"{self.what} over {steps[-1]:,.0f} steps: {', '.join(parts) or 'no finite value'}"
        text += f" {self.unit}" if self.unit and parts else ""
        events = merge_events(data.get("events", ()), nice_above(float(steps[-1])) * 0.04)[-3:]
        moved = ", ".join(f"{what} at step {step:,.0f}" for step, what in events)
        return f"{text}; {moved}." if moved else f"{text}."


class Trace(Picture):
    """One knob over steps, as it was moved. Data: `steps` (n,), `values` (n,): the value in force at each step.

    Args:
        knob: name or symbol of the knob, for the axis.
    """

    needs = ("steps", "values")

    def __init__(self, source=None, *, title="The knob, as it was moved", size=(400, 160), knob: str = "", **options):
        super().__init__(source, title=title, size=size, **options)
        self.knob = knob

    def collect(self, run):
        return corners(super().collect(run))

    def build(self):
        self.frame(52, 42, 22, "step", self.knob)
        self.stage.axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        self.stage.axes.yaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 2.5, 5, 10]))
        self.stage.line = self.moves(Line2D([], [], color=LINES[3], linewidth=1.8, drawstyle="steps-post"))
        self.stage.dot = self.moves(Line2D([], [], color=LINES[3], **DOT))

    def draw(self, data):
        data = corners(data)
        steps, values = data["steps"], data["values"]
        finite = values[np.isfinite(values)]
        extent = (min(0, finite.min()), max(finite.max(), 1e-12)) if len(finite) else (0, 1)
        self.set_limits(horizontal(steps, data),
                        steady_range(extent, self.stage.limits and self.stage.limits[1], room=0.1))
        self.stage.line.set_data(steps, values)
        self.stage.dot.set_data(steps[-1:], values[-1:])

    def alt(self, data):
        data = corners(data)
        values, knob = data["values"], self.knob or "The knob"
        if not len(values):
            return f"{knob} over steps: no step has been made yet."
        changed = int((np.diff(values) != 0).sum())
        moved = "it never moved" if not changed else f"between {short(values.min())} and {short(values.max())}"
        return f"{knob} over {data['steps'][-1]:,.0f} steps: {moved}, now {short(values[-1])}."


def thin(data: Mapping, most: int = 400) -> dict:
    """Curves' data with at most `most` steps: for each bucket its last step, mean, lowest and highest finite value.

    Buckets have a power of two of steps and start at the first one, so that old ones stay as they are while the
    history grows.
    """
    if "low" in data:
        return dict(data)
    steps = np.asarray(data["steps"], float)
    width = 1
    while len(steps) > most * width:
        width *= 2
    starts = np.arange(0, len(steps), width)
    means, lows, highs = {}, {}, {}
    for name, values in data["values"].items():
        values = np.asarray(values, float)
        values = np.where(np.isfinite(values), values, np.nan)
        if width > 1:
            finite = np.isfinite(values)
            counts = np.add.reduceat(finite, starts, dtype=float)
            counts[counts == 0] = np.nan
            lows[name], highs[name] = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
            values = np.add.reduceat(np.where(finite, values, 0), starts) / counts
        else:
            lows[name] = highs[name] = values
        means[name] = values
    ends = np.minimum(starts + width, len(steps)) - 1
    return {**data, "steps": steps[ends], "values": means, "low": lows, "high": highs}


def corners(data: Mapping) -> dict:
    """Trace's data with only the steps at which the value changes, the first and the last; at most some thousand."""
    steps, values = np.asarray(data["steps"], float), np.asarray(data["values"], float)
    if len(steps) > 2:
        keep = np.r_[True, np.diff(values[:-1]) != 0, True]
        steps, values = steps[keep], values[keep]
        every = -(-len(steps) // 2000)                                     # a schedule moves at every step
        keep = np.r_[np.arange(0, len(steps) - 1, every), len(steps) - 1]
        steps, values = steps[keep], values[keep]
    return {**data, "steps": steps, "values": values}


def horizontal(steps, data: Mapping) -> tuple[float, float]:
    """The limits of the axis of steps: from 0 to a round number, or just the `window` that the data are."""
    if data.get("window") and len(steps) > 1:
        return float(steps[0]), float(steps[-1])
    return 0.0, nice_above(float(steps[-1]) if len(steps) and steps[-1] > 0 else 100)


def backward_mean(steps, values, window: float) -> np.ndarray:
    """At every step the mean of the finite values of the last `window` steps, but at most of the last fifth of all
    steps (the first steps change too fast to be averaged); the values themselves where `window` is 0."""
    if not window or not len(values):
        return values
    finite = np.isfinite(values)
    sums = np.r_[0, np.cumsum(np.where(finite, values, 0))]
    counts = np.r_[0, np.cumsum(finite)]
    start = np.searchsorted(steps, steps - np.minimum(window, steps / 5), side="right")
    start = np.minimum(start, np.arange(len(steps)))
    n = counts[1:] - counts[start]
    return np.where(n > 0, (sums[1:] - sums[start]) / np.maximum(n, 1), np.nan)


def robust_range(curves: Sequence[np.ndarray], points: int) -> tuple[float, float]:
    """The range that shows the curves (each (3, points): lowest, highest, mean) without flattening them for a few
    outliers, above all those of the first steps. It begins at 0 where 0 is near."""
    skip = max(1, points // 50) if points >= 10 else 0
    lows, highs = [], []
    for curve in curves:
        late, now = curve[:, skip:], curve[2, -max(1, points // 10):]
        late, now = late[:, np.isfinite(late).all(axis=0)], now[np.isfinite(now)]
        if late.size:
            lows.append(min(np.percentile(late[0], 1), now.min(initial=np.inf)))
            highs.append(max(np.percentile(late[1], 99), now.max(initial=-np.inf)))
    if not lows:
        return 0.0, 1.0
    low, high = min(lows), max(highs)
    finite = np.concatenate([curve[np.isfinite(curve)] for curve in curves])
    if finite.max() - finite.min() < 1.25 * (high - low):
        low, high = finite.min(), finite.max()                             # hardly more: show everything
    return (0.0 if 0 < low < 0.5 * high else float(low)), float(high)


def merge_events(events: Sequence[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Moves of one knob that follow each other within `gap` steps are one move, to where it came to rest."""
    merged: list[tuple[float, str]] = []
    for step, text in sorted(events, key=lambda event: event[0]):
        same = merged and merged[-1][1].split("=")[0] == text.split("=")[0]
        if same and step - merged[-1][0] <= gap:
            merged.pop()
        merged.append((float(step), text))
    return merged
