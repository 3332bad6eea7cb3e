"""The form that every lab keeps, as rules that can be checked without running anything.

labs/README.md says the same to authors in words. Each rule is a function that takes the notebook and yields sentences,
one for each breach; :func:`breaches` collects them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

TAGS = {"parameters", "exercise", "check", "solution", "hide-input", "raises-exception"}
SLIDES = {"slide", "subslide", "fragment", "notes", "skip"}
SCREENFUL = 6               # among so many first cells there is something to see and to move
CODE_LINES = 10             # of a cell of code; parameters and solutions may be longer
WORDS = 160                 # of prose in a cell, tables and lists of references left out
CELLS = 100
MOST_SLIDES = 25            # slides and sub-slides: what can be projected in a lecture
FEWEST_EXERCISES, MOST_EXERCISES = 3, 5
CLOSING = ["Summary", "Evidence", "Exercises", "References"]
SECTION = re.compile(r"^## (?:(\d+) · )?(.+)$", re.M)
GLOSSARY = "[Words and symbols](GLOSSARY.md)"
SENTENCE = 45               # words of the longest sentence that one still reads without going back


def breaches(notebook, stem: str) -> list[str]:
    """What in the notebook is not in the labs' form, in sentences that name the cell by its number from 1.

    Args:
        notebook: nbformat's nodes.
        stem: the file's name without its ending, ``NN_name``.
    """
    rules = (head, metadata, lengths, sections, predictions, pictures, exercises)
    return [sentence for rule in rules for sentence in rule(notebook, stem)]


def head(notebook, stem: str) -> Iterator[str]:
    """Title with the lab's number, then the parameters, then soon something to see."""
    number = stem[:2]
    if len(notebook.cells) < 2:
        yield "A lab begins with a title and the cell of its parameters."
        return
    first, second = notebook.cells[:2]
    if not re.match(rf"# Lab {number} · \S", first.source) or "**Map**" not in first.source:
        yield f"Cell 1 must begin with `# Lab {number} · Title` and hold a line **Map** of the sections."
    if GLOSSARY not in first.source:
        yield f"Cell 1 must lead to the glossary: {GLOSSARY}, at the end of the **Map**."
    if tags(second) != {"parameters"} or second.cell_type != "code":
        yield "Cell 2 must be the code tagged `parameters`, and nothing else."
        return
    names = set()
    for line in filter(str.strip, second.source.splitlines()):
        match = re.match(r"(\w+)\s*= (.+?)\s+# \S", line)
        try:
            names.add(match[1])
            ast.literal_eval(match[2])
        except (TypeError, ValueError, SyntaxError):
            yield f"Cell 2: each line of the parameters reads `name = literal  # what it is`, unlike {line!r}."
    for name in sorted({"seed", "scale"} - names):
        yield f"Cell 2: every lab has a parameter `{name}`."
    if not any(shows(cell, "image/") for cell in notebook.cells[:SCREENFUL]):
        yield f"There is nothing to see among the first {SCREENFUL} cells: the first panel or widget belongs there."


def metadata(notebook, stem: str) -> Iterator[str]:
    """Known tags only, a slide type on every cell, an id that means something, nothing hidden by accident."""
    slides = 0
    for number, cell in enumerate(notebook.cells, 1):
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        slides += kind in ("slide", "subslide")
        shown = cell.metadata.get("slideshow", {}).get("show")
        if shown is not None:
            what, there = ("text has the units", units(cell.source)) if cell.cell_type == "markdown" else (
                "table has the rows", [row for output in cell.get("outputs", []) for row in rows(table(output))])
            if shown != sorted(set(shown)) or not set(shown) <= set(range(1, len(there) + 1)):
                yield f"Cell {number}: its slide shows {shown}, but its {what} 1 to {len(there)}."
        if kind not in SLIDES:
            yield f"Cell {number}: its slide type is {kind!r}, but must be one of {', '.join(sorted(SLIDES))}."
        for tag in sorted(tags(cell) - TAGS):
            yield f"Cell {number}: the tag {tag!r} is not known; the tags are: {', '.join(sorted(TAGS))}."
        hidden = bool(cell.metadata.get("jupyter", {}).get("source_hidden"))
        if hidden != bool(tags(cell) & {"hide-input", "solution"}):
            yield f"Cell {number}: a cell is collapsed (source_hidden) if, and only if, it is a solution or hide-input."
        if bool(cell.metadata.get("jupyter", {}).get("outputs_hidden")) != ("solution" in tags(cell)):
            yield f"Cell {number}: a cell's output is collapsed (outputs_hidden) if, and only if, it is a solution."
        if re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f-]+)?", cell.get("id", "")):
            yield f"Cell {number}: its id {cell.id!r} was drawn at random; give it a name, such as `bound-drag`."
    if slides > MOST_SLIDES:
        yield f"There are {slides} slides and sub-slides, but a lecture has room for {MOST_SLIDES}; skip some cells."


def lengths(notebook, stem: str) -> Iterator[str]:
    """One idea a cell."""
    if len(notebook.cells) > CELLS:
        yield f"There are {len(notebook.cells)} cells, more than {CELLS}."
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code" and not tags(cell) & {"parameters", "solution"}:
            lines = len([line for line in cell.source.splitlines() if line.strip()])
            if lines > CODE_LINES:
                yield f"Cell {number} has {lines} lines of code, more than {CODE_LINES}."
        elif cell.cell_type == "markdown" and not re.match(r"## (References|Exercises)", cell.source):
            words = len(prose(cell.source).split())
            if words > WORDS:
                yield f"Cell {number} has {words} words, more than {WORDS}."
            for sentence in sentences(cell.source):
                if len(sentence.split()) > SENTENCE:
                    yield (f"Cell {number} has a sentence of {len(sentence.split())} words, more than {SENTENCE}: "
                           f"{' '.join(sentence.split()[:8])} ...")


def sections(notebook, stem: str) -> Iterator[str]:
    """Numbered from 1, and closed by the same four sections in every lab."""
    found = [match.groups() for cell in notebook.cells if cell.cell_type == "markdown"
             for match in SECTION.finditer(without_code(cell.source))]
    numbers = [int(number) for number, _ in found if number]
    if numbers != list(range(1, len(numbers) + 1)) or not numbers:
        yield f"The sections `## k · Title` are numbered {numbers}, but must count from 1."
    last = [title for number, title in found[-len(CLOSING):] if not number]
    if last != CLOSING:
        yield f"A lab closes with the sections {', '.join(f'`## {title}`' for title in CLOSING)}, in this order."
    references = notebook.cells[-1].source if notebook.cells else ""
    if references.startswith("## References"):
        items = [line for line in references.splitlines() if line.startswith("* ")]
        if len(items) < 2 or not all(re.search(r"\b(1[89]|20)\d\d\b|arXiv|lecture", item) for item in items):
            yield ("The references must be a list `* Author. *Title.* Where, year` of two or more; only a lecture may "
                   "be without a year.")


def predictions(notebook, stem: str) -> Iterator[str]:
    """In every numbered section a guess is asked for before something is shown."""
    section, asked = None, True
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown":
            for match in SECTION.finditer(without_code(cell.source)):
                section, asked = match[1], False
            asked = asked or "**Predict" in cell.source
        elif section and not asked and shows(cell):
            yield f"Cell {number} shows something in section {section} before a **Predict** asked for a guess."
            asked = True


def pictures(notebook, stem: str) -> Iterator[str]:
    """Every picture says in words what it shows."""
    for number, cell in enumerate(notebook.cells, 1):
        for output in cell.get("outputs", []):
            for mime in output.get("data", {}):
                if mime.startswith("image/") and len(output.metadata.get(mime, {}).get("alt", "")) < 20:
                    yield f"Cell {number}: its picture has no alt text; dgmlab.plots.show(fig, alt=...) gives it one."
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(|<img(?![^>]*alt=)", cell.source):
            yield f"Cell {number}: its picture has no alt text."


def exercises(notebook, stem: str) -> Iterator[str]:
    """Three to five, each a task, a place for the answer, a check, and a collapsed solution that passes it."""
    cells, lab = notebook.cells, stem[:2]
    starts = [i for i, cell in enumerate(cells) if tags(cell) == {"exercise"} and cell.cell_type == "markdown"]
    if not FEWEST_EXERCISES <= len(starts) <= MOST_EXERCISES:
        yield f"There are {len(starts)} exercises, but a lab has {FEWEST_EXERCISES} to {MOST_EXERCISES}."
    for k, i in enumerate(starts, 1):
        name, where = f"{lab}.{k}", f"Exercise {k} (cell {i + 1})"
        if not cells[i].source.startswith(f"### Exercise {k} · "):
            yield f"{where} must begin with `### Exercise {k} · Title`."
        group = cells[i + 1:i + 4]
        if [tags(cell) for cell in group] != [{"exercise"}, {"check"}, {"solution"}]:
            yield f"{where} must be followed by cells of code tagged `exercise`, `check` and `solution`."
            continue
        for cell, part in zip(cells[i:i + 4], ("", "-answer", "-check", "-solution")):
            if cell.get("id") != f"ex{k}{part}":
                yield f"{where}: the ids of its cells are ex{k}, ex{k}-answer, ex{k}-check, ex{k}-solution."
                break
        answer, checked, solution = (cell.source.strip() for cell in group)
        asked, call = open_names(answer), last_call(checked)
        if not asked:
            yield f"{where}: the answer's cell must leave `...` where the answer belongs: `name = ...`, or a function."
        if not re.match(rf"check\('{re.escape(name)}', .", call):
            yield f'{where}: the check\'s cell must end with check("{name}", answer).'
        unjudged = asked - set(re.findall(r"\w+", call))
        if unjudged:
            yield f"{where}: the check is not given {', '.join(sorted(unjudged))}."
        lines = solution.splitlines() or [""]
        if lines[0] != "### BEGIN SOLUTION" or lines[-1] != "### END SOLUTION":
            yield f"{where}: the solution must stand between ### BEGIN SOLUTION and ### END SOLUTION."
        if last_call(solution) != call:
            yield f"{where}: the solution must end with the same call of check."
        if asked - assigned(solution):
            yield f"{where}: the solution must set {', '.join(sorted(asked - assigned(solution)))}."
    others = [n for n, cell in enumerate(cells) if tags(cell) & {"exercise", "check", "solution"}]
    for n in sorted(set(others) - {i + j for i in starts for j in range(4)}):
        yield f"Cell {n + 1} has an exercise's tag, but belongs to no exercise."


def glossary(text: str, stems: list[str]) -> Iterator[str]:
    """The page of words and symbols: words in order, each once and led to a lab that exists, no symbol twice.

    Args:
        text: the page, Markdown.
        stems: the labs' file names without their ending.
    """
    words = re.findall(r"^\| \*\*(.+?)\*\*(?: \([^|]*?\))? \| (.+) \| (.+) \|$", text, re.M)
    names = [" ".join(re.findall(r"\w+", word.casefold().replace("é", "e"))) for word, _, _ in words]
    for before, name in zip(names, names[1:]):
        if not before <= name:
            yield f"The word {name!r} stands after {before!r}; the words are in the order of the alphabet."
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"The word {name!r} is there twice."
    for word, _, lab in words:
        match = re.fullmatch(r"\[(\d\d)\]\((\w+)\.ipynb\)", lab)
        if not match or match[2] not in stems or match[1] != match[2][:2]:
            yield f"The word {word!r} leads to {lab!r}, which is no lab."
    rows = re.findall(r"^\| (\$.+?) \| (.+) \|$", text, re.M)
    symbols = [symbol for row, _ in rows for symbol in re.findall(r"\$([^$]+)\$", row)]
    for symbol in sorted({symbol for symbol in symbols if symbols.count(symbol) > 1}):
        yield f"The symbol {symbol!r} has two rows; a second meaning belongs into the row of the first."
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith(("| ---", "| word |",
                                                                                               "| symbol |"))]
    if len(lines) != len(words) + len(rows):
        yield "A row of the glossary is neither `| **word** | meaning | [NN](NN_name.ipynb) |` nor `| $x$ | meaning |`."


# -- reading a notebook ----------------------------------------------------------------------------------------------

def tags(cell) -> set[str]:
    return set(cell.metadata.get("tags", []))


def shows(cell, *mimes: str) -> bool:
    """Whether the cell's saved outputs hold a picture or a table (or one of the ``mimes``, by how they begin)."""
    return any(mime.startswith(mimes or ("image/", "text/html"))
               for output in cell.get("outputs", []) for mime in output.get("data", {}))


def table(output) -> str:
    """The HTML of the table that a cell's output is; empty if it is none."""
    return output.get("data", {}).get("text/html", "")


def rows(html: str) -> list[str]:
    """The rows of a table's body."""
    return re.findall(r"<tr.*?</tr>", html.partition("<tbody>")[2], re.S)


def units(markdown: str) -> list[str]:
    """The text of a cell in units that a slide can show or leave to the speaker: a sentence of a paragraph, an item of
    a list, a whole table, a formula or a piece of code. The heading is none; each keeps the blank line before it."""
    found = []
    for block in re.split(r"\n\s*\n(?!\s)", re.sub(r"\A#+ .*\n*", "", markdown).strip()):
        if re.match(r"\$\$|\||```|<", block):
            parts = [block]
        elif re.match(r"[*-] |\d+\. ", block):
            parts = re.split(r"\n(?=[*-] |\d+\. )", block)
        else:
            parts = _sentences(block)
        found += [part if i else f"\n\n{part}" for i, part in enumerate(parts)]
    return found


def excerpt(markdown: str, shown: list[int]) -> str:
    """The units of the text with these numbers, from 1."""
    item = re.compile(r"\s*([*-]|\d+\.) ")
    kept, text, before = units(markdown), "", ""
    for number in shown:
        unit = kept[number - 1]
        joint = ("" if unit.startswith("\n") else "\n" if item.match(unit)
                 else "\n\n" if item.match(before) or "$$" in before else " ")
        text, before = text + joint + unit, unit
    return text.strip()


def _sentences(paragraph: str) -> list[str]:
    """They end at a full stop, a question or an exclamation mark, but not inside a formula or code."""
    held = []
    text = re.sub(r"\$\$.*?\$\$|\$[^$]+\$|`[^`]+`", lambda match: f"\0{held.append(match[0]) or len(held) - 1}\0",
                  paragraph, flags=re.S)
    parts = re.split(r"(?<=[.!?])(?<!\bal\.)(?<!\bvs\.)([*\")]*)\s+(?=[*\"(]*[A-Z\0])", text)
    whole = ["".join(pair) for pair in zip(parts[::2], [*parts[1::2], ""])]
    return [re.sub(r"\0(\d+)\0", lambda match: held[int(match[1])], each) for each in whole]


def sentences(markdown: str) -> list[str]:
    """All sentences of a cell's text, those in lists too; a formula and a piece of code in one count as one word."""
    texts = [unit for unit in units(markdown) if not re.match(r"\s*(\$\$|\||```|<)", unit)]
    return [re.sub(r"\$[^$]+\$|`[^`]+`", "x", each) for text in texts for each in _sentences(text.strip())]


def without_code(markdown: str) -> str:
    return re.sub(r"^```.*?^```", "", markdown, flags=re.S | re.M)


def prose(markdown: str) -> str:
    """A cell's text without tables, code and displayed formulas."""
    text = re.sub(r"\$\$.*?\$\$", "", without_code(markdown), flags=re.S)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def assigned(code: str) -> set[str]:
    """The names that a cell sets at its top level: variables and functions."""
    return {name for node in _body(code) for name in _names(node)}


def open_names(code: str) -> set[str]:
    """Those of them that wait for an answer: their value, or the function's body, holds a ``...`` (no index does)."""
    return {name for node in _body(code) if _waits(node) for name in _names(node)}


def last_call(code: str) -> str:
    """The call with which a cell ends, in Python's own spelling; empty if it ends otherwise."""
    last = (_body(code) or [None])[-1]
    return ast.unparse(last.value) if isinstance(last, ast.Expr) and isinstance(last.value, ast.Call) else ""


def _body(code: str) -> list[ast.stmt]:
    try:
        return ast.parse(code).body
    except SyntaxError:
        return []


def _names(node: ast.stmt) -> set[str]:
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return {node.name}
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


def _waits(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript):                 # z[..., None] is no open answer
        return _waits(node.value)
    if isinstance(node, ast.Constant):
        return node.value is ...
    return any(map(_waits, ast.iter_child_nodes(node)))
