"""Grades for submitted notebooks: what is taken from them, what they cannot do, and the table."""

from __future__ import annotations

import csv
import json
import os
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from dgmlab import cli, notebooks
from dgmlab.classroom import files, grading, worker
from dgmlab.classroom.exercises import answers, lab_of
from dgmlab.classroom.handout import student
from dgmlab.errors import LabError

RIGHT = ["def best_width(eta, slope):\n    return (1 + slope**2 / eta) ** -0.5",
         "def gap(share):\n    return -math.log(share)"]
LAB = "03_tiny"


def tiny_lab():
    """A lab of two of lab 03's exercises, which runs in no time."""
    cells = [new_markdown_cell("# Lab 03 · Tiny\n\n**Map** · exercises", id="title"),
             new_code_cell("seed = 0         # fixes nothing\nscale = \"lab\"    # smoke, lab, paper", id="parameters",
                           metadata={"tags": ["parameters"]}),
             # The optimizer of a check would import this in every copy of the process.
             new_code_cell("import math\n\nimport torch._dynamo\n\nfrom dgmlab.check import check", id="imports")]
    for k, (name, right) in enumerate(zip(("best_width", "gap"), RIGHT), 1):
        arguments = "eta, slope" if k == 1 else "share"
        call = f'check("03.{k}", {name})'
        cells += [new_markdown_cell(f"### Exercise {k} · Title", id=f"ex{k}", metadata={"tags": ["exercise"]}),
                  new_code_cell(f"def {name}({arguments}):\n    return ...", id=f"ex{k}-answer",
                                metadata={"tags": ["exercise"]}),
                  new_code_cell(call, id=f"ex{k}-check", metadata={"tags": ["check"]}),
                  new_code_cell(f"### BEGIN SOLUTION\n{right}\n\n{call}\n### END SOLUTION", id=f"ex{k}-solution",
                                metadata={"tags": ["solution"]})]
    return new_notebook(cells=cells)


@pytest.fixture(scope="module")
def labs(tmp_path_factory):
    """The tiny lab in place of all labs."""
    folder = tmp_path_factory.mktemp("clone") / "labs"
    folder.mkdir()
    nbformat.write(tiny_lab(), folder / f"{LAB}.ipynb")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(notebooks, "labs_folder", lambda: folder)
        yield folder


def copy(*given: str, **changes):
    """A student's copy of the tiny lab with these answers."""
    notebook = student(tiny_lab(), LAB)
    for k, source in enumerate(given, 1):
        cell(notebook, f"ex{k}-answer").source = source
    for name, source in changes.items():
        cell(notebook, name.replace("_", "-")).source = source
    return notebook


def cell(notebook, name):
    return next(each for each in notebook.cells if each.get("id") == name)


def hand_in(folder: Path, **notebooks_by_student) -> Path:
    for name, notebook in notebooks_by_student.items():
        (folder / name).mkdir(parents=True)
        text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
        (folder / name / f"{LAB}.ipynb").write_text(text)
    return folder


class Bar:
    """In place of tqdm's."""

    def __init__(self, total):
        self.total, self.n = total, 0

    def update(self, n):
        self.n += n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def grade(folder: Path, out: Path, **options) -> tuple[dict, list[str]]:
    options = {"scale": "smoke", "jobs": 4, "limits": grading.Limits(timeout=20, memory=4096), **options}
    rows, sentences = grading.grade(folder, out, progress=Bar, **options)
    return {(row["student"], row["exercise"]): row for row in rows}, sentences


# -- a class in which everything happens -----------------------------------------------------------------------------

NASTY = {
    "loop": "while True:\n    pass",
    "deaf": "while True:\n    try:\n        while True:\n            pass\n    except BaseException:\n        pass",
    "exits": "exit()",
    "exits_hard": "import os\nos._exit(0)",
    "kills": "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "bomb": "hog = []\nwhile True:\n    hog.append(bytearray(1_000_000_000))",
    "bombs": ("import os, time\nhog = [] if any(os.fork() == 0 for _ in range(3)) else None\n"
              "while hog is not None and len(hog) < 10:\n    hog.append(bytearray(b'x') * 60_000_000)\n"
              "time.sleep(999)"),
    "flood": "for _ in range(200_000):\n    print('x' * 100)",
    "cleaner": "import pathlib, shutil\nshutil.rmtree(pathlib.Path().resolve())",
    "quitter": "def best_width(eta, slope):\n    raise SystemExit",
    "sleeper": ("import subprocess, sys\n"
                "left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(999)'])\n"
                "print(left.pid, file=open('{pids}', 'a'))"),
    "daemon": ("import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
               "        print(os.getpid(), file=open('{pids}', 'a'), flush=True)\n        time.sleep(999)\n"
               "    os._exit(0)\nos.wait()"),
    "many": "import os, time\nfor _ in range(75):\n    os.fork() or time.sleep(999)\ntime.sleep(999)",
    "big_file": "with open('big', 'wb') as file:\n    while True:\n        file.write(bytes(10_000_000))",
    "syntax": "def best_width(eta, slope:\n    return",
}


@pytest.mark.slow
@pytest.mark.skipif(not worker.CAN_FORK, reason="only Linux shares one run of the lab among the submissions")
def test_nothing_that_a_submission_does_stops_the_class(labs, tmp_path):
    import psutil

    pids = tmp_path / "pids"
    folder = hand_in(tmp_path / "in", good=copy(*RIGHT), open=copy(), **{
        name: copy(source.replace("{pids}", str(pids)), RIGHT[1]) for name, source in NASTY.items()})
    rows, sentences = grade(folder, tmp_path / "grades.csv", limits=grading.Limits(timeout=15, memory=1200))
    assert sentences == [] and len(rows) == 2 * (len(NASTY) + 2)
    status = {student: rows[student, "03.1"]["status"] for student, _ in rows}
    assert status["good"] == "right" and status["open"] == "not answered"
    assert status["loop"] == status["deaf"] == "timed out"
    assert "longer than 15 s" in rows["loop", "03.1"]["hint"] and 15 <= rows["loop", "03.1"]["seconds"] < 25
    assert status["exits_hard"] == status["kills"] == "crashed"
    assert status["exits"] == status["syntax"] == status["quitter"] == "error"
    assert "SystemExit" in rows["exits", "03.1"]["hint"] and "SyntaxError" in rows["syntax", "03.1"]["hint"]
    assert "MemoryError" in rows["bomb", "03.1"]["hint"] and status["bombs"] == "out of memory"
    assert status["many"] == "too many processes"
    for name in NASTY:                                  # the other answer counts, whatever came before
        assert not rows[name, "03.1"]["passed"] and rows[name, "03.2"]["passed"], rows[name, "03.2"]
    assert len(pids.read_text().split()) == 2
    assert not [pid for pid in map(int, pids.read_text().split()) if psutil.pid_exists(pid)]


@pytest.mark.slow
def test_where_a_process_cannot_fork_each_submission_has_its_own_run(labs, tmp_path, monkeypatch):
    """As on Windows and macOS."""
    calm = grading.judge
    monkeypatch.setattr(grading, "judge", lambda *given, **options: calm(*given, fork=False, **options))
    folder = hand_in(tmp_path / "in", good=copy(*RIGHT), loop=copy(NASTY["loop"], RIGHT[1]),
                     exits_hard=copy(NASTY["exits_hard"], RIGHT[1]))
    rows, _ = grade(folder, tmp_path / "grades.csv", jobs=3, limits=grading.Limits(timeout=15, memory=4096))
    assert [rows["good", name]["status"] for name in ("03.1", "03.2")] == ["right", "right"]
    assert rows["loop", "03.1"]["status"] == "timed out" and rows["exits_hard", "03.1"]["status"] == "crashed"
    assert rows["loop", "03.2"]["passed"] and rows["exits_hard", "03.2"]["passed"]


# -- what is taken from a submission ---------------------------------------------------------------------------------

FORGER = """
import json, os

line = json.dumps({"id": "0", "exercise": "03.1", "status": "right", "passed": True, "seconds": 0,
                   "cpu": 0, "hint": ""})
for number in range(3, 30):
    try:
        os.write(number, b"0" * 64 + b" " + line.encode() + b"\\nx\\n")
    except OSError:
        pass
"""


@pytest.mark.slow
@pytest.mark.skipif(not worker.CAN_FORK, reason="only Linux shares one run of the lab among the submissions")
def test_only_answers_count(labs, tmp_path):
    wrong = "def best_width(eta, slope):\n    return 1 / (1 + slope**2 / eta)"
    spoofs = {
        "edited_check": copy(wrong, ex1_check='print("✓ 03.1 is right")'),
        "own_check": copy(wrong + "\n\ndef check(*answers):\n    print('✓ 03.1 is right')"),
        "patched_judge": copy(wrong + "\n\nimport dgmlab.check\ndgmlab.check.judge = lambda *a, **k: "
                              "dgmlab.check.Outcome(a[0], True, True, 'right')"),
        "patched_close": copy(wrong + "\n\nfrom dgmlab.check import lab03\nlab03.close = lambda *a, **k: True"),
        "patched_math": copy(wrong + "\n\nmath.isclose = lambda *a, **k: True"),
        "patched_code": copy(wrong + "\n\nfrom dgmlab.check import lab03\n"
                             "lab03.best_width.__code__ = (lambda width: 'right').__code__"),
        "patched_late": copy("import math\n\ndef best_width(eta, slope):\n    math.isclose = lambda *a, **k: True\n"
                             "    return 0.5"),
        "forged": copy(f"{wrong}\n\n{FORGER}"),
    }
    shuffled, colab = copy(*RIGHT), copy(*RIGHT)
    shuffled.cells.reverse()
    for each in colab.cells:                            # which keeps neither ids nor what nbgrader has written
        each.pop("id"), each.metadata.pop("nbgrader", None)
    renamed = copy(*RIGHT)
    for each in renamed.cells:
        each["id"] = f"x{each['id']}"
    missing = copy(*RIGHT)
    missing.cells.remove(cell(missing, "ex2-answer"))
    own_cell = copy("def best_width(eta, slope):\n    return helper(eta, slope)", RIGHT[1])
    own_cell.cells.insert(2, new_code_cell("helper = lambda eta, slope: (1 + slope**2 / eta) ** -0.5"))
    folder = hand_in(tmp_path / "in", shuffled=shuffled, colab=colab, renamed=renamed, missing=missing,
                     own_cell=own_cell, **spoofs)
    rows, _ = grade(folder, tmp_path / "grades.csv")
    for name in ("shuffled", "colab", "renamed"):
        assert rows[name, "03.1"]["passed"] and rows[name, "03.2"]["passed"], rows
    assert rows["missing", "03.1"]["passed"] and rows["missing", "03.2"]["status"] == "missing"
    assert not rows["own_cell", "03.1"]["passed"] and "'helper' is not defined" in rows["own_cell", "03.1"]["hint"]
    assert rows["own_cell", "03.1"]["hint"].endswith("belongs between the exercise's text and its check.")
    assert rows["own_cell", "03.2"]["passed"]
    for name in spoofs:
        assert not rows[name, "03.1"]["passed"], name
    for name in ("edited_check", "own_check", "forged"):
        assert "variance" in rows[name, "03.1"]["hint"]     # the hint for what was answered
    for name in spoofs.keys() - {"edited_check", "own_check", "forged"}:
        assert rows[name, "03.1"]["status"] == "tampered" and "leave it as it is" in rows[name, "03.1"]["hint"], name


HELPER = "def helper(eta, slope):\n    return (1 + slope**2 / eta) ** -0.5"
CALLS = "def best_width(eta, slope):\n    return helper(eta, slope)"


def with_cells(notebook, before: str, *sources: str):
    """The copy with cells that its student added above the cell ``before``, which have no names that tell anything."""
    at = notebook.cells.index(cell(notebook, before))
    notebook.cells[at:at] = [new_code_cell(source) for source in sources]
    return notebook


def added():
    """Copies in which code was added between an exercise's text and its check, by how; 03.1 is right in each."""
    check_1 = cell(tiny_lab(), "ex1-check").source
    deleted = with_cells(copy(), "ex1-check", RIGHT[0])
    deleted.cells.remove(cell(deleted, "ex1-answer"))
    merged = copy(ex1_check=f"{RIGHT[0]}\n\n{check_1}")
    merged.cells.remove(cell(merged, "ex1-answer"))
    unchecked = with_cells(copy(RIGHT[0]), "ex1-answer", "import math")
    unchecked.cells.remove(cell(unchecked, "ex1-check"))
    made = {
        "above": with_cells(copy(CALLS), "ex1-answer", HELPER),
        "below": with_cells(copy(), "ex1-check", RIGHT[0]),
        "below_and_above": with_cells(with_cells(copy(), "ex1-check", CALLS), "ex1-answer", HELPER),
        "above_the_stub": with_cells(copy(), "ex1-answer", RIGHT[0]),
        "tries": with_cells(copy(f"{CALLS}, 2"), "ex1-check", "print(no_such_name)", "1 +", check_1, RIGHT[0], "",
                            check_1),
        "magic": with_cells(copy(), "ex1-check", f"%%time\n{RIGHT[0]}"),
        "asks_itself": copy(f"{RIGHT[0]}\n\n{check_1}"),
        "deleted": deleted, "merged": merged, "unchecked": unchecked,
    }
    for name in ("above", "below_and_above", "tries"):      # a front end that keeps neither ids nor nbgrader's names
        bare = made[f"{name}_bare"] = nbformat.from_dict(json.loads(json.dumps(made[name])))
        for each in bare.cells:
            each.pop("id"), each.metadata.pop("nbgrader", None)
    return made


@pytest.mark.slow
def test_code_between_the_text_and_the_check_is_the_answer(labs, tmp_path):
    elsewhere = {
        "after_the_check": with_cells(copy(), "ex2", RIGHT[0]),
        "before_the_text": with_cells(copy(CALLS), "ex1", HELPER)}
    wrong = {
        "wrong": with_cells(copy(), "ex1-check", "def best_width(eta, slope):\n    return 1 / (1 + slope**2 / eta)"),
        "asks_wrongly": copy('def best_width(eta, slope):\n    return 1 / (1 + slope**2 / eta)\n\n'
                             'check("03.1", best_width)'),
        "stops": copy("def best_width(eta, slope):\n    return 2\n\nno_such_name")}
    folder = hand_in(tmp_path / "in", **added(), **elsewhere, **wrong)
    rows, sentences = grade(folder, tmp_path / "grades.csv")
    assert sentences == []
    for name in added():
        assert rows[name, "03.1"]["passed"] and rows[name, "03.1"]["hint"] == "", (name, rows[name, "03.1"])
        assert rows[name, "03.2"]["status"] == "not answered", name
    assert rows["after_the_check", "03.1"]["status"] == "not answered"
    assert "name 'helper' is not defined" in rows["before_the_text", "03.1"]["hint"]
    for name in ("wrong", "asks_wrongly"):
        assert rows[name, "03.1"]["status"] == "not right yet" and "variance" in rows[name, "03.1"]["hint"]
    assert (rows["stops", "03.1"]["status"], rows["stops", "03.1"]["hint"]) == ("error", (
        "The cell of the answer stops with NameError: name 'no_such_name' is not defined. What an answer needs beside "
        "the lab's own variables belongs between the exercise's text and its check."))


def test_what_is_taken_as_an_answer():
    made, lab = added(), tiny_lab()
    stubs = [cell(lab, f"ex{k}-answer").source for k in (1, 2)]
    for name, notebook in made.items():
        assert answers(notebook, lab, LAB)[2] == [stubs[1]], name
    taken = {name: answers(notebook, lab, LAB)[1] for name, notebook in made.items()}
    assert taken["above"][0] == HELPER and len(taken["above"]) == 2
    for name in ("below", "above_the_stub", "deleted"):     # what the lab leaves open comes first
        assert taken[name] == [stubs[0], RIGHT[0]]
    assert taken["tries"] == [cell(made["tries"], "ex1-answer").source, "print(no_such_name)", "1 +", RIGHT[0]]
    assert taken["tries_bare"] == [stubs[0], *taken["tries"]]
    assert taken["unchecked"] == ["import math", RIGHT[0]]
    blank = copy("")
    assert answers(blank, lab, LAB)[1] == [stubs[0]]
    for spoilt in ({"nbgrader": "x"}, {"nbgrader": ["x"]}, {"nbgrader": {"grade_id": {}}}):
        blank.cells[3].metadata.update(spoilt)
        blank.cells[4]["id"], blank.metadata["dgmlab"] = ["x"], "x"
        assert answers(blank, lab, LAB)[2] == [stubs[1]] and lab_of(blank) == "03"


def test_files_that_are_no_submissions(labs, tmp_path):
    other = copy(*RIGHT)
    other.metadata["dgmlab"] = {"lab": "04_kl_vanishing"}
    folder = hand_in(tmp_path / "in", empty="", broken="{\"cells\": [", list="[1, 2]", other=other,
                     bare=json.dumps({"cells": [{}]}), nothing=new_notebook())
    rows, sentences = grade(folder, tmp_path / "grades.csv")
    hints = {student: row["hint"] for (student, exercise), row in rows.items() if exercise == "03.2"}
    assert hints == {"empty": "the file is empty", "broken": "the file is not a whole notebook",
                     "list": "the file is not a whole notebook", "bare": "the file is not a whole notebook",
                     "other": "handed in for lab 03, but it is a copy of lab 04",
                     "nothing": "it has none of the lab's cells for answers"}
    assert {row["status"] for row in rows.values()} == {"unreadable"}
    assert [sentence.partition(os.sep)[0] for sentence in sentences] == sorted(hints)
    assert f"broken{os.sep}{LAB}.ipynb cannot be judged: the file is not a whole notebook." in sentences


def test_a_folder_without_a_notebook_is_named(labs, tmp_path):
    folder = hand_in(tmp_path / "in", ada=copy(*RIGHT), __MACOSX="")
    for name in ("pdfonly", "empty", ".git", "__MACOSX"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "pdfonly" / "lab3.pdf").write_text("%PDF")
    (folder / "__MACOSX" / f"{LAB}.ipynb").unlink()
    found, sentences = grading.find(folder)
    assert [each.student for each in found] == ["ada"]
    assert sentences == ["There is no notebook (*.ipynb) in empty, pdfonly, so nothing of them is judged."]


@pytest.mark.parametrize("path, student", [
    ("ada_03_tiny.ipynb", "ada"), ("ada-03.ipynb", "ada"), ("Ada Lovelace_tiny.ipynb", "Ada Lovelace"),
    ("ada.ipynb", "ada"), ("ada/03_tiny.ipynb", "ada"), ("ada/03_tiny/03_tiny.ipynb", "ada"),
    ("ada/my answers.ipynb", "ada"), ("03_tiny.ipynb", None),
])
def test_whose_a_notebook_is(labs, tmp_path, path, student):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(copy(*RIGHT), tmp_path / path)
    found, sentences = grading.find(tmp_path)
    if student:
        assert [(each.student, each.lab) for each in found] == [(student, LAB)] and sentences == []
    else:
        assert found == [] and "its name does not tell whose it is" in sentences[0]


def test_of_two_notebooks_the_newer_one_counts(labs, tmp_path):
    for name, age in (("first.ipynb", 100), ("second.ipynb", 10), (".ipynb_checkpoints/second-checkpoint.ipynb", 0)):
        path = tmp_path / "ada" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(copy(), path)
        os.utime(path, (time.time() - age,) * 2)
    (tmp_path / "bob").mkdir()
    nbformat.write(new_notebook(), tmp_path / "bob" / "notes.ipynb")
    found, sentences = grading.find(tmp_path)
    assert [each.path.name for each in found] == ["second.ipynb"]
    assert sorted(sentences)[0].startswith(f"ada{os.sep}first.ipynb is left out")
    assert "neither its name nor its cells tell which lab" in sorted(sentences)[1]


# -- the table -------------------------------------------------------------------------------------------------------

@pytest.fixture
def judged(monkeypatch):
    """Judges without running anything; notes whom."""
    seen = []

    def judge(path, submissions, **options):
        for each in submissions:
            seen.append(each.student)
            for name in ("03.1", "03.2"):
                each.rows[name] = {"passed": name == "03.1", "hint": "=1+1", "seconds": 0.5,
                                   "status": "right" if name == "03.1" else "timed out"}
            yield each

    monkeypatch.setattr(grading, "judge", judge)
    return seen


def test_a_table_is_taken_up_where_it_ended(labs, tmp_path, judged):
    folder, out = hand_in(tmp_path / "in", ada=copy(*RIGHT), bob=copy()), tmp_path / "grades.csv"
    rows, _ = grade(folder, out)
    assert judged == ["ada", "bob"]
    with out.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["student", "exercise", "passed", "hint", "seconds", "status", "submission"]
    assert [(row["student"], row["exercise"], row["passed"]) for row in written] == [
        ("ada", "03.1", "True"), ("ada", "03.2", "False"), ("bob", "03.1", "True"), ("bob", "03.2", "False")]
    assert written[1]["hint"] == "'=1+1"                # no formula in a spreadsheet
    assert written[0]["hint"] == ""                     # what is said of a right answer is no hint

    nbformat.write(copy(RIGHT[0]), folder / "bob" / f"{LAB}.ipynb")
    hand_in(folder, eve=copy())
    assert grade(folder, out)[0].keys() - rows.keys() == {("eve", "03.1"), ("eve", "03.2")}
    assert judged == ["ada", "bob", "bob", "eve"]       # who changed, and who is new
    grade(folder, out, again=True)
    assert judged[4:] == ["ada", "bob", "eve"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grades.csv", "in"]


def test_an_interrupted_table_is_whole(labs, tmp_path, monkeypatch, judged):
    folder, out = hand_in(tmp_path / "in", ada=copy(), bob=copy(), eve=copy()), tmp_path / "grades.csv"
    calm = grading.judge

    def judge(path, submissions, **options):
        for k, each in enumerate(calm(path, submissions, **options)):
            if k == 2:
                raise KeyboardInterrupt
            yield each

    monkeypatch.setattr(grading, "judge", judge)
    with pytest.raises(KeyboardInterrupt):
        grade(folder, out)
    assert {student for student, _ in grading.read_table(out)} == {"ada", "bob"}
    monkeypatch.setattr(grading, "judge", calm)
    assert len(grade(folder, out)[0]) == 6 and judged == ["ada", "bob", "eve", "eve"]


def test_a_second_table_has_one_row_a_student(labs, tmp_path, judged):
    folder, points = hand_in(tmp_path / "in", ada=copy(*RIGHT), bob=copy(), cut='{"cells": ['), tmp_path / "points.csv"
    (folder / "pdfonly").mkdir()
    arguments = ["grade", str(folder), "-o", str(tmp_path / "grades.csv"), "--points", str(points)]
    for _ in range(2):                                  # again over its own table
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exit_code == 1                    # of something that was left out
        assert "no notebook (*.ipynb) in pdfonly, so nothing of it is judged" in result.output
        assert "cannot be judged: the file is not a whole notebook" in result.output
        assert ("3 students, 6 exercises: 2 right, 4 not right, 0 not answered; stopped at a limit, or ended their "
                "process: ada (03.2), bob (03.2).") in result.output
        assert points.read_text() == "student,lab 03 (of 2),total (of 2)\nada,1,1\nbob,1,1\ncut,0,0\n"
    shutil.rmtree(folder / "cut"), (folder / "pdfonly").rmdir()
    assert CliRunner().invoke(cli.main, arguments).exit_code == 0


def test_points_of_several_labs(tmp_path):
    rows = [{"student": student, "exercise": exercise, "passed": passed} for student, exercise, passed in (
        ("eve", "03.1", True), ("ada", "02.1", True), ("ada", "02.2", False), ("ada", "03.1", True),
        ("eve", "03.2", True))]
    grading.write_points(tmp_path / "points.csv", rows)
    assert (tmp_path / "points.csv").read_text().splitlines() == [
        "student,lab 02 (of 2),lab 03 (of 2),total (of 4)", "ada,1,1,2", "eve,,2,2"]


def test_many_that_were_stopped_are_counted():
    rows = [{"student": f"s{k:02}", "exercise": "03.1", "passed": False, "status": "crashed"} for k in range(12)]
    assert grading.summary(rows).endswith("s08 (03.1), s09 (03.1) and 2 more.")


# -- bad input -------------------------------------------------------------------------------------------------------

def call(*arguments) -> str:
    """The one sentence with which the command refuses."""
    result = CliRunner().invoke(cli.main, ["grade", *map(str, arguments)])
    assert result.exit_code != 0 and "Traceback" not in result.output
    return result.output


def test_bad_input_is_one_sentence(labs, tmp_path, monkeypatch):
    (tmp_path / "none").mkdir()
    (tmp_path / "other.csv").write_text("name,grade\n")
    folder = hand_in(tmp_path / "in", ada=copy())
    assert "There is no folder" in call(tmp_path / "missing")
    assert "There are no notebooks" in call(tmp_path / "none")
    assert "is no table of grades" in call(folder, "-o", tmp_path / "other.csv")
    assert "There is no folder" in call(folder, "-o", tmp_path / "missing" / "grades.csv")
    assert "is no table of points" in call(folder, "--points", tmp_path / "other.csv")
    assert "There is no folder" in call(folder, "--points", tmp_path / "missing" / "points.csv")
    assert "name the same file" in call(folder, "-o", tmp_path / "x.csv", "--points", tmp_path / "x.csv")
    assert (tmp_path / "other.csv").read_text() == "name,grade\n"
    assert "--timeout" in call(folder, "--timeout", "0") and "--memory" in call(folder, "--memory", "1")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    assert "could not be written (No space left on device)" in call(folder, "-o", tmp_path / "grades.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "none", "other.csv"]


def test_a_lab_that_does_not_run_is_said(labs, tmp_path, monkeypatch):
    folder = hand_in(tmp_path / "in", ada=copy(*RIGHT))
    monkeypatch.setattr(grading, "lab_cells", lambda path, scale: [(3, "import no_such_package")])
    with pytest.raises(LabError, match="03_tiny itself does not run here: its cell 3 stopped with ModuleNotFoundError"):
        grade(folder, tmp_path / "grades.csv")
