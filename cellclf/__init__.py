"""cellclf: from a messy set of single-cell pictures to a classifier that works on next month's slides.

Everything public is reachable from here and loaded at first use, so that ``import cellclf`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cellclf.augmentation.augmenter import Augmenter as Augmenter
    from cellclf.backbones.backbone import Backbone as Backbone
    from cellclf.backbones.hookspecs import hookimpl as hookimpl
    from cellclf.backbones.spec import BackboneSpec as BackboneSpec
    from cellclf.cleaning.balance import Downsample as Downsample
    from cellclf.cleaning.dedup import Dedup as Dedup
    from cellclf.cleaning.index import Index as Index
    from cellclf.cleaning.outliers import OutlierFilter as OutlierFilter
    from cellclf.comparison import compare as compare
    from cellclf.comparison import compare_runs as compare_runs
    from cellclf.crossval import CrossValidation as CrossValidation
    from cellclf.crossval import cross_validate as cross_validate
    from cellclf.data.generated import make_cells as make_cells
    from cellclf.data.generated import planted as planted
    from cellclf.data.image_set import ImageSet as ImageSet
    from cellclf.data.loaders import load as load
    from cellclf.data.split import Split as Split
    from cellclf.errors import CellclfError as CellclfError
    from cellclf.errors import CellclfWarning as CellclfWarning
    from cellclf.errors import DataError as DataError
    from cellclf.errors import ExportError as ExportError
    from cellclf.errors import MissingPackageError as MissingPackageError
    from cellclf.errors import OptionError as OptionError
    from cellclf.errors import PluginError as PluginError
    from cellclf.errors import RunFolderError as RunFolderError
    from cellclf.errors import TrainingError as TrainingError
    from cellclf.errors import UnknownNameError as UnknownNameError
    from cellclf.errors import WeightsError as WeightsError
    from cellclf.evaluation.corruptions import corrupt as corrupt
    from cellclf.evaluation.corruptions import list_corruptions as list_corruptions
    from cellclf.evaluation.metrics import Report as Report
    from cellclf.evaluation.metrics import evaluate as evaluate
    from cellclf.evaluation.resilience import Robustness as Robustness
    from cellclf.evaluation.robustness import robustness as robustness
    from cellclf.labels import check_labels as check_labels
    from cellclf.pipeline import Pipeline as Pipeline
    from cellclf.repetition import rerun as rerun
    from cellclf.training.classifier import CellClassifier as CellClassifier
    from cellclf.training.ensemble import ensemble as ensemble
    from cellclf.training.head import Head as Head
    from cellclf.training.run import Run as Run
    from cellclf.training.run import load_run as load_run
    from cellclf.training.stage import Stage as Stage
    from cellclf.training.trainer import Trainer as Trainer

__version__ = "0.1.0"

_HOMES = {
    "cellclf.augmentation.augmenter": ["Augmenter"],
    "cellclf.backbones.backbone": ["Backbone"],
    "cellclf.backbones.hookspecs": ["hookimpl"],
    "cellclf.backbones.spec": ["BackboneSpec"],
    "cellclf.cleaning.balance": ["Downsample"],
    "cellclf.cleaning.dedup": ["Dedup"],
    "cellclf.cleaning.index": ["Index"],
    "cellclf.cleaning.outliers": ["OutlierFilter"],
    "cellclf.comparison": ["compare", "compare_runs"],
    "cellclf.crossval": ["CrossValidation", "cross_validate"],
    "cellclf.data.generated": ["make_cells", "planted"],
    "cellclf.data.image_set": ["ImageSet"],
    "cellclf.data.loaders": ["load"],
    "cellclf.data.split": ["Split"],
    "cellclf.errors": [
        "CellclfError",
        "CellclfWarning",
        "DataError",
        "ExportError",
        "MissingPackageError",
        "OptionError",
        "PluginError",
        "RunFolderError",
        "TrainingError",
        "UnknownNameError",
        "WeightsError",
    ],
    "cellclf.evaluation.corruptions": ["corrupt", "list_corruptions"],
    "cellclf.evaluation.metrics": ["Report", "evaluate"],
    "cellclf.evaluation.resilience": ["Robustness"],
    "cellclf.evaluation.robustness": ["robustness"],
    "cellclf.labels": ["check_labels"],
    "cellclf.pipeline": ["Pipeline"],
    "cellclf.training.ensemble": ["ensemble"],
    "cellclf.repetition": ["rerun"],
    "cellclf.training.classifier": ["CellClassifier"],
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
