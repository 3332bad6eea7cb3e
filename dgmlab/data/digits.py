"""scikit-learn's handwritten digits: 1,797 real scans of 8 x 8 pixels, inside every installation of scikit-learn.

The pixels count, in each 4 x 4 block of a 32 x 32 bitmap, the points that are inked: 0 to 16, scaled to [0, 1] here.
They are the test part of a set that 43 people wrote (Alpaydin and Kaynak, 1998).
"""

from __future__ import annotations

import functools
import hashlib

import numpy as np

from ..errors import LabError
from .base import Dataset, Frozen

ABOUT = "1,797 handwritten digits of 8 x 8 pixels, real scans that come with scikit-learn (Alpaydin and Kaynak, 1998)."
LICENCE = "CC BY 4.0 (UCI Machine Learning Repository)"
COUNTS = (1197, 300, 300)
SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def load() -> Dataset:
    """The digits: shape (1, 8, 8), 1,197 / 300 / 300 examples, every class in the same proportion in each split."""
    return Dataset("digits", *_frozen().splits(), classes=tuple("0123456789"), about=ABOUT, licence=LICENCE)


def check() -> None:
    """Raise :class:`LabError` unless scikit-learn's digits are, byte for byte, the ones the lab was made with."""
    x, y = _read()
    if hashlib.sha256(x.tobytes() + y.tobytes()).hexdigest() != SHA256:
        raise LabError("The digits of this scikit-learn differ from those the lab was made with (their checksum is "
                       "wrong); reinstall it with `pip install --force-reinstall scikit-learn`.")


def _read():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x.astype(np.uint8).reshape(-1, 1, 8, 8), y.astype(np.uint8)


@functools.lru_cache(maxsize=1)
def _frozen() -> Frozen:
    x, y = _read()
    parts = split(y, COUNTS)
    order = np.concatenate(parts)
    return Frozen(x[order], y[order], COUNTS, white=16)


def split(y: np.ndarray, counts: tuple[int, ...]) -> list[np.ndarray]:
    """Cut 0 .. N-1 into parts of the given sizes, each with every class of ``y`` in proportion.

    A hash of the index chooses, so the parts depend on no library's random numbers. Another hash puts each part in
    order (by the same one a part would begin with the class whose share of it is largest), so that its first
    examples are a fair sample of it.
    """
    rank, place = ({i: hashlib.sha256(f"{salt} {i}".encode()).digest() for i in range(len(y))}
                   for salt in ("digits", "order"))
    rest = {c: sorted(np.flatnonzero(y == c).tolist(), key=rank.get) for c in np.unique(y).tolist()}
    parts = []
    for count in counts[1:]:
        share = {c: count * np.count_nonzero(y == c) / len(y) for c in rest}
        quota = {c: int(share[c]) for c in rest}
        # the largest remainders get what rounding down has left over
        for c in sorted(rest, key=lambda c: quota[c] - share[c])[:count - sum(quota.values())]:
            quota[c] += 1
        parts.append([i for c in rest for i in rest[c][:quota[c]]])
        rest = {c: rest[c][quota[c]:] for c in rest}
    parts.insert(0, [i for c in rest for i in rest[c]])
    return [np.array(sorted(part, key=place.get)) for part in parts]
