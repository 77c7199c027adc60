"""Batches made on the device are those of the host, byte for byte, in its order; users' own loops take them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy

import cellclf as cc
from cellclf.augmentation import Cutout, Flip, Noise, Sharpness
from cellclf.augmentation.mixing import Mix
from cellclf.backends import current
from cellclf.training import DeviceBatches
from cellclf.training.batches import Batches
from cellclf.training.device_images import DeviceImages
from cellclf.training.drawn import Drawn

AUGMENTER = cc.Augmenter([Noise(), Cutout()], seed=3)  # is compiled in a second
WEIGHTS = np.linspace(0.5, 2, 22, dtype=np.float32)


@pytest.fixture(scope="module")
def cells():
    return cc.make_cells(22, size=16, seed=1)


def arrays(batch):
    return [convert_to_numpy(part) for part in batch]


def check_equal(made, host):
    """Compare batches of the device with those of the host; rows that only fill one up have no weight."""
    count = 0
    for (images, labels, weights), (theirs, their_labels, their_weights) in zip(map(arrays, made), host, strict=True):
        n = len(theirs)
        apart = np.abs(images[:n].astype(int) - theirs)
        assert images.dtype == np.uint8 and apart.max() <= 1 and (apart > 0).mean() <= 1e-4
        np.testing.assert_allclose(labels[:n], their_labels, atol=1e-6)
        np.testing.assert_allclose(weights[:n] * n / len(weights), their_weights, rtol=1e-6)
        assert not weights[n:].any()
        count += 1
    return count


@pytest.mark.backend
@pytest.mark.parametrize(
    ("augmenter", "mix", "sampling"),
    [(cc.Augmenter([Flip(), Sharpness()], seed=4), None, None), (AUGMENTER, Mix(kind="both", seed=2), "balanced")],
)
def test_they_are_those_of_the_host(cells, augmenter, mix, sampling):
    made = DeviceBatches(cells, augmenter, batch_size=8, seed=5, weights=WEIGHTS, mix=mix, sampling=sampling)
    host = Batches(cells, augmenter, 8, WEIGHTS, 5, mix, sampling=sampling)
    for epoch in (0, 3):
        assert check_equal(made.epoch(epoch), host._batches(epoch)) == len(made) == 3
    assert check_equal(made.epoch(3, start=2), host._batches(3, 2)) == 1


@pytest.mark.slow
@pytest.mark.backend
@pytest.mark.parametrize("preset", ["challenge", "stain", "laboratory", "report"])
def test_so_they_are_with_every_preset(cells, preset):
    augmenter = cc.Augmenter.preset(preset, seed=7)
    made = DeviceBatches(cells, augmenter, batch_size=8)
    assert check_equal(made.epoch(1), Batches(cells, augmenter, 8, np.ones(22, np.float32), 0)._batches(1)) == 3


def test_without_a_compiler_they_are_equal_byte_for_byte(cells, monkeypatch):
    monkeypatch.setattr(current(), "compiled", lambda function: function)
    augmenter = cc.Augmenter([Flip(), Sharpness(), Noise()], seed=7)
    host = Batches(cells, augmenter, 8, np.ones(22, np.float32), 0)
    made = DeviceBatches(cells, augmenter, batch_size=8).epoch(2)
    for (images, _, _), (rows, ids) in zip(made, host.chosen(2), strict=True):
        expected = augmenter.apply(cells.images[rows], augmenter.draw(ids, 2), together=False)
        np.testing.assert_array_equal(convert_to_numpy(images)[: len(rows)], convert_to_numpy(expected))


@pytest.mark.backend
def test_what_does_not_fit_is_copied_in_blocks_and_one_line_says_so(cells, caplog):
    made = DeviceBatches(cells, AUGMENTER, batch_size=8, limit="1KB")
    whole = DeviceBatches(cells, AUGMENTER, batch_size=8)
    for epoch in (0, 1):
        for one, other in zip(made.epoch(epoch), whole.epoch(epoch), strict=True):
            assert all((a == b).all() for a, b in zip(arrays(one), arrays(other), strict=True))
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["17 KB of images are more than limit=1.0 KB: blocks of them are copied to the device"]


def test_a_device_without_room_is_reported_too(cells, monkeypatch, caplog):
    place = current().place

    def full(arrays):
        if len(arrays.get("images", ())) == len(cells):
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17 KB")
        return place(arrays)

    monkeypatch.setattr(current(), "place", full)
    assert sum(1 for _ in DeviceBatches(cells, batch_size=8).epoch(0)) == 3
    assert "more than the memory that the device has left" in caplog.text


@pytest.mark.backend
@pytest.mark.parametrize(("count", "size"), [(22, 8), (1, 8)])
def test_a_batch_is_compiled_once(cells, count, size, monkeypatch):
    calls = []
    make = Drawn.make
    monkeypatch.setattr(Drawn, "make", lambda self, held, drawn: calls.append(1) or make(self, held, drawn))
    batches = DeviceBatches(cells[:count], AUGMENTER, batch_size=size)
    shapes = {tuple(images.shape) for epoch in range(3) for images, _, _ in batches.epoch(epoch)}
    assert shapes == {(min(count, size), 16, 16, 3)}
    if keras.config.backend() != "torch":  # which compiles nothing
        assert len(calls) == 1


@pytest.mark.backend
def test_the_images_go_to_the_device_once_and_then_only_what_was_drawn(cells, monkeypatch):
    sent = []
    place = current().place
    monkeypatch.setattr(current(), "place", lambda arrays: sent.append(dict(arrays)) or place(arrays))
    batches = DeviceBatches(cells, AUGMENTER, batch_size=8)
    for epoch in range(2):
        for _ in batches.epoch(epoch):
            pass
    first, *others = sent
    assert first["images"].nbytes == cells.images.nbytes and len(others) == 2 * len(batches)
    assert all("images" not in one and {"rows", "real"} <= set(one) for one in others)
    assert all(sum(array.nbytes for array in one.values()) < 8 * 100 for one in others)


@pytest.mark.backend
def test_the_mean_over_a_filled_batch_is_that_over_its_images(cells):
    *_, (_, labels, weights) = DeviceBatches(cells, batch_size=8, weights=WEIGHTS).epoch(0)
    losses = np.arange(8.0)
    weights = convert_to_numpy(weights)
    own = weights[:6] * 6 / 8
    assert (losses * weights).mean() == pytest.approx((losses[:6] * own).mean())
    assert convert_to_numpy(labels).sum() == 8


@pytest.mark.backend
def test_three_views_are_those_of_the_host(cells):
    batches = Batches(cells, AUGMENTER, 8, WEIGHTS, 5, views=3)
    drawn = Drawn(batches, DeviceImages(cells, WEIGHTS))
    for (held, found, count), (images, labels, weights) in zip(drawn.groups(0, 0, 1), batches._batches(0), strict=True):
        one = {name: entries[0] for name, entries in found.items()}
        made, made_labels, made_weights, real = map(convert_to_numpy, current().compiled(drawn.make)(held, one))
        kept = real > 0
        assert count == 1 and kept.sum() == len(images)
        np.testing.assert_array_equal(made[kept], images)
        np.testing.assert_array_equal(made_labels[kept], labels)
        np.testing.assert_allclose(made_weights[kept] * len(images) / len(made), weights, rtol=1e-6)


@pytest.mark.backend
def test_labels_and_ids_may_be_missing(cells):
    for images, labels, weights in DeviceBatches(cells.images, AUGMENTER, batch_size=11).epoch(0):
        assert (
            labels is None and tuple(images.shape) == (11, 16, 16, 3) and convert_to_numpy(weights).tolist() == [1] * 11
        )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected"),
        ({"augmenter": "light"}, "expected an Augmenter"),
        ({"mix": 3}, "expected a Mix"),
        ({"weights": [1.0]}, "expected 22 numbers of 0 or more"),
        ({"weights": [-1.0] * 22}, "expected 22 numbers of 0 or more"),
        ({"limit": "much"}, "expected a size such as '4GB'"),
        ({"sampling": "equal"}, "balanced"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(cells, changes, message):
    with pytest.raises(cc.CellclfError, match=message) as caught:
        DeviceBatches(cells, **changes)
    assert "\n" not in str(caught.value)


def test_so_are_sets_and_epochs_that_give_no_batch(cells):
    with pytest.raises(cc.DataError, match="no images"):
        DeviceBatches(cells[:0])
    with pytest.raises(cc.DataError, match="needs labels"):
        DeviceBatches(cells.images, sampling="balanced")
    for number, start in ((-1, 0), (0, -1), (0, 4), (0.5, 0)):
        with pytest.raises(cc.OptionError, match=r"expected a whole number|an epoch has 3 batches"):
            DeviceBatches(cells, batch_size=8).epoch(number, start)


# --- batches that the user already has


@pytest.mark.backend
def test_on_device_gives_what_the_augmenter_gives(cells):
    expected = AUGMENTER(cells.images, cells.ids, 4)
    for images in (cells.images, keras.ops.convert_to_tensor(cells.images)):
        found = AUGMENTER.on_device(images, cells.ids, 4)
        assert keras.ops.is_tensor(found) and keras.backend.standardize_dtype(found.dtype) == "uint8"
        np.testing.assert_array_equal(convert_to_numpy(found), expected)


@pytest.mark.parametrize("images", [[1, 2], np.zeros((2, 16, 16)), np.zeros((2, 16, 16, 3)), None])
def test_on_device_refuses_what_holds_no_images(images):
    with pytest.raises(cc.DataError, match="expected"):
        AUGMENTER.on_device(images)
    with pytest.raises(cc.DataError, match="came with 1 ids"):
        AUGMENTER.on_device(np.zeros((2, 16, 16, 3), np.uint8), ids=["a"])
