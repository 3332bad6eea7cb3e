"""Principal component analysis: the best *linear* bottleneck (Pearson 1901; Eckart & Young 1936).

Codes are coordinates along the L directions of largest variance. No other linear encoder and decoder with a bottleneck
of L numbers has a smaller squared error, which makes PCA the yardstick for an autoencoder.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import LabError, check_number
from .nets import check_batch


class PCA:
    """PCA with the autoencoder's interface: ``PCA(10).fit(x).reconstruct(x)``.

    Attributes (after :meth:`fit`):
        shape: of one example.
        mean: (D,).
        components: (latent, D), orthonormal rows, by falling variance; the largest entry of each is positive.
        explained_variance: (latent,) sample variance (over N - 1) along each component.
        explained_variance_ratio: (latent,) the same, as shares of the total variance.
    """

    def __init__(self, latent: int):
        check_number("The number of components", latent, 1, whole=True)
        self.latent = latent
        self.shape: tuple[int, ...] | None = None

    def fit(self, x: Tensor) -> PCA:
        """Find mean and components of the examples (N, ...)."""
        n, d = len(x), math.prod(x.shape[1:])
        if not self.latent <= min(n, d) or n < 2:
            raise LabError(f"{self.latent} components were asked for, but {n} examples of {d} numbers have at most "
                           f"{min(n, d) if n > 1 else 0}; ask for fewer or give more examples.")
        flat = x.flatten(1)                                                         # (N, D)
        self.shape, self.mean = tuple(x.shape[1:]), flat.mean(0)
        _, singular, rows = torch.linalg.svd(flat - self.mean, full_matrices=False)
        variance = singular.square() / (n - 1)
        components = rows[:self.latent]
        largest = components.gather(1, components.abs().argmax(1, keepdim=True))    # a component's sign is arbitrary
        self.components = components * largest.sign()
        self.explained_variance = variance[:self.latent]
        self.explained_variance_ratio = self.explained_variance / variance.sum()
        return self

    def encode(self, x: Tensor) -> Tensor:
        """Coordinates along the components: (B, ...) -> (B, latent)."""
        self._check_fitted()
        check_batch(x, self.shape, self)
        return (x.flatten(1) - self.mean) @ self.components.T

    def decode(self, z: Tensor) -> Tensor:
        """The point of the subspace at these coordinates: (B, latent) -> (B, ...)."""
        self._check_fitted()
        return (z @ self.components + self.mean).unflatten(-1, self.shape)

    def reconstruct(self, x: Tensor) -> Tensor:
        """The nearest point of the subspace, (B, ...)."""
        return self.decode(self.encode(x))

    def _check_fitted(self):
        if self.shape is None:
            raise LabError("This PCA has seen no data yet; call fit(x) first.")
