"""The exercises of a lab, read from its notebook or from a copy of it that someone has worked in."""

from __future__ import annotations

import ast
import re
from collections.abc import Collection, Iterable, Mapping
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
    body = ast.parse(answer).body
    waiting = [node for node in body if lab_format.open_names(ast.unparse(node))]
    given = {ast.dump(each) for node in body if node not in waiting for each in _statements(node)}
    spans = [(node.lineno - 1, node.end_lineno) for node in waiting]
    for first, last in reversed(spans[1:]):
        del lines[first:last]
    first, last = spans[0]
    lines[first:last] = solution_only(solution, given)
    return "\n".join(lines).strip()


def solution_only(solution: str, given: Collection[str] = ()) -> list[str]:
    """The lines of a solution's cell, markers included, without the call of `check` at its end.

    Args:
        given: what stands in the answer's cell already, as ``ast.dump`` writes it: its assignments are not repeated.
    """
    lines, tree = solution.strip().splitlines(), ast.parse(solution.strip())
    repeated = [each for node in tree.body for each in (_statements(node)[:-1] or [node])   # a block keeps its last one
                if isinstance(each, ast.Assign) and ast.dump(each) in given]
    for node in reversed([*repeated, tree.body[-1]]):
        del lines[node.lineno - 1:node.end_lineno]
    while not lines[-2].strip():
        del lines[-2]
    return lines


def _statements(node: ast.stmt) -> list[ast.stmt]:
    """Those in a block `with`, else the statement itself."""
    return node.body if isinstance(node, ast.With) else [node]


def lab_of(notebook) -> str | None:
    """The number of the lab that a notebook is a copy of, by what was written into it or by its checks."""
    stem = _noted(notebook, "dgmlab", "lab")
    if re.match(r"\d\d", stem):
        return stem[:2]
    called = re.findall(r"""\bcheck\(\s*["'](\d\d)\.\d""", "\n".join(
        str(cell.source) for cell in notebook.cells if cell.cell_type == "code"))
    return max(set(called), key=called.count) if called else None


def answers(notebook, lab, stem: str) -> dict[int, list[str]]:
    """The answers in a copy of the lab ``stem`` by the number of the exercise, each as its cells in their order.

    An answer is the lab's own cell for it, wherever that stands, and the code that was added below the exercise's text
    or this cell, up to the next cell of the lab, which is the check. Where the lab's cell was left as it is, or is
    gone, it comes first, as it is in the lab.

    Args:
        notebook: the copy, in which someone has worked.
        lab: the lab as it stands in the repository.
    """
    tasks = {task.number: task for task in exercises(lab, stem)}
    found: dict[int, list[str]] = {}
    changed, below = set(), None
    for cell, name in zip(notebook.cells, _names(notebook, lab, tasks.values())):
        match = re.fullmatch(r"ex(\d)(-answer)?", name)
        if match:
            below = int(match[1])
        elif name:
            below = None
        if cell.cell_type != "code" or below is None or not (name or cell.source.strip()) or _only_checks(cell.source):
            continue
        found.setdefault(below, [])
        if cell.source.strip() not in ("", tasks[below].answer.strip()):
            found[below].append(cell.source)
            if name:
                changed.add(below)
    return {number: sources if number in changed else [tasks[number].answer, *sources]
            for number, sources in found.items()}


def _names(notebook, lab, tasks: Iterable[Exercise]) -> list[str]:
    """Which of the lab's cells each cell is, by that one's id; empty for one that was added.

    A cell is known by its id, else by nbgrader's name for it, else (a front end has dropped both) a text by its words
    and a check by what it calls.
    """
    ids = {cell.id for cell in lab.cells}
    texts = {cell.source.strip(): cell.id for cell in lab.cells if cell.cell_type == "markdown"}
    names = []
    for cell in notebook.cells:
        name = next((each for each in (cell.get("id"), _noted(cell, "nbgrader", "grade_id"))
                     if isinstance(each, str) and each in ids), "")
        if not name and cell.cell_type == "markdown":
            match = re.match(r"### Exercise (\d) · ", cell.source)
            name = f"ex{match[1]}" if match and f"ex{match[1]}" in ids else texts.get(cell.source.strip(), "")
        names.append(name)
    for task in tasks:
        code = [(n, cell.source) for n, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
        own, asked = f"ex{task.number}-check", lab_format.open_names(task.answer)
        called = [n for n, source in code if not names[n]
                  and lab_format.last_call(source).startswith(f"check({task.name!r}, ")]
        if own not in names and called:
            names[called[-1]] = own
        for n, source in code:
            if names[n] == own and asked & lab_format.assigned(source):     # merged with the answer
                names[n] = f"ex{task.number}-answer"
    return names


def _noted(node, key: str, name: str) -> str:
    """What the metadata of a notebook or a cell say at ``key`` under ``name``; empty if that is no text."""
    inner = node.metadata.get(key)
    value = inner.get(name) if isinstance(inner, Mapping) else None
    return value if isinstance(value, str) else ""


def _only_checks(source: str) -> bool:
    """Whether a cell does nothing but ask for a check."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return False
    body = [node for node in body if not isinstance(node, ast.ImportFrom)]
    return bool(body) and all(re.match(r"check\(", ast.unparse(node)) for node in body)
