"""The lab notebooks as files: found by number or name, run with parameters, their saved outputs made anew."""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import math
import os
import re
import sys
import tempfile
from functools import cache
from pathlib import Path

from . import lab_format
from .errors import LabError

LAB_NAME = re.compile(r"\d\d_[a-z0-9_]+")
LARGEST = 1_000_000                 # bytes of a committed notebook


# -- finding ---------------------------------------------------------------------------------------------------------

def labs_folder() -> Path:
    """The folder of the notebooks: of the clone this package is run from, else of the clone one is standing in."""
    for place in (Path(__file__).resolve().parents[1] / "labs", Path.cwd() / "labs", Path.cwd()):
        if place.is_dir() and (place.parent / "pyproject.toml").is_file() and place.name == "labs":
            return place
    raise LabError("The lab notebooks are not here: they come with the repository, not with the installed package; "
                   "clone it and run `dgmlab` inside the clone.")


def labs() -> list[Path]:
    """The notebooks, in the order of their numbers."""
    return sorted(path for path in labs_folder().glob("*.ipynb") if LAB_NAME.fullmatch(path.stem))


def find(wanted: str) -> Path:
    """The notebook of a lab named by its number (``3``, ``03``), its name (``vae``, ``03_vae``) or its file."""
    key = Path(wanted).name.removesuffix(".ipynb").lower()
    for path in labs():
        number, _, name = path.stem.partition("_")
        if key in (path.stem, name, number) or (key.isdigit() and int(key) == int(number)):
            return path
    known = ", ".join(path.stem for path in labs()) or "none yet"
    raise LabError(f"There is no lab {wanted!r}; the labs are: {known}.")


def read(path: Path):
    """The notebook in ``path``, as nbformat's nodes."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, UnicodeDecodeError) as error:
        raise LabError(f"{path} is not a whole notebook ({type(error).__name__}); get it anew with "
                       f"`git checkout -- {path.name}`.") from error


# -- parameters ------------------------------------------------------------------------------------------------------

def parameters(notebook) -> dict:
    """The names and default values in the cell tagged ``parameters``; a default that is no literal is given as None."""
    values = {}
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            for line in ast.parse(cell.source).body:
                targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
                for target in targets:
                    if isinstance(target, ast.Name) and getattr(line, "value", None) is not None:
                        try:
                            values[target.id] = ast.literal_eval(line.value)
                        except ValueError:
                            values[target.id] = None
            break
    return values


def parse(name: str, text: str, default):
    """``text`` from a command line as a value of the default's type; a default of None takes any YAML."""
    import yaml

    if isinstance(default, str):
        return text
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        value = text
    if isinstance(value, str):                          # YAML 1.1 takes 1e-3 for a word
        try:
            value = float(text)
        except ValueError:
            pass
    if default is None:
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if isinstance(default, bool):
        fits, kind = isinstance(value, bool), "true or false"
    elif isinstance(default, int):
        fits, kind = number and value == int(value), "a whole number"
        value = int(value) if fits else value
    elif isinstance(default, float):
        fits, kind = number, "a number"
        value = float(value) if fits else value
    elif isinstance(default, (list, tuple)):
        fits, kind = isinstance(value, list), "a list, written like [1, 2]"
        items = {type(item) for item in default}
        if fits and len(items) == 1:                    # the members of a list are of the default's members' type
            value = [parse(f"a member of {name}", item if isinstance(item, str) else json.dumps(item), default[0])
                     for item in value]
    else:
        fits, kind = isinstance(value, type(default)), f"a {type(default).__name__}, written as YAML"
    if not fits:
        raise LabError(f"The parameter {name} is {text!r}, but it must be {kind} (its default is {default!r}).")
    return value


def check_parameters(path: Path, given: list[tuple[str, str]]) -> dict:
    """The values to run the notebook with, from ``(name, text)`` pairs; an unknown name lists the known ones."""
    known = parameters(read(path))
    for name, _ in given:
        if name not in known:
            some = ", ".join(f"{key} ({value!r})" for key, value in known.items()) or "none"
            raise LabError(f"The lab {path.stem} has no parameter {name!r}; its parameters, with their defaults, "
                           f"are: {some}.")
    return {name: parse(name, text, known[name]) for name, text in given}


# -- running ---------------------------------------------------------------------------------------------------------

@cache
def this_python():
    """A kernel manager that starts the running interpreter, whatever kernels other environments have registered."""
    from jupyter_client.kernelspec import KernelSpec
    from jupyter_client.manager import AsyncKernelManager

    class ThisPython(AsyncKernelManager):
        @property
        def kernel_spec(self):
            # Errors only: else every kernel remarks on stderr that it speaks unencrypted, on this machine's loopback.
            argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}", "--log-level=ERROR"]
            return KernelSpec(argv=argv, display_name="Python 3 (ipykernel)", language="python")

    return ThisPython


def run(path: Path, out: Path, values: dict, *, timeout: float | None = None) -> None:
    """Run the notebook ``path`` with ``values`` for its parameters and save it, outputs included, in ``out``.

    It runs in the folder of ``out``, so that whatever it saves lies beside; after a failure ``out`` holds what was
    done until then.

    Args:
        timeout: the longest that one cell may take, in seconds.
    """
    out = out.absolute()
    if out == path.resolve():
        raise LabError(f"The output would overwrite the lab itself ({path.name}); name another file with -o.")
    if not out.parent.is_dir():
        raise LabError(f"The folder {out.parent} of the output does not exist; make it, or name another with -o.")
    try:
        execute(path, out, values, timeout=timeout, cwd=out.parent, progress_bar={"desc": path.stem, "mininterval": 1})
    except OSError as error:
        raise LabError(f"{out} could not be written: {error.strerror or error}.") from error
    except LabError as error:
        raise LabError(f"{str(error).rstrip('.')}; the notebook up to there is {out}.") from error


def execute(path: Path, out: Path, values: dict, *, timeout: float | None = None, kernel=None, **options) -> None:
    """What :func:`run` does, without a check of the places; a failure says nothing of where the notebook is.

    Args:
        timeout: the longest that one cell may take, in seconds.
        kernel: a class of kernel managers; :func:`this_python` if None.
        options: further ones of papermill and of nbclient.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    try:
        papermill.execute_notebook(
            path, out, values, kernel_name="python3", language="python", execution_timeout=timeout,
            kernel_manager_class=kernel or this_python(), **options)
    except PapermillExecutionError as error:
        # An error's own text may be long; its first line is what it says.
        says = (str(error.evalue).strip().splitlines() or [""])[0].rstrip(".")
        raise LabError(f"Cell {error.cell_index + 1} of {path.stem} (In [{error.exec_count}]) failed with "
                       f"{error.ename}: {says}.") from error
    except CellTimeoutError as error:
        raise LabError(f"A cell of {path.stem} took longer than {timeout:g} s.") from error
    except DeadKernelError as error:
        raise LabError(f"The kernel of {path.stem} died (out of memory?).") from error


# -- saved outputs ---------------------------------------------------------------------------------------------------

def refresh(path: Path) -> list[str]:
    """Make the saved outputs of a committed notebook anew by a fresh run, in place; returns what is wrong with them."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    notebook = read(path)
    client = NotebookClient(notebook, kernel_name="python3", timeout=600, record_timing=False, store_widget_state=False,
                            kernel_manager_class=this_python(), resources={"metadata": {"path": str(path.parent)}})
    try:
        client.execute()
    except CellExecutionError as error:
        says = (str(error.evalue).strip().splitlines() or [""])[0].rstrip(".")
        raise LabError(f"{path.name} keeps its old outputs, because its fresh run failed with {error.ename}: "
                       f"{says}.") from error
    write(path, normalised(notebook))
    return faults(path)


def normalised(notebook):
    """The notebook without anything that another machine, or another day, would write differently for no reason."""
    notebook = copy.deepcopy(notebook)
    notebook.metadata.pop("widgets", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook.metadata["language_info"] = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    notebook.metadata["dgmlab"] = {**notebook.metadata.get("dgmlab", {}), "outputs_of": fingerprint(notebook)}
    for cell in notebook.cells:
        for key in ("execution", "papermill", "ExecuteTime", "scrolled", "collapsed", "trusted"):
            cell.metadata.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs = [output for output in map(_normalised_output, cell.outputs) if output is not None]
    return notebook


def _normalised_output(output):
    if output.output_type in ("display_data", "execute_result"):
        output.get("metadata", {}).pop("application/vnd.jupyter.widget-view+json", None)
        if output.data.pop("application/vnd.jupyter.widget-view+json", None) and set(output.data) <= {"text/plain"}:
            return None                                 # a widget without its state shows nothing
        if "text/plain" in output.data:
            output.data["text/plain"] = _without_paths(output.data["text/plain"])
    elif output.output_type == "stream":
        output.text = _without_paths(output.text)
    return output


def _without_paths(text: str) -> str:
    return text.replace(f"{labs_folder().parent}{os.sep}", "").replace(str(labs_folder().parent), ".")


def fingerprint(notebook) -> str:
    """A hash of the code, kept beside the outputs it gave: a cell edited since is found without running anything."""
    code = "\n\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(code.encode()).hexdigest()[:16]


def faults(path: Path) -> list[str]:
    """What is wrong with a committed notebook, its form and its saved outputs, in sentences; runs nothing."""
    notebook = read(path)
    wrong = [f"{path.name}: {sentence}" for sentence in lab_format.breaches(notebook, path.stem)]
    if notebook.metadata.get("dgmlab", {}).get("outputs_of") != fingerprint(notebook):
        return [*wrong, f"{path.name}: its code was changed after its outputs were made; run `dgmlab outputs "
                        f"{path.stem}`."]
    if path.stat().st_size > LARGEST:
        wrong.append(f"{path.name}: it has {path.stat().st_size / 1e6:.1f} MB, more than 1 MB.")
    if json.dumps(notebook, sort_keys=True) != json.dumps(normalised(notebook), sort_keys=True):
        wrong.append(f"{path.name}: it carries widget state, times or versions; run `dgmlab outputs {path.stem}`.")
    code = [(number, cell) for number, cell in enumerate(notebook.cells, 1)
            if cell.cell_type == "code" and cell.source.strip()]
    if [cell.execution_count for _, cell in code] != list(range(1, len(code) + 1)):
        wrong.append(f"{path.name}: its cells were not run once each, from top to bottom.")
    for number, cell in code:
        for output in cell.outputs:
            text = output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                wrong.append(f"{path.name}: cell {number} failed with {output.ename}.")
            if output.get("name") == "stderr":
                wrong.append(f"{path.name}: cell {number} left a warning: {text.strip().splitlines()[0][:100]}")
            if re.search(r"\bat 0x[0-9a-f]{6,}|/(tmp|home|root|Users)/|[A-Z]:\\Users", text):
                wrong.append(f"{path.name}: cell {number} shows a path or an address of this machine.")
    return wrong


def write(path: Path, notebook) -> None:
    """Write a notebook beside its place and rename it there."""
    import nbformat

    handle, part = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            nbformat.write(notebook, file)
        if path.exists():
            os.chmod(part, path.stat().st_mode & 0o777)
        os.replace(part, path)
    finally:
        Path(part).unlink(missing_ok=True)
