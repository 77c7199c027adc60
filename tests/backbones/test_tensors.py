"""Files of PyTorch and safetensors give their arrays, and nothing in them is run."""

from __future__ import annotations

import json
import math
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from cellclf import WeightsError
from cellclf.backbones import tensors
from cellclf.backbones.tensors import read_tensors

ARRAYS = {
    "stem.weight": np.random.default_rng(3).normal(0, 1, (4, 3, 2)).astype(np.float32),
    "stem.bias": np.linspace(-2, 2, 7, dtype=np.float32),
}


class Name:
    """What is pickled as the name of a function or a class that need not be there."""

    def __init__(self, module: str, name: str) -> None:
        self.path = f"{module}\n{name}\n".encode()

    def __call__(self) -> None:
        raise AssertionError


class TorchLike(pickle._Pickler):
    """Pickles arrays as PyTorch pickles tensors, without PyTorch."""

    def __init__(self, file, kind: str) -> None:
        super().__init__(file, 2)
        self.kind, self.storages = kind, []

    def persistent_id(self, thing):
        if not isinstance(thing, bytes):
            return None
        count = len(thing) // {"FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2}[self.kind]
        self.storages.append(thing)
        return "storage", Name("torch", self.kind), str(len(self.storages) - 1), "cpu", count

    def reducer_override(self, thing):
        if isinstance(thing, Name):
            return "a name"
        if isinstance(thing, np.ndarray):
            strides = tuple(math.prod(thing.shape[axis + 1 :]) for axis in range(thing.ndim))
            if self.kind == "BFloat16Storage":
                data = (np.ascontiguousarray(thing).view(np.uint32) >> 16).astype(np.uint16).tobytes()
            else:
                data = thing.astype("f4" if self.kind == "FloatStorage" else "f2").tobytes()
            return Name("torch._utils", "_rebuild_tensor_v2"), (data, 0, thing.shape, strides, False, OrderedDict())
        return NotImplemented

    def save_global(self, thing, name=None):
        if isinstance(thing, Name):
            self.write(pickle.GLOBAL + thing.path)
        else:
            super().save_global(thing, name)


def write_zip(path: Path, state: object, kind: str = "FloatStorage", byteorder: str = "little") -> Path:
    """Write a file of the format since PyTorch 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("net/data.pkl", "w") as file:
            pickler = TorchLike(file, kind)
            pickler.dump(state)
        for key, data in enumerate(pickler.storages):
            archive.writestr(f"net/data/{key}", data)
        archive.writestr("net/byteorder", byteorder)
    return path


def write_pickles(path: Path, state: object) -> Path:
    """Write a file of the format before."""
    with open(path, "wb") as file:
        for part in (tensors.MAGIC, 1001, {"little_endian": True}):
            pickle.dump(part, file, 2)
        pickler = TorchLike(file, "FloatStorage")
        pickler.dump(state)
        pickle.dump([str(key) for key in range(len(pickler.storages))], file, 2)
        for data in pickler.storages:
            file.write((len(data) // 4).to_bytes(8, "little") + data)
    return path


def write_safetensors(path: Path, state: dict[str, np.ndarray]) -> Path:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in state.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


WRITERS = {"net.pth": write_zip, "old.pth": write_pickles, "net.safetensors": write_safetensors}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_its_arrays(name: str, tmp_path: Path) -> None:
    read = read_tensors(WRITERS[name](tmp_path / name, ARRAYS))
    assert read.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert read[key].dtype == np.float32 and np.array_equal(read[key], array)


@pytest.mark.parametrize("write", [write_zip, write_pickles])
def test_dicts_in_dicts_give_names_with_dots_and_what_is_no_tensor_is_left_out(write, tmp_path: Path) -> None:
    state = OrderedDict(teacher=OrderedDict(ARRAYS), student={"a": {"b": ARRAYS["stem.bias"]}}, iteration=7)
    read = read_tensors(write(tmp_path / "net.pth", state))
    assert read.keys() == {"teacher.stem.weight", "teacher.stem.bias", "student.a.b"}


@pytest.mark.parametrize(("kind", "near"), [("HalfStorage", 1e-3), ("BFloat16Storage", 1e-2)])
def test_half_numbers_are_read(kind: str, near: float, tmp_path: Path) -> None:
    read = read_tensors(write_zip(tmp_path / "half.pth", ARRAYS, kind))
    assert all(np.allclose(read[name], array, rtol=near, atol=1e-6) for name, array in ARRAYS.items())


class Evil:
    def __reduce__(self):
        return os.system, ("echo run",)


@pytest.mark.parametrize("write", [write_zip, write_pickles])
def test_a_file_that_calls_something_else_is_refused_before_it_runs(write, tmp_path: Path, capfd) -> None:
    path = write(tmp_path / "evil.pth", {"weight": Evil()})
    with pytest.raises(WeightsError, match=r"calls (posix|nt)\.system"):
        read_tensors(path)
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(7), pickle.dumps({"a": 1}), b"PK\x03\x04"])
@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
def test_a_file_of_another_format_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as tensors"):
        read_tensors(tmp_path / name)


@pytest.mark.parametrize("state", [[1, 2], 7, "text"])
@pytest.mark.parametrize("write", [write_zip, write_pickles])
def test_a_file_without_tensors_is_refused(write, state: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected a dict of tensors"):
        read_tensors(write(tmp_path / "net.pth", state))


def test_a_big_endian_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="big-endian"):
        read_tensors(write_zip(tmp_path / "net.pth", ARRAYS, byteorder="big"))


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_was_cut_short_is_refused(name: str, tmp_path: Path) -> None:
    path = WRITERS[name](tmp_path / name, ARRAYS)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsError, match="cannot be read as tensors"):
        read_tensors(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nothing\.pth cannot be read"):
        read_tensors(tmp_path / "nothing.pth")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (-1, (2,), (1,)), (0, (2, 2), (1, 3)), (0, (2,), (-1,)), (0, (10**9,), (1,))],
)
def test_a_tensor_beyond_its_storage_is_refused(offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    tensor = tensors.Tensor(("FloatStorage", "0", 4), offset, size, stride)
    with pytest.raises(ValueError, match="beyond its storage"):
        tensors._array(tensor, np.arange(4, dtype=np.float32))


def test_strides_are_followed() -> None:
    tensor = tensors.Tensor(("FloatStorage", "0", 7), 1, (2, 3), (1, 2))
    array = tensors._array(tensor, np.arange(7, dtype=np.float32))
    assert array.tolist() == [[1, 3, 5], [2, 4, 6]]
