"""What an adapted run keeps in its folder beside the network: what it is worth, and the labels of all rounds."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

from cellclf.data.decisions import Decisions, load_decisions
from cellclf.errors import CellclfError, CellclfWarning, DataError
from cellclf.evaluation.adaptation import Adaptation
from cellclf.utils.atomic import write_json

ADAPTATION, LABELLED = "adaptation.json", "labelled.csv"


def save_adaptation(folder: Path, adaptation: Adaptation | None, decisions: Decisions | None, weights: str) -> None:
    """Write both files, each whole or not at all; what an earlier run left is removed.

    Args:
        folder: Of the run.
        adaptation: None for a run that was not adapted.
        decisions: None where nobody decided anything.
        weights: ``weights_sha256`` of the network.
    """
    if adaptation is None:
        (folder / ADAPTATION).unlink(missing_ok=True)
        return
    if decisions is not None:
        decisions.save(folder / LABELLED)
    write_json(folder / ADAPTATION, {"weights_sha256": weights} | adaptation.to_dict())


def load_adaptation(folder: Path, weights: str) -> tuple[Adaptation | None, Decisions | None]:
    """Read both files; nothing needs them to predict, so that what is damaged is left out, with a warning."""
    adaptation = decisions = None
    path = folder / ADAPTATION
    if path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or found.get("weights_sha256") != weights:
                raise DataError("it is of another network than the model.keras beside it")
            adaptation = Adaptation.from_dict(found)
        except (OSError, ValueError, RecursionError) as error:  # a DataError is a ValueError, too
            _left_out(path, error, "the run is used without it")
    path = folder / LABELLED
    if path.exists():
        try:
            decisions = load_decisions(path)
        except (CellclfError, OSError) as error:
            _left_out(path, error, "a further round starts without these labels")
    return adaptation, decisions


def _left_out(path: Path, error: Exception, cost: str) -> None:
    warnings.warn(f"{path} cannot be read ({str(error)[:300]}); {cost}", CellclfWarning, stacklevel=4)
