"""The figure that every ``plot`` gives: at the end of a notebook cell it is shown, once, whatever the backend is."""

from __future__ import annotations

import io

import matplotlib.figure


class Figure(matplotlib.figure.Figure):
    """A matplotlib figure that no window and no ``pyplot`` knows, and that a notebook shows as an image.

    Examples:
        >>> figure = Figure(figsize=(1, 1))
        >>> figure._repr_png_()[1:4]
        b'PNG'
    """

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", bbox_inches="tight")
        return buffer.getvalue()
