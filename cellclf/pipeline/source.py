"""The images of a run, read again from what its manifest says of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cellclf.data.image_set import ImageSet
from cellclf.data.loaders import load
from cellclf.errors import RunFolderError
from cellclf.runs.folder import reading_of


def read_source(source: Mapping[str, Any] | None, folder: str | Path) -> ImageSet:
    """Read the images that an entry ``source`` of a manifest describes.

    Args:
        source: The arguments of ``load``, or ``{"made": ...}`` those of ``make_cells``.
        folder: Of the run, for the message.

    Raises:
        RunFolderError: It names no images.
        DataError: They cannot be read.
    """
    if source and "made" in source:
        from cellclf.data.generated import make_cells

        return make_cells(**source["made"])
    if not source or "src" not in source:
        raise RunFolderError(
            f"the run in {folder} does not name the source of its images; give them: "
            "cellclf.rerun(folder, cells=...), or on the command line --src SRC"
        )
    size = tuple(source["size"]) if "size" in source else None
    given = {
        name: source[name]
        for name in ("part", "class_names", "columns", "root", "group_from", "margin")
        if name in source
    }
    cells: ImageSet = load(source["src"], size=size, **given, **reading_of({"source": source}))
    return cells
