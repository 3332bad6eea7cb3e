"""Claims put to the test: their experiments run over several seeds, side by side, and what came out is recorded.

The records of a lab, ``data/claims/NN.json``, are a list with one object a claim: the claim in words and numbers, what
each seed gave, how it was made and by which code. ``data/claims/README.md``, the page, is the same as tables.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from ..errors import LabError, check_number
from ..training.checkpoint import write_atomically
from ..training.devices import cores
from ..training.state import versions
from . import claims as claims_module
from .claims import DIRECTION, NOT, REPRODUCED, Claim, Verdict, in_digits, in_words, is_stale, records, verdict

SEEDS = 5                   # that a record takes at least
FIRST = 100                 # the first seed: claims are tried out on small ones, and judged on seeds not seen before


@dataclass(frozen=True)
class Measured:
    """A claim and what its seeds say.

    Attributes:
        values: the deciding number of each seed, from :data:`FIRST` on.
        seconds: wall time of its experiment for one seed, the mean over the seeds.
        verdict: None if there is none.
        error: why not, in a sentence.
        code: the fingerprint of the experiment's code; "" if it is none of the package's.
    """

    claim: Claim
    values: list[float]
    seconds: float
    verdict: Verdict | None
    error: str = ""
    code: str = ""


def measure(claims: Sequence[Claim], seeds: int = SEEDS, jobs: int | None = None) -> list[Measured]:
    """Run the experiments of the claims with the seeds 100, 101, ..., each once, and judge; a bar shows how far.

    An experiment that fails costs its own claims their verdicts, and no others.

    Args:
        jobs: processes, of one thread each; as many as there are cores if None.
    """
    check_number("The number of seeds", seeds, 3, whole=True)
    check_number("The number of jobs", jobs or 1, 1, whole=True)
    experiments = list(dict.fromkeys(claim.experiment for claim in claims))
    took = _seconds_recorded()                  # the longest first, so that none is left over at the end
    experiments.sort(key=lambda experiment: -took.get(name(experiment), math.inf))
    tried = range(FIRST, FIRST + seeds)
    codes = {experiment: _code(experiment) for experiment in experiments}       # now: it may be edited meanwhile
    results = _run([(experiment, seed) for experiment in experiments for seed in tried], jobs)
    return [replace(_judge(claim, [results[claim.experiment, seed] for seed in tried]), code=codes[claim.experiment])
            for claim in claims]


def confirm(ids: Collection[str], jobs: int | None = None) -> tuple[list[str], list[str]]:
    """Run the first seed of stale records' experiments again. Where all numbers that an experiment is judged on are the
    same to the last bit, its records hold for today's code, and are written so.

    Args:
        ids: of the claims whose experiments are run.
        jobs: as for :func:`measure`.

    Returns:
        The ids of the claims that were confirmed, and sentences about those that were not.
    """
    check_number("The number of jobs", jobs or 1, 1, whole=True)
    functions = {name(claim.experiment): claim.experiment for claim in claims_module.all_claims()}
    recorded = {lab: json.loads((claims_module.RECORDS / f"{lab}.json").read_text("utf-8")) for lab in recorded_labs()}
    stale = [each for own in recorded.values() for each in own if each["experiment"] in functions and is_stale(each)]
    wanted = {each["experiment"]: each["first_seed"] for each in stale if each["id"] in ids}
    codes = {experiment: _code(functions[experiment]) for experiment in wanted}
    results = _run([(functions[experiment], seed) for experiment, seed in wanted.items()], jobs)
    confirmed, refused = [], []
    for experiment, seed in wanted.items():
        numbers, _, error = results[functions[experiment], seed]
        own = [each for each in stale if each["experiment"] == experiment]
        other = [each["id"] for each in own
                 if _plain(float(numbers.get(each["quantity"], math.nan))) != each["values"][0]]
        if other:
            refused.append(f"{experiment} is not confirmed: {error or 'other numbers for ' + ', '.join(other) + '.'}")
        else:
            confirmed += [each["id"] for each in own]
            for each in own:
                each |= {"code": codes[experiment], "confirmed": datetime.date.today().isoformat()}
    for lab, own in recorded.items():
        if any(each["id"] in confirmed for each in own):
            _write(claims_module.RECORDS / f"{lab}.json", own)
    save_page()
    return confirmed, refused


def _run(calls: list[tuple], jobs: int | None) -> dict[tuple, list]:
    """What :func:`_once` gives for each experiment and seed; a bar shows how far it is."""
    from joblib import Parallel, delayed, parallel_config
    from tqdm import tqdm

    results = {}
    with parallel_config("loky", n_jobs=min(jobs or cores(), len(calls) or 1), inner_max_num_threads=1):
        done = Parallel(return_as="generator_unordered", batch_size=1)(
            delayed(_once)(number, *call) for number, call in enumerate(calls))
        with tqdm(total=len(calls), unit="run", file=sys.stderr, disable=None, leave=False) as bar:
            for number, *result in done:
                results[calls[number]] = result
                bar.set_postfix_str(f"{calls[number][0].__name__}, seed {calls[number][1]}", refresh=False)
                bar.update()
    return results


def name(experiment) -> str:
    """How a record names an experiment: its module in this package, and the function."""
    return f"{experiment.__module__.rpartition('.')[2]}.{experiment.__name__}"


def _code(experiment) -> str:
    try:
        return claims_module.fingerprint(name(experiment))
    except LabError:
        return ""


def _once(number: int, experiment, seed: int) -> tuple[int, dict[str, float], float, str]:
    """One run of an experiment, in a process of one thread: its numbers, its seconds, and what went wrong."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    began = time.perf_counter()
    try:
        with threadpool_limits(1):
            numbers, error = dict(experiment(seed)), ""
    except Exception as caught:
        if os.environ.get("DGMLAB_TRACEBACK") == "1":
            traceback.print_exc()
        kind = "" if isinstance(caught, LabError) else f"{type(caught).__name__}: "
        numbers, error = {}, f"Seed {seed} failed: {kind}{' '.join(str(caught).split()) or 'no message'}"
    finally:
        torch.set_num_threads(threads)                  # with one job, this process is the caller's own
    return number, numbers, time.perf_counter() - began, error


def _judge(claim: Claim, results: list) -> Measured:
    seconds = sum(taken for _, taken, _ in results) / len(results)
    values = []
    for numbers, _, error in results:
        if not error and claim.quantity not in numbers:
            error = (f"The experiment {name(claim.experiment)} gives no number called {claim.quantity!r}; it gives: "
                     f"{', '.join(numbers) or 'nothing'}.")
        if error:
            return Measured(claim, [], seconds, None, error)
        values.append(float(numbers[claim.quantity]))
    try:
        return Measured(claim, values, seconds, verdict(values, claim.expected, no_effect=claim.no_effect,
                                                        ratio=claim.ratio))
    except LabError as error:
        return Measured(claim, values, seconds, None, str(error))


# -- for people ------------------------------------------------------------------------------------------------------

def listing(measured: Sequence[Measured]) -> str:
    """What was measured, as lines of at most 100 characters."""
    import textwrap

    table = [("claim", "mean [95 % interval]", "expected", "n", "verdict")]
    for each in measured:
        claim, found = each.claim, each.verdict
        numbers = in_digits(found.mean, found.low, found.high) if found else "-"
        table.append((claim.id, numbers, in_words(*claim.expected), str(len(each.values)),
                      found.word if found else "error"))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    head, *rows = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                   for row in table)
    lines = [head]
    for row, each in zip(rows, measured, strict=True):
        said = f"{each.claim.says} ({each.claim.measured})" if each.verdict else each.error
        lines += [row, *textwrap.wrap(said, 96, initial_indent="    ", subsequent_indent="    ",
                                      break_on_hyphens=False)]
    words = [each.verdict.word if each.verdict else "error" for each in measured]
    counts = ", ".join(f"{words.count(word)} {word}" for word in (REPRODUCED, DIRECTION, NOT, "error")
                       if word in words)
    return "\n".join([*lines, "", f"{len(measured)} claim{'s' * (len(measured) != 1)}: {counts or 'none'}."])


def stale_listing(ids: Collection[str] | None = None) -> str:
    """The claims among ``ids`` (all, if None) whose record is stale, as lines, and what measures them again."""
    own = [each for lab in recorded_labs() for each in records(lab) if ids is None or each["id"] in ids]
    old = [each for each in own if is_stale(each)]
    labs = list(dict.fromkeys(each["lab"] for each in old))
    last = (f"{len(old)} of {len(own)} recorded claims {'is' if len(old) == 1 else 'are'} stale"
            + (f"; `dgmlab claims {' '.join(labs)} --save` measures {'it' if len(old) == 1 else 'them'} again, "
               "--confirm looks with one seed whether the numbers are still the same." if old else "."))
    return "\n".join([*(f"{each['id']}  {each['verdict']}, of {each['made']}" for each in old), *[""][:len(old)], last])


# -- records ---------------------------------------------------------------------------------------------------------

FROM_CLAIM = ("id", "lab", "source", "says", "quantity", "measured", "settings", "no_effect", "ratio", "note")


def described(claim: Claim) -> dict:
    """The part of a record that the claim itself decides; an infinite end of an interval becomes null."""
    return {each: getattr(claim, each) for each in FROM_CLAIM} | {
        "experiment": name(claim.experiment), "expected": [_plain(end) for end in claim.expected]}


def record(measured: Measured) -> dict:
    """A claim and what was measured, as plain JSON: a number that is not finite becomes null."""
    claim, found = measured.claim, measured.verdict
    return described(claim) | {
        "seeds": len(measured.values), "first_seed": FIRST, "values": [_plain(value) for value in measured.values],
        "mean": found and _plain(found.mean), "interval": found and [_plain(found.low), _plain(found.high)],
        "verdict": found and found.word, "error": measured.error or None,
        "seconds": round(measured.seconds, 2), "command": f"dgmlab claims {claim.id} --seeds {len(measured.values)}",
        "made": datetime.date.today().isoformat(), "code": measured.code or None,
        "versions": versions() | {each: importlib.metadata.version(each) for each in ("numpy", "scikit-learn")}}


def write_json(path: Path, measured: Sequence[Measured]) -> None:
    """The records of ``measured`` in the file ``path``, whole or not at all."""
    _write(path, [record(each) for each in measured])


def _write(path: Path, plain: list[dict]) -> None:
    write_atomically(path, (json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def save(measured: Sequence[Measured], known: Sequence[Claim]) -> list[str]:
    """Record the labs of which every claim was measured with at least five seeds; returns why others were not.

    Args:
        known: all claims there are.
    """
    refused = []
    for lab in dict.fromkeys(each.claim.lab for each in measured):
        own = [each for each in measured if each.claim.lab == lab]
        missing = {claim.id for claim in known if claim.lab == lab} - {each.claim.id for each in own}
        failed = [each.claim.id for each in own if each.verdict is None]
        if missing or failed or min(len(each.values) for each in own) < SEEDS:
            why = (f"{', '.join(sorted(missing))} not measured" if missing else
                   f"{', '.join(failed)} without a verdict" if failed else f"fewer than {SEEDS} seeds")
            refused.append(f"Lab {lab} is not recorded ({why}): a record holds all claims of a lab, each with at least "
                           f"{SEEDS} seeds; what is recorded stays as it was.")
            continue
        claims_module.RECORDS.mkdir(parents=True, exist_ok=True)
        write_json(claims_module.RECORDS / f"{lab}.json", own)
    save_page()
    return refused


def save_page() -> Path:
    """Write ``data/claims/README.md`` anew, from the records and today's code; returns its path."""
    path = claims_module.RECORDS / "README.md"
    write_atomically(path, readme().encode())
    return path


def recorded_labs() -> list[str]:
    """The numbers of the labs with records."""
    return sorted(path.stem for path in claims_module.RECORDS.glob("*.json"))


def readme() -> str:
    """``data/claims/README.md``, from the records and the fingerprints of today's code."""
    labs = {lab: [each | {"stale": is_stale(each)} for each in records(lab)] for lab in recorded_labs()}
    everything = [each for own in labs.values() for each in own]
    return "\n\n".join([_head(everything), _summary(labs), HOW, *_remarkable(everything),
                        *(part for lab, own in labs.items() for part in _lab(lab, own))]) + "\n"


def _head(everything: list[dict]) -> str:
    return ("# The claims, measured\n\nWhat papers and lectures say about deep generative models, put to the test. "
            "Each claim is one sentence, and a number that\nwould be another if the sentence were wrong, measured with "
            f"at least {SEEDS} seeds.\n\n**{_counted(everything)}.**")


HOW = f"""*Ours*, in the tables below, is the mean over the seeds (of a ratio the geometric mean) with its 95 %
confidence interval by Student's t, and the verdict follows from it alone. The seeds begin at {FIRST}, so that they are
not those on which something was tried out before an expectation was written down.

* **{REPRODUCED}**: the whole interval lies within what is expected;
* **{DIRECTION}**: it does not, but all of it lies on the expected side of "no effect";
* **{NOT}**: neither.

A record is **stale** if the code that decides its number (the experiment and all that it uses: models, data, training,
metrics) has changed since it was measured. It may well hold; nobody has looked.

    dgmlab claims 03              measures the claims of lab 03 anew, and prints them
    dgmlab claims 03 --save       and records them: 03.json for programs, this page for people
    dgmlab claims --page          writes this page anew from the records, without measuring
    dgmlab claims --stale         lists what is stale
    dgmlab claims --confirm       runs one seed of it: the same numbers, to the last bit, say that it holds"""


def _summary(labs: dict[str, list[dict]]) -> str:
    words = (REPRODUCED, DIRECTION, NOT)
    rows = [["lab", "claims", *words, "stale"]]
    for lab, own in labs.items():
        rows.append([f"[{_title(lab)}](#lab-{lab})", *_numbers(own, words)])
    rows.append(["all", *_numbers([each for own in labs.values() for each in own], words)])
    return _table(rows)


def _numbers(own: list[dict], words: Sequence[str]) -> list[str]:
    verdicts = [each["verdict"] for each in own]
    return [str(len(own)), *(str(verdicts.count(word)) for word in words), str(sum(each["stale"] for each in own))]


def _remarkable(everything: list[dict]) -> list[str]:
    """What did not show, and what is stale: not to be looked for among what did."""
    parts = []
    missed = [each for each in everything if each["verdict"] == NOT]
    for heading, says, own in (
            ("What did not show", "Not reproduced: none of the interval lies within what is expected.",
             [each for each in missed if not _is_open(each)]),
            ("What stays open", "Not reproduced, but a part of the interval lies within what is expected: more seeds "
             "may decide it, either way.", [each for each in missed if _is_open(each)]),
            ("What showed in direction only", "An effect in the direction of the claim, and not of the size.",
             [each for each in everything if each["verdict"] == DIRECTION])):
        if own:
            parts.append(f"## {heading}\n\n{says}\n\n" + "\n".join(
                f"* {_link(each)}: {_text(each['says'])} *{_text(each['measured'])}*: expected "
                f"{in_words(*each['expected'])}, ours {in_digits(each['mean'], *each['interval'])}"
                f"{' (stale)' * each['stale']}." for each in own))
    old = [each for each in everything if each["stale"]]
    if old:
        lines = []
        for lab in dict.fromkeys(each["lab"] for each in old):
            own, number = [each for each in old if each["lab"] == lab], [each["lab"] for each in everything].count(lab)
            which = f"all {number}" if len(own) == number else f"{len(own)} of {number}: {', '.join(map(_link, own))}"
            lines.append(f"* Lab {lab}, {which}; `dgmlab claims {lab} --save` measures them again.")
        parts.append("## What is stale\n\n" + "\n".join(lines))
    return parts


def _is_open(record: dict) -> bool:
    """Whether the interval overlaps with what is expected."""
    (low, high), (least, most) = record["interval"], record["expected"]
    return low < most and high > least


def _lab(lab: str, own: list[dict]) -> list[str]:
    """The section of one lab."""
    notebook = _notebook(lab)
    where = f" [The notebook](../../labs/{notebook.name})." if notebook else ""
    rows = [["claim", "source", "what is measured", "expected", "ours, 95 % interval", "verdict", "seeds", "command"]]
    for each in own:
        rows.append([f'<a id="{each["id"]}"></a>`{each["id"]}`: {_text(each["says"])}', _text(each["source"]),
                     _text(each["measured"]), in_words(*each["expected"]), in_digits(each["mean"], *each["interval"]),
                     f"**{each['verdict']}**{' (stale)' * each['stale']}", str(each["seeds"]), f"`{each['command']}`"])
    parts = [f'<a id="lab-{lab}"></a>\n\n## {_title(lab)}', f"{_counted(own).capitalize()}.{where}", _table(rows)]
    settings = dict.fromkeys(each["settings"] for each in own)
    parts.append("How it was measured:\n\n" + "\n".join(
        f"* {', '.join(_link(each) for each in own if each['settings'] == text)}: {_text(text)}" for text in settings))
    notes = [f"* {_link(each)}: {_text(each['note'])}" for each in own if each["note"]]
    if notes:
        parts.append("What the verdicts leave open:\n\n" + "\n".join(notes))
    runs = {each["experiment"]: each["seconds"] * each["seeds"] for each in own}
    first = own[0]
    parts.append(f"Made on {first['made']} by `dgmlab claims {lab} --seeds {first['seeds']} --save` with the seeds "
                 f"{first['first_seed']} to {first['first_seed'] + first['seeds'] - 1} in "
                 f"{sum(runs.values()):.0f} s of one core, with "
                 + ", ".join(f"{key} {value}" for key, value in first["versions"].items() if key != "machine")
                 + f" ({first['versions']['machine']}).")
    for day in sorted({each["confirmed"] for each in own if "confirmed" in each}):
        which = [_link(each) for each in own if each.get("confirmed") == day]
        parts[-1] += (f" On {day}, when the code had changed, seed {first['first_seed']} gave the same numbers again"
                      + (f": {', '.join(which)}." if len(which) < len(own) else "."))
    return parts


def _counted(own: list[dict]) -> str:
    """How many claims, and by verdict, in words."""
    words = [each["verdict"] for each in own]
    by_verdict = ", ".join(f"{words.count(word)} {word}" for word in (REPRODUCED, DIRECTION, NOT) if word in words)
    old = sum(each["stale"] for each in own)
    return (f"{len(own)} claim{'s' * (len(own) != 1)}: {by_verdict or 'none yet'}"
            + (f" ({'all' if old == len(own) else old} of them stale)" if old else ""))


def _table(rows: list[list[str]]) -> str:
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "| " + " | ".join(["---"] * len(rows[0])) + " |", *body])


def _link(record: dict) -> str:
    return f"[`{record['id']}`](#{record['id']})"


def _text(words: str) -> str:
    """Words that Markdown shows as they are, in a table as well."""
    return words.replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def _notebook(lab: str) -> Path | None:
    found = sorted((claims_module.RECORDS.parents[1] / "labs").glob(f"{lab}_*.ipynb"))
    return next((path for path in found if "." not in path.stem), None)         # not the output of a run


def _title(lab: str) -> str:
    """How a lab calls itself, such as ``Lab 03 · The variational autoencoder``."""
    notebook = _notebook(lab)
    if notebook is None:
        return f"Lab {lab}"
    first = "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"])
    return first.partition("\n")[0].removeprefix("# ").strip() or f"Lab {lab}"


def stale() -> list[str]:
    """What in ``data/claims/`` is not what the claims in the code and their records say, in sentences.

    A record whose code has changed is none of it, as long as the page says that it is stale.
    """
    found = []
    known = claims_module.all_claims()
    for lab in sorted({claim.lab for claim in known} | set(recorded_labs())):
        again = f"`dgmlab claims {lab} --save` measures and records them again."
        if lab not in recorded_labs():
            found.append(f"The claims of lab {lab} are not recorded in data/claims; {again}")
            continue
        own = {each["id"]: each for each in json.loads((claims_module.RECORDS / f"{lab}.json").read_text("utf-8"))}
        wanted = {claim.id: described(claim) for claim in known if claim.lab == lab}
        if list(own) != list(wanted):
            found.append(f"Recorded for lab {lab} are the claims {', '.join(own)}, but the code has "
                         f"{', '.join(wanted) or 'none'}; {again}")
            continue
        for identity, want in wanted.items():
            other = [key for key, value in want.items() if own[identity].get(key) != value]
            if other:
                found.append(f"The record of {identity} has another {' and '.join(other)} than the code; {again}")
    page = claims_module.RECORDS / "README.md"
    if not found and (not page.is_file() or page.read_text("utf-8") != readme()):
        found.append("data/claims/README.md is not what the records and today's code give; `dgmlab claims --page` "
                     "writes it anew.")
    return found


def _plain(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _seconds_recorded() -> dict[str, float]:
    """The seconds that each experiment took for one seed, by name, where that is recorded."""
    try:
        return {each["experiment"]: each["seconds"] for lab in recorded_labs() for each in records(lab)}
    except (LabError, KeyError):
        return {}
