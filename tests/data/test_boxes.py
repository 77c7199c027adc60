"""Cells in fields: boxes of tables, VOC XML and COCO JSON are cut out with a margin; a field is one group."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

import cellclf as cc
from cellclf.data.boxes import cut
from cellclf.data.listing import Box
from cellclf.errors import DataError, OptionError

COLOURS = {"RBC": (200, 60, 60), "WBC": (70, 50, 160), "platelet": (150, 110, 170)}
BOXES = [("RBC", 0, 10, 20, 30), ("WBC", 30, 8, 54, 32), ("RBC", 60, 60, 80, 84), ("platelet", 5, 80, 13, 88)]


@pytest.fixture
def fields(tmp_path):
    """Draw three fields of 96x100 pixels with four cells each; the colour of a cell is that of its class."""
    for k in range(3):
        field = np.full((96, 100, 3), 235, np.uint8)
        for name, left, top, right, bottom in BOXES:
            field[top:bottom, left:right] = COLOURS[name]
        field[:, :, 2] += k
        Image.fromarray(field).save(tmp_path / f"field{k}.png")
    return tmp_path


def check(cells, groups=3):
    """Check that each crop shows the cell of its label."""
    assert cells.counts() == {"RBC": 6, "WBC": 3, "platelet": 3}
    assert len(np.unique(cells.groups)) == groups and cells.skipped == ()
    side = cells.image_shape[0]
    middle = cells.images[:, side // 2, side // 2].astype(int)
    wanted = np.array([COLOURS[cells.class_names[label]] for label in cells.labels])
    assert (np.abs(middle - wanted).max(1) <= 4).all()
    assert np.array_equal(cells.read([7, 0, 7]), cells.images[[7, 0, 7]])
    assert np.array_equal(cells[3], cells.images[3])


CORNERS = "filename,width,height,class,xmin,ymin,xmax,ymax"


def write(fields, head, row, separator=","):
    rows = [
        row.format(k=k, name=name, l=left, t=top, r=right, b=bottom, w=right - left, h=bottom - top,
                   cx=(left + right) / 2, cy=(top + bottom) / 2,
                   rl=left / 100, rt=top / 96, rr=right / 100, rb=bottom / 96)
        for k in range(3) for name, left, top, right, bottom in BOXES
    ]  # fmt: skip
    (fields / "t.csv").write_text("\n".join([head, *rows] if head else rows) + "\n", "utf-8")
    return fields / "t.csv"


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (CORNERS, "field{k}.png,100,96,{name},{l},{t},{r},{b}"),
        ("image,label,x1,y1,x2,y2", "field{k}.png,{name},{l},{t},{r},{b}"),
        ("image,label,left,top,right,bottom", "field{k}.png,{name},{l},{t},{r},{b}"),
        ("image,label,bbox_x,bbox_y,bbox_width,bbox_height", "field{k}.png,{name},{l},{t},{w},{h}"),
        ("image,label,x,y,w,h", "field{k}.png,{name},{l},{t},{w},{h}"),
        ("image,label,x_center,y_center,width,height", "field{k}.png,{name},{cx},{cy},{w},{h}"),
        ("ImageID,LabelName,XMin,XMax,YMin,YMax", "field{k},{name},{rl},{rr},{rt},{rb}"),
        ("image,label,xmax,ymax,xmin,ymin", "field{k}.png,{name},{l},{t},{r},{b}"),  # the edges exchanged
        (None, "field{k}.png,{l},{t},{r},{b},{name}"),
        ("Image;Cell Type;X Min;Y Min;X Max;Y Max", "field{k}.png;{name};{l},0;{t},0;{r},0;{b},00"),
        ("sep=;\nfile;class;minx;miny;maxx;maxy", "field{k}.png;{name};{l};{t};{r};{b}"),
        ("image,label,Box X1,Box Y1,Box X2,Box Y2", "field{k}.png,{name},{l},{t},{r},{b}"),
    ],
)
def test_a_table_of_boxes_is_refused_until_a_margin_says_that_they_are_to_be_cut_out(fields, head, row):
    path = write(fields, head, row)
    with pytest.raises(
        DataError, match=r"the rows of t.csv are boxes .* 12 in 3 images: pass margin=0.1 \(--margin 0.1\)"
    ):
        cc.load(path)
    cells = cc.load(path, margin=0.1)
    check(cells)
    assert "12 boxes were cut out of 3 images, with a margin of 0.1 of a box" in cells.notices
    assert "crops of one image are one group" in cells.notices[-1]


def test_whole_images_beside_box_columns(fields):
    rows = "".join(f"field{k}.png,{'ab'[k % 2]},1,2,3,4\n" for k in range(3))
    (fields / "t.csv").write_text("path,label,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2\n" + rows)
    cells = cc.load(fields / "t.csv", columns={"box": None})
    assert cells.image_shape == (96, 100, 3) and "not used: Roi.X1" in cells.notices[0]
    cells = cc.load(
        fields / "t.csv", margin=0, columns={"xmin": "Roi.X1", "ymin": "Roi.Y1", "xmax": "Roi.X2", "ymax": "Roi.Y2"}
    )
    assert len(cells) == 3 and cells.sizes.tolist() == [[2, 2]] * 3
    with pytest.raises(OptionError, match="columns name xmin of boxes; expected"):
        cc.load(fields / "t.csv", margin=0, columns={"xmin": "Roi.X1"})


def test_patients_of_fields_are_the_groups(fields):
    path = write(fields, CORNERS + ",patient", "field{k}.png,100,96,{name},{l},{t},{r},{b},p")
    check(cc.load(path, margin=0.1), groups=1)


@pytest.mark.parametrize(
    ("box", "margin", "edges"),
    [
        (Box(10, 10, 30, 30), 0, (10, 10, 30, 30)),
        (Box(10, 10, 30, 30), 0.25, (5, 5, 35, 35)),
        (Box(10, 10, 30, 20), 0, (10, 5, 30, 25)),  # square round its middle
        (Box(0, 0, 20, 20), 0.25, (0, 0, 30, 30)),  # moved inside
        (Box(80, 80, 100, 96), 0.1, (76, 72, 100, 96)),
        (Box(0, 0, 100, 96), 0.5, (0, 0, 100, 96)),  # not larger than the field
        (Box(0.1, 0.1, 0.3, 0.3, True), 0, (10, 9, 30, 29)),
        (Box(30, 30, 10, 10), 0, (10, 10, 30, 30)),
        (Box(-5, -5, 20, 20), 0, (0, 0, 20, 20)),
        (Box(3, 10, 7, 30, False, 0), 0.1, (3, 10, 7, 30)),  # a crop that was saved
        (Box(10, 10, 11, 30), 0.1, None),
        (Box(200, 10, 220, 30), 0.1, None),
    ],
)
def test_edges(box, margin, edges):
    assert cut(box, (96, 100), margin if box.margin is None else box.margin)[0] == edges


def test_boxes_that_cannot_be_cut_are_listed(fields):
    (fields / "bad.png").write_text("x")
    rows = [
        "field0.png,RBC,0,10,20,30", "field0.png,RBC,90,10,120,30", "field0.png,RBC,200,10,220,30",
        "field0.png,RBC,,,,",
        "field0.png,RBC,5,5,5,9", "bad.png,RBC,0,0,9,9", "field1.png,WBC,30,8,54,32", "field1.png,RBC,30,8,54,32",
        "field2.png,WBC,30,8,54,32", "field2.png,WBC,30,8,54,32",
    ]  # fmt: skip
    (fields / "t.csv").write_text("path,label,xmin,ymin,xmax,ymax\n" + "\n".join(rows) + "\n")
    cells = cc.load(fields / "t.csv", margin=0)
    assert cells.ids.tolist() == ["field0.png#0", "field0.png#1", "field2.png#0"]
    reasons = " | ".join(f"{s.id}: {s.reason}" for s in cells.skipped)
    for text in ("has no box", "outside its field of 96x100", "is empty", "bad.png", "neither is taken", "earlier row"):
        assert text in reasons
    assert "1 boxes reach beyond their image and were cut off at its border" in cells.notices


def voc(folder, fields, name="{stem}.png", extra=""):
    folder.mkdir(exist_ok=True)
    for k in range(3):
        objects = "".join(
            f"<object><name>{label}</name><bndbox><xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax>"
            f"<ymax>{bottom}</ymax></bndbox></object>"
            for label, left, top, right, bottom in BOXES
        )
        text = f"<annotation><filename>{name.format(stem=f'field{k}')}</filename>{objects}{extra}</annotation>"
        (folder / f"field{k}.xml").write_text(text)


@pytest.mark.parametrize("layout", ["beside", "folders", "no ending", "wrong name", "pattern", "one file", "root"])
def test_voc_xml(fields, tmp_path, layout):
    place = {"beside": fields, "root": tmp_path / "elsewhere"}.get(layout, fields / "Annotations")
    voc(place, fields, {"no ending": "{stem}", "wrong name": "image.jpg"}.get(layout, "{stem}.png"))
    if layout == "folders":
        (fields / "JPEGImages").mkdir()
        for path in [*fields.glob("*.png")]:
            path.rename(fields / "JPEGImages" / path.name)
    if layout == "one file":
        cells = cc.load(place / "field1.xml")
        assert len(cells) == 4 and cells.groups is not None
        return
    src = {"pattern": str(place / "*.xml"), "root": place}.get(layout, fields)
    cells = cc.load(src, **({"root": fields} if layout == "root" else {}))
    check(cells)
    if layout not in ("pattern",):
        assert "holds boxes (field0.xml): its cells are cut out" in cells.notices[0]
    assert cc.load(src, labels=False, **({"root": fields} if layout == "root" else {})).labels is None


def test_images_that_no_box_names_and_damaged_xml_are_listed(fields):
    voc(fields / "Annotations", fields)
    Image.new("RGB", (20, 20)).save(fields / "other.png")
    (fields / "Annotations" / "a.xml").write_text("<annotation><object>")
    (fields / "Annotations" / "b.xml").write_text("<!DOCTYPE x [<!ENTITY a 'b'>]><annotation/>")
    (fields / "Annotations" / "c.xml").write_text("<annotation><filename>other.png</filename></annotation>")
    cells = cc.load(fields)
    reasons = {s.id: s.reason for s in cells.skipped}
    assert len(cells) == 12 and "no box names it" in reasons["other.png"] and "names no object" in reasons["c.xml"]
    assert "cannot be read as VOC XML" in reasons["a.xml"] and "entities" in reasons["b.xml"]


def coco(folder, file="_annotations.coco.json", **change):
    names = list(COLOURS)
    kinds = [{"id": k + 1, "name": name} for k, name in enumerate(names)]
    images = [{"id": 10 + k, "file_name": f"field{k}.png", "width": 100, "height": 96} for k in range(3)]
    boxes = [
        {
            "image_id": 10 + k,
            "category_id": names.index(name) + 1,
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
        }
        for k in range(3)
        for name, left, top, right, bottom in BOXES
    ]
    folder.mkdir(exist_ok=True)
    found = {"images": images, "annotations": boxes, "categories": [*kinds, {"id": 0, "name": "cells"}]} | change
    (folder / file).write_text(json.dumps(found))
    return folder / file


@pytest.mark.parametrize("layout", ["file", "folder", "folders", "root"])
def test_coco_json(fields, tmp_path, layout):
    if layout == "folders":
        (fields / "images").mkdir()
        for path in [*fields.glob("*.png")]:
            path.rename(fields / "images" / path.name)
    place = fields if layout in ("file", "folder") else tmp_path / "annotations"
    path = coco(place, "instances.json")
    src = fields if layout == "folder" else path
    check(cc.load(src, **({"root": fields} if layout == "root" else {})))


def test_coco_that_is_odd(fields):
    path = coco(
        fields,
        annotations=[
            {"image_id": 10, "category_id": 1, "bbox": [0, 10, 20, 20]},
            {"image_id": 10, "category_id": 1, "bbox": [0, 10, 20, 20]},
            {"image_id": 11, "category_id": 1, "bbox": [0, 10, 20, 20]},
            {"image_id": 11, "category_id": 2, "bbox": [0, 10, 20, 20]},
            {"image_id": 12, "category_id": 2, "bbox": [30, 8, 24, 24], "iscrowd": 1},
            {"image_id": 12, "category_id": 9, "bbox": [30, 8, 24, 24]},
            {"image_id": 12, "category_id": 2, "bbox": [30, 8, 24]},
            {"image_id": 99, "category_id": 2, "bbox": [30, 8, 24, 24]},
            {"image_id": 12, "category_id": 2, "bbox": [30, 8, 24, 24]},
        ],
    )
    cells = cc.load(path)
    assert cells.counts() == {"RBC": 1, "WBC": 1} and len(cells.skipped) == 7
    for text in ("the same box", "two labels|the labels", "a crowd", "has no name", "no box", "of no image"):
        assert any(any(part in s.reason for part in text.split("|")) for s in cells.skipped), text
    for wrong in ({"a": 1}, [1], {"images": [], "annotations": []}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(DataError, match="COCO"):
            cc.load(path)


def test_crops_are_saved_and_read_again(fields, tmp_path):
    cells = cc.load(coco(fields), margin=0.3)
    again = cc.load(cells.save(tmp_path / "tables" / "crops.csv"))
    assert again.fingerprint() == cells.fingerprint() and again.groups.tolist() == cells.groups.tolist()
    again = cc.load(cells[2:9].save(tmp_path / "crops.parquet"))
    assert again.fingerprint() == cells[2:9].fingerprint()
    assert cc.load(cells.save(tmp_path / "crops.npz")).fingerprint() == cells.fingerprint()


def test_crops_are_made_when_they_are_read(fields):
    cells = cc.load(coco(fields), verify=False)
    (fields / "field1.png").unlink()
    assert cells.read([0]).shape[0] == 1
    with pytest.raises(DataError, match=r"field1.png: no such file"):
        cells.read([5])


@pytest.mark.parametrize("margin", [-0.1, float("nan"), "0.1", True])
def test_margins_that_are_refused(fields, margin):
    with pytest.raises(OptionError, match="margin"):
        cc.load(coco(fields), margin=margin)
