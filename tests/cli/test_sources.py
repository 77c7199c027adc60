"""SRC on the command line: parts, tables that chain, columns by name, and outputs that never fall on a source."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.command import run
from PIL import Image

import cellclf


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Give an npz of three parts; one image of the test part is in the training part, too."""
    cells = cellclf.make_cells(30, size=32, seed=3)
    path = tmp_path_factory.mktemp("parts") / "blood.npz"
    images, labels = cells.images, cells.labels
    np.savez(
        path, train_images=images[:20], train_labels=labels[:20], val_images=images[20:24], val_labels=labels[20:24],
        test_images=np.concatenate([images[24:], images[:1]]), test_labels=np.append(labels[24:], labels[:1]),
    )  # fmt: skip
    return path


@pytest.fixture
def files(tmp_path):
    """Give a folder of files in two classes, one of them twice, and a table of them."""
    cells = cellclf.make_cells(24, size=32, seed=1)
    rows = ["file,cell_type,patient"]
    for k in range(24):
        path = tmp_path / "cells" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(cells.images[k]).save(path)
        rows.append(f"cells/{'ab'[k % 2]}/{k}.png,{'ab'[k % 2]},p{k % 4}")
    (tmp_path / "cells" / "a" / "copy.png").write_bytes((tmp_path / "cells" / "a" / "0.png").read_bytes())
    rows.append("cells/a/copy.png,a,p0")
    (tmp_path / "cells.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("{src}:train", "{src}:test"),
        ("{src}", "{src}", "--part", "train"),
        ("{src}", "{src}:test", "--part", "train"),
        ("{src}:train", "{src}"),
    ],
)
def test_leaks_compares_two_parts(parts, words):
    done = run("leaks", *(word.format(src=parts) for word in words))
    assert done.exit_code == 0 and "1 of 20 training images is also among the 7 test images" in done.stdout
    assert ("the part 'test' is read" in done.stderr) == (words[1] == "{src}")


@pytest.mark.parametrize(
    "words",
    [
        ("leaks", "{src}:train", "{src}:train"),
        ("leaks", "{src}:test", "{src}"),
        ("leaks", "{src}", "{src}", "--part", "test"),
        ("leaks", "{src}", "{src}:training", "--part", "train"),
        ("leaks", "{folder}", "{folder}"),
        ("leaks", "{folder}", "{folder}/."),
        ("run", "{src}:test", "--test", "{src}", "--check"),
        ("run", "{src}", "--part", "val", "--test", "x={src}:val", "--check"),
        ("run", "{folder}", "--test", "{folder}", "--check"),
        ("run", "{src}:val", "--val", "{src}", "--check"),
        ("run", "{folder}", "--val", "{folder}", "--check"),
    ],
)
def test_nothing_is_compared_with_itself(parts, files, words):
    done = run(*(word.format(src=parts, folder=files / "cells") for word in words))
    assert done.exit_code == 2 and "would be compared with itself" in done.stderr


def test_a_set_with_parts_needs_one_named_first(parts):
    done = run("leaks", parts, parts)
    assert done.exit_code == 1 and "FILE:train" in done.stderr and done.stderr.count("\n") == 1
    done = run("run", f"{parts}:train", "--test", f"later={parts}", "--recipe", "demo", "--check")
    assert done.exit_code == 0 and "the part 'test' is read" in done.stderr


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_chain(files, ending, monkeypatch):
    monkeypatch.chdir(files)
    done = run("dedup", "cells.csv", "--apply", f"out/clean.{ending}")
    assert done.exit_code == 0 and f"kept 24: out/clean.{ending}" in done.stdout.replace("\\", "/")
    clean = cellclf.load(f"out/clean.{ending}")
    assert len(clean) == 24 and clean.class_names == ("a", "b") and len({*clean.groups.tolist()}) == 4
    done = run("outliers", f"out/clean.{ending}", "--apply", f"cleaner.{ending}")
    assert done.exit_code == 0, done.output
    assert {*cellclf.load(f"cleaner.{ending}").ids.tolist()} <= {*clean.ids.tolist()}
    done = run("run", f"cleaner.{ending}", "--recipe", "demo", "--check", "--set", "split.val=0.3")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("command", "option", "name"),
    [
        ("dedup", "--apply", "cells.csv"),
        ("dedup", "--pairs", "cells.csv"),
        ("outliers", "--apply", "cells.csv"),
        ("dedup", "--apply", "link.csv"),
        ("dedup", "--plot", "cells/a/0.png"),
    ],
)
def test_an_output_is_never_the_source(files, command, option, name, monkeypatch):
    monkeypatch.chdir(files)
    (files / "link.csv").symlink_to(files / "cells.csv")
    src = "cells" if name.startswith("cells/") else "cells.csv"
    before = (files / name).read_bytes()
    done = run(command, src, option, name)
    assert done.exit_code == 2 and "is read from; expected another name" in done.stderr
    assert (files / name).read_bytes() == before


def test_an_npz_is_not_written_onto_itself_and_fits_in_no_table(npz):
    before = npz.read_bytes()
    assert run("dedup", npz, "--apply", npz).exit_code == 2
    done = run("dedup", npz, "--apply", npz.with_name("t.csv"))
    assert done.exit_code == 1 and "ends in .npz" in done.stderr and not npz.with_name("t.csv").exists()
    assert npz.read_bytes() == before


def test_columns_and_a_root_are_named(files, monkeypatch):
    monkeypatch.chdir(files)
    (files / "lists").mkdir()
    text = (files / "cells.csv").read_text().replace("file,cell_type,patient", "which one,what it is,of whom")
    (files / "lists" / "t.csv").write_text(text)
    done = run("inspect", "lists/t.csv", "--root", ".")
    assert done.exit_code == 1 and "'what it is' looks like the label" in done.stderr
    words = ("--columns", "path=which one,label=what it is,group=of whom", "--root", ".")
    done = run("inspect", "lists/t.csv", *words)
    assert done.exit_code == 0 and "groups: 4 patients" in done.stdout
    assert run("inspect", "lists/t.csv", "--columns", "label", "--root", ".").exit_code == 2
    done = run("inspect", "lists/t.csv", "--columns", "label=what it is,group=", "--root", ".")
    assert done.exit_code == 0 and "groups" not in done.stdout.partition("note")[0]
    (files / "other.csv").write_text(text)  # a further table with the same columns, and one with others
    Image.new("RGB", (32, 32), "white").save(files / "white.png")
    (files / "third.csv").write_text("path\nwhite.png\n")
    for other in ("other.csv", "third.csv"):
        done = run("leaks", "lists/t.csv", other, *words)
        assert done.exit_code == 0, done.output


def test_patients_from_paths(files):
    done = run("inspect", files / "cells", "--group-from", "{label}/{group}.png")
    assert done.exit_code == 0 and "groups: 25 patients" in done.stdout
    done = run("inspect", files / "cells", "--group-from", "{label}/*")
    assert done.exit_code == 0 and "groups" not in done.stdout
    done = run("inspect", files / "cells", "--group-from", "{patient}/*")
    assert done.exit_code == 1 and "{label}/{group}/*" in done.stderr


def test_boxes_are_cut_out(files):
    Image.new("RGB", (60, 60), "white").save(files / "field.png")
    (files / "boxes.csv").write_text(
        "image,label,xmin,ymin,xmax,ymax\nfield.png,a,0,0,20,20\nfield.png,b,30,30,50,50\n"
    )
    done = run("inspect", files / "boxes.csv")
    assert done.exit_code == 1 and "--margin 0.1" in done.stderr
    done = run("inspect", files / "boxes.csv", "--margin", "0")
    assert done.exit_code == 0 and "2 images 20x20" in done.stdout


def test_a_set_with_parts_is_inspected_whole(parts, files, monkeypatch):
    done = run("inspect", parts)
    assert done.exit_code == 0, done.output
    assert f"{parts} gives a cut, which `cellclf run` takes as it is:" in done.stdout
    assert "20        4        7" in done.stdout
    assert "31 images 32x32" in done.stdout and "20 images" in run("inspect", f"{parts}:train").stdout


def test_a_test_set_is_not_called_as_a_training_source(files, monkeypatch):
    monkeypatch.chdir(files)
    (files / "other").mkdir()
    done = run("run", "cells", "b=cells.csv", "--test", "b=other", "--recipe", "demo", "--check")
    assert done.exit_code == 2 and "'b' names a training source and a --test set" in done.stderr


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("split", ["train", "val", "unused"], "'train', 'unused', 'val'"),
        ("Split", ["0", "1"], "'0', '1'"),
        ("is_test", ["True", "False"], "'False', 'True'"),
    ],
)
def test_a_column_of_other_parts_is_not_trained_on_unseen(files, monkeypatch, name, values, said):
    monkeypatch.chdir(files)
    head, *rows = (files / "cells.csv").read_text().splitlines()
    lines = [f"{head},{name}", *(f"{row},{values[k % len(values)]}" for k, row in enumerate(rows))]
    (files / "cut.csv").write_text("\n".join(lines) + "\n")
    done = run("run", "cut.csv", "--recipe", "demo", "--check")
    assert done.exit_code == 3 and done.stderr.count("\n") == 1
    assert (
        f"the column {name!r} of cut.csv holds " in done.stderr and "or --columns part= to read all rows" in done.stderr
    )
    assert all(repr(value) in done.stderr for value in values)
    assert run("inspect", "cut.csv", "--columns", "part=").exit_code == 0


@pytest.mark.parametrize(("words", "second"), [(("64", "--part", "train"), "--part"), (("64", "0"), "0")])
def test_size_of_one_number_is_explained(parts, words, second):
    done = run("inspect", parts, "--size", *words)
    assert done.exit_code == 2
    assert f"{second!r} is no side in pixels; expected height and width, such as --size 96 96" in done.stderr
