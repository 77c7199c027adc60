"""Robustness of a run: its scores on corrupted images, and which corruptions its training has seen."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.augmentation.augmenter import Augmenter
from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.evaluation.robustness.measure import load_suite, robustness
from cellclf.evaluation.robustness.result import MEDMNIST_C, Robustness

if TYPE_CHECKING:
    from cellclf.runs.run import Run


def augmented_with(run: Run) -> tuple[str, ...]:
    """Name every step of augmentation that a run was trained on or chosen by; of an ensemble, those of all members.

    Args:
        run: Its manifest names the trainer's augmenter, val_augmenter and mix, and what the run that it continues was
            trained on; the recipe in its folder says whether augmented copies were added to the training set.
    """
    return steps_of(run.manifest, run.folder)


def steps_of(manifest: Mapping[str, Any], folder: Path | None) -> tuple[str, ...]:
    """Do the work of ``augmented_with`` for the manifest of a run and its folder, None if it has none."""
    place = {} if folder is None else {"folder": str(folder)}
    return tuple(dict.fromkeys(_step_names({**manifest, **place})))


def _step_names(manifest: Mapping[str, Any]) -> Iterator[str]:
    for member in manifest.get("members", ()):
        yield from _step_names(member)
    yield from (manifest.get("parent") or {}).get("augmented_with", ())
    trainer = manifest.get("trainer") or {}
    tables = [trainer.get("augmenter"), trainer.get("val_augmenter")]
    recipe = Path(manifest["folder"]) / "recipe.toml" if "folder" in manifest else None
    if recipe is not None and recipe.exists():
        expand = tomllib.loads(recipe.read_text(encoding="utf-8")).get("expand")
        tables.append(None if expand is None else {"preset": expand.get("preset", "report")})
    for augmenter in (Augmenter.from_dict(table) for table in tables if table):
        yield from augmenter.names() if augmenter.strength else ()
    if (trainer.get("mix") or {}).get("kind") in ("cutmix", "both"):
        yield "cutmix"


def measure_robustness(
    run: Run,
    cells: ImageSet,
    suite: str | Path | ImageSet,
    *,
    seen: Sequence[str] | None,
    tta: int | Sequence[str],
    min_count: int | None,
    seed: int,
    batch_size: int,
    show: bool | None,
) -> Robustness:
    """Load the suite and measure the run on it."""
    name, suite_cells = load_suite(suite, run.input_shape[:2])

    def matched(found: ImageSet) -> ImageSet:
        return found.replace(labels=match_labels(found, run.class_names), class_names=run.class_names)

    return robustness(
        # without a bar: the measurement draws its own
        lambda images: run.predict_proba(images, batch_size=batch_size, tta=tta, show=False),
        matched(cells),
        MEDMNIST_C if suite_cells is None else matched(suite_cells),
        name=name,
        seen=augmented_with(run) if seen is None else seen,
        seed=seed,
        min_count=min_count,
        batch_size=batch_size,
        show=show,
    )
