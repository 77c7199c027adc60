"""Cells in fields: boxes of a table, of VOC XML or of COCO JSON are cut out as they are read, with a margin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cellclf.data import decode as decoding
from cellclf.data import listing as listings
from cellclf.data.decode import AS_THEY_ARE, Reading, Scan, scan
from cellclf.data.fit import fitted
from cellclf.data.held import HeldSource
from cellclf.data.image_set import FilePlace, ImageSet, Skipped
from cellclf.data.listing import Box, FileOptions, Listing
from cellclf.data.looks import odd_looks
from cellclf.data.opening import quiet
from cellclf.data.pixels import Unreadable
from cellclf.data.sources import Images, Rows
from cellclf.errors import DataError, printable

MARGIN = 0.1
_LEAST_SIDE = 2


class CropSource:
    """Boxes in image files, cut out each time they are read; each file is decoded once a batch.

    Args:
        paths: The field of each crop.
        edges: (N, 4) left, top, right and bottom of each crop, whole pixels within its field.
        size: Height and width that every crop is given.
        reading: How the fields are decoded.
    """

    def __init__(
        self, paths: Sequence[str], edges: NDArray[np.int64], size: tuple[int, int], reading: Reading = AS_THEY_ARE
    ) -> None:
        self.reading = reading
        self.paths = decoding.absolute(paths)
        self.edges = np.asarray(edges, np.int64).reshape(-1, 4)
        self.shape = (int(size[0]), int(size[1]), 3)

    def __len__(self) -> int:
        return len(self.paths)

    def at_size(self, size: tuple[int, int], fit: str | None = None) -> CropSource:
        """Give the same crops at another size."""
        reading = self.reading if fit is None else replace(self.reading, fit=fit)
        return CropSource(self.paths, self.edges, size, reading)

    @property
    def fit(self) -> str:
        """How a crop that is no square, at the border of its field, is brought to the size."""
        return self.reading.fit

    def taken(self, rows: Rows) -> CropSource:
        """Give some of the crops."""
        return CropSource([self.paths[row] for row in rows], self.edges[rows], self.shape[:2], self.reading)

    def places(self, rows: Rows) -> list[FilePlace]:
        """Give the file and the edges of crops."""
        return [FilePlace(self.paths[row], tuple(self.edges[row].tolist())) for row in rows]

    def read(self, rows: Rows) -> Images:
        """Cut out the crops at these places: (n, H, W, 3) uint8.

        Raises:
            DataError: A file that was readable when the set was loaded, and no longer is.
        """
        images = np.empty((len(rows), *self.shape), np.uint8)
        of_file: dict[str, list[int]] = {}
        for place, row in enumerate(rows):
            of_file.setdefault(self.paths[row], []).append(place)
        jobs = [(path, places) for path, places in of_file.items()]
        with quiet:
            work = lambda job: self._cut(job[0], rows[job[1]])  # noqa: E731  # as short as a name for it
            found = map(work, jobs) if len(jobs) < 8 else decoding._in_threads(work, jobs)
            for (_, places), crops in zip(jobs, found, strict=True):
                images[places] = crops
        return images

    def _cut(self, path: str, rows: Rows) -> Images:
        try:
            field = decoding.decode(path, reading=self.reading)[0]
        except Unreadable as problem:
            raise DataError(f"{path}: {problem}; load the set again, so that such files are skipped") from None
        return self.cut_out(field, rows)

    def cut_out(self, field: Images, rows: Rows) -> Images:
        """Cut crops out of their field.

        Args:
            field: (H, W, 3) uint8, the field of all of them.
            rows: The crops.

        Raises:
            DataError: A field that is smaller than it was.
        """
        from PIL import Image

        image = Image.fromarray(field)
        crops = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows):
            left, top, right, bottom = self.edges[row].tolist()
            if right > image.width or bottom > image.height:
                path = self.paths[row]
                raise DataError(f"{path} has changed: a box ends at {right}, {bottom}, the image at {image.size}")
            crops[place] = np.asarray(fitted(image.crop((left, top, right, bottom)), self.shape[:2], self.reading.fit))
        return crops


def read_crops(listing: Listing, options: FileOptions, where: str, margin: float) -> ImageSet:
    """Make a set of the boxes of a listing.

    Each box gets the margin on every side and becomes a square round its middle as far as the field allows, so that
    no cell is squeezed. Crops of one field are one group unless the listing names groups. The boxes are placed by the
    headers of the fields, so that each field is decoded once.

    Args:
        listing: Fields, a box in each.
        options: How to read them.
        where: What was listed, for messages.
        margin: For boxes that have none of their own.
    """
    fields = list(dict.fromkeys(listing.paths))
    scans = dict(zip(fields, scan(fields, verify=False, show=False, reading=options.reading), strict=True))
    skipped = list(listing.skipped)
    kept, edges, clipped = _place(listing, scans, margin, skipped)
    notices = list(listing.notices)
    shape, held = (1, 1), None
    if kept:
        shape = listings._common_size(_sides(edges), options, [])
        held = HeldSource(CropSource([listing.paths[k] for k in kept], edges, shape, options.reading))
        if options.verify:
            scans |= _keep_all(held, fields, scans, options)
    crops_of = Counter(listing.paths)
    skipped += [
        Skipped(printable(path), f"{scans[path].problem} ({crops_of[path]} boxes)")
        for path in fields
        if not scans[path].size
    ]
    good = [place for place, k in enumerate(kept) if scans[listing.paths[k]].size]
    if held is None or not good:
        some = skipped[:1]
        why = f"; the first: {some[0].id} ({some[0].reason})" if some else ""
        raise DataError(f"{where} names no box in a readable image, of {len(listing.paths)} boxes{why}")
    source = held if len(good) == len(kept) else held.taken(np.asarray(good))
    kept, edges = [kept[place] for place in good], edges[good]
    notices += listings._conversions([(printable(path), scans[path]) for path in fields if scans[path].size])
    count = len({listing.paths[k] for k in kept})
    notices.append(
        f"{len(kept):,} boxes were cut out of {count:,} image{'s' * (count != 1)}, with a margin of {margin:g} of a box"
    )
    if clipped:
        notices.append(f"{clipped:,} boxes reach beyond their image and were cut off at its border")
    sizes = _sides(edges)
    wanted = listings._common_size(sizes, options, notices)
    source = source if wanted == shape else source.at_size(wanted)
    if not listing.groups:
        notices.append("crops of one image are one group, so that a split keeps them together")
    groups = listing.groups or [printable(path) for path in listing.paths]
    if options.verify:
        notices += odd_looks(source, known=notices, limit=32, flat=False)
    return ImageSet(
        source,
        [listing.labels[k] for k in kept] if listing.labels else None,
        ids=[listing.ids[k] for k in kept],
        groups=[groups[k] for k in kept],
        domains=[listing.domains[k] for k in kept] if listing.domains else None,
        sizes=sizes,
        notices=notices,
        skipped=skipped,
    )


def _place(
    listing: Listing, scans: Mapping[str, Scan], margin: float, skipped: list[Skipped]
) -> tuple[list[int], NDArray[np.int64], int]:
    """Give the boxes that lie in their field, their edges in pixels, and how many reach beyond it."""
    kept: list[int] = []
    edges: list[tuple[int, int, int, int]] = []
    clipped = 0
    for k, (path, box) in enumerate(zip(listing.paths, listing.boxes, strict=True)):
        size = scans[path].size
        if size is None:
            continue
        if box.drawn_on not in (None, tuple(size)):
            drawn, there = ("x".join(map(str, one)) for one in (box.drawn_on or (), size))
            turned = " (turned?)" if box.drawn_on == (size[1], size[0]) else ""
            skipped.append(
                Skipped(
                    listing.ids[k],
                    f"the box was drawn on an image of {drawn}, and the file has {there}{turned}: it would be cut out "
                    "in another place",
                )
            )
            continue
        found, beyond = cut(box, size, margin if box.margin is None else box.margin)
        if found is None:
            skipped.append(
                Skipped(listing.ids[k], f"the box {_told(box)} is empty or outside its field of {size[0]}x{size[1]}")
            )
            continue
        clipped += beyond
        kept.append(k)
        edges.append(found)
    return kept, np.asarray(edges, np.int64).reshape(-1, 4), clipped


def _sides(edges: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.stack([edges[:, 3] - edges[:, 1], edges[:, 2] - edges[:, 0]], axis=1)


def _keep_all(
    held: HeldSource[CropSource], fields: Sequence[str], scans: Mapping[str, Scan], options: FileOptions
) -> dict[str, Scan]:
    """Decode each readable field once, keep its crops, and say what it was found to be."""
    rows: dict[str, list[int]] = {}
    for row, path in enumerate(held.source.paths):
        rows.setdefault(path, []).append(row)
    readable = [path for path in fields if scans[path].size]
    known = decoding.absolute(readable)

    def keep(place: int, field: Images) -> None:
        of_field = rows.get(known[place], [])
        for row, crop in zip(of_field, held.source.cut_out(field, np.asarray(of_field, np.int64)), strict=True):
            held.keep(row, crop)

    found = scan(readable, show=options.show, reading=options.reading, keep=keep)
    return dict(zip(readable, found, strict=True))


def cut(box: Box, size: tuple[int, int], margin: float) -> tuple[tuple[int, int, int, int] | None, bool]:
    """Give the edges of the crop of a box, and whether the box reached beyond the image.

    Args:
        box: The box.
        size: Height and width of the image.
        margin: Added on each side, as a fraction of the longer side of the box.

    Examples:
        >>> cut(Box(10, 10, 30, 20), (96, 96), 0.0)
        ((10, 5, 30, 25), False)
        >>> cut(Box(0, 0, 20, 10), (96, 96), 0.1)  # at the border it is moved inside
        ((0, 0, 24, 24), False)
    """
    height, width = size
    scale = (width, height) if box.relative else (1, 1)
    left, right = sorted((box.left * scale[0], box.right * scale[0]))
    top, bottom = sorted((box.top * scale[1], box.bottom * scale[1]))
    beyond = left < -1 or top < -1 or right > width + 1 or bottom > height + 1
    left, right = max(0.0, left), min(float(width), right)
    top, bottom = max(0.0, top), min(float(height), bottom)
    if right - left < _LEAST_SIDE or bottom - top < _LEAST_SIDE:
        return None, beyond
    if margin <= 0 and _whole(box) and box.margin is not None:  # a crop that was saved: exactly this
        return (round(left), round(top), round(right), round(bottom)), beyond
    side = round(max(right - left, bottom - top) * (1 + 2 * margin))
    across, down = min(side, width), min(side, height)
    start = min(max(0, round((left + right - across) / 2)), width - across)
    up = min(max(0, round((top + bottom - down) / 2)), height - down)
    return (start, up, start + across, up + down), beyond


def _whole(box: Box) -> bool:
    return not box.relative and all(float(edge).is_integer() for edge in box[:4])


def _told(box: Box) -> str:
    return ", ".join(f"{edge:g}" for edge in box[:4])
