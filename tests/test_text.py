"""Sentences, the docstring corpus, the ten sequences, and the VAE that models them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dgmlab.data import dialogues, docstrings, grammar
from dgmlab.data.sequences import FLOOR, ten_sequences
from dgmlab.data.text import END, UNKNOWN, build, read_lines, split_of, tokenise
from dgmlab.errors import LabError
from dgmlab.knobs import Knobs
from dgmlab.metrics.likelihood import elbo, importance_weighted_bound
from dgmlab.models.text_vae import TextVAE, free_bits
from dgmlab.models.vae import kl_to_prior
from dgmlab.rng import Rng
from dgmlab.training import Run, SentenceBatches

SENTENCES = [f"the {adjective} {noun} {verb} ." for adjective in ("red", "green", "old", "new", "wet")
             for noun in ("cat", "dog", "bird", "tree", "car", "boat") for verb in ("runs", "sleeps", "waits", "falls")]


def small(**more):
    return build("small", SENTENCES, [0] * len(SENTENCES), ["all"], about="a", licence="b", **{"seldom": 1} | more)


# -- sentences -------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("text, words", [
    ("The cat's 3 well-known toys, (1.5e-3)!", "the cat's <number> well-known toys , ( <number> ) !"),
    ("Don’t use <name> or <unk>.", "don't use <name> or <unk> ."),
    ("  ", ""),
    (b"caf\xc3\xa9 au lait", "caf au lait"),
])
def test_tokenise(text, words):
    assert " ".join(tokenise(text)) == words


@pytest.mark.parametrize("call, sentence", [
    (lambda: tokenise(b"caf\xe9"), "not UTF-8"),
    (lambda: tokenise(3), "must be a string"),
    (lambda: small().encode("  ... 42"[:2]), "holds no word"),
    (lambda: small().encode("the purple cat ."), "purple are not in the vocabulary"),
    (lambda: build("none", [], [], [], about="", licence=""), "has no training sentence"),
    (lambda: build("odd", ["a b"], [], [], about="", licence=""), "each sentence needs one"),
    (lambda: small(longest=0), "must be a whole number of at least 1"),
    (lambda: read_lines("/no/such/file"), "cannot be read"),
])
def test_bad_text_is_told_in_a_sentence(call, sentence):
    with pytest.raises(LabError, match=sentence):
        call()


def test_a_file_that_is_not_text(tmp_path):
    (tmp_path / "latin").write_bytes("café".encode("latin1"))
    (tmp_path / "empty").write_text("\n \n")
    for name, sentence in (("latin", "is not UTF-8"), ("empty", "holds no text")):
        with pytest.raises(LabError, match=sentence):
            read_lines(tmp_path / name)


def test_a_corpus_goes_there_and_back():
    corpus = small()
    assert corpus.vocabulary[0] == END and UNKNOWN not in corpus.vocabulary
    every = [corpus.words(tokens) for part in (corpus.train, corpus.valid, corpus.test) for tokens in part.tokens]
    assert sorted(every) == sorted(SENTENCES)
    for part, name in ((corpus.train, "train"), (corpus.valid, "valid"), (corpus.test, "test")):
        assert all(split_of(corpus.words(tokens)) == name for tokens in part.tokens)
    tokens = corpus.encode("The OLD cat sleeps.")
    assert tokens[-1] == 0 and corpus.words(tokens) == "the old cat sleeps ."
    assert corpus.train.words == 6 * len(corpus.train)


def test_splits_survive_more_sentences_and_repetitions():
    sentences = [*SENTENCES, *SENTENCES, "another one ."]
    more = build("more", sentences, [0] * len(sentences), ["all"], about="", licence="", seldom=1)
    before, after = ({corpus.words(t) for t in corpus.test.tokens} for corpus in (small(), more))
    assert before <= after and len(after - before) <= 1
    assert more.fingerprint != small().fingerprint == small().fingerprint


def test_seldom_words_are_unknown_and_long_sentences_left_out():
    corpus = build("small", [*SENTENCES, "a sentence that is much too long for it ."], [0] * (len(SENTENCES) + 1),
                   ["all"], about="", licence="", seldom=30, longest=5)
    assert UNKNOWN in corpus.vocabulary and "the" in corpus.vocabulary and "red" not in corpus.vocabulary
    assert max(len(tokens) for tokens in corpus.train.tokens) == 6
    assert corpus.words(corpus.encode("The purple cat")) == "the <unk> <unk>"


def test_docstrings_are_prose():
    text = '''Fit the model to ``x``.

    The fit is done by least squares, e.g. with the function `lstsq`. It takes 3 steps at most
    and returns a new object.

    Parameters
    ----------
    x : array
        The training data, one row for each example.

    >>> fit(x)
    This is not prose at all.
    '''
    assert list(docstrings.clean(text)) == [
        "fit the model to <name> .",
        "the fit is done by least squares , for example with the function <name> .",
        "it takes <number> steps at most and returns a new object .",
        "the training data , one row for each example .",
    ]


@pytest.mark.slow
def test_the_docstring_corpus_is_cached_and_mended(tmp_path, monkeypatch):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    docstrings._lines.cache_clear()
    first = docstrings.load(("numpy", "matplotlib"))
    path, = (tmp_path / "cache").iterdir()
    assert first.classes == ("numpy", "matplotlib") and len(first.train) > 3000
    content = path.read_text()
    path.write_text(content[:-200])
    docstrings._lines.cache_clear()
    again = docstrings.load(("matplotlib", "numpy"))        # in another order: the same corpus
    assert again.fingerprint == first.fingerprint and path.read_text() == content
    docstrings._lines.cache_clear()
    with pytest.raises(LabError, match="must be among"):
        docstrings.load(("pandas",))


# -- the grammar and the dialogues -----------------------------------------------------------------------------------

def test_the_grammar_is_parsed_exactly():
    corpus = grammar.load("tense")
    every = [corpus.words(tokens) for part in (corpus.train, corpus.valid, corpus.test) for tokens in part.tokens]
    assert len(set(every)) == 11_664 == math.prod(map(len, grammar.FACTORS.values()))
    assert all(len(text.split()) == 11 for text in every)
    for text in every[::97]:
        assert grammar.sentence(**grammar.parse(text)) == text
    text = corpus.words(corpus.test.tokens[0])
    assert grammar.FACTORS["tense"][corpus.test.labels[0]] == grammar.parse(text)["tense"]
    assert grammar.parse("yesterday these friendly cook were gladly serving soup in restaurants .") is None
    with pytest.raises(LabError, match="one of: topic, tense"):
        grammar.load("colour")


def test_two_words_tell_tense_number_sentiment_and_topic():
    base = {"topic": "food", "tense": "past", "number": "one", "sentiment": "good"}
    base |= dict.fromkeys(("subject", "verb", "object", "adjective", "adverb"), 0)
    for factor in ("topic", "tense", "number", "sentiment"):
        other = base | {factor: grammar.FACTORS[factor][1]}
        differ = [a != b for a, b in zip(grammar.sentence(**base).split(), grammar.sentence(**other).split())]
        assert sum(differ) >= 2, factor


def test_dialogues_know_what_is_valid():
    data = dialogues.load(turns=12)
    acts = list(dialogues.ACTS)
    for part, name in ((data.train, "train"), (data.valid, "valid"), (data.test, "test")):
        assert len(part) >= 100
        for context, response, act in list(zip(part.contexts, part.responses, part.acts))[::7]:
            assert dialogues.split_of(data.words(context)) == name
            assert dialogues.answers(data.words(context))[data.words(response)] == acts[act]
    for context in dialogues.contexts():
        texts = dialogues.answers(context)
        assert len(texts) == 3 * len(dialogues.valid_acts(context))       # no wording serves two acts
    context = next(iter(dialogues.contexts()))
    right = list(dialogues.answers(context))
    assert dialogues.judge(context, right).recall == dialogues.judge(context, right).precision == 1
    one = dialogues.judge(context, [right[0]] * 9 + ["nonsense"])
    assert (one.precision, one.recall, one.distinct) == (0.9, 0.25, 2)
    row = data.encode("the car is broken .", 11)
    assert data.words(row) == "the car is broken ." and len(row) == 11


@pytest.mark.parametrize("call, sentence", [
    (lambda: dialogues.valid_acts("what ?"), "is not one of the 90 contexts"),
    (lambda: dialogues.judge(next(iter(dialogues.contexts())), []), "no answers"),
    (lambda: dialogues.load(turns=0), "at least 1"),
    (lambda: dialogues.load().encode("the zebra", 9), "not in it: zebra"),
    (lambda: dialogues.load().encode("", 9), "1 to 8 words"),
])
def test_bad_dialogues(call, sentence):
    with pytest.raises(LabError, match=sentence):
        call()


# -- batches of one length -------------------------------------------------------------------------------------------

def sentences(lengths=(3, 5, 4, 3, 3, 5, 4, 3)):
    return [torch.full((n,), k) for k, n in enumerate(lengths)]


def test_batches_hold_one_length_and_an_epoch_holds_all():
    rows = sentences()
    batches = SentenceBatches(rows, 2, labels=torch.arange(8) * 10)
    order = Rng(0)
    for _ in range(3):
        epoch = [batches.next(order, Rng(1)) for _ in range(batches.batches)]
        assert batches.batches == 4 and sorted(int(k) for x, _ in epoch for k in x[:, 0]) == list(range(8))
        assert all(torch.equal(x[:, 0] * 10, y) and x.shape[1] == len(rows[int(x[0, 0])]) for x, y in epoch)
    first = [batches.next(order, Rng(1))[0][:, 0].tolist() for _ in range(4)]
    assert first != [batches.next(order, Rng(1))[0][:, 0].tolist() for _ in range(4)]


@pytest.mark.parametrize("after", [0, 1, 4, 6])
def test_batches_are_taken_up_where_they_were(after):
    def make():
        return SentenceBatches(sentences(), 2), Rng(3)
    whole, order = make()
    for _ in range(after):
        whole.next(order, Rng(0))
    tensors, meta = whole.state()
    rest, again = make()
    rest.restore(tensors, meta)
    again.restore(order.state())
    for _ in range(9):
        assert torch.equal(whole.next(order, Rng(0))[0], rest.next(again, Rng(0))[0])


@pytest.mark.parametrize("call, sentence", [
    (lambda: SentenceBatches([]), "one or more rows"), (lambda: SentenceBatches([[]]), "at least one whole number"),
    (lambda: SentenceBatches([[1]], 0), "batch size"),
    (lambda: SentenceBatches([[1]], 1, [1, 2]), "each sequence needs"),
    (lambda: SentenceBatches([[1]]).share(0, 2), "start a single one"),
    (lambda: SentenceBatches([[1]]).restore({}, SentenceBatches([[1], [2]]).state()[1]), "other sentences"),
])
def test_bad_batches_of_sentences(call, sentence):
    with pytest.raises(LabError, match=sentence):
        call()


def test_a_run_on_sentences_is_resumed(tmp_path):
    def make():
        return Run(lambda: TextVAE(8, 2, 4, 8), SentenceBatches(sentences(), 3), seed=1)
    whole, part, rest = make(), make(), make()
    for run, steps in ((whole, 11), (part, 6)):
        for _ in run.steps(steps):
            pass
    part.save(tmp_path)
    rest.resume(tmp_path)
    for _ in rest.steps(5):
        pass
    assert np.array_equal(whole.history.column("loss"), rest.history.column("loss"))


# -- ten sequences ---------------------------------------------------------------------------------------------------

def test_ten_sequences_differ():
    for kind, symbols in (("random", 10), ("one-hot", 2)):
        x, number = ten_sequences(kind)
        assert x.shape == (10, 10) and number == symbols and len(x.unique(dim=0)) == 10 and int(x.max()) < symbols
    with pytest.raises(LabError, match="one of: random, one-hot"):
        ten_sequences("two-hot")
    assert FLOOR == math.log(10)


# -- the model -------------------------------------------------------------------------------------------------------

def knobs(**values) -> Knobs:
    return TextVAE.Knobs(**values)


@pytest.fixture(params=[("lstm", "both", 1), ("gru", "inputs", 2), ("lstm", "state", 2)],
                ids=["lstm-both", "gru-inputs", "lstm-state"])
def model(request):
    torch.manual_seed(0)
    cell, feed, layers = request.param
    return TextVAE(12, 3, 8, 16, layers=layers, cell=cell, feed=feed).eval()


def test_probabilities_of_all_sequences_sum_to_one():
    torch.manual_seed(0)
    model = TextVAE(3, 2, 4, 8)
    every = torch.cartesian_prod(*[torch.arange(3)] * 4)                    # (81, 4)
    z = torch.randn(1, 2).expand(len(every), -1)
    assert model.log_likelihood(every, z).exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_a_word_depends_on_those_before_and_on_the_code_only(model):
    x, z = torch.randint(12, (5, 7)), torch.randn(5, 3)
    logits = model.logits(x, z)
    later = x.clone()
    later[:, 4:] = (later[:, 4:] + 1) % 12
    assert torch.allclose(model.logits(later, z)[:, :5], logits[:, :5], atol=1e-6)
    assert not torch.allclose(model.logits(later, z)[:, 5:], logits[:, 5:], atol=1e-4)
    assert not torch.allclose(model.logits(x, z + 1), logits, atol=1e-4)
    hidden = model.logits(x, z, torch.ones_like(x, dtype=torch.bool))       # path B cut: all sequences look alike
    assert torch.allclose(hidden, model.logits(later, z, torch.ones_like(x, dtype=torch.bool)), atol=1e-6)


def test_writing_agrees_with_reading(model):
    z = torch.randn(6, 3)
    written = model.write(z, 8)
    assert torch.equal(model.logits(written, z).argmax(-1), written)
    ended = model.write(z, 12, end=int(written[0, 3]))
    first = ended[0].tolist().index(int(written[0, 3]))
    assert set(ended[0, first:].tolist()) == {int(written[0, 3])}
    assert torch.equal(model.sample(4, Rng(1)), model.sample(4, Rng(1)))


def test_drawn_words_have_the_models_probabilities():
    torch.manual_seed(0)
    model = TextVAE(3, 2, 4, 8).eval()
    z = torch.randn(1, 2)
    drawn = model.write(z.expand(20_000, -1), 1, rng=Rng(0))[:, 0]
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    expected = model.logits(torch.zeros(1, 1, dtype=torch.int64), z)[0, 0].softmax(-1)
    assert torch.allclose(shares, expected, atol=0.015)


def test_the_metrics_take_it(model):
    x = torch.randint(12, (9, 6))
    bound = elbo(model, x, Rng(0), samples=20)
    tighter = importance_weighted_bound(model, x, Rng(0), samples=200)
    mu, logvar = model.encode(x)
    assert bound.kl == pytest.approx(kl_to_prior(mu, logvar).sum(-1).mean().item(), abs=1e-5)
    assert tighter.nats >= bound.nats - 0.05
    assert model.log_likelihood(x, torch.randn(4, 9, 3)).shape == (4, 9)


def test_free_bits_have_one_gradient_and_two_values():
    kl = torch.tensor([[0.1, 0.4], [0.7, 0.0]], requires_grad=True)
    clamp, threshold = free_bits(kl, 0.3, "clamp"), free_bits(kl, 0.3, "threshold")
    assert clamp.tolist() == [[pytest.approx(0.3), pytest.approx(0.4)], [pytest.approx(0.7), pytest.approx(0.3)]]
    assert threshold.tolist() == [[0, pytest.approx(0.4)], [pytest.approx(0.7), 0]]
    gradients = [torch.autograd.grad(each.sum(), kl)[0] for each in (clamp, threshold)]
    assert torch.equal(*gradients)


def test_knobs_do_what_they_say():
    model, x = TextVAE(12, 3, 8, 16, bag=True), torch.randint(12, (30, 6))
    terms = {name: model.loss((x,), knobs(**values), Rng(0)) for name, values in {
        "plain": {}, "beta": {"beta": 0.5}, "dropped": {"word_dropout": 1.0}, "bag": {"bag": 2.0},
        "free": {"free_bits": 0.5, "beta": 1.0}}.items()}
    plain = terms["plain"]
    assert plain["loss"].item() == pytest.approx((plain["reconstruction"] + plain["kl"]).item(), rel=1e-6)
    assert terms["beta"]["loss"].item() == pytest.approx((plain["reconstruction"] + 0.5 * plain["kl"]).item(), rel=1e-6)
    assert terms["dropped"]["kl"].item() == plain["kl"].item()
    assert terms["dropped"]["reconstruction"].item() != plain["reconstruction"].item()
    assert terms["bag"]["loss"].item() == pytest.approx((plain["loss"] + 2 * plain["bag"]).item(), rel=1e-6)
    assert terms["free"]["kl"].item() == plain["kl"].item() and terms["free"]["kl_counted"].item() >= 1.5


def test_extra_updates_move_the_encoder_alone():
    x = torch.randint(12, (40, 6))
    moved = {}
    for extra in (0, 3):
        run = Run(lambda: TextVAE(12, 3, 8, 16), x, batch_size=20, knobs={"encoder_steps": extra}, seed=0)
        run.advance()
        moved[extra] = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    assert not torch.equal(moved[0]["posterior.weight"], moved[3]["posterior.weight"])
    run = Run(lambda: TextVAE(12, 3, 8, 16), x, batch_size=20, seed=0)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    run.update("encoder", run.model.loss((x,), run.knobs, Rng(0))["loss"], lr=1e-2)
    changed = {name.split(".")[0] for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {"read", "encoder", "posterior"}


def test_a_run_is_resumed_to_the_same_numbers(tmp_path):
    x, symbols = ten_sequences()
    def make():
        return Run(lambda: TextVAE(symbols, dropout=0.2), x.repeat(8, 1), batch_size=40, seed=3,
                   knobs={"word_dropout": 0.3, "encoder_steps": 1})
    whole, parts = make(), make()
    for _ in whole.steps(12):
        pass
    for _ in parts.steps(7):
        pass
    parts.save(tmp_path)
    resumed = make()
    resumed.resume(tmp_path)
    for _ in resumed.steps(5):
        pass
    assert np.array_equal(whole.history.column("loss"), resumed.history.column("loss"))


def test_no_schedule_gets_below_the_floor():
    x, symbols = ten_sequences()
    run = Run(lambda: TextVAE(symbols), x.repeat(64, 1), batch_size=64, seed=0, threads=1, knobs={"lr": 3e-3})
    for _ in run.steps(300):
        pass
    bound = importance_weighted_bound(run.model, x, Rng(0), samples=500)
    assert FLOOR - 0.02 < -bound.nats < FLOOR + 0.25


@pytest.mark.parametrize("arguments, sentence", [
    ({"vocabulary": 0}, "number of words"), ({"vocabulary": 5, "cell": "rnn"}, "one of: lstm, gru"),
    ({"vocabulary": 5, "feed": "nowhere"}, "one of: both, inputs, state"), ({"vocabulary": 5, "dropout": 2}, "dropout"),
])
def test_bad_arguments(arguments, sentence):
    with pytest.raises(LabError, match=sentence):
        TextVAE(**arguments)


def test_bad_batches_and_knobs():
    with pytest.raises(LabError, match="whole numbers"):
        TextVAE(5).encode(torch.rand(3, 4))
    for bad in ({"beta": -1}, {"word_dropout": 1.5}, {"free_bits_kind": "some"}, {"encoder_steps": 1.5}):
        with pytest.raises(LabError):
            knobs(**bad)
