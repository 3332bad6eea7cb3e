"""The panel of lab 03: a VAE, its KL weight, its latent map and what it makes."""

from __future__ import annotations

import ipywidgets as widgets
import torch

from ..errors import LabError
from ..models.vae import kl_to_prior
from ..rng import Rng
from ..training import Run
from .controls import kl_schedules
from .panel import Panel
from .pictures import Bars, Curves, ImageRows, LatentMap, Trace

POINTS = 1000           # images on the latent map
SHOWN = 10              # images in a row
TERMS = {"reconstruction": "reconstruction", "kl": "KL"}


def vae_panel(run: Run, *, steps: int = 2000, pace: float | None = None, map: str | None = None,
              name: str = "03_vae") -> Panel:
    """The live panel of a VAE.

    Args:
        run: from :func:`dgmlab.experiments.vae.make_run`, or any run of a VAE with a ``data`` attribute.
        steps: how far ``run.wait()`` waits; without a front end, how long the run is.
        pace: the most steps a second while somebody watches; None for no limit.
        map: how the latent map begins: ``plane``, ``PCA`` or ``t-SNE``; by default the plane if there are two latent
            dimensions, else t-SNE.
        name: of the files that Save writes.
    """
    if not hasattr(run, "data"):
        raise LabError("The panel needs the run's data set; set run.data = dgmlab.data.load('digits') or the like.")
    model, data = run.model, run.data
    x, y = data.valid.x, data.valid.y
    if len(x) < POINTS:                     # the 8x8 digits have few images held out; fill up with training images
        x, y = torch.cat([x, data.train.x])[:POINTS], torch.cat([y, data.train.y])[:POINTS]
    x, y = x[:POINTS].to(run.device), y[:POINTS]
    one_each = torch.stack([x[y == k][0] for k in y.unique()[:SHOWN]])
    # The same random numbers at every refresh, so that only the model moves the pictures.
    new, noise = (Rng(0).normal((n, model.latent)).to(run.device) for n in (6 * SHOWN, len(x)))
    knob = run.knobs.traits()["beta"]

    def recent(run, name):
        return run.history.column(name)[-window.value:] if run.step else []

    def curves(run):
        moves = [(event["step"], f"{knob.symbol} = {event['value']:g}" if "value" in event else "schedule")
                 for event in run.knobs.log if event["knob"] == "beta"]
        return {"steps": run.history.steps[-window.value:], "events": moves, "window": bool(window.value),
                "values": {label: recent(run, name) for name, label in TERMS.items()}}

    def trace(run):
        return {"steps": run.history.steps[-window.value:], "values": recent(run, "beta"), "window": bool(window.value)}

    @torch.no_grad()
    def codes(run):
        mu, logvar = model.encode(x)
        return {"codes": mu + (0.5 * logvar).exp() * noise if draws.value else mu, "labels": y, "images": x}

    @torch.no_grad()
    def made(run):
        return {"rows": [("input", one_each), ("rebuilt", model.reconstruct(one_each)), ("new", model.decode(new))]}

    @torch.no_grad()
    def kl_per_dimension(run):
        return {"values": kl_to_prior(*model.encode(x)).mean(0)}

    latent_map = LatentMap(codes, classes=data.classes, size=(460, 380),
                           mode=map or ("plane" if model.latent == 2 else "t-SNE"))
    rows = [{"curves": Curves(curves, title="Loss terms: raise β and watch them trade", unit="nats per image",
                              smooth=20, size=(400, 380), every=0.4),
             "map": latent_map,
             "made": ImageRows(made, title="Ten images, and new ones from the prior", size=(320, 380),
                               every=0.4)},
            {"kl": Bars(kl_per_dimension, size=(400, 170), every=0.4),
             "trace": Trace(trace, title="The KL weight, as it was moved (saved with the session)", knob="β",
                            size=(780, 170), every=0.4)}]

    mode = widgets.Dropdown(options=[("plane: the first two latents", "plane"),
                                     ("PCA: the widest two directions", "PCA"),
                                     ("t-SNE: neighbours stay neighbours", "t-SNE")],
                            value=latent_map.mode, description="latent map", tooltip="How the codes are laid out",
                            style={"description_width": "150px"}, layout={"width": "460px"})
    # Draws by default: means differ, however little, after the codes have long stopped to tell the decoder anything.
    draws = widgets.Checkbox(value=True, description="with the noise of q", indent=False, layout={"width": "160px"},
                             tooltip="One draw z ~ q(z|x) of each image's code, as the decoder gets it; else its mean")
    window = widgets.Dropdown(options=[("all", 0), ("last 2,000", 2000), ("last 500", 500)], value=0,
                              description="steps shown", tooltip="How much of the past the curves show",
                              style={"description_width": "initial"}, layout={"width": "200px"})
    thumbnails = widgets.Checkbox(value=False, description="show the images", indent=False, layout={"width": "150px"})
    refit = widgets.Button(description="t-SNE from scratch", tooltip="A full fit: the picture moves while it settles",
                           layout={"width": "150px"})

    def follow(_):
        latent_map.mode, latent_map.thumbnails = mode.value, thumbnails.value

    for widget in (mode, thumbnails):
        widget.observe(follow, "value")
    panel = Panel(run, rows, ["beta", "lr"], schedules={"beta": kl_schedules(steps, lambda: run.step)},
                  view=[mode, draws, thumbnails, refit, window], steps=steps, pace=pace, name=name)

    def fit(_):
        latent_map.refit()
        panel.settle("map")

    refit.on_click(fit)
    return panel
