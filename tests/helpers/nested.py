"""Networks that hold BatchNorm layers inside of other models and layers."""

from __future__ import annotations

import keras

layers = keras.layers


@keras.saving.register_keras_serializable("cellclf-tests")
class Block(layers.Layer):
    """A layer with layers of its own, one of them in a list."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.norm = layers.BatchNormalization(momentum=0.5, name="norm")
        self.rest = [layers.Conv2D(3, 1, name="conv"), layers.BatchNormalization(momentum=0.5, name="last")]

    def build(self, shape):
        self.norm.build(shape)
        for layer in self.rest:
            layer.build((*shape[:-1], 3))

    def call(self, inputs, training=None):
        x = self.norm(inputs, training=training)
        return self.rest[1](self.rest[0](x), training=training)

    def compute_output_shape(self, shape):
        return (*shape[:-1], 3)


@keras.saving.register_keras_serializable("cellclf-tests")
class OwnNorm(layers.BatchNormalization):
    """A user's own kind of BatchNorm."""


def norm(name="norm"):
    return layers.BatchNormalization(momentum=0.5, name=name)


def model_of(*parts, name="inner"):
    inputs = x = keras.Input((16, 16, 3))
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x, name=name)


def conv(name="conv"):
    return layers.Conv2D(3, 3, padding="same", name=name)


NESTED = {
    "flat": lambda: [conv(), norm()],
    "a model": lambda: [model_of(conv(), norm())],
    "a model in a model": lambda: [model_of(model_of(conv(), norm(), name="innermost"))],
    "a sequential model": lambda: [keras.Sequential([keras.Input((16, 16, 3)), conv(), norm()], name="inner")],
    "two models": lambda: [model_of(conv(), norm(), name="one"), model_of(norm("norm2"), conv(), name="two")],
    "a layer": lambda: [Block(name="block")],
    "a layer in a model": lambda: [model_of(Block(name="block"))],
    "a model and a layer beside it": lambda: [norm("outer"), model_of(conv(), norm())],
    "a wrapper": lambda: [layers.Reshape((1, 16, 16, 3)), layers.TimeDistributed(norm()), layers.Reshape((16, 16, 3))],
    "its own kind": lambda: [model_of(OwnNorm(momentum=0.5, name="norm"))],
    "two in a model": lambda: [model_of(norm(), layers.ReLU(name="relu"), norm("norm2"))],
}
"""How a BatchNorm is nested -> layers that do so, for (n, 16, 16, 3)."""


def network(kind, classes=3):
    keras.utils.set_random_seed(2)
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 64, name="scale")(x)
    for part in NESTED[kind]():
        x = part(x)
    x = layers.Activation("relu", name="end")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(classes, "softmax", name="probabilities")(x))
