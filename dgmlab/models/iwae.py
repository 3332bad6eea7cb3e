"""The importance-weighted autoencoder (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519).

The same networks as the VAE's, trained on a tighter bound: k draws from the encoder share the work of explaining x,

    log p(x)  >=  E log 1/k sum_i w_i,     w_i = p(x | z_i) p(z_i) / q(z_i | x),     z_i ~ q(z | x)     (eq. 8)

which is the ELBO at k = 1 and rises with k towards log p(x).
"""

from __future__ import annotations

import math

from torch import Tensor

from ..errors import check_number
from ..rng import Rng
from .vae import VAE


class IWAE(VAE):
    """A VAE trained on the importance-weighted bound with ``samples`` = k draws; other arguments as :class:`VAE`.

    Each example is encoded once and decoded k times, in one batch of k * B codes. The gradient is that of eq. 8
    itself, in which each draw counts with its normalised weight (eq. 14).
    """

    def __init__(self, *args, samples: int = 50, **settings):
        super().__init__(*args, **settings)
        check_number("The number of samples k", samples, 1, whole=True)
        self.samples = samples

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` = -log 1/k sum_i w_i, averaged over the batch; ``elbo_gap`` = how much it improves on the ELBO.

        A KL weight beta other than 1 multiplies log p(z) - log q(z | x) within each weight.
        """
        log_weights = self.log_weights(batch[0], rng, self.samples, knobs.beta)                # (k, B)
        bound = (log_weights.logsumexp(0) - math.log(self.samples)).mean()
        return {"loss": -bound, "elbo_gap": bound - log_weights.detach().mean()}
