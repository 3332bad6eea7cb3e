"""Lab 00: nearest neighbours, milestones and their growth, the runs of few and many images, and its exercises."""

import math
import time

import numpy as np
import pytest
import torch

from dgmlab import check
from dgmlab.check import lab00
from dgmlab.data import density, load
from dgmlab.data.milestones import BASES, FAMILIES, milestones
from dgmlab.errors import LabError
from dgmlab.experiments import build, memorising
from dgmlab.experiments.growth import growth
from dgmlab.experiments.memorising import (
    CLAIMS,
    PlaneModel,
    grid,
    make_run,
    numbers_in,
    pixel_by_pixel,
    report,
    trained,
)
from dgmlab.metrics.memorising import nearest, neighbours
from dgmlab.models.nets import mlp
from dgmlab.widgets import start_pictures as pictures
from dgmlab.widgets.memorising import about, memorising_bench, verdict
from dgmlab.widgets.workbench import Workbench

DIGITS = load("digits")
TRAIN, VALID, TEST = DIGITS.train.x, DIGITS.valid.x, DIGITS.test.x


# -- nearest training examples ---------------------------------------------------------------------------------------

def test_neighbours_of_copies_and_of_new_images():
    copies = neighbours(TRAIN[5:50], TRAIN, VALID)
    assert copies.nearest.tolist() == list(range(5, 50)) and copies.new.max() == 0
    assert copies.ratio == 0 and copies.copies == 1
    new = neighbours(TEST, TRAIN, VALID)
    assert 0.9 < new.ratio < 1.1 and new.copies == 0
    by_hand = (VALID[7] - TRAIN).flatten(1).square().sum(1).sqrt()
    distance, place = nearest(VALID[7:8], TRAIN)
    assert distance.item() == pytest.approx(by_hand.min().item(), rel=1e-5) and place.item() == by_hand.argmin()
    assert torch.equal(nearest(VALID, TRAIN, chunk=7)[1], nearest(VALID, TRAIN)[1])
    assert math.isnan(neighbours(TEST, TRAIN[:1], VALID).copies)


@pytest.mark.parametrize("new, train, says", [
    (TEST[:0], TRAIN, "at least one"), (TEST, TRAIN[:0], "at least one"), (torch.zeros(3, 5), TRAIN, "5 numbers each"),
    (TEST[0, 0, 0], TRAIN, "x\\[None\\]")])
def test_neighbours_say_what_is_wrong(new, train, says):
    with pytest.raises(LabError, match=says):
        neighbours(new, train, VALID)


# -- the runs --------------------------------------------------------------------------------------------------------

def test_fewer_images_are_among_more_and_a_run_can_be_made_again():
    few, many = make_run(5, 16, seed=3), make_run(20, 16, seed=3)
    assert torch.equal(few.images, many.images[:5]) and numbers_in(many.images) == 20 * 64
    assert not torch.equal(few.images, make_run(5, 16, seed=4).images)
    assert build(few.spec).parameters == few.parameters == sum(p.numel() for s in ([64, 16, 4], [2, 16, 64])
                                                               for p in mlp(s).parameters())
    for bad in ({"images": 0}, {"images": 2000}, {"width": 0}):
        with pytest.raises(LabError):
            make_run(**bad)


def test_few_images_are_memorised_and_held_out_ones_are_watched():
    run = trained(5, 256, steps=500)
    found = report(run)
    assert found["ratio"] < 0.6 and found["gap"] > 10 and found["P"] > found["N*D"] == 320
    late = run.history.column("held_out")[-100:].mean()
    assert late == pytest.approx(found["held out"], abs=2), "what is watched during training is not the bound"
    assert -run.history.column("loss")[-100:].mean() == pytest.approx(found["training"], abs=1)


def test_watching_does_not_teach():
    """The weights after a step do not depend on what the held-out images are."""
    one, other = make_run(20, 16), make_run(20, 16)
    other.model.held_out.fill_(0.7)
    for run in (one, other):
        for _ in run.steps(5):
            pass
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters()))
    assert one.history.column("held_out")[0] != other.history.column("held_out")[0]


def test_grid_has_a_record_for_each_pair():
    records = grid((5, 10), (4, 16), steps=2)
    assert [(r["N"], r["width"]) for r in records] == [(5, 4), (10, 4), (5, 16), (10, 16)]
    assert pictures.grid_picture(records) is not None
    with pytest.raises(LabError, match="fill a grid"):
        pictures.grid_picture(records[:3])


def test_claims_name_numbers_that_their_experiments_return(monkeypatch):
    """The experiments themselves take seconds; here their runs stop after two steps."""
    monkeypatch.setattr(memorising, "STEPS", 2)
    monkeypatch.setattr(memorising.end_and_best, "__defaults__", (2, 1))
    found = {experiment: experiment(0) for experiment in {claim.experiment for claim in CLAIMS}}
    for claim in CLAIMS:
        assert claim.id.startswith("00.") and math.isfinite(found[claim.experiment][claim.quantity])


def test_the_best_step_is_chosen_on_validation_images():
    found = memorising.end_and_best(make_run(20, 256), steps=300, every=100)
    assert found["at"] in (100, 200, 300) and {"end", "best"} <= set(found)
    if found["at"] == 300:
        assert found["best"] == found["end"]


# -- densities of the plane, pixels one by one -------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["too simple", "good", "memory"])
def test_plane_models_are_densities_and_sample_from_them(kind):
    points = density("moons").sample(200, 0)
    model = PlaneModel(kind, points)
    axis = torch.linspace(-4, 4, 801, dtype=torch.float64)
    plane = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).reshape(-1, 2)
    assert model.log_prob(plane).exp().sum().item() * 0.01**2 == pytest.approx(1, abs=2e-3)
    samples = model.sample(4000)
    assert samples.mean(0).tolist() == pytest.approx(points.mean(0).tolist(), abs=0.1)
    assert torch.cov(samples.T.double()).flatten().tolist() == pytest.approx(
        torch.cov(points.T.double()).flatten().tolist(), abs=0.12)


def test_a_good_plane_model_beats_a_simple_one_and_a_memory_on_new_points():
    points, new = density("moons").sample(300, 0), density("moons").sample(1000, 1)
    scores = {kind: PlaneModel(kind, points).log_prob(new).mean() for kind in ("too simple", "good", "memory")}
    assert scores["good"] > scores["too simple"] > scores["memory"]
    assert PlaneModel("memory", points).log_prob(points).mean() > PlaneModel("good", points).log_prob(points).mean()
    with pytest.raises(LabError, match="kind of model"):
        PlaneModel("best", points)


def test_pixel_by_pixel_draws_what_the_weights_say():
    weights = torch.zeros(3, 3)
    weights[1, 0], weights[0, 2] = 50.0, 99.0                       # the second copies the first; [0, 2] is not used
    x = pixel_by_pixel(weights, torch.tensor([0.0, -25.0, -50.0]), 2000)
    assert 0.45 < x[:, 0].mean() < 0.55 and torch.equal(x[:, 0], x[:, 1]) and x[:, 2].sum() == 0


# -- growth ----------------------------------------------------------------------------------------------------------

def test_milestones_are_complete_and_computed_ones_agree_with_their_architectures():
    found = {m.name: m for m in milestones()}
    assert len(found) == len(milestones()) >= 15
    for m in found.values():
        assert m.family in FAMILIES and m.basis in BASES and m.source and m.where and 2000 < m.year < 2030

    def dense(*sizes):
        return sum((a + 1) * b for a, b in zip(sizes, sizes[1:]))

    assert found["VAE"].parameters == dense(784, 500, 2 * 20) + dense(20, 500, 784)
    v, n, m, h = 17_964, 6, 100, 60
    assert found["NPLM"].parameters == v * (1 + n * m + h) + h * (1 + (n - 1) * m)
    channels = (1024, 512, 256, 128, 3)
    assert found["DCGAN"].parameters == 100 * 16 * 1024 + sum(25 * a * b for a, b in zip(channels, channels[1:]))


def test_growth_finds_the_factor_and_its_uncertainty():
    years = np.arange(2015, 2022)
    exact = growth(years, 1e6 * 3.0 ** (years - 2015))
    assert exact.factor == pytest.approx(3) and exact.low == pytest.approx(3) and exact.points == 7
    assert exact.at(2015) == pytest.approx(1e6)
    noisy = growth(years, 1e6 * 3.0 ** (years - 2015) * np.array([2, 0.5, 1, 1, 3, 0.3, 1]))
    assert noisy.low < 3 < noisy.high and noisy.high / noisy.low > 1.3
    for bad in (([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 0]), ([1, 1, 1], [1, 2, 3])):
        with pytest.raises(LabError):
            growth(*bad)


def test_pictures_are_made():
    found = milestones()
    of_it = [m for m in found if m.family == "GAN"]
    assert pictures.growth_picture(found, {"GAN": growth([m.year for m in of_it], [m.parameters for m in of_it])})
    points = density("moons").sample(60, 0)
    assert pictures.densities_picture({"the truth": density("moons"), "too simple": PlaneModel("too simple", points)},
                                      points, points)
    assert pictures.stages_picture(torch.zeros(4, 64), (10, 64))
    assert pictures.rows_picture({"a": torch.zeros(12, 1, 8, 8)}, "title")
    assert pictures.LEFT | pictures.BELOW <= {m.name for m in found}
    assert pictures.model_picture(make_run(3, 4)) and pictures.model_picture(make_run(20, 4))


# -- the workbench -----------------------------------------------------------------------------------------------------

def test_bench_without_a_front_end_trains_its_steps(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "0")
    bench = memorising_bench(5, 16, steps=3)
    bench._ipython_display_()
    assert bench.run.step == 3 and "P = 2,244" in about(bench.panel) and "&gt;" in about(bench.panel)
    assert [verdict(r).rpartition(": ")[2] for r in (0.2, 0.7, 1.0, 2.0)] == ["mostly copies", "close to copies",
                                                                             "not copies", "like no digit"]


def test_choosing_makes_a_new_run_that_goes_on_training(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    bench = memorising_bench(5, 16, steps=3)
    first = bench.run
    bench.choose(images=100)
    assert bench.run is not first and len(bench.run.images) == 100 and bench.run.step == 0
    assert "6,400" in bench.line.value and bench.place.children == (bench.panel.widget,)
    bench.run.start()
    bench.choose(width=64)
    assert (bench.run.live.training or bench.run.live.rests) and not first.live.training
    bench.run.pause()
    bench.choose(width=16)
    assert not bench.run.live.training and not bench.run.live.rests
    bench.run.start()
    for _ in range(600):
        if bench.run.live.rests:
            break
        time.sleep(0.05)
    assert bench.run.step == 3, "it did not pause by itself"
    bench.choose(images=20)
    assert bench.run.live.training or bench.run.live.rests, "after a run that is done, the next one trains too"
    bench.run.pause()
    with pytest.raises(LabError, match="no choice"):
        bench.choose(depth=3)
    with pytest.raises(LabError, match="each choice a start"):
        Workbench({"a": ("A", [("1", 1)])}, {}, lambda a: None)


# -- exercises ---------------------------------------------------------------------------------------------------------

def says(name, *answers, **context):
    outcome = check.judge(name, *answers, **context)
    assert outcome.answered
    return ("right: " if outcome.passed else "wrong: ") + outcome.says


def test_an_open_answer_is_a_reminder():
    for name, context in (("00.1", {}), ("00.2", {}), ("00.3", {"width": 4, "steps": 1, "seed": 0})):
        assert not check.judge(name, ..., **context).answered
    assert not check.judge("00.4", ..., ...).answered and not check.judge("00.1", lambda sizes: ...).answered


def pairs(sizes):
    return list(zip(sizes, sizes[1:]))


@pytest.mark.parametrize("count", [
    lambda s: sum(a * b + b for a, b in pairs(s)),
    lambda s: np.sum([(s[i] + 1) * s[i + 1] for i in range(len(s) - 1)]),
    lambda s: sum(p.numel() for p in mlp(s).parameters()),
    lambda s: torch.tensor([(a + 1.0) * b for a, b in pairs(s)]).sum()])
def test_count_right(count):
    assert says("00.1", count).startswith("right")


@pytest.mark.parametrize("count, hint", [
    (lambda s: sum(a * b for a, b in pairs(s)), "weights alone"),
    (lambda s: sum(a * b for a, b in pairs(s)) + sum(s), "first size"),
    (lambda s: sum(a * b + a for a, b in pairs(s)), "inputs"),
    (lambda s: sum(a * b + 1 for a, b in pairs(s)), "each \\*output\\*"),
    (lambda s: math.prod(s), "product of all"),
    (lambda s: (s[0] + 1) * s[1], "first layer alone"),
    (lambda s: 7, "a · b weights"), (lambda s: s[99], "IndexError"), (lambda s: None, "returns nothing"),
    (3, "should be a function")])
def test_count_wrong(count, hint):
    import re

    assert re.match(f"wrong: .*{hint}", says("00.1", count))


def near(a, b):
    return torch.cdist(a.flatten(1), b.flatten(1)).min(1).values


def by_share(new, train, held_out):
    usual = near(held_out, train).median()
    return "copies" if (near(new, train) < 0.5 * usual).float().mean() > 0.5 else "new"


@pytest.mark.parametrize("judge", [
    by_share,
    lambda new, train, held: "copies" if near(new, train).mean() < 0.6 * near(held, train).mean() else "new",
    lambda new, train, held: "Memorised" if neighbours(new, train, held).ratio < 0.4 else "generates",
    lambda new, train, held: "copy" if near(new, train).quantile(0.5) < near(held, train).quantile(0.02) else "New."])
def test_judge_right(judge):
    assert says("00.2", judge).startswith("right")


@pytest.mark.parametrize("judge, hint", [
    (lambda new, train, held: "copies" if near(new, train).median() < 0.5 else "new", "the held-out images tell"),
    (lambda new, train, held: "copies" if near(new, train).median() < near(held, train).median() else "new", "margin"),
    (lambda new, train, held: "copies" if near(new, train).mean() < near(held, train).mean() else "new", "margin"),
    (lambda new, train, held: "copies" if near(new, train).median() < 2 else "new", "held against the same"),
    (lambda new, train, held: "copies" if torch.cdist(new.flatten(1), train.flatten(1)).mean() <
     0.5 * torch.cdist(held.flatten(1), train.flatten(1)).mean() else "new", "never finds copies"),
    (lambda new, train, held: "copies" if near(new, train).median() > 0.5 * near(held, train).median() else "new",
     "held against the same"),
    (lambda new, train, held: "copies", "everywhere"), (lambda new, train, held: "new", "never finds"),
    (lambda new, train, held: "copies" if near(new, train).max() == 0 else "new", "3 of|of 8"),
    (lambda new, train, held: True, "in quotes"), (lambda new, train, held: "maybe", "should be one of"),
    (lambda new, train, held: torch.cdist(new, train), "stops with")])
def test_judge_wrong(judge, hint):
    import re

    assert re.match(f"wrong: .*({hint})", says("00.2", judge))


def test_enough_images(monkeypatch):
    ratios = dict(zip(lab00.NUMBERS, (0.2, 0.4, 0.49, 0.6, 0.4, 0.8, 0.9)))
    monkeypatch.setattr(lab00, "ratio", lambda n, width, steps, seed: ratios[n])
    context = {"width": 256, "steps": 2000, "seed": 0}
    for right in (40, 40.0, np.int64(40), torch.tensor(40)):
        assert says("00.3", right, **context).startswith("right: With 40 images")
    assert "long before" in says("00.3", 40, **context)
    for high in (80, 160):
        assert "for fewer too" in says("00.3", high, **context) and "40" not in says("00.3", high, **context)
    assert "take more" in says("00.3", 5, **context) and "take more" in says("00.3", 20, **context)
    assert "one of 5, 10" in says("00.3", 30, **context) and "should be a number" in says("00.3", "forty", **context)


def test_enough_images_measures_what_the_notebook_measures():
    assert lab00.ratio(5, 16, 30, 0) == pytest.approx(report(trained(5, 16, 30, 0))["ratio"], rel=1e-6)


def test_fragile_growth():
    found = [m for m in milestones() if m.family == "autoregressive"]
    rest = [m for m in found if m.name != "NPLM"]
    factor = growth([m.year for m in rest], [m.parameters for m in rest]).factor
    slope = np.polyfit([m.year for m in rest], np.log([m.parameters for m in rest]), 1)[0]
    everything = growth([m.year for m in found], [m.parameters for m in found]).factor
    for right in (("NPLM", factor), ("nplm", np.exp(slope)), ("NPLM", round(factor, 2)),
                  ("NPLM", torch.tensor(factor))):
        assert says("00.4", *right).startswith("right")
    for name, value, hint in (("GPT-3", factor, "another model"), ("NPLM", everything, "all 10"),
                              ("NPLM", slope, "slope of a logarithm"), ("NPLM", slope / np.log(10), "slope of"),
                              ("NPLM", factor / everything, "compares"), ("NPLM", 12.0, "other autoregressive"),
                              ("VAE", factor, "should be one of"), ("NPLM", "three", "should be a number")):
        assert hint in says("00.4", name, value), (name, value)
