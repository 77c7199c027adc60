from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import textwrap
import tomllib
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import cellclf
from cellclf.backbones.registry import registry
from cellclf.cli import main
from cellclf.errors import CellclfWarning
from cellclf.evaluation.resilience import stored

COMMANDS = ["run", "demo", "inspect", "dedup", "leaks", "outliers", "train", "compare", "labels", "evaluate", "predict"]
COMMANDS += ["explain", "robustness", "augment", "backbones", "plugins"]

RECIPE = """
seed = 3

[dedup]

[split]
val = 0.25

[trainer]
backbone = { name = "residual", params = { filters = [16, 16, 16] } }
optimizer = "adamw"
batch_size = 16
head = { units = [], dropout = 0.0 }

[[trainer.stages]]
epochs = 2
learning_rate = 2e-3
"""

PLUGIN = """
    from cellclf import BackboneSpec, hookimpl

    def build(input_shape, *, weights, width):
        import keras
        pixels = keras.Input(input_shape, name="pixels")
        x = keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
        x = keras.layers.Conv2D(width, 3, strides=4, activation="relu", name="conv1")(x)
        x = keras.layers.Conv2D(width, 3, strides=2, activation="relu", name="conv2")(x)
        return keras.Model(pixels, x)

    @hookimpl
    def cellclf_backbones():
        return [BackboneSpec(name="twoconv", build=build, summary="two convolutions", source="a test", min_size=16,
                             blocks=("conv1", "conv2"), params={"width": 16})]
"""


def run(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def width_of(path):
    with Image.open(path) as picture:
        return picture.width


def install(folder, plugin, code):
    """Write what pip would leave behind of a package with an entry point."""
    (folder / f"pkg_{plugin}.py").write_text(textwrap.dedent(code), encoding="utf-8")
    info = folder / f"pkg_{plugin}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: pkg-{plugin}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[cellclf]\n{plugin} = pkg_{plugin}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Give a folder with two installed packages of strangers, one of them broken."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "good", PLUGIN)
    install(folder, "broken", "import nowhere_to_be_found")
    return folder


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """Give a generated set with copies and foreign pictures."""
    path = tmp_path_factory.mktemp("data") / "cells.npz"
    cells = cellclf.make_cells(64, size=40, seed=1, balance="even", duplicates=3, conflicts=2, foreign_copies=2)
    return cells.save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Give a folder with one folder for each class, and a torn file among them."""
    root = tmp_path_factory.mktemp("data") / "cells"
    cells = cellclf.make_cells(64, size=40, seed=2, balance="even", duplicates=1)
    for label, id_, picture in zip(cells.labels, cells.ids, cells.images, strict=True):
        place = root / cells.class_names[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{id_.replace(':', '-')}.png")
    whole = next((root / "platelet").glob("*.png")).read_bytes()
    (root / "platelet" / "torn.png").write_bytes(whole[:200])
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def finished(site, folder, npz, recipe, tmp_path_factory):
    """Do the whole job as a stranger would: in a shell, with a network from a package of its own."""
    out = tmp_path_factory.mktemp("runs") / "a"
    words = ["run", folder, "--recipe", recipe, "--backbone", "twoconv", "--param", "width=24", "--out", out]
    words += ["--test", f"copies={npz}", "--min-count", "9", "--seed", "5"]
    env = {**os.environ, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": ""}
    env.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command = [sys.executable, "-m", "cellclf", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return out, done


def test_the_run_says_what_it_does_and_ends_with_the_page(finished, folder):
    out, done = finished
    assert done.stdout.splitlines()[-1] == f"report: {out / 'report.html'}"
    assert (out / "report.html").is_file()
    assert "skipped platelet/torn.png" in done.stderr
    assert "duplicates: 65 pictures -> 64" in done.stderr
    assert "stage 1/1 epoch   2/2" in done.stderr
    assert "copies" in done.stdout and "macro F1" in done.stdout
    assert "oneDNN" not in done.stderr and "absl" not in done.stderr, "TensorFlow's chatter stays away"


def test_a_strangers_backbone_is_trained_and_recorded(finished):
    out, _ = finished
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["plugins"] == {"good": "pkg-good 1.0"}
    assert manifest["trainer"]["backbone"] == {"name": "good:twoconv", "weights": "none", "params": {"width": 24}}
    assert manifest["trainer"]["stages"][0]["unfreeze"] == "all", "random weights learn, whatever the recipe froze"
    assert manifest["command"].startswith("cellclf run ") and manifest["command"].endswith("--seed 5")
    stored = tomllib.loads((out / "recipe.toml").read_text(encoding="utf-8"))
    assert stored["split"] == {"val": 0.25, "test": 0.0, "seed": 5}
    with (out / "split.csv").open(newline="", encoding="utf-8") as file:
        parts = [row["part"] for row in csv.DictReader(file)]
    assert len(parts) == 66 and parts.count("skipped") == 1 and parts.count("dropped") == 1


def test_a_finished_run_evaluates(finished, npz):
    out, _ = finished
    table = run("evaluate", out, npz)
    assert table.exit_code == 0 and "macro F1" in table.stdout and "neutrophil" in table.stdout
    data = json.loads(run("evaluate", out, npz, "--json", "--min-count", "9").stdout)
    assert data["n"] == len(cellclf.load(npz)) and len(data["confusion"]) == 8
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["scores"]["copies"] == data


def test_a_finished_run_meets_bad_pictures(finished, npz, tmp_path):
    out, _ = finished
    plot = tmp_path / "curves.png"
    done = run("robustness", out, npz, "--limit", 16, "--plot", plot)
    assert done.exit_code == 0, done.output
    assert "medmnist-c: 16 pictures" in done.stdout and "jpeg_compression" in done.stdout and "BE " in done.stdout
    assert done.stdout.splitlines()[-1] == f"figures: {out / 'robustness.json'}" and width_of(plot) > 500
    (shown,) = stored(out)
    assert shown.n == 16 and len(shown.corruptions) == 11 and shown.seen == ()
    other = tmp_path / "other.json"
    done = run("robustness", out, npz, "--limit", 8, "--suite", npz, "--out", other)
    assert done.exit_code == 0 and json.loads(other.read_text(encoding="utf-8"))["suite"] == "cells"
    done = run("robustness", out, npz, "--suite", "medmnist")
    assert done.exit_code == 1 and "did you mean 'medmnist-c'?" in done.stderr.splitlines()[-1]


def test_a_finished_run_shows_where_it_looked(finished, npz, tmp_path):
    out, sheet = finished[0], tmp_path / "sheet.png"
    done = run("explain", out, npz, "--limit", 5, "--class", "monocyte", "--out", sheet)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(done.stdout.splitlines()[:-1]))
    assert len(rows) == 5 and {row["class"] for row in rows} == {"monocyte"}
    assert all(0 <= float(row["probability"]) <= 1 for row in rows)
    spoken = [int(row["x"]) for row in rows if row["x"]]  # for the class: Grad-CAM of a picture may be 0 everywhere
    assert spoken and all(0 <= x < 40 for x in spoken)
    assert done.stdout.splitlines()[-1] == f"picture: {sheet}" and width_of(sheet) > 300
    refused = run("explain", out, npz, "--class", "monocite", "--out", sheet)
    assert refused.exit_code == 1 and "did you mean 'monocyte'" in refused.stderr


def test_a_finished_run_predicts(finished, folder, npz, tmp_path):
    out, _ = finished
    target = tmp_path / "deep" / "named.csv"
    done = run("predict", out, folder, "--out", target)
    assert done.exit_code == 0 and done.stdout == f"65 predictions: {target}\n"
    with target.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    lost = rows.pop()
    assert lost["id"] == "platelet/torn.png" and "decoded" in lost["skipped"] and not lost["class"]
    names = cellclf.load_run(out).class_names
    shares = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-4)
    assert all(
        row["class"] in (names[k], "not a cell that I know") for row, k in zip(rows, shares.argmax(1), strict=True)
    )
    printed = run("predict", out, npz)
    assert printed.stdout.startswith("id,class,probability,") and len(printed.stdout.splitlines()) == 1 + len(
        cellclf.load(npz)
    )


def test_pictures_of_another_size_are_resized_for_a_run_or_refused(finished, tmp_path):
    out, _ = finished
    other = cellclf.make_cells(8, size=24)
    Image.fromarray(other[0]).save(tmp_path / "small.png")
    assert len(run("predict", out, tmp_path).stdout.splitlines()) == 2
    refused = run("predict", out, other.save(tmp_path / "small.npz"))
    assert refused.exit_code == 1 and refused.stderr.count("\n") == 1 and "40" in refused.stderr


def test_train_needs_no_recipe_steps_and_matches_classes_by_name(folder, recipe, finished, tmp_path):
    lacking = tmp_path / "val"
    for name in ("monocyte", "platelet"):
        (lacking / name).mkdir(parents=True)
        for file in sorted((folder / name).glob("cell*.png"))[:2]:
            (lacking / name / file.name).write_bytes(file.read_bytes())
    words = ("--recipe", recipe, "--weights", "none", "--set", "trainer.stages.0.epochs=1")
    done = run("train", folder, lacking, *words, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"run: {tmp_path / 'run'}"
    assert len(cellclf.load_run(tmp_path / "run").class_names) == 8


def test_plugins_and_backbones_are_listed_the_broken_one_with_its_error(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    registry.cache_clear()
    try:
        plugins, backbones = run("plugins").stdout, run("backbones").stdout
    finally:
        registry.cache_clear()
    assert "broken  (pkg-broken 1.0)\n    error: ModuleNotFoundError: No module named 'nowhere_to_be_found'" in plugins
    assert "good  (pkg-good 1.0)\n    adds good:twoconv" in plugins
    for name in ("good:twoconv", "mobilenet", "sequential", "residual", "inception"):
        assert f"{name}\n" in backbones
    assert '"width": 16' in backbones


def test_without_plugins_it_says_so(monkeypatch):
    monkeypatch.setenv("CELLCLF_PLUGINS", "")
    registry.cache_clear()
    try:
        assert run("plugins").stdout == "no plugin is installed\n"
    finally:
        registry.cache_clear()


def test_inspect_tells_and_draws(folder, tmp_path):
    done = run("inspect", folder, "--plot", tmp_path / "sheet.png")
    assert done.exit_code == 0
    for said in ("65", "40x40", "neutrophil", "torn.png"):
        assert said in done.stdout
    assert width_of(tmp_path / "sheet.png") > 200


def test_dedup_writes_all_that_is_asked_for(npz, tmp_path):
    files = {name: tmp_path / f"{name}.{end}" for name, end in zip("abcd", ("svg", "html", "csv", "npz"), strict=True)}
    words = ("--plot", files["a"], "--gallery", files["b"], "--pairs", files["c"], "--apply", files["d"])
    done = run("dedup", npz, *words)
    assert done.exit_code == 0, done.output
    cells, cleaned = cellclf.load(npz), cellclf.load(files["d"])
    assert f"{len(cells)} pictures -> {len(cleaned)}" in done.stdout and f"kept {len(cleaned)}: " in done.stdout
    assert f"gallery: {files['b']}" in done.stdout and "conflict" in files["b"].read_text(encoding="utf-8")
    assert files["a"].read_text(encoding="utf-8").startswith("<?xml")
    assert len(files["c"].read_text(encoding="utf-8").splitlines()) > 3
    assert set(cleaned.ids.tolist()) == set(cellclf.Dedup().apply(cells).ids.tolist())


def test_outliers_writes_the_ids_and_a_gallery(npz, tmp_path):
    done = run("outliers", npz, "--apply", tmp_path / "ids.csv", "--gallery", tmp_path / "odd.html")
    assert done.exit_code == 0, done.output
    with (tmp_path / "ids.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(cellclf.load(npz))
    assert all((row["keep"] == "True") == (row["reason"] == "") for row in rows)
    assert (tmp_path / "odd.html").stat().st_size > 1000


def test_leaks_finds_shared_pictures(npz, tmp_path):
    cellclf.load(npz)[:5].save(tmp_path / "test.npz")
    done = run("leaks", npz, tmp_path / "test.npz", "--pairs", tmp_path / "pairs.csv")
    assert done.exit_code == 0 and "5" in done.stdout
    assert len((tmp_path / "pairs.csv").read_text(encoding="utf-8").splitlines()) >= 6


def test_augment_lists_shows_and_draws(npz, tmp_path):
    listed = run("augment")
    assert listed.exit_code == 0 and "challenge" in listed.stdout and "stain" in listed.stdout
    shown = run("augment", "show", "report", "--strength", "0.5", "--seed", "9")
    table = tomllib.loads(shown.stdout)["trainer"]["augmenter"]
    expected = cellclf.Augmenter.preset("report", strength=0.5, seed=9)
    assert cellclf.Augmenter.from_dict({"seed": 9, **table}) == expected
    drawn = run("augment", "show", "none", "--plot", tmp_path / "a.png", "--on", npz)
    assert drawn.exit_code == 0 and width_of(tmp_path / "a.png") > 200
    assert run("augment", "show", "none", "--on", npz).exit_code == 2
    wrong = run("augment", "show", "reprot")
    assert wrong.exit_code == 1 and "did you mean 'report'" in wrong.stderr


def test_check_finds_nothing_or_everything(npz, recipe, tmp_path):
    good = run("run", npz, "--recipe", recipe, "--check")
    assert (good.exit_code, good.stdout) == (0, "no mistake found\n")
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    words = ("--set", "trainer.optimizer=lino", "--set", "split.val=2", "--test", f"val={npz}", "--out", tmp_path)
    bad = run("run", npz, "--recipe", recipe, "--check", *words)
    assert bad.exit_code == 3 and bad.stderr.count("\n") == 1
    for said in ("4 mistakes", "did you mean 'lion'", "val=2", "called 'val'", "is not empty"):
        assert said in bad.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
    for wrong in (("--set", "spilt.val=1"), ("--recipe", "fsat"), ("--backbone", "mobilnet")):
        done = run("run", npz, "--check", *wrong)
        assert done.exit_code == 3 and "did you mean" in done.stderr, wrong


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "nowhere.npz"), "there is no 'nowhere.npz'"),
        (("run", "{npz}", "--recipe", "fsat", "--out", "x"), "did you mean 'fast'"),
        (("run", "{npz}", "--recipe", "{recipe}", "--backbone", "resnet5", "--out", "x"), "did you mean 'resnet50'"),
        (("run", "{npz}", "--recipe", "{recipe}", "--param", "widht=3", "--out", "x"), "no parameter of backbone"),
        (("run", "{npz}", "--recipe", "{recipe}", "--set", "seed", "--out", "x"), "wanted key=value"),
        (("run", "{npz}", "--recipe", "{recipe}", "--out", "{folder}"), "is not empty and holds no run"),
        (("run", "{npz}", "--recipe", "{recipe}", "--out", "{npz}"), "is a file"),
        (("run", "{bare}", "--recipe", "{recipe}", "--out", "x"), "the pictures have no labels"),
        (("train", "{bare}", "{npz}", "--recipe", "{recipe}", "--out", "x"), "no labels"),
        (("dedup", "{npz}", "--method", "sha"), "no method of Dedup 'sha'"),
        (("outliers", "{npz}", "--method", "forrest"), "did you mean 'forest'"),
        (("dedup", "{npz}", "--apply", "{npz}/cells.csv"), "File exists"),
        (("evaluate", "{folder}", "{npz}"), "holds no run"),
    ],
)
def test_an_expected_error_is_one_line_and_exit_code_1(words, message, npz, recipe, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bare = cellclf.load(npz).replace(labels=None).save(tmp_path / "bare.npz")
    places = {"npz": npz, "recipe": recipe, "folder": folder, "bare": bare}
    done = run(*(word.format(**places) for word in words))
    assert done.exit_code == 1
    assert message in done.stderr and done.stderr.startswith("cellclf: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("runn",),
        ("run", "{npz}"),
        ("inspect",),
        ("inspect", "{npz}", "--plot", "sheet.gif"),
        ("dedup", "{npz}", "--apply", "cells.txt"),
        ("dedup", "{npz}", "--gallery", "cells.pdf"),
        ("dedup", "{npz}", "--keep", "last"),
        ("run", "{npz}", "--check", "--test", "{npz}", "--test", "{npz}"),
        ("demo", "-n", "3"),
    ],
)
def test_a_command_line_that_is_not_understood_is_exit_code_2(words, npz):
    done = run(*(word.format(npz=npz) for word in words))
    assert done.exit_code == 2 and "Usage: " in done.stderr


def test_a_stop_by_the_keyboard_is_exit_code_130(npz, monkeypatch):
    def stopped(*words, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cellclf, "load", stopped)
    done = run("inspect", npz)
    assert done.exit_code == 130 and "the same command goes on" in done.stderr


def test_a_warning_is_one_line_told_once(npz, monkeypatch):
    cells = cellclf.load(npz)

    def warning(*words, **options):
        for _ in range(2):
            warnings.warn("a class is small", CellclfWarning, stacklevel=2)
        return cells

    monkeypatch.setattr(cellclf, "load", warning)
    done = run("inspect", npz)
    assert done.exit_code == 0 and done.stderr == "note: a class is small\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command):
    done = run(command, "--help")
    assert done.exit_code == 0 and done.stdout.startswith("Usage: ")
    assert command in run("--help").stdout


def test_help_loads_nothing_heavy_and_no_backend_says_how_to_get_one():
    code = (
        "import sys; sys.argv = ['cellclf', '--help']\n"
        "from cellclf.cli import main; main(standalone_mode=False)\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'sklearn', 'PIL', 'matplotlib', 'jinja2', 'pluggy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    code = "import sys; sys.modules['tensorflow'] = None\nfrom cellclf.cli import main; main(['predict', 'a', 'b'])"
    env = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert done.stderr == "cellclf: Keras has no backend to run on: pip install 'cellclf[cpu]' brings TensorFlow\n"


@pytest.mark.slow
def test_the_demo_ends_with_a_page_and_sensible_scores(tmp_path):
    done = run("demo", "--out", tmp_path / "demo")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == f"report: {tmp_path / 'demo' / 'report.html'}"
    report = json.loads((tmp_path / "demo" / "report.json").read_text(encoding="utf-8"))
    assert report["scores"]["test"]["macro_f1"]["value"] > 0.8
    assert "planted: 48 of 48 copies, 12 of 12 cells under two labels" in done.stdout
