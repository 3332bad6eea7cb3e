"""The papers' claims as data, and the verdict that several seeds give on each.

A :class:`Claim` names an experiment, a function of the seed that returns named numbers, and says in which interval one
of these numbers is expected if the claim holds. The verdict is a test that can fail, on the 95 % confidence interval
of the mean over the seeds (Student's t; on the logarithm if the number is a ratio):

* **reproduced**: the whole confidence interval lies within what is expected;
* **direction only**: it does not, but all of it lies on the expected side of "no effect";
* **not reproduced**: neither.

The claims of a lab stand in the module of its experiments, in a list ``CLAIMS``. Claims that look at different numbers
of the same experiment share its runs. What was measured lies in ``data/claims/``; :func:`evidence` shows it. A record
is stale if the code that decides its number has changed since (:mod:`dgmlab.experiments.fingerprints`).
"""

from __future__ import annotations

import importlib
import json
import math
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import LabError
from .fingerprints import fingerprint

REPRODUCED, DIRECTION, NOT = "reproduced", "direction only", "not reproduced"
INFINITE = math.inf


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper or a lecture, made testable.

    Attributes:
        id: the lab's number, a dot and a name, such as ``"03.beta_kl"``.
        source: where it is said: paper or lecture, with the section, figure or table.
        says: the claim in one sentence of our own.
        experiment: takes a seed, returns numbers by name; a function of a module (it is sent to other processes).
        quantity: the name of the number that decides.
        measured: what that number is, in words, with its unit.
        expected: the open interval (low, high) in which it lies if the claim holds; may end in infinity.
        no_effect: the value it would have if there were nothing in the claim; it lies at or beyond one end of
            ``expected``. None if no such value can be named: the verdict is then one of the other two.
        ratio: whether the number is a ratio (above 0): its mean and interval are then taken on the logarithm.
        settings: what was trained on what, in words: data, models, steps, and what the compared ones share.
        note: what the verdict leaves open; what was tried, if the claim does not show.
    """

    id: str
    source: str
    says: str
    experiment: Callable[[int], dict[str, float]]
    quantity: str
    measured: str
    expected: tuple[float, float]
    settings: str
    no_effect: float | None = 0.0
    ratio: bool = False
    note: str = ""

    def __post_init__(self):
        low, high = self.expected
        if not low < high or self.no_effect is not None and low < self.no_effect < high:
            raise LabError(f"The claim {self.id} expects {self.expected}, but the interval must have low < high, and "
                           f"no_effect ({self.no_effect}) must not lie inside it.")

    @property
    def lab(self) -> str:
        return self.id.partition(".")[0]


@dataclass(frozen=True)
class Verdict:
    """What the seeds say: the mean, its 95 % confidence interval, and one of the three words."""

    mean: float
    low: float
    high: float
    word: str


def verdict(values: Sequence[float], expected: tuple[float, float], *, no_effect: float | None = 0.0,
            ratio: bool = False) -> Verdict:
    """The verdict of one value a seed; see the head of this module.

    Raises:
        LabError: for fewer than three seeds, or values that are not finite (not above 0, if they are ratios).
    """
    from scipy import stats

    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 3:
        raise LabError(f"A verdict was asked of {values.size} seeds, but it needs at least 3; give --seeds 3 or more.")
    if not np.isfinite(values).all() or (ratio and (values <= 0).any()):
        raise LabError(f"The seeds gave {values.tolist()}, but a verdict needs finite numbers"
                       f"{' above 0, since they are ratios' if ratio else ''}; look at the experiment.")
    scaled = np.log(values) if ratio else values
    mean, error = scaled.mean(), scaled.std(ddof=1) / math.sqrt(len(scaled))
    half = stats.t.ppf(0.975, len(scaled) - 1) * error
    mean, low, high = ((math.exp(v) if ratio else float(v)) for v in (mean, mean - half, mean + half))
    inside = expected[0] < low and high < expected[1]
    right_side = no_effect is not None and (low > no_effect if expected[0] >= no_effect else high < no_effect)
    return Verdict(mean, low, high, REPRODUCED if inside else DIRECTION if right_side else NOT)


def all_claims() -> list[Claim]:
    """Every claim of every lab, in the order of labs and, within a lab, as its modules list them."""
    package = importlib.import_module(__package__)
    found = [claim for module in pkgutil.iter_modules(package.__path__)
             for claim in getattr(importlib.import_module(f"{__package__}.{module.name}"), "CLAIMS", [])]
    repeated = {claim.id for claim in found if [other.id for other in found].count(claim.id) > 1}
    if repeated:
        raise LabError(f"Two claims are called {', '.join(sorted(repeated))}; give one of them another id.")
    return sorted(found, key=lambda claim: claim.lab)


# -- what was measured -----------------------------------------------------------------------------------------------

RECORDS = Path(__file__).resolve().parents[2] / "data" / "claims"     # of the clone: tracked by git, wherever data lie


class Evidence(pd.DataFrame):
    """A table whose sentences a notebook shows whole; otherwise an ordinary DataFrame."""

    def _repr_html_(self) -> str:
        style = self.style if self.attrs.get("stale") is None else self.style.set_caption(self.attrs["stale"])
        style = style.format(escape="html").hide(axis="index").set_uuid("evidence").set_properties(
            **{"text-align": "left", "vertical-align": "top"}).set_properties(
            subset=self.columns[2:], **{"white-space": "nowrap"})                           # numbers in one line
        headings = [{"selector": "th", "props": "text-align: left"},
                    {"selector": "caption", "props": "caption-side: bottom; text-align: left"}]
        return style.set_table_styles(headings).to_html()


def evidence(lab: str | int) -> Evidence:
    """The recorded claims of a lab as a table: claim, what is measured, expected, measured, seeds, verdict.

    *measured* is the mean over the seeds (of a ratio, the geometric mean) with its 95 % confidence interval. The
    verdict of a stale record says that it is stale.

    Args:
        lab: its number, ``"03"``.

    Raises:
        LabError: nothing is recorded for the lab.
    """
    rows = [{"claim": record["says"], "what is measured": record["measured"],
             "expected": in_words(*record["expected"]),
             "measured, 95 % interval": in_digits(record["mean"], *record["interval"]),
             "seeds": record["seeds"], "verdict": record["verdict"] + " (stale)" * is_stale(record)}
            for record in records(lab)]
    table = Evidence(rows)
    if any(row["verdict"].endswith("(stale)") for row in rows):
        table.attrs["stale"] = ("Stale: the code that decides the number has changed since it was measured; "
                                f"dgmlab claims {str(lab).zfill(2)} --save measures it again.")
    return table


def is_stale(record: dict) -> bool:
    """Whether the code that decides a recorded number is another than when it was measured."""
    try:
        return record.get("code") != fingerprint(record["experiment"])
    except LabError:                                        # the experiment is gone
        return True


def records(lab: str | int) -> list[dict]:
    """What `dgmlab claims LAB --save` left in ``data/claims/``, one object a claim.

    Raises:
        LabError: there is nothing, or it cannot be read.
    """
    number = str(lab).zfill(2)
    path = RECORDS / f"{number}.json"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in RECORDS.glob("*.json"))) or "none yet"
        raise LabError(f"No measured claims of lab {number} are recorded in data/claims (recorded are: {known}); "
                       f"`dgmlab claims {number} --save`, in a clone of the repository, measures and records them.")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LabError(f"data/claims/{path.name} is not whole ({error}); get it back with `git checkout`, or measure "
                       f"again with `dgmlab claims {number} --save`.") from error
    for record in found:
        low, high = record["expected"]                      # JSON knows no infinity: null stands for it
        record["expected"] = (-INFINITE if low is None else low, INFINITE if high is None else high)
    return found


def in_words(low: float, high: float) -> str:
    """An expected interval, such as ``above 0`` or ``0.5 to 2``."""
    if math.isinf(low):
        return f"below {high:.4g}" if math.isfinite(high) else "any"
    return f"above {low:.4g}" if math.isinf(high) else f"{low:.4g} to {high:.4g}"


def in_digits(mean: float, low: float, high: float) -> str:
    """``mean [low, high]``, to as many digits as the interval's half-width has two of."""
    half = (high - low) / 2
    size = half if half > 1e-9 * abs(mean) else abs(mean) / 100 or 1.0
    places = 1 - math.floor(math.log10(size))
    if places > 6:
        return f"{mean:.1e} [{low:.1e}, {high:.1e}]"
    places = max(places, 0)
    return f"{mean:,.{places}f} [{low:,.{places}f}, {high:,.{places}f}]"
