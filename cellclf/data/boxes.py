"""Cells in fields: boxes of a table, of VOC XML or of COCO JSON are cut out as they are read, with a margin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellclf.data import decode as decoding
from cellclf.data import listing as listings
from cellclf.data.decode import AS_THEY_ARE, Reading, scan
from cellclf.data.image_set import FilePlace, ImageSet, Skipped
from cellclf.data.listing import Box, FileOptions, Listing
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
        self.paths = list(paths)
        self.edges = np.asarray(edges, np.int64).reshape(-1, 4)
        self.shape = (int(size[0]), int(size[1]), 3)

    def __len__(self) -> int:
        return len(self.paths)

    def at_size(self, size: tuple[int, int], fit: str | None = None) -> CropSource:
        """Give the same crops at another size; they are squares as far as their field allows, so ``fit`` is moot."""
        return CropSource(self.paths, self.edges, size, self.reading)

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
        from PIL import Image

        try:
            field = Image.fromarray(decoding.decode(path, reading=self.reading)[0])
        except Unreadable as problem:
            raise DataError(f"{path}: {problem}; load the set again, so that such files are skipped") from None
        height, width = self.shape[:2]
        crops = np.empty((len(rows), *self.shape), np.uint8)
        for place, row in enumerate(rows):
            left, top, right, bottom = self.edges[row].tolist()
            if right > field.width or bottom > field.height:
                raise DataError(f"{path} has changed: a box ends at {right}, {bottom}, the image at {field.size}")
            crop = field.crop((left, top, right, bottom))
            crops[place] = np.asarray(
                crop if crop.size == (width, height) else crop.resize((width, height), Image.Resampling.LANCZOS)
            )
        return crops


def read_crops(listing: Listing, options: FileOptions, where: str, margin: float) -> ImageSet:
    """Make a set of the boxes of a listing.

    Each box gets the margin on every side and becomes a square round its middle as far as the field allows, so that
    no cell is squeezed. Crops of one field are one group unless the listing names groups.

    Args:
        listing: Fields, a box in each.
        options: How to read them.
        where: What was listed, for messages.
        margin: For boxes that have none of their own.
    """
    fields = list(dict.fromkeys(listing.paths))
    scans = dict(
        zip(fields, scan(fields, verify=options.verify, show=options.show, reading=options.reading), strict=True)
    )
    crops_of = Counter(listing.paths)
    skipped = listing.skipped + [
        Skipped(printable(path), f"{scans[path].problem} ({crops_of[path]} boxes)")
        for path in fields
        if not scans[path].size
    ]
    kept: list[int] = []
    edges: list[tuple[int, int, int, int]] = []
    clipped = 0
    for k, (path, box) in enumerate(zip(listing.paths, listing.boxes, strict=True)):
        size = scans[path].size
        if size is None:
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
    if not kept:
        some = skipped[:1]
        why = f"; the first: {some[0].id} ({some[0].reason})" if some else ""
        raise DataError(f"{where} names no box in a readable image, of {len(listing.paths)} boxes{why}")
    count = len({listing.paths[k] for k in kept})
    notices = [
        *listing.notices,
        *listings._conversions([(printable(path), scans[path]) for path in fields if scans[path].size]),
    ]
    notices.append(
        f"{len(kept):,} boxes were cut out of {count:,} image{'s' * (count != 1)}, with a margin of {margin:g} of a box"
    )
    if clipped:
        notices.append(f"{clipped:,} boxes reach beyond their image and were cut off at its border")
    column = np.asarray(edges, np.int64)
    sizes = np.stack([column[:, 3] - column[:, 1], column[:, 2] - column[:, 0]], axis=1)
    shape = listings._common_size(sizes, options, notices)
    if not listing.groups:
        notices.append("crops of one image are one group, so that a split keeps them together")
    groups = listing.groups or [printable(path) for path in listing.paths]
    return ImageSet(
        CropSource([listing.paths[k] for k in kept], column, shape, options.reading),
        [listing.labels[k] for k in kept] if listing.labels else None,
        ids=[listing.ids[k] for k in kept],
        groups=[groups[k] for k in kept],
        sizes=sizes,
        notices=notices,
        skipped=skipped,
    )


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
