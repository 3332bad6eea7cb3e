"""What this machine has, what was chosen for it and why, and in words what would not work."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .errors import LabError

TESTED_PYTHONS = ((3, 11), (3, 13))
ROOM_NEEDED = 1e9                               # bytes for data, checkpoints and notebooks


class Finding(NamedTuple):
    """One line of the report; ``trouble`` is a sentence on what would not work, ``essential`` if no lab would."""

    about: str
    text: str
    trouble: str = ""
    essential: bool = False


def findings() -> Iterator[Finding]:
    """Look at everything, one finding after the other (some take a second)."""
    yield from _python()
    broken = False
    for finding in _packages():
        broken = broken or finding.essential
        yield finding
    yield from _live_widgets()
    if broken:                                  # what follows needs the packages
        return
    yield from _compute()
    yield _fonts()
    yield from _folders()
    yield _browser()


def _python():
    here, (oldest, newest) = sys.version_info[:2], TESTED_PYTHONS
    trouble = ""
    if not oldest <= here <= newest:
        trouble = (f"Python {here[0]}.{here[1]} is newer than the newest that the labs were tested with "
                   f"({newest[0]}.{newest[1]}): if something fails, take that one.")
    yield Finding("Python", f"{platform.python_version()} at {sys.executable}", trouble)


def _packages():
    try:
        from packaging.requirements import Requirement
    except ImportError:                         # matplotlib brings it
        yield Finding("packages", "missing", "The packages the labs need are not installed in this environment: run "
                      "`pip install -e .` in the clone, or any `python3 -m dgmlab` command, which does so.", True)
        return

    tested = tested_versions()
    try:
        requirements = [Requirement(line) for line in importlib.metadata.requires("dgmlab") or []]
    except importlib.metadata.PackageNotFoundError:
        yield Finding("dgmlab", "not installed here", "A notebook cannot import dgmlab: run `pip install -e .` in the "
                      "clone, or any `python3 -m dgmlab` command, which does so.", essential=True)
        return
    for requirement in (each for each in requirements if each.marker is None):
        name = requirement.name
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "missing", f"{name} is not installed: run `pip install '{requirement}'`.", True)
            continue
        known = tested.get(_key(name))
        same = known is None or version.split("+")[0] == known
        fits = requirement.specifier.contains(version, prereleases=True)
        yield Finding(name, version if same else f"{version} (tested: {known})",
                      "" if fits else f"{name} {version} is not what the labs need ({requirement.specifier}): run "
                                      f"`pip install '{requirement}'`.", essential=not fits)


def _live_widgets():
    """The trio that carries a slider's move to a training thread and the picture back."""
    try:
        kernel, widgets, lab = (importlib.metadata.version(name) for name in ("ipykernel", "ipywidgets", "jupyterlab"))
    except importlib.metadata.PackageNotFoundError:
        return                                                  # reported as missing already
    trouble = ""
    if kernel.startswith("7.0."):
        trouble = (f"ipykernel {kernel} loses what a training thread tells the page, so a live panel would stand "
                   "still: run `pip install 'ipykernel>=7.1'`.")
    elif _numbers(widgets) < (8,):
        trouble = f"ipywidgets {widgets} is too old for JupyterLab {lab}: run `pip install 'ipywidgets>=8.1.5'`."
    text = f"JupyterLab {lab}, ipykernel {kernel}, ipywidgets {widgets}: "
    yield Finding("live panels", text + ("known not to work" if trouble else "known to work together"), trouble,
                  essential=bool(trouble))


def _compute():
    try:
        import torch

        from .training.devices import choose_device, choose_threads
    except (ImportError, OSError) as error:
        yield Finding("device", "unknown", f"PyTorch is installed but does not start ({str(error).splitlines()[0]}): "
                      "run `pip install --force-reinstall torch`.", True)
        return

    device = choose_device()
    name = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    yield Finding("device", f"{device}{name}")
    model = _small_model()
    threads = choose_threads(sum(p.numel() for p in model.parameters()), 128, live=True)
    default = torch.get_num_threads()
    one, many = _step_ms(model, 1), _step_ms(model, default)
    measured = f"a small training step takes {one:.2f} ms with 1 thread"
    if default > 1:
        measured += f" and {many:.2f} ms with torch's default of {default}"
    yield Finding("threads", f"{threads.number} for the small models: {threads.why}; measured just now, {measured}")


def _small_model():
    """About the arithmetic of the VAE on the 8 x 8 digits."""
    from torch import nn

    return nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64))


def _step_ms(model, threads: int, seconds: float = 0.5) -> float:
    """Median wall time of a training step at batch 128, in milliseconds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x = torch.zeros(128, 64)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        times, stop = [], time.perf_counter() + seconds
        while len(times) < 5 or time.perf_counter() < stop:
            start = time.perf_counter()
            optimizer.zero_grad()
            (model(x) - x).square().mean().backward()
            optimizer.step()
            times.append(time.perf_counter() - start)
        return 1e3 * sorted(times)[len(times) // 2]
    finally:
        torch.set_num_threads(before)


def _fonts():
    from .data.glyphs import FONTS, render

    try:
        for font in FONTS:
            render("a", font)
    except (LabError, OSError, RuntimeError) as error:
        return Finding("fonts", "matplotlib's own cannot all be drawn", f"The glyphs data cannot be drawn ({error}): "
                       "run `pip install --force-reinstall matplotlib`.")
    return Finding("fonts", f"{len(FONTS)} of matplotlib's own drawn, for the glyphs and the plots")


def _folders():
    from .data import folder
    from .notebooks import labs

    place = folder()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
        yield Finding("data folder", f"{place}, writable")
    except OSError as error:
        yield Finding("data folder", f"{place}, not writable", f"Nothing can be saved or downloaded, because {place} "
                      f"cannot be written ({error.strerror}): set DGMLAB_DATA to a folder that can.", True)
        place = Path.home()
    free = shutil.disk_usage(place).free
    yield Finding("disk", f"{free / 1e9:.1f} GB free", "" if free >= ROOM_NEEDED else
                  "Less than 1 GB of disk is free: saving runs and downloading data may fail.")
    try:
        yield Finding("labs", ", ".join(path.stem for path in labs()) or "none")
    except LabError as error:
        yield Finding("labs", "not here", str(error))


def _browser():
    found = chromium()
    return Finding("Chromium", f"{found} (for `slides --pdf` and the browser tests)" if found else
                   "none (only `slides --pdf` and the browser tests need it; without it they are skipped)")


def chromium() -> str | None:
    """The Chromium that the browser tests drive: DGMLAB_CHROMIUM, or the first one on the path."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
    return os.environ.get("DGMLAB_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def tested_versions() -> dict[str, str]:
    """The exact versions that the labs were tested with, by name; empty for a package installed outside its clone."""
    file = Path(__file__).resolve().parents[1] / ".versions.txt"
    if not file.is_file():
        return {}
    return {_key(name): version for name, version in re.findall(r"(?m)^([\w.-]+)==(\S+)$", file.read_text("utf-8"))}


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
