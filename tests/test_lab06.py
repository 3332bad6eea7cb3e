"""Lab 06: the pictures of the game, the panel's moves, the smallest zero-sum game, and the checks of the exercises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dgmlab.check import judge
from dgmlab.errors import LabError
from dgmlab.experiments.gans import make_run
from dgmlab.experiments.zero_sum import distances, play, running_mean
from dgmlab.models.gan import LOSSES
from dgmlab.widgets import gan_pictures
from dgmlab.widgets.gans import CODES, drag_zero_sum, game_data, gan_panel
from dgmlab.widgets.pictures import Curves, compose
from dgmlab.widgets.pictures.gans import Field, Game, LossPoint

# -- the zero-sum game -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.7])
def test_at_once_they_spiral_away_by_the_known_factor(rate):
    far = distances(play("simultaneous", rate, steps=100))
    assert np.allclose(far, (1 + rate**2) ** (np.arange(101) / 2))


def test_by_turns_they_keep_to_an_ellipse_and_the_mean_comes_home():
    rate = 0.1
    g, d = play("alternating", rate, steps=5000).T
    assert np.allclose(g**2 + d**2 + rate * g * d, 1, atol=1e-9)           # what the two moves, one by one, keep
    mean = distances(running_mean(np.stack([g, d], 1)))
    assert mean[5000] < 0.02 and mean[500:].max() < 0.2


def test_a_penalty_brings_them_home_as_its_eigenvalues_say():
    rate, c = 0.1, 0.8
    turn = np.array([[1, -rate], [rate, 1 - rate * c]])
    assert np.allclose(play("simultaneous", rate, c, 300)[-1], np.linalg.matrix_power(turn, 300) @ [1, 0])
    assert distances(play("simultaneous", rate, c, 300))[-1] < 1e-4


def test_what_flies_away_ends_before_it_is_infinite():
    way = play("simultaneous", 2.0, steps=5000)
    assert len(way) < 5000 and np.isfinite(way).all()


@pytest.mark.parametrize("wrong", [{"rule": "both"}, {"rate": -0.1}, {"penalty": -1}, {"steps": 0}, {"start": 3},
                                   {"start": "ab"}])
def test_a_wrong_game_is_refused(wrong):
    with pytest.raises(LabError):
        play(**wrong)
    with pytest.raises(LabError):
        drag_zero_sum(rate=3)


# -- pictures ----------------------------------------------------------------------------------------------------------

def game(push=1.0, says=0.5):
    grid = np.linspace(-4, 4, 201)
    bell = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    return {"grid": grid, "data": np.exp(-0.5 * (grid - 1) ** 2) / math.sqrt(2 * math.pi), "made": bell,
            "says": np.full(201, says), "best": np.full(201, 0.5), "z": np.array([-1.0, 0, 1]),
            "samples": np.array([-1.0, 0, 1]), "push": np.full(3, push)}


def field(strength=1.0):
    x = np.linspace(-3, 3, 20)
    return {"says": 1 / (1 + np.exp(-np.add.outer(x, x))), "samples": np.random.default_rng(0).normal(size=(50, 2)),
            "real": np.random.default_rng(1).normal(size=(50, 2)), "push": np.full((10, 2), strength)}


def point(mean=-9.0, now="minimax", more=()):
    a = np.linspace(-60, 60, 241)
    curves = {"minimax": -np.logaddexp(0, a), "non-saturating": np.logaddexp(0, -a)} | {name: -a for name in more}
    return {"logits": np.full(50, mean) + np.linspace(-1, 1, 50), "real": np.linspace(4, 6, 50), "grid": a,
            "curves": curves, "slopes": dict.fromkeys(curves, -0.5), "now": now}


@pytest.mark.parametrize("build, data, other", [
    (lambda: Game(title="Game", extent=(-4, 4)), game(), game(push=-3.0, says=0.2)),
    (lambda: Field(title="Field"), field(), field(-5.0)),
    (lambda: LossPoint(title="Point"), point(), point(9.0, "non-saturating", more=["hinge"]))])
def test_a_refresh_draws_the_new_data_and_nothing_of_the_old(build, data, other):
    fresh, used = build(), build()
    before = used.pixels(data, 72).copy()
    assert not np.array_equal(before, used.pixels(other, 72))
    assert np.array_equal(used.pixels(other, 72), fresh.pixels(other, 72))
    assert np.array_equal(build().pixels(data, 72), before)
    with pytest.raises(LabError, match="has no"):
        fresh.pixels({}, 72)
    assert len(fresh.alt(other)) > 60


def test_pictures_stand_extremes():
    Game(extent=(-4, 4)).pixels(game(push=0.0) | {"best": np.full(201, np.nan), "made": np.full(201, 1e9)}, 72)
    Field().pixels(field() | {"says": np.zeros((20, 20)), "push": np.zeros((0, 2))}, 72)
    LossPoint().pixels(point(-500.0), 72)


def test_the_alt_texts_say_which_way_the_samples_go():
    assert "3 of them pushed to larger x" in Game(extent=(-4, 4)).alt(game())
    assert "0 of them pushed to larger x" in Game(extent=(-4, 4)).alt(game(push=-1.0))
    assert "D = 0.00012" in LossPoint().alt(point())


def test_curves_on_a_logarithmic_axis_tell_powers_of_ten():
    steps = np.arange(1, 301)
    data = {"steps": steps, "values": {"minimax": 10.0 ** -(steps / 30), "none": np.zeros(300)}}
    picture = Curves(log=True, unit="norm", what="Norms")
    assert "minimax falls from 0.7" in picture.alt(data) and "to 1e-10 norm" in picture.alt(data)
    picture.pixels(data, 72)
    low, high = picture.stage.limits[1]
    assert low <= -9.5 and high < 2
    assert picture.stage.lines["none"].label.get_text() == ""           # nothing above 0: no line, no number


def test_still_pictures_show_what_they_are_given():
    assert len(gan_pictures.game_picture({"one": game(), "two": game()}).axes) == 4
    with pytest.raises(LabError):
        gan_pictures.game_picture({})
    table = gan_pictures.table_of_losses(list(LOSSES))
    assert list(table.index) == list(LOSSES) and table["in words"].str.len().min() > 20
    widget = drag_zero_sum(rate=0.1, average=True)
    assert "2.7 from the equilibrium" in widget.picture.alt()
    widget.picture.update("simultaneous", 0.1, 2.0, 200, True)
    assert widget.picture.axes.get_ylim()[0] < distances(widget.picture.way)[-1]        # the curve stays in sight


# -- the panel ---------------------------------------------------------------------------------------------------------

def test_the_data_of_the_line_are_exact():
    run = make_run("line", start={})
    data = game_data(run)
    width = data["grid"][1] - data["grid"][0]
    assert np.allclose(data["made"], np.exp(-0.5 * data["grid"]**2) / math.sqrt(2 * math.pi), atol=1e-6)   # G(z) = z
    assert data["data"].sum() * width == pytest.approx(1, abs=1e-3)
    inside = np.abs(data["grid"]) < 3
    assert np.allclose(data["best"][inside], (data["data"] / (data["data"] + data["made"]))[inside])
    assert np.allclose(data["samples"], CODES[:, 0]) and len(data["push"]) == len(CODES)
    x = torch.tensor([[0.3]], requires_grad=True)
    F.logsigmoid(run.model.discriminator(x)).sum().backward()               # non-saturating: uphill on log D
    assert run.model.pull(torch.tensor([[0.3]]))[0, 0].item() == pytest.approx(x.grad.item(), rel=1e-5)


@pytest.mark.parametrize("data, options", [("line", {"start": {}}), ("ring", {}), ("moons", {}),
                                           ("digits", {"body": "mlp"})])
def test_every_kind_of_panel_leaves_a_still_picture(data, options):
    run = make_run(data, **options)
    panel = gan_panel(run, steps=6, moves=[(0.5, "loss", "minimax")])
    for fresh in (True, False):
        found = {name: picture.collect(run) for name, picture in panel.pictures.items()}
        _, width, alt = compose(panel.rows, found)
        assert 700 < width < 1200 and "not finite" not in alt
        if fresh:
            run.wait()
    assert run.knobs.log == [{"step": 3, "knob": "loss", "value": "minimax"}]


def test_the_point_on_the_losses_has_the_slopes_of_the_formula():
    run = make_run("ring")
    picture = gan_panel(run, steps=5).pictures["point"]
    run.knobs.loss = "hinge"
    data = picture.collect(run)
    d = 1 / (1 + np.exp(-np.asarray(data["logits"], float)))
    assert data["slopes"]["minimax"] == pytest.approx(-d.mean(), rel=1e-5)
    assert data["slopes"]["non-saturating"] == pytest.approx(-(1 - d).mean(), rel=1e-5)
    assert data["slopes"]["hinge"] == pytest.approx(-1) and data["now"] == "hinge"
    at_15 = np.interp(-15.0, data["grid"], data["curves"]["minimax"])
    assert at_15 == pytest.approx(-math.log1p(math.exp(-15)), rel=0.02)      # straight between the nodes


def test_a_panel_wants_a_gan_and_known_losses():
    from dgmlab.experiments.generators import make_run as no_gan

    with pytest.raises(LabError, match="gans.make_run"):
        gan_panel(no_gan("ring", latent=2))
    with pytest.raises(LabError, match="loss"):
        gan_panel(make_run("ring"), losses=["cross"])
    with pytest.raises(LabError, match="line"):
        make_run("ring", start={})


# -- the exercises -----------------------------------------------------------------------------------------------------

def hint(name, *answers):
    outcome = judge(name, *answers)
    assert outcome.answered and not outcome.passed, outcome
    return outcome.says


def right(name, *answers):
    outcome = judge(name, *answers)
    assert outcome.passed, outcome.says


def test_best_answer():
    right("06.1", lambda p, q, share: share * p / (share * p + (1 - share) * q))
    right("06.1", lambda p, q, share: 1 / (1 + (1 - share) / share * q / p))
    right("06.1", lambda p, q, share: torch.sigmoid(torch.tensor(share * p / ((1 - share) * q)).log()))
    assert "Where does the share" in hint("06.1", lambda p, q, s: p / (p + q))
    assert "exchanged" in hint("06.1", lambda p, q, s: (1 - s) * p / ((1 - s) * p + s * q))
    assert "probability of being a sample" in hint("06.1", lambda p, q, s: (1 - s) * q / (s * p + (1 - s) * q))
    assert "1 − share" in hint("06.1", lambda p, q, s: s * p / (s * p + q))
    assert "above the line" in hint("06.1", lambda p, q, s: s * p / (p + q))
    assert "between 0 and 1" in hint("06.1", lambda p, q, s: 7.0)
    assert "should be" in hint("06.1", lambda p, q, s: "half")
    assert not judge("06.1", lambda p, q, s: ...).answered


def test_losses_on_logits():
    right("06.2", lambda a: F.logsigmoid(-a).mean(), lambda a: -F.logsigmoid(a).mean())
    right("06.2", lambda a: -torch.logaddexp(torch.zeros_like(a), a).mean(),
          lambda a: torch.logaddexp(torch.zeros_like(a), -a).mean())
    right("06.2", lambda a: -F.binary_cross_entropy_with_logits(a, torch.zeros_like(a)),
          lambda a: F.binary_cross_entropy_with_logits(a, torch.ones_like(a)))
    good = lambda a: -F.logsigmoid(a).mean()                                                              # noqa: E731
    assert "rounded to 0 or 1" in hint("06.2", lambda a: (1 - a.sigmoid()).log().mean(), good)
    assert "sign" in hint("06.2", lambda a: -F.logsigmoid(-a).mean(), good)
    assert "other one" in hint("06.2", good, good)
    assert "mean over the samples, not the sum" in hint("06.2", lambda a: F.logsigmoid(-a).sum(), good)
    assert "take its logarithm" in hint("06.2", lambda a: (1 - a.sigmoid()).mean(), good)
    assert "clamps" in hint("06.2", lambda a: (1 - a.sigmoid().clamp(1e-6, 1 - 1e-6)).log().mean(), good)
    assert "clamps" in hint("06.2", lambda a: F.logsigmoid(-a.clamp(-8, 8)).mean(), good)
    assert "tensor" in hint("06.2", lambda a: F.logsigmoid(-a).mean().item(), good)
    assert "slope" in hint("06.2", lambda a: F.logsigmoid(-a).mean().detach(), good)
    assert "their mean" in hint("06.2", lambda a: F.logsigmoid(-a), good)
    assert not judge("06.2", lambda a: F.logsigmoid(-a).mean(), lambda a: ...).answered


def test_hiding_epsilon():
    d = 1 / (1 + math.exp(15))
    for answer in (9 * 0.04 * d, 1.1e-7, torch.tensor(1.1e-7), np.float64(1.08e-7)):
        right("06.3", answer)
    assert "half a learning rate" in hint("06.3", 0.04 * d)
    assert "9 g, not at 10 g" in hint("06.3", 0.4 * d)
    assert "½, not 1" in hint("06.3", 9 * 0.02 * d)
    assert "cannot tell" in hint("06.3", 0.18)
    assert "above 0" in hint("06.3", -1)
    assert "First the gradient" in hint("06.3", 1e-3)


def test_best_friction():
    for answer in (2, 1.9, 1.8, 1.5, np.float32(2.05), torch.tensor([2.0])):        # all that end within 1e-6
        right("06.4", answer)
    assert "undoes the outward spiral" in hint("06.4", 0.1) and "without friction" in hint("06.4", 0)
    assert "swinging" in hint("06.4", 1.0) and "swinging" in hint("06.4", 0.3)
    assert "too much friction" in hint("06.4", 2.2) and "too much friction" in hint("06.4", 3.5)
    assert "overshoots" in hint("06.4", 21) and "creeps" not in hint("06.4", 21)
    assert "below 0" in hint("06.4", -1)
    assert "should be" in hint("06.4", "two")
