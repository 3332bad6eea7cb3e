"""The first panel of a lab as a page of its own, for a lecture hall's screen or for visitors: no code, all live."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from pathlib import Path

from . import lab_format, notebooks
from .errors import LabError

IDLE = 600              # seconds after which the kernel of a page that has vanished is stopped


def page(lab: Path, folder: Path, home: Path) -> Path:
    """Write the notebook of a lab's page into ``folder``: the title, all code up to the first panel, and what one sees.

    Args:
        home: the folder in which it runs, so that what Save writes is kept.

    Raises:
        LabError: the lab does not begin with something to move.
    """
    import nbformat

    lab_cells = notebooks.read(lab).cells
    last = next((k for k, cell in enumerate(lab_cells[:lab_format.SCREENFUL]) if cell.cell_type == "code"
                 and not lab_format.tags(cell) & {"parameters", "hide-input"}), None)
    if last is None:
        raise LabError(f"{lab.stem} has no panel among its first {lab_format.SCREENFUL} cells, so there is nothing to "
                       "put on a page of its own; choose another lab.")
    title, about = (lab_cells[0].source.split("\n\n") + [""])[:2]
    cells = [nbformat.v4.new_markdown_cell(f"{title}\n\n{about}"),
             nbformat.v4.new_code_cell(f"import os\n\nos.chdir({str(home)!r})"),
             *[cell for cell in lab_cells[:last + 1] if cell.cell_type == "code"]]
    seen = next((cell for cell in lab_cells[last + 1:] if cell.cell_type == "markdown"), None)
    if seen is not None:                    # without what it says of the picture that is saved in the notebook
        cells.append(nbformat.v4.new_markdown_cell(re.sub(r" ?\(saved:? [^)]*\)", "", seen.source)))
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    made = nbformat.v4.new_notebook(cells=cells, metadata={
        "title": title.removeprefix("# "),
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}})
    path = folder / f"{lab.stem}.ipynb"
    notebooks.write(path, made)
    return path


def voila(page: Path, port: int | None, *, browser: bool) -> tuple[list[str], dict[str, str]]:
    """The command that serves the page, and its environment.

    Raises:
        LabError: Voilà is not installed.
    """
    if importlib.util.find_spec("voila") is None:
        raise LabError("A dashboard is served by Voilà, which is not installed here; run `pip install "
                       "'dgmlab[dashboard]'`, or in the clone `pip install -e '.[dashboard]'`.")
    command = [sys.executable, "-m", "voila", str(page), "--template=dgmlab", "--theme=light",
               # A page that is closed stops its kernel, by a message without the cookie that is otherwise asked for;
               # whoever forged one would have to guess a kernel's random name. Of a page that has vanished (a laptop
               # shut) nobody says so.
               "--Voila.tornado_settings=disable_check_xsrf=True",
               f"--MappingKernelManager.cull_idle_timeout={IDLE}", f"--MappingKernelManager.cull_interval={IDLE // 10}"]
    if port:
        command.append(f"--port={port}")
    if not browser:
        command.append("--no-browser")
    templates = [str(Path(__file__).parent / "jupyter"), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    # Voilà runs the cells the way a batch runner does, but somebody watches. This environment's kernel comes first.
    return command, {**os.environ, "JUPYTER_PATH": os.pathsep.join(templates), "JUPYTER_PREFER_ENV_PATH": "1",
                     "DGMLAB_LIVE": "1"}
