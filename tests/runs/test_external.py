"""External validation: what is scored, what is left out, what is compared, and what would help."""

from __future__ import annotations

import dataclasses
import json

import keras
import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import DataError, OptionError, UnknownNameError
from cellclf.evaluation.intervals import Estimate
from cellclf.runs.external import counterparts

NAMES = ("dark", "grey", "light")


def level(batch_norm):
    """Give three classes by the mean level of an image, not trained."""
    pixels = keras.Input((16, 16, 3))
    x = keras.layers.GlobalAveragePooling2D()(pixels)
    if batch_norm:
        norm = keras.layers.BatchNormalization()
        x = norm(x)
        norm.moving_mean.assign(np.full(3, 120.0))
        norm.moving_variance.assign(np.full(3, 2400.0))
    dense = keras.layers.Dense(3, activation="softmax")
    model = keras.Model(pixels, dense(x))
    scale = 1.0 if batch_norm else 1 / 49
    middle = 0.0 if batch_norm else 120.0
    centres = np.array([-60, 0, 60]) / 49
    weight = np.tile(4 * centres / 3, (3, 1)) * scale
    dense.set_weights([weight, -2 * centres**2 - 4 * centres * middle * scale])
    return model


def make_images(n, *, seed, shift=0.0, names=NAMES, noise=14):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % len(names)
    levels = 60 + 60 * labels + shift + rng.normal(0, noise, n)
    images = np.clip(levels[:, None, None, None] + rng.normal(0, 5, (n, 16, 16, 3)), 0, 255).astype(np.uint8)
    return cc.ImageSet(images, labels, class_names=names)


@pytest.fixture(scope="module")
def run():
    return cc.Run(level(True), NAMES)


@pytest.fixture(scope="module")
def own():
    return make_images(150, seed=1)


@pytest.fixture(scope="module")
def found(run, own):
    return run.external(make_images(120, seed=2, shift=35), reference=own)


def test_the_drop_is_the_difference_of_two_reports(run, own, found):
    there, here = run.evaluate(own), run.evaluate(make_images(120, seed=2, shift=35))
    assert there.balanced_accuracy > 0.9 and found.drop.after == pytest.approx(here.balanced_accuracy)
    assert found.drop.before == pytest.approx(there.balanced_accuracy)
    assert found.drop.difference.low < found.drop.difference < found.drop.difference.high < 0
    assert {one.name: one.after for one in found.recalls} == pytest.approx({c.name: c.recall for c in here.classes})


def test_labels_undo_a_shift(found):
    assert [one.name for one in found.remedies] == ["as it is", "8 views"]
    views = found.remedies[1]
    assert views.gain.macro_f1 == 0 and views.gain.p_value == 1, "turned images have the same mean level"
    (few,) = found.label_gains
    assert (few.count, few.n, few.draws) == (25, 120, 2)
    assert few.balanced_accuracy > 0.9 and few.gain.low > 0
    assert few.gain == pytest.approx(few.balanced_accuracy - found.report.balanced_accuracy)
    assert "50 labels were not tried: half of these cells are 60; expected 100 or more" in " ".join(str(found).split())


def test_labels_do_not_change_what_needs_none(run, found):
    cells = make_images(120, seed=2, shift=35)
    turned = run.external(cells.replace(labels=2 - cells.labels), label_counts=())
    assert not turned.label_gains
    for one, other in zip(found.remedies, turned.remedies, strict=True):
        np.testing.assert_array_equal(one.report.probabilities, other.report.probabilities)


def test_the_classes_that_occur_are_a_remedy(run):
    cells = make_images(90, seed=2, shift=-25, noise=20, names=("dark", "light")).replace(class_names=("grey", "light"))
    # grey is shifted to look dark: a run that knows that dark does not occur calls it grey
    found = run.external(cells, label_counts=(), min_count=3)
    assert [one.name for one in found.remedies] == ["as it is", "8 views", "its 2 classes", "its 2 classes, 8 views"]
    assert found.occurring == ("grey", "light") and found.best.name == "its 2 classes"
    assert found.best.gain.balanced_accuracy.low > 0
    given = found.remedies[2].report.probabilities
    np.testing.assert_allclose(given.sum(1), 1)
    assert (given[:, 0] == 0).all()
    words, command = found.next_steps()[0]
    assert words.startswith("without labels, its 2 classes") and command.startswith(
        "cellclf adapt RUN SRC --classes grey,light"
    )
    assert "Which classes occur there was taken from the labels" in " ".join(str(found).split())


def test_the_next_command_can_be_typed(run, found):
    (_, command), (_, adapt) = found.next_steps()
    assert command == "cellclf suggest RUN SRC --count 25 --out label.html"
    assert adapt == "cellclf adapt RUN SRC --labels labelled.csv --out runs/adapted"
    there = dataclasses.replace(found, run="runs/a", source="hospital b/")
    assert "cellclf suggest runs/a 'hospital b/' --count 25" in str(there)
    assert "cellclf suggest runs/a 'hospital b/' --count 25" in there.to_markdown()
    assert there.to_dict()["next"][0]["command"].startswith("cellclf suggest runs/a 'hospital b/'")
    good = run.external(make_images(120, seed=2), label_counts=())
    assert good.next_steps() == [] and "next:" not in str(good)


def test_more_labels_are_named_only_if_they_bring_more(found):
    few = found.label_gains[0]

    def chosen(*gains):
        made = [dataclasses.replace(few, count=c, gain=Estimate(g, g - 0.1, g + 0.1)) for c, g in gains]
        steps = dataclasses.replace(found, label_gains=tuple(made)).next_steps()
        return steps[0][1] if steps else ""

    assert "--count 25 " in chosen((25, 0.2), (50, 0.22))
    assert "--count 50 " in chosen((25, 0.2), (50, 0.25))
    assert "--count 50 " in chosen((25, 0.05), (50, 0.12)), "25 are not shown to help"
    assert chosen((25, 0.05), (50, 0.06)) == ""


@pytest.mark.parametrize("bad", [2, 2.5, "25", True])
def test_label_counts_are_numbers(run, bad):
    with pytest.raises(OptionError, match="expected whole numbers of 4 or more"):
        run.external(make_images(60, seed=5), label_counts=(25, bad))


def test_another_spelling_is_the_same_class(run):
    external = make_images(60, seed=5).replace(class_names=("Dark", "gr\u0435y", "LIGHT "))
    matched, unmatched = counterparts(external, NAMES, {})
    assert matched[:3].tolist() == [0, -1, 2] and list(unmatched) == ["gr\u0435y"], "a Cyrillic letter is another one"
    matched, unmatched = counterparts(external, NAMES, {"Dark": None, "gr\u0435y": "grey"})
    assert matched[:3].tolist() == [-1, 1, 2] and unmatched == {"Dark": "excluded by the mapping"}
    matched, _ = counterparts(external, ("dark", "DARK", "light"), {})
    assert matched[:3].tolist() == [-1, -1, 2], "one of two spellings is not guessed"


def test_words_table_markdown_and_data_say_it(found):
    text = str(found)
    assert text.startswith("balanced accuracy") and "lower than on the reference" in text
    assert "no remedy without labels helps" in text
    assert "labels of 25 suggested cells would bring +" in text and "no image was scored by a model that had seen" in (
        " ".join(text.split())
    )
    assert "if perfectly calibrated" in text
    markdown = found.to_markdown()
    assert markdown.startswith("- balanced accuracy") and "| recall of grey (40) |" in markdown
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["changes"][0]["name"] == "balanced accuracy" and data["mapping"] == {name: name for name in NAMES}
    assert data["calibration"]["external"]["n"] == 120 and data["calibration"]["reference"]["n"] == 150
    assert data["label_gains"][0]["count"] == 25 and data["label_gains"][0]["gain"]["low"] > 0
    figure = found.plot()
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["as it is", "8 views", "25 labels"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["recall (%)", "balanced accuracy (%)"]


def test_classes_are_matched_and_what_has_none_is_listed(run, own):
    external = make_images(120, seed=3, names=("D", "grey", "white", "smudge"))
    found = run.external(external, {"D": "dark", "white": "light"}, reference=own, tta=1, label_counts=())
    assert found.mapping == {"D": "dark", "grey": "grey", "white": "light"} and found.report.n == 90
    (left,) = found.left_out
    assert (left.name, left.count, left.reason) == ("smudge", 30, "the run has no class of that name")
    assert sum(left.predicted.values()) == 30
    assert "smudge" in str(found) and "Counted: D as dark, white as light." in str(found)
    merged = run.external(external, {"D": "dark", "smudge": "light", "white": None}, tta=1, label_counts=())
    assert merged.report.n == 90 and merged.left_out[0].reason == "excluded by the mapping"
    assert run.external(external, {"D": "dark"}, tta=1, label_counts=()).missing == ("light",)


def test_a_set_without_a_class_is_compared_without_it(run, own):
    external = make_images(90, seed=4, names=("dark", "grey"))
    found = run.external(external, reference=own, tta=1, label_counts=())
    assert found.missing == ("light",) and [one.name for one in found.recalls] == ["dark", "grey"]
    less = run.external(make_images(90, seed=4), reference=own.subset(own.labels != 2), tta=1, label_counts=())
    assert [one.name for one in less.recalls] == ["dark", "grey"]
    assert "reference has no images of light" in str(less)


def test_without_a_reference_the_report_of_the_run_is_taken(run, own, tmp_path):
    external = make_images(90, seed=2, shift=35)
    nothing = run.external(external, tta=1, label_counts=())
    assert nothing.drop is None and "No comparison" in str(nothing) and nothing.plot()
    scores = {"val": run.evaluate(own).to_dict(), "bccd": run.evaluate(external).to_dict()}
    (tmp_path / "report.json").write_text(json.dumps({"scores": scores}))
    stored = cc.Run(run.model, run.class_names, folder=tmp_path)
    found = stored.external(external, tta=1, label_counts=())
    assert found.reference == "val, 150 images" and found.reference_calibration is None
    assert found.drop.before == pytest.approx(scores["val"]["balanced_accuracy"]["value"])
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(cc.CellclfError, match=r"report\.json is damaged"):
        stored.external(external, tta=1, label_counts=())


def test_a_calibrated_run_says_whether_the_set_is_of_its_kind(run, own):
    known = cc.Run(run.model, run.class_names)
    known.calibrate(make_images(60, seed=8), own)
    far = known.external(make_images(90, seed=2, shift=70), reference=own, tta=1, label_counts=())
    assert far.domain_shift == known.domain_shift(make_images(90, seed=2, shift=70)) and str(far.domain_shift) in str(
        far
    )
    np.testing.assert_allclose(
        far.report.probabilities, known.report_predictions(make_images(90, seed=2, shift=70)).probabilities, atol=1e-6
    )


def test_numbers_are_positions_and_mistakes_are_named(run):
    external = make_images(60, seed=5)
    matched, unmatched = counterparts(cc.ImageSet(external.images, external.labels), NAMES, {})
    assert matched.tolist() == external.labels.tolist() and not unmatched
    with pytest.raises(UnknownNameError, match="external class 'drak'; did you mean 'dark'"):
        run.external(external, {"drak": "dark"})
    with pytest.raises(UnknownNameError, match="class of the run 'gray'; did you mean 'grey'"):
        run.external(external, {"dark": "gray"})
    with pytest.raises(DataError, match=r"none of the external classes \(a, b, c\)"):
        run.external(external.replace(class_names=("a", "b", "c")))
    with pytest.raises(DataError, match="no external class has min_count=20 images, the largest has 4"):
        run.external(external[:12])
    with pytest.raises(DataError, match="no labels"):
        run.external(cc.ImageSet(external.images))


def named(*names):
    return make_images(20 * len(names), seed=5).replace(
        labels=np.arange(20 * len(names)) % len(names), class_names=names
    )


RUNS = {"names": NAMES, "numbers": ("1", "2", "3", "4"), "from zero": ("0", "1", "2"), "mixed": ("1", "dark", "3")}


@pytest.mark.parametrize(
    ("own", "theirs", "mapping", "expected"),
    [
        ("names", ("0", "1", "2"), {}, [0, 1, 2]),
        ("names", ("2", "0"), {}, [2, 0]),
        ("names", ("0", "1", "2", "3"), {}, "none of the external classes"),
        ("names", ("1", "2", "3"), {}, "none of the external classes"),
        ("names", ("0", "1", "2"), {"0": "light"}, [2, -1, -1]),
        ("names", ("0", "dark"), {}, [-1, 0]),
        ("numbers", ("0", "1", "2", "3"), {}, "the external classes are the numbers 0, 1, 2, 3, those of the run 1, 2"),
        ("numbers", ("1", "2", "3", "4"), {}, [0, 1, 2, 3]),
        ("numbers", ("2", "4"), {}, [1, 3]),
        ("numbers", ("4", "5"), {}, "5 cannot be matched"),
        ("numbers", ("01", "02"), {}, "01, 02 cannot be matched"),
        ("numbers", ("0", "1", "2", "3"), {"0": "1", "1": "2", "2": "3", "3": "4"}, [0, 1, 2, 3]),
        ("numbers", ("0", "1"), {"0": None}, [-1, 0]),
        ("from zero", ("1", "2", "3"), {}, "3 cannot be matched"),
        ("from zero", ("0", "2"), {}, [0, 2]),
        ("mixed", ("0", "1"), {}, [-1, 0]),
    ],
)
def test_names_are_never_matched_to_numbers_in_part(own, theirs, mapping, expected):
    cells = named(*theirs)
    if isinstance(expected, str):
        with pytest.raises(DataError, match=expected):
            counterparts(cells, RUNS[own], mapping)
    else:
        matched, _ = counterparts(cells, RUNS[own], mapping)
        assert [matched[cells.labels == k][0] for k in range(len(theirs))] == expected


def test_matching_by_position_and_groups_are_reported(run):
    external = make_images(90, seed=2, shift=35).replace(class_names=("0", "1", "2"), groups=np.arange(90) // 10)
    found = run.external(external, tta=1, label_counts=())
    text = " ".join(str(found).split())
    assert "matched by position: 0 is dark, 1 is grey, 2 is light" in text
    assert "resample 9 groups (so few that the intervals are rough)" in text
    assert found.report.num_groups == 9


def test_a_run_without_features_says_so(own):
    both = cc.ensemble([cc.Run(level(False), NAMES), cc.Run(level(True), NAMES)])
    found = both.external(make_images(120, seed=2), tta=1, label_counts=(25,))
    assert not found.label_gains and "No labels tried:" in str(found)
