"""What a backbone is: one frozen description, from which a network can be built and listed without Keras."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Any

from cellclf.errors import OptionError, unknown
from cellclf.utils.parameters import annotations_of, check_value, plain, shortened

API = 1
"""The version of the contract between cellclf and a backbone's package."""

HEAD_KEYS = ("activation", "dropout", "l2", "pooling", "units")

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]*")


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Published weights of a backbone, and how good they are: from these a time budget may choose.

    Args:
        accuracy: Top-1 accuracy on the validation set of ImageNet, 0 to 1, as published.
        at_hand: Whether the weights can be loaded now, without a download; a module-level function without arguments,
            or a ``functools.partial`` of one.
        weights: Their name, one of those in ``BackboneSpec.weights``.
        params: The parameters that they are for, where these are not the defaults.

    Examples:
        >>> import functools
        >>> Pretrained(accuracy=0.751, at_hand=functools.partial(package_is_installed, "no_such_package")).at_hand()
        False
    """

    accuracy: float
    at_hand: Callable[[], bool]
    weights: str = "imagenet"
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)


def package_is_installed(name: str) -> bool:
    """Say whether a package that holds weights is installed, without importing it."""
    return importlib.util.find_spec(name) is not None


@dataclass(frozen=True, kw_only=True)
class BackboneSpec:
    """A backbone: how to build it and what to know about it before it is built.

    Args:
        name: Short name; lower-case letters, digits, ``_``, ``.`` and ``-``.
        build: ``build(input_shape, *, weights, **params) -> keras.Model``. ``input_shape`` is ``(height, width, 3)``;
            the model maps pixels 0-255 (its own preprocessing is in its graph) to one rank-4 feature map.
            ``weights`` is one of the names in ``weights``, the path of a file that matches one of the patterns there,
            or None for random ones. It must be a module-level function (or a ``functools.partial`` of one), so that it
            pickles.
        summary: One line for the list of backbones.
        source: The paper or the place that the network comes from.
        min_size: Smallest side of an image, in pixels, that it can be built for.
        blocks: Names of the layers in which the parts that can be unfrozen end, from the input on. Each must be a
            single-tensor cut of the graph; the last is the output. A block has the layers between the end of the one
            before and its own end.
        weights: Names of the published weights that ``build`` knows; the first is the default. A pattern such as
            ``"*.pth"`` names files in a format of its own that ``build`` reads. Keras files (``.weights.h5``, ``.h5``,
            ``.keras``) need no pattern: cellclf loads them into any backbone.
        params: Further keyword arguments of ``build`` with their defaults, plain JSON data. What else they may be is
            read from the annotations of ``build``, such as ``Annotated[float, Interval(gt=0)]``.
        head: The dense head that the network was described with, with keys of ``cellclf.Head``, or None for the usual
            one.
        grid_from: Smallest side whose feature map is larger than 1x1, or None where it always is. Below it
            a notice recommends to enlarge the images.
        pretrained: Which of the published weights a time budget may choose, with their accuracy; empty for none.
        api: The version of this contract that the package was made for.

    Examples:
        >>> def build(input_shape, *, weights, width):
        ...     import keras
        ...     pixels = keras.Input(input_shape, name="pixels")
        ...     x = keras.layers.Rescaling(1 / 255, name="rescale")(pixels)
        ...     return keras.Model(pixels, keras.layers.Conv2D(width, 3, name="conv")(x))
        >>> spec = BackboneSpec(name="tiny", build=build, summary="one convolution", source="this example",
        ...                     min_size=3, blocks=("conv",), params={"width": 8})
        >>> spec.check()
        >>> spec.settings({"width": 4})
        {'width': 4}
    """

    name: str
    build: Callable[..., Any]
    summary: str
    source: str
    min_size: int
    blocks: tuple[str, ...]
    weights: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict, hash=False)
    head: Mapping[str, Any] | None = field(default=None, hash=False)
    grid_from: int | None = None
    pretrained: tuple[Pretrained, ...] = ()
    api: int = API

    def check(self) -> None:
        """Raise OptionError at the first field that breaks the contract; needs no Keras."""
        who = f"backbone {shortened(self.name)}"
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise OptionError(f"{who}: the name must be lower-case letters, digits, '_', '.' or '-'")
        if type(self.api) is not int or self.api != API:
            what = "cellclf" if isinstance(self.api, int) and self.api > API else "the plugin"
            raise OptionError(
                f"{who} is made for plugin API {shortened(self.api)}, this cellclf has {API}: upgrade {what}"
            )
        if not callable(self.build):
            raise OptionError(f"{who}: build is {shortened(self.build)}, expected a function")
        for key in ("summary", "source"):
            text = getattr(self, key)
            if not isinstance(text, str) or not text.strip() or "\n" in text:
                raise OptionError(f"{who}: {key} is {shortened(text)}, expected one line of text")
        if not isinstance(self.min_size, int) or isinstance(self.min_size, bool) or self.min_size < 1:
            raise OptionError(f"{who}: min_size is {shortened(self.min_size)}, expected a number of pixels >= 1")
        if self.grid_from is not None and (type(self.grid_from) is not int or self.grid_from < self.min_size):
            raise OptionError(
                f"{who}: grid_from is {shortened(self.grid_from)}, expected a number of pixels >= min_size "
                f"{self.min_size}"
            )
        for key, least in (("blocks", 1), ("weights", 0)):
            names = getattr(self, key)
            good = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
            if not good or len(names) < least or len(set(names)) < len(names):
                raise OptionError(
                    f"{who}: {key} is {shortened(names)}, expected a tuple of different names"
                    f"{' (at least one)' * least}"
                )
        self._check_params(who)
        self._check_pretrained(who)
        self._check_head(who)

    def _check_params(self, who: str) -> None:
        if not _is_json(self.params):
            raise OptionError(
                f"{who}: params is {shortened(self.params)}, expected a dict of names and JSON data (lists, not tuples)"
            )
        for key in self.params:
            if not key.isidentifier() or key in ("input_shape", "weights"):
                raise OptionError(f"{who}: {key!r} cannot be a parameter; expected another name of a keyword argument")

    def _check_pretrained(self, who: str) -> None:
        if not isinstance(self.pretrained, tuple) or not all(isinstance(one, Pretrained) for one in self.pretrained):
            raise OptionError(f"{who}: pretrained is {shortened(self.pretrained)}, expected a tuple of Pretrained")
        for one in self.pretrained:
            if one.weights not in self.published:
                raise OptionError(f"{who}: {unknown('published weights of pretrained:', one.weights, self.published)}")
            if isinstance(one.accuracy, bool) or not isinstance(one.accuracy, float) or not 0 < one.accuracy < 1:
                raise OptionError(f"{who}: accuracy={shortened(one.accuracy)} of pretrained, expected above 0, below 1")
            if not callable(one.at_hand):
                raise OptionError(f"{who}: at_hand is {shortened(one.at_hand)}, expected a function")
            self.settings(one.params)

    def _check_head(self, who: str) -> None:
        if self.head is None:
            return
        if not _is_json(self.head):
            raise OptionError(
                f"{who}: head is {shortened(self.head)}, expected a dict of names and JSON data (lists, not tuples)"
            )
        for key in self.head:
            if key not in HEAD_KEYS:
                raise OptionError(str(unknown("head option", key, HEAD_KEYS)))

    def settings(self, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return the parameters with which ``build`` is called: the defaults, changed by ``params``.

        Args:
            params: Some of the parameters, or None for none.

        Raises:
            UnknownNameError: One of them does not exist.
            OptionError: One of them is of another type than its default, or not what ``build`` declares.
        """
        settings: dict[str, Any] = json.loads(json.dumps(dict(self.params)))
        given = {} if params is None else plain(params)
        for key in given:
            if key not in settings:
                raise unknown(f"parameter of backbone {self.name!r}:", key, settings)
        declared = annotations_of(self.build)
        for key, value in given.items():
            default = settings[key]
            if isinstance(value, tuple):
                value = list(value)
            if isinstance(value, str) and value == "none" and not isinstance(default, str):  # a recipe has no None
                value = None
            number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
            if default is not None and type(value) is not type(default) and not number:
                raise OptionError(
                    f"{key}={shortened(value)} does not fit backbone {self.name!r}: expected the type of its default "
                    f"{default!r}"
                )
            check_value(value, declared.get(key, Any), f"backbone {self.name!r} {key}")
            settings[key] = value
        return settings

    def reads(self, filename: str) -> bool:
        """Return whether ``build`` reads such a file itself, by the patterns in ``weights``."""
        return any("*" in pattern and fnmatch(filename, pattern) for pattern in self.weights)

    @property
    def published(self) -> tuple[str, ...]:
        """Names of the published weights: ``weights`` without its file patterns."""
        return tuple(name for name in self.weights if "*" not in name)


def _is_json(data: object) -> bool:
    if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
        return False
    try:
        return bool(json.loads(json.dumps(dict(data), allow_nan=False)) == dict(data))
    except (TypeError, ValueError, RecursionError):
        return False
