"""Copies of the labs to hand out: `dgmlab handout`.

A student's copy is the lab without its solutions. Saved outputs that give something away are cleared: those of the
exercises, and in a section every output that comes after a **Predict**, which asks for a guess first; they come back
when the cell is run. In a copy with solutions each answer's cell holds the solution in place of what it left open. Both
carry nbgrader's names and marks on the cells of the exercises (its schema, version 3). Neither holds the labs' cells of
solutions, and so neither speaks of them; a student's says instead what counts as an answer. What the copies link to
comes along, and the part of labs/README.md that is for students, without what holds in a clone only.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from pathlib import Path

from .. import lab_format, notebooks
from . import portable
from .exercises import exercises, filled
from .files import empty_folder, write_bytes, write_text

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
# What the labs and their README say of the solutions, in the same words everywhere; and a student's copy instead.
ABOUT_SOLUTIONS = "The collapsed cell after the check holds a solution: click its `•••` to open it."
HANDED_IN = "Your answer is all code between an exercise's text and its check; a function that it needs goes there too."
IN_A_CLONE = "<!-- in a clone -->"                  # in a line of that README which is for a clone of the repository
PICTURE = re.compile(r"!\[[^\]]*\]\((?!https?:|data:|attachment:)([^)\s]+)\)")


def student(notebook, stem: str):
    """The lab without its solutions and without outputs that give something away."""
    return _copied(notebook, stem, "student")


def solved(notebook, stem: str):
    """The lab with the solutions in the answers' cells, between nbgrader's markers, so that every check passes."""
    made = _copied(notebook, stem, "solutions")
    for task in exercises(notebook, stem):
        next(cell for cell in made.cells if cell.get("id") == f"ex{task.number}-answer"
             ).source = filled(task.answer, task.solution)
    return made


def _copied(notebook, stem: str, kind: str):
    made = copy.deepcopy(notebook)
    made.metadata["dgmlab"] = {"lab": stem, "copy": kind}
    made.cells = [cell for cell in made.cells if "solution" not in lab_format.tags(cell)]
    guessing = False
    for cell in made.cells:
        if cell.cell_type == "markdown":
            cell.source = _without_solutions(cell.source, HANDED_IN if kind == "student" else "")
            if lab_format.SECTION.search(lab_format.without_code(cell.source)):
                guessing = False
            guessing = guessing or "**Predict" in cell.source
            continue
        if cell.cell_type != "code":
            continue
        cell.execution_count = None
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = None
        if guessing or lab_format.tags(cell) & {"exercise", "check"}:
            cell.outputs = []
        match = re.fullmatch(r"ex\d-(answer|check)", cell.get("id", ""))
        if match:
            cell.metadata["nbgrader"] = nbgrader(cell.id, match[1])
    return made


def _without_solutions(text: str, instead: str = "") -> str:
    """The text without the sentence on the labs' cells of solutions, or with another one in its place."""
    return re.sub(rf"(\s?){re.escape(ABOUT_SOLUTIONS)}", lambda match: instead and match[1] + instead, text)


def nbgrader(name: str, kind: str) -> dict:
    """nbgrader's metadata of an ``"answer"`` (the student's, judged by tests) or a ``"check"`` (a test, one point)."""
    marks = {"grade_id": name, "schema_version": 3, "cell_type": "code", "task": False}
    if kind == "answer":
        return {**marks, "grade": False, "locked": False, "solution": True}
    return {**marks, "grade": True, "locked": True, "solution": False, "points": 1}


# -- writing them ----------------------------------------------------------------------------------------------------

def write(paths: Iterable[Path], out: Path, *, kind: str = "student", carried: bool = False) -> list[Path]:
    """Write copies of the labs ``paths`` into the folder ``out``, which is new or empty, with what they link to.

    Args:
        kind: "student", "solutions" or "instructor".
        carried: with the package beside the copies, and a first cell that takes it up where dgmlab is not installed.

    Returns:
        The files that were written, what the copies link to left out.
    """
    from .notes import notes

    paths, written = list(paths), []
    package = portable.package() if carried else b""
    empty_folder(out)
    kept = {path.name for path in paths}
    linked: set[Path] = set()
    for path in paths:
        notebook = notebooks.read(path)
        if kind == "instructor":
            target = out / f"{path.stem}.md"
            write_text(target, notes(notebook, path.stem))
        else:
            target = out / path.name
            made = (solved if kind == "solutions" else student)(notebook, path.stem)
            if carried:
                portable.prepend(made)
            linked |= relink(made, path.parent, kept)
            write_text(target, as_text(made))
        written.append(target)
    if kind != "instructor":
        linked.add(notebooks.labs_folder() / "README.md")
    for path in sorted(linked):
        content = path.read_bytes()
        if path.suffix == ".md":
            text = re.split(r"(?m)^(?=# How to (?:teach|write))", content.decode())[0]      # what is for students
            text = "".join(line for line in text.splitlines(keepends=True) if IN_A_CLONE not in line)
            text = _without_solutions(text)
            content = _relinked(text, path.parent, kept | {each.name for each in linked}, set()).encode()
        write_bytes(out / path.name, content)
    if carried:
        write_bytes(out / portable.ARCHIVE, package)
        written.append(out / portable.ARCHIVE)
    return written


def as_text(notebook) -> str:
    """A notebook as it stands in a file."""
    import nbformat

    return nbformat.writes(notebook) + "\n"


def relink(notebook, folder: Path, kept: set[str]) -> set[Path]:
    """Make words of links to labs that are not handed out; returns the other files of ``folder`` that it links to."""
    linked: set[Path] = set()
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _relinked(cell.source, folder, kept, linked)
    return linked


def _relinked(text: str, folder: Path, kept: set[str], linked: set[Path]) -> str:
    def link(match):
        name = match[2].partition("#")[0]
        if name in kept:
            return match[0]
        file = folder / name
        if file.suffix in (".md", ".png", ".svg") and file.is_file() and file.parent == folder:
            linked.add(file)
            return match[0]
        return match[1]

    for match in PICTURE.finditer(text):
        file = folder / match[1]
        if file.is_file() and file.parent == folder:
            linked.add(file)
    return LINK.sub(link, text)
