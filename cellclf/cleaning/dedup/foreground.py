"""The same cell on another background: images whose centres agree, wherever the rest comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.fingerprints import Fingerprints, spread_out
from cellclf.cleaning.dedup.hamming import near_pairs
from cellclf.cleaning.dedup.hashes import INVERSE, Hashes, calibrate, centre, dct_blocks, to_bits, turned
from cellclf.cleaning.dedup.matching import Rules
from cellclf.cleaning.dedup.verify import Links, find_links, similarities
from cellclf.errors import DataError

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

_FAINT = (32 * 1.5) ** 2  # energy of a centre block below which there is no cell to recognise


def link_centres(
    prints: Fingerprints,
    *,
    best: NDArray[np.int64],
    rules: Rules,
    offset: int,
    sources: list[ImageSet],
    side: NDArray[np.bool_] | None = None,
) -> Links:
    """Link images whose centres show the same cell.

    The centre is seen through a round Gaussian window of radius .23 of the side, inside almost every white cell, so
    the cells must be centred: an ``offset`` moves the window of one of the two images over all places within so
    many pixels.

    Args:
        prints: Of all images, with centres.
        best: (N,) equal numbers for equal images; only one of each is looked at (on each side).
        rules: Distance and similarity.
        offset: Pixels, 0-3.
        sources: Where the images are read again for an offset.
        side: (N,) bool; given, only pairs across it are linked.

    Returns:
        Links of the kind "foreground".

    Raises:
        DataError: The fingerprints hold no centres.
    """
    if prints.centres is None:
        raise DataError("these fingerprints hold no centres; take them with centres=True (foreground=True)")
    number = np.arange(len(prints)) if side is None else best * 2 + side
    _, first = np.unique(best if side is None else number, return_index=True)
    centres = prints.centres
    energy = np.empty(len(centres), np.float32)
    for start in range(0, len(centres), 4096):
        energy[start : start + 4096] = (centres[start : start + 4096].astype(np.float32) ** 2).sum((1, 2))
    places = first[energy[first] >= _FAINT]
    cut = calibrate(centres)
    hashes = to_bits(centres, cut)
    links = find_links(
        centres,
        cut,
        places,
        hashes=hashes,
        distance=rules.distance,
        least=rules.similarity,
        turns=rules.turns,
        side=side,
        n_jobs=rules.n_jobs,
    )
    named = [_named(links)]
    if offset:
        named.append(_named(_moved(prints, cut, hashes, places, rules, offset, sources, side)))
    return Links.joined(named)


def _named(links: Links) -> Links:
    kind = np.full(len(links), "foreground", "<U10")
    return Links(links.first, links.second, links.turn, links.similarity, links.distance, kind)


def _moved(
    prints: Fingerprints,
    cut: NDArray[np.float32],
    hashes: Hashes,
    places: NDArray[np.int64],
    rules: Rules,
    offset: int,
    sources: list[ImageSet],
    side: NDArray[np.bool_] | None,
) -> Links:
    """Link the centre of each image with the places around the centre of every other one."""
    assert prints.centres is not None
    reach = range(-offset, offset + 1)
    moves = np.array([(down, right) for down in reach for right in reach])
    parts = [
        part
        for source in sources
        for part in spread_out(source, _hash_around, cut, offset, n_jobs=rules.n_jobs, label="moving the window")
    ]
    still = len(moves) // 2  # no move at all: those links are known
    around = np.concatenate(parts)[places]
    around = np.delete(around, still, axis=1)
    moves = np.delete(moves, still, axis=0)
    asked = range(8) if rules.turns else range(1)
    stored = np.concatenate([to_bits(turned(prints.centres[places], turn), cut) for turn in asked])
    found = near_pairs(around.ravel(), stored, distance=rules.distance, n_jobs=rules.n_jobs)
    first, move = np.divmod(found.first, len(moves))
    turn, second = np.divmod(found.second, len(places))
    first, second = places[first], places[second]
    new = first != second if side is None else side[first] != side[second]
    first, second, move, turns = first[new], second[new], move[new], turn[new].astype(np.uint8)
    apart = found.distance[new]
    like = np.empty(len(first), np.float32)
    for number in range(len(moves)):
        some = np.flatnonzero(move == number)
        seen, which = np.unique(first[some], return_inverse=True)
        there = _centres_at(seen, moves[number], sources)
        like[some] = similarities(there, which, second[some], turns[some], prints.centres)
    good = like >= rules.similarity
    first, second, turns, like, apart = first[good], second[good], turns[good], like[good], apart[good]
    swap = first > second
    turns = np.where(swap, np.array(INVERSE, np.uint8)[turns], turns)
    first, second = np.where(swap, second, first), np.where(swap, first, second)
    order = np.lexsort((turns, -like, second, first))
    links = Links(first, second, turns, like, apart, np.full(len(first), "foreground", "<U10"))
    return Links.joined([links[order]])


def _hash_around(cells: ImageSet, cut: NDArray[np.float32], offset: int) -> NDArray[np.uint64]:
    """Hash what lies under the window at each place around the centre: (n, (2 offset + 1)²) uint64."""
    height, width, _ = cells.image_shape
    reach = [centre(height, width, move, move) for move in range(-offset, offset + 1)]
    rows = np.concatenate([basis.rows for basis in reach])
    columns = np.concatenate([basis.columns for basis in reach], axis=1)
    flat = reach[0].constant
    assert flat is not None
    steps, side = len(reach), len(flat)
    made = []
    for images in cells.batches(16):
        pixels = images.reshape(len(images), height, width * 3).astype(np.float32)
        all_ = (rows @ (pixels @ columns)).reshape(len(images), steps, side, steps, side).swapaxes(2, 3)
        blocks = all_.reshape(-1, side, side)
        blocks = blocks - np.einsum("nij,ij->n", blocks, flat)[:, None, None] * flat
        made.append(to_bits(blocks, cut).reshape(len(images), steps * steps))
    return np.concatenate(made)


def _centres_at(places: NDArray[np.int64], move: NDArray[np.int64], sources: list[ImageSet]) -> NDArray[np.float16]:
    """Read images again and transform what lies under the moved window."""
    made = np.empty((len(places), 12, 12), np.float16)
    start = 0
    for source in sources:
        here = np.flatnonzero((places >= start) & (places < start + len(source)))
        height, width, _ = source.image_shape
        for some in np.array_split(here, len(here) // 64 + 1):
            if len(some):
                [made[some]] = dct_blocks(source.read(places[some] - start), centre(height, width, *map(int, move)))
        start += len(source)
    return made
