"""DCT blocks and bits: independent of the batch, covariant under flips and turns, imagehash's to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.smooth import smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cellclf.cleaning.dedup.hashes import (
    INVERSE,
    TURNS,
    calibrate,
    centre,
    dct_blocks,
    imagehash_hashes,
    to_bits,
    turned,
    turned_image,
    whole,
)
from cellclf.errors import UnknownNameError


def test_a_block_is_the_dct_of_the_resized_luma() -> None:
    import scipy.fft

    image = smooth(1, side=32)
    luma = image[0] @ np.array([0.299, 0.587, 0.114])
    expected = scipy.fft.dctn(luma, norm="ortho")[:16, :16]
    [block] = dct_blocks(image, whole(32, 32))
    assert np.allclose(block[0], expected, rtol=2e-3, atol=0.6)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 30), st.integers(0, 29), st.sampled_from([(96, 96), (40, 56), (17, 33)]))
def test_blocks_do_not_depend_on_the_batch(count: int, at: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(count)
    images = rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    at %= count
    together = dct_blocks(images, whole(*size), centre(*size))
    alone = dct_blocks(images[at : at + 1], whole(*size), centre(*size))
    for many, one in zip(together, alone, strict=True):
        assert np.array_equal(many[at], one[0])


@pytest.mark.parametrize("turn", range(8))
def test_turning_the_block_is_turning_the_image(turn: int) -> None:
    images = smooth(20, side=40)
    other = np.stack([turned_image(image, turn) for image in images])
    for basis in (whole(40, 40), centre(40, 40)):
        [blocks], [expected] = dct_blocks(images, basis), dct_blocks(other, basis)
        got = turned(blocks, turn)
        assert np.allclose(got.astype(float), expected, atol=1)
        assert np.array_equal(turned(got, INVERSE[turn]), blocks)
        cut = calibrate(blocks)
        assert np.bitwise_count(to_bits(got, cut) ^ to_bits(expected, cut)).max() <= 1


def test_the_turns_have_names_that_say_what_was_done() -> None:
    image = smooth(1, side=40)[0]
    named = dict(zip(TURNS, range(8), strict=True))
    assert np.array_equal(turned_image(image, named["turned 90° left"]), np.rot90(image))
    assert np.array_equal(turned_image(image, named["turned 90° right"]), np.rot90(image, -1))
    assert np.array_equal(turned_image(image, named["turned 180°"]), np.rot90(image, 2))
    assert np.array_equal(turned_image(image, named["mirrored"]), np.fliplr(image))


def test_distances_do_not_depend_on_which_of_two_images_is_turned() -> None:
    [blocks] = dct_blocks(smooth(60), whole(48, 48))
    cut = calibrate(blocks)
    bits = to_bits(blocks, cut)
    for turn in range(8):
        there = np.bitwise_count(to_bits(turned(blocks, turn), cut)[:, None] ^ bits)
        back = np.bitwise_count(bits[:, None] ^ to_bits(turned(blocks, INVERSE[turn]), cut))
        assert np.array_equal(there, back)


def test_calibrated_bits_are_even_and_the_mean_plays_no_part() -> None:
    [blocks] = dct_blocks(smooth(400), whole(48, 48))
    bits = to_bits(blocks, calibrate(blocks))
    fraction = np.unpackbits(bits.view(np.uint8).reshape(-1, 8), axis=1).mean(0)
    assert ((fraction > 0.35) & (fraction < 0.65)).sum() == 63
    brighter = blocks.copy()
    brighter[:, 0, 0] += 500
    assert np.array_equal(to_bits(brighter, calibrate(blocks)), bits)


def test_the_centre_does_not_see_the_background() -> None:
    images = smooth(10)
    other = images.copy()
    other[:, :6] = other[:, -6:] = 0
    other[:, :, :6] = other[:, :, -6:] = 255
    [one], [two] = dct_blocks(images, centre(48, 48)), dct_blocks(other, centre(48, 48))
    assert np.allclose(one.astype(float), two, atol=0.02 * np.abs(one.astype(float)).max())
    [flat] = dct_blocks(np.full((1, 48, 48, 3), 200, np.uint8), centre(48, 48))
    assert np.abs(flat.astype(float)).max() < 1, "an even grey shows nothing"


@pytest.mark.parametrize("method", ["phash", "dhash", "ahash", "whash"])
def test_imagehash_to_the_bit(method: str) -> None:
    import imagehash

    imagehash_name = {"ahash": "average_hash"}.get(method, method)
    images = smooth(12, side=40)
    expected = [str(getattr(imagehash, imagehash_name)(Image.fromarray(image))) for image in images]
    assert [f"{h:016x}" for h in imagehash_hashes(images, method)] == expected


def test_an_unknown_hash_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'phash'"):
        imagehash_hashes(smooth(1), "phesh")
