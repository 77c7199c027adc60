"""What a selection does to each class: how many images it loses, and how much of that is too much."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cellclf.errors import CellclfWarning, DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

OnLoss = Literal["refuse", "warn"]

FEWEST = 2
"""Fewest images of a class that a selector of this library leaves."""
_NAMED = 12  # most classes that a text names one by one
_BLAMED = 3  # most classes that an error names


@dataclass(frozen=True)
class ClassLoss:
    """What a class loses.

    Args:
        name: Of the class.
        images: Its images in the set that was searched.
        removed: How many of them are removed.
        distinct: Its different images: copies of one image count once.
        lost: How many of those have no copy left in the class.

    Examples:
        >>> print(ClassLoss("platelet", 12, 10, 12, 10))
        class platelet loses 10 of 12 images
        >>> print(ClassLoss("basophil", 96, 90, 6, 0))
        class basophil loses 90 of 96 images: copies; all of its 6 different images are kept
        >>> print(ClassLoss("basophil", 96, 90, 6, 2))
        class basophil loses 90 of 96 images: 2 of its 6 different images, and copies
    """

    name: str
    images: int
    removed: int
    distinct: int
    lost: int

    @property
    def share(self) -> float:
        """The share of the different images that is lost, 0-1."""
        return self.lost / self.distinct if self.distinct else 0.0

    def __str__(self) -> str:
        text = f"class {_one_line(self.name)} loses {self.removed:,} of {self.images:,} images"
        if self.removed and self.distinct < self.images:
            text += (
                f": {self.lost:,} of its {self.distinct:,} different images, and copies"
                if self.lost
                else f": copies; all of its {self.distinct:,} different images are kept"
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Give the numbers as plain data that JSON can hold."""
        return {
            "class": self.name,
            "images": self.images,
            "removed": self.removed,
            "different": self.distinct,
            "different_lost": self.lost,
        }


@dataclass(frozen=True)
class LossLimit:
    """How much a class may lose.

    Args:
        share: Most of the different images of a class that may be lost, 0-1; None: all but the last two.
        on_loss: "refuse" or "warn": what happens beyond the share.
        remedy: What to change, as the message ends.
    """

    share: float | None
    on_loss: OnLoss = "refuse"
    remedy: str = ""

    def beyond(self, losses: Iterable[ClassLoss]) -> list[ClassLoss]:
        """Give the classes that lose more than the share, the worst first."""
        share = self.share
        found = [] if share is None else [loss for loss in losses if loss.lost > share * loss.distinct + 1e-9]
        return sorted(found, key=lambda loss: -loss.share)

    def emptied(self, losses: Iterable[ClassLoss]) -> list[ClassLoss]:
        """Give the classes of which fewer than two different images are left, and were there."""
        return [loss for loss in losses if loss.distinct - loss.lost < min(FEWEST, loss.distinct)]

    def check(self, losses: Iterable[ClassLoss]) -> None:
        """Refuse, or warn of, what is too much.

        Raises:
            DataError: A class loses more than its share, or has fewer than two different images left.
        """
        losses = tuple(losses)
        if emptied := self.emptied(losses):
            raise DataError(
                f"{_named(emptied)}: no class can be learnt from fewer than {FEWEST} images; {self.remedy}, or leave "
                "the class out beforehand"
            )
        if beyond := self.beyond(losses):
            text = f"{_named(beyond)}: more than max_loss={self.share:g} allows"
            if self.on_loss == "refuse":
                raise DataError(f"{text}; look at them with plot(), then {self.remedy}, or choose on_loss='warn'")
            warnings.warn(f"{text}; look at them with plot()", CellclfWarning, stacklevel=4)


def class_losses(
    keep: NDArray[np.bool_], names: NDArray[np.str_], copies: NDArray[np.int64] | None = None
) -> tuple[ClassLoss, ...]:
    """Count what each class loses, in the order of the classes' names.

    Args:
        keep: (N,) False for removed images.
        names: (N,) class names; "" for images without a label, which are not counted.
        copies: (N,) equal numbers for copies of one image; None: every image is different.

    Examples:
        >>> keep, names = np.array([True, False, False, True]), np.array(["a", "a", "a", "b"])
        >>> [str(loss) for loss in class_losses(keep, names, np.array([0, 0, 2, 3])) if loss.removed]
        ['class a loses 2 of 3 images: 1 of its 2 different images, and copies']
    """
    labelled = names != ""
    keep, copies = keep[labelled], (np.arange(len(names)) if copies is None else copies)[labelled]
    classes, label = np.unique(names[labelled], return_inverse=True)
    images, removed = np.bincount(label, minlength=len(classes)), np.bincount(label[~keep], minlength=len(classes))
    # one row for each different image of each class, and whether a copy of it is kept there
    each, which = np.unique(np.stack([label, copies]), axis=1, return_inverse=True)
    alive = np.zeros(each.shape[1], bool)
    alive[which.ravel()[keep]] = True
    distinct, kept = np.bincount(each[0], minlength=len(classes)), np.bincount(each[0][alive], minlength=len(classes))
    return tuple(
        ClassLoss(str(name), int(images[k]), int(removed[k]), int(distinct[k]), int(distinct[k] - kept[k]))
        for k, name in enumerate(classes)
    )


def loss_lines(losses: Iterable[ClassLoss], limit: LossLimit | None = None) -> list[str]:
    """Give a line for each class that loses images, and what is too much; of very many classes, for the worst ones."""
    losses = tuple(losses)
    hit = [loss for loss in losses if loss.removed]
    wrong = [] if limit is None else [*limit.emptied(losses), *limit.beyond(losses)]
    shown = hit
    if len(hit) > _NAMED:
        worst = sorted(hit, key=lambda loss: (loss not in wrong, -loss.share, -loss.removed / loss.images))
        shown = worst[: max(_NAMED, len(set(wrong)))]
    lines = []
    for loss in shown:
        text = str(loss)
        if limit is not None and loss in wrong:
            refused = limit.on_loss == "refuse" or loss in limit.emptied([loss])
            text += " - too many: apply " + ("refuses this" if refused else "warns of this")
        lines.append(text)
    if len(shown) < len(hit):
        lines.append(f"and {len(hit) - len(shown):,} more classes lose images")
    return lines


def _named(losses: list[ClassLoss]) -> str:
    named = ", ".join(str(loss) for loss in losses[:_BLAMED])
    return named + (f" and {len(losses) - _BLAMED:,} more classes" if len(losses) > _BLAMED else "")


def _one_line(name: str) -> str:
    if not name.isprintable():
        name = name.encode("unicode_escape").decode("ascii")
    return name if len(name) <= 80 else f"{name[:77]}..."
