"""Read the tensors of a PyTorch file of the format before 1.6, without PyTorch and without running what is in it.

Such a file is a row of pickles (a magic number, a version, facts about the machine, the dict of tensors, the list of
storages) and then the storages' numbers. A pickle can name any function to be called; the reader here knows three names
and refuses every other.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class Tensor(NamedTuple):
    """Where a tensor lies in a storage; ``offset`` and ``stride`` count elements."""

    storage: tuple[str, str, int]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of the file as numpy arrays by name.

    Raises:
        pickle.UnpicklingError: The file is of another format, names a function that tensors do not need, or is
        inconsistent.
    """
    with open(path, "rb") as file:
        if _load(file) != MAGIC or _load(file) != 1001 or not _load(file).get("little_endian"):
            raise pickle.UnpicklingError(f"{path} is not a PyTorch file of the format before 1.6")
        tensors, keys = _load(file), _load(file)
        wanted = {tensor.storage[1]: tensor.storage for tensor in tensors.values()}
        storages = {key: _storage(file, wanted[key]) for key in keys}
    return {name: _array(tensor, storages[tensor.storage[1]]) for name, tensor in tensors.items()}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in DTYPES:
            return name
        raise pickle.UnpicklingError(f"the file calls {module}.{name}, which a file of tensors has no need to")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        _, kind, key, _, count, _ = pid
        return str(kind), str(key), int(count)


def _load(file: IO[bytes]) -> Any:
    return _Unpickler(file).load()


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: object) -> Tensor:
    return Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _storage(file: IO[bytes], storage: tuple[str, str, int]) -> Any:
    kind, _, count = storage
    dtype = DTYPES[kind]
    stored = int.from_bytes(file.read(8), "little")
    data = file.read(count * dtype.itemsize)
    if stored != count or len(data) != count * dtype.itemsize:
        raise pickle.UnpicklingError(
            f"a storage of {count} numbers has {stored} in the file, {len(data)} bytes of them there"
        )
    return np.frombuffer(data, dtype)


def _array(tensor: Tensor, storage: Any) -> Any:
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.size, tensor.stride, strict=True))
    if tensor.offset < 0 or min((*tensor.stride, 0)) < 0 or min((*tensor.size, 1)) < 1 or last >= len(storage):
        raise pickle.UnpicklingError(f"a tensor of {tensor.size} reaches beyond its storage of {len(storage)} numbers")
    strides = [step * storage.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)
    return np.ascontiguousarray(view)
