"""Dedup: find duplicate images in a set, or across two sets, also re-encoded, flipped or turned ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, overload

import numpy as np
from annotated_types import Interval
from numpy.typing import ArrayLike, NDArray

from cellclf.cleaning.dedup.colours import Colours
from cellclf.cleaning.dedup.decide import decide, decide_leaks
from cellclf.cleaning.dedup.fingerprints import (
    Fingerprints,
    content_numbers,
    energies,
    fingerprint,
    hash_images,
    job_count,
)
from cellclf.cleaning.dedup.matching import (
    Copies,
    Rules,
    bits_of,
    calibrated,
    copies_by_blocks,
    copies_by_hash,
    leaks_by_blocks,
)
from cellclf.cleaning.dedup.result import DedupResult, LeakResult
from cellclf.cleaning.dedup.verify import Pairs
from cellclf.cleaning.losses import LossLimit, OnLoss
from cellclf.cleaning.selection import Selector, names_of
from cellclf.data.door import Cells, as_cells
from cellclf.errors import OptionError
from cellclf.utils.parameters import Count, Jobs, Share, check_parameters

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

HASHES = ("phash", "dhash", "ahash", "whash")
Method = Literal["dct", "content", "phash", "dhash", "ahash", "whash"]


class Dedup(Selector):
    """Find images that are in a set more than once.

    By default three kinds of copies: identical ones, re-encoded or brightened ones, flipped or turned ones.
    Of each group one image is kept, the keeper; every other member is similar to the keeper itself, never only to
    another member. One shape in different colours is no copy. A group whose members carry different labels is removed
    completely: which label is right is unknown. So is one that has more than ``max_copies`` members: no cell is
    photographed that often, but a non-cell image may be; unless they carry one label and the image is like the others
    of its class, as in a class that was evened out by copying files.

    Args:
        method: "dct" (all kinds), "content" (identical ones only), or a hash of the imagehash package: "phash",
            "dhash", "ahash", "whash" (everything within the distance, unverified).
        distance: Most bits in which the hashes of two copies differ; None takes 8 for "dct", whose candidates are
            verified, and 4 for the others.
        similarity: Cosine of two images' gradients from which on they are copies ("dct" only). On real cells copies
            lie above .99 after JPEG 60 and 10 % of brightness, other cells below .94, and the same cell photographed
            twice near .97: such pairs are reported as ``near`` and kept.
        turns: Search the 8 flips and turns, too ("dct" only).
        foreground: Find the same cell on another background, too: compares the centres of the images, so the cells
            must be centred ("dct" only).
        offset: Pixels by which a cell may be off the centre, 0-3, for ``foreground``; the search takes
            (2 offset + 1)² times as long.
        background: Find one background behind 30 or more different cells, too, or blended into them with a weight of a
            half or more; such a group is removed completely ("dct" only).
        augmented: Copies that were turned by up to 20 degrees, shifted by 6 %, zoomed by .85 to 1.18, cropped to 80 %
            of the area, brightened by .7 to 1.4, alone or all together. "auto" searches for them across two sets
            (``against``), and not within one; "cluster" also searches within a set, keeps them and only ties their
            clusters, so that ``Split`` never separates them; "remove" also removes them and keeps the least altered one
            of a group; "off" never searches. 14,000 images take some ten seconds ("dct" only).
        max_copies: Largest group of which one image is kept whatever it shows. Two or three copies are an oversight,
            ten may be over-sampling by hand; more are a placeholder, a calibration image, or an over-sampled class.
        keep: Which one is kept: the "first", the "sharpest", or the "largest" by the original size in pixels.
        n_jobs: Tasks at once; None takes joblib's setting, or else every core.
        max_loss: Most of the different images of a class that may be removed, 0-1; beyond it, ``apply`` does as
            ``on_loss`` says. Copies of one image count once. None sets no limit. A class is never left with fewer than
            two different images.
        on_loss: "refuse" raises an error that names the class; "warn" warns and goes on.

    Examples:
        >>> from cellclf import ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
        >>> images[1], images[11] = images[0], images[10, ::-1]
        >>> cells = ImageSet(images, [0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
        >>> found = Dedup().find(cells)
        >>> print(found.summary())
        12 images -> 9: 3 removed
          2  conflicting labels
          1  turned
        class 0 loses 1 of 6 images
        class 1 loses 2 of 6 images: 1 of its 5 different images, and copies
        2 groups: conflicting labels (1), one kept (1)
        >>> len(found.apply(cells))
        9
    """

    def __init__(
        self,
        *,
        method: Method = "dct",
        distance: Annotated[int, Interval(ge=0, le=64)] | None = None,
        similarity: Annotated[float, Interval(ge=0.5, le=1)] = 0.98,
        turns: bool = True,
        foreground: bool = False,
        offset: Annotated[int, Interval(ge=0, le=3)] = 0,
        background: bool = False,
        augmented: Literal["auto", "cluster", "remove", "off"] = "auto",
        max_copies: Count = 10,
        keep: Literal["first", "sharpest", "largest"] = "first",
        n_jobs: Jobs | None = None,
        max_loss: Share | None = 0.2,
        on_loss: OnLoss = "refuse",
    ) -> None:
        self.method = method
        self.distance = distance
        self.similarity = similarity
        self.turns = turns
        self.foreground = foreground
        self.offset = offset
        self.background = background
        self.augmented = augmented
        self.max_copies = max_copies
        self.keep = keep
        self.n_jobs = n_jobs
        self.max_loss = max_loss
        self.on_loss = on_loss

    def check(self) -> None:
        """Refuse options that cannot be used.

        Raises:
            UnknownNameError: No such method or keep policy.
            OptionError: A number out of its range, or options that exclude each other.
        """
        check_parameters(self)
        if self.method != "dct" and (self.foreground or self.background):
            raise OptionError(f"foreground and background need method='dct', and the method is {self.method!r}")
        if self.method != "dct" and self.augmented in ("cluster", "remove"):
            raise OptionError(f"augmented={self.augmented!r} needs method='dct', and the method is {self.method!r}")
        if self.offset and not self.foreground:
            raise OptionError(f"offset is {self.offset} without foreground=True; expected both, or offset=0")

    @overload
    def find(self, cells: Cells, labels: ArrayLike | None = None, *, against: None = None) -> DedupResult: ...
    @overload
    def find(self, cells: Cells, labels: ArrayLike | None = None, *, against: Cells) -> LeakResult: ...
    def find(
        self, cells: Cells, labels: ArrayLike | None = None, *, against: Cells | None = None
    ) -> DedupResult | LeakResult:
        """Find copies within a set, or images of a set that are also in another one.

        Args:
            cells: The set to search.
            labels: (N,) or (N, 1) labels beside an array.
            against: Another set, mostly the test set; None searches ``cells`` itself.

        Returns:
            What was found and what is kept; ``apply`` makes the smaller set.
        """
        self.check()
        cells = as_cells(cells, labels)
        if against is not None:
            return self._leaks(cells, as_cells(against, what="against"))
        groups: list[NDArray[np.int64]] = []
        if self.method in HASHES:
            hashes = hash_images(cells, self.method, n_jobs=self.n_jobs)
            sharp = energies(fingerprint(cells, n_jobs=self.n_jobs).blocks)[0] if self.keep == "sharpest" else None
            rank = rank_of(self.keep, cells.sizes, sharp)
            copies = copies_by_hash(hashes, rank, self._bits(), self.method, job_count(self.n_jobs))
        else:
            prints = fingerprint(cells, centres=self.foreground, n_jobs=self.n_jobs)
            rank = rank_of(self.keep, cells.sizes, energies(prints.blocks)[0])
            copies = self.copies(prints, content_numbers(prints, [cells]), rank, [cells])
            if self.augmented in ("cluster", "remove"):
                copies = self._with_augmented(cells, copies)
            if self.background:
                from cellclf.cleaning.dedup.background import shared_backgrounds

                groups = shared_backgrounds(cells, copies.keeper, n_jobs=self.n_jobs)
        return decide(
            copies, cells.ids, names_of(cells), self.max_copies, groups, cells, self.limit(), n_jobs=self.n_jobs
        )

    def copies(
        self,
        prints: Fingerprints,
        content: NDArray[np.int64],
        rank: NDArray[np.int64],
        sources: list[ImageSet],
        thresholds: NDArray[np.float32] | None = None,
    ) -> Copies:
        """Find each image's keeper from fingerprints; ``find`` and ``Index`` share it.

        Args:
            prints: Of all images.
            content: (N,) equal numbers for equal images.
            rank: (N,) lower is better as a keeper.
            sources: Where images can be read again; needed for an ``offset``, and for colours that are not kept.
            thresholds: (8, 8) for the bits, from an earlier calibration; None calibrates.
        """
        _, flat = energies(prints.blocks)
        if thresholds is None:
            thresholds, hashes = calibrated(prints.blocks, flat)
        else:
            hashes = bits_of(prints.blocks, thresholds, flat)
        more = None
        colours = Colours(sources, prints.colours) if sources or prints.colours is not None else None
        if self.foreground:
            from cellclf.cleaning.dedup.foreground import pair_centres

            more = pair_centres(
                prints, best=content, rules=self._rules(), offset=self.offset, sources=sources, colours=colours
            )
        rules = None if self.method == "content" else self._rules()
        return copies_by_blocks(
            prints, content, rank, rules, hashes=hashes, thresholds=thresholds, more=more, colours=colours
        )

    def _with_augmented(self, cells: ImageSet, copies: Copies) -> Copies:
        from cellclf.cleaning.dedup import ties

        found = ties.ties_within(cells, copies, self.n_jobs)
        if self.augmented == "cluster":
            return ties.tied(copies, found)
        return ties.removed(copies, found, ties.alteration_rank(cells, found))

    def searched(self) -> str:
        """Say which copies of a set are found in another one, and which are not; "" for unverified hashes."""
        if self.method == "content":
            return "identical images only"
        from cellclf.cleaning.dedup import ties

        return ties.searched(augmented=self.augmented != "off") if self.method == "dct" else ""

    def limit(self) -> LossLimit:
        """Give how much a class may lose."""
        return LossLimit(
            self.max_loss,
            self.on_loss,
            "leave Dedup out, or raise max_loss (--max-loss; of a recipe --set dedup.max_loss=0.5)",
        )

    def _leaks(self, cells: ImageSet, against: ImageSet) -> LeakResult:
        count, total = len(cells), len(cells) + len(against)
        side = np.arange(total) >= count
        if self.method in HASHES:
            pairs = self._hash_leaks(cells, against, side)
        else:
            parts = [fingerprint(one, centres=self.foreground, n_jobs=self.n_jobs) for one in (cells, against)]
            prints = Fingerprints.joined(parts, centres=self.foreground)
            content = content_numbers(prints, [cells, against])
            thresholds, hashes = calibrated(prints.blocks, energies(prints.blocks)[1])
            more = None
            colours = Colours([cells, against])
            if self.foreground:
                from cellclf.cleaning.dedup.foreground import pair_centres

                more = pair_centres(
                    prints,
                    best=content,
                    rules=self._rules(),
                    offset=self.offset,
                    sources=[cells, against],
                    side=side,
                    colours=colours,
                )
            rules = None if self.method == "content" else self._rules()
            pairs = leaks_by_blocks(
                prints, content, side, rules, hashes=hashes, thresholds=thresholds, more=more, colours=colours
            )
            if self.method == "dct" and self.augmented != "off":
                from cellclf.cleaning.dedup import ties

                known = pairs[pairs.kind != "near"]
                more = ties.ties_across(cells, against, content, known, self.n_jobs)
                pairs = Pairs.joined([known, more, pairs])
        return decide_leaks(pairs, cells, against, self.searched())

    def _hash_leaks(self, cells: ImageSet, against: ImageSet, side: NDArray[np.bool_]) -> Pairs:
        from cellclf.cleaning.dedup.hamming import near_pairs

        one, two = (hash_images(part, self.method, n_jobs=self.n_jobs) for part in (cells, against))
        found = near_pairs(one, two, distance=self._bits(), n_jobs=job_count(self.n_jobs))
        return Pairs(
            found.first,
            found.second + len(cells),
            np.zeros(len(found), np.uint8),
            (1 - found.distance / 64).astype(np.float32),
            found.distance,
            np.full(len(found), self.method, "<U10"),
        )

    def _bits(self) -> int:
        if self.distance is not None:
            return int(self.distance)
        return 8 if self.method == "dct" else 4

    def _rules(self) -> Rules:
        return Rules(self._bits(), self.similarity, self.turns, job_count(self.n_jobs))


def rank_of(keep: str, sizes: NDArray[np.int64], sharpness: NDArray[np.float32] | None) -> NDArray[np.int64]:
    """Rank images by a keep policy: (N,) lower is better; ties by their position.

    Args:
        keep: "first", "sharpest" or "largest".
        sizes: (N, 2) original height and width in pixels.
        sharpness: (N,) of ``energies``; only for "sharpest".
    """
    place = np.arange(len(sizes))
    if keep == "largest":
        order = np.lexsort((place, -sizes.prod(1)))
    elif keep == "sharpest" and sharpness is not None:
        order = np.lexsort((place, -sharpness.round(3)))
    else:
        return place
    rank = np.empty(len(sizes), np.int64)
    rank[order] = place
    return rank
