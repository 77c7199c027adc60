"""A network is compiled once, TensorFlow has nothing to warn of, and an enlarging one is exported as it predicts."""

from __future__ import annotations

import logging

import numpy as np
import pytest

import cellclf as cc
from cellclf.runs.forward import forward

warns = pytest.mark.tensorflow("functions that are compiled often are warned of")

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)


@pytest.fixture
def warned():
    """What TensorFlow says."""
    import tensorflow

    said: list[str] = []

    class Listening(logging.Handler):
        def emit(self, record):
            said.append(record.getMessage())

    handler = Listening()
    tensorflow.get_logger().addHandler(handler)
    yield said
    tensorflow.get_logger().removeHandler(handler)


def model_of(small_trainer, **changes):
    return small_trainer(**changes).build((32, 32, 3), 3)


@pytest.mark.backend
def test_batches_of_all_sizes_give_what_keras_gives(small_trainer):
    model = model_of(small_trainer)
    run = forward(model)
    assert forward(model) is run
    for size in (1, 2, 7, 40):
        np.testing.assert_allclose(run(IMAGES[:size]), model.predict_on_batch(IMAGES[:size]), atol=1e-6)
    np.testing.assert_allclose(run(IMAGES[:4].astype(np.float32)), run(IMAGES[:4]), atol=1e-6)


@pytest.mark.backend
def test_weights_that_change_afterwards_count(small_trainer):
    model = model_of(small_trainer)
    before = forward(model)(IMAGES[:4])
    model.set_weights([np.zeros_like(weight) for weight in model.get_weights()])
    after = forward(model)(IMAGES[:4])
    np.testing.assert_allclose(after, 1 / 3, atol=1e-6)
    assert not np.allclose(before, after)


def test_it_is_not_saved_with_the_model(small_trainer, tmp_path):
    import keras

    model = model_of(small_trainer)
    expected = forward(model)(IMAGES)
    model.save(tmp_path / "a.keras")
    np.testing.assert_allclose(forward(keras.models.load_model(tmp_path / "a.keras"))(IMAGES), expected, atol=1e-6)


@warns
def test_many_networks_and_sizes_are_no_reason_to_warn(small_trainer, warned):
    for seed in range(6):
        run = cc.Run(model_of(small_trainer, seed=seed), ("a", "b", "c"))
        for count in (1, 3, 20, 40):
            run.predict_proba(IMAGES[:count])
            run.predict_proba(IMAGES[:count], tta=4)
    assert not warned


@warns
@pytest.mark.parametrize("cached", [False, True])
def test_stages_of_one_batch_are_no_reason_to_warn(small_trainer, parts, warned, cached):
    stage, changes = cc.Stage(epochs=1 + cached, learning_rate=1e-3), {} if cached else {"cache": None}
    for seed in range(2):
        small_trainer(stages=(stage,) * 3, batch_size=64, seed=seed, **changes).fit(parts.train[:60], parts.val)
    assert not warned


@pytest.mark.tensorflow("files for other programs are written")
@pytest.mark.parametrize("name", ["model", "model.onnx", "model.tflite"])
@pytest.mark.parametrize("side", [40, 48])
def test_a_run_with_image_size_is_exported_as_it_predicts(small_trainer, name, side, tmp_path):
    for package in {"model": (), "model.onnx": ("tf2onnx", "onnxruntime"), "model.tflite": ("ai_edge_litert",)}[name]:
        pytest.importorskip(package, reason="the runtimes: pip install 'cellclf[export]'")
    model = model_of(small_trainer, image_size=side)
    rng = np.random.default_rng(1)
    for variable in model.variables:
        if "moving" in variable.path:  # far from the statistics of any batch
            variable.assign(rng.uniform(0.5, 2, variable.shape))
    found = cc.Run(model, ("a", "b", "c")).export(tmp_path / name)
    assert found.difference <= 1e-5
