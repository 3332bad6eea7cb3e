"""A generator whose faults are set by hand, made of real digits (lab 07).

It begins with real images that no training has seen: the best any generator could do. Then it is spoilt: a share of its
samples are copies of training images, some classes are missing, the images are noisy or blurred. What a metric makes of
each fault can then be seen apart from everything else.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import load
from ..errors import LabError, check_number
from ..metrics.features import density_coverage_of, inception_score, kernel_distance, precision_recall_of
from ..metrics.frechet import frechet_distance
from ..metrics.memorising import neighbours
from ..rng import Rng
from .judging import judge

MOST_NOISE, MOST_BLUR = 1.0, 2.0
NEIGHBOURS = 5          # k of precision, recall, density and coverage


@dataclass(frozen=True)
class Faults:
    """What is wrong with a generator; nothing, by default.

    Attributes:
        memorised: the share of samples that are training images, 0 to 1.
        dropped: how many classes are missing, from the last on.
        noise: standard deviation of the Gaussian noise on every pixel, where paper is 0 and ink is 1.
        blur: standard deviation of the Gaussian blur, in pixels.
    """

    memorised: float = 0.0
    dropped: int = 0
    noise: float = 0.0
    blur: float = 0.0

    def __post_init__(self):
        check_number("The share of memorised images", self.memorised, 0, 1)
        check_number("The number of dropped classes", self.dropped, 0, whole=True)
        check_number("The noise", self.noise, 0, MOST_NOISE)
        check_number("The blur", self.blur, 0, MOST_BLUR)

    def __str__(self):
        says = [f"{self.memorised:.0%} copies of training images" * bool(self.memorised),
                f"{self.dropped} class{'es' * (self.dropped > 1)} dropped" * bool(self.dropped),
                f"noise {self.noise:g}" * bool(self.noise), f"blur {self.blur:g} px" * bool(self.blur)]
        return ", ".join(filter(None, says)) or "no fault: real, unseen images"


@dataclass(frozen=True)
class Spoilt:
    """What such a generator makes.

    Attributes:
        x: (n, C, H, W) samples.
        copies: (n,) which of them were training images before noise and blur.
        faults: what was wrong with it.
    """

    x: Tensor
    copies: Tensor
    faults: Faults


class Bench:
    """A generator to be spoilt, and what every metric says of it.

    Args:
        dataset: of images with classes; see :func:`dgmlab.data.load`.
        train: how many images the generator is said to have been trained on, the first of the training split. They are
            the *reference* of every metric, as is the field's custom, and what it copies.
        repeats: how many sets of unseen real images make the range in which a perfect generator would lie.
        seed: of the judge's training.

    Attributes:
        data, judge: the data set and the classifier in whose features most metrics look.
        x, y: (train, C, H, W) and (train,), the generator's training images.
        features: (train, F) the judge's features of x, the reference of every metric.
        unseen: (N, C, H, W) images that neither the generator nor the judge has seen: the splits valid and test.
    """

    def __init__(self, dataset: str = "digits", train: int = 300, repeats: int = 20, seed: int = 0):
        self.data, self.judge = load(dataset), judge(dataset, seed=seed)
        check_number("The number of training images", train, 30, len(self.data.train), whole=True)
        check_number("The number of repeats", repeats, 2, whole=True)
        self.x, self.y, self.repeats = self.data.train.x[:train], self.data.train.y[:train], repeats
        self.unseen = torch.cat([self.data.valid.x, self.data.test.x])
        self._unseen_y = torch.cat([self.data.valid.y, self.data.test.y])
        self.features, self._real = self.look(self.x)[0], {}
        self._within = torch.cdist(self.features, self.features)

    @torch.no_grad()
    def look(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The judge's features (n, F) and logits (n, K), in float64, so that a copy's distance to its original is 0."""
        return self.judge.features(x).double(), self.judge(x).double()

    def make(self, faults: Faults, n: int, seed: int = 0) -> Spoilt:
        """``n`` samples of the generator with these faults; no image is drawn twice while there are enough of them.

        With one seed, a fault that grows changes a growing part of the same samples.

        Raises:
            LabError: fewer than two classes would be left.
        """
        check_number("The number of samples", n, 2, whole=True)
        kept = len(self.data.classes) - faults.dropped
        if kept < 2:
            raise LabError(f"{faults.dropped} of {len(self.data.classes)} classes would be dropped, but two must be "
                           f"left; drop at most {len(self.data.classes) - 2}.")
        rng = Rng(seed)
        x, copied = _draw(self.unseen, self._unseen_y, kept, n, rng), _draw(self.x, self.y, kept, n, rng)
        rank, noise = rng.permutation(n), rng.normal(x.shape)
        copies = rank < round(faults.memorised * n)
        x = torch.where(copies[:, None, None, None], copied, x)
        x = blurred(x, faults.blur)
        return Spoilt((x + faults.noise * noise).clamp(0, 1) if faults.noise else x, copies, faults)

    def measure(self, x: Tensor) -> dict[str, float]:
        """Nine metrics of samples (n, C, H, W), by name: ``frechet``, ``kid``, ``inception`` (the score),
        ``precision``, ``density``, ``recall``, ``coverage``, ``ratio`` of the distances to the nearest training image,
        and the share of ``copies``. The first seven look at the judge's features, the last two at pixels."""
        made, logits = self.look(x)
        if len(made) <= NEIGHBOURS:
            raise LabError(f"There are {len(made)} samples, but balls that reach to the {NEIGHBOURS}th neighbour need "
                           f"more; draw at least {NEIGHBOURS + 1}.")
        between = torch.cdist(made, self.features)
        precision, recall = precision_recall_of(torch.cdist(made, made), between, self._within, NEIGHBOURS)
        density, coverage = density_coverage_of(between, self._within, NEIGHBOURS)
        near = neighbours(x, self.x, self.unseen)
        return {"frechet": frechet_distance(made, self.features), "kid": kernel_distance(made, self.features),
                "inception": inception_score(logits), "precision": precision, "density": density, "recall": recall,
                "coverage": coverage, "ratio": near.ratio, "copies": near.copies}

    def real(self, n: int) -> dict[str, tuple[float, float]]:
        """The smallest and the largest value of every metric over ``repeats`` sets of ``n`` unseen real images: what a
        perfect generator would get. Kept, so that asking again costs nothing."""
        if n not in self._real:
            found = [self.measure(self.make(Faults(), n, seed).x) for seed in range(1000, 1000 + self.repeats)]
            self._real[n] = {name: (min(each[name] for each in found), max(each[name] for each in found))
                             for name in found[0]}
        return self._real[n]


def blurred(x: Tensor, sd: float) -> Tensor:
    """Images (n, C, H, W) after a Gaussian blur of ``sd`` pixels; beyond the edges is paper."""
    if not sd:
        return x
    reach = torch.arange(-4, 5, dtype=x.dtype)
    line = torch.exp(-0.5 * (reach / sd).square())
    line = (line / line.sum()).expand(x.shape[1], 1, 9)
    rows = F.conv2d(x, line[..., None, :], padding=(0, 4), groups=x.shape[1])
    return F.conv2d(rows, line[..., None], padding=(4, 0), groups=x.shape[1])


def _draw(x: Tensor, y: Tensor, kept: int, n: int, rng: Rng) -> Tensor:
    """n of the images whose class is below ``kept``, without repetition as long as they last."""
    order = rng.permutation(len(x))
    order = order[y[order] < kept]
    return x[order.repeat(-(-n // len(order)))[:n]]


# -- generators to be diagnosed by their numbers ---------------------------------------------------------------------

AILMENTS = {"copies": Faults(memorised=0.6), "drops": Faults(dropped=2), "noise": Faults(noise=0.22),
            "blur": Faults(blur=0.55), "nothing": Faults()}


def patients(seed: int = 0) -> dict[str, str]:
    """Five letters, and what is wrong with the generator that each of them stands for: one of :data:`AILMENTS`. The
    seed shuffles them."""
    order = Rng(seed + 7).permutation(len(AILMENTS)).tolist()
    return {letter: list(AILMENTS)[k] for letter, k in zip("ABCDE", order)}


def ward(bench: Bench, seed: int = 0, n: int = 300) -> dict[str, Tensor]:
    """The samples (n, C, H, W) of the generators A to E of :func:`patients`."""
    return {letter: bench.make(AILMENTS[ailment], n, seed + 31 * k).x
            for k, (letter, ailment) in enumerate(patients(seed).items())}
