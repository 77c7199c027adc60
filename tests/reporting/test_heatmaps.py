from __future__ import annotations

import keras
import numpy as np

import cellclf as cc
from cellclf.evaluation.metrics import evaluate
from cellclf.reporting.heatmaps import heatmaps
from cellclf.runs.run import Run


def network() -> Run:
    images_in = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(images_in)
    x = keras.layers.Dense(2, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return Run(keras.Model(images_in, x), ("round", "lobed"))


def test_heat_of_a_real_network_and_none_where_there_is_none() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    cells = cc.ImageSet(images, [0, 1, 0, 1, 0], class_names=["round", "lobed"])
    run = network()
    report = evaluate(cells.labels, run.predict_proba(cells), cells.class_names, resamples=100)
    found = heatmaps(run, report, cells, [3, 1])
    assert found is not None and found.shape == (2, 16, 16, 3) and found.dtype == np.uint8
    expected = run.explain(cells.subset([3, 1]), classes=report.predicted[[3, 1]]).overlays()
    np.testing.assert_array_equal(found, expected)
    assert heatmaps(None, report, cells, [3]) is None
    assert heatmaps(run, report, cells, []) is None
    assert heatmaps(cc.ensemble([run, network()]), report, cells, [3]) is None, "an ensemble has no feature map"
