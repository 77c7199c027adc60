"""Random numbers that belong to an image: they depend on seed, epoch and id, and not on the batch.

A counter-based generator (as in Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): the
k-th number of an image is a hash of its key and k. No state is carried from one image to the next, so
batch size, order and number of workers do not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Keys = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio, odd: counters times this are spread evenly over all words (as in SplitMix64)."""


def hash64(words: Iterable[object]) -> Keys:
    """Hash texts (or anything with a ``str``) to 64 bits, the same on every machine.

    Args:
        words: N ids.

    Returns:
        (N,) uint64.

    Examples:
        >>> hash64(["a", "b"]).shape
        (2,)
    """
    digests = b"".join(blake2b(str(word).encode(), digest_size=8).digest() for word in words)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def mix(keys: Keys) -> Keys:
    """Scramble 64-bit keys (the finaliser of SplitMix64): a change of one bit changes about half of all bits.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


class ImageRng:
    """A random number generator for each of N images.

    Args:
        keys: (N,) uint64, one key an image.

    Examples:
        >>> whole = ImageRng.of(["a", "b", "c"], seed=7, epoch=0).uniform(0, 1)
        >>> alone = ImageRng.of(["c"], seed=7, epoch=0).uniform(0, 1)
        >>> bool(whole[2] == alone[0])
        True
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.used = 0

    @classmethod
    def of(cls, ids: Iterable[object], *, seed: int, epoch: int) -> ImageRng:
        """Make the generators of images.

        Args:
            ids: N ids.
            seed: Any integer.
            epoch: Any integer; each epoch draws anew.
        """
        return cls(mix(hash64(ids) ^ hash64([f"{int(seed)}/{int(epoch)}"])))

    def __len__(self) -> int:
        return len(self.keys)

    def child(self, name: object) -> ImageRng:
        """Derive generators that are independent of these: adding a step does not change what others draw."""
        return ImageRng(mix(self.keys + hash64([name])))

    def bits(self, count: int) -> Keys:
        """Draw (N, count) uint64."""
        slots = np.arange(self.used + 1, self.used + count + 1, dtype=np.uint64)
        self.used += count
        return mix(self.keys[:, None] + slots * _STEP)

    def uniform(self, low: float | Floats, high: float | Floats, shape: Sequence[int] = ()) -> Floats:
        """Draw (N, *shape) float64 from [low, high)."""
        count = int(np.prod(shape, dtype=int))
        unit = (self.bits(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53  # a float64 holds 53 bits
        return np.asarray(low + (high - low) * unit.reshape(len(self), *shape))

    def normal(self, shape: Sequence[int] = ()) -> Floats:
        """Draw (N, *shape) float64 from the standard normal distribution (Box and Muller 1958)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(0, 1, shape)))  # 1 - u is never 0, u may be
        return np.asarray(radius * np.cos(2 * np.pi * self.uniform(0, 1, shape)))

    def chance(self, rate: float | Floats) -> Flags:
        """Draw (N,) bool, True with probability ``rate``."""
        return np.asarray(self.uniform(0, 1) < rate)

    def integers(self, count: int, shape: Sequence[int] = ()) -> NDArray[np.int64]:
        """Draw (N, *shape) int64 from 0 ... count - 1."""
        # the product with a number just below 1 may be rounded up to the count
        return np.minimum(self.uniform(0, count, shape).astype(np.int64), count - 1)

    def sign(self) -> Floats:
        """Draw (N,) float64, -1 or 1."""
        return np.where(self.chance(0.5), 1.0, -1.0)

    def gamma(self, shape: float, size: int) -> Floats:
        """Draw (N, size) float64 from Gamma(shape, 1), by the quantile function."""
        from scipy.special import gammaincinv

        return np.asarray(gammaincinv(shape, self.uniform(0, 1, (size,))))

    def beta(self, a: float, b: float) -> Floats:
        """Draw (N,) float64 from Beta(a, b), by the quantile function."""
        from scipy.special import betaincinv

        return np.asarray(betaincinv(a, b, self.uniform(0, 1)))
