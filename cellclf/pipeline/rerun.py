"""Rerun: repeat a run from its folder, and compare the two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.cuts import given_parts, whole
from cellclf.data.decisions import Decisions
from cellclf.data.image_set import ImageSet
from cellclf.data.split import Parts
from cellclf.errors import RunFolderError
from cellclf.pipeline.pipeline import Pipeline
from cellclf.pipeline.recipe import make_trainer, read_recipe
from cellclf.pipeline.source import read_source
from cellclf.runs.run import Run, load_run
from cellclf.training.adapt.run import root_of
from cellclf.training.start import parent_of
from cellclf.training.teacher import check_same_teacher
from cellclf.training.trainer import with_all_settings
from cellclf.utils.atomic import expanded
from cellclf.utils.locks import scratch
from cellclf.utils.results import Result

_COMPARED = 1_000  # images on which two adaptations are compared
ROUNDING = 1e-3
"""Largest difference of a probability that counts as rounding."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Rerun(Result):
    """A run and its repetition.

    Args:
        first: The stored run.
        second: The repeated run.
        differences: One line for each difference, also of versions and machines.
        exact: Whether all weights are the same bit for bit.
        largest: Largest difference of a probability on the validation images.
        images: Whether both were trained and validated on the same images.
    """

    first: Run
    second: Run
    differences: tuple[str, ...]
    exact: bool
    largest: float
    images: bool

    @property
    def same_epochs(self) -> bool:
        """Whether both ran the same epochs, kept the same ones, and had the same losses within rounding.

        Losses only: where probabilities differ by rounding, accuracy and F1 can differ by a whole image.
        """
        one, other = self.first.history, self.second.history
        return len(one) == len(other) and all(map(_same_epoch, one, other))

    @property
    def matches(self) -> bool:
        """Whether both are the same: the same images and epochs, and probabilities equal within rounding."""
        return self.images and self.same_epochs and self.largest <= ROUNDING

    def __str__(self) -> str:
        if self.matches and self.exact:
            epochs = f"{len(self.first.history)} epochs, " if self.first.history else ""
            lines = [f"the same, bit for bit: {epochs}all weights"]
        elif self.matches:
            lines = [f"the same within rounding: probabilities differ by at most {self.largest:.1g}"]
        elif self.images and self.largest <= ROUNDING:
            lines = ["NOT the same: the same end, but other epochs"]
        elif self.images:
            lines = [f"NOT the same: probabilities differ by up to {self.largest:.2g}"]
        else:
            lines = ["NOT the same: other images"]
        return "\n".join([*lines, *(f"  {difference}" for difference in self.differences)])

    def to_dict(self) -> dict[str, Any]:
        """Give what differs as plain data."""
        return {
            "matches": self.matches,
            "exact": self.exact,
            "largest_difference": self.largest,
            "same_images": self.images,
            "same_epochs": self.same_epochs,
            "differences": list(self.differences),
        }


def rerun(
    folder: str | Path,
    *,
    cells: ImageSet | Parts | tuple[ImageSet, ImageSet] | None = None,
    start: str | Path | None = None,
    out: str | Path | None = None,
    show: bool | None = None,
) -> Rerun:
    """Repeat a run and compare: the images, the split, each epoch, the weights.

    An adapted run is adapted again from the run that it came from, with the labels in its folder.

    Args:
        folder: A finished run, made by ``Pipeline.run``, ``Trainer.fit``, ``Run.adapt`` or the command line.
        cells: Its images; ``Parts`` or (training, validation) for a run whose cut was given, and the two for one of
            ``Trainer.fit`` alone, (images, home) for one that mixed in images of its own laboratory. None loads them
            from the source that the manifest names.
        start: The run that it continued, if that is no longer where it was; its weights must be the same.
        out: Folder for the repeated run, where it resumes after a stop; None keeps nothing.
        show: True shows each step, False hides it; None shows it on a terminal and in a notebook.

    Raises:
        RunFolderError: The run is not finished, its manifest does not name the source of its images, or the run that
            it continued or was adapted from is not found or has other weights now.
    """
    first = load_run(folder)
    if "adaptation" in first.manifest:
        return _readapted(first, folder, cells, out, show)
    if missing := [name for name in ("data", "trainer") if name not in first.manifest]:
        raise RunFolderError(
            f"the manifest of {folder} lacks {' and '.join(missing)}, so the run can predict but not be repeated"
        )
    chosen, minutes = (
        first.manifest.get("chosen"),
        first.manifest.get("minutes"),
    )  # its steps are repeated, not its time
    source = first.manifest.get("source") or {}
    of_pipeline = (expanded(folder) / "recipe.toml").is_file()
    continued = _parent(first, folder, start)
    check_same_teacher(first.manifest, folder)
    with scratch() as temporary:
        target = temporary / "run" if out is None else expanded(out)
        if of_pipeline:
            given, home = _of_pipeline(first, cells, source, folder)
            table = read_recipe(folder)
            table["trainer"] |= continued
            pipe = Pipeline.from_recipe(table)
            outcome = pipe.run(given, out=target, home=home, show=show, source=source, chosen=chosen, minutes=minutes)
            second, val = outcome.run, outcome.prepared.val
        else:
            two = tuple(whole(_read(source.get(part), folder)) for part in ("train", "val")) if cells is None else cells
            if not isinstance(two, tuple):
                raise RunFolderError(f"{folder} was trained on two sets; expected (training, validation)")
            train, val = two
            if not continued:
                val = val.align(train.class_names)
            settings = with_all_settings(first.manifest["trainer"]) | continued
            trainer = make_trainer(settings, settings["seed"])
            record = {"source": source}
            second = trainer.fit(train, val, out=target, show=show, record=record, chosen=chosen, minutes=minutes)
            if (parent := trainer.parent()) is not None:
                _, val = parent.fitted(train, val)
        second.folder = None if out is None else target
    same = first.manifest["data"] == second.manifest["data"]
    first.runtime = second.runtime = "keras"  # in ONNX Runtime, which only one may have kept, digits differ
    probabilities = [run.predict_proba(val, show=False) for run in (first, second)]
    return Rerun(
        first=first,
        second=second,
        differences=tuple(_differences(first, second)),
        exact=_hash(first) == _hash(second) and _unlike_epoch(first, second) is None,
        largest=_largest(*probabilities),
        images=same,
    )


def _of_pipeline(
    first: Run,
    cells: ImageSet | Parts | tuple[ImageSet, ImageSet] | None,
    source: Mapping[str, Any],
    folder: str | Path,
) -> tuple[ImageSet | Parts, ImageSet | None]:
    """Give the images of a pipeline's run, and those of its own laboratory that it mixed in."""
    mixed = bool(_of(first, "split", "home"))
    if cells is None:
        return _read(source, folder), whole(_read(source.get("home"), folder)) if mixed else None
    if mixed:
        if not isinstance(cells, tuple):
            raise RunFolderError(f"{folder} mixed images of its own laboratory in; expected two sets: (images, home)")
        return cells
    if isinstance(cells, tuple):
        if "val" not in (_of(first, "split", "given") or ()):
            raise RunFolderError(f"{folder} is the run of a pipeline; expected one set of images, not two")
        return given_parts(*cells), None
    return cells, None


def _readapted(
    first: Run,
    folder: str | Path,
    cells: ImageSet | Parts | tuple[ImageSet, ImageSet] | None,
    out: str | Path | None,
    show: bool | None,
) -> Rerun:
    """Adapt once more the run that an adapted one came from."""
    root, lost = root_of(first)
    if lost:
        raise RunFolderError(f"{lost[0].split(':')[0]}, so that the adaptation in {folder} cannot be repeated")
    source, table = first.manifest.get("source") or {}, first.manifest.get("adaptation") or {}
    given = whole(_read(source.get("cells"), folder)) if cells is None else cells
    if not isinstance(given, ImageSet):
        raise RunFolderError(f"{folder} was adapted to one set of cells; expected one set, not two")
    home = whole(_read(source.get("home"), folder)) if "home" in first.manifest.get("data", {}) else None
    known = set(given.ids.tolist())
    rows = [] if first.decisions is None else [row for row in first.decisions if row.id in known]
    second = root.adapt(
        given,
        Decisions(rows) if rows else None,
        classes=table.get("classes"),
        home=home,
        out=out,
        seed=table.get("seed", 0),
        show=show,
    )
    first.runtime = second.runtime = "keras"  # in ONNX Runtime, which only one may have kept, digits differ
    probabilities = [run.predict_proba(given[:_COMPARED], show=False) for run in (first, second)]
    return Rerun(
        first=first,
        second=second,
        differences=tuple(_differences(first, second)),
        exact=_hash(first) == _hash(second),
        largest=_largest(*probabilities),
        images=first.manifest.get("data") == second.manifest["data"],
    )


def _parent(first: Run, folder: str | Path, start: str | Path | None) -> dict[str, str]:
    """Give the trainer's setting ``start``, if the run continued another one, whose weights are checked."""
    parent = first.manifest.get("parent")
    if parent is None:
        if start is not None:
            raise RunFolderError(f"start={str(start)!r}, but {folder} did not continue a run; expected no start")
        return {}
    where = start or parent.get("folder")
    if where is None:
        raise RunFolderError(f"{folder} continued a run in memory; save that run and give it: start=FOLDER")
    found = parent_of(where)
    if found.described()["weights_sha256"] != parent.get("weights_sha256"):
        raise RunFolderError(
            f"{where} is not the run that {folder} continued: its weights are others; expected that run: start=FOLDER"
        )
    return {"start": str(where)}


def _read(source: Mapping[str, Any] | None, folder: str | Path) -> ImageSet | Parts:
    if not source or not {"made", "src", "sources"} & {*source}:
        raise RunFolderError(
            f"the run in {folder} does not name the source of its images; give them: "
            "cellclf.rerun(folder, cells=...), or on the command line --src SRC"
        )
    return read_source(source)


def _hash(run: Run) -> str:
    from cellclf.runs.provenance import weights_sha256

    return weights_sha256(run.model)


def _largest(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one - other).max(initial=0)) if one.shape == other.shape else 1.0


def _differences(first: Run, second: Run) -> list[str]:
    """List the differences of two runs, causes before effects."""
    found = []
    for part in first.manifest["data"]:
        old, new = first.manifest["data"][part], second.manifest["data"].get(part, {})
        if old != new:
            was, now = (one.get("images", 0) for one in (old, new))
            counts = f" ({was:,}, now {now:,})" if was != now else ""
            found.append(f"other {part} images{counts}")
    if _of(first, "split", "sha256") != _of(second, "split", "sha256"):
        found.append("split.csv differs: see which images were dropped or are in another part")
    for name in ("weights_sha256", "start_sha256"):
        if first.manifest.get(name) != second.manifest.get(name):
            found.append("other pretrained weights" if name == "weights_sha256" else "other weights at the start")
    for table in ("versions", "plugins", "machine"):
        old, new = first.manifest.get(table) or {}, second.manifest.get(table) or {}
        found += [
            f"{table}: {key} {old.get(key, 'missing')}, now {new.get(key, 'missing')}"
            for key in sorted({*old, *new})
            if old.get(key) != new.get(key)
        ]
    if (difference := _unlike_epoch(first, second)) is not None:
        found.append(difference)
    if len(first.history) != len(second.history):
        found.append(f"{len(first.history)} epochs, now {len(second.history)}")
    return found


def _unlike_epoch(first: Run, second: Run) -> str | None:
    """Name the first score of the first epoch that differs."""
    for old, new in zip(first.history, second.history, strict=False):
        for name in old:
            if name != "seconds" and old[name] != new.get(name):
                where = f"from epoch {old['epoch']} of stage {old['stage']}"
                return f"{where}: {name} {old[name]}, now {new.get(name)}"
    return None


def _same_epoch(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    losses = [name for name in one if name == "loss" or name.endswith("_loss")]
    return all(one[name] == other.get(name) for name in ("stage", "epoch", "best")) and all(
        abs(one[name] - other.get(name, float("nan"))) <= ROUNDING * max(1.0, abs(one[name])) for name in losses
    )


def _of(run: Run, table: str, key: str) -> Any:
    return (run.manifest.get(table) or {}).get(key)
