"""What happens to each image of a batch, as plain arrays.

Steps write into a `Program` on the host, in the order in which they are drawn; `Program.arrays` packs the
result for the device. Work of one kind is collected here, which makes it cheap to apply:

- all warps of an image become one list of affine maps, walked backwards once, so that there is one
  resampling an image;
- adjacent point operations become one look-up table or one 3x4 colour matrix.

An image therefore passes through: background, geometry, colour (in drawn order), illumination, optics (blur,
sharpness), noise, JPEG, masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cellclf.augmentation.rng import Flags, Floats, Keys

Arrays = dict[str, NDArray[Any]]

Border = Literal["reflect", "nearest", "constant"]
"""What an image continues with beyond its border: its mirror image (edge pixel repeated), edge pixel, a fill colour."""
BORDERS = get_args(Border)

LINEAR, DENSITY, LAB = 1, 2, 3
"""Spaces of a colour matrix: pixel values, optical densities, CIELAB about the image's own mean."""

AUTOCONTRAST, EQUALISE, CONTRAST = 1, 2, 3
"""Point operations that first measure the whole image."""

IDENTITY = np.arange(256, dtype=np.uint8)
_EYE = np.eye(3, 4, dtype=np.float32)


class Program:
    """The work on N images, in drawn order.

    Args:
        count: N.

    Examples:
        >>> program = Program(2)
        >>> program.table(np.array([True, False]), np.tile(255 - IDENTITY, (2, 1)))
        >>> program.arrays()["tone_count"].tolist()
        [1, 0]
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._warps: list[tuple[Flags, Floats, Floats, int, NDArray[np.int32]]] = []
        self._tones: list[tuple[str, Flags, Any, Any]] = []
        self._segments = 1
        self._kernels: list[tuple[Flags, Floats]] = []
        self._sharps: list[tuple[Flags, Floats]] = []
        self._noises: list[tuple[Flags, Floats, Keys]] = []
        self._jpegs: list[tuple[Flags, NDArray[np.int64]]] = []
        self._boxes: list[tuple[Flags, Floats, NDArray[np.int32]]] = []
        self._grids: list[tuple[Flags, Floats, NDArray[np.int32]]] = []
        self._grounds: list[tuple[Flags, Floats]] = []
        self._lights: list[tuple[Flags, Floats]] = []

    def ground(self, active: Flags, shape: Floats) -> None:
        """Lay the cell on another ground: (N, P), see `kernels.background.exchange`; of several the last one counts."""
        self._grounds.append((active, shape))

    def warp(
        self,
        active: Flags,
        linear: Floats,
        shift: Floats | None = None,
        *,
        border: str = "reflect",
        fill: NDArray[np.int64] | None = None,
    ) -> None:
        """Resample: the new pixel at p shows the old one at ``linear @ p + shift``.

        Args:
            active: (N,) bool, which images.
            linear: (N, 2, 2); positions are (down, right) in pixels from the centre.
            shift: (N, 2), as a fraction of (height, width); None is zero.
            border: One of `BORDERS`.
            fill: (N, 3) 0-255, the colour of a constant border; None is black.
        """
        n = self.count
        shift = np.zeros((n, 2)) if shift is None else shift
        colour = np.zeros(n, np.int32) if fill is None else pack(fill)
        self._warps.append((active, linear, shift, BORDERS.index(border), colour))

    def table(self, active: Flags, table: NDArray[np.uint8]) -> None:
        """Map levels: (N, 256) for all channels or (N, 3, 256), uint8."""
        full = np.broadcast_to(table[:, None] if table.ndim == 2 else table, (self.count, 3, 256))
        self._tone("table", active, full, 0)

    def matrix(self, active: Flags, matrix: Floats, space: int = LINEAR) -> None:
        """Mix channels: (N, 3, 4), new = matrix[:, :3] @ old + matrix[:, 3].

        Pixel values are 0-255 (`LINEAR`), densities are -ln((v + 1) / 256) (`DENSITY`), and `LAB` works
        on the difference to the image's mean colour. Adjacent matrices of one space are multiplied,
        and their result is rounded and cut to 0-255 once.
        """
        self._tone("matrix", active, matrix, space)

    def statistic(self, active: Flags, kind: int | NDArray[np.int64], amount: Floats | None = None) -> None:
        """Run a point operation that measures the image: `AUTOCONTRAST`, `EQUALISE` or `CONTRAST`.

        Args:
            active: (N,) bool, which images.
            kind: Which operation; also (N,) for one each.
            amount: (N,) the factor of `CONTRAST`.
        """
        value = np.zeros(self.count) if amount is None else amount
        self._tone("statistic", active, value, np.broadcast_to(kind, (self.count,)))

    def exclusive(self, calls: int) -> None:
        """Declare that the last ``calls`` colour calls are of different images: they then share one segment."""
        self._segments -= calls - 1

    def _tone(self, what: str, active: Flags, value: Any, kind: Any) -> None:
        self._tones.append((what, active, value, kind))
        self._segments += 1

    def kernel(self, active: Flags, kernel: Floats) -> None:
        """Convolve with (N, k, k), k odd; the image is mirrored at its border."""
        self._kernels.append((active, kernel))

    def sharpen(self, active: Flags, factor: Floats) -> None:
        """Blend with the smoothed image: (N,) 0 is smooth, 1 nothing, above 1 sharper."""
        self._sharps.append((active, factor))

    def noise(self, active: Flags, deviation: Floats, key: Keys) -> None:
        """Add Gaussian noise: (N,) standard deviation in levels 0-255, and (N,) keys."""
        self._noises.append((active, deviation, key))

    def jpeg(self, active: Flags, quality: NDArray[np.int64]) -> None:
        """Save as JPEG and read again: (N,) quality 1-100."""
        self._jpegs.append((active, quality))

    def box(self, active: Flags, box: Floats, fill: NDArray[np.int64]) -> None:
        """Paint boxes: (N, 4) top, left, bottom, right as fractions of the sides; (N, 3) colours."""
        self._boxes.append((active, box, pack(fill)))

    def grid(self, active: Flags, grid: Floats, fill: NDArray[np.int64]) -> None:
        """Paint grids of squares: (N, 5) period, covered share of it, two offsets (fractions), turn (rad)."""
        self._grids.append((active, grid, pack(fill)))

    def light(self, active: Flags, shape: Floats) -> None:
        """Let the light fall off: (N, 8), see `kernels.light.shade`."""
        self._lights.append((active, shape))

    def arrays(self) -> Arrays:
        """Pack everything as arrays whose first axis is the image; their shapes depend on the steps only."""
        out: Arrays = {}
        if self._grounds:
            active, shape = self._stack(self._grounds[::-1])
            order, _ = _first(active)
            out["ground_count"] = active.any(1).astype(np.int32)
            out["ground_shape"] = _take(shape, order)[:, 0].astype(np.float32)
        if self._warps:
            out |= self._pack_warps()
        if self._tones:
            out |= self._pack_tones()
        if self._lights:
            active, shape = self._stack(self._lights)
            order, out["light_count"] = _first(active)
            out["light_shape"] = _take(shape, order).astype(np.float32)
        if self._kernels:
            out |= self._pack_kernels()
        if self._sharps:
            active, factor = self._stack(self._sharps)
            out["sharp_count"] = active.any(1).astype(np.int32)
            out["sharp_factor"] = np.where(active, factor, 1.0).prod(1).astype(np.float32)
        if self._noises:
            active, deviation, key = self._stack(self._noises)
            variance = np.where(active, deviation**2, 0.0).sum(1)  # independent noises add up to one
            out["noise_count"] = (variance > 0).astype(np.int32)
            out["noise_deviation"] = np.sqrt(variance).astype(np.float32)
            out["noise_key"] = (key[:, 0] >> np.uint64(33)).astype(np.int32)  # 31 bits: never negative
        if self._jpegs:
            active, quality = self._stack(self._jpegs)
            out["jpeg_count"] = active.any(1).astype(np.int32)
            out["jpeg_quality"] = np.where(active, quality, 100).min(1).astype(np.float32)
        for name, columns in (("box", self._boxes), ("grid", self._grids)):
            if columns:
                active, shape, colour = self._stack(columns)
                order, count = _first(active)
                out[f"{name}_count"] = count
                out[f"{name}_shape"] = _take(shape, order).astype(np.float32)
                out[f"{name}_fill"] = _take(colour, order).astype(np.int32)
        return out

    @staticmethod
    def _stack(columns: Sequence[tuple[Any, ...]]) -> list[Any]:
        return [np.stack(parts, axis=1) for parts in zip(*columns, strict=True)]

    def _pack_warps(self) -> Arrays:
        # the last warp first: coordinates are carried back from the new image to the old one
        columns = [(a, m, s, np.full(self.count, b), f) for a, m, s, b, f in reversed(self._warps)]
        active, linear, shift, border, fill = self._stack(columns)
        order, count = _first(active)
        return {
            "warp_count": count,
            "warp_linear": _take(linear, order).astype(np.float32),
            "warp_shift": _take(shift, order).astype(np.float32),
            "warp_border": _take(border, order).astype(np.int32),
            "warp_fill": _take(fill, order).astype(np.int32),
        }

    def _pack_tones(self) -> Arrays:
        """Fuse in drawn order. A segment is one table, then one matrix, then one operation that measures the image.

        Each image is filled on its own: ``now`` is the segment that it writes to. An operation joins that segment where
        it comes later in this order than all that is there, or is of the same kind (tables compose, matrices of one
        space multiply); otherwise (``full``) the image moves on to its next segment.
        """
        n, segments = self.count, self._segments
        tables = np.empty((n, segments, 3, 256), np.uint8)
        tables[:] = IDENTITY
        matrices = np.empty((n, segments, 3, 4), np.float32)
        matrices[:] = _EYE
        space = np.zeros((n, segments), np.int32)
        statistic = np.zeros((n, segments), np.int32)
        amount = np.zeros((n, segments), np.float32)
        now = np.zeros(n, np.int64)
        used = np.zeros(n, bool)
        for what, active, value, kind in self._tones:
            rows = np.flatnonzero(active)
            if not len(rows):
                continue
            used[rows] = True
            here = now[rows]
            full = statistic[rows, here] != 0  # nothing may follow it in a segment
            if what == "table":
                full |= space[rows, here] != 0
            elif what == "matrix":
                full |= (space[rows, here] != 0) & (space[rows, here] != kind)
            here = here + full
            now[rows] = here
            if what == "table":
                tables[rows, here] = np.take_along_axis(value[rows], tables[rows, here].astype(np.intp), axis=2)
            elif what == "matrix":
                new, old = value[rows], matrices[rows, here]
                matrices[rows, here] = new[:, :, :3] @ old
                matrices[rows, here, :, 3] += new[:, :, 3]
                space[rows, here] = kind
            else:
                statistic[rows, here] = kind[rows]
                amount[rows, here] = value[rows]
        # what was measured is applied together with the table of the next segment, so there must be one
        rows = np.flatnonzero(statistic[np.arange(n), now] != 0)
        now[rows] += 1
        return {
            "tone_count": np.where(used, now + 1, 0).astype(np.int32),
            "tone_table": tables,
            "tone_matrix": matrices,
            "tone_space": space,
            "tone_statistic": statistic,
            "tone_amount": amount,
        }

    def _pack_kernels(self) -> Arrays:
        side = max(kernel.shape[-1] for _, kernel in self._kernels)
        active = np.stack([flags for flags, _ in self._kernels], axis=1)
        order, count = _first(active)
        padded = []
        for _, kernel in self._kernels:
            edge = (side - kernel.shape[-1]) // 2
            padded.append(np.pad(kernel, ((0, 0), (edge, edge), (edge, edge))))
        return {
            "kernel_count": count,
            "kernel_weights": _take(np.stack(padded, axis=1), order).astype(np.float32),
        }


def pack(colour: NDArray[np.int64]) -> NDArray[np.int32]:
    """Put (..., 3) colours 0-255 into (...) int32."""
    level = np.clip(colour, 0, 255).astype(np.int32)
    return np.asarray(level[..., 0] << 16 | level[..., 1] << 8 | level[..., 2])


def _first(active: Flags) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Give the order that brings each image's active columns to the front, and how many there are."""
    return np.argsort(~active, axis=1, kind="stable"), active.sum(axis=1).astype(np.int32)


def _take(values: NDArray[Any], order: NDArray[np.intp]) -> NDArray[Any]:
    return np.take_along_axis(values, order.reshape(order.shape + (1,) * (values.ndim - 2)), axis=1)
