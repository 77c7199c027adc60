"""Augmentation inside a `tf.data` pipeline that a user hands in, whatever Keras runs on."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.backends import current
from cellclf.errors import DataError


def map_dataset(
    augment: Callable[[NDArray[Any], list[str], int], NDArray[Any]],
    dataset: Any,
    *,
    check: Callable[[NDArray[Any]], None],
    has_ids: bool,
    epoch: int | None,
) -> Any:
    """Map a function of images, ids and epoch over a data set; see `Augmenter.map`.

    Args:
        augment: From images, their ids and the epoch to images of the same shape and type. It is called from the
            pipeline's threads.
        dataset: See `Augmenter.map`.
        check: Refuses the first images where they are floats of another range.
        has_ids: See `Augmenter.map`.
        epoch: See `Augmenter.map`.

    Raises:
        DataError: No such data set, or elements of another form.
    """
    if "tensorflow" not in sys.modules:  # then it is none of its data sets, and TensorFlow need not be installed
        raise _no_dataset(dataset)
    import tensorflow as tf

    if not isinstance(dataset, tf.data.Dataset):
        raise _no_dataset(dataset)
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
        raise DataError(f"elements are {spec}; expected the ids as their last member, or has_ids=False")
    if images.dtype == tf.float32:
        for element in dataset.take(1):
            first = element[0] if isinstance(element, tuple) else element
            check(first.numpy())
    batched = images.shape.rank == 4
    counter = itertools.count()

    def epochs() -> Iterator[np.int64]:
        # a generator starts anew each time that the data set is iterated over: that is an epoch
        now = next(counter) if epoch is None else epoch
        while True:
            yield np.int64(now)

    def work(batch: NDArray[Any], ids: NDArray[Any], now: NDArray[np.int64]) -> NDArray[Any]:
        # a plain function, not a part of the pipeline's graph: there the compiled function would be inlined and lose
        # its compilation, which is three times slower; on the CPU, so that a GPU is left to the network
        texts = [i.decode() if isinstance(i, bytes) else str(i) for i in ids.tolist()]
        with current().on_processor():
            return augment(batch, texts, int(now))

    def number(before: Any, element: tuple[Any, ...]) -> tuple[Any, tuple[Any, ...]]:
        if has_ids:
            ids = element[-1] if batched else element[-1][None]
            return before, (element[:-1], ids)
        count = tf.shape(element[0], tf.int64)[0] if batched else tf.constant(1, tf.int64)
        return before + count, (element, tf.range(before, before + count))

    def one(numbered: tuple[Any, Any], now: Any) -> Any:
        element, ids = numbered
        batch = element[0] if batched else element[0][None]
        done = tf.numpy_function(work, [batch, ids, now], images.dtype, stateful=False)
        done = done if batched else done[0]
        done.set_shape(images.shape)
        rest = element[1:]
        return (done, *rest) if rest else done

    if not isinstance(spec, tuple):
        dataset = dataset.map(lambda images: (images,))
    numbered = dataset.scan(tf.constant(0, tf.int64), number)
    now = tf.data.Dataset.from_generator(epochs, output_signature=tf.TensorSpec((), tf.int64))
    done = tf.data.Dataset.zip((numbered, now)).map(one, num_parallel_calls=tf.data.AUTOTUNE)
    count = int(dataset.cardinality())  # the scan forgets it, and fit then warns that the input ran out
    return done.apply(tf.data.experimental.assert_cardinality(count)) if count >= 0 else done


def _no_dataset(given: object) -> DataError:
    return DataError(
        f"got {type(given).__name__}; expected a tf.data.Dataset of images. Arrays are augmented by a call: "
        "augmenter(images, ids, epoch)"
    )
