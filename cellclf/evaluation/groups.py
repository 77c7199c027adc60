"""Groups: images of one slide or patient are alike, so that intervals resample groups where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Floats = NDArray[np.float64]

FEW = 10
"""Groups below which an interval is rough, and says so."""

_AT_ONCE = 1 << 24
"""Counts that are held at a time."""


def number_groups(groups: ArrayLike | None, count: int) -> NDArray[np.int64] | None:
    """Number the groups of images.

    Args:
        groups: (N,) slide or patient of each image, of any kind; None where they are not known.
        count: How many images there are.

    Returns:
        (N,) from 0 to below the number of groups; None without groups.

    Raises:
        DataError: Another number of groups than of images, or one that is missing.

    Examples:
        >>> number_groups(["b", "a", "b"], 3).tolist()
        [1, 0, 1]
    """
    if groups is None:
        return None
    given = np.asarray(groups)
    if given.shape != (count,):
        raise DataError(f"groups have shape {given.shape}; expected ({count},): one for each image")
    missing = [one is None or type(one).__name__ == "NAType" or one != one for one in given.tolist()]
    if any(missing):
        raise DataError(f"{sum(missing)} of {count} images have no group; expected one for each image, or groups=None")
    if given.dtype.kind == "O":
        given = given.astype(str)
    return np.asarray(np.unique(given, return_inverse=True)[1], np.int64)


def domain_names(domains: ArrayLike | None, count: int) -> dict[str, NDArray[np.int64]]:
    """Give the positions of the images of each domain.

    Args:
        domains: (N,) laboratory, hospital or scanner of each image; None where they are not known.
        count: How many images there are.

    Returns:
        Name -> positions, in the order in which the domains come; empty without domains.

    Raises:
        DataError: Another number of domains than of images.

    Examples:
        >>> {name: rows.tolist() for name, rows in domain_names(["b", "a", "b"], 3).items()}
        {'b': [0, 2], 'a': [1]}
    """
    if domains is None:
        return {}
    given = np.asarray(domains)
    if given.shape != (count,):
        raise DataError(f"domains have shape {given.shape}; expected ({count},): one for each image")
    texts = given.astype(str)
    return {name: np.flatnonzero(texts == name) for name in dict.fromkeys(texts.tolist())}


def resample_groups(
    labels: NDArray[np.int64],
    predicted: NDArray[np.int64],
    groups: NDArray[np.int64],
    classes: int,
    *,
    resamples: int,
    seed: int,
    sizes: NDArray[np.int64] | None = None,
) -> tuple[Floats, Floats]:
    """Draw groups with replacement, each with all its images, and count hits and predictions again.

    The classes keep their sizes, as in ``intervals.resample``: each row of a drawn confusion matrix is scaled to the
    images that the class has. A class that is in none of the drawn groups keeps its row.

    Args:
        labels: (N,) whole numbers from 0 to below ``classes``.
        predicted: (N,) the same.
        groups: (N,) from 0, each number used.
        classes: How many there are.
        resamples: How many times.
        seed: Of the random numbers; the groups that are drawn depend on nothing else.
        sizes: (C,) images that each class counts as; None for those that it has.

    Returns:
        Hits and predicted counts, both (resamples, C).

    Source:
        Davison & Hinkley, Bootstrap Methods and their Application (1997), section 3.8; Field & Welsh, Journal of the
        Royal Statistical Society B 69 (2007) 369-390 (the cluster bootstrap).
    """
    from scipy.sparse import csr_matrix

    number = int(groups.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=resamples)
    cells = csr_matrix(
        (np.ones(len(labels)), (groups, labels * classes + predicted)), shape=(number, classes * classes)
    )
    whole = np.asarray(cells.sum(0)).reshape(classes, classes)
    own = whole.sum(1)
    support = own if sizes is None else np.asarray(sizes, np.float64)
    undrawn = whole * np.divide(support, own, out=np.zeros(classes), where=own > 0)[:, None]
    hits, called = np.empty((resamples, classes)), np.empty((resamples, classes))
    step = max(1, _AT_ONCE // classes**2)
    for start in range(0, resamples, step):
        now = slice(start, start + step)
        again = (cells.T @ drawn[now].T.astype(np.float64)).T.reshape(-1, classes, classes)
        found = again.sum(2)
        scale = np.divide(support, found, out=np.zeros(found.shape), where=found > 0)
        again = np.where(found[..., None] > 0, again * scale[..., None], undrawn)
        hits[now], called[now] = np.diagonal(again, axis1=1, axis2=2), again.sum(1)
    return hits, called


def stretch(groups: float, confidence: float) -> float:
    """Give by how much an interval from few groups must be wider than its percentiles.

    The spread of a resample is too small by (G - 1) / G, and that spread is itself known from G - 1 differences only,
    which Student's t allows for.

    Args:
        groups: How many, or a number of degrees of freedom and 1; infinity where less than 2, since one group shows no
            difference.
        confidence: Of the interval, 0-1.

    Examples:
        >>> round(stretch(10, 0.95), 2), round(stretch(1000, 0.95), 2)
        (1.22, 1.0)

    Source:
        Cameron, Gelbach & Miller, Review of Economics and Statistics 90 (2008) 414-427 (few clusters).
    """
    from scipy.stats import norm, t

    if groups < 2:
        return float("inf")
    tail = (1 - confidence) / 2
    return float(t.ppf(tail, groups - 1) / norm.ppf(tail) * np.sqrt(groups / (groups - 1)))


def degrees_of_freedom(variances: Floats, groups: NDArray[Any]) -> float:
    """Give the degrees of freedom of a mean over classes, some of which are in few groups only.

    Args:
        variances: (C,) of the scores over the resamples.
        groups: (C,) in how many groups each class is.

    Examples:
        >>> round(degrees_of_freedom(np.array([1.0, 1.0, 100.0]), np.array([40, 40, 3])), 1)
        2.1

    Source:
        Satterthwaite, Biometrics Bulletin 2 (1946) 110-114.
    """
    known = (variances > 0) & (groups > 1)
    if not known.any():
        return float("inf")
    parts = variances[known] ** 2 / (groups[known] - 1)
    return float(variances[known].sum() ** 2 / parts.sum())


def unit_text(groups: int | None) -> str:
    """Say what an interval resamples, and how far it can be relied on.

    Args:
        groups: How many there are; None where they are not known.

    Examples:
        >>> unit_text(None)
        'images'
        >>> unit_text(5)
        '5 groups (so few that the intervals are rough)'
    """
    if groups is None:
        return "images"
    if groups == 1:
        return "images (all of one group, so that the intervals say nothing about other groups)"
    return f"{groups:,} groups" + (" (so few that the intervals are rough)" if groups < FEW else "")
