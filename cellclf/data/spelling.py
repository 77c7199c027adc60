"""Names that differ only in what nobody sees on paper: capitals, blanks, Unicode form. They are one name."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

_NO_LABEL = re.compile(
    r"-1|[?.*–—-]+|(un|not |non )label+ed|no ?label|label me|unsure|unclear|not sure|unassigned|undecided"
    r"|undefined|unsorted|unclassified|to ?do|tbd|skip(ped)?|ignored?|exclude[d]?|not annotated|unannotated"
)
"""What people write where they have no label; "unknown" and "other" may be classes."""
_ESCAPED = re.compile(r"\\(?:[tnr]|x[0-9a-f]{2}|u[0-9a-f]{4})")
"""How a sign that does not print stands in a name, so that the name is one line."""


def spelling(name: str) -> str:
    r"""Give what names that are one have in common.

    An underscore counts as a blank. Accents, hyphens and signs are kept: ``CD4+`` and ``CD4-`` are two classes.

    Examples:
        >>> spelling("Band_Neutrophil ") == spelling("band\u00a0 neutrophil")
        True
        >>> spelling("CD4+") == spelling("CD4-")
        False
    """
    text = _ESCAPED.sub(lambda found: found[0].encode("ascii").decode("unicode_escape"), name)
    text = unicodedata.normalize("NFKC", text)
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")  # soft hyphens, zero-width blanks
    text = re.sub(r"[\s_]+", " ", text).strip().casefold()
    return unicodedata.normalize("NFKC", text)


def without_zeros(name: str) -> str:
    """Give a number without the zeros before it, which a spreadsheet takes off: 7 of 007; other names as ``spelling``.

    Examples:
        >>> without_zeros("007"), without_zeros("P007")
        ('7', 'p007')
    """
    text = spelling(name)
    return text.lstrip("0") or "0" if re.fullmatch("[0-9]+", text) else text


def one_spelling(counts: Mapping[str, int], *, zeros: bool = True) -> dict[str, str]:
    """Choose one of several spellings: the most frequent, of equally frequent ones the plainest, then the first.

    Args:
        counts: How often each name occurs.
        zeros: Whether zeros before a number tell names apart.

    Returns:
        Each name that is another spelling -> the name that is kept.

    Examples:
        >>> one_spelling({"Neutrophil": 2, "neutrophil": 7, "monocyte": 3})
        {'Neutrophil': 'neutrophil'}
    """
    found: dict[str, list[str]] = {}
    for name in counts:
        found.setdefault(spelling(name) if zeros else without_zeros(name), []).append(name)
    kept = {key: max(names, key=lambda name: (counts[name], _plain(name) == name)) for key, names in found.items()}
    return {name: kept[key] for key, names in found.items() for name in names if name != kept[key]}


def spelling_notices(merged: Mapping[str, str], counts: Mapping[str, int], what: str) -> list[str]:
    """Say which spellings became one.

    Args:
        merged: Of ``one_spelling``.
        counts: How often each name occurs.
        what: ``"classes"``, ``"groups"`` or ``"domains"``.
    """
    return [
        f"the {what} {_shown(kept, other)} ({counts[kept]:,}) and {_shown(other, kept)} ({counts[other]:,}) differ "
        f"only in {_difference(kept, other)} and are one"
        for other, kept in merged.items()
    ]


def unlabelled_notices(counts: Mapping[str, int]) -> list[str]:
    """Name the classes that are called as what has no label, in one line.

    Args:
        counts: How often each class occurs.

    Examples:
        >>> unlabelled_notices({"neutrophil": 7, "unlabeled": 3})
        ["the class 'unlabeled' (3) sounds like images without a label: if so, leave their label empty, or them out"]
    """
    names = [name for name in counts if _NO_LABEL.fullmatch(spelling(name))]
    if not names:
        return []
    some = _some([f"{name!r} ({counts[name]:,})" for name in names])
    what, verb = ("classes", "sound") if len(names) > 1 else ("class", "sounds")
    return [f"the {what} {some} {verb} like images without a label: if so, leave their label empty, or them out"]


def zeros_notices(counts: Mapping[str, int]) -> list[str]:
    """Name the classes that differ only in zeros before a number; they are left as they are."""
    merged = one_spelling(counts, zeros=False)
    return [
        f"the classes {kept!r} ({counts[kept]:,}) and {other!r} ({counts[other]:,}) differ only in zeros before the "
        "number: if a spreadsheet took them off, write them in one way"
        for other, kept in merged.items()
        if spelling(other) != spelling(kept)
    ]


def _shown(name: str, other: str) -> str:
    """Quote a name; of two that look the same, with the code of each sign that is not ASCII."""
    alike = unicodedata.normalize("NFC", _visible(name)) == unicodedata.normalize("NFC", _visible(other))
    return ascii(name) if alike else repr(name)


def _visible(name: str) -> str:
    return "".join(" " if sign.isspace() else sign for sign in name if unicodedata.category(sign) != "Cf")


def _difference(one: str, two: str) -> str:
    if one.isdecimal() and two.isdecimal():
        return "zeros before the number"
    if one.casefold() == two.casefold():
        return "capitals"
    if _squeezed(one) == _squeezed(two):
        return "blanks"
    if unicodedata.normalize("NFKC", one) == unicodedata.normalize("NFKC", two):
        return "Unicode form"
    return "capitals, blanks or Unicode form"


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", _squeezed(name))


def _squeezed(name: str) -> str:
    return re.sub(r"[\s_]+", " ", _visible(name)).strip()


def matched(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Match names with known ones: exactly, else by another spelling of which there is only one.

    Args:
        names: The names of one set.
        known: The names of another set, or of a model.

    Returns:
        Each name that is known -> the known one.

    Examples:
        >>> matched(["neutrophil", "Band"], ["Neutrophil", "monocyte"])
        {'neutrophil': 'Neutrophil'}
    """
    exact = {*known}
    by_spelling: dict[str, list[str]] = {}
    for name in known:
        by_spelling.setdefault(spelling(name), []).append(name)
    found = {}
    for name in names:
        near = by_spelling.get(spelling(name), [])
        if name in exact:
            found[name] = name
        elif len(near) == 1:
            found[name] = near[0]
    return found


def differing(class_names: Sequence[str], counts: Mapping[str, Sequence[int] | NDArray[np.int64]]) -> str:
    """Name the classes that some sources have and others lack; "" if there are none.

    Args:
        class_names: (C,) all classes.
        counts: Source -> (C,) images of each class.

    Examples:
        >>> differing(["band", "blast"], {"a": [3, 0], "b": [2, 4]})
        "classes differ between sources: a has no 'blast' (b: 4 images)"
    """
    lines = []
    for k, name in enumerate(class_names):
        lacking = [source for source, of in counts.items() if not of[k]]
        having = [f"{source}: {int(of[k]):,} image{'s' * (int(of[k]) != 1)}" for source, of in counts.items() if of[k]]
        if lacking and having:
            verb = "has" if len(lacking) == 1 else "have"
            lines.append(f"{_some(lacking)} {verb} no {name!r} ({_some(having)})")
    return f"classes differ between sources: {'; '.join(lines)}" if lines else ""


def _some(texts: list[str]) -> str:
    return ", ".join(texts[:4]) + (f" and {len(texts) - 4} more" if len(texts) > 4 else "")
