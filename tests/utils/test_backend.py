"""A backend that is missing or not supported is one line; the numbers of a process do not change a run."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import cellclf as cc
from cellclf.errors import TrainingError
from cellclf.utils.backend import float32
from cellclf.utils.device_memory import is_out_of_memory, naming_batch_size

CHECK = "from cellclf.utils.backend import check_backend; check_backend()"


@pytest.mark.parametrize(
    ("env", "json", "words"),
    [
        ({"KERAS_BACKEND": "Tensorflow"}, None, "expected tensorflow, jax, torch: set KERAS_BACKEND=tensorflow"),
        ({"KERAS_BACKEND": "openvino"}, None, "'openvino'"),
        ({}, '{"backend": "theano", "floatx": "float32"}', "keras.json chooses the backend 'theano'"),
        ({}, '{"backend": "cntk"}', "'cntk'"),
        ({}, '{"backend": 7}', "'7'"),
        ({}, '{"backend": "jax\\u001b[2J"}', "'jax\\x1b[2J'"),
        ({}, '{"backend": "tensorflow"}', None),
        ({}, '{"epsilon": 1}', None),
        ({}, "no json", None),
        ({}, "[]", None),
        ({}, None, None),
        ({"KERAS_BACKEND": ""}, None, None),
    ],
)
def test_the_chosen_backend_is_named_with_the_place_of_the_choice(tmp_path, env, json, words):
    if json is not None:
        (tmp_path / "keras.json").write_text(json, "utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("KERAS")}
    env = {**clean, **env, "KERAS_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, env=env, check=False)
    last = done.stderr.strip().splitlines()[-1] if done.stderr else ""
    assert (done.returncode == 0) == (words is None), done.stderr
    assert words is None or (words in last and "pip install 'cellclf[cpu]'" in last)


@pytest.mark.parametrize("name", ["tensorflow", "jax", "torch"])
def test_a_backend_that_is_missing_names_every_extra_and_what_is_there(name):
    others = [other for other in ("tensorflow", "jax", "torch") if other != name]
    code = f"import sys; sys.modules.update({{{name!r}: None, {others[0]!r}: None, {others[1]!r}: sys}}); {CHECK}"
    env = {**os.environ, "KERAS_BACKEND": name}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert f"KERAS_BACKEND is {name}, not installed; set KERAS_BACKEND={others[1]}" in last
    assert all(f"cellclf[{extra}]" in last for extra in ("cpu", "gpu", "jax", "torch")) and len(last) < 400


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16", "float64"])
def test_a_run_is_the_same_whatever_the_global_policy_of_keras_is(policy, tmp_path):
    import keras

    cells = cc.ImageSet(np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8), [0, 1] * 4)
    made = cc.Trainer(backbone=cc.Backbone("residual", weights=None, params={"filters": [8, 8, 8]}), seed=1)
    plain = cc.Run(made.build((32, 32, 3), 2), ("0", "1"))
    expected = plain.predict_proba(cells)
    plain.save(tmp_path / "run")
    keras.config.set_dtype_policy(policy)
    try:
        run = cc.Run(made.build((32, 32, 3), 2), ("0", "1"))
        loaded = cc.load_run(tmp_path / "run")
        for one in (run, loaded, cc.ensemble([run, loaded])):
            np.testing.assert_allclose(one.predict_proba(cells), expected, atol=1e-6)
            assert {layer.compute_dtype for layer in one.model.layers} == {"float32"}
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")


def test_an_error_leaves_the_numbers_of_the_process_as_they_were():
    import keras

    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        with pytest.raises(ZeroDivisionError), float32():
            assert keras.config.floatx() == "float32"
            raise ZeroDivisionError
        assert keras.config.floatx() == "float64" and keras.config.dtype_policy().name == "float64"
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


class ResourceExhaustedError(Exception):
    """As TensorFlow's is called."""


class OutOfMemoryError(RuntimeError):
    """As PyTorch's is called."""


FULL = (
    ResourceExhaustedError("OOM when allocating tensor with shape[64,16,512,512]"),
    ResourceExhaustedError("failed"),
    OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes."),
    RuntimeError("CUDA_ERROR_OUT_OF_MEMORY: out of memory"),
    RuntimeError("Failed to allocate request for 2.0GiB on device ordinal 0"),
    RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
)


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:20])
@pytest.mark.parametrize("training", [True, False])
def test_a_full_device_names_the_batch_size(error, training):
    with (
        pytest.raises(TrainingError, match=r"batch_size=64 .*such as batch_size=32, needs less") as caught,
        naming_batch_size(64, training=training),
    ):
        raise error
    assert ("accumulate=2" in str(caught.value)) == training and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 2 GiB"), OSError(28, "No space left"), ValueError("a bug"), KeyError("x")]
)
def test_other_errors_are_left_alone(error):
    assert not is_out_of_memory(error)
    with pytest.raises(type(error)), naming_batch_size(1, training=True):
        raise error


def test_a_training_on_a_full_device_names_its_batch_size(small_trainer, parts, monkeypatch):
    import keras

    def full(*words, **options):
        raise ResourceExhaustedError("OOM when allocating tensor")

    monkeypatch.setattr(keras.Model, "fit", full)
    with pytest.raises(TrainingError, match=r"batch_size=16 \(OOM when .* accumulate=2 keeps"):
        small_trainer(cache=None).fit(parts.train, parts.val)
