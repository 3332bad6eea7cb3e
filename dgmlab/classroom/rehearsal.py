"""What an instructor wants to know beforehand, measured: how long a lab runs, and which hints typical mistakes get.

The mistakes stand in ``dgmlab/classroom/mistakes/NN.toml``, each as a student would write it into the answer's cell.
`dgmlab rehearse` has them judged like submissions and records in ``data/teaching/NN.json`` what the checks say.
"""

from __future__ import annotations

import json
import os
import platform
import tomllib
from pathlib import Path

from .. import notebooks
from ..errors import LabError
from .exercises import exercises, filled
from .files import write_text
from .grading import Limits, Submission, judge

MISTAKES = Path(__file__).parent / "mistakes"
RECORDS = Path(__file__).resolve().parents[2] / "data" / "teaching"     # of the clone: tracked by git


def mistakes(number: str) -> dict[str, list[dict[str, str]]]:
    """The typical mistakes of a lab by exercise, each in words (``mistake``) and as the ``answer`` that makes it."""
    path = MISTAKES / f"{number}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def record(number: str) -> dict | None:
    """What was recorded of a lab; None if nothing was."""
    path = RECORDS / f"{number}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def with_answer(answer: str, given: str) -> str:
    """The answer's cell with what a student put in place of what it left open."""
    return filled(answer, f"### BEGIN SOLUTION\n{given.strip()}\ncheck()\n### END SOLUTION")


def rehearse(path: Path, scale: str, jobs: int = 1) -> dict:
    """Run a lab with its solutions, and have its typical mistakes judged.

    Returns:
        ``seconds`` and ``cpu``, of the lab's own cells; and by exercise the same of the solution's, what its check
        said, and the ``hints`` that the mistakes got, in their order.

    Raises:
        LabError: the lab does not run, or a check does not take its solution.
    """
    notebook = notebooks.read(path)
    tasks, wrong = exercises(notebook, path.stem), mistakes(path.stem[:2])
    most = max([0, *(len(each) for each in wrong.values())])
    tries = [Submission("solution", path.stem, path,
                        answers={task.number: [filled(task.answer, task.solution)] for task in tasks})]
    for k in range(most):
        tries.append(Submission(str(k), path.stem, path, answers={
            task.number: [with_answer(task.answer, wrong[task.name][k]["answer"])] for task in tasks
            if k < len(wrong.get(task.name, []))}))
    took: list[dict] = []
    for _ in judge(path, tries, scale=scale, jobs=jobs, limits=Limits(timeout=1200, memory=8192), ready=took.append):
        pass
    found = {}
    for task in tasks:
        right = tries[0].rows[task.name]
        if not right["passed"]:
            raise LabError(f"The solution of {task.name} does not pass its check at scale {scale}: {right['hint']}")
        hints = [tries[1 + k].rows[task.name] for k in range(len(wrong.get(task.name, [])))]
        for given, row in zip(wrong.get(task.name, []), hints):
            if row["status"] != "not right yet":
                raise LabError(f"The mistake {given['mistake']!r} of {task.name} gets no hint at scale {scale}, but is "
                               f"{row['status']}: {row['hint']}")
        found[task.name] = {"seconds": right["seconds"], "cpu": right["cpu"], "says": right["hint"],
                            "hints": [row["hint"] for row in hints]}
    return {"seconds": took[0]["seconds"], "cpu": took[0]["cpu"], "exercises": found}


def save(path: Path, measured: dict[str, dict]) -> Path:
    """Record what :func:`rehearse` found of a lab at one or more scales; other scales' records are kept."""
    number, notebook = path.stem[:2], notebooks.read(path)
    kept = {"lab": path.stem, "scales": {}, **(record(number) or {})}
    for scale, found in measured.items():
        kept["scales"][scale] = {"code": notebooks.fingerprint(notebook), "machine": machine(), **found}
    RECORDS.mkdir(parents=True, exist_ok=True)
    out = RECORDS / f"{number}.json"
    write_text(out, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return out


def machine() -> str:
    """The machine of a measurement in a few words."""
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
