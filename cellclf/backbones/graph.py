"""Rebuild a functional Keras model from its config: renamed, for another image size, or as an independent copy."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cellclf.errors import OptionError
from cellclf.utils.parameters import shortened

_SEEDING = threading.RLock()

POOL = "head_pool"
"""Name of the pooling layer that a classifier's head starts with."""
_RESIZE = "resize"
"""Name of the layer that brings images to the size at which a network sees them."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Make the weights of layers that are built inside depend on nothing but ``seed``.

    Keras draws the seed of every initializer and Dropout without one from Python's ``random``. Here that generator is
    seeded for the time of the build and restored afterwards: unlike with ``keras.utils.set_random_seed`` (and with a
    build without this), no global state has changed.
    """
    with _SEEDING:
        state = random.getstate()
        random.seed(seed)
        try:
            yield
        finally:
            random.setstate(state)


def copied(model: Any, *, input_shape: tuple[int, ...] | None = None) -> Any:
    """Return a model of the same layers, names and weights that shares nothing with the given one.

    Args:
        model: A keras.Model made by the functional or the sequential API.
        input_shape: Another (height, width, channels) for the input, or None for the same.

    Raises:
        OptionError: The model has no graph, or its layers can't be rebuilt for that input.
    """

    def edit(config: dict[str, Any]) -> None:
        if input_shape is not None:
            taken = _input_layer(config)["config"]
            if (channels := taken["batch_shape"][-1]) not in (None, input_shape[-1]):
                raise OptionError(
                    f"the model {model.name!r} takes images of {channels} channels; expected one that takes "
                    f"{input_shape[-1]}, RGB 0-255"
                )
            taken["batch_shape"] = (None, *input_shape)

    return _rebuilt(model, edit)


def stable_names(model: Any) -> Any:
    """Return the model with numbered layer names (``conv2d_97``) counted from its own first layer on.

    Keras counts layers without a name over the whole process, so that the same network gets other names the second
    time. The model itself is returned if no layer needs another name.
    """
    config = _config(model)
    explicit = {layer["name"] for layer in config["layers"] if not _is_numbered(layer)}
    counts: dict[str, int] = {}
    names: dict[str, str] = {}
    for layer in config["layers"]:
        if not _is_numbered(layer):
            continue
        stem = _snake(layer["class_name"])
        while True:
            count = counts.get(stem, 0)
            counts[stem] = count + 1
            name = f"{stem}_{count}" if count else stem
            if name not in explicit:
                break
        names[layer["name"]] = name
    return renamed(model, {old: new for old, new in names.items() if old != new})


def renamed(model: Any, names: dict[str, str]) -> Any:
    """Return the model with other names for some layers; the model itself where there is nothing to rename.

    Args:
        model: A flat functional keras.Model.
        names: Layer name -> new name.
    """
    if not names:
        return model

    def edit(config: dict[str, Any]) -> None:
        for layer in config["layers"]:
            name = names.get(layer["name"], layer["name"])
            layer["name"] = name
            layer["config"]["name"] = name
            layer["inbound_nodes"] = _renamed(layer["inbound_nodes"], names)
        config["input_layers"] = _renamed(config["input_layers"], names)
        config["output_layers"] = _renamed(config["output_layers"], names)

    return _rebuilt(model, edit)


def resized(model: Any, input_shape: tuple[int, int, int]) -> Any:
    """Return the model behind a bilinear resizing, for images of another size. The graph has no nested models.

    Args:
        model: A functional keras.Model for images of a fixed (height, width, channels).
        input_shape: (height, width, channels) of the images that come in.

    Returns:
        A copy of the model, with a ``keras.layers.Resizing`` named ``"resize"`` behind its input; the model itself if
        that is its size already.

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> net = Backbone("mobilenet", weights=None, params={"alpha": 0.25}).build((64, 64, 3))
        >>> small = resized(net, (40, 40, 3))
        >>> small.input_shape, small.output_shape
        ((None, 40, 40, 3), (None, 2, 2, 256))
    """
    import keras

    height, width = model.input_shape[1:3]
    if tuple(input_shape) == tuple(model.input_shape[1:]):
        return model

    def edit(config: dict[str, Any]) -> None:
        entry = _input_layer(config)
        entry["config"]["batch_shape"] = (None, *input_shape)
        for layer in config["layers"]:
            layer["inbound_nodes"] = _renamed(layer["inbound_nodes"], {entry["name"]: _RESIZE})
        resize = keras.layers.Resizing(
            height, width, interpolation="bilinear", data_format="channels_last", name=_RESIZE
        )
        tensor = {"shape": (None, *input_shape), "dtype": "float32", "keras_history": [entry["name"], 0, 0]}
        node = {"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}
        described = keras.saving.serialize_keras_object(resize)
        config["layers"].insert(
            config["layers"].index(entry) + 1, described | {"name": _RESIZE, "inbound_nodes": [node]}
        )

    return _rebuilt(model, edit)


def seen_size(model: Any) -> tuple[int, int]:
    """Give the height and width at which a network sees its images: behind the resizing, where there is one."""
    first = _resizing(model)
    height, width = model.input_shape[1:3] if first is None else (first.height, first.width)
    return int(height), int(width)


def _resizing(model: Any) -> Any:
    """Give the layer behind the input that resizes images; None where there is none."""
    import keras

    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    return layers[0] if layers and isinstance(layers[0], keras.layers.Resizing) else None


def sharing_at(model: Any, size: tuple[int, int]) -> Any:
    """Return a model of the very same layers that sees its images at another size; training it trains both.

    Args:
        model: A flat functional keras.Model for images of a fixed (height, width, channels).
        size: Height and width at which it sees them.

    Returns:
        For the same images, with a ``keras.layers.Resizing`` behind its input; the model itself at its own size.

    Raises:
        OptionError: The network cannot take images of that size, such as one with a flattened map.

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> net = Backbone("residual").build((48, 48, 3))
        >>> small = sharing_at(net, (32, 32))
        >>> small.input_shape, small.output_shape[1:3], small.layers[-1] is net.layers[-1]
        ((None, 48, 48, 3), (4, 4), True)
    """
    import keras

    if size == seen_size(model):
        return model
    images = model.inputs[0]
    entry = keras.Input(images.shape[1:], dtype=images.dtype)
    resize = keras.layers.Resizing(
        *size, interpolation="bilinear", data_format="channels_last", dtype="float32", name=_RESIZE
    )
    own = _resizing(model)
    try:
        start = entry if own is not None else resize(entry)
        found = model._run_through_graph([start], operation_fn=lambda layer: resize if layer is own else layer)
        made = keras.Model(entry, found[0] if isinstance(found, list | tuple) else found, name=model.name)
        # a fixed reshape spoils the batch, which a symbolic tensor does not show
        shape = tuple(made(np.zeros((2, *images.shape[1:]), np.uint8), training=False).shape)
    except Exception as error:  # whatever a layer says of a shape that it cannot take
        reason = shortened(" ".join(str(error).split()))
        raise OptionError(f"the network cannot take images of {size[0]}x{size[1]}: {reason}") from None
    if len(shape) != len(model.output_shape) or shape[0] != 2 or shape[-1] != model.output_shape[-1]:
        raise OptionError(f"the network cannot take images of {size[0]}x{size[1]}: its output is then {shape}")
    return made


def all_layers(layer: Any) -> list[Any]:
    """Give every layer inside of a model or layer, from the input on; one that holds others stands before them."""
    import keras

    held = layer.layers if isinstance(layer, keras.Model) else layer._layers
    found: dict[int, Any] = {}
    for one in held:
        for part in (one, *all_layers(one)):
            found.setdefault(id(part), part)
    return list(found.values())


def output_of(model: Any, name: str) -> Any:
    """Give what a layer puts out in the graph of a model.

    ``layer.output`` may be that of another graph: of a model that is a layer of this one, or of a model that shares
    the layer.

    Args:
        model: A functional keras.Model.
        name: Of one of its layers.
    """
    import keras

    layer = model.get_layer(name)
    graph = model._functional if isinstance(model, keras.Sequential) else model
    by_depth = sorted(graph._nodes_by_depth.items())  # 0 is the end of the graph
    found = [node.outputs[0] for _, nodes in by_depth for node in nodes if node.operation is layer]
    if not isinstance(layer, keras.Model) and any(layer.output is one for one in found):
        return layer.output
    return found[0]


def zoomed(model: Any, factor: float) -> Any:
    """Return the model behind a zoom: it takes images of the same size and sees their cells larger or smaller.

    Above 1 the middle of the image is cut out and brought back to the full size. Below 1 the image is made smaller and
    the network rebuilt for that size, since nothing is known of what lies around it. The graph stays flat.

    Args:
        model: A functional keras.Model for images of a fixed (height, width, channels).
        factor: How much larger cells appear, above 0; 1 gives the model itself.

    Raises:
        OptionError: A factor that leaves no pixel, or a network that cannot be rebuilt for smaller images.

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> net = Backbone("residual").build((48, 48, 3))
        >>> zoomed(net, 2.0).input_shape, zoomed(net, 2.0).output_shape == net.output_shape
        ((None, 48, 48, 3), True)
    """
    import keras

    height, width, channels = model.input_shape[1:]
    if factor == 1:
        return model
    inner = (round(height / factor), round(width / factor)) if factor > 0 else (0, 0)
    if min(inner) < 1:
        raise OptionError(
            f"zoom={factor:g} of images of {height}x{width}; expected a factor above 0 that leaves pixels"
        )
    if factor < 1:
        smaller = (round(height * factor), round(width * factor), channels)
        return resized(copied(model, input_shape=smaller), (height, width, channels))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    cut = ((top, height - inner[0] - top), (left, width - inner[1] - left))
    layers = keras.layers
    steps = [
        layers.Cropping2D(cut, data_format="channels_last", name="zoom_crop"),
        layers.Resizing(height, width, interpolation="bilinear", data_format="channels_last", name="zoom"),
    ]

    def edit(config: dict[str, Any]) -> None:
        entry = _input_layer(config)
        for layer in config["layers"]:
            layer["inbound_nodes"] = _renamed(layer["inbound_nodes"], {entry["name"]: "zoom"})
        place, source, shape = config["layers"].index(entry) + 1, entry["name"], (height, width)
        for step in steps:
            tensor = {"shape": (None, *shape, channels), "dtype": "float32", "keras_history": [source, 0, 0]}
            node = {"args": [{"class_name": "__keras_tensor__", "config": tensor}], "kwargs": {}}
            described = keras.saving.serialize_keras_object(step)
            config["layers"].insert(place, described | {"name": step.name, "inbound_nodes": [node]})
            place, source, shape = place + 1, step.name, inner

    return _rebuilt(model, edit)


def _config(model: Any) -> dict[str, Any]:
    import keras

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    config = model.get_config() if getattr(model, "inputs", None) else {}
    if "input_layers" not in config:
        raise OptionError(
            f"the model {model.name!r} has no graph: expected one made by the functional or the sequential API of Keras"
        )
    return dict(config)


def _rebuilt(model: Any, edit: Callable[[dict[str, Any]], None]) -> Any:
    import keras

    config = _config(model)
    edit(config)
    try:
        new = keras.Model.from_config(config)
    # custom layers may raise anything while they are built
    except Exception as error:
        raise OptionError(
            f"the model {model.name!r} cannot be rebuilt from its config ({' '.join(str(error).split())}); "
            "custom layers need keras.saving.register_keras_serializable"
        ) from error
    # variables, not weights: they include the states of Dropout's generators; as arrays, since on JAX both models would
    # hold one array, which ``Model.predict`` of the one deletes
    for variable, source in zip(new.variables, model.variables, strict=True):
        variable.assign(source.numpy())
    use_adapted_state(new)
    return new


def use_adapted_state(model: Any) -> None:
    """Let layers that were adapted to data, such as Normalization, compute with the weights that they now have.

    They compute with constants made of their weights when these are loaded from a file, and do not see that they
    were assigned: until then they would go on with the mean 0.
    """
    for layer in model._flatten_layers():  # also those inside of other layers
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _input_layer(config: dict[str, Any]) -> dict[str, Any]:
    found = [layer for layer in config["layers"] if layer["class_name"] == "InputLayer"]
    if len(found) != 1:
        raise OptionError(f"the model {config['name']!r} has {len(found)} inputs, expected one: the images")
    first: dict[str, Any] = found[0]
    return first


def _renamed(node: Any, names: dict[str, str]) -> Any:
    """Rename the layers that a part of a model's config refers to, each as [name, node, tensor]."""
    if isinstance(node, dict):
        return {key: _renamed(value, names) for key, value in node.items()}
    if isinstance(node, list | tuple):
        if len(node) == 3 and isinstance(node[0], str) and all(type(number) is int for number in node[1:]):
            return [names.get(node[0], node[0]), *node[1:]]
        return [_renamed(value, names) for value in node]
    return node


def _is_numbered(layer: dict[str, Any]) -> bool:
    return re.sub(r"_\d+$", "", layer["name"]) == _snake(layer["class_name"])


def _snake(name: str) -> str:
    """Write a class name as Keras does when it names a layer: ReLU -> re_lu, Conv2D -> conv2d."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
