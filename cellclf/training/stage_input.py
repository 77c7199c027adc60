"""What a stage trains on and is judged on: the images, or features of them that are computed once."""

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

from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError
from cellclf.runs.features.cache import Cache, Cached, Caching, Features, free_bytes, in_words, key_of, sweep
from cellclf.runs.predict import filled
from cellclf.training.split_model import Cut, cut_for
from cellclf.training.stage import Stage
from cellclf.training.stage_input import Stream
from cellclf.utils.locks import scratch
from cellclf.utils.progress import track

FILL = 128
"""Images at a time that go through the frozen part."""


@dataclass(frozen=True, eq=False)
class Feed:
    """What a stage works with.

    Args:
        model: What is fitted: the classifier, or its tail.
        judge: Shares its layers and is never compiled: gives the probabilities that are scored.
        stream: The training batches.
        val: What ``judge`` takes of the validation images.
        shifted: The same of their altered copy; None where there is none.
        cache: Holds the features; None if the stage trains on images.
        cached: What of them others can use.
        told: One line about it; empty if nobody asked for a cache.
    """

    model: Any
    judge: Any
    stream: Stream
    val: ImageSet | Features
    shifted: ImageSet | Features | None
    cache: Cache | None = None
    cached: Cached | None = None
    told: str = ""

    def prepare(self) -> float:
        """Fill the cache if there is one and it is not there yet; give the seconds that it took."""
        started = time.perf_counter()
        if self.cache is not None:
            self.cache.open()
        return time.perf_counter() - started


@contextmanager
def feeding(plain: Feed, stage: Stage, blocks: Sequence[Sequence[Any]], caching: Caching) -> Iterator[Feed]:
    """Give a stage its feed: cached features where they spare work, else the images.

    A cache is written when it is first read, and stays when the stage is interrupted.

    Args:
        plain: The classifier and its images; the layers that do not learn are frozen already.
        stage: Which stage.
        blocks: The layers of each block of the backbone, from the input on.
        caching: Whether and where.
    """
    if caching.mode is None:
        yield plain
        return
    with scratch() if caching.folder is None else nullcontext(caching.folder) as folder:
        try:
            feed = _cached(plain, stage, blocks, caching, folder)
        except OptionError as error:
            feed = replace(plain, told=f"no feature cache: {error}")
        try:
            yield feed
        finally:
            if feed.cache is not None:
                feed.cache.close()
        if feed.cache is not None and not caching.kept:
            shutil.rmtree(folder, ignore_errors=True)


def _cached(plain: Feed, stage: Stage, blocks: Sequence[Sequence[Any]], caching: Caching, folder: Path) -> Feed:
    """Make the feed of cached features, or raise OptionError with the reason why not."""
    import keras

    stream, augmented = plain.stream, plain.stream.augmenter is not None
    assert isinstance(plain.val, ImageSet)
    assert not isinstance(plain.shifted, Features)
    if stream.mix is not None or stream.views > 1:
        what = "mix blends the images of a batch" if stream.mix is not None else "consistency compares fresh views"
        raise OptionError(f"{what}, so the whole network must see them")
    cut = cut_for(plain.model, blocks, stage.unfreeze)
    views = min(caching.cached_views, stage.epochs) if augmented else 1
    if caching.mode == "auto" and augmented and views == 1 < stage.epochs:
        raise OptionError(
            "it would show each image in one augmented view only; cached_views=6 holds six, cache='disk' wants one"
        )
    if caching.mode == "auto" and views >= stage.epochs:
        raise OptionError(f"{stage.epochs} epochs take no more passes than filling it")
    cache = _cache(plain, cut, views, caching, folder)
    sweep(folder, after=3600 if caching.kept else 0)
    found = cache.exists()
    if not found:
        if cache.size > caching.limit:
            raise OptionError(f"its {in_words(cache.size)} are more than cache_limit={in_words(caching.limit)}")
        if cache.size > (free := free_bytes(folder)):
            raise OptionError(f"its {in_words(cache.size)} do not fit on the disk ({in_words(free)} free)")
    count = len(stream.cells)
    val = Features(cache, count * views, len(plain.val))
    shifted = None if plain.shifted is None else Features(cache, count * views + len(plain.val), len(plain.shifted))
    train = Features(cache, 0, count, views)
    return Feed(
        model=cut.tail,
        judge=keras.Model(cut.tail.inputs, cut.tail.outputs),
        stream=replace(stream, augmenter=None, features=train),
        val=val,
        shifted=shifted,
        cache=cache,
        cached=Cached(cut.layer, None if augmented else train, val),
        told=f"feature cache of {in_words(cache.size)} {'found ' if found else ''}in {folder}"
        f"{f', {views} views of each image' if views > 1 else ''}; the frozen part (up to {cut.layer}) runs "
        f"{0 if found else views} instead of {stage.epochs} times over {count:,} images",
    )


def _cache(plain: Feed, cut: Cut, views: int, caching: Caching, folder: Path) -> Cache:
    features = cut.front.outputs[0]
    kind = str(features.dtype)
    dtype = np.dtype(kind if kind in ("float16", "float32") else "float32")
    content = {**caching.content, "layer": cut.layer, "views": views, "dtype": dtype.str}
    sets = [plain.stream.cells] * views + [plain.val] + [plain.shifted] * (plain.shifted is not None)
    return Cache(
        path=folder / f"features-{key_of(content, cut.front)[:40]}.npy",
        shape=(sum(len(cells) for cells in sets if cells is not None), *features.shape[1:]),
        dtype=dtype,
        make=lambda: _features(cut.front, plain, views),
        limit=caching.limit,
    )


def _features(front: Any, plain: Feed, views: int) -> Iterator[NDArray[Any]]:
    """Run the frozen part: over each view of the training images, the validation images, their altered copy."""
    import tensorflow as tf

    cells, augmenter = plain.stream.cells, plain.stream.augmenter
    parts: list[tuple[Any, int | None]] = [(cells, None if augmenter is None else view) for view in range(views)]
    parts += [(part, None) for part in (plain.val, plain.shifted) if part is not None]
    places = [(part, view, start) for part, view in parts for start in range(0, len(part), FILL)]
    entries = tf.TensorSpec((FILL, *cells.image_shape), tf.uint8)
    run = tf.function(lambda images: front(images, training=False), autograph=False).get_concrete_function(entries)

    def prepare(place: tuple[Any, int | None, int]) -> NDArray[np.uint8]:
        part, view, start = place
        rows = np.arange(start, min(start + FILL, len(part)))
        images: NDArray[np.uint8] = part.read(rows)
        return images if view is None or augmenter is None else augmenter(images, part.ids[rows], view)

    with ThreadPoolExecutor(1) as ahead:  # the next are read and augmented while these are in the network
        coming = ahead.submit(prepare, places[0])
        for following in track([*places[1:], None], total=len(places), label="filling the feature cache", unit="batch"):
            images = coming.result()
            if following is not None:
                coming = ahead.submit(prepare, following)
            yield np.asarray(run(tf.constant(filled(images, FILL))))[: len(images)]
