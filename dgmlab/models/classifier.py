"""A small classifier. In this lab it is a judge: its last hidden layer says what two images have in common.

The Fréchet "Inception" distance and its relatives (Heusel et al. 2017, arXiv:1706.08500) compare images by the features
of a network that was trained to classify photographs. For digits and letters a network of the same kind, trained on
digits and letters within seconds, does the same service, and does it better.

Letters: B batch, K classes, F features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import LabError, check_number
from ..rng import Rng
from .nets import check_batch, check_shape, make_encoder
from .recipe import Recipe


class Classifier(Recipe):
    """Convolutions of stride 2, one dense hidden layer (the features), and one logit for each class.

    Args:
        shape: of one example: (C, H, W) with sides from 8 to 64, or any other tuple if ``body="mlp"``.
        classes: K, at least 2.
        features: F, the units of the last hidden layer.
        hidden: sizes of dense layers before it.
        body: ``conv`` or ``mlp``; see :func:`dgmlab.models.nets.make_encoder`.

    Raises:
        LabError: for an argument out of range, one class only, or a batch of another shape than ``shape``.
    """

    def __init__(self, shape=(1, 8, 8), classes: int = 10, features: int = 64, hidden=(), body: str = "conv"):
        super().__init__()
        self.shape = check_shape(shape)
        if classes == 1:
            raise LabError("The data have one class only, but a classifier has to tell at least two apart; load data "
                           "of several classes.")
        check_number("The number of classes", classes, 2, whole=True)
        check_number("The number of features", features, 1, whole=True)
        self.classes = int(classes)
        self.network = make_encoder(self.shape, (*hidden, features), self.classes, body)

    def features(self, x: Tensor) -> Tensor:
        """The last hidden layer, after its ReLU: (B, ...) -> (B, F), each 0 or above."""
        check_batch(x, self.shape, self)
        return self.network[:-1](x)

    def forward(self, x: Tensor) -> Tensor:
        """Logits: (B, ...) -> (B, K); their softmax is p(class | x)."""
        check_batch(x, self.shape, self)
        return self.network(x)

    def loss(self, batch, knobs, rng: Rng) -> dict[str, Tensor]:
        """``loss`` = cross-entropy in nats per example; ``accuracy``, the share of the batch that is right.

        ``batch`` is (x, y): (B, ...) and whole numbers (B,) from 0 to K - 1.
        """
        x, y = batch
        logits = self(x)
        return {"loss": F.cross_entropy(logits, y), "accuracy": (logits.argmax(-1) == y).float().mean()}

    @torch.no_grad()
    def classify(self, x: Tensor) -> Tensor:
        """The most probable class of each example: (B, ...) -> (B,)."""
        return self(x).argmax(-1)

    @torch.no_grad()
    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """The share of examples (B, ...) that it assigns to their class y (B,)."""
        if len(x) != len(y) or not len(x):
            raise LabError(f"There are {len(x)} examples and {len(y)} classes, but each of at least one example needs "
                           "one; give x and y of the same split.")
        return float((self.classify(x) == y).float().mean())
