"""Pipeline: the whole job as one object; clean, split, balance, train, evaluate, report."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from cellclf.augmentation.augmenter import Augmenter
from cellclf.augmentation.expand import Expand
from cellclf.backbones.backbone import Backbone
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.downsample import Downsample
from cellclf.cleaning.outliers.filter import OutlierFilter
from cellclf.data.classes import match_labels
from cellclf.data.cuts import whole
from cellclf.data.door import Cells, tests_as_cells
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts, Split
from cellclf.errors import CellclfError, OptionError, unknown
from cellclf.evaluation.forgetting import Forgetting
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.ood import DomainShift
from cellclf.pipeline.budget import (
    images_in_time,
    network_in_time,
    reserve,
    scored_in_time,
    weights_are_here,
    where_it_went,
)
from cellclf.pipeline.cut import CutOf, given_of, read_cut
from cellclf.pipeline.home import Joined, home_cells, join_home, measure_home
from cellclf.pipeline.job_checks import check_parts, check_test_set, raise_all
from cellclf.pipeline.outcome import Outcome
from cellclf.pipeline.prepare import prepare, rows_of
from cellclf.pipeline.prepared import Prepared, count_copies, split_table
from cellclf.pipeline.recipe import Table, make_trainer, read_recipe
from cellclf.pipeline.run_report import write_report
from cellclf.pipeline.source import source_of
from cellclf.runs.folder import check_folder, read_manifest, write_manifest
from cellclf.runs.run import Run
from cellclf.training.budget import Budget, budget_of
from cellclf.training.callbacks import check_callbacks
from cellclf.training.head import Head
from cellclf.training.stage import Stage
from cellclf.training.trainer import Trainer
from cellclf.utils.atomic import expanded
from cellclf.utils.backend import check_backend
from cellclf.utils.locks import held
from cellclf.utils.log import logger, showing
from cellclf.utils.parameters import Example, Params, check_parameters, check_value, shortened, written

_SLOTS = ("summary", "seed", "dedup", "split", "outliers", "downsample", "expand", "trainer")
_NO_START = (
    "home= is given and the trainer has no start, so that there is no run whose laboratory it could be; expected "
    "Trainer(start=...), or all images in one set: ImageSet.concat"
)


@dataclass(kw_only=True, eq=False, repr=False)
class Pipeline(Params):
    """The whole job: each step can be left out, replaced or used alone.

    Duplicates are removed first, since copies look like inliers to an outlier filter and must not be split across
    parts. The outlier filter is fitted on the training part alone. The test part and further sets are never cleaned:
    they only report. A cut that is given with the set (``Parts``, ``val=``, a source with parts) is taken as it is:
    duplicates, copies of validation and test images, and images of their patients are removed from training alone.

    Args:
        trainer: What is trained, and how.
        dedup: Removes duplicates and contamination; None keeps them.
        split: Splits into train, val and, on request, test.
        outliers: Removes non-cell images from train and val; None keeps them.
        downsample: Balances the training part by removing images; None keeps all.
        expand: Adds augmented copies to the training part; None adds none.
        summary: What the job is for, in a line.

    Examples:
        >>> pipe = Pipeline.from_recipe("demo", ["trainer.stages.0.epochs=1"])
        >>> pipe.trainer.stages[0].epochs
        1
    """

    trainer: Annotated[Trainer, Example('Trainer(backbone="mobilenet")')]
    dedup: Annotated[Dedup | None, Example("Dedup()")] = None
    split: Annotated[Split, Example("Split(val=0.2)")] = field(default_factory=Split)
    outliers: Annotated[OutlierFilter | None, Example("OutlierFilter()")] = None
    downsample: Annotated[Downsample | None, Example("Downsample()")] = None
    expand: Annotated[Expand | None, Example("Expand(copies=1)")] = None
    summary: str = ""

    @classmethod
    def from_recipe(cls, recipe: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> Self:
        """Make a pipeline from a recipe.

        Args:
            recipe: A name (``cellclf run --help`` lists them), the path of a TOML file or of a run folder, or its data.
            settings: Changes, each as ``"trainer.batch_size=32"``.

        Raises:
            UnknownNameError: A recipe, slot or option that does not exist; the nearest is named.
            OptionError: A value that cannot be used.
        """
        table = read_recipe(recipe, settings)
        for key in table:
            if key not in _SLOTS:
                raise unknown("slot of a recipe", key, _SLOTS)
        if "trainer" not in table:
            raise OptionError("the recipe lacks [trainer]; `cellclf run --help` names recipes to start from")
        seed, summary = table.get("seed", 0), table.get("summary", "")
        check_value(seed, int, "seed")
        check_value(summary, str, "summary")

        def slot(kind: Any, name: str) -> Any:
            given = table.get(name)
            if given is None or (isinstance(given, str) and given == "none"):
                return None
            if isinstance(given, Mapping) and name != "dedup":
                given = {"seed": seed, **given}
            return kind.from_table(given, f"[{name}]")

        return cls(
            trainer=make_trainer(table["trainer"], seed),
            dedup=slot(Dedup, "dedup"),
            split=slot(Split, "split") or Split(seed=seed),
            outliers=slot(OutlierFilter, "outliers"),
            downsample=slot(Downsample, "downsample"),
            expand=slot(Expand, "expand"),
            summary=summary,
        )

    def to_dict(self) -> Table:
        """Give the whole job as a recipe with every option written out, which ``from_recipe`` and TOML take.

        A step that is left out is not in it. A Keras model as backbone and a function as ``embed`` cannot be stored in
        a recipe: it has their names, which ``from_recipe`` refuses, and they must be given again.

        Examples:
            >>> pipe = Pipeline.from_recipe("fast")
            >>> Pipeline.from_recipe(pipe.to_dict()) == pipe
            True
        """
        found = {name: written(getattr(self, name)) for name in _SLOTS if name != "seed"}
        return {name: value for name, value in found.items() if value not in (None, "")}

    @classmethod
    def from_table(cls, table: Any, where: str) -> Self:
        """Make a pipeline from a recipe's data; see ``from_recipe``."""
        if not isinstance(table, Mapping):
            raise OptionError(f"{where} is {shortened(table)}; expected a table with some of: {', '.join(_SLOTS)}")
        return cls.from_recipe(table)

    def resolved(self) -> Self:
        """Give the same job with what its backbone leaves open written out; see ``Trainer.resolved``."""
        return dataclasses.replace(self, trainer=self.trainer.resolved())

    def check(
        self,
        cells: Cells | Parts,
        *,
        val: Cells | None = None,
        cut: CutOf = "given",
        tests: Mapping[str, Cells] | None = None,
        out: str | Path | None = None,
        home: Cells | None = None,
    ) -> None:
        """Find every mistake that can be found before the first slow step.

        Args:
            cells: With labels.
            val: See ``run``.
            cut: See ``run``.
            tests: Further sets to report on, by name.
            out: Folder for the run.
            home: See ``run``.

        Raises:
            CellclfError: The mistake; OptionError if there are several, all named.
        """
        check_parameters(self)  # first: of another kind, a step can't be asked to check itself
        given = read_cut(cells, val, cut)
        tests = tests_as_cells(tests)
        trainer, expand = self.trainer, self.expand
        checks: list[Callable[[], Any]] = [trainer.check_options]
        try:
            joined, tests = self._joined(given, tests, home)
            given = joined.given
        except CellclfError as error:  # beside the other mistakes
            checks.append(functools.partial(_raise, error))
        cells = whole(given)
        if isinstance(trainer.stages, list | tuple):
            checks += [stage.check for stage in trainer.stages if isinstance(stage, Stage)]
        if isinstance(trainer.head, Head):
            checks.append(trainer.head.check)
        if isinstance(augmenter := trainer.augmenter, Augmenter):
            checks.append(lambda: augmenter.check(cells.image_shape))
        for step in (self.split, self.dedup, self.outliers, self.downsample):
            if step is not None:
                checks.append(getattr(step, "check", None) or functools.partial(check_parameters, step))
        if expand is not None:
            checks.append(lambda: expand.check(cells))
        checks.append(lambda: check_parts(given, self.split, self.downsample, trainer))
        if out is not None:
            folder = expanded(out)
            checks.append(lambda: check_folder(folder))
        part_names = ("train", "val", *(["test"] if self.split.test or "test" in given_of(given) else []))
        checks += [
            functools.partial(check_test_set, name, test, cells, part_names) for name, test in (tests or {}).items()
        ]
        checks.append(check_backend)
        raise_all(checks)

    def check_weights(self) -> None:
        """Load published weights, or the run that is continued: what may have to be downloaded, or may be damaged.

        ``check`` asks no network; ``run`` and ``cellclf run --check`` call both before the first slow step.

        Raises:
            WeightsError: There is no connection, or a broken download.
            RunFolderError: The run that is continued cannot be read.
            OptionError: It cannot be trained on, since it is an adapted one, or cannot take the size of a stage.
        """
        if (parent := self.trainer.parent()) is not None:
            parent.check()
        else:
            self.trainer.used_backbone().check_published()
        self.trainer.check_sizes()

    def prepare(
        self,
        cells: Cells | Parts,
        *,
        val: Cells | None = None,
        cut: CutOf = "given",
        home: Cells | None = None,
        show: bool | None = None,
    ) -> Prepared:
        """Clean, split and balance, without training.

        Args:
            cells: With labels.
            val: See ``run``.
            cut: See ``run``.
            home: See ``run``.
            show: True shows what each step did, False hides it; None shows it on a terminal and in a notebook.
        """
        joined, _ = self._joined(read_cut(cells, val, cut), {}, home)
        with showing(show):
            return prepare(joined, **self._steps())

    def _steps(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("dedup", "split", "outliers", "downsample", "expand")}

    def _joined(
        self, given: ImageSet | Parts, tests: Mapping[str, ImageSet], home: Cells | None
    ) -> tuple[Joined, Mapping[str, ImageSet]]:
        """Give the sets as what is trained takes them: for a run that is continued, at its size, with its classes."""
        parent = self.trainer.parent()
        if parent is None:
            if home is not None:
                raise OptionError(_NO_START)
            return Joined(given), tests
        return join_home(parent, given, home), {name: parent.sized(test) for name, test in tests.items()}

    def run(
        self,
        cells: Cells | Parts,
        *,
        val: Cells | None = None,
        cut: CutOf = "given",
        out: str | Path | None = None,
        tests: Mapping[str, Cells] | None = None,
        home: Cells | None = None,
        show: bool | None = None,
        command: str = "",
        min_count: int | None = None,
        prepared: Prepared | None = None,
        callbacks: Sequence[Any] = (),
        source: Mapping[str, Any] | None = None,
        chosen: Mapping[str, Any] | None = None,
        minutes: float | Budget | None = None,
        networks: Sequence[Backbone] = (),
    ) -> Outcome:
        """Do the whole job.

        Args:
            cells: With labels. A source with parts (a folder with train, val and test, an npz with ``train_images``, a
                table with a column ``split``) or ``Parts`` give a cut, which is taken as it is.
            val: A set that is given for validation, which is left as it is.
            cut: ``"own"`` makes a cut of all images, where a source gives one.
            out: Folder for the run, its tables, ``report.html`` and ``report.md``. After a kill the same call resumes
                with the epoch that was interrupted.
            tests: Further sets to report on, by name; nothing is chosen or cleaned on them. With ``dedup``, a warning
                counts the copies of training or validation images in them.
            home: With ``Trainer(start=...)``, labelled images of the laboratory that the run comes from. They are mixed
                into the training, with their classes matched by name, so that it is not forgotten; those of the run's
                own validation and test parts are not trained on. None mixes nothing in. The report says what was lost
                there: on the run's own validation images, if they can still be read.
            show: True shows each step, False hides it; None shows it on a terminal and in a notebook.
            command: What the report names as the way to make it again.
            min_count: In further sets, classes with fewer images are listed but not in the macro averages; None takes
                10, where two classes or more have as many, as in the own sets.
            prepared: What ``prepare`` of a pipeline with the same steps gave for these images, so that several
                trainings share it; None prepares them.
            callbacks: Called after each epoch, see ``Trainer.fit``.
            source: How the images can be read again, for ``rerun``: the arguments of ``load``, or
                ``{"made": ...}`` those of ``make_cells``; None takes the paths that were given.
                ``"tests"`` may name the SRC of each further set, ``"home"`` is the same for ``home``.
            chosen: What another run chose by itself, see ``Trainer.fit``.
            minutes: How long the whole job may take, from cleaning to report: epochs and sizes of images are chosen for
                it, see ``Trainer.fit``. It ends with a calibrated run and its report however short that is; where it
                was too short, both say so. Where cleaning all images would take more than a third of it, a stratified
                sample is used; where even scoring the training images would take a tenth of it, the report scores some.
            networks: With ``minutes``, networks from which one may be chosen in place of the trainer's own, such as
                ``cellclf.training.pretrained_here()``: the most accurate on ImageNet that gets through half of the
                recipe's work in the time, by a few measured steps. Not where stages name layers, where weights are
                random, and where a run is continued.

        Raises:
            CellclfError: See ``check``, ``Trainer.fit``.
        """
        budget = budget_of(minutes)
        source = source_of(cells, val, cut) if source is None else source
        given = read_cut(cells, val, cut)
        given_tests, tests = tests, tests_as_cells(tests)
        sources = {name: str(test) for name, test in (given_tests or {}).items() if isinstance(test, str | Path)}
        check_callbacks(callbacks)
        check_parameters(self)
        joined, tests = self._joined(given, tests, home)
        given = joined.given
        self.check(given, tests=tests, out=out)
        others = () if budget is None else networks
        own = weights_are_here(self.check_weights, self.trainer, others)
        cells = whole(given)
        folder = None if out is None else expanded(out)
        with held(folder), showing(show) as shown:
            bars = None if shown else False
            if budget is not None:
                budget.open(folder)
            earlier = None if folder is None else read_manifest(folder)
            if prepared is None:
                joined, chosen = images_in_time(joined, self.dedup, self.outliers, budget, chosen, earlier)
                prepared = prepare(joined, **self._steps())
            trainer, network = network_in_time(self.trainer, others, prepared, budget, earlier, own=own)
            table, recipe = split_table(prepared), dataclasses.replace(self, trainer=trainer).resolved().to_dict()
            record = {
                "command": command,
                "source": ({} if cells.fit == "stretch" else {"fit": cells.fit}) | dict(source),
                "split": {
                    **{name: len(getattr(prepared.parts, name)) for name in ("train", "val", "test")},
                    "given": list(prepared.given),
                    **({"home": len(joined.home)} if joined.home else {}),
                    "sha256": hashlib.sha256(table.encode()).hexdigest(),
                },
                "recipe": recipe,
                **({"network": network} if network else {}),
            }
            started = time.perf_counter()
            copies = {} if self.dedup is None else count_copies(prepared, tests or {}, self.dedup)
            seconds = prepared.seconds | ({"leaks": time.perf_counter() - started} if tests or prepared.given else {})
            if budget is not None:
                further = len(prepared.parts.test) + sum(map(len, (tests or {}).values())) + len(joined.home)
                reserve(budget, len(prepared.train), len(prepared.val), further, report=folder is not None)
            run = trainer.fit(
                prepared.train,
                prepared.val,
                out=folder,
                show=shown,
                callbacks=callbacks,
                record=record,
                chosen=chosen,
                minutes=budget,
            )
            seconds["training"] = run.manifest["seconds"]
            started = time.perf_counter()
            sets = {"train": prepared.train, "val": prepared.val}
            if self.expand is not None:
                sets["train"] = prepared.train.subset(rows_of(prepared.train, prepared.parts.train))
            if budget is not None:
                sets["train"] = scored_in_time(sets["train"], run.manifest)
            if len(prepared.parts.test):
                sets["test"] = prepared.parts.test
            names = cells.class_names
            for name, test in (tests or {}).items():
                sets[name] = test.replace(labels=match_labels(test, names), class_names=names)
            reports: dict[str, Report] = {}
            domain_shifts: dict[str, DomainShift] = {}
            for name, part in sets.items():
                count = min_count if name in tests else None
                if name in ("train", "val"):
                    reports[name] = run.evaluate(part, min_count=count, show=bars)
                else:  # once through the network
                    reports[name], shift = run.evaluate_and_compare(part, min_count=count, show=bars)
                    domain_shifts |= {} if shift is None else {name: shift}
            forgetting = self._measure_home(run, joined, prepared.val, folder, show=bars)
            seconds["evaluation"] = time.perf_counter() - started
            page = None
            if folder is not None:
                page = write_report(
                    folder,
                    run=run,
                    recipe=recipe,
                    prepared=prepared,
                    augmenter=self.trainer.augmenter or (None if self.expand is None else self.expand.augmenter()),
                    sets=sets,
                    reports=reports,
                    domain_shifts=domain_shifts,
                    copies=copies,
                    home=forgetting,
                    searched="" if self.dedup is None else self.dedup.searched(),
                    seconds=seconds,
                    command=command,
                    sources={**sources, **dict((source or {}).get("tests") or {})},
                )
            if budget is not None:
                logger.info(where_it_went(budget, seconds))
            return Outcome(run=run, prepared=prepared, reports=reports, page=page, home=forgetting)

    def _measure_home(
        self, run: Run, joined: Joined, val: ImageSet, folder: Path | None, *, show: bool | None
    ) -> Forgetting | None:
        parent = self.trainer.parent()
        if parent is None:
            return None
        found = measure_home(parent, run, home_cells(parent, joined, val), show=show)
        logger.info(found.summary())
        run.manifest["home"] = found.short()
        if folder is not None:
            write_manifest(folder, run.manifest)
        return found


def _raise(error: CellclfError) -> None:
    raise error
