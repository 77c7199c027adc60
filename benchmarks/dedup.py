"""Measure Dedup on real cells with planted copies, beside imagehash, imagededup and imgcheck.

usage: dedup.py [--peers PYTHON] [--out FILE.json] [--skip-scale] [--skip-augmented]

Needs the real cells (CELLCLF_DATA). PYTHON is the interpreter of a virtual environment of its own with the peers:

    python -m venv peers
    peers/bin/pip install imagehash imgcheck scikit-learn tqdm matplotlib
    peers/bin/pip install --no-deps imagededup

(imagededup without its dependency torch: its CNN, evaluation and plotting modules are left out.) 11,959 cells and
1,800 plants make 13,759 images of 96 x 96, in memory for ours and imagehash, as PNG files for the other two.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from dedup_augmented import measure_augmented
from dedup_peers import watched
from dedup_plants import BLEND, WHOLE, Images, Truth, neighbours, plant
from numpy.typing import NDArray
from PIL import Image

from cellclf import Dedup, ImageSet, load
from cellclf.cleaning.dedup.fingerprints import fingerprint
from cellclf.cleaning.dedup.hamming import near_pairs


def best_of(times: int, work: Any) -> tuple[Any, float, float]:
    """Repeat some work; give its result, least seconds, and most memory in GB."""
    runs = [watched(work) for _ in range(times)]
    return runs[0][0], min(run[1] for run in runs), max(run[2] for run in runs)


def measure_ours(images: Images, truth: Truth, behind: NDArray[np.int64], classes: NDArray[np.int64]) -> dict[str, Any]:
    """Find every kind in turn; give time, memory, recall and precision of each."""
    cells = ImageSet(images)
    result: dict[str, Any] = {}
    found, seconds, memory = best_of(5, lambda: Dedup(max_copies=10**6).find(cells))
    pairs = np.stack([found.pairs.first, found.pairs.second], 1)
    result["default"] = {"seconds": seconds, "gigabytes": memory, **truth.score(pairs)}
    pairs, kinds = pairs[truth.counts(pairs)], found.pairs.kind[truth.counts(pairs)]
    right = truth.right(pairs)
    result["precision by kind"] = {k: float(right[kinds == k].mean()) for k in np.unique(kinds).tolist()}
    result["near, kept"] = [tuple(row.values()) for row in found.rows(found.near) if int(row["first"]) < truth.real]
    result["false pairs"] = pairs[~right].tolist()
    centre, seconds, memory = best_of(2, lambda: Dedup(foreground=True, max_copies=10**6).find(cells))
    pairs = np.stack([centre.pairs.first, centre.pairs.second], 1)
    asked = (centre.pairs.kind == "foreground") & truth.counts(pairs)
    flagged = {frozenset(pair) for pair in pairs.tolist()}
    hard = [frozenset((truth.real + k, int(b))) for k, b in enumerate(behind) if b >= 0]
    result["foreground"] = {
        "seconds": seconds,
        "gigabytes": memory,
        **truth.score(pairs),
        "precision of the kind": float(truth.right(pairs[asked]).mean()),
        "other cell, same background: flagged": sum(pair in flagged for pair in hard),
        "other cell, same background: of": len(hard),
    }
    shared, seconds, memory = best_of(1, lambda: Dedup(background=True, max_copies=10**6).find(cells))
    groups = [group.members for group in shared.groups if group.decision == "shared background"]
    flags = np.zeros(len(images), bool)
    flags[[member for group in groups for member in group]] = True
    blended = np.concatenate([np.zeros(truth.real, bool), truth.kinds == BLEND])
    result["background"] = {
        "seconds": seconds,
        "gigabytes": memory,
        "groups": [len(group) for group in groups],
        "recall": float(flags[blended].mean()),
        "precision": float(blended[flags].mean()),
        "real cells flagged": int(flags[: truth.real].sum()),
    }
    hard_pairs = neighbours(images[: truth.real], classes, truth)
    default = {frozenset(pair) for pair in np.stack([found.pairs.first, found.pairs.second], 1).tolist()}
    result["neighbours of one class"] = {
        "pairs": len(hard_pairs),
        "flagged": sum(pair in default or pair in flagged for pair in hard_pairs),
    }
    _, seconds, _ = best_of(5, lambda: fingerprint(cells))
    _, reading, _ = best_of(5, lambda: images.reshape(-1).view(np.uint64).sum())
    result["hashing"] = {"seconds": seconds, "reading memory": reading, "share of reading speed": reading / seconds}
    return result


def measure_classes(real: Images, cells: ImageSet) -> dict[str, Any]:
    """Even out rare classes of real cells by copying files, and count what is left of the different images.

    Neutrophils and a rare class of 12 and of 40 images, each copied 16 times; a long tail in which every class is
    copied up to the largest; and one class alone.
    """
    assert cells.labels is not None
    sizes: dict[str, dict[str, int]] = {
        "200 + 12": {"neutrophil": 200, "platelet": 12},
        "600 + 40": {"neutrophil": 600, "platelet": 40},
        "long tail": dict(zip(cells.class_names, (25, 500, 60, 250, 12, 30, 1000, 120), strict=True)),
        "one class alone": {"lymphocyte": 40},
    }
    rng = np.random.default_rng(0)
    result = {}
    for name, counts in sizes.items():
        most = max(counts.values()) if len(counts) > 1 else 640
        rows = []
        for one, n in counts.items():
            drawn = rng.permutation(np.flatnonzero(cells.labels == cells.class_names.index(one)))[:n]
            rows.append(np.repeat(drawn, min(16, -(-most // n)))[: max(most, n)])
        places = np.concatenate(rows)
        even = ImageSet(real[places], cells.labels[places], class_names=cells.class_names)
        found = Dedup().find(even)
        result[name] = {
            loss.name: f"{loss.distinct - loss.lost} of {loss.distinct} different ones kept, {loss.images} images"
            for loss in found.losses or ()
        }
    return result


def measure_scale() -> dict[str, Any]:
    """Search random hashes, and skewed ones of which a quarter of the bits never change."""
    rng = np.random.default_rng(0)
    times = {}
    for count in (200_000, 1_000_000):
        even = rng.integers(0, 2**64, count, dtype=np.uint64)
        skewed = np.unique(even & np.uint64(0xFFF7_7F3F_FCFC_3FFE))
        for name, hashes in (("random", even), ("skewed", skewed)):
            _, seconds, memory = best_of(2, lambda hashes=hashes: near_pairs(hashes, distance=4, n_jobs=2))
            times[f"{count:,} {name} hashes, distance 4"] = {"seconds": seconds, "gigabytes": memory}
    return times


def measure_peer(python: str, tool: str, folder: Path, truth: Truth | None) -> dict[str, Any]:
    """Run a peer in its own environment."""
    script = Path(__file__).with_name("dedup_peers.py")
    done = subprocess.run([python, str(script), tool, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1]}
    measured: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    if truth is not None:
        measured |= truth.score(np.load(folder / f"{tool}.npz")["pairs"])
    return measured


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="the interpreter of the peers' environment")
    parser.add_argument("--out", type=Path, help="write all figures here, too")
    parser.add_argument("--skip-scale", action="store_true", help="leave the 200,000 and 1,000,000 hashes out")
    parser.add_argument("--skip-augmented", action="store_true", help="leave the search for augmented copies out")
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/acevedo96")
    data = Path(root) / "data"
    cells = load(data / "acevedo96" / "train")
    assert cells.labels is not None
    images, source, kinds, behind = plant(cells, data)
    truth = Truth(images, source, kinds)
    print(f"{len(images):,} images, {len(source):,} planted; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
    figures: dict[str, Any] = {"ours": measure_ours(images, truth, behind, cells.labels)}
    print(json.dumps(figures["ours"], indent=1), flush=True)
    figures["classes that were evened out"] = measure_classes(images[: truth.real], cells)
    print(json.dumps(figures["classes that were evened out"], indent=1), flush=True)
    if not options.skip_augmented:
        figures["augmented copies"] = measure_augmented(images[: truth.real])
    _, seconds, memory = best_of(1, lambda: Dedup().find(load(data / "acevedo96" / "train")))
    figures["ours, JPEG files"] = {"seconds": seconds, "gigabytes": memory}
    if not options.skip_scale:
        figures["scale"] = measure_scale()
        print(json.dumps(figures["scale"], indent=1), flush=True)
    if options.peers:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.save(folder / "images.npy", images)
            (folder / "png").mkdir()
            for number, image in enumerate(images):
                Image.fromarray(image).save(folder / "png" / f"{number:06d}.png", compress_level=1)
            del images
            for tool in ("imgcheck", "imagededup", "imagehash"):
                figures[tool] = measure_peer(options.peers, tool, folder, truth)
                print(tool, json.dumps(figures[tool]), flush=True)
            for tool in ("imgcheck-jpeg", "imagededup-jpeg"):
                figures[tool] = measure_peer(options.peers, tool, data / "acevedo96" / "train", None)
        table(figures)
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1))
    print(time.strftime("done %H:%M"))


def table(figures: dict[str, Any]) -> None:
    """Print the comparison, ours first."""
    ours = figures["ours"]["default"]
    print(
        f"\n{'':12}{'seconds':>9}{'ratio':>8}{'GB':>7}  recall: " + " / ".join(WHOLE) + "; precision; wrongly removed"
    )
    for name in ("ours", "imagehash", "imagededup", "imgcheck"):
        one = ours if name == "ours" else figures[name]
        if "error" in one:
            print(f"{name:12} {one['error']}")
            continue
        recall = " / ".join(f"{one['recall'][kind]:.3f}" for kind in WHOLE)
        print(
            f"{name:12}{one['seconds']:9.2f}{one['seconds'] / ours['seconds']:8.1f}{one['gigabytes']:7.2f}  "
            f"{recall}; {one['precision']:.4f}; {one['wrongly_removed']}"
        )
    files = figures["ours, JPEG files"]["seconds"]
    for tool in ("imgcheck-jpeg", "imagededup-jpeg"):
        if "error" not in figures[tool]:
            theirs = figures[tool]["seconds"]
            print(f"JPEG files: ours {files:.1f} s, {tool} {theirs:.1f} s: {theirs / files:.1f} x")


if __name__ == "__main__":
    main()
