"""The metrics on models and codes whose true values are known."""

import json
import math

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from dgmlab.errors import LabError
from dgmlab.metrics.latent import active_units, knn_accuracy, linear_probe_accuracy, mutual_information
from dgmlab.metrics.likelihood import (
    bits_per_dimension,
    elbo,
    importance_weighted_bound,
    kl_per_dimension,
    reconstruction,
)
from dgmlab.models.pca import PCA
from dgmlab.models.vae import VAE
from dgmlab.rng import Rng


@pytest.fixture(scope="module")
def linear():
    """A VAE with linear maps (probabilistic PCA), examples of its own, and their exact log-likelihood."""
    torch.manual_seed(1)
    model = VAE((6,), latent=2, hidden=(), eta=0.3).double()
    w, b = model.decoder.dense[0].weight.detach(), model.decoder.dense[0].bias.detach()
    marginal = MultivariateNormal(b, w @ w.T + 0.3 * torch.eye(6))
    x = marginal.sample((40,))
    return model, x, marginal.log_prob(x)


# -- likelihood ---------------------------------------------------------------------------------------------------


def test_elbo_below_weighted_bound_below_the_truth(linear):
    model, x, exact = linear
    lower = elbo(model, x, Rng(0), samples=2000)
    bounds = [importance_weighted_bound(model, x, Rng(1), samples) for samples in (10, 5000)]
    assert lower.nats < bounds[0].nats < bounds[1].nats < float(exact.mean()) + 0.02
    assert float(exact.mean()) - lower.nats > 0.05                  # the encoder is untrained: there is a gap to close
    torch.testing.assert_close(bounds[1].per_example, exact, rtol=0, atol=0.5)
    assert abs(bounds[1].nats - float(exact.mean())) < 0.02


def test_elbo_is_that_in_closed_form(linear):
    model, x, _ = linear
    with torch.no_grad():
        mu, logvar = model.encode(x)
        w = model.decoder.dense[0].weight
        squared = (x - model.decode(mu)).square().sum(1) + logvar.exp() @ w.square().sum(0)
        cost = 0.5 * (squared / 0.3 + 6 * math.log(2 * math.pi * 0.3))
        kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).sum(1)
    result = elbo(model, x, Rng(0), samples=20_000)
    torch.testing.assert_close(result.per_example, -cost - kl, rtol=0, atol=0.5)
    assert result.kl == pytest.approx(float(kl.mean()))
    assert result.reconstruction == pytest.approx(float(cost.mean()), abs=0.03)
    assert result.nats == pytest.approx(-result.reconstruction - result.kl)


def test_with_the_exact_posterior_both_bounds_are_the_truth():
    """Every importance weight is then p(x) itself, so one draw is enough."""
    torch.manual_seed(0)
    eta, w = 0.5, torch.tensor([2.0, -1.0]).double()
    model = VAE((2,), latent=1, hidden=(), eta=eta).double()
    variance = eta / (w @ w + eta)
    with torch.no_grad():
        model.decoder.dense[0].weight.copy_(w[:, None])
        model.decoder.dense[0].bias.zero_()
        model.encoder[-1].weight.copy_(torch.stack([w * variance / eta, torch.zeros(2).double()]))
        model.encoder[-1].bias.copy_(torch.stack([torch.zeros(()).double(), variance.log()]))
    x = torch.randn(50, 2).double()
    exact = MultivariateNormal(torch.zeros(2).double(), torch.outer(w, w) + eta * torch.eye(2)).log_prob(x)
    for samples in (1, 7):
        bound = importance_weighted_bound(model, x, Rng(0), samples)
        torch.testing.assert_close(bound.per_example, exact, rtol=1e-6, atol=1e-6)
    assert elbo(model, x, Rng(0), 20_000).nats == pytest.approx(float(exact.mean()), abs=0.01)


@pytest.mark.parametrize("chunk", [1, 30, 7777, 10**6])
def test_the_chunk_bounds_memory_not_the_result(linear, chunk):
    model, x, exact = linear
    decoded = []

    class Watched(VAE):
        def log_likelihood(self, x, z):
            decoded.append(z[..., 0].numel())
            return super().log_likelihood(x, z)

    watched = Watched((6,), latent=2, hidden=(), eta=0.3).double()
    watched.load_state_dict(model.state_dict())
    samples = 20 if chunk == 1 else 300
    bound = importance_weighted_bound(watched, x, Rng(0), samples, chunk)
    assert sum(decoded) == len(x) * samples and max(decoded) <= chunk
    assert bound.nats == pytest.approx(float(exact.mean()), abs=0.4 if chunk == 1 else 0.1)
    decoded.clear()
    lower = elbo(watched, x, Rng(0), samples, chunk)
    assert sum(decoded) == len(x) * samples and max(decoded) <= chunk
    assert len(lower.per_example) == len(x)


def test_results_state_their_settings(linear):
    model, x, _ = linear
    bound = importance_weighted_bound(model, x, Rng(0), samples=12)
    assert (bound.samples, bound.examples, bound.dimensions) == (12, 40, 6)
    assert "S = 12" in str(bound) and "N = 40" in str(bound)
    assert bound.bits_per_dimension == pytest.approx(-bound.nats / 6 / math.log(2))
    assert bound.standard_error == pytest.approx(float(bound.per_example.std()) / math.sqrt(40))


def test_single_precision_bound_of_many_pixels_is_finite():
    model = VAE((1, 28, 28), latent=2, hidden=(8,), observation="bernoulli")
    x = torch.ones(3, 1, 28, 28)
    with torch.no_grad():
        model.decoder.dense[-1].bias.fill_(-50.0)           # log p(x) near -39,200: its exponential is 0
    assert importance_weighted_bound(model, x, Rng(0), 50).nats == pytest.approx(-50 * 784, rel=0.01)


def test_kl_per_dimension():
    mu, logvar = torch.randn(30, 4), torch.randn(30, 4)
    expected = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(kl_per_dimension(mu, logvar), expected)


def test_bits_per_dimension_of_dequantised_greys():
    """Uniform greys: the density of x in [0, 1]^D is 1, its log 0, and a grey of 256 levels costs 8 bits."""
    assert bits_per_dimension(0.0, 784, levels=256) == 8
    assert bits_per_dimension(-784 * math.log(2), 784) == pytest.approx(1)      # a fair coin for every pixel


def test_reconstruction_is_the_mean_squared_error():
    x = torch.randn(50, 6)
    full, half = PCA(6).fit(x), PCA(3).fit(x)
    assert reconstruction(full, x) < 1e-10
    lost = full.explained_variance[3:].sum() * 49 / 50 / 6
    assert reconstruction(half, x) == pytest.approx(float(lost), rel=1e-4)


# -- codes --------------------------------------------------------------------------------------------------------


def test_active_units_count_the_variance_of_the_means():
    mu = torch.tensor([[0.0, 1.0, 0.10, 5.0], [0.0, -1.0, -0.10, 5.0]])         # variances 0, 2, 0.02, 0
    units = active_units(mu)
    assert (units.number, units.threshold, units.examples) == (2, 0.01, 2)
    torch.testing.assert_close(units.variance, torch.tensor([0, 2, 0.02, 0]))
    assert active_units(mu, threshold=0.03).number == 1


def test_mutual_information_of_a_gaussian_channel():
    """z = mu + noise with mu ~ N(0, s^2): I = 1/2 ln(1 + s^2 / v) for each dimension."""
    scale, variance = torch.tensor([1.0, 0.5, 0.0]), torch.tensor([0.25, 0.5, 1.0])
    mu = Rng(0).normal((4000, 3)) * scale
    exact = 0.5 * float((1 + scale.square() / variance).log().sum())
    result = mutual_information(mu, variance.log().expand(4000, 3), Rng(1), samples=2)
    assert result.nats == pytest.approx(exact, abs=0.05)
    # KL(q(z) || p(z)) of the aggregate N(0, s^2 + v) makes up the rest of the mean KL.
    aggregate = kl_divergence(Normal(0.0, (scale.square() + variance).sqrt()), Normal(0.0, 1.0)).sum()
    assert result.kl == pytest.approx(exact + float(aggregate), abs=0.1)


def test_mutual_information_lies_between_nothing_and_ln_n():
    same = mutual_information(torch.zeros(100, 3), torch.zeros(100, 3), Rng(0))
    assert same.nats == pytest.approx(0, abs=1e-9)
    apart = 100.0 * torch.arange(100.0)[:, None].expand(100, 2)
    full = mutual_information(apart, torch.full((100, 2), -12.0), Rng(0), samples=3, chunk=7)
    assert full.nats == pytest.approx(math.log(100), abs=1e-6) and full.nats <= full.ceiling == math.log(100)
    assert (full.examples, full.samples) == (100, 3)
    for seed in range(5):
        some = mutual_information(3 * Rng(seed).normal((50, 8)), Rng(9).normal((50, 8)) - 2, Rng(seed))
        assert some.nats <= math.log(50)


def blobs(n=300):
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=n)
    return torch.tensor(rng.normal(size=(n, 4)) + 8 * np.eye(4)[labels]), torch.tensor(labels)


def test_probes_read_separate_clusters_and_guess_on_noise():
    z, y = blobs()
    train, test = (z[:200], y[:200]), (z[200:], y[200:])
    for result in (knn_accuracy(*train, *test), linear_probe_accuracy(*train, *test)):
        assert result.accuracy == 1 and (result.labels, result.examples) == (200, 100)
    noise = torch.randn(300, 4, generator=torch.Generator().manual_seed(0))
    for probe in (knn_accuracy, linear_probe_accuracy):
        assert probe(noise[:200], y[:200], noise[200:], y[200:]).accuracy < 0.5


def test_probe_with_few_labels():
    z, y = blobs()
    few = linear_probe_accuracy(z[:200], y[:200], z[200:], y[200:], number=6, seed=1)
    assert few.labels == 6 and few.accuracy > 0.9
    assert few == linear_probe_accuracy(z[:200], y[:200], z[200:], y[200:], number=6, seed=1)


def test_linear_probe_cannot_read_a_ring_but_neighbours_can():
    angle = torch.linspace(0, 2 * math.pi, 401)[:-1]
    ring = torch.stack([angle.cos(), angle.sin()], 1) * torch.tensor([1.0, 3.0]).repeat(200)[:, None]
    y = torch.arange(400) % 2                                       # the inner ring and the outer one
    shuffled = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    ring, y = ring[shuffled], y[shuffled]
    assert knn_accuracy(ring[:300], y[:300], ring[300:], y[300:]).accuracy == 1
    assert linear_probe_accuracy(ring[:300], y[:300], ring[300:], y[300:]).accuracy < 0.7


# -- the published check, in small --------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["vae", "iwae"])
def test_the_published_check_runs_resumes_and_reports(tmp_path, model, capsys):
    from dgmlab.experiments import burda

    rng = np.random.default_rng(0)
    for name, number in (("train", 100), ("t10k", 5)):
        images = rng.integers(256, size=(number, 784), dtype=np.uint8)
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(bytes(16) + images.tobytes())

    def check(folder, epochs=12, **more):
        options = {"model": model, "epochs": epochs, "batch-size": 50, "samples": 3, "folder": folder,
                   "data": tmp_path} | more
        burda.main([word for name, value in options.items() for word in (f"--{name}", str(value))])

    check(tmp_path / "run")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["steps"] == 24 and result["draws"] == 5000 and result["test_images"] == 5
    assert result["test_elbo"] < result["test_bound"] < -300        # noise: nothing does better than a coin a pixel
    assert result["seconds"] > 0 and str(tmp_path) not in json.dumps(result)
    check(tmp_path / "run")                                         # finished: nothing is trained again
    assert json.loads((tmp_path / "run" / "result.json").read_text())["test_bound"] == result["test_bound"]
    check(tmp_path / "warm", epochs=1, **{"warm-start": tmp_path / "run"})
    assert "--warm-start run" in (tmp_path / "warm" / "result.json").read_text()
    with pytest.raises(SystemExit, match="no checkpoint"):
        check(tmp_path / "cold", **{"warm-start": tmp_path / "nowhere"})


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call, words", [
    (lambda: importance_weighted_bound(VAE((2,)), torch.rand(3, 2), Rng(0), samples=0), "samples S is 0"),
    (lambda: importance_weighted_bound(VAE((2,)), torch.rand(0, 2), Rng(0)), "at least one example"),
    (lambda: importance_weighted_bound(VAE((2,)), torch.rand(3, 5), Rng(0)), r"built for \(batch, 2\)"),
    (lambda: elbo(VAE((2,)), torch.rand(3, 2), Rng(0), samples=-1), "samples S is -1"),
    (lambda: elbo(VAE((2,)), torch.rand(3, 2), Rng(0), chunk=0), "chunk is 0"),
    (lambda: bits_per_dimension(-3.0, 0), "dimensions is 0"),
    (lambda: active_units(torch.rand(1, 4)), "at least 2 examples"),
    (lambda: active_units(torch.rand(5, 4), threshold=-1), "threshold is -1"),
    (lambda: mutual_information(torch.rand(5, 4), torch.rand(5, 3), Rng(0)), "must agree"),
    (lambda: mutual_information(torch.rand(5, 4), torch.rand(5, 4), Rng(0), samples=0), "samples is 0"),
    (lambda: knn_accuracy(torch.rand(5, 2), torch.zeros(4), torch.rand(2, 2), torch.zeros(2)), "agree"),
    (lambda: knn_accuracy(torch.rand(5, 2), torch.zeros(5), torch.rand(2, 2), torch.zeros(2), 9), "neighbours is 9"),
    (lambda: linear_probe_accuracy(torch.rand(5, 2), torch.zeros(5), torch.rand(2, 2), torch.zeros(2)), "one class"),
    (lambda: linear_probe_accuracy(torch.rand(6, 2), torch.arange(6) % 2, torch.rand(2, 2), torch.zeros(2), number=1),
     "labels is 1"),
])
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(LabError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
