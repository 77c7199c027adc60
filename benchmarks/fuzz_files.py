"""Files that no one would choose: each is loaded as it should be, or refused in a line. Results: docs/benchmarks.md.

    python benchmarks/fuzz_files.py npz --count 10000 --seed 1
    python benchmarks/fuzz_files.py trees --count 4000 --seed 1
    python benchmarks/fuzz_files.py csv --count 4000 --seed 1
    python benchmarks/fuzz_files.py runs --count 2500 --seed 1
    python benchmarks/fuzz_files.py recipes --count 6000 --seed 1

Each input is generated from (seed, number), and with it comes its right outcome, which NumPy, Pillow, csv, json,
tomllib and zipfile compute without cellclf: pixels within one level, labels, groups and ids; which files are skipped;
which settings a recipe has; or that there is nothing to load. Any other outcome is wrong, also an error of another
kind, a line of 1,000 characters or more, and a sign that is not printable. Wrong ones are printed with their number,
which --only repeats; then the exit code is 1.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_npz import fuzz_npz
from fuzz_outcome import Random
from fuzz_recipes import fuzz_recipes
from fuzz_runs import fuzz_runs, make_run
from fuzz_tables import fuzz_csv
from fuzz_trees import fuzz_trees

KINDS: dict[str, Callable[[Random, Path], str | None]] = {
    "npz": fuzz_npz,
    "trees": fuzz_trees,
    "csv": fuzz_csv,
    "recipes": fuzz_recipes,
}


def fuzz(kind: str, count: int, seed: int, only: int | None = None) -> int:
    """Try some inputs of a kind; give how many outcomes are wrong."""
    bad = 0
    with contextlib.ExitStack() as stack:
        work = KINDS.get(kind)
        if work is None:
            whole = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "run"
            expected = make_run(whole)
            work = lambda rng, folder: fuzz_runs(rng, folder, whole, expected)  # noqa: E731  # of these two
        for number in range(count) if only is None else [only]:
            with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
                said = work(np.random.default_rng([seed, *kind.encode(), number]), Path(folder))
            if said is not None:
                bad += 1
                print(f"{kind} --seed {seed} --only {number}: {said}".encode("utf-8", "backslashreplace").decode())
    return bad


def main() -> None:
    """Read the command line, and try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[*KINDS, "runs"])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int, help="repeat this number alone")
    options = parser.parse_args()
    bad = fuzz(options.kind, options.count, options.seed, options.only)
    print(f"{options.kind}: {options.count if options.only is None else 1:,} inputs, {bad} wrong")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
