"""The command line: words in, an object called, its answer printed. Everything slow is imported when it is used."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.errors import CellclfError
from cellclf.options import (
    FAILED_CHECK,
    PAGE,
    PICTURE,
    TABLE,
    Group,
    OutFile,
    RecipeChoice,
    Source,
    import_keras,
    load_tests,
    recipe_options,
    save_figure,
    say,
    source_options,
)

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet
    from cellclf.pipeline import Outcome


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(cellclf.__version__, prog_name="cellclf")
def main() -> None:
    """From a messy set of single-cell pictures to a classifier that works on next month's slides.

    SRC is an .npz (images, labels), a folder with one folder for each class, a .csv of path,label[,group], or a
    quoted pattern such as 'cells/*.png'. Start with `cellclf demo`, then `cellclf inspect SRC`.
    """


@main.command()
@click.argument("src")
@recipe_options
@source_options
@click.option("--test", "tests", multiple=True, metavar="[NAME=]SRC", help="A further set that is only reported on.")
@click.option(
    "--min-count", default=1, show_default=True, help="Of --test sets: leave smaller classes out of averages."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder for the run; the same command goes on after a stop."
)
@click.option("--check", is_flag=True, help="Only look for mistakes; exit code 3 if there are any.")
def run(
    src: str,
    recipe: RecipeChoice,
    source: Source,
    tests: tuple[str, ...],
    min_count: int,
    out: Path | None,
    check: bool,
) -> None:
    """Do the whole job on SRC: clean, split, train, evaluate, report.

    \b
    cellclf run training_set.npz --recipe fast --out runs/a
    cellclf run cells/ --test hospital_b=other_cells/ --out runs/b
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    if out is None and not check:
        raise click.UsageError("wanted --out FOLDER, where the run and its report go")
    try:
        pipe = cellclf.Pipeline.from_recipe(recipe.read())
        cells = source.load_telling(src)
        others = load_tests(tests, source, cells)
        if check:
            pipe.check(cells, tests=others, out=out)
    except CellclfError as error:
        if not check:
            raise
        say(f"cellclf: {error}")
        sys.exit(FAILED_CHECK)
    if check:
        click.echo("no mistake found")
        return
    import_keras()
    _print_outcome(pipe.run(cells, out=out, tests=others, show=True, command=_command(), min_count=min_count))


def _print_outcome(outcome: Outcome) -> None:
    lead = next((n for n in ("test", *outcome.reports) if n in outcome.reports and n not in ("train", "val")), "val")
    click.echo(f"{lead}: {outcome.reports[lead]}\n")
    width = max(map(len, outcome.reports))
    for name, report in outcome.reports.items():
        scores = f"macro F1 {report.macro_f1:.4f}  accuracy {report.accuracy:.4f}"
        click.echo(f"{name:<{width}}  {scores}  {report.n:>7,} pictures")
    click.echo(f"report: {outcome.page}")


def _command() -> str:
    return shlex.join(["cellclf", *sys.argv[1:]])


@main.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("cellclf-demo"), show_default=True)
@click.option("-n", "count", type=click.IntRange(100), default=1200, show_default=True, help="Cells to generate.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the cells and of the training.")
def demo(out: Path, count: int, seed: int) -> None:
    """Do the whole job on generated cells; needs no data and no network."""
    few = count // 100
    pipe = cellclf.Pipeline.from_recipe("demo", [f"seed={seed}"])
    say(f"drawing {count:,} cells, with duplicates and foreign pictures among them")
    cells = cellclf.make_cells(
        count,
        size=64,
        seed=seed,
        slides=max(5, count // 60),
        duplicates=2 * few,
        conflicts=few,
        near_duplicates=2 * few,
        foreign=few,
        foreign_copies=few,
    )
    held_out = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1)
    elsewhere = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1, shift=0.6)
    tests = {"test": held_out, "other laboratory": elsewhere}
    import_keras()
    outcome = pipe.run(cells, out=out, tests=tests, show=True, command=_command())
    _print_planted(cells, set(outcome.prepared.after.ids.tolist()))
    _print_outcome(outcome)


def _print_planted(cells: ImageSet, stay: set[str]) -> None:
    """Compare what was planted among generated cells with what stayed of it."""
    from cellclf.data.generated import planted

    truth = planted(cells)
    conflicts = truth.pairs("relabelled")
    copies = truth.pairs(*({*truth.kinds.tolist()} - {"cell", "foreign", "relabelled"}))
    strays = [id_ for id_, kind in zip(truth.ids.tolist(), truth.kinds.tolist(), strict=True) if kind == "foreign"]
    touched = {id_ for pair in [*conflicts, *copies] for id_ in pair} | set(strays)
    alone = [id_ for id_ in truth.ids.tolist() if id_ not in touched]
    click.echo(
        f"planted: {sum(not stay.issuperset(pair) for pair in copies)} of {len(copies)} copies, "
        f"{sum(not stay & set(pair) for pair in conflicts)} of {len(conflicts)} cells under two labels and "
        f"{sum(id_ not in stay for id_ in strays)} of {len(strays)} foreign pictures were removed, "
        f"and {sum(id_ not in stay for id_ in alone)} of {len(alone):,} other cells with them"
    )


@main.command()
@click.argument("src")
@source_options
@click.option("--plot", type=PICTURE, help="Write a sheet of pictures of each class, PNG, SVG or PDF.")
def inspect(src: str, source: Source, plot: Path | None) -> None:
    """Tell what SRC holds: counts, sizes, class balance, skipped files."""
    cells = source.load(src)
    click.echo(cells.summary())
    if plot is not None:
        save_figure(cells.plot(), plot)


def _selection_options(command: Any) -> Any:
    for option in (
        click.option("--apply", type=OutFile(".npz", ".csv"), help="Write the cleaned set, or a CSV of what stays."),
        click.option("--gallery", type=PAGE, help="Write a page of everything that goes, to look through."),
        click.option("--plot", type=PICTURE, help="Write a picture of what goes, PNG, SVG or PDF."),
    ):
        command = option(command)
    return command


def _selected(found: Selection, plot: Path | None, gallery: Path | None, apply: Path | None) -> None:
    """Write what was asked for of a selection."""
    if plot is not None:
        save_figure(found.plot(), plot)
    if gallery is not None:
        from cellclf.reporting.gallery import write_gallery

        for page in write_gallery(found, gallery):
            click.echo(f"gallery: {page}")
    if apply is None:
        return
    if found.cells is not None and apply.suffix.lower() == ".npz":
        found.apply(found.cells).save(apply)
    else:
        from cellclf.files import replacing

        rows = zip(found.ids.tolist(), found.keep.tolist(), found.reasons.tolist(), strict=True)
        with replacing(apply) as new, new.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "keep", "reason"), *rows])
    click.echo(f"kept {len(found) - found.dropped:,}: {apply}")


@main.command()
@click.argument("src")
@source_options
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
@click.option("--offset", default=0, show_default=True, help="Pixels off the centre that --foreground allows, 0-3.")
@click.option("--background", is_flag=True, help="Find a foreign background that many cells share, too.")
@click.option("--pairs", type=TABLE, help="Write a table of the pairs, CSV or Parquet.")
@_selection_options
def dedup(
    src: str,
    source: Source,
    method: Any,
    distance: int | None,
    max_copies: int,
    keep: Any,
    foreground: bool,
    offset: int,
    background: bool,
    pairs: Path | None,
    **wanted: Path | None,
) -> None:
    """Find duplicates and contamination in SRC; nothing is changed or deleted."""
    found = cellclf.Dedup(
        method=method,
        distance=distance,
        max_copies=max_copies,
        keep=keep,
        foreground=foreground,
        offset=offset,
        background=background,
    ).find(source.load_telling(src))
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")
    _selected(found, **wanted)


@main.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("test_src", metavar="TEST")
@source_options
@click.option("--foreground", is_flag=True, help="Find the same cell on another background, too; needs centred cells.")
@click.option("--offset", default=0, show_default=True, help="Pixels off the centre that --foreground allows, 0-3.")
@click.option("--pairs", type=TABLE, help="Write a table of the pairs, CSV or Parquet.")
def leaks(train_src: str, test_src: str, source: Source, foreground: bool, offset: int, pairs: Path | None) -> None:
    """Find pictures of TRAIN that are in TEST, too, however they were changed."""
    train, test = (source.load_telling(src) for src in (train_src, test_src))
    found = cellclf.Dedup(foreground=foreground, offset=offset).find(train, against=test)
    click.echo(found.summary())
    if pairs is not None:
        click.echo(f"pairs: {found.save_pairs(pairs)}")


@main.command()
@click.argument("src")
@source_options
@click.option("--fit", "fit_src", metavar="SRC", help="Learn what is normal from this set instead of SRC itself.")
@click.option("--method", default="forest", show_default=True, help="forest, mahalanobis or neighbours.")
@click.option("--seed", default=0, show_default=True)
@_selection_options
def outliers(src: str, source: Source, fit_src: str | None, method: Any, seed: int, **wanted: Path | None) -> None:
    """Find pictures in SRC that are no cells; nothing is changed or deleted. Run `dedup` first."""
    cells = source.load_telling(src)
    normal = cells if fit_src is None else source.load_telling(fit_src, size=cells.image_shape[:2])
    found = cellclf.OutlierFilter(method=method, seed=seed).fit(normal).find(cells)
    click.echo(found.summary())
    _selected(found, **wanted)


@main.command()
@click.argument("train_src", metavar="TRAIN")
@click.argument("val_src", metavar="VAL")
@recipe_options
@source_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the run.")
def train(
    train_src: str,
    val_src: str,
    recipe: RecipeChoice,
    source: Source,
    out: Path,
) -> None:
    """Train on TRAIN and choose on VAL, with the trainer of a recipe and no cleaning or splitting."""
    pipe = cellclf.Pipeline.from_recipe(recipe.read())
    first = source.load_telling(train_src)
    second = source.load_telling(val_src, size=first.image_shape[:2])
    if first.labels is not None and second.labels is not None:
        second = second.align(first.class_names)
    import_keras()
    found = pipe.trainer.fit(first, second, out=out, show=True)
    click.echo(str(found.evaluate(second)))
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
@source_options
def compare(
    src: str,
    backbones: tuple[str, ...],
    source: Source,
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
    import_keras()
    found = train_all(cells, tables, recipe=table, out=out, tests=load_tests(tests, source, cells), show=True)
    click.echo(found)
    for name in ("compare.html", "compare.md"):
        click.echo(f"table: {found.write(out / name)}")


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--min-count", default=1, show_default=True, help="Leave classes with fewer pictures out of averages.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(
    run_folder: str,
    src: str,
    source: Source,
    min_count: int,
    as_json: bool,
) -> None:
    """Score the run in the folder RUN on SRC."""
    import_keras()
    found = cellclf.load_run(run_folder)
    cells = source.load_telling(src, size=found.input_shape[:2])
    report = found.evaluate(cells, min_count=min_count, show=sys.stderr.isatty())
    click.echo(json.dumps(report.to_dict(), indent=1) if as_json else report)


@main.command()
@click.argument("run_folder", metavar="RUN")
@click.argument("src")
@source_options
@click.option("--out", type=click.Path(path_type=Path), help="CSV file; without it the rows are printed.")
def predict(run_folder: str, src: str, source: Source, out: Path | None) -> None:
    """Name the class of each picture of SRC: CSV of id, class and the probability of each class."""
    import_keras()
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


@main.group(invoke_without_command=True)
@click.pass_context
def augment(ctx: click.Context) -> None:
    """List the ready-made augmentations, or show one."""
    if ctx.invoked_subcommand is None:
        from cellclf.augmentation.presets import PRESETS

        for name, preset in PRESETS.items():
            click.echo(f"{name:<10} {preset['summary']}")


@augment.command()
@click.argument("preset")
@click.option("--strength", type=float, default=1.0, show_default=True, help="Scales how far every step goes.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--plot", type=PICTURE, help="Write a sheet of pictures and what becomes of them, PNG, SVG or PDF.")
@click.option("--on", "src", metavar="SRC", help="Pictures for --plot; without it, generated cells.")
@source_options
def show(preset: str, strength: float, seed: int, plot: Path | None, src: str | None, source: Source) -> None:
    """Print PRESET as a recipe would hold it, and draw what it does."""
    import tomli_w

    augmenter = cellclf.Augmenter.preset(preset, seed=seed, strength=strength)
    augmenter.check()
    table = {key: value for key, value in augmenter.to_dict().items() if key != "seed"}
    click.echo(tomli_w.dumps({"trainer": {"augmenter": table}}), nl=False)
    if src is not None and plot is None:
        raise click.UsageError("--on is for --plot PICTURE, which is missing")
    if plot is not None:
        import_keras()
        cells = cellclf.make_cells(6, balance="even") if src is None else source.load_telling(src)
        save_figure(augmenter.plot(cells), plot)


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
