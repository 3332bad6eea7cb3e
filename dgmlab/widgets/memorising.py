"""The workbench of lab 00: how many images, how many parameters; copies, or something new?"""

from __future__ import annotations

import torch

from ..experiments.memorising import COUNTS, SAMPLES, WIDTHS, make_run, numbers_in
from ..metrics.memorising import neighbours
from ..models.vae import VAE
from ..rng import Rng
from ..training import Run
from .panel import Panel
from .pictures import Curves, ImageRows, Strips
from .workbench import Workbench

SHOWN = 9               # new images in a row
SIDE = 11               # decoded codes along each side of the latent plane
WORDS = {0.5: "mostly copies", 0.8: "close to copies", 1.4: "not copies"}      # below which ratio of distances


def memorising_bench(images: int = 5, width: int = 256, *, steps: int = 2000, seed: int = 0,
                     name: str = "00_start_here") -> Workbench:
    """A small VAE on some of the digits: choose how many images it gets and how wide it is, and watch it train.

    Args:
        images, width: chosen at the start; see :func:`dgmlab.experiments.memorising.make_run`.
        steps: where Start pauses by itself; without a front end, how long the run is.
        name: of the files that Save writes.
    """
    choices = {"images": ("training images N", [(f"{n:,}", n) for n in COUNTS]),
               "width": ("width of the network", [(f"{w:,}", w) for w in WIDTHS])}

    def build(images, width):
        return memorising_panel(make_run(images, width, seed), steps=steps, name=name)

    return Workbench(choices, {"images": images, "width": width}, build, about)


def about(panel: Panel) -> str:
    """P and N * D of a panel's run, and which is larger, as HTML."""
    parameters, numbers = panel.run.parameters, numbers_in(panel.run.images)
    n = len(panel.run.images)
    sign, words = (("&lt;", "fewer parameters than numbers") if parameters < numbers else
                   ("&gt;", "more parameters than numbers") if parameters > numbers else ("=", "as many of each"))
    return (f"<b>P = {parameters:,}</b> parameters &nbsp;{sign}&nbsp; "
            f"<b>N·D = {n:,} × {numbers // n} = {numbers:,}</b> "
            f"numbers in the training images: P/(N·D) = {parameters / numbers:.3g}, {words}")


def memorising_panel(run: Run, *, steps: int = 2000, name: str = "00_start_here") -> Panel:
    """The live panel of one run of :func:`dgmlab.experiments.memorising.make_run`."""
    model: VAE = run.model
    held_out = run.data.valid.x
    # The same codes at every refresh, so that only the model moves the pictures.
    codes = Rng(1).normal((SAMPLES, model.latent))
    line = torch.distributions.Normal(0, 1).icdf((torch.arange(SIDE) + 0.5) / SIDE)      # equal shares of the prior
    plane = torch.stack(torch.meshgrid(-line, line, indexing="ij")[::-1], -1).reshape(-1, 2)

    @torch.no_grad()
    def pairs(run):
        new = model.decode(codes[:2 * SHOWN])
        closest = run.images[neighbours(new, run.images, held_out[:1]).nearest]
        return {"rows": [row for part in (slice(0, SHOWN), slice(SHOWN, 2 * SHOWN)) for row in
                         (("new image", new[part]), ("nearest in training", closest[part]))]}

    @torch.no_grad()
    def decoded(run):
        return {"rows": [("", model.decode(plane))]}

    def bounds(run):
        history = run.history
        return {"steps": history.steps, "values": {
            "training": -history.column("loss"), "held-out": history.column("held_out")} if run.step else
            {"training": [], "held-out": []}}

    @torch.no_grad()
    def distances(run):
        found = neighbours(model.decode(codes), run.images, held_out)
        return {"groups": {"new images": found.new, "held-out images": found.held_out}, "title": verdict(found.ratio)}

    rows = [{"pairs": ImageRows(pairs, title="New images, and the training image nearest to each", columns=SHOWN,
                                size=(640, 270), every=0.3),
             "plane": ImageRows(decoded, title="The plane of codes, decoded", columns=SIDE, x="code 1", y="code 2",
                                size=(340, 270), every=0.4)},
            {"bounds": Curves(bounds, title="The score of training and of held-out images",
                              unit="nats per image", what="The bound", smooth=50, size=(490, 230), every=0.4),
             "distances": Strips(distances, x="distance to the nearest training image", size=(490, 230), every=0.3)}]
    return Panel(run, rows, ["lr"], steps=steps, stop=True, name=name)


def verdict(ratio: float) -> str:
    """The ratio of the median distances in words."""
    words = next((words for end, words in WORDS.items() if ratio < end), "like no digit")
    return f"New images at {ratio:.2f} of the distance of held-out ones: {words}"
