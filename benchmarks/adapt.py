"""What a run is worth in other laboratories before and after a few of their cells are labelled.

usage: CELLCLF_DATA=FOLDER python benchmarks/adapt.py RUN TRAINING_SET --cache FOLDER [--sets a,b] [--seeds 10]
       [--first 0] [--counts 25,50] [--modes suggested,random] [--table]

RUN is the run of recipe `challenge` (seed 7) on TRAINING_SET, which make_challenge.py writes. The 2,388 cells on which
it was chosen are made again (the manifest's sha256 shows that they are the right ones), and five pretended laboratories
from them (adapt_laboratories.py), and `home`: some of these cells as they are. On the rest nothing was chosen:
bccd_crops is a real laboratory, `same source` holds 240 cells of acevedo96/val, `altered` their shifted copy
(make_shifted.py, seed 11). Where the run is right already nothing may be lost.

Every draw cuts a laboratory in halves: labels come from one, scores from the other. Modes:
  suggested  labels of suggested cells; random: of cells drawn at random
  wrong      suggested, two of the labels changed to another class
  permuted   suggested, all labels dealt anew: nothing can be learnt
  rounds     suggested in three rounds of a third each, the last run choosing
Features are read once a set and zoom, results written after every draw: what is there is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from adapt_laboratories import LABORATORIES, pretend

from cellclf import ImageSet, load, load_run
from cellclf.backbones.graph import zoomed
from cellclf.data.classes import match_labels
from cellclf.errors import CellclfError
from cellclf.pipeline import Pipeline
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.space import learn_space
from cellclf.runs.suggest import choose
from cellclf.runs.tta import VIEWS
from cellclf.training.adapt.adapt import Adapted, adapt_labelled, adapt_unlabelled
from cellclf.training.adapt.candidates import Fitter, Reading, heads, sizes
from cellclf.training.adapt.mixture import mix

ZOOMS = (1.0, 0.7, 1.5, 2.0)
MODES = ("suggested", "random", "wrong", "permuted", "rounds")
BCCD, HOME, SAME, ALTERED = "bccd_crops", "home", "same_source", "altered"
AT_HOME = (15, 45, 35, 45, 35, 35, 65, 35)


def chosen_on(run, training_set: Path, cache: Path) -> ImageSet:
    """Give the cells on which the run was chosen, made again once."""
    path = cache / "val.npz"
    if not path.exists():
        cells = load(training_set, class_names=list(run.class_names))
        Pipeline.from_recipe("challenge").prepare(cells, show=True).val.save(path)
    cells = load(path)
    expected, found = run.manifest["data"]["val"]["sha256"], cells.fingerprint()
    if found != expected:
        sys.exit(f"{path} has sha256 {found}; the run was chosen on {expected}: another training set or version")
    return cells


@dataclass(eq=False)
class Laboratory:
    """A laboratory's cells as the run reads them.

    Args:
        name: Of the set.
        labels: (N,) places in ``columns``.
        columns: (C,) the run's column of each class, -1 for one that it is made to lack.
        widths: Of the layers.
        features: Zoom -> (8, N, D).
        given: Zoom -> (8, N, K).
        scored: Classes that count.
    """

    name: str
    labels: np.ndarray
    columns: np.ndarray
    widths: tuple[int, ...]
    features: dict[float, np.ndarray]
    given: dict[float, np.ndarray]
    scored: list[int]

    def score(self, rows: np.ndarray, called: np.ndarray) -> float:
        """Give the balanced accuracy over the classes that count."""
        truth = self.labels[rows]
        return float(np.mean([(called[truth == k] == k).mean() for k in self.scored if (truth == k).any()]))

    def recalls(self, rows: np.ndarray, called: np.ndarray) -> dict[int, float]:
        """Give the recall of every class that occurs in some rows."""
        truth = self.labels[rows]
        return {int(k): float((called[truth == k] == k).mean()) for k in np.unique(truth)}

    def own(self, rows: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
        """Give what the run as it was calls the cells, one view."""
        columns = self.columns if columns is None else columns
        taken = np.where(columns >= 0, self.given[1.0][0][rows][:, np.maximum(columns, 0)], -1)
        return taken.argmax(1)

    def reading(self, zoom: float, pool: np.ndarray, picked: np.ndarray, views: int) -> Reading:
        """Give the arrays that an adaptation sees: the labelled cells first, then some others in all views."""
        rest = np.setdiff1d(pool, picked)[: max(0, views - len(picked))]
        rows = np.concatenate([picked, rest])
        features, given = self.features[zoom], self.given[zoom]
        return Reading(zoom, self.widths, features[0, pool], given[0, pool], features[:, rows], given[:, rows])

    def readings(self, pool: np.ndarray, picked: np.ndarray) -> dict[float, Reading]:
        """Give what an adaptation with labels sees."""
        return {zoom: self.reading(zoom, pool, picked, 256) for zoom in self.features}


def read(name: str, cells: ImageSet, run, cache: Path, removed: str | None, least: int) -> Laboratory:
    """Read a laboratory's cells in all views and zooms, once."""
    features, given, widths = {}, {}, ()
    key = hashlib.sha256((cells.fingerprint() + str(run.manifest.get("end_sha256"))).encode()).hexdigest()[:12]
    layers = feature_layers(run.model, 3)
    for zoom in ZOOMS:
        path = cache / f"features_{name.replace(' ', '_').replace(',', '')}_{zoom:g}_{key}.npz"
        if not path.exists():
            started = time.perf_counter()
            reader = FeatureReader(zoomed(run.model, zoom), layers=layers, batch_size=128)
            found, probabilities = reader.read_views(cells, views=list(VIEWS))
            np.savez(path.with_suffix(".part.npz"), features=found, given=probabilities, widths=reader.widths)
            path.with_suffix(".part.npz").replace(path)
            print(f"read {name} at zoom {zoom:g}: {time.perf_counter() - started:.1f} s", flush=True)
        with np.load(path) as stored:
            features[zoom], given[zoom] = stored["features"], stored["given"]
            widths = tuple(int(width) for width in stored["widths"])
    columns = np.arange(len(run.class_names))
    if removed is not None:
        place = run.class_names.index(removed)
        columns = np.where(columns == place, -1, columns - (columns > place))
        for zoom, found in given.items():
            kept = np.delete(found, place, axis=-1)
            given[zoom] = kept / kept.sum(-1, keepdims=True)
    labels = match_labels(cells, run.class_names)
    scored = [k for k in range(len(columns)) if (labels == k).sum() >= least]
    return Laboratory(name, labels, columns, widths, features, given, scored)


def laboratories(options: argparse.Namespace, data: Path) -> Iterator[Laboratory]:
    """Give the laboratories that were asked for, one after the other."""
    run = load_run(options.run)
    options.cache.mkdir(parents=True, exist_ok=True)
    names = [BCCD, HOME, SAME, ALTERED, *(short(one.name) for one in LABORATORIES)]
    chosen = options.sets.split(",") if options.sets else names
    for name in chosen:
        if name not in names:
            sys.exit(f"--sets {name}; expected some of {', '.join(names)}")
    if BCCD in chosen:
        yield read(BCCD, load(data / BCCD), run, options.cache, None, 20)
    if SAME in chosen:
        yield read(SAME, some(load(data / "acevedo96" / "val"), 240), run, options.cache, None, 10)
    if ALTERED in chosen:
        path = options.cache / "altered.npz"
        if not path.exists():
            made = [sys.executable, data / "make_shifted.py", data / "acevedo96" / "val", path]
            subprocess.run([*map(str, made), "11"], check=True)
        yield read(ALTERED, some(load(path), 240), run, options.cache, None, 10)
    cells = chosen_on(run, Path(options.training_set), options.cache)
    if HOME in chosen:
        rng = np.random.default_rng(0)
        rows = [rng.permutation(np.flatnonzero(cells.labels == k))[:count] for k, count in enumerate(AT_HOME)]
        yield read(HOME, cells.subset(np.sort(np.concatenate(rows))), run, options.cache, None, 10)
    for place, one in enumerate(LABORATORIES):
        if short(one.name) in chosen:
            found = read(short(one.name), pretend(cells, one, place), run, options.cache, one.removed, 10)
            start = found.score(np.arange(len(found.labels)), found.own(np.arange(len(found.labels))))
            print(f"{found.name}: {len(found.labels)} cells, the run as it was {start:.3f}", flush=True)
            if start > 0.75:
                sys.exit(f"{found.name} is too easy to count: the run has {start:.3f} there, at most .75 is allowed")
            yield found


def short(name: str) -> str:
    """Give a laboratory's name as options and tables have it."""
    return name.replace(",", "").replace(" ", "_")


def some(cells: ImageSet, count: int) -> ImageSet:
    """Draw some cells of a set."""
    return cells.subset(np.sort(np.random.default_rng(0).permutation(len(cells))[:count]))


def pick(lab: Laboratory, pool: np.ndarray, count: int, mode: str, seed: int) -> np.ndarray:
    """Choose the cells that are labelled."""
    if mode == "random":
        return pool[np.random.default_rng([seed, count]).permutation(len(pool))[:count]]
    used = [place >= len(lab.widths) - 2 for place in range(len(lab.widths))]
    views = lab.features[1.0][:, pool[:256]]
    coordinates = learn_space(lab.features[1.0][0, pool], views, lab.widths, columns=used).apply(
        lab.features[1.0][0, pool]
    )
    given = lab.given[1.0][0, pool]
    names = [f"class {k}" for k in range(given.shape[1])]
    if mode != "rounds":
        return pool[choose(coordinates, given, names, count, seed=seed).rows]
    picked = np.empty(0, np.int64)
    for part in np.array_split(np.arange(count), 3):
        if len(picked):
            made = adapt(lab, pool, pool[picked], lab.labels[pool[picked]], seed, curve=False)
            given = made.mixture.probabilities(lab.features[made.zoom][0, pool], lab.given[made.zoom][0, pool])
            names = [f"class {k}" for k in range(given.shape[1])]
        rows = choose(coordinates, given, names, len(part), labelled=picked, seed=seed).rows
        picked = np.concatenate([picked, rows])
    return pool[picked]


def adapt(
    lab: Laboratory, pool: np.ndarray, picked: np.ndarray, labels: np.ndarray, seed: int, *, curve: bool
) -> Adapted:
    """Adapt the run with labels."""
    return adapt_labelled(lab.readings(pool, picked), labels, lab.columns, seed=seed, curve=curve)


def draw(lab: Laboratory, mode: str, count: int, seed: int) -> dict[str, object]:
    """Make one draw: cut in halves, choose, adapt, score on the other half."""
    order = np.random.default_rng([seed, 77]).permutation(len(lab.labels))
    pool, test = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    result: dict[str, object] = {"set": lab.name, "mode": mode, "count": count, "seed": seed}
    result["before"] = lab.score(test, lab.own(test))
    if not count:
        occurring = np.unique(lab.labels)
        columns = np.where(np.isin(np.arange(len(lab.columns)), occurring), lab.columns, -1)
        readings = {zoom: lab.reading(zoom, pool, pool[:0], 256) for zoom in lab.features}  # as many views at each zoom
        for name, used in (("unlabelled", lab.columns), ("classes", columns)):
            made = adapt_unlabelled(readings, used)
            found = made.mixture.probabilities(lab.features[made.zoom][:, test], lab.given[made.zoom][:, test])
            result[name], result[f"{name} 8 views"] = (lab.score(test, p.argmax(1)) for p in (found[0], found.mean(0)))
            result[f"{name} zoom"] = made.zoom
        return result
    picked = pick(lab, pool, count, mode, seed)
    labels, rng = lab.labels[picked].copy(), np.random.default_rng([seed, count, 5])
    wrong: list[int] = []
    if mode == "permuted":
        labels = rng.permutation(labels)
    if mode == "wrong":
        wrong = sorted(int(row) for row in rng.choice(count, 2, replace=False))
        for row in wrong:
            labels[row] = rng.choice([k for k in np.unique(lab.labels[picked]) if k != labels[row]])
    started, worked = time.perf_counter(), time.process_time()
    try:
        made = adapt(lab, pool, picked, labels, seed, curve=mode == "suggested")
    except CellclfError as error:
        return result | {"refused": str(error)}
    result |= {"seconds": time.perf_counter() - started, "cpu": time.process_time() - worked}
    found = made.mixture.probabilities(lab.features[made.zoom][:, test], lab.given[made.zoom][:, test])
    result["after"], result["after 8 views"] = (lab.score(test, p.argmax(1)) for p in (found[0], found.mean(0)))
    result |= {"chosen": made.candidate.name, "temperature": made.temperature, "wrong": wrong}
    result["tried"] = {one.name: [one.loss, one.accuracy] for one in made.tried}
    result["recalls before"], result["recalls"] = (
        lab.recalls(test, lab.own(test)),
        lab.recalls(test, found[0].argmax(1)),
    )
    result["proof"] = asdict(made.proof)
    if mode == "suggested" and seed < 3:
        result["candidates"] = each(lab, pool, picked, test)
    return result


def each(lab: Laboratory, pool: np.ndarray, picked: np.ndarray, test: np.ndarray) -> dict[str, float]:
    """Score every candidate by itself on the other half, one view."""
    readings, labels = lab.readings(pool, picked), lab.labels[picked]
    fitter, found = Fitter(readings, labels, lab.columns), {}
    for one in [*sizes(readings), *heads(sizes(readings)[0], readings[1.0])]:
        made = mix(
            fitter.fit(one, np.arange(len(labels))), lab.columns, readings[one.zoom].views_given[0, : len(labels)]
        )
        called = made.probabilities(lab.features[one.zoom][0, test], lab.given[one.zoom][0, test]).argmax(1)
        found[one.name] = lab.score(test, called)
    return found


def table(lines: list[dict]) -> None:
    """Print the figures: means over seeds."""
    for name, mode, count in sorted({(one["set"], one["mode"], one["count"]) for one in lines}):
        some = [one for one in lines if (one["set"], one["mode"], one["count"]) == (name, mode, count)]
        start = f"{name:17} {mode:9} {count:3} labels, {len(some):2} draws: {average(some, 'before'):.3f} ->"
        if not count:
            for key in ("unlabelled", "classes"):
                change = np.asarray([one[key] - one["before"] for one in some])
                low = change.mean() - 2.262 * change.std(ddof=1) / np.sqrt(len(some)) if len(some) > 1 else np.nan
                zooms = sorted({one[f"{key} zoom"] for one in some})
                print(
                    f"{start} {key} {average(some, key):.3f}, 8 views {average(some, f'{key} 8 views'):.3f}; "
                    f"change {change.mean():+.3f}, 95 % from {low:+.3f}; zooms {zooms}"
                )
            continue
        refused, some = len(some), [one for one in some if "after" in one]
        after = np.asarray([one["after"] for one in some])
        print(
            f"{start} {after.mean():.3f}, lower quarter {np.quantile(after, 0.25):.3f}, 8 views "
            f"{average(some, 'after 8 views'):.3f}; {proofs(some)}; refused {refused - len(some)}; "
            f"{np.median([one['cpu'] for one in some]):.1f} s of CPU time"
        )
        if mode == "wrong":
            first = np.mean([set(one["wrong"]) <= set(one["proof"]["doubts"]) for one in some])
            print(f"    both wrong labels among the first five doubts in {100 * first:.0f} %")
        kinds = {one["chosen"] for one in some}
        print("    chosen: " + ", ".join(f"{kind} {sum(one['chosen'] == kind for one in some)}" for kind in kinds))
        some = [one for one in some if "candidates" in one]
        names = {key for one in some for key in one["candidates"]}
        if names:
            print(
                "    alone: "
                + ", ".join(
                    f"{key} {np.mean([o['candidates'][key] for o in some if key in o['candidates']]):.3f}"
                    for key in sorted(names)
                )
            )


def average(lines: list[dict], key: str) -> float:
    """Give the mean of a figure."""
    return float(np.mean([one[key] for one in lines]))


def proofs(lines: list[dict]) -> str:
    """Say how the proofs of some draws compare with what came out on the other half."""
    truth = {key: np.asarray([one[key] for one in lines]) for key in ("before", "after")}
    truth["gain"] = truth["after"] - truth["before"]
    parts = []
    for key, value in truth.items():
        said, low, high = (np.asarray([one["proof"][key][end] for one in lines]) for end in ("value", "low", "high"))
        parts.append(
            f"{key} off by {(said - value).mean():+.3f}, width {(high - low).mean():.2f}, "
            f"covered {((low <= value) & (value <= high)).mean():.2f}"
        )
    return f"proof: {'; '.join(parts)}; shown {np.mean([one['proof']['helps'] for one in lines]):.2f}"


def main() -> None:
    """Make the draws that are not there yet and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("training_set")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", default="")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--counts", default="0,10,25,50,100")
    parser.add_argument("--modes", default="suggested,random")
    parser.add_argument("--table", action="store_true", help="print what is there and draw nothing")
    options = parser.parse_args()
    root = os.environ.get("CELLCLF_DATA")
    if not root:
        sys.exit("set CELLCLF_DATA to the folder that holds data/")
    for mode in options.modes.split(","):
        if mode not in MODES:
            sys.exit(f"--modes {mode}; expected some of {', '.join(MODES)}")
    store = options.cache / "adapt.jsonl"
    lines = [json.loads(line) for line in store.read_text().splitlines()] if store.exists() else []
    done = {(one["set"], one["mode"], one["count"], one["seed"]) for one in lines}
    if not options.table:
        for lab in laboratories(options, Path(root) / "data"):
            for mode in options.modes.split(","):
                for count in map(int, options.counts.split(",")):
                    for seed in range(options.first, options.first + options.seeds):
                        if (lab.name, mode, count, seed) in done or (not count and mode != "suggested"):
                            continue
                        line = draw(lab, mode, count, seed)
                        with store.open("a") as file:
                            file.write(json.dumps(line) + "\n")
                        lines.append(line)
    table(lines)


if __name__ == "__main__":
    main()
