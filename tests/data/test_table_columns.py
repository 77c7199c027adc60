"""Columns under the names that people give them; what looks like a label, a patient or a box is not passed over."""

from __future__ import annotations

import pytest
from helpers.images import image

import cellclf as cc
from cellclf.errors import DataError, OptionError, UnknownNameError


@pytest.fixture
def cells(tmp_path):
    """Give a function that writes a table of eight images, two classes and four patients, and loads it."""
    for k in range(8):
        image(tmp_path / f"c{k}.png", k)

    def load(head, row="c{k}.png,{label},p{patient}", **options):
        rows = [row.format(k=k, label="ab"[k % 2], patient=k % 4, number=k % 2) for k in range(8)]
        (tmp_path / "t.csv").write_text("\n".join([head, *rows]) + "\n", "utf-8")
        return cc.load(tmp_path / "t.csv", **options)

    return load


@pytest.mark.parametrize(
    "head",
    [
        "path,label,group",
        "filename,labels,PatientID",
        "image,category,slide_no",
        "file,cell_type,donor",
        "Image Path,Class Name,Patient No",
        "img,diagnosis,case-id",
        "id,class,subject",
        "image_id,target,animal",
        "FILENAME,Cell Type,Specimen ID",
        "Dateiname,Zelltyp,patient",
        "images,categories_,slides",
        "file_name,ground_truth,smear",
        "fname,y,wsi_id",
    ],
)
def test_columns_under_usual_names(cells, head):
    if "categories_" in head:
        head = head.replace("categories_", "classes_x")
        with pytest.raises(DataError, match=r"'classes_x' looks like the label .*--columns label=classes_x"):
            cells(head)
        return
    found = cells(head)
    assert found.counts() == {"a": 4, "b": 4} and sorted({*found.groups.tolist()}) == ["p0", "p1", "p2", "p3"]
    assert found.notices == () and found.ids[0] == "c0.png"


def test_columns_that_are_named(cells):
    found = cells("a,b,c", columns={"path": "a", "label": "b", "group": "c"})
    assert found.class_names == ("a", "b") and found.groups is not None
    assert cells("a, B ,c", columns={"path": "a", "label": "b"}).labels is not None  # capitals and blanks apart
    assert cells("path,label,group", columns={"group": None}).groups is None
    assert cells("path,label,group", columns={"label": "group", "group": "label"}).num_classes == 4
    with pytest.raises(UnknownNameError, match=r"column of t.csv named 'labl'; did you mean 'label'\?"):
        cells("path,label,group", columns={"label": "labl"})
    with pytest.raises(UnknownNameError, match=r"kind of column 'lable'; did you mean 'label'\?"):
        cells("path,label,group", columns={"lable": "label"})


@pytest.mark.parametrize(
    ("head", "row", "message"),
    [
        ("path,cell_category2,group", None, r"'cell_category2' looks like the label"),
        ("path,type,group", None, r"'type' looks like the label"),
        ("path,Befund,group", None, r"'Befund' looks like the label"),  # by what stands in it
        ("path,label,patient_code_2", None, r"'patient_code_2' looks like the patient or slide"),
        ("path,label,SlideBarcode", None, r"'SlideBarcode' looks like the patient or slide"),
        ("path,label,class", "c{k}.png,{label},x{patient}", r"both 'label' and 'class' may be the label"),
        ("path,label,patient,slide", "c{k}.png,{label},p{patient},s{number}{k}", None),  # a slide has one patient
        (
            "path,label,patient,slide",
            "c{k}.png,{label},p{k},s{number}",
            r"both 'patient' and 'slide' may be the patient",
        ),
        ("path,label,class_id", "c{k}.png,{label},{number}", None),  # the same classes
        ("path,MONO,LYMPH", "c{k}.png,{number},0", r"one-hot|looks like"),
        ("path,label,xmin,ymin", "c{k}.png,{label},1,2", r"xmin, ymin of t.csv look like boxes"),
        ("path,label,bbox", "c{k}.png,{label},[1 2 3 4]", r"bbox of t.csv look like boxes"),
        ("path,label,x,y,width,height", "c{k}.png,{label},1,2,3,4", r"may be boxes in fields, or places and sizes"),
    ],
)
def test_what_looks_like_something_is_asked_about(cells, head, row, message):
    options = () if row is None else (row,)
    if "MONO" in head:
        row = "c{k}.png,{number},"
        rows = [f"c{k}.png,{k % 2},{1 - k % 2}" for k in range(8)]
        options = ("\n".join(rows) + "\n",)
        with pytest.raises(DataError, match=r"MONO, LYMPH of t.csv hold one class each"):
            cells(head, *options)
        return
    if message is None:
        found = cells(head, *options)
        assert found.num_classes == 2
        return
    with pytest.raises(DataError, match=message) as caught:
        cells(head, *options)
    assert "columns=" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    kind = "label" if "label" in message else "group" if "patient" in message else "box"
    found = cells(head, *options, columns={kind: None})  # the answer that there is none
    assert len(found) == 8


@pytest.mark.parametrize("word", ["", "NA", "N/A", "nan", "NaN", "None", "NULL", "<NA>", "#N/A", "n/a", " "])
def test_a_missing_label_is_not_a_class(cells, tmp_path, word):
    found = cells("path,label", "c{k}.png,{label}")
    text = (tmp_path / "t.csv").read_text("utf-8").replace("c3.png,b", f"c3.png,{word}")
    (tmp_path / "t.csv").write_text(text, "utf-8")
    found = cc.load(tmp_path / "t.csv")
    assert found.counts() == {"a": 4, "b": 3} and [s.id for s in found.skipped] == ["c3.png"]
    assert "1 of 8 rows of t.csv have no label" in found.notices[0]
    assert len(cc.load(tmp_path / "t.csv", labels=False)) == 8  # to be predicted


@pytest.mark.parametrize("word", ["", "NA", "nan", "None"])
def test_empty_groups_are_asked_about(cells, tmp_path, word):
    cells("path,label,patient")
    text = (tmp_path / "t.csv").read_text("utf-8").replace("c3.png,b,p3", f"c3.png,b,{word}")
    (tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(
        DataError, match=r"1 of 8 images of t.csv have no group in the column 'patient' .*c3.png.*whose"
    ):
        cc.load(tmp_path / "t.csv")
    assert cc.load(tmp_path / "t.csv", columns={"group": None}).groups is None


@pytest.mark.parametrize(
    ("rows", "left"),
    [
        (["c0.png,a,p1", "c0.png,b,p1", "c1.png,b,p2", "c2.png,a,p3"], 2),
        (["c0.png,a,p1", "./c0.png,b,p1", "c1.png,b,p2", "c2.png,a,p3"], 2),
        (["c0.png,a,p1", "x/../c0.png,b,p1", "c0.png,a,p1", "c1.png,b,p2", "c2.png,a,p3"], 2),
        (["c0.png,a,p1", "c0.png,a,p2", "c1.png,b,p2", "c2.png,a,p3"], 2),  # of two patients
        (["c0.png,a,p1", "c0.png,A ,p1", "c1.png,b,p2", "c2.png,a,p3"], 3),  # one class in two spellings
        (["c0.png,a,p1", "c0.png,a,p1", "c1.png,b,p2", "c2.png,a,p3"], 3),
    ],
)
def test_of_rows_that_contradict_each_other_none_is_taken(cells, tmp_path, rows, left):
    cells("path,label,group")
    (tmp_path / "t.csv").write_text("path,label,group\n" + "\n".join(rows) + "\n", "utf-8")
    found = cc.load(tmp_path / "t.csv")
    assert len(found) == left and ("c0.png" in found.ids) == (left == 3)
    if left == 2:
        assert all("neither is taken" in s.reason for s in found.skipped) and len(found.skipped) == len(rows) - 2
        assert "rows contradict each other: c0.png is listed with the" in found.notices[0]


def test_the_table_that_predict_writes_names_files_and_no_labels(cells):
    head = "id,class,probability,set,ood_score,p_a,p_b,skipped"
    found = cells(head, "c{k}.png,{label},0.9,a|b,0.2,0.9,0.1,")
    assert found.labels is None and len(found) == 8
    assert "what a run predicted, not a label" in found.notices[0]
    assert cells(head, "c{k}.png,{label},0.9,a|b,0.2,0.9,0.1,", columns={"label": "class"}).num_classes == 2


def test_a_column_of_parts_is_a_cut(cells, tmp_path):
    head, row = "path,label,split", "c{k}.png,{label},{number}"
    with pytest.raises(DataError, match=r"the column 'split' of t\.csv holds '0', '1', so that test images might"):
        cells(head, row)
    text = (tmp_path / "t.csv").read_text("utf-8")
    for number, part in (("0", "training"), ("1", "test")):
        text = text.replace(f",{number}\n", f",{part}\n")
    (tmp_path / "t.csv").write_text(text, "utf-8")
    with pytest.raises(DataError, match=r"holds the parts test, training; choose one with part='training' \(--part"):
        cc.load(tmp_path / "t.csv")
    assert cc.load(tmp_path / "t.csv", part="train").counts() == {"a": 4}
    assert cc.load(f"{tmp_path / 't.csv'}:test").counts() == {"b": 4}
    assert cc.load(tmp_path / "t.csv", columns={"part": None}).counts() == {"a": 4, "b": 4}
    with pytest.raises(UnknownNameError, match=r"part of t.csv named 'val'"):
        cc.load(tmp_path / "t.csv", part="val")


def test_labels_that_a_program_wrote_as_decimals(cells):
    assert cells("path;label", "c{k}.png;{number},0").class_names == ("0", "1")
    assert cells("path,label", "c{k}.png,{number}.0").class_names == ("0", "1")
    assert cells("path,label", "c{k}.png,v{number}.0").class_names == ("v0.0", "v1.0")


def test_a_root_for_relative_paths(cells, tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.csv").write_text("path,label\nc0.png,a\nc1.png,b\n", "utf-8")
    cells("path,label,group")
    with pytest.raises(DataError, match=r"no file of t.csv is in .*tables.*; pass root="):
        cc.load(tmp_path / "tables" / "t.csv")
    assert len(cc.load(tmp_path / "tables" / "t.csv", root=tmp_path)) == 2
    with pytest.raises(OptionError, match="is not a folder"):
        cc.load(tmp_path / "tables" / "t.csv", root=tmp_path / "nowhere")
    with pytest.raises(OptionError, match="root= is for tables"):
        cc.load(tmp_path, root=tmp_path)


def test_names_without_an_ending_are_found(cells, tmp_path):
    image(tmp_path / "ISIC.001.JPG", 1)
    found = cells("image_id,label", "c{k},{label}")
    assert found.ids[0] == "c0" and len(found) == 8
    (tmp_path / "u.csv").write_text("image_id\nISIC.001\n", "utf-8")
    assert len(cc.load(tmp_path / "u.csv")) == 1


def test_ids_beside_paths_are_the_ids(cells):
    assert cells("path,id,label", "c{k}.png,cell-{k},{label}").ids.tolist()[0] == "cell-0"
    assert cells("path,id,label", "c{k}.png,cell-{number},{label}").ids.tolist()[0] == "c0.png"  # they recur


def test_patients_from_the_path(tmp_path):
    for k in range(6):
        image(tmp_path / "s" / f"slide{k % 3}_{k}.png", k)
    rows = [f"s/slide{k % 3}_{k}.png,{'ab'[k % 2]}" for k in range(6)]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(rows) + "\n", "utf-8")
    found = cc.load(tmp_path / "t.csv", group_from="{group}_*")
    assert found.groups.tolist() == ["slide0", "slide1", "slide2"] * 2 and found.class_names == ("a", "b")
    with pytest.raises(DataError, match=r"does not match group_from='x\{group\}/\*'"):
        cc.load(tmp_path / "t.csv", group_from="x{group}/*")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("sep=;\npath;label;group\n{rows}", "utf-8"),
        ('"sep=;"\r\npath;label;group\r\n{rows}', "utf-8-sig"),
        ("path;label;group\n{rows}", "utf-16"),
        ("path;label;group\n{rows}", "cp1252"),
        ('"path;label;group"\n{quoted}', "utf-8"),
    ],
)
def test_what_a_spreadsheet_makes_of_a_table(tmp_path, text, encoding):
    for k in range(4):
        image(tmp_path / f"c{k}.png", k)
    rows = [f"c{k}.png;{('Stäbchen', 'rund')[k % 2]};'00{k}" for k in range(4)]
    text = text.format(rows="\n".join(rows), quoted="\n".join(f'"{row}"' for row in rows))
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    found = cc.load(tmp_path / "t.csv")
    assert found.class_names == ("Stäbchen", "rund") and found.groups.tolist() == ["000", "001", "002", "003"]
