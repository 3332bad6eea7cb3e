"""What several tests share: the command line called and its errors read, waiting, and tiny recipes and data for testing
the engine, of which a step takes well under a millisecond or two.
"""

from __future__ import annotations

import multiprocessing
import time

import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn

from dgmlab import cli
from dgmlab.knobs import Choice, Real, Switch, Whole
from dgmlab.models.recipe import LearningRate, Recipe
from dgmlab.training import Run


def call(*args):
    """The command line, in this process."""
    return CliRunner().invoke(cli.main, list(map(str, args)))


def sentence(result, code=1):
    """The one line on stderr of a command that failed."""
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("dgmlab: "), result.stderr
    return lines[0]


def until(condition, what: str, seconds: float = 60):
    """Wait until ``condition()`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain: {what}"
        time.sleep(0.02)


def data(examples: int = 200, size: int = 6) -> torch.Tensor:
    """Fixed examples (examples, size) in [0, 1]."""
    return torch.rand(examples, size, generator=torch.Generator().manual_seed(99))


class TinyKnobs(LearningRate):
    beta = Real(1.0, 0, 100, "KL weight", slider=(0, 8))


class TinyVAE(Recipe):
    """A VAE of one linear layer each way; with ``dropout``, on the code."""

    Knobs = TinyKnobs

    def __init__(self, size: int = 6, latent: int = 2, dropout: float = 0.0):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(size, 2 * latent), nn.Linear(latent, size)
        self.dropout = nn.Dropout(dropout)

    def loss(self, batch, knobs, rng):
        mu, logvar = self.encoder(batch[0]).chunk(2, -1)
        z = mu + (0.5 * logvar).exp() * rng.normal(mu.shape)
        reconstruction = (self.decoder(self.dropout(z)) - batch[0]).square().sum(-1).mean()
        kl = 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(-1).mean()
        return {"loss": reconstruction + knobs.beta * kl, "reconstruction": reconstruction, "kl": kl}


class GANKnobs(LearningRate):
    critics = Whole(2, 1, 5, "discriminator steps")
    beta2 = Real(0.99, 0, 0.9999, "Adam's second decay")
    eps = Real(1e-8, 1e-12, 1e-3, "Adam's epsilon")
    objective = Choice("non-saturating", ("non-saturating", "saturating"), "generator loss")
    idle = Switch(False, "leave the generator alone")


class TinyGAN(Recipe):
    """Two players; the discriminator moves several times a step."""

    Knobs = GANKnobs

    def __init__(self, size: int = 6, latent: int = 2):
        super().__init__()
        self.latent = latent
        self.generator, self.discriminator = nn.Linear(latent, size), nn.Linear(size, 1)

    def players(self):
        return {"discriminator": self.discriminator.parameters(), "generator": self.generator.parameters()}

    def step(self, batch, knobs, rng, update):
        x, settings = batch[0], dict(lr=knobs.lr, eps=knobs.eps, betas=(0.5, knobs.beta2))
        for _ in range(knobs.critics):
            fake = self.generator(rng.normal((len(x), self.latent)))
            d = F.softplus(-self.discriminator(x)).mean() + F.softplus(self.discriminator(fake)).mean()
            update("discriminator", d, **settings)
        if knobs.idle:
            return {"discriminator": d}
        logits = self.discriminator(self.generator(rng.normal((len(x), self.latent))))
        g = F.softplus(-logits).mean() if knobs.objective == "non-saturating" else -F.softplus(logits).mean()
        update("generator", g, **settings)
        return {"discriminator": d, "generator": g}


class TinyLSTM(Recipe):
    """Predicts the next number of a sequence; ``inside`` is the dropout that nn.LSTM makes itself."""

    def __init__(self, dropout: float = 0.0, inside: float = 0.0):
        super().__init__()
        self.lstm = nn.LSTM(1, 4, num_layers=2, batch_first=True, dropout=inside)
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(4, 1)

    def loss(self, batch, knobs, rng):
        x = batch[0].unsqueeze(-1)                                                      # (B, T, 1)
        states, _ = self.lstm(x[:, :-1])
        return {"loss": (self.out(self.dropout(states)) - x[:, 1:]).square().mean()}


def tiny_run(dropout: float = 0.0, **options) -> Run:
    return Run(lambda: TinyVAE(dropout=dropout), data(), **{"batch_size": 32, **options})


def train(run: Run, steps: int) -> Run:
    for _ in run.steps(steps):
        pass
    return run


def everything(run: Run) -> dict[str, torch.Tensor]:
    """Copies of all tensors that decide or record a run's numbers, by name."""
    return {name: tensor.clone() for name, tensor in run.state()[0].items()}


def assert_equal_to_the_bit(a: Run, b: Run) -> None:
    mine, theirs = everything(a), everything(b)
    assert mine.keys() == theirs.keys()
    different = [name for name in mine if not torch.equal(mine[name], theirs[name])]
    assert not different, f"these differ: {different}"
    assert a.step == b.step and a.knobs.log == b.knobs.log and a.knobs.values() == b.knobs.values()
    assert a.knobs.schedules == b.knobs.schedules and a.state()[1]["optimizers"] == b.state()[1]["optimizers"]


def process(target, *arguments):
    """A process that runs ``target(send, *arguments)``, and the end of a pipe where what it sends arrives.

    It comes from a server that has imported torch already, so that it starts in milliseconds.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.support"])
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=target, args=(sender.send, *arguments), daemon=True)
    child.start()
    sender.close()
    return child, receiver


def kill(child) -> None:
    """kill -9."""
    child.kill()
    child.join()
