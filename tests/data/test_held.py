"""Each file is decoded once: what is kept, where, and that it stays right."""

from __future__ import annotations

import errno
import pickle
import threading

import numpy as np
import pytest
import tifffile
from PIL import Image

import cellclf as cc
from cellclf.data import decode as decoding
from cellclf.data import held
from cellclf.data.decode import FileSource
from cellclf.data.held import HeldSource
from cellclf.errors import DataError, OptionError

CELLS = cc.make_cells(40, size=24, seed=3)


@pytest.fixture
def folder(tmp_path):
    """Give a folder of 40 cells."""
    for k, image in enumerate(CELLS.images):
        Image.fromarray(image).save(tmp_path / f"{k:02}.png")
    return tmp_path


@pytest.fixture
def decodes(monkeypatch):
    """Count the decodes of each file."""
    counts, lock, whole = {}, threading.Lock(), decoding._decoded

    def counting(path, *rest):
        with lock:
            counts[str(path)] = counts.get(str(path), 0) + 1
        return whole(path, *rest)

    monkeypatch.setattr(decoding, "_decoded", counting)
    return counts


@pytest.fixture(params=["memory", "file", "file, no pwrite", "no room"])
def room(request, monkeypatch):
    """Keep images in each way that there is."""
    if request.param != "memory":
        monkeypatch.setattr(held, "IN_MEMORY", 0)
    if "no pwrite" in request.param:
        monkeypatch.delattr(held.os, "pwrite", raising=False)
        monkeypatch.delattr(held.os, "preadv", raising=False)
    if request.param == "no room":
        monkeypatch.setattr(held.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10})())
    return request.param


def test_images_are_the_same_wherever_they_are_kept(folder, decodes, room):
    cells = cc.load(folder)
    assert np.array_equal(cells.images, CELLS.images)
    for rows in ([3, 1, 1, 39], [5, 6, 7], [], np.arange(40)[::-1], [39, 0]):
        assert np.array_equal(cells.read(rows), CELLS.images[np.asarray(rows, int)])
    assert np.array_equal(np.concatenate(list(cells.batches(7))), CELLS.images)
    assert np.array_equal(cells[10:20].images, CELLS.images[10:20])
    assert room == "no room" or set(decodes.values()) == {1 if room == "memory" else 2}


def test_without_verify_a_file_is_decoded_when_it_is_first_read(folder, decodes, room):
    cells = cc.load(folder, verify=False)
    assert not decodes
    cells.read([4, 5, 4])
    if room != "no room":
        assert sum(decodes.values()) == 2
        for _ in range(3):
            cells.subset(np.arange(40) % 2 == 0).images  # noqa: B018  # reading is the test
            cells.images  # noqa: B018
        assert set(decodes.values()) == {1} and len(decodes) == 40


def test_damaged_files_and_another_size_leave_the_others_right(folder, decodes):
    (folder / "10.png").write_bytes((folder / "10.png").read_bytes()[:300])
    Image.fromarray(CELLS.images[11]).resize((30, 30)).save(folder / "11.png")
    cells = cc.load(folder)
    assert [one.id for one in cells.skipped] == ["10.png"]
    others = np.setdiff1d(np.arange(40), [10, 11])
    assert np.array_equal(
        cells.subset(np.isin(cells.ids, [f"{k:02}.png" for k in others])).images, CELLS.images[others]
    )
    small = cells.resized((12, 12))
    assert small.images.shape == (39, 12, 12, 3) and np.array_equal(small.images, small.images)
    assert max(decodes.values()) == 2, "once for each size"


def test_pixels_that_are_kept_cannot_be_changed_by_accident(folder):
    cells = cc.load(folder)
    with pytest.raises(ValueError, match="read-only"):
        cells.read([1, 2])[:] = 0
    cells.read([2, 1])[:] = 0  # a copy
    assert np.array_equal(cells.images, CELLS.images)


def test_a_pickle_holds_no_pixels(folder, decodes):
    cells = cc.load(folder)
    packed = pickle.dumps(cells)
    assert len(packed) < CELLS.images.nbytes
    assert np.array_equal(pickle.loads(packed).images, CELLS.images)


def test_a_full_disk_costs_time_and_nothing_else(folder, monkeypatch, caplog):
    monkeypatch.setattr(held, "IN_MEMORY", 0)
    monkeypatch.setattr(held._Store, "_write", no_space)
    cells = cc.load(folder)
    assert np.array_equal(cells.images, CELLS.images) and np.array_equal(cells.images, CELLS.images)
    assert "No space left on device" in caplog.text and caplog.text.count("No space") == 1


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_threads_may_read_at_once(folder, room):
    source = HeldSource(FileSource([str(path) for path in sorted(folder.iterdir())], (24, 24)))
    wrong = []

    def read(seed):
        rows = np.random.default_rng(seed).permutation(40)
        if not np.array_equal(source.read(rows), CELLS.images[rows]):
            wrong.append(seed)

    workers = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def test_a_file_that_is_gone_is_an_error_only_if_it_was_not_read(folder):
    cells = cc.load(folder, verify=False)
    cells.read([0])
    for name in ("00.png", "01.png"):
        (folder / name).unlink()
    assert np.array_equal(cells.read([0])[0], CELLS.images[0])
    with pytest.raises(DataError, match=r"01\.png: no such file"):
        cells.read([0, 1])


def test_pages_of_a_file_have_no_name_in_a_table(tmp_path, folder):
    tifffile.imwrite(tmp_path / "stack.tiff", CELLS.images[:3], photometric="rgb")
    pages = cc.load(tmp_path / "stack.tiff", pages="cells")
    assert not pages.has_files and "path" not in pages.to_frame()
    with pytest.raises(OptionError, match="pages of files"):
        pages.save(tmp_path / "pages.csv")
    files = cc.load(sorted(folder.glob("0*.png")))
    assert files.has_files and cc.load(files.save(tmp_path / "files.csv")).fingerprint() == files.fingerprint()


def test_crops_are_cut_out_once(tmp_path, decodes):
    field = np.concatenate([np.concatenate(list(row), 1) for row in CELLS.images.reshape(4, 10, 24, 24, 3)])
    for name in ("a.png", "b.png"):
        Image.fromarray(field).save(tmp_path / name)
    rows = [
        f"{name}.png,{x},{y},{x + 24},{y + 24},cell"
        for name in "ab"
        for y in range(0, 96, 24)
        for x in range(0, 240, 24)
    ]
    (tmp_path / "boxes.csv").write_text("\n".join(["path,xmin,ymin,xmax,ymax,label", *rows]))
    cells = cc.load(tmp_path / "boxes.csv", margin=0)
    for _ in range(3):
        assert np.array_equal(cells.images[:40], CELLS.images) and np.array_equal(cells.images[40:], CELLS.images)
    assert len(cells) == 80 and max(decodes.values()) <= 2
