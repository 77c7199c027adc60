"""Files of microscopes and cameras: each is read right, or skipped with a reason that names what it is."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

import cellclf as cc
from cellclf.data.decode import Reading, Unreadable, decode, scan
from cellclf.errors import CellclfWarning, DataError, OptionError

CELL = cc.make_cells(1, size=40, seed=1).images[0]
GREY = CELL[..., 1]
WIDE = CELL.astype(np.uint16) * 257


def tif(path, array, **options):
    tifffile.imwrite(path, array, metadata=options.pop("metadata", None), **options)
    return path


def by_hand(path, tags, data):
    """Write a little-endian TIFF of one strip; tags are (number, type, values)."""
    tags = sorted([*tags, (273, 4, [8]), (279, 4, [len(data)])])
    out = bytearray(b"II*\0" + bytes(4) + data + bytes(len(data) % 2))
    entries = b""
    for tag, kind, values in tags:
        packed = struct.pack("<" + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(packed) > 4:
            place = len(out)
            out += packed + bytes(len(packed) % 2)
            packed = struct.pack("<I", place)
        entries += struct.pack("<HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    out[4:8] = struct.pack("<I", len(out))
    out += struct.pack("<H", len(tags)) + entries + bytes(4)
    path.write_bytes(out)
    return path


def tags_of(height, width, bits, model, samples=1, compression=1, **more):
    tags = [
        (256, 3, [width]),
        (257, 3, [height]),
        (258, 3, [bits] * samples),
        (259, 3, [compression]),
        (277, 3, [samples]),
        (278, 3, [height]),
    ]
    tags += [] if model is None else [(262, 3, [model])]
    return tags + [(int(number.removeprefix("tag")), 3, values) for number, values in more.items()]


def packed(data, compression="tiff_lzw"):
    """Compress bytes as the strips of a TIFF are, with libtiff."""
    buffer = io.BytesIO()
    try:
        Image.frombytes("L", (len(data), 1), data).save(buffer, "tiff", compression=compression)
    except OSError:
        pytest.skip(f"this libtiff has no {compression}")
    with Image.open(buffer) as image:
        start, length = image.tag_v2[273][0], image.tag_v2[279][0]
    return buffer.getvalue()[start : start + length]


def in_bits(values, bits):
    """Store numbers without a gap."""
    rows = values.reshape(len(values), -1)
    return np.packbits(
        (rows[..., None] >> np.arange(bits)[::-1] & 1).reshape(len(rows), -1).astype(np.uint8), axis=1
    ).tobytes()


def png(path, rows, depth, colour, *chunks):
    """Write a PNG by hand: ``rows`` of big-endian values without a filter."""
    height, width = rows.shape[:2]
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(packed))
    return path


def grey_of(image):
    return np.stack([image] * 3, -1)


def ramp(height=40, width=40):
    return np.linspace(0, 65535, height * width).round().astype(np.uint16).reshape(height, width)


# Deep colours and planes: within one grey level

DEEP = {
    "planes": lambda p: tif(p, WIDE.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    "planes in tiles": lambda p: tif(
        p, WIDE.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", tile=(16, 16)
    ),
    "planes, deflate": lambda p: tif(
        p, WIDE.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", compression="zlib", predictor=True
    ),
    "8-bit planes": lambda p: tif(p, CELL.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    "8-bit planes in tiles": lambda p: tif(
        p, CELL.transpose(2, 0, 1), photometric="rgb", planarconfig="separate", tile=(16, 16)
    ),
    "big endian, strips": lambda p: tif(p, WIDE, photometric="rgb", byteorder=">", rowsperstrip=7),
    "big tiff": lambda p: tif(p, WIDE, photometric="rgb", bigtiff=True),
    "tiles, deflate": lambda p: tif(p, WIDE, photometric="rgb", tile=(16, 32), compression="zlib"),
    "packbits": lambda p: by_hand(
        p, tags_of(40, 40, 16, 2, 3, 32773), packed(WIDE.astype("<u2").tobytes(), "packbits")
    ),
    "12 bits, packed": lambda p: by_hand(
        p, tags_of(40, 40, 12, 2, 3), in_bits(CELL.astype(np.uint32) * 4095 // 255, 12)
    ),
    "14 bits, packed": lambda p: by_hand(
        p, tags_of(40, 40, 14, 2, 3, 5), packed(in_bits(CELL.astype(np.uint32) * 16383 // 255, 14))
    ),
    "Zstandard": lambda p: by_hand(p, tags_of(40, 40, 16, 2, 3, 50000), packed(WIDE.astype("<u2").tobytes(), "zstd")),
    "LZW": lambda p: by_hand(p, tags_of(40, 40, 16, 2, 3, 5), packed(WIDE.astype("<u2").tobytes())),
    "LZW, predictor": lambda p: by_hand(
        p,
        tags_of(40, 40, 16, 2, 3, 5, tag317=[2]),
        packed(np.diff(WIDE.astype("<u2"), axis=1, prepend=np.uint16(0)).astype("<u2").tobytes()),
    ),
    "three channels declared as grey": lambda p: by_hand(
        p, tags_of(40, 40, 16, 1, 3, tag338=[0, 0]), WIDE.astype("<u2").tobytes()
    ),
    "an unknown fourth channel": lambda p: tif(
        p, np.dstack([WIDE, WIDE[..., :1] * 0]), photometric="rgb", extrasamples=["unspecified"]
    ),
    "alpha": lambda p: tif(
        p, np.dstack([WIDE, np.full((40, 40), 65535, np.uint16)]), photometric="rgb", extrasamples=["unassalpha"]
    ),
    "32-bit numbers": lambda p: tif(p, WIDE.astype(np.uint32), photometric="rgb"),
    "png": lambda p: png(p, WIDE.astype(">u2"), 16, 2),
    "png, alpha": lambda p: png(p, np.dstack([WIDE, np.full((40, 40), 65535)]).astype(">u2"), 16, 6),
}


@pytest.mark.parametrize("kind", DEEP)
def test_colours_of_every_layout_are_read(tmp_path, kind):
    found, size, _ = decode(DEEP[kind](tmp_path / "a.tif"))
    assert size == (40, 40) and np.abs(found.astype(int) - CELL).max() <= 1
    assert scan([str(tmp_path / "a.tif")], verify=False)[0].size == (40, 40)


# Grey, polarity and palettes

GREYS = {
    "white is zero": lambda p: tif(p, 65535 - ramp(), photometric="miniswhite"),
    "white is zero, 8 bits": lambda p: tif(p, 255 - (ramp() >> 8).astype(np.uint8), photometric="miniswhite"),
    "white is zero, big endian": lambda p: tif(p, 65535 - ramp(), photometric="miniswhite", byteorder=">"),
    "no word of black or white": lambda p: by_hand(p, tags_of(40, 40, 16, None), ramp().astype("<u2").tobytes()),
    "no word of it, 8 bits": lambda p: by_hand(p, tags_of(40, 40, 8, None), (ramp() >> 8).astype(np.uint8).tobytes()),
    "signed": lambda p: tif(p, (ramp() >> 1).astype(np.int16), photometric="minisblack"),
    "signed, 8 bits": lambda p: tif(p, (ramp() >> 9).astype(np.int8), photometric="minisblack"),
    "png, grey and alpha": lambda p: png(p, np.stack([ramp(), np.full((40, 40), 65535)], -1).astype(">u2"), 16, 4),
    "png, four bits": lambda p: png(p, (ramp()[:, ::2] >> 12 << 4 | ramp()[:, 1::2] >> 12).astype(np.uint8), 4, 0),
}


@pytest.mark.parametrize("kind", [kind for kind in GREYS if "four" not in kind])
def test_black_is_black_and_white_is_white(tmp_path, kind):
    found, _, _ = decode(GREYS[kind](tmp_path / "a.tif"))
    expected = ramp() / 257 / (2 if "signed" in kind else 1)
    assert np.abs(found[..., 1] - expected).max() <= 1


def test_a_palette_of_low_numbers_is_no_black_one(tmp_path):
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name, factor in (("a.tif", 1), ("b.tif", 257)):  # some programs write 0-255 where the format has 0-65535
        colours = np.repeat(np.arange(256), 3).reshape(256, 3).T.reshape(-1) * factor
        by_hand(tmp_path / name, tags_of(16, 16, 8, 3, tag320=colours.tolist()), index.tobytes())
        assert np.array_equal(decode(tmp_path / name)[0][..., 0], index)


def test_cmyk_and_luminance_of_a_tiff(tmp_path):
    for dtype, full in ((np.uint8, 255), (np.uint16, 65535)):
        red = np.zeros((8, 8, 4), dtype)
        red[..., 1:3] = full
        found, _, note = decode(tif(tmp_path / "a.tif", red, photometric="separated"))
        assert found[0, 0].tolist() == [255, 0, 0] and "CMYK" in note
    Image.fromarray(CELL).convert("YCbCr").save(tmp_path / "b.tif")
    assert np.abs(decode(tmp_path / "b.tif")[0].astype(int) - CELL).max() <= 4
    Image.fromarray(CELL).save(tmp_path / "c.tif", compression="jpeg", quality=95)
    assert np.abs(decode(tmp_path / "c.tif")[0].astype(int) - CELL).mean() < 4


def test_transparent_parts_are_white(tmp_path):
    clear = np.dstack([WIDE, np.zeros((40, 40), np.uint16)])
    clear[:, :20, 3] = 65535
    gone = WIDE * (clear[..., 3:] // 65535)
    black = np.asarray(WIDE[0, 0], ">u2").tobytes()
    files = [
        tif(tmp_path / "a.tif", clear, photometric="rgb", extrasamples=["unassalpha"]),
        tif(tmp_path / "b.tif", np.dstack([gone, clear[..., 3]]), photometric="rgb", extrasamples=["assocalpha"]),
        png(tmp_path / "c.png", clear.astype(">u2"), 16, 6),
    ]
    for path in files:
        found, _, note = decode(path)
        assert (found[:, 20:] == 255).all() and np.array_equal(found[:, :20], CELL[:, :20]) and "transparency" in note
    found, _, _ = decode(png(tmp_path / "d.png", WIDE.astype(">u2"), 16, 2, (b"tRNS", black)))
    hidden = (WIDE[0, 0] == WIDE).all(-1)
    assert (found[hidden] == 255).all() and np.array_equal(found[~hidden], CELL[~hidden])


# Bits

BITS = {
    "tif": lambda p, wide: tif(p, wide, photometric="rgb"),
    "planes": lambda p, wide: tif(p, wide.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
    "tif, grey": lambda p, wide: tif(p, wide[..., 0], photometric="minisblack"),
    "LZW": lambda p, wide: by_hand(p, tags_of(40, 40, 16, 2, 3, 5), packed(wide.astype("<u2").tobytes())),
    "png": lambda p, wide: png(p, wide.astype(">u2"), 16, 2),
    "png, grey": lambda p, wide: png(p, wide[..., :1].astype(">u2"), 16, 0),
    "png, grey and alpha": lambda p, wide: png(
        p, np.dstack([wide[..., :1], np.full((40, 40), 65535)]).astype(">u2"), 16, 4
    ),
    "png, alpha": lambda p, wide: png(p, np.dstack([wide, np.full((40, 40), 65535)]).astype(">u2"), 16, 6),
}


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("kind", BITS)
def test_a_camera_of_fewer_bits_is_reported_and_can_be_named(tmp_path, kind, bits):
    full = (1 << bits) - 1
    wide = (CELL.astype(np.uint32) * full // 255).astype(np.uint16)
    wide[0, 0] = full
    BITS[kind](tmp_path / "a.tif", wide)
    dark = cc.load(tmp_path)
    assert any(f"pass bits={bits}" in one and ("dark" in one or "nearly black" in one) for one in dark.notices)
    right = cc.load(tmp_path, bits=bits)
    expected = grey_of(CELL[..., 0]) if "grey" in kind else CELL
    assert np.abs(right.images[0, 1:].astype(int) - expected[1:]).max() <= 1
    assert right.notices and not any("black" in one or "dark" in one for one in right.notices)


def test_how_dark_a_set_is_is_a_matter_of_all_its_files(tmp_path):
    for k in range(6):
        tif(tmp_path / f"{k}.tif", WIDE if k else WIDE // 20, photometric="rgb")
    cells = cc.load(tmp_path)
    assert cells.notices == (
        "6 images: 16-bit colours divided by 257, 1 of them nearly black: no value reaches 4096 (the first: 0.tif)",
    )


def test_values_beyond_the_bits_are_refused(tmp_path):
    tif(tmp_path / "a.tif", WIDE, photometric="rgb")
    with pytest.raises(DataError, match=r"16-bit values up to \d+, more than bits=12 can hold"):
        cc.load(tmp_path, bits=12)
    for bits in (7, 17, 12.5, True, "12"):
        with pytest.raises(OptionError, match="bits="):
            cc.load(tmp_path, bits=bits)
    Image.fromarray(CELL).save(tmp_path / "a.tif")
    assert "bits=12 changes nothing" in cc.load(tmp_path, bits=12).notices[0]


def test_bits_of_arrays():
    deep = (CELL[None].astype(np.uint16)) * 16
    assert np.abs(cc.load(deep, bits=12).images.astype(int) - CELL).max() <= 1
    assert "pass bits=12" in cc.load(deep).notices[0]
    with pytest.raises(DataError, match="more than bits=8"):
        cc.load(deep, bits=8)


# Pages

THREE = CELL.transpose(2, 0, 1)
STACK = cc.make_cells(5, size=40, seed=2).images
CHANNELS = {
    "unknown grey pages": lambda p: tif(p, THREE, photometric="minisblack"),
    "white is zero": lambda p: tif(p, 255 - THREE, photometric="miniswhite"),
    "16 bits": lambda p: tif(p, WIDE.transpose(2, 0, 1), photometric="minisblack"),
    "ImageJ": lambda p: tif(p, THREE, imagej=True, metadata={"axes": "CYX"}),
    "OME": lambda p: tif(p, THREE, ome=True, photometric="minisblack", metadata={"axes": "CYX"}),
    "declared axes": lambda p: tif(p, THREE, photometric="minisblack", metadata={"axes": "CYX"}),
    "a thumbnail beside": lambda p: with_thumbnail(p, THREE),
    "deflate": lambda p: tif(p, THREE, photometric="minisblack", compression="zlib"),
}


def with_thumbnail(path, pages):
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, photometric="minisblack", metadata=None)
        file.write(pages[0][::4, ::4], photometric="minisblack", subfiletype=1, metadata=None)
    return path


@pytest.mark.parametrize("kind", CHANNELS)
def test_three_channels_as_pages_are_one_image_in_colour(tmp_path, kind):
    cells = cc.load(CHANNELS[kind](tmp_path / "a.tif"))
    assert len(cells) == 1 and np.abs(cells.images[0].astype(int) - CELL).max() <= 1
    assert "3 pages joined as red, green and blue" in cells.notices[0]
    first = cc.load(tmp_path / "a.tif", pages="first")
    assert np.abs(first.images[0].astype(int) - grey_of(CELL[..., 0])).max() <= 1
    assert "the first of 3" in first.notices[0]


@pytest.mark.parametrize(
    ("name", "array", "options", "word"),
    [
        ("cells in colour", STACK, {"photometric": "rgb"}, "the first of 5 pages; pages='cells'"),
        ("grey cells", STACK[..., 1], {"photometric": "minisblack"}, "the first of 5 pages"),
        ("slices", STACK[:3, ..., 1], {"imagej": True, "metadata": {"axes": "ZYX"}}, "the first of 3 slices"),
        ("frames", STACK[..., 1], {"imagej": True, "metadata": {"axes": "TYX"}}, "the first of 5 frames"),
        ("slices of OME", STACK[:3, ..., 1], {"ome": True, "metadata": {"axes": "ZYX"}}, "the first of 3 slices"),
        ("one directory", STACK[..., 1], {"truncate": True, "metadata": {"axes": "IYX"}}, "the first of 5 pages"),
        ("two channels", THREE[:2], {"imagej": True, "metadata": {"axes": "CYX"}}, "2 pages joined as red and green"),
    ],
)
def test_pages_are_never_left_out_in_silence(tmp_path, name, array, options, word):
    tif(tmp_path / "a.tif", array, **options)
    for verify in (True, False):
        assert word in cc.load(tmp_path, verify=verify).notices[0], name
    found = cc.load(tmp_path, pages="cells")
    assert len(found) == (1 if "channels" in name else len(array))


def test_a_plane_whose_siblings_are_in_other_files_is_reported(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", THREE, ome=True, photometric="minisblack", metadata={"axes": "CYX"})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        metadata = file.ome_metadata
    tifffile.imwrite(tmp_path / "a.tif", THREE[0], photometric="minisblack", description=metadata, metadata=None)
    assert "one of 3 planes that its metadata declare, the others are not in this file" in cc.load(tmp_path).notices[0]
    tifffile.imwrite(tmp_path / "a.tif", CELL, ome=True, photometric="rgb")
    assert cc.load(tmp_path).notices == ()
    tifffile.imwrite(tmp_path / "a.tif", STACK, ome=True, photometric="rgb", metadata={"axes": "TYXS"})
    assert "the first of 5 frames" in cc.load(tmp_path).notices[0]


def test_cells_as_pages_are_images_with_the_label_of_their_file(tmp_path):
    for name in ("lobed", "round"):
        (tmp_path / name).mkdir()
        tif(tmp_path / name / "stack.tif", STACK if name == "lobed" else STACK[:2], photometric="rgb")
        Image.fromarray(CELL).save(tmp_path / name / "one.png")
    cells = cc.load(tmp_path, pages="cells")
    assert cells.counts() == {"lobed": 6, "round": 3}
    assert cells.ids.tolist()[:3] == ["lobed/one.png", "lobed/stack.tif#1", "lobed/stack.tif#2"]
    assert np.array_equal(cells.images[1:6], STACK)
    listed = cc.load([tmp_path / "round" / "stack.tif", tmp_path / "round" / "one.png"], ["a", "b"], pages="cells")
    assert listed.labels.tolist() == [0, 0, 1]


def test_channels_and_slices_in_either_order(tmp_path):
    both = np.stack([THREE, 255 - THREE])  # two slices of three channels
    tif(tmp_path / "a.tif", both, imagej=True, metadata={"axes": "ZCYX"})
    tif(tmp_path / "b.tif", both.swapaxes(0, 1), ome=True, photometric="minisblack", metadata={"axes": "CZYX"})
    for name in ("a.tif", "b.tif"):
        cells = cc.load(tmp_path / name)
        assert np.array_equal(cells.images[0], CELL) and "the first of 2 slices" in cells.notices[0]
        cells = cc.load(tmp_path / name, pages="cells")
        assert np.array_equal(cells.images, np.stack([CELL, 255 - CELL]))


def test_pages_that_cannot_be_what_was_asked_for(tmp_path):
    tif(tmp_path / "five.tif", STACK[..., 1], imagej=True, metadata={"axes": "CYX"})
    tif(tmp_path / "colour.tif", STACK, photometric="rgb")
    with pytest.raises(DataError, match="5 channels as pages, an image here has at most 3: pass pages='first'"):
        cc.load(tmp_path / "five.tif")
    with pytest.raises(DataError, match="5 pages that are no channels of one image: in colour"):
        cc.load(tmp_path / "colour.tif", pages="channels")
    with pytest.raises(OptionError, match="pages='all'"):
        cc.load(tmp_path, pages="all")


def test_frames_of_png_and_of_a_camera_are_counted(tmp_path):
    first = Image.fromarray(CELL)
    first.save(tmp_path / "a.png", save_all=True, append_images=[Image.fromarray(255 - CELL)])
    first.save(tmp_path / "b.jpg", format="MPO", save_all=True, append_images=[first])
    for name in ("a.png", "b.jpg"):
        found, _, note = decode(tmp_path / name)
        assert "the first of 2 frames" in note and np.abs(found.astype(int) - CELL).mean() < 8


# Turned images, and their size by the header alone


@pytest.mark.parametrize("kind", ["JPEG", "MPO", "PNG", "TIFF", "late PNG", "16-bit PNG", "16-bit TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_files_have_one_shape_verified_or_not(tmp_path, kind, orientation):
    image = Image.fromarray(np.dstack([np.add.outer(np.arange(20) * 9, np.arange(28))] * 3).astype(np.uint8))
    tag = Image.Exif()
    tag[0x0112] = orientation
    path = tmp_path / "a.img"
    deep = np.asarray(image).astype(np.uint16) * 257
    if kind == "16-bit TIFF":
        tif(path, deep, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    elif kind == "16-bit PNG":
        png(path, deep.astype(">u2"), 16, 2, (b"eXIf", tag.tobytes().removeprefix(b"Exif\0\0")))
    elif kind == "late PNG":  # the tag behind the pixels
        image.save(path, format="PNG")
        body, text = path.read_bytes()[:-12], tag.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(text)) + b"eXIf" + text + struct.pack(">I", zlib.crc32(b"eXIf" + text))
        path.write_bytes(body + chunk + b"\0\0\0\0IEND\xaeB`\x82")
    else:
        more = {"save_all": True, "append_images": [image]} if kind == "MPO" else {}
        image.save(path, format=kind, exif=tag, **more)
    found, size, _ = decode(path)
    assert found.shape[:2] == size == ((28, 20) if orientation > 4 else (20, 28))
    assert scan([str(path)], verify=False)[0].size == size
    corner = {1: found[0, 0], 2: found[0, -1], 3: found[-1, -1], 4: found[-1, 0]}
    corner |= {5: found[0, 0], 6: found[0, -1], 7: found[-1, -1], 8: found[-1, 0]}
    assert corner[orientation].max() < 20, "what is stored first is black"


# Metadata


def long_text():
    info = PngImagePlugin.PngInfo()
    info.add_text("acquisition", "x" * 2_000_000, zip=True)
    return {"pnginfo": info}


def many_texts():
    info = PngImagePlugin.PngInfo()
    for k in range(3):
        info.add_itxt(f"note {k}", "y" * 1_500_000, zip=True)
    return {"pnginfo": info}


@pytest.mark.parametrize("options", [long_text(), many_texts(), {"icc_profile": bytes(3_000_000)}], ids=["a", "b", "c"])
def test_long_metadata_are_no_reason_to_lose_an_image(tmp_path, options):
    for name, array in (("colour.png", CELL), ("clear.png", np.dstack([CELL, np.full_like(GREY, 255)]))):
        Image.fromarray(array).save(tmp_path / name, **options)
    for verify in (True, False):
        cells = cc.load(tmp_path, verify=verify)
        assert np.array_equal(cells.images, np.stack([CELL, CELL])) and not cells.skipped


# What is not read says what it is

REFUSED = {
    "a GIF image": lambda p: Image.fromarray(CELL).save(p, format="GIF"),
    "a WebP image": lambda p: Image.fromarray(CELL).save(p, format="WEBP"),
    "a JPEG 2000 image": lambda p: p.write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40)),
    "a HEIC image": lambda p: p.write_bytes(b"\0\0\0\x18ftypheic" + bytes(40)),
    "a DICOM file": lambda p: p.write_bytes(bytes(128) + b"DICM" + bytes(40)),
    "a pointer of Git LFS": lambda p: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
    "an HTML page": lambda p: p.write_bytes(b"<!DOCTYPE html><html>404</html>"),
    "an empty file": lambda p: p.write_bytes(b""),
    "12-bit": lambda p: p.write_bytes(b"\xff\xd8\xff\xc1\x00\x0b\x0c\x00\x28\x00\x28\x01\x01\x11\x00" + bytes(40)),
    "JPEG-LS": lambda p: p.write_bytes(b"\xff\xd8\xff\xf7\x00\x0b\x08\x00\x28\x00\x28\x01\x01\x11\x00" + bytes(40)),
    "32-bit floating-point": lambda p: tif(p, GREY.astype(np.float32) / 255, photometric="minisblack"),
    "64-bit floating-point": lambda p: tif(p, CELL.astype(np.float64), photometric="rgb"),
    "16-bit whole-number pixels within -5-": lambda p: tif(p, GREY.astype(np.int16) - 5 - GREY.min()),
    "raw Bayer mosaic": lambda p: tif(p, ramp(), photometric="cfa"),
    "CIELab": lambda p: tif(p, WIDE, photometric="cielab"),
    "compression": lambda p: by_hand(p, tags_of(40, 40, 16, 1, 1, 65000), ramp().tobytes()),
    "subsampled": lambda p: by_hand(p, tags_of(40, 40, 8, 6, 3, tag530=[2, 2]), bytes(40 * 40 * 3 // 2)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_read_says_what_it_is_and_is_never_called_damaged(tmp_path, what):
    REFUSED[what](tmp_path / "a.tif")
    with pytest.raises(Unreadable) as caught:
        decode(tmp_path / "a.tif")
    assert what in str(caught.value) and "damaged" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_other_formats_in_a_folder_are_named(tmp_path):
    Image.fromarray(CELL).save(tmp_path / "a.png")
    for name in ("b.gif", "c.webp", "d.czi"):
        (tmp_path / name).touch()
    reasons = {one.id: one.reason for one in cc.load(tmp_path).skipped}
    assert reasons["b.gif"].startswith("a GIF image, which is not read") and "Zeiss" in reasons["d.czi"]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["planes", "tiles, deflate", "LZW", "png", "big tiff"])
def test_truncated_deep_files_are_reported(tmp_path, kind, share):
    path = DEEP[kind](tmp_path / "a.tif")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(Unreadable) as caught:
        decode(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", "tiff_adobe_deflate", "raw"])
def test_truncated_pixels_are_not_read_as_black(tmp_path, compression):
    """The header lies before the pixels, so that the file opens."""
    size = 40 * 40 * 3
    data = CELL.tobytes() if compression == "raw" else packed(CELL.tobytes(), compression)
    number = {"jpeg": 7, "tiff_lzw": 5, "tiff_adobe_deflate": 8, "raw": 1}[compression]
    place = 8 + 2 + 12 * 11 + 4
    tags = [
        (256, 40),
        (257, 40),
        (258, 8),
        (259, number),
        (262, 2),
        (273, place),
        (277, 3),
        (278, 40),
        (279, len(data)),
    ]
    tags += [(284, 1), (339, 1)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    whole = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data
    (tmp_path / "a.tif").write_bytes(whole[: place + len(data) // 2])
    assert size == CELL.size
    with pytest.raises(Unreadable) as caught:
        decode(tmp_path / "a.tif")
    assert "pip install" not in str(caught.value)


# One size


def test_three_tiny_crops_squeeze_nobody(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(60):
        height, width = (22, 22) if k < 3 else 60 + rng.integers(0, 9, 2)
        Image.fromarray(CELL).resize((int(width), int(height))).save(tmp_path / f"{k:02}.png")
    cells = cc.load(tmp_path)
    assert min(cells.image_shape[:2]) >= 60
    assert "the median height and width" in cells.notices[0]


def test_fits(tmp_path):
    white = np.full((30, 60, 3), 200, np.uint8)
    white[5:25, 10:50] = (150, 20, 20)
    Image.fromarray(white).save(tmp_path / "0.png")
    for k in (1, 2):
        Image.fromarray(np.full((60, 60, 3), 90, np.uint8)).save(tmp_path / f"{k}.png")
    found = {fit: cc.load(tmp_path, fit=fit) for fit in ("stretch", "pad", "crop")}
    padded = found["pad"].images[0]
    assert (padded[:14] == 200).all() and (padded[46:] == 200).all(), "in the colour of its own edge"
    assert abs((padded[..., 1] < 60).sum() - 20 * 40) < 60, "at its own scale"
    assert (found["crop"].images[0][..., 1] < 60).sum() > 60 * 30, "twice as large, cut at the sides"
    words = {"stretch": "their proportions changed", "pad": "padded", "crop": "cropped"}
    assert all(words[fit] in cells.notices[0] and cells.fit == fit for fit, cells in found.items())
    with pytest.raises(DataError, match=r"2 sizes .*; pass size=\(60, 60\), or fit='stretch', 'pad' or 'crop'"):
        cc.load(tmp_path, fit="refuse")
    with pytest.raises(OptionError, match="fit='squeeze'"):
        cc.load(tmp_path, fit="squeeze")
    assert found["pad"].resized((30, 40)).fit == "pad"
    assert (found["pad"].resized((30, 40), "crop").images.shape) == (3, 30, 40, 3)
    with pytest.raises(OptionError, match="expected 'stretch', 'pad' or 'crop'"):
        found["pad"].resized((30, 40), "refuse")


def test_the_former_name_of_fit_is_understood(tmp_path):
    for k, side in enumerate((8, 8, 12)):
        Image.fromarray(CELL).resize((side, side)).save(tmp_path / f"{k}.png")
    with pytest.warns(CellclfWarning, match="mixed='resize' is now fit='stretch'"):
        assert cc.load(tmp_path, mixed="resize").fit == "stretch"
    with pytest.warns(CellclfWarning, match="fit='refuse'"), pytest.raises(DataError, match="2 sizes"):
        cc.load(tmp_path, mixed="refuse")
    with pytest.raises(OptionError, match="mixed='crop'"):
        cc.load(tmp_path, mixed="crop")


def test_arrays_are_fitted_too():
    wide = cc.load(np.full((2, 20, 40, 3), 77, np.uint8))
    assert (wide.resized((20, 20), "pad").images == 77).all()
    assert decode.__kwdefaults__["reading"] == Reading()
