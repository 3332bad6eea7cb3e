"""What every data set is made of, and where its files live."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LabError, check_number

if TYPE_CHECKING:
    from torch import Tensor


def folder() -> Path:
    """The data folder: ``cache/`` (generated), ``published/`` (downloads) and ``runs/`` (checkpoints) lie in it.

    It is the environment variable DGMLAB_DATA if that is set, else ``data/`` of the checkout this package is run
    from, else ``~/.cache/dgmlab``. The folder need not exist yet.
    """
    if os.environ.get("DGMLAB_DATA"):
        return Path(os.environ["DGMLAB_DATA"]).expanduser().absolute()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file() and (checkout / "labs").is_dir():
        return checkout / "data"
    return Path.home() / ".cache" / "dgmlab"


@dataclass(frozen=True, eq=False)
class Split:
    """The examples for one purpose.

    Attributes:
        x: images, float32 (N, C, H, W) in [0, 1].
        y: class of each image, int64 (N,), an index into the data set's ``classes``.
        font: glyphs only: int64 (N,), an index into the data set's ``fonts``.
        jitter: glyphs only: float32 (N, 5), what each image was turned, slanted, scaled and shifted by; see
            :data:`dgmlab.data.glyphs.JITTER`.
    """

    x: Tensor
    y: Tensor
    font: Tensor | None = None
    jitter: Tensor | None = None

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with their classes, in three splits that are the same on every machine.

    Attributes:
        name: the name it is loaded by.
        train, valid, test: the three :class:`Split`.
        classes: the name of each class.
        about: one sentence on what it is and where it comes from.
        licence: the terms it may be used under.
        fonts: glyphs only: the name of each font.
    """

    name: str
    train: Split
    valid: Split
    test: Split
    classes: tuple[str, ...]
    about: str
    licence: str
    fonts: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return tuple(self.train.x.shape[1:])

    def __repr__(self) -> str:
        sizes = " / ".join(f"{len(split):,}" for split in (self.train, self.valid, self.test))
        size = " x ".join(map(str, self.shape))
        return f"<{self.name}: {size}, {len(self.classes)} classes, {sizes} for training / validation / test>"


@dataclass(frozen=True, eq=False)
class Frozen:
    """The read-only bytes of a data set, kept by the process.

    Loading twice is cheap because the bytes are kept, and safe because every load makes its own float tensors:
    whatever a caller does to them, the next one finds the data as they were.

    Attributes:
        x: uint8 (N, C, H, W): the training examples first, then validation, then test.
        y: uint8 (N,).
        counts: the sizes of the three splits.
        white: the value of a pixel that is fully on.
        more: further arrays with N rows, by the name of their field in :class:`Split`.
    """

    x: np.ndarray
    y: np.ndarray
    counts: tuple[int, int, int]
    white: int = 255
    more: tuple[tuple[str, np.ndarray], ...] = ()

    def __post_init__(self):
        for array in (self.x, self.y, *dict(self.more).values()):
            array.setflags(write=False)

    def splits(self) -> tuple[Split, Split, Split]:
        """Fresh tensors, cut into the three splits."""
        import torch

        x = torch.from_numpy(np.divide(self.x, np.float32(self.white), dtype=np.float32))
        y = torch.from_numpy(self.y.astype(np.int64))
        more = {name: torch.from_numpy(array.astype(np.float32 if array.dtype.kind == "f" else np.int64))
                for name, array in self.more}
        splits, start = [], 0
        for count in self.counts:
            rows = slice(start, start + count)
            splits.append(Split(x[rows], y[rows], **{name: tensor[rows] for name, tensor in more.items()}))
            start += count
        return tuple(splits)


@contextlib.contextmanager
def beside(path: Path):
    """Write a file so that it is either whole or not there: yields a path beside ``path``, renamed at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def check_seed(seed: int) -> None:
    """Raise :class:`LabError` unless ``seed`` can seed a generator."""
    check_number("The seed", seed, 0, 2**63 - 1, whole=True)


def complaint(action, *arguments) -> str:
    """The sentence of the :class:`LabError` that ``action`` raises; "" if it raises none."""
    try:
        action(*arguments)
    except LabError as error:
        return str(error)
    return ""
