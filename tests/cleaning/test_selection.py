"""Selection and Selector: the result of every selector, and how it fits into scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cellclf.cleaning.selection import Selection, Selector, spread
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, UnknownNameError


class EveryOther(Selector):
    def __init__(self, *, step: int = 2, name: str = "x") -> None:
        self.step = step
        self.name = name

    def find(self, cells: ImageSet) -> Selection:
        keep = np.arange(len(cells)) % self.step == 0
        return Selection(cells.ids, keep, np.where(keep, "", "skipped: by position"), cells=cells)


def some_cells(n: int = 6) -> ImageSet:
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 3), dtype=np.uint8)
    return ImageSet(images, np.arange(n) % 2)


def test_apply_removes_images_and_refuses_another_set() -> None:
    cells = some_cells()
    found = EveryOther().find(cells)
    assert found.apply(cells).ids.tolist() == ["0", "2", "4"]
    assert EveryOther().apply(cells).ids.tolist() == ["0", "2", "4"]
    with pytest.raises(DataError, match="call find"):
        found.apply(cells[1:])
    with pytest.raises(DataError, match="call find"):
        found.apply(cells.subset([1, 0, 2, 3, 4, 5]))


def test_result_is_frozen_compares_by_content_and_is_plain_data() -> None:
    cells = some_cells()
    found = EveryOther().find(cells)
    with pytest.raises(ValueError, match="read-only"):
        found.keep[0] = False
    assert found == EveryOther().find(cells)
    assert found != EveryOther(step=3).find(cells)
    assert "cells" not in repr(found)
    assert json.loads(json.dumps(found.to_dict()))["removed"][0] == {"id": "1", "reason": "skipped: by position"}
    assert "3  skipped" in found.summary()


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="2 ids"):
        Selection(np.array(["a", "b"]), np.ones(2, bool), np.array([""]))


def test_plot_shows_removed_images_and_needs_them() -> None:
    found = EveryOther().find(some_cells())
    assert len(found.plot().axes) == 3
    assert len(found.plot(limit=2).axes) == 2
    without = Selection(found.ids, found.keep, found.reasons)
    with pytest.raises(DataError, match="has no images to show"):
        without.plot()


def test_clone_and_search_take_a_selector() -> None:
    from sklearn.base import clone

    copy = clone(EveryOther(step=3))
    assert isinstance(copy, EveryOther)
    assert copy.get_params() == {"step": 3, "name": "x"}
    assert copy.set_params(step=2) is copy
    assert repr(copy) == "EveryOther()"
    with pytest.raises(UnknownNameError, match="did you mean 'step'"):
        copy.set_params(stop=1)


def test_fit_resample_selects_arrays_with_labels_of_any_kind() -> None:
    cells = some_cells()
    labels = np.array(["b", "a", "b", "a", "b", "c"])
    images, chosen = EveryOther().fit_resample(cells.images, labels)
    assert np.array_equal(images, cells.images[::2])
    assert chosen.tolist() == ["b", "b", "b"]
    with pytest.raises(DataError, match=r"shape \(2,\) for 6 images"):
        EveryOther().fit_resample(cells.images, labels[:2])


def test_spread_is_even_and_bounded() -> None:
    assert spread(3, 10).tolist() == [0, 1, 2]
    assert spread(0, 10).tolist() == []
    assert len(spread(1000, 48)) == 48
