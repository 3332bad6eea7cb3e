"""What a reader needs who sees little or no colour, reads with a screen reader, or has no mouse or no Linux; the page
itself is tried in tests/browser/test_accessibility.py."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import ipywidgets as widgets
import numpy as np
import pytest
from matplotlib.colors import to_rgb

import dgmlab
from dgmlab import lab_format, notebooks, plots
from dgmlab.cli.labs import jupyterlab
from dgmlab.experiments.vae import make_run
from dgmlab.widgets.annealing import drag_schedule
from dgmlab.widgets.bound import drag_bound
from dgmlab.widgets.gans import drag_zero_sum
from dgmlab.widgets.generators import drag_generator
from dgmlab.widgets.vae import vae_panel

PACKAGE = Path(dgmlab.__file__).parent
CODE = sorted(PACKAGE.rglob("*.py"))
EXTENSION = PACKAGE / "jupyter" / "labextensions" / "dgmlab-names"


# -- colours ---------------------------------------------------------------------------------------------------------

def contrast(one: str, other: str = "white") -> float:
    """The ratio of two colours' luminances, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    light = []
    for colour in (one, other):
        c = np.array(to_rgb(colour))
        light.append(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722] + 0.05)
    return max(light) / min(light)


def test_contrast_is_that_of_the_standard():
    assert contrast("black") == pytest.approx(21) and contrast("white") == 1
    assert contrast("#777777") == pytest.approx(4.48, abs=0.005)            # the well-known grey that just fails


@pytest.mark.parametrize("colour", {plots.INK, plots.SOFT, *plots.LINES, *plots.CLASSES})
def test_what_text_is_written_in_is_dark_enough(colour):
    """Lines and classes too: a line's name and a point's character have its colour."""
    assert contrast(colour) >= 4.5


GROUNDS = {plots.FAINT, "#F0EDF9", "#FBEEF0"}               # text stands on them
ON_DARK = {"#FF7A93": plots.INK}                            # a mark with an edge of its own


def test_every_colour_that_the_pictures_name_can_be_seen():
    named = {colour for path in CODE if path.parent.name in ("dgmlab", "widgets", "pictures", "cli")
             for colour in re.findall(r"[\"':](#[0-9A-Fa-f]{6})\b", path.read_text(encoding="utf-8"))}
    assert len(named) > 20 and GROUNDS <= named and set(ON_DARK) <= named
    for colour in named - GROUNDS - {plots.QUIET}:
        assert contrast(colour, ON_DARK.get(colour, "white")) >= 4.5, colour
    assert contrast(plots.QUIET) >= 3                       # never text
    for ground in GROUNDS:
        assert contrast(plots.INK, ground) >= 4.5, ground
    for path in CODE:
        for text in re.findall(r"\.text\([^#\n]*QUIET|color=FAINT[^\n]*fontsize", path.read_text(encoding="utf-8")):
            raise AssertionError(f"{path}: text too pale to be read: {text}")


# -- names -----------------------------------------------------------------------------------------------------------

NAMED = (widgets.FloatSlider, widgets.IntSlider, widgets.FloatRangeSlider, widgets.SelectionSlider, widgets.Checkbox,
         widgets.FloatLogSlider, widgets.Dropdown, widgets.ToggleButtons, widgets.Text, widgets.Combobox,
         widgets.Button)


def inside(widget, before=None):
    """All widgets in a box, each with the one before it in its own box."""
    yield widget, before
    previous = None
    for child in getattr(widget, "children", ()):
        yield from inside(child, previous)
        previous = child


@pytest.fixture(params=["vae_panel", "drag_schedule", "drag_bound", "drag_zero_sum", "drag_generator"])
def live(request, monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    makers = {"vae_panel": lambda: vae_panel(make_run("digits", scale="smoke")), "drag_schedule": drag_schedule,
              "drag_bound": drag_bound, "drag_zero_sum": drag_zero_sum, "drag_generator": drag_generator}
    return makers[request.param]()


def test_every_control_has_a_name_and_every_picture_its_words(live):
    found = list(inside(live.widget))
    controls = [(widget, before) for widget, before in found if isinstance(widget, NAMED)]
    assert len(controls) > 3
    for widget, before in controls:
        assert widget.description or isinstance(before, widgets.Label), widget
    pictures = [widget for widget, _ in found if isinstance(widget, widgets.Image)]
    words = re.findall(r"<li>(.*?)</li>", live.widget.children[-1].value, re.S)
    assert len(words) == len(pictures) > 0 and min(map(len, words)) >= 20
    assert "dgmlab-described" in live.widget._dom_classes
    assert all(picture.tooltip is None for picture in pictures)         # with one, ipywidgets does not show it


def test_the_words_follow_the_picture(monkeypatch):
    monkeypatch.setenv("DGMLAB_LIVE", "1")
    game = drag_zero_sum()
    before = game.widget.children[-1].value
    game.penalty.value = 0.5
    assert game.widget.children[-1].value != before and "&lt;" not in game.widget.children[-1].value
    schedule = drag_schedule(cycles=4)
    schedule.cycles.value = 2
    assert schedule.alt() in schedule.widget.children[-1].value


def test_jupyterlab_is_given_the_names():
    from jupyterlab_server.config import get_federated_extensions

    option, = (part for part in jupyterlab(None, None, browser=False)[0] if "extra_labextensions_path" in part)
    known = get_federated_extensions([option.partition("=")[2]])
    build = known["dgmlab-names"]["jupyterlab"]["_build"]
    script = (EXTENSION / build["load"]).read_text(encoding="utf-8")
    assert f'window._JUPYTERLAB["{json.loads((EXTENSION / "package.json").read_text("utf-8"))["name"]}"] =' in script
    described = (PACKAGE / "widgets" / "described.py").read_text(encoding="utf-8")
    for mark in ("dgmlab-described", "dgmlab-alt"):
        assert mark in script and mark in described


# -- reading ---------------------------------------------------------------------------------------------------------

def the_glossary() -> str:
    return (notebooks.labs_folder() / "GLOSSARY.md").read_text(encoding="utf-8")


def stems() -> list[str]:
    return [path.stem for path in notebooks.labs()]


def test_the_glossary_keeps_its_form():
    assert list(lab_format.glossary(the_glossary(), stems())) == []
    for stem in stems():
        assert f"({stem}.ipynb)" in the_glossary(), f"no word of {stem}"
    assert "(GLOSSARY.md)" in (notebooks.labs_folder() / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("old", "new", "says"), [
    ("| **Adam** |", "| **zeta** |", "The word 'adversarial loss' stands after 'zeta'"),
    ("| **arm** |", "| **Adam** |", "'adam' is there twice"),
    ("[05](05_language_vae.ipynb)", "[05](06_gan.ipynb)", "leads to '[05](06_gan.ipynb)', which is no lab"),
    ("[05](05_language_vae.ipynb)", "[25](25_none.ipynb)", "which is no lab"),
    ("| $y$ |", "| $x$ |", "The symbol 'x' has two rows"),
    ("| **arm** |", "| arm |", "A row of the glossary is neither"),
])
def test_each_rule_of_the_glossary_fires(old, new, says):
    assert any(says in sentence for sentence in lab_format.glossary(the_glossary().replace(old, new), stems()))


def test_labs_read_easily():
    """Flesch's reading ease (1948) of each lab's sentences: 60 to 70 is plain English."""
    for path in notebooks.labs():
        sentences = [re.findall(r"[A-Za-z]+(?:['-][A-Za-z]+)*", sentence) for cell in notebooks.read(path).cells
                     if cell.cell_type == "markdown" and not cell.source.startswith("## References")
                     for sentence in lab_format.sentences(cell.source)]
        words = [word.lower() for sentence in sentences for word in sentence]
        beats = sum(max(1, len(re.findall("[aeiouy]+", re.sub("(?<=[^aeiouyl])e$", "", word)))) for word in words)
        ease = 206.835 - 1.015 * len(words) / sum(map(bool, sentences)) - 84.6 * beats / len(words)
        assert ease > 60, f"{path.stem}: {ease:.0f}"


AMERICAN = re.compile(r"\b(\w*(?:color\w*|behavior|favor(?:ite)?|label(?:ed|ing)|model(?:ed|ing)|center(?:ed|s)?"
                      r"|analyze\w*|gray|neighbor\w*|optimization|regularization|normalization|visualiz\w+|recogniz\w+|minimiz\w+"
                      r"|maximiz\w+|randomiz\w+|standardiz\w+|quantiz\w+|amortiz\w+|parameteriz\w+))\b", re.I)


@pytest.mark.parametrize("path", [*notebooks.labs(), *notebooks.labs_folder().glob("*.md")], ids=lambda path: path.stem)
def test_spelling_is_british(path):
    text = path.read_text(encoding="utf-8") if path.suffix == ".md" else "\n\n".join(
        cell.source for cell in notebooks.read(path).cells
        if cell.cell_type == "markdown" and not cell.source.startswith("## References"))
    text = re.sub(r"`[^`]*`|\*[A-Z][^*]*\*", "", lab_format.without_code(text))         # code, and titles of others
    assert AMERICAN.findall(text) == []


# -- other systems ---------------------------------------------------------------------------------------------------

POSIX_MODULES = {"fcntl", "grp", "pwd", "resource", "termios"}
POSIX_CALLS = {"fork", "forkpty", "getuid", "geteuid", "killpg", "setsid", "WNOHANG", "SIGKILL", "SIGALRM",
               "sched_getaffinity"}
GUARD = re.compile(r"os\.name|hasattr\((os|signal)|sys\.platform|except ImportError")


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_what_only_some_systems_have_is_asked_for_first(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & POSIX_MODULES, f"line {node.lineno}: Windows has no {names & POSIX_MODULES}"
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
            and node.value.id in ("os", "signal")} & POSIX_CALLS
    assert not used or GUARD.search(text), f"{used} is not everywhere"


def test_files_are_utf_8_and_no_shell_is_asked():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "--preview", "--select",
                           "PLW1514,S602,S604,S605", "--output-format", "concise", str(PACKAGE)], capture_output=True,
                          encoding="utf-8")
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_experiments_run_and_pictures_are_drawn_where_processes_are_spawned(tmp_path):
    """As on Windows and macOS: a child starts from nothing and imports what it needs."""
    script = tmp_path / "spawned.py"
    script.write_text(
        "import multiprocessing, threading\n"
        "from dgmlab.experiments.zero_sum import play\n"
        "from dgmlab.widgets.painter import Painter\n"
        "from dgmlab.widgets.pictures import Bars\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method('spawn')\n"
        "    with multiprocessing.Pool(1) as pool:\n"
        "        print(pool.apply(play, ('simultaneous', 0.1, 0.0, 3)) is not None)\n"
        "    painter, done, got = Painter(), threading.Event(), {}\n"
        "    painter.add('bars', Bars())\n"
        "    painter.request({'bars': {'values': [1.0, 2.0]}}, lambda images: (got.update(images), done.set()))\n"
        "    print(done.wait(120) and got['bars'][:2] == b'\\xff\\xd8')\n"
        "    painter.close()\n", encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, encoding="utf-8", timeout=300)
    assert done.stdout.split() == ["True", "True"], done.stderr
