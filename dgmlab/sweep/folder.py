"""The folder of a sweep: who may write into it, what is in it, and how a run gets there whole or not at all.

    sweep.json          what is swept, and the lab's code that it is swept over
    runs/NAME/          one run: notebook.ipynb, run.json, and figures/ with an index
    table.csv           a row a run (and table.parquet, where pyarrow is installed)
    index.html          the comparison

A run is written beside and renamed to its place, so a folder in ``runs`` is a finished run, however the sweep ended.
"""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import shutil
from pathlib import Path

from .. import notebooks
from ..errors import LabError
from .grids import Grid, Point
from .running import DONE, Outcome

ABOUT, RUNS, PART = "sweep.json", "runs", ".part"


class Folder:
    """A sweep's folder, held by one process at a time: ``with Folder(path, grid, resume=False) as folder``.

    Raises:
        LabError: it cannot be written, another sweep is at work in it, it holds another sweep, something else, or (
            without ``resume``) a sweep at all.
    """

    def __init__(self, path: Path, grid: Grid, *, resume: bool, retry: bool = False):
        self.path, self.grid, self.resume, self.retry = path.absolute(), grid, resume, retry
        self._held = contextlib.ExitStack()

    def __enter__(self) -> Folder:
        from filelock import FileLock, Timeout

        with contextlib.ExitStack() as stack, writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                stack.enter_context(FileLock(self.path / ".lock", timeout=0))   # the system frees it with its process
            except Timeout as error:
                raise LabError(f"Another sweep is at work in {self.path}; wait for it, or name another folder with "
                               "-o.") from error
            self._check()
            shutil.rmtree(self.path / PART, ignore_errors=True)
            (self.path / PART).mkdir()
            (self.path / RUNS).mkdir(exist_ok=True)
            if self.retry:
                for row in self.rows():
                    if row["status"] != DONE:
                        os.rename(self.path / RUNS / row["name"], self.path / PART / row["name"])
            write(self.path / ABOUT, json.dumps(self._about(), indent=1, ensure_ascii=False) + "\n")
            self._held = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        shutil.rmtree(self.path / PART, ignore_errors=True)
        self._held.close()

    def _about(self) -> dict:
        return {"lab": self.grid.lab.stem, "code": notebooks.fingerprint(notebooks.read(self.grid.lab)),
                "axes": self.grid.axes}

    def _check(self) -> None:
        """That what is there may be gone on with."""
        there = {each.name for each in self.path.iterdir()} - {".lock"}
        if not there:
            return
        about = self.path / ABOUT
        if not about.is_file():
            raise LabError(f"{self.path} holds something, and no sweep; name an empty or a new folder with -o.")
        if not self.resume:
            raise LabError(f"{self.path} holds a sweep; go on with it by --resume, or name another folder with -o.")
        old = json.loads(about.read_text("utf-8"))
        now = self._about()
        if old["lab"] != now["lab"]:
            raise LabError(f"{self.path} holds a sweep of {old['lab']}, not of {now['lab']}; name another folder.")
        if old["code"] != now["code"]:
            raise LabError(f"The code of {now['lab']} was changed since the sweep in {self.path} began, and runs of "
                           "both do not compare; name another folder with -o.")
        left_out = {row["key"] for row in self.rows()} - {point.key for point in self.grid.points}
        if left_out:
            raise LabError(f"{self.path} holds {len(left_out)} runs that this grid has not "
                           f"({axes_in_words(old['axes'])}); --resume takes the same grid or a larger one, so add its "
                           "values or name another folder.")

    def rows(self) -> list[dict]:
        """The run.json of every recorded run."""
        return [json.loads(path.read_text("utf-8")) for path in sorted((self.path / RUNS).glob("*/run.json"))]

    def missing(self) -> list[Point]:
        """The runs that are not recorded yet."""
        recorded = {row["key"] for row in self.rows()}
        return [point for point in self.grid.points if point.key not in recorded]

    def add(self, point: Point, outcome: Outcome) -> None:
        """Record a run; if it is recorded already, it stays as it is."""
        part, place = self.path / PART / point.name, self.path / RUNS / point.name
        row = {"name": point.name, "key": point.key, "lab": self.grid.lab.stem, "status": outcome.status,
               "error": outcome.error, "seconds": outcome.seconds, "seed": point.parameters.get("seed"),
               "swept": point.given, "parameters": point.parameters, "metrics": outcome.metrics,
               "versions": outcome.versions, "figures": 0}
        with writable(self.path):
            part.mkdir()
            if outcome.notebook:
                (part / "notebook.ipynb").write_text(outcome.notebook, "utf-8")
                row["figures"] = save_figures(part / "figures", json.loads(outcome.notebook), point.name)
            (part / "run.json").write_text(json.dumps(row, indent=1, ensure_ascii=False) + "\n", "utf-8")
            if place.exists():
                shutil.rmtree(part)
            else:
                os.rename(part, place)


def save_figures(place: Path, notebook: dict, title: str) -> int:
    """The pictures of an executed notebook as files, and an index of them with their alt texts; returns how many."""
    entries = []
    for number, cell in enumerate(notebook["cells"], 1):
        for output in cell.get("outputs", []):
            content = output.get("data", {}).get("image/png")
            if content:
                place.mkdir(exist_ok=True)
                name = f"{len(entries) + 1:02d}_{cell.get('id', number)}.png"
                (place / name).write_bytes(base64.b64decode("".join(content)))
                about = output.get("metadata", {}).get("image/png", {})
                alt = html.escape(about.get("alt", f"A picture of cell {number}, without a description."))
                width = f' width="{about["width"]}"' if about.get("width") else ""
                entries.append(f'<figure><img src="{name}" alt="{alt}"{width}><figcaption>{alt}</figcaption></figure>')
    if entries:
        head = (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
                '<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}'
                'figure{margin:0 0 2rem}img{max-width:100%;height:auto}</style>')
        write(place / "index.html", "\n".join([head, f"<h1>{html.escape(title)}</h1>", *entries, "</html>\n"]))
    return len(entries)


def axes_in_words(axes: dict[str, list]) -> str:
    return ", ".join(f"{name} = {', '.join(map(str, own[:8]))}{' ...' * (len(own) > 8)}" for name, own in axes.items())


def write(path: Path, text: str) -> None:
    """Write a file beside its place and rename it there."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, "utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def writable(path: Path):
    """What the system says against writing there, as a sentence."""
    try:
        yield
    except OSError as error:
        raise LabError(f"The folder {path} cannot be written ({error.strerror or error}); what is recorded stays. Make "
                       "room or name another folder with -o; --resume goes on with a sweep.") from error
