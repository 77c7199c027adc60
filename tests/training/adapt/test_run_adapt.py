"""Adapting a run: what goes in, what comes back and stays in its folder, what is refused."""

from __future__ import annotations

import json
import shutil
import warnings

import numpy as np
import pytest
from helpers.levels import NAMES, level_run, levels
from helpers.levels import there as another_laboratory

import cellclf as cc
from cellclf.errors import CellclfWarning, DataError, OptionError, RunFolderError, UnknownNameError
from cellclf.evaluation import Adaptation
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.provenance import weights_sha256
from cellclf.training.adapt import reader
from cellclf.training.adapt import run as adapting
from cellclf.training.adapt.calibrate import calibrate_there
from cellclf.training.adapt.labels import joined, match


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return level_run(tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def there():
    return another_laboratory()


EVERY_SIZE = reader.ZOOMS


@pytest.fixture(autouse=True)
def one_size(monkeypatch):
    """Leave out the other sizes, which take most of the time."""
    monkeypatch.setattr(reader, "ZOOMS", (1.0,))


def some(cells, rows):
    return {cells.ids[row]: cells.class_names[cells.labels[row]] for row in rows}


def unlabelled(cells):
    return cells.replace(labels=None)


@pytest.fixture(scope="module")
def adapted(root, there, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "ZOOMS", (1.0,))
        labels = some(there, range(24)) | {there.ids[24]: "unsure", there.ids[25]: "not a cell"}
        return root.adapt(unlabelled(there), labels, out=tmp_path_factory.mktemp("runs") / "b", show=False)


# --- what comes back


@pytest.mark.backend
def test_labels_bring_what_the_summary_says(root, there, adapted):
    rest = there[26:]
    before, after = (run.evaluate(rest).balanced_accuracy for run in (root, adapted))
    assert before < 0.75 and after > before + 0.15
    found = adapted.adaptation
    assert found.after.low <= after <= found.after.high and found.helps
    assert found.counts == {"label": 24, "unsure": 1, "not_a_cell": 1, "unanswered": 0}
    assert found.cells == 90 and found.labelled == tuple(there.ids[:24]) and adapted.class_names == NAMES
    text = str(found)
    assert text.startswith("balanced accuracy there ") and "24 of 90 cells labelled" in text
    assert "1 unsure and ignored, 1 not a cell" in text and "home " in text and "chosen: " in text


def test_what_helps_nobody_says_so_first(root, there):
    dealt = np.random.default_rng(3).permutation(there.labels[:24])
    wrong = {id_: NAMES[label] for id_, label in zip(there.ids[:24], dealt, strict=True)}
    assert str(root.adapt(unlabelled(there), wrong, show=False).adaptation).startswith("NOT SHOWN TO HELP")


@pytest.mark.backend
def test_the_folder_holds_everything_and_is_read_as_it_was(root, there, adapted):
    names = {path.name for path in adapted.folder.iterdir()}
    assert {"model.keras", "manifest.json", "confidence.npz", "adaptation.json", "labelled.csv"} <= names
    again = cc.load_run(adapted.folder)
    np.testing.assert_allclose(again.predict_proba(there), adapted.predict_proba(there), atol=1e-6)
    assert again.adaptation.to_dict() == adapted.adaptation.to_dict() and again.decisions.rows == adapted.decisions.rows
    parent = again.manifest["parent"]
    assert parent["folder"] == str(root.folder) and parent["sha256"] == weights_sha256(root.model)
    assert repr(again).startswith(f"Run: 3 classes, adapted from {root.folder}")
    copy = Adaptation.from_dict(json.loads(json.dumps(again.adaptation.to_dict(), allow_nan=False)))
    assert str(copy) == str(adapted.adaptation)


def test_home_is_scored_and_classes_without_labels_do_not_fall_there(root, there):
    two = [row for row in range(40) if there.labels[row] < 2]
    kept = root.adapt(unlabelled(there), some(there, two), show=False)
    shown = root.adapt(unlabelled(there), some(there, two), home=levels(120, seed=9), show=False)
    for run in (kept, shown):
        home = run.adaptation.home
        assert home.recalls["light"][1] >= home.recalls["light"][0] - 0.05
        assert home.after >= home.before - 0.1 and home.change.low <= home.change <= home.change.high
    assert "features kept with the run" in kept.adaptation.home.source and kept.adaptation.home.cells == 90
    own = levels(120, seed=9)
    assert shown.evaluate(own).balanced_accuracy >= root.evaluate(own).balanced_accuracy - 0.1


def test_without_home_cells_the_home_score_is_unknown(root, there):
    bare = cc.Run(root.model, root.class_names, manifest=root.manifest)
    found = bare.adapt(unlabelled(there), some(there, range(24)), show=False).adaptation
    assert found.home is None and "home score unknown: pass home=" in str(found)


def test_a_new_class_is_learnt_and_can_be_answered(root):
    cells = levels(80, seed=6, low=60, step=45, tint=40, names=(*NAMES, "glow"))
    made = root.adapt(unlabelled(cells), some(cells, range(32)), show=False)
    assert made.class_names == (*NAMES, "glow") and "new class: 'glow'" in str(made.adaptation)
    assert made.evaluate(cells[32:]).balanced_accuracy > 0.7


def test_an_adapted_run_does_what_a_run_does(there, adapted, tmp_path):
    predicted = adapted.report_predictions(unlabelled(there), error=0.1)
    assert predicted.sets.sum(1).mean() < 3 and predicted.ood_score is not None
    assert adapted.report_predictions(there[:4]).sets.all(), "24 labels promise nothing at 1 %"
    assert "promise prediction sets with an error of 4 % or more" in str(adapted.adaptation)
    assert adapted.explain(there[:2]).heat.shape[0] == 2
    with pytest.raises(OptionError, match="cannot be promised"):
        adapted.report_predictions(there, accuracy=0.99)


@pytest.mark.tensorflow("files for other programs are written")
def test_an_adapted_run_is_exported(there, adapted, tmp_path):
    pytest.importorskip("tf2onnx", reason="pip install 'cellclf[export]'")
    made = adapted.export(tmp_path / "b.onnx", check=there[:16], show=False)
    assert made.difference <= 1e-4


def test_an_adaptation_is_repeated(there, root, tmp_path):
    unlabelled(there).save(tmp_path / "there.npz")
    root.adapt(tmp_path / "there.npz", some(there, range(20)), out=tmp_path / "c", seed=4, show=False)
    found = cc.rerun(tmp_path / "c", show=False)
    assert found.matches and str(found).startswith("the same")
    (tmp_path / "there.npz").unlink()
    again = cc.rerun(tmp_path / "c", cells=unlabelled(there), show=False)
    assert again.matches


# --- what is read, and what is promised


def test_all_cells_are_read_in_the_chosen_size_and_few_in_the_others(root, there, monkeypatch):
    monkeypatch.setattr(reader, "ZOOMS", EVERY_SIZE)
    monkeypatch.setattr(reader, "_SAMPLE", 30)
    monkeypatch.setattr(reader, "_VIEWED", {True: 20, False: 12})
    picked, others = np.arange(5), np.arange(89, 4, -1)
    made = reader.Reader(root.model, there, picked, others, None)
    found = made.sample()
    assert set(found) == set(EVERY_SIZE) and made.pool.tolist() == [*range(5), *range(89, 4, -1)]
    assert found[1.0].pool.shape[0] == 90 and found[1.5].pool.shape[0] == 30 and found[1.5].views.shape[:2] == (8, 12)
    whole = made.whole(1.5)
    assert whole.pool.shape[0] == 90 and whole is made.whole(1.5) and made.whole(1.0) is found[1.0]
    np.testing.assert_allclose(whole.pool[:30], found[1.5].pool, atol=1e-4)
    directly, given = FeatureReader(root.model, layers=made.layers).read_views(there, made.pool)
    np.testing.assert_allclose(found[1.0].pool, directly[0], atol=1e-4)
    np.testing.assert_allclose(found[1.0].pool_given, given[0], atol=1e-5)


def test_a_few_cells_promise_nothing(root, there):
    made, notices = calibrate_there(
        root.model, there, np.arange(12), labels=there.labels[:12], crossed=np.full((12, 3), 1 / 3), classes=3
    )
    assert made is None and "12 cells are too few" in notices[0]


def test_images_that_are_not_a_cell_set_the_limit(root, there):
    black = cc.ImageSet(np.zeros((2, 24, 24, 3), np.uint8) + np.uint8([[[[0, 255, 0]]]]), ids=["x", "y"])
    cells = cc.ImageSet(np.concatenate([there.images, black.images]), ids=[*there.ids, "x", "y"])
    made = root.adapt(cells, some(there, range(24)) | {"x": "not a cell"}, show=False)
    assert "1 of 1 images that are not a cell are found as out-of-distribution" in made.adaptation.notices
    found = made.report_predictions(cells)
    assert found.out_of_distribution[-2:].all() and found.out_of_distribution[:-2].mean() <= 0.05


# --- rounds


def test_three_rounds_are_one(root, there):
    once = root.adapt(unlabelled(there), some(there, range(24)), show=False)
    run = root
    for rows in (range(8), range(8, 16), range(16, 24)):
        run = run.adapt(unlabelled(there), some(there, rows), show=False)
    assert run.adaptation.rounds == 3 and ", in 3 rounds" in str(run.adaptation)
    np.testing.assert_allclose(run.predict_proba(there), once.predict_proba(there), atol=1e-6)


def test_a_further_round_from_a_folder_starts_from_the_run_it_came_from(root, there, adapted):
    loaded = cc.load_run(adapted.folder)
    changed = {there.ids[0]: NAMES[1]}
    made = loaded.adapt(unlabelled(there), changed | some(there, range(30, 36)), show=False)
    assert made.manifest["parent"] == adapted.manifest["parent"] and made.adaptation.rounds == 2
    assert len(made.adaptation.labelled) == 30 and made.decisions.labels[there.ids[0]] == "grey"
    assert "1 answer of earlier rounds changed" in str(made.adaptation)


def test_a_run_whose_parent_is_lost_goes_on_with_the_network_in_it(root, there, adapted, tmp_path):
    shutil.copytree(adapted.folder, tmp_path / "b")
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text("utf-8"))
    manifest["parent"]["folder"] = str(tmp_path / "gone")
    (tmp_path / "b" / "manifest.json").write_text(json.dumps(manifest), "utf-8")
    lost = cc.load_run(tmp_path / "b")
    start, (notice,) = adapting.root_of(lost)
    np.testing.assert_allclose(start.predict_proba(there), root.predict_proba(there), atol=1e-6)
    assert "is not found" in notice and "home score is unknown" in notice
    made = lost.adapt(unlabelled(there), some(there, range(30, 36)), show=False)
    assert made.class_names == NAMES and notice in made.adaptation.notices
    with pytest.raises(RunFolderError, match="cannot be repeated"):
        cc.rerun(tmp_path / "b", cells=unlabelled(there))


TIMES = ("2026-01-01T10:00:00Z", "2026-01-02T10:00:00Z")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("round", ""), ("lobed", ""), "lobed"),
        (("round", TIMES[0]), ("lobed", TIMES[1]), "lobed"),
        (("round", TIMES[1]), ("lobed", TIMES[0]), "round"),
        (("round", TIMES[1]), ("lobed", ""), "lobed"),
        (("round", TIMES[1]), ("", ""), "round"),
        (("", TIMES[1]), ("lobed", TIMES[0]), "lobed"),
    ],
)
def test_a_later_answer_counts(first, second, expected):
    tables = [
        cc.Decisions([cc.data.Decision("a", "label" if label else "", label, time=when)])
        for label, when in (first, second)
    ]
    assert joined(*tables).labels == {"a": expected}


def test_earlier_labels_of_cells_that_are_not_there_are_kept_but_not_used():
    cells = levels(6, seed=1)
    earlier = cc.Decisions.from_labels({"elsewhere": "dark"})
    found = match(cc.Decisions.from_labels(some(cells, range(6))), cells, NAMES, earlier=earlier)
    assert len(found.rows) == 6 and "elsewhere" in found.decisions.ids
    assert any("1 decision of earlier rounds cannot be used" in notice for notice in found.notices)


# --- folders


def test_the_same_call_reads_what_is_finished_and_another_one_is_refused(there, adapted):
    labels = some(there, range(24)) | {there.ids[24]: "unsure", there.ids[25]: "not a cell"}
    again = adapted.parent.adapt(unlabelled(there), labels, out=adapted.folder, show=False)
    assert again.adaptation.to_dict() == adapted.adaptation.to_dict()
    for changes in ({"labels": some(there, range(12))}, {"seed": 1}, {"classes": NAMES}):
        with pytest.raises(RunFolderError, match="choose a new folder"):
            adapted.parent.adapt(unlabelled(there), **({"labels": labels} | changes), out=adapted.folder)


def test_a_kill_in_the_middle_loses_nothing(root, there, tmp_path, monkeypatch):
    def killed(*_, **__):
        raise KeyboardInterrupt

    labels, out = some(there, range(12)), tmp_path / "d"
    with monkeypatch.context() as patch:
        patch.setattr(adapting, "calibrate_there", killed)
        with pytest.raises(KeyboardInterrupt):
            root.adapt(unlabelled(there), labels, out=out, show=False)
    with pytest.raises(RunFolderError, match="not finished; start the same adaptation again"):
        cc.load_run(out)
    with pytest.raises(RunFolderError, match="choose a new folder"):
        root.adapt(unlabelled(there), labels, seed=3, out=out)
    (out / "model.keras").write_bytes(b"as a kill between two files leaves it")
    files = list((out / "features-read").iterdir())
    assert files, "what was read before the kill"
    files[0].write_bytes(b"as a failing disk leaves it")
    read = []
    with monkeypatch.context() as patch:
        before = FeatureReader.read_views
        patch.setattr(FeatureReader, "read_views", lambda *args, **more: read.append(1) or before(*args, **more))
        made = root.adapt(unlabelled(there), labels, out=out, show=False)
    assert len(read) == 2, "the damaged file alone is read again: some cells in all views, the others in one"
    assert not (out / "features-read").exists()
    whole = root.adapt(unlabelled(there), labels, show=False)
    np.testing.assert_array_equal(made.predict_proba(there), whole.predict_proba(there))
    np.testing.assert_allclose(cc.load_run(out).predict_proba(there), made.predict_proba(there), atol=1e-6)
    with pytest.raises(RunFolderError, match="holds another run"):
        root.adapt(unlabelled(there), labels, out=root.folder)


# --- without labels


def test_without_labels_the_run_comes_back_unchanged_and_says_so(root, there, monkeypatch):
    monkeypatch.setattr(reader, "ZOOMS", EVERY_SIZE)
    with pytest.warns(CellclfWarning, match="the run is unchanged; label 25 cells"):
        made = root.adapt(unlabelled(there), show=False)
    np.testing.assert_array_equal(made.predict(there), root.predict(there))
    assert "what it is worth there is not known" in str(made.adaptation)


def test_without_labels_only_the_classes_that_occur_are_answered(root, there):
    made = root.adapt(unlabelled(there), classes=["light", "grey"], show=False)
    assert made.class_names == ("grey", "light")
    given = root.predict_proba(there)[:, 1:]
    np.testing.assert_allclose(made.predict_proba(there), given / given.sum(1, keepdims=True), atol=1e-5)
    assert made.adaptation.home.after >= made.adaptation.home.before
    assert list(made.adaptation.home.recalls) == ["grey", "light"]
    assert "every set holds all classes" in str(made.adaptation)


def test_labels_of_the_cells_are_not_used_unless_they_are_given(root, there):
    with pytest.warns(CellclfWarning, match="unchanged"):
        made = root.adapt(there, show=False)
    assert "the labels of these cells are not used" in str(made.adaptation)
    assert len(root.adapt(there, there[:20], show=False).adaptation.labelled) == 20


# --- what is refused, or used with a warning


def table(tmp_path, *rows, head="id,label"):
    (tmp_path / "labelled.csv").write_text("\n".join([head, *rows]) + "\n", "utf-8")
    return tmp_path / "labelled.csv"


@pytest.mark.parametrize(
    ("labels", "kind", "words"),
    [
        ({"5-0": "dark", "7-1": "grey"}, DataError, "the id '7-1' is not in the set"),
        ({"x": "dark", "y": "grey"}, DataError, "is it the table of another set"),
        ({"5-0": "dark", "5-3": "dark"}, DataError, "labels are all 'dark'; expected two classes or more"),
        ({"5-0": "dark", "5-1": "grey"}, DataError, "no class has two labels"),
        ({}, DataError, "the table is empty"),
        ({"5-0": "unsure", "5-1": "unsure"}, DataError, "none of the 2 cells has a label .2 unsure."),
        ({"5-0": "drak", "5-1": "grey"}, DataError, "'drak' .did you mean 'dark'"),
        ({"5-0": 1, "5-1": 2}, DataError, "'1' is a number; expected a class name"),
        (7, OptionError, "labels=7; expected the path of a table"),
        (".", OptionError, "is a folder; expected a table"),
        ("nowhere.csv", cc.CellclfError, "nowhere.csv"),
    ],
)
def test_labels_that_cannot_be_used_are_one_line(root, there, labels, kind, words):
    with pytest.raises(kind, match=words) as caught:
        root.adapt(unlabelled(there), labels)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("rows", "head", "words"),
    [
        (["5-0,dark", "5-0,grey"], "id,label", "different answers to 1 cell"),
        (["5-0,dark,0.9"], "id,class,probability", "holds predictions, not labels"),
        (["dark"], "label", "expected a first line with the columns id and label"),
        ([], "id,label", "none of the 0 cells has a label"),
    ],
)
def test_tables_that_cannot_be_used_are_one_line(root, there, tmp_path, rows, head, words):
    with pytest.raises(DataError, match=words):
        root.adapt(unlabelled(there), table(tmp_path, *rows, head=head))


def test_a_table_that_a_spreadsheet_saved_is_read(there, tmp_path):
    rows = [f"{id_};{name}" for id_, name in some(there, range(6)).items()]
    decisions = cc.load_decisions(table(tmp_path, *rows, head="sep=;\nid;label"))
    assert len(match(decisions, there, NAMES).rows) == 6


def test_classes_that_cannot_be_meant_are_one_line(root, there):
    labels = some(there, range(12))
    with pytest.raises(UnknownNameError, match=r"'drak'; did you mean 'dark'"):
        root.adapt(unlabelled(there), classes=["drak", "grey"])
    with pytest.raises(DataError, match=r"labelled 'light', which classes= .* leaves out"):
        root.adapt(unlabelled(there), labels, classes=["dark", "grey"])
    for classes in ("dark", ["dark"], [1, 2]):
        with pytest.raises(OptionError, match="classes="):
            root.adapt(unlabelled(there), classes=classes)


def test_other_arguments_that_cannot_be_used_are_one_line(root, there):
    labels = some(there, range(12))
    with pytest.raises(OptionError, match="the run is an ensemble"):
        cc.ensemble([root, root]).adapt(unlabelled(there), labels)
    with pytest.raises(DataError, match="no labels"):
        root.adapt(unlabelled(there), labels, home=unlabelled(there))
    with pytest.raises(DataError, match="2 cells of the new laboratory; expected"):
        root.adapt(there[:2], labels)
    for seed in (-1, 0.5, "a", True):
        with pytest.raises(OptionError, match="seed="):
            root.adapt(unlabelled(there), labels, seed=seed)


def test_a_single_label_of_a_class_is_used_with_a_warning(there):
    labels = some(there, [0, 3, 1, 4, 2])
    found = match(cc.Decisions.from_labels(labels), there, NAMES)
    assert any("a single label of light" in notice for notice in found.notices)


def test_cells_of_another_size_are_resized_with_a_notice(root, there):
    small = cc.ImageSet(there.images[:, ::2, ::2].copy(), ids=there.ids)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = root.adapt(small, some(there, range(20)), show=False)
    assert any("12x12 pixels are resized to the 24x24" in str(one.message) for one in caught)
    assert made.input_shape == (24, 24, 3)
