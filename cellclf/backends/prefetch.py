"""Batches that a thread makes ready while the one before is trained on."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from cellclf.backends.protocol import Batch, Train

AHEAD = 2
"""Batches that wait, at most."""


class Prefetched:
    """Batches in the order in which they are made; each loop over them begins anew.

    Args:
        make: Begins anew and gives one batch after the other; what it raises is raised where the batches are used.
        count: How many there are.

    Examples:
        >>> list(Prefetched(lambda: iter([("a",), ("b",)]), 2))
        [('a',), ('b',)]
    """

    def __init__(self, make: Callable[[], Iterator[Any]], count: int) -> None:
        self.make = make
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Any]:
        ready: queue.Queue[Any] = queue.Queue(AHEAD)
        left = threading.Event()

        def put(what: Any) -> bool:
            """Wait for a free place; False where nobody takes any more."""
            while not left.is_set():
                try:
                    ready.put(what, timeout=0.1)
                except queue.Full:
                    continue
                return True
            return False

        def work() -> None:
            try:
                for batch in self.make():
                    if not put((batch, None)):
                        return
            except BaseException as error:  # raised below, in the thread that trains
                put((None, error))
            else:
                put((None, None))

        thread = threading.Thread(target=work, name="cellclf batches", daemon=True)
        thread.start()
        try:
            while True:
                batch, error = ready.get()
                if error is not None:
                    raise error
                if batch is None:
                    return
                yield batch
        finally:  # also when the epoch is stopped: nothing of it runs on
            left.set()
            thread.join()


def batches(
    make: Callable[[], Iterator[Batch]], entries: Sequence[tuple[tuple[int | None, ...], Any]], count: int
) -> Iterable[Batch]:
    """Make batches ready in a thread; see ``Backend.batches``."""
    return Prefetched(make, count)


def one_by_one(train: Train) -> Train:
    """Give what trains on single batches, from what trains on groups of them."""

    def single(batches: Iterable[Batch], begin: Callable[[], None], after: Callable[[int], bool]) -> None:
        train((tuple(entries[None] for entries in batch) for batch in batches), begin, after)

    return single
