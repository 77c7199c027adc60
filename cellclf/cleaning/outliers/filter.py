"""OutlierFilter: find the images that are no cells, and leave the cells alone."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.outliers.descriptors import NAMES, WORDS, describe
from cellclf.cleaning.outliers.scoring import Method, Oddness
from cellclf.cleaning.selection import Selection, Selector
from cellclf.errors import DataError, OptionError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cellclf.data.image_set import ImageSet

_FEWEST = 20  # images that can show what is ordinary
_MANY = 0.02  # share of odd images from which on the user should look before believing


@dataclass(frozen=True, eq=False)
class Outliers(Selection):
    """What ``OutlierFilter`` found.

    A reason reads ``"outlier: too blurred (1.2; 99 % lie in 1.9-3.4), ..."``, oddest first.

    Args:
        scores: (N,) float64, how odd each image is: 0 is ordinary, 1 is as odd as made up at random.
        threshold: Images with a higher score go.
        notices: What to know before believing the result, in plain words.
    """

    scores: NDArray[np.float64] = field(kw_only=True)
    threshold: float = field(kw_only=True)
    notices: tuple[str, ...] = field(default=(), kw_only=True)

    def summary(self) -> str:
        """Say how many images go, what is oddest about them, and what to know before believing it."""
        head = super().summary().partition("\n")[0]
        oddest = (reason.partition(": ")[2].partition(" (")[0] for reason in self.reasons[~self.keep].tolist())
        kinds = Counter(oddest).most_common()
        width = len(str(max((n for _, n in kinds), default=0)))
        lines = [f"{head} (score above {self.threshold:.2f})", *(f"  {n:>{width}}  {kind}" for kind, n in kinds)]
        return "\n".join([*lines, *(f"note: {notice}" for notice in self.notices)])

    def to_dict(self) -> dict[str, Any]:
        """Give the result as plain data that JSON can hold; scores of what goes only."""
        plain = super().to_dict()
        for entry, score in zip(plain["dropped"], self.scores[~self.keep].tolist(), strict=True):
            entry["score"] = round(score, 4)
        return {**plain, "threshold": round(self.threshold, 4), "notices": list(self.notices)}

    def plot(self, limit: int = 48) -> Figure:
        """Show the oddest images, oddest first: what goes in the first rows, then the oddest that stay.

        Args:
            limit: At most so many images; an eighth of them, or more, is for the oddest that stay.

        Raises:
            DataError: The result does not know its images.
        """
        from cellclf.utils.contact_sheet import sheet

        order = np.argsort(-self.scores, kind="stable")
        go, stay = order[~self.keep[order]], order[self.keep[order]]
        go = go[: limit - limit // 8]
        shown = np.concatenate([go, stay[: limit - len(go)]])
        captions = []
        for k in shown:
            words = self.reasons[k].partition(": ")[2].partition(" (")[0] if not self.keep[k] else "stays"
            captions.append(f"{self.scores[k]:.2f} {words}")
        title = f"{self.dropped} of {len(self)} images go (score above {self.threshold:.2f}); oddest first"
        return sheet(self.images(shown), captions=captions, columns=8, title=title, side=1.5)


class OutlierFilter(Selector):
    """Find images unlike the rest: photographs, text, blank fields, noise, ruined or foreign micrographs.

    Each image is described by some fifty numbers (colour, texture, sharpness, DCT bands, layout), or by a network's
    embedding; what is ordinary is learnt from the set itself, odd images and all. The scale of the scores is
    absolute, so a set without outliers loses (almost) nothing; no share of outliers has to be guessed. Twenty or
    more odd images that are as alike as cells are count as another stain or microscope and stay. Identical
    images count once in learning, so that copies cannot make themselves ordinary; similar ones can: run ``Dedup``
    first.

    Args:
        method: "forest" (isolation forest), "mahalanobis" (distance to the centre) or "neighbours" (distance to the
            tenth nearest ordinary image).
        threshold: Images with a higher score go; 0 is an ordinary image, 1 one made up at random from the set's
            own numbers. None takes 1 for "forest", and up to 1.2, from some 2,000 images on, for the others;
            with embeddings of more than 64 numbers, it takes what lies beyond the ordinary ones' tail.
        embed: A function from (n, H, W, 3) uint8 images to (n, d) numbers, such as a pooled backbone; None uses the
            descriptors. Reasons are always given in descriptors.
        seed: Of the made-up images and the forest.

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
        threshold: float | None = None,
        embed: Callable[[NDArray[np.uint8]], Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.threshold = threshold
        self.embed = embed
        self.seed = seed

    def fit(self, cells: ImageSet) -> OutlierFilter:
        """Learn what is ordinary in a set, such as the training part.

        Args:
            cells: 20 or more different images; a few percent of them may be odd.

        Returns:
            The filter itself, fitted.

        Raises:
            DataError: Too few different images, or embeddings of a wrong shape.
            OptionError: A threshold that is no positive number.
            UnknownNameError: There is no such method.
        """
        self._ordinary = _Ordinary(self, cells, *self._measure(cells))
        return self

    def find(self, cells: ImageSet) -> Outliers:
        """Say which images are odd.

        Args:
            cells: Images of the size that was fitted on. An unfitted filter learns from these very images,
                and forgets it again.

        Raises:
            DataError: Images of another size than those fitted on; or what ``fit`` raises.
        """
        described, rows, contents = self._measure(cells)
        ordinary: _Ordinary = getattr(self, "_ordinary", None) or _Ordinary(self, cells, described, rows, contents)
        if cells.image_shape != ordinary.shape:
            fitted, given = ("x".join(map(str, shape[:2])) for shape in (ordinary.shape, cells.image_shape))
            raise DataError(f"the filter was fitted on {fitted} images, these are {given}; resize them alike")
        scores = ordinary.oddness.score(rows)
        keep = scores <= ordinary.threshold
        reasons = np.full(len(cells), "", dtype=object)
        reasons[~keep] = [ordinary.reason(row) for row in described[~keep]]
        notices = list(ordinary.notices)
        copies = len(contents) - len(np.unique(contents))
        if copies:
            notices.append(
                f"{copies:,} of {len(cells):,} images are identical to another one; run Dedup first, for odd "
                "images in many similar versions look ordinary"
            )
        if (~keep).mean() > _MANY and len(cells) >= 100:
            notices.append(
                f"{(~keep).mean():.0%} of the images are odd, more than strays usually are; look at plot() before "
                "you apply this"
            )
        return Outliers(
            cells.ids,
            keep,
            reasons.astype(str),
            cells=cells,
            scores=scores,
            threshold=ordinary.threshold,
            notices=tuple(notices),
        )

    def _measure(self, cells: ImageSet) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[np.bytes_]]:
        """Describe each image in words' numbers (N, 53), in what is judged (N, d), and by its hash; one pass."""
        described, embedded, contents = [], [], []
        for batch in cells.batches(256, label="describing the images", show=None):
            described.append(describe(batch))
            contents += [hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in batch]
            if self.embed is not None:
                rows = np.asarray(self.embed(batch), np.float32)
                if rows.ndim != 2 or len(rows) != len(batch) or not np.isfinite(rows).all():
                    raise DataError(
                        f"embed gave an array of shape {rows.shape} for {len(batch)} images; expected finite numbers "
                        f"({len(batch)}, d): pool a backbone's feature map"
                    )
                embedded.append(rows)
        table = np.concatenate(described) if described else np.empty((0, len(NAMES)), np.float32)
        return table, np.concatenate(embedded) if embedded else table, np.array(contents, "S32")


class _Ordinary:
    """What a filter has learnt: scores, and the range in which 99 % of the ordinary images lie."""

    def __init__(
        self,
        options: OutlierFilter,
        cells: ImageSet,
        described: NDArray[np.float32],
        rows: NDArray[Any],
        contents: NDArray[np.bytes_],
    ) -> None:
        limit = options.threshold
        if limit is not None and not (isinstance(limit, int | float) and np.isfinite(limit) and limit > 0):
            raise OptionError(f"threshold is {limit!r}; expected a number above 0, 1 being as odd as made up, or None")
        different = np.sort(np.unique(contents, return_index=True)[1])
        if len(different) < _FEWEST:
            raise DataError(
                f"{len(different)} different images cannot show what is ordinary; wanted {_FEWEST} or more: "
                "fit on a larger set, or leave the outlier filter out"
            )
        self.shape = cells.image_shape
        self.oddness = Oddness(method=options.method, seed=options.seed).fit(rows[different])
        self.threshold = float(self.oddness.cut if limit is None else limit)
        scores = self.oddness.score(rows[different])
        self._low, self._middle, self._high = np.quantile(
            described[different][scores <= self.oddness.cut], (0.005, 0.5, 0.995), axis=0
        )
        self.notices: tuple[str, ...] = ()
        if self.oddness.populations:
            self.notices = (
                f"{self.oddness.populations:,} images fitted on differ from the rest but not from each other; they "
                "stay: another stain or microscope?",
            )

    def reason(self, row: NDArray[np.float32]) -> str:
        """Say what is oddest about an image, in at most three descriptors."""
        width = np.maximum(self._high - self._low, 1e-3 * np.maximum(np.abs(self._middle), 1))
        beyond = np.maximum(row - self._high, self._low - row) / width
        oddest = [int(k) for k in np.argsort(-beyond, kind="stable")[:3] if beyond[k] > 0]
        if not oddest:
            return "outlier: unusual as a whole (no single number is)"
        said = (
            f"{WORDS[NAMES[k]][int(row[k] > self._high[k])]} ({row[k]:.3g}; 99 % lie in "
            f"{_span(self._low[k], self._high[k])})"
            for k in oddest
        )
        return f"outlier: {', '.join(said)}"


def _span(low: float, high: float) -> str:
    return f"{low:.3g}-{high:.3g}" if low >= 0 else f"{low:.3g} to {high:.3g}"
