"""DINOv2 from a local checkpoint: Meta's, and the cell foundation models that are published in its format."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from cellclf import WeightsError
from cellclf.backbones import read_tensors
from cellclf_kerashub.transformer import Plan, Scaling, fill, tokens
from cellclf_kerashub.transformer import build as build_transformer

# the channel means and deviations of ImageNet, on which all of them are trained
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET = Scaling(
    scale=[1 / (255 * deviation) for deviation in DEVIATION],
    offset=[-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)],
)
BEFORE = re.compile(r"^(?:(?:teacher|model|state_dict|module|backbone|encoder)\.)+")
CHUNK = re.compile(r"^blocks\.\d+\.(\d+\.)")


def build(
    input_shape: tuple[int, int, int],
    *,
    weights: str | None,
    width: int,
    depth: int,
    patch: int,
    registers: int,
    swiglu: bool,
) -> Any:
    """Build a DINOv2.

    Args:
        input_shape: (height, width, 3), pixels.
        weights: Path of a ``.pth``, ``.pt`` or ``.safetensors`` file, or None for random ones.
        width: Of a token; 384, 768, 1024, 1536 for small, base, large, giant. Heads are 64 wide.
        depth: Number of blocks; 12, 12, 24, 40.
        patch: Side of a patch, pixels.
        registers: Number of register tokens.
        swiglu: The gated MLP of the giant.

    Returns:
        A keras.Model; pixels 0-255 -> (N, height / patch, width / patch, width).

    Raises:
        WeightsError: The file cannot be read, holds no DINOv2, or one of other sizes.
        OptionError: Sizes that are not possible.
    """
    hidden = (int(4 * width * 2 / 3) + 7) // 8 * 8 if swiglu else 4 * width
    plan = Plan(
        width=width,
        depth=depth,
        heads=width // 64,
        hidden=hidden,
        patch=patch,
        prefix=1 + registers,
        swiglu=swiglu,
    )
    model = build_transformer(input_shape, plan, IMAGENET, name="dinov2")
    if weights is not None:
        fill(model, _arrays(read_state(Path(weights), plan), plan, plan.grid(input_shape)))
    return model


def read_state(path: Path, plan: Plan) -> dict[str, Any]:
    """Read the tensors of a checkpoint by DINOv2's own names, and check that none is missing.

    From the checkpoint of a training the teacher is read; heads are ignored.

    Args:
        path: The file.
        plan: The sizes that it must have.

    Raises:
        WeightsError: The file cannot be read, holds no DINOv2, or one of other sizes.
    """
    state = read_tensors(path)
    if any(name.startswith("teacher.") for name in state):
        state = {name: array for name, array in state.items() if name.startswith("teacher.")}
    state = {CHUNK.sub(r"blocks.\1", BEFORE.sub("", name)): array for name, array in state.items()}
    if "reg_token" in state:  # timm's name
        state["register_tokens"] = state.pop("reg_token")
    if "patch_embed.proj.weight" not in state or state["patch_embed.proj.weight"].ndim != 4:
        some = ", ".join(list(state)[:3]) or "nothing"
        raise WeightsError(
            f"{path} holds no DINOv2: patch_embed.proj.weight is missing (it has {some}, ...); expected a state "
            "dict with the names of facebookresearch/dinov2"
        )
    found, expected = _sizes(state), _params(plan)
    if found != expected:
        raise WeightsError(f"{path} holds a DINOv2 of {found}; expected {expected}: pass params={found}")
    for name, shape in _shapes(plan).items():
        stored = state[name].shape if name in state else None
        if stored != shape:
            what = "is missing" if stored is None else f"is of shape {stored}"
            raise WeightsError(f"{path} holds another network: {name} {what}, expected {shape}")
    positions = state["pos_embed"].shape if "pos_embed" in state else ()
    if len(positions) != 3 or positions[2] != plan.width or round((positions[1] - 1) ** 0.5) ** 2 != positions[1] - 1:
        raise WeightsError(f"{path}: pos_embed is of shape {positions}, expected (1, 1 + n * n, {plan.width})")
    return {name: np.asarray(array, np.float32) for name, array in state.items()}


def _sizes(state: dict[str, Any]) -> dict[str, Any]:
    kernel = state["patch_embed.proj.weight"]
    blocks = {name.split(".")[1] for name in state if name.startswith("blocks.")}
    return {
        "width": kernel.shape[0],
        "depth": len(blocks),
        "patch": kernel.shape[-1],
        "registers": state["register_tokens"].shape[1] if "register_tokens" in state else 0,
        "swiglu": "blocks.0.mlp.w12.weight" in state,
    }


def _params(plan: Plan) -> dict[str, Any]:
    return {
        "width": plan.width,
        "depth": plan.depth,
        "patch": plan.patch,
        "registers": plan.prefix - 1,
        "swiglu": plan.swiglu,
    }


def _shapes(plan: Plan) -> dict[str, tuple[int, ...]]:
    width, hidden, patch = plan.width, plan.hidden, plan.patch
    one, two, wide = ("w12", "w3", 2 * hidden) if plan.swiglu else ("fc1", "fc2", hidden)
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (width, 3, patch, patch),
        "patch_embed.proj.bias": (width,),
        "cls_token": (1, 1, width),
        "norm.weight": (width,),
        "norm.bias": (width,),
    }
    for number in range(plan.depth):
        block = f"blocks.{number}"
        shapes |= {f"{block}.{norm}.{part}": (width,) for norm in ("norm1", "norm2") for part in ("weight", "bias")}
        shapes |= {f"{block}.{scale}.gamma": (width,) for scale in ("ls1", "ls2")}
        for layer, given, taken in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            (f"mlp.{one}", wide, width),
            (f"mlp.{two}", width, hidden),
        ):
            shapes |= {f"{block}.{layer}.weight": (given, taken), f"{block}.{layer}.bias": (given,)}
    return shapes


def _arrays(state: dict[str, Any], plan: Plan, grid: tuple[int, int]) -> dict[str, list[Any]]:
    """Convert the tensors to the layout of Keras, by the layers of ``transformer.build``."""
    positions = state["pos_embed"][0]
    prefix = [state["cls_token"][0] + positions[:1]]
    prefix += [state["register_tokens"][0]] if plan.prefix > 1 else []  # they have no positions
    kernel = state["patch_embed.proj.weight"].transpose(2, 3, 1, 0)
    arrays = {
        "tokens": tokens(kernel, state["patch_embed.proj.bias"], np.concatenate(prefix), positions[1:], grid),
        "norm": [state["norm.weight"], state["norm.bias"]],
    }
    for number in range(plan.depth):
        arrays |= _block(state, f"blocks.{number}.", f"block{number}", plan)
    return arrays


def _block(state: dict[str, Any], source: str, name: str, plan: Plan) -> dict[str, list[Any]]:
    def dense(layer: str, scale: Any = 1.0) -> list[Any]:
        return [state[f"{source}{layer}.weight"].T * scale, state[f"{source}{layer}.bias"] * scale]

    one, two = state[f"{source}ls1.gamma"], state[f"{source}ls2.gamma"]
    split = (plan.heads, plan.width // plan.heads)
    attention = []
    for kernel, bias in zip(*(np.split(part, 3, axis=-1) for part in dense("attn.qkv")), strict=True):
        attention += [kernel.reshape(plan.width, *split), bias.reshape(split)]
    kernel, bias = dense("attn.proj", one)
    arrays = {
        f"{name}_{norm}": [state[f"{source}{norm}.{p}"] for p in ("weight", "bias")] for norm in ("norm1", "norm2")
    }
    arrays[f"{name}_attention"] = [*attention, kernel.reshape(*split, plan.width), bias]
    if plan.swiglu:
        halves = (np.split(part, 2, axis=-1) for part in dense("mlp.w12"))
        arrays[f"{name}_gate"], arrays[f"{name}_dense1"] = map(list, zip(*halves, strict=True))
    else:
        arrays[f"{name}_dense1"] = dense("mlp.fc1")
    arrays[f"{name}_dense2"] = dense("mlp.w3" if plan.swiglu else "mlp.fc2", two)
    return arrays
