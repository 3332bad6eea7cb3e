"""Lab 02: its experiments, its pictures' parts, and its exercises with right and wrong answers."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from dgmlab.check import judge
from dgmlab.data import load
from dgmlab.errors import LabError
from dgmlab.experiments import autoencoders as ae
from dgmlab.metrics.samples import energy_distance
from dgmlab.models.autoencoder import Autoencoder
from dgmlab.models.pca import PCA
from dgmlab.rng import Rng
from dgmlab.widgets.autoencoder_pictures import code_grid
from dgmlab.widgets.autoencoders import autoencoder_panel, drag_code

DIGITS = load("digits")
X, TRAIN = DIGITS.test.x, DIGITS.train.x


@pytest.fixture(scope="module")
def model():
    return ae.train(latent=4, steps=400).model


@pytest.fixture(scope="module")
def denoising():
    return ae.train(latent=4, steps=400, noise=ae.DENOISING).model


# -- experiments -----------------------------------------------------------------------------------------------------


def test_a_deep_autoencoder_beats_pca_of_its_size_after_a_few_hundred_steps(model):
    assert ae.squared_error(model, X) < ae.squared_error(PCA(4).fit(TRAIN), X)


def test_what_is_lost_is_all_without_a_code_and_nothing_with_all_of_it():
    mean = TRAIN.mean(0)
    assert ae.lost(PCA(64).fit(TRAIN), X, mean) < 1e-9

    class Mean:
        def reconstruct(self, x):
            return mean.expand_as(x)

    assert ae.lost(Mean(), X, mean) == pytest.approx(1)


def test_a_linear_autoencoder_finds_the_space_of_pca():
    linear = ae.train("linear", latent=3, steps=1500, lr=0.03, noise=0.0).model
    pca = PCA(3).fit(TRAIN)
    assert ae.squared_error(linear, TRAIN) == pytest.approx(ae.squared_error(pca, TRAIN), rel=0.01)
    assert ae.principal_angles(linear.decoder.dense[-1].weight.T, pca.components).max() < 5


def test_angles_between_spaces():
    a = torch.eye(4)[:2]
    mixed = torch.tensor([[2.0, 1.0], [1.0, -3.0]]) @ a
    np.testing.assert_allclose(ae.principal_angles(a, mixed), [0, 0], atol=1e-5)
    tilted = torch.stack([a[0], torch.tensor([0, 1, 1, 0.0])])
    np.testing.assert_allclose(ae.principal_angles(a, tilted), [0, 45], atol=1e-5)
    with pytest.raises(LabError, match="transpose"):
        ae.principal_angles(torch.eye(4)[:, :2], torch.eye(4)[:2])


def test_input_noise_and_the_watched_error():
    noisy = ae.make_run(watched=True, noise=0.5)
    clean = ae.make_run(watched=True, noise=0.0)
    a, b = noisy.advance(), clean.advance()
    assert a["loss"] > b["loss"]                                # the same weights and images
    fresh = ae.make_run(watched=True)
    fresh.knobs.lr = 0.0
    fresh.advance()
    error = ae.squared_error(fresh.model, DIGITS.valid.x)
    assert fresh.history.column("held_out")[-1] == pytest.approx(error, rel=1e-5)
    with pytest.raises(LabError, match="kind of model"):
        ae.make_run(kind="gan")


def test_a_run_can_be_built_again_from_its_spec():
    from dgmlab.experiments import build

    run = ae.make_run(latent=3, kind="vae", fall=50, seed=4)
    again = build(run.spec)
    assert run.advance().metrics == again.advance().metrics and run.knobs.schedules == again.knobs.schedules


@pytest.mark.parametrize("source", ae.SOURCES)
def test_sources_of_codes(source):
    codes = Rng(0).normal((5000, 3)) @ torch.tensor([[2.0, 1, 0], [0, 1, 0], [0, 0, 0]]) + 3     # a flat cloud
    drawn = ae.draw_codes(codes, source, 20_000, Rng(1))
    if source == "uniform box":
        assert torch.isclose(drawn.mean(0), (codes.min(0).values + codes.max(0).values) / 2, atol=0.15).all()
        assert (drawn >= codes.min(0).values).all() and (drawn <= codes.max(0).values).all()
    else:
        mean, cov = torch.zeros(3), torch.eye(3)
        if source == "fitted Gaussian":
            mean, cov = codes.mean(0), torch.cov(codes.T)
        torch.testing.assert_close(drawn.mean(0), mean, atol=0.06, rtol=0)
        torch.testing.assert_close(torch.cov(drawn.T), cov, atol=0.2, rtol=0)
    assert ae.draw_codes(codes[:, :1], source, 7, Rng(0)).shape == (7, 1)


def test_energy_distance_is_zero_for_one_distribution_and_grows_with_the_shift():
    a, b = Rng(0).normal((800, 5)), Rng(1).normal((700, 5))
    assert abs(energy_distance(a, b)) < 0.02 < energy_distance(a, b + 0.5) < energy_distance(a, b + 1)
    # on the line it is twice the area between the squared distribution functions (Székely & Rizzo 2013)
    x, y = a[:200, :1], 0.7 * b[:300, :1] + 0.4
    grid = torch.linspace(-6, 6, 4001)
    f, g = ((s <= grid).float().mean(0) for s in (x, y))
    area = 2 * float(((f - g).square()).sum() * (grid[1] - grid[0]))
    bias = sum(float(torch.cdist(s, s).sum()) * (1 / len(s)**2 - 1 / (len(s) * (len(s) - 1))) for s in (x, y))
    assert energy_distance(x, y) == pytest.approx(area + bias, abs=2e-3)
    with pytest.raises(LabError, match="two examples"):
        energy_distance(a[:1], b)


def test_judging_samples():
    copies, one = ae.judge(TRAIN, TRAIN, X), ae.judge(TRAIN[:1].repeat(500, 1, 1, 1), TRAIN, X)
    assert copies["quality"] == pytest.approx(0, abs=1e-3) and copies["energy"] < 0.02
    assert one["quality"] < 1e-3 and one["diversity"] > 1.3 * copies["diversity"] and one["energy"] > 0.5


def test_the_claims_find_their_numbers(monkeypatch):
    monkeypatch.setattr(ae, "train", functools.partial(ae.train, steps=15))
    found = ae.experiment(0)
    assert {claim.quantity for claim in ae.CLAIMS} <= set(found) and all(np.isfinite(list(found.values())))
    assert {claim.experiment for claim in ae.CLAIMS} == {ae.experiment}


# -- pictures and widgets --------------------------------------------------------------------------------------------


def test_a_grid_of_codes_begins_at_the_top_left():
    grid = code_grid(torch.tensor([[0.0, 0.0], [1.0, 2.0]]), 3, room=0.0)
    assert grid.tolist() == [[0, 2], [0.5, 2], [1, 2], [0, 1], [0.5, 1], [1, 1], [0, 0], [0.5, 0], [1, 0]]
    with pytest.raises(LabError, match="latent=2"):
        code_grid(torch.zeros(5, 3), 3)


def test_panel_and_dragged_code_refuse_what_they_cannot_draw(model):
    with pytest.raises(LabError, match="latent=2 and watched=True"):
        autoencoder_panel(ae.make_run(latent=3, watched=True))
    with pytest.raises(LabError, match="watches no held-out"):
        autoencoder_panel(ae.make_run(latent=2))
    with pytest.raises(LabError, match="curve_run"):
        drag_code(model, PCA(1).fit(TRAIN), TRAIN)


def test_the_panel_collects_what_its_pictures_draw():
    run = ae.make_run(watched=True)
    panel = autoencoder_panel(run, steps=5)
    for _ in run.steps(3):
        pass
    for picture in panel.pictures.values():
        data = picture.collect(run)
        assert picture.render(data) and len(picture.alt(data)) > 20


def test_zooming_shows_the_middle_on_map_and_plane():
    run = ae.make_run(watched=True)
    panel = autoencoder_panel(run, steps=5)
    whole = {name: panel.pictures[name].collect(run) for name in ("map", "plane")}
    panel.zoom.value = True
    middle = {name: panel.pictures[name].collect(run) for name in ("map", "plane")}
    assert 0 < len(middle["map"]["codes"]) == len(middle["map"]["labels"]) < len(whole["map"]["codes"])
    assert middle["plane"]["title"] != whole["plane"]["title"]


def test_dragging_moves_both_codes():
    run, pca, x = ae.curve_run(steps=300)
    picture = drag_code(run.model, pca, x).picture
    picture.update(10)
    first = [part[3].get_xydata().copy() for part in picture.parts]
    picture.update(90)
    assert all((part[3].get_xydata() != before).all() for part, before in zip(picture.parts, first, strict=True))
    assert all(part[3].get_xydata()[0, 0] > before[0, 0] for part, before in zip(picture.parts, first, strict=True))


# -- exercises -------------------------------------------------------------------------------------------------------


def wrong(name, *answers, says, **context):
    outcome = judge(name, *answers, **context)
    assert outcome.answered and not outcome.passed and says in outcome.says, outcome


def right(name, *answers, **context):
    outcome = judge(name, *answers, **context)
    assert outcome.passed, outcome


@pytest.mark.parametrize("answer", [
    lambda v, k: sum(sorted(v)[:len(v) - k]) / len(v),
    lambda v, k: np.sort(v)[::-1][k:].sum() / len(v),
    lambda v, k: torch.tensor(v).sort(descending=True).values[k:].sum() / len(v),
    lambda v, k: (sum(v) - sum(sorted(v)[-k:])) / len(v)])
def test_error_from_variances(answer):
    right("02.1", answer)


@pytest.mark.parametrize(("answer", "says"), [
    (lambda v, k: sum(sorted(v)[:len(v) - k]), "whole example"),
    (lambda v, k: sum(sorted(v)[-k:]) / len(v), "the code keeps"),
    (lambda v, k: sum(sorted(v)[k:]) / len(v), "kept the smallest"),
    (lambda v, k: sum(v[k:]) / len(v), "no particular order"),
    (lambda v, k: sum(sorted(v)[:len(v) - k]) / sum(v), "share of the total"),
    (lambda v, k: 1.0, "pca_error returns 1"), (lambda v, k: None, "returns nothing"), (3, "should be a function")])
def test_error_from_variances_wrong(answer, says):
    wrong("02.1", answer, says=says)


def test_size_of_pca(model):
    context = {"model": model, "train_x": TRAIN, "x": X}
    size = next(k for k in range(1, 65) if ae.squared_error(PCA(k).fit(TRAIN), X) <= ae.squared_error(model, X))
    for answer in (size, float(size), np.int64(size), torch.tensor(size)):
        right("02.2", answer, **context)
    wrong("02.2", size - 1, says="still above", **context)
    wrong("02.2", size + 9, says="smallest size", **context)
    assert f"{size + 8}" not in judge("02.2", size + 9, **context).says
    wrong("02.2", 0, says="whole, from 1 to 64", **context)
    wrong("02.2", 6.5, says="whole, from 1 to 64", **context)
    seen = next(k for k in range(1, 65) if ae.squared_error(PCA(k).fit(TRAIN), TRAIN) <= ae.squared_error(model, TRAIN))
    if seen != size:
        wrong("02.2", seen, says="training images", **context)


def quantise(z, levels, low, high):
    step = (high - low) / (levels - 1)
    return low + step * ((z.clamp(low, high) - low) / step).round()


def by_table(z, levels, low, high):
    table = torch.linspace(low, high, levels)
    return table[(z[..., None] - table).abs().argmin(-1)].numpy()


def fewest_bits(model):
    with torch.no_grad():
        z, exact = model.encode(X), ae.squared_error(model, X)
        for bits in range(1, 17):
            rough = model.decode(quantise(z, 2**bits, z.min().item(), z.max().item()))
            if (rough - X).square().mean() <= 1.1 * exact:
                return bits


def test_compression(model):
    bits = fewest_bits(model)
    for function in (quantise, by_table):
        for answer in (4 * bits, float(4 * bits)):
            right("02.3", function, answer, model=model, x=X)


def test_compression_wrong(model):
    bits, context = fewest_bits(model), {"model": model, "x": X}
    functions = {
        "numbers of the levels": lambda z, n, a, b: ((z.clamp(a, b) - a) / (b - a) * (n - 1)).round(),
        "beyond low and high": lambda z, n, a, b: a + (b - a) / (n - 1) * ((z - a) / (b - a) * (n - 1)).round(),
        "rounds down": lambda z, n, a, b: a + (b - a) / (n - 1) * ((z.clamp(a, b) - a) / (b - a) * (n - 1)).floor(),
        "steps between them": lambda z, n, a, b: a + (b - a) / n * ((z.clamp(a, b) - a) / (b - a) * n).round(),
        "shape": lambda z, n, a, b: z[0], "returns nothing": lambda z, n, a, b: None}
    def too_many(z, n, a, b):
        return a + (b - a) / n * ((z - a) / (b - a) * n).round().clamp(0, n - 1)

    for says, function in [*functions.items(), ("steps between them", too_many)]:
        wrong("02.3", function, 4 * bits, says=says, **context)
    wrong("02.3", quantise, bits, says="price of one number", **context)
    wrong("02.3", quantise, 4 * 2**bits, says="log2", **context)
    wrong("02.3", quantise, 4 * (bits - 1), says="too much", **context)
    wrong("02.3", quantise, 4 * (bits + 2), says="fewer bits", **context)
    wrong("02.3", quantise, 4 * bits + 1, says="no whole number of bits", **context)


def on_the_way(codes, n, rng):
    one = codes[rng.integers(len(codes), (n,))]
    near = torch.cdist(one, codes).topk(5, largest=False).indices[:, 1:]
    other = codes[near.gather(1, rng.integers(4, (n, 1)))[:, 0]]
    return one + rng.uniform((n, 1)) * (other - one)


def kernel(codes, n, rng):
    """A Gaussian about every code, of half the distance to its neighbour."""
    width = torch.cdist(codes, codes).topk(2, largest=False).values[:, 1].mean() / codes.shape[1] ** 0.5 / 2
    return codes[rng.integers(len(codes), (n,))] + width * rng.normal((n, codes.shape[1]))


def test_better_codes(model):
    for function in (on_the_way, kernel, lambda *a: kernel(*a).numpy()):
        right("02.4", function, model=model, train_x=TRAIN, x=X)


def test_better_codes_wrong(model):
    context = {"model": model, "train_x": TRAIN, "x": X}
    wrong("02.4", lambda c, n, rng: c[rng.integers(len(c), (n,))], says="Copies are not new", **context)
    wrong("02.4", lambda c, n, rng: c[:n] + 1e-3, says="Copies are not new", **context)
    wrong("02.4", lambda c, n, rng: ae.draw_codes(c, "uniform box", n, rng), says="Where do the given", **context)
    wrong("02.4", lambda c, n, rng: c[:5], says="shape", **context)
    wrong("02.4", lambda c, n, rng: c.mean(0).expand(n, -1), says="All codes are the same", **context)


def test_noise_left(model, denoising):
    noisy = X + 0.3 * Rng(0).normal(X.shape)
    context = {"models": (model, denoising), "noisy": noisy, "x": X}
    plain, clean = (float((m.reconstruct(noisy) - X).square().mean() / (noisy - X).square().mean())
                    for m in (model, denoising))
    right("02.5", plain, torch.tensor(clean), **context)
    right("02.5", round(plain, 3), round(clean, 3), **context)
    wrong("02.5", clean, plain, says="the other model", **context)
    wrong("02.5", float((model.reconstruct(noisy) - X).square().mean()), clean, says="squared error itself", **context)
    wrong("02.5", plain, 1 - clean, says="has gone", **context)
    to_noisy = float((model.reconstruct(noisy) - noisy).square().mean() / (noisy - X).square().mean())
    for compared_with_noisy in (to_noisy, ae.squared_error(model, noisy), ae.lost(model, noisy, TRAIN.mean(0))):
        wrong("02.5", compared_with_noisy, clean, says="clean ones x", **context)


@pytest.mark.parametrize(("number", "answers", "context"), [
    (1, [lambda *a: ...], {}), (2, [...], {"model": None, "train_x": TRAIN, "x": X}),
    (3, [lambda *a: ..., ...], {"model": None, "x": X}), (3, [quantise, ...], {"model": None, "x": X}),
    (4, [lambda *a: ...], {"model": Autoencoder(latent=2), "train_x": TRAIN, "x": X}),
    (5, [..., 0.3], {"models": (None, None), "noisy": X, "x": X})])
def test_unanswered(number, answers, context):
    assert not judge(f"02.{number}", *answers, **context).answered
