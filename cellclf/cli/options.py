"""What the commands share: how errors end, where images come from, which recipe is meant, where files go."""

from __future__ import annotations

import errno
import functools
import importlib
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.errors import CellclfError, CellclfWarning

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

FAILED, FAILED_CHECK, STOPPED = 1, 3, 130
"""Exit codes; click itself uses 2 for a command line that it does not understand."""


class Group(click.Group):
    """Commands in the order in which they are written; expected errors are one line on stderr and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the commands in the order in which they are written."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; tracebacks are left to mistakes in the program."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # TensorFlow reads it once, when it is imported
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always", CellclfWarning)
                warnings.showwarning = _teller(warnings.showwarning)
                return super().invoke(ctx)
        except CellclfError as error:
            say(f"cellclf: {error}")
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "tensorflow":
                raise
            say("cellclf: Keras has no backend to run on: pip install 'cellclf[cpu]' brings TensorFlow")
        except OSError as error:
            if error.errno == errno.EPIPE:  # `cellclf ... | head`: click ends quietly
                raise
            say(f"cellclf: {' '.join(str(error).split()) or type(error).__name__}")
        except MemoryError as error:
            say(f"cellclf: not enough memory ({str(error) or 'no more is given'}); a smaller set or --size needs less")
        except KeyboardInterrupt as stop:
            say(
                f"\ncellclf: {str(stop) or 'stopped; nothing is half-written, and the same command goes on with a run'}"
            )
            ctx.exit(STOPPED)
        ctx.exit(FAILED)


def _teller(other: Callable[..., None]) -> Callable[..., None]:
    """Give a ``warnings.showwarning`` that tells each of this package's warnings once, in one line."""
    told: set[str] = set()

    def tell(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        if not issubclass(category, CellclfWarning):
            other(message, category, *rest, **more)
        elif str(message) not in told:
            told.add(str(message))
            say(f"note: {message}")

    return tell


def say(text: str) -> None:
    """Tell something beside the result, on stderr."""
    click.echo(text, err=True)


def import_keras() -> None:
    """Import Keras and its backend; of what they say on the way, leave the informational lines out.

    TensorFlow writes them before it looks at ``TF_CPP_MIN_LOG_LEVEL``, straight to the file descriptor.
    """
    if "keras" in sys.modules:
        return
    try:
        stderr = os.dup(2)
    except OSError:  # a process without stderr
        return
    with tempfile.TemporaryFile() as said:
        try:
            os.dup2(said.fileno(), 2)
            importlib.import_module("keras")
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            said.seek(0)
            for line in said.read().decode(errors="replace").splitlines():
                if not re.match(r"I\d{4} |WARNING: All log messages before absl::InitializeLog", line):
                    say(line)


class OutFile(click.Path):
    """A file to write, refused at once if its ending is none of those that can be written.

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
        return path


IMAGE, PAGE, TABLE = OutFile(".png", ".svg", ".pdf"), OutFile(".html"), OutFile(".csv", ".parquet")


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all."""
    from cellclf.utils.atomic import replacing

    with replacing(path) as new:
        figure.savefig(new)
    click.echo(f"image: {path}")


@dataclass(frozen=True)
class Source:
    """How images are read: the options that every command with a SRC has."""

    part: str | None = None
    class_names: str | None = None
    size: tuple[int, int] | None = None

    def load(self, src: str, *, size: tuple[int, int] | None = None) -> ImageSet:
        """Load; ``size`` counts unless the user gave another."""
        cells: ImageSet = cellclf.load(src, part=self.part, class_names=self._names(), size=self.size or size)
        return cells

    def described(self, src: str) -> dict[str, Any]:
        """Tell how a SRC is read, so that the same can be read again."""
        found = {"src": os.path.abspath(src), "part": self.part, "class_names": self._names(), "size": self.size}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items() if value}

    def _names(self) -> list[str] | None:
        return None if self.class_names is None else [name.strip() for name in self.class_names.split(",")]

    def load_telling(self, src: str, *, size: tuple[int, int] | None = None) -> ImageSet:
        """Load, and tell on stderr what was converted or skipped."""
        cells = self.load(src, size=size)
        for notice in cells.notices:
            say(f"{src}: {notice}")
        for skipped in cells.skipped[:5]:
            say(f"{src}: skipped {skipped.id}: {skipped.reason}")
        if len(cells.skipped) > 5:
            say(f"{src}: and {len(cells.skipped) - 5:,} more skipped; `cellclf inspect` lists them")
        return cells


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


def load_tests(tests: tuple[str, ...], source: Source, cells: ImageSet) -> dict[str, ImageSet]:
    """Load the sets of ``--test``, each ``[NAME=]SRC``, at the size of the training images."""
    found: dict[str, ImageSet] = {}
    for test in tests:
        name, sign, src = test.partition("=")
        if not sign or Path(test).exists():
            name, src = Path(test).name, test
        if name in found:
            raise click.UsageError(f"two --test sets are called {name!r}; wanted NAME=SRC with a name for each")
        found[name] = Source(None, None, source.size).load_telling(src, size=cells.image_shape[:2])
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
        from cellclf.pipeline.compare import recipe_for
        from cellclf.pipeline.recipe import read_recipe

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
    @click.option("--seed", type=click.IntRange(0), help="Of everything that is drawn.")
    @click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: split.val=0.1.")
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
