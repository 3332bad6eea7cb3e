"""Training: the run, its history, its checkpoints, and where it computes."""

from ..rng import Rng
from .batches import SentenceBatches, TensorBatches
from .run import NonFinite, Run, Tick

__all__ = ["NonFinite", "Rng", "Run", "SentenceBatches", "TensorBatches", "Tick"]
