"""Commands that train: the whole job, its demonstration, the training alone, several networks side by side."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.options import (
    FAILED_CHECK,
    RecipeChoice,
    Source,
    import_keras,
    load_tests,
    recipe_options,
    say,
    source_options,
)
from cellclf.errors import CellclfError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.pipeline.pipeline import Outcome
    from cellclf.reporting.compare import Comparison


@click.command()
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
    outcome = pipe.run(
        cells,
        out=out,
        tests=others,
        show=True,
        command=_command(),
        min_count=min_count,
        source=source.described(src),
    )
    _print_outcome(outcome)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("cellclf-demo"), show_default=True)
@click.option("-n", "count", type=click.IntRange(100), default=1200, show_default=True, help="Cells to generate.")
@click.option("--seed", type=click.IntRange(0), default=7, show_default=True, help="Of the cells and of the training.")
def demo(out: Path, count: int, seed: int) -> None:
    """Do the whole job on generated cells; needs no data and no network.

    With the package cellclf-efficientnet-lite the classifier starts from ImageNet's weights, else from random ones.
    """
    from cellclf.backbones.registry import list_backbones

    few = count // 100
    recipe = "demo:pretrained" if "efficientnetlite0" in {one.name for one in list_backbones()} else "demo"
    say(f"recipe {recipe}: {'EfficientNet-Lite0 with ImageNet weights' if ':' in recipe else 'a small network'}")
    pipe = cellclf.Pipeline.from_recipe(recipe, [f"seed={seed}"])
    say(f"drawing {count:,} cells, with duplicates and foreign images among them")
    made: dict[str, Any] = {
        "n": count,
        "size": 64,
        "seed": seed,
        "slides": max(5, count // 60),
        "duplicates": 2 * few,
        "conflicts": few,
        "near_duplicates": 2 * few,
        "foreign": few,
        "foreign_copies": few,
    }
    cells = cellclf.make_cells(**made)
    held_out = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1)
    elsewhere = cellclf.make_cells(max(200, count // 4), size=64, seed=seed + 1, severity=0.6)
    tests = {"test": held_out, "other laboratory": elsewhere}
    import_keras()
    outcome = pipe.run(cells, out=out, tests=tests, show=True, command=_command(), source={"made": made})
    _print_planted(cells, set(outcome.prepared.after.ids.tolist()))
    _print_outcome(outcome)


@click.command()
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
    size = second.image_shape[:2]
    record = {
        "command": _command(),
        "source": {
            "train": source.described(train_src),
            "val": {"size": list(size)} | source.described(val_src),
        },
    }
    found = pipe.trainer.fit(first, second, out=out, show=True, record=record)
    click.echo(str(found.evaluate(second)))
    click.echo(f"run: {out}")


@click.command()
@click.argument("src")
@click.argument("candidates", metavar="BACKBONES|RUNS...", nargs=-1, required=True)
@click.option("--recipe", default="fast", show_default=True, help="The job that all do: a name or a .toml file.")
@click.option("--weights", "files", multiple=True, metavar="NAME=FILE", help="Weights of one of the backbones.")
@click.option("--epochs", type=int, help="At most this many epochs in each stage, for a first look.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: split.val=0.1.")
@click.option("--test", "tests", multiple=True, metavar="[NAME=]SRC", help="A further set that is only reported on.")
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
    out: Path | None,
) -> None:
    """Train several BACKBONES on one split of SRC, or take the folders of finished RUNS, and print them side by side.

    Runs are scored on SRC, which none of them should have been trained on. The best macro F1 is chosen, and all
    others are tested against it on the same images.

    \b
    cellclf compare cells/ mobilenet sequential residual inception --epochs 3 --out runs/compared
    cellclf compare test_set.npz runs/a runs/b
    """  # noqa: D301 - click reads the backspace as "do not wrap"
    from cellclf.pipeline.compare import compare as train_all
    from cellclf.pipeline.compare import compare_runs
    from cellclf.pipeline.recipe import read_recipe
    from cellclf.runs.folder import MANIFEST

    folders = [name for name in candidates if (Path(name) / MANIFEST).is_file()]
    if folders and len(folders) < len(candidates):
        trained = ", ".join(name for name in candidates if name not in folders)
        raise click.UsageError(f"{', '.join(folders)}: finished runs, {trained}: not; expected all of one kind")
    if folders and (files or epochs or changes or tests):
        raise click.UsageError("--weights, --epochs, --set and --test are for backbones; finished runs are only scored")
    if folders:
        import_keras()
        found = compare_runs(
            folders,
            lambda size: source.load_telling(src, size=size),
            name=Path(src).name,
            show=sys.stderr.isatty(),
        )
        _tell_compared(found, out)
        return
    backbones = candidates
    if out is None:
        raise click.UsageError("wanted --out FOLDER, where the runs and their table go")
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
    _tell_compared(found, out)


def _tell_compared(found: Comparison, out: Path | None) -> None:
    click.echo(found)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        for name in ("compare.html", "compare.md", "compare.json"):
            click.echo(f"table: {found.write(out / name)}")


def _print_outcome(outcome: Outcome) -> None:
    lead = next((n for n in ("test", *outcome.reports) if n in outcome.reports and n not in ("train", "val")), "val")
    click.echo(f"{lead}: {outcome.reports[lead]}\n")
    width = max(map(len, outcome.reports))
    for name, report in outcome.reports.items():
        scores = f"macro F1 {report.macro_f1:.4f}  accuracy {report.accuracy:.4f}"
        click.echo(f"{name:<{width}}  {scores}  {report.n:>7,} images")
    click.echo(f"report: {outcome.page}")


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
        f"{sum(id_ not in stay for id_ in strays)} of {len(strays)} foreign images were removed, "
        f"and {sum(id_ not in stay for id_ in alone)} of {len(alone):,} other cells with them"
    )


def _command() -> str:
    return shlex.join(["cellclf", *sys.argv[1:]])


@click.command()
@click.argument("src")
@recipe_options
@source_options
@click.option("--folds", type=click.IntRange(2), default=3, show_default=True, help="Classifiers that are trained.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for runs, table and gallery.")
def labels(src: str, recipe: RecipeChoice, source: Source, folds: int, out: Path) -> None:
    """Find labels of SRC that classifiers which have not seen the image confidently contradict.

    Trains FOLDS classifiers, so it takes as many times as long as one; the same command goes on after a stop.
    Nothing is changed: look at the gallery, then mend the labels or leave the images out.
    """
    from cellclf.pipeline.label_check import check_labels

    table = recipe.read()
    cells = source.load_telling(src)
    import_keras()
    found = check_labels(cells, recipe=table, folds=folds, out=out, show=True)
    click.echo(found.summary())
    for name in ("labels.csv", "labels.html"):
        click.echo(f"{name.partition('.')[2]}: {out / name}")
