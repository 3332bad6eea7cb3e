"""Drag q and watch the bound: lab 03's small widget on the model with one latent number.

Two sliders move q = N(m, sigma^2); the picture shows which codes explain x, what q's codes decode to, and how log p(x)
splits into ELBO and gap. Nothing trains here: every move is integrated anew in a few milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import ipywidgets as widgets

from ..experiments.inference import Bound, CurveModel, best_gaussian
from ..plots import png, show
from .dragged import Dragged, image_of
from .vae_pictures import BoundPicture

POINTS = {"near the curve": (1.4, -0.2), "nearer to one leg": (0.5, 1.2), "between the legs": (0.0, 1.2)}
LOWEST = math.log10(0.02)               # of the slider of σ, as a power of ten
STEP = (math.log10(0.5) - LOWEST) / 280     # the page rounds to whole steps, and 0.5, where it starts, is one


class BoundWidget(Dragged):
    """What :func:`drag_bound` returns; a notebook cell that ends with it shows it.

    Attributes:
        model, points: what is looked at.
        bound: the numbers of what is shown.
    """

    def __init__(self, model: CurveModel, points: Mapping[str, tuple[float, float]], mean: float, sigma: float):
        self.model, self.points = model, dict(points)
        self.picture = BoundPicture(model)
        self.bound = self.picture.update(next(iter(self.points.values())), mean, sigma)
        self._shown = mean, sigma
        super().__init__()

    def build(self):
        mean, sigma = self._shown
        self.point = widgets.ToggleButtons(options=list(self.points), tooltip="Where the observation x lies",
                                           style={"button_width": "140px"})
        self.mean = widgets.FloatSlider(mean, min=-3.5, max=3.5, step=0.01, description="mean m of q")
        self.sigma = widgets.FloatLogSlider(sigma, min=LOWEST, max=math.log10(2), step=STEP,
                                            description="width σ of q", readout_format=".2f")
        for slider in (self.mean, self.sigma):
            slider.style.description_width, slider.layout.width = "100px", "420px"
        prior = widgets.Button(description="q = prior", tooltip="Set q to the prior N(0, 1)")
        best = widgets.Button(description="best q", tooltip="The Gaussian q with the highest ELBO at this x")
        prior.on_click(lambda _: self.move(0.0, 1.0))
        best.on_click(lambda _: self.move(*best_gaussian(self.model, self.points[self.point.value])))
        self.prior, self.best = prior, best
        self.image = image_of(self.picture.fig)
        self.numbers = widgets.HTML()
        self.widget = widgets.VBox([widgets.HBox([widgets.Label("x lies"), self.point, prior, best]),
                                    widgets.HBox([self.mean, self.sigma]), self.image, self.numbers])
        self.follow(self.point, self.mean, self.sigma)

    def show_still(self):
        show(self.picture.fig, self.alt())

    def move(self, mean: float, sigma: float) -> None:
        """Set q; the sliders follow."""
        with self.together():
            self.mean.value = min(max(round(mean, 3), self.mean.min), self.mean.max)
            self.sigma.value = min(max(sigma, 10**self.sigma.min), 10**self.sigma.max)

    def paint(self):
        self._shown = self.mean.value, self.sigma.value
        self.bound = self.picture.update(self.points[self.point.value], *self._shown)
        self.image.value = png(self.picture.fig, 1.5)
        self.numbers.value = in_words(self.bound)

    def alt(self) -> str:
        """What the picture shows."""
        (mean, sigma), b = self._shown, self.bound
        return (f"Left: prior, posterior and q = N({mean:.2f}, {sigma:.2f} squared) over the code z. Middle: the "
                f"decoder's curve, the part that q decodes to, and x. Right: log p(x), {b.log_evidence:.2f} nats, is "
                f"made of the ELBO, {b.elbo:.2f}, and the gap, {b.gap:.2f}.")


def in_words(b: Bound) -> str:
    """The numbers of a bound as a line of HTML."""
    return (f"ELBO {b.elbo:.4f} = E[log p(x|z)] {b.log_likelihood:.4f} − KL(q‖prior) {b.kl_prior:.4f} "
            f"&emsp; <b>gap {b.gap:.4f}</b> = KL(q‖posterior) {b.kl_posterior:.4f} "
            f"&emsp; log p(x) {b.log_evidence:.4f} &emsp; (nats)")


def drag_bound(model: CurveModel | None = None, points: Mapping[str, tuple[float, float]] = POINTS,
               mean: float = 0.6, sigma: float = 0.5) -> BoundWidget:
    """Sliders for the mean and the width of q, and what they do to the bound.

    Without a person watching, one still picture is left, of the q that is asked for at the first of the ``points``.

    Args:
        points: the observations x to choose from, by name, each a point of the plane.
        mean, sigma: of q at the start.
    """
    return BoundWidget(model or CurveModel(), points, mean, sigma)
