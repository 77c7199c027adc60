"""Everything that a selector removed, as pages of images to check."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.errors import DataError
from cellclf.pages.template import count, render
from cellclf.reporting.removals import MEANINGS, Line, kinds, lines, scores_of, searched, strip
from cellclf.utils.atomic import replacing

if TYPE_CHECKING:
    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet

_PER_LINE = 30  # images of one group
_PER_PAGE = 360  # images of one file: about 2 MB


def write_gallery(
    selection: Selection, path: str | Path, *, title: str = "", cells: ImageSet | None = None
) -> list[Path]:
    """Write what a selection removes, and what it nearly removed, as self-contained pages.

    Each group of copies is one line, label conflicts are named; outliers are shown in the order of their score,
    followed by the kept images with the highest scores. A long gallery continues in ``NAME-2.html`` ...

    Args:
        selection: What ``Dedup``, ``OutlierFilter`` or ``Downsample`` found.
        path: The first page.
        title: Heading; "" gives the number of removed images.
        cells: The searched set, if the selection does not hold it.

    Returns:
        The pages written.

    Raises:
        DataError: The images are not available.

    Examples:
        >>> import tempfile
        >>> from cellclf import Dedup, ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
        >>> images[1] = images[0]
        >>> [page.name for page in write_gallery(Dedup().find(ImageSet(images)), tempfile.mkdtemp() + "/copies.html")]
        ['copies.html']
    """
    path = Path(path)
    found_on = searched(selection, cells)
    if found_on is None:
        raise DataError("this selection does not hold its images; pass the searched set as cells=")
    pages = _pages(_all_lines(selection))
    names = [path.with_name(f"{path.stem}-{k}{path.suffix}" if k > 1 else path.name) for k in range(1, len(pages) + 1)]
    counted = [(kind, len(rows), MEANINGS.get(kind, "")) for kind, rows in kinds(selection).items()]
    with contextlib.ExitStack() as pending:  # all pages or none; the first, which links to the others, is written last
        for k, (page, target) in enumerate(zip(pages, names, strict=True)):
            sections: list[dict[str, Any]] = []
            for line in page:
                if not sections or sections[-1]["kind"] != line.kind:
                    sections.append({"kind": line.kind, "meaning": MEANINGS.get(line.kind, ""), "lines": []})
                shown = line.rows[:_PER_LINE] if line.words else line.rows
                sections[-1]["lines"].append(
                    {
                        "words": line.words,
                        "images": strip(selection, found_on, shown),
                        "more": len(line.rows) - len(shown),
                    }
                )
            text = render(
                "gallery.html.j2",
                package="cellclf.reporting",
                title=title or f"{count(selection.removed, 'image')} of {len(selection):,} removed",
                kinds=counted,
                before=len(selection),
                removed=selection.removed,
                scored=scores_of(selection) is not None,
                sections=sections,
                page=k + 1,
                pages=[name.name for name in names],
            )
            pending.enter_context(replacing(target)).write_text(text, encoding="utf-8")
    return names


def _all_lines(selection: Selection) -> list[Line]:
    """Every line of the gallery, in order; long lines without words of their own are cut into rows of images."""
    found = [line for every in lines(selection).values() for line in every]
    near = getattr(selection, "near", None)
    if near is not None and hasattr(selection, "groups"):
        for first, second, alike in zip(near.first, near.second, near.similarity, strict=True):
            rows = np.array([first, second], np.intp)
            found.append(Line("similar, both kept", rows, f"similarity {alike:.3f}: one cell imaged twice?"))
    if (scores := scores_of(selection)) is not None:
        kept = np.flatnonzero(selection.keep)
        highest = kept[np.argsort(-scores[kept], kind="stable")][:48]
        found.append(Line("kept, with the highest scores", highest, ""))
    cut = []
    for line in found:
        step = len(line.rows) if line.words else 60
        cut += [Line(line.kind, line.rows[k : k + step], line.words) for k in range(0, len(line.rows), max(1, step))]
    return cut


def _pages(every: list[Line]) -> list[list[Line]]:
    pages: list[list[Line]] = [[]]
    room = _PER_PAGE
    for line in every:
        needed = min(len(line.rows), _PER_LINE) if line.words else len(line.rows)
        if pages[-1] and needed > room:
            pages.append([])
            room = _PER_PAGE
        pages[-1].append(line)
        room -= needed
    return pages
