"""A run: a trained classifier with all that made it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.data.classes import match_labels
from cellclf.data.image_set import ImageSet
from cellclf.data.sources import Images
from cellclf.errors import CellclfWarning, DataError, RunFolderError
from cellclf.evaluation.metrics import Report, evaluate
from cellclf.evaluation.ood import DomainShift
from cellclf.evaluation.robustness.result import Robustness
from cellclf.evaluation.saliency import Explanation
from cellclf.runs.confidence import CONFIDENCE, Confidence, fit_confidence, load_confidence
from cellclf.runs.features.reader import FeatureReader
from cellclf.runs.folder import (
    MANIFEST,
    MODEL,
    read_history,
    read_manifest,
    read_model,
    write_history,
    write_manifest,
)
from cellclf.runs.predict import probabilities
from cellclf.runs.predictions import Predictions, predictions
from cellclf.runs.tta import view_names
from cellclf.utils.atomic import replacing

if TYPE_CHECKING:
    from cellclf.evaluation.external import External
    from cellclf.runs.export import Exported


@dataclass(eq=False)
class Run:
    """A trained classifier; made by ``Trainer.fit`` or read by ``load_run``.

    Args:
        model: Keras model from (n, H, W, 3) 0-255 images to (n, K) probabilities; augmentation is not in it.
        class_names: K names in label order.
        history: One row an epoch: stage, epoch, loss, accuracy, val_loss, val_macro_f1, ..., best.
        manifest: Everything that made the run.
        folder: Where it is stored; None if in memory only.
        confidence: What ``calibrate`` learnt; None if it was never called.
    """

    model: Any
    class_names: tuple[str, ...]
    history: list[dict[str, Any]] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    confidence: Confidence | None = None

    def __repr__(self) -> str:
        where = f" in {self.folder}" if self.folder else ""
        return f"Run: {len(self.class_names)} classes, {len(self.history)} epochs{where}"

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images that it takes."""
        return tuple(self.model.input_shape[1:])

    def predict_proba(
        self,
        images: ImageSet | Images,
        *,
        batch_size: int = 256,
        tta: int | Sequence[str] = 1,
        show: bool = False,
    ) -> NDArray[Any]:
        """Give the probability of each class.

        Args:
            images: (N, H, W, 3) uint8, 0-255, or a set, which is read batch by batch.
            batch_size: Images at a time.
            tta: Test-time augmentation: 8 averages over all flips and turns of an image, 4 over those without
                quarter turns, names choose some; 1 takes the image as it is.
            show: True draws a progress bar.

        Returns:
            (N, K) float32; rows sum to 1.

        Raises:
            DataError: Images of another size than the run was trained on.
        """
        cells = self._fitting(images)
        names = view_names(tta, cells.image_shape)
        return probabilities(self.model, cells, batch_size=batch_size, tta=names, show=show)

    def predict(self, images: ImageSet | Images, *, batch_size: int = 256) -> NDArray[np.int64]:
        """Give the most probable class of each image: (N,) int64, an index into ``class_names``."""
        found: NDArray[np.int64] = self.predict_proba(images, batch_size=batch_size).argmax(1)
        return found

    def calibrate(self, train: ImageSet, val: ImageSet, *, show: bool = False) -> Confidence:
        """Learn how far the probabilities can be trusted and what known cells look like; ``Trainer.fit`` does it.

        Temperature, conformal sets and the limit for foreign images come from ``val`` alone, which must have played
        no part in training (that the best epoch was chosen on it is forgiven). A run with a folder stores what was
        learnt in ``confidence.npz``.

        Args:
            train: Images that it was trained on, with labels.
            val: Images of the same kind that it was not trained on, with labels.
            show: True draws progress bars.

        Raises:
            DataError: Sets without labels, of fewer than two images, of another size or with unknown classes.
        """
        names = self.class_names
        parts = [self._fitting(c).replace(labels=match_labels(c, names), class_names=names) for c in (train, val)]
        self.confidence = fit_confidence(self.model, *parts, show=show)
        if self.folder is not None:
            self.confidence.save(self.folder / CONFIDENCE)
        return self.confidence

    def report_predictions(
        self,
        cells: ImageSet,
        *,
        error: float = 0.01,
        per_class: bool = False,
        refuse: float = 0.005,
        show: bool = False,
    ) -> Predictions:
        """Say of each image: class, calibrated probability, set of possible classes, and whether it is known at all.

        A run that was never calibrated gives class and plain probability, and warns.

        Args:
            cells: Images, read batch by batch; labels are not looked at.
            error: The share of sets that may miss the truth.
            per_class: Keep that promise for every class by itself; the sets grow.
            refuse: The share of known cells that may be called foreign by mistake; 0 calls nothing foreign.
            show: True draws a progress bar.

        Raises:
            DataError: Images of another size than the run was trained on.
            OptionError: Shares that cannot be.
        """
        cells = self._fitting(cells)
        if self.confidence is None:
            warnings.warn(
                "this run was never calibrated: probabilities are plain, there are no sets, and foreign images are "
                "not told apart; Run.calibrate(train, val) mends that",
                CellclfWarning,
                stacklevel=2,
            )
            found = self.predict_proba(cells, show=show)
            return Predictions(cells.ids, self.class_names, found, skipped=cells.skipped)
        batches = self._reader.batches(cells, show=show)
        return predictions(
            cells.ids,
            self.class_names,
            batches,
            self.confidence,
            error=error,
            per_class=per_class,
            refuse=refuse,
            skipped=cells.skipped,
        )

    @cached_property
    def _reader(self) -> FeatureReader:
        return FeatureReader(self.model)  # compiled once, however often few images are asked for

    def domain_shift(self, cells: ImageSet, *, show: bool = False) -> DomainShift | None:
        """Test whether a set as a whole is of the kind that the run knows; labels are not looked at.

        Args:
            cells: At least one image.
            show: True draws a progress bar.

        Returns:
            The finding, or None if the run was never calibrated.

        Raises:
            DataError: Images of another size than the run was trained on.
        """
        return None if self.confidence is None else self.report_predictions(cells, show=show).domain_shift

    def _fitting(self, images: ImageSet | Images) -> ImageSet:
        cells = images if isinstance(images, ImageSet) else ImageSet(images)
        if cells.image_shape != self.input_shape:
            found, wanted = cells.image_shape, self.input_shape
            raise DataError(
                f"images are {found[0]}x{found[1]} and this run takes {wanted[0]}x{wanted[1]}: "
                f"load files with size=({wanted[0]}, {wanted[1]}), or resize the array"
            )
        return cells

    def evaluate(
        self,
        cells: ImageSet,
        *,
        min_count: int = 1,
        tta: int | Sequence[str] = 1,
        seed: int = 0,
        show: bool = False,
    ) -> Report:
        """Score the run on a set with labels.

        Classes are matched by name, so that a set may lack some of them or hold them in another order.

        Args:
            cells: What to score on.
            min_count: Classes with fewer images are listed but left out of the macro averages.
            tta: See ``predict_proba``.
            seed: Of the bootstrap intervals.
            show: True draws a progress bar.

        Raises:
            DataError: No labels, or a class that the run does not know.
        """
        labels = match_labels(cells, self.class_names)
        found = self.predict_proba(cells, tta=tta, show=show)
        return evaluate(labels, found, self.class_names, min_count=min_count, seed=seed)

    def adapt(self, cells: ImageSet, *, prior: int = 16, show: bool = False) -> Run:
        """Give a run whose BatchNorm statistics are moved towards images without labels; this one stays as it is.

        Args:
            cells: Images of the other slides or the other laboratory; labels are not looked at.
            prior: How many images the statistics of training count as, against those of ``cells``.
            show: True draws a progress bar.

        Returns:
            A run in memory, not calibrated.

        Raises:
            OptionError: A network without BatchNorm.
            DataError: No images, or of another size.

        Source: Li et al. 2016, arXiv 1603.04779; Schneider et al. 2020, arXiv 2006.16971.
        """
        from cellclf.training.adapt.batch_norm import adapt_batch_norm

        model = adapt_batch_norm(self.model, self._fitting(cells), prior=prior, show=show)
        return Run(model, self.class_names, self.history, self.manifest | {"adapted_to": len(cells)})

    def external(
        self,
        cells: ImageSet,
        mapping: Mapping[str, str | None] | None = None,
        *,
        reference: ImageSet | None = None,
        min_count: int = 20,
        tta: int | Sequence[str] = 8,
        adapt: bool = True,
        prior: int = 16,
        seed: int = 0,
        show: bool = False,
    ) -> External:
        """Tell how far the run falls on another laboratory's images, where, and what helps without their labels.

        Args:
            cells: Their images, with labels, which are used for scoring alone.
            mapping: Their name of a class -> ours, or None for what there is no class of ours for; what it does not
                name keeps its name. Images without a counterpart are not scored, but listed.
            reference: Labelled images of the own laboratory that were not trained on; None takes the counts of the
                test part, or else the validation part, from the report in the run's folder.
            min_count: Classes with fewer images stay out of the averages over classes: of three images, one
                mistake would be 33 points.
            tta: The test-time augmentation that is tried, see ``predict_proba``; 1 tries none.
            adapt: Also try BatchNorm statistics that are moved towards these images, see ``adapt``.
            prior: See ``adapt``.
            seed: Of the bootstrap intervals.
            show: True draws progress bars.

        Raises:
            DataError: No labels, no class with a counterpart or with ``min_count`` images, images of another size;
                a reference without any of these classes; quarter turns of oblong images.
            UnknownNameError: ``mapping`` speaks of a class that there is not.
            OptionError: A number that cannot be used.
            RunFolderError: The report in the run's folder is damaged.
        """
        from cellclf.runs.external import external

        return external(
            self,
            cells,
            mapping,
            reference=reference,
            min_count=min_count,
            tta=tta,
            adapt=adapt,
            prior=prior,
            seed=seed,
            show=show,
        )

    def robustness(
        self,
        cells: ImageSet,
        suite: str | Path | ImageSet = "medmnist-c",
        *,
        seen: Sequence[str] | None = None,
        tta: int | Sequence[str] = 1,
        min_count: int = 1,
        seed: int = 0,
        batch_size: int = 256,
        show: bool | None = None,
    ) -> Robustness:
        """Score the run on corrupted or shifted images, and mark what its training has met.

        Args:
            cells: Clean images with labels; classes are matched by name.
            suite: "medmnist-c": ``cells`` corrupted in eleven ways at five severities. Or shifted images with
                labels: a set, or a path.
            seen: Steps of augmentation or families of corruptions that count as seen; None takes those that the
                run's augmenter, expansion, shifted validation and mixing used.
            tta: See ``predict_proba``.
            min_count: Classes with fewer images stay out of the balanced accuracy.
            seed: Of what the corruptions draw, and of the bootstrap intervals.
            batch_size: Images at a time.
            show: True or False to force the progress bar; None shows it on a terminal only.

        Raises:
            DataError: No labels, a class that the run does not know, or images of another size.
            UnknownNameError: A suite that does not exist.
        """
        from cellclf.runs.robustness import stress

        return stress(
            self,
            cells,
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
        cells: ImageSet | Images,
        *,
        method: str = "gradcam",
        classes: str | int | Sequence[str] | Sequence[int] | NDArray[Any] | None = None,
        layer: str | None = None,
        batch_size: int = 32,
        show: bool = False,
    ) -> Explanation:
        """Show where in each image the run sees a class.

        Args:
            cells: Images, read batch by batch; labels are not looked at.
            method: ``"gradcam"`` and ``"gradcam++"`` read a feature map and its gradients: quick, and as coarse as the
                map. ``"occlusion"`` covers one place after the other and sees what that costs: 145 predictions a
                image, and no look inside the network.
            classes: What to look for: one class for all images or one for each, by name or number; None takes the
                class that the run gives to the image.
            layer: The feature map that Grad-CAM reads; None takes the last one of at least 5x5. The papers take the
                very last, which at 96 pixels is often too coarse to tell a place (3x3 or 1x1).
            batch_size: Images at a time.
            show: True draws a progress bar.

        Raises:
            UnknownNameError: No such method, class or layer.
            OptionError: A layer that something goes around, or an ensemble with Grad-CAM.
            DataError: Images of another size than the run was trained on.

        Source: Selvaraju et al. 2017, arXiv 1610.02391; Chattopadhay et al. 2018, arXiv 1710.11063; Zeiler & Fergus
        2014, arXiv 1311.2901.
        """
        from cellclf.runs.explain import explain

        return explain(
            self.model,
            self._fitting(cells),
            self.class_names,
            method=method,
            classes=classes,
            layer=layer,
            temperature=1.0 if self.confidence is None else self.confidence.temperature,
            batch_size=batch_size,
            show=show,
        )

    def export(
        self, path: str | Path, *, format: str | None = None, check: ImageSet | None = None, show: bool = False
    ) -> Exported:
        """Write the network for other programs: SavedModel, ONNX or LiteRT.

        All take ``images``, (n, H, W, 3) uint8, 0-255, RGB, any n, and give ``probabilities``, (n, K) float32. What
        was written is opened with the runtime of its format and must say what the run says, to 0.0001, or nothing is
        kept. Class names and temperature travel along: in the metadata of an ONNX file, in the ``cellclf.json`` that
        ``unzip`` finds in a ``.tflite``, and in the folder ``assets.extra`` of a SavedModel. Sets and foreign images
        stay with ``report_predictions``.

        Args:
            path: Ends in ``.onnx`` or ``.tflite``; a name without an ending becomes the folder of a SavedModel. What
                stands there is replaced once the new one is whole.
            format: ``"savedmodel"``, ``"onnx"`` or ``"litert"``; None tells it by the name.
            check: Cells to compare on; labels are not looked at. None draws 64 images: cells and noise.
            show: True draws a progress bar.

        Raises:
            MissingPackageError: The packages of ``pip install 'cellclf[export]'`` are not there.
            ExportError: Other probabilities than the run's, or a network that the format cannot hold.
            OptionError: A name that tells no format.
            DataError: Images of another size than the run was trained on.
            RunFolderError: A full disk, or a folder that is no SavedModel.
        """
        from cellclf.runs.export import export

        return export(self, path, format=format, check=None if check is None else self._fitting(check), show=show)

    def save(self, folder: str | Path) -> Path:
        """Write model, manifest and history into a folder; each file is whole or not there.

        Args:
            folder: Where to; made if missing.

        Returns:
            The folder.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"{folder} is a file; expected a folder for the run: choose another name")
        with replacing(folder / MODEL) as new:
            self.model.save(new)
        write_history(folder, self.history)
        if self.confidence is not None:
            self.confidence.save(folder / CONFIDENCE)
        write_manifest(folder, self.manifest)
        self.folder = folder
        return folder


def load_run(folder: str | Path) -> Run:
    """Read a finished run.

    Args:
        folder: What ``Trainer.fit(out=...)`` or ``Run.save`` wrote.

    Raises:
        RunFolderError: No run there, one that is not finished, or one whose network cannot be made again: a plugin that
            it needs is missing, and the message says which.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        raise RunFolderError(f"{folder} holds no run ({MANIFEST} is missing); expected the --out folder of a training")
    model = read_model(folder, manifest)
    names, known = tuple(manifest["class_names"]), load_confidence(folder / CONFIDENCE)
    return Run(model, names, read_history(folder), manifest, folder, known)
