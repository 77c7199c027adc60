"""Lay one image onto another by a turn, flip, zoom and shift, and measure whether they then show the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.agreement import GAINS, MIDDLE, WHITE, Alignments, compared, explained, laid
from cellclf.cleaning.dedup.neighbours import Candidates
from cellclf.cleaning.dedup.polar import SIDE, Floats, PolarPrints, interpolated
from cellclf.utils.colour import LUMA
from cellclf.utils.threads import one_blas_thread

_PIECE = 256  # pairs at once: with fewer, threads wait for each other more than they compute
_FEW = 128  # pairs at once at full size
_ROUGH, _FINE = 3, 4  # steps of the descent
_MOVE = np.array([0.15, 0.15, 3, 3], np.float32)  # furthest in one step: cosine and sine times zoom, pixels
# share of what is seen that must be explained for a pair to be looked at further: half way, at half size, at full size
_LEAST_EARLY, _LEAST_ROUGH, _LEAST_FINE = 0.6, 0.8, 0.9
_USUAL = 8.0  # residuals of so many times the median count a quarter


def align(prints: PolarPrints, pairs: Candidates, *, n_jobs: int) -> tuple[NDArray[np.int64], Alignments]:
    """Lay the second image of each pair onto the first, and compare those that then agree.

    Most candidates are different cells, so each pair is first aligned at half the size and given up where too little
    of what it shows is explained, and then at full size: nearly all pairs of different cells are given up, and of the
    pairs that the comparison would accept less than one in a hundred.

    Args:
        prints: Of all images.
        pairs: Which ones, and a first guess.
        n_jobs: Threads.

    Returns:
        The places in ``pairs`` of those that were compared, and how they lie on each other.
    """
    import joblib

    if not len(pairs):
        return np.empty(0, np.int64), Alignments.none()
    one, two = (
        prints.centres[some, pairs.anchor][:, ::-1] - np.float32((SIDE - 1) / 2) for some in (pairs.first, pairs.second)
    )
    flip = np.where(pairs.mirrored, -1, 1).astype(np.float32)
    a, b = pairs.zoom * np.cos(pairs.angle), pairs.zoom * np.sin(pairs.angle)
    right, down = laid(np.stack([a, b, 0 * a, 0 * a], 1), flip, one[:, :1], one[:, 1:])
    guess = np.stack([a, b, two[:, 0] - right[:, 0], two[:, 1] - down[:, 0]], 1).astype(np.float32)
    with one_blas_thread():
        run = joblib.Parallel(n_jobs=n_jobs, require="sharedmem")
        parts = np.array_split(prints.small, len(prints) // 512 + 1)
        halves = np.concatenate(run(joblib.delayed(_halved)(some) for some in parts))
        pieces = np.array_split(np.arange(len(pairs)), -(-len(pairs) // _PIECE))
        rough = run(
            joblib.delayed(_rough)(halves, pairs.first[some], pairs.second[some], guess[some], flip[some])
            for some in pieces
        )
        found, fit = (np.concatenate(column) for column in zip(*rough, strict=True))
        good = np.flatnonzero(fit >= _LEAST_ROUGH)
        if not len(good):
            return good, Alignments.none()
        pieces = np.array_split(good, -(-len(good) // _FEW))
        fine = run(
            joblib.delayed(_fine)(prints.small, pairs.first[some], pairs.second[some], found[some], flip[some])
            for some in pieces
        )
    kept = np.concatenate([some[good] for some, (good, _) in zip(pieces, fine, strict=True)])
    return kept, Alignments.joined([part for _, part in fine])


def _halved(small: NDArray[np.uint8]) -> Floats:
    """Brightness at half the size, blurred: (n, s / 2, s / 2) float32."""
    luma = (small @ np.array(LUMA, np.float32)).astype(np.float32)
    return _smoothed(
        (luma[:, ::2, ::2] + luma[:, 1::2, ::2] + luma[:, ::2, 1::2] + luma[:, 1::2, 1::2]) / np.float32(4)
    )


def _smoothed(images: Floats) -> Floats:
    """Blur by (1, 2, 1) / 4 both ways; the edge goes on."""
    wide = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    lines = wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]
    return np.asarray((lines[..., :-2] + 2 * lines[..., 1:-1] + lines[..., 2:]) / 16, np.float32)


def _rough(
    halves: Floats, first: NDArray[np.int64], second: NDArray[np.int64], guess: Floats, flip: Floats
) -> tuple[Floats, Floats]:
    """Align at half the size, and say how much of what the second shows the first then explains."""
    half = np.array([1, 1, 0.5, 0.5], np.float32)
    one, two = halves[first], halves[second]
    found, fit = _descend(one, two, guess * half, flip, steps=_ROUGH, stride=2)
    near = np.flatnonzero(fit >= _LEAST_EARLY)
    if not len(near):
        return found / half, fit
    one, two, flip = one[near], two[near], flip[near]
    found[near], _ = _descend(one, two, found[near], flip, steps=_ROUGH, stride=2)
    found[near], fit[near] = _descend(one, two, found[near], flip, steps=1, stride=1)
    return found / half, fit


def _fine(
    small: NDArray[np.uint8], first: NDArray[np.int64], second: NDArray[np.int64], found: Floats, flip: Floats
) -> tuple[NDArray[np.int64], Alignments]:
    """Align at full size, and compare those that agree: their places here, and what was found."""
    luma = np.array(LUMA, np.float32)
    one, two = small[first].astype(np.float32), small[second].astype(np.float32)
    found, fit = _descend(_smoothed(one @ luma), _smoothed(two @ luma), found, flip, steps=_FINE, stride=2, robust=True)
    good = np.flatnonzero(fit >= _LEAST_FINE)
    if not len(good):
        return good, Alignments.none()
    return good, compared(one[good], two[good], found[good], flip[good])


def _descend(
    one: Floats, two: Floats, found: Floats, flip: Floats, *, steps: int, stride: int, robust: bool = False
) -> tuple[Floats, Floats]:
    """Improve alignments by Gauss and Newton's method over turn, zoom, shift, gain and offset.

    What lies far from the middle of either image counts less, and so does what does not fit: borders that were filled.

    Source: Lucas and Kanade 1981; Baker and Matthews 2004, "Lucas-Kanade 20 years on" (forwards additive).

    Args:
        one: (n, s, s) float32.
        two: (n, s, s) float32, to be laid onto ``one``.
        found: (n, 4) as in ``laid``, in pixels.
        flip: (n,) 1 or -1.
        steps: How many.
        stride: Every so many rows and columns are looked at.
        robust: The images lie on each other already but for small errors: what does not fit counts hardly at all.

    Returns:
        The alignments, and (n,) the share of what ``two`` shows that was explained before the last step.
    """
    count, side, _ = one.shape
    from_middle = np.arange(1, side - 1, stride, dtype=np.float32) - np.float32((side - 1) / 2)
    down, right = (axis.ravel()[None] for axis in np.meshgrid(from_middle, from_middle, indexing="ij"))
    model = one[:, 1 : side - 1 : stride, 1 : side - 1 : stride].reshape(count, right.size)
    slopes = np.gradient(two, axis=(1, 2))
    layers = np.stack([two, slopes[1], slopes[0]], -1)
    flipped = down * flip[:, None]
    reach = np.float32((MIDDLE * side) ** 2)
    known = model <= WHITE
    fit, trust = np.zeros(count, np.float32), np.float32(1)
    for _ in range(steps):
        there, below = laid(found, flip, right, down)
        seen = interpolated(layers, below + (side - 1) / 2, there + (side - 1) / 2)
        value, across, along = seen[..., 0], seen[..., 1], seen[..., 2]
        inside = (np.abs(there) < (side - 1) / 2) & (np.abs(below) < (side - 1) / 2)
        away = np.maximum(there**2 + below**2, right**2 + down**2)
        trusted = inside * np.exp(-np.maximum(away / reach - 1, 0)) * trust
        # gain and offset in closed form, so that the residual is what the geometry leaves
        weight = trusted * (known & (value <= WHITE))
        total = np.maximum(weight.sum(1, keepdims=True), 1)
        from_one = model - (weight * model).sum(1, keepdims=True) / total
        from_two = value - (weight * value).sum(1, keepdims=True) / total
        gain = (weight * from_one * from_two).sum(1, keepdims=True) / np.maximum(
            (weight * from_one**2).sum(1, keepdims=True), 1e-3
        )
        left = from_two - np.clip(gain, *GAINS) * from_one
        spread = (weight * left**2).sum(1, keepdims=True) / total
        fit = explained(left, from_two, trusted, known, value <= WHITE)
        if robust:
            usual = np.median(np.abs(left), axis=1, keepdims=True)
            trust = 1 / (1 + left**2 / np.maximum(_USUAL * usual, 1) ** 2) ** 2
            weight = weight * trust
        else:
            weight = weight / (1 + left**2 / np.maximum(4 * spread, 1))
        rows = np.stack(
            [
                across * right + along * flipped,
                along * right - across * flipped,
                across,
                along,
                -model,
                np.full_like(model, -1),
            ],
            1,
        )
        weighted = rows * weight[:, None]
        normal = weighted @ rows.swapaxes(1, 2)
        ridge = 1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / len(rows[0]) + 1e-3
        move = np.linalg.solve(normal + ridge * np.eye(len(rows[0]), dtype=np.float32), weighted @ left[..., None])
        found = found - np.clip(move[:, :4, 0], -_MOVE, _MOVE)
    return np.asarray(found, np.float32), np.asarray(fit, np.float32)
