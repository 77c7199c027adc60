"""Index: fingerprints on disk that grow batch by batch, so that earlier images need not be read again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cellclf.cleaning.dedup.decide import decide
from cellclf.cleaning.dedup.dedup import HASHES, Dedup, rank_of
from cellclf.cleaning.dedup.fingerprints import Fingerprints, content_numbers, energies, fingerprint
from cellclf.cleaning.dedup.hashes import CENTRE_SIDE, SIDE, calibrate
from cellclf.cleaning.dedup.result import DedupResult
from cellclf.cleaning.selection import names_of
from cellclf.data.door import Cells, as_cells
from cellclf.errors import DataError, OptionError
from cellclf.utils.npz_files import DamagedFile, read_npz

if TYPE_CHECKING:
    pass

_VERSION = 1


class Index:
    """Fingerprints of all images so far, about 600 bytes each, without the images.

    The first batch calibrates the bits, and that calibration is kept: ten batches give the same pairs as one.

    Args:
        dedup: What counts as a copy; None takes ``Dedup()``. Its method is "dct" or "content"; ``offset``,
            ``background`` and augmented copies need the images, which an index does not have.
        cut: (8, 8) float32 calibration to start with (another index's ``cut``); None takes the first batch's.

    Raises:
        OptionError: A ``dedup`` that needs the images.

    Examples:
        >>> from cellclf import ImageSet
        >>> images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
        >>> images[3] = images[0, ::-1]
        >>> index = Index()
        >>> index.append(ImageSet(images[:2], ids=["a", "b"]))
        >>> index.append(ImageSet(images[2:], ids=["c", "d"]))
        >>> index.find().reasons[3]
        np.str_('turned: copy of a, upside down')
    """

    def __init__(self, dedup: Dedup | None = None, *, cut: NDArray[np.float32] | None = None) -> None:
        self.dedup = Dedup() if dedup is None else dedup
        self.dedup.check()
        searched = self.dedup.augmented in ("cluster", "remove")
        if self.dedup.method in HASHES or self.dedup.offset or self.dedup.background or searched:
            raise OptionError(
                f"{self.dedup!r} cannot be used with an index, which keeps no images; expected the method 'dct' or "
                "'content' without offset, background and a search for augmented copies"
            )
        self.cut = cut
        self.ids = np.empty(0, "<U1")
        self.names = np.empty(0, "<U1")
        self.sizes = np.empty((0, 2), np.int64)
        self._parts: list[Fingerprints] = []

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Index: {len(self):,} images, {self.dedup!r}"

    def append(self, cells: Cells) -> None:
        """Add the fingerprints of more images; they are read once, and the index is unchanged if that fails.

        Args:
            cells: Images with ids that are not in the index yet.

        Raises:
            DataError: An id that is in the index already.
        """
        cells = as_cells(cells)
        ids = np.concatenate([self.ids, cells.ids])
        seen, times = np.unique(ids, return_counts=True)
        if (times > 1).any():
            raise DataError(
                f"{int((times > 1).sum())} of these ids are in the index already, {str(seen[times > 1][0])!r} among "
                "them; append images once, or rename them with cells.replace(ids=...)"
            )
        part = fingerprint(cells, centres=self.dedup.foreground, lasting=True, n_jobs=self.dedup.n_jobs)
        if self.cut is None and len(part):
            self.cut = calibrate(part.blocks)
        self._parts.append(part)
        self.ids = ids
        self.names = np.concatenate([self.names, names_of(cells)])
        self.sizes = np.concatenate([self.sizes, cells.sizes])

    @property
    def prints(self) -> Fingerprints:
        """All fingerprints, in the order of appending."""
        if len(self._parts) != 1:
            self._parts = [Fingerprints.joined(self._parts, centres=self.dedup.foreground)]
        return self._parts[0]

    def find(self) -> DedupResult:
        """Find the copies among all images of the index.

        Returns:
            What ``Dedup.find`` gives for one set of all these images, without the images themselves:
            ``apply`` takes a set with the same ids, ``plot`` needs ``find`` on a set.
        """
        prints = self.prints
        rank = rank_of(self.dedup.keep, self.sizes, energies(prints.blocks)[0])
        copies = self.dedup.copies(prints, content_numbers(prints, []), rank, [], self.cut)
        return decide(copies, self.ids, self.names, self.dedup.max_copies, [], None, self.dedup.limit())

    def save(self, path: str | Path) -> Path:
        """Write the index; a stop leaves the old file or the new one.

        Args:
            path: Ends in ".npz".
        """
        from cellclf.utils.atomic import replacing

        path, prints = Path(path), self.prints
        columns: dict[str, Any] = {
            "version": _VERSION,
            "ids": self.ids,
            "names": self.names,
            "sizes": self.sizes,
            "blocks": prints.blocks,
            "digests": prints.digests,
            "colours": prints.colours,
            "centres": prints.centres,
            "cut": self.cut,
            **{f"dedup_{name}": value for name, value in self.dedup.get_params().items()},
        }
        with replacing(path) as new, new.open("wb") as file:
            np.savez(file, **{name: value for name, value in columns.items() if value is not None})
        return path

    @classmethod
    def load(cls, path: str | Path) -> Index:
        """Read an index back.

        Args:
            path: What ``save`` wrote.

        Raises:
            FileNotFoundError: There is no such file.
            DataError: The file is not an index, a damaged one, or one of another version.
        """
        path = Path(path)
        path.stat()
        try:
            data = read_npz(path, ["version", "ids", "names", "sizes", "blocks", "digests"])
            if data["version"].tolist() != _VERSION:
                raise DataError(f"{path} is not an index of version {_VERSION}; append the images to a new Index")
            settings = {name[6:]: value.item() for name, value in data.items() if name.startswith("dedup_")}
            index = cls(Dedup(**settings), cut=data.get("cut"))
            _check_arrays(data, centres=index.dedup.foreground)
        except DamagedFile as error:
            raise DataError(f"{path} is not an index that can be read ({error}); write one with Index.save") from None
        except DataError:
            raise
        except (TypeError, ValueError, LookupError) as error:  # settings that this version does not have
            raise DataError(f"{path} is not an index of this version ({error}); make a new one") from None
        index.ids, index.names, index.sizes = data["ids"], data["names"], data["sizes"]
        index._parts = [Fingerprints(data["blocks"], data.get("centres"), data["digests"], data.get("colours"))]
        return index


def _check_arrays(data: Mapping[str, NDArray[Any]], *, centres: bool) -> None:
    """Check that the columns of an index fit together.

    Raises:
        DamagedFile: Another shape or type than ``save`` writes.
    """
    count = len(data["ids"]) if data["ids"].ndim == 1 else -1
    expected: dict[str, tuple[str, tuple[int, ...]]] = {
        "ids": ("U", (count,)),
        "names": ("U", (count,)),
        "sizes": ("i", (count, 2)),
        "blocks": ("f", (count, SIDE, SIDE)),
        "digests": ("u", (count, 16)),
        **({"centres": ("f", (count, CENTRE_SIDE, CENTRE_SIDE))} if centres else {}),
        **({"cut": ("f", (8, 8))} if "cut" in data else {}),
    }
    for name, (kind, shape) in expected.items():
        if name not in data or data[name].dtype.kind != kind or data[name].shape != shape:
            found = f"{data[name].dtype} {data[name].shape}" if name in data else "nothing"
            raise DamagedFile(f"{name!r} holds {found}, which an index does not")
