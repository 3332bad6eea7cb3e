"""What is right in the exercises of lab 07, how good is a generator?"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from ..data.densities import density
from ..experiments.spoiling import AILMENTS, patients
from ..metrics.frechet import frechet_between
from ..metrics.samples import modes_covered
from ..rng import Rng
from . import NotYet, array, calls, choice, close, exercise, number

NEAR, FEW = 0.02, 0.05          # exercise 1: the Fréchet distance and the share of good samples to stay below
ENOUGH = 2000                   # points, so that the covariance of a right answer is not off by chance


@exercise("07.1")
def no_good_sample(samples, *, target=None) -> str:
    """Points with the mean and the covariance of the ring's, hardly any of them near a mode.

    Args:
        samples: (n, 2), n at least :data:`ENOUGH`.
        target: the ring; by default the lab's.
    """
    target = target or density("ring")
    x = array(samples, "samples", (None, 2))
    if len(x) < ENOUGH:
        raise NotYet(f"There are {len(x)} points; make at least {ENOUGH:,}, so that their mean and covariance are not "
                     "off by chance.")
    modes = target.modes.double().numpy()
    mean = modes.mean(0)
    covariance = np.cov(modes.T, bias=True) + target.sd**2 * np.eye(2)          # of a mixture with equal weights
    own_mean, own = x.mean(0), np.cov(x.T)
    d = frechet_between(*(torch.from_numpy(np.ascontiguousarray(a)) for a in (own_mean, own, mean, covariance)))
    good = modes_covered(torch.from_numpy(x), target)[1]
    says = f"Fréchet distance {d:.3f}, {good:.1%} good samples"
    if good >= FEW:
        extra = ": these are samples of the ring, which is the right way to a distance of 0, but not the one asked " \
                "for" if good > 0.9 else ""
        if d >= NEAR:
            extra += f"; and the distance should be below {NEAR}: your variances are {own[0, 0]:.2f} and " \
                     f"{own[1, 1]:.2f}, the ring's {covariance[0, 0]:.2f} each"
        raise NotYet(f"{says}. Fewer than {FEW:.0%} should lie within three standard deviations of a mode{extra}. "
                     "Only mean and covariance must be the ring's; the shape is yours.")
    if d >= NEAR:
        if np.abs(own_mean - mean).max() > 0.1:
            raise NotYet(f"{says}. Your mean is ({own_mean[0]:.2f}, {own_mean[1]:.2f}), the ring's is "
                         f"({mean[0]:.2f}, {mean[1]:.2f}).".replace("-0.00", "0.00"))
        if abs(own[0, 1]) > 0.15:
            raise NotYet(f"{says}. Your two coordinates vary together (covariance {own[0, 1]:.2f}); the ring's do not.")
        for what, factor in (("standard deviation", math.sqrt(covariance[0, 0])), ("variance", covariance[0, 0])):
            if what == "variance" and np.allclose(np.diag(own), factor**2, rtol=0.15):
                raise NotYet(f"{says}. Your standard deviation is the ring's variance: take its root.")
        raise NotYet(f"{says}. Your variances are {own[0, 0]:.2f} and {own[1, 1]:.2f}; the ring's are "
                     f"{covariance[0, 0]:.2f} each, half its squared radius and a little for the width of the modes.")
    return (f"{says}. The Fréchet distance sees a mean and a covariance and nothing else. In the features of a network "
            "there are more of both, and real features are not Gaussian either.")


@exercise("07.2")
def frechet_limit(limit, *, sizes, means, unseen=None) -> str:
    """The Fréchet distance at infinitely many samples: the intercept of a straight line over 1/n.

    Args:
        sizes, means: the numbers of samples and the mean distance at each, as the lab measured them.
        unseen: the same of unseen real images, with which they may have been mixed up.
    """
    n, d = array(sizes, "sizes"), array(means, "means")
    slope, right = np.polyfit(1 / n, d, 1)
    weighted = [np.polyfit(1 / n[k:], d[k:], 1)[1] for k in range(max(1, len(n) - 2))]
    weighted += [np.polyfit(1 / n, d, 1, w=n**power)[1] for power in (0.5, 1.0)]
    span = float(d.max() - d.min())
    low, high = min(weighted) - 0.05 * span, max(weighted) + 0.05 * span
    answer = number(limit, "The limit")
    if close(answer, d[np.argmax(n)], abs=0.005 * span):
        raise NotYet(f"{answer:.2f} is the distance at n = {int(n.max())}. With more samples it would fall further: "
                     "where does the straight line over 1/n end?")
    if close(answer, slope, rel=0.02):
        raise NotYet("That is the slope of the line. The limit is its height at 1/n = 0, the intercept.")
    for what, line in (("n", np.polyfit(n, d, 1)[1]), ("log n", np.polyfit(np.log(n), d, 1)[1])):
        if close(answer, line, rel=0.01):
            raise NotYet(f"That is the intercept of a line over {what}. Fit one over 1/n, which is 0 at infinity.")
    if low <= answer <= high:
        yours = "" if close(answer, right, abs=0.01 * span) else \
            f" Yours, {answer:.2f}, is near enough: which sizes count how much is open."
        off = np.abs(right + slope / n - d).max()
        return (f"A straight line gives d²(n) ≈ {right:.2f} + {slope:.0f}/n: at n = {int(n.max())} about "
                f"{slope / n.max():.2f} are the bias of so few samples (Chong & Forsyth 2020).{yours} The line passes "
                f"the measured means within {off:.2g}; 1/n is only the largest part of the bias.")
    if unseen is not None:
        other = array(unseen, "unseen")
        if close(answer, np.polyfit(1 / n, other, 1)[1], abs=0.01 * span) or close(answer, other[np.argmax(n)],
                                                                                  abs=0.005 * span):
            raise NotYet(f"{answer:.2f} belongs to the unseen real digits. The noisy ones are asked for.")
    if abs(answer) < 0.02 * span:
        raise NotYet("0 would be a generator without fault, and even then the reference has only 300 images. With n "
                     "only the bias goes; the noise stays. Where does the line over 1/n meet 1/n = 0?")
    if close(answer, np.mean(d), abs=0.01 * span):
        raise NotYet("That is the mean over the sizes. The distance falls with n; follow it to 1/n = 0.")
    where = "above" if answer > high else "below"
    raise NotYet(f"{answer:.3g} lies {where} what a straight line over 1/n gives. np.polyfit([1/n for n in sizes], "
                 "means, 1) returns slope and intercept, in this order.")


SPELLINGS = {"copies": ("copy", "copying", "memorises", "memorised", "memorizes", "memorising", "it copies"),
             "drops": ("dropped", "drops classes", "dropped classes", "drop", "classes dropped", "mode dropping"),
             "noise": ("noisy",), "blur": ("blurred", "blurry"), "nothing": ("none", "perfect", "no fault", "fine")}
TELLS = {"copies": "its samples lie at the distance from the training images that unseen real ones do",
         "drops": "its recall and coverage are not those of a generator without some of the classes",
         "noise": "noise takes samples farther from the training images than real ones are, with a low density; not so "
                  "here",
         "blur": "blur takes it far off in the Fréchet distance and in recall, and leaves precision and density",
         "nothing": "at least two of its nine numbers lie well outside the range of real images"}
MIXED = {  # what was said, what is true
    ("drops", "blur"): "recall and coverage are both down, but dropped classes cost both alike; here recall has fallen "
                       "far below coverage, and the Fréchet distance is the largest of the five",
    ("blur", "drops"): "recall and coverage are both down, and about equally; blur brings recall far below coverage, "
                       "and a Fréchet distance three times as large"}


@exercise("07.3")
def diagnoses(answer, *, seed=0) -> str:
    """What is wrong with each of the generators A to E.

    Args:
        answer: letter -> one of ``copies``, ``drops``, ``noise``, ``blur``, ``nothing``.
        seed: the lab's.
    """
    truth = patients(seed)
    if not isinstance(answer, Mapping) or not answer:
        raise NotYet('The answer should be a dictionary, such as {"A": "copies", "B": ...}.')
    given = {str(letter).strip().upper(): word for letter, word in answer.items()}
    if set(given) != set(truth):
        raise NotYet(f"The dictionary should have the keys {', '.join(truth)}; it has {', '.join(sorted(given))}.")
    said = {letter: choice(given[letter], SPELLINGS, f"The word for {letter}") for letter in truth}
    wrong = [letter for letter in truth if said[letter] != truth[letter]]
    if not wrong:
        return ("One number would not have done: each fault has a pattern. Copies: all as good as real or better, but "
                "too near. Dropped classes: recall and coverage down alike, precision kept. Noise: density down, "
                "farther than real. Blur: by far the largest Fréchet distance, recall far below coverage, precision "
                "kept.")
    repeated = sorted({word for word in said.values() if list(said.values()).count(word) > 1})
    if repeated:
        raise NotYet(f"You say {repeated[0]!r} of more than one, but each of the five words fits one generator.")
    letter = wrong[0]
    right = len(truth) - len(wrong)
    count = f"{right or 'None'} of {len(truth)} {'is' if right < 2 else 'are'} right"
    hint = MIXED.get((said[letter], truth[letter]), TELLS[said[letter]])
    raise NotYet(f"{count}. Look at {letter} again: {hint}.")


assert set(SPELLINGS) == set(TELLS) == set(AILMENTS)


@exercise("07.4")
def annealed_estimate(estimate) -> str:
    """log p(x) from the temperatures (T + 1,) and the log-likelihoods (T + 1, C) along each chain."""
    rng = Rng(3)
    for t, c, scale in ((1, 40, 3.0), (6, 25, 4.0), (30, 10, 600.0)):
        betas = torch.cat([torch.zeros(1), rng.uniform((t - 1,)).sort().values, torch.ones(1)]).double().numpy()
        ll = (scale * (rng.normal((t + 1, c)) - 3)).double().numpy()
        steps = np.diff(betas)[:, None]

        def total(log_w):
            top = log_w.max()
            return float(top + np.log(np.exp(log_w - top).sum()))

        log_w = (steps * ll[:-1]).sum(0)
        truth = total(log_w) - math.log(c)
        result = calls(estimate, betas.copy(), ll.copy(), what="estimate")
        try:
            value = number(result, "What estimate returns")
        except NotYet as hint:
            if "finite" in str(hint):
                raise NotYet("With log-likelihoods of some hundred nats below 0 your estimate is not finite: exp of a "
                             "log weight underflows to 0. Take the largest log weight out first, or use "
                             "scipy.special.logsumexp.") from None
            if np.size(_plain(result)) == c:
                raise NotYet(f"It returns {c} numbers, one for each chain; log p(x) is one: the logarithm of their "
                             "mean weight.") from None
            raise
        tolerance = {"rel": 1e-6, "abs": 1e-4}
        if close(value, truth, **tolerance):
            continue
        late = (steps * ll[1:]).sum(0)
        wrong = {
            "the mean of the log weights. That is lower: take the logarithm of the mean weight": log_w.mean(),
            "the logarithm of the *sum* of the weights; the mean is less by log C": total(log_w),
            "what one gets with the log-likelihood *after* the move, ll[1:]. The weight is taken up where the chain "
            "still stands, before it moves: ll[:-1]": total(late) - math.log(c),
            "the mean of the log weights with the log-likelihood after the move": late.mean(),
            "without the steps of the temperature: each log-likelihood counts β_t − β_(t−1) times":
                total(ll[:-1].sum(0)) - math.log(c),
            "the mean weight itself; its logarithm is asked for": math.exp(min(truth, 700)),
            "plain importance sampling from the posterior's end, ll[-1]": total(ll[-1]) - math.log(c),
            "plain importance sampling from the prior, ll[0]; the other temperatures are not used":
                total(ll[0]) - math.log(c),
            "of the wrong sign": -truth}
        for what, other in wrong.items():
            if not close(other, truth, **tolerance) and close(value, float(other), **tolerance):
                raise NotYet(f"For T = {t} and C = {c} your estimate is {value:.4g}: {what}.")
        raise NotYet(f"For T = {t} and C = {c} your estimate is {value:.4g}, but it should be {truth:.4g}: sum "
                     "(β_t − β_(t−1)) · ll[t−1] over t for each chain, then take the logarithm of the mean of exp.")
    return ("All of the numbers come from chains on their way; none needs the density of the chains' last "
            "codes, only the log-likelihood, which any decoder with noise has. (That is why it works for a GAN.)")


def _plain(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value
