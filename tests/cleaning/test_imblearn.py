"""The selectors stand in a pipeline of imbalanced-learn: they clean what is fitted on, never what is predicted."""

from __future__ import annotations

import numpy as np
import pytest

from cellclf import Dedup, Downsample, OutlierFilter, make_cells

pipelines = pytest.importorskip("imblearn.pipeline", reason="needs imbalanced-learn: pip install 'cellclf[test]'")


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1) / 255


def test_a_pipeline_cleans_what_it_fits_and_predicts_everything() -> None:
    from sklearn.base import clone
    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import FunctionTransformer

    cells = make_cells(120, size=32, seed=3, duplicates=8, conflicts=1, foreign=2)
    assert cells.labels is not None
    steps = [Dedup(), OutlierFilter(seed=1), Downsample(target=0.5, seed=1)]
    by_hand = cells
    for step in steps:
        fewer = step.apply(by_hand)
        assert len(fewer) < len(by_hand), f"{step} has nothing to do here"
        by_hand = fewer
    last = [("flat", FunctionTransformer(flat)), ("model", KNeighborsClassifier(1))]
    pipe = pipelines.Pipeline([*zip(("dedup", "outliers", "balance"), steps, strict=True), *last])
    pipe.fit(cells.images, cells.labels)
    assert pipe["model"].n_samples_fit_ == len(by_hand)
    distance, _ = pipe["model"].kneighbors(flat(by_hand.images))
    assert distance.max() < 1e-3, "it was fitted on other images"
    assert len(pipe.predict(cells.images)) == len(cells)

    copy = clone(pipe).set_params(dedup__max_copies=1, balance__target=3)
    assert copy.fit(cells.images, cells.labels)["model"].n_samples_fit_ <= 3 * cells.num_classes < len(by_hand)
    names = np.array(cells.class_names)[cells.labels]
    assert np.isfinite(cross_val_score(copy, cells.images, names, cv=2)).all()
