"""Commands that look after this machine: `doctor`, `data`."""

from __future__ import annotations

import sys

import click

from . import Commands, main


@main.command()
def doctor():
    """Say what would not work here, and why.

    It lists the versions, the device and the number of threads chosen, fonts, folders, disk and browser. The exit code
    is 1 if something fails that every lab needs.
    """
    from ..doctor import findings

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
    from ..data import catalogue, folder

    for record in catalogue():
        size = f"{max(1, record.size / 1e6):,.0f} MB" if record.size else "-"
        click.echo(f"{record.name:<11} {record.state:<15} {size:>7}  {record.what}")
    click.echo(f"\nThe data folder is {folder()}.")


@data.command("fetch")
@click.argument("name")
def data_fetch(name):
    """Bring the data set NAME onto this machine; what is there already is kept."""
    from ..data import fetch

    record = fetch(name)
    click.echo(f"{record.name} is {record.state}; licence: {record.licence}.")


@data.command("verify")
@click.argument("name", required=False)
def data_verify(name):
    """Compare the files of NAME, or of every data set on this machine, with their checksums."""
    from ..data import verify

    findings = verify(name)
    for finding in findings:
        click.echo(finding.sentence)
    sys.exit(0 if all(finding.ok for finding in findings) else 1)
