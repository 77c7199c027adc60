"""Downsample: remove surplus images of the large classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike

from cellclf.cleaning.losses import LossLimit
from cellclf.cleaning.selection import Selection, Selector
from cellclf.data.door import Cells, as_cells
from cellclf.errors import DataError
from cellclf.utils.parameters import Count, Seed, check_parameters, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Balance(Selection):
    """What ``Downsample`` found.

    Args:
        before: Images of each class in the set.
        after: Images of each class that are kept.
    """

    before: dict[str, int] = field(kw_only=True)
    after: dict[str, int] = field(kw_only=True)

    def summary(self) -> str:
        """Give the number of images kept of each class."""
        name, count = (
            max((len(f"{part:,}" if isinstance(part, int) else part) for part in column), default=0)
            for column in (self.before, self.before.values())
        )
        rows = (f"  {key:<{name}}  {n:>{count},} -> {self.after[key]:>{count},}" for key, n in self.before.items())
        return "\n".join([self._head(), *rows, *self.lost()])

    def to_dict(self) -> dict[str, Any]:
        """Give the selection as plain data that JSON can hold."""
        return {**super().to_dict(), "before": dict(self.before), "after": dict(self.after)}

    def plot(self, limit: int = 48) -> Figure:
        """Draw the class sizes before and after.

        Args:
            limit: Most classes shown, the largest first.
        """
        from cellclf.utils.contact_sheet import PALETTE
        from cellclf.utils.figure import Figure

        names = list(self.before)
        if len(names) > limit:
            names = sorted(names, key=lambda name: -self.before[name])[:limit]
        figure = Figure(figsize=(6.5, 1.2 + 0.32 * len(names)), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        place = np.arange(len(names))
        for offset, counts, colour, label in (
            (-0.2, self.before, PALETTE[5], "before"),
            (0.2, self.after, PALETTE[0], "after"),
        ):
            bars = axes.barh(place + offset, [counts[name] for name in names], 0.4, color=colour, label=label)
            axes.bar_label(bars, fmt="{:,.0f}", fontsize=7, padding=2)
        axes.set_yticks(place, names)
        axes.invert_yaxis()
        axes.margins(x=0.1)
        axes.set_xlabel("images")
        axes.set_title(f"Class sizes: {len(self):,} images -> {len(self) - self.removed:,}")
        axes.legend(loc="best", fontsize=8)
        return figure


class Downsample(Selector):
    """Balance the classes: of each larger one, keep images drawn at random.

    Which images of a class are kept depends on the seed and on the images of that class only; the order is kept.
    Classes below the target keep all their images; classes without an image are ignored. ``apply`` refuses to leave one
    image of a class that has more.

    Args:
        target: Most images of a class: "min" is the size of the smallest class, a whole number is itself, and a
            fraction between 0 and 1 is that quantile of the class sizes (0.5: the median class).
        seed: Chooses which images are kept.

    Examples:
        >>> from cellclf import ImageSet
        >>> cells = ImageSet(np.zeros((6, 8, 8, 3), np.uint8), [0, 0, 0, 0, 1, 1], class_names=["round", "lobed"])
        >>> print(Downsample().find(cells).summary())
        6 images -> 4: 2 removed
          round  4 -> 2
          lobed  2 -> 2
        class round loses 2 of 4 images
    """

    def __init__(
        self,
        *,
        target: Literal["min"] | Count | Annotated[float, Interval(gt=0, lt=1)] = "min",
        seed: Seed = 0,
    ) -> None:
        self.target = target
        self.seed = seed

    def check(self) -> None:
        """Refuse options that cannot be used.

        Raises:
            OptionError: The target is neither "min", a whole number from 1 on, nor a fraction between 0 and 1.
        """
        check_parameters(self)

    def find(self, cells: Cells, labels: ArrayLike | None = None) -> Balance:
        """Choose the images to keep.

        Raises:
            DataError: The images have no labels.
            OptionError: The target is neither "min", a whole number from 1 on, nor a fraction.
        """
        self.check()
        cells = as_cells(cells, labels)
        if cells.labels is None:
            raise DataError("these images have no labels; Downsample balances classes: load them with labels")
        before = cells.counts()
        most = self._most([n for n in before.values() if n])
        keep = np.zeros(len(cells), bool)
        for label in range(cells.num_classes):
            rows = np.flatnonzero(cells.labels == label)
            rng = np.random.default_rng((self.seed, label))
            keep[rng.permutation(rows)[:most]] = True
        names = np.array(cells.class_names)[cells.labels] if len(cells) else np.empty(0, str)
        surplus = [f"surplus: {name} has {before[name]:,}, {most:,} are kept" for name in names.tolist()]
        after = cells.subset(keep).counts()
        return Balance(
            cells.ids,
            keep,
            np.where(keep, "", np.array(surplus, str)),
            cells=cells,
            limit=LossLimit(None, remedy="choose a target of 2 or more"),
            before=before,
            after=after,
        )

    def _most(self, sizes: list[int]) -> int:
        target = plain(self.target)
        if target == "min":
            return min(sizes, default=0)
        if isinstance(target, int):
            return target
        return int(np.quantile(sizes, target)) if sizes else 0
