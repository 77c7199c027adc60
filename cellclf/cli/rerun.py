"""``cellclf rerun``: a finished run once more."""

from __future__ import annotations

import sys
from pathlib import Path

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.options import Source, source_options
from cellclf.cli.output import import_keras


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the repetition; without it nothing is kept.")
@click.option("--src", help="The images, if they are no longer where the run had them.")
@source_options
def rerun(run_folder: str, out: Path | None, src: str | None, source: Source) -> None:
    """Repeat the run in RUN and compare; exit code 3 if it differs."""
    import_keras()
    cells = None if src is None else source.load(src)
    found = cellclf.rerun(run_folder, cells=cells, out=out)
    click.echo(found)
    if not found.matches:
        sys.exit(ExitCode.FINDING)
