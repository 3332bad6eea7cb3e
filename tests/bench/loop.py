"""The training loop: the same VAE on the 8x8 digits at batch 128, the same arithmetic, seven ways to drive it."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from types import SimpleNamespace

import torch

from dgmlab.data import load
from dgmlab.models.vae import VAE
from dgmlab.rng import Rng
from dgmlab.training import Run

NAME, TITLE = "loop", "A step of the 8x8-digits VAE, batch 128 (ms a step; ratio to the bare loop)"
PER = STEPS = 1000      # steps a round: long enough for a panel to draw as often as it does in a notebook
BATCH = 128
KNOBS = SimpleNamespace(beta=1.0, lr=1e-3)


def _model():
    torch.manual_seed(0)
    return VAE((1, 8, 8), 8)


def _adam(model):
    return torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)


def bare():
    """Nothing but the arithmetic: shuffled indices, loss, backward, step."""
    x, model, rng = load("digits").train.x, _model(), Rng(0)
    optimizer = _adam(model)

    def work():
        done = 0
        while done < STEPS:
            order = torch.randperm(len(x))
            for start in range(0, len(x) - BATCH + 1, BATCH):
                loss = model.loss((x[order[start:start + BATCH]],), KNOBS, rng)["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if done == STEPS:
                    break
    return work


def ours():
    """A Run: metrics, history, knobs, guard against non-finite losses."""
    run = Run(_model, load("digits").train.x, batch_size=BATCH)

    def work():
        for _ in run.steps(STEPS):
            pass
    return work


def ours_scheduled():
    """A Run with a schedule on the KL weight."""
    from dgmlab.schedules import cyclical

    run = Run(_model, load("digits").train.x, batch_size=BATCH)
    run.knobs.drive("beta", cyclical(1_000_000))

    def work():
        for _ in run.steps(STEPS):
            pass
    return work


def ours_with_panel():
    """A Run with the live panel's drawing attached, as in a notebook without the notebook."""
    from dgmlab.widgets import vae_panel

    os.environ["DGMLAB_LIVE"] = "1"
    from dgmlab.experiments.vae import make_run

    run = make_run()
    panel = vae_panel(run)

    def work():
        for _ in run.steps(STEPS):
            panel._watch(run)
    work.close = panel.painter.close
    return work


def dataloader():
    """The loop most tutorials write: Dataset, DataLoader, unfused Adam."""
    from torch.utils.data import DataLoader, TensorDataset

    x, model, rng = load("digits").train.x, _model(), Rng(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(TensorDataset(x), BATCH, shuffle=True, drop_last=True)

    def work():
        done = 0
        while done < STEPS:
            for batch in loader:
                loss = model.loss(batch, KNOBS, rng)["loss"]
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                done += 1
                if done == STEPS:
                    break
    return work


def lightning():
    """The same model under Lightning's Trainer, everything optional switched off."""
    import lightning as L
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.vae, self.rng = _model(), Rng(0)

        def training_step(self, batch, index):
            return self.vae.loss(batch, KNOBS, self.rng)["loss"]

        def configure_optimizers(self):
            return _adam(self.vae)

    module = Module()
    loader = DataLoader(TensorDataset(load("digits").train.x), BATCH, shuffle=True, drop_last=True)

    def work():
        L.Trainer(max_steps=STEPS, accelerator="cpu", logger=False, enable_checkpointing=False,
                  enable_progress_bar=False, enable_model_summary=False).fit(module, loader)
    return work


def pythae():
    """The VAE of the library pythae with its trainer: same sizes, its own arithmetic."""
    import tempfile

    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    logging.disable(logging.WARNING)
    x = load("digits").train.x
    epochs = -(-STEPS // (len(x) // BATCH))

    def work():
        with contextlib.redirect_stderr(io.StringIO()):         # its progress bars
            train()

    def train():
        config = BaseTrainerConfig(output_dir=tempfile.mkdtemp(), num_epochs=epochs, learning_rate=1e-3, no_cuda=True,
                                   per_device_train_batch_size=BATCH, steps_saving=None)
        from pythae.data.datasets import BaseDataset

        trainer = BaseTrainer(PythaeVAE(VAEConfig(input_dim=(1, 8, 8), latent_dim=8)),
                              BaseDataset(x, torch.zeros(len(x))), training_config=config)
        trainer.train()
    return work


CONTENDERS = {"bare loop": bare, "dgmlab Run": ours, "dgmlab Run, scheduled knob": ours_scheduled,
              "dgmlab Run, live panel drawn": ours_with_panel, "DataLoader loop": dataloader,
              "Lightning Trainer": lightning, "pythae trainer": pythae}
