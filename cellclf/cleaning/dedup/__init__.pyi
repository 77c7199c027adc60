from .dedup import Dedup as Dedup
from .index import Index as Index
from .result import DedupResult as DedupResult
from .result import Group as Group
from .result import LeakResult as LeakResult
