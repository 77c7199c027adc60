"""The expansion of a training set, as a step of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellclf.augmentation.augmenter import Augmenter

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet


@dataclass(frozen=True, kw_only=True)
class Expand:
    """Write an augmented training set; the arguments of ``Augmenter.expand``.

    Args:
        preset: Name of the augmenter.
        copies: Copies of each image; None makes one for each strength.
        strengths: The first copy has the first strength, and so on.
        per_class: Instead of copies: fill every class up to this many images, or ``"max"``.
        seed: Of the augmentation.
    """

    preset: str = "report"
    copies: int | None = None
    strengths: tuple[float, ...] = (1.0,)
    per_class: int | str | None = None
    seed: int = 0

    def augmenter(self) -> Augmenter:
        """Make the augmenter that is used."""
        return Augmenter.preset(self.preset, seed=self.seed)

    def check(self, cells: ImageSet) -> None:
        """Raise UnknownNameError or OptionError for values that cannot be used, without augmenting anything."""
        self.apply(cells.subset([]))

    def apply(self, cells: ImageSet) -> ImageSet:
        """Give the images and their augmented copies."""
        return self.augmenter().expand(cells, copies=self.copies, strengths=self.strengths, per_class=self.per_class)
