"""Lab 08: pairs of styles, the CycleGAN, and its exercises with right and wrong answers."""

from __future__ import annotations

import functools
import hashlib
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from dgmlab import data, experiments
from dgmlab.check import judge
from dgmlab.data import published_styles, style_pairs
from dgmlab.data.glyphs import render
from dgmlab.data.published import Source
from dgmlab.errors import LabError
from dgmlab.experiments import translation as tr
from dgmlab.models.cyclegan import CycleGAN
from dgmlab.rng import Rng
from dgmlab.training import Run
from dgmlab.training.session import describe, replay
from dgmlab.widgets.pictures import Curves
from dgmlab.widgets.pictures.translations import RoundTrips
from dgmlab.widgets.translation import photograph_panel, translation_panel


@functools.cache
def fonts():
    return data.styles("fonts", each=10, held=60)


@functools.cache
def small(**options):
    return tr.make_run(scale="smoke", **options)


# -- two heaps -------------------------------------------------------------------------------------------------------


def test_the_two_sides_are_unpaired_and_the_held_out_pairs_are_true():
    sides = fonts()
    assert sides.train_x.shape == sides.train_y.shape == (120, 1, 16, 16)
    test = sides.pairs["test"]
    apart = (test.x - test.y).abs().mean()
    shuffled = (sides.train_x - sides.truth_y).abs().mean()             # truth_y: the letters of Y, in the font of X
    assert shuffled > 1.5 * (sides.truth_x - sides.train_x).abs().mean() > 0 and apart < shuffled
    letter = sides.classes[int(test.label[0])]
    still = [render([letter], font, None, 16)[0] for font in sides.sides]
    assert [int((image[0] > 0.5).sum()) > 0 for image in (*still, test.x[0], test.y[0])] == [True] * 4


def test_new_characters_are_nowhere_in_training():
    sides = fonts()
    new = {sides.classes[k] for k in sides.pairs["new characters"].label.tolist()}
    assert new == set(style_pairs.NEW)
    assert {sides.classes[k] for k in sides.pairs["test"].label.tolist()} == set(style_pairs.CHARACTERS) - new


def test_equal_seeds_give_equal_heaps_and_others_do_not():
    again, other = data.styles("fonts", each=10, held=60), data.styles("fonts", each=10, held=60, seed=1)
    assert torch.equal(fonts().train_x, again.train_x) and not torch.equal(fonts().train_x, other.train_x)


def test_the_held_out_quarter_of_the_photographs_is_not_trained_on():
    sides = data.styles("photographs", n=64, held=16)
    assert sides.train_x.shape == (64, 3, 16, 16) and sides.test_y.shape == (16, 3, 16, 16)
    for photo, train, test in zip(sides.whole, (sides.train_x, sides.train_y), (sides.test_x, sides.test_y),
                                  strict=True):
        windows = photo.unfold(2, 16, 1).unfold(3, 16, 1)[0]                           # (3, H', W', 16, 16)
        border = 3 * photo.shape[3] // 4

        def lefts(patch, windows=windows):
            same = (windows == patch[:, None, None]).all(-1).all(-1).all(0)            # (H', W')
            return same.nonzero()[:, 1].tolist()

        assert all(min(lefts(patch)) + 16 <= border for patch in train[:3])
        assert all(max(lefts(patch)) >= border for patch in test[:3])


@pytest.mark.parametrize("call, says", [
    (lambda: data.styles("fonts", source="Arial"), "but it must be"),
    (lambda: data.styles("fonts", target="DejaVuSans-Bold"), "Both sides are in the font DejaVuSans-Bold"),
    (lambda: data.styles("fonts", characters="A", new=""), "Only 1 character is left for training (A)"),
    (lambda: data.styles("fonts", characters="AB", new="AB"), "Only 0 characters are left for training (none)"),
    (lambda: data.styles("fonts", characters="ABA"), "named twice"),
    (lambda: data.styles("fonts", characters="ABC", new="X"), "The new character 'X' is not among"),
    (lambda: data.styles("fonts", characters="Aé", new=""), "There is no glyph 'é'"),
    (lambda: data.styles("fonts", size=18), "must be divisible by 4"),
    (lambda: data.styles("fonts", sice=16), "fonts has no option 'sice'"),
    (lambda: data.styles("photographs", shrink=4, size=64), "no room for patches of 64"),
    (lambda: data.styles("letters"), "The pair of styles"),
    (lambda: data.styles("maps", download=False), "maps is not downloaded: run `dgmlab data fetch maps` when online"),
])
def test_bad_heaps_are_refused_in_a_sentence(call, says, tmp_path, monkeypatch):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    with pytest.raises(LabError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)


# -- photographs from files ------------------------------------------------------------------------------------------


def jpeg(colour, size=(20, 20)) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "JPEG")
    return file.getvalue()


def fill(folder, n, size=(20, 20)):
    folder.mkdir()
    for k in range(n):
        (folder / f"{k}.jpg").write_bytes(jpeg((10 * k, 0, 0), size))
    return str(folder)


def test_folders_of_ones_own(tmp_path):
    sides = style_pairs.from_folders(fill(tmp_path / "a", 12), fill(tmp_path / "b", 10), size=8)
    assert sides.sides == ("a", "b") and sides.train_x.shape == (11, 3, 8, 8) and len(sides.test_y) == 1


def test_folders_that_will_not_do_are_refused(tmp_path):
    good, few = fill(tmp_path / "good", 10), fill(tmp_path / "few", 3)
    for folder, says in ((few, "There are 3 photographs in"), (str(tmp_path / "none"), "There are 0 photographs in")):
        with pytest.raises(LabError, match=says):
            style_pairs.from_folders(good, folder, 8)
    (tmp_path / "good" / "odd.jpg").write_bytes(jpeg((0, 0, 0), (20, 30)))
    with pytest.raises(LabError, match="odd.jpg is 20 x 30 pixels, but the others are 20 x 20"):
        style_pairs.from_folders(good, good, 8)
    (tmp_path / "good" / "odd.jpg").write_bytes(b"no image")
    with pytest.raises(LabError, match="odd.jpg cannot be read as an image"):
        style_pairs.from_folders(good, good, 8)


COUNTS = (4, 4, 2, 2)


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive of the layout of maps.zip, whose record is changed to fit."""
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path))
    record = published_styles.PUBLISHED["maps"]
    place = tmp_path / "published" / "maps"
    place.mkdir(parents=True)

    def write(counts=COUNTS, side=20):
        with zipfile.ZipFile(place / "maps.zip", "w") as file:
            for part, n in zip(published_styles.FOLDERS, counts, strict=True):
                for k in range(1, n + 1):
                    file.writestr(f"maps/{part}/{k}_{part[-1]}.jpg", jpeg((20 * k, 0, 0), (side, side)))
        content = (place / "maps.zip").read_bytes()
        source = Source("maps.zip", len(content), "", sha256=hashlib.sha256(content).hexdigest())
        changed = type(record)(**{**vars(record), "sources": (source,), "counts": COUNTS, "side": 20})
        monkeypatch.setitem(published_styles.PUBLISHED, "maps", changed)
        return place

    return write


def test_a_published_archive_is_read_packed_and_unpacked(archive):
    place = archive()
    packed = data.styles("maps", size=8)
    assert packed.train_x.shape == (4, 3, 8, 8) and packed.train_y.shape == (4, 3, 8, 8)
    assert packed.train_y.dtype == torch.uint8 and packed.sides == ("aerial photographs", "maps")
    reds = packed.train_y[:, 0, 4, 4].tolist()
    assert reds == sorted(reds), "not in the order of their numbers"
    assert [(f.ok, f.sentence) for f in data.verify("maps")] == [(True, "maps: maps.zip has the right checksum.")]
    with zipfile.ZipFile(place / "maps.zip") as file:
        file.extractall(place.parent)
    (place / "maps.zip").unlink()
    assert torch.equal(data.styles("maps", size=8).test_y, packed.test_y)
    assert "no checksum is published for it unpacked" in data.verify("maps")[0].sentence


def test_published_collections_are_trained_on(archive):
    archive()
    run = tr.make_run("maps", batch=2)
    assert run.data.shape == (3, 64, 64) and np.isfinite(run.advance()["cycle"])
    paired = tr.make_run("maps", batch=2, **tr.ARMS["paired"])              # maps have a truth
    assert np.isfinite(paired.advance()["paired"])
    paper = tr.make_run("maps", batch=1, scale="paper")
    batch = paper.batches.next(Rng(0), Rng(1))
    assert [tuple(images.shape) for images in batch] == [(1, 3, 256, 256)] * 4
    assert paper.parameters > 20e6 and paper.knobs.lr == 2e-4


def test_a_wrong_archive_is_named(archive):
    place = archive()
    with (place / "maps.zip").open("ab") as file:
        file.write(b"more")
    with pytest.raises(LabError, match="The checksum of .*maps.zip is wrong"):
        data.styles("maps", size=8)
    archive(counts=(4, 3, 2, 2))
    with pytest.raises(LabError, match="holds 4 in trainA, 3 in trainB, 2 in testA, 2 in testB images, but maps has"):
        data.styles("maps", size=8)
    archive(side=24)
    with pytest.raises(LabError, match="is 24 x 24 pixels, but the others are 20 x 20"):
        data.styles("maps", size=8)


def test_the_published_figures():
    for record in published_styles.PUBLISHED.values():
        assert len(record.sources[0].sha256) == 64 and record.sources[0].size > 100e6 and len(record.counts) == 4


# -- the model -------------------------------------------------------------------------------------------------------


def test_the_terms_are_those_of_the_paper():
    """One step by hand, on networks that are known functions."""
    model = CycleGAN((1, 16, 16))

    class Half(torch.nn.Module):
        def __init__(self, k):
            super().__init__()
            self.k = torch.nn.Parameter(torch.tensor(k))

        def forward(self, x):
            return self.k * x

    class Mean(Half):
        def forward(self, x):
            return self.k * x.mean((1, 2, 3))

    model.G, model.F, model.D_Y, model.D_X = Half(0.5), Half(0.8), Mean(1.0), Mean(2.0)
    x, y = Rng(0).uniform((4, 1, 16, 16)), Rng(1).uniform((6, 1, 16, 16)) ** 2
    knobs = CycleGAN.Knobs(cycle=3.0, identity=2.0)
    seen = {}
    terms = model.step((x, y), knobs, Rng(0), lambda player, loss, **more: seen.setdefault(player, loss.item()))
    a, b = 2 * x - 1, 2 * y - 1
    adversarial = (0.5 * a.mean((1, 2, 3)) - 1).square().mean() + (1.6 * b.mean((1, 2, 3)) - 1).square().mean()
    cycle = 0.6 * (a.abs().mean() + b.abs().mean())
    identity = 0.5 * b.abs().mean() + 0.2 * a.abs().mean()
    assert terms["adversarial"].item() == pytest.approx(float(adversarial), rel=1e-5)
    assert terms["cycle"].item() == pytest.approx(float(cycle), rel=1e-5)
    assert terms["identity"].item() == pytest.approx(float(identity), rel=1e-5)
    assert seen["generators"] == pytest.approx(float(adversarial + 3 * cycle + 2 * identity), rel=1e-5)
    critics = ((b.mean((1, 2, 3)) - 1).square().mean() + (0.5 * a.mean((1, 2, 3))).square().mean()
               + (2 * a.mean((1, 2, 3)) - 1).square().mean() + (1.6 * b.mean((1, 2, 3))).square().mean())
    assert seen["discriminators"] == pytest.approx(float(critics), rel=1e-5)


def test_a_weight_of_zero_leaves_its_term_out_and_one_way_trains_half_of_it():
    run = tr.make_run(scale="smoke", cycle=0.0, one_way=True)
    before = {name: p.clone() for name, p in run.model.named_parameters()}
    tick = run.advance()
    assert set(tick.metrics) == {"adversarial", "discriminators", "to_truth"}
    moved = {name[:3] for name, p in run.model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"G.f", "D_Y"}


def test_only_paired_supervision_sees_the_truth():
    """Other truths change nothing in a run with a cycle, and all in a paired one."""
    for options, same in (({}, True), (tr.ARMS["paired"], False)):
        runs = [tr.make_run(scale="smoke", **options) for _ in range(2)]
        for part in runs[1].batches.parts:
            part.tensors = (part.tensors[0], torch.zeros_like(part.tensors[1]))
        for run in runs:
            for _ in run.steps(2):
                pass
        first, second = (torch.cat([p.flatten() for p in run.model.G.parameters()]) for run in runs)
        assert torch.equal(first, second) == same


def test_a_session_that_moves_the_weights_is_replayed_to_the_same_bits():
    run = tr.make_run(scale="smoke")
    for tick in run.steps(9):
        if tick.step == 3:
            run.knobs.cycle = 0.0
        if tick.step == 6:
            run.knobs.cycle, run.knobs.identity = 8.0, 2.0
    assert replay(describe(run), lambda: experiments.build(run.spec)).exact


def test_a_run_is_resumed_to_the_same_bits(tmp_path):
    whole, half = tr.make_run(scale="smoke"), tr.make_run(scale="smoke", folder=str(tmp_path))
    for _ in whole.steps(31):                           # beyond the end of an epoch of 15 batches
        pass
    for _ in half.steps(17):
        pass
    half.save()
    again = tr.make_run(scale="smoke", folder=str(tmp_path))
    assert again.resume() and again.step == 17
    for _ in again.steps(14):
        pass
    assert np.array_equal(whole.history.column("cycle"), again.history.column("cycle"))


def test_the_two_sides_may_be_of_different_sizes():
    sides = fonts()
    batches = tr.Unpaired(*(tr.TensorBatches(x, 8) for x in (sides.train_x, sides.train_y[:50])))
    run = Run(functools.partial(CycleGAN, (1, 16, 16)), batches)
    for _ in run.steps(8):
        pass
    assert run.step == 8


def test_the_papers_networks_translate_any_size_and_crops_are_random():
    model = CycleGAN((3, 32, 32), width=8, halvings=2, blocks=2, kernel=7, critic_layers=3, patches=True)
    assert model.translate(torch.rand(1, 3, 64, 48)).shape == (1, 3, 64, 48)
    assert model.D_Y(torch.rand(1, 3, 64, 64)).shape == (1, 1, 5, 5)
    x = torch.arange(3 * 40 * 40).reshape(1, 3, 40, 40)
    a, b = tr.crop_and_mirror((x, x + 1), Rng(0), side=32)
    assert a.shape == (1, 3, 32, 32) and torch.equal(a + 1, b)                          # the truth goes along
    assert not torch.equal(a, tr.crop_and_mirror((x,), Rng(1), side=32)[0])


@pytest.mark.parametrize("call, says", [
    (lambda: tr.make_run(cycle=-1.0, scale="smoke"), "cycle weight (cycle) is -1.0, but it must be a number from 0"),
    (lambda: tr.make_run(identity=-0.5, scale="smoke"), "identity weight (identity) is -0.5"),
    (lambda: tr.make_run("photographs", paired=1.0, scale="smoke"), "of photographs no true translation is known"),
    (lambda: tr.make_run(one_way=True, scale="smoke").advance(), "set both to 0, or make it with one_way=False"),
    (lambda: tr.make_run(batch=1000, scale="smoke"), "The number of images a step"),
    (lambda: tr.make_run(scale="huge"), "scale"),
    (lambda: tr.train("cycles"), "The arm"),
    (lambda: CycleGAN((1, 18, 16)), "sides divisible by 4"),
    (lambda: CycleGAN((1, 16, 16), watch=(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8))), "shape"),
    (lambda: tr.l1(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 16, 16)), "cannot be compared row by row"),
    (lambda: tr.colour_shift(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)), "(N, 3, H, W) is needed"),
    (lambda: tr.reader(data.styles("photographs", n=16, held=10)), "Only letters can be read"),
    (lambda: translation_panel(tr.make_run("photographs", scale="smoke")), "photograph_panel"),
    (lambda: photograph_panel(small()), "translation_panel"),
])
def test_bad_input_is_refused_in_a_sentence(call, says):
    with pytest.raises(LabError) as error:
        call()
    assert says in str(error.value) and "\n" not in str(error.value)


def test_images_without_a_truth_refuse_the_paired_weight_in_mid_run():
    run = tr.make_run("photographs", scale="smoke")
    run.knobs.paired = 1.0
    with pytest.raises(LabError, match="the batch holds no true translations"):
        run.advance()


# -- measuring -------------------------------------------------------------------------------------------------------


def test_the_reader_reads_its_font():
    sides = fonts()
    judge_, test = tr.reader(sides), sides.pairs["test"]
    assert judge_.accuracy(test.y, test.label) > 0.9 and tr.reader(sides) is judge_


def test_operations_are_counted_not_timed():
    with_cycle, without = small(), small(cycle=0.0, one_way=True)
    # by hand: the convolutions of one generator on one 16x16 image, forwards, products and sums
    g = 2 * (256 * 25 * 8 + 64 * 9 * 8 * 16 + 16 * 9 * 16 * 32 + 4 * 16 * 9 * 32 * 32
             + 16 * 16 * 32 * 16 + 64 * 16 * 16 * 8 + 256 * 25 * 8)
    d = 2 * (64 * 16 * 24 + 16 * 16 * 24 * 48 + 16 * 48)
    counted = tr.flops(without) / 8                                                     # a batch of 8
    assert 3 * g + 4 * d < counted < 3 * g + 9 * d
    assert 2.5 < tr.flops(with_cycle) / tr.flops(without) < 3.5
    assert tr.flops(without) == tr.flops(small(cycle=0.0, one_way=True)) and with_cycle.step == 0
    assert tr.equal_compute(100, with_cycle, without) == round(100 * tr.flops(with_cycle) / tr.flops(without))


def test_colours_that_move_and_colours_that_do_not():
    x = torch.rand(5, 3, 16, 16) * 0.5
    assert tr.colour_shift(x, x) == 0 and tr.colour_shift(x, x + 0.1) == pytest.approx(0.1 * 3**0.5, rel=1e-4)
    assert tr.colour_shift(x, x.flip(-1)) == pytest.approx(0, abs=1e-6)                 # a mirror moves no colour
    assert abs(tr.colour_distance(x, x.flip(-1))) < 0.01 < tr.colour_distance(x, x + 0.3)


@pytest.mark.slow
def test_a_cycle_keeps_letters_and_a_discriminator_alone_does_not():
    found = {}
    for arm in ("no cycle", "cycle", "paired"):
        run = tr.train(arm, 300)
        found[arm] = tr.measure(run.model, run.data.pairs["valid"], tr.reader(run.data))
    assert found["cycle"]["read right"] > found["no cycle"]["read right"] + 0.1
    assert found["paired"]["L1"] < found["cycle"]["L1"] < found["no cycle"]["L1"]


# -- pictures --------------------------------------------------------------------------------------------------------


def test_the_panels_are_drawn_and_say_what_they_show():
    for make, panel in ((small(), translation_panel), (tr.make_run("photographs", scale="smoke"), photograph_panel)):
        made = panel(make, steps=1)
        make.wait()
        for picture in made.pictures.values():
            content = picture.collect(make)
            assert len(picture.render(content, "png")) > 1000 and len(picture.alt(content)) > 20


def test_a_strip_says_which_are_wrong_and_which_are_new():
    picture = RoundTrips(lambda run: {"rows": [("x", np.zeros((2, 8, 8)))], "read": [("A", True), ("B", False)],
                                      "heads": ["", "*"]}, columns=2, title="Two", caption="what G(x) reads")
    content = picture.collect(None)
    assert picture.alt(content) == ("Two: rows of 2 images (x); 1 of 2 translations are read as another character.")
    picture.render(content, "png")
    assert [mark.get_text() for mark in picture.stage.marks] == ["A", "✗ B"]
    assert [head.get_text() for head in picture.stage.heads] == ["", "*"]
    stage = picture.stage
    assert stage.caption.get_window_extent().x1 < stage.mosaic.ox                       # it touches no mark


def test_a_line_that_has_ended_says_why_at_the_end_and_the_first_step_has_whole_ticks():
    picture = Curves(size=(400, 200), extent=(0, 104))
    data = {"steps": [1, 2, 3], "values": {"a": [50, 60, 70], "b": [20, np.nan, np.nan]}, "ended": {"b": "off"}}
    picture.render(data, "png")
    a, b = (picture.stage.lines[name].label for name in "ab")
    assert b.get_text() == "b\noff" and a.get_position()[0] == b.get_position()[0]
    assert picture.stage.axes.get_ylim() == (0, 104) and "b stays at 20 (off)" in picture.alt(data)
    for steps, right in (([0], 100), ([1], 1)):
        picture.render({"steps": steps, "values": {"a": [1.0]}}, "png")
        low, high = picture.stage.axes.get_xlim()
        ticks = [tick for tick in picture.stage.axes.get_xticks() if low <= tick <= high]
        assert high == right and ticks == [round(tick) for tick in ticks]


def test_the_cycle_is_said_to_be_off():
    run = tr.make_run(scale="smoke")
    panel = translation_panel(run, steps=2)
    for _ in run.steps(2):
        run.knobs.cycle = 0.0
    assert panel.pictures["losses"].source(run)["ended"] == {"cycle": "off at λ = 0"}


# -- exercises -------------------------------------------------------------------------------------------------------


def right(name, *answers, **context):
    outcome = judge(name, *answers, **context)
    assert outcome.passed, outcome.says


def wrong(name, *answers, says, **context):
    outcome = judge(name, *answers, **context)
    assert outcome.answered and not outcome.passed and says in outcome.says, outcome.says


def test_cycle_loss():
    right("08.1", lambda G, F, x, y: (F(G(x)) - x).abs().mean() + (G(F(y)) - y).abs().mean())
    right("08.1", lambda G, F, x, y: torch.nn.functional.l1_loss(F(G(x)), x) + (y - G(F(y))).abs().mean().item())
    right("08.1", lambda G, F, x, y: np.abs((F(G(x)) - x).numpy()).mean() + np.abs((G(F(y)) - y).numpy()).mean())


@pytest.mark.parametrize("answer, says", [
    (lambda G, F, x, y: (F(G(x)) - x).abs().mean(), "of x only"),
    (lambda G, F, x, y: (G(F(y)) - y).abs().mean(), "of y only"),
    (lambda G, F, x, y: ((F(G(x)) - x).abs().mean() + (G(F(y)) - y).abs().mean()) / 2, "added, not averaged"),
    (lambda G, F, x, y: (F(G(x)) - x).abs().sum() + (G(F(y)) - y).abs().sum(), "not the sum"),
    (lambda G, F, x, y: (F(G(x)) - x).square().mean() + (G(F(y)) - y).square().mean(), "squared"),
    (lambda G, F, x, y: (G(x) - x).abs().mean() + (F(y) - y).abs().mean(), "come back"),
    (lambda G, F, x, y: (G(y) - y).abs().mean() + (F(x) - x).abs().mean(), "identity loss"),
    (lambda G, F, x, y: (G(x) - y).abs().mean() + (F(y) - x).abs().mean(), "as if they were pairs"),
    (lambda G, F, x, y: (G(F(x)) - x).abs().mean() + (F(G(y)) - y).abs().mean(), "exchanged"),
    (lambda G, F, x, y: F(G(x)) - x, "one number"),
    (lambda G, F, x, y: (F(G(x)) - x).mean() + (G(F(y)) - y).mean(), "too dark makes up for what is too bright"),
    (lambda G, F, x, y: (F(G(x)) - x).mean().abs() + (G(F(y)) - y).mean().abs(), "of every pixel"),
    (lambda G, F, x, y: 2 * ((F(G(x)) - x).abs().mean() + (G(F(y)) - y).abs().mean()), "counts once"),
    (lambda G, F, x, y: 0 * x.sum(), "G(x) = 0.8 x + 0.1 and F(y) = 0.9 y"),
])
def test_cycle_loss_wrong(answer, says):
    wrong("08.1", answer, says=says)


def test_cheat():
    pairs = fonts().pairs["test"]
    for there, back in ((lambda x: x.flip(-1), lambda y: y.flip(-1)), (lambda x: 1 - x, lambda y: 1 - y),
                        (lambda x: x.roll(5, -1), lambda y: y.roll(-5, -1)),
                        (lambda x: x.numpy()[..., ::-1, :].copy(), lambda y: y.flip(-2))):
        right("08.2", there, back, pairs=pairs)
    wrong("08.2", lambda x: x, lambda y: y, says="change nothing", pairs=pairs)
    wrong("08.2", lambda x: x.flip(-1), lambda y: y, says="do not undo", pairs=pairs)
    wrong("08.2", lambda x: 0 * x, lambda y: y, says="do not undo", pairs=pairs)
    wrong("08.2", lambda x: x.roll(5, -1), lambda y: y.roll(5, -1), says="do not undo", pairs=pairs)
    wrong("08.2", lambda x: x.flip(0), lambda y: y.flip(0), says="not their order", pairs=pairs)
    wrong("08.2", lambda x: x.roll(1, 0).flip(-1), lambda y: y.roll(-1, 0).flip(-1), says="not their order",
          pairs=pairs)
    wrong("08.2", lambda x: 0.9 * x, lambda y: y / 0.9, says="nearer to the truth", pairs=pairs)
    wrong("08.2", lambda x: x[:, :, ::2], lambda y: y, says="shape", pairs=pairs)


class Fixed:
    """Stands in for a model: translations come from a list of characters."""

    def __init__(self, classes, made, y):
        self.images = render([classes[k] for k in made], y, None, 16)

    def parameters(self):
        return iter([torch.zeros(1)])

    def translate(self, x):
        return self.images


class Lookup:
    classes = 4

    def __init__(self, made):
        self.made = torch.tensor(made)

    def classify(self, x):
        return self.made


def test_lost_letter():
    classes = ("A", "B", "C", "5")
    label = torch.tensor([0] * 6 + [1] * 3 + [2] * 3)
    made = [0, 0, 0, 1, 1, 1] + [2, 2, 0] + [2, 2, 2]                   # A: half are lost (3); B: all are (3)
    pairs = style_pairs.Pairs(torch.zeros(12, 1, 16, 16), torch.zeros(12, 1, 16, 16), label)
    context = {"model": Fixed(classes, made, "cmtt10"), "pairs": pairs, "judge": Lookup(made), "classes": classes}
    right("08.3", "B", "C", **context)
    right("08.3", "b", "c", **context)
    wrong("08.3", "A", "B", says="Compare shares", **context)
    wrong("08.3", "C", "A", says="larger share", **context)
    wrong("08.3", "B", "A", says="most of its wrong readings are another", **context)
    wrong("08.3", "B", "B", says="is what it should be", **context)
    wrong("08.3", 1, "B", says="in quotes", **context)
    wrong("08.3", "5", "B", says="that row is empty, and 0/0 is not a share", **context)


@pytest.mark.parametrize("made, says", [
    ([1, 1, 1, 1], "100% of the images of A are read wrong: 4 of 4 as B. To the critic that is as good"),
    ([1, 1, 1, 2], "3 of 4 as B, the rest as 1 other character. To the critic"),
    ([1, 1, 2, 3], "2 of 4 as B, the rest as 2 other characters."),
])
def test_what_a_lost_letter_became_is_said_as_it_is(made, says):
    label = torch.zeros(4, dtype=torch.long)
    pairs = style_pairs.Pairs(torch.zeros(4, 1, 16, 16), torch.zeros(4, 1, 16, 16), label)
    outcome = judge("08.3", "A", "B", model=Fixed(("A", "B", "C", "5"), made, "cmtt10"), pairs=pairs,
                    judge=Lookup(made), classes=("A", "B", "C", "5"))
    assert outcome.passed and says in outcome.says and ("critic" in says or "critic" not in outcome.says)


def test_equal_compute():
    context = {"steps": 600, "with_cycle": small(identity=5.0), "without": small(cycle=0.0, one_way=True)}
    ratio = tr.flops(context["with_cycle"]) / tr.flops(context["without"])
    for answer in (round(600 * ratio), 600 * ratio, torch.tensor(600 * ratio), int(600 * ratio)):
        right("08.4", answer, **context)
    wrong("08.4", ratio, says="this is the ratio", **context)
    wrong("08.4", 600 / ratio, says="wrong way round: a step", **context)
    wrong("08.4", 1 / ratio, says="wrong way round, and a ratio", **context)
    alone = tr.flops(small()) / tr.flops(context["without"])
    wrong("08.4", round(600 * alone), says="price of a cycle alone (section 4)", **context)
    wrong("08.4", alone, says="of a cycle alone", **context)
    wrong("08.4", 1200, says="half the work", **context)
    wrong("08.4", 600, says="equal steps", **context)
    wrong("08.4", 600 * ratio - 600, says="on top", **context)


@pytest.mark.parametrize("number, answers", [
    (1, [lambda *a: ...]), (2, [lambda x: ..., lambda y: ...]), (3, [..., ...]), (4, [...])])
def test_unanswered(number, answers):
    context = {2: {"pairs": fonts().pairs["test"]}, 3: dict.fromkeys(("model", "pairs", "judge", "classes")),
               4: dict.fromkeys(("steps", "with_cycle", "without"))}.get(number, {})
    assert not judge(f"08.{number}", *answers, **context).answered
