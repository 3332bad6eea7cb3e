"""What a run of a sweep costs besides the lab's own computing: a new process, a new kernel, a forked kernel."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import nbformat

from dgmlab import notebooks
from dgmlab.sweep import running

TRIVIAL = "from dgmlab import plots\nfrom dgmlab.experiments import vae\nfrom dgmlab.widgets import vae_panel"


def trivial() -> tuple[str, dict]:
    """A notebook that imports what a lab imports, and does nothing."""
    cells = [nbformat.v4.new_code_cell("seed = 0", metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell(TRIVIAL)]
    made = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": {
        "display_name": "Python 3", "language": "python", "name": "python3"}})
    return nbformat.writes(made), {"seed": 1}


def first_lab() -> tuple[str, dict]:
    """Lab 00 at its smallest."""
    return running.without_outputs(notebooks.find("00")), {"scale": "smoke"}


def papermill(source):
    """Papermill's own command, as a shell loop over a grid would call it."""
    text, given = source()
    place = tempfile.TemporaryDirectory(prefix="dgmlab-bench-")
    path = Path(place.name, "lab.ipynb")
    path.write_text(text, "utf-8")
    values = [word for name, value in given.items() for word in ("-p", name, str(value))]

    def work():
        subprocess.run([sys.executable, "-m", "papermill", path, path.with_name("out.ipynb"), *values, "--cwd",
                        place.name, "--no-progress-bar", "--log-level", "ERROR"], check=True)
    work.close = place.cleanup
    return work


def sweep(source, warm: bool):
    """A worker of a sweep that is already there."""
    text, given = source()
    job = running.Job("bench", "lab", text, given, warm=warm)

    def work():
        outcome = running.run(job)
        if outcome.status != running.DONE:
            raise RuntimeError(outcome.error)
    return work


def benchmark(name: str, title: str, source) -> SimpleNamespace:
    return SimpleNamespace(NAME=name, TITLE=title, PER=1, CONTENDERS={
        "papermill, a process a run": partial(papermill, source),
        "dgmlab sweep --cold": partial(sweep, source, False),
        "dgmlab sweep": partial(sweep, source, True)})


OVERHEAD = benchmark("sweep", "A run of a notebook that only imports (ms; ratio to papermill's command)", trivial)
LAB = benchmark("sweep_lab", "A run of lab 00 at scale smoke (ms; ratio to papermill's command)", first_lab)
