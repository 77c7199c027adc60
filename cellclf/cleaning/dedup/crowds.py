"""Crowds: more copies of one image than anybody takes of a cell. Is it a cell, of a class that was evened out?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import job_count
from cellclf.utils.threads import one_blas_thread

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

_OTHERS = 24  # images of the class, and of the other classes, that a crowd is compared with: half a millisecond each


def like_their_class(
    crowds: list[int],
    cells: ImageSet,
    names: NDArray[np.str_],
    different: NDArray[np.int64],
    *,
    n_jobs: int | None = None,
) -> set[int]:
    """Find the crowds whose image is like the others of its class, by the descriptors of the outlier filter.

    Args:
        crowds: The position of one image of each crowd; its copies agree on its label.
        cells: The set that was searched.
        names: (N,) class names.
        different: Positions of one image of each group of copies with one label, and of all images without a copy.
        n_jobs: Tasks at once.

    Returns:
        Those of ``crowds`` that are like their class; where a class has no other image, like any class.
    """
    if not crowds:
        return set()
    import joblib

    from cellclf.cleaning.outliers.by_class import ClassScorer
    from cellclf.cleaning.outliers.descriptors import TOLERANCES, describe

    rng = np.random.default_rng(0)
    affected = np.unique(names[crowds])
    elsewhere = different[~np.isin(names[different], affected)]
    drawn = [rng.permutation(elsewhere)[:_OTHERS]]
    drawn += [rng.permutation(different[names[different] == name])[:_OTHERS] for name in affected.tolist()]
    places = np.union1d(np.concatenate(drawn), np.array(crowds, np.int64)).astype(np.intp)
    parts = np.array_split(places, len(places) // 16 + 1)
    with one_blas_thread():
        described = joblib.Parallel(n_jobs=job_count(n_jobs), prefer="threads")(
            joblib.delayed(lambda some: describe(cells.read(some)))(part) for part in parts
        )
    rows = np.concatenate(described)
    _, labels, sizes = np.unique(names[places], return_inverse=True, return_counts=True)
    model = ClassScorer(narrow=1).fit(rows, labels, TOLERANCES)
    scores = model.score(rows, np.where(sizes[labels] > 1, labels, -1))
    return set(places[scores <= 1].tolist()) & set(crowds)
