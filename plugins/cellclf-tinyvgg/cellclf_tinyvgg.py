"""A small VGG: pairs of 3x3 convolutions, each pair followed by a pooling."""

from cellclf import BackboneSpec, hookimpl


def build(input_shape, *, weights, filters):
    """Build the network; weights is always None, since none are published."""
    import keras  # inside: listing backbones must not import Keras
    from keras import layers

    pixels = keras.Input(input_shape, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="rescale")(pixels)
    for block, channels in enumerate(filters, start=1):
        for conv in (1, 2):
            name = f"block{block}_conv{conv}"
            x = layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)(x)
        x = layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    return keras.Model(pixels, x, name="tinyvgg")


TINYVGG = BackboneSpec(
    name="tinyvgg",
    build=build,
    summary="three pairs of 3x3 convolutions",
    source="Simonyan and Zisserman 2014, arXiv 1409.1556, made small",
    min_size=16,
    blocks=("block1_pool", "block2_pool", "block3_pool"),
    params={"filters": [16, 32, 64]},
)


@hookimpl
def cellclf_backbones():
    """List the backbones of this package."""
    return [TINYVGG]
