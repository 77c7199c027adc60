"""What load refuses whatever the source, classes that are matched by name, and sets of real images."""

from __future__ import annotations

import pytest
from helpers.images import pixels
from hypothesis import given
from hypothesis import strategies as st

import cellclf as cc
from cellclf.errors import CellclfError, DataError, OptionError, UnknownNameError

# Arguments


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"fit": "squeeze"}, OptionError, "fit='squeeze'"),
        ({"size": (0, 5)}, OptionError, r"size=\(0, 5\)"),
        ({"size": (5,)}, OptionError, r"expected \(height, width\)"),
        ({"size": (4, 4)}, OptionError, "is for files"),
        ({"part": "train"}, OptionError, "part='train' needs"),
        ({"class_names": ["a"]}, DataError, "only 1 class names"),
    ],
)
def test_arguments_that_do_not_go_with_arrays(arguments, kind, message):
    with pytest.raises(kind, match=message):
        cc.load((pixels(2, 8, 8, 3), [0, 1]), **arguments)


@pytest.mark.parametrize(
    ("src", "message"),
    [("nowhere", "there is no 'nowhere'"), ("nowhere.npz", "there is no"), ("a.txt", "a text: save it as .csv")],
)
def test_paths_that_are_refused(tmp_path, monkeypatch, src, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=message):
        cc.load(src)


def test_classes_are_matched_by_name_so_that_two_sets_mean_the_same(folder):
    cells = cc.load(folder, class_names=["band", "round", "lobed"])
    assert cells.labels.tolist() == [2, 2, 1, 1] and cells.num_classes == 3
    with pytest.raises(UnknownNameError, match="'lobed'"):
        cc.load(folder, class_names=["band", "round"])


@given(data=st.binary(max_size=80))
def test_any_bytes_as_csv_or_npz_give_a_clear_error(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("odd")
    for name in ("a.csv", "a.npz", "a.npy", "a.png"):
        (root / name).write_bytes(data)
        with pytest.raises(CellclfError) as caught:
            cc.load(root / name)
        assert "\n" not in str(caught.value)


# Real images


@pytest.mark.parametrize("name", ["bccd_crops", "contaminants"])
def test_real_images(real_data, name):
    cells = cc.load(real_data / "data" / name)
    if name == "bccd_crops":
        assert cells.counts() == {"basophil": 3, "eosinophil": 88, "lymphocyte": 33, "monocyte": 20, "neutrophil": 207}
    else:
        assert len(cells) == 2 and cells.labels is None
    assert cells.skipped == () and 60 < cells.read(range(2)).mean() < 250


@pytest.mark.slow
def test_the_whole_real_training_set(real_data):
    cells = cc.load(real_data / "data" / "acevedo96" / "train")
    assert list(cells.counts().values()) == [852, 2181, 1085, 2026, 849, 993, 2330, 1643]
    assert cells.image_shape == (96, 96, 3) and cells.notices == () and cells.skipped == ()
