"""Star clusters: every member is paired with its own keeper, keepers are not paired, the order does not matter."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cellclf.cleaning.dedup.matching import choose_keepers
from cellclf.cleaning.dedup.verify import Pairs


def pairs_of(pairs: list[tuple[int, int]], similarity: list[float]) -> Pairs:
    one = np.array(pairs, np.int64).reshape(-1, 2)
    zeros = np.zeros(len(one), np.uint8)
    return Pairs(one[:, 0], one[:, 1], zeros, np.array(similarity, np.float32), zeros, np.full(len(one), ""))


@given(st.integers(2, 20), st.data())
def test_members_are_paired_with_their_keeper_and_keepers_to_none(count: int, data: st.DataObject) -> None:
    every = [(a, b) for a in range(count) for b in range(a + 1, count)]
    pairs = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=40))
    like = [0.98 + 0.02 * ((a * 31 + b * 17) % 100) / 100 for a, b in pairs]
    rank = np.array(data.draw(st.permutations(range(count))))
    chosen = choose_keepers(count, pairs_of(pairs, like), rank)
    keepers = {k for k in range(count) if chosen[k] < 0}
    for k in range(count):
        if chosen[k] >= 0:
            pair = set(pairs[chosen[k]])
            assert k in pair
            [keeper] = pair - {k}
            assert keeper in keepers
            assert rank[keeper] < rank[k]
            mine = [
                like[n]
                for n, (a, b) in enumerate(pairs)
                if k in (a, b) and (a + b - k) in keepers and rank[a + b - k] < rank[k]
            ]
            assert np.isclose(like[chosen[k]], max(mine), atol=1e-4)
    assert not any(a in keepers and b in keepers for a, b in pairs)
    # the same images in another order, with the same ranks, make the same groups
    moved = np.array(data.draw(st.permutations(range(count))))
    again = choose_keepers(
        count,
        pairs_of([tuple(sorted((int(moved[a]), int(moved[b])))) for a, b in pairs], like),
        rank[np.argsort(moved)],
    )
    assert {int(moved[k]) for k in keepers} == {k for k in range(count) if again[k] < 0}
