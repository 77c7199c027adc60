"""What a report can show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from cellclf.pages.figures import History

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cellclf.cleaning.selection import Selection
    from cellclf.data.image_set import ImageSet
    from cellclf.data.split import Parts
    from cellclf.evaluation.forgetting import Forgetting
    from cellclf.evaluation.metrics import Report
    from cellclf.evaluation.ood import DomainShift
    from cellclf.evaluation.robustness.result import Robustness
    from cellclf.reporting.cell_map import CellMap
    from cellclf.runs.confidence import Confidence
    from cellclf.runs.run import Run


class Augments(Protocol):
    """What a page needs of an ``Augmenter``."""

    def __call__(self, images: NDArray[Any], ids: Sequence[str], epoch: int = 0) -> Any:
        """Give one augmented version of each image."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class PageContent:
    """All that a report can show; what is missing here is left out of the report.

    Args:
        title: Name of the run.
        cells_before: The set as it was read.
        cells_after: The set after cleaning.
        removals: What was removed, in order: name of the step -> its selection (with its ``cells``).
        parts: The split, before anything was removed from or added to its training part.
        cut: Which cut was given with the set, in a line; "" for one that the job made.
        augmenter: What changed the training images.
        history: Rows of the training, one an epoch (see ``cellclf.pages.figures.History``).
        evaluations: Name of the set ("train", "val", "test", any other) -> its report, and the images or None.
        copies: Name of a set -> how many of its images are copies of training or validation images; a set that was not
            compared is missing.
        home: What a run that was continued has lost in the laboratory that it comes from; None for any other run.
        searched: Which copies that search finds, and which it does not; "" if unknown.
        robustness: Scores on corrupted or shifted images, one a suite.
        cell_map: Where the network sees the cells; None shows no map.
        map_page: Name of the page beside the report on which the map shows images; "" links none.
        run: The classifier, from which heatmaps are computed; None shows none.
        confidence: The calibration of the run, or None.
        domain_shifts: Name of a set -> whether it has the distribution of the training images.
        headline: The evaluation that the page leads with; None takes the own test part, else the worst of the further
            sets, else "val".
        folder: Of the run, as the commands on the page name it.
        sources: Name of a further set -> the SRC that it was read from.
        seconds: Name of a step -> how long it took.
        manifest: What is needed to repeat the run: data hash, versions, seed, ... nested plain data.
        recipe_toml: The recipe.
        command: The command line that made the run.
    """

    title: str
    cells_before: ImageSet | None = None
    cells_after: ImageSet | None = None
    removals: Mapping[str, Selection] = field(default_factory=dict)
    parts: Parts | None = None
    cut: str = ""
    augmenter: Augments | None = None
    history: History = ()
    evaluations: Mapping[str, tuple[Report, ImageSet | None]] = field(default_factory=dict)
    copies: Mapping[str, int] = field(default_factory=dict)
    home: Forgetting | None = None
    searched: str = ""
    robustness: Sequence[Robustness] = ()
    cell_map: CellMap | None = None
    map_page: str = ""
    run: Run | None = None
    confidence: Confidence | None = None
    domain_shifts: Mapping[str, DomainShift] = field(default_factory=dict)
    headline: str | None = None
    folder: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    recipe_toml: str = ""
    command: str = ""
