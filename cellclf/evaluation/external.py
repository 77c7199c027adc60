"""What was found on another laboratory's images: how far a run falls there, where, and what helps."""

from __future__ import annotations

import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cellclf.evaluation.calibration import Calibration
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.ood import DomainShift
from cellclf.evaluation.significance import Change, Paired, points
from cellclf.utils.text_tables import columns, markdown_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LeftOut:
    """A class of the other laboratory that is not scored.

    Args:
        name: What they call it.
        count: Their images of it.
        why: The reason.
        called: What the run calls these images, the most frequent first.
    """

    name: str
    count: int
    why: str
    called: dict[str, int]


@dataclass(frozen=True, eq=False)
class Remedy:
    """The run on the same images with something done about the shift that needs no labels.

    Args:
        name: What was done; "as it is" for nothing.
        report: Scores with it.
        calibration: Whether its probabilities mean what they say.
        gain: Its scores minus those of the run as it is, paired by image; None for the run as it is.
    """

    name: str
    report: Report
    calibration: Calibration
    gain: Paired | None = None


@dataclass(frozen=True, eq=False)
class External:
    """How a run fares on another laboratory's images; made by ``Run.external``.

    Args:
        report: Scores of the run as it is, on the images that have a counterpart among its classes.
        mapping: Their classes that were scored -> the run's.
        left_out: Their classes that were not scored.
        missing: Classes of the run that they have no images of: nothing is known about these.
        reference: What it is compared with, in words; None if there is nothing to compare with.
        changes: Balanced accuracy, macro F1 and accuracy on the reference and on theirs, see ``compare_sets``.
        recalls: The same for the recall of each class that both have.
        reference_calibration: Of the probabilities on the reference; None if only its counts are known.
        domain_shift: Whether the images as a whole are of the kind that the run knows; None if it is not calibrated.
        remedies: The run as it is, and what helps without labels.
        notes: What could not be done, and why.
    """

    report: Report
    mapping: dict[str, str]
    left_out: tuple[LeftOut, ...]
    missing: tuple[str, ...]
    reference: str | None
    changes: tuple[Change, ...]
    recalls: tuple[Change, ...]
    reference_calibration: Calibration | None
    domain_shift: DomainShift | None
    remedies: tuple[Remedy, ...]
    notes: tuple[str, ...] = ()

    @property
    def calibration(self) -> Calibration:
        """Whether the run's probabilities mean what they say on these images."""
        return self.remedies[0].calibration

    @property
    def drop(self) -> Change | None:
        """The change of the balanced accuracy; None without a reference."""
        return self.changes[0] if self.changes else None

    @property
    def best(self) -> Remedy:
        """The remedy with the highest balanced accuracy. It is chosen by their labels: check it on other images."""
        return max(self.remedies, key=lambda one: one.report.balanced_accuracy)

    def headline(self) -> list[str]:
        """Say in a few sentences what was found."""
        report = self.report
        used = len(report.class_names) - len(report.left_out)
        found = f"balanced accuracy {report.balanced_accuracy} over {used} classes, {report.n:,} images"
        if self.drop is not None:
            low, high = self.drop.difference.low, self.drop.difference.high
            word = "lower than" if high < 0 else "higher than" if low > 0 else "not told apart from"
            found += f": {word} on the reference ({points(self.drop.difference)})"
        lines = [found]
        counted = [one for one in self.recalls if one.name not in report.left_out]
        worst = min(counted, key=lambda one: one.difference, default=None)
        if worst is not None and worst.difference.high < 0:
            lines.append(f"the class that loses most is {worst.name}: recall {worst.before} -> {worst.after}")
        gap = self.calibration.confidence - self.calibration.accuracy
        if self.calibration.ece > self.calibration.ece_if_perfect.high and abs(gap) >= 0.01:
            lines.append(
                f"it is {abs(100 * gap):.0f} points too {'sure of itself' if gap > 0 else 'modest'} there: "
                f"{100 * self.calibration.confidence:.0f} % sure, {100 * self.calibration.accuracy:.0f} % right"
            )
        if len(self.remedies) > 1:
            best = self.best
            if best.gain is None:
                lines.append("nothing that was tried without labels helps")
            else:
                gain = best.gain.balanced_accuracy
                sure = "" if gain.low > 0 else ", which may be chance"
                lines.append(f"without labels, {best.name} gives back most: {points(gain)} balanced accuracy{sure}")
            for one in self.remedies:
                if one.gain is not None and one.gain.balanced_accuracy.high < 0:
                    lines.append(f"{one.name} makes it worse: {points(one.gain.balanced_accuracy)} balanced accuracy")
        return lines

    def summary(self) -> str:
        """Give everything as text."""
        lines = [*self.headline(), ""]
        lines += [f"{title}\n" + "\n".join(columns(rows)) + "\n" for title, rows in self._tables()]
        if self.domain_shift is not None:
            lines.append(str(self.domain_shift))
        return "\n".join([*lines, *textwrap.wrap(" ".join(self._remarks()), 110)])

    __str__ = summary

    def _tables(self) -> list[tuple[str, list[list[str]]]]:
        level = f"{100 * self.report.confidence_level:g} % intervals in brackets"
        tables = []
        if self.changes:
            every = [*self.changes, *self.recalls]
            support = {one.name: one.support for one in self.report.classes}
            names = [one.name for one in self.changes]
            names += [f"recall of {one.name} ({support[one.name]:,})" for one in self.recalls]
            rows = [[n, str(c.before), str(c.after), points(c.difference)] for n, c in zip(names, every, strict=True)]
            head = ["", f"reference: {self.reference}", f"theirs: {self.report.n:,} images", "change"]
            tables.append((f"change, the reference in their mix of classes; {level}", [head, *rows]))
        else:
            rows = [[one.name, f"{one.support:,}", str(one.recall)] for one in self.report.classes if one.support]
            tables.append((f"classes; {level}", [["", "images", "recall"], *rows]))
        sets = [("theirs", self.calibration)]
        if self.reference_calibration is not None:
            sets.insert(0, ("reference", self.reference_calibration))
        rows = [
            [
                name,
                f"{found.ece:.3f}",
                f"{float(found.ece_if_perfect):.3f} ({found.ece_if_perfect.low:.3f}-{found.ece_if_perfect.high:.3f})",
                f"{found.log_loss:.3f}",
                f"{100 * found.confidence:.1f} %",
                f"{100 * found.accuracy:.1f} %",
                f"{found.n:,}",
            ]
            for name, found in sets
        ]
        head = [
            "",
            "calibration error",
            "if calibrated perfectly",
            "log loss",
            "mean confidence",
            "accuracy",
            "images",
        ]
        tables.append(("calibration", [head, *rows]))
        rows = [
            [
                one.name,
                str(one.report.balanced_accuracy),
                "" if one.gain is None else points(one.gain.balanced_accuracy),
                str(one.report.macro_f1),
                f"{one.calibration.ece:.3f}",
                f"{one.calibration.log_loss:.3f}",
            ]
            for one in self.remedies
        ]
        head = ["", "balanced accuracy", "gain", "macro F1", "calibration error", "log loss"]
        if len(rows) > 1:
            tables.append(("what helps without labels; gain paired by image", [head, *rows]))
        if self.left_out:
            rows = [
                [one.name, f"{one.count:,}", one.why, ", ".join(f"{n} {k}" for k, n in one.called.items())]
                for one in self.left_out
            ]
            tables.append(("not scored", [["their class", "images", "why", "called"], *rows]))
        return tables

    def _remarks(self) -> list[str]:
        remarks = []
        renamed = [f"{theirs} as {ours}" for theirs, ours in self.mapping.items() if theirs != ours]
        if renamed:
            remarks.append(f"Counted: {', '.join(renamed)}.")
        if self.missing:
            remarks.append(f"No images there, so nothing is known about: {', '.join(self.missing)}.")
        few = {name: n for name, n in self.report.left_out.items() if n}
        if few:
            named = ", ".join(f"{name} ({n})" for name, n in few.items())
            remarks.append(f"Too few images to count in the averages over classes: {named}.")
        if len(self.remedies) > 1:
            remarks.append(
                "Remedies look at the pixels of all their images, these ones included, and at no label; "
                "which one is best was seen by the labels, so confirm it on other images."
            )
        return [*remarks, *self.notes]

    def to_markdown(self) -> str:
        """Write everything as Markdown."""
        parts = ["\n".join(f"- {line}" for line in self.headline())]
        parts += [f"**{title[0].upper()}{title[1:]}**\n\n{markdown_table(rows)}" for title, rows in self._tables()]
        parts += [str(self.domain_shift)] if self.domain_shift is not None else []
        return "\n\n".join([*parts, *filter(None, [" ".join(self._remarks())])]) + "\n"

    def to_dict(self) -> dict[str, Any]:
        """Give everything as plain data that JSON can hold."""
        known = self.reference_calibration
        return {
            "mapping": dict(self.mapping),
            "left_out": [asdict(one) for one in self.left_out],
            "missing": list(self.missing),
            "reference": self.reference,
            "report": self.report.to_dict(),
            "changes": [one.to_dict() for one in self.changes],
            "recalls": [one.to_dict() for one in self.recalls],
            "calibration": {
                "reference": None if known is None else known.to_dict(),
                "theirs": self.calibration.to_dict(),
            },
            "domain_shift": None if self.domain_shift is None else self.domain_shift.to_dict(),
            "remedies": [
                {
                    "name": one.name,
                    "report": one.report.to_dict(),
                    "calibration": one.calibration.to_dict(),
                    "gain": None if one.gain is None else one.gain.to_dict(),
                }
                for one in self.remedies
            ],
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Draw the recall of each class on the reference and on theirs, and what the remedies give."""
        from cellclf.evaluation.plots import plot_external

        return plot_external(
            here={one.name: one.recall for one in self.report.classes if one.support},
            reference={one.name: one.before for one in self.recalls},
            remedies={one.name: one.report.balanced_accuracy for one in self.remedies},
            wanted=None if self.drop is None else self.drop.before,
        )
