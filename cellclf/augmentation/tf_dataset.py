"""Augmentation inside a `tf.data` pipeline."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import DataError

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter


def map_dataset(augmenter: Augmenter, dataset: Any, *, has_ids: bool, epoch: int | None) -> Any:
    """Do what `Augmenter.map` says."""
    import tensorflow as tf

    spec = dataset.element_spec
    members = spec if isinstance(spec, tuple) else (spec,)
    images = members[0]
    if (
        not isinstance(images, tf.TensorSpec)
        or images.shape.rank not in (3, 4)
        or images.shape[-1] != 3
        or None in images.shape[-3:]
        or images.dtype not in (tf.uint8, tf.float32)
    ):
        raise DataError(
            f"elements are {spec}; expected images or (images, labels, ...), uint8 or float32 (..., H, W, 3)"
        )
    if has_ids and len(members) < 2:
        raise DataError(f"elements are {spec}; has_ids=True wants the ids as their last member")
    batched = images.shape.rank == 4
    counter = itertools.count()

    def epochs() -> Iterator[np.int64]:
        # called once for each walk through the data set
        now = next(counter) if epoch is None else epoch
        while True:
            yield np.int64(now)

    def work(pictures: NDArray[Any], ids: NDArray[Any], now: NDArray[np.int64]) -> NDArray[Any]:
        # called from the pipeline's threads: inside its graph the compiled function would be inlined and lose
        # its compilation, which is three times slower; on the CPU, so that a GPU is left to the network
        texts = [i.decode() if isinstance(i, bytes) else str(i) for i in ids.tolist()]
        with tf.device("CPU:0"):
            return augmenter._in_blocks(pictures, texts, int(now), on_gpu=False)

    def number(before: Any, element: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        if has_ids:
            ids = element[-1] if batched else element[-1][None]
            return before, (element[:-1], ids)
        count = tf.shape(element[0], tf.int64)[0] if batched else tf.constant(1, tf.int64)
        return before + count, (element, tf.range(before, before + count))

    def one(numbered: tuple[Any, Any], now: Any) -> Any:
        element, ids = numbered
        pictures = element[0] if batched else element[0][None]
        done = tf.numpy_function(work, [pictures, ids, now], images.dtype, stateful=False)
        done = done if batched else done[0]
        done.set_shape(images.shape)
        rest = element[1:]
        return (done, *rest) if rest else done

    if not isinstance(spec, tuple):
        dataset = dataset.map(lambda pictures: (pictures,))
    numbered = dataset.scan(tf.constant(0, tf.int64), number)
    times = tf.data.Dataset.from_generator(epochs, output_signature=tf.TensorSpec((), tf.int64))
    done = tf.data.Dataset.zip((numbered, times)).map(one, num_parallel_calls=tf.data.AUTOTUNE)
    count = int(dataset.cardinality())  # the scan forgets it, and fit then warns that the input ran out
    return done.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else done
