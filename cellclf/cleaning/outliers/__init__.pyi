from .filter import OutlierFilter as OutlierFilter
from .filter import Outliers as Outliers
