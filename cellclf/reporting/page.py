"""report.html: a finished job as one page that explains itself, with nothing to load from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cellclf.pages.figures import History

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet
    from cellclf.data.split import Parts
    from cellclf.evaluation.metrics import Report
    from cellclf.evaluation.ood import DomainShift
    from cellclf.evaluation.robustness.result import Robustness
    from cellclf.runs.confidence import Confidence
    from cellclf.runs.run import Run


class Augments(Protocol):
    """What a page asks of an ``Augmenter``."""

    def __call__(self, images: NDArray[Any], ids: Sequence[str], epoch: int = 0) -> Any:
        """Give one augmented version of each image."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class PageContent:
    """All that a report page can show; what is left out of it is left out of the page.

    Args:
        title: What the page is of: the name of the run.
        cells_before: The set as it came in.
        cells_after: The set after cleaning.
        removals: What was removed, in order: name of the step -> its selection (with its ``cells``).
        parts: The split, before anything was removed from or added to its training part.
        augmenter: What changed the training images.
        history: Rows of the training, one an epoch (see ``cellclf.pages.figures.History``).
        evaluations: Name of the set ("train", "val", "test", any other) -> its report, and the images or None.
        copies: Name of a set -> how many of its images are copies of images that the training saw; a set that was
            not compared is missing.
        robustness: How the classifier fares on bad images, one a suite.
        run: The classifier, which is asked where it looked; None shows no heat maps.
        confidence: What the run learnt of its own reliability, or None.
        domain_shifts: Name of a set -> whether it is of the kind that the run knows.
        headline: The evaluation that the page leads with; None takes "test", else the first that is neither
            "train" nor "val", else "val".
        seconds: Name of a step -> how long it took.
        manifest: What is needed to make the same again: data hash, versions, seed, ... nested plain data.
        recipe_toml: The recipe.
        command: The command line that made the run.
    """

    title: str
    cells_before: ImageSet | None = None
    cells_after: ImageSet | None = None
    removals: Mapping[str, Selection] = field(default_factory=dict)
    parts: Parts | None = None
    augmenter: Augments | None = None
    history: History = ()
    evaluations: Mapping[str, tuple[Report, ImageSet | None]] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)
    robustness: Sequence[Robustness] = ()
    run: Run | None = None
    confidence: Confidence | None = None
    domain_shifts: Mapping[str, DomainShift] = field(default_factory=dict)
    headline: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    recipe_toml: str = ""
    command: str = ""


def write_page(content: PageContent, path: str | Path) -> Path:
    """Write a report page: self-contained, light and dark, readable on a telephone and on paper.

    Args:
        content: What the page shows.
        path: Where to; an existing file is replaced only when the new one is complete.

    Examples:
        >>> import tempfile
        >>> from cellclf.evaluation.metrics import evaluate
        >>> report = evaluate([0, 1], [[0.9, 0.1], [0.2, 0.8]], ["round", "lobed"])
        >>> content = PageContent(title="two cells", evaluations={"test": (report, None)})
        >>> page = write_page(content, tempfile.mkdtemp() + "/report.html")
        >>> "macro F1" in page.read_text(encoding="utf-8")
        True
    """
    from cellclf.pages.template import render, write
    from cellclf.reporting.sections import sections

    text = render("report.html.j2", package="cellclf.reporting", title=content.title, sided=True, **sections(content))
    return write(path, text)
