"""Which families of corruptions a training has already seen: from the steps of its augmenter."""

from __future__ import annotations

from collections.abc import Iterable

from cellclf.augmentation.mixing import KINDS
from cellclf.augmentation.steps.base import STEPS
from cellclf.errors import unknown
from cellclf.evaluation.robustness.corruptions import list_corruptions


def list_families() -> tuple[str, ...]:
    """List the families of the corruptions, in the order of these.

    Examples:
        >>> list_families()[:3]
        ('pixelation', 'compression', 'blur')
    """
    return tuple(dict.fromkeys(corruption.family for corruption in list_corruptions()))


def families_of(names: Iterable[str]) -> tuple[str, ...]:
    """Name the families of corruptions that a training has seen.

    Every step and kind of mixing declares its own families, on the strict side: whatever moves an image in the
    direction of a corruption counts, such as sharpness for blur and masks for stain deposits. So the mean over the
    other families shows how the classifier does on corruptions that it does not know.

    Args:
        names: Steps of an augmenter (``Augmenter.names()``), kinds of mixing ("cutmix"), or families.

    Raises:
        UnknownNameError: A name that is none of these, or a step that declares a family of no corruption.

    Examples:
        >>> families_of(["rotate", "sharpness", "jpeg"])
        ('compression', 'blur')

    Source:
        Hendrycks et al. 2020, arXiv 1912.02781, section 4: contrast, colour, brightness, sharpness and Cutout are
        kept out of the training because they overlap with the corruptions of the test.
    """
    families = list_families()
    declared = {**KINDS, **{name: kind.families for name, kind in STEPS.items()}}
    seen: set[str] = set()
    for name in names:
        if name in families:  # a step too: "noise" resembles a family of that name, whoever adds it
            seen.add(name)
        elif name not in declared:
            raise unknown("augmentation step or family of corruptions", name, {*declared, *families})
        for family in declared.get(name, ()):
            if family not in families:  # passed over, it would count as unseen
                raise unknown(f"family of corruptions (declared by the step {name!r})", family, families)
            seen.add(family)
    return tuple(family for family in families if family in seen)
