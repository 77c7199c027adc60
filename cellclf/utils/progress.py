"""Progress of long work: a bar on a terminal or in a notebook, silence in a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cellclf.utils.log import is_shown

Item = TypeVar("Item")


def track(
    iterable: Iterable[Item],
    *,
    total: int | None = None,
    label: str = "",
    unit: str = "it",
    show: bool | None = None,
) -> Iterator[Item]:
    """Yield the items while a bar with count, rate and time left is drawn.

    Args:
        iterable: What to walk through.
        total: How many items there are, if ``len`` does not know.
        label: What is being done, in front of the bar.
        unit: What one item is called in the rate.
        show: True or False to force the bar; None shows it on a terminal and in a notebook.

    Examples:
        >>> list(track([1, 2], label="reading"))
        [1, 2]
    """
    import tqdm.auto

    hidden = sys.stderr is None or not is_shown(show)  # without a console stderr is None
    yield from tqdm.auto.tqdm(iterable, total=total, desc=label, unit=unit, disable=hidden, leave=False)
