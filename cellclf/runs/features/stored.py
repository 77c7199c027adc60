"""Pooled features that a run keeps of its own laboratory, so that another one can adapt it without those images."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import CellclfWarning, DataError, RunFolderError
from cellclf.utils.atomic import replacing
from cellclf.utils.npz_files import DamagedFile, read_npz

FEATURES = "features.npz"
"""Name of the file in a run's folder."""

TRAIN, VAL = "train", "val"
MOST_TRAIN, MOST_VAL = 2_000, 20_000
"""So many images of each part are kept at most: all validation images of nearly every run."""

_NEEDED = (
    "weights_sha256",
    "layers",
    "widths",
    "scale",
    "features",
    "probabilities",
    "labels",
    "class_names",
    "ids",
    "part",
)


@dataclass(frozen=True, eq=False)
class StoredFeatures:
    """Pooled features, probabilities and labels of a run's own images: one view, as they are.

    Args:
        layers: Names of the layers, from the input on: ``feature_layers(model, 3)``.
        widths: How many of the D columns belong to each layer.
        features: (N, D) float32; a file holds them as float16, each layer scaled by its largest value.
        probabilities: (N, K) float32 of the network, not calibrated.
        labels: (N,) int64, index into ``class_names``.
        class_names: K names, in the order of the network.
        ids: (N,) texts.
        part: (N,) "train" or "val".
        weights_sha256: Of the network that gave the features.

    Raises:
        DataError: Arrays that do not fit together.
    """

    layers: tuple[str, ...]
    widths: tuple[int, ...]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    ids: NDArray[np.str_]
    part: NDArray[np.str_]
    weights_sha256: str

    def __post_init__(self) -> None:
        count = len(self.labels)
        expected = {
            "features": (count, sum(self.widths)),
            "probabilities": (count, len(self.class_names)),
            "labels": (count,),
            "ids": (count,),
            "part": (count,),
        }
        for name, shape in expected.items():
            if (found := getattr(self, name).shape) != shape:
                raise DataError(f"{name} of stored features have shape {found}; expected {shape}")
        if len(self.widths) != len(self.layers):
            raise DataError(f"{len(self.widths)} widths of {len(self.layers)} layers; expected one for each")
        if count and not (self.labels.min() >= 0 and self.labels.max() < len(self.class_names)):
            raise DataError(f"a label of stored features is outside 0 to {len(self.class_names) - 1}")
        if unknown := {*self.part.tolist()} - {TRAIN, VAL}:
            raise DataError(f"stored features have a part {min(unknown)!r}; expected {TRAIN!r} or {VAL!r}")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        parts = [f"{int((self.part == name).sum()):,} {name}" for name in (TRAIN, VAL)]
        return f"StoredFeatures: {' + '.join(parts)} images, {sum(self.widths)} features of {', '.join(self.layers)}"

    def save(self, path: str | Path) -> Path:
        """Write one npz file, whole or not at all; nothing in it is pickled."""
        path = Path(path)
        scale = np.ones(len(self.widths), np.float32)
        ends = np.cumsum(self.widths)
        held = np.empty(self.features.shape, np.float16)  # half the size; 11 bits are more than distances need
        for place, (end, width) in enumerate(zip(ends, self.widths, strict=True)):
            part = self.features[:, end - width : end]
            largest = float(np.abs(part).max(initial=0))
            scale[place] = largest if np.isfinite(largest) and largest > 0 else 1
            held[:, end - width : end] = part / scale[place]
        with replacing(path) as new:
            np.savez_compressed(
                new,
                weights_sha256=np.asarray(self.weights_sha256),
                layers=np.asarray(self.layers, np.str_),
                widths=np.asarray(self.widths, np.int64),
                scale=scale,
                features=held,
                probabilities=self.probabilities,
                labels=self.labels,
                class_names=np.asarray(self.class_names, np.str_),
                ids=np.asarray(self.ids, np.str_),
                part=np.asarray(self.part, np.str_),
            )
        return path

    @classmethod
    def load(cls, path: str | Path) -> StoredFeatures:
        """Read what ``save`` wrote.

        Raises:
            RunFolderError: A damaged file.
        """
        path = Path(path)
        try:
            found = read_npz(path, _NEEDED)
            widths = tuple(int(width) for width in found["widths"])
            scale = np.repeat(found["scale"].astype(np.float32), widths)
            return cls(
                layers=_texts(found["layers"]),
                widths=widths,
                features=found["features"].astype(np.float32) * scale,
                probabilities=found["probabilities"].astype(np.float32),
                labels=found["labels"].astype(np.int64),
                class_names=_texts(found["class_names"]),
                ids=found["ids"].astype(np.str_),
                part=found["part"].astype(np.str_),
                weights_sha256=str(found["weights_sha256"]),
            )
        except (DamagedFile, DataError, ValueError, TypeError) as error:  # numpy refuses other kinds and shapes
            raise RunFolderError(f"{path} is damaged ({' '.join(str(error).split())[:200]})") from None


def load_stored(path: str | Path, weights: str, class_names: tuple[str, ...]) -> StoredFeatures | None:
    """Read the features in a run's folder; None if there are none that can be used.

    Nothing needs them to predict, so that damaged ones and those of another network are left out, with a warning.

    Args:
        path: The file.
        weights: ``weights_sha256`` of the network beside it.
        class_names: Of the run.
    """
    path = Path(path)
    if not path.exists():
        return None
    left_out = "the run is used without them; to adapt it, pass home= with labelled cells of its own laboratory"
    try:
        found = StoredFeatures.load(path)
    except RunFolderError as error:
        warnings.warn(f"{error}; {left_out}", CellclfWarning, stacklevel=3)
        return None
    if found.weights_sha256 != weights or found.class_names != class_names:
        text = f"{path} holds features of another network than the model.keras beside it; {left_out}"
        warnings.warn(text, CellclfWarning, stacklevel=3)
        return None
    return found


def kept_rows(labels: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Choose which images are kept: each class in proportion, and at least one of each.

    Args:
        labels: (N,) whole numbers.
        most: So many at most; all where there are no more.
        seed: Of the choice.

    Returns:
        Sorted positions.

    Examples:
        >>> labels = np.repeat([0, 1, 2], [60, 39, 1])
        >>> np.bincount(labels[kept_rows(labels, 10, 7)]).tolist()
        [5, 4, 1]
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    order = np.random.default_rng(seed).permutation(len(labels))
    shuffled = labels[order]
    place = np.empty(len(labels), np.int64)  # of each image in its class
    counts = np.bincount(labels)
    for label in np.flatnonzero(counts):
        place[shuffled == label] = np.arange(counts[label])
    # the first of every class, then those that are next in line by the share of their class that is taken already
    rank = np.where(place == 0, -1.0, (place + 0.5) / counts[shuffled])
    return np.sort(order[np.argsort(rank, kind="stable")[:most]])


def _texts(column: NDArray[np.generic]) -> tuple[str, ...]:
    return tuple(str(text) for text in column)
