"""Lab 04: what is counted and measured on ten sequences, its panels, and its exercises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dgmlab.check import judge
from dgmlab.check import lab04 as checks
from dgmlab.data.sequences import FLOOR, ten_sequences
from dgmlab.errors import LabError
from dgmlab.experiments import annealing, build
from dgmlab.experiments.annealing import alone, beta_schedule, given_history, identified, make_run, measure, snapshots
from dgmlab.models.text_vae import TextVAE, widest_logvar
from dgmlab.models.vae import kl_to_prior
from dgmlab.rng import Rng
from dgmlab.schedules import cyclical
from dgmlab.widgets import annealing as panels
from dgmlab.widgets.pictures.ellipses import Ellipses, Places


def train(run, steps):
    for _ in run.steps(steps):
        pass
    return run


# -- the model's new arguments ---------------------------------------------------------------------------------------

def test_several_draws_cost_what_a_larger_batch_does():
    x, symbols = ten_sequences()
    torch.manual_seed(0)
    model = TextVAE(symbols, draws=3)
    terms = model.loss((x,), model.Knobs(), Rng(0))
    mu, logvar = model.encode(x)
    assert terms["kl"].item() == pytest.approx(kl_to_prior(mu, logvar).sum(-1).mean().item(), rel=1e-5)
    z = mu.repeat(3, 1) + (0.5 * logvar).exp().repeat(3, 1) * Rng(0).normal((30, 2))
    cost = -model.log_likelihood(x.repeat(3, 1), z).mean().item()
    assert terms["reconstruction"].item() == pytest.approx(cost, rel=1e-5)


def test_few_words_and_many_cost_the_same(monkeypatch):
    x, symbols = ten_sequences()
    model = TextVAE(symbols)
    z = torch.zeros(10, 2)
    short = model.log_likelihood(x, z)
    monkeypatch.setattr("dgmlab.models.text_vae.FEW_WORDS", 0)
    assert torch.allclose(model.log_likelihood(x, z), short, atol=1e-5)


@pytest.mark.parametrize("rate", [1e-3, 0.5, 4.0])
def test_a_committed_rate_is_kept(rate):
    widest = torch.tensor(widest_logvar(rate))
    assert kl_to_prior(torch.zeros(()), widest).item() == pytest.approx(rate, rel=1e-3)
    model = TextVAE(10, least_rate=rate)
    with torch.no_grad():
        model.posterior.bias[2:] = 100.0                                # as wide as it can be
        each = kl_to_prior(*model.encode(ten_sequences()[0]))
    assert each.min() >= 0.999 * rate
    with pytest.raises(LabError, match="least rate"):
        TextVAE(10, least_rate=-1)


# -- the two paths ---------------------------------------------------------------------------------------------------

def test_what_the_history_tells_is_counted_exactly():
    x, _ = ten_sequences()
    assert given_history(x).sum() == pytest.approx(FLOOR, abs=1e-6)             # the chain rule
    assert np.allclose(given_history(x, 1.0), alone(x), atol=1e-6)
    heights = [given_history(x, w).sum() for w in (0, 0.2, 0.5, 0.9, 1)]
    assert heights == sorted(heights)
    hot, _ = ten_sequences("one-hot")
    one_in_ten = -(0.1 * math.log(0.1) + 0.9 * math.log(0.9))
    assert np.allclose(alone(hot), one_in_ten, atol=1e-6)
    # Half of the symbols of two equal places hidden: the second is told half of the time.
    two = torch.tensor([[0, 0], [1, 1]])
    assert given_history(two, 0.5) == pytest.approx([math.log(2), 0.5 * math.log(2)], abs=1e-6)


@pytest.mark.parametrize("call, sentence", [
    (lambda: given_history(ten_sequences()[0], 1.5), "word dropout"),
    (lambda: given_history(torch.zeros(2, 20, dtype=torch.int64)), "14 or fewer"),
    (lambda: alone(torch.zeros(3)), "sequences, places"),
    (lambda: make_run(schedule="twice"), "schedule of the KL weight"),
    (lambda: make_run(lr_schedule="twice"), "schedule of the learning rate"),
    (lambda: make_run(steps=0), "number of steps"),
    (lambda: make_run(beta=-1), "KL weight"),
    (lambda: make_run(scale="huge"), "scale"),
    (lambda: annealing.table("none"), "The table"),
    (lambda: panels.drag_schedule(100, ramp=2), "ramp"),
    (lambda: panels.drag_schedule(100, cycles=0), "cycles"),
    (lambda: panels.Together({}), "no run"),
    (lambda: panels.hand_panel(make_run(schedule="by hand", steps=20), make_run(steps=20)), "train it first"),
    (lambda: Ellipses().check({"mu": np.zeros((3, 2)), "sigma": np.zeros((2, 2))}), "must both be"),
])
def test_bad_input_is_told_in_a_sentence(call, sentence):
    with pytest.raises(LabError, match=sentence):
        call()


# -- runs ------------------------------------------------------------------------------------------------------------

def test_a_run_follows_its_schedules_and_can_be_built_again():
    run = train(make_run(schedule="cyclical", lr_schedule="restarts", steps=40, seed=1), 40)
    assert np.allclose(run.history.column("beta"), [cyclical(40)(s) for s in range(40)])
    rate = run.history.column("lr")
    assert rate[0] == rate[10] == 1e-3 and rate[9] < 1e-4
    assert make_run(lr_schedule="half").knobs.lr == 5e-4
    again = train(build(run.spec), 40)
    assert np.array_equal(again.history.column("loss"), run.history.column("loss"))
    assert beta_schedule("monotonic", 40)(10) == 1 and beta_schedule("constant", 40)(3) == 1


def test_measures_agree_with_each_other():
    run = train(make_run(steps=30), 30)
    found = measure(run, samples=100)
    assert found["nelbo"] == pytest.approx(found["reconstruction"] + found["kl"], abs=1e-6)
    assert FLOOR < found["nll"] < found["nelbo"] + 0.05                     # the bound, up to the noise of the draws
    mu = torch.tensor([[-9.0, 0.0], [9.0, 0.0]])
    assert identified(mu, torch.zeros(2, 2), Rng(0)) == 1.0
    assert abs(identified(torch.zeros(2, 2), torch.zeros(2, 2), Rng(0)) - 0.5) < 0.1
    costs = annealing.place_costs(run)
    assert costs.shape == (10,) and costs.sum() == pytest.approx(found["reconstruction"], rel=0.05)


def test_snapshots_are_those_of_their_steps():
    seen = snapshots(make_run(steps=20), [5, 12])
    run = train(make_run(steps=20), 12)
    assert torch.equal(seen[12][0], run.model.encode(run.x)[0].detach()) and list(seen) == [5, 12]


def test_the_numbers_that_claims_want_are_there(monkeypatch):
    monkeypatch.setattr(annealing, "STEPS", {"smoke": 8, "lab": 8, "paper": 8})
    monkeypatch.setattr(annealing, "CURE_STEPS", 8)
    monkeypatch.setattr(annealing, "measure", lambda run: dict.fromkeys(
        ("nelbo", "reconstruction", "kl", "nll", "mi", "identified"), 1.0))
    for experiment in {claim.experiment for claim in annealing.CLAIMS}:
        found = experiment(0)
        for claim in annealing.CLAIMS:
            if claim.experiment is experiment:
                assert math.isfinite(found[claim.quantity]), claim.id
    assert len({claim.id for claim in annealing.CLAIMS}) == len(annealing.CLAIMS)


# -- panels ----------------------------------------------------------------------------------------------------------

def runs(steps=12):
    return {name: make_run(schedule=name, steps=steps) for name in ("monotonic", "cyclical")}


def test_runs_stay_at_the_same_step_and_are_what_they_are_alone():
    together = panels.Together(runs())
    for step in together.steps(5):
        assert {run.step for run in together.runs.values()} == {step}
    together.runs["cyclical"].advance()                     # as if interrupted in between
    for _ in together.steps(7):
        pass
    assert together.step == 12
    one = train(make_run(schedule="monotonic", steps=12), 12)
    assert np.array_equal(one.history.column("kl"), together.runs["monotonic"].history.column("kl"))
    together.reset()
    assert together.step == 0
    for _ in together.steps(12):
        pass
    assert np.array_equal(one.history.column("beta"), together.runs["monotonic"].history.column("beta"))


def test_side_by_side_keeps_snapshots_and_collects_its_pictures():
    panel = panels.side_by_side(runs(), steps=12, keep=[4, 12])
    panel.run.wait()
    assert panel.run.step == 12 and list(panel.run.seen["cyclical"]) == [4, 12]
    for picture in panel.pictures.values():
        data = picture.collect(panel.run)
        assert len(picture.render(data)) > 1000 and len(picture.alt(data)) > 20


def test_the_text_panel_collects_its_pictures():
    run = make_run(steps=12)
    panel = panels.text_panel(run, steps=12, schedule=panels.drag_schedule(12))
    for picture in panel.pictures.values():
        assert len(picture.render(picture.collect(run))) > 1000             # before the first step
    run.wait()
    run.knobs.word_dropout = 1.0
    for picture in panel.pictures.values():
        assert picture.render(picture.collect(run))
    with pytest.raises(LabError, match="run.x"):
        panels.text_panel(object())


def test_the_hand_is_scored():
    rival = train(make_run(schedule="cyclical", steps=20), 20)
    own = make_run(schedule="by hand", steps=20)
    panel = panels.hand_panel(own, rival, moves=[(0, 0.0), (0.5, 0.5)])
    own.wait()
    beta = own.history.column("beta")
    assert beta[0] == 0 and beta[10] == 0.5 and (beta[18:] == 1).all() and panel.pictures
    scored = panels.score(own)
    assert not scored["counts"] and 0 <= scored["named"] <= 10              # 20 steps: far above ln 10
    assert scored["highest"] == pytest.approx(own.history.column("kl").max())
    assert panels.score(make_run(steps=20))["highest"] == 0.0               # nobody has pressed Start yet
    assert "does not count" in panels.in_words(scored, scored)
    assert "you win" in panels.in_words({"named": 9, "nelbo": 2.35, "counts": True}, scored | {"named": 1})


def test_a_collapsed_latent_is_drawn_and_so_is_one_dimension():
    for d in (1, 2, 3):
        data = {"mu": np.zeros((10, d), np.float32), "sigma": np.ones((10, d), np.float32)}
        picture = Ellipses()
        assert picture.render(data)
        data["mu"][0] = np.nan
        assert picture.render(data) and "10 ellipses" in picture.alt(data)
    ones = np.ones(10)
    assert "10 nats" in Places().alt({"costs": ones, "alone": ones, "history": 0 * ones})


# -- exercises -------------------------------------------------------------------------------------------------------

def says(name, *answers, **context):
    outcome = judge(name, *answers, **context)
    assert outcome.answered
    return outcome.passed, outcome.says


@pytest.mark.parametrize("kind", ["random", "one-hot"])
def test_exercise_1(kind):
    x, _ = ten_sequences(kind)
    worth = [given_history(x, k / 20).sum() - FLOOR for k in range(21)]
    right = next((k / 20 for k, nats in enumerate(worth) if nats >= 1), 1.0)
    for answer in (right, torch.tensor(right), np.float32(right)):
        assert says("04.1", answer, x=x)[0]
    wrong = [2.0, "0.3", 0.333]
    for answer in wrong:
        assert not says("04.1", answer, x=x)[0]
    if kind == "random":
        assert "difference to ln 10" in says("04.1", 0, x=x)[1]
        assert "smaller word dropout" in says("04.1", 0.9, x=x)[1]
        assert "none of them" in says("04.1", 0.333, x=x)[1]
        assert "ln 2" in says("04.1", next(k / 20 for k, nats in enumerate(worth) if nats >= math.log(2)), x=x)[1]
        assert "smaller word dropout" in says("04.1", right + 0.05, x=x)[1]


def test_exercise_2():
    def right(step, T, M, R):
        return min(1, (step * M % T) / T / R)

    assert says("04.2", right)[0]
    assert says("04.2", lambda s, T, M, R: float(np.minimum(1, s % (T / M) / (T / M) / R)))[0]
    assert says("04.2", lambda s, T, M, R: cyclical(T, cycles=M, ramp=R)(s))[0]
    for function, hint in ((lambda s, T, M, R: min(1, s / T / R), "ramps once"),
                           (lambda s, T, M, R: (s * M % T) / T / R, "min"),
                           (lambda s, T, M, R: (s * M % T) / T, "whole cycle"),
                           (lambda s, T, M, R: min(1, s % (T // M) / (T // M) / R), "T / M is no whole number"),
                           (lambda s, T, M, R: min(1, s % (T / M) / (T / M) * R), "multiply by R"),
                           (lambda s, T, M, R: min(1, s % (T / M) / (R * T)), "R T / M steps"),
                           (lambda s, T, M, R: min(1, ((s + 1) * M % T) / T / R), "one step too far"),
                           (lambda s, T, M, R: 2.0 * right(s, T, M, R), "goes above 1"),
                           (lambda s, T, M, R: 0.5 * right(s, T, M, R), "should be"),
                           (lambda s, T, M, R: float((s * M % T) / T > R), "within the ramp"),
                           (lambda s, T, M, R: None, "returns nothing"), (3, "a function")):
        passed, text = says("04.2", function)
        assert not passed and hint in text, text
    assert not judge("04.2", lambda s, T, M, R: ...).answered


def test_exercise_3():
    assert says("04.3", lambda kl, free: (kl.clamp(min=free).sum(1), torch.where(kl > free, kl, 0 * kl).sum(1)))[0]
    assert says("04.3", lambda kl, free: [np.maximum(kl.numpy(), free).sum(1), (kl * (kl > free)).numpy().sum(1)])[0]
    for function, hint in (
            (lambda kl, free: ((kl * (kl > free)).sum(1), kl.clamp(min=free).sum(1)), "wrong way round"),
            (lambda kl, free: (kl.clamp(min=free).sum(1),) * 2, "threshold charges nothing there"),
            (lambda kl, free: ((kl * (kl > free)).sum(1),) * 2, "the clamp charges λ"),
            (lambda kl, free: (kl.clamp(min=free), kl * (kl > free)), "summed over the dimensions"),
            (lambda kl, free: (kl.sum(1).clamp(min=free), (kl * (kl > free)).sum(1)), "frees"),
            (lambda kl, free: ((kl - free).clamp(min=0).sum(1),) * 2, "takes the free amount off"),
            (lambda kl, free: (kl.clamp(min=free).mean(), kl.mean()), "shape"),
            (lambda kl, free: kl, "return two things")):
        passed, text = says("04.3", function)
        assert not passed and hint in text, text


def hand(steps, moves, **more):
    run = make_run(**{"schedule": "by hand", "steps": steps} | more)
    run.knobs.replay([{"step": int(share * steps), "knob": "beta", "value": value} for share, value in moves])
    return train(run, steps)


def test_exercise_4(monkeypatch):
    rival, fair = train(make_run(schedule="monotonic", steps=20), 20), [(0, 0.0), (0.5, 1.0)]
    context = {"rival": rival, "named": 0.1}
    assert says("04.4", hand(20, fair), **context)[0]                       # too short: only the rules are judged
    for run, hint in ((make_run(steps=20), "train it to step 20"), (train(hand(20, fair), 3), "not fair"),
                      (hand(20, fair, seed=3), "another seed"), (hand(20, []), "never moved"),
                      (hand(20, [(0, 0.0), (0.5, 0.5)]), "last tenth"), (hand(20, [(0, 0.0)]), "last tenth"),
                      (train(make_run(schedule="cyclical", steps=20), 20), "falls 3 times"),
                      (hand(20, [(0, 0), (0.2, 1), (0.4, 0), (0.5, 1), (0.7, 0.1), (0.8, 1)]), "falls 2 times"),
                      (hand(20, fair, word_dropout=0.5), "word_dropout"), (fair, "the run itself")):
        passed, text = says("04.4", run, **context)
        assert not passed and hint in text, text
    monkeypatch.setattr(checks, "SHORT", 0)
    assert "above ln 10" in says("04.4", hand(20, fair), **context)[1]
    monkeypatch.setattr(checks, "FLOOR", 100.0)
    for moves, hint in ((fair, "fall to 0 again"), ([(0, 1), (0.3, 0), (0.5, 1)], "from 0.50 of the steps on"),
                        ([(0, 0), (0.3, 1), (0.7, 0.5), (0.8, 1)], "falls only to 0.5"),
                        ([(0, 1), (0.7, 0), (0.85, 1)], "Start with β = 0"),
                        ([(0, 0), (0.2, 1), (0.8, 0), (0.85, 1)], "longer near 0")):
        passed, text = says("04.4", hand(20, moves), **context | {"named": 0.99})
        assert not passed and hint in text, text
    assert says("04.4", hand(20, fair), **context | {"named": 0.0})[0]
    slowly = [(0, 0), (0.2, 1), (0.5, 0.5), (0.6, 0.0), (0.7, 0.5), (0.8, 1)]   # one fall, in two moves
    assert says("04.4", hand(20, slowly), **context | {"named": 0.0})[0]
    assert not judge("04.4", ..., **context).answered


def test_exercise_5(monkeypatch):
    pair = {name: train(make_run(schedule=name, steps=20), 20) for name in ("monotonic", "cyclical")}
    assert "train it on" in says("04.5", 1.0, 1.0, **pair)[1]
    for run in pair.values():
        train(run, 20)
    kl = {name: run.history.column("kl") for name, run in pair.items()}
    before, after = (kl["cyclical"][s] - kl["monotonic"][s] for s in (19, 39))
    assert says("04.5", before, after, **pair)[0]
    for run, amount in (("monotonic", 1.0), ("cyclical", 2.0)):             # numbers that are told apart
        for k in range(40):
            pair[run].history._columns["kl"][k] = amount * (1 + (k > 19))
    monkeypatch.setattr(checks, "SHORT", 0)
    passed, text = says("04.5", 1.0, torch.tensor(2.0), **pair)
    assert passed and "stays (2.00)" in text
    for later, part in ((0.4, "0.60 are gone"), (0.0, "is gone (0.00)")):
        for k in range(20, 40):
            pair["cyclical"].history._columns["kl"][k] = 2.0 + later
        passed, text = says("04.5", 1.0, later, **pair)
        assert passed and part in text and "from 1.00 to 2.00 (monotonic)" in text, text
    for k in range(20, 40):
        pair["cyclical"].history._columns["kl"][k] = 4.0
    for answers, hint in (((-1.0, 2.0), "wrong sign"), ((1.0, 4.0), "KL of one run"), ((1.0, 3.3), "histories give")):
        passed, text = says("04.5", *answers, **pair)
        assert not passed and hint in text, text
    pair["cyclical"].history._settings["beta"][30] = 0.5
    assert "without touching" in says("04.5", 1.0, 2.0, **pair)[1]
