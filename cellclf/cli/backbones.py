"""``cellclf backbones``: the networks that can be used, and how fast they are here."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellclf.cli.options import OutFile
from cellclf.cli.output import note

if TYPE_CHECKING:
    from cellclf.backbones.registry import Listed


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--measure", is_flag=True, help="Time training and prediction on this machine, some seconds a network and size."
)
@click.option("--size", "sizes", type=click.IntRange(1), multiple=True, help="Of --measure: 96, 128 and 224 px else.")
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True, help="Of --measure.")
@click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Of --measure: alpha=0.75.")
@click.option(
    "--seconds", type=click.FloatRange(0, 3600), default=1.0, show_default=True, help="Of --measure, for each figure."
)
@click.option("--out", type=OutFile(".json", ".md", ".txt"), help="Of --measure: file for the table.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def backbones(
    names: tuple[str, ...],
    measure: bool,
    sizes: tuple[int, ...],
    batch_size: int,
    params: tuple[str, ...],
    seconds: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """List the networks that can be used, or time them.

    \b
    cellclf backbones --measure
    cellclf backbones mobilenet --measure --param alpha=0.75 --size 96

    --measure trains all layers with random weights; nothing is downloaded. Other work on the machine slows it down.
    Ctrl-C ends it with the rows that are there.
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    from cellclf.backbones.registry import list_backbones, registry

    found = [registry().find(name) for name in names] or list(list_backbones())
    if measure:
        changes = {"params": _params(params), "batch_size": batch_size, "seconds": seconds}
        _measure([entry.name for entry in found], {"sizes": sizes} if sizes else {}, changes, out, as_json)
    elif sizes or params or out:
        raise click.UsageError("--size, --param and --out are of --measure; expected --measure with them")
    elif as_json:
        click.echo(json.dumps([_plain(entry) for entry in found], indent=1))
    else:
        for entry in found:
            _show(entry)


def _measure(names: list[str], sizes: dict[str, Any], options: dict[str, Any], out: Path | None, as_json: bool) -> None:
    from cellclf.backbones.measure import SIZES, Speed, Speeds, measure_backbones
    from cellclf.utils.progress import track

    rows: list[Speed] = []
    total = len(names) * len(sizes.get("sizes", SIZES))
    stopped = False
    with closing(measure_backbones(names, **sizes, **options)) as measured:
        try:
            for row in track(measured, total=total, label="measuring", unit="row"):
                rows.append(row)
        except KeyboardInterrupt:
            stopped = True
    speeds = Speeds(rows)
    if rows:
        click.echo(json.dumps(speeds.to_dict(), indent=1) if as_json else speeds)
    if rows and out is not None:
        note(f"written: {speeds.save(out)}")
    if stopped:
        raise KeyboardInterrupt(f"{len(rows)} of {total} rows were measured")


def _params(changes: tuple[str, ...]) -> dict[str, Any]:
    from cellclf.pipeline import read_recipe

    found: dict[str, Any] = read_recipe({"params": {}}, [f"params.{change}" for change in changes])["params"]
    return found


def _plain(entry: Listed) -> dict[str, Any]:
    spec = entry.spec
    return {
        "name": entry.name,
        "summary": spec.summary,
        "source": spec.source,
        "min_size": spec.min_size,
        "weights": list(spec.published),
        "blocks": list(spec.blocks),
        "params": dict(spec.params),
    }


def _show(entry: Listed) -> None:
    spec = entry.spec
    weights = ", ".join(spec.published) or "none published"
    click.echo(f"{entry.name}\n    {spec.summary}\n    smallest image {spec.min_size} px; weights: {weights}")
    click.echo(f"    blocks: {', '.join(spec.blocks)}")
    if spec.params:
        click.echo(f"    parameters: {json.dumps(dict(spec.params))}")
