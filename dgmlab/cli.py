"""The command line: `dgmlab COMMAND`.

Each command imports what it needs when it is called, so that `dgmlab --help` answers at once. Whatever goes wrong is
said in one sentence on stderr with a non-zero exit code; DGMLAB_TRACEBACK=1 shows where it happened.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import click

from . import __version__
from .errors import LabError

SECTIONS = {
    "Work with the labs": ["lab", "run", "claims"],
    "Look after this machine": ["doctor", "data"],
    "For authors": ["outputs", "test"],
}


class Commands(click.Group):
    """A group of commands that lists the known ones when it is given another."""

    def resolve_command(self, ctx, args):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise click.UsageError(f"There is no command {args[0]!r}; the commands are: {', '.join(self.commands)}.")
        return super().resolve_command(ctx, args)


class CommandLine(Commands):
    """The outermost group: commands by section, and every error as one sentence."""

    def main(self, args=None, prog_name="dgmlab", **extra):
        try:
            code = super().main(args, prog_name, **{**extra, "standalone_mode": False}) or 0
        except BrokenPipeError:                         # `dgmlab ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 1
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("DGMLAB_TRACEBACK") == "1":
                raise
            code, sentence = explain(error)
            click.echo("dgmlab: " + " ".join(sentence.split()), err=True)
        sys.exit(code)

    def format_commands(self, ctx, formatter):
        for title, names in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(80)) for name in names])


def explain(error: BaseException) -> tuple[int, str]:
    """The exit code and the one sentence for an error."""
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        return 130, "interrupted."
    if isinstance(error, click.ClickException):
        return error.exit_code, error.format_message()
    if isinstance(error, LabError):
        return 1, str(error)
    if isinstance(error, ModuleNotFoundError):
        return 1, (f"The package {error.name} is not installed here; `dgmlab doctor` says what is missing, and "
                   "`python3 -m dgmlab` in the clone sets itself up.")
    says = (str(error).strip().splitlines() or ["no message"])[0].rstrip(".")
    return 1, f"Unexpected {type(error).__name__}: {says}; DGMLAB_TRACEBACK=1 shows where."


@click.group(cls=CommandLine, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"],
                                                                             "max_content_width": 100})
@click.version_option(__version__, prog_name="dgmlab")
@click.pass_context
def main(context):
    """A teaching lab for deep generative models: notebooks whose models train while you move the sliders.

    \b
    Examples:
      dgmlab lab                      JupyterLab at the labs, in the browser
      dgmlab lab vae                  the same, with lab 03 open
      dgmlab run 03 -p beta 4         one lab from top to bottom, with a parameter of its own
      dgmlab claims 03                what the papers claim in lab 03, measured here
      dgmlab doctor                   what this machine has, and what would not work
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


# -- work with the labs ----------------------------------------------------------------------------------------------

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
    from . import notebooks

    command = [
        sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebooks.labs_folder()}",
        # No news, no look for updates, no list of extensions: nothing here needs the network.
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
    ]
    if lab:
        command.append(f"--LabApp.default_url=/lab/tree/{notebooks.find(lab).name}")
    if port:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise LabError(f"Port {port} cannot be used ({error.strerror}); name another, or leave --port out."
                               ) from error
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        command.append("--no-browser")
    if hasattr(os, "geteuid") and os.geteuid() == 0:            # as in a container
        command.append("--allow-root")
    # Our defaults for the page's own settings (no question about news); whatever a user has set there still counts.
    config = [str(Path(__file__).parent / "jupyter"), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    # This environment's kernel comes before one that another environment has registered for the user.
    return command, {**os.environ, "JUPYTER_CONFIG_PATH": os.pathsep.join(config), "JUPYTER_PREFER_ENV_PATH": "1"}


def start(command: list[str], environment: dict[str, str]) -> None:
    """Become ``command``."""
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
    from . import notebooks

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
def claims(ids, seeds, jobs, out, save, listed):
    """Test the papers' claims by experiment, on several seeds.

    ID is a claim (03.beta_kl) or a lab (3, 03, vae); without it, all are measured. Each claim gets a mean with its
    95 % interval and one of three verdicts: reproduced, direction only, not reproduced. The exit code is 1 only if an
    experiment failed.

    \b
    Examples:
      dgmlab claims --list
      dgmlab claims 03 --seeds 10 --json vae.json
    """
    from .experiments import measuring
    from .experiments.claims import RECORDS, all_claims

    known = all_claims()
    wanted = choose_claims(known, ids)
    if listed:
        for claim in wanted:
            click.echo(f"{claim.id}\n{textwrap.indent(textwrap.fill(f'{claim.says} ({claim.source})', 96), '    ')}")
        return
    if out and not out.absolute().parent.is_dir():
        raise click.UsageError(f"There is no folder {out.absolute().parent} to write {out.name} to; make it first.")
    if save:                                            # before minutes of work, not after
        if not (RECORDS.parents[1] / "pyproject.toml").is_file():
            raise click.UsageError("Results are recorded in a clone of the repository, and this package was installed "
                                   "without one; use --json FILE.")
        whole = {claim.lab for claim in wanted}
        if seeds < measuring.SEEDS or wanted != [claim for claim in known if claim.lab in whole]:
            raise click.UsageError(f"A record holds all claims of a lab, each with at least {measuring.SEEDS} seeds; "
                                   "name labs, not claims, with --save, and give no fewer seeds.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))         # so that the workers end as well, as with Ctrl-C
    began = time.monotonic()
    measured = measuring.measure(wanted, seeds, jobs)
    click.echo(f"{measuring.listing(measured)} {time.monotonic() - began:.0f} s.")
    if out:
        measuring.write_json(out, measured)
    refused = measuring.save(measured, known) if save else []
    for sentence in refused:
        click.echo(f"dgmlab: {sentence}", err=True)
    sys.exit(1 if refused or not all(each.verdict for each in measured) else 0)


def choose_claims(known: list, ids: tuple[str, ...]) -> list:
    """The claims that ``ids`` name, by their own ids or by the number or name of a lab; all without any."""
    from . import notebooks

    wanted = set()
    for each in ids:
        if each in {claim.id for claim in known}:
            wanted.add(each)
            continue
        try:
            number = each.zfill(2) if each.isdigit() else notebooks.find(each).stem[:2]
        except LabError:
            number = None
        own = {claim.id for claim in known if claim.lab == number}
        if not own:
            raise LabError(f"There is no claim, and no lab with claims, called {each!r}; the claims are: "
                           f"{', '.join(claim.id for claim in known) or 'none yet'}.")
        wanted |= own
    return [claim for claim in known if not ids or claim.id in wanted]


# -- look after this machine -----------------------------------------------------------------------------------------

@main.command()
def doctor():
    """Say what would not work here, and why.

    It lists the versions, the device and the number of threads chosen, fonts, folders, disk and browser. The exit code
    is 1 if something fails that every lab needs.
    """
    from .doctor import findings

    troubles, essential = [], False
    for finding in findings():
        click.echo(f"{'!' if finding.trouble else ' '} {finding.about:<14} {finding.text}")
        essential = essential or finding.essential
        if finding.trouble:
            troubles.append(finding.trouble)
    click.echo()
    click.echo("\n".join(troubles) or "Everything needed is here.")
    sys.exit(1 if essential else 0)


@main.group(cls=Commands)
def data():
    """List, download and check the data sets.

    Generated data need no network. Published data are downloaded once, into the data folder.
    """


@data.command("list")
def data_list():
    """List the data sets, and which of them are on this machine."""
    from .data import catalogue, folder

    for record in catalogue():
        size = f"{max(1, record.size / 1e6):,.0f} MB" if record.size else "-"
        click.echo(f"{record.name:<11} {record.state:<15} {size:>7}  {record.what}")
    click.echo(f"\nThe data folder is {folder()}.")


@data.command("fetch")
@click.argument("name")
def data_fetch(name):
    """Bring the data set NAME onto this machine; what is there already is kept."""
    from .data import fetch

    record = fetch(name)
    click.echo(f"{record.name} is {record.state}; licence: {record.licence}.")


@data.command("verify")
@click.argument("name", required=False)
def data_verify(name):
    """Compare the files of NAME, or of every data set on this machine, with their checksums."""
    from .data import verify

    findings = verify(name)
    for finding in findings:
        click.echo(finding.sentence)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)


# -- for authors -----------------------------------------------------------------------------------------------------

@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("--check", is_flag=True, help="Run nothing; say which saved outputs are stale or not clean.")
def outputs(labs, check):
    """Make the notebooks' saved outputs anew, by a fresh run.

    Without LAB, all of them. A notebook is written only after its whole run went well. The exit code is 1 if outputs
    carry a warning, a path of this machine, or anything else that should not be published.
    """
    from . import notebooks

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
    from . import notebooks

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
