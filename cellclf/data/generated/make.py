"""make_cells: a whole generated data set, with planted problems."""

from __future__ import annotations

import io
import operator

import numpy as np
from numpy.typing import NDArray

from cellclf.data.generated.non_cells import KINDS, draw_non_cell
from cellclf.data.generated.slide import draw_image, draw_slide
from cellclf.data.image_set import ImageSet
from cellclf.errors import OptionError, unknown
from cellclf.utils.progress import track

CLASSES = (
    "basophil",
    "eosinophil",
    "erythroblast",
    "immature_granulocyte",
    "lymphocyte",
    "monocyte",
    "neutrophil",
    "platelet",
)
_SHARES = {"real": (852, 2181, 1085, 2026, 849, 993, 2330, 1643), "even": (1,) * 8}
_GOLDEN = (5**0.5 - 1) / 2
_ONE_CLASS = CLASSES.index("monocyte")
"""The class that holds all copies of the second landscape."""

_CHANGES = ("jpeg", "brighter", "darker", "turn90", "turn180", "turn270", "flip", "flip90", "flip180", "flip270")
_CELL, _SLIDE, _PLANT, _NON_CELL = range(4)  # every random generator has its own key: (seed, one of these, number)


def make_cells(
    n: int = 400,
    *,
    size: int = 96,
    seed: int = 0,
    balance: str = "real",
    slides: int | None = None,
    severity: float = 0.0,
    duplicates: int = 0,
    conflicts: int = 0,
    near_duplicates: int = 0,
    foreign: int = 0,
    foreign_copies: int = 0,
) -> ImageSet:
    """Draw a data set of blood cells in eight classes, and plant problems in it on request.

    The n cells come first, then what was planted. ``cellclf.data.generated.planted`` reads the truth from the ids.
    The same seed gives the same bytes (with the same numpy and scipy); the first cells of a longer set are those of
    a shorter one; and ``severity`` shows the same cells as an external laboratory would.

    Args:
        n: Distinct cells, 1 or more.
        size: Height and width in pixels, 16 or more.
        seed: 0 or more.
        balance: "real" keeps the class sizes of Acevedo et al. 2020 (from 7 % to 20 %), "even" makes them equal.
        slides: Number of slides, named in ``groups``, each with its own stain and light; None gives every cell a
            slide of its own, and no groups.
        severity: 0 to 1: from the own laboratory to an external one (stain, camera, focus, magnification).
        duplicates: Cells that get an identical copy.
        conflicts: Cells that get an identical copy under another label.
        near_duplicates: Cells that get a changed copy: saved as JPEG, brighter, darker, turned, flipped, in turn.
        foreign: Non-cell images (a landscape, text, a flat colour, noise, in turn), under any label.
        foreign_copies: Copies of one landscape in every class, and of another landscape in the class monocyte.

    Returns:
        The images, labels, class names and ids, with groups if ``slides`` is given.

    Raises:
        OptionError: A number out of range.
        UnknownNameError: No such balance.

    Examples:
        >>> make_cells(40, size=32)
        ImageSet: 40 images 32x32, 8 classes

    Source: class sizes and appearance after Acevedo et al. 2020, "A dataset of microscopic peripheral blood cell images
    for development of automatic recognition systems", Data in Brief 30, 105474.
    """
    if balance not in _SHARES:
        raise unknown("balance", balance, _SHARES)
    for name, value, least in (
        ("n", n, 1),
        ("size", size, 16),
        ("seed", seed, 0),
        ("slides", 1 if slides is None else slides, 1),
        ("duplicates", duplicates, 0),
        ("conflicts", conflicts, 0),
        ("near_duplicates", near_duplicates, 0),
        ("foreign", foreign, 0),
        ("foreign_copies", foreign_copies, 0),
    ):
        _check_whole(name, value, least)
    if not 0 <= severity <= 1:
        raise OptionError(f"severity is {severity}; expected 0 (the same laboratory) to 1 (an external one)")
    copies, landscapes = duplicates + conflicts + near_duplicates, foreign_copies * (len(CLASSES) + 1)
    if copies > n:
        raise OptionError(
            f"duplicates, conflicts and near_duplicates add up to {copies}, but there are only {n} cells to copy, "
            "each once: raise n or plant fewer"
        )

    total = n + copies + foreign + landscapes
    images = np.empty((total, size, size, 3), np.uint8)
    labels = np.empty(total, np.int64)
    on_slide = np.arange(total) % (slides or total)
    ids: list[str] = []

    bounds = np.cumsum(_SHARES[balance]) / np.sum(_SHARES[balance])
    start = np.random.default_rng((seed, _PLANT, 0)).random()
    labels[:n] = np.searchsorted(bounds, (start + _GOLDEN * np.arange(n)) % 1.0, side="right")
    for k in track(range(n), label="drawing cells", unit="cell"):
        slide = draw_slide(np.random.default_rng((seed, _SLIDE, on_slide[k])), severity)
        rng = np.random.default_rng((seed, _CELL, k))
        images[k] = draw_image(CLASSES[labels[k]], size, slide, rng)
        ids.append(f"cell-{k:05d}")

    rng = np.random.default_rng((seed, _PLANT, 1))
    changes = ["copy"] * duplicates + ["relabelled"] * conflicts
    changes += [_CHANGES[k % len(_CHANGES)] for k in range(near_duplicates)]
    for place, source, change in zip(range(n, n + copies), rng.permutation(n)[:copies], changes, strict=True):
        images[place] = _changed(images[source], change)
        other = int(rng.integers(1, len(CLASSES))) if change == "relabelled" else 0
        labels[place] = (labels[source] + other) % len(CLASSES)
        on_slide[place] = on_slide[source]
        ids.append(f"{ids[source]}:{change}")

    place = n + copies
    for k in range(foreign):
        kind = KINDS[k % len(KINDS)]
        image_rng = np.random.default_rng((seed, _NON_CELL, k + 2))
        labels[place + k] = image_rng.integers(len(CLASSES))
        images[place + k] = draw_non_cell(kind, size, image_rng)
        ids.append(f"foreign-{kind}-{k:03d}")

    place += foreign
    everywhere = [label for label in range(len(CLASSES)) for _ in range(foreign_copies)]
    for k, (name, under) in enumerate((("everywhere", everywhere), ("crowd", [_ONE_CLASS] * foreign_copies))):
        stop = place + len(under)
        images[place:stop] = draw_non_cell("photo", size, np.random.default_rng((seed, _NON_CELL, k)))
        labels[place:stop] = under
        ids += [f"foreign-{name}" + (f":copy-{j:05d}" if j else "") for j in range(len(under))]
        place = stop

    groups = None if slides is None else [f"slide-{k:03d}" for k in on_slide]
    return ImageSet(images, labels, class_names=CLASSES, ids=ids, groups=groups)


def _check_whole(name: str, value: object, least: int) -> None:
    try:
        whole = operator.index(value)  # type: ignore[arg-type]  # what is not a whole number is refused here
    except TypeError:
        whole = least - 1
    if whole < least:
        raise OptionError(f"{name} is {value!r}; expected a whole number, {least} or more")


def _changed(image: NDArray[np.uint8], change: str) -> NDArray[np.uint8]:
    """Make a copy, or a near-duplicate: ``flip90`` is flipped left to right, then turned by 90 degrees."""
    if change in ("copy", "relabelled"):
        return image
    if change == "jpeg":
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=60)
        return np.asarray(Image.open(file))
    if change in ("brighter", "darker"):
        factor = 1.12 if change == "brighter" else 0.85
        lit: NDArray[np.uint8] = np.clip(image * factor + 0.5, 0, 255).astype(np.uint8)
        return lit
    turns = int("".join(c for c in change if c.isdigit()) or 0) // 90
    return np.rot90(image[:, ::-1] if change.startswith("flip") else image, turns)
