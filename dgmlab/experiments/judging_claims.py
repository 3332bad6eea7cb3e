"""Lab 07: which metric notices which fault, the metrics' bias in the number of samples, and what the claims measure."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import Tensor

from ..data import load
from ..errors import check_choice, check_number
from ..metrics.ais import LinearGaussian, ais, bidirectional
from ..metrics.features import (
    SizePoint,
    density_coverage,
    inception_score,
    kernel_distance,
    precision_recall,
    size_curve,
)
from ..metrics.frechet import frechet_distance
from ..metrics.memorising import neighbours
from ..metrics.parzen import choose_width, parzen
from ..rng import Rng
from .claims import INFINITE, Claim
from .judging import judge, real_features
from .likelihoods import KINDS, likelihood, train_decoder
from .spoiling import Bench, Faults

# -- which metric notices what ---------------------------------------------------------------------------------------

FAULTS = {
    "none": Faults(),
    "memorises": Faults(memorised=1),
    "drops 1 class": Faults(dropped=1),
    "drops 3 classes": Faults(dropped=3),
    "noise 0.2": Faults(noise=0.2),
    "blur 0.7 px": Faults(blur=0.7),
    "30 images only": Faults(),             # each of them ten times: modes within the classes are lost
}
# Which direction is bad. The ratio of nearest-neighbour distances is bad below 1: copies.
LOW_IS_GOOD = {"frechet": True, "kid": True, "inception": False, "precision": False, "density": False, "recall": False,
               "coverage": False, "ratio": False, "copies": True}
FEATURE_METRICS = ("frechet", "kid", "inception", "precision", "density", "recall", "coverage")
LEAST = 0.01            # a range of unseen real images is taken to be at least twice this wide


def faulty(bench: Bench, name: str, n: int = 300, seed: int = 0) -> Tensor:
    """``n`` samples of the generator with that fault, one of :data:`FAULTS`: (n, C, H, W)."""
    check_choice("The fault", name, FAULTS)
    if name == "30 images only":
        return bench.make(FAULTS[name], 30, seed).x.repeat(-(-n // 30), 1, 1, 1)[:n]
    return bench.make(FAULTS[name], n, seed).x


def responses(bench: Bench, n: int = 300, seed: int = 0) -> dict[str, dict[str, float]]:
    """How strongly each metric responds to each fault: by fault, then by metric.

    A response is measured against unseen real images, the best that a generator could make: it is 0 in the middle of
    the range of ``bench.repeats`` sets of them, 1 at its worse end and -1 at its better end. So above 1 a metric
    **notices** the fault, and below -1 it takes the samples for better than real ones.

    Args:
        n: samples of each generator, and in each set of real images.
    """
    real, found = bench.real(n), {}
    for name in FAULTS:
        values = bench.measure(faulty(bench, name, n, seed))
        found[name] = {}
        for metric, value in values.items():
            low, high = real[metric]
            distance = (value - (low + high) / 2) / max((high - low) / 2, LEAST)
            found[name][metric] = distance if LOW_IS_GOOD[metric] else -distance
    return found


def response_table(bench: Bench | None = None, n: int = 300, seed: int = 0) -> pd.DataFrame:
    """:func:`responses` as a table, a row a metric and a column a fault: the metric's value, and in words on which side
    it lies where it is outside the range of unseen real images (the last column).

    ``ratio`` and ``copies`` look at pixels, the others at the judge's features; see
    :meth:`~dgmlab.experiments.spoiling.Bench.measure`.
    """
    check_number("The number of samples", n, 30, whole=True)
    bench = bench or Bench(repeats=50)
    real, found = bench.real(n), responses(bench, n, seed)
    table = {}
    for name in FAULTS:
        values = bench.measure(faulty(bench, name, n, seed))
        table[name] = {metric: f"{value:.3g}{_side(metric, found[name][metric])}" for metric, value in values.items()}
    table["unseen real images"] = {metric: f"{low:.3g} to {high:.3g}" for metric, (low, high) in real.items()}
    return pd.DataFrame(table)


def _side(metric: str, response: float) -> str:
    worse, better = ("nearer than real", "farther than real") if metric == "ratio" else ("worse than real",
                                                                                         "better than real")
    return f", {worse}" if response > 1 else f", {better}" if response < -1 else ""


# -- bias in the number of samples -----------------------------------------------------------------------------------

SIZES = (50, 100, 200, 500, 1000, 2000)


def bias_curves(dataset: str = "digits", sizes=SIZES, repeats: int = 20, seed: int = 0) -> dict[str, list[SizePoint]]:
    """Each metric of one and the same generator, of which more and more samples are drawn.

    The generator is :func:`twin`. So the true Fréchet distance is 0 at every number of samples, and all that its curve
    shows is bias. (To the metrics that count neighbours the draws do differ from real features, and are rightly told.)

    Returns:
        by metric, a :class:`~dgmlab.metrics.features.SizePoint` for each size.
    """
    real, draw = twin(dataset, seed)
    classify = judge(dataset, seed=seed).network[-1]
    metrics = {"Fréchet distance": frechet_distance, "KID": kernel_distance,
               "inception score": lambda made, _: inception_score(classify(made.float())),
               "precision": lambda made, real: precision_recall(made, real).precision,
               "recall": lambda made, real: precision_recall(made, real).recall,
               "density": lambda made, real: density_coverage(made, real).density,
               "coverage": lambda made, real: density_coverage(made, real).coverage}
    return {name: size_curve(metric, draw, real, sizes, repeats, seed) for name, metric in metrics.items()}


def twin(dataset: str = "digits", seed: int = 0) -> tuple[Tensor, Callable[[int, Rng], Tensor]]:
    """The judge's features of the training images (M, F), and a generator that the Fréchet distance cannot tell from
    them: draws of the Gaussian with exactly their mean and covariance, ``draw(n, rng)`` -> (n, F)."""
    real = real_features(dataset, seed=seed).double()
    values, vectors = torch.linalg.eigh(torch.cov(real.T))
    root, mean = vectors * values.clamp(min=0).sqrt(), real.mean(0)
    return real, lambda n, rng: mean + rng.normal((n, len(mean))).double() @ root.T


# -- what the claims measure -----------------------------------------------------------------------------------------


def notices(seed: int) -> dict[str, float]:
    """The responses of all metrics to all faults, for a judge, samples and noise of this seed: "fault: metric"."""
    found = responses(Bench(repeats=50, seed=seed), seed=seed)
    flat = {f"{fault}: {metric}": value for fault, row in found.items() for metric, value in row.items()}
    return flat | {"memorises: strongest": max(found["memorises"][metric] for metric in FEATURE_METRICS)}


def sizes(seed: int) -> dict[str, float]:
    """Fréchet distance and KID of one and the same generator, :func:`twin`, at few and at many samples.

    A bias is the mean at 100 samples less that at many, in standard deviations of a single estimate at 100.
    """
    real, draw = twin(seed=seed)
    few, many = size_curve(frechet_distance, draw, real, (100, 1000), 20, seed)
    kernel_few = size_curve(kernel_distance, draw, real, (100,), 100, seed)[0]
    kernel_many = size_curve(kernel_distance, draw, real, (2000,), 10, seed)[0]
    made = draw(1000, Rng(seed))
    return {"frechet": few.mean / many.mean, "frechet_bias": (few.mean - many.mean) / few.sd,
            "kid_bias": (kernel_few.mean - kernel_many.mean) / kernel_few.sd,
            "frechet_few": few.mean, "frechet_many": many.mean,
            "kid_few": kernel_few.mean, "kid_many": kernel_many.mean,
            "precision": precision_recall(made, real).precision, "frechet_blind": frechet_distance(made, real)}


def linear(seed: int) -> dict[str, float]:
    """Probabilistic PCA of the digits with 8 latents: log p of 50 test images exactly, by AIS, and by Parzen windows on
    10,000 of its own samples."""
    data = load("digits")
    model = LinearGaussian.fitted(data.train.x, 8)
    rng = Rng(seed)
    x = data.test.x.flatten(1)[rng.permutation(len(data.test))[:50]]
    exact = float(model.log_evidence(x).mean())
    found = ais(model, x, rng, chains=16, steps=500)
    both = bidirectional(model, 25, rng, chains=16, steps=500)
    samples, valid = model.simulate(10_000, rng)[0], model.simulate(300, rng)[0]
    windows = parzen(samples, x, choose_width(samples, valid)).nats
    return {"error": abs(found.nats - exact), "signed": found.nats - exact, "exact": exact, "gap": both.gap,
            "worst": float((found.per_example - model.log_evidence(x)).abs().max()), "parzen": windows - exact}


def models(seed: int) -> dict[str, float]:
    """A VAE, a GAN and an autoencoder of one decoder: log-likelihood of test images, gap of both bounds, Parzen,
    Fréchet distance, distances to the nearest training images."""
    found = {}
    for kind in KINDS:
        model = train_decoder(kind, seed=seed)
        of = likelihood(model, seed=seed)
        near = neighbours(model.sample(300, Rng(seed)), model.data.train.x, model.data.test.x)
        found |= {f"{kind}: nats": of.test.nats, f"{kind}: gap": of.both.gap, f"{kind}: eta": of.eta,
                  f"{kind}: parzen": of.parzen, f"{kind}: frechet": of.frechet, f"{kind}: ratio": near.ratio,
                  f"{kind}: copies": near.copies}
    return found | {"VAE - GAN": found["VAE: nats"] - found["GAN: nats"],
                    "VAE - autoencoder": found["VAE: nats"] - found["autoencoder: nats"],
                    "frechet GAN / VAE": found["GAN: frechet"] / found["VAE: frechet"],
                    "gap": max(found[f"{kind}: gap"] for kind in KINDS)}


def parzen_of_centroids(seed: int, n: int = 200) -> dict[str, float]:
    """Parzen windows on n real digits, drawn at random, and on the n centroids of k-means: log p of the test images."""
    from sklearn.cluster import KMeans

    data = load("digits")
    real = data.train.x[Rng(seed).permutation(len(data.train))[:n]]
    flat = data.train.x.flatten(1).numpy()
    means = KMeans(n, n_init=1, random_state=seed).fit(flat).cluster_centers_
    centroids = torch.from_numpy(means).float().reshape(real.shape)
    found = {name: parzen(x, data.test.x, choose_width(x, data.valid.x)).nats
             for name, x in (("real", real), ("centroids", centroids))}
    return found | {"lead": found["centroids"] - found["real"]}


# -- the claims ------------------------------------------------------------------------------------------------------

SPOILT = ("8x8 digits; each generator makes 300 samples, held against 300 training images in the 64 features of a "
          "classifier trained on the training split; 50 sets of 300 unseen real images give the range. 0 is the middle "
          "of the range, 1 its worse end. The seed is that of the classifier, the samples and the noise.")
RESPONSE = "response of {}, in half-widths of the range of unseen real images: above 1 it notices"
TWIN = ("Gaussian draws in the 64 features of a classifier of the 8x8 digits, with exactly the mean and covariance of "
        "the 1,197 training images' features, against these features; the seed is that of classifier and draws.")
DECODERS = ("VAE, GAN (non-saturating, R1 penalty 0.1, averaged generator) and autoencoder (a Gaussian fitted to its "
            "codes) on the 8x8 digits, decoder 8 - 256 - 64, 4,000 Adam steps of 64 images at 1e-3; noise chosen for "
            "each on validation images; AIS with 8 chains and 300 temperatures on 50 test images.")
LINEAR = ("Probabilistic PCA of the 8x8 digits with 8 latents, whose log p(x) is known exactly; 50 test images; 16 "
          "chains, 500 temperatures, Hamiltonian moves of 2 leapfrog steps.")
WU, THEIS = "Wu et al. 2017, arXiv:1611.04273", "Theis et al. 2016, arXiv:1511.01844"
HEUSEL, BINKOWSKI = "Heusel et al. 2017, arXiv:1706.08500", "Bińkowski et al. 2018, arXiv:1801.01401"
KYNK, NAEEM = "Kynkäänniemi et al. 2019, arXiv:1904.06991", "Naeem et al. 2020, arXiv:2002.09797"
SALIMANS = "Salimans et al. 2016, arXiv:1606.03498"


def _notices(name, fault, metric, word, source, says, note=""):
    return Claim(f"07.{name}", source, says, notices, f"{fault}: {metric}", RESPONSE.format(word), (1, INFINITE),
                 SPOILT, no_effect=0.0, note=note)


def _misses(name, fault, metric, word, source, says, note=""):
    return Claim(f"07.{name}", source, says, notices, f"{fault}: {metric}", RESPONSE.format(word), (-INFINITE, 1),
                 SPOILT, no_effect=None, note=note)


CLAIMS = [
    Claim("07.ais_exact", WU + ", sec. 3 and 4.2", "Annealed importance sampling finds log p(x) where it is known.",
          linear, "error", "|AIS - exact| of the mean log p(x), nats", (-INFINITE, 0.5), LINEAR, no_effect=None),
    Claim("07.bdmc_gap", WU + ", sec. 4.2; Grosse et al. 2015, arXiv:1511.02543",
          "On images that the models made themselves, both bounds on log p(x) meet.", models, "gap",
          "upper less lower bound, the largest of VAE, GAN and autoencoder, nats", (-INFINITE, 0.5), DECODERS +
          " Both bounds on 25 simulated images.", no_effect=None,
          note="It bounds the error on simulated images; for real ones it only suggests one."),
    Claim("07.vae_gan", WU + ", table 1",
          "A VAE gives held-out images a higher likelihood than a GAN of equal decoder.",
          models, "VAE - GAN", "log p of test images, VAE less GAN, nats per image", (0, INFINITE), DECODERS,
          note="The GAN's settings were chosen on validation images, with seeds 0 and 1: 8.8 and 15.3 nats without the "
               "R1 penalty, 19.7 and 18.3 with it; the VAE, as it was, had about 33."),
    Claim("07.vae_autoencoder", WU + ", sec. 5 (the comparison is ours)",
          "The VAE's likelihood is also above that of an autoencoder with a Gaussian fitted to its codes.", models,
          "VAE - autoencoder", "log p of test images, VAE less autoencoder, nats per image", (0, INFINITE), DECODERS),
    Claim("07.orders_differ", THEIS + ", sec. 3.1 and 3.3",
          "Likelihood and looks rank differently: the GAN, lower in likelihood, has the smaller Fréchet distance.",
          models, "frechet GAN / VAE", "Fréchet distance of 1,000 samples, GAN ÷ VAE", (0, 1), DECODERS, no_effect=1.0,
          ratio=True, note="Samples are shown without observation noise, as is the custom."),
    Claim("07.parzen_far", THEIS + ", sec. 3.2; " + WU + ", sec. 5.1",
          "Parzen windows are far from log p(x), even with 10,000 samples and 64 dimensions.", linear, "parzen",
          "Parzen windows less exact, nats", (-INFINITE, -5), LINEAR + " 10,000 samples of the model, the width chosen "
          "on 300 more.", no_effect=0.0),
    Claim("07.parzen_order", THEIS + ", table 1",
          "Parzen windows rank wrongly: averages of images come out ahead of real images.", parzen_of_centroids, "lead",
          "Parzen log-density of test images: k-means centroids less real images, nats", (0, INFINITE),
          "8x8 digits: 200 training images drawn at random against the 200 k-means centroids of all training images; "
          "each with the width that is best on the validation images."),
    Claim("07.frechet_bias", BINKOWSKI + ", sec. 4 and appendix D.1",
          "The Fréchet distance of a perfect generator falls as more samples are drawn.", sizes, "frechet",
          "mean at 100 samples ÷ mean at 1,000", (3, INFINITE), TWIN + " Means of 20 draws.", no_effect=1.0, ratio=True,
          note="The true distance is 0 at every number of samples."),
    Claim("07.kid_bias", BINKOWSKI + ", sec. 4", "KID does not depend on how many samples are drawn.", sizes,
          "kid_bias",
          "mean at 100 samples less mean at 2,000, in standard deviations of one estimate at 100", (-0.25, 0.25), TWIN +
          " 100 draws of 100 and 10 of 2,000.", no_effect=None,
          note="In the same unit the Fréchet distance's bias is about 3. No bias is not no scatter: KID's is large."),
    Claim("07.frechet_blind", HEUSEL + ", eq. 6 (only mean and covariance enter)",
          "The Fréchet distance is near 0 for samples of which precision says that most lie where no data are.", sizes,
          "precision", "precision of 1,000 draws whose mean and covariance are right", (0, 0.5), TWIN, no_effect=None),
    Claim("07.memorise_frechet", HEUSEL + " (implied); the lecture's catch: memorised examples?",
          "A generator that memorises gets a better Fréchet distance than unseen real images.", notices,
          "memorises: frechet", RESPONSE.format("the Fréchet distance"), (-INFINITE, -1), SPOILT),
    Claim("07.memorise_unnoticed", "The lecture's catch: memorised examples?",
          "No metric that compares features with the training images notices a generator that memorises.", notices,
          "memorises: strongest", "strongest response of seven feature metrics: above 1 one notices", (-INFINITE, 1),
          SPOILT, no_effect=None),
    _notices("memorise_neighbours", "memorises", "ratio", "the nearest-neighbour ratio",
             "Meehan et al. 2020, arXiv:2004.05675", "Distances to the nearest training images, held against those of "
             "unseen images, notice it."),
    _notices("drop_recall", "drops 3 classes", "recall", "recall", KYNK + ", sec. 3",
             "Recall notices three dropped classes."),
    _notices("drop_coverage", "drops 1 class", "coverage", "coverage", NAEEM + ", sec. 4",
             "Coverage notices a single dropped class."),
    _notices("drop_frechet", "drops 3 classes", "frechet", "the Fréchet distance", HEUSEL,
             "The Fréchet distance notices three dropped classes."),
    _notices("drop_inception", "drops 3 classes", "inception", "the inception score", SALIMANS + ", sec. 4",
             "The inception score notices three dropped classes."),
    _misses("drop_precision", "drops 3 classes", "precision", "precision", KYNK + ", sec. 3",
            "Precision does not notice dropped classes."),
    _notices("noise_precision", "noise 0.2", "precision", "precision", KYNK + ", sec. 3", "Precision notices noise."),
    _notices("noise_density", "noise 0.2", "density", "density", NAEEM + ", sec. 4", "Density notices noise."),
    _misses("noise_recall", "noise 0.2", "recall", "recall", KYNK + ", sec. 3", "Recall does not notice noise."),
    _notices("noise_frechet", "noise 0.2", "frechet", "the Fréchet distance", HEUSEL + ", fig. 3",
             "The Fréchet distance notices noise."),
    _notices("blur_frechet", "blur 0.7 px", "frechet", "the Fréchet distance", HEUSEL + ", fig. 3",
             "The Fréchet distance notices blur."),
    _notices("blur_precision", "blur 0.7 px", "precision", "precision", KYNK + ", sec. 3 (precision as quality)",
             "Precision notices blur.", note="In scouting seeds 0 to 3 it did in two. The features of blurred digits "
             "lie mostly among those of real ones, but in a small part of them: recall falls instead."),
    _notices("collapse_recall", "30 images only", "recall", "recall", KYNK + ", sec. 3",
             "Recall notices a generator that makes 30 images over and over."),
    _misses("collapse_precision", "30 images only", "precision", "precision", KYNK + ", sec. 3",
            "Precision does not notice a generator that makes 30 images over and over."),
]
