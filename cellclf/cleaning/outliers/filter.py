"""OutlierFilter: find non-cell images and ruined ones, and keep the cells."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cellclf.cleaning.losses import LossLimit, OnLoss, class_losses
from cellclf.cleaning.outliers.descriptors import NAMES, describe
from cellclf.cleaning.outliers.fitted import Fitted, Measured
from cellclf.cleaning.outliers.scoring import Method
from cellclf.cleaning.outliers.white_balance import Light, balanced, join, light
from cellclf.cleaning.selection import Selection, Selector, names_of
from cellclf.data.door import Cells, as_cells
from cellclf.errors import DataError
from cellclf.utils.parameters import Positive, Seed, Share, check_parameters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

_AT_ONCE = 256  # images
_CLEARLY = 0.6  # of the threshold: cells of another slide score .5 at most when balanced, ruined ones .67 or more
_MANY = 0.02  # fraction of outliers from which on the user should check them first


@dataclass(frozen=True, eq=False, repr=False)
class Outliers(Selection):
    """What ``OutlierFilter`` found.

    A reason reads ``"outlier: too blurred (1.2; 99 % lie in 1.9-3.4), ..."``, the most extreme first.

    Args:
        scores: (N,) float64, outlier score of each image: 0 is ordinary, 1 is as unlike the others as a synthetic row.
        threshold: Images with a higher score are removed.
        notices: What to know before trusting the result, in plain words.
    """

    scores: NDArray[np.float64] = field(kw_only=True)
    threshold: float = field(kw_only=True)
    notices: tuple[str, ...] = field(default=(), kw_only=True)

    def summary(self) -> str:
        """Give how many images are removed, for which main reason, and what to know before trusting it."""
        main = (reason.partition(": ")[2].partition(" (")[0] for reason in self.reasons[~self.keep].tolist())
        kinds = Counter(main).most_common()
        width = len(str(max((n for _, n in kinds), default=0)))
        head = f"{self._head()} (score above {self.threshold:.2f})"
        lines = [head, *(f"  {n:>{width}}  {kind}" for kind, n in kinds), *self.lost()]
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain data that JSON can hold; scores of the removed images only."""
        plain = super().to_dict()
        for entry, score in zip(plain["removed"], self.scores[~self.keep].tolist(), strict=True):
            entry["score"] = round(score, 4)
        return {**plain, "threshold": round(self.threshold, 4), "notices": list(self.notices)}

    def plot(self, limit: int = 48) -> Figure:
        """Show the images with the highest scores: the removed ones first, then the highest of the kept ones.

        Args:
            limit: Most images shown; an eighth of them, or more, are kept ones.

        Raises:
            DataError: The result has no images.
        """
        from cellclf.utils.contact_sheet import sheet

        order = np.argsort(-self.scores, kind="stable")
        removed, kept = order[~self.keep[order]], order[self.keep[order]]
        removed = removed[: limit - limit // 8]
        shown = np.concatenate([removed, kept[: limit - len(removed)]])
        captions = []
        for k in shown:
            words = self.reasons[k].partition(": ")[2].partition(" (")[0] if not self.keep[k] else "kept"
            captions.append(f"{self.scores[k]:.2f} {words}")
        title = f"{self.removed} of {len(self)} images removed (score above {self.threshold:.2f}); highest score first"
        return sheet(self.images(shown), captions=captions, columns=8, title=title, side=1.5)


class OutlierFilter(Selector):
    """Find images unlike the rest: photographs, text, blank fields, noise, ruined or unusual micrographs.

    Each image is described by some fifty numbers (colour, texture, sharpness, DCT bands, layout), or by a network's
    embedding; the filter is fitted on the set itself, outliers included. The scale of the scores is absolute,
    so a set without outliers loses (almost) nothing, and no fraction of outliers has to be guessed. Where the set
    varies less than cells of eight classes do, it is scored as if it varied that much. With labels, an image that is
    unlike the set and ordinary for its class is kept: a rare class is no outlier. An image that would be ordinary under
    the white balance and exposure of the others is kept: another slide is no outlier. Twenty or more outliers that are
    as similar to each other as cells are count as another stain or microscope and are kept.
    Identical images count once in fitting, so that copies cannot pass as inliers; similar ones can: run ``Dedup``
    first.

    Args:
        method: "forest" (isolation forest), "mahalanobis" (distance to the centre) or "neighbours" (distance to the
            tenth nearest inlier).
        threshold: Images with a higher score are removed; 0 is an ordinary image, 1 a synthetic one, drawn at random
            from the set's own numbers. None takes 1 for "forest", and up to 1.2, from some 2,000 images on, for the
            others; with embeddings of more than 64 numbers, the end of the inliers' tail.
        embed: A function from (n, H, W, 3) uint8 images to (n, d) numbers, such as a pooled backbone; None uses the
            descriptors. Reasons are always given in descriptors.
        seed: Of the synthetic rows and the forest.
        max_loss: Most of the different images of a class that may be removed, 0-1; beyond it, ``apply`` does as
            ``on_loss`` says. None sets no limit. A class is never left with fewer than two different images.
        on_loss: "refuse" raises an error that names the class; "warn" warns and goes on.

    Examples:
        >>> from cellclf import make_cells
        >>> cells = make_cells(150, size=48, foreign=2)
        >>> found = OutlierFilter().find(cells)
        >>> [str(id_) for id_ in found.ids[~found.keep]]
        ['foreign-photo-000', 'foreign-text-001']

    Source:
        Liu, Ting, Zhou 2008, Isolation Forest, doi 10.1109/ICDM.2008.17.
    """

    def __init__(
        self,
        *,
        method: Method = "forest",
        threshold: Positive | None = None,
        embed: Callable[[NDArray[np.uint8]], Any] | None = None,
        seed: Seed = 0,
        max_loss: Share | None = 0.2,
        on_loss: OnLoss = "refuse",
    ) -> None:
        self.method = method
        self.threshold = threshold
        self.embed = embed
        self.seed = seed
        self.max_loss = max_loss
        self.on_loss = on_loss

    def check(self) -> None:
        """Refuse options that cannot be used.

        Raises:
            UnknownNameError: There is no such method, or no such ``on_loss``.
            OptionError: A value of another kind, or out of its range.
        """
        check_parameters(self)

    def fit(self, X: Cells, y: ArrayLike | None = None) -> OutlierFilter:
        """Fit on a set, such as the training part.

        Args:
            X: 20 or more different images; a few percent of them may be outliers. Whatever ``load`` reads.
            y: (N,) or (N, 1) labels of any kind beside an array.

        Returns:
            The filter itself, fitted.

        Raises:
            DataError: Too few different images, or embeddings of a wrong shape.
            OptionError: A parameter that cannot be used.
            UnknownNameError: There is no such method.
        """
        self.check()
        cells = as_cells(X, y)
        self._fitted = self._fit(cells, self._measure(cells))
        return self

    def fit_resample(self, X: NDArray[np.uint8], y: ArrayLike) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Fit on arrays and select from them, whatever the filter was fitted on; see ``Selector.fit_resample``."""
        unfitted = OutlierFilter(**self.get_params(deep=False))
        return super(OutlierFilter, unfitted).fit_resample(X, y)

    def find(self, cells: Cells, labels: ArrayLike | None = None) -> Outliers:
        """Find the outliers of a set.

        Args:
            cells: Images of the size that was fitted on. An unfitted filter is fitted on these images, for
                this call only.
            labels: (N,) or (N, 1) labels beside an array.

        Raises:
            DataError: Images of another size than those fitted on; or what ``fit`` raises.
        """
        self.check()
        cells = as_cells(cells, labels)
        measured = self._measure(cells)
        fitted: Fitted = getattr(self, "_fitted", None) or self._fit(cells, measured)
        if cells.image_shape != fitted.shape:
            before, now = ("x".join(map(str, shape[:2])) for shape in (fitted.shape, cells.image_shape))
            raise DataError(f"the filter was fitted on {before} images, these are {now}; resize them to {before}")
        scores = fitted.score(measured.rows, names_of(cells))
        tinted = self._balance(cells, fitted, measured.light, scores)
        keep = scores <= fitted.threshold
        reasons = np.full(len(cells), "", dtype=object)
        reasons[~keep] = [fitted.reason(row) for row in measured.described[~keep]]
        notices = list(fitted.notices)
        if tinted:
            notices.append(
                f"{tinted:,} of {len(cells):,} images differ from the rest in white balance or exposure only, and are "
                "kept: another slide?"
            )
        first, same = np.unique(measured.contents, return_inverse=True)
        if copies := len(cells) - len(first):
            notices.append(
                f"{copies:,} of {len(cells):,} images are identical to another one; run Dedup first: "
                "outliers in many similar versions pass as inliers"
            )
        if (~keep).mean() > _MANY and len(cells) >= 100:
            notices.append(
                f"{(~keep).mean():.0%} of the images are outliers, more than usual; check them with plot() before "
                "you apply this"
            )
        return Outliers(
            cells.ids,
            keep,
            reasons.astype(str),
            cells=cells,
            losses=class_losses(keep, names_of(cells), same),
            limit=LossLimit(
                self.max_loss,
                self.on_loss,
                "leave the filter out, or raise max_loss (--max-loss; of a recipe --set outliers.max_loss=0.5)",
            ),
            scores=scores,
            threshold=fitted.threshold,
            notices=tuple(notices),
        )

    def _fit(self, cells: ImageSet, measured: Measured) -> Fitted:
        return Fitted(
            cells,
            measured,
            method=self.method,
            seed=self.seed,
            threshold=self.threshold,
            embedded=self.embed is not None,
        )

    def _balance(self, cells: ImageSet, fitted: Fitted, found: Light, scores: NDArray[np.float64]) -> int:
        """Score outliers again under the usual white balance; those that are none then get that score. Count them."""
        outliers = np.flatnonzero((scores > fitted.threshold) & found.explains(fitted.light))
        names, changed = names_of(cells), 0
        for start in range(0, len(outliers), _AT_ONCE):
            some = outliers[start : start + _AT_ONCE]
            images = balanced(cells.read(some), fitted.light)
            again = fitted.score(self._rows(images, describe(images)), names[some])
            ordinary = again <= _CLEARLY * fitted.threshold
            scores[some[ordinary]] = again[ordinary]
            changed += int(ordinary.sum())
        return changed

    def _measure(self, cells: ImageSet) -> Measured:
        """Measure each image, in one pass."""
        described, rows, contents, lights = [], [], [], []
        for batch in cells.batches(_AT_ONCE, label="describing the images"):
            described.append(describe(batch))
            rows.append(self._rows(batch, described[-1]))
            contents += [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in batch]
            lights.append(light(batch))
        empty = np.empty((0, len(NAMES)), np.float32)
        return Measured(
            np.concatenate(described) if described else empty,
            np.concatenate(rows) if rows else empty,
            np.array(contents, "S32"),
            join(lights),
        )

    def _rows(self, images: NDArray[np.uint8], described: NDArray[np.float32]) -> NDArray[Any]:
        """Give the numbers that are scored: the descriptors, or the embedding."""
        if self.embed is None:
            return described
        rows = np.asarray(self.embed(images), np.float32)
        if rows.ndim != 2 or len(rows) != len(images) or not np.isfinite(rows).all():
            raise DataError(
                f"embed gave an array of shape {rows.shape} for {len(images)} images; expected finite numbers "
                f"({len(images)}, d): pool a backbone's feature map"
            )
        return rows
