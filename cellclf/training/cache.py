"""Cache: whether and where a training keeps the features of frozen layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from cellclf.errors import OptionError
from cellclf.runs.features.cache import Caching, byte_count
from cellclf.utils.parameters import Params, check_parameters, plain, shortened


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache(Params):
    """How a training uses feature caches: a stage with frozen layers computes their features of each image only once.

    They are kept on disk while the stage trains the rest on them.

    Args:
        mode: ``"auto"`` makes a cache where it saves work and changes nothing else (with an augmenter it needs
            ``views``); ``"disk"`` wherever it is possible; None never.
        views: Augmented views of each image that a cache holds; each epoch takes one of them at random. 6 give most of
            what new augmentation in each epoch gives. Without an augmenter there is one.
        limit: What a cache may take on disk: bytes, or a text such as ``"4GB"``. A larger one is not made.
        dir: Folder for caches that are kept for other runs of the same layers and images, ``limit`` for all of them
            together; the least recently used are removed first. None removes a cache after its stage.

    Examples:
        >>> Cache(mode="disk", views=6, limit="8GB").check()
        >>> Cache(limit="four").check()
        Traceback (most recent call last):
        cellclf.errors.OptionError: Cache limit='four'; expected a size such as '4GB' or '500MB', or a number of bytes
    """

    mode: Literal["auto", "disk"] | None = "auto"
    views: Annotated[int, Interval(ge=1, le=1000)] = 1
    limit: Annotated[int, Interval(ge=0, lt=2**63)] | str = "4GB"
    dir: str | Path | None = None

    def check(self) -> None:
        """Raise for values that cannot be used.

        Raises:
            OptionError: A value of the wrong kind or outside its range.
            UnknownNameError: No mode of that name.
        """
        check_parameters(self)
        self.limit_in_bytes()

    def limit_in_bytes(self) -> int:
        """Give ``limit`` as a number of bytes."""
        try:
            return byte_count(plain(self.limit))
        except OptionError:
            raise OptionError(
                f"Cache limit={shortened(self.limit)}; expected a size such as '4GB' or '500MB', or a number of bytes"
            ) from None

    def caching(self, folder: Path | None, content: Mapping[str, Any]) -> Caching:
        """Give what this means for one run.

        Args:
            folder: Of the run; None for a run without one.
            content: What determines the features beside the network: data, augmentation.
        """
        own = folder and folder / "cache"
        return Caching(
            mode=self.mode,
            views=plain(self.views),
            limit=self.limit_in_bytes(),
            folder=own if self.dir is None else Path(self.dir).expanduser(),
            kept=self.dir is not None,
            content=content,
        )
