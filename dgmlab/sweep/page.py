"""The comparison page of a sweep: one HTML file, pictures inside, that needs no network.

Each recorded number gets one small picture: its mean over the seeds against the swept parameter with the most numbers,
a line for each value of another one, a plot for each combination of the rest. The band is the standard deviation, and
every run is a dot.
"""

from __future__ import annotations

import base64
import html
import itertools
import math
import re
import statistics
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from .. import notebooks, plots
from .grids import Grid
from .running import DONE, FAILED

MARKS = "osD^vP"
STATUS = {DONE: "✓ done", FAILED: "✗ failed"}
MOST_PLOTS = 12             # of one number; what else is swept is averaged over
STYLE = """
:root { color-scheme: light; --ink: #2b2b2b; --soft: #5c5c5c; --line: #d9d9d9; --accent: #3b1f8f; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); margin: 0 auto; max-width: 78rem; padding: 2rem 1.5rem }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem } h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem }
p { max-width: 46rem; margin: .4rem 0 } .soft { color: var(--soft) } a { color: var(--accent) }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 1rem 0 }
dt { color: var(--soft) } dd { margin: 0 }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(23rem, 100%), 1fr)); gap: 1.6rem 1.2rem }
.plots { margin-top: 1rem }
.plots .wide { grid-column: 1 / -1 } figure { margin: 0 } img { max-width: 100%; height: auto; display: block }
.scroll { overflow-x: auto; max-height: 34rem; border-top: 2px solid var(--ink); border-bottom: 2px solid var(--ink) }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; width: 100% }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line) }
th { position: sticky; top: 0; background: white; font-weight: 600; vertical-align: bottom }
.word { text-align: left } .error { white-space: normal; min-width: 20rem }
.failures { border-left: 4px solid #cc4f66; padding: .2rem 1rem; margin: 1.2rem 0 }
summary { cursor: pointer; font-weight: 600 }
"""


def page(grid: Grid, rows: list[dict]) -> str:
    """The page.

    Args:
        rows: the ``run.json`` of every recorded run, in the order of the grid.
    """
    title = notebooks.read(grid.lab).cells[0].source.splitlines()[0].lstrip("# ") or grid.lab.stem
    done = [row for row in rows if row["status"] == DONE]
    swept = [name for name, own in grid.axes.items() if len(own) > 1]
    parts = [f"<h1>{_text(title)}</h1>", _facts(grid, rows, done), _failures(rows)]
    metrics = list(dict.fromkeys(name for row in done for name, value in row["metrics"].items() if _numeric(value)))
    if metrics:
        says = ("Dots are runs, lines their means" + (" over the seeds" if "seed" in swept else "")
                + ", bands one standard deviation of the runs to both sides.")
        level = {name: _numbers(done, name) for name in metrics if _is_level(grid, done, name)}
        pictures = [_picture(grid, done, name) for name in metrics if name not in level]
        parts.append("<h2>Comparison</h2>")
        if pictures:
            parts.append(f'<p class="soft">{says}</p>')
        parts.append(_meaning(grid))
        if pictures:
            parts.append(f'<div class="plots">{"".join(pictures)}</div>')
        if level:
            parts.append("<p>The same for all values of what is swept: "
                         + _text(", ".join(f"{_name(name)} {_mean(found)}" for name, found in level.items())) + ".</p>")
        if pictures and "seed" in swept and len(swept) > 1:
            own = [name for name in metrics if name not in level]
            parts.append(f"<h2>Means over the seeds</h2>\n{_means(grid, done, own)}")
    elif done:
        parts.append("<p>The lab recorded no numbers (dgmlab.results.record does), so there is nothing to compare.</p>")
    parts.append(f"<h2>Runs</h2>\n{_runs(grid, rows, metrics)}")
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Sweep of {_text(title)}</title>\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style></head>\n'
            f'<body>\n<main>\n' + "\n".join(filter(None, parts)) + "\n</main>\n</body></html>\n")


# -- in words --------------------------------------------------------------------------------------------------------

def _facts(grid: Grid, rows: list[dict], done: list[dict]) -> str:
    seconds = [row["seconds"] for row in done]
    facts = {"Runs": f"{len(done)} of {len(grid.points)} done"}
    facts |= {_name(name): ", ".join(_value(value) for value in own) if len(own) <= 12 else
              f"{len(own)} values, {_value(own[0])} to {_value(own[-1])}" for name, own in grid.axes.items()}
    if all(point.parameters.get("scale") == "smoke" for point in grid.points):
        facts["scale"] = "smoke, which shows that everything runs; its numbers mean nothing"
    if seconds:
        facts["Time"] = (f"{_duration(sum(seconds))} of computing, {_duration(statistics.median(seconds))} a run "
                         "(median)")
    for versions in {tuple(row["versions"].items()): None for row in rows}:
        facts.setdefault("Versions", ", ".join(f"{name} {version}" for name, version in versions))
    items = "".join(f"<dt>{_text(name)}</dt><dd>{_text(value)}</dd>" for name, value in facts.items())
    return (f'<p class="soft">A sweep, {date.today():%d %B %Y}. The numbers of each run: '
            f'<a href="table.csv">table.csv</a>.</p>\n<dl>{items}</dl>')


def _meaning(grid: Grid) -> str:
    """What the lab's numbers are, with their units: its line of this room's README."""
    text = (Path(__file__).parent / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^\| {grid.lab.stem[:2]} \| (.+) \|$", text, re.MULTILINE)
    if not found:
        return ""
    words = re.sub("`(.+?)`", r"<code>\1</code>", _text(found[1]))
    return f'<p class="soft">The numbers: {words}.</p>'


def _failures(rows: list[dict]) -> str:
    failed = [row for row in rows if row["status"] != DONE]
    if not failed:
        return ""
    reasons = {}
    for row in failed:
        reasons.setdefault(row["error"], []).append(row)
    items = "".join(f"<li>{len(those)} × {_text(error)}</li>" for error, those in reasons.items())
    return (f'<div class="failures"><p><strong>{len(failed)} of {len(rows)} runs did not end well.</strong> Their '
            f"notebooks hold what was done until then.</p><ul>{items}</ul></div>")


def _means(grid: Grid, done: list[dict], metrics: Sequence[str]) -> str:
    names = [name for name, own in grid.axes.items() if len(own) > 1 and name != "seed"]
    lines = []
    for group, rows in _groups(done, names).items():
        cells = [f'<td class="word">{_text(_value(value))}</td>' for value in group]
        for metric in metrics:
            found = _numbers(rows, metric)
            cells.append(f"<td>{_text(_mean(found))}</td>")
        lines.append(f"<tr>{''.join(cells)}<td>{len(rows)}</td></tr>")
    head = [f'<th scope="col" class="word">{_text(_name(name))}</th>' for name in names]
    head += [f'<th scope="col">{_text(_name(name))}</th>' for name in [*metrics, "runs"]]
    return _table(head, lines)


def _runs(grid: Grid, rows: list[dict], metrics: Sequence[str]) -> str:
    names = [name for name, own in grid.axes.items() if len(own) > 1]
    words = list(dict.fromkeys(name for row in rows for name in row["metrics"] if name not in metrics))
    lines = []
    for row in rows:
        place = f"runs/{row['name']}"
        cells = [f'<td class="word">{STATUS.get(row["status"], "◷ stopped")}</td>']
        cells += [f'<td class="word">{_text(_value(row["parameters"][name]))}</td>' for name in names]
        links = f'<a href="{_text(place)}/notebook.ipynb">notebook</a> · <a href="{_text(place)}/run.json">record</a>'
        if row["figures"]:
            links += f' · <a href="{_text(place)}/figures/index.html">{row["figures"]} figures</a>'
        cells.append(f'<td class="word">{links}</td>')
        cells += [f"<td>{_text(_value(row['metrics'][name]) if name in row['metrics'] else '–')}</td>"
                  for name in [*metrics, *words]]
        cells.append(f'<td>{row["seconds"]:.1f}</td>')
        lines.append(f"<tr>{''.join(cells)}</tr>")
    head = [f'<th scope="col" class="word">{_text(_name(name))}</th>' for name in ["status", *names, "files"]]
    head += [f'<th scope="col">{_text(_name(name))}</th>' for name in [*metrics, *words, "seconds"]]
    return _table(head, lines)


def _table(head: list[str], lines: list[str]) -> str:
    return (f'<div class="scroll" tabindex="0"><table><thead><tr>{"".join(head)}</tr></thead>'
            f'<tbody>{"".join(lines)}</tbody></table></div>')


# -- in pictures -----------------------------------------------------------------------------------------------------

@dataclass(frozen=True)
class Layout:
    """Which swept parameter becomes what."""

    x: str
    line: str | None
    plots: tuple[str, ...]


def layout(axes: dict[str, list]) -> Layout:
    """The places of the swept parameters: across goes numbers before words and more values before fewer."""
    swept = [name for name, own in axes.items() if len(own) > 1 and name != "seed"]
    if not swept:
        return Layout("seed" if "seed" in axes else next(iter(axes)), None, ())
    swept.sort(key=lambda name: (all(map(_numeric, axes[name])), len(axes[name])), reverse=True)
    x, *rest = swept
    line = next((name for name in rest if len(axes[name]) <= len(MARKS)), None)
    plots, shown = [], 1
    for name in rest:
        if name != line and shown * len(axes[name]) <= MOST_PLOTS:
            plots.append(name)
            shown *= len(axes[name])
    return Layout(x, line, tuple(plots))


def _picture(grid: Grid, done: list[dict], metric: str) -> str:
    plan = layout(grid.axes)
    panels = list(itertools.product(*(grid.axes[name] for name in plan.plots)))
    columns = min(3, len(panels))
    fig = plots.figure(370 if columns == 1 else 370 * columns, 250 * -(-len(panels) // columns))
    grid_of_axes = fig.subplots(-(-len(panels) // columns), columns, squeeze=False, sharey=True).ravel()
    told = []
    for axes, panel in zip(grid_of_axes, panels):
        rows = [row for row in done if all(row["parameters"][name] == value for name, value in zip(plan.plots, panel))]
        where = ", ".join(f"{_name(name)} {_value(value)}" for name, value in zip(plan.plots, panel))
        told += [f"{where}: {line}" if where else line for line in _plot(axes, grid, plan, rows, metric)]
        plots.tidy(axes, where if where else _name(metric), _name(plan.x), _name(metric) if where else "")
    for axes in grid_of_axes[len(panels):]:
        axes.set_visible(False)
    alt = _text(f"{_name(metric)} against {_name(plan.x)}. {'; '.join(told)}.")
    width = round(fig.get_figwidth() * plots.DPI)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")            # of a script that the font does not have
        png = base64.b64encode(plots.png(fig)).decode()
    return (f'<figure{" class=wide" if columns > 1 else ""}><img width="{width}" alt="{alt}" '
            f'src="data:image/png;base64,{png}"></figure>\n')


def _plot(axes, grid: Grid, plan: Layout, rows: list[dict], metric: str) -> list[str]:
    """One plot; returns its lines in words."""
    places = _places(axes, grid.axes[plan.x])
    lines, told = {}, []
    for k, value in enumerate(grid.axes[plan.line] if plan.line else [None]):
        own = [row for row in rows if plan.line is None or row["parameters"][plan.line] == value]
        colour, mark = plots.LINES[k % len(plots.LINES)], MARKS[k % len(MARKS)]
        across, means, low, high, words = [], [], [], [], []
        for place, x in zip(places, grid.axes[plan.x]):
            found = _numbers([row for row in own if row["parameters"][plan.x] == x], metric)
            if not found:
                continue
            axes.plot([place] * len(found), found, mark, color=colour, markersize=4, alpha=0.45, markeredgewidth=0)
            mean, spread = statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0
            across.append(place), means.append(mean), low.append(mean - spread), high.append(mean + spread)
            words.append(f"{_mean(found)} at {_value(x)}")
        axes.fill_between(across, low, high, color=colour, alpha=0.13, linewidth=0)
        name = "" if plan.line is None else f"{_value(value)}"
        lines[name] = (across, means, colour, mark)
        told.append(f"{_name(plan.line)} {name}: {', '.join(words) or 'nothing'}" if name else ", ".join(words))
    for across, means, colour, mark in lines.values():
        axes.plot(across, means, mark, color=colour, markersize=7, markeredgecolor="white", zorder=3)
    colours = {name: colour for name, (_, _, colour, _) in lines.items()}
    plots.labelled_lines(axes, {name: own[0] for name, own in lines.items()},
                         {name: own[1] for name, own in lines.items()}, linewidth=1.8)
    for line, colour in zip(axes.lines[-len(lines):], colours.values()):
        line.set_color(colour)
    return told


def _places(axes, values: list) -> list[float]:
    """Where the values of a parameter stand on the x axis, and its ticks: numbers to scale, words side by side."""
    if not all(map(_numeric, values)):
        axes.set_xticks(range(len(values)), [_shortened(_value(value)) for value in values])
        axes.set_xlim(-0.3, len(values) - 0.7)
        return [float(k) for k in range(len(values))]
    if min(values) > 0 and max(values) / min(values) >= 30:
        axes.set_xscale("log")
    if len(values) <= 7:
        axes.set_xticks(values, [_value(value) for value in values])
        axes.minorticks_off()
    return [float(value) for value in values]


# -- helpers ---------------------------------------------------------------------------------------------------------

def _groups(rows: list[dict], names: list[str]) -> dict[tuple, list[dict]]:
    groups: dict[str, tuple] = {}
    for row in rows:
        group = [row["parameters"][name] for name in names]
        groups.setdefault(repr(group), (group, []))[1].append(row)
    return {tuple(map(_hashable, group)): own for group, own in groups.values()}


def _hashable(value):
    return value if not isinstance(value, (list, dict)) else _value(value)


def _numeric(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_level(grid: Grid, done: list[dict], metric: str) -> bool:
    """Whether a number does not depend on what is swept besides the seed, of which there must be something."""
    names = [name for name, own in grid.axes.items() if len(own) > 1 and name != "seed"]
    seeds = {}
    for row in done:
        if _numeric(row["metrics"].get(metric)):
            seeds.setdefault(row["parameters"].get("seed"), []).append(row["metrics"][metric])
    return bool(names) and len(done) > 1 and all(max(found) == min(found) for found in seeds.values())


def _numbers(rows: list[dict], metric: str) -> list[float]:
    return [row["metrics"][metric] for row in rows if _numeric(row["metrics"].get(metric))]


def _mean(found: list[float]) -> str:
    if not found:
        return "–"
    mean, spread = statistics.fmean(found), statistics.stdev(found) if len(found) > 1 else 0
    if spread <= 1e-9 * abs(mean):
        return plots.short(mean)
    digits = 1 - math.floor(math.log10(spread) + 1e-9)  # two of the spread, and as far as that goes of the mean
    if not 0 <= digits <= 6:
        return f"{plots.short(mean)} ± {plots.short(spread)}"
    return f"{mean:,.{digits}f} ± {spread:.{digits}f}".replace("-", "−")


def _name(name: str | None) -> str:
    return (name or "").replace("_", " ")


def _value(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}".replace("-", "−") if "e" not in f"{value:.4g}" else f"{value:.4g}"
    return str(value)


def _shortened(text: str) -> str:
    return text if len(text) <= 16 else f"{text[:14]}…"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _text(text) -> str:
    return html.escape(str(text))
