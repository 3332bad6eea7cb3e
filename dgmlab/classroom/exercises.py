"""The exercises of a lab, read from its notebook or from a copy of it that someone has worked in."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from .. import lab_format


@dataclass(frozen=True)
class Exercise:
    """One exercise of a lab: its cells as they stand in the repository.

    Attributes:
        name: such as ``"03.1"``.
        number: from 1.
        title: of its heading.
        text: its whole first cell, Markdown.
        answer, check, solution: the sources of the three cells of code below.
    """

    name: str
    number: int
    title: str
    text: str
    answer: str
    check: str
    solution: str


def exercises(notebook, stem: str) -> list[Exercise]:
    """The exercises of the lab ``stem``, in order."""
    cells, found = {cell.get("id"): cell.source for cell in notebook.cells}, []
    while (text := cells.get(f"ex{len(found) + 1}")) is not None:
        k = len(found) + 1
        title = re.match(r"### Exercise \d+ · (.+)", text)[1].strip()
        found.append(Exercise(f"{stem[:2]}.{k}", k, title, text, cells[f"ex{k}-answer"], cells[f"ex{k}-check"],
                              cells[f"ex{k}-solution"]))
    return found


def filled(answer: str, solution: str) -> str:
    """The answer's cell with the solution in place of what it left open, between nbgrader's markers."""
    lines = answer.splitlines()
    spans = [(node.lineno - 1, node.end_lineno) for node in ast.parse(answer).body
             if lab_format.open_names(ast.unparse(node))]
    for first, last in reversed(spans[1:]):
        del lines[first:last]
    first, last = spans[0]
    lines[first:last] = solution_only(solution)
    return "\n".join(lines).strip()


def solution_only(solution: str) -> list[str]:
    """The lines of a solution's cell, markers included, without the call of `check` at its end."""
    lines = solution.strip().splitlines()
    call = ast.parse(solution).body[-1]
    del lines[call.lineno - 1:call.end_lineno]
    while not lines[-2].strip():
        del lines[-2]
    return lines


def lab_of(notebook) -> str | None:
    """The number of the lab that a notebook is a copy of, by what was written into it or by its checks."""
    stem = notebook.metadata.get("dgmlab", {}).get("lab")
    if isinstance(stem, str) and re.match(r"\d\d", stem):
        return stem[:2]
    called = re.findall(r"""\bcheck\(\s*["'](\d\d)\.\d""", "\n".join(
        str(cell.source) for cell in notebook.cells if cell.cell_type == "code"))
    return max(set(called), key=called.count) if called else None


def answers(notebook) -> dict[int, str]:
    """The sources of the answers' cells by the number of the exercise, wherever they stand in the notebook.

    A cell is known by its id, else by nbgrader's name for it, else (a front end has dropped both) as the first cell
    of code below the exercise's heading.
    """
    found: dict[int, str] = {}
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for of in (lambda cell: cell.get("id"), lambda cell: cell.metadata.get("nbgrader", {}).get("grade_id")):
        for cell in code:
            match = re.fullmatch(r"ex(\d)-answer", str(of(cell)))
            if match:
                found.setdefault(int(match[1]), cell.source)
    heading = None
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            match = re.match(r"### Exercise (\d) · ", cell.source)
            heading = int(match[1]) if match else heading
        elif cell.cell_type == "code" and heading is not None:
            if not re.match(r"ex\d-(check|solution)$", str(cell.get("id"))):
                found.setdefault(heading, cell.source)
            heading = None
    return found
