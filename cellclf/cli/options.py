"""Options that several commands have: which images, which recipe, which files to write."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.output import note
from cellclf.cli.spelling import as_options
from cellclf.errors import CellclfError
from cellclf.utils.atomic import check_writable
from cellclf.utils.csv_tables import require_writer

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.data.split import Parts
    from cellclf.runs.run import Run
    from cellclf.training.start import Parent

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


@dataclass(frozen=True)
class Source:
    """How images are read: the options that every command with a SRC has."""

    part: str | None = None
    class_names: str | None = None
    size: tuple[int, int] | None = None
    columns: str | None = None
    root: str | None = None
    group_from: str | None = None
    margin: float | None = None
    fit: str | None = None
    bits: int | None = None
    pages: str | None = None

    def of_run(self, run: Run | Parent) -> Source:
        """Read images as those that a run was trained on, and at its size; what the user asks for counts more."""
        from cellclf.runs.folder import reading_of

        own = reading_of(run.manifest)
        return replace(
            self,
            size=self.size or run.input_shape[:2],
            fit=self.fit or own.get("fit"),
            bits=self.bits or own.get("bits"),
            pages=self.pages or own.get("pages"),
        )

    def read(self, src: str | list[str], *, size: tuple[int, int] | None = None, labels: bool = True) -> ImageSet:
        """Read a set; ``size`` counts unless the user gave another.

        Args:
            src: The SRC, or the names of image files.
            size: Height and width.
            labels: False reads a folder at any depth, whatever its folders are called.
        """
        cells: ImageSet = cellclf.load(src, None if labels else False, **self.arguments() | {"size": self.size or size})
        return cells

    def load(self, src: str, *, size: tuple[int, int] | None = None, labels: bool = True) -> ImageSet:
        """Read a set, and print on stderr what was converted or skipped."""
        return self.reported(src, self.read(src, size=size, labels=labels))

    def reported(self, src: str, cells: ImageSet) -> ImageSet:
        """Print on stderr what was converted or skipped when a set was read."""
        for notice in cells.notices:
            note(f"{src}: {as_options(notice)}")
        for skipped in cells.skipped[:5]:
            note(f"{src}: skipped {skipped.id}: {as_options(skipped.reason)}")
        if len(cells.skipped) > 5:
            note(f"{src}: and {len(cells.skipped) - 5:,} more skipped; `cellclf inspect` lists them")
        if cells.skipped and (context := click.get_current_context(silent=True)):
            context.meta[_SKIPPED] = True
        return cells

    def further(
        self, src: str, *beside: str, size: tuple[int, int] | None = None, part: str = "test", what: str = "the two"
    ) -> tuple[ImageSet, str]:
        """Load a set that is not the first: of a file with parts one of them, and never what stands beside it.

        ``--part`` and ``--class-names`` count for the first set only; what describes tables and paths counts where it
        fits.

        Args:
            src: The further SRC.
            beside: The SRCs that it is compared with, as they are read.
            size: Height and width, unless the user gave some.
            part: Which part of a file that names none.
            what: What the sets are called in messages.

        Returns:
            The set, and its SRC with the part.

        Raises:
            UsageError: It is one of ``beside``.
        """
        return self.further_and_how(src, *beside, size=size, part=part, what=what)[:2]

    def further_and_how(
        self, src: str, *beside: str, size: tuple[int, int] | None, part: str, what: str
    ) -> tuple[ImageSet, str, Source]:
        """Load a further set, see ``further``; give how it is read, too."""
        from cellclf.data.parts import choose, parts_of, split_part

        parts = [] if split_part(src)[1] else parts_of(src)
        chosen = choose(parts, part)
        if parts and chosen is not None:
            note(f"{src}: the part {chosen!r} is read; name another one as in {src}:{parts[0]}")
            src = f"{src}:{chosen}"
        for other in beside:
            if _same(src, other):
                raise click.UsageError(
                    f"{what} sets are both {src}, so each image would be compared with itself; expected another file "
                    "or part, such as FILE.npz:test"
                )
        how = replace(self, part=None, class_names=None)
        try:
            cells = how.read(src, size=size)
        except CellclfError:
            if not (self.columns or self.root or self.group_from):
                raise
            how = replace(how, columns=None, root=None, group_from=None)  # of another kind
            cells = how.read(src, size=size)
        return self.reported(src, cells), src, how

    def first(self, src: str) -> str:
        """Give a first SRC with its part."""
        return f"{src}:{self.part}" if self.part else src

    def refuse_outputs(self, *sources: str | None, **outputs: Path | None) -> None:
        """Refuse to write onto a file that is read.

        Args:
            sources: Every SRC of the command, also one that is not given.
            outputs: Option -> the file to write, or None.

        Raises:
            UsageError: An output is a source, or an image of a source that is a folder.
        """
        from cellclf.data.parts import split_part

        for name, path in outputs.items():
            for src in sources if path is not None else ():
                file = Path(split_part(src)[0]).expanduser() if src else Path()
                if path is None or not src or not path.exists() or not file.exists():
                    continue
                inside = (
                    file.is_dir()
                    and path.suffix.lower() in (".png", ".jpg")
                    and file.resolve() in path.resolve().parents
                )
                if path.samefile(file) or inside:
                    raise click.UsageError(f"--{name} {path} is what {src} is read from; expected another name")

    def arguments(self) -> dict[str, Any]:
        """Give the arguments of ``load`` that were given."""
        names = None if self.class_names is None else [name.strip() for name in self.class_names.split(",")]
        found: dict[str, Any] = {"part": self.part, "class_names": names, "size": self.size}
        found |= {"columns": _columns(self.columns), "root": self.root}
        found |= {"group_from": self.group_from, "margin": self.margin}
        found |= {"fit": self.fit, "bits": self.bits, "pages": self.pages}
        return {key: value for key, value in found.items() if value is not None}


def _columns(text: str | None) -> dict[str, str | None] | None:
    """Read ``path=file,label=cell type,group=``; nothing after the sign means that there is none."""
    if text is None:
        return None
    found: dict[str, str | None] = {}
    for pair in re.split(r",(?=\w+=)", text):
        kind, sign, name = pair.partition("=")
        if not sign:
            raise click.UsageError(f"--columns {text}; expected KIND=NAME, such as path=file,label=cell_type")
        found[kind.strip()] = name.strip() or None
    return found


def _same(one: str, two: str) -> bool:
    """Whether two SRCs are one file or folder, and one part of it."""
    from cellclf.data.parts import choose, parts_of, split_part

    (file, part), (other, other_part) = split_part(one), split_part(two)
    places = [Path(name).expanduser() for name in (file, other)]
    if not all(place.exists() for place in places) or not places[0].samefile(places[1]):
        return False
    parts = parts_of(file)
    return (choose(parts, part or "") or part) == (choose(parts, other_part or "") or other_part)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``source``."""

    @click.option("--size", nargs=2, type=int, metavar="H W", help="Resize files to this height and width.")
    @click.option(
        "--fit",
        type=click.Choice(["stretch", "pad", "crop", "refuse"]),
        help="How files of other proportions come to one size; without it, stretch.",
    )
    @click.option("--bits", type=click.IntRange(8, 16), help="Of the camera, if 16-bit files use only some: 12.")
    @click.option(
        "--pages",
        type=click.Choice(["auto", "first", "channels", "cells"]),
        help="What the pages of a TIFF are: colour channels, or cells; without it, as its metadata say.",
    )
    @click.option("--class-names", metavar="A,B,...", help="Names of the classes in label order.")
    @click.option(
        "--part",
        help="Part of the first SRC, if it holds several: train reads train_images. FILE.npz:test names one, too.",
    )
    @click.option(
        "--columns",
        metavar="KIND=NAME,...",
        help="Columns of a table: path=file,label=cell_type,group=patient; group= none.",
    )
    @click.option("--root", metavar="FOLDER", help="What the paths in a table are relative to, if not its own folder.")
    @click.option(
        "--group-from", metavar="PATTERN", help="Patient, and perhaps class, from the path: '{label}/{group}/*'."
    )
    @click.option("--margin", type=float, metavar="X", help="Cut out boxes, with this fraction of a box on each side.")
    @functools.wraps(command)
    def with_source(
        *args: Any,
        part: str | None,
        class_names: str | None,
        size: tuple[int, int] | None,
        columns: str | None,
        root: str | None,
        group_from: str | None,
        margin: float | None,
        fit: str | None,
        bits: int | None,
        pages: str | None,
        **options: Any,
    ) -> Any:
        source = Source(part, class_names, size or None, columns, root, group_from, margin, fit, bits, pages)
        return command(*args, source=source, **options)

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


def names_on_stdin() -> list[str]:
    """Read names of files from standard input: one a line, or each ended by a zero byte.

    Blanks in a name are kept; a name that stands there twice counts once.

    Raises:
        UsageError: There is none.
    """
    data = b"" if sys.stdin is None else sys.stdin.buffer.read().removeprefix(b"\xef\xbb\xbf")  # no console
    names = data.split(b"\0") if b"\0" in data else [line.removesuffix(b"\r") for line in data.split(b"\n")]
    given = [os.fsdecode(name) for name in names if name.strip()]
    found = list(dict.fromkeys(given))
    if len(found) < len(given):
        note(f"standard input: {len(given):,} names, {len(given) - len(found):,} of them again; each is read once")
    if not found:
        raise click.UsageError("standard input names no file; expected one name a line: find cells -name '*.png' | ...")
    return found


test_option = click.option(
    "--test",
    "tests",
    multiple=True,
    metavar="[NAME=]SRC",
    help="A further set that is only reported on; of a file with parts the test part, or FILE.npz:PART.",
)


def _named(text: str) -> tuple[str, str]:
    """Read ``NAME=SRC``; without a name, that of the file or folder."""
    from cellclf.data.parts import split_part

    name, sign, src = text.partition("=")
    if sign and not Path(split_part(text)[0]).expanduser().exists():
        return name, src
    return Path(text).name, text


def load_tests(
    tests: tuple[str, ...], source: Source, cells: ImageSet, record: Mapping[str, Any]
) -> dict[str, ImageSet]:
    """Load the sets of ``--test``, each ``[NAME=]SRC``, at the size of the training images.

    Args:
        tests: What was given.
        source: How the first set was read.
        cells: The first set.
        record: Where the first set is from, as ``load_sources`` gave it.
    """
    beside = _places(record)
    own = {str(one["name"]) for one in record.get("sources", ())}
    if both := [name for name in named_sources(tests) if name in own]:
        raise click.UsageError(
            f"{both[0]!r} names a training source and a --test set; expected another name: --test NAME=SRC"
        )
    return {
        name: source.further(further, *beside, size=cells.image_shape[:2], what="the training and the --test")[0]
        for name, further in named_sources(tests).items()
    }


def named_sources(tests: tuple[str, ...]) -> dict[str, str]:
    """Give name and SRC of each ``--test``.

    Raises:
        UsageError: Two of one name, or a name that the report has for something else.
    """
    found: dict[str, str] = {}
    for test in tests:
        name, further = _named(test)
        if name in found:
            raise click.UsageError(f"two --test sets are called {name!r}; expected NAME=SRC with a name for each")
        found[name] = further
    return found


def _places(record: Mapping[str, Any]) -> list[str]:
    """List what the images of a job are read from, part by part."""
    from cellclf.data.cuts import given_names

    found = []
    for one in [*record.get("sources", [record]), *([record["val"]] if "val" in record else [])]:
        names = [one["part"]] if "part" in one else list(given_names(one["src"], one).values())
        found += [f"{one['src']}:{name}" for name in names] or [one["src"]]
    return found


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


def load_sources(
    sources: tuple[str, ...], source: Source, *, val: str | None = None, cut: str | None = None
) -> tuple[ImageSet | Parts, dict[str, Any]]:
    """Load one SRC, or several, each ``[NAME=]SRC``, and what is given for validation.

    Args:
        sources: What was given.
        source: How they are read.
        val: The SRC of ``--val``.
        cut: The ``--cut``; None where a cut that is given is of no use.

    Returns:
        A set, or the parts that are given; and how they are read again, for the manifest of a run.

    Raises:
        UsageError: Two sources of one name, ``--part`` of several, or ``--val`` beside ``--cut own``.
    """
    from cellclf.data.cuts import given_parts, whole
    from cellclf.data.parts import part_kind, split_part
    from cellclf.data.split import Parts
    from cellclf.pipeline.source import read_source

    if val is not None and cut == "own":
        raise click.UsageError("--cut own makes a cut, and --val gives one; expected one of them")
    how, named = source.arguments(), [_domain(src) for src in sources]
    if len(named) == 1 and named[0][1] == sources[0]:
        record: dict[str, Any] = {"src": sources[0], **how}
    else:
        if source.part is not None:
            raise click.UsageError(f"--part {source.part} of {len(sources)} SRC; expected SRC:{source.part} for each")
        chosen = [name for (name, src), text in zip(named, sources, strict=True) if src != text]
        if len({*chosen}) < len(chosen):
            raise click.UsageError(f"two SRC have one name ({', '.join(chosen)}); expected another for each NAME=SRC")
        record = {"sources": [{"name": name, "src": src, **how} for name, src in _different(named)]}
    if cut is not None:
        record["cut"] = cut
    found = read_source(record)
    source.reported(" ".join(sources), whole(found))
    record = absolute(record)
    if val is None:
        return found, record
    train = found.train if isinstance(found, Parts) else found
    places = _places(record)
    if isinstance(found, Parts):  # its own validation part is replaced
        places = [place for place in places if part_kind(place.rpartition(":")[2]) != "val"]
    # files are decoded to the size of the training images; arrays are resized as they are read
    size = None if Path(split_part(val)[0]).suffix.lower() in (".npz", ".npy") else train.image_shape[:2]
    cells, src, own = source.further_and_how(val, *places, size=size, part="val", what="SRC and --val")
    record["val"] = absolute({"src": src, **({"size": size} if size else {}), **own.arguments()})
    return given_parts(train, cells, found.test if isinstance(found, Parts) else None), record


def _domain(text: str) -> tuple[str, str]:
    """Read ``NAME=SRC``; without a name, that of the folder, or of the file without its ending."""
    from cellclf.data.parts import split_part

    name, src = _named(text)
    path = Path(split_part(src)[0])
    return (name, src) if src != text else (path.stem if path.is_file() else path.name or name, src)


def _different(named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give each source another name: where two folders are called alike, with the folders above them."""
    found = named
    for depth in range(2, 20):
        names = [name for name, _ in found]
        if len({*names}) == len(names):
            return found
        found = [
            (name if names.count(name) == 1 else "/".join(Path(src).parts[-depth:]), src)
            for name, (_, src) in zip(names, found, strict=True)
        ]
    twice = next(name for name in names if names.count(name) > 1)
    raise click.UsageError(f"two SRC are called {twice!r}; expected NAME=SRC with another name for each")


def absolute(record: dict[str, Any]) -> dict[str, Any]:
    """Make the paths of a record absolute, so that ``rerun`` finds them from anywhere."""
    found = {
        key: os.path.abspath(value) if key in ("src", "root") else list(value) if isinstance(value, tuple) else value
        for key, value in record.items()
    }
    if "sources" in found:
        found["sources"] = [absolute(one) for one in record["sources"]]
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
    chosen: bool = True

    def read_started(self, start: str) -> dict[str, Any]:
        """Read the recipe of a training that continues a run: that of the run, unless another one was chosen.

        Args:
            start: The folder of the run; backbone, head and size come from it, stages that begin at a low rate replace
                those of a recipe that is not itself for continuing a run.

        Raises:
            UsageError: An option that says what the run brings.
        """
        from cellclf.pipeline import read_recipe
        from cellclf.training.start import STAGES, parent_of

        named = {"--backbone": self.backbone, "--weights": self.weights, "--param": " ".join(self.params)}
        if given := [f"{option} {value}" for option, value in named.items() if value]:
            raise click.UsageError(
                f"--start {start} and {', '.join(given)}: backbone, head and size come from the run; expected --start "
                "alone"
            )
        own = parent_of(start).folder
        table = read_recipe(own if not self.chosen and own and (own / "recipe.toml").is_file() else self.recipe)
        trainer = dict(table.get("trainer") or {})
        if trainer.get("start") in (None, "none"):
            trainer["stages"] = [stage.to_dict() for stage in STAGES]
        brought = ("backbone", "head", "image_size")
        table["trainer"] = {key: value for key, value in trainer.items() if key not in brought} | {"start": start}
        return read_recipe(table if self.seed is None else with_seed(table, self.seed), self.changes)

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
                params = used.get("params") if chosen["name"] == used["name"] else None
                chosen |= read_recipe({"params": params}, [f"params.{param}" for param in self.params])
            table = recipe_for(table, chosen)
        return read_recipe(table if self.seed is None else with_seed(table, self.seed), self.changes)


def with_seed(recipe: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Give a recipe in which everything random has one seed, also where it names seeds of its own.

    Args:
        recipe: As data; the recipe of a run folder names every seed.
        seed: The seed.

    Examples:
        >>> with_seed({"split": {"seed": 1, "val": 0.2}, "trainer": {"augmenter": {"seed": 3}}}, 5)
        {'split': {'val': 0.2}, 'trainer': {'augmenter': {}}, 'seed': 5}
    """

    def without(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: without(item) for key, item in value.items() if key != "seed"}

    return {**without(recipe), "seed": seed}


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
        default = click.get_current_context().get_parameter_source("name") is ParameterSource.DEFAULT
        choice = RecipeChoice(name, backbone, params, weights, seed, changes, chosen=not default)
        return command(*args, recipe=choice, **options)

    return with_recipe


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
min_count_help = "Leave classes with fewer images out of averages."
