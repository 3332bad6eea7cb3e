"""What the first cell of a portable copy calls: installs what the labs need and is not here, and says so.

It runs before anything else of the package can be imported, and so it uses the standard library only.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FRONT_END = {"jupyterlab", "ipykernel", "papermill"}    # belong to the page around the notebook, not to the lab


def install(root: Path = ROOT) -> list[str]:
    """Install the missing packages; what is there stays as it is, if it is old too. Returns what was installed.

    Args:
        root: the folder with the package's pyproject.toml.

    Raises:
        RuntimeError: pip has failed; its last line, and what to do.
    """
    lacking = missing(root)
    # The processes that a lab starts find the package as well.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    if not lacking:
        print(f"dgmlab is used from {root.name}; all that it needs is here.")
        return []
    print(f"dgmlab is used from {root.name}; installing what is missing: {', '.join(lacking)} ...", flush=True)
    done = subprocess.run([sys.executable, "-m", "pip", "install", "-q", *lacking], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.startswith("ERROR")]
        raise RuntimeError(f"pip could not install {', '.join(lacking)}: {(said or ['no message'])[-1]} Installing "
                           "needs the network (on Kaggle: Settings > Internet); then run this cell again.")
    importlib.invalidate_caches()
    print("Installed.")
    return lacking


def missing(root: Path) -> list[str]:
    """The requirements in pyproject.toml of which no version is installed."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [line for line in project["dependencies"]
            if (name := re.match(r"[\w.-]+", line)[0]) not in FRONT_END and not _installed(name)]


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
