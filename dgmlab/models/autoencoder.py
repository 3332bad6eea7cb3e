"""The deep autoencoder (Hinton & Salakhutdinov 2006, Science 313:504-507): squeeze an example through a bottleneck.

An encoder makes a code of L numbers from an example, a decoder makes the example from the code, and both minimise the
squared error. Nothing says how codes are distributed, so it compresses but does not generate. With ``hidden=()`` both
maps are linear, and the best they can do is what PCA does.

Letters: B batch, L latent dimensions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import check_number
from ..knobs import Real
from ..rng import Rng
from .nets import Decoder, check_batch, check_shape, make_encoder
from .recipe import LearningRate, Recipe


class AutoencoderKnobs(LearningRate):
    """The learning rate, and the noise on the encoder's input: with it this is the denoising autoencoder of Vincent et
    al. (2008), which has to rebuild the clean example from a noisy one."""

    noise = Real(0.0, 0, 10, "input noise", symbol="σ", slider=(0, 1))


class Autoencoder(Recipe):
    """An encoder and a decoder with a bottleneck between them.

    Args:
        shape: of one example, (C, H, W) or any other tuple if ``body="mlp"``.
        latent: L, the size of the bottleneck.
        hidden: sizes of the dense hidden layers; the decoder has them in reverse. ``()`` gives linear maps.
        body: ``mlp`` or ``conv``, as in :class:`~dgmlab.models.vae.VAE`.
        activation: one of ``nets.ACTIVATIONS``.
        watch: held-out examples (N, ...); their error stands beside the loss of every step, at the price of one more
            pass through the model.

    Raises:
        LabError: for an argument out of range, or a batch of another shape than ``shape``.
    """

    Knobs = AutoencoderKnobs

    def __init__(self, shape=(1, 8, 8), latent: int = 8, hidden=(256,), body: str = "mlp", activation: str = "relu",
                 watch: Tensor | None = None):
        super().__init__()
        self.shape = check_shape(shape)
        check_number("The number of latent dimensions", latent, 1, whole=True)
        self.latent = latent
        self.encoder = make_encoder(self.shape, hidden, latent, body, activation)              # (B, L)
        self.decoder = Decoder(latent, hidden[::-1], self.shape, body, activation)             # (..., D)
        if watch is not None:
            check_batch(watch, self.shape, self)
        self.register_buffer("watch", watch, persistent=False)

    def encode(self, x: Tensor) -> Tensor:
        """The codes of examples: (B, C, H, W) -> (B, latent)."""
        check_batch(x, self.shape, self)
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """The examples of codes: (B, latent) -> (B, C, H, W)."""
        return self.decoder(z).unflatten(-1, self.shape)

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """Squared error, averaged over the batch and the dimensions of an example (squared units of the data)."""
        x = batch[0]
        noisy = x + knobs.noise * rng.normal(x.shape)
        terms = {"loss": F.mse_loss(self.decode(self.encode(noisy)), x)}
        if self.watch is not None:
            terms["held_out"] = F.mse_loss(self.reconstruct(self.watch), self.watch)           # without noise
        return terms

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Examples after the bottleneck, (B, C, H, W)."""
        return self.decode(self.encode(x))
