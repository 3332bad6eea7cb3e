"""Contexts that can be answered in several ways, with the truth about every answer.

A context is a question or a remark about something; which *dialogue acts* answer it (accept, decline, ask the price,
...) is known, and so is every wording of each act. So it can be counted which of the valid acts a model's answers
cover, and which of its answers are valid at all: :func:`judge`. A model that gives one answer, however good, covers
one act.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import LabError, check_number
from ..rng import Rng
from .base import check_seed
from .text import END

ABOUT = "Generated dialogue turns: contexts with three to five valid dialogue acts each."
LICENCE = "generated"
# kind of context: (its wordings, the things it may be about, the acts that answer it)
KINDS = {
    "invitation": (("do you want to go to the {} tonight ?", "shall we go to the {} tomorrow ?",
                    "would you come to the {} with me ?"),
                   ("cinema", "theatre", "market", "beach", "museum", "lake"),
                   ("accept", "decline", "ask_time", "propose_other")),
    "sale": (("would you like to buy this {} ?", "i am selling my {} .", "are you looking for a {} ?"),
             ("car", "bike", "piano", "camera", "table", "lamp"),
             ("accept", "decline", "ask_price", "ask_age", "think_about")),
    "request": (("could you lend me your {} ?", "may i use the {} ?", "i need a {} for a day ."),
                ("car", "bike", "camera", "laptop", "tent", "drill"),
                ("accept", "decline", "ask_time", "ask_reason")),
    "opinion": (("what do you think of the new {} ?", "the new {} is great .", "did you like the {} ?"),
                ("film", "book", "song", "play", "painting", "lamp"),
                ("agree", "disagree", "not_known")),
    "complaint": (("the {} does not work again .", "my {} is broken .", "this {} makes a strange noise ."),
                  ("car", "laptop", "camera", "drill", "piano", "lamp"),
                  ("sympathise", "offer_help", "advise", "ask_age")),
}
# act: its wordings; {} is what the context is about
ACTS = {
    "accept": ("yes , the {} sounds good .", "sure , i like the {} .", "of course , with pleasure ."),
    "decline": ("no , i am sorry .", "not the {} , thank you .", "i am afraid that is not possible ."),
    "ask_time": ("for how long ?", "when exactly do you mean ?", "at what time would that be ?"),
    "propose_other": ("how about something else than the {} ?", "let us stay at home instead .",
                      "i would rather do something else ."),
    "ask_price": ("how much is the {} ?", "what does it cost ?", "is the {} expensive ?"),
    "ask_age": ("how old is the {} ?", "when did you buy the {} ?", "is it an old {} ?"),
    "think_about": ("let me think about the {} .", "i will tell you next week .", "i am not sure about it yet ."),
    "ask_reason": ("what do you need the {} for ?", "why do you ask me ?", "what happened to your own {} ?"),
    "agree": ("i really enjoyed the {} .", "it is the best {} of the year .", "yes , the {} is wonderful ."),
    "disagree": ("i did not like the {} at all .", "it is a boring {} .", "the old {} was much better ."),
    "not_known": ("i have not seen the {} yet .", "i do not know it .", "who told you about the {} ?"),
    "sympathise": ("oh no , not the {} again .", "that must be annoying .", "i am sorry to hear that ."),
    "offer_help": ("shall i look at the {} ?", "i can repair the {} for you .", "bring it to me , i will help ."),
    "advise": ("you should buy a new {} .", "have the {} repaired .", "call the shop where you bought the {} ."),
}


@dataclass(frozen=True, eq=False)
class Turns:
    """Pairs of a context and one of its answers, as rows of equal length.

    Attributes:
        contexts, responses: int64 (N, C) and (N, R); each sentence ends with the end token 0, which fills the row.
        acts: (N,) int64, an index into ``list(ACTS)``.
    """

    contexts: np.ndarray
    responses: np.ndarray
    acts: np.ndarray

    def __len__(self) -> int:
        return len(self.acts)


@dataclass(frozen=True, eq=False)
class Dialogues:
    """Turns in three splits: no context of one split is in another.

    Attributes:
        vocabulary: the words; the first is the end token.
        train, valid, test: :class:`Turns`.
    """

    vocabulary: tuple[str, ...]
    train: Turns
    valid: Turns
    test: Turns

    def words(self, tokens: Iterable[int]) -> str:
        """Tokens as text, up to the end token."""
        return " ".join(itertools.takewhile(lambda word: word != END, (self.vocabulary[int(t)] for t in tokens)))

    def encode(self, text: str, length: int) -> np.ndarray:
        """A sentence of the vocabulary's words as a row (length,) that ends with end tokens."""
        words = text.split()
        missing = sorted(set(words) - set(self.vocabulary))
        if missing or not 0 < len(words) < length:
            raise LabError(f"The text {text!r:.80} must have 1 to {length - 1} words, all of the dialogues' vocabulary"
                           + (f"; not in it: {', '.join(missing)}." if missing else "."))
        return np.array([*map(self.vocabulary.index, words), *[0] * (length - len(words))], np.int64)


@functools.cache
def contexts() -> dict[str, tuple[str, str]]:
    """Every context -> (its kind, what it is about)."""
    return {wording.format(thing): (kind, thing)
            for kind, (wordings, things, _) in KINDS.items() for wording in wordings for thing in things}


def split_of(context: str) -> str:
    """``train``, ``valid`` or ``test``: a sixth of each kind's contexts is held out for each of the latter. Their
    wordings and their things are known from training, but not together."""
    kind, thing = contexts()[context]
    wordings, things, _ = KINDS[kind]
    wording = [each.format(thing) for each in wordings].index(context)
    place = (wording + things.index(thing)) % 6
    return {0: "test", 3: "valid"}.get(place, "train")


def valid_acts(context: str) -> tuple[str, ...]:
    """The acts that answer a context."""
    if context not in contexts():
        raise LabError(f"{context!r} is not one of the {len(contexts())} contexts of the dialogues; take one of "
                       "dgmlab.data.dialogues.contexts().")
    return KINDS[contexts()[context][0]][2]


def answers(context: str) -> dict[str, str]:
    """Every valid answer to a context -> its act."""
    acts, thing = valid_acts(context), contexts()[context][1]
    return {wording.format(thing): act for act in acts for wording in ACTS[act]}


@dataclass(frozen=True)
class Judgement:
    """What a model's answers to one context are worth.

    Attributes:
        precision: share of the answers that are valid.
        recall: share of the valid acts that are among them.
        acts: the valid acts that were found.
        distinct: different answers, valid or not.
    """

    precision: float
    recall: float
    acts: tuple[str, ...]
    distinct: int


def judge(context: str, given: list[str]) -> Judgement:
    """Compare answers with the truth."""
    if not given:
        raise LabError("There are no answers to judge; give at least one sentence.")
    valid = answers(context)
    found = tuple(sorted({valid[each] for each in given if each in valid}))
    return Judgement(sum(each in valid for each in given) / len(given), len(found) / len(valid_acts(context)), found,
                     len(set(given)))


def load(turns: int = 10, seed: int = 0) -> Dialogues:
    """The dialogues.

    Args:
        turns: answers drawn for each context, all of its acts equally likely.
        seed: of those draws; which contexts are held out does not depend on it.
    """
    check_number("The number of answers for each context", turns, 1, whole=True)
    check_seed(seed)
    words = {word for context in contexts() for text in (context, *answers(context)) for word in text.split()}
    vocabulary = (END, *sorted(words))
    index = {word: k for k, word in enumerate(vocabulary)}
    longest = [1 + max(len(text.split()) for text in texts)
               for texts in (contexts(), itertools.chain.from_iterable(map(answers, contexts())))]
    rng, rows = Rng(seed), {"train": [], "valid": [], "test": []}
    for context in contexts():
        acts, thing = valid_acts(context), contexts()[context][1]
        which = rng.integers(len(acts), (turns,)).tolist()
        how = rng.integers(3, (turns,)).tolist()
        for act, wording in zip(which, how):
            rows[split_of(context)].append((context, ACTS[acts[act]][wording].format(thing), acts[act]))

    def row(text, length):
        tokens = [index[word] for word in text.split()]
        return tokens + [0] * (length - len(tokens))

    return Dialogues(vocabulary, *(Turns(
        np.array([row(context, longest[0]) for context, _, _ in part], np.int64),
        np.array([row(response, longest[1]) for _, response, _ in part], np.int64),
        np.array([list(ACTS).index(act) for _, _, act in part], np.int64)) for part in rows.values()))
