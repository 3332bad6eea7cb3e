"""What is right in the exercises of lab 04, why the KL vanishes."""

from __future__ import annotations

import math

import numpy as np
import torch

from ..data.sequences import FLOOR
from ..experiments.annealing import given_history, measure
from ..models.text_vae import free_bits
from ..schedules import cyclical
from . import NotYet, array, calls, close, exercise, number

WORTH = 1.0                     # nats that z can save, in exercise 1
SHORT = 500                     # a schedule of fewer steps shows nothing


@exercise("04.1")
def first_dropout(dropout, *, x) -> str:
    """The smallest word dropout, in steps of 0.05, at which z can save a nat: given_history(x, w).sum() - ln 10 >= 1.

    Args:
        x: the run's sequences.
    """
    found = number(dropout, "The word dropout")
    if not 0 <= found <= 1:
        raise NotYet(f"{found:g} is no word dropout: it is a share of words, from 0 to 1.")
    worth = {k / 20: float(given_history(x, k / 20).sum()) - FLOOR for k in range(21)}
    right = next((w for w, nats in worth.items() if nats >= WORTH), None)
    if right is None:                                       # such sequences exist: all is told at one place
        right = 1.0
    if close(found, right, abs=1e-6):
        return (f"At {right:.2f} z can save {worth[right]:.2f} nats, and without any history {worth[1.0]:.2f}. At 0 it "
                "can save nothing: there every split of ln 10 between the two paths costs the same, and only the way "
                "the training takes decides.")
    nearest = min(worth, key=lambda w: abs(w - found))
    if not close(found, nearest, abs=1e-6):
        raise NotYet(f"Go through the word dropouts 0, 0.05, 0.10, … 1; {found:g} is none of them.")
    first = next((w for w in worth if float(given_history(x, w).sum()) >= WORTH), 0.0)
    if found == 0.0 and first == 0.0:
        raise NotYet("At word dropout 0 the best decoder without z pays ln 10, and nothing can pay less. What z can "
                     "save is the difference to ln 10.")
    if close(found, next((w for w, nats in worth.items() if nats >= WORTH * math.log(2)), 1.0), abs=1e-6):
        raise NotYet(f"At {found:.2f} z can save {worth[nearest]:.2f} nats. That is a bit, ln 2 = 0.69 nats, or more, "
                     "but a whole nat is asked for.")
    raise NotYet(f"At {found:.2f} z can save {worth[nearest]:.2f} nats. "
                 + ("Some smaller word dropout does for one nat." if worth[nearest] >= WORTH else
                    "That is less than one nat."))


MISTAKEN = (                    # schedules written by mistake, as functions of (step, T, M, R), and their hints
    (lambda s, T, M, R: min(1, s / T / R),
     "this ramps once over the whole training. The place within a cycle is step modulo T / M."),
    (lambda s, T, M, R: s * M % T / T / R, "after its ramp β stays at 1: take min(1, …)."),
    (lambda s, T, M, R: s * M % T / T,
     "the ramp fills the whole cycle. It takes only the part R of it: divide by R as well."),
    (lambda s, T, M, R: min(1, s * M % T / T * R),
     "you multiply by R, so that the ramp never reaches 1. To be over after the part R of a cycle, divide by R."),
    (lambda s, T, M, R: min(1, s * M % T / M / (R * T)),
     "the ramp is taken to last R T steps. It takes the part R of one cycle: R T / M steps."),
    (lambda s, T, M, R: min(1, s % (T // M) / (T // M) / R),
     "T / M is no whole number here, and with // the cycles become too short, as in the published code. Use T / M."),
    (lambda s, T, M, R: min(1, (s + 1) * M % T / T / R),
     "one step too far. `step` counts the steps that are completed: at 0 β is 0."),
)


@exercise("04.2")
def cyclical_by_hand(function) -> str:
    """The cyclical schedule as a function of (step, T, M, R); judged at many steps, also where T / M is not whole."""
    for steps, cycles, ramp in ((1500, 5, 0.5), (1000, 4, 0.5), (40_000, 4, 0.5), (1000, 1, 0.25),
                                (100, 3, 0.7), (12, 4, 1.0), (1000, 5, 0.1)):
        right = cyclical(steps, cycles=cycles, ramp=ramp)
        edges = {round(k * steps / cycles) + d for k in range(cycles) for d in (0, 1, 2)} | {
            int((k + ramp) * steps / cycles) + d for k in range(cycles) for d in (0, 1)}
        places = sorted(s for s in edges | {steps // 7, steps // 3, steps // 2, steps - 1} if 0 <= s < steps)
        values = {}
        for step in places:
            call = f"beta(step={step:,}, T={steps:,}, M={cycles}, R={ramp:g})"
            values[step] = number(calls(function, step, steps, cycles, ramp, what="beta"), call)
        wrong = next((step for step in places if not close(values[step], right(step), abs=1e-6)), None)
        if wrong is None:
            continue
        says = (f"beta(step={wrong:,}, T={steps:,}, M={cycles}, R={ramp:g}) is {values[wrong]:.4g}, but should be "
                f"{right(wrong):.4g}: ")
        for mistaken, hint in MISTAKEN:                     # at every step: at one of them several mistakes agree
            if all(close(value, mistaken(step, steps, cycles, ramp), abs=1e-6) for step, value in values.items()):
                raise NotYet(says + hint)
        if max(values.values()) > 1 + 1e-9:
            raise NotYet(f"{says}and elsewhere it goes above 1. After its ramp β stays at 1: take min(1, …).")
        if values[wrong] in (0.0, 1.0) and 0 < right(wrong) < 1:
            raise NotYet(f"{says}within the ramp β is the place in the cycle, step modulo T / M, divided by the ramp's "
                         "length, R T / M.")
        raise NotYet(says[:-2] + ".")
    return ("It agrees at every step that was tried, also where T / M is not whole. The same function restarts a "
            "learning rate; in the released scripts both happen at once.")


@exercise("04.3")
def two_free_bits(function) -> str:
    """A function of kl (B, L) and the free amount that returns what the clamp and what the threshold charge: (B,)
    each."""
    rng = torch.Generator().manual_seed(0)
    for amount in (0.5, 0.1, 2.0):
        kl = torch.rand(6, 3, generator=rng) * 1.5
        right = [free_bits(kl, amount, kind).sum(-1) for kind in ("clamp", "threshold")]
        found = calls(function, kl, amount, what="charged")
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise NotYet("charged should return two things, clamp and threshold: `return clamp, threshold`.")
        pair = [array(each, f"The {name}") for each, name in zip(found, ("clamp", "threshold"), strict=True)]
        for name, have, want, other in zip(("clamp", "threshold"), pair, right, reversed(right), strict=True):
            want, whole = want.numpy(), kl.sum(-1)
            if have.shape == want.shape and np.allclose(have, want, atol=1e-5):
                continue
            if have.shape == want.shape and np.allclose(have, other.numpy(), atol=1e-5):
                if all(each.shape == have.shape and np.allclose(each, have, atol=1e-5) for each in pair):
                    raise NotYet("Both charge the same, but they differ where a dimension is below λ: the threshold "
                                 "charges nothing there, the clamp charges λ.")
                raise NotYet("The two are the wrong way round: the clamp is what never falls below the free amount.")
            if have.shape == (6, 3):
                raise NotYet(f"The {name} should be summed over the dimensions, (B,): one number for each example.")
            if have.shape != want.shape:
                raise NotYet(f"The {name} has the shape {have.shape} for 6 examples, but should be (6,).")
            if np.allclose(have, whole.clamp_min(amount).numpy(), atol=1e-5) or \
                    np.allclose(have, (whole * (whole > amount)).numpy(), atol=1e-5):
                raise NotYet(f"Your {name} frees {amount:g} nats of the sum; they are free in every dimension by "
                             "itself. First each dimension, then the sum.")
            if np.allclose(have, (kl - amount).clamp_min(0).sum(-1).numpy(), atol=1e-5):
                raise NotYet(f"Your {name} takes the free amount off. Neither does: above it, both charge it all.")
            example = [round(value, 2) for value in kl[0].tolist()]
            raise NotYet(f"With {amount:g} free nats and kl = {example} your {name} charges {have[0]:.3f}, but should "
                         f"charge {want[0]:.3f}.")
    return ("Where a dimension is below the free amount, both have no gradient; above it, both have that of the KL. So "
            "they train alike and log differently: with every dimension below λ the clamp logs λ times their number "
            "and the threshold 0, and neither is the KL.")


@exercise("04.4")
def beat_monotonic(run, *, rival, named) -> str:
    """A run steered by moves of one's own, with as many steps as the rival's schedule, in which beta falls at most
    once, that ends with a tenth at beta = 1 and whose draws of z name more sequences than the rival's.

    Args:
        rival: the monotonic run.
        named: the share of its draws that named their sequence when its schedule ended.
    """
    if not hasattr(run, "history") or not hasattr(run, "x"):
        raise NotYet("Give the check the run itself, as make_run returned it.")
    total = rival.total
    if run.step < total:
        raise NotYet(f"The run is at step {run.step:,}; train it to step {total:,}.")
    if run.step > total:
        raise NotYet(f"The run has made {run.step:,} steps, more than the rival's {total:,}; that is not fair.")
    if run.seed != rival.seed or not torch.equal(run.x, rival.x):
        raise NotYet("The run has another seed, or other sequences, than the rival; make it with the lab's parameters.")
    beta = np.asarray(run.history.column("beta"))
    if (beta[total - total // 10:] != 1).any():
        raise NotYet("In the last tenth β must be 1, or two different objectives are compared. Let the last move be at "
                     "0.9 or earlier, to 1.")
    if (beta == 1).all():
        raise NotYet("β never moved. Give moves, such as [(0.0, 0.0), (0.5, 1.0)].")
    changes = np.diff(beta)
    upwards = changes[changes != 0] > 0
    falls = int((~upwards).sum() - (~upwards[1:] & ~upwards[:-1]).sum())        # one that takes several moves is one
    if falls > 1:
        raise NotYet(f"β falls {falls} times; once is allowed.")
    for knob in ("lr", "word_dropout", "free_bits", "encoder_steps"):
        if (run.history.column(knob) != rival.history.column(knob)[:total]).any():
            raise NotYet(f"The run differs from the rival in {knob}, too; only β may differ.")
    if total < SHORT:
        return "At this scale a run is too short for its score to mean anything; the rules are kept."
    found = measure(run)
    share, nelbo = found["identified"], found["nelbo"]
    if nelbo > 1.05 * FLOOR:
        raise NotYet(f"−ELBO ends at {nelbo:.2f} nats, more than 5 % above ln 10 (2.42): reach β = 1 earlier, or by a "
                     "ramp, so that the model can settle.")
    if share <= named:
        back = float(np.flatnonzero(beta != 1)[-1] + 1) / total                 # the share at which it is 1 for good
        lowest = beta[int(np.flatnonzero(changes < 0)[-1]) + 1:].min() if falls else None
        hint = ("Let β fall to 0 again, late: then z is learned by a decoder that already works." if not falls else
                f"β falls only to {lowest:g}; let it fall to 0." if lowest > 0.3 else
                f"β is 1 for good from {back:.2f} of the steps on, and at β = 1 the KL falls on; let β fall later."
                if back < 0.8 else "Start with β = 0: z is then learned before the decoder has settled without it."
                if beta[0] > 0.3 else "Give β longer near 0 after its fall.")
        raise NotYet(f"Of ten draws of z {10 * share:.1f} name their sequence, of the rival's {10 * named:.1f}. {hint}")
    return (f"Of ten draws of z {10 * share:.1f} name their sequence, of the rival's {10 * named:.1f}, at −ELBO "
            f"{nelbo:.2f}. Look when your β was last small: exercise 5 asks what that is worth.")


@exercise("04.5")
def lead_later(before, after, *, monotonic, cyclical) -> str:
    """The lead in KL of the cyclical over the monotonic run when the schedules end, and as many steps later.

    Args:
        monotonic, cyclical: the two runs, trained on.
    """
    first, second = number(before, "lead_before"), number(after, "lead_after")
    for name, run in (("monotonic", monotonic), ("cyclical", cyclical)):
        if run.step < 2 * run.total:
            raise NotYet(f"The {name} run is at step {run.step:,}; train it on to step {2 * run.total:,}, with "
                         f"`for _ in run.steps({2 * run.total - run.step}): pass`.")
        if (run.history.column("beta")[run.total:2 * run.total] != 1).any():
            raise NotYet(f"In the second half the {name} run was not at β = 1 throughout; make it anew and train it "
                         "without touching β.")
    kl = [[float(run.history.column("kl")[step - 1]) for run in (monotonic, cyclical)]
          for step in (monotonic.total, 2 * monotonic.total)]
    around = [[float(run.history.column("kl")[step - step // 10:step].mean()) for run in (monotonic, cyclical)]
              for step in (monotonic.total, 2 * monotonic.total)]
    slack = [0.02 + 1.2 * abs((a[1] - a[0]) - (b[1] - b[0])) for a, b in zip(kl, around, strict=True)]
    for name, value, (low, high), room in (("lead_before", first, kl[0], slack[0]),
                                           ("lead_after", second, kl[1], slack[1])):
        lead = high - low
        if close(value, lead, abs=room, rel=0.02):
            continue
        if close(value, -lead, abs=room):
            raise NotYet(f"{name} has the wrong sign: the lead is KL of the cyclical run − KL of the monotonic one.")
        if close(value, high, abs=room) or close(value, low, abs=room):
            raise NotYet(f"{name} = {value:.3f} is the KL of one run; the lead is the difference of two.")
        raise NotYet(f"{name} = {value:.3f}, but the runs' histories give {lead:.3f} at that step. Take "
                     "run.history.column(\"kl\") at the rows T − 1 and 2T − 1; the row of step s is s − 1.")
    if monotonic.total < SHORT:
        return "At this scale the schedules are too short for the difference to mean anything."
    lead, later = kl[0][1] - kl[0][0], kl[1][1] - kl[1][0]
    if later < 0.1 * lead:
        parts = f"The lead of {lead:.2f} nats is gone ({later:.2f}): it was short memory, of a β that was small late."
    elif later < 0.8 * lead:
        parts = (f"Of the lead of {lead:.2f} nats {lead - later:.2f} are gone: so much was short memory, of a β that "
                 f"was small late. {later:.2f} are left: so much was learned, or is forgotten more slowly.")
    else:
        parts = f"The lead of {lead:.2f} nats stays ({later:.2f}): it was learned, or is forgotten more slowly."
    (low, high), (low_later, high_later) = kl
    return (f"{parts} The KLs went from {low:.2f} to {low_later:.2f} (monotonic) and from {high:.2f} to "
            f"{high_later:.2f} (cyclical), and need not have stopped. One run, one seed: the claims of this lab have "
            "five.")
