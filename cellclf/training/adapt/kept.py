"""What an adaptation has read stays in its folder until it is finished: after a kill it is not read again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.errors import RunFolderError
from cellclf.runs.provenance import versions
from cellclf.utils.atomic import replacing
from cellclf.utils.npz_files import DamagedFile, read_npz

Arrays = tuple[NDArray[np.float32], ...]

_FOLDER = "features-read"


@dataclass(frozen=True)
class Kept:
    """Arrays in files of an unfinished run's folder, each file whole or not there.

    Args:
        folder: Of the run; None keeps nothing.
        key: All that determines the adaptation; what another one has read is never found.

    Examples:
        >>> import tempfile
        >>> kept = Kept(Path(tempfile.mkdtemp()), "a key")
        >>> first = kept.arrays({"zoom": 1.0}, lambda: (np.zeros(3, np.float32),))
        >>> kept.arrays({"zoom": 1.0}, lambda: (np.ones(3, np.float32),))[0].tolist()
        [0.0, 0.0, 0.0]
        >>> kept.clear()
        >>> list(kept.folder.iterdir())
        []
    """

    folder: Path | None = None
    key: str = ""

    def arrays(self, content: Mapping[str, Any], make: Callable[[], Arrays]) -> Arrays:
        """Give arrays that were kept, or make and keep them; where they cannot be kept, they are made all the same.

        Args:
            content: What, beside the key, determines them: plain data.
            make: Makes them.
        """
        if self.folder is None:
            return make()
        text = json.dumps([self.key, content, versions()], sort_keys=True)
        path = self.folder / _FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:40]}.npz"
        with suppress(DamagedFile):  # not there yet, or not whole
            found = read_npz(path)
            return tuple(found[f"part_{place}"] for place in range(len(found)))
        made = make()
        with suppress(OSError, RunFolderError), replacing(path) as new:  # a full disk: nothing is lost but time
            np.savez(new, **{f"part_{place}": part for place, part in enumerate(made)})  # type: ignore[arg-type]
        return made

    def clear(self) -> None:
        """Delete what was kept, and nothing else that somebody put there."""
        if self.folder is None or not (self.folder / _FOLDER).is_dir():
            return
        with suppress(OSError):  # some systems do not remove a file in use
            for path in (self.folder / _FOLDER).glob("*.npz"):
                path.unlink()
            (self.folder / _FOLDER).rmdir()
