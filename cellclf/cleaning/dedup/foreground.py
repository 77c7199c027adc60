"""The same cell on another background: images whose centres agree, whatever the rest shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import Fingerprints, map_parts
from cellclf.cleaning.dedup.hamming import near_pairs
from cellclf.cleaning.dedup.hashes import CENTRE_SIDE, INVERSE, calibrate, centre, dct_blocks, to_bits, turned
from cellclf.cleaning.dedup.matching import Rules
from cellclf.cleaning.dedup.verify import Pairs, find_pairs, similarities
from cellclf.errors import DataError

if TYPE_CHECKING:
    from cellclf.cleaning.dedup.colours import Colours
    from cellclf.data.image_set import ImageSet

_FAINT = (32 * 1.5) ** 2  # energy of a centre block below which it shows no cell


def pair_centres(
    prints: Fingerprints,
    *,
    best: NDArray[np.int64],
    rules: Rules,
    offset: int,
    sources: list[ImageSet],
    side: NDArray[np.bool_] | None = None,
    colours: Colours | None = None,
) -> Pairs:
    """Pair images whose centres show the same cell.

    The centre is seen through a round Gaussian window of radius .23 of the side, inside almost every white cell, so
    the cells must be centred: an ``offset`` moves the window of one of the two images over all places within so
    many pixels.

    Args:
        prints: Of all images, with centres.
        best: (N,) equal numbers for equal images; only one of each is compared (on each side).
        rules: Distance and similarity.
        offset: Pixels, 0-3.
        sources: Where the images are read again for an offset.
        side: (N,) bool; given, only pairs with one image on each side are found.
        colours: Of the images; None does not look at them.

    Returns:
        Pairs of the kind "foreground".

    Raises:
        DataError: The fingerprints hold no centres.
    """
    if prints.centres is None:
        raise DataError("these fingerprints have no centres; expected fingerprints made with centres=True")
    number = np.arange(len(prints)) if side is None else best * 2 + side
    _, first = np.unique(best if side is None else number, return_index=True)
    centres = prints.centres
    energy = np.empty(len(centres), np.float32)
    for start in range(0, len(centres), 4096):
        energy[start : start + 4096] = (centres[start : start + 4096].astype(np.float32) ** 2).sum((1, 2))
    places = first[energy[first] >= _FAINT]
    thresholds = calibrate(centres)
    hashes = to_bits(centres, thresholds)
    pairs = find_pairs(
        centres,
        thresholds,
        places,
        hashes=hashes,
        distance=rules.distance,
        min_similarity=rules.similarity,
        turns=rules.turns,
        side=side,
        n_jobs=rules.n_jobs,
    )
    named = [_named(pairs)]
    if offset:
        named.append(_named(_moved(prints, thresholds, places, rules, offset, sources, side)))
    found = Pairs.joined(named)
    if colours is not None:
        found = found[colours.agree(found.first, found.second, found.turn, middle=True)]
    return found


def _named(pairs: Pairs) -> Pairs:
    kind = np.full(len(pairs), "foreground", "<U10")
    return Pairs(pairs.first, pairs.second, pairs.turn, pairs.similarity, pairs.distance, kind)


def _moved(
    prints: Fingerprints,
    thresholds: NDArray[np.float32],
    places: NDArray[np.int64],
    rules: Rules,
    offset: int,
    sources: list[ImageSet],
    side: NDArray[np.bool_] | None,
) -> Pairs:
    """Pair the centre of each image with every other image under the moved window."""
    assert prints.centres is not None
    reach = range(-offset, offset + 1)
    moves = np.array([(down, right) for down in reach for right in reach])
    parts = [
        part
        for source in sources
        for part in map_parts(source, _hash_around, thresholds, offset, n_jobs=rules.n_jobs, label="moving the window")
    ]
    still = len(moves) // 2  # no move at all: those pairs are known
    around = np.concatenate(parts)[places]
    around = np.delete(around, still, axis=1)
    moves = np.delete(moves, still, axis=0)
    # the moved windows of all images, flattened, are searched among all turns of the unmoved centres, flattened
    searched = range(8) if rules.turns else range(1)
    stored = np.concatenate([to_bits(turned(prints.centres[places], turn), thresholds) for turn in searched])
    found = near_pairs(around.ravel(), stored, distance=rules.distance, n_jobs=rules.n_jobs)
    first, move = np.divmod(found.first, len(moves))
    turn, second = np.divmod(found.second, len(places))
    first, second = places[first], places[second]
    new = first != second if side is None else side[first] != side[second]
    first, second, move, turns = first[new], second[new], move[new], turn[new].astype(np.uint8)
    distance = found.distance[new]
    similarity = np.empty(len(first), np.float32)
    for number in range(len(moves)):  # images are read again for one move at a time: bounds the memory
        some = np.flatnonzero(move == number)
        seen, which = np.unique(first[some], return_inverse=True)
        there = _centres_at(seen, moves[number], sources)
        similarity[some] = similarities(there, which, second[some], turns[some], prints.centres)
    good = similarity >= rules.similarity
    first, second, turns = first[good], second[good], turns[good]
    similarity, distance = similarity[good], distance[good]
    swap = first > second
    turns = np.where(swap, np.array(INVERSE, np.uint8)[turns], turns)
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    order = np.lexsort((turns, -similarity, second, first))  # joined() keeps the first of equal pairs: the best
    pairs = Pairs(first, second, turns, similarity, distance, np.full(len(first), "", "<U10"))
    return Pairs.joined([pairs[order]])


def _hash_around(cells: ImageSet, thresholds: NDArray[np.float32], offset: int) -> NDArray[np.uint64]:
    """Hash what lies under the window at each position around the centre: (n, (2 offset + 1)²) uint64."""
    height, width, _ = cells.image_shape
    reach = [centre(height, width, move, move) for move in range(-offset, offset + 1)]
    rows = np.concatenate([basis.rows for basis in reach])
    columns = np.concatenate([basis.columns for basis in reach], axis=1)
    # one product gives the blocks of all moves at once: its tiles are (move down, move right)
    flat = reach[0].constant
    assert flat is not None
    steps, side = len(reach), len(flat)
    made = []
    for images in cells.batches(16, show=False):
        pixels = images.reshape(len(images), height, width * 3).astype(np.float32)
        tiles = (rows @ (pixels @ columns)).reshape(len(images), steps, side, steps, side).swapaxes(2, 3)
        blocks = tiles.reshape(-1, side, side)
        blocks = blocks - np.einsum("nij,ij->n", blocks, flat)[:, None, None] * flat
        made.append(to_bits(blocks, thresholds).reshape(len(images), steps * steps))
    return np.concatenate(made)


def _centres_at(places: NDArray[np.int64], move: NDArray[np.int64], sources: list[ImageSet]) -> NDArray[np.float16]:
    """Read images again and transform what lies under the moved window."""
    made = np.empty((len(places), CENTRE_SIDE, CENTRE_SIDE), np.float16)
    start = 0
    for source in sources:
        here = np.flatnonzero((places >= start) & (places < start + len(source)))
        height, width, _ = source.image_shape
        for some in np.array_split(here, len(here) // 64 + 1):
            if len(some):
                [made[some]] = dct_blocks(source.read(places[some] - start), centre(height, width, *map(int, move)))
        start += len(source)
    return made
