"""What is right in the exercises of lab 03, the variational autoencoder."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..experiments.inference import CurveModel, best_gaussian, bound, fit_posteriors, latent_grid
from ..metrics.likelihood import kl_per_dimension
from . import NotYet, array, calls, close, exercise, number

IN_USE = 0.1                    # nats of KL from which on the panel calls a dimension in use


@exercise("03.1")
def best_width(width) -> str:
    """The sigma of the best Gaussian q for the decoder G(z) = slope * z: 1 / sqrt(1 + slope^2 / eta)."""
    cases = (0.1, 1.3), (0.01, 1.3), (1.0, 0.5), (1e-4, 2.0), (3.0, 0.01)
    for eta, slope in cases:
        at = f"With eta = {eta:g} and slope = {slope:g}"
        best = 1 / math.sqrt(1 + slope**2 / eta)
        sigma = number(calls(width, eta, slope, what="best_width"), f"{at} your σ")
        if close(sigma, best, rel=1e-3):
            continue
        if all(close(number(calls(width, *case, what="best_width"), "Your σ"), sigma) for case in cases):
            raise NotYet(f"Your σ is {sigma:.4g} whatever η and w are. The best width depends on both: return a "
                         "formula in eta and slope.")
        if close(sigma, best**2, rel=1e-3):
            raise NotYet("That is the variance σ² of the best q. Return its width σ.")
        if close(sigma, -best, rel=1e-3):
            raise NotYet("A width is above 0: of the two roots take the other.")
        if close(sigma, math.log(best), rel=1e-3):
            raise NotYet("That is log σ of the best q. Return σ itself.")
        if close(sigma, math.sqrt(eta) / slope, rel=1e-3):
            raise NotYet(f"{at} your σ is {sigma:.2f}, wider than need be. √η / w is where the first term alone would "
                         "stop paying for log σ; the KL holds a term in σ² too.")
        if close(sigma, 1 / math.sqrt(1 + slope**2), rel=1e-3):
            raise NotYet("The noise is missing from your formula: the first term is w²σ² / 2η.")
        if any(close(sigma, 1 / math.sqrt(part), rel=1e-3) for part in (
                1 + 2 * slope**2 / eta, 1 + slope**2 / (2 * eta), 2 + slope**2 / eta, 0.5 + slope**2 / eta,
                2 + 2 * slope**2 / eta, 0.5 + slope**2 / (2 * eta))):
            raise NotYet("A factor 2 has slipped in: the derivative of σ²/2 by σ is σ, and that of w²σ²/2η is w²σ/η.")
        if close(sigma, 1 / math.sqrt(1 + slope / eta), rel=1e-3):
            raise NotYet("Nearly: look again at the term w²σ² / 2η, the slope squared over the noise.")
        loses = f"an ELBO {_height(best, eta, slope) - _height(sigma, eta, slope):.2g} nats below the best" \
            if sigma > 0 else "no Gaussian at all: σ must be above 0"
        raise NotYet(f"{at} your σ = {sigma:.4g} gives {loses}. At the best σ the derivative of the three terms by σ "
                     "is 0.")
    return ("σ = 1/√(1 + w²/η). Where w² is much larger than η this is √η / w: ten times less noise makes the best q "
            "√10 = 3.2 times narrower, never a point. Where the decoder hardly looks at z, q is the prior.")


def _height(sigma: float, eta: float, slope: float) -> float:
    """The terms of the ELBO that depend on sigma."""
    return -slope**2 * sigma**2 / (2 * eta) - sigma**2 / 2 + math.log(sigma)


@exercise("03.2")
def gap_of_two_peaks(gap) -> str:
    """The gap as a function of the share of the posterior in its larger peak: -log(share)."""
    curve = CurveModel()
    z, spacing = latent_grid()
    wrong = {"the sign is wrong: a gap is at least 0": lambda s: math.log(s),
             "this is counted in bits; the lab counts in nats": lambda s: -math.log2(s),
             "this is a logarithm to base 10; the lab's are natural": lambda s: -math.log10(s),
             "this is the share of the peak that q does *not* cover; q sits on the larger one":
                 lambda s: -math.log(1 - s),
             "this is the entropy of the two shares, what one would lose on average by telling of each code on which "
             "leg it lies; but q always says the same leg": lambda s: -s * math.log(s) - (1 - s) * math.log(1 - s),
             "this is the share of the other peak; the gap is a logarithm of a share": lambda s: 1 - s,
             "this is the logarithm times the share; but all of q's draws lie on the leg it covers, and each of them "
             "pays the whole logarithm": lambda s: -s * math.log(s),
             "a straight line between the two ends lies too high; the gap bends":
                 lambda s: 2 * math.log(2) * (1 - s)}
    largest = 0.0
    for a in (0.05, 0.15, 0.3, 0.45):
        x = torch.tensor([a, 1.2], dtype=torch.float64)
        share = float(curve.log_posterior(x, z)[z > 0].exp().sum()) * spacing
        measured = bound(curve, x, *best_gaussian(curve, x)).gap
        found = number(calls(gap, share, what="gap"), f"gap({share:.3f})")
        if not close(found, measured, abs=0.005):
            why = next((f": {why}" for why, law in wrong.items() if close(found, law(share), abs=1e-3)), "")
            raise NotYet(f"For x = ({a:g}, 1.2) the larger peak holds {share:.3f} of the posterior and the gap is "
                         f"{measured:.4f} nats, but gap({share:.3f}) is {found:.4f}{why}.")
        largest = max(largest, abs(found - measured))
    return (f"At four other points it is within {largest:.4f} nats of what is integrated. Where q lies, the posterior "
            "is share · q, so that log q − log p(z|x) = −log share for every z that q can draw: the price of calling "
            "a part the whole.")


@exercise("03.3")
def gap_on_training_images(train_gap, *, held_out, model, data) -> str:
    """The amortisation gap on as many of the first training images as ``held_out`` was measured on, nats per image.

    Args:
        held_out: the :class:`~dgmlab.experiments.inference.Inference` on held-out images.
        model, data: whose encoder it is, and what it was trained on.
    """
    gap = number(getattr(train_gap, "gap", train_gap), "The gap")
    images = data.train.x[:len(held_out.mu)].to(held_out.mu.device)
    own = fit_posteriors(model, images, steps=held_out.steps[-1], seed=1)
    noise = {"rel": 0.1, "abs": 3.5 / len(own.mu)}         # other draws give another gap, and more so at small scales
    right = close(gap, own.gap, **noise)
    if close(gap, held_out.gap, rel=1e-6) or not right and close(gap, held_out.gap, rel=0.02, abs=0.01):
        raise NotYet(f"{gap:.3f} nats is the gap on the held-out images of section 6. Fit the own q of training "
                     "images, data.train.x.")
    if not right:
        if close(gap, -own.gap, **noise):
            raise NotYet("The sign is wrong: the gap is what the own q gains over the encoder, elbo[-1] − amortised.")
        for what, value in {"encoder": own.amortised, "own q": own.elbo[-1]}.items():
            if close(gap, value, abs=2 * noise["abs"]):
                raise NotYet(f"{gap:.3f} nats is about the ELBO of the {what}. The gap is the difference of two ELBOs.")
        if 0.4 * own.gap < gap < own.gap:
            raise NotYet(f"{gap:.3f} nats is less than there is to win. Did every q climb for as many steps as in "
                         f"section 6, {own.steps[-1]}, and on the first {len(own.mu)} training images?")
        raise NotYet(f"{gap:.3f} nats is not the gap on the first {len(own.mu)} training images with "
                     f"{own.steps[-1]} gradient steps. Repeat section 6 with these images in place of x[:n // 2].")
    lost, part = own.amortised - held_out.amortised, held_out.gap - gap
    if abs(part) < 0.05:
        compared, meaning = "about as much as", "it answers new images as well as those it was trained on"
    elif part < 0:
        compared, meaning = "more than", "it has not learned the training images by heart"
    else:
        compared, meaning = "less than", "it knows the training images better than new ones"
        if lost > part:
            meaning = f"of the nats by which their ELBO is higher, about {lost:.1f}, {part:.2f} are the encoder's doing"
    return (f"On training images the encoder loses {gap:.2f} nats, {compared} on held-out ones "
            f"({held_out.gap:.2f}): {meaning}.")


@exercise("03.4")
def noise_for_beta(eta, twin, *, model, beta, x) -> str:
    """The noise at which beta = 1 gives the codes of ``model``, trained at ``beta``: beta * its eta; and such a VAE.

    Args:
        twin: a run or a VAE, trained with beta = 1 and that noise.
        beta: not 1.
        x: (n, C, H, W) held-out images on which the two are compared.
    """
    found, right = number(eta, "eta_twin"), beta * model.eta
    if not close(found, right, rel=0.01):
        if close(found, model.eta / beta, rel=0.01):
            cheap, low = ("cheap", "small") if beta < 1 else ("dear", "large")
            raise NotYet(f"{found:g} is the other way round. A {low} β makes code {cheap} beside errors; so does an η "
                         f"that makes errors {'dear' if beta < 1 else 'cheap'}.")
        if close(found, model.eta, rel=0.01):
            raise NotYet(f"At η = {found:g} the errors cost as before, but the code at β = 1 costs {1 / beta:g} times "
                         f"what it did at β = {beta:g}.")
        if any(close(found, model.eta * beta**power, rel=0.01) for power in (0.5, 2)):
            raise NotYet("Nearly: η is a variance, and (1) divides by η itself, not by its square root or square.")
        raise NotYet(f"{found:g} is not it. Divide the loss ‖x − G(z)‖² / 2η + β · KL by β: its minimum stays where it "
                     "is.")
    twin = getattr(twin, "model", twin)
    if not hasattr(twin, "encode") or not hasattr(twin, "eta"):
        raise NotYet("η is right. `twin` should be the run that you trained with it, from make_run(...).")
    if not close(twin.eta, right, rel=0.01):
        raise NotYet(f"η is right, but `twin` was made with eta = {twin.eta:g}; give make_run your eta_twin.")
    with torch.no_grad():
        try:
            kl, other = (np.sort(array(kl_per_dimension(*m.encode(x)))) for m in (twin, model))
        except (RuntimeError, ValueError) as error:
            raise NotYet(f"η is right, but `twin` cannot encode the lab's images ({type(error).__name__}); give "
                         "make_run the lab's dataset.") from None
    if kl.shape != other.shape:
        raise NotYet(f"η is right, but `twin` has {len(kl)} latent dimensions, and the other run {len(other)}.")
    apart = float(abs(kl - other).max())
    if apart > 0.15:
        raise NotYet(f"η is right, but the KL of a dimension of `twin` is {apart:.2f} nats from the other run's. "
                     "Train it as that was trained, but for β = 1: the same data and seed, as many steps.")
    return (f"The KL per dimension agrees within {apart:.3f} nats. With a Gaussian decoder β is no new kind of model: "
            f"a VAE with β = {beta:g} and η = {model.eta:g} is a plain VAE that takes the images for "
            f"{'less noisy' if beta < 1 else 'noisier'}, η = {right:g}.")


@exercise("03.5")
def last_dimension(beta_last, beta_linear, *, data, eta) -> str:
    """Where the KL of the last dimension falls below 0.1 nats: as measured, and for a linear decoder.

    A linear dimension's mean KL is 1/2 log(lambda / (beta eta)): it is 0.1 at beta = lambda / eta * exp(-0.2).

    Args:
        data, eta: the run's data and noise.
    """
    linear, measured = number(beta_linear, "beta_linear"), number(beta_last, "beta_last")
    variances = torch.linalg.eigvalsh(torch.cov(data.train.x.flatten(1).T.double()))
    gone = float(variances[-1]) / eta
    right = gone * math.exp(-2 * IN_USE)
    if not close(linear, right, rel=0.01):
        if close(measured, right, rel=0.01):
            raise NotYet("The two seem to be swapped: beta_last is the measured β, beta_linear the computed one.")
        if close(linear, gone, rel=0.01):
            raise NotYet(f"At β = {gone:.2f} the linear dimension's KL is 0. The panel calls it unused earlier, below "
                         f"{IN_USE:g} nats: set ½ log(λ₁ / βη) to {IN_USE:g}.")
        if close(linear, gone * math.exp(-IN_USE), rel=0.01):
            raise NotYet("The factor ½ before the logarithm is missing.")
        if close(linear, gone * math.exp(2 * IN_USE), rel=0.01):
            raise NotYet("The sign is wrong: at a β above λ₁ / η the linear dimension is off already.")
        if close(linear, gone * 10 ** (-2 * IN_USE), rel=0.01):
            raise NotYet("The lab's logarithms are natural, to base e.")
        if any(close(linear, float(v) / eta * math.exp(-2 * IN_USE), rel=0.01) for v in variances[:-1].flip(0)[:20]):
            raise NotYet("That is where another dimension goes. The last one to go has the largest variance, "
                         "variances[0].")
        raise NotYet(f"beta_linear = {linear:.3g} is not it. Set ½ log(λ₁ / βη) to {IN_USE:g}, with λ₁ = variances[0], "
                     "and solve for β.")
    if close(measured, linear, rel=1e-3):
        raise NotYet("Both numbers are the same. Measure beta_last on a run of your own (if you have, and met the "
                     "linear one so closely, measure again with smaller steps of β).")
    share = measured / right
    if share > 1.35:
        raise NotYet(f"beta_linear is right, but at β = {measured:.3g} the last dimension has long been gone. Start "
                     "lower, raise β by a few per cent at a time, and wait some hundred steps before you look.")
    if share < 0.7:
        raise NotYet(f"beta_linear is right, but at β = {measured:.3g} some dimension should be in use yet. Was the "
                     "run trained for long enough at a small β before? Do you look at the *largest* KL?")
    return (f"Measured {measured:.2f}, linear {right:.2f} ({share:.2f} times): the curved decoder's last dimension "
            f"goes about where a linear one's KL falls below {IN_USE:g} nats, and before {gone:.2f}, where that is 0.")
