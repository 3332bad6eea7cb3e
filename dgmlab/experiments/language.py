"""Lab 05: language VAEs on real text, held against a plain language model; and a linear probe on what their codes hold.

    run = make_run(corpus="docstrings", schedule="cyclical")        # parts 1 and 3; part 2 is dialogue.py
    for tick in run.steps(600): ...
    score(run.model, run.corpus.test.tokens)

Everything is trained from one setting a scale, :data:`SETTINGS`; that of ``paper`` is the published one for Penn
Treebank (Fu et al. 2019, appendix; their code). As a program it measures a whole table and keeps what it has:

    python -m dgmlab.experiments.language --corpus docstrings --scale paper --steps 4000 --out FILE.json

Letters: N sentences, L latent dimensions, V words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from ..data import sentences
from ..data.text import Corpus
from ..errors import LabError, check_choice, check_number
from ..metrics.language import encode_sentences, score
from ..metrics.latent import linear_probe_accuracy
from ..models.language_model import LanguageModel, TextVAEBesideLM
from ..models.text_vae import TextVAE
from ..rng import Rng
from ..schedules import Schedule, constant, cosine_restarts, cyclical, monotonic
from ..training import Run, SentenceBatches
from . import recorded
from .vae import SCALES

MODELS = ("vae", "lm", "ae", "both")
SCHEDULES = ("constant", "monotonic", "cyclical", "by hand")
RATES = ("constant", "restarts")
CORPORA = ("docstrings", "grammar", "ptb", "yelp", "polarity")
CURES = ("word_dropout", "free_bits", "bag", "encoder_steps")
RECORDS = Path(__file__).resolve().parents[2] / "data" / "language"     # of the clone: tracked by git
SHORT = {"packages": ("numpy", "scipy", "matplotlib"), "longest": 10, "seldom": 5, "whole": True}


@dataclass(frozen=True)
class Setting:
    """What all models of a scale share: sizes, dropout, learning rate, sentences a batch, and the initial weights,
    uniform up to ``spread`` in both directions (torch's own if it is 0)."""

    latent: int
    embedding: int
    hidden: int
    dropout: float
    lr: float
    batch_size: int
    spread: float = 0.0


SETTINGS = {"smoke": Setting(4, 8, 16, 0.0, 5e-3, 32), "lab": Setting(16, 64, 128, 0.0, 5e-3, 32),
            "paper": Setting(32, 256, 256, 0.5, 1e-3, 32, 0.1)}


def load_corpus(name: str = "docstrings", scale: str = "lab") -> Corpus:
    """A corpus at a scale: of the docstrings, short sentences of frequent words, or all of them at ``paper``.

    Args:
        name: one of :data:`CORPORA`, or the paths of text files with a comma between.
    """
    check_choice("scale", scale, SCALES)
    if name not in CORPORA:
        paths = name.split(",") if isinstance(name, str) else []
        if not any("." in path or "/" in path for path in paths):
            raise LabError(f"The corpus is {name!r}, but it must be one of: {', '.join(CORPORA)}, or the path of a "
                           "text file.")
        from ..data.published_text import from_files

        return from_files(paths, longest=40 if scale == "paper" else 12)
    if name == "docstrings":
        from ..data.docstrings import PACKAGES

        return sentences(name, **({"packages": PACKAGES, "longest": 40} if scale == "paper" else SHORT))
    if name == "polarity" and scale != "paper":
        return sentences(name, longest=20, seldom=5)
    return sentences(name)


def beta_schedule(kind: str, steps: int) -> Schedule | None:
    """The KL weight's schedule by name: constant 1; a ramp over the first quarter; four cycles, each half a ramp."""
    check_choice("The schedule", kind, SCHEDULES)
    return {"constant": constant(1.0), "monotonic": monotonic(steps), "cyclical": cyclical(steps)}.get(kind)


@recorded
def make_run(corpus: str = "docstrings", model: str = "vae", schedule: str = "constant", rate: str = "constant",
             steps: int = 600, word_dropout: float = 0.0, free_bits: float = 0.0, bag: float = 0.0,
             encoder_steps: int = 0, seed: int = 0, scale: str = "lab", device: str = "auto",
             folder: str | None = None) -> Run:
    """A model of sentences, ready to be trained.

    Args:
        corpus: see :func:`load_corpus`.
        model: ``vae``; ``lm``: the plain language model; ``ae``: the VAE at beta = 0; ``both``: the VAE, and
            beside it a language model that is given the same batches.
        schedule: of the KL weight, over ``steps``; ``by hand`` leaves it at 1.
        rate: the learning rate, ``constant`` or with cosine ``restarts``, four cycles as well.
        word_dropout, free_bits, bag, encoder_steps: the cures, each off at 0; see
            :class:`~dgmlab.models.text_vae.TextVAEKnobs`.

    Returns:
        The run; ``run.corpus`` is the :class:`~dgmlab.data.text.Corpus`.
    """
    check_choice("The model", model, MODELS)
    check_choice("The schedule", schedule, SCHEDULES)
    check_choice("The learning rate's schedule", rate, RATES)
    check_number("The number of steps", steps, 1, whole=True)
    text, own = load_corpus(corpus, scale), SETTINGS[scale]
    v = len(text.vocabulary)
    if model == "lm":
        build = partial(LanguageModel, v, own.embedding, own.hidden, dropout=own.dropout)
        knobs = {"lr": own.lr}
    else:
        kind = TextVAEBesideLM if model == "both" else TextVAE
        build = partial(kind, v, own.latent, own.embedding, own.hidden, dropout=own.dropout, bag=bag > 0)
        knobs = {"lr": own.lr, "beta": 0.0 if model == "ae" else 1.0, "word_dropout": word_dropout,
                 "free_bits": free_bits, "bag": bag, "encoder_steps": encoder_steps}
    run = Run(lambda: spread_out(build(), own.spread), SentenceBatches(text.train.tokens, own.batch_size), knobs=knobs,
              seed=seed, device=device, folder=folder)
    if model in ("vae", "both") and schedule in ("monotonic", "cyclical"):
        run.knobs.drive("beta", beta_schedule(schedule, steps))
    if rate == "restarts":
        run.knobs.drive("lr", cosine_restarts(steps, own.lr))
    run.corpus = text
    return run


def spread_out(model, spread: float):
    """The model with all its parameters drawn anew from [-spread, spread]; as it is where that is 0."""
    if spread:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-spread, spread)
    return model


# -- sentences in and out --------------------------------------------------------------------------------------------

@torch.no_grad()
def rebuild(model: TextVAE, corpus: Corpus, texts: Sequence[str], longest: int = 24) -> list[str]:
    """What the decoder makes of each sentence's mean code, word by word the most probable one.

    Raises:
        LabError: a text is empty, has a word outside a closed vocabulary, or is longer than ``longest`` words.
    """
    z = torch.cat([code(model, corpus, text, longest) for text in texts])
    return [corpus.words(row) for row in model.write(z, longest, 0)]


@torch.no_grad()
def code(model: TextVAE, corpus: Corpus, text: str, longest: int = 24) -> torch.Tensor:
    """The mean of q(z | text): (1, L)."""
    tokens = corpus.encode(text)
    if len(tokens) - 1 > longest:
        raise LabError(f"The sentence has {len(tokens) - 1} words, but at most {longest} are taken; shorten it.")
    return model.encode(torch.as_tensor(tokens)[None].to(next(model.parameters()).device))[0]


@torch.no_grad()
def interpolate(model: TextVAE, corpus: Corpus, first: str, last: str, places: int = 5, longest: int = 24) -> list[str]:
    """Sentences on the straight line between the codes of two: ``places`` of them, the two ends among them."""
    check_number("The number of places", places, 2, whole=True)
    a, b = code(model, corpus, first, longest), code(model, corpus, last, longest)
    share = torch.linspace(0, 1, places, device=a.device)[:, None]
    return [corpus.words(row) for row in model.write(a + (b - a) * share, longest, 0)]


@torch.no_grad()
def from_prior(model, corpus: Corpus, n: int, seed: int = 0, longest: int = 24) -> list[str]:
    """New sentences: z from the prior, each word drawn (of a language model: each word drawn)."""
    return [corpus.words(row) for row in model.sample(n, Rng(seed, next(model.parameters()).device), longest, 0)]


# -- few labels ------------------------------------------------------------------------------------------------------

SHARES = (0.01, 0.05, 0.1, 0.5, 1.0)
STRENGTHS = (0.01, 0.1, 1.0)


def bag_of_words(tokens: Sequence, vocabulary: int) -> np.ndarray:
    """Which words a sentence has: (N, V) of 0 and 1."""
    table = np.zeros((len(tokens), vocabulary), np.float32)
    for row, sentence in zip(table, tokens):
        row[np.asarray(sentence)] = 1
    return table


def features(corpus: Corpus, models: Mapping[str, TextVAE]) -> dict[str, tuple]:
    """Features of the training, validation and test sentences by name: each model's mean codes."""
    return {name: tuple(encode_sentences(model, split.tokens)[0].numpy()
                        for split in (corpus.train, corpus.valid, corpus.test)) for name, model in models.items()}


def few_labels(corpus: Corpus, encoded: tuple, share: float, seed: int = 0) -> float:
    """Accuracy on the test sentences of a logistic regression on frozen features.

    Args:
        encoded: features of the training, validation and test sentences, (N, any) each.
        share: of the training labels that it may see, drawn by ``seed``. How strongly its weights are held back is
            chosen on the validation split, for all features alike.
    """
    check_number("The share of labels", share, 1e-4, 1)
    train, valid, test = encoded
    classes = len(corpus.classes)
    number = max(2 * classes, round(share * len(train)))
    number = None if number > len(train) - classes else number
    tried = {strength: linear_probe_accuracy(train, corpus.train.labels, valid, corpus.valid.labels, number=number,
                                             seed=seed, strength=strength).accuracy for strength in STRENGTHS}
    return linear_probe_accuracy(train, corpus.train.labels, test, corpus.test.labels, number=number, seed=seed,
                                 strength=max(tried, key=tried.get)).accuracy


def majority(corpus: Corpus) -> float:
    """Accuracy on the test sentences of always naming the commonest class."""
    return float((corpus.test.labels == np.bincount(corpus.train.labels).argmax()).mean())


# -- whole tables, for which a notebook has no time ------------------------------------------------------------------

ARMS: dict[str, dict] = {
    "LSTM, no z": {"model": "lm"},
    "constant": {"schedule": "constant"},
    "monotonic": {"schedule": "monotonic"},
    "cyclical": {"schedule": "cyclical"},
    "LSTM, no z, restarts": {"model": "lm", "rate": "restarts"},
    "constant, restarts": {"schedule": "constant", "rate": "restarts"},
    "monotonic, restarts": {"schedule": "monotonic", "rate": "restarts"},
    "cyclical, restarts": {"schedule": "cyclical", "rate": "restarts"},
    "free bits 0.1": {"free_bits": 0.1},
    "word dropout 0.5": {"word_dropout": 0.5},
    "bag of words": {"bag": 1.0},
    "2 extra encoder steps": {"encoder_steps": 2},
    "autoencoder": {"model": "ae"},
}
COLUMNS = {"reconstruction": "reconstruction", "kl": "KL", "nll": "NLL per sentence", "perplexity": "PPL per word",
           "perplexity_elbo": "PPL by the ELBO", "mutual_information": "MI", "active_units": "AU"}


def measure(arm: str, corpus: str, scale: str, steps: int, seed: int, samples: int = 100, folder: str | None = None,
            say=lambda step: None) -> dict:
    """Train one arm of :data:`ARMS` and measure it on the test split; goes on with what lies in ``folder``."""
    check_choice("The arm", arm, ARMS)
    run = make_run(corpus=corpus, steps=steps, seed=seed, scale=scale, device="cpu", folder=folder, **ARMS[arm])
    if folder:
        run.resume()
    for tick in run.steps(max(0, steps - run.step)):
        say(tick.step)
    found = score(run.model, run.corpus.test.tokens, Rng(seed), samples)
    row = {"arm": arm, "seed": seed, "steps": steps, **found.to_dict()}
    if len(run.corpus.classes) > 1 and ARMS[arm].get("model") != "lm":
        encoded = features(run.corpus, {arm: run.model})[arm]
        row["probe"] = {f"{share:g}": few_labels(run.corpus, encoded, share, seed) for share in (0.01, 0.1, 1.0)}
    if run.folder:
        run.clear_folder()
    return row


def table(name: str):
    """A table that the program left in ``data/language/``, the mean over its seeds: a DataFrame, one row an arm."""
    import json

    import pandas as pd

    path = RECORDS / f"{name}.json"
    try:
        made = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = ", ".join(sorted(each.stem for each in RECORDS.glob("*.json"))) or "none yet"
        raise LabError(f"There is no recorded table {name!r} in data/language (recorded are: {known}).") from None
    rows = pd.DataFrame(made["rows"])
    order = [arm for arm in ARMS if arm in set(rows["arm"])]
    means = rows.groupby("arm")[list(COLUMNS)].mean().loc[order].rename(columns=COLUMNS)
    means["seeds"] = rows.groupby("arm").size()
    means.attrs = {key: value for key, value in made.items() if key != "rows"}
    return means


def tables() -> dict:
    """All recorded tables by name; see :func:`table`."""
    return {path.stem: table(path.stem) for path in sorted(RECORDS.glob("*.json"))}


PAIRS = {
    "cycles of β, rate constant": ("monotonic", "cyclical"),
    "cycles of β, rate with restarts": ("monotonic, restarts", "cyclical, restarts"),
    "restarts of the rate, no z": ("LSTM, no z", "LSTM, no z, restarts"),
    "restarts of the rate, β constant": ("constant", "constant, restarts"),
    "restarts of the rate, β monotonic": ("monotonic", "monotonic, restarts"),
    "restarts of the rate, β cyclical": ("cyclical", "cyclical, restarts"),
    "both at once (the published comparison)": ("monotonic", "cyclical, restarts"),
}


def pairs(table):
    """Of a table by :func:`table`, the arms that differ in one thing: a DataFrame, one row each pair of
    :data:`PAIRS` of which both arms were measured."""
    import pandas as pd

    kl, ppl = table[COLUMNS["kl"]], table[COLUMNS["perplexity"]]
    rows = {what: (before, after, kl[before], kl[after], ppl[after] / ppl[before])
            for what, (before, after) in PAIRS.items() if {before, after} <= set(table.index)}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["before", "after", "KL before", "KL after",
                                                                 "PPL, after ÷ before"])


def against_lstm(table):
    """Each arm's perplexity ÷ that of the LSTM with the same learning rate, nan where that was not measured."""
    ppl = table[COLUMNS["perplexity"]]
    own = ["LSTM, no z" + ", restarts" * arm.endswith(", restarts") for arm in table.index]
    return ppl / ppl.reindex(own).to_numpy()


def main(arguments: Sequence[str] | None = None) -> None:
    import argparse
    import datetime
    import json
    import shlex
    import sys
    import time

    from filelock import FileLock

    from ..training.checkpoint import write_atomically
    from ..training.state import versions

    parser = argparse.ArgumentParser(prog="python -m dgmlab.experiments.language", description=main.__doc__)
    parser.add_argument("--corpus", default="docstrings", help=f"{', '.join(CORPORA)}, or text files, comma between")
    parser.add_argument("--scale", default="paper", choices=SCALES)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS), metavar="ARM",
                        help="of: " + "; ".join(ARMS))
    parser.add_argument("--samples", type=int, default=100, help="S of the importance-weighted bound")
    parser.add_argument("--out", required=True, type=Path, help="JSON file; what it holds already is not done again")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        text = load_corpus(given.corpus, given.scale)
    except LabError as error:
        sys.exit(str(error))
    about = {"corpus": text.name, "fingerprint": text.fingerprint, "scale": given.scale, "steps": given.steps,
             "samples": given.samples, "vocabulary": len(text.vocabulary),
             "sentences": [len(split) for split in (text.train, text.valid, text.test)],
             "training_tokens": text.train.words, "test_tokens": text.test.words}

    def read() -> dict:
        try:
            made = json.loads(given.out.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {**about, "commands": [], "rows": []}
        other = [key for key, value in about.items() if made.get(key) != value]
        if other:
            sys.exit(f"{given.out} holds a table of another {' and '.join(other)}; name another file.")
        return made

    done = {(row["arm"], row["seed"]) for row in read()["rows"]}
    print(text, flush=True)
    for seed in given.seeds:
        for arm in given.arms:
            if (arm, seed) in done:
                continue
            began = said = time.monotonic()
            name = f"language-{given.out.stem}-{arm}-{seed}".replace(" ", "_").replace(",", "")

            def say(step, arm=arm, seed=seed):
                nonlocal said
                if time.monotonic() - said > 60:
                    said = time.monotonic()
                    print(f"{arm}, seed {seed}: step {step:,} of {given.steps:,}", flush=True)
            row = measure(arm, given.corpus, given.scale, given.steps, seed, given.samples,
                          str(given.out.parent / ".runs" / name), say)
            row["seconds"] = round(time.monotonic() - began, 1)
            with FileLock(f"{given.out}.lock"):         # several of these programs may share a file
                made = read()
                made["rows"].append(row)
                words = sys.argv[1:] if arguments is None else arguments
                command = ["python", "-m", "dgmlab.experiments.language", *map(_without_folders, words)]
                made["commands"] = [*dict.fromkeys([*made["commands"], shlex.join(command)])]
                made |= {"made": datetime.date.today().isoformat(), "versions": versions()}
                given.out.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(given.out, (json.dumps(made, indent=1) + "\n").encode())
            print(f"{arm}, seed {seed}: KL {row['kl']:.2f}, PPL {row['perplexity']:.2f}, {row['seconds']:.0f} s",
                  flush=True)


def _without_folders(argument: str) -> str:
    """An argument as it may be recorded: of whole paths, of this machine, only the names."""
    return ",".join(Path(part).name if Path(part).is_absolute() else part for part in argument.split(","))


main.__doc__ = "Measure language VAEs and a plain language model, arm by arm; stopped, it goes on where it was."

if __name__ == "__main__":
    main()
