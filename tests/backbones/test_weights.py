from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from cellclf.backbones.backbone import Backbone
from cellclf.errors import WeightsError

SHAPE = (32, 32, 3)
PIXELS = np.random.default_rng(5).integers(0, 256, (2, *SHAPE), dtype=np.uint8)


@pytest.fixture(scope="module")
def plain() -> Any:
    """Return MobileNet as Keras gives it: no preprocessing, other random weights than ours."""
    return keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=SHAPE)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
def test_a_file_of_the_plain_network_fits_the_one_with_preprocessing(plain: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    (plain.save_weights if suffix == ".weights.h5" else plain.save)(path)
    model = Backbone("mobilenet", weights=path, params={"alpha": 0.25}).build(SHAPE)
    expected = plain.predict(PIXELS / np.float32(127.5) - 1, verbose=0)
    assert np.allclose(model.predict(PIXELS, verbose=0), expected, atol=1e-3)


def test_the_weights_of_a_whole_classifier_fit(tmp_path: Path) -> None:
    net = Backbone("residual", params={"filters": [4, 4, 4]})
    base = net.build(SHAPE, seed=1)
    top = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(base.output))
    keras.Model(base.input, top).save(tmp_path / "model.keras")
    again = Backbone("residual", params={"filters": [4, 4, 4]}, weights=tmp_path / "model.keras").build(SHAPE, seed=2)
    for first, second in zip(base.get_weights(), again.get_weights(), strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("alpha", [0.25, 0.75])
def test_the_real_weights_load(real_data: Path, alpha: float) -> None:
    path = real_data / "weights" / f"mobilenet_v1_{alpha}_imagenet_notop.weights.h5"
    model = Backbone("mobilenet", weights=path, params={"alpha": alpha}).build((96, 96, 3))
    plain = keras.applications.MobileNet(include_top=False, weights=None, alpha=alpha, input_shape=(96, 96, 3))
    plain.load_weights(path)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), dtype=np.uint8)
    expected = plain.predict(pixels / np.float32(127.5) - 1, verbose=0)
    assert expected.max() > 1 and np.allclose(model.predict(pixels, verbose=0), expected, atol=1e-3)


def test_xception_starts_from_its_file(real_data: Path) -> None:
    path = real_data / "weights" / "xception_imagenet_notop.weights.h5"
    backbone = Backbone("xception", weights=path)
    assert backbone.check((71, 71, 3)) == ()
    model = backbone.build((71, 71, 3))
    with h5py.File(path) as file:
        arrays = []
        file.visititems(lambda _, item: arrays.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    # every array of the file is in the network: sums of squares do not depend on how the file names its layers
    ours, theirs = (sorted(float((one**2).sum()) for one in some) for some in (model.get_weights(), arrays))
    assert len(ours) == 234 and ours == theirs
    maps = model.predict(np.full((1, 71, 71, 3), 200, np.uint8), verbose=0)
    assert maps.shape == (1, 3, 3, 2048) and 0.01 < maps.max() < 100


@pytest.mark.parametrize(
    ("network", "params", "message"),
    [
        ("mobilenet", {"alpha": 0.5}, r"8 filters, this network's 16: .* params=\{'alpha': 0.25\}"),
        ("residual", None, "stem_conv/kernel has the shape .* 8 filters, this network's 32$"),
        ("sequential", {"filters": [8, 8, 8, 8, 8]}, "block1_conv/bias|block2_conv/kernel has the shape"),
        ("resnet50", None, r"conv1_conv/kernel has the shape \(7, 7, 3, 64\)"),
    ],
)
def test_another_network_is_refused_in_one_line(
    plain: Any, tmp_path: Path, network: str, params: dict[str, Any] | None, message: str
) -> None:
    path = tmp_path / "net.weights.h5"
    plain.save_weights(path)
    with pytest.raises(WeightsError, match=message) as caught:
        Backbone(network, weights=path, params=params).build(SHAPE)
    assert "\n" not in str(caught.value) and "do not fit" in str(caught.value)


def test_the_same_shapes_in_another_order_are_refused(tmp_path: Path) -> None:
    """All the shapes are there, but not where they belong: Keras's own refusal is told in one line too."""
    inputs = keras.Input(SHAPE)
    x = keras.layers.Conv2D(8, 3, use_bias=False)(inputs)
    for filters, kernel in ((6, 1), (6, 3), (6, 3), (6, 1), (6, 3), (6, 3), (6, 1), (6, 3), (6, 3)):
        x = keras.layers.Conv2D(filters, kernel, use_bias=False)(x) if filters else x
    net = Backbone("residual", params={"filters": [8, 8, 8]})
    weights = net.build(SHAPE).get_weights()
    outputs = [
        keras.layers.Conv2D(w.shape[3], w.shape[0], use_bias=False)(keras.Input((None, None, w.shape[2])))
        for w in reversed(weights)
        if w.ndim == 4
    ]
    holder = keras.Model([tensor._keras_history.operation.input for tensor in outputs], outputs)
    norm = keras.Sequential([keras.Input((8,)), *(keras.layers.BatchNormalization() for _ in range(10))])
    joined = keras.Model([*holder.inputs, *norm.inputs], [*holder.outputs, *norm.outputs])
    path = tmp_path / "shuffled.weights.h5"
    joined.save_weights(path)
    with pytest.raises(WeightsError, match="do not fit") as caught:
        Backbone("residual", params={"filters": [8, 8, 8]}, weights=path).build(SHAPE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_nonsense_is_no_file_of_weights(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"nonsense" * 100)
    with pytest.raises(WeightsError, match="is not a file of Keras weights"):
        Backbone("residual", weights=path).build(SHAPE)


def test_a_truncated_file_is_no_file_of_weights(plain: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.weights.h5"
    plain.save_weights(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(WeightsError, match=r"is not a file of Keras weights|do not fit"):
        Backbone("mobilenet", weights=path, params={"alpha": 0.25}).build(SHAPE)


@pytest.mark.slow
def test_imagenet_without_a_network_names_the_file_option_and_with_its_file_works(plain: Any, tmp_path: Path) -> None:
    """Run in processes of their own: Keras reads KERAS_HOME once. The proxy makes any fetch fail at once."""
    code = (
        "import sys, numpy as np\nfrom cellclf import Backbone, WeightsError\n"
        "try:\n    model = Backbone('mobilenet', params={'alpha': 0.25}).build((32, 32, 3))\n"
        "except WeightsError as error:\n    print('ERROR', error)\n"
        "else:\n    print('WEIGHT', model.get_weights()[0].ravel()[:3].tolist())"
    )
    away = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "TF_CPP_MIN_LOG_LEVEL": "3"}
    env = os.environ | away | {"KERAS_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=env, capture_output=True, text=True, check=True
    )
    line = done.stdout.splitlines()[-1]
    assert line.startswith("ERROR") and "pass its path as weights=" in line and "mobilenet_2_5_224_tf_no_top.h5" in line
    (tmp_path / "models").mkdir(exist_ok=True)
    wide = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25, input_shape=(224, 224, 3))
    wide.set_weights(plain.get_weights())
    wide.save(tmp_path / "models" / "mobilenet_2_5_224_tf_no_top.h5")
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"WEIGHT {plain.get_weights()[0].ravel()[:3].tolist()}"
