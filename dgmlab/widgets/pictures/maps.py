"""The latent map: where the encoder puts the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from ...errors import LabError, check_choice
from ...plots import (
    CLASSES,
    INK,
    SMALL,
    SOFT,
    as_images,
    class_colour,
    class_marks,
    enlarge,
    glyph,
)
from ..tsne import LiveTSNE, plane
from .base import DASHED, Picture, steady_range

MAPS = ("plane", "PCA", "t-SNE")
MAP_TITLE = "Where the encoder puts {points} inputs ({map})"
COLOUR_BYTES = [tuple(int(colour[k:k + 2], 16) for k in (1, 3, 5)) for colour in CLASSES]


class LatentMap(Picture):
    """Where the encoder puts the data: every point drawn as the character of its class, or as its own small image.

    Data: `codes` (n, d), `labels` (n,) indices into the classes and, for thumbnails, `images` (n, [C,] H, W) in [0, 1];
    in "plane" mode also `mark` (2,), a place that gets a cross, if there is one.
    At most `points` of them are used, always the first ones, so that every point keeps its identity.

    Args:
        classes: the names of the classes. Longer names get a letter and a key below the map.
        mode: "plane" (the first two latents), "PCA" (the principal plane, turned so that it moves least from one
            refresh to the next) or "t-SNE" (follows, see tsne.py). May be set at any time.
        thumbnails: draw some of the images themselves instead of characters. May be set at any time.
        points: how many points are shown at most.
        prior: in "plane" mode, a circle where a standard normal prior has 86 % of its mass (two standard deviations).
        axis: what the axes of the plane are called, before their number.
    """

    needs = ("codes", "labels")

    def __init__(self, source=None, *, classes: Sequence[str] = (), title=MAP_TITLE,
                 size=(400, 300), mode: str = "plane", thumbnails: bool = False, points: int = 1000,
                 prior: bool = True, axis: str = "latent", **options):
        super().__init__(source, title=title, size=size, **options)
        check_choice("The latent map's mode", mode, MAPS)
        self.classes = [str(name) for name in classes]
        self.mode, self.thumbnails, self.points, self.prior, self.refits = mode, thumbnails, points, prior, 0
        self.axis = axis

    # -- in the kernel -------------------------------------------------------------------------------------------------

    @property
    def moves_by_itself(self) -> bool:
        return self.mode == "t-SNE"

    def refit(self) -> None:
        """Ask for a full t-SNE fit; the next refreshes show it happen."""
        self.refits += 1

    def start_anew(self) -> None:
        self.refit()

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
        tsne = getattr(self.stage, "tsne", None)
        if mode == "t-SNE" and tsne is not None and not tsne.settled:
            return "t-SNE, still settling"
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
        stage.cross = self.moves(Line2D([], [], marker="P", markersize=16, color=INK, markeredgecolor="white",
                                        markeredgewidth=2, linestyle="", clip_on=False))
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
        mark = data.get("mark") if mode == "plane" else None
        stage.cross.set_data(*([], []) if mark is None else np.asarray(mark, float)[:, None])
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
        stage.axes.set(xlabel=f"{self.axis} 1" if with_axes else "", ylabel=f"{self.axis} 2" if with_axes else "")
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
        self._write_title(self.headline(data))                  # says whether a fit is going on
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
