from __future__ import annotations

import dataclasses
import functools
import http.server
import logging
import random
import threading
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from cellclf.backbones import applications, custom
from cellclf.backbones.backbone import Backbone
from cellclf.backbones.spec import BackboneSpec
from cellclf.errors import OptionError, PluginError, UnknownNameError, WeightsError

QUARTER = {"alpha": 0.25}


def same(first: Any, second: Any) -> bool:
    pairs = zip(first.get_weights(), second.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def user_model(side: int | None = 12) -> Any:
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, name="first")(x)
    x = keras.layers.Dropout(0.5)(x)
    return keras.Model(inputs, keras.layers.Conv2D(5, 3, name="second")(x), name="mine")


@pytest.mark.parametrize("name", ["mobilenet", "residual", "sequential", "inception"])
def test_the_seed_alone_makes_the_weights(name: str) -> None:
    backbone = Backbone(name, weights=None, params=QUARTER if name == "mobilenet" else None)
    random.seed(1)
    first = backbone.build((32, 32, 3), seed=3)
    keras.layers.Conv2D(1, 1)  # an unnamed layer between must not change the names
    random.seed(2)
    before = random.getstate()
    second = backbone.build((32, 32, 3), seed=3)
    assert random.getstate() == before
    assert same(first, second) and not same(first, backbone.build((32, 32, 3), seed=4))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert first.layers[1] is not second.layers[1]


def test_bytes_and_floats_give_the_same_map() -> None:
    model = Backbone("residual").build((16, 16, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    from_bytes = model.predict(pixels, verbose=0)
    assert np.array_equal(from_bytes, model.predict(pixels.astype(np.float32), verbose=0))
    assert from_bytes.shape == (3, 2, 2, 128)


def test_the_default_weights_are_the_first_that_are_published() -> None:
    assert Backbone("mobilenet")._chosen() == ("imagenet", None)
    assert Backbone("residual")._chosen() == (None, None)


@pytest.mark.parametrize(
    ("name", "options", "shape", "error", "message"),
    [
        ("mobilnet", {}, (32, 32, 3), UnknownNameError, "did you mean 'mobilenet'"),
        (7, {}, (32, 32, 3), OptionError, "expected a name, a BackboneSpec"),
        (
            "mobilenet",
            {},
            (31, 32, 3),
            OptionError,
            r"31x32 are too small.*at least 32x32; enlarge them.*image_size=63",
        ),
        ("xception", {}, (96, 70, 3), OptionError, "at least 71x71; enlarge them"),
        ("mobilenet", {}, (32, 32, 1), OptionError, r"expected \(height, width, 3\)"),
        ("mobilenet", {}, (32, 32), OptionError, r"expected \(height, width, 3\)"),
        ("mobilenet", {"params": {"alfa": 1}}, (32, 32, 3), UnknownNameError, "did you mean 'alpha'"),
        ("mobilenet", {"params": {"alpha": "1"}}, (32, 32, 3), OptionError, "type of its default 1.0"),
        ("mobilenet", {"blocks": ["conv1"]}, (32, 32, 3), OptionError, "blocks= is for a Keras model"),
        ("mobilenet", {"weights": "imagnet"}, (32, 32, 3), WeightsError, "expected published ones \\('imagenet'\\)"),
        ("residual", {"weights": "imagenet"}, (32, 32, 3), WeightsError, "expected published ones \\(none\\)"),
        ("mobilenet", {"weights": "no/such.weights.h5"}, (32, 32, 3), WeightsError, "does not exist"),
        ("mobilenet", {"weights": Path(__file__).parent}, (32, 32, 3), WeightsError, "is a folder"),
        ("mobilenet", {"weights": __file__}, (32, 32, 3), WeightsError, "of an unknown kind"),
    ],
)
def test_check_finds_what_can_be_known_without_building(
    name: Any, options: dict[str, Any], shape: tuple[int, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        Backbone(name, **options).check(shape)
    assert "\n" not in str(caught.value)


def test_a_map_of_one_is_a_notice_with_the_size_that_helps() -> None:
    (notice,) = Backbone("inceptionv3").check((96, 96, 3))
    assert "1x1" in notice and "image_size=107" in notice
    assert Backbone("inceptionv3").check((107, 107, 3)) == ()


def test_a_keras_model_is_copied_and_resized() -> None:
    mine = user_model()
    backbone = Backbone(mine, blocks=["first", "second"])
    model = backbone.build((20, 16, 3))
    assert model.output_shape == (None, 16, 12, 5) and same(model, mine) and backbone.name == "mine"
    model.layers[-1].set_weights([weight + 1 for weight in model.layers[-1].get_weights()])
    assert not same(model, mine)
    assert Backbone(mine).spec.blocks == ("second",)
    assert [layer.name for layer in model.layers] == [layer.name for layer in mine.layers]
    sequential = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3)])
    assert Backbone(sequential).build((8, 8, 3)).output_shape == (None, 6, 6, 2)


def test_a_keras_model_that_does_not_fit_is_refused() -> None:
    with pytest.raises(OptionError, match="names the block 'third'"):
        Backbone(user_model(), blocks=["first", "third"]).build((12, 12, 3))
    with pytest.raises(OptionError, match="has 'first' as its last block, expected the output layer 'second'"):
        Backbone(user_model(), blocks=["first"]).build((12, 12, 3))
    pooled = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(OptionError, match="expected a feature map"):
        Backbone(pooled).build((8, 8, 3))
    inputs = keras.Input((8, 8, 3))
    with pytest.raises(OptionError, match="ends in a bare operation"):
        Backbone(keras.Model(inputs, inputs + 1)).build((8, 8, 3))

    class Subclassed(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(OptionError, match="no graph"):
        Backbone(Subclassed()).build((8, 8, 3))


def two_inputs(input_shape: tuple[int, ...], *, weights: None) -> Any:
    inputs = [keras.Input(input_shape), keras.Input(input_shape)]
    return keras.Model(inputs, keras.layers.Add(name="out")(inputs))


def no_model(input_shape: tuple[int, ...], *, weights: None) -> Any:
    return "a model"


def other_shape(input_shape: tuple[int, ...], *, weights: None) -> Any:
    inputs = keras.Input((9, 9, 3))
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, name="out")(inputs))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (two_inputs, "2 inputs"),
        (no_model, "expected a functional keras.Model"),
        (other_shape, "expected the input shape"),
    ],
)
def test_a_build_that_breaks_its_promise_is_a_plugin_error(build: Any, message: str) -> None:
    spec = BackboneSpec(name="net", build=build, summary="s", source="s", min_size=1, blocks=("out",))
    with pytest.raises(PluginError, match=message):
        Backbone(spec).build((8, 8, 3))


def test_a_spec_is_checked_when_it_is_used() -> None:
    spec = dataclasses.replace(custom.SPECS[1], min_size=0)
    with pytest.raises(OptionError, match="min_size"):
        Backbone(spec).build((32, 32, 3))


def test_channels_first_is_refused() -> None:
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(OptionError, match="channels_last"):
            Backbone("residual").build((32, 32, 3))
    finally:
        keras.config.set_image_data_format("channels_last")


def test_repr_says_how_to_make_it_again() -> None:
    text = "Backbone('mobilenet', weights=None, params={'alpha': 0.25})"
    assert repr(Backbone("mobilenet", weights=None, params=QUARTER)) == text


def test_caffe_scaling_is_that_of_keras() -> None:
    pixels = keras.Input((4, 5, 3))
    model = keras.Model(pixels, applications._scaled(pixels, "caffe"))
    images = np.random.default_rng(0).integers(0, 256, (2, 4, 5, 3)).astype(np.float32)
    expected = keras.applications.imagenet_utils.preprocess_input(images.copy(), mode="caffe")
    assert np.allclose(model.predict(images, verbose=0), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [96, (96, 96), (96.0, 96.0, 3), "96"])
def test_a_shape_that_is_none_is_refused_in_a_line(shape):
    with pytest.raises(OptionError, match=r"expected \(height, width, 3\) in pixels"):
        Backbone("sequential").build(shape)


def test_a_model_for_grey_images_is_refused_by_their_channels():
    model = keras.Sequential([keras.layers.Input((32, 32, 1)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(OptionError, match="takes images of 1 channels; expected one that takes 3"):
        Backbone(model).build((32, 32, 3))


def test_what_keras_prints_of_a_download_is_a_log_line_and_not_on_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(5000))
    (tmp_path / "cache").mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/weights.bin"

        def build(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
            keras.utils.get_file("weights.bin", address, cache_dir=str(tmp_path / "cache"))
            return user_model()

        spec = BackboneSpec(
            name="fetched", build=build, summary="s", source="s", min_size=8, blocks=("second",), weights=("published",)
        )
        with caplog.at_level(logging.INFO, "cellclf"):
            Backbone(spec).build((12, 12, 3))
        server.shutdown()
    assert (tmp_path / "cache" / "datasets" / "weights.bin").stat().st_size == 5000
    assert capsys.readouterr().out == "" and caplog.messages == [f"downloading data from {address}"]
