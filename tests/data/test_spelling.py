"""Class names that look the same on paper are one class, whatever the source, and a notice names both spellings."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from helpers.images import image, pixels

import cellclf as cc
from cellclf.data.classes import match_labels
from cellclf.data.spelling import matched, one_spelling, spelling

WORD = "Stäbchen"
PAIRS = {
    "capitals": ("Neutrophil", "neutrophil"),
    "all capitals": ("NEUTROPHIL", "Neutrophil"),
    "two blanks": ("band neutrophil", "band  neutrophil"),
    "blank at the end": ("neutrophil ", "neutrophil"),
    "no-break blank": ("band neutrophil", "band\u00a0neutrophil"),
    "tabulator": ("band neutrophil", "band\tneutrophil"),
    "underscore": ("band_neutrophil", "band neutrophil"),
    "composed": (unicodedata.normalize("NFC", WORD), unicodedata.normalize("NFD", WORD)),
    "soft hyphen": ("neutro\u00adphil", "neutrophil"),
    "zero width": ("neutrophil\u200b", "neutrophil"),
    "byte order mark": ("\ufeffneutrophil", "neutrophil"),
    "full width": ("\uff22\uff21", "BA"),
    "sharp s": ("Größe", "GRÖSSE"),
}
DIFFERENT = [
    ("CD4+", "CD4-"),
    ("B cell", "T cell"),
    ("IG", "IG2"),
    ("naïve", "naive"),
    ("B-cell", "B+cell"),
    ("1", "01"),
]


def _escaped(name):
    """Give a name as the set holds it: signs that do not print are written as their code."""
    return "".join(ascii(sign)[1:-1] if unicodedata.category(sign)[0] == "C" else sign for sign in name)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_two_spellings_are_one_class_in_arrays_and_tables(pair, tmp_path):
    one, two = pair
    names = [one, two, "lymphocyte", two]
    found = cc.load((pixels(4, 8, 8, 3), names))
    assert found.num_classes == 2 and sorted(found.counts().values()) == [1, 3] and _escaped(two) in found.class_names
    assert "differ only in" in found.notices[0] and len(found.notices) == 1
    shown = {
        text for name in pair for text in (repr(name), ascii(name), repr(_escaped(name))) if text in found.notices[0]
    }
    assert len(shown) >= 2, "both spellings are named"

    for k in range(4):
        image(tmp_path / f"c{k}.png", k)
    if "\t" not in one + two:
        rows = "".join(f'c{k}.png,"{name}"\n' for k, name in enumerate(names))
        (tmp_path / "t.csv").write_text("path,label\n" + rows, "utf-8")
        found = cc.load(tmp_path / "t.csv")
        assert found.num_classes == 2 and (found.notices or one.strip() == two.strip())

    np.savez(tmp_path / "a.npz", images=pixels(4, 8, 8, 3), labels=[0, 1, 2, 1], class_names=[one, two, "lymphocyte"])
    found = cc.load(tmp_path / "a.npz")
    assert found.num_classes == 2 and found.notices and found.labels.tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("pair", DIFFERENT)
def test_other_names_are_other_classes(pair):
    assert cc.load((pixels(2, 8, 8, 3), list(pair))).num_classes == 2
    assert spelling(pair[0]) != spelling(pair[1]) and not one_spelling({pair[0]: 1, pair[1]: 1})


def test_folders_of_two_spellings_are_one_class(tmp_path):
    for k, name in enumerate([*PAIRS["composed"], "lymphocyte", "Lymphocyte"]):
        image(tmp_path / name / f"{k}.png", k)
    found = cc.load(tmp_path)
    assert found.num_classes == 2 and list(found.counts().values()) == [2, 2] and len(found.notices) == 2


def test_names_that_the_user_gives_are_left_as_they_are():
    cells = cc.load((pixels(3, 8, 8, 3), ["C", "c", "E"]), class_names=["C", "c", "E"])
    assert cells.labels.tolist() == [0, 1, 2] and cells.notices == ()


@pytest.mark.parametrize("pair", [pair for pair in PAIRS.values() if pair[0].strip() != pair[1]])
def test_a_further_set_in_another_spelling_is_matched(pair):
    one, two = pair
    other = cc.load((pixels(3, 8, 8, 3), [two, "b", two]))
    found = other.align([one, "b"])
    assert found.labels.tolist() == [0, 1, 0] and "spelt differently" in found.notices[0]
    assert match_labels(other, [one, "b"]).tolist() == [0, 1, 0]
    assert cc.load((pixels(1, 8, 8, 3), [two]), class_names=[one, "b"]).labels.tolist() == [0]


def test_an_unclear_spelling_is_not_matched():
    assert matched(["neutrophil"], ["Neutrophil", "NEUTROPHIL"]) == {}
    assert matched(["NEUTROPHIL"], ["Neutrophil", "NEUTROPHIL"]) == {"NEUTROPHIL": "NEUTROPHIL"}


def test_patients_in_two_spellings_are_one_patient():
    cells = cc.load((pixels(4, 8, 8, 3), [0, 1, 0, 1]), groups=["P07", "p07", "P07 ", "P08"])
    assert cells.groups.tolist() == ["P07", "P07", "P07", "P08"] and all("groups" in note for note in cells.notices)


@pytest.mark.parametrize(
    "labels", [["a", None, "b"], ["a", "NA", "b"], ["a", float("nan"), "b"], ["a", "", "b"], ["a", " ", "b"]]
)
def test_missing_labels_of_arrays_are_refused(labels):
    with pytest.raises(cc.DataError, match="1 of 3 labels are missing"):
        cc.load((pixels(3, 8, 8, 3), labels))
    with pytest.raises(cc.DataError, match=r"1 of 3 groups are missing .*are these images of other patients\?"):
        cc.load(pixels(3, 8, 8, 3), groups=labels)
