"""Adversarial games: the losses against closed forms, the gradients that are watched, the reins on the discriminator,
and runs that replay to the bit."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm

from dgmlab.errors import LabError
from dgmlab.experiments import gan_claims, gans, zero_sum
from dgmlab.experiments.claims import records
from dgmlab.experiments.gans import SETTINGS, discriminator_alone, make_run
from dgmlab.models.discriminator import Discriminator
from dgmlab.models.gan import GAN, LOSSES, GANKnobs, gradient_penalty, length, optimal_discriminator, r1_penalty
from dgmlab.models.generator import Generator
from dgmlab.rng import Rng
from dgmlab.training.run import NonFinite

from .support import assert_equal_to_the_bit, train

LOGITS = (-700.0, -120.0, -50.0, -21.0, -1.0, 0.0, 1.0, 21.0, 50.0, 120.0, 700.0)


def small(data="ring", **options):
    return make_run(data, **{"hidden": (16,), "batch": 32, "device": "cpu", **options})


# -- the losses ------------------------------------------------------------------------------------------------------


def exactly(function, logit):
    """A function of a logit and its slope, by whole-number arithmetic on 60 digits."""
    from decimal import Decimal, localcontext

    with localcontext() as context:
        context.prec, x = 400, Decimal(logit)
        d = 1 / (1 + (-x).exp())
        return tuple(float(value) for value in function(d))


@pytest.mark.parametrize("logit", LOGITS)
@pytest.mark.parametrize(("name", "function"), [
    ("minimax", lambda d: ((1 - d).ln(), -d)),                          # log(1 - D), and its slope -D
    ("non-saturating", lambda d: (-d.ln(), d - 1)),                     # -log D, and its slope D - 1
])
def test_generator_losses_and_their_slopes_to_the_last_digit(name, function, logit):
    x = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
    value = LOSSES[name].generator(x)
    slope, = torch.autograd.grad(value, x)
    expected = exactly(function, logit)
    np.testing.assert_allclose((value.item(), slope.item()), expected, rtol=1e-14)
    assert slope.item() != 0                                            # nothing is clamped


@pytest.mark.parametrize("logit", [-80.0, -50.0, -5.0, 0.0, 5.0, 50.0, 80.0])
@pytest.mark.parametrize("name", ["minimax", "non-saturating"])
def test_generator_losses_in_single_precision(name, logit):
    single, double = (torch.tensor([logit], dtype=kind, requires_grad=True) for kind in (torch.float32, torch.float64))
    values = [LOSSES[name].generator(x) for x in (single, double)]
    slopes = [torch.autograd.grad(value, x)[0].item() for value, x in zip(values, (single, double), strict=True)]
    np.testing.assert_allclose(values[0].item(), values[1].item(), rtol=1e-6)
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-6)
    assert slopes[0] != 0


@pytest.mark.parametrize("logit", [-30.0, -3.0, 0.0, 3.0, 30.0])
def test_the_minimax_generator_wants_the_opposite_of_what_the_discriminator_wants(logit):
    real, fake = torch.randn(5).double(), torch.full((5,), logit, dtype=torch.float64, requires_grad=True)
    d, = torch.autograd.grad(LOSSES["minimax"].discriminator(real, fake), fake)
    g, = torch.autograd.grad(LOSSES["minimax"].generator(fake), fake)
    torch.testing.assert_close(g, -d)


def test_cross_entropy_is_that_of_torch():
    real, fake = 5 * torch.randn(50).double(), 5 * torch.randn(50).double()
    expected = sum(torch.nn.functional.binary_cross_entropy_with_logits(x, torch.full_like(x, label))
                   for x, label in ((real, 1.0), (fake, 0.0)))
    torch.testing.assert_close(LOSSES["minimax"].discriminator(real, fake), expected)


def test_other_losses_by_hand():
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 0.0])
    by_hand = {"least squares": (0.5 * (1 + 0.25) / 2 + 0.5 * 9 / 2, 0.5 * (16 + 1) / 2),
               "hinge": ((0 + 0.5) / 2 + (0 + 1) / 2, 1.5), "Wasserstein": (-1.5 - 1.25, 1.5)}
    for name, (d, g) in by_hand.items():
        assert LOSSES[name].discriminator(real, fake).item() == pytest.approx(d)
        assert LOSSES[name].generator(fake).item() == pytest.approx(g)


def test_the_best_discriminator_is_the_share_of_the_data():
    p, q = torch.tensor([0.2, 0.0, 0.5, 0.0]).double(), torch.tensor([0.2, 0.1, 0.0, 0.0]).double()
    best = optimal_discriminator(p, q)
    assert best[:3].tolist() == [0.5, 0.0, 1.0] and best[3].isnan()
    # It is where the cost of one point, -p log D - q log(1 - D), has no slope.
    p, q = torch.rand(20).double(), torch.rand(20).double()
    d = optimal_discriminator(p, q).requires_grad_()
    slope, = torch.autograd.grad((-p * d.log() - q * (1 - d).log()).sum(), d)
    assert slope.abs().max() < 1e-10


@pytest.mark.slow
def test_a_discriminator_alone_finds_the_best_one():
    run = make_run("line", seed=1, device="cpu", hidden=(32, 32), batch=512)
    run.knobs.turn = "discriminator"
    train(run, 500)
    x = torch.linspace(-3, 3, 121)
    p = run.target.log_prob(x[:, None]).double().exp()
    q = run.model.generator.density(x)
    best = optimal_discriminator(p, q)
    off = (run.model.probability(x[:, None]) - best).abs()
    mass = (p + q) / (p + q).sum()
    assert (off * mass).sum() < 0.05


# -- both gradients --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", ["alternate", "generator", "discriminator"])
@pytest.mark.parametrize("loss", ["minimax", "non-saturating", "hinge"])
def test_both_gradients_are_those_that_an_update_would_use(loss, turn):
    run = small(loss=loss, lr_d=0.0)                    # D learns nothing, so that its state can be looked at again
    run.knobs.turn = turn
    train(run, 3)
    before, weights = run.rng.state(), [p.detach().clone() for p in run.model.generator.parameters()]
    tick = run.advance()
    run.rng.restore(before)
    with torch.no_grad():
        for parameter, old in zip(run.model.generator.parameters(), weights, strict=True):
            parameter.copy_(old)
    run.rng.normal((32, 8))                             # what the discriminator's turn has drawn
    for name, which in (("grad_minimax", "minimax"), ("grad_nonsaturating", "non-saturating")):
        logits = run.model.discriminator(run.model.generator(run.rng.normal((32, 8))))
        gradient = torch.autograd.grad(LOSSES[which].generator(logits), list(run.model.generator.parameters()))
        assert tick[name] == pytest.approx(math.sqrt(sum(float(g.square().sum()) for g in gradient)), rel=1e-5)
        run.rng.restore(before)
        run.rng.normal((32, 8))


def test_a_gradient_whose_squares_are_nothing_has_a_length():
    assert length([torch.full((100,), 1e-30), torch.zeros(3)]).item() == pytest.approx(1e-29)
    assert length([torch.zeros(3)]).item() == 0


def test_watching_changes_no_numbers():
    watched, blind = small(watch=True), small(watch=False)
    for run in (watched, blind):
        train(run, 10)
    for a, b in zip(watched.model.parameters(), blind.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "grad_minimax" in watched.history.names and "grad_minimax" not in blind.history.names


def test_the_pull_on_a_sample_is_minus_its_own_gradient():
    model = small().model
    x = torch.randn(5, 2)
    alone = torch.cat([model.pull(one[None], "minimax") for one in x])
    torch.testing.assert_close(model.pull(x, "minimax"), alone)
    better = x + 1e-2 * alone
    assert (model.discriminator(better) > model.discriminator(x)).all()


# -- the reins on the discriminator ----------------------------------------------------------------------------------


def linear_discriminator(*weight):
    d = Discriminator((len(weight),), hidden=())
    with torch.no_grad():
        d.network[1].weight.copy_(torch.tensor([weight]))
    return d


def test_penalties_of_a_plane_are_known():
    d = linear_discriminator(3.0, 4.0)                  # slope 5 everywhere
    x, y = torch.randn(10, 2), torch.randn(10, 2)
    assert gradient_penalty(d, x, y, Rng(0)).item() == pytest.approx(16)
    assert r1_penalty(d, x).item() == pytest.approx(12.5)


def test_a_penalty_of_a_dead_discriminator_has_a_finite_gradient():
    d = linear_discriminator(0.0, 0.0)
    value = gradient_penalty(d, torch.randn(4, 2), torch.randn(4, 2), Rng(0))
    value.backward()
    assert value.item() == pytest.approx(1) and d.network[1].weight.grad.isfinite().all()


def test_clipping_holds_every_weight():
    run = train(small(loss="Wasserstein", clip=0.01), 5)
    assert max(float(p.detach().abs().max()) for p in run.model.discriminator.parameters()) <= 0.01


@pytest.mark.parametrize(("shape", "body"), [((2,), "mlp"), ((1, 16, 16), "conv")])
def test_spectral_normalisation_is_that_of_torch(shape, body):
    torch.manual_seed(0)
    ours = Discriminator(shape, (16,), body)
    torch.manual_seed(0)
    theirs = Discriminator(shape, (16,), body).network
    for layer in theirs:
        if hasattr(layer, "weight"):
            spectral_norm(layer, n_power_iterations=200)
    ours.normalise(True)
    for _ in range(100):
        ours.normalise(True)
    x = torch.randn(4, *shape)
    torch.testing.assert_close(ours(x), theirs(x)[:, 0], rtol=1e-3, atol=1e-4)
    first = next(i for i, layer in enumerate(ours.network) if hasattr(layer, "weight"))
    largest = torch.linalg.matrix_norm(ours.network[first].weight.flatten(1), 2)
    assert ours.sigma(first).item() == pytest.approx(largest.item(), rel=1e-3)
    ours.normalise(False)
    assert torch.equal(ours(x), ours.network(x)[:, 0])


def test_a_copy_that_is_loaded_keeps_the_switch():
    a, b = Discriminator((2,), (8,)), Discriminator((2,), (8,))
    a.normalise(True)
    b.load_state_dict(a.state_dict())
    x = torch.randn(3, 2)
    assert b.spectral and torch.equal(a(x), b(x))


def test_the_switch_works_in_a_running_game():
    run = train(small(), 3)
    run.knobs.spectral = True
    train(run, 3)
    assert run.model.discriminator.spectral
    run.knobs.spectral = False
    train(run, 1)
    assert not run.model.discriminator.spectral


# -- the run ---------------------------------------------------------------------------------------------------------


def change(run):
    """A session in which everything is touched."""
    train(run, 3)
    run.knobs.loss = "minimax"
    discriminator_alone(run, 4)
    train(run, 6)
    run.knobs.loss, run.knobs.penalty, run.knobs.d_steps = "Wasserstein", 0.5, 3
    train(run, 2)
    run.knobs.loss, run.knobs.spectral, run.knobs.r1, run.knobs.penalty = "hinge", True, 0.1, 0.0
    train(run, 2)
    run.knobs.eps, run.knobs.clip, run.knobs.ema = 1e-3, 0.5, 0.9
    return train(run, 4)


@pytest.mark.parametrize("data", ["ring", "digits"])
def test_a_session_is_replayed_to_the_bit(data):
    from dgmlab.experiments import build

    run = change(small(data, head_start=2))
    again = build(run.spec)
    again.knobs.replay(run.knobs.log)
    train(again, run.step)
    assert_equal_to_the_bit(run, again)


def test_a_game_is_resumed_to_the_bit(tmp_path):
    whole = small(spectral=True, folder=str(tmp_path / "a"), head_start=10)
    train(whole, 4)
    whole.save()
    train(whole, 9)
    part = small(spectral=True, folder=str(tmp_path / "a"), head_start=10)
    (tmp_path / "a" / "step-000000013.safetensors").unlink(missing_ok=True)
    assert part.resume()
    train(part, 13 - part.step)
    assert_equal_to_the_bit(whole, part)


def test_a_head_start_is_a_change_of_a_knob_and_survives_a_reset():
    run = small(head_start=5)
    start = [p.detach().clone() for p in run.model.generator.parameters()]

    def moved():
        return not all(torch.equal(a, b) for a, b in zip(start, run.model.generator.parameters(), strict=True))

    for _ in range(2):
        train(run, 5)
        assert not moved()
        train(run, 1)
        assert moved()
        assert run.knobs.log == [{"step": 5, "knob": "turn", "value": "alternate"}]
        run.reset()
        assert not moved() and run.knobs.turn == "discriminator"


def test_learning_rates_that_fall_also_do_so_after_a_reset():
    run = small(steps=10, lr_g=1e-2)
    for _ in range(2):
        train(run, 12)
        rates = run.history.column("lr_g")
        assert rates[0] == pytest.approx(1e-2) and rates[5] < 6e-3 and rates[-1] == pytest.approx(2e-4)
        run.reset()


def test_the_discriminator_alone_for_a_while():
    run = train(small(), 2)
    discriminator_alone(run, 3)
    weights = run.model.generator.decoder.dense[0].weight
    before = weights.detach().clone()
    train(run, 3)
    assert torch.equal(before, weights)
    assert run.advance().step == 6 and not torch.equal(before, weights)
    assert [(e["step"], e["value"]) for e in run.knobs.log] == [(2, "discriminator"), (5, "alternate")]
    with pytest.raises(LabError, match="number of steps is 0"):
        discriminator_alone(run, 0)


def test_each_step_of_the_discriminator_gets_fresh_data():
    run, seen = small(d_steps=3), []
    run.model.discriminator.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    run.advance()
    batches = [x[:32] for x in seen if len(x) == 64]                    # data first, then samples
    assert len(batches) == 3
    rows = {tuple(row) for batch in batches for row in batch.tolist()}
    assert len(rows) == 96                                              # no example twice


def test_a_discriminator_that_takes_no_steps_stands_still():
    run = small(d_steps=0)
    before = [p.detach().clone() for p in run.model.discriminator.parameters()]
    tick = train(run, 5).advance()
    assert all(torch.equal(a, b) for a, b in zip(before, run.model.discriminator.parameters(), strict=True))
    assert math.isfinite(tick["discriminator"])


def test_the_average_follows_the_generator():
    run = small(ema=0.9)
    average = [p.detach().clone() for p in run.model.generator.parameters()]
    for _ in range(4):
        run.advance()
        average = [0.9 * a + 0.1 * p.detach() for a, p in zip(average, run.model.generator.parameters(), strict=True)]
    for a, b in zip(average, run.model.averaged.parameters(), strict=True):
        torch.testing.assert_close(a, b.detach(), rtol=1e-5, atol=1e-6)
    run.knobs.ema = 0.0
    run.advance()
    x, y = (run.model.sample(5, Rng(0), averaged=which) for which in (False, True))
    torch.testing.assert_close(x, y)


@pytest.mark.parametrize("data", [name for name in SETTINGS if name != "mnist"])
def test_every_kind_of_data_can_be_played_with(data):
    run = make_run(data, seed=3, device="cpu")
    tick = train(run, 2).advance()
    assert all(math.isfinite(value) for value in tick.metrics.values())
    assert 0 < tick["real"] < 1 and 0 < tick["fake"] < 1
    shape = (1,) if data == "line" else (2,) if run.target else run.data.shape
    assert run.model.sample(3, Rng(0)).shape == (3, *shape)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_can_be_played_with(loss):
    tick = train(small(loss=loss), 5).advance()
    assert all(math.isfinite(value) for value in tick.metrics.values())


def test_wider_at_paper_scale():
    assert small("digits", scale="paper").parameters > 3 * small("digits").parameters


def test_data_of_one_class():
    run = small("digits", classes=("3",))
    assert set(run.data.train.y.tolist()) == {3}
    assert train(run, 2).step == 2


# -- the experiments -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["minimax", "non-saturating"])
def test_a_game_after_a_head_start(loss):
    outcome = gans.play(loss, head_start=60, steps=3, hidden=(16, 16), lr_d=1e-2, samples=50)
    # The logits of samples are far below 0: the slopes D and 1 - D are about exp(logit) and 1.
    assert outcome.minimax < 0.5 * outcome.non_saturating
    assert 0 <= outcome.modes <= 8 and 0 <= outcome.good <= 1
    assert (outcome.loss, outcome.head_start, outcome.eps) == (loss, 60, 1e-3)
    with pytest.raises(LabError, match="it must be one of: ring, grid"):
        gans.play(data="moons")


def test_the_same_start_looks_the_same_to_either_loss():
    a, b = (gans.play(loss, head_start=5, steps=1, hidden=(16,)) for loss in ("minimax", "non-saturating"))
    assert (a.minimax, a.non_saturating) == pytest.approx((b.minimax, b.non_saturating))


def test_figures_of_the_ring():
    found = gans.sharp_ring(steps=5, samples=50)
    assert found.keys() == {"modes", "good", "modes_averaged", "good_averaged", "seconds"}


@pytest.mark.slow
def test_figures_of_the_digits_and_the_command_that_leaves_them(tmp_path, capsys):
    found = gans.good_digits(steps=3, split="valid", hidden=(8,))
    assert found["frechet"] > 15
    gans.main(["digits", "--steps", "2", "--out", str(tmp_path / "digits.json")])
    figures = json.loads((tmp_path / "digits.json").read_text())
    assert figures["steps"] == 2 and figures["frechet"] > 10 * figures["frechet_real"]
    assert 0 <= figures["precision"] <= 1 and (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(SystemExit, match="name a .json file"):
        gans.main(["digits", "--steps", "2", "--out", str(tmp_path / "digits.txt")])


def test_a_grid_of_images():
    images = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 1, 2, 2) / 10
    assert gans.grid(images, 3).shape == (4, 6)
    assert gans.grid(images, 3)[::2, ::2].tolist() == pytest.approx(np.array([[0, 0.1, 0.2], [0.3, 0.4, 0.5]]))


def test_the_recorded_curve_is_what_the_claims_are_judged_on():
    curve = gan_claims.curve()
    recorded = {record["quantity"]: record["values"] for record in records("06")}
    assert curve["head_starts"] == list(gan_claims.HEAD_STARTS)
    for quantity in ("ratio_150", "modes_150", "cost_0", "cost_default", "rise"):
        assert curve["values"][quantity] == recorded[quantity]


# -- the smallest game -----------------------------------------------------------------------------------------------


def test_simultaneous_steps_spiral_outwards():
    way = zero_sum.play("simultaneous", rate=0.2, steps=50, start=(1.0, 0.5))
    state = way[:, 0] + 1j * way[:, 1]
    np.testing.assert_allclose(state[1:] / state[:-1], 1 + 0.2j)        # turned by atan(rate)


def test_alternating_steps_stay_on_an_ellipse():
    way = zero_sum.play("alternating", rate=0.3, steps=500, start=(1.0, 0.5))
    g, d = way.T
    np.testing.assert_allclose(g**2 + d**2 + 0.3 * g * d, 1 + 0.25 + 0.15)
    assert np.hypot(*zero_sum.running_mean(way)[-1]) < 0.02             # and its mean goes to the equilibrium


@pytest.mark.parametrize(("penalty", "inwards"), [(0.1, False), (0.3, True)])
def test_a_penalty_above_the_rate_turns_the_spiral_inwards(penalty, inwards):
    way = zero_sum.play("simultaneous", rate=0.2, penalty=penalty, steps=400)
    factor = math.sqrt(1 - 0.2 * penalty + 0.2**2)                      # of each eigenvalue, as long as they turn
    distances = zero_sum.distances(way)
    assert (distances[-1] < distances[0]) == inwards
    assert (distances[-1] / distances[0]) ** (1 / 400) == pytest.approx(factor, rel=2e-3)


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "sentence"), [
    ({"data": "cats"}, "The data is 'cats'"),
    ({"loss": "saturating"}, "loss"),
    ({"d_steps": -1}, "steps of D"),
    ({"penalty": -1.0}, "gradient penalty"),
    ({"r1": -0.1}, "R1 penalty"),
    ({"clip": -0.01}, "clip D's weights"),
    ({"eps": 0.0}, "epsilon"),
    ({"ema": 1.0}, "averaging"),
    ({"head_start": -5}, "head start"),
    ({"classes": ("3",)}, "has none"),
    ({"data": "digits", "classes": ("A",)}, "A class is 'A'"),
    ({"data": "digits", "classes": ()}, "No class was named"),
    ({"latent": 0}, "latent dimensions"),
    ({"body": "conv"}, "conv body needs images"),
    ({"scale": "huge"}, "scale"),
])
def test_bad_input(options, sentence):
    with pytest.raises(LabError, match=sentence):
        make_run(**{"device": "cpu", **options})


def test_players_that_do_not_fit():
    with pytest.raises(LabError, match="build both with the same shape"):
        GAN(Generator(2, (2,)), Discriminator((3,)))
    with pytest.raises(LabError, match="no attribute 'latent'"):
        GAN(torch.nn.Linear(2, 2), Discriminator((2,)))


def test_a_game_that_runs_away_is_paused_and_nothing_is_lost():
    run = train(small(loss="Wasserstein"), 120)
    run.knobs.lr_d = run.knobs.lr_g = 1.0
    train(run, 10)
    # Under Adam scores without a bound go on growing for very long before they overflow: helped along here.
    with torch.no_grad():
        for parameter in run.model.discriminator.parameters():
            parameter.mul_(1e20)
    with pytest.raises(NonFinite, match="lower the learning rate"):
        train(run, 1)
    assert run.step == 50 and all(bool(p.isfinite().all()) for p in run.model.parameters())
    assert len(run.history.column("discriminator")) == run.step
    run.knobs.lr_d = run.knobs.lr_g = 1e-4
    run.knobs.loss = "non-saturating"
    assert math.isfinite(train(run, 3).advance()["discriminator"])


def test_knobs_know_their_bounds():
    knobs = GANKnobs()
    assert knobs.d_steps == 1 and SimpleNamespace(**knobs.values()).loss == "non-saturating"
    with pytest.raises(LabError, match="one of: non-saturating, minimax"):
        knobs.loss = "maximin"
