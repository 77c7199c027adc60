"""The networks of keras.applications, each with its own preprocessing inside its graph: pixels 0-255 go in."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Interval

from cellclf.backbones.spec import BackboneSpec, Pretrained
from cellclf.errors import WeightsError
from cellclf.utils.parameters import Called, check_arguments

Alpha = Annotated[
    float, Interval(ge=0.05, le=4), Called("a width multiplier from 0.05 to 4, such as 0.25, 0.5, 0.75 or 1.0")
]


def build_application(
    input_shape: tuple[int, int, int], *, weights: str | None, network: str, scaling: str, alpha: Alpha | None = None
) -> Any:
    """Build a network of keras.applications without its classifier, as one flat graph from pixels 0-255.

    Args:
        input_shape: (height, width, 3), pixels.
        weights: ``"imagenet"`` or None.
        network: Name of the function in ``keras.applications``.
        scaling: How its pixels are prepared: ``"unit"`` x / 127.5 - 1, ``"caffe"`` BGR less the channel means,
            ``"own"`` not at all, since the network does it.
        alpha: Width multiplier, for networks that have one.

    Returns:
        A keras.Model; its output is the last feature map.

    Raises:
        WeightsError: The published weights cannot be loaded (no internet connection, a broken download).
        OptionError: The width multiplier is not a positive number.

    Examples:
        >>> build_application((32, 32, 3), weights=None, network="MobileNet", scaling="unit", alpha=0.25).output_shape
        (None, 1, 1, 256)
    """
    import keras

    constructor = getattr(keras.applications, network)
    width = {} if alpha is None else {"alpha": alpha}
    check_arguments(build_application, alpha=alpha)
    pixels = keras.Input(input_shape, name="pixels")
    model = constructor(
        include_top=False, weights=None, input_tensor=_scaled(pixels, scaling), input_shape=input_shape, **width
    )
    if weights is not None:
        # A second network without the scaling loads the weights at its usual size: MobileNet warns at any other. The
        # layers before the first convolution have no weights, so both networks have the same list of them.
        try:
            reference = constructor(include_top=False, weights=weights, input_shape=(224, 224, 3), **width)
        # urllib, ssl, h5py and Keras each raise their own; Keras wraps some in a bare Exception
        except Exception as error:
            reason = " ".join(str(error).split())
            raise WeightsError(
                f"the {weights!r} weights of {network} cannot be loaded ({reason}); download the file on another "
                "machine and pass its path as weights=, or weights=None for random ones"
            ) from error
        model.set_weights(reference.get_weights())
    return model


def _scaled(pixels: Any, scaling: str) -> Any:
    """Prepare pixels 0-255 by layers that every Keras can load again."""
    from keras import layers

    if scaling == "unit":
        return layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(pixels)
    if scaling == "caffe":
        # RGB -> BGR: no layer reverses channels, but read as "channels first" the last axis is one that can be cropped
        def channel(name: str, left: int, right: int) -> Any:
            crop = layers.Cropping2D(((0, 0), (left, right)), data_format="channels_first", name=name)
            return crop(pixels)

        bgr = layers.Concatenate(axis=-1, name="bgr")(
            [channel("blue", 2, 0), channel("green", 1, 1), channel("red", 0, 2)]
        )
        return layers.Rescaling(1.0, offset=[-103.939, -116.779, -123.68], name="subtract_mean")(bgr)
    return pixels


def is_downloaded(file: str) -> bool:
    """Say whether a file of weights is where Keras keeps those that it has downloaded; needs no Keras.

    Args:
        file: Its name, such as ``"mobilenet_7_5_224_tf_no_top.h5"``.

    Examples:
        >>> is_downloaded("no_such_file.h5")
        False
    """
    home = Path("~").expanduser()
    home = Path("/tmp") if not os.access(home, os.W_OK) else home  # as Keras does
    return (Path(os.environ.get("KERAS_HOME") or home / ".keras") / "models" / file).is_file()


def _known(file: str, accuracy: float, **params: Any) -> Pretrained:
    return Pretrained(accuracy=accuracy, at_hand=functools.partial(is_downloaded, file), params=params)


def _spec(name: str, network: str, scaling: str, *known: Pretrained, **fields: Any) -> BackboneSpec:
    build = functools.partial(build_application, network=network, scaling=scaling)
    return BackboneSpec(name=name, build=build, weights=("imagenet",), pretrained=known, **fields)


# Accuracies: the table of https://keras.io/api/applications; of MobileNet, whose width it leaves out, its paper's
# table 6. Files: as keras.applications names those without a classifier.
_KERNELS = "tf_dim_ordering_tf_kernels_notop.h5"


SPECS = (
    _spec(
        "resnet50",
        "ResNet50",
        "caffe",
        _known(f"resnet50_weights_{_KERNELS}", 0.749),
        summary="residual network of 50 layers; 23.6 M weights",
        source="He et al. 2015, Deep Residual Learning for Image Recognition, arXiv 1512.03385",
        min_size=32,
        grid_from=33,
        blocks=("pool1_pool", "conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
    ),
    _spec(
        "inceptionv3",
        "InceptionV3",
        "unit",
        _known(f"inception_v3_weights_{_KERNELS}", 0.779),
        summary="parallel factorised kernels; 21.8 M weights",
        source="Szegedy et al. 2015, Rethinking the Inception Architecture for Computer Vision, arXiv 1512.00567",
        min_size=75,
        grid_from=107,
        blocks=("max_pooling2d_1", "mixed2", "mixed7", "mixed10"),
    ),
    _spec(
        "xception",
        "Xception",
        "unit",
        _known(f"xception_weights_{_KERNELS}", 0.790),
        summary="depthwise separable convolutions with shortcuts; 20.9 M weights",
        source="Chollet 2016, Xception: Deep Learning with Depthwise Separable Convolutions, arXiv 1610.02357",
        min_size=71,
        blocks=("block1_conv2_act", "add_2", "add_10", "block14_sepconv2_act"),
    ),
    _spec(
        "inceptionresnetv2",
        "InceptionResNetV2",
        "unit",
        _known(f"inception_resnet_v2_weights_{_KERNELS}", 0.803),
        summary="inception blocks with shortcuts; 54.3 M weights",
        source="Szegedy et al. 2016, Inception-v4, Inception-ResNet and Residual Connections, arXiv 1602.07261",
        min_size=75,
        grid_from=107,
        blocks=("mixed_5b", "block35_10_ac", "block17_20_ac", "conv_7b_ac"),
    ),
    _spec(
        "mobilenet",
        "MobileNet",
        "unit",
        *(
            _known(f"mobilenet_{name}_224_tf_no_top.h5", accuracy, alpha=alpha)
            for name, alpha, accuracy in (
                ("1_0", 1.0, 0.706),
                ("7_5", 0.75, 0.684),
                ("5_0", 0.5, 0.637),
                ("2_5", 0.25, 0.506),
            )
        ),
        summary="small and quick, with a width multiplier alpha; 3.2 M weights at alpha 1",
        source="Howard et al. 2017, MobileNets: Efficient CNNs for Mobile Vision Applications, arXiv 1704.04861",
        min_size=32,
        grid_from=63,
        blocks=("conv_pw_1_relu", "conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu", "conv_pw_13_relu"),
        params={"alpha": 1.0},
    ),
    _spec(
        "efficientnetv2b0",
        "EfficientNetV2B0",
        "own",
        _known("efficientnetv2-b0_notop.h5", 0.787),
        summary="fused inverted residuals with squeeze and excitation; 5.9 M weights",
        source="Tan and Le 2021, EfficientNetV2: Smaller Models and Faster Training, arXiv 2104.00298",
        min_size=32,
        grid_from=33,
        blocks=(
            "stem_activation",
            "block2b_add",
            "block3b_add",
            "block4c_add",
            "block5e_add",
            "block6h_add",
            "top_activation",
        ),
    ),
    _spec(
        "convnexttiny",
        "ConvNeXtTiny",
        "own",
        _known("convnext_tiny_notop.h5", 0.813),
        summary="7x7 depthwise kernels and LayerNorm, no BatchNorm; 27.8 M weights",
        source="Liu et al. 2022, A ConvNet for the 2020s, arXiv 2201.03545",
        min_size=32,
        grid_from=64,
        blocks=(
            "convnext_tiny_downsampling_block_0",
            "convnext_tiny_downsampling_block_1",
            "convnext_tiny_downsampling_block_2",
            "layer_normalization",
        ),
    ),
)
