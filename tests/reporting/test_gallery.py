from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from helpers.report import read

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.selection import Selection
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError
from cellclf.reporting.gallery import write_gallery
from cellclf.reporting.removals import kinds, lines


def test_groups_conflicts_and_ids_are_shown(cells: ImageSet, tmp_path: Path) -> None:
    found = Dedup(n_jobs=1).find(cells)
    (page,) = write_gallery(found, tmp_path / "copies.html")
    _, reader, words = read(page)
    assert "conflicting labels 13 Copies of one image with different labels" in words
    assert "13 images: all removed; labelled" in words and "2 images: 1 kept" in words
    assert reader.tags.count("img") == 15
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)


def test_lines_hold_every_removed_image_once(cells: ImageSet) -> None:
    found = Dedup(n_jobs=1).find(cells)
    every = [line for of_kind in lines(found).values() for line in of_kind]
    shown = np.concatenate([line.rows for line in every])
    assert len(shown) == len(set(shown.tolist()))
    assert set(np.flatnonzero(~found.keep)) <= set(shown.tolist())


@dataclasses.dataclass(frozen=True, eq=False)
class Scored(Selection):
    """A selection with outlier scores, as OutlierFilter gives."""

    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0), kw_only=True)


def test_a_long_gallery_continues_in_more_files_highest_scores_first(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count = 900
    cells = ImageSet(rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))
    scores = rng.random(count)
    keep = scores < 0.1
    found = Scored(cells.ids, keep, np.where(keep, "", "outlier: very"), cells=cells, scores=scores)
    assert (np.diff(scores[kinds(found)["outlier"]]) <= 0).all()
    pages = write_gallery(found, tmp_path / "out liers.html", title="Outliers")
    assert [p.name for p in pages[:2]] == ["out liers.html", "out liers-2.html"] and len(pages) == 3
    readers = [read(page)[1] for page in pages]
    assert sum(r.tags.count("img") for r in readers) == (~keep).sum() + 48  # and the kept ones with the highest scores
    assert "out%20liers-2.html" in readers[0].addresses and "out%20liers.html" in readers[1].addresses
    first, last = read(pages[0])[2], read(pages[-1])[2]
    assert f"({scores.max():.2f})" in first and "kept, with the highest scores" in last


def test_nothing_found_and_nothing_known(cells: ImageSet, tmp_path: Path) -> None:
    calm = Selection(cells.ids, np.ones(len(cells), bool), np.full(len(cells), ""), cells=cells)
    (page,) = write_gallery(calm, tmp_path / "a.html")
    assert "60 images were searched, 60 are kept" in read(page)[2]
    blind = dataclasses.replace(calm, cells=None)
    with pytest.raises(DataError, match="pass the searched set as cells="):
        write_gallery(blind, tmp_path / "b.html")
    assert write_gallery(blind, tmp_path / "b.html", cells=cells)
