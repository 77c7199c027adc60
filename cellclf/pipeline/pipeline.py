"""Pipeline: the whole job as one object; clean, split, balance, train, evaluate, report."""

from __future__ import annotations

import copy
import functools
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cellclf.augmentation.expand import Expand
from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.cleaning.downsample import Downsample
from cellclf.cleaning.outliers.filter import OutlierFilter
from cellclf.cleaning.outliers.scoring import Oddness
from cellclf.cleaning.selection import Selection
from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Split
from cellclf.errors import CellclfError, DataError, OptionError, RunFolderError, unknown
from cellclf.evaluation.metrics import Report
from cellclf.evaluation.robustness.result import stored
from cellclf.pipeline.prepare import Prepared, count_copies, split_table
from cellclf.pipeline.recipe import Table, construct, make_trainer, read_recipe, table_of
from cellclf.runs.folder import read_manifest
from cellclf.runs.run import Run
from cellclf.training.trainer import Trainer
from cellclf.utils.atomic import replacing
from cellclf.utils.locks import held, is_free

_SLOTS = ("summary", "seed", "dedup", "split", "outliers", "downsample", "expand", "trainer")


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """What a pipeline made of a set.

    Args:
        run: The trained classifier.
        prepared: What it was trained on, and what was removed.
        reports: "train", "val", "test" and the names of further sets -> scores.
        page: Path of ``report.html``; None without a folder.
    """

    run: Run
    prepared: Prepared
    reports: Mapping[str, Report]
    page: Path | None = None


@dataclass(kw_only=True)
class Pipeline:
    """The whole job: each step a slot that can be left out, replaced or used alone.

    Duplicates go first, since copies look like inliers to an outlier filter and tear a split. The outlier filter
    is fitted on the training part alone. The test part and further sets are never cleaned: they only report.

    Args:
        trainer: What is trained, and how.
        dedup: Removes duplicates and contamination; None leaves them.
        split: Cuts train, val and perhaps test.
        outliers: Removes what is no cell from train and val; None leaves it.
        downsample: Balances the training part by leaving images out; None leaves it.
        expand: Writes augmented copies into the training part; None leaves it.
        summary: What the job is for, in a line.

    Examples:
        >>> pipe = Pipeline.from_recipe("demo", ["trainer.stages.0.epochs=1"])
        >>> pipe.trainer.stages[0].epochs
        1
    """

    trainer: Trainer
    dedup: Dedup | None = None
    split: Split = field(default_factory=Split)
    outliers: OutlierFilter | None = None
    downsample: Downsample | None = None
    expand: Expand | None = None
    summary: str = ""

    @classmethod
    def from_recipe(cls, recipe: str | Path | Mapping[str, Any], settings: Sequence[str] = ()) -> Pipeline:
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
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise OptionError(f"seed = {seed!r}; expected a whole number from 0 up")
        if not isinstance(summary, str):
            raise OptionError(f"summary = {summary!r}; expected a text")

        def slot(kind: Any, name: str) -> Any:
            if name not in table:
                return None
            seeded = {"seed": seed} if name != "dedup" and isinstance(table[name], dict) else {}
            return construct(kind, {**seeded, **table[name]} if seeded else table[name], f"[{name}]")

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

        An optimizer object, a Keras model as backbone and a function as ``embed`` have no place in a recipe: they
        stand there by their names, or not at all, and must be given again.

        Examples:
            >>> pipe = Pipeline.from_recipe("fast")
            >>> Pipeline.from_recipe(pipe.to_dict()).to_dict() == pipe.to_dict()
            True
        """
        steps = ("dedup", "split", "outliers", "downsample", "expand")
        made = {name: table_of(step) for name in steps if (step := getattr(self, name)) is not None}
        trainer = self.trainer.to_dict() | {"stages": [table_of(stage) for stage in self.trainer.stages]}
        return ({"summary": self.summary} if self.summary else {}) | made | {"trainer": trainer}

    def check(
        self, cells: ImageSet, *, tests: Mapping[str, ImageSet] | None = None, out: str | Path | None = None
    ) -> None:
        """Find every mistake that can be known before the first slow step.

        Args:
            cells: With labels.
            tests: Further sets to report on, by name.
            out: Folder for the run.

        Raises:
            CellclfError: The mistake; OptionError if there are several, all named.
        """
        trainer = self.trainer
        checks: list[Callable[[], Any]] = [self.split.check, trainer.check_options]
        checks += [stage.check for stage in trainer.stages]
        if trainer.head is not None:
            checks.append(trainer.head.check)
        if trainer.augmenter is not None:
            augmenter = trainer.augmenter
            checks.append(lambda: augmenter.check(cells.image_shape))
        if self.dedup is not None:
            checks.append(self.dedup.check)
        if (outliers := self.outliers) is not None:
            checks.append(lambda: Oddness(method=outliers.method))
        if (expand := self.expand) is not None:
            checks.append(lambda: expand.check(cells))
        checks += [lambda: self._check_parts(cells), lambda: _check_folder(out)]
        checks += [functools.partial(self._check_test, name, test, cells) for name, test in (tests or {}).items()]
        found: dict[str, CellclfError] = {}
        for check in checks:
            try:
                check()
            except CellclfError as error:
                found.setdefault(str(error), error)
        if len(found) > 1:
            raise OptionError(f"{len(found)} mistakes: {'; '.join(found)}")
        for mistake in found.values():
            raise mistake

    def _check_parts(self, cells: ImageSet) -> None:
        if cells.labels is None:
            raise DataError("the images have no labels; expected one folder for each class, or labels in the file")
        if self.downsample is not None:
            self.downsample.find(cells.subset([]))
        parts = self.split.apply(cells)
        used = self.trainer
        # the sets alone: a mistake in the other options, named elsewhere, must not hide theirs
        Trainer(backbone=used.backbone, class_weight=used.class_weight, image_size=used.image_size).check(
            parts.train, parts.val
        )

    def _check_test(self, name: str, test: ImageSet, cells: ImageSet) -> None:
        taken = ("train", "val", *(["test"] if self.split.test else []))
        if name in taken:
            raise OptionError(f"a further set is called {name!r}, which is a part of the split; expected another name")
        if not len(test):
            raise DataError(f"the set {name!r} is empty")
        if test.image_shape != cells.image_shape:
            found, wanted = ("x".join(map(str, one.image_shape[:2])) for one in (test, cells))
            raise DataError(f"the set {name!r} has images of {found}, wanted {wanted} as in the training set")
        try:
            match_labels(test, cells.class_names)
        except DataError as error:
            raise DataError(f"the set {name!r}: {error}") from None

    def prepare(self, cells: ImageSet, *, show: bool = False) -> Prepared:
        """Clean, split and balance, without training.

        Args:
            cells: With labels.
            show: True tells on stderr what each step did.
        """
        seconds: dict[str, float] = {}
        removals: dict[str, Selection] = {}
        before = cells

        def say(text: str) -> None:
            if show:
                print(text, file=sys.stderr, flush=True)

        @contextmanager
        def step(name: str) -> Iterator[None]:
            started = time.perf_counter()
            yield
            seconds[name] = time.perf_counter() - started
            if name in removals:
                say(f"{name}: {removals[name].summary()}")

        if self.dedup is not None:
            with step("duplicates"):
                removals["duplicates"] = self.dedup.find(cells)
                cells = removals["duplicates"].apply(cells)
        parts = self.split.apply(cells)
        train, val = parts.train, parts.val
        say(f"split: train {len(train):,}, val {len(val):,}, test {len(parts.test):,}")
        if self.outliers is not None:
            with step("outliers"):
                fitted = copy.copy(self.outliers).fit(train)  # the pipeline's own stays as it was given
                both = cells.subset(_places(cells, train, val))
                removals["outliers"] = fitted.find(both)
                stays = set(removals["outliers"].apply(both).ids.tolist())
                train, val = (part.subset([id_ in stays for id_ in part.ids.tolist()]) for part in (train, val))
        kept = {*train.ids.tolist(), *val.ids.tolist(), *parts.test.ids.tolist()}
        after = cells.subset([id_ in kept for id_ in cells.ids.tolist()])
        if self.downsample is not None:
            with step("balance"):
                removals["balance"] = self.downsample.find(train)
                train = removals["balance"].apply(train)
        if self.expand is not None:
            with step("expansion"):
                train = self.expand.apply(train)
            say(f"expansion: train {len(train):,}")
        return Prepared(
            before=before, after=after, parts=parts, train=train, val=val, removals=removals, seconds=seconds
        )

    def run(
        self,
        cells: ImageSet,
        *,
        out: str | Path | None = None,
        tests: Mapping[str, ImageSet] | None = None,
        show: bool | None = None,
        command: str = "",
        min_count: int = 1,
        prepared: Prepared | None = None,
        callbacks: Sequence[Any] = (),
        source: Mapping[str, Any] | None = None,
    ) -> Outcome:
        """Do the whole job.

        Args:
            cells: With labels.
            out: Folder for the run, its tables, ``report.html`` and ``report.md``. After a kill the same call goes on
                with the epoch that was interrupted.
            tests: Further sets to report on, by name; nothing is chosen or cleaned on them. With ``dedup``, copies of
                training or validation images in them are told.
            show: True tells on stderr what happens, None only on a terminal.
            command: What the report names as the way to make it again.
            min_count: In further sets, classes with fewer images are listed but left out of the macro averages.
            prepared: What ``prepare`` of a pipeline with the same steps gave for these images, so that several
                trainings share it; None prepares them.
            callbacks: Look on at the training, see ``Trainer.fit``.
            source: How the images can be read again, for ``rerun``: the arguments of ``load``, or
                ``{"made": ...}`` those of ``make_cells``.

        Raises:
            CellclfError: See ``check``, ``Trainer.fit``.
        """
        shown = sys.stderr.isatty() if show is None else show
        self.check(cells, tests=tests, out=out)
        folder = None if out is None else Path(out)
        with held(folder):
            prepared = prepared or self.prepare(cells, show=shown)
            table = split_table(prepared)
            record = {
                "command": command,
                "source": dict(source or {}),
                "split": {
                    **{name: len(getattr(prepared.parts, name)) for name in ("train", "val", "test")},
                    "sha256": hashlib.sha256(table.encode()).hexdigest(),
                },
                "recipe": self.to_dict(),
            }
            started = time.perf_counter()
            copies = {} if self.dedup is None else count_copies(prepared, tests or {}, self.dedup)
            seconds = prepared.seconds | ({"leaks": time.perf_counter() - started} if tests else {})
            run = self.trainer.fit(
                prepared.train, prepared.val, out=folder, show=shown, callbacks=callbacks, record=record
            )
            seconds["training"] = run.manifest["seconds"]
            started = time.perf_counter()
            sets = {"train": prepared.train, "val": prepared.val}
            if self.expand is not None:
                sets["train"] = prepared.train.subset(_places(prepared.train, prepared.parts.train))
            if len(prepared.parts.test):
                sets["test"] = prepared.parts.test
            names = cells.class_names
            for name, test in (tests or {}).items():
                sets[name] = test.replace(labels=match_labels(test, names), class_names=names)
            least = dict.fromkeys(tests or {}, min_count)
            bar = shown and sys.stderr.isatty()
            reports = {name: run.evaluate(part, min_count=least.get(name, 1), show=bar) for name, part in sets.items()}
            seconds["evaluation"] = time.perf_counter() - started
            page = None
            if folder is not None:
                _write_text(folder / "split.csv", table)
                page = self._write(folder, prepared, run, reports, sets, copies, seconds, command)
            return Outcome(run=run, prepared=prepared, reports=reports, page=page)

    def _write(
        self,
        folder: Path,
        prepared: Prepared,
        run: Run,
        reports: Mapping[str, Report],
        sets: Mapping[str, ImageSet],
        copies: Mapping[str, int],
        seconds: Mapping[str, float],
        command: str,
    ) -> Path:
        import tomli_w

        from cellclf.reporting.content import PageContent
        from cellclf.reporting.json_report import write_data
        from cellclf.reporting.markdown import write_markdown
        from cellclf.reporting.page import write_page

        recipe = tomli_w.dumps(self.to_dict())
        _write_text(folder / "recipe.toml", recipe)
        domain_shifts = {name: run.domain_shift(part) for name, part in sets.items() if name not in ("train", "val")}
        content = PageContent(
            title=folder.resolve().name,
            cells_before=prepared.before,
            cells_after=prepared.after,
            removals=prepared.removals,
            parts=prepared.parts,
            augmenter=self.trainer.augmenter or (None if self.expand is None else self.expand.augmenter()),
            history=run.history,
            evaluations={name: (report, sets[name]) for name, report in reports.items()},
            copies=copies,
            robustness=stored(folder),
            run=run,
            confidence=run.confidence,
            domain_shifts={name: shift for name, shift in domain_shifts.items() if shift is not None},
            seconds=seconds,
            manifest=run.manifest,
            recipe_toml=recipe,
            command=command,
        )
        write_data(content, folder / "report.json")
        write_markdown(content, folder / "report.md")
        return write_page(content, folder / "report.html")


def _check_folder(out: str | Path | None) -> None:
    if out is None or not Path(out).exists():
        return
    if not Path(out).is_dir():
        raise RunFolderError(f"{out} is a file; expected a folder for the run: choose another name")
    if not is_free(Path(out)) and read_manifest(Path(out)) is None:
        raise RunFolderError(f"{out} is not empty and holds no run; choose a new folder, nothing was changed")


def _places(cells: ImageSet, *parts: ImageSet) -> list[int]:
    wanted = {id_ for part in parts for id_ in part.ids.tolist()}
    return [place for place, id_ in enumerate(cells.ids.tolist()) if id_ in wanted]


def _write_text(path: Path, text: str) -> None:
    with replacing(path) as new:
        new.write_text(text, encoding="utf-8")
