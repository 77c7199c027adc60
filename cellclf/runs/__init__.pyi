from .confidence import Confidence as Confidence
from .export import Exported as Exported
from .export import open_exported as open_exported
from .features.stored import StoredFeatures as StoredFeatures
from .predictions import Predictions as Predictions
from .run import Run as Run
from .run import load_run as load_run
from .suggestion import Suggestion as Suggestion
