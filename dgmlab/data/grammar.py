"""Sentences from a grammar whose factors are known, with an exact parser.

    yesterday these friendly cooks were gladly serving soup in restaurants .
    tense     number  sentiment   number  sentiment topic   topic

Nine independent factors make 11,664 sentences of 11 words. Tense, number, sentiment and topic each show in two words
or more, so that none hangs on a single one; :func:`parse` reads all factors back, or says that a sentence is not of the
grammar.
"""

from __future__ import annotations

import functools
import itertools
from types import MappingProxyType

from ..errors import check_choice
from .text import Corpus, build

ABOUT = "All 11,664 sentences of a small grammar with nine known factors."
LICENCE = "generated"
TENSES = ("past", "present", "future")
NUMBERS = ("one", "many")
SENTIMENTS = ("good", "bad")
TIMES = ("yesterday", "today", "tomorrow")
ADJECTIVES = {"good": ("friendly", "cheerful", "clever"), "bad": ("angry", "gloomy", "clumsy")}
ADVERBS = {"good": ("gladly", "kindly", "proudly"), "bad": ("badly", "rudely", "sadly")}
AUXILIARIES = {("past", "one"): "was", ("past", "many"): "were", ("present", "one"): "is", ("present", "many"): "are",
               ("future", "one"): "will", ("future", "many"): "will"}
# topic: (place, subjects, verbs as (base, -ing), objects)
TOPICS = {
    "food": ("restaurants", ("cook", "waiter", "baker"), (("serve", "serving"), ("taste", "tasting"),
                                                          ("order", "ordering")), ("soup", "bread", "cake")),
    "music": ("concerts", ("singer", "pianist", "drummer"), (("play", "playing"), ("record", "recording"),
                                                             ("rehearse", "rehearsing")), ("songs", "jazz", "waltzes")),
    "travel": ("airports", ("pilot", "guide", "tourist"), (("board", "boarding"), ("await", "awaiting"),
                                                           ("leave", "leaving")), ("planes", "buses", "trains")),
    "sport": ("stadiums", ("runner", "coach", "keeper"), (("throw", "throwing"), ("catch", "catching"),
                                                          ("kick", "kicking")), ("balls", "discs", "sticks")),
}
PLURAL = {"coach": "coaches"}
FACTORS = MappingProxyType({                # each factor with its values, in the order of a sentence's parse
    "topic": tuple(TOPICS), "tense": TENSES, "number": NUMBERS, "sentiment": SENTIMENTS, "subject": (0, 1, 2),
    "verb": (0, 1, 2), "object": (0, 1, 2), "adjective": (0, 1, 2), "adverb": (0, 1, 2)})


def sentence(topic: str, tense: str, number: str, sentiment: str, subject: int, verb: int, object: int,
             adjective: int, adverb: int) -> str:
    """The sentence of nine factors' values."""
    place, subjects, verbs, objects = TOPICS[topic]
    who = subjects[subject]
    return " ".join([TIMES[TENSES.index(tense)], "this" if number == "one" else "these",
                     ADJECTIVES[sentiment][adjective], who if number == "one" else PLURAL.get(who, f"{who}s"),
                     AUXILIARIES[tense, number], ADVERBS[sentiment][adverb], verbs[verb][tense != "future"],
                     objects[object], "in", place, "."])


@functools.cache
def _parses() -> dict[str, tuple]:
    return {sentence(*values): values for values in itertools.product(*FACTORS.values())}


def parse(text: str) -> dict[str, str | int] | None:
    """The factors of a sentence by name; None if the grammar does not make it."""
    values = _parses().get(text)
    return None if values is None else dict(zip(FACTORS, values, strict=True))


def load(factor: str = "sentiment") -> Corpus:
    """All sentences; the labels are the values of one factor."""
    check_choice("The factor", factor, FACTORS)
    place = list(FACTORS).index(factor)
    sentences = _parses()
    return build("grammar", list(sentences), [FACTORS[factor].index(values[place]) for values in sentences.values()],
                 [str(value) for value in FACTORS[factor]], about=ABOUT, licence=LICENCE, seldom=1)
