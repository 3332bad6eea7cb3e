"""Two collections of images in two styles, in no order that would relate them: what an unpaired translator learns from.

    styles = fonts("DejaVuSans-Bold", "cmtt10")
    styles.train_x, styles.train_y          # no row of one has anything to do with the same row of the other
    styles.pairs["test"].x, .y              # held out, and here row k of y is the right answer to row k of x

Between fonts the truth is known, because a glyph can be rendered again in the other font, turned, slanted and scaled
by the same amounts; it is there for measuring, and for the supervised yardstick. Between two photographs
(:func:`photographs`) there is no truth. Published collections: :mod:`dgmlab.data.published_styles`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import LabError, check_choice, check_number
from . import glyphs
from .base import check_seed

if TYPE_CHECKING:
    from torch import Tensor

CHARACTERS = "ACEHKMNRSTXZBG5"
NEW = "BG5"                     # of them never seen in training, unless others are asked for
PHOTOGRAPHS = ("china", "flower")
ABOUT = "Patches of the two photographs that come with scikit-learn: a Chinese temple and a flower."
LICENCE = "CC BY 2.0 (both photographs come with scikit-learn)"


@dataclass(frozen=True, eq=False)
class Pairs:
    """Images and their true translations, row by row.

    Attributes:
        x, y: float32 (N, C, H, W) in [0, 1]; ``y`` is the truth of ``x``.
        label: int64 (N,), what is shown, as an index into the classes; None where nothing is known.
    """

    x: Tensor
    y: Tensor
    label: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)


@dataclass(frozen=True, eq=False)
class Styles:
    """Two collections of images.

    Attributes:
        name, sides: of the data, and of its two sides X and Y.
        train_x, train_y: (N, C, H, W) and (M, C, H, W) in [0, 1], or bytes; unpaired.
        test_x, test_y: held-out images of either side; unpaired.
        truth_x, truth_y: the true translations of the training images, row by row; None where they are not known.
        pairs: held-out pairs by what is new about them: between fonts ``valid`` and ``test`` (new jitters, 300 each)
            and ``new characters``.
        classes: what the labels of the pairs stand for.
        whole: (1, C, H, W) each: what the two sides were cut out of, if they were.
    """

    name: str
    sides: tuple[str, str]
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    about: str
    licence: str
    truth_x: Tensor | None = None
    truth_y: Tensor | None = None
    pairs: dict[str, Pairs] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    whole: tuple[Tensor, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        return tuple(self.train_x.shape[1:])

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.shape))
        return (f"<{self.name}: {size}, {len(self.train_x):,} of {self.sides[0]} and {len(self.train_y):,} of "
                f"{self.sides[1]} for training>")


def fonts(source: str = "DejaVuSans-Bold", target: str = "cmtt10", characters: str = CHARACTERS,
          new: str = NEW, each: int = 40, size: int = 16, held: int = 300, seed: int = 0, magnify: float = 1.3,
          rotation: float = 5.0, shear: float = 0.1, scale: float = 0.1, shift: float = 0.04) -> Styles:
    """The same characters in two fonts, every image jittered by itself, so that no two of them belong together.

    Args:
        source, target: the fonts of side X and of side Y, out of :data:`dgmlab.data.glyphs.FONTS`.
        characters: what the two sides are made of, with the new ones; see :data:`dgmlab.data.glyphs.CHARACTERS`.
        new: those among them that are kept out of training altogether, on both sides; may be empty.
        each: training images of each character on each side.
        size: side of an image in pixels, 8 to 64, divisible by 4.
        held: held-out pairs of each kind.
        seed: a whole number; equal options give equal images.
        magnify: how much larger the glyphs are than those of ``load("glyphs")``, 0.5 to 1.5.
        rotation, shear, scale, shift: half-widths of the jitter, see :func:`dgmlab.data.glyphs.draw_jitters`.
    """
    import torch

    from ..rng import Rng

    for font in (source, target):
        check_choice("The font", font, glyphs.FONTS)
    if source == target:
        raise LabError(f"Both sides are in the font {source}, so there is nothing to translate; name two fonts.")
    known = list(dict.fromkeys(characters))
    if len(known) < len(characters):
        raise LabError(f"A character is named twice in {characters!r}; name each once.")
    strangers = [c for c in new if c not in known]
    if strangers:
        raise LabError(f"The new character {strangers[0]!r} is not among the characters {characters!r}; new characters "
                       "are those of them that are kept out of training.")
    seen = [c for c in known if c not in new]
    if len(seen) < 2:
        raise LabError(f"Only {len(seen)} character{' is' if len(seen) == 1 else 's are'} left for training "
                       f"({''.join(seen) or 'none'}), but a translation needs at least two to be right or wrong about; "
                       "name more characters, or fewer new ones.")
    check_number("The number of images of each character", each, 2, 10_000, whole=True)
    check_number("The number of held-out pairs", held, 10, 100_000, whole=True)
    check_number("The side of a glyph in pixels", size, 8, 64, whole=True)
    if size % 4:
        raise LabError(f"The side of a glyph is {size} pixels, but the networks halve an image twice, so it must be "
                       "divisible by 4.")
    check_number("The magnification of the glyphs", magnify, 0.5, 1.5)
    check_seed(seed)
    rng = Rng(seed)

    def drawn(letters: list[str], n: int):
        """n images of the letters, each as often (to within one): in X, in Y, and which letters they are."""
        order = [letters[k % len(letters)] for k in rng.permutation(n).tolist()]
        jitters = glyphs.draw_jitters(n, int(rng.integers(2**31, (1,))), rotation, shear, scale, shift)
        jitters[:, 2] *= magnify
        labels = torch.tensor([known.index(c) for c in order])
        return Pairs(*(glyphs.render(order, font, jitters, size) for font in (source, target)), labels)

    first, second = (drawn(seen, each * len(seen)) for _ in range(2))
    pairs = {"valid": drawn(seen, held), "test": drawn(seen, held)}
    if new:
        pairs["new characters"] = drawn([c for c in known if c in new], held)
    other = drawn(seen, held)
    return Styles("fonts", (source, target), first.x, second.y, pairs["test"].x, other.y,
                  f"{len(seen)} characters in {source} and in {target}, {each} images of each.", glyphs.LICENCE,
                  first.y, second.x, pairs, tuple(known))


def photographs(size: int = 16, n: int = 1200, held: int = 200, shrink: int = 3, seed: int = 0) -> Styles:
    """Patches of the two photographs that come with scikit-learn: a Chinese temple (X) and a flower (Y).

    The right quarter of each photograph is held out. There is no true translation.

    Args:
        size: side of a patch in pixels, 8 to 64, divisible by 4.
        n, held: patches of each side for training, and held out.
        shrink: the photographs are first made smaller by this factor, 1 to 4 (427 x 640 pixels at 1).
        seed: a whole number.
    """
    import torch
    from sklearn.datasets import load_sample_image

    from ..rng import Rng

    check_number("The side of a patch in pixels", size, 8, 64, whole=True)
    check_number("The number of patches", n, 16, 100_000, whole=True)
    check_number("The number of held-out patches", held, 10, 100_000, whole=True)
    check_number("The factor by which the photographs are made smaller", shrink, 1, 4, whole=True)
    check_seed(seed)
    if size % 4:
        raise LabError(f"The side of a patch is {size} pixels, but the networks halve an image twice, so it must be "
                       "divisible by 4.")
    rng, whole, train, test = Rng(seed), [], [], []
    for name in PHOTOGRAPHS:
        pixels = torch.from_numpy(load_sample_image(f"{name}.jpg").copy()).permute(2, 0, 1)[None].float() / 255
        photo = torch.nn.functional.avg_pool2d(pixels, shrink)                              # (1, 3, H, W)
        high, wide = (side // 4 * 4 for side in photo.shape[2:])
        photo = photo[:, :, :high, :wide].contiguous()
        border = 3 * wide // 4
        if high < size or wide - border < size:
            raise LabError(f"Made smaller by {shrink}, a photograph is {high} x {wide} pixels, and its right quarter "
                           f"has no room for patches of {size}; choose a smaller patch or a smaller factor.")

        def cut(count, left, right, photo=photo, high=high):
            ups = rng.integers(high - size + 1, (count,)).tolist()
            lefts = (left + rng.integers(right - left - size + 1, (count,))).tolist()
            return torch.cat([photo[:, :, u:u + size, a:a + size] for u, a in zip(ups, lefts, strict=True)])

        whole.append(photo)
        train.append(cut(n, 0, border))
        test.append(cut(held, border, wide))
    return Styles("photographs", ("temple", "flower"), *train, *test, ABOUT, LICENCE,
                  whole=tuple(whole))


def check() -> None:
    """Raise :class:`LabError` unless scikit-learn's two photographs are there and can be read."""
    photographs(n=16, held=10)


def from_folders(first: str, second: str, size: int = 64) -> Styles:
    """Two folders of one's own photographs as the two sides; the last tenth of each, by name, is held out.

    Args:
        first, second: folders with image files (jpg, png), all of one size in pixels, at least ten each.
        size: side of the square that each is shrunk to, divisible by 4.
    """
    from pathlib import Path

    import torch

    check_number("The side of an image in pixels", size, 8, 1024, whole=True)
    if size % 4:
        raise LabError(f"The side of an image is {size} pixels, but the networks halve an image twice, so it must be "
                       "divisible by 4.")
    sides = []
    for place in map(Path, (first, second)):
        files = sorted(path for path in place.iterdir() if path.suffix.lower() in (".jpg", ".jpeg", ".png")) \
            if place.is_dir() else []
        if len(files) < 10:
            raise LabError(f"There are {len(files)} photographs in {place}, but a side needs at least 10; put more "
                           ".jpg or .png files there, or name another folder.")
        sides.append(torch.from_numpy(read_images(files, size)))
    cuts = [len(side) - max(1, len(side) // 10) for side in sides]
    return Styles("folders", (Path(first).name, Path(second).name), sides[0][:cuts[0]], sides[1][:cuts[1]],
                  sides[0][cuts[0]:], sides[1][cuts[1]:], "Photographs of your own.", "your own")


def read_images(files, size: int | None = None, expected: tuple[int, int] | None = None):
    """Image files, or open files, as bytes (N, 3, H, W); :class:`LabError` if they are not all of one size.

    Args:
        size: side of the square each is shrunk to; None leaves them as they are.
        expected: (height, width) that each must have before; None for those of the first.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    images = []
    for file in files:
        name = getattr(file, "name", file)
        try:
            with Image.open(file) as image:
                found = (image.height, image.width)
                expected = expected or found
                if found != expected:
                    raise LabError(f"{name} is {found[1]} x {found[0]} pixels, but the others are {expected[1]} x "
                                   f"{expected[0]}; crop or resize the images to one size.")
                image = image.convert("RGB")
                images.append(np.asarray(image.resize((size, size), Image.Resampling.BICUBIC) if size else image))
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise LabError(f"{name} cannot be read as an image ({error}); delete it or get it anew.") from None
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
