"""``cellclf predict`` for people and for pipelines: lists on standard input, templates, formats, several runs."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

import cellclf as cc
from cellclf.cli import main

NAMES = ("basophil", "lymphocyte", "monocyte")


def predict(*words: object, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(main, ["predict", *map(str, words)], input=stdin)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def cells_of(shade: int, count: int, seed: int) -> cc.ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = shade + rng.integers(-12, 13, (count, 12, 12, 3))
    for k, label in enumerate(labels):
        images[k, 3:9, 3:9, label] += 70
    return cc.ImageSet(images.astype(np.uint8), labels, class_names=NAMES)


def saved(folder: Path, shade: int) -> Path:
    pixels = keras.Input((12, 12, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 64)(pixels))
    head = keras.layers.Dense(3, "softmax")
    model = keras.Model(pixels, head(pooled))
    head.set_weights([9 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    run = cc.Run(model, NAMES, manifest={"status": "finished"})
    run.calibrate(cells_of(shade, 60, 1), cells_of(shade, 60, 2))
    return run.save(folder)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("runs")
    return saved(root / "a", 40), saved(root / "b", 170)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve images on two slides, of two laboratories."""
    root = tmp_path_factory.mktemp("new cells")
    for slide, shade, seed in (("slide 1", 40, 3), ("slide 2", 170, 4)):
        (root / slide).mkdir()
        for k, image in enumerate(cells_of(shade, 6, seed).images):
            Image.fromarray(image).save(root / slide / f"cell {k}.png")
    return root


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_names_on_standard_input_are_the_images(runs: tuple[Path, Path], folder: Path, end: bytes) -> None:
    names = [str(path) for path in sorted(folder.glob("*/*.png"))[:4]]
    given = end.join(name.encode() for name in [*names, names[0], ""])
    done = predict(runs[0], "-", stdin=b"\xef\xbb\xbf" * (end == b"\r\n") + given)
    assert done.exit_code == 0, done.output
    assert [row["id"] for row in rows_of(done.stdout)] == names and "4 images" in done.stderr
    assert "standard input: 5 names, 1 of them again; each is read once" in done.stderr


def test_what_cannot_be_read_is_counted_and_gives_exit_code_4(
    runs: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    good = next(folder.glob("*/*.png"))
    done = predict(runs[0], "-", "--out", tmp_path / "a.jsonl", stdin=f"{good}\nno such.png\n{folder}\n".encode())
    assert done.exit_code == 4 and done.stdout == f"1 predictions of 3 inputs: {tmp_path / 'a.jsonl'}\n"
    assert "standard input: skipped no such.png: no such file" in done.stderr
    assert "3 inputs: 1 image\n" in done.stderr and "skipped (the table gives the reasons): 2" in done.stderr
    rows = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text("utf-8").splitlines()]
    assert [bool(row["skipped"]) for row in rows] == [False, True, True]
    assert predict(runs[0], "-", "--skip-ok", stdin=f"{good}\nno such.png\n".encode()).exit_code == 0
    assert predict(runs[0], "-", stdin=b"no such.png\n").exit_code == 1
    empty = predict(runs[0], "-", stdin=b"\n \n")
    assert empty.exit_code == 2 and "standard input names no file" in empty.stderr


def test_a_share_is_of_all_inputs(runs: tuple[Path, Path], folder: Path) -> None:
    good = "\n".join(map(str, folder.glob("slide 1/*.png")))
    done = predict(runs[0], "-", "--threshold", "0.001", "--refuse", "0", stdin=f"{good}\nx.png\ny.png\n".encode())
    assert "classified here: 75.0 % of the inputs" in done.stderr


def test_a_template_gives_columns_and_order(runs: tuple[Path, Path], folder: Path, tmp_path: Path) -> None:
    template = tmp_path / "sample_submission.csv"
    template.write_text("image,monocyte,basophil,lymphocyte\ncell 3.png,0,0,0\ncell 0.png,0,0,0\n", encoding="utf-8")
    done = predict(runs[0], folder / "slide 1", "--format", template)
    assert done.exit_code == 0, done.output
    head, *lines = done.stdout.splitlines()
    assert head == "image,monocyte,basophil,lymphocyte" and [line.split(",")[0] for line in lines] == [
        "cell 3.png",
        "cell 0.png",
    ]
    assert "4 images are not in sample_submission.csv and are left out" in done.stderr
    out = tmp_path / "submission.csv"
    done = predict(runs[0], folder / "slide 1", "--format", template, "--out", out)
    assert done.stdout == f"2 rows as in {template}: {out}\n" and out.read_text("utf-8").splitlines()[0] == head
    template.write_text("image,label\ncell 9.png,\n", encoding="utf-8")
    refused = predict(runs[0], folder, "--format", template, "--out", tmp_path / "b.csv")
    assert refused.exit_code == 1 and "have no prediction: cell 9.png" in refused.stderr
    assert not (tmp_path / "b.csv").exists()
    assert predict(runs[0], folder, "--format", template, "--out", template).exit_code == 2
    assert predict(runs[0], folder, "--format", tmp_path / "none.csv").exit_code == 2


def test_each_slide_gets_the_run_that_it_fits(runs: tuple[Path, Path], folder: Path) -> None:
    done = predict(*runs, folder, "--combine", "best-fit", "--group-from", "{group}/*")
    assert done.exit_code == 0, done.output
    rows = rows_of(done.stdout)
    assert {(row["id"].split("/")[0], row["run"]) for row in rows} == {
        ("slide 1", str(runs[0])),
        ("slide 2", str(runs[1])),
    }
    assert "slide 2, 6 images: " + str(runs[1]) in done.stderr
    whole = predict(*runs, folder / "slide 2", "--combine", "best-fit")
    assert {row["run"] for row in rows_of(whole.stdout)} == {str(runs[1])} and "all images, 6 images" in whole.stderr


def test_several_runs_are_averaged(runs: tuple[Path, Path], folder: Path) -> None:
    done = predict(*runs, folder, "--combine", "average")
    assert done.exit_code == 0 and "the mean of 2 runs" in done.stderr
    each = [rows_of(predict(run, folder).stdout) for run in runs]
    for mean, one, two in zip(rows_of(done.stdout), *each, strict=True):
        expected = (float(one["p_monocyte"]) + float(two["p_monocyte"])) / 2
        assert float(mean["p_monocyte"]) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{a}", "{b}"), "is the folder of a run; expected the images to predict as the last word"),
        (("{a}", "{b}", "{src}"), "2 runs .* say how: --combine average or --combine best-fit"),
        (("{a}", "{b}", "{src}", "--combine", "average", "--accuracy", ".9"), "--accuracy can be promised by one run"),
        (("{a}",), "Missing argument"),
        (("{a}", "{src}", "--out", "a.txt"), "expected a name that ends in .csv or .json or .jsonl"),
        (("{a}", "{src}", "--combine", "mean"), "'average', 'best-fit'"),
        (("{a}", "{src}", "--format", "jsonl"), "'jsonl' is no table to fill in; for a format write --out FILE.jsonl"),
        (("{a}", "{src}", "--accuracy", ".9", "--threshold", ".5"), "--accuracy chooses a threshold, and --threshold"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(
    runs: tuple[Path, Path], folder: Path, words: tuple[str, ...], message: str
) -> None:
    done = predict(*(word.format(a=runs[0], b=runs[1], src=folder) for word in words))
    assert done.exit_code == 2 and re.search(message, " ".join(done.stderr.split())), done.stderr


def test_a_single_run_may_be_combined_with_itself(runs: tuple[Path, Path], folder: Path) -> None:
    done = predict(runs[0], folder, "--combine", "average", "--runtime", "keras")
    assert done.exit_code == 0 and done.stdout == predict(runs[0], folder).stdout
