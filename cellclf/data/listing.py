"""Finding image files in folders and lists; what cannot be an image is listed as skipped, with a reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellclf.data.columns import natural_order
from cellclf.data.decode import SUFFIXES, FileSource, scan
from cellclf.data.image_set import ImageSet, Skipped
from cellclf.errors import DataError, printable, unknown

_PART_FOLDERS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}


@dataclass(frozen=True)
class FileOptions:
    """How files are read: the arguments of ``load`` for files."""

    size: tuple[int, int] | None
    mixed: str
    verify: bool
    show: bool | None


@dataclass
class Listing:
    """Files that were named, before any is opened; ``labels`` and ``groups`` are class and group names, or empty."""

    paths: list[str]
    ids: list[str]
    labels: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)


def list_folder(root: Path, part: str | None = None) -> Listing:
    """Find the images below a folder; each folder in it is a class, with all images below it.

    Links are followed, but not to a folder above; names that begin with a dot are hidden and ignored.

    Args:
        root: The folder.
        part: The folder in it that holds the classes, such as ``"train"``.
    """
    if part is not None:
        if not (root / part).is_dir():
            raise unknown(f"folder in {root} named", part, (p.name for p in root.iterdir() if p.is_dir()))
        root = root / part
    listing = Listing([], [])
    found: dict[str, list[str]] = {}
    loose: list[str] = []
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):  # of a link that ends nowhere, entry.is_dir() may raise
            found[entry.name] = _images_below(entry.path, root, listing)
        elif _is_image(entry.path, root, listing):
            loose.append(entry.path)
    named = {name: paths for name, paths in found.items() if paths}
    if named and {name.lower() for name in named} <= _PART_FOLDERS:
        some = "train" if "train" in named else sorted(named)[0]
        raise DataError(
            f"{root} holds the folders {', '.join(sorted(named))}, which are parts, not classes; "
            f"load one of them with part={some!r} or as {str(root / some)!r}"
        )
    if not named and not loose:
        raise DataError(
            f"{root} holds no image ({', '.join(sorted(SUFFIXES))}); expected one folder for each class"
            + (f"; {len(listing.skipped)} other files are there" if listing.skipped else "")
        )
    listing.notices += [f"the folder {name!r} holds no image and is not a class" for name in found if name not in named]
    if not named:
        listing.paths, listing.ids = loose, [_id(path, root) for path in loose]
        return listing
    listing.skipped += [Skipped(_id(path, root), "no label: it lies outside the class folders") for path in loose]
    for name in natural_order(named):
        listing.paths += named[name]
        listing.ids += [_id(path, root) for path in named[name]]
        listing.labels += [printable(name)] * len(named[name])
    return listing


def _images_below(folder: str, root: Path, listing: Listing) -> list[str]:
    def closed(error: OSError) -> None:
        listing.skipped.append(Skipped(_id(error.filename, root), f"the folder cannot be listed: {error.strerror}"))

    images: list[str] = []
    seen: set[str] = set()
    top = os.path.join(os.path.realpath(root), "")
    for here, folders, files in os.walk(folder, onerror=closed, followlinks=True):
        real = os.path.realpath(here)
        if top.startswith(os.path.join(real, "")):
            listing.skipped.append(
                Skipped(_id(here, root), "a link to a folder above, which would be followed without end")
            )
            seen.add(real)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real not in seen:
            paths = (os.path.join(here, name) for name in sorted(files) if not name.startswith("."))
            images += [path for path in paths if _is_image(path, root, listing)]
        seen.add(real)
    return images


def _is_image(path: str, root: Path, listing: Listing) -> bool:
    suffix = os.path.splitext(path)[1]
    good = suffix.lower() in SUFFIXES
    if not good:
        listing.skipped.append(Skipped(_id(path, root), f"not an image: the suffix is {suffix or 'missing'}"))
    return good


def _id(path: str, root: Path) -> str:
    return printable(path.removeprefix(os.path.join(root, ""))).replace(os.sep, "/")


def list_files(paths: Sequence[str | Path]) -> Listing:
    """List files that were named one by one."""
    texts = [os.fspath(path) for path in paths]
    return Listing(texts, [printable(text) for text in texts])


def read_listing(listing: Listing, options: FileOptions, where: str) -> ImageSet:
    """Open the files of a listing and make a set of those that are images.

    Args:
        listing: The files.
        options: How to read them.
        where: What was listed, for messages.
    """
    scans = scan(listing.paths, verify=options.verify, show=options.show)
    good = [k for k, found in enumerate(scans) if found.size is not None]
    bad = [Skipped(listing.ids[k], found.problem) for k, found in enumerate(scans) if found.size is None]
    skipped = listing.skipped + bad
    if not good:
        some = (bad or skipped)[:1]
        why = f"; the first: {some[0].id} ({some[0].reason})" if some else ""
        raise DataError(f"{where} names no readable image, of {len(skipped)} files{why}")
    sizes = np.asarray([scans[k].size for k in good], np.int64)
    notices = listing.notices + _conversions([(listing.ids[k], scans[k].note) for k in good])
    shape = _common_size(sizes, options, notices)
    labels = [listing.labels[k] for k in good] if listing.labels else None
    if labels is not None:
        lost = natural_order(set(listing.labels) - set(labels))
        notices += [f"the class {name!r} is lost: none of its files can be read" for name in lost]
    return ImageSet(
        FileSource([listing.paths[k] for k in good], shape),
        labels,
        ids=[listing.ids[k] for k in good],
        groups=[listing.groups[k] for k in good] if listing.groups else None,
        sizes=sizes,
        notices=notices,
        skipped=skipped,
    )


def _conversions(notes: list[tuple[str, str]]) -> list[str]:
    counts = Counter(note for _, note in notes if note)
    first = {note: name for name, note in reversed(notes)}
    return [f"{_images(count)}: {note} (the first: {first[note]})" for note, count in sorted(counts.items())]


def _common_size(sizes: NDArray[np.int64], options: FileOptions, notices: list[str]) -> tuple[int, int]:
    counts = Counter((int(height), int(width)) for height, width in sizes)
    ranked = sorted(counts, key=lambda s: (counts[s], s[0] * s[1], s), reverse=True)
    text = ", ".join(f"{h}x{w}: {counts[h, w]:,}" for h, w in ranked[:3]) + (", ..." if len(ranked) > 3 else "")
    if len(ranked) > 1 and options.size is None and options.mixed == "refuse":
        height, width = ranked[0]
        raise DataError(
            f"images have {len(ranked)} sizes ({text}); pass size=({height}, {width}) or mixed='resize' to resize them"
        )
    height, width = options.size or ranked[0]
    count = len(sizes) - counts[height, width]
    if count:
        why = "" if options.size else ", the most frequent size"
        squeezed = any(h * width != w * height for h, w in counts)
        how = "; their proportions changed" if squeezed else ""
        notices.append(f"{_images(count)}: resized to {height}x{width}{why} (there are {text}){how}")
    return int(height), int(width)


def _images(count: int) -> str:
    return f"{count:,} image{'s' * (count != 1)}"
