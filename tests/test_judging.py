"""How generators are judged: the metrics against closed forms, brute force and torchmetrics; annealed importance
sampling where the likelihood is exact; what each failing generator does to each metric."""

import math

import pytest
import torch
from torch import nn

from dgmlab.data import load
from dgmlab.data.base import Dataset, Split
from dgmlab.data.densities import density
from dgmlab.errors import LabError
from dgmlab.experiments import judging, judging_claims, likelihoods
from dgmlab.experiments.spoiling import Bench
from dgmlab.metrics import inception
from dgmlab.metrics.ais import LinearGaussian, NoisyDecoder, ais, ais_back, bidirectional, sigmoid_temperatures
from dgmlab.metrics.features import (
    density_coverage,
    inception_score,
    kernel_distance,
    precision_recall,
    size_curve,
)
from dgmlab.metrics.frechet import frechet_between, frechet_distance
from dgmlab.metrics.parzen import choose_width, parzen
from dgmlab.metrics.samples import classes_covered, modes_covered
from dgmlab.models.classifier import Classifier
from dgmlab.models.vae import VAE
from dgmlab.rng import Rng


def normal(seed, *shape):
    return Rng(seed).normal(shape).double()


# -- the classifier ----------------------------------------------------------------------------------------------------


def test_the_judge_knows_the_digits_and_is_made_once():
    digits = load("digits")
    judge = judging.judge("digits")
    assert judge.accuracy(digits.test.x, digits.test.y) > 0.95
    assert judging.judge("digits") is judge and judging.judge("digits", seed=1) is not judge
    features = judge.features(digits.test.x)
    assert features.shape == (300, 64) and features.min() >= 0
    torch.testing.assert_close(judge.network[-1](features), judge(digits.test.x))      # the logits are linear in them
    assert not any(p.requires_grad for p in judge.parameters())


def test_real_digits_are_near_real_ones_and_noise_is_not():
    digits = load("digits")
    real = judging.real_against_real("digits")
    assert 0.3 < real < 3                                       # what the head of judging.py says is 1.1
    assert judging.frechet(digits.test.x) == pytest.approx(real)
    assert judging.frechet(digits.train.x) == pytest.approx(0, abs=1e-4)
    assert judging.frechet(Rng(0).uniform((300, 1, 8, 8))) > 50 * real
    assert judging.frechet(digits.test.x, digits.valid.x) < 5


def test_a_judge_for_chosen_letters():
    options = {"characters": "AB", "fonts": ["DejaVuSans", "cmr10"], "n": 400}
    judge = judging.judge("glyphs", **options)
    data = load("glyphs", **options)
    assert judge.classes == 2 and judge.accuracy(data.test.x, data.test.y) > 0.9
    assert judging.features(data.test.x, "glyphs", **options).shape == (len(data.test), 64)


def test_training_a_classifier_is_a_run_that_can_be_made_again():
    from dgmlab.experiments import build

    run = judging.make_run("digits", steps=20)
    first = [tick["loss"] for tick in run.steps(20)]
    assert [tick["loss"] for tick in build(run.spec).steps(20)] == first and first[-1] < first[0]


@pytest.mark.parametrize("make, says", [
    (lambda: Classifier(classes=1), "one class only"),
    (lambda: Classifier()(torch.zeros(3, 1, 9, 9)), "was built for"),
    (lambda: Classifier().accuracy(torch.zeros(0, 1, 8, 8), torch.zeros(0)), "at least one example"),
    (lambda: judging.train_judge(one_class()), "one class only"),
    (lambda: judging.judge("digit"), "must be one of"),
])
def test_what_a_classifier_refuses(make, says):
    with pytest.raises(LabError, match=says):
        make()


def one_class():
    x = torch.zeros(10, 1, 8, 8)
    split = Split(x, torch.zeros(10, dtype=torch.int64))
    return Dataset("ones", split, split, split, ("0", "1"), "", "")


# -- the Fréchet distance ----------------------------------------------------------------------------------------------


def test_between_gaussians_the_closed_form():
    a, b = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 6.0])
    # Diagonal covariances: |m_a - m_b|^2 + sum (s_a - s_b)^2
    assert frechet_between(a, torch.diag(torch.tensor([4.0, 9.0])), b, torch.diag(torch.tensor([1.0, 25.0]))) \
        == pytest.approx(25 + 1 + 4)
    # One rotated into the other: tr C + tr C' - 2 tr (C C')^(1/2), with 2x2 matrices by hand
    c, d = torch.tensor([[2.0, 1.0], [1.0, 2.0]]).double(), torch.tensor([[2.0, -1.0], [-1.0, 2.0]]).double()
    root_trace = math.sqrt((c @ d).trace() + 2 * math.sqrt(float((c @ d).det())))
    assert frechet_between(a, c, a, d) == pytest.approx(8 - 2 * root_trace)


def test_frechet_of_samples_approaches_that_of_the_gaussians():
    x, y = normal(0, 40_000, 3), 2 * normal(1, 40_000, 3) + 1
    assert frechet_distance(x, y) == pytest.approx(3 + 3, rel=0.03)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(x, y) == pytest.approx(frechet_distance(y, x))
    assert frechet_distance(x[:3], y[:3]) >= 0                  # covariances without full rank


class Identity(nn.Module):
    """"Images" whose features are themselves, for torchmetrics."""

    num_features = 8

    def forward(self, x):
        return x.flatten(1).float()


@pytest.fixture
def images():
    torchmetrics = pytest.importorskip("torchmetrics.image", reason="the extra bench is not installed")
    pytest.importorskip("torch_fidelity", reason="the extra judge is not installed")
    return torchmetrics, normal(3, 150, 8), 0.7 * normal(4, 150, 8) + 0.3


def test_frechet_is_that_of_torchmetrics(images):
    torchmetrics, a, b = images
    theirs = torchmetrics.fid.FrechetInceptionDistance(feature=Identity(), input_img_size=(1, 1, 8))
    theirs.update(a.reshape(-1, 1, 1, 8).float(), real=True)
    theirs.update(b.reshape(-1, 1, 1, 8).float(), real=False)
    assert frechet_distance(a, b) == pytest.approx(float(theirs.compute()), rel=1e-3)


def test_kid_is_that_of_torchmetrics(images):
    torchmetrics, a, b = images
    theirs = torchmetrics.kid.KernelInceptionDistance(feature=Identity(), subsets=1, subset_size=150)
    theirs.update(a.reshape(-1, 1, 1, 8).float(), real=True)
    theirs.update(b.reshape(-1, 1, 1, 8).float(), real=False)
    assert kernel_distance(a, b) == pytest.approx(float(theirs.compute()[0]), rel=1e-3)


def test_inception_score_is_that_of_torchmetrics(images):
    torchmetrics, a, _ = images
    theirs = torchmetrics.inception.InceptionScore(feature=Identity(), splits=1)
    theirs.update(a.reshape(-1, 1, 1, 8).float())
    assert inception_score(a) == pytest.approx(float(theirs.compute()[0]), rel=1e-4)


# -- the other metrics on features -------------------------------------------------------------------------------------


def test_kid_is_unbiased_and_frechet_is_not():
    def draw(n, rng):
        return rng.normal((n, 4)).double()

    real = normal(9, 300, 4)
    kid = size_curve(kernel_distance, draw, real, (5, 200), 400, 0)
    fid = size_curve(frechet_distance, draw, real, (5, 200), 50, 0)
    assert abs(kid[0].mean - kid[1].mean) < 4 * kid[0].sd / math.sqrt(400)
    assert fid[0].mean - fid[1].mean > 10 * fid[0].sd / math.sqrt(50)
    assert kid[0].sd > kid[1].sd


def test_kid_by_hand():
    a, b = torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [1.0]])
    # k(x, y) = (x y + 1)^3: within a k(1, 2) = 27; within b k(0, 1) = 1; across 1, 8, 1, 27
    assert kernel_distance(a, b) == pytest.approx(27 + 1 - 2 * (1 + 8 + 1 + 27) / 4)


def test_inception_score_from_one_to_the_number_of_classes():
    sure = 100 * torch.eye(10)
    assert inception_score(sure) == pytest.approx(10)
    assert inception_score(sure[:1].expand(5, -1)) == pytest.approx(1)          # one class only
    assert inception_score(torch.zeros(7, 10)) == pytest.approx(1)              # no idea
    assert inception_score(sure[:3]) == pytest.approx(3)


def brute_force(samples, real, k):
    """Precision, recall, density and coverage, ball by ball."""
    def balls(x):
        return [sorted(float((a - b).norm()) for b in x)[k] for a in x]

    inside = [[float((s - r).norm()) <= ball for r, ball in zip(real, balls(real))] for s in samples]
    around = [any(float((r - s).norm()) <= ball for s, ball in zip(samples, balls(samples))) for r in real]
    return (sum(map(any, inside)) / len(samples), sum(around) / len(real), sum(map(sum, inside)) / len(samples) / k,
            sum(any(row[i] for row in inside) for i in range(len(real))) / len(real))


def test_neighbourhoods_against_brute_force():
    real, samples = normal(5, 40, 2), 0.5 * normal(6, 30, 2) + 0.7
    found = (*precision_recall(samples, real, 4), *density_coverage(samples, real, 4))
    assert found == pytest.approx(brute_force(samples, real, 4))


def test_neighbourhoods_on_constructed_sets():
    real = torch.cat([normal(7, 100, 2), normal(8, 100, 2) + 50])       # two clusters, far apart
    half = normal(9, 200, 2)                                            # only one of them
    assert precision_recall(half, real).precision > 0.9
    assert precision_recall(half, real).recall < 0.55
    assert density_coverage(half, real).coverage == pytest.approx(0.5, abs=0.05)
    far = half + 1000
    assert precision_recall(far, real) == (0, 0) and density_coverage(far, real) == (0, 0)
    assert precision_recall(real, real) == (1, 1)
    assert density_coverage(real, real) == (pytest.approx(1), 1)        # copies look like perfect samples


def test_density_of_real_samples_is_one_on_average():
    found = [density_coverage(normal(100 + i, 200, 3), normal(200 + i, 300, 3)).density for i in range(30)]
    assert sum(found) / 30 == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("metric", [frechet_distance, kernel_distance, precision_recall, density_coverage])
@pytest.mark.parametrize("a, b, says", [
    (torch.zeros(1, 3), torch.zeros(9, 3), "at least 2 examples"),
    (torch.zeros(9, 3), torch.zeros(9, 4), "same classifier"),
    (torch.zeros(9), torch.zeros(9, 3), r"\(examples, features\)"),
    (torch.full((9, 3), math.nan), torch.zeros(9, 3), "9 of 9 examples have a feature that is not finite"),
])
def test_what_metrics_on_features_refuse(metric, a, b, says):
    with pytest.raises(LabError, match=says):
        metric(a, b)


@pytest.mark.parametrize("make, says", [
    (lambda: precision_recall(normal(0, 3, 2), normal(1, 9, 2)), "3-th nearest neighbour needs at least 4"),
    (lambda: density_coverage(normal(0, 9, 2), normal(1, 9, 2), 0), "number of neighbours k"),
    (lambda: inception_score(torch.zeros(4, 1)), "at least two classes"),
    (lambda: inception_score(torch.tensor([[math.inf, 0.0]])), "not finite"),
    (lambda: size_curve(frechet_distance, normal(0, 20, 2), normal(1, 20, 2), (50,)), "from 2 to 20"),
    (lambda: classes_covered(torch.tensor([3]), 3), "from 0 to 2"),
    (lambda: classes_covered(torch.tensor([]), 3), "at least one sample"),
])
def test_what_else_is_refused(make, says):
    with pytest.raises(LabError, match=says):
        make()


def test_modes_and_classes_are_counted():
    ring = density("ring")
    assert modes_covered(ring.sample(2000), ring)[0] == 8
    assert modes_covered(ring.modes[:3].repeat(100, 1), ring) == (3, 1.0)
    number, shares = classes_covered(torch.tensor([0] * 50 + [1] * 49 + [2]), 4)
    assert number == 2 and shares.tolist() == pytest.approx([0.5, 0.49, 0.01, 0])


# -- likelihood by annealing -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gaussian():
    rng = Rng(0)
    model = LinearGaussian(rng.normal((10, 3)), rng.normal((10,)), 0.05)
    return model, *model.simulate(20, rng)


def test_annealing_finds_the_exact_likelihood(gaussian):
    model, x, z = gaussian
    exact = model.log_evidence(x)
    lower, upper = ais(model, x, Rng(1), 8, 200, 2), ais_back(model, x, z, Rng(2), 8, 200, 2)
    assert lower.nats == pytest.approx(float(exact.mean()), abs=0.3)
    assert upper.nats == pytest.approx(float(exact.mean()), abs=0.3)
    assert (lower.per_example - exact).abs().max() < 1.5
    assert 0.4 < lower.acceptance < 0.9 and (lower.effective >= 1).all() and (lower.effective <= 8).all()


def test_with_few_temperatures_the_bounds_are_apart_and_enclose_the_truth(gaussian):
    model, x, z = gaussian
    exact = float(model.log_evidence(x).mean())
    gaps = []
    for steps in (5, 50, 500):
        lower, upper = ais(model, x, Rng(1), 4, steps), ais_back(model, x, z, Rng(2), 4, steps)
        gaps.append(upper.nats - lower.nats)
        assert lower.nats < exact + 0.3 and upper.nats > exact - 0.3
    assert gaps[0] > 2 * gaps[1] and gaps[1] > 2 * gaps[2]


def test_one_temperature_is_importance_sampling_from_the_prior():
    # Of one latent number and much noise the prior is good enough: log mean p(x | z) itself.
    model = LinearGaussian(torch.tensor([[0.5]]), torch.zeros(1), 1.0)
    x = torch.tensor([[0.3], [2.0]])
    found = ais(model, x, Rng(0), chains=20_000, steps=1)
    torch.testing.assert_close(found.per_example, model.log_evidence(x), atol=0.02, rtol=0)
    assert math.isnan(found.acceptance)


def test_the_sigmoid_spacing_is_worse_here_but_right(gaussian):
    model, x, _ = gaussian
    exact = float(model.log_evidence(x).mean())
    sigmoid = ais(model, x, Rng(1), 8, 200, 2, spacing="sigmoid").nats
    assert sigmoid < exact + 0.3
    betas = sigmoid_temperatures(10)
    assert betas[0] == 0 and betas[-1] == 1 and (betas.diff() > 0).all()
    torch.testing.assert_close(betas + betas.flip(0), torch.ones(11, dtype=torch.float64))


def test_probabilistic_pca_in_closed_form():
    x = normal(1, 5000, 2) @ torch.tensor([[2.0, 0.0, 1.0], [0.0, 1.0, 0.0]]).double() + 0.3 * normal(2, 5000, 3)
    model = LinearGaussian.fitted(x, 2)
    assert model.eta == pytest.approx(0.09, rel=0.05)
    covariance = model.weight @ model.weight.T + model.eta * torch.eye(3)
    torch.testing.assert_close(covariance.double(), torch.cov(x.T), atol=0.02, rtol=0)
    best = model.log_evidence(x).mean()
    for worse in (LinearGaussian(model.weight * 1.05, model.bias, model.eta),
                  LinearGaussian(model.weight, model.bias, model.eta * 1.05)):
        assert worse.log_evidence(x).mean() < best


def test_a_vae_and_its_decoder_with_noise_agree():
    torch.manual_seed(0)
    vae = VAE((1, 8, 8), latent=3, hidden=(16,), eta=0.05).requires_grad_(False)
    noisy = NoisyDecoder(vae.decode, 3, 0.05)
    x, z = Rng(1).uniform((5, 1, 8, 8)), Rng(2).normal((7, 5, 3))
    torch.testing.assert_close(noisy.log_likelihood(x, z), vae.log_likelihood(x, z))
    a, b = (ais(model, x, Rng(3), 4, 20) for model in (vae, noisy))
    torch.testing.assert_close(a.per_example, b.per_example, atol=0.01, rtol=1e-3)
    assert a.dimensions == 64 and a.samples == 4 and "T = 20" in str(a)


def test_annealing_is_repeatable_and_leaves_the_model_alone(gaussian):
    model, x, _ = gaussian
    first, again = (bidirectional(model, 4, Rng(5), 2, 10) for _ in range(2))
    assert torch.equal(first.lower.per_example, again.lower.per_example) and first.gap == again.gap


@pytest.mark.parametrize("make, says", [
    (lambda m, x, z: ais(m, x[0], Rng(0)), "a single one is"),
    (lambda m, x, z: ais(m, x * math.nan, Rng(0)), "not finite"),
    (lambda m, x, z: ais(m, x, Rng(0), chains=0), "number of chains"),
    (lambda m, x, z: ais(m, x, Rng(0), steps=0), "number of temperatures"),
    (lambda m, x, z: ais(m, x, Rng(0), spacing="odd"), "measured, sigmoid"),
    (lambda m, x, z: ais_back(m, x, z[:3], Rng(0)), "exact draw of the posterior"),
    (lambda m, x, z: ais(NoisyDecoder(lambda z: z[..., :1] * math.nan, 3), x[:, :1], Rng(0)), "log-likelihood is not"),
    (lambda m, x, z: bidirectional(VAE(), 3, Rng(0)), "wrap its decoder"),
    (lambda m, x, z: NoisyDecoder(lambda z: z, 3, 0.0), "noise variance"),
    (lambda m, x, z: LinearGaussian(torch.zeros(3, 2), torch.zeros(2), 0.1), "are needed"),
    (lambda m, x, z: LinearGaussian.fitted(x[:8], 3), "more examples than numbers"),
])
def test_what_annealing_refuses(gaussian, make, says):
    with pytest.raises(LabError, match=says):
        make(*gaussian)


# -- Parzen windows ----------------------------------------------------------------------------------------------------


def test_parzen_is_the_density_of_a_mixture():
    samples, x = normal(0, 50, 3), normal(1, 7, 3)
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(50).double()),
        torch.distributions.Independent(torch.distributions.Normal(samples, 0.4), 1))
    torch.testing.assert_close(parzen(samples, x, 0.4).per_example, mixture.log_prob(x))
    width = choose_width(samples, x, (0.01, 0.5, 100.0))
    assert width == 0.5


def test_parzen_refuses_what_does_not_fit():
    with pytest.raises(LabError, match="must agree"):
        parzen(torch.zeros(3, 2), torch.zeros(3, 4), 0.1)
    with pytest.raises(LabError, match="at least one"):
        choose_width(torch.zeros(0, 2), torch.zeros(3, 2))


def test_parzen_puts_centroids_before_real_digits():
    assert judging_claims.parzen_of_centroids(0)["lead"] > 5


# -- failing generators ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench():
    return Bench(repeats=20)


def test_each_fault_is_noticed_by_some_and_missed_by_others(bench):
    found = judging_claims.responses(bench)
    assert max(found["none"].values()) < 2                      # another draw of real images: near or in the range
    assert found["memorises"]["frechet"] < -1 and found["memorises"]["ratio"] > 5
    assert max(found["memorises"][metric] for metric in judging_claims.FEATURE_METRICS) < 1.5
    assert found["drops 3 classes"]["coverage"] > 3 > found["drops 3 classes"]["precision"]
    assert found["noise 0.2"]["density"] > 1 > found["noise 0.2"]["recall"]
    assert found["30 images only"]["recall"] > 10


def test_the_table_says_so_in_words(bench):
    table = judging_claims.response_table(bench)
    assert list(table.columns) == [*judging_claims.FAULTS, "unseen real images"]
    assert table.loc["frechet", "memorises"].endswith("better than real")
    assert table.loc["ratio", "memorises"].endswith("nearer than real")
    assert table.loc["recall", "drops 3 classes"].endswith("worse than real")
    with pytest.raises(LabError, match="must be one of"):
        judging_claims.faulty(bench, "lazy")


def test_thirty_images_are_thirty(bench):
    made = judging_claims.faulty(bench, "30 images only", 100)
    assert len(made) == 100 and len(made.flatten(1).unique(dim=0)) == 30


def test_the_twin_has_the_mean_and_covariance_of_the_features():
    real, draw = judging_claims.twin()
    made = draw(200_000, Rng(0))
    assert frechet_distance(made, real) < 0.02
    assert precision_recall(made[:300], real).precision < 0.6   # and yet most of it is not like the data


@pytest.mark.slow
def test_three_trainings_of_one_decoder():
    for kind in likelihoods.KINDS:
        model = likelihoods.train_decoder(kind, steps=300)
        assert model.sample(5, Rng(0)).shape == (5, 1, 8, 8)
        found = likelihoods.likelihood(model, examples=6, chains=4, steps=60)
        assert found.eta in likelihoods.ETAS and math.isfinite(found.test.nats) and found.both.gap < 10
        assert likelihoods.train_decoder(kind, steps=300) is model
    with pytest.raises(LabError, match="VAE, GAN, autoencoder"):
        likelihoods.train_decoder("flow")


# -- the Inception network ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("images, says", [
    (torch.zeros(2, 8, 8), "3 or 1 channels"),
    (torch.zeros(2, 2, 8, 8), "3 or 1 channels"),
    (torch.full((2, 1, 8, 8), 1.5), "outside 0 to 1"),
])
def test_what_inception_refuses(images, says):
    with pytest.raises(LabError, match=says):
        inception.inception_features(images)


def test_without_weights_or_library_inception_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    monkeypatch.setattr(inception, "_any_answers", lambda addresses: False)
    with pytest.raises(LabError, match="there is no network: run this again when online, or put weights-inception"):
        inception.inception_features(torch.zeros(2, 1, 8, 8))
    path = tmp_path / "published" / "inception" / inception.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no weights")
    monkeypatch.setitem(__import__("sys").modules, "torch_fidelity.feature_extractor_inceptionv3", None)
    with pytest.raises(LabError, match=r"pip install \"dgmlab\[judge\]\""):
        inception.inception_features(torch.zeros(2, 1, 8, 8))


@pytest.mark.slow
def test_inception_features_are_those_of_torch_fidelity(monkeypatch, tmp_path):
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="the extra judge is not there")
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    path = tmp_path / "published" / "inception" / inception.FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no weights")
    with pytest.raises(LabError, match="does not hold the weights"):
        inception.inception_features(torch.zeros(2, 1, 8, 8))
    with monkeypatch.context() as patch:                        # random weights stand in for the trained ones
        patch.setattr(module, "load_state_dict_from_url", lambda *a, **k: {})
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        network = module.FeatureExtractorInceptionV3("random", ["2048", "logits"])
    torch.save(network.state_dict(), path)
    images = Rng(0).uniform((3, 1, 16, 16))
    features, logits = inception.inception_features(images, batch=2)
    theirs = network((images * 255).round().to(torch.uint8).expand(-1, 3, -1, -1))
    assert features.shape == (3, 2048) and logits.shape == (3, 1008)
    torch.testing.assert_close(features, theirs[0], rtol=1e-3, atol=1e-4)
