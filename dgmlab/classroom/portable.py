"""Copies that run where dgmlab is not installed, such as in Colab or Kaggle: the package travels beside them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from ..errors import LabError

ARCHIVE = "dgmlab.zip"
ROOT = Path(__file__).resolve().parents[2]
KINDS = {".py", ".json", ".csv", ".txt", ".toml", ".md", ".png", ".css", ".js", ".j2"}
NOT_KEPT = {"__pycache__", "cache", "published", "runs"}        # what a session leaves behind

CELL = '''\
# Where dgmlab is not installed (Colab, Kaggle, another Jupyter) this takes it from dgmlab.zip; else it does nothing.
import importlib.util, pathlib, shutil, sys

if importlib.util.find_spec("dgmlab") is None:
    places = [pathlib.Path(), pathlib.Path("/content"), pathlib.Path("/kaggle/input")]
    archive = next((found for place in places for found in place.glob("dgmlab.zip")), None)
    # Kaggle unpacks an archive that is uploaded as a data set.
    unpacked = next(pathlib.Path("/kaggle/input").glob("**/dgmlab/classroom/carried.py"), None)
    if archive:
        shutil.unpack_archive(archive, "dgmlab-package")
    elif unpacked:
        shutil.copytree(unpacked.parents[2], "dgmlab-package", dirs_exist_ok=True)
    else:
        raise FileNotFoundError("dgmlab.zip is not here: upload it beside this notebook (it came with it).")
    sys.path.insert(0, str(pathlib.Path("dgmlab-package").resolve()))
    from dgmlab.classroom.carried import install
    install()
'''


def prepend(notebook) -> None:
    """Put the cell that takes up the package below the title, before all other code."""
    from nbformat.v4 import new_code_cell

    cell = new_code_cell(CELL.rstrip(), id="take-up-dgmlab", metadata={"slideshow": {"slide_type": "skip"}})
    notebook.cells.insert(1, cell)


def package(root: Path = ROOT) -> bytes:
    """The archive: the package, what describes it, and the recorded results that the labs show; always the same bytes.

    Raises:
        LabError: the package runs without its repository.
    """
    if not (root / "pyproject.toml").is_file():
        raise LabError("Portable copies are made in a clone of the repository, and this package was installed without "
                       "one; clone it and run `dgmlab` inside the clone.")
    files = [root / name for name in ("pyproject.toml", "README.md", ".versions.txt", "environment.yml")]
    for folder in ("dgmlab", "data"):
        files += sorted(path for path in (root / folder).rglob("*") if path.suffix in KINDS and not any(
            part in NOT_KEPT or part.startswith(".") for part in path.relative_to(root).parts))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            if path.is_file():
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix(), (2020, 1, 1, 0, 0, 0))
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                archive.writestr(entry, path.read_bytes())
    return stream.getvalue()
