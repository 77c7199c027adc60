"""A whole job that continues a run: the old laboratory mixed in or not, and what was lost there."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pytest
from helpers.command import run as command

import cellclf as cc
from cellclf.evaluation.significance import points
from cellclf.pipeline.home import Joined, home_cells, measure_home, part_of, split_beside
from cellclf.training.start import parent_of

MADE = {"n": 64, "size": 40, "seed": 3, "balance": "even"}
NEW = {"n": 40, "size": 40, "seed": 8, "balance": "even", "severity": 0.5}
RECIPE = {
    "seed": 1,
    "split": {"val": 0.25},
    "dedup": {},
    "trainer": {
        "batch_size": 16,
        "optimizer": "adamw",
        "backbone": {"name": "residual", "params": {"filters": [16, 16, 16]}},
        "head": {"units": [], "dropout": 0.1},
        "stages": [{"epochs": 1, "learning_rate": 3e-3, "unfreeze": "all", "train_batch_norm": True}],
    },
}
STAGES = [{"epochs": 1, "learning_rate": 1e-3}]


@pytest.fixture(scope="module")
def old():
    return cc.make_cells(**MADE)


@pytest.fixture(scope="module")
def new():
    """Give cells of another laboratory: another spelling, another order, one class missing, one that is new."""
    made = cc.make_cells(**NEW)
    names = [name.upper() for name in made.class_names]
    names[0] = "blast"
    return made.replace(class_names=names, ids=[f"there/{id_}" for id_ in made.ids.tolist()])


@pytest.fixture(scope="module")
def parent(old, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "a"
    cc.Pipeline.from_recipe(RECIPE).run(old, out=out, show=False, source={"made": MADE})
    return out


def continuing(parent, **changes):
    trainer = {"start": str(parent), "stages": STAGES, "batch_size": 16, "optimizer": "adamw"}
    return cc.Pipeline.from_recipe({**RECIPE, "trainer": trainer, **changes})


@pytest.fixture(scope="module")
def alone(parent, new, tmp_path_factory):
    """Continue on the new laboratory alone; the old images can be made again from the manifest."""
    out = tmp_path_factory.mktemp("runs") / "b"
    with pytest.warns(cc.CellclfWarning, match="no training image of"):
        return continuing(parent).run(new, out=out, show=False, source={"made": NEW})


@pytest.fixture(scope="module")
def mixed(parent, new, old, tmp_path_factory):
    """Continue with images of the old laboratory, at the command line; give the folder and what was printed."""
    root = tmp_path_factory.mktemp("mixed")
    there, here = new.save(root / "new.npz"), old.save(root / "old.npz")
    words = ("--start", parent, "--set", "trainer.stages.0.epochs=1", "--set", "trainer.stages.1.epochs=1")
    done = command("run", there, here, *words, "--out", root / "c")
    assert done.exit_code == 0, done.output
    return root / "c", done


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def test_with_new_images_alone_nothing_is_mixed_in_and_the_loss_is_measured(alone, parent, old, new):
    first = cc.load_run(parent)
    assert alone.run.class_names == (*first.class_names, "blast")
    assert {*alone.prepared.before.ids.tolist()} == {*new.ids.tolist()}
    home = alone.home
    val = [id_ for id_, part in part_of(parent).items() if part == "val"]
    assert home.before.n == len(val) == first.manifest["split"]["val"]
    theirs = old.subset(np.isin(old.ids, val))
    assert float(home.before.accuracy) == pytest.approx(float(first.evaluate(theirs).accuracy))
    assert float(home.after.accuracy) == pytest.approx(float(alone.run.evaluate(theirs).accuracy))
    folder = alone.page.parent
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert f"In the laboratory that it comes from: on {len(val)} validation images of {parent}" in text, name
    section = (folder / "report.html").read_text(encoding="utf-8").partition('id="home"')[2].partition("</section>")[0]
    assert points(home.difference.balanced_accuracy) in section
    name, before, after = home.lost()[0]
    support = next(one.support for one in home.before.classes if one.name == name)
    row = re.sub(r"<[^>]+>", " ", section.partition("<tbody>")[2].partition("</tr>")[0]).split()
    assert (
        row[0] == name
        and row[1] == str(support)
        and [float(row[2]), float(row[4])] == pytest.approx([100 * before, 100 * after], abs=0.05)
    )
    assert ("The class that lost most comes first" in section) == (after < before)
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["home"]["before"]["n"] == len(val)
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["home"] == home.short()
    assert home.summary() in str(alone)


def test_images_of_the_old_laboratory_are_mixed_in_and_keep_their_parts(mixed, parent, old, new):
    folder, done = mixed
    before, parts = part_of(parent), part_of(folder)
    mine = {id_: parts.get(id_) for id_ in old.ids.tolist()}
    assert [id_ for id_, part in before.items() if mine[id_] not in (part, None)] == [], "trained on again, or never"
    val = list(mine.values()).count("val")
    assert val and "train" in mine.values()
    assert f"home: on {val} validation images of home the balanced accuracy was" in done.stdout
    with (folder / "split.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(new) + len(old)
    manifest = manifest_of(folder)
    assert manifest["split"]["home"] == len(old)
    assert manifest["trainer"]["batch_size"] == 16, "the recipe of the run that is continued"
    assert [stage["learning_rate"] for stage in manifest["trainer"]["stages"]] == [1e-4, 2e-5]
    assert manifest["source"]["home"]["src"].endswith("old.npz")


def test_the_validation_images_of_both_laboratories_are_found_again(mixed, new):
    folder, _ = mixed
    found = home_cells(parent_of(folder), Joined(new), new)
    assert found.words == f"validation images of {folder}"
    assert len(found.cells) == manifest_of(folder)["split"]["val"]


def test_a_run_with_images_of_home_is_repeated(mixed, new):
    folder, _ = mixed
    again = command("rerun", folder)
    assert again.exit_code == 0 and again.stdout.startswith("the same, bit for bit"), again.output
    with pytest.raises(cc.RunFolderError, match="mixed images of its own laboratory in; expected two sets"):
        cc.rerun(folder, cells=new, show=False)


def test_rerun_checks_the_run_that_was_continued(alone, new, parent, tmp_path):
    folder = alone.page.parent
    first = cc.load_run(parent)
    manifest = {key: value for key, value in first.manifest.items() if key != "end_sha256"}
    first.model.set_weights([value + 1 for value in first.model.get_weights()])
    other = cc.Run(first.model, first.class_names, manifest=manifest).save(tmp_path / "other")
    with pytest.raises(cc.RunFolderError, match=r"other is not the run that .* continued: its weights are others"):
        cc.rerun(folder, cells=new, start=other, show=False)
    with pytest.raises(cc.RunFolderError, match="did not continue a run; expected no start"):
        cc.rerun(parent, start=other, show=False)
    moved = tmp_path / "moved"
    shutil.copytree(parent, moved)
    with pytest.warns(cc.CellclfWarning, match="no training image of"):
        found = cc.rerun(folder, cells=new, start=moved, show=False)
    assert found.matches and found.exact, str(found)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ({}, "the source of the images is not named"),
        ({"src": "/nowhere/cells"}, "cannot be read"),
        ({"made": {**MADE, "seed": 4}}, "have changed since it was trained"),
        ({"made": {"nonsense": 1}}, "cannot be read"),
        ({"train": {}, "val": {}}, "the source of the images is not named"),
    ],
)
def test_an_unknown_home_score_says_what_to_pass(parent, new, tmp_path, source, match):
    copy = tmp_path / "a"
    shutil.copytree(parent, copy)
    (copy / "manifest.json").write_text(json.dumps(manifest_of(copy) | {"source": source}), encoding="utf-8")
    opened = parent_of(copy)
    found = measure_home(opened, cc.load_run(parent), home_cells(opened, Joined(new), new))
    assert found.before is None
    assert str(found).startswith("home score unknown: ") and match in str(found)
    assert "cellclf run NEW OLD" in str(found)
    (copy / "split.csv").unlink()
    assert home_cells(parent_of(copy), Joined(new), new).cells is None


@pytest.mark.filterwarnings("ignore:no training image:cellclf.CellclfWarning")
def test_home_without_a_start_or_without_labels_is_refused(parent, new, old):
    with pytest.raises(cc.OptionError, match="the trainer has no start"):
        cc.Pipeline.from_recipe(RECIPE).check(new, home=old)
    with pytest.raises(cc.OptionError, match=r"2 mistakes: .*batch_size=0.*home holds 64 images"):
        pipe = continuing(parent)
        pipe.trainer = pipe.trainer.set_params(batch_size=0)
        pipe.check(new, home=old.replace(labels=None))
    with pytest.raises(cc.RunFolderError, match="start='runs/nowhere' does not exist"):
        continuing("runs/nowhere").check(new)


@pytest.mark.filterwarnings("ignore:no training image:cellclf.CellclfWarning")
def test_a_cut_that_is_given_is_taken_as_it_is(parent, new, old):
    parts = cc.Split(val=0.25, seed=1).apply(new)
    pipe = continuing(parent)
    pipe.check(parts)
    found = pipe.prepare(parts, show=False)
    assert found.given == ("val",) and found.val.ids.tolist() == parts.val.ids.tolist()
    assert found.train.class_names == found.val.class_names and found.train.class_names[-1] == "blast"
    with pytest.raises(cc.OptionError, match="home= and a cut that is given"):
        pipe.check(parts, home=old)


def test_home_images_of_unknown_ids_bring_a_warning(parent, new, old):
    other = old.replace(ids=[f"{k}" for k in range(len(old))])
    with pytest.warns(cc.CellclfWarning, match="does not say which of the home images it was trained on"):
        found = continuing(parent).prepare(new, home=other, show=False)
    assert len(found.before) == len(old) + len(new)


def test_what_hangs_together_with_an_image_of_a_known_part_is_in_that_part():
    images = np.zeros((10, 8, 8, 3), np.uint8)
    groups = ["p", "p", "q", "q", "r", "s", "t", "u", "v", "w"]
    cells = cc.ImageSet(images, [0, 1] * 5, groups=groups)
    parts = split_beside(cc.Split(val=0.3, seed=1), cells, {"0": "val", "2": "train", "3": "test"})
    assert {"0", "1", "3"} <= set(parts.val.ids.tolist()) and "2" in parts.train.ids
    assert len(parts.train) + len(parts.val) == 10 and not len(parts.test)
    assert "3" in split_beside(cc.Split(val=0.3, test=0.2, seed=1), cells, {"3": "test"}).test.ids


@pytest.mark.parametrize(
    ("words", "code", "match"),
    [
        (["--start", "RUN", "--backbone", "mobilenet"], 2, "--start .* and --backbone mobilenet: backbone, head and"),
        (["--start", "RUN", "--weights", "none", "--param", "alpha=1"], 2, "--weights none, --param alpha=1"),
        (["--start", "RUN", "--size", "32", "32"], 2, "the size comes from the run; expected no --size"),
        (["OLD", "OLD", "--start", "RUN"], 2, "and 3 SRC; expected NEW, or NEW and OLD"),
        (["--start", "runs/nowhere"], 3, "--start runs/nowhere does not exist; expected the --out folder"),
        (["--start", "RUN"], 0, "no mistake found"),
        (["--start", "RUN", "--recipe", "fast", "--seed", "4"], 0, "no mistake found"),
    ],
)
def test_the_options_of_the_command(parent, old, tmp_path, words, code, match):
    path = old.save(tmp_path / "old.npz")
    shutil.copy(path, tmp_path / "again.npz")
    given = [{"RUN": parent, "OLD": tmp_path / "again.npz"}.get(word, word) for word in words]
    done = command("run", path, *given, "--check")
    assert done.exit_code == code and re.search(match, " ".join(done.output.split())), done.output


@pytest.mark.slow
def test_a_continued_run_is_cross_validated(parent, new):
    found = cc.cross_validate(continuing(parent), new, folds=2, show=False)
    assert found.class_names[-1] == "blast" and found.probabilities.shape == (len(found.ids), 9)


def test_what_a_recipe_that_continues_a_run_is_not_for(parent, new):
    with pytest.raises(cc.OptionError, match="expected it alone"):
        cc.cross_validate({"a": continuing(parent), "b": continuing(parent)}, new, folds=2)
    recipe = {"trainer": {"start": str(parent)}}
    with pytest.raises(cc.OptionError, match="whose backbone cannot be another one"):
        cc.compare(new, [{"name": "sequential"}], recipe=recipe, out=parent.parent / "compared")
