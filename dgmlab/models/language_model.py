"""A plain language model: each word from the words before it, and from nothing else (Mikolov et al. 2010).

    log p(x)  =  sum over t of  log p(x_t | x_<t)

It is what a text VAE's decoder becomes when it ignores z, so it is the reference for every perplexity: a VAE whose
bound is as good, and whose KL is 0, has learnt nothing more than this.

In nats per sequence. Letters: B batch, T places, V words in the vocabulary, E embedding, H hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number
from ..rng import Rng
from .recipe import Recipe
from .text_vae import CELLS, TextVAE


class LanguageModel(Recipe):
    """A recurrent language model; its log-likelihood is exact.

    Args:
        vocabulary: V, how many words there are.
        embedding, hidden: E and H.
        layers: of the recurrent network.
        cell: ``lstm`` or ``gru``.
        dropout: on the inputs and before the output, 0 to 1; it needs the run's training mode.

    Raises:
        LabError: for an argument out of range, or a batch that is not made of whole numbers.
    """

    def __init__(self, vocabulary: int, embedding: int = 16, hidden: int = 64, layers: int = 1, cell: str = "lstm",
                 dropout: float = 0.0):
        super().__init__()
        for what, value in (("number of words", vocabulary), ("size of the embedding", embedding),
                            ("size of the hidden state", hidden), ("number of layers", layers)):
            check_number(f"The {what}", value, 1, whole=True)
        check_choice("The recurrent cell", cell, CELLS)
        check_number("The dropout", dropout, 0, 1)
        self.vocabulary, self.begin = vocabulary, vocabulary
        self.heard = nn.Embedding(vocabulary + 1, embedding)
        self.decoder = CELLS[cell](embedding, hidden, layers, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, vocabulary)

    def logits(self, x: Tensor) -> Tensor:
        """Of each word given those before it: x (B, T) -> (B, T, V)."""
        if x.ndim != 2 or x.dtype != torch.int64 or not x.shape[1]:
            raise LabError(f"The batch has the shape {tuple(x.shape)} and the type {x.dtype}, but sequences are needed "
                           "as whole numbers (batch, time) of type int64, all of one length.")
        before = torch.cat([torch.full_like(x[:, :1], self.begin), x[:, :-1]], 1)              # (B, T)
        states, _ = self.decoder(self.drop(self.heard(before)))                                 # (B, T, H)
        return self.output(self.drop(states))

    def log_likelihood(self, x: Tensor) -> Tensor:
        """log p(x) in nats: x (B, T) -> (B,)."""
        logits = self.logits(x)
        return -F.cross_entropy(logits.flatten(0, 1), x.flatten(), reduction="none").view_as(x).sum(-1)

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` = -log p(x), averaged over the batch; x is ``batch[0]`` (B, T)."""
        loss = -self.log_likelihood(batch[0]).mean()
        return {"loss": loss, "reconstruction": loss}

    def step(self, batch, knobs, rng: Rng, update) -> dict[str, Tensor]:
        """One step; the gradient's norm is bounded as it is for the text VAE."""
        terms = self.loss(batch, knobs, rng)
        update("model", terms["loss"], lr=knobs.lr, clip=5.0)
        return terms

    @torch.no_grad()
    def sample(self, n: int, rng: Rng, length: int = 10, end: int | None = None) -> Tensor:
        """``n`` sequences, each word drawn from its distribution: (n, length); see ``TextVAE.write`` for ``end``."""
        check_number("The number of samples", n, 1, whole=True)
        check_number("The length", length, 1, whole=True)
        word, state = torch.full((n, 1), self.begin, device=rng.device), None
        written, over = [], torch.zeros(n, 1, dtype=torch.bool, device=rng.device)
        for _ in range(length):
            states, state = self.decoder(self.heard(word), state)
            logits = self.output(states[:, -1])                                                 # (B, V)
            word = (logits - (-rng.uniform(logits.shape).clamp_min(1e-20).log()).log()).argmax(-1, keepdim=True)
            if end is not None:
                word = word.masked_fill(over, end)
                over = over | (word == end)
            written.append(word)
        return torch.cat(written, 1)


class TextVAEBesideLM(TextVAE):
    """A text VAE, and beside it a language model of the same size that reads the same batches at the same learning
    rate. Neither knows of the other; the term ``lm`` is the language model's cost.

    Args:
        arguments: those of :class:`~dgmlab.models.text_vae.TextVAE`.
    """

    def __init__(self, vocabulary: int, latent: int = 2, embedding: int = 16, hidden: int = 64, **arguments):
        super().__init__(vocabulary, latent, embedding, hidden, **arguments)
        self.reference = LanguageModel(vocabulary, embedding, hidden, dropout=arguments.get("dropout", 0.0))

    def players(self):
        own = [*self.reference.parameters()]
        players = super().players()
        players["decoder"] = [p for p in players["decoder"] if all(p is not q for q in own)]
        return players | {"reference": own}

    def step(self, batch, knobs, rng: Rng, update) -> dict[str, Tensor]:
        """One step of each."""
        terms = super().step(batch, knobs, rng, update)
        terms["lm"] = -self.reference.log_likelihood(batch[0]).mean()
        update("reference", terms["lm"], lr=knobs.lr, clip=5.0)
        return terms
