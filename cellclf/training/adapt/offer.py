"""What labels would bring a run: half of a laboratory's cells give the suggested ones, the other half is scored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cellclf.backbones.graph import zoomed
from cellclf.data.split import components
from cellclf.errors import CellclfError, DataError, OptionError
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.space import learn_space
from cellclf.runs.suggest import choose
from cellclf.runs.tta import VIEWS
from cellclf.training.adapt.adapt import adapt_labelled
from cellclf.training.adapt.candidates import Reading
from cellclf.training.adapt.reader import ZOOMS

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.runs.run import Run

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]

MOST = 600
"""So many cells are read at most: what labels bring does not depend on how many others there are."""

_VIEWS = list(VIEWS)[:4]
_SEEN = 128  # cells that are seen in several views to learn which differences mean nothing
_DRAWS = 2  # of each two models are made, one for each half


@dataclass(frozen=True, eq=False)
class Offer:
    """What was predicted after labels; made by ``offer``.

    Args:
        rows: (n,) positions of the cells that were used.
        before: (n,) what the run as it is predicts for them.
        halves: (D, n) which half each cell was in.
        after: Count of labels -> (D, n) predicted in each draw, by models that had not seen the label.
        notes: What could not be done, and why.
    """

    rows: Labels
    before: Labels
    halves: NDArray[np.bool_]
    after: dict[int, Labels] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sheet:
    """Cells as a run reads them.

    Args:
        widths: Of the layers.
        features: Zoom -> (V, n, D); 1.0 must be there.
        given: Zoom -> (V, n, K) probabilities of the run.
    """

    widths: tuple[int, ...]
    features: dict[float, NDArray[np.float32]]
    given: dict[float, NDArray[np.float32]]

    def reading(self, zoom: float, pool: Labels, picked: Labels) -> Reading:
        """Give what an adaptation sees of one half: the labelled cells first, then some others in all views."""
        rows = np.concatenate([picked, np.setdiff1d(pool, picked)[: max(0, _SEEN - len(picked))]])
        features, given = self.features[zoom], self.given[zoom]
        return Reading(zoom, self.widths, features[0, pool], given[0, pool], features[:, rows], given[:, rows])


def check_counts(counts: Sequence[int]) -> tuple[int, ...]:
    """Give the numbers of labels, each once and in order.

    Raises:
        OptionError: One that is no whole number, or below 4: of fewer labels nothing can be compared.
    """
    if isinstance(counts, str) or not isinstance(counts, Iterable):
        raise OptionError(f"label_counts={counts!r}; expected several whole numbers of 4 or more, such as (25, 50)")
    for one in counts:
        if not isinstance(one, int | np.integer) or isinstance(one, bool) or one < 4:
            raise OptionError(f"label_counts holds {one!r}; expected whole numbers of 4 or more, such as (25, 50)")
    return tuple(sorted({int(one) for one in counts}))


def offer(
    run: Run, cells: ImageSet, labels: Labels, *, counts: Sequence[int], seed: int = 0, show: bool | None = None
) -> Offer:
    """Predict cells of a laboratory after some of their neighbours were labelled.

    The cells are cut in halves, several times; of one half some are suggested and labelled, the run is adapted as
    ``Run.adapt`` does, and the other half is predicted, in one view. Copies, groups and clusters are never cut.

    Args:
        run: Whose network is read; it is not changed.
        cells: Of its size.
        labels: (N,) its classes.
        counts: Numbers of labels.
        seed: Of the halves and suggestions.
        show: True shows progress.
    """
    rows = np.arange(len(cells))
    if len(cells) > MOST:
        rows = np.sort(np.random.default_rng([seed, 11]).permutation(len(cells))[:MOST])
    some, truth = cells.subset(rows), labels[rows]
    copies = _copies(some)
    units = components(some.replace(clusters=copies))
    try:
        sheet = read(run, some, show=bool(show))
    except CellclfError as error:
        nothing = np.zeros(len(rows), np.int64)
        return Offer(rows, nothing, np.zeros((0, len(rows)), bool), notes=(f"No labels tried: {error}.",))
    before = np.asarray(sheet.given[1.0][0].argmax(1), np.int64)
    after: dict[int, Labels] = {}
    notes: list[str] = []
    dealt = [halves(units, [seed, k]) for k in range(_DRAWS)]
    if some.groups is not None and _smallest(dealt, copies) < 2 * min(counts, default=0):
        dealt = [halves(copies, [seed, k]) for k in range(_DRAWS)]
        notes.append(
            "Labels were tried with cells of one group in both halves: there are too few groups to keep apart."
        )
    for count in counts:
        if (smallest := _smallest(dealt, copies)) < 2 * count:
            notes.append(
                f"{count} labels were not tried: half of these cells are {smallest}; expected {2 * count} or more, to "
                f"suggest {count} of."
            )
            continue
        after[count] = np.stack(
            [draw(sheet, truth, half, copies, count, run.class_names, seed=seed + k) for k, half in enumerate(dealt)]
        )
    return Offer(rows, before, np.stack(dealt), after, tuple(notes))


def _smallest(dealt: Sequence[NDArray[np.bool_]], copies: Labels) -> int:
    """Count the different cells of the smallest half."""
    return min(len(np.unique(copies[side])) for half in dealt for side in (half, ~half))


def _copies(cells: ImageSet) -> Labels:
    """Number the cells so that copies and near copies have one number: those that are known, and those found now."""
    from cellclf.cleaning.dedup.dedup import Dedup

    plain = cells.replace(labels=None, groups=None)
    known = None if cells.clusters is None else cells.clusters.astype(str)
    return components(plain.replace(groups=known, clusters=Dedup(augmented="cluster").find(plain).clusters))


def halves(units: Labels, seed: Sequence[int]) -> NDArray[np.bool_]:
    """Cut cells in halves; what is one unit is in one half.

    Args:
        units: (n,) numbers.
        seed: Of the cut.

    Examples:
        >>> units = np.array([0, 0, 1, 2, 2, 3])
        >>> half = halves(units, [0])
        >>> int(half.sum()), bool(half[0] == half[1]), bool(half[3] == half[4])
        (3, True, True)
    """
    sizes_ = np.bincount(units)
    order = np.random.default_rng(seed).permutation(len(sizes_))
    order = order[np.argsort(-sizes_[order], kind="stable")]  # the large ones first, so that both get as many
    side, full = np.zeros(len(sizes_), bool), [0, 0]
    for unit in order:
        place = int(full[1] < full[0])
        side[unit] = bool(place)
        full[place] += int(sizes_[unit])
    found: NDArray[np.bool_] = side[units]
    return found


def read(run: Run, cells: ImageSet, *, show: bool = False) -> Sheet:
    """Read cells in some views and in several sizes; a size in which the network cannot be rebuilt is left out."""
    layers = feature_layers(run.model, 3)
    features: dict[float, NDArray[np.float32]] = {}
    given: dict[float, NDArray[np.float32]] = {}
    widths: tuple[int, ...] = ()
    for zoom in ZOOMS:
        try:
            reader = FeatureReader(zoomed(run.model, zoom), layers=layers)
        except CellclfError:
            if zoom == 1.0:
                raise
            continue
        features[zoom], given[zoom] = reader.read_views(cells, views=_VIEWS, show=show)
        widths = reader.widths
    return Sheet(widths, features, given)


def draw(
    sheet: Sheet,
    labels: Labels,
    half: NDArray[np.bool_],
    copies: Labels,
    count: int,
    class_names: Sequence[str],
    *,
    seed: int,
) -> Labels:
    """Predict each half after ``count`` cells of the other one were labelled.

    Args:
        sheet: The cells.
        labels: (n,).
        half: (n,) which half a cell is in.
        copies: (n,) numbers; of copies one at most is suggested.
        count: Labels.
        class_names: Of the run.
        seed: Of the suggestions and folds.
    """
    found = np.empty(len(labels), np.int64)
    for side in (False, True):
        pool, scored = np.flatnonzero(half == side), np.flatnonzero(half != side)
        picked = pool[suggested(sheet, pool, copies, count, class_names, seed)]
        found[scored] = predicted(sheet, pool, picked, labels[picked], scored, seed)
    return found


def suggested(sheet: Sheet, pool: Labels, copies: Labels, count: int, class_names: Sequence[str], seed: int) -> Labels:
    """Give positions in ``pool`` of the cells that would be suggested first."""
    used = [place >= len(sheet.widths) - 2 for place in range(len(sheet.widths))]
    features = sheet.features[1.0]
    space = learn_space(features[0, pool], features[:, pool[:_SEEN]], sheet.widths, columns=used)
    given = sheet.given[1.0][0, pool]
    return choose(space.apply(features[0, pool]), given, class_names, count, clusters=copies[pool], seed=seed).rows


def predicted(sheet: Sheet, pool: Labels, picked: Labels, labels: Labels, scored: Labels, seed: int) -> Labels:
    """Predict some cells by the run adapted with the labels of others; as it is where too few classes were met."""
    given = sheet.given[1.0][0]
    columns = np.arange(given.shape[1])
    readings = {zoom: sheet.reading(zoom, pool, picked) for zoom in sheet.features}
    try:
        made = adapt_labelled(readings, labels, columns, curve=False, seed=seed)
    except DataError:
        return np.asarray(given[scored].argmax(1), np.int64)
    found = made.mixture.probabilities(sheet.features[made.zoom][0, scored], sheet.given[made.zoom][0, scored])
    return np.asarray(found.argmax(1), np.int64)
