"""Labels and probabilities that fit together."""

from __future__ import annotations

import numpy as np


def honest(n: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from the probabilities that stand beside them: perfectly calibrated."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return (rng.random((n, 1)) > shares.cumsum(1)).sum(1).clip(0, classes - 1), shares
