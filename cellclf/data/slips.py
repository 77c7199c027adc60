"""Ids and class names that are nearly right: what may have happened to them, and what was probably meant."""

from __future__ import annotations

import contextlib
import difflib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping

from cellclf.errors import DataError

_MOST_NAMED = 8


def check_ids(found: Collection[str], known: Collection[str]) -> dict[str, str]:
    """Match ids of a table with those of a set.

    Args:
        found: The ids of the table.
        known: The ids of the set.

    Returns:
        For each id of the table that of the set; they differ only in what nobody sees, or in slashes and in how much
        of the path is written, where no other id of the set ends alike.

    Raises:
        DataError: Ids that are not in the set: which, and what probably happened to them.
    """
    exact = set(map(str, known))
    seen = {_seen(id_): id_ for id_ in exact}
    real = {id_: id_ if id_ in exact else "'" + id_ if "'" + id_ in exact else seen.get(_seen(id_)) for id_ in found}
    ends = _by_ends(exact) if None in real.values() else {}
    for id_ in (id_ for id_, match in real.items() if match is None):
        parts = _path_parts(id_)
        near = {other for cut in range(len(parts)) for other in ends.get(parts[cut:], ()) if _end_alike(parts, other)}
        real[id_] = near.pop() if len(near) == 1 else None
    unknown = [id_ for id_, match in real.items() if match is None]
    if not unknown:
        return {id_: match for id_, match in real.items() if match is not None}
    cause = _Causes(exact)
    told = [(id_, cause(id_)) for id_ in unknown[:_MOST_NAMED]]
    size = f"the set ({len(exact):,} cell{'s' * (len(exact) != 1)})"
    if len(unknown) == 1:
        id_, why = told[0]
        raise DataError(f"the id {_short(id_)} is not in {size}; {why or _other_set(exact)}")
    some = ", ".join(_short(id_) + (f" ({why})" if why else "") for id_, why in told)
    more = f" and {len(unknown) - len(told):,} more" if len(unknown) > len(told) else ""
    fix = "" if any(why for _, why in told) else f"; {_other_set(exact)}"
    raise DataError(f"{len(unknown):,} of {len(real):,} ids are not in {size}: {some}{more}{fix}")


def by_ends(matched: Mapping[str, str]) -> list[tuple[str, str]]:
    """Give those matches of ``check_ids`` that were found by the end of a path, and not by what everybody sees."""
    return [(id_, real) for id_, real in matched.items() if _seen(id_).lstrip("'") != _seen(real).lstrip("'")]


def _path_parts(id_: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"[\\/]+", _seen(id_)) if part not in ("", "."))


def _by_ends(known: Collection[str]) -> dict[tuple[str, ...], list[str]]:
    """Give the ids that end in some parts of a path: each whole, and each by its last part and more."""
    found: dict[tuple[str, ...], list[str]] = {}
    for id_ in known:
        parts = _path_parts(id_)
        for cut in range(len(parts)):
            found.setdefault(parts[cut:], []).append(id_)
    return found


def _end_alike(parts: tuple[str, ...], other: str) -> bool:
    """Whether one path is the end of the other."""
    others = _path_parts(other)
    least = min(len(parts), len(others))
    return parts[-least:] == others[-least:]


def check_names(found: Iterable[str], known: Collection[str], new: Collection[str] = ()) -> list[str]:
    """Compare class names of a table with those that are known.

    Args:
        found: The class names of the table.
        known: The names that are right.
        new: Names that are new and no slips.

    Returns:
        The new classes: names like none of the known ones.

    Raises:
        DataError: Names that look like a known one misspelt, or numbers where the classes have names.
    """
    others = [name for name in dict.fromkeys(found) if name not in known]
    unclear = [name for name in others if name not in new]
    numbers = [name for name in unclear if name.isdecimal()]
    if numbers and known and not any(name.isdecimal() for name in known):
        raise DataError(
            f"the label {numbers[0]!r} is a number; expected a class name: {', '.join(known)[:400]}, or the name of a "
            "new class"
        )
    slips = [(name, near) for name in unclear if (near := nearest(name, [*known, *new])) is not None]
    if slips:
        some = ", ".join(f"{name!r} (did you mean {near!r}?)" for name, near in slips[:_MOST_NAMED])
        more = f" and {len(slips) - _MOST_NAMED} more" if len(slips) > _MOST_NAMED else ""
        one = len(slips) == 1
        fix = "it is a class of its own, name it" if one else "they are classes of their own, name them"
        what = "is no class" if one else "are no classes"
        raise DataError(f"there {what} {some}{more}: correct the table or, if {fix} in classes=")
    return others


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Give the known name of which another one looks like a slip: of case, blanks, or one or two letters.

    Names that differ in a number (CD4, CD8) or in a word of one letter (B cell, T cell) are different classes.

    Args:
        name: The name in question.
        known: The names that are right.

    Examples:
        >>> nearest("Neutrophil ", ["neutrophil", "monocyte"]), nearest("neutrohpil", ["neutrophil", "monocyte"])
        ('neutrophil', 'neutrophil')
        >>> nearest("CD8", ["CD4"]), nearest("T cell", ["B cell"]), nearest("metamyelocyte", ["myelocyte"])
        (None, None, None)
    """
    best: tuple[int, str] | None = None
    for other in known:
        one, two = _bare(name), _bare(other)
        if one == two:
            return other
        if re.findall(r"\d+", one) != re.findall(r"\d+", two) or _initials(name) != _initials(other):
            continue
        letters = min(len(one), len(two))
        most = 2 if letters >= 8 else 1 if letters >= 4 else 0
        steps = _steps(one, two)
        if steps <= most and (best is None or steps < best[0]):
            best = steps, other
    return best[1] if best else None


def _initials(name: str) -> list[str]:
    """Give the words of one letter, which tell classes apart."""
    return [word for word in re.split(r"[\W_]+", name.casefold()) if len(word) == 1]


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _steps(one: str, two: str) -> int:
    """Count letters added, left out, changed or swapped with their neighbour (restricted Damerau distance)."""
    before: list[int] = []
    last = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        now = [i]
        for j, b in enumerate(two, 1):
            steps = min(last[j] + 1, now[-1] + 1, last[j - 1] + (a != b))
            if i > 1 and j > 1 and a == two[j - 2] and b == one[i - 2]:
                steps = min(steps, before[j - 2] + 1)
            now.append(steps)
        before, last = last, now
    return last[-1]


class _Causes:
    """Finds what may have turned an id of a set into one that is not in it."""

    def __init__(self, known: set[str]) -> None:
        self._known = known
        self._numbers = {float(id_): id_ for id_ in known if _number(id_) is not None}
        self._ways: list[tuple[Callable[[str], str], Mapping[str, str], str]] = [
            (way, {way(id_): id_ for id_ in sorted(known, reverse=True)}, words)
            for way, words in (
                (_no_zeros, "did a spreadsheet turn {} into {}?"),
                (str.casefold, "did you mean {}? Capitals differ"),
                (lambda id_: re.sub(r"\s+", " ", id_).strip(), "did you mean {}? Blanks differ"),
                (lambda id_: re.split(r"[\\/]", id_)[-1].casefold(), "is it {}? The folder differs"),
                (lambda id_: re.split(r"[\\/]", id_)[-1].rsplit(".", 1)[0].casefold(), "is it {}? The ending differs"),
            )
        ]

    def __call__(self, id_: str) -> str:
        """Give the likeliest cause as a question, "" if there is none."""
        for way, index, words in self._ways:
            if (was := index.get(way(id_))) is not None and way(id_):
                return words.format(_short(was), _short(id_))
        value = _number(id_)
        if value is not None:
            near = next((was for number, was in self._numbers.items() if _shown_alike(number, value, id_)), None)
            if near is not None:
                return f"did a spreadsheet turn {_short(near)} into a number?"
        for wrong in ("cp1252", "latin-1"):
            with contextlib.suppress(UnicodeError):
                right = id_.encode(wrong).decode("utf-8")
                if right in self._known:
                    return f"is it {_short(right)}? The file was saved in another encoding: save it as CSV UTF-8"
        if re.fullmatch(r"\d{1,4}", id_) and not any(other.isdecimal() for other in self._known):
            return "is it a running number of the page instead of an id?"
        if _like_a_date(id_) and (
            dates := [other for other in self._known if re.search(r"\d[-/. ]\w|\w[-/. ]\d", other)]
        ):
            return f"did a spreadsheet turn an id such as {_short(min(dates))} into a date?"
        close = difflib.get_close_matches(id_, self._known, n=1, cutoff=0.8) if len(self._known) <= 20_000 else []
        return f"did you mean {_short(close[0])}?" if close else ""


def _seen(id_: str) -> str:
    return unicodedata.normalize("NFC", id_.strip())


def _no_zeros(id_: str) -> str:
    return id_.lstrip("0") or "0" if id_.isdecimal() else id_


def _number(id_: str) -> float | None:
    text = id_.strip()
    if not re.fullmatch(r"[+-]?\d+(?:[.,]\d+)?(?:e[+-]?\d+)?", text, re.IGNORECASE):
        return None
    value = float(text.replace(",", "."))
    return value if abs(value) < float("inf") else None


def _shown_alike(real: float, shown: float, text: str) -> bool:
    """Whether a spreadsheet shows the one as the other: rounded to as many digits as it shows."""
    digits = len(re.sub(r"\D", "", re.split("e", text, flags=re.IGNORECASE)[0]))
    return float(f"{real:.{max(0, digits - 1)}e}") == shown


def _like_a_date(id_: str) -> bool:
    return (
        re.fullmatch(r"\d{1,4}[-/. ]+(?:\d{1,2}|\w{3,4})(?:[-/. ]+\d{1,4})?|[^\W\d]{3}[-/. ]+\d{1,4}", id_) is not None
    )


def _short(id_: str) -> str:
    return repr(id_ if len(id_) <= 60 else f"{id_[:28]}…{id_[-28:]}")


def _other_set(known: Collection[str]) -> str:
    some = ", ".join(map(_short, sorted(known)[:2])) or "none"
    return f"is it the table of another set? Ids of this one look like {some}"
