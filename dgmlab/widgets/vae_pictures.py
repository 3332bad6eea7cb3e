"""The still pictures of lab 03, and the one that is dragged (:class:`BoundPicture`).

The numbers in them come from :mod:`dgmlab.experiments.inference` and from the models; each function returns a figure
for :func:`dgmlab.plots.show`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments.inference import (
    Bound,
    CurveModel,
    Inference,
    bound,
    expected_log_likelihood,
    gaussian_kl,
)
from ..plots import (
    CLASSES,
    FAINT,
    INK,
    LABEL,
    LINES,
    SMALL,
    SOFT,
    TITLE,
    figure,
    image_grid,
    labelled_lines,
    scatter_classes,
    short,
    tidy,
)
from ..rng import Rng
from .sketches import arrow, block, sketch

Q, POSTERIOR, GAP, X = LINES[0], CLASSES[2], LINES[1], CLASSES[7]     # one colour a thing, through all pictures
CURVE = torch.linspace(-3, 3, 400, dtype=torch.float64)               # 99.7 % of the prior lies in it
LEG = 2.75                                                            # the ends of the curve, as far as it is drawn
LOWEST = 8.0                                                          # nats below log p(x) where the ladder ends


def model_picture() -> Figure:
    """What a VAE does with one image: encoder, q(z | x), a draw z, decoder; and its two costs."""
    fig, axes = sketch(940, 250, below=25)

    def word(x, y, text, colour=INK, size=LABEL):
        axes.text(x, y, text, fontsize=size, color=colour, ha="center", va="center")

    block(axes, 130, 20, 90, 35, 35, "image\nx", FAINT)
    block(axes, 130, 145, 245, 50, 25, "encoder", Q)
    block(axes, 130, 675, 775, 25, 50, "decoder", GAP)
    block(axes, 130, 830, 900, 35, 35, "image\nof z", FAINT)
    z, drawn = np.linspace(-3, 3, 200), 1.1
    place = 420 + 38 * z                                            # one unit of z is 38 units of the picture
    axes.plot(place, 105 + 32 * np.exp(-0.5 * z**2), color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
    axes.plot(place, 105 + 75 * np.exp(-0.5 * ((z - 0.8) / 0.42)**2), color=Q, linewidth=2.2)
    axes.plot([306, 534], [105, 105], color=SOFT, linewidth=0.8)
    axes.plot(420 + 38 * 0.8, 105, "|", color=Q, markersize=10)
    axes.plot(420 + 38 * drawn, 105, "o", color=X, markersize=7)
    word(450, 208, "q(z|x): a mean and a width", Q)
    word(343, 142, "prior N(0, I)", SOFT)
    word(605, 130, "draw z", X, TITLE)
    for start, end in ((95, 140), (250, 300), (540, 575), (635, 670), (780, 825)):
        arrow(axes, (start, 130), (end, 130))
    arrow(axes, (345, 84), (500, 84), Q, "<->")
    word(422, 66, "KL(q‖prior): what the code costs, in nats", Q)
    axes.plot([55, 55, 865, 865], [88, 20, 20, 88], color=GAP, linewidth=1.2)
    word(460, 3, "reconstruction = −log p(x|z): how badly the decoder explains x, in nats", GAP)
    return fig


def noise_picture(etas: Sequence[float] = (0.1, 0.01), off: float = 0.3) -> Figure:
    """A decoder without noise, the densities that two amounts of noise give it, and what becomes of two densities as
    the noise goes to zero: at a point on the curve, and at one ``off`` it."""
    fig = figure(1000, 285)
    bare, *noisy, limit = fig.subplots(1, len(etas) + 2)
    axis = torch.linspace(-2.6, 2.6, 105, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)                           # (105, 105, 2)
    sharpest = CurveModel(min(etas))
    bare.scatter(*sharpest.sample(300, noise=False).T, s=5, color=Q, linewidths=0)
    tidy(bare, "No noise: all on a curve", "$x_1$", "$x_2$")
    for axes, eta in zip(noisy, etas, strict=True):
        model = CurveModel(eta)
        density = model.log_evidence(plane, nodes=401).exp()
        axes.contourf(axis, axis, density, levels=np.linspace(0, 1, 9)[1:] * density.max().item() * 1.001,
                      cmap="Greens", extend="max")
        axes.scatter(*model.sample(300).T, s=5, color=Q, linewidths=0)
        tidy(axes, f"Noise η = {eta:g}: a density", "$x_1$")
    for axes in (bare, *noisy):
        axes.set(xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), box_aspect=1, xticks=[-2, 0, 2],
                 yticks=[-2, 0, 2] if axes is bare else [])
    foot = sharpest.decoder(torch.tensor(0.5, dtype=torch.float64))
    points = torch.stack([foot, foot * (1 + off / foot.norm())])
    amounts = np.logspace(0, -3.3, 40)
    heights = torch.stack([CurveModel(eta).log_evidence(points) for eta in amounts])              # (40, 2)
    limit.set(xscale="log", xlim=(1, 10**-3.3), ylim=(-30, 6), box_aspect=1)
    labelled_lines(limit, amounts, {"on the\ncurve": heights[:, 0],
                                    f"{off:g} off": torch.where(heights[:, 1] > -30, heights[:, 1], math.nan)})
    tidy(limit, "η → 0: to +∞ or −∞", "noise variance η, falling", "log p(x) in nats")
    return fig


def jensen_picture(model: CurveModel, x, qs: Sequence[tuple[float, float]], samples: int = 60) -> Figure:
    """Jensen's inequality on the weights w = p(x, z) / q(z), z ~ q, for each q = (mean, sigma) side by side.

    The weights are divided by their mean p(x). Their logarithms lie on the curve log w; the point (mean of w, mean of
    log w) lies below it by exactly the gap.
    """
    x = torch.as_tensor(x, dtype=torch.float64)
    fig = figure(480 * len(qs), 320)
    for axes, (mean, sigma) in zip(np.atleast_1d(fig.subplots(1, len(qs), sharey=True)), qs, strict=True):
        b = bound(model, x, mean, sigma)
        z = mean + sigma * Rng(0).normal((samples,)).double()
        log_q = -0.5 * (((z - mean) / sigma).square() + math.log(2 * math.pi)) - math.log(sigma)
        log_w = model.log_joint(x, z) - log_q - b.log_evidence
        curve = np.linspace(1e-3, 4, 500)
        axes.plot(curve, np.log(curve), color=SOFT, linewidth=1.2)
        axes.plot([1, 1], [-b.gap, 0], color=GAP, linewidth=3, solid_capstyle="butt")
        axes.plot(1, 0, "o", color=INK, markersize=7)
        axes.plot(1, -b.gap, "s", color=GAP, markersize=7)
        axes.scatter(log_w.exp(), log_w, s=14, color=CLASSES[1], linewidths=0, zorder=3)
        axes.annotate("log of the mean w: log p(x)", (1, 0), (8, -14), textcoords="offset points", fontsize=LABEL,
                      color=INK)
        axes.annotate(f"mean of log w: ELBO, {b.gap:.2f} nats lower", (1, -b.gap), (9, -32 if b.gap < 0.9 else -4),
                      textcoords="offset points", fontsize=LABEL, color=GAP)
        axes.set(xlim=(-0.1, 4), ylim=(-6, 1.7))
        beyond = int((log_w < -6).sum())
        if beyond:
            axes.text(3.95, -5.8, f"{beyond} of {samples} dots lie below the picture", fontsize=SMALL,
                      color=CLASSES[1], ha="right")
        tidy(axes, f"q = N({mean:.2f}, {sigma:.2f}²)", "weight w = p(x, z) / q(z), in units of p(x)", "log w in nats")
    return fig


class BoundPicture:
    """One q and one x: the densities over z, what q's codes decode to, and log p(x) as a ladder of ELBO and gap.

    Built once; :meth:`update` moves what has changed.
    """

    def __init__(self, model: CurveModel):
        self.model = model
        self.fig = figure(1000, 320)
        self.latent, self.plane, self.ladder = self.fig.subplots(1, 3, width_ratios=[1.55, 1, 1.05])
        self._draw_latent()
        self._draw_plane()
        self._draw_ladder()
        self.update((0.0, -1.5), 0.0, 1.0)
        self.fig.draw_without_rendering()
        self.fig.set_layout_engine("none")           # the places are settled; solving for them takes most of a draw

    def _draw_latent(self):
        axes = tidy(self.latent, "Which codes z explain x, and which does q choose?", "z", "density")
        axes.set(xlim=(-3.5, 3.5), yticks=[])
        prior = (-0.5 * CURVE.square()).exp() / math.sqrt(2 * math.pi)
        axes.plot(CURVE, prior, color=SOFT, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.text(0.01, 0.07, "prior p(z)", fontsize=LABEL, color=SOFT, transform=axes.transAxes)
        self.posterior_fill = axes.fill_between([0, 1], [0, 0], color=POSTERIOR, alpha=0.35, linewidth=0)
        self.posterior_name = axes.text(0, 0, "posterior p(z|x)", fontsize=LABEL, color="#1B6B60", ha="center",
                                        bbox={"facecolor": "white", "alpha": 0.75, "pad": 1, "linewidth": 0})
        self.q_line, = axes.plot([], [], color=Q, linewidth=2.2)
        self.q_name = axes.text(0, 0, "q(z)", fontsize=LABEL, color=Q, ha="center", weight="bold")

    def _draw_plane(self):
        axes = tidy(self.plane, "The decoded q, and x (◇ best codes)", "$x_1$", "$x_2$")
        axes.set(xlim=(-2.3, 2.3), ylim=(-2.3, 2.3), aspect="equal", xticks=[-2, 0, 2], yticks=[-2, 0, 2])
        axes.plot(*self.model.decoder(CURVE[CURVE.abs() <= LEG]).T, color=FAINT, linewidth=5, solid_capstyle="butt")
        for z, text, shift, side in ((-1.7, "G(z)", (-6, 4), "right"), (0, "z = 0", (0, -17), "center"),
                                     (-LEG, f"z = −{LEG:g}", (-8, 8), "right"), (LEG, f"z = {LEG:g}", (8, 8), "left")):
            axes.annotate(text, self.model.decoder(torch.tensor(z, dtype=torch.float64)), shift, ha=side,
                          textcoords="offset points", fontsize=SMALL, color=SOFT)
        self.band, = axes.plot([], [], color=Q, linewidth=3.5, solid_capstyle="round")
        self.centre, = axes.plot([], [], "o", color=Q, markersize=7)
        axes.text(0, 2.02, "arc: q up to 2σ,  ●: its mean", fontsize=SMALL, color=Q, ha="center")
        self.explain, = axes.plot([], [], "D", markersize=13, markerfacecolor="none", markeredgecolor=POSTERIOR,
                                  markeredgewidth=2.2)              # hollow: x may lie on it
        self.cross, = axes.plot([], [], "X", color=X, markersize=9, markeredgecolor="white")
        self.cross_name = axes.annotate("x", (0, 0), (9, 4), textcoords="offset points", fontsize=TITLE, color=X)

    def _draw_ladder(self):
        axes = tidy(self.ladder, "log p(x) = ELBO + gap", "", "nats")
        axes.set(xlim=(0, 2.3), xticks=[])
        self.steps = axes.bar([0.4, 0.4], [1, 1], width=0.55, color=[Q, GAP])
        self.top, = axes.plot([0.05, 0.75], [0, 0], color=INK, linewidth=2.5)
        self.names = [axes.text(0.82, 0, "", fontsize=LABEL, color=colour, va="center") for colour in (INK, GAP, Q)]

    def update(self, x, mean: float, sigma: float) -> Bound:
        """Show q = N(mean, sigma^2) at x, a point of the plane (2,)."""
        model, x = self.model, torch.as_tensor(x, dtype=torch.float64)
        b = bound(model, x, mean, sigma)
        z = torch.linspace(-3.5, 3.5, 701, dtype=torch.float64)
        posterior = (model.log_joint(x, z) - b.log_evidence).exp()
        q = (-0.5 * ((z - mean) / sigma).square()).exp() / (sigma * math.sqrt(2 * math.pi))
        highest = posterior.max().item()
        top = 1.25 * max(highest, 0.4, min(q.max().item(), 2.5 * highest))
        self.latent.set_ylim(0, top)
        self.posterior_fill.set_data(z, torch.zeros_like(z), posterior)
        peaks = torch.where(posterior > 0.98 * highest)[0]
        peak = peaks[(z[peaks] - mean).abs().argmax()]                    # of two legs, the one that q does not cover
        self.posterior_name.set_position((z[peak].clamp(-2.5, 2.5).item(), posterior[peak].item() + 0.03 * top))
        self.q_line.set_data(z, q)
        self.q_name.set_position((min(max(mean + 1.3 * sigma + 0.25, -3.2), 3.2),
                                  min(0.45 * q.max().item(), 0.92 * top)))
        inner = posterior[1:-1]
        best = z[1:-1][(inner > posterior[:-2]) & (inner > posterior[2:]) & (inner > 0.1 * highest)]
        self.explain.set_data(*model.decoder(best).T)
        near = torch.linspace(mean - 2 * sigma, mean + 2 * sigma, 100)
        self.band.set_data(*model.decoder(near[near.abs() <= LEG]).T)
        self.centre.set_data(*model.decoder(torch.tensor([mean])).T)
        self.cross.set_data([x[0]], [x[1]])
        self.cross_name.xy = tuple(x.tolist())
        self._update_ladder(b)
        return b

    def _update_ladder(self, b: Bound):
        floor = b.log_evidence - LOWEST
        elbo = max(b.elbo, floor)
        self.ladder.set_ylim(floor, b.log_evidence + 1)
        for bar, low, high in zip(self.steps, (floor, elbo), (elbo, b.log_evidence), strict=True):
            bar.set(y=low, height=high - low)
        self.top.set_ydata([b.log_evidence] * 2)
        texts = [text.replace("-", "−") for text in (
            f"log p(x) = {b.log_evidence:.4f}", f"gap = {b.gap:.4f}",
            f"ELBO = {b.elbo:.4f}" + ("\n(below the picture)" if b.elbo < floor else ""))]
        places = (b.log_evidence + 0.45, (elbo + b.log_evidence) / 2 - 0.25, min(elbo - 0.9, b.log_evidence - 1.4))
        for name, text, place in zip(self.names, texts, places, strict=True):
            name.set(text=text, y=max(place, floor + 0.6))


def point_mass_picture(model: CurveModel, x, mean: float) -> Figure:
    """The two terms of the bound as q = N(mean, sigma^2) shrinks to a point."""
    x = torch.as_tensor(x, dtype=torch.float64)
    sigma = torch.logspace(0.3, -6, 1000, dtype=torch.float64)
    fit = expected_log_likelihood(model, x, torch.full_like(sigma, mean), sigma)
    kl = torch.tensor([gaussian_kl(mean, s.item()) for s in sigma])
    elbo = fit - kl
    best = elbo.argmax()
    fig = figure(760, 330)
    axes = fig.subplots()
    axes.set(xscale="log", xlim=(2, 1e-6), ylim=(-16, 2))
    labelled_lines(axes, sigma, {"−KL(q‖prior): −∞": -kl, "E[log p(x|z)]: levels off": fit,
                                 "ELBO = their sum": elbo})
    axes.plot(sigma[best], elbo[best], "o", color=LINES[2])
    axes.annotate(f"best σ = {sigma[best]:.2f}", (sigma[best], elbo[best]), (0, -44), textcoords="offset points",
                  ha="center", fontsize=LABEL, color=LINES[2])
    return _with_axes(fig, axes, "Towards a point mass: every factor of ten costs ln 10 = 2.3 nats",
                      "width σ of q (log scale, falling)", "nats")


def gradient_picture(estimates: dict[str, Tensor], truth: float) -> Figure:
    """Histograms of the estimates of the derivative by the first mean, one below the other on the same axis, and the
    derivative itself."""
    fig = figure(760, 330)
    rows = fig.subplots(len(estimates), 1, sharex=True)
    values = {way: e[:, 0, 0].numpy() for way, e in estimates.items()}
    low, high = np.percentile(np.concatenate(list(values.values())), [0.3, 99.7])
    for k, (axes, (way, v)) in enumerate(zip(rows, values.items(), strict=True)):
        axes.hist(v, bins=np.linspace(low, high, 81), color=LINES[k])
        axes.axvline(truth, color=INK, linewidth=1.2, linestyle=(0, (3, 2)))
        tidy(axes, "", "estimate of the derivative by the mean, nats per unit of z" if axes is rows[-1] else "")
        axes.set_yticks([])
        axes.text(1, 0.97, f"{way}: mean {v.mean():.2f}, variance {short(v.var())}".replace("-", "−"),
                  transform=axes.transAxes, fontsize=LABEL, color=LINES[k], va="top", ha="right")
    rows[0].set_title("One derivative (dashed: its true value), the same samples, three spreads", fontsize=TITLE,
                      color=INK, loc="left")
    return fig


def amortisation_picture(own: Inference, log_evidence: float | None = None, samples: int | None = None) -> Figure:
    """How far an own q for each example climbs in how many steps, against the encoder's, and against log p(x) as far
    as an importance-weighted bound with ``samples`` samples knows it."""
    fig = figure(760, 330)
    axes = fig.subplots()
    top = max(own.elbo[-1], own.amortised, -math.inf if log_evidence is None else log_evidence)
    span = max(top - own.amortised, 0.5)
    axes.set(xlim=(0, own.steps[-1]), ylim=(own.amortised - 4 * span, top + 0.6 * span))
    ends = [own.steps[0], own.steps[-1]]
    lines = {"encoder, one pass": (ends, [own.amortised] * 2), "own q for each example": (own.steps, own.elbo)}
    if log_evidence is not None:
        lines[f"IW bound, {samples:,} samples"] = (ends, [log_evidence] * 2)
    labelled_lines(axes, {k: v[0] for k, v in lines.items()}, {k: v[1] for k, v in lines.items()})
    passed = next((step for step, height in zip(own.steps, own.elbo, strict=True) if height > own.amortised), None)
    title = (f"An own q for each example ends {short(abs(own.gap))} nats {'above' if own.gap > 0 else 'below'} the "
             "encoder's" + (f", which it passes by step {passed}" if passed and own.gap > 0 else ""))
    return _with_axes(fig, axes, title,
                      "gradient steps on every example's own q", "mean ELBO, nats per image")


def usage_picture(betas: Sequence[float], kl: Tensor, threshold: float = 0.1) -> Figure:
    """KL of every latent dimension, each always in its place, after every one of several KL weights: kl (stages, L).

    A dimension is in use from ``threshold`` nats on, as in the panel.
    """
    fig = figure(1000, 240)
    for axes, beta, row in zip(fig.subplots(1, len(betas), sharey=True), betas, kl, strict=True):
        used = row > threshold
        axes.bar(np.arange(1, len(row) + 1), row, width=0.8, color=[CLASSES[2] if u else SOFT for u in used])
        first = axes.get_subplotspec().is_first_col()
        tidy(axes, f"β = {beta:g}: {int(used.sum())} of {len(row)} in use", "latent dimension",
             "KL, nats" if first else "")
    return fig


def code_map(points, labels, classes: Sequence[str], how: str) -> Figure:
    """Codes in the plane (n, 2), each drawn as the character of its class; ``how`` says by what map they got there."""
    fig = figure(640, 460)
    axes = fig.subplots()
    scatter_classes(axes, points, labels, classes, size=10)
    tidy(axes, f"Where {len(points)} held-out images lie ({how}); the encoder was never told a class")
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return fig


def image_rows(rows: Mapping[str, Tensor], title: str, columns: int = 10) -> Figure:
    """Images (n, C, H, W) by name, the name on their left; more than ``columns`` of them fill several rows."""
    lines = [-(-len(images) // columns) for images in rows.values()]
    width = min(columns, max(len(images) for images in rows.values()))
    fig = figure(round(24 + 7 * max(map(len, rows)) + 62 * width), 34 + 64 * sum(lines))
    parts = np.atleast_1d(fig.subplots(len(rows), 1, height_ratios=lines))
    for axes, (name, images) in zip(parts, rows.items(), strict=True):
        image_grid(axes, images.detach().cpu(), width)
        axes.text(-0.01, 0.5, name, transform=axes.transAxes, fontsize=LABEL, color=INK, ha="right", va="center")
        axes.set_anchor("W")
    fig.suptitle(title, fontsize=TITLE, color=INK, x=0.01, ha="left")
    return fig


def _with_axes(fig, axes, title, x, y):
    tidy(axes, title, x, y)
    return fig
