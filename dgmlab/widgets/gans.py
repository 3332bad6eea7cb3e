"""The widgets of lab 06: a generator against a discriminator on the line, in the plane and on images, and the smallest
zero-sum game, dragged."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import ipywidgets as widgets
import torch

from ..errors import LabError, check_choice, check_number
from ..experiments.gans import discriminator_alone
from ..experiments.generators import as_function, modes_covered, total_variation
from ..experiments.zero_sum import RULES
from ..models.gan import LOSSES, optimal_discriminator
from ..models.generator import density
from ..plots import png, show
from ..rng import Rng
from ..training import Run
from ..training.live import is_live
from .dragged import Dragged, image_of
from .gan_pictures import ZeroSumPicture
from .generators import top, view
from .panel import Panel, button
from .pictures import Curves, ImageRows
from .pictures.gans import DATA, JUDGE, MADE, Field, Game, LossPoint
from .pictures.gans import LOSSES as COLOURS

AHEAD = 150                 # steps of the button that lets the discriminator get ahead
SHOWN = 400                 # samples that are drawn and counted
PUSHED = 30                 # of them, how many have an arrow in the plane
CODES = torch.special.ndtri((torch.arange(15) + 0.5) / 15)[:, None]     # of the line's arrows, equally likely each
LOGITS = 12.0               # of the curves of the losses: sinh(12) = 81,377 to either side
SHORT = {"lr_g": "rate of G", "lr_d": "rate of D", "eps": "ε", "d_steps": "D steps", "penalty": "λ",
         "r1": "γ", "ema": "average"}       # names of knobs where there is no room
TURNS = {"alternate": "by turns", "discriminator": "D alone", "generator": "G alone"}


def gan_panel(run: Run, *, knobs: Sequence[str] = ("loss", "turn", "eps", "d_steps", "lr_g", "lr_d"),
              losses: Sequence[str] = tuple(COLOURS), steps: int = 1000, pace: float | None = None,
              moves: Sequence[tuple[float, str, object]] = (), name: str = "06_gan") -> Panel:
    """The live panel of a GAN: on the line, in the plane, or of images.

    Args:
        run: from :func:`dgmlab.experiments.gans.make_run`.
        knobs: which can be moved.
        losses: which are offered, keys of :data:`dgmlab.models.gan.LOSSES`.
        steps: after so many it pauses, until Start is pressed again; without a front end, how long the run is.
        pace: the most steps a second while somebody watches; None for no limit.
        moves: who steers if nobody watches: (share of the steps, knob, value) in turn.
        name: of the files that Save writes.
    """
    if not hasattr(run, "target") or not hasattr(run.model, "discriminator"):
        raise LabError("The panel needs a run of dgmlab.experiments.gans.make_run.")
    for loss in losses:
        check_choice("The loss", loss, LOSSES)
    if not is_live():
        run.knobs.replay([{"step": int(share * steps), "knob": knob, "value": value} for share, knob, value in moves])
    point = LossPoint(_point(run), title="Where on its loss does the generator stand?", size=(400, 390), every=0.3)
    norms = Curves(_norms, title="G's gradient from either loss, on the same state",
                   unit="norm of G's gradient", size=(390, 390), log=True, smooth=10, colours=tuple(COLOURS.values()),
                   what="Norm of the generator's gradient", every=0.4)
    verdicts = Curves(_verdicts, title="What the discriminator says on average; ½ is \"I cannot tell\"", unit="D",
                      size=(590, 170), smooth=10, colours=(DATA, MADE), what="Mean of D", every=0.4)
    costs = Curves(_costs, title="The two losses; D's is 2 ln 2 = 1.39 if it cannot tell", unit="nats", size=(590, 170),
                   smooth=10, colours=(JUDGE, MADE), what="The two losses", every=0.4)
    below = {"verdicts": verdicts, "costs": costs}
    if run.target is None:
        rows = [{"made": ImageRows(_images(run), title="Data above, samples from the same codes below",
                                   size=(390, 390), columns=8, every=0.5), "norms": norms, "point": point},
                below]
    elif run.target.dim == 1:
        verdicts.size, verdicts.title = (420, 430), "What D says on average; ½: it cannot tell"
        rows = [{"game": Game(_game(run), size=(760, 430), extent=view(run.target, 0.15), top=top(run.target, 1.5),
                              every=0.25), "verdicts": verdicts}]
    else:
        if set(losses) - set(COLOURS):                  # of the others' scores, no probability can be made
            below, costs.title, costs.unit = {"costs": costs}, "The two losses", "loss"
        rows = [{"field": Field(_field(run), size=(390, 390), extent=view(run.target, 0.15), every=0.3), "norms": norms,
                 "point": point}, below]
    panel = Panel(run, rows, list(knobs), steps=steps, stop=True, pace=pace, name=name)
    if is_live():
        for control in panel.controls:
            if isinstance(control.input, widgets.ToggleButtons):
                offered = [each for each in (losses if control.name == "loss" else control.input.options)]
                value = getattr(run.knobs, control.name)
                control.input.options = offered if value in offered else [*offered, value]
                control.input.value = value
                control.input.add_class("widget-inline-hbox")       # the buttons beside their name, as with the sliders
                control.input.style.button_width = "126px"
                control.input.layout.width = f"{165 + len(offered) * 132}px"
        _Ahead(panel)
    return panel


class _Ahead:
    """The button that lets the discriminator train alone for a while: two moves of a knob, so that a replay makes them
    as well. Pressed while the run rests, the run rests again afterwards."""

    def __init__(self, panel: Panel):
        self.run, self.until, self.rest = panel.run, 0, False
        self.button = button(f"D alone for {AHEAD} steps", "fast-forward", "Train the discriminator alone, then go on "
                              "as before, or rest if the run rested", self._pressed, width="200px")
        panel.buttons["ahead"] = self.button
        line = panel.widget.children[0]
        line.children = (*line.children, self.button)
        panel.buttons["reset"].on_click(lambda _: self._forget())
        self.run.live.watchers.append(self._watch)

    def _pressed(self):
        run, training = self.run, self.run.live.training
        with run.lock:
            if run.step >= self.until:                              # else it is still under way
                self.until = run.step + AHEAD
                discriminator_alone(run, AHEAD)
        if not training:
            self.rest = True
            run.start()

    def _watch(self, run):
        if self.rest and run.step >= self.until:
            self.rest = False
            run.knobs.turn = "alternate"            # as planned at this step; set now, it is also seen now
            run.pause("D has trained alone, Start goes on with both")

    def _forget(self):
        self.until, self.rest = 0, False


# -- what the pictures show ------------------------------------------------------------------------------------------


def game_data(run: Run, z: torch.Tensor = CODES) -> dict:
    """What :class:`~dgmlab.widgets.pictures.gans.Game` draws of a run on the line, with arrows at the codes (B, 1)."""
    model, target, z = run.model, run.target, z.to(run.device)
    grid = torch.linspace(*view(target, 0.15), 481, dtype=torch.float64)
    data = target.log_prob(grid[:, None]).exp()
    made = density(as_function(model.generator), grid)
    with torch.no_grad():
        says = model.probability(grid[:, None].float().to(run.device)).cpu()
        x = model.generator(z)
    pushed = model.pull(x, run.knobs.loss)[:, 0].cpu()
    return {"grid": grid.numpy(), "data": data.numpy(), "made": made.clamp(max=1e4).numpy(), "says": says.numpy(),
            "best": optimal_discriminator(data, made).numpy(), "z": z[:, 0].cpu().numpy(),
            "samples": x[:, 0].cpu().numpy(), "push": pushed.numpy()}


def _game(run: Run):
    def collect(run):
        wrong = total_variation(run.model.generator, run.target)
        return game_data(run) | {"title": f"{wrong:.2f} of the mass is in the wrong place (exact); samples are "
                                             "pushed the way D rises"}

    return collect


def _field(run: Run):
    model, target = run.model, run.target
    low, high = view(target, 0.15)
    line = torch.linspace(low, high, 49)
    nodes = torch.cartesian_prod(line, line).flip(1).to(run.device)                         # x1 runs fastest
    noise = Rng(0).normal((SHOWN, model.generator.latent)).to(run.device)
    real = target.sample(SHOWN, 1)

    def collect(run):
        with torch.no_grad():
            says = model.probability(nodes).reshape(49, 49)
            samples = model.generator(noise)
        pushed = model.pull(samples[:PUSHED], run.knobs.loss)
        title = "Samples against data"
        if target.modes is not None and target.sd:
            covered, near = modes_covered(samples.cpu(), target)
            title = f"{covered} of {len(target.modes)} spots, {near:.0%} good samples"
        return {"says": says, "samples": samples, "real": real, "push": pushed, "title": title}

    return collect


def _images(run: Run):
    noise = Rng(0).normal((56, run.model.generator.latent)).to(run.device)
    real = run.data.train.x[:8]

    @torch.no_grad()
    def collect(run):
        samples = run.model.generator(noise)
        return {"rows": [("data", real), ("samples", samples)]}

    return collect


def _point(run: Run):
    noise = Rng(0).normal((SHOWN, run.model.generator.latent)).to(run.device)
    real = (run.data.train.x[:SHOWN] if run.target is None else run.target.sample(SHOWN, 1)).to(run.device)

    def collect(run):
        with torch.no_grad():
            made = run.model.discriminator(run.model.generator(noise)).double()
            data = run.model.discriminator(real)
        now = run.knobs.loss
        shown = [*COLOURS, *([now] if now not in COLOURS else [])]
        slopes = {}
        for name in shown:
            logits = made.clone().requires_grad_()
            slope, = torch.autograd.grad(LOSSES[name].generator(logits), logits)
            slopes[name] = slope.sum().item()                       # the loss is a mean: so is this
        return {"logits": made, "real": data, "grid": _logits().numpy(), "slopes": slopes, "now": now,
                "curves": {name: _curve(name) for name in shown}}

    return collect


def _logits() -> torch.Tensor:
    return torch.linspace(-LOGITS, LOGITS, 1201, dtype=torch.float64).sinh()      # dense where the losses bend


@functools.cache
def _curve(name: str):
    """A loss of the generator at single logits, (1201,)."""
    return torch.stack([LOSSES[name].generator(logit[None]) for logit in _logits()]).numpy()


def _norms(run: Run) -> dict:
    columns = {"minimax": "grad_minimax", "non-saturating": "grad_nonsaturating"}
    return {"steps": run.history.steps, "events": _moves(run),
            "values": {name: run.history.column(column) if run.step else [] for name, column in columns.items()}}


def _verdicts(run: Run) -> dict:
    return {"steps": run.history.steps, "events": _moves(run),
            "values": {label: run.history.column(name) if run.step else []
                       for label, name in (("on data", "real"), ("on samples", "fake"))}}


def _costs(run: Run) -> dict:
    values = {"D's loss": run.history.column("discriminator"), "G's loss": run.history.column("generator")} \
        if run.step else {"D's loss": [], "G's loss": []}
    return {"steps": run.history.steps, "values": values, "events": _moves(run)}


def _moves(run: Run) -> list[tuple[int, str]]:
    found = []
    for event in run.knobs.log:
        if "schedule" in event and not event["step"]:   # it was made with the run: nobody has moved anything
            continue
        value = event.get("value", "schedule")
        text = f"{value:g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
        named = event["knob"] in ("turn", "loss")                   # these say what they are without a name
        found.append((event["step"], TURNS.get(text, text) if named else
                      f"{SHORT.get(event['knob'], event['knob'])} = {text}"))
    return found


# -- the smallest zero-sum game ----------------------------------------------------------------------------------------


class ZeroSumWidget(Dragged):
    """What :func:`drag_zero_sum` returns; a notebook cell that ends with it shows it.

    Attributes:
        picture: what is shown; its ``way`` and ``mean`` hold the states, (steps + 1, 2).
    """

    def __init__(self, rule: str, rate: float, penalty: float, steps: int, average: bool):
        self.picture, self.steps = ZeroSumPicture(), steps
        self._start = rule, rate, penalty, average
        self.picture.update(rule, rate, penalty, steps, average)
        super().__init__()

    def build(self):
        rule, rate, penalty, average = self._start
        self.rule = widgets.ToggleButtons(options=list(RULES), value=rule, style={"button_width": "120px"},
                                          tooltip="Do both move at once, or by turns?")
        style, layout = {"description_width": "110px"}, {"width": "380px"}
        self.rate = widgets.FloatSlider(rate, min=0.01, max=1, step=0.01, description="step size η", style=style,
                                        layout=layout)
        self.penalty = widgets.FloatSlider(penalty, min=0, max=4, step=0.05, description="penalty c", style=style,
                                           layout=layout)
        self.average = widgets.Checkbox(average, description="show the mean of all states so far", indent=False)
        self.image = image_of(self.picture.fig)
        self.widget = widgets.VBox([widgets.HBox([widgets.Label("they move"), self.rule, self.average]),
                                    widgets.HBox([self.rate, self.penalty]), self.image])
        self.follow(self.rule, self.rate, self.penalty, self.average)

    def paint(self):
        self.picture.update(self.rule.value, self.rate.value, self.penalty.value, self.steps, self.average.value)
        self.image.value = png(self.picture.fig, 1.5)

    def alt(self) -> str:
        """What the picture shows."""
        return self.picture.alt()

    def show_still(self):
        show(self.picture.fig, self.alt())


def drag_zero_sum(rule: str = "simultaneous", rate: float = 0.1, penalty: float = 0.0, steps: int = 200,
                  average: bool = False) -> ZeroSumWidget:
    """Sliders for the game V(g, d) = g d: who moves when, how far, and what a penalty on the discriminator does.

    Without a person watching, one still picture is left, of what is asked for.

    Args:
        rule, rate, penalty, steps: see :func:`dgmlab.experiments.zero_sum.play`.
        average: show the mean of all states so far as well.
    """
    check_number("The rate", rate, 0.01, 1)
    check_number("The penalty", penalty, 0, 4)
    return ZeroSumWidget(rule, rate, penalty, steps, average)
