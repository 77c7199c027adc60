from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import cellclf as cc
from cellclf.data import listing
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfError, DataError, OptionError, UnknownNameError


def pixels(*shape, dtype=np.uint8, high=256):
    return np.random.default_rng(0).integers(0, high, shape, dtype)


def picture(path, value=0, side=(8, 8), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, side[::-1], value if mode != "RGB" else (value, value, value)).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "cells"
    for k, name in enumerate(["lobed/a.png", "lobed/b.PNG", "round/a.png", "round/deep/er/c.bmp"]):
        picture(root / name, k)
    return root


# Folders


def test_a_folder_gives_classes_ids_and_pictures(folder):
    cells = cc.load(folder)
    assert cells.class_names == ("lobed", "round") and cells.labels.tolist() == [0, 0, 1, 1]
    assert cells.ids.tolist() == ["lobed/a.png", "lobed/b.PNG", "round/a.png", "round/deep/er/c.bmp"]
    assert cells.images[:, 0, 0, 0].tolist() == [0, 1, 2, 3]
    assert cells.notices == () and cells.skipped == ()
    assert cc.load(str(folder)).fingerprint() == cells.fingerprint()
    assert pickle.loads(pickle.dumps(cells)).fingerprint() == cells.fingerprint()


def test_a_folder_and_the_npz_made_of_it_have_one_fingerprint(folder, tmp_path):
    cells = cc.load(folder)
    assert cc.load(cells.save(tmp_path / "cells.npz")).fingerprint() == cells.fingerprint()
    assert cc.load((cells.images, cells.labels)).fingerprint() != cells.fingerprint()  # ids are part of it


def test_folders_that_are_numbers_are_ordered_by_value(tmp_path):
    for name in ("10", "9", "1"):
        picture(tmp_path / name / "a.png")
    cells = cc.load(tmp_path)
    assert cells.class_names == ("1", "9", "10")
    names = [f"class {k}" for k in range(11)]
    assert cc.load(tmp_path, class_names=names).labels.tolist() == [1, 9, 10]


def test_what_is_no_picture_is_listed(folder):
    (folder / "notes.txt").write_text("x")
    (folder / "round" / "Thumbs.db").write_text("x")
    (folder / "round" / "bad.jpg").write_text("no picture")
    (folder / "round" / "empty.png").write_bytes(b"")
    (folder / "round" / "gone.png").symlink_to(folder / "nowhere.png")
    (folder / "empty").mkdir()
    (folder / ".hidden").mkdir()
    picture(folder / ".hidden" / "a.png")
    picture(folder / "round" / ".ipynb_checkpoints" / "a-checkpoint.png")
    picture(folder / "round" / "._a.png")
    picture(folder / "loose.png")
    cells = cc.load(folder)
    assert len(cells) == 4 and cells.class_names == ("lobed", "round")
    reasons = {skipped.id: skipped.reason for skipped in cells.skipped}
    assert reasons.keys() == {
        "notes.txt",
        "round/Thumbs.db",
        "round/bad.jpg",
        "round/empty.png",
        "round/gone.png",
        "loose.png",
    }
    assert "no such file" in reasons["round/gone.png"] and "class folders" in reasons["loose.png"]
    assert cells.notices == ("the folder 'empty' holds no picture and is no class",)
    assert "skipped: 6" in cells.summary()


def test_links_are_followed_and_never_in_a_circle(folder, tmp_path):
    links = tmp_path / "links"
    links.mkdir()
    (links / "round").symlink_to(folder / "round")
    (links / "lobed").mkdir()
    for path in (folder / "lobed").iterdir():
        (links / "lobed" / path.name).symlink_to(path)
    (links / "lobed" / "again").symlink_to(links / "lobed")
    assert cc.load(links).fingerprint() == cc.load(folder).fingerprint()


def test_a_folder_that_cannot_be_listed_is_told(tmp_path):
    found = listing.Listing([], [])
    assert listing._pictures_below(str(tmp_path / "round" / "deep"), tmp_path, found) == []
    assert [(s.id, s.reason) for s in found.skipped] == [
        ("round/deep", "the folder cannot be listed: No such file or directory")
    ]


@pytest.mark.skipif(os.name == "nt", reason="file names are text on Windows")
def test_odd_file_names(tmp_path):
    names = ["käse 細胞.png", "a b\tc.png", "50% $x$.png", "new\nline.png", "-rf.png"]
    for name in names:
        picture(tmp_path / "lympho\u00adcyte é" / name)
    raw = os.fsencode(tmp_path / "lympho\u00adcyte é") + b"/\xe9\xff.png"
    os.link(tmp_path / "lympho\u00adcyte é" / "-rf.png", raw)
    cells = cc.load(tmp_path)
    assert len(cells) == 6 and cells.images.shape == (6, 8, 8, 3)
    assert r"\xe9\xff.png" in cells.ids[-1]
    "\n".join(cells.ids.tolist()).encode()  # printable everywhere
    assert cc.load(cells.save(tmp_path / "x.npz")).fingerprint() == cells.fingerprint()


def test_a_folder_of_pictures_only_has_no_labels(tmp_path):
    for k in range(3):
        picture(tmp_path / f"{k}.png", k)
    cells = cc.load(tmp_path)
    assert cells.labels is None and cells.ids.tolist() == ["0.png", "1.png", "2.png"]
    assert "no labels" in repr(cells)


def test_parts_are_no_classes(folder, tmp_path):
    root = tmp_path / "all"
    for part in ("train", "val", "Test"):
        picture(root / part / "round" / "a.png")
    with pytest.raises(DataError, match=r"parts and no classes; load one of them with part='train'"):
        cc.load(root)
    assert cc.load(root, part="val").class_names == ("round",)
    assert cc.load(root, part="val").ids.tolist() == ["round/a.png"]
    with pytest.raises(UnknownNameError, match=r"'vall'; did you mean 'val'\?"):
        cc.load(root, part="vall")


@pytest.mark.parametrize("inside", [None, "a.txt"])
def test_a_folder_without_a_picture(tmp_path, inside):
    if inside:
        (tmp_path / inside).write_text("x")
    with pytest.raises(DataError, match="holds no picture"):
        cc.load(tmp_path)


def test_a_class_whose_files_are_all_damaged_is_lost_and_said(folder):
    (folder / "kidney").mkdir()
    (folder / "kidney" / "a.png").write_text("x")
    cells = cc.load(folder)
    assert cells.class_names == ("lobed", "round")
    assert cells.notices == ("the class 'kidney' is lost: none of its files can be read",)
    assert cc.load(folder, class_names=["kidney", "lobed", "round"]).labels.tolist() == [1, 1, 2, 2]


def test_nothing_readable(tmp_path):
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(DataError, match=r"no readable picture, of 1 files; the first: a\.png \(no jpg"):
        cc.load(tmp_path)


def test_mixed_sizes_are_resized_with_notice_or_refused(tmp_path):
    for k, side in enumerate([(8, 8), (8, 8), (16, 8), (20, 20)]):
        picture(tmp_path / "round" / f"{k}.png", k, side)
    cells = cc.load(tmp_path)
    assert cells.image_shape == (8, 8, 3)
    assert cells.sizes.tolist() == [[8, 8], [8, 8], [16, 8], [20, 20]]
    assert cells.notices == (
        "2 pictures: resized to 8x8, the most frequent size (there are 8x8: 2, 20x20: 1, 16x8: 1); "
        "their proportions changed",
    )
    assert "heights 8 to 20, widths 8 to 20" in cells.summary()
    with pytest.raises(DataError, match=r"3 sizes .*pass size=\(8, 8\) or mixed='resize'"):
        cc.load(tmp_path, mixed="refuse")
    given = cc.load(tmp_path, size=[10, 12], mixed="refuse")
    assert given.image_shape == (10, 12, 3) and "4 pictures: resized to 10x12 (" in given.notices[0]
    assert given.images.shape == (4, 10, 12, 3)


def test_conversions_are_counted(folder):
    picture(folder / "round" / "grey1.png", 9, mode="L")
    picture(folder / "round" / "grey2.png", 9, mode="L")
    picture(folder / "round" / "clear.png", (1, 2, 3, 0), mode="RGBA")
    cells = cc.load(folder)
    assert cells.notices == (
        "2 pictures: grey repeated over the channels (the first: round/grey1.png)",
        "1 picture: transparency laid on white (the first: round/clear.png)",
    )


def test_without_verifying_damage_is_told_when_it_is_met(folder):
    path = folder / "round" / "a.png"
    path.write_bytes(path.read_bytes()[:50])
    assert len(cc.load(folder).skipped) == 1
    cells = cc.load(folder, verify=False)
    assert len(cells) == 4
    with pytest.raises(DataError, match=r"a\.png: .*load the set again"):
        cells.images  # noqa: B018  # reading is the test


# Lists, patterns, single files


def test_lists_patterns_and_single_files(folder, monkeypatch):
    paths = sorted(folder.glob("*/a.png"))
    assert cc.load(paths).ids.tolist() == [str(path) for path in paths]
    for pattern in ("**/*.png", "**/**.png", "*/**.png"):
        assert cc.load(str(folder / pattern)).ids.tolist() == [str(path) for path in paths], pattern
    assert len(cc.load(paths[0])) == 1
    monkeypatch.chdir(folder)
    assert cc.load("lobed/*").ids.tolist() == ["lobed/a.png", "lobed/b.PNG"]
    assert cc.load(".").ids.tolist()[0] == "lobed/a.png"
    with pytest.raises(DataError, match="no picture matches"):
        cc.load("*.jpg")


def test_labels_beside_a_list_follow_the_files_that_can_be_read(folder):
    (folder / "bad.png").write_text("x")
    paths = [folder / "lobed" / "a.png", folder / "bad.png", folder / "round" / "a.png"]
    cells = cc.load(paths, ["a", "b", "c"], groups=["p", "q", "r"], class_names=["a", "b", "c"])
    assert cells.labels.tolist() == [0, 2] and cells.groups.tolist() == ["p", "r"]
    with pytest.raises(DataError, match="2 labels for 3 files"):
        cc.load(paths, [0, 1])
    with pytest.raises(OptionError, match="labels stand in"):
        cc.load(folder, [0, 1, 2, 3])


# CSV


def table(folder, text, encoding="utf-8", name="cells.csv"):
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


CSV = "path,label,group\nlobed/a.png,lobed,p1\nround/a.png,round,p2\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CSV, "utf-8"),
        (CSV, "utf-8-sig"),
        (CSV.replace("\n", "\r\n"), "utf-8"),
        (CSV.replace(",", ";"), "utf-8"),
        (CSV.replace(",", "\t"), "utf-8"),
        (CSV.replace("lobed/a.png", "lobed\\a.png"), "utf-8"),
        (CSV.partition("\n")[2], "utf-8"),
        (CSV.replace("path,label,group", "Patient , Filename, CLASS").replace("\n\n", "\n"), "utf-8"),
        (CSV + "\n,,\n", "utf-8"),
    ],
    ids=["plain", "bom", "crlf", "semicolon", "tab", "backslash", "no head", "other head", "blank rows"],
)
def test_csv_of_every_spelling(folder, text, encoding):
    if "Patient" in text:
        text = "Patient , Filename, CLASS\np1,lobed/a.png,lobed\np2,round/a.png,round\n"
    cells = cc.load(table(folder, text, encoding))
    assert cells.counts() == {"lobed": 1, "round": 1} and cells.groups.tolist() == ["p1", "p2"]
    assert cells.images[:, 0, 0, 0].tolist() == [0, 2] and cells.skipped == ()


def test_csv_rows_that_cannot_be_used_are_listed(folder):
    text = (
        "path,label,group,note\nlobed/a.png,lobed,p1,x\n./lobed/a.png,round,p1,\nround/a.png,round\n"
        "lobed/b.PNG,,p1,\ngone.png,round,p3,\n,round,p4,\nlobed/a.png,lobed,p1\n"
    )
    cells = cc.load(table(folder, text))
    assert cells.ids.tolist() == ["lobed/a.png", "round/a.png"]
    assert cells.groups.tolist() == ["p1", "only round/a.png"]  # nobody else's
    assert [(s.id, s.reason) for s in cells.skipped] == [
        ("./lobed/a.png", "named before with the label 'lobed', now 'round': the first one counts"),
        ("lobed/b.PNG", "no label"),
        (",round,p4,", "the row names no file"),
        ("lobed/a.png", "named before"),
        ("gone.png", "no such file"),
    ]
    assert cells.notices == ("columns of cells.csv that were not used: note",)


def test_csv_of_paths_only_and_absolute_paths(folder, tmp_path):
    cells = cc.load(table(tmp_path, f"{folder / 'lobed' / 'a.png'}\n"))
    assert cells.labels is None and cells.groups is None and len(cells) == 1


def test_csv_labels_that_are_numbers_are_places_in_class_names(folder):
    path = table(folder, "path,label\nlobed/a.png,3\nround/a.png,1\n")
    assert cc.load(path).class_names == ("1", "3")
    assert cc.load(path, class_names=["a", "b", "c", "d"]).labels.tolist() == [3, 1]
    with pytest.raises(DataError, match="label 3 but only 2 class names"):
        cc.load(path, class_names=["a", "b"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"path,label\n", "no readable picture, of 0 files"),
        (b"name,kind\nx,y\n", "has the columns name, kind; wanted path, label"),
        (CSV.encode("utf-16"), "is not UTF-8"),
        ("path,label\nk\xe4se.png,round\n".encode("latin-1"), "is not UTF-8"),
        (b'path,label\n"a.png' + b"x" * 200_000, "is no CSV"),
        (b"path,label\ngone.png,round\n", r"the first: gone\.png \(no such file\)"),
    ],
)
def test_csv_that_is_refused(tmp_path, data, said):
    (tmp_path / "cells.csv").write_bytes(data)
    with pytest.raises(DataError, match=said) as caught:
        cc.load(tmp_path / "cells.csv")
    assert "\n" not in str(caught.value)


@given(data=st.binary(max_size=80))
def test_any_bytes_as_csv_or_npz_give_a_clear_error(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("odd")
    for name in ("a.csv", "a.npz", "a.npy", "a.png"):
        (root / name).write_bytes(data)
        with pytest.raises(CellclfError) as caught:
            cc.load(root / name)
        assert "\n" not in str(caught.value)


# Npz


@pytest.mark.parametrize(
    "labels", [np.array([0, 1, 1]), np.array([[0], [1], [1]], np.uint8), np.array([0, 1, 1], np.uint64)]
)
@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_every_spelling(tmp_path, labels, names, save):
    images = pixels(3, 8, 8, 3)
    save(tmp_path / "a.npz", **{names[0]: images, names[1]: labels})
    cells = cc.load(tmp_path / "a.npz", class_names=["round", "lobed"])
    assert np.array_equal(cells.images, images) and cells.counts() == {"round": 1, "lobed": 2}


def mapped(array):
    while array is not None and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_stored_npz_is_mapped(tmp_path, order):
    images = np.asarray(pixels(60, 80, 80, 3), order=order)
    np.savez(tmp_path / "a.npz", labels=np.arange(60), images=images)
    cells = cc.load(tmp_path / "a.npz")
    assert mapped(cells.images) and mapped(cells[10:20].images)
    assert np.array_equal(cells.images, images)
    np.savez_compressed(tmp_path / "b.npz", labels=np.arange(60), images=images)
    other = cc.load(tmp_path / "b.npz")
    assert not mapped(other.images) and other.fingerprint() == cells.fingerprint()


def test_parts_of_an_npz(tmp_path):
    parts = {"train_images": pixels(3, 8, 8), "train_labels": np.zeros((3, 1), int), "val_images": pixels(2, 8, 8)}
    np.savez(tmp_path / "medmnist.npz", **parts, val_labels=np.ones((2, 1), int))
    with pytest.raises(DataError, match=r"choose part='train' \(there are: train, val\)"):
        cc.load(tmp_path / "medmnist.npz")
    cells = cc.load(tmp_path / "medmnist.npz", part="val")
    assert cells.labels.tolist() == [1, 1] and cells.notices == ("grey was repeated over the three channels",)
    with pytest.raises(UnknownNameError, match=r"'tran'; did you mean 'train'\?"):
        cc.load(tmp_path / "medmnist.npz", part="tran")
    np.savez(tmp_path / "keras.npz", x_train=pixels(3, 8, 8, 3), y_train=[0, 1, 0], x_test=pixels(1, 8, 8, 3))
    assert cc.load(tmp_path / "keras.npz", part="train").labels.tolist() == [0, 1, 0]
    assert cc.load(tmp_path / "keras.npz", part="test").labels is None


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("something was unpickled",))


def test_objects_are_never_unpickled(tmp_path):
    bombs = np.empty(2, object)
    bombs[:] = [Bomb(), Bomb()]
    images = pixels(2, 8, 8, 3)
    np.savez(tmp_path / "a.npz", images=bombs)
    with pytest.raises(DataError, match=r"'images' holds Python objects.*never unpickled"):
        cc.load(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=images, labels=bombs)
    with pytest.raises(DataError, match="'labels' holds Python objects"):
        cc.load(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", images=images, extra=bombs)
    assert cc.load(tmp_path / "c.npz").notices == (f"arrays of {tmp_path / 'c.npz'} that were not used: extra",)
    np.save(tmp_path / "d.npy", bombs)
    (tmp_path / "e.npz").write_bytes(pickle.dumps(Bomb()))
    for name in ("d.npy", "e.npz"):
        with pytest.raises(DataError, match="not a readable"):
            cc.load(tmp_path / name)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("keep", [0, 100, 50_000, -30])
def test_truncated_npz(tmp_path, save, keep):
    save(tmp_path / "a.npz", images=pixels(6, 80, 80, 3))
    whole = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(whole[:keep])
    with pytest.raises(DataError, match=r"a\.npz: not a readable npz file.*copy it again"):
        cc.load(tmp_path / "a.npz")


def test_an_npz_with_a_damaged_inside(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", images=pixels(6, 80, 80, 3))
    whole = bytearray((tmp_path / "a.npz").read_bytes())
    whole[2000:2100] = bytes(100)
    (tmp_path / "a.npz").write_bytes(whole)
    with pytest.raises(DataError, match=r"'images' is damaged|'images' cannot be read"):
        cc.load(tmp_path / "a.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 9, 9, 3)})
    with zipfile.ZipFile(tmp_path / "b.npz", "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(2_000_000))
    with pytest.raises(DataError, match="does not fit into"):
        cc.load(tmp_path / "b.npz")


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"pictures": pixels(2, 8, 8, 3)}, "has no 'images' or 'x' but pictures; name them"),
        ({"images": pixels(2, 8, 8, 3) / 255.0}, r"a\.npz: pictures are float64 within 0-1.*multiply by 255"),
        ({"images": pixels(2, 8, 8, 3), "labels": [0, 1, 2]}, r"a\.npz: 3 labels for 2 pictures"),
        ({"images": pixels(2, 8, 8, 3), "labels": np.eye(2)}, "argmax"),
        ({"images": pixels(2, 3, 8, 8)}, "transpose"),
        ({"images": pixels(2, 8, 8, 3), "ids": ["a", "a"]}, "'a' stands 2 times"),
    ],
)
def test_npz_content_that_is_refused(tmp_path, arrays, said):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=said):
        cc.load(tmp_path / "a.npz")


def test_npy_is_mapped(tmp_path):
    images = pixels(2, 8, 8, 3)
    np.save(tmp_path / "a.npy", images)
    cells = cc.load(tmp_path / "a.npy", [1, 0], groups=["p", "q"])
    assert mapped(cells.images) and cells.labels.tolist() == [1, 0] and cells.groups.tolist() == ["p", "q"]


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


def test_12_bit_arrays_say_that_they_are_dark():
    assert "nearly black" in cc.load(pixels(2, 8, 8, dtype=np.uint16, high=4096)).notices[0]


def test_a_single_picture_is_no_stack_of_grey_ones():
    with pytest.raises(DataError, match=r"for a single picture, pass images\[None\]"):
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


def test_iterables_of_batches_and_of_single_pictures():
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
    images[0] = 0  # a black picture alone says nothing
    cells = cc.load(
        [images[:1].astype(np.float32), images[1:].astype(np.float32) + np.float32(0.25) * (images[1:] < 255)]
    )
    assert np.array_equal(cells.images, images)
    assert cells.notices == ("float32 pictures were rounded to whole numbers 0-255",)
    with pytest.raises(DataError, match=r"floats within 0-0\.9.*multiply by 255"):
        cc.load([np.full((1, 8, 8, 3), 0.9)])
    with pytest.raises(DataError, match="NaN"):
        cc.load([np.full((1, 8, 8, 3), np.nan)])
    with pytest.raises(DataError, match="rescale"):
        cc.load([np.full((1, 8, 8, 3), -1.0)])


@pytest.mark.parametrize(
    ("src", "said"),
    [
        ([(pixels(2, 8, 8, 3), [0])], "1 labels for 2 pictures"),
        ([(pixels(2, 8, 8, 3), np.eye(2))], "argmax"),
        ([(pixels(8, 8, 3), np.eye(2)[0])], "argmax"),
        ([pixels(2, 8, 8, 3), pixels(2, 9, 9, 3)], "several shapes"),
        ([pixels(2, 8, 8, 3), (pixels(2, 8, 8, 3), [0, 1])], "2 labels for 4 pictures"),
        ([(pixels(2, 8, 8, 3), [0, 1]), (pixels(2, 8, 8, 3), ["a", "b"])], "labels of several kinds"),
        ([{"picture": 1}], "hold picture; wanted 'image'"),
        ([1, 2], r"arrays of shape \(\)"),
        (["x", 3], r"arrays of shape \(\)"),
        ({}, "has no 'images'"),
        (5, "cannot load from int"),
        (None, "cannot load from NoneType"),
        ([], "no batch"),
    ],
)
def test_iterables_that_are_refused(src, said):
    with pytest.raises(DataError, match=said) as caught:
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


# Arguments


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"mixed": "crop"}, OptionError, "mixed='crop'"),
        ({"size": (0, 5)}, OptionError, r"size=\(0, 5\)"),
        ({"size": (5,)}, OptionError, r"wanted \(height, width\)"),
        ({"size": (4, 4)}, OptionError, "is for files"),
        ({"part": "train"}, OptionError, "part='train' goes with"),
        ({"class_names": ["a"]}, DataError, "only 1 class names"),
    ],
)
def test_arguments_that_do_not_go_with_arrays(arguments, kind, said):
    with pytest.raises(kind, match=said):
        cc.load((pixels(2, 8, 8, 3), [0, 1]), **arguments)


@pytest.mark.parametrize(
    ("src", "said"),
    [("nowhere", "there is no 'nowhere'"), ("nowhere.npz", "there is no"), ("a.txt", r"\.txt is none of")],
)
def test_paths_that_are_refused(tmp_path, monkeypatch, src, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match=said):
        cc.load(src)


def test_classes_are_matched_by_name_so_that_two_sets_mean_the_same(folder):
    cells = cc.load(folder, class_names=["band", "round", "lobed"])
    assert cells.labels.tolist() == [2, 2, 1, 1] and cells.num_classes == 3
    with pytest.raises(UnknownNameError, match="'lobed'"):
        cc.load(folder, class_names=["band", "round"])


# Real pictures


@pytest.mark.parametrize("name", ["bccd_crops", "contaminants"])
def test_real_pictures(real_data, name):
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
