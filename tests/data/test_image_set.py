from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

import cellclf as cc
from cellclf.data.image_set import ImageSet, Skipped, check_images
from cellclf.errors import DataError, OptionError, UnknownNameError


def pixels(count, side=4, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), np.uint8)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=8)


@st.composite
def sets(draw):
    count = draw(st.integers(0, 9))
    names = draw(st.lists(TEXT, min_size=1, max_size=4, unique=True))

    def column(values):
        return draw(st.none() | st.lists(values, min_size=count, max_size=count))

    return ImageSet(
        draw(npst.arrays(np.uint8, (count, 2, 3, 3))),
        column(st.integers(0, len(names) - 1)),
        class_names=names,
        ids=draw(st.none() | st.lists(TEXT, min_size=count, max_size=count, unique=True)),
        groups=column(TEXT),
        clusters=column(st.integers(-3, 2**40)),
        sizes=draw(npst.arrays(np.int64, (count, 2), elements=st.integers(1, 5000))),
        notices=draw(st.lists(TEXT, max_size=2)),
        skipped=draw(st.lists(st.builds(Skipped, TEXT, TEXT), max_size=2)),
    )


def same(one, two):
    for name in ("labels", "groups", "clusters"):
        a, b = getattr(one, name), getattr(two, name)
        assert (a is None) == (b is None) and (a is None or a.tolist() == b.tolist()), name
    assert one.ids.tolist() == two.ids.tolist()
    assert one.sizes.tolist() == two.sizes.tolist()
    assert one.class_names == two.class_names
    assert one.notices == two.notices and one.skipped == two.skipped
    assert np.array_equal(one.images, two.images)
    assert one.fingerprint() == two.fingerprint()


@given(cells=sets())
def test_what_is_saved_is_loaded_again(cells, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "cells.npz"
    same(cc.load(cells.save(path)), cells)


@given(cells=sets())
def test_pickles_are_equal_and_read_only(cells):
    again = pickle.loads(pickle.dumps(cells))
    same(again, cells)
    assert not again.ids.flags.writeable and not again.images.flags.writeable
    same(copy.deepcopy(cells), cells)


def test_the_pickle_of_a_small_part_is_small_and_joblib_takes_it():
    import joblib

    cells = ImageSet(pixels(400, 32))
    part = cells[5:8]
    assert len(pickle.dumps(part)) < 32 * 32 * 3 * 3 + 4000
    found = joblib.Parallel(n_jobs=2, backend="threading")(joblib.delayed(pickle.dumps)(part) for _ in range(2))
    same(pickle.loads(found[1]), part)


@given(cells=sets(), size=st.integers(1, 12))
def test_batches_are_the_images_in_order(cells, size):
    batches = list(cells.batches(size))
    assert all(0 < len(batch) <= size for batch in batches)
    assert sum(map(len, batches)) == len(cells)
    if batches:
        assert np.array_equal(np.concatenate(batches), cells.images)


@given(cells=sets(), data=st.data())
def test_a_mask_and_its_opposite_part_the_set(cells, data):
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(cells), max_size=len(cells))), bool)
    one, two = cells.subset(mask), cells.subset(~mask)
    assert sorted(one.ids.tolist() + two.ids.tolist()) == sorted(cells.ids.tolist())
    assert np.array_equal(one.images, cells.images[mask])
    assert one.class_names == cells.class_names
    same(cells.subset(np.flatnonzero(mask)), one)


@given(cells=sets(), start=st.integers(-10, 10), stop=st.integers(-10, 10), step=st.sampled_from([1, 2, -1]))
def test_slices_are_those_of_a_list(cells, start, stop, step):
    cut = slice(start, stop, step)
    assert cells[cut].ids.tolist() == cells.ids.tolist()[cut]
    assert np.array_equal(cells[cut].images, cells.images[cut])


def test_a_subset_of_a_subset_reads_the_right_images():
    images = pixels(10)
    cells = ImageSet(images).subset([7, 2, 9, 4]).subset([-1, 0])
    assert cells.ids.tolist() == ["4", "7"]
    assert np.array_equal(cells[1], images[7])
    assert np.array_equal(cells.read([1, 1, 0]), images[[7, 7, 4]])
    assert np.array_equal(cells.read([True, False]), images[[4]])


def test_the_callers_arrays_stay_as_they_are_and_sets_cannot_be_changed():
    images, labels, ids, clusters = pixels(4), np.array([0, 1, 1, 0]), np.array(list("abcd")), np.arange(4)
    before = images.copy()
    cells = ImageSet(images, labels, ids=ids, clusters=clusters, groups=ids)
    assert all(array.flags.writeable for array in (images, labels, ids, clusters))
    labels[0], ids[0] = 1, "z"
    assert cells.labels.tolist() == [0, 1, 1, 0] and cells.ids[0] == "a" and cells.groups[0] == "a"
    for array in (cells.images, cells[1:3].images, cells[0], cells.labels, cells.ids, cells.clusters, cells.sizes):
        with pytest.raises(ValueError, match="read-only"):
            array[:1] = 0
    with pytest.raises(AttributeError, match=r"replace"):
        cells.labels = None
    with pytest.raises(AttributeError, match="never changes"):
        del cells.ids
    picked = cells.read([0, 2])  # scattered: a copy, which is the caller's own
    picked[:] = 0
    assert np.array_equal(images, before)


def test_reading_images_that_stand_side_by_side_copies_nothing():
    images = pixels(6)
    cells = ImageSet(images)
    assert np.shares_memory(cells.images, images)
    assert np.shares_memory(cells[2:5].images, images)
    assert all(np.shares_memory(batch, images) for batch in cells.batches(4))


def test_replace_changes_what_is_named_only():
    cells = ImageSet(pixels(3), [0, 1, 0], class_names=["a", "b"], groups=["p", "p", "q"], clusters=[0, 0, 1])
    other = cells.replace(labels=[1, 1, 1])
    assert other.counts() == {"a": 0, "b": 3} and other.groups.tolist() == ["p", "p", "q"]
    assert cells.labels.tolist() == [0, 1, 0]
    bare = cells.replace(labels=None, groups=None, clusters=None, ids=["x", "y", "z"])
    assert bare.labels is None and bare.groups is None and bare.clusters is None
    assert bare.class_names == ("a", "b") and bare.counts() == {}
    with pytest.raises(DataError, match="label 2 but only 2 class names"):
        cells.replace(labels=[0, 1, 2])
    with pytest.raises(DataError, match="2 ids for 3 images"):
        cells.replace(ids=["x", "y"])


def test_align_matches_classes_by_name():
    cells = ImageSet(pixels(3), ["neutrophil", "basophil", "neutrophil"])
    assert cells.class_names == ("basophil", "neutrophil")
    wide = cells.align(["monocyte", "neutrophil", "basophil"])
    assert wide.labels.tolist() == [1, 2, 1]
    assert wide.counts() == {"monocyte": 0, "neutrophil": 2, "basophil": 1}
    assert cells[:1].align(["neutrophil"]).labels.tolist() == [0]  # a class without an image may go
    with pytest.raises(UnknownNameError, match=r"no class 'basophil'.*monocyte, neutrophil"):
        cells.align(["neutrophil", "monocyte"])


def test_the_fingerprint_sees_ids_labels_names_and_pixels_and_nothing_else():
    images = pixels(5)
    cells = ImageSet(images, [0, 1, 0, 1, 1])
    known = cells.fingerprint()
    assert len(known) == 64
    changed = images.copy()
    changed[3, 0, 0, 0] ^= 1
    others = [
        ImageSet(changed, cells.labels),
        cells.replace(ids=list("abcde")),
        cells.replace(labels=[1, 1, 0, 1, 1]),
        cells.replace(class_names=["x", "y"]),
        cells.subset([1, 0, 2, 3, 4]),
    ]
    assert len({known, *(other.fingerprint() for other in others)}) == 6
    assert cells.replace(clusters=[1] * 5, groups=["p"] * 5).fingerprint() == known


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([[0], [2], [1]], np.uint8), [0, 2, 1]),
        (np.array([0, 2, 1], np.uint64), [0, 2, 1]),
        (np.array([0, 2, 1], ">i2"), [0, 2, 1]),
        (np.array([0.0, 2.0, 1.0], np.float32), [0, 2, 1]),
        (np.array([False, True, False]), [0, 1, 0]),
        (["b", "c", "b"], [0, 1, 0]),
        (np.array(["b", "c", "b"], object), [0, 1, 0]),
        (["10", "9", "9"], [1, 0, 0]),
    ],
)
def test_labels_that_are_taken(labels, expected):
    cells = ImageSet(pixels(3), labels)
    assert cells.labels.tolist() == expected and cells.labels.dtype == np.int64
    assert cells.num_classes == max(expected) + 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.eye(3, dtype=int), r"pass labels.argmax\(1\)"),
        ([0, -1, 0], "label -1; labels count from 0"),
        ([0, 1], "2 labels for 3 images"),
        ([0, 1, 0.5], "dtype float64; expected whole numbers"),
        ([0, np.nan, 1], "1 of 3 labels are missing"),
        (np.array([0, None, 1], object), "1 of 3 labels are missing"),
        ([0, np.inf, 1], "expected whole numbers"),
        ([0, 10**9, 1], "are these the labels"),
        ([0, 2**63, 1], r"below 2\*\*63"),
        ([[0, 1], [2], [0]], "labels are not a column"),
        (5, "labels is a single int; expected one for each image"),
    ],
)
def test_labels_that_are_refused(labels, message):
    with pytest.raises(DataError, match=message) as caught:
        ImageSet(pixels(3), labels)
    assert "\n" not in str(caught.value)


def test_labels_by_name_are_checked_against_the_names():
    cells = ImageSet(pixels(2), ["b", "a"], class_names=["b", "a"])
    assert cells.labels.tolist() == [0, 1]
    with pytest.raises(DataError, match="label 'z'; expected one of the classes b, a"):
        ImageSet(pixels(2), ["b", "z"], class_names=["b", "a"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_names": ["a", "a"]}, "'a' occurs twice"),
        ({"class_names": "ab"}, "is one text"),
        ({"ids": ["x", "y", "x"]}, "id 'x' occurs 2 times"),
        ({"ids": ["x"]}, "1 ids for 3 images"),
        ({"ids": [["x", "y"], ["z", "w"], ["u", "v"]]}, "ids have shape"),
        ({"groups": ["p", None, "q"]}, "1 of 3 groups are missing"),
        ({"groups": [1.0, np.nan, 2.0]}, "1 of 3 groups are missing"),
        ({"groups": [b"\xff", b"a", b"b"]}, "groups are not text"),
        ({"clusters": [1, 2, 2.5]}, "clusters have dtype float64"),
        ({"clusters": ["a", "b", "c"]}, "clusters have dtype"),
        ({"sizes": [1, 2, 3]}, r"sizes have shape \(3,\); expected \(3, 2\)"),
    ],
)
def test_other_columns_that_are_refused(arguments, message):
    with pytest.raises(DataError, match=message):
        ImageSet(pixels(3), [0, 0, 0], **arguments)


def test_groups_may_be_numbers_or_bytes_or_a_column():
    assert ImageSet(pixels(2), groups=[[7], [8]]).groups.tolist() == ["7", "8"]
    assert ImageSet(pixels(2), groups=np.array(["é".encode(), b"b"])).groups.tolist() == ["é", "b"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.full((2, 4, 4, 3), 0.5, np.float32), r"within 0.5-0.5.*images \* 255"),
        (np.full((2, 4, 4, 3), np.nan), "2 of 2 images hold NaN"),
        (np.full((2, 4, 4, 3), 200.0), r'images.round\(\).astype\("uint8"\)'),
        (np.full((2, 4, 4, 3), 255, np.int64), r'astype\("uint8"\)'),
        (np.full((2, 4, 4, 3), -1.0), "rescale"),
        (np.full((2, 4, 4, 3), 4000, np.uint16), r"images / 257"),
        (np.ones((2, 4, 4, 3), bool), r'astype\("uint8"\) \* 255'),
        (np.zeros((2, 4, 4, 3), complex), "dtype complex128"),
        (np.zeros((2, 3, 8, 8), np.uint8), r"transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 8, 8), np.uint8), r"repeat\(3, -1\)"),
        (np.zeros((8, 8, 3), np.uint8), r"images\[None\]"),
        (np.zeros((2, 8, 8, 1), np.uint8), r"repeat\(3, axis=-1\)"),
        (np.zeros((2, 8, 8, 4), np.uint8), "alpha"),
        (np.zeros((2, 0, 8, 3), np.uint8), "no pixels"),
        (np.array([np.zeros((2, 2, 3)), np.zeros((3, 3, 3))], object), "Python objects"),
        ([[1, 2], [3]], "images are not an array"),
    ],
)
def test_pixels_that_are_refused_with_the_fix(images, message):
    with pytest.raises(DataError, match=message) as caught:
        check_images(images)
    assert "\n" not in str(caught.value)


def test_places_outside_the_set_and_wrong_kinds_are_refused():
    cells = ImageSet(pixels(3))
    with pytest.raises(DataError, match="place 3 is outside this set of 3"):
        cells.subset([0, 3])
    with pytest.raises(DataError, match="place -4 is outside"):
        cells.read([-4, 0])
    with pytest.raises(DataError, match=r"shape \(2,\); expected \(3,\)"):
        cells.subset([True, False])
    with pytest.raises(DataError, match="expected whole numbers"):
        cells.subset([0.5])
    with pytest.raises(DataError, match="taken twice"):
        cells.subset([0, 1, -3])
    with pytest.raises(OptionError, match="size=0"):
        list(cells.batches(0))
    with pytest.raises(IndexError):
        cells[3]
    with pytest.raises(TypeError, match="subset"):
        cells[np.array([0, 1])]
    assert [image.shape for image in cells] == [(4, 4, 3)] * 3


def test_an_empty_set_is_a_set():
    cells = ImageSet(np.empty((0, 4, 4, 3), np.uint8), [])
    assert len(cells) == 0 and cells.images.shape == (0, 4, 4, 3)
    assert cells.summary().startswith("ImageSet: 0 images")
    assert len(cells.fingerprint()) == 64


def test_saving_writes_an_npz_with_the_same_bytes_each_time(tmp_path):
    cells = ImageSet(pixels(3), [0, 1, 0])
    assert cells.save(tmp_path / "a.npz").read_bytes() == cells.save(tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as plain:
        assert np.array_equal(plain["images"], cells.images)
    with pytest.raises(OptionError, match=r"ends in \.npz"):
        cells.save(tmp_path / "a.zip")
    same(cc.load(tmp_path / "a.npz").replace(), cells)
    cc.load(tmp_path / "a.npz").save(tmp_path / "a.npz")
    same(cc.load(tmp_path / "a.npz"), cells)


def test_a_lazy_source_is_read_only_where_it_is_asked():
    class Counting:
        shape = (2, 2, 3)

        def __init__(self):
            self.asked: list[int] = []

        def __len__(self):
            return 100

        def read(self, rows):
            self.asked += rows.tolist()
            return np.zeros((len(rows), 2, 2, 3), np.uint8)

    source = Counting()
    cells = ImageSet(source)[10:20]
    assert not source.asked
    next(cells.batches(4))
    assert source.asked == [10, 11, 12, 13]


def test_images_of_two_sets_are_the_same_by_where_they_are(tmp_path):
    pixels = np.zeros((12, 4, 4, 3), np.uint8)  # all alike: what is counted is places, not pixels
    cells = ImageSet(pixels, [0, 1] * 6)
    assert cells[:8].count_shared(cells[6:]) == 2 and cells[:6].count_shared(cells[6:]) == 0
    one, two = ImageSet(pixels[:8], [0, 1] * 4), ImageSet(pixels[6:], [0, 1] * 3)  # views of one array
    assert one.count_shared(two) == 2 and one.count_shared(ImageSet(pixels.copy())) == 0
    assert one.count_shared(ImageSet(pixels[::2])) == 4
    for k in range(4):
        (tmp_path / "ab"[k % 2]).mkdir(exist_ok=True)
        Image.fromarray(pixels[0]).save(tmp_path / "ab"[k % 2] / f"{k}.png")
    files, again = cc.load(tmp_path), cc.load(tmp_path)
    assert files.count_shared(again) == 4 and files[:2].count_shared(again[1:]) == 1
    assert files.count_shared(cells) == cells.count_shared(files) == 0
