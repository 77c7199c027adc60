"""Several sets as one: classes matched by name, ids and patients kept apart, pixels read when they are needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellclf.data.door import Cells, as_cells
from cellclf.data.image_set import FilePlace, ImageSet
from cellclf.data.sources import Images, Rows
from cellclf.data.spelling import differing, matched
from cellclf.errors import DataError, OptionError


def concat(sets: Sequence[Cells], names: Sequence[str] | None = None) -> ImageSet:
    """Make one set of several sources; see ``ImageSet.concat``."""
    if isinstance(sets, ImageSet | str) or not isinstance(sets, Sequence) or not len(sets):
        raise OptionError("there are no sets to concatenate; expected a list, such as ImageSet.concat([one, other])")
    cells = [as_cells(one, what=f"set {k}") for k, one in enumerate(sets, 1)]
    if names is None:
        return joined(cells, [f"set {k}" for k in range(1, len(cells) + 1)])
    if isinstance(names, str) or len(names) != len(cells) or len({*names}) < len(names):
        raise OptionError(f"names={names!r} of {len(cells)} sets; expected another name for each")
    return joined(cells, [str(name) for name in names], sources=True)


def joined(cells: Sequence[ImageSet], names: Sequence[str], *, sources: bool = False) -> ImageSet:
    """Make one set of several.

    Args:
        cells: The sets.
        names: What each is called, in notices and, where ids of two sets are equal, before every id.
        sources: Whether they are different laboratories, microscopes or data sets: each is then a domain, and a patient
            "1" of one is not the patient "1" of another.

    Raises:
        DataError: Some sets have labels and others none, or some number their classes and others name them.
    """
    first = cells[0]
    notices: list[str] = []
    cells = [_same_size(one, name, first, names[0], notices) for one, name in zip(cells, names, strict=True)]
    class_names, labels = _labels(cells, names, notices)
    groups = _groups(cells, names, notices, sources=sources)
    clusters = None
    if any(one.clusters is not None for one in cells):
        clusters, start = [], 0
        for one in cells:
            number = np.arange(len(one)) if one.clusters is None else np.unique(one.clusters, return_inverse=True)[1]
            clusters.append(number + start)
            start += int(number.max(initial=-1)) + 1
    own = [*notices, *_prefixed([one.notices for one in cells], names)]
    skipped = [
        replace(bad, id=f"{name}/{bad.id}") if sources else bad
        for one, name in zip(cells, names, strict=True)
        for bad in one.skipped
    ]
    return ImageSet(
        ConcatSource(cells),
        None if labels is None else np.concatenate(labels),
        class_names=class_names,
        ids=np.concatenate(apart([one.ids for one in cells], names)),
        groups=None if groups is None else np.concatenate(groups),
        domains=_domains(cells, names, sources),
        clusters=None if clusters is None else np.concatenate(clusters),
        sizes=np.concatenate([one.sizes for one in cells]),
        notices=own,
        skipped=skipped,
    )


class ConcatSource:
    """The images of several sets, one after the other.

    Args:
        sets: Of one size.
    """

    def __init__(self, sets: Sequence[ImageSet]) -> None:
        self.sets = list(sets)
        self.shape = self.sets[0].image_shape
        self._which = np.repeat(np.arange(len(self.sets)), [len(one) for one in self.sets])
        self._row = np.concatenate([np.arange(len(one)) for one in self.sets])

    def __len__(self) -> int:
        return len(self._row)

    @property
    def fit(self) -> str:
        """How images of another size are brought to this one: as those of the first set are."""
        return self.sets[0].fit

    def read(self, rows: Rows) -> Images:
        """Read the images at these places: a view where they are consecutive in one set."""
        which = self._which[rows]
        if len(rows) and (which == which[0]).all():
            found: Images = self.sets[which[0]].read(self._row[rows])
            return found
        images = np.empty((len(rows), *self.shape), np.uint8)
        for k in np.unique(which).tolist():
            here = np.flatnonzero(which == k)
            images[here] = self.sets[k].read(self._row[rows[here]])
        return images

    def at_size(self, size: tuple[int, int], fit: str | None = None) -> ConcatSource:
        """Give the same images at another size; files are decoded to it."""
        return self._of([one.resized(size, fit) for one in self.sets])

    def trimmed(self, rows: Rows) -> ConcatSource:
        """Give some of the images, without holding the others."""
        used = [np.unique(self._row[rows][self._which[rows] == k]) for k in range(len(self.sets))]
        found = self._of([one.subset(mine) for one, mine in zip(self.sets, used, strict=True)])
        found._which = self._which[rows]
        found._row = np.empty(len(rows), np.int64)
        for k, mine in enumerate(used):
            here = found._which == k
            found._row[here] = np.searchsorted(mine, self._row[rows][here])
        return found

    @property
    def has_files(self) -> bool:
        """Whether each image is a file, or a box in one."""
        return all(one.has_files for one in self.sets)

    def places(self, rows: Rows) -> list[FilePlace]:
        """Give the file of each image."""
        places = [one.file_places() for one in self.sets]
        return [places[k][row] for k, row in zip(self._which[rows].tolist(), self._row[rows].tolist(), strict=True)]

    def _of(self, sets: Sequence[ImageSet]) -> ConcatSource:
        found = object.__new__(ConcatSource)
        found.__dict__ |= self.__dict__ | {"sets": list(sets), "shape": sets[0].image_shape}
        return found


def _same_size(one: ImageSet, name: str, first: ImageSet, first_name: str, notices: list[str]) -> ImageSet:
    if one.image_shape == first.image_shape:
        return one
    was, size = ("x".join(map(str, cells.image_shape[:2])) for cells in (one, first))
    notices.append(f"the {len(one):,} images of {name}, {was}, are resized to the {size} of {first_name}")
    return one.resized(first.image_shape[:2])


def _labels(
    cells: Sequence[ImageSet], names: Sequence[str], notices: list[str]
) -> tuple[tuple[str, ...] | None, list[NDArray[np.int64]] | None]:
    """Number the classes of all sets alike: those of the first in their order, then what others add."""
    labels = [one.labels for one in cells if one.labels is not None]
    if not labels:
        return cells[0].class_names or None, None
    if lacking := [name for one, name in zip(cells, names, strict=True) if one.labels is None]:
        raise DataError(
            f"{', '.join(lacking)} {'have' if len(lacking) > 1 else 'has'} no labels, and other sets have; expected "
            "labels for all, or for none: .replace(labels=None)"
        )
    named = [name for one, name in zip(cells, names, strict=True) if not _numbered(one)]
    if named and len(named) < len(cells):
        other = next(name for one, name in zip(cells, names, strict=True) if _numbered(one))
        raise DataError(
            f"{other} only numbers its classes ({', '.join(cells[names.index(other)].class_names[:3])}, ...) and "
            f"{named[0]} names them, so that they cannot be matched; load both with class_names=... (--class-names)"
        )
    union: list[str] = list(cells[0].class_names)
    found = []
    for one, name in zip(cells, names, strict=True):
        known = matched(one.class_names, union)
        notices += [
            f"the class {own!r} of {name} was read as {real!r}, which is spelt differently"
            for own, real in known.items()
            if own != real
        ]
        union += [own for own in one.class_names if own not in known]
        number = [union.index(known.get(own, own)) for own in one.class_names]
        found.append(np.asarray(number, np.int64)[one.labels])
    counts = [np.bincount(own, minlength=len(union)) for own in found]
    if text := differing(union, dict(zip(names, counts, strict=True))):
        notices.append(text)
    return tuple(union), found


def _numbered(cells: ImageSet) -> bool:
    return all(name.isdecimal() for name in cells.class_names)


def apart(columns: Sequence[NDArray[np.str_]], names: Sequence[str]) -> list[NDArray[np.str_]]:
    """Put the name of its set before every value, if a value is in two sets."""
    different = [np.unique(column) for column in columns]
    if len(np.unique(np.concatenate(different))) == sum(map(len, different)):
        return list(columns)
    return [
        np.asarray([f"{name}/{value}" for value in column.tolist()], np.str_)
        for column, name in zip(columns, names, strict=True)
    ]


def _groups(
    cells: Sequence[ImageSet], names: Sequence[str], notices: list[str], *, sources: bool
) -> list[NDArray[np.str_]] | None:
    if all(one.groups is None for one in cells):
        return None
    found = []
    for one, name in zip(cells, names, strict=True):
        if one.groups is None and len(one):
            notices.append(f"{name} has no groups: each of its images counts as one of its own")
        found.append(one.ids if one.groups is None else one.groups)
    return apart(found, names) if sources else found


def _domains(cells: Sequence[ImageSet], names: Sequence[str], sources: bool) -> NDArray[np.str_] | None:
    if not sources and all(one.domains is None for one in cells):
        return None
    found = [
        np.full(len(one), name) if one.domains is None else one.domains for one, name in zip(cells, names, strict=True)
    ]
    return np.concatenate(apart(found, names) if sources else found)


def _prefixed(columns: Sequence[Sequence[str]], names: Sequence[str]) -> list[str]:
    """Give notices, each with the sets that have it; one that all have without a name."""
    holders: dict[str, list[str]] = {}
    for name, notices in zip(names, columns, strict=True):
        for notice in notices:
            holders.setdefault(notice, []).append(name)
    counts = Counter({notice: len({*where}) for notice, where in holders.items()})
    return [
        notice if counts[notice] == len(names) else f"{', '.join(dict.fromkeys(where))}: {notice}"
        for notice, where in holders.items()
    ]
