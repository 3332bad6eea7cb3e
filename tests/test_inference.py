"""The integrable model, the gradient estimators and per-example inference, against closed forms."""

import math

import pytest
import torch

from dgmlab.errors import LabError
from dgmlab.experiments.inference import (
    CurveModel,
    best_gaussian,
    bound,
    expected_log_likelihood,
    fit_posteriors,
    gaussian_kl,
    gradient_estimates,
    straight,
)
from dgmlab.rng import Rng

POINTS = [(1.3, 0.6), (0.0, -1.5), (0.0, 1.2), (-0.4, 0.1)]
QS = [(0.0, 1.0), (1.5, 0.2), (-2.0, 0.05), (3.0, 0.01), (-3.0, 2.0)]
STRAIGHT = torch.tensor([1.2, 0.5], dtype=torch.float64)


def linear_truth(x, eta):
    """Log evidence, posterior mean and posterior width of p(z) = N(0, 1), p(x | z) = N(x; a z, eta I)."""
    x = torch.tensor(x, dtype=torch.float64)
    covariance = torch.outer(STRAIGHT, STRAIGHT) + eta * torch.eye(2).double()
    evidence = torch.distributions.MultivariateNormal(torch.zeros(2).double(), covariance).log_prob(x)
    precision = 1 + STRAIGHT @ STRAIGHT / eta
    return evidence.item(), (STRAIGHT @ x / eta / precision).item(), (precision**-0.5).item()


@pytest.mark.parametrize("x", POINTS)
@pytest.mark.parametrize("eta", [0.02, 0.05, 0.5])
def test_the_gap_is_the_divergence_from_the_posterior(x, eta):
    for mean, sigma in QS:
        b = bound(CurveModel(eta), x, mean, sigma)
        assert b.gap == pytest.approx(b.kl_posterior, abs=1e-4, rel=1e-6)
        assert b.elbo <= b.log_evidence


@pytest.mark.parametrize("x", POINTS)
def test_a_linear_decoder_closes_the_gap(x):
    model = CurveModel(0.1, straight)
    evidence, mean, sigma = linear_truth(x, 0.1)
    b = bound(model, x, mean, sigma)
    assert b.log_evidence == pytest.approx(evidence, abs=1e-8)
    assert b.gap == pytest.approx(0, abs=1e-8)
    assert b.kl_posterior == pytest.approx(0, abs=1e-8)
    assert best_gaussian(model, x) == pytest.approx((mean, sigma), abs=1e-5)


def test_log_likelihood_of_the_horseshoe_in_closed_form():
    # |x - G|^2 = |x|^2 + r^2 - 2 x.G, and E sin(wz) = exp(-w^2 s^2 / 2) sin(wm): the horseshoe is a circle's arc.
    x, mean, sigma, eta, r, w = (0.7, -0.3), 0.8, 0.4, 0.05, 1.5, 1.1
    shrink = r * math.exp(-0.5 * (w * sigma) ** 2)
    dot = x[0] * shrink * math.sin(w * mean) - x[1] * shrink * math.cos(w * mean)
    expected = -(x[0] ** 2 + x[1] ** 2 + r**2 - 2 * dot) / (2 * eta) - math.log(2 * math.pi * eta)
    assert bound(CurveModel(eta), x, mean, sigma).log_likelihood == pytest.approx(expected, abs=1e-9)


def test_the_density_integrates_to_one():
    axis = torch.linspace(-3.2, 3.2, 65, dtype=torch.float64)
    plane = torch.cartesian_prod(axis, axis)
    total = CurveModel(0.05).log_evidence(plane, nodes=401).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("x", POINTS)
def test_no_other_gaussian_beats_the_best(x):
    model = CurveModel(0.05)
    mean, sigma = best_gaussian(model, x)
    top = bound(model, x, mean, sigma).elbo
    assert all(bound(model, x, m, s).elbo <= top for m, s in QS)
    for nudge in (0.98, 1.02):
        assert bound(model, x, mean, sigma * nudge).elbo < top
        assert bound(model, x, mean + nudge - 1, sigma).elbo < top


def test_a_point_mass_is_infinitely_far_from_the_prior():
    gains = [gaussian_kl(0.5, 10.0**-k) - gaussian_kl(0.5, 10.0 ** -(k - 1)) for k in range(2, 7)]
    assert gains == pytest.approx([math.log(10)] * 5, abs=6e-3)           # ln 10 nats a factor of ten, for ever
    assert gaussian_kl(0, 1) == 0


def test_three_gradients_of_one_expectation_agree():
    model, x = CurveModel(0.1), torch.tensor((1.0, 0.2), dtype=torch.float64)
    mean, log_sigma = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (0.6, math.log(0.4)))
    exact = expected_log_likelihood(model, x, mean[0], log_sigma.exp()[0])
    truth = torch.stack(torch.autograd.grad(exact, (mean, log_sigma)))                         # (2, 1)
    estimates = gradient_estimates(lambda z: model.log_likelihood(x, z[:, 0]), mean.detach(), log_sigma.detach().exp(),
                                   samples=10, repeats=4000, seed=1)
    spread = {}
    for way, estimate in estimates.items():
        error = (estimate.mean(0) - truth).abs() / (estimate.std(0) / math.sqrt(len(estimate)))
        assert error.max() < 4, way                                                            # unbiased
        spread[way] = estimate.var(0)
    assert (spread["score function"] > 2 * spread["reparameterised"]).all()
    assert (spread["score function"] > spread["score function, baseline"]).all()
    assert (spread["score function, baseline"] > spread["reparameterised"]).all()


class LinearGaussian(torch.nn.Module):
    """p(z) = N(0, I), p(x | z) = N(W z, eta I), with an encoder that always answers with the prior."""

    latent, eta = 2, 0.5

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(Rng(3).normal((5, 2)))

    def encode(self, x):
        return torch.zeros(len(x), 2), torch.zeros(len(x), 2)

    def log_likelihood(self, x, z):
        return -0.5 * ((x - z @ self.weight.T).square().sum(-1) / self.eta + 5 * math.log(2 * math.pi * self.eta))


def test_an_own_posterior_for_each_example_reaches_the_best_diagonal_gaussian():
    model = LinearGaussian()
    x = Rng(4).normal((6, 5))
    fitted = fit_posteriors(model, x, steps=400, samples=16, seed=0)
    precision = torch.eye(2) + model.weight.T @ model.weight / model.eta        # of the exact posterior
    mean = (x @ model.weight / model.eta) @ precision.inverse()
    assert torch.allclose(fitted.mu, mean, atol=0.05)
    assert torch.allclose(fitted.logvar.exp(), (1 / precision.diagonal()).expand(6, 2), rtol=0.1)
    evidence = torch.distributions.MultivariateNormal(
        torch.zeros(5), model.weight @ model.weight.T + model.eta * torch.eye(5)).log_prob(x).mean()
    left = 0.5 * (precision.diagonal().log().sum() - torch.logdet(precision))   # no diagonal q can have it
    assert fitted.elbo[-1] == pytest.approx((evidence - left).item(), abs=0.1)
    assert fitted.gap > 0 and fitted.elbo[-1] > fitted.elbo[0]
    assert model.weight.requires_grad and model.weight.grad is None


def test_bad_input_is_one_sentence():
    with pytest.raises(LabError, match="eta is 0"):
        CurveModel(eta=0)
    with pytest.raises(LabError, match="width sigma of q is 0"):
        bound(CurveModel(), (0, 0), 0.0, 0.0)
    with pytest.raises(LabError, match="must be one of: prior, encoder"):
        fit_posteriors(LinearGaussian(), torch.zeros(1, 5), start="posterior")
    with pytest.raises(LabError, match="number of samples"):
        gradient_estimates(lambda z: z.sum(1), torch.zeros(1), torch.ones(1), samples=1)


def test_the_widget_moves_q_and_says_the_numbers(monkeypatch):
    from dgmlab.widgets.bound import POINTS, drag_bound

    monkeypatch.setenv("DGMLAB_LIVE", "1")
    panel = drag_bound(mean=0.6, sigma=0.5)
    before = panel.image.value
    panel.mean.value = 1.2
    assert panel.bound == bound(CurveModel(), POINTS["near the curve"], 1.2, 0.5)
    assert panel.image.value != before and f"gap {panel.bound.gap:.4f}" in panel.numbers.value
    panel.point.value = "between the legs"
    panel.best.click()
    assert panel.bound.gap == pytest.approx(math.log(2), abs=2e-4)             # one of two equal peaks is covered
    panel.prior.click()
    assert (panel.mean.value, panel.sigma.value) == (0, pytest.approx(1))
    assert panel.bound.elbo == pytest.approx(panel.bound.log_likelihood)       # q = prior: its KL is 0


def test_without_a_person_the_widget_is_one_picture_in_words(monkeypatch):
    from dgmlab.widgets.bound import drag_bound

    monkeypatch.setenv("DGMLAB_LIVE", "0")
    still = drag_bound(mean=0.6, sigma=0.5)
    assert not hasattr(still, "widget")
    assert f"gap, {still.bound.gap:.2f}" in still.alt()
