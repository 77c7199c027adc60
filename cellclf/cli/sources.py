"""The images that a command reads: its SRC, further sets, and the options that say how."""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import cellclf
from cellclf.cli.exit_codes import ExitCode
from cellclf.cli.output import note
from cellclf.cli.spelling import as_options
from cellclf.errors import CellclfError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.runs.run import Run
    from cellclf.training.start import Parent


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


class _Side(click.IntRange):
    """A side of images in pixels; of one number alone, the next word of the line is taken for the second."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Make it a number."""
        try:
            return int(super().convert(value, param, ctx))
        except click.BadParameter:
            self.fail(f"{value!r} is no side in pixels; expected height and width, such as --size 96 96", param, ctx)


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``source``."""

    @click.option("--size", nargs=2, type=_Side(1), metavar="H W", help="Resize files to this height and width.")
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
