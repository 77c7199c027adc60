"""Progress bars for work that takes long: drawn on a terminal or in a notebook, none in a file."""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from cellclf.errors import printable
from cellclf.utils.log import is_shown, logger

Item = TypeVar("Item")


def track(
    iterable: Iterable[Item],
    *,
    total: int | None = None,
    label: str = "",
    unit: str = "it",
    show: bool | None = None,
) -> Iterator[Item]:
    """Yield the items while a bar shows count, rate and time left.

    Args:
        iterable: The items.
        total: How many there are, where ``len`` does not work.
        label: What is being done, in front of the bar.
        unit: What one item is called in the rate.
        show: True or False to force the bar; None shows it on a terminal and in a notebook.

    Examples:
        >>> list(track([1, 2], label="reading"))
        [1, 2]
    """
    hidden = sys.stderr is None or not is_shown(show)  # without a console stderr is None
    if hidden:  # not even made: for a single image it would take as long as the network
        yield from iterable
        return
    yield from bars()(iterable, total=total, desc=printable(label), unit=unit, leave=False)


def bars() -> Any:
    """Give the class of the bars: widgets in a notebook that has ``ipywidgets``, else plain text."""
    import tqdm

    with warnings.catch_warnings():  # that ipywidgets is not installed is no news to whoever trains a network
        warnings.simplefilter("ignore", tqdm.TqdmWarning)
        import tqdm.auto
    return tqdm.auto.tqdm


@contextlib.contextmanager
def downloads() -> Iterator[None]:
    """Take what Keras prints while it downloads off stdout, which belongs to a command's result.

    Its first line goes to the logger; its bar to stderr, where that is a terminal or a notebook.

    Examples:
        >>> with downloads():
        ...     print("Downloading data from https://example.org/weights.h5")
    """
    with contextlib.redirect_stdout(_Downloads()):
        yield


class _Downloads(io.TextIOBase):
    encoding = "utf-8"  # Keras asks for it

    def __init__(self) -> None:
        self._bar = sys.stderr if sys.stderr is not None and is_shown(None) else None

    def isatty(self) -> bool:
        return self._bar is not None and self._bar.isatty()

    def write(self, text: str) -> int:
        if text.startswith("Downloading data from"):
            logger.info("d%s", text[1:].strip())
        elif self._bar is not None:
            self._bar.write(text)
        return len(text)

    def flush(self) -> None:
        if self._bar is not None:
            self._bar.flush()
