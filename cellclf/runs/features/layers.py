"""The layers of a trained network whose pooled outputs describe an image, and these outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cellclf.errors import OptionError, unknown

_PADDING = ("ZeroPadding2D", "Cropping2D", "Resizing", "Rescaling", "InputLayer", "Normalization")


def feature_layers(model: Any, count: int = 2) -> tuple[str, ...]:
    """Name the layers whose pooled outputs describe an image best: the last of each of the coarsest resolutions.

    A network that was trained on one laboratory keeps in its middle layers what its last layer no longer tells apart,
    so that a head for another laboratory reads both.

    Args:
        model: Functional keras.Model that ends in pooling and Dense layers; channels last.
        count: How many resolutions, counted from the coarsest one.

    Maps that finer ones follow are none of these: the gates of squeeze-and-excitation have one pixel.

    Returns:
        Names from the input on. A network without feature maps gives the layer that its last layer reads.

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> import keras
        >>> net = Backbone("residual").build((32, 32, 3))
        >>> feature_layers(net)
        ('block2_out', 'block3_out')
    """
    import keras

    last: dict[int, str] = {}
    for layer in model.layers:
        shape: tuple[int | None, ...] = tuple(getattr(layer.output, "shape", ()))
        if type(layer).__name__ in _PADDING or isinstance(layer, keras.Model):
            continue
        if len(shape) == 4 and shape[1] is not None and shape[2] is not None:
            size = shape[1] * shape[2]
            last = {coarser: name for coarser, name in last.items() if coarser >= size} | {size: layer.name}
    coarsest = sorted(last)[:count]
    if not coarsest:
        names = [layer.name for layer in model.layers if layer.output is model.layers[-1].input]
        if not names:
            raise OptionError(
                f"the network {model.name!r} has no feature maps and its last layer reads no single layer; "
                "name the layers that features are read from"
            )
        return tuple(names[:1])
    return tuple(last[size] for size in reversed(coarsest))


def stored_layers(model: Any) -> tuple[str, ...]:
    """Name the layers whose pooled outputs a run stores, and an adaptation reads: ``feature_layers(model, 3)``.

    Returns:
        Names from the input on; none for an ensemble, or another network without layers that can be pooled.
    """
    try:
        names = feature_layers(model, 3)
    except OptionError:
        return ()
    return names if all(len(model.get_layer(name).output.shape) in (2, 4) for name in names) else ()


def pooled(model: Any, layers: Sequence[str]) -> list[Any]:
    """Give the pooled output of each layer as symbolic (batch, channels) tensors of the same graph.

    Args:
        model: Functional keras.Model.
        layers: Names; the output is a map (pooled by its mean) or a row a cell (taken as it is).

    Raises:
        UnknownNameError: No layer of that name.
        OptionError: A layer whose output is neither a map nor a row.
    """
    import keras

    names = [layer.name for layer in model.layers]
    found = []
    for name in layers:
        if name not in names:
            raise unknown("layer of the run", name, names)
        output = model.get_layer(name).output
        rank = len(output.shape)
        if rank == 4:
            # a pooling that reads the same map already is used, so that nothing is computed twice
            same = [
                layer.output
                for layer in model.layers
                if type(layer).__name__ == "GlobalAveragePooling2D" and layer.input is output
            ]
            pool = same[0] if same else keras.layers.GlobalAveragePooling2D(name=f"pooled_{name}")(output)
            found.append(pool)
        elif rank == 2:
            found.append(output)
        else:
            raise OptionError(
                f"layer {name!r} gives an output of shape {tuple(output.shape)}; expected a map (n, h, w, c) or a row "
                "(n, c) for each image"
            )
    return found
