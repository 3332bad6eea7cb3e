"""What is modelled: images by name (:func:`load`), sentences by name (:func:`sentences`), two styles of images by name
(:func:`styles`), and densities.

    data = load("digits")
    data.train.x        # float32 (1197, 1, 8, 8) in [0, 1]
    data.classes        # ('0', '1', ...)

    corpus = sentences("grammar")
    corpus.words(corpus.train.tokens[0])

:func:`catalogue`, :func:`fetch` and :func:`verify` are what ``dgmlab data list | fetch | verify`` show.
"""

from __future__ import annotations

import importlib
import inspect
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError, check_choice
from .base import Dataset, Split, complaint, folder

__all__ = ["Dataset", "Split", "catalogue", "density", "fetch", "folder", "load", "names",
           "sentences", "style_names", "styles", "texts", "verify"]

BUILT_IN = ("digits", "glyphs")
PUBLISHED = ("mnist", "fashion", "cifar10", "cifar100")
GENERATED_TEXTS = ("docstrings", "grammar", "dialogues")
PUBLISHED_TEXTS = ("ptb", "yelp", "polarity", "switchboard")
GENERATED_STYLES = ("fonts", "photographs")
PUBLISHED_STYLES = ("horse2zebra", "maps")


def names() -> list[str]:
    """What :func:`load` knows."""
    return [*BUILT_IN, *PUBLISHED]


def load(name: str, **options) -> Dataset:
    """A data set by name.

    ``glyphs`` takes the options of :func:`dgmlab.data.glyphs.load` (``characters``, ``fonts``, ``size``, ``n``,
    ``seed`` and the jitter); the published sets take ``download=False``, not to fetch what is missing. Loading twice
    is cheap, and each call returns tensors of its own.

    Raises:
        LabError: an unknown name or option, or data that are not there and cannot be fetched.
    """
    check_choice("The data set", name, names())
    if name in BUILT_IN:
        loader, first = _room(name).load, {}
    else:
        loader, first = _room("published").load, {"name": name}
    known = [option for option in inspect.signature(loader).parameters if option not in first]
    for option in options:
        if option not in known:
            raise LabError(f"{name} has no option {option!r}; it has {', '.join(known) or 'none'}.")
    return loader(**first, **options)


def texts() -> list[str]:
    """What :func:`sentences` knows."""
    return [*GENERATED_TEXTS, *PUBLISHED_TEXTS]


def sentences(name: str, **options):
    """A :class:`~dgmlab.data.text.Corpus` by name; ``dialogues`` and ``switchboard`` are
    :class:`~dgmlab.data.dialogues.Dialogues`.

    The options are those of the loaders: ``load`` in :mod:`dgmlab.data.docstrings`, ``grammar`` and ``dialogues``, and
    the functions of :mod:`dgmlab.data.published_text`; its ``from_files`` reads files of one's own.

    Raises:
        LabError: an unknown name or option, or text that is not there and cannot be fetched.
    """
    check_choice("The corpus", name, texts())
    if name in GENERATED_TEXTS:
        loader, reader = _room(name).load, _room(name).load
    else:
        published = _room("published_text")
        reader = published.READERS[name]

        def loader(download=True, **more):
            return published.load(name, download, **more)
    known = [*inspect.signature(reader).parameters, *(["download"] if name in PUBLISHED_TEXTS else [])]
    for option in options:
        if option not in known:
            raise LabError(f"{name} has no option {option!r}; it has {', '.join(known)}.")
    return loader(**options)


def style_names() -> list[str]:
    """What :func:`styles` knows."""
    return [*GENERATED_STYLES, *PUBLISHED_STYLES]


def styles(name: str, **options):
    """Two collections of images in two styles by name, as :class:`~dgmlab.data.style_pairs.Styles`.

    The options are those of ``fonts`` and ``photographs`` in :mod:`dgmlab.data.style_pairs`, and of ``load`` in
    :mod:`dgmlab.data.published_styles`; ``style_pairs.from_folders`` reads photographs of one's own.

    Raises:
        LabError: an unknown name or option, or images that are not there and cannot be fetched.
    """
    check_choice("The pair of styles", name, style_names())
    loader = getattr(_room("style_pairs"), name) if name in GENERATED_STYLES else _room("published_styles").load
    known = [option for option in inspect.signature(loader).parameters if option != "name"]
    for option in options:
        if option not in known:
            raise LabError(f"{name} has no option {option!r}; it has {', '.join(known)}.")
    return loader(**options) if name in GENERATED_STYLES else loader(name, **options)


def density(name: str, **options):
    """A density on the line or in the plane by name; see :mod:`dgmlab.data.densities`."""
    return _room("densities").density(name, **options)


@dataclass(frozen=True)
class Record:
    """One line of the catalogue.

    Attributes:
        name: the name to load it by.
        what: one sentence.
        size: what it takes on the disk or to download, in bytes; 0 if nothing.
        licence: its terms.
        state: ``built-in``, ``cached``, ``downloaded`` or ``not downloaded``.
    """

    name: str
    what: str
    size: int
    licence: str
    state: str


def catalogue() -> list[Record]:
    """Everything that :func:`load`, :func:`sentences` and :func:`styles` know, and whether it is on this machine."""
    digits, glyphs, published = _room("digits"), _room("glyphs"), _room("published")
    cached = _cached_glyphs()
    records = [Record("digits", digits.ABOUT, 0, digits.LICENCE, "built-in"),
               Record("glyphs", glyphs.ABOUT, sum(path.stat().st_size for path in cached), glyphs.LICENCE,
                      "cached" if cached else "built-in")]
    for record in published.PUBLISHED.values():
        records.append(Record(record.name, record.about, sum(source.size for source in record.sources),
                              record.licence, "not downloaded" if published.missing(record) else "downloaded"))
    for name in GENERATED_TEXTS:
        module, cached = _room(name), _cached(name)
        records.append(Record(name, module.ABOUT, sum(path.stat().st_size for path in cached), module.LICENCE,
                              "cached" if cached else "built-in"))
    text = _room("published_text")
    for record in text.PUBLISHED.values():
        records.append(Record(record.name, record.about, sum(source.size for source in record.sources), record.licence,
                              "not downloaded" if text.missing(record) else "downloaded"))
    pairs = _room("style_pairs")
    records.append(Record("photographs", pairs.ABOUT, 0, pairs.LICENCE, "built-in"))
    published = _room("published_styles")
    for record in published.PUBLISHED.values():
        records.append(Record(record.name, record.about, sum(source.size for source in record.sources), record.licence,
                              "not downloaded" if published.missing(record) else "downloaded"))
    return records


def fetch(name: str) -> Record:
    """Make sure that a data set is on this machine: download it, or render and cache it. Returns its record."""
    _check_name(name)
    if name == "glyphs":
        _room("glyphs").load()
    elif name in GENERATED_TEXTS:
        sentences(name)
    elif name in (*PUBLISHED, *PUBLISHED_TEXTS, *PUBLISHED_STYLES):
        _room(_home(name)).fetch(name)
    return next(record for record in catalogue() if record.name == name)


@dataclass(frozen=True)
class Finding:
    """What :func:`verify` found: of which data set, which file, whether it is right, and that in a sentence."""

    name: str
    file: Path | None
    ok: bool
    sentence: str


def verify(name: str | None = None) -> list[Finding]:
    """Check the checksums of one data set's files, or of all that are on this machine.

    Raises:
        LabError: an unknown name, or one that is not downloaded.
    """
    if name is not None:
        _check_name(name)
    findings = []
    for each in [name] if name else [*names(), *texts(), "photographs", *PUBLISHED_STYLES]:
        if each == "digits":
            checked = [(None, complaint(_room("digits").check), "the copy inside scikit-learn has the right checksum")]
        elif each == "glyphs":
            read = _room("glyphs").read_cache
            checked = [(path, complaint(read, path), f"{path.name} has the right checksum")
                       for path in _cached_glyphs()]
        elif each in GENERATED_TEXTS:
            checked = [(path, complaint(_room(each).read_cache, path), f"{path.name} has the right checksum")
                       for path in _cached(each)]
        elif each == "photographs":
            checked = [(None, complaint(_room("style_pairs").check), "the copies inside scikit-learn can be read")]
        else:
            published = _room(_home(each))
            if name and published.missing(published.PUBLISHED[each]):
                published.load(each, download=False)        # raises the sentence that says what to do
            checked = published.check(each)
        for file, wrong, right in checked:
            findings.append(Finding(each, file, not wrong, wrong or f"{each}: {right}."))
    return findings


def _home(name: str) -> str:
    """The module that fetches and checks published data of that name."""
    return "published" if name in PUBLISHED else "published_text" if name in PUBLISHED_TEXTS else "published_styles"


def _cached_glyphs() -> list[Path]:
    return sorted((folder() / "cache").glob("glyphs-*.safetensors"))


def _cached(name: str) -> list[Path]:
    """The files in which a generated corpus is kept."""
    return sorted((folder() / "cache").glob(f"{name}-*.txt"))


def _check_name(name: str) -> None:
    check_choice("The data set", name, [*names(), *texts(), "photographs", *PUBLISHED_STYLES])


def _room(name: str):
    """A module of this room, imported when it is first needed: torch and matplotlib take a second or two."""
    return importlib.import_module(f".{name}", __name__)
