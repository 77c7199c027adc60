"""From copies to decisions: which images of each group are kept, and the reason for each removed one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.crowds import like_their_class
from cellclf.cleaning.dedup.hashes import TURNS
from cellclf.cleaning.dedup.matching import Copies
from cellclf.cleaning.dedup.result import (
    CONFLICT,
    ONE_KEPT,
    SHARED_BACKGROUND,
    TOO_MANY,
    DedupResult,
    Group,
    LeakResult,
)
from cellclf.cleaning.dedup.ties import AUGMENTED
from cellclf.cleaning.dedup.verify import Pairs
from cellclf.cleaning.losses import LossLimit, class_losses
from cellclf.cleaning.selection import names_of

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet


def decide(
    copies: Copies,
    ids: NDArray[np.str_],
    names: NDArray[np.str_],
    max_copies: int,
    shared: list[NDArray[np.int64]],
    cells: ImageSet | None,
    limit: LossLimit,
    *,
    n_jobs: int | None = None,
) -> DedupResult:
    """Decide which images of each group are kept.

    Args:
        copies: Each image's keeper.
        ids: (N,) str.
        names: (N,) class names, "" without labels.
        max_copies: Largest group of which one image is kept whatever it shows.
        shared: Groups of different cells on one shared background.
        cells: The set that was searched, or None: then nobody can say what a larger group shows.
        limit: How much a class may lose.
        n_jobs: Tasks at once.
    """
    count = len(ids)
    kinds = np.full(count, "keeper", "<U10")
    kinds[copies.pairs.second] = copies.pairs.kind
    reasons = np.full(count, "", object)
    for k in range(len(copies.pairs)):
        reasons[copies.pairs.second[k]] = _reason(copies.pairs, k, ids[copies.pairs.first[k]])
    keep = copies.keeper == np.arange(count)
    grouped = np.flatnonzero(np.bincount(copies.keeper, minlength=count)[copies.keeper] > 1)
    grouped = grouped[np.argsort(copies.keeper[grouped], kind="stable")]
    starts = np.flatnonzero(np.diff(copies.keeper[grouped])) + 1
    found_groups = (
        [_keeper_first(members, copies.keeper) for members in np.split(grouped, starts)] if len(grouped) else []
    )
    labels = [tuple(sorted(set(names[members].tolist()) - {""})) for members in found_groups]
    ordinary: set[int] = set()
    if cells is not None:
        conflicts = [members[0] for members, found in zip(found_groups, labels, strict=True) if len(found) > 1]
        crowds = [
            int(members[0])
            for members, found in zip(found_groups, labels, strict=True)
            if len(members) > max_copies and len(found) == 1
        ]
        ordinary = like_their_class(crowds, cells, names, np.setdiff1d(np.flatnonzero(keep), conflicts), n_jobs=n_jobs)
    groups = []
    for members, found in zip(found_groups, labels, strict=True):
        decision = ONE_KEPT
        if len(found) > 1:
            decision = CONFLICT
            reasons[members] = f"{CONFLICT}: one of {len(members)} copies with labels {', '.join(found)}"
        elif len(members) > max_copies and int(members[0]) not in ordinary:
            decision = TOO_MANY
            unlike = ", and unlike other images of its class" if found and cells is not None else ""
            reasons[members] = f"{TOO_MANY}: one of {len(members)}, more than max_copies={max_copies}{unlike}"
        keep[members] &= decision == ONE_KEPT
        groups.append(Group(tuple(members.tolist()), tuple(kinds[members].tolist()), decision, found))
    for members in shared:
        found = tuple(sorted(set(names[members].tolist()) - {""}))
        reasons[members] = f"{SHARED_BACKGROUND}: one of {len(members)} different images with the same background"
        keep[members] = False
        groups.append(Group(tuple(members.tolist()), ("background",) * len(members), SHARED_BACKGROUND, found))
    groups.sort(key=lambda group: (-len(group), group.members[0]))
    near = copies.near[keep[copies.near.first] & keep[copies.near.second]]
    return DedupResult(
        ids,
        keep,
        reasons.astype(np.str_),
        cells=cells,
        losses=class_losses(keep, names, copies.keeper),
        limit=limit,
        groups=tuple(groups),
        pairs=copies.pairs,
        near=near,
        clusters=_clusters(copies),
        names=names,
    )


def _keeper_first(members: NDArray[np.int64], keepers: NDArray[np.int64]) -> NDArray[np.int64]:
    keeper = keepers[members[:1]]
    return np.concatenate([keeper, members[members != keeper]])


def decide_leaks(pairs: Pairs, cells: ImageSet, against: ImageSet, searched: str = "") -> LeakResult:
    """Decide which images of a training set leak into a test set.

    Args:
        pairs: ``first`` is a position in ``cells``, ``second`` one in ``against`` plus ``len(cells)``.
        cells: The training set.
        against: The test set.
        searched: Which copies the search finds.
    """
    count = len(cells)
    pairs = replace(pairs, second=pairs.second - count)
    is_near = pairs.kind == "near"
    pairs, near = pairs[~is_near], pairs[is_near]
    names, other_names = names_of(cells), names_of(against)
    reasons = np.full(count, "", object)
    for k in range(len(pairs))[::-1]:  # backwards, so that each image gets the reason of its first pair
        one, two = pairs.first[k], pairs.second[k]
        differs = "" not in (names[one], other_names[two]) and names[one] != other_names[two]
        label = f", labelled {other_names[two]} there" if differs else ""
        reasons[one] = _reason(pairs, k, against.ids[two]) + label
    return LeakResult(
        cells.ids,
        reasons == "",
        reasons.astype(np.str_),
        cells=cells,
        # how many leak is no matter of taste: a limit would only hide them
        limit=LossLimit(None, remedy="take them out of the test set instead"),
        searched=searched,
        pairs=pairs,
        near=near,
        names=names,
        other_ids=against.ids,
        other_names=other_names,
    )


def _reason(pairs: Pairs, k: int, other: str) -> str:
    kind, similarity = str(pairs.kind[k]), float(pairs.similarity[k])
    if kind == "identical":
        return f"identical: copy of {other}"
    if kind == "turned":
        return f"turned: copy of {other}, {TURNS[pairs.turn[k]]}"
    if kind == AUGMENTED:
        return f"{AUGMENTED}: copy of {other}, {pairs.changes[k]}"
    if kind == "foreground":
        return f"foreground: the cell of {other} on another background"
    return f"{kind}: copy of {other}, similarity {similarity:.3f}"


def _clusters(copies: Copies) -> NDArray[np.int64]:
    """Number the groups by their keeper; keepers that look alike, directly or through others, share a number."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count, near = len(copies.keeper), copies.near
    if not len(near):
        return copies.keeper.copy()
    graph = coo_array((np.ones(len(near), bool), (near.first, near.second)), (count, count))
    _, group = connected_components(graph, directed=False)
    _, first, which = np.unique(group, return_index=True, return_inverse=True)
    return first[which][copies.keeper]
