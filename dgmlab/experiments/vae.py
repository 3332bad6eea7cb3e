"""Lab 03: a VAE on small images."""

from __future__ import annotations

from functools import partial

from ..data import load
from ..errors import check_choice
from ..models.vae import VAE
from ..training import Run, TensorBatches
from . import recorded

SCALES = ("smoke", "lab", "paper")
PUBLISHED = ("mnist", "fashion", "cifar10", "cifar100")


@recorded
def make_run(dataset: str = "digits", latent: int = 8, beta: float = 1.0, lr: float = 1e-3, hidden: tuple = (256,),
             body: str = "mlp", observation: str = "gaussian", eta: float = 0.1, batch_size: int = 128, seed: int = 0,
             scale: str = "lab", device: str = "auto", folder: str | None = None) -> Run:
    """A VAE ready to be trained.

    Args:
        dataset: any name :func:`dgmlab.data.load` knows.
        latent, hidden, body, observation, eta: see :class:`~dgmlab.models.vae.VAE`.
        beta, lr: start values of the knobs.
        scale: ``smoke`` and ``lab`` train on what lies at hand; ``paper`` makes the network that of Burda et al.
            (2016): two hidden layers of 200.

    Returns:
        The run; ``run.data`` is the :class:`~dgmlab.data.Dataset`.
    """
    check_choice("scale", scale, SCALES)
    data = load(dataset)
    if scale == "paper":
        hidden = (200, 200)
    model = partial(VAE, data.shape, latent, tuple(hidden), body, observation, eta)
    run = Run(model, TensorBatches(data.train.x, batch_size), knobs={"beta": beta, "lr": lr}, seed=seed, device=device,
              folder=folder)
    run.data = data
    return run
