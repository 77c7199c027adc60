"""adapt.html: first what it is worth there, nothing that was not measured, images of what to look at again."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
from helpers.report import read

import cellclf as cc
from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate
from cellclf.reporting import write_adaptation
from cellclf.reporting.adaptation import plot_learning_curve, sentences

NAMES = ["basophil", "immature_granulocyte", "<b>odd & name</b>", "monocyte"]


def interval(value, half=0.05):
    return {"value": value, "low": value - half, "high": value + half}


@pytest.fixture(scope="module")
def cells():
    images = np.random.default_rng(0).integers(0, 256, (30, 24, 24, 3), dtype=np.uint8)
    return cc.ImageSet(images, ids=[f'<i>{k}</i>"' for k in range(30)])


@pytest.fixture(scope="module")
def record():
    classes = [(NAMES[0], 12, 0.62, 0.9, 0.05), (NAMES[1], 8, 0.3, 0.8, 0.08), (NAMES[2], 2, 0.08, 0.7, 0.25)]
    return {
        "class_names": NAMES,
        "parent": "/home/x/runs/a <script>alert(1)<!-- -->",
        "cells": 351,
        "counts": {"label": 22, "unsure": 2, "not_a_cell": 1, "unanswered": 3},
        "labelled": [f'<i>{k}</i>"' for k in range(22)],
        "candidate": "last and middle layers",
        "tried": [
            {"name": "last and middle layers", "loss": 0.6, "accuracy": 0.812, "chosen": True},
            {"name": "the run as it was", "loss": 1.9, "accuracy": 0.41, "chosen": False},
        ],
        "proof": {
            "after": interval(0.852, 0.1),
            "before": interval(0.623, 0.12),
            "gain": interval(0.229, 0.14),
            "helps": True,
            "classes": [
                {"name": n, "labels": k, "share": s, "recall": interval(r, h), "before": interval(0.5)}
                for n, k, s, r, h in classes
            ],
            "curve": [[11, 0.7], [16, 0.74], [22, 0.78]],
            "more": 0.034,
        },
        "doubts": [{"id": '<i>3</i>"', "label": NAMES[0], "others": NAMES[1], "probability": 0.83}],
        "home": {"before": 0.985, "after": 0.982, "cells": 2388, "classes": NAMES[:2], "source": "stored features"},
        "notices": ["the last block was not tried: no home images"],
    }


@pytest.fixture(scope="module")
def probabilities():
    found = np.full((30, 4), 0.01)
    found[:, 0] = 0.97
    found[25] = [0.41, 0.38, 0.11, 0.1]
    found[3] = [0.4, 0.4, 0.1, 0.1]  # labelled: not shown as unsure
    return found


@pytest.fixture(scope="module")
def page(record, cells, probabilities, tmp_path_factory):
    return write_adaptation(
        tmp_path_factory.mktemp("adapt") / "adapt.html",
        record,
        cells=cells,
        probabilities=probabilities,
        run="runs/b",
        source="hospital b/",
        command="cellclf adapt runs/a 'hospital b/' --labels labelled.csv --out runs/b",
    )


def changed(record, **proof):
    made = copy.deepcopy(record)
    made["proof"] |= proof
    return made


def test_the_page_loads_nothing_and_every_link_arrives(page):
    text, reader, words = read(page)
    assert "script" not in reader.tags
    assert all(address.startswith(("data:", "#")) for address in reader.addresses)
    assert {a[1:] for a in reader.addresses if a.startswith("#")} <= set(reader.ids)
    assert len(reader.ids) == len(set(reader.ids)) and len(text) < 5e5
    assert "default-src 'none'" in text and not re.search(r"url\((?!#)|@import", text)
    assert "<script>" not in text and "<b>odd" not in text and "<i>3" not in text
    assert "a <script>alert(1)<!-- -->, adapted to another laboratory" in words and "<b>odd & name</b>" in words


def test_three_sentences_come_first(record, page):
    _, _, words = read(page)
    first, second, third = sentences(record)
    assert first == (
        "In this laboratory the adapted run is expected to reach a balanced accuracy of 85.2\u202f% (75.2 to 95.2) "
        "over 3 classes."
    )
    assert second == (
        "The run as it was is expected to reach 62.3\u202f% (50.3 to 74.3): 22.9 points less (8.9 to 36.9)."
    )
    assert third == "At home 0.3 points are lost: a balanced accuracy of 98.2\u202f% on 2,388 cells after 98.5\u202f%."
    places = [words.rindex(one) for one in (first, second, third, "Each class", "How it was measured", "Next step")]
    assert places == sorted(places)
    assert "the last block was not tried: no home images" in words


def test_what_is_not_shown_says_so_first(record):
    gain = {"value": -0.02, "low": -0.1, "high": 0.06}
    first, second, _ = sentences(changed(record, helps=False, gain=gain))
    assert first.startswith("Not shown to help: in this laboratory")
    assert second.endswith("2.0 points more (-6.0 to 10.0), which may be chance.")


def test_a_run_that_is_kept_says_so(record):
    same = interval(0.623, 0.12)
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    first, second, _ = sentences(changed(record, helps=False, after=same, before=same, gain=none))
    assert first.startswith("Not shown to help:")
    assert second == "Nothing that was tried did better than the run as it was, so that it is kept unchanged."


def test_what_is_unknown_is_not_claimed(record, tmp_path):
    made = {**record, "proof": None, "home": None, "doubts": [], "tried": [], "counts": {}, "candidate": None}
    first, _, third = sentences(made)
    assert "not known" in first and third.startswith("Home score unknown: pass --home SRC")
    _, reader, words = read(write_adaptation(tmp_path / "a.html", made))
    assert {"classes", "labels", "doubts", "unsure", "tried"}.isdisjoint(reader.ids)
    assert "Without labels nothing is measured" in words and "svg" not in reader.tags
    assert "cellclf suggest RUN SRC --count 25 --out label.html" in words


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (0.985, "At home nothing is lost: a balanced accuracy of 98.5\u202f%"),
        (0.99, "At home 0.5 points are won"),
        ({"value": 0.9, "low": 0.88, "high": 0.92}, "At home 8.5 points are lost"),
    ],
)
def test_what_home_lost(record, after, expected):
    assert sentences({**record, "home": {"before": 0.985, "after": after}})[2].startswith(expected)


def test_classes_labels_and_candidates(page):
    _, _, words = read(page)
    assert "basophil 12 62\u202f% 90.0\u202f% 85.0–95.0 50.0\u202f% 45.0–55.0" in words
    assert "<b>odd & name</b>: 2 labels, recall 45 to 95\u202f%" in words
    assert "basophil: 12 labels" not in words, "a class that is known well is not unsure"
    assert "monocyte 0 no label" in words
    assert "25 more labels would bring about 3.4 points." in words
    assert "the run as it was 1.90 41.0\u202f%" in words and "last and middle layers 0.60 81.2\u202f% chosen" in words
    assert "22 labels were used. 2 “unsure” were ignored. 1 “not a cell” helps" in words
    assert "3 suggested cells have no answer yet." in words and "own laboratory (stored features)" in words
    assert "of the classes basophil, immature granulocyte" in words


def test_images_of_doubts_and_of_what_is_unsure(page):
    text, reader, words = read(page)
    assert "Look again at this label" in words
    assert "labelled basophil; the others say immature granulocyte (83\u202f%)" in words
    unsure = text[text.index('id="unsure"') : text.index('id="tried"')]
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", unsure)
    assert captions[0] == "basophil (41\u202f%) or immature granulocyte (38\u202f%)"
    assert len(captions) == 8, "the other 22 cells have labels"
    assert reader.tags.count("img") == 9


def test_the_next_step_fits_what_was_found(record, tmp_path):
    def steps(made):
        words = read(write_adaptation(tmp_path / "a.html", made, run="runs/b", source="there"))[2]
        return words[words.rindex("Next step") :]

    text = steps(record)
    assert "Look again at the 1 label that the others contradict" in text
    assert "Label 25 more: about 3.4 points." in text and "--labelled labelled.csv --out label.html" in text
    assert "Or use it as it is. cellclf predict runs/b there" in text
    done = steps(changed({**record, "doubts": []}, more=0.002))
    assert "Label 25" not in done and "Look again" not in done and "Use it on the cells" in done
    poor = steps(changed(record, helps=False, more=None))
    assert "until then, use the run as it was" in poor and "predict" not in poor


def test_commands_can_be_pasted(page):
    assert "cellclf suggest runs/b 'hospital b/' --count 25 --labelled labelled.csv" in read(page)[2]


def test_doubts_without_images_are_named(record, tmp_path):
    _, _, words = read(write_adaptation(tmp_path / "a.html", record))
    assert '<i>3</i>" basophil immature granulocyte (83\u202f%)' in words


def test_the_curve_ends_at_the_estimate():
    after, before = Estimate(0.85, 0.75, 0.95), Estimate(0.6, 0.5, 0.7)
    axes = plot_learning_curve([(11, 0.7), (22, 0.78)], after, before, 0.3).axes[0]
    drawn = axes.lines[0]
    np.testing.assert_allclose(drawn.get_ydata(), [77, 85])
    dotted = next(line for line in axes.lines if line.get_linestyle() == ":")
    assert dotted.get_xdata()[1] == 47 and dotted.get_ydata()[1] == 100, "no more than all is right"


def test_probabilities_must_fit(record, cells, tmp_path):
    with pytest.raises(DataError, match=r"probabilities have shape \(30, 3\); expected \(30, 4\)"):
        write_adaptation(tmp_path / "a.html", record, cells=cells, probabilities=np.ones((30, 3)))
