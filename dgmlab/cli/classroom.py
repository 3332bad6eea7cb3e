"""Commands for an instructor: `slides`."""

from __future__ import annotations

from pathlib import Path

import click

from . import main


@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="DIR", default=Path("."),
              help="The folder to write to; it is made if need be.  [default: here]")
@click.option("--pdf", is_flag=True, help="Print each deck into a PDF as well, with the Chromium of this machine.")
@click.option("--execute", is_flag=True, help="Run each lab first and show what this run gave; the lab keeps its own.")
@click.option("--hide-code/--show-code", "hide", default=None,
              help="No code at all, or all of it.  [default: code that computes, not code that draws]")
def slides(labs, out, pdf, execute, hide):
    """Turn labs into slides: one file each, which opens without a network.

    LAB is a number (3, 03) or a name (vae, 03_vae); without it, all labs. NN_name.slides.html holds everything,
    pictures and formulas included; open it in a browser. Keys: arrows and space to walk, S for the speaker's notes, Esc
    for an overview, F for the full screen, ? for the others.

    The first use brings reveal.js and MathJax from the package index (13 MB); later ones need no network.

    \b
    Examples:
      dgmlab slides 03
      dgmlab slides -o lecture --pdf --hide-code
    """
    from .. import notebooks
    from ..classroom.slides import deck, print_pdf
    from ..doctor import chromium

    paths = [notebooks.find(lab) for lab in labs] or notebooks.labs()
    browser = chromium() if pdf else None
    if pdf and not browser:                             # before minutes of work, not after
        raise click.UsageError("--pdf prints with Chromium, and there is none here; install it, or set DGMLAB_CHROMIUM "
                               "to its path.")
    code = {None: "computing", True: "none", False: "all"}[hide]
    for path in paths:
        made = deck(path, out, code=code, execute=execute)
        click.echo(f"{path.stem}: {made} ({made.stat().st_size / 1e6:.1f} MB)")
        if pdf:
            printed = print_pdf(made, browser)
            click.echo(f"{path.stem}: {printed} ({printed.stat().st_size / 1e6:.1f} MB)")
