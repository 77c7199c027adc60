"""What a user types for a source: addresses and quotes round a path; of a path that is not there, what is near it."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path
from urllib.parse import unquote

from cellclf.errors import DataError, printable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+")
_MOST_NAMES = 2_000


def local_path(src: str) -> str:
    """Give the path of a ``file://`` address, or of a path in quotation marks; every other text as it is.

    Args:
        src: As the user gave it.

    Raises:
        DataError: An address of the web or of a cloud store.

    Examples:
        >>> local_path("file:///data/my%20cells"), local_path("cells/a.npz:train")
        ('/data/my cells', 'cells/a.npz:train')
    """
    if len(src) > 2 and src[0] == src[-1] and src[0] in "\"'" and not os.path.exists(src):
        src = src[1:-1]
    scheme = _SCHEME.match(src)
    if scheme is None or os.path.exists(src):
        return src
    if scheme[1].casefold() != "file":
        raise DataError(f"{printable(src)!r} is an address, and nothing is fetched: download it, and load the file")
    path = unquote(src[len("file:") :]).removeprefix("//").removeprefix("localhost")
    return path[1:] if os.name == "nt" else path


def near_path(path: Path) -> str:
    """Name what is nearest to a path that is not there, "" if nothing is near: where it ends, or another spelling.

    Args:
        path: Where nothing is.
    """
    if os.name != "nt" and re.match(r"[A-Za-z]:[\\/]|\\\\", str(path)):
        return ", a path of Windows, and this is another computer"
    if re.search(r"\$\{?\w|%\w+%", str(path)):
        return f": the variable in it was not replaced (os.path.expandvars({str(path)!r}))"
    above = path
    while not above.exists() and above != above.parent:
        path, above = above, above.parent
    try:
        names = sorted(os.listdir(above))[:_MOST_NAMES]
    except OSError:
        return ""
    folded = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(path.name.casefold(), folded, n=1, cutoff=0.75)
    return f", but there is {printable(str(above / folded[near[0]]))!r}" if near else ""
