"""What was planted in a generated set, read from the ids of its images."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.data.door import as_cells
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError


@dataclass(frozen=True, eq=False)
class Planted:
    """The truth about each image of a generated set.

    Args:
        ids: (N,) the images, in the order of the set.
        kinds: (N,) "cell", "foreign" (non-cell), "copy" (identical), "relabelled" (identical, another label), or the
            near-duplicate's change: "jpeg", "brighter", "darker", "turn90", "turn180", "turn270", "flip", "flip90",
            "flip180", "flip270".
        sources: (N,) the id that the image was made from; "" for an image that was not made from another.
    """

    ids: NDArray[np.str_]
    kinds: NDArray[np.str_]
    sources: NDArray[np.str_]

    def counts(self) -> dict[str, int]:
        """Count the images of each kind."""
        return dict(sorted(Counter(self.kinds.tolist()).items()))

    def pairs(self, *kinds: str) -> list[tuple[str, str]]:
        """List (source, made from it), of these kinds or of all."""
        made = self.sources != ""
        if kinds:
            made &= np.isin(self.kinds, kinds)
        return list(zip(self.sources[made].tolist(), self.ids[made].tolist(), strict=True))


def planted(cells: ImageSet) -> Planted:
    """Read what was planted in a set that ``make_cells`` made, or in a part of it.

    The truth is in the ids, so it survives a subset, a split or a saved file: "cell-00012" is a cell,
    "cell-00012:copy" and "cell-00012:jpeg" were made from it, "foreign-text-001" is a non-cell image.

    Args:
        cells: A generated set.

    Raises:
        DataError: An id that ``make_cells`` did not write.

    Examples:
        >>> from cellclf.data.generated import make_cells
        >>> truth = planted(make_cells(8, size=32, duplicates=1, foreign=2))
        >>> truth.counts()
        {'cell': 8, 'copy': 1, 'foreign': 2}
    """
    kinds, sources = [], []
    for name in as_cells(cells).ids.tolist():
        source, _, change = name.partition(":")
        start, dash, _ = source.partition("-")
        if start not in ("cell", "foreign") or not dash:
            raise DataError(
                f"the id {name!r} is not one of a generated set, which begin with 'cell-' or 'foreign-': "
                "expected a set that make_cells made"
            )
        kinds.append("foreign" if start == "foreign" else change or "cell")
        sources.append(source if change else "")
    return Planted(cells.ids, np.array(kinds, dtype=np.str_), np.array(sources, dtype=np.str_))
