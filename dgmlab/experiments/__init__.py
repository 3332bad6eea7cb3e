"""Experiments: one file a lab, each with the function that makes the lab's run from plain parameters.

A run remembers how it was made (``run.spec``), so that a session or a checkpoint can be gone on with elsewhere.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from pathlib import Path

from ..errors import LabError, check_choice


def recorded(make_run):
    """Let ``run.spec`` of what ``make_run`` makes name the experiment and all its arguments."""
    signature = inspect.signature(make_run)

    @functools.wraps(make_run)
    def wrapper(*args, **kwargs):
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        run = make_run(*args, **kwargs)
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


def replay(path: str | Path, build_run=None):
    """Replay a saved session; see :func:`dgmlab.training.session.replay`.

    Args:
        path: the session file.
        build_run: makes the run, for runs that were not made by an experiment of this package.
    """
    from ..training import session

    saved = session.load_session(path)
    return session.replay(saved, build_run or (lambda: build(saved["spec"])))


@functools.cache
def _module(name: str):
    return importlib.import_module(f"{__name__}.{name}")
