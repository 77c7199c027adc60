"""The blood list of MedMNIST-C: eleven corruptions of an image of a cell, at five severities each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.rng import ImageRng
from cellclf.errors import DataError, OptionError, unknown
from cellclf.evaluation.robustness import shapes, signals

if TYPE_CHECKING:
    from cellclf.data.sources import Images

SEVERITIES = (1, 2, 3, 4, 5)


ALEXNET_CLEAN = 0.018369
"""AlexNet's balanced error on clean BloodMNIST at 224 pixels."""


@dataclass(frozen=True)
class Corruption:
    """One way in which images are corrupted.

    Args:
        name: As MedMNIST-C calls it.
        family: What it has in common with others, and with steps of an augmenter: "blur", "compression" ...
        summary: What it does, in a line.
        values: Its setting at severity 1-5, as the paper gives it: pixels are pixels of a 224x224 image.
        work: Does it: (images, setting, random numbers of each image) -> new images.
        alexnet: AlexNet's balanced error under it, mean over severities, 0-1; None where it is not known.
    """

    name: str
    family: str
    summary: str
    values: tuple[Any, ...]
    work: Callable[[Images, Any, ImageRng], Images]
    alexnet: float | None = None

    def __repr__(self) -> str:
        return f"Corruption({self.name}: {self.family})"


CORRUPTIONS: dict[str, Corruption] = {}
"""Every corruption by name, in the order of registration: first those of the paper, in its order."""


def register(corruption: Corruption) -> Corruption:
    """Add a corruption to the suite.

    Args:
        corruption: With a name that no other has.

    Raises:
        OptionError: The name is taken, there are not five settings, or AlexNet's error cannot be right.

    Examples:
        >>> def invert(images, _, rng):
        ...     return 255 - images
        >>> _ = register(Corruption("negative", "negative", "dark for bright", (None,) * 5, invert))
        >>> corrupt(np.zeros((1, 8, 8, 3), np.uint8), "negative", 1).max()
        np.uint8(255)
        >>> del CORRUPTIONS["negative"]
    """
    name, count, error = corruption.name, len(corruption.values), corruption.alexnet
    if name in CORRUPTIONS:
        raise OptionError(f"the name of the corruption {name!r} is taken; expected another name")
    if count != len(SEVERITIES):
        raise OptionError(f"corruption {name!r} has {count} settings; expected {len(SEVERITIES)}, one a severity")
    if error is not None and not ALEXNET_CLEAN < error <= 1:
        raise OptionError(
            f"corruption {name!r}: alexnet is {error!r}; expected an error above AlexNet's clean one, {ALEXNET_CLEAN}, "
            "and at most 1, or None"
        )
    CORRUPTIONS[name] = corruption
    return corruption


# AlexNet's errors: BloodMNIST-C at 224 pixels, arXiv 2406.17536
for _corruption in (
    Corruption(
        "pixelate",
        "pixelation",
        "fewer, larger pixels",
        (0.6, 0.5, 0.4, 0.3, 0.25),
        signals.pixelate,
        alexnet=0.05976,
    ),
    Corruption(
        "jpeg_compression",
        "compression",
        "saved as JPEG of low quality",
        (50, 30, 15, 10, 7),
        signals.compress,
        alexnet=0.13976,
    ),
    Corruption(
        "defocus_blur",
        "blur",
        "out of focus: smeared over a disc",
        ((2, 0.01), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.1)),
        shapes.defocus,
        alexnet=0.22400,
    ),
    Corruption(
        "motion_blur",
        "blur",
        "the stage moved: smeared along a line",
        ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9)),
        shapes.move,
        alexnet=0.18452,
    ),
    Corruption(
        "brightness_up",
        "brightness",
        "more light",
        (1.1, 1.2, 1.3, 1.35, 1.4),
        signals.brighten,
        alexnet=0.06946,
    ),
    Corruption(
        "brightness_down",
        "brightness",
        "less light",
        (0.9, 0.8, 0.7, 0.6, 0.5),
        signals.brighten,
        alexnet=0.07901,
    ),
    Corruption(
        "contrast_up",
        "contrast",
        "more contrast",
        (1.1, 1.15, 1.2, 1.25, 1.3),
        signals.contrast,
        alexnet=0.05215,
    ),
    Corruption(
        "contrast_down",
        "contrast",
        "less contrast",
        (0.9, 0.8, 0.7, 0.6, 0.5),
        signals.contrast,
        alexnet=0.07966,
    ),
    Corruption(
        "saturate",
        "saturation",
        "stronger colour",
        (0.05, 0.10, 0.15, 0.17, 0.20),
        signals.saturate,
        alexnet=0.03479,
    ),
    Corruption(
        "stain_deposit",
        "occlusion",
        "black precipitate of the stain",
        ((1, 24), (2, 24), (3, 24), (3, 24), (3, 32)),
        shapes.deposit,
        alexnet=0.18536,
    ),
    Corruption(
        "bubble",
        "bubbles",
        "air bubbles in the mount",
        ((5, 10), (7, 10), (10, 10), (12, 12), (15, 12)),
        shapes.bubble,
        alexnet=0.12899,
    ),
):
    register(_corruption)


def list_corruptions() -> tuple[Corruption, ...]:
    """List the corruptions, in the paper's order.

    Examples:
        >>> [c.name for c in list_corruptions() if c.family == "blur"]
        ['defocus_blur', 'motion_blur']
    """
    return tuple(CORRUPTIONS.values())


def corrupt(
    images: NDArray[np.uint8],
    name: str,
    severity: int,
    *,
    ids: Sequence[object] | NDArray[Any] | None = None,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """Corrupt images as MedMNIST-C corrupts blood cells.

    The paper works on 224x224 images. Here images keep their size and lengths are scaled by their shorter side /
    224: at 224 it is the paper's definition, images are never resampled, and severity 0 is exactly the image.
    What has no length is not scaled: pixelation keeps its fraction of the side and JPEG its 8x8 blocks, so that both
    remove more from a smaller image than if it were enlarged to 224 first. Scores at 96 are therefore stricter than the
    paper's.

    Random choices (an angle, the place of a bubble) depend on the image's id, the seed and the name of the corruption,
    not on the batch, and are the same at every severity, so that severities can be compared.

    Args:
        images: (N, H, W, 3) uint8, 0-255; not changed.
        name: One of ``list_corruptions()``.
        severity: 1-5, or 0 for images as they are.
        ids: N texts; None counts the images from 0.
        seed: Any whole number.

    Returns:
        A new (N, H, W, 3) uint8 array.

    Raises:
        UnknownNameError: There is no such corruption.
        OptionError: A severity that does not exist.
        DataError: Images of another shape or type, or another number of ids.

    Examples:
        >>> corrupt(np.full((1, 8, 8, 3), 100, np.uint8), "brightness_up", 2)[0, 0, 0].tolist()
        [120, 120, 120]

    Source:
        Di Salvo, Doerrich & Ledig 2024, "MedMNIST-C", arXiv 2406.17536, with the settings of its package; after
        Hendrycks & Dietterich 2019, arXiv 1903.12261. The outlines of the stain deposits are drawn anew for each
        image, as ragged and as large as the package's ten stencils.
    """
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    if isinstance(severity, bool) or severity not in (0, *SEVERITIES):
        raise OptionError(f"severity is {severity!r}; expected a whole number from 1 to 5, or 0 for the image itself")
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise DataError(f"images are {images.dtype} of shape {images.shape}; expected uint8 0-255 of (N, H, W, 3)")
    ids = range(len(images)) if ids is None else ids
    if len(ids) != len(images):
        raise DataError(f"{len(images)} images came with {len(ids)} ids; expected one id for each image")
    if not severity or not images.size:
        return images.copy()
    chosen = CORRUPTIONS[name]
    return chosen.work(images, chosen.values[severity - 1], ImageRng.of(ids, seed=seed, epoch=0).child(name))
