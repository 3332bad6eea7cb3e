"""Lab 05, part 2: answers to a context, and how many of the valid ones a model knows.

    run = make_run(schedule="cyclical", bag=1.0)
    for tick in run.steps(800): ...
    judged(run, n=10)           # precision and recall of ten answers to each held-out context

The truth is known for the generated dialogues. For Switchboard's transcripts (``corpus="switchboard"``) it is not, and
:func:`judged` says only how different the answers are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..data import sentences
from ..data.dialogues import judge, valid_acts
from ..errors import check_choice, check_number
from ..metrics.language import perplexity
from ..models.conditional_vae import ConditionalVAE, counted, importance_weighted
from ..rng import Rng
from ..schedules import cosine_restarts
from ..training import Run, TensorBatches
from . import recorded
from .language import RATES, SCHEDULES, beta_schedule
from .vae import SCALES

CORPORA = ("dialogues", "switchboard")
SIZES = {"smoke": (4, 16, 24), "lab": (8, 32, 64), "paper": (200, 200, 400)}        # L, E, H; paper: Zhao et al. 2017


@recorded
def make_run(corpus: str = "dialogues", schedule: str = "constant", rate: str = "constant", steps: int = 800,
             bag: float = 0.0, word_dropout: float = 0.0, free_bits: float = 0.0, lr: float = 3e-3,
             batch_size: int = 32, seed: int = 0, scale: str = "lab", device: str = "auto",
             folder: str | None = None) -> Run:
    """A conditional VAE that answers, ready to be trained.

    Args:
        corpus: ``dialogues`` (generated, with known truth) or ``switchboard`` (transcripts that lie in its folder).
        schedule, rate: of the KL weight and of the learning rate, over ``steps``; as in :mod:`.language`.
        bag, word_dropout, free_bits: further cures, each off at 0.

    Returns:
        The run; ``run.dialogues`` are the :class:`~dgmlab.data.dialogues.Dialogues`.
    """
    check_choice("The corpus", corpus, CORPORA)
    check_choice("scale", scale, SCALES)
    check_choice("The schedule", schedule, SCHEDULES)
    check_choice("The learning rate's schedule", rate, RATES)
    check_number("The number of steps", steps, 1, whole=True)
    text = sentences(corpus)
    model = partial(ConditionalVAE, len(text.vocabulary), *SIZES[scale], bag=bag > 0)
    train = (torch.from_numpy(text.train.contexts), torch.from_numpy(text.train.responses))
    run = Run(model, TensorBatches(train, batch_size), seed=seed, device=device, folder=folder,
              knobs={"lr": lr, "bag": bag, "word_dropout": word_dropout, "free_bits": free_bits})
    if schedule in ("monotonic", "cyclical"):
        run.knobs.drive("beta", beta_schedule(schedule, steps))
    if rate == "restarts":
        run.knobs.drive("lr", cosine_restarts(steps, lr))
    run.dialogues = text
    return run


@dataclass(frozen=True)
class Answers:
    """A model on the held-out turns.

    Attributes:
        precision: share of its answers that are valid.
        recall: share of a context's valid acts among its answers.
        distinct: different answers to a context, of ``n``.
        by_code: different answers if no word is drawn, so that only z can tell them apart.
        kl: nats per answer. ``perplexity``: per word, importance-weighted with ``samples`` draws.
        n, contexts, samples: answers for each context, contexts, and draws.
    """

    precision: float
    recall: float
    distinct: float
    by_code: float
    kl: float
    perplexity: float
    n: int
    contexts: int
    samples: int


@torch.no_grad()
def answers(run: Run, context: str, n: int = 10, seed: int = 0, greedy: bool = False) -> list[str]:
    """``n`` answers to a context in words.

    Args:
        greedy: take the most probable words, so that all variety comes from z.

    Raises:
        LabError: the context is empty, too long, or has a word that the dialogues do not know.
    """
    text = run.dialogues
    row = torch.as_tensor(text.encode(context, text.train.contexts.shape[1]))[None].to(run.device)
    made = run.model.reply(row, n, text.train.responses.shape[1], Rng(seed, run.device), greedy)
    return [text.words(each) for each in made[0].tolist()]


@torch.no_grad()
def judged(run: Run, n: int = 10, seed: int = 0, samples: int = 20, split: str = "test") -> Answers:
    """Ten answers to every held-out context, compared with the truth where it is known (else nan)."""
    text, model = run.dialogues, run.model
    part = getattr(text, split)
    rows = torch.as_tensor(np.unique(part.contexts, axis=0)).to(run.device)
    length, rng = part.responses.shape[1], Rng(seed, run.device)
    made, plain = (model.reply(rows, n, length, rng, greedy).tolist() for greedy in (False, True))
    said = [[text.words(each) for each in own] for own in made]
    distinct = np.mean([len(set(own)) for own in said])
    by_code = np.mean([len({tuple(each) for each in own}) for own in plain])
    precision = recall = float("nan")
    if (part.acts >= 0).all():
        verdicts = [judge(text.words(row), own) for row, own in zip(rows.tolist(), said)]
        precision, recall = (float(np.mean([getattr(v, what) for v in verdicts])) for what in ("precision", "recall"))
    x = torch.as_tensor(part.responses).to(run.device)
    fit, ratio, kl = model.log_weights(torch.as_tensor(part.contexts).to(run.device), x, rng, samples)
    cost = -importance_weighted(fit, ratio).double().sum().item()
    return Answers(precision, recall, float(distinct), float(by_code), float(kl.mean()),
                   perplexity(cost, int(counted(x).sum())), n, len(rows), samples)


def oracle(n: int = 10, split: str = "test") -> float:
    """The recall to be expected of ``n`` draws from the truth itself, all of a context's acts equally likely."""
    text = sentences("dialogues")
    contexts = np.unique(getattr(text, split).contexts, axis=0)
    return float(np.mean([1 - (1 - 1 / len(valid_acts(text.words(row)))) ** n for row in contexts]))
