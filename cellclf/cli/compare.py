"""``cellclf compare``: several networks, or finished runs, side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

import cellclf
from cellclf.cli.job_sources import load_sources, load_tests
from cellclf.cli.options import by_option, test_option
from cellclf.cli.output import import_keras
from cellclf.cli.recipe_choice import change_option
from cellclf.cli.sources import Source, source_options
from cellclf.utils.atomic import check_writable

if TYPE_CHECKING:
    from cellclf.reporting.compare import Comparison


@click.command()
@click.argument("src")
@click.argument("candidates", metavar="BACKBONES|RUNS...", nargs=-1, required=True)
@click.option("--recipe", default="fast", show_default=True, help="The job that all do: a name or a .toml file.")
@click.option("--weights", "files", multiple=True, metavar="NAME=FILE", help="Weights of one of the backbones.")
@click.option("--epochs", type=int, help="At most this many epochs in each stage, for a first look.")
@change_option
@test_option
@by_option
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the runs and the table.")
@source_options
def compare(
    src: str,
    candidates: tuple[str, ...],
    source: Source,
    recipe: str,
    files: tuple[str, ...],
    epochs: int | None,
    changes: tuple[str, ...],
    tests: tuple[str, ...],
    by: Literal["domain"] | None,
    out: Path | None,
) -> None:
    """Compare several BACKBONES or finished RUNS on SRC.

    BACKBONES are trained on one split of SRC. RUNS are folders of finished runs and are scored on SRC, which none of
    them should have been trained on. The best macro F1 is chosen, and all others are tested against it on the same
    images. With --by domain, BACKBONES are chosen by the laboratories that they have not seen.

    \b
    cellclf compare cells/ mobilenet sequential residual inception --epochs 3 --out runs/compared
    cellclf compare test_set.npz runs/a runs/b
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    from cellclf.data.cuts import whole
    from cellclf.pipeline import read_recipe
    from cellclf.runs.folder import MANIFEST

    folders = [name for name in candidates if (Path(name) / MANIFEST).is_file()]
    if folders and len(folders) < len(candidates):
        others = ", ".join(name for name in candidates if name not in folders)
        raise click.UsageError(f"{', '.join(folders)}: finished runs, {others}: not; expected all of one kind")
    if folders and (files or epochs or changes or tests or by):
        raise click.UsageError(
            "--weights, --epochs, --set, --test and --by are for backbones; finished runs are only scored"
        )
    if out is not None:
        check_writable(out / "compare.html")
    if folders:
        import_keras()
        _print_comparison(
            cellclf.compare_runs(folders, lambda size: source.load(src, size=size), name=Path(src).name), out
        )
        return
    if out is None:
        raise click.UsageError("expected --out FOLDER for the runs and their table")
    table = read_recipe(recipe, changes)
    for stage in table.get("trainer", {}).get("stages", []):
        stage["epochs"] = min(epochs or stage["epochs"], stage["epochs"])
        if stage.get("warmup", 0) >= stage["epochs"]:
            stage["warmup"] = 0
    weights = dict(file.split("=", 1) for file in files if "=" in file)
    if len(weights) < len(files) or not set(weights) <= set(candidates):
        raise click.UsageError(f"--weights {' '.join(files)}; expected NAME=FILE for one of {', '.join(candidates)}")
    tables = [{"name": name} | ({"weights": weights[name]} if name in weights else {}) for name in candidates]
    cells, record = load_sources((src,), source, cut="given")
    import_keras()
    further = load_tests(tests, source, whole(cells), record)
    found = cellclf.compare(cells, tables, recipe=table, out=out, tests=further, by=by)
    _print_comparison(found, out)


def _print_comparison(found: Comparison, out: Path | None) -> None:
    click.echo(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("compare.html", "compare.md", "compare.json"):
            click.echo(f"table: {found.write(out / name)}")
