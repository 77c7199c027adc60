"""Files that a table names, found although they lie in another folder, are spelt otherwise, or stand as an address."""

from __future__ import annotations

import html
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import unquote

from cellclf.data.opening import SUFFIXES
from cellclf.data.spelling import spelling
from cellclf.errors import printable

_MOST_FILES = 2_000_000
_MOST_HINTS = 20
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):(/*)")  # two letters and more: C: is a drive
_DRIVE = re.compile(r"[A-Za-z]:")
_UPLOAD = re.compile(r"(^|/)upload/")
_BEFORE = re.compile(r"(?:\d+-)?[0-9a-f]{4,32}-(?=.)")  # of Label Studio: 3f2a1b0c-cell.png
_BEHIND = re.compile(r"_[A-Za-z0-9]{7}(?=\.\w+$)")  # of older ones: cell_mLPkNFG.png
_NOT_FETCHED = "an address, and nothing is fetched: download the images, and put them where the table is"


Key: TypeAlias = tuple[str, str]
"""A name as a table has it, and the label beside it, "" for none."""


class Named(NamedTuple):
    """What was found for names of a table.

    Args:
        files: Name and label -> its file; without those that are not there.
        notices: How files were found that are not where the table says.
    """

    files: dict[Key, str]
    notices: list[str]


class NamedFiles:
    """Looks for files in a folder.

    Args:
        folder: What relative names are relative to.
        where: What the table is called in messages.
    """

    def __init__(self, folder: Path, where: str) -> None:
        self.folder = os.path.normpath(folder)
        self.where = where
        self._listed: dict[str, _Folder] = {}

    def find(self, keys: Sequence[Key]) -> Named:
        """Find files by names that nothing stands under.

        In this order: the same place in another spelling (capitals, Unicode form, ``%20``, lost zeros); a path or an
        address of another computer, of which the longest end that is in the folder counts. A file that several names
        would lead to is nobody's.

        Args:
            keys: Names with their labels, each once.
        """
        found: dict[str, str] = {}
        spelt: list[str] = []
        moved: list[str] = []
        for name in dict.fromkeys(name for name, _ in keys):
            parts = _parts(name)
            path = None if self._is_foreign(name) else self._at(self.folder, parts)
            if path is not None:
                spelt.append(name)
            else:
                path = self._foreign(name)
                if path is not None and not name.casefold().startswith("file:"):
                    moved.append(name)
            if path is not None:
                found[name] = path
        _drop_shared(found)
        files = {key: found[key[0]] for key in keys if key[0] in found}
        return Named(files, [*self._spelt(found, spelt), *self._moved(found, moved)])

    def find_below(self, keys: Sequence[Key]) -> Named:
        """Find files anywhere below the folder, by their names alone; of several, the one in a folder of its label."""
        index: dict[str, list[str]] = defaultdict(list)
        for path in self._images_below():
            file = os.path.basename(path)
            index[_key(file)].append(path)
            index[_key(os.path.splitext(file)[0])].append(path)
        found: dict[Key, str] = {}
        for name, label in keys:
            hits = index.get(_key(name.replace("\\", "/").rpartition("/")[2]), [])
            if len(hits) > 1 and label:
                hits = [hit for hit in hits if spelling(label) in map(spelling, os.path.dirname(hit).split(os.sep))]
            if len(hits) == 1:
                found[name, label] = hits[0]
        _drop_shared(found)
        folders = Counter(self._relative(os.path.dirname(path)) for path in found.values())
        if not folders:
            return Named(found, [])
        some = ", ".join(f"{folder} ({count:,})" for folder, count in sorted(folders.items())[:4])
        text = f"{len(found):,} files of {self.where} were found by their names in the folders {some}"
        return Named(found, [text + (", ..." if len(folders) > 4 else "")])

    def problem(self, name: str) -> str | None:
        """Say why a name leads to no file, if that is more than that there is none."""
        scheme = _SCHEME.match(name)
        return _NOT_FETCHED if scheme and scheme[1].casefold() != "file" else None

    def hint(self, keys: Sequence[Key]) -> str:
        """Name a file that may be meant by one of these, "" if there is none: the same one with another ending."""
        for name, _ in keys[:_MOST_HINTS]:
            *before, last = _parts(name) or [""]
            stem, ending = os.path.splitext(last)
            folder = os.path.join(self.folder, *before)
            if ending and os.path.isdir(folder) and (hits := self._folder(folder).by_stem.get(_key(stem))):
                return f"there is {printable(hits[0])!r}: correct the endings in the table"
        return ""

    def _foreign(self, name: str) -> str | None:
        """Find a path or an address of another computer: by its longest end that is in the folder."""
        for text in _read(name):
            if os.path.isabs(text) and name.casefold().startswith("file:") and os.path.exists(text):
                return os.path.normpath(text)
            parts = _parts(text)
            if not parts:
                continue
            last = [parts[-1]]
            if _UPLOAD.search(name):
                last += [way.sub("", parts[-1], count=1) for way in (_BEFORE, _BEHIND) if way.search(parts[-1])]
            for end in dict.fromkeys(last):
                for start in range(len(parts)):
                    if path := self._at(self.folder, [*parts[start:-1], end]):
                        return path
        return None

    def _is_foreign(self, name: str) -> bool:
        return next(_read(name), None) is not None

    def _at(self, folder: str, parts: Sequence[str]) -> str | None:
        """Follow the parts of a path, each in a spelling of which there is one."""
        for number, part in enumerate(parts):
            entry = part if part == ".." else self._folder(folder).entry(part, last=number == len(parts) - 1)
            if entry is None:
                return None
            folder = os.path.join(folder, entry)
        return os.path.normpath(folder) if parts and not os.path.isdir(folder) else None

    def _folder(self, path: str) -> _Folder:
        if path not in self._listed:
            self._listed[path] = _Folder(path)
        return self._listed[path]

    def _images_below(self) -> Iterator[str]:
        count = 0
        for here, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith((".", "@", "__MACOSX")))
            count += len(files)
            if count > _MOST_FILES:
                return
            for name in sorted(files):
                if _is_image(name) and not name.startswith("."):
                    yield os.path.join(here, name)

    def _relative(self, path: str) -> str:
        return printable(os.path.relpath(path, self.folder).replace(os.sep, "/"))

    def _spelt(self, found: Mapping[str, str], names: Sequence[str]) -> list[str]:
        kept = [name for name in names if name in found]
        if not kept:
            return []
        was, now = kept[0].replace("\\", "/").rpartition("/")[2], os.path.basename(found[kept[0]])
        first, second = (ascii(was), ascii(now)) if _looks(was) == _looks(now) else (repr(was), repr(now))
        return [
            f"{len(kept):,} file{'s' * (len(kept) != 1)} of {self.where} {'are' if len(kept) != 1 else 'is'} spelt "
            f"otherwise on the disk: {printable(first)} is {printable(second)}"
        ]

    def _moved(self, found: Mapping[str, str], names: Sequence[str]) -> list[str]:
        kept = [name for name in names if name in found]
        if not kept:
            return []
        what = f"{len(kept):,} paths of {self.where} are" if len(kept) > 1 else f"1 path of {self.where} is"
        return [
            f"{what} of another computer or program; the files are in {printable(self.folder)!r}: "
            f"{printable(kept[0])!r} is {self._relative(found[kept[0]])!r}"
        ]


class _Folder:
    """The names in a folder, by what they have in common with other spellings."""

    def __init__(self, path: str) -> None:
        try:
            names = sorted(os.listdir(path))
        except OSError:
            names = []
        self.names = {*names}
        self.by_key: dict[str, list[str]] = defaultdict(list)
        self.by_stem: dict[str, list[str]] = defaultdict(list)
        self.by_number: dict[int, list[str]] = defaultdict(list)
        for name in names:
            self.by_key[_key(name)].append(name)
            if _is_image(name):
                stem = os.path.splitext(name)[0]
                self.by_stem[_key(stem)].append(name)
                if (number := _number(stem)) is not None:
                    self.by_number[number].append(name)

    def entry(self, part: str, *, last: bool) -> str | None:
        """Give the one name that is spelt so, or nearly; of a file also without its ending or the zeros before it."""
        if part in self.names:
            return part
        hits = self.by_key.get(_key(part), [])
        if not hits and last:
            stem, ending = os.path.splitext(part)
            if ending.lower() in SUFFIXES:
                number = _number(stem)
                hits = [] if number is None else self.by_number.get(number, [])
                hits = [hit for hit in hits if hit.lower().endswith(ending.lower())]
            else:
                number = _number(part)
                hits = self.by_stem.get(_key(part), []) or ([] if number is None else self.by_number.get(number, []))
        return hits[0] if len(hits) == 1 else None


def _drop_shared(found: dict[Any, str]) -> None:
    """Leave out files that several names lead to: which one is meant is unknown."""
    times = Counter(found.values())
    for name in [name for name, path in found.items() if times[path] > 1]:
        del found[name]


def _read(name: str) -> Iterator[str]:
    """Give the paths that a path or an address of another computer or program may mean; none for a relative path."""
    text = name.strip().strip("\"'").replace("\\", "/")
    if "?d=" in text:  # of Label Studio: /data/local-files/?d=images/a.png
        yield unquote(text.partition("?d=")[2].partition("&")[0])
    if scheme := _SCHEME.match(text):
        rest = unquote(re.split(r"[?#]", text[scheme.end() :])[0])
        if scheme[1].casefold() == "file" and len(scheme[2]) == 2:
            rest = rest.partition("/")[2]  # without the name of the computer
        yield f"/{rest}" if scheme[2] else rest
        if _DRIVE.match(rest):
            yield rest[2:]
    elif _DRIVE.match(text):
        yield text[2:]
    elif text.startswith("/"):
        yield text


def _parts(text: str) -> list[str]:
    return [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]


def _key(name: str) -> str:
    """Give what spellings of a file name have in common."""
    text = html.unescape(unquote(name)) if "%" in name or "&" in name else name
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold()).strip(" .\"'")


def _looks(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _number(text: str) -> int | None:
    """Give a whole number as a table may have it: ``007``, ``7``, ``7.0``, ``1E+05``."""
    text = text.strip()
    if text.isdecimal():
        return int(text) if len(text) < 40 else None
    if re.fullmatch(r"\d+[.,]0+|\d+([.,]\d+)?[eE]\+?\d{1,2}", text):
        value = float(text.replace(",", "."))
        return int(value) if value.is_integer() and value < 2**53 else None
    return None


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES
