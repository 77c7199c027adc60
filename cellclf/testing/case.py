"""The backbone under test: what the checks share, and how they train it for a step."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cellclf.backbones.backbone import Backbone
from cellclf.backbones.spec import BackboneSpec


class CheckFailed(AssertionError):
    """A backbone breaks the rule of a check."""


@dataclass(frozen=True, eq=False)
class Case:
    """One backbone with its parameters, always with random weights: nothing is downloaded.

    Args:
        network: Its name or its spec.
        params: Its parameters, or None for the defaults.
        size: Side of the images, pixels; None is the smallest whose feature map is larger than 1x1.
    """

    network: str | BackboneSpec
    params: Mapping[str, Any] | None = None
    size: int | None = None

    @functools.cached_property
    def backbone(self) -> Backbone:
        """The backbone with random weights."""
        return Backbone(self.network, weights=None, params=self.params)

    @property
    def spec(self) -> BackboneSpec:
        """Its description."""
        return self.backbone.spec

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of the images."""
        side = self.size or max(self.spec.min_size, self.spec.grid_from or 0)
        return (side, side, 3)

    @functools.cached_property
    def model(self) -> Any:
        """One network, built once, that checks may read and call, but not change."""
        return self.build()

    def build(self, seed: int = 0) -> Any:
        """Build a network of its own for a check that changes it."""
        return self.backbone.build(self.shape, seed=seed)

    def pixels(self, count: int) -> Any:
        """Return images of random pixels, (count, height, width, 3) uint8."""
        return np.random.default_rng(7).integers(0, 256, (count, *self.shape), dtype=np.uint8)

    def maps(self, images: Any) -> Any:
        """Return the feature maps of some images as a numpy array."""
        import keras

        return keras.ops.convert_to_numpy(self.model(images, training=False))


def train_step(model: Any, images: Any) -> None:
    """Train the network for one step, under a small head that is not kept."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D()(model.output)
    head = keras.layers.Dense(1, kernel_initializer="ones")(pooled)
    whole = keras.Model(model.input, head)
    # Adam moves whatever has a gradient by its learning rate, however small the gradient is
    whole.compile(optimizer=keras.optimizers.Adam(1e-2), loss="mean_squared_error", run_eagerly=True)
    with warnings.catch_warnings():
        # Keras warns of weights without a gradient: the checks compare the weights themselves
        warnings.simplefilter("ignore", UserWarning)
        whole.train_on_batch(images, np.full((len(images), 1), 10.0, np.float32))


def snapshot(model: Any) -> dict[str, Any]:
    """Return a copy of every weight by its path."""
    import keras

    return {weight.path: np.array(keras.ops.convert_to_numpy(weight)) for weight in model.weights}


def moved(model: Any, before: Mapping[str, Any]) -> set[str]:
    """Return the paths of the weights that changed."""
    return {path for path, value in snapshot(model).items() if not np.array_equal(value, before[path])}


def short(names: Any, count: int = 3) -> str:
    """List some names, and how many more there are."""
    names = sorted(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more
