"""Lab 06's claims: what a discriminator with a head start does to either loss, and how far the games of the lab get.

The curve over head starts, as a file of its own:

    python -m dgmlab.experiments.gan_claims --seeds 5               # data/gans/head_start.json
"""

from __future__ import annotations

import argparse
import json
from itertools import pairwise
from pathlib import Path

import torch

from ..errors import LabError, check_number
from ..models.gan import optimal_discriminator
from ..training.checkpoint import write_atomically
from ..training.state import versions
from .claims import INFINITE, Claim
from .gans import good_digits, make_run, play, sharp_ring

HEAD_STARTS = (0, 50, 100, 150)         # steps in which D learns alone
SLUGGISH, DEFAULT = 1e-3, 1e-8          # epsilon of the generator's Adam: one that shows saturation, and torch's own
CURVE = Path(__file__).resolve().parents[2] / "data" / "gans" / "head_start.json"


def games(seed: int) -> dict[str, float]:
    """The ring, with every head start and either loss at the larger epsilon, and with the longest at the smaller."""
    found = {}
    for head_start in HEAD_STARTS:
        ours, theirs = (play(loss, head_start, SLUGGISH, seed=seed) for loss in ("non-saturating", "minimax"))
        found |= {f"ratio_{head_start}": theirs.minimax / theirs.non_saturating,
                  f"modes_{head_start}": ours.modes, f"modes_minimax_{head_start}": theirs.modes,
                  f"good_{head_start}": ours.good, f"good_minimax_{head_start}": theirs.good,
                  f"cost_{head_start}": ours.modes - theirs.modes}
    ours, theirs = (play(loss, HEAD_STARTS[-1], DEFAULT, seed=seed) for loss in ("non-saturating", "minimax"))
    costs = [found[f"cost_{head_start}"] for head_start in HEAD_STARTS]
    return found | {"modes_default": ours.modes, "modes_minimax_default": theirs.modes,
                    "good_default": ours.good, "good_minimax_default": theirs.good,
                    "cost_default": ours.modes - theirs.modes, "good_cost_default": ours.good - theirs.good,
                    "fewest_0": min(found["modes_0"], found["modes_minimax_0"]), "rise": costs[-1] - costs[0],
                    "smallest_rise": min(b - a for a, b in pairwise(costs))}


def discriminator_against_the_best(seed: int, steps: int = 1000) -> dict[str, float]:
    """The discriminator alone on the line, then |D(x) - p/(p+q)|, the mean over points drawn half from the data and
    half from the generator (by integration)."""
    run = make_run("line", lr_d=3e-3, batch=512, steps=steps, head_start=steps, watch=False, seed=seed)
    x = torch.linspace(-4, 4, 801)
    p, q = run.target.log_prob(x[:, None]).double().exp(), run.model.generator.density(x)
    best, weight = optimal_discriminator(p, q), (p + q) / (p + q).sum()

    def off():
        return float(((run.model.probability(x[:, None]) - best).abs() * weight).nansum())

    before = off()
    for _ in run.steps(steps):
        pass
    return {"off": off(), "before": before}


def ring(seed: int) -> dict[str, float]:
    """The ring as well as the lab can play it."""
    return sharp_ring(seed)


def digits(seed: int) -> dict[str, float]:
    """The digits as well as the lab can play them, on the test images."""
    found = good_digits(seed)
    return found | {"averaged_to_plain": found["frechet_averaged"] / found["frechet"]}


GAME = ("Ring of 8 Gaussians (radius 2, sd 0.05), 50,000 points. G 8-128-128-2 (ReLU), D 2-128-128-1 (leaky ReLU), "
        "Adam 1e-3, betas 0.5 and 0.9, batches of 128; D alone for the head start, then 3,000 steps of both by turns. "
        "Epsilon of G's Adam: {eps}; of D's: 1e-8. Equal in seed, weights and data. A mode is covered if it holds a "
        "tenth of its fair share of 2,000 samples within 3 sd.")
SHARP = ("Ring of 8 Gaussians, the same networks and batches, non-saturating loss, no head start; Adam 3e-3 for both, "
         "falling along half a cosine to a fiftieth within 3,500 steps (chosen on seeds 0 to 2); 2,000 samples. About "
         "10 s of processor time.")
DCGAN = ("8x8 digits. G 32-128-512, one transposed convolution from 32 channels; D one convolution of stride 2 to 32 "
         "channels, then 128; non-saturating loss, R1 penalty of weight 0.5, Adam 1e-3 for both, falling along half a "
         "cosine to a fiftieth within 1,500 steps of 64; 1,000 samples against the 300 test images in the 64 features "
         "of the lab's classifier, where 1,197 training images are at 1.1. Settings chosen on the validation images "
         "with seed 0.")
LECTURE = "CSC413/2516 lecture 9, 'A Better Cost Function'"

CLAIMS = [
    Claim("06.saturation", LECTURE + "; Goodfellow et al. 2014, section 3",
          "If D is sure which are made, the minimax cost of G is flat where the non-saturating one is steep.",
          games, "ratio_150", "norm of G's minimax gradient ÷ that of the non-saturating one, on one state, after D "
          "has learnt alone for 150 steps", (0.0, 1e-3), GAME.format(eps="1e-3"), no_effect=1.0, ratio=True),
    Claim("06.minimax_stands_still", LECTURE,
          "From a D that is sure, G does not learn by the minimax cost: it covers no mode, or one.",
          games, "modes_minimax_150", "modes covered of 8, minimax", (-INFINITE, 1.5), GAME.format(eps="1e-3"),
          no_effect=8.0, note="It takes the larger epsilon: see 06.adam_hides_it."),
    Claim("06.non_saturating_learns", LECTURE,
          "From a D that is sure, G does learn by the non-saturating cost: it covers 7 modes or more.",
          games, "modes_150", "modes covered of 8, non-saturating", (7, INFINITE), GAME.format(eps="1e-3"),
          no_effect=0.0, note="7 on average, but 6 in one seed of five: after a head start of D this cost, too, ends "
                              "with fewer modes (7 or 8 without one)."),
    Claim("06.adam_hides_it", "Kingma & Ba 2015, section 2.1 (steps do not depend on the gradient's scale)",
          "With Adam's default epsilon the difference is gone or turned round: it divides the small gradient by its "
          "own size.",
          games, "cost_default", "modes covered: non-saturating minus minimax", (-INFINITE, 1.0),
          GAME.format(eps="1e-8") + " Head start of 150 steps.", no_effect=8.0,
          note="It is turned round: minimax covered all 8 modes in every seed, the non-saturating cost 4 to 8."),
    Claim("06.no_head_start", "Goodfellow et al. 2014, section 3 (the same fixed point of the dynamics)",
          "If D has no head start, both costs lead to the same modes.",
          games, "cost_0", "modes covered: non-saturating minus minimax", (-1.0, 1.0), GAME.format(eps="1e-3"),
          no_effect=None, note="Either covered 7 or 8 in every seed; five seeds cannot tell that from a difference "
                               "of one mode."),
    Claim("06.no_head_start_covers", "Goodfellow et al. 2014, section 3",
          "If D has no head start, both costs reach nearly all modes.",
          games, "fewest_0", "modes covered of 8 by the worse of the two", (6.5, INFINITE), GAME.format(eps="1e-3"),
          no_effect=0.0, note="Added after 06.no_head_start had been seen to be undecided."),
    Claim("06.head_start_costs", LECTURE,
          "The longer the head start of D, the more the minimax cost loses.",
          games, "rise", "modes lost by minimax with a head start of 150 steps, minus those without", (4.0, INFINITE),
          GAME.format(eps="1e-3"), note="The curve, with head starts between, is in data/gans/head_start.json."),
    Claim("06.head_start_never_helps", LECTURE,
          "Nowhere along the head starts of 0, 50, 100 and 150 steps does minimax lose less for a longer one.",
          games, "smallest_rise", "smallest rise of the modes lost from one head start to the next", (-1.0, INFINITE),
          GAME.format(eps="1e-3"), no_effect=None,
          note="A mode more or less is left to chance. Between, it is all or nothing: after 100 steps minimax covered "
               "all 8 modes in three seeds of five, more than the other cost did, and none in two."),
    Claim("06.best_discriminator", "Goodfellow et al. 2014, proposition 1",
          "For a generator that stands still, D learns p / (p + q).",
          discriminator_against_the_best, "off", "mean |D(x) - p(x) / (p(x) + q(x))|", (0.0, 0.03),
          "Two peaks on the line, 50,000 points; G 1-32-32-1 untrained, its density exact; D 1-32-32-1, Adam 3e-3 "
          "falling to a fiftieth within 1,000 steps of 512.", no_effect=None),
    Claim("06.ring_modes", "Metz et al. 2017, arXiv:1611.02163 (the ring); Lucic et al. 2018, arXiv:1711.10337",
          "A GAN need not lose modes: well played, it covers all 8 of the ring.",
          ring, "modes", "modes covered of 8", (7.5, INFINITE), SHARP, no_effect=None),
    Claim("06.ring_good", "Metz et al. 2017, arXiv:1611.02163 (the ring)",
          "More than nine in ten samples of a GAN that is well played lie on a mode of the ring.",
          ring, "good", "share of samples within 3 sd of a mode", (0.9, 1.0), SHARP, no_effect=None,
          note="Of the data themselves, 0.989 lie there. With constant learning rates of 1e-3 it was 0.5 to 0.7 after "
               "3,000 steps (seed 0). Averaging G's weights adds nothing where the learning rates fall."),
    Claim("06.digits", "Radford et al. 2016, arXiv:1511.06434 (DCGAN)",
          "A DCGAN makes digits near to the real ones.",
          digits, "frechet_averaged", "Fréchet distance of the averaged generator's samples to the test images",
          (0.0, 15.0), DCGAN, no_effect=None,
          note="Within 1,200 steps on the validation images (seed 0): 6.8 with the R1 penalty, 299 without it, for D "
               "wins; 30 with spectral norm in its place; 17 with dense networks and the penalty."),
    Claim("06.averaging", "Yazıcı et al. 2019, arXiv:1806.04498",
          "The average of G's weights over the last 200 steps makes better samples than G itself.",
          digits, "averaged_to_plain", "Fréchet distance of the averaged generator ÷ that of the plain one",
          (0.0, 1.0), DCGAN, no_effect=1.0, ratio=True),
]


def save_curve(rows: list[dict[str, float]], first: int, path: Path = CURVE) -> None:
    """Write what :func:`games` gave for the seeds ``first``, ``first`` + 1, ... to a file."""
    values = {name: [row[name] for row in rows] for name in rows[0]}
    found = {"command": f"python -m dgmlab.experiments.gan_claims --seeds {len(rows)}", "first_seed": first,
             "head_starts": HEAD_STARTS, "settings": GAME.format(eps="1e-3; 'default': 1e-8"), "values": values,
             "versions": versions()}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(found, indent=1) + "\n").encode())


def curve() -> dict:
    """What the command at the head of this module has recorded: ``head_starts``, and ``values`` by name, one a seed
    (``cost_50``: modes that minimax loses with a head start of 50 steps; ``modes_50``, ``modes_minimax_50``,
    ``good_50``, ``ratio_50`` ...).

    Raises:
        LabError: there is nothing.
    """
    if not CURVE.is_file():
        raise LabError("There is no head_start.json in data/gans; `python -m dgmlab.experiments.gan_claims`, in a "
                       "clone of the repository, measures it in about ten minutes.")
    return json.loads(CURVE.read_text(encoding="utf-8"))


def main(arguments: list[str] | None = None) -> None:
    """Measure the curve over head starts and write it to data/gans/."""
    from .measuring import FIRST, SEEDS

    parser = argparse.ArgumentParser(prog="python -m dgmlab.experiments.gan_claims", description=main.__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    seeds = parser.parse_args(arguments).seeds
    try:
        check_number("The number of seeds", seeds, 1, whole=True)
        save_curve([games(seed) for seed in range(FIRST, FIRST + seeds)], FIRST)
    except LabError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
