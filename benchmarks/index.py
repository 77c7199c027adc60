"""Measure Index with a million images: time, memory and disk; nothing is lost, and ten batches are one.

usage: index.py [--images N]

The images (32 x 32) are made from their numbers when they are read, so that none is in memory or on disk: the
time to add them includes the time to make them. One in a hundred is a copy of an earlier one, every other one of these
mirrored.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from dedup_peers import anonymous, watched
from numpy.typing import NDArray

from cellclf import ImageSet
from cellclf.cleaning.dedup.fingerprints import energies
from cellclf.cleaning.dedup.hamming import search
from cellclf.cleaning.dedup.index import Index
from cellclf.cleaning.dedup.matching import bits_of


class Made:
    """Images made from their numbers: 16 x 16 random colours, each two pixels wide and high."""

    shape = (32, 32, 3)

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Make the images at these places."""
        copies = rows % 100 == 99
        number = np.where(copies, rows // 2 + 1, rows).astype(np.uint64)
        x = number[:, None] * np.uint64(96) + np.arange(96, dtype=np.uint64)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # splitmix64
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
        images = x.view(np.uint8).reshape(-1, 16, 16, 3).repeat(2, 1).repeat(2, 2)
        images[copies & (rows % 200 == 199)] = images[copies & (rows % 200 == 199), :, ::-1]
        return images


def complete(index: Index, sample: int = 300) -> bool:
    """Compare the search for some images with comparing each of them with all."""
    blocks = index.prints.blocks
    assert index.cut is not None
    hashes = bits_of(blocks, index.cut, energies(blocks)[1])
    chosen = np.zeros(len(hashes), bool)
    chosen[np.random.default_rng(0).choice(len(hashes), sample, replace=False)] = True

    def take(first: NDArray[np.int64], second: NDArray[np.int64], bits: NDArray[np.uint8]) -> Any:
        some = chosen[first] | chosen[second]
        return set(zip(first[some].tolist(), second[some].tolist(), strict=True))

    found = set().union(*search(hashes, distance=8, n_jobs=2, take=take))
    expected = set()
    for one in np.flatnonzero(chosen).tolist():
        near = np.flatnonzero(np.bitwise_count(hashes ^ hashes[one]) <= 8)
        expected |= {(min(one, two), max(one, two)) for two in near.tolist() if two != one}
    return found == expected and len(expected) > 0


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    count = parser.parse_args().images
    cells = ImageSet(Made(count))
    figures: dict[str, Any] = {}

    def measure(name: str, work: Any) -> Any:
        began = time.process_time()
        result, seconds, added = watched(work)
        figures[name] = {"seconds": seconds, "cpu": time.process_time() - began, "added GB": added, "GB": anonymous()}
        print(name, json.dumps(figures[name]), flush=True)
        return result

    print(f"{count:,} images; load of the machine {os.getloadavg()[0]:.1f}; {anonymous():.2f} GB at rest", flush=True)
    many, one = Index(), Index()

    def add() -> None:
        for places in np.array_split(np.arange(count), 10):
            many.append(cells[int(places[0]) : int(places[-1]) + 1])

    measure("add in 10 batches", add)
    found = measure("search", many.find)
    planted = np.arange(99, count, 100)
    right = {frozenset(pair) for pair in zip(planted.tolist(), (planted // 2 + 1).tolist(), strict=True)}
    got = {frozenset(pair) for pair in zip(found.pairs.first.tolist(), found.pairs.second.tolist(), strict=True)}
    print(f"planted {len(right):,}, found {len(right & got):,}, other pairs {len(got - right):,}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.npz"
        measure("save", lambda: many.save(path))
        print(f"on disk {path.stat().st_size / 2**30:.2f} GB, {path.stat().st_size / count:.0f} bytes an image")
        read = measure("load", lambda: Index.load(path))
    print("complete for 300 images:", complete(read), flush=True)
    measure("add in 1 batch", lambda: one.append(cells))
    again = measure("search", one.find)
    same = np.array_equal(again.keep, found.keep) and np.array_equal(again.reasons, found.reasons)
    print("ten batches are one:", same, flush=True)


if __name__ == "__main__":
    main()
