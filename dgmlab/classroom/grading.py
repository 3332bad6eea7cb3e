"""Grades for a folder of submitted notebooks: `dgmlab grade`.

Of a submission only the answers are taken: the code between an exercise's text and its check. They are put into the lab
as it stands in the repository and judged by its own checks, in a process of their own
(:mod:`~dgmlab.classroom.worker`) with limits on time and memory. What that keeps apart, and what it does not:

* A submission has its own process group, folder (empty, removed afterwards) and home, and no way to the notebook that
  is graded. Its processes are all ended with it, those that hide from their parents as well (on Linux).
* A time limit an exercise, a memory limit, and limits on the number of processes and on the size of files. A submission
  that dies or is stopped at one exercise is judged on the others.
* Checks, tests of other exercises and the lab's variables given to a check cannot be replaced by a submission's cells;
  a function of the checks or of the libraries beneath them that an answer has replaced is noticed.
* **Not** kept apart: the network, and the rights of the user who runs the grading. A submission can read and delete
  that user's files and end that user's processes, and code that is written to deceive can find its way around checks
  that run in the same process. Against that, grade as a user of its own, in a container or a virtual machine.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import json
import os
import queue
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from .. import notebooks
from ..errors import LabError
from . import worker
from .exercises import answers, exercises, lab_of
from .files import write_text

COLUMNS = ["student", "exercise", "passed", "hint", "seconds", "status", "submission"]
LARGEST = 50_000_000        # bytes of a submitted notebook
PROCESSES = 60              # that a submission may have at a time
NAMED = 10                  # students whose answers were ended, in the summary
POLL = 0.1                  # seconds between two looks at what a submission takes


@dataclass
class Submission:
    """One student's notebook of one lab.

    Attributes:
        path: of the notebook.
        lab: the stem of the lab it was handed in for.
        rows: what was found, by exercise.
        digest: of the notebook and of what it is judged with; a submission with the same one is not judged again.
        answers: the cells of each answer, by the number of its exercise.
        unread: why there is nothing to judge, in a sentence.
    """

    student: str
    lab: str
    path: Path
    digest: str = ""
    answers: dict[int, list[str]] = field(default_factory=dict)
    unread: str = ""
    rows: dict[str, dict] = field(default_factory=dict)


# -- what was handed in ----------------------------------------------------------------------------------------------

def find(folder: Path) -> tuple[list[Submission], list[str]]:
    """The submissions in ``folder``, and a sentence for each notebook and each student's folder that is left out.

    Left out is a notebook of which it is not clear whose it is or which lab it is of, one of which there is a newer
    one, one in which there is nothing to judge (its exercises are rows all the same), and a folder with no notebook.

    A notebook in a folder belongs to the student after whom the topmost folder is named (``ada/03_vae.ipynb``,
    ``ada/03_vae/03_vae.ipynb``); one that lies in ``folder`` itself is named by the student and the lab
    (``ada_03_vae.ipynb``, ``ada_03.ipynb``), or by the student alone (``ada.ipynb``). The lab is the one that the names
    tell, else the one that the notebook is a copy of.
    """
    if not folder.is_dir():
        raise LabError(f"There is no folder {folder} with submissions.")
    found: dict[tuple[str, str], Submission] = {}
    sentences = []
    try:
        paths = sorted(path for path in folder.rglob("*.ipynb") if not any(
            part.startswith(".") for part in path.relative_to(folder).parts))
    except OSError as error:
        raise LabError(f"The folder {folder} cannot be read ({error.strerror}).") from error
    if not paths:
        raise LabError(f"There are no notebooks (*.ipynb) in {folder}; it holds a folder a student, or notebooks named "
                       "STUDENT_LAB.ipynb.")
    empty = _without(folder, paths)
    if empty:
        sentences.append(f"There is no notebook (*.ipynb) in {', '.join(empty)}, so nothing of "
                         f"{'it' if len(empty) == 1 else 'them'} is judged.")
    labs: dict[str, object] = {}
    for path in paths:
        submission = _submission(path, path.relative_to(folder), labs)
        if isinstance(submission, str):
            sentences.append(f"{path.relative_to(folder)} is left out: {submission}.")
            continue
        key = (submission.student, submission.lab)
        if key in found:
            older, newer = sorted((found[key], submission), key=lambda each: each.path.stat().st_mtime)
            sentences.append(f"{older.path.relative_to(folder)} is left out: {newer.path.relative_to(folder)} is "
                             f"{submission.student}'s newer one of lab {submission.lab[:2]}.")
            submission = newer
        found[key] = submission
    sentences += [f"{each.path.relative_to(folder)} cannot be judged: {each.unread}." for each in found.values()
                  if each.unread]
    return [found[key] for key in sorted(found, key=lambda key: (key[1], key[0]))], sentences


def _without(folder: Path, paths: list[Path]) -> list[str]:
    """The students' folders in which none of the ``paths`` lies."""
    used = {path.relative_to(folder).parts[0] for path in paths}
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name not in used
                  and not path.name.startswith((".", "__")))        # such as __MACOSX


def _submission(path: Path, inside: Path, labs: dict) -> Submission | str:
    """The submission in ``path``, or why there is none; ``labs`` keeps the labs that were read, by their stems."""
    student, told = (inside.parts[0] if len(inside.parts) > 1 else None), _lab_in(inside.stem)
    for part in inside.parts[1:-1]:
        told = told or _lab_in(part)
    if student is None:
        student = inside.stem
        if told:
            student = re.sub(rf"(^|[_\-. ]+)({told}|{told[:2]}|{told[3:]})$", "", student, flags=re.I)
            if not student:
                return ("its name does not tell whose it is; name it STUDENT_LAB.ipynb, or put it into a folder named "
                        "after the student")
    notebook, problem = _read(path)
    number = lab_of(notebook) if notebook is not None else None
    stems = {each.stem[:2]: each.stem for each in notebooks.labs()}
    if told is None and number not in stems:
        return problem or "neither its name nor its cells tell which lab it is of"
    lab = told or stems[number]
    submission = Submission(student, lab, path)
    if notebook is None:
        submission.unread = problem
    elif number is not None and number != lab[:2]:
        submission.unread = f"handed in for lab {lab[:2]}, but it is a copy of lab {number}"
    else:
        if lab not in labs:
            labs[lab] = notebooks.read(notebooks.find(lab))
        submission.answers = answers(notebook, labs[lab], lab)
        if not submission.answers:
            submission.unread = "it has none of the lab's cells for answers"
    return submission


def _lab_in(name: str) -> str | None:
    """The stem of the lab that a file or folder is named after, at the end of its name."""
    for path in notebooks.labs():
        number, _, title = path.stem.partition("_")
        if re.search(rf"(^|[_\-. ])({path.stem}|{number}|{title})$", name, re.I):
            return path.stem
    return None


def _read(path: Path):
    """The notebook, or why it is none."""
    import nbformat

    try:
        if not path.resolve().is_file() or path.stat().st_size > LARGEST:
            return None, f"it is no file of at most {LARGEST // 1_000_000} MB"
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return None, f"it cannot be read ({type(error).__name__})"
    if not text.strip():
        return None, "the file is empty"
    try:
        notebook = nbformat.from_dict(json.loads(text))
        for cell in notebook.cells:
            cell.source = "".join(cell.source)
            cell.cell_type = str(cell.cell_type)
            cell.metadata = nbformat.from_dict(dict(cell.get("metadata") or {}))
        notebook.metadata = nbformat.from_dict(dict(notebook.get("metadata") or {}))
        return notebook, ""
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return None, "the file is not a whole notebook"


# -- judging ---------------------------------------------------------------------------------------------------------

@dataclass
class Limits:
    """What a submission may take: seconds an exercise, megabytes of memory."""

    timeout: float = 120
    memory: float = 4096


def lab_cells(path: Path, scale: str) -> list[tuple[int, str]]:
    """The code of a lab that no exercise owns, as (number of the cell, source), at the given scale."""
    cells = []
    for number, cell in enumerate(notebooks.read(path).cells, 1):
        tags = set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not tags & {"exercise", "check", "solution"}:
            cells.append((number, cell.source + (f"\nscale = {scale!r}" if "parameters" in tags else "")))
    return cells


class Worker:
    """A worker process, and a thread that puts what it says into a queue."""

    def __init__(self, path: Path, scale: str, messages: queue.Queue, *, fork: bool):
        self.key, self.lab = secrets.token_hex(16), path.stem
        self.home = Path(tempfile.mkdtemp(prefix="dgmlab-grade-"))
        keep = {name: value for name, value in os.environ.items()
                if not name.startswith(("JPY_", "JUPYTER", "IPYTHON", "DGMLAB"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dgmlab.classroom.worker"], cwd=self.home, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=os.name != "nt",
            env={**keep, "DGMLAB_LIVE": "0", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg",
                 "TOKENIZERS_PARALLELISM": "false", "HOME": str(self.home), "IPYTHONDIR": str(self.home),
                 "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parents[2]),
                                                              os.environ.get("PYTHONPATH")]))})
        self.send({"key": self.key, "cells": lab_cells(path, scale), "fork": fork})
        threading.Thread(target=self._listen, args=(messages,), daemon=True).start()

    def send(self, message: dict) -> None:
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:                                 # it has died, which its end of the pipe tells as well
            pass

    def _listen(self, messages: queue.Queue) -> None:
        while line := self.process.stdout.readline(10_000):
            digest, _, text = line.rstrip(b"\n").partition(b" ")
            messages.put((self, digest.decode(errors="replace"), text))
        messages.put((self, None, None))

    def end(self) -> None:
        """End it and all that it has started, and remove its folder."""
        end_tree(self.process.pid)
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.home, ignore_errors=True)


def genuine(key: str, digest: str, text: bytes) -> bool:
    """Whether a line was written by someone who holds ``key``."""
    return hmac.compare_digest(hmac.new(key.encode(), text, hashlib.sha256).hexdigest(), digest)


@dataclass
class Attempt:
    """A submission that is being judged, or waits for it."""

    submission: Submission
    worker: Worker | None = None
    key: str = ""
    pid: int = 0
    folder: Path | None = None
    current: str = ""           # the exercise that is being judged
    since: float = 0.0
    stopped: str = ""           # why it was ended by us
    tries: int = 0
    dead: set[str] = field(default_factory=set)         # exercises whose cells are not run again


def judge(path: Path, submissions: list[Submission], *, scale: str, jobs: int, limits: Limits,
          fork: bool = worker.CAN_FORK, ready=lambda message: None) -> Iterator[Submission]:
    """Judge the submissions of one lab, several at a time; yields each when its rows are complete.

    Args:
        fork: run the lab once, and judge each submission in a copy of its process.
        ready: called with ``{"seconds": ..., "cpu": ...}`` whenever the lab's own cells have been run.

    Raises:
        LabError: the lab itself does not run here.
    """
    tasks = exercises(notebooks.read(path), path.stem)
    waiting = deque(Attempt(each) for each in submissions)
    running: dict[str, Attempt] = {}
    messages: queue.Queue = queue.Queue()
    workers: list[Worker] = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                if not fork or not workers:
                    workers.append(Worker(path, scale, messages, fork=fork))
                attempt = waiting.popleft()
                running[_start(attempt, workers[-1], tasks, limits)] = attempt
            try:
                sender, digest, text = messages.get(timeout=POLL)
            except queue.Empty:
                sender = None
            if sender is not None and digest is None and sender in workers:
                workers.remove(sender)
                sender.end()
                ended = [key for key, attempt in running.items() if attempt.worker is sender]
            else:
                ended = _take(running, sender, digest, text, ready) if sender is not None and digest else []
            for identity in ended:
                attempt = running.pop(identity)
                if _concluded(attempt, tasks):
                    yield attempt.submission
                else:
                    waiting.appendleft(attempt)
            for attempt in running.values():
                _watch(attempt, limits)
    finally:
        for each in workers:
            each.end()
        for attempt in running.values():
            _clear(attempt)


def _start(attempt: Attempt, to: Worker, tasks: list, limits: Limits) -> str:
    identity = secrets.token_hex(8)
    attempt.worker, attempt.key = to, secrets.token_hex(16)
    attempt.folder = Path(tempfile.mkdtemp(prefix="dgmlab-grade-"))
    attempt.pid, attempt.current, attempt.since, attempt.stopped = 0, "", time.monotonic(), ""
    attempt.tries += 1
    rows, given = attempt.submission.rows, attempt.submission.answers
    parts = [{"exercise": task.name, "answer": given[task.number], "check": task.check, "judge": task.name not in rows}
             for task in tasks if task.number in given and task.name not in attempt.dead]
    to.send({"id": identity, "key": attempt.key, "folder": str(attempt.folder), "memory": limits.memory,
             "seconds": (limits.timeout + 5) * (len(parts) + 1), "exercises": parts})
    return identity


def _take(running: dict[str, Attempt], sender: Worker, digest: str, text: bytes, ready) -> list[str]:
    """Take in a worker's message; returns the ids of the attempts that have ended by it."""
    try:
        message = json.loads(text)
        identity = message.get("id")
    except (ValueError, AttributeError):
        return []                                       # a submission has found the pipe
    attempt = running.get(identity)
    if genuine(sender.key, digest, text):
        if "failed" in message:
            raise LabError(f"The lab {sender.lab} itself does not run here: {message['failed']}; try `dgmlab run "
                           f"{sender.lab[:2]}`.")
        if "ready" in message:
            ready(message)
        if attempt and "pid" in message:
            attempt.pid = message["pid"]
        return [identity] if attempt and "ended" in message else []
    if attempt is None or not genuine(attempt.key, digest, text):
        return []
    if "begin" in message:
        attempt.current, attempt.since = message["begin"], time.monotonic()
        attempt.pid = attempt.pid or sender.process.pid
    elif message["exercise"] == attempt.current:
        attempt.submission.rows.setdefault(message["exercise"], {
            "passed": message["passed"], "hint": message["hint"], "seconds": message["seconds"],
            "status": message["status"], "cpu": message["cpu"]})
        attempt.current = ""
    return []


def _watch(attempt: Attempt, limits: Limits) -> None:
    """End an attempt that takes more than it may."""
    import psutil

    if not attempt.pid or attempt.stopped:
        return
    try:
        top = psutil.Process(attempt.pid)
        tree = [top, *top.children(recursive=True)]
    except psutil.Error:
        return
    memory = 0
    for process in tree:
        try:
            memory += _memory(process)
        except psutil.Error:
            pass
    if attempt.current and time.monotonic() - attempt.since > limits.timeout:
        attempt.stopped = "timed out"
    elif len(tree) > PROCESSES:
        attempt.stopped = "too many processes"
    elif memory > limits.memory:
        attempt.stopped = "out of memory"
    if attempt.stopped:
        end_tree(attempt.pid)


def _memory(process) -> float:
    """Megabytes in use; what several processes share is counted once where the system can tell, as Linux can."""
    import psutil

    try:
        return process.memory_full_info().pss / 2**20
    except (AttributeError, psutil.AccessDenied):
        return process.memory_info().rss / 2**20


DIED = {"timed out": "took longer than {timeout:g} s", "out of memory": "took more than {memory:g} MB of memory",
        "too many processes": f"started more than {PROCESSES} processes",
        "crashed": "ended the process in which it was judged"}


def _concluded(attempt: Attempt, tasks: list) -> bool:
    """Whether nothing of a submission is left to be judged, now that an attempt at it has ended."""
    _clear(attempt)
    rows = attempt.submission.rows
    if attempt.current or attempt.stopped:
        name = attempt.current or next((task.name for task in tasks if task.name not in rows
                                        and task.number in attempt.submission.answers), "")
        attempt.dead.add(name)
        if name and name not in rows:
            rows[name] = {"passed": False, "hint": "", "seconds": round(time.monotonic() - attempt.since, 3),
                          "status": attempt.stopped or "crashed"}
    left = [task.name for task in tasks if task.name not in rows and task.number in attempt.submission.answers]
    if left and attempt.tries <= len(tasks):
        return False
    for task in tasks:
        missing = task.number not in attempt.submission.answers
        rows.setdefault(task.name, {"passed": False, "seconds": 0.0, "status": "missing" if missing else "crashed",
                                    "hint": "the answer's cell is missing" if missing else ""})
    return True


def _clear(attempt: Attempt) -> None:
    if attempt.pid:
        end_tree(attempt.pid)
    if attempt.folder:
        _make_removable(attempt.folder)
        shutil.rmtree(attempt.folder, ignore_errors=True)


def _make_removable(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        try:
            os.chmod(place, 0o700)
        except OSError:
            pass


def end_tree(pid: int) -> None:
    """End a process, what it has started, and its group."""
    import psutil

    try:
        top = psutil.Process(pid)
        tree = [*top.children(recursive=True), top]
    except psutil.Error:
        tree = []
    for process in tree:
        try:
            process.kill()
        except psutil.Error:
            pass
    if tree and os.name != "nt":
        try:
            if os.getpgid(pid) == pid:
                os.killpg(pid, 9)
        except OSError:
            pass


# -- the table -------------------------------------------------------------------------------------------------------

def grade(folder: Path, out: Path, *, scale: str = "lab", jobs: int = 1, limits: Limits | None = None,
          again: bool = False, progress=None) -> tuple[list[dict], list[str]]:
    """Judge all that was handed in, and keep one table of it up to date in ``out``, row by row.

    Args:
        again: judge those anew that the table in ``out`` has already, too.
        progress: called with the number of submissions, then used like tqdm's bar.

    Returns:
        The rows, and a sentence for each notebook and each folder that was left out.
    """
    limits = limits or Limits()
    submissions, sentences = find(folder)
    table = {} if again else read_table(out)
    names = {}
    for stem in sorted({each.lab for each in submissions}):
        path = notebooks.find(stem)
        names[stem] = [each.name for each in exercises(notebooks.read(path), stem)]
        judged_with = notebooks.fingerprint(notebooks.read(path)) + scale + _checks(stem[:2])
        for each in submissions:
            if each.lab == stem:
                content = each.path.read_bytes() if each.path.is_file() and not each.unread else b""
                each.digest = hashlib.sha256(content + each.unread.encode() + judged_with.encode()).hexdigest()[:12]
    to_do = []
    for each in submissions:
        kept = [table.get((each.student, name)) for name in names[each.lab]]
        if not all(row and row["submission"] == each.digest for row in kept):
            for name in names[each.lab]:
                table.pop((each.student, name), None)
            to_do.append(each)
    write_table(out, table)                             # before minutes of work: whether it can be written
    with progress(len(submissions)) as bar:
        bar.update(len(submissions) - len(to_do))
        for stem in names:
            mine = [each for each in to_do if each.lab == stem]
            for each in mine:
                if each.unread:
                    each.rows = {name: {"passed": False, "hint": each.unread, "seconds": 0.0, "status": "unreadable"}
                                 for name in names[stem]}
                    _enter(table, each, names[stem], limits)
                    bar.update(1)
            with closing(judge(notebooks.find(stem), [each for each in mine if not each.unread], scale=scale, jobs=jobs,
                               limits=limits)) as judged:
                for each in judged:
                    _enter(table, each, names[stem], limits)
                    write_table(out, table)
                    bar.update(1)
    write_table(out, table)
    return [table[key] for key in sorted(table)], sentences


def _checks(number: str) -> str:
    """A digest of the code that takes out and judges the answers of a lab."""
    from .. import check

    here, checks = Path(__file__).parent, Path(check.__file__).parent
    files = [checks / "__init__.py", checks / f"lab{number}.py", here / "exercises.py", here / "worker.py"]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _enter(table: dict, submission: Submission, names: list[str], limits: Limits) -> None:
    for name in names:
        row = submission.rows[name]
        hint = row["hint"] or DIED.get(row["status"], "").format(timeout=limits.timeout, memory=limits.memory)
        hint = "" if row["passed"] else hint            # what is said of a right answer is no hint
        table[submission.student, name] = {
            "student": submission.student, "exercise": name, "passed": row["passed"],
            # A spreadsheet takes what begins like this for a formula.
            "hint": f"'{hint}" if hint[:1] in ("=", "+", "-", "@") else hint,
            "seconds": row["seconds"], "status": row["status"], "submission": submission.digest}


def read_table(path: Path) -> dict[tuple[str, str], dict]:
    """The rows of an earlier table by student and exercise; empty if there is none."""
    if not path.exists():
        return {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LabError(f"{path} cannot be read ({type(error).__name__}); name another file with -o.") from error
    if reader.fieldnames != COLUMNS:
        raise LabError(f"{path} is no table of grades (its first line would be {','.join(COLUMNS)}); name another "
                       "file with -o.")
    for row in rows:
        row["passed"], row["seconds"] = row["passed"] == "True", float(row["seconds"])
    return {(row["student"], row["exercise"]): row for row in rows}


def write_table(path: Path, table: dict[tuple[str, str], dict]) -> None:
    """Write the rows, sorted, beside ``path`` and rename them there."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table[key] for key in sorted(table))
    write_text(path, text.getvalue())


def summary(rows: list[dict]) -> str:
    """How many of how many were right, in a line, and whose answers were ended."""
    students, right = {row["student"] for row in rows}, sum(row["passed"] for row in rows)
    open_ = sum(row["status"] in ("not answered", "missing") for row in rows)
    died = [f"{row['student']} ({row['exercise']})" for row in rows if row["status"] in DIED]
    named = ", ".join(died[:NAMED]) + f" and {len(died) - NAMED} more" * (len(died) > NAMED)
    return (f"{len(students)} student{'s' * (len(students) != 1)}, {len(rows)} exercises: {right} right, "
            f"{len(rows) - right - open_} not right, {open_} not answered"
            f"{f'; stopped at a limit, or ended their process: {named}' if died else ''}.")


def write_points(path: Path, rows: list[dict]) -> None:
    """Write a second table, of one row a student: the points (exercises that are right) by lab, and in all.

    The points of a lab are empty if it was not handed in.
    """
    labs: dict[str, set[str]] = {}
    for row in rows:
        labs.setdefault(row["exercise"][:2], set()).add(row["exercise"])
    heads = {lab: f"lab {lab} (of {len(labs[lab])})" for lab in sorted(labs)}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["student", *heads.values(), f"total (of {sum(map(len, labs.values()))})"])
    for student in sorted({row["student"] for row in rows}):
        mine = [row for row in rows if row["student"] == student]
        points = {lab: sum(row["passed"] for row in mine if row["exercise"][:2] == lab) for lab in heads
                  if any(row["exercise"][:2] == lab for row in mine)}
        writer.writerow([student, *(points.get(lab, "") for lab in heads), sum(points.values())])
    write_text(path, text.getvalue())


def check_points(path: Path) -> None:
    """Whether :func:`write_points` may write there.

    Raises:
        LabError: there is a file already that is no such table.
    """
    try:
        first = path.read_text(encoding="utf-8").partition("\n")[0] if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"{path} cannot be read ({type(error).__name__}); name another file with --points.") from error
    if first and not re.match(r"student,(lab \d\d |total )", first):
        raise LabError(f"{path} is no table of points (its first line would begin with student,lab), and nothing is "
                       "written over it; name another file with --points.")
