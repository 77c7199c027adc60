"""A promised accuracy is one that the images at hand can promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import beta

from cellclf.errors import OptionError
from cellclf.evaluation.selective import abstain


def scored(n: int, seed: int, slope: float = 6.0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes; an image of confidence c is right with a probability that rises with c."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, n)
    right = rng.random(n) < 1 - 0.4 * np.exp(-slope * (confidence - 0.5))
    return np.where(right, 0, 1), np.stack([confidence, 1 - confidence], 1)


def allowed(labels: np.ndarray, probabilities: np.ndarray, accuracy: float, confidence: float) -> float:
    """Find the largest share whose exact lower bound reaches the accuracy, image after image."""
    order = np.argsort(-probabilities.max(1), kind="stable")
    right = np.cumsum(labels[order] == 0)
    count = np.arange(1, len(order) + 1)
    lower = beta.ppf(1 - confidence, np.maximum(right, 1), count - right + 1) * (right > 0)
    reached = np.flatnonzero(lower >= accuracy)
    return (reached[-1] + 1) / len(order) if len(reached) else 0.0


@pytest.mark.parametrize("accuracy", [0.8, 0.9, 0.95, 0.97, 0.99])
@pytest.mark.parametrize("n", [20, 100, 600, 3000])
def test_the_share_is_what_an_exact_bound_allows_and_a_refusal_is_one_there_too(accuracy, n):
    labels, probabilities = scored(n, n)
    share = allowed(labels, probabilities, accuracy, 0.95)
    if share:
        assert abstain(labels, probabilities).at(accuracy).answered == pytest.approx(share)
    else:
        with pytest.raises(OptionError, match=r"cannot be promised with 95 % confidence from .* images"):
            abstain(labels, probabilities).at(accuracy)


def test_few_promises_are_broken_on_other_images():
    labels, probabilities = scored(100_000, 9999)
    broken = given = 0
    for seed in range(100):
        try:
            found = abstain(*scored(600, seed)).at(0.93)
        except OptionError:
            continue
        given += 1
        broken += (labels[probabilities.max(1) >= found.threshold] == 0).mean() < 0.93
    assert given > 80
    assert broken <= 10, "one threshold breaks its promise in 5 of 100 sets; choosing the largest share costs a little"


@pytest.mark.parametrize("wrong", [{"accuracy": 0.0}, {"accuracy": 1.0}, {"accuracy": 1.1}, {"accuracy": float("nan")}])
def test_numbers_that_nobody_can_promise_are_refused(wrong):
    with pytest.raises(OptionError, match="expected a number above 0 and below 1"):
        abstain(*scored(100, 0)).at(**wrong)
    with pytest.raises(OptionError, match="confidence=2"):
        abstain(*scored(100, 0)).at(0.9, confidence=2)


def test_a_promise_says_its_numbers():
    text = str(abstain(*scored(3000, 1)).at(0.9))
    for word in ("at least 90 %", "95 % confidence", "3,000 images", "observed"):
        assert word in text
