"""Explain a prediction: heat maps from the feature maps and gradients of a network, or from covered pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import DataError, OptionError, unknown
from cellclf.evaluation.calibration import scale
from cellclf.evaluation.saliency import METHODS, Explanation, OcclusionSource, grad_cam, grad_cam_plus_plus, normalised
from cellclf.runs.predict import probabilities
from cellclf.utils.backend import float32

_SMALLEST = 5
"""Smallest side of a feature map: of 3x3, each place has all of a cell in its receptive field; 1x1 has no place."""

Classes = str | int | Sequence[str] | Sequence[int] | NDArray[Any] | None


@float32()
def explain(
    model: Any,
    cells: ImageSet,
    class_names: tuple[str, ...],
    *,
    method: str = "gradcam",
    classes: Classes = None,
    layer: str | None = None,
    temperature: float = 1.0,
    batch_size: int = 32,
    show: bool | None = None,
) -> Explanation:
    """Find where in each image a network finds a class.

    Args:
        model: Flat Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities by a softmax.
        cells: The images.
        class_names: K names in label order.
        method: See ``Run.explain``, as for the others and what is raised.
        classes: See there.
        layer: See there.
        temperature: What the logarithms of the probabilities are divided by.
        batch_size: See there.
        show: See there.
    """
    if method not in METHODS:
        raise unknown("method", method, METHODS)
    chosen = _numbers(classes, class_names, len(cells))
    if method == "occlusion":
        if layer is not None:
            raise OptionError(f"layer={layer!r} is for Grad-CAM; expected no layer with occlusion, which covers pixels")
        covered = OcclusionSource(cells)
        every = probabilities(model, ImageSet(covered), batch_size=2 * batch_size, show=show)
        found = every[:: covered.each]
        chosen = found.argmax(1) if chosen is None else chosen
        raw = covered.heat(every, chosen)
        used = None
    else:
        reader = _Reader.of(model, layer)
        weigh = grad_cam if method == "gradcam" else grad_cam_plus_plus
        raw, found, chosen = reader.read(cells, chosen, weigh, batch_size=batch_size, show=show)
        used = reader.layer
    heat, peak = normalised(raw)
    chosen = chosen.astype(np.int64)
    calibrated = scale(found, temperature) if temperature != 1 and len(found) else found
    given = calibrated[np.arange(len(calibrated)), chosen].astype(np.float32)
    return Explanation(heat, peak, chosen, given, class_names, method, used, cells)


def _numbers(classes: Classes, names: tuple[str, ...], count: int) -> NDArray[np.int64] | None:
    if classes is None:
        return None
    given: Any = classes
    each = [given] if isinstance(given, str) or np.ndim(given) == 0 else list(given)
    numbers = []
    for one in each:
        if isinstance(one, str):
            if one not in names:
                raise unknown("class", one, names)
            numbers.append(names.index(one))
        elif isinstance(one, int | np.integer) and 0 <= one < len(names):
            numbers.append(int(one))
        else:
            raise DataError(f"class {one} does not exist; expected 0 to {len(names) - 1}, or a name")
    if len(numbers) == 1:
        numbers *= count
    if len(numbers) != count:
        raise DataError(f"{len(numbers)} classes for {count} images; expected one for all, or one for each")
    return np.asarray(numbers, np.int64)


@dataclass(frozen=True)
class _Reader:
    """A network split at a feature map.

    Args:
        layer: Name of the layer that makes the map.
        front: From images to the map.
        tail: From the map to the input of the last layer.
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
            # what comes before the first weights is the image itself, of which no gradient says what was found in it
            first = next((place for place, one in enumerate(model.layers) if one.weights), 0)
            maps = [one for one in model.layers[first:] if one in maps]
            maps = [one for one in maps if not isinstance(one, keras.layers.ZeroPadding2D)]  # its border moves places
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
            except ValueError:  # a path does not pass this layer
                continue
            return cls(one.name, keras.Model(model.inputs[0], one.output), tail, score, model.output_shape[-1])
        if layer is not None:
            raise OptionError(
                f"layer {layer!r} is not on all paths from the images to the classes; "
                "choose a layer where the paths meet, or give no layer"
            )
        raise OptionError("the network has no feature map of 2x2 or more; use method 'occlusion', which needs none")

    def read(
        self,
        cells: ImageSet,
        chosen: NDArray[np.int64] | None,
        weigh: Callable[[Any, Any], NDArray[np.float64]],
        *,
        batch_size: int,
        show: bool | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.int64]]:
        """Give raw heat, probabilities and the explained classes, batch by batch."""
        from keras import ops

        done = 0
        heat = [np.empty((0, *self.front.output_shape[1:3]))]
        found, classes = [np.empty((0, self.num_classes), np.float32)], [np.empty(0, np.int64)]
        slopes = current().slopes(self.front, lambda maps: self.score(self.tail(maps, training=False)))
        for batch in cells.batches(batch_size, label="explaining", show=show):
            maps, slope, scores, now = slopes(batch, None if chosen is None else chosen[done : done + len(batch)])
            heat.append(weigh(maps, slope))
            found.append(ops.convert_to_numpy(ops.softmax(scores)))
            classes.append(np.asarray(now, np.int64))
            done += len(batch)
        return np.concatenate(heat), np.concatenate(found), np.concatenate(classes)


def _before_softmax(model: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Find the input of the last layer, and the function from it to the scores before the softmax."""
    import keras

    last, softmax = model.layers[-1], keras.activations.softmax
    if isinstance(last, keras.layers.Dense) and last.activation is softmax:
        return last.input, lambda x: keras.ops.add(
            keras.ops.matmul(keras.ops.cast(x, "float32"), last.kernel), last.bias if last.use_bias else 0.0
        )
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is softmax:
        return last.input, lambda x: keras.ops.cast(x, "float32")
    raise OptionError(
        f"the last layer, {last.name}, is not a softmax of class scores (an ensemble averages probabilities); explain "
        "its members, or use method 'occlusion'"
    )
