"""Which kinds of corruption a training has already seen: from the steps of its augmenter."""

from __future__ import annotations

from collections.abc import Iterable

from cellclf.errors import unknown
from cellclf.evaluation.robustness.corruptions import list_corruptions

TRAINS: dict[str, tuple[str, ...]] = {
    "jpeg": ("compression",),
    "blur": ("blur",),
    "defocus": ("blur",),
    "motion": ("blur",),
    "sharpness": ("blur",),
    "brightness": ("brightness",),
    "gamma": ("brightness", "contrast"),
    "channel_shift": ("brightness",),
    "contrast": ("contrast",),
    "autocontrast": ("contrast",),
    "equalise": ("contrast",),
    "saturation": ("saturation",),
    "grey": ("saturation",),
    "stain_hed": ("brightness", "contrast", "saturation"),
    "stain_lab": ("brightness", "contrast", "saturation"),
    "cutout": ("occlusion",),
    "gridmask": ("occlusion",),
    "cutmix": ("occlusion",),
}
"""Steps and operations of an augmenter, and a way of mixing -> families of corruptions that they come near to."""

FAMILIES = tuple(dict.fromkeys(corruption.family for corruption in list_corruptions()))
"""The families, in the order of the list."""


def families_of(names: Iterable[str]) -> tuple[str, ...]:
    """Name the families of corruptions that a training has seen.

    Strict on purpose: whatever moves an image in the direction of a corruption counts, sharpness for blur and masks
    for stain deposits among it, so that the mean over the other families says how the classifier meets the unknown.

    Args:
        names: Steps of an augmenter (``Augmenter.names()``), "cutmix", or families.

    Raises:
        UnknownNameError: A name that is neither.

    Examples:
        >>> families_of(["rotate", "sharpness", "jpeg"])
        ('compression', 'blur')

    Source:
        Hendrycks et al. 2020, arXiv 1912.02781, section 4: contrast, colour, brightness, sharpness and Cutout are
        kept out of the training because they overlap with the corruptions of the test.
    """
    from cellclf.augmentation.augmenter import STEP_MODULES
    from cellclf.augmentation.steps.base import STEPS
    from cellclf.augmentation.steps.policies import RAND_AUGMENT_OPS

    assert STEP_MODULES  # importing them fills STEPS
    seen: set[str] = set()
    for name in names:
        if name in TRAINS:
            seen.update(TRAINS[name])
        elif name in FAMILIES:
            seen.add(name)
        elif name not in STEPS and name not in RAND_AUGMENT_OPS:
            raise unknown(
                "augmentation step or family of corruptions", name, {*STEPS, *RAND_AUGMENT_OPS, *FAMILIES, *TRAINS}
            )
    return tuple(family for family in FAMILIES if family in seen)
