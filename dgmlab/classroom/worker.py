"""The process in which a lab is run and students' answers are judged: `python -m dgmlab.classroom.worker`.

:mod:`~dgmlab.classroom.grading` starts it, writes one line of JSON with the lab and then one a submission to its
standard input, and reads what it found, a line of JSON each, from its standard output. The lab's own cells are run
first. Where the system can fork, each submission is then judged in a copy of this process, so that the lab is run once
for all of them; elsewhere the process judges one submission and ends.

What students' code prints goes nowhere. Each line about a submission carries a digest made with a key that came with
the submission, and what the checks rely on is compared with what it was before the answer was run.
"""

from __future__ import annotations

import ast
import builtins
import ctypes
import gc
import hashlib
import hmac
import json
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType

LONGEST = 3000              # bytes of a hint: a line to a pipe is written whole only up to 4,096
FILE_MB = 200               # the largest file that a submission may write
BELONGS = " What an answer needs beside the lab's own variables belongs between the exercise's text and its check."
LAZY = {"torch", "numpy"}                       # replace some of their own functions when these are first called
CAN_FORK = sys.platform.startswith("linux")     # elsewhere a fork of what uses system libraries is not safe


def main() -> None:
    lines, channel = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    _silence()
    request = json.loads(_line(lines))
    send = sender(channel, request.pop("key"))
    try:
        shell, began, used = _shell(), time.monotonic(), time.process_time()
        for number, source in request["cells"]:
            error = run(shell, source)
            if error is not None:
                send(failed=f"its cell {number} stopped with {_sentence(error)}")
                return
        judging = Judging(shell)
    except Exception as error:
        send(failed=_sentence(error))
        return
    send(ready=True, seconds=round(time.monotonic() - began, 2), cpu=round(time.process_time() - used, 2))
    if not request["fork"]:
        _judge_one(judging, json.loads(_line(lines)), channel)
        return
    _adopt_orphans()
    gc.freeze()                                         # else the first collection of every copy copies all pages
    serve(judging, lines, channel, send)


def serve(judging: Judging, lines, channel, send: Callable) -> None:
    """Judge the submissions on ``lines``, each in a copy of this process, until there are no more."""
    copies, more = {}, True
    while more or copies:
        if more and select.select([lines], [], [], 0.05)[0]:
            line = _line(lines)
            if not line:
                more = False
                continue
            job = json.loads(line)
            pid = os.fork()
            if not pid:
                _in_a_copy(judging, job, channel)
            copies[pid] = job["id"]
            send(id=job["id"], pid=pid)
            del job, line
        elif not more:
            time.sleep(0.02)
        while copies:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            if pid in copies:
                send(id=copies.pop(pid), ended=os.waitstatus_to_exitcode(status))
                _end_orphans(set(copies))


def _in_a_copy(judging: Judging, job: dict, channel) -> None:
    code = 1
    try:
        os.setsid()
        os.close(0)
        _judge_one(judging, job, channel)
        code = 0
    finally:
        os._exit(code)


def _judge_one(judging: Judging, job: dict, channel) -> None:
    for name in ("HOME", "USERPROFILE", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR",
                 "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR", "TEMP", "TMP"):
        os.environ[name] = job["folder"]
    os.chdir(job["folder"])
    limit(job["memory"], job["seconds"])
    send, identity, parts = sender(channel, job["key"]), job["id"], job["exercises"]
    job.clear()
    for part in parts:
        name = part["exercise"]
        if not part["judge"]:                           # judged by an earlier copy; a later answer may build on it
            for source in part["answer"]:
                run(judging.shell, source)
            continue
        send(id=identity, begin=name)
        began, used = time.monotonic(), time.process_time()
        status, passed, hint = judging.judge(part)
        send(id=identity, exercise=name, status=status, passed=passed, seconds=round(time.monotonic() - began, 3),
             cpu=round(time.process_time() - used, 3), hint=hint.encode()[:LONGEST].decode(errors="ignore"))


class Judging:
    """Judges answers in the state of a lab that was run: what it uses was taken hold of before any answer is."""

    def __init__(self, shell):
        from .. import check

        self.shell = shell
        self._judge, self._NotYet = check.judge, check.NotYet
        shell.user_ns["check"] = check.check            # for answers that ask for their check themselves
        # Imported now, so that they are watched.
        check.exercises()
        self._kept = {place: thing for place, thing in _watched()}

    def judge(self, part: dict) -> tuple[str, bool, str]:
        """(status, passed, hint) of one exercise: the cells of its ``answer`` are run, its ``check`` cell is evaluated.

        What the check is given by name is the lab's own, and taken before the answer's cells are run: an answer cannot
        put something else in its place. The hint after an error is this error; without it the answer may be another.
        """
        space = self.shell.user_ns
        before, call = check_call(part["check"])
        context = {}
        for keyword in call.keywords:
            try:
                context[keyword.arg] = _value(keyword.value, space)
            except Exception:                           # made only by the answer's cells
                pass
        errors = [run(self.shell, source) for source in part["answer"]]
        error = next((each for each in errors if each is not None and not isinstance(each, self._NotYet)), None)
        swapped = self._swapped()
        if swapped:
            return "tampered", False, (f"The answer puts something else in the place of {swapped}, which the checks "
                                       "rely on; leave it as it is.")
        said = f"The cell of the answer stops with {_sentence(error)}." if error is not None else ""
        if isinstance(error, NameError):
            said += BELONGS
        try:
            _execute(before, space)
            answers = [_value(argument, space) for argument in call.args[1:]]
            context |= {keyword.arg: _value(keyword.value, space) for keyword in call.keywords
                        if keyword.arg not in context}
            outcome = self._judge(part["exercise"], *answers, **context)
        except BaseException as wrong:                  # a student's function may raise anything, SystemExit too
            return "error", False, said or f"The check stops with {_sentence(wrong)}."
        swapped = self._swapped()                       # by a function that the check has called
        if swapped:
            return "tampered", False, f"The answer puts something else in the place of {swapped}; leave it as it is."
        if outcome.passed:
            return "right", True, outcome.says
        if said:
            return "error", False, said
        if not outcome.answered:
            return "not answered", False, "not answered yet"
        # An answer that is a function is called by the check.
        return "not right yet", False, outcome.says + BELONGS * ("NameError" in outcome.says)

    def _swapped(self) -> str | None:
        """The name of a function or class that is not what it was before the answers; None if there is none."""
        for (owner, name), (thing, code) in self._kept.items():
            now = vars(owner).get(name)
            if now is thing and (code is None or now.__code__ is code):
                continue
            home = (getattr(owner, "__module__", None) or owner.__name__).partition(".")[0]
            if home in LAZY and now is not thing and str(getattr(now, "__module__", "")).partition(".")[0] == home:
                continue                                # the library itself has put its own in place, on first use
            return f"{owner.__name__}.{name}"
        return None


def _watched() -> Iterator[tuple]:
    """The functions and classes of what the checks rely on, as ((owner, name), (thing, its code))."""
    import numpy
    import torch

    ours = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "dgmlab"]
    for owner in [*ours, builtins, math, time, json, hmac, numpy, numpy.linalg, torch, torch.nn.functional,
                  torch.Tensor]:
        for name, thing in list(vars(owner).items()):
            if callable(thing):
                yield (owner, name), (thing, getattr(thing, "__code__", None))
            if isinstance(owner, ModuleType) and isinstance(thing, type) and thing.__module__ == owner.__name__ \
                    and owner in ours:
                for method, function in list(vars(thing).items()):
                    if isinstance(function, (FunctionType, property, staticmethod, classmethod)):
                        yield (thing, method), (function, getattr(function, "__code__", None))


def check_call(source: str) -> tuple[list[ast.stmt], ast.Call]:
    """The statements of a check's cell before its call of `check`, and that call."""
    *before, last = ast.parse(source).body
    return before, last.value


def _value(expression: ast.expr, space: dict):
    return eval(compile(ast.Expression(expression), "<check>", "eval"), space)


def _execute(statements: list[ast.stmt], space: dict) -> None:
    exec(compile(ast.Module(statements, []), "<check>", "exec"), space)


def run(shell, source: str) -> BaseException | None:
    """Run a cell as a notebook does; returns what it raised."""
    try:
        result = shell.run_cell(source, silent=False, store_history=False)
    except BaseException as error:                      # such as KeyboardInterrupt in IPython's own code
        return error
    return result.error_before_exec or result.error_in_exec


def _shell():
    """IPython as a notebook has it, without a kernel around it."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    for name in ("exit", "quit"):
        shell.user_ns[name] = sys.exit                  # IPython's own ask a front end that is not there
    return shell


def sender(channel, key: str) -> Callable[..., None]:
    """A function that writes what it is given by name as one line, with a digest that only holders of ``key`` make."""
    secret, digest = key.encode(), hmac.new

    def send(**message) -> None:
        text = json.dumps(message)
        channel.write(f"{digest(secret, text.encode(), hashlib.sha256).hexdigest()} {text}\n".encode())

    return send


def limit(memory: float, seconds: float) -> None:
    """Limits that the system keeps for this process and all that it starts, where it has them.

    Args:
        memory: megabytes; of Linux's, data and private mappings, whose excess raises MemoryError.
        seconds: of the processor, a process.
    """
    try:
        import resource
    except ImportError:                                 # Windows
        return

    import psutil

    mine = sum(process.info["num_threads"] or 0 for process in psutil.process_iter(["uids", "num_threads"])
               if process.info["uids"] and process.info["uids"].real == os.getuid())
    wanted = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": FILE_MB << 20, "RLIMIT_CPU": math.ceil(seconds),
              "RLIMIT_NPROC": mine + 100}               # of the whole user; does not bind root
    if sys.platform.startswith("linux"):
        wanted["RLIMIT_DATA"] = int(memory * 2**20)
    for name, value in wanted.items():
        kind = getattr(resource, name, None)
        if kind is not None:
            hard = resource.getrlimit(kind)[1]
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))


def _adopt_orphans() -> None:
    """Become the parent of every process whose own parent ends below this one, so that none is lost."""
    PR_SET_CHILD_SUBREAPER = 36
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _end_orphans(copies: set[int]) -> None:
    """End what a submission has left behind; a copy that still runs keeps its own."""
    import psutil

    for process in psutil.Process().children():
        if process.pid not in copies:
            for each in [*process.children(recursive=True), process]:
                try:
                    each.send_signal(signal.SIGKILL)
                except psutil.Error:
                    pass


def _silence() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)


def _line(lines) -> bytes:
    """One line, byte by byte, so that nothing of the next is taken in."""
    parts = []
    while byte := lines.read(1):
        if byte == b"\n":
            break
        parts.append(byte)
    return b"".join(parts)


def _sentence(error: BaseException) -> str:
    says = (str(error).strip().splitlines() or [""])[0].rstrip(".")
    return type(error).__name__ + (f": {says}" if says else "")


if __name__ == "__main__":
    main()
