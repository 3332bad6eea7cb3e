"""A VAE for sequences of words (Bowman et al. 2016, arXiv:1511.06349), and why its KL can vanish.

The decoder predicts each word from the words before it *and* from the code z:

    log p(x | z)  =  sum over t of  log p(x_t | x_<t, z)

So there are two paths from x to its reconstruction: through z (path A), which costs KL, and through the words before
(path B), which is free (Fu et al. 2019, arXiv:1903.10145). If path B is good enough, z is ignored and the KL vanishes.
Word dropout cuts path B: each word that the decoder is shown is replaced by a mask with some probability.

Sequences are whole numbers below V, all of one length within a batch, so that nothing is padded. In nats per sequence.
Letters: B batch, T places, V words in the vocabulary, E embedding, H hidden, L latent dimensions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LabError, check_choice, check_number
from ..knobs import Choice, Real, Whole
from ..rng import Rng
from .vae import GaussianLatent, VAEKnobs, kl_to_prior

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU}
FEEDS = ("both", "inputs", "state")
FREE_BITS = ("clamp", "threshold")
FEW_WORDS = 64


class TextVAEKnobs(VAEKnobs):
    """What the literature proposes against a vanishing KL, each switched off at first."""

    beta = Real(1.0, 0, 100, "KL weight", symbol="β", slider=(0, 2))
    word_dropout = Real(0.0, 0, 1, "word dropout", help="Share of the words before that the decoder does not see")
    free_bits = Real(0.0, 0, 10, "free nats", symbol="λ", slider=(0, 1),
                     help="Nats of each dimension that cost nothing")
    free_bits_kind = Choice("clamp", FREE_BITS, "free bits as")
    bag = Real(0.0, 0, 10, "bag-of-words weight", slider=(0, 2))
    encoder_steps = Whole(0, 0, 20, "extra encoder steps", help="Updates of the encoder alone before each step")


class TextVAE(GaussianLatent):
    """A recurrent encoder and decoder around a Gaussian code.

    Args:
        vocabulary: V, how many words there are.
        latent: L.
        embedding, hidden: E and H.
        layers: of the recurrent networks.
        cell: ``lstm`` or ``gru``.
        feed: where the decoder gets z: at every input, in its initial state, or ``both``.
        dropout: on the decoder's inputs and before its output, 0 to 1; it needs the run's training mode.
        bag: whether there is a bag-of-words head, which predicts the words of x from z alone, in no order
            (Zhao et al. 2017, arXiv:1703.10960); its weight is the knob ``bag``.
        draws: of z for each example at a training step. With several, few examples fill a batch, and the encoder
            reads each of them once: S draws of B examples cost the decoder what S B examples would.
        least_rate: nats that the KL of every dimension cannot fall below, because the widths of q are kept apart from
            the prior's (a committed rate, after Razavi et al. 2019, arXiv:1901.03416); 0 leaves them free.

    Raises:
        LabError: for an argument out of range, or a batch that is not made of the vocabulary's numbers.
    """

    Knobs = TextVAEKnobs

    def __init__(self, vocabulary: int, latent: int = 2, embedding: int = 16, hidden: int = 64, layers: int = 1,
                 cell: str = "lstm", feed: str = "both", dropout: float = 0.0, bag: bool = False, draws: int = 1,
                 least_rate: float = 0.0):
        super().__init__()
        for what, value in (("number of words", vocabulary), ("number of latent dimensions", latent),
                            ("size of the embedding", embedding), ("size of the hidden state", hidden),
                            ("number of layers", layers), ("number of draws", draws)):
            check_number(f"The {what}", value, 1, whole=True)
        check_choice("The recurrent cell", cell, CELLS)
        check_choice("The place where z is fed", feed, FEEDS)
        check_number("The dropout", dropout, 0, 1)
        check_number("The least rate", least_rate, 0, 20)
        self.vocabulary, self.latent, self.feed, self.draws = vocabulary, latent, feed, draws
        self.widest = widest_logvar(least_rate) if least_rate else None
        self.begin, self.mask = vocabulary, vocabulary + 1                      # what only the decoder's input knows
        rnn = CELLS[cell]
        self.read = nn.Embedding(vocabulary, embedding)
        self.encoder = rnn(embedding, hidden, layers, batch_first=True)
        self.posterior = nn.Linear(hidden, 2 * latent)
        self.heard = nn.Embedding(vocabulary + 2, embedding)
        self.decoder = rnn(embedding + (latent if feed != "state" else 0), hidden, layers, batch_first=True)
        self.state = nn.Linear(latent, layers * hidden) if feed != "inputs" else None
        self.drop = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, vocabulary)
        self.bag = nn.Linear(latent, vocabulary) if bag else None

    def players(self):
        """Encoder and decoder; they are updated together, unless the encoder is given extra updates."""
        encoder = [*self.read.parameters(), *self.encoder.parameters(), *self.posterior.parameters()]
        return {"encoder": encoder, "decoder": [p for p in self.parameters() if all(p is not q for q in encoder)]}

    # -- the distributions ---------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The posterior q(z | x) from the encoder's last state: (B, T) -> mean and log-variance, (B, latent) each."""
        self._check(x)
        states, _ = self.encoder(self.read(x))                                                  # (B, T, H)
        mu, logvar = self.posterior(states[:, -1]).chunk(2, dim=-1)
        if self.widest is not None:
            logvar = self.widest - F.softplus(self.widest - logvar)
        return mu, logvar

    def logits(self, x: Tensor, z: Tensor, hide: Tensor | None = None) -> Tensor:
        """Of each word given those before it and z: x (B, T), z (B, latent) -> (B, T, V).

        Args:
            hide: (B, T) true where the decoder must not see the word before; None shows it all.
        """
        before = torch.cat([torch.full_like(x[:, :1], self.begin), x[:, :-1]], 1)              # (B, T)
        if hide is not None:
            before = before.masked_fill(hide, self.mask)
        inputs = self.drop(self.heard(before))                                                  # (B, T, E)
        if self.feed != "state":
            inputs = torch.cat([inputs, z[:, None].expand(-1, x.shape[1], -1)], -1)            # (B, T, E + L)
        states, _ = self.decoder(inputs, self._first_state(z))                                  # (B, T, H)
        return self.output(self.drop(states))

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) in nats: x (B, T) and z (..., B, latent) -> (..., B)."""
        lead = z.shape[:-2]
        every = x.expand(*lead, *x.shape).reshape(-1, x.shape[1])                               # (... B, T)
        return self._log_likelihood(every, z.reshape(-1, self.latent), None).unflatten(0, (*lead, len(x)))

    def _log_likelihood(self, x, z, hide):
        logits, words = self.logits(x, z, hide).flatten(0, 1), x.flatten()                      # (B T, V)
        if self.vocabulary < FEW_WORDS:                     # as (1, V, B T): a third of the time, if V is short
            return -F.cross_entropy(logits.T[None], words[None], reduction="none").view_as(x).sum(-1)
        return -F.cross_entropy(logits, words, reduction="none").view_as(x).sum(-1)

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` = reconstruction + beta * kl, with what the knobs add; x is ``batch[0]`` (B, T).

        ``reconstruction`` is what the decoder pays with the words hidden that word dropout hides; ``kl`` is always the
        KL itself, ``kl_counted`` what free bits leave of it.
        """
        x = batch[0]
        mu, logvar = self.encode(x)
        each = kl_to_prior(mu, logvar)                                                          # (B, L)
        if self.draws > 1:                                                                      # B becomes S B
            x, mu, logvar = (every.repeat(self.draws, 1) for every in (x, mu, logvar))
        z = self.posterior_sample(mu, logvar, rng)
        # Drawn even where nothing is hidden, so that the knob moves nothing but the words.
        hide = rng.uniform(x.shape) < knobs.word_dropout
        reconstruction = -self._log_likelihood(x, z, hide).mean()
        kl, counted = each.sum(-1).mean(), free_bits(each, knobs.free_bits, knobs.free_bits_kind).sum(-1).mean()
        terms = {"loss": reconstruction + knobs.beta * counted, "reconstruction": reconstruction, "kl": kl,
                 "kl_counted": counted}
        if self.bag is not None:
            words = self.bag(z).log_softmax(-1).gather(1, x)                                    # (B, T)
            terms["bag"] = -words.sum(-1).mean()
            terms["loss"] = terms["loss"] + knobs.bag * terms["bag"]
        return terms

    def step(self, batch, knobs, rng: Rng, update) -> dict[str, Tensor]:
        """One step of both; before it, ``encoder_steps`` of the encoder alone on the same batch (He et al. 2019)."""
        for _ in range(knobs.encoder_steps):
            update("encoder", self.loss(batch, knobs, rng)["loss"], lr=knobs.lr, clip=5.0)
        terms = self.loss(batch, knobs, rng)
        update(("encoder", "decoder"), terms["loss"], lr=knobs.lr, clip=5.0)
        return terms

    # -- what it makes -------------------------------------------------------------------------------------------

    @torch.no_grad()
    def write(self, z: Tensor, length: int, end: int | None = None, rng: Rng | None = None,
              temperature: float = 1.0) -> Tensor:
        """Sequences for the codes z (B, latent), word by word: (B, length).

        Args:
            end: the end token: after it a sequence holds nothing but end tokens. None for sequences of fixed length.
            rng: draws each word; None takes the most probable one.
            temperature: below 1 the draws are nearer to the most probable word.
        """
        check_number("The length", length, 1, whole=True)
        check_number("The temperature", temperature, 1e-3)
        state = self._first_state(z)
        word = torch.full((len(z), 1), self.begin, device=z.device)
        written, over = [], torch.zeros(len(z), 1, dtype=torch.bool, device=z.device)
        for _ in range(length):
            inputs = self.heard(word)                                                           # (B, 1, E)
            if self.feed != "state":
                inputs = torch.cat([inputs, z[:, None]], -1)
            states, state = self.decoder(inputs, state)
            logits = self.output(states[:, -1]) / temperature                                   # (B, V)
            if rng is not None:                                             # the Gumbel trick: argmax of logits + noise
                logits = logits - (-rng.uniform(logits.shape).clamp_min(1e-20).log()).log()
            word = logits.argmax(-1, keepdim=True)                                              # (B, 1)
            if end is not None:
                word = word.masked_fill(over, end)
                over = over | (word == end)
            written.append(word)
        return torch.cat(written, 1)

    @torch.no_grad()
    def sample(self, n: int, rng: Rng, length: int = 10, end: int | None = None) -> Tensor:
        """``n`` sequences from codes of the prior, each word drawn from its distribution: (n, length)."""
        check_number("The number of samples", n, 1, whole=True)
        return self.write(rng.normal((n, self.latent)), length, end, rng)

    def _first_state(self, z: Tensor):
        if self.state is None:
            return None
        first = self.state(z).unflatten(-1, (self.decoder.num_layers, -1))                      # (B, layers, H)
        first = first.transpose(0, 1).contiguous()
        return (first, torch.zeros_like(first)) if isinstance(self.decoder, nn.LSTM) else first

    def _check(self, x: Tensor) -> None:
        if x.ndim != 2 or x.dtype != torch.int64 or not x.shape[1]:
            raise LabError(f"The batch has the shape {tuple(x.shape)} and the type {x.dtype}, but sequences are needed "
                           "as whole numbers (batch, time) of type int64, all of one length.")


def free_bits(kl: Tensor, amount: float, kind: str) -> Tensor:
    """What is charged for the KL of each example and dimension, (B, L) nats, if the first ``amount`` nats are free.

    ``clamp``: max(kl, amount) (Kingma et al. 2016, for each example by itself); ``threshold``: kl where it exceeds the
    amount, else 0. The gradients of both are the same; what they log differs by the dimensions below the amount.
    """
    if kind == "clamp":
        return kl.clamp_min(amount)
    return kl * (kl > amount)


def widest_logvar(rate: float) -> float:
    """The log-variance below 0 at which the KL of N(0, exp(logvar)) from the prior is ``rate`` nats; solved by Newton's
    method. Whatever its mean, a narrower q has a larger KL."""
    logvar = -math.sqrt(4 * rate) - 2 * rate
    for _ in range(50):
        logvar -= (0.5 * (math.exp(logvar) - 1 - logvar) - rate) / (0.5 * (math.exp(logvar) - 1))
    return logvar
