"""Lists of image files, before any is opened, and the set that is made of one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellclf.data.columns import natural_order
from cellclf.data.decode import Reading, Scan, scan
from cellclf.data.files import read_files
from cellclf.data.fit import typical_size
from cellclf.data.image_set import ImageSet, Skipped
from cellclf.data.looks import odd_looks
from cellclf.data.sources import dark_note
from cellclf.errors import DataError, printable

_LEAST_SIDE = 8
_NEARLY_BLACK = 4096
"""A 16-bit image without a value from here on is within 0-15 of 255."""


@dataclass(frozen=True)
class FileOptions:
    """How files are read: the arguments of ``load`` for files."""

    size: tuple[int, int] | None
    reading: Reading
    verify: bool
    show: bool | None


class Box(NamedTuple):
    """Where a cell lies in its field, in pixels from the upper left corner.

    Args:
        left: Left edge.
        top: Upper edge.
        right: Right edge.
        bottom: Lower edge.
        relative: Whether the edges are fractions of the field's width and height.
        margin: What is added on each side, as a fraction of the box; None takes that of ``load``.
        drawn_on: Height and width of the image on which it was drawn; None if that is not known.
    """

    left: float
    top: float
    right: float
    bottom: float
    relative: bool = False
    margin: float | None = None
    drawn_on: tuple[int, int] | None = None


@dataclass
class Listing:
    """Files that were named, before any is opened; the columns after ``ids`` are of the same length, or empty.

    Args:
        paths: The files; of boxes, the field of each.
        ids: One for each image.
        labels: Class names.
        groups: Names of patients or slides.
        domains: Names of laboratories or scanners.
        clusters: Numbers of duplicates.
        boxes: What is cut out of each file.
        skipped: What is no image, and why.
        notices: What was noticed, in plain words.
    """

    paths: list[str]
    ids: list[str]
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    clusters: list[int] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def list_files(paths: Sequence[str | Path]) -> Listing:
    """List files that were named one by one."""
    texts = [os.fspath(path) for path in paths]
    if texts and all(map(os.path.isdir, texts)):  # one among files is skipped, with its reason
        raise DataError(
            f"the list names folders, such as {printable(texts[0])!r}, expected files: load each folder, and join the "
            "sets with ImageSet.concat([...])"
        )
    return Listing(texts, [printable(text) for text in texts])


def _problem(listing: Listing, place: int, found: Scan) -> str:
    """Say why a file is not read; an id from a table does not say which file it is."""
    path = listing.paths[place]
    known = os.path.basename(path) in listing.ids[place]
    return found.problem if known else f"{found.problem}: {printable(path)}"


def read_listing(listing: Listing, options: FileOptions, where: str) -> ImageSet:
    """Open the files of a listing and make a set of those that are images.

    Args:
        listing: The files.
        options: How to read them.
        where: What was listed, for messages.
    """
    numbers = None
    if options.reading.pages == "cells":
        listing, numbers = _each_image(listing, options)
    held, scans = read_files(
        listing.paths, options.size, options.reading, numbers=numbers, verify=options.verify, show=options.show
    )
    good = [k for k, found in enumerate(scans) if found.size is not None]
    bad = [Skipped(listing.ids[k], _problem(listing, k, found)) for k, found in enumerate(scans) if found.size is None]
    skipped = listing.skipped + bad
    if not good:
        some = (bad or skipped)[:1]
        why = f"; the first: {some[0].id} ({some[0].reason})" if some else ""
        raise DataError(f"{where} names no readable image, of {len(skipped)} files{why}")
    sizes = np.asarray([scans[k].size for k in good], np.int64)
    notices = listing.notices + _conversions([(listing.ids[k], scans[k]) for k in good])
    if options.reading.bits is not None and options.verify and not any("-bit" in found.note for found in scans):
        notices.append(f"bits={options.reading.bits} changes nothing: no file has more than 8 bits")
    shape = _common_size(sizes, options, notices)
    source = held if len(good) == len(held) else held.taken(np.asarray(good))
    if source.shape[:2] != shape:
        source = source.at_size(shape)
    if options.verify:  # else reading some would decode them now
        notices += odd_looks(source, known=notices, limit=32, flat=False)
    labels = [listing.labels[k] for k in good] if listing.labels else None
    if labels is not None:
        lost = natural_order(set(listing.labels) - set(labels))
        notices += [f"the class {name!r} is lost: none of its files can be read" for name in lost]
    return ImageSet(
        source,
        labels,
        ids=[listing.ids[k] for k in good],
        groups=[listing.groups[k] for k in good] if listing.groups else None,
        domains=[listing.domains[k] for k in good] if listing.domains else None,
        sizes=sizes,
        notices=notices,
        skipped=skipped,
    )


def _conversions(found: list[tuple[str, Scan]]) -> list[str]:
    """Count the images of each conversion; how dark 16-bit ones are is a matter of all of them together."""
    notices = []
    for note in sorted({one.note for _, one in found if one.note}):
        of_it = [(name, one.peak) for name, one in found if one.note == note]
        peaks = [peak for _, peak in of_it if peak is not None]
        dark = dark_note(max(peaks)) if peaks else ""
        few = sum(peak < _NEARLY_BLACK for peak in peaks)
        if few and not dark:
            dark = f", {few:,} of them nearly black: no value reaches {_NEARLY_BLACK}"
        notices.append(f"{_images(len(of_it))}: {note}{dark} (the first: {of_it[0][0]})")
    return notices


def _each_image(listing: Listing, options: FileOptions) -> tuple[Listing, list[int]]:
    """Give a listing with one entry for each image of a file, and its number in the file."""
    counts = [found.images for found in scan(listing.paths, verify=False, show=options.show, reading=options.reading)]
    rows = [(k, number) for k, count in enumerate(counts) for number in range(count)]
    ids = [listing.ids[k] + f"#{number + 1}" * (counts[k] > 1) for k, number in rows]
    taken = {
        name: [column[k] for k, _ in rows] if (column := getattr(listing, name)) else []
        for name in ("paths", "labels", "groups", "domains", "clusters", "boxes")
    }
    return replace(listing, ids=ids, **taken), [number for _, number in rows]


def _common_size(sizes: NDArray[np.int64], options: FileOptions, notices: list[str]) -> tuple[int, int]:
    counts = Counter((int(height), int(width)) for height, width in sizes)
    ranked = sorted(counts, key=lambda s: (counts[s], s[0] * s[1], s), reverse=True)
    text = ", ".join(f"{h}x{w}: {counts[h, w]:,}" for h, w in ranked[:3]) + (", ..." if len(ranked) > 3 else "")
    typical = typical_size(sizes)
    if len(ranked) > 1 and options.size is None and options.reading.fit == "refuse":
        raise DataError(
            f"images have {len(ranked)} sizes ({text}); pass size={typical}, or fit='stretch', 'pad' or 'crop' to "
            "resize them"
        )
    height, width = options.size or typical
    if min(height, width) < _LEAST_SIDE:
        notices.append(f"images of {height}x{width} pixels are too small to show a cell: are these the right files?")
    count = len(sizes) - counts[height, width]
    if count:
        why = "" if options.size else ", the median height and width"
        notices.append(
            f"{_images(count)}: resized to {height}x{width}{why} (there are {text}){_change(sizes, options)}"
        )
    return int(height), int(width)


def _change(sizes: NDArray[np.int64], options: FileOptions) -> str:
    """Say what happens to images whose proportions differ from those of the set."""
    height, width = options.size or typical_size(sizes)
    if all(h * width == w * height for h, w in sizes.tolist()):
        return ""
    how = {"pad": "padded in the colour of their edge", "crop": "cropped around the centre"}
    return f"; {how.get(options.reading.fit, 'their proportions changed (fit=pad or fit=crop keeps them)')}"


def id_of_file(id_: str, known: Container[str]) -> str:
    """Give the id of the file of an image, which may be a page of it: ``stack.tif`` of ``stack.tif#1``."""
    return id_ if id_ in known else id_.rpartition("#")[0]


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
