"""Rows of small images."""

from __future__ import annotations

import numpy as np

from ...plots import (
    INK,
    LABEL,
    as_images,
    enlarge,
    mosaic,
)
from .base import Picture


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
