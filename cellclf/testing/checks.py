"""What every backbone must hold, one function a rule; a failing one raises and names what was expected.

The order is from the outside in: the description of a network, that it can be built, what it computes, how it trains.
A check does not depend on earlier ones, except that the network can be built at all.
"""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import tempfile
import unittest
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cellclf.backbones.backbone import Backbone
from cellclf.backbones.blocks import block_layers
from cellclf.errors import CellclfError, OptionError, WeightsError
from cellclf.testing.case import Case, CheckFailed, moved, short, snapshot, train_step

_IMPORTS = """
import importlib, json, sys
sys.path[:] = json.loads(sys.argv[1])
if sys.argv[2]:
    from cellclf.backbones.registry import discover
    discover({"CELLCLF_PLUGINS": sys.argv[2]})
else:
    importlib.import_module(sys.argv[3])
print("heavy:", *sorted({"keras", "tensorflow", "torch", "jax"} & set(sys.modules)))
"""


def fields(case: Case) -> None:
    """Check that every field of the spec follows the contract, and that the parameters are JSON data."""
    try:
        case.spec.check()
        case.spec.settings(case.params)
    except CellclfError as error:
        raise CheckFailed(str(error)) from error


def pickles(case: Case) -> None:
    """Check that the spec pickles, so that a worker process can build the network."""
    try:
        again = pickle.loads(pickle.dumps(case.spec))
    # pickle raises PicklingError, AttributeError or TypeError, by version and reason
    except Exception as error:
        raise CheckFailed(
            f"the spec does not pickle ({error}): make build a function of its module's top level"
        ) from error
    if again.name != case.spec.name or again.blocks != case.spec.blocks:
        raise CheckFailed(f"the spec comes back from pickle as another: {again!r}")


def imports_no_keras(case: Case) -> None:
    """Check that importing the plugin, and calling its hook, imports neither Keras nor a backend (in a new process)."""
    build = case.spec.build
    module = getattr(getattr(build, "func", build), "__module__", None) or "__main__"
    plugin = case.backbone.plugin or ""
    if not plugin and module == "__main__":
        raise unittest.SkipTest("the spec is made in __main__, which cannot be imported by itself")
    command = [sys.executable, "-c", _IMPORTS, json.dumps(sys.path), plugin, module]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckFailed(f"importing {module!r} in a new process fails: {done.stderr.strip().splitlines()[-1]}")
    heavy = done.stdout.split("heavy:")[-1].split()
    if heavy:
        raise CheckFailed(f"importing {plugin or module!r} imports {', '.join(heavy)}: import them inside build")


def leaves_global_state(case: Case) -> None:
    """Check that a build leaves Keras's configuration and numpy's global generator as they were."""
    import keras

    def state() -> dict[str, str]:
        config = keras.config
        return {
            "floatx": config.floatx(),
            "epsilon": repr(config.epsilon()),
            "image data format": config.image_data_format(),
            "backend": config.backend(),
            "dtype policy": config.dtype_policy().name,
            "numpy's global seed": repr(np.random.get_state()),
        }

    before, policy, rng = state(), keras.config.dtype_policy(), np.random.get_state()
    try:
        case.build()
        after = state()
    finally:  # what a broken build has changed must not affect the next check
        keras.config.set_dtype_policy(policy)
        keras.config.set_floatx(before["floatx"])
        keras.config.set_epsilon(float(before["epsilon"]))
        keras.config.set_image_data_format(before["image data format"])
        np.random.set_state(rng)
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        raise CheckFailed(f"building it changes {' and '.join(changed)}, which belong to the user")


def builds(case: Case) -> None:
    """Check for one input and one rank-4 output, of the shape that the model declares."""
    model = case.model
    declared = tuple(model.output_shape)
    if declared[0] is not None or None in declared[1:]:
        raise CheckFailed(f"the output's declared shape is {declared}: expected (None, height, width, channels)")
    given = case.maps(case.pixels(2)).shape
    if given != (2, *declared[1:]):
        raise CheckFailed(f"two images give an array of {given}, the model declares {declared}")


def builds_at_min_size(case: Case) -> None:
    """Check that images of exactly ``min_size`` can be used, and that one pixel less is refused."""
    side = case.spec.min_size
    model = case.backbone.build((side, side, 3))
    if 0 in model.output_shape[1:]:
        raise CheckFailed(f"images of min_size {side} end in an empty map {model.output_shape}: raise min_size")
    if side > 1:
        try:
            case.backbone.check((side - 1, side, 3))
        except OptionError:
            return
        raise CheckFailed(f"images of {side - 1}x{side} are not refused, though min_size is {side}")


def is_finite(case: Case) -> None:
    """Check for finite numbers on black and white images, and for a map that depends on the image."""
    black, white = np.zeros((1, *case.shape), np.uint8), np.full((1, *case.shape), 255, np.uint8)
    maps = [case.maps(images) for images in (black, white, case.pixels(1))]
    for name, values in zip(("black", "white", "random"), maps, strict=True):
        if not np.isfinite(values).all():
            raise CheckFailed(f"{np.count_nonzero(~np.isfinite(values))} values of a {name} image's map are not finite")
    if all(np.array_equal(maps[0], values) for values in maps[1:]):
        raise CheckFailed("black, white and random images give the same map: the pixels are not used")


def takes_bytes(case: Case) -> None:
    """Check that uint8 and float32 images of the same pixels give the same map, and that fractions matter."""
    images = case.pixels(2)
    floats = images.astype(np.float32)
    given = case.maps(images)
    _compare(given, case.maps(floats), "uint8 and float32 pixels give different maps")
    if np.array_equal(given, case.maps(np.minimum(floats + 0.5, 255))):
        raise CheckFailed("half a pixel value changes nothing: the input is cut to whole numbers, expected float32")


def rows_are_independent(case: Case) -> None:
    """Check that an image's map does not depend on what else is in its batch."""
    images = case.pixels(4)
    alone = np.concatenate([case.maps(images[k : k + 1]) for k in range(4)])
    _compare(
        case.maps(images), alone, "an image's map depends on the others in its batch (a BatchNorm in training mode?)"
    )


def seed_makes_weights(case: Case) -> None:
    """Check that the same seed gives the same weights and the same names, and another seed other weights."""
    first, second, other = (case.build(seed=seed) for seed in (1, 1, 2))
    if [layer.name for layer in first.layers] != [layer.name for layer in second.layers]:
        raise CheckFailed("two builds name their layers differently: name each layer yourself")
    one, two = first.get_weights(), second.get_weights()
    differing = [weight.path for weight, a, b in zip(first.weights, one, two, strict=True) if not np.array_equal(a, b)]
    if differing:
        raise CheckFailed(
            f"the same seed gives other weights in {short(differing)}: use Keras's initializers, without a seed"
        )
    if all(np.array_equal(a, b) for a, b in zip(one, other.get_weights(), strict=True)):
        raise CheckFailed("every seed gives the same weights: leave the seed of the initializers out")


def shares_nothing(case: Case) -> None:
    """Check that two networks have no layer and no weight in common."""
    first, second = case.build(), case.build()
    layers = {id(layer) for layer in first.layers} & {id(layer) for layer in second.layers}
    weights = {id(weight) for weight in first.weights} & {id(weight) for weight in second.weights}
    if layers or weights:
        raise CheckFailed(
            f"two builds share {len(layers)} layers and {len(weights)} weights: make new ones in each build"
        )


def saves(case: Case) -> None:
    """Check that the network comes back from a ``.keras`` file without custom objects, and computes the same."""
    import keras

    images = case.pixels(2)
    registered = keras.saving.get_custom_objects()
    kept = dict(registered)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            case.model.save(path)
            registered.clear()  # as in a process that has not imported the plugin
            again = keras.models.load_model(path)
        # Keras raises what the layer at fault raises
        except Exception as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckFailed(
                f"it does not come back from a .keras file: {reason}; use layers of Keras, no Lambda"
            ) from error
        finally:
            registered.update(kept)
    _compare(
        case.maps(images),
        keras.ops.convert_to_numpy(again(images)),
        "it comes back from a .keras file computing other maps",
    )


def is_flat(case: Case) -> None:
    """Check that its convolutions are in its own graph, not in a model inside it, so that Grad-CAM finds its layer."""
    import keras

    total = sum(int(np.prod(weight.shape)) for weight in case.model.weights)
    for layer in case.model.layers:
        if isinstance(layer, keras.Model):
            inside = sum(int(np.prod(weight.shape)) for weight in layer.weights)
            if inside > total / 2:
                raise CheckFailed(
                    f"the model {layer.name!r} inside it holds {inside} of {total} weights: build the graph flat "
                    "(give the inner network your tensor as input_tensor, or its layers one by one)"
                )


def blocks_are_cuts(case: Case) -> None:
    """Check that every block has weights, and ends in a layer through which all paths lead."""
    import keras

    model, blocks = case.model, case.spec.blocks
    for name, layers in zip(blocks, _blocks(model, blocks), strict=True):
        if not any(layer.weights for layer in layers):
            raise CheckFailed(f"block {name!r} has no weights: nothing in it can be unfrozen")
    for name in blocks[:-1]:
        try:
            keras.Model(model.get_layer(name).output, model.output)
        except ValueError as error:
            raise CheckFailed(
                f"block {name!r} ends in a layer that something goes around: name one where all paths meet"
            ) from error


def step_moves_first_layer(case: Case) -> None:
    """Check that one training step moves the first layer that has weights: the gradient reaches the pixels."""
    model = case.build()
    first = next((layer for layer in model.layers if layer.trainable_weights), None)
    if first is None:
        raise CheckFailed("no layer has a weight that can be trained")
    before = snapshot(model)
    train_step(model, case.pixels(4))
    if not {weight.path for weight in first.trainable_weights} & moved(model, before):
        raise CheckFailed(
            f"a training step does not move the first layer, {first.name!r}: something stops the gradient"
        )


def frozen_is_unchanged(case: Case) -> None:
    """Check that a training step changes nothing in a frozen network, BatchNorm's statistics included."""
    model = case.build()
    for layer in model.layers:
        layer.trainable = False
    before = snapshot(model)
    train_step(model, case.pixels(4))
    changed = moved(model, before)
    if changed:
        raise CheckFailed(f"a training step moves {short(changed)} though all is frozen")


def blocks_unfreeze_alone(case: Case) -> None:
    """Ask that, with one block unfrozen, a training step moves that block and nothing else."""
    model, blocks = case.build(), case.spec.blocks
    parts = _blocks(model, blocks)
    for name, part in zip(blocks, parts, strict=True):
        for layer in model.layers:
            layer.trainable = False
        for layer in part:
            layer.trainable = True
        inside = {weight.path for layer in part for weight in layer.weights}
        before = snapshot(model)
        train_step(model, case.pixels(4))
        changed = moved(model, before)
        if not changed & inside:
            raise CheckFailed(f"with block {name!r} unfrozen, a training step moves nothing in it")
        if changed - inside:
            raise CheckFailed(f"with block {name!r} unfrozen, a training step also moves {short(changed - inside)}")


def builds_at_three_sizes(case: Case) -> None:
    """Require networks for three sizes of images, with the same blocks and as many channels."""
    side = case.shape[0]
    found = []
    for size in (side, side + 16, 2 * side):
        try:
            model = case.backbone.build((size, size, 3))
        except CellclfError as error:
            raise CheckFailed(f"images of {size}x{size} pixels are refused: {error}") from error
        images = np.random.default_rng(7).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
        maps = keras_numpy(model(images, training=False))
        if not np.isfinite(maps).all():
            raise CheckFailed(f"images of {size}x{size} pixels give NaN or infinity")
        _blocks(model, case.spec.blocks)
        found.append(maps.shape[-1])
    if len(set(found)) > 1:
        raise CheckFailed(f"the number of channels depends on the size of the images: {found}")


def gives_features(case: Case) -> None:
    """Require pooled features of the last layer of each block, alike for any batch, as ``Run.features`` reads them."""
    import keras

    ends = [layers[-1].output for layers in _blocks(case.model, case.spec.blocks) if layers]
    rows = [keras.layers.GlobalAveragePooling2D()(end) for end in ends if len(end.shape) == 4]
    if not rows:
        raise CheckFailed("no block ends in a feature map (batch, height, width, channels)")
    reader = keras.Model(case.model.input, rows)
    images = case.pixels(4)
    together = [keras_numpy(one) for one in reader(images, training=False)]
    apart = [keras_numpy(one) for one in reader(images[:1], training=False)]
    for whole, alone in zip(together, apart, strict=True):
        if not np.isfinite(whole).all():
            raise CheckFailed("pooled features hold NaN or infinity")
        _compare(whole[:1], alone, "pooled features depend on the batch")


def computes_in_16_bits(case: Case) -> None:
    """Require that the network computes in bfloat16 with float32 weights, near what it gives in float32."""
    import keras

    from cellclf.backbones.precision import set_precision

    model = case.build()
    images = case.pixels(2)
    before = keras_numpy(model(images, training=False)).astype(np.float32)
    set_precision(model, "mixed_bfloat16")
    after = keras_numpy(keras.ops.cast(model(images, training=False), "float32"))
    wrong = [
        weight.path for weight in model.weights if str(weight.dtype) not in ("float32", "uint32", "int32", "int64")
    ]
    if wrong:
        raise CheckFailed(f"weights are not float32 with mixed_bfloat16: {short(wrong)}")
    scale = max(float(np.abs(before).max()), 1e-6)
    if not np.isfinite(after).all() or float(np.abs(after - before).mean()) > 0.1 * scale:
        raise CheckFailed("with mixed_bfloat16 the feature map is NaN, infinite or far from that in float32")


def refuses_wrong_weights(case: Case) -> None:
    """Check for a WeightsError in one line where a weights file is missing, nonsense, or of another network."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        missing, other = Path(folder) / "missing.weights.h5", Path(folder) / "other.weights.h5"
        inputs = keras.Input((4, 4, 3))
        keras.Model(inputs, keras.layers.Conv2D(11, 2)(inputs)).save_weights(other)
        files = [("a missing file", missing), ("a file of another network", other)]
        for pattern in case.spec.weights:
            if "*" in pattern:
                nonsense = Path(folder) / pattern.replace("*", "nonsense")
                nonsense.write_bytes(b"nonsense" * 99)
                files.append((f"nonsense in {nonsense.name}", nonsense))
        for what, path in files:
            _refused(case, what, path)


def keras_numpy(tensor: Any) -> Any:
    """Turn a tensor of any backend into a numpy array."""
    import keras

    return keras.ops.convert_to_numpy(tensor)


def _refused(case: Case, what: str, path: Path) -> None:
    try:
        Backbone(case.network, weights=path, params=case.params).build(case.shape)
    except WeightsError as error:
        if "\n" in str(error):
            raise CheckFailed(f"the error for {what} as weights has several lines: {error}") from error
        return
    except Exception as error:  # third-party code may raise anything: that is what is checked here
        raise CheckFailed(
            f"{what} as weights raises {type(error).__name__} ({error}), expected WeightsError"
        ) from error
    raise CheckFailed(f"{what} as weights is not refused")


def _blocks(model: Any, blocks: tuple[str, ...]) -> list[list[Any]]:
    try:
        return block_layers(model, blocks)
    except CellclfError as error:
        raise CheckFailed(str(error)) from error


def _compare(first: Any, second: Any, message: str) -> None:
    scale = max(float(np.abs(first).max()), 1e-6)
    worst = float(np.abs(first - second).max())
    if not worst <= 1e-3 * scale:
        raise CheckFailed(f"{message}: up to {worst:.3g} apart, at values up to {scale:.3g}")


CHECKS: tuple[Callable[[Case], None], ...] = (
    fields,
    pickles,
    imports_no_keras,
    leaves_global_state,
    builds,
    builds_at_min_size,
    is_finite,
    takes_bytes,
    rows_are_independent,
    seed_makes_weights,
    shares_nothing,
    saves,
    is_flat,
    blocks_are_cuts,
    step_moves_first_layer,
    frozen_is_unchanged,
    blocks_unfreeze_alone,
    builds_at_three_sizes,
    gives_features,
    computes_in_16_bits,
    refuses_wrong_weights,
)
"""All checks, in the order in which they run."""

NEED_NO_NETWORK = ("fields", "pickles", "imports_no_keras", "leaves_global_state", "builds")
"""The checks that run even if the network can't be built."""
