"""Files of PyTorch and safetensors give their arrays, and nothing in them is run."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import tracemalloc
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


def write_pkl(path: Path, content: bytes, **storages: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", content)
        for key, data in storages.items():
            archive.writestr(f"net/data/{key.removeprefix('_')}", data)
    return path


class Expanded(TorchLike):
    """Pickles arrays whose strides are 0: one number, as often as one likes."""

    def reducer_override(self, thing):
        made = super().reducer_override(thing)
        if made is NotImplemented or isinstance(made, str):
            return made
        function, (data, offset, _, _, *rest) = made
        return function, (data, offset, self.size, (0,) * len(self.size), *rest)


def expanded(*size: int) -> bytes:
    file = io.BytesIO()
    pickler = Expanded(file, "FloatStorage")
    pickler.size = size
    pickler.dump({"weight": np.ones(1, np.float32)})
    return file.getvalue()


def nested(levels: int) -> dict:
    state: dict = {"a": ARRAYS["stem.bias"]}
    for _ in range(levels):
        state = {"a": state, "b": state}
    return state


def safe(entries: dict, data: bytes) -> bytes:
    header = json.dumps(entries).encode()
    return len(header).to_bytes(8, "little") + header + data


FOUR = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
BOMBS = {
    "memo.pth": lambda p: write_pkl(p, b"\x80\x02}r\xff\xff\xff\x0f."),
    "memo2.pth": lambda p: write_pkl(p, b"\x80\x02}r\xff\xff\xff\x7f."),
    "bytearray.pth": lambda p: write_pkl(p, b"\x80\x05\x96" + (1 << 35).to_bytes(8, "little") + b"."),
    "text.pth": lambda p: write_pkl(p, b"\x80\x04\x8d" + (1 << 35).to_bytes(8, "little") + b"a."),
    "frame.pth": lambda p: write_pkl(p, b"\x80\x04\x95" + (1 << 35).to_bytes(8, "little") + b"}."),
    "packed.pth": lambda p: write_pkl(p, b"\x80\x02X" + (1 << 27).to_bytes(4, "little") + b"a" * (1 << 27) + b"."),
    "stride.pth": lambda p: write_pkl(p, expanded(400_000_000), _0=bytes(4)),
    "strides.pth": lambda p: write_pkl(p, expanded(20_000, 20_000), _0=bytes(4)),
    "zeros.pth": lambda p: write_pkl(p, expanded(1), _0=bytes(1 << 27)),
    "nested.pth": lambda p: write_zip(p, nested(40)),
    "old.pth": lambda p: p.write_bytes(
        b"".join(pickle.dumps(part, 2) for part in (tensors.MAGIC, 1001, {"little_endian": True}))
        + b"\x80\x02}r\xff\xff\xff\x0f."
    ),
    "header.safetensors": lambda p: p.write_bytes((1 << 40).to_bytes(8, "little") + b"{}"),
    "same.safetensors": lambda p: p.write_bytes(safe({f"t{k}": FOUR for k in range(9999)}, bytes(16))),
    "back.safetensors": lambda p: p.write_bytes(safe({"a": FOUR | {"data_offsets": [16, 0]}}, bytes(16))),
    "shape.safetensors": lambda p: p.write_bytes(safe({"a": FOUR | {"shape": [1 << 40]}}, bytes(16))),
    "deep.safetensors": lambda p: p.write_bytes((10**5).to_bytes(8, "little") + b"[" * 10**5),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_never_takes_much_memory(name: str, tmp_path: Path) -> None:
    BOMBS[name](tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match="cannot be read as tensors") as caught:
            read_tensors(tmp_path / name)
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_tensors_may_share_a_storage_and_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    state = OrderedDict(b={"x": ARRAYS["stem.bias"], "y": ARRAYS["stem.weight"]}, a=ARRAYS["stem.bias"])
    assert list(read_tensors(write_zip(tmp_path / "net.pth", state))) == ["b.x", "b.y", "a"]
