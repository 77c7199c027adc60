"""``Run.suggest``: which cells, why, what is left out, whatever the set looks like, and what it is saved to."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import cellclf as cc
from cellclf.data.decisions import Decision, Decisions
from cellclf.errors import CellclfWarning, DataError, OptionError
from cellclf.runs import pool as pool_module
from cellclf.runs.features import recent
from cellclf.runs.suggestion import Suggestion, all_classes


@pytest.fixture(scope="module")
def run(small_trainer, parts):
    """A calibrated run of random weights: what is asked of a suggestion holds for every network."""
    made = cc.Run(small_trainer().build((32, 32, 3), 3), parts.train.class_names)
    made.calibrate(parts.train, parts.val)
    return made


@pytest.fixture(scope="module")
def there():
    """Cells of another laboratory."""
    return cc.make_cells(60, size=32, seed=4, slides=3).replace(labels=None)


def shuffled(cells, seed=0):
    return cells.subset(np.random.default_rng(seed).permutation(len(cells)))


def test_cells_are_suggested_with_reasons_and_nothing_twice(run, there):
    found = run.suggest(there, 12)
    assert isinstance(found, Suggestion) and len(found) == 12 == len(found.reasons) == len(found.guesses)
    assert found.rows.dtype == np.int64 and len(set(found.rows.tolist())) == 12
    assert found.ids == tuple(there.ids[found.rows])
    assert sum(reason.startswith("unsure between ") for reason in found.reasons) == 6
    probabilities = run.predict_proba(there.subset(found.rows)).argmax(1)
    assert [name for name, _ in found.guesses] == [run.class_names[k] for k in probabilities]
    assert all(0 < probability <= 1 for _, probability in found.guesses)
    assert all(len(near) == 4 and row not in near for row, near in zip(found.rows, found.neighbours, strict=True))


def test_the_order_of_the_pool_changes_nothing(run, there):
    first = run.suggest(there, 10, seed=2)
    recent._kept.clear()
    again = run.suggest(shuffled(there), 10, seed=2)
    assert again.ids == first.ids and again.reasons == first.reasons
    assert run.suggest(there, 10, seed=3).ids != first.ids
    pixels = {one.tobytes() for one in there.read(run.suggest(there.replace(groups=None), 10, seed=2).rows)}
    recent._kept.clear()
    arrays = shuffled(there).images
    assert {arrays[row].tobytes() for row in run.suggest(arrays, 10, seed=2).rows} == pixels, "arrays have no ids"


def copies_of(cells, rows, turn=1):
    """Give a set with some of its images once more, turned."""
    extra = np.rot90(cells.read(rows), turn, (1, 2))
    names = [f"{cells.ids[row]} again" for row in rows]
    return cc.ImageSet(np.concatenate([cells.images, extra]), ids=[*cells.ids.tolist(), *names])


@pytest.mark.parametrize("turn", [0, 1])
def test_copies_are_asked_about_once(run, there, turn):
    both = copies_of(there, np.arange(len(there)), turn)
    found = run.suggest(both, 100)
    originals = [id_.removesuffix(" again") for id_ in found.ids]
    assert len(set(originals)) == len(originals) <= len(there)
    assert found.excluded["copies of others"] >= len(there)
    text = str(found)
    assert f"{len(found)} of 120 cells to label; 100 were asked for, and no others are left" in text
    assert "left out: " in text and "copies of others" in text


def test_clusters_that_the_set_has_count_too(run, there):
    tied = there.replace(clusters=np.arange(len(there)) // 10)
    found = run.suggest(tied, 25)
    assert len(found) <= 6 and len(set(tied.clusters[found.rows])) == len(found)


def test_blurred_and_non_cell_images_are_hardly_asked_about(run):
    from scipy.ndimage import gaussian_filter

    cells = cc.make_cells(90, size=32, seed=5, foreign=8).replace(labels=None)
    blurred = gaussian_filter(cc.make_cells(4, size=32, seed=6).images, (0, 4, 4, 0))
    blank = np.full((3, 32, 32, 3), 255, np.uint8) - np.arange(3, dtype=np.uint8)[:, None, None, None]
    cells = cc.ImageSet(
        np.concatenate([cells.images, blank, blurred]), ids=[*cells.ids.tolist(), *(f"foreign-{k}" for k in range(7))]
    )
    found = run.suggest(cells, 25)
    assert len(found) == 25
    assert sum("foreign" in id_ for id_ in found.ids) <= 1
    assert found.excluded["blurred, out-of-distribution or non-cell"] >= 10


def test_a_laboratory_that_is_far_away_as_a_whole_is_suggested_from(run):
    there = cc.make_cells(60, size=32, seed=6, severity=1.0).replace(labels=None)
    assert run.domain_shift(there).shifted
    found = run.suggest(there, 25)
    assert len(found) == 25 and found.excluded.get("blurred, out-of-distribution or non-cell", 0) <= 6


def test_groups_each_get_their_share(run, there):
    found = run.suggest(there, 12)
    assert there.groups is not None and set(there.groups[found.rows]) == set(there.groups)


DECIDED = {
    "Decisions": lambda ids, _: Decisions([Decision(ids[0], "label", "dark"), Decision(ids[1], "unsure")]),
    "a table": lambda ids, folder: DECIDED["Decisions"](ids, folder).save(folder / "labelled.csv"),
    "its name": lambda ids, folder: str(DECIDED["a table"](ids, folder)),
    "a mapping": lambda ids, _: {ids[0]: "dark", ids[1]: "not_a_cell"},
    "ids": lambda ids, _: [ids[0], ids[1]],
    "an array of ids": lambda ids, _: np.asarray(ids[:2]),
    "a set of ids": lambda ids, _: {ids[0], ids[1]},
    "labelled cells": lambda ids, _: cc.ImageSet(np.zeros((2, 8, 8, 3), np.uint8), [0, 1], ids=ids[:2]),
}


@pytest.mark.parametrize("form", DECIDED)
def test_what_is_decided_is_not_asked_again(form, run, there, tmp_path):
    ids = there.ids.tolist()
    found = run.suggest(there, len(there), labelled=DECIDED[form](ids, tmp_path))
    assert not {ids[0], ids[1]} & set(found.ids)
    assert found.excluded["labelled already, or copies of such"] >= 2


def test_rounds_ask_everything_once_and_unanswered_cells_again(run, there):
    first = run.suggest(there, 10)
    answers = [Decision(id_, "label", "dark") for id_ in first.ids[:9]] + [Decision(first.ids[9])]
    second = run.suggest(there, 50, labelled=Decisions(answers))
    assert not set(first.ids[:9]) & set(second.ids)
    assert first.ids[9] in run.suggest(there, 60, labelled=Decisions(answers)).ids
    with pytest.raises(DataError, match="none of the 60 cells is left to suggest"):
        run.suggest(there, 5, labelled=there.ids.tolist())


def test_what_an_adapted_run_has_learnt_from_is_not_asked_again(run, there):
    cells = there[:18]
    adapted = cc.Run(run.model, run.class_names, manifest={"data": {"cells": {"images": 18}}})
    adapted.decisions = Decisions([Decision(cells.ids[0], "label", "dark"), Decision(cells.ids[1]), Decision("away")])
    found = adapted.suggest(cells, 18)
    assert cells.ids[0] not in found.ids and cells.ids[1] in found.ids
    numbered = cc.ImageSet(cells.images)
    adapted.decisions = Decisions([Decision("0", "label", "dark")])
    assert "0" not in adapted.suggest(numbered, 18).ids
    assert "0" in adapted.suggest(numbered[:12], 12).ids, "another set of arrays"


def test_ids_that_are_not_there_are_named_with_the_likeliest_cause(run, there, tmp_path):
    cells = there.replace(ids=[f"{k:03}" for k in range(len(there))])
    path = tmp_path / "labelled.csv"
    path.write_text("sep=;\r\nid;decision;label\r\n7;label;dark\r\n", encoding="cp1252")
    with pytest.raises(DataError, match=r"the id '7' is not in the set .*did a spreadsheet turn '007' into '7'"):
        run.suggest(cells, 5, labelled=path)
    path.write_text("sep=;\r\nid;decision;label\r\n'007;label;dark\r\n", encoding="cp1252")
    assert "007" not in run.suggest(cells, 60, labelled=path).ids
    with pytest.raises(DataError, match="is not in the set"):
        run.suggest(cells, 5, labelled=["0599"])
    with pytest.raises(OptionError, match="expected the path of a table"):
        run.suggest(cells, 5, labelled=5)
    with pytest.raises(DataError):
        run.suggest(cells, 5, labelled=tmp_path / "nowhere.csv")


ODD_SETS = {
    "one image": lambda cells: (cells[:1], 1),
    "two images": lambda cells: (cells[:2], 2),
    "all copies of one": lambda cells: (cc.ImageSet(np.repeat(cells.images[:1], 30, 0)), 1),
    "blank": lambda cells: (cc.ImageSet(np.full((25, 32, 32, 3), 128, np.uint8)), 1),
    "fewer than outliers need": lambda cells: (cells[:15], 15),
    "odd names": lambda cells: (
        cells[:12].replace(
            ids=["", " ", "=1+1", "a,b", 'q"', "ü", "\u202e", "a/b.png", "C:\\x", "'7", "</script>", "0"]
        ),
        12,
    ),
}


@pytest.mark.parametrize("kind", ODD_SETS)
def test_odd_sets_give_what_they_have(kind, run, there, tmp_path):
    cells, expected = ODD_SETS[kind](there)
    found = run.suggest(cells, 25)
    assert len(found) == expected
    assert "were asked for, and no others are left" in str(found)
    assert found.save(tmp_path / "label.html").stat().st_size > 1000
    table = cc.load_decisions(found.save(tmp_path / "label.csv")) if kind != "odd names" else None
    assert table is None or table.unanswered == found.ids


def test_no_images_are_refused(run, there):
    with pytest.raises(DataError, match="no cells to suggest from"):
        run.suggest(there[:0])
    with pytest.raises(DataError):
        run.suggest(None)


@pytest.mark.parametrize("count", [0, -1, 2.5, "10", None, float("nan"), True])
def test_a_count_that_is_none_is_refused(count, run, there):
    with pytest.raises(OptionError, match="suggest count"):
        run.suggest(there, count)
    assert len(run.suggest(there, np.int64(3))) == 3


def test_runs_of_every_kind_can_be_asked(run, there, parts):
    plain = cc.Run(run.model, run.class_names)
    assert len(plain.suggest(there[:18], 10)) == 10, "not calibrated"
    both = cc.ensemble([run, run])
    assert len(both.suggest(there[:18], 10)) == 10
    both.calibrate(parts.train, parts.val)
    assert len(both.suggest(there[:18], 10)) == 10


def test_the_page_shows_images_in_their_own_size(run, tmp_path):
    large = cc.make_cells(24, size=48, seed=8).replace(labels=None)
    with pytest.warns(CellclfWarning, match="resized to the 32x32"):
        found = run.suggest(large, 5)
    text = found.save(tmp_path / "label.html", classes=["blast"]).read_text("utf-8")
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', text, re.S)[1])
    assert data["size"] == [48, 48] and sorted(data["ids"]) == sorted(found.ids)
    assert data["classes"] == [*run.class_names, "blast"] and not data["show_ids"]
    assert all(len(near) == 4 for near in data["neighbours"])
    assert len(data["guesses"]) == len(data["reasons"]) == 5
    assert "run.adapt(cells, &#39;labelled.csv&#39;)" in text or "run.adapt(cells, 'labelled.csv')" in text


def test_a_suggestion_is_a_result_like_others(run, there, tmp_path):
    found = run.suggest(there, 8)
    assert str(found).startswith("8 of 60 cells to label\n") and "next: label them on the page" in str(found)
    assert len(repr(found).splitlines()) < 15 and "<pre>" in found._repr_html_()
    plain = json.loads(found.save(tmp_path / "a.json").read_text("utf-8"))
    assert [one["id"] for one in plain["suggested"]] == list(found.ids) and plain["asked"] == 8
    assert found.save(tmp_path / "a.png").stat().st_size > 1000 and len(found.plot().axes) == 8
    assert cc.load_decisions(found.save(tmp_path / "a.csv")).unanswered == found.ids
    with pytest.raises(OptionError, match="cannot be written"):
        found.save(tmp_path / "a.xlsx")


def test_a_large_pool_is_looked_at_in_part_and_says_so(run, there, monkeypatch):
    monkeypatch.setattr(pool_module, "_POOL", 15)
    labelled = there.ids[:5].tolist()
    found = run.suggest(there, 30, labelled=labelled)
    assert found.excluded["not looked at (15 were, drawn by chance)"] == 45
    assert found.excluded["labelled already, or copies of such"] >= 5
    assert run.suggest(shuffled(there), 30, labelled=labelled).ids == found.ids


def test_further_classes_get_keys_once():
    assert all_classes(("b", "a"), None) == ["b", "a"]
    assert all_classes(("T cell", "CD4"), ["t_cell", "CD8", "CD8"]) == ["T cell", "CD4", "CD8"]
    with pytest.warns(CellclfWarning, match="'neutrohpil' gets a key of its own, beside 'neutrophil'"):
        all_classes(("neutrophil",), ["neutrohpil"])
    with pytest.raises(OptionError, match="is one text"):
        all_classes(("a",), "blast")


def test_labels_of_the_pool_change_nothing(run):
    cells = cc.make_cells(15, size=32, seed=9)
    first = run.suggest(cells, 8)
    recent._kept.clear()
    assert run.suggest(cells.replace(labels=None), 8).ids == first.ids
