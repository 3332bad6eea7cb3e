"""How large generative models were, and when: published figures, each with the place where it stands.

The selection is one of famous models, and those are famous partly because they were large. ``basis`` says whether the
number is stated in the source or computed from the architecture that the source states.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

FAMILIES = ("autoregressive", "VAE", "GAN", "reference")
BASES = ("stated", "computed")


@dataclass(frozen=True)
class Milestone:
    """One published model.

    Attributes:
        name: of the model, the largest of its paper.
        family: one of :data:`FAMILIES`; ``reference`` is for models that are none of the three.
        year: when it was first made public, as a number: 2018.5 is the end of June 2018.
        parameters: P, of the generator alone for a GAN.
        basis: ``stated`` or ``computed``.
        source, where: the publication, and where in it the number, or what it is computed from, is found.
    """

    name: str
    family: str
    year: float
    parameters: int
    basis: str
    source: str
    where: str


def milestones() -> list[Milestone]:
    """All of them, by family and then by date."""
    with open(Path(__file__).with_name("milestones.csv"), encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = []
    for row in rows:
        year, month = map(int, row.pop("date").split("-"))
        row |= {"year": round(year + (month - 0.5) / 12, 2), "parameters": int(row["parameters"])}
        found.append(Milestone(**row))
    return sorted(found, key=lambda m: (FAMILIES.index(m.family), m.year))
