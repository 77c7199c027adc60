"""Read the tensors of a PyTorch or safetensors file without PyTorch and without running what is in it.

A PyTorch file is a zip archive of one pickle and of the numbers, one member a storage. A pickle can name any function
to be called; the reader here knows those that tensors need and refuses every other.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cellclf import WeightsError

# bfloat16, which numpy lacks, is read as whole numbers and widened to float32
STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
SAFE = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


class Tensor(NamedTuple):
    """Where a tensor lies in a storage; ``offset`` and ``stride`` count elements."""

    storage: tuple[str, str, int]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of the file as numpy arrays by name; dicts in dicts give names with dots.

    Args:
        path: What ``torch.save`` (since PyTorch 1.6) or safetensors wrote.

    Raises:
        WeightsError: The file is of another format, damaged, or names a function that tensors do not need.
    """
    try:
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    # zipfile, pickle, json and numpy raise a dozen kinds for a damaged file or one of another format
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as tensors ({reason}); wanted a state dict that torch.save wrote (PyTorch 1.6 or "
            "later), or a .safetensors file"
        ) from error


def _read_torch(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next(name for name in [*names, ""] if name.endswith("data.pkl") or not name).removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        with archive.open(f"{root}data.pkl") as file:
            state = _Unpickler(file).load()
        if not isinstance(state, Mapping):
            raise ValueError(f"it holds a {type(state).__name__}, no dict of tensors")
        read: dict[str, Any] = {}
        return {name: _array(tensor, archive, root, read) for name, tensor in _flat(state)}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"it calls {module}.{name}, which a file of tensors has no need to")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        _, kind, key, _, count = pid
        return str(kind), str(key), int(count)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: object) -> Tensor:
    return Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: Any, *_rest: object) -> Any:
    return data


def _flat(state: Mapping[Any, Any], before: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in state.items():
        if isinstance(value, Tensor):
            yield f"{before}{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")


def _array(tensor: Tensor, archive: zipfile.ZipFile, root: str, read: dict[str, Any]) -> Any:
    kind, key, count = tensor.storage
    if key not in read:
        read[key] = np.frombuffer(archive.read(f"{root}data/{key}"), np.dtype(STORAGES[kind]), count)
    storage = read[key]
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.size, tensor.stride, strict=True))
    if tensor.offset < 0 or min((*tensor.stride, 0)) < 0 or min((*tensor.size, 1)) < 1 or last >= len(storage):
        raise ValueError(f"a tensor of {tensor.size} reaches beyond its storage of {len(storage)} numbers")
    strides = [step * storage.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)
    return _widened(view, kind == "BFloat16Storage")


def _read_safetensors(path: Path) -> dict[str, Any]:
    data = np.fromfile(path, np.uint8)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = (start + place for place in entry["data_offsets"])
            numbers = np.frombuffer(data[first:last].tobytes(), SAFE[entry["dtype"]])
            arrays[name] = _widened(numbers.reshape(entry["shape"]), entry["dtype"] == "BF16")
    return arrays


def _widened(array: Any, bfloat16: bool) -> Any:
    if bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(array)
