"""Pooled features of any images, as ``Run.features`` gives them, and the tables that hold them."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.runs.features.layers import stored_layers
from cellclf.runs.features.reader import FeatureReader, Floats
from cellclf.runs.features.recent import recent
from cellclf.runs.predict import step_size
from cellclf.runs.provenance import weights_sha256
from cellclf.runs.tta import VIEWS
from cellclf.utils.atomic import replacing
from cellclf.utils.csv_tables import csv_text, require_writer
from cellclf.utils.progress import track

ENDINGS = (".csv", ".npz", ".parquet")


def reader_of(model: Any, layers: Sequence[str] | str | None) -> FeatureReader:
    """Give the reader of some layers.

    Args:
        model: Of a run.
        layers: Names, or one; None takes those that an adaptation reads. An ensemble has none of its own: the pooled
            features of its members are taken.

    Raises:
        UnknownNameError: No layer of that name.
        OptionError: No layer at all, or one whose output is neither a map nor a row.
    """
    names = stored_layers(model) if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
    if layers is not None and not names:
        raise OptionError("layers is empty; expected at least one name of a layer, or None for those that adapt reads")
    return FeatureReader(model, layers=names)


def read(
    reader: FeatureReader, cells: ImageSet, views: Sequence[str] = ("as_is",), *, show: bool | None = None
) -> tuple[Floats, Floats, Floats]:
    """Give what a network knows of images, each read once, averaged over views; kept for the next question.

    Args:
        reader: Of the network.
        cells: Images of its size.
        views: Names out of ``VIEWS``.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        (N, d) what the out-of-distribution score is computed from; (N, K) probabilities; (N, D) the layers side by
        side, or the first once more if the network has no such layers. Read-only.
    """
    if not len(cells):
        size = step_size(1, reader.batch_size)
        blank = reader.run(np.zeros((size, *cells.image_shape), np.uint8), size)
        return _with_layers([part[:0] for part in blank])
    key = (weights_sha256(reader.model), _contents(cells), reader.layers, tuple(views))
    return _with_layers(recent(key, lambda: _averaged(reader, cells, views, show)))


def _with_layers(parts: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    return parts[0], parts[1], parts[2] if parts[2].shape[1] else parts[0]


def _contents(cells: ImageSet) -> str:
    """Hash the pixels; ids and labels do not matter to a network."""
    digest = hashlib.sha256(repr(cells.image_shape).encode())
    for batch in cells.batches(show=False):
        digest.update(np.ascontiguousarray(batch).data)
    return digest.hexdigest()


def _averaged(
    reader: FeatureReader, cells: ImageSet, views: Sequence[str], show: bool | None
) -> tuple[Floats, Floats, Floats]:
    size = step_size(len(cells), reader.batch_size)
    made: list[Floats] = []
    starts = range(0, len(cells), size)
    for start in track(starts, total=len(starts), label="reading features", unit="batch", show=show):
        images = cells.read(np.arange(start, min(start + size, len(cells))))
        for name in views:
            parts = reader.run(np.ascontiguousarray(VIEWS[name](images)), size)
            made = made or [np.zeros((len(cells), part.shape[1]), np.float32) for part in parts]
            for whole, part in zip(made, parts, strict=True):
                whole[start : start + len(images)] += part / len(views)
    features, found, beside = made
    return features, found, beside


def each_view(reader: FeatureReader, cells: ImageSet, views: Sequence[str]) -> Floats:
    """Give the features (V, N, D) of a few images in each view; arguments as for ``read``."""
    if reader.layers:
        return reader.read_views(cells, views=views)[0]
    return np.stack([_averaged(reader, cells, (name,), False)[0] for name in views])


def columns_of(reader: FeatureReader) -> list[str]:
    """Name the columns of the features that a reader gives: the layer and a number."""
    parts = list(zip(reader.layers, reader.widths, strict=True)) or [("features", reader.width)]
    return [f"{name}_{k}" for name, width in parts for k in range(width)]


def write_features(path: str | Path, ids: NDArray[np.str_], features: Floats, columns: Sequence[str]) -> Path:
    """Write a table of features, one row an image; whole or not at all.

    Args:
        path: Ends in ``.csv``, ``.parquet`` or ``.npz`` (``ids``, ``features``, ``columns``).
        ids: (N,) of the images.
        features: (N, D) float32.
        columns: D names.

    Raises:
        OptionError: Another ending.
        MissingPackageError: Parquet without pyarrow.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise OptionError(
            f"features cannot be written to {path.name!r}; expected a name ending in {', '.join(ENDINGS)}"
        )
    if ending == ".parquet":
        require_writer(path)
    with replacing(path) as new:
        if ending == ".npz":
            np.savez(new, ids=np.asarray(ids, np.str_), features=features, columns=np.asarray(columns, np.str_))
        elif ending == ".parquet":
            import pyarrow as pa
            import pyarrow.parquet as pq

            arrays = [pa.array(ids.tolist(), pa.string()), *(pa.array(np.ascontiguousarray(c)) for c in features.T)]
            pq.write_table(pa.Table.from_arrays(arrays, names=["id", *columns]), new)
        else:
            with new.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                file.writelines(_lines(ids, features, ["id", *columns]))
    return path


def _lines(ids: NDArray[np.str_], features: Floats, columns: list[str]) -> Iterator[str]:
    """Write some rows at a time: a table of numbers as text is many times as large as the numbers."""
    yield csv_text(columns, [])
    for start in itertools.count(0, 256):
        part = features[start : start + 256]
        if not len(part):
            return
        # str() of a NumPy number gives the digits that it has, and no more
        rows = (
            dict(zip(columns, [id_, *row], strict=True))
            for id_, row in zip(ids[start : start + 256].tolist(), part, strict=True)
        )
        yield csv_text(columns, rows).partition("\n")[2]
