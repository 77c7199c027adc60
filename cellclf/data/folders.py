"""Folders of images: what is a class, a patient, a part, and what a camera, a NAS or a Mac left beside the images."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from cellclf.data.annotations import annotations_in, list_annotations
from cellclf.data.columns import natural_order
from cellclf.data.decode import SUFFIXES
from cellclf.data.image_set import Skipped
from cellclf.data.listing import Listing
from cellclf.data.masks import IMAGE_FOLDERS, mask_folders, masks_among
from cellclf.data.opening import begins_as_image
from cellclf.data.other_files import described
from cellclf.data.parts import FILLERS, are_parts, choose, part_kind
from cellclf.data.path_patterns import PathPattern
from cellclf.errors import DataError, printable, unknown

_JUNK = {
    "@eadir": "thumbnails of a NAS",
    ".@__thumb": "thumbnails of a NAS",
    "@recycle": "a NAS's recycle bin",
    "#recycle": "a NAS's recycle bin",
    "$recycle.bin": "Windows' recycle bin",
    "system volume information": "Windows",
    "__macosx": "a Mac's zip",
    ".appledouble": "a Mac",
    ".ds_store": "a Mac",
    ".spotlight-v100": "a Mac",
    ".trashes": "a Mac",
    "thumbs.db": "Windows' thumbnails",
    "ehthumbs.db": "Windows' thumbnails",
    "desktop.ini": "Windows",
    "lost+found": "a disk check",
    ".ipynb_checkpoints": "Jupyter",
}
_TABLES = (".csv", ".tsv", ".parquet", ".xlsx", ".json", ".jsonl")
_CELL_WORDS = re.compile(
    r"phil|cyt|blast|cell|platelet|thromb|normal|benign|malign|infect|parasit|artifact|artefact|debris|smudge|band"
    r"|segment|mono|lymph|leuk|anemi|control|healthy|positive|negative|round|lobed|other|unknown"
)
_PATIENT_WORDS = re.compile(
    r"(^|[^a-z])(patien|pacien|pazien|subject|donor|slide|case|specimen|animal|mouse|proband|participant|person|smear|wsi)"
)


def junk(name: str) -> str | None:
    """Say what left a file or folder that is no part of a data set; None for what may be one.

    Examples:
        >>> junk("@eaDir"), junk("._cell.png"), junk("cell.png")
        ('thumbnails of a NAS', 'a Mac', None)
    """
    found = _JUNK.get(name.casefold())
    return found or ("a Mac" if name.startswith("._") else None)


class _Walk:
    """The images below a folder, each once, and what else is there."""

    def __init__(self, root: Path, listing: Listing) -> None:
        self.root = root
        self.listing = listing
        self.left: Counter[str] = Counter()
        self.hidden: list[str] = []
        self._above = os.path.join(root, "")
        self._ids: dict[str, str] = {}

    def id(self, path: str) -> str:
        """Give the path within the root, printable, with slashes."""
        if (known := self._ids.get(path)) is None:  # asked for several times for each file
            known = self._ids[path] = printable(path.removeprefix(self._above)).replace(os.sep, "/")
        return known

    def ignored(self, folder: str, name: str) -> bool:
        """Whether a name is hidden, or left by another program; both are reported, hidden ones if they hold images."""
        if junk(name) is not None:
            self.left[name if not name.startswith("._") else "._*"] += 1
            return True
        if name.startswith(".") and _holds_image(path := os.path.join(folder, name)):
            self.hidden.append(self.id(path))
        return name.startswith(".")

    def below(self, folder: str) -> list[str]:
        """List the images below a folder; links are followed, but not to a folder above."""

        def closed(error: OSError) -> None:
            text = f"the folder cannot be listed: {error.strerror}"
            self.listing.skipped.append(Skipped(self.id(error.filename), text))

        images: list[str] = []
        seen: dict[str, str] = {}
        top = os.path.join(os.path.realpath(self.root), "")
        for here, folders, files in os.walk(folder, onerror=closed, followlinks=True):
            real = os.path.realpath(here)
            if here != folder and top.startswith(os.path.join(real, "")):
                text = "a link to a folder above, which would be followed without end"
                self.listing.skipped.append(Skipped(self.id(here), text))
                seen[real] = ""
            elif real in seen:
                text = f"a link to the folder {self.id(seen[real])!r}, which is read already"
                self.listing.skipped.append(Skipped(self.id(here), text))
            folders[:] = [] if real in seen else [name for name in folders if not self.ignored(here, name)]
            folders.sort(key=lambda name: (os.path.islink(os.path.join(here, name)), name))
            if real not in seen:
                paths = (os.path.join(here, name) for name in sorted(files) if not self.ignored(here, name))
                images += [path for path in paths if self.is_image(path)]
            seen.setdefault(real, here)
        return self.without_masks(images)

    def without_masks(self, paths: list[str]) -> list[str]:
        """Leave out masks, and list them as skipped."""
        of = masks_among([self.id(path) for path in paths])
        self.listing.skipped += [Skipped(id_, f"a mask, as it is called: it belongs to {of[id_]!r}") for id_ in of]
        return [path for path in paths if self.id(path) not in of] if of else paths

    def is_image(self, path: str) -> bool:
        """Whether the suffix is that of an image; else the file is listed as skipped."""
        suffix = os.path.splitext(path.rstrip(" ."))[1]
        if suffix.lower() in SUFFIXES:
            return True
        if (not suffix or suffix[1:].isdecimal()) and begins_as_image(path):  # cell_12, cell.12
            return True
        if os.path.islink(path) and not os.path.exists(path):
            reason = "a link that leads nowhere"
        else:
            reason = described(path) or f"not an image: the suffix is {suffix or 'missing'}"
        self.listing.skipped.append(Skipped(self.id(path), reason))
        return False

    def notices(self) -> list[str]:
        """Say what other programs left, and what is hidden."""
        found = []
        if self.left:
            some = ", ".join(f"{name} ({count:,}, {junk(name)})" for name, count in sorted(self.left.items()))
            found.append(f"ignored what other programs left in {self.root.name or self.root}: {some}")
        if self.hidden:
            some = ", ".join(self.hidden[:3]) + (f" and {len(self.hidden) - 3:,} more" if len(self.hidden) > 3 else "")
            found.append(
                f"ignored as hidden, because their names begin with a dot: {some}; rename what belongs to the set"
            )
        return found


def _holds_image(path: str) -> bool:
    """Whether a hidden file is an image, or a hidden folder holds one; of a large folder only a part is searched."""
    files = [(path, [], [path])] if not os.path.isdir(path) else itertools.islice(os.walk(path), 100)
    return any(os.path.splitext(name)[1].lower() in SUFFIXES for _, _, names in files for name in names[:1000])


def list_folder(
    folder: Path,
    part: str | None = None,
    *,
    labels: bool = True,
    pattern: PathPattern | None = None,
    root: Path | None = None,
) -> Listing:
    """Find the images below a folder; each folder in it is a class, with all images below it.

    Links are followed, but not to a folder above; names that begin with a dot are hidden and ignored. A single folder
    that holds the class folders is passed through, and of patients above classes the patients are the groups, both
    with a notice.

    Args:
        folder: The folder.
        part: The folder in it that holds the classes, such as ``"train"``; also one that each class has.
        labels: False takes the images at any depth, whatever their folders are called.
        pattern: Says which folders are labels and groups.
        root: Where the images of VOC XML or COCO JSON files in the folder are, if not beside them.

    Raises:
        DataError: No image, or folders that are parts.
        UnknownNameError: No such part.
    """
    base, within = (folder, "") if part is None else _part_folder(folder, part)
    listing = Listing([], [])
    walk = _Walk(base, listing)
    paths = [path for path in walk.below(str(base)) if not within or f"/{within}/" in walk.id(path)]
    if annotated := annotations_in(os.path.join(base, skipped.id) for skipped in listing.skipped):
        return _of_annotations(annotated, paths, walk, root, labels=labels)
    _refuse_empty(base, paths, walk)
    if pattern is None and labels:
        _refuse_yolo(paths, walk)
        _refuse_masks(walk)
        _by_folder(paths, walk, within)
    else:
        if pattern is None:
            listing.paths, listing.ids = paths, [walk.id(path) for path in paths]
        else:
            _by_pattern(paths, walk, pattern, labels)
    listing.notices += walk.notices() + _hint_at_copies(listing)
    return listing


def parts_of_folder(root: Path) -> list[str]:
    """List the folders that are parts, or those that the class folders of a set have as parts."""
    names = _folders(root)
    if are_parts(names):
        return [name for name in names if part_kind(name)]
    if names and all(are_parts(_folders(root / name)) for name in names):
        return natural_order({part for name in names for part in _folders(root / name) if part_kind(part)})
    return []


def parts_root(root: Path) -> Path:
    """Give the folder that holds train, val and test: ``root`` itself, or one below single folders in it."""
    here = root
    for _ in range(4):
        inner = _folders(here)
        if len(inner) != 1:
            break
        here = here / inner[0]
        if are_parts(parts := _folders(here)) and any(_folders(here / part) for part in parts):
            return here
    return root


def _folders(root: Path) -> list[str]:
    """List the folders in a folder; one that cannot be listed has none: the walk reports it."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(root):
            with contextlib.suppress(OSError):  # a link that ends nowhere, or in a circle
                if entry.is_dir() and not entry.name.startswith(".") and not junk(entry.name):
                    found.append(entry.name)
    return sorted(found)


def _part_folder(root: Path, part: str) -> tuple[Path, str]:
    """Find the folder of a part, one in the root; or the root, and the name that it has in each class folder."""
    if (root / part).is_dir():
        return root / part, ""
    parts = parts_of_folder(root)
    name = part if part in parts else choose(parts, part)
    if name is None:
        raise unknown(f"folder in {root} named", part, parts or _folders(root))
    return (root / name, "") if (root / name).is_dir() else (root, name)


def _refuse_empty(root: Path, paths: list[str], walk: _Walk) -> None:
    if paths:
        return
    skipped, count = walk.listing.skipped, len(walk.listing.skipped)
    there = f"; {count:,} other file{'s are' if count != 1 else ' is'} there" if count else ""
    first = f", the first: {skipped[0].id} ({skipped[0].reason})" if count else ""
    raise DataError(
        f"{root} holds no image ({', '.join(sorted(SUFFIXES))}); expected one folder for each class{there}{first}"
        + "".join(f"; {notice}" for notice in walk.notices())
    )


def _refuse_masks(walk: _Walk) -> None:
    """Refuse a folder of images beside one of masks: they are no classes."""
    names = _folders(walk.root)
    if masks := mask_folders(names):
        images = next(name for name in names if name.casefold() in IMAGE_FOLDERS)
        raise DataError(
            f"{walk.root} holds the folders {images!r} and {masks[0]!r}, which are images and their masks, not "
            f"classes; load {str(walk.root / images)!r}"
        )


_ROBOFLOW = re.compile(r"(.+)\.rf\.[0-9A-Za-z]{20,}\.\w+")


def _hint_at_copies(listing: Listing) -> list[str]:
    """Recognize the names that Roboflow gives to an image and its augmented copies, which belong together."""
    if listing.groups:
        return []
    found = [match[1] for id_ in listing.ids if (match := _ROBOFLOW.fullmatch(id_))]
    originals = len({*found})
    if originals == len(found):
        return []
    return [
        f"{len(found):,} images are {originals:,} originals and their augmented copies, as Roboflow calls them (.rf.): "
        "pass group_from='**/{group}.rf.*', so that a split keeps the copies of one together"
    ]


def _refuse_yolo(paths: list[str], walk: _Walk) -> None:
    """Refuse a folder ``images`` beside ``labels``, one text an image: it would be read as a class called images."""
    folders = {part.casefold() for path in paths for part in walk.id(path).split("/")[:-1]}
    if not folders or not folders - {name for name in folders if part_kind(name)} <= IMAGE_FOLDERS:
        return
    stems = {os.path.splitext(os.path.basename(path))[0] for path in paths}
    for skipped in walk.listing.skipped:
        stem, ending = os.path.splitext(skipped.id.rpartition("/")[2])
        if ending.lower() != ".txt" or stem not in stems:
            continue
        with contextlib.suppress(OSError, UnicodeDecodeError):
            first = (walk.root / skipped.id).read_text("utf-8").partition("\n")[0]
            if re.fullmatch(r"\s*\d+(\s+\d*\.?\d+){4,}\s*", first):
                raise DataError(
                    f"{walk.root} holds YOLO labels ({skipped.id}), which are not read: save the boxes as COCO JSON, "
                    "VOC XML, or a table with path, label, xmin, ymin, xmax, ymax; images alone: labels=False, or load "
                    "the folder of the images"
                )


def _by_pattern(paths: list[str], walk: _Walk, pattern: PathPattern, labels: bool) -> None:
    listing = walk.listing
    unmatched = []
    for path in paths:
        name = walk.id(path)
        found = pattern.match(name)
        if found is None:
            unmatched.append(name)
            continue
        listing.paths.append(path)
        listing.ids.append(name)
        label = found.label if "label" in pattern.names else (name.split("/")[0] if "/" in name else None)
        if labels and label is not None:
            listing.labels.append(label)
        if found.group is not None:
            listing.groups.append(found.group)
        if found.domain is not None:
            listing.domains.append(found.domain)
    if not listing.paths:
        raise DataError(f"{pattern.no_match(unmatched)} (paths are relative to {walk.root})")
    if unmatched:
        listing.notices.append(pattern.no_match(unmatched))
        listing.skipped += [Skipped(name, f"does not match {pattern.pattern!r}") for name in unmatched]
    if listing.labels and len(listing.labels) < len(listing.paths):
        loose = next(name for name in listing.ids if "/" not in name)
        raise DataError(f"{loose!r} lies in no class folder; name the label in group_from={pattern.pattern!r}, too")


def _of_annotations(
    annotated: list[Path], paths: list[str], walk: _Walk, root: Path | None, *, labels: bool
) -> Listing:
    """Read the boxes of annotation files; images that none of them names are listed as skipped."""
    listing = list_annotations(annotated, root, labels=labels)
    named = {os.path.normpath(path) for path in listing.paths}
    listing.notices.insert(0, f"{walk.root.name or walk.root} holds boxes ({annotated[0].name}): its cells are cut out")
    listing.skipped += [s for s in walk.listing.skipped if not s.id.lower().endswith((".xml", ".json"))]
    listing.skipped += [Skipped(walk.id(p), "no box names it") for p in paths if os.path.normpath(p) not in named]
    listing.notices += walk.notices()
    return listing


def _by_folder(paths: list[str], walk: _Walk, within: str) -> None:
    """Take folders for classes; ``within`` is a part that each of them has."""
    root, listing = walk.root, walk.listing
    named: dict[str, list[str]] = {}
    loose: list[str] = []
    for path in paths:
        first, slash, _ = walk.id(path).partition("/")
        (named.setdefault(first, []) if slash else loose).append(path)
    if named and not within and (parts := parts_of_folder(root)):
        some = choose(parts, "train") or parts[0]
        inside = "" if are_parts(named) else "each class folder of "
        raise DataError(
            f"{inside}{root} holds the folders {', '.join(parts)}, which are parts, not classes; "
            f"load one of them with part={some!r} or as '{root}:{some}'"
        )
    _refuse_copy(root, named, walk)
    _report_empty(root, named, listing)
    if not named:
        listing.paths, listing.ids = loose, [walk.id(path) for path in loose]
        _hint_at_tables(listing)
        return
    depth = 0
    if len(named) == 1 and not loose and not within:
        depth = _passed_through(root, named, walk)
        _hint_at_tables(listing)
    level = 0 if within else _label_level(named, walk, depth)
    found: dict[str, list[str]] = {}
    for path in paths:
        folders = walk.id(path).split("/")[depth:-1]
        if level < len(folders):
            found.setdefault(folders[level], []).append(path)
        else:
            listing.skipped.append(Skipped(walk.id(path), "no label: it lies outside the class folders"))
    for label in natural_order(found):
        listing.paths += found[label]
        listing.ids += [walk.id(path) for path in found[label]]
        listing.labels += [label] * len(found[label])
        listing.groups += [walk.id(path).split("/")[depth] for path in found[label]] if level else []


def _refuse_copy(root: Path, named: dict[str, list[str]], walk: _Walk) -> None:
    """Refuse a set that was unpacked or copied into itself: data/monocyte and data/data/monocyte."""
    for top, paths in named.items():
        folders = {parts[1] for path in paths if len(parts := walk.id(path).split("/")) > 2}
        beside = sorted(folders & ({*named} - {top}))
        if len(beside) > 1:
            raise DataError(
                f"{root} holds the folders {', '.join(map(repr, beside[:3]))}, and the folder {top!r} has them again: "
                f"if it is a second copy of the set, move it away, or load {str(root / top)!r}"
            )
        if len(beside) == 1:
            count = sum(walk.id(path).split("/")[1] == beside[0] for path in paths)
            walk.listing.notices.append(
                f"the class folder {top!r} holds a folder {beside[0]!r}, which is a class, too: its {count:,} "
                f"image{'s' * (count != 1)} count as {top!r}"
            )
        if top in folders and any(walk.id(path).count("/") == 1 for path in paths):
            walk.listing.notices.append(
                f"the class folder {top!r} holds images and a folder of its own name: if it was unpacked twice, they "
                "are there twice"
            )


def _report_empty(root: Path, named: dict[str, list[str]], listing: Listing) -> None:
    """Report folders beside the classes that hold no image, with what else they hold."""
    for name in map(printable, _folders(root)):
        skipped = [one for one in listing.skipped if one.id == name or one.id.startswith(f"{name}/")]
        if name in named or any(one.id == name for one in skipped):
            continue
        if skipped:
            count = len(skipped)
            text = (
                f"the class {name!r} is lost: none of its files can be read ({count:,}, the first: {skipped[0].reason})"
            )
        else:
            text = f"the folder {name!r} holds no image and is not a class"
        listing.notices.append(text)


def _hint_at_tables(listing: Listing) -> None:
    tables = [s.id for s in listing.skipped if s.id.lower().endswith(_TABLES) and "/" not in s.id]
    if tables:
        listing.notices.append(f"{tables[0]!r} may say more of these images; if so, load it instead of the folder")


def _passed_through(root: Path, named: dict[str, list[str]], walk: _Walk) -> int:
    """Give how many single folders stand above the class folders; parts in them are refused."""
    depth, here = 0, root / next(iter(named))
    while True:
        inner = _folders(here)
        if not inner or any(Path(path).parent == here for paths in named.values() for path in paths):
            return 0
        depth += 1
        if len(inner) > 1:
            break
        here = here / inner[0]
    if parts := parts_of_folder(here):
        some = choose(parts, "train") or parts[0]
        raise DataError(
            f"{here} holds the folders {', '.join(parts)}, which are parts, not classes; load one of them as "
            f"'{here}:{some}'"
        )
    deeper = {name for folder in inner for name in _folders(here / folder)}
    names = [name.casefold() for name in (*inner, *deeper)]
    container = not {*re.split(r"[\W_\d]+", here.name.casefold())} - FILLERS
    ids, a_class = all(map(_like_an_id, inner)), _CELL_WORDS.search(here.name.casefold())
    if not container and not any(map(_CELL_WORDS.search, names)) and (ids or a_class):
        return 0  # a class with a folder for each patient
    walk.listing.notices.append(f"the folder {here.relative_to(root).as_posix()!r} holds the class folders")
    return depth


def _label_level(named: dict[str, list[str]], walk: _Walk, depth: int) -> int:
    """Say which folders are the classes: the first ones (0), or the second ones (1) below those of patients."""
    inner: dict[str, set[str]] = {}
    for paths in named.values():
        for path in paths:
            folders = walk.id(path).split("/")[depth:-1]
            inner.setdefault(folders[0], set()).add(folders[1] if len(folders) > 1 else "")
    below = [{name for name in names if name} for names in inner.values()]
    counts = Counter(name for names in below for name in names)
    shared = [name for name, count in counts.items() if count > 1]
    if (
        not shared
        or len(inner) < 2
        or any(not names or "" in inner[top] for top, names in zip(inner, below, strict=True))
    ):
        _hint_at_patients(inner, counts, walk.listing)
        return 0
    first, second = _patients_score(inner), _patients_score(counts)
    # of one folder in each, only a word of cells says that it is a class: all images would be of one class
    if first > second and (len(counts) > 1 or second == 0):
        walk.listing.notices.append(
            f"the folders {_some(inner)} look like patients or slides with the classes {_some(counts)} in each: read "
            "as group_from='{group}/{label}/**'; if they are classes, pass group_from='{label}/**'"
        )
        return 1
    if second > first:
        _hint_at_patients(inner, counts, walk.listing)
    else:
        walk.listing.notices.append(
            f"the classes are the folders {_some(inner)}; each holds folders of the same names ({_some(counts)}): if "
            "these are the classes, pass group_from='{group}/{label}/**'; if they are patients, '{label}/{group}/**'"
        )
    return 0


def _hint_at_patients(inner: dict[str, set[str]], counts: Counter[str], listing: Listing) -> None:
    if len(counts) > 1 and all(map(_like_an_id, counts)):
        listing.notices.append(
            f"the folders in the classes ({_some(counts)}) look like patients or slides; if they are, pass "
            "group_from='{label}/{group}/**', so that a split keeps each together"
        )


def _patients_score(names: Iterable[str]) -> int:
    """Rate how much names look like those of patients: 2 for ids, 0 for words of cells, 1 for anything else."""
    folded = [name.casefold() for name in names]
    if all(map(_like_an_id, folded)):
        return 2
    return 0 if any(map(_CELL_WORDS.search, folded)) else 1


def _like_an_id(name: str) -> bool:
    """Whether a name is that of a patient, a slide, a day: it has a number or says so, and no word of cells."""
    folded = name.casefold()
    if _PATIENT_WORDS.search(folded):
        return True
    return bool(re.search(r"\d", folded)) and not _CELL_WORDS.search(folded) and not re.fullmatch(r"cd\d+.*", folded)


def _some(names: Iterable[str]) -> str:
    ordered = natural_order({*names})
    return ", ".join(map(repr, ordered[:3])) + (", ..." if len(ordered) > 3 else "")
