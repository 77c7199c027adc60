"""Arrays, batches, iterables and tf datasets give the images and labels that they hold, or say why not."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.images import pixels

import cellclf as cc
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError

# Arrays


def test_arrays_pairs_and_dicts():
    images, labels = pixels(3, 8, 8, 3), [0, 1, 1]
    for cells in (
        cc.load(images, labels),
        cc.load((images, labels)),
        cc.load({"x": images, "y": labels}),
        cc.load(ImageSet(images, labels)),
    ):
        assert cells.labels.tolist() == labels and np.shares_memory(cells.images, images)
    assert cc.load((images, ["b", "a", "b"]), groups=[1, 1, 2]).class_names == ("a", "b")
    with pytest.raises(OptionError, match="twice"):
        cc.load((images, labels), labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(3, 8, 9), (3, 8, 9, 1), (3, 8, 9, 4)])
def test_grey_transparent_and_16_bit_arrays_are_converted_with_notice(dtype, shape):
    images = pixels(*shape, dtype=dtype, high=np.iinfo(dtype).max + 1)
    before = images.copy()
    cells = cc.load(images)
    assert cells.images.shape == (3, 8, 9, 3) and cells.images.dtype == np.uint8
    assert len(cells.notices) == (1 if dtype == np.uint8 else 2)
    assert np.array_equal(images, before) and images.flags.writeable
    exact = images / (1 if dtype == np.uint8 else 257)
    if shape[-1] == 4:
        alpha = exact[..., 3:] / 255
        exact = exact[..., :3] * alpha + 255 * (1 - alpha)
    else:
        exact = np.repeat(exact.reshape(3, 8, 9, 1), 3, -1)
    assert np.abs(cells.images - exact).max() < 1.5  # 16 bits are rounded before the blending
    assert np.array_equal(cells[1:].read([1, 0]), cells.images[[2, 1]])


def test_12_bit_arrays_get_a_notice_that_they_are_dark():
    assert "nearly black" in cc.load(pixels(2, 8, 8, dtype=np.uint16, high=4096)).notices[0]


def test_a_single_image_is_not_a_stack_of_grey_ones():
    with pytest.raises(DataError, match=r"for a single image, pass images\[None\]"):
        cc.load(pixels(8, 8, 3))


# Batches


class Sequence:
    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, k):
        if k >= len(self):
            raise ValueError("outside")
        return self.batches[k]


def test_iterables_of_batches_and_of_single_images():
    images, labels = pixels(5, 8, 8, 3), np.array([0, 1, 2, 1, 0])
    pairs = [(images[:2], labels[:2]), (images[2:], labels[2:])]
    for src in (
        pairs,
        iter(pairs),
        Sequence(pairs),
        ((x, y) for x, y in zip(images, labels, strict=True)),
        [(x, y[None]) for x, y in zip(images, labels, strict=True)],
        [(x, y[:, None]) for x, y in pairs],
        [{"image": x, "label": y} for x, y in pairs],
        [(x, y, np.ones(len(x))) for x, y in pairs],
    ):
        cells = cc.load(src)
        assert np.array_equal(cells.images, images) and cells.labels.tolist() == labels.tolist()
    assert cc.load([images[:2], images[2:], images[:1]]).labels is None
    assert cc.load(list(images)).images.shape == images.shape


def test_an_iterator_that_is_used_up():
    used = iter([(pixels(2, 8, 8, 3), [0, 1])])
    cc.load(used)
    with pytest.raises(DataError, match="an iterator can be read only once"):
        cc.load(used)


def test_float_batches_are_rounded_if_they_are_pixels():
    images = pixels(4, 8, 8, 3)
    images[0] = 0  # a black image alone says nothing
    cells = cc.load(
        [images[:1].astype(np.float32), images[1:].astype(np.float32) + np.float32(0.25) * (images[1:] < 255)]
    )
    assert np.array_equal(cells.images, images)
    assert cells.notices == ("float32 images were rounded to whole numbers 0-255",)
    with pytest.raises(DataError, match=r"floats within 0-0\.9.*multiply by 255"):
        cc.load([np.full((1, 8, 8, 3), 0.9)])
    with pytest.raises(DataError, match="NaN"):
        cc.load([np.full((1, 8, 8, 3), np.nan)])
    with pytest.raises(DataError, match="rescale"):
        cc.load([np.full((1, 8, 8, 3), -1.0)])


@pytest.mark.parametrize(
    ("src", "message"),
    [
        ([(pixels(2, 8, 8, 3), [0])], "1 labels for 2 images"),
        ([(pixels(2, 8, 8, 3), np.eye(2))], "argmax"),
        ([(pixels(8, 8, 3), np.eye(2)[0])], "argmax"),
        ([pixels(2, 8, 8, 3), pixels(2, 9, 9, 3)], "several shapes"),
        ([pixels(2, 8, 8, 3), (pixels(2, 8, 8, 3), [0, 1])], "2 labels for 4 images"),
        ([(pixels(2, 8, 8, 3), [0, 1]), (pixels(2, 8, 8, 3), ["a", "b"])], "labels of several kinds"),
        ([{"scan": 1}], "hold scan; expected 'image'"),
        ([1, 2], r"arrays of shape \(\)"),
        (["x", 3], "the list of files holds 3"),
        ({}, "has no 'images'"),
        (5, "cannot load from int"),
        (None, "cannot load from NoneType"),
        ([], "no batch"),
    ],
)
def test_iterables_that_are_refused(src, message):
    with pytest.raises(DataError, match=message) as caught:
        cc.load(src)
    assert "\n" not in str(caught.value)


def test_tf_datasets():
    tf = pytest.importorskip("tensorflow")
    images, labels = pixels(5, 8, 8, 3), np.array([0, 1, 2, 1, 0], np.uint8)
    whole = tf.data.Dataset.from_tensor_slices((images, labels))
    named = tf.data.Dataset.from_tensor_slices({"image": images, "label": labels})
    floats = whole.map(lambda x, y: (tf.cast(x, tf.float32), y))
    for dataset in (whole, whole.batch(2), named, named.batch(3), floats.batch(2)):
        cells = cc.load(dataset)
        assert np.array_equal(cells.images, images) and cells.labels.tolist() == labels.tolist()
    assert cc.load(tf.data.Dataset.from_tensor_slices(images).batch(2)).labels is None
    assert np.array_equal(cc.load(tf.constant(images)).images, images)
    with pytest.raises(DataError, match="never ends"):
        cc.load(whole.repeat())
