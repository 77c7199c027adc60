"""Masks that lie beside their images, which are no images of cells: by the names of files and folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

IMAGE_FOLDERS = frozenset({"images", "image", "imgs", "img", "jpegimages"})
_MASK_FOLDERS = frozenset(
    {"mask", "masks", "segmentation", "segmentations", "segmentationclass", "segmentationobject", "gt", "groundtruth"}
    | {"labels", "annotations", "outlines"}
)
_MASK = re.compile(
    r"(.+?)[ _.-]+(?:(?:cp_)?(?:masks?|outlines?|flows)|seg|segm|segmentation|gt|groundtruth)[ _-]?\d*", re.I
)


def mask_folders(folders: Iterable[str]) -> list[str]:
    """Give those of some folders beside each other that hold masks: only where there is one of images, too.

    Examples:
        >>> mask_folders(["images", "masks"]), mask_folders(["monocyte", "masks"])
        (['masks'], [])
    """
    names = {name.casefold(): name for name in folders}
    if not IMAGE_FOLDERS & {*names}:
        return []
    return sorted(name for folded, name in names.items() if folded.replace("_", "").replace(" ", "") in _MASK_FOLDERS)


def masks_among(ids: Sequence[str]) -> dict[str, str]:
    """Find masks among the images of a folder.

    Args:
        ids: Paths with slashes, relative to one folder.

    Returns:
        Each path of a mask -> what it belongs to: an image in the same folder, or a folder beside its own.

    Examples:
        >>> masks_among(["a/cell (1).png", "a/cell (1)_mask.png", "a/cell_mask.png"])
        {'a/cell (1)_mask.png': 'a/cell (1).png'}
        >>> masks_among(["b/images/1.png", "b/masks/1.png"])
        {'b/masks/1.png': 'b/images'}
    """
    stems = {os.path.splitext(id_)[0].casefold(): id_ for id_ in ids}
    inside: dict[str, set[str]] = {}
    for id_ in ids:
        parts = id_.split("/")[:-1]
        for depth, part in enumerate(parts):
            inside.setdefault("/".join(parts[:depth]), set()).add(part)
    masks = {above: {*mask_folders(names)} for above, names in inside.items()}
    found = {}
    for id_ in ids:
        folder, _, name = id_.rpartition("/")
        begin = _MASK.fullmatch(os.path.splitext(name)[0])
        image = stems.get(f"{folder}/{begin[1]}".lstrip("/").casefold()) if begin else None
        if image is not None:
            found[id_] = image
            continue
        parts = id_.split("/")[:-1]
        for depth, part in enumerate(parts):
            above = "/".join(parts[:depth])
            if part in masks[above]:
                beside = next(name for name in sorted(inside[above]) if name.casefold() in IMAGE_FOLDERS)
                found[id_] = f"{above}/{beside}".lstrip("/")
                break
    return found
