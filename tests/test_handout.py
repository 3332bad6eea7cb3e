"""Copies of the labs to hand out: what is in them, that they run, and that others' tools can read them."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner

from dgmlab import cli, lab_format, notebooks
from dgmlab.check import exercises as judged
from dgmlab.classroom import carried, files, handout, portable, rehearsal
from dgmlab.classroom.exercises import answers, exercises, filled, lab_of
from dgmlab.classroom.notes import notes
from dgmlab.errors import LabError

LABS = [path.stem for path in notebooks.labs()]


def lab(stem):
    return notebooks.read(notebooks.find(stem))


def call(*arguments, code=0) -> str:
    result = CliRunner().invoke(cli.main, ["handout", *map(str, arguments)])
    assert result.exit_code == code and "Traceback" not in result.output, result.output
    return result.output


# -- what is in them -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("stem", LABS)
def test_a_students_copy_holds_no_answers(stem):
    notebook = lab(stem)
    made, tasks = handout.student(notebook, stem), exercises(notebook, stem)
    nbformat.validate(made)
    assert [task.name for task in tasks] == judged(stem[:2])
    assert answers(made, notebook, stem) == {task.number: [task.answer] for task in tasks} and lab_of(made) == stem[:2]
    kept = [cell.id for cell in notebook.cells if "solution" not in lab_format.tags(cell)]
    assert [cell.id for cell in made.cells] == kept
    text = json.dumps(made)
    assert "SOLUTION" not in text and "✓" not in text and not any(
        json.dumps(task.solution)[1:-1] in text for task in tasks)
    guessing = False
    for cell, original in zip(made.cells, (cell for cell in notebook.cells if cell.id in kept), strict=True):
        assert cell.source == original.source.replace(handout.ABOUT_SOLUTIONS, handout.HANDED_IN)
        if cell.cell_type == "markdown":
            guessing = "**Predict" in cell.source or guessing and not lab_format.SECTION.search(cell.source)
        else:
            assert cell.execution_count is None
            hidden = guessing or lab_format.tags(cell) & {"exercise", "check"}
            assert [each.output_type for each in cell.outputs] == [
                each.output_type for each in ([] if hidden else original.outputs)]
    assert notebook.metadata == lab(stem).metadata          # the lab itself is left as it was


@pytest.mark.parametrize("stem", LABS)
def test_a_copy_with_solutions_leaves_nothing_open(stem):
    notebook = lab(stem)
    made = handout.solved(notebook, stem)
    nbformat.validate(made)
    for task in exercises(notebook, stem):
        source = next(cell.source for cell in made.cells if cell.id == f"ex{task.number}-answer")
        assert not lab_format.open_names(source)
        assert lab_format.open_names(task.answer) <= lab_format.assigned(source)
        assert source.count("### BEGIN SOLUTION") == source.count("### END SOLUTION") == 1
        assert answers(made, notebook, stem)[task.number] == [source] and "check(" not in source
        given = [line.split("  #")[0].strip() for line in task.answer.splitlines() if re.match(r"\s*\w+ = [^.]", line)]
        assert all(source.count(f"{line}\n") <= 1 for line in given)      # no line of the lab's stands there twice
    assert not [cell for cell in made.cells if "solution" in lab_format.tags(cell)]


def test_a_solution_takes_the_place_of_what_is_open():
    answer = "first = 1\n\ndef f(x):\n    y = ...\n    return y\n\nname = ...    # what\nprint(f(first))"
    solution = "### BEGIN SOLUTION\ndef f(x):\n    return x\nname = 2\n\ncheck(\"03.1\", f, name)\n### END SOLUTION"
    assert filled(answer, solution) == ("first = 1\n\n### BEGIN SOLUTION\ndef f(x):\n    return x\nname = 2\n"
                                        "### END SOLUTION\n\nprint(f(first))")


def test_links_lead_somewhere_or_are_none(tmp_path):
    call("-o", tmp_path / "all")
    call("0", "-o", tmp_path / "one")
    for folder, others in ((tmp_path / "all", len(LABS)), (tmp_path / "one", 1)):
        assert len(list(folder.glob("*.ipynb"))) == others
        for path in folder.iterdir():
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".ipynb":
                text = "\n".join(cell.source for cell in notebooks.read(path).cells if cell.cell_type == "markdown")
            for _, target in handout.LINK.findall(text):
                assert (folder / target.partition("#")[0]).is_file(), f"{path.name} in {folder.name}: {target}"
    assert "03_vae.ipynb" not in (tmp_path / "one" / "00_start_here.ipynb").read_text(encoding="utf-8")


def test_a_solution_repeats_nothing_of_what_is_given():
    answer = "with quiet():\n    codes = encode(x)\nlow = min(codes)\n\nbits = ..."
    solution = ("### BEGIN SOLUTION\nlow = min(codes)\nwith quiet():\n    codes = encode(x)\n    bits = 4\n"
                "check(\"03.1\", bits)\n### END SOLUTION")
    assert filled(answer, solution) == ("with quiet():\n    codes = encode(x)\nlow = min(codes)\n\n### BEGIN SOLUTION\n"
                                        "with quiet():\n    bits = 4\n### END SOLUTION")
    alone = "with quiet():\n    codes = encode(x)\nbits = 4"
    assert alone in filled(answer, f"### BEGIN SOLUTION\n{alone}\ncheck(\"03.1\", bits)\n### END SOLUTION")


def test_the_readme_for_students_comes_along(tmp_path):
    call("3", "-o", tmp_path / "one")
    text = (tmp_path / "one" / "README.md").read_text(encoding="utf-8")
    assert text.startswith("# How to use the labs") and text.count("\n# ") == 0
    assert "what stands between an exercise's text and its check" in " ".join(text.split())
    for only_in_a_clone in ("git ", "dgmlab lab", "dgmlab run", "in a clone"):
        assert only_in_a_clone not in text
    assert "\n\n\n" not in text


@pytest.mark.parametrize("option", [[], ["--solutions"]])
def test_copies_do_not_speak_of_solutions_that_are_not_there(tmp_path, option):
    call(*option, "-o", tmp_path / "all")
    for path in (tmp_path / "all").iterdir():
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            of_lab, of_copy = ("\n".join(each.source for each in made.cells if each.cell_type == "markdown")
                               for made in (lab(path.stem), notebooks.read(path)))
            assert of_lab.count(handout.ABOUT_SOLUTIONS) == 1, f"{path.stem} says in other words where solutions are"
            text = of_copy
        text = text.replace("A collapsed cell (•••) only draws a picture", "")
        assert not re.search(r"solution|collapsed", text, re.I), path.name


# -- nbgrader --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", [handout.student, handout.solved])
def test_marks_for_nbgrader(kind):
    for stem in LABS:
        made = kind(lab(stem), stem)
        marks = {cell.id: cell.metadata.nbgrader for cell in made.cells if "nbgrader" in cell.metadata}
        count = len(exercises(lab(stem), stem))
        assert list(marks) == [f"ex{k}-{part}" for k in range(1, count + 1) for part in ("answer", "check")]
        for name, mark in marks.items():
            assert mark["grade_id"] == name and mark["schema_version"] == 3
            assert (mark["solution"], mark["grade"], mark["locked"]) == (
                (True, False, False) if name.endswith("answer") else (False, True, True))
            assert mark.get("points") == (1 if name.endswith("check") else None)


def test_nbgraders_own_validator_takes_them():
    nbgraderformat = pytest.importorskip("nbgrader.nbgraderformat")
    for stem in LABS:
        for kind in (handout.student, handout.solved):
            made = nbgraderformat.reads(handout.as_text(kind(lab(stem), stem)), as_version=4)
            nbgraderformat.MetadataValidator().validate_nb(made)


def test_nbgrader_gives_no_points_for_what_is_open(monkeypatch, capsys):
    from dgmlab.check import NotYet, check

    check("03.1", ...)
    assert "not answered yet" in capsys.readouterr().out
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    with pytest.raises(NotYet, match="03.1 is not answered yet"):
        check("03.1", ...)


# -- they run --------------------------------------------------------------------------------------------------------

def execute(notebook, folder: Path):
    """Run a copy at scale smoke, as a student's Jupyter does."""
    from nbclient import NotebookClient

    made = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    made.source += "\nscale = 'smoke'"
    NotebookClient(notebook, kernel_name="python3", timeout=300, kernel_manager_class=notebooks.this_python(),
                   resources={"metadata": {"path": str(folder)}}).execute()
    return {cell.id: "".join(output.get("text", "") for output in cell.outputs)
            for cell in notebook.cells if cell.cell_type == "code"}


@pytest.mark.slow
def test_a_students_copy_runs_and_waits(tmp_path):
    said = execute(handout.student(lab("06"), "06_gan"), tmp_path)
    for k in range(1, 5):
        assert said[f"ex{k}-check"].startswith(f"○ 06.{k} is not answered yet")


@pytest.mark.slow
def test_a_copy_with_solutions_passes_every_check(tmp_path):
    said = execute(handout.solved(lab("01"), "01_generator_networks"), tmp_path)
    for k in range(1, 6):
        assert said[f"ex{k}-check"].startswith(f"✓ 01.{k} is right")


@pytest.mark.slow
def test_solutions_pass_and_typical_mistakes_get_their_hint():
    found = rehearsal.rehearse(notebooks.find("08"), "smoke", jobs=2)
    hints = {name: each["hints"] for name, each in found["exercises"].items()}
    for says, hint in zip(("the way there and back of x only", "G and F are exchanged", "it is the squared difference"),
                          hints["08.1"], strict=True):
        assert says in hint
    assert "they change nothing" in hints["08.2"][0] and "do not undo each other" in hints["08.2"][1]
    assert "equal steps, not equal compute" in hints["08.4"][0] and "the wrong way round" in hints["08.4"][1]
    assert found["cpu"] > 0 and all(each["says"] for each in found["exercises"].values())


# -- the instructor's notes ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("stem", LABS)
def test_every_exercise_has_typical_mistakes(stem):
    notebook = lab(stem)
    wrong = rehearsal.mistakes(stem[:2])
    for task in exercises(notebook, stem):
        assert wrong[task.name], f"no typical mistake in {task.name}"
        for each in wrong[task.name]:
            source = rehearsal.with_answer(task.answer, each["answer"])
            ast.parse(source)
            assert lab_format.open_names(task.answer) <= lab_format.assigned(source), each["mistake"]
    assert set(wrong) == {task.name for task in exercises(notebook, stem)}


@pytest.mark.parametrize("stem", LABS)
def test_what_was_rehearsed_is_recorded(stem):
    recorded = rehearsal.record(stem[:2])
    assert recorded and recorded["lab"] == stem
    for scale, found in recorded["scales"].items():
        assert scale in ("smoke", "lab") and found["cpu"] > 0
        assert list(found["exercises"]) == judged(stem[:2])
        for name, each in found["exercises"].items():
            assert len(each["hints"]) == len(rehearsal.mistakes(stem[:2])[name]) and all(each["hints"]), name


def test_notes_say_what_was_measured_and_what_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "RECORDS", tmp_path)
    notebook = lab("03")
    text = notes(notebook, "03_vae")
    assert text.count("| not measured |") == 3 and "not judged yet" in text
    one = {"seconds": 9.0, "cpu": 8.0, "says": "says *why*", "hints": []}
    found = {task.name: {**one, "hints": [f"hint {k}" for k in range(len(rehearsal.mistakes("03")[task.name]))]}
             for task in exercises(notebook, "03_vae")}
    rehearsal.save(notebooks.find("03"), {"lab": {"seconds": 70.0, "cpu": 61.2, "exercises": found}})
    text = notes(notebook, "03_vae")
    assert text.startswith("# Lab 03 · The variational autoencoder: notes for the instructor")
    assert re.search(r"\| lab \(what a student runs\) \| 61 s \| 40 s \| \d+ cores", text)
    assert "smoke scale" not in text
    rehearsal.RECORDS.joinpath("03.json").unlink()
    rehearsal.save(notebooks.find("03"), {"smoke": {"seconds": 7.0, "cpu": 6.2, "exercises": found}})
    quick = notes(notebook, "03_vae")
    assert quick.count("→ ") == quick.count("→ (at smoke scale, where numbers mean nothing) hint")
    assert quick.count(r"(at smoke scale, where numbers mean nothing): *says \*why\**") == 5
    assert text.count("| not measured |") == 2 and "before the lab was last changed" not in text
    assert "return (1 + slope**2 / eta) ** -0.5" in text and "SOLUTION" not in text and "→ hint 1" in text
    assert r"says \*why\*" in text and text.count("\n### ") == 5
    assert re.search(r"\| .*(reproduced|direction only) \|", text.partition("## What the claims gave")[2])
    notebook.cells[-1].source += " "
    next(cell for cell in notebook.cells if cell.cell_type == "code").source += "\n"
    assert "before the lab was last changed" in notes(notebook, "03_vae")


def test_a_record_is_made_only_of_what_is_right(monkeypatch):
    def judge(path, submissions, **options):
        for each in submissions:
            for name in judged("06"):
                each.rows[name] = {"passed": each.student == "solution" and name != broken, "hint": "h", "seconds": 1.0,
                                   "cpu": 1.0, "status": "right" if name == unnoticed else "not right yet"}
            options["ready"]({"seconds": 1.0, "cpu": 1.0})
            yield each

    monkeypatch.setattr(rehearsal, "judge", judge)
    broken, unnoticed = "06.2", None
    with pytest.raises(LabError, match="solution of 06.2 does not pass"):
        rehearsal.rehearse(notebooks.find("06"), "smoke")
    broken, unnoticed = None, "06.3"
    with pytest.raises(LabError, match="'the gradient itself' of 06.3 gets no hint at scale smoke, but is right"):
        rehearsal.rehearse(notebooks.find("06"), "smoke")


# -- where dgmlab is not installed -----------------------------------------------------------------------------------

FAKE_PIP = """
import json, os, pathlib, sys
pathlib.Path(os.environ["FAKE_PIP"]).write_text(json.dumps(sys.argv[1:]))
sys.exit(os.environ.get("FAKE_PIP_FAILS"))
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """A Python with no packages, but something that stands in for pip."""
    place = tmp_path_factory.mktemp("bare")
    venv.create(place / "venv", with_pip=False, symlinks=os.name != "nt")
    (place / "pip" / "pip").mkdir(parents=True)
    (place / "pip" / "pip" / "__init__.py").write_text("")
    (place / "pip" / "pip" / "__main__.py").write_text(FAKE_PIP)
    python = place / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(folder, **environment):
        calls = place / "calls.json"
        calls.unlink(missing_ok=True)
        done = subprocess.run([python, "-c", portable.CELL], cwd=folder, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": str(place / "pip"), "FAKE_PIP": str(calls),
                                   **environment})
        return done, json.loads(calls.read_text()) if calls.exists() else None

    return run


def test_the_first_cell_takes_up_the_package_and_says_so(bare, tmp_path):
    call("3", "--portable", "-o", tmp_path / "out")
    made = notebooks.read(tmp_path / "out" / "03_vae.ipynb")
    nbformat.validate(made)
    assert made.cells[0].source.startswith("# Lab 03") and made.cells[1].source == portable.CELL.strip()
    done, asked = bare(tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert asked[:2] == ["install", "-q"] and {"torch>=2.6", "transformers[torch]>=4.57"} <= set(asked)
    assert not [each for each in asked if each.startswith(("jupyterlab", "ipykernel", "papermill"))]
    assert done.stdout.startswith("dgmlab is used from dgmlab-package; installing what is missing: torch>=2.6")
    assert done.stdout.endswith("Installed.\n")
    assert (tmp_path / "out" / "dgmlab-package" / "data" / "claims" / "03.json").is_file()


def test_the_first_cell_does_nothing_where_dgmlab_is(tmp_path):
    done = subprocess.run([sys.executable, "-c", portable.CELL], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and list(tmp_path.iterdir()) == []


def test_the_first_cell_says_what_is_missing(bare, tmp_path):
    done, asked = bare(tmp_path)
    assert done.stderr.strip().endswith("dgmlab.zip is not here: upload it beside this notebook (it came with it).")
    assert asked is None
    (tmp_path / "dgmlab.zip").write_bytes(portable.package())
    done, _ = bare(tmp_path, FAKE_PIP_FAILS="ERROR: No matching distribution found for torch>=2.6")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: pip could not install torch>=2.6") and "No matching distribution" in last
    assert last.endswith("then run this cell again.")


def test_only_what_is_not_installed_is_asked_for(tmp_path, capsys):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["numpy>=99", "no-such-package[x]>=1", "jupyterlab>=99"]\n')
    assert carried.missing(tmp_path) == ["no-such-package[x]>=1"]       # what is there stays, if it is old too
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["numpy"]\n')
    assert carried.install(tmp_path) == [] and "all that it needs is here" in capsys.readouterr().out


def test_the_archive_is_whole_and_the_same_each_time():
    content = portable.package()
    assert content == portable.package()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = set(archive.namelist())
    clone = Path(portable.ROOT)
    tracked = subprocess.run(["git", "ls-files", "dgmlab", "data"], cwd=clone, capture_output=True, text=True)
    if tracked.returncode == 0:
        assert set(tracked.stdout.split()) <= names
    assert {"pyproject.toml", ".versions.txt", "README.md", "dgmlab/__init__.py", "data/claims/03.json"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith(("data/cache", "data/published"))]
    for name in ("carried", "__init__"):                # read before anything is installed
        for node in ast.walk(ast.parse((clone / "dgmlab" / "classroom" / f"{name}.py").read_text())):
            if isinstance(node, ast.Import):
                assert all(each.name.split(".")[0] in sys.stdlib_module_names for each in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0 and node.module.split(".")[0] in sys.stdlib_module_names


# -- bad input -------------------------------------------------------------------------------------------------------

def test_bad_input_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    assert "There is no lab '77'; the labs are: 00_start_here" in call("77", "-o", tmp_path / "new", code=1)
    assert not (tmp_path / "new").exists()
    assert "Missing option '-o'" in call("3", code=2)
    assert "holds something already" in call("3", "-o", tmp_path / "full", code=1)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    assert "is no folder" in call("3", "-o", tmp_path / "file", code=1)
    assert "call the command once for each" in call("--solutions", "--instructor", "-o", tmp_path / "new", code=2)
    assert "need no --portable" in call("--portable", "--instructor", "-o", tmp_path / "new", code=2)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:                # root may write everywhere
        patch.setattr(files.tempfile, "TemporaryFile", refuse)
        assert "cannot be written to (Permission denied)" in call("3", "-o", tmp_path / "new", code=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    said = call("3", "-o", tmp_path / "disk", code=1)
    assert "could not be written (No space left on device); make room" in said
    assert list((tmp_path / "disk").iterdir()) == []
