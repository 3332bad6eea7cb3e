"""Lab 03's claims: the bound where the truth is known, the KL weight, the gradient, and what an encoder costs.

Four experiments. The first two need no training: random models with one latent number, small enough to be integrated
(:class:`~dgmlab.experiments.inference.CurveModel`). The other two train the lab's own VAE on the digits and measure on
the 300 test images; nothing was chosen on those.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from ..metrics.latent import active_units
from ..metrics.likelihood import elbo, importance_weighted_bound, kl_per_dimension
from ..rng import Rng
from .claims import INFINITE, Claim
from .inference import CurveModel, bound, fit_posteriors, gradient_estimates, latent_grid
from .vae import make_run

STEPS = 2000                # of a training run, as in the lab
BETAS = (1.0, 2.0, 4.0, 8.0)
SHRINKING = tuple(10.0**-k for k in range(2, 7))        # widths sigma of q


# -- models that can be integrated -----------------------------------------------------------------------------------


def random_curve(rng: Rng, eta: float | None = None) -> CurveModel:
    """G(z) = a z + b sin(w z + c) with a, b (2,), w and c drawn anew; eta from 0.02 to 1 unless it is given."""
    a, b = 0.7 * rng.normal((2,)).double(), rng.normal((2,)).double()
    w, c, u = rng.uniform((3,)).double() * torch.tensor([1.0, 2 * math.pi, 1.0]) + torch.tensor([0.5, 0.0, 0.0])
    return CurveModel(0.02 * 50 ** u.item() if eta is None else eta,
                      lambda z: a * z[..., None] + b * torch.sin(w * z[..., None] + c))


def draw(model: CurveModel, rng: Rng) -> Tensor:
    """One x of the model, (2,)."""
    return model.decoder(rng.normal(()).double()) + math.sqrt(model.eta) * rng.normal((2,))


def integrated(seed: int) -> dict[str, float]:
    """Gap against KL(q || posterior) on 20 random models, each with a random q; and what less noise does to p(x)."""
    rng, differences, falls = Rng(seed), [], []
    for _ in range(20):
        model = random_curve(rng)
        u = rng.uniform((2,))
        b = bound(model, draw(model, rng), mean=6 * u[0].item() - 3, sigma=0.01 * 200 ** u[1].item())   # 0.01 to 2
        differences.append(abs(b.gap - b.kl_posterior))
    z, _ = latent_grid(nodes=20_001)                # as far as the integrals over z go
    while len(falls) < 20:
        curve = random_curve(rng, eta=1e-3).decoder
        x = curve(rng.normal(()).double()) + 0.3 * rng.normal((2,))
        if (curve(z) - x).square().sum(-1).min() > 0.2**2:              # beside the curve, not on it
            more, less = (CurveModel(eta, curve).log_evidence(x, nodes=100_001).item() for eta in (1e-3, 1e-4))
            falls.append(math.log(less / more))
    return {"difference": max(differences), "fall": math.exp(sum(falls) / len(falls))}


def point_mass(seed: int) -> dict[str, float]:
    """q shrinks to a point on the code that explains x best; both terms by 10,000 draws of z for each width."""
    rng, growth, falls = Rng(seed), [], []
    z = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    for _ in range(10):
        model = random_curve(rng)
        x = draw(model, rng)
        best = z[model.log_likelihood(x, z).argmax()]
        kl, heights = [], []
        for sigma in SHRINKING:
            q, prior = torch.distributions.Normal(best, sigma), torch.distributions.Normal(0.0, 1.0)
            codes = best + sigma * rng.normal((10_000,)).double()
            kl.append((q.log_prob(codes) - prior.log_prob(codes)).mean().item())
            heights.append(model.log_likelihood(x, codes).mean().item() - kl[-1])
        growth.append((kl[-1] - kl[0]) / (len(SHRINKING) - 1))
        falls += [before - after for before, after in pairwise(heights)]
    return {"growth": sum(growth) / len(growth), "fall": min(falls)}


# -- the VAE on the digits -------------------------------------------------------------------------------------------


def trained(seed: int, **arguments):
    """The lab's run (8 latents, one hidden layer of 256, Adam 1e-3, batches of 128) after ``STEPS`` steps."""
    run = make_run(seed=seed, device="cpu", **arguments)
    for _ in run.steps(STEPS):
        pass
    return run


@torch.no_grad()
def posteriors(run) -> tuple[Tensor, Tensor]:
    """The encoder's q on the test images: mu and logvar, (300, L) each."""
    return run.model.encode(run.data.test.x)


def beta_sweep(seed: int) -> dict[str, float]:
    """Equal runs but for beta = 1, 2, 4, 8; and one with the same product beta * eta as that of beta = 4."""
    kl, cost, units = [], [], []
    for beta in BETAS:
        run = trained(seed, beta=beta)
        height = elbo(run.model, run.data.test.x, Rng(seed), samples=10)
        mu, logvar = posteriors(run)
        kl.append(height.kl)
        cost.append(height.reconstruction)
        units.append(active_units(mu).number)
        if beta == 4.0:
            dimensions = kl_per_dimension(mu, logvar)
    same_product = kl_per_dimension(*posteriors(trained(seed, beta=1.0, eta=0.4)))
    return {"kl": min(a - b for a, b in pairwise(kl)), "reconstruction": min(b - a for a, b in pairwise(cost)),
            "units": min(a - b for a, b in pairwise(units)), "units_in_all": units[0] - units[-1],
            "same_product": float((dimensions - same_product).abs().max())}


def encoder_and_gradient(seed: int) -> dict[str, float]:
    """One VAE at beta = 1: its gradients, its encoder against an own q for each image; and its twin at beta = 0."""
    run = trained(seed)
    model, x = run.model, run.data.test.x[:100]
    own = fit_posteriors(model, x, steps=300, start="prior", seed=seed)
    nearly = importance_weighted_bound(model, x, Rng(seed), samples=2000)
    mu, logvar = posteriors(run)
    kl = float(kl_per_dimension(mu[:100], logvar[:100]).sum())
    times = torch.tensor([_variances(model, x[i:i + 1], mu[i], logvar[i], seed) for i in range(20)])     # (20, 2)
    plain, baseline = times.log().mean(0).exp().tolist()
    return {"gap": own.gap, "gap_of_kl": own.gap / kl, "gap_of_total": own.gap / (nearly.nats - own.amortised),
            "variance": plain, "variance_baseline": baseline,
            "width": _width(mu, logvar) / _width(*posteriors(trained(seed, beta=0.0)))}


def _variances(model, x: Tensor, mu: Tensor, logvar: Tensor, seed: int) -> tuple[float, float]:
    """How many times larger than the reparameterised one the score function's variance is, without and with baseline,
    summed over the derivatives of E_q log p(x | z) by the L means and the L log-widths."""
    estimates = gradient_estimates(lambda z: model.log_likelihood(x, z[:, None])[:, 0], mu, (0.5 * logvar).exp(),
                                   samples=10, repeats=200, seed=seed)
    total = {way: estimate.double().var(0).sum().item() for way, estimate in estimates.items()}
    return tuple(total[way] / total["reparameterised"] for way in ("score function", "score function, baseline"))


def _width(mu: Tensor, logvar: Tensor) -> float:
    """sigma of q over the standard deviation of mu among the images; geometric mean over images and dimensions."""
    return float((0.5 * logvar - mu.std(0).log()).mean().exp())


CURVES = ("20 random models with one latent number, G(z) = a z + b sin(wz + c) in the plane, eta from 0.02 to 1; "
          "nothing is trained.")
SHRUNK = ("10 random models with one latent number, as for 03.bound_gap; x drawn from the model, the mean of q on the "
          "code with the highest p(x | z), sigma = 1e-2, 1e-3, ... 1e-6; 10,000 independent draws of z for each.")
SWEEP = ("VAE on the 8x8 digits, 8 latents, 256 hidden units, eta 0.1; beta = 1, 2, 4, 8, equal in seed, 2,000 Adam "
         "steps of 128 images at 1e-3; measured on the 300 test images.")
ONE = ("VAE on the 8x8 digits, 8 latents, 256 hidden units, eta 0.1, beta = 1, 2,000 Adam steps of 128 images at 1e-3; "
       "20 test images, 10 samples an estimate, 200 estimates of each kind from the same noise, the encoder's q.")
OWN = ("The same VAE; 100 test images; the own q of each starts at N(0, I) and climbs 300 Adam steps, its rate falling "
       "from 0.1; both kinds of q are measured on the same 64 draws, on which none was fitted.")
LECTURE = "CSC413/2516 lecture 9, "

CLAIMS = [
    Claim("03.noise", LECTURE + "Observation Model",
          "With a deterministic decoder p(x) = 0 almost everywhere; it takes observation noise to give x a density.",
          integrated, "fall", "-log p(x) of a point beside the curve, after ÷ before eta falls from 1e-3 to 1e-4",
          (9, 11), "20 random curves as for 03.bound_gap, each with a point at least 0.2 away from it; log p(x) "
          "integrated on 100,001 codes; geometric mean over the points.", no_effect=1.0, ratio=True,
          note="A limit cannot be measured; a tenfold fall of log p(x) for a tenfold fall of the noise is how it is "
               "approached."),
    Claim("03.bound_gap", LECTURE + "Variational Inference; Kingma & Welling 2014, eq. 1",
          "What the bound lacks to log p(x) is exactly KL(q || p(z | x)).",
          integrated, "difference", "largest |log p(x) - ELBO - KL(q || posterior)|, nats", (-INFINITE, 1e-4),
          CURVES + " One random x and q = N(m, sigma^2) for each, m from -3 to 3, sigma from 0.01 to 2; the three "
          "terms are integrated separately.", no_effect=None),
    Claim("03.point_mass", LECTURE + "Variational Inference (exercise)",
          "A point mass has infinite KL from the prior: each factor of ten in precision costs ln 10 = 2.303 nats.",
          point_mass, "growth", "growth of KL(q || prior) for each factor of ten in sigma, nats",
          (0.99 * math.log(10), 1.01 * math.log(10)), SHRUNK),
    Claim("03.point_mass_elbo", LECTURE + "Variational Inference",
          "So the KL term forces q to spread out: as q shrinks onto the best code, the bound falls with every step.",
          point_mass, "fall", "smallest fall of the ELBO for a factor of ten in sigma, nats", (0, INFINITE), SHRUNK),
    Claim("03.kl_width", LECTURE + "Amortization",
          "The KL term keeps sigma above 0, so that codes are noisy; without it the encoder becomes nearly "
          "deterministic.",
          encoder_and_gradient, "width", "sigma of q relative to the spread of its mean: beta = 1 ÷ beta = 0",
          (2, INFINITE), "VAE on the 8x8 digits, 8 latents, 256 hidden units, eta 0.1; beta = 1 and beta = 0, equal in "
          "seed, 2,000 Adam steps of 128 images at 1e-3; 300 test images, geometric mean over images and dimensions.",
          no_effect=1.0, ratio=True,
          note="At beta = 0 sigma goes on shrinking for as long as one trains; the ratio is that after 2,000 steps."),
    Claim("03.beta_kl", "Higgins et al. 2017, sec. 2",
          "The larger the KL weight from beta = 1 on, the less the codes hold: the KL falls.",
          beta_sweep, "kl", "smallest fall of the KL from one beta to the next, nats", (0, INFINITE), SWEEP),
    Claim("03.beta_units", "Higgins et al. 2017, sec. 2; Burda et al. 2016, sec. 5 (active units)",
          "The larger the KL weight from beta = 1 on, the fewer latent dimensions are active.",
          beta_sweep, "units", "smallest fall in the number of active units from one beta to the next", (0, INFINITE),
          SWEEP + " Active: the mean of q varies by more than 0.01 over the images.",
          note="A tie counts against the claim, and with 8 units a tie between two betas is common."),
    Claim("03.beta_units_in_all", "Higgins et al. 2017, sec. 2; Burda et al. 2016, sec. 5 (active units)",
          "From beta = 1 to 8 the number of active latent dimensions falls.",
          beta_sweep, "units_in_all", "active units at beta = 1 less those at beta = 8", (0, INFINITE),
          SWEEP + " Active: the mean of q varies by more than 0.01 over the images.",
          note="Added after 03.beta_units had been seen to tie between two betas."),
    Claim("03.beta_reconstruction", "Higgins et al. 2017, sec. 2",
          "The larger the KL weight from beta = 1 on, the worse the reconstruction.",
          beta_sweep, "reconstruction", "smallest rise of -E_q log p(x | z) from one beta to the next, nats",
          (0, INFINITE), SWEEP),
    Claim("03.beta_eta", LECTURE + "Observation Model (loss of a Gaussian decoder)",
          "Only the product beta * eta decides what is learned: beta = 4 at eta = 0.1 gives the codes of beta = 1 at "
          "eta = 0.4.",
          beta_sweep, "same_product", "largest difference in the KL of a dimension, nats", (-INFINITE, 0.1),
          "VAE on the 8x8 digits, 8 latents, 256 hidden units; equal in seed, 2,000 Adam steps of 128 images at 1e-3; "
          "300 test images.", no_effect=None,
          note="0.1 nats is where the lab says that a dimension is in use. The two losses differ by a factor of 4 "
               "only, which Adam takes out again, up to rounding and its epsilon; that training does not blow this up "
               "is what is tested."),
    Claim("03.reparameterisation", LECTURE + "Reparameterization Trick; Kingma & Welling 2014, sec. 2.2 and 2.4",
          "Reparameterised gradients have a lower variance than score-function ones.",
          encoder_and_gradient, "variance", "variance of the gradient by the means and log-widths of q: score function "
          "÷ reparameterised", (1, INFINITE), ONE, no_effect=1.0, ratio=True,
          note="At equal samples. The pass back through the decoder that gives the slope costs about twice the pass "
               "that gives the value, so that a ratio above 3 pays in time as well."),
    Claim("03.reparameterisation_baseline", "Kingma & Welling 2014, sec. 2.4; Williams 1992 (the baseline)",
          "Reparameterised gradients have the lower variance even if the score function is helped by a baseline.",
          encoder_and_gradient, "variance_baseline", "variance of the gradient by the means and log-widths of q: score "
          "function with baseline ÷ reparameterised", (1, INFINITE), ONE, no_effect=1.0, ratio=True,
          note="The baseline is the mean of f over an estimate's other samples; better ones exist."),
    Claim("03.amortisation_positive", "Cremer et al. 2018, eq. 6",
          "An own q for each image reaches a higher bound than the encoder's: the amortisation gap is positive.",
          encoder_and_gradient, "gap", "ELBO of the own q - ELBO of the encoder's, nats per image", (0, INFINITE), OWN),
    Claim("03.amortisation_small", LECTURE + "Amortization (implied: the encoder can stand in for gradient ascent)",
          "What the encoder loses is small beside what it has to say, the KL of its codes.",
          encoder_and_gradient, "gap_of_kl", "amortisation gap ÷ KL(q || prior)", (-INFINITE, 0.1), OWN, no_effect=None,
          note="The yardstick is the KL, since both count nats of information about an image. A tenth is a round "
               "number; when it was chosen, the figures of one run, 0.33 of 5.5 nats, were known. Beside the distance "
               "to log p(x) the gap is not small: see 03.amortisation_share."),
    Claim("03.amortisation_share", "Cremer et al. 2018, abstract",
          "The encoder, and not the Gaussian family of q, causes most of what the bound lacks.",
          encoder_and_gradient, "gap_of_total", "amortisation gap ÷ (log p(x) - ELBO of the encoder's q)", (0.5, 1), OWN
          + " For log p(x) stands the importance-weighted bound with 2,000 draws.", no_effect=0.5,
          note="With five seeds the two shares are about equal: which is the larger does not show. The "
               "importance-weighted bound lies a little below log p(x), which makes this share a little too large."),
]
