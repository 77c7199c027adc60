"""Adapt a run to another laboratory: from cells and labels to a run in a folder; the work of ``Run.adapt``."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.dedup import Dedup
from cellclf.data.decisions import Decisions
from cellclf.data.door import Cells, at_size
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfError, CellclfWarning, DataError, OptionError, RunFolderError
from cellclf.evaluation.adaptation import Adaptation, AdaptedClass, Doubt, HomeScore, TriedCandidate
from cellclf.evaluation.intervals import Estimate
from cellclf.runs.features.layers import feature_layers
from cellclf.runs.folder import MANIFEST, MODEL, check_folder, read_manifest, reading_of, write_manifest
from cellclf.runs.provenance import machine, versions, weights_sha256
from cellclf.runs.run import Run, load_run
from cellclf.training.adapt.adapt import Adapted, adapt_labelled, adapt_unlabelled
from cellclf.training.adapt.calibrate import calibrate_there
from cellclf.training.adapt.graph import build_model, original
from cellclf.training.adapt.home import Home, HomeImages, StoredHome
from cellclf.training.adapt.kept import Kept
from cellclf.training.adapt.labels import Labelled, match, read_decisions
from cellclf.training.adapt.proof import Interval
from cellclf.training.adapt.reader import MOST_CELLS, Reader
from cellclf.utils.atomic import expanded
from cellclf.utils.backend import float32
from cellclf.utils.locks import held
from cellclf.utils.log import is_shown
from cellclf.utils.threads import one_blas_thread

Labels = NDArray[np.int64]

_LEAST_CELLS = 4


@float32()
def adapt_run(
    run: Run,
    cells: Cells,
    labels: Any = None,
    *,
    classes: Sequence[str] | None = None,
    home: Cells | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    show: bool | None = None,
    source: Mapping[str, Any] | None = None,
) -> Run:
    """Adapt a run; arguments as for ``Run.adapt``.

    Args:
        run: What is adapted; of a run that was adapted itself, the run that it came from is, with the labels of all
            rounds.
        cells: See there.
        labels: See there.
        classes: See there.
        home: See there.
        out: See there.
        seed: See there.
        show: See there.
        source: For the manifest: how ``cells`` and ``home`` were read, so that ``rerun`` can repeat it.
    """
    started, shown = time.monotonic(), is_shown(show)
    folder = None if out is None else expanded(out)
    if folder is not None:
        check_folder(folder)
    root, notices = root_of(run)
    _check_run(root)
    reading, size = reading_of(root.manifest), root.input_shape[:2]
    there = at_size(cells, size, reading=reading)
    if len(there) < _LEAST_CELLS:
        raise DataError(f"{len(there)} cells of the new laboratory; expected {_LEAST_CELLS} or more")
    decisions = None if labels is None else read_decisions(labels)
    known = match(
        decisions,
        there,
        root.class_names,
        classes,
        earlier=run.decisions,
        earlier_classes=_earlier(run).get("classes"),
        seed=int(seed),
    )
    for notice in known.costs:
        warnings.warn(notice, CellclfWarning, stacklevel=4)
    if labels is None and there.labels is not None and known.decisions is None:
        notices.append("the labels of these cells are not used; to adapt with them, pass them: labels=cells")
    own = None if home is None else at_size(home, size, what="home", reading=reading)
    job = _Job(root, there, known, own, int(seed), shown, [*notices, *known.notices])
    manifest = job.manifest(classes, _earlier(run), source or _described(cells, home))
    if folder is None:
        return job.work(manifest, started)
    if (finished := _finished(folder, manifest)) is not None:
        return finished
    with held(folder):
        if (finished := _finished(folder, manifest)) is not None:  # by another process in the meantime
            return finished
        write_manifest(folder, manifest)
        job.kept = Kept(folder, manifest["adaptation"]["key"])
        made = job.work(manifest, started)
        made.save(folder)
        job.kept.clear()
        return made


def _check_run(run: Run) -> None:
    """Refuse a network that no features can be read from."""
    if run.manifest.get("members"):
        raise OptionError(
            "the run is an ensemble, which has no features of its own; adapt its members and join them again: "
            "ensemble([run.adapt(...) for run in runs])"
        )
    feature_layers(run.model)


def _earlier(run: Run) -> Mapping[str, Any]:
    found = run.manifest.get("adaptation")
    return found if isinstance(found, Mapping) else {}


def root_of(run: Run) -> tuple[Run, list[str]]:
    """Give the run that an adaptation starts from: of one that was adapted itself, the run that it came from.

    Args:
        run: Any run.

    Returns:
        The run, and what there is to say where the one that it came from is not found.
    """
    parent = run.manifest.get("parent")
    if not isinstance(parent, Mapping) or not _earlier(run):  # a run that continued another one has a parent, too
        return run, []
    if run.parent is not None:
        return run.parent, []
    name, expected = str(parent.get("folder")), parent.get("sha256")
    places = [Path(name)] + ([] if run.folder is None else [run.folder.parent / Path(name).name])
    for place in places:
        if (place / MANIFEST).is_file():
            try:
                found = load_run(place)
            except CellclfError:
                continue
            if weights_sha256(found.model) == expected:
                return found, []
    left = f"the run that it was adapted from ({name}) is not found"
    model, names = original(run.model), parent.get("class_names")
    if model is not None and isinstance(names, list) and len(names) == model.output_shape[-1]:
        manifest = {key: value for key, value in run.manifest.items() if key not in ("parent", "adaptation")}
        notice = f"{left}: its network is taken from this run, and the home score is unknown without home=, --home"
        return Run(model, tuple(map(str, names)), [], manifest), [notice]
    return run, [f"{left}: the adapted run is adapted once more"]


def _described(cells: Cells, home: Cells | None) -> dict[str, Any]:
    """Describe paths, so that ``rerun`` finds what they named."""
    sets = {"cells": cells, "home": home}
    return {name: {"src": str(Path(one).absolute())} for name, one in sets.items() if isinstance(one, str | Path)}


def _finished(folder: Path, manifest: Mapping[str, Any]) -> Run | None:
    """Give the run in a folder if it is this very one; None where it has to be made.

    Raises:
        RunFolderError: Another run is there.
    """
    check_folder(folder)
    found = read_manifest(folder)
    if found is None:
        return None
    if _key(found) != _key(manifest):
        raise RunFolderError(
            f"{folder} holds another run, or one that was adapted with other cells, labels or options; choose a new "
            "folder"
        )
    if found.get("status") != "finished" or not (folder / MODEL).exists():
        return None
    run = load_run(folder)
    if run.adaptation is None:
        return None
    Kept(folder).clear()  # of a kill after the last file was written
    return run


def _key(manifest: Mapping[str, Any]) -> Any:
    table = manifest.get("adaptation")
    return table.get("key") if isinstance(table, Mapping) else manifest.get("end_sha256", "another run")


@dataclass
class _Job:
    """One adaptation: what it is made of."""

    root: Run
    cells: ImageSet
    known: Labelled
    home: ImageSet | None
    seed: int
    show: bool
    notices: list[str]
    kept: Kept = field(default_factory=Kept)

    def __post_init__(self) -> None:
        taken = np.concatenate([self.known.rows, self.known.non_cells])
        others = np.setdiff1d(np.arange(len(self.cells)), taken)
        self.others = np.random.default_rng(self.seed).permutation(others)

    def manifest(
        self, classes: Sequence[str] | None, earlier: Mapping[str, Any], source: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Give everything that determines the result; its status is that of an unfinished run."""
        root = self.root.manifest
        read = np.sort(np.concatenate([self.known.rows, self.known.non_cells, self.others[:MOST_CELLS]]))
        data = {"cells": {"images": len(self.cells), "sha256": self.cells.subset(read).fingerprint()}}
        if self.home is not None:
            data["home"] = {"images": len(self.home), "sha256": self.home.fingerprint()}
        start = weights_sha256(self.root.model)
        chosen = list(classes) if classes is not None else earlier.get("classes")
        decisions = self.known.decisions
        rows = [] if decisions is None else [list(row) for row in decisions]
        text = json.dumps([start, data, rows, chosen, self.seed], sort_keys=True, default=str)
        kept = {key: root[key] for key in ("parameters", "plugins") if key in root}
        return kept | {
            "status": "training",
            "class_names": list(self.known.class_names),
            "image_shape": list(self.root.input_shape),
            "start_sha256": start,
            "data": data,
            "parent": {
                "folder": None if self.root.folder is None else str(self.root.folder.absolute()),
                "sha256": start,
                "class_names": list(self.root.class_names),
            },
            "adaptation": {
                "key": hashlib.sha256(text.encode()).hexdigest(),
                "seed": self.seed,
                "classes": chosen,
                "rounds": int(earlier.get("rounds", 0)) + 1,
            },
            "source": reading_of(root) | dict(source),
            "versions": versions(),
            "machine": machine(),
        }

    def work(self, manifest: dict[str, Any], started: float) -> Run:
        """Read, fit, build and calibrate."""
        with one_blas_thread():
            return self._work(manifest, started)

    def _work(self, manifest: dict[str, Any], started: float) -> Run:
        known, root = self.known, self.root
        own = self._own()
        reader = Reader(root.model, self.cells, known.rows, self.others, own, kept=self.kept, show=self.show)
        readings = reader.sample()
        if len(known.rows):
            clusters = self._clusters()
            made = adapt_labelled(
                readings, known.labels, known.columns, clusters=clusters, whole=reader.whole, seed=self.seed
            )
        else:
            made = adapt_unlabelled(readings, known.columns)
        own_words = not len(made.mixture.head.classes) and made.zoom == 1.0
        same = own_words and np.array_equal(known.columns, np.arange(len(root.class_names)))
        model = root.model if same else build_model(root.model, reader.layers, made.mixture, zoom=made.zoom)
        if same and not len(known.rows):
            text = (
                "nothing that needs no labels proves safe here, so that the run is unchanged; label 25 cells (suggest)"
            )
            self.notices.append(text)
            warnings.warn(text, CellclfWarning, stacklevel=6)
        confidence, limits = calibrate_there(
            model,
            self.cells,
            reader.pool,
            labels=known.labels,
            crossed=made.crossed,
            classes=len(known.class_names),
            temperature=root.confidence.temperature if own_words and root.confidence is not None else 1.0,
            non_cells=known.non_cells,
            show=self.show,
        )
        score = (
            None
            if own is None
            else own.score(made.mixture, made.zoom, reader.layers, known.class_names, root.class_names, seed=self.seed)
        )
        if own is not None and score is None:
            why = (
                f"cells are shown {made.zoom:g} times as large"
                if made.zoom != 1
                else "no home cell is of these classes"
            )
            self.notices.append(f"home score unknown: {why}; home=, --home with images of these classes shows it")
        manifest = manifest | {"status": "finished", "seconds": round(time.monotonic() - started, 1)}
        manifest["adaptation"] = manifest["adaptation"] | {"zoom": made.zoom, "candidate": made.candidate.name}
        return Run(
            model,
            known.class_names,
            [],
            manifest,
            confidence=confidence,
            adaptation=self._told(made, score, manifest, limits),
            decisions=known.decisions,
            parent=root,
            stored_features=root.stored_features if same else None,
        )

    def _own(self) -> Home | None:
        root = self.root
        if self.home is not None:
            return HomeImages(root.model, self.home, root.class_names, seed=self.seed, kept=self.kept, show=self.show)
        return None if root.stored_features is None else StoredHome(root.stored_features)

    def _clusters(self) -> Labels:
        """Give the duplicate clusters of the labelled cells: a copy must not judge what was fitted on the other one."""
        if self.cells.clusters is not None:
            return self.cells.clusters[self.known.rows]
        return Dedup().find(self.cells.subset(self.known.rows).replace(labels=None)).clusters

    def _told(
        self, made: Adapted, home: HomeScore | None, manifest: Mapping[str, Any], limits: Sequence[str]
    ) -> Adaptation:
        known, proof, ids = self.known, made.proof, self.cells.ids
        decisions = known.decisions
        found = Adaptation(
            class_names=known.class_names,
            parent=str(manifest["parent"]["folder"] or "the run"),
            cells=len(self.cells),
            counts={} if decisions is None else _counts(decisions, ids.tolist()),
            labelled=tuple(ids[known.rows].tolist()),
            candidate=_chosen(made, known, self.root.class_names),
            home=home,
            zoom=made.zoom,
            rounds=manifest["adaptation"]["rounds"],
            notices=tuple(dict.fromkeys([*self.notices, *limits])),
        )
        if proof is None:
            return found
        names = known.class_names
        return replace(
            found,
            tried=tuple(TriedCandidate(one.name, one.loss, one.accuracy, one.chosen) for one in made.tried),
            after=_estimate(proof.after),
            before=_estimate(proof.before),
            gain=_estimate(proof.gain),
            helps=proof.helps,
            classes=tuple(
                AdaptedClass(names[one.number], one.labels, one.share, _estimate(one.recall), _estimate(one.before))
                for one in proof.classes
            ),
            curve=proof.curve,
            more=proof.more,
            doubts=tuple(self._doubt(row, made) for row in proof.doubts),
        )

    def _doubt(self, row: int, made: Adapted) -> Doubt:
        assert made.crossed is not None
        label, given = int(self.known.labels[row]), made.crossed[row].copy()
        given /= max(float(given.sum()), 1e-30)
        given[label] = -1
        other = int(given.argmax())
        names = self.known.class_names
        return Doubt(str(self.cells.ids[self.known.rows[row]]), names[label], names[other], float(given[other]))


def _counts(decisions: Decisions, ids: Sequence[str]) -> dict[str, int]:
    there = set(ids)
    return Decisions([row for row in decisions if row.id in there]).counts()


def _chosen(made: Adapted, known: Labelled, run_names: Sequence[str]) -> str:
    restricted = len(known.class_names) < len(run_names) and not (known.columns < 0).any()
    if restricted and not len(made.mixture.head.classes):
        return f"{made.candidate.name}, which answers the {len(known.class_names)} classes that occur"
    return made.candidate.name


def _estimate(interval: Interval) -> Estimate:
    return Estimate(interval.value, interval.low, interval.high)
