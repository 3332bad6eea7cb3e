"""Commands for running a lab many times: `sweep`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from . import main


@main.command()
@click.argument("lab")
@click.option("--grid", "given", multiple=True, metavar="NAME=VALUE,...",
              help="A parameter of the lab and its values, as in a CSV line; may be repeated.")
@click.option("--seeds", metavar="N|LIST", help="How many seeds (5: 0 to 4), or which (0,1,7).  [default: the lab's]")
@click.option("-o", "--out", type=click.Path(file_okay=False, path_type=Path), required=True, metavar="DIR",
              help="The folder of the sweep.")
@click.option("--scale", type=click.Choice(["smoke", "lab", "paper"]), help="The scale of every run.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many runs at a time.  [default: one a core, or a GPU]")
@click.option("--resume", is_flag=True, help="Go on with the sweep in DIR: run only what is missing.")
@click.option("--retry", is_flag=True, help="With --resume: run again what failed or was stopped.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="The longest that one run may take.  [default: no limit]")
@click.option("--scheduler", metavar="ADDRESS", help="A Dask scheduler, tcp://host:port, whose workers do the runs.")
@click.option("--cold", is_flag=True, help="Start each kernel from nothing, without the lab's imports done before.")
@click.option("--yes", is_flag=True, help="Run more than 1,000 combinations.")
def sweep(lab, given, seeds, out, scale, jobs, resume, retry, timeout, scheduler, cold, yes):
    """Run a lab over a grid of parameters, on several seeds.

    LAB is a number (3, 03) or a name (vae, 03_vae). Each run leaves a folder in DIR/runs with its notebook, parameters,
    numbers and figures; at the end DIR holds table.csv and a page that compares them, index.html. A run that fails
    stops no other; the exit code is then 1. A value with a comma or a quotation mark stands in double quotes.

    \b
    Examples:
      dgmlab sweep 04 --grid schedule=constant,cyclical --grid beta=0.5,1 --seeds 5 -o kl
      dgmlab sweep 03 --grid beta=0.1,1,10 -o beta --scale smoke --resume
      dgmlab sweep 06 --seeds 20 -o gan --scheduler tcp://node1:8786
    """
    from .. import notebooks
    from .. import sweep as engine

    if retry and not resume:
        raise click.UsageError("--retry goes with --resume.")
    if scheduler and jobs:
        raise click.UsageError("--jobs is of this machine; on a cluster there are as many runs at a time as workers.")
    grid = engine.grid(notebooks.find(lab), given, seeds, scale, most=float("inf") if yes else engine.MOST)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))         # so that the workers end as well, as with Ctrl-C
    rows = engine.sweep(grid, out, jobs=jobs, resume=resume, retry=retry, scheduler=scheduler, timeout=timeout,
                        warm=not cold)
    failed = [row for row in rows if row["status"] != "done"]
    click.echo(f"{len(rows)} runs, {len(rows) - len(failed)} done"
               + (f", {len(failed)} failed (the first: {failed[0]['error']})" if failed else "")
               + f": {out / 'index.html'}")
    sys.exit(1 if failed else 0)
