"""t-SNE that follows: as good as a full fit, and small changes move it little."""

import time
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from dgmlab.errors import LabError
from dgmlab.widgets.tsne import LiveTSNE


@pytest.fixture(scope="module")
def codes():
    return PCA(8, random_state=0).fit_transform(load_digits().data[:600])


@pytest.fixture(scope="module")
def fitted(codes):
    tsne = LiveTSNE()
    tsne.settle(codes)
    return tsne


def test_full_fit_in_slices_keeps_neighbours(codes):
    tsne = LiveTSNE()
    frames = [tsne.update(codes)]
    while not tsne.settled:
        frames.append(tsne.update(codes))
    assert len(frames) > 10                                     # it moved, it did not freeze
    assert all(not np.array_equal(a, b) for a, b in zip(frames, frames[1:]))
    assert frames[-1].shape == (600, 2) and frames[-1].dtype == np.float32
    assert trustworthiness(codes, frames[-1], n_neighbors=10) > 0.98


def test_a_small_change_of_codes_is_a_small_move(codes, fitted):
    noise = np.random.default_rng(1).normal(0, 0.02 * codes.std(), codes.shape)
    before = fitted.update(codes)
    after = fitted.update(codes + noise)
    moved = np.linalg.norm(after - before, axis=1)
    assert np.median(moved) < 0.02 * before.std()
    assert np.percentile(moved, 99) < 0.25 * before.std()
    assert after.std() == pytest.approx(before.std(), rel=0.05)


def test_a_layout_of_something_else_begins_anew_by_itself(codes):
    """As in the panel: settled on an untrained model's codes before Start is pressed, then the model learns."""
    noise = np.random.default_rng(0).normal(size=codes.shape) * codes.std()
    tsne = LiveTSNE()
    tsne.settle(noise)
    assert tsne.fits == 1 and tsne.settled
    for share in np.linspace(0, 1, 15):                         # the codes leave the noise step by step
        tsne.update((1 - share) * noise + share * codes)
    assert tsne.fits == 2 and not tsne.settled                  # once, and the map says that it is not done
    assert trustworthiness(codes, tsne.settle(codes), n_neighbors=10) > 0.98
    fits = tsne.fits
    for _ in range(5):
        tsne.update(codes)
    assert tsne.fits == fits and tsne.settled                   # it ends
    size = tsne.update(codes).std()
    for _ in range(20):                                         # later the old layout melts, and is not heated
        melted = tsne.update(noise)
    assert tsne.fits == fits and tsne.settled and 0.3 * size < melted.std() < 3 * size


def test_refit_is_a_full_fit(codes):
    tsne = LiveTSNE()
    size = tsne.settle(codes).std()
    tsne.refit()
    assert not tsne.settled
    assert all(tsne.update(codes).std() > 0.95 * size for _ in range(8))      # exaggerated, and yet not a dot
    assert trustworthiness(codes, tsne.settle(codes), n_neighbors=10) > 0.98


def test_points_keep_their_identity(codes, fitted):
    """The layout of point i is about point i: its neighbours in the codes are its neighbours in the plane."""
    positions = fitted.update(codes)
    nearest = ((codes[:, None] - codes) ** 2).sum(-1)
    np.fill_diagonal(nearest, np.inf)
    nearest = nearest.argmin(1)
    to_nearest = np.linalg.norm(positions - positions[nearest], axis=1)
    to_any = np.linalg.norm(positions - np.roll(positions, 1, axis=0), axis=1)
    assert np.median(to_nearest) < 0.1 * np.median(to_any)


@pytest.mark.parametrize("bad", [
    np.zeros((200, 4)),                                         # posterior collapse: all codes are the same
    np.full((200, 4), np.nan),
    np.where(np.arange(800).reshape(200, 4) % 97 == 0, np.inf, np.arange(800.0).reshape(200, 4)),
    np.random.default_rng(0).integers(0, 2, (200, 3)),          # eight different codes only
    np.random.default_rng(0).normal(size=(50, 3)),              # fewer than 3 * perplexity + 1
    np.random.default_rng(0).normal(size=(40, 1)) * 1e30,       # a single, huge latent
    np.random.default_rng(0).normal(size=(7, 2)), np.ones((3, 2)), np.ones((1, 5)), np.ones((0, 5)),
])
def test_any_codes_give_finite_positions_without_a_warning(bad):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tsne = LiveTSNE()
        tsne.update(bad)
        positions = tsne.settle(bad)
    assert positions.shape == (len(bad), 2) and np.isfinite(positions).all()


def test_another_number_of_points_starts_anew(codes):
    tsne = LiveTSNE()
    assert tsne.update(codes[:100]).shape == (100, 2)
    assert tsne.update(codes[:120]).shape == (120, 2)


def test_equal_histories_give_equal_layouts(codes):
    a, b = LiveTSNE(), LiveTSNE()
    for k in range(3):
        assert np.array_equal(a.update(codes[:200] * (1 + k)), b.update(codes[:200] * (1 + k)))


def test_wrong_shape_is_a_sentence():
    with pytest.raises(LabError, match="points, dimensions"):
        LiveTSNE().update(np.zeros(5))


def test_refresh_is_quick(fitted, codes):
    times = []
    for _ in range(5):
        start = time.process_time()
        fitted.update(codes)
        times.append(time.process_time() - start)
    assert min(times) < 0.1
