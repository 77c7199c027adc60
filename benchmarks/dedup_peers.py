"""Run one other tool on prepared images and report its pairs and its cost; called by dedup.py.

usage: dedup_peers.py TOOL FOLDER

TOOL is imagehash, imagededup, imgcheck; FOLDER holds images.npy and png/000000.png ...; with imagededup-jpeg and
imgcheck-jpeg, FOLDER is a tree of JPEG files and only the time counts. Writes FOLDER/TOOL.npz (pairs) and prints one
line of JSON. imagededup is loaded without its CNN, evaluation and plotting modules, which need torch: stand-ins take
the place of the packages ``imagededup.methods`` and ``imagededup.utils``; the hashing, the search and the compiled
extension are its own.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np

Pairs = list[tuple[int, int]]


def anonymous() -> float:
    """Give this process's anonymous memory in GB."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon")) / 2**20


def watched(work: Callable[[], Pairs]) -> tuple[Pairs, float, float]:
    """Do the work; give its result, its seconds and the most memory it added, in GB."""
    start, peak, done = anonymous(), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak[0] = max(peak[0], anonymous() - start)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    return result, seconds, peak[0]


def run_imagehash(folder: Path) -> Callable[[], Pairs]:
    """Hash arrays with phash, then compare all pairs, as its README does."""
    import imagehash
    from PIL import Image

    images = np.load(folder / "images.npy")

    def work() -> Pairs:
        hashes = [imagehash.phash(Image.fromarray(image)) for image in images]
        found = []
        for i, one in enumerate(hashes):
            for j in range(i + 1, len(hashes)):
                if one - hashes[j] <= 4:
                    found.append((i, j))
        return found

    return work


def run_imagededup(folder: Path) -> Callable[[], Pairs]:
    """PHash at its default distance, compiled brute force (its fastest search)."""
    spec = importlib.util.find_spec("imagededup")
    assert spec is not None and spec.submodule_search_locations
    for name in ("methods", "utils"):
        package = types.ModuleType(f"imagededup.{name}")
        package.__path__ = [str(Path(spec.submodule_search_locations[0]) / name)]
        sys.modules[package.__name__] = package
    from imagededup.methods.hashing import PHash

    def work() -> Pairs:
        tool = PHash(verbose=False)
        codes = tool.encode_images(image_dir=str(folder), recursive=True)
        found = tool.find_duplicates(encoding_map=codes, max_distance_threshold=10, search_method="brute_force_cython")
        return numbered((one, other) for one, others in found.items() for other in others)

    return work


def run_imgcheck(folder: Path) -> Callable[[], Pairs]:
    """Hash with phash, flips and turns, and take all pairs within distance 3."""
    import imgcheck

    files = sorted(str(path) for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))

    def work() -> Pairs:
        hashed = imgcheck.compute_hashes(files, rotation_invariant=True, show_progress=False)
        index = imgcheck.HammingIndex(threshold=3)
        codes = [one.int_hash for one in hashed]
        index.build(codes)
        pairs = index.find_all_pairs_within_threshold(codes, threshold=3)
        return numbered((hashed[i].path, hashed[j].path) for i, j in pairs)

    return work


def numbered(names: object) -> Pairs:
    """Turn pairs of file names into pairs of numbers; 0 for names that are none."""

    def number(name: str) -> int:
        stem = Path(name).stem
        return int(stem) if stem.isdigit() else 0

    return sorted({(min(a, b), max(a, b)) for a, b in ((number(a), number(b)) for a, b in names)})  # type: ignore[attr-defined]  # any iterable


def main() -> None:
    """Run the tool and report."""
    tool, folder = sys.argv[1], Path(sys.argv[2])
    images = folder if tool.endswith("-jpeg") or tool == "imagehash" else folder / "png"
    start = {"imagehash": run_imagehash, "imagededup": run_imagededup, "imgcheck": run_imgcheck}
    pairs, seconds, peak = watched(start[tool.removesuffix("-jpeg")](images))
    if not tool.endswith("-jpeg"):
        np.savez(folder / f"{tool}.npz", pairs=np.array(pairs, np.int64).reshape(-1, 2))
    print(json.dumps({"seconds": seconds, "gigabytes": peak}))


if __name__ == "__main__":
    main()
