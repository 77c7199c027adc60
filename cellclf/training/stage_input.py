"""The input of a stage: images, or features of them that are computed once and cached."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.runs.features.cache import Cache, Caching, Features, free_bytes, key_of, size_text, sweep
from cellclf.runs.predict import padded
from cellclf.training.batches import Batches
from cellclf.training.split_model import SplitModel, split_for_stage
from cellclf.training.stage import Stage
from cellclf.utils.locks import scratch
from cellclf.utils.progress import track

FILL_BATCH = 128
"""Images at a time that the frozen part takes."""


@dataclass(frozen=True, eq=False)
class StageInput:
    """What a stage trains and what it takes.

    Args:
        model: What is trained: the classifier, or its tail.
        predictor: Shares its layers and is never compiled: gives the probabilities that are scored.
        batches: The training batches.
        val: What ``predictor`` takes of the validation images.
        shifted: The same of their altered copy; None where there is none.
        cache: Holds the features; None if the stage trains on images.
        notice: One line about the cache; empty if none was asked for.
        smaller: Whether ``model`` sees smaller images than ``predictor``, so that features of the one are of no use to
            the other.
    """

    model: Any
    predictor: Any
    batches: Batches
    val: ImageSet | Features
    shifted: ImageSet | Features | None
    cache: Cache | None = None
    notice: str = ""
    smaller: bool = False

    def prepare(self) -> float:
        """Fill the cache if there is one and it is not there yet; give the seconds that it took."""
        started = time.perf_counter()
        if self.cache is not None:
            self.cache.open()
        return time.perf_counter() - started


@contextmanager
def stage_input(
    plain: StageInput, stage: Stage, blocks: Sequence[Sequence[Any]], caching: Caching, *, show: bool | None = None
) -> Iterator[StageInput]:
    """Give the input of a stage: cached features where they save work, else the images.

    A cache is written when it is first read, and kept when the stage is interrupted.

    Args:
        plain: The classifier and its images; the layers that are not trained are frozen already.
        stage: Which stage.
        blocks: The layers of each block of the backbone, from the input on.
        caching: Whether and where features are cached.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.
    """
    if caching.mode is None:
        yield plain
        return
    with scratch() if caching.place is None else nullcontext(caching.place) as folder:
        try:
            given = _cached(plain, stage, blocks, caching, folder, show)
        except OptionError as error:
            given = replace(plain, notice=f"no feature cache: {error}")
        try:
            yield given
        finally:
            if given.cache is not None:
                given.cache.close()
        if given.cache is not None and not caching.kept:
            shutil.rmtree(folder, ignore_errors=True)


def _cached(
    plain: StageInput,
    stage: Stage,
    blocks: Sequence[Sequence[Any]],
    caching: Caching,
    folder: Path,
    show: bool | None,
) -> StageInput:
    """Make the input of cached features, or raise OptionError with the reason why not."""
    import keras

    batches, augmented = plain.batches, plain.batches.augmenter is not None
    assert isinstance(plain.val, ImageSet)
    assert not isinstance(plain.shifted, Features)
    if batches.mix is not None or batches.views > 1:
        what = "mix blends the images of a batch" if batches.mix is not None else "consistency compares new views"
        raise OptionError(f"{what}, so every epoch must compute all layers")
    if augmented and stage.strength_changes:
        raise OptionError("strength changes with each epoch, so every epoch augments anew")
    parts = split_for_stage(plain.model, blocks, stage.unfreeze)
    views = min(caching.views, stage.epochs) if augmented else 1
    if caching.mode == "auto" and augmented and views == 1 < stage.epochs:
        raise OptionError(
            "it would hold only one augmented view of each image; expected Cache(views=6), or mode='disk' for one"
        )
    if caching.mode == "auto" and views >= stage.epochs:
        raise OptionError(f"filling it takes as many passes as {stage.epochs} epochs")
    cache = _cache(plain, parts, views, caching, folder, show)
    sweep(folder, after=3600 if caching.kept else 0)
    found = cache.exists()
    if not found:
        if cache.size > caching.limit:
            raise OptionError(
                f"it needs {size_text(cache.size)}, more than the cache's limit={size_text(caching.limit)}"
            )
        if cache.size > (free := free_bytes(folder)):
            raise OptionError(f"it needs {size_text(cache.size)}, and the disk has {size_text(free)} free")
    count = len(batches.cells)
    val: ImageSet | Features = plain.val
    shifted: ImageSet | Features | None = plain.shifted
    if not plain.smaller:
        val = Features(cache, count * views, len(plain.val))
        shifted = None if plain.shifted is None else Features(cache, count * views + len(plain.val), len(plain.shifted))
    train = Features(cache, 0, count, views)
    return StageInput(
        model=parts.tail,
        predictor=plain.predictor if plain.smaller else keras.Model(parts.tail.inputs, parts.tail.outputs),
        batches=replace(batches, augmenter=None, features=train),
        val=val,
        shifted=shifted,
        cache=cache,
        notice=f"feature cache of {size_text(cache.size)} {'found ' if found else ''}in {folder}"
        f"{f', {views} views of each image' if views > 1 else ''}; the frozen part (up to {parts.layer}) runs "
        f"{0 if found else views} instead of {stage.epochs} times over {count:,} images",
    )


def _cache(
    plain: StageInput, parts: SplitModel, views: int, caching: Caching, folder: Path, show: bool | None
) -> Cache:
    features = parts.front.outputs[0]
    kind = str(features.dtype)
    dtype = np.dtype(kind if kind in ("float16", "float32") else "float32")
    content = {**caching.content, "layer": parts.layer, "views": views, "dtype": dtype.str}
    if (augmenter := plain.batches.augmenter) is not None:
        content["strength"] = augmenter.strength  # of the stage
    count = sum(len(cells) for cells in _scored(plain)) + len(plain.batches.cells) * views
    return Cache(
        path=folder / f"features-{key_of(content, parts.front)[:40]}.npy",
        shape=(count, *features.shape[1:]),
        dtype=dtype,
        make=lambda: _features(parts.front, plain, views, show),
        limit=caching.limit,
    )


def _scored(plain: StageInput) -> list[Any]:
    """List the sets whose features are cached beside those of the training images."""
    return [] if plain.smaller else [cells for cells in (plain.val, plain.shifted) if cells is not None]


def _features(front: Any, plain: StageInput, views: int, show: bool | None) -> Iterator[NDArray[Any]]:
    """Run the frozen part: over each view of the training images, the validation images, their altered copy."""
    cells, augmenter = plain.batches.cells, plain.batches.augmenter
    parts: list[tuple[Any, int | None]] = [(cells, None if augmenter is None else view) for view in range(views)]
    parts += [(part, None) for part in _scored(plain)]
    places = [(part, view, start) for part, view in parts for start in range(0, len(part), FILL_BATCH)]
    run = current().forward(front, FILL_BATCH)

    def prepare(place: tuple[Any, int | None, int]) -> NDArray[np.uint8]:
        part, view, start = place
        rows = np.arange(start, min(start + FILL_BATCH, len(part)))
        images: NDArray[np.uint8] = part.read(rows)
        return images if view is None or augmenter is None else augmenter(images, part.ids[rows], view)

    with ThreadPoolExecutor(1) as ahead:  # the next are read and augmented while these are in the network
        coming = ahead.submit(prepare, places[0])
        following_places = track(
            [*places[1:], None], total=len(places), label="filling the feature cache", unit="batch", show=show
        )
        for following in following_places:
            images = coming.result()
            if following is not None:
                coming = ahead.submit(prepare, following)
            yield np.asarray(run(padded(images, FILL_BATCH)))[: len(images)]
