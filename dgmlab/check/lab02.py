"""The exercises of lab 02; see :mod:`dgmlab.check`."""

from __future__ import annotations

import numpy as np
import torch

from ..experiments.autoencoders import draw_codes, judge, squared_error
from ..models.pca import PCA
from ..rng import Rng
from . import NotYet, array, calls, close, exercise, number


@exercise("02.1")
def error_from_variances(pca_error) -> str:
    """PCA's squared error per number on its own data: the sum of the variances that are left out, over D."""
    rng = Rng(5)
    for d, sizes in ((6, (1, 3, 6)), (20, (2, 19))):
        x = rng.normal((200, d)).double() * (1 + torch.arange(d)) @ rng.normal((d, d)).double()
        variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0))
        variances = variances[rng.permutation(d)]                                    # in no particular order
        for size in sizes:
            found = number(calls(pca_error, variances.tolist(), size, what="pca_error"), "The squared error")
            truth = squared_error(PCA(size).fit(x), x)
            total = float(variances.sum())
            if close(found, truth, rel=1e-6, abs=1e-9 * total):
                continue
            kept = total - truth * d
            guesses = {
                truth * d: "it is the error of a whole example. Per number it is D times smaller",
                kept / d: "these are the variances that the code keeps. The error is made of those it leaves out",
                kept: "these are the variances that the code keeps. The error is made of those it leaves out",
                truth * d / total: "it is a share of the total variance; the error itself is asked for, per number",
                1 - kept / total: "it is a share of the total variance; the error itself is asked for, per number",
                truth * d / max(d - size, 1): "the error is spread over all D numbers of an example, not only over "
                                              "the directions that are left out",
                float(variances[size:].sum()) / d: "the variances come in no particular order; sort them first",
                float(variances[:d - size].sum()) / d: "the variances come in no particular order; sort them first",
                float(variances.sort().values[size:].sum()) / d: "the variances that PCA keeps are the largest; it "
                                                                 "looks as if you kept the smallest",
            }
            why = next((f": {why}" for value, why in guesses.items() if close(found, value, rel=1e-6)), "")
            raise NotYet(f"For data of {d} numbers and a code of {size}, PCA's squared error per number is "
                         f"{truth:.4g}, but pca_error returns {found:.4g}{why}.")
    return ("Directions are at right angles, so squared errors add up: what is lost is the variance along the "
            "directions that are left out, and a code of D numbers loses nothing.")


@exercise("02.2")
def size_of_pca(pca_size, *, model, train_x, x) -> str:
    """The smallest size of PCA's code that does as well on ``x`` as ``model`` does.

    Args:
        model: an autoencoder.
        train_x, x: what PCA is fitted to, and where both are measured.
    """
    found, goal = number(pca_size, "pca_size"), squared_error(model, x)
    most = min(len(train_x), train_x[0].numel())
    if found != int(found) or not 1 <= found <= most:
        raise NotYet(f"pca_size is a number of numbers: whole, from 1 to {most}, but it is {found:g}.")

    whole, found = PCA(most).fit(train_x), int(found)

    def error(size, images):
        part = PCA(size)
        part.shape, part.mean, part.components = whole.shape, whole.mean, whole.components[:size]
        return squared_error(part, images)

    enough = error(found, x) <= goal * (1 + 1e-5)               # what rounding of the arithmetic decides passes
    smaller = found > 1 and error(found - 1, x) <= goal * (1 - 1e-5)
    if not enough or smaller:
        on_train = squared_error(model, train_x)
        if error(found, train_x) <= on_train and (found == 1 or error(found - 1, train_x) > on_train):
            raise NotYet(f"{found} numbers are what PCA needs on the training images, which the network has seen a "
                         "hundred times. Compare the two on the unseen images x.")
        if not enough:
            raise NotYet(f"With {found} numbers PCA's squared error on x is {error(found, x):.5f}, still above the "
                         f"network's {goal:.5f}.")
        raise NotYet(f"{found} numbers are enough: PCA's squared error on x is {error(found, x):.5f}, the network's "
                     f"{goal:.5f}. But fewer do, and the smallest size is asked for. Let a loop try the sizes "
                     "from 1 on.")
    return (f"PCA needs {found} numbers for what the network does with {model.latent}: "
            f"{found / model.latent:.1f} times as many.")


@exercise("02.3")
def compression(quantise, bits_per_image, *, model, x) -> str:
    """Rounding to even levels, and the fewest bits per image at which it raises the squared error by a tenth at most.

    Args:
        model: an autoencoder.
        x: (n, C, H, W) unseen images.
    """
    z = torch.tensor([[-1.3, -1.0, -0.6, -0.4], [0.1, 0.55, 0.9, 1.7]])
    for levels, low, high in ((3, -1.0, 1.0), (2, -1.0, 1.0), (5, -1.0, 1.0), (4, -0.5, 1.0)):
        truth = _rounded(z, levels, low, high)
        found = array(calls(quantise, z.clone(), levels, low, high, what="quantise"), "What quantise returns",
                      shape=tuple(z.shape))
        if np.allclose(found, truth, atol=1e-5):
            continue
        step, narrow = (high - low) / (levels - 1), (high - low) / levels
        inside = z.clamp(low, high)
        places = ((inside - low) / narrow, (z - low) / narrow)
        too_many = [low + narrow * of for place in places
                    for of in (place.round(), place.round().clamp(0, levels - 1), place.floor(),
                               place.floor().clamp(0, levels - 1), place.floor().clamp(0, levels - 1) + 0.5)]
        guesses = {
            "it returns the numbers of the levels (0, 1, 2, ...). The decoder needs the values at these levels":
                [((inside - low) / step).round()],
            "codes beyond low and high have to become low and high": [low + step * ((z - low) / step).round()],
            "it rounds down. The nearest level is asked for": [low + step * ((inside - low) / step).floor()],
            f"{levels} levels that include both ends have {levels - 1} steps between them, not {levels}": too_many}
        why = next((f": {why}" for why, values in guesses.items()
                    if any(np.allclose(found, value, atol=1e-5) for value in values)), "")
        k = int(np.abs(found - truth.numpy()).argmax())
        raise NotYet(f"With {levels} levels from {low:g} to {high:g}, {z.flatten()[k]:.2f} becomes "
                     f"{truth.flatten()[k]:.2f}, but quantise makes it {found.flatten()[k]:.2f}{why}.")

    bits = number(bits_per_image, "bits_per_image")
    with torch.no_grad():
        codes = model.encode(x)
        low, high = float(codes.min()), float(codes.max())
        exact = squared_error(model, x)
        errors = {b: float((model.decode(_rounded(codes, 2**b, low, high)) - x).square().mean()) for b in range(1, 17)}
    # what rounding of the arithmetic itself may decide is right either way
    enough = next(b for b in errors if errors[b] <= 1.1 * exact * (1 + 1e-4))
    strict = next(b for b in errors if errors[b] <= 1.1 * exact * (1 - 1e-4))
    if bits not in {model.latent * enough, model.latent * strict}:
        if model.latent > 1 and bits in (enough, strict):
            raise NotYet(f"{bits:g} bits is the price of one number of the code, and an image has {model.latent}.")
        if bits in (2**enough, model.latent * 2**enough):
            raise NotYet(f"{2**enough} levels are right, but a number of {2**enough} levels costs log2 of that: "
                         "2 levels are 1 bit.")
        per = bits / model.latent
        if per != int(per) or not 1 <= per <= 16:
            raise NotYet(f"{bits:g} bits per image is no whole number of bits for each of the {model.latent} numbers "
                         "of a code.")
        raise NotYet(f"With {per:g} bits for each number the squared error is {errors[int(per)] / exact:.2f} times "
                     f"that without rounding; {'that is too much' if per < enough else 'fewer bits will do'}.")
    raw = x[0].numel()
    return (f"{bits:g} bits per image, at {errors[enough] / exact:.2f} times the error, while the image itself is "
            f"{raw} numbers. A shorter file still needs to know which codes are frequent, so that these get short "
            "words: a distribution of codes, which a VAE has and an autoencoder has not.")


@exercise("02.4")
def better_than_gaussian(better_codes, *, model, train_x, x) -> str:
    """New codes whose decoded images beat those from N(0, I) and from a fitted Gaussian, and that are no copies.

    Args:
        model: an autoencoder.
        train_x, x: the images whose codes may be used, and unseen ones.
    """
    n = min(1000, len(train_x))
    with torch.no_grad():
        codes = model.encode(train_x)
        given = codes[:2000]
        drawn = array(calls(better_codes, codes.clone(), n, Rng(7, codes.device), what="better_codes"),
                      "What better_codes returns", shape=(n, model.latent))
        drawn = torch.as_tensor(drawn).to(codes)
        apart = torch.cdist(given, codes).topk(2, largest=False).values[:, 1].mean()
        new = torch.cdist(drawn, codes).min(1).values.mean() / apart
        if new < 0.25:
            raise NotYet("These are the codes that it was given, or nearly: on average they lie "
                         f"{float(new):.2f} times as far from the nearest of them as given codes lie from their "
                         "nearest neighbours. Copies are not new.")
        mine = judge(model.decode(drawn), train_x, x)
        others = {source: judge(model.decode(draw_codes(codes, source, n, Rng(8, codes.device))), train_x, x)
                  for source in ("N(0, I)", "fitted Gaussian")}
    if float((drawn - drawn.mean(0)).abs().max()) < 1e-6 * float(codes.std()):
        raise NotYet("All codes are the same; draw different ones.")
    for source, other in others.items():
        if mine["quality"] >= other["quality"]:
            raise NotYet(f"The quality of its images is {mine['quality']:.3f}, not below that of {source} "
                         f"({other['quality']:.3f}). Where do the given codes lie, and where are the gaps?")
        if mine["energy"] > 1.1 * max(other["energy"], 0.0) + 0.01:       # within 0.01 it is noise
            raise NotYet(f"The energy distance of its images is {mine['energy']:.3f}, above that of {source} "
                         f"({other['energy']:.3f}). Are all kinds of codes among the new ones, as often as given?")
    fitted, unseen = others["fitted Gaussian"], judge(x, train_x, x)["quality"]
    return (f"Quality {mine['quality']:.2f} (fitted Gaussian {fitted['quality']:.2f}, unseen images {unseen:.2f}), "
            f"energy distance {mine['energy']:.3f} ({fitted['energy']:.3f}). The codes have a shape, and yours keep to "
            "it. (A quality far below that of unseen images means half copies.) But such codes need all training "
            "codes at hand, and say of no image how probable it is.")


@exercise("02.5")
def noise_left(left_plain, left_denoising, *, models, noisy, x) -> str:
    """The squared error to the clean images after the bottleneck, as a share of that before it, for two models.

    Args:
        models: the plain autoencoder and the denoising one.
        noisy, x: (n, C, H, W) images with noise, and without.
    """
    shares = [number(left_plain, "left_plain"), number(left_denoising, "left_denoising")]
    noise = float((noisy - x).square().mean())
    names = ("left_plain", "left_denoising")
    with torch.no_grad():
        truths = [float((model.reconstruct(noisy) - x).square().mean()) / noise for model in models]
        to_noisy = [float((model.reconstruct(noisy) - noisy).square().mean()) / noise for model in models]
        of_clean = [squared_error(model, x) / noise for model in models]
    for k, (share, truth) in enumerate(zip(shares, truths, strict=True)):
        if close(share, truth, rel=0.02, abs=1e-4):
            continue
        from_noisy = to_noisy[k] * noise
        as_lost = from_noisy / float((noisy - x.mean(0)).square().mean())
        guesses = {truth * noise: "that is the squared error itself; divide it by that of the noisy images",
                   to_noisy[k]: "that is the distance to the noisy images; the clean ones x are the goal",
                   from_noisy: "that compares with the noisy images: ae.squared_error and ae.lost compare with what "
                               "they give the model. The clean ones x are the goal",
                   of_clean[k]: "that is what becomes of clean images; give the model the noisy ones",
                   truth**0.5: "that is the square root of it", 1 - truth: "that is the share that has gone; the share "
                   "that is left is asked for", truths[1 - k]: "that is the share of the other model"}
        why = next((f": {why}" for value, why in guesses.items() if close(share, value, rel=0.01)), "")
        if not why and close(share, as_lost, rel=0.05):
            why = f": {guesses[from_noisy]}"
        raise NotYet(f"{names[k]} is {share:.3f}, and that is not the share of the squared error that is left{why}.")
    if truths[0] < truths[1]:
        return f"Here the plain one leaves less ({truths[0]:.0%}) than the denoising one ({truths[1]:.0%})."
    both = "Both take noise away" if truths[0] < 1 else "The plain one makes it worse"
    return (f"{both}: the plain autoencoder leaves {truths[0]:.0%}, the denoising one {truths[1]:.0%}. A bottleneck "
            "alone keeps out only what the decoder cannot make; to throw noise away has to be learnt from noise.")


def _rounded(codes, levels, low, high):
    step = (high - low) / (levels - 1)
    return low + step * ((codes.clamp(low, high) - low) / step).round()
