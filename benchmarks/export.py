"""A run's exported networks on real cells: are their probabilities the same, and how fast are they?

usage: CELLCLF_DATA=FOLDER python benchmarks/export.py RUN
    [--count 1000] [--seconds 10] [--n-jobs JOBS] [--run-only] [--json FILE]

RUN is a run folder, FOLDER holds data/acevedo96/val. The run is exported as SavedModel, ONNX and LiteRT, and every
probability of COUNT cells, drawn with a seed, is compared with Keras: the largest difference must not be above 1e-4, or
the exit code is 1. Then each, Keras among them, predicts batches of 1 and of 64 of these cells, in turn in five
rounds, so that the load of the machine is the same for all. Printed are the images a second (median of the rounds, and
their range) and the ratio to Keras. Each runtime computes with JOBS threads.

With JOBS = all cores, so does `Run.predict_proba` with runtime "keras" and with "onnx", the last lines of each size;
their ratio is printed, and the largest difference of a probability over all COUNT cells. --run-only leaves the exports
out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROUNDS = 5


def pace(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, size: int, seconds: float) -> float:
    """Give images a second, predicted in batches of this size for at least this time."""
    starts = range(0, max(1, len(images) - size + 1), size)
    done, start = 0, time.perf_counter()
    while True:
        for place in starts:
            done += len(predict(images[place : place + size]))
            if (spent := time.perf_counter() - start) >= seconds:
                return done / spent


def main() -> int:
    """Export, compare, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0, help="for each runtime and batch size, over all rounds")
    parser.add_argument("--n-jobs", type=int, default=1)
    parser.add_argument("--run-only", action="store_true", help="Keras and Run.predict_proba alone")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(options.n_jobs)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import cellclf
    from cellclf.runs.export import LIMIT, open_exported

    run = cellclf.load_run(options.run)
    cells = cellclf.load(Path(os.environ["CELLCLF_DATA"]) / "data" / "acevedo96" / "val", size=run.input_shape[:2])
    chosen = np.sort(np.random.default_rng(0).permutation(len(cells))[: options.count])
    cells = cells.subset(chosen)
    images = np.ascontiguousarray(cells.images)
    print(f"{options.run}: {len(cells):,} cells of acevedo96/val, {options.n_jobs} thread(s), {os.cpu_count()} cores")
    found: dict[str, dict[str, float]] = {"keras": {}}
    predictors: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in () if options.run_only else ("model", "model.onnx", "model.tflite"):
            start = time.perf_counter()
            exported = run.export(Path(folder) / name, check=cells)
            spent = time.perf_counter() - start
            path = exported.path
            size = sum(f.stat().st_size for f in (path.rglob("*") if path.is_dir() else [path]) if f.is_file())
            found[exported.format] = {"difference": exported.difference, "seconds": spent, "megabytes": size / 1e6}
            predictors[exported.format] = open_exported(path, n_jobs=options.n_jobs)
            print(
                f"  {exported.format:<11} largest difference {exported.difference:.1e}  {size / 1e6:.1f} MB", flush=True
            )
        run.model.jit_compile = False
        keras: dict[str, Callable[[np.ndarray], np.ndarray]] = {"keras": run.model.predict_on_batch}
        predictors = keras | predictors
        if options.n_jobs == os.cpu_count():
            for runtime in ("keras", "onnx"):
                own = cellclf.load_run(options.run)
                own.runtime, own.folder = runtime, None  # nothing is kept in a folder that is only measured
                found[f"run, {runtime}"], predictors[f"run, {runtime}"] = {}, own.predict_proba
            start = time.perf_counter()
            predictors["run, onnx"](images[:1])
            spent = time.perf_counter() - start
            apart = float(np.abs(predictors["run, onnx"](images) - predictors["run, keras"](images)).max())
            found["run, onnx"] |= {"difference": apart, "seconds": spent}
            print(f"  run, onnx   largest difference {apart:.1e}  made and compared in {spent:.1f} s", flush=True)
        for size in (1, 64):
            for predict in predictors.values():
                predict(images[:size])  # the first call builds
            paces: dict[str, list[float]] = {name: [] for name in predictors}
            for _ in range(ROUNDS):
                for name, predict in predictors.items():
                    paces[name].append(pace(predict, images, size, options.seconds / ROUNDS))
            base = statistics.median(paces["keras"])
            if "run, onnx" in paces:
                pairs = [new / old for new, old in zip(paces["run, onnx"], paces["run, keras"], strict=True)]
                found["run, onnx"][f"over_keras_{size}"] = statistics.median(pairs)
                print(f"  batch {size:>2}  run, onnx over run, keras: {statistics.median(pairs):.2f} x", flush=True)
            for name, values in paces.items():
                middle = statistics.median(values)
                found[name][f"images_a_second_{size}"] = middle
                spread = f"{min(values):,.0f}-{max(values):,.0f}"
                line = f"{middle:8,.1f} images a second ({spread})  {middle / base:.2f} x Keras"
                print(f"  batch {size:>2}  {name:<11} {line}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0 if all(row.get("difference", 0) <= LIMIT for row in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
