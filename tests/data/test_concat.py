"""Several sources as one set: classes by name, ids and patients kept apart, domains that survive every step."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from helpers.images import image

import cellclf as cc
from cellclf.data.inspect import class_gaps


def cells(count=6, side=8, names=("lobed", "round"), seed=0, **columns):
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return cc.ImageSet(images, [names[k % len(names)] for k in range(count)], **columns)


def test_pixels_are_read_from_each_set_in_any_order():
    one, other = cells(), cells(5, seed=1)
    both = cc.ImageSet.concat([one, other])
    images = np.concatenate([one.images, other.images])
    np.testing.assert_array_equal(both.images, images)
    np.testing.assert_array_equal(both.read([10, 0, 7, 7]), images[[10, 0, 7, 7]])
    np.testing.assert_array_equal(both.subset([9, 2])[:1].images, images[[9]])
    assert both.read([]).shape == (0, 8, 8, 3) and both.domains is None
    chosen = both.subset([9, 2, 5])
    again = pickle.loads(pickle.dumps(chosen))
    np.testing.assert_array_equal(again.images, chosen.images)
    assert len(pickle.dumps(chosen)) < len(pickle.dumps(both)), "a pickle holds no image of another set"
    assert again.fingerprint() == chosen.fingerprint()


def test_ids_in_common_get_the_name_of_their_set_and_others_are_kept():
    both = cc.ImageSet.concat([cells(2), cells(2)], names=["a", "b"])
    assert both.ids.tolist() == ["a/0", "a/1", "b/0", "b/1"]
    both = cc.ImageSet.concat([cells(2, ids=["x", "y"]), cells(2)], names=["a", "b"])
    assert both.ids.tolist() == ["x", "y", "0", "1"]


def test_a_patient_of_two_laboratories_is_two_and_of_one_source_is_one():
    sets = [cells(4, groups=list("ppqq")), cells(2, groups=list("pr"), seed=1)]
    assert cc.ImageSet.concat(sets, names=["a", "b"]).groups.tolist() == ["a/p", "a/p", "a/q", "a/q", "b/p", "b/r"]
    assert cc.ImageSet.concat(sets).groups.tolist() == [*"ppqq", *"pr"]
    mixed = cc.ImageSet.concat([sets[0], cells(2, seed=1)], names=["a", "b"])
    assert mixed.groups.tolist() == ["p", "p", "q", "q", "0", "1"]
    assert "b has no groups: each of its images counts as one of its own" in mixed.notices


def test_clusters_of_two_sets_are_different_ones():
    both = cc.ImageSet.concat([cells(3, clusters=[5, 5, 9]), cells(2), cells(2, clusters=[5, 5])])
    assert both.clusters.tolist() == [0, 0, 1, 2, 3, 4, 4]


def test_classes_are_matched_by_name_and_differences_are_named():
    both = cc.ImageSet.concat([cells(), cells(4, names=("Round ", "blast"))], names=["here", "there"])
    assert both.class_names == ("lobed", "round", "blast")
    assert both.counts() == {"lobed": 3, "round": 5, "blast": 2}
    text = (
        "classes differ between sources: there has no 'lobed' (here: 3 images); here has no 'blast' (there: 2 images)"
    )
    assert text in both.notices and "'Round ' of there was read as 'round'" in " ".join(both.notices)
    assert class_gaps(both) == [], "named once"
    assert class_gaps(both.replace(notices=[])) == [text]
    assert "domains: here (6), there (4)" in both.summary()


def test_sets_that_cannot_be_matched_are_refused():
    numbered = cc.ImageSet(cells().images, [0, 1] * 3)
    with pytest.raises(cc.DataError, match=r"b only numbers its classes .*class_names="):
        cc.ImageSet.concat([cells(), numbered], names=["a", "b"])
    assert cc.ImageSet.concat([numbered, numbered]).class_names == ("0", "1")
    with pytest.raises(cc.DataError, match=r"b has no labels, and other sets have"):
        cc.ImageSet.concat([cells(), cells().replace(labels=None)], names=["a", "b"])
    assert cc.ImageSet.concat([cells().replace(labels=None)] * 2).labels is None
    for wrong in ([], cells(), "cells.npz", None):
        with pytest.raises(cc.OptionError, match="no sets to concatenate"):
            cc.ImageSet.concat(wrong)
    for names in (["a"], ["a", "a"], "ab"):
        with pytest.raises(cc.OptionError, match="another name for each"):
            cc.ImageSet.concat([cells(), cells()], names=names)


def test_sizes_are_brought_to_the_first_with_a_notice(tmp_path):
    for k in range(3):
        image(tmp_path / "b" / "round" / f"{k}.png", k, side=(20, 20))
    both = cc.ImageSet.concat([cells(), str(tmp_path / "b")], names=["a", "b"])
    assert both.image_shape == (8, 8, 3) and both.sizes[-1].tolist() == [20, 20]
    assert "the 3 images of b, 20x20, are resized to the 8x8 of a" in both.notices
    expected = cc.load(tmp_path / "b", size=(8, 8)).images
    np.testing.assert_array_equal(both[6:].images, expected)
    assert both.resized((4, 4)).images.shape == (9, 4, 4, 3)


def test_a_table_of_several_folders_names_their_files(tmp_path):
    for place in ("a/round/1.png", "a/lobed/2.png", "b/round/1.png", "b/lobed/2.png"):
        image(tmp_path / place, len(place))
    both = cc.ImageSet.concat([tmp_path / "a", tmp_path / "b"], names=["a", "b"])
    again = cc.load(both.subset([3, 0]).save(tmp_path / "both.csv"))
    assert again.domains.tolist() == ["b", "a"] and again.ids.tolist() == ["b/round/1.png", "a/lobed/2.png"]
    np.testing.assert_array_equal(again.images, both.read([3, 0]))


def test_domains_survive_every_step(tmp_path):
    both = cc.ImageSet.concat([cells(), cells(seed=1)], names=["a", "b"])
    expected = ["a"] * 6 + ["b"] * 6
    assert cc.load(both.save(tmp_path / "both.npz")).domains.tolist() == expected
    assert both[5:7].domains.tolist() == ["a", "b"] and both.subset([7, 0]).domains.tolist() == ["b", "a"]
    found = cc.Dedup().find(both)
    assert found.apply(both).domains.tolist() == expected
    parts = cc.Split(val=0.3).apply(both)
    assert sorted([*parts.train.domains.tolist(), *parts.val.domains.tolist()]) == expected
    assert both.align(["round", "lobed"]).domains.tolist() == expected
    assert cc.Augmenter.preset("report").expand(both, copies=1).domains.tolist() == expected * 2
    assert both.replace(domains=None).domains is None
    with pytest.raises(cc.DataError, match="11 domains for 12 images"):
        both.replace(domains=["x"] * 11)
    three = cc.ImageSet.concat([both, cells(2, seed=2)], names=["x", "y"])
    assert three.domains.tolist() == [*expected, "y", "y"], "a set with domains keeps its own"


def test_a_table_says_the_domain_under_the_usual_names(tmp_path):
    for k in range(4):
        image(tmp_path / f"{k}.png", k)
    for head in ("domain", "Hospital", "scanner_id", "site", "Centre"):
        rows = [f"{k}.png,{'ab'[k % 2]},{'NS'[k // 2]}" for k in range(4)]
        (tmp_path / "t.csv").write_text("\n".join([f"path,label,{head}", *rows]))
        assert cc.load(tmp_path / "t.csv").domains.tolist() == list("NNSS"), head
        assert cc.load(tmp_path / "t.csv", columns={"domain": None}).domains is None
    (tmp_path / "t.csv").write_text("\n".join(["path,label,where", *rows]))
    assert cc.load(tmp_path / "t.csv").domains is None
    assert cc.load(tmp_path / "t.csv", columns={"domain": "where"}).domains.tolist() == list("NNSS")
    rows = ["0.png,a,N", "1.png,b,", "2.png,a,N", "3.png,b,n"]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,hospital", *rows]))
    found = cc.load(tmp_path / "t.csv")
    assert found.domains.tolist() == ["N", "unknown", "N", "N"]
    assert "1 of 4 images of t.csv have no domain" in " ".join(found.notices)
    (tmp_path / "t.csv").write_text("path,label,site\n0.png,a,1\n1.png,b,2\n")
    assert cc.load(tmp_path / "t.csv").domains is None, "what differs from row to row is no laboratory"


def test_a_path_says_the_domain(tmp_path):
    for place in ("north/a/1.png", "north/b/2.png", "south/a/3.png"):
        image(tmp_path / place, 1)
    found = cc.load(tmp_path, group_from="{domain}/{label}/*")
    assert found.domains.tolist() == ["north", "north", "south"] and found.class_names == ("a", "b")
    given = cc.load((found.images, found.labels), domains=["x", "y", "x"])
    assert given.domains.tolist() == ["x", "y", "x"]
