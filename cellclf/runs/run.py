"""A run: a trained classifier and everything that determined it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellclf.data.classes import match_labels
from cellclf.data.decisions import Decisions
from cellclf.data.door import Cells, as_cells, at_size
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfWarning, OptionError, RunFolderError
from cellclf.evaluation.adaptation import Adaptation
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.ood import DomainShift
from cellclf.evaluation.robustness.result import Robustness
from cellclf.evaluation.saliency import Explanation
from cellclf.evaluation.selective import Promise
from cellclf.runs.adapted import load_adaptation, save_adaptation
from cellclf.runs.confidence import CONFIDENCE, Confidence, fit_confidence, load_confidence
from cellclf.runs.features.pooled import read, reader_of
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.features.stored import FEATURES, StoredFeatures, load_stored
from cellclf.runs.folder import (
    MANIFEST,
    MODEL,
    check_model,
    check_no_other,
    class_names,
    read_history,
    read_manifest,
    read_model,
    reading_of,
    write_history,
    write_manifest,
)
from cellclf.runs.predict import check_rows, probabilities
from cellclf.runs.predictions import Predictions, predictions
from cellclf.runs.provenance import weights_sha256
from cellclf.runs.runtime import Runtime
from cellclf.runs.tta import view_names
from cellclf.utils.atomic import expanded, replacing
from cellclf.utils.parameters import Count, Seed, Share, check_arguments, check_value

if TYPE_CHECKING:
    from cellclf.evaluation.external import External
    from cellclf.runs.export import Exported
    from cellclf.runs.session import Session
    from cellclf.runs.suggestion import Suggestion


@dataclass(eq=False)
class Run:
    """A trained classifier; made by ``Trainer.fit`` or read by ``load_run``.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities; augmentation is not in it.
        class_names: K names in label order.
        history: One row an epoch: stage, epoch, loss, accuracy, val_loss, val_macro_f1, ..., best.
        manifest: Everything that determined the run.
        folder: Where it is stored; None if in memory only.
        confidence: From ``calibrate``; None if the run is not calibrated.
        stored_features: Pooled features of its own training and validation images, from ``Trainer.fit``; None in runs
            of older versions, adapted runs and ensembles.
        adaptation: What an adapted run is worth in its laboratory; None for other runs.
        decisions: What people decided about that laboratory's cells, in all rounds.
        parent: The run that it was adapted from, where it is in memory.
        runtime: What computes predictions. ``"auto"``: ONNX Runtime, where ``pip install 'cellclf[export]'`` has
            brought it and there is no GPU, from the 4,096th image on (or the 256th call with few images); else Keras.
            ``"onnx"``: ONNX Runtime from the first image on; ``"keras"``: Keras. To convert the network takes some
            seconds. It is compared with Keras on 64 images: if a probability differs by more than 0.0001, a warning
            says so and Keras is used. The converted network is kept in the run folder (``onnx.zip``) if that can be
            written, and from then on ``"auto"`` takes it for any number of images. It is made again for other weights
            or other versions of a package.
    """

    model: Any
    class_names: tuple[str, ...]
    history: list[dict[str, Any]] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    confidence: Confidence | None = None
    stored_features: StoredFeatures | None = None
    adaptation: Adaptation | None = None
    decisions: Decisions | None = None
    parent: Run | None = None
    runtime: str = "auto"
    _in_use: Runtime = field(default_factory=Runtime, init=False, repr=False)

    def __repr__(self) -> str:
        where = f" in {self.folder}" if self.folder else ""
        if self.adaptation is not None:
            return f"Run: {len(self.class_names)} classes, adapted from {self.adaptation.parent}{where}"
        return f"Run: {len(self.class_names)} classes, {len(self.history)} epochs{where}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its images."""
        return tuple(self.model.input_shape[1:])

    def predict_proba(
        self,
        images: Cells,
        *,
        batch_size: int = 256,
        tta: int | Sequence[str] = 1,
        show: bool | None = None,
    ) -> NDArray[Any]:
        """Give the probability of each class.

        Args:
            images: A set, an array (N, H, W, 3) uint8, 0-255, a path, a DataFrame of paths; images of another size
                than the run's are resized, with a notice.
            batch_size: Images at a time.
            tta: Test-time augmentation: 8 averages over all flips and turns of an image, 4 over those without
                quarter turns, names over these; 1 takes the unchanged image.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Returns:
            (N, K) float32; rows sum to 1.

        Raises:
            DataError: Nothing that holds images.
            TrainingError: What the network gives is no probabilities; or the device is full.
        """
        cells = self._fitted(images)
        names = view_names(tta, cells.image_shape)
        session = self._session(cells)
        predict = None if session is None else session.probabilities
        return check_rows(
            probabilities(self.model, cells, batch_size=batch_size, tta=names, predict=predict, show=show)
        )

    def predict(self, images: Cells, *, batch_size: int = 256, show: bool | None = None) -> NDArray[np.int64]:
        """Give the most probable class of each image: (N,) int64, an index into ``class_names``.

        Args:
            images: As for ``predict_proba``.
            batch_size: Images at a time.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.
        """
        found: NDArray[np.int64] = self.predict_proba(images, batch_size=batch_size, show=show).argmax(1)
        return found

    def calibrate(self, train: Cells, val: Cells, *, show: bool | None = None) -> Confidence:
        """Fit the calibration of the probabilities and the features of known cells; ``Trainer.fit`` does it.

        Temperature, conformal sets and the limit for out-of-distribution images come from ``val`` alone, which must
        not be in the training set (the best epoch may have been chosen on it). Pooled features of up to 2,000 training
        and all validation images are kept besides, so that another laboratory can adapt the run without these images.
        A run with a folder stores the result in ``confidence.npz`` and ``features.npz``.

        Args:
            train: Images that it was trained on, with labels.
            val: Images of the same kind that it was not trained on, with labels.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            DataError: Sets without labels, of fewer than two images, of another size or with other classes.
        """
        names = self.class_names
        fitted = [self._fitted(cells) for cells in (train, val)]
        parts = [cells.replace(labels=match_labels(cells, names), class_names=names) for cells in fitted]
        seed = self.manifest.get("trainer", {}).get("seed")
        seed = seed if isinstance(seed, int) and seed >= 0 else 0
        confidence, stored = fit_confidence(self.model, *parts, seed=seed, show=show)
        self.confidence, self.stored_features = confidence, stored
        if self.folder is not None:
            confidence.save(self.folder / CONFIDENCE, weights_sha256(self.model))
            if stored is not None:
                stored.save(self.folder / FEATURES)
        return confidence

    def report_predictions(
        self,
        cells: Cells,
        *,
        error: float = 0.01,
        per_class: bool = False,
        refuse: float = 0.005,
        accuracy: float | None = None,
        threshold: float | None = None,
        tta: int | Sequence[str] = 1,
        show: bool | None = None,
    ) -> Predictions:
        """Give for each image: class, calibrated probability, set of possible classes, and whether it is a known cell.

        A run that is not calibrated gives class and uncalibrated probability, and warns.

        Args:
            cells: Images, read batch by batch; labels are not used.
            error: The fraction of sets that may miss the true class.
            per_class: True holds ``error`` for every class by itself, with larger sets.
            refuse: The fraction of known cells that may be reported as out-of-distribution; 0 reports none.
            accuracy: Classify only the images for which this accuracy can be promised (with 95 % confidence, from the
                validation images); the others are "unsure". None classifies all.
            threshold: Or the probability that an image needs to be classified, 0-1.
            tta: See ``predict_proba``; the calibration is for one view, so that with more there are no sets.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            DataError: Nothing that holds images.
            OptionError: ``error``, ``refuse`` or ``threshold`` cannot be used, or an accuracy that cannot be promised.
        """
        if accuracy is not None and threshold is not None:
            raise OptionError("accuracy and threshold are both given; expected one of them")
        if threshold is not None:
            check_value(threshold, Share, "threshold")
        cells = self._fitted(cells)
        names = view_names(tta, cells.image_shape)
        promise = self._promise(accuracy, views=len(names))
        if self.confidence is None:
            warnings.warn(
                "this run is not calibrated: it gives no sets and finds no out-of-distribution images; "
                "Run.calibrate(train, val) calibrates it",
                CellclfWarning,
                stacklevel=2,
            )
            session = self._session(cells)
            predict = None if session is None else session.probabilities
            found = probabilities(self.model, cells, tta=names, predict=predict, show=show)
            return Predictions(
                cells.ids,
                self.class_names,
                found,
                skipped=cells.skipped,
                threshold=threshold or 0.0,
                views=len(names),
                runtime="" if session is None else str(session),
                domains=cells.domains,
            )
        averaged = self.predict_proba(cells, tta=tta, show=show) if len(names) > 1 else None
        session = self._session(cells, features=True)
        both = None if session is None else session.both
        batches = self._reader.batches(cells, predict=both, show=show)
        predicted = predictions(
            cells.ids,
            self.class_names,
            batches,
            self.confidence,
            error=error,
            per_class=per_class,
            refuse=refuse,
            skipped=cells.skipped,
            threshold=(threshold or 0.0) if promise is None else promise.threshold,
            promise=promise,
            averaged=averaged,
            views=len(names),
            runtime="" if session is None else str(session),
        )
        return replace(predicted, domains=cells.domains)

    def _promise(self, accuracy: float | None, *, views: int) -> Promise | None:
        """Give the threshold for an accuracy, learnt from the validation images."""
        if accuracy is None:
            return None
        if views > 1:
            raise OptionError(
                f"accuracy={accuracy} can be promised for one view only; leave tta out, or give a threshold"
            )
        curve = None if self.confidence is None else self.confidence.abstention
        if curve is None:
            raise OptionError(
                f"accuracy={accuracy} cannot be promised: this run keeps no results on validation images; "
                "Run.calibrate(train, val) measures them"
            )
        return curve.at(accuracy)

    @cached_property
    def _reader(self) -> FeatureReader:
        return FeatureReader(self.model)  # compiled once, not for each call

    def _session(self, cells: ImageSet, *, features: bool = False) -> Session | None:
        """Give the network in ONNX Runtime, if it is to be used for these images."""
        reader = None if self.confidence is None and not features else lambda: self._reader
        return self._in_use.session(self.runtime, self.model, cells, self.folder, reader, features=features)

    @cached_property
    def _readers(self) -> dict[tuple[str, ...] | None, FeatureReader]:
        return {}  # of named layers; compiled once, not for each call

    def _reader_of(self, layers: Sequence[str] | str | None) -> FeatureReader:
        key = None if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
        if key not in self._readers:
            self._readers[key] = reader_of(self.model, key)
        return self._readers[key]

    def features(
        self,
        cells: Cells,
        *,
        layers: Sequence[str] | str | None = None,
        tta: int | Sequence[str] = 1,
        show: bool | None = None,
    ) -> NDArray[np.float32]:
        """Give pooled features of images: what the network sees in them, as numbers for other methods.

        Args:
            cells: Images, read batch by batch; labels are not used.
            layers: Names of layers, or one; a feature map is averaged over its pixels, a row is taken as it is. None
                takes those that an adaptation reads: the last layer of each of the three coarsest resolutions. An
                ensemble gives the features that its members' heads take.
            tta: Flips and turns to average over, see ``predict_proba``.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Returns:
            (N, D) float32, the layers side by side in the order of ``layers``; kept for the next question about the
            same images, unless they are many.

        Raises:
            UnknownNameError: No layer, or no view, of that name.
            OptionError: A layer whose output is neither a map nor a row, or no layer.
            DataError: Nothing that holds images, or quarter turns of images that are not square.
        """
        reader, fitted = self._reader_of(layers), self._fitted(cells)
        found = read(reader, fitted, view_names(tta, fitted.image_shape), show=show)[2]
        return found if found.flags.writeable else found.copy()

    def suggest(
        self, cells: Cells, count: Count = 25, *, labelled: Any = None, seed: Seed = 0, show: bool | None = None
    ) -> Suggestion:
        """Choose which cells of a new laboratory to label first, so that few labels teach most.

        The cells are clustered by the run's pooled features; half of those that are chosen are typical of their
        cluster, the others those of different clusters that the run is least sure of. Copies and near copies are asked
        about once, and blurred, out-of-distribution and non-cell images hardly ever. The choice depends on the
        pixels, not on the order of the set. Of more than 20,000 cells so many are looked at, drawn by chance.

        Args:
            cells: Of the laboratory; labels are not used, groups (slides, patients) each get their share.
            count: How many, 1 or more; fewer are given where no others are left.
            labelled: What is labelled already and is not asked again: a path of ``labelled.csv``, ``Decisions``, a
                mapping of ids to class names, or ids. Cells without an answer are asked about again. What an adapted
                run has learnt from is never asked again.
            seed: Of the clustering.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Returns:
            Positions, ids and reasons; ``save("label.html")`` writes the page on which they are labelled.

        Raises:
            DataError: Nothing that holds images, ids in ``labelled`` that are not those of the cells, or nothing left.
            OptionError: A count below 1, or something else that cannot be used.

        Source: Hacohen, Dekel, Weinshall 2022, arXiv 2202.02794; Zhdanov 2019, arXiv 1901.05954.
        """
        from cellclf.runs.pool import suggest

        check_arguments(Run.suggest, count=count, seed=seed)
        given = as_cells(cells, reading=reading_of(self.manifest))
        return suggest(
            self,
            self._reader_of(None),
            given,
            self._fitted(given),
            count=int(count),
            labelled=labelled,
            seed=int(seed),
            show=show,
        )

    def domain_shift(self, cells: Cells, *, show: bool | None = None) -> DomainShift | None:
        """Test whether a set as a whole differs from the known cells; labels are not used.

        Args:
            cells: At least one image.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Returns:
            The result, or None if the run is not calibrated.

        Raises:
            DataError: Nothing that holds images.
        """
        return None if self.confidence is None else self.report_predictions(cells, show=show).domain_shift

    def _fitted(self, cells: Cells, labels: ArrayLike | None = None) -> ImageSet:
        """Give any images at the size that the run was trained on, read and resized as its own."""
        height, width, _ = self.input_shape
        return at_size(cells, (height, width), labels, reading=reading_of(self.manifest))

    def _report(
        self, truth: NDArray[np.int64], found: NDArray[Any], cells: ImageSet, min_count: int | None, seed: int
    ) -> Report:
        return evaluate(
            truth,
            found,
            self.class_names,
            min_count=min_count,
            seed=seed,
            groups=cells.groups,
            domains=cells.domains,
        )

    def evaluate(
        self,
        cells: Cells,
        labels: ArrayLike | None = None,
        *,
        min_count: int | None = None,
        tta: int | Sequence[str] = 1,
        seed: int = 0,
        show: bool | None = None,
    ) -> Report:
        """Score the run on a set with labels.

        Classes are matched by name, so that a set may have only some of them, or another order.

        Args:
            cells: What to score on.
            labels: (N,) or (N, 1) labels beside an array.
            min_count: Classes with fewer images are listed but not in the macro averages; None takes 10, where two
                classes or more have as many.
            tta: See ``predict_proba``.
            seed: Of the bootstrap intervals; where the cells have groups, these are resampled. Where they have domains,
                each is scored by itself, too.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            DataError: No labels, or a class that the run does not have.
        """
        cells = self._fitted(cells, labels)
        truth = match_labels(cells, self.class_names)
        found = self.predict_proba(cells, tta=tta, show=show)
        return self._report(truth, found, cells, min_count, seed)

    def evaluate_and_compare(
        self, cells: Cells, *, min_count: int | None = None, seed: int = 0, show: bool | None = None
    ) -> tuple[Report, DomainShift | None]:
        """Score the run on a set with labels, and test it for domain shift, in one pass through the network.

        Args:
            cells: What to score on.
            min_count: See ``evaluate``.
            seed: Of the bootstrap intervals.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Returns:
            What ``evaluate`` and ``domain_shift`` give.

        Raises:
            DataError: No labels, no images, or a class that the run does not have.
        """
        cells = self._fitted(cells)
        if self.confidence is None or not len(cells):
            return self.evaluate(cells, min_count=min_count, seed=seed, show=show), None
        truth = match_labels(cells, self.class_names)
        features, found = self._reader.read(cells, show=show)
        familiar = self.confidence.familiar
        report = self._report(truth, found, cells, min_count, seed)
        called = found.argmax(1)  # so that another mix of classes is no shift
        return report, familiar.compare(familiar.distance(features), called, class_names=self.class_names)

    def adapt(
        self,
        cells: Cells,
        labels: Any = None,
        *,
        classes: Sequence[str] | None = None,
        home: Cells | None = None,
        out: str | Path | None = None,
        seed: Seed = 0,
        show: bool | None = None,
    ) -> Run:
        """Adapt the run to another laboratory with a few labelled cells, and say what it is worth there.

        This run is not changed. What is fitted is chosen by repeated folds over the labelled cells; ``adaptation`` of
        the result says what it is worth there, what it was before, what the own laboratory loses, which labels to look
        at again, and what more labels would bring.

        Rounds add up: adapting an adapted run starts from the run that it came from, with the labels of all rounds; a
        later answer about a cell counts. Without labels only ``classes`` count, and another size of the cells where
        that is safe; where nothing is, the run comes back unchanged, with a notice.

        Args:
            cells: Images of the other laboratory, as many as there are; labels of their own are not used.
            labels: What is known of some of them: the path of a table (``labelled.csv`` of the labelling page),
                ``Decisions``, a mapping of ids to class names, or a labelled set; ids are those of ``cells``. Classes
                that the run does not have are new ones. "unsure" is ignored; "not a cell" sets the limit for
                out-of-distribution images.
            classes: The classes that can occur there; None for those of the run and of the labels.
            home: Labelled images of the run's own laboratory. None takes the features that the run keeps of it; a run
                without them is adapted all the same, and the home score is unknown.
            out: Folder for the adapted run; the same call continues after a stop without reading again what was read,
                and loads a finished one.
            seed: Of the folds, and of the cells that are read of a large set.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Returns:
            A run whose ``class_names`` are the classes that it can answer, calibrated on the labelled cells.

        Raises:
            DataError: Ids that are not among the cells, misspelt classes, no label, labels of one class only.
            OptionError: An ensemble, or labels of another kind.
            UnknownNameError: ``classes`` names one that neither the run nor a label knows.
            RunFolderError: ``out`` holds another run.
        """
        from cellclf.training.adapt.run import adapt_run

        check_arguments(Run.adapt, seed=seed)
        return adapt_run(self, cells, labels, classes=classes, home=home, out=out, seed=seed, show=show)

    def external(
        self,
        cells: Cells,
        mapping: Mapping[str, str | None] | None = None,
        *,
        reference: Cells | None = None,
        min_count: int = 20,
        tta: int | Sequence[str] = 8,
        label_counts: Sequence[int] = (25, 50),
        seed: int = 0,
        show: bool | None = None,
    ) -> External:
        """Score the run on images of another laboratory: how much worse it is, in which classes, and what helps.

        Remedies without labels are tried as they are: test-time augmentation, and the classes that occur there. What
        labels would bring is measured by cross-fitting: suggested cells of one half are labelled, the run is adapted,
        and the other half is scored, in several halvings.

        Args:
            cells: External images, with labels; no image is scored by a model that has seen its label.
            mapping: External name of a class -> name in the run, or None where the run has no such class; a class
                that it does not name keeps its name, in any spelling. Images without a counterpart are not scored, but
                listed.
            reference: Labelled images of the own laboratory that were not trained on; None takes the counts of the
                test part, or else the validation part, from the report in the run's folder.
            min_count: Classes with fewer images are not in the averages over classes: of three images, one
                mistake would be 33 points.
            tta: The test-time augmentation that is tried, see ``predict_proba``; 1 tries none.
            label_counts: Numbers of labels of which is measured what they would bring; empty tries none.
            seed: Of the bootstrap intervals, the halvings and the suggestions.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            DataError: No labels, no class with a counterpart or with ``min_count`` images, images of another size;
                a reference without any of these classes; quarter turns of images that are not square.
            UnknownNameError: ``mapping`` names a class that does not exist.
            OptionError: A number that cannot be used.
            RunFolderError: The report in the run's folder is damaged.
        """
        from cellclf.runs.external import external
        from cellclf.training.adapt.offer import check_counts, offer

        counts = check_counts(label_counts)
        return external(
            self,
            self._fitted(cells),
            mapping,
            reference=None if reference is None else self._fitted(reference),
            min_count=min_count,
            tta=tta,
            offer=partial(offer, self, counts=counts, seed=seed, show=show) if counts else None,
            seed=seed,
            show=show,
        )

    def robustness(
        self,
        cells: Cells,
        suite: str | Path | ImageSet = "medmnist-c",
        *,
        seen: Sequence[str] | None = None,
        tta: int | Sequence[str] = 1,
        min_count: int | None = None,
        seed: int = 0,
        batch_size: int = 256,
        show: bool | None = None,
    ) -> Robustness:
        """Score the run on corrupted or shifted images, and mark the corruptions that its training has seen.

        Args:
            cells: Clean images with labels; classes are matched by name.
            suite: "medmnist-c": ``cells`` corrupted in eleven ways at five severities. Or shifted images with
                labels: a set, or a path.
            seen: Steps of augmentation or families of corruptions that count as seen; None takes those that the
                run's augmenter, expansion, val_augmenter and mix used.
            tta: See ``predict_proba``.
            min_count: Classes with fewer images are not in the balanced accuracy; None as by ``evaluate``.
            seed: Of the corruptions and of the bootstrap intervals.
            batch_size: Images at a time.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            DataError: No labels, a class that the run does not have, or images of another size.
            UnknownNameError: A suite that does not exist.
        """
        from cellclf.runs.robustness import measure_robustness

        return measure_robustness(
            self,
            self._fitted(cells),
            suite,
            seen=seen,
            tta=tta,
            min_count=min_count,
            seed=seed,
            batch_size=batch_size,
            show=show,
        )

    def explain(
        self,
        cells: Cells,
        *,
        method: str = "gradcam",
        classes: str | int | Sequence[str] | Sequence[int] | NDArray[Any] | None = None,
        layer: str | None = None,
        batch_size: int = 32,
        show: bool | None = None,
    ) -> Explanation:
        """Show where in each image the run finds a class.

        Args:
            cells: Images, read batch by batch; labels are not used.
            method: ``"gradcam"`` and ``"gradcam++"`` read a feature map and its gradients: fast, and as coarse as the
                map. ``"occlusion"`` covers one place after the other and measures the drop of the probability: 145
                predictions an image, for every network.
            classes: The class to find: one for all images or one for each, by name or number; None takes the
                predicted class of each image.
            layer: The layer of the feature map that Grad-CAM reads; None takes the last one of at least 5x5 on all
                paths. The papers take the very last, which at 96 pixels is often too coarse (3x3 or 1x1).
            batch_size: Images at a time.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            UnknownNameError: No such method, class or layer.
            OptionError: A layer that is not on all paths, or an ensemble with Grad-CAM.
            DataError: Nothing that holds images, or another number of classes than of images.

        Source: Selvaraju et al. 2017, arXiv 1610.02391; Chattopadhay et al. 2018, arXiv 1710.11063; Zeiler & Fergus
        2014, arXiv 1311.2901.
        """
        from cellclf.runs.explain import explain

        return explain(
            self.model,
            self._fitted(cells),
            self.class_names,
            method=method,
            classes=classes,
            layer=layer,
            temperature=1.0 if self.confidence is None else self.confidence.temperature,
            batch_size=batch_size,
            show=show,
        )

    def export(
        self, path: str | Path, *, format: str | None = None, check: Cells | None = None, show: bool | None = None
    ) -> Exported:
        """Write the network for other programs: SavedModel, ONNX or LiteRT.

        All take ``images``, (n, H, W, 3) uint8, 0-255, RGB, any n, and give ``probabilities``, (n, K) float32. The
        exported network is opened with the runtime of its format; it is kept only if its probabilities equal the run's
        within 0.0001. Class names and temperature are stored with it: in the metadata of an ONNX file, in the
        ``cellclf.json`` that ``unzip`` finds in a ``.tflite``, and in the folder ``assets.extra`` of a SavedModel.
        Conformal sets and out-of-distribution scores are in ``report_predictions`` only.

        Args:
            path: Ends in ``.onnx`` or ``.tflite``; a name without an ending becomes the folder of a SavedModel. An
                older one is replaced once the new one is complete.
            format: ``"savedmodel"``, ``"onnx"`` or ``"litert"``; None takes it from the name.
            check: Cells to compare on; labels are not used. None generates 64 images: cells and noise.
            show: True shows progress, False hides it; None shows it on a terminal and in a notebook.

        Raises:
            MissingPackageError: The packages of ``pip install 'cellclf[export]'`` are not installed.
            ExportError: Other probabilities than the run's, or a network that the format cannot hold.
            OptionError: A name of no format.
            DataError: Nothing that holds images.
            RunFolderError: A full disk, or a folder that is not a SavedModel.
        """
        from cellclf.runs.export import export

        return export(self, path, format=format, check=None if check is None else self._fitted(check), show=show)

    def save(self, folder: str | Path) -> Path:
        """Write model, manifest and history into a folder; each file is whole or not there.

        Args:
            folder: Made if missing; empty, or that of this very run.

        Returns:
            The folder.

        Raises:
            RunFolderError: Another run or something else is in the folder, the disk is full, or it cannot be written.
        """
        folder, weights = expanded(folder), weights_sha256(self.model)
        check_no_other(folder, self.manifest, weights)
        self.manifest = {**self.manifest, "class_names": list(self.class_names), "end_sha256": weights}
        with replacing(folder / MODEL) as new:
            self.model.save(new)
        write_history(folder, self.history)
        if self.confidence is not None:
            self.confidence.save(folder / CONFIDENCE, weights)
        else:
            (folder / CONFIDENCE).unlink(missing_ok=True)
        if self.stored_features is not None and self.stored_features.weights_sha256 == weights:
            self.stored_features.save(folder / FEATURES)
        else:
            (folder / FEATURES).unlink(missing_ok=True)
        save_adaptation(folder, self.adaptation, self.decisions, weights)
        write_manifest(folder, self.manifest)
        self.folder = folder.absolute()  # the working directory may change
        return folder


def load_run(folder: str | Path) -> Run:
    """Read a finished run.

    Only the network and the names of its classes are needed; damaged histories, stored features and fields of the
    manifest are left out, with a warning. What does not belong to the network is refused.

    Args:
        folder: What ``Trainer.fit(out=...)`` or ``Run.save`` wrote.

    Raises:
        RunFolderError: No run there, one that is not finished, a damaged network, one that does not belong to its
            manifest or its calibration, or one that cannot be loaded: a plugin that it needs is missing, and the
            message names it.
    """
    folder = expanded(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunFolderError(f"{folder} holds no run ({MANIFEST} is missing); expected the --out folder of a training")
    model = read_model(folder, manifest)
    names = class_names(folder, manifest)
    weights = check_model(folder, model, manifest)
    known = load_confidence(folder / CONFIDENCE, weights)
    stored = load_stored(folder / FEATURES, weights, names)
    adaptation, decisions = load_adaptation(folder, weights) if "adaptation" in manifest else (None, None)
    place = folder.absolute()  # the working directory may change
    return Run(model, names, read_history(folder), manifest, place, known, stored, adaptation, decisions)
