"""What ``Run.suggest`` gives: which cells to label, why, and the page on which they are labelled."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decisions import Decision, Decisions
from cellclf.data.image_set import ImageSet
from cellclf.data.slips import nearest
from cellclf.data.spelling import spelling
from cellclf.errors import CellclfWarning, OptionError
from cellclf.runs.suggest import kind_of
from cellclf.utils.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, repr=False)
class Suggestion(Result):
    """Which cells of a laboratory to label first; made by ``Run.suggest``.

    Args:
        cells: The set that was asked about; the page shows its images in their own size.
        rows: (n,) positions in ``cells``, most telling first.
        reasons: n texts: why each was chosen.
        excluded: How many cells were left out, by reason.
        asked: How many were asked for; more than n where no others are left.
        class_names: Of the run.
        guesses: For each cell the class that the run believes in, and its probability.
        neighbours: For each cell the positions of those that look most alike.
        next_step: What to do with the table that the page saves.
        seed: Of the choice, and of the order on the page.
    """

    cells: ImageSet
    rows: NDArray[np.int64]
    reasons: tuple[str, ...]
    excluded: dict[str, int]
    asked: int
    class_names: tuple[str, ...]
    guesses: tuple[tuple[str, float], ...]
    neighbours: tuple[NDArray[np.int64], ...]
    next_step: str
    seed: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of the suggested cells, most telling first."""
        return tuple(str(id_) for id_ in self.cells.ids[self.rows])

    def summary(self) -> str:
        """Give in some lines how many cells are suggested and why, and what was left out."""
        lines = [f"{len(self):,} of {len(self.cells):,} cells to label"]
        if len(self) < self.asked:
            lines[0] += f"; {self.asked:,} were asked for, and no others are left"
        kinds = Counter(kind_of(reason) for reason in self.reasons)
        width = len(str(max(kinds.values(), default=0)))
        lines += [f"  {count:>{width}}  {kind}" for kind, count in kinds.most_common()]
        if self.excluded:
            lines.append("left out: " + "; ".join(f"{count:,} {reason}" for reason, count in self.excluded.items()))
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.summary()}\nnext: label them on the page that save('label.html') writes, then {self.next_step}"

    def to_dict(self) -> dict[str, Any]:
        """Give plain data that JSON can hold: the suggested cells with their reasons and guesses, and the counts."""
        suggested = [
            {"id": id_, "row": int(row), "reason": reason, "guess": name, "probability": round(float(probability), 5)}
            for id_, row, reason, (name, probability) in zip(
                self.ids, self.rows, self.reasons, self.guesses, strict=True
            )
        ]
        return {
            "cells": len(self.cells),
            "asked": self.asked,
            "suggested": suggested,
            "excluded": dict(self.excluded),
            "seed": self.seed,
        }

    def plot(self) -> Figure:
        """Show the suggested cells, most telling first, each with its reason."""
        from cellclf.utils.contact_sheet import sheet

        captions = [f"{k}. {kind_of(reason)}" for k, reason in enumerate(self.reasons, 1)]
        title = f"{len(self)} of {len(self.cells)} cells to label, most telling first"
        return sheet(self.cells.read(self.rows), captions=captions, columns=5, title=title, side=1.7)

    def save(self, path: str | Path, *, classes: Sequence[str] | None = None, show_ids: bool = False) -> Path:
        """Write the page on which the cells are labelled, or a table to be filled in.

        Args:
            path: ``.html`` for the page, one file that works without a server and saves ``labelled.csv``; ``.csv`` for
                a table with the same columns and no answers yet; or what every result can be written to.
            classes: Further classes that may occur there; they get keys after those of the run.
            show_ids: Show ids on the page instead of running numbers. File names may hold names of patients.

        Raises:
            OptionError: Another ending, or classes that the page cannot offer.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending == ".csv":
            return Decisions([Decision(id_) for id_ in self.ids]).save(path)
        if ending not in (".html", ".htm"):
            return super().save(path)
        from cellclf.pages.decide import write_label_page

        return write_label_page(
            path,
            self.cells.read(self.rows),
            self.ids,
            all_classes(self.class_names, classes),
            reasons=self.reasons,
            guesses=self.guesses,
            neighbours=[self.cells.read(rows) if len(rows) else None for rows in self.neighbours],
            next_step=f"Then: {self.next_step}",
            show_ids=show_ids,
            seed=self.seed,
        )


def all_classes(class_names: Sequence[str], further: Sequence[str] | None) -> list[str]:
    """Give the classes of the run and further ones, each once.

    Args:
        class_names: Of the run.
        further: Names; one that is a class of the run in another spelling is that class. None: none.

    Raises:
        OptionError: One text instead of a list.

    Examples:
        >>> all_classes(["neutrophil", "lymphocyte"], ["Lymphocyte", "blast"])
        ['neutrophil', 'lymphocyte', 'blast']
    """
    if isinstance(further, str):
        raise OptionError(f"classes={further!r} is one text; expected a list of class names: classes=[{further!r}]")
    found = list(class_names)
    for name in map(str, further or ()):
        near = nearest(name, found)
        if near is not None and spelling(near) == spelling(name):
            continue
        if near is not None:
            warnings.warn(
                f"the further class {name!r} gets a key of its own, beside {near!r}; if it is the same, correct it",
                CellclfWarning,
                stacklevel=3,
            )
        found.append(name.strip())
    return found
