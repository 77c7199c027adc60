"""EfficientNet-Lite as one flat Keras graph from pixels 0-255.

Source: Tan and Le 2019, arXiv 1905.11946, table 1; the Lite variant drops squeeze-and-excitation, takes ReLU6 for
swish, and keeps stem and head at their width.
"""

from __future__ import annotations

from typing import Any

from cellclf_efficientnet_lite.sizes import size_of


def build(input_shape: tuple[int, int, int], *, weights: str | None, network: str) -> Any:
    """Build the network up to its last feature map.

    Args:
        input_shape: (height, width, 3), pixels.
        weights: ``"imagenet"`` or None for random ones.
        network: Name of the size, such as ``"efficientnetlite0"``.

    Returns:
        A keras.Model; pixels 0-255 -> (N, height / 32, width / 32, 1280).
    """
    import keras
    from keras import layers

    pixels = keras.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescale")(pixels)
    x = _conv(x, "stem", 32, 3, strides=2)
    number = 0
    size = size_of(network)
    for stage in size.stages():
        for repeat in range(stage.repeats):
            number += 1
            name, strides, shortcut = f"block{number}", stage.stride if repeat == 0 else 1, x
            if stage.expansion > 1:
                x = _conv(x, f"{name}_expand", stage.expansion * x.shape[-1], 1)
            x = _conv(x, f"{name}_depthwise", None, stage.kernel, strides=strides)
            x = _conv(x, f"{name}_project", stage.channels, 1, relu=False)
            if repeat > 0:
                x = layers.Add(name=f"{name}_add")([x, shortcut])
    x = _conv(x, "head", 1280, 1)
    model = keras.Model(pixels, x, name=network)
    if weights is not None:
        from cellclf_efficientnet_lite.weights import imagenet

        _fill(model, imagenet(size))
    return model


def build_classifier(network: str = "efficientnetlite0") -> Any:
    """Build a network with ImageNet's weights and classifier, for images of the size that it was trained on.

    Args:
        network: Name of the size, such as ``"efficientnetlite0"``.

    Returns:
        A keras.Model; pixels 0-255 -> (N, 1000) probabilities of ImageNet's classes in their usual order.
    """
    import keras

    from cellclf_efficientnet_lite.weights import imagenet

    size = size_of(network)
    base = build((size.side, size.side, 3), weights="imagenet", network=network)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(base.output)
    model = keras.Model(base.input, keras.layers.Dense(1000, activation="softmax", name="fc")(x))
    arrays = imagenet(size)
    model.get_layer("fc").set_weights([arrays["fc/kernel"], arrays["fc/bias"]])
    return model


def _conv(x: Any, name: str, channels: int | None, kernel: int, *, strides: int = 1, relu: bool = True) -> Any:
    """Add a convolution (depthwise if ``channels`` is None) with BatchNorm and, mostly, ReLU6."""
    from keras import layers

    options: dict[str, Any] = {"strides": strides, "padding": "same", "use_bias": False, "name": f"{name}_conv"}
    if channels is None:
        x = layers.DepthwiseConv2D(kernel, depthwise_initializer="he_normal", **options)(x)
    else:
        x = layers.Conv2D(channels, kernel, kernel_initializer="he_normal", **options)(x)
    x = layers.BatchNormalization(momentum=0.99, epsilon=1e-3, name=f"{name}_bn")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if relu else x


def _fill(model: Any, arrays: dict[str, Any]) -> None:
    for layer in model.layers:
        if layer.name.endswith("_conv"):
            layer.set_weights([arrays[f"{layer.name}/kernel"]])
        elif layer.name.endswith("_bn"):
            layer.set_weights([arrays[f"{layer.name}/{part}"] for part in ("gamma", "beta", "mean", "variance")])
