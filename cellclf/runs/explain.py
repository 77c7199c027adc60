"""Ask a trained network where it looked: feature maps and gradients out of it, heat maps from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError, unknown
from cellclf.evaluation.calibration import scale
from cellclf.evaluation.saliency import METHODS, Explanation, OcclusionSource, grad_cam, grad_cam_plus_plus, normalised
from cellclf.runs.predict import probabilities

_SMALLEST = 5  # of fields; what looks at 3x3 fields of a cell has seen all of it in each, and 1x1 says nothing of where

Wanted = str | int | Sequence[str] | Sequence[int] | NDArray[Any] | None


def explain(
    model: Any,
    cells: ImageSet,
    class_names: tuple[str, ...],
    *,
    method: str = "gradcam",
    classes: Wanted = None,
    layer: str | None = None,
    temperature: float = 1.0,
    batch_size: int = 32,
    show: bool = False,
) -> Explanation:
    """Find where in each image a network sees a class.

    Args:
        model: Flat Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities by a softmax.
        cells: The images.
        class_names: K names in label order.
        method: ``"gradcam"``, ``"gradcam++"`` or ``"occlusion"``.
        classes: One class for all images or one for each, by name or number; None asks for the predicted one.
        layer: Of the feature map that Grad-CAM reads; None takes the last of at least 5x5 that everything passes.
        temperature: What the logarithms of the probabilities are divided by.
        batch_size: Images at a time.
        show: True draws a progress bar.

    Raises:
        UnknownNameError: No such method, class or layer.
        OptionError: A layer or a network that the method cannot use.
        DataError: Another number of classes than of images.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    asked = _numbers(classes, class_names, len(cells))
    if method == "occlusion":
        if layer is not None:
            raise OptionError(f"layer={layer!r} is for Grad-CAM; occlusion covers pixels: leave it out")
        covered = OcclusionSource(cells)
        every = probabilities(model, ImageSet(covered), batch_size=2 * batch_size, show=show)
        shares = every[:: covered.each]
        asked = shares.argmax(1) if asked is None else asked
        raw = covered.heat(every, asked)
        used = None
    else:
        reader = _Reader.of(model, layer)
        weigh = grad_cam if method == "gradcam" else grad_cam_plus_plus
        raw, shares, asked = reader.read(cells, asked, weigh, batch_size=batch_size, show=show)
        used = reader.layer
    heat, peak = normalised(raw)
    asked = asked.astype(np.int64)
    told = scale(shares, temperature) if temperature != 1 and len(shares) else shares
    given = told[np.arange(len(told)), asked].astype(np.float32)
    return Explanation(heat, peak, asked, given, class_names, method, used, cells)


def _numbers(classes: Wanted, names: tuple[str, ...], count: int) -> NDArray[np.int64] | None:
    if classes is None:
        return None
    each = [classes] if isinstance(classes, str | int | np.integer) else list(classes)
    numbers = []
    for wanted in each:
        if isinstance(wanted, str):
            if wanted not in names:
                raise unknown("class", wanted, names)
            numbers.append(names.index(wanted))
        elif 0 <= int(wanted) < len(names):
            numbers.append(int(wanted))
        else:
            raise DataError(f"class {wanted} does not exist; the run knows {len(names)}, counted from 0")
    if len(numbers) == 1:
        numbers *= count
    if len(numbers) != count:
        raise DataError(f"{len(numbers)} classes for {count} images; expected one for all, or one for each")
    return np.asarray(numbers, np.int64)


@dataclass(frozen=True)
class _Reader:
    """A network cut at a feature map.

    Args:
        layer: Name of the layer that makes the map.
        front: From images to the map.
        tail: From the map to what the last layer takes.
        score: From that to the scores before the softmax.
        num_classes: K.
    """

    layer: str
    front: Any
    tail: Any
    score: Callable[[Any], Any]
    num_classes: int

    @classmethod
    def of(cls, model: Any, layer: str | None) -> _Reader:
        import keras

        end, score = _before_softmax(model)
        maps = [one for one in model.layers if len(getattr(one.output, "shape", ())) == 4]
        if layer is None:
            maps = [one for one in maps if not isinstance(one, keras.layers.ZeroPadding2D)]  # its rim shifts places
            sides = {one.name: min(one.output.shape[1:3]) for one in maps}
            order = [one for one in reversed(maps) if sides[one.name] >= _SMALLEST]
            order += [one for one in reversed(maps) if 1 < sides[one.name] < _SMALLEST]
        else:
            order = [one for one in maps if one.name == layer]
            if not order:
                raise unknown("feature map", layer, [one.name for one in maps])
        for one in order:
            try:
                tail = keras.Model(one.output, end)
            except ValueError:  # something goes around it
                continue
            return cls(one.name, keras.Model(model.inputs[0], one.output), tail, score, model.output_shape[-1])
        if layer is not None:
            raise OptionError(
                f"layer {layer!r} sees only a part of what the classes are told by: something goes around it; "
                "choose a layer where the paths meet, or leave layer out"
            )
        raise OptionError("the network has no feature map of 2x2 or more to look at; method 'occlusion' needs none")

    def read(
        self,
        cells: ImageSet,
        asked: NDArray[np.int64] | None,
        weigh: Callable[[Any, Any], NDArray[np.float64]],
        *,
        batch_size: int,
        show: bool,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
        """Give raw heat, probabilities and the classes asked for, batch by batch."""
        import tensorflow as tf

        done = 0
        heat = [np.empty((0, *self.front.output_shape[1:3]))]
        shares, chosen = [np.empty((0, self.num_classes), np.float32)], [np.empty(0, np.int64)]
        for batch in cells.batches(batch_size, label="explaining", show=show):
            maps = self.front(batch, training=False)
            with tf.GradientTape() as tape:
                tape.watch(maps)
                scores = self.score(self.tail(maps, training=False))
                now = scores.numpy().argmax(1) if asked is None else asked[done : done + len(batch)]
                spoken = tf.reduce_sum(tf.gather(scores, now, axis=1, batch_dims=1))
            slope = tf.cast(tape.gradient(spoken, maps), tf.float32)
            heat.append(weigh(tf.cast(maps, tf.float32).numpy(), slope.numpy()))
            shares.append(tf.nn.softmax(scores).numpy())
            chosen.append(np.asarray(now, np.int64))
            done += len(batch)
        return np.concatenate(heat), np.concatenate(shares), np.concatenate(chosen)


def _before_softmax(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Find the tensor that the last layer takes, and how it becomes the scores that the softmax gets."""
    import keras

    last, softmax = model.layers[-1], keras.activations.softmax
    if isinstance(last, keras.layers.Dense) and last.activation is softmax:
        return last.input, lambda x: keras.ops.add(
            keras.ops.matmul(keras.ops.cast(x, "float32"), last.kernel), last.bias if last.use_bias else 0.0
        )
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is softmax:
        return last.input, lambda x: keras.ops.cast(x, "float32")
    raise OptionError(
        f"the last layer, {last.name}, is no softmax of class scores (an ensemble averages probabilities): explain its "
        "members, or use method 'occlusion'"
    )
