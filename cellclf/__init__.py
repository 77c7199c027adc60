"""cellclf: from a messy set of single-cell pictures to a classifier that works on next month's slides.

Everything public is reachable from here and loaded at first use, so that ``import cellclf`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "cellclf.augmentation.augmenter": ["Augmenter"],
    "cellclf.backbones.backbone": ["Backbone"],
    "cellclf.backbones.hookspecs": ["hookimpl"],
    "cellclf.backbones.spec": ["BackboneSpec"],
    "cellclf.cleaning.balance": ["Downsample"],
    "cellclf.cleaning.dedup": ["Dedup"],
    "cellclf.cleaning.outliers": ["OutlierFilter"],
    "cellclf.data.generated": ["make_cells"],
    "cellclf.data.image_set": ["ImageSet"],
    "cellclf.data.loaders": ["load"],
    "cellclf.data.split": ["Split"],
    "cellclf.errors": [
        "CellclfError",
        "CellclfWarning",
        "DataError",
        "MissingPackageError",
        "OptionError",
        "PluginError",
        "RunFolderError",
        "TrainingError",
        "UnknownNameError",
        "WeightsError",
    ],
    "cellclf.evaluation.metrics": ["Report", "evaluate"],
    "cellclf.pipeline": ["Pipeline"],
    "cellclf.training.head": ["Head"],
    "cellclf.training.run": ["Run", "load_run"],
    "cellclf.training.stage": ["Stage"],
    "cellclf.training.trainer": ["Trainer"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'cellclf' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
