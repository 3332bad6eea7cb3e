"""Commands for authors: `outputs`, `test`."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import click

from . import main


@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("--check", is_flag=True, help="Run nothing; say which saved outputs are stale or not clean.")
def outputs(labs, check):
    """Make the notebooks' saved outputs anew, by a fresh run.

    Without LAB, all of them. A notebook is written only after its whole run went well. The exit code is 1 if outputs
    carry a warning, a path of this machine, or anything else that should not be published.
    """
    from .. import notebooks

    wrong = []
    for path in [notebooks.find(name) for name in labs] or notebooks.labs():
        began = time.monotonic()
        found = notebooks.faults(path) if check else notebooks.refresh(path)
        wrong += found
        took = "" if check else f" ({time.monotonic() - began:.0f} s)"
        click.echo(f"{path.stem}: {'see below' if found else 'clean'}{took}")
    for sentence in wrong:
        click.echo(f"dgmlab: {sentence}", err=True)
    sys.exit(1 if wrong else 0)


@main.command(context_settings={"ignore_unknown_options": True})
@click.option("--fast", is_flag=True, help="Leave out the browser, what is slow, and the notebooks.")
@click.argument("pytest_args", nargs=-1, type=click.UNPROCESSED)
def test(fast, pytest_args):
    """Run the tests of the package, and every notebook.

    The package's tests include those that drive a real browser, where Chromium is found; the notebooks run from top
    to bottom. With PYTEST_ARGS only pytest is run, with these arguments (`dgmlab test -k vae`). The exit code
    is the worst one.
    """
    from .. import notebooks

    clone = notebooks.labs_folder().parent
    package = ["tests", *(["-m", "not browser and not slow"] if fast else [])]
    rounds = [pytest_args or package]
    labs = [str(path.relative_to(clone)) for path in notebooks.labs()]
    if labs and not fast and not pytest_args:
        # In a process of its own: nbval collects notebooks only, and --dist loadfile keeps the cells of one together.
        rounds.append(["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=180", "-n", str(min(2, len(labs))),
                       "--dist", "loadfile", *labs])
    # One thread: with more, small models spend their time waiting for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    codes = [subprocess.call([sys.executable, "-m", "pytest", *each], cwd=clone, env=environment) for each in rounds]
    sys.exit(max(codes, key=abs))
