from .corruptions import corrupt as corrupt
from .corruptions import list_corruptions as list_corruptions
from .measure import robustness as robustness
from .result import Robustness as Robustness
