from .budget import Budget as Budget
from .cache import Cache as Cache
from .compute import Compute as Compute
from .device_batches import DeviceBatches as DeviceBatches
from .head import Head as Head
from .sklearn_api import CellClassifier as CellClassifier
from .stage import Stage as Stage
from .trainer import Trainer as Trainer
