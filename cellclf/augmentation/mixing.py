"""MixUp and CutMix: they change the labels too, and so belong to the training step.

Pure functions on a batch. Random numbers are drawn first (`Mix.draw`, on the host) and passed in, so that the result
is the same on every device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval
from numpy.typing import NDArray

from cellclf.augmentation.program import Arrays
from cellclf.augmentation.rng import ImageRng
from cellclf.utils.parameters import Params, Seed, Share, check_parameters

Tensor = Any
Kind = Literal["mixup", "cutmix", "both"]

KINDS: Mapping[str, tuple[str, ...]] = {"mixup": (), "cutmix": ("occlusion",), "both": ("occlusion",)}
"""Each kind of mixing, and the families of corruptions that it resembles: a pasted box hides a part of the image."""


def mix_up(images: Tensor, targets: Tensor, partner: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Average each image and its labels with another image of the batch.

    Args:
        images: (N, H, W, C), any number type; the result is float32.
        targets: (N, classes) float32.
        partner: (N,) int32, the place of the other image.
        share: (N,) float32, weight of the image itself, 0-1.

    Returns:
        Images (N, H, W, C) and targets (N, classes), float32.

    Source: Zhang et al. 2018, arXiv 1710.09412.
    """
    from keras import ops

    images, targets = ops.cast(images, "float32"), ops.cast(targets, "float32")
    wide, flat = ops.reshape(share, (-1, 1, 1, 1)), ops.reshape(share, (-1, 1))
    mixed = wide * images + (1 - wide) * ops.take(images, partner, axis=0)
    return mixed, flat * targets + (1 - flat) * ops.take(targets, partner, axis=0)


def cut_mix(images: Tensor, targets: Tensor, partner: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Paste a box out of another image of the batch; labels mix by the pixels that were really pasted.

    Args:
        images: (N, H, W, C), any number type; the result is float32.
        targets: (N, classes) float32.
        partner: (N,) int32, the place of the other image.
        box: (N, 4) float32: top, left, bottom, right as fractions of the sides; may reach outside.

    Returns:
        Images (N, H, W, C) and targets (N, classes), float32.

    Source: Yun et al. 2019, arXiv 1905.04899.
    """
    from keras import ops

    images, targets = ops.cast(images, "float32"), ops.cast(targets, "float32")
    box = ops.convert_to_tensor(box)  # PyTorch compares its tensors with no arrays of numpy
    _, height, width, _ = images.shape
    row = (ops.arange(height, dtype="float32") + 0.5) / height
    column = (ops.arange(width, dtype="float32") + 0.5) / width
    rows = ops.cast((row >= box[:, :1]) & (row < box[:, 2:3]), "float32")
    columns = ops.cast((column >= box[:, 1:2]) & (column < box[:, 3:]), "float32")
    inside = rows[:, :, None, None] * columns[:, None, :, None]
    # counted, not computed from the box: rounding to pixels and the border of the image cut pieces off
    kept = 1 - ops.mean(rows, axis=1, keepdims=True) * ops.mean(columns, axis=1, keepdims=True)
    pasted = inside * ops.take(images, partner, axis=0) + (1 - inside) * images
    return pasted, kept * targets + (1 - kept) * ops.take(targets, partner, axis=0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mix(Params):
    """How a training mixes the images and labels of a batch.

    Args:
        kind: "mixup", "cutmix" or "both" (half of the images each).
        alpha: Concentration of the Beta distribution that the weight is drawn from; small is milder.
        rate: Share of the images that are mixed, 0-1.
        seed: A whole number from 0 up.

    Examples:
        >>> mix = Mix(kind="mixup", seed=7)
        >>> images, labels = np.zeros((4, 8, 8, 3), "uint8"), np.eye(4, dtype="float32")
        >>> mixed, targets = mix.apply(images, labels, mix.draw(["a", "b", "c", "d"], epoch=0))
        >>> targets.shape[1], bool(np.allclose(np.sum(targets, axis=1), 1))
        (4, True)
    """

    kind: Kind = "mixup"
    alpha: Annotated[float, Interval(ge=0.01, le=100)] = 0.2
    rate: Share = 1.0
    seed: Seed = 0

    def check(self) -> None:
        """Refuse values that cannot be used.

        Raises:
            UnknownNameError: There is no such kind.
            OptionError: A number outside its range.
        """
        check_parameters(self)

    def draw(self, ids: Sequence[object] | NDArray[Any], epoch: int = 0) -> Arrays:
        """Draw for a batch. Partners are images of the same batch, so the result depends on the batch.

        Args:
            ids: N texts.
            epoch: Each epoch draws anew.

        Returns:
            ``partner`` (N,) int32, ``share`` (N,) float32 (1 where not mixed up), ``box`` (N, 4) float32 (empty
            where nothing is pasted).
        """
        rng = ImageRng.of(ids, seed=self.seed, epoch=epoch).child("mix")
        n = len(rng)
        # the next image in a shuffled order: every image is a partner once, and none is its own partner
        order = np.argsort(rng.uniform(0, 1), kind="stable")
        partner = np.empty(n, np.int32)
        partner[order] = np.roll(order, 1)
        active = rng.chance(self.rate)
        cut = rng.chance(0.5) if self.kind == "both" else np.full(n, self.kind == "cutmix")
        share = rng.beta(self.alpha, self.alpha)
        half = 0.5 * np.sqrt(1 - share)[:, None]  # of the box's sides, so that its area is 1 - share
        middle = rng.uniform(0, 1, (2,))
        box = np.concatenate([middle - half, middle + half], axis=1)
        return {
            "partner": partner,
            "share": np.where(active & ~cut, share, 1.0).astype(np.float32),
            "box": np.where((active & cut)[:, None], box, 0.0).astype(np.float32),
        }

    def apply(self, images: Tensor, targets: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mix a batch as drawn: pure `keras.ops`, jit-safe.

        Args:
            images: (N, H, W, C) uint8 or float32, 0-255.
            targets: (N, K) float32, one-hot labels and further columns that are to be mixed in the same way.
            params: What `draw` gave.

        Returns:
            Images (N, H, W, C) and targets (N, K), float32.
        """
        from keras import ops

        params = {name: ops.convert_to_tensor(array) for name, array in params.items()}  # PyTorch takes no other
        images = ops.cast(images, "float32")
        if self.kind in ("mixup", "both"):
            images, targets = mix_up(images, targets, params["partner"], params["share"])
        if self.kind in ("cutmix", "both"):
            images, targets = cut_mix(images, targets, params["partner"], params["box"])
        return images, targets
