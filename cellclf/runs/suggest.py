"""Which cells of a new laboratory to label first: typical of all that is there, then those that it is unsure of."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError, OptionError

Floats = NDArray[np.float64]

UNLIKE = "unlike the others"
_ODD = 25  # one cell in so many may be blurred, out-of-distribution or no cell at all
_MOST = 5_000  # so many cells are clustered at most; more are sampled


@dataclass(frozen=True, eq=False)
class Chosen:
    """Which cells to label, and why; made by ``choose``.

    Args:
        rows: (n,) positions in the pool, most telling first.
        reasons: One for each.
        excluded: How many cells were left out because they are labelled already, copies of such, or doubtful.
        asked: How many were asked for; more than ``rows`` where the pool has no more.
    """

    rows: NDArray[np.int64]
    reasons: tuple[str, ...]
    excluded: dict[str, int]
    asked: int


def choose(
    features: NDArray[np.floating],
    probabilities: NDArray[np.floating],
    class_names: Sequence[str],
    count: int = 25,
    *,
    ids: Sequence[str] | NDArray[np.str_] | None = None,
    clusters: NDArray[np.int64] | None = None,
    groups: NDArray[np.str_] | None = None,
    doubtful: NDArray[np.bool_] | None = None,
    labelled: NDArray[np.int64] | None = None,
    seed: int = 0,
) -> Chosen:
    """Choose which cells to label.

    The cells are clustered into as many k-means clusters as are asked for, and each gives one: half of them, those with
    the cells that the run is least sure of, give these, the others their most typical cell, so that a cold start misses
    no kind of cell. Where cells are labelled already, there are more clusters and theirs count as seen. A predicted
    class that nobody would ask for gets its surest cell. Copies are never asked twice, doubtful images make up at most
    one in 25, and groups (slides, patients) that hold enough cells get their share.

    Args:
        features: (N, D) coordinates in which near means alike, such as those of a ``FeatureSpace``.
        probabilities: (N, K) of the run, or of what was adapted last.
        class_names: K names, for the reasons.
        count: How many to choose, 1 or more.
        ids: (N,) unique texts; the choice depends on them, not on the order of the pool. None takes the features.
        clusters: (N,) numbers; cells of one number are duplicates of each other. None: all differ.
        groups: (N,) slides or patients; None: one.
        doubtful: (N,) blurred, out-of-distribution and non-cell images.
        labelled: Positions that are labelled already.
        seed: Of the clustering.

    Raises:
        DataError: Arrays that do not fit together, or nothing left to choose from.
        OptionError: A count below 1.

    Examples:
        >>> far = np.repeat(np.eye(3) * 9, 4, axis=0) + np.arange(12)[:, None] / 100
        >>> found = choose(far, np.full((12, 2), 0.5), ("round", "lobed"), 3)
        >>> sorted((found.rows // 4).tolist())
        [0, 1, 2]

    Source:
        Hacohen, Dekel, Weinshall 2022, Active learning on a budget, arXiv 2202.02794 (typical cells first when labels
        are few); Zhdanov 2019, arXiv 1901.05954 (uncertain ones from different clusters).
    """
    coordinates = np.asarray(features, np.float64)
    given = np.asarray(probabilities, np.float64)
    total = len(coordinates)
    if coordinates.ndim != 2 or given.shape != (total, len(class_names)):
        raise DataError(
            f"features have shape {coordinates.shape} and probabilities {given.shape}; expected (N, D) and "
            f"(N, {len(class_names)})"
        )
    if count < 1:
        raise OptionError(f"count={count}; expected 1 or more cells to suggest")
    copies = np.arange(total) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    known = np.zeros(total, bool) if labelled is None else np.isin(np.arange(total), labelled)
    seen = np.isin(copies, copies[known])
    odd = np.zeros(total, bool) if doubtful is None else np.asarray(doubtful, bool)
    order = _order(ids, coordinates, seed)
    first = _first_of_each(copies, order, ~seen & ~odd)
    strange = _first_of_each(copies, order, ~seen & odd & ~np.isin(copies, copies[first]))
    excluded = {
        "labelled already, or copies of such": int(seen.sum()),
        "copies of others": int((~seen & ~odd).sum() - len(first)),
        "blurred, out-of-distribution or non-cell": int((~seen & odd).sum()),
    }
    if not len(first) and not len(strange):
        raise DataError(f"none of the {total} cells is left to suggest: all are labelled, or copies of labelled ones")
    picker = _Picker(_space(coordinates, given), given, tuple(class_names), seed)
    wanted = min(count, len(first))
    picks = picker.choose(first, wanted, np.flatnonzero(known), None if groups is None else np.asarray(groups))
    rows, reasons = list(picks), list(picks.values())
    # at most one in 25, and only once there is room for it
    room = min(count - len(rows), (count + _ODD - 1) // _ODD) if len(rows) < count else 0
    for row in strange[:room]:
        rows.append(int(row))
        reasons.append("doubtful: blurred, out-of-distribution or no cell; is it one?")
    excluded["blurred, out-of-distribution or non-cell"] -= min(room, len(strange))
    return Chosen(np.asarray(rows, np.int64), tuple(reasons), {k: n for k, n in excluded.items() if n}, count)


def kind_of(reason: str) -> str:
    """Give the kind of a reason: without the numbers and names that differ from cell to cell.

    Examples:
        >>> kind_of("typical of 14 images that look alike"), kind_of("unsure between monocyte and neutrophil")
        ('typical of images that look alike', 'unsure between two classes')
    """
    for start, end, kind in (
        ("typical of", "look alike", "typical of images that look alike"),
        ("typical of", "", "of a group that had no other"),
        ("unsure between", "", "unsure between two classes"),
        ("the run takes it for", "", "of a class that nobody was asked about"),
        ("doubtful", "", "doubtful"),
    ):
        if reason.startswith(start) and reason.endswith(end):
            return kind
    return reason


def _order(ids: Sequence[str] | NDArray[np.str_] | None, features: Floats, seed: int) -> NDArray[np.int64]:
    """Order the cells by what they are, so that shuffling the pool changes nothing."""
    texts = [row.tobytes() for row in features] if ids is None else [str(one).encode() for one in ids]
    keys = [hashlib.sha256(seed.to_bytes(8, "little", signed=True) + text).digest() for text in texts]
    return np.asarray(sorted(range(len(keys)), key=keys.__getitem__), np.int64)


def _first_of_each(
    copies: NDArray[np.int64], order: NDArray[np.int64], allowed: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Give one cell of each duplicate cluster among those that are allowed, in the given order."""
    rows = order[allowed[order]]
    _, places = np.unique(copies[rows], return_index=True)
    found: NDArray[np.int64] = rows[np.sort(places)]
    return found


def _space(features: Floats, probabilities: Floats) -> Floats:
    """Put directions of features beside what the run takes the cells for, so that predicted classes stand apart."""
    centred = features - features.mean(0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = centred / np.maximum(length, 1e-9)
    soft = np.power(np.maximum(probabilities, 0), 0.25)
    soft /= np.maximum(np.linalg.norm(soft, axis=1, keepdims=True), 1e-9)
    soft -= soft.mean(0)
    spread = np.sqrt(np.square(soft).sum(1).mean())
    return np.concatenate([directions, 0.7 * soft / max(spread, 1e-9)], axis=1)


def _margin(probabilities: Floats) -> Floats:
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities))
    two = np.sort(probabilities, axis=1)[:, -2:]
    found: Floats = two[:, 1] - two[:, 0]
    return found


class _Picker:
    """Chooses among cells that may be asked, in a fixed order of theirs."""

    def __init__(self, space: Floats, probabilities: Floats, names: tuple[str, ...], seed: int) -> None:
        self.space, self.probabilities, self.names, self.seed = space, probabilities, names, seed
        self.margins = _margin(probabilities)

    def choose(
        self, rows: NDArray[np.int64], count: int, known: NDArray[np.int64], groups: NDArray[np.str_] | None
    ) -> dict[int, str]:
        if count == len(rows):
            return {int(row): "every cell that is left is asked" for row in rows}
        rows = rows[:_MOST]
        picks: dict[int, str] = {}
        nearest, distances = self._clusters(rows, min(len(rows), count + len(known)))
        taken = set(self._nearest(known, rows, nearest).tolist())
        self._add_unsure(picks, rows, count // 2, nearest, taken)
        sizes = np.bincount(nearest, minlength=distances.shape[1])
        for cluster in np.argsort(-sizes, kind="stable"):
            if len(picks) < count and cluster not in taken:
                taken.add(int(cluster))
                alike = f"typical of {sizes[cluster]} images that look alike" if sizes[cluster] > 1 else UNLIKE
                picks[int(rows[distances[:, cluster].argmin()])] = alike
        self._add_unsure(picks, rows, count, nearest, set())  # where labelled cells lie in most clusters
        self._add_rare(picks, rows, known)
        if groups is not None:
            self._spread(picks, rows, groups)
        return picks

    def _clusters(self, rows: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], Floats]:
        from sklearn.cluster import KMeans

        points = self.space[rows]
        distinct = len(np.unique(points.round(9), axis=0))
        found = KMeans(min(count, distinct), n_init=5, random_state=self.seed).fit(points)
        return found.labels_.astype(np.int64), np.asarray(found.transform(points), np.float64)

    def _nearest(
        self, known: NDArray[np.int64], rows: NDArray[np.int64], nearest: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Tell in which clusters labelled cells lie: that of the nearest cell that may be asked."""
        if not len(known):
            return np.empty(0, np.int64)
        points = self.space[rows]
        squares = np.square(points).sum(1)
        found = [int((squares - 2 * points @ self.space[row]).argmin()) for row in known]
        return nearest[found]

    def _add_unsure(
        self, picks: dict[int, str], rows: NDArray[np.int64], count: int, nearest: NDArray[np.int64], taken: set[int]
    ) -> None:
        """Add cells that the run is least sure of, of clusters that are not taken yet, until there are ``count``."""
        for place in np.argsort(self.margins[rows], kind="stable"):
            if len(picks) >= count:
                return
            row, cluster = int(rows[place]), int(nearest[place])
            if row not in picks and cluster not in taken:
                taken.add(cluster)
                picks[row] = self._doubt(row)
        if len(picks) < count and taken and len(picks) < len(rows):
            self._add_unsure(picks, rows, count, nearest, set())

    def _doubt(self, row: int) -> str:
        if len(self.names) < 2:
            return UNLIKE
        first, second = np.argsort(-self.probabilities[row], kind="stable")[:2]
        return f"unsure between {self.names[first]} and {self.names[second]}"

    def _add_rare(self, picks: dict[int, str], rows: NDArray[np.int64], known: NDArray[np.int64]) -> None:
        """Give every predicted class a turn, in place of the last pick of the class that has most."""
        called = self.probabilities.argmax(1)
        asked = [*picks, *known.tolist()]
        for label in range(len(self.names)):
            those = rows[called[rows] == label]
            if not len(those) or label in called[asked]:
                continue
            counts = np.bincount(called[list(picks)], minlength=len(self.names))
            if counts.max() < 2:
                return
            spare = [row for row in picks if called[row] == counts.argmax()][-1]
            del picks[spare]
            surest = int(those[self.probabilities[those, label].argmax()])
            picks[surest] = f"the run takes it for {self.names[label]}, which nobody was asked about"
            asked = [*picks, *known.tolist()]

    def _spread(self, picks: dict[int, str], rows: NDArray[np.int64], groups: NDArray[np.str_]) -> None:
        """Give a group that holds its share of the cells at least one pick, in place of one of the fullest group."""
        names, number = np.unique(groups, return_inverse=True)
        share = np.bincount(number[rows], minlength=len(names)) * len(picks) / len(rows)
        for group in np.argsort(-share, kind="stable"):
            counts = np.bincount(number[list(picks)], minlength=len(names))
            if share[group] < 1 or counts[group]:
                continue
            full = int(counts.argmax())
            if counts[full] < 2:
                return
            spare = [row for row in picks if number[row] == full][-1]
            those = rows[number[rows] == group]
            middle = self.space[those].mean(0)
            typical = int(those[np.square(self.space[those] - middle).sum(1).argmin()])
            del picks[spare]
            picks[typical] = f"typical of {names[group]}, of which no other image was asked"
