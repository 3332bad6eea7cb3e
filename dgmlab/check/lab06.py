"""What is right in the exercises of lab 06, generative adversarial networks."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F

from ..experiments.zero_sum import distances, play
from . import NotYet, calls, close, exercise, number

LOGIT, AT_HALF = -15.0, 0.02        # of exercise 3: where D is sure, and the gradient where it cannot tell
NEAR = 1e-6                         # of exercise 4: so near to the equilibrium the game must end


@exercise("06.1")
def best_answer(best) -> str:
    """The best discriminator where only a share of what it is shown are data."""
    wrong = {"that is the answer for as many data as samples. Where does the share come in?":
             lambda p, q, s: p / (p + q),
             "the two shares are exchanged. `share` is that of the data":
             lambda p, q, s: (1 - s) * p / ((1 - s) * p + s * q),
             "that is the probability of being a sample. D answers how likely it is data":
             lambda p, q, s: (1 - s) * q / (s * p + (1 - s) * q),
             "the share of the data is there, but not that of the samples, 1 − share":
             lambda p, q, s: s * p / (s * p + q),
             "the share stands only above the line. The denominator is all that D is shown at this x":
             lambda p, q, s: s * p / (p + q),
             "the share should weigh p below the line, and above it as well":
             lambda p, q, s: p / (s * p + (1 - s) * q),
             "that is how many data there are for a sample, not what part of all":
             lambda p, q, s: s * p / ((1 - s) * q)}
    for p, q, s in ((0.3, 0.3, 0.5), (0.3, 0.1, 1 / 3), (0.2, 0.7, 0.8), (0.05, 0.4, 0.25)):
        truth = s * p / (s * p + (1 - s) * q)
        found = number(calls(best, p, q, s, what="best"), "What best returns")
        if close(found, truth, rel=1e-4, abs=1e-7):
            continue
        says = f"best({p:g}, {q:g}, {s:.3g}) is {found:.4g}"
        for hint, function in wrong.items():
            if close(found, function(p, q, s), rel=1e-4):
                raise NotYet(f"{says}: {hint}.")
        if not 0 <= found <= 1:
            raise NotYet(f"{says}, but a probability lies between 0 and 1. Of all that D is shown near x, what part "
                         "is data?")
        raise NotYet(f"{says}, but D's loss there, −share · p log D − (1 − share) · q log(1 − D), is least at another "
                     "D. Set its derivative with respect to D to 0.")
    return ("It is Bayes' rule: of all that D is shown near x, the part that is data. With share = ½ the shares "
            "cancel, which gives (2). So an optimal D knows p/q, and unequal batches only shift its logits by "
            "log(share / (1 − share)).")


@exercise("06.2")
def losses_on_logits(minimax, non_saturating) -> str:
    """Both generator losses on logits, exact in value and slope over the whole range of single precision."""
    tasks = (("minimax", minimax, lambda a: F.logsigmoid(-a)), ("non_saturating", non_saturating,
                                                                  lambda a: -F.logsigmoid(a)))
    others = {"minimax": tasks[1][2], "non_saturating": tasks[0][2]}
    for name, function, truth in tasks:
        for logits in ([-1.5, 0.3, 2.0], [0.0], [-60.0, -20.0, -9.0], [12.0, 18.0, 30.0], [-100.0, 5.0, 100.0]):
            a = torch.tensor(logits, requires_grad=True)
            exact = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
            wanted = truth(exact).mean()
            slope, = torch.autograd.grad(wanted, exact)
            result = calls(function, a, what=name)
            if not isinstance(result, torch.Tensor):
                raise NotYet(f"{name} should return a tensor, so that its slope can be computed; use torch.")
            if result.numel() != 1:
                raise NotYet(f"{name} returns {result.numel()} numbers for {len(logits)} logits; return their mean.")
            where = f"{name} at the logits {logits}"
            value = result.item()
            if not math.isfinite(value):
                raise NotYet(f"{where} is {value}: D has been rounded to 0 or 1 before the logarithm. Never compute "
                             "D itself; log σ(a) and log(1 − σ(a)) = log σ(−a) each have a function of the logit.")
            if not close(value, wanted.item(), rel=1e-4, abs=2e-7):
                raise NotYet(f"{where} is {value:.6g}: " + _loss_hint(value, exact.detach(), truth, others[name], name,
                                                                      logits))
            if result.grad_fn is None:
                raise NotYet(f"{where} has the right value, but no slope; keep `a` a tensor all the way.")
            found, = torch.autograd.grad(result, a, allow_unused=True)
            found = torch.zeros(len(logits)) if found is None else found.double()
            if not torch.isfinite(found).all():
                raise NotYet(f"The slope of {where} is not a number. Use softplus or logsigmoid of the logit.")
            # 1 − D may be rounded where D is near 1, but D must not be where it is near 0: there minimax has its slope.
            if not torch.allclose(found.double(), slope, rtol=2e-2, atol=1e-37 if name == "minimax" else 2e-7):
                i = int((found.double() - slope).abs().argmax())
                raise NotYet(f"The slope of {where} is {found[i]:.3g} at {logits[i]:g}, but it should be "
                             f"{slope[i]:.3g}: something rounds or clamps it away. Where D is sure, minimax has a tiny "
                             "slope, but not 0.")
    return ("On logits nothing is rounded: softplus(−a) = −log σ(a), and 1 − σ(a) = σ(−a). With probabilities the "
            "first sure D gives log 0; with a clamp the gradient that this lab is about is gone.")


def _loss_hint(value, exact, truth, other, name, logits) -> str:
    hints = {"the sign is turned round. A generator's loss must fall when D(G(z)) rises": -truth(exact).mean(),
             "that is the other one of the two losses": other(exact).mean(),
             "that is minus the other one of the two losses": -other(exact).mean(),
             "take the mean over the samples, not the sum": truth(exact).sum(),
             "that is the probability of being a sample; take its logarithm": (1 - exact.sigmoid()).mean(),
             "that is D itself; take the logarithm": exact.sigmoid().mean(),
             "`a` is the logit, not the probability: D = σ(a)": torch.log1p(-exact.clamp(max=1 - 1e-9)).mean()}
    for hint, wrong in hints.items():
        if close(value, float(wrong), rel=1e-4, abs=1e-12):
            return hint + "."
    if max(map(abs, logits)) > 8:
        return (f"it should be {truth(exact).mean().item():.6g}. At moderate logits it is right; something rounds or "
                "clamps where D is sure. Do not compute D itself.")
    return f"it should be {truth(exact).mean().item():.6g}. Look at (3): which logarithm, of D or of 1 − D?"


@exercise("06.3")
def hiding_epsilon(epsilon) -> str:
    """From which epsilon on Adam moves a weight of a saturated gradient by less than a tenth of the learning rate."""
    value = number(epsilon, "epsilon")
    gradient = AT_HALF * _sigmoid(LOGIT) / 0.5
    truth = 9 * gradient
    if close(value, truth, rel=0.06):
        return (f"The slope falls from ½ to {_sigmoid(LOGIT):.2g}, the gradient to {gradient:.2g}, and "
                f"g / (g + ε) = 1/10 at ε = 9 g = {truth:.2g}. Adam's default, 1e-8, is below it: so it trains. This "
                "is one weight. A net's gradients have many sizes, and if a few weights move, D's lead may go: on the "
                "ring, in a trial after 150 steps of D alone, G still learnt at 1e-5 and stood still at 1e-4.")
    hints = {"that is the gradient itself. There the step is half a learning rate": gradient,
             "g / (g + ε) is a tenth at 9 g, not at 10 g": 10 * gradient,
             "at logit 0 the slope is ½, not 1: the gradient falls by σ(−15) / ½": truth / 2,
             "at logit 0 the slope is ½, not 1, and g / (g + ε) is a tenth at 9 g": 10 * gradient / 2,
             "that is the gradient if the slope at logit 0 were 1": gradient / 2,
             "that is for the non-saturating loss, whose slope, 1 − D, doubles": 9 * 2 * AT_HALF,
             "that is for the gradient at logit 0, where D cannot tell": 9 * AT_HALF,
             "that is nine times the slope. The gradient at logit 0 was 0.02, not 1": 18 * _sigmoid(LOGIT),
             "that is a ninth of the gradient: with so small an ε the step is nine tenths of the learning rate":
                 gradient / 9}
    for hint, wrong in hints.items():
        if close(value, wrong, rel=0.03):
            raise NotYet(f"You say {value:.2g}: {hint}.")
    if value <= 0:
        raise NotYet(f"You say {value:.2g}, but ε is above 0.")
    raise NotYet(f"You say {value:.2g}. First the gradient at logit −15: by (4) the slope of minimax is −D; how many "
                 "times smaller than at logit 0 is it? Then solve g / (g + ε) = 1/10 for ε.")


@exercise("06.4")
def best_friction(c) -> str:
    """The penalty that brings the zero-sum game nearest to its equilibrium."""
    value = number(c, "c")
    if value < 0:
        raise NotYet(f"You say c = {value:g}: a penalty below 0 rewards a large d; they fly apart.")

    def end(penalty):
        return float(distances(play("simultaneous", 0.1, penalty, 200))[-1])

    grid = np.arange(0, 4.001, 0.01)
    best = float(grid[int(np.argmin([end(one) for one in grid]))])
    if end(value) < NEAR:
        return (f"Near c = 2 both come home without swinging ({end(value):.1g} away after 200 steps; the least is at "
                f"c = {best:.2f}): less lets them swing, more holds d fast, and a d near 0 tells g nothing. Engineers "
                "call it critical damping. A discriminator that is held back too much is no teacher.")
    says = f"With c = {value:g} they are {end(value):.2g} away after 200 steps"
    if value == 0:
        raise NotYet(f"{says}: without friction they spiral away. Drag c up.")
    if value <= 0.1 + 1e-12:
        raise NotYet(f"{says}: friction of about η only undoes the outward spiral. Drag c up.")
    if value < best:
        raise NotYet(f"{says}, still swinging round the equilibrium. More friction brings them nearer.")
    if value > 20:
        raise NotYet(f"{says}: each step multiplies d by about 1 − ηc, which is below −1, so d overshoots 0 by more "
                     "every time. Far less.")
    raise NotYet(f"{says}: too much friction. d is held near 0, and g, which learns from d alone, creeps.")


def _sigmoid(a: float) -> float:
    return 1 / (1 + math.exp(-a))
