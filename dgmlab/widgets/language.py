"""The panel of lab 05: a language VAE beside a plain language model, and sentences on the way from one to another."""

from __future__ import annotations

import ipywidgets as widgets
import numpy as np
import torch

from ..data.dialogues import answers as valid_answers
from ..data.dialogues import contexts
from ..errors import LabError
from ..experiments.dialogue import answers
from ..experiments.language import code, interpolate
from ..plots import DPI, png, show
from ..rng import Rng
from ..training import Run
from .controls import kl_schedules
from .dragged import Dragged
from .language_pictures import SentenceLines, answers_picture
from .panel import Panel
from .pictures import Curves, Trace

PLACES, NEW, LONGEST = 5, 5, 14         # sentences on the way, sentences from the prior, words in each at most


def language_panel(run: Run, *, first: str, last: str, steps: int = 600, pace: float | None = None,
                   knobs=("beta", "word_dropout", "free_bits", "lr"), name: str = "05_language_vae") -> Panel:
    """The live panel of a text VAE that has a language model beside it.

    Args:
        run: from ``dgmlab.experiments.language.make_run(model="both")``.
        first, last: the sentences between whose codes the decoder walks at the start; both can be typed anew.
        steps: how far ``run.wait()`` waits; without a front end, how long the run is.
        pace: the most steps a second while somebody watches; None for no limit.
        knobs: which are shown.
        name: of the files that Save writes.
    """
    if not hasattr(run, "corpus") or not hasattr(run.model, "reference"):
        raise LabError("The panel needs a text VAE with a language model beside it, and its corpus: make the run with "
                       'dgmlab.experiments.language.make_run(model="both").')
    model, corpus = run.model, run.corpus
    mean_words = corpus.train.words / len(corpus.train)
    new = Rng(0).normal((NEW, model.latent)).to(run.device)       # the same codes and draws at every refresh
    ends = {"first": first, "last": last}
    for text in ends.values():
        code(model, corpus, text, LONGEST)              # a sentence that cannot be encoded is told now
    boxes = {key: widgets.Text(value=text, description=label, continuous_update=False,
                               style={"description_width": "60px"}, layout={"width": "460px"})
             for (key, text), label in zip(ends.items(), ("from", "to"))}
    told = widgets.HTML(layout={"margin": "2px 2px 2px 64px"})

    def typed(change):
        key = next(key for key, box in boxes.items() if box is change["owner"])
        try:
            with run.lock:
                code(model, corpus, change["new"], LONGEST)
        except LabError as error:
            told.value = f"<span style='color:#b00020'>{_escaped(str(error))}</span>"
            return
        told.value = ""
        ends[key] = change["new"]
        panel.redraw()

    def hesitation(run):
        if not run.step:
            return {"steps": [], "values": {"VAE (bound)": [], "LSTM, no z": []}}
        column = run.history.column
        cost = {"VAE (bound)": column("reconstruction") + column("kl"), "LSTM, no z": column("lm")}
        # Averaged before the exponential: a batch of short sentences is not an easier one.
        return {"steps": run.history.steps, "events": moves(run),
                "values": {key: np.exp(np.minimum(_backwards(each, 40) / mean_words, 6.2))
                           for key, each in cost.items()}}

    def said(run):
        return {"steps": run.history.steps, "events": moves(run),
                "values": {"KL (nats)": run.history.column("kl") if run.step else []}}

    def moves(run):
        knob = {n: run.knobs.traits()[n] for n in ("beta", "word_dropout", "free_bits")}
        return [(event["step"], f"{knob[event['knob']].symbol or knob[event['knob']].label} = {event['value']:g}"
                 if "value" in event else "schedule") for event in run.knobs.log if event["knob"] in knob]

    def trace(run):
        return {"steps": run.history.steps, "values": run.history.column("beta") if run.step else []}

    @torch.no_grad()
    def walk(run):
        between = interpolate(model, corpus, ends["first"], ends["last"], PLACES, LONGEST)
        prior = [corpus.words(row) for row in model.write(new, LONGEST, 0, Rng(1, run.device))]
        return {"groups": [("the first sentence rebuilt … the codes between … the last one rebuilt", between),
                           ("new: z from the prior, each word drawn", prior)]}

    rows = [{"perplexity": Curves(hesitation, title="Perplexity per word (cut off at 490)",
                                  unit="perplexity", what="Perplexity per word", size=(430, 330), every=0.5),
             "kl": Curves(said, title="The KL: what z says (early peaks cut off)", unit="nats per sentence", smooth=30,
                          what="The KL", size=(330, 330), every=0.5),
             "sentences": SentenceLines(walk, title="From one sentence to another", size=(440, 330), every=0.8)},
            {"trace": Trace(trace, title="The KL weight, as it was moved", knob="β", size=(1200, 130), every=0.5)}]
    panel = Panel(run, rows, list(knobs), schedules={"beta": kl_schedules(steps, lambda: run.step)},
                  view=[], steps=steps, pace=pace, name=name)
    panel.ends = ends
    if hasattr(panel, "widget"):
        for box in boxes.values():
            box.observe(typed, "value")
        panel.boxes, panel.told = boxes, told
        panel.widget.children = (*panel.widget.children[:3],
                                 widgets.HBox([*boxes.values()], layout={"flex_flow": "row wrap"}), told,
                                 *panel.widget.children[3:])
    return panel


class Conversation(Dragged):
    """What :func:`ask` returns; a notebook cell that ends with it shows it.

    Attributes:
        runs: the models by name.
        shown: what they answered last, by name.
    """

    def __init__(self, runs: dict, context: str, n: int, seed: int):
        if not runs:
            raise LabError("There is nobody to ask; give at least one trained run by name.")
        self.runs, self.n, self.seed = dict(runs), n, seed
        self.dialogues = next(iter(self.runs.values())).dialogues
        self._answer(context, greedy=False)
        super().__init__()

    def _answer(self, context: str, greedy: bool):
        self.shown = {name: answers(run, context, self.n, self.seed, greedy) for name, run in self.runs.items()}
        known = (self.dialogues.train.acts >= 0).all() and context in contexts()
        self.context = context
        self.figure = answers_picture(self.shown, valid_answers(context) if known else None, context)

    def build(self):
        text = self.dialogues
        held_out = sorted({text.words(row) for row in text.test.contexts})
        self.choice = widgets.Combobox(value=self.context, options=held_out, continuous_update=False, description="say",
                                       tooltip="One of the held-out contexts, or anything in their words",
                                       style={"description_width": "40px"}, layout={"width": "460px"})
        self.again = widgets.Button(description="draw again", icon="refresh", layout={"width": "120px"})
        self.greedy = widgets.Checkbox(value=False, indent=False, description="draw z only, no words",
                                       layout={"width": "200px"})
        self.told = widgets.HTML()
        self.image = widgets.Image(format="png", layout={"width": f"{self.figure.get_figwidth() * DPI:.0f}px"})
        self.widget = widgets.VBox([widgets.HBox([self.choice, self.again, self.greedy]), self.told, self.image])
        self.again.on_click(lambda _: self._again())
        self.follow(self.choice, self.greedy)

    def _again(self):
        self.seed += 1
        self.draw()

    def paint(self):
        try:
            self._answer(self.choice.value, self.greedy.value)
        except LabError as error:
            self.told.value = f"<span style='color:#b00020'>{_escaped(str(error))}</span>"
            return
        self.told.value = ""
        self.image.value = png(self.figure, 1.5)

    def alt(self) -> str:
        """What the picture shows."""
        said = "; ".join(f"{name}: {', '.join(given)}" for name, given in self.shown.items())
        return f"Answers to “{self.context}”. {said}."

    def show_still(self):
        show(self.figure, self.alt())


def ask(runs: dict[str, Run], context: str, n: int = 10, seed: int = 0) -> Conversation:
    """Say something, and see ``n`` answers of each model, with the act behind each that is valid.

    Args:
        runs: by name, from :func:`dgmlab.experiments.dialogue.make_run`, of the same corpus.
        context: what is said first.
    """
    return Conversation(runs, context, n, seed)


def _backwards(values, window: int):
    """At each step the mean of the last ``window`` values."""
    sums = np.r_[0, np.cumsum(values)]
    end = np.arange(1, len(sums))
    start = np.maximum(0, end - window)
    return (sums[end] - sums[start]) / (end - start)


def _escaped(text: str) -> str:
    import html

    return html.escape(text)
