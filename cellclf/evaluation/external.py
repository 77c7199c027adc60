"""External evaluation: how a run scores on another laboratory's images, and what helps there."""

from __future__ import annotations

import shlex
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from cellclf.evaluation.calibration import Calibration
from cellclf.evaluation.label_gain import LabelGain
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.ood import DomainShift
from cellclf.evaluation.plots import plot_external
from cellclf.evaluation.scores import SCORES
from cellclf.evaluation.significance import Change, Paired, points
from cellclf.utils.results import Result
from cellclf.utils.text_tables import columns, markdown_table, without_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LeftOut:
    """An external class that is not scored.

    Args:
        name: Its external name.
        count: External images of it.
        reason: Why it is not scored.
        predicted: Class -> how many of these images the run predicts as it, the most frequent first.
    """

    name: str
    count: int
    reason: str
    predicted: dict[str, int]


@dataclass(frozen=True, eq=False)
class Remedy:
    """The run on the same images with a remedy against the shift that needs no labels.

    Args:
        name: The remedy; "as it is" for none.
        report: Scores with it.
        calibration: Calibration with it.
        gain: Its scores minus those without a remedy, paired by image; None for the run without one.
    """

    name: str
    report: Report
    calibration: Calibration
    gain: Paired | None = None


@dataclass(frozen=True, eq=False, repr=False)
class External(Result):
    """The scores of a run on another laboratory's images; made by ``Run.external``.

    Args:
        report: Scores of the run without a remedy, on the images that have a counterpart among its classes.
        mapping: External classes that were scored -> the run's.
        left_out: External classes that were not scored.
        missing: Classes of the run without external images: nothing is known about these.
        reference: What it is compared with, in words; None if there is nothing to compare with.
        changes: Balanced accuracy, macro F1 and accuracy on reference and external images, see ``compare_sets``.
        recalls: The same for the recall of each class that both have.
        reference_calibration: Of the probabilities on the reference; None if only its counts are known.
        domain_shift: Whether the images as a whole have the distribution of the training; None if the run is not
            calibrated.
        remedies: The run without a remedy, and with each one that was tried and needs no labels.
        notes: What could not be done, and why.
        label_gains: What labels of suggested cells would bring, one for each number of labels.
        occurring: The classes that occur there, where these are not all of the run's.
        run: How the commands of the next step name the run.
        source: How they name the images.
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
    label_gains: tuple[LabelGain, ...] = ()
    occurring: tuple[str, ...] = ()
    run: str = "RUN"
    source: str = "SRC"

    @property
    def calibration(self) -> Calibration:
        """Calibration of the run, without a remedy, on these images."""
        return self.remedies[0].calibration

    @property
    def drop(self) -> Change | None:
        """The change of the balanced accuracy; None without a reference."""
        return next((one for one in self.changes if one.name == SCORES["balanced_accuracy"].label), None)

    @property
    def best(self) -> Remedy:
        """The remedy with the highest balanced accuracy, chosen on external labels: check it on other images."""
        return max(self.remedies, key=lambda one: one.report.balanced_accuracy)

    def headline(self) -> list[str]:
        """Summarise in a few lines what was found."""
        report = self.report
        used = len(report.class_names) - len(report.left_out)
        found = f"balanced accuracy {report.balanced_accuracy} over {used} classes, {report.n:,} images"
        if self.drop is not None:
            low, high = self.drop.difference.low, self.drop.difference.high
            word = "lower than" if high < 0 else "higher than" if low > 0 else "not significantly different from"
            found += f": {word} {'' if low <= 0 <= high else 'on '}the reference ({points(self.drop.difference)})"
        lines = [found]
        counted = [one for one in self.recalls if one.name not in report.left_out]
        worst = min(counted, key=lambda one: one.difference, default=None)
        if worst is not None and worst.difference.high < 0:
            lines.append(f"the class with the largest drop is {worst.name}: recall {worst.before} -> {worst.after}")
        gap = self.calibration.confidence - self.calibration.accuracy
        if self.calibration.ece > self.calibration.ece_if_perfect.high and abs(gap) >= 0.01:
            lines.append(
                f"it is {'over' if gap > 0 else 'under'}confident by {abs(100 * gap):.0f} points: "
                f"mean confidence {100 * self.calibration.confidence:.0f} %, "
                f"accuracy {100 * self.calibration.accuracy:.0f} %"
            )
        if len(self.remedies) > 1:
            best = self.best
            if best.gain is None:
                lines.append("no remedy without labels helps")
            else:
                gain = best.gain.balanced_accuracy
                chance = "" if gain.low > 0 else ", which may be chance"
                lines.append(f"the best remedy without labels is {best.name}: {points(gain)} balanced accuracy{chance}")
            for one in self.remedies:
                if one.gain is not None and one.gain.balanced_accuracy.high < 0:
                    lines.append(f"{one.name} lowers it: {points(one.gain.balanced_accuracy)} balanced accuracy")
        for few in self.label_gains:
            chance = "" if few.gain.low > 0 else ", which may be chance"
            lines.append(f"labels of {few.count} suggested cells would bring {points(few.gain)}{chance}")
        return lines

    def next_steps(self) -> list[tuple[str, str]]:
        """Give what to do next: a few words and the command, what brings most for the least work first."""
        run, source = (text if text in ("RUN", "SRC") else shlex.quote(text) for text in (self.run, self.source))
        steps = []
        if (labels := self._worth_labelling()) is not None:
            words = f"label {labels.count} cells in the browser ({points(labels.gain)})"
            steps.append((words, f"cellclf suggest {run} {source} --count {labels.count} --out label.html"))
            steps.append(("then adapt", f"cellclf adapt {run} {source} --labels labelled.csv --out runs/adapted"))
        best = self.best
        if best.gain is not None and best.gain.balanced_accuracy.low > 0:
            words = f"without labels, {best.name} ({points(best.gain.balanced_accuracy)})"
            if self.occurring and best.name.startswith("its "):
                classes = shlex.quote(",".join(self.occurring))
                steps.append((words, f"cellclf adapt {run} {source} --classes {classes} --out runs/adapted"))
            else:
                steps.append((words, f"cellclf predict {run} {source} --tta {best.name.split()[0]}"))
        return steps

    def _worth_labelling(self) -> LabelGain | None:
        """Give the smallest number of labels that is shown to help, a larger one only if it brings clearly more."""
        helping = [one for one in self.label_gains if one.gain.low > 0]
        least = min(helping, key=lambda one: one.count, default=None)
        if least is None:
            return None
        return max(helping, key=lambda one: (one.gain > least.gain + 0.03, -one.count))

    def summary(self) -> str:
        """Give everything as text."""
        lines = [*self.headline(), ""]
        lines += [f"{title}\n" + "\n".join(columns(rows)) + "\n" for title, rows in self._tables()]
        if self.domain_shift is not None:
            lines.append(str(self.domain_shift))
        lines += textwrap.wrap(" ".join(self._remarks()), 110)
        if steps := self.next_steps():
            lines += ["", "next:", *(f"  {command}  # {words}" for words, command in steps)]
        return "\n".join(lines)

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
            head = ["", f"reference: {self.reference}", f"external: {self.report.n:,} images", "change"]
            tables.append((f"change, with the external class frequencies; {level}", [head, *rows]))
        else:
            rows = [[one.name, f"{one.support:,}", str(one.recall)] for one in self.report.classes if one.support]
            tables.append((f"classes; {level}", [["", "images", "recall"], *rows]))
        sets = [("external", self.calibration)]
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
            "if perfectly calibrated",
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
            tables.append(("remedies that need no labels; gain paired by image", [head, *rows]))
        if self.label_gains:
            rows = [
                [f"{one.count}", str(one.balanced_accuracy), points(one.gain), f"{one.n:,}"] for one in self.label_gains
            ]
            head = ["labels", "balanced accuracy", "gain", "images"]
            tables.append(("what labels of suggested cells would bring, by cross-fitting", [head, *rows]))
        if self.left_out:
            rows = [
                [one.name, f"{one.count:,}", one.reason, ", ".join(f"{n} {k}" for k, n in one.predicted.items())]
                for one in self.left_out
            ]
            tables.append(("not scored", [["external class", "images", "reason", "predicted as"], *rows]))
        return tables

    def _remarks(self) -> list[str]:
        remarks = []
        renamed = [f"{external} as {own}" for external, own in self.mapping.items() if external != own]
        if renamed:
            remarks.append(f"Counted: {', '.join(renamed)}.")
        if self.missing:
            remarks.append(f"No external images, so nothing is known about: {', '.join(self.missing)}.")
        few = {name: n for name, n in self.report.left_out.items() if n}
        if few:
            named = ", ".join(f"{name} ({n})" for name, n in few.items())
            remarks.append(f"Too few images for the averages over classes: {named}.")
        if len(self.remedies) > 1:
            known = " Which classes occur there was taken from the labels." if self.occurring else ""
            remarks.append(f"The best remedy was chosen on these labels, so confirm it on other images.{known}")
        if self.label_gains:
            remarks.append(
                "What labels would bring: half of the images gave the suggested cells, the other half was scored, and "
                f"the reverse, in {self.label_gains[0].draws} random halvings; no image was scored by a model that had "
                "seen its label. One view; the interval is for one adaptation and holds the choice of the cells."
            )
        return [*remarks, *self.notes]

    def to_markdown(self) -> str:
        """Write everything as Markdown."""
        parts = ["\n".join(f"- {line}" for line in self.headline())]
        parts += [f"**{title[0].upper()}{title[1:]}**\n\n{markdown_table(rows)}" for title, rows in self._tables()]
        parts += [str(self.domain_shift)] if self.domain_shift is not None else []
        parts += filter(None, [" ".join(self._remarks())])
        if steps := self.next_steps():
            lines = "\n".join(f"{command}  # {words}" for words, command in steps)
            parts.append(f"**Next**\n\n```sh\n{lines}\n```")
        return without_html("\n\n".join(parts) + "\n")

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
                "external": self.calibration.to_dict(),
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
            "label_gains": [one.to_dict() for one in self.label_gains],
            "occurring": list(self.occurring),
            "next": [{"words": words, "command": command} for words, command in self.next_steps()],
            "notes": list(self.notes),
        }

    def plot(self) -> Figure:
        """Draw the recall of each class on reference and external images, and the scores of the remedies."""
        return plot_external(
            external={one.name: one.recall for one in self.report.classes if one.support},
            reference={one.name: one.before for one in self.recalls},
            remedies={one.name: one.report.balanced_accuracy for one in self.remedies}
            | {f"{one.count} labels": one.balanced_accuracy for one in self.label_gains},
            expected=None if self.drop is None else self.drop.before,
        )
