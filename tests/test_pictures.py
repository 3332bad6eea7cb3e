"""Pictures: what is on them is what was in the data, and stays so from one refresh to the next; and the painter."""

import io
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from dgmlab import plots
from dgmlab.errors import LabError
from dgmlab.widgets import painter as painter_module
from dgmlab.widgets.painter import Painter, shared_painter
from dgmlab.widgets.pictures import (
    Bars,
    Curves,
    ImageRows,
    LatentMap,
    Strips,
    Trace,
    compose,
)
from dgmlab.widgets.pictures.base import steady_range
from dgmlab.widgets.pictures.maps import apart
from dgmlab.widgets.pictures.series import backward_mean, merge_events, robust_range, thin

DIGITS = [str(k) for k in range(10)]


def pixels(picture, data, dpi=72):
    return picture.pixels(data, dpi).astype(int)


def curve_data(n=500, end=20.0):
    steps = np.arange(1, n + 1)
    values = {"reconstruction": end + 30 * np.exp(-steps / 40), "KL": 3 - 3 * np.exp(-steps / 90)}
    return {"steps": steps, "values": values, "events": [(200, "β = 4")]}


def map_data(n=300, dims=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    return {"codes": rng.normal(0, 0.2, (n, dims)) + rng.normal(0, 1, (10, dims))[labels], "labels": labels}


def image_data(seed=0, shape=(10, 8, 8)):
    rng = np.random.default_rng(seed)
    return {"rows": [("input", rng.random(shape)), ("reconstruction", rng.random(shape))]}


CASES = {
    "curves": (lambda: Curves(title="Loss", unit="nats"), curve_data(), curve_data(end=19.0)),
    "trace": (lambda: Trace(knob="β"), {"steps": np.arange(9), "values": np.arange(9) % 3},
              {"steps": np.arange(9), "values": np.arange(9) % 2}),
    "plane": (lambda: LatentMap(classes=DIGITS), map_data(), map_data(seed=1)),
    "pca": (lambda: LatentMap(classes=DIGITS, mode="PCA"), map_data(dims=5), map_data(dims=5, seed=1)),
    "t-sne": (lambda: LatentMap(classes=DIGITS, mode="t-SNE"), map_data(dims=5), map_data(dims=5, seed=1)),
    "images": (lambda: ImageRows(title="Images"), image_data(), image_data(1)),
    "strips": (lambda: Strips(title="Distances", x="distance"),
               {"groups": {"new": np.linspace(0.5, 2, 200), "held out": np.linspace(1, 3, 300)}},
               {"groups": {"new": np.linspace(0, 0.3, 200), "held out": np.linspace(1, 3, 300)}}),
    "bars": (lambda: Bars(), {"values": [3.0, 0.01, 1.0]}, {"values": [3.0, 0.01, 2.0]}),
}


@pytest.mark.parametrize("case", CASES)
def test_neither_blank_nor_stale(case):
    make, first, second = CASES[case]
    picture = make()
    one = pixels(picture, first)
    assert one.shape == (picture.size[1], picture.size[0], 3)
    height, width = one.shape[:2]
    middle = one[height // 4: -height // 6, width // 6: -width // 6]
    assert (middle.min(axis=-1) < 140).mean() > 0.002                       # not blank
    two = pixels(picture, second)
    assert (np.abs(one - two).max(axis=-1) > 60).mean() > 0.002             # not stale


@pytest.mark.parametrize("case", ["curves", "trace", "images", "bars"])
def test_a_refresh_equals_a_fresh_drawing(case):
    """Updated in place over a kept background, to the pixel what a new picture shows of the same data."""
    make, first, second = CASES[case]
    picture = make()
    pixels(picture, first)
    assert np.array_equal(pixels(picture, second), pixels(make(), second))


def test_background_is_kept_between_refreshes():
    picture = Curves(title="Loss")
    picture.render(curve_data(440))
    kept = picture.stage.background
    picture.render(curve_data(441))
    assert picture.stage.background is kept
    picture.render({**curve_data(442), "title": "Another title"})
    assert picture.stage.background is not kept


def test_files_have_the_size_and_kind_asked_for():
    picture = Bars(size=(300, 120))
    jpeg = Image.open(io.BytesIO(picture.render({"values": [1, 2]})))
    assert (jpeg.format, jpeg.size) == ("JPEG", (600, 240))
    png = Image.open(io.BytesIO(picture.render({"values": [1, 2]}, "png", dpi=108)))
    assert (png.format, png.size) == ("PNG", (450, 180))
    with pytest.raises(LabError, match="jpeg, png"):
        picture.render({"values": [1]}, "gif")


def ink_centre(image, colour):
    """Mean (x, y) of the pixels near a colour, as fractions from the bottom left."""
    near = np.abs(image - np.round(np.array(to_rgb(colour)) * 255)).max(axis=-1) < 40
    y, x = np.nonzero(near)
    return x.mean() / image.shape[1], 1 - y.mean() / image.shape[0]


@pytest.mark.parametrize("thumbnails", [False, True])
def test_points_lie_where_their_codes_say(thumbnails):
    codes = np.repeat([[-2.0, 1.5], [2.0, -1.5]], 20, axis=0)
    data = {"codes": codes, "labels": np.repeat([6, 3], 20), "images": np.ones((40, 8, 8))}
    image = pixels(LatentMap(classes=DIGITS, thumbnails=thumbnails, prior=False), data, dpi=144)
    left, right = ink_centre(image, plots.class_colour(6)), ink_centre(image, plots.class_colour(3))
    assert left[0] < 0.35 and left[1] > 0.6
    assert right[0] > 0.65 and right[1] < 0.4


def test_images_stand_upright_and_in_order():
    image = np.zeros((8, 8))
    image[:4] = 1                                               # ink in the upper half
    rows = {"rows": [("", image[None]), ("", np.zeros((1, 8, 8)))]}
    drawn = pixels(ImageRows(size=(200, 200), columns=1), rows).mean(axis=-1)
    y, x = np.nonzero(drawn < 100)
    assert y.max() < 70 and y.min() < 20                        # in the upper half of the upper image only
    upper = drawn[y.min():y.max() + 1, x.min():x.max() + 1]
    assert (upper < 10).all()


def test_thumbnails_stand_upright():
    image = np.zeros((1, 8, 8))
    image[:, :4] = 1
    data = {"codes": np.zeros((1, 2)), "labels": np.array([0]), "images": image}
    picture = LatentMap(classes=DIGITS, prior=False, thumbnails=True)
    bare, drawn = pixels(picture, {**data, "images": np.zeros((1, 8, 8))}), pixels(picture, data)
    y, _ = np.nonzero(np.abs(drawn - bare).max(axis=-1) > 60)
    middle = 300 - (picture.stage.axes.bbox.y0 + picture.stage.axes.bbox.y1) / 2      # the point lies there
    assert middle - 10 <= y.min() and y.max() <= middle + 1 and np.ptp(y) >= 7


def test_images_grey_colour_wrapped_and_bad():
    colour = ImageRows(size=(300, 200), columns=2)
    red = np.zeros((3, 3, 4, 4))
    red[:, 0] = 1
    drawn = pixels(colour, {"rows": [("", red)]})
    assert ((drawn == [255, 0, 0]).all(axis=-1)).mean() > 0.2
    assert np.isfinite(pixels(ImageRows(), {"rows": [("", np.full((3, 4, 4), np.nan))]})).all()
    pixels(ImageRows(title="Nothing yet"), {"rows": []})
    with pytest.raises(LabError, match=r"\(n, 3, H, W\)"):
        pixels(ImageRows(), {"rows": [("", np.zeros((3, 4)))]})


def test_map_does_not_flip_when_the_principal_axes_do():
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200, 4)) * [1.05, 1.0, 0.2, 0.2]
    picture, before = LatentMap(classes=DIGITS, mode="PCA"), None
    for k in range(12):                                         # the second axis overtakes the first on the way
        codes = base * [1.05 - 0.01 * k, 1.0, 1, 1]
        picture.render({"codes": codes, "labels": np.arange(200) % 10}, dpi=72)
        scores = picture.stage.scores
        if before is not None:
            assert np.abs(scores - before).max() < 0.1
        before = scores


def test_map_limits_move_smoothly_and_lose_no_point():
    picture, data = LatentMap(classes=DIGITS, mode="PCA"), map_data(dims=3)
    widths = []
    for scale in (1, 1.3, 1.3, 0.5, 0.5, 0.5):
        picture.render({**data, "codes": data["codes"] * scale}, dpi=72)
        low, high = picture.stage.axes.get_xlim()
        widths.append(high - low)
        x = picture.stage.scores[:, 0]
        assert ((x > low) & (x < high)).mean() > 0.98
    assert widths[3] > 0.8 * widths[2] and widths[3] > widths[4] > widths[5]


@pytest.mark.parametrize("mode", ["plane", "PCA", "t-SNE"])
def test_map_of_collapsed_missing_and_not_finite_codes(mode):
    picture = LatentMap(classes=DIGITS, mode=mode)
    broken = map_data(60, 4)["codes"]
    broken[3] = np.nan
    for codes in (np.zeros((50, 4)), broken, np.full((5, 3), np.nan), np.zeros((0, 2)), np.ones((8, 1))):
        data = {"codes": codes, "labels": np.arange(len(codes)) % 10}
        picture.render(data, dpi=72)
        assert picture.alt(data).startswith("Latent map of")
    picture.render({"codes": broken, "labels": np.arange(60) % 10}, dpi=72)
    assert picture.stage.note.get_text() == "1 codes are not finite"


def test_map_switches_while_it_runs():
    picture, data = LatentMap(classes=DIGITS), map_data(dims=4)
    data["images"] = np.random.default_rng(0).random((300, 8, 8))
    shown = []
    for view in ({"mode": "plane"}, {"mode": "PCA"}, {"mode": "t-SNE"}, {"mode": "PCA", "thumbnails": True},
                 {"mode": "plane"}):
        shown.append(pixels(picture, {**data, **view}))
    assert all(not np.array_equal(a, b) for a, b in combinations(shown[:4], 2))
    assert np.array_equal(shown[0], shown[4])                   # back where it was


def test_refit_reaches_the_picture():
    picture, data = LatentMap(classes=DIGITS, mode="t-SNE"), map_data(60, 4)
    picture.source = lambda run: data
    picture.render({**picture.collect(None), "settle": True}, dpi=72)
    assert picture.stage.tsne.settled and "t-SNE of 4 latents" in picture.stage.headline
    picture.refit()
    picture.render(picture.collect(None), dpi=72)
    assert not picture.stage.tsne.settled and "t-SNE, still settling" in picture.stage.headline
    for _ in range(60):
        picture.render(picture.collect(None), dpi=72)
    assert picture.stage.tsne.settled and "t-SNE of 4 latents" in picture.stage.headline


def test_collect_sends_little_and_no_tensors():
    torch = pytest.importorskip("torch")
    data = {"codes": torch.zeros(50, 3, dtype=torch.float64, requires_grad=True),
            "labels": torch.zeros(50, dtype=torch.int64), "images": torch.zeros(50, 1, 8, 8)}
    picture = LatentMap(lambda run: data, classes=DIGITS, points=20)
    collected = picture.collect(None)
    assert collected["codes"].dtype == np.float32 and collected["codes"].shape == (20, 3)
    assert collected["images"] is None
    picture.thumbnails = True
    assert picture.collect(None)["images"].shape == (20, 1, 8, 8)
    long = Curves(lambda run: {"steps": np.arange(1, 100_001), "values": {"loss": np.zeros(100_000)}})
    assert len(pickle.dumps(long.collect(None))) < 20_000


def test_pickled_pictures_leave_their_source_behind():
    picture = Curves(lambda run: None, title="Loss", smooth=5)
    picture.render(curve_data())
    copy = pickle.loads(pickle.dumps(picture))
    assert copy.source is None and copy.smooth == 5
    assert np.array_equal(pixels(copy, curve_data()), pixels(picture, curve_data()))
    with pytest.raises(LabError, match="no source"):
        copy.collect(None)


def test_bad_data_is_a_sentence():
    with pytest.raises(LabError, match="has no 'steps'"):
        Curves().render({"values": {}})
    with pytest.raises(LabError, match="3 values for 2 steps"):
        Curves().render({"steps": [1, 2], "values": {"kl": [1, 2, 3]}})
    with pytest.raises(LabError, match="A label is 12"):
        LatentMap(classes=DIGITS).render({"codes": np.zeros((1, 2)), "labels": [12]})
    with pytest.raises(LabError, match="plane, PCA, t-SNE"):
        LatentMap(mode="umap")


# -- alt texts and titles ----------------------------------------------------------------------------------------------


def test_alt_texts_are_computed_from_the_data():
    text = Curves(unit="nats").alt(curve_data(1240))
    assert text.startswith("Loss terms over 1,240 steps: reconstruction falls from")
    assert "to 20 " in text.replace(",", " ") and "KL rises from" in text and "to 3 nats; β = 4 at step 200." in text
    assert Curves().alt({"steps": [], "values": {"kl": []}}).endswith("no step has been made yet.")
    moved = Trace(knob="β").alt({"steps": [1, 2, 3], "values": [1, 4, 0.5]})
    assert moved == "β over 3 steps: between 0.5 and 4, now 0.5."
    assert Bars().alt({"values": [2, 0.01, 1]}) == ("2 of 3 dimensions in use: KL (nats) per dimension from 2 down to "
                                                    "0.01, 2 at or above 0.1.")
    classes, labels = LatentMap(classes=DIGITS), np.arange(50) % 10
    apart = {"codes": np.eye(10)[labels] + 0.01 * np.arange(50)[:, None] / 50, "labels": labels}
    assert "well separated, 100%" in classes.alt(apart)
    assert "all points lie on one spot" in classes.alt({"codes": np.ones((50, 4)), "labels": labels})
    assert "a pixel differs by 0.25" in ImageRows(title="Pairs").alt(
        {"rows": [("input", np.zeros((2, 4, 4))), ("made", np.full((2, 4, 4), 0.25))]})


def test_titles_say_what_to_see():
    bars = Bars()
    bars.render({"values": [1.0, 0.5, 0.01]})
    assert bars.stage.title.get_text() == "2 of 3 dimensions in use"
    latent_map = LatentMap(classes=DIGITS, mode="PCA", size=(600, 300))
    latent_map.render(map_data(300, 8))
    assert latent_map.stage.title.get_text() == "Where the encoder puts 300 inputs (PCA of 8 latents)"
    long = Curves(title="A title that is much too long to fit into the width of one single small picture")
    long.render(curve_data(20))
    assert long.stage.title.get_text().count("\n") == 1


def test_labels_at_line_ends_never_overlap():
    picture, steps = Curves(size=(400, 300)), np.arange(1, 101)
    picture.render({"steps": steps, "values": {f"term {k}": np.full(100, 1.0 + 0.001 * k) for k in range(5)}})
    renderer = picture.stage.canvas.get_renderer()
    boxes = [artists.label.get_window_extent(renderer) for artists in picture.stage.lines.values()]
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    width, height = picture.stage.figure.bbox.size
    assert all(box.x1 <= width and 0 <= box.y0 and box.y1 <= height for box in boxes)


# -- helpers -----------------------------------------------------------------------------------------------------------


def test_thin_keeps_the_extremes_and_the_end():
    values = np.random.default_rng(0).normal(size=10_001)
    values[[17, 4321]] = 50, -50
    values[99] = np.nan
    data = thin({"steps": np.arange(1, 10_002), "values": {"x": values}})
    assert len(data["steps"]) <= 400 and data["steps"][-1] == 10_001
    assert data["high"]["x"].max() == 50 and data["low"]["x"].min() == -50
    width = int(data["steps"][0])
    assert data["values"]["x"][5] == pytest.approx(values[5 * width: 6 * width].mean())
    grown = thin({"steps": np.arange(1, 10_052), "values": {"x": np.r_[values, np.zeros(50)]}})
    assert np.array_equal(grown["values"]["x"][:300], data["values"]["x"][:300], equal_nan=True)  # old buckets stay


def test_backward_mean_never_looks_ahead():
    steps, jump = np.arange(1.0, 201), np.r_[np.zeros(100), np.ones(100)]
    mean = backward_mean(steps, jump, 10)
    assert (mean[:100] == 0).all()
    assert mean[100:110] == pytest.approx(np.arange(1, 11) / 10) and (mean[110:] == 1).all()


def test_the_first_steps_do_not_flatten_the_rest():
    steps = np.arange(500)
    curve = np.where(steps < 5, 1000.0, 20 + np.sin(steps))
    low, high = robust_range([np.stack([curve] * 3)], 500)
    assert high < 22 and low > 18


def test_limits_keep_still_while_the_data_fit():
    limits = steady_range((0, 28), None, room=0.12)
    assert limits[0] == 0 and 28 < limits[1] <= 35
    assert steady_range((0.2, 26), limits, room=0.12) == limits
    assert steady_range((0, 60), limits, room=0.12)[1] > 60


def test_a_slider_drag_is_one_event():
    drag = [(700 + k, f"β = {k / 10:g}") for k in range(20)] + [(705, "lr = 0.1"), (900, "β = 4")]
    assert merge_events(drag, 40)[-1] == (900, "β = 4")
    assert len([event for event in merge_events(drag, 40) if event[1].startswith("β")]) <= 3


def test_spread_is_minimal_ordered_and_apart():
    assert plots.spread([10, 50, 90], 12, 0, 100) == pytest.approx([10, 50, 90])
    assert plots.spread([50, 50], 10, 0, 100) == pytest.approx([45, 55])
    assert plots.spread([99, 98, 1], 10, 0, 100) == pytest.approx([100, 90, 1])
    places = plots.spread(np.random.default_rng(0).uniform(0, 100, 8), 10, 0, 100)
    assert np.diff(np.sort(places)).min() > 10 - 1e-9 and places.min() >= 0 and places.max() <= 100
    assert plots.spread([], 10, 0, 100).shape == (0,)


def test_thumbnails_do_not_cover_each_other():
    corners = np.random.default_rng(0).uniform(0, 300, (500, 2))
    chosen = apart(corners, range(500), 20)
    gaps = np.abs(corners[chosen][:, None] - corners[chosen]).max(-1)
    assert gaps[np.triu_indices(len(chosen), 1)].min() >= 20
    assert chosen[0] == 0 and len(chosen) > 60


# -- plots -------------------------------------------------------------------------------------------------------------


def srgb_to_linear(colour):
    c = np.array(to_rgb(colour))
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(linear):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(linear, 0, 1)
    f = np.cbrt(np.maximum(xyz / [0.9505, 1, 1.089], 0.008856))
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


COLOUR_VISION = {                                               # Machado, Oliveira and Fernandes 2009, severity 1
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("vision", COLOUR_VISION)
@pytest.mark.parametrize("palette, apart", [(plots.LINES, 30), (plots.CLASSES, 20)])
def test_palette_can_be_told_apart(vision, palette, apart):
    seen = [lab(np.array(COLOUR_VISION[vision]) @ srgb_to_linear(colour)) for colour in palette]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > apart


def test_class_marks_are_all_different():
    assert plots.class_marks(DIGITS) == DIGITS
    fashion = plots.class_marks(["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker"])
    assert fashion[0] == "T" and len(set(fashion)) == 8
    assert len(set(plots.class_marks([f"class {k}" for k in range(150)]))) == 150


def test_marks_are_equally_high():
    heights = []
    for mark in "0Hi":
        path, area = plots.glyph(mark, 10)
        vertices = path.vertices / np.abs(path.vertices).max() / 2 * np.sqrt(area)    # as a scatter scales it
        heights.append(np.ptp(vertices[:, 1]))
        assert vertices.mean(axis=0) == pytest.approx([0, 0], abs=3)
    assert heights == pytest.approx([10, 10, 10], abs=0.6)


def test_still_figures():
    fig = plots.figure(500, 300)
    axes = fig.subplots(1, 3)
    plots.labelled_lines(axes[0], [0, 1, 2], {"one": [1, 2, 3], "two": [1, np.nan, 3.01]})
    plots.scatter_classes(axes[1], np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 10, DIGITS)
    plots.image_grid(axes[2], np.random.default_rng(0).random((15, 8, 8)), columns=5)
    plots.tidy(axes[0], "Title", "step", "nats")
    image = Image.open(io.BytesIO(plots.png(fig)))
    assert image.size == (1000, 600) and (np.asarray(image.convert("L")) < 128).mean() > 0.01
    one, two = axes[0].texts
    assert [one.get_text(), two.get_text()] == ["one", "two"]
    assert abs(one.xyann[1] + (0 - two.xyann[1])) > 5           # pushed apart
    fig = plots.figure(300, 200)
    plots.bars(fig.subplots(), [1, 2], ["a", "b"])
    plots.tidy(fig.axes[0], "Bars")
    assert len(fig.axes[0].patches) == 2
    assert [label.get_text() for label in fig.axes[0].get_xticklabels()] == ["a", "b"]
    with pytest.raises(LabError, match="2 values for 3 places"):
        plots.labelled_lines(axes[0], [0, 1, 2], {"one": [1, 2]})


def test_show_gives_the_page_a_sized_image_with_alt_text(monkeypatch):
    display = pytest.importorskip("IPython.display")
    fig, shown = plots.figure(400, 200), []
    monkeypatch.setattr(display, "display", shown.append)
    assert plots.show(fig, "An empty figure.") is None and not shown        # plain Python
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=object()))
    plots.show(fig, "An empty figure.")
    content, metadata = shown[0]._repr_png_()
    assert metadata == {"width": 400, "alt": "An empty figure."}
    assert plots.show(fig, "Once more.") is None
    with pytest.raises(LabError, match="alt text"):
        plots.show(fig, " ")


def test_a_panel_that_stands_still():
    rows = [{"loss": Curves(title="Loss"), "map": LatentMap(classes=DIGITS, mode="t-SNE")}, {"kl": Bars()}]
    data = {"loss": curve_data(), "map": map_data(60, 4), "kl": {"values": [1, 0]}}
    content, width, alt = compose(rows, data)
    assert width == 800 and Image.open(io.BytesIO(content)).size == (1600, 2 * (300 + 160))
    assert alt.count("Loss terms over") == alt.count("Latent map of") == alt.count("1 of 2 dimensions in use") == 1
    assert rows[0]["map"].stage.tsne.settled


# -- the painter -------------------------------------------------------------------------------------------------------


class Awkward(Bars):
    """A picture that prints, fails, dawdles or takes its process along, as its data say."""

    def draw(self, data):
        print("a stray print")
        os.write(1, b"another one")
        if "fail" in data:
            raise RuntimeError(data["fail"])
        if "die" in data:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(data.get("sleep", 0))
        super().draw(data)


class Waiter:
    """Hands out requests and waits for the answers."""

    def __init__(self, painter):
        self.painter = painter

    def draw(self, seconds=30, **frames):
        done, box = threading.Event(), {"failed": {}}
        assert self.painter.request(frames, lambda images: (box.update(images=images), done.set()),
                                    lambda errors: box.update(failed=errors))
        assert done.wait(seconds)
        deadline = time.monotonic() + 5
        while self.painter.errors and not box["failed"] and time.monotonic() < deadline:
            time.sleep(0.01)
        return box["images"], box["failed"]


@pytest.fixture
def painter(monkeypatch):
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    monkeypatch.setenv("PYTHONPATH", here)                      # so that the process can import this file
    painter = Painter()
    painter.add("bars", Bars())
    painter.add("awkward", Awkward())
    yield painter
    painter.close()


def test_painter_draws_what_the_kernel_would(painter):
    images, failed = Waiter(painter).draw(bars={"values": [1.0, 2.0]}, awkward={"values": [3.0]})
    assert not failed and images["bars"] == Bars().render({"values": [1.0, 2.0]})
    assert images["awkward"][:2] == b"\xff\xd8"                 # stray prints did not get into the pipe
    assert set(painter.cost) == {"bars", "awkward"}


def test_painter_is_busy_not_blocking(painter):
    Waiter(painter).draw(bars={"values": [1.0]})
    done = threading.Event()
    start = time.monotonic()
    assert painter.request({"awkward": {"values": [1.0], "sleep": 0.5}}, lambda images: done.set())
    assert painter.busy and painter.request({"bars": {"values": [1.0]}}, lambda images: None) is False
    assert time.monotonic() - start < 0.2
    assert done.wait(10) and not painter.busy


def test_data_are_packed_before_request_returns(painter):
    values, box, done = np.array([1.0, 2.0]), {}, threading.Event()
    painter.request({"bars": {"values": values}}, lambda images: (box.update(images), done.set()))
    values[:] = 77                                              # the run goes on
    assert done.wait(30) and box["bars"] == Bars().render({"values": [1.0, 2.0]})


def test_an_error_in_a_drawing_comes_back_as_text(painter):
    wait = Waiter(painter)
    images, failed = wait.draw(awkward={"values": [1.0], "fail": "no ink"}, bars={"values": [1.0]})
    assert failed == {"awkward": "RuntimeError: no ink"} == painter.errors and set(images) == {"bars"}
    pid = painter.pid
    images, failed = wait.draw(awkward={"values": [1.0]})
    assert set(images) == {"awkward"} and not failed and not painter.errors and painter.pid == pid
    _, failed = wait.draw(bars={})
    assert "has no 'values'" in failed["bars"]


def test_a_callback_that_fails_does_not_end_the_painter(painter, monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", reported.append)
    painter.request({"bars": {"values": [1.0]}}, lambda images: 1 / 0)
    deadline = time.monotonic() + 20
    while not reported and time.monotonic() < deadline:
        time.sleep(0.01)
    assert reported[0].exc_type is ZeroDivisionError
    assert Waiter(painter).draw(bars={"values": [1.0]})[0]


@pytest.mark.skipif(os.name == "nt", reason="kills by signal")
def test_a_killed_painter_is_replaced_once(painter):
    wait = Waiter(painter)
    before = wait.draw(bars={"values": [1.0]})[0]
    first = painter.pid
    os.kill(first, signal.SIGKILL)
    assert wait.draw(bars={"values": [1.0]})[0] == before and painter.pid != first
    images, failed = wait.draw(awkward={"values": [1.0], "die": True})
    assert not images and "has ended" in failed["awkward"] and not painter.busy
    with pytest.raises(LabError, match="ended twice, so they stop here while the training can go on"):
        painter.request({"bars": {"values": [1.0]}}, lambda images: None)


@pytest.mark.skipif(os.name == "nt", reason="interrupts by signal")
def test_an_interrupt_passes_it_by(painter):
    wait = Waiter(painter)
    wait.draw(bars={"values": [1.0]})
    assert os.getpgid(painter.pid) != os.getpgid(0)
    os.kill(painter.pid, signal.SIGINT)
    pid = painter.pid
    assert wait.draw(bars={"values": [2.0]})[0] and painter.pid == pid


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_a_killed_kernel_leaves_no_painter():
    kernel = subprocess.Popen([sys.executable, "-c", textwrap.dedent("""
        import time
        from dgmlab.widgets.painter import Painter
        from dgmlab.widgets.pictures import Bars
        painter = Painter()
        painter.add("bars", Bars())
        painter.request({"bars": {"values": [1.0]}}, lambda images: print(painter.pid, flush=True))
        time.sleep(60)
        """)], stdout=subprocess.PIPE, text=True)
    try:
        pid = int(kernel.stdout.readline())
        assert running(pid)
    finally:
        kernel.kill()
        kernel.wait()
        kernel.stdout.close()
    deadline = time.monotonic() + 10
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not running(pid)


def test_close_ends_the_process_and_later_calls_say_so(painter):
    Waiter(painter).draw(bars={"values": [1.0]})
    process = painter._process
    painter.close()
    assert process.poll() is not None
    with pytest.raises(LabError, match="closed"):
        painter.request({"bars": {"values": [1.0]}}, lambda images: None)


def test_what_cannot_be_sent_is_a_sentence(painter):
    with pytest.raises(LabError, match="knows no picture named 'nobody'"):
        painter.request({"nobody": {}}, lambda images: None)
    with pytest.raises(LabError, match="data of 'bars' cannot be sent"):
        painter.request({"bars": {"values": lambda: 1}}, lambda images: None)
    assert not painter.busy

    class Local(Bars):
        pass

    with pytest.raises(LabError, match="picture 'local' cannot be sent"):
        painter.add("local", Local())


def test_the_painter_starts_without_torch():
    code = ("import sys, dgmlab.widgets.painter, dgmlab.widgets.pictures; "
            "sys.exit('torch' in sys.modules or 'openTSNE' in sys.modules or 'matplotlib.pyplot' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_one_painter_a_kernel():
    first = shared_painter()
    assert shared_painter() is first
    first.close()
    second = shared_painter()
    assert second is not first
    second.close()


def test_a_stuck_painter_is_replaced(painter, monkeypatch):
    Waiter(painter).draw(bars={"values": [1.0]})
    monkeypatch.setattr(painter_module, "PATIENCE", 0.3)
    first, done = painter.pid, threading.Event()
    painter.request({"awkward": {"values": [1.0], "sleep": 2}}, lambda images: done.set())
    time.sleep(0.4)
    assert painter.request({"bars": {"values": [1.0]}}, lambda images: None) is False
    assert done.wait(30) and painter.pid != first
