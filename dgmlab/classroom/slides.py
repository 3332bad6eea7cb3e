"""A lab as slides: one HTML file that needs nothing beside it, and a PDF of it.

The lab's own cells are the slides. Their slideshow metadata say where one begins (``slide_type``: slide, subslide,
fragment, notes, skip) and, where a text or a table is too long to project, which of its units or rows are shown
(``show``, see :func:`dgmlab.lab_format.units`); the whole is then in the speaker's notes. reveal.js and MathJax come
out of two wheels of the package index, which are fetched once, pinned by their checksums, and never installed.

What a slide looks like is in ``slides.html.j2``, ``slides.css`` and ``slides.js`` beside this file: the last one
gives each slide the layout in which its pictures are largest, on the screen on which it is shown.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .. import lab_format, notebooks
from ..data import folder
from ..data.base import beside
from ..errors import LabError

CODE = ("computing", "none", "all")
# Milliseconds of the browser's own time that a deck may take before it is printed: on a busy machine that time can run
# out before the slides are laid out, and all of them land on one page.
BUDGETS = (120_000, 1_200_000, 12_000_000)
PATIENCE = 180          # seconds for a download, or for a PDF
WIDTH, HEIGHT = 1280, 720
LINES = 22              # of code on a slide, in the smallest letters


# -- reveal.js and MathJax -------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Wheel:
    """A file of the package index, and what is taken out of it: names of files by the names they have here."""

    name: str
    version: str
    sha256: str
    files: dict[str, str]


WHEELS = (
    Wheel("sphinx-revealjs", "3.2.1", "805bed3ca459346e0f01967d5ed1c40d6b7b917de1541e1e4566c8341fe7017b", {
        "reveal.css": "sphinx_revealjs/_static/revealjs/dist/reveal.css",
        "reveal.js": "sphinx_revealjs/_static/revealjs/dist/reveal.js",
        "notes.js": "sphinx_revealjs/_static/revealjs/plugin/notes/notes.js",
        "reveal.licence": "sphinx_revealjs/_static/revealjs/LICENSE",
    }),
    Wheel("django-static-mathjax", "3.2.2.1", "05ad109fd9e5d9d380c76389689b7f523e9ccb7f7a85c1eb962c7564eac7601d", {
        "mathjax.js": "mathjax/static/mathjax/es5/tex-svg.js",
        "mathjax.licence": "mathjax/static/mathjax/LICENSE",
    }),
)


def assets() -> dict[str, str]:
    """The text of each file of :data:`WHEELS`, by its name there; what is not in the cache yet is fetched.

    Raises:
        LabError: the package index cannot be reached, or does not hold what was pinned.
    """
    texts = {}
    for wheel in WHEELS:
        with zipfile.ZipFile(_wheel(wheel)) as archive:
            texts |= {name: archive.read(member).decode("utf-8") for name, member in wheel.files.items()}
    return texts


def _wheel(wheel: Wheel) -> Path:
    """The wheel in the cache, its checksum right."""
    kept = folder() / "cache" / f"{wheel.name}-{wheel.version}.whl"
    if kept.is_file() and _sha256(kept) == wheel.sha256:
        return kept
    try:
        with beside(kept) as part, tempfile.TemporaryDirectory() as place:
            found = _download(wheel, Path(place))
            if _sha256(found) != wheel.sha256:
                raise LabError(f"The {wheel.name} {wheel.version} that pip fetched is not the one that was pinned (its "
                               "sha256 differs), so no slides were made; ask for it from another index (pip config "
                               "set global.index-url ...).")
            part.write_bytes(found.read_bytes())
    except OSError as error:
        raise LabError(f"What the slides need could not be kept in {kept.parent} ({error.strerror or error}); set "
                       "DGMLAB_DATA to a folder that can be written.") from error
    return kept


def _download(wheel: Wheel, place: Path) -> Path:
    """Have pip fetch it, with whatever index and proxy the user has set for pip; nothing is installed."""
    wanted = f"{wheel.name}=={wheel.version}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input",
               "--no-deps", "--only-binary=:all:", "--retries", "1", "--timeout", "10", "--dest", str(place), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        says = done.stderr
    except subprocess.TimeoutExpired:
        says = f"no answer within {PATIENCE} s"
    found = next(place.glob("*.whl"), None)
    if found:
        return found
    if "No module named pip" in says:
        raise LabError(f"The first slides need pip, to fetch {wanted}, and this environment has none; run "
                       "`python -m ensurepip` first.")
    reason = next((line.removeprefix("ERROR: ").rstrip(".") for line in reversed(says.splitlines()) if line.strip()),
                  "no reason was given")
    raise LabError(f"The first slides need the network once, and {wanted} could not be fetched ({reason}); connect, or "
                   "set pip's index, and run the same command again.")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- from cells to slides --------------------------------------------------------------------------------------------

@dataclass
class Block:
    """A piece of a slide: of which kind (``text``, ``code``, ``picture``, ``table``, ``printed``), its HTML, and the
    number of the step at which it appears, None if at once."""

    kind: str
    html: str
    step: int | None = None


@dataclass
class Slide:
    """One slide: the id of its first cell, its heading (or that of its section, if it has none of its own), what it
    shows and what the speaker sees beside it."""

    id: str
    heading: str = ""
    section: str = ""
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def parts(self) -> list[tuple[str, list[Block]]]:
        """The blocks in the three places of a layout: text before what is shown, that, and the text after."""
        shown = [i for i, block in enumerate(self.blocks) if block.kind != "text"]
        first = shown[0] if shown else len(self.blocks)
        return [("before", self.blocks[:first]), ("shown", [self.blocks[i] for i in shown]),
                ("after", [block for block in self.blocks[first:] if block.kind == "text"])]


def stacks(notebook, code: str) -> list[list[Slide]]:
    """The slides, one list a section: a slide and the sub-slides under it.

    Args:
        notebook: nbformat's nodes.
        code: ``computing``: on slides without a picture or a table, which are those about the code; ``none``;
            ``all``: there, and what drew a picture or made a table on a slide of its own behind it.
    """
    made: list[list[Slide]] = []
    for stack in _grouped(notebook):
        made.append([])
        for cells in stack:
            slide, drawn_by = _slide(cells, code)
            slide.section = (made[-1] or [slide])[0].heading or slide.heading
            made[-1].append(slide)
            if code == "all" and drawn_by:
                made[-1] += _listings(drawn_by, slide)
    return made


def _grouped(notebook) -> list[list[list]]:
    """The cells that are not skipped: by section, and in a section by slide."""
    grouped: list[list[list]] = []
    for cell in notebook.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind == "skip" or not cell.source.strip():
            continue
        if kind == "slide" or not grouped:
            grouped.append([[cell]])
        elif kind == "subslide":
            grouped[-1].append([cell])
        else:
            grouped[-1][-1].append(cell)
    return grouped


def _slide(cells: list, code: str) -> tuple[Slide, list]:
    """One slide, and the cells of code that are not on it although it shows what they made."""
    slide, steps = Slide(cells[0].get("id", "")), 0
    listed = code != "none" and not any(map(lab_format.shows, cells))
    for cell in cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if cell.cell_type == "markdown":
            blocks, whole, heading = _text(cell)
            if whole or kind == "notes":
                slide.notes.append(whole or _prose(cell.source))
            if kind == "notes":
                continue
            if heading and not slide.heading and not slide.blocks:
                slide.heading = heading
            elif heading:
                blocks.insert(0, Block("text", f"<h3>{heading}</h3>"))
        else:
            blocks = [Block("code", _highlighted(cell.source))] if listed else []
            shown = cell.metadata.get("slideshow", {}).get("show")
            blocks += [block for output in cell.get("outputs", []) for block in _output(output, shown)]
            if shown is not None:
                slide.notes += [_table(lab_format.table(output)) for output in cell.get("outputs", [])
                                if lab_format.table(output)]
        if kind == "fragment" and blocks and (slide.blocks or slide.heading):       # the first thing is there at once
            for block in blocks:
                block.step = steps
            steps += 1
        slide.blocks += blocks
    return slide, [] if listed else [cell for cell in cells if cell.cell_type == "code"]


def _listings(cells: list, slide: Slide) -> Iterator[Slide]:
    """Slides of code alone, as many cells on each as there is room for."""
    pages: list[list[str]] = [[]]
    for cell in cells:
        if pages[-1] and sum(each.count("\n") + 3 for each in [*pages[-1], cell.source]) > LINES:
            pages.append([])
        pages[-1].append(cell.source)
    for number, sources in enumerate(pages):
        yield Slide(f"{slide.id}-code{number or ''}", section=f"{slide.heading or slide.section} · the code",
                    blocks=[Block("code", _highlighted(source)) for source in sources])


def _text(cell) -> tuple[list[Block], str, str]:
    """What a cell of text shows, the whole of it if that is more (for the speaker), and its heading."""
    heading, source = "", cell.source
    match = re.match(r"#+ (.+)\n*", source)
    if match:
        heading, source = _inline(match[1]), source[match.end():]
    shown = cell.metadata.get("slideshow", {}).get("show")
    excerpt = source if shown is None else lab_format.excerpt(source, shown)
    return [Block("text", _prose(excerpt))] if excerpt else [], "" if shown is None else _prose(source), heading


def _output(output, shown: list[int] | None = None) -> list[Block]:
    if output.output_type == "stream":
        return [Block("printed", f"<pre>{html.escape(output.text.rstrip())}</pre>")] if output.name == "stdout" else []
    if output.output_type == "error":
        return [Block("printed", f"<pre>{html.escape(f'{output.ename}: {output.evalue}')}</pre>")]
    data = output.data
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            alt = html.escape(output.metadata.get(mime, {}).get("alt", ""), quote=True)
            return [Block("picture", f'<img src="data:{mime};base64,{"".join(data[mime].split())}" alt="{alt}"'
                                     f"{_size(data[mime]) if mime == 'image/png' else ''}>")]
    if "text/html" in data:
        return [Block("table", _excerpt(_table(data["text/html"]), shown))] if shown != [] else []
    if "application/vnd.jupyter.widget-view+json" in data or "text/plain" not in data:
        return []                                       # a widget's picture is an output of its own
    return [Block("printed", f"<pre>{html.escape(data['text/plain'].rstrip())}</pre>")]


def _table(source: str) -> str:
    """A table's HTML without pandas' own style, and with the name of its index in the first row instead of a second;
    in a table of evidence what is measured stands below the claim."""
    source = re.sub(r"<style scoped>.*?</style>", "", source, flags=re.S)
    source = re.sub(r'(>claim)(</th>\s*)<th id="T_evidence_level0_col1".*?</th>', r"\1, and what is measured\2", source)
    source = re.sub(r'(row\d+_col0"[^>]*>[^<]*)(</td>\s*)<td id="T_evidence_row\d+_col1"[^>]*>([^<]*)</td>',
                    r'\1<div class="measure">\3</div>\2', source)
    return re.sub(r"<th></th>((?:\s*<th[^>]*>[^<]*</th>)*)\s*</tr>\s*<tr>\s*<th>([^<]+)</th>(?:\s*<th></th>)+\s*</tr>",
                  r"<th>\2</th>\1</tr>", source)


def _excerpt(table: str, shown: list[int] | None) -> str:
    """The table with only those of its rows, from 1, and a word on how many there are."""
    if shown is None:
        return table
    rows = lab_format.rows(table)
    for number, row in enumerate(rows, 1):
        if number not in shown:
            table = table.replace(row, "", 1)
    return f"{table}<p class='of'>{len(shown)} of {len(rows)} rows: all of them are in the lab.</p>"


def _size(png: str) -> str:
    """The picture's width and height in pixels as attributes: known before it is decoded."""
    width, height = struct.unpack(">II", base64.b64decode(png)[16:24])
    return f' width="{width}" height="{height}"'


def _prose(source: str) -> str:
    """Markdown as HTML; a paragraph that asks for a guess is marked, and links to files beside are but words."""
    from nbconvert.filters import markdown2html

    source = re.sub(r" · \[[^]]+\]\([^):]+\.md\)", "", source)                   # the Map's last station, the glossary
    source = re.sub(r"(?m)(?<=[.?!:)] )(?<!^)(?=\*\*Predict)", "\n\n", source)
    made = re.sub(r'<a href="(?!https?:|#)[^"]*"[^>]*>(.*?)</a>', r"\1", markdown2html(source), flags=re.S)
    return re.sub(r"<(p|li)>(?=<strong>Predict)", r'<\1 class="predict">', made)


def _inline(source: str) -> str:
    return re.sub(r"^<p>(.*)</p>$", r"\1", _prose(source).strip(), flags=re.S)


def _highlighted(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return highlight(source, PythonLexer(), HtmlFormatter())


# -- the files -------------------------------------------------------------------------------------------------------

def deck(path: Path, out: Path, *, code: str = "computing", execute: bool = False) -> Path:
    """Write the lab in ``path`` as slides to the folder ``out``; returns the file, ``NN_name.slides.html``.

    Args:
        code: which code is on the slides, see :func:`stacks`.
        execute: run the lab first and show what that run gave; the notebook itself is not touched.
    Raises:
        LabError: the folder cannot be written, the lab fails, or what the slides need cannot be fetched.
    """
    if out.exists() and not out.is_dir():
        raise LabError(f"{out} is a file, but the slides go into a folder; name another with -o.")
    texts = assets()
    if execute:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / path.name
            notebooks.run(path, run, {})
            notebook = notebooks.read(run)
    else:
        notebook = notebooks.read(path)
    made = out / f"{path.stem}.slides.html"
    try:
        with beside(made) as part:
            part.write_text(page(notebook, path.stem, code, texts), encoding="utf-8")
    except OSError as error:
        raise LabError(f"{made} could not be written: {error.strerror or error}; name another folder with -o."
                       ) from error
    return made


def page(notebook, stem: str, code: str, texts: dict[str, str]) -> str:
    """The whole HTML of the slides of a notebook, given the :func:`assets`."""
    import jinja2
    from pygments.formatters import HtmlFormatter

    here = Path(__file__).parent
    slides = stacks(notebook, code)
    own = {name: (here / f"slides.{name}").read_text("utf-8") for name in ("css", "js")}
    template = jinja2.Template((here / "slides.html.j2").read_text("utf-8"), trim_blocks=True, lstrip_blocks=True)
    return template.render(
        stacks=slides, number=stem[:2], title=re.sub("<.*?>", "", slides[0][0].heading), own=own, assets=texts,
        width=WIDTH, height=HEIGHT, pygments=HtmlFormatter(style="vs").get_style_defs(".highlight"))


def _print(chromium: str, address: str, part: Path, budget: int) -> tuple[int, str]:
    """Print a page to the file ``part``; how many pages it got, and why there are not more."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, "--headless", "--disable-gpu", f"--user-data-dir={profile}", "--no-first-run",
                   f"--virtual-time-budget={budget}", "--no-pdf-header-footer", f"--print-to-pdf={part.resolve()}",
                   address]
        if hasattr(os, "geteuid") and os.geteuid() == 0:            # as in a container
            command.insert(1, "--no-sandbox")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
            says = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        except subprocess.TimeoutExpired:
            says = f"it took longer than {PATIENCE} s"
        except OSError as error:
            says = error.strerror or str(error)
    pages = len(re.findall(rb"/Type\s*/Page\b", part.read_bytes())) if part.is_file() else 0
    return pages, f"only {pages} of its pages" if pages else says


def print_pdf(made: Path, chromium: str) -> Path:
    """Print the slides in ``made`` with the browser at the path ``chromium``, a slide a page; returns the PDF.

    Raises:
        LabError: the browser does not start, or leaves no PDF.
    """
    printed = made.with_suffix(".pdf")
    address = f"{made.resolve().as_uri()}?print-pdf"
    slides = made.read_text(encoding="utf-8").count('<div class="body stack">')
    with beside(printed) as part:
        for budget in BUDGETS:
            pages, says = _print(chromium, address, part, budget)
            if pages >= slides:
                break
        else:
            part.unlink(missing_ok=True)
            raise LabError(f"{chromium} printed no PDF ({says}); the slides are in {made}: print them from a browser, "
                           "with ?print-pdf at the end of the address.")
    return printed
