"""What is right in the exercises of lab 05, language VAEs."""

from __future__ import annotations

import math

import numpy as np

from ..metrics.language import LanguageScore, score
from . import NotYet, calls, close, exercise, number


@exercise("05.1")
def word_perplexity(function) -> str:
    """exp(total / (words + sentences)), for costs (N,) in nats and lengths (N,) in words without the end token."""
    tries = [([46.2, 30.1, 51.9], [9, 5, 11]), ([10.0], [1]), ([3.0, 70.0, 8.5, 20.0], [2, 20, 3, 4])]
    for costs, lengths in tries:
        total, words, n = sum(costs), sum(lengths), len(costs)
        right = math.exp(total / (words + n))
        found = number(calls(function, list(costs), list(lengths), what="word_perplexity"), "Your perplexity")
        if close(found, right, rel=1e-4):
            continue
        each = [c / (k + 1) for c, k in zip(costs, lengths)]
        hints = {
            math.exp(total / words): "The end of each sentence is predicted too: there is one more token to pay for in "
                                     "each sentence than it has words.",
            math.exp(sum(each) / n): "You average over the sentences what each costs per token; then a word of a short "
                                     "sentence weighs more than one of a long sentence. Add everything up first, "
                                     "divide once.",
            sum(map(math.exp, each)) / n: "You average the perplexities of the sentences. Add up the nats, divide "
                                          "once, "
                                          "and take the exponential last.",
            math.exp(total / n): "That is per sentence. Divide by the number of predicted tokens.",
            total / (words + n): "That is in nats per token. The perplexity is its exponential.",
            2 ** (total / (words + n)): "The costs are in nats, so take e to the power of them, not 2.",
            math.exp(total / (words + 2 * n)): "Only one token a sentence comes on top of the words, its end; its "
                                               "beginning is given, not predicted."}
        raise NotYet(next((hint for wrong, hint in hints.items() if close(found, wrong, rel=1e-4)),
                          f"For costs {costs} and lengths {lengths} it should be {right:.4f}, but yours is "
                          f"{found:.4f}."))
    return ("Everything is added up before anything is divided, and the end token counts. Two papers that differ in "
            "either cannot be compared, and many do.")


@exercise("05.2")
def own_cure(name, run, reference, beside, steps, corpus) -> str:
    """A run of the student's that says half as much again as section 2's free bits, near the monotonic VAE's price.

    Context: the scores of those two (``reference`` is the monotonic VAE's), the steps of each, the lab's corpus.
    """
    if not isinstance(reference, LanguageScore) or not isinstance(beside, LanguageScore):
        raise NotYet('`scores["monotonic"]` and `scores["free bits 0.1"]` should be what `score` said of these two '
                     "models; one of them is changed above.")
    if not isinstance(name, str) or not name.strip():
        raise NotYet("Say in a few words, in quotes, what you changed.")
    model = getattr(run, "model", None)
    if not hasattr(model, "encode"):
        raise NotYet("The second answer should be the run that you trained, as `trained` returns it (not its model, "
                     "nor its score).")
    step = getattr(run, "step", 0)
    if step == 0:
        raise NotYet("Your run has not been trained yet: `for tick in mine.steps(steps): pass`.")
    if run.corpus.fingerprint != corpus.fingerprint:
        raise NotYet("Your run reads another corpus than the lab's; then perplexities cannot be compared.")
    if step != steps:
        raise NotYet(f"Your run was trained for {step:,} steps, the others for {steps:,}. Compare at equal steps: "
                     f"{'train it on' if step < steps else 'make a new one and train it'} to {steps:,}.")
    if run.knobs.beta < 0.999:
        raise NotYet(f"At the end of your training beta is {run.knobs.beta:g}. Let it end at 1, where the loss is the "
                     "bound; a smaller one buys KL at a discount that the perplexity does not give.")
    found = score(model, corpus.test.tokens, samples=20)
    hidden = float(np.max(run.history.column("word_dropout"))) > 0
    if found.kl < 1.5 * beside.kl:
        raise NotYet(f"The KL of your run is {found.kl:.2f} nats per sentence; half as much again as the "
                     f"{beside.kl:.2f} of section 2's free bits is {1.5 * beside.kl:.2f}. "
                     + ("Hiding words costs perplexity and brings no KL in so few steps; try free nats or `bag` "
                        "without it." if hidden else "Schedules and extra steps of the encoder bring little here; "
                        "leave more nats free, or ask z for the words themselves (`bag`)."))
    if found.perplexity > 1.25 * reference.perplexity:
        raise NotYet(f"The KL is {found.kl:.2f} nats, but the perplexity {found.perplexity:.1f} is more than a quarter "
                     f"above the monotonic VAE's {reference.perplexity:.1f}. "
                     + ("Hidden words are what costs most: leave word dropout at 0." if hidden else
                        "Take a milder dose."))
    price = found.perplexity / reference.perplexity - 1
    return (f"{name.strip()}: KL {found.kl:.2f} nats at a perplexity {abs(price):.0%} "
            f"{'above' if price > 0 else 'below'} the monotonic VAE's. Of these nats "
            f"{found.mutual_information:.2f} tell sentences apart (the mutual information; in section 2 "
            f"{beside.mutual_information:.2f} of {beside.kl:.2f}). Whether that is a good trade depends on what the "
            "code is for.")


@exercise("05.3")
def expected_recall(function) -> str:
    """The expected share of k equally likely acts among n independent answers: 1 - (1 - 1/k)^n."""
    for acts, n in ((5, 3), (3, 2), (4, 10), (3, 1), (2, 7)):
        right = 1 - (1 - 1 / acts) ** n
        found = number(calls(function, acts, n, what="expected_recall"), "Your share")
        if close(found, right, abs=2e-3):
            continue
        hints = {
            (1 - 1 / acts) ** n: "That is the share that is expected to be *missed*.",
            min(n, acts) / acts: "That is the best case, in which no act comes twice. Answers are drawn independently.",
            acts * right: "That is the expected number of acts; the recall is their share.",
            1 - (1 / acts) ** n: "Look at one act: an answer is *another* one with probability 1 - 1/acts. It is "
                                 "missed "
                                 "if all n are others.",
            1 - (1 - 1 / n) ** acts: "Here the acts and the answers are exchanged: the first argument is how many acts "
                                     "there are.",
            1 - n * (1 - 1 / acts): "Independent events multiply: n answers that all miss have (1 - 1/acts) to the "
                                    "power "
                                    "of n."}
        near = close(found, right, abs=0.03)
        other = (f"With {acts} acts and {n} answers it should be {right:.4f}, but yours is {found:.4f}. "
                 + ("Close: drawn and counted? Then draw more often, or find the formula, which is exact: with what "
                    "probability do all answers miss one given act?" if near else
                    "One can also try it out: draw, and count."))
        raise NotYet(next((hint for wrong, hint in hints.items() if close(found, wrong, abs=1e-3)), other))
    return ("1 − (1 − 1/k)ⁿ. A model that knew everything would reach this in n independent answers and no more; to "
            "beat "
            "it, its answers would have to know of each other.")


@exercise("05.4")
def decisive_word(word, claimed, corpus) -> str:
    """A word whose presence names a class with at least 85 % precision in 20 training sentences or more."""
    classes = list(corpus.classes)
    if not isinstance(word, str) or not isinstance(claimed, str):
        raise NotYet("Both the word and the class should be text, in quotes.")
    word, claimed = word.strip().lower(), claimed.strip().lower()
    if len(word.split()) != 1:
        raise NotYet(f"{word!r} is not one word.")
    if word not in corpus.index:
        raise NotYet(f"The word {word!r} is not in the corpus's vocabulary.")
    if claimed not in classes:
        raise NotYet(f"The class {claimed!r} is not one of: {', '.join(classes)}.")
    has = np.array([corpus.index[word] in row for row in corpus.train.tokens])
    labels = corpus.train.labels
    n = int(has.sum())
    share = float((labels[has] == classes.index(claimed)).mean()) if n else 0.0
    if n < 20:
        raise NotYet(f"{word!r} is in only {n} training sentences; find one that is in 20 or more.")
    if share < 0.85:
        raise NotYet(f"Of the {n} training sentences with {word!r}, {share:.0%} are of the class {claimed}. Find a "
                     "word "
                     "with at least 85 %.")
    return (f"{word!r} is in {n} training sentences, {share:.0%} of them from {claimed}. A linear probe on words "
            "learns "
            "this from a few labels; a code of 16 numbers would have to spend nats on it, and the decoder predicts "
            "such a "
            "word nearly as well without.")
