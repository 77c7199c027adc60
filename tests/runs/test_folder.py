"""A run folder is one thing: what belongs together is checked, what is not needed is not required, damage is named."""

from __future__ import annotations

import json
import re
import shutil
import zipfile

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import CellclfWarning, RunFolderError
from cellclf.runs.confidence import CONFIDENCE
from cellclf.runs.features.stored import FEATURES
from cellclf.runs.folder import HISTORY, MANIFEST, MODEL

CELLS = cc.ImageSet(np.random.default_rng(0).integers(0, 256, (24, 8, 8, 3), np.uint8), [0, 1] * 12)
ROW = {"stage": 1, "epoch": 1, "loss": 0.5, "accuracy": 0.9, "learning_rate": 0.001, "seconds": 3.2, "best": True}


def network(seed=0, *, shape=(8, 8, 3), classes=2):
    import keras

    images = keras.Input(shape)
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(images))
    start = keras.initializers.RandomNormal(seed=seed)
    return keras.Model(images, keras.layers.Dense(classes, activation="softmax", kernel_initializer=start)(pooled))


def made(seed=0, **changes):
    return cc.Run(network(seed), ("0", "1"), [dict(ROW)], {"status": "finished", "seconds": 3.2, **changes})


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A calibrated run on disk, which no test changes."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    run = made()
    run.calibrate(CELLS[:12], CELLS[12:])
    return run.save(folder)


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "run")


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(folder, *words):
    with pytest.raises(RunFolderError) as caught:
        cc.load_run(folder)
    text = str(caught.value)
    assert all(word in text for word in words), text
    assert text.isprintable() and len(text) < 1000


def test_a_run_is_saved_and_loaded_with_its_own_calibration(folder):
    run = cc.load_run(folder)
    assert run.confidence is not None and run.history == [ROW]
    assert len(np.load(folder / CONFIDENCE)["weights_sha256"].item()) == 64
    run.save(folder)  # into its own folder, as often as one likes
    assert cc.load_run(folder).confidence is not None
    uncalibrated = cc.Run(run.model, run.class_names, run.history, run.manifest)
    uncalibrated.save(folder)
    assert cc.load_run(folder).confidence is None and not (folder / CONFIDENCE).exists()
    assert cc.load_run(folder).stored_features is None and not (folder / FEATURES).exists()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_is_never_saved_over_another(folder, seed):
    before = contents(folder)
    with pytest.raises(RunFolderError, match=r"holds another run .* nothing was changed; choose a new folder"):
        made(seed).save(folder)
    assert contents(folder) == before
    (folder / MANIFEST).unlink()
    with pytest.raises(RunFolderError, match=r"holds model\.keras of a run without manifest\.json"):
        made(seed).save(folder)


def test_a_calibration_of_another_network_is_refused_and_an_old_one_without_a_hash_is_read(folder, tmp_path):
    other = made(1)
    other.calibrate(CELLS[:12], CELLS[12:])
    other.save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / CONFIDENCE, folder / CONFIDENCE)
    refused(folder, CONFIDENCE, "of another network", "remove it")
    held = dict(np.load(tmp_path / "other" / CONFIDENCE))
    np.savez(folder / CONFIDENCE, **{name: value for name, value in held.items() if name != "weights_sha256"})
    assert cc.load_run(folder).confidence is not None
    shutil.copy(tmp_path / "other" / MODEL, folder / MODEL)
    refused(folder, MODEL, "is not the network that manifest.json describes")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"\xff\xfe{", "damaged"),
        (b'{"class_names": ["\xe4"]}', "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"[]", "holds a list, expected an object"),
        (b"null", "holds a NoneType"),
        (b'"a run"', "holds a str"),
        (b"{}", "has no class_names"),
        (b'{"class_names": "01"}', "of another kind"),
        (b'{"class_names": {"0": 1}}', "of another kind"),
        (b'{"class_names": []}', "of another kind"),
        (b'{"class_names": ["0", 1]}', "of another kind"),
        (b'{"class_names": ["0", "0"]}', "names a class twice"),
        (b'{"class_names": ["0"]}', "names 1 classes (0)"),
        (b'{"class_names": ["0", "1", "\\u001b[2J"]}', "names 3 classes (0, 1, \\x1b[2J)"),
        (b'{"class_names": ["0", "1"], "image_shape": [9, 8, 3]}', "belong to two runs"),
        (b'{"class_names": ["0", "1"], "end_sha256": "ab"}', "is not the network"),
        (b'{"class_names": ["0", "1"], "status": "training"}', "is not finished"),
    ],
)
def test_a_manifest_that_is_not_what_it_was_is_one_line(folder, data, words):
    (folder / MANIFEST).write_bytes(data)
    refused(folder, words)


def test_the_network_and_the_names_of_its_classes_are_enough(folder):
    expected = cc.load_run(folder).predict_proba(CELLS)
    for name in (HISTORY, CONFIDENCE, FEATURES):
        (folder / name).unlink()
    (folder / MANIFEST).write_text('{"class_names": ["0", "1"]}', "utf-8")
    run = cc.load_run(folder)
    np.testing.assert_array_equal(run.predict_proba(CELLS), expected)
    assert run.history == [] and run.confidence is None
    with pytest.raises(RunFolderError, match="lacks data and trainer, so the run can predict but not be repeated"):
        cc.rerun(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data", 7),
        ("trainer", []),
        ("versions", "3"),
        ("machine", None),
        ("plugins", ["lite"]),
        ("plugins", {"lite": 3}),
        ("plugins", {"lite": "lite 1'; rm -rf ~; '"}),
        ("members", [7]),
        ("members", {}),
        ("seconds", "long"),
        ("status", 1),
        ("source", "cells.npz"),
        ("image_shape", "8x8"),
    ],
)
def test_a_field_that_is_not_needed_is_left_out_with_a_warning(folder, name, value):
    manifest = json.loads((folder / MANIFEST).read_text("utf-8")) | {name: value}
    (folder / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    with pytest.warns(CellclfWarning, match=f"{name} cannot be read and is left out"):
        run = cc.load_run(folder)
    assert name not in run.manifest and len(run.predict(CELLS)) == 24


HEAD = ",".join(ROW) + "\n"


@pytest.mark.parametrize(
    "data",
    [
        (HEAD + "1,1,0.5,0.9,0.001,3.2,TRUE\n").encode(),
        (HEAD + "1,1,0.5,0.9,1.00E-03,3.2,true\r\n").encode("utf-8-sig"),
        (HEAD + "1,1,0.5,0.9,0.001,3.2,WAHR\n").replace(",", ";").replace(".", ",").encode("cp1252"),
        ("sep=;\r\n" + HEAD + "1,1,0.5,0.9,0.001,3.2,VRAI\n").replace(",", ";").encode("utf-8"),
        (HEAD + "1,1,0.5,0.9,0.001,3.2,True\n").replace(",", "\t").encode("utf-16"),
        (HEAD + '"1,1,0.5,0.9,0.001,3.2,True"\n').replace(HEAD, f'"{HEAD.strip()}"\n').encode(),
        (HEAD + "\n1,1,0.5,0.9,0.001,3.2,True,,\n\n").encode(),
        (HEAD + " 1 , 1 ,'0.5, 0.9,0.001,3.2,True\n").replace("'", "").encode(),
    ],
)
def test_a_history_that_a_spreadsheet_saved_is_read(folder, data):
    (folder / HISTORY).write_bytes(data)
    assert cc.load_run(folder).history == [ROW]


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ((HEAD + "1,1,0.5,0.9,0.001,3.2,True\n1,2,0.5").encode(), 1),
        ((HEAD + "1,1,,0.9,0.001,3.2,True\n").encode(), 0),
        ((HEAD + "1,1,0.5,0.9,0.001,03. Feb,True\n1,2,0.4,0.9,0.001,3.2,True\n").encode(), 1),
        ((HEAD + "1,1,0.5,0.9,0.001,3.2,wahr\xe4\n").encode("latin-1"), 0),
        (HEAD.encode() + bytes(60), 0),
        (b"PK\x03\x04 a workbook", 0),
        (b"", 0),
    ],
)
def test_of_a_damaged_history_the_rest_is_read_with_a_warning(folder, data, rows):
    (folder / HISTORY).write_bytes(data)
    with pytest.warns(CellclfWarning, match=re.escape(HISTORY)):
        assert len(cc.load_run(folder).history) == rows


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]


@pytest.mark.parametrize("name", [MODEL, CONFIDENCE])
@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other zip", "flipped", "folder"])
def test_a_damaged_file_is_named(folder, name, damage):
    path = folder / name
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda member: member.compress_size)
    inside = largest.header_offset + 30 + len(largest.filename) + largest.compress_size // 2
    if damage == "other zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.txt", "nothing")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        changed = {"cut": data[: len(data) // 2], "empty": b"", "text": b"hello", "flipped": flipped(data, inside)}
        path.write_bytes(changed[damage])
    refused(folder, name, "cannot be read" if name == MODEL and damage == "other zip" else "damaged")


def test_only_a_network_from_images_to_classes_is_taken(saved, tmp_path):
    import keras

    pixels, more = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(pixels))
    two = keras.layers.Dense(2)(flat)
    vector = keras.Input((7,))
    models = {
        "takes (n, 8, 8, 1)": network(shape=(8, 8, 1)),
        "takes (n, n, n, 3)": network(shape=(None, None, 3)),
        "takes (n, 7)": keras.Model(vector, keras.layers.Dense(2)(vector)),
        "gives (n, 5)": network(classes=5),
        "gives (n, 2) and (n, 2)": keras.Model(pixels, [two, keras.layers.Dense(2)(flat)]),
        "gives (n, 2, 1)": keras.Model(pixels, keras.layers.Reshape((2, 1))(two)),
        "takes (n, 8, 8, 3) and (n, 8, 8, 3)": keras.Model(
            [pixels, more], keras.layers.Dense(2)(keras.layers.Flatten()(keras.layers.Add()([pixels, more])))
        ),
    }
    (tmp_path / MANIFEST).write_text('{"class_names": ["0", "1"]}', "utf-8")
    for words, model in models.items():
        model.save(tmp_path / MODEL)
        refused(tmp_path, words)


def test_a_run_finds_its_folder_from_another_working_directory(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    run = cc.load_run(folder.name)
    shutil.copytree(folder, "copy")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir("other")
    assert run.folder == folder
    run.calibrate(CELLS[12:], CELLS[:12])  # stored beside the network
    assert not list((tmp_path / "other").iterdir())
    assert (folder / CONFIDENCE).read_bytes() != (tmp_path / "copy" / CONFIDENCE).read_bytes()


def test_the_home_folder_may_be_written_as_a_tilde(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(folder)
    run = cc.load_run("~/run")
    assert run.folder == folder and run.save("~/copy") == tmp_path / "copy"
    assert cc.load_run(tmp_path / "copy").confidence is not None and not (folder / "~").exists()
