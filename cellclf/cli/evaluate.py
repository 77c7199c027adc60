"""``cellclf evaluate``: the scores of a run on a set."""

from __future__ import annotations

import json

import click

import cellclf
from cellclf.cli.job_sources import load_sources
from cellclf.cli.options import min_count_option
from cellclf.cli.output import import_keras
from cellclf.cli.sources import Source, source_options


@click.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("sources", metavar="[NAME=]SRC...", nargs=-1, required=True)
@source_options
@min_count_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(run_folder: str, sources: tuple[str, ...], source: Source, min_count: int | None, as_json: bool) -> None:
    """Score the run in the folder RUN on SRC.

    Several SRC are scored together, and each by itself.
    """
    from cellclf.data.cuts import whole

    import_keras()
    found = cellclf.load_run(run_folder)
    cells = whole(load_sources(sources, source.of_run(found))[0])
    report = found.evaluate(cells, min_count=min_count)
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else report)
