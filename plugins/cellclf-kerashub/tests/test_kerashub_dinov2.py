"""The network made of a checkpoint is DINOv2, as plain numpy and PyTorch see it."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from cellclf_kerashub.dinov2 import DEVIATION, MEAN
from cellclf_kerashub.transformer import _bicubic

from cellclf import Backbone, WeightsError
from cellclf.backbones import read_tensors

WIDTH, HEADS, DEPTH, PATCH, SIDE = 128, 2, 4, 14, 56
KINDS = {"small": {"registers": 0, "swiglu": False}, "giant": {"registers": 3, "swiglu": True}}


def params(kind: str) -> dict:
    return {"width": WIDTH, "depth": DEPTH, **KINDS[kind]}


def make_state(kind: str, grid: int = SIDE // PATCH) -> dict[str, np.ndarray]:
    """Draw the weights of a small DINOv2 by the names that its authors gave."""
    rng = np.random.default_rng(5)
    options = KINDS[kind]
    hidden = 344 if options["swiglu"] else 512  # 8 / 3 of the width, rounded up to eights

    def draw(*shape: int, around: float = 0.0) -> np.ndarray:
        return (around + rng.normal(0, 0.15, shape)).astype(np.float32)

    state = {"cls_token": draw(1, 1, WIDTH), "pos_embed": draw(1, 1 + grid * grid, WIDTH), "mask_token": draw(1, WIDTH)}
    if options["registers"]:
        state["register_tokens"] = draw(1, options["registers"], WIDTH)
    state |= {"patch_embed.proj.weight": draw(WIDTH, 3, PATCH, PATCH), "patch_embed.proj.bias": draw(WIDTH)}
    shapes = {"attn.qkv": (3 * WIDTH, WIDTH), "attn.proj": (WIDTH, WIDTH)}
    if options["swiglu"]:
        shapes |= {"mlp.w12": (2 * hidden, WIDTH), "mlp.w3": (WIDTH, hidden)}
    else:
        shapes |= {"mlp.fc1": (hidden, WIDTH), "mlp.fc2": (WIDTH, hidden)}
    for block in range(DEPTH):
        for layer, shape in shapes.items():
            state |= {f"blocks.{block}.{layer}.weight": draw(*shape), f"blocks.{block}.{layer}.bias": draw(shape[0])}
        for norm in ("norm1", "norm2"):
            state |= {
                f"blocks.{block}.{norm}.weight": draw(WIDTH, around=1),
                f"blocks.{block}.{norm}.bias": draw(WIDTH),
            }
        state |= {f"blocks.{block}.{scale}.gamma": draw(WIDTH, around=0.5) for scale in ("ls1", "ls2")}
    return state | {"norm.weight": draw(WIDTH, around=1), "norm.bias": draw(WIDTH)}


def reference(state: dict[str, np.ndarray], image: np.ndarray) -> np.ndarray:
    """Compute DINOv2's patch tokens of one image in plain numpy, float64, head by head and patch by patch."""
    state = {name: array.astype(np.float64) for name, array in state.items()}

    def linear(x, layer):
        return x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]

    def norm(x, layer):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * state[f"{layer}.weight"] + state[f"{layer}.bias"]

    def attend(x, layer):
        query, key, value = np.split(linear(x, f"{layer}.qkv"), 3, axis=-1)
        outs = []
        for head in range(HEADS):
            part = slice(head * WIDTH // HEADS, (head + 1) * WIDTH // HEADS)
            scores = query[:, part] @ key[:, part].T / math.sqrt(WIDTH / HEADS)
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            outs.append(weights / weights.sum(-1, keepdims=True) @ value[:, part])
        return linear(np.concatenate(outs, -1), f"{layer}.proj")

    def mlp(x, layer):
        if f"{layer}.w12.weight" in state:
            gate, passed = np.split(linear(x, f"{layer}.w12"), 2, axis=-1)
            return linear(gate / (1 + np.exp(-gate)) * passed, f"{layer}.w3")
        x = linear(x, f"{layer}.fc1")
        return linear(x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))), f"{layer}.fc2")

    scaled = (image / 255 - MEAN) / DEVIATION
    grid = len(image) // PATCH
    patches = []
    for row in range(grid):
        for column in range(grid):
            patch = scaled[row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            weight = state["patch_embed.proj.weight"]
            patches.append(np.einsum("hwc,dchw->d", patch, weight) + state["patch_embed.proj.bias"])
    x = np.concatenate([state["cls_token"][0], np.stack(patches)]) + state["pos_embed"][0]
    if "register_tokens" in state:
        x = np.concatenate([x[:1], state["register_tokens"][0], x[1:]])
    for number in range(DEPTH):
        block = f"blocks.{number}"
        x = x + attend(norm(x, f"{block}.norm1"), f"{block}.attn") * state[f"{block}.ls1.gamma"]
        x = x + mlp(norm(x, f"{block}.norm2"), f"{block}.mlp") * state[f"{block}.ls2.gamma"]
    return norm(x, "norm")[-grid * grid :].reshape(grid, grid, WIDTH)


def write_safetensors(path: Path, state: dict[str, np.ndarray]) -> Path:
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in state.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def images(side: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (2, side, side, 3), dtype=np.uint8)


def maps(path: Path, kind: str = "small", side: int = SIDE) -> np.ndarray:
    network = Backbone("kerashub:dinov2", weights=path, params=params(kind))
    return np.asarray(network.build((side, side, 3))(images(side)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_maps_are_those_of_a_reference(kind: str, tmp_path: Path) -> None:
    state = make_state(kind)
    found = maps(write_safetensors(tmp_path / "net.safetensors", state), kind)
    expected = np.stack([reference(state, image) for image in images()])
    assert found.shape == (2, 4, 4, WIDTH) and np.abs(expected).max() > 1
    assert np.abs(found - expected).max() < 1e-3


def test_a_training_s_checkpoint_gives_the_teacher(tmp_path: Path) -> None:
    state = make_state("small")
    expected = maps(write_safetensors(tmp_path / "plain.safetensors", state))
    training = {}  # as a training leaves it: the teacher's blocks in chunks, with its head, and the student beside it
    for name, array in state.items():
        number = name.split(".")[1] if name.startswith("blocks.") else ""
        training[f"backbone.{name}".replace("blocks.", f"blocks.{int(number) // 2}." if number else "")] = array
    training["dino_head.mlp.0.weight"] = np.ones((3, 3), np.float32)
    student = {name: array + 1 for name, array in training.items()}
    whole = {f"teacher.{name}": array for name, array in training.items()}
    whole |= {f"student.{name}": array for name, array in student.items()}
    found = maps(write_safetensors(tmp_path / "training.safetensors", whole))
    assert np.allclose(found, expected, atol=1e-5)


def test_a_file_of_another_network_names_the_right_sizes(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "giant.safetensors", make_state("giant"))
    with pytest.raises(WeightsError, match=r"pass params=.*'registers': 3, 'swiglu': True") as caught:
        maps(path, "small")
    assert "\n" not in str(caught.value)
    state = make_state("small")
    del state["blocks.2.ls1.gamma"]
    with pytest.raises(WeightsError, match=r"blocks\.2\.ls1\.gamma is missing, expected \(128,\)"):
        maps(write_safetensors(tmp_path / "less.safetensors", state))
    state = make_state("small") | {"pos_embed": np.zeros((1, 16, WIDTH), np.float32)}
    with pytest.raises(WeightsError, match=r"pos_embed is of shape \(1, 16, 128\)"):
        maps(write_safetensors(tmp_path / "places.safetensors", state))
    with pytest.raises(WeightsError, match=r"holds no DINOv2: .* \(it has conv1.weight, \.\.\.\)"):
        maps(write_safetensors(tmp_path / "resnet.safetensors", {"conv1.weight": np.ones((2, 2), np.float32)}))


def test_positions_are_interpolated(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / "net.safetensors", make_state("small", grid=7))
    assert maps(path, side=96).shape == (2, 7, 7, WIDTH)
    assert maps(path, side=56).shape == (2, 4, 4, WIDTH)
    assert np.allclose(_bicubic(7, 4).sum(1), 1) and np.array_equal(_bicubic(5, 5), np.eye(5))


def test_pytorch_writes_what_is_read_and_interpolates_alike(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="the extra 'reference' brings PyTorch")
    state = make_state("giant")
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    tensors["patch_embed.proj.weight"] = torch.nn.Parameter(tensors["patch_embed.proj.weight"])
    tensors["view"] = tensors["norm.weight"][5:90:2]
    torch.save({"teacher": OrderedDict(tensors), "iteration": 3}, tmp_path / "net.pth")
    read = read_tensors(tmp_path / "net.pth")
    assert all(np.array_equal(read[f"teacher.{name}"], array) for name, array in state.items())
    assert np.array_equal(read["teacher.view"], state["norm.weight"][5:90:2])
    square = torch.rand(1, 3, 16, 16)
    for side in (7, 16, 23):
        expected = torch.nn.functional.interpolate(square, (side, side), mode="bicubic", align_corners=False)
        found = np.einsum("hi,wj,cij->chw", _bicubic(16, side), _bicubic(16, side), square[0].numpy())
        assert np.abs(found - expected[0].numpy()).max() < 1e-5
