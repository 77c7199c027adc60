"""The sets of a job: one SRC or several, a cut that is given, and sets that are only reported on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cellclf.cli.sources import Source

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.data.split import Parts


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
        UsageError: Two of one name.
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
