"""Sentences as rows of whole numbers: words, a vocabulary, splits that survive, and what a corpus is.

    corpus = dgmlab.data.sentences("docstrings")
    corpus.train.tokens[0]              # int64 (T,), ends with the end token
    corpus.words(corpus.train.tokens[0])

A sentence is a string of words and punctuation marks with single spaces between. Which split it belongs to is decided
by a hash of the string alone, so that it stays there when a new version adds others (and the same sentence can never
be in two splits).
"""

from __future__ import annotations

import collections
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import LabError, check_number

END, UNKNOWN = "</s>", "<unk>"
NUMBER, NAME = "<number>", "<name>"                     # stand for numbers, and for pieces of code
WORD = re.compile(r"<(?:number|name|unk)>|[a-z]+(?:['’-][a-z]+)*|[.,;:!?()\"]", re.IGNORECASE)
SHARES = (90, 5, 5)                                     # per cent in training, validation, test


@dataclass(frozen=True, eq=False)
class Sentences:
    """The sentences for one purpose.

    Attributes:
        tokens: for each sentence its words as int64 (T,), indices into the corpus's vocabulary, the end token last.
        labels: (N,) int64, what the corpus knows of each sentence; see its ``classes``.
    """

    tokens: list[np.ndarray]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def words(self) -> int:
        """How many tokens a model has to predict: all words, and one end token a sentence."""
        return sum(map(len, self.tokens))


@dataclass(frozen=True, eq=False)
class Corpus:
    """Sentences with a vocabulary, in three splits.

    Attributes:
        name: the name it is loaded by.
        vocabulary: the words; those that were seen too seldom in training are one of them, ``<unk>``.
        train, valid, test: the :class:`Sentences`.
        classes: the names of the labels' values.
        about, licence: one sentence each.
        fingerprint: 16 digits of a hash of all sentences; equal ones mean equal corpora.
    """

    name: str
    vocabulary: tuple[str, ...]
    train: Sentences
    valid: Sentences
    test: Sentences
    classes: tuple[str, ...]
    about: str
    licence: str
    fingerprint: str
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "index", {word: k for k, word in enumerate(self.vocabulary)})

    def words(self, tokens: Iterable[int]) -> str:
        """Tokens as text, up to the end token."""
        words = []
        for token in tokens:
            word = self.vocabulary[int(token)]
            if word == END:
                break
            words.append(word)
        return " ".join(words)

    def encode(self, text: str) -> np.ndarray:
        """One sentence of any text as tokens (T,), the end token last; unknown words become ``<unk>``.

        Raises:
            LabError: the text holds no word.
        """
        words = tokenise(text)
        if not words:
            raise LabError(f"The text {text!r:.60} holds no word, but a sentence needs at least one.")
        unknown = self.index[UNKNOWN] if UNKNOWN in self.index else None
        missing = [word for word in words if word not in self.index]
        if missing and unknown is None:
            raise LabError(f"The words {', '.join(sorted(set(missing)))} are not in the vocabulary of {self.name}, "
                           "which has no place for unknown ones; use its own words.")
        return np.array([*(self.index.get(word, unknown) for word in words), self.index[END]], np.int64)

    def __repr__(self) -> str:
        sizes = " / ".join(f"{len(split):,}" for split in (self.train, self.valid, self.test))
        return (f"<{self.name}: {sizes} sentences for training / validation / test, {len(self.vocabulary):,} words, "
                f"{self.train.words:,} training tokens, {self.fingerprint}>")


def tokenise(text: str) -> list[str]:
    """Words and punctuation marks in lower case; a number is ``<number>``.

    Raises:
        LabError: if it is not text, or bytes that are not UTF-8.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            raise LabError(f"The text is not UTF-8 (byte {error.start} is {text[error.start]:#x}); save it as UTF-8."
                           ) from None
    if not isinstance(text, str):
        raise LabError(f"The text is a {type(text).__name__}, but it must be a string.")
    text = re.sub(r"(?<![\w<])[+-]?\d+(?:[.,]\d+)*(?:e[+-]?\d+)?%?(?![\w>])", f" {NUMBER} ", text.replace("’", "'"))
    return [word.lower() for word in WORD.findall(text)]


def build(name: str, sentences: Sequence[str], labels: Sequence[int], classes: Sequence[str], *, about: str,
          licence: str, seldom: int = 3, longest: int = 24, splits: Sequence[str] | None = None, repeated: bool = False,
          whole: bool = False) -> Corpus:
    """A corpus from clean sentences: split, vocabulary from the training split, tokens.

    Args:
        sentences: words with single spaces between.
        labels: one whole number a sentence, an index into ``classes``.
        seldom: a word needs so many occurrences in training to be in the vocabulary.
        longest: words in a sentence, the end token not counted; longer ones are left out.
        splits: ``train``, ``valid`` or ``test`` for each sentence, where they are published; else by hash.
        repeated: whether a sentence that comes several times is kept as often, else once in a split.
        whole: whether sentences with a word that is not in the vocabulary are left out, so that there is no ``<unk>``.
    """
    check_number("The number of occurrences a word needs", seldom, 1, whole=True)
    check_number("The greatest length of a sentence in words", longest, 1, whole=True)
    if len(sentences) != len(labels) or (splits is not None and len(splits) != len(sentences)):
        raise LabError(f"There are {len(sentences)} sentences and {len(labels)} labels, but each sentence needs one.")
    parts: dict[str, list[tuple[str, int]]] = {"train": [], "valid": [], "test": []}
    had: dict[str, set[str]] = {part: set() for part in parts}
    for k, (sentence, label) in enumerate(zip(sentences, labels)):
        part = splits[k] if splits is not None else split_of(sentence)
        if 0 < len(sentence.split()) <= longest and (repeated or sentence not in had[part]):
            had[part].add(sentence)
            parts[part].append((sentence, int(label)))
    counts = collections.Counter(word for sentence, _ in parts["train"] for word in sentence.split())
    known = sorted((word for word, n in counts.items() if n >= seldom and word != UNKNOWN),
                   key=lambda word: (-counts[word], word))
    if not known:
        raise LabError(f"The corpus {name} has no training sentence of 1 to {longest} words with a word seen {seldom} "
                       "times; give more text, a smaller `seldom` or a greater `longest`.")
    if whole:
        inside = set(known)
        parts = {key: [pair for pair in part if inside.issuperset(pair[0].split())] for key, part in parts.items()}
    seen = {word for part in parts.values() for sentence, _ in part for word in sentence.split()}
    known = [word for word in known if word in seen]
    vocabulary = (END, *([UNKNOWN] if len(seen) > len(known) else []), *known)
    index = {word: k for k, word in enumerate(vocabulary)}
    unknown = index.get(UNKNOWN, -1)

    def encoded(part: list[tuple[str, int]]) -> Sentences:
        return Sentences([np.array([*(index.get(word, unknown) for word in sentence.split()), 0], np.int64)
                          for sentence, _ in part], np.array([label for _, label in part], np.int64))

    digest = hashlib.sha256()
    for part, its in parts.items():
        for sentence, label in sorted(its):
            digest.update(f"{part}\t{label}\t{sentence}\n".encode())
    return Corpus(name, vocabulary, *map(encoded, parts.values()), classes=tuple(classes), about=about, licence=licence,
                  fingerprint=digest.hexdigest()[:16])


def split_of(sentence: str) -> str:
    """``train``, ``valid`` or ``test``, by a hash of the sentence."""
    place = int.from_bytes(hashlib.blake2b(sentence.encode(), digest_size=8).digest()) % 100
    return "train" if place < SHARES[0] else "valid" if place < SHARES[0] + SHARES[1] else "test"


def read_lines(path: str | Path) -> list[str]:
    """The lines of a text file in UTF-8 that hold more than blanks.

    Raises:
        LabError: it is not there, not UTF-8, or empty.
    """
    path = Path(path)
    try:
        lines = path.read_bytes().decode().splitlines()
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror}); name a text file.") from None
    except UnicodeDecodeError as error:
        raise LabError(f"{path} is not UTF-8 (byte {error.start} is {error.object[error.start]:#x}); save it as UTF-8."
                       ) from None
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise LabError(f"{path} holds no text; name a file with one sentence a line.")
    return lines
