"""How often the 95 % intervals of ``evaluate`` hold the true value, where the images are of slides that differ.

usage: python benchmarks/intervals.py [--trials 1000] [--resamples 500] [--accuracy 0.9]

Draws slides whose accuracy scatters around one value, images of them, and asks how many intervals hold the accuracy of
all slides that there could be: by slide, as with ``groups=``, and by image, as without. Numbers only, no network.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cellclf.evaluation.metrics import evaluate

SLIDES = ((5, 200), (10, 100), (20, 50), (40, 25))
SPREADS = (0.0, 0.02, 0.05)
ACCURACIES = (0.8, 0.9, 0.95)


def draw(
    slides: int, cells: int, spread: float, accuracy: float, classes: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Draw labels, probabilities and slides of a classifier whose accuracy differs from slide to slide.

    A slide's accuracy is of a beta distribution, so that its mean is ``accuracy`` exactly.
    """
    groups = np.repeat(np.arange(slides), cells)
    if spread:
        scale = accuracy * (1 - accuracy) / spread**2 - 1
        own = rng.beta(accuracy * scale, (1 - accuracy) * scale, slides)
    else:
        own = np.full(slides, accuracy)
    labels = rng.integers(0, classes, slides * cells)
    right = rng.random(len(labels)) < own[groups]
    called = np.where(right, labels, (labels + rng.integers(1, classes, len(labels))) % classes)
    return labels, np.eye(classes)[called], groups


def coverage(
    slides: int,
    cells: int,
    spread: float,
    *,
    accuracy: float = 0.9,
    classes: int = 4,
    trials: int = 1000,
    resamples: int = 500,
    by_slide: bool = True,
    seed: int = 0,
) -> dict[str, float]:
    """Give the share of intervals that hold the truth, of the accuracy and of the balanced accuracy."""
    rng = np.random.default_rng([seed, slides, cells, round(1000 * spread)])
    held = {"accuracy": 0, "balanced_accuracy": 0}
    names = [f"class {k}" for k in range(classes)]
    for trial in range(trials):
        labels, probabilities, groups = draw(slides, cells, spread, accuracy, classes, rng)
        report = evaluate(
            labels, probabilities, names, resamples=resamples, seed=trial, groups=groups if by_slide else None
        )
        for name in held:
            score = report.scores[name]
            held[name] += score.low <= accuracy <= score.high
    return {name: count / trials for name, count in held.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the coverage for every number of slides, spread and accuracy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=500)
    parser.add_argument("--accuracy", type=float, action="append")
    given = parser.parse_args(arguments)
    print("accuracy slides cells  sd   by slide: accuracy balanced   by image: accuracy balanced")
    for accuracy in given.accuracy or ACCURACIES:
        for slides, cells in SLIDES:
            for spread in SPREADS:
                how = {"accuracy": accuracy, "trials": given.trials, "resamples": given.resamples}
                found = [coverage(slides, cells, spread, by_slide=one, **how) for one in (True, False)]
                shares = [f"{100 * share:5.1f} %" for one in found for share in one.values()]
                print(
                    f"{accuracy:8.2f} {slides:6} {cells:5} {spread:.2f}            {shares[0]} {shares[1]}"
                    f"              {shares[2]} {shares[3]}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
