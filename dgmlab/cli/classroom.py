"""Commands for an instructor: `slides`, `handout`, `grade`, `rehearse`."""

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
    """Turn labs into slides that need no network.

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


@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("-o", "--out", type=click.Path(path_type=Path), metavar="DIR", required=True,
              help="The folder to write to: a new or an empty one.")
@click.option("--solutions", is_flag=True, help="Copies with the solutions filled in, in which every check passes.")
@click.option("--instructor", is_flag=True, help="Notes: times, exercises with solutions, typical mistakes, evidence.")
@click.option("--portable", is_flag=True, help="Copies that run where dgmlab is not installed (Colab, Kaggle); the "
                                               "package travels beside them as dgmlab.zip.")
def handout(labs, out, solutions, instructor, portable):
    """Make copies of labs for students, without solutions.

    LAB is a number (3, 03) or a name (vae, 03_vae); without it, all labs. Outputs that come after a "Predict" are
    cleared; they come back when the cells are run. The cells of the exercises carry nbgrader's metadata.

    \b
    Examples:
      dgmlab handout -o course
      dgmlab handout 03 04 --portable -o week-2
      dgmlab handout --instructor -o notes
    """
    from .. import notebooks
    from ..classroom.handout import write

    if solutions and instructor:
        raise click.UsageError("--solutions and --instructor make different things; call the command once for each.")
    if instructor and portable:
        raise click.UsageError("--instructor makes notes, which need no --portable; leave one of the two out.")
    paths = sorted({notebooks.find(lab) for lab in labs}) or notebooks.labs()
    kind = "solutions" if solutions else "instructor" if instructor else "student"
    for path in write(paths, out, kind=kind, carried=portable):
        click.echo(f"{path} ({path.stat().st_size / 1e3:,.0f} kB)")


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("-o", "--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              default=Path("grades.csv"),
              help="The table; what it holds already is not judged again.  [default: ./grades.csv]")
@click.option("--points", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="A second table, of one row a student: points per lab and in total.")
@click.option("--jobs", type=click.IntRange(min=1), help="How many at a time.  [default: one a core]")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS", default=120, show_default=True,
              help="The longest that an exercise may take.")
@click.option("--memory", type=click.FloatRange(min=512), metavar="MB", default=4096, show_default=True,
              help="What a submission may take, the lab's own data and packages included.")
@click.option("--scale", type=click.Choice(["smoke", "lab"]), default="lab", show_default=True,
              help="At which the labs are run; answers that are numbers were found at the students' scale.")
@click.option("--again", is_flag=True, help="Judge anew what the table holds already.")
def grade(folder, out, points, jobs, timeout, memory, scale, again):
    """Judge submitted notebooks into one table.

    DIR holds a folder a student (ada/03_vae.ipynb, ada/03_vae/03_vae.ipynb), or notebooks named STUDENT_LAB.ipynb. Only
    the answers are taken from them, the code between an exercise's text and its check; the lab and its checks are the
    repository's own. Each submission runs in a process of its own with limits; the network, and this user's files, are
    not kept from it (see labs/README.md).

    The table has one row a student and exercise. An exercise that is right is one point.

    The exit code is 1 if something was left out, and a line names it: a folder without a notebook, a notebook that does
    not tell whose it is or which lab it is of, the older one of two, or one that cannot be judged, such as half a file
    (it is in the table, without points).
    """
    import os
    import sys

    from tqdm import tqdm

    from ..classroom.grading import Limits, check_points, summary, write_points
    from ..classroom.grading import grade as judge_all

    for each in filter(None, (out, points)):
        if not each.absolute().parent.is_dir():
            raise click.UsageError(f"There is no folder {each.absolute().parent} to write {each.name} to; make it "
                                   "first.")
    if points:
        if points.absolute() == out.absolute():
            raise click.UsageError("-o and --points name the same file; they are two tables.")
        check_points(points)
    rows, left_out = judge_all(folder, out, scale=scale, jobs=jobs or os.cpu_count() or 1, again=again,
                               limits=Limits(timeout, memory),
                               progress=lambda total: tqdm(total=total, desc="judged", unit="notebook"))
    for sentence in left_out:
        click.echo(f"dgmlab: {sentence}", err=True)
    if points:
        write_points(points, rows)
    click.echo(f"{out}: {summary(rows)}")
    sys.exit(1 if left_out else 0)


@main.command()
@click.argument("labs", nargs=-1, metavar="[LAB]...")
@click.option("--scale", type=click.Choice(["smoke", "lab"]), multiple=True, help="At which; may be repeated.  "
                                                                                 "[default: smoke and lab]")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="How many mistakes at a time.")
def rehearse(labs, scale, jobs):
    """Time labs and judge typical mistakes, for the notes.

    LAB is a number (3, 03) or a name (vae, 03_vae); without it, all labs. What is found is recorded in data/teaching,
    which `dgmlab handout --instructor` reads. The solutions have to pass, and every mistake has to get its hint.
    """
    from .. import notebooks
    from ..classroom import rehearsal

    if not (rehearsal.RECORDS.parents[1] / "pyproject.toml").is_file():
        raise click.UsageError("Results are recorded in a clone of the repository, and this package was installed "
                               "without one; clone it and run `dgmlab` inside the clone.")
    for path in [notebooks.find(lab) for lab in labs] or notebooks.labs():
        for each in scale or ("smoke", "lab"):
            found = rehearsal.rehearse(path, each, jobs)
            rehearsal.save(path, {each: found})
            told = sum(len(exercise["hints"]) for exercise in found["exercises"].values())
            click.echo(f"{path.stem} at {each}: {found['cpu']:.0f} s of one core, {told} mistakes got a hint")
