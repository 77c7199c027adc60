"""The search finds exactly the pairs that comparing all with all finds, however the hashes are spread."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from cellclf.cleaning.dedup import hamming as pairs
from cellclf.cleaning.dedup.hamming import near_pairs
from cellclf.errors import OptionError


def brute(hashes: NDArray[np.uint64], others: NDArray[np.uint64] | None, distance: int) -> set[tuple[int, int, int]]:
    stored = hashes if others is None else others
    bits = np.bitwise_count(hashes[:, None] ^ stored[None])
    rows, columns = np.nonzero(bits <= distance)
    return {
        (int(a), int(b), int(bits[a, b])) for a, b in zip(rows, columns, strict=True) if others is not None or a < b
    }


def as_they_are(*some: NDArray[np.generic]) -> tuple[NDArray[np.generic], ...]:
    return some


def as_set(found: pairs.HashPairs) -> set[tuple[int, int, int]]:
    made = list(zip(found.first.tolist(), found.second.tolist(), found.distance.tolist(), strict=True))
    assert len(set(made)) == len(made), "a pair came twice"
    assert made == sorted(made)
    return set(made)


@st.composite
def hash_lists(draw: st.DrawFn) -> NDArray[np.uint64]:
    """Spread evenly, in families of near ones, or skewed so that most bits never change."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 150))
    kind = draw(st.sampled_from(["even", "families", "skewed", "few"]))
    hashes = rng.integers(0, 2**64, count, dtype=np.uint64, endpoint=False)
    if kind == "families":
        hashes = hashes[rng.integers(0, max(1, count // 10), count)]
        for _ in range(draw(st.integers(0, 12))):
            hashes ^= np.uint64(1) << rng.integers(0, 64, count, dtype=np.uint64)
    elif kind == "skewed":
        hashes &= np.uint64(draw(st.integers(0, 2**64 - 1))) & np.uint64(draw(st.integers(0, 2**64 - 1)))
    elif kind == "few":
        hashes = hashes % np.uint64(5)
    return hashes


@settings(deadline=None, max_examples=150)
@given(hash_lists(), st.integers(0, 12), st.data())
def test_every_plan_equals_brute_force(hashes: NDArray[np.uint64], distance: int, data: st.DataObject) -> None:
    within = data.draw(st.booleans())
    others = None if within else data.draw(hash_lists())
    stored = hashes if others is None else others
    expected = brute(hashes, others, distance)
    assert as_set(near_pairs(hashes, others, distance=distance)) == expected
    plan = data.draw(st.sampled_from(pairs._plans(distance)))
    if sum(len(part.masks()) for part in plan) < 700 and max(part.width for part in plan) < 20:
        found = pairs._looked_up(hashes, stored, distance, plan, within, 1, as_they_are)
        got = [pair for some in found for pair in zip(*(column.tolist() for column in some), strict=True)]
        assert sorted(got) == sorted(expected)


@pytest.mark.parametrize("distance", range(13))
def test_complete_at_each_distance_where_the_tables_are_used(distance: int) -> None:
    rng = np.random.default_rng(distance)
    hashes = rng.integers(0, 2**64, 4000, dtype=np.uint64, endpoint=False)
    near = hashes[:1000].copy()
    for k in range(12):
        near[40 + k * 80 :] ^= np.uint64(1) << rng.integers(0, 64, len(near[40 + k * 80 :]), dtype=np.uint64)
    hashes = np.concatenate([hashes, near])
    expected = brute(hashes, None, distance)
    assert expected
    assert as_set(near_pairs(hashes, distance=distance)) == expected
    assert as_set(near_pairs(hashes, distance=distance, n_jobs=2)) == expected


def test_tables_are_what_is_used_on_many_hashes() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 30_000, dtype=np.uint64, endpoint=False)
    assert pairs._cheapest(len(hashes), hashes, 4)
    same = np.repeat(hashes[:1], 30_000)
    assert not pairs._cheapest(len(same), same, 4), "tables of one bucket are dearer than comparing"


def test_small_pieces_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**12, 3000, dtype=np.uint64)
    parts = pairs._plans(3)[1]
    whole = pairs._looked_up(hashes, hashes, 3, parts, True, 1, as_they_are)
    monkeypatch.setattr(pairs, "_PIECE", 100)
    monkeypatch.setattr(pairs, "_TAKEN", 7)
    cut = pairs._looked_up(hashes, hashes, 3, parts, True, 1, as_they_are)
    assert len(cut) > len(whole)
    for a, b in zip(zip(*whole, strict=True), zip(*cut, strict=True), strict=True):
        assert np.array_equal(np.concatenate(a), np.concatenate(b))


def test_empty_and_wrong_distance() -> None:
    none = np.empty(0, np.uint64)
    assert len(near_pairs(none, distance=3)) == 0
    assert len(near_pairs(np.zeros(2, np.uint64), none, distance=3)) == 0
    for wrong in (-1, 65, 2.5):
        with pytest.raises(OptionError, match="0 to 64"):
            near_pairs(np.zeros(2, np.uint64), distance=wrong)  # type: ignore[arg-type]  # the wrong type is the test
