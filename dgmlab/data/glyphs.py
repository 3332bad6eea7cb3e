"""Glyphs: letters and digits rendered from the fonts that matplotlib ships.

Unlike scans, glyphs come with their whole truth: which character, in which font, turned, slanted, scaled and shifted
by how much. So the same example can be rendered again in another font, which is the right answer that a translation
between fonts has to find:

    data = load("glyphs", fonts=["DejaVuSans", "DejaVuSerif"])
    letters = [data.classes[c] for c in data.test.y]
    truth = glyphs.render(letters, "DejaVuSerif", data.test.jitter, size=16)

With the same characters, number and seed, two loads in different fonts agree row by row in character and jitter.
"""

from __future__ import annotations

import functools
import hashlib
import json
import string
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import LabError, check_number
from ..rng import Rng
from .base import Dataset, Frozen, beside, check_seed, folder

ABOUT = "Letters and digits rendered from the fonts that matplotlib ships, each turned, slanted, scaled and shifted."
LICENCE = "generated; the fonts have free licences of their own (DejaVu, STIX, BaKoMa Computer Modern)"
CHARACTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique",
    "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic",
    "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta",
    "cmr10", "cmb10", "cmti10", "cmss10", "cmtt10", "cmmi10",
)
# The columns of a jitter: degrees anticlockwise, slant to the right (the tangent), factor, and shares of the image's
# side to the right and upwards. This row leaves a glyph as it is.
JITTER = ("rotation", "shear", "scale", "right", "up")
STILL = (0.0, 0.0, 1.0, 0.0, 0.0)

_CAPITAL = 0.6      # height of a capital H as a share of the image's side: leaves room for jitter and for a j or a W
_FORMAT = 1         # raise it when the rendering changes, so that old caches are not used


def load(characters: str = "ABCDEFGHIJ",
         fonts: Sequence[str] = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif",
                                 "STIXGeneral", "STIXGeneralItalic", "cmr10", "cmtt10"),
         size: int = 16, n: int = 10_000, seed: int = 0,
         rotation: float = 10.0, shear: float = 0.15, scale: float = 0.15, shift: float = 0.06) -> Dataset:
    """Glyphs of shape (1, size, size); 80 / 10 / 10 % of ``n`` for training / validation / test.

    Every split holds every pair of character and font equally often (to within one). The first load renders and
    keeps the result under ``folder()/cache``; later ones read it.

    Args:
        characters: the classes, out of :data:`CHARACTERS`. The default is notMNIST's A to J.
        fonts: names out of :data:`FONTS`.
        size: side of the image in pixels, 8 to 64.
        n: number of examples over all splits, 10 to 1,000,000.
        seed: a whole number; equal options give equal images.
        rotation, shear, scale, shift: half-widths of the uniform jitter: degrees, tangent, share of the glyph's
            size, share of the image's side.

    Raises:
        LabError: an unknown character or font, or a number out of bounds; the sentence lists what is known.
    """
    characters, fonts = _check_characters(characters), _check_fonts([fonts] if isinstance(fonts, str) else fonts)
    if len(set(characters)) < len(characters) or len(set(fonts)) < len(fonts):
        raise LabError("A character or a font is named twice; name each once.")
    check_number("The side of a glyph in pixels", size, 8, 64, whole=True)
    check_number("The number of glyphs", n, 10, 1_000_000, whole=True)
    check_seed(seed)
    _check_jitter(rotation, shear, scale, shift)
    amounts = tuple(map(float, (rotation, shear, scale, shift)))
    frozen = _frozen(folder() / "cache", characters, fonts, int(size), int(n), int(seed), amounts)
    return Dataset("glyphs", *frozen.splits(), classes=tuple(characters), about=ABOUT, licence=LICENCE, fonts=fonts)


def render(characters: Sequence[str], font: str | Sequence[str], jitters=None, size: int = 16):
    """The given characters in the given font: float32 (N, 1, size, size) in [0, 1], ink is 1.

    Args:
        characters: N of them, as one string or a list.
        font: one name out of :data:`FONTS`, or N of them.
        jitters: (N, 5), columns as in :data:`JITTER`; None leaves the glyphs as they are.
        size: side of the image in pixels, 8 to 64.
    """
    import torch

    characters = _check_characters(characters)
    fonts = _check_fonts([font] * len(characters) if isinstance(font, str) else font)
    check_number("The side of a glyph in pixels", size, 8, 64, whole=True)
    if jitters is None:
        jitters = np.tile(np.float32(STILL), (len(characters), 1))
    jitters = np.asarray(jitters, dtype=np.float32)
    if jitters.shape != (len(characters), len(JITTER)) or len(fonts) != len(characters):
        raise LabError(f"There are {len(characters)} characters, {len(fonts)} fonts and a jitter of shape "
                       f"{jitters.shape}, but each character needs one font and one row of {len(JITTER)} numbers "
                       f"({', '.join(JITTER)}).")
    if not np.isfinite(jitters).all() or (jitters[:, 2] <= 0).any():
        raise LabError("A jitter holds a number that is not finite or a scale that is not above 0; "
                       f"the columns are {', '.join(JITTER)}, and {STILL} leaves a glyph as it is.")
    return torch.from_numpy(_draw(characters, fonts, jitters, int(size)) / np.float32(255))


def draw_jitters(n: int, seed: int = 0, rotation: float = 10.0, shear: float = 0.15, scale: float = 0.15,
                 shift: float = 0.06):
    """Random jitters, float32 (n, 5), uniform within the given half-widths; columns as in :data:`JITTER`."""
    check_number("The number of jitters", n, 0, whole=True)
    check_seed(seed)
    _check_jitter(rotation, shear, scale, shift)
    return _jitters(Rng(seed), n, (rotation, shear, scale, shift))


def _jitters(rng: Rng, n: int, amounts):
    import torch

    rotation, shear, scale, shift = amounts
    u = 2 * rng.uniform((n, len(JITTER))) - 1                                               # (n, 5) in [-1, 1)
    return torch.tensor(STILL) + u * torch.tensor([rotation, shear, scale, shift, shift])


# -- checks ------------------------------------------------------------------------------------------------------

def _check_characters(characters: Sequence[str]) -> str:
    if len(characters) == 0:
        raise LabError("No character was named; name some of: digits, A to Z, a to z.")
    for character in characters:
        if character not in CHARACTERS or len(character) != 1:
            raise LabError(f"There is no glyph {character!r}; the known characters are {CHARACTERS}.")
    return "".join(characters)


def _check_fonts(fonts: Sequence[str]) -> tuple[str, ...]:
    for font in [*fonts] or [None]:
        if font not in FONTS:
            raise LabError(f"There is no font {font!r}; the known fonts are {', '.join(FONTS)}.")
    return tuple(fonts)


def _check_jitter(rotation, shear, scale, shift):
    check_number("The rotation of the glyphs in degrees", rotation, 0, 180)
    check_number("The shear of the glyphs", shear, 0, 2)
    check_number("The change of scale of the glyphs", scale, 0, 0.9)
    check_number("The shift of the glyphs as a share of the image", shift, 0, 1)


# -- rendering ---------------------------------------------------------------------------------------------------

def _font_file(font: str) -> Path:
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font}.ttf")
    if not path.is_file():
        raise LabError(f"The font {font} is missing from matplotlib's folder; reinstall it with "
                       "`pip install --force-reinstall matplotlib`.")
    return path


@functools.cache
def _outline(character: str, font: str):
    """The glyph's outline, centred on its bounding box, in units of the height of the font's capital H."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    properties = FontProperties(fname=_font_file(font))
    box = TextPath((0, 0), character, size=100, prop=properties).get_extents()
    capital = TextPath((0, 0), "H", size=100, prop=properties).get_extents().height
    centred = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2).scale(1 / capital)
    return centred.transform_path(TextPath((0, 0), character, size=100, prop=properties))


def _draw(characters: str, fonts: Sequence[str], jitters: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, 1, size, size): the share of each pixel that the outline covers, in 255ths."""
    from matplotlib.backends.backend_agg import RendererAgg
    from matplotlib.transforms import Affine2D

    renderer = RendererAgg(size, size, 72)
    context = renderer.new_gc()
    context.set_linewidth(0)        # fill only
    context.set_snap(False)         # straight strokes must not jump to whole pixels: they shall move smoothly
    canvas = np.asarray(renderer.buffer_rgba())
    images = np.empty((len(characters), 1, size, size), np.uint8)

    turn = np.deg2rad(jitters[:, 0].astype(np.float64))
    cos, sin = np.cos(turn), np.sin(turn)
    k, (slant, right, up) = jitters[:, 2] * _CAPITAL * size, jitters[:, [1, 3, 4]].T
    zero, one = np.zeros_like(cos), np.ones_like(cos)
    # first the slant, then the scale and the rotation, then the shift from the middle of the image
    matrices = np.array([[k * cos, k * (cos * slant - sin), size * (0.5 + right)],
                         [k * sin, k * (sin * slant + cos), size * (0.5 + up)],
                         [zero, zero, one]]).transpose(2, 0, 1)                             # (N, 3, 3)
    for image, character, font, matrix in zip(images, characters, fonts, matrices, strict=True):
        renderer.clear()
        renderer.draw_path(context, _outline(character, font), Affine2D(matrix), (0, 0, 0))
        image[0] = canvas[..., 3]
    return images


# -- cache -------------------------------------------------------------------------------------------------------

@functools.lru_cache(maxsize=4)
def _frozen(cache: Path, characters: str, fonts: tuple[str, ...], size: int, n: int, seed: int, amounts) -> Frozen:
    counts = (n - 2 * (n // 10), n // 10, n // 10)
    path = cache / f"glyphs-{_key(characters, fonts, size, n, seed, amounts)}.safetensors"
    try:
        arrays = read_cache(path)
    except (OSError, LabError):     # not there yet, or damaged: it is rendered (again)
        arrays = _make(characters, fonts, size, counts, seed, amounts)
        try:
            _write_cache(path, arrays)
        except OSError:             # a folder that cannot be written to only costs the time of the next rendering
            pass
    return Frozen(arrays["x"], arrays["y"], counts, more=(("font", arrays["font"]), ("jitter", arrays["jitter"])))


def _key(characters, fonts, size, n, seed, amounts) -> str:
    """Sixteen digits that change with whatever changes the images: options, font files, matplotlib, this file."""
    import matplotlib

    files = [hashlib.sha256(_font_file(font).read_bytes()).hexdigest() for font in fonts]
    told = [_FORMAT, matplotlib.__version__, characters, fonts, files, size, n, seed, amounts]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _make(characters, fonts, size, counts, seed, amounts) -> dict[str, np.ndarray]:
    rng = Rng(seed)
    pairs = []
    for count in counts:
        order = rng.permutation(count).numpy()      # every pair of character and font equally often, in random order
        pairs.append((order % len(characters), order // len(characters) % len(fonts)))
    y, font = (np.concatenate(column).astype(np.uint8) for column in zip(*pairs, strict=True))
    jitter = _jitters(rng, len(y), amounts).numpy()
    x = _draw("".join(characters[c] for c in y), [fonts[f] for f in font], jitter, size)
    return {"x": x, "y": y, "font": font, "jitter": jitter}


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(np.ascontiguousarray(arrays[name]))
    return digest.hexdigest()


def _write_cache(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    with beside(path) as part:
        save_file(arrays, part, metadata={"sha256": _digest(arrays)})


def read_cache(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a cached file; :class:`LabError` if they are not the ones that were written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            told = (file.metadata() or {}).get("sha256")
    except SafetensorError:
        arrays, told = {}, None
    if _digest(arrays) != told:
        raise LabError(f"The cached glyphs in {path} are damaged; delete the file, and they are rendered again.")
    return arrays
