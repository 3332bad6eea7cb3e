"""The pictures of a live panel: what each collects from a run, and how it is drawn ten times a second.

A picture has two halves. In the kernel, `collect(run)` calls the lab's `source` function and returns a small dict of
numpy arrays. In the painter process (painter.py), or right here when nobody watches, `render(data)` draws it:
artists are made once and updated in place, everything that seldom changes (frame, ticks, title) is kept as a
background, and only lines, points and images are drawn anew. That is a few milliseconds instead of fifty.

    curves = Curves(lambda run: {"steps": run.history.steps, "values": {"KL": run.history.column("kl")}},
                    title="Raise the KL weight: KL falls, reconstruction pays", unit="nats per image")
    data = curves.collect(run)
    curves.render(data)            # JPEG bytes, twice as many pixels as `size`
    curves.alt(data)               # "Loss terms over 1,240 steps: KL falls from 8.1 to 2.9 nats per image."
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from PIL import Image

from ..errors import LabError, check_choice
from ..plots import (
    CLASSES,
    DPI,
    FAINT,
    INK,
    LABEL,
    LINES,
    SMALL,
    SOFT,
    TITLE,
    as_images,
    class_colour,
    class_marks,
    enlarge,
    glyph,
    mosaic,
    short,
    show_png,
    spread,
    tidy,
)
from .tsne import LiveTSNE, plane

MAPS = ("plane", "PCA", "t-SNE")
MAP_TITLE = "Where the encoder puts {points} inputs ({map})"
DASHED = {"color": SOFT, "linewidth": 0.9, "linestyle": (0, (3, 3))}
DOT = {"marker": "o", "markersize": 5, "linestyle": "", "clip_on": False}


class Picture:
    """Base of all pictures. A new kind implements `build`, `draw` and `alt`, in a module (the painter imports it).

    Args:
        source: function of the run that returns this picture's data, called in the kernel. Tensors become arrays.
        title: what to see, in one line.
        size: width and height in screen pixels.
        every: seconds between two refreshes that the picture asks for.
        scale: image pixels per screen pixel (2 is sharp on every screen).
    """

    needs: tuple[str, ...] = ()                         # keys that the data must have
    moves_by_itself = False                             # needs further refreshes even where the data stand still

    def __init__(self, source: Callable | None = None, *, title: str = "", size: tuple[int, int] = (400, 300),
                 every: float = 0.2, scale: float = 2.0):
        self.source, self.title, self.size, self.every, self.scale = source, title, tuple(size), every, scale
        self.stage: SimpleNamespace | None = None       # figure, axes, artists: only where it is drawn

    # -- in the kernel -------------------------------------------------------------------------------------------------

    def collect(self, run) -> dict:
        """This picture's data, now: numpy arrays, numbers and texts only."""
        if self.source is None:
            raise LabError(f"The picture {type(self).__name__} has no source; give it a function of the run.")
        data = plain(self.select(self.source(run)))
        self.check(data)
        return data

    def select(self, data: Mapping) -> Mapping:
        """What is needed of the source's data."""
        return data

    def alt(self, data: Mapping) -> str:
        """One sentence that says what the picture shows."""
        raise NotImplementedError

    def headline(self, data: Mapping) -> str:
        """The title for this data; the data may bring its own."""
        return str(data.get("title", self.title))

    def check(self, data: Mapping) -> None:
        """Raise :class:`LabError` where the data cannot be drawn."""
        missing = [key for key in self.needs if key not in data]
        if missing:
            raise LabError(f"The data of the picture {type(self).__name__} has no {missing[0]!r}; "
                           f"it needs: {', '.join(self.needs)}.")

    def __getstate__(self):
        return {**self.__dict__, "source": None, "stage": None}

    # -- where it is drawn ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the artists, once: `self.frame(...)`, then `self.moves(artist)` for what changes with every refresh."""
        raise NotImplementedError

    def draw(self, data: Mapping) -> None:
        """Update the artists from the data."""
        raise NotImplementedError

    def render(self, data: Mapping, format: str = "jpeg", dpi: float | None = None) -> bytes:
        """The picture as the bytes of an image file.

        Args:
            data: as `collect` returns it.
            format: "jpeg" (fast) or "png" (exact).
            dpi: 72 gives one image pixel per screen pixel; default 72 times `scale`.
        """
        check_choice("The image format", format, ("jpeg", "png"))
        return encode(self.pixels(data, dpi or DPI * self.scale), format)

    def pixels(self, data: Mapping, dpi: float) -> np.ndarray:
        """The picture as RGB bytes (height, width, 3), valid until the next one is drawn."""
        self.check(data)
        if self.stage is None or self.stage.dpi != dpi:
            self._raise_stage(dpi)
        try:
            self._write_title(self.headline(data))
            self.draw(data)
            self._compose()
        except Exception:
            self.stage = None                           # half-updated artists must not be shown later
            raise
        return np.asarray(self.stage.canvas.buffer_rgba())[..., :3]

    def _raise_stage(self, dpi):
        width, height = self.size
        figure = Figure((width / DPI, height / DPI), dpi=dpi, facecolor="white")
        self.stage = SimpleNamespace(dpi=dpi, pixel=dpi / DPI, figure=figure, canvas=FigureCanvasAgg(figure), moving=[],
                                     background=None, axes=None, headline="", margins=None, limits=None)
        self.stage.title = figure.text(8 / width, 1 - 6 / height, "", fontsize=TITLE, color=INK, va="top")
        self.build()

    def _compose(self):
        stage = self.stage
        if stage.background is None:
            stage.canvas.draw()                         # skips what moves (it is marked as animated)
            stage.background = stage.canvas.copy_from_bbox(stage.figure.bbox)
        else:
            stage.canvas.restore_region(stage.background)
        for artist in stage.moving:
            stage.figure.draw_artist(artist)

    # -- for build and draw --------------------------------------------------------------------------------------------

    def stale(self) -> None:
        """The background (frame, ticks, title) has to be drawn anew."""
        self.stage.background = None

    def frame(self, left: float, bottom: float, right: float, x: str = "", y: str = "") -> None:
        """The axes, by their margins in screen pixels."""
        if self.stage.axes is None:
            self.stage.axes = tidy(self.stage.figure.add_axes((0.1, 0.1, 0.8, 0.8)), x=x, y=y)
        self.stage.margins = (left, bottom, right)
        self._place()

    def _place(self):
        (width, height), (left, bottom, right) = self.size, self.stage.margins
        top = self.title_height() + 3
        self.stage.axes.set_position((left / width, bottom / height, (width - left - right) / width,
                                      (height - bottom - top) / height))
        self.stale()

    def moves(self, artist, on_axes: bool = True):
        """Add an artist that is drawn at every refresh, on top of those added before."""
        artist.set_animated(True)
        if on_axes:
            self.stage.axes.add_artist(artist)
        self.stage.moving.append(artist)
        return artist

    def set_limits(self, x: tuple[float, float], y: tuple[float, float]) -> None:
        if self.stage.limits != (x, y):
            self.stage.limits = x, y
            self.stage.axes.set(xlim=x, ylim=y)
            self.stale()

    def _write_title(self, text):
        stage = self.stage
        if text == stage.headline:
            return
        stage.headline = text
        stage.title.set_text(text)
        words, room = text.split(), (self.size[0] - 16) * stage.pixel
        for cut in range(len(words) - 1, 0, -1):        # too long: two lines, the first as full as it can be
            if self.text_width(stage.title) <= room:
                break
            stage.title.set_text(" ".join(words[:cut]) + "\n" + " ".join(words[cut:]))
        if stage.margins:
            self._place()
        self.stale()

    def title_height(self) -> float:
        """What the title takes off the top, in screen pixels."""
        text = self.stage.title.get_text()
        return 8 + (17 * (text.count("\n") + 1) if text else 0)

    def text_width(self, text) -> float:
        """Width of a text artist in image pixels."""
        return text.get_window_extent(self.stage.canvas.get_renderer()).width


class Curves(Picture):
    """Loss terms over steps, with their names at the line ends and a dashed line where a knob was moved.

    Data: `steps` (n,), `values` {name: (n,)}, and, if there are any, `events` [(step, text), ...].

    Args:
        unit: of all values, for the axis ("nats per image").
        smooth: number of steps over which the lines are averaged; what is averaged away stays as a pale band. The
            average looks backwards only, so that nothing seems to happen before its cause.
    """

    needs = ("steps", "values")

    def __init__(self, source=None, *, title="", size=(400, 300), unit: str = "", smooth: float = 0, **options):
        super().__init__(source, title=title, size=size, **options)
        self.unit, self.smooth = unit, smooth

    def check(self, data):
        super().check(data)
        n = len(data["steps"])
        for name, values in data["values"].items():
            if len(values) != n:
                raise LabError(f"The curve {name!r} has {len(values)} values for {n} steps; there must be as many.")

    def collect(self, run):
        return thin(super().collect(run))

    def build(self):
        self.stage.names = None
        self.stage.seen_events = []
        self.stage.event_artists = []
        self.frame(52, 42, 20, "step", self.unit)
        self.stage.axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.0f}"))
        self.stage.hint = self.moves(self.stage.axes.text(0.5, 0.5, "", transform=self.stage.axes.transAxes, color=SOFT,
                                                          fontsize=LABEL, ha="center", va="center"), on_axes=False)

    def draw(self, data):
        stage, data = self.stage, thin(data)
        steps, names = data["steps"], tuple(data["values"])
        if names != stage.names:
            self._new_lines(names)
        means = {name: backward_mean(steps, data["values"][name], self.smooth) for name in names}
        right = nice_above(float(steps[-1]) if len(steps) else 100)
        extent = robust_range([np.stack([data["low"][n], data["high"][n], means[n]]) for n in names], len(steps))
        self.set_limits((0, right), steady_range(extent, stage.limits and stage.limits[1], room=0.12))
        stage.hint.set_text("" if any(np.isfinite(mean).any() for mean in means.values()) else "no steps yet")
        self._draw_events(data.get("events", ()), right)

        ends = []
        for name, artists in stage.lines.items():
            mean, low, high = means[name], data["low"][name], data["high"][name]
            finite = np.isfinite(mean)
            x, y = steps[finite], mean[finite]
            artists.line.set_data(x, y)
            ring = np.concatenate([np.stack([x, high[finite]], 1), np.stack([x, low[finite]], 1)[::-1]])
            artists.band.set_verts([ring] if len(ring) > 2 and (high[finite] > low[finite]).any() else [])
            artists.dot.set_data(x[-1:], y[-1:])
            artists.label.set_text(f"{name}\n{short(y[-1], steady=True)}" if len(y) else "")
            if len(y):
                ends.append((artists.label, x[-1], y[-1]))
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
            colour = LINES[k % len(LINES)]
            band = self.moves(PolyCollection([], facecolors=colour, alpha=0.22, linewidths=0))
            stage.lines[name] = SimpleNamespace(band=band)
            probe = stage.figure.text(0, 0, name, fontsize=LABEL)
            width = max(width, self.text_width(probe) / stage.pixel)
            probe.remove()
        for k, artists in enumerate(stage.lines.values()):                  # lines above all bands, labels above lines
            colour = LINES[k % len(LINES)]
            artists.line = self.moves(Line2D([], [], color=colour, linewidth=1.8, solid_joinstyle="round"))
            artists.dot = self.moves(Line2D([], [], color=colour, **DOT))
            artists.label = self.moves(stage.figure.text(0, 0, "", fontsize=LABEL, color=colour, va="center",
                                                         transform=None, linespacing=1.15), on_axes=False)
        self.frame(52, 42, min(width + 14, 0.35 * self.size[0]))

    def _draw_events(self, events, right):
        stage = self.stage
        events = merge_events(events, right * 0.04)
        if [events, right] == stage.seen_events:
            return
        stage.seen_events = [events, right]
        for artist in stage.event_artists:
            artist.remove()
        stage.event_artists, taken = [], [-1.0, -1.0]                        # where the text of each row ends
        for step, text in events:
            stage.event_artists.append(stage.axes.axvline(step, zorder=0.5, **DASHED))
            row = int(step < taken[0])
            if step < taken[row]:
                continue                                                     # no room: the line alone
            label = stage.axes.text(step, 0.995 - 0.052 * row, " " + text, fontsize=SMALL, color=SOFT, va="top",
                                    transform=stage.axes.get_xaxis_transform())
            taken[row] = step + right * (self.text_width(label) / stage.axes.bbox.width + 0.01)
            stage.event_artists.append(label)
        self.stale()

    def alt(self, data):
        data = thin(data)
        steps = data["steps"]
        if not len(steps):
            return "Loss terms over steps: no step has been made yet."
        parts = []
        for name, values in data["values"].items():
            values = values[np.isfinite(values)]
            if len(values):
                first, last = values[: max(1, len(values) // 50)].mean(), values[-max(1, len(values) // 50):].mean()
                span = max(abs(first), abs(last))
                verb = "stays at" if abs(last - first) <= 0.02 * span else "falls" if last < first else "rises"
                parts.append(f"{name} {verb} {short(last)}" if verb == "stays at" else
                             f"{name} {verb} from {short(first)} to {short(last)}")
        text = f"Loss terms over {steps[-1]:,.0f} steps: {', '.join(parts) or 'no finite value'}"
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
        self.set_limits((0, nice_above(float(steps[-1]) if len(steps) else 100)),
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


class LatentMap(Picture):
    """Where the encoder puts the data: every point drawn as the character of its class, or as its own small image.

    Data: `codes` (n, d), `labels` (n,) indices into the classes and, for thumbnails, `images` (n, [C,] H, W) in [0, 1].
    At most `points` of them are used, always the first ones, so that every point keeps its identity.

    Args:
        classes: the names of the classes. Longer names get a letter and a key below the map.
        mode: "plane" (the first two latents), "PCA" (the principal plane, turned so that it moves least from one
            refresh to the next) or "t-SNE" (follows, see tsne.py). May be set at any time.
        thumbnails: draw some of the images themselves instead of characters. May be set at any time.
        points: how many points are shown at most.
        prior: in "plane" mode, a circle where a standard normal prior has 86 % of its mass (two standard deviations).
    """

    needs = ("codes", "labels")

    def __init__(self, source=None, *, classes: Sequence[str] = (), title=MAP_TITLE,
                 size=(400, 300), mode: str = "plane", thumbnails: bool = False, points: int = 1000,
                 prior: bool = True, **options):
        super().__init__(source, title=title, size=size, **options)
        check_choice("The latent map's mode", mode, MAPS)
        self.classes = [str(name) for name in classes]
        self.mode, self.thumbnails, self.points, self.prior, self.refits = mode, thumbnails, points, prior, 0

    # -- in the kernel -------------------------------------------------------------------------------------------------

    @property
    def moves_by_itself(self) -> bool:
        return self.mode == "t-SNE"

    def refit(self) -> None:
        """Ask for a full t-SNE fit; the next refreshes show it happen."""
        self.refits += 1

    def collect(self, run):
        data = super().collect(run)
        return {**data, "mode": self.mode, "thumbnails": self.thumbnails, "refits": self.refits}

    def select(self, data):
        points = {key: data[key][: self.points] for key in ("codes", "labels") if key in data}
        if self.thumbnails and data.get("images") is not None:              # else not needed, not sent
            points["images"] = data["images"][: self.points]
        return {**data, "images": None, **points}

    def check(self, data):
        super().check(data)
        codes, labels = np.asarray(data["codes"]), np.asarray(data["labels"])
        if codes.ndim != 2 or len(codes) != len(labels):
            raise LabError(f"The codes have the shape {codes.shape} and there are {len(labels)} labels, but a latent "
                           "map needs codes (points, dimensions) and as many labels.")
        if len(labels) and not 0 <= labels.min() <= labels.max() < max(len(self.classes), 1):
            raise LabError(f"A label is {labels.max() if labels.min() >= 0 else labels.min()}, but there are "
                           f"{len(self.classes)} classes; labels count from 0.")

    def alt(self, data):
        codes, labels = np.asarray(data["codes"], float), np.asarray(data["labels"])
        finite = np.isfinite(codes).all(axis=1)
        start = f"Latent map of {len(codes):,} points in {len(np.unique(labels))} classes ({self._map_name(data)})"
        codes, labels = codes[finite], labels[finite]
        if len(codes) < 2 or codes.std() < 1e-6 * max(1, np.abs(codes).max(initial=0)):
            return f"{start}: all points lie on one spot, the code tells nothing about the input."
        some = np.linspace(0, len(codes) - 1, min(200, len(codes))).astype(int)
        distances = ((codes[some, None] - codes[None]) ** 2).sum(-1)
        distances[np.arange(len(some)), some] = np.inf
        agree = (labels[distances.argmin(1)] == labels[some]).mean()
        how = "well separated" if agree > 0.9 else "partly separated" if agree > 0.5 else "mixed"
        return f"{start}: the classes are {how}, {agree:.0%} of the points have a nearest neighbour of their own class."

    def _map_name(self, data):
        mode, dims = data.get("mode", self.mode), np.asarray(data["codes"]).shape[1]
        if mode == "plane":
            return "the latent plane" if dims == 2 else f"first 2 of {dims} latents" if dims > 2 else "its only latent"
        return f"{mode} of {dims} latents"

    def headline(self, data):
        shown = min(len(data["codes"]), self.points)
        return super().headline(data).replace("{points}", f"{shown:,}").replace("{map}", self._map_name(data))

    # -- where it is drawn ---------------------------------------------------------------------------------------------

    def build(self):
        stage, marks = self.stage, class_marks(self.classes)
        stage.mode = stage.view = stage.tsne = stage.scores = stage.prior = None
        stage.refits = 0
        lines = self._key(marks)
        stage.key_height = 16 * lines + (4 if lines else 0)
        self.frame(8, 8 + stage.key_height, 8)
        stage.thumbnails = self.moves(stage.figure.figimage(np.zeros((1, 1, 4), np.uint8)), on_axes=False)
        stage.marks, stage.areas, stage.shown = [], [], []
        for k, mark in enumerate(marks or ["o"]):
            path, area = glyph(mark, 8)
            stage.areas.append(area)
            stage.marks.append(self.moves(stage.axes.scatter([], [], s=area, marker=path, color=class_colour(k),
                                                             linewidths=0), on_axes=False))
        stage.note = self.moves(stage.figure.text(0, 0, "", transform=None, fontsize=SMALL, color=SOFT, va="top"),
                                on_axes=False)

    def _key(self, marks):
        """Below the map, what the letters stand for; returns the number of lines. More than 20 classes get none."""
        if marks == self.classes or len(marks) > 20:
            return 0
        stage, x, texts = self.stage, 8.0, [[]]
        for k, (mark, name) in enumerate(zip(marks, self.classes, strict=True)):
            text = stage.figure.text(0, 0, name if name.startswith(mark) else f"{mark} {name}", fontsize=SMALL,
                                     color=class_colour(k), va="bottom", transform=None)
            width = self.text_width(text) / stage.pixel + 12
            if x + width > self.size[0] and texts[-1]:
                x = 8.0
                texts.append([])
            texts[-1].append(text)
            text.set_x(x * stage.pixel)
            x += width
        for line, row in enumerate(reversed(texts)):
            for text in row:
                text.set_y((4 + 16 * line) * stage.pixel)
        return len(texts)

    def draw(self, data):
        stage = self.stage
        codes = np.array(data["codes"], float)[: self.points]
        labels = np.asarray(data["labels"])[: self.points]
        mode = data.get("mode", self.mode)
        if mode != stage.mode:
            self._change_mode(mode)
        codes = np.pad(codes, ((0, 0), (0, max(0, 2 - codes.shape[1]))))     # a single latent is drawn along a line
        finite = np.isfinite(codes).all(axis=1)
        follow = {"plane": self._plane, "PCA": self._pca, "t-SNE": self._tsne}[mode]
        places, note = follow(codes, finite, data)
        places = np.where(finite[:, None], places, np.nan)
        images = data.get("images") if data.get("thumbnails", self.thumbnails) else None
        stage.thumbnails.set_visible(images is not None)
        if images is not None:
            self._draw_thumbnails(places, labels, as_images(images, ink=False)[: self.points])
        dots = np.isin(np.arange(len(places)), stage.shown, invert=True) if images is not None else True
        for k, (marks, area) in enumerate(zip(stage.marks, stage.areas, strict=True)):
            marks.set_offsets(places[(labels == k) & dots])
            marks.set_sizes([area if images is None else area / 9])
        stage.note.set_text(note if finite.all() else f"{(~finite).sum():,} codes are not finite")
        stage.note.set_position((8 * stage.pixel, (self.size[1] - super().title_height() + 1) * stage.pixel))

    def title_height(self):
        return super().title_height() + 14              # the note stands below the title

    def _change_mode(self, mode):
        stage, with_axes = self.stage, mode == "plane"
        if stage.prior:
            stage.prior.remove()
        stage.mode, stage.prior, stage.view, stage.limits, stage.scores = mode, None, None, None, None
        stage.axes.spines[["left", "bottom"]].set_visible(with_axes)
        stage.axes.tick_params(left=with_axes, bottom=with_axes, labelleft=with_axes, labelbottom=with_axes)
        stage.axes.set(xlabel="latent 1" if with_axes else "", ylabel="latent 2" if with_axes else "")
        left, bottom = (44, 40) if with_axes else (8, 8)
        self.frame(left, bottom + stage.key_height, 8)
        if with_axes and self.prior:
            stage.prior = stage.axes.add_patch(Circle((0, 0), 2, fill=False, **DASHED))

    def _plane(self, codes, finite, data):
        """The first two latents as they are; the limits keep still as long as the points fit."""
        stage, places = self.stage, codes[:, :2]
        low, high = spans(places[finite])
        if self.prior:
            low, high = np.minimum(low, -2.4), np.maximum(high, 2.4)
        old = stage.view or (None, None)
        stage.view = [steady_range((low[k], high[k]), old[k], room=0) for k in (0, 1)]
        unit = max((b - a) / pixels for (a, b), pixels in zip(stage.view, stage.axes.bbox.size, strict=True))
        x, y = (((a + b - unit * n) / 2, (a + b + unit * n) / 2)
                for (a, b), n in zip(stage.view, stage.axes.bbox.size, strict=True))
        self.set_limits(x, y)
        return places, "dashed: 86% of the prior N(0, I) lies inside" if self.prior else ""

    def _pca(self, codes, finite, data):
        """The principal plane. Its axes may swap and flip from one refresh to the next; the rotation that brings the
        points nearest to where they were takes that back (Procrustes)."""
        stage, scores = self.stage, np.full((len(codes), 2), np.nan)
        scores[finite] = plane(codes[finite])
        before = stage.scores
        if before is not None and before.shape == scores.shape:
            both = finite & np.isfinite(before).all(axis=1)
            u, _, v = np.linalg.svd(scores[both].T @ before[both])
            scores = scores @ (u @ v)
        stage.scores = scores
        self._follow(scores[finite])
        total = codes[finite].var(axis=0).sum() if finite.any() else 0
        share = scores[finite].var(axis=0).sum() / total if total > 0 else 0
        return scores, f"principal plane: {share:.0%} of the variance"

    def _tsne(self, codes, finite, data):
        stage = self.stage
        stage.tsne = stage.tsne or LiveTSNE()
        if data.get("refits", 0) != stage.refits:
            stage.refits = data["refits"]
            stage.tsne.refit()
        positions = stage.tsne.settle(codes) if data.get("settle") else stage.tsne.update(codes)
        self._follow(positions[finite])
        return positions, "distances between clusters mean little" if stage.tsne.settled else "t-SNE is fitting ..."

    def _follow(self, points):
        """Limits around the points that move smoothly: at once where points would leave the picture, else slowly. There
        are no ticks here, so that the background stays."""
        stage, size = self.stage, self.stage.axes.bbox.size
        low, high = spans(points)
        centre, unit = (low + high) / 2, max(1.15 * ((high - low) / size).max(), 1e-9)
        if stage.view is not None:
            old_centre, old_unit = stage.view
            unit = max(old_unit + (0.5 if unit > old_unit else 0.15) * (unit - old_unit), unit / 1.1)
            centre = old_centre + 0.3 * (centre - old_centre)
        stage.view = centre, unit
        (left, bottom), (right, top) = centre - unit * size / 2, centre + unit * size / 2
        stage.axes.set(xlim=(left, right), ylim=(bottom, top))

    def _draw_thumbnails(self, places, labels, images, side=18):
        """Small images at their places: ink in the colour of the class (grey images), or framed by it (colour). Where
        they would cover each other those that were shown before stay, and the others are dots."""
        stage = self.stage
        box, side = stage.axes.bbox, int(side * stage.pixel)
        wide, high = int(box.width), int(box.height)
        corners = stage.axes.transData.transform(places) - (box.x0, box.y0) - side / 2
        inside = (corners >= 0).all(axis=1) & (corners <= (wide - side, high - side)).all(axis=1)    # NaN is not
        stage.shown = apart(corners, [k for k in (*stage.shown, *range(len(corners))) if inside[k]], 0.9 * side)
        corners[:, 1] = high - side - corners[:, 1]                                                  # from the top
        grey = (images[..., :1] == images).all()
        layer = np.full((high, wide, 4), (255, 255, 255, 0), np.uint8)
        for k, image in zip(stage.shown, enlarge(images[stage.shown], side, side), strict=True):
            x, y = corners[k].astype(int)
            patch, colour = layer[y:y + side, x:x + side], COLOUR_BYTES[labels[k] % len(COLOUR_BYTES)]
            if grey:
                darker = image[..., 0] > patch[..., 3]
                patch[darker, :3], patch[..., 3] = colour, np.maximum(patch[..., 3], image[..., 0])
            else:
                patch[:] = (*colour, 255)
                edge = max(1, side // 16)
                patch[edge:-edge, edge:-edge, :3] = image[edge:-edge, edge:-edge]
        stage.thumbnails.set_data(layer)
        stage.thumbnails.ox, stage.thumbnails.oy = box.x0, box.y0


COLOUR_BYTES = [tuple(int(colour[k:k + 2], 16) for k in (1, 3, 5)) for colour in CLASSES]


class ImageRows(Picture):
    """Rows of small images: input above reconstruction, new samples, or a decoded grid of the latent plane.

    Data: `rows` [(label, images), ...] with images (n, H, W), (n, 1, H, W) or (n, 3, H, W) in [0, 1]. A row with more
    than `columns` images is wrapped.

    Args:
        columns: images side by side.
        ink: show grey images as ink on paper (1 is black).
        x, y: what changes along the rows and up the columns, if anything ("latent 1").
    """

    needs = ("rows",)

    def __init__(self, source=None, *, title="", size=(400, 150), columns: int = 10, ink: bool = True, x: str = "",
                 y: str = "", **options):
        super().__init__(source, title=title, size=size, **options)
        self.columns, self.ink, self.x, self.y = columns, ink, x, y

    def build(self):
        stage = self.stage
        stage.labels, stage.texts, stage.label_width = None, [], 0
        stage.mosaic = self.moves(stage.figure.figimage(np.full((1, 1, 3), 255, np.uint8)), on_axes=False)

    def draw(self, data):
        stage, gap = self.stage, 3
        groups = [as_images(images, ink=self.ink) for _, images in data["rows"] if len(images)]
        labels = [str(label) for label, images in data["rows"] if len(images)]
        if not groups:
            stage.mosaic.set_visible(False)
            return
        counts = [-(-len(group) // self.columns) for group in groups]
        if labels != stage.labels:
            self._write_labels(labels)
        left = 8 + stage.label_width + (18 if self.y else 0)
        bottom = 6 + (18 if self.x else 0)
        top = self.title_height() + 4
        # The largest cell (in image pixels) that fits into both directions.
        aspect = groups[0].shape[1] / groups[0].shape[2]
        wide = (self.size[0] - left - 8) / self.columns - gap
        high = (self.size[1] - top - bottom - 4 * (len(groups) - 1)) / sum(counts) - gap
        wide = max(1, int(min(wide, high / aspect) * stage.pixel))
        high, gap = max(1, round(wide * aspect)), round(gap * stage.pixel)
        sheets = [mosaic(enlarge(group, high, wide), rows, self.columns, gap)
                  for group, rows in zip(groups, counts, strict=True)]
        space = gap + int(4 * stage.pixel)
        parts, y, middles = [], 0, []
        for sheet in sheets:
            if parts:
                parts.append(np.full((space, sheet.shape[1], 3), 255, np.uint8))
                y += space
            parts.append(sheet)
            middles.append(y + sheet.shape[0] / 2)
            y += sheet.shape[0]
        whole = np.concatenate(parts)
        canvas_height = stage.figure.bbox.height
        stage.mosaic.set_visible(True)
        stage.mosaic.set_data(whole)
        stage.mosaic.ox = round(left * stage.pixel)
        stage.mosaic.oy = round(canvas_height - top * stage.pixel - len(whole))
        places = [(8 * stage.pixel, stage.mosaic.oy + len(whole) - middle) for middle in middles]
        if self.y:
            places.append((8 * stage.pixel, stage.mosaic.oy + len(whole) / 2))
        if self.x:
            places.append((stage.mosaic.ox + whole.shape[1] / 2, stage.mosaic.oy - 4 * stage.pixel))
        for text, place in zip(stage.texts, places, strict=True):
            if text.get_position() != place:
                text.set_position(place)
                self.stale()

    def _write_labels(self, labels):
        stage = self.stage
        for text in stage.texts:
            text.remove()
        style = {"transform": None, "fontsize": LABEL, "color": INK}
        stage.texts = [stage.figure.text(0, 0, label, va="center", **style) for label in labels]
        width = max(map(self.text_width, stage.texts)) / stage.pixel
        stage.label_width = width + 8 if any(labels) else 0
        if self.y:
            stage.texts.append(stage.figure.text(0, 0, self.y, va="center", rotation=90, **style))
        if self.x:
            stage.texts.append(stage.figure.text(0, 0, self.x, va="top", ha="center", **style))
        stage.labels = labels
        self.stale()

    def alt(self, data):
        rows = [f"{len(images)} images" + (f" ({label})" if label else "") for label, images in data["rows"]]
        text = f"{self.headline(data) or 'Images'}: {', '.join(rows) or 'none yet'}"
        if len(data["rows"]) == 2 and np.shape(data["rows"][0][1]) == np.shape(data["rows"][1][1]):
            first, second = (np.asarray(images, float) for _, images in data["rows"])
            if first.size and np.isfinite(first).all() and np.isfinite(second).all():
                text += f"; a pixel differs by {np.abs(first - second).mean():.2f} of full scale on average"
        return text + "."


class Bars(Picture):
    """One value a dimension, largest first, e.g. the KL of every latent, and how many reach a threshold.

    Data: `values` (d,).

    Args:
        title: `{used}` and `{all}` stand for the counts.
        unit: of the values, for the axis ("KL (nats)").
        threshold: from here on a dimension counts as in use.
    """

    needs = ("values",)

    def __init__(self, source=None, *, title="{used} of {all} dimensions in use", size=(400, 160),
                 unit: str = "KL (nats)", x: str = "latent dimension, sorted", threshold: float = 0.1, **options):
        super().__init__(source, title=title, size=size, **options)
        self.unit, self.x, self.threshold = unit, x, threshold

    def headline(self, data):
        values = np.asarray(data["values"])
        return super().headline(data).replace("{used}", str(self._used(values))).replace("{all}", str(len(values)))

    def _used(self, values):
        return int((np.asarray(values) >= self.threshold).sum())

    def build(self):
        stage = self.stage
        self.frame(52, 42, 12, self.x, self.unit)
        stage.axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        stage.axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        stage.bars = self.moves(PolyCollection([], linewidths=0))
        across = stage.axes.get_yaxis_transform()
        self.moves(Line2D([0, 1], [self.threshold] * 2, transform=across, **DASHED))
        self.moves(stage.axes.text(0.995, 0.97, f"dashed: in use from {short(self.threshold)}", ha="right", va="top",
                                   fontsize=SMALL, color=SOFT, transform=stage.axes.transAxes), on_axes=False)

    def draw(self, data):
        stage = self.stage
        values = np.nan_to_num(np.asarray(data["values"], float), posinf=0, neginf=0)
        values = np.sort(values)[::-1]
        x = np.arange(1, len(values) + 1)
        extent = min(0, values.min(initial=0)), max(values.max(initial=0), 2 * self.threshold)
        self.set_limits((0.4, len(values) + 0.6), steady_range(extent, stage.limits and stage.limits[1], room=0.05))
        zero = np.zeros_like(values)
        stage.bars.set_verts(np.stack([np.stack([x - 0.4, zero], 1), np.stack([x - 0.4, values], 1),
                                       np.stack([x + 0.4, values], 1), np.stack([x + 0.4, zero], 1)], 1))
        stage.bars.set_facecolors([CLASSES[2] if value >= self.threshold else FAINT for value in values])

    def alt(self, data):
        values = np.sort(np.nan_to_num(np.asarray(data["values"], float)))[::-1]
        if not len(values):
            return f"Bars of {self.unit}: no values yet."
        return (f"{self.headline(data)}: {self.unit} per dimension from {short(values[0])} down to "
                f"{short(values[-1])}, {self._used(values)} at or above {short(self.threshold)}.")


def compose(rows: Sequence[Mapping[str, Picture]], data: Mapping[str, Mapping]) -> tuple[bytes, int, str]:
    """All pictures of a panel as one: a PNG file, its width in screen pixels, and the alt texts one after the other.

    Args:
        rows: the panel's rows of pictures by name; data: what they collected, by the same names. A t-SNE map is
            fitted to the end.
    """
    strips = []
    for row in rows:
        parts = [picture.pixels({**data[name], "settle": True}, 2 * DPI) for name, picture in row.items()]
        strip = np.full((max(map(len, parts)), sum(part.shape[1] for part in parts), 3), 255, np.uint8)
        x = 0
        for part in parts:
            strip[: len(part), x:x + part.shape[1]] = part
            x += part.shape[1]
        strips.append(strip)
    wide = max(strip.shape[1] for strip in strips)
    whole = np.concatenate([np.pad(strip, ((0, 0), (0, wide - strip.shape[1]), (0, 0)), constant_values=255)
                            for strip in strips])
    file = io.BytesIO()
    Image.fromarray(whole).quantize(256).save(file, "PNG", optimize=True)  # it is kept in notebooks: a third the size
    alt = " ".join(picture.alt(data[name]) for row in rows for name, picture in row.items())
    return file.getvalue(), wide // 2, alt


def still(rows: Sequence[Mapping[str, Picture]], data: Mapping[str, Mapping]) -> None:
    """Show all pictures of a panel as one that stands still, with alt text: for pages without a live panel."""
    show_png(*compose(rows, data))


# -- helpers -----------------------------------------------------------------------------------------------------------


def plain(data):
    """Numpy arrays in the place of tensors (whatever has a `detach`), single precision in the place of double."""
    if isinstance(data, Mapping):
        return {key: plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return type(data)(plain(value) for value in data)
    if hasattr(data, "detach"):
        data = data.detach().cpu().float().numpy() if data.is_floating_point() else data.detach().cpu().numpy()
    if isinstance(data, np.ndarray) and data.dtype == np.float64:
        data = data.astype(np.float32)
    return data


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


def steady_range(extent: tuple[float, float], old: tuple[float, float] | None, room: float) -> tuple[float, float]:
    """Round limits around `extent` with some `room` above, and the `old` ones as long as they still fit well."""
    low, high = extent
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(high) / 2 or 0.5
        low, high = low - half, high + half
    span = high - low
    if old and old[0] <= low and high + 0.5 * room * span <= old[1] and span >= 0.5 * (old[1] - old[0]):
        return old
    step = nice_above(span / 8)
    return float(np.floor(low / step) * step), float(np.ceil((high + room * span) / step - 1e-9) * step)


def nice_above(value: float) -> float:
    """The next round number: 1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8 times a power of ten."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(n * power for n in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if n * power >= value * (1 - 1e-9)))


def spans(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest coordinates of points (n, 2), but for a few outliers."""
    if not len(points):
        return np.full(2, -1.0), np.full(2, 1.0)
    low, high = np.percentile(points, (0.5, 99.5), axis=0)
    middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
    return np.maximum(points.min(axis=0), middle - 1.3 * half), np.minimum(points.max(axis=0), middle + 1.3 * half)


def apart(corners: np.ndarray, order: Sequence[int], side: float) -> list[int]:
    """Of squares of one size, those that do not overlap, taken in this order."""
    taken: dict[tuple[int, int], list[int]] = {}                           # by the cell of a grid they lie in
    chosen = []
    for k in order:
        x, y = corners[k]
        column, row = int(x // side), int(y // side)
        near = (j for c in (-1, 0, 1) for r in (-1, 0, 1) for j in taken.get((column + c, row + r), ()))
        if all(max(abs(corners[j] - corners[k])) >= side for j in near):
            taken.setdefault((column, row), []).append(k)
            chosen.append(k)
    return chosen


def merge_events(events: Sequence[tuple[float, str]], gap: float) -> list[tuple[float, str]]:
    """Moves of one knob that follow each other within `gap` steps are one move, to where it came to rest."""
    merged: list[tuple[float, str]] = []
    for step, text in sorted(events, key=lambda event: event[0]):
        same = merged and merged[-1][1].split("=")[0] == text.split("=")[0]
        if same and step - merged[-1][0] <= gap:
            merged.pop()
        merged.append((float(step), text))
    return merged


def encode(pixels: np.ndarray, format: str) -> bytes:
    """RGB bytes (height, width, 3) as an image file."""
    file = io.BytesIO()
    if format == "jpeg":
        Image.fromarray(pixels).save(file, "JPEG", quality=88, subsampling=0)     # full colour for thin coloured text
    else:
        Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return file.getvalue()
