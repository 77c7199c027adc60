"""Which column of a table is what: by the usual names, or as the user says; what looks like one is not passed over."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from cellclf.data.columns import MISSING
from cellclf.data.decode import SUFFIXES
from cellclf.data.parts import part_kind
from cellclf.data.spelling import spelling
from cellclf.errors import DataError, OptionError, unknown

Row = Sequence[str]

_NAMES = {
    "path": """path filepath imagepath imgpath relativepath relpath fullpath file filename fname imagefile
        imagefilename imgfile imagename imgname image img bild datei dateiname id imageid imgid cellid""",
    "label": """label class classname labelname classlabel category categoryname celltype cellclass celllabel cellname
        target y diagnosis dx classification annotation groundtruth truth truelabel trueclass klasse zelltyp
        classid labelid categoryid targetid choice""",
    "group": """group groupid patient patientid patientno patientnr patientnumber patientname patientcode patid pid
        subject subjectid subjectno donor donorid case caseid caseno individual individualid participant participantid
        person personid animal animalid mouse mouseid slide slideid slideno slidenr slidenumber slidename
        specimen specimenid smear smearid wsi wsiid""",
    "domain": """domain domainid site siteid sitename hospital hospitalid hospitalname scanner scannerid scannername
        centre center centreid centerid laboratory laboratoryid lab labid institution institutionid institute
        microscope""",
    "id": "id imageid imgid cellid uid",
    "folder": """folder foldername folderpath directory directoryname dirname dir imagefolder imagedir imagedirectory
        imgdir imgfolder subfolder subdir subdirectory pathname imagepathname""",
    "part": "part split subset partition usage",
    "cluster": "dedupcluster duplicatecluster",
    "margin": "margin",
}
NAMES = {kind: tuple(names.split()) for kind, names in _NAMES.items()}
"""The usual names of each kind of column, without case, blanks and signs; of several, the first is taken."""

EDGES = ("xmin", "ymin", "xmax", "ymax", "width", "height")
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("minx", "miny", "maxx", "maxy"),
    ("x1", "y1", "x2", "y2"),
    ("x0", "y0", "x1", "y1"),
    ("left", "top", "right", "bottom"),
)
_SIDES = (("width", "height"), ("w", "h"))
_STARTS = (("xmin", "ymin"), ("x", "y"), ("x1", "y1"), ("left", "top"), ("xtopleft", "ytopleft"))
_CENTRES = (("xcenter", "ycenter"), ("xcentre", "ycentre"), ("centerx", "centery"), ("cx", "cy"), ("xmid", "ymid"))
_BOX_SIGNS = {name for names in _CORNERS for name in names} - {"left", "top", "right", "bottom", "x0", "y0", "x1", "y1"}
_BOX_SIGNS |= {"bbox", "boundingbox", "bndbox", "boxes", "bboxes", "xcenter", "ycenter", "regionshapeattributes"}
_ONLY_SIZE = {"width", "height", "imagewidth", "imageheight", "w", "h"}

_LIKE = {
    "label": re.compile(
        r"^(class|label|categor|cell_?type|type$|diagnos|target|annot|truth|klasse|zelltyp|clase|classe|etiquet|kind$|gt$|dx$)"
    ),
    "group": re.compile(
        r"^(patien|pacien|pazien|subject|donor|slide|case$|cases$|specimen|animal|mouse|proband|participant|person|smear|wsi)"
    ),
}
_WHO = {"annotator", "annotators", "annotatedby", "labeler", "labeller", "labeledby", "labelledby"}
_FLAGS = ("split", "istest", "istrain", "isval", "isvalidation", "isvalid", "testset", "trainset")
_MOST_PARTS = 6  # different values of a column of such a name
_MOST_CLASSES = 100


@dataclass
class Columns:
    """The place of each kind of column in a table, None for what it lacks.

    Args:
        places: Of path, folder, label, group, domain, id, part, cluster, margin.
        box: Names of the edges -> place; empty without boxes.
        centred: Whether ``xmin`` and ``ymin`` are the middle of a box.
        field_size: Of boxes given by four corners: the columns that may be height and width of their image.
        head: Whether the first row names the columns.
        notices: What was noticed.
    """

    places: dict[str, int | None]
    box: dict[str, int] = field(default_factory=dict)
    centred: bool = False
    field_size: tuple[int, int] | None = None
    head: bool = True
    notices: list[str] = field(default_factory=list)


def find_columns(
    rows: Sequence[Row], where: str, given: Mapping[str, str | None] | None = None, *, labels: bool = True
) -> Columns:
    """Find which column is what.

    Args:
        rows: The table, all rows of one length; the first may name the columns.
        where: What the table is called in messages.
        given: Kind -> name of the column, None for a kind that is not read; the others are found by the usual names.
        labels: False if labels are not read.

    Raises:
        DataError: No column of files, or an unused one that looks like a label, a patient or a box.
        OptionError: A kind that does not exist.
        UnknownNameError: A column that does not exist.
    """
    given = dict(given or {})
    kinds = ("path", "folder", "label", "group", "domain", "id", "part", "cluster", "box", *EDGES)
    for kind in given:
        if kind not in kinds:
            raise unknown("kind of column", kind, kinds)
    search = _Search(rows, where, given, labels)
    return search.found()


def plain_name(name: str) -> str:
    """Give a column's name without case, blanks and signs.

    Examples:
        >>> plain_name(" Patient-ID ")
        'patientid'
    """
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


class _Search:
    def __init__(self, rows: Sequence[Row], where: str, given: dict[str, str | None], labels: bool) -> None:
        self.where = where
        self.given = given
        self.labels = labels and not ("label" in given and given["label"] is None)
        self.first = list(rows[0])
        self.rows = rows[1:]
        self.names = [plain_name(name) for name in self.first]
        self.notices: list[str] = []

    def found(self) -> Columns:
        places: dict[str, int | None] = {kind: self._given(kind) for kind in NAMES}
        if not self.given.get("path"):
            places["path"] = self._path()
        if places["path"] is None:
            if not any(self.given.values()) and any(map(_names_an_image, self.first)):
                return self._without_head()
            places["path"] = self._by_content()
        if "folder" not in self.given:
            assert places["path"] is not None
            places["folder"] = self._folder(places["path"])
        box, centred = self._boxes()
        taken = {places["path"], places["folder"], *box.values()}
        for kind in ("label", "group"):
            if kind not in self.given and (kind == "group" or self.labels):
                places[kind] = self._only(kind, taken)
            taken.add(places[kind])
        if "part" not in self.given:
            places["part"] = self._part(taken)
        if "domain" not in self.given:
            places["domain"] = next((k for k in self._all("domain") if k not in taken and self._recurs(k)), None)
        for kind in ("id", "cluster", "margin"):
            if kind not in self.given:
                places[kind] = next((place for place in self._all(kind) if place not in taken), None)
        if "id" not in self.given and places["id"] is not None and not self._unique(places["id"]):
            places["id"] = None
        if not box:
            places["margin"] = None
        taken |= {*places.values()}
        unused = [k for k, name in enumerate(self.first) if k not in taken and name.strip()]
        self._refuse_look_alikes(unused, places)
        shown = [
            self.first[k] for k in unused if self.names[k] not in _ONLY_SIZE and not self.names[k].startswith("unnamed")
        ]
        if shown:
            self.notices.append(f"columns of {self.where} that were not used: {', '.join(shown)}")
        return Columns(places, box, centred, self._field_size(box), notices=self.notices)

    def _given(self, kind: str) -> int | None:
        name = self.given.get(kind)
        if name is None:
            return None
        exact = [k for k, column in enumerate(self.first) if column.strip() == str(name).strip()]
        near = [k for k, column in enumerate(self.names) if column == plain_name(str(name))]
        found = exact or near
        if len(found) != 1:
            raise unknown(
                f"column of {self.where} named", name, [column.strip() for column in self.first if column.strip()]
            )
        return found[0]

    def _all(self, kind: str) -> list[int]:
        """Give the columns with a usual name of this kind, the likeliest first."""
        order = {name: k for k, name in enumerate(NAMES[kind])}
        found = []
        for k, name in enumerate(self.names):
            name = name if name in order else name.removesuffix("s")
            if name in order and not (name == "y" and "x" in self.names):  # a place, not a label
                found.append((order[name], k))
        return [k for _, k in sorted(found)]

    def _first(self, kind: str) -> int | None:
        found = self._all(kind)
        return found[0] if found else None

    def _path(self) -> int | None:
        """Choose among the columns of files; one that names images before one that names their folders."""
        found = self._all("path")
        return next((k for k in found if self._names_images(k)), found[0] if found else None)

    def _names_images(self, place: int) -> bool:
        some = [value for row in self.rows[:50] if (value := row[place].strip())]
        return bool(some) and all(map(_names_an_image, some))

    def _folder(self, path: int) -> int | None:
        """Find the column of the folders, where that of the files holds names alone."""
        if any(re.search(r"[/\\]", row[path]) for row in self.rows):
            return None
        paths = [k for k in self._all("path") if "path" in self.names[k]]
        found = [k for k in (*self._all("folder"), *paths) if k != path]
        begin = re.match(r"(.*)filename(.*)", self.names[path])  # CellProfiler: Image_FileName_DNA, Image_PathName_DNA
        twin = f"{begin[1]}pathname{begin[2]}" if begin else ""
        found = [k for k, name in enumerate(self.names) if name == twin] + found
        return next((k for k in found if self._names_folders(k)), None)

    def _names_folders(self, place: int) -> bool:
        """Whether a column may name folders: a text in every row, and no image."""
        values = [row[place].strip() for row in self.rows]
        return "" not in values and not any(map(_names_an_image, values))

    def _by_content(self) -> int:
        """Find the column of files by what stands in it."""
        found = [k for k in range(len(self.first)) if self._names_images(k)]
        if len(found) != 1:
            raise DataError(
                f"{self.where} has the columns {', '.join(self.first)[:300]}; expected path, label and, if known, "
                "group: say which is which with columns={'path': ...} (--columns path=...)"
            )
        self.notices.append(f"the column {self.first[found[0]]!r} of {self.where} names image files and is the path")
        return found[0]

    def _only(self, kind: str, taken: set[int | None]) -> int | None:
        """Choose among several columns of a kind: one that says the same as the others; else ask."""
        found = [k for k in self._all(kind) if k not in taken]
        if kind == "label" and self._of_predictions():
            self.notices.append(
                f"the column 'class' of {self.where} is what a run predicted, not a label; columns={{'label': "
                "'class'} (--columns label=class) takes it for one"
            )
            return None
        found = [k for k in found if any(_value(row[k]) for row in self.rows)] or found[:1]
        if len(found) < 2:
            return found[0] if found else None
        if kind == "label":
            found.sort(key=lambda k: self._numeric(k))  # names before numbers of the same classes
        first = found[0]
        for other in found[1:]:
            if (
                not self._decides(other, first)
                or (kind == "label" and not self._decides(first, other))
                or self._contradict(first, other)
            ):
                if self.first[first].strip() == self.first[other].strip():
                    raise DataError(
                        f"two columns of {self.where} are called {self.first[first]!r}, and differ; rename one"
                    )
                self._ask(kind, f"both {self.first[first]!r} and {self.first[other]!r} may be the {_word(kind)}", first)
        return first

    def _contradict(self, one: int, other: int) -> bool:
        """Whether two columns have a value in common and still differ in a row: they are no spellings of one thing."""
        ours, theirs = ({spelling(_value(row[k])) for row in self.rows} - {""} for k in (one, other))
        return bool(ours & theirs) and any(
            spelling(_value(row[one])) != spelling(_value(row[other])) for row in self.rows if _value(row[other])
        )

    def _decides(self, one: int, other: int) -> bool:
        """Whether each value of one column stands beside one value only of another."""
        pairs = {(_value(row[one]), _value(row[other])) for row in self.rows}
        return len(pairs) == len({first for first, _ in pairs})

    def _numeric(self, place: int) -> bool:
        return all(re.fullmatch(r"-?\d+([.,]\d+)?", _value(row[place])) for row in self.rows if _value(row[place]))

    def _unique(self, place: int) -> bool:
        values = [_value(row[place]) for row in self.rows]
        return "" not in values and len({*values}) == len(values)

    def _recurs(self, place: int) -> bool:
        """Whether a column has a value that several rows have, as the name of a laboratory does; one of ours counts."""
        if self.names[place] == "domain":
            return True
        values = [value for row in self.rows if (value := _value(row[place]))]
        return len({*values}) < len(values)

    def _of_predictions(self) -> bool:
        """Whether a run wrote the table: its classes are no labels."""
        return {"id", "class", "probability"} <= {*self.names} and bool({"oodscore", "skipped"} & {*self.names})

    def _part(self, taken: set[int | None]) -> int | None:
        for place in self._all("part"):
            values = {_value(row[place]) for row in self.rows} - {""}
            if place not in taken and values and all(map(part_kind, values)):
                return place
        for place in range(len(self.first)):  # whatever it is called: phase, set, dataset
            values = {_value(row[place]) for row in self.rows[:1000]} - {""}
            if place in taken or not 2 <= len(values) <= _MOST_PARTS or not all(map(part_kind, values)):
                continue
            if all(part_kind(value) for row in self.rows if (value := _value(row[place]))):
                return place
        return None

    def _boxes(self) -> tuple[dict[str, int], bool]:
        """Find the columns of boxes: corners, a corner and sides, or a middle and sides."""
        if "box" in self.given and self.given["box"] is not None:
            raise OptionError(
                "columns={'box': ...}: expected None for boxes that are not cut out, or xmin, ymin, xmax, ymax"
            )
        if "box" in self.given:
            return {}, False
        named = {edge: place for edge in EDGES if (place := self._given(edge)) is not None}
        if named:
            if not {"xmin", "ymin"} <= {*named} or not (
                {"xmax", "ymax"} <= {*named} or {"width", "height"} <= {*named}
            ):
                raise OptionError(
                    f"columns name {', '.join(named)} of boxes; expected xmin, ymin, xmax, ymax or xmin, ymin, width, "
                    "height"
                )
            return named, False
        at: dict[str, int] = {}
        for k, name in enumerate(self.names):
            bare = re.sub(r"^(bbox|boundingbox|bndbox|box|bb|roi)(?=.)", "", name)
            at.setdefault(bare if bare in _ALL_EDGES else name, k)
        for corners in _CORNERS:
            if {*corners} <= {*at} and all(map(self._all_numbers, (at[name] for name in corners))):
                return dict(zip(EDGES[:4], (at[name] for name in corners), strict=True)), False
        for starts, centred in ((_STARTS, False), (_CENTRES, True)):
            for start in starts:
                for sides in _SIDES:
                    if {*start, *sides} <= {*at}:
                        edges = (*EDGES[:2], *EDGES[4:])
                        found = dict(zip(edges, (at[name] for name in (*start, *sides)), strict=True))
                        if start == ("x", "y") and {self.names[k] for k in found.values()} <= {*start, *sides}:
                            self._ask_of_positions(found)
                        return found, centred
        if signs := [self.first[k] for k, name in enumerate(self.names) if name in _BOX_SIGNS]:
            raise DataError(
                f"the columns {', '.join(signs)} of {self.where} look like boxes, but xmin, ymin, xmax and ymax in "
                "pixels are not all there: one row a box with these four columns, or columns={'box': None} (--columns "
                "box=) to read each row as one image of a cell"
            )
        return {}, False

    def _field_size(self, box: dict[str, int]) -> tuple[int, int] | None:
        sizes = [("imageheight", "imagewidth"), ("imgheight", "imgwidth"), ("height", "width")] if "xmax" in box else []
        for high, wide in sizes:
            if high in self.names and wide in self.names:
                return self.names.index(high), self.names.index(wide)
        return None

    def _all_numbers(self, place: int) -> bool:
        return any(number(row[place]) is not None for row in self.rows) or not self.rows

    def _ask_of_positions(self, found: dict[str, int]) -> None:
        """Of x, y, width and height: a box, or where a crop was and how large it is."""
        path = self._given("path") if self.given.get("path") else self._first("path")
        files = [row[path] for row in self.rows] if path is not None else []
        if len({*files}) == len(files):
            names = {edge: self.first[place] for edge, place in found.items()}
            raise DataError(
                f"the columns {', '.join(names.values())} of {self.where} may be boxes in fields, or places and sizes "
                f"of single cells: pass columns={names} to cut boxes out, or columns={{'box': None}} (--columns box=)"
            )

    def _refuse_look_alikes(self, unused: list[int], places: dict[str, int | None]) -> None:
        asked = {"label": self.labels, "group": self.labels}
        if self.labels and places["part"] is None and "part" not in self.given:
            self._refuse_other_parts(unused)
        for kind, looks in _LIKE.items():
            if places[kind] is not None or kind in self.given or not asked[kind]:
                continue
            if kind == "label" and self._of_predictions():
                continue
            for place in unused:
                words = _words(self.first[place])
                if kind == "label" and (words[-1:] in (["id"], ["ids"]) or self.names[place] in _WHO):
                    continue
                if any(map(looks.search, words)) and any(_value(row[place]) for row in self.rows):
                    if kind == "group" and self._unique(place) and len(self.rows) > 1:
                        continue
                    self._ask(kind, f"the column {self.first[place]!r} looks like the {_word(kind)}", place)
        if places["label"] is not None or "label" in self.given or not self.labels or self._of_predictions():
            return
        if classes := self._one_hot(unused):
            raise DataError(
                f"the columns {', '.join(classes[:4])}{', ...' if len(classes) > 4 else ''} of {self.where} hold one "
                "class each (one-hot); expected one column of class names: in pandas, table[[...]].idxmax(axis=1)"
            )
        for place in unused:
            if self._like_classes(place):
                self._ask("label", f"the column {self.first[place]!r} looks like the label", place)

    def _refuse_other_parts(self, unused: list[int]) -> None:
        """Refuse a column that says which rows are for a test, in words that are not understood."""
        for place in unused:
            values = sorted({_value(row[place]) for row in self.rows} - {""})
            some = place in self._all("part") and any(map(part_kind, values))
            if some or (self.names[place] in _FLAGS and 2 <= len(values) <= _MOST_PARTS):
                raise DataError(
                    f"the column {self.first[place]!r} of {self.where} holds {', '.join(map(repr, values[:4]))}"
                    f"{', ...' if len(values) > 4 else ''}, so that test images might be trained on; expected train, "
                    "val and test, and nothing where a row is not to be used, or columns={'part': None} "
                    "(--columns part=) to read all rows"
                )

    def _one_hot(self, unused: list[int]) -> list[str]:
        ones = [k for k in unused if all(number(row[k]) in (0.0, 1.0) for row in self.rows)]
        sums = [sum(number(row[k]) or 0 for k in ones) for row in self.rows] if len(ones) > 1 else []
        exact = bool(sums) and sums.count(1) >= 0.9 * len(sums)  # some rows may have no class, or two
        used = sum(any(number(row[k]) for row in self.rows) for k in ones)
        return [self.first[k].strip() for k in ones] if exact and used > 1 else []

    def _like_classes(self, place: int) -> bool:
        """Whether a column has a few texts that recur."""
        values = [value for row in self.rows if (value := _value(row[place]))]
        different = {*values}
        return (
            2 <= len(different) <= min(_MOST_CLASSES, len(values) / 2)
            and len(values) > 0.8 * len(self.rows)
            and not self._numeric(place)
            and all(re.search(r"[^\W\d]", value) and len(value) < 60 for value in different)
            and not all(re.search(r"\d", value) for value in different)
        )

    def _ask(self, kind: str, what: str, place: int) -> NoReturn:
        name = self.first[place].strip()
        raise DataError(
            f"{what} in {self.where}; name it with columns={{{kind!r}: {name!r}}} (--columns {kind}={name}), or say "
            f"that there is none with columns={{{kind!r}: None}} (--columns {kind}=)"
        )

    def _without_head(self) -> Columns:
        """Read a table whose first row is an image already: path, label, group; or path, box, label."""
        count = len(self.first)
        places: dict[str, int | None] = dict.fromkeys(NAMES, None)
        if not _names_an_image(self.first[0]):
            raise DataError(
                f"{self.where} has no line that names its columns, and the first is no image file; add such a line: "
                "path, label, group"
            )
        places |= {"path": 0, "label": 1 if count > 1 and self.labels else None, "group": 2 if count > 2 else None}
        if count == 3 and all(part_kind(row[2]) for row in (self.first, *self.rows)):
            return Columns(places | {"part": 2, "group": None}, head=False)
        if count == 6 and all(number(value) is not None or not value.strip() for value in self.first[1:5]):
            places |= {"label": 5 if self.labels else None, "group": None}
            return Columns(places, dict(zip(EDGES[:4], range(1, 5), strict=True)), head=False)
        if count > 3:
            raise DataError(
                f"{self.where} has {count} columns and no line that names them; add one: path, label, group, ..."
            )
        return Columns(places, head=False)


_ALL_EDGES = {name for names in (*_CORNERS, *_SIDES, *_STARTS, *_CENTRES) for name in names}


def number(text: str) -> float | None:
    """Read a number with a decimal point or comma, None if it is none.

    Examples:
        >>> number("12,5"), number("1e3"), number("a")
        (12.5, 1000.0, None)
    """
    text = text.strip().removeprefix("'")
    if not re.fullmatch(r"[+-]?\d*[.,]?\d+([eE][+-]?\d+)?|[+-]?\d+[.,]", text):
        return None
    value = float(text.replace(",", "."))
    return value if abs(value) < float("inf") else None


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return [word for word in re.split(r"[\W_]+", spaced.casefold()) if word]


def _value(text: str) -> str:
    text = text.strip()
    return "" if text in MISSING else text


def _names_an_image(text: str) -> bool:
    return any(text.strip().lower().endswith(suffix) for suffix in SUFFIXES)


def _word(kind: str) -> str:
    return "patient or slide" if kind == "group" else kind
