"""A cut that is given, from one command to the report: its parts are those given, and only training loses images."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import tomli_w
from helpers.command import run as cellclf
from helpers.recipes import RECIPE
from PIL import Image

import cellclf as cc
from cellclf.data import Parts

NAMES = ("dark", "grey", "light")
COUNTS = {"train": 36, "val": 12, "test": 15}
PLANTED = {"train/0": "copy in test", "train/1": "copy in val", "train/2": "copy in test"}


def part(name, side=24):
    """Draw different images of three classes."""
    count = COUNTS[name]
    rng = np.random.default_rng(list(COUNTS).index(name))
    labels = np.arange(count) % 3
    means = (70 + 50 * labels)[:, None, None, None]
    shapes = rng.normal(0, 45, (count, 6, 6, 3)).repeat(4, 1).repeat(4, 2)[:, :side, :side]
    return (means + shapes).clip(0, 255).astype(np.uint8), labels


@pytest.fixture(scope="module")
def planted():
    """Give three parts; three training images are copies of validation or test images, two of them altered."""
    parts = {name: part(name) for name in COUNTS}
    train = parts["train"][0]
    train[0] = parts["test"][0][0]
    train[1] = parts["val"][0][1][:, ::-1]
    train[2] = (parts["test"][0][2] * 0.95).astype(np.uint8)
    return parts


@pytest.fixture(scope="module")
def npz(planted, tmp_path_factory):
    path = tmp_path_factory.mktemp("npz") / "blood.npz"
    arrays = {f"{name}_images": images for name, (images, _) in planted.items()}
    arrays |= {f"{name}_labels": labels[:, None] for name, (_, labels) in planted.items()}
    np.savez(path, **arrays)
    return path


def write(root, planted, place):
    for name, (images, labels) in planted.items():
        for k, (image, label) in enumerate(zip(images, labels.tolist(), strict=True)):
            path = root / place.format(part=name, label=NAMES[label], k=k)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
            yield path.relative_to(root).as_posix(), NAMES[label], name


@pytest.fixture(scope="module")
def tree(planted, tmp_path_factory):
    root = tmp_path_factory.mktemp("tree")
    list(write(root, planted, "{part}/{label}/{k}.png"))
    return root


@pytest.fixture(scope="module")
def table(planted, tmp_path_factory):
    root = tmp_path_factory.mktemp("table")
    rows = [("path", "label", "split"), *write(root, planted, "images/{part}{k}.png")]
    (root / "cells.csv").write_text("\n".join(",".join(row) for row in rows))
    return root / "cells.csv"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "tiny.toml"
    path.write_text(tomli_w.dumps(RECIPE))
    return path


@pytest.fixture(scope="module")
def out(npz, recipe, tmp_path_factory):
    """Give the run that one command made of the npz."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    done = cellclf("run", npz, "--recipe", recipe, "--out", folder)
    assert done.exit_code == 0, done.output
    return folder


def rows_of(folder):
    with (folder / "split.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def check(folder, ids=None):
    """Compare a run folder with what was given and planted."""
    report = json.loads((folder / "report.json").read_text())
    assert {name: report["scores"][name]["n"] for name in ("val", "test")} == {"val": 12, "test": 15}
    assert report["scores"]["train"]["n"] <= 33 and report["copies"] == {"test": 0}
    rows = rows_of(folder)
    for name in ("val", "test"):
        assert sum(row["part"] == name for row in rows) == COUNTS[name], "validation and test are left as they are"
    across = [row for row in rows if row["reason"].startswith("copies across the cut")]
    assert len(across) == len(report["removed"]["copies across the cut"]["removed"]) == 3
    assert sorted(row["reason"].split(": ")[1] for row in across) == sorted(PLANTED.values())
    assert all(row["part"] == "dropped" for row in across)
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    cut = "he cut that the source gives: train 36, val 12, test 15"
    assert [name for name, found in (("page", page), ("text", text)) if cut in found] == ["page", "text"]
    assert page.lower().count("copies across the cut") >= 1 <= page.count("copy in test")
    return rows


def test_an_npz_with_parts_ends_in_a_report_of_these_parts(out):
    rows = check(out)
    assert {row["id"]: row["reason"].split(": ")[1] for row in rows if "across" in row["reason"]} == PLANTED
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["split"]["given"] == ["val", "test"] and manifest["source"]["cut"] == "given"


def test_folders_with_parts_end_in_a_report_of_these_parts(tree, recipe, tmp_path):
    done = cellclf("run", tree, "--recipe", recipe, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    check(tmp_path / "a")
    assert cc.load_run(tmp_path / "a").class_names == NAMES


def test_a_table_with_a_column_split_ends_in_a_report_of_these_parts(table, recipe, tmp_path):
    done = cellclf("run", table, "--recipe", recipe, "--out", tmp_path / "a")
    assert done.exit_code == 0, done.output
    rows = check(tmp_path / "a")
    assert {row["id"] for row in rows if row["part"] == "test"} == {f"images/test{k}.png" for k in range(15)}


def test_the_cut_is_taken_again_by_rerun_and_by_the_same_command(out, npz, recipe, tmp_path):
    found = cc.rerun(out, out=tmp_path / "b", show=False)
    assert found.matches, str(found)
    assert (tmp_path / "b" / "split.csv").read_bytes() == (out / "split.csv").read_bytes()
    stamp = (out / "model.keras").stat().st_mtime_ns
    assert cellclf("run", npz, "--recipe", recipe, "--out", out).exit_code == 0
    assert (out / "model.keras").stat().st_mtime_ns == stamp, "a finished run is not trained again"


def test_check_counts_the_parts_and_what_would_be_removed(npz, recipe, tmp_path):
    done = cellclf("run", npz, "--recipe", recipe, "--check")
    assert done.exit_code == 0, done.output
    for text in (
        "the cut that the source gives: train 36, val 12, test 15",
        "0        12        4        5",
        "copies across the cut: 36 images -> 33: 3 removed",
        "2  copy in test",
        "no mistake found",
    ):
        assert text in done.stdout
    assert not [*tmp_path.iterdir()]
    own = cellclf("run", npz, "--recipe", recipe, "--check", "--cut", "own")
    assert own.exit_code == 0 and own.stdout.startswith("no mistake found\n")


def test_an_own_cut_of_all_images(npz):
    pipe = cc.Pipeline.from_recipe(RECIPE)
    prepared = pipe.prepare(npz, cut="own", show=False)
    assert prepared.given == () and len(prepared.before) == 63 and prepared.before.ids[0] == "train/0"
    assert len(prepared.parts.train) + len(prepared.parts.val) == 60 and not len(prepared.parts.test)
    with pytest.raises(cc.OptionError, match="cut='own' makes a cut, and val gives one"):
        pipe.prepare(npz, cut="own", val=f"{npz}:val")
    with pytest.raises(cc.UnknownNameError, match="There are: given, own"):
        pipe.prepare(npz, cut="mine")


def sets(planted):
    return {name: cc.ImageSet(images, labels, class_names=NAMES) for name, (images, labels) in planted.items()}


def test_what_is_not_given_is_cut_off_training(planted):
    given = sets(planted)
    pipe = cc.Pipeline.from_recipe(RECIPE)
    prepared = pipe.prepare(Parts(given["train"], given["train"].subset([]), given["test"]), show=False)
    assert prepared.given == ("test",) and "val is cut off the training part" in prepared.cut
    assert len(prepared.parts.test) == 15 and len(prepared.parts.train) + len(prepared.parts.val) == 34
    pipe.split.test = 0.2
    prepared = pipe.prepare(given["train"], val=given["val"], show=False)
    assert prepared.given == ("val",) and len(prepared.parts.val) == 12 and len(prepared.parts.test) == 6
    assert "test is cut off the training part" in prepared.cut


def test_a_val_of_its_own_is_used_in_place_of_that_of_the_source(planted, npz):
    pipe = cc.Pipeline.from_recipe(RECIPE)
    val = cc.ImageSet(
        planted["test"][0][:9], planted["test"][1][:9], class_names=["0", "1", "2"], ids=list("abcdefghi")
    )
    prepared = pipe.prepare(npz, val=val, show=False)
    assert prepared.parts.val.ids.tolist() == list("abcdefghi") and len(prepared.parts.test) == 15


def test_patients_in_two_parts_are_removed_from_training_alone(planted):
    given = sets(planted)
    groups = {"train": [f"p{k // 4}" for k in range(36)], "val": ["p0"] * 6 + ["v"] * 6, "test": ["p2"] * 8 + ["v"] * 7}
    parts = Parts(*(one.replace(groups=groups[name]) for name, one in given.items()))
    prepared = cc.Pipeline.from_recipe(RECIPE).prepare(parts, show=False)
    found = prepared.removals["groups across the cut"]
    assert {*found.reasons[~found.keep].tolist()} == {"group in val: p0", "group in test: p2"}
    assert found.removed == 5 and len(prepared.val) == 12 and len(prepared.parts.test) == 15
    assert not {"p0", "p2"} & {*prepared.parts.train.groups.tolist()}
    alone = Parts(given["train"].replace(groups=["p"] * 36), given["val"].replace(groups=["p"] * 12), given["test"])
    with pytest.raises(cc.DataError, match=r"every patient or slide of the 33 training images .*--cut own"):
        cc.Pipeline.from_recipe(RECIPE).prepare(alone, show=False)


def test_a_duplicate_of_a_copy_is_removed_too_and_copies_of_val_in_test_are_counted(planted):
    given = sets(planted)
    images = given["train"].images.copy()
    images[6] = images[0]
    test = given["test"].images.copy()
    test[9] = given["val"].images[9]
    parts = Parts(
        cc.ImageSet(images, given["train"].labels, class_names=NAMES),
        given["val"],
        cc.ImageSet(test, given["test"].labels, class_names=NAMES),
    )
    pipe = cc.Pipeline.from_recipe(RECIPE)
    prepared = pipe.prepare(parts, show=False)
    across = prepared.removals["copies across the cut"]
    assert across.ids[~across.keep].tolist() == ["train/0", "train/1", "train/2", "train/6"]
    assert len(prepared.parts.test) == 15, "an image that is in validation, too, is kept in the test"
    from cellclf.pipeline.prepared import count_copies

    with pytest.warns(cc.CellclfWarning, match="the set 'test': 1 of its 15 images is a copy"):
        assert count_copies(prepared, {}, pipe.dedup) == {"test": 1}


def test_outliers_are_removed_from_training_alone(planted):
    given = sets(planted)
    prepared = cc.Pipeline.from_recipe({**RECIPE, "dedup": "none", "outliers": {"method": "mahalanobis"}}).prepare(
        Parts(given["train"], given["val"], given["test"]), show=False
    )
    assert len(prepared.removals["outliers"]) == 36 and len(prepared.val) == 12 and len(prepared.parts.test) == 15


def test_a_class_that_is_lost_to_the_other_parts_is_named(planted):
    given = sets(planted)
    images = given["train"].images.copy()
    images[0:12:3] = given["test"].images[[0, 3, 6, 9]]
    few = cc.ImageSet(images, given["train"].labels, class_names=NAMES).subset([*range(0, 12, 3), 1, 2, 4, 5, 7, 8])
    with pytest.raises(cc.DataError, match=r"class dark loses 4 of 4 .*make an own cut"):
        cc.Pipeline.from_recipe(RECIPE).prepare(Parts(few, given["val"], given["test"]), show=False)


def test_the_val_of_the_command_line(npz, recipe, planted, tmp_path):
    other = sets(planted)["val"].replace(class_names=["0", "1", "2"]).save(tmp_path / "other.npz")
    words = ("--recipe", recipe, "--check")
    done = cellclf("run", f"{npz}:train", "--val", other, *words)
    assert done.exit_code == 0 and "gives: train 36, val 12; there is no test" in done.stdout, done.output
    done = cellclf("run", npz, "--val", other, *words)
    assert done.exit_code == 0 and "gives: train 36, val 12, test 15" in done.stdout, done.output
    done = cellclf("run", f"{npz}:train", "--val", f"{npz}:val", *words)
    assert done.exit_code == 0, done.output
    for words in (("--val", f"{npz}:train"), ("--cut", "own", "--val", other), ("--test", f"x={npz}:test")):
        done = cellclf("run", npz, *words, "--recipe", recipe, "--check")
        assert done.exit_code == 2, done.output
    done = cellclf("run", npz, "--test", f"test={other}", "--recipe", recipe, "--check")
    assert done.exit_code == 3 and "called 'test', which is a part of the split" in done.stderr
