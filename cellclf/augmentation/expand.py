"""The expansion of a training set, as a step of a pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.copies import Copies, PerClass, Strengths
from cellclf.augmentation.presets import PresetName
from cellclf.utils.parameters import Params, Seed, check_parameters

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet


@dataclass(frozen=True, kw_only=True, eq=False)
class Expand(Params):
    """Write an augmented training set; the arguments of ``Augmenter.expand``.

    Args:
        preset: Name of the augmenter.
        copies: Copies of each image; None makes one for each strength.
        strengths: The first copy has the first strength, and so on.
        per_class: Instead of copies: fill every class up to this many images, or ``"max"``.
        seed: Of the augmentation.
    """

    preset: PresetName = "report"
    copies: Copies | None = None
    strengths: Strengths = (1.0,)
    per_class: PerClass | None = None
    seed: Seed = 0

    def augmenter(self) -> Augmenter:
        """Make the augmenter that is used."""
        return Augmenter.preset(self.preset, seed=self.seed)

    def check(self, cells: ImageSet) -> None:
        """Raise UnknownNameError or OptionError for values that cannot be used, without augmenting anything."""
        check_parameters(self)
        self.apply(cells.subset([]))

    def apply(self, cells: ImageSet) -> ImageSet:
        """Give the images and their augmented copies."""
        return self.augmenter().expand(cells, copies=self.copies, strengths=self.strengths, per_class=self.per_class)
