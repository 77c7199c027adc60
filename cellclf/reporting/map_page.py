"""map.html: a map of cells on which pointing at a cell shows its image, as one self-contained page."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.pages.template import plain, render, write
from cellclf.reporting.cell_map import COLOURS, GREY, CellMap, Method, cell_map

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cellclf.data.door import Cells
    from cellclf.data.image_set import ImageSet

MOST_CELLS, MOST_IMAGES = 6_000, 1_500
"""So many cells, and so many with an image, does a page hold: below 2 MB."""

_TILE = 32  # longer side of an image in pixels
_MOST_MISTAKES = 600


def write_map(
    path: str | Path,
    features: NDArray[np.floating],
    cells: Cells | Mapping[str, ImageSet],
    *,
    predicted: NDArray[Any] | Sequence[str] | None = None,
    widths: Sequence[int] | None = None,
    method: Method = "auto",
    title: str = "Map of cells",
    show_ids: bool = False,
    seed: int = 0,
) -> Path:
    """Write a map of cells: what a network sees as alike lies together, and pointing at a cell shows its image.

    One file that asks for nothing, also from ``file://``. Colours show the class, the set or the mistakes; every cell
    can be reached by mouse, touch or keyboard. The page holds up to 6,000 cells and 1,500 images of 32 pixels, mistakes
    first; of more cells some are drawn at random.

    Args:
        path: Ends in ``.html``; an existing file is replaced only when the new one is complete.
        features: (N, D) pooled features, such as those of ``Run.features``.
        cells: The N images, with or without labels: a set, an array, a path, a DataFrame of paths; or several
            ImageSets by name, whose cells come one set after the other.
        predicted: (N,) predicted classes: names, or an index into the class names of the first set. With labels, the
            page shows mistakes.
        widths: Of the layers, which sum to D: each layer then counts the same; None takes D as one layer.
        method: ``"pca"``, ``"umap"`` (needs ``pip install umap-learn``), or ``"auto"``: UMAP where it is installed.
        title: Heading.
        show_ids: Whether the page holds the ids; file names may hold names of patients.
        seed: Of UMAP.

    Raises:
        DataError: Arrays that do not fit together, or fewer than two cells.
        OptionError: Another method.
        MissingPackageError: UMAP is asked for and not installed.

    Examples:
        >>> import tempfile
        >>> from cellclf import ImageSet
        >>> rng = np.random.default_rng(0)
        >>> cells = ImageSet(rng.integers(0, 256, (20, 24, 24, 3), dtype=np.uint8), np.arange(20) % 2)
        >>> write_map(tempfile.mkdtemp() + "/map.html", rng.normal(size=(20, 5)), cells, method="pca").name
        'map.html'
    """
    found = cell_map(features, cells, predicted=predicted, widths=widths, method=method, seed=seed)
    return write_map_page(found, path, title=title, show_ids=show_ids)


def write_map_page(found: CellMap, path: str | Path, *, title: str, show_ids: bool = False, back: str = "") -> Path:
    """Write the page of a map.

    Args:
        found: The map.
        path: Where to.
        title: Heading.
        show_ids: Whether the page holds the ids.
        back: Name of a report beside it, to link; "" links none.
    """
    rows = np.arange(len(found))
    if len(rows) > MOST_CELLS:
        rows = np.sort(np.random.default_rng(0).permutation(len(rows))[:MOST_CELLS])
    data = _data(found, rows, show_ids)
    modes = [("class", "class")] if found.labelled else []
    modes += [("predicted", "predicted class")] if found.predicted is not None and not modes else []
    modes += [("set", "set")] if len(data["sets"]) > 1 or not modes else []
    modes += [("mistake", "mistake")] if found.predicted is not None and found.labelled else []
    script = resources.files("cellclf.reporting").joinpath("templates", "map.js").read_text("utf-8")
    from markupsafe import Markup

    text = render(
        "map.html.j2",
        package="cellclf.reporting",
        title=title,
        total=len(found),
        shown=len(rows),
        method=found.method,
        modes=modes,
        without=sum(tile < 0 for tile in data["tile"]),
        back=back,
        data=Markup(json.dumps(data).replace("<", "\\u003c")),  # JSON without < is safe in a script element
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return write(path, text)


def _data(found: CellMap, rows: NDArray[np.int64], show_ids: bool) -> dict[str, Any]:
    names, labels = found.set_names, found.labels
    called = np.full(len(found), -1) if found.predicted is None else found.predicted
    own = [name in ("train", "val") and len(names) > 1 for name in names]
    with_image = _with_image(rows, labels, called)
    tile = np.full(len(found), -1)
    tile[with_image] = np.arange(len(with_image))
    sprite, across, down = _sprite(found, with_image)
    x, y = np.round(1000 * found.points[rows].T).astype(int)
    return {
        "classes": [plain(name) for name in found.class_names],
        "colours": [COLOURS[k % len(COLOURS)] for k in range(len(found.class_names))],
        "sets": names,
        "set_colours": [GREY if mine and k == 0 else COLOURS[k % len(COLOURS)] for k, mine in enumerate(own)],
        "x": x.tolist(),
        "y": y.tolist(),
        "label": labels[rows].tolist(),
        "predicted": [] if found.predicted is None else called[rows].tolist(),
        "set": found.sets[rows].tolist(),
        "ids": found.ids(rows) if show_ids else [],
        "tile": tile[rows].tolist(),
        "sprite": sprite,
        "across": across,
        "down": down,
    }


def _with_image(rows: NDArray[np.int64], labels: NDArray[np.int64], called: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose the cells whose images the page holds: mistakes, then every class in turn."""
    if len(rows) <= MOST_IMAGES:
        return rows
    order = np.random.default_rng(1).permutation(rows)
    wrong = (labels[order] >= 0) & (called[order] >= 0) & (labels[order] != called[order])
    first = order[wrong][:_MOST_MISTAKES]
    rest = order[~np.isin(order, first)]
    turn = np.empty(len(rest), np.int64)  # the how manieth of its class
    for label in np.unique(labels[rest]):
        inside = labels[rest] == label
        turn[inside] = np.arange(inside.sum())
    rest = rest[np.argsort(turn, kind="stable")]
    return np.sort(np.concatenate([first, rest])[:MOST_IMAGES])


def _sprite(found: CellMap, rows: NDArray[np.int64]) -> tuple[str, int, int]:
    """Pack small images into one, and give its address and how many it holds across and down."""
    from PIL import Image

    across = max(1, int(np.ceil(np.sqrt(len(rows)))))
    down = max(1, -(-len(rows) // across))
    sheet = Image.new("RGB", (across * _TILE, down * _TILE), (128, 128, 128))
    for start in range(0, len(rows), 256):
        for k, image in enumerate(found.read(rows[start : start + 256]), start):
            small = Image.fromarray(np.ascontiguousarray(image))
            small.thumbnail((_TILE, _TILE))
            left = k % across * _TILE + (_TILE - small.width) // 2
            sheet.paste(small, (left, k // across * _TILE + (_TILE - small.height) // 2))
    buffer = io.BytesIO()
    sheet.save(buffer, "webp", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode(), across, down
