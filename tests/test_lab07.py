"""Lab 07: spoilt generators, annealing with one latent number, pictures and widgets, exercises."""

from __future__ import annotations

import functools
import math
import re

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from dgmlab.check import judge
from dgmlab.data import density
from dgmlab.errors import LabError
from dgmlab.experiments.chains import anneal, between, log_mean_exp, normalisers, temperatures
from dgmlab.experiments.inference import CurveModel, straight
from dgmlab.experiments.spoiling import AILMENTS, Bench, Faults, blurred, patients, ward
from dgmlab.metrics.features import SizePoint, density_coverage, kernel_distance, precision_recall
from dgmlab.metrics.frechet import frechet_distance
from dgmlab.plots import png
from dgmlab.rng import Rng
from dgmlab.widgets import judging_pictures as pictures
from dgmlab.widgets.judging import METERS, PRESETS, drag_annealing, in_words, spoil_generator

X = (0.5, 1.2)


@functools.cache
def bench() -> Bench:
    return Bench(repeats=6)


# -- a generator to be spoilt ------------------------------------------------------------------------------------------

def test_a_generator_without_fault_makes_unseen_real_images_each_once():
    made = bench().make(Faults(), 300, seed=4)
    distance = torch.cdist(made.x.flatten(1), bench().unseen.flatten(1), compute_mode="donot_use_mm_for_euclid_dist")
    assert (distance.min(1).values == 0).all() and len(set(distance.argmin(1).tolist())) == 300
    assert not made.copies.any() and str(made.faults).startswith("no fault")


def test_copies_are_training_images_and_grow_with_the_share():
    half, more = (bench().make(Faults(memorised=share), 200, seed=1) for share in (0.5, 0.7))
    known = torch.cdist(half.x.flatten(1), bench().x.flatten(1), compute_mode="donot_use_mm_for_euclid_dist").min(1)
    assert half.copies.sum() == 100 and (known.values[half.copies] == 0).all()
    assert (more.copies | ~half.copies).all(), "with more copies the first ones must stay"
    assert torch.equal(half.x[~more.copies], more.x[~more.copies])


def test_dropped_classes_are_gone():
    data = bench().data
    x, y = torch.cat([data.valid.x, data.test.x]), torch.cat([data.valid.y, data.test.y])
    made = bench().make(Faults(dropped=4), 150).x
    assert y[torch.cdist(made.flatten(1), x.flatten(1)).argmin(1)].max() == 5


def test_a_blur_is_that_of_scipy_and_keeps_the_ink_in_the_middle():
    from scipy.ndimage import gaussian_filter

    x = Rng(0).uniform((3, 1, 16, 16))
    ours = blurred(x, 0.8)
    theirs = np.stack([gaussian_filter(each[0].numpy(), 0.8, mode="constant", radius=4) for each in x])
    assert np.allclose(ours[:, 0], theirs, atol=1e-5)
    assert blurred(x, 0.0) is x


def test_noise_stays_within_paper_and_ink():
    made = bench().make(Faults(noise=0.5), 50).x
    assert made.min() == 0 and made.max() == 1


def test_the_numbers_are_those_of_the_metrics():
    made = bench().make(Faults(noise=0.2), 100).x
    found, features = bench().measure(made), bench().look(made)[0]
    reference = bench().features
    assert found["frechet"] == frechet_distance(features, reference)
    assert found["kid"] == kernel_distance(features, reference)
    assert (found["precision"], found["recall"]) == precision_recall(features, reference, k=5)
    assert (found["density"], found["coverage"]) == pytest.approx(density_coverage(features, reference, k=5))


def test_one_who_copies_all_is_better_than_real_in_all_but_the_last_numbers():
    made = bench().make(Faults(memorised=1), 300).x
    found, real = bench().measure(made), bench().real(300)
    assert found["frechet"] < 1e-6 < real["frechet"][0]
    assert found["precision"] == found["recall"] == found["coverage"] == found["copies"] == 1 and found["ratio"] == 0
    assert found["kid"] < real["kid"][0]


@pytest.mark.parametrize("fault, worse, kept", [
    (Faults(dropped=3), {"frechet", "recall", "coverage", "inception"}, {"precision"}),
    (Faults(noise=0.3), {"frechet", "kid", "precision", "density", "coverage"}, {"recall"}),
    (Faults(blur=0.7), {"frechet", "kid", "recall", "coverage"}, {"precision"})])
def test_each_fault_is_noticed_by_some_and_not_by_others(fault, worse, kept):
    for seed in range(3):
        found, real = bench().measure(bench().make(fault, 300, seed).x), bench().real(300)
        sides = {meter.key: meter.side(found[meter.key], real[meter.key]) for meter in METERS}
        assert all(sides[key] == -1 for key in worse), (seed, sides)
        assert all(found[key] > min(real[key]) - 0.03 for key in kept), (seed, found)


def test_real_images_lie_in_their_own_range():
    found = bench().measure(bench().make(Faults(), 100, seed=1003).x)
    assert all(low <= found[key] <= high for key, (low, high) in bench().real(100).items())


@pytest.mark.parametrize("wrong, says", [
    (lambda: Faults(memorised=1.5), "share of memorised"), (lambda: Faults(noise=-1), "noise"),
    (lambda: Faults(dropped=1.5), "dropped"), (lambda: Faults(blur=9), "blur"),
    (lambda: bench().make(Faults(dropped=9), 10), "two must be left"), (lambda: bench().make(Faults(), 1), "samples"),
    (lambda: bench().measure(bench().x[:5]), "draw at least 6"), (lambda: Bench(train=5), "training images"),
    (lambda: Bench("letters"), "data set"), (lambda: temperatures(0), "temperatures"),
    (lambda: temperatures(3, "odd"), "spacing"), (lambda: anneal(CurveModel(), X, 3, 0), "chains"),
    (lambda: drag_annealing(at=2), "place on the way"),
    (lambda: pictures.balls_picture(torch.zeros(3, 2), torch.zeros(9, 2), k=3), "more than k = 3")])
def test_wrong_input_gets_its_sentence(wrong, says):
    with pytest.raises(LabError, match=says):
        wrong()


# -- annealing with one latent number ----------------------------------------------------------------------------------

def test_temperatures_rise_from_0_to_1():
    for spacing in ("even", "sigmoid"):
        betas = temperatures(20, spacing)
        assert betas[0] == 0 and betas[-1] == 1 and (np.diff(betas) > 0).all()
    assert np.diff(temperatures(20))[0] < 0.05 < np.diff(temperatures(20))[10]


def test_the_densities_between_are_normalised_and_end_at_the_posterior():
    model, z = CurveModel(0.02), torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    for beta in (0, 0.1, 0.7, 1):
        assert between(model, X, beta, z).sum().item() * 0.001 == pytest.approx(1, abs=1e-6)
    posterior = model.log_posterior(torch.tensor(X, dtype=torch.float64), z).exp()
    assert torch.allclose(between(model, X, 1, z), posterior, atol=1e-6)
    assert normalisers(model, X, [0, 1]) == pytest.approx(
        [0, model.log_evidence(torch.tensor(X, dtype=torch.float64)).item()], abs=1e-9)


def test_the_mean_weight_is_right_and_its_logarithm_too_low():
    model = CurveModel(0.1)
    ways = [anneal(model, X, 4, 50, seed=seed) for seed in range(60)]
    log_w = np.concatenate([way.log_w[-1] for way in ways])
    weights = np.exp(log_w - ways[0].exact[-1])
    assert abs(weights.mean() - 1) < 4 * weights.std() / math.sqrt(len(weights))
    assert np.mean([way.forward for way in ways]) < ways[0].exact[-1] < np.mean([way.reverse for way in ways])


def test_both_estimates_close_in_on_the_exact_value():
    for model in (CurveModel(0.02), CurveModel(0.05, straight)):
        way = anneal(model, X, 400, 60)
        assert abs(way.forward - way.exact[-1]) < 0.4 and abs(way.reverse - way.exact[-1]) < 0.5
        assert np.abs(way.estimates - way.exact).max() < 0.6


def test_the_chains_end_up_as_the_posterior():
    model = CurveModel(0.05)
    way = anneal(model, X, 60, 6000)
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    p = between(model, X, 1, grid)
    mean = float((grid * p).sum() / p.sum())
    w = np.exp(way.log_w[-1] - way.log_w[-1].max())
    assert (w * way.z[-1]).sum() / w.sum() == pytest.approx(mean, abs=0.25)
    assert 1 <= way.effective[-1] <= 6000 and way.effective[0] == pytest.approx(6000)


def test_one_temperature_is_importance_sampling_from_the_prior():
    way = anneal(CurveModel(0.1), X, 1, 20, seed=2)
    ll = CurveModel(0.1).log_likelihood(torch.tensor(X, dtype=torch.float64), torch.from_numpy(way.z[0])).numpy()
    assert np.allclose(way.log_w[1], ll) and way.forward == pytest.approx(log_mean_exp(ll[None])[0])


# -- pictures and widgets ----------------------------------------------------------------------------------------------

def test_a_meter_knows_on_which_side_a_value_lies():
    low_is_good = next(meter for meter in METERS if meter.key == "frechet")
    high_is_good = next(meter for meter in METERS if meter.key == "recall")
    assert [low_is_good.side(v, (2, 5)) for v in (1, 3, 9)] == [1, 0, -1]
    assert [high_is_good.side(v, (0.9, 0.95)) for v in (0.5, 0.92, 1)] == [-1, 0, 1]
    for meter in METERS:
        a, b = meter.ends
        places = [meter.place(a + (b - a) * share) for share in (0, 0.3, 0.6, 1)]
        assert places == sorted(places) and places[0] == 0 and places[-1] == pytest.approx(1)
        assert meter.place(a + 2 * (a - b)) == 0 and meter.place(b + 2 * (b - a)) == 1


def test_the_widget_says_what_it_shows():
    widget = spoil_generator(bench(), Faults(memorised=1))
    assert "100% copies" in widget.alt() and widget.values["frechet"] < 1e-6
    assert "nearer than real" in widget.alt() and "share of copies 1, copies" in widget.alt()
    assert png(widget.picture.fig)[:4] == b"\x89PNG"


def test_sliders_buttons_and_other_samples(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    widget = spoil_generator(bench(), samples=100)
    before = widget.image.value
    widget.sliders["dropped"].value = 3
    assert widget.faults.dropped == 3 and widget.image.value != before
    widget.number.value = 30
    assert widget.samples == 30 and widget.real == bench().real(30)
    for name, faults in PRESETS.items():
        button = next(b for b in widget.widget.children[0].children if b.description == name)
        button.click()
        assert widget.faults == faults
    numbers = dict(widget.values)
    widget.again()
    assert widget.values != numbers


def test_dragging_the_annealing(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    widget = drag_annealing(number=5)
    way, before = widget.way, widget.image.value
    widget.at.value = 1.0
    assert widget.way is way and widget.image.value != before, "another place is no other way"
    widget.number.value = 100
    assert len(widget.way.betas) == 101 and abs(widget.way.forward - widget.way.exact[-1]) < 1
    widget.point.value = "between the legs"
    assert widget.way.exact[-1] != way.exact[-1]
    forward = widget.way.forward
    widget.again()
    assert widget.way.forward != forward and f"{widget.way.forward:.2f}" in in_words(widget.way)
    assert "log p(x) is" in widget.alt()


def test_farther_than_real_is_not_praised():
    better, farther = ({meter.key: meter for meter in METERS}[key].praise for key in ("recall", "ratio"))
    assert better != farther


def test_one_temperature_is_shown_where_it_ends_and_a_run_that_crosses_is_called_so(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    widget = drag_annealing(number=1, at=0.5)
    assert widget.picture.update(widget.way, X, 0.5) == 1
    for seed in range(30):
        way = anneal(CurveModel(0.02), X, 100, 30, seed=seed)
        assert ("crossed" in in_words(way)) == (way.reverse < way.forward)


def test_the_still_pictures_can_be_drawn():
    ring = density("ring")
    points = {"a": ring.sample(100), "b": ring.sample(100, 1)}
    line = [SizePoint(n, 1 / n, 0.1) for n in (10, 30)]
    real = bench().real(100)
    made = bench().measure(bench().make(Faults(), 100).x)
    found = {f"fault {k}": made for k in range(8)}
    for fig in (pictures.ring_picture(points, ring, {"a": "one", "b": "two"}),
                pictures.balls_picture(points["a"], points["b"]),
                pictures.size_picture({"FD": {"real": line, "noise": line}, "KID": {"real": line, "noise": line}}),
                pictures.distance_picture({"made": torch.rand(20), "held out": torch.rand(20)}, "held out"),
                pictures.sandwich_picture((3, 10), {3: [-4.0], 10: [-1.0]}, {3: [4.0], 10: [1.0]}, -0.5),
                pictures.response_picture(METERS, found, real)):
        assert png(fig, 1)[:4] == b"\x89PNG"


# -- exercises ---------------------------------------------------------------------------------------------------------

def passes(*answers, **context):
    outcome = judge(*answers, **context)
    assert outcome.passed, outcome.says
    return outcome.says


def hints(says, *answers, **context):
    outcome = judge(*answers, **context)
    assert outcome.answered and not outcome.passed and re.search(says, outcome.says), outcome.says


def noise(n=20_000, seed=5):
    return Rng(seed).normal((n, 2)).double()


def test_exercise_1_takes_any_cloud_with_the_rings_mean_and_covariance():
    ring = density("ring")
    root = math.sqrt(2 + 0.05**2)
    inner = density("ring", radius=2.0).sample(20_000, 3)
    turned = inner @ torch.tensor([[math.cos(math.pi / 8), math.sin(math.pi / 8)],
                                   [-math.sin(math.pi / 8), math.cos(math.pi / 8)]])
    square = (Rng(1).uniform((20_000, 2)) - 0.5) * math.sqrt(12) * root
    corners = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]]).repeat(500, 1) * math.sqrt(2)
    passes("07.1", root * noise(), target=ring)
    passes("07.1", (root * noise()).numpy(), target=ring)
    passes("07.1", turned, target=ring)
    passes("07.1", square)
    hints("Fewer than 5%", "07.1", corners * 1.001)          # on four of the modes
    hints("right way to a distance of 0", "07.1", ring.sample(5000), target=ring)
    hints("take its root", "07.1", 2.0025 * noise(), target=ring)
    hints("half its squared radius", "07.1", noise(), target=ring)
    hints("Your mean is", "07.1", root * noise() + 1, target=ring)
    hints("vary together", "07.1", root * noise() @ torch.tensor([[1.0, 0.5], [0, 0.866]]).double(), target=ring)
    hints("at least 2,000", "07.1", noise(50))
    hints(r"distance should be below 0.02: your variances are 3.8\d and 0.00, the ring's 2.00 each", "07.1",
          noise(4000) * torch.tensor([2, 0.05]))
    hints("shape", "07.1", torch.zeros(600, 3))
    for seed in range(20):          # none of the smallest right answers fails by chance
        passes("07.1", root * noise(2000, seed), target=ring)
    assert not judge("07.1", ...).answered


def test_exercise_2_is_an_intercept_over_1_over_n():
    sizes = (30, 50, 100, 200, 300)
    means = [7.0 + 400 / n + 0.1 * math.sin(n) for n in sizes]
    context = {"sizes": sizes, "means": means}
    slope, limit = np.polyfit(1 / np.array(sizes), means, 1)
    assert f"about {slope / 300:.2f} are the bias" in passes("07.2", limit, **context).replace("\n", " ")
    assert "near enough" not in passes("07.2", round(float(limit), 2), **context)
    assert f"Yours, {limit + 0.4:.2f}, is near enough" in passes("07.2", limit + 0.4, **context).replace("\n", " ")
    unseen = [2.0 + 300 / n for n in sizes]
    for mixed_up in (2.0, np.float64(2.001), 3.0):
        hints("belongs to the unseen real", "07.2", mixed_up, unseen=unseen, **context)
    hints("the noise stays", "07.2", 0, unseen=unseen, **context)
    passes("07.2", limit, unseen=unseen, **context)
    hints(r"polyfit\(\[1/n for n in\s+sizes\],\s+means, 1\)", "07.2", 2.0, **context)
    passes("07.2", np.array([7.0]), **context)
    passes("07.2", torch.tensor(float(np.polyfit(1 / np.array(sizes[2:]), means[2:], 1)[1])), **context)
    hints("distance at n = 300", "07.2", means[-1], **context)
    hints("slope of the line", "07.2", slope, **context)
    hints("a line over n", "07.2", np.polyfit(sizes, means, 1)[1], **context)
    hints("a line over log n", "07.2", np.polyfit(np.log(sizes), means, 1)[1], **context)
    hints("mean over the sizes", "07.2", np.mean(means), **context)
    hints("lies below", "07.2", -5, **context)
    hints("lies above", "07.2", 12.3, **context)
    hints("one number", "07.2", (slope, limit), **context)


@pytest.mark.parametrize("seed", [0, 5])
def test_exercise_3_the_numbers_tell_the_patients_apart(seed):
    truth = patients(seed)
    assert sorted(truth.values()) == sorted(AILMENTS)
    found = {letter: bench().measure(x) for letter, x in ward(bench(), seed).items()}

    def top(key, among, sign=1):
        return max(among, key=lambda letter: sign * found[letter][key])

    rest = set("ABCDE")
    answer = {top("copies", rest): "copies", top("ratio", rest): "noise", top("frechet", rest): "blur"}
    rest -= set(answer)
    answer |= {top("recall", rest, -1): "drops", top("recall", rest): "nothing"}
    assert "pattern" in passes("07.3", answer, seed=seed)
    passes("07.3", {k.lower(): f" {v.capitalize()}. " for k, v in answer.items()}, seed=seed)


@pytest.mark.parametrize("seed", [0, 5])
def test_exercise_3_what_its_hints_say_is_so(seed):
    letter = {ailment: letter for letter, ailment in patients(seed).items()}
    found = {letter: bench().measure(x) for letter, x in ward(bench(), seed).items()}
    drops, blur = found[letter["drops"]], found[letter["blur"]]
    assert abs(drops["recall"] - drops["coverage"]) < 0.08 < 0.15 < blur["coverage"] - blur["recall"]
    assert blur["frechet"] == max(each["frechet"] for each in found.values()) > 2.5 * drops["frechet"]


def test_exercise_3_hints():
    truth = patients(0)
    letter = {ailment: letter for letter, ailment in truth.items()}

    def swapped(a, b):
        return truth | {letter[a]: b, letter[b]: a}

    hints("3 of 5 are right", "07.3", swapped("copies", "nothing"), seed=0)
    hints("recall and coverage|unseen real ones", "07.3", swapped("copies", "drops"), seed=0)
    hints("farther from the training|far off", "07.3", swapped("noise", "blur"), seed=0)
    for seed in range(4):           # of the two that are wrong, the first letter decides which hint is given
        of = {ailment: each for each, ailment in patients(seed).items()}
        answer = patients(seed) | {of["drops"]: "blur", of["blur"]: "drops"}
        first = "recall has\\s+fallen\\s+far\\s+below" if of["blur"] < of["drops"] else "three\\s+times\\s+as\\s+large"
        hints(first, "07.3", answer, seed=seed)
    hints("more than one", "07.3", truth | {"A": truth["B"]}, seed=0)
    hints("keys A, B, C, D, E", "07.3", {"A": "noise"}, seed=0)
    hints("dictionary", "07.3", ["noise"], seed=0)
    hints("should be one of", "07.3", truth | {"A": "ugly"}, seed=0)
    assert not judge("07.3", {"A": ...}, seed=0).answered


def weights(betas, ll):
    return (np.diff(betas)[:, None] * ll[:-1]).sum(0)


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_exercise_4_the_estimate_of_annealed_importance_sampling():
    def loop(betas, ll):
        total = torch.zeros(ll.shape[1], dtype=torch.float64)
        for t in range(1, len(betas)):
            total += (betas[t] - betas[t - 1]) * torch.as_tensor(ll)[t - 1]
        return torch.logsumexp(total, 0) - math.log(len(total))

    passes("07.4", lambda b, ll: logsumexp(weights(b, ll)) - np.log(ll.shape[1]))
    passes("07.4", lambda b, ll: logsumexp(weights(b, ll), b=1 / ll.shape[1]))
    passes("07.4", loop)
    late = lambda b, ll: (np.diff(b)[:, None] * ll[1:]).sum(0)                                            # noqa: E731
    hints("after\\* the move|after the move", "07.4", lambda b, ll: logsumexp(late(b, ll)) - np.log(ll.shape[1]))
    hints("mean of the log weights", "07.4", lambda b, ll: weights(b, ll).mean())
    hints("sum\\* of the weights", "07.4", lambda b, ll: logsumexp(weights(b, ll)))
    hints("not finite", "07.4", lambda b, ll: np.log(np.exp(weights(b, ll)).mean()))
    hints("one for each chain", "07.4", weights)
    hints("logarithm is asked for", "07.4", lambda b, ll: np.exp(weights(b, ll)).mean())
    hints("steps of the temperature|from the prior", "07.4",
          lambda b, ll: logsumexp(ll[:-1].sum(0)) - np.log(ll.shape[1]))
    hints("wrong sign", "07.4", lambda b, ll: np.log(ll.shape[1]) - logsumexp(weights(b, ll)))
    hints("stops with", "07.4", lambda b, ll: ll @ b)
    hints("returns nothing", "07.4", lambda b, ll: None)
    assert not judge("07.4", lambda b, ll: ...).answered
