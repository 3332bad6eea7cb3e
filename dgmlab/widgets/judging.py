"""The widgets of lab 07: a generator to be spoilt under nine meters, and annealing with one latent number.

Nothing trains here: every move of a slider is answered within a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets

from ..errors import check_number
from ..experiments.chains import SPACINGS, Anneal, anneal
from ..experiments.inference import CurveModel
from ..experiments.spoiling import Bench, Faults
from ..plots import png, show
from .bound import POINTS
from .dragged import Dragged, image_of
from .judging_pictures import AnnealPicture, Board, Meter

COUNTS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500)
SAMPLES = (30, 100, 300)
WORDS = ("worse than real", "as real", "better than real")
METERS = (Meter("frechet", "Fréchet distance", (400, 0.3), "log", WORDS, "all in all?"),
          Meter("kid", "KID", (400, -40), "asinh", WORDS),
          Meter("inception", "inception score", (1, 10), "linear", WORDS),
          Meter("precision", "precision", (0, 1), "linear", WORDS, "are they good?"),
          Meter("density", "density", (0, 1.5), "linear", WORDS),
          Meter("recall", "recall", (0, 1), "linear", WORDS, "are they all there?"),
          Meter("coverage", "coverage", (0, 1), "linear", WORDS),
          Meter("ratio", "nearest-neighbour ratio", (0, 2), "linear",
                ("nearer than real", "as real", "farther than real"), "are they new?"),
          Meter("copies", "share of copies", (1, 0), "linear", ("copies", "as real", "as real")))
PRESETS = {"perfect": Faults(), "copies all": Faults(memorised=1), "drops 3 classes": Faults(dropped=3),
           "noisy": Faults(noise=0.3), "blurred": Faults(blur=0.7)}


class SpoilWidget(Dragged):
    """What :func:`spoil_generator` returns; a notebook cell that ends with it shows it.

    Attributes:
        bench: the :class:`~dgmlab.experiments.spoiling.Bench` that makes and measures.
        faults, samples: what the sliders say: :class:`~dgmlab.experiments.spoiling.Faults`, and n.
        values, real: by metric, what is shown: the number, and the range of unseen real images.
    """

    def __init__(self, bench: Bench, faults: Faults, samples: int, seed: int):
        self.bench, self.faults, self.samples, self.seed = bench, faults, samples, seed
        self.picture = Board(METERS)
        self._show()
        super().__init__()

    def build(self):
        style, layout = {"description_width": "150px"}, {"width": "400px"}
        most = len(self.bench.data.classes) - 2

        def slider(kind, name, title, high, step, **more):
            return kind(getattr(self.faults, name), min=0, max=high, step=step, description=title, style=style,
                        layout=layout, **more)

        self.sliders = {
            "memorised": slider(widgets.FloatSlider, "memorised", "share memorised", 1, 0.05, readout_format=".0%"),
            "dropped": slider(widgets.IntSlider, "dropped", "classes dropped", most, 1),
            "noise": slider(widgets.FloatSlider, "noise", "noise σ", 0.6, 0.02),
            "blur": slider(widgets.FloatSlider, "blur", "blur, pixels", 1.5, 0.05)}
        self.number = widgets.SelectionSlider(options=sorted({*SAMPLES, self.samples}), value=self.samples, style=style,
                                              layout=layout, description="samples n")
        buttons = []
        for name, faults in PRESETS.items():
            buttons.append(widgets.Button(description=name, tooltip=str(faults), layout={"width": "130px"}))
            buttons[-1].on_click(lambda _, faults=faults: self.set(faults))
        again = widgets.Button(description="other samples", tooltip="Draw all samples anew", layout={"width": "130px"})
        again.on_click(lambda _: self.again())
        self.image = image_of(self.picture.fig)
        s = self.sliders
        self.widget = widgets.VBox([widgets.HBox([*buttons, again]), widgets.HBox([s["memorised"], s["noise"]]),
                                    widgets.HBox([s["dropped"], s["blur"]]), self.number, self.image])
        self.follow(*s.values(), self.number)

    def set(self, faults: Faults) -> None:
        """Set all faults; the sliders follow."""
        with self.together():
            for name, slider in self.sliders.items():
                slider.value = getattr(faults, name)

    def again(self) -> None:
        """Other samples with the same faults."""
        self.seed += 1
        self.draw()

    def paint(self):
        self.faults = Faults(**{name: slider.value for name, slider in self.sliders.items()})
        self.samples = self.number.value
        self._show()
        self.image.value = png(self.picture.fig, 1.5)

    def _show(self):
        made = self.bench.make(self.faults, self.samples, self.seed)
        self.values, self.real = self.bench.measure(made.x), self.bench.real(self.samples)
        self.picture.update(made.x, made.copies, self.values, self.real, f"{self.samples} samples: {self.faults}")

    def show_still(self):
        show(self.picture.fig, self.alt())

    def alt(self) -> str:
        """What the picture shows."""
        rows = "; ".join(f"{meter.title} {self.values[meter.key]:.3g}, {meter.word(self.values[meter.key], real)}"
                         for meter in METERS for real in [self.real[meter.key]])
        return (f"On the left {min(72, self.samples)} of {self.samples} samples ({self.faults}); on the right a row "
                f"for each metric, with the range of unseen real images as a band: {rows}.")


def spoil_generator(bench: Bench | None = None, faults: Faults | None = None, samples: int = 300,
                    seed: int = 0) -> SpoilWidget:
    """Sliders for what is wrong with a generator, and what nine metrics say.

    Without a person watching, one still picture is left, of these faults.

    Args:
        samples: n, at the start.
    """
    return SpoilWidget(bench or Bench(), faults or Faults(), samples, seed)


class AnnealWidget(Dragged):
    """What :func:`drag_annealing` returns; a notebook cell that ends with it shows it.

    Attributes:
        model, points: what is looked at.
        way: the :class:`~dgmlab.experiments.chains.Anneal` that is shown.
    """

    def __init__(self, model: CurveModel, points: Mapping[str, tuple[float, float]], number: int, at: float, seed: int):
        check_number("The place on the way", at, 0, 1)
        self.model, self.points, self.seed = model, dict(points), seed
        self.picture = AnnealPicture(model)
        self.way = self._walk(next(iter(self.points)), number, "sigmoid", seed)
        self._shown = next(iter(self.points)), self.picture.update(self.way, next(iter(self.points.values())), at)
        self._begin, self._walked = (number, at), None
        super().__init__()

    def _walk(self, point, number, spacing, seed) -> Anneal:
        return anneal(self.model, self.points[point], number, 30, spacing=spacing, seed=seed)

    def build(self):
        number, at = self._begin
        style = {"description_width": "150px"}
        self.point = widgets.ToggleButtons(options=list(self.points), tooltip="Where the observation x lies",
                                           style={"button_width": "140px"})
        self.number = widgets.SelectionSlider(options=sorted({*COUNTS, number}), value=number, style=style,
                                              description="temperatures T", layout={"width": "430px"})
        self.at = widgets.FloatSlider(at, min=0, max=1, step=0.01, description="place on the way", style=style,
                                      readout_format=".0%", layout={"width": "430px"})
        self.spacing = widgets.ToggleButtons(options=list(SPACINGS), value="sigmoid", style={"button_width": "80px"},
                                             tooltip="How the temperatures are spaced between 0 and 1")
        again = widgets.Button(description="other chains", tooltip="30 new chains: is the estimate the same?")
        again.on_click(lambda _: self.again())
        self.image = image_of(self.picture.fig)
        self.numbers = widgets.HTML()
        self.widget = widgets.VBox([
            widgets.HBox([widgets.Label("x lies"), self.point, widgets.Label("spacing"), self.spacing, again]),
            widgets.HBox([self.number, self.at]), self.image, self.numbers])
        self.follow(self.point, self.number, self.spacing, self.at)

    def again(self) -> None:
        """Other chains."""
        self.seed += 1
        self.draw()

    def paint(self):
        asked = self.point.value, self.number.value, self.spacing.value, self.seed
        if asked != self._walked:
            self.way, self._walked = self._walk(*asked), asked
        self._shown = self.point.value, self.picture.update(self.way, self.points[self.point.value], self.at.value)
        self.image.value = png(self.picture.fig, 1.5)
        self.numbers.value = in_words(self.way)

    def show_still(self):
        show(self.picture.fig, self.alt())

    def alt(self) -> str:
        """What the picture shows."""
        name, t = self._shown
        way = self.way
        return (f"Left: the decoder's curve, and x, {name}. Middle: the prior, the posterior, and the density at "
                f"step {t} of {len(way.betas) - 1}, where 30 chains lie, each as large as its weight. Right: over the "
                f"steps, the log weights and the logarithm of their mean, which ends at {way.forward:.2f} nats; "
                f"log p(x) is {way.exact[-1]:.2f}.")


def in_words(way: Anneal) -> str:
    """The numbers of a way as a line of HTML."""
    gap = way.reverse - way.forward
    crossed = "; crossed: by chance forward lies above reverse" if gap < 0 else ""
    return (f"log p(x): forward estimate <b>{way.forward:.2f}</b> (on average too low) &emsp; exact "
            f"{way.exact[-1]:.2f} &emsp; reverse estimate <b>{way.reverse:.2f}</b> (on average too high) &emsp; "
            f"reverse less forward {gap:.2f} nats{crossed}")


def drag_annealing(model: CurveModel | None = None, points: Mapping[str, tuple[float, float]] = POINTS,
                   number: int = 10, at: float = 0.5, seed: int = 0) -> AnnealWidget:
    """Sliders for the number of temperatures and the place on the way from prior to posterior.

    Without a person watching, one still picture is left, of the first of the ``points``.

    Args:
        model: with one latent number; by default lab 03's horseshoe with the noise variance 0.02.
        points: the observations x to choose from, by name, each a point of the plane.
        number, at: temperatures T and the place (0 the prior, 1 the posterior) at the start.
    """
    return AnnealWidget(model or CurveModel(0.02), points, number, at, seed)
