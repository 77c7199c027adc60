"""The pool that cells are suggested from: what in a laboratory is labelled, copied, doubtful and alike."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.decisions import UNANSWERED, Decisions, load_decisions
from cellclf.data.image_set import ImageSet
from cellclf.data.slips import check_ids
from cellclf.data.split import components
from cellclf.errors import DataError, OptionError
from cellclf.evaluation.calibration import scale
from cellclf.runs.features.pooled import each_view, read
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.recent import recent
from cellclf.runs.features.space import learn_space
from cellclf.runs.provenance import weights_sha256
from cellclf.runs.suggest import choose
from cellclf.runs.suggestion import Suggestion
from cellclf.runs.tta import view_names
from cellclf.utils.parameters import shortened

if TYPE_CHECKING:
    from cellclf.runs.run import Run

Floats = NDArray[np.float64]

_POOL = 20_000  # so many cells are looked at, at most: 25 are as well chosen from these as from all
_VIEWED = 256  # of so many, all flips and turns are read
_FEWEST = 20  # different images from which on outliers among them can be found
_REFUSED = 0.005  # fraction of known cells that are beyond the limit of out-of-distribution images
_NEIGHBOURS = 4


@dataclass(frozen=True, eq=False)
class Pool:
    """What is known of the cells of a laboratory, in an order that depends on their pixels alone.

    Args:
        rows: (n,) positions in the set that was given.
        cells: The images, at the run's size, without labels.
        ids: n texts, each once, that name the pixels.
        coordinates: (n, r) in which near means alike.
        probabilities: (n, K) of the run.
        clusters: (n,) duplicates of each other have one number, near duplicates, too.
        doubtful: (n,) blurred, out-of-distribution and non-cell images.
    """

    rows: NDArray[np.int64]
    cells: ImageSet
    ids: tuple[str, ...]
    coordinates: Floats
    probabilities: NDArray[np.float32]
    clusters: NDArray[np.int64]
    doubtful: NDArray[np.bool_]


def suggest(
    run: Run,
    reader: FeatureReader,
    given: ImageSet,
    fitted: ImageSet,
    *,
    count: int,
    labelled: Any,
    seed: int,
    show: bool | None,
) -> Suggestion:
    """Do what ``Run.suggest`` says.

    Args:
        run: Asked.
        reader: Of the layers that it adapts on.
        given: The cells in their own size.
        fitted: The same at the run's size.
        count: See ``Run.suggest``.
        labelled: See ``Run.suggest``.
        seed: See ``Run.suggest``.
        show: See ``Run.suggest``.
    """
    if not len(given):
        raise DataError("there are no cells to suggest from; expected at least one image")
    ids = given.ids.tolist()
    seen = answered_ids(labelled, ids) | _learnt_from(run, len(ids))
    answered = np.asarray([id_ in seen for id_ in ids])
    looked_at = _looked_at(ids, answered)
    pool = describe(run, reader, fitted.subset(looked_at), show=show)
    rows = looked_at[pool.rows]
    known = np.flatnonzero(answered[rows])
    found = choose(
        pool.coordinates,
        pool.probabilities,
        run.class_names,
        count,
        ids=pool.ids,
        clusters=pool.clusters,
        groups=pool.cells.groups,
        doubtful=pool.doubtful,
        labelled=known,
        seed=seed,
    )
    excluded = dict(found.excluded)
    if left := len(given) - len(looked_at):
        excluded[f"not looked at ({len(looked_at):,} were, drawn by chance)"] = left
    believed = pool.probabilities[found.rows].astype(np.float64)
    if run.confidence is not None:
        believed = scale(believed, run.confidence.temperature)
    return Suggestion(
        cells=given,
        rows=rows[found.rows],
        reasons=found.reasons,
        excluded=excluded,
        asked=count,
        class_names=run.class_names,
        guesses=tuple((run.class_names[row.argmax()], float(row.max())) for row in believed),
        neighbours=tuple(rows[_nearest(pool, int(row))] for row in found.rows),
        next_step="run.adapt(cells, 'labelled.csv')",
        seed=seed,
    )


def answered_ids(labelled: Any, ids: Sequence[str]) -> set[str]:
    """Find which cells need not be asked about: those about which somebody has decided.

    Args:
        labelled: A path of a table, or ``Decisions``, of which those without an answer do not count; a mapping of ids
            to class names; a set of labelled cells; ids. None: none.
        ids: Of the cells.

    Raises:
        DataError: Ids that are not those of the cells, or no table.
        OptionError: Something else.

    Examples:
        >>> sorted(answered_ids({"a": "neutrophil", "b": "unsure"}, ["a", "b", "c"]))
        ['a', 'b']
    """
    if labelled is None:
        return set()
    if isinstance(labelled, str | Path):
        labelled = load_decisions(labelled)
    elif isinstance(labelled, Mapping):
        labelled = Decisions.from_labels(labelled)
    if isinstance(labelled, Decisions):
        return {row.id for row in labelled.match(ids) if row.decision != UNANSWERED}
    if isinstance(labelled, ImageSet):
        labelled = labelled.ids
    if isinstance(labelled, Collection | np.ndarray) and not isinstance(labelled, bytes):
        return set(check_ids(list(map(str, labelled)), ids).values())
    raise OptionError(
        f"labelled={shortened(labelled)}; expected the path of a table, Decisions, a mapping of ids to class names, or "
        "ids"
    )


def _learnt_from(run: Run, count: int) -> set[str]:
    """Give the ids of the cells that an adapted run has learnt from.

    Cells without names are numbered in every set: only one of as many cells can be the set that it was adapted to.
    """
    found = {row.id for row in run.decisions or () if row.decision != UNANSWERED}
    described = run.manifest.get("data", {}).get("cells")
    images = described.get("images") if isinstance(described, Mapping) else None
    return set() if images != count and all(id_.isdecimal() for id_ in found) else found


def describe(run: Run, reader: FeatureReader, cells: ImageSet, *, show: bool | None = None) -> Pool:
    """Describe cells by what a run sees in them, and by what is seen without it.

    Args:
        run: Its limit for out-of-distribution images is used, if it is calibrated.
        reader: Of the layers that it adapts on.
        cells: At the run's size, at least one.
        show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

    Raises:
        DataError: A network that gives no numbers.
    """
    known, probabilities, features = read(reader, cells, show=show)
    if not (np.isfinite(features).all() and np.isfinite(probabilities).all()):
        raise DataError("the network gives NaN or infinity for some of these cells, so that nothing can be suggested")
    contents = [
        hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).hexdigest()
        for batch in cells.batches(show=False)
        for image in batch
    ]
    ids = cells.ids.tolist()
    order = np.asarray(sorted(range(len(cells)), key=lambda k: (contents[k], ids[k])), np.int64)
    pool = cells.subset(order).replace(labels=None)
    texts = [contents[row] for row in order]
    key = ("pool", weights_sha256(reader.model), reader.layers, cells.image_shape, tuple(texts))
    before = None if pool.clusters is None else pool.clusters.tobytes()
    # a second round asks about the same cells
    coordinates, clusters, unlike = recent(
        (*key, before), lambda: _measured(reader, pool, features[order], len(set(texts)))
    )
    return Pool(
        rows=order,
        cells=pool,
        ids=tuple(f"{text} {k}" for k, text in enumerate(texts)),
        coordinates=coordinates,
        probabilities=probabilities[order],
        clusters=clusters,
        doubtful=unlike | _far(run, known[order]),
    )


def _measured(
    reader: FeatureReader, pool: ImageSet, features: NDArray[np.float32], different: int
) -> tuple[Floats, NDArray[np.int64], NDArray[np.bool_]]:
    """Give coordinates, duplicate clusters, and which images are outliers: all that takes time."""
    from cellclf.cleaning.dedup.dedup import Dedup
    from cellclf.cleaning.outliers.filter import OutlierFilter

    many = different >= _FEWEST
    clusters = Dedup(augmented="cluster").find(pool).clusters
    if pool.clusters is not None:  # found before, or given
        before = [str(number) for number in pool.clusters]
        clusters = components(pool.replace(groups=before, clusters=clusters))
    unlike = ~OutlierFilter().find(pool).keep | _blurred(pool) if many else np.zeros(len(pool), bool)
    coordinates = _coordinates(reader, pool, features) if different > 1 else np.zeros((len(pool), 1))
    return coordinates, clusters, unlike


def _looked_at(ids: Sequence[str], answered: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Give the positions of the cells that are looked at: all that are answered, of the rest some if it is large."""
    if len(ids) <= _POOL:
        return np.arange(len(ids))
    chance = [hashlib.sha256(id_.encode("utf-8", "surrogatepass")).digest() for id_ in ids]
    drawn = sorted(range(len(ids)), key=lambda k: (not answered[k], chance[k]))
    return np.sort(np.asarray(drawn[: max(_POOL, int(answered.sum()))], np.int64))


def _coordinates(reader: FeatureReader, pool: ImageSet, features: NDArray[np.float32]) -> Floats:
    """Learn where the laboratory's cells lie, by the two deepest layers, and by flips and turns of some of them."""
    some = pool.subset(np.arange(min(len(pool), _VIEWED)))
    height, width = pool.image_shape[:2]
    views = each_view(reader, some, view_names(8 if height == width else 4, pool.image_shape))
    widths = reader.widths or (features.shape[1],)
    used = [place >= len(widths) - 2 for place in range(len(widths))]
    return learn_space(features, views, widths, columns=used).apply(features)


def _blurred(pool: ImageSet) -> NDArray[np.bool_]:
    """Find images that are far less sharp than is usual in this laboratory: platelets are smoother than other cells."""
    from cellclf.cleaning.outliers.descriptors import NAMES, describe

    place = NAMES.index("sharpness")
    sharp = np.concatenate([describe(batch)[:, place] for batch in pool.batches(show=False)]).astype(np.float64)
    middle = np.median(sharp)
    usual = 1.4826 * np.median(np.abs(sharp - middle))
    blurred: NDArray[np.bool_] = sharp < middle - 4.5 * max(usual, 0.2)
    return blurred


def _far(run: Run, known: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Find out-of-distribution images: beyond the run's limit, and far from what is usual in this laboratory.

    Another stain or microscope takes most cells beyond a limit that comes from the run's own laboratory; only those
    that are unusual here, too, are doubtful.
    """
    if run.confidence is None:
        return np.zeros(len(known), bool)
    familiar = run.confidence.familiar
    away = np.log(np.maximum(familiar.distance(known), 1e-9))
    middle = np.median(away)
    usual = 1.4826 * np.median(np.abs(away - middle))
    limit = max(np.log(max(familiar.limit(_REFUSED), 1e-9)), middle + 4 * max(usual, 0.05))
    far: NDArray[np.bool_] = away > limit
    return far


def _nearest(pool: Pool, row: int) -> NDArray[np.int64]:
    """Give the cells that look most alike, nearest first: no copies, and none that is doubtful."""
    square = np.square(pool.coordinates - pool.coordinates[row]).sum(1)
    square[pool.doubtful | (pool.clusters == pool.clusters[row])] = np.inf
    order = np.argsort(square, kind="stable")
    _, first = np.unique(pool.clusters[order], return_index=True)
    order = order[np.sort(first)]
    found: NDArray[np.int64] = order[np.isfinite(square[order])][:_NEIGHBOURS]
    return found
