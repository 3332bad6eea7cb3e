"""Lab 08's live panels: letters that turn into another font, and photographs that take on another's colours."""

from __future__ import annotations

import math

import torch

from ..errors import LabError
from ..experiments.translation import colour_shift, measure, reader
from ..plots import show_png
from ..training import Run
from ..training.live import is_live
from .panel import Panel
from .pictures import Curves
from .pictures.translations import HeadedRows, RoundTrips

SEEN, NEW = 9, 5            # letters shown: with a new jitter, and of characters that training has never seen
COUNTED = 100               # held-out letters of each kind that are read at a refresh


def translation_panel(run: Run, *, steps: int = 400, pace: float | None = None, name: str = "08_cyclegan") -> Panel:
    """The live panel of a CycleGAN between fonts: letters there and back, read by a classifier.

    Args:
        run: from :func:`dgmlab.experiments.translation.make_run` with fonts, trained both ways.
        steps: after so many it pauses, until Start is pressed again; without a front end, how long the run is.
        pace: the most steps a second while somebody watches; None for no limit.
        name: of the files that Save writes.
    """
    data = getattr(run, "data", None)
    if getattr(data, "name", "") != "fonts" or run.model.one_way:
        raise LabError("The panel needs a run of dgmlab.experiments.translation.make_run between two fonts, with "
                       "one_way=False; photographs have a panel of their own, photograph_panel.")
    judge, model, letters = reader(data), run.model, _letters(run)
    counted = {name: type(pairs)(pairs.x[:COUNTED], pairs.y[:COUNTED], pairs.label[:COUNTED])
               for name, pairs in (("new jitters", data.pairs["valid"]),
                                   ("new characters", data.pairs.get("new characters"))) if pairs is not None}
    copied = float((data.pairs["valid"].x - data.pairs["valid"].y).abs().mean())
    points: dict[int, dict[str, float]] = {}            # of the curve of what is read, at the steps that were shown

    def distances(run):
        values = {name: run.history.column(column) if run.step else []
                  for name, column in (("to truth", "to_truth"), ("round trip", "round_trip"))}
        return {"steps": run.history.steps, "values": values | {"x itself": [copied] * run.step},
                "events": _moves(run)}

    def count(run):
        _note(points, run.step, {name: 100 * measure(model, pairs, judge)["read right"]
                                 for name, pairs in counted.items()})

    def right(run):
        count(run)
        return _points(points, run)

    _still(run, count)
    rows = [{"letters": RoundTrips(letters, size=(740, 303), columns=len(_choice(data)), caption="G(x) reads",
                                   every=0.3),
             "distances": Curves(distances, title="How far from the truth? (held-out letters)",
                                 unit="L1, share of full scale", size=(420, 303), smooth=20, what="L1 distances",
                                 every=0.4)},
            {"right": Curves(right, title="Of 100 held-out letters of either kind, read as the right character",
                             unit="% read right", size=(580, 200), what="Share read right", extent=(0, 104), every=0.8),
             "losses": _losses(run, (580, 200))}]
    return Panel(run, rows, ["cycle", "identity", "adversarial", "lr"], steps=steps, stop=True, pace=pace, name=name)


def photograph_panel(run: Run, *, steps: int = 300, pace: float | None = None, name: str = "08_photographs") -> Panel:
    """The live panel of a CycleGAN between two photographs, of which it is trained on patches: the whole photographs
    there and back, and how far their colours move.

    Args:
        run: from :func:`dgmlab.experiments.translation.make_run` with photographs, trained both ways.
        steps, pace, name: see :func:`translation_panel`.
    """
    data = getattr(run, "data", None)
    if not getattr(data, "whole", ()) or run.model.one_way:
        raise LabError("The panel needs a run of dgmlab.experiments.translation.make_run('photographs') with "
                       "one_way=False; fonts have a panel of their own, translation_panel.")
    model, (x, y) = run.model, (photo.to(run.device) for photo in data.whole)
    patches_x, patches_y = data.test_x[:100].to(run.device), data.test_y[:100].to(run.device)
    points: dict[int, dict[str, float]] = {}

    @torch.no_grad()
    def photos(run):
        there, back = model.translate(x), model.translate_back(y)
        return {"rows": [(data.sides[0], torch.cat([x, there, model.translate_back(there)])),
                         (data.sides[1], torch.cat([y, back, model.translate(back)]))],
                "heads": ["photograph", "translated", "and back"]}

    @torch.no_grad()
    def count(run):
        made = model.translate(patches_x)
        _note(points, run.step, {"x to G(x)": colour_shift(patches_x, made),
                                 "y to G(y)": colour_shift(patches_y, model.translate(patches_y))})

    def colours(run):
        count(run)
        return _points(points, run)

    _still(run, count)
    # A photograph of 212 pixels is 212 wide here: twice its pixels in a still picture, which is sharp and stays small.
    rows = [{"photos": HeadedRows(photos, title="Both photographs, there and back", size=(730, 338), columns=3,
                                  every=0.5),
             "colours": Curves(colours, title="How far do mean colours move? (held-out patches)",
                               unit="distance in RGB", size=(430, 338), what="Distances between mean colours",
                               every=0.8)},
            {"losses": _losses(run, (1160, 190))}]
    return Panel(run, rows, ["cycle", "identity", "adversarial", "lr"], steps=steps, stop=True, pace=pace, name=name)


def show_letters(run: Run, title: str = "") -> None:
    """Put a still strip into the page: letters, their translations by the run, the truth, and the way back if there is
    one; below, what the classifier reads.

    Args:
        title: what the picture says first; how many are read wrong is added.
    """
    picture = RoundTrips(_letters(run, title), size=(900, 286 if run.model.one_way else 356),
                         columns=len(_choice(run.data)), caption="G(x) reads")
    data = picture.collect(run)
    show_png(picture.render(data, "png"), picture.size[0], picture.alt(data))


def _letters(run: Run, title: str = "x → G(x) → F(G(x))"):
    """What a strip of letters shows of the run."""
    data, judge, shown = run.data, reader(run.data), _choice(run.data)
    unseen = set(data.pairs["new characters"].label.tolist()) if "new characters" in data.pairs else set()
    x = shown.x.to(run.device)

    @torch.no_grad()
    def collect(run):
        there = run.model.translate(x)
        rows = [("x", x.cpu()), ("G(x)", there.cpu()), ("truth", shown.y)]
        if not run.model.one_way:
            rows.append(("F(G(x))", run.model.translate_back(there).cpu()))
        own = shown.label.tolist()
        read = [(data.classes[k], k == it) for k, it in zip(judge.classify(there.cpu()).tolist(), own, strict=True)]
        wrong = sum(not right for _, right in read)
        return {"rows": rows, "read": read, "heads": ["*" if it in unseen else "" for it in own],
                "title": f"{title}: {wrong} of {len(read)} read as another character" +
                ("; * = character not in training" if unseen else "")}

    return collect


def _note(points: dict, step: int, values: dict[str, float]) -> None:
    """Add what was measured at a step, and forget what belongs to later ones: the run may have gone back."""
    for later in [each for each in points if each > step]:
        del points[later]
    points[step] = values


def _points(points: dict, run: Run) -> dict:
    steps = sorted(points)
    return {"steps": steps, "values": {name: [points[step][name] for step in steps] for name in points[steps[-1]]},
            "events": _moves(run)}


def _still(run: Run, count) -> None:
    """Without a person watching nothing is refreshed: measure now and then all the same, for the still picture."""
    if not is_live():
        run.live.watchers.append(lambda run: run.step % 20 == 0 and count(run))


def _choice(data):
    """The letters that are shown: held out by their jitter, then by their character; each character once."""
    parts = []
    for name, many in (("valid", SEEN), ("new characters", NEW)):
        pairs = data.pairs.get(name)
        if pairs is not None:
            first = [int((pairs.label == k).nonzero()[0]) for k in pairs.label.unique().tolist()]
            places = torch.linspace(0, len(first) - 1, min(many, len(first))).round().long()
            parts.append([part[torch.tensor(first)[places]] for part in (pairs.x, pairs.y, pairs.label)])
    return type(pairs or data.pairs["valid"])(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _losses(run: Run, size) -> Curves:
    names = {"adversarial": "adversarial", "discriminators": "critics", "cycle": "cycle", "identity": "identity"}

    def losses(run):
        there = {name: run.history.column(name) for name in names if name in set(run.history.names)}
        off = {names[name]: "off at λ = 0" if name == "cycle" else "off at 0"
               for name, column in there.items() if len(column) and not math.isfinite(column[-1])}
        return {"steps": run.history.steps, "events": _moves(run), "ended": off,
                "values": {names[name]: column for name, column in there.items()}}

    return Curves(losses, title="The terms of the loss, unweighted: means over pixels or scores", unit="mean",
                  size=size, smooth=20, every=0.4)


def _moves(run: Run) -> list[tuple[int, str]]:
    knobs = run.knobs.traits()
    return [(event["step"], f"{knobs[event['knob']].symbol or knobs[event['knob']].label} = " +
             (f"{event['value']:g}" if isinstance(event.get("value"), int | float) else
              str(event.get("value", "schedule")))) for event in run.knobs.log]
