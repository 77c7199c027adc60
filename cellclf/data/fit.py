"""One size for all images: which one is typical, and how an image of another size is brought to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import OptionError

if TYPE_CHECKING:
    from PIL.Image import Image

Fit: TypeAlias = Literal["stretch", "pad", "crop", "refuse"]
FITS: tuple[str, ...] = get_args(Fit)


def check_fit(fit: object, *, but: str = "") -> None:
    """Check that a way to fit images exists.

    Args:
        fit: The way.
        but: One that cannot be used here.

    Raises:
        OptionError: Another value.
    """
    allowed = [one for one in FITS if one != but]
    if fit not in allowed:
        raise OptionError(f"fit={fit!r}; expected {', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}")


def typical_size(sizes: NDArray[np.int64]) -> tuple[int, int]:
    """Give the median height and the median width.

    The most frequent size would not do: among 10,000 crops of 10,000 sizes, three equal ones decide it.

    Args:
        sizes: (N, 2) heights and widths, at least one.

    Examples:
        >>> typical_size(np.array([[22, 22], [22, 22], [60, 64], [62, 66], [64, 70]]))
        (60, 64)
    """
    middle = np.sort(sizes, axis=0)[(len(sizes) - 1) // 2]
    return int(middle[0]), int(middle[1])


def fitted(image: Image, size: tuple[int, int], fit: str = "stretch") -> Image:
    """Bring an image to a size (Lanczos).

    Args:
        image: RGB.
        size: Height and width in pixels.
        fit: ``"stretch"`` changes the proportions; ``"pad"`` keeps them and fills the border with the median colour
            of the image's own edge; ``"crop"`` keeps them and cuts what stands out, around the centre.

    Examples:
        >>> from PIL import Image
        >>> [fitted(Image.new("RGB", (40, 20)), (20, 20), fit).size for fit in ("stretch", "pad", "crop")]
        [(20, 20), (20, 20), (20, 20)]
    """
    from PIL import Image, ImageOps

    wide = (size[1], size[0])
    if image.size == wide:
        return image
    if fit == "pad":
        return ImageOps.pad(image, wide, Image.Resampling.LANCZOS, color=_edge_colour(image))
    if fit == "crop":
        return ImageOps.fit(image, wide, Image.Resampling.LANCZOS)
    return image.resize(wide, Image.Resampling.LANCZOS)


def _edge_colour(image: Image) -> tuple[int, ...]:
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(level) for level in np.median(edge, axis=0))
