"""Colour profiles: what the numbers of an image mean, if they do not mean sRGB, as a camera or a program wrote it."""

from __future__ import annotations

import functools
import io
import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cellclf.errors import printable

if TYPE_CHECKING:
    from PIL.Image import Image

_ALIKE = 4
"""Levels by which a profile may differ from sRGB and still be called so: programs round their tables."""


class _Profile(NamedTuple):
    """A profile that was read.

    Args:
        transform: To sRGB; None if it is sRGB, or cannot be applied.
        note: What is said of images that have it, "" for nothing.
    """

    transform: Any
    note: str


def in_srgb(image: Image, profile: object) -> tuple[Image, str]:
    """Convert an image to sRGB by the profile that its file holds.

    Args:
        image: Of any mode.
        profile: The bytes of the profile; anything else is none.

    Returns:
        The image, as it was if its colours are those of sRGB; and what was converted, "" for nothing.
    """
    if not isinstance(profile, bytes) or not profile or image.mode in ("1", "I;16", "I", "F"):
        return image, ""
    if image.mode in ("RGB", "L", "CMYK") and "transparency" not in image.info:
        plain, alpha = image, None
    elif image.mode in ("P", "PA", "RGB", "RGBA", "L", "LA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        plain, alpha = rgba.convert("RGB"), rgba.getchannel("A")
    else:
        return image, ""
    found = _read(profile, plain.mode)
    if found.transform is None:
        return image, found.note
    converted = found.transform.apply(plain)
    if alpha is not None and alpha.getextrema() != (255, 255):
        converted.putalpha(alpha)
    return converted, found.note


@functools.lru_cache(maxsize=32)
def _read(profile: bytes, mode: str) -> _Profile:
    try:
        from PIL import ImageCms
    except ImportError:
        return _Profile(None, "the colour profile is not applied: this Pillow has no LittleCMS")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = " ".join(ImageCms.getProfileDescription(source).split())[:60]
        space = source.profile.xcolor_space.strip()
    except Exception:  # a damaged profile raises whatever LittleCMS stumbles over
        return _Profile(None, "the colour profile is damaged and ignored")
    if space != {"L": "GRAY"}.get(mode, mode):
        return _Profile(None, "")  # of another kind of image, as programs leave them behind
    try:
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
        if mode != "CMYK" and _changes_nothing(transform, mode):
            return _Profile(None, "")
    except Exception:  # as above
        return _Profile(None, "the colour profile is damaged and ignored")
    return _Profile(transform, f"colours of the profile {printable(name)!r} converted to sRGB")


def _changes_nothing(transform: Any, mode: str) -> bool:
    from PIL import Image

    if mode == "L":
        before = np.arange(256, dtype=np.uint8)[None]
        after = np.asarray(transform.apply(Image.fromarray(before)))
        before = np.repeat(before[..., None], 3, axis=2)
    else:
        before = np.asarray([list(itertools.product((0, 51, 102, 153, 204, 255), repeat=3))], np.uint8)
        after = np.asarray(transform.apply(Image.fromarray(before)))
    return bool(np.abs(after.astype(int) - before).max() <= _ALIKE)
