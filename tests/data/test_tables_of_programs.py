"""Tables as annotation programs export them, and as people join them: read right, or asked about."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image

from cellclf import DataError, ImageSet, load, make_cells

Load = Callable[[str], ImageSet]


@pytest.fixture
def read(tmp_path: Path) -> Load:
    for k, image in enumerate(make_cells(12, size=16, seed=1).images):
        Image.fromarray(image).save(tmp_path / f"{k}.png")

    def read(text: str) -> ImageSet:
        (tmp_path / "t.csv").write_text(text, "utf-8")
        return load(tmp_path / "t.csv")

    return read


def rows(labels: Sequence[object], more: Sequence[object] = ()) -> str:
    lines = [f"{k}.png,{label}" + (f",{more[k]}" if more else "") for k, label in enumerate(labels)]
    return "\n".join(lines) + "\n"


def test_the_choice_of_label_studio_is_the_label(read: Load) -> None:
    lines = [f"{k},1,{'ab'[k % 2]},{100 + k},{k}.png" for k in range(12)]
    found = read("annotation_id,annotator,choice,id,image\n" + "\n".join(lines))
    assert found.counts() == {"a": 6, "b": 6} and found.ids[0] == "100"


def test_a_missing_file_is_named_even_where_ids_are_numbers(read: Load) -> None:
    with pytest.raises(DataError, match=r"the first: 7 \(no such file: .*upload/x\.png\)"):
        read("id,image,label\n7,upload/x.png,a\n")


def test_boxes_of_via_are_boxes_and_no_classes(read: Load) -> None:
    head = "filename,region_count,region_id,region_shape_attributes,region_attributes\n"
    with pytest.raises(DataError, match=r"region_shape_attributes of t.csv look like boxes"):
        read(head + "".join(f'{k}.png,1,0,"{{""x"":1}}","{{""cell"":""a""}}"\n' for k in range(12)))


def test_one_column_a_class_is_still_seen(read: Load) -> None:
    with pytest.raises(DataError, match="one class each"):
        read("image,mel,nv\n" + rows([k % 2 for k in range(12)], [1 - k % 2 for k in range(12)]))


def test_tables_put_one_below_the_other(read: Load) -> None:
    found = read("path,label\n" + rows("ab" * 3) + "path,label\n" + "6.png,a\n7.png,b\n")
    assert len(found) == 8 and found.class_names == ("a", "b") and not found.skipped
    assert any("repeat the names of the columns" in notice for notice in found.notices)


@pytest.mark.parametrize("comments", ["# exported by us\n", "#\n# a; note\n\n", "  # one\r\n#two\r\n"])
def test_comments_before_the_head(read: Load, comments: str) -> None:
    assert read(comments + "path,label,group\n" + rows("ab" * 6, "pq" * 6)).counts() == {"a": 6, "b": 6}


def test_a_head_that_begins_with_the_sign_of_comments(read: Load) -> None:
    assert read("#,path,label\n" + "".join(f"{k},{k}.png,{'ab'[k % 2]}\n" for k in range(12))).num_classes == 2


@pytest.mark.parametrize("label", ["\"['a', 'b']\"", '"[""a""]"', '"{""class"": ""a""}"', '"(1, 2)"'])
def test_lists_are_no_classes(read: Load, label: str) -> None:
    with pytest.raises(DataError, match=r"is a list; expected one class an image"):
        read("path,label\n" + rows([label] + ["a", "b"] * 3))


def test_measurements_are_no_classes_but_grades_are(read: Load) -> None:
    with pytest.raises(DataError, match=r"12 different numbers with decimals .*measurements, not classes"):
        read("path,label\n" + rows([0.701 + k / 100 for k in range(12)]))
    assert read("path,label\n" + rows([0.5, 1, 1.5] * 4)).num_classes == 3
    assert read("path,label\n" + rows(["[other]", "(blast)"] * 6)).num_classes == 2


def test_two_columns_that_contradict_each_other_are_asked_about(read: Load) -> None:
    with pytest.raises(DataError, match=r"two columns of t.csv are called 'label', and differ"):
        read("path,label,label\n" + rows("ab" * 6, "ba" * 6))
    with pytest.raises(DataError, match="both 'label' and 'class' may be the label"):
        read("path,label,class\n" + rows("ab" * 6, "ba" * 6))
    assert read("path,label,class\n" + rows("ab" * 6, "AB" * 6)).num_classes == 2


def test_a_patient_with_decimals_is_the_same_patient(read: Load) -> None:
    found = read("path,label,patient\n" + rows("ab" * 6, ["1", "1.0", "2.0", "2.0", "10", "10.0"] * 2))
    assert found.groups is not None and {*found.groups.tolist()} == {"1", "2", "10"}
    found = read("path,label,patient\n" + rows("ab" * 6, ["1.5", "1"] * 6))
    assert found.groups is not None and {*found.groups.tolist()} == {"1.5", "1"}
