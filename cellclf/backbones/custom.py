"""Three small networks to train from scratch: a plain stack, residual blocks, inception blocks.

They are the ones that the report on the AN2DL 2024 blood-cell challenge describes, each with its dense head in
``BackboneSpec.head``. Pixels 0-255 are scaled to -1..1 inside the graph; every layer has a name of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from annotated_types import Interval, Len, Predicate

from cellclf.backbones.spec import BackboneSpec
from cellclf.utils.parameters import Called, NotNegative, check_arguments

Width = Annotated[int, Interval(ge=1, le=4096)]
Side = Annotated[int, Interval(ge=1, le=31)]


def _different(sides: Sequence[int]) -> bool:
    return len(set(sides)) == len(sides)


Kernels = Annotated[
    Sequence[Side], Len(1), Predicate(_different), Called("a list of different sides from 1 to 31, such as [1, 3, 5]")
]
_REPORT = "report on the AN2DL 2024 blood-cell challenge"


def build_sequential(
    input_shape: tuple[int, int, int],
    *,
    weights: None,
    filters: Annotated[Sequence[Width], Len(5, 5)],
    kernel: Side,
    l2: NotNegative,
) -> Any:
    """Build five blocks of convolution, ReLU and max-pooling, with Glorot-normal weights and L2.

    Args:
        input_shape: (height, width, 3), pixels; a side of at least 32.
        weights: None; there are no published ones.
        filters: Five numbers of channels.
        kernel: Side of the kernels, pixels.
        l2: Weight of the squared kernels in the loss.

    Returns:
        A keras.Model; its output is the map after the fifth pooling, a 32nd of the input's side.

    Examples:
        >>> net = build_sequential((32, 32, 3), weights=None, filters=[4, 4, 8, 8, 8], kernel=3, l2=1e-4)
        >>> net.output_shape
        (None, 1, 1, 8)
    """
    from keras import layers

    check_arguments(build_sequential, filters=filters, kernel=kernel, l2=l2)
    pixels, x = _start(input_shape)
    for k, channels in enumerate(filters, start=1):
        x = _conv(channels, kernel, name=f"block{k}_conv", l2=l2, initializer="glorot_normal")(x)
        x = layers.ReLU(name=f"block{k}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"block{k}_pool")(x)
    return _model(pixels, x, "sequential")


def build_residual(
    input_shape: tuple[int, int, int],
    *,
    weights: None,
    filters: Annotated[Sequence[Width], Len(3, 3)],
    kernel: Side,
    l2: NotNegative,
) -> Any:
    """Build three residual blocks, each halving the side; two convolutions with BatchNorm beside a 1x1 shortcut.

    Args:
        input_shape: (height, width, 3), pixels; a side of at least 8.
        weights: None; there are no published ones.
        filters: Three numbers of channels.
        kernel: Side of the kernels, pixels.
        l2: Weight of the squared kernels in the loss.

    Returns:
        A keras.Model; its output is an 8th of the input's side.

    Source: the block of He et al. 2015, arXiv 1512.03385.

    Examples:
        >>> build_residual((16, 16, 3), weights=None, filters=[4, 8, 8], kernel=3, l2=0.0).output_shape
        (None, 2, 2, 8)
    """
    from keras import layers

    check_arguments(build_residual, filters=filters, kernel=kernel, l2=l2)
    pixels, x = _start(input_shape)
    x = _conv(filters[0], kernel, name="stem_conv", l2=l2, bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for k, channels in enumerate(filters, start=1):
        name = f"block{k}"
        shortcut = _conv(channels, 1, name=f"{name}_shortcut", l2=l2, strides=2, bias=False)(x)
        shortcut = layers.BatchNormalization(momentum=0.9, name=f"{name}_shortcut_bn")(shortcut)
        x = _conv(channels, kernel, name=f"{name}_conv1", l2=l2, strides=2, bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn1")(x)
        x = layers.ReLU(name=f"{name}_relu1")(x)
        x = _conv(channels, kernel, name=f"{name}_conv2", l2=l2, bias=False)(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn2")(x)
        x = layers.Add(name=f"{name}_add")([x, shortcut])
        x = layers.ReLU(name=f"{name}_out")(x)
    return _model(pixels, x, "residual")


def build_inception(
    input_shape: tuple[int, int, int],
    *,
    weights: None,
    filters: Annotated[Sequence[Width], Len(4, 4)],
    kernels: Kernels,
    l2: NotNegative,
) -> Any:
    """Build four inception blocks: parallel kernels of different sizes and a pooling, joined, then pooled by two.

    Args:
        input_shape: (height, width, 3), pixels; a side of at least 32.
        weights: None; there are no published ones.
        filters: Four numbers of channels, those of each block's branches.
        kernels: Sides of the parallel kernels, pixels.
        l2: Weight of the squared kernels in the loss.

    Returns:
        A keras.Model; its output is a 32nd of the input's side.

    Source: the block of Szegedy et al. 2014, arXiv 1409.4842, with BatchNorm (arXiv 1502.03167).

    Examples:
        >>> net = build_inception((32, 32, 3), weights=None, filters=[2, 2, 4, 4], kernels=[1, 3], l2=0.0)
        >>> net.output_shape
        (None, 1, 1, 12)
    """
    from keras import layers

    check_arguments(build_inception, filters=filters, kernels=kernels, l2=l2)
    pixels, x = _start(input_shape)
    x = _conv(2 * filters[0], 3, name="stem_conv", l2=l2, strides=2, bias=False)(x)
    x = layers.BatchNormalization(momentum=0.9, name="stem_bn")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for k, channels in enumerate(filters, start=1):
        name = f"block{k}"
        branches = [_conv(channels, side, name=f"{name}_conv{side}x{side}", l2=l2, bias=False)(x) for side in kernels]
        pooled = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_branch_pool")(x)
        branches.append(_conv(channels, 1, name=f"{name}_branch_pool_conv", l2=l2, bias=False)(pooled))
        x = layers.Concatenate(name=f"{name}_join")(branches)
        x = layers.BatchNormalization(momentum=0.9, name=f"{name}_bn")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return _model(pixels, x, "inception")


def _start(input_shape: tuple[int, int, int]) -> tuple[Any, Any]:
    import keras

    pixels = keras.Input(input_shape, name="pixels")
    return pixels, keras.layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(pixels)


def _model(pixels: Any, x: Any, name: str) -> Any:
    import keras

    return keras.Model(pixels, x, name=name)


def _conv(
    channels: int,
    kernel: int,
    *,
    name: str,
    l2: float,
    strides: int = 1,
    bias: bool = True,
    initializer: str = "he_normal",
) -> Any:
    import keras

    return keras.layers.Conv2D(
        channels,
        kernel,
        strides=strides,
        padding="same",
        use_bias=bias,
        kernel_initializer=initializer,
        kernel_regularizer=keras.regularizers.L2(l2) if l2 else None,
        name=name,
    )


SPECS = (
    BackboneSpec(
        name="sequential",
        build=build_sequential,
        summary="five blocks of convolution, ReLU and max-pooling; trained from scratch",
        source=_REPORT,
        min_size=32,
        grid_from=64,
        blocks=tuple(f"block{k}_pool" for k in range(1, 6)),
        params={"filters": [32, 64, 128, 128, 256], "kernel": 3, "l2": 1e-4},
        head={"units": [512, 256, 128, 64, 32], "dropout": 0.0, "l2": 1e-4, "pooling": "flatten", "activation": "relu"},
    ),
    BackboneSpec(
        name="residual",
        build=build_residual,
        summary="three residual blocks, 32 to 128 channels; trained from scratch",
        source=_REPORT,
        min_size=8,
        grid_from=9,
        blocks=("block1_out", "block2_out", "block3_out"),
        params={"filters": [32, 64, 128], "kernel": 3, "l2": 1e-4},
        head={"units": [256, 128], "dropout": 0.5, "l2": 1e-4, "pooling": "avg", "activation": "relu"},
    ),
    BackboneSpec(
        name="inception",
        build=build_inception,
        summary="four inception blocks of parallel kernels; trained from scratch",
        source=_REPORT,
        min_size=32,
        grid_from=63,
        blocks=tuple(f"block{k}_pool" for k in range(1, 5)),
        params={"filters": [16, 32, 48, 64], "kernels": [1, 3, 5], "l2": 1e-4},
        head={"units": [256, 128, 64], "dropout": 0.0, "l2": 1e-4, "pooling": "avg", "activation": "relu"},
    ),
)
