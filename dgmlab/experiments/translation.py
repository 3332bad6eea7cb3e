"""Lab 08: unpaired translation. Between two fonts, where the truth is known; between two photographs, where it is not.

What the truth and the classifier that reads the letters (:func:`reader`) say is never trained on, except by the paired
yardstick, whose use of the truth is its point.
"""

from __future__ import annotations

import functools
from functools import partial

import torch
from torch import Tensor

from ..data import Dataset, Split, glyphs, style_names, styles
from ..data.style_pairs import CHARACTERS, NEW, Pairs, Styles
from ..errors import LabError, check_choice, check_number
from ..models.classifier import Classifier
from ..models.cyclegan import CycleGAN
from ..training import Run, TensorBatches
from . import build, recorded
from .claims import INFINITE, Claim
from .judging import train_judge

SCALES = ("smoke", "lab", "paper")
SOURCE, TARGET = "DejaVuSans-Bold", "cmtt10"
STEPS = 400
# What the arms of the comparison are made of; the baseline without a cycle trains no way back, which it has no use for.
ARMS = {"no cycle": {"cycle": 0.0, "one_way": True}, "cycle": {},
        "paired": {"cycle": 0.0, "adversarial": 0.0, "paired": 10.0, "one_way": True}}
WATCHED = 24            # held-out pairs that are measured at every step


class Unpaired:
    """Batches of two collections, each shuffled by itself and of a length of its own.

    Args:
        first, second: what each batch is made of, in this order.
    """

    def __init__(self, first: TensorBatches, second: TensorBatches):
        self.parts = (first, second)
        self.batch_size = first.batch_size

    def to(self, device):
        for part in self.parts:
            part.to(device)

    def share(self, shard, shards):
        for part in self.parts:
            part.share(shard, shards)

    def next(self, order, rng):
        (x, *truth_x), (y, *truth_y) = (part.next(order, rng) for part in self.parts)
        return (x, y, *truth_x, *truth_y)

    def state(self):
        tensors, metas = {}, []
        for k, part in enumerate(self.parts):
            own, meta = part.state()
            tensors |= {f"{k}.{name}": tensor for name, tensor in own.items()}
            metas.append(meta)
        return tensors, {"parts": metas}

    def restore(self, tensors, meta):
        for k, part in enumerate(self.parts):
            part.restore({name[2:]: tensor for name, tensor in tensors.items() if name[0] == str(k)}, meta["parts"][k])


@recorded
def make_run(data: str = "fonts", source: str = SOURCE, target: str = TARGET, cycle: float = 10.0,
             identity: float = 0.0, adversarial: float = 1.0, paired: float = 0.0, one_way: bool = False,
             halvings: int | None = None, blocks: int | None = None, skip: float | None = None, lr: float = 2e-3,
             characters: str = CHARACTERS, new: str = NEW, batch: int = 8, seed: int = 0, scale: str = "lab",
             device: str = "auto", folder: str | None = None) -> Run:
    """A CycleGAN ready to be trained.

    Args:
        data: what :func:`dgmlab.data.styles` knows: ``fonts``, ``photographs``, ``horse2zebra``, ``maps``.
        source, target, characters, new: see :func:`dgmlab.data.style_pairs.fonts`; for fonts only.
        cycle, identity, adversarial, paired, lr: start values of the knobs. ``paired`` needs data whose truth is known.
        one_way: see :class:`~dgmlab.models.cyclegan.CycleGAN`.
        halvings, blocks, skip: of both translators, see :class:`~dgmlab.models.cyclegan.Translator`; None for 2, 2 and
            1 between fonts, 1, 1 and 0 otherwise. After two halvings of 16 pixels a translator sees a letter whole.
        batch: images of each side a step.
        seed: of the weights and the order of the data; fonts and patches are drawn anew with it as well.
        scale: ``smoke`` takes a quarter of the images; ``paper`` the networks, the batch of 1, the learning rate and
            the jitter (resized to 286 pixels, cropped to 256, mirrored) of Zhu et al. 2017, for the published data,
            which are otherwise shrunk to 64 pixels. (Not
            their history of 50 translations for the discriminators, nor their falling learning rate: drive ``lr``.)

    Returns:
        The run; ``run.data`` is the :class:`~dgmlab.data.style_pairs.Styles`.
    """
    check_choice("scale", scale, SCALES)
    check_choice("The pair of styles", data, style_names())
    published = data not in ("fonts", "photographs")
    if data == "fonts":
        sides = styles("fonts", source=source, target=target, characters=characters, new=new, seed=seed,
                       **({"each": 10, "held": 60} if scale == "smoke" else {}))
    elif data == "photographs":
        sides = styles("photographs", seed=seed, **({"n": 300, "held": 50} if scale == "smoke" else {}))
    else:
        sides = styles(data, size=286 if scale == "paper" else 64)
    check_number("The number of images a step", batch, 1, min(len(sides.train_x), len(sides.train_y)), whole=True)
    if paired and sides.truth_x is None:
        raise LabError(f"The paired weight is {paired:g}, but of {data} no true translation is known; set it to 0, or "
                       "take fonts.")
    parts = [(x,) if sides.truth_x is None else (x, truth)
             for x, truth in ((sides.train_x, sides.truth_x), (sides.train_y, sides.truth_y))]
    usual = {"halvings": 2, "blocks": 2, "skip": 1.0} if data == "fonts" else {"halvings": 1, "blocks": 1, "skip": 0.0}
    given = {"halvings": halvings, "blocks": blocks, "skip": skip}
    nets = {"one_way": one_way} | usual | {name: value for name, value in given.items() if value is not None}
    shape, transform = sides.shape, None
    if scale == "paper" and published:
        shape, transform, batch, lr = (3, 256, 256), crop_and_mirror, 1, 2e-4
        nets = {"width": 64, "halvings": 2, "blocks": 9, "kernel": 7, "skip": 0.0, "critic_width": 64,
                "critic_layers": 3, "patches": True, "one_way": one_way}
    watched = sides.pairs.get("valid")
    watch = None if watched is None else (watched.x[:WATCHED], watched.y[:WATCHED])
    batches = Unpaired(*(TensorBatches(part, batch, transform) for part in parts))
    knobs = {"cycle": cycle, "identity": identity, "adversarial": adversarial, "paired": paired, "lr": lr}
    run = Run(partial(CycleGAN, shape, watch=watch, **nets), batches, knobs=knobs, seed=seed, device=device,
              folder=folder)
    run.data = sides
    return run


def crop_and_mirror(batch, rng, side: int = 256):
    """Every tensor of a batch cropped at one random place to ``side`` pixels, and mirrored every other time: the truth,
    where it is there, in the same way as what it belongs to."""
    high, wide = batch[0].shape[-2:]
    up, left, mirrored = (int(rng.integers(n, (1,))) for n in (high - side + 1, wide - side + 1, 2))
    cut = [images[..., up:up + side, left:left + side] for images in batch]
    return tuple(images.flip(-1) if mirrored else images for images in cut)


def train(arm: str = "cycle", steps: int = STEPS, **options) -> Run:
    """A trained run of one of the :data:`ARMS`; ``options`` go to :func:`make_run`."""
    check_choice("The arm", arm, ARMS)
    run = make_run(**ARMS[arm] | options)
    for _ in run.steps(steps):
        pass
    return run


# -- how good --------------------------------------------------------------------------------------------------------


def reader(sides: Styles) -> Classifier:
    """The judge of characters: a classifier of letters in the font of side Y, all of ``sides.classes``, trained here in
    a few seconds on letters of its own, which are jittered twice as much; kept for the next call."""
    if sides.name != "fonts":
        raise LabError(f"Only letters can be read, but these are {sides.name}; take the data of make_run('fonts').")
    return _reader(sides.sides[1], sides.classes, sides.shape[1])


@functools.lru_cache(maxsize=8)
def _reader(font: str, characters: tuple[str, ...], size: int, each: int = 80) -> Classifier:
    n = each * len(characters)
    label = torch.arange(n) % len(characters)
    jitters = glyphs.draw_jitters(n, 1234, 10.0, 0.15, 0.15, 0.06)
    jitters[:, 2] *= 1.25
    x = glyphs.render([characters[k] for k in label.tolist()], font, jitters, size)
    part = Split(x, label)
    return train_judge(Dataset("letters", part, part, part, characters, "", ""), steps=300)


@torch.no_grad()
def translations(model: CycleGAN, x: Tensor) -> Tensor:
    """G(x) of many images, (N, C, H, W) -> (N, C, H, W), in [0, 1] and on the CPU."""
    device = next(model.parameters()).device
    return torch.cat([model.translate(part.to(device)).cpu() for part in x.split(500)])


def l1(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of two sets of images in [0, 1], as a share of full scale."""
    if a.shape != b.shape:
        raise LabError(f"Images of the shapes {tuple(a.shape)} and {tuple(b.shape)} cannot be compared row by row; "
                       "give as many of both, of one size.")
    return float((a.float() - b.float()).abs().mean())


def measure(model: CycleGAN, pairs: Pairs, judge: Classifier | None = None) -> dict[str, float]:
    """``L1`` of G(x) to the truth, and ``read right``: the share whose character the judge recognises."""
    made = translations(model, pairs.x)
    return {"L1": l1(made, pairs.y)} | ({} if judge is None else {"read right": judge.accuracy(made, pairs.label)})


def confusions(model: CycleGAN, pairs: Pairs, judge: Classifier) -> Tensor:
    """How often each character (row) is read as each (column) after translation, (K, K) whole numbers."""
    found = judge.classify(translations(model, pairs.x))
    k = judge.classes
    return torch.bincount(pairs.label * k + found, minlength=k * k).reshape(k, k)


def flops(run: Run) -> int:
    """Floating-point operations of one training step (products and sums of convolutions; those that only measure are
    left out), counted by torch on a fresh copy of the run."""
    from torch.utils.flop_counter import FlopCounterMode

    copy = build(run.spec)
    for name, value in run.knobs.values().items():
        setattr(copy.knobs, name, value)
    copy.model.watch_x = None
    copy.advance()                                  # the first step is watched by the run itself
    with FlopCounterMode(display=False) as counter:
        copy.advance()
    return counter.get_total_flops()


def equal_compute(steps: int, of: Run, by: Run) -> int:
    """How many steps of ``by`` cost as many floating-point operations as ``steps`` steps of ``of``."""
    return round(steps * flops(of) / flops(by))


def colour_shift(before: Tensor, after: Tensor) -> float:
    """How far the mean colours of images (N, 3, H, W) moved: mean over the images of the distance in RGB, where 1 is
    from black to full red."""
    if before.shape != after.shape or before.ndim != 4 or before.shape[1] != 3:
        raise LabError(f"Colours were asked of images of the shapes {tuple(before.shape)} and {tuple(after.shape)}, "
                       "but (N, 3, H, W) is needed, both alike.")
    return float((before.mean((2, 3)) - after.mean((2, 3))).norm(dim=1).mean())


def colour_distance(a: Tensor, b: Tensor, pixels: int = 2000) -> float:
    """The energy distance between the colours of the pixels of two sets of images (N, 3, H, W); 0 if they have the same
    palette in the same shares."""
    from ..metrics.samples import energy_distance

    first, second = (images.permute(0, 2, 3, 1).reshape(-1, 3) for images in (a, b))
    return energy_distance(*(p[:: max(1, len(p) // pixels)] for p in (first, second)))


# -- claims --------------------------------------------------------------------------------------------------------


def three_arms(seed: int) -> dict[str, float]:
    """L1 to the truth and characters read right, for held-out jitters (``test``) and new characters, after equal steps
    and, for the arm without a cycle, after equal compute as well."""
    found = {}

    def note(name, run):
        for what, pairs in (("", run.data.pairs["test"]), ("_new", run.data.pairs["new characters"])):
            measured = measure(run.model, pairs, judge)
            found[f"{name}_l1{what}"], found[f"{name}_read{what}"] = measured["L1"], measured["read right"]

    with_cycle, paired = (train(arm, seed=seed) for arm in ("cycle", "paired"))
    judge = reader(with_cycle.data)
    note("cycle", with_cycle)
    note("paired", paired)
    without = train("no cycle", seed=seed)
    note("none", without)
    longer = equal_compute(STEPS, with_cycle, without)
    for _ in without.steps(longer - STEPS):
        pass
    note("longer", without)
    test, new = (with_cycle.data.pairs[name] for name in ("test", "new characters"))
    return found | {
        "copy_l1": l1(test.x, test.y), "copy_l1_new": l1(new.x, new.y), "longer_steps": longer,
        "ratio": found["cycle_l1"] / found["none_l1"], "ratio_compute": found["cycle_l1"] / found["longer_l1"],
        "ratio_new": found["cycle_l1_new"] / found["none_l1_new"],
        "ratio_new_compute": found["cycle_l1_new"] / found["longer_l1_new"],
        "read_gain": 100 * (found["cycle_read"] - found["none_read"]),
        "read_gain_compute": 100 * (found["cycle_read"] - found["longer_read"]),
        "to_paired": found["cycle_l1"] / found["paired_l1"]}


def identity_weights(seed: int, steps: int = 300) -> dict[str, float]:
    """What an identity weight of 5 changes in a translation between the two photographs, on held-out patches."""
    found = {}
    for name, weight in (("none", 0.0), ("some", 5.0)):
        run = train("cycle", steps, data="photographs", cycle=5.0, identity=weight, seed=seed)
        x, y = run.data.test_x, run.data.test_y
        made, kept = translations(run.model, x), translations(run.model, y)
        found |= {f"{name}_x": colour_shift(x, made), f"{name}_y": colour_shift(y, kept), f"{name}_l1_y": l1(kept, y),
                  f"{name}_palette": colour_distance(made, y)}
    return found | {f"ratio_{what}": found[f"some_{what}"] / found[f"none_{what}"] for what in ("x", "y", "l1_y")}


_FONTS = (f"{SOURCE} to {TARGET}, 16x16 pixels: 12 characters, 40 images of each on either side, each jittered by "
          "itself; 300 held-out pairs with new jitters, 300 of three characters that training never sees. Generators "
          "of width 8, tanh(f(x) + x), with two halvings and two residual blocks, least-squares critics of the whole "
          "image, cycle weight 10, Adam at 2e-3 with betas 0.5 and 0.999, 8 images of each side a step, "
          f"{STEPS} steps. The arm without a cycle has the same generator, critic and settings, one way only. Chosen "
          "on validation pairs of other seeds.")
_PHOTOS = ("Patches of 16x16 pixels of scikit-learn's two photographs (a temple, a flower), made smaller by 3: 1,200 "
           "of each side from the left three quarters, 200 held out from the right. Generators of width 8, tanh(f(x)), "
           "with one halving and one residual block, cycle weight 5, critics and optimizer as between fonts, 300 "
           "steps.")
CLAIMS = [
    Claim("08.equal_steps", "Zhu et al. 2017, section 5.1.4 (table 4); lecture, 'CycleGAN'",
          "Cycle consistency brings the translation of unpaired letters nearer to the truth.",
          three_arms, "ratio", "L1 to the truth with the cycle, over that without, after equally many steps",
          (0.0, 2 / 3), _FONTS, no_effect=1.0, ratio=True),
    Claim("08.equal_compute", "the same, with as many operations for both",
          "Cycle consistency brings it nearer even if the run without a cycle gets the compute that the way back "
          "costs.",
          three_arms, "ratio_compute", "L1 to the truth with the cycle, over that without, after equally many "
          "floating-point operations", (0.0, 2 / 3), _FONTS + " Operations are counted by torch.", no_effect=1.0,
          ratio=True),
    Claim("08.characters", "Zhu et al. 2017, section 3: a translator may permute its images and match the other side",
          "Without a cycle letters turn into other letters; with it more of them stay what they are.",
          three_arms, "read_gain", "percentage points of held-out letters that a classifier reads right after "
          "translation, with the cycle minus without, after equally many steps", (10.0, INFINITE), _FONTS),
    Claim("08.characters_compute", "the same, with as many operations for both",
          "With the cycle more letters stay what they are also at equal compute.", three_arms, "read_gain_compute",
          "percentage points of held-out letters that a classifier reads right after translation, with the cycle "
          "minus without, after equally many floating-point operations", (10.0, INFINITE), _FONTS),
    Claim("08.new_characters", "not in the paper",
          "What the cycle gains, it gains on characters that neither side has shown in training, too.",
          three_arms, "ratio_new", "L1 to the truth of new characters with the cycle, over that without, after equally "
          "many steps", (0.0, 2 / 3), _FONTS, no_effect=1.0, ratio=True),
    Claim("08.ceiling", "Zhu et al. 2017, section 5.1 (pix2pix as upper bound); lecture, 'CycleGAN'",
          "Paired supervision is better still: the cycle does not replace the pairs.",
          three_arms, "to_paired", "L1 to the truth with the cycle, over that of the same generator trained on pairs, "
          "after equally many steps", (1.25, INFINITE), _FONTS, no_effect=1.0, ratio=True),
    Claim("08.identity", "Zhu et al. 2017, section 5.2 (equation on L_identity)",
          "With an identity weight the translator leaves images of its own target side more nearly as they are.",
          identity_weights, "ratio_l1_y", "L1 between y and G(y) with an identity weight of 5, over that without",
          (0.0, 0.75), _PHOTOS, no_effect=1.0, ratio=True),
    Claim("08.tint", "Zhu et al. 2017, section 5.2 and figure 9: without it, G is free to change the tint",
          "With an identity weight the colours of the images that are translated change less.",
          identity_weights, "ratio_x", "how far the mean colours of patches move in translation, with an identity "
          "weight of 5, over that without", (0.0, 0.75), _PHOTOS, no_effect=1.0, ratio=True),
]
