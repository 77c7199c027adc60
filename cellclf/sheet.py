"""Pictures of pictures: contact sheets and thumbnails, shared by every result that can be looked at."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Colours that colour-blind readers can tell apart (Okabe and Ito 2008, Color Universal Design)."""


def sheet(
    images: NDArray[np.uint8],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str | None = None,
    side: float = 1.1,
) -> Figure:
    """Draw pictures in rows, each with its caption.

    Args:
        images: (N, H, W, 3) uint8, 0-255.
        captions: N short texts, drawn above the pictures.
        columns: Pictures in a row; None makes the sheet about twice as wide as high.
        title: Text above all.
        side: Inches for one picture.

    Returns:
        A matplotlib figure.

    Example:
        >>> figure = sheet(np.zeros((3, 8, 8, 3), np.uint8), captions=["a", "b", "c"])
        >>> len(figure.axes)
        3
    """
    from matplotlib.figure import Figure

    count = max(1, len(images))
    columns = columns or min(count, max(1, round(math.sqrt(2 * count))))
    rows = math.ceil(count / columns)
    head = 0.45 if title else 0.05
    text = 0.2 if captions is not None else 0.0
    height = rows * (side + text) + head
    figure = Figure(figsize=(columns * side, height), dpi=110)
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        top = height - head - row * (side + text) - text
        axes = figure.add_axes(
            ((column + 0.03) / columns, (top - side * 0.97) / height, 0.94 / columns, 0.94 * side / height)
        )
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        if captions is not None:
            axes.set_title(captions[k], fontsize=6.5, pad=2)
    if title:
        figure.suptitle(title, fontsize=10, y=1 - 0.12 / height, va="top")
    return figure


def png(image: NDArray[np.uint8] | Figure, **options: Any) -> bytes:
    """Encode a picture or a figure as PNG.

    Args:
        image: (H, W, 3) uint8, 0-255, or a matplotlib figure.
        options: For a figure: passed to ``savefig``.
    """
    buffer = io.BytesIO()
    if isinstance(image, np.ndarray):
        from PIL import Image

        Image.fromarray(image).save(buffer, "png", optimize=True)
    else:
        image.savefig(buffer, format="png", **options)
    return buffer.getvalue()


def thumbnail(image: NDArray[np.uint8], side: int = 96) -> str:
    """Encode a picture as a ``data:`` address that stands inside an HTML page.

    Args:
        image: (H, W, 3) uint8, 0-255.
        side: The longer side of the thumbnail in pixels; smaller pictures keep their size.

    Example:
        >>> thumbnail(np.zeros((4, 4, 3), np.uint8))[:22]
        'data:image/png;base64,'
    """
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    picture.thumbnail((side, side))
    return "data:image/png;base64," + base64.b64encode(png(np.asarray(picture))).decode()
