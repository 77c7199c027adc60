"""Contact sheets and thumbnails, shared by every result that draws images."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
"""Colours that colour-blind readers can distinguish (Okabe and Ito 2008, Color Universal Design)."""

INK = "#1d2026"
"""Text and lines of figures; a page replaces it by its own, light or dark."""

_CAPTION = 6.5


def sheet(
    images: NDArray[np.uint8],
    *,
    captions: Sequence[str] | None = None,
    columns: int | None = None,
    title: str | None = None,
    side: float = 1.1,
) -> Figure:
    """Draw images in rows, each with its caption.

    Args:
        images: (N, H, W, 3) uint8, 0-255.
        captions: N short texts, drawn above the images; a long one extends over images without a caption, and is cut
            in its middle where the next one begins.
        columns: Images in a row; None makes the sheet about twice as wide as high.
        title: Text above all.
        side: Inches for one image.

    Returns:
        A matplotlib figure.

    Examples:
        >>> figure = sheet(np.zeros((3, 8, 8, 3), np.uint8), captions=["a", "b", "c"])
        >>> len(figure.axes)
        3
    """
    from cellclf.utils.figure import Figure

    count = max(1, len(images))
    columns = columns or min(count, max(1, round(math.sqrt(2 * count))))
    rows = math.ceil(count / columns)
    texts = [""] * count if captions is None else [drawable(text) for text in captions]
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    head, text_height = 0.36 if title else 0.04, 0.06 * bool(lines) + 0.11 * lines
    height = rows * (side + text_height) + head
    figure = Figure(figsize=(columns * side, height), dpi=110)
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        top = height - head - row * (side + text_height) - text_height
        axes = figure.add_axes(
            ((column + 0.03) / columns, (top - side * 0.97) / height, 0.94 / columns, 0.94 * side / height)
        )
        axes.imshow(image, interpolation="nearest")
        axes.set_axis_off()
        if texts[k]:
            free = next((n for n in range(1, columns - column) if k + n < count and texts[k + n]), columns - column)
            axes.set_title(_cut(texts[k], free * side - 0.06), fontsize=_CAPTION, pad=2, loc="left")
    if title:
        figure.suptitle(drawable(title), fontsize=10, y=1 - 0.1 / height, va="top")
    return figure


def drawable(text: str) -> str:
    r"""Prepare any text, such as a file name, for a figure: no formulas between $, and only letters of the font.

    What the font lacks becomes a box, where matplotlib would warn once for each letter.

    Examples:
        >>> print(drawable("5$ \u7d30"))
        5\$ □
    """
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    drawn = (c if c == "\n" or font.get_char_index(ord(c)) else "□" for c in text)
    return "".join(drawn).replace("$", r"\$")


def _cut(text: str, inches: float) -> str:
    """Shorten each line in its middle to what fits at the size of a caption."""
    most = max(5, int(inches * 72 / (0.56 * _CAPTION)))
    lines = text.split("\n")
    return "\n".join(x if len(x) <= most else f"{x[: most - most // 2 - 1]}…{x[len(x) - most // 2 :]}" for x in lines)


def thumbnail(image: NDArray[np.uint8], side: int = 96) -> str:
    """Encode an image as a ``data:`` address that stands inside an HTML page.

    WebP, because a page with hundreds of thumbnails would be four times as large in PNG.

    Args:
        image: (H, W, 3) uint8, 0-255.
        side: The longer side of the thumbnail in pixels; smaller images keep their size.

    Examples:
        >>> thumbnail(np.zeros((4, 4, 3), np.uint8))[:23]
        'data:image/webp;base64,'
    """
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(image))
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "webp", quality=90)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
