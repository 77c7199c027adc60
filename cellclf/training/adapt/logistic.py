"""Multinomial logistic regression with offsets, soft targets and weights: what every candidate head is fitted with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellclf.utils.threads import one_blas_thread

Floats = NDArray[np.float64]


def softmax(logits: Floats) -> Floats:
    """Give probabilities (..., K) of logits (..., K)."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True))
    found: Floats = shifted / shifted.sum(-1, keepdims=True)
    return found


def fit_logistic(
    rows: Floats,
    targets: Floats,
    offsets: Floats,
    weights: Floats,
    *,
    strength: float = 1_000.0,
    bias_strength: float = 100.0,
    steps: int = 60,
) -> tuple[Floats, Floats]:
    """Fit a softmax head on rows whose logits already have a part that is given.

    Args:
        rows: (n, r) coordinates.
        targets: (n, K) probabilities of the classes.
        offsets: (n, K) given part of the logits; zero for a head of its own, the run's own log-probabilities for one
            that is pulled towards the run.
        weights: (n,) how much each row counts; brought to sum 1.
        strength: How little the kernel is held back: the inverse of its L2 penalty, for rows of length about 1.
        bias_strength: The same of the bias.
        steps: Most iterations.

    Returns:
        Kernel (r, K) and bias (K,).

    Examples:
        >>> rows = np.array([[1.0, 0.0], [-1.0, 0.0]])
        >>> kernel, bias = fit_logistic(rows, np.eye(2), np.zeros((2, 2)), np.ones(2))
        >>> (rows @ kernel + bias).argmax(1).tolist()
        [0, 1]
    """
    from scipy.optimize import minimize

    width, classes = rows.shape[1], targets.shape[1]
    share = weights / weights.sum()
    cut = width * classes

    def loss(values: Floats) -> tuple[float, Floats]:
        kernel, bias = values[:cut].reshape(width, classes), values[cut:]
        logits = rows @ kernel + bias + offsets
        top = logits.max(1, keepdims=True)
        log_sum = top + np.log(np.exp(logits - top).sum(1, keepdims=True))
        given = np.exp(logits - log_sum)
        error = -(share[:, None] * targets * (logits - log_sum)).sum()
        error += 0.5 * np.square(kernel).sum() / strength + 0.5 * np.square(bias).sum() / bias_strength
        change = share[:, None] * (given - targets)
        slope = np.concatenate([(rows.T @ change + kernel / strength).ravel(), change.sum(0) + bias / bias_strength])
        return float(error), slope

    with one_blas_thread():
        found = minimize(loss, np.zeros(cut + classes), jac=True, method="L-BFGS-B", options={"maxiter": steps}).x
    return found[:cut].reshape(width, classes), found[cut:]


def balanced(labels: NDArray[np.int64], classes: int) -> Floats:
    """Give each row a weight so that every class counts the same: rare classes of a few labels are not outvoted."""
    counts = np.bincount(labels, minlength=classes)
    found: Floats = 1.0 / counts[labels]
    return found
