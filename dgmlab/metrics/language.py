"""How well is language modelled? Bounds, perplexities and codes over a corpus of sentences of several lengths.

The rules of counting, which decide every number here:

* a sentence is all of its words and one end token; each of them is predicted once, the begin token never;
* so a perplexity *per word* is exp(total cost / (words + sentences)), as it is for Penn Treebank (82,430 predictions in
  its test split); nothing is padded, and nothing padded is counted;
* the cost of a VAE is a bound from above: -ELBO, or the tighter importance-weighted one with S draws of z;
* an unknown word counts as the word ``<unk>``. So perplexities compare only at one vocabulary.

Letters: N sentences, L latent dimensions, S draws. Nats throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from ..errors import LabError, check_number
from ..models.vae import kl_to_prior
from ..rng import Rng
from .latent import active_units, mutual_information

CHUNK = 512                     # sentences decoded at a time


@dataclass(frozen=True)
class LanguageScore:
    """A model on a corpus.

    Attributes:
        reconstruction, kl: nats per sentence; ``elbo`` = -(their sum). A language model without z has kl = 0.
        nll: nats per sentence by the importance-weighted bound with S draws; exact where there is no z.
        perplexity: per word, from ``nll``; ``perplexity_elbo`` from the ELBO.
        mutual_information: of x and z, nats; cannot exceed ln N.
        active_units: dimensions whose mean varies by more than 0.01 over the sentences.
        samples, sentences, words: S, N, and the number of predicted tokens, end tokens among them.
    """

    reconstruction: float
    kl: float
    nll: float
    perplexity: float
    perplexity_elbo: float
    mutual_information: float
    active_units: int
    samples: int
    sentences: int
    words: int

    @property
    def elbo(self) -> float:
        return -(self.reconstruction + self.kl)

    def to_dict(self) -> dict:
        return asdict(self)


def perplexity(nats: float, words: int) -> float:
    """exp(nats / words): between how many equally likely words the model hesitates at each place.

    Args:
        nats: cost of all sentences together.
        words: predicted tokens of all sentences together, end tokens among them.
    """
    check_number("The number of predicted words", words, 1, whole=True)
    return math.exp(min(nats / words, 700.0))


def by_length(tokens: Sequence, chunk: int = CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
    """All sentences as batches of one length: which they are (n,), and their tokens (n, T)."""
    if not len(tokens):
        raise LabError("There are no sentences to measure on; give at least one.")
    groups: dict[int, list[int]] = {}
    for k, row in enumerate(tokens):
        groups.setdefault(len(row), []).append(k)
    for length in sorted(groups):
        for start in range(0, len(groups[length]), chunk):
            places = groups[length][start:start + chunk]
            yield torch.tensor(places), torch.stack([torch.as_tensor(tokens[k], dtype=torch.int64) for k in places])


@torch.no_grad()
def encode_sentences(model, tokens: Sequence) -> tuple[Tensor, Tensor]:
    """The posteriors of all sentences in their order: mean and log-variance, (N, L) each, on the host."""
    mu = torch.empty(len(tokens), model.latent)
    logvar = torch.empty_like(mu)
    with evaluating(model):
        for places, x in by_length(tokens):
            mu[places], logvar[places] = (part.cpu() for part in model.encode(x.to(device_of(model))))
    return mu, logvar


@torch.no_grad()
def score(model, tokens: Sequence, rng: Rng | None = None, samples: int = 10) -> LanguageScore:
    """A text VAE, or a :class:`~dgmlab.models.language_model.LanguageModel`, on the sentences of a split.

    Args:
        tokens: rows of whole numbers, the end token last.
        rng: draws z; on the model's device.
        samples: S.
    """
    check_number("The number of samples S", samples, 1, whole=True)
    words = sum(map(len, tokens))
    device = device_of(model)
    with evaluating(model):
        if not hasattr(model, "encode"):
            cost = -sum(model.log_likelihood(x.to(device)).double().sum().item() for _, x in by_length(tokens))
            each, n = cost / len(tokens), len(tokens)
            return LanguageScore(each, 0.0, each, perplexity(cost, words), perplexity(cost, words), 0.0, 0, 1, n, words)
        rng = rng or Rng(0, device)
        reconstruction = kl = weighted = 0.0
        means, logvars = torch.empty(len(tokens), model.latent), torch.empty(len(tokens), model.latent)
        for places, x in by_length(tokens):
            x = x.to(device)
            mu, logvar = model.encode(x)
            log_sum = torch.full((len(x),), -math.inf, dtype=torch.float64, device=device)
            for _ in range(samples):
                noise = rng.normal(mu.shape)
                z = mu + (0.5 * logvar).exp() * noise
                fit = model.log_likelihood(x, z).double()
                reconstruction -= fit.sum().item() / samples
                ratio = 0.5 * (noise.square() - z.square() + logvar).sum(-1)                    # log p(z) - log q(z|x)
                log_sum = torch.logaddexp(log_sum, fit + ratio.double())
            weighted -= (log_sum - math.log(samples)).sum().item()
            kl += kl_to_prior(mu, logvar).double().sum().item()
            means[places], logvars[places] = mu.cpu(), logvar.cpu()
    n = len(tokens)
    mi = mutual_information(means, logvars, Rng(0)).nats
    units = active_units(means).number if n > 1 else 0
    return LanguageScore(reconstruction / n, kl / n, weighted / n, perplexity(weighted, words),
                         perplexity(reconstruction + kl, words), mi, units, samples, n, words)


class evaluating:
    """``with evaluating(model):`` switches dropout off, and back on afterwards if it was on."""

    def __init__(self, model):
        self.model = model

    def __enter__(self):
        self.was = self.model.training
        self.model.eval()

    def __exit__(self, *_):
        self.model.train(self.was)


def device_of(model) -> torch.device:
    return next(model.parameters()).device
