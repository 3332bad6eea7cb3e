"""The command line: `dgmlab COMMAND`.

Here are the outermost group and what becomes of an error; the commands stand in one module a section. Each command
imports what it needs when it is called, so that `dgmlab --help` answers at once. Whatever goes wrong is
said in one sentence on stderr with a non-zero exit code; DGMLAB_TRACEBACK=1 shows where it happened.
"""

from __future__ import annotations

import os
import sys

import click

from .. import __version__
from ..errors import LabError

SECTIONS = {
    "Work with the labs": ["lab", "run", "claims"],
    "Teach": ["slides", "handout", "grade"],
    "Sessions and panels": ["replay", "play", "dashboard"],
    "Run it many times": ["sweep"],
    "Look after this machine": ["doctor", "data"],
    "For authors": ["outputs", "rehearse", "test"],
}


class Commands(click.Group):
    """A group of commands that lists the known ones when it is given another."""

    def resolve_command(self, ctx, args):
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            known = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"There is no command {args[0]!r}; the commands are: {known}.")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx):
        return list(self.commands)                      # in the order in which they were put in, not of the alphabet


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

    def list_commands(self, ctx):
        return [name for names in SECTIONS.values() for name in names]

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


from . import authors, batch, classroom, labs, machine, sessions  # noqa: E402, F401 - for their commands
