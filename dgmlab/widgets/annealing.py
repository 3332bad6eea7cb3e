"""The panels of lab 04: one text VAE, several of them at the same step, a schedule to be dragged, and one to be beaten.
"""

from __future__ import annotations

import datetime
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import torch

from ..data.sequences import FLOOR
from ..errors import LabError, check_number
from ..experiments.annealing import alone, given_history, measure
from ..plots import png, show
from ..rng import Rng
from ..schedules import SHAPES, Schedule
from ..training import Run
from ..training.live import Live, is_live
from ..training.session import save_session
from .annealing_pictures import schedule_picture
from .controls import kl_schedules
from .dragged import Dragged, image_of
from .panel import Panel
from .pictures import Curves, Trace
from .pictures.ellipses import Ellipses, Places

HEADROOM = 2.5          # nats above the best without z at which a curve is cut off: the first steps pay 20
HIGHEST = 6             # nats of KL that the panel of the hand shows
LAST = 10               # the last tenth of a schedule by hand must be at beta = 1


# -- one run ---------------------------------------------------------------------------------------------------------


def text_panel(run: Run, *, knobs: Sequence[str] = ("beta", "word_dropout"), steps: int = 1500,
               pace: float | None = None, schedule: ScheduleWidget | None = None, name: str = "04_text") -> Panel:
    """The live panel of a text VAE on ten sequences.

    Args:
        run: from :func:`dgmlab.experiments.annealing.make_run`.
        knobs: which have a slider, such as ``free_bits``, ``free_bits_kind``, ``encoder_steps``, ``lr``.
        steps: how far ``run.wait()`` waits; without a front end, how long the run is.
        pace: the most steps a second while somebody watches.
        schedule: what :func:`drag_schedule` returned: it is then offered in the menu beside beta.
    """
    _check_run(run)
    offered = kl_schedules(steps, lambda: run.step)
    if schedule is not None:
        offered["as drawn above"] = lambda: Schedule(**schedule.schedule.to_dict() | {"begin": run.step})

    def curves(run):
        top = float(given_history(run.x, run.knobs.word_dropout).sum()) + HEADROOM
        moves = [(event["step"], f"{symbol} = {event['value']:g}" if "value" in event else "schedule")
                 for event in run.knobs.log if (symbol := SYMBOLS.get(event["knob"]))]
        return {"steps": run.history.steps, "values": terms(run, top), "events": moves}

    def costs(run):
        hidden = run.knobs.word_dropout
        return {"costs": costs_now(run), "alone": alone(run.x), "history": given_history(run.x, hidden),
                "title": f"What each place costs with {hidden:.0%} of the words hidden"}

    trace = Trace(lambda run: {"steps": run.history.steps, "values": _column(run, "beta")}, knob="β",
                  title="The KL weight, as it was moved", size=(370, 170), every=0.4)
    return Panel(run, [{"curves": Curves(curves, title="−ELBO cannot fall below ln 10; how is it split?", smooth=20,
                                         unit="nats per sequence", size=(520, 310), every=0.3),
                        "map": Ellipses(posteriors, title="Which z mean which of the ten sequences?", size=(370, 310))},
                       {"places": Places(costs, size=(520, 170), every=0.5), "trace": trace}],
                 list(knobs), schedules={"beta": offered}, steps=steps, pace=pace, name=name)


SYMBOLS = {"beta": "β", "word_dropout": "dropout", "lr": "rate", "free_bits": "λ", "encoder_steps": "extra"}


def terms(run, top: float) -> dict[str, np.ndarray]:
    """The curves of figure 4 but beta, cut off at ``top`` nats."""
    if not run.step:
        return {name: np.empty(0) for name in ("−ELBO", "reconstr.", "KL", "ln 10")}
    cost, kl = _column(run, "reconstruction"), _column(run, "kl")
    values = {"−ELBO": cost + kl, "reconstr.": cost, "KL": kl}
    return {name: np.minimum(v, top) for name, v in values.items()} | {"ln 10": np.full(len(kl), FLOOR)}


@torch.no_grad()
def posteriors(run) -> dict:
    """mu and sigma of q for the run's ten sequences."""
    mu, logvar = run.model.encode(run.x.to(run.device))
    return {"mu": mu, "sigma": (0.5 * logvar).exp()}


@torch.no_grad()
def costs_now(run, samples: int = 12) -> np.ndarray:
    """What each place costs with z ~ q and words hidden as in training, (T,) nats; the same noise at every call."""
    rng = Rng(0, run.device)
    x = run.x.to(run.device).repeat(samples, 1)
    z = run.model.posterior_sample(*run.model.encode(x), rng)
    hide = rng.uniform(x.shape) < run.knobs.word_dropout
    return -run.model.logits(x, z, hide).log_softmax(-1).gather(-1, x[..., None])[..., 0].mean(0).cpu().numpy()


def _column(run, name):
    return run.history.column(name) if run.step else np.empty(0)


def _check_run(run) -> None:
    if not hasattr(run, "x"):
        raise LabError("The panel needs the run's sequences as run.x; make it with "
                       "dgmlab.experiments.annealing.make_run().")


# -- several runs at the same step -----------------------------------------------------------------------------------


class Together:
    """Several runs that are trained in turn, a step each, so that they are always at the same step.

    It offers of a :class:`~dgmlab.training.Run` what a panel needs.

    Args:
        runs: by name.
        keep: steps at which the posteriors of each are kept.

    Attributes:
        seen: by name and step, what was kept: mu and sigma, (10, L) each.
    """

    spec = folder = None

    def __init__(self, runs: Mapping[str, Run], keep: Sequence[int] = ()):
        if not runs:
            raise LabError("There is no run to be trained; give at least one, as {name: run}.")
        self.runs = dict(runs)
        self.seed = next(iter(self.runs.values())).seed
        self.lock = threading.RLock()
        self.live = Live(self)
        self.keep, self.seen = set(keep), {name: {} for name in self.runs}

    @property
    def step(self) -> int:
        return min(run.step for run in self.runs.values())

    def steps(self, number: int) -> Iterator[int]:
        """Train each for ``number`` steps; yields the step that all have reached."""
        check_number("The number of steps", number, 0, whole=True)
        goal = self.step + number
        while self.step < goal:
            with self.lock:
                now = self.step
                for run in self.runs.values():          # one that was interrupted in between catches up
                    if run.step == now:
                        run.advance()
                if self.step in self.keep:
                    for name, run in self.runs.items():
                        self.seen[name][self.step] = tuple(each.cpu() for each in posteriors(run).values())
            yield self.step

    def reset(self) -> None:
        """All back to step 0, with the schedules that they had."""
        for name, run in self.runs.items():
            run.reset()
            self.seen[name].clear()

    def start(self, steps: int | None = None) -> None:
        self.live.start(steps)

    def pause(self, why: str = "") -> None:
        self.live.pause(why)

    def wait(self) -> None:
        self.live.wait()

    async def finish(self) -> None:
        await self.live.finish()


class TogetherPanel(Panel):
    """A panel of :class:`Together`; Save writes one session for each run."""

    def _save(self):
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        try:
            for name, run in self.run.runs.items():
                save_session(run, Path("sessions") / f"{self.name}-{name.replace(' ', '_')}-{stamp}.json")
            self._say(f"saved {len(self.run.runs)} files, sessions/{self.name}-…-{stamp}.json")
        except LabError as error:
            self._say(str(error))


def side_by_side(runs: Mapping[str, Run], *, steps: int = 1500, pace: float | None = None, keep: Sequence[int] = (),
                 name: str = "04_schedules") -> TogetherPanel:
    """Runs side by side at the same step: the posteriors of each, and all of them in each curve of figure 4. They pause
    after ``steps`` steps, when their schedules end; Start goes on.

    Args:
        runs: from :func:`dgmlab.experiments.annealing.make_run`, by name; at most four.
        keep: see :class:`Together`.
        steps, pace: see :class:`~dgmlab.widgets.panel.Panel`; the pace counts steps of each run.
    """
    for run in runs.values():
        _check_run(run)
    check_number("The number of runs", len(runs), 1, 4, whole=True)
    together = Together(runs, keep)
    width = 900 // len(runs)

    def of_each(column, top=np.inf):
        def source(run):
            values = {name: column(each) for name, each in run.runs.items()}
            shortest = min(map(len, values.values()))           # between two steps they differ by one
            return {"steps": np.arange(1, shortest + 1),
                    "values": {name: np.minimum(v[:shortest], top) for name, v in values.items()}}
        return source

    top = FLOOR + HEADROOM
    maps = {f"map {each}": Ellipses(lambda run, each=each: posteriors(run.runs[each]), title=each, size=(width, 270),
                                    every=0.3) for each in runs}
    curves = {key: Curves(of_each(column, limit), title=title, unit=unit, smooth=0 if key == "beta" else 20,
                          size=(300, 190), every=0.5, what=title)
              for key, title, unit, column, limit in (
                  ("kl", "KL", "nats", lambda run: _column(run, "kl"), np.inf),
                  ("reconstruction", f"Reconstruction (cut off at {top:.1f})", "nats",
                   lambda run: _column(run, "reconstruction"), top),
                  ("beta", "KL weight β", "", lambda run: _column(run, "beta"), np.inf))}
    return TogetherPanel(together, [maps, curves], [], steps=steps, stop=True, pace=pace, name=name)


# -- a schedule to be dragged ----------------------------------------------------------------------------------------


class ScheduleWidget(Dragged):
    """What :func:`drag_schedule` returns. ``schedule`` is what the sliders say."""

    def __init__(self, steps: int, cycles: int, ramp: float, shape: str, start: float, stop: float):
        self.schedule = Schedule(steps, start, stop, cycles, ramp, 0.0, shape)
        super().__init__()

    def build(self):
        s = self.schedule
        style, layout = {"description_width": "110px"}, {"width": "330px"}
        self.cycles = widgets.IntSlider(s.cycles, min=1, max=8, description="cycles M", style=style, layout=layout)
        self.ramp = widgets.FloatSlider(s.ramp, min=0, max=1, step=0.05, description="ramp R", style=style,
                                        layout=layout)
        self.range = widgets.FloatRangeSlider(value=(s.start, s.stop), min=0, max=2, step=0.05, style=style,
                                              description="start, stop", layout=layout)
        self.shape = widgets.ToggleButtons(options=list(SHAPES), value=s.shape, description="shape",
                                           style={"button_width": "80px", "description_width": "70px"})
        self.image = image_of((720, 200))
        self.widget = widgets.VBox([widgets.HBox([self.cycles, self.ramp]), widgets.HBox([self.range, self.shape]),
                                    self.image])
        self.follow(self.cycles, self.ramp, self.range, self.shape)

    def paint(self):
        start, stop = self.range.value
        self.schedule = Schedule(self.schedule.steps, start, stop, self.cycles.value, self.ramp.value, 0.0,
                                 self.shape.value)
        self.image.value = png(self._picture(), 1.5)

    def _picture(self):
        return schedule_picture({"β": self.schedule}, self.schedule.steps, 720, 200)

    def alt(self) -> str:
        """What the picture shows."""
        return (f"The KL weight over {self.schedule.steps:,} steps: {self.schedule}, each ramp over "
                f"{self.schedule.ramp:.0%} of its cycle.")

    def show_still(self):
        show(self._picture(), self.alt())


def drag_schedule(steps: int = 1500, cycles: int = 4, ramp: float = 0.5, shape: str = "linear", start: float = 0.0,
                  stop: float = 1.0) -> ScheduleWidget:
    """Sliders for M, R, the ramp's shape and its two ends, and the schedule they make; see
    :class:`~dgmlab.schedules.Schedule` for the arguments and what is allowed."""
    return ScheduleWidget(steps, cycles, ramp, shape, start, stop)


# -- be the schedule -------------------------------------------------------------------------------------------------


def hand_panel(run: Run, rival: Run, *, moves: Sequence[tuple[float, float]] = (), pace: float = 60,
               name: str = "04_by_hand") -> Panel:
    """Anneal beta by hand and try to beat another run: the same seed and as many steps, at a pace for hands.

    In the last tenth beta is set to 1; it may be moved, but then the run does not count.

    Args:
        run: at step 0, from :func:`dgmlab.experiments.annealing.make_run` with ``schedule="by hand"``.
        rival: trained to ``run.total`` steps.
        moves: who steers if nobody watches: (share of the steps, beta) in turn.
    """
    _check_run(run)
    if rival.step < run.total or rival.seed != run.seed:
        raise LabError(f"The rival has made {rival.step:,} steps with seed {rival.seed}, but it needs {run.total:,} "
                       f"with seed {run.seed}; train it first.")
    end = [{"step": run.total - run.total // LAST, "knob": "beta", "value": 1.0}]
    by_nobody = [{"step": int(share * run.total), "knob": "beta", "value": float(beta)} for share, beta in moves]
    run.knobs.replay(end + ([] if is_live() else by_nobody))
    against, total = rival.history.column("kl"), run.total

    def both(yours, others):
        yours = np.concatenate([yours[:total], np.full(max(0, total - len(yours)), np.nan)])
        return {"steps": np.arange(1, total + 1), "values": {"you": yours, "rival": others[:total]}}

    def kl(run):
        found = both(_column(run, "kl"), against)
        return found | {"values": {name: np.minimum(v, HIGHEST) for name, v in found["values"].items()}}

    def beta(run):
        return both(_column(run, "beta"), rival.history.column("beta"))

    rows = [{"kl": Curves(kl, title=f"KL, yours against the rival's (cut off at {HIGHEST} nats)", unit="nats",
                          smooth=10, size=(520, 300), what="KL", every=0.3),
             "map": Ellipses(posteriors, title="Your q(z|x): can z tell the ten apart?", size=(400, 300), every=0.3)},
            {"beta": Curves(beta, title="Your schedule, as you draw it, and the rival's", unit="β", size=(920, 200),
                            what="KL weight", every=0.3)}]
    panel = Panel(run, rows, ["beta"], steps=total, pace=pace, name=name)

    def at_the_end(run):
        if run.step == total:
            run.pause()
            panel._said = in_words(score(run), score(rival))

    if is_live():
        run.live.watchers.append(at_the_end)
    return panel


def score(run: Run) -> dict[str, float]:
    """How well a schedule did: ``named``, of ten draws of z how many name their sequence; ``kl`` and ``nelbo`` in nats;
    ``highest``, the largest KL on the way; ``counts``: whether the run is whole, ends with a tenth at beta = 1, and has
    an -ELBO within 5 % of ln 10."""
    with run.lock:
        found, beta = measure(run), _column(run, "beta")
    tail = beta[run.total - run.total // LAST:run.total]
    fair = run.step >= run.total and len(tail) and bool((tail == 1).all())
    return {"named": 10 * found["identified"], "kl": found["kl"], "nelbo": found["nelbo"],
            "highest": float(_column(run, "kl")[:run.total].max(initial=0.0)),
            "counts": bool(fair and found["nelbo"] <= 1.05 * FLOOR)}


def in_words(yours: dict[str, float], rival: dict[str, float]) -> str:
    """Two scores as a sentence."""
    text = (f"of 10 draws of z, yours name {yours['named']:.1f}, the rival's {rival['named']:.1f}; "
            f"−ELBO {yours['nelbo']:.2f} and {rival['nelbo']:.2f}: ")
    if not yours["counts"]:
        return text + "it does not count (β = 1 in the last tenth, and −ELBO at most 2.42)"
    return text + ("you win" if yours["named"] > rival["named"] else "the rival wins")


