from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

import cellclf as cc
from cellclf.data.generated import planted
from cellclf.data.image_set import Skipped
from cellclf.errors import DataError, OptionError, RunFolderError, UnknownNameError
from cellclf.pipeline.prepared import count_copies, split_table

TINY = [
    "trainer.batch_size=16",
    "trainer.backbone.params.filters=[16, 16, 16]",
    "trainer.head.units=[]",
    "trainer.stages.0.epochs=2",
    "trainer.augmenter={ steps = [{ step = 'flip' }] }",
]


def tiny(*settings):
    return cc.Pipeline.from_recipe("demo", [*TINY, *settings])


@pytest.fixture(scope="module")
def cells():
    """Give 80 cells of 40 pixels on five slides, with copies, cells under two labels, and a non-cell image."""
    made = cc.make_cells(
        80, size=40, seed=3, balance="even", duplicates=4, conflicts=2, near_duplicates=2, foreign=1, foreign_copies=2
    )
    return cc.ImageSet(
        made.images,
        made.labels,
        class_names=made.class_names,
        ids=made.ids,
        skipped=[Skipped("cut.png", "truncated file")],
        notices=["2 grey images became RGB"],
    )


@pytest.fixture(scope="module")
def external():
    """Give cells of another laboratory; one class has two images."""
    made = cc.make_cells(40, size=40, seed=4, balance="even", severity=0.5)
    few = np.flatnonzero(made.labels == 7)[2:]
    return made.subset(np.setdiff1d(np.arange(len(made)), few))


@pytest.fixture(scope="module")
def outcome(cells, external, tmp_path_factory):
    """Do the whole job once for the module."""
    folder = tmp_path_factory.mktemp("runs") / "a"
    pipe = tiny("split.test=0.15")
    return pipe.run(cells, out=folder, tests={"external": external}, show=False, command="cellclf run", min_count=3)


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_run_folder_is_complete(outcome):
    folder = outcome.page.parent
    assert {file.name for file in folder.iterdir()} == {
        "model.keras",
        "confidence.npz",
        "features.npz",
        "manifest.json",
        "history.csv",
        "recipe.toml",
        "split.csv",
        "report.json",
        "report.html",
        "report.md",
        "map.html",
    }
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["status"] == "finished" and manifest["command"] == "cellclf run"
    assert len(rows_of(folder / "history.csv")) == 2


def test_every_image_stands_once_in_the_split_table(outcome, cells):
    rows = rows_of(outcome.page.parent / "split.csv")
    assert [row["id"] for row in rows] == [*cells.ids.tolist(), "cut.png"]
    prepared = outcome.prepared
    for name, part in (("train", prepared.train), ("val", prepared.val), ("test", prepared.parts.test)):
        assert {row["id"] for row in rows if row["part"] == name} == set(part.ids.tolist())
        assert len(part) > 0
    assert {row["part"] for row in rows} == {"train", "val", "test", "dropped", "skipped"}
    assert all(bool(row["reason"]) == (row["part"] in ("dropped", "skipped")) for row in rows)
    assert rows[-1] == {"id": "cut.png", "part": "skipped", "reason": "truncated file"}
    assert {row["id"] for row in rows if row["part"] not in ("dropped", "skipped")} == set(prepared.after.ids.tolist())


def test_what_was_planted_is_gone(outcome, cells):
    kept = set(outcome.prepared.after.ids.tolist())
    truth = planted(cells)
    assert not any(kept & set(pair) for pair in truth.pairs("relabelled"))
    assert not any(kept.issuperset(pair) for pair in truth.pairs())
    duplicates = outcome.prepared.removals["duplicates"]
    crowd = duplicates.keep[np.char.startswith(cells.ids, "foreign-crowd")]
    assert crowd.sum() == 1, "two copies under one label are an oversight: one is kept for the outlier filter"
    reasons = duplicates.reasons[np.char.startswith(cells.ids, "foreign-everywhere")]
    assert len(reasons) == 16 and all(reason.startswith("conflict") for reason in reasons.tolist())


def test_the_parts_share_no_image_and_no_cluster(outcome):
    parts = outcome.prepared.parts
    for column in ("ids", "clusters"):
        train, val, test = (set(getattr(part, column).tolist()) for part in (parts.train, parts.val, parts.test))
        assert not train & val and not train & test and not val & test


def test_the_report_files_say_what_the_outcome_says(outcome):
    data = json.loads((outcome.page.parent / "report.json").read_text(encoding="utf-8"))
    assert list(data["scores"]) == ["train", "val", "test", "external"] == list(outcome.reports)
    for name, report in outcome.reports.items():
        assert data["scores"][name] == json.loads(json.dumps(report.to_dict()))
    assert data["removed"]["duplicates"]["kept"] == int(outcome.prepared.removals["duplicates"].keep.sum())
    assert data["skipped"] == [{"id": "cut.png", "reason": "truncated file"}]
    assert data["notices"] == ["2 grey images became RGB"]
    assert data["copies"] == {"test": 0, "external": 0}
    assert {"duplicates", "outliers", "leaks", "training", "evaluation"} <= set(data["seconds"])


def test_images_of_further_sets_that_the_training_saw_are_counted_and_reported(outcome, external):
    prepared = outcome.prepared
    seen = [prepared.train.images[0][:, ::-1], prepared.train.images[1], prepared.val.images[0]]
    apart = prepared.parts.test.images[:2]
    images = np.concatenate([external.images[:9], seen, apart])
    tests = {"b": cc.ImageSet(images, np.zeros(len(images), int), class_names=["any"]), "external": external}
    with pytest.warns(cc.CellclfWarning, match="the set 'b': 3 of its 14 images are copies of training") as caught:
        assert count_copies(prepared, tests, cc.Dedup()) == {"test": 0, "b": 3, "external": 0}
    assert len(caught) == 1


def keys_of(data, above=""):
    """Give the paths of all keys down to what the page of the report describes in one row."""
    for key, value in data.items():
        path = f"{above}{key}"
        if path.count(".") < 2 and isinstance(value, dict) and key not in ("copies", "domain_shifts", "seconds"):
            yield from keys_of(value, f"{path}.")
        else:
            yield path


def test_every_key_of_the_report_is_documented(outcome):
    data = json.loads((outcome.page.parent / "report.json").read_text(encoding="utf-8"))
    page = Path(__file__).parents[2].joinpath("docs/reference/report.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    known = {key: row for row in rows for key in re.findall(r"`([^`]+)`", row.split(" | ")[0])}
    for path in keys_of(data):
        general = re.sub(r"^scores\.[^.]+", "scores.NAME", path)
        step = re.sub(r"^removed\.[^.]+", "removed.STEP", general)
        assert {general, step, f"{path}.NAME"} & set(known), f"{path} is not described"

    def missing(key, entry):
        return [name for name in entry if f"`{name}`" not in known[key]]

    for scores in data["scores"].values():
        assert not missing("scores.NAME.classes", scores["classes"][0])
        assert not [name for pair in scores["most_confused"] for name in missing("scores.NAME.most_confused", pair)]
    assert not missing("removed.STEP.removed", data["removed"]["outliers"]["removed"][0])
    assert not missing("removed.duplicates.groups", data["removed"]["duplicates"]["groups"][0])
    assert not missing("domain_shifts.NAME", data["domain_shifts"]["external"])
    assert data["schema"] == 2


def test_the_markdown_says_what_the_outcome_says(outcome):
    text = (outcome.page.parent / "report.md").read_text(encoding="utf-8")
    for name, role in (("test", ""), ("external", ""), ("val", " (chosen on)"), ("train", " (trained on)")):
        report = outcome.reports[name]
        score = report.macro_f1
        shown = f"{100 * score:.1f} ({100 * score.low:.1f}-{100 * score.high:.1f})"
        assert f"| {name}{role} | {report.n} | {shown} |" in text
    for part in (
        "## Classes on test",
        "Most confused:",
        "duplicates: ",
        "cut.png",
        "cellclf run",
        "Made with",
        "## Cost",
    ):
        assert part in text


def test_the_map_shows_every_set(outcome, external):
    text = (outcome.page.parent / "map.html").read_text(encoding="utf-8")
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])
    prepared = outcome.prepared
    sizes = {"train": len(prepared.train), "val": len(prepared.val), "test": len(prepared.parts.test)}
    assert data["sets"] == ["train", "val", "test", "external"]
    assert np.bincount(data["set"]).tolist() == [*sizes.values(), len(external)]
    assert data["label"] == [
        int(label) for part in (prepared.train, prepared.val, prepared.parts.test, external) for label in part.labels
    ]
    called = outcome.reports["external"].predicted.tolist()
    assert data["predicted"][-len(called) :] == called
    assert "cell-0" not in text, "file names may hold names of patients"
    words = outcome.page.read_text(encoding="utf-8")
    assert f"{sizes['train']} of train" in words and "cells in two dimensions, by set" in words


def test_the_page_needs_nothing_from_elsewhere(outcome):
    page = outcome.page.read_text(encoding="utf-8")
    found = re.findall(r"""(?:src|href)\s*=\s*["'](?!data:|#)[^"']+["']|@import|url\((?!["']?(?:data:|#))""", page)
    assert found == ['href="map.html"'], "a link to the page beside it, which loads nothing either"
    for part in ("external", "macro F1", "cut.png", "cellclf run", "residual"):
        assert part in page


def test_small_classes_of_further_sets_stay_out_of_the_averages(outcome):
    assert list(outcome.reports["external"].left_out) == ["platelet"]
    assert not outcome.reports["val"].left_out


def test_the_stored_recipe_makes_the_same_pipeline(outcome):
    again = cc.Pipeline.from_recipe(outcome.page.parent)
    assert again.to_dict() == tiny("split.test=0.15").to_dict()


def test_the_same_call_reads_the_finished_run(outcome, cells, external):
    folder = outcome.page.parent
    before = (folder / "model.keras").stat().st_mtime_ns
    again = cc.Pipeline.from_recipe(folder).run(cells, out=folder, tests={"external": external}, show=False)
    assert (folder / "model.keras").stat().st_mtime_ns == before
    assert again.reports["external"].accuracy == outcome.reports["external"].accuracy
    np.testing.assert_array_equal(cc.load_run(folder).predict_proba(external), outcome.run.predict_proba(external))


def test_a_run_of_other_settings_leaves_the_folder_alone(outcome, cells):
    folder = outcome.page.parent
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    with pytest.raises(RunFolderError, match="holds a run of other"):
        tiny("split.test=0.15", "trainer.batch_size=8").run(cells, out=folder, show=False)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_several_mistakes_are_reported_at_once(cells, external, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    pipe = tiny(
        "split.val=1.5",
        "trainer.optimizer=lino",
        "trainer.stages.0.learning_rate=-1",
        "trainer.head.dropout=2",
        "trainer.augmenter.strength=99",
        "dedup.keep=last",
        "outliers.method=tree",
        "expand.preset=heavy",
        "downsample.target=1.5",
    )
    with pytest.raises(OptionError) as caught:
        pipe.check(cells, tests={"val": external}, out=tmp_path)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("11 mistakes: ")
    for part in ("val=1.5", "'lion'", "learning_rate=-1", "dropout=2", "strength=99", "'last'", "'tree'", "'heavy'"):
        assert message.count(part) == 1, part
    for part in ("target=1.5", "a further set is called 'val'", "is not empty"):
        assert message.count(part) == 1, part


def test_mistakes_in_the_images_are_not_hidden_by_those_in_the_options(cells):
    one_class = cells.subset(cells.labels == 2)
    with pytest.raises(OptionError, match=r"2 mistakes: Trainer batch_size=0.*all training images are of the class"):
        tiny("trainer.batch_size=0").check(one_class)


def test_a_single_mistake_keeps_its_kind(cells, external, tmp_path):
    for wrong, error, message in (
        (tiny("trainer.optimizer=lino"), UnknownNameError, "did you mean 'lion'"),
        (tiny("split.val=0"), DataError, "the validation set is empty"),
        (tiny("trainer.stages.0.unfreeze=9"), OptionError, "has 3 blocks"),
        (tiny("trainer.backbone.name=residaul"), UnknownNameError, "did you mean 'residual'"),
        (tiny("trainer.class_weight={ red = 2.0 }"), cc.CellclfError, "red"),
    ):
        with pytest.raises(error, match=message):
            wrong.check(cells)
    good = tiny()
    good.check(cells, tests={"external": external}, out=tmp_path)
    with pytest.raises(DataError, match="no labels"):
        good.check(cells.replace(labels=None))
    with pytest.raises(DataError, match="all training images are of the class 'eosinophil'"):
        good.check(cells.subset(cells.labels == 1))
    with pytest.raises(OptionError, match="8x8 are too small for backbone 'mobilenet': expected at least 32x32"):
        cc.Pipeline.from_recipe("fast").check(cc.ImageSet(np.zeros((9, 8, 8, 3), np.uint8), [0, 1, 2] * 3))
    with pytest.raises(DataError, match="the set 'b' has images of 24x24, expected 40x40"):
        good.check(cells, tests={"b": cc.make_cells(8, size=24)})
    with pytest.raises(DataError, match="the set 'b': the run knows no class 'blast'"):
        good.check(cells, tests={"b": external.replace(class_names=[*external.class_names[:7], "blast"])})
    with pytest.raises(DataError, match="the set 'b' is empty"):
        good.check(cells, tests={"b": external[:0]})
    with pytest.raises(OptionError, match="a further set is called ''; expected a name"):
        good.check(cells, tests={"": external})
    with pytest.raises(DataError, match="expected a name for each set"):
        good.run(cells, tests=external, out=tmp_path / "run")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is a file"):
        good.check(cells, out=tmp_path / "file")


def test_nothing_is_touched_when_the_check_fails(cells, tmp_path):
    with pytest.raises(UnknownNameError):
        tiny("trainer.optimizer=lino").run(cells, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_class_of_one_image_works(cells):
    rare = np.flatnonzero(cells.labels == 7)[1:]
    few = cells.subset(np.setdiff1d(np.arange(len(cells)), rare))
    prepared = tiny("outliers=").prepare(few)
    assert prepared.train.counts()["platelet"] + prepared.val.counts()["platelet"] <= 1


def test_only_the_training_part_is_balanced_expanded_and_learnt_from(cells):
    pipe = tiny("downsample.target=min", "expand.preset=none", "expand.copies=1", "split.test=0.1")
    prepared = pipe.prepare(cells)
    train = [id_ for id_ in prepared.train.ids.tolist() if "@aug" not in id_]
    assert len(prepared.train) == 2 * len(train)
    counts = prepared.train.counts().values()
    assert len(set(counts)) == 1
    assert not any("@aug" in id_ for part in (prepared.val, prepared.parts.test) for id_ in part.ids.tolist())
    assert set(prepared.removals["balance"].ids.tolist()) <= set(prepared.parts.train.ids.tolist())
    assert not hasattr(pipe.outliers, "_ordinary"), "a pipeline leaves its filter as it was given"
    own = cc.OutlierFilter(seed=7).fit(prepared.parts.train)
    found = prepared.removals["outliers"]
    np.testing.assert_array_equal(own.find(found.cells).keep, found.keep)
    assert not set(found.ids.tolist()) & set(prepared.parts.test.ids.tolist())
    parts = [row.split(",")[1] for row in split_table(prepared).splitlines()[1:]]
    assert len(parts) == len(cells) + 1 and parts.count("train") == len(train)


def test_a_pipeline_of_ones_own_parts_needs_no_recipe(cells):
    pipe = cc.Pipeline(
        trainer=cc.Trainer(backbone="residual"), outliers=cc.OutlierFilter(embed=lambda x: x[:, 0, 0], max_loss=1.0)
    )
    table = pipe.to_dict()
    assert set(table) == {"split", "outliers", "trainer"} and table["outliers"]["embed"].startswith("function ")
    assert cc.Pipeline.from_recipe(table, ["outliers.embed=none"]).trainer == pipe.trainer
    assert pipe.prepare(cells).removals.keys() == {"outliers"}
