"""Files of boxes: VOC XML, one an image, and COCO JSON."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import Skipped
from cellclf.data.listing import Box, Listing
from cellclf.data.named_files import NamedFiles
from cellclf.errors import DataError, printable

_MOST_JSON = 20
_IMAGE_FOLDERS = (
    "JPEGImages",
    "images",
    "Images",
    "imgs",
    "img",
    "train2017",
    "val2017",
    "train",
    "val",
    "test",
    "data",
)


def list_annotations(files: Sequence[Path], root: Path | None = None, *, labels: bool = True) -> Listing:
    """Read the boxes of VOC XML files, one an image, or of one COCO JSON file.

    Args:
        files: The files.
        root: Where the images are; None looks beside the files and in the usual folders near them.
        labels: False reads no labels.

    Raises:
        DataError: Files of another kind.
    """
    listing = Listing([], [])
    finder = _Finder(root)
    for file in files:
        if file.suffix.lower() == ".json":
            _coco(file, finder, listing)
        else:
            _voc(file, finder, listing)
    _drop_repeated(listing)
    if not labels:
        listing.labels = []
    if not listing.paths:
        some = listing.skipped[:1]
        raise DataError(
            f"{files[0]} names no box"
            + (f"; {some[0].id}: {some[0].reason}" if some else "; expected VOC XML or COCO JSON")
        )
    return listing


def annotations_in(files: Iterable[str]) -> list[Path]:
    """Choose the files of boxes among those of a folder: all VOC XML files, else a COCO JSON file."""
    named = [Path(file) for file in files]
    xml = [file for file in named if file.suffix.lower() == ".xml"]
    if boxes := [file for file in xml if _is_voc(file)]:
        return boxes
    some = [file for file in named if file.suffix.lower() == ".json"]
    found = [file for file in some if _is_coco(file)] if len(some) <= _MOST_JSON else []  # else one an image
    if len(found) > 1:
        root = Path(os.path.commonpath([file.parent for file in found]))
        names = ", ".join(file.relative_to(root).as_posix() for file in found[:4])
        raise DataError(f"{root} holds {len(found)} COCO files ({names}); load one of them")
    return found


def _is_voc(file: Path) -> bool:
    """Whether a file begins as VOC XML does; that of CVAT has <annotations>."""
    try:
        with file.open("rb") as opened:
            return re.search(rb"<annotation[\s/>]", opened.read(2000)) is not None
    except OSError:
        return False


def _is_coco(file: Path) -> bool:
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and {"images", "annotations"} <= found.keys()


class _Finder:
    """Finds the image that an annotation names."""

    def __init__(self, root: Path | None) -> None:
        self.root = root
        self._hits: Counter[Path] = Counter()
        self._named: dict[Path, NamedFiles] = {}

    def find(self, name: str, file: Path, stem: str | None = None) -> str:
        """Give the path of an image; where there is none, the path where it was expected."""
        text = name.replace("\\", "/")
        last = text.split("/")[-1]
        if self.root is not None:
            folders = [self.root]
        else:
            near = [file.parent, file.parent.parent]
            folders = [*near, *(base / inner for base in near for inner in _IMAGE_FOLDERS)]
        folders.sort(key=lambda folder: -self._hits[folder])
        for folder in folders:
            for spelt in dict.fromkeys((text, last)):
                if spelt and (path := folder / spelt).is_file():
                    self._hits[folder] += 1
                    return os.path.normpath(path)
        for folder in folders:  # a name without its ending, or another one
            for begin in dict.fromkeys((os.path.splitext(last)[0], last, stem or "")):
                for ending in sorted(SUFFIXES) if begin else ():
                    for suffix in (ending, ending.upper()):
                        if (path := folder / f"{begin}{suffix}").is_file():
                            self._hits[folder] += 1
                            return os.path.normpath(path)
        for folder in folders if text and last else ():  # in another spelling, or as Label Studio calls it
            named = self._named.setdefault(folder, NamedFiles(folder, file.name))
            for spelt in dict.fromkeys((text, last, f"/upload/{last}")):
                if found := named.find([(spelt, "")]).files:
                    self._hits[folder] += 1
                    return next(iter(found.values()))
        return os.path.normpath(folders[0] / (text or stem or "?"))


def _voc(file: Path, finder: _Finder, listing: Listing) -> None:
    from xml.etree import ElementTree

    try:
        text = file.read_bytes()
        if b"<!ENTITY" in text or b"<!DOCTYPE" in text:
            raise ValueError("it declares entities, which VOC files never do")
        tree = ElementTree.fromstring(text)
    except (OSError, ValueError, ElementTree.ParseError) as error:
        listing.skipped.append(Skipped(printable(file.name), f"cannot be read as VOC XML: {error}"))
        return
    if tree.tag != "annotation":
        fix = ": export it from CVAT as VOC or COCO" if tree.tag == "annotations" else ""
        listing.skipped.append(Skipped(printable(file.name), f"not VOC XML: it holds <{tree.tag[:40]}>{fix}"))
        return
    path = finder.find((tree.findtext("filename") or "").strip(), file, file.stem)
    drawn_on = _drawn_on(tree.findtext("size/height"), tree.findtext("size/width"))
    objects = tree.findall("object")
    if not objects:
        listing.skipped.append(Skipped(printable(file.name), "names no object"))
    for k, one in enumerate(objects):
        label, box = (one.findtext("name") or "").strip(), one.find("bndbox")
        edges = [_float(box.findtext(edge)) for edge in ("xmin", "ymin", "xmax", "ymax")] if box is not None else [None]
        id_ = f"{printable(Path(path).name)}#{k}"
        if not label or any(edge is None for edge in edges):
            listing.skipped.append(Skipped(id_, "the object has no name or no box"))
            continue
        left, top, right, bottom = (edge for edge in edges if edge is not None)
        _add(listing, path, id_, label, Box(left, top, right, bottom, drawn_on=drawn_on))


def _coco(file: Path, finder: _Finder, listing: Listing) -> None:
    try:
        found = json.loads(file.read_bytes())
        # some programs write the same number as a number here and as a text there
        images = {str(image["id"]): str(image["file_name"]) for image in found["images"]}
        drawn_on = {str(image["id"]): _drawn_on(image.get("height"), image.get("width")) for image in found["images"]}
        names = {str(kind["id"]): str(kind["name"]) for kind in found.get("categories", [])}
        annotations = list(found["annotations"])
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError(
            f"{file}: not COCO JSON ({_kind_of_json(file, error)}); expected images, annotations and categories"
        ) from None
    relative = _refuse_corners(file, annotations, drawn_on)
    at: Counter[str] = Counter()
    paths: dict[str, str] = {}
    for one in annotations:
        name = images.get(str(one.get("image_id"))) if isinstance(one, dict) else None
        if name is None:
            listing.skipped.append(Skipped(file.name, "an annotation is of no image"))
            continue
        path = paths[name] if name in paths else paths.setdefault(name, finder.find(name, file))
        id_ = f"{printable(name)}#{at[name]}"
        at[name] += 1
        box = one.get("bbox")
        if one.get("iscrowd"):
            listing.skipped.append(Skipped(id_, "a crowd, not one cell"))
        elif not isinstance(box, list) or len(box) != 4 or any(_float(edge) is None for edge in box):
            listing.skipped.append(Skipped(id_, "the annotation has no box"))
        elif str(one.get("category_id")) not in names:
            listing.skipped.append(Skipped(id_, f"the category {one.get('category_id')!r} has no name"))
        else:
            left, top, width, height = map(float, box)
            size = None if relative else drawn_on[str(one["image_id"])]
            edges = Box(left, top, left + width, top + height, relative, drawn_on=size)
            _add(listing, path, id_, names[str(one["category_id"])], edges)
    without = len(images) - len(at)
    if without:
        listing.notices.append(f"{without:,} of {len(images):,} images of {file.name} have no box")


def _refuse_corners(file: Path, annotations: list[Any], sizes: dict[str, tuple[int, int] | None]) -> bool:
    """Refuse boxes that are two corners; tell whether they are fractions of the image's width and height."""
    boxes = []
    for one in annotations:
        box = one.get("bbox") if isinstance(one, dict) else None
        if isinstance(box, list) and len(box) == 4 and None not in (edges := [_float(edge) for edge in box]):
            size = sizes.get(str(one.get("image_id"))) or (math.inf, math.inf)
            boxes.append((*(edge or 0.0 for edge in edges), *size))
    inside = all(x < right <= wide + 1 and y < low <= high + 1 for x, y, right, low, high, wide in boxes)
    beyond = sum(x + width > wide + 1 or y + tall > high + 1 for x, y, width, tall, high, wide in boxes)
    if inside and beyond > len(boxes) / 4:
        raise DataError(
            f"the boxes of {file.name} look like two corners (xmin, ymin, xmax, ymax), and COCO has xmin, ymin, width, "
            f"height: read so, {beyond:,} of {len(boxes):,} reach beyond their image; write width and height"
        )
    return bool(boxes) and all(max(edges) <= 1 for *edges, _, _ in boxes)


def _kind_of_json(file: Path, error: Exception) -> str:
    """Say what a JSON file is that is no COCO, and how to load it."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return f"no JSON: {str(error)[:100]}"
    if isinstance(found, list) and found and isinstance(found[0], dict):
        first = found[0]
        if "annotations" in first or "completions" in first:
            return "tasks of Label Studio: export them as CSV or JSON-MIN"
        flat = not any(isinstance(value, dict | list) for value in first.values())
        fix = "pass load(pandas.DataFrame(json.load(open(path))))" if flat else "save it as a table with path and label"
        return f"a list of records with {', '.join(map(str, first))[:100]}: {fix}"
    if isinstance(found, dict) and found and all(isinstance(value, str | int) for value in found.values()):
        return "labels by name: save them as a table with the columns path and label"
    if isinstance(found, dict) and ("shapes" in found or "_via_img_metadata" in found):
        return "of LabelMe or VIA: export it as COCO"
    return f"{type(error).__name__}: {str(error)[:100]}"


def _drawn_on(height: Any, width: Any) -> tuple[int, int] | None:
    """Give the size of the image that a file of boxes names; LabelImg writes 0 where it could not tell."""
    tall, wide = _float(height), _float(width)
    return (int(tall), int(wide)) if tall and wide and tall > 0 and wide > 0 else None


def _add(listing: Listing, path: str, id_: str, label: str, box: Box) -> None:
    listing.paths.append(path)
    listing.ids.append(id_)
    listing.labels.append(label)
    listing.boxes.append(box)


def _drop_repeated(listing: Listing) -> None:
    """Keep one of equal boxes with one label; of equal boxes with two labels, none."""
    labels: dict[tuple[str, Box], list[str]] = {}
    for path, box, label in zip(listing.paths, listing.boxes, listing.labels, strict=True):
        labels.setdefault((path, box), []).append(label)
    seen: set[tuple[str, Box]] = set()
    kept: list[int] = []
    ids: Counter[str] = Counter()
    for k, key in enumerate(zip(listing.paths, listing.boxes, strict=True)):
        names = list(dict.fromkeys(labels[key]))
        if len(names) > 1:
            text = f"one box with the labels {names[0]!r} and {names[1]!r}: neither is taken"
            listing.skipped.append(Skipped(listing.ids[k], text))
        elif key in seen:
            listing.skipped.append(Skipped(listing.ids[k], "the same box as an earlier one"))
        else:
            kept.append(k)
        seen.add(key)
        ids[listing.ids[k]] += 1
    for texts in (listing.paths, listing.ids, listing.labels):
        texts[:] = [texts[k] for k in kept]
    listing.boxes = [listing.boxes[k] for k in kept]
    if any(count > 1 for count in ids.values()):  # two images of one name in two folders
        listing.ids = [
            f"{printable(path)}#{id_.rpartition('#')[2]}" for path, id_ in zip(listing.paths, listing.ids, strict=True)
        ]


def _float(value: Any) -> float | None:
    try:
        found = float(str(value).strip().replace(",", "."))
    except ValueError:
        return None
    return found if math.isfinite(found) else None
