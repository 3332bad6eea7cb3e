"""Lab 02's live views: the panel of an autoencoder with two numbers for a code, and a code to drag along a curve."""

from __future__ import annotations

import ipywidgets as widgets
import torch
from torch import Tensor

from ..errors import LabError
from ..models.pca import PCA
from ..plots import png, show
from ..training import Run
from .autoencoder_pictures import CurvePicture, code_grid
from .dragged import Dragged, image_of
from .panel import Panel
from .pictures import Curves, ImageRows, LatentMap

POINTS = 1000           # images on the latent map
SHOWN = 10              # images in a row
GRID = 11               # decoded codes along a side
REACH = 25.0            # how far from 0 a code can be picked
MIDDLE = (0.2, 0.8)     # of the codes along either axis, what the zoom keeps


def autoencoder_panel(run: Run, *, steps: int = 2000, pace: float | None = None,
                      name: str = "02_autoencoder") -> Panel:
    """The live panel of an autoencoder with a code of two numbers: its errors, its plane, and codes to pick.

    Args:
        run: from :func:`dgmlab.experiments.autoencoders.make_run` with ``latent=2`` and ``watched=True``.
        steps: where Start pauses by itself; without a front end, how long the run is.
        pace: the most steps a second while somebody watches; None for no limit.
        name: of the files that Save writes.
    """
    if not hasattr(run, "data"):
        raise LabError("The panel needs the run's data set; set run.data = dgmlab.data.load('digits') or the like.")
    model, data = run.model, run.data
    if model.latent != 2 or model.watch is None:
        raise LabError(f"The panel draws a code of 2 numbers and the held-out error, but this run has a code of "
                       f"{model.latent}{'' if model.watch is not None else ' and watches no held-out images'}; make "
                       "it with latent=2 and watched=True.")
    x, y = (torch.cat([data.valid.x, data.train.x])[:POINTS], torch.cat([data.valid.y, data.train.y])[:POINTS])
    x = x.to(run.device)
    one_each = torch.stack([x[y == k][0] for k in y.unique()[:SHOWN]])
    pca = PCA(2).fit(data.train.x)
    pca_error = float((pca.reconstruct(data.valid.x) - data.valid.x).square().mean())
    picked = [widgets.FloatSlider(value, min=-REACH, max=REACH, step=0.1, description=f"code {k}",
                                  tooltip="A code of your own: the cross on the map, decoded below",
                                  style={"description_width": "150px"}, layout={"width": "460px"})
              for k, value in ((1, 5.0), (2, 0.0))]
    thumbnails = widgets.Checkbox(value=False, description="show the images", indent=False, layout={"width": "150px"})
    zoom = widgets.Checkbox(value=False, description="zoom into the middle", indent=False, layout={"width": "180px"},
                            tooltip="Map and decoded plane show the codes in the middle only")

    def curves(run):
        n = run.step
        return {"steps": run.history.steps, "values": {
            "training": run.history.column("loss") if n else [],
            "held out": run.history.column("held_out") if n else [],
            "PCA, held out": [pca_error] * n}}

    def code() -> Tensor:
        return torch.tensor([[slider.value for slider in picked]], device=run.device)           # (1, 2)

    @torch.no_grad()
    def shown():
        """The codes (n, 2) that map and plane show, and which of the images (n,) they belong to."""
        z = model.encode(x)
        if not zoom.value:
            return z, slice(None)
        low, high = (torch.quantile(z, q, dim=0) for q in MIDDLE)
        inside = ((z >= low) & (z <= high)).all(1)
        return (z[inside], inside.cpu()) if inside.any() else (z, slice(None))

    def codes(run):
        z, which = shown()
        return {"codes": z, "labels": y[which], "images": x[which], "mark": code()[0]}

    @torch.no_grad()
    def plane(run):
        grid = code_grid(shown()[0], GRID, room=0.0 if zoom.value else 0.03)
        (left, upper), (right, lower) = grid[0].tolist(), grid[-1].tolist()
        title = f"Decoded: {left:.2g}…{right:.2g} across, {lower:.2g}…{upper:.2g} up"
        return {"rows": [("", model.decode(grid))], "title": title.replace("-", "−")}

    @torch.no_grad()
    def rebuilt(run):
        return {"rows": [("in", one_each), ("out", model.reconstruct(one_each))]}

    @torch.no_grad()
    def chosen(run):
        z = code()
        near = torch.cdist(z, model.encode(x)).argmin()
        at = ", ".join(f"{value:.1f}" for value in z[0].tolist()).replace("-", "−")
        return {"rows": [("", torch.cat([model.decode(z), x[near:near + 1]]))],
                "title": f"Code ({at}) decoded, and the image with the nearest code"}

    latent_map = LatentMap(codes, classes=data.classes, size=(430, 340), prior=False, axis="code",
                           title="Where the encoder puts {points} images")
    rows = [{"curves": Curves(curves, title="Squared error: below PCA's with as many numbers?", unit="per pixel",
                              smooth=20, size=(380, 340), every=0.4),
             "map": latent_map,
             "plane": ImageRows(plane, size=(370, 340), columns=GRID, x="code 1", y="code 2", every=0.4)},
            {"rebuilt": ImageRows(rebuilt, title="64 numbers in, 2 numbers through, 64 numbers out"
                                  if data.shape == (1, 8, 8) else "Through two numbers, and back", size=(700, 170),
                                  every=0.4),
             "chosen": ImageRows(chosen, size=(480, 170), columns=2)}]
    thumbnails.observe(lambda change: setattr(latent_map, "thumbnails", change["new"]), "value")
    panel = Panel(run, rows, ["lr", "noise"], view=[*picked, zoom, thumbnails], steps=steps, stop=True, pace=pace,
                  name=name)
    panel.picked, panel.zoom = picked, zoom
    return panel


class CurveWidget(Dragged):
    """What :func:`drag_code` returns; a notebook cell that ends with it shows it."""

    def __init__(self, model, pca: PCA, x: Tensor, place: float):
        self.picture = CurvePicture(model, pca, x)
        self.picture.update(place)
        self._place = place
        super().__init__()

    def build(self):
        self.place = widgets.FloatSlider(self._place, min=0, max=100, step=0.5,
                                         description="from left (0) to right (100)",
                                         readout_format=".0f", style={"description_width": "190px"},
                                         layout={"width": "620px"}, tooltip="Through the codes of the data, from the "
                                         "leftmost end to the rightmost, for both models")
        self.image = image_of(self.picture.fig)
        self.widget = widgets.VBox([self.place, self.image])
        self.follow(self.place)

    def paint(self):
        self._place = self.place.value
        self.picture.update(self._place)
        self.image.value = png(self.picture.fig, 1.5)

    def show_still(self):
        show(self.picture.fig, self.alt())

    def alt(self) -> str:
        """What the picture shows."""
        return (f"Points along a horseshoe, twice. Left, PCA with one number: decoded codes lie on a straight line. "
                f"Right, a deep autoencoder with one number: they lie on a curve that follows the horseshoe. The code "
                f"with {self._place:.0f}% of all codes on its left is marked on both, with the points whose codes are "
                "near it.")


def drag_code(model, pca: PCA, x: Tensor, place: float = 30.0) -> CurveWidget:
    """Drag a code of one number along its whole range and see what two decoders make of it.

    Without a person watching, one still picture is left, of the code at ``place``.

    Args:
        model, pca: a deep autoencoder and PCA, both with a code of one number, for points of the plane.
        x: (N, 2) the points.
        place: where the code begins, in percent of the codes of ``x`` that lie on its left.
    """
    if model.latent != 1 or pca.latent != 1 or x.ndim != 2 or x.shape[1] != 2:
        raise LabError("A code of one number for points of the plane is needed; take all three from curve_run().")
    return CurveWidget(model, pca, x, place)
