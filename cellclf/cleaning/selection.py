"""The result of every selector, and how selectors fit into scikit-learn and imbalanced-learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from cellclf.cleaning.losses import ClassLoss, LossLimit, class_losses, loss_lines
from cellclf.data.door import Cells, as_cells
from cellclf.errors import DataError
from cellclf.utils.parameters import Params, check_parameters
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike, NDArray

    from cellclf.data.image_set import ImageSet


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Result):
    """Which images are kept, which are removed, and why; ``apply`` makes the smaller set, nothing is deleted on disk.

    A reason reads ``"kind: detail"``; the summary counts the kinds and names every class that loses images. ``cells``
    is only there for ``plot``: it is no part of ``repr``, ``==`` and ``to_dict``.

    Args:
        ids: (N,) str, the images in the order of the set that was searched.
        keep: (N,) bool, False for removed images.
        reasons: (N,) str, "" for kept images.
        cells: The set that was searched, or None.
        losses: What each class loses; None counts it, where ``cells`` has labels.
        limit: How much a class may lose; None sets no limit.

    Raises:
        DataError: The three arrays do not have one length.

    Examples:
        >>> found = Selection(
        ...     ids=np.array(["a", "b"]), keep=np.array([True, False]), reasons=np.array(["", "copy: of a"])
        ... )
        >>> print(found.summary())
        2 images -> 1: 1 removed
          1  copy
    """

    ids: NDArray[np.str_]
    keep: NDArray[np.bool_]
    reasons: NDArray[np.str_]
    cells: ImageSet | None = field(default=None, repr=False, kw_only=True)
    losses: tuple[ClassLoss, ...] | None = field(default=None, repr=False, kw_only=True)
    limit: LossLimit | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.keep) == len(self.reasons):
            raise DataError(
                f"a selection of {len(self.ids)} ids has {len(self.keep)} flags and {len(self.reasons)} "
                "reasons; expected one of each for every image"
            )
        for name in ("ids", "keep", "reasons"):
            frozen = np.array(getattr(self, name), dtype=bool if name == "keep" else np.str_)
            frozen.setflags(write=False)
            object.__setattr__(self, name, frozen)
        if self.losses is None:
            names = np.empty(0, str) if self.cells is None else names_of(self.cells)
            object.__setattr__(self, "losses", class_losses(self.keep, names) if len(names) == len(self) else ())

    def __len__(self) -> int:
        return len(self.ids)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment] # it compares by content

    @property
    def removed(self) -> int:
        """How many images are removed."""
        return int(np.count_nonzero(~self.keep))

    def summary(self) -> str:
        """Give in a few lines how many images are removed, for which kinds of reason, and of which classes."""
        kinds = Counter(reason.partition(":")[0] for reason in self.reasons[~self.keep].tolist())
        width = len(f"{max(kinds.values(), default=0):,}")
        return "\n".join([self._head(), *(f"  {n:>{width},}  {kind}" for kind, n in kinds.most_common()), *self.lost()])

    def lost(self) -> list[str]:
        """Give a line for each class that loses images, such as "class platelet loses 10 of 12 images"."""
        return loss_lines(self.losses or (), self.limit)

    def _head(self) -> str:
        return f"{len(self):,} images -> {len(self) - self.removed:,}: {self.removed:,} removed"

    def to_dict(self) -> dict[str, Any]:
        """Give the selection as plain data that JSON can hold."""
        return {
            "images": len(self),
            "kept": len(self) - self.removed,
            "removed": [
                {"id": id_, "reason": reason}
                for id_, reason in zip(self.ids[~self.keep].tolist(), self.reasons[~self.keep].tolist(), strict=True)
            ],
            "classes": [loss.to_dict() for loss in self.losses or () if loss.removed],
        }

    def check(self, cells: ImageSet) -> None:
        """Refuse a set other than the one that was searched.

        Raises:
            DataError: The ids of ``cells`` are not those of this selection, in the same order.
        """
        if len(cells) != len(self) or not np.array_equal(cells.ids, self.ids):
            raise DataError(
                f"this selection was found on {len(self)} images, the set given has {len(cells)} and other "
                "ids; call find on this set first"
            )

    def check_losses(self) -> None:
        """Refuse a selection that costs a class more than its limit allows; ``apply`` does so first.

        Raises:
            DataError: A class loses more than its share, or is left with fewer than two different images.
        """
        if self.limit is not None:
            self.limit.check(self.losses or ())

    def apply(self, cells: ImageSet) -> ImageSet:
        """Return the set without the removed images.

        Args:
            cells: The set that was searched, or one with the same ids in the same order.

        Raises:
            DataError: ``cells`` has other ids, or a class would lose more than its limit allows; who wants it all the
                same takes ``cells.subset(found.keep)``.
        """
        self.check(cells)
        self.check_losses()
        return cells.subset(self.keep)

    def plot(self, limit: int = 48) -> Figure:
        """Show the removed images, each with its reason.

        Args:
            limit: Most images shown, spread evenly over the removed ones.

        Raises:
            DataError: The selection has no images (it was made without ``cells``).
        """
        from cellclf.utils.contact_sheet import sheet

        removed = np.flatnonzero(~self.keep)
        shown = removed[spread(len(removed), limit)]
        return sheet(
            self.images(shown),
            captions=[self.reasons[k].partition(":")[0] for k in shown],
            title=f"{len(removed)} of {len(self)} images removed"
            + (f"; {len(shown)} of them" if len(shown) < len(removed) else ""),
        )

    def images(self, indices: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Read some of the images that were searched.

        Raises:
            DataError: The selection has no images.
        """
        if self.cells is None:
            raise DataError("this selection has no images to show; call find on the set again")
        if not len(indices):
            return np.empty((0, *self.cells.image_shape), np.uint8)
        return self.cells.read(indices)


def names_of(cells: ImageSet) -> NDArray[np.str_]:
    """Give each image's class name: (N,) str, "" without labels."""
    if cells.labels is None:
        return np.full(len(cells), "", "<U1")
    return np.array(cells.class_names, np.str_)[cells.labels] if len(cells) else np.empty(0, "<U1")


def spread(count: int, limit: int) -> NDArray[np.intp]:
    """Choose at most ``limit`` positions spread evenly over ``count``.

    Examples:
        >>> spread(10, 4)
        array([0, 3, 6, 9])
    """
    return np.unique(np.linspace(0, max(count - 1, 0), min(count, limit)).astype(np.intp))


class Selector(Params, ABC):
    """What ``Dedup``, ``OutlierFilter`` and ``Downsample`` share: parameters by name, and ``fit_resample``.

    A subclass stores its constructor's arguments under their own names and has ``find(cells) -> Selection``.

    Examples:
        >>> class EveryNth(Selector):
        ...     def __init__(self, *, step: int = 2) -> None:
        ...         self.step = step
        ...
        ...     def find(self, cells):
        ...         keep = np.arange(len(cells)) % self.step == 0
        ...         return Selection(cells.ids, keep, np.where(keep, "", "skipped: by position"), cells=cells)
        >>> EveryNth(step=3)
        EveryNth(step=3)
        >>> images, labels = EveryNth().fit_resample(np.zeros((5, 4, 4, 3), np.uint8), [0, 1, 2, 3, 4])
        >>> labels
        array([0, 2, 4])
    """

    @abstractmethod
    def find(self, cells: Cells, labels: ArrayLike | None = None) -> Selection:
        """Decide which images are kept."""

    def apply(self, cells: Cells, labels: ArrayLike | None = None) -> ImageSet:
        """Return the set without what ``find`` would remove."""
        cells = as_cells(cells, labels)
        return self.find(cells).apply(cells)

    def check(self) -> None:
        """Refuse parameters that cannot be used; a subclass with declared parameters checks them.

        Raises:
            OptionError: A value that the constructor's annotations do not allow.
        """
        check_parameters(self)

    def fit(self, X: Cells, y: ArrayLike | None = None) -> Self:
        """Check the parameters and the data; nothing is learnt: it makes a selector the last step of a pipeline.

        Args:
            X: An ``ImageSet``, an array (N, H, W, 3) uint8, 0-255, or whatever ``load`` reads.
            y: (N,) labels of any kind beside an array.

        Returns:
            The selector itself.
        """
        self.check()
        as_cells(X, y)
        return self

    def __sklearn_tags__(self) -> Any:
        """Describe the selector to scikit-learn: it takes images, and needs labels to resample."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="sampler",
            target_tags=TargetTags(required=True),
            input_tags=InputTags(two_d_array=False, three_d_array=False),
            requires_fit=False,
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit_resample(self, X: NDArray[np.uint8], y: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Select from arrays, as imbalanced-learn's pipelines do.

        Args:
            X: (N, H, W, 3) uint8, 0-255.
            y: (N,) labels of any kind.

        Returns:
            The kept images and their labels.

        Raises:
            DataError: Not one label for each image.
        """
        names = np.asarray(y)
        if names.ndim != 1 or len(names) != len(X):
            raise DataError(f"labels have shape {names.shape} for {len(X)} images; expected ({len(X)},), one for each")
        classes, labels = np.unique(names, return_inverse=True)  # labels of any kind are classes here
        from cellclf.data.image_set import ImageSet

        found = self.find(ImageSet(X, labels, class_names=tuple(map(str, classes.tolist()))))
        found.check_losses()
        return X[found.keep], names[found.keep]
