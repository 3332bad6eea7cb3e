"""Lab 05: published sentences, language models and what is measured of them, answers, exercises, the still widgets."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from dgmlab import data
from dgmlab.check import judge
from dgmlab.data import dialogues, grammar, published_text
from dgmlab.data.published import Source
from dgmlab.data.text import build
from dgmlab.errors import LabError
from dgmlab.experiments import build as rebuild_run
from dgmlab.experiments import dialogue, language
from dgmlab.metrics import language as measures
from dgmlab.metrics.likelihood import elbo, importance_weighted_bound
from dgmlab.models.conditional_vae import ConditionalVAE, counted, gaussian_kl, importance_weighted
from dgmlab.models.language_model import LanguageModel, TextVAEBesideLM
from dgmlab.models.text_vae import TextVAE
from dgmlab.models.vae import kl_to_prior
from dgmlab.rng import Rng

REAL = Path(os.environ.get("DGMLAB_TEST_TEXT", "/nowhere"))     # a folder with the real files


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    return tmp_path


def put(place: Path, **files) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (place / name.replace("__", ".")).write_bytes(content if isinstance(content, bytes) else content.encode())


# -- published sentences ---------------------------------------------------------------------------------------------

def test_penn_treebank_keeps_its_splits_its_words_and_its_repetitions(home, monkeypatch):
    parts = {"train": "the <unk> fell N points\nthe board rose\nthe board rose\n" * 3, "valid": "the board fell\n",
             "test": "the board <unk>\n"}
    put(home / "published" / "ptb", **{f"ptb__{split}__txt": text for split, text in parts.items()})
    import hashlib
    record = dataclasses.replace(published_text.PUBLISHED["ptb"], sources=tuple(
        Source(f"ptb.{split}.txt", len(text), hashlib.md5(text.encode()).hexdigest()) for split, text in parts.items()))
    monkeypatch.setitem(published_text.PUBLISHED, "ptb", record)
    corpus = data.sentences("ptb")
    assert [len(split) for split in (corpus.train, corpus.valid, corpus.test)] == [9, 1, 1]
    assert set(corpus.vocabulary) == {"</s>", "<unk>", "the", "board", "rose", "fell", "N", "points"}
    assert corpus.test.words == 4 and corpus.words(corpus.test.tokens[0]) == "the board <unk>"
    assert all(finding.ok for finding in data.verify("ptb"))
    (record.folder / "ptb.test.txt").write_text("other")
    with pytest.raises(LabError, match="checksum of .*ptb.test.txt is wrong"):
        data.sentences("ptb")


def packed(**files) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "/").replace("_dot_", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def as_source(monkeypatch, name, file, content):
    import hashlib
    source = Source(file, len(content), "", sha256=hashlib.sha256(content).hexdigest())
    record = dataclasses.replace(published_text.PUBLISHED[name], sources=(source,))
    monkeypatch.setitem(published_text.PUBLISHED, name, record)
    put(record.folder, **{file.replace(".", "__"): content})
    return record


def test_film_reviews_packed_as_published_or_by_hand(home, monkeypatch):
    bad, good = [f"a film of {k} dull minutes .\n" for k in range(40)], ["a caf\xe9 of a film !\n"] * 2 + [
        f"{word} and funny\n" for word in ("clever", "warm", "wise", "sharp", "bright", "odd")]
    content = packed(**{"rt-polaritydata__rt-polarity_dot_neg": "".join(bad).encode("cp1252"),
                        "rt-polaritydata__rt-polarity_dot_pos": "".join(good).encode("cp1252")})
    record = as_source(monkeypatch, "polarity", "rt-polaritydata.tar.gz", content)
    corpus = data.sentences("polarity", seldom=1)
    assert corpus.classes == ("negative", "positive")
    every = {corpus.words(t) for split in (corpus.train, corpus.valid, corpus.test) for t in split.tokens}
    assert "a film of <number> dull minutes ." in every and "warm and funny" in every
    (record.folder / "rt-polaritydata.tar.gz").unlink()
    put(record.folder, neg__txt="".join(bad), pos__txt="".join(good))
    assert data.sentences("polarity", seldom=1).fingerprint == corpus.fingerprint
    put(record.folder, neg__txt=b"caf\xe9\n")
    with pytest.raises(LabError, match="not UTF-8"):
        data.sentences("polarity")
    assert [finding.ok for finding in data.verify("polarity")] == [False, True]


def test_yelp_is_cut_into_short_sentences(home, monkeypatch):
    rows = "".join(f'"{1 + k % 2}","Dish {"abcdefgh"[k % 8] * 2} came. It was ""so"" {("bad", "nice")[k % 2]}.'
                   '\\nBye!"\n' for k in range(64))
    long = '"2","' + "One more. " * 12 + '"\n'
    content = packed(**{"yelp_review_polarity_csv__train_dot_csv": (rows + long).encode(),
                        "yelp_review_polarity_csv__test_dot_csv": rows.encode()})
    as_source(monkeypatch, "yelp", "yelp_review_polarity_csv.tgz", content)
    corpus = data.sentences("yelp", seldom=1)
    every = {corpus.words(t): label for split in (corpus.train, corpus.valid, corpus.test)
             for t, label in zip(split.tokens, split.labels)}
    assert every['it was " so " nice .'] == 1 and every['it was " so " bad .'] == 0
    assert not any("one more" in text for text in every)
    assert len(data.sentences("yelp", seldom=1, reviews=2).train) < len(corpus.train)
    with pytest.raises(LabError, match="number of reviews"):
        data.sentences("yelp", reviews=0)


CALLS = """B.{n}: Uh, hello there. /
A.{m}: <laughter> Hello {{F uh, }} [ you, + you ] too.
A.{m}: And how are things?
B.{k}: fine, thank you
"""


def test_switchboard_transcripts_in_both_layouts(home):
    place = home / "published" / "switchboard"
    with pytest.raises(LabError, match="may not be passed on"):
        data.sentences("switchboard")
    with pytest.raises(LabError, match="may not be passed on"):
        data.fetch("switchboard")
    put(place, one__txt=CALLS.format(n=1, m=2, k=3) + CALLS.format(n=1, m=2, k=3), README="no transcript",
        two__utt="x\nqy          A.1 utt1: {D So, } do you, uh, have pets? /\nny          B.2 utt1: Yeah. /\n"
                 "sd          A.3 utt1: good for you.  /\n")
    calls = published_text.read_calls(place / "one.txt")
    assert len(calls) == 2 and [len(call) for call in calls] == [3, 3]      # the same speaker's turn goes on
    assert " ".join(calls[0][1]) == "hello uh , you , you too . and how are things ?"
    assert " ".join(published_text.read_calls(place / "two.utt")[0][0]) == "so , do you , uh , have pets ?"
    talk = data.sentences("switchboard", seldom=1)
    assert len(talk.train) and len(talk.valid) and len(talk.test) and (talk.train.acts == -1).all()
    context = talk.words(talk.train.contexts[0])
    assert talk.words(talk.encode(context, talk.train.contexts.shape[1])) == context
    put(place, three__txt="no turns here\n")
    with pytest.raises(LabError, match="holds no turns"):
        data.sentences("switchboard")


def test_any_text_file_is_a_corpus(tmp_path):
    text = " = Heading = \n" + "".join(f"The {a} {b} , it 's {a} . A {b} of 1 @,@ {n}00 <unk> runs !\n" for a in
                                       ("red", "old", "new", "wet") for b in ("car", "dog", "cat") for n in (1, 2, 3))
    (tmp_path / "a.txt").write_text(text)
    corpus = published_text.from_files(tmp_path / "a.txt", seldom=1)
    every = {corpus.words(t) for split in (corpus.train, corpus.valid, corpus.test) for t in split.tokens}
    assert "the red car , it's red ." in every and "a car of <number> <unk> runs !" in every
    assert not any("heading" in each for each in every) and corpus.classes == ("a",)
    assert language.load_corpus(str(tmp_path / "a.txt")).vocabulary
    for paths, sentence in (([], "No text file"), (tmp_path / "no.txt", "cannot be read")):
        with pytest.raises(LabError, match=sentence):
            published_text.from_files(paths)


@pytest.mark.parametrize("call, sentence", [
    (lambda: data.sentences("novels"), "The corpus is 'novels'"),
    (lambda: data.sentences("grammar", colour=1), "no option 'colour'; it has factor"),
    (lambda: data.sentences("ptb", download=False), "put the three files into"),
    (lambda: data.sentences("polarity", download=False), "dgmlab data fetch polarity"),
    (lambda: data.verify("switchboard"), "not on this machine"),
    (lambda: language.load_corpus("novel"), "or the path of a text file"),
    (lambda: language.load_corpus("/no/such.txt"), "cannot be read"),
    (lambda: language.make_run("grammar", schedule="saw"), "The schedule is 'saw'"),
    (lambda: language.make_run("grammar", model="gpt"), "The model is 'gpt'"),
    (lambda: language.make_run("grammar", steps=0), "number of steps"),
    (lambda: language.make_run("grammar", word_dropout=2, scale="smoke"), "from 0 to 1"),
    (lambda: dialogue.make_run(corpus="films"), "The corpus is 'films'"),
    (lambda: LanguageModel(0), "number of words"),
    (lambda: LanguageModel(5).logits(torch.zeros(2, 3)), "whole numbers"),
    (lambda: ConditionalVAE(5).read(ConditionalVAE(5).context, torch.zeros(2, 3)), "whole numbers"),
    (lambda: measures.perplexity(3.0, 0), "predicted words"),
    (lambda: list(measures.by_length([])), "no sentences"),
    (lambda: language.table("no_such"), "no recorded table"),
])
def test_bad_input_is_told_in_a_sentence(home, call, sentence):
    with pytest.raises(LabError, match=sentence) as error:
        call()
    assert "\n" not in str(error.value)


def test_the_real_files_where_they_are(home):
    if not REAL.is_dir():
        pytest.skip("DGMLAB_TEST_TEXT names no folder of real files")
    for name, place in (("polarity", "rt-polaritydata"), ("switchboard", "switchboard")):
        (home / "published").mkdir(exist_ok=True)
        (home / "published" / place).symlink_to(REAL / {"polarity": "sentence_polarity"}.get(name, name))
    reviews = data.sentences("polarity", longest=100, seldom=1)
    assert sum(len(split) for split in (reviews.train, reviews.valid, reviews.test)) > 10_500
    talk = data.sentences("switchboard")
    assert len(talk.train) > 3000 and len(talk.vocabulary) > 1500
    wiki = published_text.from_files([REAL / "wikitext2.valid.txt", REAL / "wikitext2.test.txt"], longest=60)
    assert len(wiki.train) > 10_000


def test_closed_corpora_have_no_unknown_word():
    sentences = ["a b c", "a b d", "a c", "b a", "c b a", "b c a", "a b", "b c", "c a b", "e a"]
    whole = build("w", sentences, [0] * 10, ["all"], about="", licence="", seldom=2, whole=True,
                  splits=["train"] * 8 + ["test", "valid"])
    assert set(whole.vocabulary) == {"</s>", "a", "b", "c"} and len(whole.train) == 7 and len(whole.valid) == 0


# -- models and measures ---------------------------------------------------------------------------------------------

def test_a_language_model_is_a_distribution_over_sentences():
    torch.manual_seed(0)
    model = LanguageModel(3, 4, 8).double()
    # Sentences over the words 1 and 2 that end with 0: their probabilities and that of longer ones add up to one.
    total, open_ = 0.0, [[]]
    for _ in range(7):
        closed = torch.tensor([row + [0] for row in open_])
        total += model.log_likelihood(closed).exp().sum().item()
        open_ = [row + [word] for row in open_ for word in (1, 2)]
    logits = model.logits(torch.tensor(open_)).log_softmax(-1)
    rest = logits.gather(-1, torch.tensor(open_)[..., None])[..., 0].sum(-1).exp().sum().item()
    assert total + rest == pytest.approx(1, abs=1e-9)
    again = model.sample(5, Rng(0), 6, 0)
    assert torch.equal(again, model.sample(5, Rng(0), 6, 0))
    assert all((row[row.tolist().index(0):] == 0).all() for row in again if 0 in row.tolist())


def test_a_language_model_learns_the_grammar_to_its_floor():
    run = language.make_run("grammar", model="lm", steps=300, scale="lab", seed=1)
    for _ in run.steps(150):
        pass
    found = measures.score(run.model, run.corpus.test.tokens)
    floor = math.exp(math.log(11_664) / 12)
    assert floor < found.perplexity < 1.3 * floor and found.words == 12 * found.sentences and found.kl == 0


def test_scores_over_several_lengths_are_those_of_each_length():
    torch.manual_seed(0)
    model = TextVAE(9, 3, 4, 8)
    rng = np.random.default_rng(0)
    tokens = [np.append(rng.integers(1, 9, t), 0) for t in (2, 5, 2, 7, 5, 2)]
    found = measures.score(model, tokens, Rng(0), samples=400)
    parts = [(k, x) for k, x in measures.by_length(tokens)]
    assert sorted(torch.cat([k for k, _ in parts]).tolist()) == list(range(6))
    bounds = [(len(x), elbo(model, x, Rng(1), 400), importance_weighted_bound(model, x, Rng(2), 400)) for _, x in parts]
    assert found.reconstruction == pytest.approx(sum(n * e.reconstruction for n, e, _ in bounds) / 6, rel=0.02)
    assert found.kl == pytest.approx(sum(n * e.kl for n, e, _ in bounds) / 6, rel=1e-5)
    assert found.nll == pytest.approx(-sum(n * iw.nats for n, _, iw in bounds) / 6, rel=0.02)
    assert found.words == sum(map(len, tokens)) and found.nll <= -found.elbo
    assert found.perplexity == pytest.approx(math.exp(found.nll * 6 / found.words))
    mu, logvar = measures.encode_sentences(model, tokens)
    with torch.no_grad():
        for k, row in enumerate(tokens):
            assert torch.allclose(mu[k], model.encode(torch.as_tensor(row)[None])[0][0], atol=1e-6)
    assert found.mutual_information <= math.log(6)


def test_dropout_takes_no_part_in_scores():
    model = TextVAE(9, 3, 4, 8, dropout=0.5)
    tokens = [np.array([1, 2, 0]), np.array([3, 0])]
    model.train()
    assert measures.score(model, tokens, Rng(0)) == measures.score(model, tokens, Rng(0)) and model.training


def test_nothing_padded_counts():
    torch.manual_seed(0)
    model = ConditionalVAE(7, 2, 4, 8, bag=True)
    x = torch.tensor([[1, 2, 0, 0, 0], [3, 4, 5, 6, 0]])
    assert counted(x).tolist() == [[True, True, True, False, False], [True] * 5]
    contexts = torch.tensor([[1, 0, 0], [2, 3, 0]])
    more = [torch.cat([part, torch.zeros(2, 3, dtype=torch.int64)], 1) for part in (contexts, x)]
    knobs = model.Knobs(bag=1.0)
    with torch.no_grad():
        terms, wider = model.loss((contexts, x), knobs, Rng(0)), model.loss(tuple(more), knobs, Rng(0))
        for name in terms:
            assert terms[name] == pytest.approx(wider[name].item(), abs=1e-5), name
        c = model.read(model.context, contexts)
        alone = model.read(model.context, contexts[:1, :1 + 1])
        assert torch.allclose(c[:1], alone, atol=1e-6)
        fit, ratio, kl = model.log_weights(contexts, x, Rng(0), 300)
        bound = importance_weighted(fit, ratio)
        assert (bound >= (fit + ratio).mean(0) - 1e-5).all() and (kl >= 0).all()
        assert torch.allclose(-ratio.mean(0), kl, atol=0.3)
    made = model.reply(contexts, 3, 6, Rng(0))
    assert made.shape == (2, 3, 6) and torch.equal(made, model.reply(contexts, 3, 6, Rng(0)))


def test_the_kl_of_two_gaussians():
    mu, logvar, mu_p, logvar_p = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    from torch.distributions import Normal, kl_divergence
    right = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(mu_p, (0.5 * logvar_p).exp()))
    assert torch.allclose(gaussian_kl(mu, logvar, mu_p, logvar_p), right)
    zero = torch.zeros_like(mu)
    assert torch.allclose(gaussian_kl(mu, logvar, zero, zero), kl_to_prior(mu, logvar))


# -- experiments -----------------------------------------------------------------------------------------------------

def test_a_vae_beside_a_language_model_is_the_vae_alone():
    both, alone = (language.make_run("grammar", model=kind, scale="smoke", seed=3) for kind in ("both", "vae"))
    assert isinstance(both.model, TextVAEBesideLM)
    alone.model.load_state_dict({k: v for k, v in both.model.state_dict().items() if not k.startswith("reference")})
    for one, other in zip(both.steps(5), alone.steps(5)):
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-5) and one["lm"] > 0
    assert sum(map(len, both.players.values())) == len(list(both.model.parameters()))


def test_runs_by_schedule_and_rate_can_be_built_again():
    run = language.make_run("grammar", schedule="cyclical", rate="restarts", steps=40, scale="smoke", bag=0.5)
    again = rebuild_run(run.spec)
    for _, _ in zip(run.steps(6), again.steps(6)):
        pass
    assert run.history.column("loss").tolist() == again.history.column("loss").tolist()
    assert run.history.column("beta")[5] == pytest.approx(1.0) and run.history.column("lr")[5] < 5e-3
    paper = language.Setting(2, 4, 8, 0.0, 1e-3, 8, 0.1)
    model = language.spread_out(TextVAE(9, 2, 4, 8), paper.spread)
    assert max(p.abs().max() for p in model.parameters()) <= 0.1


def test_sentences_in_and_out():
    run = language.make_run("grammar", scale="smoke")
    text = run.corpus
    first, last = (text.words(text.test.tokens[k]) for k in (0, 1))
    walk = language.interpolate(run.model, text, first, last, 4)
    assert len(walk) == 4 and walk[0] == language.rebuild(run.model, text, [first])[0]
    assert len(language.from_prior(run.model, text, 3)) == 3
    for wrong, sentence in (("", "no word"), ("purple prose", "purple"), ("today " * 30, "30 words, but at most 24")):
        with pytest.raises(LabError, match=sentence):
            language.rebuild(run.model, text, [wrong])


def test_few_labels_read_what_the_features_hold():
    text = grammar.load("sentiment")
    words = tuple(language.bag_of_words(split.tokens, len(text.vocabulary))
                  for split in (text.train, text.valid, text.test))
    assert words[0].shape == (len(text.train), len(text.vocabulary)) and words[0].sum(1).max() == 12
    assert language.few_labels(text, words, 0.01) > 0.95
    noise = tuple(np.random.default_rng(0).normal(size=(len(s), 3)) for s in (text.train, text.valid, text.test))
    assert abs(language.few_labels(text, noise, 0.05) - 0.5) < 0.08 and 0.4 < language.majority(text) < 0.6


def test_answers_are_compared_with_the_truth():
    run = dialogue.make_run(steps=5, scale="smoke", bag=1.0, schedule="cyclical")
    for _ in run.steps(5):
        pass
    found = dialogue.judged(run, n=4)
    assert found.contexts == 15 and 0 <= found.precision <= 1 and 1 <= found.by_code <= found.n
    assert len(dialogue.answers(run, "i need a tent for a day .", 3)) == 3
    for wrong in ("", "purple prose", "i " * 40):
        with pytest.raises(LabError, match="must have 1 to"):
            dialogue.answers(run, wrong)
    assert dialogue.oracle(1) == pytest.approx(np.mean([1 / len(dialogues.valid_acts(c)) for c in dialogues.contexts()
                                                        if dialogues.split_of(c) == "test"]))


def test_pairs_of_a_table_that_may_have_holes(tmp_path, monkeypatch):
    rows = [{"arm": arm, "seed": seed, **{key: 1.0 for key in language.COLUMNS}, "kl": kl, "perplexity": ppl}
            for arm, kl, ppl in (("monotonic", 0.5, 60.0), ("cyclical", 2.0, 66.0), ("LSTM, no z", 0.0, 55.0),
                                 ("cyclical, restarts", 3.0, 99.0), ("bag of words", 4.0, 70.0)) for seed in (0, 1)]
    about = {"corpus": "made up", "scale": "paper", "steps": 7, "samples": 20, "sentences": [9, 1, 1], "commands": []}
    monkeypatch.setattr(language, "RECORDS", tmp_path)
    assert language.tables() == {}
    (tmp_path / "made-up.json").write_text(json.dumps({**about, "rows": rows}))
    table = language.tables()["made-up"]
    pairs = language.pairs(table)
    assert [*pairs.index] == ["cycles of β, rate constant", "restarts of the rate, β cyclical",
                              "both at once (the published comparison)"]
    assert pairs.loc["cycles of β, rate constant"].tolist() == ["monotonic", "cyclical", 0.5, 2.0, 1.1]
    assert pairs["PPL, after ÷ before"].tolist() == pytest.approx([1.1, 1.5, 1.65])
    against = language.against_lstm(table)
    assert against["cyclical"] == pytest.approx(1.2) and against["bag of words"] == pytest.approx(70 / 55)
    assert math.isnan(against["cyclical, restarts"])                # its own LSTM is not there
    one = table.loc[["bag of words"]]
    assert len(language.pairs(one)) == 0 and language.against_lstm(one).isna().all()


def test_the_program_keeps_what_it_has(tmp_path, capsys):
    out = tmp_path / "t.json"
    arguments = ["--corpus", "grammar", "--scale", "smoke", "--steps", "3", "--samples", "2", "--out", str(out)]
    language.main([*arguments, "--arms", "LSTM, no z", "cyclical"])
    language.main([*arguments, "--arms", "cyclical", "monotonic, restarts"])
    made = json.loads(out.read_text())
    assert [row["arm"] for row in made["rows"]] == ["LSTM, no z", "cyclical", "monotonic, restarts"]
    assert str(tmp_path) not in out.read_text() and len(made["commands"]) == 2
    assert made["steps"] == 3 and "probe" in made["rows"][1]
    assert capsys.readouterr().out.count("cyclical, seed 0") == 1
    with pytest.raises(SystemExit, match="another steps"):
        language.main([*arguments[:5], "4", *arguments[6:]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(language, "RECORDS", tmp_path)
        table = language.tables()["t"]
    assert list(table.index) == ["LSTM, no z", "cyclical", "monotonic, restarts"] and (table["seeds"] == 1).all()


# -- exercises -------------------------------------------------------------------------------------------------------

def says(name, *answers, **context):
    outcome = judge(name, *answers, **context)
    return outcome.passed, outcome.says


def test_exercise_1():
    for right in (lambda c, k: math.exp(sum(c) / (sum(k) + len(k))),
                  lambda c, k: torch.tensor(c).sum().div(sum(n + 1 for n in k)).exp(),
                  lambda c, k: np.exp(np.sum(c) / np.sum(np.array(k) + 1))):
        assert says("05.1", right)[0]
    for wrong, hint in ((lambda c, k: math.exp(sum(c) / sum(k)), "end of each sentence"),
                        (lambda c, k: math.exp(sum(a / (b + 1) for a, b in zip(c, k)) / len(c)), "divide once"),
                        (lambda c, k: sum(c) / (sum(k) + len(k)), "exponential"),
                        (lambda c, k: 2 ** (sum(c) / (sum(k) + len(k))), "not 2"),
                        (lambda c, k: math.exp(sum(c) / (sum(k) + 2 * len(k))), "given, not predicted"),
                        (lambda c, k: 7.0, "it should be")):
        passed, said = says("05.1", wrong)
        assert not passed and hint in said, said
    assert not judge("05.1", lambda c, k: ...).answered


def test_exercise_2():
    def trained(n=30, **what):
        run = language.make_run("grammar", scale="smoke", steps=30, **what)
        for _ in run.steps(n):
            pass
        return run

    run = trained(free_bits=0.5)
    found = measures.score(run.model, run.corpus.test.tokens)
    beside = dataclasses.replace(found, kl=found.kl / 1.6)
    context = {"reference": found, "beside": beside, "steps": 30, "corpus": run.corpus}
    assert says("05.2", "free bits", run, **context)[0]
    assert "not been trained" in says("05.2", "free bits", trained(0, free_bits=0.5), **context)[1]
    assert "for 15 steps, the others for 30" in says("05.2", "free bits", trained(15, free_bits=0.5), **context)[1]
    assert "make a new one" in says("05.2", "free bits", trained(45, free_bits=0.5), **context)[1]
    near = {**context, "reference": dataclasses.replace(found, perplexity=found.perplexity / 2)}
    assert "milder dose" in says("05.2", "free bits", run, **near)[1]
    same = {**context, "beside": found}                             # section 2's own run is no answer
    passed, said = says("05.2", "free bits", run, **same)
    assert not passed and "half as much again" in said and "leave more nats free" in said
    assert "the run that you trained" in says("05.2", "free bits", run.model, **context)[1]
    assert "in a few words" in says("05.2", 3, run, **context)[1].lower()
    assert "is changed above" in says("05.2", "free bits", run, **{**context, "beside": 1.4})[1]
    hidden = trained(word_dropout=1.0)
    assert "Hiding words costs perplexity" in says("05.2", "no words", hidden, **context)[1]
    both = {**near, "beside": dataclasses.replace(found, kl=0.0)}
    assert "leave word dropout at 0" in says("05.2", "no words", hidden, **both)[1]
    run.knobs.beta = 0.1
    assert "end at 1" in says("05.2", "free bits", run, **context)[1]
    assert not judge("05.2", ..., ..., **context).answered


def test_exercise_3():
    for right in (lambda k, n: 1 - (1 - 1 / k) ** n, lambda k, n: -math.expm1(n * math.log1p(-1 / k)),
                  lambda k, n: np.float64(1) - torch.tensor(1 - 1 / k) ** n):
        assert says("05.3", right)[0]
    for wrong, hint in ((lambda k, n: (1 - 1 / k) ** n, "missed"), (lambda k, n: min(n, k) / k, "best case"),
                        (lambda k, n: k - k * (1 - 1 / k) ** n, "number of acts"), (lambda k, n: 0.5, "it should be"),
                        (lambda k, n: 1 - (1 / k) ** n, "another"),
                        (lambda k, n: 1 - (1 - 1 / n) ** k, "exchanged"),
                        (lambda k, n: 1 - (1 - 1 / k) ** n + 0.02, "drawn and counted?")):
        passed, said = says("05.3", wrong)
        assert not passed and hint in said, said


def test_exercise_4():
    text = grammar.load()
    context = {"corpus": text}
    assert says("05.4", "gladly", "good", **context)[0] and says("05.4", " Sadly ", "BAD", **context)[0]
    for word, label, hint in (("gladly", "bad", "0% are"), ("soup", "good", "%"), ("purple", "good", "vocabulary"),
                              ("gladly", "happy", "one of"), ("two words", "good", "not one word"),
                              (3, "good", "text")):
        passed, said = says("05.4", word, label, **context)
        assert not passed and hint in said, said
    assert not judge("05.4", ..., ..., **context).answered


# -- what is shown where nobody watches ------------------------------------------------------------------------------

def test_the_panel_and_the_conversation_stand_still(monkeypatch):
    from dgmlab.widgets.language import ask, language_panel
    from dgmlab.widgets.pictures import compose

    monkeypatch.setenv("DGMLAB_LIVE", "0")
    run = language.make_run("grammar", model="both", scale="smoke")
    first, last = (run.corpus.words(run.corpus.valid.tokens[k]) for k in (0, 1))
    panel = language_panel(run, first=first, last=last, steps=4)
    run.wait()
    shown = {key: picture.collect(run) for key, picture in panel.pictures.items()}
    content, width, alt = compose(panel.rows, shown)
    assert content[:4] == b"\x89PNG" and width > 1000 and "VAE (bound)" in alt and "new: z from the prior" in alt
    with pytest.raises(LabError, match="purple"):
        language_panel(run, first="purple prose", last=last)
    with pytest.raises(LabError, match="language model beside it"):
        language_panel(language.make_run("grammar", scale="smoke"), first=first, last=last)
    talk = dialogue.make_run(scale="smoke")
    conversation = ask({"one": talk}, "i need a tent for a day .", n=3)
    assert len(conversation.shown["one"]) == 3
    with pytest.raises(LabError, match="nobody to ask"):
        ask({}, "i need a tent for a day .")


def test_the_claims_name_numbers_that_the_experiments_give(monkeypatch):
    from dgmlab.experiments import language_claims as claims

    monkeypatch.setattr(claims, "STEPS", 2)
    monkeypatch.setattr(claims, "TURNS", 2)
    monkeypatch.setattr(claims, "make_run", lambda **more: language.make_run(corpus="grammar", scale="smoke", **more))
    answering = dialogue.make_run
    monkeypatch.setattr(claims.dialogue, "make_run", lambda **more: answering(scale="smoke", **more))
    given = claims.language(0).keys() | claims.answering(0).keys()
    assert {claim.quantity for claim in claims.CLAIMS} <= given
    assert len({claim.id for claim in claims.CLAIMS}) == len(claims.CLAIMS)
