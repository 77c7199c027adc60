"""What computes the predictions of a run: Keras, or ONNX Runtime where that pays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellclf.errors import unknown

if TYPE_CHECKING:
    from cellclf.data.image_set import ImageSet
    from cellclf.runs.features.reader import FeatureReader
    from cellclf.runs.session import Session

RUNTIMES = ("auto", "keras", "onnx")
ENOUGH = 4_096
"""Images from which converting the network takes less time than it saves."""
CALL = 16
"""Images in a batch that take Keras as long as one alone."""


class Runtime:
    """Holds the network of one run in ONNX Runtime, once it is worth that; see ``Run.runtime``."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._refused = False  # it cannot be converted, or gives other probabilities
        self._looked = False  # in the run folder, for what was converted before
        self._predicted = 0  # images so far

    def session(
        self,
        choice: str,
        model: Any,
        cells: ImageSet,
        folder: Path | None,
        reader: Callable[[], FeatureReader] | None,
        *,
        features: bool,
    ) -> Session | None:
        """Give the network in ONNX Runtime, or None where Keras is to predict these images.

        Args:
            choice: One of ``RUNTIMES``.
            model: The network as it is now; a session of other weights is given up.
            cells: What is to be predicted.
            folder: Of the run.
            reader: Makes the reader of pooled features; None where nobody will ask for them.
            features: Whether they are asked for now.

        Raises:
            UnknownNameError: No such runtime.
            MissingPackageError: ONNX Runtime is asked for by name and not installed.
            OptionError: It is asked for by name on a backend whose networks are not converted.
        """
        if choice not in RUNTIMES:
            raise unknown("runtime", choice, RUNTIMES)
        if choice == "keras" or not len(cells):
            return None
        asked = choice == "onnx"
        self._predicted += max(len(cells), CALL)
        found = self._session
        if found is not None and not found.is_of(model, images=len(cells)):
            found = self._session = None
            self._refused, self._looked = False, True  # what is kept is of the weights that were
        if found is not None and (found.gives_features or not features):
            return found
        enough = asked or self._predicted >= ENOUGH
        if self._refused or (self._looked and not enough):
            return None
        from cellclf.runs.session import KEPT, is_faster, kept_session, open_session, require_packages

        first, self._looked = not self._looked, True
        kept = first and folder is not None and (folder / KEPT).is_file()
        if not kept and not enough:
            return None
        if kept and is_faster(kept=True):
            self._session = kept_session(model, reader and reader(), folder)
            if self._session is not None or not enough:
                return self._session
        if asked:
            require_packages()
        elif not is_faster():
            return None
        self._session = open_session(model, cells, reader and reader(), folder)
        self._refused = self._session is None
        return self._session
