"""Read the tensors of a PyTorch or safetensors file, without PyTorch and without running what is in it.

A PyTorch file holds pickles, which can name any function to be called; the reader here knows the few names that tensors
need and refuses every other. It is for plugins whose weights are published in these formats.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import WeightsError

MAGIC = 0x1950A86A20F9469CFC6C
"""What a PyTorch file of the format before 1.6 begins with."""

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
_MOST_ENTRIES = 100_000
_MOST_UNPACKED, _RATIO = 1 << 26, 20
"""A storage above so many bytes that unpacks to more than so many times its size is no network's: PyTorch packs none,
and numbers that were trained do not shrink."""

SAFE = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}


class Tensor(NamedTuple):
    """Where a tensor lies in a storage (its kind, key and count); ``offset`` and ``stride`` count elements."""

    storage: tuple[str, str, int]
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_tensors(path: str | Path) -> dict[str, NDArray[Any]]:
    """Read the tensors of a file as arrays by name; dicts in dicts give names with dots.

    Args:
        path: What ``torch.save`` (in either of its formats) or safetensors wrote; the latter ends in ``.safetensors``.

    Returns:
        An array for each tensor, in PyTorch's order of axes, of its dtype; bfloat16 comes as float32.

    Raises:
        WeightsError: The file is missing, of another format, damaged, or names a function that tensors do not need.

    Examples:
        >>> header = b'{"norm.bias": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'
        >>> whole = len(header).to_bytes(8, "little") + header + np.float32([0.5, 2]).tobytes()
        >>> _ = Path("net.safetensors").write_bytes(whole)
        >>> read_tensors("net.safetensors")
        {'norm.bias': array([0.5, 2. ], dtype=float32)}

    Source: the formats of ``torch.save`` before and since PyTorch 1.6; safetensors 0.4.
    """
    path = Path(path)
    try:
        read = _read_zip if zipfile.is_zipfile(path) else _read_pickles
        if not (found := (_read_safetensors if path.suffix == ".safetensors" else read)(path)):
            raise ValueError("it holds no tensor")
        return found
    # zipfile, pickle, json and numpy raise a dozen kinds for a damaged file or one of another format
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WeightsError(
            f"{path} cannot be read as tensors ({reason}); expected a state dict that torch.save wrote, or a "
            ".safetensors file"
        ) from error


def _read_zip(path: Path) -> dict[str, NDArray[Any]]:
    """Read the format since PyTorch 1.6: an archive of one pickle and a file for each storage."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        root = next(name for name in [*names, ""] if name.endswith("data.pkl") or not name).removesuffix("data.pkl")
        if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        tensors = dict(_flat(_load(io.BytesIO(_unpacked(archive, f"{root}data.pkl")))))
        storages = {
            key: np.frombuffer(_unpacked(archive, f"{root}data/{key}"), STORAGES[kind], count)
            for kind, key, count in {tensor.storage for tensor in tensors.values()}
        }
    return _arrays(tensors, storages)


def _unpacked(archive: zipfile.ZipFile, name: str) -> bytes:
    member = archive.getinfo(name)
    if member.file_size > max(_MOST_UNPACKED, _RATIO * member.compress_size):
        raise ValueError(f"{name} unpacks from {member.compress_size:,} to {member.file_size:,} bytes")
    return archive.read(member)


def _read_pickles(path: Path) -> dict[str, NDArray[Any]]:
    """Read the format before: a row of pickles (magic number, version, machine, tensors, storages), then numbers."""
    with open(path, "rb") as file:
        if _load(file) != MAGIC or _load(file) != 1001 or not _load(file).get("little_endian"):
            raise ValueError("it does not begin like a PyTorch file, or its numbers are big-endian")
        tensors, keys = dict(_flat(_load(file))), _load(file)
        used = {tensor.storage[1]: tensor.storage for tensor in tensors.values()}
        left = path.stat().st_size - file.tell()
        storages = {key: _storage(file, left, *used[key]) for key in keys}
    return _arrays(tensors, storages)


def _storage(file: IO[bytes], left: int, kind: str, _key: str, count: int) -> NDArray[Any]:
    stored, dtype = int.from_bytes(file.read(8), "little"), np.dtype(STORAGES[kind])
    if not 0 <= count * dtype.itemsize <= left:
        raise ValueError(f"a storage claims {count:,} numbers, and {left:,} bytes are left in the file")
    data = file.read(count * dtype.itemsize)
    if stored != count or len(data) != count * dtype.itemsize:
        raise ValueError(f"a storage has {stored} numbers and {len(data)} bytes in the file, expected {count} numbers")
    return np.frombuffer(data, dtype)


class _Unpickler(pickle._Unpickler):
    """Reads a pickle in Python: that in C allocates its memo up to any number in the file: 34 GB for ten bytes."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"it calls {module}.{name}, which a file of tensors does not need")

    def persistent_load(self, pid: Any) -> tuple[str, str, int]:
        _, kind, key, _, count, *_ = pid
        return str(kind), str(key), int(count)

    def _refuse(self) -> None:
        raise pickle.UnpicklingError("it holds a bytearray, which a file of tensors does not need")

    # a bytearray is allocated before its bytes are read, of whatever size the file names
    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BYTEARRAY8[0]: _refuse}


def _load(file: IO[bytes]) -> Any:
    return _Unpickler(file).load()


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_rest: object) -> Tensor:
    return Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def _parameter(data: Any, *_rest: object) -> Any:
    return data


def _flat(state: Any, before: str = "", seen: list[None] | None = None) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors of dicts in dicts by their joint names."""
    if not isinstance(state, Mapping):
        raise ValueError(f"it holds a {type(state).__name__}, expected a dict of tensors")
    seen = [] if seen is None else seen
    for key, value in state.items():
        seen.append(None)
        if len(seen) > _MOST_ENTRIES:  # forty dicts that hold each other twice have a million million entries
            raise ValueError(f"it holds more than {_MOST_ENTRIES:,} entries")
        if isinstance(value, Tensor):
            yield f"{before}{key}", value
        elif isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.", seen)


def _arrays(tensors: Mapping[str, Tensor], storages: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Cut the tensors out of the storages; several may share one, but not repeat it without end."""
    claimed = sum(math.prod(tensor.size) for tensor in tensors.values())
    stored = sum(map(len, storages.values()))
    if claimed > 16 * stored:
        raise ValueError(f"its tensors have {claimed:,} numbers, and it holds {stored:,}")
    return {name: _array(tensor, storages[tensor.storage[1]]) for name, tensor in tensors.items()}


def _array(tensor: Tensor, storage: NDArray[Any]) -> NDArray[Any]:
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.size, tensor.stride, strict=True))
    if tensor.offset < 0 or min((*tensor.stride, 0)) < 0 or min((*tensor.size, 1)) < 1 or last >= len(storage):
        raise ValueError(f"a tensor of {tensor.size} reaches beyond its storage of {len(storage)} numbers")
    if math.prod(tensor.size) > len(storage):
        raise ValueError(f"a tensor of {tensor.size} repeats its storage of {len(storage)} numbers")
    strides = [step * storage.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.size, strides, writeable=False)
    return _widened(view, tensor.storage[0] == "BFloat16Storage")


def _read_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    data = np.fromfile(path, np.uint8)
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    lengths = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    held = len(data) - start
    if sum(last - first for first, last in lengths) > held or any(not 0 <= a <= b <= held for a, b in lengths):
        raise ValueError(f"its tensors claim other bytes than the {held:,} behind the header")
    arrays = {}
    for name, entry in header.items():
        if name != "__metadata__":
            first, last = (start + place for place in entry["data_offsets"])
            numbers = np.frombuffer(data[first:last].tobytes(), SAFE[entry["dtype"]])
            arrays[name] = _widened(numbers.reshape(entry["shape"]), entry["dtype"] == "BF16")
    return arrays


def _widened(array: NDArray[Any], bfloat16: bool) -> NDArray[Any]:
    if bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return np.ascontiguousarray(array)
