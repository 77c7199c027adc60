"""Commands that train the same thing several times: once more, and in folds."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cellclf.cli.options import FAILED_CHECK, Source, import_keras, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the repetition; without it nothing is kept.")
@click.option("--src", help="The pictures, if they are no more where the run had them.")
@source_options
def rerun(run_folder: str, out: Path | None, src: str | None, source: Source) -> None:
    """Repeat the run in the folder RUN and say whether the same comes out; exit code 3 if not."""
    import_keras()
    from cellclf.rerun import rerun as repeat

    cells = None if src is None else source.load_telling(src)
    found = repeat(run_folder, cells=cells, out=out, show=True)
    click.echo(found)
    if not found.matches:
        sys.exit(FAILED_CHECK)
