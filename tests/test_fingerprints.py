"""Fingerprints of experiments: on small packages that only exist as text, one edit at a time."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from dgmlab.errors import LabError
from dgmlab.experiments import claims, measuring
from dgmlab.experiments.fingerprints import ASIDE, PACKAGE, ROOMS, definitions, fingerprint

HOUSE = {
    "errors.py": '''
class LabError(Exception):
    pass


def check_number(what, value):
    if value < 0:
        raise LabError(what)
''',
    "plots.py": "def draw(): return 1\n",
    "schedules.py": '''
def ramp(step, end=10): return min(step / end, 1.0)


def saw(step): return step % 2
''',
    "data/__init__.py": '''
import importlib

SMALL = ("digits", "letters")


def load(name, **options): return _room(name).load(**options)


def _room(name): return importlib.import_module(f".{name}", __name__)
''',
    "data/digits.py": '''
SIZE = 8


def load(n=5): return list(range(n * SIZE))


def licence(): return "free"
''',
    "data/published.py": "def load(): return 1\n",
    "models/__init__.py": "",
    "knobs.py": "class Real: pass\n",
    "models/base.py": '''
from torch import nn

from ..schedules import ramp


class Plain:
    step = 1

    def __init__(self): self.weight = ramp(self.step)

    def loss(self, x): return self._scaled(x)

    def _scaled(self, x): return 2 * x

    def picture(self): return "picture"


class Layer(nn.Module):
    def forward(self, x): return x + 1


class Mixed(Plain, nn.Module):
    pass


class Shelf:
    def take(self): return 1


SHELF = Shelf()
''',
    "models/small.py": '''
"""A small model."""

from ..errors import LabError, check_number
from ..knobs import Real
from .base import Layer, Plain

FACTOR: float = 3.0


class Small(Plain):
    """Small.

    Attributes:
        size: its size.
    """

    size: int = 4
    beta = Real(1.0, 0, 10, "KL weight", symbol="b")

    def loss(self, x: float, power: int = 2) -> float:
        """The loss."""
        check_number("The number", x)
        if x > 100:
            raise LabError(f"{x} is too large.")
        if power:
            half: float = 0.5       # why not
        return half * FACTOR * super().loss(x) ** power + Layer()(x)

    def unused(self): return self.size


def lone(): return 1
''',
    "training/__init__.py": "from .run import Run\n",
    "training/live.py": "def watch(run): return run\n",
    "training/run.py": '''
from . import live


class Run:
    def __init__(self, model): self.model = model

    def steps(self, n):
        for step in range(n):
            yield self.model.loss(step)

    def watched(self): return live.watch(self)
''',
    "experiments/__init__.py": '''
import functools


def recorded(make):
    @functools.wraps(make)
    def wrapper(*arguments): return make(*arguments)

    return wrapper
''',
    "experiments/one.py": '''
"""An experiment."""

from functools import partial

from ..data import load
from ..models import small
from ..schedules import saw as zigzag
from ..training import Run
from . import recorded

KINDS = {"small": small.Small}
STEPS = 5
CLAIMS = ["one", STEPS]


@recorded
def make_run(kind="small"):
    return Run(KINDS[kind]())


def ends(seed):
    from ..schedules import ramp

    twice = partial(ramp, end=2)
    steps = [zigzag(step) for step in make_run().steps(STEPS)]
    return {"loss": sum(steps) + twice(seed), "n": len(load("digits"))}


def other(seed): return {"loss": 0}


if __name__ == "__main__":
    print(ends(0))
''',
}


@pytest.fixture
def house(tmp_path):
    for name, text in HOUSE.items():
        path = tmp_path / "lab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "lab"


def edit(house, name, old, new):
    text = (house / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{text.count(old)} times in {name}: {old}"
    (house / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name, old, new", [
    ("models/small.py", '"""The loss."""', '"""What is descended."""'),
    ("models/small.py", '        """The loss."""\n', ""),
    ("models/small.py", "        size: its size.\n", "        size: how large.\n"),
    ("models/small.py", '"""A small model."""', "# a model"),
    ("models/small.py", "# why not", "# one half"),
    ("models/small.py", "0.5 ", "( 0.50 )"),
    ("models/small.py", "half: float =", "half ="),
    ("models/small.py", "x: float, power: int = 2) -> float", "x, power: float = 2)"),
    ("models/small.py", "is too large.", "is above 100."),
    ("models/small.py", '"The number"', '"It"'),
    ("models/small.py", '"KL weight", symbol="b"', '"weight", symbol="w", slider=(0, 2)'),
    ("models/small.py", '        check_number("The number", x)\n', ""),
    ("models/small.py", "def lone(): return 1", "def lone(): return 2"),
    ("models/small.py", "def unused(self): return self.size", "def unused(self): return 7"),
    ("models/small.py", "FACTOR: float = 3.0\n", "ANOTHER = 1\nFACTOR: float = 3.0\n"),
    ("models/base.py", 'return "picture"', "return None"),
    ("models/base.py", "class Mixed(Plain, nn.Module):", "class Mixture(Plain, nn.Module):"),
    ("errors.py", "if value < 0:", "if value <= 0:"),
    ("plots.py", "return 1", "return 2"),
    ("data/digits.py", '"free"', '"none"'),
    ("data/published.py", "return 1", "return 2"),
    ("training/live.py", "return run", "return None"),
    ("training/run.py", "def watched(self): return live.watch(self)", "def watched(self): return self"),
    ("training/run.py", "self.model.loss(step)", "self.model.loss(step + 1)"),      # the engine has tests of its own
    ("experiments/__init__.py", "return make(*arguments)", "return None"),
    ("experiments/one.py", '{"loss": 0}', '{"loss": 1}'),
    ("experiments/one.py", '["one", STEPS]', '["two"]'),
    ("experiments/one.py", "print(ends(0))", "print(ends(1))"),
    ("experiments/one.py", '"""An experiment."""', '"""One."""'),
])
def test_what_decides_no_number_leaves_no_mark(house, name, old, new):
    before = fingerprint("one.ends", house)
    edit(house, name, old, new)
    assert fingerprint("one.ends", house) == before


@pytest.mark.parametrize("name, old, new", [
    ("models/small.py", "= 3.0", "= 3.5"),                                          # a constant, by its module
    ("models/small.py", "power: int = 2", "power: int = 3"),                        # a default argument
    ("models/small.py", "size: int = 4", "size: int = 5"),                          # what stands in a class's body
    ("models/small.py", "Real(1.0, 0,", "Real(1.0, 1,"),                            # the range of a knob
    ("models/small.py", "class Small(Plain)", "class Small(Layer)"),                # a base
    ("models/small.py", "if x > 100", "if x > 99"),                                 # when it fails
    ("models/base.py", "return 2 * x", "return 3 * x"),                             # a base class's method, on self
    ("models/base.py", "step = 1", "step = 2"),
    ("models/base.py", "return x + 1", "return x + 2"),                             # which only torch calls
    ("models/base.py", "from torch import nn", "from other import nn"),             # where a name comes from
    ("schedules.py", "end=10", "end=20"),                                           # two modules away
    ("schedules.py", "step % 2", "step % 3"),                                       # by another name
    ("data/__init__.py", "(**options)", "()"),
    ("data/digits.py", "SIZE = 8", "SIZE = 9"),                                     # a module imported by its name
    ("data/digits.py", "n=5", "n=6"),
    ("experiments/one.py", 'kind="small"', 'kind="large"'),
    ("experiments/one.py", '{"small": small.Small}', '{"small": small.lone}'),      # a registry
    ("experiments/one.py", "STEPS = 5", "STEPS = 6"),
    ("experiments/one.py", "partial(ramp, end=2)", "partial(ramp, end=3)"),
    ("experiments/one.py", "import saw as", "import ramp as"),
    ("experiments/one.py", "\nKINDS", "\nKINDS = {}\nKINDS"),                       # bound twice
    ("experiments/one.py", "\nSTEPS", "\nKINDS['new'] = small.lone\nSTEPS"),        # a statement that binds nothing
])
def test_what_decides_a_number_does(house, name, old, new):
    before = fingerprint("one.ends", house)
    edit(house, name, old, new)
    assert fingerprint("one.ends", house) != before


@pytest.mark.parametrize("more, name, old, new", [
    # A method that is only named in a string, for getattr.
    ("def make_run(kind='small'): return getattr(small.Small(), 'unused')()",
     "models/small.py", "return self.size", "return 7"),
    # A method of a base without bases, beside one from elsewhere: that one may call it.
    ("from ..models.base import Mixed\n\n\ndef make_run(): return Mixed()", "models/base.py", '"picture"', "None"),
    # A module that is handed on, so that anything in it may be taken.
    ("def make_run(): return max(vars(small))", "models/small.py", "def lone(): return 1", "def lone(): return 2"),
    # A method of an object that another module made.
    ("from ..models.base import SHELF\n\n\ndef make_run(): return SHELF.take()",
     "models/base.py", "def take(self): return 1", "def take(self): return 2"),
    # An import within a condition, and a module of a package that is itself imported.
    ("try:\n    from ..schedules import saw\nexcept ImportError:\n    saw = None\n\n\ndef make_run(): return saw(1)",
     "schedules.py", "% 2", "% 3"),
    ("from .. import models\n\n\ndef make_run(): return models.small.lone()",
     "models/small.py", "def lone(): return 1", "def lone(): return 2"),
    # A package's module by the package, and a name that is local elsewhere.
    ("from .. import schedules\n\n\ndef make_run(saw=1): return schedules.saw(saw)", "schedules.py", "% 2", "% 3"),
    # A chosen definition, within a condition.
    ("if STEPS > 3:\n    def helper(): return small.lone()\nelse:\n    helper = None\n\n\n"
     "def make_run(): return helper()", "models/small.py", "def lone(): return 1", "def lone(): return 2"),
])
def test_names_that_python_looks_up_as_it_runs(house, more, name, old, new):
    (house / "experiments" / "two.py").write_text(
        f"from ..models import small\n\nSTEPS = 5\n{more}\n\n\ndef ends(seed): return make_run()\n")
    before = fingerprint("two.ends", house)
    edit(house, name, old, new)
    assert fingerprint("two.ends", house) != before


def test_a_name_that_is_local_is_not_followed(house):
    (house / "experiments" / "two.py").write_text(
        "def used(): return 1\n\n\ndef ends(used):\n    return [used for used in (used, 2)]\n")
    assert [place for place, _ in definitions("two.ends", house)] == ["experiments.two.ends"]


def test_a_definition_may_move_to_another_module(house):
    before = fingerprint("one.ends", house)
    text = HOUSE["schedules.py"].replace("def saw(step): return step % 2\n", "from .models.waves import saw\n")
    (house / "schedules.py").write_text(text)
    (house / "models" / "waves.py").write_text("def saw(step): return step % 2\n")
    assert fingerprint("one.ends", house) == before


def test_what_cannot_be_read_is_said(house):
    for experiment in ("one.absent", "absent.ends"):
        with pytest.raises(LabError, match=f"no experiment '{experiment}' in the experiments of lab"):
            fingerprint(experiment, house)
    (house / "models" / "base.py").write_text("class Plain(:")
    with pytest.raises(LabError, match=r"The source of lab.models.base cannot be read \(invalid syntax"):
        fingerprint("one.ends", house)


# -- the package's own -----------------------------------------------------------------------------------------------

def test_the_rooms_are_there_and_so_is_what_is_left_aside():
    for name in (*ROOMS, *ASIDE):
        path = PACKAGE.joinpath(*name.split("."))
        assert path.is_dir() or path.with_name(f"{path.name}.py").is_file(), name


def test_claims_reach_what_they_train_and_measure_and_nothing_else():
    found = {place for place, _ in definitions("vae_claims.beta_sweep")}
    assert {"experiments.vae.make_run", "experiments.vae_claims.BETAS", "models.vae.VAE", "models.vae.kl_to_prior",
            "metrics.latent.active_units", "data.digits.load"} <= found
    assert not {place for place in found if place.startswith((
        "models.gan", "models.text_vae", "data.published", "data.grammar", "training", "knobs", "rng",
        "experiments.gans", "experiments.claims", "experiments.measuring", "experiments.recorded"))}


def test_a_copy_of_the_source_has_the_fingerprints_of_the_source(tmp_path):
    """Nothing in them depends on where the code lies, nor on the order in which Python's sets happen to be."""
    copy = tmp_path / "elsewhere" / "dgmlab"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    experiments = ["gan_claims.ring", "translation.three_arms"]
    code = (f"import json; from pathlib import Path; from dgmlab.experiments.fingerprints import fingerprint\n"
            f"print(json.dumps([fingerprint(each, Path({str(copy)!r})) for each in {experiments}]))")
    done = subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [fingerprint(each) for each in experiments]


def test_an_edit_of_one_experiment_makes_its_claims_stale_and_no_others(tmp_path, monkeypatch):
    package = tmp_path / "dgmlab"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    records = tmp_path / "data" / "claims"
    shutil.copytree(claims.RECORDS, records)
    for path in records.glob("*.json"):
        own = [each | {"code": fingerprint(each["experiment"], package)} for each in json.loads(path.read_text())]
        path.write_text(json.dumps(own))
    monkeypatch.setattr(claims, "RECORDS", records)
    monkeypatch.setattr(claims, "fingerprint", lambda experiment: fingerprint(experiment, package))
    measuring.save_page()
    assert measuring.stale() == [] and "(stale)" not in (records / "README.md").read_text("utf-8")
    edit(package, "experiments/vae_claims.py", "BETAS = (1.0, 2.0, 4.0, 8.0)", "BETAS = (1.0, 2.0, 4.0, 9.0)")
    assert len(measuring.stale()) == 1 and "`dgmlab claims --page` writes it anew" in measuring.stale()[0]
    measuring.save_page()
    assert measuring.stale() == []
    old = [each["id"] for lab in measuring.recorded_labs() for each in claims.records(lab) if claims.is_stale(each)]
    sweep = [each.id for each in claims.all_claims() if measuring.name(each.experiment) == "vae_claims.beta_sweep"]
    assert old == sweep and len(old) > 3


def test_a_record_holds_the_fingerprint_of_every_claim():
    for path in claims.RECORDS.glob("*.json"):
        for each in json.loads(path.read_text("utf-8")):
            assert re.fullmatch("[0-9a-f]{16}", each["code"]), each["id"]
