"""The command line: words in, an object called, its answer printed. Everything slow is imported when it is used."""

from __future__ import annotations

import csv
import functools
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.errors import CellclfError

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet

FAILED_CHECK = 3


class _Group(click.Group):
    """Commands in the order in which they are written; expected errors become one line and exit code 1."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CellclfError as error:
            click.echo(f"cellclf: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("\ncellclf: stopped; nothing is half-written, and the same command goes on with a run", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cellclf.__version__, prog_name="cellclf")
def main() -> None:
    """From a messy set of single-cell pictures to a classifier that works on next month's slides.

    SRC is an .npz (images, labels), a folder with one folder for each class, a .csv of path,label[,group], or a
    quoted pattern such as 'cells/*.png'. Start with `cellclf demo`, then `cellclf inspect SRC`.
    """


@dataclass(frozen=True)
class _Source:
    """How pictures are read: the options that every command with a SRC has."""

    part: str | None
    class_names: str | None
    size: tuple[int, int] | None

    def load(self, src: str, *, size: tuple[int, int] | None = None) -> ImageSet:
        names = None if self.class_names is None else [name.strip() for name in self.class_names.split(",")]
        cells: ImageSet = cellclf.load(src, part=self.part, class_names=names, size=self.size or size)
        return cells

    def load_telling(self, src: str, *, size: tuple[int, int] | None = None) -> ImageSet:
        """Load, and tell on stderr what was converted or skipped."""
        cells = self.load(src, size=size)
        for notice in cells.notices:
            click.echo(f"{src}: {notice}", err=True)
        for skipped in cells.skipped[:5]:
            click.echo(f"{src}: skipped {skipped.id}: {skipped.reason}", err=True)
        if len(cells.skipped) > 5:
            click.echo(f"{src}: and {len(cells.skipped) - 5} more skipped; `cellclf inspect` lists them", err=True)
        return cells


def _source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    @click.option("--size", nargs=2, type=int, metavar="H W", help="Resize files to this height and width.")
    @click.option("--class-names", metavar="A,B,...", help="Names of the classes in label order.")
    @click.option("--part", help="Part of an .npz that holds several: train reads train_images.")
    @functools.wraps(command)
    def with_source(
        *args: Any, part: str | None, class_names: str | None, size: tuple[int, int] | None, **options: Any
    ) -> Any:
        return command(*args, source=_Source(part, class_names, size or None), **options)

    return with_source


def _recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    @click.option("--recipe", default="fast", show_default=True, help="report, fast, demo, or a .toml file.")
    @click.option("--backbone", help="Network to use instead of the recipe's; `cellclf backbones` lists them.")
    @click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Of the backbone: alpha=0.75.")
    @click.option("--weights", metavar="NAME|FILE", help="Of the backbone: imagenet, a file, or none.")
    @click.option("--seed", type=int, help="Of everything that is drawn.")
    @click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: split.val=0.1.")
    @functools.wraps(command)
    def with_recipe(
        *args: Any,
        recipe: str,
        backbone: str | None,
        params: tuple[str, ...],
        weights: str | None,
        seed: int | None,
        changes: tuple[str, ...],
        **options: Any,
    ) -> Any:
        from cellclf.recipe import read_recipe

        settings = []
        if backbone is not None:
            used = read_recipe(recipe).get("trainer", {}).get("backbone", {})
            if (used if isinstance(used, str) else used.get("name")) != backbone:
                settings.append(f"trainer.backbone={{ name = {json.dumps(backbone)} }}")
        settings += [f"trainer.backbone.params.{param}" for param in params]
        settings += [] if weights is None else [f"trainer.backbone.weights={json.dumps(weights)}"]
        settings += [] if seed is None else [f"seed={seed}"]
        return command(*args, recipe=read_recipe(recipe, [*settings, *changes]), **options)

    return with_recipe


def _tests(tests: tuple[str, ...], source: _Source) -> dict[str, ImageSet]:
    found = {}
    for test in tests:
        name, sign, src = test.partition("=")
        if not sign:
            name, src = Path(test).name, test
        found[name] = _Source(None, None, source.size).load_telling(src)
    return found


def _print_outcome(outcome: Any) -> None:
    lead = next((n for n in ("test", *outcome.reports) if n in outcome.reports and n not in ("train", "val")), "val")
    click.echo(f"{lead}: {outcome.reports[lead]}")
    for name, report in outcome.reports.items():
        click.echo(f"{name:<12} macro F1 {report.macro_f1:.4f}  accuracy {report.accuracy:.4f}  n {report.n}")
    click.echo(f"report: {outcome.page}")


@main.command()
@click.argument("src")
@_recipe_options
@_source_options
@click.option("--test", "tests", multiple=True, metavar="[NAME=]SRC", help="A further set that is only reported on.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the run; the same command goes on after a stop."
)
@click.option("--check", is_flag=True, help="Only look for mistakes; exit code 3 if there are any.")
def run(
    src: str,
    recipe: dict[str, Any],
    source: _Source,
    tests: tuple[str, ...],
    out: Path | None,
    check: bool,
) -> None:
    """Do the whole job on SRC: clean, split, train, evaluate, report.

    \b
    cellclf run training_set.npz --recipe fast --out runs/a
    cellclf run cells/ --test hospital_b=other_cells/ --out runs/b
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    pipe = cellclf.Pipeline.from_recipe(recipe)
    cells = source.load_telling(src)
    if check:
        try:
            pipe.check(cells)
        except CellclfError as error:
            click.echo(f"cellclf: {error}", err=True)
            sys.exit(FAILED_CHECK)
        click.echo("no mistake found")
        return
    if out is None:
        raise click.UsageError("wanted --out FOLDER, where the run and its report go")
    _print_outcome(pipe.run(cells, out=out, tests=_tests(tests, source), show=True, command=_command()))


def _command() -> str:
    return shlex.join(["cellclf", *sys.argv[1:]])


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("cellclf-demo"), show_default=True)
@click.option("-n", "count", default=1200, show_default=True, help="How many cells to generate.")
@click.option("--seed", default=7, show_default=True)
def demo(out: Path, count: int, seed: int) -> None:
    """Do the whole job on generated cells; needs no data and no network."""
    click.echo(f"drawing {count:,} cells, with duplicates and foreign pictures among them", err=True)
    few = max(1, count // 100)
    planted: dict[str, Any] = {
        "duplicates": 2 * few,
        "conflicts": few,
        "near_duplicates": 2 * few,
        "foreign": few,
        "foreign_copies": few,
    }
    cells = cellclf.make_cells(count, size=64, seed=seed, slides=max(5, count // 60), **planted)
    held_out = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1)
    elsewhere = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1, shift=0.6)
    pipe = cellclf.Pipeline.from_recipe("demo", [f"seed={seed}"])
    tests = {"test": held_out, "other laboratory": elsewhere}
    _print_outcome(pipe.run(cells, out=out, tests=tests, show=True, command=_command()))


@main.command()
@click.argument("src")
@_source_options
@click.option("--plot", type=click.Path(path_type=Path), help="Write a sheet of pictures of each class, PNG or SVG.")
def inspect(src: str, source: _Source, plot: Path | None) -> None:
    """Tell what SRC holds: counts, sizes, class balance, skipped files."""
    cells = source.load(src)
    click.echo(cells.summary())
    if plot is not None:
        cells.plot().savefig(plot)
        click.echo(f"sheet: {plot}")


@main.command()
@click.argument("src")
@_source_options
@click.option(
    "--method",
    default="dct",
    show_default=True,
    help="content, dct (also re-encoded and turned), phash, dhash, ahash, whash.",
)
@click.option("--distance", type=int, help="Most bits in which the hashes of two copies differ.")
@click.option("--max-copies", default=10, show_default=True, help="A larger group is no cell and goes whole.")
@click.option(
    "--keep",
    default="first",
    show_default=True,
    type=click.Choice(("first", "sharpest", "largest")),
    help="Which copy stays.",
)
@click.option("--foreground", is_flag=True, help="Find the same cell on another background, too; needs centred cells.")
@click.option("--background", is_flag=True, help="Find a foreign background that many cells share, too.")
@click.option("--plot", type=click.Path(path_type=Path), help="Write a picture of the groups, PNG or SVG.")
@click.option("--pairs", type=click.Path(path_type=Path), help="Write a CSV of the pairs.")
@click.option(
    "--apply", "out", type=click.Path(path_type=Path), help="Write the cleaned set as .npz, or the ids as .csv."
)
def dedup(
    src: str,
    source: _Source,
    method: Any,
    distance: int | None,
    max_copies: int,
    keep: Any,
    foreground: bool,
    background: bool,
    plot: Path | None,
    pairs: Path | None,
    out: Path | None,
) -> None:
    """Find duplicates and contamination in SRC; nothing is changed or deleted."""
    found = cellclf.Dedup(
        method=method,
        distance=distance,
        max_copies=max_copies,
        keep=keep,
        foreground=foreground,
        background=background,
    ).find(source.load_telling(src))
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")
    _selected(found, plot, out)


@main.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("test_src", metavar="TEST")
@_source_options
@click.option("--pairs", type=click.Path(path_type=Path), help="Write a CSV of the pairs.")
def leaks(train_src: str, test_src: str, source: _Source, pairs: Path | None) -> None:
    """Find pictures of TRAIN that are in TEST, too, however they were changed."""
    train, test = (source.load_telling(src) for src in (train_src, test_src))
    found = cellclf.Dedup().find(train, against=test)
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")


@main.command()
@click.argument("src")
@_source_options
@click.option("--fit", "fit_src", metavar="SRC", help="Learn what is normal from this set instead of SRC itself.")
@click.option("--method", default="forest", show_default=True, help="forest, mahalanobis or neighbours.")
@click.option("--seed", default=0, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), help="Write a picture of the oddest, PNG or SVG.")
@click.option(
    "--apply", "out", type=click.Path(path_type=Path), help="Write the cleaned set as .npz, or the ids as .csv."
)
def outliers(
    src: str, source: _Source, fit_src: str | None, method: str, seed: int, plot: Path | None, out: Path | None
) -> None:
    """Find pictures in SRC that are no cells; nothing is changed or deleted. Run `dedup` first."""
    cells = source.load_telling(src)
    normal = cells if fit_src is None else source.load_telling(fit_src)
    found = cellclf.OutlierFilter(method=method, seed=seed).fit(normal).find(cells)
    click.echo(found.summary())
    _selected(found, plot, out)


def _selected(found: Selection, plot: Path | None, out: Path | None) -> None:
    """Write what was asked for of a selection."""
    if plot is not None:
        found.plot().savefig(plot)
        click.echo(f"picture: {plot}")
    if out is None:
        return
    if found.cells is not None and out.suffix == ".npz":
        found.apply(found.cells).save(out)
    elif out.suffix == ".csv":
        from cellclf.files import replacing

        rows = zip(found.ids.tolist(), found.keep.tolist(), found.reasons.tolist(), strict=True)
        with replacing(out) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "keep", "reason"), *rows])
    else:
        raise click.UsageError(f"--apply {out}; wanted a name that ends in .npz or .csv")
    click.echo(f"kept {len(found) - found.dropped:,}: {out}")


@main.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("val_src", metavar="VAL")
@_recipe_options
@_source_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the run.")
def train(
    train_src: str,
    val_src: str,
    recipe: dict[str, Any],
    source: _Source,
    out: Path,
) -> None:
    """Train on TRAIN and choose on VAL, with the trainer of a recipe and no cleaning or splitting."""
    pipe = cellclf.Pipeline.from_recipe(recipe)
    first, second = (source.load_telling(src) for src in (train_src, val_src))
    found = pipe.trainer.fit(first, second, out=out, show=True)
    click.echo(found.evaluate(second))
    click.echo(f"run: {out}")


@main.command()
@click.argument("src")
@click.argument("backbones", nargs=-1, required=True)
@click.option("--recipe", default="fast", show_default=True, help="The job that all do: a name or a .toml file.")
@click.option("--weights", "files", multiple=True, metavar="NAME=FILE", help="Weights of one of the backbones.")
@click.option("--epochs", type=int, help="At most this many epochs in each stage, for a first look.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: split.val=0.1.")
@click.option("--test", "tests", multiple=True, metavar="[NAME=]SRC", help="A further set that is only reported on.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs and the table.")
@_source_options
def compare(
    src: str,
    backbones: tuple[str, ...],
    source: _Source,
    recipe: str,
    files: tuple[str, ...],
    epochs: int | None,
    changes: tuple[str, ...],
    tests: tuple[str, ...],
    out: Path,
) -> None:
    """Train several BACKBONES on one split of SRC and print them side by side.

    \b
    cellclf compare cells/ mobilenet sequential residual inception --epochs 3 --out runs/compared
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    from cellclf.comparison import compare as train_all
    from cellclf.recipe import read_recipe

    table = read_recipe(recipe, changes)
    for stage in table.get("trainer", {}).get("stages", []):
        stage["epochs"] = min(epochs or stage["epochs"], stage["epochs"])
        if stage.get("warmup", 0) >= stage["epochs"]:
            stage["warmup"] = 0
    weights = dict(file.split("=", 1) for file in files if "=" in file)
    if len(weights) < len(files) or not set(weights) <= set(backbones):
        raise click.UsageError(f"--weights {' '.join(files)}; wanted NAME=FILE for one of {', '.join(backbones)}")
    tables = [{"name": name} | ({"weights": weights[name]} if name in weights else {}) for name in backbones]
    cells = source.load_telling(src)
    found = train_all(cells, tables, recipe=table, out=out, tests=_tests(tests, source), show=True)
    click.echo(found)
    for name in ("compare.html", "compare.md"):
        click.echo(f"table: {found.write(out / name)}")


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@_source_options
@click.option("--min-count", default=1, show_default=True, help="Leave classes with fewer pictures out of averages.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(
    run_folder: str,
    src: str,
    source: _Source,
    min_count: int,
    as_json: bool,
) -> None:
    """Score the run in the folder RUN on SRC."""
    found = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=found.input_shape[:2])
    report = found.evaluate(cells, min_count=min_count, show=sys.stderr.isatty())
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else report)


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@_source_options
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; without it the rows are printed.")
def predict(run_folder: str, src: str, source: _Source, out: Path | None) -> None:
    """Name the class of each picture of SRC: CSV of id, class and the probability of each class."""
    found = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=found.input_shape[:2])
    text = found.predict_table(cells, show=sys.stderr.isatty())
    if out is None:
        click.echo(text, nl=False)
        return
    from cellclf.files import replacing

    with replacing(out) as new:
        new.write_text(text, encoding="utf-8")
    click.echo(f"{len(cells):,} predictions: {out}")


@main.command()
def backbones() -> None:
    """List the networks that can be used."""
    from cellclf.backbones.registry import list_backbones

    for entry in list_backbones():
        spec = entry.spec
        weights = ", ".join(spec.published) or "none published"
        click.echo(f"{entry.name}\n    {spec.summary}\n    smallest picture {spec.min_size} px; weights: {weights}")
        click.echo(f"    blocks: {', '.join(spec.blocks)}")
        if spec.params:
            click.echo(f"    parameters: {json.dumps(dict(spec.params))}")


@main.command()
def plugins() -> None:
    """List the plugins that are installed, what each adds, and what is wrong with it."""
    from cellclf.backbones.registry import list_plugins

    found = list_plugins()
    if not found:
        click.echo("no plugin is installed")
    for plugin in found:
        click.echo(f"{plugin.name}  ({plugin.package} {plugin.version})")
        for name in plugin.adds:
            click.echo(f"    adds {name}")
        if plugin.error:
            click.echo(f"    error: {plugin.error}")
