"""From copies to verdicts: which images of each group stay, and the reason for each that goes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.hashes import TURNS
from cellclf.cleaning.dedup.matching import Copies, stars
from cellclf.cleaning.dedup.result import DedupResult, Group, LeakResult
from cellclf.cleaning.dedup.verify import Links

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet


def names_of(cells: ImageSet) -> NDArray[np.str_]:
    """Give each image's class name: (N,) str, "" without labels."""
    if cells.labels is None:
        return np.full(len(cells), "", "<U1")
    return np.array(cells.class_names, np.str_)[cells.labels] if len(cells) else np.empty(0, "<U1")


def judge(
    copies: Copies,
    ids: NDArray[np.str_],
    names: NDArray[np.str_],
    max_copies: int,
    contaminated: list[NDArray[np.int64]],
    cells: ImageSet | None,
) -> DedupResult:
    """Decide which images of each group stay.

    Args:
        copies: Each image's keeper.
        ids: (N,) str.
        names: (N,) class names, "" without labels.
        max_copies: Largest group of which one image stays.
        contaminated: Groups of different cells on one foreign background.
        cells: The set that was searched, if at hand.
    """
    count = len(ids)
    kinds = np.full(count, "keeper", "<U10")
    kinds[copies.how.second] = copies.how.kind
    reasons = np.full(count, "", object)
    for link in range(len(copies.how)):
        reasons[copies.how.second[link]] = _why(copies.how, link, ids[copies.how.first[link]])
    keep = copies.keeper == np.arange(count)
    shared = np.flatnonzero(np.bincount(copies.keeper, minlength=count)[copies.keeper] > 1)
    shared = shared[np.argsort(copies.keeper[shared], kind="stable")]
    groups = []
    for members in np.split(shared, np.flatnonzero(np.diff(copies.keeper[shared])) + 1) if len(shared) else []:
        keeper = int(copies.keeper[members[0]])
        members = np.concatenate([[keeper], members[members != keeper]])
        found = tuple(sorted(set(names[members].tolist()) - {""}))
        verdict = "conflict" if len(found) > 1 else "crowd" if len(members) > max_copies else "one stays"
        if verdict == "conflict":
            reasons[members] = f"conflict: one of {len(members)} copies with labels {', '.join(found)}"
        elif verdict == "crowd":
            reasons[members] = f"crowd: one of {len(members)} copies, more than max_copies={max_copies}"
        keep[members] &= verdict == "one stays"
        groups.append(Group(tuple(members.tolist()), tuple(kinds[members].tolist()), verdict, found))
    for members in contaminated:
        found = tuple(sorted(set(names[members].tolist()) - {""}))
        reasons[members] = f"contamination: one of {len(members)} images with one foreign background"
        keep[members] = False
        how = ("background",) * len(members)
        groups.append(Group(tuple(members.tolist()), how, "contamination", found))
    groups.sort(key=lambda group: (-len(group), group.members[0]))
    near = copies.near[keep[copies.near.first] & keep[copies.near.second]]
    return DedupResult(
        ids,
        keep,
        reasons.astype(np.str_),
        cells=cells,
        groups=tuple(groups),
        pairs=copies.how,
        near=near,
        clusters=_clusters(copies),
        names=names,
    )


def judge_leaks(links: Links, cells: ImageSet, against: ImageSet) -> LeakResult:
    """Decide which images of a training set leak into a test set.

    Args:
        links: ``first`` is a place in ``cells``, ``second`` one in ``against`` counted on after those of ``cells``.
        cells: The training set.
        against: The test set.
    """
    count = len(cells)
    links = Links(links.first, links.second - count, links.turn, links.similarity, links.distance, links.kind)
    alike = links.kind == "alike"
    pairs, near = links[~alike], links[alike]
    names, other_names = names_of(cells), names_of(against)
    reasons = np.full(count, "", object)
    for link in range(len(pairs))[::-1]:
        one, two = pairs.first[link], pairs.second[link]
        differs = "" not in (names[one], other_names[two]) and names[one] != other_names[two]
        label = f", there labelled {other_names[two]}" if differs else ""
        reasons[one] = _why(pairs, link, against.ids[two]) + label
    return LeakResult(
        cells.ids,
        reasons == "",
        reasons.astype(np.str_),
        cells=cells,
        pairs=pairs,
        near=near,
        names=names,
        other_ids=against.ids,
        other_names=other_names,
    )


def _why(links: Links, link: int, other: str) -> str:
    kind, like = str(links.kind[link]), float(links.similarity[link])
    if kind == "identical":
        return f"identical: {other}"
    if kind == "turned":
        return f"turned: {other}, {TURNS[links.turn[link]]}"
    if kind == "foreground":
        return f"foreground: the cell of {other} on another background"
    return f"{kind}: {other}, similarity {like:.3f}"


def _clusters(copies: Copies) -> NDArray[np.int64]:
    """Number the groups by their keeper; keepers that look alike share a number, around the first of them."""
    count = len(copies.keeper)
    tied = stars(count, copies.near, np.arange(count))
    cluster = np.arange(count)
    member = np.flatnonzero(tied >= 0)
    cluster[member] = copies.near.first[tied[member]]
    return cluster[copies.keeper]
