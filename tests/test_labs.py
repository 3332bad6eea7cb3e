"""The committed labs keep their form, and so does every rule: it fires on a small lab that breaks it."""

from __future__ import annotations

import copy
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dgmlab import lab_format, notebooks

LABS = pytest.mark.parametrize("path", notebooks.labs(), ids=lambda path: path.stem)


# -- the committed labs ----------------------------------------------------------------------------------------------


@LABS
def test_no_committed_lab_has_a_fault(path):
    assert notebooks.faults(path) == []


@LABS
def test_committed_checks_remind_and_solutions_tick(path):
    assert_reminders_and_ticks(notebooks.read(path))


@LABS
@pytest.mark.slow
@pytest.mark.parametrize("live", [False, True], ids=["batch", "live"])
def test_at_smoke_scale(path, live, tmp_path, monkeypatch):
    """It runs in seconds, with live panels or without. Without its solutions, as a student may be given it, the checks
    only remind; each solution passes once it stands in the answer's place."""
    monkeypatch.setenv("DGMLAB_LIVE", str(int(live)))
    lab = notebooks.read(path)
    solutions, checks = exercise_cells(lab, "solution"), exercise_cells(lab, "check")
    lab.cells = [cell for cell in lab.cells if cell not in solutions]
    for solution, check in zip(solutions, checks, strict=True):
        lab.cells += [new_code_cell(answer_of(solution), id=f"{solution.id}-again"),
                      new_code_cell(check.source, id=f"{check.id}-again")]
    nbformat.write(lab, tmp_path / "student.ipynb")
    notebooks.run(tmp_path / "student.ipynb", tmp_path / "out.ipynb", {"scale": "smoke"}, timeout=300)
    ran = nbformat.read(tmp_path / "out.ipynb", 4)
    for cell in exercise_cells(ran, "check"):
        assert printed(cell).startswith("○"), f"{cell.id}: {printed(cell)}"
    for cell in exercise_cells(ran, "check-again"):
        assert printed(cell).startswith("✓"), f"{cell.id}: {printed(cell)}"


def assert_reminders_and_ticks(notebook):
    checks, solutions = exercise_cells(notebook, "check"), exercise_cells(notebook, "solution")
    assert len(checks) == len(solutions) >= lab_format.FEWEST_EXERCISES
    for cell in checks:
        assert printed(cell).startswith("○") and cell.outputs[0].output_type == "stream", f"{cell.id}: {printed(cell)}"
    for cell in solutions:
        assert re.search(r"^✓ ", printed(cell), re.M), f"{cell.id}: {printed(cell)}"


def exercise_cells(notebook, part: str):
    return [cell for cell in notebook.cells if re.fullmatch(rf"ex\d-{part}", cell.id)]


def printed(cell) -> str:
    return "".join(output.get("text", "") or output.get("evalue", "") for output in cell.outputs)


def answer_of(solution) -> str:
    """A solution without its markers and its call of the check."""
    lines = solution.source.strip().splitlines()[1:-1]
    last = max(n for n, line in enumerate(lines) if line.startswith("check("))
    return "\n".join(lines[:last])


def test_the_authors_page_says_what_the_rules_check():
    text = (notebooks.labs_folder() / "README.md").read_text(encoding="utf-8")
    author = " ".join(text.partition("# How to write a lab")[2].split())
    for says in (f"at most {lab_format.CODE_LINES} lines", f"at most {lab_format.WORDS} words",
                 f"at most {lab_format.SENTENCE} words", f"At most {lab_format.MOST_SLIDES} slides",
                 f"at most {lab_format.CELLS} cells",
                 "first six cells", "Three to five", "below 1 MB", *(f"`## {title}`" for title in lab_format.CLOSING)):
        assert says in author, says
    assert (lab_format.SCREENFUL, lab_format.FEWEST_EXERCISES, lab_format.MOST_EXERCISES) == (6, 3, 5)
    assert notebooks.LARGEST == 1_000_000
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.M)) == lab_format.TAGS


def test_every_lab_is_in_the_table_of_labs():
    text = (notebooks.labs_folder() / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[\d\d [^\]]+\]\((\d\d_\w+)\.ipynb\) \|", text, re.M)
    assert listed == [path.stem for path in notebooks.labs()]


# -- a small lab that keeps every rule -------------------------------------------------------------------------------


def cell(kind, id, source, slide="skip", *tags, **outputs):
    hidden = {"jupyter": {"source_hidden": True}} if {"solution", "hide-input"} & set(tags) else {}
    if "solution" in tags:
        hidden["jupyter"]["outputs_hidden"] = True
    made = kind(source, id=id, metadata={"slideshow": {"slide_type": slide}, **({"tags": list(tags)} if tags else {}),
                                         **hidden})
    made.update(outputs)
    return made


def picture(alt="A line that rises from left to right."):
    return new_output("display_data", {"image/png": "aGVsbG8="}, metadata={"image/png": {"alt": alt}})


def exercise_of(k: int):
    call = f'check("05.{k}", answer)'
    return [cell(new_markdown_cell, f"ex{k}", f"### Exercise {k} · Half\n\nWhat is a half?", "skip", "exercise"),
            cell(new_code_cell, f"ex{k}-answer", "helper = x[..., None]\nanswer = ...     # a number", "skip",
                 "exercise"),
            cell(new_code_cell, f"ex{k}-check", call, "skip", "check"),
            cell(new_code_cell, f"ex{k}-solution", f"### BEGIN SOLUTION\nanswer = 0.5\n\n{call}\n### END SOLUTION",
                 "skip", "solution")]


def small():
    """The form itself, as short as it can be."""
    return new_notebook(cells=[
        cell(new_markdown_cell, "title", "# Lab 05 · Halves\n\nAll about halves.\n\n**Map** · halves (1) · "
             "[Words and symbols](GLOSSARY.md)", "slide"),
        cell(new_code_cell, "parameters", 'seed = 0       # fixes everything\nscale = "lab"  # or "smoke"', "skip",
             "parameters"),
        cell(new_markdown_cell, "halves", "## 1 · Halves\n\n**Predict:** how many halves?", "slide"),
        cell(new_code_cell, "halves-picture", "show(halves())", "fragment", outputs=[picture()]),
        cell(new_markdown_cell, "summary", "## Summary\n\n* Two.", "slide"),
        cell(new_markdown_cell, "evidence", "## Evidence\n\nMeasured.", "subslide"),
        cell(new_code_cell, "evidence-table", 'evidence("05")', "fragment",
             outputs=[new_output("execute_result", {"text/html": "<table></table>"})]),
        cell(new_markdown_cell, "exercises", "## Exercises"), *exercise_of(1), *exercise_of(2), *exercise_of(3),
        cell(new_markdown_cell, "references", "## References\n\n* A. Author. *Halves.* Journal 1, 1999\n"
             "* B. Author. *Whole.* arXiv:1312.6114")])


def test_the_small_lab_keeps_every_rule():
    assert lab_format.breaches(small(), "05_halves") == []


def by_id(notebook, id):
    return next(cell for cell in notebook.cells if cell.id == id)


def replaced(id, old, new):
    """A breach: in the cell ``id`` the text ``old`` becomes ``new``."""
    def breach(notebook):
        found = by_id(notebook, id)
        assert old in found.source
        found.source = found.source.replace(old, new)
    return breach


def tagged(id, *tags):
    return lambda notebook: by_id(notebook, id).metadata.update(tags=list(tags))


def dropped(*ids):
    def breach(notebook):
        notebook.cells = [cell for cell in notebook.cells if cell.id not in ids]
    return breach


def added(*more, at=4):
    return lambda notebook: notebook.cells.__setitem__(slice(at, at), [copy.deepcopy(each) for each in more])


def jupyter(id, **values):
    return lambda notebook: by_id(notebook, id).metadata.update(jupyter=values)


def code(source, id="more", *tags, **outputs):
    return cell(new_code_cell, id, source, "skip", *tags, **outputs)


def text(source, id="more", slide="skip"):
    return cell(new_markdown_cell, id, source, slide)


@pytest.mark.parametrize(("breach", "says"), [
    # the head
    (lambda notebook: notebook.cells.__delitem__(slice(1, None)), "A lab begins with a title and the cell of its"),
    (replaced("title", "05", "06"), "Cell 1 must begin with `# Lab 05 · Title`"),
    (replaced("title", "**Map**", "Map"), "Cell 1 must begin"),
    (replaced("title", "GLOSSARY", "README"), "Cell 1 must lead to the glossary"),
    (tagged("parameters", "parameters", "hide-input"), "Cell 2 must be the code tagged `parameters`"),
    (replaced("parameters", "# fixes everything", ""), "Cell 2: each line of the parameters reads"),
    (replaced("parameters", "0 ", "len('') "), "Cell 2: each line of the parameters reads"),
    (replaced("parameters", "seed", "sown"), "every lab has a parameter `seed`"),
    (replaced("parameters", "scale", "size"), "every lab has a parameter `scale`"),
    (lambda notebook: by_id(notebook, "halves-picture").outputs.clear(), "nothing to see among the first 6 cells"),
    (added(*(text("More.", f"more-{n}") for n in range(3)), at=3), "nothing to see among the first 6 cells"),
    # slides, tags, what is hidden, ids
    (lambda notebook: by_id(notebook, "halves").metadata.pop("slideshow"), "its slide type is None, but must be one"),
    (lambda notebook: by_id(notebook, "halves").metadata.slideshow.update(slide_type="-"), "its slide type is '-'"),
    (tagged("halves-picture", "remove-cell"), "the tag 'remove-cell' is not known"),
    (jupyter("halves-picture", source_hidden=True), "a cell is collapsed (source_hidden) if, and only if"),
    (tagged("halves-picture", "hide-input"), "a cell is collapsed (source_hidden) if, and only if"),
    (jupyter("ex1-solution", outputs_hidden=True), "a cell is collapsed (source_hidden) if, and only if"),
    (jupyter("ex1-solution", source_hidden=True), "output is collapsed (outputs_hidden) if, and only if"),
    (jupyter("halves-picture", outputs_hidden=True), "output is collapsed (outputs_hidden) if, and only if"),
    (added(text("More.", "4f2a90bc")), "its id '4f2a90bc' was drawn at random"),
    (added(*(text("More.", f"more-{n}", "subslide") for n in range(27))), "There are 31 slides and sub-slides"),
    # lengths
    (added(*(text("More.", f"more-{n}") for n in range(80))), "There are 101 cells, more than 100"),
    (added(code("\n\n".join(["x = 1"] * 11))), "Cell 5 has 11 lines of code, more than 10"),
    (added(text("word " * 161)), "Cell 5 has 161 words, more than 160"),
    (added(text(f"Short. It {'goes on ' * 23}so.")), "Cell 5 has a sentence of 48 words, more than 45: It goes on"),
    # sections
    (replaced("halves", "## 1 ·", "## 2 ·"), "are numbered [2], but must count from 1"),
    (added(text("## 1 · Again\n\n**Predict**")), "are numbered [1, 1]"),
    (replaced("halves", "## 1 · Halves", "Halves"), "are numbered []"),
    (dropped("evidence"), "closes with the sections `## Summary`, `## Evidence`, `## Exercises`, `## References`"),
    (added(text("## Last words"), at=-1), "closes with the sections"),
    (replaced("references", "1999", ""), "The references must be a list"),
    (replaced("references", "* B", "B"), "The references must be a list"),
    # predictions and pictures
    (replaced("halves", "**Predict:**", "Guess:"), "Cell 4 shows something in section 1 before a **Predict**"),
    (lambda notebook: by_id(notebook, "halves-picture").update(outputs=[picture("")]), "its picture has no alt text"),
    (added(text("![](halves.png)")), "Cell 5: its picture has no alt text"),
    (added(text('<img src="halves.png">')), "Cell 5: its picture has no alt text"),
    # exercises
    (dropped("ex3", "ex3-answer", "ex3-check", "ex3-solution"), "There are 2 exercises, but a lab has 3 to 5"),
    (replaced("ex2", "Exercise 2", "Exercise 5"), "must begin with `### Exercise 2 · Title`"),
    (dropped("ex2-check"), "must be followed by cells of code tagged `exercise`, `check` and `solution`"),
    (lambda notebook: by_id(notebook, "ex2-check").update(id="check-2"), "the ids of its cells are ex2, ex2-answer"),
    (replaced("ex2-answer", "answer = ...", "answer = 0"), "must leave `...` where the answer belongs"),
    (replaced("ex2-answer", "answer = ...", "answer = 0  # ..."), "must leave `...` where the answer belongs"),
    (replaced("ex2-check", "05.2", "05.1"), 'the check\'s cell must end with check("05.2", answer)'),
    (replaced("ex2-check", ", answer", ""), 'the check\'s cell must end with check("05.2", answer)'),
    (replaced("ex2-check", "answer)", "answer)\nprint()"), 'the check\'s cell must end with check("05.2", answer)'),
    (replaced("ex2-answer", "answer = ...", "other = ..."), "the check is not given other"),
    (replaced("ex2-answer", "answer = ...", "def other(x):\n    return ..."), "the solution must set other"),
    (replaced("ex2-solution", "### BEGIN SOLUTION\n", ""), "must stand between ### BEGIN SOLUTION and"),
    (replaced("ex2-solution", "\n### END SOLUTION", ""), "must stand between ### BEGIN SOLUTION and"),
    (replaced("ex2-solution", "answer)", "2 * answer)"), "the solution must end with the same call of check"),
    (replaced("ex2-solution", "answer = 0.5", ""), "the solution must set answer"),
    (added(code("pass", "more", "check")), "Cell 5 has an exercise's tag, but belongs to no exercise"),
])
def test_each_rule_fires(breach, says):
    broken = small()
    breach(broken)
    found = lab_format.breaches(broken, "05_halves")
    assert any(says in sentence for sentence in found), found


@pytest.mark.parametrize("change", [
    added(text("One word. " * 80)), added(text("word " * 45)), added(text(f"On. (So {'it goes ' * 21}on.) *It* ends.")),
    added(text(f"* {'word ' * 30}\n* {'word ' * 30}\n\n$a\\;b$ `c d` {'word ' * 40}")),
    added(code("x = 1\n" * 10)), added(*(text("More.", f"more-{n}") for n in range(69))),
    added(*(text("More.", f"more-{n}", "subslide") for n in range(21))),
    added(text("```\n## not a section\n```")), added(text("| " + "word " * 200 + " |\n\n$$\n" + "x " * 200 + "$$")),
    added(*exercise_of(4), *exercise_of(5), at=-1),
    replaced("ex2-answer", "answer = ...", "def answer(x):\n    '''A half.'''\n    return ..."),
    replaced("ex2-answer", "answer = ...", "answer: float = ..."),
    replaced("ex2-answer", "answer = ...", "answer = [..., ...]"),
    replaced("ex2-solution", "answer = 0.5", "for answer in (1, 0.5):\n    pass"),
    replaced("ex2-solution", "answer)", "\n    answer)")])
def test_what_the_rules_allow(change):
    allowed = small()
    change(allowed)
    if "\n    answer)" in by_id(allowed, "ex2-solution").source:
        by_id(allowed, "ex2-check").source = 'check("05.2", \n    answer)'
    assert lab_format.breaches(allowed, "05_halves") == []
