"""Backbone: a network that turns images into a feature map, by name, by description or as a Keras model."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Self

from cellclf.backbones.blocks import output_layer
from cellclf.backbones.graph import copied, seeded, stable_names
from cellclf.backbones.pointwise import subsample_first
from cellclf.backbones.registry import registry
from cellclf.backbones.spec import BackboneSpec
from cellclf.backbones.weights import check_path, load_weights
from cellclf.errors import OptionError, PluginError, WeightsError
from cellclf.utils.backend import check_backend, float32
from cellclf.utils.parameters import Params, check_parameters, check_table, check_value, construct, shortened, written
from cellclf.utils.progress import downloads

DEFAULT = "default"
_FIELDS = ("name", "weights", "params", "blocks")


class Backbone(Params):
    """A network from pixels 0-255 to a feature map, its weights and its parameters.

    Args:
        network: A name (``"resnet50"``, ``"plugin:name"``), a ``BackboneSpec``, or a functional Keras model that takes
            pixels 0-255.
        weights: ``"default"`` is the first that the network publishes (``"imagenet"``), or random ones where it
            publishes none; a published name; the path of a Keras file (``.weights.h5``, ``.h5``, ``.keras``); None for
            random ones. A Keras model keeps the weights that it has, unless a file is named.
        params: Parameters of the network that are not its defaults.
        blocks: For a Keras model: names of the layers in which its blocks end, from the input on; the last is its
            output. None is one block for all.

    Examples:
        >>> net = Backbone("mobilenet", weights=None, params={"alpha": 0.25})
        >>> net.check((96, 96, 3))
        ()
        >>> net.build((96, 96, 3)).output_shape
        (None, 3, 3, 256)
    """

    def __init__(
        self,
        network: Any,
        *,
        weights: str | PathLike[str] | None = DEFAULT,
        params: Mapping[str, Any] | None = None,
        blocks: Sequence[str] | None = None,
    ) -> None:
        self.network = network
        self.weights = weights
        self.params = params
        self.blocks = blocks

    def __repr__(self) -> str:
        parts = [repr(self.name), f"weights={self.weights!r}"]
        parts += [f"params={dict(self.params)!r}"] if self.params else []
        return f"Backbone({', '.join(parts)})"

    @property
    def name(self) -> str:
        """The full name, as recipes store it."""
        return registry().find(self.network).name if isinstance(self.network, str) else str(self.spec.name)

    @property
    def plugin(self) -> str | None:
        """Name of the plugin that brings it, or None."""
        return registry().find(self.network).plugin if isinstance(self.network, str) else None

    def to_dict(self) -> dict[str, Any]:
        """Give the backbone as plain data, as recipes hold it.

        A network that was given as an object is there by its name, which ``from_dict`` does not find: it has to be
        given again.
        """
        name = self.network if isinstance(self.network, str) else f"{type(self.network).__name__} {self.name}"
        return {
            "name": name,
            "weights": written(self.weights),
            "params": written(self.params),
            "blocks": written(self.blocks),
        }

    @classmethod
    def from_table(cls, table: Any, where: str) -> Self:
        """Make a backbone from the table of a recipe; ``network`` is called ``name`` there."""
        check_table(table, where, _FIELDS)
        if "name" not in table:
            raise OptionError(f"{where} lacks name; expected one that `cellclf backbones` lists")
        check_value(table["name"], str, f"{where} name")
        return construct(cls, {"network" if key == "name" else key: value for key, value in table.items()}, where)

    def resolved(self) -> Backbone:
        """Give the same backbone with its full name and its weights named, so that no later default changes it."""
        if not isinstance(self.network, str):
            return self
        published = self.spec.published
        weights = (published[0] if published else None) if self.weights == DEFAULT else self.weights
        return Backbone(self.name, weights=weights, params=self.params, blocks=self.blocks)

    @functools.cached_property
    def spec(self) -> BackboneSpec:
        """The description of the network.

        Raises:
            UnknownNameError: There is no backbone of that name.
        """
        network = self.network
        if isinstance(network, BackboneSpec):
            return network
        if isinstance(network, str):
            return registry().find(network).spec
        keras = sys.modules.get("keras")
        if keras is None or not isinstance(network, keras.Model):
            raise OptionError(
                f"the backbone is {shortened(network)}, of type {type(network).__name__}; expected a name, a "
                "BackboneSpec or a Keras model"
            )
        if not getattr(network, "inputs", None):
            raise OptionError(
                f"the model {network.name!r} has no graph: expected one made by the functional or the sequential API "
                "of Keras"
            )
        return BackboneSpec(
            name=network.name,
            build=functools.partial(_copy, network),
            summary="a Keras model",
            source="given as an object",
            min_size=1,
            blocks=tuple(self.blocks or (output_layer(network),)),
        )

    def check(self, input_shape: Sequence[int]) -> tuple[str, ...]:
        """Find every mistake that can be found without building the network; needs no Keras.

        Args:
            input_shape: (height, width, 3) of the images, pixels.

        Returns:
            Notices: what will work, but may not be intended.

        Raises:
            UnknownNameError: The backbone or a parameter does not exist.
            OptionError: The images are too small or not RGB, or a parameter is of the wrong kind.
            WeightsError: The weights are not published or the file does not exist.
        """
        check_parameters(self)
        spec = self.spec
        if isinstance(self.network, BackboneSpec):
            spec.check()
        spec.settings(self.params)
        if self.blocks is not None and isinstance(self.network, str | BackboneSpec):
            raise OptionError(
                f"blocks= is for a Keras model; backbone {spec.name!r} has its own: {', '.join(spec.blocks)}"
            )
        shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (input_shape,)
        if len(shape) != 3 or not all(isinstance(side, int) for side in shape) or shape[2] != 3:
            raise OptionError(
                f"input shape {input_shape!r} for backbone {spec.name!r}: expected (height, width, 3) in pixels"
            )
        side = min(shape[:2])
        if side < spec.min_size:
            better = max(spec.min_size, spec.grid_from or 0)
            raise OptionError(
                f"images of {shape[0]}x{shape[1]} are too small for backbone {spec.name!r}: expected at least "
                f"{spec.min_size}x{spec.min_size}; enlarge them with Trainer(image_size={better})"
            )
        self._chosen()
        if spec.grid_from is not None and side < spec.grid_from:
            return (
                f"backbone {spec.name!r} ends in a feature map of 1x1 for images of {shape[0]}x{shape[1]}: positions "
                f"are lost; Trainer(image_size={spec.grid_from}) or more gives it a larger one",
            )
        return ()

    @float32()
    def build(self, input_shape: Sequence[int], *, seed: int = 0) -> Any:
        """Build the network.

        Args:
            input_shape: (height, width, 3) of the images, pixels.
            seed: For weights that are not loaded; the same seed gives the same weights.

        Returns:
            A functional keras.Model, pixels 0-255 (N, height, width, 3), uint8 or float -> feature map (N, h, w,
            channels). Its layer names do not depend on what was built before.

        Raises:
            CellclfError: All of ``check()``; WeightsError if the weights cannot be loaded or do not fit; PluginError if
                the network differs from its description.
        """
        self.check(input_shape)
        keras = require_keras()
        spec = self.spec
        chosen, file = self._chosen()
        settings = spec.settings(self.params)
        shape = tuple(int(side) for side in input_shape)
        given = not isinstance(self.network, str | BackboneSpec)
        with seeded(seed), downloads() if chosen is not None else contextlib.nullcontext():
            model = spec.build(shape, weights=chosen, **settings)
            problem = _model_problem(model, shape)
            if problem is None:
                # one input, not a list of one as in keras.applications: Keras warns about those at every call
                model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
                # a Keras model from the user keeps its layer names: ``blocks`` refers to them
                model = model if given else stable_names(model)
                problem = _block_problem(model, spec.blocks)
        if problem is not None:
            raise (OptionError if given else PluginError)(f"backbone {spec.name!r} {problem}")
        if file is not None:
            load_weights(model, file, network=f"backbone {spec.name!r}", alpha=settings.get("alpha"))
        subsample_first(model)
        return model

    def check_published(self) -> None:
        """Load the published weights, if these are chosen: they may have to be downloaded, which can fail.

        Raises:
            WeightsError: There is no connection, or a broken download.
        """
        if self._chosen()[0] in self.spec.published:
            self.build((max(self.spec.min_size, self.spec.grid_from or 0),) * 2 + (3,))

    def _chosen(self) -> tuple[str | None, Path | None]:
        """Return the weights to pass to ``build``, and the file to load after it."""
        spec, weights = self.spec, self.weights
        if weights is None:
            return None, None
        if isinstance(weights, str) and weights == DEFAULT:
            return (spec.published[0] if spec.published else None), None
        if isinstance(weights, str) and weights in spec.published:
            return weights, None
        try:
            file = Path(weights).expanduser()
            file.exists()
        except (OSError, RuntimeError, TypeError, ValueError) as error:  # too long, no such home, bytes
            raise WeightsError(
                f"backbone {spec.name!r}: weights={shortened(weights)} is no path ({shortened(str(error))})"
            ) from None
        if spec.reads(file.name):
            if not file.is_file():
                raise WeightsError(f"the weights file {str(file)!r} for backbone {spec.name!r} does not exist")
            return str(file), None
        if isinstance(weights, str) and not file.suffix and not file.exists():
            names = ", ".join(map(repr, spec.published)) or "none"
            raise WeightsError(
                f"backbone {spec.name!r} has no weights {weights!r}; expected published ones ({names}), a file "
                "(.weights.h5, .h5, .keras) or None"
            )
        check_path(file, network=f"backbone {spec.name!r}")
        return None, file


def require_keras() -> Any:
    """Return the keras module.

    Raises:
        MissingPackageError: It has no backend.
        OptionError: It is set to a backend that cellclf does not run on, or to channels first.
    """
    check_backend()
    import keras

    if keras.config.image_data_format() != "channels_last":
        raise OptionError(
            "keras.config.image_data_format() is 'channels_first', cellclf needs 'channels_last': "
            "set it before a network is built"
        )
    return keras


def _copy(model: Any, input_shape: tuple[int, ...], *, weights: None) -> Any:
    """Build a backbone from a Keras model: a copy, so that training does not change the user's model."""
    return copied(model, input_shape=input_shape)


def _model_problem(model: Any, shape: tuple[int, ...]) -> str | None:
    import keras

    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        return f"built {model!r}, expected a functional keras.Model"
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        return f"has {len(model.inputs)} inputs and {len(model.outputs)} outputs, expected one of each"
    taken, given = tuple(model.inputs[0].shape[1:]), tuple(model.outputs[0].shape)
    if taken != shape:
        return f"takes {taken}, expected the input shape that was passed to build, {shape}"
    if len(given) != 4:
        return f"returns {given}, expected a feature map (N, height, width, channels), without pooling or head"
    return None


def _block_problem(model: Any, blocks: tuple[str, ...]) -> str | None:
    names = {layer.name for layer in model.layers}
    for block in blocks:
        if block not in names:
            return f"names the block {block!r}, but has no layer of that name"
    end = output_layer(model)
    return None if blocks[-1] == end else f"has {blocks[-1]!r} as its last block, expected the output layer {end!r}"
