"""What was read last: the same run asked about the same images again need not read them again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from numpy.typing import NDArray

Arrays = tuple[NDArray[Any], ...]

_MOST = 256_000_000  # bytes of all results together; a larger one is given and not kept

_kept: OrderedDict[Hashable, Arrays] = OrderedDict()
_lock = threading.Lock()


def recent(key: Hashable, make: Callable[[], Arrays]) -> Arrays:
    """Give arrays that were made under the same key in this process, or make them; the oldest are forgotten first.

    Args:
        key: All that determines the arrays.
        make: Makes them.

    Returns:
        The arrays; those that are kept are read-only.

    Examples:
        >>> import numpy as np
        >>> first = recent("a key of this example", lambda: (np.zeros(3, np.float32),))
        >>> recent("a key of this example", lambda: (np.ones(3, np.float32),))[0] is first[0]
        True
    """
    with _lock:
        if (found := _kept.get(key)) is not None:
            _kept.move_to_end(key)
            return found
    made = make()
    if sum(array.nbytes for array in made) > _MOST:
        return made
    for array in made:
        array.flags.writeable = False
    with _lock:
        _kept[key] = made
        while sum(array.nbytes for arrays in _kept.values() for array in arrays) > _MOST:
            _kept.popitem(last=False)
    return made
