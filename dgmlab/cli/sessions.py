"""Commands for saved sessions and for panels on a page of their own: `replay`, `play`, `dashboard`."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from . import main


@main.command()
@click.argument("places", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="SESSION...")
@click.option("--tolerance", type=click.FloatRange(min=0), default=0.01, show_default=True,
              help="The largest relative difference that passes for rounding; 0 asks for equality to the last bit.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600, show_default=True, metavar="SECONDS",
              help="The longest that one session may take.")
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the findings to FILE as well.")
def replay(places, tolerance, timeout, out):
    """Re-run saved sessions and say whether their numbers hold.

    SESSION is a file that a panel's Save button wrote, or a folder of such files. Numbers hold if they are equal to the
    last bit, as they are on the same kind of processor with the same versions; or within the tolerance, since others
    round otherwise. Training can blow rounding up, a GAN's within a few hundred steps: where a session differs by more,
    it is said from which step on, and what was different where it was made. The exit code is 0 only if all hold.

    \b
    Examples:
      dgmlab replay labs/sessions/03_vae-20260301-101500.json
      dgmlab replay handed_in/ --json findings.json
    """
    from .. import sessions
    from ..errors import LabError

    if out and not out.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {out.absolute().parent} to write {out.name} to; make it first.")
    files = sessions.collect(places)
    findings = [sessions.examine(file, tolerance, timeout) for file in files]
    if out:
        sessions.write_json(out, findings)
    if len(findings) == 1 and findings[0].outcome == "refused":
        raise LabError(f"{findings[0].file}: {findings[0].says}")
    click.echo(sessions.table(findings))
    click.echo()
    for found in findings:
        if found.outcome != "equal":
            click.echo(f"{found.file}: {found.says}")
    holding = sum(found.holds for found in findings)
    click.echo(f"The numbers of {holding} of {len(findings)} session{'s' * (len(findings) != 1)} hold.")
    sys.exit(0 if holding == len(findings) else 1)


@main.command()
@click.argument("session", type=click.Path(path_type=Path))
@click.option("--port", type=click.IntRange(1, 65535), help="The port to serve at.  [default: 8888 or the next free]")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
def play(session, port, no_browser):
    """Show a saved session in its panel, knobs moving.

    JupyterLab opens with a notebook that is made for the session, in labs/sessions/played. Run its cells and press
    Start: the session is played from step 0 to its end; whoever moves a knob takes over.
    """
    from .. import sessions
    from ..notebooks import labs_folder
    from .labs import jupyterlab, start

    path = sessions.recording(session)
    command, environment = jupyterlab(None, port, browser=not no_browser)
    start([*command, f"--LabApp.default_url=/lab/tree/{path.relative_to(labs_folder()).as_posix()}"], environment)


@main.command()
@click.argument("lab")
@click.option("--port", type=click.IntRange(1, 65535), help="The port to serve at.  [default: 8866 or the next free]")
@click.option("--no-browser", is_flag=True, help="Print the address instead of opening a browser.")
def dashboard(lab, port, no_browser):
    """Serve a lab's first panel as a page of its own.

    LAB is a number (3, 03) or a name (vae, 03_vae). Every visitor gets a kernel, which is stopped when the page is
    closed; Save writes into the folder sessions in the present one. It runs until it is stopped with Ctrl-C, and is
    reached from this machine only.
    """
    from .. import dashboard, notebooks
    from .labs import check_port

    path = notebooks.find(lab)
    if port:
        check_port(port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))         # so that the server ends as well, as with Ctrl-C
    with tempfile.TemporaryDirectory(prefix="dgmlab-dashboard-", ignore_cleanup_errors=True) as folder:
        command, environment = dashboard.voila(dashboard.page(path, Path(folder), Path.cwd()), port,
                                               browser=not no_browser)
        server = subprocess.Popen(command, env=environment)
        try:
            sys.exit(server.wait())
        finally:
            server.terminate()
            server.wait()
