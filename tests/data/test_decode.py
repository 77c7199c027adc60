from __future__ import annotations

import io
import struct
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cellclf.data import decode as module
from cellclf.data.decode import FileSource, Reading, Unreadable, decode, scan
from cellclf.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
GREY = RGB[..., 0]


def write(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff"])
def test_rgb_files_come_back_to_the_bit(tmp_path, suffix):
    path = write(tmp_path / f"a.{suffix}", RGB)
    found, size, note = decode(path)
    assert np.array_equal(found, RGB) and found.dtype == np.uint8
    assert size == (12, 10) and note == ""


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path, compression):
    path = tmp_path / "a.tif"
    Image.fromarray(RGB).save(path, compression=compression)
    assert np.array_equal(decode(path)[0], RGB)


def test_jpeg_comes_back_nearly(tmp_path):
    smooth = np.full((16, 16, 3), (200, 120, 40), np.uint8)
    found, _, note = decode(write(tmp_path / "a.jpg", smooth, quality=95))
    assert np.abs(found.astype(int) - smooth).max() < 4 and note == ""


def test_grey_is_repeated(tmp_path):
    found, _, note = decode(write(tmp_path / "a.png", GREY))
    assert np.array_equal(found, np.stack([GREY] * 3, -1)) and "grey" in note


def test_black_and_white(tmp_path):
    Image.fromarray(GREY > 127).save(tmp_path / "a.png")
    found, _, note = decode(tmp_path / "a.png")
    assert set(np.unique(found)) == {0, 255} and "black and white" in note


def test_transparency_is_laid_on_white(tmp_path):
    clear = np.dstack([RGB, np.zeros((12, 10), np.uint8)])
    clear[:, :5, 3] = 255
    found, _, note = decode(write(tmp_path / "a.png", clear))
    assert np.array_equal(found[:, :5], RGB[:, :5]) and (found[:, 5:] == 255).all()
    assert "transparency" in note


@pytest.mark.parametrize("transparent", [False, True])
def test_palette(tmp_path, transparent):
    image = Image.fromarray(RGB).quantize(16)
    options = {"transparency": bytes([0] + [255] * 15)} if transparent else {}
    image.save(tmp_path / "a.png", **options)
    found, _, note = decode(tmp_path / "a.png")
    if transparent:
        assert (found[np.asarray(image) == 0] == 255).all() and "transparency" in note
    else:
        assert np.array_equal(found, np.asarray(image.convert("RGB"))) and "palette" in note


def test_cmyk_jpeg(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    found, _, note = decode(tmp_path / "a.jpg")
    assert found.shape == (8, 8, 3) and found[..., 0].min() > 200 and found[..., 1].max() < 60
    assert "CMYK" in note


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_keeps_its_full_range(tmp_path, suffix):
    deep = np.linspace(0, 65535, 120).round().astype(np.uint16).reshape(12, 10)
    found, _, note = decode(write(tmp_path / f"a.{suffix}", deep))
    assert np.array_equal(found[..., 1], np.round(deep / 257).astype(np.uint8))
    assert found.min() == 0 and found.max() == 255 and note == "16-bit grey divided by 257"


def test_12_bit_grey_says_that_it_is_dark(tmp_path):
    deep = np.full((4, 4), 4095, np.uint16)
    found, _, note = decode(write(tmp_path / "a.png", deep))
    assert found.max() == 16 and "nearly black" in note


def png_of(width, height, depth, colour, rows):
    """Write PNG chunks by hand: what Pillow reads and cannot write."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_16_bit_colour_is_reduced_with_a_note(tmp_path):
    deep = (RGB.astype(np.uint16) * 257).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png_of(10, 12, 16, 2, rows))
    found, _, note = decode(tmp_path / "a.png")
    assert np.array_equal(found, RGB) and "16-bit" in note


def test_wide_whole_numbers_and_floats_have_no_meaning(tmp_path):
    write(tmp_path / "wide.tif", np.full((4, 4), 70000, np.int32))
    write(tmp_path / "float.tif", np.full((4, 4), 0.5, np.float32))
    with pytest.raises(Unreadable, match="70000-70000, expected 0-65535"):
        decode(tmp_path / "wide.tif")
    with pytest.raises(Unreadable, match="no 0-255 meaning"):
        decode(tmp_path / "float.tif")


def test_of_several_frames_the_first_is_taken(tmp_path):
    first, second = Image.fromarray(RGB), Image.fromarray(255 - RGB)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    found, _, note = decode(tmp_path / "a.tif")
    assert np.array_equal(found, RGB) and note == "the first of 2 pages; pages='cells' makes each an image"


@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_rotation_tag_of_a_camera_is_obeyed(tmp_path, suffix, orientation):
    image = Image.new("RGB", (20, 30), "black")
    image.paste("white", (0, 0, 20, 4))  # white on top as stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif)
    found, size, _ = decode(tmp_path / f"a.{suffix}")
    assert size == found.shape[:2] == ((20, 30) if orientation == 6 else (30, 20))
    edge = {1: found[0], 3: found[-1], 6: found[:, -1]}[orientation]
    assert edge.mean() > 240
    if suffix != "png":  # a PNG may hold the tag behind its pixels
        assert scan([str(tmp_path / f"a.{suffix}")], verify=False)[0].size == size


def test_resizing_keeps_the_original_size_known(tmp_path):
    found, size, _ = decode(write(tmp_path / "a.png", RGB), (6, 5))
    assert found.shape == (6, 5, 3) and size == (12, 10)
    assert np.array_equal(found, np.asarray(Image.fromarray(RGB).resize((5, 6), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.6])
def test_truncated_files_are_reported_without_a_warning(tmp_path, suffix, share):
    path = write(tmp_path / f"a.{suffix}", np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(Unreadable) as caught:
            decode(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.png", b"hello", "not a jpg, png, tif or bmp"),
        ("a.jpg", b"GIF89a" + b"\0" * 40, "not a jpg, png, tif or bmp"),
        ("a.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a jpg, png, tif or bmp"),
        ("a.png", png_of(60_000, 1_000, 8, 2, b""), "60000x1000 pixels are too many"),
        ("a.png", png_of(200_000, 200_000, 8, 2, b""), "far too many pixels"),
    ],
)
def test_files_that_are_not_images_of_cells(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    for look in (decode, lambda path: scan([str(path)], verify=False)[0]):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                problem = look(tmp_path / name).problem
            except Unreadable as error:
                problem = str(error)
        assert message in problem


def test_missing_files_and_folders_are_reported(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(Unreadable, match="no such file"):
        decode(tmp_path / "a.png")
    with pytest.raises(Unreadable, match="directory"):
        decode(tmp_path / "folder.png")


def files():
    for kind, options in (("png", {}), ("jpeg", {}), ("bmp", {}), ("tiff", {}), ("tiff", {"compression": "tiff_lzw"})):
        buffer = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(RGB).save(buffer, kind, exif=exif, **options)
        yield buffer.getvalue()
    deep = RGB.astype(np.uint16) * 257
    for options in (
        {"photometric": "rgb"},
        {"photometric": "rgb", "compression": "zlib", "tile": (16, 16)},
        {"photometric": "minisblack", "imagej": True, "metadata": {"axes": "ZYX"}},
        {"photometric": "minisblack", "ome": True, "metadata": {"axes": "CYX"}},
    ):
        buffer = io.BytesIO()
        grey = options["photometric"] == "minisblack"
        tifffile.imwrite(buffer, deep.transpose(2, 0, 1) if grey else deep, **options)
        yield buffer.getvalue()
    yield png_of(10, 12, 16, 2, b"".join(b"\0" + row.tobytes() for row in deep.astype(">u2")))


@given(
    data=st.sampled_from(list(files())),
    hits=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=12),
    cut=st.integers(0, 10**6),
)
def test_damage_gives_a_image_or_a_reason_and_nothing_else(tmp_path_factory, data, hits, cut):
    damaged = bytearray(data)
    for place, value in hits:
        damaged[place % len(data)] = value
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    path.write_bytes(damaged[: max(1, len(data) - cut % 50)] if cut % 2 else damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            found, size, _ = decode(path)
            assert found.dtype == np.uint8 and found.shape == (*size, 3)
        except Unreadable as problem:
            assert str(problem) and "\n" not in str(problem)
        assert len(scan([str(path)], verify=False)) == 1
        assert len(scan([str(path)], verify=False, reading=Reading(pages="cells"))) == 1


def test_a_source_reads_any_rows_in_order_and_says_what_is_lost(tmp_path):
    paths = [str(write(tmp_path / f"{k}.png", np.full((4, 4, 3), k, np.uint8))) for k in range(30)]
    source = FileSource(paths, (4, 4))
    rows = np.array([29, 0, 5, 5, *range(20)])
    for part in (rows, rows[:3], rows[:0]):
        assert source.read(part)[:, 0, 0, 0].tolist() == part.tolist()
    (tmp_path / "7.png").unlink()
    with pytest.raises(DataError, match=r"7\.png: no such file; load the set again"):
        source.read(np.arange(20))


def test_warnings_of_others_stay_as_they_were(tmp_path):
    paths = [str(write(tmp_path / f"{k}.png", RGB)) for k in range(40)]
    source = FileSource(paths, (12, 10))
    before = list(warnings.filters)
    workers = [threading.Thread(target=source.read, args=(np.arange(40),)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert warnings.filters == before
    with pytest.raises(DataError):
        FileSource([str(tmp_path / "none.png")], (4, 4)).read(np.arange(1))
    assert warnings.filters == before


def test_an_interrupted_scan_stops_soon():
    done = []

    def slow(item):
        time.sleep(0.001)
        done.append(item)
        return item

    found = module._in_threads(slow, range(100_000))
    next(found)
    found.close()  # what Ctrl-C does to a generator
    assert len(done) <= module._BLOCK
