"""Prepare: clean, split and balance a set, so that it can be trained on."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from cellclf.augmentation.expand import Expand
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.downsample import Downsample
from cellclf.cleaning.outliers.filter import OutlierFilter
from cellclf.cleaning.selection import Selection
from cellclf.data.cuts import whole
from cellclf.data.image_set import ImageSet
from cellclf.data.inspect import class_gaps
from cellclf.data.split import Parts, Split
from cellclf.pipeline.cut import completed, copies_across, describe, given_of, groups_across
from cellclf.pipeline.home import Joined, split_beside
from cellclf.pipeline.prepared import Prepared
from cellclf.utils.log import logger

Step = Callable[[str], AbstractContextManager[None]]


def prepare(
    joined: Joined,
    *,
    split: Split,
    dedup: Dedup | None,
    outliers: OutlierFilter | None,
    downsample: Downsample | None,
    expand: Expand | None,
) -> Prepared:
    """Clean, split and balance.

    Args:
        joined: The set, or the cut that is given with it.
        split: Splits a set that has no cut.
        dedup: Removes duplicates; None keeps them, as None leaves out each further step.
        outliers: Removes non-cell images from train and from a val that was not given.
        downsample: Balances the training part.
        expand: Adds augmented copies to it.
    """
    given = joined.given
    seconds: dict[str, float] = {}
    removals: dict[str, Selection] = {}
    before = whole(given)

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - started
        if name in removals:
            logger.info(f"{name}: {removals[name].summary()}")

    for line in class_gaps(before):
        logger.info(line)
    if isinstance(given, Parts):
        logger.info(describe(given, split))
        cells, parts = before, _given_parts(given, split, dedup, removals, step)
    else:
        cells = before
        if dedup is not None:
            with step("duplicates"):
                removals["duplicates"] = dedup.find(cells)
                cells = removals["duplicates"].apply(cells)
        parts = split_beside(split, cells, joined.parts)
    train, val = parts.train, parts.val
    own_val = [] if "val" in given_of(given) else [val]
    logger.info(f"split: train {len(train):,}, val {len(val):,}, test {len(parts.test):,}")
    if outliers is not None:
        with step("outliers"):
            fitted = copy.copy(outliers).fit(train)  # a copy: the pipeline's own is not fitted
            both = cells.subset(rows_of(cells, train, *own_val))
            removals["outliers"] = fitted.find(both)
            inliers = set(removals["outliers"].apply(both).ids.tolist())
            if not own_val:  # a val that is given is left as it is
                inliers |= set(val.ids.tolist())
            train, val = (part.subset([id_ in inliers for id_ in part.ids.tolist()]) for part in (train, val))
    kept = {*train.ids.tolist(), *val.ids.tolist(), *parts.test.ids.tolist()}
    after = cells.subset([id_ in kept for id_ in cells.ids.tolist()])
    if downsample is not None:
        with step("balance"):
            removals["balance"] = downsample.find(train)
            train = removals["balance"].apply(train)
    if expand is not None:
        with step("expansion"):
            train = expand.apply(train)
        logger.info(f"expansion: train {len(train):,}")
    return Prepared(
        before=before,
        after=after,
        parts=parts,
        train=train,
        val=val,
        removals=removals,
        seconds=seconds,
        given=given_of(given),
        cut=describe(given, split) if isinstance(given, Parts) else "",
    )


def _given_parts(given: Parts, split: Split, dedup: Dedup | None, removals: dict[str, Selection], step: Step) -> Parts:
    """Clean the training part of a cut that is given, of what the other parts have, too."""
    train = given.train
    if dedup is not None:
        with step("copies across the cut"):
            found = dedup.find(train)
            removals["copies across the cut"] = across = copies_across(given, dedup, found.clusters)
            train = across.apply(train)
        with step("duplicates"):
            removals["duplicates"] = found = dedup.find(train) if across.removed else found
            train = found.apply(train)
    if train.groups is not None:
        with step("groups across the cut"):
            removals["groups across the cut"] = groups_across(train, given)
            train = removals["groups across the cut"].apply(train)
    return completed(Parts(train, given.val, given.test), split)


def rows_of(cells: ImageSet, *parts: ImageSet) -> list[int]:
    """Give the positions in a set of the images of some parts, in order."""
    ids = {id_ for part in parts for id_ in part.ids.tolist()}
    return [row for row, id_ in enumerate(cells.ids.tolist()) if id_ in ids]
