"""The map of cells: what is alike lies together, every cell can be reached, and the page stays small and quiet."""

from __future__ import annotations

import base64
import io
import json
import re

import numpy as np
import pytest
from helpers.devtools import Browser, find_browser
from helpers.report import read
from PIL import Image

import cellclf as cc
from cellclf.errors import DataError, MissingPackageError, OptionError
from cellclf.reporting import map_page, write_map
from cellclf.reporting.cell_map import cell_map
from cellclf.reporting.content import PageContent
from cellclf.reporting.page import write_page

NAMES = ("basophil", "<b>odd & name</b>", "immature_granulocyte")


def a_set(n, *, labels=True, seed=0, side=24, first=0):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 3
    images = np.zeros((n, side, side, 3), np.uint8)
    images[np.arange(n), :, :, truth] = rng.integers(100, 255, n)[:, None, None]  # red, green and blue cells
    ids = [f"<i>{k + first}</i>" for k in range(n)]
    return cc.ImageSet(images, truth if labels else None, class_names=NAMES if labels else None, ids=ids)


def features(n, *, seed=0, width=6):
    found = np.random.default_rng(seed).normal(0, 0.2, (n, width))
    found[np.arange(n), np.arange(n) % 3] += 3
    return found


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def tile(data, k):
    """Cut the image of a cell out of the sprite."""
    sheet = Image.open(io.BytesIO(base64.b64decode(data["sprite"].partition(",")[2]))).convert("RGB")
    row, column = divmod(data["tile"][k], data["across"])
    return np.asarray(sheet.crop((32 * column, 32 * row, 32 * column + 32, 32 * row + 32)), int)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    called = np.concatenate([np.arange(40), np.arange(20)]) % 3
    called[[4, 41]] = 0  # both are of class 1
    path = tmp_path_factory.mktemp("map") / "map.html"
    parts = {"val": a_set(40), "the other lab": a_set(20, side=16, first=40)}
    given = np.concatenate([features(40), features(20, seed=1)])
    return write_map(path, given, parts, predicted=called, method="pca", show_ids=True)


def test_what_is_alike_lies_together():
    found = cell_map(features(60), a_set(60), method="pca")
    assert found.points.min() == 0 and found.points.max() == 1
    middles = np.stack([found.points[found.labels == k].mean(0) for k in range(3)])
    nearest = np.linalg.norm(found.points[:, None] - middles, axis=2).argmin(1)
    assert (nearest == found.labels).all()
    assert re.fullmatch(
        r"PCA of pooled features: the two main directions, which hold 9\d % of the differences", found.method
    )


def test_the_map_is_the_pca_of_scikit_learn():
    from sklearn.decomposition import PCA

    given = features(50)
    ours = cell_map(given, a_set(50), method="pca").points
    theirs = PCA(2).fit_transform(given)
    for axis in range(2):
        assert abs(np.corrcoef(ours[:, axis], theirs[:, axis])[0, 1]) == pytest.approx(1)


def test_layers_count_the_same_whatever_their_scale():
    small = features(50)
    large = np.random.default_rng(5).normal(0, 1000, (50, 4))
    both = cell_map(np.concatenate([small, large], 1), a_set(50), widths=(6, 4), method="pca").points
    one = cell_map(np.concatenate([small, large / 1e6], 1), a_set(50), widths=(6, 4), method="pca").points
    np.testing.assert_allclose(both, one, atol=1e-6)


def test_the_map_depends_on_nothing_but_the_cells():
    order = np.random.default_rng(1).permutation(60)
    cells, given = a_set(60), features(60)
    ours = cell_map(given, cells, method="pca").points
    shuffled = cell_map(given[order], cells.subset(order), method="pca").points
    np.testing.assert_allclose(shuffled, ours[order], atol=1e-9)


def test_cells_that_are_all_alike_have_a_map():
    found = cell_map(np.ones((5, 3)), a_set(5), method="pca")
    assert np.isfinite(found.points).all()
    assert cell_map(np.arange(4.0)[:, None], a_set(4), method="pca").points[:, 1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"features": features(5)}, DataError, r"shape \(5, 6\); expected \(6, 6\)"),
        ({"widths": (4, 4)}, DataError, r"expected \(6, 8\)"),
        ({"features": np.full((6, 6), np.nan)}, DataError, "NaN or infinity"),
        ({"predicted": np.zeros(5, int)}, DataError, "5 predicted classes for 6 cells"),
        ({"predicted": np.full(6, 3)}, DataError, "a predicted class is outside 0 to 2"),
        ({"method": "tsne"}, OptionError, "method='tsne'; expected 'auto', 'pca' or 'umap'"),
        ({"cells": a_set(1), "features": features(1)}, DataError, "expected two or more"),
    ],
)
def test_what_cannot_be_drawn_is_refused(given, error, text, tmp_path):
    arguments = {"features": features(6), "cells": a_set(6), "method": "pca"} | given
    with pytest.raises(error, match=text):
        write_map(tmp_path / "a.html", **arguments)


def test_umap_is_taken_where_it_is_installed():
    try:
        import umap  # noqa: F401 - whether it is there
    except ImportError:
        with pytest.raises(MissingPackageError, match="pip install umap-learn"):
            cell_map(features(30), a_set(30), method="umap")
        assert cell_map(features(30), a_set(30)).method.startswith("PCA")
    else:
        assert cell_map(features(30), a_set(30)).method.startswith("UMAP")


def test_the_page_holds_every_cell_with_its_image(page):
    data = data_of(page)
    assert len(data["x"]) == 60 and data["sets"] == ["val", "the other lab"]
    assert data["set"] == [0] * 40 + [1] * 20 and data["label"][:4] == [0, 1, 2, 0]
    assert data["classes"] == ["basophil", "<b>odd & name</b>", "immature granulocyte"]
    assert data["ids"][59] == "<i>59</i>"
    assert min(data["x"]) == 0 and max(data["x"]) == 1000
    for k in (0, 1, 2, 39, 41):
        middle = tile(data, k)[16, 16]
        assert middle.argmax() == data["label"][k] and middle.max() > 80, "the image of that very cell"


def test_any_name_stays_text_and_nothing_is_loaded(page):
    text = page.read_text(encoding="utf-8")
    assert "<b>odd" not in text and "<i>4" not in text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert addresses == ["data:,"] and "http" not in re.sub(r"data:[^\"]*", "", text).replace("http-equiv", "")
    assert "default-src 'none'" in text


def test_ids_are_left_out_unless_asked_for(tmp_path):
    found = write_map(tmp_path / "a.html", features(6), a_set(6), method="pca")
    assert data_of(found)["ids"] == [] and "<i>" not in found.read_text("utf-8").replace('<i id="image"', "")


def test_a_large_set_gives_a_bounded_page_and_mistakes_keep_their_images(tmp_path, monkeypatch):
    monkeypatch.setattr(map_page, "MOST_CELLS", 90)
    monkeypatch.setattr(map_page, "MOST_IMAGES", 30)
    called = np.arange(150) % 3
    wrong = np.arange(0, 150, 15)
    called[wrong] = (called[wrong] + 1) % 3
    found = write_map(tmp_path / "a.html", features(150), a_set(150), predicted=called, method="pca")
    data = data_of(found)
    assert len(data["x"]) == 90 and sum(k >= 0 for k in data["tile"]) == 30
    assert "90 cells of 150, drawn at random" in found.read_text("utf-8")
    assert "60 cells have no image here" in " ".join(found.read_text("utf-8").split())
    mistakes = [k for k in range(90) if data["label"][k] != data["predicted"][k]]
    assert mistakes and all(data["tile"][k] >= 0 for k in mistakes)
    shown = np.bincount([data["label"][k] for k in range(90) if data["tile"][k] >= 0])
    assert shown.min() >= 6, "every class in turn"
    for k in (mistakes[0], data["tile"].index(7)):
        assert tile(data, k)[16, 16].argmax() == data["label"][k]


def test_what_is_not_known_cannot_be_chosen(tmp_path):
    plain = write_map(tmp_path / "a.html", features(6), a_set(6, labels=False), method="pca").read_text("utf-8")
    assert re.findall(r'name="by" value="(\w+)"', plain) == ["set"]
    labelled = write_map(tmp_path / "a.html", features(6), a_set(6), method="pca").read_text("utf-8")
    assert re.findall(r'name="by" value="(\w+)"', labelled) == ["class"]


def test_classes_of_several_sets_are_matched_by_name():
    two = a_set(6).replace(class_names=("basophil", "immature_granulocyte", "new"))
    found = cell_map(features(12), {"a": a_set(6), "b": two}, method="pca")
    assert found.class_names == (*NAMES, "new") and found.labels[6:9].tolist() == [0, 2, 3]


def test_predicted_names_need_no_order():
    named = [NAMES[2], "unknown", *[NAMES[0]] * 4]
    found = cell_map(features(6), a_set(6), predicted=named, method="pca")
    assert found.class_names == (*NAMES, "unknown") and found.predicted.tolist() == [2, 3, 0, 0, 0, 0]


def test_the_report_shows_the_map_and_links_the_page(tmp_path):
    found = cell_map(features(60), {"val": a_set(40), "bccd": a_set(20, first=40)}, method="pca")
    content = PageContent(title="a", cell_map=found, map_page="map of a.html")
    text, reader, words = read(write_page(content, tmp_path / "report.html"))
    assert "map" in reader.ids and "script" not in reader.tags
    assert "map%20of%20a.html" in reader.addresses
    assert all(a.startswith(("data:", "#", "map%20")) for a in reader.addresses)
    assert "Cells: 40 of val, 20 of bccd." in words and "PCA of pooled features" in words
    assert "<b>odd" not in text and len(text) < 1e6
    alone = PageContent(title="a", cell_map=cell_map(features(40), {"val": a_set(40)}, method="pca"))
    assert "of a further set" not in read(write_page(alone, tmp_path / "report.html"))[2]


def test_the_figure_shows_classes_and_sets():
    found = cell_map(features(60), {"val": a_set(40), "bccd": a_set(20, first=40)}, method="pca")
    first, second = (figure.axes[0] for figure in found.figures())
    assert first.get_title() == "By class (val)" and second.get_title() == "By set"
    assert len(first.collections[0].get_offsets()) == 40 and sum(len(c.get_offsets()) for c in second.collections) == 60
    assert {text.get_text() for text in first.texts} == {"basophil", "<b>odd & name</b>", "immature granulocyte"}
    only = cell_map(features(20), {"bccd": a_set(20)}, method="pca").figures()
    assert [figure.axes[0].get_title() for figure in only] == ["By class"]
    mixed = cell_map(np.random.default_rng(0).normal(size=(600, 6)), a_set(600), method="pca").figures()[0].axes[0]
    assert len(mixed.texts) < 3 == len(mixed.get_legend().get_texts()), "names that would hide each other"


@pytest.mark.browser
def test_the_map_in_a_browser(page, tmp_path):
    program = find_browser()
    if program is None:
        pytest.skip("needs a headless Chromium: apt-get install chromium")
    browser = Browser(program, tmp_path / "profile", tmp_path)
    try:
        for width in (1280, 390):
            browser.resize(width, 800)
            browser.open(page)
            assert browser.run("document.documentElement.scrollWidth") <= width
            browser.run("document.getElementById('map').focus()")
            browser.key("ArrowRight")
            assert browser.run("!document.getElementById('card').hidden")
            named = set()
            for way in ["ArrowRight", "ArrowUp", "ArrowLeft", "ArrowDown"] * 6:
                browser.key(way)
                named.add(browser.run("document.getElementById('text').textContent"))
            assert len(named) > 5, "arrow keys go from cell to cell"
            box = browser.run(
                "(() => {const b = document.getElementById('card').getBoundingClientRect();return [b.left, b.right]})()"
            )
            assert box[0] >= 0 and box[1] <= width
            assert browser.run("getComputedStyle(document.getElementById('image')).backgroundImage.startsWith('url')")
            browser.key("Escape")
            assert browser.run("document.getElementById('card').hidden")
            # only the mistakes, with "next" from one to the other
            browser.run("document.querySelector('input[value=mistake]').click()")
            browser.run("document.querySelectorAll('#legend button')[1].click()")
            seen = []
            for _ in range(3):
                browser.run("document.getElementById('after').click()")
                seen.append(browser.run("document.getElementById('text').textContent"))
            assert seen[0] == seen[2] != seen[1] and all("predicted as basophil" in text for text in seen)
            assert {text.rpartition(", ")[2] for text in seen} == {"<i>4</i>", "<i>41</i>"}
            browser.run("document.querySelectorAll('#legend button')[1].click()")
            # a tap on a cell names it
            point = browser.run(
                "(() => {const c = document.getElementById('map'); c.scrollIntoView({block: 'center'});"
                "const d = JSON.parse(document.getElementById('data').textContent), b = c.getBoundingClientRect();"
                "const side = b.width - 24;"
                "return [b.left + 12 + d.x[7] / 1000 * side, b.bottom - 12 - d.y[7] / 1000 * side]})()"
            )
            browser("Input.dispatchMouseEvent", type="mouseMoved", x=point[0], y=point[1])
            assert browser.run("document.getElementById('text').textContent").endswith("<i>7</i>")
            assert browser.complaints() == []
    finally:
        browser.close()
