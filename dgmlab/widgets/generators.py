"""The widgets of lab 01: a generator dragged by hand, one that trains on its samples, and a code slid through one."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets as widgets
import numpy as np
import torch
from torch import nn

from ..errors import LabError, check_choice
from ..experiments.generators import LINE, as_function, best_generator, line_target, total_variation, turning_points
from ..models.generator import density
from ..models.sample_matching import TanhUnits
from ..plots import DPI, png, show, show_png
from ..rng import Rng
from ..training import Run
from ..training.live import is_live
from .dragged import Dragged, image_of
from .generator_pictures import CodePicture
from .panel import Panel
from .pictures import Curves, ImageRows
from .pictures.base import nice_above
from .pictures.generators import CODES, GeneratorLine, GeneratorPlane, code_lines

SAMPLES = 2000          # of the histogram


def _shape(slope: float, height: float, steepness: float, place: float) -> dict:
    return {"offset": 0.0, "slope": slope, "height": (height, 0.0), "steepness": (steepness, 2.0),
            "place": (place, 1.0)}


SHAPES = {"straight": _shape(1.0, 0.0, 2.0, 0.0), "step": _shape(0.5, 1.2, 3.0, 0.0),
          "ledge": _shape(1.4, -0.8, 1.6, 0.5), "fold": _shape(1.2, -2.2, 1.5, 0.0),
          "flat ends": _shape(0.0, 2.0, 1.0, 0.0)}
NO_TARGET = "none"


def line_data(generator, samples: np.ndarray, extent: tuple[float, float], target=None, best: bool = False) -> dict:
    """What :class:`~dgmlab.widgets.pictures.generators.GeneratorLine` draws of a generator on the line.

    Args:
        samples: (s,) for the histogram.
        target: the data's density, or None.
        best: also the rising G that would make the target exactly.
    """
    function = as_function(generator)
    z = torch.linspace(-CODES, CODES, 281, dtype=torch.float64)
    grid = torch.linspace(*extent, 601, dtype=torch.float64)
    with torch.no_grad():
        x = function(z)
    data = {"z": z, "x": x, "grid": grid, "density": density(function, grid).clamp(max=1e4), "samples": samples,
            "turns": turning_points(generator, limit=CODES)}
    if target is not None:
        data["target"] = target.log_prob(grid[:, None]).exp()
        if best:
            data["best"] = best_generator(target, z)
    return {key: value.numpy() if isinstance(value, torch.Tensor) else value for key, value in data.items()}


class HandWidget(Dragged):
    """What :func:`drag_generator` returns; a notebook cell that ends with it shows it.

    Attributes:
        generator: the :class:`~dgmlab.models.sample_matching.TanhUnits` whose weights the sliders are.
        score: total variation to the target, exact; None without one.
        best: the lowest score so far for this target.
    """

    def __init__(self, weights: Mapping, target: str | None, seed: int):
        self.generator, self.seed = TanhUnits(**weights), seed
        self.picture = GeneratorLine(size=(820, 450))
        self.picture.scale = 1.5
        self.target = target or NO_TARGET
        self._noise = Rng(seed).normal((SAMPLES, 1))
        self.score, self.best = None, 1.0
        self.data = self._collect()
        super().__init__()

    def weights(self) -> dict:
        """The weights as they are now, for ``make_run(start=...)`` or ``TanhUnits(**weights)``."""
        return self.generator.weights()

    def _collect(self) -> dict:
        goal = None if self.target == NO_TARGET else line_target(self.target)
        with torch.no_grad():
            samples = self.generator(self._noise)[:, 0].numpy()
        data = line_data(self.generator, samples, self.picture.extent, goal)
        self.score = None if goal is None else total_variation(self.generator, goal)
        if goal is not None:
            self.best = min(self.best, self.score)
        return data | {"title": "Codes go up to the curve and over to the side; where the curve is flat they pile up"}

    def build(self):
        self.sliders, self.titles, columns = {}, [], []
        limits = {"offset": (-3, 3), "slope": (-3, 3), "height": (-4, 4), "steepness": (0.2, 10), "place": (-3, 3)}
        groups = [("the line", [("offset", None), ("slope", None)])] + [
            (f"tanh unit {k + 1}", [(name, k) for name in ("height", "steepness", "place")]) for k in (0, 1)]
        start = self.weights()
        for title, members in groups:
            column = [widgets.HTML(f"<b>{title}</b>")]
            self.titles.append(column[0])
            for name, k in members:
                # The page rounds to whole steps; what it would round it would send back as if it had been dragged.
                value = round(start[name] if k is None else start[name][k], 2)
                slider = widgets.FloatSlider(min(max(value, limits[name][0]), limits[name][1]), min=limits[name][0],
                                             max=limits[name][1], step=0.01, description=name,
                                             style={"description_width": "72px"}, layout={"width": "300px"})
                self.follow(slider)
                self.sliders[name, k] = slider
                column.append(slider)
            columns.append(widgets.VBox(column))
        self.menu = widgets.Dropdown(options=[NO_TARGET, *LINE], value=self.target, description="data to imitate",
                                     style={"description_width": "initial"}, layout={"width": "260px"})
        self.menu.observe(self._aim, "value")
        shapes = []
        for name, shape in SHAPES.items():
            button = widgets.Button(description=name, tooltip=f"Set the weights to a {name}", layout={"width": "86px"})
            button.on_click(lambda _, shape=shape: self.set(**shape))
            shapes.append(button)
        again = widgets.Button(description="new samples", tooltip="Draw other codes", layout={"width": "110px"})
        again.on_click(lambda _: self._redraw_codes())
        self.image = image_of(self.picture.size)
        self.words = widgets.HTML(layout={"min_height": "28px"})
        line = {"align_items": "center", "flex_flow": "row wrap"}
        self.widget = widgets.VBox([widgets.HBox([widgets.Label("start from"), *shapes, again, self.menu], layout=line),
                                    widgets.HBox(columns, layout={"flex_flow": "row wrap"}), self.words, self.image])

    def set(self, offset: float = 0.0, slope: float = 1.0, height=(0.0, 0.0), steepness=(2.0, 2.0),
            place=(-1.0, 1.0)) -> None:
        """Set the weights; the sliders follow, and take the nearest value they have."""
        values = {"offset": offset, "slope": slope, "height": height, "steepness": steepness, "place": place}
        if not is_live():
            self.generator = TanhUnits(**values)
            self.data = self._collect()
            return
        with self.together():
            for (name, k), slider in self.sliders.items():
                value = round(values[name] if k is None else values[name][k], 2)
                slider.value = min(max(value, slider.min), slider.max)

    def _aim(self, change):
        self.target, self.best = change["new"], 1.0
        self.draw()

    def _redraw_codes(self):
        self.seed += 1
        self._noise = Rng(self.seed).normal((SAMPLES, 1))
        self.draw()

    def paint(self):
        values = {name: [s.value for (n, _), s in self.sliders.items() if n == name] for name, _ in self.sliders}
        self.generator = TanhUnits(values.pop("offset")[0], values.pop("slope")[0], **values)
        for k, (title, height) in enumerate(zip(self.titles[1:], values["height"], strict=True), 1):
            title.value = f"<b>tanh unit {k}</b>" + ("" if height else " &nbsp; height 0: switched off")
        self.data = self._collect()
        self.image.value = self.picture.render(self.data, "png")
        self.words.value = self.in_words()

    def in_words(self) -> str:
        """The score as a line of HTML."""
        if self.score is None:
            return "Choose <i>data to imitate</i> to get a score."
        return (f"<b>{self.score:.3f}</b> of the mass lies in the wrong place (total variation, exact; "
                f"0 is perfect, 1 is nothing in common) &emsp; your best so far: <b>{self.best:.3f}</b>")

    def alt(self) -> str:
        """What the picture shows."""
        return self.picture.alt(self.data)

    def show_still(self) -> None:
        """The picture of the present weights, as a PNG with alt text."""
        show_png(self.picture.render(self.data, "png", 2 * DPI), self.picture.size[0], self.alt())


def drag_generator(target: str | None = None, weights: Mapping | None = None, seed: int = 0) -> HandWidget:
    """Sliders for the eight weights of a generator on the line, and what they do to its output's density.

    Without a person watching, one still picture is left, of the weights that are asked for.

    Args:
        target: data to imitate, a key of :data:`dgmlab.experiments.generators.LINE`, or None.
        weights: to start from, those of a :class:`~dgmlab.models.sample_matching.TanhUnits`; None for a step.
        seed: fixes the codes of the histogram.
    """
    if target is not None:
        check_choice("The target", target, LINE)
    return HandWidget(SHAPES["step"] if weights is None else weights, target, seed)


# -- the live panel ------------------------------------------------------------------------------------------------


def generator_panel(run: Run, *, steps: int = 1000, pace: float | None = None, name: str = "01_generator") -> Panel:
    """The live panel of a generator that learns from its samples: on the line, in the plane, or of images.

    Args:
        run: from :func:`dgmlab.experiments.generators.make_run`.
        steps: after so many it pauses, until Start is pressed again; without a front end, how long the run is.
        pace: the most steps a second while somebody watches; None for no limit.
        name: of the files that Save writes.
    """
    if not hasattr(run, "target"):
        raise LabError("The panel needs a run of dgmlab.experiments.generators.make_run.")
    model = run.model
    if run.target is None:
        main = ImageRows(_images(run), title="Samples from the same codes at every refresh", size=(560, 270),
                         every=0.4)
    elif run.target.dim == 1:
        main = GeneratorLine(_line(run), size=(700, 385), extent=view(run.target), top=top(run.target), every=0.25)
    elif model.generator.latent <= 2:
        codes = "A grid" if model.generator.latent == 2 else "A line"
        main = GeneratorPlane(_plane(run), title=f"{codes} of codes, and what the generator makes of it",
                              size=(740, 390), latent=model.generator.latent, extent=run.target.extent, every=0.25)
    else:
        raise LabError(f"This generator has {model.generator.latent} latent dimensions, but in the plane only those "
                       "with one or two can be drawn; use latent=1 or 2.")

    def curves(run):
        knobs = run.knobs.traits()
        moves = [(event["step"], f"{knobs[event['knob']].symbol or knobs[event['knob']].label} = " +
                  (f"{event['value']:g}" if isinstance(event.get("value"), int | float) else
                   str(event.get("value", "schedule")))) for event in run.knobs.log]
        return {"steps": run.history.steps, "events": moves,
                "values": {"criterion": run.history.column("loss") if run.step else []}}

    height = main.size[1]
    loss = Curves(curves, title="The criterion; at best it is noise about 0",
                  unit="criterion", smooth=30, size=(400, height), every=0.4)
    panel = Panel(run, [{"made": main, "loss": loss}], ["criterion", "width", "lr", "batch"], steps=steps, stop=True,
                  pace=pace, name=name)
    if is_live():
        criterion, width = (control.input for control in panel.controls[:2])
        criterion.add_class("widget-inline-hbox")               # the buttons beside their name, as with the sliders
        criterion.style.button_width = "128px"

        def grey_out(_):
            width.disabled = run.knobs.criterion != "MMD"       # the energy distance has no width

        run.knobs.observe(grey_out, "criterion")
        grey_out(None)
    return panel


def _line(run: Run):
    noise = Rng(0).normal((SAMPLES, 1)).to(run.device)

    def collect(run):
        generator = run.model.generator
        with torch.no_grad():
            samples = generator(noise)[:, 0].cpu().numpy()
        wrong = total_variation(generator, run.target)
        data = line_data(generator, samples, view(run.target), run.target, best=True)
        return data | {"title": f"{wrong:.3f} of the mass in the wrong place (total variation, exact)"}

    return collect


def _plane(run: Run):
    generator = run.model.generator
    codes = torch.from_numpy(code_lines(generator.latent)).float().to(run.device)
    noise = Rng(0).normal((400, generator.latent)).to(run.device)
    real = run.target.sample(400, 1)

    @torch.no_grad()
    def collect(run):
        return {"lines": generator(codes.flatten(0, 1)).unflatten(0, codes.shape[:2]), "samples": generator(noise),
                "real": real}

    return collect


def _images(run: Run):
    noise = Rng(0).normal((30, run.model.generator.latent)).to(run.device)
    real = run.data.train.x[:10]

    @torch.no_grad()
    def collect(run):
        first, second, third = run.model.generator(noise).split(10)
        return {"rows": [("data", real), ("samples", first), ("", second), ("", third)]}

    return collect


def view(target, room: float = 0.12) -> tuple[float, float]:
    """Where a density lies, and a share of that to either side."""
    low, high = target.extent
    return low - room * (high - low), high + room * (high - low)


def top(target, room: float = 1.35) -> float:
    """A round number above ``room`` times the highest value of a density on the line."""
    grid = torch.linspace(*target.extent, 2001, dtype=torch.float64)
    return nice_above(room * target.log_prob(grid[:, None]).exp().max().item())


# -- a code through a network to an image ------------------------------------------------------------------------------


class CodeWidget(Dragged):
    """What :func:`slide_code` returns; a notebook cell that ends with it shows it.

    Attributes:
        z: the code that is shown, (L,).
        name: of the generator that is shown.
    """

    def __init__(self, generators: dict[str, nn.Module], code: torch.Tensor):
        self.generators, self.name, self.z, self.moved = generators, list(generators)[-1], code.clone(), 0
        self.picture = CodePicture()
        self._draws = Rng(1)
        self.picture.update(self.generators[self.name], self.z, self.moved)
        super().__init__()

    def build(self):
        self.which = widgets.ToggleButtons(options=list(self.generators), value=self.name, description="generator",
                                           style={"button_width": "150px", "description_width": "70px"})
        self.sliders = [widgets.FloatSlider(_on_slider(value.item()), min=-3, max=3, step=0.05, description=f"z{k + 1}",
                                            style={"description_width": "36px"}, layout={"width": "340px"})
                        for k, value in enumerate(self.z)]
        new = widgets.Button(description="new code", tooltip="Draw z from the prior", layout={"width": "110px"})
        zero = widgets.Button(description="z = 0", tooltip="The middle of the prior", layout={"width": "80px"})
        new.on_click(lambda _: self.set(self._draws.normal((len(self.z),))))
        zero.on_click(lambda _: self.set(torch.zeros(len(self.z))))
        self.image = image_of(self.picture.fig)
        self.widget = widgets.VBox([
            widgets.HBox([self.which, new, zero]),
            widgets.HBox([widgets.VBox(self.sliders), self.image], layout={"flex_flow": "row wrap"})])
        for k, slider in enumerate(self.sliders):
            slider.observe(lambda change, k=k: self._slid(k), "value")
        self.follow(self.which, *self.sliders)

    def set(self, z: torch.Tensor) -> None:
        """Show another code; the sliders follow."""
        moved = self.moved
        with self.together():
            for slider, value in zip(self.sliders, z, strict=True):
                slider.value = _on_slider(value.item())
            self.moved = moved                  # the strips stay those of the number that was dragged last

    def _slid(self, k):
        self.moved = k

    def paint(self):
        self.name = self.which.value
        self.z = torch.tensor([slider.value for slider in self.sliders])
        self.picture.update(self.generators[self.name], self.z, self.moved)
        self.image.value = png(self.picture.fig, 1.5)

    def alt(self) -> str:
        """What the picture shows."""
        return self.picture.alt()

    def show_still(self):
        show(self.picture.fig, self.alt())


def _on_slider(value: float) -> float:
    """The nearest value that a code's slider has; the page would send back any other as if it had been dragged."""
    return min(max(round(20 * value) / 20, -3.0), 3.0)


def slide_code(generators: Mapping[str, nn.Module], code=None) -> CodeWidget:
    """A slider for every number of a code, and the image that a generator makes of it.

    Without a person watching, one still picture is left.

    Args:
        generators: modules by name, all of as many latent dimensions (at most 12) and with one-channel images.
        code: (L,) to begin with; None for 0.
    """
    generators = dict(generators)
    latents = {getattr(generator, "latent", None) for generator in generators.values()}
    if not generators or len(latents) != 1 or None in latents or max(latents) > 12:
        raise LabError("The widget needs one generator or more, all with the same number of latent dimensions, at "
                       f"most 12; these have {sorted(map(str, latents))}.")
    latent = latents.pop()
    code = torch.zeros(latent) if code is None else torch.as_tensor(code).detach().cpu().float()
    if code.shape != (latent,):
        raise LabError(f"The code has the shape {tuple(code.shape)}, but these generators need ({latent},).")
    return CodeWidget(generators, code)
