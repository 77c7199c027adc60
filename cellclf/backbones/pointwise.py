"""Strided 1x1 convolutions of few channels, computed in a way that does not spoil memory."""

from __future__ import annotations

from typing import Any

from cellclf.backbones.graph import all_layers

_FEWEST = 16
"""Channels from which on oneDNN's kernels are right: as many as fit in a register of AVX-512."""


def subsample_first(model: Any) -> None:
    """Let the strided 1x1 convolutions of a network leave out pixels before they are computed, not while they are.

    The result is the same. But oneDNN, with which TensorFlow and PyTorch compute on a processor, writes beyond its
    memory when it finds the gradient of such a convolution of fewer than 16 channels: the process dies without a word
    (``free(): invalid size``), or learns from wrong gradients. The layers, their names, weights and configs remain as
    they are, so that nothing of this is in a saved file.

    Args:
        model: A keras.Model, which must be compiled after it; changed in place.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035

    Examples:
        >>> from cellclf.backbones.backbone import Backbone
        >>> network = Backbone("residual", params={"filters": [4, 8, 8]}).build((32, 32, 3))
        >>> subsample_first(network)
        >>> network.get_layer("block1_shortcut").strides
        (2, 2)
    """
    import keras

    usual = keras.layers.Conv2D.convolution_op
    for layer in all_layers(model):
        ours = isinstance(layer, keras.layers.Conv2D) and type(layer).convolution_op is usual and layer.built
        if ours and layer.kernel_size == (1, 1) and layer.strides != (1, 1) and layer.kernel.shape[2] < _FEWEST:
            layer.convolution_op = _subsampled(layer.strides, layer.data_format)


def _subsampled(strides: tuple[int, int], data_format: str) -> Any:
    import keras

    rows, columns = (slice(None, None, step) for step in strides)
    kept = (slice(None), rows, columns) if data_format == "channels_last" else (slice(None), slice(None), rows, columns)

    def convolution_op(inputs: Any, kernel: Any) -> Any:
        return keras.ops.conv(inputs[kept], kernel, strides=1, padding="valid", data_format=data_format)

    return convolution_op
