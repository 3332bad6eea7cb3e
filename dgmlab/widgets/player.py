"""A saved session, played: in the panel that it was made in, with knobs that move by themselves."""

from __future__ import annotations

import importlib
from pathlib import Path

from ..errors import LabError
from ..experiments import build_handed_in
from ..training import Run
from ..training.live import is_live
from ..training.session import compare, load_session, prepare
from .gans import COLOURS
from .language import LONGEST
from .panel import SPEEDS, Panel

SHORT = 60              # seconds that playing should not take longer than
# The panel of each experiment: the module here, the function, and the knobs that it shows unless it is told others.
PANELS = {"annealing": ("annealing", "text_panel", ("beta", "word_dropout")),
          "autoencoders": ("autoencoders", "autoencoder_panel", None),
          "gans": ("gans", "gan_panel", ("loss", "turn", "eps", "d_steps", "lr_g", "lr_d")),
          "generators": ("generators", "generator_panel", None),
          "language": ("language", "language_panel", ("beta", "word_dropout", "free_bits", "lr")),
          "memorising": ("memorising", "memorising_panel", None),
          "translation": ("translation", "translation_panel", None),
          "vae": ("vae", "vae_panel", None)}


def playback(path: str | Path) -> Panel:
    """The panel of a saved session, at step 0: Start plays it to its end, where it pauses and says whether the numbers
    are those of the file.

    Whoever moves a knob takes over: what the session would have moved from there on is dropped. Reset goes back to the
    session's beginning. Without a person watching, the session is played to its end at once, and a still picture is
    left.

    Args:
        path: the file that Save wrote.

    Raises:
        LabError: it is no session, or one without a step; its experiment has no panel, or is not known here.
    """
    session = load_session(path)
    if not session["steps"]:
        raise LabError(f"{path} was saved at step 0, so there is nothing to play.")
    run = build_handed_in(session)
    experiment = run.spec["experiment"]
    if experiment not in PANELS:
        raise LabError(f"The experiment {experiment} has no panel to play its session in (those with one are: "
                       f"{', '.join(PANELS)}); `dgmlab replay` makes its steps again without.")
    prepare(run, session)
    spec, run.spec = run.spec, None         # what has no name is not kept: a played session needs no recovery
    panel = _panel(run, experiment, session)
    run.spec = spec
    _Player(panel, session)
    return panel


def _panel(run: Run, experiment: str, session: dict) -> Panel:
    module, function, knobs = PANELS[experiment]
    options: dict = {"steps": session["steps"], "name": f"played_{experiment}"}
    moved = [event["knob"] for event in session["knobs"]["log"]]
    if knobs is not None:
        options["knobs"] = tuple(dict.fromkeys([*knobs, *moved]))
    if experiment == "gans":
        used = [event.get("value") for event in session["knobs"]["log"] if event["knob"] == "loss"]
        options["losses"] = tuple(dict.fromkeys([*COLOURS, run.knobs.loss, *used]))
    elif experiment == "language":
        held_out = map(run.corpus.words, run.corpus.valid.tokens)
        some = [text for text in held_out if len(text.split()) <= LONGEST]
        options |= {"first": some[0], "last": some[1]}
    elif experiment == "translation" and run.data.name != "fonts":
        function = "photograph_panel"
    return getattr(importlib.import_module(f".{module}", __package__), function)(run, **options)


class _Player:
    """What makes a panel play: a pace to watch it at, an end, and a hand that takes over."""

    def __init__(self, panel: Panel, session: dict):
        self.panel, self.session, self.taken = panel, session, False
        run, steps = panel.run, session["steps"]
        run.live.stint = steps
        run.live.watchers.append(self._watch)
        if is_live():
            for control in panel.controls:
                control.touched = self._take_over
            panel.buttons["reset"].on_click(lambda _: self._begin())
            panel.speed.value = next((speed for _, speed in reversed(SPEEDS) if speed and steps / speed <= SHORT), 0.0)
            self._begin()

    def _begin(self):
        self.taken = False
        moves = len(self.session["knobs"]["log"])
        self.panel._say(f"a saved session of {self.session['steps']:,} steps with {moves} "
                        f"move{'s' * (moves != 1)}: Start plays it")

    def _take_over(self):
        run = self.panel.run
        run.live.touch()
        if not self.taken and run.step < self.session["steps"]:
            self.taken = True
            run.knobs.forget_plans()
            self.panel._say(f"taken over at step {run.step:,}")

    def _watch(self, run: Run):
        if run.step == self.session["steps"] and not self.taken:
            self.panel._said = compare(run, self.session).verdict
