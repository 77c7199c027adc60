"""Options that several commands have: which images, which recipe, which files to write."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.output import note
from cellclf.utils.atomic import check_writable
from cellclf.utils.csv_tables import require_pyarrow

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

Decorator = Callable[[Any], Any]


class OutFile(click.Path):
    """A file to write, refused at once if it could not be written: by its ending, its place, or a missing package.

    Args:
        endings: Such as ``".png"``.
    """

    def __init__(self, *endings: str) -> None:
        super().__init__(dir_okay=False, path_type=Path)
        self.endings = endings

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Make it a path with one of the endings."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.suffix.lower() not in self.endings:
            self.fail(f"{str(path)!r}; expected a name that ends in {' or '.join(self.endings)}", param, ctx)
        if path.suffix.lower() == ".parquet":
            require_pyarrow(path)
        return check_writable(path)


IMAGE, PAGE, TABLE = OutFile(".png", ".svg", ".pdf"), OutFile(".html"), OutFile(".csv", ".parquet")


def together(*options: Decorator) -> Decorator:
    """Make one decorator of several options, shown in this order."""
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


@dataclass(frozen=True)
class Source:
    """How images are read: the options that every command with a SRC has."""

    part: str | None = None
    class_names: str | None = None
    size: tuple[int, int] | None = None

    def read(self, src: str, *, size: tuple[int, int] | None = None) -> ImageSet:
        """Read a set; ``size`` counts unless the user gave another."""
        cells: ImageSet = cellclf.load(src, part=self.part, class_names=self._names(), size=self.size or size)
        return cells

    def load(self, src: str, *, size: tuple[int, int] | None = None) -> ImageSet:
        """Read a set, and print on stderr what was converted or skipped."""
        cells = self.read(src, size=size)
        for notice in cells.notices:
            note(f"{src}: {notice}")
        for skipped in cells.skipped[:5]:
            note(f"{src}: skipped {skipped.id}: {skipped.reason}")
        if len(cells.skipped) > 5:
            note(f"{src}: and {len(cells.skipped) - 5:,} more skipped; `cellclf inspect` lists them")
        if cells.skipped and (context := click.get_current_context(silent=True)):
            context.meta[_SKIPPED] = True
        return cells

    def described(self, src: str) -> dict[str, Any]:
        """Describe how a SRC is read, so that ``rerun`` reads the same."""
        found = {"src": os.path.abspath(src), "part": self.part, "class_names": self._names(), "size": self.size}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items() if value}

    def _names(self) -> list[str] | None:
        return None if self.class_names is None else [name.strip() for name in self.class_names.split(",")]


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``source``."""

    @click.option("--size", nargs=2, type=int, metavar="H W", help="Resize files to this height and width.")
    @click.option("--class-names", metavar="A,B,...", help="Names of the classes in label order.")
    @click.option("--part", help="Part of an .npz that holds several: train reads train_images.")
    @functools.wraps(command)
    def with_source(
        *args: Any, part: str | None, class_names: str | None, size: tuple[int, int] | None, **options: Any
    ) -> Any:
        return command(*args, source=Source(part, class_names, size or None), **options)

    return with_source


_SKIPPED = "cellclf.skipped"


def skipped_are_reported(command: Callable[..., Any]) -> Callable[..., Any]:
    """End a command whose table lacks what could not be read with an exit code of its own."""

    @click.option("--skip-ok", is_flag=True, help="Exit code 0, not 4, when files could not be read.")
    @click.pass_context
    @functools.wraps(command)
    def with_exit_code(context: click.Context, /, *args: Any, skip_ok: bool, **options: Any) -> Any:
        result = command(*args, **options)
        if context.meta.get(_SKIPPED) and not skip_ok:
            context.exit(ExitCode.SKIPPED)
        return result

    return with_exit_code


test_option = click.option(
    "--test", "tests", multiple=True, metavar="[NAME=]SRC", help="A further set that is only reported on."
)


def load_tests(tests: tuple[str, ...], source: Source, cells: ImageSet) -> dict[str, ImageSet]:
    """Load the sets of ``--test``, each ``[NAME=]SRC``, at the size of the training images."""
    found: dict[str, ImageSet] = {}
    for test in tests:
        name, sign, src = test.partition("=")
        if not sign or Path(test).exists():
            name, src = Path(test).name, test
        if name in found:
            raise click.UsageError(f"two --test sets are called {name!r}; expected NAME=SRC with a name for each")
        found[name] = Source(None, None, source.size).load(src, size=cells.image_shape[:2])
    return found


@dataclass(frozen=True)
class RecipeChoice:
    """Which recipe is meant, and what is changed in it."""

    recipe: str
    backbone: str | None = None
    params: tuple[str, ...] = ()
    weights: str | None = None
    seed: int | None = None
    changes: tuple[str, ...] = ()

    def read(self) -> dict[str, Any]:
        """Read the recipe; another backbone, its weights and its parameters first, ``--set`` last."""
        from cellclf.pipeline import read_recipe
        from cellclf.pipeline.compare import recipe_for

        table = read_recipe(self.recipe)
        trainer = table.get("trainer")
        used = trainer.get("backbone") if isinstance(trainer, dict) else None
        used = {"name": used} if isinstance(used, str) else used
        if isinstance(used, dict) and "name" in used and (self.backbone or self.weights or self.params):
            chosen: dict[str, Any] = {"name": self.backbone or used["name"]}
            chosen |= {} if self.weights is None else {"weights": self.weights}
            if self.params:
                params = used.get("params", {}) if chosen["name"] == used["name"] else {}
                chosen |= read_recipe({"params": params}, [f"params.{param}" for param in self.params])
            table = recipe_for(table, chosen)
        table |= {} if self.seed is None else {"seed": self.seed}
        return read_recipe(table, self.changes)


change_option = click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: split.val=0.1."
)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``recipe``."""

    @click.option(
        "--recipe",
        "name",
        default="fast",
        show_default=True,
        help="report, fast, challenge, challenge:gpu, demo, or a .toml file.",
    )
    @click.option("--backbone", help="Network to use instead of the recipe's; `cellclf backbones` lists them.")
    @click.option("--param", "params", multiple=True, metavar="KEY=VALUE", help="Of the backbone: alpha=0.75.")
    @click.option("--weights", metavar="NAME|FILE", help="Of the backbone: imagenet, a file, or none.")
    @click.option("--seed", type=click.IntRange(0), help="Of everything random.")
    @change_option
    @functools.wraps(command)
    def with_recipe(
        *args: Any,
        name: str,
        backbone: str | None,
        params: tuple[str, ...],
        weights: str | None,
        seed: int | None,
        changes: tuple[str, ...],
        **options: Any,
    ) -> Any:
        return command(*args, recipe=RecipeChoice(name, backbone, params, weights, seed, changes), **options)

    return with_recipe


selection_options = together(
    click.option("--plot", type=IMAGE, help="Write a figure of what would be removed, PNG, SVG or PDF."),
    click.option("--gallery", type=PAGE, help="Write a page of everything that would be removed."),
    click.option("--apply", type=OutFile(".npz", ".csv"), help="Write the cleaned set, or a CSV of what is kept."),
)
pair_options = together(
    click.option(
        "--foreground", is_flag=True, help="Find the same cell on another background too; centred cells only."
    ),
    click.option("--offset", default=0, show_default=True, help="Pixels off the centre that --foreground allows, 0-3."),
    click.option("--pairs", type=TABLE, help="Write a table of the pairs, CSV or Parquet."),
)
min_count_help = "Leave classes with fewer images out of averages."
