"""Constants of colour: luma weights, and the matrices of CIELAB."""

from __future__ import annotations

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the luma of ITU-R BT.601, which JPEG and Pillow use too."""

RGB_TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
"""Linear sRGB to CIE XYZ, D65 (IEC 61966-2-1)."""

WHITE = tuple(sum(row) for row in RGB_TO_XYZ)
"""XYZ of white."""
