"""Downsample: every class at the target, drawn by the seed, in the old order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from cellclf import DataError, Downsample, ImageSet, OptionError, UnknownNameError


def cells(labels: list[int], names: list[str] | None = None) -> ImageSet:
    return ImageSet(np.zeros((len(labels), 4, 4, 3), np.uint8), labels, class_names=names)


@settings(max_examples=60, deadline=None)
@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 99), most=st.integers(2, 20))
def test_sizes_order_and_determinism(labels: list[int], seed: int, most: int) -> None:
    given_ = cells(labels)
    for target in ("min", most, 0.5):
        found = Downsample(target=target, seed=seed).find(given_)
        assert found == Downsample(target=target, seed=seed).find(given_)
        smaller = given_.subset(found.keep)  # apply refuses to leave one image of a class
        sizes = [n for n in given_.counts().values() if n]
        limit = {"min": min(sizes), 0.5: int(np.quantile(sizes, 0.5))}.get(target, most)
        assert smaller.counts() == {name: min(n, limit) for name, n in given_.counts().items()} == found.after
        places = smaller.ids.astype(int)
        assert (np.diff(places) > 0).all()
        assert ((found.reasons == "") == found.keep).all()


def test_a_class_is_drawn_by_itself_and_evenly() -> None:
    alone = Downsample(target=3, seed=1).find(cells([0] * 10))
    beside = Downsample(target=3, seed=1).find(cells([0] * 10 + [1] * 50))
    np.testing.assert_array_equal(alone.keep, beside.keep[:10])
    drawn = sum(Downsample(target=3, seed=seed).find(cells([0] * 10)).keep.astype(int) for seed in range(400))
    assert drawn.min() > 80 and drawn.max() < 160  # 120 expected of each; 4.4 standard deviations


def test_words_and_plot() -> None:
    found = Downsample(seed=7).find(cells([0] * 5 + [1] * 2, ["round", "lobed"]))
    assert (
        found.summary() == "7 images -> 4: 3 removed\n  round  5 -> 2\n  lobed  2 -> 2\nclass round loses 3 of 5 images"
    )
    assert set(found.reasons[~found.keep]) == {"surplus: round has 5, 2 are kept"}
    assert json.loads(json.dumps(found.to_dict()))["after"] == {"round": 2, "lobed": 2}
    (axes,) = found.plot().axes
    assert [round(bar.get_width()) for bar in axes.patches] == [5, 2, 2, 2]
    assert axes.get_xlabel() == "images" and [t.get_text() for t in axes.get_yticklabels()] == ["round", "lobed"]


def test_empty_classes_are_ignored_and_names_kept() -> None:
    found = Downsample().find(cells([0, 0, 0, 2, 2], ["a", "b", "c"]))
    assert found.after == {"a": 2, "b": 0, "c": 2}
    assert found.apply(found.cells).class_names == ("a", "b", "c")


def test_wrong_use() -> None:
    with pytest.raises(DataError, match="have no labels"):
        Downsample().find(ImageSet(np.zeros((2, 4, 4, 3), np.uint8)))
    for target in ("max", 0, -1, 1.5, True, None):
        with pytest.raises((OptionError, UnknownNameError), match=r"Downsample target(=|: )"):
            Downsample(target=target).find(cells([0, 1]))  # type: ignore[arg-type] # wrong on purpose
    alone = Downsample().find(cells([0, 0, 0, 1]))
    with pytest.raises(DataError, match=r"class 0 loses 2 of 3 images: .* choose a target of 2 or more"):
        alone.apply(alone.cells)


def test_sklearn() -> None:
    assert clone(Downsample(target=9, seed=2)).get_params() == {"target": 9, "seed": 2}
    images, labels = Downsample().fit_resample(np.zeros((5, 4, 4, 3), np.uint8), ["x", "x", "x", "y", "y"])
    assert images.shape[0] == 4 and labels.tolist() == ["x", "x", "y", "y"]
