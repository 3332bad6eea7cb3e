"""Commands to work with the labs: `lab`, `run`, `claims`."""

from __future__ import annotations

import difflib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import click

from ..errors import LabError
from . import main


@main.command()
@click.argument("lab", required=False)
@click.option("--port", type=click.IntRange(1, 65535), help="The port to serve at.  [default: 8888 or the next free]")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
def lab(lab, port, no_browser):
    """Start JupyterLab at the labs, and open one.

    LAB is a number (3, 03) or a name (vae, 03_vae). JupyterLab runs until it is stopped with Ctrl-C; it asks the
    network for nothing.
    """
    start(*jupyterlab(lab, port, browser=not no_browser))


def jupyterlab(lab: str | None, port: int | None, *, browser: bool) -> tuple[list[str], dict[str, str]]:
    """The command that starts JupyterLab, and its environment."""
    from .. import notebooks

    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks.labs_folder()}",
        # No news, no look for updates, no list of extensions: nothing here needs the network.
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        # Thirty lines of what was loaded hide the address; warnings and the address itself still come.
        "--ServerApp.log_level=WARN", "--LabApp.log_level=WARN",
        # A page that a screen reader can read: see the file's own words.
        f"--LabApp.extra_labextensions_path={Path(__file__).parents[1] / 'jupyter' / 'labextensions'}",
    ]
    if lab:
        command.append(f"--LabApp.default_url=/lab/tree/{notebooks.find(lab).name}")
    if port:
        check_port(port)
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:            # as in a container
        command.append("--allow-root")
    # Our defaults for the page's own settings (no question about news); whatever a user has set there still counts.
    config = [str(Path(__file__).parents[1] / "jupyter"), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    # This environment's kernel comes before one that another environment has registered for the user.
    return command, {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(config), "JUPYTER_PREFER_ENV_PATH": "1"}


def check_port(port: int) -> None:
    """Raise :class:`LabError` if nothing can be served at this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise LabError(f"Port {port} cannot be used ({error.strerror}); name another, or leave --port out."
                           ) from error


def start(command: list[str], environment: dict[str, str]) -> None:
    """Become ``command``."""
    click.echo("Starting JupyterLab; Ctrl-C ends it.")
    if os.name == "nt":
        sys.exit(subprocess.call(command, env=environment))
    sys.stdout.flush()
    os.execve(command[0], command, environment)


@main.command()
@click.argument("lab")
@click.option("-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
              help="Set a parameter of the lab; may be repeated. The value is written as in YAML.")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Where to save the executed notebook.  [default: ./NN_name.out.ipynb]")
@click.option("--scale", type=click.Choice(["smoke", "lab", "paper"]),
              help="The same as -p scale: seconds, about a minute, or the published data on a GPU.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="The longest that one cell may take.  [default: no limit]")
def run(lab, given, out, scale, timeout):
    """Run a lab from top to bottom and save the result.

    LAB is a number (3, 03) or a name (vae, 03_vae). It is run by papermill, with the parameters of its parameters cell.

    \b
    Examples:
      dgmlab run 03 --scale smoke
      dgmlab run vae -p beta 4 -p seed 1 -o beta4.ipynb
    """
    from .. import notebooks

    path, given = notebooks.find(lab), list(given)
    if scale:
        if "scale" in dict(given):
            raise click.UsageError("The scale is given twice, by --scale and by -p scale; give it once.")
        given.append(("scale", scale))
    values = notebooks.check_parameters(path, given)
    out = out or Path(f"{path.stem}.out.ipynb")
    began = time.monotonic()
    notebooks.run(path, out, values, timeout=timeout)
    click.echo(f"{path.stem} ran in {time.monotonic() - began:.0f} s: {out}")


@main.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--seeds", type=click.IntRange(min=3), default=5, show_default=True, help="How many runs of each.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many at a time.  [default: one a core]")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the results to FILE as well.")
@click.option("--save", is_flag=True, help="Record the results in data/claims, whole labs only.")
@click.option("--list", "listed", is_flag=True, help="Measure nothing; list the claims.")
@click.option("--stale", is_flag=True, help="Measure nothing; list what was recorded of code that has changed since.")
@click.option("--confirm", is_flag=True, help="Run one seed of what is stale; if it gives the same, the record holds.")
@click.option("--page", is_flag=True, help="Measure nothing; write data/claims/README.md anew from the records.")
def claims(ids, seeds, jobs, out, save, listed, stale, confirm, page):
    """Test the papers' claims by experiment, on several seeds.

    ID is a claim (03.beta_kl) or a lab (3, 03, vae); without it, all are measured. Each claim gets a mean with its
    95 % interval and one of three verdicts: reproduced, direction only, not reproduced. The exit code is 1 only if an
    experiment failed, or could not be confirmed.

    \b
    Examples:
      dgmlab claims --list
      dgmlab claims 03 --seeds 10 --json vae.json
      dgmlab claims --confirm
    """
    from ..experiments import measuring
    from ..experiments.claims import RECORDS, all_claims

    alone = [option for option, given in (("--list", listed), ("--stale", stale), ("--confirm", confirm),
                                          ("--page", page)) if given]
    if alone and (save or out or len(alone) > 1):
        beside = [*alone[1:], *["--save"] * save, *["--json"] * bool(out)]
        raise click.UsageError(f"With {alone[0]} nothing new is measured, so {' and '.join(beside)} cannot be given "
                               "beside it; give one of them.")
    if page and ids:
        raise click.UsageError(f"The page is of all labs; leave out {' '.join(ids)}, or measure anew what it says of a "
                               "lab with --save.")
    in_clone = (RECORDS.parents[1] / "pyproject.toml").is_file()
    if (page or confirm) and not in_clone:
        raise click.UsageError("Records and their page lie in a clone of the repository, and this package was "
                               "installed without one; run this in a clone.")
    if page:
        click.echo(f"{measuring.save_page()} is written anew.\n{measuring.stale_listing().splitlines()[-1]}")
        return
    known = all_claims()
    wanted = choose_claims(known, ids)
    if listed:
        for claim in wanted:
            click.echo(f"{claim.id}\n{textwrap.indent(textwrap.fill(f'{claim.says} ({claim.source})', 96), '    ')}")
        return
    if stale:
        click.echo(measuring.stale_listing({claim.id for claim in wanted}))
        return
    if out and not out.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {out.absolute().parent} to write {out.name} to; make it first.")
    if save:                                            # before minutes of work, not after
        if not in_clone:
            raise click.UsageError("Results are recorded in a clone of the repository, and this package was installed "
                                   "without one; use --json FILE.")
        whole = {claim.lab for claim in wanted}
        if seeds < measuring.SEEDS or wanted != [claim for claim in known if claim.lab in whole]:
            raise click.UsageError(f"A record holds all claims of a lab, each with at least {measuring.SEEDS} seeds; "
                                   "name labs, not claims, with --save, and give no fewer seeds.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))         # so that the workers end as well, as with Ctrl-C
    if confirm:
        confirmed, refused = measuring.confirm({claim.id for claim in wanted}, jobs)
        click.echo("\n".join(confirmed + refused + [f"{len(confirmed)} claims confirmed."]))
        sys.exit(1 if refused else 0)
    began = time.monotonic()
    measured = measuring.measure(wanted, seeds, jobs)
    click.echo(f"{measuring.listing(measured)} {time.monotonic() - began:.0f} s.")
    if out:
        measuring.write_json(out, measured)
    refused = measuring.save(measured, known) if save else []
    for sentence in refused:
        click.echo(f"dgmlab: {sentence}", err=True)
    sys.exit(1 if refused or not all(each.verdict for each in measured) else 0)


def choose_claims(known: list, wished: tuple[str, ...]) -> list:
    """The claims that ``wished`` names, by their own ids or by the number or name of a lab; all without any."""
    from .. import notebooks

    wanted = set()
    for each in wished:
        if each in {claim.id for claim in known}:
            wanted.add(each)
            continue
        try:
            number = each.zfill(2) if each.isdigit() else notebooks.find(each).stem[:2]
        except LabError:
            number = None
        own = {claim.id for claim in known if claim.lab == number}
        if not own:
            ids = [claim.id for claim in known]
            near = [own for own in ids if own.startswith(each)] or difflib.get_close_matches(each, ids, 3, 0.5)
            raise LabError(f"There is no claim, and no lab with claims, called {each!r}"
                           + (f"; do you mean {' or '.join(near[:5])}?" if near else ".")
                           + " `dgmlab claims --list` shows all.")
        wanted |= own
    return [claim for claim in known if not wished or claim.id in wanted]
