"""What an adapted run is worth in its new laboratory, and what the own one lost; made by ``Run.adapt``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from cellclf.errors import DataError
from cellclf.evaluation.intervals import Estimate
from cellclf.evaluation.significance import points
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns

MORE = 25
"""So many further labels are spoken of."""


@dataclass(frozen=True)
class TriedCandidate:
    """How a candidate did on the labelled cells, by heads that had not seen them.

    Args:
        name: Of the candidate, in plain words.
        loss: Log loss, every class counting the same.
        accuracy: Balanced accuracy.
        chosen: Whether it was taken.
    """

    name: str
    loss: float
    accuracy: float
    chosen: bool


@dataclass(frozen=True)
class AdaptedClass:
    """What is known of one class in the new laboratory.

    Args:
        name: Of the class.
        labels: How many labelled cells.
        share: Estimated share of the laboratory's cells.
        recall: Expected recall of the adapted run.
        before: That of the run as it was.
    """

    name: str
    labels: int
    share: float
    recall: Estimate
    before: Estimate


@dataclass(frozen=True)
class Doubt:
    """A label that the other labels, or the run as it was, contradict.

    Args:
        id: Of the cell.
        label: What somebody called it.
        others: What the others take it for.
        probability: That they give to it, 0-1.
    """

    id: str
    label: str
    others: str
    probability: float


@dataclass(frozen=True)
class HomeScore:
    """Balanced accuracy in the run's own laboratory, before and after the adaptation.

    Args:
        before: Of the run as it was.
        after: Of the adapted run.
        change: Their difference, paired by cell.
        cells: How many cells it was measured on.
        source: Where they come from, in words.
        recalls: Class -> recall before and after.
    """

    before: Estimate
    after: Estimate
    change: Estimate
    cells: int
    source: str
    recalls: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False, repr=False)
class Adaptation(Result):
    """What an adapted run is worth in its new laboratory; ``Run.adaptation``, made by ``Run.adapt``.

    Args:
        class_names: What the adapted run can answer.
        parent: Name of the run that was adapted.
        cells: How many cells the laboratory's set holds.
        counts: Decision (label, unsure, not_a_cell, unanswered) -> how many cells; empty without labels.
        labelled: Ids of the labelled cells that were used.
        candidate: What was chosen, in plain words.
        tried: All candidates.
        after: Expected balanced accuracy there over the classes with labels, one view; None without labels.
        before: That of the run as it was.
        gain: Their paired difference.
        helps: Whether the gain is shown.
        classes: What is known of each class with labels.
        curve: (labels, expected balanced accuracy) for growing parts of the labels.
        more: What about 25 more labels would bring; None where nothing can be said.
        doubts: Labels to look at again, the most doubtful first.
        home: None where it is unknown.
        zoom: How much the images are enlarged before the network sees them.
        rounds: How many tables of labels it has learnt from.
        notices: What is worth knowing, in words.
    """

    class_names: tuple[str, ...]
    parent: str
    cells: int
    counts: Mapping[str, int]
    labelled: tuple[str, ...]
    candidate: str
    tried: tuple[TriedCandidate, ...] = ()
    after: Estimate | None = None
    before: Estimate | None = None
    gain: Estimate | None = None
    helps: bool = False
    classes: tuple[AdaptedClass, ...] = ()
    curve: tuple[tuple[int, float], ...] = ()
    more: float | None = None
    doubts: tuple[Doubt, ...] = ()
    home: HomeScore | None = None
    zoom: float = 1.0
    rounds: int = 1
    notices: tuple[str, ...] = ()

    def summary(self) -> str:
        """Say what it is worth there, what home lost, and what to do next."""
        lines = [*self._worth(), self._labels(), self._at_home(), f"chosen: {self.candidate}"]
        if self.tried:
            lines[-1] += (
                f" ({len(self.tried)} candidates, compared on the labelled cells by heads that had not seen them)"
            )
        lines += self._of_classes()
        if self.doubts:
            many = len(self.doubts) > 1
            some = "; ".join(
                f"{one.id} ({one.label}; the others say {one.others}, {100 * one.probability:.0f} %)"
                for one in self.doubts
            )
            lines.append(f"look again at {'these' if many else 'this'} {len(self.doubts)}: {some}")
        if self.more is not None:
            lines.append(f"{MORE} more labels would bring about {100 * self.more:+.1f} points")
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def _worth(self) -> list[str]:
        if self.after is None or self.before is None or self.gain is None:
            return ["adapted without labels: what it is worth there is not known"]
        found = f"balanced accuracy there {self.before} -> {self.after}, gain {points(self.gain)}"
        first = [] if self.helps else ["NOT SHOWN TO HELP: the gain may be chance"]
        return [*first, f"{found}; expected over {len(self.classes)} classes, 95 % intervals"]

    def _labels(self) -> str:
        if not self.counts:
            return f"no labels, {self.cells:,} cells"
        more = [f"{self.counts[kind]:,} {word}" for kind, word in _KINDS.items() if self.counts.get(kind)]
        used = f"{len(self.labelled):,} of {self.cells:,} cells labelled"
        rounds = f", in {self.rounds} rounds" if self.rounds > 1 else ""
        return ", ".join([used + rounds, *more])

    def _at_home(self) -> str:
        home = self.home
        if home is None:
            return "home score unknown: pass home=, --home SRC"
        return f"home {home.before} -> {home.after}, {points(home.change)}; on {home.cells:,} cells ({home.source})"

    def _of_classes(self) -> list[str]:
        if not self.classes:
            return []
        head = ["class", "labels", "share there", "expected recall", "of the run as it was"]
        rows = [
            [one.name, str(one.labels), f"{100 * one.share:.0f} %", str(one.recall), str(one.before)]
            for one in self.classes
        ]
        lines = columns([head, *rows])
        labelled = {one.name for one in self.classes}
        if rest := [name for name in self.class_names if name not in labelled]:
            lines.append(f"without labels, as the run as it was says: {', '.join(rest)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold."""
        proof = None
        if self.after is not None and self.before is not None and self.gain is not None:
            proof = {
                "after": self.after.to_dict(),
                "before": self.before.to_dict(),
                "gain": self.gain.to_dict(),
                "helps": self.helps,
                "classes": [
                    {
                        "name": one.name,
                        "labels": one.labels,
                        "share": one.share,
                        "recall": one.recall.to_dict(),
                        "before": one.before.to_dict(),
                    }
                    for one in self.classes
                ],
                "curve": [list(point) for point in self.curve],
                "more": self.more,
            }
        home = self.home
        return {
            "class_names": list(self.class_names),
            "parent": self.parent,
            "cells": self.cells,
            "counts": dict(self.counts),
            "labelled": list(self.labelled),
            "candidate": self.candidate,
            "tried": [vars(one).copy() for one in self.tried],
            "proof": proof,
            "doubts": [vars(one).copy() for one in self.doubts],
            "home": None
            if home is None
            else {
                "before": home.before.to_dict(),
                "after": home.after.to_dict(),
                "change": home.change.to_dict(),
                "cells": home.cells,
                "source": home.source,
                "classes": list(home.recalls),
                "recalls": {name: list(two) for name, two in home.recalls.items()},
            },
            "zoom": self.zoom,
            "rounds": self.rounds,
            "notices": list(self.notices),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Adaptation:
        """Read what ``to_dict`` gave.

        Raises:
            DataError: Something is missing, or of another kind.

        Examples:
            >>> made = Adaptation(("round", "lobed"), "runs/a", 80, {}, (), "the run as it was")
            >>> Adaptation.from_dict(made.to_dict()).to_dict() == made.to_dict()
            True
        """
        try:
            return cls(**_read(data))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"this is no adaptation ({type(error).__name__}: {error})") from None


_KINDS = {"unsure": "unsure and ignored", "not_a_cell": "not a cell", "unanswered": "unanswered"}


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    proof, home = data["proof"] or {}, data["home"]
    found = {name: data[name] for name in ("parent", "cells", "candidate", "zoom", "rounds")}
    found |= {name: tuple(map(str, data[name])) for name in ("class_names", "labelled", "notices")}
    found["counts"] = {str(kind): int(n) for kind, n in data["counts"].items()}
    found["tried"] = tuple(_made(TriedCandidate, one) for one in data["tried"])
    found["doubts"] = tuple(_made(Doubt, one) for one in data["doubts"])
    if proof:
        found |= {name: _estimate(proof[name]) for name in ("after", "before", "gain")}
        found |= {"helps": bool(proof["helps"]), "more": proof["more"]}
        found["curve"] = tuple((int(size), float(score)) for size, score in proof["curve"])
        found["classes"] = tuple(
            AdaptedClass(one["name"], one["labels"], one["share"], _estimate(one["recall"]), _estimate(one["before"]))
            for one in proof["classes"]
        )
    if home is not None:
        before, after, change = (_estimate(home[name]) for name in ("before", "after", "change"))
        recalls = {name: (float(two[0]), float(two[1])) for name, two in home["recalls"].items()}
        found["home"] = HomeScore(before, after, change, home["cells"], home["source"], recalls)
    return found


def _made(kind: type[Any], data: Mapping[str, Any]) -> Any:
    return kind(**{field.name: data[field.name] for field in fields(kind)})


def _estimate(data: Mapping[str, float | None]) -> Estimate:
    values: Sequence[float] = [float("nan") if data[key] is None else float(data[key] or 0) for key in _ENDS]
    return Estimate(*values)


_ENDS = ("value", "low", "high")
