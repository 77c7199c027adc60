"""Saliency: Grad-CAM, Grad-CAM++ and occlusion on arrays, and the heatmaps that they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.data.sources import Images, Rows
from cellclf.errors import OptionError
from cellclf.utils.colour import LUMA
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.floating[Any]]

METHODS = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "occlusion": "Occlusion"}
"""Name of a method in an option -> in print."""

_PATCH, _STEPS = 0.25, 12  # of occlusion
_STRENGTH = 0.62  # opacity of the heat over an image
_TINY = 1e-30


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Result):
    """Heatmaps of what in each image is evidence for one class; made by ``Run.explain``.

    Args:
        heat: (N, h, w) float32, 0-1: 1 is the strongest evidence for the class in the image, 0 is none, or evidence
            against it. As coarse as the method is; ``at_full_size`` gives it for every pixel.
        peak: (N,) what a heat of 1 stands for: with occlusion the drop of the log-odds of the class, in nats; with
            Grad-CAM a value that can be compared only within one method and layer.
        classes: (N,) the explained class, an index into ``class_names``.
        probabilities: (N,) its probability.
        class_names: Names in label order.
        method: A key of ``METHODS``.
        layer: The feature map that Grad-CAM used; None for occlusion.
        cells: The N images.
    """

    heat: NDArray[np.float32]
    peak: NDArray[np.float32]
    classes: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    class_names: tuple[str, ...]
    method: str
    layer: str | None
    cells: ImageSet = field(repr=False)

    def __len__(self) -> int:
        return len(self.heat)

    def at_full_size(self, rows: Sequence[int] | NDArray[Any] | None = None) -> NDArray[np.float32]:
        """Give the heat of every pixel: (n, H, W) float32, 0-1, bilinear.

        Args:
            rows: Positions of the images; None takes all.
        """
        height, width, _ = self.cells.image_shape
        heat = self.heat if rows is None else self.heat[np.asarray(rows, np.int64)]
        return enlarge(heat, height, width)

    def overlays(self, rows: Sequence[int] | NDArray[Any] | None = None) -> Images:
        """Lay the heat over the images: bright yellow is strong evidence, dark is none.

        Args:
            rows: Positions of the images; None takes all.

        Returns:
            (n, H, W, 3) uint8.
        """
        from matplotlib import colormaps

        positions = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        colour = colormaps["inferno"](self.at_full_size(positions))[..., :3] * 255
        grey = self.cells.read(positions).astype(np.float32) @ np.array(LUMA, np.float32)
        mixed = (1 - _STRENGTH) * grey[..., None] + _STRENGTH * colour
        return np.rint(mixed).clip(0, 255).astype(np.uint8)

    def plot(self, *, limit: int = 24) -> Figure:
        """Draw each image beside its heatmap, with class and probability, and the label where it differs.

        Args:
            limit: How many images at most.
        """
        from cellclf.utils.contact_sheet import sheet

        shown = np.arange(min(limit, len(self)))
        both = np.stack([self.cells.read(shown), self.overlays(shown)], axis=1) if len(shown) else self.cells.read([])
        captions = [text for k in shown.tolist() for text in (self._caption(k), "")]
        title = f"{METHODS[self.method]}: bright is evidence for the class (0 to 1, the strongest in each image)"
        columns = 2 * max(1, min(4, len(shown)))
        return sheet(both.reshape(-1, *self.cells.image_shape), captions=captions, columns=columns, title=title)

    def _caption(self, k: int) -> str:
        name = self.class_names[self.classes[k]]
        text = f"{name.replace('_', ' ')} {100 * self.probabilities[k]:.0f} %"
        if self.cells.labels is not None:
            label = self.cells.class_names[self.cells.labels[k]]
            text += f"\nlabel: {label.replace('_', ' ')}" if label != name else "\n"
        return text

    def to_rows(self) -> list[dict[str, Any]]:
        """Give one dict an image: id, class, probability, and x and y of the pixel where the heat is greatest.

        Without any evidence for the class (the heat is 0 everywhere), x and y are None.
        """
        height, width, _ = self.cells.image_shape
        _, rows, columns = self.heat.shape
        found = []
        for k, id_ in enumerate(self.cells.ids.tolist()):
            row, column = divmod(int(self.heat[k].argmax()), columns)
            hot = bool(self.peak[k] > 0)
            found.append(
                {
                    "id": id_,
                    "class": self.class_names[self.classes[k]],
                    "probability": round(float(self.probabilities[k]), 5),
                    "x": (2 * column + 1) * width // (2 * columns) if hot else None,  # centre of the field
                    "y": (2 * row + 1) * height // (2 * rows) if hot else None,
                }
            )
        return found

    def summary(self) -> str:
        """Say what was explained."""
        names = ", ".join(f"{self.class_names[c]} ({int((self.classes == c).sum())})" for c in np.unique(self.classes))
        layer = "" if self.layer is None else f" of the layer {self.layer}"
        return f"{len(self.heat):,} heat maps by {self.method}{layer}: {names}"

    def to_dict(self) -> dict[str, Any]:
        """Give class, probability and peak of each image as plain data; the maps are in ``heat``."""
        return {
            "method": self.method,
            "layer": self.layer,
            "images": [
                {
                    "id": id_,
                    "class": self.class_names[label],
                    "probability": round(float(probability), 6),
                    "peak": float(peak),
                }
                for id_, label, probability, peak in zip(
                    self.cells.ids.tolist(), self.classes.tolist(), self.probabilities, self.peak, strict=True
                )
            ],
        }


def grad_cam(maps: Floats, gradients: Floats) -> NDArray[np.float64]:
    """Weigh each channel of a feature map by its mean gradient, and keep what is positive: Grad-CAM.

    Args:
        maps: (N, h, w, c) the feature map A of each image.
        gradients: (N, h, w, c) dS/dA, where S is the score of the class before the softmax.

    Returns:
        (N, h, w), 0 or more.

    Examples:
        >>> maps = np.arange(8.0).reshape(1, 2, 2, 2)
        >>> grad_cam(maps, np.broadcast_to([1.0, -0.5], maps.shape))[0].tolist()
        [[0.0, 0.5], [1.5, 2.5]]

    Source: Selvaraju et al. 2017, arXiv 1610.02391, equations 1 and 2.
    """
    weights = np.asarray(gradients, np.float64).mean((1, 2), keepdims=True)
    found: NDArray[np.float64] = np.maximum((weights * maps).sum(-1), 0)
    return found


def grad_cam_plus_plus(maps: Floats, gradients: Floats) -> NDArray[np.float64]:
    """Weigh each channel by its positive gradients, each position by its own weight: Grad-CAM++.

    This is the closed form for a class score that is an exponential; its factor is the same for a whole image and so
    left out. Where an image has several spots of one class, it finds all of them; Grad-CAM favours the largest.

    Args:
        maps: (N, h, w, c) the feature map A of each image, behind a ReLU: 0 or more.
        gradients: (N, h, w, c) dS/dA, where S is the score of the class before the softmax.

    Returns:
        (N, h, w), 0 or more.

    Source: Chattopadhay et al. 2018, arXiv 1710.11063, equations 11 and 19.
    """
    slope, maps = np.asarray(gradients, np.float64), np.asarray(maps, np.float64)
    below = 2 * slope**2 + maps.sum((1, 2), keepdims=True) * slope**3
    alpha = np.divide(slope**2, below, out=np.zeros_like(below), where=below > 0)
    weights = (alpha * np.maximum(slope, 0)).sum((1, 2), keepdims=True)
    found: NDArray[np.float64] = np.maximum((weights * maps).sum(-1), 0)
    return found


class OcclusionSource:
    """A source of images for an ``ImageSet``: each image unchanged, then with one position after another covered.

    The image is divided into steps x steps fields; a square around the centre of each is filled with the mean colour
    of the image. Images are made as they are read, so that any number of them needs no memory.

    Args:
        cells: N images.
        patch: Side of the square, as a fraction of the shorter side of an image, above 0 to 1.
        steps: Fields along each side.

    Raises:
        OptionError: A number out of range.

    Examples:
        >>> images = np.zeros((2, 8, 8, 3), np.uint8)
        >>> len(OcclusionSource(ImageSet(images), patch=0.5, steps=4))
        34

    Source: Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2.
    """

    def __init__(self, cells: ImageSet, *, patch: float = _PATCH, steps: int = _STEPS) -> None:
        if not 0 < patch <= 1:
            raise OptionError(f"patch={patch}; expected a fraction of the image's side, above 0 to 1, such as 0.25")
        height, width, _ = cells.image_shape
        if not 1 <= steps <= min(height, width):
            raise OptionError(
                f"steps={steps} for images of {height}x{width}; expected 1 to {min(height, width)} fields along a side"
            )
        self.cells, self.patch, self.steps = cells, patch, steps
        self.shape = cells.image_shape
        self.each = steps**2 + 1

    def __len__(self) -> int:
        return len(self.cells) * self.each

    def read(self, rows: Rows) -> Images:
        """Make the images at these positions: (n, H, W, 3) uint8."""
        images, fields = np.divmod(np.asarray(rows, np.int64), self.each)
        needed, back = np.unique(images, return_inverse=True)  # a batch holds few images, each many times
        read = self.cells.read(needed)
        means = np.rint(read.mean((1, 2), dtype=np.float64)).astype(np.uint8)
        made = read[back]  # indexing by an array copies, so that squares can be filled in place
        for k, field_ in enumerate(fields.tolist()):
            if field_:  # 0 is the image unchanged
                made[k][self._square(field_ - 1)] = means[back[k]]
        return made

    def _square(self, field_: int) -> tuple[slice, slice]:
        """Give the covered part of an image, cut off at its edges."""
        half = self.patch * min(self.shape[:2]) / 2
        centres = (
            (number + 0.5) * side / self.steps
            for number, side in zip(divmod(field_, self.steps), self.shape[:2], strict=True)
        )
        rows, columns = (slice(max(0, round(centre - half)), round(centre + half)) for centre in centres)
        return rows, columns

    def heat(self, probabilities: Floats, classes: NDArray[np.integer[Any]]) -> NDArray[np.float64]:
        """Compute how much the log-odds of a class drop where a field is covered.

        Log-odds, since the probability of a confident classifier hardly moves: .9999 to .99 is a large change.

        Args:
            probabilities: (N * (steps**2 + 1), K) of each image of this source.
            classes: (N,) the explained class of each image of the set.

        Returns:
            (N, steps, steps) nats: 0 where they do not drop.
        """
        explained = np.repeat(classes, self.each)[:, None] == np.arange(probabilities.shape[1])
        wide = np.maximum(np.asarray(probabilities, np.float64), _TINY)
        # the other classes are summed up, since 1 - p loses all digits where p is near 1
        odds = np.log(wide.max(1, where=explained, initial=0)) - np.log(wide.sum(1, where=~explained, initial=_TINY))
        table = odds.reshape(len(self.cells), self.each)
        drop: NDArray[np.float64] = np.maximum(table[:, :1] - table[:, 1:], 0)
        return drop.reshape(-1, self.steps, self.steps)


def normalised(heat: Floats) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale each image's heat to 0-1 by its greatest value; a map of zeros is not changed.

    Args:
        heat: (N, h, w), 0 or more.

    Returns:
        The scaled heat (N, h, w), and the greatest values (N,).

    Examples:
        >>> scaled, peak = normalised(np.array([[[0.0, 4.0]], [[0.0, 0.0]]]))
        >>> scaled.tolist(), peak.tolist()
        ([[[0.0, 1.0]], [[0.0, 0.0]]], [4.0, 0.0])
    """
    peak = heat.max((1, 2))
    scaled = heat / np.where(peak > 0, peak, 1)[:, None, None]
    return scaled.astype(np.float32), peak.astype(np.float32)


def enlarge(heat: Floats, height: int, width: int) -> NDArray[np.float32]:
    """Resize maps to the pixels of their images: bilinear between the centres of their fields.

    Args:
        heat: (N, h, w).
        height: H in pixels.
        width: W in pixels.

    Returns:
        (N, H, W) float32.

    Examples:
        >>> enlarge(np.array([[[0.0, 1.0]]]), 1, 4).tolist()
        [[[0.0, 0.25, 0.75, 1.0]]]
    """
    rows, columns = _interpolation(heat.shape[1], height), _interpolation(heat.shape[2], width)
    spread: NDArray[np.float32] = (rows @ heat @ columns.T).astype(np.float32)
    return spread


def _interpolation(fields: int, pixels: int) -> NDArray[np.float64]:
    """Give the (pixels, fields) matrix of linear interpolation along one side.

    Bilinear resizing is separable, so one small matrix a side resizes any number of maps at once.
    """
    centres = np.clip((np.arange(pixels) + 0.5) * fields / pixels - 0.5, 0, fields - 1)
    weights: NDArray[np.float64] = np.clip(1 - np.abs(centres[:, None] - np.arange(fields)), 0, 1)
    return weights
