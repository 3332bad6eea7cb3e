"""What a sweep is of: the product of a grid of parameters, and a name for each of its runs."""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import notebooks
from ..errors import LabError

MOST = 1000                 # runs that are begun without a further word


@dataclass(frozen=True)
class Point:
    """One run of a sweep.

    Attributes:
        given: the parameters that the notebook is run with.
        parameters: all parameters of the lab: those, and the defaults of the others.
        name: the name of its folder, unique in a sweep: the swept values in words, and :attr:`key`.
    """

    given: dict
    parameters: dict
    name: str

    @property
    def key(self) -> str:
        """A hash of all parameters: two runs with the same one are the same run."""
        return key(self.parameters)


@dataclass(frozen=True)
class Grid:
    """The runs of a sweep over one lab.

    Attributes:
        lab: the notebook.
        axes: name -> the values of each swept parameter; ``seed`` is the last of them.
        points: the product, in the order of the axes.
    """

    lab: Path
    axes: dict[str, list]
    points: list[Point]


def grid(lab: Path, given: Sequence[str], seeds: str | None = None, scale: str | None = None,
         most: float = MOST) -> Grid:
    """The product of ``name=value,value`` texts and the seeds, checked against the parameters of the lab.

    Args:
        given: each a name with its values, as in a CSV line: see :func:`values`.
        seeds: how many (``5``: the seeds 0 to 4), or which (``0,1,7``); the lab's own one if None.
        scale: the parameter ``scale`` of every run.
        most: the largest number of runs.

    Raises:
        LabError: an unknown parameter, a value that is empty, given twice or of another type, seeds given twice, or
            more than ``most`` runs.
    """
    known = notebooks.parameters(notebooks.read(lab))
    axes: dict[str, list] = {}
    for text in given:
        name, equals, rest = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise LabError(f"The grid {text!r} is not written like name=value,value.")
        if name in axes:
            raise LabError(f"The parameter {name} is given twice; name all its values in one --grid.")
        axes[name] = distinct(name, [notebooks.check_parameters(lab, [(name, value)])[name]
                                     for value in values(name, rest)])
    if not axes and seeds is None:
        raise LabError("There is nothing to sweep over; give --grid name=value,value or --seeds.")
    if scale is not None:
        if "scale" in axes:
            raise LabError("The scale is given twice, by --scale and by --grid scale=...; give it once.")
        axes["scale"] = [notebooks.check_parameters(lab, [("scale", scale)])["scale"]]
    if seeds is not None:
        if "seed" in axes:
            raise LabError("The seeds are given twice, by --seeds and by --grid seed=...; give them once.")
        notebooks.check_parameters(lab, [("seed", "0")])
        axes["seed"] = numbers(seeds)
    count = math.prod(map(len, axes.values()))
    if count > most:
        raise LabError(f"The grid is {' x '.join(f'{len(own)} {name}' for name, own in axes.items())}, {count:,} runs, "
                       f"more than {most:,}; make it smaller, or give --yes to run them all.")
    defaults = {name: value for name, value in known.items() if value is not None}
    points = []
    for combination in itertools.product(*axes.values()):
        own = dict(zip(axes, combination))
        points.append(Point(own, defaults | own, folder_name(own, defaults | own)))
    return Grid(lab, axes, points)


def values(name: str, text: str) -> list[str]:
    """The values in ``text``, separated by commas as in a CSV line.

    A value that holds a comma or a quotation mark, or begins or ends with a space, stands in double quotes, and a
    quotation mark in it is doubled.
    """
    try:
        rows = list(csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True))
    except csv.Error as error:
        raise LabError(f"The values of {name} in {text!r} are not written as in a CSV line ({error}); a value with a "
                       'comma or a quotation mark stands in double quotes: "a, b".') from error
    if len(rows) > 1:
        raise LabError(f"The values of {name} stand in several lines; a value with a line break stands in double "
                       "quotes.")
    found = rows[0] if rows else [""]
    if not all(found):
        raise LabError(f"An empty value is given for the parameter {name} in '{name}={text}'; "
                       f"write {name}=value,value.")
    return found


def distinct(name: str, found: list) -> list:
    seen = [json.dumps(value, sort_keys=True) for value in found]
    for number, value in enumerate(seen):
        if value in seen[:number]:
            raise LabError(f"The value {found[number]!r} of {name} is given twice; give each value once.")
    return found


def numbers(text: str) -> list[int]:
    """Seeds: how many, or which."""
    if re.fullmatch(r"\d+", text.strip()):
        count = int(text)
        if not 1 <= count <= 1_000_000:
            raise LabError(f"The number of seeds is {count}, but it must be a whole number from 1 to 1000000.")
        return list(range(count))
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(r"\d{1,18}", part) for part in parts):
        raise LabError(f"The seeds are {text!r}, but they must be how many (5) or which, separated by commas (0,1,7): "
                       "whole numbers of at least 0.")
    return distinct("seed", [int(part) for part in parts])


def key(parameters: dict) -> str:
    text = json.dumps(parameters, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def folder_name(given: dict, parameters: dict) -> str:
    """Readable, short, allowed by every file system, and unique by its hash."""
    words = [f"{name}={value}" for name, value in given.items()]
    readable = re.sub(r"[^A-Za-z0-9=.+_-]+", "_", ",".join(words).replace(",", "__"))[:80].strip("._")
    return f"{readable}-{key(parameters)}"
