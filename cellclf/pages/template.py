"""From plain data to HTML: the jinja2 environment, number formats and thumbnails."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.utils.atomic import write_text

if TYPE_CHECKING:
    import jinja2
    import numpy as np
    from numpy.typing import NDArray

    from cellclf.data.image_set import ImageSet

SIDE = 96
"""Longer side of a thumbnail in pixels; a page holds some hundreds of them and stays under 5 MB."""


@cache
def _environment(package: str) -> jinja2.Environment:
    import jinja2

    packages = dict.fromkeys((package, "cellclf.pages"))
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(name) for name in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"plain": plain, "percent": percent, "duration": duration, "count": count}
    return made


def render(template: str, *, package: str = "cellclf.pages", **data: Any) -> str:
    """Fill a template.

    Args:
        template: Its file name under ``templates/`` of the package; it may include those of this room.
        package: The package of the template.
        data: What it shows.
    """
    return _environment(package).get_template(template).render(**data)


def write(path: str | Path, text: str) -> Path:
    """Write a page, whole or not at all."""
    return write_text(Path(path), text)


def plain(name: str) -> str:
    """Write a name as words.

    Examples:
        >>> plain("immature_granulocyte")
        'immature granulocyte'
    """
    return name.replace("_", " ")


def percent(share: float, digits: int = 1) -> str:
    r"""Write a share as per cent.

    Examples:
        >>> percent(0.9512)
        '95.1\u202f%'
    """
    return f"{100 * share:.{digits}f}\u202f%"


def count(number: int, noun: str = "") -> str:
    """Write a whole number, with its noun if there is one.

    Examples:
        >>> count(1, "image"), count(12000, "image"), count(7)
        ('1 image', '12,000 images', '7')
    """
    return f"{number:,}" + (f" {noun}{'' if number == 1 else 's'}" if noun else "")


def duration(seconds: float) -> str:
    """Write a time as people do.

    Examples:
        >>> duration(0.25), duration(47.3), duration(754), duration(3960)
        ('0.2 s', '47 s', '12 min 34 s', '1 h 6 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def date_text(manifest: Mapping[str, Any]) -> str:
    """Give the date and time of a run, "" if it is not known.

    Args:
        manifest: Of the run.

    Examples:
        >>> date_text({"date": "2026-11-28T08:46:01Z"})
        '2026-11-28, 08:46 UTC'
    """
    try:
        found = datetime.datetime.fromisoformat(manifest.get("date", ""))
    except (TypeError, ValueError):  # runs of older versions have none
        return ""
    return f"{found.astimezone(datetime.UTC):%Y-%m-%d, %H:%M} UTC"


def thumbnails(
    cells: ImageSet,
    rows: Sequence[int],
    captions: Sequence[str] | None = None,
    kinds: Sequence[str] | None = None,
    beside: NDArray[np.uint8] | None = None,
) -> list[dict[str, str]]:
    """Make thumbnails with caption, id and kind (a CSS class) of some images of a set.

    Args:
        cells: The set.
        rows: Places in it.
        captions: One short text for each.
        kinds: One word for each: "removed", "kept" or "".
        beside: (n, H, W, 3) uint8 images to show to the right of each; None for none.
    """
    from cellclf.utils.contact_sheet import thumbnail

    return [
        {
            "src": thumbnail(image, SIDE),
            "caption": captions[k] if captions else "",
            "id": str(cells.ids[row]),
            "kind": kinds[k] if kinds else "",
            "beside": "" if beside is None else thumbnail(beside[k], SIDE),
        }
        for k, (row, image) in enumerate(zip(rows, cells.read(list(rows)), strict=True))
    ]
