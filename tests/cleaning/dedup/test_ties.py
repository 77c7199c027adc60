"""Augmented copies in Dedup: searched across two sets, tied or removed within one, and named."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.command import run
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from cellclf import DataError, Dedup, ImageSet, OptionError, Split, make_cells
from cellclf.cleaning.dedup.augmented import AugmentedPairs, augmented_pairs
from cellclf.cleaning.dedup.index import Index
from cellclf.cleaning.dedup.ties import inverse

COUNT = 24


def turned(image: NDArray[np.uint8], degrees: float) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BICUBIC, fillcolor=(235, 220, 215)))


def zoomed(image: NDArray[np.uint8], margin: int = 4) -> NDArray[np.uint8]:
    size = image.shape[0]
    box = (margin, margin, size - margin, size - margin)
    return np.asarray(Image.fromarray(image).crop(box).resize((size, size), Image.Resampling.LANCZOS))


CHANGES = [
    lambda image: turned(image, 10),
    lambda image: turned(image, -17),
    lambda image: zoomed(image),
    lambda image: zoomed(turned(image, 5), 3),
    lambda image: np.asarray(ImageEnhance.Brightness(Image.fromarray(turned(image, 8))).enhance(1.2)),
]


@pytest.fixture(scope="module")
def originals() -> NDArray[np.uint8]:
    return make_cells(COUNT, size=72, seed=8).images


@pytest.fixture(scope="module")
def both(originals: NDArray[np.uint8]) -> ImageSet:
    """Make a set of which the first ten images have augmented copies at its end."""
    copies = np.stack([CHANGES[k % len(CHANGES)](originals[k]) for k in range(10)])
    labels = [*(k % 2 for k in range(COUNT)), *(k % 2 for k in range(10))]
    return ImageSet(np.concatenate([originals, copies]), labels, class_names=["a", "b"])


def test_within_a_set_only_by_choice(both: ImageSet) -> None:
    for augmented in ("auto", "off"):
        found = Dedup(augmented=augmented).find(both)
        assert found.removed == 0 and not len(found.near)
        assert len(np.unique(found.clusters)) == len(both)


def test_cluster_ties_and_keeps(both: ImageSet) -> None:
    found = Dedup(augmented="cluster").find(both)
    assert found.removed == 0
    assert found.clusters[COUNT:].tolist() == list(range(10))
    assert len(np.unique(found.clusters)) == COUNT
    assert set(found.near.kind.tolist()) == {"augmented"}
    assert "10 pairs are augmented copies and kept in one cluster" in found.summary()
    changes = {row["first"]: row["change"] for row in found.rows(found.near)}
    assert changes["0"] == "turned 10 degrees left" and changes["1"] == "turned 17 degrees right"
    assert changes["2"].startswith("zoomed 1.1")
    for seed in range(5):
        parts = Split(val=0.3, seed=seed).apply(found.apply(both))
        train, val = ({int(id_) % COUNT for id_ in part.ids} for part in (parts.train, parts.val))
        assert not train & val


def test_remove_keeps_the_least_altered(both: ImageSet) -> None:
    order = np.random.default_rng(1).permutation(len(both))
    shuffled = both.subset(order)
    found = Dedup(augmented="remove").find(shuffled)
    assert sorted(found.ids[found.keep].astype(int).tolist()) == list(range(COUNT))
    reasons = dict(zip(found.ids.tolist(), found.reasons.tolist(), strict=True))
    assert reasons["24"] == "augmented: copy of 0, turned 10 degrees left"
    assert reasons["25"] == "augmented: copy of 1, turned 17 degrees right"
    assert "10  augmented" in found.summary()
    assert {group.decision for group in found.groups} == {"one kept"}
    assert all(group.kinds == ("keeper", "augmented") for group in found.groups)
    assert len(found.apply(shuffled)) == COUNT


def test_copies_of_augmented_copies_follow(originals: NDArray[np.uint8]) -> None:
    copy = turned(originals[0], 10)
    images = np.concatenate([copy[None], copy[None], copy[None, :, ::-1], originals])
    found = Dedup(augmented="remove").find(ImageSet(images))
    assert np.flatnonzero(~found.keep).tolist() == [0, 1, 2]
    (group,) = found.groups
    assert group.members[0] == 3 and sorted(group.members) == [0, 1, 2, 3]
    assert all(reason.startswith("augmented: copy of 3") for reason in found.reasons[:3])
    assert np.unique(found.clusters[:4]).size == 1


def test_a_class_evened_out_by_augmentation_keeps_one_of_each() -> None:
    cells = make_cells(80, size=72, seed=12)
    assert cells.labels is not None
    rare = cells.class_names.index("basophil")
    few = np.flatnonzero(cells.labels == rare)[:2]
    rng = np.random.default_rng(0)
    made = [turned(cells.images[k], angle) for k in few for angle in rng.uniform(-19, 19, 12)]
    images = np.concatenate([cells.images, np.stack(made)])
    even = ImageSet(images, [*cells.labels.tolist(), *[rare] * 24], class_names=cells.class_names)
    found = Dedup(augmented="remove").find(even)
    kept = found.apply(even).counts()["basophil"]
    assert cells.counts()["basophil"] <= kept <= cells.counts()["basophil"] + 2
    assert found.keep[few].all()


def test_conflicting_labels_are_seen_through_augmentation(both: ImageSet) -> None:
    assert both.labels is not None
    torn = both.replace(labels=np.where(np.arange(len(both)) == COUNT, 1, both.labels))
    tied = Dedup(augmented="cluster").find(torn)
    assert tied.removed == 0 and "1 of them with different labels" in tied.summary()
    found = Dedup(augmented="remove").find(torn)
    assert not found.keep[[0, COUNT]].any() and len(found.conflicts) == 1


def test_across_two_sets_they_are_leaks(originals: NDArray[np.uint8]) -> None:
    train = ImageSet(originals, [k % 2 for k in range(COUNT)], class_names=["a", "b"])
    changed = np.stack([CHANGES[k % len(CHANGES)](originals[k]) for k in range(6)])
    test = ImageSet(np.concatenate([changed, changed[:1], originals[8:9], make_cells(4, size=72, seed=99).images]))
    found = Dedup().find(train, against=test)
    pairs = set(zip(found.pairs.first.tolist(), found.pairs.second.tolist(), strict=True))
    assert pairs == {*((k, k) for k in range(6)), (0, 6), (8, 7)}
    assert np.flatnonzero(~found.keep).tolist() == [0, 1, 2, 3, 4, 5, 8]
    assert found.reasons[0] == "augmented: copy of 0, turned 10 degrees left"
    assert "7  augmented" in found.summary() and "searched: identical, re-encoded" in found.summary()
    assert "turned by up to 20 degrees" in found.to_dict()["searched"]
    off = Dedup(augmented="off").find(train, against=test)
    assert np.flatnonzero(~off.keep).tolist() == [8]
    assert "not those that were turned by a few degrees" in off.summary()
    for other in ("cluster", "remove"):  # across sets there is nothing to tie
        assert (Dedup(augmented=other).find(train, against=test).keep == found.keep).all()
    assert Dedup(method="content").find(train, against=test).removed == 1


def test_against_is_named() -> None:
    cells = make_cells(3, size=32, seed=1)
    with pytest.raises(DataError, match="labels have shape"):  # the second place is for labels
        Dedup().find(cells, cells)


@pytest.mark.parametrize("method", ["content", "phash", "dhash"])
def test_what_can_not_be_combined(method: str) -> None:
    for augmented in ("cluster", "remove"):
        with pytest.raises(OptionError, match=f"augmented='{augmented}' needs method='dct'"):
            Dedup(method=method, augmented=augmented).check()  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="cannot be used with an index"):
            Index(Dedup(augmented=augmented))  # type: ignore[arg-type]
    Index(Dedup())


def test_the_table_of_pairs_names_the_change(both: ImageSet, tmp_path: Path) -> None:
    source = both.save(tmp_path / "both.npz")
    done = run("dedup", source, "--augmented", "remove", "--pairs", tmp_path / "pairs.csv", "--max-loss", "1")
    assert done.exit_code == 0, done.output
    with (tmp_path / "pairs.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {row["kind"] for row in table} == {"augmented"}
    assert any(row["change"] == "turned 10 degrees left" for row in table)
    done = run("leaks", source, both.save(tmp_path / "again.npz"))
    assert f"{len(both)} of {len(both)} training images" in done.output and "searched: " in done.output
    text = " ".join(run("leaks", "--help").output.split())
    assert "turned by up to 20 degrees" in text and "are not found" in text


def test_the_inverse_undoes(originals: NDArray[np.uint8]) -> None:
    changed = np.stack([
        turned(originals[0], 12), turned(originals[1][:, ::-1], 9), zoomed(originals[2]), np.roll(originals[3], 3, 1),
        np.rot90(originals[4]),
    ])  # fmt: skip
    there = augmented_pairs(ImageSet(originals[:5]), ImageSet(changed))
    back = augmented_pairs(ImageSet(changed), ImageSet(originals[:5]))
    assert there.first.tolist() == back.first.tolist() == list(range(5))
    undone = inverse(there)
    assert undone.mirrored.tolist() == back.mirrored.tolist()
    np.testing.assert_allclose(undone.turn, back.turn, atol=2)
    np.testing.assert_allclose(undone.zoom, back.zoom, atol=0.03)
    np.testing.assert_allclose(undone.shift, back.shift, atol=0.03)
    np.testing.assert_allclose(inverse(undone).turn, there.turn, atol=1e-3)
    assert isinstance(replace(undone), AugmentedPairs)
