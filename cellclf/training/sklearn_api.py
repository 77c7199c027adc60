"""A trainer as a scikit-learn estimator, for its cross-validation, searches and pipelines."""

from __future__ import annotations

from typing import Annotated, Any, Self

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin  # not inside a function: these are the bases of the class
from sklearn.utils.validation import check_is_fitted

from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import DataError
from cellclf.training.trainer import Trainer
from cellclf.utils.parameters import check_parameters


class CellClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn ships no types
    """A classifier that scikit-learn can clone, cross-validate and search.

    Each fit splits a validation part off its images, on which the trainer chooses its epoch. A search sets the
    trainer's settings as ``trainer__batch_size``.

    Args:
        trainer: What is trained, and how.
        val: Fraction of the images on which the epoch is chosen, stratified; groups are not split.

    Examples:
        >>> from sklearn.base import clone
        >>> model = CellClassifier(trainer=Trainer(backbone="residual"))
        >>> clone(model).set_params(trainer__batch_size=16).trainer.batch_size, model.trainer.batch_size
        (16, 64)
    """

    def __init__(self, *, trainer: Trainer, val: Annotated[float, Interval(gt=0, lt=1)] = 0.2) -> None:
        self.trainer = trainer
        self.val = val

    def check(self) -> None:
        """Raise OptionError for arguments that cannot be used."""
        check_parameters(self)
        self.trainer.check_options()

    def fit(self, X: NDArray[np.uint8], y: ArrayLike, groups: ArrayLike | None = None) -> Self:
        """Train.

        Args:
            X: (N, H, W, 3) uint8, 0-255.
            y: (N,) labels of any kind.
            groups: (N,) patients or slides; none is in both parts.

        Returns:
            Itself, with ``classes_`` and ``run_``, the trained ``Run``.
        """
        self.check()
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
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
