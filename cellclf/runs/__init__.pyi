from .combine import combine_predictions as combine_predictions
from .confidence import Confidence as Confidence
from .export import Exported as Exported
from .export import open_exported as open_exported
from .predictions import Predictions as Predictions
from .run import Run as Run
from .run import load_run as load_run
from .submission import Submission as Submission
