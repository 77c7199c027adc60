"""Each check catches a backbone that was broken for it; every built-in backbone passes all of them."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cellclf import BackboneSpec, OptionError, PluginError, UnknownNameError
from cellclf.testing import backbone_checks, check_backbone, parametrize_backbone
from cellclf.testing.checks import CHECKS

# Keras is imported inside the functions: this module is itself imported by the check that looks for it.


def build(input_shape: tuple[int, int, int], *, weights: str | None, fault: str = "", middle: Any = None) -> Any:
    """Build two convolutions, with a fault if one is named."""
    import keras
    from keras import layers

    pixels = keras.Input(input_shape, name="pixels", dtype="uint8" if fault == "bytes" else "float32")
    scale = {"infinite": 3e38, "constant": 0.0}.get(fault, 1 / 255)
    x = layers.Rescaling(scale, name="rescale")(pixels)
    seed = 5 if fault == "seeded" else None
    conv1 = layers.Conv2D(4, 3, name="conv1", kernel_initializer=keras.initializers.GlorotUniform(seed=seed))
    x = layers.BatchNormalization(name="bn1")(conv1(x))
    x = block1 = layers.Activation("leaky_relu", name="block1")(x)
    if middle is not None:
        x = middle(x)
    initializer: Any = keras.initializers.GlorotUniform(seed=seed)
    if fault == "unseeded":
        initializer = keras.initializers.Constant(float(np.random.default_rng().random()))
    conv2 = layers.Conv2D(4, 3, name="conv2", padding="same", kernel_initializer=initializer)
    if fault == "nested":
        inner = keras.Sequential([layers.Input(x.shape[1:]), conv2, layers.Conv2D(64, 3, name="inner")], name="net")
        x = layers.Activation("linear", name="block2")(inner(x))
    elif fault in ("zero", "around"):
        y = layers.Rescaling(0.0 if fault == "zero" else 1.0, name="side")(conv2(x))
        x = layers.Add(name="join" if fault == "around" else "block2")([block1, y])
        x = layers.Conv2D(4, 1, name="block2")(x) if fault == "around" else x
    elif fault == "pooled":
        x = layers.GlobalAveragePooling2D(name="block2")(conv2(x))
    else:
        x = layers.Activation("linear", name="block2")(conv2(x))
    return keras.Model(pixels, x, name="broken")


SPEC = BackboneSpec(
    name="broken", build=build, summary="two convolutions", source="a test", min_size=6, blocks=("block1", "block2")
)


def faulty(fault: str, **fields: Any) -> BackboneSpec:
    return dataclasses.replace(SPEC, build=functools.partial(build, fault=fault), **fields)


def setting_a_policy(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    import keras

    keras.config.set_dtype_policy("mixed_float16")
    return build(input_shape, weights=weights)


def seeding_numpy(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    import keras

    keras.utils.set_random_seed(4)
    return build(input_shape, weights=weights)


def raising(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    raise ZeroDivisionError("no\nnetwork")


def of_any_size(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    from keras import layers

    return build(input_shape, weights=weights, middle=layers.UpSampling2D(2, name="up"))


def mixing_rows(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    import keras

    return build(input_shape, weights=weights, middle=lambda x: x - keras.ops.mean(x, axis=0, keepdims=True))


def too_large_a_kernel(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    from keras import layers

    return build(input_shape, weights=weights, middle=layers.Conv2D(2, 6, name="wide"))


@functools.cache
def sharing(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    return build(input_shape, weights=weights)


def with_lambda(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    from keras import layers

    return build(input_shape, weights=weights, middle=layers.Lambda(lambda x: 2 * x, name="twice"))


def registered(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    """A layer that only a process which imported the plugin knows."""
    import keras

    @keras.saving.register_keras_serializable("tests")
    class Twice(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    return build(input_shape, weights=weights, middle=Twice(name="twice"))


def stopping_the_gradient(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    import keras

    return build(input_shape, weights=weights, middle=keras.ops.stop_gradient)


def restless(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    """A layer that counts its calls even when it is frozen."""
    import keras

    class Counter(keras.layers.Layer):
        def build(self, shape: Any) -> None:
            self.count = self.add_weight(shape=(), initializer="zeros", trainable=False, name="count")

        def call(self, x: Any) -> Any:
            self.count.assign_add(1.0)
            return x

    return build(input_shape, weights=weights, middle=Counter(name="counter"))


def ignoring_files(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    return build(input_shape, weights=None)


def choking_on_files(input_shape: tuple[int, int, int], *, weights: str | None) -> Any:
    if weights is not None:
        raise KeyError("state_dict")
    return build(input_shape, weights=None)


def made(function: Callable[..., Any], **fields: Any) -> BackboneSpec:
    return dataclasses.replace(SPEC, build=function, **fields)


def of_one_size(input_shape: tuple[int, int, int], *, weights: Any) -> Any:
    """Build for the smallest images only, though the spec says otherwise."""
    if input_shape[0] != 6:
        raise ValueError(f"no network for {input_shape[0]} pixels")
    return build(input_shape, weights=weights)


def growing(input_shape: tuple[int, int, int], *, weights: Any) -> Any:
    """Have more channels for larger images."""
    import keras

    model = build(input_shape, weights=weights)
    x = keras.layers.Conv2D(input_shape[0], 1, name="grown")(model.output)
    return keras.Model(model.input, x)


def overflowing(input_shape: tuple[int, int, int], *, weights: Any) -> Any:
    """Lose in 16 bits what is a small difference of large numbers."""
    import keras

    model = build(input_shape, weights=weights)
    x = keras.layers.Rescaling(1.0, offset=0.0, name="same")(model.output)
    x = keras.layers.Activation(lambda_free, name="cancel")(x)
    return keras.Model(model.input, x)


def lambda_free(x: Any) -> Any:
    """Add a large number and take it away again, in the precision of the layer."""
    return (x * 0.001 + 4109.0) - 4096.0  # 13 in float32; 16 bits have steps of 32 here and give 0 or 32


BROKEN: dict[str, tuple[str, BackboneSpec, str]] = {
    "tuple params": ("fields", dataclasses.replace(SPEC, params={"fault": ("x",)}), "lists, not tuples"),
    "lambda": (
        "pickles",
        made(lambda input_shape, *, weights: build(input_shape, weights=weights)),
        "module's top level",
    ),
    "policy": ("leaves_global_state", made(setting_a_policy), "dtype policy"),
    "numpy": ("leaves_global_state", made(seeding_numpy), "numpy's global seed"),
    "raises": ("builds", made(raising), "ZeroDivisionError: no network"),
    "rank 2": ("builds", faulty("pooled"), "expected a feature map"),
    "no block": ("builds", dataclasses.replace(SPEC, blocks=("block0", "block2")), "no layer of that name"),
    "min_size": ("builds_at_min_size", made(too_large_a_kernel, grid_from=12), "ValueError"),
    "infinite": ("is_finite", faulty("infinite"), "not finite"),
    "constant": ("is_finite", faulty("constant"), "the pixels are not used"),
    "bytes": ("takes_bytes", faulty("bytes"), "cut to whole numbers"),
    "rows": ("rows_are_independent", made(mixing_rows), "depends on the others"),
    "seeded": ("seed_makes_weights", faulty("seeded"), "every seed gives the same"),
    "unseeded": ("seed_makes_weights", faulty("unseeded"), "the same seed gives other weights in conv2/kernel"),
    "global seed": ("seed_makes_weights", made(seeding_numpy), "every seed gives the same"),
    "shared": ("shares_nothing", made(sharing), "make new ones"),
    "Lambda": ("saves", made(with_lambda), "no Lambda"),
    "registered": ("saves", made(registered), "does not come back"),
    "nested": ("is_flat", faulty("nested"), "the model 'net' inside it"),
    "no weights": ("blocks_are_cuts", dataclasses.replace(SPEC, blocks=("rescale", "block2")), "has no weights"),
    "goes around": ("blocks_are_cuts", faulty("around", blocks=("side", "block2")), "goes around"),
    "disorder": (
        "blocks_are_cuts",
        dataclasses.replace(SPEC, blocks=("block1", "bn1", "block2")),
        "no layer of its own",
    ),
    "stopped": ("step_moves_first_layer", made(stopping_the_gradient), "does not move the first layer, 'conv1'"),
    "restless": ("frozen_is_unchanged", made(restless), "moves counter/count though all is frozen"),
    "dead block": ("blocks_unfreeze_alone", faulty("zero"), "block 'block2' unfrozen, a training step moves nothing"),
    "restless block": ("blocks_unfreeze_alone", made(restless), "also moves counter/count"),
    "one size": ("builds_at_three_sizes", made(of_one_size), "no network for 22 pixels"),
    "growing": ("builds_at_three_sizes", made(growing, blocks=("block1", "grown")), "depends on the size"),
    "mixed rows": ("gives_features", made(mixing_rows), "depend on the batch"),
    "cancelling": ("computes_in_16_bits", made(overflowing, blocks=("block1", "cancel")), "far from that in float32"),
    "ignored file": (
        "refuses_wrong_weights",
        made(ignoring_files, weights=("*.pth",)),
        "nonsense.pth as weights is not refused",
    ),
    "KeyError": ("refuses_wrong_weights", made(choking_on_files, weights=("*.pth",)), "raises KeyError"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_check_catches_the_backbone_that_was_broken_for_it(kind: str) -> None:
    check, spec, message = BROKEN[kind]
    (function,) = [function for function in backbone_checks(spec) if function.name == check]
    with pytest.raises(AssertionError) as caught:
        function()
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_importing_a_backend_on_top_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jax.py").write_text("")  # stands for the real one, which would take its seconds to import
    code = "import jax\n\ndef build(input_shape, *, weights):\n    raise NotImplementedError\n"
    (tmp_path / "heavy_plugin.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        spec = made(importlib.import_module("heavy_plugin").build)
        check = next(check for check in backbone_checks(spec) if check.name == "imports_no_keras")
        with pytest.raises(AssertionError, match="imports jax: import them inside build"):
            check()
    finally:
        sys.modules.pop("heavy_plugin", None)
        sys.modules.pop("jax", None)


def test_every_check_has_a_backbone_that_it_catches() -> None:
    assert {check for check, _, _ in BROKEN.values()} | {"imports_no_keras"} == {check.__name__ for check in CHECKS}


def test_a_sound_backbone_passes() -> None:
    assert {outcome.status for outcome in check_backbone(SPEC)} == {"passed"}


def test_all_failures_are_reported_at_once() -> None:
    with pytest.raises(PluginError, match=f"fails 3 of {len(CHECKS)} checks") as caught:
        check_backbone(made(restless))
    assert "frozen_is_unchanged: " in str(caught.value) and "blocks_unfreeze_alone: " in str(caught.value)


def test_what_cannot_be_built_is_reported_once() -> None:
    outcomes = {outcome.check: outcome.status for outcome in check_backbone(made(raising), on_fail="collect")}
    assert outcomes.pop("fields") == outcomes.pop("pickles") == outcomes.pop("imports_no_keras") == "passed"
    assert outcomes.pop("builds") == outcomes.pop("leaves_global_state") == "failed"
    assert set(outcomes.values()) == {"skipped"}


def test_an_expected_failure_is_none_and_one_that_passes_is() -> None:
    reasons = {
        "saves": "its layer is its own",
        "frozen_is_unchanged": "it counts",
        "blocks_unfreeze_alone": "it counts",
    }
    outcomes = check_backbone(made(restless), expected_failures=reasons)
    assert [outcome.check for outcome in outcomes if outcome.status == "expected"] == list(reasons)
    with pytest.raises(PluginError, match="saves: it passes, but was expected to fail \\(why not\\)"):
        check_backbone(SPEC, expected_failures={"saves": "why not"})


def test_bad_options_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'saves'"):
        check_backbone(SPEC, expected_failures={"save": "x"})
    with pytest.raises(OptionError, match="expected the reason"):
        check_backbone(SPEC, expected_failures={"saves": ""})
    with pytest.raises(OptionError, match="on_fail='warn'"):
        check_backbone(SPEC, on_fail="warn")
    with pytest.raises(UnknownNameError, match="there is no backbone 'resnet5'"):
        check_backbone("resnet5")


def test_an_expected_failure_is_a_strict_xfail_in_pytest() -> None:
    mark = parametrize_backbone(SPEC, expected_failures={"saves": "known"})
    params = {param.id: param for param in mark.args[1]}
    assert list(params) == [check.__name__ for check in CHECKS]
    (xfail,) = params.pop("saves").marks
    assert xfail.name == "xfail" and xfail.kwargs == {"reason": "known", "strict": True}
    assert not any(param.marks for param in params.values())


@parametrize_backbone("residual", params={"filters": [4, 4, 8]})
def test_residual(check: Callable[[], None]) -> None:
    check()


@parametrize_backbone("sequential", params={"filters": [8, 8, 8, 8, 8]})
def test_sequential(check: Callable[[], None]) -> None:
    check()


@parametrize_backbone("inception", params={"filters": [4, 4, 4, 4]})
def test_inception(check: Callable[[], None]) -> None:
    check()


@parametrize_backbone("mobilenet", params={"alpha": 0.25})
def test_mobilenet(check: Callable[[], None]) -> None:
    check()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet50", "inceptionv3", "xception", "inceptionresnetv2", "efficientnetv2b0", "convnexttiny"]
)
def test_the_big_ones(name: str) -> None:
    assert {outcome.status for outcome in check_backbone(name)} == {"passed"}
