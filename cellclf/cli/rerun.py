"""``cellclf rerun``: a finished run once more."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.output import import_keras
from cellclf.cli.sources import Source, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the repetition; without it nothing is kept.")
@click.option("--src", help="The images, if they are no longer where the run had them.")
@click.option("--home", metavar="SRC", help="The same for images that were mixed in (`cellclf run NEW OLD --start`).")
@click.option("--start", metavar="RUN", help="The run that it continued, if that is no longer where it was.")
@source_options
def rerun(
    run_folder: str, out: Path | None, src: str | None, home: str | None, start: str | None, source: Source
) -> None:
    """Repeat the run in RUN and compare; exit code 3 if it differs."""
    import_keras()
    if home is not None and src is None:
        raise click.UsageError("--home SRC is given without --src SRC; expected both, or none")
    cells: Any = None if src is None else source.load(src)
    if home is not None:
        cells = cells, replace(source, part=None).load(home)
    found = cellclf.rerun(run_folder, cells=cells, start=start, out=out)
    click.echo(found)
    if not found.matches:
        sys.exit(ExitCode.FINDING)
