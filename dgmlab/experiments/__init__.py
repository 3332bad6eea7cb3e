"""Experiments: one file a lab, each with the function that makes the lab's run from plain parameters.

A run remembers how it was made (``run.spec``), so that a session or a checkpoint can be gone on with elsewhere.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from pathlib import Path

from ..errors import LabError, check_choice, check_number

# What the arguments of a session that was handed in may be at most. The labs keep far below.
LARGEST, LONGEST, MOST = 10_000, 200, 16        # a number, the characters of a text, the members of a list
SIZES = {"hidden": 1024, "latent": 1024, "features": 1024, "layers": 4, "blocks": 16, "halvings": 6}
COUNTS = {"seed", "steps", "fall", "head_start", "encoder_steps"}       # of which more take no more memory


def recorded(make_run):
    """Let ``run.spec`` of what ``make_run`` makes name the experiment and all its arguments."""
    signature = inspect.signature(make_run)

    @functools.wraps(make_run)
    def wrapper(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        run = make_run(*args, **kwargs)
        run.knobs.as_made()
        run.spec = {"experiment": make_run.__module__.rpartition(".")[2], "arguments": dict(bound.arguments)}
        return run

    return wrapper


def names() -> list[str]:
    """The experiments that can be built by name."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if hasattr(_module(module.name), "make_run"))


def build(spec: dict | None):
    """Make the run that ``run.spec`` describes, at step 0. Only experiments of this package are called."""
    if not spec:
        raise LabError("This run was made by hand, so it cannot be made again from its file; pass the function that "
                       "builds it.")
    check_choice("The experiment", spec["experiment"], names())
    return _module(spec["experiment"]).make_run(**spec["arguments"])


def build_handed_in(session: dict):
    """Make the run of a session that somebody has handed in, at step 0.

    The file is a stranger's: besides the experiments of this package nothing is called, nothing is written, no file
    that it names is read, and no number in it makes a network that would not fit into memory.

    Args:
        session: from :func:`dgmlab.training.session.load_session`.

    Raises:
        LabError: its experiment or an argument is not known here, out of bounds, or not to be had here.
    """
    spec = session["spec"]
    if not spec:
        return build(spec)
    name, arguments = spec["experiment"], dict(spec["arguments"])
    check_choice("The experiment", name, names())
    known = inspect.signature(_module(name).make_run).parameters
    for argument, value in arguments.items():
        if argument not in known:
            raise LabError(f"The experiment {name} has no argument {argument!r} in this version; it has "
                           f"{', '.join(known)}.")
        _check_argument(argument, value)
    if name == "language":
        from .language import CORPORA

        if arguments.get("corpus", CORPORA[0]) not in CORPORA:
            raise LabError("The session was made with a text file of its own, and no file that a session names is read "
                           "here; replay it where the file lies, by dgmlab.experiments.replay(path, build_run).")
    if "device" in known:
        arguments["device"] = _device_like(session["device"])
    if "folder" in known:
        arguments["folder"] = None
    try:
        return build({"experiment": name, "arguments": arguments})
    except LabError:
        raise
    except Exception as error:              # what no argument of the right kind would have led to
        raise LabError(f"The experiment {name} cannot be made with the arguments of the session "
                       f"({type(error).__name__}: {error}).") from error


def replay(path: str | Path, build_run=None):
    """Replay a saved session; see :func:`dgmlab.training.session.replay`.

    Args:
        path: the session file.
        build_run: makes the run, for runs that were not made by an experiment of this package.
    """
    from ..training import session

    saved = session.load_session(path)
    return session.replay(saved, build_run or (lambda: build_handed_in(saved)))


def _check_argument(name: str, value) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):
        if len(value) > LONGEST:
            raise LabError(f"The session's argument {name} has {len(value):,} characters, more than {LONGEST}.")
    elif isinstance(value, list | dict):
        if len(value) > MOST:
            raise LabError(f"The session's argument {name} has {len(value):,} members, more than {MOST}.")
        for each in value.values() if isinstance(value, dict) else value:
            _check_argument(name, each)
    elif name in COUNTS:
        check_number(f"The session's argument {name}", value, 0, 2**63 - 1)
    else:
        largest = SIZES.get(name, LARGEST)
        check_number(f"The session's argument {name}", value, -largest, largest)


def _device_like(kind: str) -> str:
    """The kind of device that a session ran on, if there is one here; else the CPU."""
    from ..training.devices import choose_device

    try:
        return choose_device(kind).type
    except LabError:
        return "cpu"


@functools.cache
def _module(name: str):
    return importlib.import_module(f"{__name__}.{name}")
