"""Lab 01: exact comparisons, the criterion, training on samples, pictures and widgets, exercises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from dgmlab.check import judge
from dgmlab.data.densities import density as named
from dgmlab.errors import LabError
from dgmlab.experiments.generators import (
    CLAIMS,
    LINE,
    best_generator,
    cdf,
    density_against_samples,
    intrinsic_dimension,
    line_target,
    local_rank,
    make_run,
    modes_covered,
    target_cdf,
    total_variation,
    turning_points,
)
from dgmlab.models.generator import Generator, density, preimages
from dgmlab.models.sample_matching import SampleMatching, TanhUnits, discrepancy
from dgmlab.rng import Rng
from dgmlab.widgets import generator_pictures as pictures
from dgmlab.widgets.generators import SHAPES, drag_generator, generator_panel, line_data, slide_code
from dgmlab.widgets.pictures.generators import GeneratorLine, GeneratorPlane, code_lines, line_colours

FOLD = TanhUnits(**SHAPES["fold"])


# -- exact comparisons -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", SHAPES)
def test_the_distribution_function_is_that_of_many_samples(shape):
    network = TanhUnits(**SHAPES[shape])
    with torch.no_grad():
        x = network(Rng(0).normal((400_000, 1)))[:, 0].double()
    points = torch.linspace(-2.5, 2.5, 21, dtype=torch.float64)
    share = (x[:, None] <= points).double().mean(0)
    assert (cdf(network, points) - share).abs().max() < 4 * 0.5 / math.sqrt(len(x))


def test_the_distribution_function_knows_squares_and_falling_functions():
    x = torch.tensor([-1.0, 0.25, 1.0, 4.0], dtype=torch.float64)
    assert np.allclose(cdf(lambda z: z**2, x), stats.chi2.cdf(x, 1), atol=1e-9)
    assert np.allclose(cdf(lambda z: -2 * z, x), stats.norm.cdf(x / 2), atol=1e-9)


@pytest.mark.parametrize("name", LINE)
def test_the_best_generator_has_no_mass_in_the_wrong_place(name):
    target = line_target(name)
    assert total_variation(lambda z: best_generator(target, z), target) < 1e-4
    z = torch.linspace(-3, 3, 13, dtype=torch.float64)
    assert np.allclose(target_cdf(target, best_generator(target, z)), stats.norm.cdf(z), atol=1e-9)


def test_total_variation_is_that_of_two_gaussians():
    target = named("mixture", means=(1.0,), sds=(1.0,), weights=(1.0,))
    assert total_variation(TanhUnits(), target, bins=2000) == pytest.approx(2 * stats.norm.cdf(0.5) - 1, abs=2e-3)
    assert total_variation(TanhUnits(offset=40.0), target) == pytest.approx(1, abs=1e-6)


def test_a_density_is_asked_at_points_or_at_one_number():
    fold = lambda z: z**3 - 3 * z                                                                         # noqa: E731
    assert density(fold, 1.0).tolist() == density(fold, [1]).tolist() == pytest.approx([0.181873], abs=1e-6)
    assert density(fold, torch.tensor(1)).shape == (1,) and len(preimages(fold, np.float64(1))[1]) == 3
    for wrong in ("one", [[1.0]], float("nan"), None):
        with pytest.raises(LabError, match="row of finite numbers"):
            density(fold, wrong)


def test_turning_points():
    assert turning_points(lambda z: z**3 - 3 * z).tolist() == pytest.approx([2, -2], abs=1e-4)
    assert len(turning_points(TanhUnits(**SHAPES["straight"]))) == 0 and len(turning_points(FOLD)) == 2


def test_rank_and_dimension():
    z = Rng(0).normal((50, 3))
    assert set(local_rank(Generator(3, (1, 8, 8), (32,)), z).tolist()) == {3}
    assert set(local_rank(lambda z: torch.stack([z.sum(1), z.sum(1) ** 3 + 5], 1), z).tolist()) == {1}
    for d in (1, 2, 3):
        flat = torch.cat([Rng(1).normal((1500, d)), torch.zeros(1500, 6 - d)], 1)
        assert intrinsic_dimension(flat) == pytest.approx(d, rel=0.12)


def test_modes_are_counted():
    ring = named("ring")
    assert modes_covered(ring.sample(2000), ring)[0] == 8
    found, near = modes_covered(torch.cat([ring.modes[:3].repeat(100, 1), torch.zeros(100, 2)]), ring)
    assert found == 3 and near == pytest.approx(0.75)


# -- the criterion -----------------------------------------------------------------------------------------------------

def test_the_energy_distance_of_two_gaussians():
    x, y = Rng(0).normal((4000, 1)), Rng(1).normal((4000, 1)) + 1
    # E|N(1, 2)| - E|N(0, 2)|, twice
    folded = math.sqrt(2) * math.sqrt(2 / math.pi) * math.exp(-1 / 4) + 1 - 2 * stats.norm.cdf(-1 / math.sqrt(2))
    assert discrepancy(x, y).item() == pytest.approx(2 * (folded - 2 / math.sqrt(math.pi)), abs=0.08)


def test_the_mmd_is_gretton_et_als_unbiased_estimate():
    x, y = Rng(0).normal((7, 2)).double(), Rng(1).normal((9, 2)).double()
    k = lambda a, b: math.exp(-(a - b).square().sum().item() / (2 * 0.7**2))                              # noqa: E731
    want = sum(k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j) / 42 \
        + sum(k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j) / 72 \
        - 2 * sum(k(a, b) for a in x for b in y) / 63
    assert discrepancy(x, y, 0.7).item() == pytest.approx(want, abs=1e-12)


def test_estimates_are_unbiased_where_the_distributions_are_equal():
    values = [discrepancy(Rng(2 * s).normal((20, 1)), Rng(2 * s + 1).normal((20, 1))).item() for s in range(300)]
    assert abs(np.mean(values)) < 4 * np.std(values) / math.sqrt(300) and min(values) < 0


def test_images_are_compared_as_exactly_as_points():
    x, y = Rng(0).uniform((30, 1, 8, 8)), Rng(1).uniform((40, 1, 8, 8))
    assert discrepancy(x, y).item() == pytest.approx(
        (2 * torch.cdist(x.flatten(1), y.flatten(1)).mean() - torch.cdist(x.flatten(1), x.flatten(1)).sum() / 870
         - torch.cdist(y.flatten(1), y.flatten(1)).sum() / 1560).item(), abs=1e-4)


@pytest.mark.parametrize("options", [{}, {"criterion": "MMD", "width": 0.3}, {"start": SHAPES["straight"]}])
def test_training_on_samples_moves_the_mass_into_place(options):
    run = make_run("two peaks", **options)
    before = total_variation(run.model.generator, run.target)
    for _ in run.steps(300):
        pass
    assert total_variation(run.model.generator, run.target) < 0.75 * before


def test_two_equal_runs_give_equal_numbers_and_knobs_are_heard():
    first, second = (make_run("moons", 2, seed=3) for _ in range(2))
    for run in (first, second):
        for _ in run.steps(5):
            pass
    assert first.history.column("loss").tolist() == second.history.column("loss").tolist()
    second.knobs.batch = 8
    assert next(second.steps(1))["loss"] != next(first.steps(1))["loss"]


def test_images_and_weights_by_hand():
    run = make_run("digits", 4, (32,))
    next(run.steps(1))
    assert run.model.generator.sample(3, Rng(0)).shape == (3, 1, 8, 8) and run.data.name == "digits"
    again = TanhUnits(**FOLD.weights())
    z = torch.linspace(-2, 2, 5)[:, None]
    assert torch.equal(again(z), FOLD(z))


@pytest.mark.parametrize("wrong, words", [
    (lambda: make_run("two lumps"), "two lumps"),
    (lambda: make_run("moons", start=SHAPES["fold"]), "one number in, one number out"),
    (lambda: make_run(scale="huge"), "scale"),
    (lambda: SampleMatching(torch.nn.Linear(1, 1)), "latent"),
    (lambda: TanhUnits(height=(1.0,)), "one number a unit"),
    (lambda: discrepancy(torch.zeros(1, 1), torch.zeros(4, 1)), "two or more"),
    (lambda: total_variation(Generator(2, (1,)), line_target("two peaks")), "one number in, one number out"),
    (lambda: modes_covered(torch.zeros(4, 2), named("moons")), "separate modes"),
    (lambda: intrinsic_dimension(torch.zeros(3, 2)), "at least 10"),
    (lambda: drag_generator("nowhere"), "nowhere"),
    (lambda: slide_code({}), "one generator or more"),
    (lambda: slide_code({"a": Generator(3, (1, 8, 8), (8,))}, torch.zeros(2)), "need (3,)"),
    (lambda: GeneratorPlane(latent=3), "from 1 to 2"),
])
def test_bad_input_is_answered_in_a_sentence(wrong, words):
    with pytest.raises(LabError, match=words.replace("(", r"\(").replace(")", r"\)")):
        wrong()


# -- claims ------------------------------------------------------------------------------------------------------------

def test_claims_have_their_numbers():
    assert {claim.lab for claim in CLAIMS} == {"01"} and len({claim.id for claim in CLAIMS}) == len(CLAIMS)
    assert 0.8 < density_against_samples(7, networks=5)["chi_square"] < 1.2


# -- pictures and widgets ----------------------------------------------------------------------------------------------

def test_the_line_is_drawn_with_its_turning_points():
    data = line_data(FOLD, np.zeros(10), (-4.5, 4.5), line_target("two peaks"), best=True)
    picture = GeneratorLine(title="A fold")
    assert picture.render(data, "png").startswith(b"\x89PNG")
    assert "turns back 2 times" in picture.alt(data)
    assert picture.stage.note.get_text().startswith("▶ infinite") and len(picture.stage.turns.get_xdata()) == 2
    assert np.isfinite(data["density"]).all()
    with pytest.raises(LabError, match="as many"):
        picture.render(data | {"x": data["x"][:-1]})


@pytest.mark.parametrize("latent", [1, 2])
def test_the_plane_is_drawn(latent):
    lines = code_lines(latent)
    assert len(line_colours(latent)) == lines.shape[0] * (lines.shape[1] - 1)
    image = np.repeat(lines, 2, -1)[..., :2]
    data = {"lines": image, "samples": np.zeros((5, 2)), "real": np.ones((4, 2))}
    picture = GeneratorPlane(latent=latent)
    assert picture.render(data) and "1.41 from the nearest" in picture.alt(data)


def test_the_hand_keeps_its_best_score():
    hand = drag_generator("two peaks")
    first = hand.score
    hand.set(**SHAPES["straight"])
    assert hand.best == first < hand.score and hand.weights()["slope"] == 1.0
    assert drag_generator().score is None


def test_the_still_pictures():
    figures = [pictures.stretch_picture(FOLD, -2.0), pictures.preimage_picture(FOLD, 0.3),
               pictures.density_picture({"fold": FOLD, "straight": TanhUnits()}, samples=100),
               pictures.fit_picture({"hand": FOLD}, line_target("two peaks")),
               pictures.plane_pictures({"one": make_run("ring", 1), "two": make_run("ring", 2)})]
    for fig in figures:
        fig.draw_without_rendering()
        assert all(axes.get_xlabel() for axes in fig.axes)
    code = slide_code({"random": Generator(3, (1, 8, 8), (8,), output="sigmoid")}, torch.tensor([1.0, -1.0, 0.0]))
    assert "number 1 of the code" in code.picture.alt()


def test_panels_train_and_draw_without_a_front_end():
    for run in (make_run("two peaks"), make_run("ring", 1), make_run("moons", 2), make_run("digits", 4, (16,))):
        panel = generator_panel(run, steps=3)
        run.wait()
        for picture in panel.pictures.values():
            assert picture.render(picture.collect(run))
    with pytest.raises(LabError, match="one or two can be drawn"):
        generator_panel(make_run("moons", 3))


# -- exercises ---------------------------------------------------------------------------------------------------------

PHI = stats.norm.cdf
GOOD = {"offset": 0.0, "slope": 0.2, "height": [3.0, 0.0], "steepness": [10.0, 2.0], "place": [-0.52, 0.0]}


def scalar_uniform(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def curve(z):
    s = z[:, 0] - 2 * z[:, 1]
    return torch.stack([torch.cos(s), torch.sin(s)], 1)


def energy(x, y, *, diagonal=False, between=2.0, within=1.0, far=torch.abs, paired=False):
    x, y = torch.as_tensor(x), torch.as_tensor(y)
    n, m = len(x), len(y)
    xx, yy = far(x[:, None] - x).sum(), far(y[:, None] - y).sum()
    own = (xx / n**2 + yy / m**2) if diagonal else xx / (n * (n - 1)) + yy / (m * (m - 1))
    return between * far(x - y if paired else x[:, None] - y).mean() - within * own


RIGHT = [
    ("01.1", (PHI, lambda z: -np.log(1 - PHI(z)))),
    ("01.1", (lambda z: torch.special.ndtr(z), lambda z: -torch.log(torch.special.ndtr(z)))),
    ("01.1", (scalar_uniform, lambda z: -math.log(scalar_uniform(-z)))),
    ("01.1", (lambda z: abs(2 * PHI(z) - 1), lambda z: stats.expon.ppf(PHI(-np.asarray(z))))),
    ("01.2", (0.1819,)),
    ("01.2", (torch.tensor([0.181873]),)),
    ("01.3", (GOOD,)),
    ("01.3", ({"offset": -1.6, "slope": 0.05, "height": (3.3, 3.3), "steepness": (10, 10), "place": (-0.52, -0.52),
               } | {"offset": 0},)),
    ("01.3", (TanhUnits(**GOOD),)),
    ("01.4", (curve,)),
    ("01.4", (lambda z: (z @ torch.tensor([[1.0], [2.0]])) * torch.tensor([1.0, -3.0]),)),
    ("01.5", (energy,)),
    ("01.5", (lambda x, y: discrepancy(torch.as_tensor(x)[:, None], torch.as_tensor(y)[:, None]).item(),)),
    ("01.5", (lambda x, y: 2 * np.abs(np.subtract.outer(x, y)).mean()
              - sum(np.abs(np.subtract.outer(a, a)).sum() / len(a) / (len(a) - 1) for a in (x, y)),)),
]
WRONG = [
    ("01.1", (lambda z: 1 / (1 + torch.exp(-z)), lambda z: z), "logistic"),
    ("01.1", (PHI, lambda z: np.exp(z)), "log-normal"),
    ("01.1", (PHI, lambda z: -2 * np.log(PHI(z))), "its mean is 2.00"),
    ("01.1", (lambda z: torch.rand(len(z)), lambda z: z), "draws nothing"),
    ("01.1", (lambda z: z, lambda z: z), "squeezes"),
    ("01.1", (PHI, lambda z: np.asarray(z)), "never negative"),
    ("01.1", (PHI, lambda z: np.log(1 - PHI(z))), "Turn the sign"),
    ("01.1", (lambda z: nowhere(z), PHI), "NameError"),                                                   # noqa: F821
    ("01.2", (0.5672,), "without the slopes"),
    ("01.2", (-0.1029,), "signed"),
    ("01.2", (0.1424,), "1 of the pre-images"),
    ("01.2", (2.008,), "divide"),
    ("01.2", (1.4,), "add up"),
    ("01.2", ("many",), "made of numbers|number"),
    ("01.3", (SHAPES["step"],), "gap should hold"),
    ("01.3", (GOOD | {"place": [0.0, 0.0]},), "move the place"),
    ("01.3", (GOOD | {"place": [0.52, 0.0]},), "wrong sides"),
    ("01.3", (GOOD | {"height": [1.0]},), "one number a unit"),
    ("01.3", ([1, 2, 3],), "dictionary"),
    ("01.3", ({"slant": 1.0},), "keys"),
    ("01.4", (lambda z: z,), "rank 2"),
    ("01.4", (lambda z: torch.stack([z[:, 0], z[:, 0] ** 2], 1),), "not used"),
    ("01.4", (lambda z: 0 * z,), "same point"),
    ("01.4", (lambda z: z.sum(1),), "shape"),
    ("01.4", (lambda z: (z[:, 0], z[:, 1]),), "torch.stack"),
    ("01.5", (lambda x, y: energy(x, y, diagonal=True),), "with itself"),
    ("01.5", (lambda x, y: energy(x, y, between=1.0),), "counted twice"),
    ("01.5", (lambda x, y: -energy(x, y),), "turned round"),
    ("01.5", (lambda x, y: abs(energy(x, y)) ** 0.5,), "square root"),
    ("01.5", (lambda x, y: energy(x, y) / 2,), "twice that"),
    ("01.5", (lambda x, y: (torch.as_tensor(x)[:, None] - torch.as_tensor(y)).abs().mean() * 2,), "one point"),
    ("01.5", (lambda x, y: energy(x, y, far=lambda d: d),), "opposite sign cancel"),
    ("01.5", (lambda x, y: energy(x, y, far=torch.square),), "squared differences"),
    ("01.5", (lambda x, y: energy(x, y, paired=True),), "alone"),
    ("01.5", (lambda x, y: energy(x, y, within=2.0),), "twice too much"),
    ("01.5", (lambda x, y: energy(x, y, within=0.5),), "half of what"),
    ("01.5", (lambda x, y: 0.3,), "estimate is"),
]


@pytest.mark.parametrize("name, answers", RIGHT)
def test_right_answers_pass(name, answers):
    outcome = judge(name, *answers)
    assert outcome.passed, outcome.says


@pytest.mark.parametrize("name, answers, hint", WRONG)
def test_wrong_answers_get_their_hint(name, answers, hint):
    outcome = judge(name, *answers)
    assert outcome.answered and not outcome.passed
    import re

    assert re.search(hint, outcome.says), outcome.says


@pytest.mark.parametrize("name, answers", [("01.1", (lambda z: ..., lambda z: ...)), ("01.2", (...,)),
                                           ("01.3", (...,)), ("01.4", (lambda z: ...,)), ("01.5", (lambda x, y: ...,))])
def test_unanswered_is_no_mistake(name, answers):
    assert not judge(name, *answers).answered
