"""Lab 05's claims: schedules and cures on real sentences, a probe with few labels, and answers to a context.

Two experiments. The first trains eleven models on short docstring sentences, equal in seed, steps and learning rate,
and measures them on the test split; the second trains six conditional VAEs on the generated dialogues. What was chosen
(sizes, learning rate) was chosen on the validation split with seed 0.
"""

from __future__ import annotations

import math

from ..metrics.language import score
from ..rng import Rng
from . import dialogue
from .claims import INFINITE, Claim
from .language import ARMS, bag_of_words, features, few_labels, make_run

STEPS, TURNS = 600, 800           # of a language VAE, and of one that answers
SAMPLES = 20
MEASURED = ("LSTM, no z", "constant", "monotonic", "cyclical", "monotonic, restarts", "cyclical, restarts",
            "free bits 0.1", "word dropout 0.5", "bag of words", "2 extra encoder steps", "autoencoder")
CURED = {"free_bits": "free bits 0.1", "word_dropout": "word dropout 0.5", "bag": "bag of words",
         "encoder": "2 extra encoder steps"}
LEAST = 1e-4                        # nats: below it a KL counts as this, so that a ratio exists


def language(seed: int) -> dict[str, float]:
    """Eleven arms on the short docstrings: their KL and perplexity, and what a probe reads off the codes of four."""
    found, models = {}, {}
    for arm in MEASURED:
        run = make_run(steps=STEPS, seed=seed, device="cpu", **ARMS[arm])
        for _ in run.steps(STEPS):
            pass
        found[arm], models[arm] = score(run.model, run.corpus.test.tokens, Rng(seed), SAMPLES), run.model
    corpus = run.corpus
    kl = {arm: max(each.kl, LEAST) for arm, each in found.items()}
    ppl = {arm: each.perplexity for arm, each in found.items()}
    numbers = {
        "constant_kl": found["constant"].kl, "constant_ppl": ppl["constant"] / ppl["LSTM, no z"],
        "cyclical_kl": kl["cyclical"] / kl["monotonic"], "cyclical_ppl": ppl["cyclical"] / ppl["monotonic"],
        "beta_effect": math.sqrt(kl["cyclical"] * kl["cyclical, restarts"] / kl["monotonic"]
                                 / kl["monotonic, restarts"]),
        "rate_effect": math.sqrt(kl["monotonic, restarts"] * kl["cyclical, restarts"] / kl["monotonic"]
                                 / kl["cyclical"]),
        "rate_ppl": math.sqrt(ppl["monotonic, restarts"] * ppl["cyclical, restarts"] / ppl["monotonic"]
                              / ppl["cyclical"])}
    for cure, arm in CURED.items():
        numbers |= {f"{cure}_kl": found[arm].kl, f"{cure}_ppl": ppl[arm] / ppl["LSTM, no z"]}
    encoded = features(corpus, {arm: models[arm] for arm in ("autoencoder", "monotonic", "cyclical", "bag of words")})
    encoded["words"] = tuple(bag_of_words(split.tokens, len(corpus.vocabulary))
                             for split in (corpus.train, corpus.valid, corpus.test))
    read = {name: few_labels(corpus, each, 0.1, seed) for name, each in encoded.items()}
    numbers |= {"probe_cyclical": read["cyclical"] - read["monotonic"],
                "probe_ae": read["cyclical"] - read["autoencoder"],
                "probe_bag": read["bag of words"] - read["cyclical"],
                "probe_words": read["cyclical"] - read["words"]}
    return numbers


def answering(seed: int) -> dict[str, float]:
    """Three schedules, without and with the bag of words: ten answers to each held-out context."""
    found = {}
    for bag in (0.0, 1.0):
        for kind in ("constant", "monotonic", "cyclical"):
            run = dialogue.make_run(schedule=kind, bag=bag, steps=TURNS, seed=seed, device="cpu")
            for _ in run.steps(TURNS):
                pass
            found[kind, bag] = dialogue.judged(run, seed=seed)
    numbers = {"kl": max(found["cyclical", 0.0].kl, LEAST) / max(found["monotonic", 0.0].kl, LEAST)}
    for bag, name in ((0.0, "plain"), (1.0, "bag")):
        cyclical, monotonic = found["cyclical", bag], found["monotonic", bag]
        numbers |= {f"recall_{name}": cyclical.recall - monotonic.recall,
                    f"precision_{name}": cyclical.precision - monotonic.precision}
    kinds = ("constant", "monotonic", "cyclical")
    for what in ("recall", "precision", "by_code"):
        numbers[f"bag_{what}"] = sum(getattr(found[kind, 1.0], what) - getattr(found[kind, 0.0], what)
                                     for kind in kinds) / len(kinds)
    return numbers


SETTINGS = ("Docstring sentences of numpy, scipy and matplotlib, 2 to 10 words, all among the 1,612 that come five "
            "times or more; LSTM encoder and decoder 1x128, z 16-d at every input and in the initial state, Adam 5e-3, "
            f"{STEPS:,} steps of 32 sentences of one length, equal in seed; beta rises once over the first quarter, or "
            "in 4 cycles over half of each; measured on about 310 test sentences, perplexity per word by the "
            f"importance-weighted bound, S = {SAMPLES}.")
RESTARTS = SETTINGS + " With restarts the learning rate falls from 5e-3 to 0 along half a cosine in each of 4 cycles."
PROBE = SETTINGS + (" Logistic regression on the frozen posterior means, 10 % of the labels (which of the three "
                    "packages wrote the sentence); the weight of its penalty chosen on the validation split for each.")
TALK = ("Generated dialogues, 600 turns on 60 contexts; conditional VAE with LSTMs of 64, z 8-d, Adam 3e-3, "
        f"{TURNS:,} steps of 32 turns, equal in seed; 10 answers, words drawn, to each of 15 held-out contexts.")
FU = "Fu et al. 2019, "
NOTES = {
    "free_bits_ppl": "The mean lies within the two per cent, the interval does not.",
    "word_dropout_kl": "With cycles and 1,000 steps it was 0.05 nats, on the grammar corpus 0.6 to 1.0 (one seed each, "
                       "validation split).",
    "word_dropout_ppl": "Half of the words before are hidden in training, none in the measurement.",
    "encoder_kl": "With cycles as well it was 0.4 nats on the grammar corpus (one seed, validation split).",
    "encoder_ppl": "The mean is 1; the interval is wider than what was allowed. A step takes about twice as long."}

CLAIMS = [
    Claim("05.constant_vanishes", FU + "sec. 1; Bowman et al. 2016, sec. 3",
          "With a constant KL weight of 1 the KL of a language VAE vanishes.",
          language, "constant_kl", "KL on the test sentences, nats per sentence", (-INFINITE, 0.1), SETTINGS,
          no_effect=None),
    Claim("05.constant_is_lm", FU + "sec. 1 (the blog: the VAE then behaves like a standard RNN language model)",
          "With a constant KL weight of 1 a language VAE is no better a model of sentences than a plain LSTM.",
          language, "constant_ppl", "perplexity: VAE at constant beta ÷ LSTM without z", (0.97, 1.03), SETTINGS,
          no_effect=None, ratio=True,
          note="The mean is 1; five seeds of two networks with other initial weights leave an interval a little wider "
               "than what was allowed beforehand."),
    Claim("05.cyclical_kl", FU + "sec. 5.1 (language modelling)",
          "On real text the cyclical schedule keeps at least twice the KL of the monotonic one.",
          language, "cyclical_kl", "KL: cyclical ÷ monotonic", (2, INFINITE), SETTINGS, no_effect=1.0, ratio=True,
          note="Both KLs are below 0.01 nats here, so that the ratio says little: neither schedule undoes "
               "the vanishing. So it was at 1,000 steps, and with a longer wait at beta = 0 (one seed "
               "each, validation split). `python -m dgmlab.experiments.language` trains at the size of Penn Treebank."),
    Claim("05.cyclical_perplexity", FU + "sec. 5.1",
          "On real text the cyclical schedule has the perplexity of the monotonic one.",
          language, "cyclical_ppl", "perplexity: cyclical ÷ monotonic", (0.98, 1.02), SETTINGS, no_effect=None,
          ratio=True),
    Claim("05.beta_effect", FU + "sec. 5.1, with the learning rate held fixed",
          "The cycles of the KL weight raise the KL whatever the learning rate does.",
          language, "beta_effect", "KL: cyclical ÷ monotonic, geometric mean over constant rate and restarts",
          (1, INFINITE), RESTARTS, no_effect=1.0, ratio=True),
    Claim("05.rate_effect", "the published code, which restarts the learning rate with the cycles",
          "Part of the published effect is the learning rate's: restarts alone raise the KL.",
          language, "rate_effect", "KL: with restarts ÷ without, geometric mean over both beta schedules",
          (1, INFINITE), RESTARTS, no_effect=1.0, ratio=True),
    Claim("05.rate_perplexity", "the same", "The restarts do not cost perplexity.",
          language, "rate_ppl", "perplexity: with restarts ÷ without, geometric mean over both beta schedules",
          (0.98, 1.02), RESTARTS, no_effect=None, ratio=True,
          note="With restarts the average learning rate is half as large, which such a short training feels."),
    *[Claim(f"05.{cure}_{what}", source, says, language, f"{cure}_{what}", measured, expected, SETTINGS, no_effect=None,
            ratio=what == "ppl", note=NOTES.get(f"{cure}_{what}", ""))
      for cure, name, source in (
          ("free_bits", "Free bits (0.1 nats a dimension)", "Kingma et al. 2016, sec. 5 (free bits)"),
          ("word_dropout", "Word dropout of one half", "Bowman et al. 2016, sec. 3.1"),
          ("bag", "A bag-of-words loss", "Zhao et al. 2017, sec. 3.3"),
          ("encoder", "Two extra updates of the encoder before each step", "He et al. 2019, sec. 4"))
      for what, says, measured, expected in (
          ("kl", f"{name} keep{'s' if cure != 'free_bits' and cure != 'encoder' else ''} the KL from vanishing.",
           "KL on the test sentences, nats per sentence", (0.1, INFINITE)),
          ("ppl", f"{name} cost{'s' if cure != 'free_bits' and cure != 'encoder' else ''} no perplexity.",
           "perplexity: with it ÷ LSTM without z", (0, 1.02)))],
    Claim("05.probe_schedule", FU + "sec. 5.3 (unsupervised pre-training)",
          "Codes pre-trained with the cyclical schedule are better features than with the monotonic one.",
          language, "probe_cyclical", "accuracy with 10 % of the labels: cyclical - monotonic", (0, INFINITE), PROBE,
          note="After so short a pre-training no code is clear of always naming the commonest class (0.52), so that "
               "there is hardly a difference to be found."),
    Claim("05.probe_autoencoder", FU + "sec. 5.3",
          "Codes pre-trained with the cyclical schedule are better features than an autoencoder's (the VAE at beta = "
          "0).",
          language, "probe_ae", "accuracy with 10 % of the labels: cyclical - autoencoder", (0, INFINITE), PROBE),
    Claim("05.probe_bag", "Zhao et al. 2017, sec. 3.3 (that the code must then hold the words)",
          "A code that had to tell the words is a better feature than that of the cyclical schedule.",
          language, "probe_bag", "accuracy with 10 % of the labels: bag-of-words loss - cyclical", (0, INFINITE),
          PROBE),
    Claim("05.probe_words", FU + "sec. 5.3 (implied: pre-training pays)",
          "Pre-trained codes are better features than the plain words of the sentence.",
          language, "probe_words", "accuracy with 10 % of the labels: cyclical - which words the sentence has",
          (0, INFINITE), PROBE),
    Claim("05.dialogue_kl", FU + "sec. 5.2 (dialogue)",
          "In a conditional VAE too, the cyclical schedule keeps at least twice the KL.",
          answering, "kl", "KL: cyclical ÷ monotonic", (2, INFINITE), TALK, no_effect=1.0, ratio=True),
    Claim("05.dialogue_recall", FU + "sec. 5.2",
          "With the cyclical schedule the answers of a conditional VAE cover more of the valid dialogue acts.",
          answering, "recall_plain", "share of the valid acts among 10 answers: cyclical - monotonic", (0, INFINITE),
          TALK, note="An LSTM that draws its words covers three quarters of the acts without any help from z."),
    Claim("05.dialogue_recall_bag", FU + "sec. 5.2 (whose models all have the bag-of-words loss)",
          "With the cyclical schedule the answers cover more of the acts also where both have the bag-of-words loss.",
          answering, "recall_bag", "share of the valid acts among 10 answers: cyclical - monotonic", (0, INFINITE),
          TALK),
    Claim("05.dialogue_bag", "Zhao et al. 2017, sec. 3.3",
          "The bag-of-words loss lets z decide what is answered.",
          answering, "bag_by_code", "different answers of 10 if only z is drawn: with the loss - without, mean over "
          "the schedules", (0, INFINITE), TALK),
    Claim("05.dialogue_bag_recall", "Zhao et al. 2017, sec. 5",
          "With the bag-of-words loss the answers of a conditional VAE cover more of the valid dialogue acts.",
          answering, "bag_recall", "share of the valid acts among 10 answers: with the loss - without, mean over the "
          "schedules", (0, INFINITE), TALK),
]
