"""A trainer as a scikit-learn estimator, for its cross-validation, searches and pipelines."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, Any, Self

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin  # not inside a function: these are the bases of the class
from sklearn.utils.validation import check_is_fitted

from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import CellclfWarning, DataError, OptionError
from cellclf.training.trainer import Trainer
from cellclf.utils.parameters import check_parameters, shortened

_NO_GROUPS = (
    "cross_validate and searches give groups to the splitting alone, so that the validation part, on which fit chooses "
    "its epoch, may share patients with its training part; expected sklearn.set_config(enable_metadata_routing=True) "
    "and params={'groups': groups} in place of groups=groups (of a search: fit(X, y, groups=groups))"
)


class CellClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A classifier that scikit-learn can clone, cross-validate and search.

    Each fit splits a validation part off its images, on which the trainer chooses its epoch. A search sets the
    trainer's settings as ``trainer__batch_size``. With scikit-learn's metadata routing, groups given to
    ``cross_validate`` or a search reach ``fit``, too; without, a warning says that they do not.

    Args:
        trainer: What is trained, and how.
        val: Fraction of the images on which the epoch is chosen, stratified; groups are not split.

    Examples:
        >>> from sklearn.base import clone
        >>> model = CellClassifier(trainer=Trainer(backbone="residual"))
        >>> clone(model).set_params(trainer__batch_size=16).trainer.batch_size, model.trainer.batch_size
        (16, 64)
    """

    __metadata_request__fit = {"groups": True}  # noqa: RUF012 - read by scikit-learn: routing passes groups to fit

    def __init__(self, *, trainer: Trainer, val: Annotated[float, Interval(gt=0, lt=1)] = 0.2) -> None:
        self.trainer = trainer
        self.val = val

    def check(self) -> None:
        """Raise OptionError for arguments that cannot be used."""
        check_parameters(self)
        self.trainer.check_options()
        if self.trainer.start is not None:
            raise OptionError(
                f"CellClassifier learns the classes of y alone, and start={shortened(self.trainer.start)} brings its "
                "own; expected a Trainer with a backbone"
            )

    def fit(self, X: NDArray[np.uint8], y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train.

        Args:
            X: (N, H, W, 3) uint8, 0-255.
            y: (N,) labels of any kind.
            groups: (N,) patients or slides; none is in both parts.

        Returns:
            Itself, with ``classes_`` and ``run_``, the trained ``Run``.

        Raises:
            DataError: Labels that are missing (NaN, None), numbers of a scale, columns of a one-hot code.
        """
        self.check()
        labels = check_labels(y)
        if groups is None and _given_to_the_caller():
            warnings.warn(_NO_GROUPS, CellclfWarning, stacklevel=2)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        names = [str(label) for label in self.classes_.tolist()]
        cells = ImageSet(X, codes, class_names=names, groups=None if groups is None else np.asarray(groups))
        parts = Split(val=self.val, seed=self.trainer.seed).apply(cells)
        self.run_ = self.trainer.fit(parts.train, parts.val, show=False)
        return self

    def predict_proba(self, X: NDArray[np.uint8]) -> NDArray[Any]:
        """Give the probability of each class of ``classes_``: (N, K) float32."""
        check_is_fitted(self, "run_")
        if np.ndim(X) != 4:
            raise DataError(f"X has {np.ndim(X)} dimensions; expected images (N, H, W, 3)")
        found: NDArray[Any] = self.run_.predict_proba(X, show=False)
        return found

    def predict(self, X: NDArray[np.uint8]) -> NDArray[Any]:
        """Give the most probable label of each image: (N,)."""
        found = self.predict_proba(X)  # first: it checks that there is something fitted
        chosen: NDArray[Any] = self.classes_[found.argmax(1)]
        return chosen


def check_labels(y: ArrayLike) -> NDArray[Any]:
    """Refuse labels that name no classes.

    Args:
        y: (N,) or (N, 1) whole numbers, texts or bools.

    Raises:
        DataError: Another shape, labels that are missing, numbers with a fraction, texts beside numbers.

    Examples:
        >>> check_labels([2.0, 1.0, 2.0]).tolist()
        [2.0, 1.0, 2.0]
    """
    given = np.asarray(y)
    if given.ndim == 2 and given.shape[1] == 1:
        given = given[:, 0]
    if given.ndim != 1:
        raise DataError(f"y has shape {given.shape}; expected one label for each image: of a one-hot code, y.argmax(1)")
    values = given.tolist()
    missing = sum(
        one is None
        or type(one).__name__ in ("NAType", "NaTType")
        or one != one
        or (isinstance(one, str) and not one.strip())
        for one in values
    )
    if missing:
        raise DataError(
            f"{missing} of {len(values)} labels are missing (NaN, None or blank); expected images with labels only"
        )
    if given.dtype.kind in "cmM":
        raise DataError(f"labels are of type {given.dtype}; expected classes: whole numbers or texts")
    fractions = [one for one in values if isinstance(one, float) and (one in (np.inf, -np.inf) or one != int(one))]
    if fractions:
        raise DataError(f"labels are numbers such as {fractions[0]:g}, no classes; expected whole numbers or texts")
    kinds = {str if isinstance(one, str | bytes) else float for one in values}
    if len(kinds) > 1:
        raise DataError("labels are texts and numbers; expected one of them")
    return given if given.dtype.kind != "O" else np.asarray(values)


def _given_to_the_caller() -> bool:
    """Whether scikit-learn cross-validates this fit with groups that it does not pass on.

    It tells an estimator nothing of them, so that only its own calls show it; those of another process cannot be seen.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("sklearn.model_selection."):
            names = frame.f_locals
            params = names.get("params")
            also = params.get("groups") if isinstance(params, dict) else None
            if names.get("groups") is not None or also is not None:
                return True
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
    return False
