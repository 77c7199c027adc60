"""A run on bad images: which corruptions its training has met, and how it fares."""

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
        run: Its manifest tells the trainer's augmenter, shifted validation set and mixing; the recipe in its folder
            tells whether augmented copies were written into the training set.
    """
    folder = None if run.folder is None else str(run.folder)
    return tuple(dict.fromkeys(_met(run.manifest | ({} if folder is None else {"folder": folder}))))


def _met(manifest: Mapping[str, Any]) -> Iterator[str]:
    for member in manifest.get("members", ()):
        yield from _met(member)
    trainer = manifest.get("trainer", {})
    tables = [trainer.get("augmenter"), trainer.get("val_augmenter")]
    recipe = Path(manifest["folder"]) / "recipe.toml" if "folder" in manifest else None
    if recipe is not None and recipe.exists():
        expand = tomllib.loads(recipe.read_text(encoding="utf-8")).get("expand")
        tables.append(None if expand is None else {"preset": expand.get("preset", "report")})
    for augmenter in (Augmenter.from_dict(table) for table in tables if table):
        yield from augmenter.names() if augmenter.strength else ()
    if trainer.get("mix", {}).get("kind") in ("cutmix", "both"):
        yield "cutmix"


def stress(
    run: Run,
    cells: ImageSet,
    suite: str | Path | ImageSet,
    *,
    seen: Sequence[str] | None,
    tta: int | Sequence[str],
    min_count: int,
    seed: int,
    batch_size: int,
    show: bool | None,
) -> Robustness:
    """Do what ``Run.robustness`` says."""
    name, shifted = load_suite(suite, run.input_shape[:2])

    def matched(found: ImageSet) -> ImageSet:
        return found.replace(labels=match_labels(found, run.class_names), class_names=run.class_names)

    return robustness(
        lambda images: run.predict_proba(images, batch_size=batch_size, tta=tta),
        matched(cells),
        MEDMNIST_C if shifted is None else matched(shifted),
        name=name,
        seen=augmented_with(run) if seen is None else seen,
        seed=seed,
        min_count=min_count,
        batch_size=batch_size,
        show=show,
    )
