"""What a sweep found, as a table and as a page."""

from __future__ import annotations

import contextlib
import csv
import json
import os

from .folder import Folder, writable
from .folder import write as write_text


def write(folder: Folder) -> list[dict]:
    """Write ``table.csv``, ``table.parquet`` (where pyarrow is installed) and ``index.html``; returns the rows."""
    from . import page  # and with it matplotlib, once there is something to draw

    order = {point.key: number for number, point in enumerate(folder.grid.points)}
    rows = sorted(folder.rows(), key=lambda row: order.get(row["key"], len(order)))
    with writable(folder.path):
        frame = table(rows, list(folder.grid.axes))
        # Text in quotes, numbers without: "007" stays text for whoever reads it with that rule.
        write_text(folder.path / "table.csv", frame.to_csv(index=False, quoting=csv.QUOTE_NONNUMERIC,
                                                           lineterminator="\n"))
        with contextlib.suppress(ImportError):
            part = folder.path / ".table.parquet.part"
            frame.to_parquet(part, index=False)
            os.replace(part, folder.path / "table.parquet")
        write_text(folder.path / "index.html", page.page(folder.grid, rows))
    return rows


def table(rows: list[dict], swept: list[str]):
    """A row a run: name, status, the swept parameters, the metrics, seconds, error and notebook, as a DataFrame."""
    import pandas

    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    clash = set(swept) & set(metrics) | {"run", "status", "seconds", "error", "notebook"} & {*swept, *metrics}
    columns: dict[str, list] = {"run": [row["name"] for row in rows], "status": [row["status"] for row in rows]}
    for kind, names in (("parameters", swept), ("metrics", metrics)):
        for name in names:
            column = [row[kind].get(name) for row in rows]
            columns[f"{kind}.{name}" if name in clash else name] = _even(column)
    columns |= {"seconds": [row["seconds"] for row in rows], "error": [row["error"] for row in rows],
                "notebook": [f"runs/{row['name']}/notebook.ipynb" for row in rows]}
    return pandas.DataFrame(columns)


def _even(column: list) -> list:
    """A column of one type: lists, and values of several types, as JSON."""
    kinds = {float if type(value) is int else type(value) for value in column if value is not None}
    if len(kinds) > 1 or kinds & {list, dict, tuple}:
        return [None if value is None else json.dumps(value, ensure_ascii=False) for value in column]
    return column
