"""The data room: fixed splits, glyphs with their truth, densities against integrals, a bad network."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import http.server
import io
import os
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dgmlab import data
from dgmlab.data import densities, digits, glyphs, published
from dgmlab.errors import LabError


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Every test has a data folder of its own."""
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "data"))
    glyphs._frozen.cache_clear()
    published._frozen.cache_clear()
    return tmp_path / "data"


def sentence(error) -> str:
    text = str(error.value)
    assert text.endswith(".") and "\n" not in text
    return text


# -- the door ----------------------------------------------------------------------------------------------------

def test_folder_is_the_environments_the_checkouts_or_the_users(home, monkeypatch):
    assert data.folder() == home
    monkeypatch.delenv("DGMLAB_DATA")
    assert data.folder() == Path(data.__file__).parents[2] / "data"
    monkeypatch.setattr("dgmlab.data.base.__file__", "/nowhere/site-packages/dgmlab/data/base.py")
    assert data.folder() == Path.home() / ".cache" / "dgmlab"


def test_importing_the_room_brings_in_nothing_heavy():
    code = "import sys, dgmlab.data; print(*{'torch', 'sklearn', 'matplotlib', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_unknown_names_and_options_are_answered_with_the_known_ones():
    with pytest.raises(LabError) as error:
        data.load("minst")
    assert all(name in sentence(error) for name in data.names())
    with pytest.raises(LabError) as error:
        data.load("glyphs", colour="red")
    assert "'colour'" in sentence(error) and "rotation" in sentence(error)
    with pytest.raises(LabError, match="digits has no option 'size'"):
        data.load("digits", size=8)
    with pytest.raises(LabError, match="mnist has no option 'title'; it has download"):
        data.load("mnist", title=1)


# -- digits ------------------------------------------------------------------------------------------------------

def test_digits_are_scikit_learns_scaled_and_split():
    from sklearn.datasets import load_digits

    d = data.load("digits")
    assert d.shape == (1, 8, 8) and len(d.classes) == 10
    assert [len(split) for split in (d.train, d.valid, d.test)] == [1197, 300, 300]
    for split in (d.train, d.valid, d.test):
        assert split.x.dtype == torch.float32 and split.y.dtype == torch.int64
        share = split.y.bincount(minlength=10) / len(split)
        every = torch.from_numpy(np.bincount(load_digits().target)) / 1797
        assert (share - every).abs().max() < 1 / len(split) + 1e-6      # stratified, to within one example

    ours = torch.cat([torch.cat([s.x.flatten(1) * 16, s.y[:, None]], 1) for s in (d.train, d.valid, d.test)])
    theirs = torch.from_numpy(np.concatenate([load_digits().data, load_digits().target[:, None]], 1)).float()
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))        # each of them once


def test_the_first_digits_of_every_part_are_a_fair_sample():
    d = data.load("digits")
    for part in (d.train, d.valid, d.test):
        counts = torch.bincount(part.y[:100], minlength=10)
        assert ((counts - 10).square() / 10).sum() < 21.7, counts     # chi square, 9 degrees of freedom, 1 %


def test_digits_split_is_the_same_forever():
    # written down once: a change of the split would make every recorded figure incomparable
    labels = data.load("digits").train.y.numpy().astype("<i8").tobytes()
    assert hashlib.sha256(labels).hexdigest()[:16] == "3d50a9025edabf9c"
    digits.check()


def test_what_a_caller_does_to_the_data_stays_his():
    for options in ({"name": "digits"}, {"name": "glyphs", "n": 50}):
        first = data.load(**options)
        before = first.train.x.clone(), first.train.y.clone()
        first.train.x.zero_()
        first.train.y.fill_(3)
        again = data.load(**options)
        assert torch.equal(again.train.x, before[0]) and torch.equal(again.train.y, before[1])
    with pytest.raises(ValueError):
        digits._frozen().x[0] = 1       # the bytes that the process keeps are read-only


# -- glyphs ------------------------------------------------------------------------------------------------------

def test_glyphs_are_the_same_for_a_seed_and_differ_between_seeds():
    a = data.load("glyphs", n=200, seed=1)
    for path in (data.folder() / "cache").iterdir():
        path.unlink()
    glyphs._frozen.cache_clear()
    b, c = data.load("glyphs", n=200, seed=1), data.load("glyphs", n=200, seed=2)
    assert torch.equal(a.train.x, b.train.x) and torch.equal(a.test.jitter, b.test.jitter)
    assert not torch.equal(a.train.x, c.train.x)


def test_every_pair_of_character_and_font_is_equally_frequent():
    d = data.load("glyphs", n=1200, characters="Ab3", fonts=["cmr10", "DejaVuSans"], size=8)
    assert d.classes == ("A", "b", "3") and d.fonts == ("cmr10", "DejaVuSans") and d.shape == (1, 8, 8)
    for split, each in ((d.train, 160), (d.valid, 20), (d.test, 20)):
        assert torch.bincount(split.y * 2 + split.font).tolist() == [each] * 6


@pytest.mark.parametrize("size", [8, 16, 28, 64])
def test_the_truth_of_a_translation_can_be_rendered(size):
    a = data.load("glyphs", fonts=["DejaVuSans"], n=60, size=size, seed=5)
    b = data.load("glyphs", fonts=["STIXGeneralItalic"], n=60, size=size, seed=5)
    assert torch.equal(a.train.y, b.train.y) and torch.equal(a.train.jitter, b.train.jitter)
    letters = [a.classes[c] for c in a.train.y]
    assert torch.equal(glyphs.render(letters, "STIXGeneralItalic", a.train.jitter, size), b.train.x)
    assert not torch.equal(a.train.x, b.train.x)
    # two fonts in one call
    both = glyphs.render(letters[:2], ["DejaVuSans", "STIXGeneralItalic"], a.train.jitter[:2], size)
    assert torch.equal(both[0], a.train.x[0]) and torch.equal(both[1], b.train.x[1])


def test_jitter_does_what_its_columns_say():
    still = list(glyphs.STILL)

    def picture(column, value, character="L"):
        jitter = list(still)
        jitter[column] = value
        return glyphs.render(character, "DejaVuSans", [jitter], size=64)[0, 0].double()

    def middle(image):      # centre of mass, (right, up)
        at = torch.arange(64).double() + 0.5
        return (image.sum(0) @ at / image.sum()).item(), (64 - image.sum(1) @ at / image.sum()).item()

    plain = picture(2, 1.0)
    assert torch.equal(plain, glyphs.render("L", "DejaVuSans", size=64)[0, 0].double())
    right, up = middle(plain)
    assert middle(picture(3, 0.1))[0] == pytest.approx(right + 6.4, abs=0.05)
    assert middle(picture(4, 0.1))[1] == pytest.approx(up + 6.4, abs=0.05)
    assert picture(2, 0.5).sum().item() == pytest.approx(plain.sum().item() / 4, rel=0.02)
    # a quarter turn is exact on a square grid: the L lies on its back
    assert (picture(0, 90.0) - plain.rot90()).abs().max() < 0.02
    # a slant moves each row to the right by the tangent times its height and keeps the ink
    slanted = picture(1, 0.3, "I")
    upright = picture(1, 0.0, "I")
    assert slanted.sum().item() == pytest.approx(upright.sum().item(), rel=0.01)
    top = slanted[16].argmax() - upright[16].argmax()
    bottom = slanted[47].argmax() - upright[47].argmax()
    assert (top - bottom).item() == pytest.approx(0.3 * 31, abs=1.5)


def test_every_font_renders_every_character_differently_and_within_the_frame():
    for font in glyphs.FONTS:
        x = glyphs.render(glyphs.CHARACTERS, font, size=32)
        assert x.min() >= 0 and x.max() <= 1 and x.flatten(1).amax(1).min() > 0.5
        edge = torch.cat([x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]], -1)
        assert edge.max() < 0.25        # the widest W of the boldest font just reaches it
        apart = torch.cdist(x.flatten(1), x.flatten(1)) + 99 * torch.eye(len(x))
        assert apart.min() > 0.5


def test_pixels_of_a_small_glyph_are_the_means_of_a_large_ones():
    # coverage: rendering at 16 pixels is rendering at 64 and averaging 4 x 4 blocks, but for how curves are flattened
    for characters, within in (("EHLTAWVXYZ", 0.012), ("QRSOaeg", 0.08)):
        large, small = (glyphs.render(characters, "DejaVuSans", size=size).double() for size in (64, 16))
        assert (torch.nn.functional.avg_pool2d(large, 4) - small).abs().max() < within


def test_glyph_caches_are_used_and_damaged_ones_replaced(home, monkeypatch):
    first = data.load("glyphs", n=50)
    [path] = (home / "cache").iterdir()
    assert path.name.startswith("glyphs-") and path.suffix == ".safetensors"

    def forbidden(*_):
        raise AssertionError("rendered again")

    glyphs._frozen.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(glyphs, "_draw", forbidden)
        assert torch.equal(data.load("glyphs", n=50).train.x, first.train.x)

    whole = path.read_bytes()
    for damage in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        path.write_bytes(damage)
        [finding] = data.verify("glyphs")
        assert not finding.ok and path.name in finding.sentence and finding.sentence.endswith(".")
        glyphs._frozen.cache_clear()
        assert torch.equal(data.load("glyphs", n=50).train.x, first.train.x)
        assert path.read_bytes() == whole and data.verify("glyphs")[0].ok
    assert [p.name for p in (home / "cache").iterdir()] == [path.name]     # nothing half-written beside it


def test_glyphs_work_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "file"))
    assert len(data.load("glyphs", n=20).train) == 16


@pytest.mark.parametrize("options, says", [
    ({"fonts": ["Comic Sans"]}, "cmtt10"), ({"fonts": []}, "cmtt10"), ({"fonts": "Arial"}, "cmtt10"),
    ({"characters": "AB!"}, "known characters are 0123456789ABC"), ({"characters": ""}, "A to Z"),
    ({"characters": "AA"}, "twice"), ({"size": 7}, "from 8 to 64"), ({"size": 65}, "from 8 to 64"),
    ({"n": 3}, "from 10"), ({"rotation": -1}, "from 0 to 180"), ({"scale": 1.0}, "from 0 to 0.9"),
    ({"seed": -1}, "seed"),
])
def test_bad_glyphs_are_refused_in_a_sentence(options, says):
    with pytest.raises(LabError) as error:
        data.load("glyphs", **options)
    assert says in sentence(error)


def test_bad_jitters_are_refused_in_a_sentence():
    for jitter, says in (([[0, 0, 1, 0]], "rotation, shear, scale, right, up"), ([[0, 0, 0, 0, 0]], "above 0"),
                         ([[np.nan, 0, 1, 0, 0]], "not finite")):
        with pytest.raises(LabError) as error:
            glyphs.render("A", "cmr10", jitter)
        assert says in sentence(error)


def test_ten_thousand_glyphs_take_seconds():
    start = time.perf_counter()
    assert len(data.load("glyphs", n=10_000).train) == 8000
    assert time.perf_counter() - start < 10      # 0.2 s where this was written


# -- densities ---------------------------------------------------------------------------------------------------

def grid_of(d, points):
    low, high = d.extent
    side = low + (torch.arange(points).double() + 0.5) * (high - low) / points
    return torch.cartesian_prod(*[side] * d.dim).reshape(-1, d.dim), ((high - low) / points) ** d.dim


@pytest.mark.parametrize("name", densities.NAMES)
def test_log_prob_integrates_to_one(name):
    d = data.density(name)
    x, area = grid_of(d, 200 if d.dim == 2 else 5000)
    assert d.log_prob(x).exp().sum().item() * area == pytest.approx(1, abs=2e-6 if name != "checkerboard" else 1e-12)


@pytest.mark.parametrize("name", densities.NAMES)
def test_samples_fill_the_bins_as_log_prob_says(name):
    d, n, bins, fine = data.density(name), 20_000, 12, 20
    low, high = d.extent
    x = d.sample(n, seed=3)
    assert x.shape == (n, d.dim) and x.dtype == torch.float32 and torch.equal(x, d.sample(n, seed=3))
    assert not torch.equal(x, d.sample(n, seed=4))

    points, area = grid_of(d, bins * fine)
    mass = (d.log_prob(points).exp() * area).reshape([bins, fine] * d.dim)
    mass = mass.sum((1, 3) if d.dim == 2 else 1).flatten()
    cell = ((x - low) / (high - low) * bins).long().clamp(0, bins - 1)
    count = torch.bincount(cell @ torch.tensor([bins, 1][-d.dim:]), minlength=bins ** d.dim)

    assert count[mass < 1e-12].sum() == 0
    full = mass * n > 5
    chi2 = ((count - n * mass)[full] ** 2 / (n * mass[full])).sum().item()
    freedom = full.sum().item() - 1
    assert chi2 < freedom + 5 * (2 * freedom) ** 0.5 + 5


@pytest.mark.parametrize("name", densities.NAMES)
def test_the_mean_of_log_prob_over_samples_is_minus_the_entropy(name):
    d = data.density(name)
    x, area = grid_of(d, 200 if d.dim == 2 else 5000)
    p = d.log_prob(x).exp()
    entropy = -(torch.special.xlogy(p, p)).sum().item() * area
    at_samples = d.log_prob(d.sample(20_000, seed=1).double())
    assert -at_samples.mean().item() == pytest.approx(entropy, abs=5 * (at_samples.std().item() + 1e-9) / 20_000 ** 0.5)


def test_closed_forms():
    x = torch.tensor([[0.0], [1.0], [-2.5]]).double()
    normal = torch.distributions.Normal(0.5, 2.0)
    assert torch.allclose(densities.gaussian(0.5, 2.0).log_prob(x), normal.log_prob(x)[:, 0])
    ring = densities.ring()
    # at a centre only its own part counts: log(1/8) - log(2 pi sd^2)
    assert torch.allclose(ring.log_prob(ring.modes.double()),
                          torch.tensor(-np.log(8) - np.log(2 * np.pi * 0.05 ** 2)), atol=1e-5)
    assert torch.allclose(ring.modes.norm(dim=1), torch.tensor(2.0)) and ring.modes.shape == (8, 2) and ring.sd == 0.05
    assert densities.grid().modes.shape == (25, 2)
    assert sorted(set(densities.grid().modes.flatten().tolist())) == [-2, -1, 0, 1, 2]
    board = densities.checkerboard()
    assert torch.equal(board.log_prob(board.modes), torch.full((8,), -np.log(8)).float())
    assert torch.equal(board.log_prob(torch.tensor([[-1.5, -0.5], [2.1, 0.0]])), torch.tensor([-np.inf, -np.inf]))
    for name in ("gaussian", "mixture", "ring", "grid", "checkerboard"):
        assert data.density(name).exact and data.density(name).error == 0


def test_mixture_weights_are_respected():
    d = densities.mixture(means=(-3, 3), sds=(0.5, 0.5), weights=(3, 1))
    assert (d.sample(40_000) < 0).float().mean().item() == pytest.approx(0.75, abs=0.01)
    assert (d.log_prob(torch.tensor([[-3.0]])) - d.log_prob(torch.tensor([[3.0]]))).item() == pytest.approx(np.log(3))


@pytest.mark.parametrize("name, options", [("moons", {}), ("moons", {"sd": 0.02}), ("moons", {"sd": 1}), ("spiral", {}),
                                           ("spiral", {"turns": 5, "sd": 0.1}), ("spiral", {"sd": 2}),
                                           ("spiral", {"turns": 0.25})])
def test_quadrature_is_within_its_stated_error(name, options):
    d = data.density(name, **options)
    assert not d.exact and d.error == 1e-6
    low, high = d.extent
    x = low + (high - low) * torch.rand(500, 2, generator=torch.Generator().manual_seed(0)).double()
    finer = densities.BlurredCurve(d.name, d.arcs, d.sd, d.extent, nodes_per_sd=8.0)
    assert (d.log_prob(x) - finer.log_prob(x)).abs().max() < d.error


@pytest.mark.parametrize("name", ["moons", "spiral"])
def test_quadrature_agrees_with_adaptive_quadrature(name):
    from scipy.integrate import quad

    d = data.density(name)
    for x in d.sample(5, seed=2).double():
        def at(t, arc, x=x):
            t = torch.tensor([t], dtype=torch.float64)
            near = ((x - arc.curve(t)) ** 2).sum() / (2 * d.sd ** 2)
            return (arc.density(t) * torch.exp(-near) / (2 * np.pi * d.sd ** 2) / len(d.arcs)).item()

        p = sum(quad(at, a / 20, (a + 1) / 20, args=(arc,), epsabs=1e-10, epsrel=1e-8)[0]
                for arc in d.arcs for a in range(20))
        assert d.log_prob(x[None]).item() == pytest.approx(np.log(p), abs=d.error)


def test_moons_are_scikit_learns():
    from sklearn.datasets import make_moons

    theirs = torch.from_numpy(make_moons(400, noise=None)[0]) - torch.tensor([0.5, 0.25])
    thin = densities.moons(sd=0.01)
    on_curve = thin.log_prob(theirs)
    # everywhere along it: half the mass over a length of pi, blurred by sd across; half of that at the four ends
    middle = np.log(0.5 / np.pi) - np.log(0.01 * (2 * np.pi) ** 0.5)
    assert on_curve.median().item() == pytest.approx(middle, abs=1e-3)
    assert on_curve.min().item() == pytest.approx(middle - np.log(2), abs=1e-2)


def test_bad_densities_are_refused_in_a_sentence():
    for call, says in ((lambda: data.density("banana"), "spiral"),
                       (lambda: data.density("ring", mode=3), "modes, radius"),
                       (lambda: densities.ring(sd=0), "standard deviation"),
                       (lambda: densities.mixture(sds=(1, 1, -1)), "above 0"),
                       (lambda: densities.mixture(weights=(1, 1)), "K weights"),
                       (lambda: densities.ring().log_prob(torch.zeros(3)), r"(number, 2)"),
                       (lambda: densities.ring().sample(-1), "at least 0")):
        with pytest.raises(LabError) as error:
            call()
        assert says in sentence(error)
    assert densities.ring().log_prob(torch.zeros(0, 2)).shape == (0,) and densities.spiral().sample(0).shape == (0, 2)


# -- published sets ----------------------------------------------------------------------------------------------

def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny(monkeypatch):
    """An MNIST of 12 + 4 images, as packed files by name; the record is told their sizes and checksums."""
    rng = np.random.default_rng(0)
    record = published.PUBLISHED["mnist"]
    contents = [idx(rng.integers(0, 256, (12, 28, 28))), idx(rng.integers(0, 10, 12)),
                idx(rng.integers(0, 256, (4, 28, 28))), idx(rng.integers(0, 10, 4))]
    packed = {source.name: gzip.compress(content) for source, content in zip(record.sources, contents, strict=True)}
    sources = tuple(published.Source(name, len(blob), hashlib.md5(blob).hexdigest(),
                                     hashlib.sha256(gzip.decompress(blob)).hexdigest())
                    for name, blob in packed.items())
    record = dataclasses.replace(record, sources=sources, counts=(8, 4, 4), mirrors=("http://127.0.0.1:9/",))
    monkeypatch.setitem(published.PUBLISHED, "mnist", record)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    return packed


def put(files: dict[str, bytes], record="mnist") -> Path:
    place = published.PUBLISHED[record].folder
    place.mkdir(parents=True, exist_ok=True)
    for name, blob in files.items():
        (place / name).write_bytes(blob)
    return place


def pixels(*splits) -> np.ndarray:
    return (torch.cat([split.x for split in splits]) * 255).round().byte().numpy()


def test_idx_files_are_read_packed_and_unpacked(tiny, home):
    put(tiny)
    packed = data.load("mnist")
    assert packed.shape == (1, 28, 28) and [len(s) for s in (packed.train, packed.valid, packed.test)] == [8, 4, 4]
    train_x, train_y, test_x, _ = (np.frombuffer(gzip.decompress(blob), np.uint8) for blob in tiny.values())
    assert np.array_equal(pixels(packed.train, packed.valid).ravel(), train_x[16:])
    assert np.array_equal(pixels(packed.test).ravel(), test_x[16:])
    assert np.array_equal(torch.cat([packed.train.y, packed.valid.y]).numpy(), train_y[8:])

    for path in (home / "published" / "MNIST" / "raw").iterdir():
        path.unlink()
    put({name.removesuffix(".gz"): gzip.decompress(blob) for name, blob in tiny.items()})
    published._frozen.cache_clear()
    assert torch.equal(data.load("mnist").train.x, packed.train.x)
    assert [(f.ok, f.file.suffix) for f in data.verify("mnist")] == [(True, "")] * 4


def test_files_packed_anew_are_as_good(tiny):
    put({name: gzip.compress(gzip.decompress(blob), 1, mtime=7) for name, blob in tiny.items()})
    assert len(data.load("mnist").train) == 8 and all(finding.ok for finding in data.verify("mnist"))


def test_a_wrong_file_is_named(tiny):
    name = "train-images-idx3-ubyte.gz"
    blob = bytearray(gzip.decompress(tiny[name]))
    blob[40] ^= 1
    for wrong in (gzip.compress(bytes(blob)), tiny[name][:-9], b""):
        place = put(tiny | {name: wrong})
        with pytest.raises(LabError) as error:
            data.load("mnist")
        assert str(place / name) in sentence(error) and "checksum" in sentence(error)
        findings = data.verify()
        assert [f.file.name for f in findings if not f.ok] == [name]
        assert name in next(f.sentence for f in findings if not f.ok)


@pytest.mark.parametrize("content, says", [
    (b"", "not an idx file"), (b"\0\0\x0d\1" + bytes(8), "not an idx file"),
    (b"\0\0\x08\3" + bytes(4), "not an idx file"),
    (idx(np.zeros((3, 2)))[:-1], "announces 18"), (idx(np.zeros((3, 2))) + b"x", "announces 18"),
])
def test_broken_idx_files_are_refused(content, says, tmp_path):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(LabError) as error:
        published.read_idx(tmp_path / "x")
    assert says in sentence(error)


@pytest.mark.parametrize("name, labels", [("cifar10", 1), ("cifar100", 2)])
def test_cifar_is_read_from_the_archive_and_unpacked(name, labels, monkeypatch):
    rng = np.random.default_rng(1)
    record = published.PUBLISHED[name]
    x = rng.integers(0, 256, (12, 3, 32, 32)).astype(np.uint8)
    y = rng.integers(0, 10, 12).astype(np.uint8)
    rows = np.concatenate([np.full((12, labels - 1), 7, np.uint8), y[:, None], x.reshape(12, -1)], 1)
    parts = published._binaries(record)
    images = [part for part in parts if part.endswith(".bin")]
    chunks = [rows[:10], rows[10:]] if labels == 2 else [*np.split(rows[:10], 5), rows[10:]]
    files = {part: chunk.tobytes() for part, chunk in zip(images, chunks, strict=True)}
    if labels == 2:
        files["fine_label_names.txt"] = "\n".join(f"class_{i}" for i in range(100)).encode()

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for part, content in files.items():
            info = tarfile.TarInfo(f"{record.place}/{part}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    blob = packed.getvalue()
    source = published.Source(record.sources[0].name, len(blob), hashlib.md5(blob).hexdigest())
    monkeypatch.setitem(published.PUBLISHED, name, dataclasses.replace(record, sources=(source,), counts=(8, 2, 2)))

    place = put({source.name: blob}, name)
    d = data.load(name)
    assert d.shape == (3, 32, 32) and len(d.classes) == (10 if labels == 1 else 100)
    assert np.array_equal(pixels(d.train, d.valid, d.test), x)
    assert torch.cat([d.train.y, d.valid.y, d.test.y]).tolist() == y.tolist()
    assert "right checksum" in data.verify(name)[0].sentence

    (place / source.name).unlink()
    put(files, name)
    published._frozen.cache_clear()
    assert torch.equal(data.load(name).test.x, d.test.x)
    [finding] = data.verify(name)
    assert finding.ok and "no checksum is published" in finding.sentence


# -- the network -------------------------------------------------------------------------------------------------

@pytest.fixture
def server(tiny, monkeypatch):
    """A mirror of the tiny MNIST; ``cut`` ends each reply after so many bytes, ``asked`` lists the requests."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            blob = self.server.files.get(self.path[1:])
            if blob is None:
                return self.send_error(404)
            start = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.server.ranges else 0
            self.server.asked.append((self.path[1:], start))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(blob) - start))
            self.end_headers()
            self.wfile.write(blob[start:][:self.server.cut])

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.cut, server.asked, server.ranges = dict(tiny), None, [], True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        record = dataclasses.replace(published.PUBLISHED["mnist"], mirrors=(f"http://127.0.0.1:{server.server_port}/",))
        monkeypatch.setitem(published.PUBLISHED, "mnist", record)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        yield server
        server.shutdown()


def left_behind(home) -> set[str]:
    return {path.name for path in home.rglob("*") if path.is_file()} - {".lock"}


def test_load_fetches_what_is_missing_and_only_that(server, tiny, home):
    put({"t10k-labels-idx1-ubyte.gz": tiny["t10k-labels-idx1-ubyte.gz"]})
    assert len(data.load("mnist").train) == 8
    assert [name for name, _ in server.asked] == list(tiny)[:3] and left_behind(home) == set(tiny)
    assert {r.name: r.state for r in data.catalogue()}["mnist"] == "downloaded"
    assert data.fetch("mnist").state == "downloaded" and len(server.asked) == 3


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_transfer_goes_on_where_it_stopped(server, tiny, home, ranges):
    server.cut = 1000
    with pytest.raises(LabError) as error:
        data.fetch("mnist")
    size = len(tiny["train-images-idx3-ubyte.gz"])
    assert f"broke off; 1,000 of {size:,} bytes are kept" in sentence(error)
    assert left_behind(home) == {"train-images-idx3-ubyte.gz.part"}
    server.cut, server.ranges = None, ranges
    data.fetch("mnist")
    assert server.asked[1] == ("train-images-idx3-ubyte.gz", 1000 if ranges else 0)
    assert left_behind(home) == set(tiny) and all(finding.ok for finding in data.verify("mnist"))


def test_wrong_bytes_are_thrown_away(server, tiny, home):
    server.files["train-images-idx3-ubyte.gz"] = bytes(len(tiny["train-images-idx3-ubyte.gz"]))
    with pytest.raises(LabError) as error:
        data.load("mnist")
    assert "wrong checksum" in sentence(error) and left_behind(home) == set()
    # a start that is not that of the file spoils what follows, but only once
    server.files = dict(tiny)
    put({"train-images-idx3-ubyte.gz.part": b"nonsense"})
    with pytest.raises(LabError, match="wrong checksum"):
        data.fetch("mnist")
    data.fetch("mnist")
    assert left_behind(home) == set(tiny)


def test_the_next_mirror_is_tried_and_then_torchvisions(server, tiny, monkeypatch):
    import types

    good = published.PUBLISHED["mnist"].mirrors[0]
    record = dataclasses.replace(published.PUBLISHED["mnist"], mirrors=(good + "moved/", good))
    monkeypatch.setitem(published.PUBLISHED, "mnist", record)
    assert len(data.load("mnist").train) == 8

    for path in record.folder.iterdir():
        path.unlink()
    record = dataclasses.replace(record, mirrors=(good + "moved/",))
    monkeypatch.setitem(published.PUBLISHED, "mnist", record)
    with pytest.raises(LabError) as error:
        data.fetch("mnist")
    assert "404" in str(error.value) or "Not Found" in str(error.value)
    assert 'pip install "dgmlab[hub]"' in sentence(error)
    fake = types.SimpleNamespace(datasets=types.SimpleNamespace(
        MNIST=types.SimpleNamespace(mirrors=[good]), FashionMNIST=types.SimpleNamespace(mirrors=[])))
    monkeypatch.setitem(sys.modules, "torchvision", fake)
    data.fetch("mnist")


def test_a_second_process_does_not_interfere(server):
    from filelock import FileLock

    place = put({})
    with FileLock(place / ".lock"), pytest.raises(LabError, match="another process"):
        data.fetch("mnist")


# a port that is closed, an address that never answers (RFC 5737), a name that does not exist (RFC 2606)
@pytest.mark.parametrize("mirror", ["http://127.0.0.1:9/", "http://192.0.2.1/", "https://no.such.host.invalid/"])
def test_without_a_network_there_is_one_sentence_within_two_seconds(mirror, tiny, home, monkeypatch):
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    record = dataclasses.replace(published.PUBLISHED["mnist"], mirrors=(mirror, mirror))
    monkeypatch.setitem(published.PUBLISHED, "mnist", record)
    start = time.perf_counter()
    with pytest.raises(LabError) as error:
        data.load("mnist")
    assert time.perf_counter() - start < 2
    assert "dgmlab data fetch mnist" in sentence(error) and str(record.folder) in sentence(error)
    assert not home.exists()


def hanging(*_, **__):
    """A connection that takes longer than anybody waits, and then fails."""
    time.sleep(4)
    raise TimeoutError


def test_a_name_look_up_that_hangs_does_not_hold_us_up(tiny, monkeypatch):
    monkeypatch.setattr(published.socket, "create_connection", hanging)
    start = time.perf_counter()
    with pytest.raises(LabError, match="there is no network"):
        data.fetch("mnist")
    assert time.perf_counter() - start < 2


def test_nothing_is_fetched_that_was_not_wanted(server):
    with pytest.raises(LabError, match="dgmlab data fetch mnist"):
        data.load("mnist", download=False)
    with pytest.raises(LabError, match="dgmlab data fetch mnist"):
        data.verify("mnist")
    assert server.asked == []


def test_catalogue_lists_everything_with_its_state():
    records = {record.name: record for record in data.catalogue()}
    assert list(records) == [*data.names(), *data.texts(), *[n for n in data.style_names() if n != "fonts"]]
    assert [r.state for r in records.values()] == ["built-in", "built-in", *["not downloaded"] * 4, *["built-in"] * 3,
                                                      *["not downloaded"] * 4, "built-in", *["not downloaded"] * 2]
    assert all(r.what and r.licence for r in records.values())
    assert records["mnist"].size == 11_594_722
    assert data.fetch("glyphs").state == "cached" and data.fetch("digits").state == "built-in"
    assert all(finding.ok for finding in data.verify())


@pytest.mark.skipif("DGMLAB_TEST_MNIST" not in os.environ, reason="DGMLAB_TEST_MNIST names no folder of idx files")
def test_the_real_mnist(home):
    (home / "published" / "MNIST").mkdir(parents=True)
    (home / "published" / "MNIST" / "raw").symlink_to(os.environ["DGMLAB_TEST_MNIST"])
    d = data.load("mnist", download=False)
    assert [len(s) for s in (d.train, d.valid, d.test)] == [55_000, 5_000, 10_000]
    assert d.test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    everything = torch.cat([d.train.x, d.valid.x])
    assert everything.mean().item() == pytest.approx(0.1307, abs=1e-4)      # the figures everybody normalises by
    assert everything.std().item() == pytest.approx(0.3081, abs=1e-4)
    assert all(finding.ok for finding in data.verify("mnist"))
