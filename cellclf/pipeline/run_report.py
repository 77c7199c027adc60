"""The report of a finished job in its run folder: split.csv, recipe.toml, report.json, report.md, report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cellclf.data.image_set import ImageSet
from cellclf.errors import printable
from cellclf.evaluation.forgetting import Forgetting
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.ood import DomainShift
from cellclf.evaluation.robustness.result import stored
from cellclf.pipeline.prepared import Prepared, split_table
from cellclf.pipeline.recipe import Table, recipe_text
from cellclf.runs.run import Run
from cellclf.utils.atomic import write_text

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter

MAP = "map.html"


def write_report(
    folder: Path,
    *,
    run: Run,
    recipe: Table,
    prepared: Prepared,
    augmenter: Augmenter | None,
    sets: Mapping[str, ImageSet],
    reports: Mapping[str, Report],
    domain_shifts: Mapping[str, DomainShift],
    copies: Mapping[str, int],
    home: Forgetting | None,
    searched: str,
    seconds: Mapping[str, float],
    command: str,
    sources: Mapping[str, str],
) -> Path:
    """Write the tables and the report of a job into the folder of its run.

    Args:
        folder: Of the run.
        run: The trained classifier.
        recipe: The job as data.
        prepared: What was trained on, and what was removed.
        augmenter: Of the training images; the page shows examples. None if there is none.
        sets: "train", "val", "test" and further sets.
        reports: Their scores.
        domain_shifts: Name of a set -> whether it has the distribution of the training images.
        copies: Name of a set -> images in it that are copies of training or validation images.
        home: What a run that was continued has lost in its own laboratory; None for a training from the beginning.
        searched: Which copies the search for them finds.
        seconds: Step -> how long it took.
        command: What the report names as the way to make it again.
        sources: Name of a further set -> its SRC, for the commands of the next step.

    Returns:
        Path of ``report.html``.
    """
    from cellclf.reporting.content import PageContent
    from cellclf.reporting.json_report import write_data
    from cellclf.reporting.map_page import write_map_page
    from cellclf.reporting.markdown import write_markdown
    from cellclf.reporting.page import write_page
    from cellclf.reporting.run_map import run_map

    recipe_toml = recipe_text(recipe)
    write_text(folder / "split.csv", split_table(prepared))
    write_text(folder / "recipe.toml", recipe_toml)
    found = run_map(run, sets, reports)
    if found is None:
        (folder / MAP).unlink(missing_ok=True)
    else:
        write_map_page(found, folder / MAP, title=f"Map of {printable(folder.resolve().name)}", back="report.html")
    content = PageContent(
        title=printable(folder.resolve().name),
        cells_before=prepared.before,
        cells_after=prepared.after,
        removals=prepared.removals,
        parts=prepared.parts,
        cut=prepared.cut,
        augmenter=augmenter,
        history=run.history,
        evaluations={name: (report, sets[name]) for name, report in reports.items()},
        copies=copies,
        home=home,
        searched=searched,
        robustness=stored(folder),
        cell_map=found,
        map_page="" if found is None else MAP,
        run=run,
        confidence=run.confidence,
        domain_shifts=domain_shifts,
        folder=printable(str(folder)),
        sources=sources,
        seconds=seconds,
        manifest=run.manifest,
        recipe_toml=recipe_toml,
        command=command,
    )
    write_data(content, folder / "report.json")
    write_markdown(content, folder / "report.md")
    return write_page(content, folder / "report.html")
