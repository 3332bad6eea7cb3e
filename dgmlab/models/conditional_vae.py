"""A conditional VAE that answers (Zhao, Zhao, Eskenazi 2017, arXiv:1703.10960; Sohn et al. 2015).

One context c has several good answers x. The code z says which one is meant:

    log p(x | c)  >=  E_q(z|x,c) log p(x | z, c)  -  KL(q(z | x, c) || p(z | c))
                      (- reconstruction)             (kl)

The prior is a network too: what may be meant depends on the context. To answer, draw z from p(z | c) and decode. If the
KL vanishes, z says nothing, and what variety the answers have comes from the drawing of words alone.

Rows are padded with the end token, 0, after the first of them; nothing after the first end token counts, neither in a
loss nor in an encoding. In nats per answer. Letters: B batch, C and T places in context and answer, V words in the
vocabulary, E embedding, H hidden, L latent dimensions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number
from ..knobs import Real
from ..rng import Rng
from .recipe import Recipe
from .text_vae import CELLS, free_bits
from .vae import VAEKnobs


class ConditionalKnobs(VAEKnobs):
    """The KL weight, and three helps against a vanishing KL, each switched off at first."""

    beta = Real(1.0, 0, 100, "KL weight", symbol="β", slider=(0, 2))
    word_dropout = Real(0.0, 0, 1, "word dropout", help="Share of the words before that the decoder does not see")
    free_bits = Real(0.0, 0, 10, "free nats", symbol="λ", slider=(0, 1),
                     help="Nats of each dimension that cost nothing")
    bag = Real(0.0, 0, 10, "bag-of-words weight", slider=(0, 2))


def counted(x: Tensor) -> Tensor:
    """True up to and including each row's first end token 0: (B, T) -> (B, T)."""
    return (x == 0).cumsum(-1) - (x == 0).long() == 0


def gaussian_kl(mu: Tensor, logvar: Tensor, mu_p: Tensor, logvar_p: Tensor) -> Tensor:
    """KL(N(mu, exp logvar) || N(mu_p, exp logvar_p)) of each dimension, in nats."""
    return 0.5 * (logvar_p - logvar + (logvar.exp() + (mu - mu_p).square()) * (-logvar_p).exp() - 1)


class ConditionalVAE(Recipe):
    """Context encoder, recognition network q(z | x, c), prior network p(z | c), decoder p(x | z, c).

    Args:
        vocabulary: V; word 0 ends a sentence and fills its row.
        latent: L.
        embedding, hidden: E and H.
        cell: ``lstm`` or ``gru``.
        bag: whether there is a bag-of-words head, which predicts the answer's words from z and c, in no order; its
            weight is the knob ``bag``.

    Raises:
        LabError: for an argument out of range, or a batch that is not made of rows of whole numbers.
    """

    Knobs = ConditionalKnobs

    def __init__(self, vocabulary: int, latent: int = 8, embedding: int = 32, hidden: int = 64, cell: str = "lstm",
                 bag: bool = False):
        super().__init__()
        for what, value in (("number of words", vocabulary), ("number of latent dimensions", latent),
                            ("size of the embedding", embedding), ("size of the hidden state", hidden)):
            check_number(f"The {what}", value, 1, whole=True)
        check_choice("The recurrent cell", cell, CELLS)
        self.vocabulary, self.latent = vocabulary, latent
        self.begin, self.mask = vocabulary, vocabulary + 1
        self.words = nn.Embedding(vocabulary + 2, embedding)
        self.context = CELLS[cell](embedding, hidden, batch_first=True)
        self.answer = CELLS[cell](embedding, hidden, batch_first=True)
        self.recognition = nn.Linear(2 * hidden, 2 * latent)
        self.prior = nn.Sequential(nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent))
        self.start = nn.Linear(latent + hidden, hidden)
        self.decoder = CELLS[cell](embedding + latent + hidden, hidden, batch_first=True)
        self.output = nn.Linear(hidden, vocabulary)
        self.bag = nn.Sequential(nn.Linear(latent + hidden, hidden), nn.Tanh(), nn.Linear(hidden, vocabulary)) \
            if bag else None

    # -- the distributions ---------------------------------------------------------------------------------------

    def read(self, network: nn.Module, x: Tensor) -> Tensor:
        """The state of a recurrent network at each row's first end token: (B, T) -> (B, H)."""
        if x.ndim != 2 or x.dtype != torch.int64 or not x.shape[1]:
            raise LabError(f"The rows have the shape {tuple(x.shape)} and the type {x.dtype}, but whole numbers "
                           "(batch, time) of type int64 are needed.")
        states, _ = network(self.words(x))                                                      # (B, T, H)
        last = counted(x).sum(-1) - 1                                                           # (B,)
        return states[torch.arange(len(x), device=x.device), last]

    def encode(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """q(z | x, c): answers (B, T) and states of contexts (B, H) -> mean and log-variance, (B, L) each."""
        return self.recognition(torch.cat([self.read(self.answer, x), c], -1)).chunk(2, dim=-1)

    def logits(self, x: Tensor, z: Tensor, c: Tensor, hide: Tensor | None = None) -> Tensor:
        """Of each word given those before it, z and c: -> (B, T, V)."""
        before = torch.cat([torch.full_like(x[:, :1], self.begin), x[:, :-1]], 1)              # (B, T)
        if hide is not None:
            before = before.masked_fill(hide, self.mask)
        told = torch.cat([z, c], -1)[:, None].expand(-1, x.shape[1], -1)                        # (B, T, L + H)
        inputs = torch.cat([self.words(before), told], -1)                                      # (B, T, E + L + H)
        return self.output(self.decoder(inputs, self._first_state(z, c))[0])

    def log_likelihood(self, x: Tensor, z: Tensor, c: Tensor, hide: Tensor | None = None) -> Tensor:
        """log p(x | z, c) in nats, padding not counted: (B,)."""
        each = F.cross_entropy(self.logits(x, z, c, hide).flatten(0, 1), x.flatten(), reduction="none").view_as(x)
        return -(each * counted(x)).sum(-1)

    def _first_state(self, z: Tensor, c: Tensor):
        first = self.start(torch.cat([z, c], -1)).tanh()[None]                                  # (1, B, H)
        return (first, torch.zeros_like(first)) if isinstance(self.decoder, nn.LSTM) else first

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` = reconstruction + beta * kl (+ bag); the batch is (contexts (B, C), answers (B, T), ...)."""
        contexts, x = batch[:2]
        c = self.read(self.context, contexts)                                                   # (B, H)
        mu, logvar = self.encode(x, c)
        z = mu + (0.5 * logvar).exp() * rng.normal(mu.shape)
        hide = rng.uniform(x.shape) < knobs.word_dropout
        reconstruction = -self.log_likelihood(x, z, c, hide).mean()
        each = gaussian_kl(mu, logvar, *self.prior(c).chunk(2, dim=-1))                         # (B, L)
        kl, charged = each.sum(-1).mean(), free_bits(each, knobs.free_bits, "clamp").sum(-1).mean()
        terms = {"loss": reconstruction + knobs.beta * charged, "reconstruction": reconstruction, "kl": kl}
        if self.bag is not None:
            words = self.bag(torch.cat([z, c], -1)).log_softmax(-1).gather(1, x)                # (B, T)
            terms["bag"] = -(words * counted(x)).sum(-1).mean()
            terms["loss"] = terms["loss"] + knobs.bag * terms["bag"]
        return terms

    def step(self, batch, knobs, rng: Rng, update) -> dict[str, Tensor]:
        """One step, the gradient's norm bounded at 5."""
        terms = self.loss(batch, knobs, rng)
        update("model", terms["loss"], lr=knobs.lr, clip=5.0)
        return terms

    # -- what is measured and made -------------------------------------------------------------------------------

    @torch.no_grad()
    def log_weights(self, contexts: Tensor, x: Tensor, rng: Rng, samples: int) -> tuple[Tensor, Tensor, Tensor]:
        """At ``samples`` draws z ~ q: log p(x|z,c), log p(z|c) - log q(z|x,c), (samples, B) each; and the KL (B,)."""
        c = self.read(self.context, contexts)
        mu, logvar = self.encode(x, c)
        mu_p, logvar_p = self.prior(c).chunk(2, dim=-1)
        fit, ratio = [], []
        for _ in range(samples):
            noise = rng.normal(mu.shape)
            z = mu + (0.5 * logvar).exp() * noise
            fit.append(self.log_likelihood(x, z, c))
            ratio.append(0.5 * (noise.square() + logvar - (z - mu_p).square() * (-logvar_p).exp() - logvar_p).sum(-1))
        return torch.stack(fit), torch.stack(ratio), gaussian_kl(mu, logvar, mu_p, logvar_p).sum(-1)

    @torch.no_grad()
    def reply(self, contexts: Tensor, n: int, length: int, rng: Rng, greedy: bool = False) -> Tensor:
        """``n`` answers to each context (B, C), each with a z of its own from p(z | c): (B, n, length).

        Args:
            greedy: take the most probable word each time, so that all variety comes from z; else draw the words too.
        """
        check_number("The number of answers", n, 1, whole=True)
        check_number("The length", length, 1, whole=True)
        c = self.read(self.context, contexts).repeat_interleave(n, 0)                           # (B n, H)
        mu, logvar = self.prior(c).chunk(2, dim=-1)
        z = mu + (0.5 * logvar).exp() * rng.normal(mu.shape)
        told, state = torch.cat([z, c], -1)[:, None], self._first_state(z, c)
        word = torch.full((len(z), 1), self.begin, device=z.device)
        written, over = [], torch.zeros(len(z), 1, dtype=torch.bool, device=z.device)
        for _ in range(length):
            states, state = self.decoder(torch.cat([self.words(word), told], -1), state)
            logits = self.output(states[:, -1])                                                 # (B n, V)
            if not greedy:
                logits = logits - (-rng.uniform(logits.shape).clamp_min(1e-20).log()).log()
            word = logits.argmax(-1, keepdim=True).masked_fill(over, 0)
            over = over | (word == 0)
            written.append(word)
        return torch.cat(written, 1).unflatten(0, (-1, n))


def importance_weighted(fit: Tensor, ratio: Tensor) -> Tensor:
    """The bound of Burda et al. 2016 (eq. 8) from what :meth:`ConditionalVAE.log_weights` returns: (B,) nats."""
    return (fit + ratio).logsumexp(0) - math.log(len(fit))
