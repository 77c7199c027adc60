"""Compare backbones on one cleaned split, or runs on one set: the table of the original report by one call."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cellclf.data.classes import match_labels
from cellclf.data.cuts import whole
from cellclf.data.door import Cells, tests_as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts
from cellclf.errors import DataError, OptionError
from cellclf.evaluation.metrics import evaluate
from cellclf.pipeline.crossval import CrossValidation, cross_validate
from cellclf.pipeline.cut import read_cut
from cellclf.pipeline.pipeline import Pipeline
from cellclf.pipeline.prepared import Prepared
from cellclf.pipeline.recipe import Table, make_backbone, read_recipe
from cellclf.reporting.compare import Candidate, Comparison
from cellclf.runs.folder import MODEL, read_manifest
from cellclf.runs.run import Run, load_run
from cellclf.utils.atomic import check_writable, expanded
from cellclf.utils.log import logger, showing
from cellclf.utils.parameters import Count, Jobs, check_arguments, plain, shortened


def recipe_for(recipe: Mapping[str, Any], backbone: Mapping[str, Any]) -> Table:
    """Change a recipe to another backbone.

    The backbone of the recipe keeps the recipe's head and stages. Another one takes the head of its own description,
    if it has one; one with random weights trains all its layers and its BatchNorm statistics in every stage, since
    frozen random layers would never learn.

    Args:
        recipe: As data.
        backbone: ``name`` and, optionally, ``weights`` and ``params``.

    Returns:
        A new recipe.
    """
    table = read_recipe(recipe)
    trainer = table["trainer"]
    if trainer.get("start", "none") not in (None, "none"):
        raise OptionError(
            f"the recipe continues a run (start={trainer['start']!r}), whose backbone cannot be another one; expected "
            "a recipe with a backbone"
        )
    used = trainer["backbone"]
    used = {"name": used} if isinstance(used, str) else used
    same = used["name"] == backbone["name"]
    trainer["backbone"] = (used if same else {}) | dict(backbone)
    made = make_backbone(trainer["backbone"])
    if not same and made.spec.head is not None:
        trainer.pop("head", None)
    if made.weights is None or (made.weights == "default" and not made.spec.published):
        for stage in trainer.get("stages", []):
            stage |= {"unfreeze": "all", "train_batch_norm": True}
    return table


def compare(
    cells: Cells | Parts,
    backbones: Sequence[Mapping[str, Any]],
    *,
    recipe: str | Path | Mapping[str, Any] = "fast",
    out: str | Path,
    tests: Mapping[str, Cells] | None = None,
    by: Literal["domain"] | None = None,
    n_jobs: Jobs | None = None,
    show: bool | None = None,
) -> Comparison:
    """Train several backbones on one cleaned split, or on all domains but one.

    Args:
        cells: With labels; a cut that they give is taken, see ``Pipeline.run``.
        backbones: Tables of ``name`` and, optionally, ``weights`` and ``params``.
        recipe: The job; its seed makes the split the same for all.
        out: Folder; each backbone gets a run folder in it, so that a comparison that was stopped resumes.
        tests: Further sets; the table has the scores of the first one, or else of the split's test part.
        by: ``"domain"`` chooses by laboratories that a backbone has not seen: each domain is held out once, and what is
            compared is the predictions of all held-out images; None chooses on the validation part.
        n_jobs: Backbones at a time, each in a process of its own (joblib); None trains one after the other here, or as
            ``joblib.parallel_config`` is set, such as to ``backend="dask"``.
        show: True shows each step, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        A row for each backbone, with the scores of the kept epoch and the highest of any epoch; the choice, and
        whether the others are worse on the same images.

    Raises:
        CellclfError: A backbone or recipe that cannot be used; all are checked before the first is trained.
    """
    check_arguments(compare, backbones=backbones, recipe=recipe, out=out, by=by, n_jobs=n_jobs)
    given = read_cut(cells)
    tests = tests_as_cells(tests)
    if not backbones:
        raise OptionError("there is no backbone to compare; expected names that `cellclf backbones` lists")
    if by is not None and tests:
        raise OptionError("by='domain' scores the domains that are held out, and no run is made for tests; remove them")
    out = expanded(out)
    check_writable(out / "compare.html")
    pipes: dict[str, Pipeline] = {}
    for backbone in backbones:
        name = str(backbone["name"]).replace(":", "-")
        while name in pipes:
            name += "+"
        pipes[name] = Pipeline.from_recipe(recipe_for(read_recipe(recipe), backbone))
        pipes[name].check(given)
        pipes[name].check_weights()
    import joblib

    if by is not None:
        crossed = {
            name: cross_validate(
                pipe, whole(given), by=by, seed=pipe.split.seed, out=out / name, n_jobs=n_jobs, show=show
            )
            for name, pipe in pipes.items()
        }
        return Comparison([_crossed(name, out / name, one) for name, one in crossed.items()], chosen_on=_HELD_OUT)
    with showing(show) as shown:
        prepared = next(iter(pipes.values())).prepare(given, show=shown)  # the same for all: only trainers differ
        candidates = joblib.Parallel(n_jobs=plain(n_jobs))(
            joblib.delayed(_candidate)(name, pipe, given, prepared, out / name, tests, shown)
            for name, pipe in pipes.items()
        )
    return Comparison(candidates, reported_on=next(iter(tests or {}), "test"))


_HELD_OUT = "held-out domains"


def _crossed(name: str, folder: Path, found: CrossValidation) -> Candidate:
    manifests = [read_manifest(folder / f"fold-{number}") or {} for number in range(1, len(found.reports) + 1)]
    return Candidate(
        name=name,
        params=manifests[0].get("parameters"),
        seconds=sum(manifest.get("seconds", 0.0) for manifest in manifests),
        size=_size(folder / "fold-1"),
        val=found.pooled(),
    )


def compare_runs(
    runs: Sequence[Run | str | Path],
    on: ImageSet | Callable[[tuple[int, int]], ImageSet],
    *,
    name: str = "this set",
    min_count: Count | None = None,
    show: bool | None = None,
) -> Comparison:
    """Compare finished runs on one set with labels, on which none of them was trained.

    Args:
        runs: Runs or their folders, with the same classes in any order.
        on: The images; or, for runs of different image sizes, a function that reads them at (height, width).
        name: Name of the set in the table.
        min_count: Classes with fewer images are not in the averages over classes; None as by ``Run.evaluate``.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Returns:
        A row for each run, the best macro F1 on the set first, and whether the others are worse.

    Raises:
        OptionError: No run.
        DataError: Runs of different classes, no labels, or a class that the runs do not have.
    """
    check_arguments(compare_runs, min_count=min_count)
    if isinstance(runs, str | Path | ImageSet) or not isinstance(runs, Iterable):
        raise OptionError(f"runs={shortened(runs)}; expected a list of runs or of their folders, before the set")
    if not runs:
        raise OptionError("there is no run to compare; expected run folders")
    candidates: dict[str, Candidate] = {}
    names: tuple[str, ...] = ()
    for given in runs:
        run = given if isinstance(given, Run) else load_run(given)
        names = names or run.class_names
        if set(names) != set(run.class_names):
            raise DataError(
                f"the runs differ in classes: {', '.join(names)} and {', '.join(run.class_names)}; "
                "expected runs on the same classes"
            )
        cells = on(run.input_shape[:2]) if callable(on) else on
        order = [run.class_names.index(one) for one in names]
        probabilities = run.predict_proba(cells, show=show)[:, order]
        label = run.folder.name if run.folder is not None else f"run {len(candidates) + 1}"
        while label in candidates:
            label += "+"
        candidates[label] = Candidate(
            name=label,
            params=int(run.model.count_params()),
            seconds=run.manifest.get("seconds"),
            size=_size(run.folder),
            val=evaluate(
                match_labels(cells, names),
                probabilities,
                names,
                min_count=min_count,
                groups=cells.groups,
                domains=cells.domains,
            ),
        )
        del run
        gc.collect()
    return Comparison(list(candidates.values()), chosen_on=name)


def _size(folder: Path | None) -> int | None:
    path = None if folder is None else folder / MODEL
    return path.stat().st_size if path is not None and path.exists() else None


def _candidate(
    name: str,
    pipe: Pipeline,
    cells: ImageSet | Parts,
    prepared: Prepared,
    out: Path,
    tests: Mapping[str, ImageSet] | None,
    show: bool,
) -> Candidate:
    with showing(show):  # here too: it may be a process of its own
        logger.info(f"backbone {name}")
        outcome = pipe.run(cells, out=out, tests=tests, show=show, prepared=prepared)
    first = next(iter(tests or {}), "test")
    found = Candidate(
        name=name,
        history=outcome.run.history,
        params=outcome.run.manifest["parameters"],
        seconds=outcome.run.manifest["seconds"],
        size=_size(outcome.run.folder),
        val=outcome.reports["val"],
        report=outcome.reports.get(first),
    )
    del outcome
    gc.collect()  # Keras models are reference cycles; several at once would fill the memory
    return found
