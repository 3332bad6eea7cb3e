"""Real English prose that every installation has: the docstrings of the packages the lab installs anyway.

Some 70,000 sentences, the size of Penn Treebank, each labelled with the package that it comes from. The source files
are parsed, never imported. The corpus depends on the packages' versions: equal versions give the same fingerprint. It
is built once and kept in ``data/cache/``.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
import inspect
import itertools
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError
from .base import beside, folder
from .text import NAME, NUMBER, Corpus, build, tokenise

ABOUT = "Sentences from the docstrings of the packages that the lab installs, labelled with the package."
LICENCE = "the packages' own (PSF, BSD, Apache 2.0, matplotlib's)"
SMALL = ("python", "numpy", "scipy", "sklearn", "matplotlib")
PACKAGES = (*SMALL, "torch", "transformers")            # the two largest take most of the time
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
FORMAT = 1                                              # counted up whenever this file makes other sentences
FEWEST = 4                                              # words of a sentence
STAND_INS = 0.25                                        # at most this share of its words may stand for code or numbers
ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
SHORT = {r"\be\.g\.,?": "for example", r"\bi\.e\.,?": "that is", r"\betc\.(?=\s+[a-z]|,|\))": "and so on"}
NOT_AN_END = re.compile(r"\b(?:cf|vs|al|Eq|Fig|Ref|Sec|resp|approx|No)\.$")
CODE = re.compile(r"``.+?``|:[\w:.+-]+:`.+?`|`.+?`_?|\*\*?\w+\*?\*?|https?://\S+|\$[^$]+\$|\[\d+\]_?|"
                  r"\b\w+(?:\.\w+)+(?:\(.*?\))?|\b\w+\(.*?\)|\b\w*_\w*\b|\b[a-z]+[A-Z]\w*\b|\b\w*\d\w*[A-Za-z]\w*\b")
RULE = re.compile(r"^\s*([-=~^\"'#*+.:_])\1{2,}\s*$")   # the line under a heading


def load(packages: tuple[str, ...] = SMALL, seldom: int = 3, longest: int = 24, whole: bool = False) -> Corpus:
    """The corpus of some packages.

    Args:
        packages: of :data:`PACKAGES`; by default all but the two largest.
        seldom, longest, whole: see :func:`dgmlab.data.text.build`.
    """
    unknown = [each for each in packages if each not in PACKAGES]
    if unknown or not packages:
        raise LabError(f"The docstrings' packages are {packages!r}, but they must be among: {', '.join(PACKAGES)}.")
    lines = _lines(folder() / "cache", tuple(each for each in PACKAGES if each in packages))
    labels, sentences = zip(*(line.split("\t", 1) for line in lines), strict=True)
    classes = [each for each in PACKAGES if each in packages]
    return build("docstrings", sentences, [classes.index(label) for label in labels], classes, about=ABOUT,
                 licence=LICENCE, seldom=seldom, longest=longest, whole=whole)


def version(package: str) -> str:
    """The installed version of one of the packages."""
    if package == "python":
        return ".".join(map(str, sys.version_info[:3]))
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        raise LabError(f"The package {package} is not installed here, so its docstrings cannot be read; install it or "
                       "leave it out of `packages`.") from None


@functools.lru_cache(maxsize=2)
def _lines(cache: Path, packages: tuple[str, ...]) -> list[str]:
    """``package<tab>sentence`` of each distinct sentence, from the cache or made and put there."""
    told = repr([FORMAT, [(each, version(each)) for each in packages]])
    path = cache / f"docstrings-{hashlib.sha256(told.encode()).hexdigest()[:16]}.txt"
    try:
        return read_cache(path)
    except LabError:
        pass
    found = _collect(packages)
    body = "\n".join(f"{package}\t{sentence}" for sentence, package in found.items())
    try:
        with beside(path) as part:
            part.write_text(f"{hashlib.sha256(body.encode()).hexdigest()}\n{body}", encoding="utf-8")
    except OSError:                                     # a folder that cannot be written to only costs time
        pass
    return body.splitlines()


def read_cache(path: Path) -> list[str]:
    """The lines of a cached file.

    Raises:
        LabError: it is not there, or not whole.
    """
    try:
        digest, _, body = path.read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        digest, body = "", ""
    if digest != hashlib.sha256(body.encode()).hexdigest():
        raise LabError(f"{path} is not whole; delete it, and it is made again.")
    return body.splitlines()


def _collect(packages: tuple[str, ...]) -> dict[str, str]:
    from tqdm import tqdm

    files = [(package, file) for package in packages for file in sources(package)]
    found: dict[str, str | None] = {}
    for package, file in tqdm(files, desc="reading docstrings", unit=" files", mininterval=1, disable=None):
        for docstring in docstrings(file):
            for sentence in clean(docstring):
                if found.setdefault(sentence, package) != package:
                    found[sentence] = None              # in two packages: its label would mean nothing
    return {sentence: package for sentence, package in found.items() if package}


def sources(package: str) -> list[Path]:
    """The source files of a package, its tests left out, in a fixed order."""
    if package == "python":
        root = Path(sysconfig.get_path("stdlib"))
        skip = {"site-packages", "dist-packages", "test", "tests", "idlelib", "lib2to3", "config"}
    else:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise LabError(f"The package {package} is not installed here, so its docstrings cannot be read; install it "
                           "or leave it out of `packages`.")
        root, skip = Path(spec.submodule_search_locations[0]), {"test", "tests", "testing", "_vendor"}
    return sorted((file for file in root.rglob("*.py") if not skip & set(file.relative_to(root).parts[:-1])),
                  key=lambda file: file.relative_to(root).as_posix())


def docstrings(file: Path) -> Iterator[str]:
    """The docstrings of a source file: its own, and those of its classes and functions."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")             # of invalid escapes in other people's sources
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    nodes = [tree]
    while nodes:                                        # ast.walk, but without a look into expressions
        node = nodes.pop(0)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node, clean=False)
            if docstring:
                yield inspect.cleandoc(docstring)
        for name in ("body", "orelse", "handlers", "finalbody"):
            nodes += getattr(node, name, [])


def clean(docstring: str) -> Iterator[str]:
    """The sentences of a docstring's prose, as words with single spaces between; code, lists and tables left out."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        lines = [line for line in paragraph.splitlines() if not RULE.match(line)]
        if any(line.lstrip().startswith((">>>", "...", "..", "|", "+-", "=", "#")) or "::" in line
               for line in lines):
            continue
        if re.match(r"\s*([-*•]|\d+[.)])\s", paragraph):                               # a list
            continue
        # Lines of one indentation belong together: an argument's text stands deeper than its name.
        texts = [_spelt_out(" ".join(line.strip() for line in block))
                 for _, block in itertools.groupby(lines, lambda line: len(line) - len(line.lstrip()))]
        for sentence in itertools.chain.from_iterable(map(_sentences, texts)):
            marked = CODE.sub(f" {NAME} ", sentence)
            words = tokenise(marked)
            stand_ins = sum(word in (NAME, NUMBER) for word in words)
            plain = sum(word.isalpha() for word in words)
            if plain >= FEWEST and words[-1] in ".!?" and stand_ins <= STAND_INS * len(words) and \
                    not re.search(r"[{}\\=<>|]{1}", re.sub(r"<(?:name|number)>", "", marked)):
                yield " ".join(words)


def _spelt_out(text: str) -> str:
    for short, long in SHORT.items():
        text = re.sub(short, long, text)
    return text


def _sentences(text: str) -> Iterator[str]:
    start = ""
    for piece in ENDS.split(text):
        start = f"{start} {piece}".strip()
        if not NOT_AN_END.search(start):
            yield start
            start = ""
    if start:
        yield start
