"""The models against closed forms and against the libraries that know them."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent, MultivariateNormal, Normal, kl_divergence

from dgmlab.errors import LabError
from dgmlab.models.autoencoder import Autoencoder
from dgmlab.models.generator import Generator, density, preimages
from dgmlab.models.iwae import IWAE
from dgmlab.models.nets import conv_stages, mlp
from dgmlab.models.pca import PCA
from dgmlab.models.vae import VAE, kl_to_prior
from dgmlab.rng import Rng

SHAPE = (1, 8, 8)
KNOBS = SimpleNamespace(beta=1.0, lr=1e-3)


def images(n=16, shape=SHAPE, seed=0, dtype=torch.float32):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def posterior(mu, logvar):
    return Normal(mu, (0.5 * logvar).exp())


# -- the VAE ------------------------------------------------------------------------------------------------------


def test_kl_is_that_of_torch_distributions():
    mu, logvar = torch.randn(7, 5).double(), torch.randn(7, 5).double()
    expected = kl_divergence(posterior(mu, logvar), Normal(torch.zeros(7, 5).double(), 1.0))
    torch.testing.assert_close(kl_to_prior(mu, logvar), expected)


def test_kl_gradients():
    arguments = [torch.randn(3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(kl_to_prior, arguments)


@pytest.mark.parametrize("observation", ["gaussian", "learned", "bernoulli"])
def test_log_likelihood_is_that_of_torch_distributions(observation):
    torch.manual_seed(0)
    model = VAE(SHAPE, latent=3, hidden=(16,), observation=observation, eta=0.3).double()
    x, z = images(dtype=torch.float64).round(), torch.randn(4, 16, 3).double()      # four codes an example
    mean = model.decode(z)
    if observation == "bernoulli":
        expected = Independent(Bernoulli(probs=mean), 3).log_prob(x)
    else:
        expected = Independent(Normal(mean, math.sqrt(0.3)), 3).log_prob(x)
    torch.testing.assert_close(model.log_likelihood(x, z), expected, rtol=1e-6, atol=1e-5)


def test_gradient_of_the_learned_noise():
    torch.manual_seed(0)
    model = VAE((2,), latent=1, hidden=(), observation="learned").double()
    x, z = torch.randn(3, 2).double(), torch.randn(3, 1).double()

    def likelihood(log_eta):
        return torch.func.functional_call(_Likelihood(model), {"model.log_eta": log_eta}, (x, z))

    assert torch.autograd.gradcheck(likelihood, model.log_eta.detach().clone().requires_grad_())


class _Likelihood(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, z):
        return self.model.log_likelihood(x, z)


def test_learned_noise_finds_the_variance_of_the_residual():
    """At the optimum of log p(x | z) over eta, eta is the mean squared residual."""
    model = VAE((4,), latent=2, hidden=(), observation="learned", eta=1.0).double()
    x, z = torch.randn(200, 4).double(), torch.zeros(200, 2).double()
    optimum = (x - model.decode(z)).square().mean().log()
    with torch.no_grad():
        model.log_eta.copy_(optimum)
    assert model.eta == pytest.approx(float(optimum.detach().exp()))
    slope, = torch.autograd.grad(model.log_likelihood(x, z).sum(), model.log_eta)
    assert abs(float(slope)) < 1e-9
    assert isinstance(model.log_eta, torch.nn.Parameter)
    assert "log_eta" not in dict(VAE((4,), observation="gaussian").named_parameters())


def test_extreme_logits_stay_finite():
    model = VAE((2,), latent=1, hidden=(), observation="bernoulli")
    with torch.no_grad():
        model.decoder.dense[0].bias.copy_(torch.tensor([1e4, -1e4]))
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    values = model.log_likelihood(x, torch.zeros(2, 1))
    torch.testing.assert_close(values, torch.tensor([0.0, -2e4]))


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
def test_the_loss_is_reconstruction_plus_beta_kl(beta):
    torch.manual_seed(0)
    model, x = VAE(SHAPE, latent=4, hidden=(32,)), images()
    terms = model.loss((x, torch.arange(16)), SimpleNamespace(beta=beta), Rng(5))
    mu, logvar = model.encode(x)
    z = mu + (0.5 * logvar).exp() * Rng(5).normal(mu.shape)
    torch.testing.assert_close(terms["reconstruction"], -model.log_likelihood(x, z).mean())
    torch.testing.assert_close(terms["kl"], kl_divergence(posterior(mu, logvar), Normal(0.0, 1.0)).sum(1).mean())
    torch.testing.assert_close(terms["loss"], terms["reconstruction"] + beta * terms["kl"])


def test_beta_may_be_a_tensor():
    model, x = VAE(SHAPE, latent=2, hidden=(8,)), images()
    one = model.loss((x,), SimpleNamespace(beta=torch.tensor(2.0)), Rng(0))["loss"]
    torch.testing.assert_close(one, model.loss((x,), SimpleNamespace(beta=2.0), Rng(0))["loss"])


def test_noise_comes_only_from_the_rng():
    model, x = VAE(SHAPE, latent=2, hidden=(8,)), images()
    before = torch.get_rng_state()
    first = model.loss((x,), KNOBS, Rng(3))["loss"]
    torch.manual_seed(99)
    assert torch.equal(first, model.loss((x,), KNOBS, Rng(3))["loss"])
    torch.set_rng_state(before)
    model.sample(3, Rng(1))
    model.log_weights(x, Rng(1), 3)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("body, shape", [("mlp", (1, 8, 8)), ("mlp", (2,)), ("conv", (1, 8, 8)), ("conv", (1, 28, 28)),
                                         ("conv", (3, 32, 32)), ("conv", (3, 64, 64)), ("conv", (2, 17, 9))])
def test_shapes_and_gradients_for_all_bodies(body, shape):
    model, x = VAE(shape, latent=3, hidden=(16,), body=body), images(5, shape)
    mu, logvar = model.encode(x)
    assert mu.shape == logvar.shape == (5, 3)
    assert model.decode(mu).shape == model.reconstruct(x).shape == x.shape
    assert model.sample(7, Rng(0)).shape == (7, *shape)
    model.loss((x,), KNOBS, Rng(0))["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_conv_stages_end_below_a_side_of_eight():
    assert conv_stages((1, 28, 28)) == [(1, 28, 28), (32, 14, 14), (64, 7, 7)]
    assert conv_stages((1, 8, 8)) == [(1, 8, 8), (32, 4, 4)]


def test_a_little_training_helps():
    torch.manual_seed(0)
    model, x, rng = VAE(SHAPE, latent=4, hidden=(64,)), images(64), Rng(0)
    optimizer = model.optimizer("model", list(model.parameters()))
    losses = []
    for _ in range(100):
        terms = model.loss((x,), KNOBS, rng)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(float(terms["loss"].detach()))
    assert losses[-1] < losses[0] - 30


# -- the IWAE -----------------------------------------------------------------------------------------------------


def test_log_weights_are_the_ratio_of_the_densities():
    torch.manual_seed(0)
    model, x = IWAE(SHAPE, latent=3, hidden=(16,)).double(), images(dtype=torch.float64)
    rng = SimpleNamespace(normal=lambda shape: torch.full(shape, 0.7, dtype=torch.float64))
    mu, logvar = model.encode(x)
    z = mu + (0.5 * logvar).exp() * 0.7
    log_p, log_q = Normal(0.0, 1.0).log_prob(z).sum(1), posterior(mu, logvar).log_prob(z).sum(1)
    expected = model.log_likelihood(x, z) + log_p - log_q
    torch.testing.assert_close(model.log_weights(x, rng, 2), expected.expand(2, -1))
    torch.testing.assert_close(model.log_weights(x, rng, 1, beta=4.0)[0],
                               model.log_likelihood(x, z) + 4 * (log_p - log_q))


def test_iwae_with_one_sample_is_the_elbo():
    """In expectation: the IWAE draws log p(z) - log q(z | x), the VAE knows its mean in closed form."""
    torch.manual_seed(0)
    iwae, x = IWAE(SHAPE, latent=3, hidden=(16,), samples=1), images(4)
    vae = VAE(SHAPE, latent=3, hidden=(16,))
    vae.load_state_dict(iwae.state_dict())
    many = x.repeat(5000, 1, 1, 1)
    with torch.no_grad():
        reconstruction, kl = vae.elbo_terms(many, Rng(0))
        weights = iwae.log_weights(many, Rng(1), 1)[0]
        difference = weights + reconstruction + kl
        assert abs(float(difference.mean())) < 4 * float(difference.std()) / math.sqrt(len(many))
        torch.testing.assert_close(iwae.loss((many,), KNOBS, Rng(1))["loss"], -weights.mean())


def test_iwae_gradient_weighs_each_draw():
    """Burda et al. 2016, eq. 14: the gradient is the mean of the draws' gradients under the normalised weights."""
    torch.manual_seed(0)
    model, x = IWAE(SHAPE, latent=2, hidden=(8,), samples=5).double(), images(3, dtype=torch.float64)
    draws = Rng(2).normal((3, 5, 2)).double()
    rng = SimpleNamespace(normal=lambda shape: draws)
    gradients = torch.autograd.grad(model.loss((x,), KNOBS, rng)["loss"], model.parameters())
    log_weights = model.log_weights(x, rng, 5)
    weighted = -(log_weights.softmax(0).detach() * log_weights).sum(0).mean()
    for one, other in zip(gradients, torch.autograd.grad(weighted, model.parameters()), strict=True):
        torch.testing.assert_close(one, other)


# -- exact likelihood: a linear VAE is probabilistic PCA ----------------------------------------------------------


def linear_vae(latent=2, d=5, eta=0.2):
    """A VAE with linear maps, and the exact marginal and posteriors of its decoder (Tipping & Bishop 1999)."""
    torch.manual_seed(1)
    model = VAE((d,), latent, hidden=(), eta=eta).double()
    w, b = model.decoder.dense[0].weight.detach(), model.decoder.dense[0].bias.detach()
    marginal = MultivariateNormal(b, w @ w.T + eta * torch.eye(d))
    inverse = torch.linalg.inv(w.T @ w + eta * torch.eye(latent).double())

    def exact_posterior(x):
        return MultivariateNormal((x - b) @ w @ inverse, eta * inverse)

    return model, marginal, exact_posterior


def test_the_gap_of_the_elbo_is_the_kl_to_the_posterior():
    model, marginal, exact_posterior = linear_vae()
    x = marginal.sample((6,))
    with torch.no_grad():
        mu, logvar = model.encode(x)
        # E_q of the squared error in closed form: no sampling anywhere.
        w = model.decoder.dense[0].weight
        squared = (x - model.decode(mu)).square().sum(1) + (logvar.exp() @ w.square().sum(0))
        elbo = (-0.5 * (squared / 0.2 + 5 * math.log(2 * math.pi * 0.2)) - kl_to_prior(mu, logvar).sum(1))
        q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
        gap = kl_divergence(q, exact_posterior(x))
    torch.testing.assert_close(elbo + gap, marginal.log_prob(x))
    with torch.no_grad():                                       # and the sampled terms have that mean
        many = x.repeat(20_000, 1)
        sampled = -sum(model.elbo_terms(many, Rng(0))).reshape(-1, 6).mean(0)
    torch.testing.assert_close(sampled, elbo, rtol=0.02, atol=0.05)


# -- the autoencoder and PCA --------------------------------------------------------------------------------------


def test_autoencoder_interface():
    torch.manual_seed(0)
    model, x = Autoencoder(SHAPE, latent=5, hidden=(32, 16)), images()
    code = model.encode(x)
    assert code.shape == (16, 5) and model.decode(code).shape == x.shape
    terms = model.loss((x,), SimpleNamespace(lr=1e-3, noise=0.0), Rng(0))
    torch.testing.assert_close(terms["loss"], (model.reconstruct(x) - x).square().mean())


def test_pca_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA as Reference

    x = torch.tensor(np.random.default_rng(0).normal(size=(60, 1, 4, 5)) * np.arange(1, 6))
    ours, theirs = PCA(4).fit(x), Reference(4, svd_solver="full").fit(x.flatten(1).numpy())
    np.testing.assert_allclose(ours.components, theirs.components_, atol=1e-10)
    np.testing.assert_allclose(ours.explained_variance, theirs.explained_variance_)
    np.testing.assert_allclose(ours.explained_variance_ratio, theirs.explained_variance_ratio_)
    codes = theirs.transform(x.flatten(1).numpy())
    np.testing.assert_allclose(ours.encode(x), codes, atol=1e-10)
    np.testing.assert_allclose(ours.reconstruct(x).flatten(1), theirs.inverse_transform(codes), atol=1e-10)


def test_no_linear_autoencoder_beats_pca():
    x = images(100, (1, 4, 4), dtype=torch.float64)
    pca = PCA(3).fit(x)
    best = float((pca.reconstruct(x) - x).square().mean())
    torch.manual_seed(0)
    model = Autoencoder((1, 4, 4), latent=3, hidden=()).double()
    with torch.no_grad():                                       # the autoencoder at PCA's optimum
        model.encoder[-1].weight.copy_(pca.components)
        model.encoder[-1].bias.copy_(-pca.components @ pca.mean)
        model.decoder.dense[-1].weight.copy_(pca.components.T)
        model.decoder.dense[-1].bias.copy_(pca.mean)
    loss = model.loss((x,), SimpleNamespace(noise=0.0), Rng(0))["loss"]
    assert math.isclose(float(loss.detach()), best, rel_tol=1e-9)
    for gradient in torch.autograd.grad(loss, model.parameters()):
        assert float(gradient.abs().max()) < 1e-9


# -- the generator ------------------------------------------------------------------------------------------------


def test_density_of_an_affine_map():
    x = torch.linspace(-5, 9, 201, dtype=torch.float64)
    expected = Normal(torch.tensor(2.0).double(), 1.5).log_prob(x).exp()
    torch.testing.assert_close(density(lambda z: 2 - 1.5 * z, x), expected, rtol=1e-8, atol=1e-12)


def test_density_of_an_exponential_map():
    x = torch.linspace(0.05, 6, 200, dtype=torch.float64)
    expected = torch.distributions.LogNormal(torch.tensor(0.0).double(), 1.0).log_prob(x).exp()
    torch.testing.assert_close(density(torch.exp, x), expected, rtol=1e-7, atol=1e-12)
    assert not density(torch.exp, torch.tensor([-1.0])).any()


def test_density_with_two_pre_images_is_chi_squared():
    x = torch.linspace(0.01, 8, 300, dtype=torch.float64)
    expected = torch.distributions.Chi2(torch.tensor(1.0).double()).log_prob(x).exp()
    torch.testing.assert_close(density(torch.square, x), expected, rtol=1e-6, atol=1e-12)


def test_pre_images_are_all_found():
    x = torch.tensor([0.3, 5.0, -0.9], dtype=torch.float64)
    which, z = preimages(torch.sin, x, limit=2 * math.pi)
    torch.testing.assert_close(torch.sin(z), x[which], rtol=0, atol=1e-9)
    assert torch.bincount(which, minlength=3).tolist() == [4, 0, 4]


def test_density_of_a_network_is_that_of_its_histogram():
    torch.manual_seed(0)
    model = Generator(hidden=(32, 32)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    with torch.no_grad():
        draws = model(Rng(0).normal((1_000_000, 1)).double())[:, 0]
    edges = torch.linspace(float(draws.min()) - 0.01, float(draws.max()) + 0.01, 121, dtype=torch.float64)
    counts = torch.histogram(draws, edges).hist
    offsets = (torch.arange(200, dtype=torch.float64) + 0.5) / 200                  # 200 points in each of 120 bins
    points = (edges[:-1, None] + (edges[1:] - edges[:-1])[:, None] * offsets).flatten()
    mass = model.density(points).reshape(120, 200).mean(1) * (edges[1] - edges[0])
    assert float(mass.sum()) == pytest.approx(1, abs=0.01)
    common = mass > 0.002                                       # bins with at least 2,000 expected draws
    off = (counts / 1e6 - mass).abs() > 0.1 * mass              # an infinite peak within a bin is not averaged well
    assert int(common.sum()) >= 20 and int((off & common).sum()) <= 2


def test_generator_shapes():
    for shape, body, output in (((2,), "mlp", "linear"), ((1, 8, 8), "mlp", "sigmoid"), ((3, 16, 16), "conv", "tanh")):
        model = Generator(4, shape, (16,), body, output=output)
        x = model.sample(6, Rng(0))
        assert x.shape == (6, *shape)
        if output == "sigmoid":
            assert 0 <= float(x.min()) and float(x.max()) <= 1


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make, words", [
    (lambda: VAE(latent=0), "latent dimensions is 0"),
    (lambda: VAE(latent=2.5), "whole number"),
    (lambda: VAE(body="transformer"), "one of: mlp, conv"),
    (lambda: VAE(observation="poisson"), "one of: gaussian, learned, bernoulli"),
    (lambda: VAE(eta=-0.1), "eta is -0.1"),
    (lambda: VAE(eta=0), "eta is 0"),
    (lambda: VAE(activation="sine"), "one of: relu"),
    (lambda: VAE(hidden=256), r"such as \(256,\)"),
    (lambda: VAE(hidden=(64, 0)), "hidden size is 0"),
    (lambda: VAE(shape=(1, 4, 4), body="conv"), "body='mlp'"),
    (lambda: VAE(shape=(0, 8, 8)), r"such as \(1, 8, 8\)"),
    (lambda: VAE(shape=8), r"such as \(1, 8, 8\)"),
    (lambda: VAE(SHAPE).encode(torch.rand(3, 1, 28, 28)), r"built for \(batch, 1, 8, 8\)"),
    (lambda: VAE(SHAPE).encode(torch.rand(3, 64)), r"shape=\(64,\)"),
    (lambda: VAE(SHAPE).sample(0, Rng(0)), "samples is 0"),
    (lambda: IWAE(samples=0), "samples k is 0"),
    (lambda: Autoencoder(latent=-1), "latent dimensions is -1"),
    (lambda: Autoencoder(SHAPE).encode(torch.rand(3, 64)), "Autoencoder was built"),
    (lambda: PCA(0), "components is 0"),
    (lambda: PCA(5).fit(torch.rand(3, 10)), "at most 3"),
    (lambda: PCA(2).encode(torch.rand(3, 10)), "call fit"),
    (lambda: PCA(2).fit(torch.rand(9, 4)).encode(torch.rand(3, 5)), r"built for \(batch, 4\)"),
    (lambda: Generator(2, (2,)).density(torch.zeros(3)), "one number in, one number out"),
    (lambda: Generator(output="step"), "one of: linear"),
    (lambda: density(torch.exp, torch.tensor([math.nan])), "finite"),
    (lambda: mlp([2, 2], "sine"), "one of: relu"),
])
def test_bad_input_is_one_sentence(make, words):
    with pytest.raises(LabError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
