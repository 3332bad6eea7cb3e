"""What all pictures have in common: two halves, a background that is kept, and how several become one."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from ...errors import LabError, check_choice
from ...plots import (
    DPI,
    INK,
    SOFT,
    TITLE,
    show_png,
    tidy,
)

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

    def start_anew(self) -> None:
        """The run went back to its beginning; forget what the picture has followed so far."""

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


def blank(width: int, height: int) -> bytes:
    """A white JPEG of this size, to stand where a picture will be."""
    return encode(np.full((height, width, 3), 255, np.uint8), "jpeg")


def still(rows: Sequence[Mapping[str, Picture]], data: Mapping[str, Mapping]) -> None:
    """Show all pictures of a panel as one that stands still, with alt text: for pages without a live panel."""
    show_png(*compose(rows, data))


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


def encode(pixels: np.ndarray, format: str) -> bytes:
    """RGB bytes (height, width, 3) as an image file."""
    file = io.BytesIO()
    if format == "jpeg":
        Image.fromarray(pixels).save(file, "JPEG", quality=88, subsampling=0)     # full colour for thin coloured text
    else:
        Image.fromarray(pixels).save(file, "PNG", compress_level=6)
    return file.getvalue()
