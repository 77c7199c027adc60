"""Dedup finds what was planted and nothing else, whatever the order, batch and number of threads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.smooth import brighter, jpeg, pasted, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from cellclf.cleaning.dedup import fingerprints, verify
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.dedup.hashes import TURNS, turned_image
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError, UnknownNameError

PLAIN = 60


@pytest.fixture(scope="module")
def planted() -> tuple[ImageSet, dict[tuple[int, int], str]]:
    """60 images, then copies of some of them; and for each pair its kind."""
    base = smooth(PLAIN)
    made, truth = [], {}
    for k in range(24):
        one = base[k]
        if k < 6:
            made.append(one.copy())
            kind = "identical"
        elif k < 12:
            made.append(jpeg(brighter(one, 0.9 + 0.2 * (k % 2))))
            kind = "re-encoded"
        else:
            made.append(brighter(jpeg(turned_image(one, 1 + k % 7)), 0.9))
            kind = "turned"
        truth[k, PLAIN + k] = kind
    return ImageSet(np.concatenate([base, made])), truth


def found_pairs(found: object) -> dict[tuple[int, int], str]:
    pairs = found.pairs  # type: ignore[attr-defined]  # both results have it
    return {(int(a), int(b)): str(kind) for a, b, kind in zip(pairs.first, pairs.second, pairs.kind, strict=True)}


def test_finds_every_kind_and_nothing_else(planted: tuple[ImageSet, dict[tuple[int, int], str]]) -> None:
    cells, truth = planted
    found = Dedup().find(cells)
    assert found_pairs(found) == truth
    assert found.keep[:PLAIN].all() and not found.keep[PLAIN:].any()
    assert all(reason == "" for reason in found.reasons[found.keep])
    assert len(found.near) == 0
    turns = {TURNS[t] for t, kind in zip(found.pairs.turn, found.pairs.kind, strict=True) if kind == "turned"}
    assert turns == set(TURNS[1:])
    assert found_pairs(Dedup(turns=False).find(cells)) == {p: k for p, k in truth.items() if k != "turned"}
    assert found_pairs(Dedup(method="content").find(cells)) == {p: k for p, k in truth.items() if k == "identical"}


def test_a_turn_named_is_the_turn_that_lays_the_copy_on_its_keeper() -> None:
    base = smooth(8)
    copies = np.stack([turned_image(image, turn) for turn, image in enumerate(base)])
    for first in (True, False):
        images = np.concatenate([base, copies] if first else [copies, base])
        found = Dedup().find(ImageSet(images))
        assert len(found.pairs) == 8
        for a, b, turn in zip(found.pairs.first, found.pairs.second, found.pairs.turn, strict=True):
            assert np.array_equal(turned_image(images[b], int(turn)), images[a])


@pytest.mark.parametrize("jobs", [1, 3])
def test_batches_and_threads_change_nothing(
    planted: tuple[ImageSet, dict[tuple[int, int], str]], jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells, _ = planted
    expected = Dedup(n_jobs=1, foreground=True).find(cells)
    monkeypatch.setattr(fingerprints, "_TASK", 13)
    monkeypatch.setattr(fingerprints, "_READ", 5)
    assert Dedup(n_jobs=jobs, foreground=True).find(cells) == expected


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_changes_nothing_but_which_copy_is_first(seed: int) -> None:
    base = smooth(12, seed=5)
    copies = [base[0], jpeg(base[0]), turned_image(base[1], 5), turned_image(base[1], 2)]
    cells = ImageSet(np.concatenate([base, copies]), ids=[f"c{k}" for k in range(16)])
    order = np.random.default_rng(seed).permutation(16)
    groups = {frozenset(f"c{k}" for k in group.members) for group in Dedup().find(cells).groups}
    found = Dedup().find(cells.subset(order))
    assert {frozenset(found.ids[list(group.members)].tolist()) for group in found.groups} == groups
    assert all(group.members[0] == min(group.members) for group in found.groups), "the first one is kept"


def test_conflicts_and_large_groups_are_removed_and_small_groups_keep_one() -> None:
    base = smooth(5)
    base[1] = 255 * (
        np.indices(base[1].shape[:2]).sum(0)[..., None] // 4 % 2
    )  # a chessboard is like none of the others
    images = np.concatenate([base, base[:1], np.repeat(base[1:2], 10, 0), np.repeat(base[2:3], 9, 0)])
    labels = np.zeros(len(images), int)
    labels[5] = 1
    cells = ImageSet(images, labels, class_names=["round", "lobed"])
    found = Dedup().find(cells)
    decisions = {group.members[0]: group.decision for group in found.groups}
    assert decisions == {0: "conflicting labels", 1: "too many copies", 2: "one kept"}
    assert np.flatnonzero(found.keep).tolist() == [2, 3, 4]
    assert [group.labels for group in found.conflicts] == [("lobed", "round")]
    assert found.reasons[0].startswith("conflicting labels: one of 2 copies with labels lobed, round")
    assert found.reasons[1].startswith("too many copies: one of 11, more than max_copies=10")
    assert found.reasons[16] == "identical: copy of 2"
    assert np.flatnonzero(Dedup(max_copies=11).find(cells).keep).tolist() == [1, 2, 3, 4]
    unlabelled = Dedup(max_copies=11).find(ImageSet(images))
    assert np.flatnonzero(unlabelled.keep).tolist() == [0, 1, 2, 3, 4]


def test_apply_writes_clusters_and_split_can_trust_them() -> None:
    base = smooth(4)
    cells = ImageSet(np.concatenate([base, base[2:3]]))
    found = Dedup().find(cells)
    assert found.clusters.tolist() == [0, 1, 2, 3, 2]
    kept = found.apply(cells)
    assert kept.clusters is not None and kept.clusters.tolist() == [0, 1, 2, 3]
    assert cells.clusters is None
    with pytest.raises(DataError, match="call find"):
        found.apply(cells[1:])


def test_nothing_drifts_from_its_keeper() -> None:
    """A chain of images, each like the next, the ends unlike: no group holds two of less than the similarity."""
    one, two = smooth(2, seed=3).astype(float)
    chain = np.stack([(one * (1 - t) + two * t).round() for t in np.linspace(0, 1, 30)]).astype(np.uint8)
    found = Dedup(max_copies=100).find(ImageSet(chain))
    assert 3 < len(found.groups) < 15
    prints = fingerprints.fingerprint(ImageSet(chain))
    units = verify.directions(prints.blocks)
    for group in found.groups:
        like = units[list(group.members)] @ units[group.members[0]]
        assert like.min() >= 0.98 - 1e-6


def test_a_hundred_thousand_blanks_do_not_blow_up() -> None:
    images = np.broadcast_to(np.uint8(230), (100_000, 8, 8, 3)).copy()
    images[::7] = 231
    images[5::11, 0, 0] = 229
    cells = ImageSet(np.concatenate([images, smooth(3, side=8)]))
    found = Dedup().find(cells)
    assert found.keep.sum() == 3
    assert [len(group) for group in found.groups] == [100_000]


def test_a_bucket_of_one_hash_is_thinned_without_losing_a_member() -> None:
    base = smooth(1, side=32)[0]
    rng = np.random.default_rng(0)
    bucket = np.clip(base + rng.integers(-1, 2, (300, 32, 32, 3)), 0, 255).astype(np.uint8)
    cells = ImageSet(np.concatenate([bucket, smooth(5, seed=9, side=32)]))
    found = Dedup().find(cells)
    assert [len(group) for group in found.groups] == [300]
    assert len(found.pairs) == 299
    assert found.pairs.similarity.min() >= 0.98


def test_keep_policies() -> None:
    from PIL import Image, ImageFilter

    sharp = smooth(1)[0]
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(0.8)))
    images = np.stack([blurred, sharp, blurred])
    cells = ImageSet(images, sizes=np.array([[48, 48], [30, 30], [60, 60]]))
    kept = {
        keep: np.flatnonzero(Dedup(keep=keep).find(cells).keep).tolist() for keep in ("first", "sharpest", "largest")
    }
    assert kept == {"first": [0], "sharpest": [1], "largest": [2]}
    assert np.flatnonzero(Dedup(keep="sharpest", method="phash").find(cells).keep).tolist() == [1]


@pytest.mark.parametrize("method", ["phash", "dhash", "ahash", "whash"])
def test_imagehash_methods_pair_what_lies_within_the_distance(method: str) -> None:
    from cellclf.cleaning.dedup.hashes import imagehash_hashes

    base = smooth(40)
    cells = ImageSet(np.concatenate([base, [jpeg(image, 30) for image in base[:10]], base[:2]]))
    hashes = imagehash_hashes(cells.images, method)
    bits = np.bitwise_count(hashes[:, None] ^ hashes)
    found = Dedup(method=method, distance=3).find(cells)  # type: ignore[arg-type]  # a parameter of the test
    for a, b, d in zip(found.pairs.first, found.pairs.second, found.pairs.distance, strict=True):
        assert bits[a, b] == d <= 3
    kept = np.flatnonzero(found.keep)
    assert (bits[np.ix_(kept, kept)][~np.eye(len(kept), dtype=bool)] > 3).all()
    assert set(found.pairs.kind.tolist()) == {method}


def test_leaks_name_pairs_kinds_and_labels_and_apply_removes_them() -> None:
    base = smooth(20)
    train = ImageSet(base[:10], np.zeros(10, int), class_names=["a", "b"])
    test_images = np.stack([base[3], turned_image(base[4], 5), jpeg(base[5]), *base[12:]])
    test = ImageSet(test_images, np.r_[1, np.zeros(len(test_images) - 1, int)], class_names=["a", "b"])
    found = Dedup().find(train, against=test)
    assert found_pairs(found) == {(3, 0): "identical", (4, 1): "turned", (5, 2): "re-encoded"}
    assert found.conflicts.first.tolist() == [3]
    assert "another label" in found.summary()
    assert found.reasons[3] == "identical: copy of 0, labelled b there"
    assert found.apply(train).ids.tolist() == ["0", "1", "2", "6", "7", "8", "9"]
    assert found_pairs(Dedup(method="content").find(train, against=test)) == {(3, 0): "identical"}
    assert (3, 0) in found_pairs(Dedup(method="phash").find(train, against=test))
    assert json.loads(json.dumps(found.to_dict()))["against"] == len(test)


def test_leaks_pair_every_copy_on_both_sides() -> None:
    base = smooth(6)
    train = ImageSet(np.concatenate([base[:3], base[:1], [jpeg(base[0])]]))
    test = ImageSet(np.concatenate([base[:1], base[4:], base[:1]]))
    pairs = found_pairs(Dedup().find(train, against=test))
    assert {a for a, _ in pairs} == {0, 3, 4}
    assert {b for _, b in pairs} == {0, 3}


def test_same_cell_on_another_background_needs_the_option() -> None:
    base = smooth(60)
    made = [pasted(base[k], base[k + 20], soft=bool(k % 2)) for k in range(10)]
    made += [turned_image(pasted(base[k], base[k + 20]), 5) for k in range(10, 14)]
    cells = ImageSet(np.concatenate([base, made]))
    assert Dedup().find(cells).keep.all()
    found = Dedup(foreground=True).find(cells)
    assert found_pairs(found) == {(k, 60 + k): "foreground" for k in range(14)}
    train, test = cells[:60], cells[60:]
    assert found_pairs(Dedup(foreground=True).find(train, against=test)) == {(k, k): "foreground" for k in range(14)}


def test_a_cell_off_the_centre_needs_the_offset() -> None:
    base = smooth(30, side=96)
    made = np.stack([pasted(base[k], base[k + 12], down=k % 5 - 2, right=(k * 3) % 5 - 2) for k in range(5)])
    cells = ImageSet(np.concatenate([base, made]))
    truth = {(k, 30 + k): "foreground" for k in range(5)}
    assert set(found_pairs(Dedup(foreground=True).find(cells))) < set(truth)
    assert found_pairs(Dedup(foreground=True, offset=2).find(cells)) == truth
    leaks = Dedup(foreground=True, offset=2).find(cells[:30], against=cells[30:])
    assert set(found_pairs(leaks)) == {(k, k) for k in range(5)}


def test_a_shared_background_is_found_and_another_cell_on_a_smear_is_not() -> None:
    base = smooth(400, side=96, grain=14)
    photo, smear = smooth(2, seed=77, side=96, grain=14)
    blended = [(0.55 * photo + 0.45 * base[k]).round().astype(np.uint8) for k in range(20)]
    behind = [pasted(base[k], photo) for k in range(20, 40)]
    few = [pasted(base[k], smear) for k in range(40, 60)]
    cells = ImageSet(np.concatenate([base, blended, behind, few]))
    found = Dedup(background=True).find(cells)
    groups = [group for group in found.groups if group.decision == "shared background"]
    assert [sorted(group.members) for group in groups] == [list(range(400, 440))]
    assert found.keep.sum() == 420
    assert found.reasons[400] == "shared background: one of 40 different images with the same background"
    assert Dedup().find(cells).keep.all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_tiny_sets(count: int) -> None:
    cells = ImageSet(smooth(3)[:count])
    found = Dedup(foreground=True, background=True).find(cells)
    assert found.keep.sum() == count
    assert "0 removed" in found.summary()
    assert Dedup().find(cells, against=cells).removed == count


def test_wrong_options_are_named() -> None:
    cells = ImageSet(smooth(2))
    for wrong, error, text in (
        (Dedup(method="pash"), UnknownNameError, "did you mean 'phash'"),  # type: ignore[arg-type]  # wrong on purpose
        (Dedup(keep="last"), UnknownNameError, "Dedup keep"),  # type: ignore[arg-type]  # wrong on purpose
        (Dedup(distance=70), OptionError, "0 to 64"),
        (Dedup(similarity=2), OptionError, "0.5 to 1"),
        (Dedup(offset=4, foreground=True), OptionError, "0 to 3"),
        (Dedup(offset=2), OptionError, "without foreground"),
        (Dedup(max_copies=0), OptionError, "1 or more"),
        (Dedup(method="phash", foreground=True), OptionError, "need method='dct'"),
    ):
        with pytest.raises(error, match=text):
            wrong.find(cells)


def test_scikit_learn_and_imbalanced_learn_take_it() -> None:
    base = smooth(6)
    images = np.concatenate([base, base[:2]])
    copy = clone(Dedup(max_copies=3))
    assert copy.max_copies == 3
    kept, labels = copy.fit_resample(images, np.array(list("abcdefab")))
    assert labels.tolist() == list("abcdef")
    assert np.array_equal(kept, base)


def test_a_broken_read_stops_everything() -> None:
    class Broken:
        shape = (16, 16, 3)

        def __len__(self) -> int:
            return 5000

        def read(self, rows: np.ndarray) -> np.ndarray:
            if rows[-1] > 3000:
                raise KeyboardInterrupt
            return np.zeros((len(rows), 16, 16, 3), np.uint8)

    with pytest.raises(KeyboardInterrupt):
        Dedup().find(ImageSet(Broken()))


def test_real_cells(real_data: Path) -> None:
    """The challenge-shaped set in small: real cells, the two non-cell images many times over."""
    from PIL import Image

    folder = real_data / "data" / "acevedo96" / "train"
    files = [sorted(path.glob("*.jpg"))[:60] for path in sorted(folder.iterdir())]
    images = [np.asarray(Image.open(file).convert("RGB")) for some in files for file in some]
    labels = [k for k, some in enumerate(files) for _ in some]
    cells = ImageSet(np.stack(images), labels)
    found = Dedup().find(cells)
    for pair in zip(found.pairs.first, found.pairs.second, strict=True):
        assert np.array_equal(images[pair[0]], images[pair[1]]), "only identical cells are copies here"
    photo = np.asarray(Image.open(real_data / "data" / "contaminants" / "cat.png").convert("RGB"))
    turned = np.stack([turned_image(jpeg(image), k % 8) for k, image in enumerate(images[:80])])
    everything = np.concatenate([np.stack(images), np.repeat(photo[None], 40, 0), turned])
    again = Dedup().find(ImageSet(everything, labels + [k % 8 for k in range(40)] + labels[:80]))
    assert np.array_equal(again.keep[: len(images)], found.keep)
    assert not again.keep[len(images) :].any()


def test_joblib_spreads_the_hashing_over_processes_unchanged() -> None:
    import joblib

    base = smooth(12)
    cells = ImageSet(np.concatenate([base, base[:3]]))
    expected = Dedup().find(cells)
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert Dedup().find(cells) == expected


@pytest.mark.slow
@pytest.mark.parametrize("foreground", [False, True])
def test_two_hundred_thousand_images_stream_within_a_gigabyte(foreground: bool, tmp_path: Path) -> None:
    import subprocess
    import sys

    script = """
import sys, threading, time
import numpy as np
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.data.image_set import ImageSet

def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 2**20

peak = [0.0]
def measure():
    while True:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.02)

rng = np.random.default_rng(0)
file = np.lib.format.open_memmap(sys.argv[1], "w+", np.uint8, (200_000, 48, 48, 3))
for start in range(0, len(file), 5000):
    coarse = rng.integers(0, 256, (5000, 24, 24, 3), dtype=np.uint8)
    file[start : start + 5000] = coarse.repeat(2, 1).repeat(2, 2)
file[-100:] = file[:100, ::-1]
file.flush()
del file
threading.Thread(target=measure, daemon=True).start()
found = Dedup(foreground=sys.argv[2] == "True").find(ImageSet(np.load(sys.argv[1], mmap_mode="r")))
print(found.removed, peak[0])
"""
    if not Path("/proc/self/status").exists():
        pytest.skip("counts anonymous memory by /proc, which is Linux only")
    command = [sys.executable, "-c", script, str(tmp_path / "many.npy"), str(foreground)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    removed, peak = done.stdout.split()
    assert int(removed) == 100
    assert float(peak) < 0.8
