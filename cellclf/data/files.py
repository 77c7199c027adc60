"""Reading a list of files: a guess at their common size first, so that pixels that have it can be kept at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cellclf.data.decode import FileSource, Reading, Scan, scan
from cellclf.data.fit import typical_size
from cellclf.data.held import HeldSource

_GUESSED_FROM = 64


def read_files(
    paths: Sequence[str],
    size: tuple[int, int] | None,
    reading: Reading,
    *,
    numbers: Sequence[int] | None = None,
    verify: bool = True,
    show: bool | None = None,
) -> tuple[HeldSource[FileSource], list[Scan]]:
    """Look at files, and keep what was decoded meanwhile and needs no resizing.

    Args:
        paths: The files.
        size: Height and width to bring them to; None takes that of a typical file among some.
        reading: How they are read.
        numbers: Which image of each file; None takes the first.
        verify: True decodes each file; False reads only the headers.
        show: True draws a progress bar, None only on a terminal.

    Returns:
        A source of all files, readable or not, and what each was found to be. If the typical size of all readable
        files turns out to be another one, the source gives them anew (``at_size``).
    """
    target = size or _guess(paths, reading, numbers)
    held = HeldSource(FileSource(paths, target, reading=reading, numbers=numbers))
    return held, scan(
        paths,
        verify=verify,
        show=show,
        reading=reading,
        numbers=numbers,
        keep=held.keep if verify else None,
        size=target,
    )


def _guess(paths: Sequence[str], reading: Reading, numbers: Sequence[int] | None) -> tuple[int, int]:
    """Give the typical size of some files, by their headers: to read all headers first would cost a third more."""
    some = np.linspace(0, len(paths) - 1, min(_GUESSED_FROM, len(paths))).astype(int).tolist()
    chosen = None if numbers is None else [numbers[k] for k in some]
    found = scan([paths[k] for k in some], verify=False, show=False, reading=reading, numbers=chosen)
    sizes = [one.size for one in found if one.size is not None]
    return typical_size(np.asarray(sizes, np.int64)) if sizes else (1, 1)
