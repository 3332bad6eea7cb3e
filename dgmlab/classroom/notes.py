"""An instructor's notes on a lab, in Markdown: how long it takes, its exercises with solutions, what goes wrong."""

from __future__ import annotations

import re

from .. import notebooks
from ..errors import LabError
from ..experiments.claims import in_digits, in_words, records
from . import rehearsal
from .exercises import Exercise, exercises, filled

SCALES = {"smoke": "for checks", "lab": "what a student runs", "paper": "published data, on a GPU"}
SMOKE = "(at smoke scale, where numbers mean nothing)"


def notes(notebook, stem: str) -> str:
    """The notes on the lab ``stem``; what was not measured is said to be so."""
    number = stem[:2]
    title, _, rest = notebook.cells[0].source.partition("\n")
    about = re.sub(r"(?m)^\*\*Map\*\*.*", "", rest).strip()
    recorded = rehearsal.record(number) or {"scales": {}}
    parts = [f"{title}: notes for the instructor", about, "## How long it takes", _timings(notebook, recorded)]
    parts.append("## Exercises")
    for task in exercises(notebook, stem):
        parts += _exercise(task, recorded)
    parts += ["## What the claims gave", _claims(number)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _timings(notebook, recorded: dict) -> str:
    rows = ["| scale | the lab's own cells | the solutions | measured on |", "| --- | --- | --- | --- |"]
    for scale, what in SCALES.items():
        found = recorded["scales"].get(scale)
        if found is None:
            rows.append(f"| {scale} ({what}) | not measured | | |")
            continue
        solutions = sum(each["cpu"] for each in found["exercises"].values())
        stale = "" if found["code"] == notebooks.fingerprint(notebook) else ", before the lab was last changed"
        rows.append(f"| {scale} ({what}) | {found['cpu']:.0f} s | {solutions:.0f} s | {found['machine']}{stale} |")
    return "\n".join(rows) + ("\n\nSeconds of one core, without the start of the kernel. To read, predict and play "
                              "takes a student one to two hours, and the exercises come on top.")


def _exercise(task: Exercise, recorded: dict) -> list[str]:
    scale = next((scale for scale in ("lab", "smoke") if scale in recorded["scales"]), "")
    found = recorded["scales"][scale]["exercises"].get(task.name) if scale else None
    at = f" {SMOKE}" if scale == "smoke" else ""
    text = re.sub(r"^### Exercise (\d+) · ", r"### \1 · ", task.text)
    solution = re.sub(r"(?m)^### (BEGIN|END) SOLUTION\n?", "", filled(task.answer, task.solution)).strip()
    parts = [text, "**Solution**", f"```python\n{solution}\n```"]
    if found:
        parts.append(f"The check says{at}: *{_plain(found['says'])}*")
    wrong = rehearsal.mistakes(task.name[:2]).get(task.name, [])
    if wrong:
        parts.append("**Typical mistakes, and the hint that each gets**")
        hints = found["hints"] if found and len(found["hints"]) == len(wrong) else [None] * len(wrong)
        parts += [f"* {each['mistake']}:\n\n{_indented(each['answer'])}\n\n"
                  f"  {f'→{at} {_plain(hint)}' if hint else 'not judged yet; `dgmlab rehearse` does'}"
                  for each, hint in zip(wrong, hints)]
    return parts


def _claims(number: str) -> str:
    try:
        found = records(number)
    except LabError:
        return f"Nothing is recorded; `dgmlab claims {number} --save` measures."
    rows = ["| claim | source | what is measured | expected | measured, 95 % interval | seeds | verdict |",
            "| --- | --- | --- | --- | --- | --- | --- |"]
    for each in found:
        cells = [each["says"], each["source"], each["measured"], in_words(*each["expected"]),
                 in_digits(each["mean"], *each["interval"]), str(each["seeds"]), each["verdict"]]
        rows.append("| " + " | ".join(_plain(cell) for cell in cells) + " |")
    return "\n".join(rows)


def _plain(text: str) -> str:
    """The text in one line of Markdown, in which no character has another meaning."""
    return re.sub(r"([\\*_`|<$])", r"\\\1", " ".join(text.split()))


def _indented(code: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in ["```python", *code.strip().splitlines(), "```"])
