"""Options that several commands have: files to write, further sets, what cleaning may remove."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellclf.utils.atomic import check_writable
from cellclf.utils.csv_tables import require_writer

if TYPE_CHECKING:
    from cellclf.data.decisions import Decisions

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
        require_writer(path)
        return check_writable(path)


IMAGE, PAGE, TABLE = OutFile(".png", ".svg", ".pdf"), OutFile(".html"), OutFile(".csv", ".parquet")


def together(*options: Decorator) -> Decorator:
    """Make one decorator of several options, shown in this order."""
    return lambda command: functools.reduce(lambda made, option: option(made), reversed(options), command)


test_option = click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="[NAME=]SRC",
    help="A further set that is only reported on; of a file with parts the test part, or FILE.npz:PART.",
)


cut_options = together(
    click.option("--val", metavar="SRC", help="A set that is given for validation, in place of a part of SRC."),
    click.option(
        "--cut",
        type=click.Choice(["given", "own"]),
        default="given",
        show_default=True,
        help="Take the parts of a SRC as they are, or cut all its images anew.",
    ),
)
by_option = click.option(
    "--by", type=click.Choice(["domain"]), help="Hold out one domain (laboratory, scanner, SRC) at a time."
)


selection_options = together(
    click.option("--plot", type=IMAGE, help="Write a figure of what would be removed, PNG, SVG or PDF."),
    click.option("--gallery", type=PAGE, help="Write a page of everything that would be removed."),
    click.option(
        "--apply",
        type=OutFile(".npz", ".csv", ".parquet"),
        help="Write the cleaned set, a SRC for the next command: images (.npz), or a table of the files that are kept.",
    ),
)
loss_options = together(
    click.option(
        "--max-loss",
        default=0.2,
        show_default=True,
        help="Most of the different images of a class that may be removed, 0-1; copies of one image count once.",
    ),
    click.option(
        "--on-loss",
        default="refuse",
        show_default=True,
        type=click.Choice(("refuse", "warn")),
        help="What --apply does where a class would lose more.",
    ),
)
pair_options = together(
    click.option(
        "--foreground", is_flag=True, help="Find the same cell on another background too; centred cells only."
    ),
    click.option("--offset", default=0, show_default=True, help="Pixels off the centre that --foreground allows, 0-3."),
    click.option("--pairs", type=TABLE, help="Write a table of the pairs, CSV or Parquet."),
)


def answers_option(name: str, help_: str) -> Decorator:
    """Make an option of tables of answers; several may be given."""
    kind = click.Path(exists=True, dir_okay=False)
    return click.option(name, multiple=True, type=kind, metavar="FILE", help=help_)


def classes_option(help_: str) -> Decorator:
    """Make an option ``--classes A,B,...``; a list of names, or None."""
    return click.option("--classes", metavar="A,B,...", help=help_, callback=lambda _, __, given: _names(given))


def _names(given: str | None) -> list[str] | None:
    return None if given is None else [name.strip() for name in given.split(",") if name.strip()]


def merged_answers(tables: Iterable[str]) -> Decisions | None:
    """Read tables of answers as one; None if there is none."""
    from cellclf.data.decisions import load_decisions

    found = [load_decisions(table) for table in tables]
    return functools.reduce(lambda first, more: first.merge(more), found) if found else None


min_count_help = "Leave classes with fewer images out of averages."
min_count_option = click.option(
    "--min-count",
    type=click.IntRange(1),
    metavar="N",
    help="Leave classes with fewer images out of averages; else those below 10, where two have as many.",
)
