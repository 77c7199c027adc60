"""One pass over the images: a fingerprint of each, of about a kilobyte, by which its copies are found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.colours import GRID, colour_grids
from cellclf.cleaning.dedup.hashes import (
    CENTRE_SIDE,
    FLAT,
    SIDE,
    Blocks,
    Hashes,
    centre,
    dct_blocks,
    imagehash_hashes,
    whole,
)
from cellclf.utils.progress import track
from cellclf.utils.threads import one_blas_thread

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet

_TASK = 1024  # images that one task takes
_READ = 64  # images read at once, so that those of a task are never in memory together


@dataclass(frozen=True)
class Fingerprints:
    """The fingerprints of N images.

    Args:
        blocks: (N, 16, 16) float16 DCT blocks of the whole images.
        centres: (N, 12, 12) float16 DCT blocks of the centres, or None.
        digests: (N, 16) uint8 first half of the SHA-256 of shape and pixels, or None.
        colours: (N, 4, 4, 3) float16 averages of ``colour_grids``, or None.
    """

    blocks: Blocks
    centres: Blocks | None = None
    digests: NDArray[np.uint8] | None = None
    colours: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.blocks)

    @classmethod
    def joined(cls, parts: list[Fingerprints], *, centres: bool) -> Fingerprints:
        """Join the fingerprints of several sets, one after the other; digests and colours are kept if all have them.

        Args:
            parts: Of each set.
            centres: They hold centres.
        """
        blocks = [np.empty((0, SIDE, SIDE), np.float16), *(part.blocks for part in parts)]
        middles = [part.centres for part in parts if part.centres is not None]
        sums = [part.digests for part in parts if part.digests is not None]
        tints = [part.colours for part in parts if part.colours is not None]
        return cls(
            np.concatenate(blocks),
            np.concatenate([np.empty((0, CENTRE_SIDE, CENTRE_SIDE), np.float16), *middles]) if centres else None,
            np.concatenate([np.empty((0, 16), np.uint8), *sums]) if len(sums) == len(parts) else None,
            np.concatenate([np.empty((0, GRID, GRID, 3), np.float16), *tints]) if len(tints) == len(parts) else None,
        )


def fingerprint(
    cells: ImageSet, *, centres: bool = False, lasting: bool = False, n_jobs: int | None = None
) -> Fingerprints:
    """Read every image once and take its fingerprint.

    Runs on joblib: in threads of this process, or wherever ``joblib.parallel_config`` says.

    Args:
        cells: What to read; files are decoded batch by batch.
        centres: Keep the centre's block, too.
        lasting: Keep a digest of the content and the colours, too, for which the images would be read again.
        n_jobs: Tasks at once; None takes joblib's setting, or else every core.

    Examples:
        >>> from cellclf.data.image_set import ImageSet
        >>> len(fingerprint(ImageSet(np.zeros((3, 32, 32, 3), np.uint8))))
        3
    """
    count = len(cells)
    blocks = np.empty((count, SIDE, SIDE), np.float16)
    middles = np.empty((count, CENTRE_SIDE, CENTRE_SIDE), np.float16) if centres else None
    sums = np.empty((count, 16), np.uint8) if lasting else None
    tints = np.empty((count, GRID, GRID, 3), np.float16) if lasting else None
    start = 0
    for part in map_parts(cells, _fingerprint, centres, lasting, n_jobs=n_jobs, label="hashing images"):
        stop = start + len(part)
        blocks[start:stop] = part.blocks
        for into, made in ((middles, part.centres), (sums, part.digests), (tints, part.colours)):
            if into is not None:
                into[start:stop] = made
        start = stop
    return Fingerprints(blocks, middles, sums, tints)


def _fingerprint(cells: ImageSet, centres: bool, lasting: bool) -> Fingerprints:
    height, width, _ = cells.image_shape
    bases = [whole(height, width)] + ([centre(height, width)] if centres else [])
    made = [np.empty((len(cells), len(basis.rows), len(basis.rows)), np.float16) for basis in bases]
    sums = np.empty((len(cells), 16), np.uint8) if lasting else None
    tints = np.empty((len(cells), GRID, GRID, 3), np.float16) if lasting else None
    start = 0
    for images in cells.batches(_READ, show=False):
        stop = start + len(images)
        for into, blocks in zip(made, dct_blocks(images, *bases), strict=True):
            into[start:stop] = blocks
        if sums is not None and tints is not None:
            sums[start:stop], tints[start:stop] = digest(images), colour_grids(images)
        start = stop
    return Fingerprints(made[0], made[1] if centres else None, sums, tints)


def hash_images(cells: ImageSet, method: str, *, n_jobs: int | None = None) -> Hashes:
    """Hash every image with one of imagehash's hashes: (N,) uint64.

    Args:
        cells: What to read.
        method: "phash", "dhash", "ahash" or "whash".
        n_jobs: As in ``fingerprint``.
    """
    parts = list(map_parts(cells, _hash, method, n_jobs=n_jobs, label="hashing images"))
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _hash(cells: ImageSet, method: str) -> Hashes:
    return np.concatenate([imagehash_hashes(images, method) for images in cells.batches(_READ, show=False)])


def map_parts(cells: ImageSet, task: Any, *options: Any, n_jobs: int | None, label: str) -> Iterator[Any]:
    """Run ``task(part, *options)`` on all parts of a set in joblib's workers; results come in order.

    Args:
        cells: Cut into parts of 1,024 images.
        task: A function that can be pickled.
        options: Passed on to the task.
        n_jobs: Tasks at once; None takes joblib's setting, or else every core.
        label: For the progress bar.
    """
    import joblib

    starts = range(0, len(cells), _TASK)
    with one_blas_thread():
        results = joblib.Parallel(n_jobs=job_count(n_jobs), prefer="threads", return_as="generator")(
            joblib.delayed(task)(cells[start : start + _TASK], *options) for start in starts
        )
        yield from track(results, total=len(starts), label=label, unit="k")


def job_count(n_jobs: int | None) -> int:
    """Decide how many tasks run at once: as given, as joblib is configured, or one for each core."""
    import joblib

    if n_jobs is not None:
        return int(n_jobs)
    configured = int(joblib.effective_n_jobs(None))
    return configured if configured > 1 else int(joblib.cpu_count())


def digest(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give the first 16 bytes of the SHA-256 of each image's shape and pixels: (n, 16) uint8."""
    head = repr(images.shape[1:]).encode()
    made = [hashlib.sha256(head + image.tobytes()).digest()[:16] for image in images]
    return np.frombuffer(b"".join(made), np.uint8).reshape(len(images), 16)


def content_numbers(prints: Fingerprints, sources: list[ImageSet]) -> NDArray[np.int64]:
    """Number the contents: images of one number are identical, byte for byte.

    Only images whose blocks agree to the last bit are read again and compared, unless there are digests.

    Args:
        prints: Of all sources, one after the other.
        sources: Where the images are read from; may be empty with digests.

    Returns:
        (N,) the position of the first image with the same content.
    """
    words = prints.blocks.reshape(len(prints), SIDE * SIDE).view(np.uint64)
    # multiply-add hash of each block with random odd factors: equal blocks get equal keys, others hardly ever
    factors = np.random.default_rng(2024).integers(0, 2**63, words.shape[1], dtype=np.uint64) * np.uint64(2)
    factors += np.uint64(1)
    keys = np.empty(len(words), np.uint64)
    for start in range(0, len(words), 1 << 14):
        keys[start : start + (1 << 14)] = (words[start : start + (1 << 14)] * factors).sum(1)
    _, which, counts = np.unique(keys, return_inverse=True, return_counts=True)
    doubtful = np.flatnonzero(counts[which] > 1)
    content = np.arange(len(prints))
    if not len(doubtful):
        return content
    if prints.digests is not None:
        sums = prints.digests[doubtful]
    else:
        sums = np.empty((len(doubtful), 16), np.uint8)
        start = 0
        for source in sources:
            here = np.flatnonzero((doubtful >= start) & (doubtful < start + len(source)))
            for some in np.array_split(here, max(1, len(here) // _READ)):
                sums[some] = digest(source.read(doubtful[some] - start))
            start += len(source)
    _, first, same = np.unique(sums.view(np.dtype("V16")).ravel(), return_index=True, return_inverse=True)
    content[doubtful] = doubtful[first[same]]
    return content


def energies(blocks: Blocks) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Measure the sharpness of each image, and whether it is flat.

    Returns:
        (N,) float32, the mean squared frequency of the image, and (N,) bool, True for a flat image
        (grey levels deviate by less than a half).
    """
    sharp, flat = np.empty(len(blocks), np.float32), np.empty(len(blocks), bool)
    squares = (np.add.outer(np.arange(SIDE) ** 2, np.arange(SIDE) ** 2)).astype(np.float32)
    for start in range(0, len(blocks), 4096):
        power = blocks[start : start + 4096].astype(np.float32) ** 2
        power[:, 0, 0] = 0
        total = power.sum((1, 2))
        sharp[start : start + 4096] = (power * squares).sum((1, 2)) / np.maximum(total, 1e-6)
        flat[start : start + 4096] = total < FLAT
    return sharp, flat
