"""Headers that lie, and bits that flip: no memory is taken, no other pixels are given, and it is said in a line."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import DataError
from cellclf.utils.npz_files import DamagedFile, members, read_npz

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


def npy(shape, descr="|u1", data=b"", header=None):
    file = io.BytesIO()
    if header is None:
        np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    else:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    return file.getvalue() + data


def npz(path, member, *, packed=False):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        archive.writestr("images.npy", member)
    return path


LIES = {
    "2.8 PiB": npy((10**9, 1000, 1000, 3)),
    "beyond any number": npy((2**62, 2**62, 9, 3)),
    "a product that is 0 in 64 bits": npy((2**32, 2**32, 3)),
    "one row too many": npy((5, 8, 8, 3), data=PIXELS.tobytes()),
    "wide numbers": npy((4, 8, 8, 3), "<f8", PIXELS.tobytes()),
    "long texts": npy((1,), "<U1000000000", b"abc"),
    "a negative side": npy((-4, 8, 8, 3), data=PIXELS.tobytes()),
    "objects": npy((4,), "|O", b"\x80\x04N."),
    "a record": npy((1,), [("a", "<f4", (1 << 20, 1 << 20))], b"abc"),
    "no header": b"hello",
    "nothing": b"",
    "a cut header": npy((4, 8, 8, 3))[:40],
    "a header of code": npy((), header=b"__import__('os').system('echo run')\n"),
    "a header without end": npy((), header=b"{'descr': '|u1', 'shape': (4, 8, 8, 3\n"),
    "a deep header": npy((), header=b"(" * 9000 + b"\n"),
    "another type": npy((), header=b"{'descr': '|q9', 'fortran_order': False, 'shape': (4,), }\n"),
    "a text as shape": npy((), header=b"{'descr': '|u1', 'fortran_order': False, 'shape': '4', }\n"),
    "a shape of truths": npy((), header=b"{'descr': '|u1', 'fortran_order': 3, 'shape': (4,), }\n"),
    "letters of no alphabet": npy((), header=b"{'descr': '\xff\xfe'\x00\n"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_takes_no_memory(lie, packed, tmp_path, capfd):
    path = npz(tmp_path / "a.npz", LIES[lie], packed=packed)
    (tmp_path / "a.npy").write_bytes(LIES[lie])
    tracemalloc.start()
    try:
        for src in (path, tmp_path / "a.npy"):
            with pytest.raises(DataError) as caught:
                cc.load(src)
            text = str(caught.value)
            assert str(src) in text and text.isprintable() and len(text) < 1000 and "allow_pickle" not in text
        with pytest.raises(DamagedFile):
            read_npz(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()
    assert "run" not in capfd.readouterr().out


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_each_flipped_bit_of_a_small_file_gives_the_same_pixels_or_a_line(save, tmp_path):
    save(tmp_path / "a.npz", images=PIXELS[:2], labels=[0, 1])
    whole = (tmp_path / "a.npz").read_bytes()
    damaged = 0
    for place in np.random.default_rng(1).choice(len(whole), 150, replace=False).tolist():
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        (tmp_path / "b.npz").write_bytes(changed)
        try:
            cells = cc.load(tmp_path / "b.npz")
        except DataError as error:
            damaged += 1
            assert str(error).isprintable() and len(str(error)) < 1000
        else:
            assert np.array_equal(cells.images, PIXELS[:2])
            assert cells.labels is None or cells.labels.tolist() == [0, 1]  # the name of an array may have changed
    assert damaged > 75


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    images = np.random.default_rng(2).integers(0, 256, (160, 48, 48, 3), np.uint8)
    path = tmp_path_factory.mktemp("large") / "a.npz"
    np.savez(path, images=images, labels=np.arange(160) % 2)
    return path, images


@pytest.mark.parametrize(
    "read",
    [
        lambda cells: cells.fingerprint(),
        lambda cells: cells.images,
        lambda cells: list(cells.batches(50)),
        lambda cells: cells.read(np.arange(160)[::-1]),
        lambda cells: [cells[k] for k in range(160)],
        lambda cells: [cells.subset(cells.labels == k).images for k in (0, 1)],
        lambda cells: [cells[40:].fingerprint() for _ in range(2)],
        lambda cells: cells.save(cells_path(cells)),
        lambda cells: cc.Dedup().find(cells),
        lambda cells: cc.Split(val=0.3).apply(cells).train.images.sum() + cells[:80].images.sum(),
    ],
)
def test_a_flipped_pixel_of_a_mapped_file_is_found_when_all_was_read(read, large, tmp_path):
    whole, images = large
    path = tmp_path / "a.npz"
    path.write_bytes(whole.read_bytes())
    assert np.array_equal(cc.load(path).images, images)
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    cells = cc.load(path)
    assert len(cells) == 160 and cells[0].shape == (48, 48, 3)  # opening it reads nothing
    with pytest.raises(DataError, match=r"'images' is damaged \(its checksum differs\); copy the file again"):
        read(cells)


def cells_path(cells):
    import tempfile

    return tempfile.mkdtemp() + "/b.npz"


def test_labels_of_a_large_file_are_checked_when_it_is_loaded(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, images=np.zeros((200_000, 1, 1, 3), np.uint8), labels=np.zeros(200_000, np.int64))
    member = members(path)["labels"]
    changed = bytearray(path.read_bytes())
    changed[member.header_offset + 30 + len("labels.npy") + 20 + 128 + 800_000] ^= 1
    path.write_bytes(changed)
    with pytest.raises(DataError, match="'labels' is damaged"):
        cc.load(path)


@pytest.mark.parametrize("names", [[b"round", b"lobed"], np.array([b"round", b"lobed"]), ["round", "lobed"]])
def test_bytes_as_names_are_texts(names, tmp_path):
    np.savez(tmp_path / "a.npz", images=PIXELS, labels=[0, 1, 1, 0], class_names=names, ids=[b"a", b"b", b"c", b"d"])
    cells = cc.load(tmp_path / "a.npz")
    assert cells.class_names == ("round", "lobed") and cells.ids.tolist() == ["a", "b", "c", "d"]
    assert cc.ImageSet(PIXELS, [0, 1, 1, 0], class_names=names).class_names == ("round", "lobed")
    assert cc.ImageSet(PIXELS, np.array(names)[[0, 1, 1, 0]]).counts() == {"lobed": 2, "round": 2}
