"""The exercises of lab 08; see :mod:`dgmlab.check`."""

from __future__ import annotations

import numpy as np
import torch

from ..experiments import build
from ..experiments.translation import confusions, flops, l1
from ..rng import Rng
from . import NotYet, array, calls, choice, close, exercise, number


@exercise("08.1")
def cycle_loss(cycle) -> str:
    """E |F(G(x)) - x| + E |G(F(y)) - y|, each a mean over images and pixels."""
    rng = Rng(8)
    ways = {"G(x) = 0.8 x + 0.1 and F(y) = 0.9 y": (lambda a: 0.8 * a + 0.1, lambda b: 0.9 * b),
            "G(x) = 0.5 x, mirrored, and F(y) = y - 0.3": (lambda a: a.flip(-1) * 0.5, lambda b: b - 0.3),
            "G(x) = 1 - x and F(y) = 1 - y": (lambda a: 1 - a, lambda b: 1 - b)}
    for (n, m) in ((6, 6), (3, 8)):
        x, y = rng.uniform((n, 1, 8, 8)), rng.uniform((m, 1, 8, 8)) * 0.5
        for functions, (there, back) in ways.items():
            found = number(calls(cycle, there, back, x, y, what="cycle_loss"), "The loss")
            signed = back(there(x)) - x, there(back(y)) - y
            first, second = (part.abs() for part in signed)
            truth = float(first.mean() + second.mean())
            if close(found, truth, rel=1e-4, abs=1e-6):
                continue
            guesses = {
                float(first.mean()): "this is the way there and back of x only. y goes through F and comes back by G",
                float(second.mean()): "this is the way there and back of y only. x goes through G and comes back by F",
                truth / 2: "the two parts are added, not averaged",
                2 * truth: "this is twice as much; each of the two parts counts once",
                float(signed[0].mean() + signed[1].mean()):
                    "|.| is the absolute difference; without it, what is too dark makes up for what is too bright",
                float(signed[0].mean().abs() + signed[1].mean().abs()):
                    "the absolute value is taken of every pixel, before the mean",
                float(first.sum() + second.sum()): "take the mean over images and pixels, not the sum",
                float(first.flatten(1).sum(1).mean() + second.flatten(1).sum(1).mean()):
                    "take the mean over the pixels as well, not their sum",
                float(first.square().mean() + second.square().mean()): "it is the squared difference. |.| is absolute",
                float((there(x) - x).abs().mean() + (back(y) - y).abs().mean()):
                    "these are the translations compared with what went in; each must first come back",
                float((there(y) - y).abs().mean() + (back(x) - x).abs().mean()):
                    "this is the identity loss (4): what is there already goes in. The cycle sends x there and back",
            }
            if n == m:
                guesses[float((back(there(x)) - y).abs().mean() + (there(back(y)) - x).abs().mean())] = \
                    "x comes back and is compared with y; compare it with x"
                guesses[float((there(x) - y).abs().mean() + (back(y) - x).abs().mean())] = \
                    "this compares G(x) with y, as if they were pairs. They are not, and that is why there is a cycle"
            guesses[float((there(back(x)) - x).abs().mean() + (back(there(y)) - y).abs().mean())] = \
                "G and F are exchanged: x goes through G first"
            why = next((f": {why}" for value, why in guesses.items() if close(found, value, rel=1e-4)), "")
            raise NotYet(f"For {n} images x, {m} images y, {functions}, the cycle loss is {truth:.4f}, but cycle_loss "
                         f"returns {found:.4f}{why}.")
    return "No truth is asked for: both parts compare an image with itself, after a journey."


@exercise("08.2")
def cheat(there, back, *, pairs) -> str:
    """A G and an F that undo each other for every single image, and yet do not translate.

    Args:
        pairs: held-out images x and their truth y, (N, C, H, W).
    """
    x, y = pairs.x[:100], pairs.y[:100]
    made, other = _images(there, x, "G"), _images(back, y, "F")
    for start, middle, function, name, what in ((x, made, back, "F", "F(G(x)) and x"),
                                                (y, other, there, "G", "G(F(y)) and y")):
        error = float((_images(function, middle, name) - start).abs().flatten(1).mean(1).max())
        if error > 1e-5:
            raise NotYet(f"{what} differ by {error:.3g} of full scale in the worst of {len(start)} images, so these "
                         "two do not undo each other. Which changes of an image can be taken back exactly?")
    for function, name, start, whole in ((there, "G", x, made), (back, "F", y, other)):
        if l1(_images(function, start[-1:], name), whole[-1:]) > 1e-4:
            raise NotYet(f"What {name} makes of an image depends on which others are in the same batch, but a "
                         "translator has one image to go by. Change the images, not their order.")
    copied, wrong = l1(x, y), l1(made, y)
    if l1(made, x) < 1e-6:
        raise NotYet("These undo each other, because they change nothing: G(x) = x is as near to the truth as a copy "
                     "is. Find a pair that does change the image, and leads away from the truth.")
    if wrong <= copied:
        raise NotYet(f"These undo each other, but G(x) is nearer to the truth ({wrong:.3f}) than x itself is "
                     f"({copied:.3f}). Lead it farther away.")
    return (f"The cycle loss is 0, and G(x) is {wrong / copied:.1f} times as far from the truth as x itself. The cycle "
            "asks that nothing be lost, not that anything be right; the critics and the networks must see to that.")


@exercise("08.3")
def lost_letter(lost, became, *, model, pairs, judge, classes) -> str:
    """Which character is most often read wrong after translation, and as what.

    Args:
        model: whose translations are read.
        pairs, judge, classes: held-out letters, the classifier that reads, and what its classes are called.
    """
    table = confusions(model, pairs, judge).numpy()                             # (true, read)
    there = sorted(set(pairs.label.tolist()))
    lost = classes.index(choice(lost, {name: () for name in classes}, "lost"))
    if lost not in there:
        raise NotYet(f"None of these held-out letters is {classes[lost]}: that row is empty, and 0/0 is not a share. "
                     "Leave out the rows without a count.")
    became = classes.index(choice(became, {name: () for name in classes}, "became"))
    counts = table.sum(1)
    share = [1 - table[k, k] / counts[k] for k in there]
    worst = [k for k, value in zip(there, share, strict=True) if value >= max(share) - 1e-9]
    if max(share) == 0:
        return "Every letter is read right, so any answer will do; train without a cycle to see letters get lost."
    own = 1 - table[lost, lost] / counts[lost]
    if lost not in worst:
        most = max(table[k].sum() - table[k, k] for k in there)
        if table[lost].sum() - table[lost, lost] == most:
            raise NotYet(f"{classes[lost]} is wrong in the largest number, but there are more of it. Compare shares: "
                         f"of its {int(counts[lost])} images {own:.0%} are read wrong, and another has a larger share.")
        raise NotYet(f"Of the {int(counts[lost])} images of {classes[lost]}, {own:.0%} are read as something else. "
                     "Another character has a larger share.")
    rest = table[lost].copy()
    rest[lost] = 0
    if rest[became] != rest.max():
        said = "is what it should be" if became == lost else f"is what {int(rest[became])} of them are read as"
        raise NotYet(f"{classes[lost]} it is. But {classes[became]} {said}; most of its wrong readings are another.")
    other = int((rest > 0).sum()) - 1
    spread = "" if rest[became] == rest.sum() else (f", the rest as {other} other character{'s' if other > 1 else ''}")
    return (f"{own:.0%} of the images of {classes[lost]} are read wrong: {int(rest[became])} of {int(rest.sum())} as "
            f"{classes[became]}{spread}." + (" To the critic that is as good a letter as any."
                                             if rest[became] > rest.sum() / 2 else ""))


@exercise("08.4")
def equal_compute(steps_without, *, steps, with_cycle, without) -> str:
    """How many steps of ``without`` cost as many operations as ``steps`` of ``with_cycle``.

    Args:
        steps: training steps of the run with a cycle and an identity weight.
        with_cycle, without: the two runs.
    """
    found, one, other = number(steps_without, "steps_without"), flops(with_cycle), flops(without)
    truth = steps * one / other
    if abs(found - truth) <= max(1.0, 0.005 * truth):
        return (f"{one / 1e6:,.0f} million operations a step against {other / 1e6:,.0f}: a fair comparison gives the "
                f"run without a cycle {one / other:.2f} times as many steps.")
    cycle_alone = build(with_cycle.spec)
    cycle_alone.knobs.identity = 0.0
    alone = flops(cycle_alone) / other
    guesses = {one / other: f"this is the ratio; the steps are {steps:,} times as many",
               alone: "this is a ratio, and of a cycle alone (section 4); with an identity weight there is more to do",
               other / one: "you divided the wrong way round, and a ratio is not yet a number of steps",
               steps * other / one: "you divided the wrong way round: a step without a cycle costs less, so it gets "
                                    "more steps",
               steps * alone: "that is the price of a cycle alone (section 4); with an identity weight G also "
                              "translates y and F also x: make_run(identity=5.0, ...)",
               2 * steps: "half the networks, but is that half the work? Count with flops",
               steps: "these are equal steps, not equal compute",
               truth - steps: "these are the steps that come on top; the whole is asked for",
               steps * one: "these are operations. How many steps without a cycle do they buy?"}
    why = next((f": {why}" for value, why in guesses.items()            # a whole number of steps may be rounded
                if close(found, value, rel=0.01) or found == round(value)), "")
    raise NotYet(f"{found:,.4g} steps without a cycle do not cost what {steps:,} steps with a cycle and an identity "
                 f"weight cost{why}. flops(run) counts the operations of one step.")


def _images(function, x, name):
    made = calls(function, x.clone(), what=name)
    array(made, f"What {name} returns", shape=tuple(x.shape))
    return torch.as_tensor(np.asarray(made.detach().cpu() if isinstance(made, torch.Tensor) else made)).float()
